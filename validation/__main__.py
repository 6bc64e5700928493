"""``python -m validation [PROBLEM ...]``: certificates of the shipped models against measured errors.

Exit code 0, 2 for a wrong command line, 10 if a bound lies under a measured lower value.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from certify.options import Options
from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE, UserError
from theory.problems import PROBLEMS
from validation.certificates import Row, contradicted, models, report_of, rows

HEADER = f"{'certificate':<16}{'t':>7}  {'log10 bound':>11}  {'measured':^21}  {'bound/measured':^17}  status"


def line(row: Row) -> str:
    """One row of the table."""
    low, high = row.effectivity
    measured = f"{_number(row.lower)} .. {_number(row.upper)}"
    ratio = f"{_number(low)} .. {_number(high)}"
    bound = "-" if math.isnan(row.log10_bound) else f"{row.log10_bound:.2f}"
    name = f"{row.certificate:<16}{row.time:>7.3f}"
    return f"{name}  {bound:>11}  {measured:^21}  {ratio:^17}  {row.status.name}"


def _number(x: float) -> str:
    return "n/a" if math.isnan(x) else f"{x:.2e}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiments."""
    parser = argparse.ArgumentParser(prog="python -m validation", description=__doc__)
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="problem ids (default: all with shipped models)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of model files")
    parser.add_argument("--times", type=int, default=24, help="report times, at least 20")
    parser.add_argument("--quick", action="store_true", help="fewer times and samples")
    arguments = parser.parse_args(argv)
    unknown = [p for p in arguments.problems if p not in PROBLEMS]
    if unknown:
        print(f"validation: unknown problem {unknown[0]!r}; known: {', '.join(PROBLEMS)}", file=sys.stderr)
        return EXIT_USAGE
    options = Options(times=max(arguments.times, 20), quick=arguments.quick)
    bad: list[str] = []
    for problem in arguments.problems or list(PROBLEMS):
        found = models(problem, arguments.models)
        if not found:
            print(f"{problem}: no model in {arguments.models}: not run")
        for path in found:
            try:
                report = report_of(path, options)
            except UserError as error:
                print(error.line(), file=sys.stderr)
                return error.exit_code
            print(f"\n{path.name} on {report.problem['spec']}\n{HEADER}")
            for certificate in report.certificates:
                for row in rows(certificate):
                    print(line(row))
            bad += [f"{path.name}: {name}" for name in contradicted(report)]
    for name in bad:
        print(f"CONTRADICTED {name}")
    print(f"{len(bad)} certificates contradicted by a measured lower value")
    return EXIT_CONTRADICTED if bad else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
