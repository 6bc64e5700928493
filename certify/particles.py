"""Particle systems used as references: N particles driven by the exact score (Theorem 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theory.provenance import Array

if TYPE_CHECKING:
    from certify.context import Context

SUBSTEPS = 4


def reference_particles(context: Context) -> Array | None:
    """N-body system with the exact score from the same start, at the window's nodes: (m, n, d).

    None without an exact solution, or where its score is singular at the start. In a restart the system starts at the
    exact positions X(t1, v_i). Classical Runge-Kutta, several steps between nodes.
    """
    solution = context.exact
    if solution is None:
        return None
    window = context.window
    if not np.isfinite(solution.score_lipschitz(float(window.edges[0]))):
        return None

    x = solution.flow(context.start, context.particles)

    def rate(t: float, y: Array) -> Array:
        return context.pair_drift(y, solution.score(t, y))

    out, t = [], float(window.edges[0])
    for target in window.flat:
        h = (target - t) / SUBSTEPS
        for _ in range(SUBSTEPS):
            k1 = rate(t, x)
            k2 = rate(t + h / 2, x + h / 2 * k1)
            k3 = rate(t + h / 2, x + h / 2 * k2)
            k4 = rate(t + h, x + h * k3)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            t += h
        out.append(x)
    return np.stack(out)
