"""S1 attacked: W2 of a perturbed exact flow against the integral of its defect, kappa' = 0 for Maxwell (THEORY 6.3)."""

from __future__ import annotations

import numpy as np

from paper_checks.check import Check, Finding, Trial
from paper_checks.landau_pinn.stability_flows import Base, Seen, attack, bound, normalised


def _sides(on: Base, seen: Seen) -> tuple[float, float]:
    given = {**seen.ingredients, "kappa": on.kernel.kappa, "initial_distance": seen.w2[0]}
    return bound(on, "stability_w2", given), float(seen.w2[1])


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Smallest bound/truth over perturbations."""
    trial = Trial()
    normalised(trial, quick)
    found = attack(trial, "S1", _sides, rng, quick)
    trial.claim(max(found) < 1.001, "translations attain the bound")
    return trial.finding(
        f"W2 exact by Brenier's theorem; smallest ratio bound/truth {min(found):.6f} (translations attain it: sharp)"
    )


CHECK = Check(
    id="stability_w2",
    statement="S1: W2(f~_t, f_t) <= e^(2k'(t-t0)) W2(t0) + int e^(2k'(t-s)) D(s) ds; k' = 0 for Maxwell.",
    source="THEORY 6.3",
    how="numerical",
    expected="holds",
    run=run,
)
