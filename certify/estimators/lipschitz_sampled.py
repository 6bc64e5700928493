"""Lower values of the suprema that ``lipschitz`` bounds: largest difference quotients, with local ascent.

A quotient |g(x + h e) - g(x - h e)|/2h never exceeds Lip g, and e.(g(x + h e) - g(x - h e))/2h never the log-norm, both
being averages of the Jacobian along the segment: lower values, not approximations. They are a lower estimate of a
supremum, and only that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.residual_energy import field_drift, judged
from theory.provenance import Array, Estimate, Rigor, Side

Nodes = NDArray[np.int64]
Field = Callable[[Nodes, Array], Array]
"""(node index (m,), points (m, n, d)) -> (m, n, d)."""

STEP = 1e-3


def quotients(field: Field, nodes: Nodes, x: Array, symmetric: bool) -> Array:
    """Largest quotient at every point x (m, n, d), along the worst direction of the difference Jacobian: (m, n).

    ``symmetric``: the log-norm's quotient, else the Lipschitz constant's. What rounding may add is taken off.
    """
    d, n = x.shape[-1], x.shape[1]
    steps = STEP * np.eye(d)
    around = np.concatenate([x + e for e in steps] + [x - e for e in steps], axis=1)
    value = field(nodes, around).reshape(len(nodes), 2 * d, n, d)
    jacobian = np.moveaxis((value[:, :d] - value[:, d:]) / (2 * STEP), 1, -1)  # (m, n, d, d)
    direction = _direction(jacobian, symmetric)
    ends = field(nodes, np.concatenate([x + STEP * direction, x - STEP * direction], axis=1))
    change = (ends[:, :n] - ends[:, n:]) / (2 * STEP)
    size = np.sum(change * direction, axis=-1) if symmetric else np.linalg.norm(change, axis=-1)
    return np.asarray(size - 1e-13 * (1 + np.abs(ends).max()) / STEP)


def _direction(jacobian: Array, symmetric: bool) -> Array:
    if symmetric:
        return np.asarray(np.linalg.eigh((jacobian + np.swapaxes(jacobian, -1, -2)) / 2)[1][..., -1])
    return np.asarray(np.linalg.svd(jacobian)[2][..., 0, :])


def largest(
    field: Field,
    nodes: Nodes,
    radius: float,
    d: int,
    rng: np.random.Generator,
    symmetric: bool,
    points: int,
    steps: int,
) -> tuple[Array, Array]:
    """Largest quotient found at every node (m,) and where (m, d): random points of the ball, then local ascent.

    The ascent tries random moves around the best points, of a size that shrinks.
    """
    inner = radius - 2 * STEP  # the quotient's ends stay in the ball
    x = rng.standard_normal((points, d))
    # half of them uniform in the radius: the score bends most near the core, which has little volume
    power = np.where(np.arange(points) % 2 == 0, 1.0, 1 / d)
    x *= (inner * rng.random(points) ** power / np.linalg.norm(x, axis=1))[:, None]
    x = np.broadcast_to(x, (len(nodes), *x.shape))
    value = quotients(field, nodes, x, symmetric)
    few = min(4, points)
    best = np.argsort(-value, axis=1)[:, :few]
    x, value = np.take_along_axis(x, best[..., None], 1), np.take_along_axis(value, best, 1)
    size = radius / points ** (1 / d)
    for _ in range(steps):
        moved = x + size * rng.standard_normal(x.shape)
        moved *= np.minimum(1.0, inner / np.linalg.norm(moved, axis=-1, keepdims=True))
        new = quotients(field, nodes, moved, symmetric)
        better = new > value
        x, value = np.where(better[..., None], moved, x), np.where(better, new, value)
        size *= 0.8
    k = np.argmax(value, axis=1)
    rows = np.arange(len(nodes))
    return value[rows, k], x[rows, k]


def fields(context: Context) -> dict[str, Field]:
    """The learned score, its error and the learned drift at the quadrature times, as far as they are known."""
    run, times = context.run, context.grid.flat
    if run.layers("score") is None:
        return {}

    def score(nodes: Nodes, x: Array) -> Array:
        value = run.score(times[nodes], x)
        if value is None:
            raise ValueError("the run has no score network")
        return value

    out: dict[str, Field] = {"learned_score": score}
    solution = context.exact
    if solution is not None:

        def error(nodes: Nodes, x: Array) -> Array:
            true = np.stack([solution.score(t, y) for t, y in zip(times[nodes], x, strict=True)])
            return score(nodes, x) - true

        out["error"] = error
    particles = judged(context)
    if context.problem.kernel.is_maxwell and particles is not None:
        drawn = particles

        def drift(nodes: Nodes, x: Array) -> Array:
            s, (m, n, _) = score(nodes, x), x.shape
            weights = np.concatenate([np.zeros(n), np.ones(drawn.x.shape[1])])
            at = [
                field_drift(
                    context.problem.kernel,
                    np.concatenate([x[k], drawn.x[nodes[k]]]),
                    np.concatenate([s[k], drawn.score[nodes[k]]]),
                    weights,
                )
                for k in range(m)
            ]
            return np.stack(at)[:, :n]

        out["drift"] = drift
    return out


_WANTED = {
    "learned_score_lipschitz_ball_sampled": ("learned_score", False),
    "learned_score_log_norm_sampled": ("learned_score", True),
    "error_lipschitz_ball_sampled": ("error", False),
    "learned_drift_lipschitz_sampled": ("drift", False),
    "learned_drift_log_norm_sampled": ("drift", True),
}


def compute(context: Context) -> dict[str, Estimate]:
    """Lower values at every node: ascent at the middle node of each panel, its best point tried at the other nodes."""
    known, grid, d = fields(context), context.grid, context.problem.d
    per_panel = grid.nodes.shape[1]
    middle = np.arange(len(grid.nodes)) * per_panel + per_panel // 2
    every = np.arange(grid.n_nodes)
    points, steps = (60, 6) if context.options.quick else (150, 12)
    out = {}
    for name, (which, symmetric) in _WANTED.items():
        if which not in known:
            continue
        began = time.monotonic()
        rng = context.rng(name)
        _, x = largest(known[which], middle, context.radius, d, rng, symmetric, points, steps)
        x = np.repeat(x, per_panel, axis=0)[:, None]
        with np.errstate(invalid="ignore"):
            value = quotients(known[which], every, x, symmetric)[:, 0]
        if not np.isfinite(value).all():
            continue
        method = f"largest difference quotient of {points} points of B_R and {steps} steps of ascent per panel"
        detail = {"seconds": round(time.monotonic() - began, 2), "points": points}
        oracle = which == "error"
        out[name] = Estimate(value, Side.LOWER, Rigor.SAMPLED, method, uses_exact_solution=oracle, detail=detail)
    return out


ESTIMATOR = Estimator(
    id="lipschitz_sampled",
    provides=dict.fromkeys(_WANTED, Side.LOWER),
    rigor=Rigor.SAMPLED,
    uses_exact_solution=False,
    compute=compute,
    why_not="a score network (the exact solution for the error, the Maxwell kernel for the drift)",
)
