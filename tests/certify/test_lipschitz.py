"""Lipschitz constants of networks are upper bounds, tight on single matrices, and know SiLU's true slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certify.estimators.lipschitz import spectral_product, verified_norm
from solver.jets import ACTIVATIONS, LIPSCHITZ, Layout, seed
from solver.networks import Window, build_score
from tests.strategies import generators

SILU_PEAK = 2.3993572805154


def score_jacobian(net: Any, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Exact Jacobian of a score network, (m, n, d, d)."""
    layout = Layout(net.d, False, 1)
    jet = net.net(t, seed(x[None], layout), layout)
    return torch.stack([jet[layout.velocity(j)] for j in range(net.d)], dim=-1)


def product(net: Any) -> float:
    return spectral_product(tuple((w.numpy(), slope) for w, slope in net.net.velocity_path()))


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
    without = spectral_product(tuple((w.numpy(), 1.0) for w, _ in net.velocity_path()))
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
