"""Initial densities that several problems or tests share: Gaussian mixtures, a Gaussian ring, a truncated Gaussian.

Tail moments are one-dimensional Gauss-Legendre integrals over the window that holds all but e^-50 of a Gaussian factor:
relative error about 1e-13, also far out, where the moment itself is tiny.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from theory.problem import Problem
from theory.provenance import Array
from theory.quadrature import Rule
from theory.relaxation import gauss_legendre

NODES = 96
LOST = 100.0  # twice the exponent at which a Gaussian factor is cut off: e^-50
FAR, NEAR = 1e-30, 1e-16  # energy beyond the last panel: where growth bounds multiply it, and where nothing does
SAMPLE_CELLS = 4096


def window(radius: float, centre: float, deviation: float) -> tuple[Array, Array]:
    """Nodes and weights on r > radius for a smooth function times exp(-(r - centre)^2/(2 deviation^2))."""
    below = max(0.0, centre - math.sqrt(LOST) * deviation)
    start = max(radius, below)
    excess = max(start - centre, 0.0) / deviation
    # y^2/2 + excess y = LOST/2: the factor falls by e^-50 over y standard deviations, counted from its largest value
    stop = max(start, centre) + deviation * LOST / (excess + math.sqrt(excess**2 + LOST))
    x, w = gauss_legendre(NODES)
    half = (stop - start) / 2
    return start + half * (1 + x), half * w


def spherical_mean(d: int, z: Array) -> Array:
    """Mean over the unit sphere of R^d, d = 2 or 3, of e^{z (cos - 1)}: the angular part of a shifted Gaussian."""
    if d == 2:
        return np.asarray(special.i0e(z))
    return np.asarray(np.where(z > 1e-8, -np.expm1(-2 * z) / np.maximum(2 * z, 1e-300), 1 - z))


def sphere_area(d: int) -> float:
    """Area of the unit sphere of R^d."""
    return 2 * math.pi ** (d / 2) / math.gamma(d / 2)


@dataclass(frozen=True)
class ResolvedProblem(Problem):
    """A problem whose initial density varies too fast along circles for the default number of angles."""

    angles: int = 16

    def rule(self, edges: Array | None = None, angles: int | None = None) -> Rule:
        """Quadrature against f_{t0} in polar coordinates around its mean."""
        return super().rule(edges, self.angles if angles is None else angles)


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k p_k N(mu_k, variance I) in d = 2 or 3 dimensions (``theory.problem.InitialDensity``).

    Parameters
    ----------
    shares : tuple of float
        p_k, positive, sum 1.
    centres : tuple of tuples of float
        mu_k, each of length d.
    variance : float
    panels : tuple of float
        Radial panel edges around the mean, from 0; the truncation radius is appended.
    beyond : float
        Energy left beyond the truncation radius.
    """

    shares: tuple[float, ...]
    centres: tuple[tuple[float, ...], ...]
    variance: float
    panels: tuple[float, ...]
    beyond: float = FAR

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.centres) or not math.isclose(sum(self.shares), 1, rel_tol=1e-12):
            raise ValueError("a mixture needs one share per centre, and shares that sum to 1")
        if self.d not in (2, 3) or self.variance <= 0:
            raise ValueError("a mixture needs dimension 2 or 3 and a positive variance")

    @property
    def d(self) -> int:
        """Dimension."""
        return len(self.centres[0])

    @property
    def isotropic(self) -> bool:
        """Whether the density depends on |v - mean| only: all centres coincide."""
        return bool(np.max(self._offsets) == 0.0)

    @property
    def tail_variance(self) -> float:
        """Variance of the Gaussian that bounds the tail (times e^{|v| max|mu|/variance})."""
        return self.variance

    @cached_property
    def _centres(self) -> Array:
        return np.array(self.centres)

    @cached_property
    def _offsets(self) -> Array:
        """|mu_k - mean|, (k,)."""
        return np.asarray(np.linalg.norm(self._centres - self.mean(), axis=1))

    def _exponents(self, v: Array) -> Array:
        """Log p_k - |v - mu_k|^2/(2 variance), (..., k)."""
        squared = np.sum((v[..., None, :] - self._centres) ** 2, axis=-1)
        return np.asarray(np.log(self.shares) - squared / (2 * self.variance))

    def log_density(self, v: Array) -> Array:
        """Log f at v of shape (..., d)."""
        front = self.d / 2 * math.log(2 * math.pi * self.variance)
        return np.asarray(special.logsumexp(self._exponents(v), axis=-1) - front)

    def score(self, v: Array) -> Array:
        """Grad log f at v of shape (..., d)."""
        return np.asarray((special.softmax(self._exponents(v), axis=-1) @ self._centres - v) / self.variance)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws, (n, d)."""
        which = rng.choice(len(self.shares), size=n, p=self.shares)
        return np.asarray(self._centres[which] + math.sqrt(self.variance) * rng.standard_normal((n, self.d)))

    def mean(self) -> Array:
        """Mean sum p_k mu_k."""
        return np.asarray(np.array(self.shares) @ self._centres)

    def covariance(self) -> Array:
        """Variance I + sum p_k (mu_k - mean)(mu_k - mean)^T."""
        z = self._centres - self.mean()
        return np.asarray(self.variance * np.eye(self.d) + (np.array(self.shares)[:, None] * z).T @ z)

    def tail_moment(self, radius: float, power: int) -> float:
        """Integral of |v - mean|^power f over |v - mean| > radius; relative error about 1e-13."""
        s2, total = self.variance, 0.0
        for share, offset in zip(self.shares, self._offsets, strict=True):
            r, w = window(radius, float(offset), math.sqrt(s2))
            factor = np.exp(-((r - offset) ** 2) / (2 * s2)) * spherical_mean(self.d, r * offset / s2)
            total += share * float(w @ (r ** (power + self.d - 1) * factor))
        return sphere_area(self.d) * (2 * math.pi * s2) ** (-self.d / 2) * total

    def score_growth(self, radius: float) -> tuple[float, float]:  # noqa: ARG002 - holds everywhere
        """|s| <= (max |mu_k - mean| + |v - mean|)/variance, since variance s + v is a mean of the centres."""
        return float(np.max(self._offsets)) / self.variance, 1 / self.variance

    def radial_edges(self) -> Array:
        """The given panels and the radius beyond which the energy is below ``beyond``."""
        return reach(self, self.panels, self.beyond)

    def regularity(self) -> tuple[bool, str]:
        """Mixtures are analytic."""
        return True, "f is a finite sum of Gaussians, analytic on the whole space"


def reach(density: GaussianMixture | Ring, panels: tuple[float, ...], beyond: float) -> Array:
    """Panels with the smallest of a few radii appended that leaves less energy than ``beyond`` outside."""
    radius = panels[-1] * 1.1
    while density.tail_moment(radius, 2) > beyond:
        radius *= 1.05
    return np.array([*panels, radius])


@dataclass(frozen=True)
class Ring:
    """exp(-S (|v| - sigma)^2/sigma^2), normalised, in 3D: a Gaussian in the speed (``theory.problem.InitialDensity``).

    With y = (|v| - sigma)/w, w = sigma/sqrt(2 S), the radial law is (sigma + w y)^2 phi(y) up to a constant.
    """

    sharpness: float
    sigma: float
    panels: tuple[float, ...]
    beyond: float = NEAR
    d: int = 3

    def __post_init__(self) -> None:
        if self.d != 3 or self.sharpness <= 0 or self.sigma <= 0:
            raise ValueError("the ring needs d = 3, S > 0 and sigma > 0")

    @property
    def isotropic(self) -> bool:
        """The density depends on |v| only."""
        return True

    @property
    def width(self) -> float:
        """w, standard deviation of the Gaussian in the speed."""
        return self.sigma / math.sqrt(2 * self.sharpness)

    @property
    def tail_variance(self) -> float:
        """Any Gaussian of variance above w^2 bounds f, up to a constant."""
        return self.width**2

    @property
    def weight(self) -> float:
        """Integral of exp(-S (|v| - sigma)^2/sigma^2) over R^3, closed form."""
        return sphere_area(3) * math.sqrt(2 * math.pi) * self.width * float(self._partial(np.array(np.inf)))

    def _partial(self, r: Array) -> Array:
        """Integral of (sigma + w y)^2 phi(y) from |v| = 0 to r."""
        s, w = self.sigma, self.width

        def primitive(y: Array) -> Array:
            phi = np.exp(-y * y / 2) / math.sqrt(2 * math.pi)
            rest = np.where(np.isinf(y), 0.0, phi * (2 * s * w + w * w * np.where(np.isinf(y), 0.0, y)))
            return np.asarray((s * s + w * w) * special.ndtr(y) - rest)

        return primitive((np.asarray(r) - s) / w) - primitive(np.array(-s / w))

    def log_density(self, v: Array) -> Array:
        """Log f at v of shape (..., 3)."""
        r = np.linalg.norm(v, axis=-1)
        return np.asarray(-(((r - self.sigma) / self.width) ** 2) / 2 - math.log(self.weight))

    def score(self, v: Array) -> Array:
        """Grad log f = -(|v| - sigma)/w^2 v/|v|; 0 at the kink v = 0."""
        r = np.linalg.norm(v, axis=-1, keepdims=True)
        return np.asarray(-(r - self.sigma) / self.width**2 * v / np.where(r > 0, r, 1.0))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws, (n, 3): inverse of the closed-form radial distribution function, uniform direction."""
        s, w = self.sigma, self.width
        grid = np.linspace(0.0, s + 12 * w, SAMPLE_CELLS + 1)
        total = float(self._partial(np.array(np.inf)))
        cdf = self._partial(grid) / total
        u = rng.random(n)
        cell = np.clip(np.searchsorted(cdf, u, side="right") - 1, 0, SAMPLE_CELLS - 1)
        low, high = grid[cell], grid[cell + 1]
        r = np.interp(u, cdf, grid)
        for _ in range(4):
            y = (r - s) / w
            slope = np.maximum(r * r * np.exp(-y * y / 2) / (w * math.sqrt(2 * math.pi)) / total, 1e-300)
            r = np.clip(r - (self._partial(r) / total - u) / slope, low, high)
        direction = rng.standard_normal((n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return np.asarray(r[:, None] * direction)

    def mean(self) -> Array:
        """Zero."""
        return np.zeros(3)

    def covariance(self) -> Array:
        """T I, T = E|v|^2/3."""
        return np.asarray(self.tail_moment(0.0, 2) / 3 * np.eye(3))

    def tail_moment(self, radius: float, power: int) -> float:
        """Integral of |v|^power f over |v| > radius; relative error about 1e-13."""
        r, w = window(radius, self.sigma, self.width)
        factor = np.exp(-(((r - self.sigma) / self.width) ** 2) / 2)
        return sphere_area(3) * float(w @ (r ** (power + 2) * factor)) / self.weight

    def score_growth(self, radius: float) -> tuple[float, float]:
        """||v| - sigma| <= |v| beyond sigma/2, and at most sigma + |v| everywhere."""
        curvature = self.width**-2
        return (0.0 if radius >= self.sigma / 2 else self.sigma * curvature), curvature

    def radial_edges(self) -> Array:
        """The given panels and the radius beyond which the energy is below ``beyond``."""
        return reach(self, self.panels, self.beyond)

    def regularity(self) -> tuple[bool, str]:
        """A kink at v = 0 is no jump."""
        return True, "f is Lipschitz continuous: a kink at v = 0, no jump"


@dataclass(frozen=True)
class TruncatedGaussian:
    """The standard Gaussian of R^2 cut off at |v| = R and normalised; it jumps there (THEORY section 6.1)."""

    R: float
    d: int = 2

    def __post_init__(self) -> None:
        if self.d != 2 or self.R <= 0:
            raise ValueError("the truncated Gaussian needs d = 2 and R > 0")

    @property
    def isotropic(self) -> bool:
        """The density depends on |v| only."""
        return True

    @property
    def weight(self) -> float:
        """Mass Z of the Gaussian inside the circle."""
        return -math.expm1(-(self.R**2) / 2)

    @property
    def temperature(self) -> float:
        """Variance of one component: 1 - R^2 e^{-R^2/2}/(2 Z)."""
        return 1 - self.R**2 * math.exp(-(self.R**2) / 2) / (2 * self.weight)

    def log_density(self, v: Array) -> Array:
        """Log f at v of shape (..., 2); -inf beyond the circle."""
        r2 = np.sum(v * v, axis=-1)
        return np.where(r2 <= self.R**2, -r2 / 2 - math.log(2 * math.pi * self.weight), -np.inf)

    def score(self, v: Array) -> Array:
        """-v, the score inside; what happens at the circle no function can say."""
        return -np.asarray(v)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws, (n, 2): inverse of the radial distribution function."""
        radius = np.sqrt(-2 * np.log1p(-self.weight * rng.random(n)))
        angle = 2 * np.pi * rng.random(n)
        return np.asarray(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))

    def mean(self) -> Array:
        """Zero."""
        return np.zeros(2)

    def covariance(self) -> Array:
        """T I."""
        return self.temperature * np.eye(2)

    def log_masses(self, r: Array) -> tuple[Array, Array]:
        """Logarithms of the masses inside and outside radius r <= R, both free of cancellation."""
        with np.errstate(divide="ignore"):
            inside = np.log(-np.expm1(-(r**2) / 2))
            outside = np.log(np.expm1((self.R**2 - r**2) / 2)) - self.R**2 / 2
        return np.asarray(inside - math.log(self.weight)), np.asarray(outside - math.log(self.weight))

    def tail_moment(self, radius: float, power: int) -> float:
        """Integral of |v|^power f over radius < |v| < R."""
        if radius >= self.R:
            return 0.0
        x, w = gauss_legendre(40)
        half = (self.R - radius) / 2
        r = radius + half * (1 + x)
        return float(half * w @ (r ** (power + 1) * np.exp(-r * r / 2))) / self.weight

    def score_growth(self, radius: float) -> tuple[float, float]:  # noqa: ARG002 - holds everywhere
        """|s| = |v|."""
        return 0.0, 1.0

    def radial_edges(self) -> Array:
        """Four panels up to the circle, beyond which there is nothing."""
        return np.linspace(0.0, self.R, 5)

    def regularity(self) -> tuple[bool, str]:
        """It jumps."""
        return False, f"f0 jumps at |v| = {self.R:g}, so grad f0 is not f0 times its score; start at a later time"
