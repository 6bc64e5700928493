"""What a particle method leaves behind, and how it answers for any start velocity: passive tracers.

A particle method knows its particles and, through its score and its pair sums, a velocity field at every step. A tracer
is a particle of weight zero moved by that field with the method's own scheme, so that a tracer started at a particle
follows it. Between steps positions are cubic Hermite interpolants of values and velocities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from solver.pairs import Jet
from theory.flow import FlowJets, Growth
from theory.problem import Problem
from theory.provenance import Array

REMEMBERED = 2**28  # bytes of tracer paths kept for further questions about the same starts
OUTSIDE = 1e-9  # how far, in units of the window, rounding may put a time outside it

State = tuple[Array, Array]
Path = tuple[Array, ...]  # of a path over the steps: positions and velocities, with derivatives or without


class Field(Protocol):
    """A particle method's field at its own steps, at any velocity."""

    @property
    def times(self) -> Array:
        """Every step, (m,), ascending; the first is t0."""

    def drift(self, k: int, x: Array) -> Array:
        """Velocity (n, d) of tracers at x (n, d) at step k."""

    def score(self, k: int, x: Array) -> Array:
        """The method's score (n, d) at x (n, d) at step k."""


class Tangents(Protocol):
    """What a field adds if its tracers can be differentiated in their start velocity."""

    @property
    def smooth(self) -> bool | None:
        """Whether every step is a smooth map of R^d; None if unknown."""

    def jet(self, k: int, x: Array) -> Jet:
        """Velocity of tracers at x (n, d) at step k with its first two derivatives there."""

    def advance_jet(self, k: int, state: Jet) -> Jet:
        """Tracers one step later with their first two derivatives in the start velocity."""


@dataclass(frozen=True)
class ParticleSolution:
    """Particles at the steps of a method, and its field.

    Parameters
    ----------
    problem : Problem
    method : str
        ``sbp``, ``blob-chww`` or ``blob-ccp``.
    settings : mapping
        Plain values, for the report.
    times : ndarray (m,)
        Steps at which particles are kept: every step of ``field.times``, or the first, the last and some between.
    positions, scores, velocities : ndarray (m, n, d)
        Of the particles; velocities are the drift there.
    weights : ndarray (n,)
        Sum 1.
    log_density : ndarray (m, n) or None
        Log-density carried along the particles, if the method does so.
    field : Field
        At every step, whatever ``times`` keeps.
    advance : callable, optional
        ``advance(k, x)``: tracers at x at step k, one step later. Default: forward Euler with ``field.drift``.
    divergence : callable, optional
        ``divergence(k, x)``: divergence (n,) of ``field.score``, if it is cheap.
    tangents : Tangents, optional
        The derivatives of tracers; smooth fields only.

    Raises
    ------
    ValueError
        If the shapes do not fit or the steps do not ascend over the problem's window.
    """

    problem: Problem
    method: str
    settings: Mapping[str, Any]
    times: Array
    positions: Array
    scores: Array
    velocities: Array
    weights: Array
    log_density: Array | None
    field: Field
    advance: Callable[[int, Array], Array] | None = None
    divergence: Callable[[int, Array], Array] | None = None
    tangents: Tangents | None = None

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.weights), self.problem.d)
        for name in ("positions", "scores", "velocities"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} have shape {getattr(self, name).shape}, not {shape}")
        if self.log_density is not None and self.log_density.shape != shape[:2]:
            raise ValueError(f"log densities have shape {self.log_density.shape}, not {shape[:2]}")
        steps, window = self.field.times, np.array([float(self.problem.t0), float(self.problem.T)])
        if np.any(np.diff(steps) <= 0) or np.any(np.abs(steps[[0, -1]] - window) > OUTSIDE * np.ptp(window)):
            raise ValueError(f"the steps must ascend from {window[0]:g} to {window[1]:g}")

    def step(self, k: int, x: Array) -> Array:
        """Tracers (n, d) at step k + 1 that are at x at step k."""
        if self.advance is not None:
            return self.advance(k, x)
        steps = self.field.times
        return np.asarray(x + (steps[k + 1] - steps[k]) * self.field.drift(k, x))


class ParticleRun:
    """A particle solution as certify sees it: flow and velocity by tracers, score by the field (its ``Run`` protocol).

    Jets come from the tangent equations of the discrete steps, where the method has them. Nothing is known by
    construction: no bound of any Lipschitz constant, no diffeomorphism.
    """

    def __init__(self, solution: ParticleSolution) -> None:
        self.solution = solution
        self._paths: dict[tuple[bytes, bool], Path] = {}

    @property
    def name(self) -> str:
        """Method and number of particles."""
        return f"{self.solution.method}, {len(self.solution.weights)} particles"

    @property
    def d(self) -> int:
        """Dimension."""
        return self.solution.problem.d

    @property
    def t0(self) -> Fraction:
        """Start of the window."""
        return self.solution.problem.t0

    @property
    def T(self) -> Fraction:
        """End of the window."""
        return self.solution.problem.T

    def flow(self, t: Array, v: Array) -> Array:
        """Tracers from v (n, d) at times t (m,), any order: (m, n, d)."""
        return self.velocity(t, v)[0]

    def velocity(self, t: Array, v: Array) -> State:
        """Tracers from v (n, d) at times t (m,) and the derivative of the interpolant, each (m, n, d)."""
        place, speed = self._interpolated(t, v, derivatives=False)
        return place, speed

    def jets(self, t: Array, v: Array) -> FlowJets | None:
        """Flow with derivatives: those of the discrete steps and of the interpolant; None if the method has none."""
        if self.solution.tangents is None:
            return None
        value, jac, hess, dt = self._interpolated(t, v, derivatives=True)
        return FlowJets(value, dt, jac, hess)

    def _interpolated(self, t: Array, v: Array, *, derivatives: bool) -> list[Array]:
        """Hermite interpolants of tracers (of J and H as well), and the time derivative of the tracers."""
        k, share = self._bracket(t)
        v = np.ascontiguousarray(v, dtype=np.float64)
        steps, n, d = self.solution.field.times, *v.shape
        shapes = [(n, d), (n, d, d), (n, d, d, d)][: 3 if derivatives else 1]
        values, speed = [np.empty((len(k), *shape)) for shape in shapes], np.empty((len(k), n, d))
        states = self._states(v, int(k.max(initial=-1)) + 1, derivatives=derivatives)
        for step, (before, after) in enumerate(pairwise(states)):
            length, half = steps[step + 1] - steps[step], len(before) // 2
            for i in np.flatnonzero(k == step):
                for q, value in enumerate(values):
                    ends = (before[q], before[half + q]), (after[q], after[half + q])
                    value[i], slope = hermite(share[i], length, *ends)
                    if q == 0:
                        speed[i] = slope
        return [*values, speed]

    def score(self, t: Array, x: Array) -> Array | None:
        """The field's score at x (m, n, d), linear in time between the two steps around each t."""
        return self._between(self.solution.field.score, t, x)

    def score_divergence(self, t: Array, x: Array) -> Array | None:
        """Its divergence (m, n) at x (m, n, d), or None if the method does not give it."""
        return None if self.solution.divergence is None else self._between(self.solution.divergence, t, x)

    def layers(self, net: str) -> tuple[tuple[Array, float], ...] | None:  # noqa: ARG002 - the protocol's signature
        """None: there is no network of known layers."""
        return None

    def smooth(self) -> bool | None:
        """Whether its steps are smooth maps; unknown without tangents."""
        return None if self.solution.tangents is None else self.solution.tangents.smooth

    def diffeomorphism(self) -> bool:
        """Not by construction."""
        return False

    def growth(self, t: Array, radius: float) -> Growth | None:  # noqa: ARG002 - the protocol's signature
        """None: no growth bound by construction."""
        return None

    def describe(self) -> Mapping[str, Any]:
        """Name, problem with constants and window, method, settings, particles and steps."""
        solution = self.solution
        return {
            "name": self.name,
            "problem": solution.problem.id,
            "constants": dict(solution.problem.constants),
            "t0": str(self.t0),
            "T": str(self.T),
            "d": self.d,
            "method": solution.method,
            "settings": dict(solution.settings),
            "particles": len(solution.weights),
            "steps": len(solution.field.times) - 1,
        }

    def _bracket(self, t: Array) -> tuple[NDArray[np.intp], Array]:
        """Step to the left of each time, and the share of the step that has passed.

        Raises
        ------
        ValueError
            For a time outside the window.
        """
        steps, t = self.solution.field.times, np.asarray(t, dtype=np.float64)
        slack = OUTSIDE * (steps[-1] - steps[0])
        if not np.all((t >= steps[0] - slack) & (t <= steps[-1] + slack)):
            raise ValueError(f"times must lie in [{steps[0]:g}, {steps[-1]:g}], got {t}")
        k = np.clip(np.searchsorted(steps, t, side="right") - 1, 0, len(steps) - 2)
        return k, np.clip((t - steps[k]) / (steps[k + 1] - steps[k]), 0.0, 1.0)

    def _between(self, f: Callable[[int, Array], Array], t: Array, x: Array) -> Array:
        """f(step, x), linear between the two steps around each t; x (m, n, d)."""
        out = []
        for k, share, points in zip(*self._bracket(t), x, strict=True):
            value = f(int(k), points) if share < 1 else 0.0
            out.append((1 - share) * value + share * f(int(k) + 1, points) if share > 0 else value)
        return np.array(out)

    def _states(self, v: Array, last: int, *, derivatives: bool) -> Iterable[Path]:
        """Tracers from v at steps 0 ... last with their velocities; remembered, if that is not too much."""
        steps, key = len(self.solution.field.times), (v.tobytes(), derivatives)
        walk = self._walk_jets if derivatives else self._walk
        if key in self._paths:
            return zip(*self._paths[key], strict=True)
        d = v.shape[1]
        if 2 * steps * v.nbytes * (1 + d + d * d if derivatives else 1) > REMEMBERED:
            return walk(v, last)
        self._paths[key] = tuple(np.array(part) for part in zip(*walk(v, steps - 1), strict=True))
        while sum(part.nbytes for path in self._paths.values() for part in path) > REMEMBERED:
            del self._paths[next(iter(self._paths))]
        return zip(*self._paths[key], strict=True)

    def _walk(self, v: Array, last: int) -> Iterator[Path]:
        x = v
        for k in range(last + 1):
            yield x, self.solution.field.drift(k, x)
            if k < last:
                x = self.solution.step(k, x)

    def _walk_jets(self, v: Array, last: int) -> Iterator[Path]:
        tangents, (n, d) = self.solution.tangents, v.shape
        if tangents is None:
            return
        state = v, np.broadcast_to(np.eye(d), (n, d, d)), np.zeros((n, d, d, d))
        for k in range(last + 1):
            yield *state, *along(tangents.jet(k, state[0]), *state[1:])
            if k < last:
                state = tangents.advance_jet(k, state)


def bent(ddu: Array, jac: Array) -> Array:
    """Second derivatives (n, d, d, d) along the columns of J: [i, j, k] = sum ddu[i, a, b] J[a, j] J[b, k]."""
    return np.asarray(np.einsum("nibj,nbk->nijk", np.einsum("niab,naj->nibj", ddu, jac), jac))


def along(jet: Jet, jac: Array, hess: Array) -> Jet:
    """Velocity at tracers with its derivatives in their start velocity, by the chain rule from those in space."""
    u, du, ddu = jet
    return u, du @ jac, np.einsum("nia,najk->nijk", du, hess) + bent(ddu, jac)


def hermite(share: float, step: float, left: State, right: State) -> State:
    """Value and slope, a share of the step from the left, of the cubic with these values and slopes at both ends."""
    (x, u), (y, w) = left, right
    z, rest = share, 1 - share
    value = rest**2 * (1 + 2 * z) * x + z**2 * (3 - 2 * z) * y + step * z * rest * (rest * u - z * w)
    slope = 6 * z * rest * (y - x) / step + rest * (1 - 3 * z) * u + z * (3 * z - 2) * w
    return value, slope
