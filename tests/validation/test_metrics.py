"""Errors and observables of the experiments against closed forms, brute force and the published noise floors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.problems import parse_problem
from validation import metrics
from validation.methods import common_starts
from validation.plan import SETUPS
from validation.truth import truth_of

SPREAD = 4.0  # standard errors that a mean over draws may be off by


def test_a_kernel_estimate_is_the_sum_of_gaussians_at_the_particles() -> None:
    rng = np.random.default_rng(0)
    for d in (1, 2, 3):
        x, w = rng.standard_normal((40, d)), rng.dirichlet(np.ones(40))
        axes = [np.linspace(-2, 2, 4 + j) for j in range(d)]
        points = metrics.grid_points(axes)
        r2 = np.sum((points[:, None] - x) ** 2, axis=-1)
        kernel = np.exp(-r2 / (2 * 0.3**2)) / (2 * math.pi * 0.3**2) ** (d / 2)
        np.testing.assert_allclose(metrics.kde(x, axes, 0.3, w).ravel(), kernel @ w, rtol=1e-12)
        np.testing.assert_allclose(metrics.kde(x, axes, 0.3).ravel(), kernel.mean(axis=1), rtol=1e-12)


def test_a_particle_lost_at_infinity_is_mass_missing_from_the_estimate() -> None:
    x = np.random.default_rng(0).standard_normal((10, 2))
    lost = np.concatenate([x, np.full((10, 2), np.inf)])
    axes = [np.linspace(-1, 1, 5)] * 2
    np.testing.assert_allclose(metrics.kde(lost, axes, 0.3), metrics.kde(x, axes, 0.3) / 2, rtol=1e-13)


def test_blocks_of_particles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((101, 3))
    axes = [np.linspace(-1, 1, 5)] * 3
    whole = metrics.kde(x, axes, 0.2)
    monkeypatch.setattr(metrics, "BLOCK", 200)
    np.testing.assert_allclose(metrics.kde(x, axes, 0.2), whole, rtol=1e-13)


def test_a_kernel_estimate_on_fewer_axes_is_the_marginal() -> None:
    x = np.random.default_rng(0).standard_normal((50, 2))
    axis, other = np.linspace(-1, 1, 7), metrics.cell_centres(6.0, 300)
    full = metrics.kde(x, [axis, other], 0.25)
    np.testing.assert_allclose(full.sum(axis=1) * (other[1] - other[0]), metrics.kde(x, [axis], 0.25), rtol=1e-10)


def _expected_floor(d: int, bandwidth: float, n: int, t: float) -> float:
    """Root of the exact mean squared relative L2 error of a kernel estimate of the BKW law from n exact samples.

    Bias and variance by convolution on a fine grid: E|fhat - f|^2 = |K*f - f|^2 + (|K|^2 - |K*f|^2)/n.
    """
    problem = parse_problem("bkw2d")
    assert problem.exact is not None
    axis = metrics.cell_centres(8.0, 160)
    f = np.exp(problem.exact.log_density(t, metrics.grid_points([axis] * d))).reshape([160] * d)
    h = axis[1] - axis[0]
    smoother = np.exp(-((axis[:, None] - axis) ** 2) / (2 * bandwidth**2)) * h / math.sqrt(2 * math.pi) / bandwidth
    smooth = smoother @ f @ smoother.T
    variance = (1 / (4 * math.pi * bandwidth**2) - h**2 * np.sum(smooth**2)) / n
    return math.sqrt((h**2 * np.sum((smooth - f) ** 2) + variance) / (h**2 * np.sum(f**2)))


# FACTS section 5, two figures: what a perfect method shows
@pytest.mark.paper
@pytest.mark.parametrize(
    ("bandwidth", "n", "published"),
    [(0.15, 1000, (0.23, 0.22, 0.22)), (0.15, 10_000, (0.077, 0.071, 0.067)), (0.3, 1000, (0.17, 0.15, 0.12))],
)
def test_the_noise_floor_of_the_kernel_estimate_is_the_published_one(
    bandwidth: float, n: int, published: tuple[float, ...]
) -> None:
    problem, axes = parse_problem("bkw2d"), [metrics.cell_centres(4.0, 100)] * 2
    assert problem.exact is not None
    rng = np.random.default_rng(1)
    for t, value in zip((0.0, 1.0, 5.0), published, strict=True):
        exact = np.exp(problem.exact.log_density(t, metrics.grid_points(axes))).reshape(100, 100)
        draws = 12 if n == 1000 else 4
        sample = problem.exact.sample(t, draws * n, rng)
        each = [metrics.relative_l2(metrics.kde(b, axes, bandwidth), exact) for b in metrics.blocks(sample, n, draws)]
        mean, error = float(np.mean(each)), metrics.standard_error(np.array(each))
        assert metrics.kde_floor(sample, exact, axes, bandwidth, n, draws) == pytest.approx(mean, rel=1e-12)
        # published from one draw each: one standard deviation of a draw, and half a unit of its last figure
        slack = SPREAD * error + 2 * float(np.std(each)) + (0.005 if value > 0.1 else 0.0005)
        assert abs(mean - value) < slack
        # the root of the mean square is above the mean, by little
        limit = _expected_floor(2, bandwidth, n, t)
        assert mean - SPREAD * error < limit < mean * 1.02 + SPREAD * error


def test_change_of_variables_gives_the_l2_error_of_two_gaussians() -> None:
    a = 1.3  # g = N(0, a^2 I), f = N(0, I) in 2D: int (g - f)^2 = 1/(4 pi a^2) + 1/(4 pi) - 1/(pi (1 + a^2))
    x, w = np.polynomial.hermite_e.hermegauss(60)
    points, weights = a * metrics.grid_points([x, x]), np.outer(w, w).ravel() / (2 * math.pi)
    r2 = np.sum(points**2, axis=1)
    log_g, log_f = -r2 / (2 * a * a) - math.log(2 * math.pi * a * a), -r2 / 2 - math.log(2 * math.pi)
    expected = math.sqrt((1 / (4 * a * a) + 1 / 4 - 1 / (1 + a * a)) / (1 / 4))
    assert metrics.l2_change_of_variables(log_g, log_f, weights) == pytest.approx(expected, rel=1e-9)
    # a node far out where g is next to nothing and f is not, or the other way round: f/g would overflow
    for far_g, far_f in ((-900.0, -200.0), (-20.0, -math.inf)):
        log_g1, log_f1, w1 = (np.append(a, b) for a, b in ((log_g, far_g), (log_f, far_f), (weights, 1e-300)))
        assert metrics.l2_change_of_variables(log_g1, log_f1, w1) == pytest.approx(expected, rel=1e-9)
    assert metrics.l2_change_of_variables(log_f, log_f, weights) == 0.0


@given(st.floats(0.01, 3.0), st.integers(0, 100))
def test_the_fisher_divergence_is_a_ratio_of_squares_and_the_trajectory_error_is_not(scale: float, seed: int) -> None:
    s = np.random.default_rng(seed).standard_normal((20, 3))
    assert metrics.fisher_divergence((1 + scale) * s, s) == pytest.approx(scale**2)
    assert metrics.trajectory_error((1 + scale) * s, s) == pytest.approx(scale)


def test_unresolved_paths_of_a_reference_are_left_out() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    reference = np.array([[1.0, 0.0], [0.0, 2.0], [np.nan, np.nan]])
    assert metrics.trajectory_error(x, reference) == pytest.approx(1 / math.sqrt(5))


def test_energy_and_momentum_use_the_weights() -> None:
    x, w = np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([0.75, 0.25])
    assert metrics.energy(x, w) == pytest.approx(3.0)
    assert metrics.energy(x) == pytest.approx(5.0)
    assert metrics.momentum(x + np.array([3.0, 4.0]), x, w) == pytest.approx(5.0)


def test_transport_distances_of_a_translation_are_its_length_and_below_any_coupling() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 2)), rng.standard_normal((60, 2))
    for distance, power in ((metrics.w1, 1), (metrics.w2, 2)):
        assert distance(x, x + np.array([3.0, 4.0])) == pytest.approx(5.0, rel=1e-10)
        assert distance(x, y) <= metrics.coupling(x, y, power)
    assert metrics.w1(x, y) <= metrics.w2(x, y)


def test_the_quantisation_floor_is_that_of_the_transport_notes() -> None:
    for n, value in ((1000, 0.1166), (22_500, 0.0413), (64_000, 0.0292)):
        assert metrics.quantisation_floor(3, n, (2 * math.pi) ** -1.5) == pytest.approx(value, abs=5e-5)
    assert metrics.quantisation_floor(2, 10_000, 1 / (2 * math.pi)) == pytest.approx(0.94 / 100, abs=5e-5)


def test_the_floor_of_two_samples_is_the_measured_one() -> None:
    sample = np.random.default_rng(0).standard_normal((8000, 2))
    found = metrics.transport_floor(sample, 500, 8, metrics.w1)
    assert abs(found - 0.198) < SPREAD * 0.45 / math.sqrt(500) / math.sqrt(8)  # TRANSPORT section 4.1
    assert math.isnan(metrics.transport_floor(sample[:900], 500, 8, metrics.w1))


@pytest.mark.paper
def test_the_entropy_rate_along_the_exact_flow_is_the_closed_form_one() -> None:
    setup = SETUPS["bkw2d"]
    problem = setup.problem()
    starts = common_starts(problem, 0, 10)
    rates = truth_of(setup, problem, starts).entropy_rate()
    assert rates is not None
    table = {0.0: -0.125, 1.0: -0.03758896, 2.5: -0.01115548, 5.0: -0.00211643}
    for t, value in table.items():
        assert rates[setup.times.index(t)] == pytest.approx(value, rel=2e-4)
