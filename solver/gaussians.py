"""Sums of Gaussians over particles, at any points, cut off where they are below rounding.

exp(-r^2/2 eps) counts as 0 beyond ``REACH`` standard deviations, where it is below e^-50 = 2e-22. The loop over the
particles of neighbouring blocks is compiled where numba is installed, numpy otherwise: same numbers up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory.provenance import Array

REACH = 10.0  # standard deviations: e^(-REACH^2/2) is the largest share of its maximum that a Gaussian loses
FEW = 100_000  # pairs for which compiling the loop costs more than it saves
FINEST = 64  # blocks per axis at most
PAIRS = 1_000_000  # at a time in numpy


def gaussian_sums(eps: float, y: Array, x: Array, weights: Array) -> tuple[Array, Array]:
    """Values and gradients of sum_k w_k exp(-|y - x_k|^2/2 eps) at y (m, d), for several weightings at once.

    Parameters
    ----------
    eps : float
        Variance; the Gaussians have no constant in front.
    y, x : ndarray (m, d), (n, d)
        Points and particles.
    weights : ndarray (q, n)

    Returns
    -------
    ndarray (q, m), ndarray (q, m, d)
        Values and gradients. Each neglected term is below e^-50 w_k.
    """
    blocks = Blocks(x, REACH * math.sqrt(eps))
    loop = _compiled() if len(y) * len(x) > FEW else None
    sums = _in_numpy if loop is None else loop
    return sums(eps, y, x[blocks.order], weights[:, blocks.order], blocks)


class Blocks:
    """Particles sorted into a box of blocks whose sides are no shorter than the reach of a Gaussian.

    Parameters
    ----------
    x : ndarray (n, d)
        Particles, d <= 3; missing axes are filled with zeros.
    reach : float

    Attributes
    ----------
    low, side : ndarray (3,)
        Corner of the box, sides of a block.
    shape : ndarray (3,)
        Blocks per axis.
    order : ndarray (n,)
        Particles block by block, the last axis fastest.
    starts : ndarray (blocks + 1,)
        Where each block starts in that order.
    """

    def __init__(self, x: Array, reach: float) -> None:
        points = in_space(x)
        self.reach = reach
        self.low = points.min(axis=0)
        extent = np.ptp(points, axis=0)
        self.shape = np.clip(np.floor(extent / reach), 1, FINEST).astype(np.intp)
        self.side = np.maximum(extent / self.shape, reach)
        flat = np.ravel_multi_index(tuple(np.minimum(self.place(points), self.shape - 1).T), tuple(self.shape))
        self.order = np.argsort(flat, kind="stable")
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=int(np.prod(self.shape))))])

    def place(self, points: Array) -> NDArray[np.intp]:
        """Block of each point (m, 3), by axis; -2 or shape + 1 where no particle is within reach."""
        with np.errstate(over="ignore"):
            index = np.floor((points - self.low) / self.side)
        return np.asarray(np.clip(index, -2, self.shape + 1).astype(np.intp))


def in_space(x: Array) -> Array:
    """Points (n, d) with zeros for the missing axes, (n, 3)."""
    return np.ascontiguousarray(np.pad(x, ((0, 0), (0, 3 - x.shape[1]))))


def _in_numpy(eps: float, y: Array, x: Array, weights: Array, blocks: Blocks) -> tuple[Array, Array]:
    """The sums for sorted particles, block by block of the points."""
    values, gradients = np.zeros((len(weights), len(y))), np.zeros((len(weights), *y.shape))
    places, which = np.unique(blocks.place(in_space(y)), axis=0, return_inverse=True)
    for b, place in enumerate(places):
        first, last = np.maximum(place - 1, 0), np.minimum(place + 1, blocks.shape - 1)
        if np.any(first > last):
            continue
        rows = product(range(first[0], last[0] + 1), range(first[1], last[1] + 1))
        flat = [np.ravel_multi_index((i, j, first[2]), tuple(blocks.shape)) for i, j in rows]
        span = last[2] - first[2] + 1
        near = np.concatenate([np.arange(blocks.starts[i], blocks.starts[i + span]) for i in flat])
        inside = np.flatnonzero(which.ravel() == b)
        for points in np.array_split(inside, math.ceil(len(inside) * max(len(near), 1) / PAIRS)):
            z = y[points, None, :] - x[near]
            r2 = np.sum(z * z, axis=-1)
            g = np.where(r2 < blocks.reach**2, np.exp(r2 / (-2 * eps)), 0.0)
            values[:, points] = weights[:, near] @ g.T
            gradients[:, points] = np.stack([weights[:, near] @ (g * c).T for c in np.moveaxis(z, -1, 0)], -1) / -eps
    return values, gradients


@cache
def _compiled() -> Callable[..., tuple[Array, Array]] | None:
    """The same as a compiled loop, or None without numba."""
    try:
        from numba import njit
    except ImportError:
        return None

    @njit
    def loop(eps: Any, r2max: Any, y: Any, x: Any, w: Any, place: Any, shape: Any, starts: Any) -> Any:
        values, gradients = np.zeros((len(y), w.shape[1])), np.zeros((len(y), w.shape[1], 3))
        for i in range(len(y)):
            low = place[i, 2] - 1 if place[i, 2] > 0 else 0
            high = min(place[i, 2] + 1, shape[2] - 1)
            if low > high:
                continue
            for a in range(max(place[i, 0] - 1, 0), min(place[i, 0] + 2, shape[0])):
                for b in range(max(place[i, 1] - 1, 0), min(place[i, 1] + 2, shape[1])):
                    row = (a * shape[1] + b) * shape[2]
                    for k in range(starts[row + low], starts[row + high + 1]):
                        z0, z1, z2 = y[i, 0] - x[k, 0], y[i, 1] - x[k, 1], y[i, 2] - x[k, 2]
                        r2 = z0 * z0 + z1 * z1 + z2 * z2
                        if r2 < r2max:
                            g = np.exp(r2 / (-2 * eps))
                            for q in range(w.shape[1]):
                                gw = g * w[k, q]
                                values[i, q] += gw
                                gradients[i, q, 0] -= gw * z0
                                gradients[i, q, 1] -= gw * z1
                                gradients[i, q, 2] -= gw * z2
        return values, gradients / eps

    def sums(eps: float, y: Array, x: Array, weights: Array, blocks: Blocks) -> tuple[Array, Array]:
        points = in_space(y)
        w = np.ascontiguousarray(weights.T)
        where = blocks.place(points), blocks.shape, blocks.starts
        values, gradients = loop(eps, blocks.reach**2, points, in_space(x), w, *where)
        return values.T, np.moveaxis(gradients, 1, 0)[:, :, : y.shape[1]]

    return sums
