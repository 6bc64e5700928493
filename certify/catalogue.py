"""``certify problems``: the registered problems, their constants and windows, and which hypotheses hold where.

Imports neither sympy nor torch: what a problem says about itself is asked, nothing is estimated.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from fractions import Fraction

from certify.text import clean, log_rounded_up, rounded_up, split_hint
from theory.errors import UserError
from theory.problem import ExactSolution, Problem, specification
from theory.problems import PROBLEMS, parse_problem
from theory.registry import UnknownNameError

WIDTH = 80


def problem_of(spec: str) -> Problem:
    """The problem a command line names.

    Raises
    ------
    UserError
        E201 for an unknown problem (with the nearest name), E400 for unreadable text, E204 for an impossible window.
    """
    try:
        return parse_problem(spec)
    except UnknownNameError as error:
        raise UserError("E201", *split_hint(clean(error), "Run 'certify problems' for the list")) from None
    except (ValueError, ArithmeticError) as error:
        if str(error).startswith("cannot read"):
            raise UserError("E400", clean(error), "For example --problem bkw2d:t0=1/2,T=5") from None
        cause = f"{clean(spec, 60)} does not exist: {clean(error)}"
        example = PROBLEMS[spec.partition(":")[0]].example
        raise UserError("E204", cause, f"Choose other values: --problem {example}") from None


def specification_of(name: str, t0: Fraction, T: Fraction, constants: Mapping[str, str]) -> str:
    """What the command line calls the problem of a model with these constants."""
    known = PROBLEMS[name].parameters if name in PROBLEMS else {}
    return specification(name, t0, T, {k: constants[k] for k in known if k in constants})


def _lipschitz_at_start(problem: Problem) -> str:
    if problem.exact is None:
        return "unknown"
    return rounded_up(problem.exact.score_lipschitz(float(problem.t0)))


def _jump(problem: Problem) -> str:
    return "no" if problem.initial.regularity()[0] else "yes"


def table() -> list[str]:
    """All problems, one a line."""
    head = ("id", "d", "kernel", "C", "window", "exact", "Lip score <=", "jump")
    rows = [head]
    for family in PROBLEMS.values():
        p = family()
        window = f"[{p.t0}, {p.T}]"
        constant = p.constants.get("C", "")
        constant = constant if 0 < len(constant) < 8 else rounded_up(p.kernel.strength)
        known = "no" if p.exact is None else "yes"
        rows.append((p.id, str(p.d), p.kernel.id, constant, window, known, _lipschitz_at_start(p), _jump(p)))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [
        *lines,
        "",
        "Lip score: at most, at the start of the window.",
        "certify problems ID for one of them; another window: certify problems ID:t0=1/2,T=5",
    ]


def _item(head: str, text: str) -> list[str]:
    text = f"{head}: {text}"
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False)


def _later_start(exact: ExactSolution, t0: Fraction, T: Fraction) -> Fraction:
    """A start inside the window at which the exact score is Lipschitz."""
    start = t0 + Fraction(1, 2) if t0 + Fraction(1, 2) < T else (t0 + T) / 2
    while not math.isfinite(exact.score_lipschitz(float(start))) and start + (T - start) / 2 < T - Fraction(1, 1000):
        start += (T - start) / 2
    return start


def _score_lipschitz(problem: Problem) -> list[str]:
    head = "score_lipschitz (Theorems 1, 2, 5)"
    if problem.exact is None:
        return _item(head, "not checkable, there is no exact solution to ask")
    at_start = problem.exact.score_lipschitz(float(problem.t0))
    if math.isfinite(at_start):
        return _item(head, f"holds; the exact score is Lipschitz from t0 on (Lip at most {rounded_up(at_start)} at t0)")
    later = _later_start(problem.exact, problem.t0, problem.T)
    value = rounded_up(problem.exact.score_lipschitz(float(later)))
    text = f"fails on this window, the exact score is not Lipschitz at t0 = {problem.t0} (infinite); "
    return _item(head, text + f"holds on {problem.id}:t0={later} (Lip at most {value} there)")


def _hypotheses(problem: Problem) -> list[str]:
    free, why = problem.initial.regularity()
    lines = _item("no_jump (S1-S3)", f"{'holds' if free else 'fails'}; {why}")
    if problem.kernel.is_maxwell:
        lines += _item("maxwell (S2, S3)", "holds; mean and covariance of the solution are known in advance")
    else:
        lines += _item("maxwell (S2, S3)", f"fails, the kernel is {problem.kernel.id}; S1 applies to any kernel")
    lines += _score_lipschitz(problem)
    if problem.degeneracies:
        lines += _item("orientation (S1-S3)", "isolated points are excepted from the check of det J > 0")
    model = "smooth, orientation, proper, identity, stein, ball, fresh"
    return lines + _item("depend on the model", f"{model}: checked by certify report")


def _exact_table(problem: Problem, exact: ExactSolution) -> list[str]:
    lines = [f"  {'t':>8}  {'Lip score':>10}  {'Lip drift':>10}  {'one-sided':>10}"]
    for share in (Fraction(0), Fraction(1, 100), Fraction(1, 10), Fraction(1, 2), Fraction(1)):
        t = float(problem.t0 + share * (problem.T - problem.t0))
        values = (exact.score_lipschitz(t), exact.drift_lipschitz(t), exact.drift_one_sided(t))
        lines.append(f"  {t:8.4g}  " + "  ".join(f"{rounded_up(v):>10}" for v in values))
    return lines


def detail(spec: str) -> list[str]:
    """One problem on one window.

    Raises
    ------
    UserError
        As ``problem_of``.
    """
    p = problem_of(spec)
    constants = ", ".join(f"{k} = {v}" for k, v in p.constants.items())
    lines = [f"{p.id} - {p.title}", ""]
    lines += [f"  constants  {constants}", f"  window     [{p.t0}, {p.T}]   ({p.spec})"]
    for name, free in PROBLEMS[p.id].parameters.items():
        lines.append(f"  parameter  {name}, {free.meaning}, from {free.low} to {free.high}")
    lines += [f"  kernel     {p.kernel.id}, stability constant kappa' = {rounded_up(p.kernel.kappa)}"]
    if p.kernel.is_maxwell:
        lines.append(f"             friction (d-1)C = {p.kernel.friction:g}")
    else:
        growth = log_rounded_up(2 * p.kernel.kappa * float(p.T - p.t0))
        lines.append(f"             S1 multiplies early defects by up to e^(2 kappa' (T - t0)) = {growth}")
    known = "none" if p.exact is None else "density, score, drift and flow are known"
    lines.append(f"  exact      {known}")
    lines += textwrap.wrap(f"source     {p.source}", WIDTH, initial_indent="  ", subsequent_indent=" " * 13)
    for text in p.degeneracies:
        lines += _item("degenerate at", text)
    for text in p.notes:
        lines += _item("note", text)
    lines += ["", "Hypotheses", *_hypotheses(p)]
    if p.exact is not None:
        lines += ["", "Constants of the exact solution on R^d (for Theorems 1, 2, 5)", *_exact_table(p, p.exact)]
    return lines
