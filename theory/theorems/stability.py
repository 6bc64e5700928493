"""Stability certificates S1, S2, S3 of the learned density f~ = T_# f0 against the solution f (THEORY section 6).

S1 (Tanaka-type, any kernel): W2(f~, f) <= e^{2 k'(t-t0)} W2(t0) + int e^{2 k'(t-s)} D(s) ds.
S2 (Maxwell, linear once the moments are inserted): W_p <= int e^{-(d-1)C(t-s)} D_p(s) ds.
S3 (Girsanov and data processing): KL <= 1/4 int E[e^T A^{-1} e] ds; Pinsker: L1 <= sqrt(2 KL).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from theory.gronwall import Ops
from theory.hypotheses import PUSHFORWARD
from theory.theorem import Hypothesis, Ingredient, Terms, Theorem, Verdict, Witness

MAXWELL = Hypothesis(
    "maxwell",
    "Maxwell kernel: the equation is linear once its moments are known",
    lambda facts: (
        Verdict.holds("the kernel is Maxwell") if facts["maxwell"] else Verdict.fails("the kernel is not Maxwell")
    ),
    ("maxwell",),
)
UNIQUE = Hypothesis(
    "uniqueness",
    "the solution with this initial density is unique",
    lambda facts: Verdict.holds(facts["uniqueness"]),
    ("uniqueness",),
)

INITIAL = Ingredient("initial_distance", r"W(t_0)", "distance of the two densities at t0", unit="velocity")


def _linear(p: int) -> Ingredient:
    return Ingredient(
        f"defect_l{p}", rf"\mathcal D_{p}", f"flow defect in L{p}(f~), exact moments", unit="velocity/time"
    )


def _tail(name: str) -> Ingredient:
    return Ingredient(name, r"\theta", "share of the defect from |v| beyond the truncation radius of the quadrature")


def wasserstein_stability(ops: Ops, *, defect: Any, defect_tail: Any, kappa: Any, initial_distance: Any) -> Terms:
    """S1."""
    return {
        "initial distance": ops.growth(2 * kappa) * initial_distance,
        "flow defect": ops.gronwall(2 * kappa, defect),
        "tail beyond the quadrature": ops.gronwall(2 * kappa, defect_tail),
    }


def maxwell_stability(key: str) -> Callable[..., Terms]:
    """S2 for the defect named ``key``."""

    def formula(ops: Ops, *, friction: Any, initial_distance: Any, **defect: Any) -> Terms:
        return {
            "initial distance": ops.growth(-friction) * initial_distance,
            "flow defect": ops.gronwall(-friction, defect[key]),
            "tail beyond the quadrature": ops.gronwall(-friction, defect[f"{key}_tail"]),
        }

    return formula


def entropy_stability(ops: Ops, *, defect_entropy: Any, defect_entropy_tail: Any, initial_entropy: Any) -> Terms:
    """S3: relative entropy."""
    return {
        "initial entropy": ops.growth(0) * initial_entropy,
        "flow defect": ops.gronwall(0, defect_entropy / 4),
        "tail beyond the quadrature": ops.gronwall(0, defect_entropy_tail / 4),
    }


def total_variation(ops: Ops, *, defect_entropy: Any, defect_entropy_tail: Any, initial_entropy: Any) -> Terms:
    """S3 and Pinsker: L1 distance of the densities."""
    source = (defect_entropy + defect_entropy_tail) / 2
    twice_entropy = ops.growth(0) * (2 * initial_entropy) + ops.gronwall(0, source)
    return {"flow defect": ops.sqrt(twice_entropy)}


# Maxwell equilibrium N(0, I_d), d = 2, friction c = C; the learned law is N(0, s^2 I), s = 1 + t/4, by T = s v.
# Drift of the learned density vanishes (it is a Maxwellian), so e = (s'/s) x, D = s' sqrt 2, W2 = (s - 1) sqrt 2.
_Q = sympy.Rational(1, 4)
_C = sympy.Rational(1, 16)


def _s(t: Any) -> Any:
    return 1 + _Q * t


def _linear_defect(t: Any) -> Any:  # e_lin = (s' + c s - c/s) x/s, and |x|/s is Rayleigh
    return _Q + _C * _s(t) - _C / _s(t)


_S1 = {"kappa": lambda t: 0, "initial_distance": lambda t: 0, "defect_tail": lambda t: 0}
_TRANSLATION = Witness(
    "exact flow carried along by t a, |a| = 3/10: equality",
    {**_S1, "defect": lambda t: sympy.Rational(3, 10)},
    lambda t: sympy.Rational(3, 10) * t,
    sharp=True,
)
_SCALING = Witness(
    "Maxwell equilibrium, learned flow (1 + t/4) v: equality",
    {**_S1, "defect": lambda t: _Q * sympy.sqrt(2)},
    lambda t: (_s(t) - 1) * sympy.sqrt(2),
    sharp=True,
)


def _free(key: str) -> Witness:
    return Witness(
        "collisionless limit, learned flow v + t a with |a| = 3/10: equality",
        {
            key: lambda t: sympy.Rational(3, 10),
            f"{key}_tail": lambda t: 0,
            "friction": lambda t: 0,
            "initial_distance": lambda t: 0,
        },
        lambda t: sympy.Rational(3, 10) * t,
        sharp=True,
    )


def _relaxing(key: str, factor: Any) -> Witness:
    return Witness(
        "Maxwell equilibrium, C = 1/16, learned flow (1 + t/4) v",
        {
            key: lambda t: factor * _linear_defect(t),
            f"{key}_tail": lambda t: 0,
            "friction": lambda t: _C,
            "initial_distance": lambda t: 0,
        },
        lambda t: factor * (_s(t) - 1),
        sharp=False,
    )


# A = C[(|x|^2 + 1) I - x x^T] acts as C on radial vectors: E[e^T A^{-1} e] = 2 (linear defect)^2 / C.
_ENTROPY = {
    "defect_entropy": lambda t: 2 * _linear_defect(t) ** 2 / _C,
    "defect_entropy_tail": lambda t: 0,
    "initial_entropy": lambda t: 0,
}


def _kl(t: Any) -> Any:  # KL(N(0, s^2 I) | N(0, I)) in 2D
    return _s(t) ** 2 - 1 - 2 * sympy.log(_s(t))


def _l1(t: Any) -> Any:  # integral of |f~ - f|: the densities cross at r^2 = 4 s^2 log s/(s^2 - 1)
    s = _s(t)
    half = sympy.log(s) / (s**2 - 1)
    return 2 * (sympy.exp(-2 * half) - sympy.exp(-2 * s**2 * half))


_ENTROPY_WITNESS = Witness("Maxwell equilibrium, C = 1/16, learned flow (1 + t/4) v", _ENTROPY, _kl, sharp=False)
_L1_WITNESS = Witness(
    "Maxwell equilibrium, C = 1/16, learned flow (1 + t/4) v", _ENTROPY, lambda t: abs(_l1(t)), sharp=False
)
_REST = {k: lambda t: 0 for k in ("defect_entropy", "defect_entropy_tail", "initial_entropy")}

_FRICTION = Ingredient("friction", "(d-1)C", "relaxation rate of the Maxwell equation", monotone=-1, unit="1/time")
_ENTROPY_DEFECT = Ingredient("defect_entropy", r"E[e^\top\bar A^{-1}e]", "flow defect in the metric of the diffusion")
_ENTROPY_START = Ingredient("initial_entropy", r"KL(t_0)", "relative entropy of the two densities at t0")
_AP = (
    "A posteriori: the exact solution is not used; for Maxwell its mean and covariance are known in advance from f0.",
)

THEOREM = (
    Theorem(
        id="stability_w2",
        title="S1: Wasserstein stability",
        source="THEORY 6.3 (Tanaka; Fontbona, Guerin and Meleard)",
        statement=(
            r"W_2(\tilde f_t,f_t)\le e^{2\kappa'(t-t_0)}W_2(\tilde f_{t_0},f_{t_0})+"
            r"\int_{t_0}^t e^{2\kappa'(t-\tau)}(\mathcal D+\theta)(\tau)\,d\tau"
        ),
        bounds="w2",
        ingredients=(
            Ingredient("defect", r"\mathcal D", "flow defect in L2(f~)", unit="velocity/time"),
            _tail("defect_tail"),
            Ingredient("kappa", r"\kappa'", "stability constant of the kernel", unit="1/time"),
            INITIAL,
        ),
        hypotheses=(*PUSHFORWARD, UNIQUE),
        formula=wasserstein_stability,
        witnesses=(_TRANSLATION, _SCALING),
        notes=_AP,
    ),
    *(
        Theorem(
            id=name,
            title=f"S2: Maxwell stability in W{p}",
            source="THEORY 6.4",
            statement=(
                rf"W_{p}(\tilde f_t,f_t)\le e^{{-(d-1)C(t-t_0)}}W_{p}(t_0)+\int_{{t_0}}^t "
                rf"e^{{-(d-1)C(t-\tau)}}(\mathcal D_{p}+\theta)(\tau)\,d\tau"
            ),
            bounds=f"w{p}",
            ingredients=(_linear(p), _tail(f"defect_l{p}_tail"), _FRICTION, INITIAL),
            hypotheses=(*PUSHFORWARD, MAXWELL, UNIQUE),
            formula=maxwell_stability(f"defect_l{p}"),
            witnesses=(
                _free(f"defect_l{p}"),
                _relaxing(f"defect_l{p}", sympy.sqrt(2) if p == 2 else sympy.sqrt(sympy.pi / 2)),
            ),
            notes=_AP,
        )
        for p, name in ((1, "stability_wp"), (2, "stability_wp2"))
    ),
    Theorem(
        id="stability_kl",
        title="S3: relative entropy",
        source="THEORY 6.4 (Girsanov and data processing)",
        statement=(
            r"KL(\tilde f_t|f_t)\le KL(t_0)+\tfrac14\int_{t_0}^t "
            r"\big(E_{\tilde f}[e^\top\bar A_f^{-1}e]+\theta\big)\,d\tau"
        ),
        bounds="kl",
        ingredients=(_ENTROPY_DEFECT, _tail("defect_entropy_tail"), _ENTROPY_START),
        hypotheses=(*PUSHFORWARD, MAXWELL, UNIQUE),
        formula=entropy_stability,
        witnesses=(_ENTROPY_WITNESS, Witness("exact flow", _REST, lambda t: 0 * t, sharp=True)),
        notes=_AP,
    ),
    Theorem(
        id="stability_l1",
        title="S3: density in L1 (Pinsker)",
        source="THEORY 6.4 with Pinsker's inequality",
        statement=r"\|\tilde f_t-f_t\|_{L^1}\le\sqrt{2\,KL(\tilde f_t|f_t)}",
        bounds="l1",
        ingredients=(_ENTROPY_DEFECT, _tail("defect_entropy_tail"), _ENTROPY_START),
        hypotheses=(*PUSHFORWARD, MAXWELL, UNIQUE),
        formula=total_variation,
        witnesses=(_L1_WITNESS, Witness("exact flow", _REST, lambda t: 0 * t, sharp=True)),
        notes=_AP,
    ),
)
