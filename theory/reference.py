"""A numerical solution to measure against where no closed form is known: it states its own uncertainty, not a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from theory.problem import Problem
from theory.provenance import Array


class Reference(Protocol):
    """A solution f_t known at times (m,), ascending, with estimates of its own error.

    Every error is an estimate (a change under refinement, a tolerance), never an enclosure: whatever is measured
    against a reference is numerical at best.
    """

    @property
    def method(self) -> str:
        """What made it, e.g. ``Fourier grid solver, n = 80, half width 9``."""

    @property
    def times(self) -> Array:
        """(m,)."""

    @property
    def density_error(self) -> Array:
        """Error of the density in the sup norm, (m,)."""

    @property
    def l1_error(self) -> Array:
        """Error of the density in L1, (m,)."""

    @property
    def mean(self) -> Array:
        """Mean of f_t, (m, d)."""

    @property
    def covariance(self) -> Array:
        """Covariance of f_t, (m, d, d)."""

    @property
    def moment_error(self) -> Array:
        """Largest error of an entry of mean and covariance, (m,)."""

    @property
    def entropy(self) -> Array:
        """H = int f log f, (m,)."""

    @property
    def entropy_error(self) -> Array:
        """Error of the entropy, (m,)."""

    @property
    def paths(self) -> Array:
        """Characteristics X(t, v) from the n starts it was made for, (m, n, d); NaN where they are not resolved."""

    @property
    def path_error(self) -> Array:
        """Error of each, (m, n); inf where a path is NaN."""

    def density(self, k: int, v: Array) -> Array:
        """f_{t_k} at v of shape (n, d); 0 where it is negligible for the reference."""


# (problem, times (m,) from problem.t0 on, starts (n, d) at problem.t0) -> a reference, or None where there is none
ReferenceMaker = Callable[[Problem, Array, Array], Reference | None]
