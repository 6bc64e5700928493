"""Runs with known truth: the exact flow, known perturbations of it, folded and truncated counterexamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from theory.flow import FlowJets, Growth
from theory.kernels import maxwell
from theory.perceptron import Perceptron
from theory.problem import Problem
from theory.provenance import Array


@dataclass(frozen=True)
class FunctionRun:
    """A run given by its jets at one time, ``jets_at(t, v) -> (value, dt, jac, hess)``, without a score network."""

    problem: Problem
    jets_at: Callable[[float, Array], tuple[Array, Array, Array, Array]]
    name: str = "function"

    @property
    def d(self) -> int:
        return self.problem.d

    @property
    def t0(self) -> Fraction:
        return self.problem.t0

    @property
    def T(self) -> Fraction:
        return self.problem.T

    def flow(self, t: Array, v: Array) -> Array:
        return np.stack([self.jets_at(float(s), v)[0] for s in t])

    def velocity(self, t: Array, v: Array) -> tuple[Array, Array]:
        parts = [self.jets_at(float(s), v) for s in t]
        return np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts])

    def jets(self, t: Array, v: Array) -> FlowJets:
        return FlowJets(*(np.stack(x) for x in zip(*(self.jets_at(float(s), v) for s in t), strict=True)))

    def score(self, t: Array, x: Array) -> Array | None:
        return None

    def score_divergence(self, t: Array, x: Array) -> Array | None:
        return None

    def layers(self, net: str) -> None:
        return None

    def smooth(self) -> bool:
        return True

    def diffeomorphism(self) -> bool:
        return False

    def growth(self, t: Array, radius: float) -> Growth | None:
        return None

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "problem": self.problem.id, "constants": dict(self.problem.constants)}


_KNOWN: dict[tuple[str, float, bytes], tuple[Array, Array, Array, Array]] = {}


def exact_jets(problem: Problem) -> Callable[[float, Array], tuple[Array, Array, Array, Array]]:
    """Jets of the exact flow, remembered: runs on the same quadrature nodes share them."""
    solution: Any = problem.exact

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        key = (problem.spec, t, v.tobytes())
        if key not in _KNOWN:
            if len(_KNOWN) > 128:
                _KNOWN.clear()
            _KNOWN[key] = solution.flow_jets(t, v)
        return _KNOWN[key]

    return jets_at


def exact_run(problem: Problem) -> FunctionRun:
    """The exact characteristic flow."""
    return FunctionRun(problem, exact_jets(problem), "exact flow")


def composed(
    problem: Problem, outer: Callable[[float, Array], tuple[Array, Array, Array, Array]], name: str
) -> FunctionRun:
    """P(t, X(t, v)) for an outer map P given by its jets in (t, x)."""
    exact = exact_jets(problem)

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        x, dx, jac, hess = exact(t, v)
        y, dy, outer_jac, outer_hess = outer(t, x)
        value_dt = dy + np.einsum("nij,nj->ni", outer_jac, dx)
        jacobian = outer_jac @ jac
        second = np.einsum("nab,nbjk->najk", outer_jac, hess)
        second = second + np.einsum("nabc,nbj,nck->najk", outer_hess, jac, jac)
        return y, value_dt, jacobian, second

    return FunctionRun(problem, jets_at, name)


def gradient_perturbation(problem: Problem, size: float, wave: Array) -> FunctionRun:
    """x + size (t - t0) k cos(k.x)/|k| after the exact flow: a known smooth error."""
    t0, k = float(problem.t0), np.asarray(wave, dtype=np.float64)
    norm = float(np.linalg.norm(k))

    def outer(t: float, x: Array) -> tuple[Array, Array, Array, Array]:
        a = size * (t - t0) / norm
        phase = x @ k
        eye = np.broadcast_to(np.eye(len(k)), (len(x), len(k), len(k)))
        jac = eye - a * np.sin(phase)[:, None, None] * np.outer(k, k)
        hess = -a * np.cos(phase)[:, None, None, None] * np.einsum("i,j,k->ijk", k, k, k)
        return x + a * np.cos(phase)[:, None] * k, size / norm * np.cos(phase)[:, None] * k, jac, hess

    return composed(problem, outer, "perturbed exact flow")


def translation(problem: Problem, size: float) -> FunctionRun:
    """x + size (t - t0) e_1 after the exact flow: S1 holds with equality, W2 = size (t - t0)."""
    t0, d = float(problem.t0), problem.d
    step = size * np.eye(d)[0]

    def outer(t: float, x: Array) -> tuple[Array, Array, Array, Array]:
        eye = np.broadcast_to(np.eye(d), (len(x), d, d))
        return x + (t - t0) * step, np.broadcast_to(step, x.shape), eye, np.zeros((len(x), d, d, d))

    return composed(problem, outer, "translated exact flow")


def folded(problem: Problem, slope: float = 1.2) -> FunctionRun:
    """(v1 (1 - slope (t - t0)/L), v2): det J turns negative inside the window."""
    t0, length, d = float(problem.t0), float(problem.T - problem.t0), problem.d

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        diagonal = np.ones(d)
        diagonal[0] = 1 - slope * (t - t0) / length
        rate = np.zeros(d)
        rate[0] = -slope / length
        jac = np.broadcast_to(np.diag(diagonal), (len(v), d, d))
        return v * diagonal, v * rate, jac, np.zeros((len(v), d, d, d))

    return FunctionRun(problem, jets_at, "folded flow")


def scaled(problem: Problem, rate: float, start: float = 1.0) -> FunctionRun:
    """The flow start * exp(-rate (t - t0)) v."""
    t0, d = float(problem.t0), problem.d

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        a = start * np.exp(-rate * (t - t0))
        jac = np.broadcast_to(a * np.eye(d), (len(v), d, d))
        return a * v, -rate * a * v, jac, np.zeros((len(v), d, d, d))

    return FunctionRun(problem, jets_at, "scaling flow")


@dataclass(frozen=True)
class TruncatedGaussian:
    """Standard Gaussian in 2D cut off at |v| = R and normalised: it jumps at the circle (THEORY section 6.1)."""

    R: float = 2.0
    d: int = 2

    @property
    def mass(self) -> float:
        """Mass of the Gaussian inside the circle."""
        return float(-np.expm1(-(self.R**2) / 2))

    @property
    def temperature(self) -> float:
        """Variance of one component, T_R."""
        return float(1 - self.R**2 * np.exp(-(self.R**2) / 2) / (2 * self.mass))

    def log_density(self, v: Array) -> Array:
        r2 = np.sum(v * v, axis=-1)
        return np.where(r2 <= self.R**2, -r2 / 2 - np.log(2 * np.pi * self.mass), -np.inf)

    def score(self, v: Array) -> Array:
        return -v

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        radius = np.sqrt(-2 * np.log1p(-self.mass * rng.random(n)))
        angle = 2 * np.pi * rng.random(n)
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def mean(self) -> Array:
        return np.zeros(2)

    def covariance(self) -> Array:
        return self.temperature * np.eye(2)

    def tail_moment(self, radius: float, power: int) -> float:
        if radius >= self.R:
            return 0.0
        r, w = np.polynomial.legendre.leggauss(40)
        r = (self.R + radius) / 2 + (self.R - radius) / 2 * r
        return float((self.R - radius) / 2 * w @ (r ** (power + 1) * np.exp(-r * r / 2)) / self.mass)

    def score_growth(self, radius: float) -> tuple[float, float]:
        return 0.0, 1.0

    def radial_edges(self) -> Array:
        return np.linspace(0, self.R, 4)

    def regularity(self) -> tuple[bool, str]:
        return False, f"f0 jumps at |v| = {self.R:g}"


def truncated_problem() -> Problem:
    """Maxwell molecules started from the truncated Gaussian on [0, 1]."""
    return Problem(
        id="truncated-gaussian",
        title="Truncated Gaussian, Maxwell molecules",
        kernel=maxwell(2, 1 / 16),
        t0=Fraction(0),
        T=Fraction(1),
        initial=TruncatedGaussian(),
        exact=None,
        constants={"d": "2", "kernel": "maxwell", "C": "1/16", "R": "2"},
        source="THEORY section 6.1",
    )


@dataclass(frozen=True)
class ScoredRun(FunctionRun):
    """A run with a score network given by its weights."""

    net: Perceptron | None = None

    def _weights(self) -> Perceptron:
        assert self.net is not None
        return self.net

    def score(self, t: Array, x: Array) -> Array | None:
        return self._weights()(t, x)

    def score_divergence(self, t: Array, x: Array) -> Array | None:
        return np.asarray(np.einsum("mnii->mn", self._weights().with_jacobian(t, x)[1]))

    def layers(self, net: str) -> tuple[tuple[Array, float], ...] | None:  # type: ignore[override]
        weights, slope = self._weights(), {"silu": 1.0998393202, "tanh": 1.0}[self._weights().activation]
        *inner, (last, _) = weights.path()
        return (*((w, slope) for w, _ in inner), (last, 1.0)) if net == "score" else None

    def network(self, net: str) -> Perceptron | None:
        return self.net if net == "score" else None


def random_perceptron(rng: np.random.Generator, d: int, scale: float = 1.0) -> Perceptron:
    """A network of random shape, activation and size of weights on [0, 1]."""
    width, embedding, clock = (int(rng.integers(1, 9)) for _ in range(3))

    def layer(rows: int, columns: int) -> tuple[Array, Array]:
        return scale * rng.standard_normal((rows, columns)) / np.sqrt(columns), scale * rng.standard_normal(rows)

    def stack(first: int, size: int, depth: int) -> tuple[tuple[Array, Array], ...]:
        return tuple(layer(size, first if k == 0 else size) for k in range(depth))

    return Perceptron(
        velocity=stack(d, embedding, int(rng.integers(1, 3))),
        time=stack(1, clock, int(rng.integers(1, 3))),
        fuse_velocity=layer(width, embedding),
        fuse_time=layer(width, clock)[0],
        hidden=stack(width, width, int(rng.integers(0, 4))),
        output=layer(d, width),
        activation=("silu", "tanh")[int(rng.integers(2))],
        t0=0.0,
        T=1.0,
    )


def linear_perceptron(matrix: Array, t0: float, T: float) -> Perceptron:
    """The map v -> matrix v, exactly: silu(x) - silu(-x) = x. It does not depend on time."""
    d = len(matrix)
    both = np.vstack([np.eye(d), -np.eye(d)])
    again = np.hstack([both, -both])  # takes silu of (x, -x) to (x, -x)
    none = np.zeros(2 * d)
    return Perceptron(
        velocity=((both, none),),
        time=((np.zeros((1, 1)), np.zeros(1)),),
        fuse_velocity=(again, none),
        fuse_time=np.zeros((2 * d, 1)),
        hidden=((again, none),),
        output=(np.hstack([matrix, -matrix]), np.zeros(d)),
        activation="silu",
        t0=t0,
        T=T,
    )
