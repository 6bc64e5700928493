"""S3 attacked: relative entropy and L1 distance of a perturbed exact flow (Girsanov, Pinsker; THEORY 6.4)."""

from __future__ import annotations

import numpy as np

from paper_checks.check import Check, Finding, Trial
from paper_checks.landau_pinn.stability_flows import Base, Seen, attack, bound, normalised


def _kl(on: Base, seen: Seen) -> tuple[float, float]:
    return bound(on, "stability_kl", {**seen.ingredients, "initial_entropy": max(seen.kl[0], 0.0)}), float(seen.kl[1])


def _l1(on: Base, seen: Seen) -> tuple[float, float]:
    given = {**seen.ingredients, "initial_entropy": max(seen.kl[0], 0.0)}
    return bound(on, "stability_l1", given), float(seen.l1_lower[1])


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Smallest bound/truth over perturbations, for the entropy and for the density in L1."""
    trial = Trial()
    normalised(trial, quick)
    entropy = attack(trial, "S3, relative entropy", _kl, rng, quick)
    density = attack(trial, "S3, L1", _l1, rng, quick)
    return trial.finding(
        f"smallest ratio bound/truth: relative entropy {min(entropy):.4f}, L1 of the densities {min(density):.4f} (L1 "
        "from below by a bounded test function)"
    )


CHECK = Check(
    id="stability_kl",
    statement="S3, Maxwell: KL(f~_t | f_t) <= KL(t0) + 1/4 int E[e.A^-1 e] ds and |f~ - f|_L1 <= sqrt(2 KL).",
    source="THEORY 6.4",
    how="numerical",
    expected="holds",
    run=run,
)
