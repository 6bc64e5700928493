"""Theorem 2: mean-squared trajectory error of the particle system (equations 4.4-4.6), as printed (Young's form)."""

from __future__ import annotations

from typing import Any

import sympy

from theory import hypotheses as hyp
from theory.constants import COMMON, drift_lipschitz
from theory.gronwall import Ops
from theory.theorem import Ingredient, Terms, Theorem, Witness


def rate(
    kernel_bound: Any,
    kernel_lipschitz: Any,
    score_lipschitz: Any,
    score_oscillation: Any,
    learned_score_lipschitz: Any,
    learned_score_oscillation: Any,
    error_lipschitz: Any,
    tail_lipschitz: Any = 0,
) -> Any:
    """C1 = 2 (alpha + L_g) + 2 of equation (4.4)."""
    alpha = drift_lipschitz(kernel_bound, kernel_lipschitz, score_lipschitz, score_oscillation)
    l_g = drift_lipschitz(kernel_bound, kernel_lipschitz, learned_score_lipschitz, learned_score_oscillation)
    return 2 * (alpha + tail_lipschitz + kernel_bound * error_lipschitz + l_g) + 2


def formula(
    ops: Ops, *, score_error_energy: Any, residual_energy: Any, initial_error: Any, kernel_bound: Any, **constants: Any
) -> Terms:
    """exp(int C1) E(t1) + int exp(int_tau^t C1)(4 Lambda^2 D + R): a bound of the mean-squared error E(t)."""
    c1 = rate(kernel_bound, **constants)
    return {
        "initial error": ops.growth(c1) * initial_error**2,
        "score error": ops.gronwall(c1, 4 * kernel_bound**2 * score_error_energy),
        "residual": ops.gronwall(c1, residual_energy),
    }


def _zero(_: Any) -> int:
    return 0


_QUIET = {i.id: _zero for i in COMMON} | {"score_error_energy": _zero, "residual_energy": _zero, "initial_error": _zero}

_FREE = Witness(
    "no collisions, learned particles drift with speed 1 (Young's inequality costs)",
    {**_QUIET, "residual_energy": lambda t: 1},
    lambda t: t**2,
    sharp=False,
)
# Young's step 2 y r <= y^2 + r^2 is an equality where r = y; the half of the +2 that pays for the score error is slack
# without one, so (4.4) is an equality at rest only. Nearest to it otherwise: bound/truth = 1 + t.
_YOUNG = Witness(
    "no collisions, offset e^t u with |u| = 1: the residual equals the error, as Young's inequality wants it",
    {**_QUIET, "residual_energy": lambda t: sympy.exp(2 * t), "initial_error": lambda t: 1},
    lambda t: sympy.exp(2 * t),
    sharp=False,
)
_REST = Witness("exact score, exact flow, same start", _QUIET, lambda t: 0 * t, sharp=True)

THEOREM = Theorem(
    id="thm2",
    title="Mean-squared error of the particle system",
    source="Theorem 2, equations (4.4)-(4.6), as printed: reference particles follow the exact score, same start",
    statement=(
        r"E(t)\le e^{\int_{t_1}^t C_1}E(t_1)+\int_{t_1}^t e^{\int_\tau^t C_1}\big(4\Lambda^2 D(\tau)+R(\tau)\big)d\tau,"
        r"\quad C_1=2(\alpha+L_g)+2,\quad W_1(\tilde\mu_t,\bar\mu_t)\le\sqrt{E(t)}"
    ),
    bounds="particles",
    ingredients=(
        *COMMON,
        Ingredient("score_error_energy", "D", "mean squared score error at the reference particles"),
        Ingredient("residual_energy", "R", "mean squared physics residual of the particles", unit="velocity^2/time^2"),
        Ingredient("initial_error", "e(t_1)", "root mean squared error at the start of the window", unit="velocity"),
    ),
    hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.BALL, hyp.FRESH),
    formula=formula,
    witnesses=(_FREE, _YOUNG, _REST),
    notes=("Bounds E(t), a squared velocity; W1 between the two particle systems is at most its square root (4.6).",),
)
