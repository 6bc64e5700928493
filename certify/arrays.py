"""Every plotted number of a report, by name, and what a referee needs to recompute S1-S3."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from certify.context import Context
from certify.transport import NotOptimalError, exact_w1, resolved
from theory.drift import maxwell_drift
from theory.provenance import Array, Estimate

SLICES = 3
FLOOR_DRAWS = 8


def collect(context: Context, found: Mapping[str, Estimate]) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays by name; by time, whether the sample W1 rises above its noise floor, in words."""
    out: dict[str, Array] = {}
    out |= _nodal(found)
    out |= _raw(context)
    out |= _moments(context)
    out |= _slices(context)
    out |= _residual_map(context)
    measured, words = sample_w1(context)
    return {k: np.asarray(x, dtype=np.float64) for k, x in (out | measured).items()}, words


def _nodal(found: Mapping[str, Estimate]) -> dict[str, Array]:
    names = {
        "residual_rms": "residual_rms",
        "defect": "defect",
        "defect_residual_part": "defect_residual_part",
        "defect_score_part": "defect_score_part",
        "excess_risk": "score_excess_oracle",
        "excess_risk_push": "score_excess_push",
        "excess_risk_fisher": "score_excess_fisher",
        "excess_risk_push_statistical": "score_excess_statistical",
        "ism_loss": "ism_loss",
    }
    return {array: np.asarray(found[key].value) for key, array in names.items() if key in found}


def _raw(context: Context) -> dict[str, Array]:
    """Nodes, weights and the learned flow: enough to recompute S1-S3 with numpy alone (validation/recompute.py)."""
    pushed = context.pushed
    if pushed is None:
        return {}
    squared = np.nan_to_num(np.sum(pushed.defect**2, axis=-1), posinf=0.0)
    total, error = pushed.rule.integrate(squared)
    initial, kernel, grid = context.problem.initial, context.problem.kernel, context.grid
    return {
        "defect_error": np.sqrt(total + error) - np.sqrt(np.maximum(total, 0)),
        "stein": pushed.stein[0],
        "times": context.times,
        "nodes_t": grid.flat,
        "grid_edges": grid.edges,
        "grid_fine": grid.fine.ravel(),
        "quadrature_nodes": pushed.rule.nodes,
        "quadrature_weights": pushed.rule.weights,
        "flow": pushed.flow,
        "flow_dt": pushed.dt,
        "s_push": pushed.score,
        "kernel_strength": np.array(kernel.strength),
        "kernel_maxwell": np.array(float(kernel.is_maxwell)),
        "mean0": initial.mean(),
        "cov0": initial.covariance(),
        "t_start": np.array(float(context.problem.t0)),
    }


def _moments(context: Context) -> dict[str, Array]:
    """Energy, momentum, entropy and entropy production of the learned density, beside the exact ones."""
    pushed, solution = context.pushed_at_times, context.exact
    if pushed is None:
        return {}
    weights, times = pushed.rule.weights, pushed.times
    mean, covariance = pushed.moments
    energy = np.trace(covariance, axis1=1, axis2=2) + np.sum(mean**2, axis=1)
    drift = pushed.mean_field_drift(pushed.score)
    out = {
        "moment_times": times,
        "energy_learned": energy,
        "momentum_learned": np.linalg.norm(mean, axis=1),
        "entropy_learned": np.where(np.isfinite(pushed.log_density), pushed.log_density, 0.0) @ weights,
        "entropy_rate_learned": np.sum(np.nan_to_num(drift * pushed.score), axis=-1) @ weights,
    }
    if context.problem.kernel.is_maxwell:
        exact = [context.problem.moments(t) for t in times]
        out["energy_exact"] = np.array([np.trace(c) + m @ m for m, c in exact])
    if solution is not None:
        path = context.exact_path
        out["entropy_exact"] = np.array(
            [solution.log_density(t, x) @ weights for t, x in zip(times, path, strict=True)]
        )
        rate = [
            np.sum(np.nan_to_num(solution.drift(t, x) * solution.score(t, x)), axis=1) @ weights
            for t, x in zip(times, path, strict=True)
        ]
        out["entropy_rate_exact"] = np.array(rate)
    return out


def _slices(context: Context) -> dict[str, Array]:
    """Learned density along the first axis (at the images of that axis' points, interpolated); exact beside."""
    if context.pushed_at_times is None:
        return {}
    chosen = context.times[np.linspace(0, len(context.times) - 1, SLICES).round().astype(int)]
    v = np.linspace(-4, 4, 161) + 1e-9  # never exactly the core
    start = np.zeros((1201, context.problem.d))
    start[:, 0] = np.linspace(-6, 6, 1201) + 1e-9
    jets = context.run.jets(chosen, start)
    if jets is None:
        return {}
    with np.errstate(divide="ignore"):
        density = np.exp(context.problem.initial.log_density(start) - np.log(np.abs(jets.det())))
    learned = []
    for x, f in zip(jets.value[..., 0], density, strict=True):
        order = np.argsort(x)
        learned.append(np.interp(v, x[order], np.nan_to_num(f[order], posinf=0.0)))
    out = {"slice_v": v, "slice_times": chosen, "slice_learned": np.stack(learned)}
    if context.exact is not None:
        line = np.zeros((len(v), context.problem.d))
        line[:, 0] = v
        out["slice_exact"] = np.stack([np.exp(context.exact.log_density(t, line)) for t in chosen])
    return out


def _residual_map(context: Context) -> dict[str, Array]:
    """|flow defect| at the last time over start velocities in the plane of the first two axes."""
    pushed, problem = context.pushed_at_times, context.problem
    if pushed is None or not problem.kernel.is_maxwell:
        return {}
    axis = np.linspace(-3.5, 3.5, 41) + 1e-9
    x, y = np.meshgrid(axis, axis)
    points = np.zeros((x.size, problem.d))
    points[:, 0], points[:, 1] = x.ravel(), y.ravel()
    jets = context.run.jets(context.times[-1:], points)
    if jets is None:
        return {}
    score = jets.pushforward_score(problem.initial.score(points))
    last = (m[-1:] for m in pushed.moments)
    defect = jets.dt - maxwell_drift(problem.kernel.strength, jets.value, score, *last)
    size = np.linalg.norm(defect[0], axis=-1).reshape(x.shape)
    return {"residual_map_x": axis, "residual_map_y": axis, "residual_map": np.nan_to_num(size, posinf=0.0)}


def sample_w1(context: Context) -> tuple[dict[str, Array], dict[str, str]]:
    """Exact W1 between learned particles and exact samples at a few times, with its noise floor."""
    solution = context.exact
    if solution is None:
        return {}, {}
    n = context.options.w1_samples
    rng = context.rng("sample w1")
    times = context.times[np.linspace(0, len(context.times) - 1, 3).round().astype(int)]
    start = context.problem.initial.sample(n, rng)
    rows: list[tuple[float, ...]] = []
    words: dict[str, str] = {}
    for t, learned in zip(times, context.run.flow(times, start), strict=True):
        try:
            measured = exact_w1(learned, solution.sample(t, n, rng))
            coupled = exact_w1(learned, solution.flow(t, start))
            floors = [exact_w1(solution.sample(t, n, rng), solution.sample(t, n, rng)) for _ in range(FLOOR_DRAWS)]
        except NotOptimalError as error:
            words[f"{t:.4g}"] = f"no number: {error}"  # an unfinished LP gives none
            continue
        words[f"{t:.4g}"] = resolved(measured, floors)[1]
        low, high = min(f.lower for f in floors), max(f.upper for f in floors)
        rows.append((t, measured.lower, measured.upper, low, high, coupled.upper))
    names = ("w1_times", "w1_lower", "w1_upper", "w1_floor_low", "w1_floor_high", "w1_coupled")
    return (dict(zip(names, np.array(rows).T, strict=True)) if rows else {}), words
