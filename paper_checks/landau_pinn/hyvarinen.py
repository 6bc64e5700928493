"""Hyvarinen's identity E_f[|u|^2 + 2 div u] = E_f|u - s|^2 - E_f|s|^2 (Lemma 2) and what it needs at the boundary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import sympy
from sympy import Expr, Matrix, Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.formulas import InstantOps, bound, hold_witnesses
from paper_checks.symbols import divergence, gaussian_mean, gradient, is_zero, vector
from theory.bkw import Bkw
from theory.provenance import Array
from theory.quadrature import Rule, polar_rule


def _deficit(field: Matrix, score: Matrix, x: Matrix) -> Expr:
    """Integrand of the left side minus the right side."""
    error = field - score
    return (field.T * field)[0] + 2 * divergence(field, x) - (error.T * error)[0] + (score.T * score)[0]


@proof
def _general() -> Iterator[Claim]:
    """For f = exp(-V) and any field u, the deficit times f is the divergence of 2 f u, pointwise."""
    for d in (1, 2, 3):
        x = vector("x", d)
        potential = sympy.Function("V")(*x)
        field = Matrix([sympy.Function(f"u{i}")(*x) for i in range(d)])
        f = sympy.exp(-potential)
        difference = f * _deficit(field, -gradient(potential, x), x) - 2 * divergence(f * field, x)
        yield sympy.expand(difference / f) == 0, f"the deficit is the divergence of 2 f u in d = {d}"


@proof
def _families() -> Iterator[Claim]:
    """The integral vanishes for Gaussian and polynomial-times-Gaussian densities and every cubic field."""
    for d, degree in ((1, 3), (2, 3)):
        x = vector("x", d)
        variances = [Symbol(f"V{i}", positive=True) for i in range(d)]
        powers = [n for n in itertools.product(range(degree + 1), repeat=d) if sum(n) <= degree]
        monomials = [sympy.Mul(*(xi**n for xi, n in zip(x, m, strict=True))) for m in powers]
        field = Matrix([sympy.Add(*(Symbol(f"a{i}_{j}") * m for j, m in enumerate(monomials))) for i in range(d)])
        gaussian_score = Matrix([-xi / v for xi, v in zip(x, variances, strict=True)])
        deficit = gaussian_mean(_deficit(field, gaussian_score, x), x, variances)
        yield sympy.expand(deficit) == 0, f"identity for a Gaussian and every cubic field in d = {d}"
        # f = G p: the deficit times p is 2 p div u + 2 u . (grad p + p s_G), polynomial again
        p = (1 + Symbol("b") * x[0] + Symbol("c") * (x.T * x)[0]) ** 2
        with_factor = 2 * p * divergence(field, x) + 2 * (field.T * (gradient(p, x) + p * gaussian_score))[0]
        yield (
            sympy.expand(gaussian_mean(with_factor, x, variances)) == 0,
            f"identity for a polynomial times a Gaussian and every cubic field in d = {d}",
        )


# Gaussian cut to [-1, 1] with u = x: the boundary term 2 [f u] = 4 exp(-1/2)/mass.
_CUT_DEFICIT = 4 * math.exp(-0.5) / (math.sqrt(2 * math.pi) * math.erf(math.sqrt(0.5)))


@proof
def _boundary() -> Iterator[Claim]:
    """Counterexample without decay: the Gaussian on [-1, 1], u = theta x; the deficit is the boundary term 2 [f u]."""
    x, theta = Symbol("x", real=True), Symbol("theta", real=True)
    mass = sympy.integrate(sympy.exp(-(x**2) / 2), (x, -1, 1))
    f = sympy.exp(-(x**2) / 2) / mass
    column = Matrix([x])
    integrand = sympy.expand(_deficit(theta * column, -column, column))
    value = sympy.integrate(integrand * f, (x, -1, 1))
    boundary = 2 * (f * theta * x).subs(x, 1) - 2 * (f * theta * x).subs(x, -1)
    yield is_zero(sympy.simplify(value - boundary)), "the deficit on [-1, 1] is the boundary term"
    yield abs(float(value.subs(theta, 1)) - _CUT_DEFICIT) < 1e-12, "the boundary term for u = x"


@dataclass(frozen=True)
class RandomField:
    """u(x) = B x + sum_k c_k tanh(w_k . x + b_k) with its exact divergence."""

    linear: Array
    inner: Array
    shift: Array
    outer: Array

    @staticmethod
    def draw(d: int, rng: np.random.Generator) -> RandomField:
        """A field of size about 1, smooth enough for the quadrature rule."""
        inner, shift = 0.25 * rng.standard_normal((5, d)), rng.standard_normal(5)
        return RandomField(rng.standard_normal((d, d)), inner, shift, rng.standard_normal((5, d)))

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Value (n, d) and divergence (n,)."""
        layer = np.tanh(x @ self.inner.T + self.shift)
        slope = (1 - layer**2) @ np.sum(self.inner * self.outer, axis=1)
        return x @ self.linear.T + layer @ self.outer, np.trace(self.linear) + slope


def _identity(rule: Rule, u: Array, div_u: Array, s: Array) -> tuple[float, float]:
    """Both sides by quadrature."""

    def mean(values: Array) -> float:
        return float(rule.integrate(values)[0])

    left = mean(np.sum(u**2, axis=1) + 2 * div_u)
    return left, mean(np.sum((u - s) ** 2, axis=1)) - mean(np.sum(s**2, axis=1))


def _density(bkw: Bkw, t: float) -> Callable[[Array], Array]:
    return lambda v: np.exp(bkw.log_density(t, v))


def _numerical(trial: Trial, rng: np.random.Generator, fields: int) -> None:
    for d, angles, amplitude, t in ((2, 48, 0.5, 0.7), (2, 48, 0.5, 3.0), (3, 24, 1.0, 5.9)):
        bkw = Bkw(d, 1 / 16 if d == 2 else 1 / 24, amplitude, t)
        edges = np.array([0.0, 0.3, 0.6, 1.0, 1.6, 2.4, 3.4, 5.0, 7.5])
        rule = polar_rule(_density(bkw, t), np.zeros(d), edges, angles)
        s = bkw.score(t, rule.nodes)
        where = f"BKW, d = {d}, t = {t}"
        fisher = bkw.fisher_information(t)
        for _ in range(fields):
            left, right = _identity(rule, *RandomField.draw(d, rng)(rule.nodes), s)
            trial.small(abs(left - right) / max(1, abs(right)), 1e-6, f"identity, {where}")
            excess = bound("lemma2", InstantOps(), {"ism_objective_exact_law": left, "fisher_information": fisher})
            trial.small(abs(excess - right - fisher) / max(1, abs(right)), 1e-6, f"formula of Lemma 2, {where}")
        left, right = _identity(rule, s, bkw.score_divergence(t, rule.nodes), s)
        trial.small(abs(left - right), 1e-7, f"J(s) = -E|s|^2, {where}")
        trial.small(abs(left + fisher), 1e-7, f"J(s) against the Fisher information, {where}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Prove it where f u decays, show the counterexample where it does not."""
    trial = Trial()
    trial.claims(_general())
    trial.claims(_families())
    trial.claims(_boundary())
    hold_witnesses(trial, "lemma2")
    _numerical(trial, rng, 4 if quick else 32)
    return trial.finding(
        "left minus right is the integral of 2 div(f u) for every f = exp(-V) and field u: 0 on the torus, for "
        "decaying f u (Gaussian and polynomial-Gaussian families proved for every cubic u), and on BKW to "
        f"{trial.largest_residual:.1e}. Change: add 'f u -> 0 at infinity and f has no jump'. Without it: the Gaussian "
        f"cut to [-1, 1] with u = x misses by {_CUT_DEFICIT:.4f} (boundary term): the truncated benchmark is out",
        "holds with this change",
    )


CHECK = Check(
    id="hyvarinen",
    statement="E_f[|u|^2 + 2 div u] = E_f|u - s|^2 - E_f|s|^2 for every smooth field u, s = grad log f.",
    source="Lemma 2",
    how="symbolic + numerical",
    expected="holds with this change",
    run=run,
)
