"""From estimates to certificates: sides and rigor checked, formula evaluated, status with its reasons. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from certify.results import Certificate, Measured, Status
from theory.gronwall import LogValue, NumericOps, TimeGrid
from theory.provenance import Array, Estimate, Rigor, Side, total_delta, weakest
from theory.theorem import Facts, Hypothesis, Ingredient, Outcome, Theorem, Verdict

ROUNDING = 1e-12
Verdicts = Mapping[str, tuple[Hypothesis, Verdict]]


def judge_hypotheses(theorem: Theorem, facts: Facts) -> dict[str, tuple[Hypothesis, Verdict]]:
    """Verdict on every hypothesis of a theorem."""
    return {h.id: (h, h.verdict(facts)) for h in theorem.hypotheses}


def evaluate(
    theorem: Theorem,
    grid: TimeGrid,
    estimates: Mapping[str, Estimate],
    facts: Facts,
    *,
    report_from: float,
    trivial: Array | None = None,
    measured: Measured | None = None,
    needs: Mapping[str, str] | None = None,
) -> Certificate:
    """Evaluate a theorem.

    Parameters
    ----------
    theorem : Theorem
    grid : TimeGrid
        Quadrature grid of the theorem; report times are its edges from ``report_from`` on.
    estimates : mapping
        Ingredient id to estimate; arrays live at the grid's nodes, or at the report times.
    facts : mapping
        For the hypotheses.
    report_from : float
        Start of the judged window.
    trivial : ndarray, optional
        Log of the same certificate for the flow that does not move, at the report times.
    measured : Measured, optional
        The error the theorem bounds.
    needs : mapping, optional
        For missing ingredients: what would provide them.
    """
    shown = grid.edges >= report_from - 1e-12
    times = grid.edges[shown]
    verdicts = judge_hypotheses(theorem, facts)
    valid_until = min((v.valid_until for _, v in verdicts.values() if v.outcome is Outcome.FAILS), default=math.inf)
    missing = tuple(
        f"needs {i.id}: {(needs or {}).get(i.id, 'no estimator provides it')}"
        for i in theorem.ingredients
        if i.id not in estimates
    )
    used = {i.id: estimates[i.id] for i in theorem.ingredients if i.id in estimates}

    log_bound: Array | None = None
    log_terms: dict[str, Array] = {}
    if not missing:
        log_terms = _terms(theorem, grid, used, shown)
        log_bound = np.asarray(np.logaddexp.reduce(list(log_terms.values()), axis=0)) + ROUNDING
    wrong = _wrong_sides(theorem, used)
    impossible = _impossible(used, estimates)
    statuses = tuple(
        Status.CONTRADICTED
        if impossible
        else _status(k, times, log_bound, valid_until, wrong, used, verdicts, trivial, measured)
        for k in range(len(times))
    )
    contradicted = Status.CONTRADICTED in statuses
    status = Status.CONTRADICTED if contradicted else statuses[-1]
    reasons = [*impossible, *_reasons(status, statuses, times, verdicts, wrong, missing, log_bound, trivial, used)]
    rigor = weakest(used.values())
    weakest_id = min(used, key=lambda k: used[k].rigor) if used else (theorem.ingredients[0].id)
    return Certificate(
        theorem=theorem,
        times=times,
        log_bound=log_bound,
        log_terms=log_terms,
        status=status,
        statuses=statuses,
        rigor=rigor,
        oracle=any(e.uses_exact_solution for e in used.values()),
        weakest=weakest_id,
        delta=total_delta(used.values()),
        estimates=used,
        verdicts=verdicts,
        valid_until=valid_until,
        log_trivial=trivial,
        measured=measured,
        reasons=tuple(reasons),
        missing=missing,
    )


def _terms(theorem: Theorem, grid: TimeGrid, used: Mapping[str, Estimate], shown: np.ndarray) -> dict[str, Array]:
    """Named terms (natural logs) at the report times, the error of the time quadrature among them."""
    ops = NumericOps(grid)
    terms: Mapping[str, Any] = theorem.terms(ops, {k: e.value for k, e in used.items()})
    out = {name: LogValue.of(x).log for name, x in terms.items()}
    out["time quadrature"] = ops.error.log
    return {name: np.broadcast_to(x, shown.shape)[shown] for name, x in out.items()}


def _wrong_sides(theorem: Theorem, used: Mapping[str, Estimate]) -> list[Ingredient]:
    """Ingredients whose estimate has the wrong side, or is only a sampled value."""
    bad = [i for i in theorem.ingredients if i.id in used and not used[i.id].side.serves(i.needed)]
    return bad + [i for i in theorem.ingredients if i.id in used and used[i.id].rigor is Rigor.SAMPLED and i not in bad]


def _impossible(used: Mapping[str, Estimate], estimates: Mapping[str, Estimate]) -> list[str]:
    """Upper values of ingredients that lie below a value seen of the same quantity: something is wrong."""
    out = []
    for key, upper in used.items():
        seen = estimates.get(f"{key}_sampled")
        if seen is None or seen.side is not Side.LOWER or upper.side not in (Side.UPPER, Side.BOTH):
            continue
        above, below = np.asarray(seen.value), np.asarray(upper.value)
        if above.ndim and below.ndim and above.shape != below.shape:
            above = above.max()  # not on the same times: a value seen at one time against the largest bound
            below = below.max()
        if not (above <= below + 1e-9 * np.abs(below) + 1e-12).all():
            out.append(f"{key}: {np.max(above):.6g} was seen, the upper value is {np.max(below):.6g}")
    return out


def _status(
    k: int,
    times: Array,
    log_bound: Array | None,
    valid_until: float,
    wrong: list[Ingredient],
    used: Mapping[str, Estimate],
    verdicts: Verdicts,
    trivial: Array | None,
    measured: Measured | None,
) -> Status:
    """Status at report time k, worst first."""
    if times[k] > valid_until:
        return Status.VOID
    if log_bound is None:
        return Status.VACUOUS
    value = log_bound[k]
    if _measured_above(k, value, measured) and not wrong:
        return Status.CONTRADICTED
    # not (a <= b) rather than a > b: an undefined comparison never passes
    if not value < math.inf or (trivial is not None and k > 0 and not value <= trivial[k]):
        return Status.VACUOUS
    if wrong:
        return Status.INDICATIVE
    unknown = any(v.outcome is not Outcome.HOLDS for _, v in verdicts.values())
    if unknown or any(e.rigor in (Rigor.NUMERICAL, Rigor.ASSUMED) for e in used.values()):
        return Status.CONDITIONAL
    return Status.CERTIFIED


def _measured_above(k: int, log_bound: float, measured: Measured | None) -> bool:
    """Whether a measured lower value exceeds the bound."""
    if measured is None or measured.lower is None:
        return False
    values = np.asarray(measured.lower.value)
    lower = float(values if values.ndim == 0 else values[k])
    return lower > 0 and math.log(lower) > log_bound


def _reasons(
    status: Status,
    statuses: tuple[Status, ...],
    times: Array,
    verdicts: Verdicts,
    wrong: list[Ingredient],
    missing: tuple[str, ...],
    log_bound: Array | None,
    trivial: Array | None,
    used: Mapping[str, Estimate],
) -> list[str]:
    """Plain sentences, the decisive one first."""
    out: list[str] = []
    if status is Status.CONTRADICTED:
        when = times[statuses.index(Status.CONTRADICTED)]
        out.append(f"a value seen exceeds its bound (t = {when:.4g}): code, assumption or theorem is wrong")
    out += [f"{h.id}: {v.reason}" for h, v in verdicts.values() if v.outcome is Outcome.FAILS]
    out += missing
    if log_bound is not None and status is Status.VACUOUS:
        if not log_bound[-1] < math.inf:
            infinite = [k for k, e in used.items() if not np.isfinite(e.value).all()]
            out.append(f"the bound is infinite because of {', '.join(infinite)}")
        elif trivial is not None:
            out.append(
                f"the bound is 10^{log_bound[-1] / math.log(10):.1f}, the trivial bound "
                f"is {math.exp(min(trivial[-1], 700)):.3g}"
            )
    out += [f"{i.id} is {_side_words(used[i.id])}, the theorem needs {i.needed.value}" for i in wrong]
    if status is Status.CONDITIONAL:
        assumed = [k for k, e in used.items() if e.rigor is Rigor.ASSUMED]
        numerical = [k for k, e in used.items() if e.rigor is Rigor.NUMERICAL]
        unknown = [h.id for h, v in verdicts.values() if v.outcome is Outcome.UNKNOWN]
        if unknown:
            out.append(f"hypotheses nobody could establish: {', '.join(unknown)}")
        if assumed:
            out.append(f"assumed: {', '.join(assumed)}")
        if numerical:
            out.append(f"numerical, error estimate added but not enclosed: {', '.join(numerical)}")
    return out


def _side_words(estimate: Estimate) -> str:
    if estimate.rigor is Rigor.SAMPLED:
        return "only sampled"
    return f"a {estimate.side.value} value" if estimate.side is not Side.NONE else "an estimate without a side"
