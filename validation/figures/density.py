"""Panels of densities: slices, marginals, their differences from the reference, level lines (Figures 4, 9, 14, ...)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from theory.provenance import Array
from validation.figures.cells import Cell, Sheet
from validation.figures.overtime import gather
from validation.figures.panels import DIRECT, FLOOR, REFERENCE, SMOOTHED, STYLES, Panel, Series, time_label

CONTOURS = (0.2, 0.7)  # levels as fractions of the reference's maximum
NOISE_WIDTH = 2.0  # standard deviations of the band around a kernel estimate
SHOWN = 1e-3  # a line is shown where the density is at least this fraction of its maximum
AXES = (("slice_x", "v₁"), ("slice_y", "v₂"), ("slice_z", "v₃"))
MARGINALS = (("marginal", "v₁"), ("marginal_y", "v₂"), ("marginal_z", "v₃"))


def _extent(sheet: Sheet, name: str) -> tuple[float, float] | None:
    """Where the density is worth showing at any time, with a margin."""
    for cell in sheet.made.values():
        rows, axis = cell.array(name, 2), cell.axis
        if rows is not None and rows.shape[1] == len(axis):
            inside = axis[(rows > SHOWN * np.nanmax(rows, axis=1, keepdims=True)).any(axis=0)]
            if len(inside):
                pad = 0.08 * (inside[-1] - inside[0])
                return float(inside[0] - pad), float(inside[-1] + pad)
    return None


def _smoothed(sheet: Sheet, name: str, t: float) -> Series | None:
    """What a perfect method with infinitely many particles would show."""
    y = None if sheet.reference is None else sheet.reference.row(f"{name}_smoothed", t)
    return None if y is None or sheet.reference is None else Series(SMOOTHED, sheet.reference.axis, y)


def profile(sheet: Sheet, name: str, t: float, title: str, xlabel: str) -> Panel:
    """The density along a line or a marginal, at one time."""

    def series(cell: Cell) -> Series | None:
        y = cell.row(name, t)
        return None if y is None else Series(cell.method, cell.axis, y)

    drawn, missing = gather(sheet, series, name)
    smoothed = _smoothed(sheet, name, t)
    extra = () if smoothed is None else (smoothed,)
    return Panel(title, xlabel, "density", (*drawn, *extra), tuple(missing), xlim=_extent(sheet, name))


def kernel_noise(density: Array, particles: float, bandwidth: float, d: int) -> Array:
    """Standard deviation of a Gaussian kernel estimate with N samples, to leading order in 1/(N h^d).

    sqrt(f (4 pi)^(-d/2) h^(-d) / N): (4 pi)^(-d/2) is the integral of the squared standard Gaussian.
    """
    return np.sqrt(np.maximum(density, 0.0) * (4 * math.pi) ** (-d / 2) * bandwidth**-d / particles)


def kde_noise(sheet: Sheet, name: str) -> list[tuple[float, float]]:
    """(Sample number, bandwidth) of the methods' kernel estimates: of the fewest samples and of the most."""
    pairs = [
        (float(c.info["kde_particles"]), c.bandwidth)
        for c in sheet.run.values()
        if c.array(name, 2) is not None and c.info.get("kde_particles") and c.bandwidth
    ]
    return [min(pairs), max(pairs)] if pairs else []


def difference(sheet: Sheet, name: str, t: float, title: str, xlabel: str) -> Panel:
    """Method minus reference at one time, with the noise band of the kernel estimate."""
    reference = sheet.reference
    truth = None if reference is None else reference.row(name, t)
    if reference is None or truth is None:
        return Panel(title, xlabel, "", missing=(("reference", sheet.reason(REFERENCE, name)),))

    def minus(array: str, suffix: str = "") -> Callable[[Cell], Series | None]:
        def get(cell: Cell) -> Series | None:
            y = cell.row(array, t)
            return None if y is None or y.shape != truth.shape else Series(cell.method + suffix, cell.axis, y - truth)

        return get

    drawn, missing = gather(sheet, minus(name), name, reference=False)
    direct, _ = gather(sheet, minus(f"{name}_cv", DIRECT), f"{name}_cv", reference=False)
    smoothed = _smoothed(sheet, name, t)
    bias = np.zeros_like(truth) if smoothed is None else smoothed.y - truth
    parts = [] if smoothed is None else [Series(SMOOTHED, reference.axis, bias)]
    d = 1 if name.startswith("marginal") else sheet.dimension
    bands = []
    for count, bandwidth in dict.fromkeys(kde_noise(sheet, name)) if d else ():
        half = NOISE_WIDTH * kernel_noise(truth + bias, count, bandwidth, d or 1)
        bands.append(Series(FLOOR, reference.axis, bias + half, "band", bias - half))
    return Panel(title, xlabel, "", (*bands, *parts, *drawn, *direct), tuple(missing), xlim=_extent(sheet, name))


def _level_lines(cell: Cell, plane: Array, levels: list[float]) -> tuple[Array, Array] | None:
    """Lines on which a density (g, g) has one of the levels, as one polyline with gaps."""
    from contourpy import contour_generator

    generator = contour_generator(x=cell.axis, y=cell.axis, z=plane.T)
    gap = np.full((1, 2), math.nan)
    pieces = [p for level in levels for line in generator.lines(level) for p in (np.asarray(line), gap)]
    if not pieces:
        return None
    x, y = np.concatenate(pieces).T
    return x, y


def _plane(cell: Cell, name: str, t: float) -> Array | None:
    """A density (g, g) on the plane of the first two axes."""
    planes, k = cell.array(name, 3), cell.index(t)
    return None if planes is None or k is None or planes.shape[1:] != 2 * cell.axis.shape else planes[k]


def contours(sheet: Sheet, t: float) -> Panel:
    """Level lines of the density on the plane of the first two axes."""
    planes = {name: p for name, cell in sheet.made.items() if (p := _plane(cell, "plane", t)) is not None}
    first = planes.get(REFERENCE, next(iter(planes.values()), None))
    levels = [] if first is None else [f * float(np.nanmax(first)) for f in CONTOURS]

    def series(cell: Cell) -> Series | None:
        lines = _level_lines(cell, planes[cell.method], levels) if cell.method in planes else None
        return None if lines is None else Series(cell.method, *lines)

    drawn, missing = gather(sheet, series, "plane")
    low = [STYLES[name].label for name in planes if name not in {s.name for s in drawn}]
    blurred = None if sheet.reference is None else _plane(sheet.reference, "plane_smoothed", t)
    lines = None if sheet.reference is None or blurred is None else _level_lines(sheet.reference, blurred, levels)
    return Panel(
        f"level lines, {time_label(t)}",
        "v₁",
        "v₂",
        (*drawn, *(() if lines is None else (Series(SMOOTHED, *lines),))),
        tuple(pair for pair in missing if pair[0] not in low),
        square=True,
        notes=(f"{', '.join(low)}: below both levels",) if low else (),
    )


def slices(sheet: Sheet) -> list[list[Panel]]:
    """Rows of panels of a density figure: columns are times in 2D, axes in 3D (and times in the last row)."""
    times = sheet.representative()
    if not times:
        return [[Panel("density", "v₁", "density", missing=tuple(sheet.nobody()))]]
    if sheet.dimension == 3:
        middle, end = times[len(times) // 2], times[-1]
        rows = [[profile(sheet, n, t, f"along {a}, {time_label(t)}", a) for n, a in AXES] for t in (middle, end)]
        rows.append([difference(sheet, n, end, f"along {a}, minus reference", a) for n, a in AXES])
        rows.append([profile(sheet, n, end, f"marginal in {a}, {time_label(end)}", a) for n, a in MARGINALS])
        rows.append([difference(sheet, n, end, f"marginal in {a}, minus reference", a) for n, a in MARGINALS])
    else:
        rows = []
        for name, axis in AXES[:2]:
            rows.append([profile(sheet, name, t, f"along {axis}, {time_label(t)}", axis) for t in times])
            rows.append([difference(sheet, name, t, f"along {axis}, minus reference", axis) for t in times])
    rows.append([contours(sheet, t) for t in times])
    return rows
