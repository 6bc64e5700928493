"""Collision kernels A(z) = a(|z|)(|z|^2 I - z z^T) and the constants the theorems need of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory.provenance import Array


@dataclass(frozen=True)
class Kernel:
    """Kernel A(z) = a(|z|)(|z|^2 I - z z^T) on R^d with a scalar profile a >= 0 (THEORY section 1).

    Parameters
    ----------
    id : str
        ``maxwell`` or ``mollified-coulomb``.
    d : int
        Dimension, 2 or 3.
    strength : float
        The constant C.
    epsilon : float
        Mollification length (velocity units); 0 for Maxwell.
    """

    id: str
    d: int
    strength: float
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if self.id not in ("maxwell", "mollified-coulomb"):
            raise ValueError(f"unknown kernel {self.id!r}; known: maxwell, mollified-coulomb")
        if self.d not in (2, 3):
            raise ValueError(f"dimension {self.d} is not 2 or 3")
        if not (self.strength > 0.0 and math.isfinite(self.strength)):
            raise ValueError(f"kernel strength {self.strength} must be positive and finite")
        if (self.id == "mollified-coulomb") != (self.epsilon > 0.0):
            raise ValueError("a mollified Coulomb kernel needs epsilon > 0, a Maxwell kernel epsilon = 0")

    @property
    def is_maxwell(self) -> bool:
        """Whether the profile is constant, which makes moments sufficient."""
        return self.id == "maxwell"

    def profile(self, r: Array) -> Array:
        """Profile a(r), shape of r."""
        if self.is_maxwell:
            return np.full_like(np.asarray(r, dtype=np.float64), self.strength)
        return self.strength * (np.square(r) + self.epsilon**2) ** -1.5

    def matrix(self, z: Array) -> Array:
        """A(z) for z of shape (..., d); returns (..., d, d)."""
        r2 = np.sum(z * z, axis=-1)
        eye = np.eye(self.d)
        projector = r2[..., None, None] * eye - z[..., :, None] * z[..., None, :]
        return self.profile(np.sqrt(r2))[..., None, None] * projector

    def divergence(self, z: Array) -> Array:
        """b(z) = div A(z) = -(d-1) a(|z|) z, shape of z."""
        r = np.linalg.norm(z, axis=-1, keepdims=True)
        return -(self.d - 1) * self.profile(r) * z

    def sup_norm(self, radius: float) -> float:
        """Lambda = sup of the operator norm of A(v - w) over |v|, |w| <= radius (Assumption 1).

        ||A(z)|| = a(r) r^2 with r = |z| <= 2 radius.
        """
        r = 2.0 * radius
        if self.is_maxwell:
            return self.strength * r * r
        # r^2 (r^2 + eps^2)^(-3/2) peaks at r^2 = 2 eps^2.
        peak = min(r, math.sqrt(2.0) * self.epsilon)
        return self.strength * peak**2 * (peak**2 + self.epsilon**2) ** -1.5

    def lipschitz(self, radius: float) -> float:
        """L_A: |A(z) - A(z')| <= L_A |z - z'| in operator norm for |z|, |z'| <= 2 radius (Assumption 1).

        Maxwell: ||DA(z)[h]|| = C(|z.h| + |z||h|) <= 2 C |z||h|, sharp, so L_A = 4 C radius. Mollified Coulomb:
        the derivative is a(r)-part plus a'(r) r^2-part, ||DA(z)[h]|| <= (2 a r + |a'| r^2)|h|, maximised in r by
        a'(r) = -3 C r (r^2 + eps^2)^(-5/2); the two suprema are taken separately (an upper bound).
        """
        r = 2.0 * radius
        if self.is_maxwell:
            return 2.0 * self.strength * r
        first = _increasing_then_decreasing(lambda x: 2 * x * (x * x + 1) ** -1.5, 1 / math.sqrt(2), r / self.epsilon)
        second = _increasing_then_decreasing(lambda x: 3 * x**3 * (x * x + 1) ** -2.5, math.sqrt(1.5), r / self.epsilon)
        return self.strength * (first + second) / self.epsilon**2

    @property
    def kappa(self) -> float:
        """Constant kappa' of the Wasserstein stability estimate d/dt W_2 <= 2 kappa' W_2 (THEORY section 6.3).

        kappa' = (d-1) sup_r (r (sqrt a)'(r))^2; 0 for Maxwell, 4 (3/7)^(7/2) (d-1) C eps^-3 for mollified Coulomb.
        """
        if self.is_maxwell:
            return 0.0
        return (self.d - 1) * self.strength * 4.0 * (3.0 / 7.0) ** 3.5 / self.epsilon**3

    @property
    def friction(self) -> float:
        """(d-1) C, the relaxation rate of the Maxwell equation (THEORY section 6.4).

        Raises
        ------
        ValueError
            If the kernel is not Maxwell.
        """
        if not self.is_maxwell:
            raise ValueError("the friction rate is defined for the Maxwell kernel only")
        return (self.d - 1) * self.strength


def _increasing_then_decreasing(f: Callable[[float], float], argmax: float, limit: float) -> float:
    """Supremum on [0, limit] of a function that increases up to ``argmax`` and decreases after it."""
    return f(min(argmax, limit))


def maxwell(d: int, strength: float) -> Kernel:
    """Maxwell molecules, gamma = 0."""
    return Kernel("maxwell", d, strength)


def mollified_coulomb(d: int, strength: float, epsilon: float) -> Kernel:
    """Coulomb, gamma = -3, with |z| replaced by sqrt(|z|^2 + epsilon^2) in the profile."""
    return Kernel("mollified-coulomb", d, strength, epsilon)
