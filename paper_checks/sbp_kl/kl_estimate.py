"""The estimate: d/dt KL(f~|f) is at most the score-matching error plus what the two laws' coefficients differ by.

With g = grad log f~ - grad log f, eta = s~ - grad log f~, A~ = A * f~ and q = -(A * (f~ - f)) s + b * (f~ - f),

    d/dt KL = -E g.A~ g - (1/2) E (g - g').A (eta - eta') + E g.q          (expectations under f~, f~ x f~)
           <= H + K/2,   H = (1/2) E (eta - eta').A (eta - eta'),  K = E q.A~^-1 q,

because (1/2) E (g - g').A (g - g') <= 2 E g.A~ g. With lambda1 <= A~, A <= lambda2 and Pinsker's inequality this is
Huang and Wang's form (constants ours): d/dt KL <= (M^2/lambda1) KL + lambda2 E|eta|^2, M = lambda2 sup|s| + sup|b|.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import sympy
from sympy import Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.sbp_kl.gaussians import World, hermite_cloud, inverse
from paper_checks.search import ascend
from theory.kernels import maxwell
from theory.provenance import Array


@proof
def _young() -> Iterator[Claim]:
    """-G + sqrt(2 G H) + sqrt(G K) <= H + K/2 for G, H, K >= 0: the gap is the sum of two squares."""
    g, h, k = (Symbol(name, nonnegative=True) for name in "ghk")  # square roots
    gap = h**2 + k**2 / 2 - (-(g**2) + sympy.sqrt(2) * g * h + g * k)
    squares = (h - g / sympy.sqrt(2)) ** 2 + (k - g) ** 2 / 2
    yield sympy.expand(gap - squares) == 0, "two squares"


def terms(world: World, order: int) -> dict[str, float]:
    """The three terms of d/dt KL, and H and K, with the code's own kernel."""
    kernel = maxwell(world.d, 1.0)
    x, w = world.cloud()
    g, eta = world.score_gap(x), world.score_error(x)
    pairs = kernel.matrix(x[:, None] - x)
    averaged = np.einsum("nmij,m->nij", pairs, w)

    def form(a: Array, b: Array) -> float:  # (1/2) E (a - a').A (b - b')
        own = np.einsum("ni,nij,nj,n->", a, averaged, b, w)
        cross = np.einsum("ni,nmij,mj,n,m->", a, pairs, b, w, w, optimize=True)
        return float(own - cross)

    def difference(points: Array) -> Array:  # q; b * (f~ - f) vanishes, both means are 0
        gap = world.diffusion(points, world.learned) - world.diffusion(points, world.exact)
        return np.asarray(np.einsum("nij,nj->ni", gap, points @ inverse(world.exact)))

    fine, weights = hermite_cloud(world.learned, order)  # A~^-1 is rational: a finer rule
    q = difference(fine)
    solved = np.linalg.solve(world.diffusion(fine, world.learned), q[:, :, None])[:, :, 0]
    return {
        "G": float(np.einsum("ni,nij,nj,n->", g, averaged, g, w)),
        "pair_g": form(g, g),
        "cross": form(g, eta),
        "q": float(w @ np.sum(g * difference(x), axis=1)),
        "H": form(eta, eta),
        "K": float(weights @ np.sum(q * solved, axis=1)),
    }


def quotient(d: int, order: int, x: Array) -> Array:
    """d/dt KL over its bound."""
    values = []
    for row in x:
        world = World.of(row, d)
        t = terms(world, order)
        values.append(world.entropy_rate() / (t["H"] + t["K"] / 2))
    return np.nan_to_num(np.array(values), nan=0.0)


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Young's step, the decomposition of d/dt KL, then the attack."""
    trial = Trial()
    trial.claims(_young())
    best = []
    for d, order in ((2, 16), (3, 9)):
        for _ in range(4 if quick else 40):
            world = World.of(rng.standard_normal(3 * d * d), d)
            t = terms(world, order)
            rate = world.entropy_rate()
            gap = abs(rate - (-t["G"] - t["cross"] + t["q"])) / max(1.0, abs(rate))
            trial.small(gap, 1e-9, f"d/dt KL = -G - cross + E g.q, d = {d}")
            trial.ratio(2 * t["G"], t["pair_g"], f"(1/2) E (g - g').A (g - g') <= 2 E g.A~ g, d = {d}")
        start = rng.standard_normal((4, 3 * d * d))
        steps = (30 if quick else 600) if d == 2 else (6 if quick else 120)
        found, _, tries = ascend(partial(quotient, d, order), start, rng, lambda x: np.clip(x, -3, 3), steps=steps)
        trial.ratio(1.0, found, f"KL estimate, d = {d}", tries)
        best.append(1 / max(found, 1e-9))
    return trial.finding(
        "d/dt KL = -E g.A~g - (pair form of g and the score error) + E g.q (the code's pair sums agree), Young's gap "
        f"is two squares; smallest ratio bound/rate over Gaussian laws and linear scores d = 2: {best[0]:.3f}, d = 3: "
        f"{best[1]:.3f}. Change: 'controlled by the score error' holds up to the factor exp(int M^2/lambda1): the "
        "estimate needs A~ >= lambda1 > 0 and a bounded exact score (M), so a torus or f bounded below; BKW near its "
        "start has neither",
        "holds with this change",
    )


CHECK = Check(
    id="kl_estimate",
    statement="d/dt KL(f~|f) <= C KL(f~|f) + c E_f~|s~ - grad log f~|^2: the score-matching error controls the law.",
    source="Huang and Wang, KL theorem",
    how="symbolic + numerical",
    expected="holds with this change",
    run=run,
)
