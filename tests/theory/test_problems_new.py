"""The benchmarks beside BKW: densities against closed forms and published figures, the truncated law three ways."""

import math
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

from tests.contracts import test_problem_contract as contract
from theory import relaxation
from theory.densities import GaussianMixture, Ring, TruncatedGaussian
from theory.isotropic import TruncatedLaw, TruncatedSolution, law_at
from theory.problem import Problem
from theory.problems import anisotropic2d, parse_problem, rosenbluth3d, truncated2d

RESTARTED = pytest.mark.parametrize("spec", ["truncated2d:t0=1/2", "truncated2d:t0=1/20,T=1", "truncated2d:t0=4"])
LATER = pytest.mark.parametrize("t", [0.02, 0.5, 2.0, 20.0])
START = TruncatedGaussian(2.0)


def solution(problem: Problem) -> Any:
    assert problem.exact is not None
    return problem.exact


# --- truncated2d: the contracts of any problem and of any exact solution, from t0 > 0 ----------------------------


@RESTARTED
@pytest.mark.parametrize(
    "assert_contract",
    [
        contract.test_density_integrates_to_one_with_a_small_error_estimate,
        contract.test_score_is_the_gradient_of_the_log_density,
        contract.test_mean_and_covariance_are_those_of_the_density,
        contract.test_samples_have_the_moments_of_the_density,
        contract.test_its_own_specification_reads_back_as_itself,
        contract.test_exact_solution_starts_with_the_initial_density_and_the_identity,
        contract.test_exact_drift_is_the_collision_integral,
        contract.test_exact_flow_follows_the_drift,
        contract.test_exact_flow_carries_the_initial_density_to_the_exact_one,
        contract.test_exact_density_has_mass_one_and_the_moments_known_in_advance,
        contract.test_exact_score_constants_and_moments_are_consistent,
        contract.test_exact_samples_have_the_exact_moments,
    ],
    ids=lambda f: f.__name__,
)
def test_the_restarted_truncated_gaussian_keeps_the_contract(spec: str, assert_contract: Any) -> None:
    assert_contract(parse_problem(spec))


@RESTARTED
@pytest.mark.parametrize("power", [0, 2, 4])
def test_its_tail_moments_are_integrals_over_the_tail(spec: str, power: int) -> None:
    assert_tail_moments = contract.test_tail_moments_are_integrals_over_the_tail
    assert_tail_moments(parse_problem(spec), power)


# --- truncated2d: the law ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("R", "T"), [(1, 0.22925), (1.5, 0.45919), (2, 0.68696), (2.5, 0.85639), (3, 0.94945)])
def test_temperature_of_a_truncated_gaussian(R: float, T: float) -> None:
    assert TruncatedGaussian(R).temperature == pytest.approx(T, abs=6e-6)
    assert TruncatedGaussian(R).tail_moment(0.0, 2) == pytest.approx(2 * TruncatedGaussian(R).temperature, rel=1e-13)


@LATER
def test_the_law_is_the_published_formula(t: float) -> None:
    law, r = law_at(START, t / 16), np.linspace(0, 2.2, 12)
    s, tau = law.variance, law.b / math.sqrt(law.variance)
    inside = stats.ncx2.cdf((START.R / tau) ** 2, 2, (law.a * r / s / tau) ** 2)
    published = np.exp(-r * r / (2 * s)) / (2 * math.pi * s * START.weight) * inside
    assert np.exp(law.profile(r)[0]) == pytest.approx(published, rel=1e-9)


@pytest.mark.parametrize(("t", "r"), [(0.02, 2.1), (0.5, 3.0), (2.0, 1.9), (20.0, 4.0)])
def test_the_profile_and_its_derivatives_keep_their_relative_accuracy(t: float, r: float) -> None:
    law = law_at(START, t / 16)
    with mp.workdps(25):
        a, b = mp.mpf(law.a), mp.mpf(law.b)

        def mass(power: int) -> Any:
            """Integral of (x cos)^power over V_0 given V_t = r e_1, with the exponent at its largest taken out."""
            centre = min(a * r / (a * a + b * b), 2)
            width = min(b / mp.sqrt(a * a + b * b), b * b / max(r - 2 * a, b))
            knots = sorted({max(0, min(2, centre + k * width)) for k in range(-60, 61, 4)} | {0, 2})

            def integrand(x: Any) -> Any:
                z = a * r * x / b**2
                angle = {0: mp.besseli(0, z), 1: mp.besseli(1, z), 2: mp.besseli(0, z) - mp.besseli(1, z) / z}[power]
                return x * mp.exp(-x * x / 2 - (r * r + a * a * x * x) / (2 * b**2)) * angle * x**power

            return mp.quad(integrand, [k if k > 0 else mp.mpf("1e-25") for k in knots])

        zero, first, second = (mass(k) for k in (0, 1, 2))
        log = float(mp.log(zero / (b**2 * 2 * mp.pi * START.weight)))
        slope = float((a * first / zero - r) / b**2)
        curvature = float((a**2 * (second / zero - (first / zero) ** 2) / b**2 - 1) / b**2)
    found = law.profile(np.array([r]))
    assert found[0][0] == pytest.approx(log, rel=1e-12, abs=1e-12)
    assert found[1][0] * r == pytest.approx(slope, rel=1e-11)
    assert found[2][0] == pytest.approx(curvature, rel=1e-8)


@LATER
def test_the_masses_agree_with_the_mixture_of_chi_laws(t: float) -> None:
    problem = truncated2d.make(Fraction(0), Fraction(30))
    radial = relaxation.radial_law(problem, t)
    law, r = law_at(START, t / 16), np.linspace(0.05, 4.5, 40)
    inside, outside = np.exp(law.log_masses(r))
    assert outside == pytest.approx(radial.survival(r), abs=1e-11)
    assert inside + outside == pytest.approx(np.ones(40), abs=1e-13)
    assert np.exp(law.log_density(np.stack([r, 0 * r], 1))) == pytest.approx(
        relaxation.density(problem, t, np.stack([0 * r, r], 1)), abs=1e-12
    )


@LATER
def test_the_masses_join_at_the_shell_and_the_tail_has_its_asymptotic_size(t: float) -> None:
    law = law_at(START, t / 16)
    edge = law.shell * np.array([1 - 1e-13, 1 + 1e-13])
    (inside, outside) = law.log_masses(edge)
    assert inside[0] == pytest.approx(inside[1], abs=1e-11)
    # just inside, the outer mass is 1 - inside and loses its first digits
    assert outside[0] == pytest.approx(outside[1], abs=1e-13 / math.exp(outside[1]) + 1e-12)
    far = law.shell + law.b * np.array([20.0, 200.0])  # Mills: log mass = log f + log(2 pi r) - log|slope| + O(1/k^2)
    log, ratio, _ = law.profile(far)
    mills = log + np.log(2 * math.pi) - np.log(-ratio)
    assert law.log_masses(far)[1] == pytest.approx(mills, abs=0.01)
    assert law.log_masses(far)[1][1] == pytest.approx(mills[1], abs=1e-3)


@LATER
def test_moments_of_the_law(t: float) -> None:
    law = law_at(START, t / 16)
    fourth = START.tail_moment(0.0, 4)
    closed = law.a**4 * fourth + 8 * law.a**2 * law.b**2 * 2 * START.temperature + 8 * law.b**4
    assert law.tail_moment(0.0, 2) == pytest.approx(2 * START.temperature, rel=1e-12)
    assert law.tail_moment(0.0, 4) == pytest.approx(closed, rel=1e-12)
    assert law.sup_density() == pytest.approx(math.exp(float(law.profile(np.array(1e-9))[0])), rel=1e-12)


@pytest.mark.parametrize("t", [0.5, 2.0, 5.0])
def test_score_constants_are_bounds_and_approached(t: float) -> None:
    problem = parse_problem("truncated2d:t0=1/2")
    law, r = law_at(START, t / 16), np.concatenate([np.linspace(0, 6, 400), [30.0, 300.0]])
    _, along, radial = law.profile(r)
    eigenvalues = np.concatenate([along, radial])
    assert (-eigenvalues <= law.score_lipschitz() * (1 + 1e-9)).all()
    assert -eigenvalues.min() == pytest.approx(law.score_lipschitz(), rel=2e-2)
    assert (eigenvalues <= -1 / law.variance * (1 - 1e-12)).all()
    growth = law.score_growth(1.0)
    assert (np.abs(along * r) <= growth[0] + growth[1] * r + 1e-12).all()
    stretch = -problem.kernel.friction * (START.temperature * eigenvalues + 1)
    assert (np.abs(stretch) <= solution(problem).drift_lipschitz(t) * (1 + 1e-9)).all()
    assert stretch.max() == pytest.approx(solution(problem).drift_one_sided(t), rel=5e-2)


@RESTARTED
def test_the_flow_conserves_the_mass_inside_also_far_out(spec: str) -> None:
    problem = parse_problem(spec)
    exact, r0 = solution(problem), np.geomspace(1e-5, 8.9, 60)
    before = exact.at(float(problem.t0)).log_masses(r0)
    for t in contract.later(problem):
        r = exact.flow_radius(t, r0)
        after = exact.at(t).log_masses(r)
        assert (np.diff(r) > 0).all()
        assert after[0] == pytest.approx(before[0], rel=1e-11, abs=1e-12)
        # an error of r by one part in 1e12 moves the log of the mass outside by r |slope| 1e-12
        slack = 1e-12 * (1 + r * np.abs(r * exact.at(t).profile(r)[1]))
        assert (np.abs(after[1] - before[1]) <= slack).all()


def test_the_flow_solves_the_characteristic_equation() -> None:
    from scipy.integrate import solve_ivp

    exact = solution(parse_problem("truncated2d:t0=1/2"))
    r0 = np.array([0.1, 1.0, 1.9, 3.0, 5.0])

    def rate(t: float, r: np.ndarray) -> np.ndarray:
        return np.asarray(exact.drift(t, np.stack([r, 0 * r], axis=1))[:, 0])

    path = solve_ivp(rate, (0.5, 4.0), r0, method="DOP853", rtol=1e-11, atol=1e-13)
    assert exact.flow_radius(4.0, r0) == pytest.approx(path.y[:, -1], rel=1e-10)


def test_the_jets_of_the_exact_flow_push_the_score_forward_and_leave_no_defect() -> None:
    from tests.runs import exact_run

    problem = parse_problem("truncated2d:t0=1/2")
    exact, v, t = solution(problem), contract.points(problem, 40), 2.0
    jets = exact_run(problem).jets(np.array([t]), v)
    assert jets.pushforward_score(problem.initial.score(v))[0] == pytest.approx(exact.score(t, jets.value[0]), rel=1e-9)
    assert jets.jac[0] == pytest.approx(
        np.moveaxis(contract.gradient(lambda x: exact.flow(t, x), v), 1, 2), rel=1e-6, abs=1e-8
    )
    h = 1e-4
    speed = (exact.flow(t + h, v) - exact.flow(t - h, v)) / (2 * h)
    assert jets.dt[0] == pytest.approx(speed, rel=1e-6, abs=1e-8)


def test_from_the_jump_the_flow_is_known_inside_the_circle_only() -> None:
    exact = TruncatedSolution(START, 1 / 16, 0.0)
    r0 = np.array([0.0, 1e-6, 0.5, 1.9, 2 - 1e-9])
    r = exact.flow_radius(1.0, r0)
    assert r[0] == 0.0
    before, after = START.log_masses(r0[1:]), law_at(START, 1 / 16).log_masses(r[1:])
    assert np.asarray(after) == pytest.approx(np.asarray(before), rel=1e-9)
    assert r[-1] - r[-2] > 1.4  # the circle itself goes to infinity
    assert exact.score_lipschitz(0.0) == exact.fisher_information(0.0) == exact.drift_lipschitz(0.0) == math.inf


@pytest.mark.parametrize(("spec", "free"), [("truncated2d", False), ("truncated2d:t0=1/2", True)])
def test_the_certificates_are_void_from_the_jump_and_only_from_there(spec: str, free: bool) -> None:
    from theory.hypotheses import NO_JUMP
    from theory.theorem import Outcome

    problem = parse_problem(spec)
    assert NO_JUMP.check({"jump": problem.initial.regularity()}).outcome is (Outcome.HOLDS if free else Outcome.FAILS)
    assert (problem.exact is not None) is free


def test_a_wrong_temperature_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = TruncatedGaussian.temperature.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(TruncatedGaussian, "temperature", property(lambda self: 1.01 * genuine(self)))
    law_at.cache_clear()
    problem = parse_problem("truncated2d:t0=1/2")
    for check in (
        contract.test_mean_and_covariance_are_those_of_the_density,
        contract.test_exact_drift_is_the_collision_integral,
    ):
        with pytest.raises(AssertionError):
            check(problem)
    law_at.cache_clear()


def test_a_score_that_is_a_little_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = TruncatedLaw.profile

    def off(self: TruncatedLaw, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        log, ratio, curvature = genuine(self, r)
        return log, ratio * (1 + 1e-4), curvature

    monkeypatch.setattr(TruncatedLaw, "profile", off)
    law_at.cache_clear()
    with pytest.raises(AssertionError):
        contract.test_score_is_the_gradient_of_the_log_density(parse_problem("truncated2d:t0=1/2"))
    law_at.cache_clear()


# --- mixtures ----------------------------------------------------------------------------------------------------

MIXTURES = pytest.mark.parametrize(
    "mixture",
    [
        parse_problem("anisotropic2d").initial,
        parse_problem("gaussian_mixture3d").initial,
        GaussianMixture((0.2, 0.8), ((1.0, 0.0, 2.0), (0.0, 0.0, 0.0)), 0.3, (0.0, 1.0, 3.0)),
        GaussianMixture((1.0,), ((0.5, 0.0),), 2.0, (0.0, 1.0)),
    ],
    ids=["anisotropic2d", "gaussian_mixture3d", "uneven", "single"],
)


@MIXTURES
@pytest.mark.parametrize("radius", [0.0, 0.7, 2.5, 9.0, 15.0])
def test_the_mass_of_a_mixture_outside_a_ball_is_a_sum_of_noncentral_chi_laws(
    mixture: GaussianMixture, radius: float
) -> None:
    s2 = mixture.variance
    offsets = np.linalg.norm(np.array(mixture.centres) - mixture.mean(), axis=1)
    law = [stats.chi2 if x == 0 else stats.ncx2 for x in offsets]
    args = [(mixture.d,) if x == 0 else (mixture.d, x * x / s2) for x in offsets]
    mass = sum(p * f.sf(radius**2 / s2, *a) for p, f, a in zip(mixture.shares, law, args, strict=True))
    assert mixture.tail_moment(radius, 0) == pytest.approx(mass, rel=1e-6 if mass > 1e-10 else 1e-2, abs=1e-280)
    trace = float(np.trace(mixture.covariance()))
    assert mixture.tail_moment(0.0, 2) == pytest.approx(trace, rel=1e-13)


@MIXTURES
def test_score_growth_of_a_mixture_is_a_bound(mixture: GaussianMixture) -> None:
    v = mixture.mean() + 5 * np.random.default_rng(0).standard_normal((500, mixture.d))
    offset, slope = mixture.score_growth(0.0)
    speed = np.linalg.norm(v - mixture.mean(), axis=1)
    assert (np.linalg.norm(mixture.score(v), axis=1) <= offset + slope * speed + 1e-12).all()
    assert mixture.isotropic == (len(mixture.shares) == 1)


def test_the_eight_gaussians_are_a_product_with_covariance_one() -> None:
    problem = parse_problem("gaussian_mixture3d")
    mu, s = 0.8, 0.6
    v = contract.points(problem, 30)
    factor = (stats.norm.pdf(v, mu, s) + stats.norm.pdf(v, -mu, s)) / 2
    assert problem.initial.log_density(v) == pytest.approx(np.log(factor).sum(axis=1), rel=1e-12)
    assert np.abs(problem.initial.covariance() - np.eye(3)).max() < 1e-13
    assert relaxation.temperature(problem) == pytest.approx(1, rel=1e-14)
    rule = problem.rule()
    fourth, _ = rule.integrate((rule.nodes**4).T)
    assert fourth == pytest.approx(np.full(3, mu**4 + 6 * mu**2 * s**2 + 3 * s**4), rel=1e-9)
    for t in contract.later(problem):
        assert problem.moments(t)[1] == pytest.approx(np.eye(3), abs=1e-13)


# --- anisotropic2d: FACTS section 1.2 ----------------------------------------------------------------------------


def pair_sums(problem: Problem, n: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    """Entropy rate and rate of Cov12 from independent pairs: means and their standard errors."""
    rng = np.random.default_rng(3)
    v, w = (problem.initial.sample(n, rng) for _ in range(2))
    push = np.einsum("nij,nj->ni", problem.kernel.matrix(v - w), problem.initial.score(v) - problem.initial.score(w))
    entropy = -np.sum((problem.initial.score(v) - problem.initial.score(w)) * push, axis=1) / 2
    shear = -(push[:, 0] * (v - w)[:, 1] + push[:, 1] * (v - w)[:, 0]) / 2
    both = np.stack([entropy, shear])
    return both.mean(axis=1), both.std(axis=1) / math.sqrt(n)


def test_published_figures_of_the_anisotropic_start() -> None:
    problem = parse_problem("anisotropic2d")
    initial, rule = problem.initial, problem.rule()
    assert initial.mean() == pytest.approx([-1, 0])
    assert initial.covariance() == pytest.approx(np.array([[2, -1], [-1, 2]]))
    assert rule.weights @ np.sum(rule.nodes**2, axis=1) == pytest.approx(5, rel=1e-9)
    assert rule.weights @ initial.log_density(rule.nodes) == pytest.approx(-3.3380, abs=2e-4)
    assert rule.weights @ np.sum(initial.score(rule.nodes) ** 2, axis=1) == pytest.approx(1.5382, abs=5e-4)
    equilibrium = -math.log(2 * math.pi * 2) - 1  # Gaussian of covariance 2 I
    assert equilibrium == pytest.approx(-3.53102, abs=1e-5)


def test_published_rates_of_the_anisotropic_start_without_mollification() -> None:
    mean, error = pair_sums(anisotropic2d.make(Fraction(0), Fraction(40), Fraction(1, 1000)))
    assert (np.abs(mean - [-5.377e-3, 1.1517e-2]) <= 4 * error + [5e-7, 5e-7]).all()
    assert (error < 3e-3 * np.abs(mean)).all()


def test_the_mollification_of_anisotropic2d_slows_the_start_by_what_is_said() -> None:
    plain = pair_sums(anisotropic2d.make(Fraction(0), Fraction(40), Fraction(1, 1000)))[0]
    slowed = pair_sums(parse_problem("anisotropic2d"))[0]  # the same pairs
    assert slowed[0] / plain[0] == pytest.approx(1 - 0.023, abs=1e-3)
    assert 2 * 40 * parse_problem("anisotropic2d").kernel.kappa == pytest.approx(66, abs=0.1)


# --- rosenbluth3d: FACTS section 1.3 -----------------------------------------------------------------------------


def test_published_figures_of_the_ring() -> None:
    ring, mass = rosenbluth3d.RING, rosenbluth3d.MASS
    assert mass == pytest.approx(1.996815e-3, rel=3e-7)
    assert ring.tail_moment(0.0, 2) == pytest.approx(0.112071, rel=5e-6)
    temperature = ring.covariance()[0, 0]
    assert temperature == pytest.approx(0.0373571, rel=2e-6)
    assert mass * (2 * math.pi * temperature) ** -1.5 == pytest.approx(1.75593e-2, rel=3e-6)
    f = mass * np.exp(ring.log_density(np.array([[0.0, 0, 0], [0, 0.3, 0]])))
    assert f == pytest.approx([1e-2 * math.exp(-10), 1e-2], rel=1e-12)
    rule = parse_problem("rosenbluth3d").rule()
    entropy = rule.weights @ ring.log_density(rule.nodes) + 1.5 * math.log(2 * math.pi * math.e * temperature)
    assert mass * entropy == pytest.approx(7.775e-4, abs=6e-8)


def test_its_weight_is_the_integral_and_its_clock_is_that_of_the_benchmark() -> None:
    from scipy.integrate import quad

    integral = quad(lambda r: 4 * math.pi * r * r * math.exp(-10 * (r - 0.3) ** 2 / 0.09), 0, 3, points=[0.3])[0]
    problem = parse_problem("rosenbluth3d")
    assert rosenbluth3d.RING.weight == pytest.approx(integral, rel=1e-12)
    assert problem.kernel.strength == pytest.approx(integral / 100 / (4 * math.pi), rel=1e-12)


def radial_entropy_rate() -> float:
    """dH/dt of the benchmark's f, mass included, from the radial form of the Coulomb operator."""
    r = np.linspace(1e-5, 1.2, 40_001)
    h, C = r[1] - r[0], 1 / (4 * math.pi)
    f = 1e-2 * np.exp(-10 * (r - 0.3) ** 2 / 0.09)
    slope = -20 / 0.09 * (r - 0.3)

    def inside(g: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum((g[1:] + g[:-1]) * h / 2)])

    outside = inside(r * f)[-1] - inside(r * f)
    flux = 8 * math.pi / 3 * (inside(r**4 * f) / r**3 + outside) * f * slope + 8 * math.pi / r**2 * f * inside(r**2 * f)
    return float(-np.sum(4 * math.pi * r**2 * C * flux * slope) * h)


def test_the_entropy_rate_of_the_ring_from_pairs_from_the_radial_operator_and_published() -> None:
    published = -6.713e-5
    assert radial_entropy_rate() == pytest.approx(published, rel=1e-3)
    mean, error = pair_sums(rosenbluth3d.make(Fraction(0), Fraction(20), Fraction(1, 500)))
    assert (
        rosenbluth3d.MASS * abs(mean[0] * 1 - radial_entropy_rate() / rosenbluth3d.MASS)
        < 4 * rosenbluth3d.MASS * error[0] + 2e-7
    )
    assert error[0] < 5e-3 * abs(mean[0])


def test_radii_of_the_ring_follow_their_distribution_function() -> None:
    ring: Ring = rosenbluth3d.RING
    r = np.linalg.norm(ring.sample(20_000, np.random.default_rng(2)), axis=1)
    cdf = np.vectorize(lambda x: 1 - ring.tail_moment(float(x), 0))(np.linspace(0, 0.8, 400))
    assert stats.kstest(r, lambda x: np.interp(x, np.linspace(0, 0.8, 400), cdf)).pvalue > 1e-4
    offset, slope = ring.score_growth(0.05)
    v = np.random.default_rng(4).standard_normal((200, 3)) * 0.3
    assert (np.linalg.norm(ring.score(v), axis=1) <= offset + slope * np.linalg.norm(v, axis=1) + 1e-12).all()
    assert np.array_equal(ring.score(np.zeros((1, 3))), np.zeros((1, 3)))


# --- refusals ----------------------------------------------------------------------------------------------------


def test_impossible_densities_are_refused() -> None:
    for make in (
        lambda: GaussianMixture((0.5, 0.4), ((0.0, 0.0), (1.0, 0.0)), 1.0, (0.0, 1.0)),
        lambda: GaussianMixture((1.0,), ((0.0, 0.0),), 0.0, (0.0, 1.0)),
        lambda: Ring(10.0, -0.3, (0.0, 1.0)),
        lambda: TruncatedGaussian(0.0),
        lambda: TruncatedLaw(START, 0.0),
    ):
        with pytest.raises(ValueError, match=r"needs|smooth only"):
            make()


def test_radii_beyond_the_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="beyond the tabulated"):
        law_at(START, 0.1).log_masses(np.array([1e6]))
