"""Theorem 3, (4.13): from particles to the law, with all expectations exact."""

from __future__ import annotations

import numpy as np

from paper_checks.check import Check, Finding, Trial
from paper_checks.formulas import InstantOps, bound, hold_witnesses
from paper_checks.landau_pinn.draws import DRAWS, mean
from paper_checks.landau_pinn.toy import ATOMS, assignment, rms
from paper_checks.search import ascend
from theory.provenance import Array


def quotient(x: Array, d: int) -> Array:
    """E W1(mu~, f) over its bound: f on three atoms, each carried to an image by the learned flow."""
    atoms, images = (part.reshape(-1, ATOMS, d) for part in np.split(x, 2, axis=1))
    truth = mean([assignment(images[:, draw], atoms) for draw in DRAWS])
    values = {
        "coupling_rms": mean([rms(images[:, draw] - atoms[:, draw]) for draw in DRAWS]),
        "sampling_w1": mean([assignment(atoms[:, draw], atoms) for draw in DRAWS]),
    }
    return np.asarray(truth / bound("thm3", InstantOps(), values))


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Witnesses and attack."""
    trial = Trial()
    hold_witnesses(trial, "thm3")
    for d in (1, 2, 3):

        def objective(x: Array, d: int = d) -> Array:
            return quotient(x, d)

        start = rng.standard_normal((24, 2 * ATOMS * d))
        found, _, tries = ascend(objective, start, rng, lambda x: np.clip(x, -9, 9), steps=150 if quick else 2000)
        trial.ratio(1.0, found, f"Theorem 3, d = {d}", tries)
    return trial.finding(
        f"smallest ratio bound/truth under attack {trial.smallest_ratio:.6f} (f on {ATOMS} atoms, N = {ATOMS}, "
        "expectations over all draws exact); sharp witnesses attained. The reference particles must be i.i.d. with law "
        "f_t (mean-field), not those of Theorem 2. (Number (4.13) inferred: the text has no formulas)"
    )


CHECK = Check(
    id="thm3_lifting",
    statement="E W1(mu~_t, f_t) <= E sqrt(E(t)) + E W1(mu-_t, f_t).",
    source="Theorem 3, (4.13)",
    how="numerical",
    expected="holds",
    run=run,
)
