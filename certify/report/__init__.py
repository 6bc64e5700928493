"""A ``Report`` for people and machines: terminal table, JSON, arrays, one HTML page with figures, JUnit XML.

Nothing here computes a bound. Rounding is directed so that printing can only make a model look worse (``numbers``);
strings that came from somebody else's file are cleaned (``words``). The deterministic files (``report.json``,
``arrays.npz``, ``report.html``, ``figures/``) have the same bytes whenever the same report is written; ``run.json``
holds wall times and host facts.
"""

from __future__ import annotations

from pathlib import Path

from certify.report import json_report
from certify.results import Report
from theory.errors import UserError

__all__ = ["write"]


def _put(path: Path, content: str | bytes) -> Path:
    """Write through a temporary file, so that an interruption leaves no half-written report."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    temporary.replace(path)
    return path


def _remove_old_page(directory: Path) -> None:
    """No page or figure of an earlier report may stand beside new numbers."""
    for path in [directory / "report.html", *(directory / "figures").glob("*.svg")]:
        path.unlink(missing_ok=True)


def _write_page(report: Report, directory: Path) -> dict[str, Path]:
    from certify.report import html

    drawn = list(html.all_figures(report))
    folder = directory / "figures"
    folder.mkdir(exist_ok=True)
    for figure in drawn:
        if figure.svg is not None:
            _put(folder / f"{figure.id}.svg", figure.svg + "\n")
    return {"html": _put(directory / "report.html", html.page(report, drawn)), "figures": folder}


def write(report: Report, directory: Path | str, *, html: bool = True) -> dict[str, Path]:
    """Write a report folder and say what is where.

    Parameters
    ----------
    report : Report
    directory : path
        Made if it does not exist; files of an earlier report in it are replaced.
    html : bool
        Whether to draw the figures and the page as well.

    Returns
    -------
    dict of str to Path
        Keys ``json``, ``arrays``, ``run``, and with ``html`` also ``html`` and ``figures``.

    Raises
    ------
    UserError
        E301 if the folder cannot be written.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_old_page(directory)
        paths = {
            "json": _put(directory / "report.json", json_report.report_json(report)),
            "arrays": _put(directory / "arrays.npz", json_report.arrays_npz(report)),
            "run": _put(directory / "run.json", json_report.run_json(report)),
        }
        return {**paths, **_write_page(report, directory)} if html else paths
    except OSError as error:
        raise UserError(
            "E301",
            f"the report cannot be written to {directory}: {error.strerror or error}",
            "Choose another directory with -o, or free some space.",
        ) from error
