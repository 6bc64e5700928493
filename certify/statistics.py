"""Upper confidence bounds for means, each under a condition it states (TRANSPORT section 5).

No finite sample bounds a mean without some condition on the law (Bahadur and Savage 1956), so every function takes its
condition as an argument, names it in ``method``, and is infinite or refuses where the condition cannot give a bound.

Samples x have shape (..., n): independent draws along the last axis, one mean per leading index. ``delta`` is the
probability that *any* of the bounds fails: the rows share it equally (union bound, no independence between rows).
References: Maurer (2003), JIPAM 4(1):15; Waudby-Smith and Ramdas (2024), JRSS B 86(1); Catoni (2012), AIHP B 48(4).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from theory.provenance import Array, Estimate, Rigor, Side


def second_moment_upper(x: Array, m2: float | Array, delta: float) -> Estimate:
    """Mean of X >= 0 from a bound E X^2 <= m2: xbar + sqrt(2 m2 log(1/delta) / n) (Maurer 2003).

    Proof: e^-y <= 1 - y + y^2/2 for y >= 0 gives E e^(a(mu - X)) <= e^(a^2 m2 / 2) for a > 0; Chernoff, a = eps/m2.

    Parameters
    ----------
    x : ndarray (..., n)
    m2 : float or ndarray (...)
        Upper bound of E X^2, known beforehand (not estimated from x).
    delta : float
        Joint failure probability.

    Returns
    -------
    Estimate
        UPPER, STATISTICAL; shape (...).
    """
    x, log_term = _nonnegative(x), _log_term(x, delta)
    m2 = np.asarray(m2, dtype=np.float64)
    if not (m2 >= 0).all():
        raise ValueError("a bound of the second moment must be a non-negative number")
    value = np.mean(x, axis=-1) + np.sqrt(2 * m2 * log_term / x.shape[-1])
    return _upper(value, x, delta, "one-sided bound from E X^2 <= M2 (Maurer)", second_moment=float(np.max(m2)))


def kurtosis_upper(x: Array, kappa: float, delta: float) -> Estimate:
    """Mean of X >= 0 from a bound E X^2 <= kappa (E X)^2: xbar / (1 - sqrt(2 kappa log(1/delta) / n)).

    Proof: the bound above with m2 = kappa mu^2 reads mu (1 - sqrt(2 kappa log(1/delta)/n)) <= xbar; infinite where the
    bracket is not positive, and where the sample itself has mean(x^2) > kappa mean(x)^2 (a larger value is no fault).

    Parameters
    ----------
    x : ndarray (..., n)
    kappa : float
        Hypothesis, at least 1; 1 + 2/d for the squared norm of a centred isotropic Gaussian in R^d.
    delta : float
        Joint failure probability.
    """
    x, log_term = _nonnegative(x), _log_term(x, delta)
    if not kappa >= 1:
        raise ValueError(f"E X^2 <= kappa (E X)^2 is impossible for kappa = {kappa}: it is at least 1")
    mean, sample = np.mean(x, axis=-1), sample_kurtosis(x)
    bracket = 1 - math.sqrt(2 * kappa * log_term / x.shape[-1])
    value = np.where(sample <= kappa, mean / bracket, np.inf) if bracket > 0 else np.full_like(mean, np.inf)
    method = f"one-sided bound under the hypothesis E X^2 <= {kappa:g} (E X)^2"
    return _upper(value, x, delta, method, kappa=kappa, sample_kurtosis=float(np.max(sample)))


def sample_kurtosis(x: Array) -> Array:
    """mean(x^2) / mean(x)^2 along the last axis; 1 where all x are 0."""
    mean = np.mean(x, axis=-1)
    scaled = x / np.where(mean > 0, mean, 1.0)[..., None]
    return np.where(mean > 0, np.mean(scaled * scaled, axis=-1), 1.0)


def poincare_upper(x: Array, lipschitz: float, poincare: float, delta: float) -> Estimate:
    """Mean of X = g(V)^2, g L-Lipschitz, where V obeys Var h(V) <= C E |grad h(V)|^2 for every smooth h.

    Proof: Var g^2 <= C E|2 g grad g|^2 <= 4 C L^2 mu, so E X^2 <= mu^2 + 4 C L^2 mu; Maurer's bound then reads
    (mu - xbar)^2 <= l (mu^2 + 4 L^2 C mu) for mu >= xbar, l = 2 log(1/delta)/n: mu is at most the larger root of
    mu^2 (1 - l) - mu (2 xbar + 4 L^2 C l) + xbar^2 = 0. Infinite where l >= 1.

    Parameters
    ----------
    x : ndarray (..., n)
    lipschitz : float
        L, an upper bound.
    poincare : float
        C; the largest eigenvalue of the covariance for Gaussians.
    delta : float
        Joint failure probability.
    """
    x, log_term = _nonnegative(x), _log_term(x, delta)
    if not (lipschitz >= 0 and poincare >= 0):
        raise ValueError("Lipschitz and Poincare constants must be non-negative numbers")
    mean, slope = np.mean(x, axis=-1), 2 * log_term / x.shape[-1]
    half = mean + 2 * lipschitz**2 * poincare * slope
    if slope >= 1:
        value = np.full_like(mean, np.inf)
    else:  # half^2 - (1 - slope) mean^2 >= 0
        value = (half + np.sqrt(half**2 - (1 - slope) * mean**2)) / (1 - slope)
    method = f"one-sided bound from Lip(sqrt X) <= {lipschitz:.3g} and a Poincare constant <= {poincare:.3g}"
    return _upper(value, x, delta, method, lipschitz=lipschitz, poincare=poincare)


def betting_upper(x: Array, bound: float, delta: float) -> Estimate:
    """Mean of X in [0, B] by betting against it; valid at every stopping time (Waudby-Smith and Ramdas).

    With x, m in units of B and bets 0 <= b_i <= 3/4 that depend on x_1..x_{i-1} only, W_t(m) = prod(1 - b_i (x_i - m))
    is positive, and at m = mu a martingale from 1: P(some W_t(mu) >= 1/delta) <= delta (Ville). W_t increases in m
    because the bets do not depend on it, so the m never rejected form an interval; its right end is returned.

    Parameters
    ----------
    x : ndarray (..., n)
        In the order drawn.
    bound : float
        B, known beforehand.
    delta : float
        Joint failure probability.
    """
    x, log_term = _nonnegative(x), _log_term(x, delta)
    if not (0 < bound < math.inf and (x <= bound).all()):
        raise ValueError(f"values in [0, {bound}] are needed, the largest is {np.max(x):.4g}")
    y = x / bound
    n, rank = y.shape[-1], np.arange(1, y.shape[-1] + 1)
    mean = (0.5 + np.cumsum(y, axis=-1)) / (rank + 1)
    variance = (0.25 + np.cumsum((y - mean) ** 2, axis=-1)) / (rank + 1)
    before = np.concatenate([np.full((*y.shape[:-1], 1), 0.25), variance[..., :-1]], axis=-1)
    bets = np.minimum(np.sqrt(2 * log_term / (n * before)), 0.75)
    low, high = np.zeros(y.shape[:-1]), np.ones(y.shape[:-1])
    for _ in range(50):
        middle = (low + high) / 2
        wealth = np.cumsum(np.log1p(-bets * (y - middle[..., None])), axis=-1).max(axis=-1)
        low, high = np.where(wealth >= log_term, low, middle), np.where(wealth >= log_term, middle, high)
    return _upper(bound * high, x, delta, f"betting, values in [0, {bound:.3g}]", bound=bound)


def catoni_upper(x: Array, variance: float, delta: float) -> Estimate:
    """Mean of a signed X with Var X <= v: Catoni's M-estimator + sqrt(2 v l / (n - 2 l)), l = log(1/delta).

    Proof: psi(y) = sign(y) log(1 + |y| + y^2/2) has -psi(y) <= log(1 - y + y^2/2), so with probability 1 - delta
    sum psi(a(x_i - th)) >= n (a(mu - th) - a^2 (v + (mu - th)^2)/2) - l. At th = mu - eta, eta the width added and
    a = sqrt(2 l (n - 2 l)/v)/n, the right side is 0; the sum decreases in th, so its root is >= mu - eta.
    Infinite where n <= 2 l. For a lower bound: -catoni_upper(-x).

    Parameters
    ----------
    x : ndarray (..., n)
    variance : float
        v > 0, known beforehand.
    delta : float
        Joint failure probability of this side.
    """
    x = _finite(x)
    log_term, n = _log_term(x, delta), x.shape[-1]
    if not 0 < variance < math.inf:
        raise ValueError(f"the variance must be positive and finite, not {variance}")
    method = f"Catoni's estimator, Var X <= {variance:.3g}"
    if n <= 2 * log_term:
        return _upper(np.full(x.shape[:-1], np.inf), x, delta, method, variance=variance)
    scale = math.sqrt(2 * log_term * (n - 2 * log_term) / variance) / n
    low, high = x.min(axis=-1), x.max(axis=-1)
    for _ in range(60):
        middle = (low + high) / 2
        y = scale * (x - middle[..., None])
        positive = np.sum(np.sign(y) * np.log1p(np.abs(y) + y * y / 2), axis=-1) > 0
        low, high = np.where(positive, middle, low), np.where(positive, high, middle)
    width = math.sqrt(2 * variance * log_term / (n - 2 * log_term))
    return _upper(high + width, x, delta, method, variance=variance, width=width)


def clt_upper(x: Array, level: float) -> Estimate:
    """Mean + normal quantile * standard error: true only as n -> infinity, misses far more often on heavy tails.

    Carries no side and no probability (SAMPLED): indicative, never a bound. ``level`` is the nominal miss rate.
    """
    x = _finite(x)
    if x.shape[-1] < 2:
        raise ValueError("a standard error needs two draws")
    _log_term(x, level)
    value = np.mean(x, axis=-1) - special.ndtri(level) * np.std(x, axis=-1, ddof=1) / math.sqrt(x.shape[-1])
    method = f"central limit theorem at nominal level {level:g} (indicative: no finite-sample claim)"
    return Estimate(value, Side.NONE, Rigor.SAMPLED, method, detail={"n": x.shape[-1], "nominal": level})


def _finite(x: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim < 1 or x.shape[-1] < 1 or not np.isfinite(x).all():
        raise ValueError("draws must be finite numbers, at least one")
    return x


def _nonnegative(x: Array) -> Array:
    x = _finite(x)
    if (x < 0).any():
        raise ValueError(f"draws must not be negative, the smallest is {np.min(x):.4g}")
    return x


def _log_term(x: Array, delta: float) -> float:
    """log(1/delta) of one row."""
    if not 0 < delta < 1:
        raise ValueError(f"the failure probability {delta} is not in (0, 1)")
    return math.log(math.prod(x.shape[:-1]) / delta)


def _upper(value: Array, x: Array, delta: float, method: str, **detail: float) -> Estimate:
    rows = math.prod(x.shape[:-1])
    shared = f", delta shared by {rows} means" if rows > 1 else ""
    facts = detail | {"n": x.shape[-1], "rows": rows}
    return Estimate(value, Side.UPPER, Rigor.STATISTICAL, method + shared, delta, detail=facts)
