"""Lemma 1 and Theorem 2 against particle systems solved to rounding error, and W2 contraction of exact solutions."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from tests.strategies import generators, kernels
from theory.bkw import Bkw
from theory.constants import drift_lipschitz
from theory.gronwall import LogValue, NumericOps, TimeGrid
from theory.kernels import Kernel, maxwell, mollified_coulomb
from theory.theorems import THEOREMS


def particle_drift(kernel: Kernel, x: np.ndarray, at: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """-(1/N) sum_j A(v - x_j)(s(v) - s(x_j)) at v in ``at``, for the linear score s(v) = -matrix v."""
    z = at[:, None, :] - x
    return np.einsum("nmij,nmj->ni", kernel.matrix(z), z @ matrix.T) / len(x)


def in_ball(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    v = rng.standard_normal((n, d))
    return v / np.maximum(1, np.linalg.norm(v, axis=1, keepdims=True))


def norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))


@given(kernels(), generators())
def test_lemma_1_bounds_the_lipschitz_constant_of_the_drift(kernel: Kernel, rng: np.random.Generator) -> None:
    d, score = kernel.d, rng.standard_normal((kernel.d, kernel.d))
    x, v, other = (in_ball(rng, n, d) for n in (12, 200, 200))
    constant = drift_lipschitz(kernel.sup_norm(1.0), kernel.lipschitz(1.0), norm(score), 2 * norm(score))
    change = particle_drift(kernel, x, v, score) - particle_drift(kernel, x, other, score)
    gap = np.linalg.norm(v - other, axis=1)
    assert (np.linalg.norm(change, axis=1) <= constant * gap * (1 + 1e-9)).all()


@given(kernels(), generators())
def test_lemma_1_bounds_the_difference_of_two_drifts(kernel: Kernel, rng: np.random.Generator) -> None:
    d = kernel.d
    score, learned = rng.standard_normal((2, d, d))
    x, learned_x, v = (in_ball(rng, n, d) for n in (10, 10, 30))
    big = kernel.sup_norm(1.0)
    l_g = drift_lipschitz(big, kernel.lipschitz(1.0), norm(learned), 2 * norm(learned))
    distances = cdist(x, learned_x)
    w1 = distances[linear_sum_assignment(distances)].mean()
    gap = particle_drift(kernel, x, v, score) - particle_drift(kernel, learned_x, v, learned)
    delta, mean_delta = (np.linalg.norm(p @ (learned - score).T, axis=1) for p in (v, x))
    assert (np.linalg.norm(gap, axis=1) <= (big * (delta + mean_delta.mean()) + l_g * w1) * (1 + 1e-9)).all()


@given(st.sampled_from([maxwell(2, 0.2), mollified_coulomb(2, 0.3, 0.7), maxwell(3, 0.1)]), generators())
def test_theorem_2_holds_for_particles_with_a_wrong_score_and_a_residual(
    kernel: Kernel, rng: np.random.Generator
) -> None:
    d, n, edges = kernel.d, 8, np.linspace(0, 0.5, 6)
    ops = NumericOps(TimeGrid(edges))
    score = np.diag(rng.uniform(0.5, 2, d))
    learned = score + 0.2 * rng.standard_normal((d, d))
    start, push = in_ball(rng, n, d), 0.1 * rng.standard_normal((n, d))
    late = 0.05 * in_ball(rng, n, d)
    times = np.concatenate([edges, ops.grid.flat])
    order = np.argsort(times)

    def path(matrix: np.ndarray, x0: np.ndarray, extra: np.ndarray) -> np.ndarray:
        def rhs(_: float, y: np.ndarray) -> np.ndarray:
            x = y.reshape(n, d)
            return (particle_drift(kernel, x, x, matrix) + extra).ravel()

        solution = solve_ivp(rhs, (0, 0.5), x0.ravel(), "DOP853", times[order], rtol=1e-10, atol=1e-12)
        return solution.y.T[np.argsort(order)].reshape(-1, n, d)

    reference, moved = path(score, start, np.zeros((n, d))), path(learned, start + late, push)
    radius = max(np.linalg.norm(p, axis=-1).max() for p in (reference, moved))
    at_nodes = reference[len(edges) :]
    values = {
        "kernel_bound": kernel.sup_norm(radius),
        "kernel_lipschitz": kernel.lipschitz(radius),
        "score_lipschitz": norm(score),
        "score_oscillation": 2 * radius * norm(score),
        "learned_score_lipschitz": norm(learned),
        "learned_score_oscillation": 2 * radius * norm(learned),
        "error_lipschitz": norm(learned - score),
        "score_error_energy": np.mean(np.sum((at_nodes @ (learned - score).T) ** 2, axis=-1), axis=-1),
        "residual_energy": np.mean(np.sum(push**2, axis=-1)),
        "initial_error": math.sqrt(np.mean(np.sum(late**2, axis=-1))),
    }
    bound = sum(THEOREMS["thm2"].terms(ops, values).values(), start=LogValue.of(0.0))
    error = np.mean(np.sum((moved - reference)[: len(edges)] ** 2, axis=-1), axis=-1)
    assert (error <= (bound + ops.error).numbers() * (1 + 1e-9)).all()


def test_two_solutions_of_the_maxwell_equation_approach_each_other_in_w2() -> None:
    """S1 with zero defect: d/dt W2 <= 0. Radial laws, so W2 is the distance of the quantile functions of |v|."""
    one, two = Bkw(2, 1 / 16, 0.5, 0.0), Bkw(2, 1 / 16, 0.25, 0.0)
    levels = (np.arange(4000) + 0.5) / 4000
    grid = np.linspace(0, 9, 200_001)
    distances = []
    for t in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
        quantiles = [np.interp(levels, b.radial_mass(t, grid)[0], grid) for b in (one, two)]
        distances.append(math.sqrt(np.mean((quantiles[0] - quantiles[1]) ** 2)))
    assert (np.diff(distances) < 0).all()
    assert distances[0] > 3 * distances[-1] > 0
