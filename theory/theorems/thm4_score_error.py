"""Theorem 4: score error by implicit score matching, with the gap between learned and exact law written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from theory import hypotheses as hyp
from theory.constants import COUPLING
from theory.gronwall import Ops
from theory.theorem import Ingredient, Scope, Terms, Theorem, Witness

OBJECTIVE = Ingredient(
    "ism_objective", r"J_{\tilde f}(\tilde s)", "E[|s~|^2 + 2 div s~] under the learned law", at_report=True
)
MODULUS = Ingredient(
    "ism_modulus", r"m_\psi", "modulus of psi = |s~|^2 + 2 div s~: |E psi(X) - E psi(Y)| <= m W2(X, Y)", at_report=True
)
DENSITY_W2 = Ingredient(
    "density_w2",
    r"W_2(\tilde f,f)",
    "distance of the learned density from f_t: the smaller of S1 and S2",
    unit="velocity",
    at_report=True,
)
FISHER = Ingredient("fisher_information", "I(f_t)", "Fisher information of the exact law", at_report=True)
FISHER_START = Ingredient("fisher_initial", "I(f_{t_0})", "Fisher information of the initial density", at_report=True)


def formula(fisher: str, distance: str) -> Callable[..., Terms]:
    """E D = J(s~) - J(s) <= J under the learned law + m W2(f~, f) + I: -J(s) = I(f_t) <= I(f_t0)."""

    def terms(ops: Ops, *, ism_objective: Any, ism_modulus: Any, **rest: Any) -> Terms:
        return {
            "objective and Fisher information": ops.now(ism_objective, rest[fisher]),
            "law gap": ops.now(ism_modulus * rest[distance]),
        }

    return terms


# f = N(0, I_2), learned score -(1 + t) v under the exact law: J = 2 (1+t)^2 - 4 (1+t), I = 2, E D = 2 t^2.
def _witness(fisher: Ingredient, distance: Ingredient, *, moved: bool) -> Witness:
    name = "learned law N(t e, I): the objective is the same" if moved else "equality under the exact law"
    return Witness(
        f"f = N(0, I_2), learned score -(1 + t) v, {name}",
        {
            # under N(t e, I) the objective grows by (1+t)^2 t^2; the modulus pays 2 (1+t)^2 (rms radius) for W2 = t
            "ism_objective": lambda t: 2 * (1 + t) ** 2 - 4 * (1 + t) + ((1 + t) ** 2 * t**2 if moved else 0),
            "ism_modulus": lambda t: 4 * (1 + t) ** 2 if moved else 0,
            fisher.id: lambda t: 2,
            distance.id: lambda t: t if moved else 0,
        },
        lambda t: 2 * t**2,
        sharp=not moved,
    )


_STATEMENT = (
    r"E\,D(t)=J(\tilde s)-J(s)\le\big(J_{\tilde f_t}(\tilde s)+%s\big)_++m_\psi\,%s,"
    r"\quad\psi=|\tilde s|^2+2\nabla\cdot\tilde s"
)

THEOREM = (
    Theorem(
        id="thm4",
        title="Theorem 4: score error by score matching",
        source="Theorem 4 (Section 4.5), with Lemma 3 for the learned law; -J(s) = I(f_t)",
        statement=_STATEMENT % ("I(f_t)", r"(E\mathcal E)^{1/2}"),
        bounds="score_error",
        ingredients=(OBJECTIVE, MODULUS, FISHER, COUPLING),
        hypotheses=(hyp.SCORE_LIPSCHITZ, hyp.FRESH),
        formula=formula("fisher_information", "coupling_rms"),
        witnesses=(_witness(FISHER, COUPLING, moved=False), _witness(FISHER, COUPLING, moved=True)),
        scope=Scope.INSTANT,
    ),
    Theorem(
        id="thm4_fisher",
        title="Theorem 4 without the exact score",
        source="Theorem 4 with I(f_t) <= I(f_t0) (Guillen and Silvestre, Acta Math. 2025) and W2 from S1 or S2",
        statement=_STATEMENT % ("I(f_{t_0})", r"W_2(\tilde f_t,f_t)"),
        bounds="score_error",
        ingredients=(OBJECTIVE, MODULUS, FISHER_START, DENSITY_W2),
        hypotheses=(hyp.FISHER, hyp.STABLE, hyp.FRESH),
        formula=formula("fisher_initial", "density_w2"),
        witnesses=(_witness(FISHER_START, DENSITY_W2, moved=False), _witness(FISHER_START, DENSITY_W2, moved=True)),
        notes=("A posteriori: the exact solution is not used. Loose by I(f_t0) - I(f_t), which no training removes.",),
        scope=Scope.INSTANT,
    ),
)
