"""The report page: one HTML file, no script, no network, readable on paper, on a phone and in the dark.

Everything that came from a model file or a user is cleaned by ``words.clean`` and escaped by the template engine; only
the SVG and MathML made here are inserted as they are. The page holds no host facts and no times of day: the same report
gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from certify.report import (
    captions,
    conservation,
    evidence,
    evidence_figures,
    figures,
    json_report,
    mathml,
    numbers,
    references,
    words,
)
from certify.report.curves import (
    last_log_trivial,
    last_measured,
    log_effectivity,
    shown_log,
)
from certify.report.figures import Figure
from certify.results import STATUS_MEANING, Certificate, Report, Status
from theory import statement as as_evaluated
from theory.provenance import RIGOR_MEANING, Estimate, Rigor, Side
from theory.theorem import Hypothesis, Ingredient, Outcome, Theorem, Verdict

_SIDE_WORD = {Side.UPPER: "at most", Side.LOWER: "at least", Side.BOTH: "", Side.NONE: "about"}
_VERDICT_WORD = {Outcome.HOLDS: "holds", Outcome.FAILS: "fails", Outcome.UNKNOWN: "not checkable"}


@dataclass(frozen=True)
class Row:
    """A certificate as the results table shows it."""

    id: str
    title: str
    metric: str
    status: str
    rigor: str
    oracle: bool
    noun: str
    bound: str
    trivial: str
    measured: str
    ratio: str
    reason: str


def result_row(certificate: Certificate) -> Row:
    """The row of a certificate, every number at the last time."""
    trivial = last_log_trivial(certificate)
    return Row(
        id=certificate.id,
        title=certificate.theorem.title,
        metric=words.metric(certificate),
        status=words.shown_status(certificate).name,
        rigor=certificate.rigor.label,
        oracle=certificate.oracle,
        noun=words.noun(certificate),
        bound=words.bound_word(certificate),
        trivial="unknown" if trivial is None else numbers.down_log(trivial),
        measured=numbers.enclosure(*last_measured(certificate)),
        ratio=words.ratio_word(certificate, *log_effectivity(certificate)),
        reason=words.short_reason(certificate),
    )


def _directed(value: float, side: Side) -> str:
    rounded = {Side.UPPER: numbers.up, Side.LOWER: numbers.down}.get(side, numbers.plain)(value)
    return f"{_SIDE_WORD[side]} {rounded}".strip()


@dataclass(frozen=True)
class IngredientRow:
    """An ingredient of a theorem with what this model supplies."""

    id: str
    symbol: str
    meaning: str
    end: str
    largest: str
    side: str
    rigor: str
    method: str
    oracle: bool
    weakest: bool


def _side_text(ingredient: Ingredient, estimate: Estimate) -> str:
    given, needed = estimate.side.value, ingredient.needed.value
    return given if estimate.side.serves(ingredient.needed) else f"{given}, but {needed} is needed"


def ingredient_row(ingredient: Ingredient, estimate: Estimate | None, weakest: str) -> IngredientRow:
    """Symbol, meaning, values, side, rigor and method; words where nothing was supplied."""
    unit = f" [{ingredient.unit}]" if ingredient.unit else ""
    common = (ingredient.id, symbol(ingredient.symbol), ingredient.meaning + unit)
    if estimate is None:
        needed = f"{ingredient.needed.value} needed"
        return IngredientRow(*common, "missing", "missing", needed, "none", "no estimator served it", False, False)
    constant = np.ndim(estimate.value) == 0
    return IngredientRow(
        *common,
        _directed(estimate.last(), estimate.side),
        "constant" if constant else _directed(estimate.largest(), estimate.side),
        _side_text(ingredient, estimate),
        estimate.rigor.label,
        words.clean(estimate.method),
        estimate.uses_exact_solution,
        ingredient.id == weakest,
    )


def symbol(latex: str) -> str:
    """Inline MathML of a symbol; the source text where it is outside the subset."""
    try:
        return mathml.inline(latex)
    except mathml.LatexError:
        return _code(latex)


def statement(latex: str) -> str:
    """Displayed MathML of a statement; the source text where it is outside the subset."""
    try:
        return mathml.display(latex)
    except mathml.LatexError:
        return _code(latex)


def evaluated(theorem: Theorem) -> tuple[tuple[str, str], ...]:
    """Name and displayed MathML of every term of a bound, from the formula that gives its numbers."""
    return tuple((words.clean(name), statement(latex)) for name, latex in as_evaluated.printed(theorem).items())


def _code(text: str) -> str:
    import html

    return f"<code>{html.escape(words.clean(text, 2000))}</code>"


@dataclass(frozen=True)
class TermRow:
    """A term of a bound at the last time."""

    name: str
    value: str
    share: str
    width: int


def term_rows(certificate: Certificate) -> tuple[TermRow, ...]:
    """Terms at the last time with their shares of the sum; empty where the bound is void or missing."""
    ends: dict[str, float] = {}
    for name, values in certificate.log_terms.items():
        shown = shown_log(certificate, values)
        if shown is not None and len(shown) and not math.isnan(shown[-1]):
            ends[name] = float(shown[-1])
    finite = [v for v in ends.values() if math.isfinite(v)]
    infinite = any(v == math.inf for v in ends.values())
    total = float(np.logaddexp.reduce(finite)) if finite else -math.inf
    return tuple(_term_row(name, value, total, infinite=infinite) for name, value in ends.items())


def _term_row(name: str, log_value: float, total: float, *, infinite: bool) -> TermRow:
    if infinite:
        share = 1.0 if log_value == math.inf else 0.0
    else:
        share = math.exp(log_value - total) if math.isfinite(log_value) else 0.0
    text = f"{100 * share:.1f} %" if share >= 1e-3 or share == 0 else "< 0.1 %"
    return TermRow(words.clean(name), numbers.up_log(log_value), text, round(100 * share))


@dataclass(frozen=True)
class BudgetRow:
    """What costs most in a bound."""

    id: str
    bound: str
    term: TermRow
    weakest: str


def budget(certificates: Iterable[Certificate]) -> tuple[BudgetRow, ...]:
    """The largest term of every bound that has terms at the last time."""
    with_terms = ((c, term_rows(c)) for c in certificates)
    return tuple(
        BudgetRow(c.id, words.bound_word(c), max(terms, key=lambda term: term.width), _weakest(c))
        for c, terms in with_terms
        if terms
    )


_SPLIT = (
    ("defect", "flow defect"),
    ("defect_residual_part", "residual part (flow against its own score)"),
    ("defect_score_part", "score part (learned score against the score of the learned density)"),
    ("defect_error", "quadrature error estimate, added to the bound"),
)


def defect_split(report: Report) -> list[tuple[str, str]]:
    """The flow defect and its parts at the last node, where they are known."""
    found = ((text, report.arrays.get(name)) for name, text in _SPLIT)
    return [(text, numbers.up(float(v[-1]))) for text, v in found if v is not None and v.shape == report.nodes.shape]


@dataclass(frozen=True)
class LedgerRow:
    """A hypothesis, its verdict and who needs it."""

    id: str
    statement: str
    outcome: str
    word: str
    reason: str
    until: str
    used_by: str


def _until(verdict: Verdict) -> str:
    if verdict.outcome is not Outcome.FAILS:
        return "whole window" if verdict.outcome is Outcome.HOLDS else "not known"
    if verdict.valid_until == -math.inf:
        return "never"
    return f"up to t = {numbers.plain(verdict.valid_until)}"


def ledger(report: Report) -> tuple[LedgerRow, ...]:
    """All hypotheses, failures first; one row for each different verdict."""
    found: dict[tuple[str, str, str], tuple[Hypothesis, Verdict, list[str]]] = {}
    for name, (hypothesis, verdict) in report.verdicts.items():
        found[name, verdict.outcome.value, verdict.reason] = (hypothesis, verdict, [])
    for certificate in report.certificates:
        for name, (hypothesis, verdict) in certificate.verdicts.items():
            key = (name, verdict.outcome.value, verdict.reason)
            found.setdefault(key, (hypothesis, verdict, []))[2].append(certificate.id)
    order = (Outcome.FAILS, Outcome.UNKNOWN, Outcome.HOLDS)
    rows = sorted(found.items(), key=lambda item: order.index(item[1][1].outcome))
    return tuple(
        LedgerRow(
            id=words.clean(name, 80),
            statement=words.clean(hypothesis.statement),
            outcome=verdict.outcome.value,
            word=_VERDICT_WORD[verdict.outcome],
            reason=words.clean(verdict.reason, 600),
            until=_until(verdict),
            used_by=", ".join(users) or "none of these certificates",
        )
        for (name, _, _), (hypothesis, verdict, users) in rows
    )


@dataclass(frozen=True)
class Section:
    """A theorem with this model's numbers."""

    row: Row
    source: str
    statement: str
    evaluated: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    ingredients: tuple[IngredientRow, ...]
    terms: tuple[TermRow, ...]
    shares: tuple[evidence.ShareRow, ...]
    weakest: str
    delta: str
    reasons: tuple[str, ...]
    measured_method: str
    figures: tuple[Figure, ...]


def _weakest(certificate: Certificate) -> str:
    if not certificate.weakest or certificate.missing:
        return "cannot be named while ingredients are missing" if certificate.missing else "none recorded"
    estimate = certificate.estimates.get(certificate.weakest)
    label = f" ({estimate.rigor.label}: {words.clean(estimate.method)})" if estimate is not None else ""
    meanings = {i.id: i.meaning for i in certificate.theorem.ingredients}
    return words.clean(meanings.get(certificate.weakest, certificate.weakest)) + label


def section(certificate: Certificate, report: Report, drawn: Mapping[str, Figure]) -> Section:
    """Everything the page says about one theorem."""
    theorem = certificate.theorem
    own = (figures.certificate_id(certificate), figures.terms_id(certificate))
    return Section(
        row=result_row(certificate),
        source=words.clean(theorem.source),
        statement=statement(theorem.statement),
        evaluated=evaluated(theorem),
        notes=tuple(words.clean(note, 600) for note in theorem.notes),
        ingredients=tuple(
            ingredient_row(i, certificate.estimates.get(i.id), certificate.weakest) for i in theorem.ingredients
        ),
        terms=term_rows(certificate),
        shares=evidence.share_rows(certificate, report),
        weakest=_weakest(certificate),
        delta=numbers.up(certificate.delta, 2) if certificate.delta > 0 else "",
        reasons=tuple(words.clean(reason, 600) for reason in certificate.reasons),
        measured_method=words.clean(certificate.measured.method, 600) if certificate.measured else "",
        figures=tuple(drawn[name] for name in own if name in drawn),
    )


def not_shown(report: Report) -> tuple[str, ...]:
    """What a reader might wrongly take from this page."""
    maxwell = "mollified" not in str(report.problem).lower()
    items = [
        "Whether the Landau equation describes your plasma: only the distance to its solution is judged.",
        "Anything outside the time window and the problem named at the top.",
        "That a hypothesis marked 'not checkable' is true. Passing at every node is not passing everywhere.",
        "An enclosure of rounding and quadrature errors, unless the label says verified or exact: 'numerical' "
        "means a converged "
        "rule with its error estimate added.",
        "Finite-particle effects, except where a certificate names particles: the stability certificates speak of the "
        "density that the learned flow transports.",
        "How the method compares with other solvers, or with other seeds of the same training.",
        "A machine-checked derivation of the theorems: they are tested against systems with known answers, not "
        "formalised.",
    ]
    if line := words.tail_line(report):
        items.append(f"The model as it is: {line}.")
    if not report.measured:
        items.append(
            "A measured error: no exact or reference solution was available, so no bound could be held against "
            "the truth."
        )
    if words.is_reference(report):
        items.append(
            f"The exact error: the measured errors are against {words.measured_against(report)}. That is added to "
            "upper and subtracted from lower values, but not proved."
        )
    if any(c.oracle for c in report.certificates):
        items.append(
            "That oracle certificates could be had on a new problem: they use constants of the exact solution."
        )
    if not maxwell:
        items.append("Anything about the unmollified Coulomb kernel: the bounds hold for the mollified equation.")
    if report.incomplete:
        items.append("The certificates that were not reached before the interruption.")
    return tuple(items)


def _facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(words.flatten(data))


_FLAGS = ("times", "samples", "w1_samples", "confidence", "seed", "radius", "tail", "particle_rate")


def command(report: Report) -> str:
    """The command that makes this report again: as recorded, else put together from the options."""
    recorded = report.environment.get("command") or report.options.get("command")
    if recorded:
        return words.clean(recorded if isinstance(recorded, str) else shlex.join(map(str, recorded)), 1000)
    parts = ["certify", "report", words.clean(report.model.get("source") or "MODEL", 400)]
    problem = report.problem.get("spec") or report.problem.get("id")
    if problem:
        parts += ["--problem", words.clean(problem)]
    chosen = report.options.get("certificates")
    if chosen:
        parts += ["--certificates", words.clean(chosen if isinstance(chosen, str) else ",".join(map(str, chosen)))]
    given = {flag: report.options.get(flag) for flag in _FLAGS}
    for flag, value in given.items():
        if value is not None:
            parts += [f"--{flag.replace('_', '-')}", words.clean(value)]
    return shlex.join(parts) + (" --quick" if report.options.get("quick") else "")


def _resource(name: str) -> str:
    return resources.files("certify.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _style() -> tuple[str, str]:
    """The style sheet and its hash for the content security policy."""
    css = "\n" + _resource("page.css")
    return css, base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")


def _statuses() -> list[tuple[str, str]]:
    return [(s.name, STATUS_MEANING[s]) for s in sorted(Status, reverse=True)]


def _rigors() -> list[tuple[str, str]]:
    return [(r.label, RIGOR_MEANING[r]) for r in sorted(Rigor, reverse=True)]


def context(report: Report, drawn: Iterable[Figure]) -> dict[str, Any]:
    """Everything the template shows."""
    by_id = {figure.id: figure for figure in drawn}
    certificates = words.in_order(report.certificates)
    placed = {f for c in certificates for f in (figures.certificate_id(c), figures.terms_id(c))}
    placed |= {evidence_figures.bracket_id(b) for b in report.brackets}
    placed |= {"lipschitz", "drift-constants", "bandwidth", "excess-risk"}
    css, css_hash = _style()
    return {
        "css": css,
        "css_hash": css_hash,
        "evaluated_caption": captions.EVALUATED,
        "model": words.model_name(report),
        "problem": words.problem_name(report),
        "problem_title": words.clean(report.problem.get("title") or ""),
        "marks": [(mark, words.MARK_MEANING[mark]) for mark in words.marks(report)],
        "headline": words.headline(report),
        "counts": [(status.name, n) for status, n in words.counts(report.certificates).items()],
        "end": numbers.plain(report.times[-1]) if len(report.times) else "the end",
        "rows": [result_row(c) for c in certificates],
        "brackets": evidence.bracket_rows(report),
        "checks": conservation.checks(report),
        "checks_line": conservation.line(report),
        "bracket_figures": [f for b in report.brackets if (f := by_id.get(evidence_figures.bracket_id(b)))],
        "contributions": evidence.contributions(report),
        "contribution_symbols": [symbol(latex) for _, latex in evidence.CONTRIBUTIONS],
        "constants": evidence.constants(report),
        "constant_figures": [by_id[n] for n in ("lipschitz", "drift-constants") if n in by_id],
        "rates": evidence.rates(report),
        "rate_option": words.clean(report.options.get("particle_rate") or "not recorded", 40),
        "rate_method": _rate_method(report),
        "risks": evidence.risks(report),
        "risk_figures": [by_id[n] for n in ("excess-risk",) if n in by_id],
        "sweeps": evidence.sweep_rows(report),
        "sweep_figures": [by_id[n] for n in ("bandwidth",) if n in by_id],
        "warnings": [words.clean(warning, 600) for warning in report.warnings],
        "statuses": _statuses(),
        "rigors": _rigors(),
        "ledger": ledger(report),
        "sections": [section(c, report, by_id) for c in certificates],
        "budget": budget(certificates),
        "defect_split": defect_split(report) if len(report.nodes) else [],
        "global_figures": [figure for name, figure in by_id.items() if name not in placed],
        "measured_against": words.measured_against(report),
        "measured": [
            (words.clean(name, 80), words.clean(m.title), _measured_end(m.lower, m.upper), words.clean(m.method, 600))
            for name, m in report.measured.items()
        ],
        "problem_facts": _facts(report.problem),
        "model_facts": _facts(report.model),
        "option_facts": _facts(report.options),
        "numeric_facts": _facts(report.numerics),
        "environment_facts": _facts(json_report.stable_environment(report.environment)),
        "command": command(report),
        "digest": json_report.document(report)["digest"],
        "methods": references.methods_text(report),
        "bibtex": references.bibtex(report),
        "not_shown": not_shown(report),
    }


def _rate_method(report: Report) -> str:
    used = report.ingredients.get("sampling_w1")
    return evidence.why_not("sampling_w1") if used is None else words.clean(used.method, 600)


def all_figures(report: Report) -> Iterable[Figure]:
    """Every figure of a page."""
    yield from figures.all_figures(report)
    yield from evidence_figures.all_figures(report)


def _measured_end(lower: Estimate | None, upper: Estimate | None) -> str:
    return numbers.enclosure(None if lower is None else lower.last(), None if upper is None else upper.last())


def page(report: Report, drawn: Iterable[Figure] | None = None) -> str:
    """The whole page as text.

    Parameters
    ----------
    report : Report
    drawn : iterable of Figure, optional
        Figures drawn already; drawn here if not given.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["symbol"] = symbol
    environment.filters["trusted"] = Markup  # only for SVG, MathML and CSS made in this package
    template = environment.from_string(_resource("page.html.j2"))
    return template.render(context(report, all_figures(report) if drawn is None else drawn))
