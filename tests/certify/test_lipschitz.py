"""Lipschitz constants of networks are upper bounds, tight on single matrices, and know SiLU's true slope."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certify.context import Context
from certify.estimators import constants, constants_sampled, lipschitz_boxes, lipschitz_sampled
from certify.estimators.lipschitz import (
    _outside,
    exact_score,
    ism_modulus,
    learned_score,
    spectral_product,
    verified_norm,
)
from certify.options import Options
from certify.run import Run
from certify.verified.score import WORK
from solver.jets import ACTIVATIONS, LIPSCHITZ, Layout, seed
from solver.networks import Window, build, build_score
from solver.run import TorchRun
from tests.runs import ScoredRun, exact_jets, linear_perceptron, random_perceptron
from tests.strategies import generators
from theory.perceptron import HasNetwork, Perceptron
from theory.problems import parse_problem
from theory.provenance import Estimate, Rigor, Side

SILU_PEAK = 2.3993572805154


def score_jacobian(net: Any, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Exact Jacobian of a score network, (m, n, d, d)."""
    layout = Layout(net.d, False, 1)
    jet = net.net(t, seed(x[None], layout), layout)
    return torch.stack([jet[layout.velocity(j)] for j in range(net.d)], dim=-1)


def product(net: Any) -> float:
    return spectral_product(tuple((w.numpy(), slope) for w, slope in net.velocity_path()))


@given(generators(), st.integers(1, 40), st.integers(1, 40), st.integers(-8, 8), st.integers(1, 40))
def test_the_verified_norm_is_an_upper_bound_within_a_millionth(
    rng: np.random.Generator, rows: int, columns: int, scale: int, rank: int
) -> None:
    w = 10.0**scale * (rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns)))
    true = float(np.linalg.norm(w, 2))
    assert true <= verified_norm(w) <= true * (1 + 1e-6)


def test_the_verified_norm_of_an_orthogonal_matrix_is_not_below_one() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 16, 128):
        q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        assert 1 <= verified_norm(q) <= 1 + 1e-6
    assert verified_norm(np.zeros((3, 4))) == 0


def test_the_recorded_slopes_of_the_activations_are_upper_bounds_and_attained() -> None:
    x = torch.linspace(-30, 30, 600_001, dtype=torch.float64)
    x = torch.cat([x, torch.linspace(SILU_PEAK - 1e-3, SILU_PEAK + 1e-3, 10_001, dtype=torch.float64)])
    for name, activation in ACTIVATIONS.items():
        steepest = float(activation(x)[1].abs().max())
        assert steepest <= LIPSCHITZ[name] <= steepest * (1 + 1e-9)


def test_leaving_out_the_slope_of_silu_would_give_a_constant_below_a_sampled_slope() -> None:
    shape = {"velocity_embedding": [1, 1], "time_embedding": [1, 1], "hidden": [1, 2], "activation": "silu"}
    score: Any = build_score(shape, 2, Window(0.0, 1.0)).double().requires_grad_(False)
    net, value = score.net, SILU_PEAK / (1 + np.exp(-SILU_PEAK))
    weights = {"velocity.0": ([[1.0, 0.0]], SILU_PEAK), "fuse_velocity": ([[1.0]], SILU_PEAK - value)}
    weights |= {"hidden.0": ([[1.0]], SILU_PEAK - value), "out": ([[1.0], [0.0]], 0.0)}
    for name, (weight, bias) in weights.items():  # every neuron sits where SiLU is steepest
        layer = net.get_submodule(name)
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.fill_(bias)
    net.fuse_time.weight.zero_()
    t, x = torch.zeros(1, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    slope = float(torch.linalg.matrix_norm(score_jacobian(score, t, x), 2))
    without = spectral_product(tuple((w.numpy(), 1.0) for w, _ in score.velocity_path()))
    assert without == pytest.approx(1.0)
    assert without < slope <= product(score) <= slope * (1 + 1e-6)


@pytest.mark.parametrize("d", [2, 3])
def test_spectral_products_are_at_least_the_sampled_slopes_of_random_nets(d: int) -> None:
    t = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    for number in range(10):
        torch.manual_seed(number)
        shape = {"velocity_embedding": [8, 1 + number % 2], "time_embedding": [6, 1], "hidden": [8, 1 + number % 3]}
        activation = "silu" if number % 4 else "tanh"
        score: Any = build_score(shape | {"activation": activation}, d, Window(0.0, 1.0)).double().requires_grad_(False)
        for p in score.parameters():
            p.mul_(1 + number % 5)
        sampled = torch.linalg.matrix_norm(score_jacobian(score, t, 3 * torch.randn(300, d, dtype=torch.float64)), 2)
        assert 0 < sampled.max() <= product(score)


def torch_run(number: int, d: int) -> TorchRun:
    shape: dict[str, Any] = {"velocity_embedding": [5, 1 + number % 2], "time_embedding": [4, 1], "hidden": [6, 2]}
    shape = shape | {"activation": "silu" if number % 2 else "tanh"}
    torch.manual_seed(number)
    architecture = {"flow": {"kind": "free", **shape}, "score": shape}
    nets = build(architecture, d, Window(0.5, 3.0))
    metadata = {"d": d, "t0": "1/2", "T": "3", "architecture": architecture}
    return TorchRun("net", metadata, {k: n.state_dict() for k, n in nets.items()})


@pytest.mark.parametrize("d", [2, 3])
def test_the_weights_a_run_shows_are_those_of_its_score(d: int) -> None:
    for number in range(4):
        run = torch_run(number, d)
        net = run.network("score")
        assert isinstance(run, HasNetwork)
        assert isinstance(run, Run)
        assert net is not None
        assert run.network("flow") is None
        t = np.linspace(0.5, 3, 4)
        x = 3 * np.random.default_rng(number).standard_normal((4, 30, d))
        value, jacobian = net.with_jacobian(t, x)
        score, divergence = run.score(t, x), run.score_divergence(t, x)
        assert score is not None
        assert divergence is not None
        assert value == pytest.approx(score, abs=1e-13)
        assert net(t, x) == pytest.approx(score, abs=1e-13)
        assert np.einsum("mnii->mn", jacobian) == pytest.approx(divergence, abs=1e-12)


@pytest.fixture
def _little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORK, True, 1.5e9)


def context_of(net: Perceptron, spec: str = "bkw2d:t0=1/2", **options: Any) -> Context:
    problem = parse_problem(spec)
    run = ScoredRun(problem, exact_jets(problem), "exact flow with a network", net)
    chosen = Options(times=3, samples=40, radius=3.0, quick=True, **options)
    return Context(run, problem, float(problem.t0), chosen)


def random_score(number: int, spec: str = "bkw2d:t0=1/2") -> Context:
    problem = parse_problem(spec)
    net = random_perceptron(np.random.default_rng([12, number]), problem.d)
    return context_of(replace(net, t0=float(problem.t0), T=float(problem.T)), spec)


def everything(context: Context) -> dict[str, Estimate]:
    out: dict[str, Estimate] = {}
    parts = (exact_score, learned_score, ism_modulus, lipschitz_boxes.compute, lipschitz_boxes.exact_drift)
    for part in (*parts, lipschitz_sampled.compute, constants_sampled.compute, constants.compute):
        out |= part(context)
    return out


# a lower value by its name, the upper values it must not exceed
PAIRS = {
    "kernel_bound_sampled": ("kernel_bound",),
    "kernel_lipschitz_sampled": ("kernel_lipschitz",),
    "score_lipschitz_sampled": ("score_lipschitz",),
    "score_oscillation_sampled": ("score_oscillation",),
    "learned_score_lipschitz_sampled": ("learned_score_lipschitz_spectral",),
    "learned_score_oscillation_sampled": ("learned_score_oscillation",),
    "learned_score_lipschitz_ball_sampled": (
        "learned_score_lipschitz",
        "learned_score_lipschitz_boxes",
        "learned_score_lipschitz_spectral",
    ),
    "learned_score_log_norm_sampled": ("learned_score_log_norm", "learned_score_lipschitz"),
    "error_lipschitz_ball_sampled": ("error_lipschitz",),
    "learned_drift_lipschitz_sampled": ("learned_drift_lipschitz",),
    "learned_drift_log_norm_sampled": ("learned_drift_log_norm", "learned_drift_lipschitz"),
}


@pytest.mark.usefixtures("_little_work")
@pytest.mark.parametrize("spec", ["bkw2d:t0=1/2", "bkw3d:t0=23/4"])
def test_no_lower_value_exceeds_an_upper_value_of_the_same_constant(spec: str) -> None:
    for number in range(3):
        found = everything(random_score(number, spec))
        for low, uppers in PAIRS.items():
            assert found[low].side is Side.LOWER
            assert found[low].rigor is Rigor.SAMPLED
            for high in uppers:
                assert found[high].side in (Side.UPPER, Side.BOTH)
                assert found[high].rigor >= Rigor.VERIFIED
                assert (np.asarray(found[low].value) <= np.asarray(found[high].value)).all(), (number, low, high)
        inside = np.linalg.norm(random_score(number, spec).particles, axis=1).max() <= 3.0
        if inside:
            assert found["learned_score_lipschitz_sampled"].largest() <= found["learned_score_lipschitz"].largest()
        composed = found["kernel_bound"].largest() * found["learned_score_lipschitz"].largest()
        composed += found["kernel_lipschitz"].largest() * found["learned_score_oscillation"].largest()
        assert found["learned_drift_lipschitz"].largest() < composed


@pytest.mark.usefixtures("_little_work")
def test_the_boxes_are_below_the_product_and_the_parts_of_tail_drift_are_global() -> None:
    context = random_score(1)
    found = everything(context)
    assert found["learned_score_lipschitz"].largest() < 0.9 * found["learned_score_lipschitz_spectral"].largest()
    layers = context.run.layers("score")
    assert layers is not None
    # the tail holds velocities outside the ball, so it must grow with the global constant
    product = spectral_product(layers)
    third = 2 * context.problem.kernel.strength * product * _outside(context, float(context.grid.flat[0]), 3)
    assert np.asarray(found["tail_drift"].value)[0] >= third


@pytest.mark.usefixtures("_little_work")
def test_the_exact_score_of_equilibrium_has_known_constants() -> None:
    net = linear_perceptron(-np.eye(2), 0.5, 5.0)
    found = everything(context_of(net))
    for name, true in (("learned_score_lipschitz", 1.0), ("learned_score_log_norm", -1.0)):
        value = np.asarray(found[name].value)
        assert (value >= true - 1e-12).all()
        assert value == pytest.approx(true, abs=0.1)
    assert found["learned_score_log_norm_sampled"].largest() == pytest.approx(-1)
    assert found["learned_score_lipschitz_ball_sampled"].largest() == pytest.approx(1)
    assert found["learned_drift_lipschitz_sampled"].largest() < 1e-6


def test_the_modulus_of_the_matching_loss_bounds_differences_between_two_clouds() -> None:
    rng = np.random.default_rng(3)
    for number in range(5):
        context = random_score(number)
        estimate = ism_modulus(context)["ism_modulus"]
        assert estimate.rigor is Rigor.NUMERICAL
        assert estimate.side is Side.UPPER
        net = lipschitz_boxes.network_of(context)
        assert net is not None
        x = context.problem.initial.sample(4000, rng)
        # two laws with no more energy than f0, coupled particle by particle
        y = x * (1 - 0.1 * rng.random((4000, 1)))
        t = context.times[:1]
        psi = []
        for points in (x, y):
            s, jacobian = net.with_jacobian(t, points[None])
            psi.append(np.mean(np.sum(s[0] ** 2, axis=1) + 2 * np.einsum("nii->n", jacobian[0])))
        distance = np.sqrt(np.mean(np.sum((x - y) ** 2, axis=1)))
        assert abs(psi[0] - psi[1]) <= np.asarray(estimate.value)[0] * distance * 1.05


def test_without_the_weights_only_the_product_is_left() -> None:
    full = random_score(0)
    run = full.run
    assert isinstance(run, ScoredRun)

    @dataclass(frozen=True)
    class Plain:
        """Only what the Run protocol asks for."""

        inner: ScoredRun

        def __getattr__(self, name: str) -> Any:
            if name == "network":
                raise AttributeError(name)
            return getattr(self.inner, name)

    context = replace(full, run=Plain(run))
    assert lipschitz_boxes.compute(context) == {}
    found = learned_score(context)
    layers = run.layers("score")
    assert layers is not None
    assert found["learned_score_lipschitz"].largest() == spectral_product(layers)


@pytest.mark.usefixtures("_little_work")
def test_a_score_singular_at_the_start_gives_finite_nodes_and_no_nan() -> None:
    context = random_score(2, "bkw2d")
    found = learned_score(context)
    error = np.asarray(found["error_lipschitz"].value)
    assert np.isfinite(error).all()
    assert error[0] > 100 > error[-1]
