"""Kernel constants: never below what is sampled, sharp where they claim to be."""

import math

import numpy as np
import pytest
from hypothesis import given
from scipy.optimize import minimize_scalar

from tests.strategies import generators, kernels, reals
from theory.kernels import Kernel, maxwell, mollified_coulomb

RNG = np.random.Generator


def in_ball(rng: RNG, n: int, d: int, radius: float) -> np.ndarray:
    z = rng.standard_normal((n, d))
    return radius * rng.random((n, 1)) ** (1 / d) * z / np.linalg.norm(z, axis=1, keepdims=True)


def norm(matrices: np.ndarray) -> np.ndarray:
    return np.linalg.norm(matrices, 2, axis=(-2, -1))


@given(kernels(), generators())
def test_matrix_is_symmetric_nonnegative_and_blind_along_z(kernel: Kernel, rng: RNG) -> None:
    z = in_ball(rng, 50, kernel.d, 5.0)
    a = kernel.matrix(z)
    scale = norm(a)
    assert np.array_equal(a, np.swapaxes(a, -1, -2))
    assert (np.linalg.eigvalsh(a)[:, 0] >= -1e-14 * scale).all()
    assert (np.linalg.norm(a @ z[..., None], axis=(-2, -1)) <= 1e-14 * scale * np.linalg.norm(z, axis=1)).all()


@given(kernels(), generators())
def test_divergence_is_that_of_the_matrix(kernel: Kernel, rng: RNG) -> None:
    z, h = in_ball(rng, 20, kernel.d, 3.0) + 0.1, 1e-5
    steps = h * np.eye(kernel.d)
    numeric = sum(
        (kernel.matrix(z + steps[j])[..., j] - kernel.matrix(z - steps[j])[..., j]) / (2 * h) for j in range(kernel.d)
    )
    assert numeric == pytest.approx(kernel.divergence(z), rel=1e-5, abs=1e-5 * np.abs(numeric).max())


@given(kernels(), generators(), reals(0.1, 10))
def test_sup_norm_is_never_below_samples(kernel: Kernel, rng: RNG, radius: float) -> None:
    v, w = in_ball(rng, 300, kernel.d, radius), in_ball(rng, 300, kernel.d, radius)
    assert (norm(kernel.matrix(v - w)) <= kernel.sup_norm(radius) * (1 + 1e-12)).all()


@given(kernels(), reals(0.1, 10))
def test_sup_norm_is_attained(kernel: Kernel, radius: float) -> None:
    r = np.linspace(0, 2 * radius, 20_001)
    z = r[:, None] * np.eye(kernel.d)[0]
    assert norm(kernel.matrix(z)).max() >= kernel.sup_norm(radius) * (1 - 1e-4)


@given(kernels(), generators(), reals(0.1, 10))
def test_lipschitz_constant_is_never_below_difference_quotients(kernel: Kernel, rng: RNG, radius: float) -> None:
    z = in_ball(rng, 300, kernel.d, 2 * radius)
    near = z + in_ball(rng, 300, kernel.d, 1e-3 * radius)
    near *= np.minimum(1, 2 * radius / np.linalg.norm(near, axis=1, keepdims=True))
    for other in (near, in_ball(rng, 300, kernel.d, 2 * radius)):
        quotient = norm(kernel.matrix(z) - kernel.matrix(other)) / np.linalg.norm(z - other, axis=1)
        assert (quotient <= kernel.lipschitz(radius) * (1 + 1e-9)).all()


@given(kernels(ids=("maxwell",)), reals(0.1, 10))
def test_lipschitz_constant_is_sharp_for_maxwell(kernel: Kernel, radius: float) -> None:
    z = 2 * radius * np.eye(kernel.d)[0]
    quotient = norm(kernel.matrix(z) - kernel.matrix((1 - 1e-6) * z)) / (1e-6 * np.linalg.norm(z))
    assert quotient == pytest.approx(kernel.lipschitz(radius), rel=1e-5)


def derivative_norm(kernel: Kernel, r: float, angle: float) -> float:
    """|DA(z)[h]| for |z| = r, |h| = 1 at this angle."""
    e = np.eye(kernel.d)
    h, step = math.cos(angle) * e[0] + math.sin(angle) * e[1], 1e-6 * max(r, kernel.epsilon)
    return float(norm(kernel.matrix(r * e[0] + step * h) - kernel.matrix(r * e[0] - step * h))) / (2 * step)


@pytest.mark.parametrize("radius", [0.05, 0.3, 1.0, 5.0])
def test_lipschitz_constant_of_mollified_coulomb_is_within_a_factor_of_three(radius: float) -> None:
    kernel = mollified_coulomb(3, 0.7, 0.5)
    truth = max(derivative_norm(kernel, r, a) for r in np.linspace(0, 2 * radius, 80) for a in np.linspace(0, 1.58, 20))
    assert truth * (1 - 1e-6) <= kernel.lipschitz(radius) <= 3 * truth


@given(kernels(ids=("mollified-coulomb",)))
def test_kappa_is_the_supremum_it_is_defined_as(kernel: Kernel) -> None:
    def squared(log_r: float) -> float:  # -(d-1)(r (sqrt a)'(r))^2, derivative by a complex step
        r = math.exp(log_r)
        root = math.sqrt(kernel.strength) * (complex(r, 1e-30) ** 2 + kernel.epsilon**2) ** -0.75
        return -(kernel.d - 1) * (r * root.imag / 1e-30) ** 2

    around = math.log(kernel.epsilon)
    best = minimize_scalar(squared, bounds=(around - 3, around + 3), method="bounded", options={"xatol": 1e-9})
    assert kernel.kappa == pytest.approx(-best.fun, rel=1e-9)


@given(kernels(), generators())
def test_kappa_bounds_the_coupling_bracket(kernel: Kernel, rng: RNG) -> None:
    z, other = (in_ball(rng, 500, kernel.d, 4 * (kernel.epsilon or 1.0)) for _ in range(2))
    root, other_root = (np.sqrt(kernel.profile(np.linalg.norm(x, axis=1))) for x in (z, other))
    bracket = (kernel.d - 1) * (root - other_root) ** 2 * np.sum(z * other, axis=1)
    assert (bracket <= kernel.kappa * np.sum((z - other) ** 2, axis=1) * (1 + 1e-12)).all()


def test_kappa_vanishes_for_maxwell_and_is_the_documented_number_otherwise() -> None:
    assert maxwell(3, 0.2).kappa == 0.0
    assert mollified_coulomb(3, 0.7, 0.5).kappa == pytest.approx(0.2061 * 2 * 0.7 / 0.125, rel=1e-3)


def test_mollified_profile_tends_to_coulomb_away_from_zero() -> None:
    kernel = mollified_coulomb(3, 0.7, 1e-6)
    assert kernel.profile(np.array([0.5, 2.0])) == pytest.approx(0.7 * np.array([8.0, 0.125]), rel=1e-9)


def test_friction_is_for_maxwell_only() -> None:
    assert maxwell(3, 0.25).friction == 0.5
    with pytest.raises(ValueError, match="Maxwell kernel only"):
        _ = mollified_coulomb(3, 0.25, 0.1).friction


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coulomb", 3, 1.0), "unknown kernel"),
        (("maxwell", 4, 1.0), "dimension 4"),
        (("maxwell", 2, 0.0), "positive and finite"),
        (("maxwell", 2, math.nan), "positive and finite"),
        (("maxwell", 2, math.inf), "positive and finite"),
        (("maxwell", 2, 1.0, 0.1), "epsilon = 0"),
        (("mollified-coulomb", 2, 1.0), "needs epsilon > 0"),
    ],
)
def test_an_impossible_kernel_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Kernel(*arguments)
