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
SIXTH_ORDER = (3 / 4, -3 / 20, 1 / 60)  # central differences of f(x + jh) - f(x - jh), times 1/h
STEP = 0.02  # their step in velocity, in standard deviations of f0; in time, a share of the window
RESOLVED = 30.0  # a reference has a score where its density is so many times its own estimated error


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
        """Exact score at v (n, d); that of a reference by differences, NaN where it does not resolve f; or None."""
        if self.exact is not None:
            return self.exact.score(self.setup.times[k], v)
        if self.reference is None:
            return None
        h = STEP * math.sqrt(float(np.trace(self.problem.initial.covariance())) / self.problem.d)
        lost = ~(self.density(k, v) > RESOLVED * float(self.reference.density_error[k]))
        with np.errstate(invalid="ignore"):
            found = gradient(lambda y: self.log_density(k, y), v, h)
        return np.where(lost[:, None], np.nan, found)

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
        """dH/dt at the snapshots: E U.s by quadrature along the exact flow, or by differences of a reference's H."""
        if self.exact is None:
            return None if self.reference is None else self._entropy_differences()
        rule, rates = self.problem.rule(), []
        for t in self.setup.times:
            x = self.exact.flow(t, rule.nodes)
            rates.append(rule.weights @ np.sum(self.exact.drift(t, x) * self.exact.score(t, x), axis=1))
        return np.array(rates)

    def _entropy_differences(self) -> Array | None:
        """Derivatives at the snapshots of parabolas through three values of H."""
        from solver.references import reference_for

        times = np.array(self.setup.times)
        h = STEP * np.diff(times).min()
        centres = np.clip(times, times[0] + h, times[-1] - h)
        every = np.unique(np.concatenate([centres - h, centres, centres + h]))
        found = reference_for(self.problem, every, self.problem.initial.mean()[None])
        if found is None:
            return None
        low, middle, high = (found.entropy[np.searchsorted(every, centres + s)] for s in (-h, 0.0, h))
        return np.asarray((high - low) / (2 * h) + (times - centres) * (high - 2 * middle + low) / h**2)


def gradient(function: Callable[[Array], Array], v: Array, h: float) -> Array:
    """Gradient (n, d) at v (n, d) of a function (k, d) -> (k,), by central differences of order 6."""
    columns = []
    for axis in np.eye(v.shape[1]):
        pairs = [(w, j * h * axis) for j, w in enumerate(SIXTH_ORDER, start=1)]
        columns.append(sum(w * (function(v + e) - function(v - e)) for w, e in pairs) / h)
    return np.stack(columns, axis=1)


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
