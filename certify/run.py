"""Run: all that certify needs of a trained model. Bring your own solver by satisfying this protocol.

Arrays are numpy float64. Times are a vector of shape (m,), start velocities (n, d); results carry the time axis first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

from theory.provenance import Array


@dataclass(frozen=True)
class FlowJets:
    """The learned flow with its derivatives at (t_k, v_i).

    value, dt : (m, n, d); jac[..., i, j] = d_j T_i : (m, n, d, d); hess[..., i, j, k] = d_j d_k T_i : (m, n, d, d, d).
    """

    value: Array
    dt: Array
    jac: Array
    hess: Array


@dataclass(frozen=True)
class Growth:
    """Closed-form bounds of a flow whose diffeomorphism holds by construction, over the whole window.

    |d_t T| <= speed[0] + speed[1] |v|;  |T - m0| <= reach[0] + reach[1] |v - m0| with m0 the initial mean;
    |J^{-1}| <= inverse;  |grad log det J| <= log_det.
    """

    speed: tuple[float, float]
    reach: tuple[float, float]
    inverse: float
    log_det: float


@runtime_checkable
class Run(Protocol):
    """A trained (or exact) flow on a window, with or without a learned score."""

    name: str
    d: int
    t0: Fraction
    T: Fraction

    def flow(self, t: Array, v: Array) -> Array:
        """T(t_k, v_i), shape (m, n, d)."""

    def jets(self, t: Array, v: Array) -> FlowJets | None:
        """Flow with derivatives, or None if the model cannot give them (then the certificates of section 6 need them)."""

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

    def growth(self) -> Growth | None:
        """Closed-form growth bounds, for flows by construction."""

    def describe(self) -> Mapping[str, Any]:
        """Facts for the report: architecture, training settings, digest, versions."""
