"""Every rule has the exactness it is known for, carries a coarser rule on its own nodes, and knows its error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy.special import i0

from tests.strategies import reals, waves
from theory.quadrature import K7, K15, Pair, Rule, bisect, on_panels, polar_rule, sphere_rule


def monomial(power: int) -> float:
    """Integral of x^power over [-1, 1]."""
    return 2 / (power + 1) if power % 2 == 0 else 0.0


PAIRS = pytest.mark.parametrize(("pair", "fine", "coarse"), [(K7, 11, 5), (K15, 23, 13)], ids=["K7", "K15"])


@PAIRS
def test_kronrod_pairs_are_exact_to_their_degree_and_no_further(pair: Pair, fine: int, coarse: int) -> None:
    for weights, degree in ((pair.fine, fine), (pair.coarse, coarse)):
        assert all(weights @ pair.nodes**k == pytest.approx(monomial(k), abs=3e-16) for k in range(degree + 1))
        assert abs(weights @ pair.nodes ** (degree + 1) - monomial(degree + 1)) > 1e-9


@PAIRS
def test_the_coarse_rule_is_gauss_on_a_subset_of_the_nodes(pair: Pair, fine: int, coarse: int) -> None:
    nodes, weights = leggauss((coarse + 1) // 2)
    used = pair.coarse > 0
    assert pair.nodes[used] == pytest.approx(nodes, abs=1e-15)
    assert pair.coarse[used] == pytest.approx(weights, abs=1e-15)
    assert (np.diff(pair.nodes) > 0).all()
    assert (pair.fine > 0).all()
    assert fine > coarse


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.0], [1.0, 0.0], [0.0, math.nan], [[0.0, 1.0]]])
def test_edges_that_do_not_increase_are_refused(edges: list) -> None:
    with pytest.raises(ValueError, match="increase strictly"):
        on_panels(K15, np.array(edges))


@pytest.mark.parametrize(("coarse", "order", "panels"), [(False, 12, (14, 16, 18)), (True, 6, (16, 32, 64))])
def test_composite_k7_converges_with_the_order_of_its_degree(coarse: bool, order: int, panels: tuple) -> None:
    errors = []
    for n in panels:
        nodes, *weights = on_panels(K7, np.linspace(0, 4, n + 1))
        errors.append(abs(math.fsum((weights[coarse] * np.cos(9 * nodes)).ravel()) - math.sin(36) / 9))
    observed = np.diff(np.log(errors)) / -np.diff(np.log(panels))
    assert ((observed >= order - 0.15) & (observed <= order + 0.5)).all()  # from above: next term of the expansion
    assert errors[-1] < 1e-7


@given(waves(-2, 2), st.integers(2, 12), reals(0.1, 3))
def test_error_estimate_of_a_time_panel_covers_the_true_error(wave, panels: int, length: float) -> None:
    nodes, fine, coarse = on_panels(K7, np.linspace(0, length, panels + 1))
    value, estimate = np.sum(fine * wave(nodes)), np.abs(np.sum((fine - coarse) * wave(nodes), axis=1)).sum()
    assert abs(value - wave.primitive(length)) <= estimate + 1e-14 * (1 + length)


@pytest.mark.parametrize(("d", "area"), [(2, 2 * math.pi), (3, 4 * math.pi)])
@pytest.mark.parametrize("angles", [8, 12, 32])
def test_sphere_rules_have_the_area_and_moments_of_the_sphere(d: int, area: float, angles: int) -> None:
    nodes, fine, coarse = sphere_rule(d, angles)
    assert np.linalg.norm(nodes, axis=1) == pytest.approx(np.ones(len(nodes)), abs=1e-15)
    for weights in (fine, coarse):
        assert weights.sum() == pytest.approx(area, rel=1e-14)
        assert weights @ nodes == pytest.approx(np.zeros(d), abs=1e-14)
        assert (weights[:, None] * nodes).T @ nodes == pytest.approx(area / d * np.eye(d), abs=1e-14)


@pytest.mark.parametrize("axis", [k * math.pi / 4 for k in range(8)])
@pytest.mark.parametrize(("angles", "steepness"), [(8, 3.0), (12, 5.0), (16, 8.0), (32, 20.0)])
@pytest.mark.parametrize("d", [2, 3])
def test_angular_error_is_seen_for_integrands_symmetric_about_an_axis(
    d: int, angles: int, steepness: float, axis: float
) -> None:
    nodes, fine, coarse = sphere_rule(d, angles)
    value = np.exp(steepness * (nodes[:, :2] @ [math.cos(axis), math.sin(axis)]))
    truth = 2 * math.pi * i0(steepness) if d == 2 else 4 * math.pi * math.sinh(steepness) / steepness
    estimate = abs((fine - coarse) @ value)
    assert abs(fine @ value - truth) <= estimate
    assert estimate > 1e-6 * truth


@pytest.mark.parametrize("angles", [2, 7])
def test_an_odd_or_tiny_number_of_angles_is_refused(angles: int) -> None:
    with pytest.raises(ValueError, match="even and at least 4"):
        sphere_rule(2, angles)


def gaussian_rule(d: int, edges: np.ndarray, angles: int = 8, shift: float = 0.0) -> Rule:
    def density(v: np.ndarray) -> np.ndarray:
        return np.exp(-np.sum((v - shift) ** 2, axis=1) / 2) / (2 * math.pi) ** (d / 2)

    return polar_rule(density, np.full(d, shift), edges, angles)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_polar_rule_integrates_a_gaussian_wherever_it_sits(d: int, shift: float) -> None:
    rule = gaussian_rule(d, np.array([0, 1, 2, 3, 4.5, 9.0]), shift=shift)
    r2 = np.sum((rule.nodes - shift) ** 2, axis=1)
    for value, truth in ((np.ones_like(r2), 1), (r2, d), (r2**2, d * (d + 2))):
        integral, error = rule.integrate(value)
        assert integral == pytest.approx(truth, rel=1e-12)
        assert error <= 1e-3 * truth
    assert rule.radius == 9.0


def test_the_coarse_weights_vanish_off_a_proper_subset_of_the_nodes() -> None:
    rule = gaussian_rule(3, np.array([0, 1, 3.0]))
    assert 0.05 < np.mean(rule.coarse > 0) < 0.5
    assert rule.weights.shape == rule.coarse.shape == rule.panel.shape == (len(rule.nodes),)


def rough(v: np.ndarray) -> np.ndarray:
    return np.exp(-20 * np.linalg.norm(v, axis=1)) * (1 + np.cos(3 * np.arctan2(v[:, 1], v[:, 0])))


def test_panel_errors_name_the_panel_to_refine_and_cover_the_estimate() -> None:
    edges = np.array([0.0, 2.0, 4.0, 8.0])
    rule = gaussian_rule(2, edges, 32)
    errors = rule.panel_errors(rough(rule.nodes))
    value, estimate = rule.integrate(rough(rule.nodes))
    assert errors.argmax() == 0
    assert estimate <= errors.sum() * (1 + 1e-12)
    assert estimate == pytest.approx(abs(value - rule.coarse @ rough(rule.nodes)), rel=1e-12)


def test_bisecting_the_worst_panel_reduces_estimate_and_error_to_the_truth() -> None:
    from scipy.integrate import quad

    truth = quad(lambda r: r * math.exp(-20 * r - r * r / 2), 0, 8, epsabs=0, epsrel=1e-13, points=[0.1])[0]
    edges = np.array([0.0, 2.0, 4.0, 8.0])
    estimates, errors = [], []
    for _ in range(6):
        rule = gaussian_rule(2, edges, 32)
        value, estimate = rule.integrate(rough(rule.nodes))
        errors.append(abs(value - truth))
        estimates.append(estimate)
        assert errors[-1] <= estimate + 1e-15
        edges = bisect(edges, [int(rule.panel_errors(rough(rule.nodes)).argmax())])
    assert estimates[-1] < 1e-6 * estimates[0]
    assert errors[-1] < 1e-14


def test_bisect_halves_only_the_named_panels() -> None:
    assert bisect(np.array([0.0, 1.0, 3.0]), [1]).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert bisect(np.array([0.0, 1.0]), []).tolist() == [0.0, 1.0]


def test_errors_of_different_panels_cannot_cancel() -> None:
    rule = polar_rule(lambda v: np.exp(-np.sum(v * v, axis=1) / 2) / (2 * np.pi), np.zeros(2), np.linspace(0, 8, 6), 8)
    values = np.cos(9 * rule.nodes[:, 0])
    total, error = rule.integrate(values)
    assert total == pytest.approx(values @ rule.weights)
    assert error == pytest.approx(rule.panel_errors(values).sum())
    assert error > abs(values @ (rule.weights - rule.coarse))
