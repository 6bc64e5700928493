"""Score errors with known truth: constant offsets, Hyvarinen's identity, triangle inequalities, the Fisher bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from certify.context import Context
from certify.estimators import drift_sampling, residual_energy, score_risk
from certify.options import Options
from tests.certify.test_residual import WAVE, Scored, scored
from tests.runs import FunctionRun, exact_jets, gradient_perturbation, translation, truncated_problem
from theory.bkw import Bkw
from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array, Estimate, Rigor, Side
from theory.quadrature import Rule, polar_rule

PROBLEM = parse_problem("bkw2d:t0=1/2,T=2")
OPTIONS = Options(times=2, samples=300, w1_samples=20, tolerance=1e3)
OFFSET = np.array([0.3, -0.4])  # length 1/2


@dataclass(frozen=True)
class Shifted(Scored):
    """The exact score plus a constant."""

    def score(self, t: Array, x: Array) -> Array:
        return super().score(t, x) + OFFSET


def context(run: FunctionRun, options: Options = OPTIONS, start: float | None = None) -> Context:
    return Context(run, run.problem, float(run.problem.t0) if start is None else start, options)


def values(found: dict[str, Estimate]) -> dict[str, Array]:
    return {k: np.asarray(e.value) for k, e in found.items()}


def law_rule(t: float, edges: Array, angles: int) -> Rule:
    """Quadrature against the exact law, built apart from the estimators' own."""
    solution: Any = PROBLEM.exact
    return polar_rule(lambda v: np.exp(solution.log_density(t, v)), np.zeros(2), edges, angles)


def test_a_constant_offset_of_the_score_is_measured_exactly() -> None:
    c = context(Shifted(PROBLEM, exact_jets(PROBLEM), "shifted", 0.0))
    found = values(score_risk.oracle(c)) | values(score_risk.paths(c)) | values(score_risk.a_posteriori(c))
    for name in ("score_error_mean", "score_error_path", "score_error_learned_path"):
        assert found[name] == pytest.approx(np.full(c.grid.n_nodes, 0.5), rel=1e-5)
    for name in ("excess_risk", "score_error_energy"):
        assert found[name] == pytest.approx(np.full(c.grid.n_nodes, 0.25), rel=1e-5)
    for name in ("excess_risk_push", "measured_score_error_lower", "measured_score_error_upper"):
        assert found[name] == pytest.approx(np.full(len(c.times), 0.25), rel=1e-5)
    assert (found["measured_score_error_lower"] <= 0.25 + 1e-12).all()
    assert (found["measured_score_error_upper"] >= 0.25 - 1e-12).all()


def test_the_statistical_excess_risk_of_a_constant_error_is_its_closed_form() -> None:
    c = context(Shifted(PROBLEM, exact_jets(PROBLEM), "shifted", 0.0), Options(times=2, samples=1000, tolerance=1e3))
    found = score_risk.push_statistical(c)["excess_risk_push_statistical"]
    slack = np.sqrt(2 * 0.25**2 * np.log(3 / 0.0025) / 1000)
    assert np.asarray(found.value) == pytest.approx(np.full(3, 0.25 + slack), rel=1e-4)
    assert (found.side, found.rigor) == (Side.UPPER, Rigor.STATISTICAL)
    assert found.delta == pytest.approx(0.0025)
    assert "held-out" in found.method
    assert "at every report time" in found.detail["hypothesis"]


def test_the_statistical_excess_risk_is_above_the_quadrature() -> None:
    options = Options(times=2, samples=2000, tolerance=1e3)
    c = context(scored(PROBLEM, 0.3, 0.1), options)
    bound = np.asarray(score_risk.push_statistical(c)["excess_risk_push_statistical"].value)
    truth = values(score_risk.a_posteriori(c))["excess_risk_push"]
    assert (bound[np.isfinite(bound)] > truth[np.isfinite(bound)]).all()
    assert np.isfinite(bound).any()


def test_a_zero_of_f0_leaves_no_statistical_excess_risk() -> None:
    problem = parse_problem("bkw2d:t0=0,T=1")
    run = Scored(problem, gradient_perturbation(problem, 0.1, WAVE).jets_at, "scored", 0.3)
    found = score_risk.push_statistical(context(run))["excess_risk_push_statistical"]
    assert np.isinf(found.value).all()
    assert "second moment is infinite" in found.method


def test_hyvarinens_identity_under_the_learned_density() -> None:
    c = context(scored(PROBLEM, 0.3, 0.1), replace(OPTIONS, tolerance=1e-3))
    found = values(score_risk.a_posteriori(c))
    pushed = c.pushed_at_times
    assert pushed is not None
    learned, divergence = c.run.score(c.times, pushed.flow), c.run.score_divergence(c.times, pushed.flow)
    assert learned is not None
    assert divergence is not None
    # two routes: divergence of the network and Fisher information, against the distance of the two scores
    information, e1 = pushed.rule.integrate(np.sum(pushed.score**2, axis=-1))
    _, e2 = pushed.rule.integrate(np.sum(learned**2, axis=-1) + 2 * divergence)
    _, e3 = pushed.rule.integrate(np.sum((learned - pushed.score) ** 2, axis=-1))
    error = e1 + e2 + e3
    assert (error < 1e-2 * found["excess_risk_push"]).all()
    assert (np.abs(found["ism_objective"] + information - found["excess_risk_push"]) <= error + 1e-12).all()
    assert (found["excess_risk_push"] > 0.03).all()
    start = score_risk.fisher_initial(PROBLEM)[0]
    assert found["excess_risk_fisher_push"] == pytest.approx(found["ism_objective"] + start, rel=1e-12)


def test_hyvarinens_identity_under_the_exact_law() -> None:
    c = context(scored(PROBLEM, 0.3))
    found = values(score_risk.oracle(c)) | values(score_risk.fisher_exact(c))
    excess = found["measured_score_error_upper"]
    gap = found["ism_objective_exact_law"] + found["fisher_information"] - excess
    assert (np.abs(gap) <= quadrature_errors(c) + 1e-10).all()
    assert (quadrature_errors(c) < 0.1 * excess).all()


def quadrature_errors(c: Context) -> Array:
    """Error estimates of J(s~; f_t) and of the excess risk, summed, at the report times."""
    nodes, solution = c.times, c.exact
    assert solution is not None
    rules = drift_sampling.law_rules(c.problem, solution, nodes, drift_sampling.FINE_ANGLES)
    learned, size = score_risk._at_nodes(c, solution, nodes, rules)
    divergence = c.run.score_divergence(nodes, np.broadcast_to(rules[0].nodes, learned.shape))
    assert divergence is not None
    objective = np.sum(learned**2, axis=-1) + 2 * divergence
    both = zip(rules, objective, size**2, strict=True)
    return np.array([rule.integrate(a)[1] + rule.integrate(b)[1] for rule, a, b in both])


def test_the_fisher_bound_exceeds_the_excess_risk_by_the_information_lost() -> None:
    c = context(scored(PROBLEM, 0.3))
    estimates = score_risk.oracle(c)
    found = values(estimates) | values(score_risk.fisher_exact(c))
    gap = found["excess_risk_fisher"] - found["measured_score_error_upper"]
    start, _ = score_risk.fisher_initial(PROBLEM)
    lost = start - found["fisher_information"]
    assert (gap > 0).all()
    assert (np.abs(gap - lost) <= quadrature_errors(c) + 1e-10).all()
    assert lost[-1] > 10 * quadrature_errors(c)[-1]
    detail = estimates["excess_risk_fisher"].detail
    truth = found["measured_score_error_upper"][-1]
    assert detail["looseness_last"] == pytest.approx(found["excess_risk_fisher"][-1] / truth, rel=1e-3)
    assert detail["looseness_last"] > 1.5  # it does not get tight by itself
    # with the information of the equilibrium in place of I(f0), a 'bound' would lie below the truth
    assert (found["ism_objective_exact_law"] + 2.0 < found["measured_score_error_lower"]).all()


def test_the_objective_under_the_learned_density_bounds_nothing_and_claims_nothing() -> None:
    # T = exact flow squeezed towards 0: its density has more information than f0
    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        a = 1 - 0.5 * (t - 0.5) / 1.5
        value, dt, jac, hess = exact_jets(PROBLEM)(t, v)
        return a * value, a * dt - 0.5 / 1.5 * value, a * jac, a * hess

    c = context(Scored(PROBLEM, jets_at, "squeezed", 0.0))
    estimates = score_risk.a_posteriori(c)
    found = values(estimates)
    assert found["excess_risk_fisher_push"][-1] < found["excess_risk_push"][-1]
    assert estimates["excess_risk_fisher_push"].side is Side.NONE
    assert estimates["excess_risk_fisher_push"].detail["times_with_larger_information"] >= 1


@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2", "bkw2d", "bkw3d", "bkw3d:t0=23/4"])
def test_the_initial_information_is_that_of_the_closed_form(spec: str) -> None:
    problem = parse_problem(spec)
    solution: Any = problem.exact
    value, error = score_risk.fisher_initial(problem)
    truth = solution.fisher_information(float(problem.t0))
    assert error < 1e-6
    assert value == pytest.approx(truth, rel=1e-7)


def test_the_information_of_the_exact_solution_never_grows() -> None:
    c = context(FunctionRun(PROBLEM, exact_jets(PROBLEM)))
    found = score_risk.fisher_exact(c)["fisher_information"]
    assert (np.diff(np.asarray(found.value)) < 0).all()
    assert np.asarray(found.value)[0] <= score_risk.fisher_initial(PROBLEM)[0]
    assert found.uses_exact_solution
    entropy_production = np.asarray(found.value) - 2  # E|U|^2 = C^2 (I - 2) in 2D (THEORY section 2)
    solution: Any = PROBLEM.exact
    for k in (0, len(c.times) - 1):
        rule = drift_sampling.law_rules(PROBLEM, solution, c.times[k : k + 1])[0]
        square = residual_energy.mean_square(solution.drift(c.times[k], rule.nodes), rule)[0]
        assert square == pytest.approx(entropy_production[k] / 256, rel=1e-7)


class Cone:
    """3 (1 - |v|)/pi on the unit disc: continuous, but E|score|^2 diverges like a logarithm at the rim."""

    d = 2

    def log_density(self, v: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(3 * np.maximum(1 - np.linalg.norm(v, axis=-1), 0.0) / np.pi)

    def score(self, v: Array) -> Array:
        r = np.linalg.norm(v, axis=-1, keepdims=True)
        return -v / r / (1 - r)

    def mean(self) -> Array:
        return np.zeros(2)

    def radial_edges(self) -> Array:
        return np.linspace(0, 1, 5)

    def regularity(self) -> tuple[bool, str]:
        return True, "continuous"


def test_an_information_that_diverges_is_infinite_although_every_rule_gives_a_number() -> None:
    cone: Any = Cone()
    problem = replace(PROBLEM, initial=cone, exact=None)
    rule = problem.rule()
    assert rule.weights.sum() == pytest.approx(1.0)
    assert np.isfinite(np.sum(cone.score(rule.nodes) ** 2, axis=-1) @ rule.weights)
    assert score_risk.fisher_initial(problem) == (np.inf, np.inf)
    assert score_risk.fisher_initial(truncated_problem()) == (np.inf, np.inf)  # it jumps
    found = score_risk.fisher(context(FunctionRun(truncated_problem(), exact_jets(PROBLEM))))["fisher_initial"]
    assert found.value == np.inf
    assert "infinite" in found.method


def test_the_error_of_the_drift_obeys_the_triangle_inequality() -> None:
    c = context(scored(PROBLEM, 0.3, 0.1))
    found = values(score_risk.paths(c))
    residual = values(residual_energy.realised(c))["residual_rms"]
    mismatch, total = found["drift_mismatch"], found["drift_error_path"]
    assert (total <= residual + mismatch + 1e-12).all()
    assert (mismatch <= residual + total + 1e-12).all()
    assert (residual <= total + mismatch + 1e-12).all()
    assert (mismatch > 0.01).all()


def test_the_exact_flow_with_the_exact_score_has_only_its_sampling_error() -> None:
    c = context(scored(PROBLEM, 0.0))
    found = values(score_risk.paths(c))
    sampled = values(drift_sampling.compute(c))["drift_sampling_realised"]
    assert found["drift_mismatch"] ** 2 == pytest.approx(sampled, rel=1e-8)
    for name in ("score_error_learned_path", "drift_error_path", "drift_error_law"):
        assert (found[name] < 1e-9).all()


def test_the_drift_error_of_a_translated_law_is_its_closed_form() -> None:
    # d_t T - U(T) = step + U(X) - U(X + (t - t0) step) with X ~ f_t
    size = 0.2
    c = context(translation(PROBLEM, size))
    found = score_risk.paths(c)
    assert "score_error_learned_path" not in found  # no score network
    solution: Any = PROBLEM.exact
    step = np.array([size, 0.0])
    for k in (0, c.grid.n_nodes - 1):
        t = c.grid.flat[k]
        rule = law_rule(t, PROBLEM.initial.radial_edges(), 32)
        e = step + solution.drift(t, rule.nodes) - solution.drift(t, rule.nodes + (t - 0.5) * step)
        truth = np.sqrt(np.sum(e**2, axis=1) @ rule.weights)
        assert np.asarray(found["drift_error_law"].value)[k] == pytest.approx(truth, rel=1e-6)
        assert np.asarray(found["drift_error_path"].value)[k] == pytest.approx(truth, rel=0.1)


def test_the_score_of_the_learned_density_stands_in_for_a_missing_network() -> None:
    c = context(translation(PROBLEM, 0.2))
    found = residual_energy.judged(c)
    assert found is not None
    solution: Any = PROBLEM.exact
    k = c.grid.n_nodes - 1
    shift = np.array([0.2, 0.0]) * (c.grid.flat[k] - 0.5)
    assert found.score[k] == pytest.approx(solution.score(c.grid.flat[k], found.x[k] - shift), abs=1e-8)


def test_a_restart_keeps_the_model_s_grid_and_the_zeros_before_the_window() -> None:
    c = context(scored(PROBLEM, 0.3, 0.1), start=1.0)
    assert c.is_restart
    found = values(score_risk.oracle(c)) | values(score_risk.paths(c)) | values(score_risk.fisher_exact(c))
    found |= values(residual_energy.expected(c)) | values(drift_sampling.compute(c))
    at_report = {"ism_objective_exact_law", "fisher_information", "excess_risk_fisher"}
    before = c.grid.n_nodes - c.window.n_nodes
    assert before > 0
    for name, value in found.items():
        assert value.shape == (
            (len(c.times),) if name.startswith("measured_") or name in at_report else (c.grid.n_nodes,)
        ), name
        assert (value[:before] == 0).all() == (name == "score_error_energy"), name
    assert (found["score_error_energy"][before:] > 0).all()
    for name, value in (values(score_risk.a_posteriori(c)) | values(score_risk.push_statistical(c))).items():
        assert value.shape == (len(c.times),), name


def test_the_measured_bracket_holds_the_error_of_a_finer_rule() -> None:
    c = context(scored(PROBLEM, 0.3))
    found = values(score_risk.oracle(c))
    solution: Any = PROBLEM.exact
    for k, t in enumerate(c.times):
        rule = law_rule(t, np.linspace(0, 9, 13), 64)
        difference = c.run.score(np.array([t]), rule.nodes[None])
        assert difference is not None
        truth = np.sum((difference[0] - solution.score(t, rule.nodes)) ** 2, axis=-1) @ rule.weights
        assert found["measured_score_error_lower"][k] - 1e-9 <= truth <= found["measured_score_error_upper"][k] + 1e-9


def test_without_exact_solution_or_score_nothing_is_invented() -> None:
    blind = PROBLEM.without_exact_solution()
    c = Context(scored(PROBLEM, 0.3), blind, 0.5, OPTIONS)
    assert score_risk.oracle(c) == {}
    assert score_risk.paths(c) == {}
    assert score_risk.fisher_exact(c) == {}
    bare = context(gradient_perturbation(PROBLEM, 0.1, WAVE))
    assert score_risk.oracle(bare) == {}
    assert score_risk.a_posteriori(bare) == {}
    assert score_risk.push_statistical(bare) == {}
    assert score_risk.matching_loss(bare) == {}


def test_every_estimate_has_the_side_and_the_origin_its_estimator_declares() -> None:
    c = context(scored(PROBLEM, 0.3, 0.1))
    names: set[str] = set()
    for estimator in score_risk.ESTIMATOR:
        found = estimator.compute(c)
        assert set(found) == set(estimator.provides), estimator.id
        for name, estimate in found.items():
            assert estimate.side is estimator.provides[name], name
            assert estimate.uses_exact_solution is estimator.uses_exact_solution, name
            assert estimate.rigor <= estimator.rigor, name
        assert not names & set(found)
        names |= set(found)
    assert {"excess_risk", "score_error_energy", "excess_risk_push", "ism_loss", "excess_risk_fisher"} <= names


def test_the_fisher_bound_is_not_offered_for_a_kernel_without_the_theorem() -> None:
    from theory.kernels import mollified_coulomb

    solution = PROBLEM.exact
    assert isinstance(solution, Bkw)
    other: Problem = replace(PROBLEM, kernel=mollified_coulomb(2, 1.0, 0.5))
    run = Scored(other, exact_jets(PROBLEM), "scored", 0.3)
    c = Context(run, other, 0.5, replace(OPTIONS, samples=30))
    found = set(score_risk._at_report_times(c, solution))
    assert "ism_objective_exact_law" in found
    assert "excess_risk_fisher" not in found
