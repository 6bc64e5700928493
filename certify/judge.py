"""The judgement: gather estimates and facts, evaluate every theorem, assemble the report. No trainers, no I/O."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from certify import arrays, facts
from certify.brackets import DERIVED, brackets, density_distances, stability
from certify.budget import budget
from certify.context import Context
from certify.engine import evaluate
from certify.estimator import ESTIMATORS
from certify.options import Options, Progress, silent
from certify.results import Certificate, Measured, Report
from certify.run import Run
from certify.tail import blended
from theory.errors import UserError
from theory.flow import FlowJets, Growth
from theory.problem import Problem, specification
from theory.provenance import Array, Estimate
from theory.reference import ReferenceMaker
from theory.theorem import Scope, Theorem
from theory.theorems import THEOREMS

INTERRUPTED = "interrupted"
CONSERVATION = "conservation"  # what every solution obeys is checked in every report

TITLES = {
    "w1": "W1 distance of the densities",
    "w2": "W2 distance of the densities",
    "kl": "relative entropy KL(learned | exact)",
    "l1": "L1 distance of the densities",
    "l2": "L2 distance of the densities",
    "l2_relative": "relative L2 distance of the densities",
    "chi2": "weighted L2 distance (1/M) of the densities, squared",
    "l2_kde": "relative L2 error of a kernel density estimate",
    "kde": "expected L2 error of a Gaussian kernel density estimate",
    "kde_compact": "expected L2 error of an Epanechnikov kernel density estimate",
    "trajectory": "trajectory error, L2 over particles",
    "particles": "mean squared error against the N-body system",
    "particles_rms": "rms error against the N-body system",
    "mean_w1": "expected W1 of particles to the density",
    "observable": "expected error of the mean speed",
    "score_error": "mean squared score error under the exact law",
    "drift_mismatch": "learned drift against exact drift at the learned particles, L2",
    "drift_lipschitz": "Lipschitz constant of the exact drift",
}


@dataclass(frozen=True)
class Resting:
    """The flow that does not move, T = id: what a bound must beat (the trivial bound)."""

    d: int
    t0: Fraction
    T: Fraction
    name: str = "identity"

    def flow(self, t: Array, v: Array) -> Array:
        """Start velocities at every time."""
        return np.broadcast_to(v, (len(t), *v.shape)).copy()

    def velocity(self, t: Array, v: Array) -> tuple[Array, Array]:
        """At rest."""
        x = self.flow(t, v)
        return x, np.zeros_like(x)

    def jets(self, t: Array, v: Array) -> FlowJets:
        """Identity with derivatives."""
        shape = (len(t), *v.shape)
        jac = np.broadcast_to(np.eye(self.d), (*shape, self.d))
        return FlowJets(self.flow(t, v), np.zeros(shape), jac, np.zeros((*shape, self.d, self.d)))

    def score(self, t: Array, x: Array) -> None:
        """No score network."""

    def score_divergence(self, t: Array, x: Array) -> None:
        """No score network."""

    def layers(self, net: str) -> None:
        """No networks."""

    def smooth(self) -> bool:
        """Smooth."""
        return True

    def diffeomorphism(self) -> bool:
        """The identity is one."""
        return True

    def growth(self, t: Array, radius: float) -> Growth:
        """Closed form."""
        return Growth.at_rest(len(t), radius)

    def describe(self) -> Mapping[str, Any]:
        """A name."""
        return {"name": self.name}


def check_compatible(run: Run, problem: Problem) -> None:
    """Refuse a problem the run was not made for.

    Raises
    ------
    UserError
        E202 dimension, E203 constants, E204 window.
    """
    if run.d != problem.d:
        raise UserError(
            "E202", f"the model has dimension {run.d}, {problem.id} has {problem.d}", "Choose the model's own problem."
        )
    described = run.describe()
    if "problem" in described and described["problem"] != problem.id:
        name = str(described["problem"])[:60]
        raise UserError("E203", f"the model was made for {name!r}, not for {problem.id}", f"Use --problem {name}.")
    if "constants" in described and dict(described["constants"]) != dict(problem.constants):
        raise UserError("E203", f"the model has other constants than {problem.id}", _other_constants(run, problem))
    if problem.t0 < run.t0 or problem.T > run.T:
        raise UserError(
            "E204",
            f"the window [{problem.t0}, {problem.T}] is not inside the model's [{run.t0}, {run.T}]",
            f"Use --problem {problem.id}:t0={run.t0},T={run.T} or a window inside it.",
        )


def _other_constants(run: Run, problem: Problem) -> str:
    """What to do about it: a model of another parameter has a specification of its own."""
    found, wanted = dict(run.describe()["constants"]), dict(problem.constants)
    differ = {k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k)}
    if not differ <= set(problem.parameters) & found.keys():
        return "Train a model for this problem."
    return f"Use --problem {specification(problem.id, run.t0, run.T, {k: found[k] for k in problem.parameters})}."


def estimates_of(context: Context, only: Iterable[str] | None = None) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Every estimate the registered estimators can give (or those of ``only``), and seconds spent by each."""
    found: dict[str, Estimate] = {}
    seconds: dict[str, float] = {}
    names = list(ESTIMATORS) if only is None else list(only)
    for k, name in enumerate(names):
        context.progress(name, k, len(names))
        began = time.monotonic()
        try:
            computed = ESTIMATORS[name].compute(context)
        except KeyboardInterrupt:
            if not found:
                raise
            seconds[INTERRUPTED] = time.monotonic() - began  # what was computed is kept
            break
        for key, estimate in computed.items():
            if key in found:
                raise ValueError(f"two estimators provide {key!r}")
            found[key] = estimate
        seconds[name] = time.monotonic() - began
    return found, seconds


def _needs() -> dict[str, str]:
    """What would provide each ingredient."""
    derived = dict.fromkeys(DERIVED, "a bound by one of S1 and S2")
    return derived | {key: e.why_not for e in ESTIMATORS.values() for key in e.provides if e.why_not}


def _measured(found: Mapping[str, Estimate]) -> dict[str, Measured]:
    """Measured errors by the id theorems use in ``bounds``."""
    out = {}
    for name, title in TITLES.items():
        lower, upper = (found.get(f"measured_{name}_{side}") for side in ("lower", "upper"))
        if lower is not None or upper is not None:
            shown = upper or lower
            assert shown is not None  # noqa: S101 - narrowing only
            out[name] = Measured(name, title, lower, upper, shown.method)
    if "particles" in out:
        out["particles_rms"] = _root(out["particles"])
    if "sampling_w1_floor" in found:
        floor = found["sampling_w1_floor"]  # below the distance of any N points from f_t, learned or not
        out["mean_w1"] = Measured("mean_w1", TITLES["mean_w1"], floor, None, floor.method)
    return out


def _root(squared: Measured) -> Measured:
    """Square root of a measured mean square."""
    lower, upper = (None if e is None else replace(e, value=np.sqrt(e.value)) for e in (squared.lower, squared.upper))
    return Measured("particles_rms", TITLES["particles_rms"], lower, upper, squared.method)


def _own_window(context: Context, theorem: Theorem) -> bool:
    """Whether a theorem starts with the judged window and not with the model."""
    return context.is_restart and theorem.scope is not Scope.MODEL


def _sliced(context: Context, theorem: Theorem, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Estimates on the theorem's grid."""
    if not _own_window(context, theorem):
        return dict(found)
    full, part = context.grid.n_nodes, context.window.n_nodes
    out = {}
    for key, e in found.items():
        value = np.asarray(e.value)
        out[key] = replace(e, value=value[-part:]) if value.shape == (full,) else e
    return out


def certificates(
    context: Context,
    found: Mapping[str, Estimate],
    known: Mapping[str, Any],
    measured: Mapping[str, Measured],
    trivial: Mapping[str, Array],
    names: Iterable[str],
) -> list[Certificate]:
    """Evaluate the named theorems."""
    out = []
    for name in names:
        theorem = THEOREMS[name]
        grid = context.window if _own_window(context, theorem) else context.grid
        own = _sliced(context, theorem, found)
        certificate = evaluate(
            theorem,
            grid,
            own,
            known,
            report_from=context.start,
            trivial=trivial.get(theorem.id),
            measured=measured.get(theorem.bounds),
            needs=_needs(),
        )
        out.append(replace(certificate, budget=budget(theorem, grid, own)))
    return out


def judge_all(
    context: Context,
    found: dict[str, Estimate],
    known: dict[str, Any],
    measured: Mapping[str, Measured],
    trivial: Mapping[str, Array],
    names: Iterable[str],
) -> dict[str, Certificate]:
    """The named theorems and, first, S1-S4: their bounds are ingredients of others (entered into ``found``)."""
    first = [n for n, t in THEOREMS.items() if t.scope is Scope.MODEL]
    done = {c.id: c for c in certificates(context, found, known, measured, trivial, first)}
    found |= density_distances(done, restart=context.is_restart)
    known["stability"] = stability(done)
    rest = [n for n in names if n not in done]
    return done | {c.id: c for c in certificates(context, found, known, measured, trivial, rest)}


# what the trivial bound, the measured error or the bracket of an error needs besides the theorem's own ingredients
_BESIDES = {
    "score_error": ("fisher_initial",),
    "kde": ("density_norm",),
    "kde_compact": ("density_norm",),
    "mean_w1": ("sampling_w1", "sampling_w1_floor"),
    "particles_rms": ("measured_particles_lower", "measured_particles_upper"),
    **{k: (f"lower_{k}",) for k in ("w1", "w2", "l1")},
}


def estimators_for(names: Iterable[str]) -> list[str]:
    """Estimators that the named theorems, their measured errors and their budgets draw on."""
    theorems = [THEOREMS[n] for n in names]
    if any(i.id in DERIVED for t in theorems for i in t.ingredients):
        theorems += [t for t in THEOREMS.values() if t.scope is Scope.MODEL]
    keys = {i.id for t in theorems for i in t.ingredients}
    keys |= {f"{k}_sampled" for k in keys}
    keys |= {f"measured_{t.bounds}_{side}" for t in theorems for side in ("lower", "upper")}
    keys |= {k for t in theorems for k in _BESIDES.get(t.bounds, ())}
    return [name for name, e in ESTIMATORS.items() if keys & set(e.provides) or name == CONSERVATION]


def trivial_bounds(context: Context) -> dict[str, Array]:
    """Log of the bound of the resting flow T = id, by theorem; the particle theorems take that of S1."""
    resting = Resting(context.problem.d, context.run.t0, context.run.T)
    blind = context.problem.without_exact_solution()
    own = replace(context, run=resting, problem=blind, progress=silent, make_reference=None)
    object.__setattr__(own, "rule", context.rule)  # the same nodes: T = id needs no refinement of its own
    found, _ = estimates_of(own, ("constants", "flow_defect"))
    out: dict[str, Array] = {}
    for name, theorem in THEOREMS.items():
        if any(i.id not in found for i in theorem.ingredients):
            continue
        bound = evaluate(theorem, own.grid, found, {}, report_from=context.start).log_bound
        if bound is not None:
            # two densities are never further apart than 2 in L1; with a common mean and energy, nor than independent
            # draws from them in W1 and W2: E|X - Y|^2 = 2 tr Sigma
            spread = 0.5 * np.log(2 * np.trace(own.problem.initial.covariance()))
            limit = {"l1": np.log(2.0), "w1": spread, "w2": spread}.get(theorem.bounds, np.inf)
            out[name] = np.minimum(bound, limit)
    return out


def trivial_particle_bounds(rest: Array | None, found: Mapping[str, Estimate]) -> dict[str, Array]:
    """The same for the theorems about particles, scores and density estimates, from S1 of the resting flow.

    Particles that rest are as far from f_t as S1 says and N samples are; the score 0 is off by the Fisher information,
    which only falls; the density estimate 0 by the norm of f_t.
    """
    out: dict[str, Array] = {}
    if rest is not None:
        out = dict.fromkeys((n for n, t in THEOREMS.items() if t.bounds in ("trajectory", "particles_rms")), rest)
        out |= {"thm1_law": rest, "thm2": 2 * rest}
        if "sampling_w1" in found:
            with np.errstate(divide="ignore"):
                cloud = np.logaddexp(rest, np.log(np.asarray(found["sampling_w1"].value)))
            out |= dict.fromkeys((n for n, t in THEOREMS.items() if t.bounds == "mean_w1"), cloud)
    for bounds, key in (("score_error", "fisher_initial"), ("kde", "density_norm"), ("kde_compact", "density_norm")):
        if key in found and rest is not None:
            value = np.log(np.broadcast_to(np.asarray(found[key].value), rest.shape))
            out |= dict.fromkeys((n for n, t in THEOREMS.items() if t.bounds == bounds), value)
    return out


def judge(
    run: Run,
    problem: Problem,
    options: Options | None = None,
    progress: Progress = silent,
    reference: ReferenceMaker | None = None,
) -> Report:
    """Judge a run on a problem.

    Parameters
    ----------
    run : Run
    problem : Problem
        Its window may be part of the run's (a restart).
    options : Options, optional
    progress : callable, optional
        Called with (stage, done, total).
    reference : callable, optional
        Makes what errors are measured against where no exact solution is known (``solver.references.reference_for``).

    Raises
    ------
    UserError
        If run and problem do not fit, or an option is unusable.
    """
    options = options or Options()
    check_compatible(run, problem)
    began = time.monotonic()
    own = own_problem(run, problem)
    if options.tail is not None:
        run = blended(run, own, options.tail)
    context = Context(run, own, float(problem.t0), options, progress, reference)
    if options.quick:
        context = context.quick()
    names = options.certificates or tuple(THEOREMS)
    found, seconds = estimates_of(context, estimators_for(names) if options.certificates else None)
    known = facts.gather(context)
    for fact, key in (("fisher_initial", "fisher_initial"), ("density_curvature", "density_hessian")):
        if key in found:
            known[fact] = found[key].value
    measured = _measured(found)
    trivial = trivial_bounds(context)
    trivial |= trivial_particle_bounds(trivial.get("stability_w2"), found)
    every = judge_all(context, found, known, measured, trivial, names)
    done = [every[name] for name in names]
    verdicts = {key: v for c in done for key, v in c.verdicts.items()}
    incomplete = INTERRUPTED in seconds
    plotted, w1_words = ({}, {}) if incomplete else arrays.collect(context, found)
    seconds["total"] = time.monotonic() - began
    described = dict(run.describe())
    warnings = []
    if run.score(np.array([float(run.t0)]), np.zeros((1, 1, run.d))) is None:
        warnings.append("The model has no score network: s~ is the score of the learned density itself (s_push).")
    if context.is_restart:
        warnings.append(
            f"Restart: the model starts at {run.t0}, the judged window at {problem.t0}; the error made before enters "
            "S1-S3 through the integral from the model's start and Theorems 1, 2, 5 as an initial error (oracle)."
        )
    return Report(
        problem=_describe_problem(problem),
        model=described,
        options={f: getattr(context.options, f) for f in options.__dataclass_fields__},
        times=context.times,
        nodes=context.grid.flat,
        certificates=tuple(done),
        measured=measured,
        ingredients={k: e for k, e in found.items() if not k.startswith("measured_")},
        verdicts=verdicts,
        arrays=plotted,
        numerics={
            "quadrature_nodes": len(context.rule.weights),
            "quadrature_radial_edges": [float(x) for x in context.rule.edges],
            "quadrature_angles": context.rule.angles,
            "truncation_radius": context.rule.radius,
            "mass_beyond_truncation": context.problem.initial.tail_moment(context.rule.radius, 0),
            "time_nodes": context.grid.n_nodes,
            "time_rule": "Gauss-Kronrod (3, 7) per panel",
            "ball_radius": context.radius,
            "fresh_particles": len(context.particles),
            "seed": options.seed,
            "sample_w1": w1_words,
            "measured_against": measured_against(context, measured),
            "defect_quadrature_error_relative": defect_error(context),
        },
        environment={
            "python": platform.python_version(),
            **{p: importlib.metadata.version(p) for p in ("torch", "numpy", "scipy", "pot")},
        },
        warnings=tuple(warnings),
        incomplete=incomplete,
        brackets=brackets(every, found),
        wall_times=seconds,
    )


def measured_against(context: Context, measured: Mapping[str, Measured]) -> str:
    """What the measured errors were held against, with its own error; empty where nothing was."""
    if not measured:
        return ""
    reference = context.reference_solution
    if reference is None:
        return "the exact solution" if context.exact is not None else ""
    return f"{reference.method}, its own error up to {np.max(reference.l1_error):.1e} in L1 (an estimate)"


def defect_error(context: Context) -> float:
    """Share of the quadrature error estimate in the integrated flow defect (velocity rule), 0 without jets."""
    pushed = context.pushed
    if pushed is None:
        return 0.0
    squared = np.nan_to_num(np.sum(pushed.defect**2, axis=-1), posinf=0.0)
    total, error = pushed.rule.integrate(squared)
    plain, raised = np.sqrt(np.maximum(total, 0.0)), np.sqrt(total + error)
    ends = [context.grid.primitive(x)[1][-1] for x in (plain, raised)]
    return float(1 - ends[0] / ends[1]) if ends[1] > 0 else 0.0


def own_problem(run: Run, problem: Problem) -> Problem:
    """The problem from the run's own start, whose initial density the run's flow pushes forward."""
    if problem.t0 == run.t0:
        return problem
    from theory.problems import PROBLEMS

    full = PROBLEMS[problem.id].rebuilt(run.t0, problem.T, problem.constants)
    return full if problem.exact is not None else full.without_exact_solution()


def _describe_problem(problem: Problem) -> dict[str, Any]:
    return {
        "id": problem.id,
        "title": problem.title,
        "spec": problem.spec,
        "t0": str(problem.t0),
        "T": str(problem.T),
        "d": problem.d,
        "constants": dict(problem.constants),
        "kernel": problem.kernel.id,
        "source": problem.source,
        "has_exact_solution": problem.exact is not None,
        "degeneracies": list(problem.degeneracies),
    }
