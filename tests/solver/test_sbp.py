"""The score-based particle method: its network, its conservation laws, its orders, and its densities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from certify.api import certify
from certify.cli import main
from certify.options import Options
from certify.run import Run
from solver import sbp
from solver.pairs import Jet, MomentDrift, cloud_drift
from solver.particle_run import ParticleRun
from solver.sbp import (
    PARTICLES,
    Groups,
    Learner,
    NetworkScore,
    Settings,
    Shape,
    carried_density,
    diagnostics,
    drift_divergence,
    evolve,
    implicit_midpoint,
    matching_loss,
    settings_for,
    solve,
    tracer_midpoint,
)
from tests.differences import derivatives
from tests.strategies import generators, kernels
from theory.bkw import Bkw
from theory.densities import GaussianMixture
from theory.hypotheses import PROPER
from theory.kernels import Kernel, maxwell, mollified_coulomb
from theory.problem import Problem
from theory.problems import PROBLEMS, parse_problem
from theory.theorem import Outcome

SMALL = Settings(
    particles=40, dt=0.05, width=8, depth=2, iterations=3, initial_iterations=30, initial_rate=1e-2, learning_rate=1e-3
)


def network(d: int, seed: int = 0, width: int = 9, depth: int = 3) -> tuple[Shape, Tensor]:
    """A random network in float64, biases included."""
    shape = Shape(d, width, depth)
    generator = torch.Generator().manual_seed(seed)
    theta = shape.random(generator, torch.float64)
    return shape, theta + 0.2 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)


def reference(shape: Shape, theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same network by library calls at x (n, d), and its Jacobian by automatic differentiation, differentiable."""
    *hidden, (last, bias) = shape.layers(theta)
    x = h = x.clone().requires_grad_()
    for weight, shift in hidden:
        h = torch.nn.functional.silu(torch.nn.functional.linear(h, weight, shift))
    s = torch.nn.functional.linear(h, last, bias)
    rows = [torch.autograd.grad(s[:, a].sum(), x, create_graph=True)[0] for a in range(shape.d)]
    return s, torch.stack(rows, dim=1)


def cloud(kernel: Kernel, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(1, 2, (n, kernel.d)), rng.normal(size=(n, kernel.d))


@dataclass(frozen=True)
class Exact:
    """The BKW score of one time in place of a network."""

    solution: Bkw
    t: float

    def at(self, x: np.ndarray) -> np.ndarray:
        return self.solution.score(self.t, x)

    def jet(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, p, q = self.solution.coefficients(self.t)
        r2 = np.sum(x * x, axis=1)
        slope = -4 * q * q / (p + q * r2) ** 2  # twice the derivative of the factor by r^2
        factor = self.solution.score_factor(self.t, r2)
        return self.at(x), factor[:, None, None] * np.eye(x.shape[1]) + slope[:, None, None] * x[:, :, None] * x[
            :, None
        ]

    def second_jet(self, x: np.ndarray) -> Jet:
        return (*self.jet(x), derivatives(lambda y: self.jet(y)[1], x))


def exact_run(problem: Problem, settings: Settings, starts: np.ndarray) -> sbp.ParticleSolution:
    """A run with the exact score, at the times of the steps, and no network at all."""
    solution = problem.exact
    if not isinstance(solution, Bkw):
        raise TypeError("needs a BKW problem")
    steps = round(float(problem.T - problem.t0) / settings.dt)
    times = np.linspace(float(problem.t0), float(problem.T), steps + 1)
    return evolve(problem, settings, starts, lambda k, _: Exact(solution, times[k]), np.random.default_rng(0))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("target", [False, True])
def test_loss_and_gradient_are_those_of_automatic_differentiation(d: int, target: bool, monkeypatch) -> None:
    monkeypatch.setattr(sbp, "CHUNK", 7)
    shape, theta = network(d)
    x = torch.randn(17, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.sin(x) if target else None
    weights = theta.clone().requires_grad_()
    value, jacobian = reference(shape, weights, x)
    truth = (
        value.square().sum(1).mean() + 2 * jacobian.diagonal(dim1=1, dim2=2).sum(1).mean()
        if y is None
        else (value - y).square().sum() / y.square().sum()
    )
    truth.backward()
    loss, gradient = matching_loss(shape, theta, x, y)
    assert loss == pytest.approx(float(truth.detach()), rel=1e-12)
    assert weights.grad is not None
    assert (gradient - weights.grad).abs().max() <= 1e-12 * weights.grad.abs().max()


@pytest.mark.parametrize("d", [2, 3])
def test_score_and_jacobian_are_those_of_automatic_differentiation_in_any_units(d: int) -> None:
    shape, theta = network(d)
    centre, scale = np.linspace(0.5, 2.0, d), 0.3
    score = NetworkScore(shape, theta.float(), centre, scale)
    x = np.random.default_rng(2).normal(centre, scale, (11, d))
    value, jacobian = reference(shape, theta.float().double(), torch.from_numpy((x - centre) / scale))
    value, jacobian = value.detach() / scale, jacobian.detach() / scale**2
    assert score.at(x) == pytest.approx(value.numpy(), rel=1e-12, abs=1e-12)
    assert score.jet(x)[0] == pytest.approx(value.numpy(), rel=1e-12, abs=1e-12)
    assert score.jet(x)[1] == pytest.approx(jacobian.numpy(), rel=1e-11, abs=1e-11)


GAUSSIAN = Settings(
    width=16,
    depth=2,
    optimizer="adam",
    learning_rate=3e-3,
    iterations=100,
    initial_rate=1e-2,
    initial_tolerance=3e-3,
    initial_iterations=2000,
)


def gaussian_problem(variance: float = 0.09, centre: tuple[float, float] = (-1.0, 2.0)) -> Problem:
    """A Gaussian, off the origin and cold unless told otherwise."""
    density = GaussianMixture((1.0,), (centre,), variance, (0.0, 1.0))
    return replace(parse_problem("bkw2d"), initial=density, exact=None)


def fisher(score: sbp.Score, truth: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> float:
    """Relative Fisher divergence."""
    s = truth(x)
    return float(np.sum((score.at(x) - s) ** 2) / np.sum(s**2))


def test_the_first_fit_reproduces_a_gaussian_score_at_particles_it_never_saw() -> None:
    problem, rng = gaussian_problem(), np.random.default_rng(0)
    learner = Learner(problem, GAUSSIAN, np.random.SeedSequence(0))
    score = learner.learn(0, problem.initial.sample(500, rng))
    assert learner.loss < GAUSSIAN.initial_tolerance
    assert fisher(score, problem.initial.score, problem.initial.sample(2000, rng)) <= 2 * GAUSSIAN.initial_tolerance


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_score_matching_learns_a_gaussian_of_another_temperature_from_its_particles_alone(noise: float) -> None:
    problem, warmer, rng = gaussian_problem(), gaussian_problem(0.15).initial, np.random.default_rng(0)
    learner = Learner(problem, replace(GAUSSIAN, noise=noise), np.random.SeedSequence(0))
    before = learner.learn(0, problem.initial.sample(500, rng))
    after = learner.learn(1, warmer.sample(4000, rng))
    fresh = warmer.sample(2000, rng)
    assert fisher(before, warmer.score, fresh) >= 0.3
    assert fisher(after, warmer.score, fresh) <= 0.01


@given(kernels(), generators(), st.integers(1, 12))
@settings(max_examples=40)
def test_groups_conserve_momentum_and_produce_no_energy_each_on_its_own(
    kernel: Kernel, rng: np.random.Generator, batch: int
) -> None:
    x, s = cloud(kernel, rng, 23)
    groups = Groups.draw(kernel, len(x), batch, rng)
    u, _ = groups.drift(x, s)
    assert sorted(np.concatenate(groups.members)) == list(range(len(x)))
    size = float(np.abs(u).max()) + kernel.strength * float(np.abs(x).max() ** 2)
    for i in groups.members:
        assert len(i) <= batch
        assert np.abs(u[i].sum(0)).max() <= 1e-11 * size
        assert abs(np.sum(x[i] * u[i])) <= 1e-10 * size * float(np.abs(x).max())


@given(kernels(), generators())
@settings(max_examples=20)
def test_one_group_is_the_full_sum_and_more_agree_on_average(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s = cloud(kernel, rng, 12)
    full = cloud_drift(kernel, x, s, np.full(12, 1 / 12)).at(x, s)
    whole, _ = Groups.draw(kernel, 12, 0, rng).drift(x, s)
    assert np.abs(whole - full).max() <= 1e-12 * np.abs(full).max()


@given(kernels(), generators())
@settings(max_examples=20)
def test_the_divergence_of_the_drift_is_its_difference_quotient(kernel: Kernel, rng: np.random.Generator) -> None:
    x, r = cloud(kernel, rng, 15)
    shape, theta = network(kernel.d, int(rng.integers(100)))
    score = NetworkScore(shape, theta, np.zeros(kernel.d), 1.0)
    drift = cloud_drift(kernel, x, r, np.full(15, 1 / 15))
    y = rng.normal(1, 2, (4, kernel.d))
    h, quotient, size = 1e-5, np.zeros(4), 0.0
    for j, step in enumerate(h * np.eye(kernel.d)):
        ahead, behind = drift.at(y + step, score.at(y + step)), drift.at(y - step, score.at(y - step))
        quotient += (ahead - behind)[:, j] / (2 * h)
        size = max(size, float(np.abs(ahead).max()))
    scale = size * (1 + 1 / (kernel.epsilon or 1) ** 2)
    assert np.abs(drift_divergence(drift, y, *score.jet(y)) - quotient).max() <= 1e-7 * scale + 1e-10


@pytest.mark.parametrize("d", [2, 3])
def test_the_compiled_divergence_is_the_one_in_numpy(d: int, monkeypatch) -> None:
    pytest.importorskip("numba")
    kernel, rng = mollified_coulomb(d, 0.3, 0.2), np.random.default_rng(10)
    drift = cloud_drift(kernel, *cloud(kernel, rng, 40), np.full(40, 1 / 40))
    y, s, jacobian = rng.normal(size=(70, d)), rng.normal(size=(70, d)), rng.normal(size=(70, d, d))
    plain = drift_divergence(drift, y, s, jacobian)
    monkeypatch.setattr(sbp, "FEW", 0)
    assert drift_divergence(drift, y, s, jacobian) == pytest.approx(plain, rel=1e-11, abs=1e-11)


def with_network(problem: Problem, choice: Settings, starts: np.ndarray) -> sbp.ParticleSolution:
    """A run with one random network for all times."""
    score = NetworkScore(*network(problem.d, 3), problem.initial.mean(), 1.0)
    return evolve(problem, choice, starts, lambda *_: score, np.random.default_rng(0))


@pytest.mark.parametrize("kernel", ["maxwell", "mollified-coulomb"])
@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("midpoint", 2)])
def test_log_densities_follow_the_determinant_of_the_map_of_tracers(kernel: str, integrator: str, order: int) -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1")
    if kernel != "maxwell":
        problem = replace(problem, kernel=mollified_coulomb(2, 0.5, 0.5))
    starts = problem.initial.sample(7, np.random.default_rng(4))
    gaps = []
    for dt in (1 / 4, 1 / 8, 1 / 16):
        solution = with_network(problem, Settings(dt=dt, integrator=integrator), starts)
        run, h = ParticleRun(solution), 1e-5
        end = np.array([float(problem.T)])
        columns = [(run.flow(end, starts + e)[0] - run.flow(end, starts - e)[0]) / (2 * h) for e in h * np.eye(2)]
        log_det = np.log(np.linalg.det(np.stack(columns, axis=-1)))
        assert solution.log_density is not None
        gaps.append(np.abs(solution.log_density[0] - solution.log_density[-1] - log_det).max())
    # the exponential of h div U is the determinant of a step up to h^2 (Euler) or h^3
    observed = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert np.all((observed > order - 0.25) & (observed < order + 0.35))
    assert gaps[-1] <= (3e-2 if order == 1 else 5e-4)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_second_derivatives_of_the_network_and_the_drift_are_those_of_derivatives(d: int, depth: int) -> None:
    rng = np.random.default_rng(d)
    score = NetworkScore(*network(d, depth=depth), rng.normal(size=d), 1.3)
    x = rng.normal(size=(6, d))
    s, ds, dds = score.second_jet(x)
    assert s == pytest.approx(score.at(x), abs=1e-13)
    assert ds == pytest.approx(score.jet(x)[1], abs=1e-13)
    assert dds == pytest.approx(derivatives(lambda y: score.jet(y)[1], x), abs=1e-9)
    kernel = maxwell(d, 0.7)
    drift = cloud_drift(kernel, *cloud(kernel, rng, 9), rng.dirichlet(np.ones(9)))
    assert isinstance(drift, MomentDrift)
    u, du, ddu = drift.jet(x, s, ds, dds)
    assert u == pytest.approx(drift.at(x, s), abs=1e-13)
    assert du == pytest.approx(derivatives(lambda y: drift.at(y, score.at(y)), x), abs=1e-8)
    assert ddu == pytest.approx(derivatives(lambda y: drift.jet(y, *score.second_jet(y))[1], x), abs=1e-8)


@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2,T=1", "bkw3d:t0=11/2,T=6"])
@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_jets_of_a_run_are_the_derivatives_of_its_tracers(spec: str, integrator: str) -> None:
    problem = parse_problem(spec)
    starts = problem.initial.sample(8, np.random.default_rng(4))
    run = ParticleRun(with_network(problem, Settings(dt=1 / 8, integrator=integrator), starts))
    times = float(problem.t0) + np.array([0.0, 0.2, 0.375, 0.5])  # between steps, at one, at the end
    v = problem.initial.sample(5, np.random.default_rng(7))
    jets = run.jets(times, v)
    assert jets is not None
    place, speed = run.velocity(times, v)
    assert jets.value == pytest.approx(place, abs=1e-13)
    assert jets.dt == pytest.approx(speed, abs=1e-12)
    assert jets.jac == pytest.approx(
        derivatives(lambda y: run.flow(times, y).swapaxes(0, 1), v).swapaxes(0, 1), abs=1e-8
    )

    def jac(y: np.ndarray) -> np.ndarray:
        found = run.jets(times, y)
        assert found is not None
        return found.jac.swapaxes(0, 1)

    assert jets.hess == pytest.approx(derivatives(jac, v).swapaxes(0, 1), abs=1e-7)
    assert run.smooth() is (True if integrator == "euler" else None)


def test_with_the_exact_score_and_many_particles_the_flow_defect_vanishes_with_the_step() -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1")
    exact: Any = problem.exact
    starts = problem.initial.sample(40_000, np.random.default_rng(6))
    v, times, defects = problem.initial.sample(200, np.random.default_rng(8)), np.array([0.7, 0.97]), []
    for dt in (1 / 10, 1 / 40):
        run = ParticleRun(exact_run(problem, Settings(dt=dt, integrator="midpoint", log_density=False), starts))
        jets = run.jets(times, v)
        assert jets is not None
        score = jets.pushforward_score(problem.initial.score(v))
        gap = score - np.stack([exact.score(t, x) for t, x in zip(times, jets.value, strict=True)])
        defects.append(np.sqrt(np.mean(gap**2)))
    assert defects[1] <= 0.02  # what 40,000 particles leave
    assert defects[1] <= defects[0]


def test_a_coulomb_run_has_no_jets() -> None:
    problem = replace(parse_problem("bkw2d:t0=1/2,T=1"), kernel=mollified_coulomb(2, 0.5, 0.5))
    run = ParticleRun(with_network(problem, Settings(dt=1 / 4), problem.initial.sample(5, np.random.default_rng(4))))
    assert run.jets(np.array([0.75]), np.zeros((1, 2))) is None
    assert run.smooth() is None


@pytest.mark.parametrize("kernel", ["maxwell", "mollified-coulomb"])
@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_nodes_carried_afterwards_have_the_density_the_particles_carried(kernel: str, integrator: str) -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1")
    if kernel != "maxwell":
        problem = replace(problem, kernel=mollified_coulomb(2, 0.5, 0.5))
    starts = problem.initial.sample(9, np.random.default_rng(4))
    solution = with_network(problem, Settings(dt=1 / 8, integrator=integrator, keep=2), starts)
    x, log_f = carried_density(solution, starts)
    assert x == pytest.approx(solution.positions, abs=1e-12)
    assert log_f == pytest.approx(solution.log_density, abs=1e-11)
    alone, log_alone = carried_density(solution, starts[3:4])  # a node does not depend on the others
    assert alone == pytest.approx(x[:, 3:4], abs=1e-12)
    assert log_alone == pytest.approx(log_f[:, 3:4], abs=1e-12)


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("midpoint", 2)])
def test_particles_and_densities_converge_at_the_order_of_the_integrator(integrator: str, order: int) -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=3/2")
    starts = problem.initial.sample(50, np.random.default_rng(5))

    def end(dt: float, rule: str) -> tuple[np.ndarray, np.ndarray]:
        solution = exact_run(problem, Settings(dt=dt, integrator=rule, keep=10**6), starts)
        assert solution.log_density is not None
        return solution.positions[-1], solution.log_density[-1]

    fine = end(1 / 320, "midpoint")
    coarse = [end(1 / n, integrator) for n in (10, 20, 40)]
    errors = np.array([[np.abs(a - b).max() for a, b in zip(run, fine, strict=True)] for run in coarse])
    observed = np.log2(errors[:-1] / errors[1:])
    assert np.all((observed > order - 0.15) & (observed < order + 0.35))
    assert errors[-1].max() <= (2e-2 if order == 1 else 1e-4)


def test_with_the_exact_score_many_particles_follow_the_exact_flow_and_density() -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=3/2")
    assert isinstance(problem.exact, Bkw)
    starts = problem.initial.sample(10_000, np.random.default_rng(6))
    solution = exact_run(problem, Settings(dt=0.1, integrator="midpoint", keep=10**6), starts)
    truth = problem.exact.flow(1.5, starts)
    assert np.linalg.norm(solution.positions[-1] - truth) <= 3e-3 * np.linalg.norm(truth)
    assert solution.log_density is not None
    gap = solution.log_density[-1] - problem.exact.log_density(1.5, solution.positions[-1])
    assert abs(gap.mean()) <= 2e-3
    assert np.sqrt(np.mean(gap**2)) <= 1e-2
    found = diagnostics(solution)
    assert found["entropy"] - found["entropy_exact"] == pytest.approx([0.0, gap.mean()], abs=1e-12)
    assert found["fisher_divergence"] == pytest.approx([0.0, 0.0], abs=1e-30)
    # d/dt H = -C (d-1) (I - d), on average over the particles
    fisher = np.array([problem.exact.fisher_information(t) for t in solution.times])
    assert found["entropy_rate"] == pytest.approx((2 - fisher) / 16, rel=0.06)
    assert found["energy"] == pytest.approx([2.0, 2.0], rel=0.03)
    assert np.ptp(found["energy"]) <= 1e-11


def test_the_fisher_divergence_of_a_score_off_by_a_tenth_is_a_hundredth() -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1")
    solution = exact_run(problem, Settings(dt=0.25), problem.initial.sample(20, np.random.default_rng(9)))
    off = replace(solution, scores=1.1 * solution.scores, log_density=None)
    assert diagnostics(off)["fisher_divergence"] == pytest.approx(np.full(3, 0.01), rel=1e-9)
    assert "entropy" not in diagnostics(off)


@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2,T=1", "anisotropic2d:T=1", "rosenbluth3d:T=1"])
@pytest.mark.parametrize("batch", [0, 8])
def test_momentum_stays_and_energy_grows_exactly_as_the_integrator_says(spec: str, batch: int) -> None:
    problem = parse_problem(spec)
    starts = problem.initial.sample(30, np.random.default_rng(7))
    energy = {}
    for integrator in ("euler", "midpoint"):
        solution = with_network(problem, Settings(dt=0.1, integrator=integrator, batch=batch), starts)
        x = solution.positions
        assert np.abs(np.ptp(x.mean(1), axis=0)).max() <= 1e-12
        energy[integrator] = np.mean(np.sum(x**2, axis=2), axis=1)
    assert np.ptp(energy["midpoint"]) <= 1e-11 * energy["midpoint"][0]
    solution = with_network(problem, Settings(dt=0.1, batch=batch), starts)
    h = np.diff(solution.times)
    growth = h**2 * np.mean(np.sum(solution.velocities[:-1] ** 2, axis=2), axis=1)
    assert np.diff(energy["euler"]) == pytest.approx(growth, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2,T=1", "anisotropic2d:T=1/2"])
def test_a_tracer_started_at_a_particle_stays_with_it(spec: str, integrator: str) -> None:
    problem = parse_problem(spec)
    solution = solve(problem, replace(SMALL, integrator=integrator))
    paths = ParticleRun(solution).flow(solution.times, solution.positions[0])
    assert np.abs(paths - solution.positions).max() <= 1e-11


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(integrator: str) -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1")
    choice = replace(SMALL, integrator=integrator, batch=16, noise=0.1, average=0.5, minibatch=20)
    first, again, other = (solve(problem, choice, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.positions, again.positions)
    assert np.array_equal(first.scores, again.scores)
    starts = first.positions[0]
    third, fourth = (solve(problem, choice, seed=seed, starts=starts) for seed in (3, 4))
    assert np.array_equal(third.positions, first.positions)
    assert not np.allclose(fourth.positions[-1], first.positions[-1], rtol=0, atol=1e-9)
    assert not np.allclose(other.positions[0], starts, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(PARTICLES))
def test_every_problem_runs_with_its_published_settings_on_few_particles(name: str) -> None:
    family = PROBLEMS[name]
    t0 = Fraction(1, 2) if name == "truncated2d" else family.t0
    whole = settings_for(family(t0))
    assert whole.particles == PARTICLES[name]
    problem = family(t0, t0 + Fraction(2 * whole.dt).limit_denominator(100))
    few = replace(whole, particles=50, batch=20 if whole.batch else 0, initial_iterations=20, iterations=2)
    solution = solve(problem, few)
    assert len(solution.times) == 3
    assert np.isfinite(solution.scores).all()
    assert solution.log_density is not None
    assert np.isfinite(solution.log_density).all()


def test_what_is_learned_does_not_depend_on_the_units_and_origin_of_velocity() -> None:
    there, here = gaussian_problem(), gaussian_problem(1.0, (0.0, 0.0))
    rng, centre, scale = np.random.default_rng(8), there.initial.mean(), 0.3
    x, y = (rng.standard_normal((200, 2)) for _ in range(2))
    choice = replace(GAUSSIAN, initial_iterations=20, iterations=5, noise=0.2)
    scores = []
    for problem, a, b in ((here, x, y), (there, centre + scale * x, centre + scale * y)):
        learner = Learner(problem, choice, np.random.SeedSequence(1))
        scores += [learner.learn(0, a).at(a), learner.learn(1, b).at(b)]
    assert np.abs(scores[0]).max() >= 0.5
    assert scale * scores[2] == pytest.approx(scores[0], abs=1e-4)
    assert scale * scores[3] == pytest.approx(scores[1], abs=1e-4)


def test_few_particles_kept_are_the_same_run() -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1")
    every, few = solve(problem, SMALL), solve(problem, replace(SMALL, keep=4))
    assert few.times == pytest.approx(every.times[[0, 4, 8, 10]])
    assert np.array_equal(few.positions, every.positions[[0, 4, 8, 10]])
    assert np.array_equal(few.field.times, every.field.times)


def test_an_implicit_step_that_does_not_converge_says_so() -> None:
    with pytest.raises(ArithmeticError, match="does not converge"):
        implicit_midpoint(np.ones((1, 2)), 1.0, lambda x: 10 * x)


def test_tracers_far_out_where_the_drift_is_stiff_still_solve_their_step_or_are_nan() -> None:
    def velocity(x: np.ndarray) -> np.ndarray:
        return -(x**3) + np.where(x > 50, np.nan, 0.0)

    x = np.array([[0.5, -1.0], [3.0, 20.0], [100.0, 0.0]])
    y = tracer_midpoint(x, 0.1, velocity)
    assert np.isnan(y[2]).all()
    assert y[:2] - 0.05 * velocity(y[:2]) == pytest.approx(x[:2], rel=1e-9)
    with pytest.raises(ArithmeticError):
        implicit_midpoint(x[:2], 0.1, velocity)


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_tracers_that_run_away_are_nan_and_never_a_warning(integrator: str) -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1")
    run = ParticleRun(solve(problem, replace(SMALL, integrator=integrator)))
    paths = run.flow(np.linspace(0.5, 1.0, 7), np.array([[1.0, 0.5], [1e60, 1e60], [300.0, 900.0]]))
    assert np.isfinite(paths[:, 0]).all()
    assert np.isnan(paths[-1, 1]).all()


def test_rays_that_could_not_be_followed_leave_properness_open_and_those_that_turn_back_refute_it() -> None:
    facts = {"fact_times": np.array([0.0, 1.0]), "problem_t0": 0.0}
    assert PROPER.verdict({**facts, "proper_growth": np.array([9.0, np.nan])}).outcome is Outcome.UNKNOWN
    assert PROPER.verdict({**facts, "proper_growth": np.array([np.nan, 0.5])}).outcome is Outcome.FAILS


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Settings(integrator="rk5"), "unknown integrator 'rk5'; known: euler, midpoint"),
        (lambda: Settings(optimizer="sgd"), "unknown optimizer"),
        (lambda: Settings(dt=0.0), "out of range: dt"),
        (lambda: Settings(noise=-0.1), "out of range: noise"),
        (lambda: Settings(average=1.0), "out of range: average"),
        (lambda: Settings(learning_rate=float("nan")), "out of range: learning_rate"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make: Callable[[], Settings], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_run_satisfies_the_protocol_of_certify() -> None:
    assert isinstance(ParticleRun(solve(parse_problem("bkw2d:t0=1/2,T=1"), SMALL)), Run)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2,T=1", "anisotropic2d:T=2"])
def test_a_small_run_can_be_judged(spec: str) -> None:
    problem = parse_problem(spec)
    report = certify(ParticleRun(solve(problem, SMALL)), problem, Options(quick=True, times=3))
    assert {c.id for c in report.certificates} >= {"lemma1", "stability_w2", "thm6"}


@pytest.mark.slow
def test_the_command_line_reports_on_the_method(tmp_path) -> None:
    code = main(["report", "solver.sbp:run", "--problem", "bkw2d:t0=1/2", "--quick", "-o", str(tmp_path / "report")])
    assert code == 0
    assert (tmp_path / "report" / "report.json").exists()


@pytest.mark.slow
def test_ten_thousand_particles_reach_a_relative_fisher_divergence_of_two_percent_at_time_one() -> None:
    problem = parse_problem("bkw2d:t0=0,T=1")
    solution = solve(problem, Settings(particles=10_000))
    assert diagnostics(solution)["fisher_divergence"][-1] <= 2e-2
