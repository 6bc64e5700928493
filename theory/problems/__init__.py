"""One file per benchmark problem; each defines ``PROBLEM``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from theory.problem import Problem
from theory.registry import Registry


@dataclass(frozen=True)
class ProblemFamily:
    """A problem with an overridable time window."""

    id: str
    title: str
    t0: Fraction
    T: Fraction
    make: Callable[[Fraction, Fraction], Problem]

    def __call__(self, t0: Fraction | None = None, T: Fraction | None = None) -> Problem:
        """The problem on [t0, T], each defaulting to the family's own window."""
        return self.make(self.t0 if t0 is None else t0, self.T if T is None else T)


PROBLEMS: Registry[ProblemFamily] = Registry("theory.problems", "PROBLEM", "problem")

_NUMBER = re.compile(r"[0-9]{1,9}(/[0-9]{1,9}|\.[0-9]{1,9})?")


def parse_problem(spec: str) -> Problem:
    """Read ``bkw2d``, ``bkw2d:t0=1/2`` or ``bkw2d:t0=1/2,T=5``.

    Raises
    ------
    UnknownNameError
        For an unknown id.
    ValueError
        For a malformed or impossible window.
    """
    name, _, tail = spec.partition(":")
    family = PROBLEMS[name]
    window: dict[str, Fraction] = {}
    for part in filter(None, tail.split(",")):
        key, _, text = part.partition("=")
        if key not in ("t0", "T") or key in window or not _NUMBER.fullmatch(text):
            raise ValueError(f"cannot read {part!r}; write {name}:t0=1/2,T=5 (times as fractions or decimals)")
        try:
            window[key] = Fraction(text)
        except ZeroDivisionError:
            raise ValueError(f"cannot read {part!r}: division by zero") from None
    return family(**window)
