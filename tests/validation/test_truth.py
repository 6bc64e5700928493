"""What cells are measured against where no exact solution is used: held against the exact one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from theory.kernels import mollified_coulomb
from theory.problems import parse_problem
from validation.metrics import fisher_divergence
from validation.plan import Setup
from validation.truth import gradient, truth_of


@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2,T=5/2", "bkw3d:t0=11/2,T=6"])
def test_score_and_entropy_rate_of_a_reference_are_those_of_the_exact_solution(spec: str) -> None:
    problem = parse_problem(spec)
    exact: Any = problem.exact
    times = tuple(np.linspace(float(problem.t0), float(problem.T), 4))
    setup = Setup(spec, "none", times, 0.01, 0.15, 4.0, 20, 100)
    starts = problem.initial.sample(60, np.random.default_rng(3))
    truth = truth_of(setup, problem.without_exact_solution(), starts)
    assert truth.exact is None
    for k, t in enumerate(times):
        found = truth.score(k, truth.paths[k])
        assert found is not None
        known = np.isfinite(found).all(axis=1)
        assert known.mean() > 0.95
        assert fisher_divergence(found, exact.score(t, truth.paths[k])) <= 1e-8
    rate = truth.entropy_rate()
    assert rate is not None
    rule = problem.rule()
    for k, t in enumerate(times):
        x = exact.flow(t, rule.nodes)
        expected = rule.weights @ np.sum(exact.drift(t, x) * exact.score(t, x), axis=1)
        assert rate[k] == pytest.approx(expected, rel=1e-4)


def test_far_from_all_mass_a_reference_has_no_score() -> None:
    problem = replace(parse_problem("bkw2d:t0=1/2,T=1"), kernel=mollified_coulomb(2, 1 / 16, 0.5), exact=None)
    setup = Setup("bkw2d", "none", (0.5, 1.0), 0.01, 0.15, 4.0, 20, 100)
    truth = truth_of(setup, problem, problem.initial.sample(5, np.random.default_rng(3)))
    found = truth.score(1, np.array([[1.0, 0.5], [30.0, 0.0]]))
    assert found is not None
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_differences_of_order_six() -> None:
    v = np.array([[0.3, -0.4], [1.0, 2.0]])

    def function(x: np.ndarray) -> np.ndarray:
        return np.exp(0.7 * x[:, 0]) * np.sin(x[:, 1])

    expected = np.stack([0.7 * function(v), np.exp(0.7 * v[:, 0]) * np.cos(v[:, 1])], axis=1)
    errors = [np.abs(gradient(function, v, h) - expected).max() for h in (0.4, 0.2)]
    assert 5.8 < np.log2(errors[0] / errors[1]) < 6.2
