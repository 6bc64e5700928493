"""Lipschitz constants and oscillations of the exact score (closed form) and of the learned one (spectral products).

A product of spectral norms over the layers of the velocity path, times the Lipschitz constant of each activation
(SiLU: 1.09984, not 1), bounds the learned score's Lipschitz constant on all of R^d. The largest Jacobian norm over
samples is a lower bound, and only that.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import linalg

from certify.context import Context
from certify.estimator import Estimator
from theory.provenance import Array, Estimate, Rigor, Side, exact


def verified_norm(w: Array) -> float:
    """Upper bound of the spectral norm that allows for rounding.

    With G = W^T W (or W W^T) computed in floating point, ||G_fl - G|| <= gamma_k |W|^T|W| (Higham), and the norm of the
    symmetric G_fl is at most its largest computed eigenvalue plus a residual of order n eps ||G||, taken 100 times.
    """
    w = np.asarray(w, dtype=np.float64)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    eps = np.finfo(np.float64).eps
    largest = float(linalg.eigvalsh(gram)[-1])
    frobenius = float(np.sum(w * w))
    n = max(w.shape)
    return math.sqrt(largest + 100 * n * eps * frobenius) * (1 + 4 * eps)


def spectral_product(layers: tuple[tuple[Array, float], ...]) -> float:
    """Product over layers of verified norm times the activation's constant."""
    return math.prod(verified_norm(w) * slope for w, slope in layers)


def exact_score(context: Context) -> dict[str, Estimate]:
    """Constants of the exact score on B_R and the share of f outside the ball (Maxwell kernel)."""
    solution = context.exact
    if solution is None:
        return {}
    nodes, radius = context.grid.flat, context.radius
    lip = np.array([solution.score_lipschitz(t) for t in nodes])
    out = {
        "score_lipschitz": exact(lip, "closed form, all of R^d", oracle=True),
        "score_oscillation": Estimate(
            2 * radius * lip, Side.UPPER, Rigor.EXACT, f"2 R L_s, R = {radius:g}", uses_exact_solution=True
        ),
    }
    if context.problem.kernel.is_maxwell:
        c = context.problem.kernel.strength
        tail = np.array([_outside(context, t, 2) for t in nodes])
        with np.errstate(invalid="ignore"):
            value = np.where(tail > 0, 3 * c * lip * tail, 0.0)
        method = f"3 C L_s int_(|w|>R) (R+|w|)^2 f, closed form, R = {radius:g}"
        out["tail_lipschitz"] = Estimate(value, Side.UPPER, Rigor.EXACT, method, uses_exact_solution=True)
    return out


def _outside(context: Context, t: float, power: int) -> float:
    """Integral of (R + |w|)^power f_t(dw) over |w| > R."""
    radius, solution = context.radius, context.exact
    assert solution is not None  # noqa: S101 - narrowing only
    return sum(
        math.comb(power, k) * radius ** (power - k) * solution.tail_moment(t, radius, k) for k in range(power + 1)
    )


def learned_score(context: Context) -> dict[str, Estimate]:
    """Spectral product of the score network; with the exact score, also the constants of their difference."""
    layers = context.run.layers("score")
    if layers is None:
        return {}
    lip, radius = spectral_product(layers), context.radius
    method = f"product of {len(layers)} spectral norms, SiLU counted as 1.09984"
    out = {
        "learned_score_lipschitz": Estimate(lip, Side.UPPER, Rigor.VERIFIED, method),
        "learned_score_oscillation": Estimate(
            2 * radius * lip, Side.UPPER, Rigor.VERIFIED, f"2 R times the Lipschitz bound, R = {radius:g}"
        ),
    }
    exact_parts = exact_score(context)
    if exact_parts:
        sum_lip = np.asarray(exact_parts["score_lipschitz"].value) + lip
        out["error_lipschitz"] = Estimate(
            sum_lip, Side.UPPER, Rigor.VERIFIED, "L_s + spectral product", uses_exact_solution=True
        )
        if context.problem.kernel.is_maxwell:
            out["tail_drift"] = _tail_drift(context, lip, sum_lip)
    return out


def _tail_drift(context: Context, lip: float, error_lip: Array) -> Estimate:
    """C int_(|w|>R) (R+|w|)^2 (delta(v) + delta(w)) f + 2 C L_s~ int_(|w|>R) (R+|w|)^3 f for |v| <= R.

    delta(w) <= delta(0) + L_delta |w|; the second term is what extending w -> A(v-w)(s~(v)-s~(w)) by its values on the
    sphere costs in Kantorovich-Rubinstein duality.
    """
    c, radius = context.problem.kernel.strength, context.radius
    origin = np.zeros((1, 1, context.problem.d))
    value = np.empty(len(context.grid.flat))
    for k, t in enumerate(context.grid.flat):
        learned = context.run.score(np.array([t]), origin)
        at_zero = float(np.linalg.norm(learned)) if learned is not None else math.inf  # the exact score is odd: 0 at 0
        if not math.isfinite(error_lip[k]):
            value[k] = math.inf
            continue
        second, third = _outside(context, t, 2), _outside(context, t, 3)
        value[k] = c * (2 * at_zero * second + 2 * error_lip[k] * third) + 2 * c * lip * third
    method = f"closed-form tail moments of f beyond R = {radius:g} times Lipschitz bounds"
    return Estimate(value, Side.UPPER, Rigor.VERIFIED, method, uses_exact_solution=True)


def sampled(context: Context) -> dict[str, Estimate]:
    """Largest finite-difference Jacobian norm of the learned score over random points of the ball: a lower bound."""
    times = context.times[:: max(1, len(context.times) // 8)]
    rng = context.rng("lipschitz")
    n = 400 if context.options.quick else 2000
    x = rng.standard_normal((n, context.problem.d))
    x *= (context.radius * rng.random(n) ** (1 / context.problem.d) / np.linalg.norm(x, axis=1))[:, None]
    points = np.broadcast_to(x, (len(times), *x.shape))
    h = 1e-4
    columns = []
    for j in range(context.problem.d):
        step = np.zeros(context.problem.d)
        step[j] = h
        plus, minus = context.run.score(times, points + step), context.run.score(times, points - step)
        if plus is None or minus is None:
            return {}
        columns.append((plus - minus) / (2 * h))
    jacobian = np.stack(columns, axis=-1)
    norms = np.linalg.svd(jacobian, compute_uv=False)[..., 0]
    method = f"largest of {norms.size} difference quotients on B_R (a lower estimate of a supremum)"
    return {
        "learned_score_lipschitz_sampled": Estimate(float(norms.max()), Side.LOWER, Rigor.SAMPLED, method),
    }


_SPECTRAL = ("learned_score_lipschitz", "learned_score_oscillation", "error_lipschitz", "tail_drift")
ESTIMATOR = (
    Estimator(
        id="lipschitz_exact",
        provides={"score_lipschitz": Side.BOTH, "score_oscillation": Side.UPPER, "tail_lipschitz": Side.UPPER},
        rigor=Rigor.EXACT,
        uses_exact_solution=True,
        compute=exact_score,
        why_not="the exact solution of the problem",
    ),
    Estimator(
        id="lipschitz_spectral",
        provides=dict.fromkeys(_SPECTRAL, Side.UPPER),
        rigor=Rigor.VERIFIED,
        uses_exact_solution=True,
        compute=learned_score,
        why_not="a score network whose layers are known (and the exact solution for the error's constants)",
    ),
    Estimator(
        id="lipschitz_sampled",
        provides={"learned_score_lipschitz_sampled": Side.LOWER},
        rigor=Rigor.SAMPLED,
        uses_exact_solution=False,
        compute=sampled,
        why_not="a score network",
    ),
)
