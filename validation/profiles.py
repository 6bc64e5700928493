"""Densities along lines and planes that the figures draw beside the first two slices: of particles and of the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from theory.provenance import Array
from validation import metrics
from validation.truth import Truth

SLICES = ("slice_x", "slice_y", "slice_z")
MARGINALS = ("marginal", "marginal_y", "marginal_z")


def _through(mean: Array, axis: Array, *free: int) -> list[Array]:
    """Axes of a grid through the mean that extends along the free coordinates only."""
    return [axis if i in free else mean[i : i + 1] for i in range(len(mean))]


def of_particles(
    clouds: Array | Sequence[Array], weights: Array | None, mean: Array, axis: Array, bandwidth: float
) -> dict[str, Array]:
    """Kernel estimates of clouds (n, d): slices and marginals (m, g), the plane of the first two axes (m, g, g)."""
    d, g = len(mean), len(axis)
    out = {}
    for j in range(d):
        line = _through(mean, axis, j)
        out[SLICES[j]] = np.array([metrics.kde(c, line, bandwidth, weights).ravel() for c in clouds])
        out[MARGINALS[j]] = np.array([metrics.kde(c[:, j : j + 1], [axis], bandwidth, weights) for c in clouds])
    plane = _through(mean, axis, 0, 1)
    planes = [metrics.kde(c, plane, bandwidth, weights).reshape(g, g) for c in clouds]
    return {**out, "plane": np.array(planes, dtype=np.float32)}


def of_truth(truth: Truth) -> dict[str, Array]:
    """The same of the solution itself, and, as ``<name>_smoothed``, of the solution convolved with the KDE's kernel.

    Marginals are sums over the grid, without what lies beyond it. The convolution is by the rule of cell centres; its
    relative error is about 2 exp(-2 (pi h / cell)^2), under 1e-4 for every setup.
    """
    setup, problem = truth.setup, truth.problem
    axis, mean, d, m = setup.axes(1)[0], problem.initial.mean(), problem.d, len(truth.setup.times)
    cell, out = axis[1] - axis[0], {}
    for j in range(d):
        line, others = metrics.grid_points(_through(mean, axis, j)), tuple(i for i in range(d) if i != j)
        out[SLICES[j]] = np.stack([truth.density(k, line) for k in range(m)])
        out[MARGINALS[j]] = np.stack([truth.on_grid(k).sum(axis=others) for k in range(m)]) * cell ** (d - 1)
    plane = metrics.grid_points(_through(mean, axis, 0, 1))
    planes = [truth.density(k, plane).reshape(len(axis), len(axis)) for k in range(m)]
    points = metrics.grid_points(setup.axes(d))
    smoothed = [
        of_particles([points], truth.on_grid(k).ravel() * cell**d, mean, axis, setup.bandwidth) for k in range(m)
    ]
    out |= {f"{name}_smoothed": np.concatenate([s[name] for s in smoothed]) for name in smoothed[0]}
    return {**out, "plane": np.array(planes, dtype=np.float32)}
