"""What a benchmark is: kernel, time window, initial density, a-priori moments and, maybe, the exact solution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol

import numpy as np

from theory.kernels import Kernel
from theory.provenance import Array
from theory.quadrature import Rule, polar_rule

COVARIANCE_TOLERANCE = 1e-12  # rounding of a covariance given in closed form


class InitialDensity(Protocol):
    """The density f_{t0} on R^d. All arrays are float64; v has shape (n, d)."""

    @property
    def d(self) -> int:
        """Dimension."""

    def log_density(self, v: Array) -> Array:
        """Log f, shape (n,); -inf where f vanishes."""

    def score(self, v: Array) -> Array:
        """Grad log f, shape (n, d)."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws, shape (n, d)."""

    def mean(self) -> Array:
        """Mean, shape (d,)."""

    def covariance(self) -> Array:
        """Covariance, shape (d, d)."""

    def tail_moment(self, radius: float, power: int) -> float:
        """Integral of |v - mean|^power f over |v - mean| > radius."""

    def score_growth(self, radius: float) -> tuple[float, float]:
        """(a, b) with |score(v)| <= a + b |v - mean| for |v - mean| > radius."""

    def radial_edges(self) -> Array:
        """Starting radial panels of a quadrature rule around the mean; the last is the truncation radius."""

    def regularity(self) -> tuple[bool, str]:
        """Whether grad f = f * score holds as distributions (f has no jump), and why."""


class ExactSolution(Protocol):
    """Closed-form solution f_t and its characteristic flow X(t, .) from t0. v, x of shape (n, d).

    Optional: ``at(t)``, the law at t as an ``InitialDensity``; ``sup_density(t)``, an upper bound of sup f_t; ``sharp =
    False`` where ``score_lipschitz`` is an upper bound and not the constant itself.
    """

    def log_density(self, t: float, v: Array) -> Array:
        """Log f_t, shape (n,)."""

    def score(self, t: float, v: Array) -> Array:
        """Grad log f_t, shape (n, d)."""

    def drift(self, t: float, v: Array) -> Array:
        """U[f_t](v), shape (n, d)."""

    def flow(self, t: float, v: Array) -> Array:
        """X(t, v), shape (n, d); X(t0, v) = v."""

    def sample(self, t: float, n: int, rng: np.random.Generator) -> Array:
        """Independent draws from f_t, shape (n, d)."""

    def score_lipschitz(self, t: float) -> float:
        """Lip of the score on R^d, or an upper bound of it (``sharp``); inf where it is unbounded."""

    def drift_one_sided(self, t: float) -> float:
        """Sup over v of the largest eigenvalue of sym grad U[f_t]; inf where no finite value is known."""

    def drift_lipschitz(self, t: float) -> float:
        """Lip of U[f_t] on R^d, attained or approached; inf where no finite value is known."""

    def fisher_information(self, t: float) -> float:
        """E |s_t|^2."""

    def tail_moment(self, t: float, radius: float, power: int) -> float:
        """Integral of |v|^power f_t over |v| > radius."""


@dataclass(frozen=True)
class Problem:
    """A Landau problem on a time window.

    Parameters
    ----------
    id : str
        Registry name.
    title : str
    kernel : Kernel
    t0, T : Fraction
        Window; exact, because model files carry them as strings.
    initial : InitialDensity
        The density at t0.
    exact : ExactSolution or None
    constants : mapping of str to str
        Constants that define the problem, rationals as strings; a model must agree on them.
    degeneracies : tuple of str
        Isolated points where the *exact* flow is no diffeomorphism, in words.
    degenerate_points : ndarray (m, d)
        The same points; det J = 0 there is harmless for d >= 2 and excepted from the check (THEORY section 6.1).
    source : str
        Where the definition comes from.
    parameters : tuple of str
        Which of the constants a specification may set (``theory.problems.ProblemFamily``).
    """

    id: str
    title: str
    kernel: Kernel
    t0: Fraction
    T: Fraction
    initial: InitialDensity
    exact: ExactSolution | None
    constants: Mapping[str, str]
    source: str
    degeneracies: tuple[str, ...] = ()
    degenerate_points: Array = field(default_factory=lambda: np.empty((0, 0)))
    notes: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.t0 < self.T:
            raise ValueError(f"the window [{self.t0}, {self.T}] is empty")
        if self.initial.d != self.kernel.d:
            raise ValueError("initial density and kernel disagree on the dimension")

    @property
    def d(self) -> int:
        """Dimension."""
        return self.kernel.d

    @property
    def spec(self) -> str:
        """The problem with its window and parameters, as the command line takes it."""
        return specification(self.id, self.t0, self.T, {k: self.constants[k] for k in self.parameters})

    def without_exact_solution(self) -> Problem:
        """The same problem with its exact solution removed."""
        return replace(self, exact=None)

    def rule(self, edges: Array | None = None, angles: int | None = None) -> Rule:
        """Quadrature against f_{t0} in polar coordinates around its mean."""
        edges = self.initial.radial_edges() if edges is None else edges
        angles = (16 if self.d == 2 else 8) if angles is None else angles
        return polar_rule(lambda v: np.exp(self.initial.log_density(v)), self.initial.mean(), edges, angles)

    def moments(self, t: float) -> tuple[Array, Array]:
        """Mean and covariance of the exact f_t, known a priori for Maxwell (THEORY section 1).

        Sigma(t) = T I + (Sigma(t0) - T I) exp(-4 d C (t - t0)), T = tr Sigma / d; the mean is conserved.

        Raises
        ------
        ValueError
            For another kernel, where no closed law exists.
        """
        if not self.kernel.is_maxwell:
            raise ValueError("moments are known in closed form for the Maxwell kernel only")
        covariance = self.initial.covariance()
        temperature = float(np.trace(covariance)) / self.d
        isotropic = temperature * np.eye(self.d)
        decay = math.exp(-4 * self.d * self.kernel.strength * (t - float(self.t0)))
        return self.initial.mean(), isotropic + (covariance - isotropic) * decay


def specification(name: str, t0: Fraction, T: Fraction, parameters: Mapping[str, str]) -> str:
    """What the command line calls this problem: ``name:t0=...,T=...`` and the parameters."""
    return ",".join([f"{name}:t0={t0},T={T}", *(f"{k}={v}" for k, v in parameters.items())])
