"""S4 attacked: L2 distance weighted by the Maxwellian, of a perturbed exact flow with Sigma = T I (THEORY 6.4)."""

from __future__ import annotations

import numpy as np

from paper_checks.check import Check, Finding, Trial
from paper_checks.landau_pinn.stability_flows import Base, Seen, attack, bound, normalised


def _sides(on: Base, seen: Seen) -> tuple[float, float]:
    given = {**seen.ingredients, "friction": on.kernel.friction, "initial_chi2": seen.chi2[0]}
    return bound(on, "stability_chi2", given), float(seen.chi2[1])


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Smallest bound/truth over perturbations."""
    trial = Trial()
    normalised(trial, quick)
    found = attack(trial, "S4", _sides, rng, quick)
    return trial.finding(f"smallest ratio bound/truth of the squared distances {min(found):.4f}, T = 1")


CHECK = Check(
    id="stability_chi2",
    statement="S4, Maxwell, Sigma = T I: |f~ - f|^2_L2(1/M) <= e^(-2(d-1)C(t-t0)) |.|^2(t0) + int e^(-2(d-1)C(t-s)) "
    "int e.A^-1 e f~^2/M ds, which is at most (C(d-1)T)^-1 int e^(..) int |e|^2 f~^2/M.",
    source="THEORY 6.4",
    how="numerical",
    expected="holds",
    run=run,
)
