"""What a report says about conservation and entropy: table, line and JSON, read from ``Report.ingredients``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from certify.report import evidence, numbers, words
from certify.results import Report
from theory.provenance import Estimate

MAXWELL_ONLY = "not available: no closed law is known for this kernel"
NOT_MAXWELL = "the drift is formed from the pair sums, so the two are one number"
ERRORS = (
    ("mean_error", "mean: distance from the conserved mean"),
    ("energy_error", "energy: relative error against the conserved energy"),
    ("covariance_error", "covariance: relative error against its exact law"),
)
BALANCE = (
    ("entropy_balance", "entropy balance: change of H against what collisions produce"),
    ("entropy_production_gap", "entropy production: own drift against pair sums"),
)


@dataclass(frozen=True)
class Check:
    """One line of the table. ``value`` is the largest over time, ``at`` its time; None where there is no number."""

    id: str
    title: str
    largest: str
    when: str
    end: str
    rigor: str
    method: str
    value: float | None = None
    at: float | None = None


def _found(report: Report, name: str) -> Estimate | None:
    """An estimate over the report times; None where it is missing or of another shape."""
    e = report.ingredients.get(name)
    return e if e is not None and np.shape(e.value) == report.times.shape and len(report.times) else None


def _time(t: float) -> str:
    return numbers.plain(t)


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _error(report: Report, name: str, title: str) -> Check:
    """Largest and last value of an error, rounded up."""
    e = _found(report, name)
    if e is None:
        return Check(name, title, "-", "-", "-", "-", _missing(report, name))
    values = np.asarray(e.value)
    k = int(np.argmax(values))
    value, at = float(values[k]), float(report.times[k])
    largest, last = (f"at most {numbers.up(x)}" for x in (value, float(values[-1])))
    method = words.clean(e.method) + _doubt(e)
    return Check(name, title, largest, f"t = {_time(at)}", last, e.rigor.label, method, _finite(value), at)


def _doubt(estimate: Estimate) -> str:
    """The quadrature error that is part of the number."""
    error = estimate.detail.get("quadrature_error")
    if not isinstance(error, (list, tuple, np.ndarray)) or not len(error):
        return ""
    return f"; quadrature error up to {numbers.up(float(np.max(error)), 2)} included"


def _missing(report: Report, name: str) -> str:
    maxwell = str(report.problem.get("kernel", "maxwell")) == "maxwell"
    if not maxwell and name in ("covariance_error", "entropy_production_gap"):
        return MAXWELL_ONLY if name == "covariance_error" else NOT_MAXWELL
    return evidence.why_not(name)


def _window(detail: Mapping[str, Any]) -> str:
    start, end = detail.get("from"), detail.get("to")
    if not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
        return ""
    return f"on [{_time(start)}, {_time(end)}]"


def _folds_at(report: Report) -> float | None:
    e = _found(report, "entropy_increase")
    at = None if e is None else e.detail.get("folds_at")
    return float(at) if isinstance(at, (int, float)) else None


def entropy_words(report: Report) -> str:
    """Whether the entropy increases, in words that stay true: at least where it does, at most where it may."""
    upper, lower = _found(report, "entropy_increase"), _found(report, "entropy_increase_lower")
    if upper is None or lower is None:
        return "entropy not available"
    folds, least = _folds_at(report), lower.largest()
    late = "" if folds is None else f", unknown from t = {_time(folds)} on (the flow folds)"
    if least > 0:
        return f"entropy increases by {numbers.down(least, 2)} {_window(lower.detail)}".rstrip() + late
    known = np.asarray(upper.value)[np.isfinite(upper.value)]
    most = float(known.max()) if len(known) else 0.0
    limit = "" if most == 0 else f" by more than {numbers.up(most, 2)}"
    return f"entropy never increases{limit}{late}"


def _entropy_rows(report: Report) -> list[Check]:
    """The entropy itself, and its largest rise: at least so much if it rises beyond doubt, else at most."""
    return [row for row in (_entropy(report), _rise(report)) if row is not None]


def _entropy(report: Report) -> Check | None:
    e = _found(report, "entropy")
    if e is None:
        return None
    values = np.asarray(e.value)
    k = int(np.argmax(values))
    value, at = float(values[k]), float(report.times[k])
    largest, end = numbers.plain(value, 6), numbers.plain(values[-1], 6)
    method = words.clean(e.method)
    return Check("entropy", "entropy H", largest, f"t = {_time(at)}", end, e.rigor.label, method, value, at)


def _rise(report: Report) -> Check:
    title = "entropy: largest rise above an earlier value"
    upper, lower = _found(report, "entropy_increase"), _found(report, "entropy_increase_lower")
    if upper is None or lower is None:
        return Check("entropy_increase", title, "-", "-", "-", "-", _missing(report, "entropy_increase"))
    folds = _folds_at(report)
    rising = lower.largest() > 0
    e, side, rounded = (lower, "at least", numbers.down) if rising else (upper, "at most", numbers.up)
    values = np.where(np.isfinite(e.value), e.value, 0.0)
    k = int(np.argmax(values))
    value, at = float(values[k]), float(report.times[k]) if values[k] > 0 else None
    largest = "none" if value == 0 else f"{side} {rounded(value)}"
    end = "none" if upper.last() == 0 else f"at most {numbers.up(upper.last())}"
    method = words.clean(e.method)
    if folds is not None:
        end = "unknown"
        method = f"unknown from t = {_time(folds)} on, where det J <= 0 at a node: the flow folds; {method}"
    when = _window(e.detail) or "-"
    return Check("entropy_increase", title, largest, when, end, e.rigor.label, method, value, at)


def _sizes(report: Report) -> str:
    """How much entropy was lost and how much the collisions account for, at the last time."""
    e = _found(report, "entropy_balance")
    ends = [] if e is None else [e.detail.get(key) for key in ("change", "produced")]
    if len(ends) != 2 or not all(isinstance(x, (list, tuple, np.ndarray)) and len(x) for x in ends):
        return ""
    change, produced = (float(np.asarray(x)[-1]) for x in ends)
    return f"H changes by {numbers.plain(change)}, collisions account for {numbers.plain(produced)}; "


def checks(report: Report) -> tuple[Check, ...]:
    """The rows of the table; those that could not be had say why. Empty if nothing was checked."""
    if not any(name in report.ingredients for name, _ in (*ERRORS, *BALANCE)):
        return ()
    balance = [_error(report, *pair) for pair in BALANCE]
    balance[0] = replace(balance[0], method=_sizes(report) + balance[0].method)
    return (*(_error(report, *pair) for pair in ERRORS), *_entropy_rows(report), *balance)


def line(report: Report) -> str:
    """``conserved: mean to 2.1e-5, energy to 3.4e-5 (relative); entropy never increases``; empty if not checked."""
    found = [(name, _found(report, f"{name}_error")) for name in ("mean", "energy")]
    if all(e is None for _, e in found):
        return ""
    parts = [f"{name} to {numbers.up(e.largest(), 2)}" for name, e in found if e is not None]
    relative = " (relative)" if found[1][1] is not None else ""
    return f"conserved: {', '.join(parts)}{relative}; {entropy_words(report)}"


def as_json(report: Report) -> dict[str, Any]:
    """Line and rows for ``report.json``; the curves stand among its ingredients."""
    keys = ("id", "title", "value", "at", "largest", "when", "end", "rigor", "method")
    return {"line": line(report), "checks": [{key: getattr(c, key) for key in keys} for c in checks(report)]}
