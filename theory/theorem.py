"""Theorems as data: ingredients with a direction, hypotheses with a check, a pure formula, and witnesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from theory.gronwall import Ops
from theory.provenance import Side


class Outcome(Enum):
    """What a check of a hypothesis can say."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check, its reason, and for FAILS the last time at which everything still passed.

    ``valid_until`` is a time of the window; bounds at later times are void. ``-inf`` voids all times.
    """

    outcome: Outcome
    reason: str
    valid_until: float = np.inf

    @staticmethod
    def holds(reason: str) -> Verdict:
        """The hypothesis was established."""
        return Verdict(Outcome.HOLDS, reason)

    @staticmethod
    def unknown(reason: str) -> Verdict:
        """Nothing speaks against the hypothesis and nothing establishes it."""
        return Verdict(Outcome.UNKNOWN, reason)

    @staticmethod
    def fails(reason: str, valid_until: float = -np.inf) -> Verdict:
        """The hypothesis is false from some time after ``valid_until`` on."""
        return Verdict(Outcome.FAILS, reason, valid_until)


Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Hypothesis:
    """A condition of a theorem and the check that decides it from measured facts.

    ``check`` maps facts (plain numbers and arrays; see ``theory.hypotheses``) to a verdict. A fact it needs and does
    not find makes the verdict UNKNOWN.
    """

    id: str
    statement: str
    check: Callable[[Facts], Verdict]
    needs: tuple[str, ...] = ()

    def verdict(self, facts: Facts) -> Verdict:
        """Decide from the facts."""
        missing = [name for name in self.needs if facts.get(name) is None]
        if missing:
            return Verdict.unknown(f"not checked: {', '.join(missing)} not available for this model or problem")
        return self.check(facts)


@dataclass(frozen=True)
class Ingredient:
    """A quantity a theorem needs.

    ``monotone`` is +1 if the bound increases in it (an UPPER value is needed), -1 if it decreases (LOWER). A
    function of time is given at the quadrature nodes or, if ``at_report``, at the report times.
    """

    id: str
    symbol: str
    meaning: str
    monotone: int = 1
    unit: str = ""
    at_report: bool = False

    def __post_init__(self) -> None:
        if self.monotone not in (1, -1):
            raise ValueError("monotone is +1 or -1")

    @property
    def needed(self) -> Side:
        """The side an estimate must have."""
        return Side.UPPER if self.monotone > 0 else Side.LOWER


class Scope(Enum):
    """Where a theorem starts: with the model, with the judged window (an initial error enters), or at every instant."""

    MODEL = "model"
    WINDOW = "window"
    INSTANT = "instant"


@dataclass(frozen=True)
class Witness:
    """A system where both sides are known in closed form.

    ``ingredients`` and ``truth`` are sympy-ready callables of a time symbol or number; ``sharp`` claims equality.
    """

    name: str
    ingredients: Mapping[str, Callable[[Any], Any]]
    truth: Callable[[Any], Any]
    sharp: bool
    t0: float = 0.0
    T: float = 1.0


Terms = Mapping[str, Any]


@dataclass(frozen=True)
class Theorem:
    """A certified inequality: ``measured[bounds] <= sum of terms`` at every time of the window.

    Parameters
    ----------
    id, title, source : str
    statement : str
        LaTeX.
    bounds : str
        Id of the error it bounds (see ``certify.judge.TITLES``).
    ingredients, hypotheses, witnesses : tuples
    formula : callable
        ``formula(ops, **ingredients) -> {name: term}``; rates come at time nodes, results live at report times.
    notes : tuple of str
    scope : Scope
    """

    id: str
    title: str
    source: str
    statement: str
    bounds: str
    ingredients: tuple[Ingredient, ...]
    hypotheses: tuple[Hypothesis, ...]
    formula: Callable[..., Terms]
    witnesses: tuple[Witness, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    scope: Scope = Scope.MODEL

    def __post_init__(self) -> None:
        if not self.witnesses:
            raise ValueError(f"theorem {self.id} has no witness; no witness, no registration")

    def terms(self, ops: Ops, values: Mapping[str, Any]) -> Terms:
        """Named terms whose sum is the bound.

        Raises
        ------
        KeyError
            If an ingredient is missing: no constant of a theorem has a default.
        """
        return self.formula(ops, **{i.id: values[i.id] for i in self.ingredients})
