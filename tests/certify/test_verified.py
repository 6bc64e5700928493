"""Verified bounds of networks: they hold at every point tried, they are tight, and planted faults are caught."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest

from certify.verified import activations, network, product, search
from certify.verified.activations import CRITICAL, JETS, PAD, extremes, supremum
from certify.verified.fields import bkw_jacobian, coordinates, drift_jacobian, moments_of, slab_moments, stacked
from certify.verified.network import enclose, time_box, time_features
from certify.verified.product import second_derivative_product, spectral_product, verified_norm
from certify.verified.score import Path, Question, bounds, box_cost
from certify.verified.search import Ball, blocks_of
from certify.verified.taylor import Taylor, log_norm, log_norm_bound, norm_bound, spectral_norm, variables
from tests.runs import linear_perceptron, random_perceptron
from theory.bkw import Bkw
from theory.drift import pair_drift
from theory.kernels import Kernel, maxwell
from theory.perceptron import Perceptron
from theory.provenance import Array

POINTS = 64
# evaluation of the networks and fields at points is itself rounded
ROUNDING = 1e-11
BKW = Bkw(2, 1 / 16, 0.5, 0.5)


def points_of(rng: np.random.Generator, boxes: int, n: int) -> Array:
    """Points of [-1, 1]^n, some of them corners, (boxes, POINTS, n)."""
    xi = rng.uniform(-1, 1, (boxes, POINTS, n))
    xi[:, : POINTS // 4] = np.sign(xi[:, : POINTS // 4])
    return xi


def excess(models: Taylor, truth: Array, xi: Array) -> float:
    """How far values (B, POINTS, ...) at xi (B, POINTS, n) leave their enclosures, relative to their size."""
    extra = truth.ndim - 2
    wide = Taylor(models.c[:, None], models.l[:, None], models.q[:, None], models.r[:, None])
    value = wide.at(xi.reshape(*xi.shape[:2], *(1,) * extra, xi.shape[-1]))
    size = 1 + np.abs(truth) + wide.spread
    return float(np.max((np.abs(truth - value) - wide.r) / size))


def random_boxes(rng: np.random.Generator, d: int, boxes: int) -> tuple[Array, Array, Array]:
    """Time boxes (B, 2), centres and half-widths (B, d) of all sizes."""
    low = rng.uniform(0, 1, boxes)
    times = time_box(low, np.minimum(1, low + rng.uniform(0, 0.5, boxes) * (rng.random(boxes) < 0.8)))
    return times, rng.uniform(-4, 4, (boxes, d)), 10.0 ** rng.uniform(-3, 0.5, (boxes, 1)) * np.ones((boxes, d))


def network_excess(net: Perceptron, rng: np.random.Generator, boxes: int = 6) -> float:
    """Largest violation by value, Jacobian, their norms or the global products, at points of random boxes."""
    times, centre, half = random_boxes(rng, net.d, boxes)
    found = enclose(net, centre, half, time_features(net, times))
    xi = points_of(rng, boxes, net.d + 1)
    t = (times[:, :1] + times[:, 1:] * xi[..., 0]).ravel()
    x = (centre[:, None] + half[:, None] * xi[..., 1:]).reshape(-1, 1, net.d)
    value, jacobian = (a[:, 0].reshape(boxes, POINTS, *a.shape[2:]) for a in net.with_jacobian(t, x))
    worst = [excess(found.value, value, xi), excess(found.jacobian, jacobian, xi)]
    norms, logs = spectral_norm(jacobian).max(1), log_norm(jacobian).max(1)
    upper = np.minimum(norm_bound(found.jacobian), spectral_product(path_of(net)))
    worst += [float(np.max((norms - upper) / (1 + norms)))]
    worst += [float(np.max((logs - log_norm_bound(found.jacobian)) / (1 + norms)))]
    return max(worst)


def path_of(net: Perceptron) -> tuple[tuple[Array, float], ...]:
    *inner, (last, _) = net.path()
    return (*((w, supremum(net.activation, 1)) for w, _ in inner), (last, 1.0))


@pytest.mark.parametrize("start", range(0, 1000, 250))
def test_no_enclosure_of_a_thousand_random_networks_misses_a_point(start: int) -> None:
    for number in range(start, start + 250):
        rng = np.random.default_rng([7, number])
        net = random_perceptron(rng, 2 + number % 2, 10 ** rng.uniform(-1, 0.7))
        assert network_excess(net, rng) <= ROUNDING, number


@pytest.mark.parametrize("start", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (250, 500, 750))])
def test_no_bound_over_the_ball_of_a_thousand_random_networks_is_below_a_value_seen(start: int) -> None:
    for number in range(start, start + 250):
        rng = np.random.default_rng([8, number])
        d = 2 + number % 2
        net = random_perceptron(rng, d, 10 ** rng.uniform(-1, 0.5))
        radius = 10 ** rng.uniform(-1, 1)
        question = Question(net, np.array([0.0, 0.3, 1.0]), Ball(np.zeros(d), radius), spectral_product(path_of(net)))
        upper, lower, found = bounds(question, work=60 * box_cost(net))
        t = np.concatenate([rng.uniform(0, 0.3, 8), rng.uniform(0.3, 1, 8)])
        x = rng.standard_normal((16, 40, d))
        x *= radius * rng.random((16, 40, 1)) ** (1 / d) / np.linalg.norm(x, axis=-1, keepdims=True)
        value, jacobian = net.with_jacobian(t, x)
        oscillation = np.linalg.norm(value[:, :, None] - value[:, None], axis=-1).max((1, 2))
        seen = {"lipschitz": spectral_norm(jacobian).max(1), "log_norm": log_norm(jacobian).max(1)}
        seen["deviation"] = oscillation / 2
        for name, sizes in seen.items():
            per_panel = np.array([sizes[:8].max(), sizes[8:].max()])
            slack = ROUNDING * (1 + np.abs(per_panel) + upper["lipschitz"])
            assert (per_panel <= upper[name] + slack).all(), (number, name)
            assert (lower[name] <= upper[name] + slack).all(), (number, name)
        assert found.boxes <= 60


def faulty(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Plant a fault."""
    if name == "peak of silu' left out":
        monkeypatch.setitem(activations.CRITICAL, "silu", (CRITICAL["silu"][0], (), *CRITICAL["silu"][2:]))
    elif name == "minimum of silu left out":
        monkeypatch.setitem(activations.CRITICAL, "silu", ((), *CRITICAL["silu"][1:]))
    elif name == "derivatives of the remainder at the ends only":
        monkeypatch.setitem(activations.CRITICAL, "silu", (*CRITICAL["silu"][:3], (), ()))
        monkeypatch.setitem(activations.CRITICAL, "tanh", (*CRITICAL["tanh"][:3], (), ()))
    elif name == "error of the value forgotten in the slope":
        sweep = network._sweep

        def without(layers: Any, kept: Any, *rest: Any) -> Any:
            return sweep(layers, [x._replace(bend=np.zeros_like(x.bend)) for x in kept], *rest)

        monkeypatch.setattr(network, "_sweep", without)
    elif name == "local error of the slope forgotten":
        sweep = network._sweep

        def lighter(layers: Any, kept: Any, *rest: Any) -> Any:
            return sweep(layers, [x._replace(new_tangent=0 * x.new_tangent) for x in kept], *rest)

        monkeypatch.setattr(network, "_sweep", lighter)
    elif name == "remainder of time forgotten":
        monkeypatch.setattr(network, "_affine", lambda m, w, b: replace(AFFINE(m, w, b), r=0 * m.r.sum(-1)[:, None]))
    else:
        raise AssertionError(name)


AFFINE = network._affine
FAULTS = (
    "peak of silu' left out",
    "minimum of silu left out",
    "derivatives of the remainder at the ends only",
    "error of the value forgotten in the slope",
    "local error of the slope forgotten",
    "remainder of time forgotten",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught_by_the_points(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def caught() -> bool:
        for number in range(200):
            rng = np.random.default_rng([7, number])
            if network_excess(random_perceptron(rng, 2 + number % 2, 10 ** rng.uniform(-1, 0.7)), rng) > ROUNDING:
                return True
        return False

    faulty(monkeypatch, fault)
    assert caught()


def derivative(name: str, order: int, x: float) -> float:
    """The derivative to 30 digits."""
    with mpmath.workdps(60):
        f = (lambda z: z / (1 + mpmath.exp(-z))) if name == "silu" else mpmath.tanh
        return float(mpmath.diff(f, mpmath.mpf(x), order)) if order else float(f(mpmath.mpf(x)))


@pytest.mark.parametrize("name", ["silu", "tanh"])
def test_activation_derivatives_agree_with_sixty_digits_to_a_tenth_of_the_allowance(name: str) -> None:
    x = np.concatenate([np.linspace(-12, 12, 60), [-745.0, -40.0, 0.0, 1e-9, 40.0, 800.0]])
    for order, values in enumerate(JETS[name](x)):
        assert np.isfinite(values).all()
        true = np.array([derivative(name, order, float(a)) if abs(a) < 50 else math.nan for a in x])
        known = np.isfinite(true)
        allowance = PAD / 10 if order else 4 * 2.0**-53 * np.abs(x[known])
        assert (np.abs(values - true)[known] <= allowance).all()


@pytest.mark.parametrize("name", ["silu", "tanh"])
def test_ranges_of_activation_derivatives_contain_dense_samples_and_are_attained(name: str) -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform(-8, 6, 300)
    high = low + 10 ** rng.uniform(-3, 1, 300)
    x = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 2001)
    sampled = JETS[name](x)
    for order in range(5):
        least, largest = extremes(name, order, low, high, JETS[name](low)[order], JETS[name](high)[order])
        inside = sampled[order]
        assert (least <= inside.min(1)).all()
        assert (inside.max(1) <= largest).all()
        fine = high - low < 1
        assert (largest - inside.max(1))[fine].max() < 1e-5
        assert (inside.min(1) - least)[fine].max() < 1e-5


def test_suprema_of_activation_derivatives() -> None:
    assert supremum("silu", 1) == pytest.approx(1.0998393202)
    assert supremum("silu", 2) == pytest.approx(0.5)
    assert supremum("silu", 4) == pytest.approx(0.5)
    assert supremum("tanh", 1) == pytest.approx(1)
    assert supremum("tanh", 2) == pytest.approx(4 / (3 * math.sqrt(3)))
    assert supremum("tanh", 3) == pytest.approx(2)


def random_models(rng: np.random.Generator, batch: int, n: int) -> Taylor:
    size = 10 ** rng.uniform(-3, 0, (batch, 1))
    m = n * (n + 1) // 2
    linear, quadratic = size * rng.standard_normal((batch, n)), size * rng.standard_normal((batch, m))
    return Taylor(rng.standard_normal(batch), linear, quadratic, 0.1 * size[:, 0] * rng.random(batch))


def test_arithmetic_of_models_contains_the_results_at_points() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        a, b = random_models(rng, 20, 3), random_models(rng, 20, 3)
        positive = a + (a.spread + np.abs(a.c) + 0.1)
        xi = points_of(rng, 20, 3)
        ya, yb, yp = (
            Taylor(m.c[:, None], m.l[:, None], m.q[:, None], m.r[:, None]).at(xi)
            + m.r[:, None] * rng.uniform(-1, 1, (20, POINTS))
            for m in (a, b, positive)
        )
        assert excess(a * b, ya * yb, xi) <= ROUNDING
        assert excess(a - b, ya - yb, xi) <= ROUNDING
        assert excess(positive.reciprocal(), 1 / yp, xi) <= ROUNDING
        assert excess(a.exp(), np.exp(ya), xi) <= ROUNDING
        assert excess(a.scaled(-2.5), -2.5 * ya, xi) <= ROUNDING


def test_rounding_of_a_long_product_stays_inside_against_exact_fractions() -> None:
    rng = np.random.default_rng(3)
    model = variables(np.array([[0.1]]), np.array([[1e-9]]))[:, 0]
    true, power = Fraction(0.1), model
    low, high = [true - Fraction(1e-9)], [true + Fraction(1e-9)]
    for _ in range(200):
        factor = float(rng.uniform(0.9, 1.1))
        power = (power * model).scaled(factor) + 0.1
        low.append(low[-1] * low[0] * Fraction(factor) + Fraction(0.1))
        high.append(high[-1] * high[0] * Fraction(factor) + Fraction(0.1))
    for xi, value in ((-1.0, low[-1]), (1.0, high[-1])):
        error = Fraction(float(power.at(np.array([[xi]]))[0])) - value
        assert abs(error) <= Fraction(float(power.r[0])) < 1e-12


def test_the_zero_network_has_zero_constants() -> None:
    net = linear_perceptron(np.zeros((2, 2)), 0.0, 1.0)
    question = Question(net, np.array([0.0, 1.0]), Ball(np.zeros(2), 5.0), spectral_product(path_of(net)))
    upper, _, found = bounds(question, work=500 * box_cost(net))
    assert found.reached
    assert 0 <= upper["lipschitz"][0] < 1e-9
    assert abs(upper["log_norm"][0]) < 1e-9
    assert upper["deviation"][0] < 1e-9
    assert second_derivative_product(net) == 0


def test_a_linear_network_has_the_constants_of_its_matrix() -> None:
    matrix = np.array([[-2.0, 1.5], [0.5, -1.0]])
    net = linear_perceptron(matrix, 0.0, 1.0)
    x = np.random.default_rng(0).standard_normal((1, 50, 2))
    assert net(np.zeros(1), x) == pytest.approx(x @ matrix.T)
    norm = float(np.linalg.norm(matrix, 2))
    top = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1])
    assert top < 0
    question = Question(net, np.array([0.0, 0.5, 1.0]), Ball(np.zeros(2), 2.0), spectral_product(path_of(net)))
    upper, lower, _ = bounds(question, work=3000 * box_cost(net), gap=0.001)
    for name, true, off in (("lipschitz", norm, 1e-3), ("log_norm", top, 1e-3), ("deviation", 2.0 * norm, 0.25)):
        assert (upper[name] >= true - 1e-12).all()
        assert (lower[name] <= true + 1e-12).all()
        assert upper[name] == pytest.approx(true, abs=off * norm)
    assert spectral_product(path_of(net)) > 5 * norm


def small_question(number: int, edges: Array, radius: float = 2.0) -> Question:
    net = random_perceptron(np.random.default_rng([9, number]), 2)
    return Question(net, edges, Ball(np.zeros(2), radius), spectral_product(path_of(net)))


@pytest.mark.parametrize("number", range(5))
def test_more_work_never_gives_a_larger_bound(number: int) -> None:
    question = small_question(number, np.linspace(0, 1, 5))
    cost = box_cost(question.net)
    coarse, fine = (bounds(question, work=boxes * cost, gap=1e-4)[0] for boxes in (1500, 4000))
    for name, value in fine.items():
        assert (value <= coarse[name]).all()


@pytest.mark.parametrize("number", range(5))
def test_bounds_are_resolved_in_time(number: int) -> None:
    panels, one = small_question(number, np.linspace(0, 1, 6)), small_question(number, np.array([0.0, 1.0]))
    work = 6000 * box_cost(one.net)
    (parts, seen, _), (whole, _, _) = bounds(panels, work=work), bounds(one, work=work)
    # a panel's supremum is at most the window's, and together the panels are the window
    assert (seen["lipschitz"] <= whole["lipschitz"]).all()
    assert (parts["lipschitz"] <= whole["lipschitz"] * 1.06).all()
    assert parts["lipschitz"].max() == pytest.approx(float(whole["lipschitz"][0]), rel=0.06)
    assert parts["lipschitz"] == pytest.approx(seen["lipschitz"], rel=0.3)


def test_leaves_cover_the_ball_after_many_splits() -> None:
    rng = np.random.default_rng(4)
    for d in (2, 3):
        ball = Ball(rng.standard_normal(d), 2.5)
        blocks = blocks_of(np.linspace(0, 1, 8), 3)
        block, centre, half = search._start(blocks, ball, 3)
        leaves = search._Leaves(block, centre, half, np.zeros((len(block), 1)), rng.random(len(block)))
        for _ in range(6):
            chosen = rng.permutation(len(leaves.block))[:20]
            b, c, h, _ = search._split(leaves.take(chosen), blocks, ball)
            rest = np.setdiff1d(np.arange(len(leaves.block)), chosen)
            new = search._Leaves(b, c, h, np.zeros((len(b), 1)), rng.random(len(b)))
            leaves = leaves.take(rest).joined(new)
        contains = blocks.contains(7)[leaves.block]
        x = rng.standard_normal((300, d))
        x *= 2.5 * rng.random((300, 1)) ** (1 / d) / np.linalg.norm(x, axis=1, keepdims=True)
        for point in x + ball.middle:
            over = (np.abs(leaves.centre - point) <= leaves.half).all(1)
            assert contains[over].any(0).all()


def test_blocks_that_share_a_time_share_their_reference() -> None:
    blocks = blocks_of(np.linspace(0, 1, 8), 3)
    root = blocks.root()
    assert (blocks.first[blocks.roots[root]] <= blocks.first).all()
    assert (blocks.last <= blocks.last[blocks.roots[root]]).all()
    children = blocks.children
    inner = children[:, 0] >= 0
    assert (root[children[inner]] == root[inner][:, None]).all()
    assert (blocks.times[children[inner][:, 0], 0] == blocks.times[inner, 0]).all()
    assert (blocks.times[children[inner][:, 0], 1] == blocks.times[children[inner][:, 1], 0]).all()
    assert (blocks.times[children[inner][:, 1], 1] == blocks.times[inner, 1]).all()


def difference_jacobian(field: Any, x: Array, step: float = 1e-5) -> Array:
    """Central differences of a field of (n, d) -> (n, d): (n, d, d), error of order step^2."""
    columns = [(field(x + e) - field(x - e)) / (2 * step) for e in step * np.eye(x.shape[1])]
    return np.stack(columns, -1)


@pytest.mark.parametrize("half", [0.3, 0.03])
def test_the_exact_scores_jacobian_lies_in_its_model(half: float) -> None:
    rng = np.random.default_rng(5)
    times = time_box(np.array([0.5, 1.0, 4.0]), np.array([0.6, 1.5, 5.0]))
    centre = rng.uniform(-3, 3, (3, 2))
    t, v = coordinates(times, centre, np.full((3, 2), half))
    model = bkw_jacobian(BKW, t, v)
    xi = points_of(rng, 3, 3)
    true = np.empty((3, POINTS, 2, 2))
    for b in range(3):
        for k in range(POINTS):
            s, x = times[b, 0] + times[b, 1] * xi[b, k, 0], centre[b] + half * xi[b, k, 1:]
            true[b, k] = difference_jacobian(lambda y, s=s: BKW.score(s, y), x[None])[0]  # type: ignore[misc]
    assert excess(model, true, xi) <= 1e-7
    assert np.isfinite(model.r).all()


def test_a_singular_score_has_an_infinite_model_and_no_nan() -> None:
    start = Bkw(2, 1 / 16, 0.5, 0.0)
    times = time_box(np.zeros(2), np.array([0.1, 0.0]))
    t, v = coordinates(times, np.zeros((2, 2)), np.full((2, 2), 0.1))
    with np.errstate(invalid="ignore"):
        assert np.isinf(norm_bound(bkw_jacobian(start, t, v))).all()


def pair_sum(net: Perceptron, kernel: Kernel, t: float, x: Array, s: Array, y: Array) -> Array:
    """Learned drift of particles x with scores s at points y (n, d)."""
    everyone, scores = np.vstack([y, x]), np.vstack([net(np.array([t]), y[None])[0], s])
    weights = np.concatenate([np.zeros(len(y)), np.full(len(x), 1 / len(x))])
    return np.asarray(pair_drift(kernel, everyone, scores, weights))[: len(y)]


def test_the_learned_drifts_jacobian_agrees_with_the_pair_sum() -> None:
    rng = np.random.default_rng(6)
    for d in (2, 3):
        net, strength = random_perceptron(rng, d), 0.3
        times, nodes = time_box(np.array([0.2]), np.array([0.22])), np.array([0.2, 0.207, 0.219])
        x = (rng.standard_normal((30, d)) * 1.3 + 0.4) * (1 + nodes)[:, None, None]
        s = net(nodes, x)
        moments = stacked([slab_moments(nodes, times[0], moments_of(x, s))])
        centre, half = rng.uniform(-2, 2, (1, d)), np.full((1, d), 0.02)
        features = time_features(net, times)
        found = enclose(net, centre, half, features)
        _, v = coordinates(times, centre, half)
        model = drift_jacobian(strength, v, found.value, found.jacobian, moments)
        kernel = maxwell(d, strength)
        for k, t in enumerate(nodes):
            xi = points_of(rng, 1, d + 1)
            xi[..., 0] = (t - times[0, 0]) / times[0, 1]
            at = centre + half * xi[0, :, 1:]

            field = partial(pair_sum, net, kernel, t, x[k], s[k])
            true = difference_jacobian(field, at)[None]
            assert excess(model, true, xi) <= 1e-8
            assert np.abs(true).max() < 20 * (np.abs(model.c).max() + 1)
        assert model.r.max() < 0.1 * np.abs(model.c).max()


def test_the_joint_bound_of_the_error_is_far_below_the_sum() -> None:
    # a network that is the exact score of equilibrium, compared with BKW late, when it nearly is that
    late = Bkw(2, 1 / 16, 0.5, 30.0)
    net = linear_perceptron(-np.eye(2), 30.0, 40.0)
    x = np.random.default_rng(0).standard_normal((2, 20, 2))
    path = Path(np.array([[32.0, 38.0]]), x[None], -x[None])
    question = Question(
        net, np.array([30.0, 40.0]), Ball(np.zeros(2), 2.0), spectral_product(path_of(net)), late, 1 / 16, path
    )
    upper, _, _ = bounds(question, work=4000 * box_cost(net))
    points = np.vstack([np.zeros((1, 2)), x[0] / np.maximum(1, np.linalg.norm(x[0], axis=1) / 2)[:, None]])
    true = spectral_norm(difference_jacobian(lambda y: late.score(30.0, y) + y, points)).max()
    assert true <= upper["error"][0] < 5 * true < 0.005
    assert upper["lipschitz"][0] < 1.1
    # A(v-w)(v-w) = 0: the drift at equilibrium vanishes, while Lemma 1 gives 4 C R^2 + 4 C R 2 R = 3
    assert upper["drift_lipschitz"][0] < 0.3


@pytest.mark.parametrize("d", [2, 3])
def test_the_second_derivative_product_bounds_second_differences(d: int) -> None:
    for number in range(100):
        rng = np.random.default_rng([10, number])
        net = random_perceptron(rng, d, 10 ** rng.uniform(-0.5, 0.5))
        bound, h = second_derivative_product(net), 1e-4
        t, x = rng.random(5), 2 * rng.standard_normal((5, 40, d))
        e = rng.standard_normal((5, 40, d))
        e /= np.linalg.norm(e, axis=-1, keepdims=True)
        ahead, behind = net.with_jacobian(t, x + h * e)[1], net.with_jacobian(t, x - h * e)[1]
        assert (spectral_norm((ahead - behind) / (2 * h)) <= bound * (1 + 1e-9) + 1e-7).all()


def test_half_the_curvature_of_silu_gives_a_bound_below_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    # one neuron a layer: silu is steepest in the first and bends most in the second
    peak = 2.3993572805154677
    one, shift = np.array([[1.0, 0.0]]), np.array([peak])
    value = peak / (1 + math.exp(-peak))
    net = Perceptron(
        velocity=((one, shift),),
        time=((np.zeros((1, 1)), np.zeros(1)),),
        fuse_velocity=(np.eye(1), np.array([-value])),
        fuse_time=np.zeros((1, 1)),
        hidden=(),
        output=(np.array([[1.0], [0.0]]), np.zeros(2)),
        activation="silu",
        t0=0.0,
        T=1.0,
    )
    h, x = 1e-4, np.zeros((1, 1, 2))
    step = np.array([h, 0.0])
    change = net.with_jacobian(np.zeros(1), x + step)[1] - net.with_jacobian(np.zeros(1), x - step)[1]
    seen = float(spectral_norm(change / (2 * h))[0, 0])
    assert seen == pytest.approx(0.5 * 1.0998393202**2, rel=1e-5)
    assert seen <= second_derivative_product(net)
    monkeypatch.setattr(product, "supremum", lambda name, order: supremum(name, order) / order)
    assert second_derivative_product(net) < seen


@pytest.mark.parametrize("d", [2, 3])
def test_a_network_that_overflows_has_infinite_bounds_and_no_nan(d: int) -> None:
    net = random_perceptron(np.random.default_rng(0), d, 1e120)
    question = Question(net, np.array([0.0, 1.0]), Ball(np.zeros(d), 1e3), np.inf)
    with np.errstate(all="ignore"):
        upper, _, _ = bounds(question, work=60 * box_cost(net))
    assert np.isposinf(upper["lipschitz"]).all()
    assert np.isposinf(upper["log_norm"]).all()


def test_the_norm_bounds_of_models_hold_and_verified_norm_of_a_scaled_orthogonal_matrix() -> None:
    rng = np.random.default_rng(11)
    for d in (2, 3):
        model = Taylor(
            rng.standard_normal((9, d, d)),
            0.3 * rng.standard_normal((9, d, d, d + 1)),
            0.1 * rng.standard_normal((9, d, d, (d + 1) * (d + 2) // 2)),
            0.05 * rng.random((9, d, d)),
        )
        xi = points_of(rng, 9, d + 1)
        wide = Taylor(*(x[:, None] for x in (model.c, model.l, model.q, model.r)))
        value = wide.at(xi[:, :, None, None]) + wide.r * rng.choice([-1.0, 1.0], (9, POINTS, d, d))
        assert (spectral_norm(value).max(1) <= norm_bound(model)).all()
        assert (log_norm(value).max(1) <= log_norm_bound(model)).all()
        assert spectral_norm(value) == pytest.approx(np.linalg.norm(value, 2, axis=(-2, -1)))
    assert verified_norm(3 * np.linalg.qr(rng.standard_normal((20, 20)))[0]) == pytest.approx(3)
