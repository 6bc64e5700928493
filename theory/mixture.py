"""The exact solution of Maxwell molecules started from a Gaussian mixture with covariance T I, in 2D and 3D.

V_t = R_t(a V_0 + b Z) (``theory.relaxation``), and a rotated isotropic Gaussian is the same Gaussian: V_t = a R_t mu_k
+ sqrt(S) Z with S = a^2 s^2 + b^2. So f_t is a mixture of Gaussians of variance S whose centres are spread over the
spheres of radius a rho_k, rho_k = |mu_k|, by the heat kernel of the sphere at the time tau = C t. With r = |v|, z =
a r rho_k/S, c the cosine between v and mu_k, and i_l the Bessel functions of e^{z c} = sum_l m_l i_l(z) P_l(c),

f_t(v) = sum_k p_k (2 pi S)^{-d/2} e^{-(r - a rho_k)^2/2S} sum_l m_l e^{-tau l(l+d-2)} e^{-z} i_l(z) P_l(c):

3D modified spherical Bessel functions, Legendre polynomials, m_l = 2l + 1; 2D I_l, cos(l angle), m_l = 2 (m_0 = 1).

Accuracy. The series is cut where its terms fall below 1e-18 of the first; its absolute rounding error is about 1e-16 of
its value at c = 1. Far out at short times f_t(v) is much smaller than that. Where it is by more than ``LOSS``, the
average over the sphere is a quadrature of a positive integrand instead (``spread_mean``), right to 1e-12. Measured
against 80 digits: relative errors of f and errors of S times the score below 2e-12 at all times where |v| < 6 in the
registered problem, and below 1e-10 everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.polynomial.chebyshev import chebpts1
from scipy import special
from scipy.integrate import OdeSolution, solve_ivp

from theory import relaxation
from theory.densities import GaussianMixture, spherical_mean
from theory.drift import maxwell_coefficients
from theory.problem import COVARIANCE_TOLERANCE
from theory.provenance import Array

TRUNCATION = 1e-18  # of the first term of the series
LOSS = 1e6  # rounding of the series over f, in units of the machine precision, beyond which it is not used
NEGLIGIBLE = 35.0  # exponent below the largest at which a centre no longer counts
SAME = 1e-14  # of the largest coordinate: rounding
CHUNK = 2048  # points at once in the series: its arrays stay in the cache
ROWS, KEPT = 2048, 24  # start points integrated together, and how many such groups are remembered
RELATIVE, ABSOLUTE = 1e-11, 1e-11  # tolerances of the characteristics
STEP, HALF = 0.8, 10  # quadrature over the sphere: spacing in standard deviations, points to each side
RADII, ANGLES = 15, {2: 96, 3: 32}  # of the rule for the Fisher information: per panel, by dimension
FARTHEST, DEGREE = 2.2, 20  # angle to which the heat kernel of the sphere is interpolated, and how


@dataclass(frozen=True, eq=False)
class Shell:
    """Centres at one distance from the mean, antipodal ones together.

    Parameters
    ----------
    radius : float
    directions : ndarray (k, d)
        Unit vectors.
    even, odd : ndarray (k,)
        Sum and difference of the shares at the direction and at its antipode.
    """

    radius: float
    directions: Array
    even: Array
    odd: Array


@lru_cache(maxsize=32)
def shells(mixture: GaussianMixture) -> tuple[Shell, ...]:
    """The centres of a mixture with mean 0, by their distance from it."""
    found: dict[float, list[list[Array | float]]] = {}
    for share, centre in zip(mixture.shares, np.array(mixture.centres), strict=True):
        radius = float(np.linalg.norm(centre))
        near = next((x for x in found if math.isclose(x, radius, rel_tol=1e-15, abs_tol=1e-300)), radius)
        axes = found.setdefault(near, [])
        unit = centre / radius if radius > 0 else np.eye(mixture.d)[0]
        for axis in axes:
            for sign in (1.0, -1.0):
                if np.max(np.abs(sign * unit - axis[0])) < 1e-15:
                    axis[1], axis[2] = axis[1] + share, axis[2] + sign * share
                    break
            else:
                continue
            break
        else:
            axes.append([unit, share, share])
    return tuple(
        Shell(radius, np.array([a[0] for a in axes]), np.array([a[1] for a in axes]), np.array([a[2] for a in axes]))
        for radius, axes in found.items()
    )


@lru_cache(maxsize=32)
def is_cubic(mixture: GaussianMixture) -> bool:
    """Whether reflections and permutations of the coordinates leave the centres and their shares as they are."""
    known = {(c, p) for c, p in zip(mixture.centres, mixture.shares, strict=True)}
    flipped = {((-c[0], *c[1:]), p) for c, p in known}
    turned = {((*c[1:], c[0]), p) for c, p in known}
    swapped = {((c[1], c[0], *c[2:]), p) for c, p in known}
    return known == flipped == turned == swapped


@dataclass(frozen=True, eq=False)
class Fold:
    """Points of which those that reflections and permutations of the coordinates take into each other are kept once.

    Quadrature rules have most of their nodes in such groups. Points are the same up to ``SAME`` of the largest.

    Parameters
    ----------
    points : ndarray (m, d)
    index : ndarray (n,) of int
        Which of them every original point belongs to.
    order : ndarray (n, d) of int
    sign : ndarray (n, d)
        Original coordinate number order[i, j] is sign[i, order[i, j]] times coordinate j of its point.
    """

    points: Array
    index: np.ndarray
    order: np.ndarray
    sign: Array

    @staticmethod
    def of(mixture: GaussianMixture, v: Array) -> Fold:
        """Fold points (n, d); all are kept if the mixture has no such symmetry. The last few folds are remembered."""
        return _folded(mixture, v.tobytes())

    @staticmethod
    def new(mixture: GaussianMixture, v: Array) -> Fold:
        """``of``, not remembered."""
        if not is_cubic(mixture) or len(v) < 2:
            trivial = np.broadcast_to(np.arange(v.shape[1]), v.shape)
            return Fold(v, np.arange(len(v)), trivial, np.ones_like(v))
        order = np.argsort(np.abs(v), axis=1, kind="stable")
        folded = np.take_along_axis(np.abs(v), order, axis=1)
        scale = SAME * max(float(np.max(folded)), 1e-300)
        _, first, index = np.unique(np.round(folded / scale), axis=0, return_index=True, return_inverse=True)
        rank = np.empty_like(first)
        rank[np.argsort(first)] = np.arange(len(first))  # in their old order: neighbours in radius stay together
        return Fold(folded[np.sort(first)], rank[index.ravel()], order, np.where(v < 0, -1.0, 1.0))

    def back(self, vectors: Array) -> Array:
        """Vectors (m, d) at the kept points, at the original ones (n, d)."""
        out = np.empty(self.order.shape)
        np.put_along_axis(out, self.order, vectors[self.index], axis=1)
        return out * self.sign


@lru_cache(maxsize=6)
def _folded(mixture: GaussianMixture, points: bytes) -> Fold:
    return Fold.new(mixture, np.frombuffer(points).reshape(-1, mixture.d))


def terms_needed(d: int, spread: float, z: float) -> int:
    """Degree after which the terms of the series (times l^3, for derivatives) are below ``TRUNCATION`` for all c.

    i_{l+1}/i_l = I_{v+1}/I_v <= z/(v + 1/2 + sqrt((v + 1/2)^2 + z^2)), v = l + d/2 - 1 (Amos 1974).
    """
    degrees = np.arange(60 + int(12 * math.sqrt(z)))  # more than it takes: they fall at least like e^{-l^2/2z}
    order = degrees + (d - 1) / 2
    decay = np.cumsum(np.log(max(z, 1e-300) / (order + np.hypot(order, z))))  # of i_{l+1} against i_0
    logs = decay - spread * (degrees + 1) * (degrees + d - 1) + 3 * np.log(degrees + 2)
    return int(np.argmax(logs < math.log(TRUNCATION))) + 1


def bessel_ratios(d: int, top: int, z: Array) -> Array:
    """i_{l+1}/i_l at z > 0 for l <= top, (top + 1, n): downwards from a degree where it no longer matters."""
    start = max(top, terms_needed(d, 0.0, float(np.max(z, initial=0.0))))
    order = start + (d - 1) / 2
    ratio = z / (order + np.hypot(order + 0.5, z))  # between Amos' bounds
    out = np.empty((top + 1, len(z)))
    for degree in range(start, -1, -1):
        if degree <= top:
            out[degree] = ratio
        if degree > 0:
            ratio = 1 / ((2 * degree + d - 2) / z + ratio)
    return out


def series(d: int, spread: float, shell: Shell, z: Array, unit: Array) -> tuple[Array, Array, Array]:
    """Averages over a spread-out shell of e^{z (w.e - 1)} and of w e^{z (w.e - 1)}, w its unit vectors, e = ``unit``.

    Parameters
    ----------
    spread : float
        Heat kernel time tau.
    z : ndarray (n,)
    unit : ndarray (n, d)

    Returns
    -------
    value (n,), vector (n, d), size (n,)
        ``size`` is the sum of the absolute values at c = 1, of which rounding costs about 1e-16.
    """
    top, cosine = terms_needed(d, spread, float(np.max(z, initial=0.0))), shell.directions @ unit.T
    safe = np.maximum(z, 1e-300)
    degrees = np.arange(top + 1)
    many = np.where(degrees == 0, 1, 2 if d == 2 else 2 * degrees + 1)
    ratio = bessel_ratios(d, top, safe)
    term = np.ones_like(ratio)
    np.cumprod(ratio[:-1], axis=0, out=term[1:])
    term *= spherical_mean(d, z) * (many * np.exp(-spread * degrees * (degrees + d - 2)))[:, None]
    slope = term * (ratio + degrees[:, None] / safe)  # of i_l: i_{l+1} + l i_l/z
    # P_l' = g_l sum of m_j P_j over j = l - 1, l - 3, ..., g_l = 1 in 3D and l in 2D: suffix sums of the coefficients
    suffix = np.zeros_like(ratio)
    for degree in range(top - 1, -1, -1):
        gain = 1 if d == 3 else degree + 1
        suffix[degree] = gain * term[degree + 1] + (suffix[degree + 2] if degree + 2 <= top else 0.0)
    suffix *= many[:, None] / safe
    used = [bool(shell.even.any()), bool(shell.odd.any())]
    value, along = np.zeros_like(z), np.zeros_like(z)
    across, step = np.zeros_like(cosine), np.empty_like(cosine)
    polynomial, previous = np.ones_like(cosine), np.zeros_like(cosine)  # P_l, 1 at c = 1
    for degree in range(top + 1):
        shares, others = (shell.odd, shell.even) if degree % 2 else (shell.even, shell.odd)
        if used[degree % 2]:
            sum_ = shares @ polynomial
            value += term[degree] * sum_
            along += slope[degree] * sum_
        if used[1 - degree % 2]:
            np.multiply(polynomial, suffix[degree], out=step)
            across += others[:, None] * step
        # (l + d - 2) P_{l+1} = (2 l + d - 2) c P_l - l P_{l-1}
        first, second = (1, 0) if degree == 0 else ((2 * degree + d - 2) / (degree + d - 2), degree / (degree + d - 2))
        np.multiply(cosine, polynomial, out=step)
        step *= first
        previous *= second
        np.subtract(step, previous, out=previous)
        polynomial, previous = previous, polynomial
    radial = along - np.sum(across * cosine, axis=0)
    vector = radial[:, None] * unit + across.T @ shell.directions
    return value, vector, float(np.sum(shell.even)) * term.sum(axis=0)


@dataclass(frozen=True)
class HeatKernel:
    """Logarithm of the heat kernel of the unit circle or sphere at a small time, to angles where it matters.

    3D: 4 e^{tau/4} (4 pi tau)^{-3/2} int (p/sin p) e^{-p^2/4 tau} dw over w > 0 with sin^2(p/2) = sin^2(angle/2) + w^2
    (the Mehler-Dirichlet integral of the Poisson dual; images further than pi are below rounding).
    """

    d: int
    spread: float

    def __call__(self, angle: Array) -> Array:
        """Log of the kernel with respect to length or area."""
        tau = self.spread
        leading = -(angle**2) / (4 * tau) - (self.d - 1) / 2 * math.log(4 * math.pi * tau)
        if self.d == 2:
            return np.asarray(leading + np.log1p(np.exp(-math.pi * (math.pi - np.abs(angle)) / tau)))
        return np.asarray(leading + self._correction(np.minimum(angle, FARTHEST) ** 2))

    @cached_property
    def _correction(self) -> Chebyshev:
        """Smooth in the square of the angle; its singularity is at pi."""
        square = (chebpts1(DEGREE + 1) + 1) / 2 * FARTHEST**2
        return Chebyshev.fit(square, self._integral(np.sqrt(square)), DEGREE, domain=(0.0, FARTHEST**2))

    def _integral(self, angle: Array) -> Array:
        tau = self.spread
        deviation = np.sqrt(tau * np.sinc(angle / math.pi) / 2)[:, None]
        w = STEP * deviation * np.arange(HALF + 1)
        weight = np.where(np.arange(HALF + 1) == 0, 0.5, 1.0) * STEP * deviation
        square = np.sin(angle / 2)[:, None] ** 2 + w * w
        p = 2 * np.arcsin(np.sqrt(np.minimum(square, 1 - 1e-12)))
        inside = (square < 1 - 1e-12) / np.sinc(p / math.pi)  # p/sin p
        both = p + angle[:, None]
        apart = 2 * np.arcsin(np.minimum(w * w / np.maximum(np.sin(both / 2), 1e-300), 1.0))  # p - angle
        total = np.sum(weight * inside * np.exp(-apart * both / (4 * tau)), axis=1)
        return np.asarray(np.log(4 * total) + tau / 4 - math.log(4 * math.pi * tau) / 2)


def saddle(spread: float, z: Array, angle: Array) -> Array:
    """Where -x^2/(4 tau) + z cos(angle - x) is largest, between 0 and the angle: bisection."""
    low, high = np.zeros_like(angle), angle.copy()
    for _ in range(60):
        middle = (low + high) / 2
        rising = z * np.sin(angle - middle) > middle / (2 * spread)
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.asarray((low + high) / 2)


def spread_mean(kernel: HeatKernel, z: Array, angle: Array, peak: Array) -> tuple[Array, Array, Array]:
    """Log of the average of e^{z (w.e - 1)} over w spread from a centre at ``angle`` from e; means of w along, across.

    Trapezoidal rule about the saddle in the angle from the centre towards e and, in 3D, in the angle off their great
    circle: analytic and peaked, so its error falls exponentially. All of shape (n,); across points at the centre.
    """
    steps = np.arange(-HALF, HALF + 1)
    bend = z * np.cos(angle - peak)
    curvature = np.maximum(1 / (2 * kernel.spread) + bend, 1 / (4 * kernel.spread))
    x = peak[:, None] + STEP / np.sqrt(curvature)[:, None] * steps  # (n, i)
    log_cell = math.log(STEP) - np.log(curvature) / 2
    if kernel.d == 2:
        log = kernel(x) + z[:, None] * (np.cos(angle[:, None] - x) - 1)
        along, across = np.cos(angle[:, None] - x), np.sin(angle[:, None] - x)
    else:
        flat = np.where(peak > 1e-4, peak / np.tan(np.maximum(peak, 1e-4)), 1.0)
        other = np.maximum(flat / (2 * kernel.spread) + bend, 1 / (8 * kernel.spread))
        y = STEP / np.sqrt(other)[:, None] * steps[HALF:]  # (n, j), y >= 0
        log_cell = log_cell + math.log(2 * STEP) - np.log(other) / 2
        cosine, x = np.cos(y)[:, None, :], x[:, :, None]
        # the angle from the centre, without cancellation
        half = np.sin(x / 2) ** 2 + np.sin(y / 2)[:, None, :] ** 2 * np.cos(x)
        from_centre = 2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
        toward = angle[:, None, None] - x
        along, across = cosine * np.cos(toward), cosine * np.sin(toward)
        with np.errstate(divide="ignore"):
            edge = np.where(y < math.pi / 2, np.log(np.maximum(np.cos(y), 1e-300)), -np.inf)
        edge[:, 0] -= math.log(2)
        log = kernel(from_centre) + z[:, None, None] * (along - 1) + edge[:, None, :]
    log, along, across = (q.reshape(len(z), -1) for q in np.broadcast_arrays(log, along, across))
    top = log.max(axis=1)
    weight = np.exp(log - top[:, None])
    total = weight.sum(axis=1)
    mean = [np.sum(weight * q, axis=1) / total for q in (along, across)]
    return top + np.log(total) + log_cell, *mean


@dataclass(frozen=True)
class MixtureLaw:
    """Law at an age > 0 of Maxwell molecules that were a Gaussian mixture (``theory.problem.InitialDensity``).

    Parameters
    ----------
    start : GaussianMixture
        With mean 0 and covariance T I.
    strength : float
        Kernel constant C.
    age : float
        Time since the start.
    """

    start: GaussianMixture
    strength: float
    age: float

    def __post_init__(self) -> None:
        if not self.age > 0:
            raise ValueError(f"the law differs from the mixture at an age > 0 only, got {self.age}")

    @property
    def d(self) -> int:
        """Dimension."""
        return self.start.d

    @property
    def isotropic(self) -> bool:
        """The density depends on |v| only if all centres coincide."""
        return self.start.isotropic

    @property
    def a(self) -> float:
        """What is left of the centres: e^{-(d-1) C age}."""
        return math.exp(-(self.d - 1) * self.strength * self.age)

    @property
    def spread(self) -> float:
        """Heat kernel time of the centres on their spheres."""
        return self.strength * self.age

    @property
    def variance(self) -> float:
        """S = a^2 s^2 + T (1 - a^2), of every Gaussian."""
        temperature = float(np.trace(self.start.covariance())) / self.d
        return self.start.variance * self.a**2 - temperature * math.expm1(-2 * (self.d - 1) * self.strength * self.age)

    @property
    def tail_variance(self) -> float:
        """Variance of the Gaussian that bounds the tail (times e^{a |v| max|mu|/S})."""
        return self.variance

    @cached_property
    def unrotated(self) -> GaussianMixture:
        """The mixture with shrunk centres whose average over rotations f is: the law of |v| is the same."""
        stretch = math.sqrt(self.variance / self.start.variance)
        return replace(
            self.start,
            centres=tuple(tuple(self.a * x for x in c) for c in self.start.centres),
            variance=self.variance,
            panels=tuple(stretch * x for x in self.start.panels),
        )

    @cached_property
    def _kernel(self) -> HeatKernel:
        return HeatKernel(self.d, self.spread)

    def parts(self, v: Array) -> tuple[Array, Array]:
        """Log f, (...), and the mean y of the centre given v, (..., d): s = (y - v)/S. v of shape (..., d).

        The last few evaluations are remembered: densities, scores and drifts are often wanted at the same points.
        """
        log, centre = _evaluated(self, np.asarray(v, dtype=np.float64).tobytes())
        return log.reshape(np.shape(v)[:-1]).copy(), centre.reshape(np.shape(v)).copy()

    def evaluate(self, v: Array) -> tuple[Array, Array]:
        """``parts`` at v of shape (n, d), neither remembered nor folded."""
        log, centre = np.empty(len(v)), np.empty_like(v)
        for k in range(0, len(v), CHUNK):
            rows = slice(k, k + CHUNK)
            log[rows], centre[rows] = self._chunk(v[rows])
        return log, centre

    def _chunk(self, v: Array) -> tuple[Array, Array]:
        variance, r = self.variance, np.linalg.norm(v, axis=1)
        unit = v / np.maximum(r, 1e-300)[:, None]
        exponents = np.stack([-((r - self.a * s.radius) ** 2) / (2 * variance) for s in shells(self.start)])
        top = exponents.max(axis=0)
        total, size, centre = np.zeros_like(r), np.zeros_like(r), np.zeros_like(v)
        for exponent, shell in zip(exponents, shells(self.start), strict=True):
            factor, radius = np.exp(exponent - top), self.a * shell.radius
            value, vector, rounding = series(self.d, self.spread, shell, r * radius / variance, unit)
            total += factor * value
            size += factor * rounding
            centre += (factor * radius)[:, None] * vector
        lost = ~(size < LOSS * total)
        with np.errstate(invalid="ignore", divide="ignore"):
            log, centre = top + np.log(total), centre / total[:, None]
        if lost.any():
            log[lost], centre[lost] = self._far(v[lost], r[lost], unit[lost])
        return log - self.d / 2 * math.log(2 * math.pi * variance), centre

    def _far(self, v: Array, r: Array, unit: Array) -> tuple[Array, Array]:
        """The same up to the constant, centre by centre with ``spread_mean``."""
        mixture, variance = self.unrotated, self.variance
        centres = np.array(mixture.centres)
        radius = np.maximum(np.linalg.norm(centres, axis=1), 1e-300)
        axis = centres / radius[:, None]
        angle = 2 * np.arcsin(np.minimum(np.linalg.norm(unit[:, None] - axis, axis=-1) / 2, 1.0))
        z = r[:, None] * radius / variance
        peak = saddle(self.spread, z, angle)
        front = np.log(mixture.shares) - (r[:, None] - radius) ** 2 / (2 * variance)
        rough = front + z * (np.cos(angle - peak) - 1) - peak**2 / (4 * self.spread)
        i, k = np.nonzero(rough > rough.max(axis=1, keepdims=True) - NEGLIGIBLE)
        log, along, across = spread_mean(self._kernel, z[i, k], angle[i, k], peak[i, k])
        value = np.full(z.shape, -np.inf)
        value[i, k] = front[i, k] + log
        share = special.softmax(value, axis=1)
        # unit vector at e towards the centre; where they coincide (or are opposite) there is nothing across
        tangent = axis[k] - np.sum(axis[k] * unit[i], axis=1)[:, None] * unit[i]
        tangent /= np.maximum(np.linalg.norm(tangent, axis=1), 1e-300)[:, None]
        vector = (share[i, k] * radius[k])[:, None] * (along[:, None] * unit[i] + across[:, None] * tangent)
        centre = np.zeros_like(v)
        np.add.at(centre, i, vector)
        return np.asarray(special.logsumexp(value, axis=1)), centre

    def log_density(self, v: Array) -> Array:
        """Log f at v of shape (..., d)."""
        return self.parts(v)[0]

    def score(self, v: Array) -> Array:
        """Grad log f = (y - v)/S at v of shape (..., d)."""
        return np.asarray((self.parts(v)[1] - v) / self.variance)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws, (n, d): a centre, turned, and a Gaussian."""
        centre = np.array(self.unrotated.centres)[rng.choice(len(self.start.shares), size=n, p=self.start.shares)]
        turn = relaxation.random_rotations(self.d, self.spread, n, rng)
        noise = math.sqrt(self.variance) * rng.standard_normal((n, self.d))
        return np.asarray(np.einsum("nij,nj->ni", turn, centre) + noise)

    def mean(self) -> Array:
        """Zero."""
        return np.zeros(self.d)

    def covariance(self) -> Array:
        """T I, conserved."""
        return self.start.covariance()

    def tail_moment(self, radius: float, power: int) -> float:
        """Integral of |v|^power f over |v| > radius: rotations do not change it."""
        return self.unrotated.tail_moment(radius, power)

    def score_growth(self, radius: float) -> tuple[float, float]:
        """|s| <= (a max rho + |v|)/S."""
        return self.unrotated.score_growth(radius)

    def radial_edges(self) -> Array:
        """Those of the start, stretched like the width of the Gaussians, to where next to no energy is left."""
        return self.unrotated.radial_edges()

    def regularity(self) -> tuple[bool, str]:
        """A convolution with a Gaussian."""
        return True, "f is a convolution with a Gaussian, analytic on the whole space"


@lru_cache(maxsize=3)
def _evaluated(law: MixtureLaw, points: bytes) -> tuple[Array, Array]:
    fold = Fold.of(law.start, np.frombuffer(points).reshape(-1, law.d))
    log, centre = law.evaluate(fold.points)
    return log[fold.index], fold.back(centre)


def score_bound(mixture: GaussianMixture) -> float:
    """Upper bound of Lip s for a centred mixture and its averages over rotations.

    -grad s = I/s^2 - Cov(centre | v)/s^4 and 0 <= Cov <= max|mu|^2 I.
    """
    least, reach = 1 / mixture.variance, float(np.max(np.linalg.norm(mixture.centres, axis=1)))
    return max(least, (reach * least) ** 2 - least)


def peak_bound(mixture: GaussianMixture) -> float:
    """Upper bound of the largest value of a mixture and of its averages over rotations.

    If centre i is the nearest to v, then |v - mu_j| >= |mu_i - mu_j|/2, so f(v) is at most (2 pi s^2)^(-d/2)
    max_i sum_j p_j e^{-|mu_i - mu_j|^2/8 s^2}.
    """
    centres = np.array(mixture.centres)
    gap = np.sum((centres[:, None] - centres) ** 2, axis=-1)
    worst = np.max(np.exp(-gap / (8 * mixture.variance)) @ np.array(mixture.shares))
    return float(worst * (2 * math.pi * mixture.variance) ** (-mixture.d / 2))


def sphere(d: int) -> tuple[Array, Array]:
    """Unit vectors (n, d) and weights (n,): equispaced angles; in 3D times Gauss-Legendre in the cosine."""
    azimuth = 2 * math.pi * (np.arange(ANGLES[d]) + 0.25) / ANGLES[d]
    circle = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    arc = np.full(len(azimuth), 2 * math.pi / len(azimuth))
    if d == 2:
        return circle, arc
    cosine, weight = relaxation.gauss_legendre(ANGLES[d])
    flat = np.sqrt(1 - cosine**2)[:, None, None] * circle
    height = np.broadcast_to(cosine[:, None, None], (*flat.shape[:2], 1))
    return np.concatenate([flat, height], axis=2).reshape(-1, 3), np.outer(weight, arc).ravel()


@dataclass(frozen=True)
class MixtureSolution:
    """Exact solution from a Gaussian mixture at time 0, its flow started at t0 >= 0 (``ExactSolution``).

    ``score_lipschitz`` and ``sup_density`` are upper bounds, not the constants themselves (``sharp``).

    Parameters
    ----------
    start : GaussianMixture
        With mean 0 and covariance T I.
    strength : float
        Kernel constant C.
    t0 : float
        Start of the flow map.
    T : float
        End of the window; characteristics are integrated to here at once, and on from here in as long pieces.

    Raises
    ------
    ValueError
        If the mean is not 0 or the covariance not T I: then this is not the law.
    """

    start: GaussianMixture
    strength: float
    t0: float
    T: float
    sharp: bool = False

    def __post_init__(self) -> None:
        covariance = self.start.covariance()
        temperature = float(np.trace(covariance)) / self.d
        apart = np.linalg.norm(covariance - temperature * np.eye(self.d))
        off = np.linalg.norm(self.start.mean())
        if off > COVARIANCE_TOLERANCE * math.sqrt(temperature) or apart > COVARIANCE_TOLERANCE * temperature:
            raise ValueError("the exact law needs a mixture with mean 0 and covariance T I")
        if not 0 <= self.t0 < self.T:
            raise ValueError(f"the window [{self.t0}, {self.T}] is empty or starts before the mixture, at time 0")

    @property
    def d(self) -> int:
        """Dimension."""
        return self.start.d

    def at(self, t: float) -> MixtureLaw | GaussianMixture:
        """The density at time t as an initial density."""
        return self.start if t == 0.0 else MixtureLaw(self.start, self.strength, t)

    def log_density(self, t: float, v: Array) -> Array:
        """Log f_t at v of shape (..., d)."""
        return self.at(t).log_density(v)

    def score(self, t: float, v: Array) -> Array:
        """Grad log f_t at v of shape (..., d)."""
        return self.at(t).score(v)

    def drift(self, t: float, v: Array) -> Array:
        """U[f_t](v) = -(A * f) s + b * f from the conserved moments, at v of shape (..., d)."""
        return self._drift(v, self.score(t, v))

    def _drift(self, v: Array, score: Array) -> Array:
        diffusion, friction = maxwell_coefficients(self.strength, v, self.start.covariance(), score)
        return np.asarray(friction - diffusion)

    def rate(self, t: float, v: Array) -> Array:
        """``drift`` at v of shape (n, d) for the integration of characteristics: nothing is remembered or folded."""
        law = self.at(t)
        score = (law.evaluate(v)[1] - v) / law.variance if isinstance(law, MixtureLaw) else law.score(v)
        return self._drift(v, score)

    def flow(self, t: float, v: Array) -> Array:
        """X(t, v) for v of shape (..., d), t >= t0: Runge-Kutta of order 8, remembered for the same start points.

        Absolute error below 5e-11 in the registered problem (measured against a stricter tolerance). Points are
        integrated in groups; a point's last digits depend on its group.

        Raises
        ------
        ValueError
            If t lies before t0.
        """
        if t < self.t0:
            raise ValueError(f"t = {t} lies before the start {self.t0} of the flow")
        flat = np.asarray(v, dtype=np.float64).reshape(-1, self.d)
        if t == self.t0:
            return flat.reshape(np.shape(v)).copy()
        fold = Fold.of(self.start, flat)
        moved = np.empty_like(fold.points)
        piece = max(math.ceil((t - self.t0) / (self.T - self.t0)) - 1, 0)
        for k in range(0, len(moved), ROWS):
            path = characteristics(self, fold.points[k : k + ROWS].tobytes(), piece)
            moved[k : k + ROWS] = path(t).reshape(-1, self.d)
        return fold.back(moved).reshape(np.shape(v))

    def sample(self, t: float, n: int, rng: np.random.Generator) -> Array:
        """Independent draws from f_t, (n, d)."""
        return self.at(t).sample(n, rng)

    def unrotated(self, t: float) -> GaussianMixture:
        """The mixture whose average over rotations f_t is."""
        law = self.at(t)
        return law.unrotated if isinstance(law, MixtureLaw) else law

    def score_lipschitz(self, t: float) -> float:
        """An upper bound of Lip s_t on R^d (``score_bound``)."""
        return score_bound(self.unrotated(t))

    def drift_one_sided(self, t: float) -> float:  # noqa: ARG002 - of the protocol
        """Infinite: no finite bound on R^d is proved here, and at t = 0 there is none.

        At t = 0 the tangential part of U grows like |v|^2. Later it is -C |v| times the gradient on the sphere of the
        log of the heat kernel, to leading order: Lipschitz with a constant like 1/t, not integrable from 0.
        """
        return math.inf

    def drift_lipschitz(self, t: float) -> float:
        """Infinite, as ``drift_one_sided``."""
        return self.drift_one_sided(t)

    def fisher_information(self, t: float) -> float:
        """E |s_t|^2 by quadrature; relative error below 1e-8, largest at time 0 (measured by refinement)."""
        law, (x, w) = self.at(t), relaxation.gauss_legendre(RADII)
        edges = law.radial_edges()
        half = np.diff(edges)[:, None] / 2
        r = (edges[:-1, None] + half * (1 + x)).ravel()
        directions, area = sphere(self.d)
        v = (r[:, None, None] * directions).reshape(-1, self.d)
        weights = np.outer((half * w).ravel() * r ** (self.d - 1), area).ravel()
        return float(weights @ (np.exp(law.log_density(v)) * np.sum(law.score(v) ** 2, axis=1)))

    def tail_moment(self, t: float, radius: float, power: int) -> float:
        """Integral of |v|^power f_t over |v| > radius."""
        return self.at(t).tail_moment(radius, power)

    def sup_density(self, t: float) -> float:
        """An upper bound of the largest value of f_t (``peak_bound``)."""
        return peak_bound(self.unrotated(t))


@lru_cache(maxsize=KEPT)
def characteristics(solution: MixtureSolution, start: bytes, piece: int) -> OdeSolution:
    """Characteristics from points given as the bytes of an (n, d) array, over the ``piece``-th window from t0."""
    length, d = solution.T - solution.t0, solution.d
    begin = solution.t0 + piece * length
    first = np.frombuffer(start)
    if piece > 0:
        first = characteristics(solution, start, piece - 1)(begin)

    def rate(t: float, x: Array) -> Array:
        return solution.rate(t, x.reshape(-1, d)).ravel()

    path = solve_ivp(
        rate, (begin, begin + length), first, method="DOP853", rtol=RELATIVE, atol=ABSOLUTE, dense_output=True
    )
    if not path.success:
        raise FloatingPointError(f"the characteristics could not be integrated: {path.message}")
    return path.sol
