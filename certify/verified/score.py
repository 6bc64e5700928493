"""Verified suprema of a score network, its error and its Maxwell drift on a ball, slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from certify.verified.activations import UNIT
from certify.verified.fields import (
    Moments,
    bkw_jacobian,
    coordinates,
    deviation_bound,
    drift_jacobian,
    moments_of,
    slab_moments,
    stacked,
)
from certify.verified.network import enclose, time_box, time_features
from certify.verified.search import Ball, Blocks, Evaluate, Suprema, blocks_of, suprema
from certify.verified.taylor import Index, Taylor, log_norm, log_norm_bound, norm_bound, spectral_norm
from theory.bkw import Bkw
from theory.perceptron import Perceptron
from theory.provenance import Array

WORK = {True: 4.0e10, False: 1.8e11}
"""Multiply-adds of a quick and of a full search: about 3 s and 15 s of one core. A count, not a clock, so that the
same report gives the same numbers."""
ROOTS = 4  # blocks of time at the start


@dataclass(frozen=True, eq=False)
class Path:
    """Particles at times of the panels: ``times`` (panels, k), positions and scores (panels, k, n, d)."""

    times: Array
    x: Array
    s: Array


@dataclass(frozen=True, eq=False)
class Question:
    """What to bound on a ball and on the panels between ``edges`` (panels + 1,).

    product : float
        Lipschitz bound valid everywhere (product of spectral norms); inf if unknown.
    exact : Bkw or None
        For the score error.
    strength, path : float, Path or None
        Maxwell constant and particles, for the drift; its bounds hold at the path's times.
    """

    net: Perceptron
    edges: Array
    ball: Ball
    product: float = np.inf
    exact: Bkw | None = None
    strength: float = 0.0
    path: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Quantities bounded, in the order of the columns."""
        names = ["lipschitz", "log_norm", "deviation"]
        names += ["error"] if self.exact is not None else []
        return (*names, *(["drift_lipschitz", "drift_log_norm"] if self.path is not None else []))


def block_moments(path: Path, blocks: Blocks, times: Array) -> Moments:
    """Moments on every block, from the times inside it; a block without any claims nothing, and takes them all."""
    *summary, pad = moments_of(path.x, path.s)
    flat = [m.reshape(-1, *m.shape[2:]) for m in (*summary, pad)]
    at = path.times.ravel()
    parts = []
    for (low, high), box in zip(blocks.times, times, strict=True):
        inside = (at >= low) & (at <= high)
        chosen = np.flatnonzero(inside if inside.any() else np.ones_like(inside))
        parts.append(slab_moments(at[chosen], box, [m[chosen] for m in flat]))
    return stacked(parts)


def box_cost(net: Perceptron) -> float:
    """Multiply-adds per box: columns of the Taylor model times weights, and a part that no width changes."""
    n = net.d + 1
    columns = (1 + net.d) * (1 + n + n * (n + 1) // 2) + 6 * (1 + net.d)
    return float((columns + 60) * sum(w.size + 80 * len(w) for w, _ in net.path())) + 2e6


def evaluator(question: Question, times: Array, common: Array, moments: Moments | None) -> Evaluate:
    """Bounds over boxes, values at centres and time's share; ``times`` (blocks, 2): midpoint and half-width.

    Deviations are from the network's value in the middle of the ball at the time ``common`` (blocks,), which all blocks
    that share a time must share: only then are two values never further apart than twice the largest deviation.
    """
    net = question.net
    features = time_features(net, times)
    reference = net(common, np.broadcast_to(question.ball.middle, (len(common), 1, net.d)))[:, 0]

    def evaluate(block: Index, centre: Array, half: Array) -> tuple[Array, Array, Array]:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = enclose(net, centre, half, features[block])
            t, v = coordinates(times[block], centre, half)
            jacobian = _capped(found.jacobian, question.product)
            lipschitz = np.minimum(norm_bound(jacobian), question.product)
            gap = np.linalg.norm(found.value.c - reference[block], axis=-1) - np.linalg.norm(found.value.r, axis=-1)
            columns = [
                (lipschitz, _at_centre(jacobian, spectral_norm)),
                (np.minimum(log_norm_bound(jacobian), lipschitz), _at_centre(jacobian, log_norm)),
                (deviation_bound(found.value, reference[block]), gap),
            ]
            models = [jacobian]
            if question.exact is not None:
                true = bkw_jacobian(question.exact, t, v)
                models.append(jacobian - true)
                joint = np.minimum(norm_bound(models[-1]), norm_bound(true) + lipschitz)
                columns.append((joint, _at_centre(models[-1], spectral_norm)))
            if moments is not None:
                drift = drift_jacobian(question.strength, v, found.value, jacobian, moments.at(block))
                models.append(drift)
                columns.append((norm_bound(drift), _at_centre(drift, spectral_norm)))
                columns.append((log_norm_bound(drift), _at_centre(drift, log_norm)))
            clock = 2 * times[block, 1] / (net.T - net.t0)
            extent = clock / (clock + net.d * half.max(1))
            timely = np.mean([_time_share(m, extent) for m in models], axis=0)
        upper = np.stack([c[0] for c in columns], 1)
        lower = np.stack([c[1] for c in columns], 1)
        return np.where(np.isnan(upper), np.inf, upper), np.where(np.isnan(lower), -np.inf, lower), timely

    return evaluate


def _time_share(m: Taylor, extent: Array) -> Array:
    """Share of the variation over the box that is due to time, (B,), by the linear terms.

    ``extent``: time's share of the box in the network's own units, which decides where the remainder dominates.
    """
    size = np.abs(m.l).sum((1, 2))
    total = size.sum(1)
    good = m.r.sum((1, 2)) < total
    return np.where(good, size[:, 0] / np.where(good, total, 1.0), extent)


def _at_centre(m: Taylor, size: Callable[[Array], Array]) -> Array:
    """Norm or log-norm at the centre less what the remainder leaves open: a value that the supremum reaches."""
    known = np.asarray(np.isfinite(m.c + m.r).all((-1, -2)))
    c = np.where(known[:, None, None], m.c, 0.0)
    return np.where(known, size(c) - np.sqrt((m.r**2).sum((-1, -2))), -np.inf)


def _capped(m: Taylor, product: float) -> Taylor:
    """Entries replaced by 0 +- product where that is narrower."""
    useless = np.asarray(np.logical_not(m.spread < product))
    wide = useless[..., None]
    zero = np.zeros(())
    c, linear, q = np.where(useless, zero, m.c), np.where(wide, zero, m.l), np.where(wide, zero, m.q)
    return Taylor(c, linear, q, np.where(useless, product, m.r))


def bounds(
    question: Question, *, work: float, gap: float = 0.05, seen: Mapping[str, Array] | None = None
) -> tuple[dict[str, Array], dict[str, Array], Suprema]:
    """Upper bounds and values seen by name, (panels,) each; a log-norm may be negative.

    ``seen`` gives lower values known beforehand; they only steer the search.
    """
    net, d, panels = question.net, question.net.d, len(question.edges) - 1
    budget = max(1, int(work / box_cost(net)))
    cells, roots = 8 if d == 2 else 4, min(panels, ROOTS)
    while cells > 2 and roots * cells**d > budget / 4:
        cells -= 2
    blocks = blocks_of(question.edges, roots)
    times = time_box(blocks.times[:, 0], blocks.times[:, 1])
    moments = None if question.path is None else block_moments(question.path, blocks, times)
    known = np.full((panels, len(question.names)), -np.inf)
    for column, name in enumerate(question.names):
        known[:, column] = (seen or {}).get(name, -np.inf if name.endswith("log_norm") else 0.0)
    middle = np.clip(np.searchsorted(question.edges, times[:, 0], side="right") - 1, 0, panels - 1)
    partner = np.array([question.names.index(name.replace("log_norm", "lipschitz")) for name in question.names])
    found = suprema(
        evaluator(question, times, times[blocks.root(), 0], moments),
        blocks,
        middle,
        known,
        question.ball,
        boxes=budget,
        gap=gap,
        cells=cells,
        partner=partner,
    )
    upper = dict(zip(question.names, found.upper.T, strict=True))
    lower = dict(zip(question.names, found.lower.T, strict=True))
    return {k: x + 8 * UNIT * np.abs(x) for k, x in upper.items()}, lower, found
