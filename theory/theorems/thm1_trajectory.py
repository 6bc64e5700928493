"""Theorem 1: trajectory error of the learned flow (equations 3.10 and 3.11)."""

from __future__ import annotations

from typing import Any

import sympy

from theory import hypotheses as hyp
from theory.constants import (
    COMMON,
    ERROR_LEARNED_PATH,
    ERROR_MEAN,
    ERROR_PATH,
    INITIAL_ERROR,
    KERNEL_BOUND,
    KERNEL_LIPSCHITZ,
    LEARNED_LIPSCHITZ,
    LEARNED_OSCILLATION,
    LOG_NORM,
    MEASURE,
    RESIDUAL,
    TAIL_DRIFT,
    TAIL_LIPSCHITZ,
    drift_lipschitz,
    quiet,
)
from theory.gronwall import Ops
from theory.theorem import Ingredient, Scope, Terms, Theorem, Witness


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


def log_norm(
    ops: Ops,
    *,
    drift_log_norm: Any,
    kernel_bound: Any,
    kernel_lipschitz: Any,
    learned_score_lipschitz: Any,
    learned_score_oscillation: Any,
    tail_drift: Any,
    score_error_learned_path: Any,
    score_error_mean: Any,
    measure_w1: Any,
    residual_rms: Any,
    initial_error: Any,
) -> Terms:
    """The same with the log-norm mu of grad U for alpha and the score error on the learned path (THEORY 6.6)."""
    l_g = drift_lipschitz(kernel_bound, kernel_lipschitz, learned_score_lipschitz, learned_score_oscillation)
    source = kernel_bound * (score_error_learned_path + score_error_mean)
    return {
        "initial error": ops.growth(drift_log_norm) * initial_error,
        "score error": ops.gronwall(drift_log_norm, source),
        "measure mismatch": ops.gronwall(drift_log_norm, l_g * measure_w1),
        "residual": ops.gronwall(drift_log_norm, residual_rms),
        "mass outside the ball": ops.gronwall(drift_log_norm, tail_drift),
    }


def direct(ops: Ops, *, drift_log_norm: Any, drift_mismatch: Any, residual_rms: Any, initial_error: Any) -> Terms:
    """Log-norm, and the mismatch |U - U~| evaluated where the learned particles are, not bounded by Lemma 1."""
    return {
        "initial error": ops.growth(drift_log_norm) * initial_error,
        "drift mismatch": ops.gronwall(drift_log_norm, drift_mismatch),
        "residual": ops.gronwall(drift_log_norm, residual_rms),
    }


def in_law(ops: Ops, *, drift_log_norm: Any, drift_error_law: Any, initial_w2: Any) -> Terms:
    """The reference starts from an optimal coupling of f~ and f at t1: W2(f~_t, f_t) by the drift error in L2(f~)."""
    return {
        "initial distance": ops.growth(drift_log_norm) * initial_w2,
        "drift error": ops.gronwall(drift_log_norm, drift_error_law),
    }


_INGREDIENTS = (*COMMON, TAIL_LIPSCHITZ, TAIL_DRIFT, ERROR_PATH, ERROR_MEAN, MEASURE, RESIDUAL, INITIAL_ERROR)
_LOG_NORM = (
    LOG_NORM,
    KERNEL_BOUND,
    KERNEL_LIPSCHITZ,
    LEARNED_LIPSCHITZ,
    LEARNED_OSCILLATION,
    TAIL_DRIFT,
    ERROR_LEARNED_PATH,
    ERROR_MEAN,
    MEASURE,
    RESIDUAL,
    INITIAL_ERROR,
)
_DIRECT = (
    LOG_NORM,
    Ingredient("drift_mismatch", r"\|U-\tilde U\|", "exact drift against the learned one at the learned particles, L2"),
    RESIDUAL,
    INITIAL_ERROR,
)
_IN_LAW = (
    LOG_NORM,
    Ingredient("drift_error_law", r"\|\partial_tT-U\|", "d_t T - U_t(T) in L2(f0)", unit="velocity/time"),
    Ingredient("initial_w2", r"W_2(\tilde f_{t_1},f_{t_1})", "S1's bound at the start of the window", unit="velocity"),
)
_QUIET = quiet(*_INGREDIENTS)

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

# f = N(0, I), Maxwell: the exact drift vanishes, so mu = 0; the learned particles move apart with speed (1 + t) u.
_DRIFTING = Witness(
    "Maxwell equilibrium, learned particles carried along with speed 1 + t: equality",
    {**quiet(*_DIRECT), "residual_rms": lambda t: 1 + t},
    lambda t: t + t**2 / 2,
    sharp=True,
)
# linear contraction U = -v (mean-field limit of a strongly confining score), learned flow e^(-t) v + (1 - e^(-t)) a:
# d_t T = U(T) + a, so the error is |a| (1 - e^(-t)) with mismatch + residual = |a|.
_CONTRACTING = Witness(
    "exact drift -v (log-norm -1), learned drift a - v: equality",
    {
        **quiet(*_DIRECT),
        "drift_log_norm": lambda t: -1,
        "drift_mismatch": lambda t: sympy.Rational(3, 10),
    },
    lambda t: sympy.Rational(3, 10) * (1 - sympy.exp(-t)),
    sharp=True,
)
_LOG_NORM_WITNESSES = (
    Witness(
        "no collisions, learned particles drift with speed 1 + t: equality",
        {**quiet(*_LOG_NORM), "residual_rms": lambda t: 1 + t},
        lambda t: t + t**2 / 2,
        sharp=True,
    ),
    Witness(
        _GAUSSIAN.name,
        {
            **quiet(*_LOG_NORM),
            **{k: f for k, f in _GAUSSIAN.ingredients.items() if k in {i.id for i in _LOG_NORM}},
        },
        _GAUSSIAN.truth,
        sharp=False,
    ),
)
_LAW_WITNESSES = (
    Witness(
        "exact drift -v, learned drift a - v, laws a distance 1/5 apart at the start, in the direction of a: equality",
        {
            **quiet(*_IN_LAW),
            "drift_log_norm": lambda t: -1,
            "drift_error_law": lambda t: sympy.Rational(3, 10),
            "initial_w2": lambda t: sympy.Rational(1, 5),
        },
        lambda t: sympy.Rational(3, 10) * (1 - sympy.exp(-t)) + sympy.exp(-t) / 5,
        sharp=True,
    ),
    Witness(
        "the same, the initial offset against the direction of a",
        {
            **quiet(*_IN_LAW),
            "drift_log_norm": lambda t: -1,
            "drift_error_law": lambda t: sympy.Rational(3, 10),
            "initial_w2": lambda t: sympy.Rational(1, 5),
        },
        lambda t: abs(sympy.Rational(3, 10) * (1 - sympy.exp(-t)) - sympy.exp(-t) / 5),
        sharp=False,
    ),
)
_PRINTED = Theorem(
    id="thm1",
    title="Trajectory error with residual",
    source="Theorem 1, equations (3.10)-(3.11); taken in L2 over the particles (Minkowski)",
    statement=(
        r"\|e(t)\| \le e^{\int_{t_1}^t\alpha}\|e(t_1)\| + \int_{t_1}^t e^{\int_\tau^t\alpha}"
        r"\big[\Lambda(\|\delta_\tau(X_\tau)\| + E_{f_\tau}\delta_\tau) + L_g W_1(\tilde\mu_\tau,f_\tau)"
        r" + \|\rho(\tau)\| + \tau_R\big]\,d\tau,\quad \alpha=\Lambda L_s+L_A S+\tau_U+\Lambda L_\delta"
    ),
    bounds="trajectory",
    ingredients=_INGREDIENTS,
    hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.BALL, hyp.FRESH),
    formula=formula,
    witnesses=(_FREE, _GAUSSIAN),
    scope=Scope.WINDOW,
)
THEOREM = (
    _PRINTED,
    Theorem(
        id="thm1_lognorm",
        title="Theorem 1 with the log-norm of the drift",
        source="THEORY 6.6: L_U replaced by the log-norm, score error on the learned path; Lambda and L_g as printed",
        statement=(
            r"\|e(t)\| \le e^{\int_{t_1}^t\mu}\|e(t_1)\| + \int_{t_1}^t e^{\int_\tau^t\mu}"
            r"\big[\Lambda(\|\delta_\tau(\tilde X_\tau)\| + E_{f_\tau}\delta_\tau) + L_g W_1(\tilde\mu_\tau,f_\tau)"
            r" + \|\rho(\tau)\| + \tau_R\big]\,d\tau,\quad \mu=\sup\lambda_{\max}(\mathrm{sym}\,\nabla U)"
        ),
        bounds="trajectory",
        ingredients=_LOG_NORM,
        hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.BALL, hyp.FRESH),
        formula=log_norm,
        witnesses=_LOG_NORM_WITNESSES,
        scope=Scope.WINDOW,
    ),
    Theorem(
        id="thm1_direct",
        title="Theorem 1, log-norm and drift mismatch on the learned path",
        source="THEORY 6.6 with |U - U~| evaluated at the learned particles instead of Lemma 1",
        statement=(
            r"\|e(t)\| \le e^{\int_{t_1}^t\mu}\|e(t_1)\| + \int_{t_1}^t e^{\int_\tau^t\mu}"
            r"\big[\|U_\tau(\tilde X_\tau)-\tilde U_\tau(\tilde X_\tau)\| + \|\rho(\tau)\|\big]\,d\tau"
        ),
        bounds="trajectory",
        ingredients=_DIRECT,
        hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.FRESH),
        formula=direct,
        witnesses=(_DRIFTING, _CONTRACTING),
        scope=Scope.WINDOW,
    ),
    Theorem(
        id="thm1_law",
        title="Theorem 1 in law, restarted from S1",
        source="THEORY 6.6; at t1 the reference starts from an optimal coupling of learned and exact law, so S1 at t1 "
        "is its initial error",
        statement=(
            r"W_2(\tilde f_t,f_t) \le e^{\int_{t_1}^t\mu}W_2(\tilde f_{t_1},f_{t_1}) + \int_{t_1}^t e^{\int_\tau^t\mu}"
            r"\|\partial_\tau T-U_\tau(T)\|_{L^2(f_{t_0})}\,d\tau"
        ),
        bounds="w2",
        ingredients=_IN_LAW,
        hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.STABLE),
        formula=in_law,
        witnesses=_LAW_WITNESSES,
        scope=Scope.WINDOW,
    ),
)
