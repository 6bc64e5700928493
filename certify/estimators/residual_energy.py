"""Residual of the characteristic ODE, d_t T - U~(T), at fresh particles driven by their own learned drift."""

from __future__ import annotations

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from theory.provenance import Array, Estimate, Rigor, Side


def _energy(context: Context, particles: Array) -> Array | None:
    """R(t) = mean |rho_i|^2 at the quadrature times."""
    nodes, run = context.grid.flat, context.run
    if run.layers("score") is not None:
        x, velocity = run.velocity(nodes, particles)
        score = run.score(nodes, x)
    else:
        jets = run.jets(nodes, particles)
        if jets is None:
            return None
        x, velocity = jets.value, jets.dt
        score = jets.pushforward_score(context.problem.initial.score(particles))
    if score is None:
        return None
    drift = np.stack([context.pair_drift(y, s) for y, s in zip(x, score, strict=True)])
    return np.asarray(np.mean(np.sum((velocity - drift) ** 2, axis=-1), axis=-1))


def compute(context: Context) -> dict[str, Estimate]:
    """Residual energy of the judged particles (deterministic), and as one draw of its expectation (sampled)."""
    energy = _energy(context, context.particles)
    if energy is None or not np.isfinite(energy).all():
        return {}
    which = "learned score" if context.run.layers("score") is not None else "pushforward score (no score network)"
    method = f"{len(context.particles)} fresh particles, {which}"
    return {
        "residual_energy": Estimate(energy, Side.BOTH, Rigor.NUMERICAL, method),
        "residual_rms": Estimate(np.sqrt(energy), Side.BOTH, Rigor.NUMERICAL, method),
        "residual_energy_mean": Estimate(
            energy, Side.NONE, Rigor.SAMPLED, f"one draw of {method} (no confidence claimed for its expectation)"
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
