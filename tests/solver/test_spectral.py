"""The spectral reference in 2D: coefficients by brute force, BKW to rounding, the table of FACTS section 1.2."""

import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss
from scipy import special

from solver.radial import coulomb
from solver.spectral import (
    Grid,
    GridSolution,
    SpectralScheme,
    kernel_samples,
    solve_spectral,
    spectral_reference,
)
from theory.bkw import Bkw
from theory.kernels import maxwell, mollified_coulomb
from theory.problems import PROBLEMS
from theory.provenance import Rigor, Side

C = 1 / 16
PROFILES = {
    "maxwell": maxwell(2, C).profile,
    "mollified": mollified_coulomb(2, C, 0.05).profile,
    "coulomb": coulomb(C),
}
BKW = Bkw(2, C, 0.5, 0.5)
BUMPS = np.array([[-2.0, 1.0], [0.0, -1.0]])  # FACTS section 1.2
TIMES = np.array([0.0, 10.0, 20.0, 40.0])


def anisotropic(v: np.ndarray) -> np.ndarray:
    return np.asarray(sum(np.exp(-np.sum((v - u) ** 2, axis=-1) / 2) for u in BUMPS) / (4 * math.pi))


# --- the coefficients ---------------------------------------------------------------------------------------------


def brute_force(profile: Any, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(A * f)(v) and (div A * f)(v) in polar coordinates around v, where true Coulomb is regular."""
    x, w = leggauss(200)
    rho, weight = 7 * (1 + x), 7 * w
    angle = 2 * np.pi * (np.arange(200) + 0.5) / 200
    e = np.stack([np.cos(angle), np.sin(angle)], -1)
    across = np.stack([-e[:, 1], e[:, 0]], -1)
    f = anisotropic(v - rho[:, None, None] * e) * 2 * np.pi / 200
    matrix = np.einsum("r,ra,ai,aj->ij", weight * profile(rho) * rho**3, f, across, across)
    return matrix, -np.einsum("r,ra,ai->i", weight * profile(rho) * rho**2, f, e)


@pytest.mark.parametrize("name", PROFILES)
def test_the_coefficients_are_the_integrals(name: str) -> None:
    grid = Grid(8.0, 56, (-1.0, 0.0))
    scheme = SpectralScheme(PROFILES[name], grid)
    _, diffusion, friction = scheme.coefficients(anisotropic(grid.points))
    for i, j in ((28, 28), (20, 37), (45, 10)):
        matrix, vector = brute_force(PROFILES[name], grid.points[i, j])
        scale = np.abs(matrix).max()
        np.testing.assert_allclose(diffusion[:, i, j], matrix[[0, 0, 1], [0, 1, 1]], atol=1e-9 * scale)
        np.testing.assert_allclose(friction[:, i, j], vector, atol=1e-8 * scale)


def test_samples_of_the_kernel_would_not_do_for_coulomb() -> None:
    grid = Grid(8.0, 56, (-1.0, 0.0))
    f = anisotropic(grid.points)
    exact, sampled = (SpectralScheme(coulomb(C), grid, kernel).coefficients(f)[1] for kernel in ("fourier", "sampled"))
    assert np.abs(exact - sampled).max() > 1e-3 * np.abs(exact).max()


def test_samples_annihilate_the_difference_of_velocities() -> None:
    grid = Grid(3.0, 12)
    a11, a12, a22 = kernel_samples(mollified_coulomb(2, C, 0.3).profile, grid)
    z = grid.spacing * np.fft.fftfreq(24, 1 / 24)
    for row in (a11 * z[:, None] + a12 * z, a12 * z[:, None] + a22 * z):
        assert np.abs(row).max() <= 1e-15
    assert a11[1, 2] == pytest.approx(C * 4 * grid.spacing**2 * (5 * grid.spacing**2 + 0.09) ** -1.5)


def test_gradient_and_divergence_are_spectral() -> None:
    grid = Grid(8.0, 56)
    v, scheme = grid.points, SpectralScheme(coulomb(C), grid)
    f = np.exp(-np.sum(v * v, axis=-1) / 2)
    slope = scheme.gradient(f)
    np.testing.assert_allclose(slope, -np.moveaxis(v, -1, 0) * f, atol=1e-11)
    np.testing.assert_allclose(scheme.divergence(slope), (np.sum(v * v, axis=-1) - 2) * f, atol=1e-10)
    sawtooth = (-1.0) ** np.arange(56)  # the highest wave has no derivative on the grid
    wave = np.asarray(np.cos(3 * np.pi / 8 * v[..., 1]), dtype=np.float64)
    assert np.abs(scheme.gradient(np.asarray(sawtooth[:, None] * wave, dtype=np.float64))[0]).max() <= 1e-12


# --- the grid -----------------------------------------------------------------------------------------------------


def test_interpolation_is_exact_on_waves_and_at_nodes_and_zero_outside() -> None:
    grid = Grid(math.pi, 12, (0.3, -0.7))

    def wave(v: np.ndarray) -> np.ndarray:
        return np.asarray(np.cos(3 * v[..., 0] + 1) * np.sin(5 * v[..., 1]) + 0.2)

    inside = np.random.default_rng(7).uniform(-3, 3, (50, 2)) + grid.centre
    f = wave(grid.points)
    np.testing.assert_allclose(grid.interpolate(f, inside), wave(inside), atol=1e-13)
    np.testing.assert_allclose(grid.interpolate(f, grid.points.reshape(-1, 2)), f.ravel(), atol=1e-13)
    assert grid.interpolate(f, np.array([[0.3, 2.5]])) == 0.0
    other = Grid(2.0, 20, (0.3, -0.7))
    np.testing.assert_allclose(grid.resample(f, other), wave(other.points), atol=1e-13)
    assert np.all(other.resample(np.ones((20, 20)), grid)[0] == 0.0)


# --- BKW ----------------------------------------------------------------------------------------------------------

SIZES = (16, 24, 32, 40)


@cache
def bkw(n: int, kernel: str) -> GridSolution:
    problem = PROBLEMS["bkw2d"]()
    assert problem.kernel.strength == C
    return solve_spectral(
        lambda v: np.exp(BKW.log_density(0.5, v)),
        problem.kernel.profile,
        np.array([0.5, 1.0]),
        half_width=6.0,
        n=n,
        kernel=kernel,
    )


def bkw_error(solution: GridSolution) -> float:
    """Relative L2 error at the last time."""
    exact = np.exp(BKW.log_density(1.0, solution.grid.points))
    return float(np.linalg.norm(solution.density[-1] - exact) / np.linalg.norm(exact))


def test_bkw_converges_faster_than_any_power_to_ten_digits() -> None:
    errors = np.array([bkw_error(bkw(n, "fourier")) for n in SIZES])
    assert errors[-1] < 1e-10
    orders = -np.diff(np.log(errors)) / np.diff(np.log(SIZES))
    assert np.all(np.diff(orders) > 0)
    assert orders[-1] > 30


@pytest.mark.parametrize("kernel", ["fourier", "sampled"])
def test_the_stated_error_covers_the_error_on_bkw(kernel: str) -> None:
    for n in SIZES[1:] if kernel == "fourier" else (24, 40):
        solution = bkw(n, kernel)
        exact = np.exp(BKW.log_density(1.0, solution.grid.points))
        change = np.abs(solution.density[-1] - exact)
        k = BKW.coefficients(1.0)[0]
        truth = {"mass": 1.0, "mean": np.zeros(2), "covariance": np.eye(2), "fourth_moment": 8 * k * (2 - k)}
        assert change.max() <= solution.error["density"][-1]
        assert change.sum() * solution.grid.spacing**2 <= solution.error["l1"][-1]
        for name, value in truth.items():
            assert np.abs(getattr(solution, name)[-1] - value).max() <= solution.error[name][-1] + 1e-9, (n, name)
        entropy = -2.78904929  # FACTS section 1.1
        assert abs(solution.entropy[-1] - entropy) <= solution.error["entropy"][-1] + 1e-8
    assert solution.error["density"][-1] < 1e-7
    assert solution.error["entropy"][-1] < 1e-5
    assert bkw_error(solution) < 1e-10


def test_the_stated_error_sees_a_box_that_is_too_small() -> None:
    solution = spectral_reference(PROBLEMS["bkw2d"](), np.array([0.0, 1.0]), half_width=3.2, n=32)
    change = np.abs(solution.density[1] - np.exp(BKW.log_density(1.0, solution.grid.points))).max()
    assert 1e-6 < change <= solution.error["density"][1]


def test_the_stated_error_sees_data_that_jump() -> None:
    def square(v: np.ndarray) -> np.ndarray:
        return np.where(np.sum(v * v, axis=-1) < 4, 1 / (4 * np.pi), 0.0)

    solution = solve_spectral(square, coulomb(C), np.array([0.0]), half_width=6.0, n=32)
    assert abs(solution.mass[0] - 1) <= solution.error["mass"][0]
    assert solution.error["density"][0] > 0.01


def test_time_stepping_is_of_fourth_order() -> None:
    grid = Grid(6.0, 20)
    scheme = SpectralScheme(coulomb(1.0), grid)
    f = np.exp(-(grid.points[..., 0] ** 2) / 0.8 - grid.points[..., 1] ** 2 / 4)
    runs = [list(scheme.evolve(f, np.array([0.0, 0.16]), 1.0, 0.16 / k))[-1][0] for k in (16, 32, 64)]
    ratio = np.abs(runs[0] - runs[1]).max() / np.abs(runs[1] - runs[2]).max()
    assert math.log2(ratio) == pytest.approx(4, abs=0.2)


def test_characteristics_are_those_of_bkw_within_the_stated_error() -> None:
    starts = np.concatenate([np.random.default_rng(9).uniform(-2, 2, (40, 2)), [[9.0, 0.0]]])
    problem = PROBLEMS["bkw2d"](t0=Fraction(1, 2))
    for n, size in ((28, 1e-3), (40, 1e-6)):
        solution = spectral_reference(problem, np.array([0.5, 1.0]), half_width=6.0, n=n, starts=starts)
        apart = np.linalg.norm(solution.paths[1] - BKW.flow(1.0, starts), axis=-1)
        assert np.all(apart[:-1] <= solution.path_error[1, :-1])
        assert solution.path_error[1, :-1].max() < size
        assert math.isnan(solution.paths[1, -1, 0])  # outside the box: no answer
        assert solution.path_error[1, -1] == math.inf
    assert np.linalg.norm(solution.paths[1] - starts, axis=-1)[:-1].max() > 0.02


# --- conservation and entropy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROFILES)
def test_mass_is_exact_and_momentum_and_energy_are_spectral(name: str) -> None:
    drifts = []
    for n in (24, 32, 40):
        grid = Grid(8.0, n, (-1.0, 0.0))
        scheme, f = SpectralScheme(PROFILES[name], grid), 1.7 * anisotropic(grid.points)
        rate, v = scheme.rate(f), grid.points
        scale = np.sum(np.abs(rate))
        assert abs(np.sum(rate)) <= 1e-13 * scale
        momentum = np.abs(np.einsum("ij,ijk->k", rate, v)).max() / scale
        drifts.append(max(momentum, abs(np.sum(rate * np.sum(v * v, axis=-1))) / scale))
    assert drifts[2] < 1e-6
    assert drifts[0] > 10 * drifts[1] > 100 * drifts[2]


def test_the_sampled_kernel_conserves_energy_on_any_grid_that_holds_the_data() -> None:
    grid = Grid(9.0, 30)
    rng = np.random.default_rng(8)
    v = grid.points
    f = np.exp(-np.sum(v * v, axis=-1)) * (1 + rng.random((30, 30)))  # not resolved at all
    rates = {}
    for kernel in ("sampled", "fourier"):
        rate = SpectralScheme(mollified_coulomb(2, C, 0.4).profile, grid, kernel).rate(f)
        flux = SpectralScheme(mollified_coulomb(2, C, 0.4).profile, grid, kernel).flux(f)[0]
        rates[kernel] = abs(np.sum(flux * np.moveaxis(v, -1, 0))) / np.sum(np.abs(flux))
        assert abs(np.sum(rate)) <= 1e-13 * np.sum(np.abs(rate))
        assert np.abs(np.sum(flux, axis=(1, 2))).max() <= 1e-13 * np.sum(np.abs(flux))
    assert rates["sampled"] < 1e-13
    assert rates["fourier"] > 1e-6


def entropy_rate_by_pairs(profile: Any, grid: Grid) -> float:
    """-1/2 double sum of (s - s').A (s - s') f f'; A is |z|^-1 at the worst, so of third order in the spacing."""
    v, w = grid.points.reshape(-1, 2), anisotropic(grid.points).ravel() * grid.spacing**2
    share = special.softmax(np.stack([-np.sum((v - u) ** 2, axis=-1) / 2 for u in BUMPS]), axis=0)
    s = np.einsum("k...,ki->...i", share, BUMPS) - v
    z, y = v[:, None] - v, s[:, None] - s
    r2 = np.sum(z * z, axis=-1)
    np.fill_diagonal(r2, 1.0)
    form = profile(np.sqrt(r2)) * (r2 * np.sum(y * y, axis=-1) - np.sum(z * y, axis=-1) ** 2)
    return float(-(w @ form @ w) / 2)


@pytest.mark.parametrize("name", PROFILES)
def test_entropy_falls_at_the_rate_of_the_double_integral(name: str) -> None:
    coarse, fine = (Grid(7.0, n, (-1.0, 0.0)) for n in (20, 28))
    f = anisotropic(fine.points)
    rate = fine.spacing**2 * np.sum(SpectralScheme(PROFILES[name], fine).rate(f) * np.log(f))
    first, second = (entropy_rate_by_pairs(PROFILES[name], grid) for grid in (coarse, fine))
    assert rate < 0
    assert rate == pytest.approx(second + (second - first) / ((28 / 20) ** 3 - 1), rel=2e-4)


# --- Coulomb: the table of FACTS section 1.2 --------------------------------------------------------------------------


@cache
def coulomb_run(n: int, half_width: float = 8.5) -> GridSolution:
    return solve_spectral(anisotropic, coulomb(C), TIMES, half_width=half_width, n=n, centre=(-1.0, 0.0))


def test_the_initial_rates_of_the_anisotropic_benchmark() -> None:
    grid = Grid(8.5, 48, (-1.0, 0.0))
    scheme, f = SpectralScheme(coulomb(C), grid), anisotropic(grid.points)
    rate = scheme.rate(f) * grid.spacing**2
    z = grid.points - np.array([-1.0, 0.0])
    assert np.sum(rate * z[..., 0] * z[..., 1]) == pytest.approx(1.1517e-2, rel=2e-3)  # Monte Carlo, 1e7 pairs
    assert np.sum(rate * np.log(f)) == pytest.approx(-5.377e-3, rel=2e-3)
    assert scheme.quantities(f)["entropy"] == pytest.approx(-3.3380, abs=2e-4)


def test_the_anisotropic_table() -> None:
    solution = coulomb_run(32)
    covariance, error = solution.covariance, solution.error["covariance"]
    np.testing.assert_allclose(covariance[0], [[2, -1], [-1, 2]], atol=1e-7)
    for value, stated, table in zip(covariance[1:, 0, 1], error[1:], (-0.893, -0.800, -0.644), strict=True):
        assert abs(value - table) < 0.003  # the table's own uncertainty: an extrapolation of blob runs
        assert stated < 1e-4
    np.testing.assert_allclose(covariance[:, 0, 0], 2, atol=1e-5)  # by symmetry and conservation of energy
    assert np.all(np.diff(solution.entropy) < 0)
    assert solution.entropy[-1] > -3.53102
    assert solution.drift["mass"] < 1e-12
    assert solution.drift["energy"] < 1e-5


def test_mollification_changes_the_covariance_in_second_order() -> None:
    times = np.array([0.0, 10.0])
    widths = (0.2, 0.1, 0.05)
    values = [
        solve_spectral(
            anisotropic, mollified_coulomb(2, C, width).profile, times, half_width=8.5, n=32, centre=(-1.0, 0.0)
        ).covariance[1, 0, 1]
        for width in widths
    ]
    gaps = coulomb_run(32).covariance[1, 0, 1] - np.array(values)
    assert np.all(gaps > 0)  # a weaker kernel relaxes more slowly
    assert gaps[:-1] / gaps[1:] == pytest.approx([4, 4], rel=0.1)


@pytest.mark.slow
def test_the_anisotropic_table_to_eight_digits() -> None:
    coarse, middle, fine = coulomb_run(32), coulomb_run(48), coulomb_run(72, 10.0)
    for rough, better in ((coarse, middle), (middle, fine)):
        for name in ("mass", "mean", "covariance", "fourth_moment", "entropy"):
            gap = np.abs(getattr(rough, name) - getattr(better, name)).reshape(len(TIMES), -1).max(axis=1)
            assert np.all(gap <= rough.error[name] + better.error[name] + 1e-13), name
        assert np.all(better.error["covariance"][1:] < rough.error["covariance"][1:] / 20)
    assert fine.error["covariance"].max() < 1e-8


# --- what a reference says of itself ------------------------------------------------------------------------------


def test_a_number_comes_with_its_error_and_claims_no_side() -> None:
    solution = bkw(24, "fourier")
    estimate = solution.estimate("entropy")
    assert (estimate.side, estimate.rigor) == (Side.NONE, Rigor.NUMERICAL)
    np.testing.assert_array_equal(estimate.detail["error"], solution.error["entropy"])
    with pytest.raises(ValueError, match="not one of"):
        solution.estimate("covariance")
    point = solution.grid.points[3, 5][None]
    assert solution.at(1, point) == pytest.approx(solution.density[1, 3, 5], abs=1e-15)


def test_an_unstable_step_is_an_error_not_a_number() -> None:
    scheme = SpectralScheme(coulomb(C), Grid(8.0, 24))
    with pytest.raises(FloatingPointError, match="unstable"):
        list(scheme.evolve(anisotropic(scheme.grid.points), np.array([0.0, 80.0]), 10.0, math.inf))


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        solve_spectral(anisotropic, coulomb(C), np.array([1.0, 0.0]), half_width=8.0, n=24)
    with pytest.raises(ValueError, match="safety"):
        solve_spectral(anisotropic, coulomb(C), TIMES, half_width=8.0, n=24, safety=4.0)
    with pytest.raises(ValueError, match="even n"):
        Grid(8.0, 25)
    with pytest.raises(ValueError, match="fourier or sampled"):
        SpectralScheme(coulomb(C), Grid(8.0, 24), "exact")
    with pytest.raises(ValueError, match="d = 2"):
        spectral_reference(PROBLEMS["bkw3d"](), np.array([0.0]), half_width=8.0, n=24)
