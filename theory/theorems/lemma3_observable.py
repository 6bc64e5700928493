"""Lemma 3: what N learned particles say about an observable; here the mean speed, psi(v) = |v|."""

from __future__ import annotations

from typing import Any

import sympy

from theory import hypotheses as hyp
from theory.constants import COUPLING, quiet
from theory.gronwall import Ops
from theory.theorem import Ingredient, Scope, Terms, Theorem, Witness


def formula(ops: Ops, *, observable_lipschitz: Any, coupling_rms: Any, observable_deviation: Any) -> Terms:
    """E|mu~ psi - f psi| <= L_psi E sqrt(E(t)) + sqrt(Var_f psi/N)."""
    return {
        "trajectories": ops.now(observable_lipschitz * coupling_rms),
        "sampling": ops.now(observable_deviation),
    }


_INGREDIENTS = (
    Ingredient("observable_lipschitz", r"L_\psi", "Lipschitz constant of the observable", at_report=True),
    COUPLING,
    Ingredient(
        "observable_deviation",
        r"\sqrt{\mathrm{Var}_f\psi/N}",
        "standard deviation of the observable's mean over N exact samples",
        at_report=True,
    ),
)

THEOREM = Theorem(
    id="lemma3",
    title="Lemma 3: mean speed of N particles",
    source="Lemma 3, for the observable psi(v) = |v|",
    statement=(
        r"E|\tilde\mu_t\psi-f_t\psi|\le L_\psi E\sqrt{\mathcal E(t)}+\sqrt{\mathrm{Var}_{f_t}\psi/N},\quad\psi(v)=|v|"
    ),
    bounds="observable",
    ingredients=_INGREDIENTS,
    hypotheses=(hyp.FRESH,),
    formula=formula,
    witnesses=(
        Witness(
            "point mass, learned particles displaced outwards by t: equality",
            {**quiet(*_INGREDIENTS), "observable_lipschitz": lambda t: 1, "coupling_rms": lambda t: t},
            lambda t: t,
            sharp=True,
        ),
        # one-dimensional projection psi of N(0, 1), N = 4: E|mean| = sqrt(2/(pi N))
        Witness(
            "exact flow, a Gaussian observable of unit variance, N = 4",
            {**quiet(*_INGREDIENTS), "observable_deviation": lambda t: sympy.Rational(1, 2)},
            lambda t: 0 * t + sympy.sqrt(2 / sympy.pi) / 2,
            sharp=False,
        ),
    ),
    scope=Scope.INSTANT,
)
