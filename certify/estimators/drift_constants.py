"""Measured sizes that Lemma 1 bounds: the drift's own Lipschitz constant, and learned against exact drift."""

from __future__ import annotations

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from theory.provenance import Array, Estimate, Rigor, Side


def compute(context: Context) -> dict[str, Estimate]:
    """At the report times; the closed form of Lip U holds on R^d and is attained well inside the ball."""
    solution, times = context.exact, context.times
    if solution is None:
        return {}
    out: dict[str, Estimate] = {}

    def both(name: str, value: Array, method: str, rigor: Rigor) -> None:
        for side in (Side.LOWER, Side.UPPER):
            key = f"measured_{name}_{side.value}"
            out[key] = Estimate(value, side, rigor, method, uses_exact_solution=True)

    constant = getattr(solution, "drift_lipschitz", None)
    if constant is not None:
        lip = np.array([constant(t) for t in times])
        if np.isfinite(lip).all():
            both("drift_lipschitz", lip, "closed form on R^d", Rigor.EXACT)
    particles = context.particles
    x = context.run.flow(times, particles)
    score = context.run.score(times, x)
    if score is not None:
        learned = np.stack([context.pair_drift(y, s) for y, s in zip(x, score, strict=True)])
        true = np.stack([solution.drift(t, y) for t, y in zip(times, x, strict=True)])
        gap = np.sqrt(np.mean(np.sum((true - learned) ** 2, axis=-1), axis=-1))
        if np.isfinite(gap).all():
            both("drift_mismatch", gap, f"{len(particles)} learned particles, exact drift", Rigor.NUMERICAL)
    return out


ESTIMATOR = Estimator(
    id="drift_constants",
    provides={
        f"measured_{n}_{s.value}": s for n in ("drift_lipschitz", "drift_mismatch") for s in (Side.LOWER, Side.UPPER)
    },
    rigor=Rigor.EXACT,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution",
)
