"""S2 attacked: W1 and W2 of a perturbed exact flow against the damped integral of the linear defect (THEORY 6.4)."""

from __future__ import annotations

import numpy as np

from paper_checks.check import Check, Finding, Trial
from paper_checks.landau_pinn.stability_flows import Base, Seen, attack, bound, normalised


def _w2(on: Base, seen: Seen) -> tuple[float, float]:
    given = {**seen.ingredients, "friction": on.kernel.friction, "initial_distance": seen.w2[0]}
    return bound(on, "stability_wp2", given), float(seen.w2[1])


def _w1(on: Base, seen: Seen) -> tuple[float, float]:
    given = {**seen.ingredients, "friction": on.kernel.friction, "initial_distance": seen.w1_upper[0]}
    return bound(on, "stability_wp", given), float(seen.w1_lower[1])


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Smallest bound/truth over perturbations, for p = 1 and p = 2."""
    trial = Trial()
    normalised(trial, quick)
    second = attack(trial, "S2, p = 2", _w2, rng, quick)
    first = attack(trial, "S2, p = 1", _w1, rng, quick)
    return trial.finding(
        f"smallest ratio bound/truth: p = 2 {min(second):.4f} (W2 exact), p = 1 {min(first):.4f} (W1 from below by "
        "1-Lipschitz functions)"
    )


CHECK = Check(
    id="stability_wp",
    statement="S2, Maxwell: W_p(f~_t, f_t) <= e^(-(d-1)C(t-t0)) W_p(t0) + int e^(-(d-1)C(t-s)) D_p(s) ds.",
    source="THEORY 6.4",
    how="numerical",
    expected="holds",
    run=run,
)
