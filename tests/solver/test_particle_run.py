"""Particle runs: tracers by the method's own scheme, Hermite between the steps, scores linear in time."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from certify.run import Run
from solver import particle_run
from solver.particle_run import ParticleRun, ParticleSolution
from theory.problems import PROBLEMS
from theory.provenance import Array

PROBLEM = PROBLEMS["bkw2d"]()  # window [0, 5]
RATE = 0.4


@dataclass(frozen=True)
class Decay:
    """Drift -0.4 x and score -(1 + t) x."""

    times: Array

    def drift(self, k: int, x: Array) -> Array:
        return -RATE * x

    def score(self, k: int, x: Array) -> Array:
        return -(1 + self.times[k]) * x

    def exactly(self, k: int, x: Array) -> Array:
        return math.exp(-RATE * (self.times[k + 1] - self.times[k])) * x

    def divergence(self, k: int, x: Array) -> Array:
        return np.full(len(x), -2 * (1 + self.times[k]))


def solution(steps: int, *, exact: bool = False, uneven: bool = False) -> ParticleSolution:
    times = 5 * np.linspace(0, 1, steps + 1) ** (1.5 if uneven else 1.0)
    field, x = Decay(times), np.zeros((steps + 1, 3, 2))
    advance: Callable[[int, Array], Array] | None = field.exactly if exact else None
    return ParticleSolution(PROBLEM, "test", {"a": 1}, times, x, x, x, np.full(3, 1 / 3), None, field, advance)


STARTS = np.array([[1.0, 0.5], [-2.0, 0.0], [0.0, 0.0], [3.0, -1.0]])


def test_it_is_a_run() -> None:
    run = ParticleRun(solution(4))
    assert isinstance(run, Run)
    assert (run.d, float(run.t0), float(run.T)) == (2, 0.0, 5.0)
    assert run.jets(np.zeros(1), STARTS) is None
    assert run.layers("score") is None
    assert run.growth(np.zeros(1), 1.0) is None
    assert run.smooth() is None
    assert not run.diffeomorphism()
    described = run.describe()
    assert described["constants"] == dict(PROBLEM.constants)
    assert (described["problem"], described["particles"], described["steps"]) == ("bkw2d", 3, 4)


def test_tracers_start_where_they_are_told_and_move_by_forward_euler() -> None:
    run = ParticleRun(solution(50))
    x = run.flow(run.solution.field.times, STARTS)
    np.testing.assert_array_equal(x[0], STARTS)
    factors = (1 - RATE * 0.1) ** np.arange(51)
    np.testing.assert_allclose(x, factors[:, None, None] * STARTS, rtol=1e-13)


def test_tracers_move_by_the_method_s_own_scheme_if_it_gives_one() -> None:
    run = ParticleRun(solution(7, exact=True, uneven=True))
    t = run.solution.field.times
    np.testing.assert_allclose(run.flow(t, STARTS), np.exp(-RATE * t)[:, None, None] * STARTS, rtol=1e-13)


@pytest.mark.parametrize("uneven", [False, True])
def test_interpolation_is_of_order_four_and_its_slope_of_order_three(uneven: bool) -> None:
    t = np.linspace(0, 5, 1001)
    truth = np.exp(-RATE * t)[:, None, None] * STARTS
    errors = []
    for steps in (16, 32, 64):
        x, u = ParticleRun(solution(steps, exact=True, uneven=uneven)).velocity(t, STARTS)
        errors.append((np.abs(x - truth).max(), np.abs(u + RATE * truth).max()))
    values, slopes = np.array(errors).T
    assert np.log2(values[:-1] / values[1:]) == pytest.approx([4, 4], abs=0.15)
    assert np.log2(slopes[:-1] / slopes[1:]) == pytest.approx([3, 3], abs=0.15)
    assert values[-1] < 1e-7
    assert slopes[-1] < 1e-5


def test_hermite_is_exact_on_cubics_with_their_slopes() -> None:
    def cubic(t: float) -> tuple[Array, Array]:
        return np.array([2 - t + 3 * t**2 - t**3]), np.array([-1 + 6 * t - 3 * t**2])

    for share in (0.0, 0.3, 0.75, 1.0):
        value, slope = particle_run.hermite(share, 0.4, cubic(1.2), cubic(1.6))
        exact = cubic(1.2 + 0.4 * share)
        assert value == pytest.approx(exact[0], rel=1e-14)
        assert slope == pytest.approx(exact[1], rel=1e-13)


def test_the_slope_is_the_derivative_of_the_interpolant() -> None:
    run, t, step = ParticleRun(solution(9)), np.array([0.2, 1.9, 3.3, 4.6]), 1e-5
    difference = (run.flow(t + step, STARTS) - run.flow(t - step, STARTS)) / (2 * step)
    np.testing.assert_allclose(run.velocity(t, STARTS)[1], difference, atol=1e-8)


def test_times_may_come_in_any_order_and_twice() -> None:
    run = ParticleRun(solution(20))
    t = np.array([5.0, 0.31, 0.0, 0.31, 2.5])
    one_by_one = np.concatenate([run.flow(t[i : i + 1], STARTS) for i in range(len(t))])
    np.testing.assert_array_equal(run.flow(t, STARTS), one_by_one)


def test_remembered_and_walked_paths_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    t = np.array([0.0, 0.4, 3.3, 5.0])
    remembering, walking = ParticleRun(solution(20)), ParticleRun(solution(20))
    remembered = remembering.velocity(t, STARTS)
    monkeypatch.setattr(particle_run, "REMEMBERED", 0)
    for a, b in zip(remembered, walking.velocity(t, STARTS), strict=True):
        np.testing.assert_array_equal(a, b)
    assert remembering._paths
    assert not walking._paths
    short = walking.flow(np.array([0.1]), STARTS)  # walks no further than asked
    np.testing.assert_array_equal(short, remembering.flow(np.array([0.1]), STARTS))


def test_no_more_paths_are_remembered_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ParticleRun(solution(20))
    one = 2 * 21 * STARTS.nbytes
    monkeypatch.setattr(particle_run, "REMEMBERED", 2 * one)
    for shift in range(5):
        run.flow(np.array([1.0]), STARTS + shift)
    assert list(run._paths) == [((STARTS + shift).tobytes(), False) for shift in (3, 4)]


def test_the_score_is_linear_in_time_between_steps() -> None:
    run = ParticleRun(solution(10))
    t = np.array([0.0, 0.5, 0.7, 5.0])
    x = np.random.default_rng(1).standard_normal((4, 6, 2))
    score = run.score(t, x)
    assert score is not None
    np.testing.assert_allclose(score, -(1 + t)[:, None, None] * x, rtol=1e-13)
    assert run.score_divergence(t, x) is None
    plain = run.solution
    field = plain.field
    assert isinstance(field, Decay)
    divergence = ParticleRun(replace(plain, divergence=field.divergence)).score_divergence(t, x)
    assert divergence is not None
    np.testing.assert_allclose(divergence, np.repeat(-2 * (1 + t)[:, None], 6, axis=1), rtol=1e-13)


def test_a_time_outside_the_window_is_refused() -> None:
    run = ParticleRun(solution(10))
    for t in (-0.1, 5.1, math.nan):
        with pytest.raises(ValueError, match="times must lie in"):
            run.flow(np.array([1.0, t]), STARTS)
        with pytest.raises(ValueError, match="times must lie in"):
            run.score(np.array([t]), STARTS[None])
    np.testing.assert_array_equal(run.flow(np.array([5 + 1e-12]), STARTS), run.flow(np.array([5.0]), STARTS))


def test_what_does_not_fit_is_refused() -> None:
    good = solution(10)
    with pytest.raises(ValueError, match="positions have shape"):
        replace(good, positions=np.zeros((11, 4, 2)))
    with pytest.raises(ValueError, match="log densities have shape"):
        replace(good, log_density=np.zeros((10, 3)))
    with pytest.raises(ValueError, match="ascend from 0 to 5"):
        replace(good, field=Decay(np.linspace(0, 4, 11)))
    with pytest.raises(ValueError, match="ascend from 0 to 5"):
        replace(good, field=Decay(np.array([0.0, 3.0, 2.0, 5.0])))
