"""The exact law of Maxwell molecules whose covariance is T I, isotropic or not (THEORY section 6.4).

With the moments inserted, d_t f = C sum_{i<j} L_ij^2 f + c div(T grad f + z f), z = v - m, c = (d-1) C. The two parts
commute, so V_t = m + R_t(a (V_0 - m) + b Z), a = e^{-c (t - t0)}, b^2 = T (1 - a^2), Z ~ N(0, I), and R_t is Brownian
motion on SO(d) with generator C sum L_ij^2: in 2D an angle N(0, 2 C (t - t0)), in 3D decay e^{-C l (l+1) (t - t0)} of
the spherical harmonics of degree l.

|V_t - m| does not see R_t: its law is a mixture of noncentral chi laws over the radius of f0. ``RadialLaw`` evaluates
it by parts against the mass of f0 outside a ball (``InitialDensity.tail_moment``), so that short times (b -> 0) need no
finer rule than long ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.polynomial.legendre import leggauss
from scipy import special

from theory.problem import COVARIANCE_TOLERANCE, Problem
from theory.provenance import Array

WINDOW = 9.0  # standard deviations kept of the Gaussian step; e^{-81/2} is below 1e-17
NODES = 96
DEGREE = 24  # of the Chebyshev interpolants


@lru_cache(maxsize=8)
def gauss_legendre(n: int) -> tuple[Array, Array]:
    """Nodes and weights on [-1, 1]."""
    x, w = leggauss(n)
    return x, w


def temperature(problem: Problem) -> float:
    """T, if the kernel is Maxwell and the covariance is T I.

    Raises
    ------
    ValueError
        Otherwise: the law is not known in closed form then.
    """
    if not problem.kernel.is_maxwell:
        raise ValueError("the exact law is known for the Maxwell kernel only")
    covariance = problem.initial.covariance()
    value = float(np.trace(covariance)) / problem.d
    if np.linalg.norm(covariance - value * np.eye(problem.d)) > COVARIANCE_TOLERANCE * value:
        raise ValueError("the exact law needs an initial covariance T I")
    return value


def scales(problem: Problem, t: float) -> tuple[float, float]:
    """(a, b): what is left of the initial velocity, and the standard deviation of the Gaussian added to it.

    Raises
    ------
    ValueError
        If t lies before the start, or the problem is not of this kind.
    """
    elapsed = t - float(problem.t0)
    if elapsed < 0:
        raise ValueError(f"t = {t} lies before the start {problem.t0}")
    rate = problem.kernel.friction
    return math.exp(-rate * elapsed), math.sqrt(-temperature(problem) * math.expm1(-2 * rate * elapsed))


def sample(problem: Problem, t: float, n: int, rng: np.random.Generator) -> Array:
    """Independent exact draws of V_t, shape (n, d), without time steps."""
    a, b = scales(problem, t)
    mean = problem.initial.mean()
    z = a * (problem.initial.sample(n, rng) - mean) + b * rng.standard_normal((n, problem.d))
    spread = problem.kernel.strength * (t - float(problem.t0))
    rotations = random_rotations(problem.d, spread, n, rng)
    return np.asarray(mean + np.einsum("nij,nj->ni", rotations, z))


def random_rotations(d: int, spread: float, n: int, rng: np.random.Generator) -> Array:
    """Brownian motion on SO(d), d = 2 or 3, with generator sum L_ij^2 at time ``spread``: matrices (n, d, d)."""
    if d == 2:
        angle = math.sqrt(2 * spread) * rng.standard_normal(n)
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    if d != 3:
        raise ValueError("rotations are implemented in 2 and 3 dimensions")
    axis = rng.standard_normal((n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = _turning_angle(spread, rng.random(n)) if spread > 0 else np.zeros(n)
    cross = np.zeros((n, 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        cross[:, i, j], cross[:, j, i] = -axis[:, k], axis[:, k]
    outer = axis[:, :, None] * axis[:, None, :]
    c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return np.asarray(c * np.eye(3) + s * cross + (1 - c) * outer)


def turning_density(spread: float, angle: Array) -> Array:
    """Density on [0, pi] of the angle of Brownian motion on SO(3): Haar measure times the heat kernel.

    (1 - cos w)/pi * sum_l (2l+1) e^{-l(l+1) s} sin((l + 1/2) w)/sin(w/2), or for s < 1/4 its Poisson dual
    sin(w/2) e^{s/4} (4 pi s^3)^{-1/2} sum_k (-1)^k (w + 2 pi k) e^{-(w + 2 pi k)^2/(4 s)}.
    """
    if spread < 0.25:
        k = np.arange(-2, 3)
        x = angle[..., None] + 2 * np.pi * k
        total = np.sum((-1.0) ** k * x * np.exp(-x * x / (4 * spread)), axis=-1)
        return np.asarray(np.sin(angle / 2) * math.exp(spread / 4) / math.sqrt(4 * math.pi * spread**3) * total * 2)
    order = np.arange(30)
    weight = (2 * order + 1) * np.exp(-order * (order + 1) * spread)
    waves = np.sin((order + 0.5) * angle[..., None])
    return np.asarray(2 / np.pi * np.sin(angle / 2) * (waves @ weight))


def _turning_angle(spread: float, u: Array) -> Array:
    """Inverse of the distribution function of ``turning_density`` at u, by Newton's method inside a table."""
    top = min(math.pi, 24 * math.sqrt(spread))
    grid = np.linspace(0.0, top, 2049)
    x, w = gauss_legendre(8)
    half = top / 2048 / 2
    cells = half * turning_density(spread, grid[:-1, None] + half * (1 + x)) @ w
    cdf = np.concatenate([[0.0], np.cumsum(cells)])
    cdf /= cdf[-1]  # rounding of the sum only
    cell = np.clip(np.searchsorted(cdf, u, side="right") - 1, 0, 2047)
    low, high = grid[cell], grid[cell + 1]
    angle = low + (high - low) * (u - cdf[cell]) / np.maximum(cdf[cell + 1] - cdf[cell], 1e-300)
    for _ in range(4):
        step = (angle - low) / 2
        inside = step * (turning_density(spread, low[:, None] + step[:, None] * (1 + x)) @ w)
        slope = np.maximum(turning_density(spread, angle), 1e-300)
        angle = np.clip(angle - (cdf[cell] + inside - u) / slope, low, high)
    return np.asarray(angle)


@dataclass(frozen=True)
class Table:
    """Chebyshev interpolant on panels of a smooth function that is 0 beyond the last edge."""

    edges: Array
    coefficients: Array

    @staticmethod
    def of(f: Callable[[Array], Array], edges: Array) -> Table:
        """Interpolate f: (n,) -> (n,)."""
        x = chebyshev.chebpts1(DEGREE + 1)
        centre, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
        values = f((centre[:, None] + half[:, None] * x).ravel()).reshape(len(centre), -1)
        inverse = np.linalg.inv(chebyshev.chebvander(x, DEGREE))
        return Table(edges, inverse @ values.T)

    def __call__(self, x: Array) -> Array:
        """Values at x >= the first edge, any shape."""
        flat = np.ravel(x)
        panel = np.clip(np.searchsorted(self.edges, flat, side="right") - 1, 0, len(self.edges) - 2)
        low, high = self.edges[panel], self.edges[panel + 1]
        local = np.clip((2 * flat - low - high) / (high - low), -1.0, 1.0)
        values = chebyshev.chebval(local, self.coefficients[:, panel], tensor=False)
        return np.asarray(np.where(flat <= self.edges[-1], values, 0.0)).reshape(np.shape(x))

    @property
    def error(self) -> float:
        """Size of the last two coefficients: an estimate of the interpolation error."""
        return float(np.abs(self.coefficients[-2:]).sum(axis=0).max())


@dataclass(frozen=True)
class RadialStart:
    """Mass of f0 outside a ball, tabulated once for all times."""

    d: int
    outside: Table

    @staticmethod
    def of(problem: Problem) -> RadialStart:
        """Tabulate ``tail_moment(r, 0)`` on the panels of the initial density, halved."""
        edges = problem.initial.radial_edges()
        edges = np.sort(np.concatenate([edges, (edges[1:] + edges[:-1]) / 2]))
        mass = np.vectorize(lambda r: problem.initial.tail_moment(float(r), 0), otypes=[np.float64])
        return RadialStart(problem.d, Table.of(mass, edges))


@dataclass(frozen=True)
class RadialLaw:
    """Law of r = |V_t - m| for given a and b (``scales``)."""

    start: RadialStart
    a: float
    b: float

    def survival(self, r: Array) -> Array:
        """P(|V_t - m| > r), any shape, r >= 0; absolute error about 1e-13 where f0 is smooth."""
        r = np.asarray(r, dtype=np.float64)
        outside, d = self.start.outside, self.start.d
        if self.b == 0.0:
            return outside(r / self.a)
        low = np.clip((r - WINDOW * self.b) / self.a, 0.0, outside.edges[-1])
        high = np.clip((r + WINDOW * self.b) / self.a, 0.0, outside.edges[-1])
        # P(|a r0 + b Z| > r) at r0 = low and minus d/dr0 of its complement: a noncentral chi density with d + 2
        x, w = gauss_legendre(NODES)
        half = (high - low)[..., None] / 2
        r0 = low[..., None] + half * (1 + x)
        kernel = half * step_kernel(d, r[..., None], r0, self.a, self.b) * outside(r0)
        from_rest = special.chndtr((r / self.b) ** 2, d, 0.0)
        return np.asarray(np.where(low > 0, 0.0, 1 - from_rest) + kernel @ w)

    @cached_property
    def table(self) -> Table:
        """``survival`` on panels, for many evaluations."""
        reach = self.a * self.start.outside.edges[-1] + WINDOW * self.b
        inner = self.start.outside.edges
        scale = min(1.0, reach / inner[-1]) if reach < inner[-1] else 1.0
        edges = np.unique(np.concatenate([scale * inner, [max(reach, scale * inner[-1] * (1 + 1e-12))]]))
        return Table.of(self.survival, edges)

    def projected(self, y: Array) -> Array:
        """P(u.(V_t - m) > y) for one unit vector u if V_t is isotropic; any shape and sign."""
        y = np.asarray(y, dtype=np.float64)
        upper = self._projected(np.abs(y))
        return np.where(y >= 0, upper, 1 - upper)

    @cached_property
    def _projected(self) -> Table:
        # 2D: y = r sin(angle), angle uniform on the quarter circle; 3D: y = r u, u uniform. P(r > y/u) rises near
        # u = y, hence dyadic panels towards 0.
        x, w = gauss_legendre(16)
        edges = np.concatenate([[0.0], 2.0 ** np.arange(-30, 1)])
        half = np.diff(edges)[:, None] / 2
        u, weight = (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
        share = np.sin(np.pi / 2 * u) if self.start.d == 2 else u
        return Table.of(lambda y: np.asarray(self.table(y[:, None] / share) @ weight) / 2, self.table.edges)


def step_kernel(d: int, r: Array, r0: Array, a: float, b: float) -> Array:
    """-d/dr0 P(|a r0 e + b Z| <= r) = 2 r0 (a/b)^2 times the noncentral chi-square density of d + 2 degrees.

    a^2 r0/b^2 (r/(a r0))^{d/2} e^{-(r - a r0)^2/(2 b^2)} I_{d/2}(z) e^{-z}, z = a r r0/b^2; r0 > 0.
    """
    z = a * r * r0 / b**2
    gap = (r - a * r0) / b
    front = a * a * r0 / b**2 * (r / (a * r0)) ** (d / 2)
    return np.asarray(front * np.exp(-gap * gap / 2) * scaled_bessel(d / 2, z))


def scaled_bessel(order: float, z: Array) -> Array:
    """I_order(z) e^{-z}, z >= 0; its expansion from 1e6 on (scipy gives NaN from about 1e9)."""
    mu, big = 4 * order**2, np.maximum(z, 1e6)
    expansion = (1 - (mu - 1) / (8 * big) * (1 - (mu - 9) / (16 * big))) / np.sqrt(2 * np.pi * big)
    return np.asarray(np.where(z < 1e6, special.ive(order, np.minimum(z, 1e6)), expansion))


def radial_law(problem: Problem, t: float, start: RadialStart | None = None) -> RadialLaw:
    """Law of |V_t - m| (any initial density with covariance T I)."""
    return RadialLaw(start or RadialStart.of(problem), *scales(problem, t))


def radial_mean(law: RadialLaw, slope: Callable[[Array], Array], edges: Array) -> Array:
    """E phi(|V_t - m|) - phi(0) = int phi'(r) P(> r) dr for phi' smooth between ``edges`` (ascending, from 0)."""
    x, w = gauss_legendre(NODES // 4)
    half = np.diff(edges)[:, None] / 2
    r = edges[:-1, None] + half * (1 + x)
    return np.asarray(np.sum(half * w * slope(r) * law.table(r)))


def density(problem: Problem, t: float, v: Array) -> Array:
    """f_t at v of shape (..., d) for an isotropic initial density, t > t0; absolute error about 1e-14 of its maximum.

    int f0(r0) |S| r0^{d-1} (2 pi b^2)^{-d/2} e^{-(r - a r0)^2/(2 b^2)} g(z) dr0 with g the mean of e^{z(cos - 1)}.
    """
    if not getattr(problem.initial, "isotropic", False):
        raise ValueError("the density is implemented for isotropic initial data")
    a, b = scales(problem, t)
    if b == 0.0:
        return np.asarray(np.exp(problem.initial.log_density(v)))
    d, mean = problem.d, problem.initial.mean()
    top = float(problem.initial.radial_edges()[-1])
    x, w = gauss_legendre(NODES)

    def at(r: Array) -> Array:
        low, high = (np.clip((r + s * WINDOW * b) / a, 0.0, top)[:, None] for s in (-1, 1))
        half = (high - low) / 2
        r0 = low + half * (1 + x)
        z = a * r[:, None] * r0 / b**2
        in3d = np.where(z > 1e-8, -np.expm1(-2 * z) / np.maximum(2 * z, 1e-300), 1 - z)
        g = special.i0e(z) if d == 2 else in3d
        points = mean + r0[..., None] * np.eye(d)[0]
        area = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
        f0 = np.exp(problem.initial.log_density(points.reshape(-1, d))).reshape(r0.shape)
        step = np.exp(-(((r[:, None] - a * r0) / b) ** 2) / 2) / (2 * math.pi * b * b) ** (d / 2)
        return np.asarray((half * f0 * area * r0 ** (d - 1) * step * g) @ w)

    radius = np.linalg.norm(v - mean, axis=-1)
    return at(radius.ravel()).reshape(radius.shape)
