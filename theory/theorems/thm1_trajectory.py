"""Theorem 1: trajectory error of the learned flow (equations 3.10 and 3.11)."""

from __future__ import annotations

from typing import Any

import sympy

from theory import hypotheses as hyp
from theory.constants import COMMON, TAIL_DRIFT, TAIL_LIPSCHITZ, drift_lipschitz
from theory.gronwall import Ops
from theory.theorem import Ingredient, Terms, Theorem, Witness


def formula(
    ops: Ops,
    *,
    kernel_bound: Any,
    kernel_lipschitz: Any,
    score_lipschitz: Any,
    score_oscillation: Any,
    learned_score_lipschitz: Any,
    learned_score_oscillation: Any,
    error_lipschitz: Any,
    tail_lipschitz: Any,
    tail_drift: Any,
    score_error_path: Any,
    score_error_mean: Any,
    measure_w1: Any,
    residual_rms: Any,
    initial_error: Any,
) -> Terms:
    """int_{t0}^t exp(int_tau^t alpha)[Lambda(delta + E delta) + L_g W1 + |rho| + tail] + initial error."""
    alpha = (
        drift_lipschitz(kernel_bound, kernel_lipschitz, score_lipschitz, score_oscillation)
        + tail_lipschitz
        + kernel_bound * error_lipschitz
    )
    l_g = drift_lipschitz(kernel_bound, kernel_lipschitz, learned_score_lipschitz, learned_score_oscillation)
    return {
        "initial error": ops.growth(alpha) * initial_error,
        "score error": ops.gronwall(alpha, kernel_bound * (score_error_path + score_error_mean)),
        "measure mismatch": ops.gronwall(alpha, l_g * measure_w1),
        "residual": ops.gronwall(alpha, residual_rms),
        "mass outside the ball": ops.gronwall(alpha, tail_drift),
    }


def _zero(_: Any) -> int:
    return 0


_QUIET = {i.id: _zero for i in (*COMMON, TAIL_LIPSCHITZ, TAIL_DRIFT)} | {
    "score_error_path": _zero,
    "score_error_mean": _zero,
    "measure_w1": _zero,
    "residual_rms": _zero,
    "initial_error": _zero,
}

# A = 0: exact particles rest, learned ones drift with |rho| = 1 + t in one direction.
_FREE = Witness(
    "no collisions, learned particles drift with speed 1 + t",
    {**_QUIET, "residual_rms": lambda t: 1 + t},
    lambda t: t + t**2 / 2,
    sharp=True,
)
# A = |z|^2 I - z z^T in 2D, f = N(0, I), exact score -v: both drifts vanish (A(z) z = 0), so T = (1 + t/10) v has
# residual |v|/10 and error t |v|/10. Constants of B_1 are lower values of the true ones: the bound only grows with R.
_EPS = sympy.Rational(1, 10)

_GAUSSIAN = Witness(
    "Maxwell equilibrium in 2D, learned flow (1 + t/10) v, exact score",
    {
        **_QUIET,
        "kernel_bound": lambda t: 4,
        "kernel_lipschitz": lambda t: 4,
        "score_lipschitz": lambda t: 1,
        "score_oscillation": lambda t: 2,
        "learned_score_lipschitz": lambda t: 1,
        "learned_score_oscillation": lambda t: 2,
        "measure_w1": lambda t: _EPS * t * sympy.sqrt(sympy.pi / 2),
        "residual_rms": lambda t: _EPS * sympy.sqrt(2),
    },
    lambda t: _EPS * t * sympy.sqrt(2),
    sharp=False,
)

THEOREM = Theorem(
    id="thm1",
    title="Trajectory error with residual",
    source="Theorem 1, equations (3.10)-(3.11); taken in L2 over the particles (Minkowski)",
    statement=(
        r"\|e(t)\| \le e^{\int_{t_0}^t\alpha}\|e(t_0)\| + \int_{t_0}^t e^{\int_\tau^t\alpha}"
        r"\big[\Lambda(\|\delta_\tau(X_\tau)\| + E_{f_\tau}\delta_\tau) + L_g W_1(\tilde\mu_\tau,f_\tau)"
        r" + \|\rho(\tau)\| + \tau_R\big]\,d\tau,\quad \alpha=\Lambda L_s+L_A S+\tau_U+\Lambda L_\delta"
    ),
    bounds="trajectory",
    ingredients=(
        *COMMON,
        TAIL_LIPSCHITZ,
        TAIL_DRIFT,
        Ingredient("score_error_path", r"\|\delta(X)\|", "score error along the exact path, L2 over particles"),
        Ingredient("score_error_mean", r"E_f\delta", "mean score error under f_t"),
        Ingredient(
            "measure_w1", r"W_1(\tilde\mu,f)", "distance of the learned particles' law from f_t", unit="velocity"
        ),
        Ingredient("residual_rms", r"\|\rho\|", "physics residual, L2 over particles", unit="velocity/time"),
        Ingredient("initial_error", "e(t_1)", "trajectory error at the start of the window", unit="velocity"),
    ),
    hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.BALL, hyp.FRESH),
    formula=formula,
    witnesses=(_FREE, _GAUSSIAN),
)
