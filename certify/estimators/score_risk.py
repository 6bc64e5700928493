"""Score errors: implicit score-matching loss, excess risk (oracle and a posteriori), error along exact paths.

With J(s~; g) = E_g[|s~|^2 + 2 div s~] and I(g) = E_g|grad log g|^2, Hyvarinen's identity reads
||s~ - grad log g||^2_{L2(g)} = J(s~; g) + I(g). Along the exact flow I(f_t) <= I(f0) (Villani 1998 for Maxwell), so
J(s~; f_t) + I(f0) bounds the excess risk without the exact score, provided J is taken under f_t (TRANSPORT 4.5).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.drift_sampling import FINE_ANGLES, law_rules
from certify.estimators.residual_energy import (
    SINGULAR,
    judged,
    one_sided,
    pushed_score_is_singular,
    second_moment,
    share_of_delta,
)
from certify.pushforward import Pushforward
from theory.problem import ExactSolution, Problem
from theory.provenance import Array, Estimate, Rigor, Side
from theory.quadrature import Rule, bisect

# bisections of all panels of the rule for I(f0); two successive changes must shrink by RATIO or be rounding
BISECTIONS, RATIO = 3, 0.5


def oracle(context: Context) -> dict[str, Estimate]:
    """Error of the learned score under the exact law (quadrature along the exact flow) and at exact particles."""
    solution, nodes = context.exact, context.grid.flat
    if solution is None or context.run.layers("score") is None:
        return {}
    rules = law_rules(context.problem, solution, nodes)
    size = _at_nodes(context, solution, nodes, rules)[1]
    mean, squared = _total(rules, size), _total(rules, size**2)
    at_particles = _error(context, solution, nodes, context.exact_particles)
    method = f"quadrature of |s~ - s| under f_t, {size.shape[1]} nodes, error estimate added"
    count = f"mean over {len(context.particles)}"
    out = {
        "score_error_mean": _oracle(mean, method),
        "excess_risk": _oracle(squared, method),
        "score_error_path": _oracle(
            np.sqrt(np.mean(at_particles**2, axis=1)), f"{count} particles on their exact characteristics"
        ),
    }
    reference = context.reference
    if reference is not None:
        window = nodes[-len(reference) :]
        energy = np.mean(_error(context, solution, window, reference) ** 2, axis=1)
        before = np.zeros(len(nodes) - len(window))  # Theorem 2 starts with the judged window
        out["score_error_energy"] = _oracle(
            np.concatenate([before, energy]), f"{count} reference particles (exact score, Runge-Kutta)"
        )
    return out | _at_report_times(context, solution)


def _at_nodes(context: Context, solution: ExactSolution, times: Array, rules: list[Rule]) -> tuple[Array, Array]:
    """Learned score (m, n, d) and |s~ - s| (m, n) at the common nodes of the rules."""
    x = rules[0].nodes
    learned = _learned(context, times, np.broadcast_to(x, (len(times), *x.shape)))
    true = np.stack([solution.score(t, x) for t in times])
    return learned, np.asarray(np.linalg.norm(learned - true, axis=-1))


def _total(rules: list[Rule], values: Array) -> Array:
    """Integrals of values (m, n) under the law of each time, error estimates added."""
    return np.array([sum(rule.integrate(v)) for rule, v in zip(rules, values, strict=True)])


def _at_report_times(context: Context, solution: ExactSolution) -> dict[str, Estimate]:
    """E|s~ - s|^2 under f_t, measured; J(s~; f_t), and with I(f0) the excess risk that needs no exact score."""
    rules = law_rules(context.problem, solution, context.times, FINE_ANGLES)
    learned, size = _at_nodes(context, solution, context.times, rules)
    parts = [rule.integrate(v * v) for rule, v in zip(rules, size, strict=True)]
    excess, error = (np.array(p, dtype=np.float64) for p in zip(*parts, strict=True))
    method = f"quadrature of |s~ - s|^2 under f_t, {size.shape[1]} nodes, error estimate"
    out = {
        "measured_score_error_upper": _oracle(excess + error, f"{method} added"),
        "measured_score_error_lower": replace(
            _oracle(np.maximum(excess - error, 0.0), f"{method} subtracted"), side=Side.LOWER
        ),
    }
    x = rules[0].nodes
    divergence = context.run.score_divergence(context.times, np.broadcast_to(x, learned.shape))
    if divergence is None:
        return out
    objective = _total(rules, np.sum(learned**2, axis=-1) + 2 * divergence)
    method = f"quadrature of |s~|^2 + 2 div s~ under f_t, {len(x)} nodes, error estimate added"
    out["ism_objective_exact_law"] = _oracle(objective, method)
    if context.problem.kernel.is_maxwell:
        bound = objective + fisher_initial(context.problem)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            loose = np.where(excess > 0, bound / excess, np.inf)
        out["excess_risk_fisher"] = replace(
            _oracle(bound, f"J(s~; f_t) + I(f0): I(f_t) <= I(f0) for Maxwell molecules (Villani); {method}"),
            detail={"looseness_first": float(loose[0]), "looseness_last": float(loose[-1])},
        )
    return out


def paths(context: Context) -> dict[str, Estimate]:
    """Score and drift errors of the judged particles at their *learned* positions, and of the law of one."""
    solution, nodes, found = context.exact, context.grid.flat, judged(context)
    if solution is None or found is None:
        return {}
    exact = np.stack([solution.drift(t, x) for t, x in zip(nodes, found.x, strict=True)])
    drift = np.stack([context.pair_drift(x, s) for x, s in zip(found.x, found.score, strict=True)])
    count = f"root mean square over the {len(context.particles)} judged particles on their learned paths"
    out = {
        "drift_mismatch": _both(_rms(exact - drift), f"{count}, U[f_t] - U~"),
        "drift_error_path": _both(_rms(found.velocity - exact), f"{count}, d_t T - U[f_t]"),
    }
    if context.run.layers("score") is not None:
        true = np.stack([solution.score(t, x) for t, x in zip(nodes, found.x, strict=True)])
        out["score_error_learned_path"] = _oracle(_rms(found.score - true), f"{count}, s~ - s")
    pushed = context.pushed
    if pushed is not None:
        drift = np.stack([solution.drift(t, x) for t, x in zip(nodes, pushed.flow, strict=True)])
        method = f"L2(f0) norm of d_t T - U[f_t](T), {len(pushed.rule.weights)} nodes, error estimate added"
        out["drift_error_law"] = _oracle(np.sqrt(_upper(pushed, np.sum((pushed.dt - drift) ** 2, axis=-1))), method)
    return {k: e for k, e in out.items() if np.isfinite(e.value).all()}


def _rms(values: Array) -> Array:
    """Root mean square over particles of values (m, n, d)."""
    return np.asarray(np.sqrt(np.mean(np.sum(values**2, axis=-1), axis=-1)))


def _upper(pushed: Pushforward, values: Array) -> Array:
    """Integral of values (m, n) under f~, error estimate added; infinite where a value is not finite."""
    finite = np.isfinite(values).all(axis=-1)
    total, error = pushed.rule.integrate(np.where(np.isfinite(values), values, 0.0))
    return np.where(finite, total + error, np.inf)


def _error(context: Context, solution: ExactSolution, times: Array, x: Array) -> Array:
    """|s~ - s| at x of shape (m, n, d): shape (m, n)."""
    true = np.stack([solution.score(t, y) for t, y in zip(times, x, strict=True)])
    return np.asarray(np.linalg.norm(_learned(context, times, x) - true, axis=-1))


def _learned(context: Context, times: Array, x: Array) -> Array:
    learned = context.run.score(times, x)
    if learned is None:
        raise ValueError("the run has no score network")
    return learned


def _oracle(value: Array, method: str) -> Estimate:
    return Estimate(value, Side.UPPER, Rigor.NUMERICAL, method, uses_exact_solution=True)


def _both(value: Array, method: str) -> Estimate:
    """A realised value; where it is not finite it is dropped by the caller, not claimed."""
    side = Side.BOTH if np.isfinite(value).all() else Side.UPPER
    return Estimate(np.nan_to_num(value, nan=np.inf), side, Rigor.NUMERICAL, method, uses_exact_solution=True)


def fisher_initial(problem: Problem) -> tuple[float, float]:
    """I(f0) with its error added, and that error; infinite where it cannot be shown to converge.

    All panels are bisected; a finite integral changes less and less, a divergent one (even a logarithm) does not. A
    jump of f0 makes I infinite although the score is bounded inside.
    """
    if not problem.initial.regularity()[0]:
        return np.inf, np.inf
    rule = problem.rule()
    totals, error = [], 0.0
    for k in range(BISECTIONS + 1):
        if k:
            edges = bisect(rule.edges, list(range(len(rule.edges) - 1)))
            rule = problem.rule(edges, rule.angles)
        squared = np.sum(problem.initial.score(rule.nodes) ** 2, axis=-1)
        if not np.isfinite(squared).all():
            return np.inf, np.inf
        total, estimate = rule.integrate(squared)
        totals.append(float(total))
        error = float(estimate)
    changes = np.abs(np.diff(totals))
    rounding = 1e-10 * abs(totals[-1])
    if not all(b <= max(RATIO * a, rounding) for a, b in pairwise(changes)):
        return np.inf, np.inf
    # never below rounding, which differs between machines and numbers of threads
    error = max(error + float(changes[-1]), 1e-12 * abs(totals[-1]))
    return totals[-1] + error, error


def fisher(context: Context) -> dict[str, Estimate]:
    """I(f0), which needs no solution."""
    value, error = fisher_initial(context.problem)
    method = "quadrature of |grad log f0|^2 against f0, error estimate and last change under bisection added"
    if value == np.inf:
        method = "infinite: the score of f0 is not seen to be square integrable, or f0 jumps"
    return {"fisher_initial": Estimate(value, Side.UPPER, Rigor.NUMERICAL, method, detail={"error": error})}


def fisher_exact(context: Context) -> dict[str, Estimate]:
    """I(f_t) at the report times."""
    solution = context.exact
    if solution is None:
        return {}
    value = np.array([solution.fisher_information(t) for t in context.times])
    method = "E|s_t|^2 by adaptive quadrature of the closed form"
    return {"fisher_information": _both(value, method)} if np.isfinite(value).all() else {}


def matching_loss(context: Context) -> dict[str, Estimate]:
    """Empirical ISM loss mean(|s~|^2 + 2 div s~) at fresh learned particles, at the report times."""
    times = context.times
    x = context.run.flow(times, context.particles)
    s, divergence = context.run.score(times, x), context.run.score_divergence(times, x)
    if s is None or divergence is None:
        return {}
    value = np.mean(np.sum(s * s, axis=-1) + 2 * divergence, axis=-1)
    method = f"mean over {len(context.particles)} fresh particles"
    return {"ism_loss": Estimate(value, Side.NONE, Rigor.SAMPLED, method)}


def a_posteriori(context: Context) -> dict[str, Estimate]:
    """Excess risk with respect to the learned density, ||s~ - s_push||^2 in L2(f~): no exact solution needed."""
    pushed = context.pushed_at_times
    if pushed is None:
        return {}
    learned = context.run.score(pushed.times, pushed.flow)
    if learned is None:
        return {}
    squared = np.sum((learned - pushed.score) ** 2, axis=-1)
    method = f"quadrature against f~, {len(pushed.rule.weights)} nodes, error estimate added"
    out = {"excess_risk_push": Estimate(_upper(pushed, squared), Side.UPPER, Rigor.NUMERICAL, method)}
    # split of the defect: residual of the learned drift, and the drift that the score error causes
    drift = pushed.mean_field_drift(learned)
    residual, e1 = pushed.rule.integrate(np.nan_to_num(np.sum((pushed.dt - drift) ** 2, axis=-1), posinf=0.0))
    part, e2 = pushed.rule.integrate(
        np.nan_to_num(np.sum((drift - pushed.mean_field_drift(pushed.score)) ** 2, axis=-1), posinf=0.0)
    )
    out["defect_residual_part"] = Estimate(np.sqrt(residual + e1), Side.UPPER, Rigor.NUMERICAL, method)
    out["defect_score_part"] = Estimate(np.sqrt(part + e2), Side.UPPER, Rigor.NUMERICAL, method)
    return out | _objective_push(context, pushed, learned, method)


def _objective_push(context: Context, pushed: Pushforward, learned: Array, method: str) -> dict[str, Estimate]:
    """J(s~; f~_t) at the report times, and J + I(f0), which bounds nothing unless I(f~_t) <= I(f0)."""
    divergence = context.run.score_divergence(pushed.times, pushed.flow)
    if divergence is None:
        return {}
    objective = _upper(pushed, np.sum(learned**2, axis=-1) + 2 * divergence)
    out = {"ism_objective": Estimate(objective, Side.UPPER, Rigor.NUMERICAL, f"|s~|^2 + 2 div s~, {method}")}
    start = fisher_initial(context.problem)[0]
    information = _upper(pushed, np.sum(pushed.score**2, axis=-1))
    out["excess_risk_fisher_push"] = Estimate(
        objective + start,
        Side.NONE,
        Rigor.NUMERICAL,
        f"J(s~; f~_t) + I(f0): bounds ||s~ - s_push||^2 only if I(f~_t) <= I(f0), which no theorem gives; {method}",
        detail={"times_with_larger_information": int(np.sum(information > start)), "fisher_initial": start},
    )
    return out


def push_statistical(context: Context) -> dict[str, Estimate]:
    """||s~ - s_push||^2 in L2(f~) from fresh held-out particles, jointly at the report times."""
    start = context.problem.initial.sample(context.options.samples, context.rng("score test particles"))
    jets = context.run.jets(context.times, start)
    if jets is None:
        return {}
    learned = context.run.score(context.times, jets.value)
    if learned is None:
        return {}
    push_score = jets.pushforward_score(context.problem.initial.score(start))
    squared = np.sum((learned - push_score) ** 2, axis=-1)
    if not np.isfinite(squared).all():
        return {}
    pushed = context.pushed_at_times
    moment = None
    if pushed is not None:
        at_nodes = context.run.score(pushed.times, pushed.flow)
        moment = second_moment(
            pushed.rule, None if at_nodes is None else np.sum((at_nodes - pushed.score) ** 2, axis=-1)
        )
    bound, hypothesis = one_sided(squared, moment, share_of_delta(context))
    hypothesis = f"X = |s~ - s_push|^2 under f~ at every report time: {hypothesis}"
    method = f"{len(start)} held-out particles: {bound.method}"
    if pushed_score_is_singular(context):
        bound, method = replace(bound, value=np.full(len(squared), np.inf)), SINGULAR
    return {
        "excess_risk_push_statistical": replace(bound, method=method, detail={**bound.detail, "hypothesis": hypothesis})
    }


_ORACLE = (
    "score_error_mean",
    "score_error_path",
    "excess_risk",
    "score_error_energy",
    "excess_risk_fisher",
    "ism_objective_exact_law",
    "measured_score_error_upper",
)
_PUSH = ("excess_risk_push", "defect_residual_part", "defect_score_part", "ism_objective")
ESTIMATOR = (
    Estimator(
        id="ism_excess_oracle",
        provides=dict.fromkeys(_ORACLE, Side.UPPER) | {"measured_score_error_lower": Side.LOWER},
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=True,
        compute=oracle,
        why_not="a score network and the exact solution",
    ),
    Estimator(
        id="learned_path_errors",
        provides={
            "score_error_learned_path": Side.UPPER,
            "drift_mismatch": Side.BOTH,
            "drift_error_path": Side.BOTH,
            "drift_error_law": Side.UPPER,
        },
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=True,
        compute=paths,
        why_not="the exact solution",
    ),
    Estimator(
        id="fisher_exact",
        provides={"fisher_information": Side.BOTH},
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=True,
        compute=fisher_exact,
        why_not="the exact solution",
    ),
    Estimator(
        id="fisher_initial",
        provides={"fisher_initial": Side.UPPER},
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=False,
        compute=fisher,
    ),
    Estimator(
        id="ism_loss",
        provides={"ism_loss": Side.NONE},
        rigor=Rigor.SAMPLED,
        uses_exact_solution=False,
        compute=matching_loss,
        why_not="a score network with its divergence",
    ),
    Estimator(
        id="ism_excess_push",
        provides=dict.fromkeys(_PUSH, Side.UPPER) | {"excess_risk_fisher_push": Side.NONE},
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=False,
        compute=a_posteriori,
        why_not="a score network, and a flow with derivatives",
    ),
    Estimator(
        id="ism_excess_statistical",
        provides={"excess_risk_push_statistical": Side.UPPER},
        rigor=Rigor.STATISTICAL,
        uses_exact_solution=False,
        compute=push_statistical,
        why_not="a score network, and a flow with derivatives",
    ),
)
