"""The 1-Wasserstein distance of (3.8): Kantorovich-Rubinstein duality on finite measures, primal against dual."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog

from paper_checks.check import Check, Finding, Trial
from theory.provenance import Array


def distances(x: Array, y: Array, side: float) -> Array:
    """Euclidean distances; on the torus of the given side where it is finite."""
    z = x[:, None] - y
    if np.isfinite(side):
        z = z - side * np.round(z / side)
    return np.linalg.norm(z, axis=-1)


def dual(points: Array, charge: Array, side: float) -> float:
    """Largest sum of phi * charge over 1-Lipschitz phi on the points: a linear programme."""
    n = len(points)
    gap = distances(points, points, side)
    pairs = list(itertools.permutations(range(n), 2))
    rows = np.zeros((len(pairs), n))
    for row, (i, j) in zip(rows, pairs, strict=True):
        row[i], row[j] = 1.0, -1.0
    limits = np.array([gap[i, j] for i, j in pairs])
    bounds = [(0.0, 0.0), *[(None, None)] * (n - 1)]
    return -float(linprog(-charge, A_ub=rows, b_ub=limits, bounds=bounds).fun)


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Random clouds on R^d and on the torus; then 1-Lipschitz test functions that try to exceed the distance."""
    trial = Trial()
    for d, side in itertools.product((2, 3), (np.inf, 1.0)):
        for _ in range(3 if quick else 30):
            n = int(rng.integers(2, 9))
            x, y = (rng.standard_normal((n, d)) if np.isinf(side) else rng.random((n, d)) for _ in range(2))
            cost = distances(x, y, side)
            plan = linear_sum_assignment(cost)
            primal = float(cost[plan].mean())
            charge = np.concatenate([np.full(n, 1 / n), np.full(n, -1 / n)])
            where = f"n = {n}, d = {d}, side = {side}"
            value = dual(np.concatenate([x, y]), charge, side)
            trial.small(abs(primal - value), 1e-8, f"primal = dual, {where}")
            centres = rng.standard_normal((200, d))
            tests = (distances(x, centres, side) - distances(y, centres, side)).mean(axis=0)  # v -> |v - c|
            trial.ratio(primal, float(np.max(np.abs(tests))), f"1-Lipschitz tests stay below W1, {where}", 200)
            trial.ratio(float(np.sqrt((cost[plan] ** 2).mean())), primal, f"W1 <= root mean square of a plan, {where}")
    return trial.finding(
        "optimal assignment = supremum over 1-Lipschitz functions, on R^d and on the torus with its own distance, "
        f"largest gap {trial.largest_residual:.1e}; smallest ratio W1/test function {trial.smallest_ratio:.4f}"
    )


CHECK = Check(
    id="wasserstein",
    statement="W1(mu~, f) = inf over couplings of E|X - Y| = sup over 1-Lipschitz phi of int phi d(mu~ - f).",
    source="(3.8)",
    how="numerical",
    expected="holds",
    run=run,
)
