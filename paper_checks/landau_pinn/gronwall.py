"""Gronwall's lemma as the code evaluates it: on symbols, on a time grid, and as a comparison principle."""

from __future__ import annotations

import numpy as np
import sympy
from sympy import Rational

from paper_checks.check import Check, Finding, Trial
from paper_checks.numerics import runge_kutta
from theory.gronwall import NumericOps, SymbolicOps, TimeGrid
from theory.provenance import Array


def _symbolic(trial: Trial) -> None:
    """Y = int exp(int alpha) g of the code solves y' = alpha y + g, y(t0) = 0; growth solves it with g = 0."""
    ops = SymbolicOps(sympy.Integer(1))
    t = ops.t
    for alpha, source in ((2, 1 + t), (-3, t**2), (1 / t, t), (Rational(1, 3), sympy.exp(-t)), (0, sympy.cos(t))):
        y = ops.gronwall(alpha, source)
        rest = sympy.simplify(sympy.diff(y, t) - alpha * y - source)
        trial.claim(rest == 0, f"SymbolicOps.gronwall solves the equation, alpha = {alpha}, g = {source}")
        trial.claim(sympy.simplify(y.subs(t, 1)) == 0, f"it starts at 0, alpha = {alpha}")
        growth = ops.growth(alpha)
        rest = sympy.simplify(sympy.diff(growth, t) - alpha * growth)
        trial.claim(rest == 0 and growth.subs(t, 1) == 1, f"SymbolicOps.growth, alpha = {alpha}")


def _numeric(trial: Trial, rng: np.random.Generator) -> None:
    """The time grid against Runge-Kutta, and solutions of the inequality against the bound."""
    grid = TimeGrid(np.linspace(0.0, 2.0, 6))
    a, g = rng.standard_normal(3), rng.uniform(0.1, 1.0, 3)
    size, start = 10 ** rng.uniform(-1, 1), rng.uniform(0.0, 2.0)

    def rate(t: Array) -> Array:
        return size * (a[0] + a[1] * np.sin(3 * t) + a[2] * t)

    def source(t: Array) -> Array:
        return g[0] + g[1] * np.cos(5 * t) ** 2 + g[2] * t**2

    ops = NumericOps(grid)
    total = ops.growth(rate(grid.flat)) * start + ops.gronwall(rate(grid.flat), source(grid.flat))
    bound, error = total.numbers()[-1], ops.error.numbers()[-1]
    for share in (1.0, *rng.uniform(0, 1, 2)):

        def slope(t: float, y: Array, share: float = share) -> Array:
            now = np.array(t)
            return rate(now) * y + (share if share == 1.0 else share * np.cos(9 * now) ** 2) * source(now)

        y = float(runge_kutta(slope, 0.0, 2.0, np.array([start]), 1000)[0])
        if share == 1.0:
            allowed = error + 1e-7 * abs(y)
            trial.small(max(0.0, abs(bound - y) - allowed) / abs(y), 1e-9, "NumericOps against Runge-Kutta")
        trial.ratio((bound + error) * (1 + 1e-7), y, "solutions of y' <= alpha y + g stay below the bound")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Symbols first, then random rates of both signs."""
    trial = Trial()
    _symbolic(trial)
    for _ in range(5 if quick else 150):
        _numeric(trial, rng)
    return trial.finding(
        "SymbolicOps solves y' = alpha y + g (five pairs, rates of both signs); NumericOps agrees with Runge-Kutta "
        f"within its own error estimate for random rates; smallest ratio bound/subsolution {trial.smallest_ratio:.9f}"
    )


CHECK = Check(
    id="gronwall",
    statement="y' <= alpha(t) y + g(t) implies y(t) <= y(t0) exp(int alpha) + int exp(int_tau^t alpha) g dtau.",
    source="THEORY 5",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
