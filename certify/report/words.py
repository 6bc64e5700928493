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
from certify.results import Certificate, Report, Status

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
}


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
    return "missing" if certificate.log_bound is None else numbers.UNDEFINED


def ratio_word(certificate: Certificate, low: float | None, high: float | None, *, ascii_only: bool = False) -> str:
    """The effectivity at the last time, or the word that stands for it."""
    text = numbers.ratio(low, high, ascii_only=ascii_only)
    if text != "none":
        return text
    bound = last_log_bound(certificate)
    if bound is None:
        return bound_word(certificate)
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
        return "no bound: " + (reason or "an ingredient is missing")
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
        parts.append(f"a flow that does not move would get {numbers.down_log(trivial)}")
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


def headline(report: Report) -> str:
    """The one sentence to read."""
    contradicted = [c.id for c in report.certificates if shown_status(c) is Status.CONTRADICTED]
    if contradicted:
        return (
            f"CONTRADICTED: {', '.join(contradicted)}. A measured error of {model_name(report)} exceeds its bound, so "
            "the code, an assumption or the theorem is wrong. Trust no bound of this report until this is explained."
        )
    sound = best(report.certificates, SOUND)
    if sound is not None:
        return _claim(report, sound, "at most")
    indicative = best(report.certificates, (Status.INDICATIVE,))
    if indicative is not None:
        return "Nothing here is a bound. " + _claim(report, indicative, "estimated as")
    if not report.certificates:
        return f"No certificate was asked for or none could be evaluated for {model_name(report)}."
    worst = ", ".join(f"{n} {status.name}" for status, n in counts(report.certificates).items())
    first = report.certificates[0]
    return f"Nothing can be said about the error of {model_name(report)} ({worst}). {first.id}: {reason_line(first)}."


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
