"""Estimators: functions from a context to estimates. One file each in ``certify.estimators``; add a file, done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from certify.context import Context
from theory.provenance import Estimate, Rigor, Side
from theory.registry import Registry


@dataclass(frozen=True)
class Estimator:
    """A way to obtain some ingredients.

    Parameters
    ----------
    id : str
    provides : mapping of ingredient id to side
        What it provides and the side it claims. Ids that are no theorem's ingredient are shown only.
    rigor : Rigor
        The best label it can give.
    uses_exact_solution : bool
    compute : callable
        ``compute(context) -> {id: Estimate}``; may return fewer than it provides, with the reason in ``why_not``.
    why_not : str
        What a model or problem needs for this estimator.
    """

    id: str
    provides: Mapping[str, Side]
    rigor: Rigor
    uses_exact_solution: bool
    compute: Callable[[Context], Mapping[str, Estimate]]
    why_not: str = ""


ESTIMATORS: Registry[Estimator] = Registry("certify.estimators", "ESTIMATOR", "estimator")
