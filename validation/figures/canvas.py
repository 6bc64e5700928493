"""Panels drawn with matplotlib: SVG and PNG with the same bytes on every run, and the plotted numbers as text."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from certify.report import axes, svg
from certify.report.axes import GREY
from theory.provenance import Array
from validation.figures.cells import Sheet
from validation.figures.panels import DIRECT, FLOOR, METHODS, REFERENCE, ROUNDING, SMOOTHED, STYLES, Panel, Rows, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PNG_LIMIT = 150_000
PNG_COLORS = 128
RESOLUTIONS = (110, 95, 80, 65, 50, 40)
WIDE, NARROW, HEIGHT = 3.0, 2.3, 2.0  # width of a panel with up to three columns and with more, in inches
BAND, FAINT, UNRUN = "#d9d9d4", "#777777", "#c4c4c4"
SMALL = 8.0


def log_limits(panel: Panel) -> tuple[float, float] | None:
    """Limits of a logarithmic panel, None if nothing positive is drawn; rounding errors do not stretch them."""
    values = [v for s in panel.series if np.isfinite(v := axes.log10(s.y)).any()]
    kept = [v for s in panel.series if np.isfinite(v := axes.log10(np.where(s.y > ROUNDING, s.y, np.nan))).any()]
    return panel.ylim or axes.log_range(kept or values) if values else None


def _band(ax: Axes, series: Series, *, log: bool) -> None:
    """A band with thin edges behind everything else."""
    bottom = ax.get_ylim()[0] if log else 0.0
    sides = [np.full_like(series.y, bottom) if series.low is None else series.low, series.y]
    low, high = (axes.log10(s) if log and (series.low is not None or k) else s for k, s in enumerate(sides))
    low = np.where(np.isfinite(low), low, bottom)
    ax.fill_between(series.x, low, high, color=BAND, alpha=0.6, lw=0, zorder=0.5)
    for edge in (high,) if series.low is None else (low, high):
        ax.plot(series.x, edge, color=GREY, lw=0.6, zorder=0.6)


def _cloud(ax: Axes, series: Series, y: Array, order: int) -> None:
    """Particles: rings for the reference, small marks inside them for a method."""
    style, ring = STYLES[series.name], series.name == REFERENCE
    look = {"mfc": "none", "mec": "#8a8a8a", "mew": 0.7} if ring else {"mfc": style.color, "mec": "none"}
    ax.plot(series.x, y, ls="none", marker=style.marker, ms=4.6 if ring else 2.4, zorder=order, **look)  # type: ignore[arg-type]


def _draw(ax: Axes, series: Series, order: int, *, log: bool) -> None:
    if series.kind == "band":
        _band(ax, series, log=log)
        return
    y = axes.log10(series.y) if log else series.y
    style = STYLES[series.name]
    if series.kind == "points":
        _cloud(ax, series, y, order)
    elif series.kind == "marked":
        ax.plot(series.x, y, color=style.color, ls=style.dashes, lw=1.4, marker=style.marker, ms=3.4, zorder=order)
    else:
        ax.plot(series.x, y, color=style.color, ls=style.dashes, lw=style.width, zorder=order)


def _say_missing(ax: Axes, panel: Panel, width: float) -> None:
    """An axis without data says why in words."""
    reasons: dict[str, list[str]] = {}
    for label, reason in panel.missing:
        reasons.setdefault(reason, []).append(label)
    alone = len(panel.missing) == 1
    parts = [reason if alone else f"{', '.join(who)}: {reason}" for reason, who in reasons.items()]
    columns = int(11 * width)
    text = "\n".join("\n".join(_wrapped(part, columns, 4)) for part in parts[:4]) or "nothing positive to draw"
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=SMALL, color=FAINT)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(UNRUN)


def _wrapped(text: str, columns: int, lines: int) -> list[str]:
    return textwrap.wrap(text, columns, max_lines=lines, placeholder=" …")


def _headline(ax: Axes, panel: Panel, width: float) -> None:
    """The title and, below it, small print: what is not drawn, what lies outside."""
    notes = list(panel.notes)
    if panel.missing and panel.series:
        notes.append("not available: " + ", ".join(label for label, _ in panel.missing))
    lines = _wrapped("; ".join(notes), int(12 * width), 3) if notes else []
    ax.set_title(panel.title, loc="left", fontsize=9.0, pad=4 + 9.5 * len(lines))
    if lines:
        ax.annotate(
            "\n".join(lines),
            (0, 1),
            (0, 2),
            "axes fraction",
            "offset points",
            va="bottom",
            fontsize=7.0,
            color="#555555",
        )


def _equal_scales(ax: Axes, panel: Panel) -> None:
    """A circle is a circle: the same extent in both directions."""
    x = np.concatenate([s.x[np.isfinite(s.x)] for s in panel.series])
    y = np.concatenate([s.y[np.isfinite(s.y)] for s in panel.series])
    half = 0.54 * max(np.ptp(x), np.ptp(y), 1e-12)
    for centre, limits in (((x.max() + x.min()) / 2, ax.set_xlim), ((y.max() + y.min()) / 2, ax.set_ylim)):
        limits(float(centre - half), float(centre + half))


def paint(ax: Axes, panel: Panel, width: float) -> None:
    """One panel on one pair of axes, ``width`` inches wide."""
    limits = log_limits(panel) if panel.log else panel.ylim
    data = [s for s in panel.series if s.name not in (FLOOR, SMOOTHED) and np.isfinite(s.y).any()]
    if not data or (panel.log and limits is None):
        ax.set_title(panel.title, loc="left", fontsize=9.0)
        _say_missing(ax, panel, width)
        return
    if panel.log and limits is not None:
        axes.set_log_axis(ax, *limits)
    for order, series in enumerate(panel.series, start=2):
        _draw(ax, series, order, log=panel.log)
    if panel.square:
        ax.set_box_aspect(1)
        _equal_scales(ax, panel)
    if panel.xlim is not None:
        ax.set_xlim(*panel.xlim)
    if limits is not None:
        ax.set_ylim(*limits)
    ax.set_xlabel(panel.xlabel, labelpad=1)
    ax.set_ylabel(panel.ylabel, labelpad=2)
    _headline(ax, panel, width)


def _legend(sheet: Sheet, rows: Rows) -> tuple[list[Any], list[str]]:
    """One entry for every method, run or not, and for what else is drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    everything = [s for row in rows for panel in row for s in panel.series]
    kinds = {s.kind for s in everything if s.name in METHODS}
    lines, marks = kinds != {"points"}, bool(kinds & {"points", "marked"})
    entries: list[tuple[Any, str]] = []
    for name, style in METHODS.items():
        state = sheet.state(name)
        look = {"ls": style.dashes if lines else "none", "marker": style.marker if marks else "", "ms": 3.4}
        handle = Line2D([], [], color=UNRUN if state else style.color, lw=1.6, **look)  # type: ignore[arg-type]
        entries.append((handle, f"{style.label}: {state.partition(':')[0]}" if state else style.label))
    drawn = {s.name: s for s in everything}
    reference = STYLES[REFERENCE]
    if sheet.reference is None:
        entries.append((Line2D([], [], color="none"), f"reference: {sheet.state(REFERENCE).partition(':')[0]}"))
    elif REFERENCE in drawn and drawn[REFERENCE].kind == "points":
        entries.append((Line2D([], [], ls="none", marker="o", mfc="none", mec="#8a8a8a", ms=4.6), "reference"))
    elif REFERENCE in drawn:
        entries.append((Line2D([], [], color=reference.color, lw=reference.width), "reference"))
    if SMOOTHED in drawn:
        smoothed = STYLES[SMOOTHED]
        entries.append((Line2D([], [], color=smoothed.color, ls=smoothed.dashes, lw=1.8), smoothed.label))
    if any(name.endswith(DIRECT) for name in drawn):
        entries.append((Line2D([], [], color=FAINT, ls=(0, (1, 1)), lw=1.0), "thin dots in its colour: without KDE"))
    if FLOOR in drawn:
        entries.append((Patch(facecolor=BAND, edgecolor=GREY, lw=0.6), STYLES[FLOOR].label))
    return [handle for handle, _ in entries], [label for _, label in entries]


def figure(sheet: Sheet, rows: Rows, title: str) -> Figure:
    """The whole figure, laid out; to be called inside ``svg.drawing``."""
    from matplotlib.figure import Figure as Blank

    columns = max(len(row) for row in rows)
    width = (WIDE if columns <= 3 else NARROW) if columns > 1 else 2 * WIDE
    heights = [0.95 * width if any(p.square and p.series for p in row) else HEIGHT for row in rows]
    made = Blank(figsize=(columns * width, sum(heights) + 0.95), layout="constrained")
    made.suptitle(title, fontsize=11, x=0.01, ha="left")
    grid = made.add_gridspec(len(rows), columns, height_ratios=heights)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            paint(made.add_subplot(grid[i, j]), panel, width)
    handles, labels = _legend(sheet, rows)
    columns = 3 if columns <= 2 else 4
    made.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=8.5)
    engine = made.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.05, h_pad=0.05, hspace=0.02, wspace=0.02)  # type: ignore[call-arg]
        engine.execute(made)
    made.set_layout_engine("none")  # once is enough for both files
    return made


def png(made: Figure) -> bytes:
    """A PNG of at most 150 kB: the largest resolution that fits, few colours, without dates and program names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    data = b""
    for resolution in RESOLUTIONS:
        made.set_dpi(resolution)
        canvas = FigureCanvasAgg(made)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        buffer = io.BytesIO()
        image.quantize(PNG_COLORS, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
        data = buffer.getvalue()
        if len(data) <= PNG_LIMIT:
            break
    return data


def render(sheet: Sheet, rows: Rows, figure_id: str, title: str) -> tuple[str, bytes]:
    """SVG text and PNG bytes."""
    with svg.drawing(figure_id):
        made = figure(sheet, rows, title)
        return svg.render(made, figure_id, title), png(made)


def table(rows: Rows) -> str:
    """The plotted numbers, tidy: panel, series, x, y. Bands have one series for each side, gaps an empty y.

    What is missing is a row with the reason in place of the series.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("panel", "series", "x", "y"))
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            name = f"{chr(97 + i)}{j + 1} {panel.title}"
            for series in panel.series:
                for label, values in _sides(series):
                    writer.writerows((name, label, *pair) for pair in _pairs(series.x, values))
            writer.writerows((name, f"{who}: {reason}", "", "") for who, reason in panel.missing)
    return buffer.getvalue()


def _sides(series: Series) -> list[tuple[str, Array]]:
    if series.low is None:
        return [(series.name, series.y)]
    return [(f"{series.name}, low", series.low), (f"{series.name}, high", series.y)]


def _pairs(x: Array, y: Array) -> Iterator[tuple[str, str]]:
    for a, b in zip(x, y, strict=True):
        yield (f"{a:.6g}" if np.isfinite(a) else "", f"{b:.6g}" if np.isfinite(b) else "")
