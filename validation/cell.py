"""One cell of the experiments, one method on one problem: solve, measure, write. Runs in a process of its own.

``python -m validation.cell TASK FOLDER``, the task as JSON, is what ``validation.cells`` starts; the last line of its
output says how far it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from certify.inversion import preimages
from certify.run import Run
from solver.pairs import cloud_drift
from theory.problem import Problem
from theory.provenance import Array
from validation import metrics, profiles
from validation.methods import Job, NotRunError, Outcome, common_starts, euler, generator, model_path, solve
from validation.plan import METHODS, MODEL_OF, REFERENCE, SETUPS, Setup, Size
from validation.truth import Truth, truth_of

PACKAGES = ("landau-certify", "torch", "numpy", "scipy", "numba", "pot")
TRUTH, FLOOR = 4, 5  # streams of random numbers, after those of the methods
FLOOR_POINTS = 20_000  # particles spent on the floor of a kernel density estimate, or one draw if that is more
TRANSPORT_DRAWS = 3
# inverting a flow for the slices: start velocities, how far half of them are stretched so that they fill the tails, and
# how far from all images, in standard deviations, a point is given up
SEEDS_OF_INVERSION, STRETCH, REACH = 4000, 1.3, 0.3
UNRESOLVED = 0.02  # share of the particles at which a reference may have no score before the metric is refused
NEGLIGIBLE = 1e-9  # mass of f0 on the nodes left out: thrown into the bulk, one from far out would spoil the integral
LOST = 1e-3  # mass of f0 on which a density may be meaningless before the metric is refused


@dataclass(frozen=True)
class Task:
    """A cell to be made.

    Parameters
    ----------
    problem, method : str
        Ids.
    size : Size
    starts : int
        Common particles.
    seed : int
    quick : bool
    models : str
        Folder of model files.
    """

    problem: str
    method: str
    size: Size
    starts: int
    seed: int
    quick: bool
    models: str

    @property
    def setup(self) -> Setup:
        """Its benchmark."""
        return SETUPS[self.problem]

    @property
    def name(self) -> str:
        """Problem and method."""
        return f"{self.problem}/{self.method}"

    def settings(self) -> dict[str, Any]:
        """What the result depends on; a finished cell with the same settings need not be made again.

        Raises
        ------
        NotRunError
            If its model is missing.
        """
        setup = self.setup
        found: dict[str, Any] = {
            "particles": self.size.particles,
            "kde_particles": self.size.kde,
            "starts": self.starts,
            "time_step": setup.step * self.size.slower,
            "snapshots": list(setup.times),
            "bandwidth": setup.bandwidth,
            "grid": [setup.half_width, setup.cells],
            "seed": self.seed,
            "quick": self.quick,
        }
        if self.method == REFERENCE:
            for name in ("particles", "kde_particles"):
                del found[name]
        if self.method in MODEL_OF:
            path = model_path(setup, self.method, Path(self.models))
            found["model_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def to_json(self) -> str:
        """For the command line of the worker."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Read what ``to_json`` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "size": Size(**fields["size"])})


def peak_memory_mb() -> float:
    """Largest resident set of this process so far. ``ru_maxrss`` can be the parent's on Linux; VmHWM cannot."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            lines = [line.split()[1] for line in status if line.startswith("VmHWM")]
        return float(lines[0]) / 1024
    except (OSError, IndexError, ValueError):
        unit = 2**20 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# --- measuring


def _each(count: int, value: Callable[[int], float]) -> list[float]:
    return [float(value(k)) for k in range(count)]


def measure(
    outcome: Outcome, truth: Truth, scores: Sequence[Array | None], seed: int
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Metrics over the snapshots, their noise floors, and the reasons of those that are missing.

    ``scores``: the truth's at the common particles, (n, d) per snapshot, None where there is none.

    Metrics
    -------
    l2_kde : relative L2 error of the kernel density estimate on the grid (P2); floor: independent exact samples.
    l2_density : the same of the density the method itself carries, by change of variables.
    l2_own : the same of the method's own reconstruction on its own cells (blob).
    trajectory : relative L2 error of the common particles against the exact characteristics (P1).
    w1, w2 : exact distance of the cloud of the common particles from the cloud of their exact characteristics; floor:
        two independent exact samples of this size.
    fisher_divergence : of the method's score at its common particles.
    energy, momentum, entropy_rate : of the method's own interacting particles, where it has other than the common ones.
    """
    setup, d, m = truth.setup, truth.problem.d, len(truth.setup.times)
    why = dict(outcome.not_available)
    axes, bandwidth = setup.axes(d), setup.bandwidth
    found: dict[str, Any] = {}
    x, weights = (outcome.own.x, outcome.own.weights) if outcome.own else (outcome.x, None)
    found["energy"] = _each(m, lambda k: metrics.energy(x[k], weights))
    found["momentum"] = _each(m, lambda k: metrics.momentum(x[k], x[0], weights))
    score, drift = (outcome.own.score, outcome.own.drift) if outcome.own else (outcome.score, outcome.drift)
    if score is not None and drift is not None:
        found["entropy_rate"] = _each(m, lambda k: metrics.entropy_rate(drift[k], score[k], weights))
    if truth.known:
        found["l2_kde"] = _each(
            m,
            lambda k: metrics.relative_l2(
                metrics.kde(outcome.cloud[k], axes, bandwidth, outcome.weights), truth.on_grid(k)
            ),
        )
        resolved = [np.isfinite(p).all(axis=1) for p in truth.paths]
        found["trajectory"] = _each(m, lambda k: metrics.trajectory_error(outcome.x[k], truth.paths[k]))
        for name, distance in (("w1", metrics.w1), ("w2", metrics.w2)):
            found[name] = _each(m, lambda k, f=distance: f(outcome.x[k][resolved[k]], truth.paths[k][resolved[k]]))  # type: ignore[misc]
        _density(outcome, truth, found, why)
        if outcome.on_cells is not None:
            points, values = outcome.on_cells
            found["l2_own"] = _each(m, lambda k: metrics.relative_l2(values[k], truth.density(k, points)))
    else:
        why |= dict.fromkeys(("l2_kde", "trajectory", "w1", "w2", "l2_density"), truth.method)
    _fisher(outcome, truth, scores, found, why)
    return found, _floors(outcome, truth, seed), why


def _fisher(
    outcome: Outcome, truth: Truth, scores: Sequence[Array | None], found: dict[str, Any], why: dict[str, str]
) -> None:
    """Relative Fisher divergence at the common particles, where there is a score to compare with."""
    own = outcome.score
    if own is None:
        why["fisher_divergence"] = why.get("score", "the method has no score")
        return
    values = []
    for s, exact, t in zip(own, scores, truth.setup.times, strict=True):
        if exact is None:
            why["fisher_divergence"] = truth.method
            return
        lost = float(np.mean(np.isnan(exact).any(axis=1)))
        if lost > UNRESOLVED:
            why["fisher_divergence"] = f"the reference resolves no score at {lost:.0%} of the particles at t = {t:g}"
            return
        values.append(metrics.fisher_divergence(s, exact))
    found["fisher_divergence"] = values


def _density(outcome: Outcome, truth: Truth, found: dict[str, Any], why: dict[str, str]) -> None:
    """Relative L2 error of the density by change of variables over a rule of f_t0, where the method carries one."""
    if outcome.run is None and outcome.carried is None:
        why.setdefault("l2_density", "the method carries no density")
        return
    rule, times = truth.problem.rule(), np.array(truth.setup.times)
    if outcome.carried is not None:
        images, logs = outcome.carried(rule.nodes)
    elif outcome.run is not None:
        jets = outcome.run.jets(times, rule.nodes)
        if jets is None:
            why["l2_density"] = "the flow has no derivatives"
            return
        with np.errstate(invalid="ignore", divide="ignore"):  # det J <= 0: no density there, counted below
            images, logs = jets.value, truth.problem.initial.log_density(rule.nodes) - np.log(jets.det())
    values = []
    order = np.argsort(rule.weights)
    heavy = np.empty(len(order), dtype=np.bool_)
    heavy[order] = np.cumsum(rule.weights[order]) > NEGLIGIBLE
    for k, t in enumerate(times):
        good = heavy & np.isfinite(logs[k]) & np.isfinite(images[k]).all(axis=1)
        lost = float(rule.weights[heavy & ~good].sum())
        if lost > LOST:
            reason = "det J <= 0, T is not injective" if outcome.carried is None else "nodes run away"
            why["l2_density"] = f"no density on {lost:.1%} of f0 at t = {t:g}: {reason}"
            return
        exact = truth.log_density(k, images[k][good])
        values.append(metrics.l2_change_of_variables(logs[k][good], exact, rule.weights[good]))
    found["l2_density"] = values


def _floors(outcome: Outcome, truth: Truth, seed: int) -> dict[str, Any]:
    """What a perfect method would show with as many independent particles."""
    setup, m = truth.setup, len(truth.setup.times)
    axes, count, n = setup.axes(truth.problem.d), outcome.cloud.shape[1], outcome.x.shape[1]
    draws = max(1, min(10, FLOOR_POINTS // count))
    own, weights = (outcome.own.x, outcome.own.weights) if outcome.own else (outcome.x, None)
    score, drift = (outcome.own.score, outcome.own.drift) if outcome.own else (outcome.score, outcome.drift)
    floor: dict[str, Any] = {}
    if weights is None or np.ptp(weights) == 0:  # a standard error belongs to a random sample, not to a grid
        floor["energy"] = _each(m, lambda k: metrics.standard_error(np.sum(own[k] ** 2, axis=1)))
        if score is not None and drift is not None:
            floor["entropy_rate"] = _each(m, lambda k: metrics.standard_error(np.sum(score[k] * drift[k], axis=1)))
    if truth.known:
        samples = [
            truth.sample(k, max(draws * count, 2 * TRANSPORT_DRAWS * n), generator(seed, FLOOR + k)) for k in range(m)
        ]
        floor["l2_kde"] = _each(
            m, lambda k: metrics.kde_floor(samples[k], truth.on_grid(k), axes, setup.bandwidth, count, draws)
        )
        for name, distance in (("w1", metrics.w1), ("w2", metrics.w2)):
            floor[name] = _each(m, lambda k, f=distance: metrics.transport_floor(samples[k], n, TRANSPORT_DRAWS, f))  # type: ignore[misc]
    return floor


def slices(outcome: Outcome, truth: Truth, seed: int) -> dict[str, Array]:
    """Kernel estimates along lines and on a plane, and densities by change of variables along the first two axes."""
    setup, problem = truth.setup, truth.problem
    axis, mean, run = setup.axes(1)[0], problem.initial.mean(), outcome.run
    spread = problem.initial.sample(SEEDS_OF_INVERSION, generator(seed, TRUTH))
    spread = np.concatenate([spread, mean + STRETCH * (spread - mean)])
    out = {"axis": axis} | profiles.of_particles(outcome.cloud, outcome.weights, mean, axis, setup.bandwidth)
    if run is not None:
        for name, j in (("slice_x", 0), ("slice_y", 1)):
            points = metrics.grid_points([axis if i == j else mean[i : i + 1] for i in range(problem.d)])
            out[f"{name}_cv"] = np.stack([density_of_flow(run, problem, t, points, spread) for t in setup.times])
    return out


def density_of_flow(run: Run, problem: Problem, t: float, points: Array, starts: Array) -> Array:
    """Density of T(t, .)_# f0 at points (k, d): f0(v)/det J at T(t, v) = point; NaN where no such v is found.

    ``starts`` (n, d) fill the region; Newton begins at the one whose image is nearest, and is not tried at points far
    from all images, where there is next to no mass and a learned flow only extrapolates.
    """
    out, images = np.full(len(points), np.nan), run.flow(np.array([t]), starts)[0]
    scale = math.sqrt(float(np.trace(problem.initial.covariance())) / problem.d)
    near = np.flatnonzero(cKDTree(images).query(points)[0] < REACH * scale)
    found = preimages(run, t, points[near], starts, images) if len(near) else None
    if found is not None:
        v, det = found
        good = np.isfinite(det)
        out[near[good]] = np.exp(problem.initial.log_density(v[good])) / det[good]
    return out


# --- the reference's own cell


def reference_cell(task: Task, truth: Truth, starts: Array) -> tuple[dict[str, Array], dict[str, Any], dict[str, Any]]:
    """Arrays and metrics of the solution itself; its trajectory floor is the N-body system with the analytic score."""
    setup, problem, m = truth.setup, truth.problem, len(truth.setup.times)
    axis, mean = setup.axes(1)[0], problem.initial.mean()
    arrays: dict[str, Array] = {"axis": axis, "x": truth.paths, "path_error": truth.path_error}
    for name, field in (("score", truth.score), ("drift", truth.drift)):
        values = [field(k, truth.paths[k]) for k in range(m)]
        if all(v is not None for v in values):
            arrays[name] = np.stack([np.asarray(v) for v in values])
    if truth.known:
        arrays |= profiles.of_truth(truth)
    covariance = problem.initial.covariance()
    found: dict[str, Any] = {"energy": [float(np.trace(covariance) + mean @ mean)] * m, "momentum": [0.0] * m}
    rate = truth.entropy_rate()
    if rate is not None:
        found["entropy_rate"] = [float(r) for r in rate]
    floor: dict[str, Any] = {}
    if truth.exact is not None:
        exact = truth.exact
        states, _ = euler(problem, setup.times, starts, setup.step * task.size.slower, exact.score)
        floor["trajectory"] = _each(m, lambda k: metrics.trajectory_error(states[k], truth.paths[k]))
    return arrays, found, floor


# --- writing


def _finite(value: Any) -> Any:
    """NaN and infinity become null; JSON has neither."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def write(folder: Path, task: Task, record: Mapping[str, Any], arrays: Mapping[str, Array] | None) -> None:
    """Write the two files of a cell, each whole or not at all, the record last."""
    place = folder / task.problem
    place.mkdir(parents=True, exist_ok=True)
    data, text = place / f"{task.method}.npz", place / f"{task.method}.json"
    if arrays is not None:
        part = data.with_suffix(".npz.part")
        with part.open("wb") as file:
            np.savez_compressed(file, **{k: np.asarray(v) for k, v in arrays.items()})  # type: ignore[arg-type]
        os.replace(part, data)
    part = text.with_suffix(".json.part")
    part.write_text(json.dumps(_finite(record), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, text)


def versions() -> dict[str, str]:
    """Of what computed the cell."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def run(task: Task, folder: Path, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Make one cell and write it; the record.

    Raises
    ------
    NotRunError
        If there is no model or solver for it.
    """
    settings = task.settings()
    import torch

    torch.set_num_threads(1)
    setup, seed = task.setup, task.seed
    problem = setup.problem()
    starts = common_starts(problem, seed, task.starts)
    record: dict[str, Any] = {
        "problem": problem.spec,
        "method": task.method,
        "title": METHODS[task.method],
        "quick": task.quick,
        "seed": seed,
        "settings": settings,
        "times": list(setup.times),
        "versions": versions(),
    }
    _warm_up(problem)
    base, began = peak_memory_mb(), (time.perf_counter(), time.process_time())
    if task.method == REFERENCE:
        truth = truth_of(setup, problem, starts)
        record |= _cost(began, base) | {"particles": len(starts), "kde_particles": None, "steps": None}
        arrays, found, floor = reference_cell(task, truth, starts)
        why: Mapping[str, str] = {} if "score" in arrays else {"score": truth.method}
        record["solution"] = {"method": truth.method, "path_error": list(truth.path_error)}
    else:
        outcome = solve(Job(setup, task.method, task.size, seed, Path(task.models), starts, progress))
        record |= _cost(began, base)
        record |= {"particles": outcome.own.x.shape[1] if outcome.own else len(starts), "steps": outcome.steps}
        record |= {"kde_particles": outcome.cloud.shape[1], "training_seconds": outcome.training_seconds}
        record["solver"] = dict(outcome.settings)
        progress("measuring", 0, 1)
        truth = truth_of(setup, problem, starts)
        scores = [truth.score(k, outcome.x[k]) for k in range(len(setup.times))]
        found, floor, why = measure(outcome, truth, scores, seed)
        arrays = {"x": outcome.x} | {
            n: a for n, a in (("score", outcome.score), ("drift", outcome.drift)) if a is not None
        }
        if truth.reference is not None:  # the figures know exact solutions themselves
            arrays["score_reference"] = np.stack([np.asarray(s) for s in scores])
        arrays |= slices(outcome, truth, seed)
    arrays = {"times": np.array(setup.times), "starts": starts, **arrays}
    record |= {"metrics": found, "floor": floor, "not_available": dict(why)}
    write(folder, task, record, arrays)
    return record


def _warm_up(problem: Problem) -> None:
    """Import and compile what every method uses, so that its time is not counted."""
    import solver.run  # noqa: F401 - both for their import alone

    if not problem.kernel.is_maxwell:
        x = np.random.default_rng(0).standard_normal((500, problem.d))
        cloud_drift(problem.kernel, x, x, np.full(500, 1 / 500)).at(x, x)


def _cost(began: tuple[float, float], base: float) -> dict[str, float]:
    return {
        "wall_seconds": time.perf_counter() - began[0],
        "cpu_seconds": time.process_time() - began[1],
        "peak_memory_mb": peak_memory_mb(),
        "baseline_memory_mb": base,
    }


def failure(task: Task, reason: str) -> dict[str, Any]:
    """Record of a cell that came to nothing."""
    return {"problem": task.setup.spec, "method": task.method, "title": METHODS[task.method], "failed": reason}


def main(argv: list[str]) -> int:
    """Worker process: exit code 0 with the cell written, 1 with the reason written instead."""
    task, folder = Task.from_json(argv[0]), Path(argv[1])

    def progress(stage: str, done: int, total: int) -> None:
        sys.stdout.write(f"{stage} {done}/{total}\n")
        sys.stdout.flush()

    try:
        run(task, folder, progress)
    except NotRunError as error:
        write(folder, task, failure(task, f"not run: {error}"), None)
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it was, the other cells go on and this one says so
        import traceback

        traceback.print_exc()
        line = " ".join(str(error).split()) or "no message"
        write(folder, task, failure(task, f"{type(error).__name__}: {line[:300]}"), None)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
