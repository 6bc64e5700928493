"""The drifts the trainers differentiate through (torch) are the pair sums and conserve what the equation conserves."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given

from tests.strategies import generators, kernels
from theory.drift import maxwell_pair_drift, mean_field_drift, pair_drift
from theory.kernels import Kernel

Cloud = tuple[np.ndarray, np.ndarray, np.ndarray]


def cloud(kernel: Kernel, rng: np.random.Generator, n: int = 19) -> Cloud:
    weights = rng.random(n)
    return rng.normal(1, 2, (n, kernel.d)), rng.normal(size=(n, kernel.d)), weights / weights.sum()


def pairs(kernel: Kernel, x: np.ndarray, s: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, float]:
    """The sum over pairs, and the size of its largest sum of absolute values (what rounding is relative to)."""
    terms = np.einsum("ijkl,ijl,j->ijk", kernel.matrix(x[:, None] - x), s[:, None] - s, w)
    return -terms.sum(1), float(np.abs(terms).sum(1).max())


@given(kernels(ids=("maxwell",)), generators())
def test_moments_are_the_pair_sum_to_a_relative_1e_12(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s, w = cloud(kernel, rng)
    truth, size = pairs(kernel, x, s, w)
    in_numpy = maxwell_pair_drift(kernel.strength, x, s, w)
    in_torch = maxwell_pair_drift(kernel.strength, *map(torch.from_numpy, (x, s, w))).numpy()
    for fast in (in_numpy, in_torch):
        assert np.abs(fast - truth).max() <= 1e-12 * size


@given(kernels(), generators())
def test_torch_gives_the_pair_sum_and_its_conservation_laws_whatever_the_chunk(
    kernel: Kernel, rng: np.random.Generator
) -> None:
    x, s, w = cloud(kernel, rng)
    truth, size = pairs(kernel, x, s, w)
    tensors = [torch.from_numpy(a) for a in (x, s, w)]
    for chunk in (1, 7, 512):
        u = pair_drift(kernel, *tensors, xp=torch, chunk=chunk).numpy()
        assert np.abs(u - truth).max() <= 1e-12 * size
        assert np.abs(w @ u).max() <= 1e-12 * size
        assert abs(w @ np.sum(x * u, axis=1)) <= 1e-12 * size * np.abs(x).sum(1).max()


@given(kernels(), generators())
def test_the_mean_field_drift_is_the_same_in_torch_and_in_any_chunks(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s, w = cloud(kernel, rng)
    whole = mean_field_drift(kernel, x, s, w)
    _, size = pairs(kernel, x, s, w)
    for chunk in (1, 7, 512):
        tensors = [torch.from_numpy(a) for a in (x, s, w)]
        u = mean_field_drift(kernel, *tensors, xp=torch, chunk=chunk).numpy()
        assert np.abs(u - whole).max() <= 1e-11 * (size + np.abs(whole).max())


@given(kernels(ids=("maxwell",)), generators())
def test_the_fast_drift_does_not_see_a_common_shift_of_the_scores(kernel: Kernel, rng: np.random.Generator) -> None:
    x, s, w = cloud(kernel, rng)
    _, size = pairs(kernel, x, s, w)
    moved = maxwell_pair_drift(kernel.strength, x + 3.0, s - 2.0, w)
    assert np.abs(moved - maxwell_pair_drift(kernel.strength, x, s, w)).max() <= 1e-11 * size
