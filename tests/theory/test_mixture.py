"""The exact law from a Gaussian mixture: against 80 digits, rotations, sampling, the equation and mass conservation."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tests.contracts import test_problem_contract as contract
from theory import mixture, relaxation
from theory.densities import GaussianMixture, ResolvedProblem
from theory.kernels import maxwell
from theory.mixture import Fold, MixtureLaw, MixtureSolution
from theory.problem import Problem
from theory.problems import gaussian_mixture3d, parse_problem
from theory.quadrature import sphere_rule

CUBE: GaussianMixture = parse_problem("gaussian_mixture3d").initial  # type: ignore[assignment]
_TURN = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
_CORNERS = 1.3 / math.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) @ _TURN
TETRAHEDRON = GaussianMixture(
    (0.2,) * 5, tuple(tuple(c) for c in [*_CORNERS.tolist(), [0.0] * 3]), 0.4, (0.0, 0.8, 1.6, 2.5, 3.8)
)
_ANGLES = 0.3 + 2 * math.pi * np.arange(3) / 3
TRIANGLE = GaussianMixture(
    (0.25,) * 4,
    (*((1.5 * math.cos(x), 1.5 * math.sin(x)) for x in _ANGLES), (0.0, 0.0)),
    0.3,
    (0.0, 0.5, 1.0, 1.5, 2.2, 3.5),
)
EVERY = pytest.mark.parametrize("start", [CUBE, TETRAHEDRON, TRIANGLE], ids=["cube", "tetrahedron", "triangle"])
STRENGTH = {2: 1 / 16, 3: 1 / 24}


def law(start: GaussianMixture, age: float) -> MixtureLaw:
    return MixtureLaw(start, STRENGTH[start.d], age)


def problem_of(start: GaussianMixture, t0: Fraction = Fraction(0), T: Fraction = Fraction(5)) -> Problem:
    solution = MixtureSolution(start, STRENGTH[start.d], float(t0), float(T))
    return ResolvedProblem(
        id="mixture",
        title="a mixture",
        kernel=maxwell(start.d, STRENGTH[start.d]),
        t0=t0,
        T=T,
        initial=solution.at(float(t0)),
        exact=solution,
        constants={"d": str(start.d), "C": str(Fraction(1, 16 if start.d == 2 else 24))},
        source="test",
        angles=48 if start.d == 2 else 20,
    )


def solution_of(problem: Problem) -> Any:
    assert problem.exact is not None
    return problem.exact


def directions(d: int, n: int, seed: int = 3) -> np.ndarray:
    u = np.random.default_rng(seed).standard_normal((n, d))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


# --- the contract of exact solutions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem",
    [parse_problem("gaussian_mixture3d:t0=1,T=3"), problem_of(TRIANGLE), problem_of(TRIANGLE, Fraction(1, 10))],
    ids=["cube from 1", "triangle", "triangle from 1/10"],
)
@pytest.mark.parametrize(
    "assert_contract",
    [
        contract.test_density_integrates_to_one_with_a_small_error_estimate,
        contract.test_score_is_the_gradient_of_the_log_density,
        contract.test_mean_and_covariance_are_those_of_the_density,
        contract.test_samples_have_the_moments_of_the_density,
        contract.test_exact_solution_starts_with_the_initial_density_and_the_identity,
        contract.test_exact_drift_is_the_collision_integral,
        contract.test_exact_flow_follows_the_drift,
        contract.test_exact_density_has_mass_one_and_the_moments_known_in_advance,
        contract.test_exact_score_constants_and_moments_are_consistent,
        contract.test_exact_samples_have_the_exact_moments,
    ],
    ids=lambda f: f.__name__,
)
def test_restarts_and_2d_keep_the_contract(problem: Problem, assert_contract: Any) -> None:
    assert_contract(problem)


@pytest.mark.slow
def test_the_2d_flow_carries_the_start_to_the_law() -> None:
    assert_carried = contract.test_exact_flow_carries_the_initial_density_to_the_exact_one
    assert_carried(problem_of(TRIANGLE))


# --- density and score against 80 digits -------------------------------------------------------------------------


def to_many_digits(m: MixtureLaw, v: np.ndarray) -> tuple[float, np.ndarray]:
    """Log f and the mean centre given v by the plain series, with as many digits as it loses."""
    with mp.workdps(80):
        d, tau = m.d, mp.mpf(m.strength) * mp.mpf(m.age)
        a = mp.exp(-(d - 1) * tau)
        temperature = mp.mpf(float(np.trace(m.start.covariance())) / d)
        s = a * a * mp.mpf(m.start.variance) + temperature * (1 - a * a)
        x = [mp.mpf(float(q)) for q in v]
        r = mp.sqrt(sum(q * q for q in x))
        total, vector = mp.mpf(0), [mp.mpf(0)] * d
        for share, centre in zip(m.start.shares, m.start.centres, strict=True):
            c = [mp.mpf(q) for q in centre]
            rho = mp.sqrt(sum(q * q for q in c))
            front = mp.mpf(share) * mp.exp(-(r * r + a * a * rho * rho) / (2 * s))
            if rho == 0:
                total += front
                continue
            z, cosine = a * r * rho / s, sum(q * w for q, w in zip(c, x, strict=True)) / (r * rho)
            top = int(40 + 20 * mp.sqrt(z) + 2 * z)
            ratio = [mp.mpf(0)] * (top + 2)
            for n in range(top, -1, -1):
                ratio[n] = 1 / ((2 * n + d) / z + ratio[n + 1])
            bessel = mp.sinh(z) / z if d == 3 else mp.besseli(0, z)
            value, slope_z, slope_c = mp.mpf(0), mp.mpf(0), mp.mpf(0)
            p, p_before, q, q_before = mp.mpf(1), mp.mpf(0), mp.mpf(0), mp.mpf(0)
            for n in range(top):
                weight = (1 if n == 0 else 2 if d == 2 else 2 * n + 1) * mp.exp(-tau * n * (n + d - 2)) * bessel
                value += weight * p
                slope_z += weight * (ratio[n] + n / z) * p
                slope_c += weight * q
                bessel *= ratio[n]
                if n == 0:
                    p, p_before, q, q_before = cosine, p, mp.mpf(1), q
                else:
                    first, second = mp.mpf(2 * n + d - 2) / (n + d - 2), mp.mpf(n) / (n + d - 2)
                    p, p_before, q, q_before = (
                        first * cosine * p - second * p_before,
                        p,
                        first * (p + cosine * q) - second * q_before,
                        q,
                    )
            total += front * value
            for j in range(d):
                e, unit = x[j] / r, c[j] / rho
                vector[j] += front * a * rho * (slope_z * e + slope_c / z * (unit - cosine * e))
        log = mp.log(total) - mp.mpf(d) / 2 * mp.log(2 * mp.pi * s)
        return float(log), np.array([float(y / total) for y in vector])


@EVERY
@pytest.mark.parametrize(
    ("age", "r"), [(1e-6, 0.3), (1e-6, 9.0), (0.01, 6.0), (0.1, 2.0), (0.1, 14.0), (1.0, 10.0), (5.0, 7.0), (40.0, 3.0)]
)
def test_density_and_score_are_right_to_many_digits(start: GaussianMixture, age: float, r: float) -> None:
    m, v = law(start, age), r * directions(start.d, 2, int(10 * r))
    log, centre = m.parts(v)
    assert m.score(v) == pytest.approx((centre - v) / m.variance, abs=1e-15)
    for k in range(len(v)):
        true_log, true_centre = to_many_digits(m, v[k])
        assert log[k] == pytest.approx(true_log, rel=1e-14, abs=2e-11)
        assert centre[k] == pytest.approx(true_centre, abs=5e-11)


@EVERY
@pytest.mark.parametrize("age", [1e-3, 0.1, 0.4])
def test_series_and_quadrature_over_the_sphere_agree(
    start: GaussianMixture, age: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    v = np.linspace(1.5, 6.0, 30)[:, None] * directions(start.d, 30)
    m = law(start, age)
    by_series = m.evaluate(v)
    monkeypatch.setattr(mixture, "LOSS", 0.0)
    by_quadrature = m.evaluate(v)
    near = by_series[0] > -45  # further out the series loses digits at the shortest time
    assert near.sum() > 20
    assert by_quadrature[0][near] == pytest.approx(by_series[0][near], abs=1e-10)
    assert by_quadrature[1][near] == pytest.approx(by_series[1][near], abs=1e-10)


def test_far_out_the_density_stays_finite_and_falls() -> None:
    m, r = law(CUBE, 0.05), np.geomspace(5, 1e4, 60)
    for u in (np.array([1.0, 0, 0]), np.ones(3) / math.sqrt(3), directions(3, 1)[0]):
        log = m.log_density(r[:, None] * u)
        assert np.isfinite(log).all()
        assert (np.diff(log) < 0).all()
        offset, slope = m.score_growth(0.0)
        assert (np.linalg.norm(m.score(r[:, None] * u), axis=1) <= offset + slope * r + 1e-9 * r).all()


# --- against rotations, samples and closed forms -----------------------------------------------------------------


@EVERY
def test_the_density_is_the_mean_over_random_rotations(start: GaussianMixture) -> None:
    m, n, rng = law(start, 1.5), 40_000, np.random.default_rng(4)
    turns = relaxation.random_rotations(start.d, m.spread, n, rng)
    for v in 1.4 * directions(start.d, 3):
        values = np.exp(m.unrotated.log_density(turns @ v))
        off = (values.mean() - math.exp(float(m.log_density(v)))) / (values.std() / math.sqrt(n))
        assert abs(off) < 5
        assert values.std() / math.sqrt(n) < 1e-2 * values.mean()


@EVERY
def test_samples_without_time_steps_have_the_characteristic_function_of_the_density(start: GaussianMixture) -> None:
    problem, t, n = problem_of(start), 0.8, 40_000
    rule, k = contract.rule_at(problem, t), 1.3 * directions(start.d, 4)
    true = rule.weights @ np.exp(1j * rule.nodes @ k.T)
    for draws in (
        relaxation.sample(problem, t, n, np.random.default_rng(5)),
        solution_of(problem).sample(t, n, np.random.default_rng(6)),
    ):
        assert np.abs(np.exp(1j * draws @ k.T).mean(axis=0) - true).max() < 5 / math.sqrt(n)


def test_fourth_moments_decay_as_the_harmonics_of_degree_four_do() -> None:
    problem = parse_problem("gaussian_mixture3d")
    start = problem.rule()

    def harmonic(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum(x**4, axis=1) - 0.6 * np.sum(x**2, axis=1) ** 2)

    before = start.weights @ harmonic(start.nodes)
    assert before == pytest.approx(3 * (0.8**4 + 6 * 0.64 * 0.36 + 3 * 0.36**2) - 0.6 * CUBE.tail_moment(0.0, 4), 1e-8)
    for t in (0.4, 2.0, 5.0):
        rule, a = contract.rule_at(problem, t), math.exp(-t / 12)
        assert rule.weights @ harmonic(rule.nodes) == pytest.approx(a**4 * math.exp(-20 * t / 24) * before, rel=1e-8)
        fourth = a**4 * CUBE.tail_moment(0.0, 4) + 10 * a**2 * (1 - a**2) * 3 + 15 * (1 - a**2) ** 2
        assert solution_of(problem).tail_moment(t, 0.0, 4) == pytest.approx(fourth, rel=1e-12)


@EVERY
def test_averaged_over_directions_it_is_the_ornstein_uhlenbeck_law(start: GaussianMixture) -> None:
    m, r = law(start, 0.7), np.linspace(0.2, 4, 9)
    u, w, _ = sphere_rule(start.d, 64)
    mean = np.array([w @ np.exp(m.log_density(x * u)) for x in r])
    radii, s = m.a * np.linalg.norm(start.centres, axis=1), m.variance
    z = r[:, None] * radii / s
    angular = np.i0(z) if start.d == 2 else np.where(z > 0, np.sinh(z) / np.where(z > 0, z, 1), 1.0)
    closed = np.exp(-(r[:, None] ** 2 + radii**2) / (2 * s)) * angular @ np.array(start.shares)
    area = 2 * math.pi if start.d == 2 else 4 * math.pi
    assert mean == pytest.approx(area * closed * (2 * math.pi * s) ** (-start.d / 2), rel=1e-9)


@EVERY
def test_it_starts_as_the_mixture_and_ends_as_the_maxwellian(start: GaussianMixture) -> None:
    v = 3 * directions(start.d, 20) * np.linspace(0.1, 1, 20)[:, None]
    assert law(start, 1e-9).log_density(v) == pytest.approx(start.log_density(v), abs=1e-7)
    assert law(start, 1e-9).score(v) == pytest.approx(start.score(v), abs=1e-6)
    temperature = np.trace(start.covariance()) / start.d
    r2 = np.sum(v * v, axis=1)
    maxwellian = -r2 / (2 * temperature) - start.d / 2 * math.log(2 * math.pi * temperature)
    assert law(start, 500.0).log_density(v) == pytest.approx(maxwellian, abs=1e-12)
    assert math.exp(maxwellian.max()) <= MixtureSolution(start, STRENGTH[start.d], 0, 1).sup_density(500.0)


def test_a_single_gaussian_rests() -> None:
    still = MixtureSolution(GaussianMixture((0.5, 0.5), ((0.0,) * 3,) * 2, 0.7, (0.0, 1.0, 2.0)), 0.3, 0.0, 2.0)
    v = 2 * directions(3, 10)
    assert still.log_density(1.0, v) == pytest.approx(still.log_density(0.0, v), rel=1e-14)
    assert np.abs(still.drift(1.0, v)).max() < 1e-14
    assert still.flow(2.0, v) == pytest.approx(v, abs=1e-14)
    assert still.score_lipschitz(1.0) == pytest.approx(1 / 0.7)
    assert still.sup_density(1.0) == pytest.approx((2 * math.pi * 0.7) ** -1.5)


def test_the_largest_density_is_below_its_bound_and_not_far_below() -> None:
    solution = solution_of(parse_problem("gaussian_mixture3d"))
    for t in (0.0, 0.5, 2.0, 5.0):
        corner = np.array([math.exp(-t / 12) * 0.8] * 3)
        seen = np.exp(solution.log_density(t, np.linspace(0, 1.2, 60)[:, None] * corner)).max()
        assert seen <= solution.sup_density(t) <= 6 * seen


def test_the_fisher_information_of_the_product_is_that_of_its_factors() -> None:
    mu, s2 = 0.8, 0.36
    x, w = np.polynomial.legendre.leggauss(300)
    x, w = 7 * x, 7 * w
    f = (np.exp(-((x - mu) ** 2) / (2 * s2)) + np.exp(-((x + mu) ** 2) / (2 * s2))) / (2 * math.sqrt(2 * math.pi * s2))
    score = (mu * np.tanh(mu * x / s2) - x) / s2
    solution = solution_of(parse_problem("gaussian_mixture3d"))
    assert solution.fisher_information(0.0) == pytest.approx(3 * w @ (f * score**2), rel=1e-8)
    information = [solution.fisher_information(t) for t in (0.0, 0.3, 5.0, 60.0)]
    assert (np.diff(information) < 0).all()  # Guillen and Silvestre
    assert information[-1] == pytest.approx(3, abs=1e-5)


# --- the equation and its characteristics ------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("t", [0.02, 0.5, 3.0])
def test_the_law_satisfies_the_equation(start: GaussianMixture, t: float) -> None:
    exact, h = MixtureSolution(start, STRENGTH[start.d], 0.0, 5.0), 1e-3
    v = np.concatenate([2.5 * directions(start.d, 15), directions(start.d, 15, 7)])

    def five_points(f: Any, step: Any) -> np.ndarray:
        return np.asarray((8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * h))

    rate = five_points(lambda s: exact.log_density(t + s, v), h)
    divergence = sum(
        five_points(lambda e, k=k: exact.drift(t, v + e)[:, k], e) for k, e in enumerate(h * np.eye(start.d))
    )
    transport = np.sum(exact.drift(t, v) * exact.score(t, v), axis=1)
    assert np.abs(rate + divergence + transport).max() < 1e-7
    assert np.abs(rate).max() > 1e-3


@EVERY
def test_the_flow_conserves_mass_point_by_point(start: GaussianMixture) -> None:
    exact, h, t = MixtureSolution(start, STRENGTH[start.d], 0.0, 2.0), 1e-4, 2.0
    v = start.sample(12, np.random.default_rng(8))
    steps = h * np.concatenate([np.zeros((1, start.d)), np.eye(start.d), -np.eye(start.d)])
    moved = exact.flow(t, v + steps[:, None])  # (2 d + 1, n, d), integrated together
    columns = (moved[1 : start.d + 1] - moved[start.d + 1 :]) / (2 * h)
    log_det = np.linalg.slogdet(np.moveaxis(columns, 0, -1))
    assert (log_det[0] == 1).all()
    change = exact.log_density(0.0, v) - exact.log_density(t, moved[0])
    assert log_det[1] == pytest.approx(change, abs=2e-6)


def test_the_flow_agrees_with_another_integrator_and_continues_beyond_the_window() -> None:
    exact = MixtureSolution(CUBE, 1 / 24, 0.0, 2.0)
    v = np.array([[0.1, 0.2, 0.3], [1.0, 0.0, 0.5], [2.0, -1.5, 0.7], [0.0, 6.0, 3.0]])
    path = solve_ivp(
        lambda t, x: exact.drift(t, x.reshape(-1, 3)).ravel(),
        (0.0, 5.0),
        v.ravel(),
        method="LSODA",
        t_eval=[1.3, 2.0, 5.0],
        rtol=1e-11,
        atol=1e-11,
    )
    for k, t in enumerate((1.3, 2.0, 5.0)):
        assert exact.flow(t, v) == pytest.approx(path.y[:, k].reshape(-1, 3), abs=5e-9)


def test_a_restart_continues_the_flow_and_the_law() -> None:
    whole, later = parse_problem("gaussian_mixture3d"), parse_problem("gaussian_mixture3d:t0=1,T=3")
    v = whole.initial.sample(20, np.random.default_rng(2))
    middle = solution_of(whole).flow(1.0, v)
    assert solution_of(later).flow(2.5, middle) == pytest.approx(solution_of(whole).flow(2.5, v), abs=1e-9)
    assert np.array_equal(later.initial.log_density(v), solution_of(whole).log_density(1.0, v))
    assert np.array_equal(solution_of(later).score(2.5, v), solution_of(whole).score(2.5, v))


def test_the_flow_of_many_points_is_integrated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, genuine = MixtureSolution(TRIANGLE, 1 / 16, 0.0, 1.25), MixtureSolution.rate
    calls: list[float] = []

    def counted(self: MixtureSolution, t: float, v: np.ndarray) -> np.ndarray:
        calls.append(t)
        return genuine(self, t, v)

    monkeypatch.setattr(MixtureSolution, "rate", counted)
    v = TRIANGLE.sample(100, np.random.default_rng(3))
    for t in (0.7, 0.1, 1.25):
        exact.flow(t, v)
    first = len(calls)
    assert first > 10
    for t in np.linspace(0.01, 1.25, 20):
        exact.flow(t, v)
    assert len(calls) == first


# --- folding -----------------------------------------------------------------------------------------------------


def test_points_in_symmetric_positions_are_evaluated_once_and_come_back() -> None:
    nodes = parse_problem("gaussian_mixture3d").rule().nodes
    fold = Fold.of(CUBE, nodes)
    assert len(fold.points) < len(nodes) / 7
    assert np.abs(fold.back(fold.points) - nodes).max() < 1e-13
    few = nodes[::37]
    log, centre = law(CUBE, 0.3).evaluate(few)
    folded = law(CUBE, 0.3).parts(nodes)
    assert folded[0][::37] == pytest.approx(log, abs=1e-11)
    assert folded[1][::37] == pytest.approx(centre, abs=1e-12)


@pytest.mark.parametrize("start", [TETRAHEDRON, TRIANGLE, replace(CUBE, shares=(0.2, 0.05, *(0.125,) * 6))])
def test_nothing_is_folded_without_the_symmetry_of_the_cube(start: GaussianMixture) -> None:
    v = np.concatenate([np.eye(start.d), -np.eye(start.d)])
    assert len(Fold.of(start, v).points) == len(v)
    assert len(Fold.of(CUBE, np.concatenate([np.eye(3), -np.eye(3)])).points) == 1


# --- refusals ----------------------------------------------------------------------------------------------------


def test_what_is_not_this_law_is_refused() -> None:
    shifted = replace(TRIANGLE, centres=tuple((x + 0.1, y) for x, y in TRIANGLE.centres))
    stretched = replace(TRIANGLE, centres=tuple((2 * x, y) for x, y in TRIANGLE.centres))
    for start in (shifted, stretched):
        with pytest.raises(ValueError, match="mean 0 and covariance T I"):
            MixtureSolution(start, 0.1, 0.0, 1.0)
    with pytest.raises(ValueError, match="is empty"):
        MixtureSolution(TRIANGLE, 0.1, 1.0, 1.0)
    with pytest.raises(ValueError, match="before the start"):
        MixtureSolution(TRIANGLE, 0.1, 0.5, 1.0).flow(0.4, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="age > 0"):
        MixtureLaw(TRIANGLE, 0.1, 0.0)


def test_other_widths_and_separations_keep_their_temperature() -> None:
    problem = gaussian_mixture3d.make(Fraction(0), Fraction(2), Fraction(1), Fraction(1, 2))
    assert problem.moments(1.0)[1] == pytest.approx(1.25 * np.eye(3))
    rule = contract.rule_at(problem, 1.0)
    assert rule.weights @ np.sum(rule.nodes**2, axis=1) == pytest.approx(3.75, rel=1e-8)


def test_a_law_that_turns_too_fast_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MixtureLaw, "spread", property(lambda self: 1.02 * self.strength * self.age))
    mixture._evaluated.cache_clear()
    with pytest.raises(AssertionError):
        test_the_law_satisfies_the_equation(TRIANGLE, 0.5)
    mixture._evaluated.cache_clear()
