"""Exact law of the Maxwell equation for Sigma = T I: rotate, shrink, add noise (THEORY 6.4)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import sympy

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.landau_pinn.stability_flows import rule
from paper_checks.symbols import divergence, gradient, is_zero, projector, vector
from theory.bkw import Bkw
from theory.kernels import maxwell
from theory.provenance import Array


@proof
def _generator() -> Iterator[Claim]:
    """div((|v|^2 I - v v^T) grad f) = sum_{i<j} L_ij^2 f, which commutes with the Ornstein-Uhlenbeck part.

    On f = exp(k.v) for every k: that determines a differential operator with polynomial coefficients.
    """
    for d in (2, 3):
        v, k = vector("v", d), vector("k", d)
        f = sympy.exp((k.T * v)[0])

        def turn(g: sympy.Expr, i: int, j: int, v: sympy.Matrix = v) -> sympy.Expr:
            return v[i] * g.diff(v[j]) - v[j] * g.diff(v[i])

        pairs = [(i, j) for i in range(d) for j in range(i)]
        rotations = sympy.Add(*(turn(turn(f, i, j), i, j) for i, j in pairs))
        gap = divergence(projector(v) * gradient(f, v), v) - rotations
        yield is_zero(sympy.expand(gap / f)), f"sum of L_ij^2, d = {d}"

        def relax(g: sympy.Expr, v: sympy.Matrix = v) -> sympy.Expr:
            return divergence(gradient(g, v) + v * g, v)

        gap = sympy.Add(*(turn(relax(f), i, j) - relax(turn(f, i, j)) for i, j in pairs))
        yield is_zero(sympy.expand(gap / f)), f"L_ij commutes with the Ornstein-Uhlenbeck operator, d = {d}"


def _bkw(trial: Trial, d: int, rng: np.random.Generator) -> None:
    """BKW at t0 shrunk and blurred is BKW at t, density by density."""
    solution = Bkw(2, 1 / 16, 0.5, 0.5) if d == 2 else Bkw(3, 1 / 24, 1.0, 7.0)
    x, w = rule(solution, solution.t0, True)
    for t in solution.t0 + np.array([4.0, 12.0]):
        a = math.exp(-(d - 1) * solution.strength * (t - solution.t0))
        variance = 1 - a * a
        v = rng.standard_normal((12, d))
        gap = np.sum((v[:, None] - a * x) ** 2, axis=2)
        law = (np.exp(-gap / (2 * variance)) @ w) / (2 * math.pi * variance) ** (d / 2)
        exact = np.exp(solution.log_density(float(t), v))
        trial.small(float(np.max(np.abs(law / exact - 1))), 1e-6, f"law from t0 = BKW at t = {t:g}, d = {d}")


def _law(atoms: Array, temperature: float, friction: float, strength: float, t: float) -> tuple[Array, Array]:
    """Nodes and weights of V_t in 2D for equally likely atoms: Gauss-Hermite in the noise, trapezoid in the angle.

    Exact for polynomials of degree 4: harmonic m of the angle N(0, 2 C t) has mean exp(-m^2 C t).
    """
    g, wg = np.polynomial.hermite_e.hermegauss(4)
    wg = wg / wg.sum()
    a = math.exp(-friction * t)
    noise = math.sqrt(temperature * (1 - a * a)) * np.stack(np.meshgrid(g, g, indexing="ij"), -1).reshape(-1, 2)
    points = (a * atoms[:, None] + noise).reshape(-1, 2)
    weights = np.outer(np.full(len(atoms), 1 / len(atoms)), np.outer(wg, wg).ravel()).ravel()
    angles = 2 * np.pi * np.arange(12) / 12
    m = np.arange(1, 6)
    density = (1 + 2 * np.exp(-(m**2) * strength * t) @ np.cos(np.outer(m, angles))) / 12
    turn = np.stack(
        [np.stack([np.cos(angles), -np.sin(angles)], -1), np.stack([np.sin(angles), np.cos(angles)], -1)], 1
    )
    return np.einsum("kij,nj->kni", turn, points).reshape(-1, 2), np.outer(density, weights).ravel()


def _rate(x: Array, w: Array, matrix: Array, friction: Array, powers: tuple[int, int]) -> float:
    """d/dt of E v1^p v2^q by the equation itself: E[A * f : D^2 phi + 2 (b * f).grad phi]."""
    p, q = powers

    def term(i: int, j: int, factor: float) -> Array:
        return factor * x[:, 0] ** max(i, 0) * x[:, 1] ** max(j, 0)

    hess = (term(p - 2, q, p * (p - 1)), term(p - 1, q - 1, p * q), term(p, q - 2, q * (q - 1)))
    second = matrix[:, 0, 0] * hess[0] + 2 * matrix[:, 0, 1] * hess[1] + matrix[:, 1, 1] * hess[2]
    first = friction[:, 0] * term(p - 1, q, p) + friction[:, 1] * term(p, q - 1, q)
    return float(w @ (second + 2 * first))


def _anisotropic(trial: Trial, rng: np.random.Generator, quick: bool) -> None:
    """Atoms with Sigma = T I and no symmetry: every moment up to degree 4 obeys the nonlinear equation."""
    strength, temperature, h = rng.uniform(0.05, 0.3), rng.uniform(0.5, 2), 1e-3
    atoms = rng.standard_normal((4, 2))
    atoms -= atoms.mean(axis=0)
    atoms = atoms @ np.linalg.inv(np.linalg.cholesky(atoms.T @ atoms / len(atoms))).T * math.sqrt(temperature)
    kernel = maxwell(2, strength)

    def moment(t: float, powers: tuple[int, int]) -> float:
        x, w = _law(atoms, temperature, kernel.friction, strength, t)
        return float(w @ (x[:, 0] ** powers[0] * x[:, 1] ** powers[1]))

    for t in (0.7,) if quick else (0.3, 0.7, 2.0):
        x, w = _law(atoms, temperature, kernel.friction, strength, t)
        z = x[:, None] - x
        matrix = np.einsum("nmij,m->nij", kernel.matrix(z), w)
        friction = np.einsum("nmi,m->ni", kernel.divergence(z), w)
        for powers in ((2, 0), (1, 1), (3, 0), (2, 1), (4, 0), (3, 1), (2, 2)):
            slope = (8 * (moment(t + h, powers) - moment(t - h, powers))) / (12 * h)
            slope -= (moment(t + 2 * h, powers) - moment(t - 2 * h, powers)) / (12 * h)
            rate = _rate(x, w, matrix, friction, powers)
            trial.small(abs(slope - rate), 1e-7, f"moment {powers} of the exact law, t = {t}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Generator by sympy; BKW from itself; moments of an anisotropic law against the nonlinear equation."""
    trial = Trial()
    trial.claims(_generator())
    for d in (2, 3):
        _bkw(trial, d, rng)
    _anisotropic(trial, rng, quick)
    return trial.finding(
        "generator proved in d = 2, 3; law started from BKW is BKW later, anisotropic atoms obey the pair equation to "
        f"degree 4; largest residual {trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="stability_law",
    statement="Maxwell, Sigma = T I: V_t = m + R_t(a (V_0 - m) + sqrt(T(1 - a^2)) Z), a = e^(-(d-1)Ct), R_t Brownian "
    "motion on SO(d) (2D: angle N(0, 2Ct)) has the law f_t, whatever f_0.",
    source="THEORY 6.4",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
