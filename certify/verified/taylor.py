"""Taylor models of second order in n scaled variables: q(xi) + [-r, r] for xi in [-1, 1]^n, batched.

A model of a function g on a box says |g(xi) - c_0 - sum c_i xi_i - sum_(i<=j) c_ij xi_i xi_j| <= r for every xi.
Coefficients are ordinary floats; what their rounding loses is added to r.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from certify.verified.activations import UNIT
from theory.provenance import Array

Index = NDArray[np.int64]


@lru_cache(maxsize=8)
def pairs(n: int) -> tuple[np.ndarray, np.ndarray, Array]:
    """Index arrays i <= j of the second-order coefficients, and 1 where i < j."""
    i, j = np.triu_indices(n)
    return i, j, (i < j).astype(np.float64)


def outer(a: Array, b: Array) -> Array:
    """Second-order coefficients of the product of two linear forms; the last axis holds their n coefficients."""
    i, j, off = pairs(a.shape[-1])
    return a[..., i] * b[..., j] + off * (a[..., j] * b[..., i])


def size(a: Array) -> Array:
    """Sum of absolute values over the last axis (bounds a polynomial without constant term)."""
    return np.abs(a).sum(-1)


@dataclass(frozen=True, eq=False)
class Taylor:
    """Batch of models: constant c (...), linear l (..., n), quadratic q (..., n(n+1)/2), remainder r (...)."""

    c: Array
    l: Array  # noqa: E741 - constant, linear, quadratic, remainder
    q: Array
    r: Array

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.l.shape[-1]

    @cached_property
    def spread(self) -> Array:
        """Bound of |g - c|."""
        return (size(self.l) + size(self.q) + self.r) * (1 + 64 * UNIT)

    @cached_property
    def bound(self) -> Array:
        """Bound of |g|."""
        return (np.abs(self.c) + self.spread) * (1 + 4 * UNIT)

    def __getitem__(self, index: tuple[slice | int | None, ...] | Index) -> Taylor:
        """Index of the batch axes only."""
        return Taylor(self.c[index], self.l[index], self.q[index], self.r[index])

    def __add__(self, other: Taylor | float | Array) -> Taylor:
        if not isinstance(other, Taylor):
            other = constant(np.asarray(other, dtype=np.float64), self.n)
        rounding = 2 * UNIT * (self.bound + other.bound)
        return Taylor(
            self.c + other.c, self.l + other.l, self.q + other.q, (self.r + other.r + rounding) * (1 + 8 * UNIT)
        )

    def __neg__(self) -> Taylor:
        return Taylor(-self.c, -self.l, -self.q, self.r)

    def __sub__(self, other: Taylor | float | Array) -> Taylor:
        return self + (-other)

    def scaled(self, factor: float | Array) -> Taylor:
        """Product with a float."""
        factor = np.asarray(factor, dtype=np.float64)
        wide = factor[..., None]
        r = np.abs(factor) * (self.r + 2 * UNIT * self.bound)
        return Taylor(factor * self.c, wide * self.l, wide * self.q, r * (1 + 8 * UNIT))

    def __mul__(self, other: Taylor) -> Taylor:
        a, b = self, other
        ac, bc = a.c[..., None], b.c[..., None]
        la, lb, qa, qb = size(a.l), size(b.l), size(a.q), size(b.q)
        cut = la * qb + qa * lb + qa * qb
        r = a.bound * b.r + a.r * b.bound + cut + 16 * UNIT * (a.bound * b.bound)
        return Taylor(a.c * b.c, ac * b.l + bc * a.l, ac * b.q + bc * a.q + outer(a.l, b.l), r * (1 + 64 * UNIT))

    def sum(self, axis: int) -> Taylor:
        """Sum over a batch axis (negative, counted among the batch axes)."""
        terms = self.c.shape[axis]
        rounding = 2 * terms * UNIT * self.bound
        return Taylor(
            self.c.sum(axis),
            self.l.sum(axis - 1),
            self.q.sum(axis - 1),
            (self.r + rounding).sum(axis) * (1 + 64 * UNIT),
        )

    def compose(self, jets: Callable[[Array], tuple[Array, Array, Array]], third: Array, pad: Array) -> Taylor:
        """f(g): ``jets`` gives f, f', f'' at c, ``third`` bounds |f'''| on the range, ``pad`` the jets' error."""
        f0, f1, f2 = jets(self.c)
        e = size(self.q) + self.r
        square = e * (2 * size(self.l) + e)
        s = self.spread
        r = np.abs(f1) * self.r + np.abs(f2) / 2 * square + third / 6 * s**3 + pad * (1 + s + s * s)
        rounding = 16 * UNIT * (np.abs(f0) + np.abs(f1) * s + np.abs(f2) * s * s)
        f1, f2 = f1[..., None], f2[..., None]
        return Taylor(f0, f1 * self.l, f1 * self.q + f2 / 2 * outer(self.l, self.l), (r + rounding) * (1 + 64 * UNIT))

    def reciprocal(self) -> Taylor:
        """1/g; remainder infinite where the range of g reaches 0 or below."""
        low = self.c - self.spread
        safe = low > 1e-12 * np.abs(self.c)
        c = np.where(safe, self.c, 1.0)
        least = np.where(safe, low, 1.0)
        model = Taylor(c, np.where(safe[..., None], self.l, 0), np.where(safe[..., None], self.q, 0), self.r)
        out = model.compose(
            lambda x: (1 / x, -1 / x**2, 2 / x**3), 6 / least**4 * (1 + 1e-9), 32 * UNIT * (1 / c + 1 / c**2 + 2 / c**3)
        )
        return Taylor(out.c, out.l, out.q, np.where(safe, out.r, np.inf))

    def exp(self) -> Taylor:
        """Exponential."""
        top = np.exp(self.c + self.spread) * (1 + 1e-12)
        return self.compose(lambda x: (np.exp(x),) * 3, top, 32 * UNIT * (1 + np.abs(self.c)) * top)

    def at(self, xi: Array) -> Array:
        """The polynomial at a point xi (..., n) of the box, without the remainder."""
        i, j, _ = pairs(self.n)
        return np.asarray(self.c + (self.l * xi).sum(-1) + (self.q * xi[..., i] * xi[..., j]).sum(-1))


def constant(value: Array, n: int) -> Taylor:
    """A number."""
    value = np.asarray(value, dtype=np.float64)
    shape = value.shape
    return Taylor(value, np.zeros((*shape, n)), np.zeros((*shape, n * (n + 1) // 2)), np.zeros(shape))


def variables(centre: Array, half: Array) -> Taylor:
    """The coordinates of boxes centre +- half, both (B, n): a model of shape (B, n)."""
    n = centre.shape[-1]
    linear = half[..., None] * np.eye(n)
    return Taylor(centre, linear, np.zeros((*centre.shape, n * (n + 1) // 2)), 4 * UNIT * (np.abs(centre) + half))


@lru_cache(maxsize=8)
def corners(n: int) -> Array:
    """Vertices of [-1, 1]^n, (2^n, n)."""
    return np.array(list(product((-1.0, 1.0), repeat=n)))


def at_corners(m: Taylor) -> Array:
    """Affine part at every vertex: new axis after the first batch axis, (B, 2^n, ...)."""
    return np.asarray(m.c[:, None] + np.einsum("b...k,vk->bv...", m.l, corners(m.n)))


def norm_bound(m: Taylor) -> Array:
    """Upper bound (B,) of the spectral norm of a matrix model (B, d, d) over its box.

    The norm is convex, so over the affine part it is largest at a vertex; the rest enters by its Frobenius norm.
    """
    affine = at_corners(m)
    return _finish(spectral_norm(affine).max(1), affine, m)


def log_norm_bound(m: Taylor) -> Array:
    """Upper bound (B,) of the largest eigenvalue of the symmetric part over the box."""
    affine = at_corners(m)
    return _finish(log_norm(affine).max(1), affine, m)


def _finish(top: Array, affine: Array, m: Taylor) -> Array:
    rest = np.sqrt(((size(m.q) + m.r) ** 2).sum((-1, -2)))
    rounding = 200 * UNIT * np.sqrt((affine * affine).sum((-1, -2))).max(1)
    return np.nan_to_num(top + rest * (1 + 64 * UNIT) + rounding, nan=np.inf, posinf=np.inf)


def spectral_norm(a: Array) -> Array:
    """Largest singular value of (..., d, d); closed form for d = 2."""
    if a.shape[-1] != 2:
        return _where_finite(lambda x: np.asarray(np.linalg.svd(x, compute_uv=False)[..., 0]), a)
    p, q, r, s = a[..., 0, 0], a[..., 0, 1], a[..., 1, 0], a[..., 1, 1]
    return np.asarray((np.hypot(p + s, q - r) + np.hypot(p - s, q + r)) / 2)


def _where_finite(size: Callable[[Array], Array], a: Array) -> Array:
    """Size of finite matrices, infinity for the others (which LAPACK refuses)."""
    finite = np.asarray(np.isfinite(a).all((-1, -2)))
    return np.where(finite, size(np.where(finite[..., None, None], a, 0.0)), np.inf)


def log_norm(a: Array) -> Array:
    """Largest eigenvalue of the symmetric part of (..., d, d); closed form for d = 2."""
    if a.shape[-1] != 2:
        return _where_finite(lambda x: np.asarray(np.linalg.eigvalsh((x + np.swapaxes(x, -1, -2)) / 2)[..., -1]), a)
    p, q, r, s = a[..., 0, 0], a[..., 0, 1], a[..., 1, 0], a[..., 1, 1]
    return np.asarray((p + s) / 2 + np.hypot(p - s, q + r) / 2)
