"""Small worlds in which every quantity of Theorems 1 to 5 is known: k atoms, linear scores, a polynomial flow map.

The exact law f_t is k atoms of equal mass carried along by X' = U[f](X) with an exact score s(v) = B v + b. It need not
be grad log f: no proof of the theorems uses that it is. The learned flow is T(t, v) = v + t (G v + g) + t^2 H v, the
learned score s~(v) = B~ v + b~. All Lipschitz constants are exact, W1 is an assignment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from paper_checks.search import ascend
from theory.gronwall import NumericOps, TimeGrid
from theory.kernels import Kernel
from theory.provenance import Array

ATOMS = 3
GRID = TimeGrid(np.array([0.0, 0.3, 0.6, 1.0]))


def pair_field(kernel: Kernel, x: Array, s: Array, y: Array, r: Array) -> Array:
    """-mean_j A(x_i - y_j)(s_i - r_j) for points x (..., n, d) and a cloud y (..., m, d)."""
    matrices = kernel.matrix(x[..., :, None, :] - y[..., None, :, :])
    values = s[..., :, None, :] - r[..., None, :, :]
    return -np.einsum("...nmij,...nmj->...ni", matrices, values) / y.shape[-2]


def assignment(x: Array, y: Array) -> Array:
    """W1 between clouds (..., k, d) of equal size: the best of all k! assignments."""
    k = x.shape[-2]
    cost = np.linalg.norm(x[..., :, None, :] - y[..., None, :, :], axis=-1)
    orders = [np.mean([cost[..., i, j] for i, j in enumerate(p)], axis=0) for p in itertools.permutations(range(k))]
    return np.asarray(np.min(orders, axis=0))


def rms(vectors: Array) -> Array:
    """Root mean square over the points of vectors (..., n, d)."""
    return np.sqrt(np.mean(np.sum(vectors**2, axis=-1), axis=-1))


TIMES = np.unique(np.concatenate([GRID.flat, GRID.edges]))


def trajectories(kernel: Kernel, start: Array, slope: Array, offset: Array) -> Array:
    """Atoms of many worlds at ``TIMES`` by Runge-Kutta, (worlds, m, k, d).

    Start (worlds, k, d), slope (worlds, d, d), offset (worlds, d) of the exact scores.
    """

    def rate(x: Array) -> Array:
        s = x @ slope.swapaxes(-1, -2) + offset[:, None]
        return pair_field(kernel, x, s, x, s)

    x, out = start, [start]
    with np.errstate(over="ignore", invalid="ignore"):  # a world that is too stiff is left out later
        for h in np.diff(TIMES):
            a = rate(x)
            b = rate(x + h / 2 * a)
            c = rate(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + rate(x + h * c))
            out.append(x)
    return np.stack(out, axis=1)


def size(d: int) -> int:
    """Number of parameters of a world."""
    return ATOMS * d + 4 * d * d + 3 * d


def worlds(kernel: Kernel, parameters: Array) -> list[Toy]:
    """From rows of numbers: atoms, B, b, the score error (B~ - B, b~ - b), G, g, H."""
    n, d = len(parameters), kernel.d
    sizes = [ATOMS * d, d * d, d, d * d, d, d * d, d, d * d]
    shapes = [(ATOMS, d), (d, d), (d,), (d, d), (d,), (d, d), (d,), (d, d)]
    parts = np.split(parameters, np.cumsum(sizes)[:-1], axis=1)
    start, slope, offset, wrong, shift, g1, g0, g2 = (
        part.reshape(n, *shape) for part, shape in zip(parts, shapes, strict=True)
    )
    atoms = trajectories(kernel, start, slope, offset)
    return [
        Toy(kernel, atoms[k], (slope[k], offset[k]), (slope[k] + wrong[k], offset[k] + shift[k]), (g1[k], g0[k], g2[k]))
        for k in range(n)
    ]


@dataclass(frozen=True)
class Toy:
    """One world; exact atoms (m, k, d) at ``TIMES``, scores as (slope, offset), flow as (G, g, H)."""

    kernel: Kernel
    atoms: Array
    exact: tuple[Array, Array]
    learned: tuple[Array, Array]
    flow: tuple[Array, Array, Array]

    def score(self, x: Array) -> Array:
        """Exact score."""
        return x @ self.exact[0].T + self.exact[1]

    def learned_score(self, x: Array) -> Array:
        """Learned score."""
        return x @ self.learned[0].T + self.learned[1]

    def delta(self, x: Array) -> Array:
        """Size of the score error."""
        return np.linalg.norm(self.learned_score(x) - self.score(x), axis=-1)

    def resolved(self) -> bool:
        """Whether Runge-Kutta resolves the atoms; stiffer worlds have bounds too large to be of interest."""
        if not np.isfinite(self.atoms).all():
            return False
        of = self.constants
        rate = of["kernel_bound"] * of["score_lipschitz"] + of["kernel_lipschitz"] * of["score_oscillation"]
        return bool(rate * np.max(np.diff(TIMES)) < 1.0)

    @cached_property
    def particles(self) -> tuple[Array, Array]:
        """Learned positions and velocities of one particle per atom at all times, (m, k, d) each."""
        g1, g0, g2 = self.flow
        t, start = TIMES[:, None, None], self.atoms[0]
        linear, square = start @ g1.T + g0, start @ g2.T
        return start + t * linear + t**2 * square, linear + 2 * t * square

    @cached_property
    def nodes(self) -> np.ndarray:
        """Indices of the quadrature nodes among ``TIMES``."""
        return np.searchsorted(TIMES, GRID.flat)

    @cached_property
    def edges(self) -> np.ndarray:
        """Indices of the report times."""
        return np.searchsorted(TIMES, GRID.edges)

    @cached_property
    def constants(self) -> dict[str, float]:
        """Constants of Assumption 1 on the ball that holds everything."""
        radius = 1.001 * max(float(np.linalg.norm(p, axis=-1).max()) for p in (self.atoms, self.particles[0]))
        exact, learned, wrong = (np.linalg.norm(m, 2) for m in (self.exact[0], self.learned[0], self.wrong))
        return {
            "kernel_bound": self.kernel.sup_norm(radius),
            "kernel_lipschitz": self.kernel.lipschitz(radius),
            "score_lipschitz": float(exact),
            "score_oscillation": 2 * radius * float(exact),
            "learned_score_lipschitz": float(learned),
            "learned_score_oscillation": 2 * radius * float(learned),
            "error_lipschitz": float(wrong),
        }

    @property
    def wrong(self) -> Array:
        """Slope of the score error."""
        return self.learned[0] - self.exact[0]

    def residual(self, draw: np.ndarray) -> Array:
        """Physics residual of the drawn particles at all times."""
        position, velocity = (p[:, draw] for p in self.particles)
        s = self.learned_score(position)
        return velocity - pair_field(self.kernel, position, s, position, s)


def report(ops: NumericOps, terms: Any) -> Array:
    """A bound at the report times after the start, the error estimate of the time rule added."""
    return (terms + ops.error).numbers()[1:]


Quotient = Callable[[Toy], float]


def attack(
    quotient: Quotient, kernel: Kernel, rng: np.random.Generator, starts: int, steps: int
) -> tuple[float, Toy, int]:
    """Largest truth/bound found over worlds with this kernel, the world, and the number of tries."""

    def objective(x: Array) -> Array:
        values = np.array([quotient(toy) if toy.resolved() else 0.0 for toy in worlds(kernel, x)])
        return np.where(np.isfinite(values), values, 0.0)

    scale = 10 ** rng.uniform(-1.5, 0.0, (starts, 1))
    start = scale * rng.standard_normal((starts, size(kernel.d)))
    found, x, tries = ascend(objective, start, rng, lambda p: np.clip(p, -3, 3), steps=steps)
    return found, worlds(kernel, x[None])[0], tries
