"""Rules against the exact law resolve it where it is not radial, and where it reaches further than the start."""

import numpy as np
import pytest

from certify.context import Context
from certify.estimators.coupling import exact_rules
from certify.estimators.drift_sampling import law_rules
from certify.estimators.lipschitz import exact_score
from certify.judge import Resting
from certify.options import Options
from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Side

SPEC = pytest.mark.parametrize("spec", ["gaussian_mixture3d", "gaussian_mixture3d:t0=1/10", "gaussian_mixture3d:T=40"])


def context(problem: Problem) -> Context:
    return Context(Resting(problem.d, problem.t0, problem.T), problem, float(problem.t0), Options(times=3))


@SPEC
def test_rules_against_the_law_of_a_mixture_see_its_energy_and_its_harmonics(spec: str) -> None:
    problem = parse_problem(spec)
    times = np.array([float(problem.t0), float(problem.T)])
    assert problem.exact is not None
    for rules, at in ((law_rules(problem, problem.exact, times), times), (exact_rules(context(problem)), [])):
        for k, rule in enumerate(rules):
            square = np.sum(rule.nodes**2, axis=1)
            assert rule.weights.sum() == pytest.approx(1, abs=1e-10)
            assert rule.weights @ square == pytest.approx(3, abs=1e-9)
            if len(at):
                assert problem.exact.tail_moment(at[k], rule.radius, 2) <= 1e-15
    assert len({r.nodes.tobytes() for r in law_rules(problem, problem.exact, times)}) == 1


@pytest.mark.parametrize(("spec", "angles"), [("bkw2d", 16), ("bkw3d", 8)])
def test_rules_against_bkw_are_those_of_the_start(spec: str, angles: int) -> None:
    problem = parse_problem(spec)
    assert problem.exact is not None
    rule = law_rules(problem, problem.exact, np.array([float(problem.T)]))[0]
    assert rule.angles == angles
    assert set(rule.edges) <= set(problem.initial.radial_edges())


@pytest.mark.parametrize(("spec", "side"), [("bkw3d", Side.BOTH), ("gaussian_mixture3d", Side.UPPER)])
def test_a_bound_of_the_score_constant_is_not_claimed_to_be_the_constant(spec: str, side: Side) -> None:
    assert exact_score(context(parse_problem(spec)))["score_lipschitz"].side is side
