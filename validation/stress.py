"""``python -m validation.stress [--cases N] [--seed S] [--theorem ID]``: tries to refute every theorem.

Draws systems whose errors are known (``validation.systems``) and compares each bound with the error it bounds, at
every report time. The last column is the smallest bound/error seen: near 1 the theorem is sharp on some system, below
1 it is refuted. Exit code 0, 2 for a wrong command line, 10 if a bound lies under an error.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE
from theory.theorems import THEOREMS
from validation.systems import FAMILIES, SERVES, Case

BATCH = 25
# share of the draws, about the inverse of their cost; every theorem has a family with a large share
SHARES = {
    "particles": 0.18,
    "antipodal": 0.02,
    "linear": 0.14,
    "gaussian": 0.14,
    "coulomb": 0.02,
    "isotropic": 0.06,
    "relaxation": 0.10,
    "matching": 0.10,
    "draws": 0.14,
    "kde": 0.10,
}
HEADER = f"{'theorem':<18}{'draws':>7}  {'smallest bound/error':>20}  {'violations':>10}"


@dataclass
class Tally:
    """What was seen of one theorem."""

    draws: int = 0
    tightest: float = math.inf
    violations: int = 0

    def add(self, case: Case, theorem: str) -> bool:
        """Count one system; whether it violates the theorem."""
        bad = case.violated(theorem)
        self.draws += 1
        self.tightest = min(self.tightest, case.tightness(theorem))
        self.violations += bad
        return bad

    def line(self, theorem: str) -> str:
        """One row of the table."""
        return f"{theorem:<18}{self.draws:>7}  {self.tightest:>20.6f}  {self.violations:>10}"


def run(cases: int, seed: int, theorems: Sequence[str], out: TextIO) -> dict[str, Tally]:
    """Draw about ``cases`` systems and judge the named theorems on them; violations are printed as they come."""
    tallies = {name: Tally() for name in theorems}
    families = [name for name in FAMILIES if SERVES[name] & set(theorems)]
    total = sum(SHARES[name] for name in families)
    for family in families:
        wanted = math.ceil(cases * SHARES[family] / total)
        for k, start in enumerate(range(0, wanted, BATCH)):
            rng = np.random.default_rng((seed, list(FAMILIES).index(family), k))
            for index, case in enumerate(FAMILIES[family](rng, min(BATCH, wanted - start))):
                for theorem in set(theorems) & set(case.truth):
                    if tallies[theorem].add(case, theorem):
                        out.write(f"VIOLATION {theorem}: family {family}, seed {seed}, batch {k}, system {index}\n")
    return tallies


def main(argv: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run and print the table."""
    stream = out or sys.stdout
    parser = argparse.ArgumentParser(prog="python -m validation.stress", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, metavar="N", help="systems drawn (default 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the draws")
    parser.add_argument("--theorem", action="append", metavar="ID", help="only this theorem (may be repeated)")
    arguments = parser.parse_args(argv)
    names = arguments.theorem or list(THEOREMS)
    unknown = [name for name in names if name not in THEOREMS]
    if unknown or arguments.cases < 1 or arguments.seed < 0:
        problem = f"unknown theorem {unknown[0]!r}; known: {', '.join(THEOREMS)}" if unknown else "N >= 1 and S >= 0"
        sys.stderr.write(f"stress: {problem}\n")
        return EXIT_USAGE
    tallies = run(arguments.cases, arguments.seed, names, stream)
    stream.write(HEADER + "\n")
    for name, tally in tallies.items():
        stream.write(tally.line(name) + "\n")
    drawn, bad = sum(t.draws for t in tallies.values()), sum(t.violations for t in tallies.values())
    stream.write(f"{drawn} comparisons, {bad} violations\n")
    return EXIT_CONTRADICTED if bad else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
