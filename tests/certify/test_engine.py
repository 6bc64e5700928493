"""The engine gives each certificate the worst status its ingredients, hypotheses and measurements allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import certify.judge
from certify.context import Context
from certify.engine import evaluate
from certify.options import Options
from certify.results import Certificate, Measured, Status
from tests.runs import translation
from theory.gronwall import Ops, TimeGrid
from theory.problems import parse_problem
from theory.provenance import Estimate, Rigor, Side, exact
from theory.theorem import Hypothesis, Ingredient, Theorem, Verdict, Witness

GRID = TimeGrid(np.linspace(0.0, 1.0, 5))
FLAG = Hypothesis(
    "flag", "the flag is up", lambda f: Verdict.holds("up") if f["flag"] else Verdict.fails("down", 0.5), ("flag",)
)
_ZERO = Witness("nothing", {"up": lambda t: 0, "down": lambda t: 0}, lambda t: 0, sharp=True)


def _formula(ops: Ops, *, up: Any, down: Any) -> Mapping[str, Any]:
    return {"source": ops.gronwall(-down, up), "start": ops.growth(-down) * 0}


THEOREM = Theorem(
    id="synthetic",
    title="grows with up, falls with down",
    source="tests",
    statement="",
    bounds="w2",
    ingredients=(Ingredient("up", "u", "a source"), Ingredient("down", "d", "a decay", monotone=-1)),
    hypotheses=(FLAG,),
    formula=_formula,
    witnesses=(_ZERO,),
)


def estimate(value: float, side: Side = Side.UPPER, rigor: Rigor = Rigor.EXACT, **more: Any) -> Estimate:
    return Estimate(value, side, rigor, "given", **more)


def certify_(up: Estimate | None, down: Estimate | None = None, flag: bool | None = True, **more: Any) -> Certificate:
    down = exact(0.5, "given") if down is None else down
    given_ = {"down": down} if up is None else {"up": up, "down": down}
    return evaluate(THEOREM, GRID, given_, {"flag": flag}, report_from=0.0, **more)


def measured(lower: float) -> Measured:
    value = Estimate(np.full(5, lower), Side.LOWER, Rigor.NUMERICAL, "seen", uses_exact_solution=True)
    return Measured("w2", "error", value, None, "seen")


def trivial(value: float) -> np.ndarray:
    return np.log(np.full(5, value))


def test_exact_bounds_under_established_hypotheses_are_certified() -> None:
    certificate = certify_(estimate(1.0))
    assert set(certificate.statuses) == {Status.CERTIFIED}
    assert certificate.log_bound is not None
    truth = 2 * (1 - np.exp(-0.5 * GRID.edges))
    assert (np.exp(certificate.log_bound) >= truth).all()
    assert np.exp(certificate.log_bound) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("rigor", [Rigor.NUMERICAL, Rigor.ASSUMED])
def test_an_ingredient_nobody_enclosed_makes_it_conditional(rigor: Rigor) -> None:
    certificate = certify_(estimate(1.0, rigor=rigor))
    assert certificate.status is Status.CONDITIONAL
    assert any(r.startswith(rigor.label) and "up" in r for r in certificate.reasons)


def test_an_undecided_hypothesis_makes_it_conditional_and_is_named() -> None:
    certificate = certify_(estimate(1.0), flag=None)
    assert certificate.status is Status.CONDITIONAL
    assert any("flag" in reason for reason in certificate.reasons)


@pytest.mark.parametrize("side", [Side.LOWER, Side.NONE])
def test_a_wrong_side_is_indicative_and_says_what_the_theorem_needs(side: Side) -> None:
    certificate = certify_(estimate(1.0, side))
    assert certificate.status is Status.INDICATIVE
    assert any(r.startswith("up is") and "needs upper" in r for r in certificate.reasons)


def test_a_decay_rate_that_is_only_an_upper_value_is_indicative() -> None:
    certificate = certify_(estimate(1.0), estimate(0.5, Side.UPPER))
    assert certificate.status is Status.INDICATIVE
    assert any(r.startswith("down is") and "needs lower" in r for r in certificate.reasons)


def test_a_sampled_value_is_indicative_whatever_side_it_claims() -> None:
    certificate = certify_(estimate(1.0, Side.UPPER, Rigor.SAMPLED))
    assert certificate.status is Status.INDICATIVE
    assert any("only sampled" in reason for reason in certificate.reasons)


def test_an_infinite_ingredient_makes_it_vacuous_and_is_named() -> None:
    certificate = certify_(estimate(np.inf))
    assert certificate.status is Status.VACUOUS
    assert any("infinite because of up" in reason for reason in certificate.reasons)


def test_a_bound_above_that_of_the_resting_flow_is_vacuous() -> None:
    assert certify_(estimate(1.0), trivial=trivial(0.1)).status is Status.VACUOUS
    assert certify_(estimate(1.0), trivial=trivial(10.0)).status is Status.CERTIFIED
    assert certify_(estimate(1.0), trivial=np.full(5, np.nan)).status is Status.VACUOUS


def test_a_measured_lower_value_above_the_bound_contradicts_it() -> None:
    certificate = certify_(estimate(1.0), measured=measured(0.5))
    truth = 2 * (1 - np.exp(-0.5 * GRID.edges))
    assert certificate.status is Status.CONTRADICTED
    assert [s is Status.CONTRADICTED for s in certificate.statuses] == list(truth < 0.5)
    assert certificate.reasons[0].startswith("a value seen exceeds its bound (t = 0):")


def test_a_contradiction_beats_vacuous_and_conditional_but_not_void() -> None:
    low = measured(5.0)
    assert certify_(estimate(1.0), trivial=trivial(1e-9), measured=low).status is Status.CONTRADICTED
    assert certify_(estimate(1.0, rigor=Rigor.ASSUMED), measured=low).status is Status.CONTRADICTED
    assert certify_(estimate(1.0), flag=False, measured=low).statuses[-1] is Status.VOID


def test_a_measured_value_below_the_bound_contradicts_nothing() -> None:
    values = np.array([0.0, 0.1, 0.1, 0.1, 0.1])
    seen = replace(measured(0.0), lower=Estimate(values, Side.LOWER, Rigor.NUMERICAL, "seen"))
    assert set(certify_(estimate(1.0), measured=seen).statuses) == {Status.CERTIFIED}


def test_a_failed_hypothesis_voids_later_times_only() -> None:
    certificate = certify_(estimate(1.0), flag=False)
    assert [s is Status.VOID for s in certificate.statuses] == [False, False, False, True, True]
    assert certificate.valid_until == 0.5
    assert certificate.reasons[0] == "flag: down"


def test_a_missing_ingredient_says_what_it_needs() -> None:
    certificate = certify_(None, needs={"up": "a flow with derivatives"})
    assert certificate.log_bound is None
    assert certificate.missing == ("needs up: a flow with derivatives",)
    assert certificate.missing[0] in certificate.reasons
    assert certificate.status is Status.VACUOUS


@given(st.sampled_from([0.0, 1e-300, 1.0, 1e300, np.inf]), st.sampled_from([0.0, 1.0, 1e5, 1e300]))
def test_no_combination_of_values_gives_nan(up: float, down: float) -> None:
    certificate = certify_(estimate(up), exact(down, "given"))
    assert certificate.log_bound is not None
    assert not np.isnan(certificate.log_bound).any()
    assert (certificate.status is Status.VACUOUS) == (not certificate.log_bound[-1] < np.inf)


def test_nan_cannot_enter_as_an_estimate() -> None:
    with pytest.raises(ValueError, match="NaN"):
        estimate(float("nan"))


def test_oracle_and_failure_probability_propagate_and_the_weakest_ingredient_is_named() -> None:
    plain = certify_(estimate(1.0))
    assert not plain.oracle
    assert plain.delta == 0
    rate = Estimate(0.5, Side.BOTH, Rigor.STATISTICAL, "given", delta=0.02)
    both = certify_(estimate(1.0, rigor=Rigor.VERIFIED, delta=0.01, uses_exact_solution=True), rate)
    assert both.oracle
    assert both.delta == pytest.approx(0.03)
    assert (both.weakest, both.rigor) == ("down", Rigor.STATISTICAL)
    assert certify_(estimate(1.0, rigor=Rigor.ASSUMED), rate).weakest == "up"


def test_a_defect_estimate_that_is_too_small_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = certify.judge.estimates_of

    def faulty(context: Context, only: Iterable[str] | None = None) -> tuple[dict[str, Estimate], dict[str, float]]:
        found, seconds = honest(context, only)
        found["defect"] = replace(found["defect"], value=0.3 * np.asarray(found["defect"].value))
        return found, seconds

    problem = parse_problem("bkw2d:t0=1/2")
    options = Options(times=3, samples=30, w1_samples=30, tolerance=1e3, certificates=("stability_w2", "stability_wp2"))
    run = translation(problem, 0.01)
    assert all(c.status is Status.CONDITIONAL for c in certify.judge.judge(run, problem, options).certificates)
    monkeypatch.setattr(certify.judge, "estimates_of", faulty)
    s1, s2 = certify.judge.judge(run, problem, options).certificates
    assert s1.status is Status.CONTRADICTED
    assert s2.status is Status.CONDITIONAL  # it rests on another estimate
