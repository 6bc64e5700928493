"""The BKW solution solves the Landau equation, and everything said of its flow and constants is true."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.special import digamma, lambertw

from tests.differences import along, fourth_order
from tests.strategies import generators, reals
from theory.bkw import Bkw
from theory.flow import FlowJets
from theory.kernels import maxwell
from theory.quadrature import Rule, polar_rule

Field = Callable[[np.ndarray], np.ndarray]

TWO, THREE = Bkw(2, 1 / 16, 0.5, 0.0), Bkw(3, 1 / 24, 1.0, 5.5)
LATE = Bkw(2, 1 / 16, 0.5, 0.5)
FOUR, FIVE = Bkw(4, 1 / 24, 1.0, 4.5), Bkw(5, 1 / 24, 1.0, 3.9)
BOTH = pytest.mark.parametrize("bkw", [TWO, THREE], ids=["2d", "3d"])

# t, K, E r^4, H, I, dH/dt
TABLE = [
    (TWO, 0.0, 0.5, 6.0, -2.72194555, 4.0, -0.125),
    (TWO, 1.0, 0.55875155, 6.44239843, -2.78904929, 2.60142341, -0.03758896),
    (TWO, 2.5, 0.63419219, 6.92947714, -2.82095246, 2.17848767, -0.01115548),
    (TWO, 5.0, 0.73236929, 7.42699041, -2.83423588, 2.03386282, -0.00211643),
    (THREE, 5.5, 0.60015035, 12.60180381, -4.19305231, 3.88465539, -0.07372128),
    (THREE, 5.75, 0.61646843, 12.79355299, -4.20819931, 3.60406315, -0.05033860),
    (THREE, 6.0, 0.63212056, 12.96997075, -4.21898220, 3.44270002, -0.03689167),
    (THREE, 6.5, 0.66153457, 13.28161734, -4.23310877, 3.25637628, -0.02136469),
]


def times(bkw: Bkw) -> st.SearchStrategy[float]:
    return reals(0, 5) if bkw is TWO else reals(5.5, 7)


def rule(bkw: Bkw, t: float, angles: int = 8) -> Rule:
    edges = np.concatenate([[0, 0.01, 0.04, 0.12, 0.3], np.arange(0.6, 6.1, 0.6), [8.0, 12.0]])
    return polar_rule(lambda v: np.exp(bkw.log_density(t, v)), np.zeros(bkw.d), edges, angles)


def directions(bkw: Bkw, rng: np.random.Generator, n: int) -> np.ndarray:
    v = rng.standard_normal((n, bkw.d))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.paper
@pytest.mark.parametrize(("bkw", "t", "k", "fourth", "entropy", "fisher", "rate"), TABLE)
def test_table_of_exact_values(
    bkw: Bkw, t: float, k: float, fourth: float, entropy: float, fisher: float, rate: float
) -> None:
    nodes = rule(bkw, t)
    r2 = np.sum(nodes.nodes**2, axis=1)
    assert bkw.coefficients(t)[0] == pytest.approx(k, abs=1e-8)
    assert bkw.d * (bkw.d + 2) * k * (2 - k) == pytest.approx(fourth, abs=2e-7)
    assert nodes.integrate(np.ones_like(r2))[0] == pytest.approx(1, abs=1e-12)
    assert nodes.integrate(r2)[0] == pytest.approx(bkw.d, abs=1e-12)
    assert nodes.integrate(r2**2)[0] == pytest.approx(fourth, abs=1e-8)
    assert nodes.integrate(bkw.log_density(t, nodes.nodes))[0] == pytest.approx(entropy, abs=1e-7)
    assert bkw.fisher_information(t) == pytest.approx(fisher, abs=1e-8)
    assert -bkw.strength * (bkw.d - 1) * (bkw.fisher_information(t) - bkw.d) == pytest.approx(rate, abs=1e-8)


def test_initial_entropy_in_2d_has_its_closed_form() -> None:
    nodes = rule(TWO, 0.0)
    closed = -math.log(math.pi) + digamma(2) - 2
    assert nodes.integrate(TWO.log_density(0.0, nodes.nodes))[0] == pytest.approx(closed, abs=1e-9)


@BOTH
def test_entropy_production_and_kinetic_power_of_the_drift(bkw: Bkw) -> None:
    t = bkw.t0 + 0.5
    nodes = rule(bkw, t)
    drift, score = bkw.drift(t, nodes.nodes), bkw.score(t, nodes.nodes)
    excess = bkw.fisher_information(t) - bkw.d
    friction = bkw.strength * (bkw.d - 1)
    assert nodes.integrate(np.sum(drift * score, axis=1))[0] == pytest.approx(-friction * excess, rel=1e-9)
    assert nodes.integrate(np.sum(drift * drift, axis=1))[0] == pytest.approx(friction**2 * excess, rel=1e-9)


def density(bkw: Bkw, v: np.ndarray, t: float) -> np.ndarray:
    return np.exp(bkw.log_density(t, v))


@BOTH
def test_density_solves_the_landau_equation_with_the_explicit_pair_integral(bkw: Bkw) -> None:
    t, d = bkw.t0 + 0.4, bkw.d
    kernel, nodes = maxwell(d, bkw.strength), rule(bkw, t)
    score_there = bkw.score(t, nodes.nodes)

    def flux(v: np.ndarray) -> np.ndarray:  # f(v) int A(v-w)(s(v) - s(w)) f(w) dw
        pairs = kernel.matrix(v - nodes.nodes) @ (bkw.score(t, v[None]) - score_there)[..., None]
        return np.exp(bkw.log_density(t, v)) * (nodes.weights @ pairs[..., 0])

    for v in (np.array([0.3, -0.2, 0.5])[:d], np.array([1.1, 0.7, -0.4])[:d], np.array([-2.0, 1.0, 1.5])[:d]):
        collisions = sum(float(fourth_order(along(flux, v, e), 0.0, 1e-2) @ e) for e in np.eye(d))
        change = float(fourth_order(partial(density, bkw, v), t, 1e-2))
        assert change == pytest.approx(collisions, rel=1e-5)
        assert abs(change) > 1e-5


@pytest.mark.parametrize("t", [0.3, 2.0])
def test_score_is_the_gradient_of_the_log_density_and_its_divergence_is_right(t: float) -> None:
    bkw, v, h = TWO, np.random.default_rng(1).normal(size=(200, 2)), 1e-4
    steps = h * np.eye(2)
    gradient = [(bkw.log_density(t, v + e) - bkw.log_density(t, v - e)) / (2 * h) for e in steps]
    divergence = sum((bkw.score(t, v + e)[:, j] - bkw.score(t, v - e)[:, j]) / (2 * h) for j, e in enumerate(steps))
    assert np.stack(gradient, axis=1) == pytest.approx(bkw.score(t, v), abs=1e-6)
    assert divergence == pytest.approx(bkw.score_divergence(t, v), abs=1e-5)


# --- the flow ----------------------------------------------------------------------------------------------------


@pytest.mark.paper
@pytest.mark.parametrize(
    ("bkw", "t", "start", "end"),
    [
        (TWO, 1.0, (0.5, 1, 2, 3), (0.35151542, 0.94151048, 2.05294206, 3.13008496)),
        (TWO, 5.0, (0.5, 1, 2, 3), (0.24843577, 0.82373056, 2.15069162, 3.43829449)),
        (THREE, 6.0, (0.5, 1, 2, 3), (0.39587998, 0.95015496, 2.01184535, 3.05137534)),
    ],
)
def test_flow_has_the_tabulated_values(bkw: Bkw, t: float, start: tuple, end: tuple) -> None:
    assert bkw.flow_radius(t, np.array(start)) == pytest.approx(np.array(end), abs=1e-8)


@pytest.mark.parametrize("bkw", [LATE, THREE], ids=["2d", "3d"])
def test_flow_solves_its_differential_equation(bkw: Bkw) -> None:
    start = np.concatenate([r * directions(bkw, np.random.default_rng(3), 1) for r in (1e-3, 0.1, 0.7, 1.5, 3.0, 5.0)])
    end = bkw.t0 + 0.5

    def rhs(t: float, y: np.ndarray) -> np.ndarray:
        return bkw.drift(t, y.reshape(start.shape)).ravel()

    path = solve_ivp(rhs, (bkw.t0, end), start.ravel(), method="DOP853", rtol=1e-12, atol=1e-15)
    assert bkw.flow(end, start).ravel() == pytest.approx(path.y[:, -1], rel=1e-9)


@given(reals(1e-3, 5), st.lists(reals(0.05, 5), min_size=1, max_size=5))
def test_flow_in_2d_is_the_lambert_w_formula(t: float, radii: list[float]) -> None:
    k = TWO.coefficients(t)[0]
    r, b = np.array(radii), (1 - k) / k
    survival = np.exp(-(r**2)) * (1 + r**2)
    closed = np.sqrt(2 * k * (-1 / b - lambertw(-survival / b * math.exp(-1 / b), -1).real))
    assert TWO.flow_radius(t, r) == pytest.approx(closed, rel=1e-6)


def log_masses(bkw: Bkw, t: float, log_r: Any) -> tuple:
    """Logarithms of the mass inside and outside, in 80 digits."""
    d = bkw.d
    k = 1 - mpmath.mpf(bkw.amplitude) * mpmath.exp(-2 * (d - 1) * mpmath.mpf(bkw.strength) * mpmath.mpf(t))
    p, b, h = ((d + 2) * k - d) / (2 * k), (1 - k) / k * d / 2, mpmath.mpf(d) / 2
    u = mpmath.exp(2 * log_r) / (2 * k)
    lower, upper = (
        [mpmath.gammainc(a, x, y, regularized=True) for a in (h, h + 1)] for x, y in ((0, u), (u, mpmath.inf))
    )
    return tuple(mpmath.log(p * g[0] + b * g[1]) for g in (lower, upper))


@pytest.mark.parametrize("bkw", [TWO, LATE, THREE, FOUR, FIVE], ids=["2d-0", "2d-half", "3d", "4d", "5d"])
@pytest.mark.parametrize("r", [1e-30, 1e-12, 1e-6, 1e-3, 0.3, 0.9, 2.0, 8.0, 26.0, 30.0, 100.0])
def test_flow_conserves_mass_to_rounding_error_from_the_core_to_far_out(bkw: Bkw, r: float) -> None:
    with mpmath.workdps(80):
        side, t = int(r > 1), bkw.t0 + 0.5
        y, h = mpmath.log(bkw.flow_radius(t, np.array([r]))[0]), mpmath.mpf(10) ** -15
        gap = log_masses(bkw, t, y)[side] - log_masses(bkw, bkw.t0, mpmath.log(r))[side]
        slope = (log_masses(bkw, t, y + h)[side] - log_masses(bkw, t, y - h)[side]) / (2 * h)
        assert abs(gap / slope) < 5e-13  # relative error of the radius


def test_the_empty_core_of_2d_is_squeezed_quadratically() -> None:
    small, smaller = TWO.flow_radius(5.0, np.array([1e-5, 1e-6]))
    assert small / smaller == pytest.approx(100, rel=1e-8)


@given(reals(0.01, 2.4), reals(0.01, 2.4), st.lists(reals(1e-6, 8), min_size=1, max_size=5))
def test_flow_is_a_two_parameter_group(first: float, second: float, radii: list[float]) -> None:
    r = np.array(radii)
    restarted = Bkw(2, 1 / 16, 0.5, first)
    assert restarted.flow_radius(first + second, TWO.flow_radius(first, r)) == pytest.approx(
        TWO.flow_radius(first + second, r), rel=1e-11
    )


@given(reals(0, 5), generators())
def test_flow_keeps_directions_and_order(t: float, rng: np.random.Generator) -> None:
    v = rng.normal(size=(50, 2)) * 2
    x = TWO.flow(t, v)
    assert v[:, 0] * x[:, 1] == pytest.approx(v[:, 1] * x[:, 0], abs=1e-12)
    assert np.array_equal(np.argsort(np.linalg.norm(v, axis=1)), np.argsort(np.linalg.norm(x, axis=1)))


def test_flow_is_the_identity_at_its_start_and_fixes_the_origin() -> None:
    v = np.array([[0.0, 0.0], [1.0, -2.0]])
    assert np.array_equal(TWO.flow(0.0, v), v)
    assert np.array_equal(TWO.flow(3.0, v)[0], [0.0, 0.0])


def test_what_is_not_a_number_stays_so() -> None:
    assert np.isnan(TWO.flow_radius(1.0, np.array([math.nan, 1.0]))).tolist() == [True, False]
    assert TWO.flow_radius(1.0, np.array([math.inf])) == math.inf


CASES = pytest.mark.parametrize(
    ("bkw", "t"), [(TWO, 0.3), (TWO, 5.0), (THREE, 5.6), (THREE, 6.0)], ids=lambda x: str(getattr(x, "d", x))
)


@CASES
def test_flow_jets_are_the_derivatives_of_the_flow(bkw: Bkw, t: float) -> None:
    v = np.linspace(0.2, 4, 12)[:, None] * directions(bkw, np.random.default_rng(5), 12)
    value, dt, jacobian, hessian = bkw.flow_jets(t, v)
    e, h = np.eye(bkw.d), 1e-3
    assert np.array_equal(value, bkw.flow(t, v))
    assert dt == pytest.approx(fourth_order(lambda s: bkw.flow(s, v), t, h), abs=1e-9)
    for j in range(bkw.d):
        first = fourth_order(along(lambda x: bkw.flow(t, x), v, e[j]), 0.0, h)
        second = fourth_order(along(lambda x: bkw.flow_jets(t, x)[2], v, e[j]), 0.0, h)
        assert jacobian[..., j] == pytest.approx(first, abs=1e-7)
        assert hessian[..., j] == pytest.approx(second, abs=1e-6)


@CASES
def test_pushforward_formula_with_the_jets_gives_density_and_score(bkw: Bkw, t: float) -> None:
    v = np.geomspace(1e-3, 9, 40)[:, None] * directions(bkw, np.random.default_rng(6), 40)
    value, dt, jacobian, hessian = bkw.flow_jets(t, v)
    inverse = np.linalg.inv(jacobian)
    grad_log_det = np.einsum("nji,nijk->nk", inverse, hessian)
    push = np.einsum("nji,nj->ni", inverse, bkw.score(bkw.t0, v) - grad_log_det)
    jets = FlowJets(value[None], dt[None], jacobian[None], hessian[None])
    log_f = bkw.log_density(t, value)
    for log_det in (np.linalg.slogdet(jacobian)[1], np.log(jets.det()[0])):
        assert log_f + log_det == pytest.approx(bkw.log_density(bkw.t0, v), rel=1e-10, abs=1e-9)
    for score in (push, jets.pushforward_score(bkw.score(bkw.t0, v))[0]):
        assert score == pytest.approx(bkw.score(t, value), rel=1e-6, abs=1e-6)


def test_jets_far_out_are_finite() -> None:
    value, _, jacobian, hessian = TWO.flow_jets(2.0, np.array([[60.0, 80.0]]))
    assert np.isfinite(hessian).all()
    assert np.linalg.norm(value) == pytest.approx(TWO.flow_radius(2.0, np.array(100.0)), rel=1e-14)
    assert (np.linalg.eigvalsh(jacobian) > 0).all()


# --- constants ---------------------------------------------------------------------------------------------------


def jacobian_extremes(field: Field, d: int) -> np.ndarray:
    """Eigenvalues of the gradient of a radial field along a ray (radial, tangential), by central differences."""
    r, h = np.concatenate([np.geomspace(1e-4, 1, 400), np.linspace(1, 8, 400)]), 1e-6
    x, e = r[:, None] * np.eye(d)[0], np.eye(d)
    steps = np.minimum(h, r / 10)[:, None]
    return np.stack([((field(x + steps * e[j]) - field(x - steps * e[j]))[:, j] / (2 * steps[:, 0])) for j in (0, 1)])


@pytest.mark.parametrize(
    ("bkw", "t"), [(TWO, 0.01), (TWO, 0.1), (TWO, 1.0), (TWO, 5.0), (THREE, 5.5), (THREE, 6.0)], ids=str
)
def test_lipschitz_constants_are_never_below_samples_and_attained(bkw: Bkw, t: float) -> None:
    score = jacobian_extremes(lambda x: bkw.score(t, x), bkw.d)
    drift = jacobian_extremes(lambda x: bkw.drift(t, x), bkw.d)
    for constant, sampled in (
        (bkw.score_lipschitz(t), np.abs(score).max()),
        (bkw.drift_lipschitz(t), np.abs(drift).max()),
        (bkw.drift_one_sided(t), drift.max()),
    ):
        assert sampled <= constant * (1 + 1e-5)
        assert sampled >= constant * (1 - 1e-3)


@pytest.mark.paper
@pytest.mark.parametrize(
    ("bkw", "t", "score", "drift", "one_sided"),
    [
        (TWO, 0.01, 797, 49.8, 6.3),
        (TWO, 0.1, 76.6, 4.85, 0.67),
        (TWO, 1.0, 4.93, 0.371, 0.102),
        (TWO, 5.0, 1.46, 0.029, 0.029),
        (THREE, 5.5, 1771, 148, 18.5),
        (THREE, 6.0, 5.67, 0.556, 0.124),
    ],
)
def test_tabulated_constants(bkw: Bkw, t: float, score: float, drift: float, one_sided: float) -> None:
    constants = bkw.score_lipschitz(t), bkw.drift_lipschitz(t), bkw.drift_one_sided(t)
    assert constants == pytest.approx((score, drift, one_sided), rel=0.02)


def test_score_is_singular_at_the_start_of_2d_and_not_integrably_so() -> None:
    assert TWO.score_lipschitz(0.0) == TWO.drift_lipschitz(0.0) == TWO.drift_one_sided(0.0) == math.inf
    assert [t * TWO.score_lipschitz(t) for t in (1e-6, 1e-8)] == pytest.approx([8, 8], rel=1e-4)
    assert [t * TWO.drift_lipschitz(t) for t in (1e-6, 1e-8)] == pytest.approx([1 / 2, 1 / 2], rel=1e-4)
    assert [t * TWO.drift_one_sided(t) for t in (1e-6, 1e-8)] == pytest.approx([1 / 16, 1 / 16], rel=1e-4)
    v = np.array([[1e-3, 0.0]])
    assert TWO.score(0.0, v) == pytest.approx(2 * v / 1e-6 - 2 * v)
    assert TWO.log_density(0.0, np.zeros((1, 2))) == -math.inf


def test_exponentials_of_the_integrated_drift_constants() -> None:
    def growth(f: Callable[[float], float], a: float, b: float) -> float:
        return math.exp(quad(lambda x: f(math.exp(x)) * math.exp(x), math.log(a), math.log(b))[0])

    assert growth(TWO.drift_lipschitz, 0.01, 5) == pytest.approx(13.2, rel=0.01)
    assert growth(TWO.drift_one_sided, 0.01, 5) == pytest.approx(1.71, rel=0.01)
    assert growth(THREE.drift_lipschitz, 5.5, 6) == pytest.approx(5.7, rel=0.01)


def test_a_negative_density_is_refused() -> None:
    with pytest.raises(ValueError, match="start later"):
        Bkw(3, 1 / 24, 1.0, 5.4977)
    assert Bkw(3, 1 / 24, 1.0, 5.4978).coefficients(5.4978)[1] > 0


# --- moments and sampling ----------------------------------------------------------------------------------------


@given(st.sampled_from([TWO, THREE]), reals(0, 1), reals(0, 6), st.integers(0, 6))
def test_tail_moment_is_the_integral_it_stands_for(bkw: Bkw, after: float, radius: float, power: int) -> None:
    t = bkw.t0 + after
    area = 2 * math.pi if bkw.d == 2 else 4 * math.pi

    def integrand(r: float) -> float:
        x = np.array([[r] + [0.0] * (bkw.d - 1)])
        return float(area * r ** (bkw.d - 1 + power) * np.exp(bkw.log_density(t, x)[0]))

    truth = sum(quad(integrand, radius + a, radius + b, epsabs=0)[0] for a, b in ((1e-12, 2), (2, 5), (5, 12)))
    assert bkw.tail_moment(t, radius, power) == pytest.approx(truth, rel=1e-7)


@BOTH
@pytest.mark.parametrize("after", [0.0, 1.0])
def test_sampler_has_the_moments_of_the_density(bkw: Bkw, after: float) -> None:
    n, t = 200_000, bkw.t0 + after
    v = bkw.sample(t, n, np.random.default_rng(7))
    r2 = np.sum(v * v, axis=1)
    inside = np.mean(r2 < 1)
    k = bkw.coefficients(t)[0]
    for sample, truth in ((r2, bkw.d), (r2**2, bkw.d * (bkw.d + 2) * k * (2 - k)), *((c, 0) for c in v.T)):
        assert abs(sample.mean() - truth) < 5 * sample.std() / math.sqrt(n)  # fails by chance once in a million
    assert abs(inside - bkw.radial_mass(t, np.array(1.0))[0]) < 5 * math.sqrt(inside * (1 - inside) / n)
    assert np.cov(v.T) == pytest.approx(np.eye(bkw.d), abs=0.02)


@BOTH
def test_masses_inside_and_outside_add_up(bkw: Bkw) -> None:
    inside, outside = bkw.radial_mass(bkw.t0 + 0.5, np.geomspace(1e-8, 20, 100))
    assert inside + outside == pytest.approx(np.ones(100), abs=1e-15)


@pytest.mark.parametrize("t", [0.0, 0.5, 5.0, 200.0])
def test_default_panels_reach_where_no_mass_is_left_and_resolve_an_empty_core(t: float) -> None:
    density = TWO.at(t)
    edges = density.radial_edges()
    assert edges[0] == 0
    assert (np.diff(edges) > 0).all()
    assert density.tail_moment(edges[-1], 0) < 1e-16
    assert (edges[1] < 0.05) == (t == 0)
