"""Reports of synthetic judgements: every status, missing and infinite bounds, hostile strings, directed rounding."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.budget import SUPREMA, budget
from certify.report import (
    axes,
    conservation,
    evidence,
    evidence_figures,
    figures,
    html,
    json_report,
    mathml,
    numbers,
    references,
    terminal,
    words,
    write,
)
from certify.report.junit import junit
from certify.report.schema import faults, schema
from certify.results import Bracket, Certificate, Measured, Report, Share, Status
from theory.errors import UserError
from theory.gronwall import LogValue, NumericOps, TimeGrid
from theory.hypotheses import IDENTITY, ORIENTATION, SCORE_LIPSCHITZ, SMOOTH
from theory.provenance import Array, Estimate, Rigor, Side, exact
from theory.statement import evaluated, printed
from theory.theorem import Hypothesis, Theorem, Verdict
from theory.theorems import THEOREMS

ROOT = Path(__file__).parent.parent
TIMES = np.linspace(0.0, 5.0, 25)
NODES = np.sort(np.concatenate([TIMES[:-1] + f * np.diff(TIMES) for f in (0.03, 0.13, 0.3, 0.5, 0.7, 0.87, 0.97)]))
HUGE = 226.3  # natural logarithm of 10^98.3

HOSTILE = "<script>alert(1)</script>\x1b[31mred\x1b[0m\x1b]0;title\x07\u202egpj.exe\x00{{7*7}}\n'\"&$x_1$"


def _log(values: Array | float) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.broadcast_to(np.asarray(values, dtype=np.float64), TIMES.shape))


def _measured(scale: float = 0.0013, *, sides: str = "both") -> Measured:
    lower = Estimate(scale * 0.8 * TIMES / 5, Side.LOWER, Rigor.NUMERICAL, "Gelbrich", uses_exact_solution=True)
    upper = Estimate(scale * TIMES / 5, Side.UPPER, Rigor.NUMERICAL, "same-start coupling", uses_exact_solution=True)
    return Measured(
        "w2", "Wasserstein-2", lower if sides != "upper" else None, upper if sides != "lower" else None, "coupling"
    )


def _verdicts(theorem: Theorem, status: Status) -> Mapping[str, tuple[Hypothesis, Verdict]]:
    found = {h.id: (h, Verdict.holds("established by construction")) for h in theorem.hypotheses}
    if status is Status.CONDITIONAL:
        found["orientation"] = (ORIENTATION, Verdict.unknown("det J > 0 at every node, not between them"))
    if status is Status.VOID:
        reason = "the exact score is unbounded at v = 0: its Lipschitz constant is not integrable"
        found["score_lipschitz"] = (SCORE_LIPSCHITZ, Verdict.fails(reason, 1.25))
    return found


def _estimates(theorem: Theorem) -> dict[str, Estimate]:
    wave = 0.004 + 0.002 * np.sin(NODES)
    return {
        i.id: Estimate(
            wave if "defect" in i.id else 0.25,
            i.needed,
            Rigor.NUMERICAL if "defect" in i.id else Rigor.EXACT,
            "adaptive polar quadrature" if "defect" in i.id else "closed form",
            uses_exact_solution="score_" in i.id,
        )
        for i in theorem.ingredients
    }


_RIGOR = {Status.CERTIFIED: Rigor.VERIFIED, Status.INDICATIVE: Rigor.SAMPLED}
_REASON = {
    Status.CONTRADICTED: ("the measured lower value exceeds the bound at t = 5",),
    Status.VOID: ("hypothesis score_lipschitz fails on [1.25, 5]: the exact score is unbounded at v = 0",),
    Status.VACUOUS: ("larger than the trivial bound",),
    Status.INDICATIVE: ("learned_score_lipschitz is only sampled: the largest value seen, not a bound",),
    Status.CONDITIONAL: ("orientation: det J > 0 at every node of every time, not between them",),
}
_END = {Status.CONTRADICTED: 0.0004, Status.VACUOUS: 3.2, Status.CERTIFIED: 0.0052, Status.CONDITIONAL: 0.0046}


def certificate(theorem: Theorem, status: Status, **changes: Any) -> Certificate:
    """A certificate with a plausible bound for its status."""
    end = _END.get(status, 0.006)
    bound = _log(end * TIMES / 5)
    names = ["initial distance", "flow defect"]
    statuses = [status] * len(TIMES)
    if status is Status.VOID:
        statuses = [Status.CONDITIONAL if t <= 1.25 else Status.VOID for t in TIMES]
    estimates = _estimates(theorem)
    values: dict[str, Any] = {
        "theorem": theorem,
        "times": TIMES,
        "log_bound": bound,
        "log_terms": {names[0]: _log(0.1 * end * TIMES / 5), names[1]: _log(0.9 * end * TIMES / 5)},
        "status": status,
        "statuses": tuple(statuses),
        "rigor": _RIGOR.get(status, Rigor.NUMERICAL),
        "oracle": theorem.id.startswith("thm"),
        "weakest": theorem.ingredients[0].id,
        "delta": 0.0,
        "estimates": estimates,
        "verdicts": _verdicts(theorem, status),
        "valid_until": 1.25 if status is Status.VOID else math.inf,
        "log_trivial": _log(0.44 * TIMES / 5 if status is not Status.VACUOUS else 3.1),
        "measured": _measured(),
        "reasons": _REASON.get(status, ()),
    }
    return Certificate(**{**values, **changes})


def _plotted() -> dict[str, Array]:
    grid = np.linspace(-4, 4, 61)
    x, y = np.meshgrid(grid, grid)
    line = np.linspace(-4, 4, 121)
    slice_times = np.linspace(0, 5, 6)
    density = np.stack([np.exp(-(line**2) / 2) * (0.16 + 0.02 * t) for t in slice_times])
    ones = np.ones_like(TIMES)
    return {
        "residual_rms": 0.01 + 0.005 * np.cos(NODES),
        "residual_map_x": grid,
        "residual_map_y": grid,
        "residual_map": 1e-3 * np.exp(-((x - 1) ** 2) - y**2) + 1e-6,
        "defect": 0.004 + 0.002 * np.sin(NODES),
        "defect_error": 1e-5 + 0 * NODES,
        "defect_residual_part": 0.003 + 0.002 * np.sin(NODES),
        "defect_score_part": 0.002 + 0.001 * np.sin(2 * NODES),
        "score_excess_oracle": 0.02 / (0.1 + NODES),
        "score_excess_push": 0.01 / (0.1 + NODES),
        "slice_v": line,
        "slice_times": slice_times,
        "slice_learned": density,
        "slice_exact": density * 1.01,
        "w1_times": TIMES[::6],
        "w1_lower": 0.11 + 0.002 * TIMES[::6],
        "w1_upper": 0.1101 + 0.002 * TIMES[::6],
        "w1_floor_low": 0.09 + 0 * TIMES[::6],
        "w1_floor_high": 0.13 + 0 * TIMES[::6],
        "w1_coupled": 0.0002 + 0.001 * TIMES[::6],
        "moment_times": TIMES,
        "energy_learned": 1 + 1e-4 * np.sin(TIMES),
        "energy_exact": ones,
        "momentum_error": 1e-5 * (1 + TIMES),
        "entropy_learned": -2.7 - 0.1 * (1 - np.exp(-TIMES)),
        "entropy_exact": -2.7 - 0.1 * (1 - np.exp(-1.01 * TIMES)),
        "entropy_rate_learned": -0.1 * np.exp(-TIMES),
        "entropy_rate_exact": -0.101 * np.exp(-1.01 * TIMES),
        "score_excess_fisher": 1 + 0 * NODES,
        "score_excess_statistical": 0.03 / (0.1 + TIMES),
        "stein": 1e-4 * (1 + np.sin(NODES) ** 2),
        "quadrature_nodes": np.linspace(0, 1, 200).reshape(100, 2),
        "quadrature_weights": np.full(100, 0.01),
    }


def _constants() -> dict[str, Estimate]:
    """Ingredients that the tables of constants, rates, risks and bandwidths show."""
    sampled = Estimate(2 + np.exp(-NODES), Side.LOWER, Rigor.SAMPLED, "largest quotient", detail={"seconds": 0.5})
    boxes = Estimate(4 + np.exp(-NODES), Side.UPPER, Rigor.VERIFIED, "boxes", detail={"seconds": 31.25})
    product = Estimate(640.0, Side.UPPER, Rigor.VERIFIED, "spectral norms", detail={"seconds": 0.1})
    explicit = Estimate(0.5 + 0 * TIMES, Side.UPPER, Rigor.VERIFIED, "explicit constants")
    paper = Estimate(0.0577, Side.NONE, Rigor.ASSUMED, "N^(-1/2) with constant 1")
    h = np.geomspace(0.1, 2, 25)
    sweep = {
        "bandwidth": 0.44,
        "sweep_bandwidth": [float(x) for x in h],
        "sweep_bound": [float(x) for x in h + 0.2 / h],
    }
    return {
        "learned_score_lipschitz": boxes,
        "learned_score_lipschitz_boxes": boxes,
        "learned_score_lipschitz_spectral": product,
        "learned_score_lipschitz_sampled": sampled,
        "drift_lipschitz": exact(1 / (2 + NODES), "closed form", oracle=True),
        "drift_log_norm": exact(1 / (16 + NODES), "closed form", oracle=True),
        "sampling_w1": explicit,
        "sampling_w1_explicit": explicit,
        "sampling_w1_ot": replace(explicit, value=0.36 + 0 * TIMES),
        "sampling_w1_paper": paper,
        "excess_risk": Estimate(0.02 + 0 * NODES, Side.UPPER, Rigor.NUMERICAL, "oracle", uses_exact_solution=True),
        "excess_risk_fisher": Estimate(1.0 + 0 * NODES, Side.UPPER, Rigor.NUMERICAL, "J + I(f0)"),
        "kde_noise_gaussian": Estimate(0.03, Side.BOTH, Rigor.EXACT, "closed form", detail=sweep),
    }


def _checked(*, rise: float = 0.0, folds_at: float | None = None) -> dict[str, Estimate]:
    """What the estimator of conservation gives; the entropy rises by ``rise`` from t = 1 on."""

    def upper(size: float) -> Estimate:
        error = {"quadrature_error": [1e-9 * size] * len(TIMES)}
        return Estimate(size * TIMES / 5, Side.UPPER, Rigor.NUMERICAL, "100 nodes", detail=error)

    first = float(TIMES[np.argmax(TIMES > 1)])
    risen = np.maximum(rise * (TIMES - first) / (5 - first), 0.0)
    late = np.full(len(TIMES), False) if folds_at is None else folds_at <= TIMES
    since = {} if folds_at is None else {"folds_at": folds_at}
    window = {"from": first, "to": 5.0} if rise else {}
    high, low = np.where(late, np.inf, risen * 1.001), np.where(late, 0.0, risen * 0.999)
    out = {
        "mean_error": upper(2.04e-5),
        "energy_error": upper(3.31e-5),
        "covariance_error": upper(4e-5),
        "entropy_increase": Estimate(high, Side.UPPER, Rigor.NUMERICAL, "log det J", detail=window | since),
        "entropy_increase_lower": Estimate(low, Side.LOWER, Rigor.NUMERICAL, "log det J", detail=window | since),
    }
    if folds_at is not None:
        return out
    balance = upper(1e-4)
    detail = {**balance.detail, "change": [-0.1] * len(TIMES), "produced": [-0.1001] * len(TIMES)}
    entropy = Estimate(-2.7 - 0.1 * TIMES / 5, Side.BOTH, Rigor.NUMERICAL, "E log f")
    more = {"entropy": entropy, "entropy_balance": replace(balance, detail=detail)}
    return out | more | {"entropy_production_gap": upper(1e-7)}


def bracket(name: str = "w1", *, lower: float | None = 0.0011, upper: float = 0.0051, **changes: Any) -> Bracket:
    """A two-sided interval that grows with time."""
    low = None if lower is None else Estimate(lower * TIMES / 5, Side.LOWER, Rigor.NUMERICAL, "test functions")
    high = np.where(TIMES > 0, upper * np.maximum(TIMES, 1e-300) / 5, 0.0)
    one = Bracket(name, f"{name} of the densities", low, high, "stability_wp", Status.CONDITIONAL)
    return replace(one, **changes)


def report(*certificates: Certificate, **changes: Any) -> Report:
    """A report around certificates."""
    defect = certificates[0].estimates if certificates else {}
    values: dict[str, Any] = {
        "problem": {
            "id": "bkw2d",
            "title": "BKW 2D, Maxwell molecules",
            "t0": "0",
            "T": "5",
            "constants": {"C": "1/16"},
        },
        "model": {"name": "flow-defect 64x3", "architecture": {"widths": [64, 64, 64], "activation": "silu"}},
        "options": {"times": 24, "samples": 1000, "confidence": 0.99, "seed": 0, "radius": None, "quick": False},
        "times": TIMES,
        "nodes": NODES,
        "certificates": tuple(certificates),
        "measured": {"w2": _measured()},
        "ingredients": dict(defect),
        "verdicts": {"smooth": (SMOOTH, Verdict.holds("every activation of the flow is C-infinity"))},
        "arrays": _plotted(),
        "numerics": {"quadrature": {"nodes": 1392, "relative_error": 0.004}, "seed": 0},
        "environment": {"python": "3.11.7", "torch": "2.10.0", "hostname": "secret-host", "cpu": {"model": "fast"}},
        "warnings": (),
        "wall_times": {"total": 12.5},
    }
    return Report(**{**values, **changes})


def every_status() -> Report:
    """One certificate for each status, two without a bound, and one that overflows."""
    s1, s2, kl, l1 = (THEOREMS[k] for k in ("stability_w2", "stability_wp", "stability_kl", "stability_l1"))
    thm1, thm2, thm5 = (THEOREMS[k] for k in ("thm1", "thm2", "thm5"))
    huge = _log(1e-3) + (HUGE + 8) * TIMES / 5
    infinite = np.where(TIMES > 2, np.inf, _log(0.01 * TIMES))
    return report(
        certificate(s1, Status.CONDITIONAL),
        certificate(s2, Status.CERTIFIED),
        certificate(kl, Status.INDICATIVE, measured=None, log_trivial=None),
        certificate(
            l1,
            Status.VACUOUS,
            log_bound=infinite,
            log_terms={"flow defect": infinite},
            reasons=("the bound is infinite because of defect_entropy",),
        ),
        certificate(thm1, Status.VOID, rigor=Rigor.SAMPLED),
        certificate(
            thm2,
            Status.VACUOUS,
            log_bound=huge,
            budget=(
                Share("kernel_bound", 12.25, None, None, 230.0, ""),
                Share("learned_score_lipschitz", 640.0, 5.18, 40.0, 115.0, "largest quotient"),
                Share(SUPREMA, math.nan, None, 300.0, 0.0, "constants do not follow time (still a bound)"),
            ),
            log_terms={"a": huge - 1, "b": huge - 7},
            delta=0.004,
        ),
        certificate(
            thm5,
            Status.INDICATIVE,
            log_bound=None,
            log_terms={},
            missing=("needs excess_risk: no exact score", "needs sampling_w1: no exact solution"),
            reasons=(),
            estimates={},
            measured=None,
        ),
        warnings=("the core of the initial density is not resolved",),
        brackets=(bracket(), bracket("w2", lower=None), bracket("l1", upper=math.inf)),
        ingredients={**certificate(s1, Status.CONDITIONAL).estimates, **_constants(), **_checked()},
    )


def hostile() -> Report:
    """A report in which every free string attacks."""
    evil = Estimate(1.0, Side.UPPER, Rigor.SAMPLED, HOSTILE, detail={HOSTILE: HOSTILE})
    theorem = THEOREMS["stability_w2"]
    return report(
        certificate(
            theorem,
            Status.INDICATIVE,
            reasons=(HOSTILE, HOSTILE),
            weakest=HOSTILE,
            missing=(HOSTILE,),
            estimates={i.id: evil for i in theorem.ingredients},
            log_terms={HOSTILE: _log(1.0), "b$": _log(2.0)},
            verdicts={"identity": (IDENTITY, Verdict.fails(HOSTILE))},
            measured=Measured("w2", HOSTILE, None, evil, HOSTILE),
        ),
        problem={"id": HOSTILE, "title": HOSTILE, HOSTILE: HOSTILE},
        model={"name": HOSTILE, "notes": {HOSTILE: [HOSTILE, float("nan"), math.inf]}},
        options={"quick": True, "command": HOSTILE},
        measured={HOSTILE: Measured("w2", HOSTILE, evil, None, HOSTILE)},
        ingredients={HOSTILE: evil},
        numerics={HOSTILE: float("nan")},
        environment={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
        incomplete=True,
    )


REPORTS = {"every status": every_status(), "hostile": hostile(), "empty": report(arrays={}, measured={})}
FORBIDDEN = re.compile(r"validated|guarante|\bproves?\b|\bproven\b", re.IGNORECASE)


# --- numbers ----------------------------------------------------------------------------------------------------------

sizes = st.floats(1e-300, 1e5, allow_nan=False)


@given(sizes, st.integers(2, 6))
def test_a_bound_printed_is_never_smaller_and_a_measured_error_never_larger(x: float, digits: int) -> None:
    assert float(numbers.up(x, digits)) >= x >= float(numbers.down(x, digits))
    assert float(numbers.up(x, digits)) <= x * (1 + 10.0 ** (1 - digits)) * (1 + 1e-12)


@given(st.floats(12, 1e7))
def test_a_huge_bound_is_a_power_of_ten_rounded_up(log: float) -> None:
    up, down = (Decimal(f(log).removeprefix("10^")) for f in (numbers.up_log, numbers.down_log))
    exact_log10 = Decimal(repr(log)) / Decimal(10).ln()
    assert down <= exact_log10 <= up
    assert up - down <= Decimal("0.1")


@given(sizes, sizes)
def test_the_printed_measured_interval_contains_the_measured_one(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    text = numbers.enclosure(low, high, pm="+-")
    centre, _, half = text.partition(" +-")
    assert Decimal(centre) <= Decimal(repr(low)) + (Decimal(repr(high)) - Decimal(repr(low))) / 2
    if half:
        assert Decimal(centre) - Decimal(half) <= Decimal(repr(low))
        assert Decimal(centre) + Decimal(half) >= Decimal(repr(high))
    else:
        assert low == high


@given(st.floats(-50, 50), st.floats(0, 20))
def test_a_ratio_below_one_is_never_printed_as_one(low: float, width: float) -> None:
    first = numbers.ratio(low, low + width).split("..")[0]
    if low < 0:
        assert float(first) <= 1
        assert low > -1e-3 or float(first) < 1
    elif first.startswith("≥"):  # useless ratios: one end, rounded so that the statement stays true
        assert Decimal(first.removeprefix("≥10^")) <= Decimal(repr(low)) / Decimal(10).ln()
    elif not first.startswith("10^"):
        assert float(first) >= math.exp(low) * (1 - 1e-12)


@pytest.mark.parametrize("text", [numbers.up(math.nan), numbers.up_log(math.nan), numbers.enclosure(math.nan, 1.0)])
def test_nan_is_a_word(text: str) -> None:
    assert text == "undefined"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (numbers.up(0.1), "0.100"),
        (numbers.up(0.00521), "0.00521"),
        (numbers.up(9.996), "10.0"),
        (numbers.up(5.4321e-6), "5.44e-6"),
        (numbers.up_log(226.3), "10^98.3"),
        (numbers.up_log(math.inf), "inf"),
        (numbers.up_log(-math.inf), "0"),
        (numbers.up_log(-1e4), "10^-4342.9"),
        (numbers.enclosure(None, 0.00131), "≤0.00131"),
        (numbers.enclosure(0.00131, math.inf), "≥0.00131"),
        (numbers.enclosure(None, None), "unmeasured"),
        (numbers.ratio(None, None), "none"),
        (numbers.ratio(0.3, math.inf), "≥1.34"),
        (numbers.ratio(math.log(0.9999), 0.0), "0.999..1.00"),
    ],
)
def test_printed_forms(text: str, wanted: str) -> None:
    assert text == wanted


# --- terminal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_the_table_fits_80_columns_and_is_plain_text(name: str) -> None:
    text = terminal.table(REPORTS[name], ascii_only=True)
    assert text.isascii()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_ids_numbers_and_statuses_are_whole() -> None:
    text = terminal.table(every_status(), ascii_only=False)
    for one in every_status().certificates:
        assert re.search(rf"^{one.id}\*? .*{one.status.name}$", text, re.MULTILINE), one.id
    assert "10^98.8" in text
    assert "inf" in text


def test_every_row_that_is_not_certified_has_its_reason() -> None:
    lines = terminal.table(every_status()).splitlines()
    rows = [k for k, line in enumerate(lines) if line.endswith(tuple(s.name for s in Status)) and line[0] != " "]
    for k in rows[:-1]:
        if not lines[k].endswith("CERTIFIED"):
            assert lines[k + 1].startswith("    "), lines[k]


def test_a_row_without_a_number_has_a_word() -> None:
    for one in every_status().certificates:
        for cell in terminal.cells(one, terminal.Style()):
            assert cell.strip(" -")


def test_a_void_row_says_void_even_if_ingredients_are_missing() -> None:
    both = certificate(THEOREMS["thm1"], Status.VOID, log_bound=None, log_terms={}, missing=("needs x: no y",))
    assert words.bound_word(both) == "void"
    assert words.reason_line(both).startswith("void: hypothesis score_lipschitz fails")


def test_words_of_the_statuses() -> None:
    text = " ".join(terminal.table(every_status()).split())
    assert "at most, with a condition: orientation" in text
    assert "estimate, not a bound: learned_score_lipschitz is only sampled" in text
    assert "vacuous: larger than the trivial bound 3.10" in text
    assert "vacuous: the bound is infinite because of defect_entropy" in text
    assert "void: hypothesis score_lipschitz fails" in text
    assert "needs excess_risk: no exact score" in text
    assert "needs ..." in text
    assert "1 CERTIFIED, 1 CONDITIONAL, 2 INDICATIVE, 2 VACUOUS, 1 VOID" in text


def test_colours_only_when_asked_for() -> None:
    plain, painted = terminal.table(every_status()), terminal.table(every_status(), color=True)
    assert "\x1b[32mCERTIFIED\x1b[0m" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == plain


@dataclass
class _Terminal(io.StringIO):
    tty: bool = True
    encoding: str = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return self.tty


def test_no_color_and_pipes_are_respected() -> None:
    assert terminal.wants_color(_Terminal(), {})
    assert not terminal.wants_color(_Terminal(), {"NO_COLOR": "1"})
    assert not terminal.wants_color(_Terminal(), {"TERM": "dumb"})
    assert not terminal.wants_color(_Terminal(tty=False), {})
    assert terminal.shows_ascii_only(_Terminal(encoding="latin-1"))
    assert not terminal.shows_ascii_only(_Terminal())


def test_numbers_too_long_for_the_table_are_listed_instead() -> None:
    theorem = replace(THEOREMS["thm1"], id="a_theorem_with_an_uncommonly_long_identifier")
    long = certificate(theorem, Status.VACUOUS, log_bound=_log(1.0) + 1e7 * TIMES)
    text = terminal.table(report(long))
    assert theorem.id in text
    assert "bound: 10^21714724.1" in text
    assert max(map(len, text.splitlines())) <= 80


def test_quick_and_incomplete_are_marked_everywhere() -> None:
    marked = report(certificate(THEOREMS["stability_w2"], Status.CERTIFIED), options={"quick": True}, incomplete=True)
    assert "[QUICK] [INCOMPLETE]" in terminal.table(marked)
    page = html.page(marked, [])
    assert "<title>QUICK INCOMPLETE" in page
    assert "[QUICK] [INCOMPLETE]" in page
    document = json_report.document(marked)
    assert document["quick"]
    assert document["incomplete"]
    assert "INCOMPLETE" in junit(marked)


# --- headline ---------------------------------------------------------------------------------------------------------


def test_the_headline_prefers_the_best_status_and_says_at_most() -> None:
    text = words.headline(every_status())
    assert "is at most 0.00520" in text
    assert "stability_wp" in text
    assert "CERTIFIED" in text


def test_a_contradiction_at_any_time_leads() -> None:
    once = (*([Status.CERTIFIED] * 24), Status.CONTRADICTED)[::-1]
    bad = certificate(THEOREMS["stability_w2"], Status.CERTIFIED, statuses=once)
    for one in (bad, certificate(THEOREMS["stability_w2"], Status.CONTRADICTED)):
        both = report(certificate(THEOREMS["stability_wp"], Status.CERTIFIED), one)
        assert words.headline(both).startswith("CONTRADICTED: stability_w2")
        assert "stability_w2" in [c.get("name") for c in ET.fromstring(junit(both)).iter("testcase") if len(c)]
        assert "headline bad" in html.page(both, [])


def test_an_estimate_is_never_called_a_bound() -> None:
    text = words.headline(report(certificate(THEOREMS["stability_w2"], Status.INDICATIVE)))
    assert text.startswith("Nothing here is a bound.")
    assert "estimated as" in text
    assert "at most" not in text


def test_a_nan_bound_is_no_bound() -> None:
    broken = certificate(THEOREMS["stability_w2"], Status.CERTIFIED, log_bound=np.full(len(TIMES), np.nan))
    both = report(broken, certificate(THEOREMS["stability_wp"], Status.INDICATIVE))
    assert words.headline(both).startswith("Nothing here is a bound.")
    assert "undefined" in terminal.table(both)
    entry = json_report.certificate_json(broken, both)
    assert entry["bound"] == [None] * len(TIMES)
    assert entry["effectivity"] is None
    assert any("not a number" in reason for reason in entry["reasons"])


def test_a_bound_of_zero_is_the_best_bound() -> None:
    zero = certificate(THEOREMS["stability_w2"], Status.CERTIFIED, log_bound=_log(0.0), measured=None)
    assert "at most 0 " in words.headline(report(zero))


# --- both sides, budgets, constants --------------------------------------------------------------------------------


def test_the_headline_is_of_an_error_of_the_model() -> None:
    of_the_exact_drift = certificate(THEOREMS["lemma1_lipschitz"], Status.CERTIFIED)
    both = report(of_the_exact_drift, certificate(THEOREMS["thm1_law"], Status.CONDITIONAL))
    assert "Source: thm1_law, CONDITIONAL" in words.headline(both)
    assert words.headline(report(of_the_exact_drift)).startswith("No bound can be given for the error of")


def test_the_headline_quotes_the_interval_of_the_best_status_and_closest_ends() -> None:
    both = report(
        certificate(THEOREMS["stability_wp"], Status.CONDITIONAL), brackets=(bracket("w2", upper=0.5), bracket("w1"))
    )
    assert "lies between 0.00110 and 0.00510 (no exact solution used" in words.headline(both)
    assert "Source: stability_wp, CONDITIONAL, numerical, lower end numerical." in words.headline(both)
    weak = replace(both, brackets=(bracket(status=Status.INDICATIVE),))
    assert "is at most 0.00461" in words.headline(weak)
    certified = replace(both, certificates=(certificate(THEOREMS["stability_w2"], Status.CERTIFIED),))
    assert "is at most 0.00520" in words.headline(certified)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (bracket(), "W1 between 0.00110 and 0.00510 (CONDITIONAL, no exact solution used)"),
        (bracket(lower=None), "W1 at most 0.00510 (CONDITIONAL; no exact solution used; lower end not available"),
        (
            bracket(upper=math.inf),
            "W1 at least 0.00110 (lower end numerical; no exact solution used; upper end not available",
        ),
        (bracket("l1", upper=math.inf, lower=None), "L1 distance neither bounded above nor below (CONDITIONAL;"),
        (
            bracket(lower=0.0060),
            "W1 between 0.00600 and 0.00510 (CONTRADICTED: the lower end is above the upper, no exact",
        ),
    ],
)
def test_an_interval_is_one_line(one: Bracket, wanted: str) -> None:
    assert words.bracket_line(one).startswith(wanted)
    text = " ".join(terminal.table(report(brackets=(one,))).split())
    assert wanted.split(" (")[0] in text


def test_a_lower_end_that_uses_the_exact_solution_says_so() -> None:
    oracle = Estimate(0.001 * TIMES / 5, Side.LOWER, Rigor.NUMERICAL, "Gelbrich", uses_exact_solution=True)
    line = words.bracket_line(replace(bracket(), lower=oracle))
    assert "(CONDITIONAL, the exact solution is used)" in line


def test_an_upper_value_is_never_taken_for_a_lower_end() -> None:
    wrong = replace(bracket(), lower=Estimate(1.0, Side.UPPER, Rigor.NUMERICAL, "an upper bound"))
    assert words.lower_curve(wrong) is None
    assert not words.crossed(wrong)
    assert words.between(wrong) == "at most 0.00510"


def test_a_lower_end_above_the_upper_at_any_time_is_a_contradiction() -> None:
    low = np.zeros(len(TIMES))
    low[3] = 1.0  # one early time only
    one = replace(bracket(), lower=Estimate(low, Side.LOWER, Rigor.NUMERICAL, "test functions"))
    bad = report(certificate(THEOREMS["stability_wp"], Status.CERTIFIED), brackets=(one,))
    assert words.headline(bad).startswith("CONTRADICTED: w1 (lower above upper)")
    assert json_report.document(bad)["brackets"][0]["contradicted"]
    assert "headline bad" in html.page(bad, [])


@given(st.floats(1e-8, 1e3), st.floats(1.0, 1e4))
def test_a_printed_interval_contains_the_true_one(low: float, ratio: float) -> None:
    one = bracket(lower=low, upper=low * ratio)
    left, right = re.fullmatch(r"between (\S+) and (\S+)", words.between(one)).groups()  # type: ignore[union-attr]
    assert float(left) <= one.lower.last()  # type: ignore[union-attr]
    assert right.startswith("10^") or float(right) >= one.upper[-1]


# --- conservation and entropy -----------------------------------------------------------------------------------------


def _line(**ingredients: Estimate) -> str:
    return conservation.line(report(ingredients=ingredients))


def test_what_is_conserved_is_one_line_in_the_terminal_the_page_and_the_json() -> None:
    line = "conserved: mean to 2.1e-5, energy to 3.4e-5 (relative); entropy never increases"
    assert _line(**_checked()) == line
    assert line in terminal.table(every_status()).splitlines()
    assert line[1:] in page_of("every status")
    assert json_report.document(every_status())["conservation"]["line"] == line


def test_entropy_that_increases_is_said_so_with_its_time_and_rounded_down() -> None:
    line = _line(**_checked(rise=1.2e-4))
    assert line.endswith("entropy increases by 1.1e-4 on [1.042, 5]")
    row = next(c for c in conservation.checks(report(ingredients=_checked(rise=1.2e-4))) if c.id == "entropy_increase")
    assert (row.largest, row.when, row.end) == ("at least 1.19e-4", "on [1.042, 5]", "at most 1.21e-4")


def test_a_rise_within_the_quadrature_error_is_only_an_upper_bound() -> None:
    found = _checked(rise=1e-9)
    found["entropy_increase_lower"] = replace(found["entropy_increase_lower"], value=np.zeros(len(TIMES)), detail={})
    assert _line(**found).endswith("entropy never increases by more than 1.1e-9")


def test_entropy_after_a_fold_is_unknown_and_never_called_fine() -> None:
    found = _checked(folds_at=2.5)
    assert _line(**found).endswith("entropy never increases, unknown from t = 2.5 on (the flow folds)")
    rows = {c.id: c for c in conservation.checks(report(ingredients=found))}
    assert rows["entropy_increase"].end == "unknown"
    assert "det J <= 0" in rows["entropy_increase"].method
    assert rows["entropy_balance"].largest == "-"
    assert "does not fold" in rows["entropy_balance"].method


@given(st.floats(1e-12, 1e3), st.floats(1e-12, 1e3))
def test_a_conservation_error_printed_is_never_smaller(mean: float, energy: float) -> None:
    def curve(size: float) -> Estimate:
        return Estimate(size * TIMES / 5, Side.UPPER, Rigor.NUMERICAL, "nodes")

    line = _line(mean_error=curve(mean), energy_error=curve(energy))
    found = re.fullmatch(r"conserved: mean to (\S+), energy to (\S+) \(relative\); entropy not available", line)
    assert found is not None
    assert float(found[1]) >= mean * TIMES[-1] / 5
    assert float(found[2]) >= energy * TIMES[-1] / 5


def test_what_no_solution_of_this_kernel_obeys_says_so() -> None:
    problem = {**report().problem, "kernel": "mollified-coulomb"}
    found = {k: e for k, e in _checked().items() if k not in ("covariance_error", "entropy_production_gap")}
    rows = {c.id: c for c in conservation.checks(report(problem=problem, ingredients=found))}
    assert rows["covariance_error"].method == conservation.MAXWELL_ONLY
    assert rows["entropy_production_gap"].method == conservation.NOT_MAXWELL
    assert rows["covariance_error"].value is None


def test_a_tiny_start_does_not_stretch_an_axis_of_few_times() -> None:
    curve = np.array([-17.0, -3.0, -2.0, -1.9, -1.8, -1.7, -1.6])
    low, high = axes.log_range([curve, curve[1:] + 1])
    np.testing.assert_allclose([low, high], [-7.384, -0.216])


def test_the_balance_names_both_sides() -> None:
    rows = {c.id: c for c in conservation.checks(report(ingredients=_checked()))}
    assert rows["entropy_balance"].method.startswith("H changes by -0.1, collisions account for -0.1001; ")
    assert "quadrature error up to 2.1e-14 included" in rows["mean_error"].method


def test_a_report_without_the_checks_has_no_line_and_no_section() -> None:
    assert conservation.line(report()) == ""
    assert conservation.checks(report()) == ()
    assert 'id="conservation"' not in page_of("empty")
    assert json_report.document(report())["conservation"] == {"line": "", "checks": []}


def test_checks_of_an_infinite_error_are_null_in_the_json_and_inf_in_words() -> None:
    endless = Estimate(np.full(len(TIMES), np.inf), Side.UPPER, Rigor.NUMERICAL, "nodes")
    one = report(ingredients={"mean_error": endless})
    first = json_report.document(one)["conservation"]["checks"][0]
    assert first["value"] is None
    assert first["largest"] == "at most inf"
    assert list(faults(json_report.document(one), schema())) == []


def test_lemmas_come_first_and_variants_follow_their_theorem() -> None:
    found = [c.id for c in words.in_order(certificate(t, Status.CERTIFIED) for t in THEOREMS.values())]
    assert len(found) == len(THEOREMS)
    plain = [i for i in found if "_" not in i]
    assert plain == ["lemma1", "lemma2", "lemma3", "thm1", "thm2", "thm3", "thm4", "thm5", "thm6"]
    for k, name in enumerate(found):
        stem = name.partition("_")[0]
        assert k == 0 or stem == name or found[k - 1].partition("_")[0] == stem or stem == "stability"
    assert all(i.startswith("stability") for i in found[found.index("stability_w2") :])
    assert re.findall(r"^(\w+)\* .* VOID$", terminal.table(every_status()), re.MULTILINE) == ["thm1"]


def _thm5_values(radius: float, c: float = 1 / 16) -> dict[str, np.ndarray]:
    lip, learned = 1.3, 4.0
    given = {
        "kernel_bound": 4 * c * radius**2,
        "kernel_lipschitz": 4 * c * radius,
        "score_lipschitz": lip,
        "score_oscillation": 2 * radius * lip,
        "learned_score_lipschitz": learned,
        "learned_score_oscillation": 2 * radius * learned,
        "error_lipschitz": lip + learned,
        "excess_risk": 0.03,
        "residual_energy_mean": 1e-4,
        "drift_sampling": 1e-5,
        "sampling_w1": 0.3,
    }
    return {i.id: np.asarray(given.get(i.id, 0.0)) for i in THEOREMS["thm5"].ingredients}


def test_the_radius_of_the_ball_carries_what_a_change_of_radius_does() -> None:
    """Chain rule against the bound evaluated at two radii."""
    grid, theorem, radius, step = TimeGrid(TIMES), THEOREMS["thm5"], 3.0, 1e-4

    def log_bound(r: float) -> float:
        ops = NumericOps(grid)
        terms = theorem.terms(ops, _thm5_values(r)).values()
        return float(np.logaddexp.reduce([LogValue.of(x).log for x in terms], axis=0)[-1])

    found = {k: Estimate(v, Side.UPPER, Rigor.EXACT, "closed form") for k, v in _thm5_values(radius).items()}
    found["excess_risk"] = replace(found["excess_risk"], value=0.03 + 0 * grid.flat)  # a function of time
    one = certificate(theorem, Status.VACUOUS, budget=budget(theorem, grid, found))
    maxwell = report(one, problem={"kernel": "maxwell"}, numerics={"ball_radius": radius})
    share = evidence.radius_share(one, maxwell)
    assert share is not None
    wanted = (log_bound(radius * (1 + step)) - log_bound(radius * (1 - step))) / (2 * step)
    assert share.elasticity == pytest.approx(wanted, rel=1e-3)
    assert evidence.decades(share) == pytest.approx(wanted / math.log(10), rel=1e-3)
    assert evidence.radius_share(one, replace(maxwell, problem={"kernel": "mollified"})) is None
    rows = evidence.share_rows(one, maxwell)
    assert [r.id for r in rows][-2:] == [evidence.RADIUS, SUPREMA]
    assert {"kernel_bound", "score_lipschitz", "error_lipschitz", "score_oscillation"} <= {r.id for r in rows}


def test_the_budget_shows_what_the_bound_would_be_and_that_it_is_none() -> None:
    thm2 = next(c for c in every_status().certificates if c.id == "thm2")
    rows = {r.id: r for r in evidence.share_rows(thm2, every_status())}
    assert rows["kernel_bound"].decades == "99.9"  # 230 / ln 10
    assert rows["kernel_bound"].other == rows["kernel_bound"].log10_other == "none known"
    assert rows["learned_score_lipschitz"].log10_other == "17.37"  # 40 / ln 10
    assert [r.id for r in rows.values() if r.is_supremum] == [SUPREMA]
    page = page_of("every status")
    assert "with the sampled value: <em>not a bound</em>" in page
    assert "Decades = elasticity / ln 10" in page
    assert "No error budget" in page  # the other certificates have none
    entry = {s["id"]: s for s in json_report.certificate_json(thm2, every_status())["budget"]}
    assert entry["kernel_bound"]["decades"] == pytest.approx(230 / math.log(10))
    assert entry["learned_score_lipschitz"]["log10_bound_other"] == pytest.approx(40 / math.log(10))
    assert [s["id"] for s in entry.values() if s["is_bound"]] == [SUPREMA]
    sampled = replace(thm2.estimates["kernel_bound"], rigor=Rigor.SAMPLED)
    weak = replace(thm2, estimates={**thm2.estimates, "kernel_bound": sampled})
    assert not any(s["is_bound"] for s in json_report.certificate_json(weak, every_status())["budget"])
    assert "no bound" in evidence.share_rows(weak, every_status())[-1].method
    assert [r.id for r in evidence.contributions(every_status())] == ["thm2"]


def test_a_constant_is_an_interval_and_costs_seconds() -> None:
    found = {c.id: c for c in evidence.constants(every_status())}
    score = found["learned_score_lipschitz"]
    end = float(np.exp(-NODES[-1]))
    assert score.interval == f"[{numbers.down(2 + end)}, {numbers.up(4 + end)}]"  # boxes beat the spectral product
    assert [(w.way, w.seconds) for w in score.ways][:3] == [
        ("spectral product", "0.1"), ("boxes", "31"), ("sampled", "0.5")
    ]  # fmt: skip
    assert found["learned_drift_lipschitz"].interval == "not available"
    assert found["learned_drift_lipschitz"].ways[0].method.startswith("not available: ")
    assert found["drift_lipschitz"].ways[0].seconds == "none: closed form"


def test_a_sampled_value_above_its_bound_is_shown_as_a_contradiction() -> None:
    planted = _constants() | {
        "learned_score_lipschitz_sampled": Estimate(5.0, Side.LOWER, Rigor.SAMPLED, "larger than the boxes")
    }
    rows = {c.id: c for c in evidence.constants(report(ingredients=planted))}
    assert "CONTRADICTED" in rows["learned_score_lipschitz"].interval
    assert (
        "CONTRADICTED" not in {c.id: c for c in evidence.constants(every_status())}["learned_score_lipschitz"].interval
    )


def test_the_particle_rate_used_is_marked_and_the_papers_is_no_theorem() -> None:
    found = {r.id: r for r in evidence.rates(every_status())}
    assert {k: r.used for k, r in found.items() if r.used != "no"} == {"sampling_w1_explicit": "yes"}
    assert "not a theorem in d = 3" in found["sampling_w1_paper"].method
    assert "misses sqrt(log N) in d = 2" in found["sampling_w1_paper"].method
    assert found["sampling_w1_floor"].method.startswith("not available: ")
    mixed = np.where(np.arange(len(TIMES)) < 20, 0.36, 0.5)  # each the smaller one somewhere
    changed = _constants() | {"sampling_w1": Estimate(mixed, Side.UPPER, Rigor.VERIFIED, "best")}
    found = {r.id: r for r in evidence.rates(report(ingredients=changed))}
    assert found["sampling_w1_explicit"].used == "at the last time"


def test_excess_risks_are_judged_by_the_oracle() -> None:
    found = {r.id: r for r in evidence.risks(every_status())}
    assert found["excess_risk"].loose == "1"
    assert found["excess_risk_fisher"].loose == "50"
    assert found["excess_risk_push"].method.startswith("not available: ")
    without = {k: e for k, e in _constants().items() if k != "excess_risk"}
    assert {r.id: r for r in evidence.risks(report(ingredients=without))}[
        "excess_risk_fisher"
    ].loose == "no oracle here"


def test_the_bandwidth_sweep_is_read_from_the_kernel() -> None:
    (row,) = evidence.sweep_rows(every_status())
    assert (row.kernel, row.bandwidth, row.at_paper) == ("gaussian", "0.44", "none known")
    assert float(row.bound) == pytest.approx(0.44 + 0.2 / 0.44, rel=0.02)
    assert evidence.sweep_rows(report()) == ()


def test_seconds_stay_out_of_the_deterministic_json() -> None:
    one = every_status()
    slower = replace(one.ingredients["learned_score_lipschitz_boxes"], detail={"seconds": 77.0})
    other = replace(one, ingredients={**one.ingredients, "learned_score_lipschitz_boxes": slower})
    assert json_report.report_json(one) == json_report.report_json(other)
    assert json_report.arrays_npz(one) == json_report.arrays_npz(other)
    assert json.loads(json_report.run_json(other))["estimate_seconds"]["learned_score_lipschitz_boxes"] == 77.0


def test_intervals_and_sweeps_are_in_the_arrays_and_in_the_json() -> None:
    with np.load(io.BytesIO(json_report.arrays_npz(every_status()))) as stored:
        assert np.allclose(stored["bracket_w1_upper"], 0.0051 * TIMES / 5)
        assert np.allclose(stored["bracket_w1_lower"], 0.0011 * TIMES / 5)
        assert "bracket_w2_lower" not in stored
        assert len(stored["detail_kde_noise_gaussian_sweep_bound"]) == 25
        assert stored["ingredient_learned_score_lipschitz_boxes"].shape == NODES.shape
    w1, w2, l1 = json_report.document(every_status())["brackets"]
    assert w1["lower"][-1] == pytest.approx(0.0011)
    assert w2["lower"] is w2["lower_estimate"] is None
    assert l1["upper"][1:] == [None] * (len(TIMES) - 1)


@pytest.mark.parametrize("maker", evidence_figures.MAKERS, ids=lambda maker: str(maker.__name__))
@pytest.mark.parametrize("value", [np.inf, 0.0])
def test_constants_that_cannot_be_drawn_do_not_break_a_figure(maker: Any, value: float) -> None:
    sweep = {"bandwidth": 0.4, "sweep_bandwidth": [0.1, 0.2], "sweep_bound": [value, value]}
    broken = {
        k: Estimate(value + 0 * np.asarray(e.value), Side.UPPER, Rigor.ASSUMED, "", detail=sweep)
        for k, e in _constants().items()
    }
    assert "needs" in maker(report(ingredients=broken)).missing


# --- json -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_report_json_has_the_shape_it_promises(name: str) -> None:
    text = json_report.report_json(REPORTS[name])
    assert text.isascii()
    document = json.loads(text, parse_constant=lambda c: pytest.fail(f"bare {c}"))
    assert list(faults(document, schema())) == []
    assert document["digest"] == json_report.digest(document)
    assert list(document)[:5] == ["schema", "headline", "quick", "incomplete", "problem"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("certificates", 0, "status"), "PASSED"),
        (("certificates", 0, "bound", 3), "1"),
        (("certificates", 0, "effectivity"), [1.0]),
        (("certificates", 0, "measured", "lower"), 1.0),
        (("certificates", 0, "oracle"), 1),
        (("certificates",), {}),
        (("incomplete",), None),
        (("times", 0), math.nan),
    ],
)
def test_the_shape_check_finds_faults(path: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json_report.report_json(every_status()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(faults(document, schema()))


def test_a_missing_key_is_a_fault() -> None:
    document = json_report.document(every_status())
    del document["certificates"][0]["effectivity"]
    assert list(faults(document, schema())) == ["$.certificates[0]: key 'effectivity' is missing"]


def test_bounds_live_on_times_and_nulls_have_reasons() -> None:
    document = json_report.document(every_status())
    by_id = {c["id"]: c for c in document["certificates"]}
    s1, s2, kl, infinite = (by_id[f"stability_{k}"] for k in ("w2", "wp", "kl", "l1"))
    void, huge, missing = by_id["thm1"], by_id["thm2"], by_id["thm5"]
    assert len(s1["bound"]) == len(s1["times"]) == len(TIMES)
    assert s2["effectivity"] == pytest.approx([0.0052 / 0.0013, 0.0052 / (0.8 * 0.0013)])
    assert kl["measured"]["lower"] is None
    assert any("measured.lower" in r for r in kl["reasons"])
    assert any("no trivial bound" in r for r in kl["reasons"])
    assert infinite["bound"][-1] is None
    assert infinite["log10_bound"][-1] is None
    assert any("infinite" in r for r in infinite["reasons"])
    assert void["bound"][6] is not None
    assert void["bound"][7:] == [None] * 18
    assert void["log10_bound"][7:] == [None] * 18
    assert any("void from t = 1.45833" in r for r in void["reasons"])
    assert missing["bound"] is None
    assert any("excess_risk" in r for r in missing["reasons"])
    assert huge["effectivity"] == pytest.approx([10**101.67, 10**101.76], rel=0.2)


def test_an_overflowing_bound_is_null_with_its_logarithm() -> None:
    over = certificate(THEOREMS["thm2"], Status.VACUOUS, log_bound=_log(1.0) + 1e4)
    entry = json_report.certificate_json(over, report(over))
    assert entry["bound"] == [None] * len(TIMES)
    assert entry["log10_bound"][-1] == pytest.approx(4342.94, abs=0.01)
    assert entry["effectivity"] == [None, None]
    assert entry["log10_effectivity"][0] == pytest.approx(4345.83, abs=0.01)
    assert any("overflows" in r for r in entry["reasons"])


def test_a_measured_zero_makes_the_ratio_unbounded_not_infinite() -> None:
    flat = Measured("w2", "w2", exact(0.0, "symmetric shapes"), exact(0.002, "coupling"), "")
    one = certificate(THEOREMS["stability_w2"], Status.CERTIFIED, measured=flat)
    entry = json_report.certificate_json(one, report(one))
    assert entry["effectivity"] == [pytest.approx(2.6), None]
    assert any("unbounded above" in r for r in entry["reasons"])
    assert "≥2.59" in terminal.table(report(one), ascii_only=False)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(every_status(), tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert {str(p) for p in files} >= {"report.json", "arrays.npz", "run.json", "report.html", "figures/defect.svg"}
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_host_and_wall_times_stay_out_of_the_deterministic_files(tmp_path: Path) -> None:
    one = every_status()
    other = replace(one, environment={**one.environment, "hostname": "elsewhere"}, wall_times={"total": 99.0})
    a, b = write(one, tmp_path / "a", html=False), write(other, tmp_path / "b", html=False)
    assert a["json"].read_bytes() == b["json"].read_bytes()
    assert "secret-host" not in a["json"].read_text()
    assert "2.10.0" in a["json"].read_text()
    assert json.loads(b["run"].read_text())["wall_times"] == {"total": 99.0}
    assert "secret-host" not in html.page(one, [])


def test_arrays_can_be_read_back_and_carry_no_clock(tmp_path: Path) -> None:
    paths = write(every_status(), tmp_path, html=False)
    with np.load(paths["arrays"], allow_pickle=False) as stored:
        assert np.array_equal(stored["defect"], every_status().arrays["defect"])
        assert np.array_equal(stored["times"], TIMES)
        assert np.isposinf(stored["certificate_stability_l1_log_bound"][-1])
        assert stored["certificate_thm1_void"].sum() == 18
    first = paths["arrays"].read_bytes()[:30]
    assert struct.unpack_from("<HH", first, 10) == (0, (1 << 5) | 1)  # 1980-01-01 00:00


def test_arrays_that_need_pickle_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pickle|Object arrays"):
        json_report.arrays_npz(report(arrays={"evil": np.array([{}], dtype=object)}))


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        write(every_status(), tmp_path / "file", html=False)
    assert caught.value.code == "E301"


def test_no_page_of_an_earlier_report_stays_beside_new_numbers(tmp_path: Path) -> None:
    write(every_status(), tmp_path)
    write(report(), tmp_path, html=False)
    assert not (tmp_path / "report.html").exists()
    assert list(tmp_path.rglob("*.svg")) == []


# --- figures ----------------------------------------------------------------------------------------------------------


@cache
def drawn(name: str) -> tuple[figures.Figure, ...]:
    return tuple(html.all_figures(REPORTS[name]))


@cache
def page_of(name: str) -> str:
    return html.page(REPORTS[name], drawn(name))


@pytest.mark.parametrize("name", REPORTS)
def test_each_figure_is_small_and_parses_and_needs_no_style(name: str) -> None:
    for figure in drawn(name):
        if figure.svg is None:
            assert figure.missing.startswith("not available: ")
            continue
        assert len(figure.svg.encode()) < 60_000, figure.id
        root = ET.fromstring(figure.svg)
        assert root.get("viewBox")
        assert 'style="' not in figure.svg
        assert "<style" not in figure.svg
        assert "nan" not in " ".join(e.get("d", "") for e in root.iter())


def test_figures_on_one_page_share_no_id() -> None:
    text = "".join(f.svg or "" for f in drawn("every status"))
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {a or b for a, b in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)} <= set(ids)


def test_all_figures_are_drawn_when_everything_is_there() -> None:
    missing = {f.id for f in drawn("every status") if f.svg is None}
    assert missing == {"terms-stability-l1", "terms-thm5"}
    assert {f.id for f in drawn("every status")} >= {"bracket-w1", "lipschitz", "drift-constants", "bandwidth"}


def test_without_arrays_each_figure_says_why() -> None:
    for figure in html.all_figures(report(arrays={}, brackets=(bracket(upper=math.inf, lower=0.0),))):
        assert figure.svg is None
        assert "needs" in figure.missing or figure.id == "bracket-w1"


_PREFIXES: dict[str, tuple[str, ...]] = {
    "defect": ("defect",),
    "residual": ("residual_rms",),
    "residual_map": ("residual_map",),
    "excess_risk": ("score_excess",),
    "stein": ("stein",),
    "wasserstein": ("w1_",),
    "slices": ("slice_",),
    "moments": ("moment", "energy", "entropy"),
}
_GRIDS = ("_times", "_x", "_y", "slice_v")


@pytest.mark.parametrize("maker", figures.GLOBAL, ids=lambda maker: str(maker.__name__))
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_values_that_cannot_be_drawn_do_not_break_a_figure(maker: Any, value: float) -> None:
    mine = [n for n in _plotted() if n.startswith(_PREFIXES[maker.__name__]) and not n.endswith(_GRIDS)]
    arrays = _plotted() | {name: np.full_like(_plotted()[name], value) for name in mine}
    figure = maker(report(arrays=arrays))
    assert (figure.svg is None) == bool(figure.missing)
    assert figure.svg is None or value == 0.0
    if maker.__name__ not in ("slices", "moments"):  # zero has no place on a logarithmic axis
        assert figure.missing.startswith("not available: ")


@pytest.mark.parametrize("maker", figures.GLOBAL, ids=lambda maker: str(maker.__name__))
def test_arrays_of_the_wrong_length_are_not_drawn(maker: Any) -> None:
    arrays = {name: v[..., :-1] if not name.endswith(_GRIDS) else v for name, v in _plotted().items()}
    assert "wrong shape" in maker(report(arrays=arrays)).missing


def test_a_stretch_without_a_learned_density_is_shaded_and_the_reference_is_named() -> None:
    plotted = _plotted()
    plotted["slice_learned"][:, 40:50] = np.nan
    plotted["slice_reference"] = plotted.pop("slice_exact")
    full = figures.slices(report()).svg or ""
    gap = figures.slices(report(arrays=plotted)).svg or ""
    assert "exact (dashed)" in full
    assert "reference (dashed)" in gap
    assert "exact (dashed)" not in gap
    line = plotted["slice_v"]
    known = np.isfinite(plotted["slice_learned"][0])
    step = line[1] - line[0]
    np.testing.assert_allclose(figures._gaps(known, line), [(line[40] - step / 2, line[49] + step / 2)])
    assert figures._gaps(np.full(3, True), np.arange(3.0)) == []
    assert (gap.count('opacity="0.13"'), full.count('opacity="0.13"')) == (4, 0)  # in each of the four panels


def test_a_spike_of_the_learned_density_does_not_flatten_the_exact_one() -> None:
    spiked = _plotted()
    spiked["slice_learned"][-1, 60] = 1e6
    tallest = [
        max(float(y) for y in re.findall(r">(\d\.\d+)<", figures.slices(report(arrays=a)).svg or ""))
        for a in (_plotted(), spiked)
    ]
    assert tallest[1] <= 3 * tallest[0] + 0.1


def test_a_void_window_reaches_back_to_the_last_good_time() -> None:
    mask = np.array([False, False, True, True, False, True])
    assert axes.segments(mask, np.arange(6.0)) == [(1.0, 3.0), (4.0, 5.0)]
    assert axes.segments(np.array([True, True]), np.arange(2.0)) == [(0.0, 1.0)]


def test_terms_too_small_to_matter_are_not_drawn() -> None:
    small = {"flow defect": _log(1.0), "time quadrature": _log(1e-9)}
    one = figures.terms(certificate(THEOREMS["stability_w2"], Status.CERTIFIED, log_bound=_log(1.0), log_terms=small))
    assert one.svg is None
    assert "'flow defect' is all but 0.01 % of the bound" in one.missing


@given(st.floats(-400, 400), st.floats(0.05, 500))
def test_a_log_axis_has_a_few_ticks_inside(low: float, span: float) -> None:
    ticks = axes.log_ticks(low, low + span)
    assert 1 <= len(ticks) <= 16 or span < 0.11
    assert all(low <= position <= low + span for position, _ in ticks)


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=8))
def test_labels_keep_their_distance_and_their_order(positions: list[float]) -> None:
    placed = axes.spread(positions, 0.085)
    order = sorted(range(len(positions)), key=lambda k: positions[k])
    assert all(placed[b] - placed[a] >= 0.085 - 1e-12 for a, b in pairwise(order))
    assert max(placed) <= 1.0 + 1e-12


# --- page -------------------------------------------------------------------------------------------------------------

_VOID_TAGS = {"meta", "link", "br", "hr", "img", "input"}


class _Checker(HTMLParser):
    """Balanced tags, and what a page without scripts and network must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID_TAGS:
            self.open.append(tag)
        self._look(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "link", "form", "base"):
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.faults.append(f"{tag} {name}={value}")
            if name in ("src", "href", "xlink:href") and not (value or "").startswith(("#", "data:image/png")):
                self.faults.append(f"{tag} {name}={value}")
            if name == "href" and (value or "").startswith("#"):
                self.links.append((value or "")[1:])
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_is_sound_html_without_script_style_attribute_or_network(name: str) -> None:
    checker = _Checker()
    checker.feed(page_of(name))
    checker.close()
    assert checker.faults == []
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert set(checker.links) <= set(checker.ids)
    assert len(page_of(name).encode()) < 1_000_000


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_forbids_everything_but_its_own_style(name: str) -> None:
    page = page_of(name)
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;" in page
    assert page.index("Content-Security-Policy") < page.index("<style>")


@pytest.mark.parametrize("name", REPORTS)
def test_forbidden_words_and_leftovers_do_not_appear(name: str) -> None:
    one = REPORTS[name]
    texts = [page_of(name), terminal.table(one), junit(one), json_report.report_json(one)]
    for text in texts:
        assert not FORBIDDEN.search(text)
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script" not in page_of(name)
    assert not re.search(r"\bNone\b|\{\{|\{%", page_of(name).replace("{{7*7}}", ""))


def test_the_page_has_every_section_and_every_theorem() -> None:
    page = page_of("every status")
    anchors = "results reading hypotheses theorems budget constants rate risk bandwidth figures numerics reproduce"
    for anchor in anchors.split():
        assert f'id="{anchor}"' in page
    for one in every_status().certificates:
        assert f'id="theorem-{one.id}"' in page
    assert "What this report does not show" in page
    assert json_report.document(every_status())["digest"] in page
    assert words.headline(every_status()).replace("'", "&#39;") in page


def test_the_page_shows_the_terms_of_the_formula_that_gives_the_numbers() -> None:
    page = page_of("every status")
    for theorem in {one.id: one.theorem for one in every_status().certificates}.values():
        article = page.partition(f'<article id="theorem-{theorem.id}">')[2].partition("</article>")[0]
        assert set(printed(theorem)) >= set(evaluated(theorem))
        for name, latex in printed(theorem).items():
            assert f"{name}</span>{mathml.display(latex)}" in article
    assert all("<code>" not in text for theorem in THEOREMS.values() for _, text in html.evaluated(theorem))


def test_the_share_of_the_terms_adds_up() -> None:
    rows = html.term_rows(certificate(THEOREMS["stability_w2"], Status.CERTIFIED))
    assert [(row.share, row.width) for row in rows] == [("10.0 %", 10), ("90.0 %", 90)]
    assert html.term_rows(certificate(THEOREMS["thm1"], Status.VOID)) == ()


def test_an_ingredient_with_the_wrong_side_says_so() -> None:
    ingredient = THEOREMS["thm1"].ingredients[0]
    seen = Estimate(3.14159, Side.LOWER, Rigor.SAMPLED, "largest of 10^4 samples")
    row = html.ingredient_row(ingredient, seen, ingredient.id)
    assert (row.end, row.side, row.weakest) == ("at least 3.14", "lower, but upper is needed", True)
    assert html.ingredient_row(ingredient, None, "").end == "missing"
    assert html.ingredient_row(ingredient, replace(seen, side=Side.UPPER), "").end == "at most 3.15"


def test_only_what_was_used_is_cited() -> None:
    w2 = references.bibtex(report(certificate(THEOREMS["stability_w2"], Status.CERTIFIED)))
    assert re.findall(r"@\w+\{(\w+)", w2) == ["Kim2026", "Tanaka1978", "Fontbona2009"]
    thm5 = references.bibtex(report(certificate(THEOREMS["thm5"], Status.INDICATIVE)))
    assert "Hyvarinen2005" in thm5
    assert "Guillen2025" not in w2 + thm5


def test_the_command_is_put_together_where_it_was_not_recorded() -> None:
    one = report(options={"seed": 3, "radius": None, "times": 24, "quick": True}, model={"source": "my model.pt"})
    wanted = "certify report 'my model.pt' --problem bkw2d --times 24 --seed 3 --quick"
    assert html.command(one) == wanted
    assert html.command(replace(one, environment={"command": ["certify", "x y"]})) == "certify 'x y'"


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, certify.report.terminal, certify.report.html, certify.report.junit;"
        "sys.exit(','.join({'torch', 'matplotlib', 'jinja2', 'ot', 'scipy.stats'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


# --- strings ----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=500))
def test_a_cleaned_string_is_one_short_printable_line(text: str) -> None:
    cleaned = words.clean(text, 80)
    assert len(cleaned) <= 80
    assert words.clean(cleaned, 80) == cleaned
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", cleaned)


def test_escape_sequences_vanish_whole() -> None:
    assert words.clean("a\x1b[31;1mb\x1b]8;;http://evil\x1b\\c\x9b2Jd\n e") == "abcd e"


# --- mathml -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(THEOREMS))
def test_every_registered_statement_and_symbol_converts(name: str) -> None:
    theorem = THEOREMS[name]
    for source in (mathml.display(theorem.statement), *(mathml.inline(i.symbol) for i in theorem.ingredients)):
        assert "\\" not in source
        assert "{" not in source
        ET.fromstring(f"<p>{source}</p>")


@pytest.mark.parametrize(
    ("latex", "wanted"),
    [
        (r"x_1^2", "<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>"),
        (r"\tilde f_t", '<msub><mover accent="true"><mi>f</mi><mo stretchy="false">~</mo></mover><mi>t</mi></msub>'),
        (r"\kappa'", '<msup><mi>κ</mi><mo stretchy="false">′</mo></msup>'),
        (r"\tfrac14", '<mstyle displaystyle="false"><mfrac><mn>1</mn><mn>4</mn></mfrac></mstyle>'),
        (r"\mathbb R^{10}", "<msup><mi>ℝ</mi><mn>10</mn></msup>"),
        (r"\text{if } a<b", "<mtext>if </mtext><mi>a</mi><mo>&lt;</mo><mi>b</mi>"),
        (r"\sup_v x", '<munder><mi mathvariant="normal">sup</mi><mi>v</mi></munder><mi>x</mi>'),
        (r"2.5", "<mn>2.5</mn>"),
    ],
)
def test_conversion(latex: str, wanted: str) -> None:
    assert mathml.convert(latex) == wanted


@pytest.mark.parametrize("latex", [r"\unknown", "x_", "{x", r"\frac{1}", "x_1_2", "é#", r"\big x", r"\left( x", "x}"])
def test_latex_outside_the_subset_is_refused(latex: str) -> None:
    with pytest.raises(mathml.LatexError):
        mathml.convert(latex)


def test_a_statement_outside_the_subset_is_shown_as_escaped_source() -> None:
    assert html.statement(r"\unknown<b>") == r"<code>\unknown&lt;b&gt;</code>"


def test_a_long_statement_takes_several_lines() -> None:
    assert mathml.display(r"a\le b,\quad c=\{d\quad e\},\quad f").count("<math") == 4
    assert mathml.display(r"a\le \sqrt{b\quad c}").count("<math") == 1


# --- junit ------------------------------------------------------------------------------------------------------------


class _Outcome(Enum):
    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class _Gate:
    name: str
    certificate: str
    outcome: _Outcome
    reason: str


@pytest.mark.parametrize("name", REPORTS)
def test_junit_is_xml_with_matching_counts(name: str) -> None:
    root = ET.fromstring(junit(REPORTS[name]).encode())
    cases = list(root.iter("testcase"))
    for kind in ("failure", "skipped"):
        assert int(root.get(kind + ("s" if kind == "failure" else ""), "-1")) == sum(
            c.find(kind) is not None for c in cases
        )
    assert int(root.get("tests", "-1")) == len(cases)


def test_only_a_passed_gate_passes() -> None:
    gates = [
        _Gate("--max-bound stability_w2=0.01", "stability_w2", _Outcome.PASSED, "0.0046 at t = 5"),
        _Gate("--min-rigor exact", "stability_w2", _Outcome.INCONCLUSIVE, HOSTILE),
    ]
    root = ET.fromstring(junit(every_status(), gates).encode())
    results = [[child.tag for child in case] for case in root.iter("testcase")]
    assert results[-2:] == [["system-out"], ["failure"]]
    by_name = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert by_name["stability_wp"] == ["system-out"]
    assert by_name["stability_kl"] == by_name["thm1"] == by_name["thm5"] == ["skipped"]
