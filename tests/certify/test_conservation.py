"""Conservation and entropy of flows with known truth: exact, translated, scaled, folded, resting."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from certify import arrays
from certify.context import Context
from certify.estimators import conservation
from certify.judge import estimators_for
from certify.options import Options
from tests.runs import (
    FunctionRun,
    exact_run,
    folded,
    gradient_perturbation,
    scaled,
    translation,
    truncated_problem,
)
from theory.densities import GaussianMixture
from theory.gronwall import TimeGrid
from theory.kernels import maxwell
from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array, Estimate
from theory.theorems import THEOREMS

# H and dH/dt of BKW in 2D (FACTS section 1.1)
ENTROPY = {0.0: -2.72194555, 5.0: -2.83423588}
RATE = {0.0: -0.125}


def _context(run: FunctionRun, *, times: int = 4, **rule: Any) -> Context:
    """A judgement on the problem's own rule, without refinement."""
    problem = run.problem
    context = Context(run, problem, float(problem.t0), Options(times=times))
    vars(context)["rule"] = problem.rule(**rule)
    return context


def _estimates(run: FunctionRun, **options: Any) -> tuple[Array, dict[str, Estimate]]:
    context = _context(run, **options)
    return context.times, conservation.compute(context)


def _value(estimate: Estimate) -> Array:
    return np.asarray(estimate.detail["value"])


def _anisotropic() -> Problem:
    """Maxwell molecules with mean (-1, 0) and a covariance that is not isotropic."""
    return Problem(
        id="anisotropic-maxwell",
        title="two Gaussians",
        kernel=maxwell(2, 1 / 16),
        t0=Fraction(0),
        T=Fraction(2),
        initial=GaussianMixture((0.5, 0.5), ((-2.0, 1.0), (0.0, -1.0)), 1.0, (0.0, 1.5, 3.0, 4.5, 6.0), 1e-16),
        exact=None,
        constants={},
        source="test",
    )


def test_the_exact_flow_conserves_to_quadrature_and_its_entropy_balances() -> None:
    problem = parse_problem("bkw2d:t0=1/2")
    times, found = _estimates(exact_run(problem), angles=8)
    assert not any(e.uses_exact_solution for e in found.values())
    for name in ("mean_error", "energy_error", "covariance_error"):
        assert found[name].largest() < 1e-6, name
        assert found[name].largest() >= _value(found[name]).max()
    assert found["entropy_balance"].largest() < 2e-5
    assert found["entropy_increase"].largest() == 0.0
    assert found["entropy_increase_lower"].largest() == 0.0
    error = found["entropy"].detail["quadrature_error"][-1]
    assert abs(found["entropy"].last() - ENTROPY[5.0]) <= error + 1e-8 < 1e-5
    solution: Any = problem.exact
    production = [-(solution.fisher_information(t) - 2) / 16 for t in TimeGrid(times).flat]
    np.testing.assert_allclose(np.asarray(found["entropy_production"].value), production, rtol=0, atol=1e-6)
    assert found["entropy_production_gap"].largest() < 1e-5
    assert times[-1] == 5.0


def test_a_translation_moves_the_mean_and_nothing_but_the_mean_and_the_energy() -> None:
    problem, size = parse_problem("bkw2d:t0=1/2"), 0.01
    times, found = _estimates(translation(problem, size), angles=8)
    moved = size * (times - 0.5)
    np.testing.assert_allclose(_value(found["mean_error"]), moved, rtol=1e-9, atol=1e-14)
    assert (np.asarray(found["mean_error"].value) >= moved).all()
    np.testing.assert_allclose(_value(found["energy_error"]), moved**2 / 2, rtol=0, atol=1e-7)
    assert found["covariance_error"].largest() < 1e-6
    assert found["entropy_balance"].largest() < 2e-5


def test_a_flow_that_sharpens_loses_energy_and_gains_entropy() -> None:
    problem, rate = parse_problem("bkw2d"), 0.02
    times, found = _estimates(scaled(problem, rate))
    lost = 1 - np.exp(-2 * rate * times)
    np.testing.assert_allclose(_value(found["energy_error"]), lost, rtol=0, atol=1e-7)
    assert (np.asarray(found["energy_error"].value) >= lost).all()
    np.testing.assert_allclose(_value(found["covariance_error"]), np.sqrt(2) * lost, rtol=0, atol=1e-7)
    gained = 2 * rate * times
    low, high = (np.asarray(found[f"entropy_increase{side}"].value) for side in ("_lower", ""))
    assert (low <= gained).all()
    assert (high >= gained).all()
    np.testing.assert_allclose(low, high, rtol=0, atol=1e-7)
    assert found["entropy_increase_lower"].detail == {"from": 0.0, "to": 5.0}
    # for Maxwell molecules the dissipation is the same at every scale: D = dH/dt(0) of BKW
    np.testing.assert_allclose(np.asarray(found["entropy_production"].value), RATE[0.0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(_value(found["entropy_balance"]), gained - RATE[0.0] * times, rtol=0, atol=1e-5)
    assert abs(float(np.asarray(found["entropy"].value)[0]) - ENTROPY[0.0]) < 1e-6


def test_a_flow_that_spreads_never_gains_entropy_but_its_balance_tells() -> None:
    _, found = _estimates(scaled(parse_problem("bkw2d"), -0.02))
    assert found["entropy_increase"].largest() == 0.0
    assert _value(found["entropy_balance"])[-1] == pytest.approx(0.625 - 0.2, abs=1e-6)


def test_a_rise_is_measured_from_the_smallest_earlier_value() -> None:
    problem = parse_problem("bkw2d")

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        a = np.exp(0.1 * np.sin(np.pi * t / 5))  # spreads until t = 5/2, then sharpens back
        rate = 0.1 * np.pi / 5 * np.cos(np.pi * t / 5)
        jac = np.broadcast_to(a * np.eye(2), (len(v), 2, 2))
        return a * v, rate * a * v, jac, np.zeros((len(v), 2, 2, 2))

    times, found = _estimates(FunctionRun(problem, jets_at), times=8)
    entropy = -0.2 * np.sin(np.pi * times / 5)
    rise = entropy - np.minimum.accumulate(entropy)
    np.testing.assert_allclose(np.asarray(found["entropy_increase"].value), rise, rtol=0, atol=1e-6)
    window = found["entropy_increase"].detail
    assert window == {"from": float(times[np.argmin(entropy)]), "to": 5.0}


def test_resting_misses_the_law_of_the_covariance_by_what_it_says() -> None:
    problem = _anisotropic()
    times, found = _estimates(scaled(problem, 0.0))
    covariance = np.array([[2.0, -1.0], [-1.0, 2.0]])
    decay = 1 - np.exp(-8 / 16 * times)
    wanted = np.linalg.norm(covariance - 2 * np.eye(2)) / 2 * decay
    np.testing.assert_allclose(_value(found["covariance_error"]), wanted, rtol=0, atol=1e-12)
    assert found["mean_error"].largest() == 0.0
    assert found["energy_error"].largest() == 0.0


def test_energy_is_relative_to_all_of_it_where_the_mean_is_not_zero() -> None:
    problem = _anisotropic()
    times, found = _estimates(translation_at_rest(problem, 0.1))
    moved = 0.1 * times
    np.testing.assert_allclose(_value(found["mean_error"]), moved, rtol=0, atol=1e-8)
    np.testing.assert_allclose(_value(found["energy_error"]), np.abs(moved**2 - 2 * moved) / 5, rtol=0, atol=1e-8)


def translation_at_rest(problem: Problem, speed: float) -> FunctionRun:
    """v + speed t e_1."""
    step = speed * np.eye(problem.d)[0]

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        n, d = v.shape
        jac = np.broadcast_to(np.eye(d), (n, d, d))
        return v + t * step, np.broadcast_to(step, v.shape), jac, np.zeros((n, d, d, d))

    return FunctionRun(problem, jets_at, "translation")


def test_a_jump_shows_in_the_two_forms_of_the_entropy_production() -> None:
    # s = -v: the pair sums vanish, A(z) z = 0, while E U.s = 2 C T (1 - T) misses the jump (THEORY section 6.1)
    problem = truncated_problem()
    _, found = _estimates(scaled(problem, 0.0))
    temperature = float(problem.initial.covariance()[0, 0])
    wanted = 2 / 16 * temperature * (1 - temperature)
    np.testing.assert_allclose(np.asarray(found["entropy_production"].value), wanted, rtol=0, atol=1e-9)
    np.testing.assert_allclose(_value(found["entropy_production_gap"]), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "edges", "angles"), [("anisotropic2d", 3, 8), ("rosenbluth3d", 2, 4)])
def test_for_other_kernels_the_production_is_the_double_sum(name: str, edges: int, angles: int) -> None:
    problem = parse_problem(name)
    reach = problem.initial.radial_edges()[-1] / 2
    context = _context(scaled(problem, 0.001), times=1, edges=np.linspace(0, reach, edges), angles=angles)
    found = conservation.compute(context)
    assert {"covariance_error", "entropy_production_gap"}.isdisjoint(found)
    pushed = context.pushed
    assert pushed is not None
    x, s, w = pushed.flow[0], pushed.score[0], pushed.rule.weights
    total = 0.0
    for k in range(len(x)):
        y = s[k] - s
        total -= 0.5 * w[k] * float(w @ np.einsum("ni,nij,nj->n", y, problem.kernel.matrix(x[k] - x), y))
    assert np.asarray(found["entropy_production"].value)[0] == pytest.approx(total / w.sum(), rel=1e-10)
    assert total < 0


def test_after_a_fold_the_entropy_is_unknown_and_the_moments_are_not() -> None:
    times, found = _estimates(folded(parse_problem("bkw2d")), times=6)
    assert set(found) == {
        "mean_error",
        "energy_error",
        "covariance_error",
        "entropy_increase",
        "entropy_increase_lower",
    }
    rise = np.asarray(found["entropy_increase"].value)
    late = 1.2 * times / 5 >= 1
    assert np.isinf(rise[late]).all()
    assert np.isfinite(rise[~late]).all()
    assert found["entropy_increase"].detail["folds_at"] == times[late][0]
    assert (np.asarray(found["entropy_increase_lower"].value)[late] == 0).all()


def test_a_flow_without_derivatives_has_its_moments_checked() -> None:
    class Blind(FunctionRun):
        def jets(self, t: Array, v: Array) -> Any:
            return None

    run = translation(parse_problem("bkw2d:t0=1/2"), 0.01)
    context = _context(Blind(run.problem, run.jets_at), angles=8)
    found = conservation.compute(context)
    assert set(found) == {"mean_error", "energy_error", "covariance_error"}
    assert _value(found["mean_error"])[-1] == pytest.approx(0.045, rel=1e-9)
    drawn = arrays._moments(context)
    np.testing.assert_allclose(drawn["momentum_error"], 0.01 * (context.times - 0.5), rtol=0, atol=1e-8)
    assert "entropy_learned" not in drawn


def test_the_checks_run_whatever_certificates_are_asked_for() -> None:
    assert all("conservation" in estimators_for([name]) for name in THEOREMS)


def test_the_quadrature_error_covers_what_a_finer_rule_finds() -> None:
    run = gradient_perturbation(parse_problem("bkw2d:t0=1/2"), 0.05, np.array([2.0, 1.0]))
    edges = run.problem.initial.radial_edges()
    coarse = conservation.compute(_context(run, times=1, angles=8))
    halved = np.sort([*edges, *(edges[1:] + edges[:-1]) / 2])
    fine = conservation.compute(_context(run, times=1, angles=16, edges=halved))
    for name in ("mean_error", "energy_error", "covariance_error", "entropy_production_gap"):
        assert coarse[name].largest() >= _value(fine[name]).max(), name
    for name in ("entropy", "entropy_production"):
        gap = np.abs(np.asarray(coarse[name].value) - np.asarray(fine[name].value))
        allowed = np.asarray(coarse[name].detail["quadrature_error"]) + fine[name].detail["quadrature_error"]
        assert (gap <= allowed).all(), name


def test_an_infinite_flow_is_an_infinite_error() -> None:
    problem = parse_problem("bkw2d:t0=1/2")
    context = _context(scaled(problem, 0.0), times=1)
    flow = np.full((2, len(context.rule.nodes), 2), np.inf)
    found = conservation._moments(context, flow)
    assert all(np.isinf(e.value).all() for e in found.values())


def test_a_restart_is_checked_against_the_start_of_the_model() -> None:
    problem = parse_problem("bkw2d:t0=1/2")
    context = replace(_context(translation_at_rest(problem, 0.01)), start=1.0)
    vars(context)["rule"] = problem.rule(angles=8)
    found = conservation.compute(context)
    assert _value(found["mean_error"])[0] == pytest.approx(0.01, rel=1e-7)  # moved by 0.01 t, also before the window
    solution: Any = problem.exact
    rate = (solution.fisher_information(0.5) - 2) / 16  # of a density that keeps its shape, from t = 1 on
    np.testing.assert_allclose(_value(found["entropy_balance"]), rate * (context.times - 1), rtol=0, atol=1e-6)
