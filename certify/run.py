"""Run: all that certify needs of a trained model. Bring your own solver by satisfying this protocol.

Arrays are numpy float64. Times are a vector of shape (m,), start velocities (n, d); results carry the time axis first.

A run may also show the weights of its score network, ``network("score")`` (``HasNetwork``): verified bounds over boxes
need them. Runs without it get bounds from ``layers`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

from theory.flow import FlowJets, Growth
from theory.perceptron import HasNetwork
from theory.provenance import Array

__all__ = ["HasNetwork", "Run"]


@runtime_checkable
class Run(Protocol):
    """A trained (or exact) flow on a window, with or without a learned score."""

    @property
    def name(self) -> str:
        """What to call it in a report."""

    @property
    def d(self) -> int:
        """Dimension."""

    @property
    def t0(self) -> Fraction:
        """Start of its window; T(t0, .) is the identity."""

    @property
    def T(self) -> Fraction:
        """End of its window."""

    def flow(self, t: Array, v: Array) -> Array:
        """T(t_k, v_i), shape (m, n, d)."""

    def velocity(self, t: Array, v: Array) -> tuple[Array, Array]:
        """T and d_t T at (t_k, v_i), each (m, n, d): cheaper than ``jets``."""

    def jets(self, t: Array, v: Array) -> FlowJets | None:
        """Flow with derivatives, or None if the model cannot give them (the certificates of section 6 need them)."""

    def score(self, t: Array, x: Array) -> Array | None:
        """Learned score s~(t_k, x_ki) at x of shape (m, n, d), or None without a score network."""

    def score_divergence(self, t: Array, x: Array) -> Array | None:
        """Divergence of the learned score, shape (m, n), or None."""

    def layers(self, net: str) -> tuple[tuple[Array, float], ...] | None:
        """Weights along the velocity path of ``flow`` or ``score`` with the Lipschitz constant of what follows each.

        None if unknown; skip connections make it None as well.
        """

    def smooth(self) -> bool | None:
        """Whether T(t, .) is C^2 by its architecture; None if unknown."""

    def diffeomorphism(self) -> bool:
        """Whether det J > 0 and properness hold by construction."""

    def growth(self, t: Array, radius: float) -> Growth | None:
        """Growth bounds for |v| > radius at times t, for flows by construction; None otherwise."""

    def describe(self) -> Mapping[str, Any]:
        """Facts for the report: architecture, training settings, digest, versions."""
