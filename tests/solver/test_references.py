"""References agree with closed forms, with each other and with published numbers within the errors they state."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from solver.radial import coulomb
from solver.references import radial, reference_for, relaxed, shift, spectral
from theory.densities import TruncatedGaussian
from theory.isotropic import TruncatedSolution
from theory.kernels import mollified_coulomb
from theory.problem import Problem
from theory.problems import PROBLEMS
from theory.problems.rosenbluth3d import MASS
from theory.reference import Reference

NOWHERE: Any = {d: np.empty((0, d)) for d in (2, 3)}


def apart(first: Reference, second: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the paths, and what the two say of their errors plus rounding; where both resolve them."""
    known = np.isfinite(first.path_error) & np.isfinite(second.path_error)
    distance = np.linalg.norm(first.paths - second.paths, axis=-1)
    return distance[known], (first.path_error + second.path_error)[known] + 1e-13


# --- against closed forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "start", "times"), [("bkw2d", 0, (0.0, 0.4, 5.0)), ("bkw3d", 11, (5.5, 5.6, 6.0))])
def test_the_maxwell_reference_is_bkw_within_its_errors(name: str, start: int, times: tuple[float, ...]) -> None:
    problem = PROBLEMS[name]()
    assert problem.exact is not None
    starts = problem.initial.sample(300, np.random.default_rng(start))
    found = reference_for(problem.without_exact_solution(), np.array(times), starts)
    assert found is not None
    for k, t in enumerate(times):
        x = problem.exact.flow(t, starts)
        assert np.all(np.linalg.norm(found.paths[k] - x, axis=1) <= found.path_error[k] + 1e-12)
        assert np.abs(found.density(k, x) - np.exp(problem.exact.log_density(t, x))).max() <= found.density_error[k]
    entropy = {0.0: -2.72194555, 5.0: -2.83423588, 5.5: -4.19305231, 6.0: -4.21898220}  # FACTS section 1.1
    for k, t in enumerate(times):
        if t in entropy:
            assert abs(found.entropy[k] - entropy[t]) <= found.entropy_error[k] + 5e-9
    assert np.max(found.l1_error) < 1e-11
    assert np.median(found.path_error) < 1e-10


def test_the_truncated_gaussian_has_a_reference_from_its_jump_on() -> None:
    problem = PROBLEMS["truncated2d"]()
    assert problem.exact is None
    solution = TruncatedSolution(TruncatedGaussian(2.0), problem.kernel.strength, 0.0)
    starts = problem.initial.sample(200, np.random.default_rng(3))
    times = np.array([0.0, 0.05, 0.5, 5.0])
    found = reference_for(problem, times, starts)
    assert found is not None
    for k, t in enumerate(times):
        x = solution.flow(float(t), starts)
        assert np.all(np.linalg.norm(found.paths[k] - x, axis=1) <= found.path_error[k] + 1e-12)
        exact = np.exp(solution.log_density(float(t), x))
        assert np.abs(found.density(k, x) - exact).max() <= found.density_error[k] + 1e-14
    assert np.max(found.l1_error) < 1e-6
    assert np.max(found.path_error) < 1e-6
    np.testing.assert_allclose(found.covariance, np.tile(problem.initial.covariance(), (4, 1, 1)), atol=1e-13)


# --- against each other -------------------------------------------------------------------------------------------


def coulomb_from_bkw() -> Problem:
    """Isotropic data in 2D with a mollified Coulomb kernel: two solvers that share nothing know it."""
    return replace(PROBLEMS["bkw2d"](Fraction(1, 2)), kernel=mollified_coulomb(2, 1 / 16, 0.25), exact=None)


def test_the_radial_and_the_fourier_solver_agree_within_what_they_state() -> None:
    problem, times = coulomb_from_bkw(), np.array([0.5, 1.0, 3.0])
    starts = problem.initial.sample(200, np.random.default_rng(5))
    one = radial(problem, times, starts, n=256)
    two = spectral(problem, times, starts, n=48, half_width=6.0)
    distance, stated = apart(one, two)
    assert np.all(distance <= stated)
    assert np.median(stated) < 1e-4
    assert np.median(np.linalg.norm(one.paths[-1] - starts, axis=1)) > 0.01  # they do move
    v = problem.initial.sample(400, np.random.default_rng(6))
    for k in range(3):
        gap = np.abs(one.density(k, v) - two.density(k, v)).max()
        assert gap <= one.density_error[k] + two.density_error[k], k
        assert abs(one.entropy[k] - two.entropy[k]) <= one.entropy_error[k] + two.entropy_error[k]
        slack = one.moment_error[k] + two.moment_error[k]
        assert np.abs(one.covariance[k] - two.covariance[k]).max() <= slack
        assert np.abs(one.mean[k] - two.mean[k]).max() <= slack
    assert max(one.l1_error.max(), two.l1_error.max()) < 1e-4
    which = reference_for(problem, times[:2], starts[:1])
    assert which is not None
    assert which.method.startswith("radial")


# --- against finer runs and published numbers -----------------------------------------------------------------------


@cache
def ring(n: int, true_coulomb: bool = False) -> Reference:
    problem = PROBLEMS["rosenbluth3d"]()
    starts = problem.initial.sample(100, np.random.default_rng(7))
    profile = coulomb(MASS / (4 * math.pi)) if true_coulomb else None
    return radial(problem, np.array([0.0, 5.0, 10.0, 20.0]), starts, n=n, profile=profile)


def test_the_rosenbluth_reference_is_converged_as_it_says() -> None:
    coarse, fine = ring(160), ring(320)
    v = PROBLEMS["rosenbluth3d"]().initial.sample(300, np.random.default_rng(8))
    distance, stated = apart(coarse, fine)
    assert np.all(distance <= stated)
    for k in range(4):
        gap = np.abs(coarse.density(k, v) - fine.density(k, v)).max()
        assert gap <= coarse.density_error[k] + fine.density_error[k]
        assert abs(coarse.entropy[k] - fine.entropy[k]) <= coarse.entropy_error[k] + fine.entropy_error[k]
    assert np.max(fine.l1_error) < 1e-5
    assert np.max(fine.l1_error) < np.max(coarse.l1_error)
    assert np.median(fine.path_error[-1]) < 1e-5


def test_the_rosenbluth_reference_gives_the_published_table_with_the_true_kernel() -> None:
    found = ring(320, true_coulomb=True)
    temperature = PROBLEMS["rosenbluth3d"]().initial.covariance()[0, 0]
    rest = -1.5 * (math.log(2 * math.pi * temperature) + 1)
    table = {2: (1.324e-3, 7.7733e-3, 3.934e-4), 3: (4.279e-3, 6.9106e-3, 2.401e-4)}
    for k, (core, at_ring, excess) in table.items():  # FACTS section 1.3; two grids of that run agree to 3e-4
        f = MASS * found.density(k, np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]))
        assert f == pytest.approx([core, at_ring], rel=1e-3)
        assert MASS * (found.entropy[k] - rest) == pytest.approx(excess, rel=1e-3)


def test_the_anisotropic_reference_is_converged_as_it_says() -> None:
    problem, times = PROBLEMS["anisotropic2d"](), np.array([0.0, 1.0, 4.0])
    starts = problem.initial.sample(100, np.random.default_rng(9))
    coarse = spectral(problem, times, starts, n=40)
    fine = spectral(problem, times, starts, n=52, half_width=9.5)
    distance, stated = apart(coarse, fine)
    assert np.all(distance <= stated)
    for k in range(3):
        gap = np.abs(coarse.density(k, starts) - fine.density(k, starts)).max()
        assert gap <= coarse.density_error[k] + fine.density_error[k]
        assert np.abs(coarse.covariance[k] - fine.covariance[k]).max() <= coarse.moment_error[k] + fine.moment_error[k]
        assert abs(coarse.entropy[k] - fine.entropy[k]) <= coarse.entropy_error[k] + fine.entropy_error[k]
    assert np.max(fine.l1_error) < 1e-6


@pytest.mark.slow
def test_the_anisotropic_reference_of_a_report_is_accurate_and_gives_the_table_with_the_true_kernel() -> None:
    problem, times = PROBLEMS["anisotropic2d"](), np.array([0.0, 10.0, 20.0, 40.0])
    rule = problem.rule()
    found = reference_for(problem, times, rule.nodes)
    assert found is not None
    assert np.max(found.l1_error) < 1e-6
    lost = np.where(np.isfinite(found.path_error), 0.0, 1.0) @ rule.weights
    assert np.max(lost) < 1e-6
    true = spectral(problem, times, NOWHERE[2], profile=coulomb(1 / 16))
    for k, value in zip((1, 2, 3), (-0.893, -0.800, -0.644), strict=True):  # FACTS section 1.2, to 0.003
        assert abs(true.covariance[k, 0, 1] - value) <= 0.003 + true.moment_error[k]
        assert found.covariance[k, 0, 1] < true.covariance[k, 0, 1]  # the mollified kernel relaxes more slowly


# --- what a reference promises --------------------------------------------------------------------------------------


def test_a_reference_asked_for_later_times_still_starts_with_the_problem() -> None:
    for problem in (coulomb_from_bkw(), PROBLEMS["truncated2d"]()):
        starts = problem.initial.sample(20, np.random.default_rng(10))
        t0 = float(problem.t0)
        maker = relaxed if problem.kernel.is_maxwell else radial
        late, all_times = (maker(problem, np.array(t), starts) for t in ((t0 + 1.0,), (t0, t0 + 1.0)))
        np.testing.assert_allclose(late.paths[0], all_times.paths[1], atol=1e-9)
        np.testing.assert_allclose(late.density(0, starts), all_times.density(1, starts), rtol=1e-6)
        assert np.abs(late.paths[0] - starts).max() > 0.01
    with pytest.raises(ValueError, match="before the start"):
        radial(coulomb_from_bkw(), np.array([0.0]), starts)


def test_there_is_no_reference_for_anisotropic_data_in_3d() -> None:
    problem = PROBLEMS["gaussian_mixture3d"]().without_exact_solution()
    assert reference_for(problem, np.array([float(problem.t0)]), NOWHERE[3]) is None


def test_a_radius_is_uncertain_by_the_shell_that_holds_the_uncertain_mass() -> None:
    grid = np.linspace(0.0, 4.0, 4001)
    mass = 1 - np.exp(-(grid**2) / 2)
    x = np.array([0.0, 0.01, 1.0, 3.0, 3.9])
    for slack in (1e-8, 1e-4):
        off = shift(x, grid, mass, slack)
        assert off[2] == pytest.approx(slack / (np.exp(-0.5)), rel=1e-2)
        assert np.all(off[:2] <= np.sqrt(2 * slack) * 1.01)  # no more than the core of that mass
        assert off[3] > off[2]
    assert shift(x, grid, mass, 1e-3)[4] == math.inf  # less than that lies outside
    found = radial(coulomb_from_bkw(), np.array([0.5, 1.0]), np.array([[0.0, 0.0], [1.0, 0.0], [40.0, 0.0]]), n=96)
    assert np.isfinite(found.path_error[:, :2]).all()
    assert np.all(np.isinf(found.path_error[:, 2]))
    assert np.isnan(found.paths[:, 2]).all()
    assert np.all(found.density(1, np.array([[50.0, 0.0]])) == 0.0)
