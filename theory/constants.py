"""Ingredients shared by Theorems 1, 2 and 5: the constants of Assumption 1 on the ball B_R and what they combine to."""

from __future__ import annotations

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

COMMON = (
    KERNEL_BOUND,
    KERNEL_LIPSCHITZ,
    SCORE_LIPSCHITZ,
    SCORE_OSCILLATION,
    LEARNED_LIPSCHITZ,
    LEARNED_OSCILLATION,
    ERROR_LIPSCHITZ,
)


def drift_lipschitz(kernel_bound: Any, kernel_lipschitz: Any, score_lipschitz: Any, score_oscillation: Any) -> Any:
    """L = Lambda Lip(s) + L_A osc(s): Lip of the drift with that score on B_R (Lemma 1, equation 3.9)."""
    return kernel_bound * score_lipschitz + kernel_lipschitz * score_oscillation
