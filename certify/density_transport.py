r"""Deterministic enclosure of W1 between a particle set and a known radial density: no sample, no probability.

The space is cut into M cells of equal mass: rings by quantiles of the radius, each ring into cells of equal solid
angle. With c, s^2 the centroid and the second moment about it of the law in a cell (TRANSPORT section 3):

* Upper end. Spread each cell's mass over its targets independently of the position in the cell. By Jensen
  :math:`E|X - y| \le (|c - y|^2 + s^2)^{1/2}`, a Euclidean distance in one more dimension, so that any feasible plan
  from the points (c, s) to the points (y, 0) costs at least W1. The plan's marginals are checked as integers.
* Lower end. For any vector v the function :math:`\varphi(x) = \min_j |x - y_j| - v_j` is 1-Lipschitz, hence
  :math:`W_1 \ge \int\varphi f - \operatorname{mean} \varphi(y_j)`. In a cell, Z = X - c has mean 0 and
  :math:`|x - y_j| \ge |c - y_j| + u_j \cdot Z` by convexity, u_j the unit vector from y_j to c. With the minimum at c
  attained by j = 1 and gaps g_j >= 0 there,
  :math:`E\varphi(X) \ge \varphi(c) - \sum_j E((u_1 - u_j)\cdot Z - g_j)_+`, every term at most
  :math:`\tfrac12 ((\sigma_j^2 + g_j^2)^{1/2} - g_j)`, sigma_j^2 the variance of :math:`(u_1 - u_j)\cdot Z` (Scarf), and
  0 where g_j exceeds the cell's diameter. Alternatively :math:`E\varphi(X) \ge \varphi(c) - s`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.spatial.distance import cdist

from certify.transport import (
    CHUNK,
    TINY,
    Draw,
    Enclosure,
    NotOptimalError,
    capacitated,
    check_cloud,
    check_statistics,
    confident_mean,
)
from theory.provenance import Array, Estimate

CELLS = 10_000  # about; a multiple of the number of particles is taken
FINER = 5  # times as many cells for the lower end, which needs no linear programme
ROUNDS = 2  # linear programmes; more make the enclosure narrower, not truer
SLACK = 1e-13  # rounding of a mass or a moment of the law, relative to its scale
MARGIN = 1e-11  # rounding of sums, distances and of the masses of all rings, relative to the diameter


@runtime_checkable
class RadialLaw(Protocol):
    """A law on R^d, d = 2 or 3, that depends on the distance from its mean only. Radii may be infinite."""

    @property
    def d(self) -> int:
        """Dimension."""

    def mean(self) -> Array:
        """The centre, shape (d,)."""

    def radial_mass(self, r: Array) -> tuple[Array, Array]:
        """Mass inside and outside radius r, elementwise, free of cancellation."""

    def ball_moment(self, radius: Array, power: int) -> Array:
        """Integral of |v - mean|^power f inside radius, elementwise, to rounding error."""


@dataclass(frozen=True)
class Cells:
    """A partition of R^d into M cells of mass exactly 1/M.

    Parameters
    ----------
    centroid : ndarray (M, d)
    covariance : ndarray (M, d, d)
        Of the law in the cell.
    spread : ndarray (M,)
        Upper bound of the root of its trace, rounding included.
    reach : ndarray (M,)
        Upper bound of the distance of a cell's points from its centroid; infinite for the outermost ring.
    slack : ndarray (M,)
        Upper bound of the rounding error of the centroid.
    """

    centroid: Array
    covariance: Array
    spread: Array
    reach: Array
    slack: Array


def density_w1(
    points: Array, law: RadialLaw, *, cells: int = CELLS, finer: int = FINER, rounds: int = ROUNDS
) -> Enclosure:
    """Enclosure of W1(mu, f), mu the empirical measure of the points, f a radial law.

    Parameters
    ----------
    points : ndarray of shape (n, d)
    law : RadialLaw
    cells : int
        Cells of the law at least; the number taken is the next multiple of n, and at least 4 n.
    finer : int
        Times as many cells for the lower end.
    rounds : int
        Linear programmes solved at most.

    Returns
    -------
    Enclosure. Deterministic; masses and moments of the law are trusted to `SLACK`, and checked to it where they can be.

    Raises
    ------
    ValueError
        On points of wrong shape or type, or a law of another dimension.
    NotOptimalError
        If no feasible plan was found, or the law's masses do not add up.
    """
    part = polar_cells(law, _count(points, law, cells))
    y = points - law.mean()
    upper, v, margin = _planned(part, y, rounds)
    lower = _lower(polar_cells(law, finer * len(part.spread)), y, v) - margin
    shift = float(np.linalg.norm(y.mean(axis=0))) - margin
    method = f"W1 of {len(y)} points to a radial density, d = {law.d}: {len(part.spread)} cells of equal mass"
    return Enclosure(max(lower, shift, 0.0), upper, f"{method}, checked plan above, Lipschitz potential below")


def expected_density_w1_upper(
    draw: Draw,
    law: RadialLaw,
    n: int,
    *,
    draws: int,
    delta: float,
    trace_covariance: float,
    rng: np.random.Generator,
    cells: int = CELLS,
) -> Estimate:
    r"""Upper bound of E W1(mu_n, f): mean of `draws` values of W1(sample, f), each bounded above by a checked plan.

    Without the second sample of `certify.transport.expected_empirical_w1_upper`, hence without its bias, and with half
    its variance: moving one of n points by h moves W1 by at most |h|/n, so that by Efron and Stein a value has variance
    at most :math:`\operatorname{tr}\Sigma / n`.

    Parameters
    ----------
    draw, n, draws, delta, trace_covariance, rng
        As there; ``draw`` samples the law.
    law : RadialLaw
    cells : int
        As in `density_w1`.

    Returns
    -------
    Estimate, UPPER and STATISTICAL.
    """
    check_statistics(draws, delta, trace_covariance)
    samples = [draw(n, rng) for _ in range(draws)]
    part = polar_cells(law, _count(samples[0], law, cells))
    values = [_planned(part, y - law.mean(), 1)[0] for y in samples]
    what = f"E W1(sample, law), {len(part.spread)} cells of equal mass"
    return confident_mean(values, n, trace_covariance, delta, what)


def _count(points: Array, law: RadialLaw, cells: int) -> int:
    """Number of cells: a multiple of the number of points, at least 4 of each."""
    check_cloud("points", points)
    n, d = points.shape
    if d != law.d or d not in (2, 3):
        raise ValueError(f"needs points and a law of the same dimension 2 or 3, got {d} and {law.d}")
    return n * max(4, -(-cells // n))


def _planned(part: Cells, y: Array, rounds: int) -> tuple[float, Array, float]:
    """Cost of a checked plan, a dual vector of the points, and the rounding margin of either end."""
    diameter = 2.0 * float(max(np.linalg.norm(y, axis=1).max(), np.linalg.norm(part.centroid, axis=1).max(), TINY))
    scale = math.ldexp(1.0, math.frexp(diameter)[1])  # to diameter about 1 by a power of two, which is exact
    lifted = np.concatenate([part.centroid, part.spread[:, None]], axis=1) / scale
    owner, v = capacitated(lifted, np.concatenate([y, np.zeros((len(y), 1))], axis=1) / scale, rounds)
    return _upper(part, y, owner) + MARGIN * diameter, v * scale, MARGIN * diameter


def _upper(part: Cells, y: Array, owner: np.ndarray) -> float:
    """Cost of the plan that sends each cell to its owner, marginals checked."""
    m, n = len(part.centroid), len(y)
    if owner.shape != (m,) or not np.array_equal(np.bincount(owner, minlength=n), np.full(n, m // n)):
        raise NotOptimalError(f"the plan from {m} cells to {n} points does not have these marginals")
    squares = ((part.centroid - y[owner]) ** 2).sum(axis=1) + part.spread**2
    return math.fsum((np.sqrt(squares) + part.slack).tolist()) / m


def _lower(part: Cells, y: Array, v: Array) -> float:
    """Dual value of the potential of any finite v."""
    m, n = len(part.centroid), len(y)
    at_points = np.concatenate([(cdist(y[k : k + 1000], y) - v).min(axis=1) for k in range(0, n, 1000)])
    values = []
    for start in range(0, m, max(1, CHUNK // n)):
        rows = slice(start, start + max(1, CHUNK // n))
        values.append(_cell_values(part, rows, y, v))
    return math.fsum(np.concatenate(values).tolist()) / m - math.fsum(at_points.tolist()) / n


def _cell_values(part: Cells, rows: slice, y: Array, v: Array) -> Array:
    """Lower bounds of the potential's mean over some cells."""
    centroid = part.centroid[rows]
    value = cdist(centroid, y) - v
    first = value.argmin(axis=1)
    least = value[np.arange(len(value)), first]
    value -= least[:, None]
    value[np.arange(len(value)), first] = math.inf  # no rival of itself
    cell, rival = np.nonzero(value <= 2.0 * part.reach[rows, None])

    def unit(j: np.ndarray) -> Array:
        z = centroid[cell] - y[j]
        norm = np.linalg.norm(z, axis=1, keepdims=True)
        return np.divide(z, norm, out=np.zeros_like(z), where=norm > 0.0)  # 0 is a subgradient at the point itself

    turn = unit(first[cell]) - unit(rival)
    variance = np.maximum(np.einsum("ni,nij,nj->n", turn, part.covariance[rows][cell], turn), 0.0)
    # rounding of the covariance; |turn| <= 2
    variance += 4.0 * part.slack[rows][cell]
    gap = value[cell, rival]
    loss = np.bincount(cell, variance / (2.0 * (np.sqrt(variance + gap**2) + gap) + TINY), minlength=len(centroid))
    return least - np.minimum(loss, part.spread[rows]) - part.slack[rows]


# --- cells ------------------------------------------------------------------------------------------------------------


def polar_cells(law: RadialLaw, count: int) -> Cells:
    """Partition into ``count`` cells of equal mass, about as wide as they are deep.

    Raises
    ------
    NotOptimalError
        If the law's radial mass at the quantiles is not what it should be.
    """
    numbers = _ring_sizes(law, count)
    below = np.concatenate([[0], np.cumsum(numbers)])
    edges = _quantiles(law, below / count)
    inside, outside = law.radial_mass(edges)
    if np.abs(inside - below / count).max() > SLACK or np.abs(outside - (1.0 - below / count)).max() > SLACK:
        raise NotOptimalError("the radial masses of the law do not match its quantiles")
    first, second = (np.diff(law.ball_moment(edges, p)) * (count / numbers) for p in (1, 2))
    scale = max(float(law.ball_moment(np.array(math.inf), 2)), float(law.ball_moment(np.array(math.inf), 2)) ** 0.5)
    centroid, covariance, reach, slack = [], [], [], []
    for k, number in enumerate(numbers.tolist()):
        mean, square, angle = (_circle if law.d == 2 else _sphere)(number, k)
        centre = first[k] * mean
        norm = np.linalg.norm(centre, axis=1)
        depth = np.maximum(np.abs(edges[k + 1] - norm), np.abs(edges[k] - norm))
        across = 2.0 * np.sin(np.minimum(angle, math.pi) / 2.0)
        centroid.append(centre)
        covariance.append(second[k] * square - centre[:, :, None] * centre[:, None, :])
        reach.append(np.minimum(edges[k + 1] + norm, depth + norm * across) * (1.0 + 1e-9) + 1e-9 * scale)
        slack.append(np.full(number, 4.0 * SLACK * (1.0 + scale) * count / number))
    points, matrices, error = np.concatenate(centroid), np.concatenate(covariance), np.concatenate(slack)
    spread = np.sqrt(np.maximum(np.trace(matrices, axis1=1, axis2=2), 0.0) + error)
    return Cells(points, matrices, spread, np.concatenate(reach), error)


def _ring_sizes(law: RadialLaw, count: int) -> np.ndarray:
    """Cells per ring, from the centre outwards. Any numbers that add up are valid; these make the cells square."""
    shares = np.concatenate([np.linspace(0.0, 0.98, 500), 1.0 - np.geomspace(0.0199, 0.05 / count, 100)])
    radii = _quantiles(law, shares)
    out: list[int] = []
    done = 0
    while done < count:
        number, rest = 3.0, count - done
        for _ in range(12):
            # the middle three fifths of its mass: the edges of a ring in the tail say little
            inner, middle, outer = np.interp((done + number * np.array([0.2, 0.5, 0.8])) / count, shares, radii)
            ratio = 0.6 * middle / max(outer - inner, 1e-12 * outer)
            wanted = 2.0 * math.pi * ratio if law.d == 2 else 4.0 * math.pi * ratio**2
            number = min(math.sqrt(number * wanted), float(rest))
        size = max(1, round(number))
        out.append(rest if rest < 1.5 * size else size)
        done += out[-1]
    return np.array(out)


def _quantiles(law: RadialLaw, shares: Array) -> Array:
    """Radii with these masses inside, by bisection on the smaller of the two masses; 0 and 1 give 0 and infinity."""
    low = np.zeros_like(shares)
    high = np.ones_like(shares)
    while (law.radial_mass(high)[1] > 1.0 - shares).any() and high.max() < 1e150:
        high = np.where(law.radial_mass(high)[1] > 1.0 - shares, 2.0 * high, high)
    for _ in range(80):
        middle = (low + high) / 2.0
        inside, outside = law.radial_mass(middle)
        above = np.where(shares < 0.5, inside > shares, outside < 1.0 - shares)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(shares <= 0.0, 0.0, np.where(shares >= 1.0, math.inf, high))


def _circle(n: int, ring: int) -> tuple[Array, Array, Array]:
    """Mean (n, 2), second moment (n, 2, 2) and angular radius (n,) of the unit vectors of n equal sectors."""
    angle = 2.0 * math.pi / n * (np.arange(n) + 0.618 * ring)  # rings turned against each other
    radial = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    across = np.stack([-radial[:, 1], radial[:, 0]], axis=1)
    along = (1.0 + float(np.sinc(2.0 / n))) / 2.0  # numpy's sinc(x) is sin(pi x) / (pi x)
    square = along * _outer(radial, radial) + (1.0 - along) * _outer(across, across)
    return float(np.sinc(1.0 / n)) * radial, square, np.full(n, math.pi / n)


def _sphere(n: int, ring: int) -> tuple[Array, Array, Array]:
    """The same for n patches of equal area in 3D: bands between parallels, each cut by meridians."""
    bands = max(1, round(math.sqrt(math.pi * n) / 2.0))
    shares = np.round(n * (1.0 - np.cos(math.pi * np.arange(bands + 1) / bands)) / 2.0)
    cuts = np.unique(np.concatenate([[0.0], shares[1:-1], [float(n)]]))
    means, squares, angles = [], [], []
    for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
        k, top, bottom = int(stop - start), 1.0 - 2.0 * start / n, 1.0 - 2.0 * stop / n
        height = top - bottom
        level = (top + bottom) / 2.0
        level2 = (top**3 - bottom**3) / (3.0 * height)
        wide = (_circle_area(top) - _circle_area(bottom)) / height  # mean of sqrt(1 - z^2)
        mixed = ((1.0 - bottom**2) ** 1.5 - (1.0 - top**2) ** 1.5) / (3.0 * height)  # mean of z sqrt(1 - z^2)
        flat, flat2, half = _circle(k, ring + 7 * i)
        mean = np.concatenate([wide * flat, np.full((k, 1), level)], axis=1)
        square = np.zeros((k, 3, 3))
        square[:, :2, :2] = (1.0 - level2) * flat2
        square[:, :2, 2] = square[:, 2, :2] = mixed * flat
        square[:, 2, 2] = level2
        polar = np.arctan2(np.linalg.norm(mean[:, :2], axis=1), level)
        north, south = math.acos(top), math.acos(bottom)
        widest = 1.0 if north < math.pi / 2 < south else max(math.sin(north), math.sin(south))
        # along the meridian, then along the parallel; a whole band has its centroid on the axis
        turn = 0.0 if k == 1 else widest * half
        means.append(mean)
        squares.append(square)
        angles.append(np.maximum(np.abs(polar - north), np.abs(polar - south)) + turn)
    return np.concatenate(means), np.concatenate(squares), np.concatenate(angles)


def _circle_area(z: float) -> float:
    """Primitive of sqrt(1 - z^2)."""
    return (z * math.sqrt(max(1.0 - z * z, 0.0)) + math.asin(z)) / 2.0


def _outer(a: Array, b: Array) -> Array:
    return a[:, :, None] * b[:, None, :]
