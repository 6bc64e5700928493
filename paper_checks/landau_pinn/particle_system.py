"""The N-particle system (2.6), (2.7): invariants, and the sampling error of its drift against the mean-field drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy
from sympy import Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.numerics import largest
from theory import drift
from theory.bkw import Bkw
from theory.kernels import maxwell


@proof
def _variance() -> Iterator[Claim]:
    """N i.i.d. particles, psi_j = A(X_i - X_j)(s_i - s_j), psi_i = 0: E|U_N - U|^2 <= E|psi|^2 / N."""
    n, second, square = Symbol("N", positive=True), Symbol("S", nonnegative=True), Symbol("M", nonnegative=True)
    # given X_i: mean of U_N is (N-1)/N U, its variance (N-1)/N^2 (S - M) with S = E|psi|^2, M = E|U|^2 <= S
    exact = (n - 1) * (second - square) / n**2 + square / n**2
    gap = sympy.factor(second / n - exact)
    yield sympy.expand(gap * n**2 - (second + (n - 2) * square)) == 0, "E V <= S/N with room (S + (N-2) M)/N^2"


def _symbols(name: str, n: int, d: int) -> Any:
    return np.array([[Symbol(f"{name}{i}{k}", real=True) for k in range(d)] for i in range(n)], dtype=object)


def _invariants(trial: Trial) -> None:
    """The O(n) pair sum of the code, run on symbols: momentum and energy are conserved for any score values."""
    for n, d in ((3, 2), (2, 3)):
        x, s = _symbols("x", n, d), _symbols("s", n, d)
        weights = np.array([sympy.Rational(1, n)] * n, dtype=object)
        u = drift.maxwell_pair_drift(Symbol("C"), x, s, weights)
        momentum = [sympy.expand(entry) for entry in u.sum(0)]
        trial.claim(not any(momentum), f"(2.7) conserves momentum, n = {n}, d = {d}")
        trial.claim(sympy.expand((u * x).sum()) == 0, f"(2.7) conserves energy, n = {n}, d = {d}")


def _sampling(trial: Trial, rng: np.random.Generator, draws: int) -> list[float]:
    """Measured N E|U_N - U|^2 of exact samples against the exact variance formula and its bound."""
    ratios = []
    for d, strength, amplitude, t in ((2, 1 / 16, 0.5, 1.0), (3, 1 / 24, 1.0, 5.8)):
        bkw, kernel = Bkw(d, strength, amplitude, t), maxwell(d, strength)
        x = bkw.sample(t, 400_000, rng)
        s, half = bkw.score(t, x), len(x) // 2
        psi = np.einsum("nij,nj->ni", kernel.matrix(x[:half] - x[half:]), s[:half] - s[half:])
        second = float(np.mean(np.sum(psi**2, axis=1)))
        square = strength**2 * (d - 1) ** 2 * (bkw.fisher_information(t) - d)  # E|U|^2
        for n in (8, 64):
            measured = np.empty(draws)
            for k in range(draws):
                particles = bkw.sample(t, n, rng)
                scores = bkw.score(t, particles)
                gap = drift.pair_drift(kernel, particles, scores, np.full(n, 1 / n)) - bkw.drift(t, particles)
                measured[k] = np.mean(np.sum(gap**2, axis=1))
            mean, error = float(np.mean(measured)), float(np.std(measured)) / np.sqrt(draws)
            exact = ((n - 1) * (second - square) + square) / n**2
            where = f"BKW d = {d}, N = {n}"
            trial.tries += draws
            trial.claim(
                abs(mean - exact) <= 5 * error + 0.01 * exact, f"E V = {exact:.4g}, measured {mean:.4g}, {where}"
            )
            ratios.append(second / n / mean)
    return ratios


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Invariants on symbols, the variance identity, and Monte Carlo."""
    trial = Trial()
    trial.claims(_variance())
    _invariants(trial)
    ratios = _sampling(trial, rng, 150 if quick else 6000)
    trial.claim(largest(np.array(ratios)) < 3, "the bound S/N has the right size")
    return trial.finding(
        "(2.7) conserves momentum and energy for any scores (code run on symbols); for i.i.d. particles E|U_N - U|^2 = "
        "((N-1)(S - M) + M)/N^2 <= S/N, S = E|A(s - s')|^2, M = E|U|^2: rate N^(-1/2) in every dimension; measured "
        f"S/N over E|U_N - U|^2 between {min(ratios):.3f} and {max(ratios):.3f}"
    )


CHECK = Check(
    id="particle_system",
    statement="Replacing f by the empirical measure gives X_i' = -(1/N) sum_j A(X_i - X_j)(s(X_i) - s(X_j)); the error "
    "of the drift at i.i.d. particles is O(N^(-1/2)).",
    source="(2.6)-(2.7)",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
