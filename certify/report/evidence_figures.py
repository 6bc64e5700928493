"""Figures of two-sided intervals, Lipschitz constants and bandwidth sweeps, from a report's ingredients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from certify.report import axes, captions, evidence, svg, words
from certify.report.axes import BLUE, CYCLE, GREEN, GREY, PURPLE, VERMILION, Curve
from certify.report.curves import LOG10, on_times, shown_log
from certify.report.figures import Figure, _absent, _blank, _log_panel, _single, _slug
from certify.results import Bracket, Report
from theory.provenance import Array, Side

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bracket_id(bracket: Bracket) -> str:
    """Id of the figure of a two-sided interval."""
    return f"bracket-{_slug(bracket.id)}"


def bracket(report: Report, one: Bracket) -> Figure:
    """Lower end, upper end and measured error over time."""
    figure_id, caption = bracket_id(one), captions.BRACKET
    title = f"{words.SHORT.get(one.id, words.clean(one.id, 32))}: {caption.title.lower()}"
    lower = words.lower_curve(one)
    upper = axes.log10(one.upper)
    curves = [Curve(report.times, upper, "at most", BLUE, "-", 2.4)] if len(upper) == len(report.times) else []
    if lower is not None and len(lower) == len(report.times):
        curves.append(Curve(report.times, axes.log10(lower), "at least", VERMILION, "-", 2.0))
    measured = report.measured.get(one.id)
    for name, side, style in (("measured, at most", "upper", ":"), ("measured, at least", "lower", "--")):
        value = on_times(getattr(measured, side, None), report.times)
        if value is not None:
            curves.append(Curve(report.times, axes.log10(value), name, GREEN, style, 1.2))
    curves = [c for c in curves if np.isfinite(c.y).any()]
    if not curves:
        return _absent(figure_id, caption, "neither end has a finite positive value", title)

    def paint(ax: Axes) -> None:
        if lower is not None and len(upper) == len(report.times):
            ax.fill_between(report.times, axes.log10(lower), upper, color=BLUE, alpha=0.10, lw=0)
        _log_panel(ax, report.times, curves, words.SHORT.get(one.id, words.clean(one.id, 32)))

    return _single(figure_id, caption, paint, title)


def _curves(report: Report, wanted: Sequence[tuple[str, str, str, str]]) -> list[Curve]:
    """Ingredients over time, given as (id, label, colour, style); those that cannot be drawn are left out."""
    found = []
    for name, label, color, style in wanted:
        estimate = report.ingredients.get(name)
        points = None if estimate is None else evidence.curve(estimate, report)
        if points is not None and np.isfinite(axes.log10(points[1])).any():
            found.append(Curve(points[0], axes.log10(points[1]), label, color, style))
    return found


def lipschitz(report: Report) -> Figure:
    """Intervals [sampled, verified] of the learned constants over time."""
    families = (
        ("learned_score_lipschitz", "score", BLUE),
        ("error_lipschitz", "score error", VERMILION),
        ("learned_drift_lipschitz", "drift", GREEN),
        ("learned_drift_log_norm", "drift log-norm", PURPLE),
    )
    curves, bands = [], []
    for name, label, color in families:
        members = {w: report.ingredients[name + w] for w, _ in evidence.WAYS if name + w in report.ingredients}
        points = {w: p for w, e in members.items() if (p := evidence.curve(e, report)) is not None}
        sides = {w: members[w].side for w in points}
        upper = [points[w] for w in points if sides[w] in (Side.UPPER, Side.BOTH)]
        lower = [points[w] for w in points if sides[w] in (Side.LOWER, Side.BOTH)]
        high, low = _envelope(upper, report, np.minimum), _envelope(lower, report, np.maximum)
        drawn = ((high, f"{label} <=", "-"), (low, f"{label} >=", "--"))
        curves += [
            Curve(report.times, axes.log10(v), text.replace("<=", "≤").replace(">=", "≥"), color, style)
            for v, text, style in drawn
            if v is not None and np.isfinite(axes.log10(v)).any()
        ]
        if high is not None and low is not None:
            bands.append((low, high, color))
    if not curves:
        return _absent("lipschitz", captions.LIPSCHITZ, f"no finite positive value (needs {captions.LIPSCHITZ.needs})")

    def paint(ax: Axes) -> None:
        for low, high, color in bands:
            ax.fill_between(report.times, axes.log10(low), axes.log10(high), color=color, alpha=0.05, lw=0)
        _log_panel(ax, report.times, curves, "constant on the ball")

    return _single("lipschitz", captions.LIPSCHITZ, paint)


def _envelope(
    parts: Sequence[tuple[Array, Array]], report: Report, best: Callable[[Array, Array], Array]
) -> Array | None:
    """The best of several curves at the report times; curves at nodes are taken at the nearest node."""
    value: Array | None = None
    for x, y in parts:
        if not len(x):
            continue
        here = y[np.abs(x[:, None] - report.times[None, :]).argmin(axis=0)]
        value = here if value is None else best(value, here)
    return value


def drift_constants(report: Report) -> Figure:
    """Exact drift: its Lipschitz constant and log-norm against Lemma 1's product of constants."""
    wanted = (
        ("drift_lipschitz", "Lip U, exact", BLUE, "-"),
        ("drift_log_norm", "log-norm of U, exact", GREEN, "-"),
        ("score_lipschitz", "Lip s, exact", GREY, ":"),
    )
    curves = _curves(report, wanted)
    product = next((c for c in report.certificates if c.id == "lemma1_lipschitz"), None)
    log = None if product is None else shown_log(product, product.log_bound)
    if product is not None and log is not None and np.isfinite(log).any():
        curves.insert(0, Curve(product.times, axes.finite(log / LOG10), "Lemma 1's product", VERMILION, "--"))
    if not curves:
        return _absent("drift-constants", captions.DRIFT, f"no finite positive value (needs {captions.DRIFT.needs})")
    return _single("drift-constants", captions.DRIFT, lambda ax: _log_panel(ax, report.times, curves, "constant"))


def bandwidth(report: Report) -> Figure:
    """Theorem 6's bound at the last time against the bandwidth."""
    sweeps = evidence.sweeps(report.ingredients)
    curves = [
        Curve(axes.log10(s.h), axes.log10(s.bound), s.kernel, CYCLE[k])
        for k, s in enumerate(sweeps)
        if np.isfinite(axes.log10(s.bound)).any() and np.isfinite(axes.log10(s.h)).all()
    ]
    if not curves:
        return _absent("bandwidth", captions.BANDWIDTH, f"no sweep in this report (needs {captions.BANDWIDTH.needs})")
    with svg.drawing("bandwidth"):
        figure = _blank()
        ax = figure.add_axes((0.125, 0.15, 0.575, 0.755))
        axes.set_log_axis(ax, *axes.log_range([c.y for c in curves]))
        left, right = min(float(c.x.min()) for c in curves), max(float(c.x.max()) for c in curves)
        ax.set_xlim(left, right if right > left else left + 1.0)
        ticks = axes.log_ticks(left, right)
        ax.set_xticks([t for t, _ in ticks], [label for _, label in ticks])
        ax.set_xlabel("bandwidth h")
        axes.name_values(ax, "bound on E‖f̂ − f‖")
        axes.draw(ax, curves)
        for k, s in enumerate(sweeps):
            ax.axvline(np.log10(s.bandwidth), color=CYCLE[k], lw=0.9, ls=":")
        title = captions.BANDWIDTH.title
        return Figure("bandwidth", title, captions.BANDWIDTH, svg.render(figure, "bandwidth", title))


MAKERS: tuple[Callable[[Report], Figure], ...] = (lipschitz, drift_constants, bandwidth)


def all_figures(report: Report) -> Iterator[Figure]:
    """Intervals first, then the constants."""
    for one in report.brackets:
        yield bracket(report, one)
    for make in MAKERS:
        yield make(report)
