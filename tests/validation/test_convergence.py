"""Convergence studies: orders are read off correctly, rules say truly how far off they are, figures are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.runs import exact_run
from theory.problems import parse_problem
from validation import convergence

MODELS = Path(__file__).parent.parent.parent / "models"


def test_the_order_is_that_of_the_last_three_points() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    y = x ** (-1 / 3)
    y[0] = 100.0
    assert convergence.observed_order(x, y) == pytest.approx(-1 / 3)
    assert math.isnan(convergence.observed_order(x, np.array([1.0, 0.0, np.nan, 2.0])))


def test_the_exact_flow_has_no_measured_error() -> None:
    problem = parse_problem("bkw2d:t0=1/2")
    assert max(convergence.measured(exact_run(problem), problem).values()) < 1e-9


def test_a_rule_says_at_least_how_far_its_defect_is_from_that_of_a_much_finer_one() -> None:
    effort = replace(convergence.QUICK, nodes=((1, 4), (1, 8), (2, 16)))
    rows = convergence.nodes(effort, MODELS, np.random.default_rng(0), lambda _: None)
    assert [r["nodes"] for r in rows] == sorted(r["nodes"] for r in rows)
    for row in rows[:-1]:
        assert row["change_to_finest"] <= row["estimated_error"]
    assert rows[-1]["estimated_error"] < rows[0]["estimated_error"]


def test_a_study_is_written_with_all_its_digits_and_drawn_with_plain_ticks() -> None:
    study = convergence.STUDIES["width"]
    rows = [{"width": w, "cpu_seconds": 1.0, **dict.fromkeys(study.curves, 1 / 3 / w)} for w in (4.0, 8.0, 16.0)]
    text = convergence.as_csv(rows).split("\n")
    assert text[0].split(",")[0] == "width"
    assert float(text[2].split(",")[-1]) == 1 / 3 / 8
    rows[1] = {**rows[1], "stability_wp": math.nan}
    drawn = convergence.figure("width", study, rows, quick=True)
    assert "QUICK" in drawn
    assert "mathdefault" not in drawn
    for label in study.curves.values():
        assert label in drawn


def test_an_unknown_study_is_exit_code_2_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert convergence.main(["widht"]) == 2
    assert "Did you mean 'width'?" in capsys.readouterr().err
