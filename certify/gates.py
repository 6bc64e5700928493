"""Gates: what must be true of a report for the command to exit 0. Pure functions over plain results.

A gate passes, fails or is inconclusive; only *passed* lets a command succeed, and every comparison that cannot be made
(NaN, no bound, a void bound) is inconclusive. Bounds and ratios are those at the end of the window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from certify.results import Certificate, Report, Status
from certify.text import clean, log_rounded_up
from theory.errors import EXIT_CONTRADICTED, EXIT_GATE, EXIT_INCONCLUSIVE, EXIT_OK
from theory.provenance import Rigor, Side

SOUND = (Status.CONDITIONAL, Status.CERTIFIED)


class Outcome(Enum):
    """What a gate can say."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Gates:
    """What was asked for: limits by theorem id, a weakest label, and whether every certificate must be sound."""

    max_bound: tuple[tuple[str, float], ...] = ()
    max_ratio: tuple[tuple[str, float], ...] = ()
    min_rigor: Rigor | None = None
    strict: bool = False


@dataclass(frozen=True)
class GateResult:
    """One gate applied to one certificate.

    ``kind`` is max-bound, max-ratio, min-rigor or strict; ``name`` is the gate as it was asked for; ``certificate`` the
    theorem id; ``reason`` one line.
    """

    kind: str
    name: str
    certificate: str
    outcome: Outcome
    reason: str

    def line(self) -> str:
        """What the terminal shows."""
        return f"gate {self.name} on {self.certificate}: {self.outcome.value.upper()} - {self.reason}"


def at_most(value: float, limit: float) -> Outcome:
    """Whether value <= limit; inconclusive unless one of the two comparisons is true (NaN makes both false)."""
    if value <= limit:
        return Outcome.PASSED
    if value > limit:
        return Outcome.FAILED
    return Outcome.INCONCLUSIVE


def contradicted(certificate: Certificate) -> bool:
    """Whether a measured lower value exceeds the bound at any report time, not only at the last."""
    return Status.CONTRADICTED in (certificate.status, *certificate.statuses)


def crossed(report: Report) -> list[str]:
    """Two-sided intervals whose lower end lies above the upper one at some time: a contradiction as well."""
    found = []
    for b in report.brackets:
        if b.lower is None or not b.lower.side.serves(Side.LOWER):
            continue
        lower = np.asarray(b.lower.value)
        if lower.ndim == 0 or lower.shape == b.upper.shape:
            found += [f"{b.id} (lower above upper)"] if bool(np.any(lower > b.upper)) else []
    return found


def log_ratio(certificate: Certificate) -> tuple[float, float]:
    """Natural logarithms of the effectivity interval [bound / upper, bound / lower] at the end of the window.

    A missing measured upper value gives -inf on the left, a missing or non-positive lower one +inf on the right; NaN
    where bound and measured value are both 0.
    """
    if certificate.log_bound is None or certificate.measured is None:
        return math.nan, math.nan
    bound = float(certificate.log_bound[-1])
    upper, lower = certificate.measured.upper, certificate.measured.lower
    left = -math.inf if upper is None else bound - _log(upper.last())
    right = math.inf if lower is None or not lower.last() > 0 else bound - _log(lower.last())
    return left, right


def _log(x: float) -> float:
    if x > 0:
        return math.log(x)
    return -math.inf if x == 0 else math.nan


def _no_bound(certificate: Certificate | None) -> str | None:
    """Why there is no valid bound to compare; None where there is one."""
    if certificate is None:
        return "this certificate is not in the report"
    if contradicted(certificate):
        return "the bound is contradicted by a measured value"
    if certificate.log_bound is None:
        missing = ", ".join(certificate.missing)
        return f"no bound: {missing} missing" if missing else "no bound could be evaluated"
    if not len(certificate.times) or len(certificate.log_bound) != len(certificate.times):
        return "no bound at the end of the window"
    if certificate.status is Status.VOID or not certificate.times[-1] <= certificate.valid_until:
        return "the bound is void: " + clean(certificate.reasons[0] if certificate.reasons else "a hypothesis fails")
    return None


def _demoted(certificate: Certificate, outcome: Outcome, reason: str) -> tuple[Outcome, str]:
    """An indicative number is an estimate: it may fail a limit, it cannot pass one."""
    if certificate.status is Status.INDICATIVE and outcome is Outcome.PASSED:
        return Outcome.INCONCLUSIVE, f"{reason}, but this is an estimate and no bound (INDICATIVE)"
    return outcome, reason


def _bound_gate(certificate: Certificate | None, limit: float) -> tuple[Outcome, str]:
    why = _no_bound(certificate)
    if why is not None or certificate is None or certificate.log_bound is None:
        return Outcome.INCONCLUSIVE, why or "no bound"
    log = float(certificate.log_bound[-1])
    outcome = at_most(log, _log(limit))
    return _demoted(certificate, outcome, f"{log_rounded_up(log)} at t = {float(certificate.times[-1]):g}")


def _ratio_gate(certificate: Certificate | None, limit: float) -> tuple[Outcome, str]:
    why = _no_bound(certificate)
    if why is not None or certificate is None:
        return Outcome.INCONCLUSIVE, why or "no bound"
    if certificate.measured is None:
        return Outcome.INCONCLUSIVE, "nothing was measured to compare the bound with"
    left, right = log_ratio(certificate)
    low, high = at_most(left, _log(limit)), at_most(right, _log(limit))
    shown = f"bound / measured error lies in [{log_rounded_up(left)}, {log_rounded_up(right)}]"
    if high is Outcome.PASSED and low is Outcome.PASSED:
        return _demoted(certificate, Outcome.PASSED, shown)
    if low is Outcome.FAILED:
        return Outcome.FAILED, shown
    return Outcome.INCONCLUSIVE, shown


def _rigor_gate(certificate: Certificate | None, label: Rigor) -> tuple[Outcome, str]:
    why = _no_bound(certificate)
    if certificate is None:
        return Outcome.INCONCLUSIVE, why or "no bound"
    if certificate.log_bound is not None and certificate.rigor < label:
        return Outcome.FAILED, f"{certificate.rigor.label} (weakest ingredient: {clean(certificate.weakest)})"
    if why is not None:
        return Outcome.INCONCLUSIVE, why
    return Outcome.PASSED, certificate.rigor.label


def _strict_gate(certificate: Certificate | None) -> tuple[Outcome, str]:
    if certificate is None:
        return Outcome.INCONCLUSIVE, "this certificate is not in the report"
    if certificate.status in SOUND:
        return Outcome.PASSED, certificate.status.name
    reason = f": {clean(certificate.reasons[0])}" if certificate.reasons else ""
    return Outcome.INCONCLUSIVE, f"{certificate.status.name}{reason}"


def evaluate(report: Report, gates: Gates, requested: Sequence[str] = ()) -> tuple[GateResult, ...]:
    """Every gate on every certificate it concerns.

    Parameters
    ----------
    requested : sequence of str
        Theorem ids asked for; empty means those of the report. One that the report lacks is inconclusive.
    """
    found = {c.id: c for c in report.certificates}
    ids = tuple(requested) or tuple(found)
    results = [
        GateResult("max-bound", f"--max-bound {i}={limit:g}", i, *_bound_gate(found.get(i), limit))
        for i, limit in gates.max_bound
    ]
    results += [
        GateResult("max-ratio", f"--max-ratio {i}={limit:g}", i, *_ratio_gate(found.get(i), limit))
        for i, limit in gates.max_ratio
    ]
    label = gates.min_rigor
    if label is not None:
        name = f"--min-rigor {label.label}"
        results += [GateResult("min-rigor", name, i, *_rigor_gate(found.get(i), label)) for i in ids]
    if gates.strict:
        results += [GateResult("strict", "--strict", i, *_strict_gate(found.get(i))) for i in ids]
    nothing = "the report contains no certificate"
    if not ids and label is not None:
        results.append(GateResult("min-rigor", f"--min-rigor {label.label}", "-", Outcome.INCONCLUSIVE, nothing))
    if not ids and gates.strict:
        results.append(GateResult("strict", "--strict", "-", Outcome.INCONCLUSIVE, nothing))
    return tuple(results)


def exit_code(report: Report, results: Sequence[GateResult]) -> int:
    """10 if anything is contradicted, else 11 if a gate did not pass, else 12 if --strict did not, else 0."""
    if any(contradicted(c) for c in report.certificates) or crossed(report):
        return EXIT_CONTRADICTED
    missed = {r.kind for r in results if r.outcome is not Outcome.PASSED}
    if missed - {"strict"}:
        return EXIT_GATE
    return EXIT_INCONCLUSIVE if missed else EXIT_OK
