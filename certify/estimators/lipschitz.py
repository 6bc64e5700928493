"""Lipschitz constants and oscillations of the exact score (closed form), of the learned one and of their difference.

Two bounds of the learned score. A product of spectral norms over the layers of the velocity path, times the Lipschitz
constant of each activation (SiLU: 1.09984, not 1), holds on all of R^d and at every time. Boxes (``lipschitz_boxes``)
hold on the ball, panel by panel. The theorems need constants on the ball and take the smaller; what stems from mass
outside the ball (``tail_drift``) and averages over unbounded laws (``ism_modulus``) take the product.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.lipschitz_boxes import Found, found_boxes, network_of
from certify.verified.product import second_derivative_product, spectral_product, verified_norm
from theory.provenance import Array, Estimate, Rigor, Side, exact

__all__ = ["ESTIMATOR", "spectral_product", "verified_norm"]


def exact_score(context: Context) -> dict[str, Estimate]:
    """Constants of the exact score on B_R and the share of f outside the ball (Maxwell kernel)."""
    solution = context.exact
    if solution is None:
        return {}
    nodes, radius = context.grid.flat, context.radius
    lip = np.array([solution.score_lipschitz(t) for t in nodes])
    sharp = getattr(solution, "sharp", True)
    known = exact(lip, "closed form, all of R^d", oracle=True)
    out = {
        "score_lipschitz": known if sharp else replace(known, side=Side.UPPER, method="closed-form bound, all of R^d"),
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
    """Constants of the learned score on the ball; with the exact score, also of their difference."""
    layers, found = context.run.layers("score"), found_boxes(context)
    if layers is None and found is None:
        return {}
    began = time.monotonic()
    product = spectral_product(layers) if layers is not None else math.inf
    seconds = time.monotonic() - began
    radius = context.radius
    lip, osc, how = _on_ball(product, found, radius, len(context.grid.flat))
    detail = {} if found is None else found.detail
    out = {
        "learned_score_lipschitz": Estimate(lip, Side.UPPER, Rigor.VERIFIED, how, detail=detail),
        "learned_score_oscillation": Estimate(
            osc, Side.UPPER, Rigor.VERIFIED, f"2 R L or twice the reach of the values, R = {radius:g}; {how}"
        ),
    }
    if layers is not None:
        out["learned_score_lipschitz_spectral"] = Estimate(
            product,
            Side.UPPER,
            Rigor.VERIFIED,
            f"product of {len(layers)} spectral norms, SiLU counted as 1.09984, all of R^d",
            detail={"seconds": round(seconds, 3)},
        )
    exact_parts = exact_score(context)
    if exact_parts:
        exact_lip = np.asarray(exact_parts["score_lipschitz"].value)
        joint = exact_lip + lip
        method = "L_s + L_s~"
        if found is not None and "error" in found.upper:
            joint, method = np.minimum(joint, found.upper["error"]), "boxes of J_s~ - J_s on B_R, or L_s + L_s~"
        out["error_lipschitz"] = Estimate(
            joint, Side.UPPER, Rigor.VERIFIED, method, uses_exact_solution=True, detail=detail
        )
        if context.problem.kernel.is_maxwell and layers is not None:
            out["tail_drift"] = _tail_drift(context, product, exact_lip + product)
    return out


def _on_ball(product: float, found: Found | None, radius: float, nodes: int) -> tuple[Array, Array, str]:
    """Lipschitz constant and oscillation on the ball at every node: the smaller of the product's and the boxes'."""
    lip = np.full(nodes, product)
    if found is None:
        return lip, 2 * radius * lip, "product of spectral norms"
    lip = np.minimum(lip, found.upper["lipschitz"])
    # values within a distance of one point are at most twice that apart
    osc = np.minimum(2 * radius * lip, 2 * found.upper["deviation"])
    return lip, osc, f"smaller of product of norms and {found.detail['boxes']} boxes"


def ism_modulus(context: Context) -> dict[str, Estimate]:
    """Number m with |E psi(X) - E psi(Y)| <= m W2(X, Y) for psi = |s~|^2 + 2 div s~ (Lemma 3), at the report times.

    |psi(x) - psi(y)| <= L |x-y| (2|s~(0)| + L|x| + L|y|) + 2 d M |x-y| with L = Lip s~ and M = sup||D^2 s~|| on R^d, so
    m = 2 L (|s~(t,0)| + L rms) + 2 d M, rms at least the root mean square of |X| and of |Y|. X ~ f_t has the energy of
    f_0 (conserved); that of the learned density is a quadrature: L and M are verified, but the number is numerical.
    """
    net, layers, pushed = network_of(context), context.run.layers("score"), context.pushed_at_times
    if net is None or layers is None or pushed is None:
        return {}
    times, initial, d = context.times, context.problem.initial, context.problem.d
    lip, second = spectral_product(layers), second_derivative_product(net)
    at_zero = np.linalg.norm(net(times, np.zeros((len(times), 1, d)))[:, 0], axis=-1)
    learned, error = pushed.rule.integrate(np.sum(pushed.flow**2, axis=-1))
    energy = float(np.sum(initial.mean() ** 2) + np.trace(initial.covariance()))
    rms = np.sqrt(np.maximum(learned + error, energy))
    value = (2 * lip * (at_zero + lip * rms) + 2 * d * second) * (1 + 1e-9)
    method = "2 L (|s~(0)| + L rms) + 2 d M, L and M from spectral norms on R^d, rms of f~ by quadrature, error added"
    detail = {"second_derivative": second, "lipschitz": lip, "rms": float(rms.max())}
    return {"ism_modulus": Estimate(value, Side.UPPER, Rigor.NUMERICAL, method, detail=detail)}


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


_LEARNED = (
    "learned_score_lipschitz",
    "learned_score_lipschitz_spectral",
    "learned_score_oscillation",
    "error_lipschitz",
    "tail_drift",
)
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
        id="lipschitz_learned",
        provides=dict.fromkeys(_LEARNED, Side.UPPER),
        rigor=Rigor.VERIFIED,
        uses_exact_solution=True,
        compute=learned_score,
        why_not="a score network whose layers are known (and the exact solution for the error's constants)",
    ),
    Estimator(
        id="ism_modulus",
        provides={"ism_modulus": Side.UPPER},
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=False,
        compute=ism_modulus,
        why_not="the weights of a score network, and a flow with derivatives",
    ),
)
