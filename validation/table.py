"""``python -m validation.table -o docs/certificates.md``: every inequality against the measured error, as a document.

All model files of the folder are judged on their own problems at 20 report times or more; one table a model, and the
error budget of Theorem 5 of one of them. Exit code 0, 2 for a wrong command line or input, 10 if any bound lies under
a measured lower value at any time.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.options import PARTICLE_RATES, Options
from certify.report import conservation, evidence, numbers, words
from certify.report.curves import last_log_bound, last_measured, log_effectivity, measured_sides, void
from certify.results import Certificate, Report, Status
from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE, UserError
from theory.provenance import Array
from validation.certificates import report_of

LOG10 = math.log(10.0)
LEAST_TIMES = 20
BUDGET_OF = "bkw2d-t05.pt"


@dataclass(frozen=True)
class Tally:
    """How often a bound was held against a measured lower value that is positive, and how often it lay under it."""

    checked: int
    contradicted: int
    times: int


def seen(certificate: Certificate, report: Report | None = None) -> Array | None:
    """The largest lower value known of the error a certificate bounds, over the report times.

    Measured, or the computable lower end of the interval of the same distance.
    """
    lower, _ = measured_sides(certificate)
    for b in () if report is None else report.brackets:
        low = words.lower_curve(b) if b.id == certificate.theorem.bounds else None
        if low is not None and low.shape == certificate.times.shape:
            lower = low if lower is None else np.maximum(lower, low)
    return lower


def tally(certificate: Certificate, report: Report | None = None) -> Tally:
    """Count over the report times after the start, by comparing the numbers; statuses play no part but VOID.

    A bound that is not a number, missing or void is not checked.
    """
    lower = seen(certificate, report)
    after = np.arange(len(certificate.times)) > 0
    if certificate.log_bound is None or lower is None:
        return Tally(0, 0, int(after.sum()))
    bound = np.asarray(certificate.log_bound, dtype=np.float64)
    comparable = after & ~void(certificate) & ~np.isnan(bound) & (lower > 0)
    with np.errstate(divide="ignore"):
        above = comparable & (np.log(np.where(lower > 0, lower, 1.0)) > bound)
    return Tally(int(comparable.sum()), int(above.sum()), int(after.sum()))


@dataclass(frozen=True)
class Line:
    """One row of the document."""

    certificate: str
    log10_bound: str
    measured: str
    effectivity: str
    status: str
    weakest: str
    tally: Tally


def line(certificate: Certificate, report: Report | None = None) -> Line:
    """A certificate at the last time, and its tally over all of them."""
    bound = certificate.log_bound
    void_now = certificate.status is Status.VOID or bool(void(certificate)[-1])
    if bound is None:
        shown = "needs " + ", ".join(m.removeprefix("needs ").partition(":")[0] for m in certificate.missing)
    elif void_now:
        shown = "void"
    else:
        shown = "inf" if bound[-1] == math.inf else _up(float(bound[-1]) / LOG10)
    lower, (_, high) = seen(certificate, report), last_measured(certificate)
    low = None if lower is None else float(lower[-1])
    weakest = "-" if certificate.missing else f"{certificate.weakest} ({certificate.rigor.label})"
    return Line(
        certificate.id + ("*" if certificate.oracle else ""),
        shown,
        f"[{'-' if low is None else numbers.down(low)}, {'-' if high is None else numbers.up(high)}]",
        numbers.ratio(log_effectivity(certificate)[0], _log_ratio(certificate, low)),
        words.shown_status(certificate).name,
        weakest,
        tally(certificate, report),
    )


def _log_ratio(certificate: Certificate, lower: float | None) -> float | None:
    """Log of bound / lower value at the last time."""
    bound = last_log_bound(certificate)
    return None if bound is None or lower is None or not lower > 0 else bound - math.log(lower)


def _up(x: float) -> str:
    """Two decimals, rounded up."""
    return f"{math.ceil(x * 100 - 1e-9) / 100:.2f}"


def _cell(text: str) -> str:
    return words.clean(text, 200).replace("|", r"\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(_cell(c) for c in row) + " |" for row in rows]


HEAD = ("certificate", "log10 bound", "measured", "bound/measured", "status", "weakest ingredient", "checked", "contr.")


def section(name: str, report: Report) -> list[str]:
    """The table of one model."""
    rows = []
    for certificate in words.in_order(report.certificates):
        row = line(certificate, report)
        cells = (row.certificate, row.log10_bound, row.measured, row.effectivity, row.status, row.weakest)
        rows.append((*cells, str(row.tally.checked), str(row.tally.contradicted)))
    count = len(report.times) - 1
    return [
        f"## {name} on {report.problem.get('spec', report.problem.get('id'))}",
        "",
        f"At t = {numbers.plain(float(report.times[-1]))}; compared at the {count} report times after the start.",
        "",
        *table(HEAD, rows),
        "",
        *(f"- {words.bracket_line(b)}" for b in report.brackets),
        *(f"- {line}" for line in [conservation.line(report)] if line),
        "",
    ]


OVERVIEW = ("model", "problem", "S1 at most", "trivial", "S1", "W2", "W2 measured", "L1", "L1 measured", "against")


def overview(reports: Sequence[tuple[str, Report]]) -> list[str]:
    """One line a model: S1 beside its trivial bound, intervals without and errors measured with a known solution."""
    rows = []
    for name, report in reports:
        s1 = next((c for c in report.certificates if c.id == "stability_w2"), None)
        trivial = None if s1 is None else s1.log_trivial
        cells = [name, str(report.problem.get("spec", report.problem.get("id")))]
        cells += ["-" if s1 is None else words.bound_word(s1)]
        cells += ["-" if trivial is None else numbers.down_log(float(trivial[-1]))]
        cells += ["-" if s1 is None else words.shown_status(s1).name]
        known = [report.measured[k] for k in ("w2", "l1") if k in report.measured]
        for key in ("w2", "l1"):
            bracket = next((b for b in report.brackets if b.id == key), None)
            ends = None if bracket is None else (words.lower_curve(bracket), float(bracket.upper[-1]))
            cells.append(
                "-"
                if ends is None
                else f"[{'-' if ends[0] is None else numbers.down(float(ends[0][-1]))}, {numbers.up(ends[1])}]"
            )
            cells.append(_measured_interval(report, key))
        cells.append(known[-1].method if known else "nothing")
        rows.append(cells)
    return [
        "## Overview",
        "",
        "At the end of each window. *trivial*: S1 for a flow at rest, or what mean and energy allow: to be beaten. "
        "Intervals hold without any known solution, under the hypotheses their reports name; measured errors use "
        "the exact solution or the numerical reference named last, its own error counted in.",
        "",
        *table(OVERVIEW, rows),
        "",
    ]


def _measured_interval(report: Report, key: str) -> str:
    """Measured lower and upper value at the last time."""
    found = report.measured.get(key)
    ends = () if found is None else (found.lower, found.upper)
    low, high = (
        ("-" if e is None else f(e.last()) for e, f in zip(ends, (numbers.down, numbers.up), strict=False))
        if ends
        else ("-", "-")
    )
    return f"[{low}, {high}]"


def budget(name: str, report: Report, theorem: str = "thm5") -> list[str]:
    """The error budget of a certificate."""
    certificate = next((c for c in report.certificates if c.id == theorem), None)
    rows = () if certificate is None else evidence.share_rows(certificate, report)
    head = (
        "ingredient",
        "value used",
        "sampled value",
        "log10 bound",
        "with the sampled value: not a bound",
        "decades",
    )
    if not rows:
        return [f"No error budget of {theorem} on {name}: an ingredient is missing, or the bound is 0 or infinite.", ""]
    lines = [
        f"## Error budget of {theorem} on {name}",
        "",
        "Decades = elasticity / ln 10: what log10 of the bound loses, to first order, when the ingredient shrinks by a "
        "factor e; for a factor of the exponent, the decades that stand or fall with it. Factors of one product each "
        "carry all of it, so the column does not add up. Only the last row is still a bound, if the bound is one.",
        "",
    ]
    return [
        *lines,
        *table(
            head, [(r.id, r.value or "-", r.other or "-", r.log10_bound, r.log10_other, r.decades or "-") for r in rows]
        ),
        "",
    ]


def document(
    reports: Sequence[tuple[str, Report]], command: str, seconds: float, budget_of: str = BUDGET_OF
) -> tuple[str, int]:
    """The whole document and the number of contradictions."""
    certificates = [c for _, report in reports for c in report.certificates]
    total = [tally(c, report) for _, report in reports for c in report.certificates]
    checked, under = sum(t.checked for t in total), sum(t.contradicted for t in total)
    # an ingredient below a value seen of the same quantity, or an interval whose ends cross
    otherwise = [
        c.id
        for c, t in zip(certificates, total, strict=True)
        if words.shown_status(c) is Status.CONTRADICTED and not t.contradicted
    ]
    otherwise += [b.id for _, report in reports for b in report.brackets if words.crossed(b)]
    wrong = under + len(otherwise)
    more = f" Contradicted otherwise: {', '.join(otherwise)}." if otherwise else ""
    quick = " Quick settings: do not publish these numbers." if any(r.options.get("quick") for _, r in reports) else ""
    lines = [
        "# Certificates against measured errors",
        "",
        f"Written by `{command}` in {seconds:.0f} s of wall time.{quick}",
        "",
        "Every inequality is held against the measured lower value of the error it bounds, or the computable lower "
        "bound of the same distance where that is larger, at every report time at which the bound is neither missing "
        "nor void and that value is positive (column *checked*); *contr.* counts the times at which the bound lies "
        "under it. Bounds are rounded up, measured values outwards; "
        "bound/measured is the interval [bound/upper, bound/lower] at the last time. An asterisk marks certificates "
        "that use constants of the exact solution.",
        "",
        f"{checked} comparisons, {under} contradictions.{more}",
        "",
    ]
    lines += overview(reports)
    for name, report in reports:
        lines += section(name, report)
        if name == budget_of:
            lines += budget(name, report)
    return "\n".join(lines).rstrip() + "\n", wrong


def main(
    argv: Sequence[str] | None = None,
    judge: Callable[[Path, Options], Report] = report_of,
) -> int:
    """Judge, write, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m validation.table", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("files", nargs="*", metavar="MODEL", type=Path, help="model files (default: all of --models)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of model files (%(default)s)")
    parser.add_argument("--times", type=int, default=24, help="report times, at least 20 (%(default)s)")
    parser.add_argument("--particle-rate", choices=PARTICLE_RATES, default="best", help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer times and samples")
    arguments = parser.parse_args(argv)
    paths = arguments.files or sorted(arguments.models.glob("*.pt"))
    if not paths:
        sys.stderr.write(f"validation.table: no model files in {arguments.models}\n")
        return EXIT_USAGE
    options = Options(
        times=max(arguments.times, LEAST_TIMES), particle_rate=arguments.particle_rate, quick=arguments.quick
    )
    given = sys.argv[1:] if argv is None else list(argv)
    began, reports = time.monotonic(), []
    for path in paths:
        started = time.monotonic()
        try:
            reports.append((path.name, judge(path, options)))
        except UserError as error:
            sys.stderr.write(f"{error.line()}\n")
            return error.exit_code
        sys.stderr.write(f"{path.name}: {time.monotonic() - started:.0f} s\n")
    command = shlex.join(["python", "-m", "validation.table", *given])
    text, wrong = document(reports, command, time.monotonic() - began)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{arguments.output}: {len(reports)} models, {wrong} contradictions\n")
    return EXIT_CONTRADICTED if wrong else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
