"""Pushforward score, its Stein identities, and the errors a law does not feel (THEORY 6.1, 6.4 'tightening')."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.landau_pinn.stability_flows import rule
from paper_checks.symbols import divergence, gradient, is_zero, vector
from theory.bkw import Bkw
from theory.flow import FlowJets
from theory.provenance import Array


@proof
def _unfelt() -> Iterator[Claim]:
    """Div(f (div B + B grad log f)) = d_i d_j (f B_ij) = 0 for antisymmetric B."""
    for d in (2, 3):
        v = vector("v", d)
        f = sympy.Function("f")(*v)
        field = sympy.zeros(d, d)
        for i in range(d):
            for j in range(i):
                field[i, j] = sympy.Function(f"b{i}{j}")(*v)
                field[j, i] = -field[i, j]
        error = sympy.Matrix([divergence(field[i, :].T, v) for i in range(d)]) + field * gradient(f, v) / f
        yield is_zero(sympy.expand(divergence((f * error).applyfunc(sympy.expand), v))), f"unfelt errors, d = {d}"


class Wave:
    """T(v) = v + sum_k a_k sin(k.v + phase_k), not a gradient, with its jets."""

    def __init__(self, d: int, rng: np.random.Generator) -> None:
        self.waves = rng.uniform(-1, 1, (3, d))
        self.sizes = 0.25 * rng.uniform(-1, 1, (3, d)) / d
        self.phases = rng.uniform(0, 6, 3)

    def value(self, v: Array) -> Array:
        """T(v)."""
        return np.asarray(v + np.sin(v @ self.waves.T + self.phases) @ self.sizes)

    def jets(self, v: Array) -> FlowJets:
        """Derivatives at one time."""
        phase = v @ self.waves.T + self.phases
        first = np.einsum("nk,ki,kj->nij", np.cos(phase), self.sizes, self.waves)
        second = -np.einsum("nk,ki,kj,kl->nijl", np.sin(phase), self.sizes, self.waves, self.waves)
        value = self.value(v)
        return FlowJets(value[None], np.zeros_like(value)[None], (np.eye(v.shape[1]) + first)[None], second[None])

    def inverse(self, x: Array) -> Array:
        """Points v with T(v) = x, by Newton's method."""
        v = x.copy()
        for _ in range(30):
            v = v - np.linalg.solve(self.jets(v).jac[0], (self.value(v) - x)[..., None])[..., 0]
        return v


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """The code's score against differences of the log-density of T_# f0 at fixed points; both Stein identities."""
    trial = Trial()
    trial.claims(_unfelt())
    for d in (2, 3):
        f0 = Bkw(2, 1 / 16, 0.5, 0.5) if d == 2 else Bkw(3, 1 / 24, 1.0, 7.0)
        nodes, mass = rule(f0, f0.t0, True)
        for _ in range(2 if quick else 10):
            flow = Wave(d, rng)

            def log_density(x: Array, flow: Wave = flow, f0: Bkw = f0) -> Array:
                v = flow.inverse(x)
                return np.asarray(f0.log_density(f0.t0, v) - np.log(flow.jets(v).det()[0]))

            x, h = rng.standard_normal((8, d)), 1e-3
            v = flow.inverse(x)
            claimed = flow.jets(v).pushforward_score(f0.score(f0.t0, v)[None])[0]
            near, far = (
                np.stack([log_density(x + m * e) - log_density(x - m * e) for e in h * np.eye(d)], axis=1)
                for m in (1, 2)
            )
            trial.small(float(np.max(np.abs((8 * near - far) / (12 * h) - claimed))), 1e-6, f"score of T_# f0, d = {d}")
            jets = flow.jets(nodes)
            score = jets.pushforward_score(f0.score(f0.t0, nodes)[None])[0]
            trial.small(float(np.max(np.abs(mass @ score))), 1e-6, f"E s = 0, d = {d}")
            stein = np.einsum("n,ni,nj->ij", mass, score, jets.value[0]) + np.eye(d)
            trial.small(float(np.max(np.abs(stein))), 1e-6, f"E s x^T = -I, d = {d}")
    return trial.finding(
        "score against differences of log f~ at fixed points, and both Stein identities: largest residual "
        f"{trial.largest_residual:.1e}; errors of the form div B + B s are not felt, proved for d = 2, 3"
    )


CHECK = Check(
    id="stability_pushforward",
    statement="s_push(T(v)) = J^-T (grad log f0 - grad log det J) is the score of T_# f0; E s = 0, E s x^T = -I; "
    "subtracting div B + B s_push (B antisymmetric) from the defect leaves the law unchanged.",
    source="THEORY 6.1, 6.4",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
