"""One file per benchmark problem; each defines ``PROBLEM``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from theory.problem import Problem
from theory.registry import Registry


@dataclass(frozen=True)
class Parameter:
    """A constant that a specification may set, between ``low`` and ``high`` inclusive."""

    default: Fraction
    low: Fraction
    high: Fraction
    meaning: str

    def checked(self, name: str, value: Fraction) -> Fraction:
        """The value.

        Raises
        ------
        ValueError
            If it lies outside.
        """
        if not self.low <= value <= self.high:
            raise ValueError(f"{name} = {value} is not between {self.low} and {self.high} ({self.meaning})")
        return value


@dataclass(frozen=True)
class ProblemFamily:
    """A problem with an overridable time window and, maybe, constants to choose.

    Parameters
    ----------
    id, title : str
    t0, T : Fraction
        Default window.
    make : callable
        ``make(t0, T, **parameters)``; the problem lists the names in ``Problem.parameters`` and gives each as a
        rational among its ``constants``.
    parameters : mapping of str to Parameter
    """

    id: str
    title: str
    t0: Fraction
    T: Fraction
    make: Callable[..., Problem]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __call__(self, t0: Fraction | None = None, T: Fraction | None = None, **chosen: Fraction) -> Problem:
        """The problem on [t0, T], each defaulting to the family's own window, with these parameters.

        Raises
        ------
        ValueError
            For an empty window, an unknown parameter or one outside its range.
        """
        if unknown := sorted(chosen.keys() - self.parameters.keys()):
            raise ValueError(f"{self.id} has no parameter {unknown[0]!r}")
        values = {k: p.checked(k, chosen.get(k, p.default)) for k, p in self.parameters.items()}
        return self.make(self.t0 if t0 is None else t0, self.T if T is None else T, **values)

    def rebuilt(self, t0: Fraction, T: Fraction, constants: Mapping[str, str]) -> Problem:
        """The problem on [t0, T] with the parameters found among these constants, as a model or a problem lists them.

        Raises
        ------
        ValueError
            If one of them is no rational, or outside its range.
        """
        return self(t0, T, **{k: _rational(k, constants[k]) for k in self.parameters if k in constants})

    @property
    def settings(self) -> tuple[str, ...]:
        """What a specification may set."""
        return ("t0", "T", *self.parameters)

    @property
    def example(self) -> str:
        """A specification that sets everything."""
        return ",".join([f"{self.id}:t0=1/2,T=5", *(f"{k}={p.default}" for k, p in self.parameters.items())])


PROBLEMS: Registry[ProblemFamily] = Registry("theory.problems", "PROBLEM", "problem")

_NUMBER = re.compile(r"[0-9]{1,9}(/[0-9]{1,9}|\.[0-9]{1,9})?")


def parse_problem(spec: str) -> Problem:
    """Read ``bkw2d``, ``bkw2d:t0=1/2``, ``bkw2d:t0=1/2,T=5`` or ``anisotropic2d:epsilon=1/10``.

    Raises
    ------
    UnknownNameError
        For an unknown id.
    ValueError
        For malformed text (the message starts with "cannot read"), an impossible window or parameter.
    """
    name, _, tail = spec.partition(":")
    family = PROBLEMS[name]
    chosen: dict[str, Fraction] = {}
    for part in filter(None, tail.split(",")):
        key, _, text = part.partition("=")
        if key not in family.settings:
            raise ValueError(f"cannot read {part!r}; {name} takes {', '.join(family.settings)}")
        if key in chosen or not _NUMBER.fullmatch(text):
            raise ValueError(f"cannot read {part!r}; write {family.example} (fractions or decimals)")
        chosen[key] = _rational(key, text)
    return family(**chosen)


def _rational(name: str, text: str) -> Fraction:
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ValueError(f"cannot read '{name}={text}': division by zero") from None
    except ValueError:
        raise ValueError(f"cannot read '{name}={text}': not a fraction or a decimal") from None
