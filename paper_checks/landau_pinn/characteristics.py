"""Characteristics X' = U[f](X) carry the density: f_t = X(t, .)_# f_0 (2.4), (2.5), (3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import sympy
from sympy import Matrix, Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.numerics import largest, runge_kutta
from paper_checks.symbols import is_zero
from theory import drift
from theory.bkw import Bkw
from theory.provenance import Array
from theory.quadrature import Rule, polar_rule


@proof
def _symbolic() -> Iterator[Claim]:
    """(det J)' = tr(G) det J for J' = G J: then f(t, X) det J is constant exactly if d/dt f + div(f U) = 0."""
    for d in (2, 3):
        jacobian = Matrix(d, d, lambda i, j: Symbol(f"J{i}{j}"))
        gradient = Matrix(d, d, lambda i, j: Symbol(f"G{i}{j}"))
        rate = gradient * jacobian
        growth = sympy.Add(*(jacobian.det().diff(jacobian[i, j]) * rate[i, j] for i in range(d) for j in range(d)))
        yield is_zero(growth - gradient.trace() * jacobian.det()), f"Liouville's formula in d = {d}"


_TESTS: dict[str, Callable[[Array], Array]] = {
    "|v|^2": lambda v: np.sum(v**2, axis=1),
    "|v|^4": lambda v: np.sum(v**2, axis=1) ** 2,
    "cos v1": lambda v: np.cos(v[:, 0]),
    "exp(-|v - e1|^2)": lambda v: np.exp(-np.sum((v - np.eye(v.shape[1])[0]) ** 2, axis=1)),
}


def _flow(trial: Trial, bkw: Bkw, t: float, steps: int, rng: np.random.Generator) -> None:
    """The closed-form flow against Runge-Kutta on the drift from moments, and in the weak form of (2.5)."""
    v = rng.standard_normal((12, bkw.d))
    mean, covariance = np.zeros(bkw.d), np.eye(bkw.d)
    where = f"BKW d = {bkw.d}, [{bkw.t0:.3g}, {t:.3g}]"

    def rate(s: float, x: Array) -> Array:
        return drift.maxwell_drift(bkw.strength, x, bkw.score(s, x), mean, covariance)

    stepped = runge_kutta(rate, bkw.t0, t, v, steps)
    trial.small(largest(stepped - bkw.flow(t, v)), 1e-7, f"exact flow against Runge-Kutta, {where}")
    edges = np.array([0.0, 0.2, 0.5, 0.9, 1.4, 2.0, 2.8, 3.8, 5.0, 6.5, 8.5])

    def rule(s: float) -> Rule:
        return polar_rule(lambda x: np.exp(bkw.log_density(s, x)), mean, edges, 24)

    before, after = rule(bkw.t0), rule(t)
    moved = bkw.flow(t, before.nodes)
    for name, test in _TESTS.items():
        gap = abs(float(test(moved) @ before.weights) - float(test(after.nodes) @ after.weights))
        trial.small(gap, 1e-7, f"E phi(X) = int phi f_t for phi = {name}, {where}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Liouville's formula, then the exact flow of BKW."""
    trial = Trial()
    trial.claims(_symbolic())
    for d, strength, amplitude, start in ((2, 1 / 16, 0.5, 0.5), (3, 1 / 24, 1.0, 5.6)):
        bkw = Bkw(d, strength, amplitude, start)
        for t in start + rng.uniform(0.2, 1.5, 1 if quick else 6):
            _flow(trial, bkw, float(t), 150, rng)
    return trial.finding(
        "f(t, X) det grad X is constant by Liouville's formula (d = 2, 3); the closed-form BKW flow agrees with "
        f"Runge-Kutta on the drift and with E phi(X) = int phi f_t, largest residual {trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="characteristics",
    statement="The flow X' = U[f](X), X(t0, v) = v pushes f_0 to f_t: int phi f_t = int phi(X(t, v)) f_0(v) dv for "
    "every test function.",
    source="(2.4)-(2.5), (3.3)",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
