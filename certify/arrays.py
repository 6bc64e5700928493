"""Every plotted number of a report, by name, and what a referee needs to recompute S1-S3."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from certify.context import Context
from certify.inversion import preimages
from certify.pushforward import Pushforward
from certify.transport import NotOptimalError, exact_w1, resolved
from theory.drift import maxwell_drift, weighted_moments
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
    """Energy, momentum, entropy and entropy production of the learned density, beside the conserved or exact ones."""
    pushed, solution = context.pushed_at_times, context.exact
    weights, times = context.rule.weights, context.times
    conserved, initial = context.problem.initial.mean(), context.problem.initial.covariance()
    mean, covariance = weighted_moments(context.learned_path, weights) if pushed is None else pushed.moments
    out = {
        "moment_times": times,
        "energy_learned": np.trace(covariance, axis1=1, axis2=2) + np.sum(mean**2, axis=1),
        "energy_exact": np.full(len(times), np.trace(initial) + conserved @ conserved),
        "momentum_error": np.linalg.norm(mean - conserved, axis=1),
    }
    if pushed is None:
        return out
    drift = pushed.dt - pushed.defect  # of other kernels the pair sums are formed once
    reference = context.reference_solution
    out |= {
        "entropy_learned": np.where(np.isfinite(pushed.log_density), pushed.log_density, 0.0) @ weights,
        "entropy_rate_learned": np.sum(np.nan_to_num(drift * pushed.score), axis=-1) @ weights,
    }
    if reference is not None:
        out |= {"entropy_reference": reference.entropy, "entropy_reference_error": reference.entropy_error}
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


def _deviation(context: Context) -> float:
    """Largest standard deviation along an axis at the start and in equilibrium: the scale of the pictures."""
    covariance = context.problem.initial.covariance()
    return float(np.sqrt(max(np.diag(covariance).max(), np.trace(covariance) / context.problem.d)))


def _span(half: float) -> float:
    """A half width in two digits, so that the axes of a picture end at round numbers."""
    return float(f"{half:.2g}")


def _slices(context: Context) -> dict[str, Array]:
    """Densities along the first axis through the mean; the learned one by solving T(t, v) = y, NaN where that failed.

    f~(y) = f0(v)/det J: for a flow that is not radial the image of the line is not the line, so its points are of no
    use here. Beside it the exact density, or else that of the reference.
    """
    pushed, problem = context.pushed_at_times, context.problem
    if pushed is None:
        return {}
    chosen = np.linspace(0, len(context.times) - 1, SLICES).round().astype(int)
    centre = problem.initial.mean()
    along = _span(4 * _deviation(context)) * np.linspace(-1, 1, 161)
    line = np.tile(centre, (len(along), 1))
    line[:, 0] += along + 1e-9  # never exactly the core
    learned = np.full((SLICES, len(line)), np.nan)
    for row, k in enumerate(chosen):
        found = preimages(context.run, float(context.times[k]), line, context.rule.nodes, pushed.flow[k])
        if found is None:
            return {}
        start, det = found
        good = np.isfinite(det)
        learned[row, good] = np.exp(problem.initial.log_density(start[good]) - np.log(det[good]))
    out = {"slice_v": line[:, 0], "slice_times": context.times[chosen], "slice_learned": learned}
    solution, reference = context.exact, context.reference_solution
    if solution is not None:
        out["slice_exact"] = np.stack([np.exp(solution.log_density(t, line)) for t in context.times[chosen]])
    elif reference is not None:
        out["slice_reference"] = np.stack([reference.density(int(k), line) for k in chosen])
        out["slice_reference_error"] = np.asarray(reference.density_error)[chosen]
    return out


def _residual_map(context: Context) -> dict[str, Array]:
    """|flow defect| at the last time over start velocities in the plane of the first two axes through the mean."""
    pushed, problem = context.pushed_at_times, context.problem
    if pushed is None:
        return {}
    half = min(_span(3.5 * _deviation(context)), context.rule.radius)
    axis = half * np.linspace(-1, 1, 41) + 1e-9
    centre = problem.initial.mean()
    x, y = np.meshgrid(centre[0] + axis, centre[1] + axis)
    points = np.tile(centre, (x.size, 1))
    points[:, 0], points[:, 1] = x.ravel(), y.ravel()
    jets = context.run.jets(context.times[-1:], points)
    if jets is None:
        return {}
    score = jets.pushforward_score(problem.initial.score(points))
    drift = _drift_at(pushed, jets.value[0], score[0])
    size = np.linalg.norm(jets.dt[0] - drift, axis=-1).reshape(x.shape)
    return {"residual_map_x": x[0], "residual_map_y": y[:, 0], "residual_map": np.nan_to_num(size, posinf=0.0)}


def _drift_at(pushed: Pushforward, x: Array, s: Array) -> Array:
    """Drift of the learned density at the last time, at points x with score s, both (n, d).

    Maxwell: from its moments. Other kernels: pair sums against the nodes, which the points only feel.
    """
    kernel = pushed.problem.kernel
    if kernel.is_maxwell:
        last = (m[-1] for m in pushed.moments)
        return np.asarray(maxwell_drift(kernel.strength, x, s, *last))
    w, nodes, scores = pushed.rule.weights / pushed.rule.weights.sum(), pushed.flow[-1], pushed.score[-1]
    out = np.empty_like(x)
    for k in range(0, len(x), 128):
        z, y = x[k : k + 128, None] - nodes, s[k : k + 128, None] - scores
        r2 = np.sum(z * z, axis=-1, keepdims=True)
        pull = r2 * y - z * np.sum(z * y, axis=-1, keepdims=True)
        out[k : k + 128] = -np.einsum("mn,mnd->md", kernel.profile(np.sqrt(r2[..., 0])) * w, pull)
    return out


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
