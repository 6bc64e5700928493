"""The Landau equation in divergence form is a transport equation with the drift U[f] (2.2), and so is (3.1)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy
from sympy import Matrix, Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.numerics import derivative, divergence, largest
from paper_checks.symbols import divergence as symbolic_divergence
from paper_checks.symbols import gradient, is_zero, projector, vector
from theory import drift
from theory.bkw import Bkw
from theory.problem import Problem
from theory.problems import PROBLEMS
from theory.provenance import Array


@proof
def _symbolic() -> Iterator[Claim]:
    """The integrands agree for every f and profile a; div(f U)/f = div U + U . s for every f and U."""
    for d in (2, 3):
        v, w = vector("v", d), vector("w", d)
        f = sympy.Function("f")
        fv, fw = f(*v), f(*w)
        a = sympy.Function("a")(Symbol("q", positive=True))
        kernel = a * projector(v - w)
        in_scores = fv * fw * kernel * (gradient(sympy.log(fv), v) - gradient(sympy.log(fw), w))
        in_gradients = kernel * (fw * gradient(fv, v) - fv * gradient(fw, w))
        yield is_zero((in_scores - in_gradients).doit()), f"collision integrand = f f A (s - s) in d = {d}"
        field = Matrix([sympy.Function(f"U{i}")(*v) for i in range(d)])
        s = gradient(sympy.log(fv), v)
        residual = symbolic_divergence(fv * field, v) / fv - symbolic_divergence(field, v) - (field.T * s)[0]
        yield sympy.expand(residual.doit()) == 0, f"div(f U) / f = div U + U . s in d = {d}"


def _residual(problem: Problem, solution: Bkw, t: float, v: Array) -> float:
    """Largest |d/dt f + div(f U)| over the points v, relative to d/dt f; U by ``theory.drift`` from moments."""
    strength, (mean, covariance) = problem.kernel.strength, problem.moments(t)

    def density(s: float) -> Array:
        return np.exp(solution.log_density(s, v))

    def flux(x: Array) -> Array:
        field = drift.maxwell_drift(strength, x, solution.score(t, x), mean, covariance)
        return np.exp(solution.log_density(t, x))[:, None] * field

    rate = derivative(density, t)
    return largest(rate + divergence(flux, v)) / max(largest(rate), 1e-3 * strength)


def _numerical(trial: Trial, rng: np.random.Generator, times: int) -> None:
    """d/dt f = -div(f U) for the registered problems with a known solution."""
    for family in PROBLEMS.values():
        problem = family()
        if isinstance(problem.exact, Bkw):
            for t in rng.uniform(0.1, 0.9, times) * float(problem.T - problem.t0) + float(problem.t0):
                residual = _residual(problem, problem.exact, float(t), rng.standard_normal((16, problem.d)))
                trial.small(residual, 1e-6, f"(2.2) on {problem.id} at t = {t:.3g}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Prove the two forms equal, then put the exact solutions into the transport form."""
    trial = Trial()
    trial.claims(_symbolic())
    _numerical(trial, rng, 2 if quick else 20)
    return trial.finding(
        "divergence form = transport form for every f > 0 and profile a in d = 2, 3; the exact solutions satisfy it "
        f"with the drift of theory.drift, largest relative residual {trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="transport_form",
    statement="d/dt f = div int A(v-w)(f(w) grad f(v) - f(v) grad f(w)) dw is d/dt f + div(f U[f]) = 0 with "
    "U[f](v) = -int A(v-w)(s(v) - s(w)) f(w) dw.",
    source="(2.2), (3.1)",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
