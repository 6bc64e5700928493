"""Measured errors against a numerical reference are those against the exact solution, widened by its stated error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from certify.api import certify
from certify.context import Context
from certify.estimators import measured, measured_reference
from certify.judge import judge
from certify.options import Options
from certify.report import html, terminal
from certify.results import Report
from solver.references import Found, reference_for, spectral
from tests.runs import FunctionRun, folded, gradient_perturbation, scaled, translation
from theory.problem import Problem
from theory.problems import PROBLEMS
from theory.provenance import Array, Estimate, Rigor, Side
from theory.reference import Reference

OPTIONS = Options(times=2, samples=10, w1_samples=10, tolerance=0.2)
NAMES = ("w1", "w2", "l1", "l2", "l2_relative")


def plane() -> Problem:
    return PROBLEMS["bkw2d"](Fraction(1, 2), Fraction(5))


RUNS = {
    "wave": lambda: gradient_perturbation(plane(), 0.01, np.array([2.0, 1.0])),
    "translation": lambda: translation(plane(), 0.02),
    "scaling": lambda: scaled(plane(), 0.01),
}


def blind(run: FunctionRun, maker: Any = reference_for) -> Context:
    problem = run.problem.without_exact_solution()
    return Context(run, problem, float(problem.t0), OPTIONS, make_reference=maker)


@cache
def truth(name: str) -> Mapping[str, Estimate]:
    run = RUNS[name]()
    return measured.compute(Context(run, run.problem, float(run.problem.t0), OPTIONS))


@cache
def against(name: str) -> Mapping[str, Estimate]:
    return measured_reference.compute(blind(RUNS[name]()))


def value(found: Mapping[str, Estimate], name: str) -> Array:
    return np.asarray(found[f"measured_{name}"].value)


@pytest.mark.parametrize("name", RUNS)
def test_an_accurate_reference_measures_what_the_exact_solution_measures(name: str) -> None:
    exact, found = truth(name), against(name)
    for key in ("w1_upper", "w2_upper", "l1_upper", "l1_lower", "l2_upper"):
        assert value(found, key) == pytest.approx(value(exact, key), rel=1e-4, abs=1e-5)
    # here the quadrature error of the norm of f counts as well
    assert value(found, "l2_relative_upper") == pytest.approx(value(exact, "l2_relative_upper"), rel=2e-3)
    assert np.all(value(found, "l2_relative_upper") >= value(exact, "l2_relative_upper"))
    # more functions are tried here, less may be subtracted
    for key in ("w1_lower", "w2_lower"):
        assert np.all(value(found, key) >= 0.999 * value(exact, key) - 1e-6)
    for key in NAMES:
        assert np.all(value(found, f"{key}_lower") <= value(found, f"{key}_upper"))
        assert value(found, f"{key}_upper")[-1] > 1e-3
    # the dual bound of KL never exceeds it, and loses little where the densities are close
    assert np.all(value(found, "kl_lower") <= value(exact, "kl_upper"))
    assert value(found, "kl_lower")[-1] > 0.95 * value(exact, "kl_lower")[-1]


def test_every_estimate_names_the_reference_and_its_error_and_claims_no_more_than_numerical() -> None:
    found = against("wave")
    assert set(found) == {k for k in measured_reference.ESTIMATOR.provides if k in found} >= {"measured_w2_upper"}
    for key, estimate in found.items():
        assert "exact law of isotropic Maxwell data" in estimate.method
        assert estimate.side is measured_reference.ESTIMATOR.provides[key]
        assert estimate.rigor is Rigor.NUMERICAL
        assert estimate.uses_exact_solution
        assert np.max(estimate.detail["reference_l1_error"]) < 1e-6
    assert "its own error" in found["measured_l1_upper"].method


def test_the_exact_solution_goes_first_and_no_maker_means_no_reference() -> None:
    run = RUNS["wave"]()
    own = Context(run, run.problem, float(run.problem.t0), OPTIONS, make_reference=reference_for)
    assert own.reference_solution is None
    assert measured_reference.compute(own) == {}
    assert measured_reference.compute(blind(run, None)) == {}


# --- references that are wrong, and say so ----------------------------------------------------------------------------


def lying(shift: float, share: float, lost: float, honest: bool = True) -> Any:
    """Paths off by ``shift``, the density by a factor 1 + ``share``, and no paths from beyond ``lost``."""

    def make(problem: Problem, times: Array, starts: Array) -> Reference | None:
        found = reference_for(problem, times, starts)
        assert isinstance(found, Found)
        far = np.linalg.norm(starts - problem.initial.mean(), axis=1) > lost
        off, wrong = (abs(shift), abs(share)) if honest else (0.0, 0.0)
        error, e = np.where(far, np.inf, found.path_error + off), np.eye(problem.d)[0]
        return replace(
            found,
            method="liar",
            paths=np.where(far[:, None], np.nan, found.paths + shift * e),
            path_error=error,
            mean=found.mean + shift * e,
            moment_error=found.moment_error + off,
            l1_error=found.l1_error + wrong,
            density_error=found.density_error + wrong,
            at=lambda k, v: (1 + share) * found.at(k, v),
        )

    return make


@pytest.mark.parametrize("name", ["wave", "scaling"])
@pytest.mark.parametrize(("shift", "share", "lost"), [(0.01, 0.0, 9e9), (-0.03, 0.02, 9e9), (0.002, -0.01, 2.2)])
def test_a_reference_off_by_what_it_states_never_moves_the_truth_out_of_the_interval(
    name: str, shift: float, share: float, lost: float
) -> None:
    exact, found = truth(name), measured_reference.compute(blind(RUNS[name](), lying(shift, share, lost)))
    slack = 1e-6
    for key in ("w1", "w2"):
        # the same-start coupling itself is inside; the distance may be smaller, so its own lower value is not compared
        assert np.all(value(found, f"{key}_upper") >= value(exact, f"{key}_upper") - slack)
        assert np.all(value(found, f"{key}_lower") <= value(exact, f"{key}_upper") + slack)
    assert np.all(value(found, "l1_lower") <= value(exact, "l1_upper") + slack)
    assert np.all(value(found, "l1_upper") >= value(exact, "l1_lower") - slack)
    assert np.all(value(found, "l2_lower") <= value(exact, "l2_upper") + slack)
    assert np.all(value(found, "l2_upper") >= value(exact, "l2_upper") - value(exact, "l1_upper") * 1e-3 - slack)
    assert np.all(value(found, "kl_lower") <= value(exact, "kl_upper") + slack)


def test_a_reference_that_hides_its_error_is_seen_to_move_the_interval() -> None:
    exact = truth("translation")
    found = measured_reference.compute(blind(RUNS["translation"](), lying(-0.03, 0.2, 9e9, honest=False)))
    assert value(found, "w1_lower")[-1] > value(exact, "w1_upper")[-1]
    assert value(found, "w2_lower")[-1] > value(exact, "w2_upper")[-1]
    assert value(found, "l1_lower")[-1] > value(exact, "l1_upper")[-1]


def test_starts_without_a_path_stay_in_the_coupling() -> None:
    run = translation(plane(), 0.02)
    all_of_it, some = (
        measured_reference.compute(blind(run, lying(0.0, 0.0, lost)))["measured_w2_upper"] for lost in (9e9, 2.0)
    )
    mass = np.max(some.detail["unresolved_mass"])
    assert 0.01 < mass < 0.2
    assert np.max(all_of_it.detail["unresolved_mass"]) < 1e-12
    assert "does not resolve" in some.method
    gap = np.asarray(some.value) ** 2 - np.asarray(all_of_it.value) ** 2
    own, beyond = 2.0**2, run.problem.initial.tail_moment(2.0, 2)
    assert np.all(gap > 2 * own * mass * 0.5)  # those starts alone have this much
    assert np.all(gap < 4 * (100 * mass + beyond))


def test_where_the_flow_folds_nothing_is_said_of_its_density() -> None:
    found = measured_reference.compute(blind(folded(plane(), 1.2)))
    assert (value(found, "l1_upper")[-1], value(found, "l2_upper")[-1]) == (2.0, math.inf)
    for key in ("l1", "l2", "l2_relative", "kl"):
        assert value(found, f"{key}_lower")[-1] == 0.0
    assert value(found, "l1_lower")[1] > 0.0  # before it
    assert "the flow folds" in found["measured_l1_lower"].method
    assert value(found, "w2_lower")[-1] > 0.5  # particles and their moments do not mind


# --- reports ----------------------------------------------------------------------------------------------------------


def resting(problem: Problem) -> FunctionRun:
    return replace(scaled(problem, 0.0), name="resting flow")


@cache
def report(name: str) -> Report:
    problem = {
        "anisotropic2d": lambda: PROBLEMS["anisotropic2d"](Fraction(0), Fraction(2)),
        "truncated2d": lambda: PROBLEMS["truncated2d"](Fraction(0), Fraction(1)),
    }[name]()
    chosen = ("stability_w2",) if name == "anisotropic2d" else ("stability_w2", "stability_l1")
    options = Options(certificates=chosen, times=2, samples=20, w1_samples=20, tolerance=0.5, quick=True)
    if name == "truncated2d":
        return certify(resting(problem), problem, options)
    return judge(resting(problem), problem, options, reference=partial(spectral, n=48))


@pytest.mark.parametrize("name", ["anisotropic2d", "truncated2d"])
def test_a_problem_without_exact_solution_gets_measured_errors_with_their_uncertainty(name: str) -> None:
    found = report(name)
    assert not found.problem["has_exact_solution"]
    for key in ("w1", "w2", "l1"):
        if key not in found.measured:
            continue
        one = found.measured[key]
        assert one.lower is not None
        assert one.upper is not None
        assert one.lower.side is Side.LOWER
        assert 0 < one.lower.last() <= one.upper.last()
        # the flow that rests is wrong by far more than the reference; its coupling is not the best one
        assert one.upper.last() < 5 * one.lower.last()
    certificate = found.certificates[0]
    assert certificate.measured is found.measured["w2"]
    assert "w2" in found.measured
    text = terminal.table(found, width=100)
    said = str(found.numerics["measured_against"])
    assert "its own error" in said
    assert said.split(",")[0] in text.replace("\n", " ")
    page = html.page(found)
    assert said.split(",")[0] in page
    assert "The exact error" in page


def test_the_measured_error_of_a_resting_flow_is_the_distance_the_equation_moves() -> None:
    found = report("anisotropic2d")
    covariance = spectral(PROBLEMS["anisotropic2d"](), np.array([0.0, 2.0]), np.empty((0, 2)), n=36).covariance
    lower = measured.gelbrich(np.zeros(2), covariance[0], np.zeros(2), covariance[1])
    one = found.measured["w2"].lower
    assert one is not None
    assert 0.98 * lower < one.last() <= lower  # less the error of a coarse quadrature


def test_judging_without_a_maker_says_that_nothing_was_measured() -> None:
    problem = PROBLEMS["truncated2d"](Fraction(0), Fraction(1))
    options = Options(certificates=("stability_w2",), times=2, samples=20, w1_samples=20, quick=True)
    found = judge(resting(problem), problem, options)
    assert not found.measured
    assert found.numerics["measured_against"] == ""
    assert "measured against" not in terminal.table(found)
