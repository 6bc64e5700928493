"""Everything the estimators of one judgement share: time grid, quadrature, pushforward, particles, random numbers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from certify.options import Options, Progress, silent
from certify.particles import reference_particles
from certify.pushforward import Pushforward, adapted_rule, push
from certify.run import Run
from theory.drift import pair_drifts
from theory.gronwall import TimeGrid
from theory.problem import ExactSolution, Problem
from theory.provenance import Array
from theory.quadrature import Rule
from theory.reference import Reference, ReferenceMaker


@dataclass(frozen=True, eq=False)
class Context:
    """One run on one problem.

    Parameters
    ----------
    run : Run
    problem : Problem
        The model's own problem: its initial density is that of the model's t0.
    start : float
        Start of the judged window; later than the model's t0 for a restart.
    options : Options
    progress : callable
    make_reference : callable, optional
        Gives a numerical solution where no exact one is known (``theory.reference``).
    """

    run: Run
    problem: Problem
    start: float
    options: Options = field(default_factory=Options)
    progress: Progress = silent
    make_reference: ReferenceMaker | None = None

    def rng(self, purpose: str) -> np.random.Generator:
        """Independent generator per purpose, spawned from the report's seed."""
        return np.random.default_rng([self.options.seed, zlib.crc32(purpose.encode())])

    @property
    def is_restart(self) -> bool:
        """Whether the judged window starts after the model's."""
        return self.start > float(self.problem.t0)

    @cached_property
    def window(self) -> TimeGrid:
        """Report times of the judged window, graded towards its start, and their quadrature nodes."""
        x = np.linspace(0, 1, self.options.times + 1) ** 1.5
        return TimeGrid(self.start + (float(self.problem.T) - self.start) * x)

    @cached_property
    def grid(self) -> TimeGrid:
        """The window preceded by panels from the model's t0 to its start (restart)."""
        if not self.is_restart:
            return self.window
        t0 = float(self.problem.t0)
        before = t0 + (self.start - t0) * np.linspace(0, 1, 7) ** 1.5
        return TimeGrid(np.concatenate([before[:-1], self.window.edges]))

    @property
    def times(self) -> Array:
        """Report times."""
        return self.window.edges

    @cached_property
    def rule(self) -> Rule:
        """Quadrature against f0, refined until the flow defect is resolved at a few probe times."""
        return adapted_rule(self)

    @cached_property
    def pushed(self) -> Pushforward | None:
        """The learned density at every quadrature time; None if the model gives no derivatives."""
        return push(self.run, self.problem, self.rule, self.grid.flat, self.progress, "pushforward")

    @cached_property
    def pushed_at_times(self) -> Pushforward | None:
        """The learned density at the report times."""
        return push(self.run, self.problem, self.rule, self.times, self.progress, "report times")

    @property
    def exact(self) -> ExactSolution | None:
        """Exact solution, if the problem has one."""
        return self.problem.exact

    @cached_property
    def exact_path(self) -> Array:
        """Exact flow of the quadrature nodes at the report times, (m, n, d). Needs the exact solution."""
        solution = self.exact
        if solution is None:
            raise ValueError("this problem has no exact solution")
        return np.stack([solution.flow(t, self.rule.nodes) for t in self.times])

    @cached_property
    def reference_solution(self) -> Reference | None:
        """A numerical solution at the report times, its paths from the quadrature nodes.

        None where the exact solution is known (it serves instead) and where nobody makes one.
        """
        if self.exact is not None or self.make_reference is None:
            return None
        self.progress("reference", 0, 1)
        return self.make_reference(self.problem, self.times, self.rule.nodes)

    @cached_property
    def learned_path(self) -> Array:
        """Learned flow of the quadrature nodes at the report times, (m, n, d)."""
        return self.run.flow(self.times, self.rule.nodes)

    @cached_property
    def particles(self) -> Array:
        """Fresh start velocities (n, d), drawn from f0 with the report's seed, never used in training."""
        return self.problem.initial.sample(self.options.samples, self.rng("particles"))

    @cached_property
    def radius(self) -> float:
        """Radius R of the ball on which the constants hold: beyond it f0 has less than 1e-9 of its energy.

        Larger balls cost: Lambda grows like R^2, and networks go wild where they saw no data. Mass outside enters as
        tail terms.
        """
        if self.options.radius is not None:
            return self.options.radius
        radius = 1.0
        while self.problem.initial.tail_moment(radius, 2) > 1e-9:
            radius += 0.5
        return radius

    @cached_property
    def exact_particles(self) -> Array:
        """Fresh particles on their exact characteristics at the quadrature times, (m, n, d)."""
        solution = self.exact
        if solution is None:
            raise ValueError("this problem has no exact solution")
        return np.stack([solution.flow(t, self.particles) for t in self.grid.flat])

    @cached_property
    def reference(self) -> Array | None:
        """The same particles driven by the exact score, at the window's nodes; see ``reference_particles``."""
        return reference_particles(self)

    def pair_drift(self, x: Array, s: Array) -> Array:
        """Drift of equal-weight particles with scores s, one time: (n, d)."""
        return pair_drifts(self.problem.kernel, x, s, np.full((1, len(x)), 1 / len(x)))[0]

    def quick(self) -> Context:
        """The same judgement, coarser."""
        coarse = replace(
            self.options,
            times=min(self.options.times, 12),
            samples=min(self.options.samples, 300),
            w1_samples=min(self.options.w1_samples, 300),
            tolerance=max(self.options.tolerance, 0.1),
            quick=True,
        )
        return replace(self, options=coarse)
