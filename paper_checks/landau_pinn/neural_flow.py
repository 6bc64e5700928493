"""The learned flow (2.9) and the measure it carries (3.5), against the equation (3.4) it is said to solve."""

from __future__ import annotations

import numpy as np

from paper_checks.check import Check, Finding, Trial
from paper_checks.landau_pinn.hyvarinen import RandomField
from paper_checks.numerics import derivative, largest, runge_kutta
from theory import drift
from theory.kernels import Kernel, maxwell, mollified_coulomb
from theory.provenance import Array


def _well_posed(trial: Trial, kernel: Kernel, rng: np.random.Generator) -> None:
    """(3.4) with any smooth score keeps momentum and energy, so every particle stays in a ball: |z_i|^2 <= N E."""
    n = int(rng.integers(2, 9))
    score = RandomField.draw(kernel.d, rng)
    start, weights = rng.standard_normal((n, kernel.d)), np.full(n, 1 / n)

    def rate(_: float, x: Array) -> Array:
        return drift.pair_drift(kernel, x, score(x)[0], weights)

    end = runge_kutta(rate, 0.0, 1.0, start, 200)
    where = f"{kernel.id}, d = {kernel.d}, N = {n}"
    trial.small(largest(end.mean(0) - start.mean(0)), 1e-10, f"(3.4) keeps the mean, {where}")
    trial.small(abs(float(np.sum(end**2) - np.sum(start**2))), 1e-5, f"(3.4) keeps the energy, {where}")
    spread = float(np.sum((start - start.mean(0)) ** 2))
    farthest = float(np.max(np.sum((end - end.mean(0)) ** 2, axis=1)))
    trial.claim(farthest <= spread * (1 + 1e-5), f"particles stay in the ball of radius sqrt(N E), {where}")


def _residual(trial: Trial, kernel: Kernel, rng: np.random.Generator) -> float:
    """A flow map that is no solution of (3.4): X~' = U~ + rho holds with a residual rho that is not zero."""
    tilt, score = 0.3 * rng.standard_normal((kernel.d, kernel.d)), RandomField.draw(kernel.d, rng)
    v, t = rng.standard_normal((8, kernel.d)), 0.7

    def flow(s: float) -> Array:  # T(0, v) = v
        return v + np.tanh(s) * np.tanh(v @ tilt)

    x = flow(t)
    velocity = (1 - np.tanh(t) ** 2) * np.tanh(v @ tilt)
    trial.small(largest(derivative(flow, t) - velocity), 1e-9, "velocity of the flow map")
    rho = velocity - drift.pair_drift(kernel, x, score(x)[0], np.full(len(x), 1 / len(x)))
    return float(np.sqrt(np.mean(np.sum(rho**2, axis=1))))


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Well-posedness of (3.4), and what a network solves instead."""
    trial = Trial()
    residuals = []
    for d in (2, 3):
        for kernel in (maxwell(d, 0.1), mollified_coulomb(d, 0.1, 0.8)):
            for _ in range(1 if quick else 8):
                _well_posed(trial, kernel, rng)
                residuals.append(_residual(trial, kernel, rng))
    trial.claim(min(residuals) > 1e-3, "a generic flow map has a residual")
    return trial.finding(
        "(3.4) with any smooth score has global solutions: momentum and energy of (3.5) are conserved, so |X_i - mean| "
        "<= sqrt(N E) (checked by Runge-Kutta). Change: the network's X~ = T(t, v_i) of (2.9) solves (3.4) only with "
        f"the residual of Section 3.3 added, X~' = U~(X~) + rho (a random flow map: RMS rho {min(residuals):.2g} to "
        f"{max(residuals):.2g}); neither (2.9) nor (3.5) conserves anything by construction",
        "holds with this change",
    )


CHECK = Check(
    id="neural_flow",
    statement="The learned particles X~_i = T(t, v_i) follow X~' = U~(X~) with the drift of the learned score and "
    "their own empirical measure, the pushforward of the initial one.",
    source="(2.9), (3.4)-(3.5)",
    how="numerical",
    expected="holds with this change",
    run=run,
)
