r"""How far N independent samples are from their law in W1: explicit upper bounds, and a floor below any N points.

Everything here is a closed formula in N, the dimension and tails or moments of the law: no sample is drawn, no
transport problem solved, nothing asymptotic (TRANSPORT sections 4.2 and 4.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gamma

from theory.provenance import Array

Tail = Callable[[float, int], float]

SMALLEST, LARGEST = 1e-13, 60.0  # smoothing times (in units of L^2 / 4 pi^2) among which the bound is minimised
STEPS = 8000
ROUNDING = 1e-11  # relative, more than the arithmetic below can lose


def mean_gaussian_norm(d: int) -> float:
    """m_d = E|N(0, I_d)|: 1.2533 in 2D, 1.5958 in 3D."""
    return math.sqrt(2.0) * float(gamma((d + 1) / 2) / gamma(d / 2))


def unit_ball_volume(d: int) -> float:
    """Volume of the unit ball of R^d: pi, 4 pi / 3."""
    return math.pi ** (d / 2) / float(gamma(d / 2 + 1))


def torus_rate(d: int, n: int, side: float = 1.0) -> float:
    r"""Upper bound of E W1(mu_n, f) for n independent samples of *any* law f on the torus of side L.

    .. math:: E\,W_1(\mu_n, f) \le \inf_{s>0}\; 2 m_d \sqrt s
        + n^{-1/2} \Bigl(\sum_{k \in (2\pi/L) Z^d \setminus 0} e^{-s|k|^2} / |k|^2\Bigr)^{1/2}

    Proof. Let P_s be heat flow of variance s per coordinate: smoothing :math:`\mu_n` and f costs at most
    :math:`m_d \sqrt s` each. With :math:`g = (\mu_n - f) * P_s` and a 1-Lipschitz :math:`\varphi`,
    :math:`\int \varphi g \le \|\nabla\varphi\|_2 \|g\|_{H^{-1}} \le L^{d/2} \|g\|_{H^{-1}}`, and
    :math:`E\|g\|_{H^{-1}}^2 = L^{-d} \sum_k E|\hat g_k|^2 / |k|^2` with
    :math:`E|\hat g_k|^2 = e^{-s|k|^2} \operatorname{Var}(e^{ik\cdot X}) / n \le e^{-s|k|^2} / n`.

    Grows as sqrt(log n / n) in 2D (0.41 L sqrt(log n / n) for n >= 100) and as n^(-1/d) above (0.99 L n^(-1/3) in 3D).

    Parameters
    ----------
    d, n : int
        Dimension (at least 2) and number of samples.
    side : float
        Side L of the torus, in the unit of the distance.

    Raises
    ------
    ValueError
        On d < 2, n < 1 or a side that is not positive.
    """
    if d < 2 or n < 1 or not side > 0.0:
        raise ValueError(f"needs d >= 2, n >= 1 and a positive side, got d = {d}, n = {n}, side = {side}")
    times, sums = _lattice_sums(d)
    values = 2.0 * mean_gaussian_norm(d) * np.sqrt(times) + np.sqrt(sums / n)
    least = float(values.min()) / (2.0 * math.pi) * (1.0 + ROUNDING)
    return side * min(least, math.sqrt(d) / 2.0)  # no two points of the torus are further apart


@lru_cache(maxsize=8)
def _lattice_sums(d: int) -> tuple[Array, Array]:
    r"""Times s and upper bounds of S(s) = sum over m in Z^d, m != 0, of exp(-s |m|^2) / |m|^2.

    S(s) is the integral of g = theta^d - 1 over (s, inf), theta(u) = sum_j exp(-u j^2). As g is a sum of decreasing
    exponentials it is convex, so that the trapezoidal rule lies above the integral; beyond the last time T the integral
    is at most g(T), every rate being at least 1.
    """
    times = np.geomspace(SMALLEST, LARGEST, STEPS)
    g = _theta_power(d, times)
    panels = (g[1:] + g[:-1]) / 2.0 * np.diff(times)
    sums = g[-1] + np.concatenate([np.cumsum(panels[::-1])[::-1], [0.0]])
    return times, sums * (1.0 + ROUNDING)


def _theta_power(d: int, u: Array) -> Array:
    """theta(u)^d - 1; for small u by Poisson summation, theta(u) = sqrt(pi/u) theta(pi^2/u). Six terms are exact."""
    j2 = np.arange(1, 7)[:, None] ** 2
    dual = (
        np.exp(-j2 * np.maximum(u, math.pi)).sum(axis=0),
        np.exp(-j2 * math.pi**2 / np.minimum(u, math.pi)).sum(axis=0),
    )
    rest = np.where(u > math.pi, 2.0 * dual[0], np.sqrt(math.pi / u) * (1.0 + 2.0 * dual[1]) - 1.0)
    return np.expm1(d * np.log1p(rest))


def explicit_rate(tail: Tail, d: int, n: int) -> tuple[float, float]:
    r"""Upper bound of E W1(mu_n, f) for any law on R^d with computable tails, and the radius at which it is attained.

    Projecting onto the ball B_R around the centre costs :math:`c(R) = \int_{|v|>R} (|v| - R) f`, once for f and, in
    expectation, once for the sample. The ball lies in a box of side 2R, inside a torus of side 4R on which the
    distances within the box are the Euclidean ones: E W1 <= inf_R 2 c(R) + torus_rate(d, n, 4R).

    Parameters
    ----------
    tail : callable
        ``tail(R, p)`` is the integral of |v|^p f over |v| > R, for p = 0, 1 (``tail_moment`` of the problems), |v|
        measured from one fixed centre.
    d, n : int

    Returns
    -------
    float, float
        The bound and R. Any R is valid, so that the minimisation need not be exact.
    """
    rate = torus_rate(d, n)
    scale = max(tail(0.0, 1), 1e-300)

    def bound(radius: float) -> float:
        first = tail(radius, 1)
        # the difference cancels: its rounding error is charged
        return 4.0 * radius * rate + 2.0 * max(first - radius * tail(radius, 0), 0.0) + 1e-12 * first

    radii = scale * np.geomspace(1e-3, 1e2, 200)
    best = int(np.argmin([bound(r) for r in radii]))
    bracket = radii[max(best - 1, 0)], radii[min(best + 1, len(radii) - 1)]
    found = float(minimize_scalar(bound, bounds=bracket, method="bounded", options={"xatol": 1e-6 * scale}).x)
    radius = min((found, float(radii[best])), key=bound)
    return bound(radius) * (1.0 + ROUNDING), radius


def moment_rate(d: int, n: int, trace: float) -> float:
    r"""Upper bound of E W1(mu_n, f) for any law on R^d whose covariance has at most the given trace.

    As `explicit_rate`, with :math:`c(R) \le \operatorname{tr}\Sigma / 4R` from :math:`(r - R)_+ \le r^2 / 4R`:
    inf_R 4 R rho + tr / 2R = 2 sqrt(2 rho tr), rho = torus_rate(d, n, 1). Energy is conserved along Landau's equation,
    so that this bounds the sampling error of f_t at every t from f_0 alone.
    """
    if not 0.0 <= trace < math.inf:
        raise ValueError(f"the trace of a covariance is finite and not negative, got {trace}")
    return 2.0 * math.sqrt(2.0 * torus_rate(d, n) * trace) * (1.0 + ROUNDING)


def floor(d: int, n: int, sup_density: float) -> float:
    r"""Lower bound of W1(nu, f) for *every* measure nu on n points, whatever its weights and however it was found.

    .. math:: W_1(\nu, f) \ge \int \operatorname{dist}(x, \operatorname{supp}\nu) f(dx)
        \ge \frac{d}{d+1} (n\,\omega_d \|f\|_\infty)^{-1/d}

    Proof. Mass leaving x travels at least the distance to the support S. As f{dist(., S) <= r} is at most
    :math:`n \omega_d r^d \|f\|_\infty`, the integral of f{dist > r} over r is at least that of
    :math:`(1 - n \omega_d \|f\|_\infty r^d)_+`, which is the right-hand side.

    Parameters
    ----------
    d, n : int
    sup_density : float
        The supremum of f, or an upper bound of it.
    """
    if d < 1 or n < 1 or not 0.0 < sup_density < math.inf:
        raise ValueError(f"needs d, n >= 1 and a finite positive supremum, got d = {d}, n = {n}, sup f = {sup_density}")
    return d / (d + 1) * (n * unit_ball_volume(d) * sup_density) ** (-1.0 / d) * (1.0 - ROUNDING)


def paper_rate(n: int) -> float:
    """n^(-1/2), the paper's Assumption 2 with constant 1.

    Not a theorem: in d = 3 it is false for every N-point measure once n is large (`floor`), and in d = 2 independent
    samples miss it by a factor sqrt(log n).
    """
    return 1.0 / math.sqrt(n)
