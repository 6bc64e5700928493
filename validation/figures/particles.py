"""Panels of particles: trajectories (Figure 5), places (Figure 10), scores (Figures 6, 11, 15, 18, 21, 24)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from certify.report.axes import log10, log_range
from theory.provenance import Array
from validation.figures.cells import Cell, Sheet
from validation.figures.overtime import gather, over_time
from validation.figures.panels import METHODS, POINTS, REFERENCE, Panel, Series, time_label

PATHS = 14  # trajectories drawn
INSIDE = 0.98  # fraction of the reference's scores that a panel must show


def _joined(paths: Array) -> tuple[Array, Array]:
    """Paths (m, n, 2) as one polyline with gaps."""
    m, n, _ = paths.shape
    gaps = np.full((1, n, 2), math.nan)
    flat = np.concatenate([paths, gaps]).transpose(1, 0, 2).reshape((m + 1) * n, 2)
    return flat[:, 0], flat[:, 1]


def _reference_paths(sheet: Sheet) -> Array | None:
    return None if sheet.reference is None else sheet.reference.array("x", 3)


def trajectories(sheet: Sheet) -> list[list[Panel]]:
    """Paths in the plane, speeds over time, trajectory error over time and per particle."""
    truth = _reference_paths(sheet)

    def plane(cell: Cell) -> Series | None:
        x = cell.array("x", 3)
        return None if x is None else Series(cell.method, *_joined(x[:, :PATHS, :2]))

    def speed(cell: Cell) -> Series | None:
        x = cell.array("x", 3)
        if x is None:
            return None
        r = np.linalg.norm(x[:, :PATHS], axis=-1)
        return Series(cell.method, *_joined(np.stack([np.broadcast_to(cell.times[:, None], r.shape), r], axis=-1)))

    def per_particle(cell: Cell) -> Series | None:
        x = cell.array("x", 3)
        if x is None or truth is None or truth.shape != x.shape:
            return None
        distance = np.linalg.norm(x[-1] - truth[-1], axis=-1)[:POINTS]
        return Series(cell.method, np.linalg.norm(x[0], axis=-1)[:POINTS], distance, "points")

    drawn, missing = gather(sheet, plane, "x")
    paths = Panel(f"paths of {PATHS} particles", "v₁", "v₂", tuple(drawn), tuple(missing), square=True)
    drawn, missing = gather(sheet, speed, "x")
    speeds = Panel("their speeds", "time t", "|v|", tuple(drawn), tuple(missing))
    drawn, missing = gather(sheet, per_particle, "x", reference=False)
    if truth is None:
        missing = [("reference", sheet.reason(REFERENCE, "x"))]
    end = time_label(float(sheet.times[-1])) if len(sheet.times) else "the end"
    title = f"distance from the reference, {end}"
    scatter = Panel(title, "speed at start", "", tuple(drawn), tuple(missing), log=True)
    return [[paths, speeds], [over_time(sheet, "trajectory", "relative trajectory error"), scatter]]


def configurations(sheet: Sheet) -> list[list[Panel]]:
    """Where the particles are: one column a method, one row a time."""
    rows = [[_places(sheet, method, t) for method in METHODS] for t in sheet.representative()]
    return rows or [[Panel("particles", "v₁", "v₂", missing=tuple(sheet.nobody()), square=True)]]


def _places(sheet: Sheet, method: str, t: float) -> Panel:
    panel = Panel(f"{METHODS[method].label}, {time_label(t)}", "v₁", "v₂", square=True)
    cell, truth = sheet.run.get(method), _reference_paths(sheet)
    x, k = (None, None) if cell is None else (cell.array("x", 3), cell.index(t))
    if x is None or k is None:
        return replace(panel, missing=((METHODS[method].label, sheet.reason(method, "x")),))
    series = [Series(method, x[k, :POINTS, 0], x[k, :POINTS, 1], "points")]
    if truth is None or truth.shape != x.shape:
        return replace(panel, series=tuple(series), notes=("no reference places",))
    series.insert(0, Series(REFERENCE, truth[k, :POINTS, 0], truth[k, :POINTS, 1], "points"))
    rms = math.sqrt(float(np.nanmean(np.sum((x[k] - truth[k]) ** 2, axis=-1))))
    return replace(panel, series=tuple(series), notes=(f"rms distance {rms:.2g}",))


def scores(sheet: Sheet) -> list[list[Panel]]:
    """First component of the score against that of the velocity, and the score error against the speed at the end."""
    times = sheet.representative()
    if not times:
        return [[Panel("scores", "v₁", "s₁", missing=tuple(sheet.nobody()))]]
    rows = [_one_scale([_score(sheet, method, t) for method in METHODS]) for t in times]
    return [*rows, _one_scale([_score_error(sheet, method, times[-1]) for method in METHODS])]


def _one_scale(row: list[Panel]) -> list[Panel]:
    """A row of panels with the same vertical limits, so that methods can be compared; what lies outside is counted."""
    if any(panel.log for panel in row):
        logs = [log10(s.y) for panel in row for s in panel.series]
        limits = log_range(logs) if any(np.isfinite(y).any() for y in logs) else None
    else:
        truth = [s.y for panel in row for s in panel.series if s.name == REFERENCE]
        limits = _quantiles(truth or [s.y for panel in row for s in panel.series])
    out = []
    for panel in row:
        own = [s.y for s in panel.series if s.name != REFERENCE]
        outside = 0
        if limits is not None and own and not panel.log:
            outside = int(np.sum((own[0] < limits[0]) | (own[0] > limits[1])))
        note = (f"{outside} of {len(own[0])} outside",) if outside else ()
        out.append(replace(panel, ylim=limits, notes=(*panel.notes, *note)))
    return out


def _quantiles(values: Sequence[Array]) -> tuple[float, float] | None:
    """Limits that show most of the scores; a singular score would flatten the rest."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.empty(0)
    if not len(finite):
        return None
    low, high = (float(q) for q in np.quantile(finite, ((1 - INSIDE) / 2, (1 + INSIDE) / 2)))
    pad = 0.3 * max(high - low, 1e-12)
    return low - pad, high + pad


def _scored(sheet: Sheet, method: str, t: float) -> tuple[Array, Array, Array | None] | None:
    """Particles, scores and the reference's scores there at one time, each (n, d)."""
    cell = sheet.run.get(method)
    k = None if cell is None else cell.index(t)
    if cell is None or k is None:
        return None
    x, s = cell.array("x", 3), cell.array("score", 3)
    if x is None or s is None or s.shape != x.shape:
        return None
    return x[k], s[k], cell.reference_score(t)


def _score(sheet: Sheet, method: str, t: float) -> Panel:
    panel = Panel(f"{METHODS[method].label}, {time_label(t)}", "v₁", "s₁")
    found = _scored(sheet, method, t)
    if found is None:
        return replace(panel, missing=((METHODS[method].label, sheet.reason(method, "score")),))
    x, s, truth = found
    own = Series(method, x[:POINTS, 0], s[:POINTS, 0], "points")
    if truth is not None:
        return replace(panel, series=(Series(REFERENCE, x[:POINTS, 0], truth[:POINTS, 0], "points"), own))
    return replace(panel, series=(own,), notes=("no reference score",))


def _score_error(sheet: Sheet, method: str, t: float) -> Panel:
    panel = Panel(f"error / rms, {time_label(t)}", "|v|", "", log=True)
    found = _scored(sheet, method, t)
    if found is None or found[2] is None:
        reason = "not available: the reference has no score" if found else sheet.reason(method, "score")
        return replace(panel, missing=((METHODS[method].label, reason),))
    x, s, truth = found[0], found[1], found[2]
    size = math.sqrt(float(np.nanmean(np.sum(truth**2, axis=-1))))
    error = np.linalg.norm(s - truth, axis=-1)[:POINTS] / size
    return replace(panel, series=(Series(method, np.linalg.norm(x, axis=-1)[:POINTS], error, "points"),))
