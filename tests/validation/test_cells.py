"""The queue of cells: what is finished is kept, what fails is named, what is missing is said to be missing."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from validation import __main__ as command
from validation import cell, cells, efficiency, summary
from validation.cell import Task
from validation.plan import METHODS, REFERENCE, SETUPS, Size

MODELS = Path(__file__).parent.parent.parent / "models"
TINY = Size(40, 60, slower=25.0)


def _task(method: str, **changes: Any) -> Task:
    return dataclasses.replace(Task("bkw2d", method, TINY, 40, 0, True, str(MODELS)), **changes)


def _record(task: Task, **changes: Any) -> dict[str, Any]:
    m = len(task.setup.times)
    return {
        "problem": task.setup.spec,
        "method": task.method,
        "title": METHODS[task.method],
        "particles": 40,
        "kde_particles": 60,
        "steps": None,
        "wall_seconds": 1.25,
        "cpu_seconds": 1.0,
        "peak_memory_mb": 200.0,
        "baseline_memory_mb": 150.0,
        "training_seconds": 100.0,
        "seed": 0,
        "quick": task.quick,
        "settings": task.settings(),
        "times": list(task.setup.times),
        "metrics": {"l2_kde": [0.5] * m, "trajectory": [0.0] * (m - 1) + [0.25], "energy": [2.0] * (m - 1) + [2.5]},
        "floor": {"l2_kde": [0.125] * m},
        "not_available": {"w1": "for want of time"},
        "versions": {},
        **changes,
    }


class Stage:
    """Starts stand-ins for workers: small scripts that write a record, fail, or die."""

    def __init__(self, scripts: dict[str, str] | None = None) -> None:
        self.scripts, self.started = scripts or {}, [""][:0]

    def __call__(self, task: Task, folder: Path) -> cells.Worker:
        self.started.append(task.method)
        script = self.scripts.get(task.method, "")
        if not script:
            cell.write(folder, task, _record(task), {"x": np.zeros((7, 40, 2))})
        elif script == "fails":
            cell.write(folder, task, cell.failure(task, "ValueError: no luck"), None)
        code = {"": "pass", "fails": "raise SystemExit(1)", "dies": "raise SystemExit(9)"}[script]
        (folder / task.problem).mkdir(parents=True, exist_ok=True)
        log = folder / task.problem / f"{task.method}.log"
        with log.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=file, stderr=file)
        return cells.Worker(task, process, log)


def _outcomes(states: list[cells.State]) -> dict[str, str]:
    return {s.task.method: s.outcome for s in states}


def test_finished_cells_are_kept_until_a_setting_or_the_model_changes(tmp_path: Path) -> None:
    tasks = [_task("pinn-particle"), _task("sbp")]
    stage, stream = Stage(), io.StringIO()
    first, complete = cells.make(tasks, tmp_path, begin=stage, stream=stream)
    assert complete
    assert _outcomes(first) == {"pinn-particle": "done", "sbp": "done"}
    assert "[2/2]" in stream.getvalue()
    again, _ = cells.make(tasks, tmp_path, begin=stage, stream=stream)
    assert _outcomes(again) == {"pinn-particle": "kept", "sbp": "kept"}
    assert len(stage.started) == 2
    other, _ = cells.make([_task("sbp", seed=1)], tmp_path, begin=stage, stream=stream)
    assert _outcomes(other) == {"sbp": "done"}
    redone, _ = cells.make([_task("pinn-particle")], tmp_path, begin=stage, redo=True, stream=stream)
    assert _outcomes(redone) == {"pinn-particle": "done"}
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bkw2d.pt").write_bytes(b"another model")
    moved, _ = cells.make(
        [_task("pinn-particle", models=str(tmp_path / "models"))], tmp_path, begin=stage, stream=stream
    )
    assert _outcomes(moved) == {"pinn-particle": "done"}
    (tmp_path / "bkw2d" / "pinn-particle.npz").unlink()
    assert not cells.finished(tmp_path, _task("pinn-particle"), _task("pinn-particle").settings())


def test_a_failing_or_dying_cell_is_recorded_and_stops_no_other(tmp_path: Path) -> None:
    stage = Stage({"sbp": "fails", "blob": "dies"})
    tasks = [_task(m) for m in ("sbp", "blob", "pinn-particle")]
    states, complete = cells.make(tasks, tmp_path, jobs=1, begin=stage, stream=io.StringIO())
    assert complete
    assert _outcomes(states) == {"sbp": "failed", "blob": "failed", "pinn-particle": "done"}
    assert states[0].reason == "ValueError: no luck"
    assert "exit code 9" in states[1].reason
    text = summary.document(tmp_path, ["bkw2d"], list(METHODS), "command")
    assert "failed: ValueError: no luck" in text
    # a failed cell is not finished: the next run tries it again
    later, _ = cells.make(tasks, tmp_path, begin=Stage(), stream=io.StringIO())
    assert _outcomes(later) == {"sbp": "done", "blob": "done", "pinn-particle": "kept"}


def test_a_cell_without_a_model_is_not_run_and_says_so(tmp_path: Path) -> None:
    states, _ = cells.make([_task("flow-defect", models=str(tmp_path))], tmp_path, begin=Stage(), stream=io.StringIO())
    assert _outcomes(states) == {"flow-defect": "not run"}
    assert "not run: no model bkw2d-flow-defect.pt" in summary.document(tmp_path, ["bkw2d"], list(METHODS), "command")


def test_an_interrupt_keeps_what_is_finished_and_ends_the_rest(tmp_path: Path) -> None:
    stage = Stage()

    def begin(task: Task, folder: Path) -> cells.Worker:
        if stage.started:
            raise KeyboardInterrupt
        worker = stage(task, folder)
        worker.process.wait()
        return worker

    tasks = [_task("sbp"), _task("pinn-particle")]
    states, complete = cells.make(tasks, tmp_path, jobs=1, begin=begin, stream=io.StringIO())
    assert not complete
    assert sorted(_outcomes(states).values()) == ["done", "interrupted"]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_running_workers_are_ended_by_an_interrupt(
    which: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def begin(task: Task, folder: Path) -> cells.Worker:
        (folder / task.problem).mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        started.append(process)
        return cells.Worker(task, process, folder / task.problem / "x.log")

    def interrupted(_: float) -> None:
        os.kill(os.getpid(), which)

    monkeypatch.setattr(cells.time, "sleep", interrupted)
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    try:
        states, complete = cells.make([_task("sbp")], tmp_path, begin=begin, stream=io.StringIO())
    finally:
        signal.signal(signal.SIGINT, before)
    assert not complete
    assert _outcomes(states) == {"sbp": "interrupted"}
    assert started[0].returncode not in (None, 0)
    assert time.monotonic() - began < 30


def test_tables_show_the_floor_beside_the_error_and_missing_cells_as_not_run(tmp_path: Path) -> None:
    task = _task("pinn-particle")
    cell.write(tmp_path, task, _record(task), {"x": np.zeros((7, 40, 2))})
    text = summary.document(tmp_path, ["bkw2d"], list(METHODS), "command")
    assert "0.5 (0.125)" in text
    assert text.count("| not run |") == len(METHODS) - 2
    assert "for want of time" in text
    assert "QUICK" in text
    rows = list(csv.DictReader(io.StringIO(summary.errors_csv(tmp_path))))
    assert {r["metric"] for r in rows} == {"l2_kde", "trajectory", "energy"}
    assert [float(r["floor"]) for r in rows if r["metric"] == "l2_kde"] == [0.125] * 7
    assert {r["quick"] for r in rows} == {"QUICK"}


def test_numbers_that_are_not_finite_become_null_and_numbers_shown_are_rounded_up(tmp_path: Path) -> None:
    task = _task("blob")
    cell.write(tmp_path, task, _record(task, metrics={"w1": [float("nan"), 1.0]}), {"x": np.zeros(1)})
    stored = json.loads((tmp_path / "bkw2d" / "blob.json").read_text(encoding="utf-8"))
    assert stored["metrics"]["w1"] == [None, 1.0]
    assert summary.number(0.12341) == "0.124"
    assert summary.number(None) == summary.number(float("nan")) == "-"


@pytest.mark.parametrize("method", [REFERENCE, "flow-defect", "blob"])
def test_a_cell_holds_what_the_figures_read(method: str, tmp_path: Path) -> None:
    task = _task(method, size=Size(16**2, 60, slower=25.0))
    cell.run(task, tmp_path, lambda *_: None)
    assert cells.finished(tmp_path, task, task.settings())
    record = json.loads((tmp_path / "bkw2d" / f"{method}.json").read_text(encoding="utf-8"))
    with np.load(tmp_path / "bkw2d" / f"{method}.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    m, g = 7, 100
    assert arrays["x"].shape == arrays["score"].shape == arrays["drift"].shape == (m, 40, 2)
    assert arrays["axis"].shape == (g,)
    names = ["slice_x", "slice_y", "marginal"] + (["slice_x_cv", "slice_y_cv"] if method == "flow-defect" else [])
    for name in names:
        assert arrays[name].shape == (m, g)
    step = arrays["axis"][1] - arrays["axis"][0]
    np.testing.assert_allclose(arrays["marginal"].sum(axis=1) * step, 1.0, atol=0.02)
    if method == "flow-defect":
        exact = SETUPS["bkw2d"].problem().exact
        assert exact is not None
        line = np.stack([arrays["axis"], np.zeros(g)], axis=1)
        inner = np.abs(arrays["axis"]) < 3
        np.testing.assert_allclose(
            arrays["slice_x_cv"][-1][inner], np.exp(exact.log_density(5.0, line[inner])), atol=0.03 * 0.16
        )
    if method != REFERENCE:
        for name in ("l2_kde", "trajectory", "energy", "momentum", "fisher_divergence", "entropy_rate", "w1", "w2"):
            assert len(record["metrics"][name]) == m
        assert ("l2_density" in record["metrics"]) != ("l2_density" in record["not_available"])
        assert record["peak_memory_mb"] >= record["baseline_memory_mb"] > 10
        assert set(record["floor"]) >= {"l2_kde", "w1", "w2"}
    else:
        assert 0 < record["floor"]["trajectory"][-1] < 0.5
        assert record["metrics"]["entropy_rate"][0] == pytest.approx(-0.125, rel=1e-3)


@pytest.mark.parametrize(
    ("outcome", "complete", "code"),
    [("done", True, 0), ("not run", True, 0), ("failed", True, 1), ("done", False, 130)],
)
def test_the_command_writes_its_tables_and_says_by_its_exit_code_what_became_of_the_cells(
    outcome: str, complete: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _task("flow-defect")

    def make(tasks: list[Task], folder: Path, **_: Any) -> tuple[list[cells.State], bool]:
        assert [t.method for t in tasks] == ["flow-defect", REFERENCE]
        cell.write(folder, task, _record(task), {"x": np.zeros(1)})
        return [cells.State(task, outcome, "a reason")], complete

    monkeypatch.setattr(cells, "make", make)
    given = ["bkw2d", "--methods", "flow-defect", "-o", str(tmp_path), "--no-figures"]
    public = tmp_path / "public"
    assert command.main([*given, "--publish", str(public)]) == code
    assert complete == (public / "summary.md").is_file() == (public / "errors.csv").is_file()
    assert "0.5 (0.125)" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert (tmp_path / "errors.csv").is_file()


def test_the_task_survives_its_way_to_the_worker() -> None:
    task = _task("sbp")
    assert Task.from_json(task.to_json()) == task


def test_the_efficiency_table_holds_the_floor_of_any_cloud_beside_the_errors(tmp_path: Path) -> None:
    tasks = [_task(m) for m in ("flow-defect", "sbp")]
    for task in tasks:
        cell.write(tmp_path, task, _record(task), {"x": np.random.default_rng(0).standard_normal((7, 40, 2))})
    text = efficiency.document(tmp_path, tasks, "command")
    assert "QUICK" in text
    # 2/3 (N pi sup f)^(-1/2) with sup f at t = 5, N = 40; rounded down
    exact: Any = SETUPS["bkw2d"].problem().exact
    floor = 2 / 3 * (40 * np.pi * exact.sup_density(5.0)) ** -0.5
    assert f"| {np.floor(floor * 1000) / 1000:.3g} |" in text


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["bkw2"], "unknown problem 'bkw2'; did you mean"),
        (["--methods", "spb"], "unknown method 'spb'; did you mean"),
        (["--jobs", "0"], "--jobs"),
        (["--quik"], "unknown option"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_with_one_line(
    arguments: list[str], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 1
    assert cause.split("; ")[0] in lines[0]
