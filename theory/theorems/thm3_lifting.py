"""Theorem 3: from particle trajectories to the Wasserstein distance of the law; the particle rate is an ingredient."""

from __future__ import annotations

from typing import Any

import sympy

from theory import hypotheses as hyp
from theory.constants import COUPLING, SAMPLING, quiet
from theory.gronwall import Ops
from theory.theorem import Scope, Terms, Theorem, Witness

RATE_NOTE = (
    "Assumption 2 of the paper takes the particle rate N^(-1/2). For i.i.d. particles that is no theorem: the rate is "
    "sqrt(log N/N) in d = 2 and N^(-1/3) in d = 3, where no N-point measure whatever is closer than the floor shown."
)


def formula(ops: Ops, *, coupling_rms: Any, sampling_w1: Any) -> Terms:
    """E W1(mu~, f) <= E sqrt(E(t)) + E W1(mu-, f)."""
    return {"trajectories": ops.now(coupling_rms), "sampling": ops.now(sampling_w1)}


THEOREM = Theorem(
    id="thm3",
    title="Theorem 3: lifting to the law",
    source="Theorem 3 (Section 4.4); mean-field reference particles, the particle rate explicit",
    statement=r"E\,W_1(\tilde\mu_t,f_t)\le E\sqrt{\mathcal E(t)}+E\,W_1(\bar\mu_t,f_t)",
    bounds="mean_w1",
    ingredients=(COUPLING, SAMPLING),
    hypotheses=(hyp.FRESH,),
    formula=formula,
    witnesses=(
        Witness(
            "point mass carried along by t: equality",
            {**quiet(COUPLING, SAMPLING), "coupling_rms": lambda t: t},
            lambda t: t,
            sharp=True,
        ),
        Witness(
            "exact flow: only the sampling error is left",
            {**quiet(COUPLING, SAMPLING), "sampling_w1": lambda t: sympy.Rational(1, 3)},
            lambda t: 0 * t + sympy.Rational(1, 3),
            sharp=True,
        ),
    ),
    notes=(RATE_NOTE,),
    scope=Scope.INSTANT,
)
