"""What is refused, left out and counted when a cell is measured, and what the efficiency figure carries on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runs import FunctionRun, exact_jets
from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array
from validation import __main__ as command
from validation import cell, efficiency, metrics, summary
from validation.cell import Task
from validation.methods import Outcome
from validation.plan import SETUPS, Size
from validation.truth import Truth, truth_of

SETUP = replace(SETUPS["bkw2d"], spec="bkw2d:t0=1/2", times=(0.5, 1.0))
MODELS = str(Path(__file__).parent.parent.parent / "models")


def _truth() -> Truth:
    problem = SETUP.problem()
    return truth_of(SETUP, problem, problem.initial.sample(50, np.random.default_rng(0)))


def _outcome(truth: Truth, **changes: Any) -> Outcome:
    x = truth.paths
    return replace(Outcome(x, None, None, x), **changes)


def _exactly(problem: Problem, points: Array) -> tuple[Array, Array]:
    exact: Any = problem.exact
    images = np.stack([exact.flow(t, points) for t in SETUP.times])
    return images, np.stack([exact.log_density(t, y) for t, y in zip(SETUP.times, images, strict=True)])


def _density_error(spoil: Any) -> tuple[dict[str, Any], dict[str, str]]:
    truth = _truth()

    def carried(points: Array) -> tuple[Array, Array]:
        images, logs = _exactly(truth.problem, points)
        spoil(points, images, logs)
        return images, logs

    found: dict[str, Any] = {}
    why: dict[str, str] = {}
    cell._density(_outcome(truth, carried=carried), truth, found, why)
    return found, why


def test_a_node_without_mass_thrown_into_the_bulk_does_not_decide_the_density_error() -> None:
    def throw(points: Array, images: Array, _: Array) -> None:
        images[1, np.linalg.norm(points, axis=1) > 6.5] = [1.0, 0.0]  # f/g there is e^20 or more

    found, why = _density_error(throw)
    assert not why
    assert max(found["l2_density"]) <= 1e-12


def test_a_density_that_is_wrong_where_there_is_mass_is_counted() -> None:
    def double(points: Array, _: Array, logs: Array) -> None:
        logs[1, np.linalg.norm(points, axis=1) < 1.0] += np.log(2)

    found, _ = _density_error(double)
    assert found["l2_density"][0] <= 1e-12
    assert 0.1 < found["l2_density"][1] < 1.0


@pytest.mark.parametrize("name", ["images", "logs"])
def test_a_density_that_is_missing_where_there_is_mass_is_refused(name: str) -> None:
    def lose(points: Array, images: Array, logs: Array) -> None:
        away = np.linalg.norm(points, axis=1) > 2.0
        (images if name == "images" else logs)[1, away] = np.nan

    found, why = _density_error(lose)
    assert "l2_density" not in found
    assert why["l2_density"].endswith("of f0 at t = 1: nodes run away")


def test_the_exact_flow_carries_the_exact_density_and_one_that_lags_does_not() -> None:
    truth = _truth()
    for delay, low, high in ((0.0, 0.0, 1e-10), (0.05, 1e-3, 0.1)):
        jets = exact_jets(truth.problem)
        run = FunctionRun(truth.problem, lambda t, v, d=delay, f=jets: f(max(t - d, 0.5), v))  # type: ignore[misc]
        found: dict[str, Any] = {}
        cell._density(_outcome(truth, run=run), truth, found, {})
        assert found["l2_density"][0] <= 1e-12
        assert low <= found["l2_density"][1] <= high


def test_a_fisher_divergence_is_refused_where_the_reference_has_no_score() -> None:
    truth = _truth()
    x = truth.paths
    own = np.stack([np.asarray(truth.score(k, x[k])) for k in range(2)])
    scores = [own[0].copy(), own[1] / 1.5]
    for lost, kept in ((1, True), (2, False)):  # 2 % and 4 % of fifty particles
        scores[1][:lost] = np.nan
        found: dict[str, Any] = {}
        why: dict[str, str] = {}
        cell._fisher(_outcome(truth, score=own), truth, scores, found, why)
        assert ("fisher_divergence" in found) == kept
        assert ("no score at 4% of the particles at t = 1" in why.get("fisher_divergence", "")) != kept
        if kept:
            assert found["fisher_divergence"] == pytest.approx([0.0, 0.25])
    found, why = {}, {}
    cell._fisher(_outcome(truth, score=own), truth, [None, None], found, why)
    assert why["fisher_divergence"] == truth.method


def test_a_cell_of_a_problem_without_exact_solution_keeps_the_reference_s_score_at_its_own_particles(
    tmp_path: Path,
) -> None:
    task = Task("rosenbluth3d", "flow-defect", Size(30, 60), 30, 0, True, MODELS)
    record = cell.run(task, tmp_path, lambda *_: None)
    with np.load(tmp_path / "rosenbluth3d" / "flow-defect.npz") as stored:
        x, own, kept = (stored[name] for name in ("x", "score", "score_reference"))
        truth = truth_of(task.setup, task.setup.problem(), stored["starts"])
    assert np.abs(x - truth.paths).max() > 1e-4  # so that the two could be told apart
    for k in range(len(x)):
        np.testing.assert_allclose(kept[k], np.asarray(truth.score(k, x[k])), rtol=1e-10, atol=1e-12)
        expected = metrics.fisher_divergence(own[k], kept[k])
        assert record["metrics"]["fisher_divergence"][k] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_near_its_own_error_a_reference_has_no_score() -> None:
    problem = parse_problem("bkw2d:t0=1/2,T=1").without_exact_solution()
    truth = truth_of(SETUP, problem, problem.initial.sample(5, np.random.default_rng(3)))
    assert truth.reference is not None
    v = np.array([[1.0, 0.5], [3.5, 0.0]])
    here = truth.density(1, v)
    for share, known in ((40.0, True), (20.0, False)):  # 30 times its error is asked for
        rough = replace(truth.reference, density_error=np.full(2, here[1] / share))  # type: ignore[type-var]
        found = dataclasses.replace(truth, reference=rough).score(1, v)
        assert found is not None
        assert np.isfinite(found[0]).all()
        assert np.isfinite(found[1]).all() == known


def test_the_density_error_of_a_table_is_blob_s_own_where_there_is_no_other() -> None:
    record = {"metrics": {"l2_density": [0.5, 0.25], "l2_own": [0.2, 0.1]}}
    assert summary.own_density(record) == 0.25
    assert summary.own_density({"metrics": {"l2_own": [0.2, 0.1]}}) == 0.1
    assert summary.own_density({"metrics": {}}) is None


@pytest.mark.parametrize(  # log 1024/log 256 = 10/8
    ("spec", "t", "ratio"), [("bkw2d", 5.0, 0.5 * (10 / 8) ** 0.5), ("bkw3d", 6.0, 4 ** (-1 / 3))]
)
def test_samples_are_carried_on_at_their_rate(
    spec: str, t: float, ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficiency, "SAMPLES", (64, 256))
    monkeypatch.setattr(efficiency, "RANGE", (50.0, 1024.0))
    sizes, apart = efficiency.sampling(parse_problem(spec), t, np.random.default_rng(0))
    np.testing.assert_array_equal(sizes, [64, 256, 1024])
    assert apart[2] / apart[1] == pytest.approx(ratio, rel=1e-12)
    assert 0.3 < apart[1] / apart[0] < 0.85


def test_no_particles_are_nearer_than_the_published_floor() -> None:
    # d/(d+1) (N w_d sup f)^(-1/d): BKW at the end of its window
    exact: Any = SETUPS["bkw3d"].problem().exact
    expected = 0.75 * (1000 * 4 * np.pi / 3 * exact.sup_density(6.0)) ** (-1 / 3)
    assert efficiency.particle_floor(SETUPS["bkw3d"], 1000) == pytest.approx(expected)
    assert efficiency.particle_floor(SETUPS["anisotropic2d"], 1000) is None


def test_the_efficiency_figure_has_a_mark_for_each_method_and_names_what_its_lines_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficiency, "SAMPLES", (30, 60))
    tasks = [Task("bkw2d", m, Size(40, 60), 40, 0, True, MODELS) for m in ("flow-defect", "sbp", "blob")]
    for task, w1 in zip(tasks, (0.01, 0.02, None), strict=True):
        record = {"particles": 1000, "metrics": {"w1": [0.0, w1]}, "floor": {}, "settings": task.settings()}
        cell.write(tmp_path, task, record, {"x": np.zeros(1)})
    text = efficiency.figure(tmp_path, tasks, 0)
    for label in ("flow-defect", "SBP", "no N points are nearer to the density", "two exact samples of N"):
        assert label in text
    assert "blob" not in text  # without a number there is no mark


def test_what_is_published_are_tables_captions_and_pictures(tmp_path: Path) -> None:
    for name in ("summary.md", "errors.csv", "figures/figures.md", "figures/figure04.png", "figures/figure04.svg"):
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text(json.dumps(name))
    command.publish(tmp_path / "from", tmp_path / "to")
    found = {str(p.relative_to(tmp_path / "to")) for p in (tmp_path / "to").rglob("*") if p.is_file()}
    assert found == {"summary.md", "errors.csv", "figures/figures.md", "figures/figure04.png"}
