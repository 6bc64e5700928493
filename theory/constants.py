"""Ingredients that several theorems share: the constants of Assumption 1 on the ball B_R, errors along a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from theory.theorem import Ingredient

KERNEL_BOUND = Ingredient("kernel_bound", r"\Lambda", "sup of ||A(v-w)|| on B_R", unit="velocity/time/score")
KERNEL_LIPSCHITZ = Ingredient("kernel_lipschitz", "L_A", "Lip of A(v-w) on B_R")
SCORE_LIPSCHITZ = Ingredient("score_lipschitz", "L_s", "Lip of the exact score")
SCORE_OSCILLATION = Ingredient("score_oscillation", "S", "oscillation of the exact score on B_R")
LEARNED_LIPSCHITZ = Ingredient("learned_score_lipschitz", r"L_{\tilde s}", "Lip of the learned score")
LEARNED_OSCILLATION = Ingredient("learned_score_oscillation", r"\tilde S", "oscillation of the learned score on B_R")
ERROR_LIPSCHITZ = Ingredient("error_lipschitz", r"L_\delta", "Lip of the score error magnitude")
TAIL_LIPSCHITZ = Ingredient("tail_lipschitz", r"\tau_U", "share of Lip U from mass of f outside B_R")
TAIL_DRIFT = Ingredient("tail_drift", r"\tau_R", "drift mismatch from mass of f outside B_R")

RESIDUAL = Ingredient("residual_rms", r"\|\rho\|", "physics residual, L2 over particles", unit="velocity/time")
INITIAL_ERROR = Ingredient(
    "initial_error", "e(t_1)", "rms trajectory error at the start of the window", unit="velocity"
)
ERROR_PATH = Ingredient("score_error_path", r"\|\delta(X)\|", "score error along the exact path, L2 over particles")
ERROR_LEARNED_PATH = Ingredient(
    "score_error_learned_path", r"\|\delta(\tilde X)\|", "score error along the learned path, L2 over particles"
)
ERROR_MEAN = Ingredient("score_error_mean", r"E_f\delta", "mean score error under f_t")
MEASURE = Ingredient("measure_w1", r"W_1(\tilde\mu,f)", "distance of the learned particles from f_t", unit="velocity")
SAMPLING = Ingredient(
    "sampling_w1",
    r"E\,W_1(\bar\mu,f)",
    "expected distance of N exact samples from f_t: the particle rate",
    unit="velocity",
    at_report=True,
)
LOG_NORM = Ingredient("drift_log_norm", r"\mu", "largest eigenvalue of sym grad U_t over R^d", unit="1/time")
COUPLING = Ingredient(
    "coupling_rms",
    r"(E\mathcal E)^{1/2}",
    "same-start distance of learned and exact particles, L2 over f0",
    unit="velocity",
    at_report=True,
)

COMMON = (
    KERNEL_BOUND,
    KERNEL_LIPSCHITZ,
    SCORE_LIPSCHITZ,
    SCORE_OSCILLATION,
    LEARNED_LIPSCHITZ,
    LEARNED_OSCILLATION,
    ERROR_LIPSCHITZ,
)


def zero(_: Any) -> int:
    """Quantity of a witness that vanishes at all times."""
    return 0


def quiet(*ingredients: Ingredient) -> dict[str, Callable[[Any], Any]]:
    """Ingredients of a witness in which all of these vanish."""
    return {i.id: zero for i in ingredients}


def drift_lipschitz(kernel_bound: Any, kernel_lipschitz: Any, score_lipschitz: Any, score_oscillation: Any) -> Any:
    """L = Lambda Lip(s) + L_A osc(s): Lip of the drift with that score on B_R (Lemma 1, equation 3.9)."""
    return kernel_bound * score_lipschitz + kernel_lipschitz * score_oscillation
