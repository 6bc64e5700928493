"""The law of Maxwell molecules with any covariance, sampled through its linear equation (THEORY section 6.4).

With the exact moments inserted, m and Sigma(t) = T I + D(t), D(t) = D(t0) e^{-4 d C (t - t0)},

d_t f = C sum_{i<j} L_ij^2 f + C div((tr Sigma - Sigma) grad f) + (d-1) C div(z f),  z = v - m:

rotational Brownian motion and an Ornstein-Uhlenbeck process with known diffusion. Each is solvable exactly; they
commute only if D = 0 (then ``theory.relaxation`` needs no time steps). Strang's splitting joins them: weak order 2.

Within a step of length h the noise has the covariance of the Ornstein-Uhlenbeck part up to O(h^3), and is chosen among
those so that Sigma is exact at the end of every step. Rotations by half a step take D to D e^{-d C h}, so

Q = T (1 - e^{-2(d-1) C h}) I - e^{-(3d-2) C h} (1 - e^{-2 C h}) D(t),

which is positive semidefinite for every h: with q = e^{-2 C h}, 1 - q^{d-1} >= (d-1) q^{d-2} (1 - q) and D <= (d-1) T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from theory.problem import Problem
from theory.provenance import Array
from theory.relaxation import random_rotations


@dataclass(frozen=True, eq=False)
class Step:
    """One Strang step: rotate by half, z -> shrink z + N(0, noise), rotate by half.

    Parameters
    ----------
    spread : float
        Time of the rotational Brownian motion in the whole step, C h.
    shrink : float
    noise : ndarray (d, d)
    """

    spread: float
    shrink: float
    noise: Array


def split_step(problem: Problem, t: float, h: float) -> Step:
    """The step from t to t + h.

    Raises
    ------
    ValueError
        For a kernel other than Maxwell's: then the equation is not linear.
    """
    d, tau = problem.d, problem.kernel.strength * h
    covariance = problem.moments(t)[1]
    isotropic = float(np.trace(covariance)) / d * np.eye(d)
    noise = -math.expm1(-2 * (d - 1) * tau) * isotropic
    noise += math.exp(-(3 * d - 2) * tau) * math.expm1(-2 * tau) * (covariance - isotropic)
    return Step(tau, math.exp(-(d - 1) * tau), noise)


def sample_linear(problem: Problem, t: float, n: int, rng: np.random.Generator, steps: int) -> Array:
    """Independent draws from the law at t up to a weak error O(steps^-2), shape (n, d); mean and covariance are exact.

    Parameters
    ----------
    problem : Problem
        Maxwell kernel, any initial density.
    t : float
    n : int
    rng : numpy.random.Generator
    steps : int
        Strang steps between t0 and t, equally long. With covariance T I one step is exact.

    Raises
    ------
    ValueError
        If t lies before the start, there is no step, or the kernel is not Maxwell's.
    """
    t0 = float(problem.t0)
    if t < t0 or steps < 1:
        raise ValueError(f"needs t >= {t0} and at least one step, got t = {t} and {steps} steps")
    mean, z = problem.initial.mean(), problem.initial.sample(n, rng) - problem.initial.mean()
    h = (t - t0) / steps
    turn = problem.kernel.strength * h / 2
    for k in range(steps):
        step = split_step(problem, t0 + k * h, h)
        z = step.shrink * _rotated(z, turn, rng) + rng.standard_normal(z.shape) @ _root(step.noise)
        turn = step.spread  # two halves, one after the other
    return np.asarray(mean + _rotated(z, problem.kernel.strength * h / 2, rng))


def _rotated(z: Array, spread: float, rng: np.random.Generator) -> Array:
    return np.asarray(np.einsum("nij,nj->ni", random_rotations(z.shape[1], spread, len(z), rng), z))


def _root(matrix: Array) -> Array:
    """Symmetric root of a positive semidefinite matrix; eigenvalues negative by rounding count as 0."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)
