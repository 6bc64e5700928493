"""Rates are above what is measured and above closed cases; the floor is below every point set, and sharp."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from certify.density_transport import density_w1
from tests.strategies import reals
from theory import sampling
from theory.bkw import Bkw
from theory.sampling import explicit_rate, floor, moment_rate, paper_rate, torus_rate

GAUSS = {2: Bkw(2, 1 / 16, 0.0, 0.0), 3: Bkw(3, 1 / 24, 0.0, 0.0)}  # K = 1: the standard normal law
BKW = {2: Bkw(2, 1 / 16, 0.5, 0.0), 3: Bkw(3, 1 / 24, 1.0, 5.5)}
LAWS = [("gauss", GAUSS[2]), ("bkw", BKW[2]), ("gauss", GAUSS[3]), ("bkw", BKW[3])]
laws = pytest.mark.parametrize(("name", "law"), LAWS, ids=[f"{n}{law.d}d" for n, law in LAWS])


def tail(law):
    return lambda radius, power: law.tail_moment(law.t0, radius, power)


# --- torus ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("d", "table"),
    [
        (2, {100: 0.0879, 250: 0.0584, 1000: 0.0312, 4000: 0.0166, 22_500: 0.00744, 64_000: 0.00457, 10**6: 0.00125}),
        (3, {100: 0.2048, 250: 0.1526, 1000: 0.0972, 4000: 0.0616, 22_500: 0.0348, 64_000: 0.0246, 10**6: 0.00987}),
    ],
)
def test_the_table_of_the_notes_is_reproduced(d, table):
    for n, value in table.items():
        assert torus_rate(d, n) == pytest.approx(value, abs=5.1e-5 if value > 0.01 else 5.1e-6)  # as printed
        shape = 0.41 * math.sqrt(math.log(n) / n) if d == 2 else 0.99 * n ** (-1 / 3)
        assert torus_rate(d, n) <= shape
        assert torus_rate(d, n, 7.5) == pytest.approx(7.5 * torus_rate(d, n))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("near", [0.02, 0.3, 2.0, 4.0, 20.0, 59.0])
def test_the_lattice_sum_is_above_the_summed_lattice_and_close(d, near):
    times, sums = sampling._lattice_sums(d)
    k = int(np.searchsorted(times, near))
    squares = np.arange(-45, 46) ** 2  # exp(-0.02 * 46^2) is 4e-19
    total = squares[:, None] + squares
    total = total if d == 2 else total[:, :, None] + squares
    counts = np.bincount(total.ravel())[1:]
    q = np.arange(1, len(counts) + 1)
    truth = math.fsum((counts * np.exp(-times[k] * q) / q).tolist())
    # the trapezoidal rule on panels u h is off by the mean of (rate u h)^2 / 12, u exponential beyond s
    s, h = times[k], math.log(times[1] / times[0])
    assert truth <= sums[k] <= truth * (1 + 1e-5 + 1.2 * h**2 * (s**2 + 2 * s + 2) / 12)


@pytest.mark.parametrize("d", [2, 3])
def test_theta_by_both_of_its_series(d):
    u = np.array([0.05, 1.0, 3.1, math.pi, 3.2, 9.0, 60.0])
    direct = [(1 + 2 * sum(math.exp(-x * j * j) for j in range(1, 60))) ** d - 1 for x in u]
    assert sampling._theta_power(d, u) == pytest.approx(direct, rel=1e-12)


@pytest.mark.parametrize("d", [2, 3])
@given(n=st.integers(1, 3000), p=reals(0.001, 0.5))
def test_two_far_points_of_the_torus_do_not_beat_the_bound(d, n, p):
    """Masses p and 1 - p at distance L sqrt(d)/2: E W1 = (mean absolute deviation of a binomial / n) L sqrt(d)/2."""
    k = np.arange(n + 1)
    truth = float(np.abs(k / n - p) @ binom.pmf(k, n, p)) * math.sqrt(d) / 2
    assert truth <= torus_rate(d, n) * (1 + 1e-9)


def test_a_uniform_sample_of_the_torus_is_below_and_one_smoothing_term_would_not_be_far():
    """Periodic transport to a grid of 900 points, itself within one cell of the uniform law."""
    n, side, rng = 60, 30, np.random.default_rng(3)
    axis = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    found = []
    for _ in range(3):
        x = np.repeat(rng.random((n, 2)), side * side // n, axis=0)
        gap = np.abs(x[:, None] - grid)
        cost = np.linalg.norm(np.minimum(gap, 1 - gap), axis=2)
        found.append(cost[linear_sum_assignment(cost)].mean())
    rate, cell = torus_rate(2, n), 0.3826 / side
    assert np.mean(found) + cell < rate
    assert np.mean(found) - cell > rate / 4  # the bound is no guess


def test_one_sample_of_the_uniform_law():
    truth = quad(lambda x: quad(lambda y: math.hypot(x, y), -0.5, 0.5)[0], -0.5, 0.5)[0]
    assert truth <= torus_rate(2, 1) <= math.sqrt(2) / 2


@pytest.mark.parametrize(("d", "n", "side"), [(1, 10, 1.0), (2, 0, 1.0), (2, 10, 0.0), (2, 10, math.nan)])
def test_wrong_tori_are_refused(d, n, side):
    with pytest.raises(ValueError, match="needs d >= 2, n >= 1 and a positive side"):
        torus_rate(d, n, side)


# --- whole space ------------------------------------------------------------------------------------------------------


@laws
@pytest.mark.parametrize("n", [125, 400])
def test_measured_expectations_lie_between_the_floor_and_the_explicit_rates(name, law, n):
    rng = np.random.default_rng([n, law.d])
    t, density = law.t0, law.at(law.t0)
    found = [density_w1(law.sample(t, n, rng), density, cells=2000) for _ in range(3)]
    rate, radius = explicit_rate(tail(law), law.d, n)
    assert max(e.upper for e in found) < rate < 4 * np.mean([e.lower for e in found]) + 1.0
    assert max(e.upper for e in found) < moment_rate(law.d, n, float(law.d))
    assert min(e.lower for e in found) > floor(law.d, n, law.sup_density(t))
    assert 0.5 < radius < 5.0


@pytest.mark.parametrize("n", [125, 1000, 22_500])
def test_figures_at_the_start_of_the_benchmarks(n):
    expected = {125: (0.673, 1.671), 1000: (0.2958, 0.9483), 22_500: (0.0803, 0.3833)}[n]
    for d, value in zip((2, 3), expected, strict=True):
        assert explicit_rate(tail(BKW[d]), d, n)[0] == pytest.approx(value, rel=2e-3)


@given(n=st.integers(1, 500), p=reals(1e-4, 0.999), far=reals(0.1, 1000.0))
def test_two_atoms_do_not_beat_the_explicit_rates(n, p, far):
    """Mass p at distance `far` from the centre, the rest there."""

    def atoms(radius, power):
        return (p * far**power if far > radius else 0.0) + ((1 - p) * 0.0**power if radius < 0.0 else 0.0)

    k = np.arange(n + 1)
    truth = far * float(np.abs(k / n - p) @ binom.pmf(k, n, p))
    assert truth <= explicit_rate(atoms, 2, n)[0] * (1 + 1e-9)
    assert truth <= moment_rate(2, n, p * (1 - p) * far**2) * (1 + 1e-9)


@laws
def test_no_radius_beats_the_minimum_and_none_is_invalid(name, law):
    """The projection costs by quadrature, not by tail_moment."""
    n, d, t = 300, law.d, law.t0
    best, radius = explicit_rate(tail(law), d, n)
    area = d * sampling.unit_ball_volume(d)

    def density(r):
        return math.exp(law.log_density(t, np.eye(d)[0] * r)) * area * r ** (d - 1)

    for r in (radius, 0.7 * radius, 1.5 * radius):
        cost = quad(lambda x, r=r: (x - r) * density(x), r, 12.0)[0]
        assert torus_rate(d, n, 4 * r) + 2 * cost >= best * (1 - 1e-4)
    cost = quad(lambda x: (x - radius) * density(x), radius, 12.0)[0]
    assert torus_rate(d, n, 4 * radius) + 2 * cost == pytest.approx(best, rel=1e-7)


def test_the_moment_rate_is_the_minimum_over_radii_and_needs_a_trace():
    rho = torus_rate(3, 1000)
    radii = np.geomspace(0.01, 100, 100_001)
    assert moment_rate(3, 1000, 3.0) == pytest.approx(np.min(4 * radii * rho + 3.0 / (2 * radii)), rel=1e-6)
    assert moment_rate(3, 1000, 0.0) == 0.0
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="trace of a covariance"):
            moment_rate(2, 10, bad)


# --- floor ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
@given(n=st.integers(1, 50), radius=reals(0.01, 100.0))
def test_the_floor_is_attained_by_the_centres_of_equal_balls(d, n, radius):
    """f uniform on n disjoint balls: W1 to their centres is the mean distance d/(d+1) radius."""
    density = 1.0 / (n * sampling.unit_ball_volume(d) * radius**d)
    truth = d / (d + 1) * radius
    assert truth * (1 - 1e-9) <= floor(d, n, density) <= truth


@laws
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 25), spread=reals(0.0, 3.0))
def test_no_point_set_is_below_the_floor(name, law, seed, n, spread):
    points = spread * np.random.default_rng(seed).standard_normal((n, law.d))
    found = density_w1(points, law.at(law.t0), cells=100, finer=1, rounds=1)
    assert found.upper >= floor(law.d, n, law.sup_density(law.t0))


def test_floor_figures_of_the_notes_and_the_papers_rate_in_three_dimensions():
    peak = GAUSS[3].sup_density(0.0)
    assert peak == pytest.approx((2 * math.pi) ** -1.5, rel=1e-14)
    for n, value in {1000: 0.1166, 22_500: 0.0413, 64_000: 0.0292}.items():
        assert floor(3, n, peak) == pytest.approx(value, rel=3e-3)
        assert floor(3, n, peak) > 3 * paper_rate(n)
    assert floor(2, 10**4, GAUSS[2].sup_density(0.0)) == pytest.approx(0.94 * paper_rate(10**4), rel=5e-3)
    assert paper_rate(10**4) == 0.01


@pytest.mark.parametrize(
    ("d", "n", "peak"), [(0, 1, 1.0), (2, 0, 1.0), (2, 1, 0.0), (2, 1, math.inf), (2, 1, math.nan)]
)
def test_wrong_floors_are_refused(d, n, peak):
    with pytest.raises(ValueError, match="needs d, n >= 1 and a finite positive supremum"):
        floor(d, n, peak)


# --- what they are fed with -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3])
@given(after=reals(0.0, 30.0))
def test_the_supremum_of_the_density_is_attained_and_nowhere_exceeded(d, after):
    law, t = BKW[d], BKW[d].t0 + after
    r = np.linspace(0, 6, 20_001)
    values = np.exp(law.log_density(t, r[:, None] * np.eye(d)[0]))
    assert values.max() <= law.sup_density(t) * (1 + 1e-12)
    assert values.max() >= law.sup_density(t) * (1 - 1e-6)
    assert law.at(t).sup_density() == law.sup_density(t)


@laws
@pytest.mark.parametrize("power", [0, 1, 2])
def test_moments_of_balls_by_quadrature_and_with_the_tails(name, law, power):
    d, t, area = law.d, law.t0 + 0.3, law.d * sampling.unit_ball_volume(law.d)

    def radial(r):
        return math.exp(law.log_density(t, np.eye(d)[0] * r)) * area * r ** (d - 1 + power)

    radii = np.array([0.0, 0.4, 1.7, 5.0, math.inf])
    found = law.ball_moment(t, radii, power)
    for r, value in zip(radii[:-1], found[:-1], strict=True):
        assert value == pytest.approx(quad(radial, 0, r, epsabs=1e-13)[0], rel=1e-9, abs=1e-13)
        assert value + law.tail_moment(t, r, power) == pytest.approx(found[-1], rel=1e-12)
    if power == 0:
        assert found == pytest.approx(law.radial_mass(t, radii)[0], rel=1e-12, abs=1e-300)
    if power != 1:
        assert found[-1] == pytest.approx(1.0 if power == 0 else d, rel=1e-12)
