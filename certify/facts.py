"""Facts that decide the hypotheses (see ``theory.hypotheses`` for what each means)."""

from __future__ import annotations

from typing import Any

import numpy as np

from certify.context import Context
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
        "training_particles": False,
        "uniqueness": _uniqueness(context),
    }
    start = run.flow(np.array([t0]), context.rule.nodes)[0]
    facts["identity_gap"] = float(np.max(np.abs(start - context.rule.nodes)))
    facts["proper_growth"] = _growth_along_rays(context, nodes)
    pushed = context.pushed
    if pushed is not None:
        facts["min_det"] = np.nan_to_num(pushed.det, nan=-np.inf).min(axis=1)
        facts["stein"], facts["stein_error"] = pushed.stein
    reach = [np.linalg.norm(run.flow(context.window.flat, context.particles), axis=-1).max()]
    if context.exact is not None:
        facts["score_lipschitz"] = np.array([context.exact.score_lipschitz(t) for t in nodes])
        facts["score_lipschitz_start"] = context.exact.score_lipschitz(context.start)
        reach += [np.linalg.norm(context.exact.flow(t, context.particles), axis=-1).max() for t in context.times]
    facts["max_radius"] = float(max(reach))
    return facts


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
