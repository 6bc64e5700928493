"""Change of variables (THEORY 6.1): s_push(T(v)) = J^-T (grad log f0 - grad log |det J|), and Stein's identities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy
from sympy import Matrix

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.numerics import derivative, largest
from paper_checks.symbols import gradient, vector
from theory.bkw import Bkw
from theory.flow import FlowJets
from theory.provenance import Array
from theory.quadrature import polar_rule


@proof
def _symbolic() -> Iterator[Claim]:
    """For polynomial maps with constant Jacobian determinant and general f0: grad_v log f~(T(v)) = J^T s_push."""
    for d in (2, 3):
        v = vector("v", d)
        a = sympy.Symbol("a")
        shear = Matrix([v[0] + a * v[1] ** 2, 2 * v[1], *([v[2] + v[0] * v[1]] if d == 3 else [])])
        jacobian = shear.jacobian(v)
        log_f0 = sympy.Function("g")(*v)
        log_density = log_f0 - sympy.log(jacobian.det())  # log f~(T(v))
        push = jacobian.T.inv() * (gradient(log_f0, v) - gradient(sympy.log(jacobian.det()), v))
        rest = (jacobian.T * push - gradient(log_density, v)).applyfunc(sympy.simplify)
        yield rest == sympy.zeros(d, 1), f"chain rule for the density in d = {d}"


class Wave:
    """T(v) = v + sum_k c_k sin(w_k . v + b_k): value, Jacobian, Hessian."""

    def __init__(self, d: int, rng: np.random.Generator) -> None:
        self.inner, self.shift = rng.standard_normal((4, d)), rng.standard_normal(4)
        self.outer = rng.standard_normal((4, d))
        size = sum(np.linalg.norm(w) * np.linalg.norm(c) for w, c in zip(self.inner, self.outer, strict=True))
        self.outer *= 0.5 / size  # |DT - I| <= 1/2: a diffeomorphism

    def __call__(self, v: Array) -> Array:
        """T(v)."""
        return v + np.sin(v @ self.inner.T + self.shift) @ self.outer

    def jets(self, v: Array) -> FlowJets:
        """As the code wants them, one time."""
        phase = v @ self.inner.T + self.shift
        jac = np.eye(v.shape[1]) + np.einsum("nk,ki,kj->nij", np.cos(phase), self.outer, self.inner)
        hess = -np.einsum("nk,ki,kj,kl->nijl", np.sin(phase), self.outer, self.inner, self.inner)
        return FlowJets(self(v)[None], np.zeros_like(v)[None], jac[None], hess[None])


def _log_density(wave: Wave, bkw: Bkw, x: Array) -> Array:
    """Log f~ at x, the inverse of T by fixed-point iteration (contraction 1/2)."""
    v = x.copy()
    for _ in range(60):
        v = v - (wave(v) - x)
    return bkw.log_density(bkw.t0, v) - np.log(wave.jets(v).det()[0])


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """The chain rule, then random diffeomorphisms of BKW: difference quotients and Stein's identities."""
    trial = Trial()
    trial.claims(_symbolic())
    for d, bkw in ((2, Bkw(2, 1 / 16, 0.5, 1.0)), (3, Bkw(3, 1 / 24, 1.0, 6.5))):
        edges = np.concatenate([np.arange(0.0, 7.0, 0.5), [9.0]])
        rule = polar_rule(lambda v, bkw=bkw: np.exp(bkw.log_density(bkw.t0, v)), np.zeros(d), edges, 32)  # type: ignore[misc]
        for _ in range(1 if quick else 10):
            wave = Wave(d, rng)
            v = rng.standard_normal((8, d))
            x = wave(v)
            push = wave.jets(v).pushforward_score(bkw.score(bkw.t0, v))[0]
            slopes = []
            for unit in np.eye(d):

                def along(h: float, unit: Array = unit, wave: Wave = wave, x: Array = x, bkw: Bkw = bkw) -> Array:
                    return _log_density(wave, bkw, x + h * unit)

                slopes.append(derivative(along, 0.0))
            trial.small(largest(push - np.stack(slopes, axis=1)), 1e-6, f"s_push = grad log f~, d = {d}")
            jets = wave.jets(rule.nodes)
            s = jets.pushforward_score(bkw.score(bkw.t0, rule.nodes))[0]
            trial.small(largest(rule.weights @ s), 1e-4, f"Stein: int s f~ = 0, d = {d}")
            outer = np.einsum("n,ni,nj->ij", rule.weights, s, jets.value[0])
            trial.small(largest(outer + np.eye(d)), 1e-4, f"Stein: int s (x) x f~ = -I, d = {d}")
    return trial.finding(
        "proved for polynomial maps and any f0; FlowJets.pushforward_score equals difference quotients of log f~ for "
        f"random diffeomorphisms of BKW and satisfies Stein's identities, largest residual {trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="pushforward_score",
    statement="The learned law f~ = T_# f0 has the score J^-T (grad log f0 - grad log|det J|); int s f~ = 0 and "
    "int s (x) x f~ = -I.",
    source="THEORY 6.1",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
