"""Gelbrich's bound from means and covariances lies below W2, exact by Brenier's theorem (THEORY 6.4, two-sided)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from paper_checks.check import Check, Finding, Trial
from paper_checks.landau_pinn.stability_flows import RULE, Base, Seen, attack, gelbrich, normalised
from paper_checks.search import ascend
from theory.provenance import Array


def _sides(_: Base, seen: Seen) -> tuple[float, float]:
    return float(seen.w2[1]), float(seen.gelbrich[1])  # here W2 is the upper side


def _clouds(trial: Trial, d: int, rng: np.random.Generator, quick: bool) -> float:
    """W2 between two point clouds by assignment, over Gelbrich's bound, made small by moving the points."""
    n = 6

    def quotient(points: Array) -> Array:
        found = []
        for p in points:
            x, y = p.reshape(2, n, d)
            cost = cdist(x, y, "sqeuclidean")
            rows, columns = linear_sum_assignment(cost)
            low = gelbrich(x.mean(0), np.cov(x.T, bias=True), y.mean(0), np.cov(y.T, bias=True))
            found.append(low / np.sqrt(cost[rows, columns].mean()))
        return np.array(found)

    best, _, tries = ascend(quotient, rng.standard_normal((4, 2 * n * d)), rng, lambda p: p, steps=40 if quick else 400)
    trial.ratio(1 + 1e-9, best, f"Gelbrich <= W2 of two clouds, d = {d}", tries)
    return 1 / best


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Smallest W2/Gelbrich over perturbed flows (affine ones attain it) and over point clouds."""
    trial = Trial()
    normalised(trial, quick)
    found = attack(trial, "Gelbrich <= W2", _sides, rng, quick)
    clouds = [_clouds(trial, d, rng, quick) for d in (2, 3)]
    trial.claim(max(found) < 1 + 10 * RULE, "affine maps attain Gelbrich's bound")
    return trial.finding(
        f"smallest W2/Gelbrich: perturbed flows {min(found):.7f} (affine maps attain it), point clouds "
        f"{min(clouds):.7f}"
    )


CHECK = Check(
    id="stability_gelbrich",
    statement="Two-sided: |m - m'|^2 + Bures^2(S, S') <= W2^2, with equality for affine maps by a positive matrix.",
    source="THEORY 6.4 (Gelbrich 1990)",
    how="numerical",
    expected="holds",
    run=run,
)
