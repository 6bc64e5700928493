"""Gaussian worlds in which the estimate can be evaluated: exact law N(0, S), learned law N(0, P), learned score -B v.

Maxwell kernel, C = 1. The drifts are the code's own pair sums over Gauss-Hermite clouds, exact here because everything
is a polynomial; d/dt KL at an instant follows from the two transport equations (row ``entropy_identity``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory import drift
from theory.provenance import Array


def hermite_cloud(covariance: Array, order: int) -> tuple[Array, Array]:
    """Gauss-Hermite product rule of N(0, covariance): nodes (m, d) and weights (m,); exact to degree 2 order - 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    d = len(covariance)
    grid = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), axis=-1).reshape(-1, d)
    mass = np.prod(np.stack(np.meshgrid(*[weights] * d, indexing="ij"), axis=-1).reshape(-1, d), axis=1)
    return grid @ np.linalg.cholesky(covariance).T, mass / mass.sum()


def inverse(matrix: Array) -> Array:
    """Inverse, typed as float64."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


@dataclass(frozen=True)
class World:
    """Exact covariance S, learned covariance P, learned score -B v."""

    exact: Array
    learned: Array
    slope: Array

    @staticmethod
    def of(parameters: Array, d: int) -> World:
        """From a flat vector of length 3 d^2: two roots of covariances near I and the error of the score."""
        a, b, e = parameters.reshape(3, d, d)
        roots = (np.eye(d) + 0.4 * np.tanh(a), np.eye(d) + 0.4 * np.tanh(b))
        exact, learned = (r @ r.T + 0.05 * np.eye(d) for r in roots)
        return World(exact, learned, inverse(learned) + (e + e.T) / 2)

    @property
    def d(self) -> int:
        """Dimension."""
        return len(self.exact)

    def cloud(self, order: int = 5) -> tuple[Array, Array]:
        """Quadrature of the learned law; order 5 is exact for the polynomials that occur."""
        return hermite_cloud(self.learned, order)

    def field(self, x: Array, matrix: Array, covariance: Array) -> Array:
        """Drift with score -matrix v and the moments of N(0, covariance): the code's own."""
        y, w = hermite_cloud(covariance, 3)
        z = np.concatenate([x, y])
        weights = np.concatenate([np.zeros(len(x)), w])  # the points x are tested, not part of the law
        return np.asarray(drift.maxwell_pair_drift(1.0, z, -z @ matrix, weights)[: len(x)])

    def entropy_rate(self) -> float:
        """d/dt KL(f~|f) = int (s^ - s) . (U~ - U) f~, with s^ = grad log f~, from the two transport equations."""
        x, w = self.cloud()
        learned, exact = self.field(x, self.slope, self.learned), self.field(x, inverse(self.exact), self.exact)
        return float(w @ np.sum(self.score_gap(x) * (learned - exact), axis=1))

    def score_gap(self, x: Array) -> Array:
        """G = grad log f~ - grad log f."""
        return x @ (inverse(self.exact) - inverse(self.learned))

    def score_error(self, x: Array) -> Array:
        """Eta = s~ - grad log f~."""
        return x @ (inverse(self.learned) - self.slope)

    def diffusion(self, x: Array, covariance: Array) -> Array:
        """A * N(0, covariance) at x, C = 1."""
        r2 = np.sum(x**2, axis=1)[:, None, None]
        eye = np.eye(self.d)
        return (r2 + np.trace(covariance)) * eye - x[:, :, None] * x[:, None, :] - covariance
