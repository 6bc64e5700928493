"""Sampling error of the drift of N i.i.d. particles with the exact score (repaired Theorem 5).

With K(x, y) = A(x - y)(s(x) - s(y)) and X, X' independent with law f,
E V = E|U[mu_N](X_i) - U[f](X_i)|^2 = ((N-1) E|K(X, X')|^2 - (N-2) E|U[f](X)|^2)/N^2 (``sampling_error``), at most
E|K|^2/N: the rate of sqrt(E V) is N^(-1/2) in every dimension, because only one function of X' is averaged (TRANSPORT
section 4.5).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.residual_energy import mean_pair_square, sampling_error
from theory.problem import ExactSolution, Problem
from theory.provenance import Array, Estimate, Rigor, Side
from theory.quadrature import Rule, polar_rule

ANGLES = {2: 16, 3: 8}  # of the rules against the exact law at the quadrature times, by dimension
FINE_ANGLES = {2: 48, 3: 12}  # at the report times: |s~|^2 + 2 div s~ cancels where |s~ - s|^2 does not
BEYOND = 1e-15  # energy of f_t left outside a rule


def law_rules(
    problem: Problem, solution: ExactSolution, times: Array, angles: Mapping[int, int] = ANGLES
) -> list[Rule]:
    """Quadrature against f_t at every time, all on the same nodes.

    Every other radial panel of f0's rule: what learned scores need is angles.
    """
    edges = problem.initial.radial_edges()
    return exact_law_rules(problem, solution, times, np.append(edges[:-1:2], edges[-1]), angles[problem.d])


def exact_law_rules(problem: Problem, solution: ExactSolution, times: Array, edges: Array, angles: int) -> list[Rule]:
    """Quadrature against f_t at every time on radial panels made for f0, all on the same nodes.

    Panels are added where a later law reaches further than f0, and angles where the problem says that f0 needs them:
    no later law needs more.
    """
    centre, angles = problem.initial.mean(), max(angles, getattr(problem, "angles", 0))
    while max(solution.tail_moment(float(t), float(edges[-1]), 2) for t in times) > BEYOND:
        edges = np.append(edges, 1.2 * edges[-1])

    def at(t: float) -> Rule:
        return polar_rule(lambda v: np.exp(solution.log_density(t, v)), centre, edges, angles)

    return [at(float(t)) for t in times]


def compute(context: Context) -> dict[str, Estimate]:
    """E V by double quadrature under f_t, and V of the judged particles on their exact characteristics."""
    solution, nodes = context.exact, context.grid.flat
    if solution is None:
        return {}
    n, kernel = len(context.particles), context.problem.kernel
    expected, error = np.empty(len(nodes)), np.empty(len(nodes))
    realised = np.empty(len(nodes))
    rules = law_rules(context.problem, solution, nodes)
    for k, (t, rule, x) in enumerate(zip(nodes, rules, context.exact_particles, strict=True)):
        score = solution.score(t, rule.nodes)
        pair, coarse = (mean_pair_square(kernel, rule.nodes, score, w) for w in (rule.weights, rule.coarse))
        drift, drift_error = rule.integrate(np.sum(solution.drift(t, rule.nodes) ** 2, axis=-1))
        upper, lower = pair + abs(pair - coarse), max(float(drift - drift_error), 0.0)
        expected[k] = sampling_error(upper, lower, n)
        error[k] = expected[k] - sampling_error(pair, float(drift), n)
        difference = context.pair_drift(x, solution.score(t, x)) - solution.drift(t, x)
        realised[k] = np.mean(np.sum(difference**2, axis=-1))
    out = {}
    if np.isfinite(expected).all():
        method = f"double quadrature under f_t, {len(rules[0].weights)} nodes, error estimate added; N = {n}"
        beyond = max(solution.tail_moment(t, rules[0].radius, 0) for t in nodes)
        detail = {"error": float(error.max()), "mass_beyond_rule": beyond}
        out["drift_sampling"] = Estimate(
            expected, Side.UPPER, Rigor.NUMERICAL, method, uses_exact_solution=True, detail=detail
        )
    if np.isfinite(realised).all():
        method = f"the {n} judged particles on their exact characteristics, exact score"
        out["drift_sampling_realised"] = Estimate(
            realised, Side.BOTH, Rigor.NUMERICAL, method, uses_exact_solution=True
        )
    return out


ESTIMATOR = Estimator(
    id="drift_sampling",
    provides={"drift_sampling": Side.UPPER, "drift_sampling_realised": Side.BOTH},
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution",
)
