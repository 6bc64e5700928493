"""What is added to the flow defect besides the integral: moment error, rounding, tail."""

from __future__ import annotations

import numpy as np

from certify.estimators import flow_defect
from certify.pushforward import push
from tests.runs import gradient_perturbation
from theory.drift import maxwell_drift, weighted_moments
from theory.problems import parse_problem


def test_the_moment_error_covers_what_coarse_moments_change_in_the_drift() -> None:
    problem = parse_problem("bkw2d:t0=1/2")
    run = gradient_perturbation(problem, 0.05, np.array([2.0, 1.0]))
    rule = problem.rule(angles=8)
    pushed = push(run, problem, rule, np.array([1.0, 5.0]), lambda *_: None, "test")
    assert pushed is not None
    coarse = weighted_moments(pushed.flow, rule.coarse / rule.coarse.sum())
    drift = maxwell_drift(problem.kernel.strength, pushed.flow, pushed.score, *coarse)
    change = np.sum((drift - pushed.mean_field_drift(pushed.score)) ** 2, axis=-1) @ rule.weights
    allowed = flow_defect._moment_error(pushed)
    assert (np.sqrt(change) > 1e-7).all()  # the rule is coarse enough for this to test something
    assert (allowed >= np.sqrt(change)).all()


def test_the_rounding_allowance_is_at_least_64_units_of_the_speed() -> None:
    problem = parse_problem("bkw2d:t0=1/2")
    run = gradient_perturbation(problem, 0.05, np.array([2.0, 1.0]))
    pushed = push(run, problem, problem.rule(), np.array([2.0]), lambda *_: None, "test")
    assert pushed is not None
    speed = np.sqrt(np.sum(pushed.dt**2, axis=-1) @ pushed.rule.weights)
    assert (flow_defect._rounding(pushed) >= 64 * np.finfo(np.float64).eps * speed).all()
