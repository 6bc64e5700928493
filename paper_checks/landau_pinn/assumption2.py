"""Assumption 2: E W1(mu-_N, f) <= C N^(-1/2). No N points whatever are that close in d = 3."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy
from scipy.spatial import cKDTree
from sympy import Rational, Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from theory import sampling
from theory.provenance import Array


@proof
def _integral() -> Iterator[Claim]:
    """int_0^inf (1 - c r^d)_+ dr = d/(d+1) c^(-1/d)."""
    r, c = Symbol("r", positive=True), Symbol("c", positive=True)
    for d in (2, 3):
        value = sympy.integrate(1 - c * r**d, (r, 0, c ** Rational(-1, d)))
        yield sympy.simplify(value - Rational(d, d + 1) * c ** Rational(-1, d)) == 0, f"the floor's integral, d = {d}"


def spread_points(n: int, d: int, rng: np.random.Generator, rounds: int) -> tuple[Array, float]:
    """N points spread over the unit torus by Lloyd's iteration, and the mean distance of uniform v to them."""
    x = rng.random((n, d))
    v = rng.random((60 * n, d))
    for _ in range(rounds):
        nearest = cKDTree(x, boxsize=1.0).query(v)[1]
        offset = v - x[nearest]
        offset -= np.round(offset)
        count = np.maximum(np.bincount(nearest, minlength=n), 1)
        x = (x + np.stack([np.bincount(nearest, offset[:, k], n) / count for k in range(d)], axis=1)) % 1.0
        x = np.where(x >= 1.0, 0.0, x)
    fresh = rng.random((60 * n, d))
    return x, float(np.mean(cKDTree(x, boxsize=1.0).query(fresh)[0]))


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """The floor as an integral, its attack by spread-out points, and its crossing with N^(-1/2)."""
    trial = Trial()
    trial.claims(_integral())
    for d in (2, 3):
        volume = float(sympy.pi ** Rational(d, 2) / sympy.gamma(Rational(d, 2) + 1))
        for n in (7, 1000, 10**6):
            exact = d / (d + 1) * (n * volume * 2.5) ** (-1 / d)
            gap = abs(sampling.floor(d, n, 2.5) / exact - 1)
            trial.small(gap, 1e-9, f"theory.sampling.floor, d = {d}, N = {n}")
        for n in (50, 400) if quick else (50, 400, 3000):
            _, distance = spread_points(n, d, rng, 10 if quick else 40)
            trial.ratio(distance, sampling.floor(d, n, 1.0), f"uniform law on the torus, d = {d}, N = {n}")
    exponent = np.log(sampling.floor(3, 10**9, 1.0) / sampling.floor(3, 10**3, 1.0)) / np.log(10**6)
    trial.small(abs(float(exponent) + 1 / 3), 1e-6, "the floor decays like N^(-1/3) in d = 3")
    peak = (2 * np.pi) ** -1.5  # of N(0, I_3)
    ratio = [sampling.floor(3, n, peak) / sampling.paper_rate(n) for n in (1, 1000, 64_000)]
    trial.claim(1 < ratio[0] < ratio[1] < ratio[2], "the floor exceeds N^(-1/2) for N(0, I_3), more and more")
    return trial.counterexample(
        "d = 3: every measure on N points is at least (3/4)(N w_3 sup f)^(-1/3) from f (proved; best points found by "
        f"Lloyd are within {trial.smallest_ratio:.3f} of it), above any C N^(-1/2) eventually; for N(0, I_3) it is "
        f"{ratio[1]:.1f} N^(-1/2) at N = 1000, {ratio[2]:.1f} N^(-1/2) at N = 64,000. d = 2: the floor is N^(-1/2), "
        "i.i.d. particles need sqrt(log N / N) (Ajtai, Komlos, Tusnady; cited). Repair: keep E W1(mu-, f) as an "
        "explicit term (theory.sampling)"
    )


CHECK = Check(
    id="assumption2",
    statement="There is C_T with E W1(mu-_t, f_t) <= C_T N^(-1/2) for all t in [0, T].",
    source="Assumption 2",
    how="symbolic + numerical",
    expected="fails",
    run=run,
)
