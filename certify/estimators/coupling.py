"""Same-start distance of learned and exact flow, and what it says about an observable (Lemma 3, Theorem 3)."""

from __future__ import annotations

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.drift_sampling import exact_law_rules
from theory.provenance import Array, Estimate, Rigor, Side, exact
from theory.quadrature import Rule

ANGLES = 8  # enough for the radial laws of BKW; a problem that needs more says so


def exact_rules(context: Context) -> list[Rule]:
    """Quadrature against the exact f_t at every report time, on the same nodes. Needs the exact solution."""
    solution, problem = context.exact, context.problem
    if solution is None:
        raise ValueError("this problem has no exact solution")
    return exact_law_rules(problem, solution, context.times, problem.initial.radial_edges(), ANGLES)


def coupling_rms(context: Context) -> Array:
    """L2(f0) distance of learned and exact flow at the report times, quadrature error added."""
    second, error = context.rule.integrate(np.sum((context.learned_path - context.exact_path) ** 2, axis=-1))
    return np.asarray(np.sqrt(second + error))


def compute(context: Context) -> dict[str, Estimate]:
    """Coupling error at the report times; bias and spread of the mean speed of N particles."""
    if context.exact is None:
        return {}
    rule, n = context.rule, context.options.samples
    learned, reference = context.learned_path, context.exact_path
    nodes = f"{len(rule.weights)} quadrature nodes, error estimate added"
    speed, true_speed = np.linalg.norm(learned, axis=-1), np.linalg.norm(reference, axis=-1)
    gap, gap_error = rule.integrate(speed - true_speed)
    mean, _ = rule.integrate(speed)
    variance, variance_error = rule.integrate((speed - mean[:, None]) ** 2)
    deviation = np.sqrt((variance + variance_error) / n)
    true_mean = np.array([float(r.integrate(np.linalg.norm(r.nodes, axis=1))[0]) for r in exact_rules(context)])
    spread = [
        sum(r.integrate((np.linalg.norm(r.nodes, axis=1) - m) ** 2))
        for r, m in zip(exact_rules(context), true_mean, strict=True)
    ]
    return {
        "coupling_rms": _upper(coupling_rms(context), f"same start, learned against exact flow, {nodes}"),
        "observable_lipschitz": exact(1.0, "|v| is 1-Lipschitz"),
        "observable_deviation": _upper(np.sqrt(np.array(spread) / n), f"quadrature under f_t, N = {n}"),
        "measured_observable_lower": Estimate(
            np.maximum(np.abs(gap) - gap_error, 0.0),
            Side.LOWER,
            Rigor.NUMERICAL,
            "|E (mean speed) - f psi| under the learned density, error estimate subtracted",
            uses_exact_solution=True,
        ),
        "measured_observable_upper": _upper(
            np.abs(gap) + gap_error + deviation, f"bias plus standard deviation of the mean, {nodes}"
        ),
    }


def _upper(value: Array, method: str) -> Estimate:
    return Estimate(value, Side.UPPER, Rigor.NUMERICAL, method, uses_exact_solution=True)


ESTIMATOR = Estimator(
    id="coupling",
    provides={
        "coupling_rms": Side.UPPER,
        "observable_lipschitz": Side.BOTH,
        "observable_deviation": Side.UPPER,
        "measured_observable_lower": Side.LOWER,
        "measured_observable_upper": Side.UPPER,
    },
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution",
)
