"""What the cells of an experiment are measured against: the exact solution, or a numerical reference with its error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from theory.problem import ExactSolution, Problem
from theory.provenance import Array
from theory.reference import Reference
from validation.metrics import grid_points
from validation.plan import Setup

WIDER, MARGIN = 1.4, 1.1  # covariance of the proposal of rejection sampling, and margin of its limit


@dataclass(frozen=True)
class Truth:
    """The solution at the snapshots of a setup, and the characteristics of the common starts.

    Parameters
    ----------
    setup : Setup
    problem : Problem
    method : str
        ``exact solution``, or what made the reference; why there is neither, otherwise.
    paths : ndarray (m, n, d)
        NaN where a reference does not resolve them.
    path_error : ndarray (m,)
        Relative L2 error of the paths as the reference estimates it; 0 if exact.
    exact : ExactSolution or None
    reference : Reference or None
    """

    setup: Setup
    problem: Problem
    method: str
    paths: Array
    path_error: Array
    exact: ExactSolution | None = None
    reference: Reference | None = None
    _grid: dict[int, Array] = field(default_factory=dict, repr=False)

    @property
    def known(self) -> bool:
        """Whether there is any solution to measure against."""
        return self.exact is not None or self.reference is not None

    def density(self, k: int, v: Array) -> Array:
        """Density (n,) at snapshot k and v (n, d)."""
        if self.exact is not None:
            return np.exp(self.exact.log_density(self.setup.times[k], v))
        if self.reference is None:
            raise ValueError(self.method)
        return np.asarray(self.reference.density(k, v))

    def log_density(self, k: int, v: Array) -> Array:
        """Its logarithm; -inf where a reference has nothing."""
        if self.exact is not None:
            return self.exact.log_density(self.setup.times[k], v)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.maximum(self.density(k, v), 0.0)))

    def on_grid(self, k: int) -> Array:
        """Density on the evaluation grid, (g, ..., g); remembered."""
        if k not in self._grid:
            axes = self.setup.axes(self.problem.d)
            self._grid[k] = self.density(k, grid_points(axes)).reshape([len(a) for a in axes])
        return self._grid[k]

    def score(self, k: int, v: Array) -> Array | None:
        """Exact score at v (n, d), or None."""
        return None if self.exact is None else self.exact.score(self.setup.times[k], v)

    def drift(self, k: int, v: Array) -> Array | None:
        """Exact drift at v (n, d), or None."""
        return None if self.exact is None else self.exact.drift(self.setup.times[k], v)

    def sample(self, k: int, n: int, rng: np.random.Generator) -> Array:
        """Independent draws of the law at snapshot k, (n, d); of a reference by rejection."""
        if self.exact is not None:
            return self.exact.sample(self.setup.times[k], n, rng)
        if self.reference is None:
            raise ValueError(self.method)
        moments = self.reference.mean[k], self.reference.covariance[k]
        return rejection(lambda v: self.density(k, v), *moments, n, rng)

    def entropy_rate(self) -> Array | None:
        """dH/dt = E U.s at the snapshots, by quadrature over f_t0 along the exact flow; None without one."""
        if self.exact is None:
            return None
        rule, rates = self.problem.rule(), []
        for t in self.setup.times:
            x = self.exact.flow(t, rule.nodes)
            rates.append(rule.weights @ np.sum(self.exact.drift(t, x) * self.exact.score(t, x), axis=1))
        return np.array(rates)


def rejection(
    density: Callable[[Array], Array], mean: Array, covariance: Array, n: int, rng: np.random.Generator
) -> Array:
    """Independent draws (n, d) of a density (k, d) -> (k,), from a Gaussian somewhat wider than it.

    The largest ratio of the two is taken from a first batch with a margin; a larger one starts everything anew with
    that, so that draws are accepted under one limit.

    Raises
    ------
    RuntimeError
        If the ratio keeps growing: the tails are heavier than the Gaussian's.
    """
    root, d = np.linalg.cholesky(WIDER * covariance), len(mean)
    front = math.log(2 * math.pi) * d / 2 + float(np.log(np.diag(root)).sum())

    def draw(count: int) -> tuple[Array, Array]:
        z = rng.standard_normal((count, d))
        v = mean + z @ root.T
        return v, density(v) * np.exp(np.sum(z * z, axis=1) / 2 + front)

    limit = MARGIN * float(draw(n)[1].max())
    for _ in range(20):
        found: list[Array] = []
        while sum(map(len, found)) < n:
            v, ratio = draw(n)
            largest = float(ratio.max())
            if largest > limit:
                limit = MARGIN * largest
                break
            found.append(v[rng.random(n) * limit < ratio])
        else:
            return np.concatenate(found)[:n]
    raise RuntimeError("no Gaussian covers the density: nothing can be drawn by rejection")


def truth_of(setup: Setup, problem: Problem, starts: Array) -> Truth:
    """The exact solution where it is known, else the numerical reference for these starts, else neither."""
    times = np.array(setup.times)
    if problem.exact is not None:
        paths = np.stack([problem.exact.flow(t, starts) for t in times])
        return Truth(setup, problem, "exact solution", paths, np.zeros(len(times)), exact=problem.exact)
    from solver.references import reference_for

    reference = reference_for(problem, times, starts)
    if reference is None:
        nowhere = np.full((len(times), *starts.shape), np.nan)
        return Truth(setup, problem, "no exact solution, no reference solver", nowhere, np.full(len(times), np.nan))
    known = np.isfinite(reference.paths).all(axis=2) & np.isfinite(reference.path_error)
    paths = np.where(known[..., None], reference.paths, np.nan)
    sizes = np.linalg.norm(np.where(known[..., None], reference.paths, 0.0), axis=(1, 2))
    error = np.linalg.norm(np.where(known, reference.path_error, 0.0), axis=1) / sizes
    return Truth(setup, problem, reference.method, paths, error, reference=reference)
