"""Mass, momentum and energy are conserved and entropy decreases, for every kernel a(|z|)(|z|^2 I - z z^T)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.numerics import derivative, largest
from paper_checks.symbols import is_zero, projector, vector
from theory import drift
from theory.bkw import Bkw
from theory.kernels import maxwell, mollified_coulomb
from theory.problem import Problem
from theory.problems import PROBLEMS
from theory.provenance import Array
from theory.quadrature import polar_rule


@proof
def _symbolic() -> Iterator[Claim]:
    """Weak form: d/dt int phi f = -1/2 iint (grad phi(v) - grad phi(w)) . A(v-w)(s(v) - s(w)) f f (swap v and w)."""
    for d in (2, 3):
        z, y, r = vector("z", d), vector("y", d), vector("r", d)
        a = projector(z)
        # grad phi(v) - grad phi(w) is 0 for phi = 1 and v_i, and v - w = z for phi = |v|^2/2
        yield is_zero(a * z), f"A(z) z = 0: energy, d = {d}"
        yield is_zero(a - a.T), f"A symmetric, d = {d}"
        yield is_zero(projector(-z) - a), f"A even: the swap of v and w only changes the sign of s(v) - s(w), d = {d}"
        # for phi with gradient differences r: -(1/2)[r . A y] is the half sum of the two orders
        half_sum = -((r.T * a * y)[0] + ((-r).T * projector(-z) * (-y))[0]) / 2
        yield is_zero(half_sum + (r.T * a * y)[0]), f"symmetrised weak form, d = {d}"
        squares = [(z[i] * y[j] - z[j] * y[i]) ** 2 for i in range(d) for j in range(i)]
        yield is_zero((y.T * a * y)[0] - sympy.Add(*squares)), f"y . A y is a sum of squares: entropy, d = {d}"


def _code(trial: Trial, rng: np.random.Generator, tries: int) -> None:
    """theory.drift on random particles, scores and weights: two invariants, and -sum w s . U >= 0."""
    for d in (2, 3):
        for kernel in (maxwell(d, rng.uniform(0.05, 1)), mollified_coulomb(d, rng.uniform(0.05, 1), 0.5)):
            for _ in range(tries):
                n = int(rng.integers(2, 12))
                x, s, w = rng.standard_normal((n, d)), rng.standard_normal((n, d)), rng.dirichlet(np.ones(n))
                u = drift.pair_drift(kernel, x, s, w)
                where = f"{kernel.id}, d = {d}"
                trial.small(largest(w @ u), 1e-12, f"momentum, {where}")
                trial.small(abs(float(w @ np.sum(x * u, axis=1))), 1e-12, f"energy, {where}")
                production = -float(w @ np.sum(s * u, axis=1))
                trial.small(max(0.0, -production), 1e-13, f"entropy production, {where}")
                z, y = x[:, None] - x, s[:, None] - s
                form = np.einsum("nmi,nmij,nmj->nm", y, kernel.matrix(z), y)
                trial.small(abs(production - w @ form @ w / 2), 1e-11, f"entropy production = 1/2 sum y A y, {where}")


def _exact(trial: Trial, rng: np.random.Generator) -> None:
    """On BKW: mass, energy, and dH/dt = -C(d-1)(I - d) from the code's own density and Fisher information."""
    for family in PROBLEMS.values():
        problem = family()
        if isinstance(problem.exact, Bkw):
            for t in rng.uniform(0.2, 0.9, 2) * float(problem.T - problem.t0) + float(problem.t0):
                _exact_at(trial, problem, problem.exact, float(t))


def _exact_at(trial: Trial, problem: Problem, bkw: Bkw, t: float) -> None:
    edges = np.concatenate([[0, 1e-4, 1e-3, 0.01, 0.03, 0.1], np.arange(0.25, 9.1, 0.25)])
    lebesgue = polar_rule(lambda v: np.ones(len(v)), np.zeros(problem.d), edges, 4)
    nodes, r2 = lebesgue.nodes, np.sum(lebesgue.nodes**2, axis=1)

    def density(s: float) -> Array:
        return np.exp(bkw.log_density(s, nodes))

    def entropy(s: float) -> Array:
        return np.asarray((density(s) * bkw.log_density(s, nodes)) @ lebesgue.weights)

    trial.small(abs(float(density(t) @ lebesgue.weights) - 1), 1e-10, f"mass, {problem.id}")
    trial.small(abs(float((density(t) * r2) @ lebesgue.weights) / problem.d - 1), 1e-10, f"energy, {problem.id}")
    law = -problem.kernel.friction * (bkw.fisher_information(t) - problem.d)
    trial.small(abs(float(derivative(entropy, t)) / law - 1), 1e-6, f"entropy production, {problem.id}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Prove the laws in weak form, then hold the code and the exact solutions against them."""
    trial = Trial()
    trial.claims(_symbolic())
    _code(trial, rng, 4 if quick else 60)
    _exact(trial, rng)
    return trial.finding(
        "symmetrised weak form proved; A(z) z = 0 gives energy, y . A y = a sum (z_i y_j - z_j y_i)^2 entropy; random "
        "particles (any score) and BKW with dH/dt = -C(d-1)(I - d) agree, largest residual "
        f"{trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="conservation",
    statement="Mass, momentum and energy are conserved; dH/dt = -1/2 iint (s(v)-s(w)) . A(v-w)(s(v)-s(w)) f f <= 0.",
    source="Section 5.3, THEORY 1",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
