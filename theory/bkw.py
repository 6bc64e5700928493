"""The BKW solution of the Maxwell Landau equation in any dimension, with its exact characteristic flow.

K(t) = 1 - K0 exp(-2 (d-1) C t), P = ((d+2) K - d)/(2K), Q = (1-K)/(2 K^2),
f = (2 pi K)^(-d/2) exp(-|v|^2/2K) (P + Q |v|^2): mean 0, unit temperature, valid while P >= 0 (THEORY section 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from theory.provenance import Array
from theory.radial import radial_jets


@dataclass(frozen=True)
class Bkw:
    """BKW solution f_t with its flow X(t, .) started at t0.

    Parameters
    ----------
    d : int
    strength : float
        Kernel constant C.
    amplitude : float
        K0.
    t0 : float
        Start of the flow map.

    Raises
    ------
    ValueError
        If f is negative somewhere at t0.
    """

    d: int
    strength: float
    amplitude: float
    t0: float

    def __post_init__(self) -> None:
        k = 1.0 - self.amplitude * math.exp(-2.0 * (self.d - 1) * self.strength * self.t0)
        if k <= 0 or self.coefficients(self.t0)[1] < -1e-15:
            raise ValueError(f"the BKW density is negative near v = 0 at t0 = {self.t0}; start later")

    def coefficients(self, t: float) -> tuple[float, float, float]:
        """K, P, Q at time t."""
        k = 1.0 - self.amplitude * math.exp(-2.0 * (self.d - 1) * self.strength * t)
        p = ((self.d + 2) * k - self.d) / (2 * k)
        return k, max(p, 0.0) if p > -1e-15 else p, (1 - k) / (2 * k * k)

    def at(self, t: float) -> BkwDensity:
        """The density at time t as an initial density."""
        return BkwDensity(self, t)

    def log_density(self, t: float, v: Array) -> Array:
        """Log f_t at v of shape (..., d); -inf where f vanishes."""
        k, p, q = self.coefficients(t)
        r2 = np.sum(v * v, axis=-1)
        with np.errstate(divide="ignore"):
            return -self.d / 2 * math.log(2 * math.pi * k) - r2 / (2 * k) + np.log(p + q * r2)

    def score_factor(self, t: float, r2: Array) -> Array:
        """Sigma(t, r) with s = sigma v."""
        k, p, q = self.coefficients(t)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(p + q * r2 > 0, -1 / k + 2 * q / (p + q * r2), np.inf)

    def score(self, t: float, v: Array) -> Array:
        """Grad log f_t at v of shape (..., d)."""
        with np.errstate(invalid="ignore"):
            return self.score_factor(t, np.sum(v * v, axis=-1))[..., None] * v

    def score_divergence(self, t: float, v: Array) -> Array:
        """Div s_t at v."""
        k, p, q = self.coefficients(t)
        r2 = np.sum(v * v, axis=-1)
        m = p + q * r2
        return -self.d / k + 2 * q * self.d / m - 4 * q * q * r2 / m**2

    def drift(self, t: float, v: Array) -> Array:
        """U[f_t](v) = -C (d-1)(sigma + 1) v (radial)."""
        r2 = np.sum(v * v, axis=-1)
        with np.errstate(invalid="ignore"):
            return -self.strength * (self.d - 1) * (self.score_factor(t, r2) + 1)[..., None] * v

    def radial_mass(self, t: float, r: Array) -> tuple[Array, Array]:
        """Mass inside and outside radius r, both free of cancellation."""
        k, p, _ = self.coefficients(t)
        u = r * r / (2 * k)
        h, b = self.d / 2, (1 - k) / k * self.d / 2
        inside = p * special.gammainc(h, u) + b * special.gammainc(h + 1, u)
        outside = p * special.gammaincc(h, u) + b * special.gammaincc(h + 1, u)
        return inside, outside

    def _radial_slope(self, t: float, r: Array) -> Array:
        """d/dr of the mass inside r."""
        k, p, q = self.coefficients(t)
        area = 2 * math.pi ** (self.d / 2) / math.gamma(self.d / 2)
        return area * r ** (self.d - 1) * (2 * math.pi * k) ** (-self.d / 2) * np.exp(-r * r / 2 / k) * (p + q * r * r)

    def _log_masses(self, t: float, y: Array) -> tuple[Array, Array, Array]:
        """Logarithms of the masses inside and outside r = e^y and of r d/dr (mass inside); nothing under- or overflows.

        Inside, u <= 1: P(h, u) = u^h e^-u / Gamma(h+1) * sum_n u^n / (h+1)_n. Outside: e^u Q(h, u) by the upward
        recursion Q(h+1, u) = Q(h, u) + u^h e^-u / Gamma(h+1) from Q(1, u) = e^-u or Q(1/2, u) = erfc(sqrt u).
        """
        k, p, q = self.coefficients(t)
        h, b = self.d / 2, (1 - k) / k * self.d / 2
        log_u = 2 * y - math.log(2 * k)
        with np.errstate(over="ignore", divide="ignore"):
            u = np.exp(log_u)
            log_p, log_b, log_q = np.log(p), np.log(b), np.log(q)
            slope = math.log(2 / math.gamma(h)) + h * log_u - u + np.logaddexp(log_p, log_q + 2 * y)
            first, second = (_kummer(h + i, np.minimum(u, 1.0)) for i in (0, 1))
            small = h * log_u - u - math.lgamma(h + 1)
            small = small + np.logaddexp(log_p + np.log(first), log_b + log_u - math.log(h + 1) + np.log(second))
            large = np.log(p * special.gammainc(h, u) + b * special.gammainc(h + 1, u))
            low = 1.0 if self.d % 2 == 0 else 0.5
            scaled = np.ones_like(u) if low == 1.0 else special.erfcx(np.sqrt(u))
            while low < h:
                scaled = scaled + np.exp(low * log_u - math.lgamma(low + 1))
                low += 1
            higher = scaled + np.exp(h * log_u - math.lgamma(h + 1))
            outside = np.logaddexp(log_p + np.log(scaled), log_b + np.log(higher))
        return np.where(u <= 1.0, small, large), outside - u, slope

    def flow_radius(self, t: float, r0: Array) -> Array:
        """|X(t, v)| for |v| = r0: mass inside is constant along characteristics, solved to rounding error.

        Bracketed Newton in log r on log(inside) for the inner half of the mass and log(outside) for the outer.
        """
        r0 = np.asarray(r0, dtype=np.float64)
        if t == self.t0:
            return r0.copy()
        flat = r0.ravel()
        out = flat.copy()
        todo = (flat > 0) & np.isfinite(flat)
        y0 = np.log(flat[todo])
        inside0, outside0, _ = self._log_masses(self.t0, y0)
        inner = inside0 < math.log(0.5)
        target = np.where(inner, inside0, outside0)
        # Near 0 the mass is r^(d+2) where f vanishes at the core, r^d elsewhere: log r at most doubles.
        low, high = np.minimum(y0, 2 * y0) - 20.0, y0 + 20.0
        y = y0
        k, p, _ = self.coefficients(t)
        if p > 0:
            lead = math.log(p * (2 * k) ** (-self.d / 2) / math.gamma(self.d / 2 + 1))
            y = np.where(inside0 < math.log(1e-2), (inside0 - lead) / self.d, y0)
        for _ in range(100):
            inside, outside, slope = self._log_masses(t, y)
            mass = np.where(inner, inside, outside)
            residual = mass - target
            with np.errstate(over="ignore"):
                step = residual * np.exp(mass - slope) * np.where(inner, 1.0, -1.0)
            above = np.where(inner, residual > 0, residual < 0)
            high = np.where(above, np.minimum(high, y), high)
            low = np.where(above, low, np.maximum(low, y))
            new = y - step
            bad = ~np.isfinite(new) | (new <= low) | (new >= high)
            new = np.where(bad & (residual != 0), (low + high) / 2, new)
            done = np.abs(new - y) <= 4e-16 * np.maximum(1, np.abs(y))
            y = new
            if done.all():
                break
        out[todo] = np.exp(y)
        return out.reshape(r0.shape)

    def flow(self, t: float, v: Array) -> Array:
        """X(t, v) for v of shape (..., d): direction constant, radius by mass conservation."""
        r0 = np.linalg.norm(v, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(r0 > 0, self.flow_radius(t, r0) / r0, 0.0)
        return ratio[..., None] * v

    def flow_jets(self, t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        """Value, d/dt, Jacobian and Hessian in v of the exact flow at v != 0 of shape (n, d)."""
        r = np.linalg.norm(v, axis=-1)
        big = self.flow_radius(t, r)
        log_ratio = self._log_masses(self.t0, np.log(r))[2] - self._log_masses(t, np.log(big))[2]
        slope = big / r * np.exp(log_ratio)

        def log_slope(s: float, x: Array) -> Array:  # d/dx log of the radial mass density
            return (self.d - 1) / x + self.score_factor(s, x * x) * x

        second = slope * (log_slope(self.t0, r) - log_slope(t, big) * slope)
        ratio = big / r
        value = ratio[:, None] * v
        unit = v / r[:, None]
        jacobian, hessian = radial_jets(unit, np.eye(self.d), ratio, slope, (second, (slope - ratio) / r))
        return value, self.drift(t, value), jacobian, hessian

    def sample(self, t: float, n: int, rng: np.random.Generator) -> Array:
        """Draws, (n, d): with probability P radius^2 is K chi2_d, else K chi2_(d+2); uniform direction."""
        k, p, _ = self.coefficients(t)
        dof = np.where(rng.random(n) < p, self.d, self.d + 2)
        direction = rng.standard_normal((n, self.d))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return np.sqrt(k * rng.chisquare(dof))[:, None] * direction

    def _eigenvalue_extremes(self, t: float) -> tuple[float, float]:
        """Largest and smallest eigenvalue of grad s_t over R^d; inf, -inf where the score is singular."""
        k, p, q = self.coefficients(t)
        if p <= 0:
            return math.inf, -math.inf
        return -1 / k + 2 * q / p, -1 / k - q / (4 * p)

    def score_lipschitz(self, t: float) -> float:
        """Lip of s_t on R^d, attained at r = 0 or at r^2 = 3 P/Q."""
        high, low = self._eigenvalue_extremes(t)
        return max(abs(high), abs(low))

    def drift_lipschitz(self, t: float) -> float:
        """Lip of U[f_t] on R^d."""
        high, low = self._eigenvalue_extremes(t)
        return self.strength * (self.d - 1) * max(abs(1 + high), abs(1 + low))

    def drift_one_sided(self, t: float) -> float:
        """Sup of the log-norm of grad U[f_t] = -C(d-1)(1 + smallest eigenvalue of grad s)."""
        return -self.strength * (self.d - 1) * (1 + self._eigenvalue_extremes(t)[1])

    def fisher_information(self, t: float) -> float:
        """E |s_t|^2 by adaptive quadrature in the radius."""
        from scipy.integrate import quad

        def integrand(r: float) -> float:
            x = np.array(r)
            return float((self.score_factor(t, x * x) * x) ** 2 * self._radial_slope(t, x))

        total = sum(quad(integrand, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in ((1e-14, 0.5), (0.5, 2), (2, 12)))
        return float(total)

    def tail_moment(self, t: float, radius: float, power: int) -> float:
        """Integral of |v|^power f_t over |v| > radius (incomplete gamma functions)."""
        k, p, q = self.coefficients(t)
        u = radius**2 / (2 * k)

        def moment(m: float) -> float:  # integral of |v|^m against the Gaussian of variance k, outside the ball
            a = (self.d + m) / 2
            return float((2 * k) ** (m / 2) * special.gammaincc(a, u) * math.gamma(a) / math.gamma(self.d / 2))

        return p * moment(power) + q * moment(power + 2)

    def ball_moment(self, t: float, radius: Array, power: int) -> Array:
        """Integral of |v|^power f_t over |v| < radius, elementwise (incomplete gamma functions)."""
        k, p, q = self.coefficients(t)
        u = np.asarray(radius, dtype=np.float64) ** 2 / (2 * k)

        def moment(m: float) -> Array:  # of the Gaussian of variance k
            a = (self.d + m) / 2
            return (2 * k) ** (m / 2) * special.gammainc(a, u) * math.gamma(a) / math.gamma(self.d / 2)

        return p * moment(power) + q * moment(power + 2)

    def sup_density(self, t: float) -> float:
        """Largest value of f_t, at |v|^2 = max(0, 2K - P/Q), where (P + Q u) exp(-u/2K) is stationary in u = |v|^2."""
        k, p, q = self.coefficients(t)
        u = max(0.0, 2 * k - p / q) if q > 0 else 0.0
        return (2 * math.pi * k) ** (-self.d / 2) * math.exp(-u / (2 * k)) * (p + q * u)


def _kummer(h: float, u: Array) -> Array:
    """sum_n u^n / (h+1)_n = 1F1(1; h+1; u) for 0 <= u <= 1, to rounding error (terms are positive)."""
    total = np.ones_like(u)
    for n in range(20, 0, -1):
        total = 1 + u / (h + n) * total
    return total


@dataclass(frozen=True)
class BkwDensity:
    """A BKW density at one time, as initial data (``theory.problem.InitialDensity``)."""

    solution: Bkw
    t: float

    @property
    def d(self) -> int:
        """Dimension."""
        return self.solution.d

    @property
    def isotropic(self) -> bool:
        """The density depends on |v| only."""
        return True

    def log_density(self, v: Array) -> Array:
        """Log f."""
        return self.solution.log_density(self.t, v)

    def score(self, v: Array) -> Array:
        """Grad log f."""
        return self.solution.score(self.t, v)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws, (n, d)."""
        return self.solution.sample(self.t, n, rng)

    def mean(self) -> Array:
        """Zero."""
        return np.zeros(self.d)

    def covariance(self) -> Array:
        """Identity: unit temperature."""
        return np.eye(self.d)

    def tail_moment(self, radius: float, power: int) -> float:
        """Integral of |v|^power f outside the ball."""
        return self.solution.tail_moment(self.t, radius, power)

    def radial_mass(self, r: Array) -> tuple[Array, Array]:
        """Mass inside and outside radius r, elementwise."""
        return self.solution.radial_mass(self.t, r)

    def ball_moment(self, radius: Array, power: int) -> Array:
        """Integral of |v|^power f inside the ball, elementwise."""
        return self.solution.ball_moment(self.t, radius, power)

    def sup_density(self) -> float:
        """Largest value of f."""
        return self.solution.sup_density(self.t)

    def score_growth(self, radius: float) -> tuple[float, float]:
        """|s(v)| <= |v|/K for |v| > radius, if radius^2 >= K (then the Gaussian part dominates)."""
        k = self.solution.coefficients(self.t)[0]
        if radius**2 < k:
            raise ValueError(f"the growth bound of the score needs a radius of at least {math.sqrt(k):.3g}")
        return 0.0, 1 / k

    @property
    def tail_variance(self) -> float:
        """Variance of the Gaussian that f is a polynomial times: K."""
        return self.solution.coefficients(self.t)[0]

    def radial_edges(self) -> Array:
        """Panels graded towards the core down to r = 0; the energy beyond the last edge is below 1e-30.

        So little, because a flow's growth bounds multiply it: beyond this radius even crude ones leave nothing.
        """
        k = self.solution.coefficients(self.t)[0]
        radius = 1.0
        while self.tail_moment(radius, 2) > 1e-30:
            radius *= 1.05
        core = [0.0, 0.02, 0.08, 0.25] if self.core_exponent() else [0.0, 0.25]
        return np.concatenate([core, np.sqrt(k) * np.array([0.8, 1.4, 2.1, 3.0, 4.2, 6.0]), [radius]])

    def core_exponent(self) -> bool:
        """Whether f vanishes (or nearly vanishes) at v = 0, which makes the score singular there."""
        return self.solution.coefficients(self.t)[1] < 1e-2

    def regularity(self) -> tuple[bool, str]:
        """BKW densities are smooth on R^d."""
        return True, "f is a polynomial times a Gaussian, smooth on the whole space"
