"""The formulas of ``theory.theorems`` as the checks use them: on arrays, on symbols, and on their witnesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy

from paper_checks.check import Trial
from theory.gronwall import NumericOps, Ops, TimeGrid
from theory.provenance import Array
from theory.theorems import THEOREMS


@dataclass(frozen=True)
class InstantOps:
    """For formulas at one instant, on arrays of any shape; such formulas integrate nothing."""

    def now(self, *parts: Any) -> Any:
        """Non-negative part of a sum; of a single quantity, the quantity."""
        total = sum(parts)
        return total if len(parts) == 1 else np.maximum(total, 0.0)

    def sqrt(self, x: Any) -> Any:
        """Square root."""
        return np.sqrt(x)

    def gronwall(self, alpha: Any, source: Any) -> Any:
        """Refused."""
        raise TypeError(f"no value at an instant: integral over time with rate {alpha} and source {source}")

    def growth(self, alpha: Any) -> Any:
        """Refused."""
        raise TypeError(f"no value at an instant: integral over time of the rate {alpha}")


@dataclass
class Probe:
    """Reads the differential inequality off a formula: records every rate and source it hands to ``gronwall``."""

    rates: list[Any] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)

    def gronwall(self, alpha: Any, source: Any) -> Any:
        """Record; the value is an opaque symbol."""
        self.rates.append(alpha)
        self.sources.append(source)
        return sympy.Dummy("integral", nonnegative=True)

    def growth(self, alpha: Any) -> Any:
        """Record the rate."""
        self.rates.append(alpha)
        return sympy.Dummy("growth", positive=True)

    def now(self, *parts: Any) -> Any:
        """Sum."""
        return sum(parts)

    def sqrt(self, x: Any) -> Any:
        """Square root of a symbol."""
        return sympy.sqrt(x)


def bound(name: str, ops: Ops, values: Mapping[str, Any]) -> Any:
    """Sum of the terms of a theorem of ``theory``."""
    terms = list(THEOREMS[name].terms(ops, values).values())
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def symbols(name: str) -> dict[str, sympy.Symbol]:
    """One non-negative symbol for every ingredient of a theorem."""
    return {i.id: sympy.Symbol(i.id, nonnegative=True) for i in THEOREMS[name].ingredients}


def inequality(name: str) -> tuple[Any, Any, dict[str, sympy.Symbol]]:
    """Rate and source of y' <= rate y + source behind a theorem, and its symbols.

    Raises
    ------
    ValueError
        If the formula integrates with two different rates.
    """
    probe, values = Probe(), symbols(name)
    THEOREMS[name].terms(probe, values)
    rates = {sympy.expand(rate) for rate in probe.rates}
    if len(rates) != 1:
        raise ValueError(f"{name} integrates with {len(rates)} rates")
    return rates.pop(), sympy.expand(sum(probe.sources)), values


def hold_witnesses(trial: Trial, name: str) -> None:
    """Bound >= truth on every witness, equality where it claims to be sharp, within the time rule's own error."""
    theorem = THEOREMS[name]
    for witness in theorem.witnesses:
        grid = TimeGrid(np.linspace(witness.t0, witness.T, 7))
        ops = NumericOps(grid)
        values = {
            i.id: _ingredient(witness.ingredients[i.id], grid.edges if i.at_report else grid.flat)
            for i in theorem.ingredients
        }
        limits = bound(name, ops, values).numbers()
        for limit, error, truth, t in zip(
            limits, ops.error.numbers(), _at(witness.truth, grid.edges), grid.edges, strict=True
        ):
            where = f"{name} on its witness '{witness.name}' at t = {t:.2f}"
            slack = error + 1e-9 * max(1.0, truth)
            if witness.sharp:
                trial.small(max(0.0, abs(limit - truth) - slack), 1e-15, f"equality: {where}")
            else:
                trial.ratio(limit + slack, truth, where)


def _at(function: Callable[[Any], Any], times: Array) -> Array:
    return np.array([float(sympy.sympify(function(float(t)))) for t in times])


def _ingredient(function: Callable[[Any], Any], times: Array) -> Array | float:
    """Values at the times; a constant as one number, as formulas take it at nodes and report times alike."""
    values = _at(function, times)
    return float(values[0]) if (values == values[0]).all() else values
