"""Taylor models of the exact BKW score, of the score error and of the learned Maxwell drift's Jacobian over boxes.

All share the network's variables (time, velocity), so that what cancels between them cancels in the bound: the error's
constant is taken of J_s~ - J_s, not of the two apart, and the drift's of A(v-w)(s~(v)-s~(w)) expanded in moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from certify.verified.activations import UNIT
from certify.verified.taylor import Index, Taylor, constant, variables
from theory.bkw import Bkw
from theory.provenance import Array


def coordinates(time: Array, centre: Array, half: Array) -> tuple[Taylor, Taylor]:
    """Time (B,) and velocity (B, d) as models; ``time`` (B, 2) holds midpoint and half-width of each slab."""
    x = variables(np.concatenate([time[:, :1], centre], 1), np.concatenate([time[:, 1:], half], 1))
    return x[:, 0], x[:, 1:]


def bkw_jacobian(solution: Bkw, t: Taylor, v: Taylor) -> Taylor:
    """Jacobian of the exact score, (B, d, d): sigma I + 2 sigma' v v^T with sigma = -1/K + 2 Q/(P + Q r^2).

    The remainder is infinite where a box touches a time at which f vanishes at the core (P = 0).
    """
    d, n = solution.d, t.n
    decay = t.scaled(-2.0 * (d - 1) * solution.strength).exp()
    cooled = decay.scaled(solution.amplitude)  # 1 - K
    inverse = (-cooled + 1.0).reciprocal()
    p = inverse.scaled(-d / 2) + (d + 2) / 2
    q = (cooled * inverse * inverse).scaled(0.5)
    density = (p + q * (v * v).sum(-1)).reciprocal()
    share = q * density
    sigma = share.scaled(2.0) - inverse
    slope = (share * share).scaled(-4.0)  # 2 d sigma / d(r^2)
    return slope[:, None, None] * v[:, :, None] * v[:, None, :] + sigma[:, None, None] * constant(np.eye(d), n)


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of particles (x, s) along a slab's times, linear in time plus a remainder; models of shape (S, ...).

    mean of x and of s (S, d); covariance of x, mean of s (x - mean)^T (S, d, d); its trace (S,).
    """

    mean: Taylor
    score: Taylor
    covariance: Taylor
    mixed: Taylor
    trace: Taylor

    def at(self, slab: Index) -> Moments:
        """One row per box."""
        return Moments(*(getattr(self, name)[slab] for name in self.__dataclass_fields__))


def moments_of(x: Array, s: Array) -> tuple[Array, ...]:
    """The same moments of particles x, s of shape (..., n, d), and the allowance for rounding in them (...)."""
    mean, score = x.mean(-2), s.mean(-2)
    z = x - mean[..., None, :]
    covariance = np.swapaxes(z, -1, -2) @ z / x.shape[-2]
    mixed = np.swapaxes(s, -1, -2) @ z / x.shape[-2]
    # sums of n products, and scores evaluated in floating point: 1e-11 of the largest product is generous
    pad = 1e-11 * (1 + np.abs(x).max((-1, -2)) + np.abs(s).max((-1, -2))) ** 2
    return mean, score, covariance, mixed, np.einsum("...ii", mixed), pad


def slab_moments(times: Array, time: Array, values: Sequence[Array]) -> Moments:
    """Models of one slab from ``moments_of`` at times (k,); ``time``: midpoint and half-width of the slab.

    They hold at these times only: nothing is claimed about particles in between.
    """
    *parts, pad = values
    xi = np.clip((times - time[0]) / (time[1] or 1.0), -1, 1)
    n = parts[0].shape[-1] + 1
    return Moments(*(_in_time(m, xi, n, float(pad.max())) for m in parts))


def _in_time(values: Array, xi: Array, n: int, pad: float) -> Taylor:
    """Least squares line in xi (k,) through values (k, ...), its largest residual as remainder."""
    x = (xi - xi.mean()).reshape(-1, *(1,) * (values.ndim - 1))
    slope = (x * values).sum(0) / max(float((x * x).sum()), 1e-300)
    c = values.mean(0) - slope * xi.mean()
    line = c + slope * xi.reshape(x.shape)
    linear = np.zeros((*c.shape, n))
    linear[..., 0] = slope
    return Taylor(c, linear, np.zeros((*c.shape, n * (n + 1) // 2)), np.abs(values - line).max(0) + pad)


def stacked(parts: Sequence[Moments]) -> Moments:
    """One row per slab."""
    names = Moments.__dataclass_fields__
    return Moments(*(_stack([getattr(p, name) for p in parts]) for name in names))


def _stack(models: Sequence[Taylor]) -> Taylor:
    return Taylor(*(np.stack([getattr(m, k) for m in models]) for k in ("c", "l", "q", "r")))


def drift_jacobian(strength: float, v: Taylor, s: Taylor, jacobian: Taylor, m: Moments) -> Taylor:
    """Jacobian (B, d, d) of the learned Maxwell drift of particles with moments m, at velocities v.

    With z = v - mean and y = s - mean of s the drift is -C [(|z|^2 + q) s - |z|^2 sb + 2 M z - p - z (z.y + tau)
    - M^T z - V s + u] (``theory.drift.maxwell_pair_drift``), M the mixed moment, V the covariance, q = tr V,
    tau = tr M. Its derivative is -C [G J + 2 y z^T - z y^T - (z.y + tau) I + 2 M - M^T], G = (|z|^2 + q) I - z z^T - V.
    """
    d, n = v.c.shape[-1], v.n
    eye = constant(np.eye(d), n)
    z, y = v - m.mean, s - m.score
    squares = z * z
    q = _trace(m.covariance)
    zz = z[:, :, None] * z[:, None, :]
    # the diagonal of |z|^2 I - z z^T without z_i^2, which would count its remainder twice
    others = (squares[:, None, :] * constant(1 - np.eye(d), n)).sum(-1)
    friction = eye * (others + q[:, None])[:, :, None] - zz * constant(1 - np.eye(d), n) - m.covariance
    first = (friction[:, :, :, None] * jacobian[:, None, :, :]).sum(-2)
    yz = y[:, :, None] * z[:, None, :]
    inner = (z * y).sum(-1) + m.trace
    total = first + yz.scaled(2.0) - _transposed(yz) - inner[:, None, None] * eye
    return (total + m.mixed.scaled(2.0) - _transposed(m.mixed)).scaled(-strength)


def _transposed(m: Taylor) -> Taylor:
    return Taylor(*(np.swapaxes(getattr(m, k), 1, 2) for k in ("c", "l", "q", "r")))


def _trace(m: Taylor) -> Taylor:
    return (m * constant(np.eye(m.c.shape[-1]), m.n)).sum(-1).sum(-1)


def deviation_bound(value: Taylor, reference: Array) -> Array:
    """Upper bound (B,) of |value - reference| over each box."""
    gap = value - reference
    return np.nan_to_num(np.sqrt((gap.bound**2).sum(-1)) * (1 + 32 * UNIT), nan=np.inf, posinf=np.inf)
