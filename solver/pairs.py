"""Drift of a weighted particle cloud at any point: moments for the Maxwell kernel, pair sums for the others.

    U(y) = -sum_j w_j A(y - x_j)(s(y) - s_j)

At the particles themselves this is their own drift (``theory.drift``), so that tracers started at them follow them. The
pair sums run as a compiled loop where numba is installed, in numpy otherwise: same numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from theory.kernels import Kernel
from theory.provenance import Array

FEW = 200_000  # pairs for which compiling the loop costs more than it saves
CHUNK = 32  # rows of pairs at a time in numpy


Jet = tuple[Array, Array, Array]  # value (n, d), first (n, d, d) and second derivatives (n, d, d, d)


class Drift(Protocol):
    """Velocity field of a cloud with scores."""

    def at(self, y: Array, s: Array) -> Array:
        """Drift (n, d) at y (n, d), where the score is s (n, d)."""


def cloud_drift(kernel: Kernel, x: Array, s: Array, weights: Array) -> Drift:
    """Drift field of particles x with scores s, (n, d) each, and weights (n,) of sum 1."""
    if kernel.is_maxwell:
        return MomentDrift.of(kernel.strength, x, s, weights)
    return PairDrift(kernel, x, s, weights)


@dataclass(frozen=True)
class MomentDrift:
    """Drift for the Maxwell kernel, from moments of velocities v = x - mean and scores (FACTS section 0).

    Parameters
    ----------
    strength : float
        C.
    mean, s, u, p : ndarray (d,)
        Sums of w x, w s, w v (v.s), w |v|^2 s.
    sv, vv : ndarray (d, d)
        Sums of w s v^T, w v v^T.
    q, tau : float
        Sums of w |v|^2, w v.s.
    """

    strength: float
    mean: Array
    s: Array
    u: Array
    p: Array
    sv: Array
    vv: Array
    q: float
    tau: float

    @classmethod
    def of(cls, strength: float, x: Array, s: Array, weights: Array) -> MomentDrift:
        """Moments of a cloud."""
        mean = weights @ x
        v = x - mean
        r2, vs = np.sum(v * v, axis=1), np.sum(v * s, axis=1)
        ws, wv = weights[:, None] * s, weights[:, None] * v
        return cls(
            strength, mean, weights @ s, vs @ wv, r2 @ ws, ws.T @ v, wv.T @ v, float(weights @ r2), float(weights @ vs)
        )

    def at(self, y: Array, s: Array) -> Array:
        """Drift (n, d) at y (n, d), where the score is s (n, d)."""
        v = y - self.mean
        r2, vs = np.sum(v * v, axis=1, keepdims=True), np.sum(v * s, axis=1, keepdims=True)
        isotropic = s * (r2 + self.q) - (r2 * self.s - 2 * v @ self.sv.T + self.p)
        projected = v * (vs - (v @ self.s)[:, None] + self.tau) + v @ self.sv + s @ self.vv - self.u
        return np.asarray(-self.strength * (isotropic - projected))

    def jet(self, y: Array, s: Array, ds: Array, dds: Array) -> Jet:
        """Drift and its first two derivatives at y (n, d), from those of the score there.

        ``ds`` [i, a, j] = d_j s_a (n, d, d), ``dds`` [i, a, j, k] = d_j d_k s_a (n, d, d, d); the result likewise.
        """
        v, one = y - self.mean, np.eye(y.shape[1])
        r2, gap = np.sum(v * v, axis=1)[:, None, None], s - self.s
        slope = gap + np.einsum("na,naj->nj", v, ds)  # of v.(s - mean s)
        level = (np.sum(v * gap, axis=1) + self.tau)[:, None, None]
        first = ds * (r2 + self.q) + 2 * gap[:, :, None] * v[:, None, :] + 2 * self.sv
        first -= one * level + v[:, :, None] * slope[:, None, :] + self.sv.T + np.einsum("naj,ai->nij", ds, self.vv)
        bend = np.einsum("na,najk->njk", v, dds) + ds + ds.transpose(0, 2, 1)
        second = dds * (r2 + self.q)[..., None] + 2 * gap[:, :, None, None] * one
        mixed = 2 * ds[:, :, :, None] * v[:, None, None, :] - one[:, :, None] * slope[:, None, None, :]
        second += mixed + mixed.swapaxes(2, 3)
        second -= v[:, :, None, None] * bend[:, None] + np.einsum("najk,ai->nijk", dds, self.vv)
        return self.at(y, s), -self.strength * first, -self.strength * second


@dataclass(frozen=True)
class PairDrift:
    """Drift for a mollified kernel: the particles themselves, O(n) per point."""

    kernel: Kernel
    x: Array
    s: Array
    weights: Array

    def at(self, y: Array, s: Array) -> Array:
        """Drift (n, d) at y (n, d), where the score is s (n, d)."""
        loop = _compiled() if len(y) * len(self.x) > FEW else None
        if loop is None:
            return self.in_numpy(y, s)
        kernel, columns = self.kernel, np.ascontiguousarray
        args = columns(self.x.T), columns(self.s.T), self.weights
        return np.asarray(loop[kernel.d](kernel.strength, kernel.epsilon**2, columns(y), columns(s), *args))

    def in_numpy(self, y: Array, s: Array) -> Array:
        """The same by arrays of ``CHUNK`` rows."""
        out = np.empty_like(y)
        for i in range(0, len(y), CHUNK):
            rows = slice(i, i + CHUNK)
            z = [a[:, None] - b for a, b in zip(y[rows].T, self.x.T, strict=True)]
            g = [a[:, None] - b for a, b in zip(s[rows].T, self.s.T, strict=True)]
            r2 = sum(c * c for c in z)
            zg = sum(c * e for c, e in zip(z, g, strict=True))
            a = self.weights * self.kernel.strength * (r2 + self.kernel.epsilon**2) ** -1.5
            out[rows] = np.stack([np.sum(a * (c * zg - r2 * e), axis=1) for c, e in zip(z, g, strict=True)], axis=1)
        return out


@cache
def _compiled() -> dict[int, Callable[..., Any]] | None:
    """The pair sum by dimension, or None without numba."""
    try:
        from numba import njit
    except ImportError:
        return None

    @njit(fastmath=True)
    def plane(strength: Any, e2: Any, y: Any, g: Any, x: Any, s: Any, w: Any) -> Any:
        out = np.empty_like(y)
        for i in range(len(y)):
            u0 = u1 = 0.0
            for j in range(len(w)):
                z0, z1 = y[i, 0] - x[0, j], y[i, 1] - x[1, j]
                across = z0 * (g[i, 1] - s[1, j]) - z1 * (g[i, 0] - s[0, j])  # A y = a |z|^2 (y.e) e, e across z
                r2 = z0 * z0 + z1 * z1 + e2
                a = w[j] / (r2 * np.sqrt(r2)) * across
                u0 += a * z1
                u1 -= a * z0
            out[i, 0], out[i, 1] = strength * u0, strength * u1
        return out

    @njit(fastmath=True)
    def space(strength: Any, e2: Any, y: Any, g: Any, x: Any, s: Any, w: Any) -> Any:
        out = np.empty_like(y)
        for i in range(len(y)):
            u0 = u1 = u2 = 0.0
            for j in range(len(w)):
                z0, z1, z2 = y[i, 0] - x[0, j], y[i, 1] - x[1, j], y[i, 2] - x[2, j]
                g0, g1, g2 = g[i, 0] - s[0, j], g[i, 1] - s[1, j], g[i, 2] - s[2, j]
                r2 = z0 * z0 + z1 * z1 + z2 * z2
                zg = z0 * g0 + z1 * g1 + z2 * g2
                a = w[j] / ((r2 + e2) * np.sqrt(r2 + e2))
                u0 += a * (z0 * zg - r2 * g0)
                u1 += a * (z1 * zg - r2 * g1)
                u2 += a * (z2 * zg - r2 * g2)
            out[i, 0], out[i, 1], out[i, 2] = strength * u0, strength * u1, strength * u2
        return out

    return {2: plane, 3: space}
