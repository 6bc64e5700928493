"""The shipped models, judged end to end: what the README claims of them, and the command line on a real checkpoint."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify import cli
from certify.api import certify as certify_with_references
from certify.api import load_run, problem_of
from certify.judge import judge
from certify.options import Options
from certify.results import Certificate, Report, Status
from theory.theorem import Outcome
from validation import certificates as validation
from validation import recompute

MODELS = Path(__file__).parent.parent / "models"
SMALL = Options(times=6, samples=100, w1_samples=100)


REFERENCE_FREE = (".pt", "-flow-defect.pt")
STABILITY = ("stability_w2", "stability_wp", "stability_wp2", "stability_kl", "stability_l1", "stability_chi2")


def _judge(name: str, **options: Any) -> dict[str, Certificate]:
    run = load_run(str(MODELS / name))
    chosen = replace(SMALL, **({"certificates": STABILITY} | options))
    return {c.id: c for c in judge(run, problem_of(run), chosen).certificates}


def _bound(certificate: Certificate) -> float:
    assert certificate.log_bound is not None
    return math.exp(certificate.log_bound[-1])


def test_every_shipped_model_is_small_and_loads() -> None:
    files = sorted(MODELS.glob("*.pt"))
    names = {"bkw2d.pt", "bkw2d-t05.pt", "bkw2d-flow-defect.pt", "bkw2d-t05-flow-defect.pt"}
    names |= {"bkw3d.pt", "bkw3d-flow-defect.pt", "truncated2d-t05.pt", "truncated2d-t05-flow-defect.pt"}
    names |= {f"{p}{end}" for p in ("anisotropic2d", "rosenbluth3d", "gaussian_mixture3d") for end in REFERENCE_FREE}
    assert {f.name for f in files} >= names
    for file in files:
        assert file.stat().st_size < 1_000_000
        assert load_run(str(file)).d == (3 if "3d" in file.name else 2)


def test_the_flow_defect_model_from_one_half_has_tight_a_posteriori_bounds() -> None:
    done = _judge("bkw2d-t05-flow-defect.pt")
    limits = {"stability_w2": 0.006, "stability_wp": 0.0035, "stability_l1": 0.01}
    for name, limit in limits.items():
        assert _bound(done[name]) <= limit
    for name in ("stability_w2", "stability_wp", "stability_wp2", "stability_kl", "stability_l1"):
        c = done[name]
        assert c.status is Status.CONDITIONAL
        assert not c.oracle
        assert c.measured is not None
        assert c.measured.lower is not None
        assert c.log_bound is not None
        assert (np.exp(c.log_bound) >= c.measured.lower.value).all()


def test_the_flow_defect_model_from_zero_resolves_the_core_and_is_a_diffeomorphism_by_construction() -> None:
    s1 = _judge("bkw2d-flow-defect.pt")["stability_w2"]
    assert _bound(s1) <= 0.03
    assert s1.verdicts["orientation"][1].outcome is Outcome.HOLDS
    assert s1.verdicts["proper"][1].outcome is Outcome.HOLDS


def test_the_papers_theorems_are_vacuous_with_a_finite_logarithm_from_one_half_on() -> None:
    names = ("thm1", "thm2", "thm5")
    done = _judge("bkw2d-t05.pt", certificates=names, quick=True)
    for name in names:
        c = done[name]
        assert c.status is Status.VACUOUS
        assert c.oracle
        assert c.log_bound is not None
        assert 100 < c.log_bound[-1] < math.inf


def test_the_command_line_reports_a_real_checkpoint_and_a_referee_can_recompute_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    model = str(MODELS / "bkw2d-t05-flow-defect.pt")
    arguments = ["report", model, "--problem", "bkw2d:t0=1/2", "--quick", "-o", str(folder)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "QUICK" in printed
    assert "stability_w2" in printed
    document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    keys = {"schema", "problem", "model", "options", "certificates", "ingredients", "measured", "hypotheses"}
    assert keys <= document.keys()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page) < 1_000_000
    assert "<script" not in page
    assert recompute.main([str(folder)]) == 0


def test_a_restart_of_a_longer_model_carries_its_earlier_error_into_every_bound() -> None:
    run = load_run(str(MODELS / "bkw2d-flow-defect.pt"))
    from theory.problems import parse_problem

    options = replace(SMALL, certificates=("stability_w2", "thm1_direct"))
    report = judge(run, parse_problem("bkw2d:t0=1/2"), options)
    s1 = next(c for c in report.certificates if c.id == "stability_w2")
    assert s1.log_bound is not None
    assert math.exp(s1.log_bound[0]) > 0
    assert report.ingredients["initial_error"].last() > 0
    assert report.warnings


def test_validation_exits_10_when_a_bound_lies_under_a_measured_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load_run(str(MODELS / "bkw2d-t05-flow-defect.pt"))
    honest = judge(run, problem_of(run), Options(times=2, samples=50, w1_samples=50, certificates=STABILITY))

    def planted(*_: object) -> Report:
        from dataclasses import replace

        worse = [replace(c, statuses=(Status.CONTRADICTED, *c.statuses[1:])) for c in honest.certificates[:1]]
        return replace(honest, certificates=tuple(worse))

    monkeypatch.setattr(validation, "report_of", planted)
    assert validation.main(["bkw2d", "--models", str(MODELS)]) == 10
    assert "CONTRADICTED" in capsys.readouterr().out
    assert validation.contradicted(honest) == []
    assert validation.main(["nonsense"]) == 2


def test_two_samples_of_one_law_are_reported_as_not_resolved_and_a_kde_is_mostly_noise() -> None:
    from tests.runs import exact_run
    from theory.problems import parse_problem

    problem = parse_problem("bkw2d:t0=1/2")
    report = judge(exact_run(problem), problem, Options(times=2, samples=300, w1_samples=200))
    assert all(words.startswith("not resolved") for words in report.numerics["sample_w1"].values())
    upper = report.measured["l2_kde"].upper
    assert upper is not None
    assert 0.1 < upper.last() < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bkw2d", "bkw3d", "gaussian_mixture3d", "truncated2d-t05"])
def test_s1_says_something_on_every_maxwell_benchmark(name: str) -> None:
    s1 = _judge(f"{name}-flow-defect.pt", quick=True)["stability_w2"]
    assert s1.status is Status.CONDITIONAL
    assert s1.log_trivial is not None
    assert s1.log_bound is not None
    assert s1.log_bound[-1] < s1.log_trivial[-1]
    assert not s1.oracle


@pytest.mark.slow
def test_s1_is_vacuous_on_a_long_coulomb_window_and_its_reference_gives_a_measured_error() -> None:
    run = load_run(str(MODELS / "anisotropic2d-flow-defect.pt"))
    report = certify_with_references(run, problem_of(run), replace(SMALL, certificates=("stability_w2",), quick=True))
    assert report.certificates[0].status is Status.VACUOUS
    upper = report.measured["w2"].upper
    assert upper is not None
    assert 0 < upper.last() < 0.01
