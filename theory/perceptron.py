"""A network (t, v) -> R^out with separate embeddings of velocity and time, as plain float64 arrays.

The paper's architecture (its Figure 2): z = W_v E_v(v) + W_t E_t(tau) + b, hidden layers, affine output, where
tau = 2 (t - t0)/(T - t0) - 1 and E_v, E_t are fully connected. Bounds of networks are proved from these numbers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import expit

from theory.provenance import Array

Layer = tuple[Array, Array]
"""Weight (out, in) and bias (out,)."""

ACTIVATIONS = ("silu", "tanh")


@dataclass(frozen=True, eq=False)
class Perceptron:
    """Weights of one network.

    Parameters
    ----------
    velocity, time : tuple of (W, b)
        Embeddings, each layer followed by the activation; at least one layer of velocity.
    fuse_velocity : (W, b)
    fuse_time : ndarray
        Weight of the time embedding where the two meet (no bias); the activation follows.
    hidden : tuple of (W, b)
        Each followed by the activation.
    output : (W, b)
    activation : str
        ``silu`` or ``tanh``.
    t0, T : float
        Window of the time scaling.

    Raises
    ------
    ValueError
        On an unknown activation, weights that do not fit or are not finite, or an empty window.
    """

    velocity: tuple[Layer, ...]
    time: tuple[Layer, ...]
    fuse_velocity: Layer
    fuse_time: Array
    hidden: tuple[Layer, ...]
    output: Layer
    activation: str
    t0: float
    T: float

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}")
        if not self.t0 < self.T:
            raise ValueError(f"the window [{self.t0}, {self.T}] is empty")
        if not self.velocity or not self.time or self.time[0][0].shape[1] != 1:
            raise ValueError("a network needs embeddings of velocity and of one time variable")
        path = (*self.velocity, self.fuse_velocity, *self.hidden, self.output)
        for chain in (path, (*self.time, (self.fuse_time, np.zeros(len(self.fuse_time))))):
            width = chain[0][0].shape[1]
            for w, b in chain:
                if w.ndim != 2 or w.shape[1] != width or b.shape != (len(w),):
                    raise ValueError("the weights of consecutive layers do not fit")
                if not (np.isfinite(w).all() and np.isfinite(b).all()):
                    raise ValueError("a weight is not finite")
                width = len(w)
        if len(self.fuse_time) != len(self.fuse_velocity[0]):
            raise ValueError("the two embeddings do not meet in one layer")

    @property
    def d(self) -> int:
        """Dimension of velocity."""
        return self.velocity[0][0].shape[1]

    def path(self) -> tuple[Layer, ...]:
        """Layers met by the velocity input; every one but the last is followed by the activation."""
        return (*self.velocity, self.fuse_velocity, *self.hidden, self.output)

    def __call__(self, t: Array, v: Array) -> Array:
        """Network at times (m,) and velocities (m, n, d): (m, n, out)."""
        tau = (2 * (np.asarray(t, dtype=np.float64) - self.t0) / (self.T - self.t0) - 1)[:, None]
        for w, b in self.time:
            tau = _activate(self.activation, tau @ w.T + b)
        a = np.asarray(v, dtype=np.float64)
        for w, b in self.velocity:
            a = _activate(self.activation, a @ w.T + b)
        w, b = self.fuse_velocity
        a = _activate(self.activation, a @ w.T + b + (tau @ self.fuse_time.T)[:, None])
        for w, b in self.hidden:
            a = _activate(self.activation, a @ w.T + b)
        w, b = self.output
        return a @ w.T + b

    def with_jacobian(self, t: Array, v: Array) -> tuple[Array, Array]:
        """Network (m, n, out) and its velocity Jacobian (m, n, out, d) at times (m,), velocities (m, n, d)."""
        tau = (2 * (np.asarray(t, dtype=np.float64) - self.t0) / (self.T - self.t0) - 1)[:, None]
        for w, b in self.time:
            tau = _activate(self.activation, tau @ w.T + b)
        a = np.asarray(v, dtype=np.float64)
        tangent = np.broadcast_to(np.eye(self.d), (*a.shape, self.d))  # row j: derivative in velocity j
        for k, (w, b) in enumerate(self.path()):
            z, tangent = a @ w.T + b, tangent @ w.T
            if k == len(self.velocity):
                z = z + (tau @ self.fuse_time.T)[:, None]
            if k == len(self.path()) - 1:
                return z, np.swapaxes(tangent, -1, -2)
            a = _activate(self.activation, z)
            tangent = _slope(self.activation, z)[..., None, :] * tangent
        raise AssertionError("unreachable")


@runtime_checkable
class HasNetwork(Protocol):
    """A run that can show the weights of its networks. Optional: without it only spectral products are available."""

    def network(self, net: str) -> Perceptron | None:
        """Weights of ``score`` (or ``flow``), or None where the network is not of this form."""


def _activate(name: str, x: Array) -> Array:
    return x * expit(x) if name == "silu" else np.tanh(x)


def _slope(name: str, x: Array) -> Array:
    if name == "tanh":
        return 1 - np.tanh(x) ** 2
    s = expit(x)
    return s * (1 + x * (1 - s))
