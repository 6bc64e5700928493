"""``python -m validation.certificates [PROBLEM ...]``: certificates of the shipped models against measured errors.

Bound, measured interval and effectivity over time. Exit code 0, 2 for a wrong command line, 10 if a bound lies under a
measured lower value.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.api import certify, load_run, problem_of
from certify.options import Options, Progress, silent
from certify.results import Certificate, Report, Status
from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE, UserError
from theory.problems import PROBLEMS
from theory.provenance import Array

HEADER = f"{'certificate':<16}{'t':>7}  {'log10 bound':>11}  {'measured':^21}  {'bound/measured':^17}  status"


@dataclass(frozen=True)
class Row:
    """One certificate at one time; NaN stands for 'not available' and never compares as a pass."""

    certificate: str
    time: float
    status: Status
    log10_bound: float
    lower: float
    upper: float

    @property
    def effectivity(self) -> tuple[float, float]:
        """Bound over measured upper and lower value."""
        bound = 10**self.log10_bound if self.log10_bound < 300 else math.inf
        return tuple(bound / x if x > 0 else math.nan for x in (self.upper, self.lower))  # type: ignore[return-value]


def models(problem: str, folder: Path) -> list[Path]:
    """Model files of a problem, by name."""
    return sorted(folder.glob(f"{problem}*.pt"))


def report_of(model: Path, options: Options, progress: Progress = silent) -> Report:
    """Judge a model file on its own problem."""
    run = load_run(str(model))
    return certify(run, problem_of(run), options, progress)


def rows(certificate: Certificate) -> list[Row]:
    """The certificate at every report time after the start."""
    n = len(certificate.times)
    measured = certificate.measured

    def side(estimate: object) -> Array:
        value = getattr(estimate, "value", math.nan)
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (n,))

    lower, upper = side(getattr(measured, "lower", None)), side(getattr(measured, "upper", None))
    bound = np.full(n, math.nan) if certificate.log_bound is None else certificate.log_bound / math.log(10)
    return [
        Row(certificate.id, float(certificate.times[k]), certificate.statuses[k], bound[k], lower[k], upper[k])
        for k in range(1, n)
    ]


def contradicted(report: Report) -> list[str]:
    """Certificates whose bound lies under a measured lower value at some time, void or not shown otherwise."""
    return [c.id for c in report.certificates if Status.CONTRADICTED in c.statuses]


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
    parser = argparse.ArgumentParser(prog="python -m validation.certificates", description=__doc__)
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="problem ids (default: all with shipped models)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of model files")
    parser.add_argument("--times", type=int, default=24, help="report times, at least 20")
    parser.add_argument("--quick", action="store_true", help="fewer times and samples")
    arguments = parser.parse_args(argv)
    unknown = [p for p in arguments.problems if p not in PROBLEMS]
    if unknown:
        print(f"validation.certificates: unknown problem {unknown[0]!r}; known: {', '.join(PROBLEMS)}", file=sys.stderr)
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
