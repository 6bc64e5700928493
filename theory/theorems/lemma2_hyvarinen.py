"""Lemma 2 (Hyvarinen): the implicit score-matching objective and the Fisher information give the score error."""

from __future__ import annotations

from typing import Any

from theory import hypotheses as hyp
from theory.gronwall import Ops
from theory.theorem import Ingredient, Scope, Terms, Theorem, Witness


def formula(ops: Ops, *, ism_objective_exact_law: Any, fisher_information: Any) -> Terms:
    """E_f |s~ - s|^2 = J(s~) - J(s) = J(s~) + I(f): an identity."""
    return {"excess risk": ops.now(ism_objective_exact_law, fisher_information)}


THEOREM = Theorem(
    id="lemma2",
    title="Lemma 2: excess risk is the score error",
    source="Lemma 2 (Hyvarinen), J(s) = -I(f)",
    statement=r"E_{f_t}|\tilde s-s|^2=J(\tilde s)-J(s)=J(\tilde s)+I(f_t)",
    bounds="score_error",
    ingredients=(
        Ingredient(
            "ism_objective_exact_law", r"J(\tilde s)", "E_f[|s~|^2 + 2 div s~] under the exact law", at_report=True
        ),
        Ingredient("fisher_information", "I(f_t)", "Fisher information of the exact law", at_report=True),
    ),
    hypotheses=(hyp.SCORE_LIPSCHITZ,),
    formula=formula,
    witnesses=(
        Witness(
            "f = N(0, I_2), learned score -(1 + t) v: equality",
            {
                "ism_objective_exact_law": lambda t: 2 * (1 + t) ** 2 - 4 * (1 + t),
                "fisher_information": lambda t: 2,
            },
            lambda t: 2 * t**2,
            sharp=True,
        ),
        Witness(
            "f = N(0, I_3), learned score t a - v with |a| = 2: equality",
            {"ism_objective_exact_law": lambda t: 3 + 4 * t**2 - 6, "fisher_information": lambda t: 3},
            lambda t: 4 * t**2,
            sharp=True,
        ),
    ),
    notes=("An identity: the distance of the two sides measures the quadrature.",),
    scope=Scope.INSTANT,
)
