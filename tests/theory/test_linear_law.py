"""The split linear law: exact covariance, weak order 2 on fourth moments; against the exact law and a grid solver."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import special
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from solver.spectral import spectral_reference
from theory import linear_law, relaxation
from theory.densities import GaussianMixture
from theory.kernels import maxwell
from theory.linear_law import sample_linear, split_step
from theory.problem import Problem
from theory.problems import parse_problem

FLAT = GaussianMixture((0.5, 0.5), ((1.2, 0.5), (-0.6, -0.7)), 0.4, (0.0, 1.0, 2.5))
LONG = GaussianMixture((0.3, 0.3, 0.4), ((1.5, 0.2, 0.0), (-1.5, 0.4, 0.3), (0.0, -0.5, 0.1)), 0.3, (0.0, 1.0, 2.5))
BOTH = pytest.mark.parametrize("start", [FLAT, LONG], ids=["2d", "3d"])
END = 1.0


def problem_of(start: GaussianMixture) -> Problem:
    return Problem(
        id="uneven",
        title="an anisotropic mixture",
        kernel=maxwell(start.d, 0.15),
        t0=Fraction(0),
        T=Fraction(1),
        initial=start,
        exact=None,
        constants={},
        source="test",
    )


# --- operators on homogeneous polynomials, as matrices on their coefficients --------------------------------------


Polynomial = dict[tuple[int, ...], float]


def monomials(d: int, degree: int) -> list[tuple[int, ...]]:
    return [k for k in product(range(degree + 1), repeat=d) if sum(k) == degree]


def derivative(p: Polynomial, i: int) -> Polynomial:
    return {(*k[:i], k[i] - 1, *k[i + 1 :]): c * k[i] for k, c in p.items() if k[i]}


def times(p: Polynomial, i: int) -> Polynomial:
    return {(*k[:i], k[i] + 1, *k[i + 1 :]): c for k, c in p.items()}


def added(*terms: tuple[float, Polynomial]) -> Polynomial:
    out: Polynomial = {}
    for factor, p in terms:
        for k, c in p.items():
            out[k] = out.get(k, 0.0) + factor * c
    return out


def turning(p: Polynomial, i: int, j: int) -> Polynomial:
    return added((1.0, times(derivative(p, j), i)), (-1.0, times(derivative(p, i), j)))


def matrix(d: int, degree: int, lower: int, act: Any) -> np.ndarray:
    """Rows: what ``act`` makes of each monomial, in monomials of degree ``lower``."""
    basis = monomials(d, lower)
    return np.array([[act({k: 1.0}).get(b, 0.0) for b in basis] for k in monomials(d, degree)])


def rotation_generator(d: int, degree: int) -> np.ndarray:
    pairs = [(i, j) for i in range(d) for j in range(i)]
    return matrix(d, degree, degree, lambda p: added(*((1.0, turning(turning(p, i, j), i, j)) for i, j in pairs)))


def hessian(d: int, degree: int, weights: np.ndarray) -> np.ndarray:
    entries = list(product(range(d), repeat=2))
    return matrix(
        d,
        degree,
        degree - 2,
        lambda p: added(*((float(weights[i, j]), derivative(derivative(p, i), j)) for i, j in entries)),
    )


def moments_of(x: np.ndarray, degree: int) -> np.ndarray:
    return np.array([np.prod(x ** np.array(k), axis=1).mean() for k in monomials(x.shape[1], degree)])


def gaussian_moments(start: GaussianMixture, degree: int) -> np.ndarray:
    """Central moments of a mixture, closed form: E (c + s Z)^k by the binomial formula."""
    centres, s = np.array(start.centres) - start.mean(), math.sqrt(start.variance)
    normal = np.array([1.0, 0.0, 1.0, 0.0, 3.0])
    out = []
    for k in monomials(start.d, degree):
        factor = np.array(start.shares)
        for i, n in enumerate(k):
            m = np.arange(n + 1)
            factor = factor * (centres[:, i, None] ** (n - m) @ (special.comb(n, m) * s**m * normal[m]))
        out.append(float(factor.sum()))
    return np.array(out)


def covariance_vector(problem: Problem, t: float) -> np.ndarray:
    covariance = problem.moments(t)[1]
    out = []
    for k in monomials(problem.d, 2):
        i, j = (n for n, power in enumerate(k) for _ in range(power))
        out.append(covariance[i, j])
    return np.array(out)


def fourth_moments(problem: Problem, t: float) -> np.ndarray:
    """Of the exact linear law: d/dt E p = E[C sum L^2 p + C (tr Sigma - Sigma):Hess p - (d-1) C z.grad p]."""
    d, c = problem.d, problem.kernel.strength
    turn = c * rotation_generator(d, 4) - 4 * (d - 1) * c * np.eye(len(monomials(d, 4)))

    def rate(s: float, y: np.ndarray) -> np.ndarray:
        covariance = problem.moments(s)[1]
        diffusion = c * (np.trace(covariance) * np.eye(d) - covariance)
        return np.asarray(turn @ y + hessian(d, 4, diffusion) @ covariance_vector(problem, s))

    start = gaussian_moments(problem.initial, 4)  # type: ignore[arg-type]
    return np.asarray(solve_ivp(rate, (0.0, t), start, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1])


def split_moments(problem: Problem, t: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Second and fourth moments of the scheme, without sampling: its steps act linearly on polynomials."""
    d, h = problem.d, t / steps
    second = gaussian_moments(problem.initial, 2)  # type: ignore[arg-type]
    fourth = gaussian_moments(problem.initial, 4)  # type: ignore[arg-type]
    for k in range(steps):
        step = split_step(problem, k * h, h)
        half = [expm(step.spread / 2 * rotation_generator(d, degree)) for degree in (2, 4)]
        second, fourth = half[0] @ second, half[1] @ fourth
        # E p(a z + w), w ~ N(0, Q): e^{Q:Hess/2} p, for degree 4 three terms
        down, constant = hessian(d, 4, step.noise) / 2, hessian(d, 2, step.noise)[:, 0] / 2
        fourth = step.shrink**4 * fourth + step.shrink**2 * down @ second + down @ constant / 2
        second = step.shrink**2 * second + constant
        second, fourth = half[0] @ second, half[1] @ fourth
    return second, fourth


# --- the scheme --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("steps", [1, 3])
def test_the_covariance_of_the_scheme_is_exact_at_every_step_length(start: GaussianMixture, steps: int) -> None:
    problem = problem_of(start)
    second, _ = split_moments(problem, END, steps)
    assert second == pytest.approx(covariance_vector(problem, END), rel=1e-13, abs=1e-14)
    assert np.abs(covariance_vector(problem, END) - covariance_vector(problem, 0.0)).max() > 0.1


@BOTH
def test_fourth_moments_converge_with_order_two(start: GaussianMixture) -> None:
    problem = problem_of(start)
    true = fourth_moments(problem, END)
    errors = [np.abs(split_moments(problem, END, steps)[1] - true).max() for steps in (4, 8, 16)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (np.abs(orders - 2) < 0.1).all()
    assert errors[0] > 1e-5
    assert errors[-1] < 1e-4


@BOTH
def test_the_sampler_makes_the_steps_of_the_scheme(start: GaussianMixture) -> None:
    problem, n = problem_of(start), 30_000
    z = sample_linear(problem, END, n, np.random.default_rng(1), steps=2) - start.mean()
    second, fourth = split_moments(problem, END, 2)
    for degree, expected in ((1, np.zeros(start.d)), (2, second), (4, fourth)):
        values = np.stack([np.prod(z ** np.array(k), axis=1) for k in monomials(start.d, degree)])
        assert (np.abs(values.mean(axis=1) - expected) < 5 * values.std(axis=1) / math.sqrt(n)).all()


def test_a_fourth_moment_of_the_initial_mixture_is_that_of_its_samples() -> None:
    z = LONG.sample(200_000, np.random.default_rng(2)) - LONG.mean()
    assert gaussian_moments(LONG, 4) == pytest.approx(moments_of(z, 4), abs=0.05)


@BOTH
def test_the_noise_is_positive_however_long_the_step_and_thin_the_law(start: GaussianMixture) -> None:
    thin = replace(start, variance=1e-9)  # in 2D all on a line
    for h in (1e-3, 0.1, 1.0, 30.0):
        noise = split_step(problem_of(thin), 0.0, h).noise
        assert np.linalg.eigvalsh(noise)[0] >= -1e-15
        assert np.trace(noise) > 0


# --- against other routes ----------------------------------------------------------------------------------------


def test_with_an_isotropic_covariance_one_step_is_the_exact_law() -> None:
    problem, n = parse_problem("gaussian_mixture3d"), 40_000
    k = np.array([[1.5, 0, 0], [1, 1, 1], [2, 0.5, 0], [0.3, 0.2, 2.0]])
    split = sample_linear(problem, 3.0, n, np.random.default_rng(3), steps=1)
    exact = relaxation.sample(problem, 3.0, n, np.random.default_rng(4))
    assert np.abs(np.cos(split @ k.T).mean(axis=0) - np.cos(exact @ k.T).mean(axis=0)).max() < 5 / math.sqrt(n)
    step = split_step(problem, 1.0, 0.7)
    a = math.exp(-0.7 / 12)
    assert step.shrink == pytest.approx(a)
    assert step.noise == pytest.approx((1 - a * a) * np.eye(3), abs=1e-15)


def test_it_is_the_law_of_a_grid_solver_of_the_nonlinear_equation() -> None:
    wide = replace(FLAT, variance=0.7)
    problem, n = problem_of(wide), 50_000
    grid = spectral_reference(problem, np.array([0.0, END]), half_width=8.0, n=30, kernel="sampled")
    covariance = problem.moments(END)[1]
    assert np.abs(grid.covariance[-1] - covariance).max() <= min(grid.error["covariance"][-1], 1e-4)
    z = sample_linear(problem, END, n, np.random.default_rng(5), steps=8) - wide.mean()
    k = np.array([[1.0, 0.5], [1.3, 0.0], [1.5, 0.9], [0.9, -0.9], [2.0, 1.0]])
    phase = (grid.grid.points - wide.mean()) @ k.T
    true = np.sum(grid.density[-1][..., None] * np.exp(1j * phase), axis=(0, 1)) * grid.grid.spacing**2
    assert np.abs(np.exp(1j * z @ k.T).mean(axis=0) - true).max() < 5 / math.sqrt(n)
    # the Gaussian of that covariance is not it, nor is the start
    gaussian = np.exp(-np.einsum("ni,ij,nj->n", k, covariance, k) / 2)
    assert np.abs(gaussian - true).max() > 10 / math.sqrt(n)
    start = np.exp(1j * (wide.sample(n, np.random.default_rng(6)) - wide.mean()) @ k.T).mean(axis=0)
    assert np.abs(start - true).max() > 10 / math.sqrt(n)
    fourth = np.sum(z**2, axis=1) ** 2
    assert abs(fourth.mean() - grid.fourth_moment[-1]) < 5 * fourth.std() / math.sqrt(n)


def test_other_kernels_and_times_before_the_start_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="Maxwell"):
        sample_linear(parse_problem("anisotropic2d"), 1.0, 10, rng, steps=1)
    for t, steps in ((-0.1, 1), (1.0, 0)):
        with pytest.raises(ValueError, match="at least one step"):
            sample_linear(problem_of(FLAT), t, 10, rng, steps=steps)


def test_a_step_that_forgets_the_anisotropy_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = linear_law.split_step

    def blind(problem: Problem, t: float, h: float) -> Any:
        step = genuine(problem, t, h)
        return replace(step, noise=np.trace(step.noise) / problem.d * np.eye(problem.d))

    monkeypatch.setattr("tests.theory.test_linear_law.split_step", blind)
    with pytest.raises(AssertionError):
        test_fourth_moments_converge_with_order_two(FLAT)
