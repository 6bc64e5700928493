"""Mean and covariance law of the Maxwell equation, which S2 and S3 take for granted: dS/dt = 4C tr(S) I - 4dC S."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
import sympy
from sympy import Matrix, Rational, Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.symbols import gaussian_mean, gradient, is_zero, projector, vector
from theory.kernels import Kernel, maxwell
from theory.problem import InitialDensity, Problem
from theory.provenance import Array


@proof
def _law() -> Iterator[Claim]:
    """E[U] and E[U v^T + v U^T] for a polynomial times an anisotropic Gaussian, by explicit integration."""
    for d in (2, 3):
        v = vector("v", d)
        variances = [Symbol(f"V{i}", positive=True) for i in range(d)]
        p = 1 + Symbol("g") * v[0] * v[1] + Symbol("h") * v[1] ** 2  # mean zero, full covariance

        def mean(entry: sympy.Expr, v: Matrix = v, variances: list[Symbol] = variances) -> sympy.Expr:
            return gaussian_mean(entry, v, variances)

        mass = mean(p)
        covariance = (v * v.T).applyfunc(lambda e, p=p, mean=mean: mean(e * p)) / mass
        grad = gradient(p, v) - p * Matrix([x / var for x, var in zip(v, variances, strict=True)])
        flux = -(projector(v) + covariance.trace() * sympy.eye(d) - covariance) * grad - (d - 1) * v * p  # f U / (C G)
        growth = (flux * v.T + v * flux.T).applyfunc(mean) / mass
        law = 4 * covariance.trace() * sympy.eye(d) - 4 * d * covariance
        yield is_zero(flux.applyfunc(mean)), f"momentum is conserved in d = {d}"
        yield is_zero(growth - law), f"covariance law in d = {d}"
        start = Matrix(d, d, lambda i, j: Symbol(f"S{min(i, j)}{max(i, j)}"))
        t, c = Symbol("t"), Symbol("C")
        level = start.trace() * Rational(1, d) * sympy.eye(d)
        solution = level + (start - level) * sympy.exp(-4 * d * c * t)
        rate = 4 * c * solution.trace() * sympy.eye(d) - 4 * d * c * solution
        yield is_zero((solution.diff(t) - rate).applyfunc(sympy.simplify)), f"its solution in d = {d}"


@dataclass(frozen=True)
class Gaussian:
    """Anisotropic Gaussian, as much of an initial density as ``Problem.moments`` and the pair integral need."""

    centre: Array
    matrix: Array

    @property
    def d(self) -> int:
        """Dimension."""
        return len(self.centre)

    def score(self, v: Array) -> Array:
        """Grad log f."""
        return -np.asarray(np.linalg.solve(self.matrix, (v - self.centre).T).T, dtype=np.float64)

    def mean(self) -> Array:
        """Mean."""
        return self.centre

    def covariance(self) -> Array:
        """Covariance."""
        return self.matrix


def _pair_growth(problem: Problem, initial: Gaussian) -> tuple[Array, Array]:
    """E[U] and d/dt of the covariance at t0 from the pair form with the kernel's own matrix.

    Gauss-Hermite in v and w, exact here: the integrands are polynomials of degree 4.
    """
    nodes, gauss = np.polynomial.hermite_e.hermegauss(4)
    grid = np.array(list(itertools.product(nodes, repeat=problem.d)))
    weights = np.prod(np.array(list(itertools.product(gauss, repeat=problem.d))), axis=1)
    weights /= weights.sum()
    z = grid @ np.linalg.cholesky(initial.matrix).T
    v = initial.centre + z
    s = initial.score(v)
    u = -np.einsum("nmij,nmj,m->ni", problem.kernel.matrix(v[:, None] - v), s[:, None] - s, weights)
    outer = np.einsum("n,ni,nj->ij", weights, u, z)
    return weights @ u, outer + outer.T


def _problem(kernel: Kernel, initial: Gaussian) -> Problem:
    """A problem from t0 = 1/2 with this data."""
    data = cast(InitialDensity, initial)
    window = Fraction(1, 2), Fraction(5)
    return Problem("gaussian", "anisotropic Gaussian", kernel, *window, data, None, {}, "paper_checks")


def _numerical(trial: Trial, rng: np.random.Generator, problems: int) -> None:
    for d in (2, 3):
        for _ in range(problems):
            root = np.eye(d) + 0.15 * rng.standard_normal((d, d))
            initial = Gaussian(rng.standard_normal(d), root @ root.T)
            strength = rng.uniform(0.05, 0.5)
            problem = _problem(maxwell(d, strength), initial)
            where = f"Problem.moments, d = {d}"
            mean, start = problem.moments(0.5)
            trial.small(float(np.max(np.abs(start - initial.matrix))), 1e-13, f"covariance at t0, {where}")
            trial.small(float(np.max(np.abs(mean - initial.centre))), 1e-13, f"mean at t0, {where}")
            h = 1e-3
            rise = 8 * (problem.moments(0.5 + h)[1] - problem.moments(0.5 - h)[1])
            rise = (rise - problem.moments(0.5 + 2 * h)[1] + problem.moments(0.5 - 2 * h)[1]) / (12 * h)
            momentum, growth = _pair_growth(problem, initial)
            trial.small(float(np.max(np.abs(momentum))), 1e-9, f"momentum, d = {d}")
            difference = float(np.max(np.abs(rise - growth))) / strength
            trial.small(difference, 1e-8, f"rate of the covariance at t0, {where}")
            for t in rng.uniform(0.5, 5, 4):
                covariance = problem.moments(float(t))[1]
                steps = [problem.moments(float(t) + k * h)[1] for k in (-2, -1, 1, 2)]
                rate = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / (12 * h)
                law = 4 * strength * (np.trace(covariance) * np.eye(d) - d * covariance)
                trial.small(float(np.max(np.abs(rate - law))), 1e-8, f"covariance law at t = {t:.3g}, {where}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Prove the law, then hold ``Problem.moments`` against it and against the pair integral."""
    trial = Trial()
    trial.claims(_law())
    _numerical(trial, rng, 2 if quick else 16)
    return trial.finding(
        "momentum and covariance law proved in d = 2, 3 on skewed anisotropic f; Problem.moments follows it and starts "
        f"at the rate of the pair integral, largest residual {trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="moments",
    statement="Maxwell: the mean is conserved and dSigma/dt = 4C tr(Sigma) I - 4dC Sigma, so Sigma(t) = T I + "
    "(Sigma0 - T I) exp(-4dC(t-t0)).",
    source="THEORY 1, 6.4",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
