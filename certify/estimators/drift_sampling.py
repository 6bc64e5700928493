"""Sampling error of the drift of N i.i.d. particles with the exact score (repaired Theorem 5).

E |U[mu_N](X_i) - U[f](X_i)|^2 <= E |A(X - X')(s(X) - s(X'))|^2 / N for X, X' independent with law f: the rate is
N^(-1/2) in every dimension, because only one function of X' is averaged.
"""

from __future__ import annotations

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from theory.provenance import Estimate, Rigor, Side


def compute(context: Context) -> dict[str, Estimate]:
    """Mean over pairs of exact particles at the quadrature times (sampled)."""
    solution = context.exact
    if solution is None:
        return {}
    kernel, n = context.problem.kernel, len(context.particles)
    value = np.empty(context.grid.n_nodes)
    for k, (t, x) in enumerate(zip(context.grid.flat, context.exact_particles, strict=True)):
        s = solution.score(t, x)
        # neighbours in the sample are independent
        z, y = x - np.roll(x, 1, axis=0), s - np.roll(s, 1, axis=0)
        value[k] = np.mean(np.sum(np.einsum("nij,nj->ni", kernel.matrix(z), y) ** 2, axis=1)) / n
    if not np.isfinite(value).all():
        return {}
    method = f"mean over {n} pairs of exact particles, divided by N = {n}"
    return {"drift_sampling": Estimate(value, Side.NONE, Rigor.SAMPLED, method, uses_exact_solution=True)}


ESTIMATOR = Estimator(
    id="drift_sampling",
    provides={"drift_sampling": Side.NONE},
    rigor=Rigor.SAMPLED,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution",
)
