"""Facts that decide the hypotheses (see ``theory.hypotheses`` for what each means)."""

from __future__ import annotations

from typing import Any

import numpy as np

from certify.context import Context
from certify.pushforward import Pushforward
from theory.provenance import Array


def gather(context: Context) -> dict[str, Any]:
    """Facts about the run on the problem; a fact that cannot be had is absent."""
    problem, run, nodes = context.problem, context.run, context.grid.flat
    t0 = float(problem.t0)
    facts: dict[str, Any] = {
        "fact_times": nodes,
        "problem_t0": t0,
        "smooth": run.smooth(),
        "diffeomorphism": run.diffeomorphism(),
        "jump": problem.initial.regularity(),
        "maxwell": problem.kernel.is_maxwell,
        "radius": context.radius,
        "training_particles": _reused(context),
        "uniqueness": _uniqueness(context),
    }
    covariance = problem.initial.covariance()
    temperature = float(np.trace(covariance)) / problem.d
    facts["covariance_gap"] = float(np.linalg.norm(covariance - temperature * np.eye(problem.d))) / temperature
    start = run.flow(np.array([t0]), context.rule.nodes)[0]
    facts["identity_gap"] = float(np.max(np.abs(start - context.rule.nodes)))
    facts["proper_growth"] = _growth_along_rays(context, nodes)
    facts["identity_beyond"] = getattr(run, "identity_beyond", None)
    pushed = context.pushed
    if pushed is not None:
        facts["min_det"] = np.nan_to_num(pushed.det, nan=-np.inf).min(axis=1)
        facts["fold"] = _fold(pushed)
        facts["stein"], facts["stein_error"] = pushed.stein
        if problem.kernel.is_maxwell:
            facts["chi2_decay"] = _weight_decay(pushed)
            facts["chi2_bound"] = _weight_bound(context, nodes)
    reach = [np.linalg.norm(run.flow(context.window.flat, context.particles), axis=-1).max()]
    if context.exact is not None:
        facts["score_lipschitz"] = np.array([context.exact.score_lipschitz(t) for t in nodes])
        facts["score_lipschitz_start"] = context.exact.score_lipschitz(context.start)
        outside = max(context.exact.tail_moment(t, context.radius, 0) for t in context.times)
        facts["expected_outside"] = len(context.particles) * outside
        reach += [np.linalg.norm(context.exact.flow(t, context.particles), axis=-1).max() for t in context.times]
    facts["max_radius"] = float(max(reach))
    return facts


def _fold(pushed: Pushforward) -> tuple[float, float] | None:
    """Smallest |v - mean| of a node at which det J <= 0 at some time, and the mass of f0 beyond; None without one."""
    initial = pushed.problem.initial
    folded = ~(pushed.det > 0).all(axis=0)
    if not folded.any():
        return None
    radius = float(np.linalg.norm(pushed.rule.nodes[folded] - initial.mean(), axis=1).min())
    return radius, initial.tail_moment(radius, 0)


def _reused(context: Context) -> bool:
    """Whether a judged particle is one that the run says it was trained on (``trained_on``, optional)."""
    known = getattr(context.run, "trained_on", lambda: None)()
    if known is None:
        return False  # drawn now, from the report's own generator
    return bool({v.tobytes() for v in np.asarray(known)} & {v.tobytes() for v in context.particles})


def _uniqueness(context: Context) -> str:
    if context.problem.kernel.is_maxwell:
        return "Maxwell molecules, finite energy: the solution is unique (Villani 1998)"
    return "mollified kernel: globally Lipschitz coefficients, so the mollified equation has a unique solution"


def _growth_along_rays(context: Context, times: Array) -> Array:
    """Smallest |T(10 R w)| / |T(R w)| over sampled directions w, with R ten times the truncation radius."""
    directions = context.rng("rays").standard_normal((64, context.problem.d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    near = 10 * context.rule.radius * directions
    inner = np.linalg.norm(context.run.flow(times, near), axis=-1)
    outer = np.linalg.norm(context.run.flow(times, 10 * near), axis=-1)
    return np.asarray((outer / inner).min(axis=1))


def _weight_decay(pushed: Pushforward) -> Array:
    """Smallest -2 T s_push.z/|z|^2 over the outermost panel, (m,): above 1 where f~^2/M decreases outwards."""
    problem, rule = pushed.problem, pushed.rule
    mean, covariance = problem.moments(float(problem.t0))
    outer = rule.panel == rule.panel.max()
    z = pushed.flow[:, outer] - mean
    inward = -np.sum(pushed.score[:, outer] * z, axis=-1) / np.sum(z * z, axis=-1)
    return np.asarray(np.nan_to_num(2 * np.trace(covariance) / problem.d * inward, nan=-np.inf).min(axis=1))


def _weight_bound(context: Context, times: Array) -> Array | None:
    """2 T/(b^2 K) at the times, |T| <= a + b|v| by construction and f0 <= const e^(-|v|^2/2K'), every K' > K.

    None where the flow gives no growth bound or the initial density does not name K (``tail_variance``).
    """
    problem = context.problem
    growth = context.run.growth(times, context.rule.radius)
    tail = getattr(problem.initial, "tail_variance", None)
    if growth is None or tail is None:
        return None
    temperature = float(np.trace(problem.initial.covariance())) / problem.d
    return np.asarray(2 * temperature / (growth.reach[1] ** 2 * float(tail)))
