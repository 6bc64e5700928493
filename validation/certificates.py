"""Certificates against measured errors on shipped models: bound, measured interval and effectivity over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.api import load_run, problem_of
from certify.judge import judge
from certify.options import Options, Progress, silent
from certify.results import Certificate, Report, Status
from theory.provenance import Array


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
    return judge(run, problem_of(run), options, progress)


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
