"""Residual of the characteristic ODE, d_t T - U~(T), at fresh particles driven by their own learned drift."""

from __future__ import annotations

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from theory.provenance import Array, Estimate, Rigor, Side

REPLICATES = 4


def _energy(context: Context, particles: Array) -> Array | None:
    """R(t) = mean |rho_i|^2 at the quadrature times."""
    nodes = context.grid.flat
    jets = context.run.jets(nodes, particles)
    if jets is None:
        return None
    score = context.run.score(nodes, jets.value)
    if score is None:
        score = jets.pushforward_score(context.problem.initial.score(particles))
    drift = np.stack([context.pair_drift(x, s) for x, s in zip(jets.value, score, strict=True)])
    return np.asarray(np.mean(np.sum((jets.dt - drift) ** 2, axis=-1), axis=-1))


def compute(context: Context) -> dict[str, Estimate]:
    """Residual energy of the judged particles (deterministic) and its mean over fresh sets (sampled)."""
    energy = _energy(context, context.particles)
    if energy is None or not np.isfinite(energy).all():
        return {}
    n = len(context.particles)
    rng = context.rng("residual replicates")
    others = [_energy(context, context.problem.initial.sample(n, rng)) for _ in range(REPLICATES)]
    mean = np.mean([x for x in others if x is not None], axis=0)
    which = "learned score" if context.run.layers("score") is not None else "pushforward score (no score network)"
    return {
        "residual_energy": Estimate(energy, Side.BOTH, Rigor.NUMERICAL, f"{n} fresh particles, {which}"),
        "residual_rms": Estimate(np.sqrt(energy), Side.BOTH, Rigor.NUMERICAL, f"{n} fresh particles, {which}"),
        "residual_energy_mean": Estimate(
            mean, Side.NONE, Rigor.SAMPLED, f"mean over {REPLICATES} fresh sets of {n} particles (no confidence claimed)"
        ),
    }


ESTIMATOR = Estimator(
    id="residual_energy",
    provides={"residual_energy": Side.BOTH, "residual_rms": Side.BOTH, "residual_energy_mean": Side.NONE},
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=False,
    compute=compute,
    why_not="a flow that gives its time derivative",
)
