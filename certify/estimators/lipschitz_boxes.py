"""Verified constants on the ball from boxes: learned score, its error, the learned Maxwell drift and its log-norm.

One search per judgement gives them all, panel by panel (``certify.verified``). The Jacobian of the drift is bounded
itself, not the product of constants of Lemma 1, which loses the cancellation in A(v-w)(s~(v)-s~(w)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.residual_energy import judged
from certify.run import HasNetwork
from certify.verified.product import spectral_product
from certify.verified.score import WORK, Path, Question, bounds
from certify.verified.search import Ball
from theory.bkw import Bkw
from theory.perceptron import Perceptron
from theory.provenance import Array, Estimate, Rigor, Side, exact


@dataclass(frozen=True, eq=False)
class Found:
    """Upper bounds at the nodes of the grid by name, and how they were obtained."""

    upper: Mapping[str, Array]
    detail: Mapping[str, Any]


_FOUND: WeakKeyDictionary[Context, Found | None] = WeakKeyDictionary()


def network_of(context: Context) -> Perceptron | None:
    """The score network's weights, if the run shows them."""
    run = context.run
    return run.network("score") if isinstance(run, HasNetwork) else None


def ball_of(context: Context) -> Ball:
    """The ball on which constants hold."""
    return Ball(np.zeros(context.problem.d), context.radius)


def found_boxes(context: Context) -> Found | None:
    """The search, once per context; None without the weights of a score network."""
    if context not in _FOUND:
        net = network_of(context)
        _FOUND[context] = None if net is None else _search(context, net)
    return _FOUND[context]


def _search(context: Context, net: Perceptron) -> Found:
    grid, problem = context.grid, context.problem
    panels = len(grid.edges) - 1
    layers = context.run.layers("score")
    solution = problem.exact if isinstance(problem.exact, Bkw) else None
    path = None
    if problem.kernel.is_maxwell and (particles := judged(context)) is not None:
        shape = (panels, -1, *particles.x.shape[1:])
        path = Path(grid.nodes, particles.x.reshape(shape), particles.score.reshape(shape))
    product = spectral_product(layers) if layers is not None else np.inf
    question = Question(net, grid.edges, ball_of(context), product, solution, problem.kernel.strength, path)
    seen: dict[str, Array] = {}
    if solution is not None:  # where the exact score is singular there is nothing to search for
        singular = np.array([not np.isfinite(solution.score_lipschitz(t)) for t in grid.edges])
        seen["error"] = np.where(singular[:-1] | singular[1:], np.inf, 0.0)
    upper, _, search = bounds(question, work=WORK[context.options.quick], seen=seen)
    detail = {
        "boxes": search.boxes,
        "seconds": round(search.seconds, 2),
        "converged": search.reached,
        "radius": context.radius,
        "panels": panels,
    }
    per_node = {k: np.repeat(x, grid.nodes.shape[1]) for k, x in upper.items()}
    return Found(per_node, detail)


def compute(context: Context) -> dict[str, Estimate]:
    """Estimates of the search; what the theorems use of it is combined in ``lipschitz``."""
    found = found_boxes(context)
    if found is None:
        return {}
    ball = f"|v| <= {context.radius:g}"
    method = f"Taylor models over {found.detail['boxes']} boxes, {ball}, all times of a panel"

    def estimate(name: str, text: str = method) -> Estimate:
        return Estimate(found.upper[name], Side.UPPER, Rigor.VERIFIED, text, detail=found.detail)

    out = {
        "learned_score_lipschitz_boxes": estimate("lipschitz"),
        "learned_score_log_norm": estimate("log_norm"),
    }
    if "drift_lipschitz" in found.upper:
        text = f"Taylor models over {found.detail['boxes']} boxes, {ball}, moments of the judged particles at the nodes"
        out["learned_drift_lipschitz"] = estimate("drift_lipschitz", text)
        out["learned_drift_log_norm"] = estimate("drift_log_norm", text)
    return out


def exact_drift(context: Context) -> dict[str, Estimate]:
    """Lipschitz and one-sided constant of the exact drift on R^d (closed form); nothing where they are infinite."""
    solution = context.exact
    if solution is None:
        return {}
    nodes = context.grid.flat
    values = {
        "drift_lipschitz": np.array([solution.drift_lipschitz(t) for t in nodes]),
        "drift_log_norm": np.array([solution.drift_one_sided(t) for t in nodes]),
    }
    return {k: exact(x, "closed form, all of R^d", oracle=True) for k, x in values.items() if np.isfinite(x).all()}


_BOXES = (
    "learned_score_lipschitz_boxes",
    "learned_score_log_norm",
    "learned_drift_lipschitz",
    "learned_drift_log_norm",
)
ESTIMATOR = (
    Estimator(
        id="lipschitz_boxes",
        provides=dict.fromkeys(_BOXES, Side.UPPER),
        rigor=Rigor.VERIFIED,
        uses_exact_solution=False,
        compute=compute,
        why_not="a run that shows the weights of its score network (and the Maxwell kernel for the drift)",
    ),
    Estimator(
        id="drift_exact",
        provides={"drift_lipschitz": Side.BOTH, "drift_log_norm": Side.BOTH},
        rigor=Rigor.EXACT,
        uses_exact_solution=True,
        compute=exact_drift,
        why_not="the exact solution of the problem, with a Lipschitz drift on the window",
    ),
)
