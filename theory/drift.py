"""Collision drift, written with plain operators so that numpy arrays and torch tensors both run it.

Maxwell: a polynomial in moments, O(n) (THEORY section 1; FACTS section 0). Other kernels: pair sums in chunks, never
n^2 memory; ``xp`` is the array module (numpy or torch). Shapes: points and scores (..., n, d), weights (n,) or
(..., n); the pair sums take one time, (n, d).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.kernels import Kernel
from theory.provenance import Array

CANCELLATION = 1e5  # largest loss of digits accepted of the fast pair sums


def _dot(a: Any, b: Any) -> Any:
    return (a * b).sum(-1)[..., None]


def weighted_moments(x: Any, weights: Any) -> tuple[Any, Any]:
    """Mean (..., d) and covariance (..., d, d) of weighted points; weights sum to 1."""
    w = weights[..., None]
    mean = (w * x).sum(-2)
    z = x - mean[..., None, :]
    return mean, (w * z).swapaxes(-1, -2) @ z


def maxwell_coefficients(strength: float, z: Any, covariance: Any, s: Any) -> tuple[Any, Any]:
    """(A * f) s and b * f at z = x - mean for covariance S: C[(|z|^2 + tr S) s - z (z.s) - S s], -(d-1) C z."""
    trace = sum(covariance[..., i, i] for i in range(z.shape[-1]))
    diffusion = (_dot(z, z) + trace[..., None, None]) * s - z * _dot(z, s) - s @ covariance
    return strength * diffusion, -(z.shape[-1] - 1) * strength * z


def maxwell_drift(strength: float, x: Any, s: Any, mean: Any, covariance: Any) -> Any:
    """U[f](x) = -(A * f) s + b * f from the first two moments of f (mean-field drift with score s at x)."""
    diffusion, friction = maxwell_coefficients(strength, x - mean[..., None, :], covariance, s)
    return friction - diffusion


def maxwell_pair_drift(strength: float, x: Any, s: Any, weights: Any) -> Any:
    """-sum_j w_j A(x_i - x_j)(s_i - s_j) for the Maxwell kernel in O(n d^2); weights sum to 1.

    Velocity per unit time; sums to zero against the weights (momentum), as does x . U (energy).
    """
    w = weights[..., None]
    v = x - (w * x).sum(-2)[..., None, :]
    r2 = _dot(v, v)
    vs = _dot(v, s)
    sb = (w * s).sum(-2)[..., None, :]
    sv = (w * s).swapaxes(-1, -2) @ v
    vv = (w * v).swapaxes(-1, -2) @ v
    q = (w * r2).sum(-2)[..., None, :]
    tau = (w * vs).sum(-2)[..., None, :]
    p = (w * r2 * s).sum(-2)[..., None, :]
    u = (w * v * vs).sum(-2)[..., None, :]
    isotropic = s * (r2 + q) - (r2 * sb - 2 * (v @ sv.swapaxes(-1, -2)) + p)
    projected = v * (vs - _dot(v, sb) + tau) + v @ sv + s @ vv - u
    return -strength * (isotropic - projected)


def pair_drift(kernel: Kernel, x: Any, s: Any, weights: Any, *, xp: Any = np, chunk: int = 32) -> Any:
    """-sum_j w_j A(x_i - x_j)(s_i - s_j) for any kernel, x and s of shape (n, d), in chunks of rows.

    A(z) y = a(|z|)(|z|^2 y - z (z.y)); memory O(chunk n), each term accumulated as matrix products.
    """
    out = []
    for start in range(0, len(x), chunk):
        xi, si = x[start : start + chunk], s[start : start + chunk]
        z = [xi[:, k : k + 1] - x[None, :, k] for k in range(x.shape[1])]
        y = [si[:, k : k + 1] - s[None, :, k] for k in range(x.shape[1])]
        r2 = sum(c * c for c in z)
        a = _profile(kernel, r2) * weights
        zy = sum(c * e for c, e in zip(z, y, strict=True))
        out.append([-(a * (r2 * y[k] - z[k] * zy)).sum(-1) for k in range(x.shape[1])])
    return xp.concatenate([xp.stack(row, -1) for row in out])


def pair_drifts(kernel: Kernel, x: Array, s: Array, weights: Array, *, block: int = 400_000) -> Array:
    """The pair sums for several weights (k, n), each of sum 1, at once: (k, n, d). The fast way; numpy only.

    With a_ij = a(|x_i - x_j|) fixed the summand is a polynomial in (x_j, s_j), whose weighted sums over j are columns
    of one matrix product: the profile is evaluated once a pair, and blocks of a_ij stay in the cache. Expanding
    |x_i - x_j|^2 costs digits: the rounding error is (R/epsilon)^2 times that of ``pair_drift``, R the largest distance
    from the mean. Where that is more than ``CANCELLATION`` the sums are formed directly.
    """
    if kernel.is_maxwell:
        return np.stack([maxwell_pair_drift(kernel.strength, x, s, w) for w in weights])
    (n, d), one = x.shape, np.ones((len(x), 1))
    v = x - x.mean(axis=0)
    r2, vs = _dot(v, v), _dot(v, s)
    if not np.max(r2) <= CANCELLATION * kernel.epsilon**2:
        return np.stack([pair_drift(kernel, x, s, w) for w in weights])
    i, j = np.triu_indices(d)
    mixed = (s[:, :, None] * v[:, None, :]).reshape(n, -1)
    source = np.concatenate([one, v, v[:, i] * v[:, j], s, mixed, r2 * s, v * vs], axis=1)
    columns = (weights[:, :, None] * source).swapaxes(0, 1).reshape(n, -1)
    left = np.concatenate([-2 * v, r2 + kernel.epsilon**2, one], axis=1)
    right = np.concatenate([v, one, r2], axis=1).T
    sums = np.zeros((n, columns.shape[1]))
    step = max(1, block // n)
    for k in range(0, n, step):
        squared = np.maximum(left[k : k + step] @ right[:, k:], kernel.epsilon**2)
        a = np.sqrt(squared)
        a *= squared
        np.divide(kernel.strength, a, out=a)
        sums[k : k + step] += a @ columns[k:]
        sums[k + step :] += a[:, step:].T @ columns[k : k + step]  # a_ij = a_ji
    parts = sums.reshape(n, len(weights), -1).swapaxes(0, 1)
    ends = np.cumsum([1, d, len(i), d, d * d, d])
    mass, first, second, score, cross, long, along = np.split(parts, ends, axis=2)
    vv, sv = np.empty((len(weights), n, d, d)), cross.reshape(len(weights), n, d, d)  # of v_j v_j^T and s_j v_j^T
    vv[..., i, j] = vv[..., j, i] = second

    def times(matrix: Array, vector: Array) -> Array:
        return np.asarray((matrix @ vector[:, :, None])[..., 0])

    def trace(matrix: Array) -> Array:
        return np.trace(matrix, axis1=2, axis2=3)[..., None]

    # sum_j a_ij |v_i - v_j|^2 (s_i - s_j), and sum_j a_ij (v_i - v_j) (v_i - v_j).(s_i - s_j)
    away = r2 * mass - 2 * _dot(v, first) + trace(vv)
    isotropic = s * away - (r2 * score - 2 * times(sv, v) + long)
    inner = vs * mass - _dot(v, score) - _dot(s, first) + trace(sv)
    projected = v * inner - (first * vs - times(sv.swapaxes(2, 3), v) - times(vv, s) + along)
    return np.asarray(projected - isotropic)


def mean_field_drift(kernel: Kernel, x: Any, s: Any, weights: Any, *, xp: Any = np, chunk: int = 512) -> Any:
    """U[f](x_i) = -(A * f)(x_i) s_i + (b * f)(x_i) for f = sum_j w_j delta_{x_j}; x, s of shape (n, d)."""
    if kernel.is_maxwell:
        return maxwell_drift(kernel.strength, x, s, *weighted_moments(x, weights))
    out = []
    for start in range(0, len(x), chunk):
        xi, si = x[start : start + chunk], s[start : start + chunk]
        z = [xi[:, k : k + 1] - x[None, :, k] for k in range(x.shape[1])]
        r2 = sum(c * c for c in z)
        a = _profile(kernel, r2) * weights
        zs = sum(c * si[:, k : k + 1] for k, c in enumerate(z))
        friction = kernel.d - 1
        out.append([-(a * (r2 * si[:, k : k + 1] - z[k] * zs + friction * z[k])).sum(-1) for k in range(x.shape[1])])
    return xp.concatenate([xp.stack(row, -1) for row in out])


def _profile(kernel: Kernel, r2: Any) -> Any:
    if kernel.is_maxwell:
        return kernel.strength + 0 * r2
    return kernel.strength * (r2 + kernel.epsilon**2) ** -1.5
