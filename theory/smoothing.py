"""Smoothing kernels of density estimation: second moment and L2 norms, in closed form (Theorem 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from theory.provenance import Array

SmoothingId = Literal["gaussian", "epanechnikov"]
SMOOTHING: tuple[SmoothingId, ...] = get_args(SmoothingId)


@dataclass(frozen=True)
class Smoothing:
    """A radial probability density K on R^d with K_h = h^-d K(./h).

    ``gaussian``: N(0, I). ``epanechnikov``: c (1 - |z|^2) on the unit ball, c = (d+2)/(2 w_d), w_d its volume.
    """

    id: SmoothingId
    d: int

    def __post_init__(self) -> None:
        if self.id not in SMOOTHING:
            raise ValueError(f"unknown smoothing kernel {self.id!r}; known: {', '.join(SMOOTHING)}")

    @property
    def _ball(self) -> float:
        return math.pi ** (self.d / 2) / math.gamma(self.d / 2 + 1)

    @property
    def second_moment(self) -> float:
        """m2, the integral of |z|^2 K: d, or d/(d+4)."""
        return float(self.d) if self.id == "gaussian" else self.d / (self.d + 4)

    @property
    def norm(self) -> float:
        """||K|| in L2."""
        if self.id == "gaussian":
            return (4 * math.pi) ** (-self.d / 4)
        c = (self.d + 2) / (2 * self._ball)
        return c * math.sqrt(self._ball * (1 - 2 * self.d / (self.d + 2) + self.d / (self.d + 4)))

    @property
    def gradient_norm(self) -> float:
        """||grad K|| in L2."""
        if self.id == "gaussian":
            return self.norm * math.sqrt(self.d / 2)
        c = (self.d + 2) / (2 * self._ball)
        return 2 * c * math.sqrt(self._ball * self.d / (self.d + 2))

    def profile(self, squared: Array) -> Array:
        """K as a function of |z|^2."""
        if self.id == "gaussian":
            return np.asarray((2 * math.pi) ** (-self.d / 2) * np.exp(-squared / 2))
        return np.asarray((self.d + 2) / (2 * self._ball) * np.maximum(1 - squared, 0.0))

    def bias(self, h: float, *, radial: bool) -> float:
        """h^2 m2/2, for the operator norm of the Hessian; over d for the Laplacian (radial kernels)."""
        return h * h * self.second_moment / (2 * self.d if radial else 2)

    def noise(self, h: float, n: int) -> float:
        """||K|| (n h^d)^(-1/2), the sampling error of n independent points."""
        return self.norm / math.sqrt(n * h**self.d)

    def gain(self, h: float, *, radial: bool) -> float:
        """h^(-d/2-1) ||grad K||: Lipschitz constant of x -> K_h(. - x) into L2; over sqrt d for radial kernels."""
        return h ** (-self.d / 2 - 1) * self.gradient_norm / (math.sqrt(self.d) if radial else 1.0)
