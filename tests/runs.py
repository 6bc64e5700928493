"""Runs with known truth: the exact flow, known perturbations of it, folded and truncated counterexamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from theory.flow import FlowJets, Growth
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


def exact_run(problem: Problem) -> FunctionRun:
    """The exact characteristic flow."""
    solution: Any = problem.exact
    return FunctionRun(problem, solution.flow_jets, "exact flow")


def composed(
    problem: Problem, outer: Callable[[float, Array], tuple[Array, Array, Array, Array]], name: str
) -> FunctionRun:
    """P(t, X(t, v)) for an outer map P given by its jets in (t, x)."""
    solution: Any = problem.exact

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        x, dx, jac, hess = solution.flow_jets(t, v)
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
