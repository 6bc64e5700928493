"""Maxwell drift by moments, O(n), against the pairwise sum, O(n^2): time and difference, side by side in one run.

python benchmarks/drift.py [N ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from theory.drift import maxwell_pair_drift, pair_drift
from theory.kernels import maxwell


def best_of(repeat: int, f: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Shortest of a few runs, and the result."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        result = f()
        times.append(time.perf_counter() - began)
    return min(times), result


def main(sizes: list[int]) -> None:
    """Print the table."""
    print(f"{'d':>2} {'N':>7} {'moments [s]':>12} {'pairs [s]':>12} {'ratio':>8} {'max relative difference':>24}")
    for d in (2, 3):
        for n in sizes:
            rng = np.random.default_rng(0)
            x, s = rng.standard_normal((n, d)), rng.standard_normal((n, d))
            weights = np.full(n, 1 / n)
            fast, a = best_of(5, lambda x=x, s=s, w=weights: maxwell_pair_drift(1 / 16, x, s, w))
            slow, b = best_of(2, lambda x=x, s=s, w=weights, d=d: pair_drift(maxwell(d, 1 / 16), x, s, w))
            difference = float(np.abs(a - b).max() / np.abs(b).max())
            print(f"{d:>2} {n:>7} {fast:>12.2e} {slow:>12.2e} {slow / fast:>8.0f} {difference:>24.1e}")


if __name__ == "__main__":
    main([int(x) for x in sys.argv[1:]] or [1000, 10_000])
