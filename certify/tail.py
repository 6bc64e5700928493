"""A flow with its tail replaced: T near the mean of f0, the identity far out, a blend between (``--tail R``).

A free network may fold where f0 has next to no mass; its pushforward has a caustic there, and every certificate that
needs its score is void, however little mass is concerned. With c the mean of f0,

    T'(t, v) = v + chi(|v - c|) (T(t, v) - v),   chi = 1 up to R, 0 from R' on, C^3,

is the same flow but for a mass f0(|v - c| > R), starts at the identity as T does, and is proper, with a tail that is
known exactly. What is judged then is T'. Its law is as near to that of T as the replaced tail is light:

    W2(T_# f0, T'_# f0)^2 <= E (1 - chi)^2 |T - v|^2,   ||T_# f0 - T'_# f0||_L1 <= 2 f0(|v - c| > R),

since T and T' are a coupling and agree on |v - c| <= R.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from certify.run import HasNetwork, Run
from theory.errors import UserError
from theory.flow import FlowJets, Growth
from theory.perceptron import Perceptron
from theory.problem import Problem
from theory.provenance import Array

WIDTH = 2.0  # R' / R, as far as the quadrature reaches
LEAST = 1.1  # the smallest R' / R
LOOKS = 9  # times at which the price is taken


def blended(run: Run, problem: Problem, radius: float) -> Run:
    """The run with its tail replaced beyond ``radius`` around the mean of f0 of its own problem.

    Raises
    ------
    UserError
        E400 if the quadrature of f0 ends before the blend could.
    """
    reach = problem.rule().radius
    if LEAST * radius > reach:
        cause = f"--tail {radius:g} leaves no room: the quadrature of f0 ends at |v - mean| = {reach:.3g}"
        raise UserError("E400", cause, f"Choose at most {reach / LEAST:.3g}")
    kind = _BlendedWithNetwork if isinstance(run, HasNetwork) else BlendedTail
    return kind(run, problem, radius, min(WIDTH * radius, reach))


@dataclass(frozen=True, eq=False)
class BlendedTail:
    """T' of the module's docstring as a run; the score, if any, is the learned one as it is.

    Parameters
    ----------
    run : Run
    problem : Problem
        Whose initial density the run's flow pushes forward.
    inner, outer : float
        R and R'.
    """

    run: Run
    problem: Problem
    inner: float
    outer: float

    @property
    def name(self) -> str:
        """The run's, and what was done to it."""
        return f"{self.run.name} with its tail from |v| = {self.inner:g} on replaced"

    @property
    def d(self) -> int:
        """Dimension."""
        return self.run.d

    @property
    def t0(self) -> Fraction:
        """Start of its window."""
        return self.run.t0

    @property
    def T(self) -> Fraction:
        """End of its window."""
        return self.run.T

    @property
    def identity_beyond(self) -> float:
        """R': beyond it the flow rests."""
        return self.outer

    @cached_property
    def _centre(self) -> Array:
        return self.problem.initial.mean()

    def _inside(self, v: Array) -> Array:
        return np.linalg.norm(v - self._centre, axis=1) < self.outer

    def flow(self, t: Array, v: Array) -> Array:
        """T'(t_k, v_i), (m, n, d)."""
        near = self._inside(v)
        return self._mixed(v, near, self.run.flow(t, v[near])) if near.any() else _resting(t, v)

    def _mixed(self, v: Array, near: Array, moved: Array) -> Array:
        """T' at v, where T is ``moved`` at the points that are ``near``."""
        out, share = _resting(moved, v), step(self._place(v[near]))[0][:, None]
        # not v + 1 (T - v), which rounds
        out[:, near] = np.where(share == 1.0, moved, v[near] + share * (moved - v[near]))
        return out

    def _place(self, v: Array) -> Array:
        """0 at R, 1 at R'."""
        r = np.linalg.norm(v - self._centre, axis=1)
        return np.asarray((r - self.inner) / (self.outer - self.inner))

    def velocity(self, t: Array, v: Array) -> tuple[Array, Array]:
        """T' and d_t T'."""
        speed, near = np.zeros((len(t), *v.shape)), self._inside(v)
        if not near.any():
            return _resting(t, v), speed
        moved, moving = self.run.velocity(t, v[near])
        speed[:, near] = step(self._place(v[near]))[0][:, None] * moving
        return self._mixed(v, near, moved), speed

    def jets(self, t: Array, v: Array) -> FlowJets | None:
        """T' with derivatives, by the product rule."""
        near, (n, d), m = self._inside(v), v.shape, len(t)
        jac = np.broadcast_to(np.eye(d), (m, n, d, d)).copy()
        hess, speed = np.zeros((m, n, d, d, d)), np.zeros((m, n, d))
        if not near.any():
            return FlowJets(_resting(t, v), speed, jac, hess)
        found = self.run.jets(t, v[near])
        if found is None:
            return None
        y = v[near]
        chi, slope, bend = self._cutoff(y)
        gap, gap_jac = found.value - y, found.jac - np.eye(d)
        free = (chi == 1.0)[:, None]
        # where chi = 1 the jets are the run's own, bit for bit
        jac[:, near] = np.where(
            free[..., None], found.jac, np.eye(d) + chi[:, None, None] * gap_jac + gap[..., :, None] * slope[:, None, :]
        )
        mixed = gap_jac[..., :, :, None] * slope[:, None, None, :]
        hess[:, near] = np.where(
            free[..., None, None],
            found.hess,
            chi[:, None, None, None] * found.hess
            + mixed
            + mixed.swapaxes(-1, -2)
            + gap[..., :, None, None] * bend[:, None, :, :],
        )
        speed[:, near] = chi[:, None] * found.dt
        return FlowJets(self._mixed(v, near, found.value), speed, jac, hess)

    def _cutoff(self, v: Array) -> tuple[Array, Array, Array]:
        """Chi with gradient (n, d) and second derivatives (n, d, d)."""
        z, width = v - self._centre, self.outer - self.inner
        r = np.linalg.norm(z, axis=1)
        value, first, second = step((r - self.inner) / width)
        safe = np.where(r > 0, r, 1.0)
        unit = z / safe[:, None]
        outward = unit[:, :, None] * unit[:, None, :]
        radial, around = second / width**2, first / (width * safe)
        bend = radial[:, None, None] * outward + around[:, None, None] * (np.eye(v.shape[1]) - outward)
        return value, first[:, None] / width * unit, bend

    def score(self, t: Array, x: Array) -> Array | None:
        """The learned score."""
        return self.run.score(t, x)

    def score_divergence(self, t: Array, x: Array) -> Array | None:
        """Its divergence."""
        return self.run.score_divergence(t, x)

    def layers(self, net: str) -> tuple[tuple[Array, float], ...] | None:
        """Of the score; the blended flow is no network."""
        return None if net == "flow" else self.run.layers(net)

    def smooth(self) -> bool | None:
        """As the run; the blend is C^3."""
        return self.run.smooth()

    def diffeomorphism(self) -> bool:
        """Not by construction: the blend may fold."""
        return False

    def growth(self, t: Array, radius: float) -> Growth | None:
        """Closed form where the flow rests."""
        if radius < self.outer * (1 - 1e-12):
            return None
        return Growth.at_rest(len(t), radius)

    def trained_on(self) -> Array | None:
        """As the run."""
        found = getattr(self.run, "trained_on", lambda: None)()
        return None if found is None else np.asarray(found)

    @cached_property
    def price(self) -> Mapping[str, float]:
        """Mass f0 beyond R, and how far the law of T' may be from that of T: in L1, in W2 (largest over some times).

        The W2 value is by quadrature as far as that reaches, beyond it T counts as the identity: numerical.
        """
        rule, times = self.problem.rule(), np.linspace(float(self.t0), float(self.T), LOOKS)
        place = self._place(rule.nodes)
        tail, kept = rule.nodes[place > 0], step(place[place > 0])[0]
        mass = self.problem.initial.tail_moment(self.inner, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            square = np.sum((self.run.flow(times, tail) - tail) ** 2, axis=-1) @ (
                rule.weights[place > 0] * (1 - kept) ** 2
            )
        w2 = float(np.sqrt(np.nan_to_num(square, nan=math.inf).max()))
        return {"mass": mass, "l1": min(2 * mass, 2.0), "w2": w2}

    def describe(self) -> Mapping[str, Any]:
        """As the run, and the tail."""
        return {
            **self.run.describe(),
            "name": self.name,
            "tail": {"from": self.inner, "identity_from": self.outer, **self.price},
        }


class _BlendedWithNetwork(BlendedTail):
    """With the weights of the score, which are the run's."""

    def network(self, net: str) -> Perceptron | None:
        """Of the score."""
        return self.run.network(net) if isinstance(self.run, HasNetwork) and net != "flow" else None


def _resting(times: Array, v: Array) -> Array:
    """The identity at every time, (m, n, d), writable."""
    return np.broadcast_to(v, (len(times), *v.shape)).copy()


def step(x: Array) -> tuple[Array, Array, Array]:
    """From 1 at x <= 0 down to 0 at x >= 1, three times continuously differentiable; with two derivatives."""
    y = np.clip(x, 0.0, 1.0)
    return (
        1 - y**4 * (35 - 84 * y + 70 * y**2 - 20 * y**3),
        -140 * y**3 * (1 - y) ** 3,
        -420 * y**2 * (1 - y) ** 2 * (1 - 2 * y),
    )
