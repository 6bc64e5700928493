"""``report.json`` and ``arrays.npz``, the same bytes for the same report, and ``run.json``, which may differ.

A number that does not exist is null and its reason stands in ``reasons``. A bound that overflows is null in ``bound``
and finite in ``log10_bound``. ``digest`` is the sha256 of everything else in the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np

from certify.report import conservation, evidence, words
from certify.report.curves import LOG10, axis_of, log_effectivity, measured_sides, shown_log, void
from certify.report.schema import ID, faults, schema
from certify.results import Bracket, Certificate, Measured, Report, Share
from theory.provenance import Array, Estimate
from theory.theorem import Hypothesis, Ingredient, Verdict

__all__ = ["ID", "arrays_npz", "document", "dumps", "faults", "report_json", "run_json", "schema", "stable_environment"]

JsonValue = Any  # None | bool | int | float | str | list | dict, recursively

_HOST_WORDS = """
    host hostname node user cpu cpus processor machine platform memory uptime wall walltime elapsed seconds date created
    started finished now pid cwd home path paths directory gpu cores
"""


def plain(value: Any) -> JsonValue:
    """Any fact as JSON: mapping keys sorted, strings cleaned, numpy and fractions unwrapped, non-finite as words."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {words.clean(key, 120): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (set, frozenset)):
        return [plain(v) for v in sorted(value, key=str)]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return words.clean(str(value) if isinstance(value, Fraction) else value, 2000)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _curve(values: Array | None) -> list[float | None] | None:
    return None if values is None else [_number(v) for v in np.asarray(values, dtype=np.float64)]


def _from_log(log_values: Array | None) -> list[float | None] | None:
    """Numbers from logarithms; null where infinite, overflowing or void."""
    if log_values is None:
        return None
    with np.errstate(over="ignore"):
        return _curve(np.exp(log_values))


def _log10(log_values: Array | None) -> list[float | None] | None:
    """Decimal logarithms; null where the number is 0, infinite or void."""
    return None if log_values is None else _curve(np.asarray(log_values) / LOG10)


def estimate_json(estimate: Estimate, report: Report) -> dict[str, JsonValue]:
    """An estimate with its whole claim; infinite values are null and flagged."""
    value = np.asarray(estimate.value, dtype=np.float64)
    return {
        "value": _number(float(value)) if value.ndim == 0 else _curve(value.reshape(-1)),
        "axis": axis_of(estimate, report),
        "side": estimate.side.value,
        "rigor": estimate.rigor.label,
        "method": words.clean(estimate.method),
        "delta": estimate.delta,
        "oracle": estimate.uses_exact_solution,
        "infinite": bool(np.isinf(value).any()),
        "detail": plain({k: v for k, v in estimate.detail.items() if k != "seconds"}),  # differs from run to run
    }


def verdict_json(hypothesis: Hypothesis, verdict: Verdict) -> dict[str, JsonValue]:
    """A hypothesis and what was found; ``valid_until`` is null where no time is involved."""
    return {
        "statement": words.clean(hypothesis.statement),
        "outcome": verdict.outcome.value,
        "reason": words.clean(verdict.reason, 600),
        "valid_until": _number(verdict.valid_until),
        "voids_everything": verdict.valid_until == -math.inf,
    }


def _ingredient_json(ingredient: Ingredient, estimate: Estimate | None, report: Report) -> dict[str, JsonValue]:
    given: dict[str, JsonValue] | None = None
    if estimate is not None:
        given = estimate_json(estimate, report)
        if report.ingredients.get(ingredient.id) is estimate:  # the whole curve stands at the top level
            given.pop("value")
            given |= {"at_end": _number(estimate.last()), "largest": _number(estimate.largest())}
    return {
        "symbol": ingredient.symbol,
        "meaning": ingredient.meaning,
        "unit": ingredient.unit,
        "needed": ingredient.needed.value,
        "given": given,
    }


def null_reasons(certificate: Certificate) -> tuple[str, ...]:
    """Why some numbers of a certificate are null."""
    found = []
    shown = shown_log(certificate, certificate.log_bound)
    if shown is None:
        found.append(f"bound: not evaluated; {words.missing_line(certificate) or 'an ingredient is missing'}")
    else:
        if void(certificate).any():
            first = float(certificate.times[int(np.argmax(void(certificate)))])
            found.append(f"bound: void from t = {first:g} on")
        if np.isposinf(shown).any():
            found.append("bound: infinite where both bound and log10_bound are null")
        if (np.isfinite(shown) & (shown > math.log(np.finfo(np.float64).max))).any():
            found.append("bound: overflows a double; see log10_bound")
        if np.isnan(shown[~void(certificate)]).any():
            found.append("bound: not a number at some time; counts as no bound")
    if certificate.log_trivial is None:
        found.append("trivial: no trivial bound is known for this certificate")
    for name, side in zip(("lower", "upper"), measured_sides(certificate), strict=True):
        if side is None:
            found.append(f"measured.{name}: not available for this model and problem")
    if log_effectivity(certificate) == (None, None):
        found.append("effectivity: needs a bound and a measured error at the last time")
    elif math.inf in log_effectivity(certificate):
        found.append("effectivity: unbounded above, the measured lower value is 0")
    return tuple(found)


def _effectivity(certificate: Certificate) -> list[float | None] | None:
    ends = log_effectivity(certificate)
    if ends == (None, None):
        return None
    # a ratio that overflows stays null here and stands in log10_effectivity
    return [None if e is None or e > 700 else _number(math.exp(e)) for e in ends]


def _log10_effectivity(certificate: Certificate) -> list[float | None] | None:
    ends = log_effectivity(certificate)
    return None if ends == (None, None) else [None if e is None else _number(e / LOG10) for e in ends]


def share_json(share: Share, certificate: Certificate) -> dict[str, JsonValue]:
    """One line of an error budget. None of it is a bound, except that of the suprema."""
    base = None if certificate.log_bound is None else float(certificate.log_bound[-1])
    return {
        "id": words.clean(share.ingredient),
        "value": _number(share.value),
        "other": None if share.other is None else _number(share.other),
        "log10_bound": None if base is None else _number(base / LOG10),
        "log10_bound_other": None if share.log_bound is None else _number(share.log_bound / LOG10),
        "elasticity": _number(share.elasticity),
        "decades": _number(share.elasticity / LOG10),
        "is_bound": evidence.is_bound(share, certificate),
        "method": words.clean(share.method),
    }


def bracket_json(bracket: Bracket, report: Report) -> dict[str, JsonValue]:
    """A two-sided interval over the report times; an infinite upper end is null."""
    return {
        "id": words.clean(bracket.id),
        "title": words.clean(bracket.title),
        "lower": None if words.lower_curve(bracket) is None else _curve(words.lower_curve(bracket)),
        "upper": _curve(bracket.upper),
        "lower_estimate": None if bracket.lower is None else estimate_json(bracket.lower, report),
        "certificate": words.clean(bracket.certificate),
        "status": bracket.status.name,
        "oracle": not words.oracle_free(bracket),
        "contradicted": words.crossed(bracket),
        "line": words.bracket_line(bracket),
    }


def certificate_json(certificate: Certificate, report: Report) -> dict[str, JsonValue]:
    """One entry of ``certificates``."""
    theorem = certificate.theorem
    lower, upper = measured_sides(certificate)
    bound = shown_log(certificate, certificate.log_bound)
    terms = {name: shown_log(certificate, values) for name, values in certificate.log_terms.items()}
    return {
        "id": theorem.id,
        "title": theorem.title,
        "source": theorem.source,
        "statement": theorem.statement,
        "bounds": theorem.bounds,
        "status": certificate.status.name,
        "statuses": [status.name for status in certificate.statuses],
        "rigor": certificate.rigor.label,
        "oracle": certificate.oracle,
        "weakest": words.clean(certificate.weakest),
        "delta": _number(certificate.delta),
        "valid_until": _number(certificate.valid_until),
        "times": _curve(certificate.times),
        "bound": _from_log(bound),
        "log10_bound": _log10(bound),
        "trivial": _from_log(certificate.log_trivial),
        "log10_trivial": _log10(certificate.log_trivial),
        "measured": {
            "id": certificate.measured.id if certificate.measured else None,
            "lower": _curve(lower),
            "upper": _curve(upper),
        },
        "effectivity": _effectivity(certificate),
        "log10_effectivity": _log10_effectivity(certificate),
        "terms": {words.clean(name): _from_log(values) for name, values in terms.items()},
        "log10_terms": {words.clean(name): _log10(values) for name, values in terms.items()},
        "ingredients": {
            i.id: _ingredient_json(i, certificate.estimates.get(i.id), report) for i in theorem.ingredients
        },
        "hypotheses": {words.clean(name): verdict_json(*certificate.verdicts[name]) for name in certificate.verdicts},
        "budget": [share_json(share, certificate) for share in certificate.budget],
        "missing": [words.clean(name) for name in certificate.missing],
        "reasons": [words.clean(reason, 600) for reason in certificate.reasons] + list(null_reasons(certificate)),
    }


def _measured_json(measured: Measured, report: Report) -> dict[str, JsonValue]:
    return {
        "title": words.clean(measured.title),
        "method": words.clean(measured.method, 600),
        "lower": None if measured.lower is None else estimate_json(measured.lower, report),
        "upper": None if measured.upper is None else estimate_json(measured.upper, report),
    }


def _is_host_fact(key: str) -> bool:
    return not set(re.split(r"[^a-z]+", key.lower())).isdisjoint(_HOST_WORDS.split())


def stable_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The environment without host facts, paths and times: what must be equal when the same command runs again."""
    return {
        key: stable_environment(value) if isinstance(value, Mapping) else value
        for key, value in environment.items()
        if not _is_host_fact(str(key))
    }


def document(report: Report) -> dict[str, JsonValue]:
    """The deterministic content of ``report.json``, with its digest."""
    content: dict[str, JsonValue] = {
        "schema": ID,
        "headline": words.headline(report),
        "quick": bool(report.options.get("quick", False)),
        "incomplete": report.incomplete,
        "problem": plain(report.problem),
        "model": plain(report.model),
        "options": plain(report.options),
        "times": _curve(report.times),
        "nodes": _curve(report.nodes),
        "certificates": [certificate_json(c, report) for c in words.in_order(report.certificates)],
        "brackets": [bracket_json(b, report) for b in report.brackets],
        "conservation": conservation.as_json(report),
        "ingredients": {
            words.clean(name): estimate_json(report.ingredients[name], report) for name in sorted(report.ingredients)
        },
        "measured": {
            words.clean(name): _measured_json(report.measured[name], report) for name in sorted(report.measured)
        },
        "hypotheses": {words.clean(name): verdict_json(*report.verdicts[name]) for name in sorted(report.verdicts)},
        "numerics": plain(report.numerics),
        "environment": plain(stable_environment(report.environment)),
        "warnings": [words.clean(warning, 600) for warning in report.warnings],
    }
    return {**content, "digest": digest(content)}


def digest(content: Mapping[str, JsonValue]) -> str:
    """sha256 of a document without its own ``digest``, independent of layout and key order."""
    bare = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def dumps(value: JsonValue, indent: str = "") -> str:
    """JSON with one key a line and arrays of plain values on one line; refuses NaN and infinity."""
    deeper = indent + " "
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{json.dumps(key)}: {dumps(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(deeper + dumps(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=True)


def report_json(report: Report) -> str:
    """Text of ``report.json``; the same report gives the same bytes."""
    return dumps(document(report)) + "\n"


def run_json(report: Report) -> str:
    """Text of ``run.json``: wall times and host facts, which may differ between equal runs."""
    seconds = {k: e.detail["seconds"] for k, e in report.ingredients.items() if "seconds" in e.detail}
    content = {"wall_times": report.wall_times, "estimate_seconds": seconds, "environment": report.environment}
    return dumps(plain(content)) + "\n"


def arrays(report: Report) -> dict[str, Array]:
    """Every array of the report and every certificate's curves, by name."""
    found = {"times": report.times, "nodes": report.nodes}
    for certificate in report.certificates:
        if certificate.log_bound is not None:
            found[f"certificate_{certificate.id}_log_bound"] = certificate.log_bound
            found[f"certificate_{certificate.id}_void"] = void(certificate).astype(np.float64)
        if certificate.log_trivial is not None:
            found[f"certificate_{certificate.id}_log_trivial"] = certificate.log_trivial
    for bracket in report.brackets:
        lower = words.lower_curve(bracket)
        found[f"bracket_{bracket.id}_upper"] = bracket.upper
        found |= {} if lower is None else {f"bracket_{bracket.id}_lower": lower}
    for name, estimate in report.ingredients.items():
        if np.ndim(estimate.value):
            found[f"ingredient_{_member(name)}"] = np.asarray(estimate.value)
        for key, values in estimate.detail.items():  # sweeps and other curves that a figure shows
            if isinstance(values, (list, tuple, np.ndarray)) and np.asarray(values).dtype.kind == "f":
                found[f"detail_{_member(name)}_{_member(str(key))}"] = np.asarray(values)
    return {**found, **report.arrays}


def _member(name: str) -> str:
    """A name that is safe inside an archive."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:80]


def arrays_npz(report: Report) -> bytes:
    """An .npz archive of all arrays with fixed timestamps and order, readable by ``np.load``.

    Raises
    ------
    ValueError
        If an array holds Python objects, which would need pickle.
    """
    content = arrays(report)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(content):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(content[name], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(info, member.getvalue(), compresslevel=6)
    return buffer.getvalue()
