"""Error budget of a certificate: what each ingredient costs, at the final time. Pure; none of it is a bound."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from certify.results import Share
from theory.gronwall import LogValue, NumericOps, TimeGrid
from theory.provenance import Estimate
from theory.theorem import Theorem

STEP = 1e-4
SUPREMA = "all at their suprema"


def budget(theorem: Theorem, grid: TimeGrid, estimates: Mapping[str, Estimate]) -> tuple[Share, ...]:
    """One share per ingredient, and one with every function of time replaced by its largest value.

    Parameters
    ----------
    theorem : Theorem
    grid : TimeGrid
    estimates : mapping
        Everything known; ``<ingredient>_sampled`` is what an ingredient is replaced by.

    Returns
    -------
    tuple of Share, the most expensive first; empty if an ingredient is missing or the bound is 0 or infinite.
    """
    if any(i.id not in estimates for i in theorem.ingredients):
        return ()
    values = {i.id: np.asarray(estimates[i.id].value) for i in theorem.ingredients}
    base = _log_bound(theorem, grid, values)
    if not math.isfinite(base):
        return ()
    shares = []
    for i in theorem.ingredients:
        scaled = _log_bound(theorem, grid, {**values, i.id: values[i.id] * (1 + STEP)})
        other = estimates.get(f"{i.id}_sampled")
        shares.append(
            Share(
                ingredient=i.id,
                value=estimates[i.id].last(),
                other=None if other is None else other.last(),
                log_bound=None
                if other is None
                else _log_bound(theorem, grid, {**values, i.id: np.asarray(other.value)}),
                elasticity=(scaled - base) / math.log1p(STEP),
                method="" if other is None else other.method,
            )
        )
    shares.sort(key=lambda s: -abs(s.elasticity))
    nodal = {k: v for k, v in values.items() if v.shape == (grid.n_nodes,)}
    if nodal:
        largest = {k: np.asarray(v.max()) for k, v in nodal.items()}
        log_bound = _log_bound(theorem, grid, {**values, **largest})
        shares.append(Share(SUPREMA, math.nan, None, log_bound, 0.0, "constants do not follow time (still a bound)"))
    return tuple(shares)


def _log_bound(theorem: Theorem, grid: TimeGrid, values: Mapping[str, np.ndarray]) -> float:
    ops = NumericOps(grid)
    terms = [LogValue.of(x).log for x in theorem.terms(ops, values).values()]
    return float(np.logaddexp.reduce([*terms, ops.error.log], axis=0)[-1])
