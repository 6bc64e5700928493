"""A flow with its tail replaced: the same inside, at rest far out, differentiable between, at a known price."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.judge import judge
from certify.options import Options
from certify.report import html, numbers, words
from certify.results import Status
from certify.tail import BlendedTail, blended, step
from tests.differences import derivatives
from tests.runs import FunctionRun, exact_jets, exact_run
from theory.errors import UserError
from theory.problems import parse_problem
from theory.provenance import Array
from theory.theorem import Outcome

PROBLEM = parse_problem("bkw2d:t0=1/2,T=1")
TIMES = np.array([0.5, 0.7, 1.0])


def folding() -> FunctionRun:
    """The exact flow, but that its Jacobian turns over beyond |v| = 5, where f0 has mass 2e-9, after t = 0.6."""
    exact = exact_jets(PROBLEM)

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        value, dt, jac, hess = exact(t, v)
        turned = np.where((np.linalg.norm(v, axis=1) > 5.0) & (t > 0.6), -1.0, 1.0)
        return value, dt, jac * np.stack([turned, np.ones_like(turned)], axis=-1)[:, None, :], hess

    return FunctionRun(PROBLEM, jets_at, "folding")


@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2,T=1", "bkw3d:t0=23/4,T=6"])
def test_inside_it_is_the_flow_far_out_the_identity_and_its_jets_are_its_derivatives(spec: str) -> None:
    problem = parse_problem(spec)
    run = exact_run(problem)
    tail = BlendedTail(run, problem, 1.0, 2.5)
    times = float(problem.t0) + np.array([0.0, 0.2])
    v = np.random.default_rng(0).normal(scale=1.3, size=(60, problem.d))
    r, jets, own = np.linalg.norm(v, axis=1), tail.jets(times, v), run.jets(times, v)
    assert jets is not None
    assert own is not None
    for name in ("value", "dt", "jac", "hess"):
        np.testing.assert_array_equal(getattr(jets, name)[:, r <= 1], getattr(own, name)[:, r <= 1])
    np.testing.assert_array_equal(jets.value[:, r >= 2.5], np.broadcast_to(v[r >= 2.5], jets.value[:, r >= 2.5].shape))
    assert not jets.hess[:, r >= 2.5].any()
    place, speed = tail.velocity(times, v)
    np.testing.assert_array_equal(place, jets.value)
    np.testing.assert_array_equal(tail.flow(times, v), jets.value)
    np.testing.assert_allclose(speed, jets.dt, atol=1e-14)
    np.testing.assert_allclose(jets.value[0], v, atol=1e-13)  # T' starts at the identity
    flow = derivatives(lambda y: tail.flow(times, y).swapaxes(0, 1), v).swapaxes(0, 1)
    np.testing.assert_allclose(jets.jac, flow, atol=1e-7)
    slopes = derivatives(lambda y: tail.jets(times, y).jac.swapaxes(0, 1), v).swapaxes(0, 1)  # type: ignore[union-attr]
    np.testing.assert_allclose(jets.hess, slopes, atol=1e-6)


@given(st.floats(-1, 2))
def test_the_step_goes_down_from_one_to_zero_smoothly(x: float) -> None:
    value, slope, bend = (float(a[0]) for a in step(np.array([x])))
    assert 0 <= value <= 1
    assert slope <= 0
    h = 1e-5
    up, down = step(np.array([x + h])), step(np.array([x - h]))
    assert (up[0][0] - down[0][0]) / (2 * h) == pytest.approx(slope, abs=1e-8)
    assert (up[1][0] - down[1][0]) / (2 * h) == pytest.approx(bend, abs=1e-7)


def test_the_price_is_the_distance_of_the_coupled_particles() -> None:
    tail = BlendedTail(exact_run(PROBLEM), PROBLEM, 1.5, 4.0)
    price = tail.price
    v = PROBLEM.initial.sample(200_000, np.random.default_rng(1))
    end = np.array([1.0])
    gap = np.linalg.norm(tail.flow(end, v)[0] - tail.run.flow(end, v)[0], axis=1)
    assert price["w2"] == pytest.approx(np.sqrt(np.mean(gap**2)), rel=0.03)  # largest at the end
    assert price["mass"] == pytest.approx(np.mean(np.linalg.norm(v, axis=1) > 1.5), rel=0.02)
    assert price["l1"] == 2 * price["mass"]


def test_a_fold_without_mass_no_longer_voids_the_certificates() -> None:
    options = Options(certificates=("stability_w2", "stability_l1"), times=4, samples=20, w1_samples=20, quick=True)
    as_it_is = {c.id: c for c in judge(folding(), PROBLEM, options).certificates}
    assert {c.status for c in as_it_is.values()} == {Status.VOID}
    reason = as_it_is["stability_w2"].verdicts["orientation"][1].reason
    assert "folds, at |v| = 5." in reason
    assert "--tail" in reason
    radius, mass = map(float, re.findall(r"at \|v\| = ([0-9.]+) or beyond, where f0 has mass ([0-9.e-]+);", reason)[0])
    assert 5.0 < radius < 5.3  # the innermost folded node
    assert mass == pytest.approx(PROBLEM.initial.tail_moment(radius, 0), rel=0.2)  # printed to one figure
    report = judge(folding(), PROBLEM, replace(options, tail=2.5))
    for c in report.certificates:
        assert c.status is Status.CONDITIONAL
        assert c.verdicts["proper"][1].outcome is Outcome.HOLDS
        assert c.verdicts["identity"][1].outcome is Outcome.HOLDS
        assert c.measured is not None
        assert c.measured.lower is not None
        assert c.log_bound is not None
        assert (np.exp(c.log_bound) >= c.measured.lower.value).all()
    assert 0 < report.model["tail"]["w2"] < 1e-2
    assert "tail from |v| = 2.5 on replaced" in report.model["name"]
    assert words.tail_line(report).startswith("tail replaced from |v| = 2.5 on, at rest from 5 on: f0 has mass 0.0")
    price = report.model["tail"]
    assert f"within {numbers.up(price['w2'])} in W2 (numerical) and {numbers.up(price['l1'])} in L1" in words.tail_line(
        report
    )
    assert words.tail_line(replace(report, model={})) == ""
    assert any(words.tail_line(report) in item for item in html.not_shown(report))


def test_the_centre_is_the_mean_of_f0_and_a_restart_is_priced_under_the_law_of_its_model() -> None:
    problem = parse_problem("anisotropic2d:T=1")  # its mean is not 0
    tail = BlendedTail(exact_run(PROBLEM), problem, 1.0, 2.5)
    mean = problem.initial.mean()
    assert np.linalg.norm(mean) > 0.2
    near, far = (mean + r * np.array([[1.0, 0.0], [0.0, -1.0]]) for r in (0.9, 2.6))
    end = np.array([1.0])
    np.testing.assert_array_equal(tail.flow(end, near), tail.run.flow(end, near))
    np.testing.assert_array_equal(tail.flow(end, far)[0], far)
    options = Options(certificates=("stability_w2",), times=2, samples=20, w1_samples=20, quick=True, tail=2.0)
    restart = judge(exact_run(PROBLEM), parse_problem("bkw2d:t0=3/4,T=1"), options)
    assert restart.model["tail"]["mass"] == PROBLEM.initial.tail_moment(2.0, 0)


def test_growth_is_known_only_where_the_flow_rests() -> None:
    tail = BlendedTail(exact_run(PROBLEM), PROBLEM, 2.0, 4.0)
    assert tail.growth(TIMES, 3.9) is None
    growth = tail.growth(TIMES, 4.0)
    assert growth is not None
    v = 4.5 * np.array([[0.6, 0.8]])
    place, speed = tail.velocity(TIMES, v)
    assert (np.linalg.norm(place, axis=-1)[:, 0] <= growth.reach[0] + growth.reach[1] * 4.5).all()
    assert (np.linalg.norm(speed, axis=-1)[:, 0] <= growth.speed[0] + growth.speed[1] * 4.5).all()
    jets = tail.jets(TIMES, v)
    assert jets is not None
    assert (np.linalg.norm(np.linalg.inv(jets.jac), 2, axis=(-2, -1))[:, 0] <= growth.inverse).all()
    assert (growth.log_det >= 0).all()


def test_a_radius_beyond_the_quadrature_is_refused() -> None:
    with pytest.raises(UserError, match="leaves no room"):
        blended(exact_run(PROBLEM), PROBLEM, 50.0)
