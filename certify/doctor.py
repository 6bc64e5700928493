"""``certify doctor``: what a bug report needs, read without importing the packages it names."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from certify import OWNER
from certify.text import clean

TORCH_FLOOR = (2, 10)
# distribution -> import name
PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "sympy": "sympy",
    "torch": "torch",
    "POT": "ot",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
}
OPTIONAL = ("jinja2",)
OURS = ("certify", "solver", "theory", "validation", "paper_checks")
MARKED = ("theory", "solver", "validation")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Finding:
    """One line; ``problem`` says what to do if something is wrong."""

    name: str
    value: str
    problem: str | None = None

    def line(self) -> str:
        """What is printed."""
        text = f"{self.name:<15} {self.value}"
        return text if self.problem is None else f"{text}\n{'':<15} PROBLEM: {self.problem}"


def version(distribution: str) -> str | None:
    """Installed version, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def new_enough(found: str, floor: tuple[int, ...]) -> bool:
    """Whether a version such as 2.13.0+cpu is at least the floor; unreadable versions are not."""
    match = re.match(r"(\d{1,9})\.(\d{1,9})", found)
    return match is not None and tuple(int(part) for part in match.groups()) >= floor


def _origin(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin is not None:
        return Path(spec.origin)
    return Path(next(iter(spec.submodule_search_locations or ()), "?"))


def _shadow(distribution: str, name: str) -> str | None:
    """What is wrong if importing ``name`` would not give the distribution's own package."""
    origin = _origin(name)
    if origin is None:
        return f"{name} cannot be found although {distribution} is installed; install it again"
    home = Path(str(importlib.metadata.distribution(distribution).locate_file("")))
    if not origin.resolve().is_relative_to(home.resolve()):
        return f"import {name} finds {clean(origin)}, not the installed package; rename or remove that file"
    return None


def _third_party(distribution: str, name: str) -> Finding:
    found = version(distribution)
    if found is None:
        wrong = None if distribution in OPTIONAL else f"pip install {distribution}"
        return Finding(distribution, "not installed", wrong)
    wrong = _shadow(distribution, name)
    if wrong is None and distribution == "torch" and not new_enough(found, TORCH_FLOOR):
        floor = ".".join(map(str, TORCH_FLOOR))
        wrong = f"at least {floor} is needed (memory errors in torch.load below); pip install 'torch>={floor}'"
    return Finding(distribution, clean(found), wrong)


def _ours(name: str) -> Finding:
    origin = _origin(name)
    if origin is None:
        return Finding(name, "not found", f"run from the project's folder or pip install {OWNER}")
    wrong = None
    if name in MARKED:
        try:
            marked = f'OWNER = "{OWNER}"' in origin.read_text(encoding="utf-8")
        except (OSError, ValueError):
            marked = False
        if not marked:
            wrong = f"this is not the {name} of {OWNER}; uninstall the other package or remove the file that shadows it"
    return Finding(name, clean(origin.parent), wrong)


def _writable(name: str, folder: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
            file.flush()
    except OSError as error:
        return Finding(name, clean(folder), f"not writable ({error.strerror}); work in another folder or use -o")
    return Finding(name, f"{clean(folder)} (writable)")


def findings() -> list[Finding]:
    """Everything worth knowing, in the order it is printed."""
    own = version(OWNER)
    threads = ", ".join(f"{name}={clean(os.environ.get(name, 'unset'), 20)}" for name in THREADS)
    debug = "set" if os.environ.get("CERTIFY_DEBUG") else "unset"
    lines = [
        Finding(OWNER, own or "not installed, running from a source tree"),
        Finding("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Finding("platform", clean(f"{platform.platform()}, {os.cpu_count()} CPUs")),
        Finding("threads", threads),
        Finding("encoding", f"stdout {getattr(sys.stdout, 'encoding', None)}, CERTIFY_DEBUG {debug}"),
    ]
    lines += [_third_party(distribution, name) for distribution, name in PACKAGES.items()]
    lines += [_ours(name) for name in OURS]
    try:
        here = Path.cwd()
    except OSError:
        lines.append(Finding("folder", "gone", "the current folder was removed; change to another"))
    else:
        lines.append(_writable("folder", here))
    try:
        lines.append(_writable("temporary", Path(tempfile.gettempdir())))
    except OSError:
        lines.append(Finding("temporary", "none", "no writable temporary folder; set TMPDIR"))
    return lines
