"""The table in the terminal: 80 columns, plain text when piped, nothing truncated that matters."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from certify.report import conservation, numbers, words
from certify.report.curves import last_measured, log_effectivity
from certify.results import Certificate, Report, Status

WIDTH = 80
HEADER = ("certificate", "rigor", "bound", "measured", "ratio", "status")
_RIGHT = (False, False, True, True, True, False)
_COLOR: dict[Status, str] = {
    Status.CERTIFIED: "32",
    Status.CONDITIONAL: "36",
    Status.INDICATIVE: "33",
    Status.VACUOUS: "33",
    Status.VOID: "31",
    Status.CONTRADICTED: "1;31",
}


@dataclass(frozen=True)
class Style:
    """How to draw: how wide, and whether colours and characters beyond ASCII may be used."""

    width: int = WIDTH
    color: bool = False
    ascii_only: bool = False

    def paint(self, text: str, code: str) -> str:
        """``text`` in a colour, or as it is."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def plain(self, text: str) -> str:
        """``text`` in the characters that may be used."""
        if not self.ascii_only:
            return text
        table = {"±": "+-", "≤": "<=", "≥": ">=", "—": "-", "–": "-", "…": "...", "·": "|"}
        return "".join(table.get(c, c) for c in text).encode("ascii", "replace").decode("ascii")


def wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Colours on a terminal only, unless NO_COLOR is set or TERM is dumb."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def shows_ascii_only(stream: TextIO | None) -> bool:
    """Whether a stream cannot show the characters of the table."""
    try:
        "±≤≥·…".encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return True
    return False


def cells(certificate: Certificate, style: Style) -> tuple[str, ...]:
    """One row of the table."""
    low, high = log_effectivity(certificate)
    return (
        certificate.id + ("*" if certificate.oracle else ""),
        certificate.rigor.label,
        words.bound_word(certificate),
        numbers.enclosure(*last_measured(certificate), pm="+-" if style.ascii_only else "±"),
        words.ratio_word(certificate, low, high, ascii_only=style.ascii_only),
        words.shown_status(certificate).name,
    )


def _widths(rows: list[tuple[str, ...]]) -> list[int]:
    return [max(len(row[k]) for row in rows) for k in range(len(HEADER))]


def _line(row: tuple[str, ...], widths: list[int], gap: str) -> str:
    padded = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, _RIGHT, strict=True))
    return gap.join(padded).rstrip()


def _stacked(row: tuple[str, ...]) -> str:
    """A row as lines of its own, for numbers too long for the table."""
    first = f"{row[0]}  {row[1]}  {row[5]}"
    return "\n".join([first, *(f"    {name}: {value}" for name, value in zip(HEADER[2:5], row[2:5], strict=True))])


def _wrapped(text: str, style: Style, indent: str = "") -> list[str]:
    return textwrap.wrap(
        style.plain(text), style.width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _fitting(rows: list[tuple[str, ...]], width: int) -> tuple[set[int], str]:
    """Rows that stand in the table together, and the gap between its columns; the widest ones leave it first."""
    order = sorted(range(len(rows)), key=lambda k: (sum(map(len, rows[k])), k))
    for gap, least in (("  ", len(rows)), (" ", 0)):
        for n in range(len(rows), least - 1, -1):
            inside = set(order[:n])
            widths = _widths([HEADER, *(rows[k] for k in inside)])
            if sum(widths) + len(gap) * (len(HEADER) - 1) <= width:
                return inside, gap
    return set(), " "


def _table(certificates: tuple[Certificate, ...], style: Style) -> list[str]:
    certificates = words.in_order(certificates)
    rows = [cells(c, style) for c in certificates]
    inside, gap = _fitting(rows, style.width)
    widths = _widths([HEADER, *(rows[k] for k in inside)])
    lines = [_line(HEADER, widths, gap), "-" * style.width] if inside or not rows else []
    for k, (certificate, row) in enumerate(zip(certificates, rows, strict=True)):
        text = _line(row, widths, gap) if k in inside else _stacked(row)
        status = words.shown_status(certificate)
        lines += text.replace(row[5], style.paint(row[5], _COLOR[status])).split("\n")
        if status is not Status.CERTIFIED:
            lines += _wrapped(words.short_reason(certificate), style, "    ")
    return lines


def _title(report: Report, style: Style) -> list[str]:
    marks = "".join(f"[{m}] " for m in words.marks(report))
    lines = _wrapped(f"{marks}{words.model_name(report)} · {words.problem_name(report)}", style)
    if not len(report.times):
        return lines
    return lines + _wrapped(f"values at t = {numbers.plain(report.times[-1])}; ratio = bound / measured error", style)


def _summary(report: Report, style: Style) -> list[str]:
    lines = []
    if any(c.oracle for c in report.certificates):
        lines += _wrapped("* oracle: uses constants of the exact solution; not available where none is known", style)
    for warning in report.warnings:
        lines += _wrapped(f"warning: {words.clean(warning, 600)}", style)
    for mark in words.marks(report):
        lines += _wrapped(f"{mark}: {words.MARK_MEANING[mark]}", style)
    lines += [line for b in report.brackets for line in _wrapped(words.bracket_line(b), style)]
    lines += _wrapped(words.tail_line(report), style)
    lines += _wrapped(conservation.line(report), style)
    if words.is_reference(report):
        lines += _wrapped(words.measured_line(report), style)
    found = ", ".join(f"{n} {status.name}" for status, n in words.counts(report.certificates).items())
    return lines + _wrapped(found or "no certificates", style) + _wrapped(words.headline(report), style)


def table(
    report: Report,
    *,
    width: int = WIDTH,
    color: bool = False,
    written: Mapping[str, Path] | None = None,
    ascii_only: bool | None = None,
) -> str:
    """The table, the counts, the headline and where the report is, as text ending in a newline.

    Parameters
    ----------
    width : int
        Columns; the table becomes a list where its numbers do not fit.
    color : bool
        Whether to colour the statuses; see ``wants_color``.
    written : mapping of str to Path, optional
        What ``certify.report.write`` returned; the page (or else the JSON) is named in the last line.
    ascii_only : bool, optional
        Whether to avoid characters beyond ASCII; by default what standard output can show.
    """
    style = Style(width, color, shows_ascii_only(sys.stdout) if ascii_only is None else ascii_only)
    lines = [*_title(report, style), "", *_table(report.certificates, style), "", *_summary(report, style)]
    where = (written or {}).get("html") or (written or {}).get("json")
    if where is not None:
        lines.append(style.plain(f"report: {words.clean(where, 4000)}"))
    return "\n".join(lines) + "\n"
