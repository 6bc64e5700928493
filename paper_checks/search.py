"""Adversarial search: random starts, then local ascent with a step size of its own for each start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory.provenance import Array

Ratio = Callable[[Array], Array]


def ascend(
    objective: Ratio, start: Array, rng: np.random.Generator, project: Callable[[Array], Array], *, steps: int = 600
) -> tuple[float, Array, int]:
    """Largest value of ``objective`` found.

    Parameters
    ----------
    objective : callable
        (n, m) points to (n,) values.
    start : ndarray (n, m)
    rng : Generator
    project : callable
        Maps points back into the domain.
    steps : int
        Proposals per start; each start widens its step after a success and narrows it after a failure.

    Returns
    -------
    value : float
    point : ndarray (m,)
    tries : int
        Points at which the objective was evaluated.
    """
    x = project(start)
    best = objective(x)
    scale = np.full((len(x), 1), np.abs(start).max())
    for _ in range(steps):
        proposal = project(x + scale * rng.standard_normal(x.shape))
        value = objective(proposal)
        better = (value > best)[:, None]
        x = np.where(better, proposal, x)
        best = np.where(better[:, 0], value, best)
        scale = scale * np.where(better, 1.5, 0.85)
        scale = np.where(scale < 1e-9, 0.1, scale)  # stuck: jump again
    winner = int(np.argmax(best))
    return float(best[winner]), x[winner], len(x) * (steps + 1)


def into_ball(x: Array, radius: float) -> Array:
    """Points (..., d) outside the ball moved radially onto its surface."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x * np.minimum(1.0, radius / np.maximum(norm, 1e-300))
