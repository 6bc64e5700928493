"""Exact solution of the Maxwell equation from a truncated Gaussian in 2D, with its characteristic flow.

Isotropic data obey a linear Ornstein-Uhlenbeck law (THEORY section 2), V_t = a V_0 + b Z, a = e^{-(d-1) C t},
b^2 = T (1 - a^2). For V_0 standard Gaussian cut off at |v| = R, completing the square gives (FACTS section 1.5)

    f_t(v) = e^{-r^2/2S}/(2 pi S Z) P(|m e + X| <= R sqrt(S)/b),   S = a^2 + b^2, m = a r/(b sqrt(S)), X ~ N(0, I).

The probability is integrated with its largest exponent taken out, so log f_t and its derivatives keep their relative
accuracy in the far tail; flow radii are matched through logarithms of the masses inside and outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from scipy import special

from theory.densities import LOST, NEAR, TruncatedGaussian
from theory.provenance import Array
from theory.radial import radial_jets
from theory.relaxation import Table, gauss_legendre

NODES = 96
ITERATIONS = 60
REACH = 2000.0  # standard deviations b beyond the shell up to which masses (in logarithms) are tabulated
STEPS = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.5, 7.5, 10.0, 13.0, 17.0, 22.0, 29.0, 38.0])  # panel edges in units of b


@dataclass(frozen=True)
class TruncatedLaw:
    """Law of a V_0 + b Z, V_0 from a truncated Gaussian: a smooth density (``theory.problem.InitialDensity``).

    Parameters
    ----------
    start : TruncatedGaussian
    age : float
        (d-1) C t > 0, so that a = e^{-age}.
    """

    start: TruncatedGaussian
    age: float

    def __post_init__(self) -> None:
        if not self.age > 0:
            raise ValueError("the law is smooth only after the start")

    @property
    def d(self) -> int:
        """Dimension 2."""
        return self.start.d

    @property
    def isotropic(self) -> bool:
        """The density depends on |v| only."""
        return True

    @property
    def a(self) -> float:
        """What is left of V_0."""
        return math.exp(-self.age)

    @property
    def b(self) -> float:
        """Standard deviation of the Gaussian added to it."""
        return math.sqrt(-self.start.temperature * math.expm1(-2 * self.age))

    @property
    def variance(self) -> float:
        """S = a^2 + b^2."""
        return self.a**2 + self.b**2

    @property
    def shell(self) -> float:
        """Radius a R, where the circle of the jump has gone."""
        return self.a * self.start.R

    @property
    def tail_variance(self) -> float:
        """Variance b^2: e^{-(|v| - a R)^2/(2 b^2)} bounds f, up to a constant."""
        return self.b**2

    def profile(self, r: Array) -> tuple[Array, Array, Array]:
        """Log f, (log f)'/r and (log f)'' at radii r >= 0 of any shape; relative accuracy about 1e-13."""
        r = np.asarray(r, dtype=np.float64)
        s, q = self.variance, self.a / (self.b * math.sqrt(self.variance))
        rim, m = self.start.R * math.sqrt(s) / self.b, q * r
        excess = np.maximum(m - rim, 0.0)
        width = LOST / (excess + np.sqrt(excess**2 + LOST))  # e^-50 of the largest value is lost
        high = np.minimum(rim, m + math.sqrt(LOST))
        low = np.maximum(np.minimum(m, rim) - np.where(m > rim, width, math.sqrt(LOST)), 0.0)
        x, w = gauss_legendre(NODES)
        half = (high - low)[..., None] / 2
        y, far, wide = low[..., None] + half * (1 + x), excess[..., None], m[..., None]
        inside = (half * y * np.exp((far**2 - (y - wide) ** 2) / 2) * special.i0e(y * wide)) @ w
        # derivatives in m: the mass lost is what crosses the rim
        edge = np.exp((excess**2 - (rim - m) ** 2) / 2) * rim / inside
        z = rim * m
        ratio = np.where(z > 1e-8, special.i1e(z) / np.maximum(z, 1e-300), 0.5)  # I1(z) e^-z/z
        first = -edge * rim * ratio  # (log F)'/m
        second = -edge * (rim * (special.i0e(z) - ratio) - m * z * ratio) - (first * m) ** 2
        front = math.log(2 * math.pi * s * self.start.weight)
        log = -r * r / (2 * s) - front - excess**2 / 2 + np.log(inside)
        return np.asarray(log), np.asarray(q * q * first - 1 / s), np.asarray(q * q * second - 1 / s)

    def log_density(self, v: Array) -> Array:
        """Log f at v of shape (..., 2)."""
        return self.profile(np.linalg.norm(v, axis=-1))[0]

    def score(self, v: Array) -> Array:
        """Grad log f at v of shape (..., 2)."""
        return np.asarray(self.profile(np.linalg.norm(v, axis=-1))[1][..., None] * v)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws, (n, 2)."""
        return self.a * self.start.sample(n, rng) + self.b * rng.standard_normal((n, 2))

    def mean(self) -> Array:
        """Zero."""
        return np.zeros(2)

    def covariance(self) -> Array:
        """T I, as at the start."""
        return self.start.covariance()

    @cached_property
    def _panels(self) -> Array:
        """Edges from 0 to the shell and far beyond: what is many standard deviations b out at t0 stays so many out."""
        inner = self.shell - self.b * STEPS[::-1]
        inner = inner[inner > 0.2 * self.b]
        core = np.linspace(0.0, inner[0], max(2, math.ceil(inner[0] / 0.4) + 1))
        outer = [*(self.shell + self.b * STEPS[1:])]
        while outer[-1] < self.shell + REACH * self.b:
            outer.append(self.shell + 1.25 * (outer[-1] - self.shell))
        return np.array([*core[:-1], *inner, *outer])

    @property
    def _outermost(self) -> float:
        """Radius beyond which no law of this family holds energy 1e-16: Gaussian tails of variance T, shifted by R."""
        return self.start.R + 8.5 * math.sqrt(self.start.temperature)

    @cached_property
    def _log_f(self) -> Table:
        # one panel more than the masses have: they look a little beyond their last radius
        return Table.of(lambda r: self.profile(r)[0], np.append(self._panels, self._panels[-1] + 10 * self.b))

    def _outer_mass(self, r: Array, power: int = 0) -> Array:
        """Log of the integral of |v|^power f outside radius r >= the shell, one-dimensional r."""
        k = (r - self.shell) / self.b
        width = self.b * LOST / (k + np.sqrt(k**2 + LOST))
        x, w = gauss_legendre(NODES)
        y = r[:, None] + width[:, None] / 2 * (1 + x)
        log = self._log_f(y)
        top = log[:, :1]
        total = (width[:, None] / 2 * y ** (power + 1) * np.exp(log - top)) @ w
        return np.asarray(np.log(2 * math.pi * total) + top[:, 0])

    @cached_property
    def _inside(self) -> Table:
        """Log of (mass inside r)/r^2 up to the shell."""
        edges = self._panels[self._panels <= self.shell * (1 + 1e-12)]
        x, w = gauss_legendre(32)

        def between(low: Array, high: Array) -> Array:
            half = (high - low)[:, None] / 2
            y = low[:, None] + half * (1 + x)
            return np.asarray((2 * math.pi * half * y * np.exp(self._log_f(y))) @ w)

        before = np.concatenate([[0.0], np.cumsum(between(edges[:-1], edges[1:]))])

        def log_ratio(r: Array) -> Array:
            panel = np.clip(np.searchsorted(edges, r, side="right") - 1, 0, len(edges) - 2)
            return np.asarray(np.log((before[panel] + between(edges[panel], r)) / r**2))

        return Table.of(log_ratio, edges)

    @cached_property
    def _outside(self) -> Table:
        """Log of the mass outside r from the shell on."""
        return Table.of(self._outer_mass, self._panels[self._panels >= self.shell * (1 - 1e-12)])

    def log_masses(self, r: Array) -> tuple[Array, Array]:
        """Logarithms of the masses inside and outside radius r > 0, both free of cancellation.

        Raises
        ------
        ValueError
            Beyond the tabulated range, ``REACH`` standard deviations b.
        """
        r = np.asarray(r, dtype=np.float64)
        if np.max(r, initial=0.0) > self._panels[-1]:
            raise ValueError(f"radius {np.max(r):.3g} is beyond the tabulated {self._panels[-1]:.3g}")
        inner = r < self.shell
        small, large = np.where(inner, r, self.shell), np.where(inner, self.shell, r)
        inside, outside = 2 * np.log(small) + self._inside(small), self._outside(large)
        with np.errstate(divide="ignore"):
            return (
                np.where(inner, inside, np.log1p(-np.exp(np.minimum(outside, 0.0)))),
                np.where(inner, np.log1p(-np.exp(np.minimum(inside, -1e-300))), outside),
            )

    @cached_property
    def _grid(self) -> tuple[Array, Array, Array]:
        """Radii and the log masses inside and outside them, to start from."""
        r = np.unique(np.concatenate([np.linspace(a, b, 9) for a, b in pairwise(self._panels)]))[1:]
        return (r, *self.log_masses(r))

    def radius_of(self, inside: Array, outside: Array) -> Array:
        """Radii at which the log masses inside and outside are the given ones; one-dimensional.

        Newton's method in log r within a bracket, on whichever mass is the smaller.
        """
        grid, grid_in, grid_out = self._grid
        inner = inside < outside
        cell = np.where(inner, np.searchsorted(grid_in, inside), np.searchsorted(-grid_out, -outside))
        if np.any(cell >= len(grid)):
            raise ValueError("a mass is beyond the tabulated radii")
        high = np.log(grid[cell])
        # inside the first cell, mass = r^2 times something between two known values
        floor = (inside - grid_in[0]) / 2 + math.log(grid[0]) - 1.0
        low = np.where(cell > 0, np.log(grid[np.maximum(cell - 1, 0)]), floor)
        y = (low + high) / 2
        for _ in range(ITERATIONS):
            r = np.exp(y)
            log_in, log_out = self.log_masses(r)
            mass, target = np.where(inner, log_in, log_out), np.where(inner, inside, outside)
            residual = np.where(inner, 1.0, -1.0) * (mass - target)  # increases with r
            high, low = np.where(residual >= 0, y, high), np.where(residual <= 0, y, low)
            slope = math.log(2 * math.pi) + 2 * y + self._log_f(r) - mass
            new = y - residual * np.exp(-np.maximum(slope, -700.0))
            new = np.where((new < low) | (new > high), (low + high) / 2, new)
            done = np.abs(new - y) <= 4e-16 * np.maximum(1.0, np.abs(y))
            y = new
            if done.all():
                break
        return np.asarray(np.exp(y))

    def tail_moment(self, radius: float, power: int) -> float:
        """Integral of |v|^power f over |v| > radius; relative error about 1e-12."""
        outer = math.exp(self._outer_mass(np.array([max(radius, self.shell)]), power)[0])
        if radius >= self.shell:
            return outer
        edges = np.array([radius, *self._panels[(self._panels > radius) & (self._panels <= self.shell)]])
        x, w = gauss_legendre(32)
        half = np.diff(edges)[:, None] / 2
        r = edges[:-1, None] + half * (1 + x)
        return outer + float(np.sum(2 * math.pi * half * w * r ** (power + 1) * np.exp(self.profile(r)[0])))

    def fisher_information(self) -> float:
        """E |s|^2 by quadrature in the radius."""
        edges = self._panels[self._panels < self.shell + 14 * self.b]
        x, w = gauss_legendre(32)
        half = np.diff(edges)[:, None] / 2
        r = edges[:-1, None] + half * (1 + x)
        log, ratio, _ = self.profile(r)
        return float(np.sum(2 * math.pi * half * w * r * np.exp(log) * (ratio * r) ** 2))

    def sup_density(self) -> float:
        """f(0): a log-concave even density is largest there."""
        return math.exp(float(self.profile(np.array(0.0))[0]))

    def score_lipschitz(self) -> float:
        """1/b^2, approached at infinity.

        -grad s = (I - Cov(a V_0 | V_t)/b^2)/b^2, between S^-1 I (f is at least as log-concave as N(0, S I)) and b^-2 I;
        far out the conditional law of V_0 shrinks to a point.
        """
        return 1 / self.b**2

    def score_growth(self, radius: float) -> tuple[float, float]:  # noqa: ARG002 - holds everywhere
        """|s| = (|v| - a E[V_0.v/|v| | V_t = v])/b^2, and that conditional mean is not negative."""
        return 0.0, 1 / self.b**2

    def radial_edges(self) -> Array:
        """Panels graded about the shell, to where no later law of the family holds energy 1e-16 either.

        The last ones hold next to nothing of f itself; later laws are integrated on the same panels.
        """
        layer = self.shell + self.b * np.array([-4.5, -1.5, 1.0, 3.5, 7.0, 11.7])
        layer = layer[layer > 0.3]
        core = np.linspace(0.0, layer[0], max(2, math.ceil(layer[0] / 0.7) + 1))
        radius = self._outermost
        while self.tail_moment(radius, 2) > NEAR:
            radius *= 1.05
        panels = math.ceil(max(radius - layer[-1], 0.1) / 1.6)
        return np.array([*core[:-1], *layer, *np.linspace(layer[-1], max(radius, 1.05 * layer[-1]), panels + 1)[1:]])

    def regularity(self) -> tuple[bool, str]:
        """A convolution with a Gaussian."""
        return True, "f is a convolution with a Gaussian, analytic on the whole space"


@lru_cache(maxsize=512)
def law_at(start: TruncatedGaussian, age: float) -> TruncatedLaw:
    """The law at an age; remembered with its tables."""
    return TruncatedLaw(start, age)


@dataclass(frozen=True)
class TruncatedSolution:
    """Exact solution from a truncated Gaussian at time 0, its flow started at t0 >= 0 (``ExactSolution``).

    Parameters
    ----------
    start : TruncatedGaussian
    strength : float
        Kernel constant C.
    t0 : float
        Start of the flow map. From 0 it is defined inside |v| < R only and carries that circle to infinity.
    """

    start: TruncatedGaussian
    strength: float
    t0: float

    @property
    def d(self) -> int:
        """Dimension 2."""
        return self.start.d

    def at(self, t: float) -> TruncatedLaw | TruncatedGaussian:
        """The density at time t as an initial density."""
        return self.start if t == 0.0 else law_at(self.start, (self.d - 1) * self.strength * t)

    def _law(self, t: float) -> TruncatedLaw:
        return law_at(self.start, (self.d - 1) * self.strength * t)

    def log_density(self, t: float, v: Array) -> Array:
        """Log f_t at v of shape (..., 2)."""
        return self.at(t).log_density(v)

    def score(self, t: float, v: Array) -> Array:
        """Grad log f_t at v of shape (..., 2)."""
        return self.at(t).score(v)

    def drift(self, t: float, v: Array) -> Array:
        """U[f_t](v) = -(d-1) C (T s + v)."""
        return np.asarray(-(self.d - 1) * self.strength * (self.start.temperature * self.score(t, v) + v))

    def flow_radius(self, t: float, r0: Array) -> Array:
        """|X(t, v)| for |v| = r0, any shape: the mass inside is conserved; relative error about 1e-12."""
        flat = np.ravel(np.asarray(r0, dtype=np.float64))
        out = np.zeros_like(flat)
        moving = flat > 0
        radii, back = np.unique(flat[moving], return_inverse=True)
        if len(radii):
            out[moving] = self._law(t).radius_of(*self.at(self.t0).log_masses(radii))[back]
        return out.reshape(np.shape(r0))

    def flow(self, t: float, v: Array) -> Array:
        """X(t, v) for v of shape (..., 2): direction constant, radius by mass conservation."""
        if t == self.t0:
            return np.array(v, dtype=np.float64)
        r0 = np.linalg.norm(v, axis=-1)
        ratio = np.where(r0 > 0, self.flow_radius(t, r0) / np.where(r0 > 0, r0, 1.0), 0.0)
        return np.asarray(ratio[..., None] * v)

    def flow_jets(self, t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        """Value, d/dt, Jacobian and Hessian in v of the exact flow at v != 0 of shape (n, 2); needs t0 > 0."""
        r = np.linalg.norm(v, axis=-1)
        big = r if t == self.t0 else self.flow_radius(t, r)
        (log0, ratio0, _), (log1, ratio1, _) = self._law(self.t0).profile(r), self._law(t).profile(big)
        ratio = big / r
        slope = np.exp(log0 - log1) / ratio
        second = slope * (1 / r + ratio0 * r - (1 / big + ratio1 * big) * slope)
        value = ratio[:, None] * v
        unit = v / r[:, None]
        jacobian, hessian = radial_jets(unit, np.eye(2), ratio, slope, (second, (slope - ratio) / r))
        return value, self.drift(t, value), jacobian, hessian

    def sample(self, t: float, n: int, rng: np.random.Generator) -> Array:
        """Independent draws from f_t, (n, 2)."""
        return self.at(t).sample(n, rng)

    def score_lipschitz(self, t: float) -> float:
        """Lip of s_t on R^2: 1/b^2 (``TruncatedLaw.score_lipschitz``); inf at time 0, where f jumps."""
        return math.inf if t == 0.0 else self._law(t).score_lipschitz()

    def drift_one_sided(self, t: float) -> float:
        """Largest eigenvalue of grad U = -(d-1) C (T grad s + I): (d-1) C (T/b^2 - 1), approached at infinity."""
        return (self.d - 1) * self.strength * (self.start.temperature * self.score_lipschitz(t) - 1)

    def drift_lipschitz(self, t: float) -> float:
        """Lip of U[f_t] on R^2: the eigenvalues of -grad s lie between 1/S and 1/b^2 (an upper bound when S counts)."""
        if t == 0.0:
            return math.inf
        least = (self.d - 1) * self.strength * (1 - self.start.temperature / self._law(t).variance)
        return max(self.drift_one_sided(t), least)

    def fisher_information(self, t: float) -> float:
        """E |s_t|^2; inf at time 0, where f jumps."""
        return math.inf if t == 0.0 else self._law(t).fisher_information()

    def tail_moment(self, t: float, radius: float, power: int) -> float:
        """Integral of |v|^power f_t over |v| > radius."""
        return self.at(t).tail_moment(radius, power)

    def sup_density(self, t: float) -> float:
        """Largest value of f_t, at v = 0."""
        return math.exp(float(self.log_density(t, np.zeros(2))))
