"""Parts of figures: logarithmic axes that cannot overflow, labels at the ends of curves, shaded windows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theory.provenance import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#B87A00", "#A8508C", "#2A8FC0"
GREY, BLACK = "#6b6b6b", "#222222"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY, BLACK)
LABEL_WIDTH = 20
DASHES: tuple[str, ...] = ("-", "--", "-.", ":")

_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_MANTISSAS = (
    (0.5, (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)),
    (1.0, (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)),
    (2.5, (1.0, 2.0, 5.0)),
)


@dataclass(frozen=True)
class Curve:
    """A curve in decimal logarithms, or in plain values on a linear axis."""

    x: Array
    y: Array
    label: str
    color: str
    style: str = "-"
    width: float = 1.6


def log10(values: Array) -> Array:
    """Decimal logarithm; NaN where the value is not a positive finite number."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return finite(np.log10(values))


def finite(values: Array) -> Array:
    """NaN where infinite, so that nothing is drawn there."""
    return np.where(np.isfinite(values), values, np.nan)


def power_label(mantissa: float, exponent: int) -> str:
    """A tick such as 0.02, 5 or 2×10⁻⁵."""
    if -3 <= exponent <= 3:
        return f"{mantissa * 10.0**exponent:.6g}"
    power = "10" + str(exponent).translate(_SUPERSCRIPT)
    return power if mantissa == 1.0 else f"{mantissa:g}×{power}"


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is at least ``least``."""
    power = 10 ** max(0, math.floor(math.log10(max(least, 1.0))))
    return int(next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= least))


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Positions (decimal logarithms) and labels of ticks on [low, high]."""
    first, last = math.floor(low), math.ceil(high)
    step = _round_step((high - low) / 6)
    mantissas = next((m for span, m in _MANTISSAS if high - low <= span), (1.0,))
    exponents = range(first - first % step, last + 1, step) if mantissas == (1.0,) else range(first, last + 1)
    ticks = [(e + math.log10(m), power_label(m, e)) for e in exponents for m in mantissas]
    return [(position, label) for position, label in ticks if low <= position <= high]


def log_range(curves: Iterable[Array]) -> tuple[float, float]:
    """Limits for curves of decimal logarithms; a few tiny values (a start near 0) do not stretch them."""
    values = [c[np.isfinite(c)] for c in curves]
    values = [v for v in values if len(v)]
    high = max(float(v.max()) for v in values)
    # a point of the curve, never between a tiny start and the next one: with few times that would be as tiny
    tenth = min(float(np.quantile(v, 0.1, method="higher")) for v in values)
    low = max(min(float(v.min()) for v in values), tenth - 4.0)
    pad = max(0.06 * (high - low), 0.15)
    return low - pad, high + pad


def set_log_axis(ax: Axes, low: float, high: float) -> None:
    """A linear axis of decimal logarithms that reads as a logarithmic one."""
    ax.set_ylim(low, high)
    ticks = log_ticks(low, high)
    ax.set_yticks([t for t, _ in ticks], [label for _, label in ticks])


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions in [0, 1] moved apart to at least ``gap``, order kept, moved as little as a sweep manages."""
    order = sorted(range(len(positions)), key=lambda k: (positions[k], k))
    placed = [min(max(positions[k], 0.0), 1.0) for k in order]
    for k in range(1, len(placed)):
        placed[k] = max(placed[k], placed[k - 1] + gap)
    ceiling = 1.0
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], ceiling)
        ceiling = placed[k] - gap
    result = [0.0] * len(positions)
    for k, position in zip(order, placed, strict=True):
        result[k] = position
    return result


def _end(ax: Axes, curve: Curve) -> tuple[float, float]:
    """Last point of a curve in fractions of the axes; NaN where nothing is drawn."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    drawn = np.flatnonzero(np.isfinite(curve.y))
    if not len(drawn):
        return math.nan, math.nan
    fraction = (float(curve.y[drawn[-1]]) - low) / (high - low)
    across = (float(curve.x[drawn[-1]]) - left) / (right - left)
    return (1.0 if across > 0.97 else across), min(max(fraction, 0.0), 1.0)


def label_ends(ax: Axes, curves: Sequence[Curve]) -> None:
    """The name of every curve at its right end, joined to it by a thin line."""
    by_end: dict[float, list[tuple[Curve, float]]] = {}
    for curve in curves:
        x, y = _end(ax, curve)
        if not math.isnan(y):
            by_end.setdefault(round(x, 2), []).append((curve, y))
    for x, group in by_end.items():  # a curve that stops early is named where it stops
        names = ["\n".join(textwrap.wrap(curve.label, LABEL_WIDTH)) for curve, _ in group]
        gap = 0.085 * max(1 + name.count("\n") for name in names)
        for (curve, y), name, place in zip(group, names, spread([y for _, y in group], gap), strict=True):
            ax.plot([x, x + 0.025], [y, place], transform=ax.transAxes, color=curve.color, lw=0.8, clip_on=False)
            ax.text(x + 0.035, place, name, transform=ax.transAxes, color=curve.color, va="center", fontsize=9.5)


def name_values(ax: Axes, label: str) -> None:
    """What the vertical axis shows, written horizontally above it, where no tick label can collide with it."""
    ax.set_title(label, loc="left", x=-0.1)


def draw(ax: Axes, curves: Sequence[Curve], *, labels: bool = True) -> None:
    """Lines on prepared limits, with their names."""
    for curve in curves:
        ax.plot(curve.x, curve.y, color=curve.color, ls=curve.style, lw=curve.width)
    if labels:
        label_ends(ax, curves)


def set_time_axis(ax: Axes, times: Array) -> None:
    """Limits and name of the time axis."""
    start, end = float(times[0]), float(times[-1])
    ax.set_xlim(start, end if end > start else start + 1.0)
    ax.set_xlabel("time t")


def shade(ax: Axes, start: float, end: float, text: str, color: str = VERMILION) -> None:
    """A window in which something fails, named at its top."""
    ax.axvspan(start, end, facecolor=color, alpha=0.13, lw=0)
    low, high = ax.get_xlim()
    centre = (min(max((start + end) / 2, low), high) - low) / (high - low)
    ax.text(centre, 0.97, text, transform=ax.transAxes, ha="center", va="top", fontsize=9, color="#8a3c00")


def segments(mask: NDArray[np.bool_], times: Array) -> list[tuple[float, float]]:
    """Intervals of ``times`` where ``mask`` is true, each reaching back to the time before it."""
    inside = np.flatnonzero(mask)
    groups = np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1)
    return [(float(times[max(g[0] - 1, 0)]), float(times[g[-1]])) for g in groups if len(g)]
