"""Every hypothesis is seen to hold, to fail and to be unknown; one that never holds or never fails has a reason."""

import math
from typing import Any

import numpy as np
import pytest

from theory import hypotheses
from theory.theorem import Hypothesis, Outcome, Verdict
from theory.theorems import THEOREMS, stability

TIMES = np.array([0.0, 1.0, 2.0, 3.0])
GOOD: dict[str, Any] = {
    "fact_times": TIMES,
    "problem_t0": 0.0,
    "smooth": True,
    "diffeomorphism": False,
    "min_det": np.array([1.0, 0.8, 0.5, 0.4]),
    "proper_growth": np.array([10.0, 9.0, 8.0, 7.0]),
    "identity_gap": 0.0,
    "jump": (True, "smooth"),
    "stein": np.array([1e-6, 1e-6, 1e-5, 1e-4]),
    "stein_error": np.zeros(4),
    "score_lipschitz": np.array([5.0, 4.0, 3.0, 2.0]),
    "score_lipschitz_start": 5.0,
    "max_radius": 3.0,
    "expected_outside": 1e-6,
    "radius": 4.0,
    "training_particles": False,
    "maxwell": True,
    "uniqueness": "finite energy",
    "covariance_gap": 0.0,
    "chi2_decay": np.array([2.0, 1.9, 1.8, 1.7]),
    "fisher_initial": 2.5,
    "stability": Verdict.holds("S1 and S2 apply"),
    "density_curvature": np.array([0.3, 0.2, 0.2, 0.1]),
}
FOLD = np.array([1.0, 0.8, -0.1, 0.4])

# id -> facts that make it hold, facts that make it fail, last time the failure leaves valid
CASES: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None, float]] = {
    "smooth": ({}, {"smooth": False}, -math.inf),
    "orientation": ({"diffeomorphism": True}, {"min_det": FOLD}, 1.0),
    "proper": ({"diffeomorphism": True}, {"proper_growth": FOLD}, 0.0),
    "identity": ({}, {"identity_gap": 1e-3}, -math.inf),
    "no_jump": ({}, {"jump": (False, "f0 jumps at |v| = R")}, -math.inf),
    "stein": (None, {"stein": np.array([0.0, 0.0, 0.0, 0.5])}, 2.0),
    "score_lipschitz": ({}, {"score_lipschitz_start": math.inf}, -math.inf),
    "ball": (None, {"max_radius": 4.1}, -math.inf),
    "contained": ({"expected_outside": 0.0}, None, math.inf),
    "fresh": ({}, {"training_particles": True}, -math.inf),
    "maxwell": ({}, {"maxwell": False}, -math.inf),
    "uniqueness": ({}, None, math.inf),
    "fisher": ({}, {"fisher_initial": math.inf}, -math.inf),
    "stable": ({}, {"stability": Verdict.fails("the flow folds", 1.0)}, 1.0),
    "smooth_density": ({}, {"density_curvature": np.array([0.3, math.inf, 0.2, 0.1])}, -math.inf),
    "isotropic_covariance": ({}, {"covariance_gap": 0.1}, -math.inf),
    "chi2_integrable": ({"chi2_bound": np.array([2.0, 1.9, 1.8, 1.7])}, {"chi2_decay": FOLD + 0.3}, 1.0),
}
ONE_SIDED = {
    "ball": "positions at some times establish nothing between them",
    "contained": "a small mass outside the ball refutes nothing: it only leaves draws that the constants do not cover",
    "stein": "a necessary test: passing it establishes nothing",
    "uniqueness": "a theorem about the equation; no number of a run can refute it",
}
KNOWN: dict[str, Hypothesis] = {
    h.id: h
    for h in (
        *(value for module in (hypotheses, stability) for value in vars(module).values()),
        *(h for theorem in THEOREMS.values() for h in theorem.hypotheses),
    )
    if isinstance(h, Hypothesis)
}
EVERY = pytest.mark.parametrize("name", sorted(CASES))


def verdict(name: str, facts: dict[str, Any] | None) -> Verdict:
    assert facts is not None
    return KNOWN[name].verdict({**GOOD, **facts})


def test_every_hypothesis_has_its_cases_and_every_exception_a_reason() -> None:
    assert set(CASES) == set(KNOWN)
    assert {name for name, (holds, fails, _) in CASES.items() if holds is None or fails is None} == set(ONE_SIDED)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case[0] is not None])
def test_it_is_seen_to_hold(name: str) -> None:
    seen = verdict(name, CASES[name][0])
    assert seen.outcome is Outcome.HOLDS
    assert seen.valid_until == math.inf
    assert seen.reason


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case[1] is not None])
def test_it_is_seen_to_fail_and_says_until_when_bounds_stay_valid(name: str) -> None:
    _, facts, until = CASES[name]
    seen = verdict(name, facts)
    assert seen.outcome is Outcome.FAILS
    assert seen.valid_until == until
    assert seen.reason


@EVERY
def test_it_is_unknown_when_any_fact_it_reads_is_missing(name: str) -> None:
    hypothesis = KNOWN[name]
    assert hypothesis.needs
    for fact in hypothesis.needs:
        for facts in ({**GOOD, fact: None}, {k: v for k, v in GOOD.items() if k != fact}):
            seen = hypothesis.verdict(facts)
            assert seen.outcome is Outcome.UNKNOWN
            assert fact in seen.reason
            assert seen.valid_until == math.inf


@EVERY
def test_it_reads_no_fact_it_does_not_declare(name: str) -> None:
    optional = {"diffeomorphism"}  # read with a default
    hypothesis = KNOWN[name]
    facts = {k: v for k, v in GOOD.items() if k in hypothesis.needs or k in optional}
    assert hypothesis.verdict(facts).outcome is not Outcome.FAILS


@EVERY
def test_nan_never_means_that_it_holds(name: str) -> None:
    for fact in KNOWN[name].needs:
        value = GOOD[fact]
        if isinstance(value, np.ndarray) and fact != "fact_times":
            bad: Any = np.where(TIMES == 2.0, math.nan, value)
        elif isinstance(value, float) and fact != "problem_t0":
            bad = math.nan
        else:
            continue
        assert verdict(name, {fact: bad}).outcome is not Outcome.HOLDS, fact


@pytest.mark.parametrize("name", ["orientation", "proper"])
def test_values_at_nodes_never_establish_a_statement_about_all_points(name: str) -> None:
    assert verdict(name, {}).outcome is Outcome.UNKNOWN


def test_the_stein_test_never_holds_and_allows_for_its_quadrature_error() -> None:
    assert verdict("stein", {"stein": np.zeros(4)}).outcome is Outcome.UNKNOWN
    large = np.full(4, 0.5)
    assert verdict("stein", {"stein": large, "stein_error": large}).outcome is Outcome.UNKNOWN
    assert verdict("stein", {"stein": large}).outcome is Outcome.FAILS


def test_the_identity_up_to_rounding_is_neither_established_nor_refuted() -> None:
    assert verdict("identity", {"identity_gap": 1e-15}).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("first_bad", "until"), [(0, 0.25), (1, 0.5), (3, 2.0)])
def test_a_failure_voids_everything_after_the_last_good_time(first_bad: int, until: float) -> None:
    times = np.array([0.5, 1.0, 2.0, 3.0])
    det = np.where(np.arange(4) == first_bad, -1.0, 1.0)  # good again later: still void
    facts = {"fact_times": times, "problem_t0": 0.25, "min_det": det}
    assert verdict("orientation", facts).valid_until == until


def test_an_unbounded_score_inside_the_window_fails_there() -> None:
    seen = verdict("score_lipschitz", {"score_lipschitz": np.array([5.0, 4.0, math.inf, 2.0])})
    assert (seen.outcome, seen.valid_until) == (Outcome.FAILS, 1.0)


def test_an_unbounded_score_at_the_start_says_what_would_mend_it() -> None:
    assert "start the window later" in verdict("score_lipschitz", {"score_lipschitz_start": math.inf}).reason


def test_the_decay_of_the_fisher_information_is_not_known_for_a_mollified_kernel() -> None:
    seen = verdict("fisher", {"maxwell": False})
    assert (seen.outcome, seen.valid_until) == (Outcome.UNKNOWN, math.inf)
    assert verdict("fisher", {"maxwell": False, "fisher_initial": math.inf}).outcome is Outcome.UNKNOWN


def test_what_is_unknown_about_s1_and_s2_stays_unknown_where_their_bound_enters() -> None:
    unknown = Verdict.unknown("det J > 0 at every node, not between them")
    assert verdict("stable", {"stability": unknown}) is unknown


def test_verdicts_name_the_largest_curvature_and_the_fisher_information() -> None:
    assert "0.3" in verdict("smooth_density", {}).reason
    assert "2.5" in verdict("fisher", {}).reason
