"""The paper's Figures 4-25 from validation cells: SVG, small PNG, the numbers as CSV, and captions."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from certify.console import unwritable
from certify.text import clean
from theory.errors import UserError
from validation.figures import canvas, captions
from validation.figures.cells import Sheet, sheets
from validation.figures.panels import METHODS, REFERENCE
from validation.figures.specs import SPECS


def draw(folder: Path, out: Path, numbers: Collection[int] | None = None) -> list[Path]:
    """Write ``figureNN.svg``, ``.png`` and ``.csv`` and ``figures.md``; the paths written.

    Parameters
    ----------
    folder : Path
        Holds ``<problem>/<method>.json`` and ``.npz``.
    out : Path
        Made if need be; files there are written over.
    numbers : collection of int or None
        Figures to draw; all by default.

    Raises
    ------
    UserError
        If there is no such folder, or the output cannot be written.
    """
    if not folder.is_dir():
        raise UserError("E400", f"no folder {clean(folder)}", "Give the one that the experiments were written to")
    found = sheets(folder)
    chosen = [spec for spec in SPECS if numbers is None or spec.number in numbers]
    beside = "Beside each PNG the same as SVG and its numbers as CSV are written."
    text = [
        "# Figures",
        "",
        beside,
        "",
        *captions.methods_table(found, dict.fromkeys(spec.problem for spec in chosen)),
        "",
    ]
    if extra := strangers(found):
        text += [f"Cells that no figure draws: {', '.join(extra)}.", ""]
    written: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for spec in chosen:
            sheet = found.get(spec.problem, Sheet(spec.problem))
            rows = spec.make(sheet)
            heading = spec.heading + (captions.QUICK if sheet.quick else "")
            drawing, picture = canvas.render(sheet, rows, spec.id, heading)
            for suffix, data in (("svg", drawing.encode()), ("png", picture), ("csv", canvas.table(rows).encode())):
                written.append(out / f"{spec.id}.{suffix}")
                written[-1].write_bytes(data)
            text += captions.caption(spec, sheet, rows)
        written.append(out / "figures.md")
        written[-1].write_text("\n".join(text), encoding="utf-8")
    except OSError as error:
        raise unwritable(out, error) from None
    return written


def strangers(found: dict[str, Sheet]) -> list[str]:
    """Cells that no figure draws."""
    known = {spec.problem for spec in SPECS}
    return [
        f"{problem}/{method}"
        for problem, sheet in found.items()
        for method in sheet.cells
        if problem not in known or method not in (*METHODS, REFERENCE)
    ]
