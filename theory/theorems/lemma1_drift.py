"""Lemma 1: Lipschitz constant of the drift, and distance of the learned drift from the exact one (equation 3.9)."""

from __future__ import annotations

from typing import Any

from theory import hypotheses as hyp
from theory.constants import (
    ERROR_LEARNED_PATH,
    ERROR_MEAN,
    KERNEL_BOUND,
    KERNEL_LIPSCHITZ,
    LEARNED_LIPSCHITZ,
    LEARNED_OSCILLATION,
    MEASURE,
    SCORE_LIPSCHITZ,
    SCORE_OSCILLATION,
    TAIL_DRIFT,
    TAIL_LIPSCHITZ,
    drift_lipschitz,
    quiet,
)
from theory.gronwall import Ops
from theory.theorem import Scope, Terms, Theorem, Witness


def lipschitz(
    ops: Ops,
    *,
    kernel_bound: Any,
    kernel_lipschitz: Any,
    score_lipschitz: Any,
    score_oscillation: Any,
    tail_lipschitz: Any,
) -> Terms:
    """Lip U <= Lambda L_s + L_A S, and the share of f outside the ball."""
    return {
        "score": ops.now(kernel_bound * score_lipschitz),
        "kernel": ops.now(kernel_lipschitz * score_oscillation),
        "mass outside the ball": ops.now(tail_lipschitz),
    }


def mismatch(
    ops: Ops,
    *,
    kernel_bound: Any,
    kernel_lipschitz: Any,
    learned_score_lipschitz: Any,
    learned_score_oscillation: Any,
    score_error_learned_path: Any,
    score_error_mean: Any,
    measure_w1: Any,
    tail_drift: Any,
) -> Terms:
    """|U - U~| <= Lambda (delta + E_f delta) + L_g W1(mu~, f) + tail, in L2 over the learned particles (Minkowski)."""
    l_g = drift_lipschitz(kernel_bound, kernel_lipschitz, learned_score_lipschitz, learned_score_oscillation)
    return {
        "score error": ops.now(kernel_bound * (score_error_learned_path + score_error_mean)),
        "measure mismatch": ops.now(l_g * measure_w1),
        "mass outside the ball": ops.now(tail_drift),
    }


_DRIFT = (KERNEL_BOUND, KERNEL_LIPSCHITZ, SCORE_LIPSCHITZ, SCORE_OSCILLATION, TAIL_LIPSCHITZ)
_MISMATCH = (
    KERNEL_BOUND,
    KERNEL_LIPSCHITZ,
    LEARNED_LIPSCHITZ,
    LEARNED_OSCILLATION,
    ERROR_LEARNED_PATH,
    ERROR_MEAN,
    MEASURE,
    TAIL_DRIFT,
)
_REST = Witness("constant score: the drift vanishes", quiet(*_DRIFT), lambda t: 0 * t, sharp=True)
# A = |z|^2 I - z z^T in 2D, f = N(0, diag(2, 1)), score -(v_1/2, v_2): the linear part of U at 0 is diag(-1/2, 1), so
# Lip U >= 1. Constants of B_1 are lower values of the true ones: the bound only grows with R.
_GAUSSIAN = Witness(
    "Maxwell, C = 1, anisotropic Gaussian N(0, diag(2, 1)): slope 1 at v = 0",
    {
        **quiet(*_DRIFT),
        "kernel_bound": lambda t: 4,
        "kernel_lipschitz": lambda t: 4,
        "score_lipschitz": lambda t: 1,
        "score_oscillation": lambda t: 2,
    },
    lambda t: 1 + 0 * t,
    sharp=False,
)
# v = e_1, f = delta at -e_1, C = 1: A(v - w) = 4 e_2 e_2^T = Lambda e_2 e_2^T, score errors +-t e_2 at v and at w.
_OPPOSITE = Witness(
    "opposite score errors at two antipodal points of the ball: equality",
    {
        **quiet(*_MISMATCH),
        "kernel_bound": lambda t: 4,
        "score_error_learned_path": lambda t: t,
        "score_error_mean": lambda t: t,
    },
    lambda t: 8 * t,
    sharp=True,
)
# the same point masses, exact score s(v) = -v, but the learned particle sits at -e_1 + t e_2/2: A(z) s-difference = 0
# for every pair (radial), so the mismatch vanishes while W1 = t/2
_RADIAL = Witness(
    "linear score -v: the drift vanishes wherever the particles are",
    {
        **quiet(*_MISMATCH),
        "kernel_bound": lambda t: 4,
        "kernel_lipschitz": lambda t: 4,
        "learned_score_lipschitz": lambda t: 1,
        "learned_score_oscillation": lambda t: 2,
        "measure_w1": lambda t: t / 2,
    },
    lambda t: 0 * t,
    sharp=False,
)

THEOREM = (
    Theorem(
        id="lemma1_lipschitz",
        title="Lemma 1: Lipschitz constant of the exact drift",
        source="Lemma 1, equation (3.9)",
        statement=r"\mathrm{Lip}(U_t)\le L_U=\Lambda L_s+L_A S+\tau_U",
        bounds="drift_lipschitz",
        ingredients=_DRIFT,
        hypotheses=(hyp.SCORE_LIPSCHITZ,),
        formula=lipschitz,
        witnesses=(_REST, _GAUSSIAN),
        notes=("A product of worst cases; the exact constant and the log-norm of the drift stand beside it.",),
        scope=Scope.INSTANT,
    ),
    Theorem(
        id="lemma1",
        title="Lemma 1: learned drift against exact drift",
        source="Lemma 1, equation (3.9), at the learned particles, with the mass of f outside the ball",
        statement=(
            r"\|U_t-\tilde U_t\|\le\Lambda(\|\delta_t(\tilde X)\|+E_{f_t}\delta_t)+L_g W_1(\tilde\mu_t,f_t)+\tau_R,"
            r"\quad L_g=\Lambda L_{\tilde s}+L_A\tilde S"
        ),
        bounds="drift_mismatch",
        ingredients=_MISMATCH,
        hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.BALL, hyp.FRESH),
        formula=mismatch,
        witnesses=(_OPPOSITE, _RADIAL),
        scope=Scope.INSTANT,
    ),
)
