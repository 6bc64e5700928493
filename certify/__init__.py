"""Judge a trained run: estimates with provenance, certificates with status, reports."""

from __future__ import annotations

import importlib.util
from pathlib import Path

OWNER = "landau-certify"


def _check_siblings() -> None:
    """Refuse to work with a foreign package of the same name (``solver`` and ``validation`` exist on PyPI)."""
    for name in ("theory", "solver", "validation"):
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec else None
        if origin is None or f'OWNER = "{OWNER}"' not in Path(origin).read_text(encoding="utf-8"):
            raise ImportError(
                f"package {name!r} is not the one of {OWNER} (found {origin}); "
                f"uninstall the other package or remove the file that shadows it"
            )


_check_siblings()
