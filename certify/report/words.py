"""The sentences of a report, and the cleaning of strings that came from somebody else's file."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from certify.report import numbers
from certify.report.curves import last_log_bound, last_log_trivial, last_measured, last_valid
from certify.results import Bracket, Certificate, Report, Status
from theory.provenance import Array, Side

SOUND = (Status.CERTIFIED, Status.CONDITIONAL)

_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: window titles, links
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"
)
_BLANK = re.compile(r"[\s\x85\u2028\u2029]+")
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff"
    r"\ufdd0-\ufdef\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]"
)

METRIC: dict[str, str] = {
    "w2": "the Wasserstein-2 distance of the learned density from the exact one",
    "w1": "the Wasserstein-1 distance of the learned density from the exact one",
    "l1": "the L1 distance of the learned density from the exact one",
    "kl": "the relative entropy of the learned density with respect to the exact one",
    "chi2": "the weighted L2 distance of the learned density from the exact one",
    "mean_w1": "the expected Wasserstein-1 distance of the learned particles from the exact density",
    "trajectory": "the root mean squared error of the learned trajectories",
    "particles": "the mean squared error of the learned particles",
    "particles_rms": "the root mean squared error of the learned particles",
    "drift_mismatch": "the distance of the learned drift from the exact one at the learned particles",
    "drift_lipschitz": "the Lipschitz constant of the exact drift",
    "observable": "the expected error of the mean speed of the learned particles",
    "score_error": "the mean squared error of the learned score under the exact law",
    "kde": "the expected L2 error of a Gaussian kernel density estimate of the learned particles",
    "kde_compact": "the expected L2 error of an Epanechnikov kernel density estimate of the learned particles",
}
SHORT: dict[str, str] = {"w1": "W1", "w2": "W2", "l1": "L1 distance"}
NEEDS = "needs ..."
_KINDS = ("lemma", "thm", "stability")


def clean(text: object, limit: int = 300) -> str:
    """One printable line: escape sequences, control, invisible and direction-changing characters removed, then cut."""
    line = _ESCAPE_SEQUENCE.sub("", str(text))
    line = _UNSEEN.sub("", _BLANK.sub(" ", line)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def metric(certificate: Certificate) -> str:
    """What a certificate bounds, in words."""
    return METRIC.get(certificate.theorem.bounds, clean(certificate.theorem.bounds))


def model_name(report: Report) -> str:
    """Name of the model, cleaned."""
    return clean(report.model.get("name") or "unnamed model", 80)


def problem_name(report: Report) -> str:
    """Problem id with its window, cleaned."""
    name = clean(report.problem.get("id") or report.problem.get("title") or "unnamed problem", 80)
    if not len(report.times):
        return name
    return f"{name} on [{numbers.plain(report.times[0])}, {numbers.plain(report.times[-1])}]"


def marks(report: Report) -> tuple[str, ...]:
    """QUICK and INCOMPLETE, where they apply."""
    quick = ("QUICK",) if report.options.get("quick") else ()
    return quick + (("INCOMPLETE",) if report.incomplete else ())


MARK_MEANING: dict[str, str] = {
    "QUICK": "coarser times, samples and quadrature than a full report; do not publish these numbers",
    "INCOMPLETE": "the computation was interrupted; what is missing was not judged",
}


def in_order(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Lemmas, theorems and stability, each by number, the variants of a theorem after it."""

    def key(certificate: Certificate) -> tuple[int, int, bool]:
        kind, number, variant = re.fullmatch(r"([a-z]*)([0-9]*)(.*)", certificate.id, re.DOTALL).groups()  # type: ignore[union-attr]
        place = _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
        return place, int(number or 0), bool(variant) and kind in _KINDS[:2]

    return tuple(sorted(certificates, key=key))


def shown_status(certificate: Certificate) -> Status:
    """The verdict at the last time, except that a contradiction at any time is a contradiction."""
    contradicted = Status.CONTRADICTED in certificate.statuses
    return Status.CONTRADICTED if contradicted else certificate.status


def counts(certificates: Iterable[Certificate]) -> dict[Status, int]:
    """How many certificates have each status, best first, zeros left out."""
    found = Counter(shown_status(c) for c in certificates)
    return {status: found[status] for status in sorted(Status, reverse=True) if found[status]}


def noun(certificate: Certificate) -> str:
    """What the number of a certificate is: a bound, or only an estimate."""
    return "estimate" if shown_status(certificate) is Status.INDICATIVE else "bound"


def bound_word(certificate: Certificate) -> str:
    """The bound at the last time, rounded up, or the word that stands for it."""
    bound = last_log_bound(certificate)
    if bound is not None:
        return numbers.up_log(bound)
    if certificate.status is Status.VOID:
        return "void"
    return NEEDS if certificate.log_bound is None else numbers.UNDEFINED


def ratio_word(certificate: Certificate, low: float | None, high: float | None, *, ascii_only: bool = False) -> str:
    """The effectivity at the last time, or the word that stands for it."""
    text = numbers.ratio(low, high, ascii_only=ascii_only)
    if text != "none":
        return text
    bound = last_log_bound(certificate)
    if bound is None:
        return "none" if certificate.log_bound is None else bound_word(certificate)
    return "inf" if bound == math.inf else "none"


def missing_line(certificate: Certificate) -> str:
    """What a certificate lacks, in one clause; empty if nothing."""
    lacks = [clean(item) for item in certificate.missing]
    if not lacks or lacks[0].startswith("needs "):
        return "; ".join(lacks)
    return f"needs {', '.join(lacks)}, which could not be computed"


def _first_reason(certificate: Certificate) -> str:
    if certificate.reasons:
        return clean(certificate.reasons[0], 600)
    return missing_line(certificate)


def _vacuous(certificate: Certificate) -> str:
    bound, trivial = last_log_bound(certificate), last_log_trivial(certificate)
    if bound == math.inf:
        return "vacuous: " + (_first_reason(certificate) or "the bound is infinite")
    if bound is None or trivial is None:
        return "vacuous: " + (_first_reason(certificate) or "no better than saying nothing")
    relation = "larger than" if bound > trivial else "no smaller than"
    return f"vacuous: {relation} the trivial bound {numbers.down_log(trivial)}"


def _void(certificate: Certificate) -> str:
    text = "void: " + (_first_reason(certificate) or "a hypothesis fails")
    earlier = last_valid(certificate)
    if earlier is None:
        return text
    return f"{text} (up to t = {numbers.plain(earlier[0])} the formula gives {numbers.up_log(earlier[1])})"


def _contradicted(certificate: Certificate) -> str:
    lower, _ = last_measured(certificate)
    bound = last_log_bound(certificate)
    if lower is None or bound is None or not lower > 0 or not math.log(lower) > bound:
        return "contradicted: " + (_first_reason(certificate) or "a measured lower value exceeds the bound")
    return (
        f"contradicted: the error is at least {numbers.down(lower)}, above the bound {numbers.up_log(bound)}: "
        "code, assumption or theorem is wrong"
    )


def reason_line(certificate: Certificate) -> str:
    """Why a certificate is not CERTIFIED, in one sentence; empty for CERTIFIED."""
    status, reason, bound = shown_status(certificate), _first_reason(certificate), last_log_bound(certificate)
    if status is Status.CERTIFIED:
        return ""
    if status is Status.CONTRADICTED:
        return _contradicted(certificate)
    if status is Status.VOID:
        return _void(certificate)
    if certificate.log_bound is None:
        return missing_line(certificate) or "no bound: " + (reason or "an ingredient is missing")
    if status is Status.VACUOUS:
        return _vacuous(certificate)
    if status is Status.INDICATIVE:
        if bound is None:
            return f"no estimate: {reason or numbers.UNDEFINED}"
        return f"estimate {numbers.up_log(bound)}, not a bound: " + (reason or "an ingredient is only sampled")
    if bound is None:
        return f"no bound: {reason or numbers.UNDEFINED}"
    return f"at most {numbers.up_log(bound)}, with a condition: " + (reason or "see its hypotheses")


def short_reason(certificate: Certificate) -> str:
    """``reason_line`` without the numbers that stand in the row above it anyway."""
    line = reason_line(certificate)
    line = re.sub(r"^at most \S+, with", "at most, with", line)
    return re.sub(r"^estimate \S+, not a bound: ", "estimate, not a bound: ", line)


_METRIC_ORDER = tuple(METRIC)


def _preference(certificate: Certificate) -> tuple[int, bool, int, float]:
    bound = last_log_bound(certificate)
    kind = certificate.theorem.bounds
    order = _METRIC_ORDER.index(kind) if kind in _METRIC_ORDER else len(_METRIC_ORDER)
    return (-shown_status(certificate), certificate.oracle, order, math.inf if bound is None else bound)


def _has_number(certificate: Certificate) -> bool:
    bound = last_log_bound(certificate)
    return bound is not None and bound < math.inf


def best(certificates: Iterable[Certificate], statuses: Iterable[Status]) -> Certificate | None:
    """The certificate to quote: best status, a posteriori before oracle, distances before energies, smallest."""
    wanted = set(statuses)
    return min((c for c in certificates if shown_status(c) in wanted and _has_number(c)), key=_preference, default=None)


def _context(certificate: Certificate) -> str:
    """Trivial bound and measured error, as a clause."""
    parts = []
    trivial = last_log_trivial(certificate)
    if trivial is not None:
        parts.append(f"the trivial bound is {numbers.down_log(trivial)}")
    measured = numbers.enclosure(*last_measured(certificate))
    if measured != "unmeasured":
        parts.append(f"the measured error is {measured}")
    return f" ({'; '.join(parts)})" if parts else ""


def _claim(report: Report, certificate: Certificate, verb: str) -> str:
    time = numbers.plain(certificate.times[-1])
    value = numbers.up_log(last_log_bound(certificate) or 0.0)
    oracle = ", with constants of the exact solution" if certificate.oracle else ""
    what = metric(certificate)
    return (
        f"{model_name(report)}, {problem_name(report)}: at t = {time}, {what} is {verb} "
        f"{value}{_context(certificate)}. "
        f"Source: {certificate.id}, {certificate.status.name}, {certificate.rigor.label}{oracle}."
    )


def contradicted(report: Report) -> list[str]:
    """Ids of certificates under a measured value at some time, and of distances whose lower end is above the upper."""
    ids = [c.id for c in report.certificates if shown_status(c) is Status.CONTRADICTED]
    return ids + [f"{b.id} (lower above upper)" for b in report.brackets if crossed(b)]


def ends(bracket: Bracket) -> tuple[float | None, float | None]:
    """Lower and upper end at the last time; None where there is none."""
    upper = float(bracket.upper[-1]) if len(bracket.upper) else math.inf
    return (None if lower_curve(bracket) is None else float(lower_curve(bracket)[-1])), (  # type: ignore[index]
        upper if math.isfinite(upper) else None
    )


def lower_curve(bracket: Bracket) -> Array | None:
    """Lower ends over the report times; None unless the estimate is a lower bound there."""
    if bracket.lower is None or not bracket.lower.side.serves(Side.LOWER):
        return None
    value = np.asarray(bracket.lower.value, dtype=np.float64)
    if value.ndim and value.shape != bracket.upper.shape:
        return None
    return np.broadcast_to(value, bracket.upper.shape)


def crossed(bracket: Bracket) -> bool:
    """Whether the lower end exceeds the upper at some time."""
    lower = lower_curve(bracket)
    return lower is not None and bool(np.any(lower > bracket.upper))


def oracle_free(bracket: Bracket) -> bool:
    """Whether no exact solution was used; the certificates behind the upper end never do."""
    return bracket.lower is None or not bracket.lower.uses_exact_solution


def between(bracket: Bracket) -> str:
    """``between x and y`` at the last time, rounded outwards; one-sided or in words where an end is missing."""
    low, high = ends(bracket)
    if low is not None and high is not None:
        return f"between {numbers.down(low)} and {numbers.up(high)}"
    if high is not None:
        return f"at most {numbers.up(high)}"
    return "neither bounded above nor below" if low is None else f"at least {numbers.down(low)}"


def bracket_source(bracket: Bracket) -> str:
    """Status, what was used, and which end is missing and why."""
    low, high = ends(bracket)
    status = bracket.status.name
    if high is None and low is not None and bracket.lower is not None:  # the status is that of the upper end
        status = f"lower end {bracket.lower.rigor.label}"
    parts = ["CONTRADICTED: the lower end is above the upper" if crossed(bracket) else status]
    parts.append("no exact solution used" if oracle_free(bracket) else "the exact solution is used")
    if low is None:
        parts.append("lower end not available: no estimator provides it for this model and problem")
    if high is None:
        parts.append("upper end not available: no certificate of this distance has a finite bound that is not void")
    return "; ".join(parts) if low is None or high is None else ", ".join(parts)


def bracket_line(bracket: Bracket) -> str:
    """``W1 between 0.0011 and 0.0051 (CONDITIONAL, no exact solution used)``."""
    return f"{SHORT.get(bracket.id, clean(bracket.id, 40))} {between(bracket)} ({bracket_source(bracket)})"


def best_bracket(report: Report) -> Bracket | None:
    """The two-sided interval to quote: sound, best status first, then the one whose ends are closest in ratio."""

    def width(bracket: Bracket) -> float:
        low, high = ends(bracket)
        return math.inf if not low or high is None else high / low

    sound = [b for b in report.brackets if b.status in SOUND and math.isfinite(width(b)) and not crossed(b)]
    return min(sound, key=lambda b: (-b.status, width(b)), default=None)


def _two_sided(report: Report, bracket: Bracket) -> str:
    source = next((c for c in report.certificates if c.id == bracket.certificate), None)
    rigor = f", {source.rigor.label}" if source is not None else ""
    lower = "" if bracket.lower is None else f", lower end {bracket.lower.rigor.label}"
    used = "no exact solution used" if oracle_free(bracket) else "the lower end uses the exact solution"
    context = _context(source).removeprefix(" (").removesuffix(")") if source is not None else ""
    return (
        f"{model_name(report)}, {problem_name(report)}: at t = {numbers.plain(report.times[-1])}, "
        f"{METRIC.get(bracket.id, clean(bracket.title))} lies {between(bracket)} ({used}"
        f"{'; ' + context if context else ''}). "
        f"Source: {clean(bracket.certificate, 60)}, {bracket.status.name}{rigor}{lower}."
    )


def headline(report: Report) -> str:
    """The one sentence to read."""
    wrong = contradicted(report)
    if wrong:
        return (
            f"CONTRADICTED: {', '.join(wrong)}. A measured or lower value of {model_name(report)} exceeds its bound, "
            "so the code, an assumption or the theorem is wrong. Trust no bound of this report until this is explained."
        )
    # the Lipschitz constant of the exact drift is no error of the model
    errors = [c for c in report.certificates if c.theorem.bounds != "drift_lipschitz"]
    sound, bracket = best(errors, SOUND), best_bracket(report)
    if bracket is not None and (sound is None or sound.oracle or bracket.status >= shown_status(sound)):
        return _two_sided(report, bracket)
    if sound is not None:
        return _claim(report, sound, "at most")
    indicative = best(errors, (Status.INDICATIVE,))
    if indicative is not None:
        return "Nothing here is a bound. " + _claim(report, indicative, "estimated as")
    if not report.certificates:
        return f"No certificate was asked for or none could be evaluated for {model_name(report)}."
    worst = ", ".join(f"{n} {status.name}" for status, n in counts(report.certificates).items())
    first = report.certificates[0]
    measured = measured_line(report)
    measured = f" {measured[0].upper()}{measured[1:]}." if measured else ""
    return (
        f"No bound can be given for the error of {model_name(report)} ({worst}).{measured} "
        f"{first.id}: {reason_line(first)}."
    )


def measured_against(report: Report) -> str:
    """What the measured errors were held against, with its own error if it is a numerical reference; "" if unknown."""
    return clean(report.numerics.get("measured_against") or "", 300)


def measured_line(report: Report) -> str:
    """``measured: W2 0.044 +-0.020, L1 0.43 +-0.05 at t = 20, against ...``; "" where no distance was measured."""
    found = []
    for key in ("w1", "w2", "l1"):
        one = report.measured.get(key)
        low, high = (None, None) if one is None else (None if e is None else e.last() for e in (one.lower, one.upper))
        if one is not None and not (key == "l1" and low == 0 and high == 2):  # which every distance is between
            found.append(f"{SHORT.get(key, key)} {numbers.enclosure(low, high)}")
    if not found:
        return ""
    against = measured_against(report) or "an exact or reference solution"
    return f"measured at t = {numbers.plain(report.times[-1])}: {', '.join(found)}, against {against}"


def tail_line(report: Report) -> str:
    """What replacing the tail of the flow costs; "" where it was judged as it is."""
    tail = report.model.get("tail")
    if not isinstance(tail, Mapping):
        return ""
    start, end, mass = numbers.plain(tail["from"]), numbers.plain(tail["identity_from"]), numbers.up(tail["mass"])
    return (
        f"tail replaced from |v| = {start} on, at rest from {end} on: f0 has mass {mass} there, and the density judged "
        f"is within {numbers.up(tail['w2'])} in W2 (numerical) and {numbers.up(tail['l1'])} in L1 of the model's"
    )


def is_reference(report: Report) -> bool:
    """Whether errors were measured against a numerical reference."""
    return measured_against(report) not in ("", "the exact solution")


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as (dotted key, text) pairs, cleaned."""
    for key, value in data.items():
        name = f"{prefix}{clean(key, 60)}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple, np.ndarray)):
            yield name, clean(", ".join(_fact(v) for v in np.asarray(value, dtype=object).reshape(-1)[:40]))
        else:
            yield name, _fact(value)


def _fact(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return numbers.plain(float(value), 6)
    return "none" if value is None else clean(value)
