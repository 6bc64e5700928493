"""The document of certificates against measured errors: what is counted, what is written, exit codes."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.budget import SUPREMA
from certify.options import Options
from certify.results import Bracket, Certificate, Measured, Report, Share, Status
from theory.errors import UserError
from theory.provenance import Array, Estimate, Rigor, Side
from theory.theorems import THEOREMS
from validation import table

TIMES = np.linspace(0.5, 5.0, 25)


def certificate(name: str, bound: Array | float | None, lower: Array | float | None, **changes: Any) -> Certificate:
    """A certificate with a bound and a measured lower value over time."""
    n = len(TIMES)
    low = None
    if lower is not None:
        low = Estimate(np.broadcast_to(np.asarray(lower, dtype=np.float64), (n,)), Side.LOWER, Rigor.NUMERICAL, "seen")
    log = None if bound is None else np.log(np.broadcast_to(np.asarray(bound, dtype=np.float64), (n,)))
    values: dict[str, Any] = {
        "theorem": THEOREMS[name],
        "times": TIMES,
        "log_bound": log,
        "log_terms": {},
        "status": Status.CONDITIONAL,
        "statuses": (Status.CONDITIONAL,) * n,
        "rigor": Rigor.NUMERICAL,
        "oracle": False,
        "weakest": THEOREMS[name].ingredients[0].id,
        "delta": 0.0,
        "estimates": {},
        "verdicts": {},
        "valid_until": math.inf,
        "log_trivial": None,
        "measured": Measured("w2", "W2", low, None, "seen"),
        "reasons": (),
    }
    return Certificate(**{**values, **changes})


def report(*certificates: Certificate, **changes: Any) -> Report:
    """A report around certificates."""
    values: dict[str, Any] = {
        "problem": {"id": "bkw2d", "spec": "bkw2d:t0=1/2,T=5", "kernel": "maxwell"},
        "model": {"name": "model.pt"},
        "options": {"quick": False},
        "times": TIMES,
        "nodes": TIMES,
        "certificates": certificates,
        "measured": {},
        "ingredients": {},
        "verdicts": {},
        "arrays": {},
        "numerics": {"ball_radius": 7.0},
        "environment": {},
    }
    return Report(**{**values, **changes})


def test_every_time_after_the_start_is_compared() -> None:
    assert table.tally(certificate("stability_w2", 0.2, 0.1)) == table.Tally(24, 0, 24)


@pytest.mark.parametrize("when", [1, 7, 24])
def test_one_time_at_which_the_bound_lies_under_the_measured_value_counts(when: int) -> None:
    low = np.full(25, 0.1)
    low[when] = 0.3
    planted = certificate("stability_w2", 0.2, low)  # whatever its status says
    assert table.tally(planted) == table.Tally(24, 1, 24)
    assert table.document([("a.pt", report(planted))], "x", 1.0)[1] == 1


def test_the_start_of_the_window_is_not_counted() -> None:
    low = np.full(25, 0.1)
    low[0] = 1.0
    assert table.tally(certificate("stability_w2", 0.2, low)).contradicted == 0


def test_contradictions_that_are_not_seen_in_the_bound_count_as_well() -> None:
    ingredient = certificate("thm5", 10.0, 0.1, status=Status.CONTRADICTED, statuses=(Status.CONTRADICTED,) * 25)
    low = Estimate(0.2, Side.LOWER, Rigor.NUMERICAL, "test functions")
    crossed = Bracket("w1", "W1", low, np.full(25, 0.1), "stability_wp", Status.CONDITIONAL)
    text, wrong = table.document([("a.pt", report(ingredient, brackets=(crossed,)))], "x", 1.0)
    assert wrong == 2  # theorem 5 bounds the particles' distance, which this interval is not about
    assert "24 comparisons, 0 contradictions. Contradicted otherwise: thm5, w1." in text


def test_a_computable_lower_bound_of_the_same_distance_is_held_against_the_bound_too() -> None:
    one = certificate("stability_w2", 0.2, 0.0)  # nothing positive was measured
    low = Estimate(np.full(25, 0.1), Side.LOWER, Rigor.NUMERICAL, "test functions")
    w2 = Bracket("w2", "W2", low, np.full(25, 0.2), "stability_w2", Status.CONDITIONAL)
    assert table.tally(one, report(one)).checked == 0
    assert table.tally(one, report(one, brackets=(w2,))) == table.Tally(24, 0, 24)
    assert table.tally(one, report(one, brackets=(replace(w2, id="w1"),))).checked == 0  # another distance
    above = replace(w2, lower=replace(low, value=np.full(25, 0.3)))
    assert table.tally(one, report(one, brackets=(above,))).contradicted == 24
    no_lower = replace(w2, lower=replace(low, side=Side.UPPER))
    assert table.tally(one, report(one, brackets=(no_lower,))).checked == 0
    shown = table.line(one, report(one, brackets=(w2,)))
    assert (shown.measured, shown.effectivity) == ("[0.100, -]", "≤2.00")


def test_void_missing_and_undefined_bounds_are_not_called_checked() -> None:
    void = certificate("stability_w2", 0.2, 0.1, valid_until=float(TIMES[10]))
    assert table.tally(void).checked == 10
    assert table.tally(certificate("stability_w2", None, 0.1)).checked == 0
    assert table.tally(certificate("stability_w2", 0.2, None)).checked == 0
    assert table.tally(certificate("stability_w2", math.nan, 0.1)).checked == 0
    assert table.tally(certificate("stability_w2", 0.2, 0.0)).checked == 0  # nothing was seen


def test_an_infinite_and_an_overflowing_bound_are_compared() -> None:
    huge = certificate("thm5", 1.0, 0.1, log_bound=np.full(25, 1e6))
    assert table.tally(huge) == table.Tally(24, 0, 24)
    assert table.line(huge).log10_bound == "434294.49"
    infinite = certificate("thm5", math.inf, 0.1)
    assert table.tally(infinite).checked == 24
    assert table.line(infinite).log10_bound == "inf"


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_count_agrees_with_plain_comparison(bound: float, lower: float) -> None:
    found = table.tally(certificate("stability_w2", bound, lower))
    if abs(bound - lower) > 1e-12 * bound:
        assert (found.contradicted > 0) == (lower > bound)


@given(st.floats(-50, 1e6))
def test_a_printed_bound_is_never_smaller(log: float) -> None:
    one = certificate("thm5", 1.0, 0.1, log_bound=np.full(25, log))
    assert float(table.line(one).log10_bound) >= log / math.log(10) - 2e-9 * max(1.0, abs(log))


def test_a_row_has_no_blank_cell() -> None:
    missing = certificate("thm1_lognorm", None, 0.1, missing=("needs drift_log_norm: no exact solution",))
    void = certificate("thm1", 0.2, 0.1, status=Status.VOID, statuses=(Status.VOID,) * 25, valid_until=-math.inf)
    text, _ = table.document([("a.pt", report(missing, void, certificate("thm3", 0.2, None)))], "x", 1.0)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == 6  # head and line of the overview, head and lines of the model
    for row in rows:
        assert all(cell.strip() for cell in row.strip("|").split("|")), row
    assert "needs drift_log_norm" in text
    assert re.search(r"\| thm1 \| void \|", text)


def test_each_row_is_in_the_order_of_the_paper_and_intervals_follow() -> None:
    low = Estimate(0.0011, Side.LOWER, Rigor.NUMERICAL, "test functions")
    both = Bracket("w1", "W1", low, np.full(25, 0.0051), "stability_wp", Status.CONDITIONAL)
    certificates = [certificate(n, 0.2, 0.1) for n in ("stability_w2", "thm5", "thm1_law", "thm1", "lemma2")]
    text, _ = table.document([("a.pt", report(*certificates, brackets=(both,)))], "x", 1.0)
    assert re.findall(r"^\| ((?:lemma|thm|stab)\w+)", text, re.MULTILINE) == [
        "lemma2", "thm1", "thm1_law", "thm5", "stability_w2"
    ]  # fmt: skip
    assert "- W1 between 0.00110 and 0.00510 (CONDITIONAL, no exact solution used)" in text


BUDGET = (
    Share("kernel_bound", 12.25, 1.07, 500.0, 230.0, "largest seen"),
    Share("error_lipschitz", 187.0, None, None, 115.0, ""),
    Share(SUPREMA, math.nan, None, 2000.0, 0.0, "constants do not follow time (still a bound)"),
)


def test_the_budget_of_theorem_5_is_written_for_the_one_model() -> None:
    one = report(certificate("thm5", 1.0, 0.1, log_bound=np.full(25, 1000.0), budget=BUDGET))
    text, _ = table.document([("other.pt", one), (table.BUDGET_OF, one)], "x", 1.0)
    assert text.count("## Error budget of thm5") == 1
    assert f"## Error budget of thm5 on {table.BUDGET_OF}" in text
    assert "| kernel_bound | 12.25 | 1.07 | 434.29 | 217.15 | 99.9 |" in text
    assert "| error_lipschitz | 187 | none known | 434.29 | none known | 49.9 |" in text
    assert "| ball_radius | 7 | none known | 434.29 | none known | 199.8 |" in text  # twice Lambda's
    assert "| all at their suprema | - | - | 434.29 | 868.59 | - |" in text
    without, _ = table.document([(table.BUDGET_OF, report())], "x", 1.0)
    assert "No error budget of thm5" in without


class Judge:
    """Stands in for the judgement."""

    def __init__(self, lower: float = 0.1) -> None:
        self.lower = lower
        self.asked: list[tuple[str, Options]] = []

    def __call__(self, path: Path, options: Options) -> Report:
        self.asked.append((path.name, options))
        if path.name == "broken.pt":
            raise UserError("E109", "broken.pt is corrupt", "Copy it again")
        return report(certificate("stability_w2", 0.2, self.lower), certificate("thm5", 0.2, 0.1, budget=BUDGET))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in (table.BUDGET_OF, "bkw3d.pt", "README.md"):
        (folder / name).write_text("")
    return folder


def test_one_command_judges_every_model_file_and_states_itself(models: Path, tmp_path: Path) -> None:
    judge, output = Judge(), tmp_path / "docs" / "certificates.md"
    arguments = ["-o", str(output), "--models", str(models), "--particle-rate", "explicit", "--times", "3"]
    assert table.main(arguments, judge) == 0
    assert [name for name, _ in judge.asked] == [table.BUDGET_OF, "bkw3d.pt"]
    assert {(o.times, o.particle_rate) for _, o in judge.asked} == {(20, "explicit")}  # never fewer than 20
    text = output.read_text(encoding="utf-8")
    assert f"python -m validation.table -o {output} --models {models} --particle-rate explicit --times 3" in text
    assert re.search(r"in \d+ s of wall time", text)
    assert text.count("\n## ") == 4
    overview = text.split("\n## ")[1]
    assert overview.startswith("Overview")
    for name in (table.BUDGET_OF, "bkw3d.pt"):
        assert f"| {name} | bkw2d:t0=1/2,T=5 | 0.200 | - | CONDITIONAL | - | [-, -] |" in overview
    assert "96 comparisons, 0 contradictions." in text
    assert "Quick" not in text


def test_a_contradiction_is_written_and_exits_10(models: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.md"
    assert table.main(["-o", str(output), "--models", str(models)], Judge(lower=0.21)) == 10
    assert "96 comparisons, 48 contradictions." in output.read_text(encoding="utf-8")


def test_no_models_and_unusable_models_are_said(models: Path, tmp_path: Path, capsys: Any) -> None:
    assert table.main(["-o", str(tmp_path / "o.md"), "--models", str(tmp_path / "none")], Judge()) == 2
    (models / "broken.pt").write_text("")
    assert table.main(["-o", str(tmp_path / "o.md"), "--models", str(models)], Judge()) == 3
    assert "E109" in capsys.readouterr().err
    assert not (tmp_path / "o.md").exists()


def test_quick_numbers_say_so() -> None:
    one = replace(report(certificate("stability_w2", 0.2, 0.1)), options={"quick": True})
    assert "do not publish" in table.document([("a.pt", one)], "x", 1.0)[0]
