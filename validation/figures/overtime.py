"""Panels of errors and observables against time (Figures 7, 8, 12, 13, 16, 19, 22, 25)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from theory.provenance import Array
from validation.figures.cells import Cell, Sheet
from validation.figures.panels import FLOOR, METHODS, REFERENCE, ROUNDING, STYLES, Panel, Series

STANDARD_ERRORS = 2.0  # half-width of a band about the reference
SAME = 0.2  # floors that differ by less than this fraction are drawn as one


def gather(
    sheet: Sheet, get: Callable[[Cell], Series | None], needs: str, *, reference: bool = True
) -> tuple[list[Series], list[tuple[str, str]]]:
    """The series of all cells that have one, reference first, and the reasons of the methods that have not.

    Methods without any results are named in the legend of the figure and not repeated here, unless there is no other.
    """
    drawn, missing = [], []
    for name, cell in sheet.made.items():
        if name == REFERENCE and not reference:
            continue
        series = get(cell)
        if series is not None and np.isfinite(series.y).any():
            drawn.append(series)
        else:
            missing.append((STYLES[name].label, cell.why(needs)))
    return drawn, missing if drawn or missing else sheet.nobody()


def floors(cells: Iterable[Cell], metric: str) -> list[tuple[Array, Array]]:
    """(times, floor) of the smallest and the largest noise floor of the cells: they differ with the particle number."""
    found = [(c.times, f) for c in cells if (f := c.floor(metric)) is not None]
    if not found:
        return []
    times = found[0][0]
    values = np.array([f for t, f in found if t.shape == times.shape and np.allclose(t, times)])
    low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    both = [(times, high)]
    return both if np.allclose(low, high, rtol=SAME, equal_nan=True) else [*both, (times, low)]


def over_time(
    sheet: Sheet,
    metric: str,
    title: str,
    value: Callable[[Cell], Array | None] | None = None,
    *,
    log: bool = True,
    reference: bool = False,
) -> Panel:
    """A quantity of every method against time, above the noise floor of the metric.

    Parameters
    ----------
    metric : str
        For the floor and for the reason of an absence.
    value : callable or None
        The quantity of a cell, (m,); the metric itself, with its floor, by default.
    reference : bool
        Whether the reference has a curve as well.
    """
    get = value or (lambda cell: cell.metric(metric))

    def series(cell: Cell) -> Series | None:
        y = get(cell)
        return None if y is None else Series(cell.method, cell.times, y, "marked" if cell.method in METHODS else "line")

    drawn, missing = gather(sheet, series, metric, reference=reference)
    found = floors(sheet.made.values(), metric) if value is None else []
    bands = [Series(FLOOR, t, f, "band") for t, f in found]
    return Panel(title, "time t", "", (*bands, *drawn), tuple(missing), log=log)


def about_reference(sheet: Sheet, metric: str, panel: Panel, sign: float = 1.0) -> Panel:
    """The panel with a band of standard errors about the reference's curve, if both are known."""
    truth = None if sheet.reference is None else sheet.reference.metric(metric)
    if truth is None:
        return panel
    bands = []
    for times, error in floors(sheet.run.values(), metric):
        if times.shape == truth.shape:
            half, centre = STANDARD_ERRORS * error, sign * truth
            bands.append(Series(FLOOR, times, centre + half, "band", centre - half))
    return replace(panel, series=(*bands, *panel.series))


def energy(sheet: Sheet) -> Panel:
    """Mean squared speed, about the exact one."""
    panel = over_time(sheet, "energy", "energy, mean |v|²", lambda c: c.metric("energy"), log=False, reference=True)
    return about_reference(sheet, "energy", panel)


def _own_paths(cell: Cell) -> Array | None:
    """The reference's paths of the common starts that it resolves at all times."""
    x = cell.array("x", 3) if cell.method == REFERENCE else None
    if x is None:
        return None
    whole = np.isfinite(x).all(axis=(0, 2))
    return x[:, whole] if whole.any() else None


def energy_drift(cell: Cell) -> Array | None:
    """Relative change of the energy, (m,); the reference's is that of exact characteristics of finitely many starts."""
    x = _own_paths(cell)
    e = cell.metric("energy") if x is None else np.mean(np.sum(x * x, axis=-1), axis=1)
    return None if e is None else np.abs(e - e[0]) / abs(e[0])


def mean_drift(cell: Cell) -> Array | None:
    """Distance of the mean velocity from its start, (m,); the reference's as for the energy."""
    x = _own_paths(cell)
    return cell.metric("momentum") if x is None else np.linalg.norm(x.mean(axis=1) - x[0].mean(axis=0), axis=-1)


INVARIANTS: Mapping[str, Callable[[Cell], Array | None]] = {"energy": energy_drift, "momentum": mean_drift}


def _invariant(sheet: Sheet, metric: str, title: str) -> Panel:
    """The change of an invariant; what is zero to rounding lies below the axis and is said."""
    panel = over_time(sheet, metric, title, INVARIANTS[metric], reference=True)
    zero = [STYLES[s.name].label for s in panel.series if np.nanmax(s.y) <= ROUNDING]
    return replace(panel, notes=(f"{', '.join(zero)}: zero to rounding",)) if zero else panel


def energy_change(sheet: Sheet) -> Panel:
    """Relative change of the energy, which the equation conserves."""
    return _invariant(sheet, "energy", "relative change of the energy")


def momentum(sheet: Sheet) -> Panel:
    """Change of the mean velocity, which the equation conserves."""
    return _invariant(sheet, "momentum", "change of the mean velocity")


def dissipation(sheet: Sheet) -> Panel:
    """-dH/dt, not negative in an exact solution."""

    def rate(cell: Cell) -> Array | None:
        value = cell.metric("entropy_rate")
        return None if value is None else -value

    panel = over_time(sheet, "entropy_rate", "entropy decay rate, −dH/dt", rate, reference=True)
    notes = tuple(
        f"{STYLES[s.name].label}: {count} of {len(s.y)} of the wrong sign, not drawn"
        for s in panel.series
        if (count := int(np.sum(s.y < 0)))
    )
    return about_reference(sheet, "entropy_rate", replace(panel, notes=notes), -1.0)


def dissipation_error(sheet: Sheet) -> Panel:
    """Relative error of the entropy decay rate; its floor is the standard error."""
    truth = None if sheet.reference is None else sheet.reference.metric("entropy_rate")
    title = "relative error of dH/dt"
    if truth is None:
        return Panel(title, "time t", "", missing=(("reference", sheet.reason(REFERENCE, "entropy_rate")),), log=True)

    def error(cell: Cell) -> Array | None:
        value = cell.metric("entropy_rate")
        return None if value is None or truth.shape != value.shape else np.abs(value - truth) / np.abs(truth)

    panel = over_time(sheet, "entropy_rate", title, error)
    found = floors(sheet.run.values(), "entropy_rate")
    bands = [Series(FLOOR, t, f / np.abs(truth), "band") for t, f in found if f.shape == truth.shape]
    return replace(panel, series=(*bands, *panel.series))


def density_itself(sheet: Sheet) -> Panel:
    """Relative L2 error without a kernel estimate: by change of variables, or of the method's own reconstruction."""

    def value(cell: Cell) -> Array | None:
        own = cell.metric("l2_density")
        return cell.metric("l2_own") if own is None else own

    panel = over_time(sheet, "l2_density", "the same without KDE", value)
    own = [STYLES[m].label for m, c in sheet.run.items() if c.metric("l2_density") is None and value(c) is not None]
    return replace(panel, notes=(f"{', '.join(own)}: as it reconstructs it itself",) if own else ())


def fisher(sheet: Sheet) -> Panel:
    """Relative error of the score."""
    return over_time(sheet, "fisher_divergence", "relative Fisher divergence")


def by_kde(sheet: Sheet) -> Panel:
    """Relative L2 error of the density as seen through the kernel estimate."""
    return over_time(sheet, "l2_kde", "relative L² error of the density")


def w1(sheet: Sheet) -> Panel:
    """Distance of the particles from the exact ones in W1."""
    return over_time(sheet, "w1", "W₁ distance of the particles")


def w2(sheet: Sheet) -> Panel:
    """Distance of the particles from the exact ones in W2."""
    return over_time(sheet, "w2", "W₂ distance of the particles")


def features(sheet: Sheet) -> list[list[Panel]]:
    """Fisher divergence, entropy decay and the invariants."""
    first, second = (fisher, energy, dissipation), (energy_change, momentum, dissipation_error)
    return [[make(sheet) for make in row] for row in (first, second)]


def features_and_errors(sheet: Sheet) -> list[list[Panel]]:
    """The features and a row of density errors."""
    return [*features(sheet), [make(sheet) for make in (by_kde, density_itself, w1)]]


def density_error(sheet: Sheet) -> list[list[Panel]]:
    """Relative errors of the density and transport distances."""
    return [[by_kde(sheet), density_itself(sheet)], [w1(sheet), w2(sheet)]]
