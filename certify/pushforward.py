"""The learned density f~_t = T(t, .)_# f0: its score, moments and flow defect on a quadrature (THEORY 6.1, 6.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from certify.options import Progress
from certify.run import Run
from theory.drift import maxwell_drift, pair_drifts, weighted_moments
from theory.problem import Problem
from theory.provenance import Array
from theory.quadrature import Rule, bisect

if TYPE_CHECKING:
    from certify.context import Context

MAX_NODES = 8_000
MAX_PAIR_NODES, QUICK_PAIR_NODES = 9_500, 4_000  # where the drift is a pair sum: the cost grows with their square
CHUNK_POINTS = 40_000


@dataclass(frozen=True)
class Pushforward:
    """The learned density at times (m,) on quadrature nodes (n,).

    flow, dt, score : (m, n, d) value, time derivative and s_push at T(t, v); det : (m, n).
    """

    problem: Problem
    rule: Rule
    times: Array
    flow: Array
    dt: Array
    score: Array
    det: Array

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Mean (m, d) and covariance (m, d, d) of the learned density."""
        mean, covariance = weighted_moments(self.flow, self.rule.weights)
        return np.asarray(mean), np.asarray(covariance)

    def mean_field_drift(self, score: Array) -> Array:
        """Drift of the learned density with a given score at T(t, v), (m, n, d).

        Maxwell: -(A * f~) score + b * f~ from moments. Other kernels: the pair sum over the nodes; its terms vanish on
        the diagonal where the kernels are steep (for s_push the two agree after integration by parts).
        """
        kernel = self.problem.kernel
        if kernel.is_maxwell:
            return np.asarray(maxwell_drift(kernel.strength, self.flow, score, *self.moments))
        if score is self.score:
            return self.own_sums[0]
        return self._pair_sums(score, self.rule.weights[None])[0]

    def _pair_sums(self, score: Array, weights: Array) -> Array:
        """Pair sums with weights (k, n), (k, m, n, d); a flow that rests costs one time."""
        kernel, w = self.problem.kernel, weights / weights.sum(axis=1, keepdims=True)
        out = np.empty((len(weights), *self.flow.shape))
        for k, (x, s) in enumerate(zip(self.flow, score, strict=True)):
            if k and np.array_equal(x, self.flow[k - 1]) and np.array_equal(s, score[k - 1]):
                out[:, k] = out[:, k - 1]
            else:
                out[:, k] = pair_drifts(kernel, x, s, w)
        return out

    @cached_property
    def own_sums(self) -> Array:
        """Pair sums with s_push by the finer and by the coarser weights, (2, m, n, d); not for Maxwell."""
        return self._pair_sums(self.score, np.stack([self.rule.weights, self.rule.coarse]))

    @cached_property
    def drift_error(self) -> Array:
        """Change of the pair sums with s_push by the coarser weights, (m, n, d); not for Maxwell."""
        return np.asarray(self.own_sums[1] - self.own_sums[0])

    @cached_property
    def defect(self) -> Array:
        """Defect e = d_t T - U[f~] at T(t, v), (m, n, d)."""
        return self.dt - self.mean_field_drift(self.score)

    @cached_property
    def linear_defect(self) -> Array:
        """e_lin = d_t T - (-A_f s_push + b_f) with the exact moments of f (Maxwell), (m, n, d)."""
        exact = [self.problem.moments(t) for t in self.times]
        mean, covariance = np.stack([m for m, _ in exact]), np.stack([c for _, c in exact])
        return self.dt - np.asarray(
            maxwell_drift(self.problem.kernel.strength, self.flow, self.score, mean, covariance)
        )

    @cached_property
    def diffusion_norm(self) -> Array:
        """e_lin^T A_f^{-1} e_lin with the exact moments (Maxwell), (m, n)."""
        kernel, d = self.problem.kernel, self.problem.d
        out = np.empty(self.det.shape)
        for k, t in enumerate(self.times):
            mean, covariance = self.problem.moments(t)
            z = self.flow[k] - mean
            isotropic = (np.sum(z * z, axis=1) + np.trace(covariance))[:, None, None] * np.eye(d)
            matrix = kernel.strength * (isotropic - z[:, :, None] * z[:, None, :] - covariance)
            e = self.linear_defect[k]
            out[k] = np.sum(e * np.linalg.solve(matrix, e[:, :, None])[:, :, 0], axis=1)
        return out

    @cached_property
    def log_density(self) -> Array:
        """Log f~_t at T(t, v) = log f0(v) - log|det J|, (m, n)."""
        with np.errstate(divide="ignore"):
            return self.problem.initial.log_density(self.rule.nodes) - np.log(np.abs(self.det))

    @cached_property
    def stein(self) -> tuple[Array, Array]:
        """Largest residual of int s f~ = 0 and int s x (x - mean) f~ = -I with its quadrature error, each (m,)."""
        z = self.flow - self.moments[0][:, None]
        first, first_error = self.rule.integrate(_clean(self.score).swapaxes(-1, -2))
        outer = np.einsum("mni,mnj->mijn", _clean(self.score), z)
        second, second_error = self.rule.integrate(outer)
        residual = np.maximum(np.abs(first).max(-1), np.abs(second + np.eye(self.problem.d)).max((-1, -2)))
        return residual, np.maximum(first_error.max(-1), second_error.max((-1, -2)))


def _clean(values: Array) -> Array:
    """Infinite where not finite: a singular Jacobian at a node must make numbers larger, never disappear."""
    return np.where(np.isfinite(values), values, np.inf)


def push(run: Run, problem: Problem, rule: Rule, times: Array, progress: Progress, stage: str) -> Pushforward | None:
    """Evaluate the learned density; None if the run gives no derivatives."""
    score0 = problem.initial.score(rule.nodes)
    step = max(1, CHUNK_POINTS // len(rule.nodes))
    parts = []
    for k in range(0, len(times), step):
        jets = run.jets(times[k : k + step], rule.nodes)
        if jets is None:
            return None
        parts.append((jets.value, jets.dt, jets.pushforward_score(score0), jets.det()))
        progress(stage, min(k + step, len(times)), len(times))
    flow, dt, score, det = (np.concatenate(x) for x in zip(*parts, strict=True))
    return Pushforward(problem, rule, times, flow, dt, score, det)


def _angular_error(rule: Rule, values: Array) -> Array:
    """What every other azimuth would change of the integrals of values (m, n), without cancellation between panels."""
    difference = values * np.where(np.arange(len(rule.weights)) % 2 == 0, -rule.weights, rule.weights)
    return np.asarray(np.abs(np.add.reduceat(difference, rule.first, axis=-1)).sum(axis=-1))


def adapted_rule(context: Context) -> Rule:
    """Rule refined until the squared defect is resolved to the tolerance at probe times, or the node budget is spent.

    Radial panels with the largest error are bisected (towards a core, if that is where the error sits); where most of
    the error is in the angles, or bisection does not help, their number is doubled. Pair sums keep to a budget of their
    own, from the first rule on.
    """
    problem, options = context.problem, context.options
    grid = context.grid.flat
    probes = grid[np.unique(np.linspace(0, len(grid) - 1, 3 if options.quick else 5).astype(int))]
    rule, pairs = problem.rule(), not problem.kernel.is_maxwell
    budget = QUICK_PAIR_NODES if options.quick else MAX_PAIR_NODES
    while pairs and len(rule.weights) > budget and rule.angles >= 8 and rule.angles % 4 == 0:
        rule = problem.rule(angles=rule.angles // 2)
    previous = np.inf
    for _ in range(8):
        pushed = push(context.run, problem, rule, probes, context.progress, "quadrature")
        if pushed is None:
            return rule
        squared = np.nan_to_num(np.sum(pushed.defect**2, axis=-1), nan=0.0, posinf=0.0)
        total, error = rule.integrate(squared)
        # error of D = error of its square / 2 D, relative to D on average over the window (what the bounds integrate)
        size = np.sqrt(np.maximum(total, 1e-14))
        excess = float(np.sum(error / (2 * size)) / np.sum(size))
        if excess <= options.tolerance or len(rule.weights) >= (4000 if options.quick else MAX_NODES):
            break
        edges, angles = rule.edges, rule.angles
        angular = float(np.sum(_angular_error(rule, squared) / (2 * size)) / np.sum(size))
        if (angular > 0.5 * excess or excess > 0.5 * previous) and 2 * len(rule.weights) <= MAX_NODES:
            angles *= 2
            previous = np.inf
        else:
            panel = np.sum([rule.panel_errors(s) / x for s, x in zip(squared, size, strict=True)], axis=0)
            worst = np.flatnonzero(panel >= 0.2 * panel.max())
            edges = bisect(edges, list(worst))
            previous = excess
        finer = problem.rule(edges, angles)
        if pairs and len(finer.weights) > budget:
            break
        rule = finer
    return rule
