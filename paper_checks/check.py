"""What a checked statement is: the claim, how it is checked, the verdict on record, and the attempt itself."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np

Verdict = Literal["holds", "holds with this change", "fails", "not checkable here"]
How = Literal["symbolic", "numerical", "symbolic + numerical", "cited"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
HOW: tuple[str, ...] = get_args(How)


@dataclass(frozen=True)
class Finding:
    """Outcome of one attempt.

    Parameters
    ----------
    verdict : Verdict
    detail : str
        What was shown, the change that is needed, or the counterexample, with its numbers.
    tries : int
        Numerical attempts made; 0 for a purely symbolic check.
    """

    verdict: Verdict
    detail: str
    tries: int = 0

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r} is none of {', '.join(VERDICTS)}")
        if self.tries < 0:
            raise ValueError(f"the number of tries {self.tries} is negative")


@dataclass(frozen=True)
class Check:
    """A statement with the code that tries to prove or break it.

    Parameters
    ----------
    id : str
        Name on the command line; the file is called after it.
    statement : str
        The claim in one or two plain sentences.
    source : str
        Where it is stated.
    how : How
    expected : Verdict
        The recorded verdict; any other one is news.
    run : callable
        The attempt ``run(rng, quick)``: random numbers come from ``rng`` only; ``quick`` asks for fewer of them.
    """

    id: str
    statement: str
    source: str
    how: How
    expected: Verdict
    run: Callable[[np.random.Generator, bool], Finding]

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ValueError(f"how {self.how!r} is none of {', '.join(HOW)}")
        if self.expected not in VERDICTS:
            raise ValueError(f"recorded verdict {self.expected!r} is none of {', '.join(VERDICTS)}")

    def generator(self, seed: int) -> np.random.Generator:
        """Random numbers of this check alone: the same whichever other checks run."""
        return np.random.default_rng([seed, zlib.crc32(self.id.encode())])


Claim = tuple[bool, str]


def proof(steps: Callable[[], Iterator[Claim]]) -> Callable[[], tuple[Claim, ...]]:
    """A symbolic proof as a generator of decided claims; it reads nothing of ``theory``: once per process is enough."""
    return cache(lambda: tuple(steps()))


class Trial:
    """Collects the outcomes of one attempt and turns them into a verdict: the first violation decides.

    ``claim`` takes a decided truth value, ``claims`` those of a ``proof``, ``small`` a residual that must vanish to
    rounding, ``ratio`` a quotient bound/truth that must not fall below 1.
    """

    def __init__(self) -> None:
        self.tries = 0
        self.violation = ""
        self.notes: list[str] = []
        self.smallest_ratio = np.inf
        self.largest_residual = 0.0

    def _violate(self, text: str) -> None:
        self.violation = self.violation or text

    def claim(self, true: bool, what: str) -> None:
        """A statement that was decided; ``what`` names it if it turns out false."""
        if not true:
            self._violate(f"not true: {what}")

    def claims(self, decided: Iterable[Claim]) -> None:
        """Every claim of a proof."""
        for true, what in decided:
            self.claim(true, what)

    def small(self, residual: float, tolerance: float, what: str) -> None:
        """One numerical attempt with a residual that should be zero. NaN is a violation."""
        self.tries += 1
        self.largest_residual = max(self.largest_residual, residual)
        if not residual <= tolerance:
            self._violate(f"{what}: residual {residual:.3g} > {tolerance:.0e}")

    def ratio(self, bound: float, truth: float, what: str, tries: int = 1) -> None:
        """One attempt (or the best of several) to exceed a bound; only rounding, 1e-12, is forgiven."""
        self.tries += tries
        quotient = bound / truth if truth > 0 else np.inf
        self.smallest_ratio = min(self.smallest_ratio, quotient)
        if not truth <= bound * (1 + 1e-12):
            self._violate(f"{what}: bound {bound:.9g} < {truth:.9g}")

    def finding(self, detail: str, verdict: Verdict = "holds") -> Finding:
        """``verdict`` with ``detail`` if nothing was violated, else ``fails`` with the violation."""
        if self.violation:
            return Finding("fails", self.violation, self.tries)
        return Finding(verdict, detail, self.tries)

    def counterexample(self, detail: str) -> Finding:
        """``fails`` with ``detail`` if every step of the counterexample came out, else no verdict on the statement."""
        if self.violation:
            return Finding("not checkable here", f"the counterexample did not come out: {self.violation}", self.tries)
        return Finding("fails", detail, self.tries)
