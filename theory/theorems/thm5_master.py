"""Theorem 5: master certificate in W1 (Assumption 2 replaced by an explicit sampling term)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy

from theory import hypotheses as hyp
from theory.constants import COMMON, INITIAL_ERROR, SAMPLING, TAIL_DRIFT, TAIL_LIPSCHITZ, quiet
from theory.gronwall import Ops
from theory.theorem import Ingredient, Scope, Terms, Theorem, Witness
from theory.theorems.thm2_particles import linear_rate, rate
from theory.theorems.thm3_lifting import RATE_NOTE


def formula(
    ops: Ops,
    *,
    excess_risk: Any,
    residual_energy_mean: Any,
    drift_sampling: Any,
    sampling_w1: Any,
    initial_error: Any,
    kernel_bound: Any,
    tail_drift: Any,
    **constants: Any,
) -> Terms:
    """(int exp(int_tau^t C1')[4 Lambda^2 (J(s~)-J(s)) + (sqrt(E R) + tail)^2 + E V])^(1/2) + E W1(empirical, f_t)."""
    # Young's inequality on the one more term 2 y sqrt(V) of the mean-field form adds 1 to the paper's C1
    c1 = rate(kernel_bound, **constants) + 1
    source = 4 * kernel_bound**2 * excess_risk + (ops.sqrt(residual_energy_mean) + tail_drift) ** 2 + drift_sampling
    squared = ops.growth(c1) * initial_error**2 + ops.gronwall(c1, source)
    # the root takes the error of the integrals along; what is added after it must not
    return {"trajectories": ops.sqrt(squared), "sampling": ops.now(sampling_w1)}


def sharp(
    ops: Ops,
    *,
    excess_risk: Any,
    residual_energy_mean: Any,
    drift_sampling: Any,
    sampling_w1: Any,
    initial_error: Any,
    kernel_bound: Any,
    tail_drift: Any,
    **constants: Any,
) -> Terms:
    """The same before Young's step: Minkowski's inequality in L2 over the draws of the particles."""
    c = linear_rate(kernel_bound, **constants)
    return {
        "initial error": ops.growth(c) * initial_error,
        "score error": ops.gronwall(c, 2 * kernel_bound * ops.sqrt(excess_risk)),
        "residual": ops.gronwall(c, ops.sqrt(residual_energy_mean)),
        "sampling of the drift": ops.gronwall(c, ops.sqrt(drift_sampling)),
        "mass outside the ball": ops.gronwall(c, tail_drift),
        "sampling": ops.now(sampling_w1),
    }


_INGREDIENTS = (
    *COMMON,
    TAIL_LIPSCHITZ,
    TAIL_DRIFT,
    Ingredient("excess_risk", r"J(\tilde s)-J(s)", "ISM excess risk under f_t"),
    Ingredient("residual_energy_mean", "E R", "expected residual energy", unit="velocity^2/time^2"),
    Ingredient("drift_sampling", "E V", "sampling error of the drift of N i.i.d. particles, mean squared"),
    INITIAL_ERROR,
    SAMPLING,
)
_QUIET = quiet(*_INGREDIENTS)

_FREE = Witness(
    "no collisions, all learned particles drift together with speed 1, infinitely many particles",
    {**_QUIET, "residual_energy_mean": lambda t: 1},
    lambda t: t,
    sharp=False,
)
_SHARP = Witness(
    "no collisions, exact flow: only the sampling error is left",
    {**_QUIET, "sampling_w1": lambda t: sympy.Rational(1, 3)},
    lambda t: sympy.Rational(1, 3),
    sharp=True,
)

_SLIP = (
    "The paper takes Theorem 2's N-body particles for the i.i.d. mean-field particles of this theorem; they are not. "
    "Here they are mean-field: the drift's sampling error V enters."
)
# the expectation runs over all draws: the constants of the ball must hold for every one of them
_HYPOTHESES = (hyp.SCORE_LIPSCHITZ, hyp.BALL, hyp.CONTAINED, hyp.FRESH)

THEOREM = (
    Theorem(
        id="thm5",
        title="Theorem 5: master certificate in W1",
        source="Theorem 5, equations (4.17)-(4.19), repaired: i.i.d. mean-field reference particles, the sampling "
        "error V of their drift added, the particle rate of Assumption 2 explicit",
        statement=(
            r"E\,W_1(\tilde\mu_t,f_t)\le\Big(e^{\int_{t_1}^t C_1}e(t_1)^2+\int_{t_1}^t "
            r"e^{\int_\tau^t C_1}\big[4\Lambda^2(J(\tilde s)-J(s))+"
            r"(\sqrt{E R}+\tau_R)^2+E V\big]d\tau\Big)^{1/2}+E\,W_1(\bar\mu_t,f_t),\quad C_1=2(\alpha+L_g)+3"
        ),
        bounds="mean_w1",
        ingredients=_INGREDIENTS,
        hypotheses=_HYPOTHESES,
        formula=formula,
        witnesses=(_FREE, _SHARP),
        notes=(_SLIP + " By Young's inequality C1 grows by 1.", RATE_NOTE),
        scope=Scope.WINDOW,
    ),
    Theorem(
        id="thm5_sharp",
        title="Theorem 5 before Young's inequality",
        source="Theorem 5 from the sharp form of Theorem 2, Minkowski's inequality in L2 over the draws",
        statement=(
            r"E\,W_1(\tilde\mu_t,f_t)\le e^{\int_{t_1}^t(\alpha+L_g)}e(t_1)+\int_{t_1}^t "
            r"e^{\int_\tau^t(\alpha+L_g)}\big[2\Lambda(J(\tilde s)-J(s))^{1/2}+"
            r"(E R)^{1/2}+\tau_R+(E V)^{1/2}\big]d\tau+E\,W_1(\bar\mu_t,f_t)"
        ),
        bounds="mean_w1",
        ingredients=_INGREDIENTS,
        hypotheses=_HYPOTHESES,
        formula=sharp,
        witnesses=(replace(_FREE, name=f"{_FREE.name}: equality", sharp=True), _SHARP),
        notes=(_SLIP, RATE_NOTE),
        scope=Scope.WINDOW,
    ),
)
