"""The theorems' constants as the judged particles see them: largest values at their positions, lower values of suprema.

The theorems take suprema over the ball B_R. Beside them stands what the particles meet, node by node, so that an error
budget can show what the worst case costs.
"""

from __future__ import annotations

import time

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.lipschitz_boxes import network_of
from certify.estimators.lipschitz_sampled import Field, Nodes, quotients
from theory.provenance import Array, Estimate, Rigor, Side

PARTICLES, PAIRED = 40, 40


def compute(context: Context) -> dict[str, Estimate]:
    """Lower values of the constants of Assumption 1 at every node of the grid."""
    began = time.monotonic()
    nodes, start = context.grid.flat, context.particles[: PARTICLES // (2 if context.options.quick else 1)]
    kernel, solution = context.problem.kernel, context.exact
    x = context.run.flow(nodes, start)
    pair = _differences(x[:, :PAIRED])
    size = np.linalg.norm(pair, axis=-1).max((1, 2))
    out = {"kernel_bound_sampled": _largest_norm(kernel.matrix(pair))}
    if kernel.is_maxwell:
        out["kernel_lipschitz_sampled"] = 2 * kernel.strength * size  # ||DA(z)|| = 2 C |z|
    every = np.arange(len(nodes))
    exact_at = x if solution is None else np.stack([solution.flow(t, start) for t in nodes])
    score = _learned(context)
    if solution is not None:

        def true(k: Nodes, points: Array) -> Array:
            return np.stack([solution.score(t, y) for t, y in zip(nodes[k], points, strict=True)])

        out["score_lipschitz_sampled"] = quotients(true, every, exact_at, False).max(1)
        out["score_oscillation_sampled"] = _oscillation(true(every, exact_at[:, :PAIRED]))
    if score is not None:
        known = score
        out["learned_score_lipschitz_sampled"] = quotients(known, every, x, False).max(1)
        out["learned_score_oscillation_sampled"] = _oscillation(known(every, x[:, :PAIRED]))
        if solution is not None:
            error = quotients(lambda k, points: known(k, points) - true(k, points), every, x, False)
            out["error_lipschitz_sampled"] = error.max(1)
    seconds = round(time.monotonic() - began, 2)
    method = f"largest of {len(start)} judged particles (pairs of {PAIRED}) at each node"
    detail = {"seconds": seconds, "particles": len(start)}
    oracle = {"score_lipschitz_sampled", "score_oscillation_sampled", "error_lipschitz_sampled"}
    return {
        name: Estimate(value, Side.LOWER, Rigor.SAMPLED, method, uses_exact_solution=name in oracle, detail=detail)
        for name, value in out.items()
        if np.isfinite(value).all()
    }


def _learned(context: Context) -> Field | None:
    """The learned score at the quadrature times; None without a score network."""
    net, nodes, run = network_of(context), context.grid.flat, context.run
    if net is not None:
        return lambda k, x: net(nodes[k], x)
    if run.score(nodes[:1], np.zeros((1, 1, run.d))) is None:
        return None

    def score(k: Nodes, x: Array) -> Array:
        value = run.score(nodes[k], x)
        if value is None:
            raise ValueError("the score network is gone")
        return value

    return score


def _differences(x: Array) -> Array:
    return np.asarray(x[:, :, None] - x[:, None, :])


def _largest_norm(a: Array) -> Array:
    """Largest eigenvalue of the positive semidefinite A over the pairs of each node."""
    return np.asarray(np.linalg.eigvalsh(a)[..., -1].max((1, 2)))


def _oscillation(values: Array) -> Array:
    """Largest |g(x) - g(y)| over pairs, (m,)."""
    return np.asarray(np.linalg.norm(_differences(values), axis=-1).max((1, 2)))


_IDS = (
    "kernel_bound",
    "kernel_lipschitz",
    "score_lipschitz",
    "score_oscillation",
    "learned_score_lipschitz",
    "learned_score_oscillation",
    "error_lipschitz",
)
ESTIMATOR = Estimator(
    id="constants_sampled",
    provides={f"{name}_sampled": Side.LOWER for name in _IDS},
    rigor=Rigor.SAMPLED,
    uses_exact_solution=False,
    compute=compute,
    why_not="a score network (learned constants), the exact solution (those of the score), the Maxwell kernel (L_A)",
)
