"""Residual energy and drift sampling: closed forms, brute-force pair sums, simulation of the exact expectation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.context import Context
from certify.estimators import drift_sampling, residual_energy
from certify.estimators.residual_energy import field_drift, mean_pair_square, sampling_error, thinned
from certify.options import Options
from certify.pushforward import push
from tests.runs import FunctionRun, exact_jets, gradient_perturbation, scaled
from tests.strategies import generators, kernels
from theory.drift import pair_drift
from theory.kernels import Kernel, maxwell
from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array, Estimate, Rigor, Side
from theory.quadrature import polar_rule

PROBLEM = parse_problem("bkw2d:t0=1/2,T=2")
OPTIONS = Options(times=2, samples=200, w1_samples=20, tolerance=1e3)
WAVE = np.array([1.0, 0.5])


@dataclass(frozen=True)
class Scored(FunctionRun):
    """A run with a score in closed form: the exact one of its problem plus size * (cos x_2, sin x_1, 0)."""

    size: float = 0.0

    def score(self, t: Array, x: Array) -> Array:
        solution: Any = self.problem.exact
        true = np.stack([solution.score(s, y) for s, y in zip(t, x, strict=True)])
        error = np.zeros_like(x)
        error[..., 0], error[..., 1] = np.cos(x[..., 1]), np.sin(x[..., 0])
        return true + self.size * error

    def score_divergence(self, t: Array, x: Array) -> Array:
        solution: Any = self.problem.exact
        return np.stack([solution.score_divergence(s, y) for s, y in zip(t, x, strict=True)])

    def layers(self, net: str) -> Any:
        return () if net == "score" else None


def scored(problem: Problem, size: float, perturbation: float = 0.0) -> Scored:
    jets = gradient_perturbation(problem, perturbation, WAVE).jets_at if perturbation else exact_jets(problem)
    return Scored(problem, jets, "scored", size)


def context(run: FunctionRun, options: Options = OPTIONS) -> Context:
    return Context(run, run.problem, float(run.problem.t0), options)


def brute_pair_square(kernel: Kernel, x: Array, s: Array, w: Array) -> float:
    z, y = x[:, None] - x, s[:, None] - s
    return float(w @ np.sum(np.einsum("ijab,ijb->ija", kernel.matrix(z), y) ** 2, axis=-1) @ w)


@given(kernels(), generators(), st.integers(1, 30))
def test_the_pair_square_is_the_double_sum(kernel: Kernel, rng: np.random.Generator, n: int) -> None:
    x, s = rng.standard_normal((n, kernel.d)) + 3.0, rng.standard_normal((n, kernel.d))
    w = rng.random(n) + 0.01
    w /= w.sum()
    expected = brute_pair_square(kernel, x, s, w)
    assert mean_pair_square(kernel, x, s, w) == pytest.approx(expected, rel=1e-9, abs=1e-12 * kernel.strength**2)
    assert mean_pair_square(kernel, x, s, 7 * w) == pytest.approx(expected, rel=1e-9, abs=1e-12 * kernel.strength**2)


def test_the_pair_square_of_a_rotating_gaussian_is_its_closed_form() -> None:
    # y = z turned by a right angle: |A(z)y|^2 = C^2 |z|^6, z ~ N(0, 2I), E|z|^6 = 8 * 48
    rule = polar_rule(
        lambda v: np.exp(-np.sum(v * v, 1) / 2) / 2 / np.pi, np.zeros(2), np.array([0.0, 2, 4, 7, 12]), 16
    )
    turned = rule.nodes @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert mean_pair_square(maxwell(2, 0.5), rule.nodes, turned, rule.weights) == pytest.approx(96, rel=1e-10)


@given(kernels(), generators())
def test_points_of_weight_zero_feel_the_field_and_do_not_disturb_it(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s = rng.standard_normal((12, kernel.d)), rng.standard_normal((12, kernel.d))
    weights = np.where(np.arange(12) < 7, 1 / 7, 0.0)
    found = field_drift(kernel, x, s, weights)
    assert field_drift(kernel, x, s, 3 * weights) == pytest.approx(found, rel=1e-12, abs=1e-12 * np.abs(found).max())
    z, y = x[:, None] - x[:7], s[:, None] - s[:7]
    direct = -np.einsum("ijab,ijb->ia", kernel.matrix(z), y) / 7
    assert found == pytest.approx(
        direct, rel=1e-9, abs=1e-9 * kernel.strength * max(1, kernel.epsilon**-3 if kernel.epsilon else 1)
    )
    assert found[:7] == pytest.approx(
        pair_drift(kernel, x[:7], s[:7], weights[:7]), rel=1e-9, abs=1e-9 * np.abs(direct).max()
    )


def test_a_thinned_rule_is_a_rule_with_half_the_angles() -> None:
    rule = PROBLEM.rule(angles=64)
    thin, keep = thinned(rule, 2000)
    assert thin.angles == 16
    assert len(thin.weights) * 4 == len(rule.weights)
    assert (rule.nodes[keep] == thin.nodes).all()
    for values in (np.ones(len(rule.weights)), rule.nodes[:, 0] ** 2, np.cos(2 * rule.nodes[:, 0] + rule.nodes[:, 1])):
        fine, (total, error) = rule.integrate(values)[0], thin.integrate(values[keep])
        assert abs(fine - total) <= error + 1e-12
        assert error < 0.01
    assert thin.coarse.sum() == pytest.approx(1.0, rel=1e-6)
    assert np.count_nonzero(thin.coarse) < len(thin.weights) / 3


def test_a_rule_in_3d_can_be_thinned() -> None:
    rule = parse_problem("bkw3d").rule(angles=16)
    thin, _ = thinned(rule, len(rule.weights) // 2)
    total, error = thin.integrate(thin.nodes[:, 0] ** 2)
    assert total == pytest.approx(1.0, abs=1e-8)
    assert error < 1e-4
    assert thinned(thin, 10)[0].angles == 8


def simulated(run: Scored, t: float, n: int, draws: int) -> tuple[float, float]:
    """Mean of R over many draws of n particles, the drift summed pair by pair, and its standard error."""
    v = PROBLEM.initial.sample(n * draws, np.random.default_rng(7))
    x, velocity = (a[0] for a in run.velocity(np.array([t]), v))
    s = run.score(np.array([t]), x[None])[0]
    x, velocity, s = (a.reshape(draws, n, 2) for a in (x, velocity, s))
    z, y = x[:, :, None] - x[:, None], s[:, :, None] - s[:, None]
    drift = -np.einsum("mijab,mijb->mia", PROBLEM.kernel.matrix(z), y) / n
    energy = np.mean(np.sum((velocity - drift) ** 2, axis=-1), axis=-1)
    return float(energy.mean()), float(energy.std() / np.sqrt(draws))


@pytest.mark.parametrize("n", [3, 6])
def test_the_expected_residual_energy_agrees_with_its_simulation(n: int) -> None:
    # a flow at rest: its residual is the drift itself, so that the bias of the drift's mean shows
    run, t, rule = Scored(PROBLEM, scaled(PROBLEM, 0.0).jets_at, "rest", 0.3), 1.5, PROBLEM.rule(angles=32)
    pushed = push(run, PROBLEM, rule, np.array([t]), lambda *_: None, "test")
    assert pushed is not None
    x, velocity, score = pushed.flow[0], pushed.dt[0], run.score(pushed.times, pushed.flow)[0]
    upper, minkowski, error = residual_energy._expected_energy(PROBLEM.kernel, rule, n, x, velocity, score)
    truth, spread = simulated(run, t, n, 400_000 // n)
    assert 0 < error < 0.01 * spread
    assert abs(upper - truth) < 4 * spread
    assert minkowski > upper + 10 * spread
    # what three mistakes would give: no fluctuation, no bias of the mean, s~ taken for the score of f~
    drift = field_drift(PROBLEM.kernel, x, score, rule.weights)
    pair = mean_pair_square(PROBLEM.kernel, x, score, rule.weights)
    own = pushed.mean_field_drift(score[None])[0]

    def energy(drift: Array, bias: float, pair: float) -> float:
        square = np.sum((velocity - (1 - bias) * drift) ** 2, axis=-1)
        if pair > 0:
            square -= (1 - 1 / n) / n * np.sum(drift**2, axis=-1)
        return float(square @ rule.weights) + (1 - 1 / n) / n * pair

    assert energy(drift, 1 / n, pair) == pytest.approx(upper - error, rel=1e-10)
    for wrong in (energy(drift, 0.0, 0.0), energy(drift, 0.0, pair), energy(own, 1 / n, pair)):
        assert abs(wrong - truth) > 6 * spread


@pytest.mark.parametrize("n", [2, 5])
def test_the_sampling_error_agrees_with_its_simulation(n: int) -> None:
    solution: Any = PROBLEM.exact
    t, draws = 1.0, 60_000
    x = solution.sample(t, n * draws, np.random.default_rng(8))
    s, drift = solution.score(t, x).reshape(draws, n, 2), solution.drift(t, x).reshape(draws, n, 2)
    x = x.reshape(draws, n, 2)
    z, y = x[:, :, None] - x[:, None], s[:, :, None] - s[:, None]
    error = -np.einsum("mijab,mijb->mia", PROBLEM.kernel.matrix(z), y) / n - drift
    values = np.mean(np.sum(error**2, axis=-1), axis=-1)
    rule = drift_sampling.law_rules(PROBLEM, solution, np.array([t]))[0]
    pair = mean_pair_square(PROBLEM.kernel, rule.nodes, solution.score(t, rule.nodes), rule.weights)
    square = residual_energy.mean_square(solution.drift(t, rule.nodes), rule)[0]
    found, spread = sampling_error(pair, square, n), values.std() / np.sqrt(draws)
    assert abs(found - values.mean()) < 4 * spread
    assert found < pair / n
    for wrong in (sampling_error(pair, 0.0, n) if n > 2 else 0.0, sampling_error(pair, square, n + 1), pair / n):
        assert abs(wrong - values.mean()) > 5 * spread


def test_the_moment_error_covers_what_coarse_moments_change() -> None:
    run, t = scored(PROBLEM, 0.3, 0.2), 1.5
    fine = push(run, PROBLEM, PROBLEM.rule(angles=64), np.array([t]), lambda *_: None, "test")
    coarse = push(run, PROBLEM, PROBLEM.rule(np.array([0.0, 2.0, 6.0]), 8), np.array([t]), lambda *_: None, "test")
    assert fine is not None
    assert coarse is not None
    parts = []
    for p in (fine, coarse):
        score = run.score(p.times, p.flow)[0]
        parts.append(residual_energy._expected_energy(PROBLEM.kernel, p.rule, 100, p.flow[0], p.dt[0], score))
    (truth, _, small), (upper, _, error) = parts
    assert error > 1e-5 > small  # the second rule is coarse enough for this to test something
    assert abs(upper - error - truth) <= error


def test_the_error_of_the_drift_s_own_moments_enters_the_bound() -> None:
    # the velocity is the computed drift: all that is left is what other moments would make of it
    run, n = scored(PROBLEM, 0.3, 0.2), 10**9
    rule = PROBLEM.rule(np.array([0.0, 2.0, 6.0]), 8)
    pushed = push(run, PROBLEM, rule, np.array([1.5]), lambda *_: None, "test")
    assert pushed is not None
    x, score = pushed.flow[0], run.score(pushed.times, pushed.flow)[0]
    fine, coarse = (field_drift(PROBLEM.kernel, x, score, w) for w in (rule.weights, rule.coarse))
    upper, _, _ = residual_energy._expected_energy(PROBLEM.kernel, rule, n, x, fine, score)
    change = residual_energy.mean_square(fine - coarse, rule)[0]
    assert change > 1e-8
    assert upper >= change * (1 - 1e-6)


def test_a_test_particle_feels_the_judged_particles_and_no_other_test_particle() -> None:
    run = scored(PROBLEM, 0.3, 0.2)
    c = context(run)
    field = residual_energy.learned(c, c.particles, c.times)
    assert field is not None
    start = PROBLEM.initial.sample(5, np.random.default_rng(9))
    found = residual_energy.held_out_residuals(c, field, start)
    assert found is not None
    (x, velocity), k = run.velocity(c.times, start), 2
    z, y = x[k][:, None] - field.x[k], run.score(c.times, x)[k][:, None] - field.score[k]
    rho = velocity[k] + np.mean(np.einsum("ijab,ijb->ija", PROBLEM.kernel.matrix(z), y), axis=1)
    assert found[k] == pytest.approx(np.sum(rho**2, axis=1), rel=1e-9)


def test_drift_sampling_is_that_of_as_many_particles_as_are_judged() -> None:
    c = context(scored(PROBLEM, 0.0))
    solution: Any = PROBLEM.exact
    estimate, t = drift_sampling.compute(c)["drift_sampling"], c.grid.flat[3]
    found, error = np.asarray(estimate.value)[3], estimate.detail["error"]
    rule = drift_sampling.law_rules(PROBLEM, solution, np.array([t]))[0]
    pair = mean_pair_square(PROBLEM.kernel, rule.nodes, solution.score(t, rule.nodes), rule.weights)
    square = residual_energy.mean_square(solution.drift(t, rule.nodes), rule)[0]
    assert 0 <= found - sampling_error(pair, square, 200) <= error
    assert error < 0.01 * found


def estimates(compute: Callable[[Context], dict[str, Estimate]], c: Context) -> dict[str, Array]:
    found = compute(c)
    for e in found.values():
        assert np.asarray(e.value).shape == (c.grid.n_nodes,)
    return {k: np.asarray(e.value) for k, e in found.items()}


def test_the_expected_energy_is_an_upper_numerical_value_above_the_mean_of_many_draws() -> None:
    run = scored(PROBLEM, 0.3, 0.2)
    c = context(run)
    found = residual_energy.expected(c)
    mean = found["residual_energy_mean"]
    assert (mean.side, mean.rigor, mean.uses_exact_solution) == (Side.UPPER, Rigor.NUMERICAL, False)
    assert "quadrature" in mean.method
    draws = [
        estimates(residual_energy.realised, context(run, Options(times=2, samples=200, seed=s)))["residual_energy"]
        for s in range(20)
    ]
    spread = np.std(draws, axis=0) / np.sqrt(len(draws))
    value = np.asarray(mean.value)
    assert (value > np.mean(draws, axis=0) - 4 * spread).all()
    assert (value < 1.1 * np.mean(draws, axis=0) + 4 * spread).all()


def test_a_flow_without_jets_gets_the_same_expectation_from_its_velocity() -> None:
    class Bare(Scored):
        def jets(self, t: Array, v: Array) -> Any:
            return None

    run = scored(PROBLEM, 0.3, 0.2)
    bare = Bare(PROBLEM, run.jets_at, "bare", 0.3)
    a, b = (estimates(residual_energy.expected, context(r))["residual_energy_mean"] for r in (run, bare))
    assert a == pytest.approx(b, rel=1e-12)
    silent = Bare(PROBLEM, run.jets_at, "bare", 0.3)
    object.__setattr__(silent, "score", lambda t, x: None)
    assert residual_energy.expected(context(silent)) == {}


def test_the_realised_energy_is_the_mean_over_the_judged_particles() -> None:
    run = scored(PROBLEM, 0.3, 0.2)
    c = context(run)
    found = estimates(residual_energy.realised, c)
    x, velocity = run.velocity(c.grid.flat, c.particles)
    s = run.score(c.grid.flat, x)
    for k in (0, len(x) - 1):
        rho = velocity[k] - pair_drift(PROBLEM.kernel, x[k], s[k], np.full(200, 1 / 200))
        assert found["residual_energy"][k] == pytest.approx(np.mean(np.sum(rho**2, axis=1)), rel=1e-9)
    assert found["residual_rms"] ** 2 == pytest.approx(found["residual_energy"], rel=1e-12)


def test_the_statistical_bound_covers_the_mean_over_new_particles_in_the_judged_field() -> None:
    run = scored(PROBLEM, 0.3, 0.2)
    c = context(run, Options(times=2, samples=1500, tolerance=1e3))
    found = residual_energy.statistical(c)["residual_energy_statistical"]
    assert (found.side, found.rigor) == (Side.UPPER, Rigor.STATISTICAL)
    assert found.delta == pytest.approx(0.0025)
    assert "M2 by quadrature" in found.detail["hypothesis"]
    field = residual_energy.learned(c, c.particles, c.times)
    pushed = c.pushed_at_times
    assert field is not None
    assert pushed is not None
    weights = np.concatenate([np.full(1500, 1 / 1500), np.zeros(len(pushed.rule.weights))])
    for k, value in enumerate(np.asarray(found.value)):
        x, s = np.concatenate([field.x[k], pushed.flow[k]]), run.score(pushed.times[k : k + 1], pushed.flow[k : k + 1])
        drift = field_drift(PROBLEM.kernel, x, np.concatenate([field.score[k], s[0]]), weights)[1500:]
        truth = residual_energy.mean_square(pushed.dt[k] - drift, pushed.rule)[0]
        assert truth < value < 3 * truth


def test_a_rare_large_residual_is_covered_although_few_particles_meet_it() -> None:
    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        value, dt, jac, hess = exact_jets(PROBLEM)(t, v)
        return value, dt + np.where(np.linalg.norm(v, axis=1) > 2.6, 10.0, 0.0)[:, None], jac, hess

    c = context(Scored(PROBLEM, jets_at, "rare fault", 0.0))
    found = np.asarray(residual_energy.statistical(c)["residual_energy_statistical"].value)
    mass = PROBLEM.initial.tail_moment(2.6, 0)
    # (10, 10) on that mass, and next to nothing elsewhere; the second moment knows it, whoever was drawn
    assert (found > 200 * mass).all()
    assert np.isfinite(found).all()


def test_without_a_finite_second_moment_a_contradicted_kurtosis_gives_no_bound() -> None:
    x = np.append(np.zeros(999), 1.0)[None]
    bound, hypothesis = residual_energy.one_sided(x, None, 0.01)
    assert np.isinf(bound.value).all()
    assert hypothesis.startswith("E X^2 <= 10")


def test_the_zero_of_f0_leaves_no_statistical_bound_for_the_pushforward_score() -> None:
    problem = parse_problem("bkw2d:t0=0,T=1")
    run = gradient_perturbation(problem, 0.1, WAVE)
    found = residual_energy.statistical(context(run))["residual_energy_statistical"]
    assert np.isinf(found.value).all()
    assert "second moment is infinite" in found.method


def test_the_test_particles_are_drawn_apart_from_the_judged_ones() -> None:
    c = context(scored(PROBLEM, 0.3))
    drawn = [
        PROBLEM.initial.sample(50, c.rng(p)) for p in ("particles", "residual test particles", "score test particles")
    ]
    assert not any(residual_energy.shared(drawn[i], drawn[j]) for i in range(3) for j in range(i))
    mixed = np.concatenate([drawn[0], drawn[1][:1]])
    assert residual_energy.shared(mixed, drawn[1])


def test_reusing_the_judged_particles_as_test_particles_is_noticed() -> None:
    class Careless(Context):
        def rng(self, purpose: str) -> np.random.Generator:
            return super().rng("particles")

    run = scored(PROBLEM, 0.3)
    with pytest.raises(ValueError, match="drawn apart"):
        residual_energy.statistical(Careless(run, PROBLEM, 0.5, OPTIONS))


def test_drift_sampling_is_an_upper_value_above_the_mean_of_many_realisations() -> None:
    run = scored(PROBLEM, 0.0)
    c = context(run)
    found = drift_sampling.compute(c)
    expected, realised = found["drift_sampling"], found["drift_sampling_realised"]
    assert (expected.side, expected.rigor, expected.uses_exact_solution) == (Side.UPPER, Rigor.NUMERICAL, True)
    assert (realised.side, realised.uses_exact_solution) == (Side.BOTH, True)
    draws = [
        estimates(drift_sampling.compute, context(run, Options(times=2, samples=200, seed=s)))[
            "drift_sampling_realised"
        ]
        for s in range(20)
    ]
    spread = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert (np.asarray(expected.value) > np.mean(draws, axis=0) - 4 * spread).all()
    assert (np.asarray(expected.value) < 1.2 * np.mean(draws, axis=0) + 4 * spread).all()
    k, solution, x = 3, PROBLEM.exact, c.exact_particles
    assert solution is not None
    t = c.grid.flat[k]
    by_pairs = pair_drift(PROBLEM.kernel, x[k], solution.score(t, x[k]), np.full(200, 1 / 200))
    difference = by_pairs - solution.drift(t, x[k])
    assert np.asarray(realised.value)[k] == pytest.approx(np.mean(np.sum(difference**2, axis=1)), rel=1e-9)


def test_without_an_exact_solution_there_is_no_drift_sampling() -> None:
    blind = PROBLEM.without_exact_solution()
    assert drift_sampling.compute(Context(scored(PROBLEM, 0.0), blind, 0.5, OPTIONS)) == {}


def test_every_estimate_has_the_side_its_estimator_declares() -> None:
    c = context(scored(PROBLEM, 0.3, 0.2))
    seen = 0
    for estimator in (*residual_energy.ESTIMATOR, drift_sampling.ESTIMATOR):
        for name, estimate in estimator.compute(c).items():
            assert estimate.side is estimator.provides[name]
            assert estimate.uses_exact_solution is estimator.uses_exact_solution
            assert estimate.rigor <= estimator.rigor
            seen += 1
    assert seen == 7
