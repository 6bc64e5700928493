"""The methods compared in the paper's Section 5, each run on a benchmark under both protocols.

P1: trajectories, scores and drifts of the common initial particles. P2: particles for the kernel density estimate, as
each method has them. Whatever a method cannot give is named with the reason. Nothing here looks at the exact solution.

- ``pinn-particle``, ``flow-defect``: the learned flow queried at the snapshots; P2 pushes fresh samples, anew at every
  time, through it. Score of pinn-particle: its network's; of flow-defect: that of the pushforward density.
- ``pinn-score``: forward Euler with the learned score and the pair drift of the common particles themselves; P2:
  tracers in their field.
- ``sbp``: the common particles are its own first ones; P2: all of its own.
- ``blob``: weighted particles on a grid; the common particles are tracers in its field; P2: its own, weighted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from certify.run import Run
from solver.pairs import cloud_drift
from theory.problem import Problem
from theory.provenance import Array
from validation.plan import MODEL_OF, STARTS, Setup, Size

Progress = Callable[[str, int, int], None]
COMMON, OWN, FRESH = 1, 2, 3  # streams of random numbers


class NotRunError(Exception):
    """A cell that cannot be run, and why: no model, no solver."""


@dataclass(frozen=True)
class Own:
    """A particle method's own particles at the snapshots: x, scores, drifts (m, n, d), weights (n,)."""

    x: Array
    score: Array
    drift: Array
    weights: Array


@dataclass(frozen=True)
class Outcome:
    """What a method gives at the snapshots (m,).

    Parameters
    ----------
    x : ndarray (m, n, d)
        Trajectories of the common starts.
    score, drift : ndarray (m, n, d) or None
        The method's own there.
    cloud : ndarray (m, k, d)
        Particles of the kernel density estimate.
    weights : ndarray (k,) or None
        Of the cloud; equal if None.
    steps : int or None
        Time steps, if it steps in time.
    own : Own or None
        Interacting particles, if they are others than the common ones.
    run : Run or None
        A flow with jets: its density is known without a kernel.
    settings, not_available : mapping
        For the record; reasons by metric or array.
    training_seconds : float or None
        Spent beforehand on the model; None if there is none.
    on_cells : tuple or None
        Points (g, d) and the method's own reconstruction of the density there, (m, g).
    carried : callable or None
        For points (q, d) of f_t0: where the method takes them, (m, q, d), and the logarithm of its density there,
        (m, q). Called when measuring, so that its time is not the method's.
    """

    x: Array
    score: Array | None
    drift: Array | None
    cloud: Array
    weights: Array | None = None
    steps: int | None = None
    own: Own | None = None
    run: Run | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    not_available: Mapping[str, str] = field(default_factory=dict)
    training_seconds: float | None = None
    on_cells: tuple[Array, Array] | None = None
    carried: Callable[[Array], tuple[Array, Array]] | None = None


def generator(seed: int, stream: int) -> np.random.Generator:
    """Random numbers of one purpose; the common particles depend on the seed alone."""
    return np.random.default_rng([seed, stream])


def common_starts(problem: Problem, seed: int, count: int = STARTS) -> Array:
    """The common initial particles, (count, d): those of a smaller set are the first of a larger one's draw."""
    return problem.initial.sample(STARTS, generator(seed, COMMON))[:count]


def model_path(setup: Setup, method: str, folder: Path) -> Path:
    """Where the model of a learned method is.

    Raises
    ------
    NotRunError
        If there is none.
    """
    path = folder / f"{setup.model}{MODEL_OF[method]}"
    if not path.is_file():
        raise NotRunError(f"no model {path.name}")
    return path


@dataclass(frozen=True)
class Job:
    """One method on one benchmark: what it is run with.

    Parameters
    ----------
    setup : Setup
    method : str
    size : Size
    seed : int
    models : Path
        Folder of model files.
    starts : ndarray (n, d)
        The common particles.
    progress : callable
        Called with (stage, done, total).
    """

    setup: Setup
    method: str
    size: Size
    seed: int
    models: Path
    starts: Array
    progress: Progress

    @cached_property
    def problem(self) -> Problem:
        """The benchmark problem."""
        return self.setup.problem()

    @property
    def times(self) -> Array:
        """Snapshots, (m,)."""
        return np.array(self.setup.times)

    @property
    def step(self) -> float:
        """Time step."""
        return self.setup.step * self.size.slower


def solve(job: Job) -> Outcome:
    """Run one method on the common starts.

    Raises
    ------
    NotRunError
        If its model or solver is not there.
    """
    return _SOLVERS[job.method](job)


def _load(job: Job) -> tuple[Run, dict[str, Any]]:
    from certify.api import load_run

    path = model_path(job.setup, job.method, job.models)
    run, problem = load_run(str(path)), job.problem
    if (run.t0, run.T) != (problem.t0, problem.T):
        raise NotRunError(f"{path.name} was trained on [{run.t0}, {run.T}]")
    training = dict(run.describe().get("training", {}))
    return run, {"model": path.name, "method": training.get("method"), "seconds": training.get("wall_seconds")}


def _flow(job: Job) -> Outcome:
    """A learned flow, queried directly."""
    run, about = _load(job)
    initial, times, missing = job.problem.initial, job.times, {}
    x, drift = run.velocity(times, job.starts)
    score = run.score(times, x)
    if score is None:
        jets = run.jets(times, job.starts)
        if jets is None:
            missing["score"] = "neither a score network nor derivatives of the flow"
        else:
            score = jets.pushforward_score(initial.score(job.starts))
    rng, cloud = generator(job.seed, FRESH), []
    for k in range(len(times)):
        job.progress("fresh samples", k, len(times))
        cloud.append(run.flow(times[k : k + 1], initial.sample(job.size.kde, rng))[0])
    return Outcome(
        x, score, drift, np.array(cloud), run=run, settings={"model": about["model"], "kde": "fresh samples at each t"},
        not_available=missing, training_seconds=about["seconds"],
    )  # fmt: skip


def _score_driven(job: Job) -> Outcome:
    """Euler particles driven by the learned score, tracers for the density."""
    run, about = _load(job)
    problem, setup, n = job.problem, job.setup, len(job.starts)

    def score(t: float, x: Array) -> Array:
        found = run.score(np.array([t]), x[None])
        if found is None:
            raise NotRunError(f"{about['model']} has no score network")
        job.progress("Euler", round(1000 * (t - setup.times[0]) / (setup.times[-1] - setup.times[0])), 1000)
        return found[0]

    tracers = problem.initial.sample(job.size.kde, generator(job.seed, FRESH))
    states, steps = euler(problem, setup.times, job.starts, job.step, score, tracers)
    x, weights = states[:, :n], np.full(n, 1 / n)
    s = np.stack([score(t, x[k]) for k, t in enumerate(setup.times)])
    drift = np.stack([cloud_drift(problem.kernel, a, b, weights).at(a, b) for a, b in zip(x, s, strict=True)])
    settings = {"model": about["model"], "integrator": "forward Euler", "step": job.step, "kde": "tracers"}
    missing = {"l2_density": "tracers carry no density"}
    # far from where it was trained a score may throw tracers out: their mass is missing in the kernel estimate
    lost = np.logical_not(np.isfinite(states[:, n:]).all(axis=2))
    cloud = np.where(lost[..., None], np.inf, states[:, n:])
    if lost.any():
        settings["tracers_lost"] = int(lost[-1].sum())
    return Outcome(
        x, s, drift, cloud, steps=steps, settings=settings, not_available=missing,
        training_seconds=about["seconds"],
    )  # fmt: skip


def euler(
    problem: Problem,
    times: tuple[float, ...],
    starts: Array,
    step: float,
    score: Callable[[float, Array], Array],
    tracers: Array | None = None,
) -> tuple[Array, int]:
    """Forward Euler for particles of equal weight under their own pair drift, with a score given at any time.

    Parameters
    ----------
    times : tuple of float
        Snapshots; between two of them equal steps of at most ``step``.
    starts : ndarray (n, d)
    tracers : ndarray (k, d), optional
        Particles of weight 0 moved along.

    Returns
    -------
    positions (m, n + k, d) at the snapshots, tracers last, and the number of steps.

    Raises
    ------
    FloatingPointError
        If a particle is thrown to infinity; a tracer may be.
    """
    n = len(starts)
    x = starts if tracers is None else np.concatenate([starts, tracers])
    weights = np.full(n, 1 / n)
    out, count = [x], 0
    for left, right in pairwise(times):
        steps = max(1, math.ceil((right - left) / step - 1e-9))
        for i in range(steps):
            s = score(left + (right - left) * i / steps, x)
            with np.errstate(over="ignore", invalid="ignore"):
                x = x + (right - left) / steps * cloud_drift(problem.kernel, x[:n], s[:n], weights).at(x, s)
        if not np.isfinite(x[:n]).all():
            raise FloatingPointError(f"particles are not finite at t = {right:g}: the score throws them out")
        count += steps
        out.append(x)
    return np.array(out), count


def kept_steps(setup: Setup, step: float) -> tuple[int, int]:
    """Number of equal steps of at most ``step`` over the window, and every how many of them a snapshot can lie.

    Raises
    ------
    ValueError
        If a snapshot lies between steps.
    """
    t0, T = setup.times[0], setup.times[-1]
    steps = max(1, math.ceil((T - t0) / step * (1 - 1e-12)))
    places = [(t - t0) / (T - t0) * steps for t in setup.times]
    if any(abs(p - round(p)) > 1e-6 for p in places):
        raise ValueError(f"steps of {step:g} miss a snapshot of {setup.spec}")
    return steps, math.gcd(*(round(p) for p in places))


def _blob(job: Job) -> Outcome:
    """The deterministic blob method on its grid; the common particles are tracers."""
    from solver import blob
    from solver.particle_run import ParticleRun

    problem, times = job.problem, job.times
    per_axis = round(job.size.particles ** (1 / problem.d))
    settings = blob.Settings("chww", n=per_axis, dt=job.step, keep=kept_steps(job.setup, job.step)[1])
    solution = blob.solve(problem, settings, progress=job.progress)
    run = ParticleRun(solution)
    own = _at_snapshots(solution, times)
    x, drift = run.velocity(times, job.starts)
    cells = [blob.blob_density(*_cells(solution), p, own.weights) for p in own.x]
    return Outcome(
        x, run.score(times, x), drift, own.x, own.weights, steps=len(solution.field.times) - 1, own=own,
        settings=dict(solution.settings) | {"kde": "its own weighted particles"},
        not_available={"l2_density": "its particles carry no density; its own reconstruction is l2_own"},
        on_cells=(_cells(solution)[0].points, np.array(cells).reshape(len(times), -1)),
    )  # fmt: skip


def _cells(solution: Any) -> tuple[Any, float]:
    """Cells and mollifier of a blob solution."""
    from solver import blob

    return blob.density(solution, 0)[0], float(solution.settings["eps"])


def _sbp(job: Job) -> Outcome:
    """The score-based particle method with the public code's settings; the common particles are its first ones."""
    from solver import sbp

    problem, n = job.problem, len(job.starts)
    steps, every = kept_steps(job.setup, job.step)
    # the density is carried along nodes afterwards (``carried``), not along the particles
    settings = dataclasses.replace(
        sbp.settings_for(problem, job.size.particles), dt=job.step, keep=every, log_density=False
    )
    rest = problem.initial.sample(max(job.size.particles - n, 0), generator(job.seed, OWN))

    def report(stage: str, done: int, total: int, *_: object) -> None:
        job.progress(stage, done, total)

    solution = sbp.solve(problem, settings, seed=job.seed, starts=np.concatenate([job.starts, rest]), progress=report)
    own = _at_snapshots(solution, job.times)

    def carried(points: Array) -> tuple[Array, Array]:
        x, log_f = sbp.carried_density(solution, points)
        k = _kept(solution, job.times)
        return x[k], log_f[k]

    return Outcome(
        own.x[:, :n], own.score[:, :n], own.drift[:, :n], own.x, steps=steps, own=own, carried=carried,
        settings=dict(solution.settings) | {"kde": "its own particles"},
    )  # fmt: skip


def _at_snapshots(solution: Any, times: Array) -> Own:
    """A solver's own particles at the snapshots."""
    k = _kept(solution, times)
    return Own(solution.positions[k], solution.scores[k], solution.velocities[k], solution.weights)


def _kept(solution: Any, times: Array) -> Array:
    """Which of the times a solver kept are the snapshots (m,).

    Raises
    ------
    ValueError
        If it did not keep one.
    """
    k = np.abs(solution.times - times[:, None]).argmin(axis=1)
    if np.abs(solution.times[k] - times).max() > 1e-9 * (times[-1] - times[0]):
        raise ValueError("the solver did not keep its particles at a snapshot")
    return np.asarray(k)


_SOLVERS: Mapping[str, Callable[..., Outcome]] = {
    "pinn-particle": _flow,
    "flow-defect": _flow,
    "pinn-score": _score_driven,
    "sbp": _sbp,
    "blob": _blob,
}
