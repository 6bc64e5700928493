"""Figures of a report as SVG strings, one function each. A figure that cannot be drawn says why.

Names used from ``Report.arrays``, all optional::

    nodes or times   residual_rms  defect  defect_error  defect_residual_part  defect_score_part; nodes   stein
            score_excess_oracle  score_excess_push  score_excess_fisher  score_excess_statistical
    own     w1_times: w1_lower  w1_upper  w1_floor_low  w1_floor_high  w1_coupled
            moment_times: energy_learned  energy_exact  momentum_error  entropy_learned  entropy_rate_learned, and the
                last two with _exact or _reference for _learned
            slice_times (k), slice_v (n): slice_learned  slice_exact  slice_reference  (k, n), slice_reference_error (k)
            residual_map_x (nx), residual_map_y (ny): residual_map  (ny, nx)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from certify.report import axes, captions, svg, words
from certify.report.axes import BLACK, BLUE, CYCLE, DASHES, GREEN, GREY, PURPLE, VERMILION, Curve
from certify.report.captions import Caption
from certify.report.curves import LOG10, measured_sides, shown_log, void
from certify.results import Certificate, Report
from theory.hypotheses import STEIN_TOLERANCE
from theory.provenance import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

SIZE = (5.8, 3.1)
SPIKE = 3.0  # a learned density is drawn up to this multiple of the highest value of the exact one
RIGHT = 0.70


@dataclass(frozen=True)
class Figure:
    """A drawn figure, or the reason why there is none (then ``svg`` is None)."""

    id: str
    title: str
    caption: Caption
    svg: str | None
    missing: str = ""


def _absent(figure_id: str, caption: Caption, reason: str, title: str = "") -> Figure:
    return Figure(figure_id, title or caption.title, caption, None, f"not available: {reason}")


def _blank(size: tuple[float, float] = SIZE) -> MplFigure:
    from matplotlib.figure import Figure as Blank

    return Blank(figsize=size)


def _single(figure_id: str, caption: Caption, paint: Callable[[Axes], None], title: str = "") -> Figure:
    """A figure with one panel and room for labels on its right."""
    with svg.drawing(figure_id):
        figure = _blank()
        ax = figure.add_axes((0.125, 0.15, RIGHT - 0.125, 0.755))
        paint(ax)
        return Figure(figure_id, title or caption.title, caption, svg.render(figure, figure_id, title or caption.title))


def _array(report: Report, name: str, shape: tuple[int, ...]) -> Array | None:
    """A named array of the wanted shape with at least one finite value."""
    value = report.arrays.get(name)
    if value is None:
        return None
    value = np.asarray(value, dtype=np.float64)
    return value if value.shape == shape and np.isfinite(value).any() else None


def _why_absent(report: Report, names: Sequence[str], caption: Caption) -> str:
    """What is wrong with the arrays a figure needs."""
    present = [name for name in names if name in report.arrays]
    if not present:
        return f"{' and '.join(names)} not in this report (needs {caption.needs})"
    return f"{', '.join(present)}: wrong shape or no finite value"


def _log_panel(ax: Axes, times: Array, curves: Sequence[Curve], label: str) -> None:
    """Curves of decimal logarithms over time."""
    axes.set_log_axis(ax, *axes.log_range([c.y for c in curves]))
    axes.set_time_axis(ax, times)
    axes.name_values(ax, label)
    axes.draw(ax, curves)


def _nodal(
    report: Report,
    figure_id: str,
    caption: Caption,
    wanted: Sequence[tuple[str, str, str, str]],
    label: str,
    *,
    first_needed: bool = True,
) -> Figure:
    """A logarithmic figure of arrays over nodes or report times, given as (name, label, colour, style)."""
    start = report.times[0] if len(report.times) else -np.inf  # a restart's nodes begin before it
    curves = []
    for name, text, color, style in wanted:
        x = report.nodes
        value = _array(report, name, x.shape)
        if value is None:
            x = report.times
            value = _array(report, name, x.shape)
        if value is not None and np.isfinite(axes.log10(value[x >= start])).any():
            curves.append(Curve(x[x >= start], axes.log10(value[x >= start]), text, color, style))
    if not curves or (first_needed and curves[0].label != wanted[0][1]):
        return _absent(figure_id, caption, _why_absent(report, [w[0] for w in wanted[:2]], caption))
    return _single(figure_id, caption, lambda ax: _log_panel(ax, report.times, curves, label))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def certificate_id(certificate: Certificate) -> str:
    """Id of the figure of a bound."""
    return f"bound-{_slug(certificate.id)}"


def terms_id(certificate: Certificate) -> str:
    """Id of the figure of its terms."""
    return f"terms-{_slug(certificate.id)}"


def _measured_curves(certificate: Certificate) -> list[Curve]:
    """Upper and lower value of the measured error; one curve where they cannot be told apart."""
    lower, upper = measured_sides(certificate)
    if lower is not None and upper is not None and np.allclose(lower, upper, rtol=1e-3, atol=0.0):
        lower, upper, names = None, upper, ("measured", "")
    else:
        names = ("measured, at most", "measured, at least")
    sides = ((names[0], upper, "-"), (names[1], lower, "--"))
    return [
        Curve(certificate.times, axes.log10(v), name, GREEN, style, 1.2)
        for name, v, style in sides
        if v is not None and np.isfinite(axes.log10(v)).any()
    ]


def certificate(certificate: Certificate) -> Figure:
    """Bound, measured error and trivial bound over time; logarithms throughout, so that nothing overflows."""
    figure_id, caption = certificate_id(certificate), captions.CERTIFICATE
    title = f"{certificate.id}: {caption.title.lower()}"
    curves = []
    bound = shown_log(certificate, certificate.log_bound)
    if bound is not None and np.isfinite(bound).any():
        curves.append(Curve(certificate.times, axes.finite(bound / LOG10), words.noun(certificate), BLUE, "-", 2.4))
    if certificate.log_trivial is not None and np.isfinite(certificate.log_trivial).any():
        trivial = axes.finite(certificate.log_trivial / LOG10)
        curves.append(Curve(certificate.times, trivial, "trivial bound", GREY, "--", 1.4))
    measured = _measured_curves(certificate)
    if not curves and not measured:
        return _absent(figure_id, caption, "no finite bound, trivial bound or measured error to draw", title)

    def paint(ax: Axes) -> None:
        everything = [*curves, *measured]
        low, high = axes.log_range([c.y for c in everything])
        axes.set_time_axis(ax, certificate.times)
        axes.set_log_axis(ax, low, high)
        for start, end in axes.segments(void(certificate), certificate.times):
            axes.shade(ax, start, end, "void: a hypothesis fails")
        if bound is not None:
            for start, end in axes.segments(np.isposinf(bound), certificate.times):
                axes.shade(ax, start, end, "bound infinite", GREY)
        if len(measured) == 2:
            floor = np.where(np.isnan(measured[1].y), low, measured[1].y)
            ax.fill_between(certificate.times, floor, measured[0].y, color=GREEN, alpha=0.25, lw=0)
        axes.name_values(ax, _unit_label(certificate))
        axes.draw(ax, everything)

    return _single(figure_id, caption, paint, title)


_AXIS = {
    "w1": "W₁",
    "w2": "W₂",
    "l1": "L¹ distance",
    "kl": "relative entropy",
    "trajectory": "trajectory error",
    "particles": "mean squared error",
    "chi2": "weighted L² distance",
    "mean_w1": "E W₁",
}


def _unit_label(certificate: Certificate) -> str:
    return _AXIS.get(certificate.theorem.bounds, words.clean(certificate.theorem.bounds, 32))


NEGLIGIBLE = -4.0  # decimal logarithm of the largest share of a term that is not worth a curve


def _visible_terms(certificate: Certificate) -> list[tuple[str, Array]]:
    """Terms (decimal logarithms) that reach a share of the bound at some time at which it is finite and not void."""
    bound = shown_log(certificate, certificate.log_bound)
    found = []
    for name, values in certificate.log_terms.items():
        term = shown_log(certificate, values)
        if term is None or bound is None:
            continue
        both = np.isfinite(term) & np.isfinite(bound)
        if both.any() and float(np.max(term[both] - bound[both])) > NEGLIGIBLE * LOG10:
            found.append((name, term / LOG10))
    return found


def terms(certificate: Certificate) -> Figure:
    """The named terms of a bound over time, those below a share of 10^-4 left out."""
    figure_id, caption = terms_id(certificate), captions.TERMS
    title = f"{certificate.id}: {caption.title.lower()}"
    alive = _visible_terms(certificate)
    if len(alive) < 2:
        only = (
            f"the term '{words.clean(alive[0][0], 60)}' is all but 0.01 % of the bound" if alive else "no finite term"
        )
        return _absent(figure_id, caption, only, title)
    curves = [
        Curve(certificate.times, axes.finite(v), words.clean(name, 32), CYCLE[k % len(CYCLE)], DASHES[k % len(DASHES)])
        for k, (name, v) in enumerate(alive)
    ]

    def paint(ax: Axes) -> None:
        for start, end in axes.segments(void(certificate), certificate.times):
            ax.axvspan(start, end, facecolor=VERMILION, alpha=0.13, lw=0)
        _log_panel(ax, certificate.times, curves, _unit_label(certificate))

    return _single(figure_id, caption, paint, title)


def defect(report: Report) -> Figure:
    """Flow defect over time with its split and its quadrature error."""
    wanted = (
        ("defect", "flow defect", BLUE, "-"),
        ("defect_residual_part", "residual part", VERMILION, "-."),
        ("defect_score_part", "score part", PURPLE, ":"),
        ("defect_error", "quadrature error", GREY, "--"),
    )
    return _nodal(report, "defect", captions.DEFECT, wanted, "velocity / time")


def residual(report: Report) -> Figure:
    """Root mean square residual over time."""
    wanted = (("residual_rms", "residual", BLUE, "-"),)
    return _nodal(report, "residual", captions.RESIDUAL, wanted, "velocity / time")


def excess_risk(report: Report) -> Figure:
    """Excess risk of the learned score over time."""
    wanted = (
        ("score_excess_push", "vs learned density", BLUE, "-"),
        ("score_excess_oracle", "vs exact score", VERMILION, "--"),
        ("score_excess_fisher", "J + I(f₀)", PURPLE, "-."),
        ("score_excess_statistical", "held-out particles", GREEN, ":"),
    )
    return _nodal(report, "excess-risk", captions.EXCESS, wanted, "mean squared score error", first_needed=False)


def stein(report: Report) -> Figure:
    """Stein residual over time with the tolerance of its hypothesis."""
    value = _array(report, "stein", report.nodes.shape)
    if value is None or not np.isfinite(axes.log10(value)).any():
        return _absent("stein", captions.STEIN, _why_absent(report, ["stein"], captions.STEIN))
    curves = [
        Curve(report.nodes, axes.log10(value), "Stein residual", BLUE),
        Curve(report.nodes, np.full(len(value), np.log10(STEIN_TOLERANCE)), "tolerance", GREY, "--"),
    ]
    return _single("stein", captions.STEIN, lambda ax: _log_panel(ax, report.times, curves, "largest entry"))


def _cell_edges(centres: Array) -> tuple[float, float]:
    half = (centres[-1] - centres[0]) / max(len(centres) - 1, 1) / 2
    return float(centres[0] - half), float(centres[-1] + half)


def residual_map(report: Report) -> Figure:
    """Magnitude of the flow defect over velocity space at the final time."""
    names = ("residual_map", "residual_map_x", "residual_map_y")
    x, y = report.arrays.get(names[1]), report.arrays.get(names[2])
    field = None if x is None or y is None else _array(report, names[0], (np.size(y), np.size(x)))
    if x is None or y is None or field is None:
        return _absent("residual-map", captions.RESIDUAL_MAP, _why_absent(report, names, captions.RESIDUAL_MAP))
    values = axes.log10(field)
    if not np.isfinite(values).any():
        return _absent("residual-map", captions.RESIDUAL_MAP, "the defect is zero everywhere on the grid")
    high = float(np.nanmax(values))
    low = max(float(np.nanmin(values)), high - 4.0)
    low = low if low < high else high - 1.0
    step = max(1, max(field.shape) // 120 + (max(field.shape) % 120 > 0))
    with svg.drawing("residual-map"):
        figure = _blank((5.8, 3.6))
        ax = figure.add_axes((0.12, 0.13, 0.56, 0.83))
        ax.grid(visible=False)
        ax.imshow(
            values[::step, ::step], origin="lower", extent=(*_cell_edges(x), *_cell_edges(y)), cmap="cividis",
            vmin=low, vmax=high, interpolation="none", aspect="equal",
        )  # fmt: skip
        ax.set_xlabel("v₁")
        ax.set_ylabel("v₂")
        bar = figure.add_axes((0.76, 0.16, 0.03, 0.72))
        bar.grid(visible=False)
        ramp = np.linspace(low, high, 64)[:, None]
        bar.imshow(ramp, origin="lower", extent=(0, 1, low, high), cmap="cividis", interpolation="none", aspect="auto")
        ticks = axes.log_ticks(low, high)
        bar.set_yticks([t for t, _ in ticks], [label for _, label in ticks])
        bar.yaxis.tick_right()
        bar.set_xticks([])
        bar.set_title("|defect|", fontsize=9)
        title = captions.RESIDUAL_MAP.title
        return Figure("residual-map", title, captions.RESIDUAL_MAP, svg.render(figure, "residual-map", title))


def wasserstein(report: Report) -> Figure:
    """Sample Wasserstein-1 distance with its noise floor and the coupled estimate."""
    times = report.arrays.get("w1_times")
    shape = () if times is None else times.shape
    get = {
        name: _array(report, f"w1_{name}", shape) for name in ("lower", "upper", "floor_low", "floor_high", "coupled")
    }
    logs = {name: axes.log10(v) for name, v in get.items() if v is not None and np.isfinite(axes.log10(v)).any()}
    if times is None or not ({"upper", "coupled", "lower"} & set(logs)):
        return _absent("w1", captions.W1, _why_absent(report, ("w1_lower", "w1_upper"), captions.W1))
    truth = "reference" if words.is_reference(report) else "exact"
    wanted = (
        ("upper", f"learned vs {truth}", BLUE, "-"),
        ("floor_high", "noise floor", GREY, ":"),
        ("coupled", "same-start coupling", VERMILION, "--"),
    )
    curves = [Curve(times, logs[name], label, color, style) for name, label, color, style in wanted if name in logs]
    if "upper" not in logs and "lower" in logs:
        curves.append(Curve(times, logs["lower"], "samples, at least", BLUE, "-."))

    def paint(ax: Axes) -> None:
        for low, high, color in (("floor_low", "floor_high", GREY), ("lower", "upper", BLUE)):
            if low in logs and high in logs:
                ax.fill_between(times, logs[low], logs[high], color=color, alpha=0.25, lw=0)
        _log_panel(ax, times, curves, "W₁")

    return _single("w1", captions.W1, paint)


def _truth(report: Report, name: str, shape: tuple[int, ...]) -> tuple[Array | None, str]:
    """The curve to compare with, exact before reference, and what to call it."""
    for kind in ("exact", "reference"):
        value = _array(report, f"{name}_{kind}", shape)
        if value is not None:
            return value, kind
    return None, "no exact or reference solution"


def slices(report: Report) -> Figure:
    """Density along a line through the mean, learned against exact or reference, at up to four times."""
    v, times = report.arrays.get("slice_v"), report.arrays.get("slice_times")
    shape = () if v is None or times is None else (np.size(times), np.size(v))
    learned = _array(report, "slice_learned", shape)
    truth, kind = _truth(report, "slice", shape)
    if v is None or times is None or learned is None:
        return _absent("slices", captions.SLICES, _why_absent(report, ("slice_learned", "slice_v"), captions.SLICES))
    chosen = np.unique(np.linspace(0, len(times) - 1, min(4, len(times))).round().astype(int))
    shown = [learned[chosen]] if truth is None else [learned[chosen], truth[chosen]]
    highest = [float(np.max(x[np.isfinite(x)], initial=0.0)) for x in shown]
    # a spike of the learned density (det J nearly 0) must not flatten the other curve
    top = min(highest[0], SPIKE * highest[1]) if len(highest) == 2 and highest[1] > 0 else highest[0]
    top = max(top, highest[-1])
    with svg.drawing("slices"):
        figure = _blank((5.8, 2.6))
        width = 0.84 / len(chosen)
        for place, k in enumerate(chosen):
            ax = figure.add_axes((0.14 + place * width, 0.19, width * 0.88, 0.66))
            for start, end in _gaps(np.isfinite(learned[k]), v):
                ax.axvspan(start, end, facecolor=VERMILION, alpha=0.13, lw=0)
            ax.plot(v, axes.finite(learned[k]), color=VERMILION, lw=2.0)
            if truth is not None:
                ax.plot(v, axes.finite(truth[k]), color=BLACK, lw=1.0, ls="--")
            ax.set_xlim(float(v[0]), float(v[-1]))
            ax.set_ylim(0, 1.08 * top if top > 0 else 1)
            ax.set_title(f"t = {times[k]:.3g}")
            ax.set_xlabel("v₁")
            if place:
                ax.set_yticklabels([])
            else:
                ax.set_ylabel("density")
        figure.text(0.14, 0.955, "learned", color=VERMILION, fontsize=9.5)
        figure.text(0.25, 0.955, kind if truth is None else f"{kind} (dashed)", color=BLACK, fontsize=9.5)
        title = captions.SLICES.title
        return Figure("slices", title, captions.SLICES, svg.render(figure, "slices", title))


def _gaps(known: NDArray[np.bool_], v: Array) -> list[tuple[float, float]]:
    """Intervals of v, each half a step wider than its points, on which a curve is not known."""
    half = float(v[-1] - v[0]) / max(len(v) - 1, 1) / 2
    inside = np.flatnonzero(~known)
    groups = np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1)
    return [(float(v[g[0]]) - half, float(v[g[-1]]) + half) for g in groups if len(g)]


def _moment_panels(report: Report, times: Array) -> list[tuple[str, list[tuple[Array, str, str]]]]:
    """(title, curves) of every panel that has data; a curve is (values, colour, style)."""

    def get(name: str) -> Array | None:
        return _array(report, name, times.shape)

    panels: list[tuple[str, list[tuple[Array, str, str]]]] = []
    energy, exact = get("energy_learned"), get("energy_exact")
    if energy is not None:
        reference = energy[0] if exact is None else exact
        with np.errstate(divide="ignore", invalid="ignore"):
            drift = axes.finite((energy - reference) / reference)
        panels.append(
            ("relative energy error" if exact is not None else "relative energy drift", [(drift, VERMILION, "-")])
        )
    momentum = get("momentum_error")
    if momentum is not None:
        panels.append(("|mean − conserved mean|", [(momentum, VERMILION, "-")]))
    for key, title in (("entropy", "entropy"), ("entropy_rate", "entropy rate")):
        sides = ((get(f"{key}_learned"), VERMILION, "-"), (_truth(report, key, times.shape)[0], BLACK, "--"))
        drawn = [(v, color, style) for v, color, style in sides if v is not None]
        if drawn:
            panels.append((title, drawn))
    return panels


def _scale_exponent(values: Sequence[Array]) -> int:
    """Power of ten to take out of an axis: 0 for ordinary numbers, a multiple of three for tiny or huge ones."""
    largest = max((float(np.nanmax(np.abs(v))) for v in values if np.isfinite(v).any()), default=1.0)
    if largest == 0 or 0.1 <= largest < 1e4:  # ticks such as -0.0305 would reach into the next panel
        return 0
    return 3 * int(np.floor(np.log10(largest) / 3))


def moments(report: Report) -> Figure:
    """Energy, momentum, entropy and entropy rate."""
    times = report.arrays.get("moment_times")
    panels = [] if times is None else _moment_panels(report, times)
    if times is None or not panels:
        names = ("energy_learned", "entropy_learned")
        return _absent("moments", captions.MOMENTS, _why_absent(report, names, captions.MOMENTS))
    rows = (len(panels) + 1) // 2
    with svg.drawing("moments"):
        figure = _blank((5.8, 0.5 + 1.75 * rows))
        height = 0.92 / rows
        for place, (name, drawn) in enumerate(panels):
            row, column = divmod(place, 2)
            ax = figure.add_axes((0.1 + 0.47 * column, 0.93 - height * (row + 1) + 0.26 * height, 0.385, 0.58 * height))
            exponent = _scale_exponent([v for v, _, _ in drawn])
            for values, color, style in drawn:
                ax.plot(times, axes.finite(values) / 10.0**exponent, color=color, ls=style)
            ax.set_title(name + (f"  (× {axes.power_label(1.0, exponent)})" if exponent else ""))
            axes.set_time_axis(ax, times)
            if row < rows - 1:
                ax.set_xlabel("")
        figure.text(0.1, 0.975, "learned", color=VERMILION, fontsize=9.5, va="center")
        kinds = [k for v, k in (_truth(report, n, times.shape) for n in ("entropy", "entropy_rate")) if v is not None]
        if kinds:
            figure.text(0.24, 0.975, f"{kinds[0]} (dashed)", color=BLACK, fontsize=9.5, va="center")
        title = captions.MOMENTS.title
        return Figure("moments", title, captions.MOMENTS, svg.render(figure, "moments", title))


GLOBAL: tuple[Callable[[Report], Figure], ...] = (
    defect,
    residual,
    residual_map,
    excess_risk,
    stein,
    wasserstein,
    slices,
    moments,
)


def all_figures(report: Report) -> Iterator[Figure]:
    """Figures of the certificates, then those of the arrays, in the order of the page."""
    for one in words.in_order(report.certificates):
        yield certificate(one)
        yield terms(one)
    for make in GLOBAL:
        yield make(report)
