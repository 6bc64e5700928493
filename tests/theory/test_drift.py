"""The fast drifts are the pair sums they stand for and conserve what the equation conserves."""

import numpy as np
import pytest
from hypothesis import given

from tests.strategies import generators, kernels
from theory.drift import (
    CANCELLATION,
    maxwell_coefficients,
    maxwell_drift,
    maxwell_pair_drift,
    mean_field_drift,
    pair_drift,
    pair_drifts,
    weighted_moments,
)
from theory.kernels import Kernel, mollified_coulomb

Cloud = tuple[np.ndarray, np.ndarray, np.ndarray]


def cloud(kernel: Kernel, rng: np.random.Generator, n: int = 23) -> Cloud:
    weights = rng.random(n)
    return rng.normal(1, 2, (n, kernel.d)), rng.normal(size=(n, kernel.d)), weights / weights.sum()


def pair_sum(kernel: Kernel, x: np.ndarray, s: np.ndarray, w: np.ndarray) -> np.ndarray:
    z, y = x[:, None] - x, s[:, None] - s
    return -np.einsum("ijkl,ijl,j->ik", kernel.matrix(z), y, w)


def scale(kernel: Kernel, x: np.ndarray, s: np.ndarray) -> float:
    return kernel.sup_norm(float(np.linalg.norm(x, axis=1).max())) * float(np.abs(s).max())


@given(kernels(), generators())
def test_pair_drift_is_the_pair_sum_whatever_the_chunk(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s, w = cloud(kernel, rng)
    truth = pair_sum(kernel, x, s, w)
    for chunk in (1, 7, 512):
        assert pair_drift(kernel, x, s, w, chunk=chunk) == pytest.approx(truth, abs=1e-13 * scale(kernel, x, s))


@given(kernels(), generators())
def test_the_fast_sums_are_the_pair_sums_for_every_weight(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s, w = cloud(kernel, rng)
    weights = np.stack([w, rng.permutation(w)])
    direct = np.stack([pair_drift(kernel, x, s, one) for one in weights])
    loss = 1.0 if kernel.is_maxwell else 1 + np.max(np.sum((x - x.mean(axis=0)) ** 2, axis=1)) / kernel.epsilon**2
    for block in (1, 50, 10**6):
        fast = pair_drifts(kernel, x, s, weights, block=block)
        assert fast == pytest.approx(direct, abs=1e-12 * scale(kernel, x, s) * min(loss, CANCELLATION))


def test_the_fast_sums_give_up_where_they_would_lose_too_many_digits() -> None:
    kernel = mollified_coulomb(2, 1.0, 1e-3)
    x, s, w = cloud(kernel, np.random.default_rng(4))
    assert np.array_equal(pair_drifts(kernel, x, s, w[None])[0], pair_drift(kernel, x, s, w))
    broken = np.where(np.arange(len(x))[:, None] == 3, np.nan, x)
    assert np.isnan(pair_drifts(kernel, broken, s, w[None])).any()


@given(kernels(ids=("maxwell",)), generators())
def test_moments_replace_the_pairs_for_maxwell(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s, w = cloud(kernel, rng)
    truth = pair_sum(kernel, x, s, w)
    assert maxwell_pair_drift(kernel.strength, x, s, w) == pytest.approx(truth, abs=1e-12 * scale(kernel, x, s))


@given(kernels(), generators())
def test_momentum_and_energy_are_conserved_for_any_score(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s, w = cloud(kernel, rng)
    fast = [maxwell_pair_drift(kernel.strength, x, s, w)] if kernel.is_maxwell else []
    for u in (pair_drift(kernel, x, s, w), *fast):
        assert w @ u == pytest.approx(np.zeros(kernel.d), abs=1e-12 * scale(kernel, x, s))
        assert abs(w @ np.sum(x * u, axis=1)) < 1e-11 * scale(kernel, x, s)
        assert w @ np.sum(s * u, axis=1) <= 1e-12 * scale(kernel, x, s)  # entropy production


@given(kernels(), generators())
def test_mean_field_drift_is_minus_the_convolved_kernel_times_score_plus_friction(
    kernel: Kernel, rng: np.random.Generator
) -> None:
    x, s, w = cloud(kernel, rng)
    z = x[:, None] - x
    truth = -np.einsum("ijkl,il,j->ik", kernel.matrix(z), s, w) + np.einsum("ijk,j->ik", kernel.divergence(z), w)
    assert mean_field_drift(kernel, x, s, w, chunk=7) == pytest.approx(truth, abs=1e-11 * (1 + scale(kernel, x, s)))


@given(kernels(ids=("maxwell",)), generators())
def test_maxwell_coefficients_broadcast_over_times(kernel: Kernel, rng: np.random.Generator) -> None:
    (x, s, w), (y, r, _) = (cloud(kernel, rng) for _ in range(2))
    both, scores = np.stack([x, y]), np.stack([s, r])
    mean, covariance = weighted_moments(both, w)
    together = maxwell_drift(kernel.strength, both, scores, mean, covariance)
    diffusion, friction = maxwell_coefficients(kernel.strength, both - mean[:, None], covariance, scores)
    assert together == pytest.approx(friction - diffusion)
    for k, (points, score) in enumerate(((x, s), (y, r))):
        assert mean[k] == pytest.approx(w @ points)
        assert covariance[k] == pytest.approx(np.cov(points.T, aweights=w, bias=True))
        assert together[k] == pytest.approx(mean_field_drift(kernel, points, score, w))
