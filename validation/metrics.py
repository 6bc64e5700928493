r"""Errors and observables of the paper's Section 5 (FACTS section 4): pure functions of particles and densities.

Relative L2 errors are norms, not squares; the relative Fisher divergence is a ratio of mean squares, as published; the
energy is the mean of |v|^2 without 1/2. Shapes: particles and scores (n, d), weights (n,) summing to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from certify.transport import exact_w1, exact_w2
from theory.provenance import Array

BLOCK = 4_000_000  # entries of the largest temporary array of a kernel density estimate


def cell_centres(half_width: float, cells: int) -> Array:
    """Centres of equal cells of [-half_width, half_width], (cells,)."""
    return half_width * (2 * (np.arange(cells) + 0.5) / cells - 1)


def grid_points(axes: Sequence[Array]) -> Array:
    """Points of a tensor grid, (g_1 ... g_d, d), last axis fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def kde(x: Array, axes: Sequence[Array], bandwidth: float, weights: Array | None = None) -> Array:
    """Gaussian kernel density estimate on a tensor grid, shape (g_1, ..., g_d).

    The kernel is a product: blocks of particles become matrices of one coordinate each, multiplied over the particles.
    An axis of one point gives a slice; fewer axes than coordinates the marginal of the first ones.

    Parameters
    ----------
    x : ndarray (n, at least d)
    axes : sequence of d ndarrays
    bandwidth : float
        Standard deviation of the kernel.
    weights : ndarray (n,), optional
        Sum 1; equal if absent.
    """
    n, shape = len(x), tuple(len(a) for a in axes)
    rest = math.prod(shape[1:])
    total = np.zeros((shape[0], rest))
    block = max(1, BLOCK // max(rest, *shape))
    for start in range(0, n, block):
        part = x[start : start + block]
        factors = [_kernel(axis, part[:, j], bandwidth) for j, axis in enumerate(axes)]
        first = factors[0] / n if weights is None else factors[0] * weights[start : start + block, None]
        tail = np.ones((len(part), 1))
        for factor in factors[1:]:
            tail = (tail[:, :, None] * factor[:, None, :]).reshape(len(part), -1)
        total += first.T @ tail
    return total.reshape(shape)


def _kernel(axis: Array, x: Array, bandwidth: float) -> Array:
    scale = 1 / (math.sqrt(2 * math.pi) * bandwidth)
    return np.exp(-0.5 * ((x[:, None] - axis) / bandwidth) ** 2) * scale


def relative_l2(found: Array, exact: Array) -> float:
    """Norm of the difference over the norm of the exact values, any one shape."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def l2_change_of_variables(log_found: Array, log_exact: Array, weights: Array) -> float:
    r"""Relative L2 error of a density known along its own particles.

    For weights of the law g found, :math:`\int (g - f)^2 = E_g[g (1 - f/g)^2]` and :math:`\int f^2 = E_g[f^2/g]`.

    Parameters
    ----------
    log_found, log_exact : ndarray (n,)
        Logarithms of both densities at the particles or nodes.
    weights : ndarray (n,)
        Of the law found: quadrature weights or 1/n.
    """
    with np.errstate(divide="ignore"):  # a weight that underflowed, equal densities
        log_mass = np.log(weights) + log_found
        size = np.abs(log_exact - log_found)
        # |1 - f/g| in logarithms: in a tail f/g overflows where its weight makes it nothing
        gap = np.maximum(log_exact - log_found, 0.0) + np.log(-np.expm1(-size))
    difference, square = np.exp(log_mass + 2 * gap).sum(), np.exp(log_mass + 2 * (log_exact - log_found)).sum()
    return float(np.sqrt(difference / square))


def trajectory_error(x: Array, reference: Array) -> float:
    """Relative L2 distance of particles from the reference ones; NaN rows of the reference are left out."""
    known = np.isfinite(reference).all(axis=1)
    return relative_l2(x[known], reference[known])


def energy(x: Array, weights: Array | None = None) -> float:
    """Mean of |v|^2."""
    return float(np.average(np.sum(x * x, axis=1), weights=weights))


def momentum(x: Array, start: Array, weights: Array | None = None) -> float:
    """Distance of the mean velocity from that at the start, which is conserved."""
    return float(np.linalg.norm(np.average(x, axis=0, weights=weights) - np.average(start, axis=0, weights=weights)))


def fisher_divergence(score: Array, exact: Array) -> float:
    """Relative Fisher divergence sum |s - s*|^2 / sum |s*|^2, not square-rooted; NaN rows of s* are left out."""
    known = np.isfinite(exact).all(axis=1)
    return float(np.sum((score - exact)[known] ** 2) / np.sum(exact[known] ** 2))


def entropy_rate(drift: Array, score: Array, weights: Array | None = None) -> float:
    """Proxy of dH/dt, the mean of U.s; not above 0 for a drift that is the pair sum with this score."""
    return float(np.average(np.sum(drift * score, axis=1), weights=weights))


def standard_error(values: Array) -> float:
    """Standard deviation of the mean of independent values (n,)."""
    return float(np.std(values) / math.sqrt(len(values)))


def w1(x: Array, y: Array) -> float:
    """Exact 1-Wasserstein distance of two clouds of equal size: the upper end of its enclosure, 1e-12 wide."""
    return exact_w1(np.ascontiguousarray(x), np.ascontiguousarray(y)).upper


def w2(x: Array, y: Array) -> float:
    """Exact 2-Wasserstein distance (no square) of two clouds of equal size: the upper end of its enclosure."""
    return exact_w2(np.ascontiguousarray(x), np.ascontiguousarray(y)).upper


def coupling(x: Array, y: Array, power: int) -> float:
    """(mean |x_i - y_i|^power)^(1/power): an upper bound of the Wasserstein distance of that order."""
    return float(np.mean(np.linalg.norm(x - y, axis=1) ** power) ** (1 / power))


# --- what a perfect method would show


def blocks(sample: Array, count: int, most: int) -> list[Array]:
    """Up to ``most`` disjoint blocks of ``count`` points of a sample."""
    edges = range(0, min(len(sample) // count, most) * count + 1, count)
    return [sample[a:b] for a, b in pairwise(edges)]


def kde_floor(sample: Array, exact: Array, axes: Sequence[Array], bandwidth: float, count: int, draws: int) -> float:
    """Relative L2 error that ``count`` independent exact samples show in a kernel density estimate: mean over draws.

    NaN if the sample (n, d) holds no block of this size.
    """
    errors = [relative_l2(kde(part, axes, bandwidth), exact) for part in blocks(sample, count, draws)]
    return float(np.mean(errors)) if errors else math.nan


def transport_floor(sample: Array, count: int, draws: int, distance: Callable[[Array, Array], float]) -> float:
    """Distance of two independent exact samples of ``count`` points: mean over draws; NaN for too small a sample."""
    parts = blocks(sample, count, 2 * draws)
    values = [distance(a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
    return float(np.mean(values)) if values else math.nan


def quantisation_floor(d: int, particles: float, supremum: float) -> float:
    """What no n points can be nearer to a density f in W1: d/(d+1) (n w_d sup f)^(-1/d) (TRANSPORT section 4.2)."""
    ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    return d / (d + 1) * (particles * ball * supremum) ** (-1 / d)
