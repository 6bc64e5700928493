"""The command line alone: its neighbours (certify.api, certify.report, solver.train) are stand-ins."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certify import catalogue, compare, console, doctor, explain, text
from certify.arguments import RIGOR_LABELS
from certify.cli import COMMANDS, main
from certify.gates import GateResult, Gates, Outcome, at_most, contradicted, evaluate, exit_code, log_ratio
from certify.options import PARTICLE_RATES, Options
from certify.progress import Progress
from certify.results import Bracket, Certificate, Measured, Report, Status
from theory import errors
from theory.errors import CODES, UserError
from theory.provenance import Estimate, Rigor, Side
from theory.statement import evaluated
from theory.theorem import Outcome as Verdicts
from theory.theorems import THEOREMS

ROOT = Path(__file__).resolve().parent.parent
NAN, INF = math.nan, math.inf
DOCUMENTED = set(explain.EXIT_MEANING)
HOSTILE = "\x1b[31mred\x1b[0m\r\nE999 \u202egnp.exe\u2066 \x00\x07" + "x" * 5000


def certificate(
    name: str = "stability_w2",
    status: Status = Status.CONDITIONAL,
    *,
    bound: float | None = 0.01,
    lower: float | None = 0.001,
    upper: float | None = 0.002,
    rigor: Rigor = Rigor.NUMERICAL,
    statuses: tuple[Status, ...] | None = None,
    log_bound: float | None = None,
) -> Certificate:
    times = np.array([0.0, 5.0])

    def estimate(value: float | None, side: Side) -> Estimate | None:
        return None if value is None else Estimate(np.array([0.0, value]), side, Rigor.NUMERICAL, "made up")

    if bound is not None and log_bound is None:
        log_bound = math.log(bound) if bound > 0 else -INF
    return Certificate(
        theorem=THEOREMS[name],
        times=times,
        log_bound=None if log_bound is None else np.array([-INF, log_bound]),
        log_terms={},
        status=status,
        statuses=statuses or (status, status),
        rigor=rigor,
        oracle=False,
        weakest="defect",
        delta=0.0,
        estimates={},
        verdicts={},
        valid_until=INF,
        log_trivial=None,
        measured=Measured("w2", "W2", estimate(lower, Side.LOWER), estimate(upper, Side.UPPER), "made up"),
        reasons=("because",),
        missing=() if bound is not None else ("defect",),
    )


def report_of(*certificates: Certificate, incomplete: bool = False) -> Report:
    return Report(
        problem={"spec": "bkw2d:t0=0,T=5", "id": "bkw2d"},
        model={"name": "model", "digest": "abc"},
        options={},
        times=np.array([0.0, 5.0]),
        nodes=np.array([2.5]),
        certificates=certificates,
        measured={},
        ingredients={},
        verdicts={},
        arrays={},
        numerics={},
        environment={"torch": "2.13"},
        incomplete=incomplete,
    )


class FakeRun:
    name, d, t0, T = "model", 2, Fraction(1, 2), Fraction(5)
    problem: Any = "bkw2d"

    def describe(self) -> Mapping[str, Any]:
        return {"problem": self.problem}


class World:
    """The neighbours of the command line, and what it asked of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.report = report_of(certificate())
        self.run = FakeRun()
        self.options = Options()
        self.problem: Any = None
        self.settings: dict[str, Any] = {}
        self.failures: dict[str, BaseException] = {}
        self.steps = (10, 10)
        self.value = 0.01

    def _do(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failures:
            raise self.failures[name]

    def load_run(self, model: str, problem: Any = None) -> FakeRun:
        del model, problem
        self._do("load_run")
        return self.run

    def certify(self, run: Any, problem: Any, options: Options, progress: Callable[[str, int, int], None]) -> Report:
        del run
        progress("defect", 1, 2)
        self.problem, self.options = problem, options
        self._do("certify")
        return self.report

    def model_summary(self, path: str) -> Mapping[str, Any]:
        del path
        self._do("model_summary")
        return {"name": HOSTILE, "t0": Fraction(1, 2), "nets": {"flow": [1, 2.5, NAN]}, HOSTILE: None}

    def convert(self, state_dict: str, problem: Any, architecture: Mapping[str, Any], output: Path) -> Path:
        del state_dict
        self._do("convert")
        self.problem, self.settings = problem, dict(architecture)
        return output

    def train(
        self,
        method: str,
        problem: Any,
        output: Path,
        settings: Mapping[str, str],
        *,
        seed: int,
        seconds: float | None,
        resume: bool,
        progress: Callable[[str, int, int, Mapping[str, float]], None],
    ) -> Path:
        self.settings = {"method": method, "seed": seed, "seconds": seconds, "resume": resume, **settings}
        self.problem = problem
        progress("train", *self.steps, {"loss": 0.5, HOSTILE: NAN})
        self._do("train")
        return output

    def content(self, report: Report) -> dict[str, Any]:
        rows = [
            {"id": c.id, "status": c.status.name, "rigor": c.rigor.label, "bound": [0.0, self.value]}
            for c in report.certificates
        ]
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self.options).items()}
        model, problem = dict(report.model), dict(report.problem)
        return {"problem": problem, "model": model, "options": options, "certificates": rows, "incomplete": False}

    def write(self, report: Report, directory: Path, *, html: bool = True) -> dict[str, Path]:
        self._do("write")
        directory.mkdir(parents=True, exist_ok=True)
        written = {"json": directory / "report.json"}
        written["json"].write_text(json.dumps(self.content(report)), encoding="utf-8")
        if html:
            written["html"] = directory / "report.html"
            written["html"].write_text("<p>", encoding="utf-8")
        return written

    def table(
        self, report: Report, *, width: int = 80, color: bool = False, written: Mapping[str, Path] | None = None
    ) -> str:
        assert (width, color) == (80, False)
        return f"TABLE {len(report.certificates)} {(written or {})['json'].parent}\n"

    def modules(self) -> dict[str, types.ModuleType]:
        def junit(report: Report, gates: Sequence[GateResult] = ()) -> str:
            del report
            return " ".join(f"{g.name} on {g.certificate}:{g.outcome.value}" for g in gates)

        parts: dict[str, dict[str, Any]] = {
            "certify.api": {n: getattr(self, n) for n in ("load_run", "certify", "model_summary", "convert")},
            "certify.report": {"write": self.write, "__path__": []},
            "certify.report.terminal": {"table": self.table},
            "certify.report.junit": {"junit": junit},
            "solver.train": {"METHODS": {"pinn-pm": 1, "flow-defect": 2}, "train": self.train},
        }
        modules = {}
        for name, content in parts.items():
            modules[name] = types.ModuleType(name)
            vars(modules[name]).update(content)
        return modules


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CERTIFY_DEBUG", raising=False)
    return made


def run(*arguments: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        code = main(arguments)
    return code, stdout.getvalue(), stderr.getvalue()


def refused(*arguments: str) -> str:
    """Run a command that must be refused; its one line without the code, which is checked."""
    code, stdout, stderr = run(*arguments)
    assert stdout == ""
    assert stderr.count("\n") == 1, stderr
    assert stderr.isprintable() or stderr.rstrip("\n").isprintable()
    name = stderr.removeprefix("certify: error ").partition(":")[0]
    assert code == CODES[name][0]
    assert code != errors.EXIT_INTERNAL
    return stderr.rstrip("\n")


JUDGE = ("report", "model.pt", "--problem", "bkw2d")


# --- exit codes and gates ---------------------------------------------------------------------------------------------


def test_a_report_without_gates_exits_0_whatever_its_statuses(world: World) -> None:
    world.report = report_of(certificate("thm1", Status.VOID), certificate())
    code, stdout, stderr = run(*JUDGE)
    assert (code, stderr) == (0, "")
    assert stdout == f"TABLE 2 {Path('reports/model-bkw2d')}\n"
    assert Path("reports/model-bkw2d/report.html").exists()


@pytest.mark.parametrize(
    ("certificates", "arguments", "expected"),
    [
        ([certificate()], ["--max-bound", "stability_w2=0.02"], 0),
        ([certificate()], ["--max-bound", "S1=0.02"], 0),
        ([certificate()], ["--max-bound", "stability_w2=0.009"], 11),
        ([certificate()], ["--max-bound", "stability_w2=0.02", "--max-bound", "S1=0.009"], 11),
        ([certificate()], ["--max-ratio", "stability_w2=11"], 0),
        ([certificate()], ["--max-ratio", "stability_w2=7"], 11),
        ([certificate()], ["--max-ratio", "stability_w2=4"], 11),
        ([certificate()], ["--max-bound", "thm1=1"], 11),
        ([certificate()], ["--min-rigor", "numerical"], 0),
        ([certificate()], ["--min-rigor", "VERIFIED"], 11),
        ([certificate()], ["--strict"], 0),
        ([certificate("thm1", Status.VOID), certificate()], ["--strict"], 12),
        ([certificate("thm1", Status.VOID), certificate()], ["--strict", "--max-bound", "S1=1e-9"], 11),
        ([certificate("thm1", Status.CONTRADICTED)], ["--strict", "--max-bound", "S1=1e-9"], 10),
        ([certificate("thm1", statuses=(Status.CONTRADICTED, Status.CERTIFIED))], [], 10),
        ([certificate(status=Status.VACUOUS)], ["--strict"], 12),
        ([certificate(status=Status.INDICATIVE)], ["--strict"], 12),
        ([certificate(status=Status.CERTIFIED)], ["--strict"], 0),
        ([certificate()], ["--strict", "--certificates", "S1,thm5"], 12),
        ([], ["--strict"], 12),
        ([], ["--min-rigor", "assumed"], 11),
        ([], [], 0),
    ],
)
def test_exit_codes_of_verdicts_and_the_report_is_written_for_each(
    world: World, certificates: list[Certificate], arguments: list[str], expected: int
) -> None:
    world.report = report_of(*certificates)
    for command in ("report", "check"):
        code, stdout, stderr = run(command, *JUDGE[1:], *arguments, "-o", command)
        assert code == expected
        assert Path(command, "report.json").exists()
        assert Path(command, "report.html").exists() == (command == "report")
        assert stdout.startswith("TABLE")
        assert (stderr == "") == (expected == 0)
        assert stderr.count("\n") <= 1


@pytest.mark.parametrize(
    ("made", "limit", "expected"),
    [
        (certificate(log_bound=NAN), 1.0, Outcome.INCONCLUSIVE),
        (certificate(bound=None), 1.0, Outcome.INCONCLUSIVE),
        (certificate(log_bound=INF), 1.0, Outcome.FAILED),
        (certificate(log_bound=1e4), 1.0, Outcome.FAILED),
        (certificate(bound=0.0), 1e-300, Outcome.PASSED),
        (certificate(bound=0.01), 0.01, Outcome.PASSED),
        (certificate(bound=0.01), NAN, Outcome.INCONCLUSIVE),
        (certificate(bound=0.01), -1.0, Outcome.INCONCLUSIVE),
        (certificate(status=Status.VOID), 1.0, Outcome.INCONCLUSIVE),
        (certificate(status=Status.CONTRADICTED), 1.0, Outcome.INCONCLUSIVE),
        (certificate(statuses=(Status.CONTRADICTED, Status.CERTIFIED)), 1.0, Outcome.INCONCLUSIVE),
        (certificate(status=Status.INDICATIVE), 1.0, Outcome.INCONCLUSIVE),
        (certificate(status=Status.INDICATIVE), 0.001, Outcome.FAILED),
        (certificate(status=Status.VACUOUS), 1.0, Outcome.PASSED),
        (replace(certificate(), valid_until=1.0), 1.0, Outcome.INCONCLUSIVE),
        (replace(certificate(), valid_until=NAN), 1.0, Outcome.INCONCLUSIVE),
        (replace(certificate(), log_bound=np.array([])), 1.0, Outcome.INCONCLUSIVE),
    ],
)
def test_a_bound_gate_passes_only_a_valid_bound_below_its_limit(
    made: Certificate, limit: float, expected: Outcome
) -> None:
    (result,) = evaluate(report_of(made), Gates(max_bound=((made.id, limit),)))
    assert result.outcome is expected
    assert result.reason
    assert result.line().isprintable()


@pytest.mark.parametrize(
    ("made", "limit", "expected"),
    [
        (certificate(), 10.1, Outcome.PASSED),
        (certificate(), 9.9, Outcome.INCONCLUSIVE),
        (certificate(), 4.9, Outcome.FAILED),
        (certificate(lower=None), 100.0, Outcome.INCONCLUSIVE),
        (certificate(lower=None), 4.9, Outcome.FAILED),
        (certificate(upper=None), 10.1, Outcome.PASSED),
        (certificate(lower=0.0), 100.0, Outcome.INCONCLUSIVE),
        (certificate(lower=0.0, upper=0.0, bound=0.0), 100.0, Outcome.INCONCLUSIVE),
        (certificate(lower=0.0, upper=0.0), 100.0, Outcome.FAILED),
        (replace(certificate(), measured=None), 100.0, Outcome.INCONCLUSIVE),
        (certificate(status=Status.INDICATIVE), 10.1, Outcome.INCONCLUSIVE),
        (certificate(status=Status.VOID), 10.1, Outcome.INCONCLUSIVE),
        (certificate(log_bound=NAN), 10.1, Outcome.INCONCLUSIVE),
        (certificate(log_bound=1e5), 10.1, Outcome.FAILED),
    ],
)
def test_a_ratio_gate_needs_the_whole_interval_below_its_limit(
    made: Certificate, limit: float, expected: Outcome
) -> None:
    (result,) = evaluate(report_of(made), Gates(max_ratio=((made.id, limit),)))
    assert result.outcome is expected


@given(value=st.floats(), limit=st.floats())
def test_no_comparison_passes_unless_it_is_true(value: float, limit: float) -> None:
    assert (at_most(value, limit) is Outcome.PASSED) == (value <= limit)
    if math.isnan(value) or math.isnan(limit):
        assert at_most(value, limit) is Outcome.INCONCLUSIVE


@given(
    status=st.sampled_from(Status),
    log_bound=st.floats(),
    lower=st.none() | st.floats(0, 1e300),
    upper=st.none() | st.floats(0),
    limit=st.floats(),
    rigor=st.sampled_from(Rigor),
)
def test_whatever_passes_is_a_sound_bound_that_keeps_the_limit(
    status: Status, log_bound: float, lower: float | None, upper: float | None, limit: float, rigor: Rigor
) -> None:
    made = certificate(status=status, log_bound=log_bound, lower=lower, upper=upper, rigor=rigor)
    asked = Gates(((made.id, limit),), ((made.id, limit),), Rigor.NUMERICAL, True)
    results = {r.kind: r for r in evaluate(report_of(made), asked)}
    passed = {kind for kind, r in results.items() if r.outcome is Outcome.PASSED}
    if passed & {"max-bound", "max-ratio", "min-rigor"}:
        assert status not in (Status.VOID, Status.CONTRADICTED)
    if "max-bound" in passed:
        assert log_bound <= math.log(limit)
        assert status is not Status.INDICATIVE
    if "max-ratio" in passed:
        assert log_ratio(made)[1] <= math.log(limit)
    if "strict" in passed:
        assert status in (Status.CERTIFIED, Status.CONDITIONAL)
    expected = 0 if len(passed) == 4 else 12 if set(results) - passed == {"strict"} else 11
    code = exit_code(report_of(made), list(results.values()))
    assert code == (10 if contradicted(made) else expected)


def test_a_gate_on_what_certificates_leaves_out_is_refused(world: World) -> None:
    assert "leaves out" in refused(*JUDGE, "--certificates", "thm1", "--max-bound", "S1=1")
    assert "several certificates" in refused(*JUDGE, "--max-bound", "S2=1")
    assert world.calls == []


def test_a_lower_end_above_the_upper_one_exits_10(world: World) -> None:
    def two_sided(lower: list[float], side: Side = Side.LOWER) -> Bracket:
        low = Estimate(np.array(lower), side, Rigor.NUMERICAL, "made up")
        return Bracket("w1", "W1", low, np.array([0.0, 0.01]), "stability_wp", Status.CONDITIONAL)

    world.report = replace(world.report, brackets=(two_sided([0.0, 0.009]),))
    assert run("check", *JUDGE[1:])[0] == 0
    world.report = replace(world.report, brackets=(two_sided([0.0, 1.0], Side.UPPER),))  # claims nothing
    assert run("check", *JUDGE[1:], "--overwrite")[0] == 0
    world.report = replace(world.report, brackets=(two_sided([0.0, 0.011]),))
    code, _, stderr = run("check", *JUDGE[1:], "--overwrite")
    assert code == 10
    assert "w1 (lower above upper)" in stderr


def test_junit_holds_every_gate_and_inconclusive_is_a_failure(world: World) -> None:
    world.report = report_of(certificate("thm1", Status.VOID), certificate())
    arguments = ["--max-bound", "S1=0.02", "--max-bound", "thm1=1", "--strict", "--junit", "out/j.xml"]
    code, _, _ = run("check", *JUDGE[1:], *arguments)
    assert code == 11
    written = Path("out/j.xml").read_text(encoding="utf-8")
    assert "--strict on thm1:inconclusive" in written
    assert "--max-bound stability_w2=0.02 on stability_w2:passed" in written
    assert "--max-bound thm1=1 on thm1:inconclusive" in written
    assert "E302" in refused("check", *JUDGE[1:], "--junit", "out/j.xml", "-o", "other")


def test_json_output_is_the_report_with_gates_and_exit_code(world: World) -> None:
    code, stdout, _ = run("check", *JUDGE[1:], "--json", "--max-bound", "S1=0.001")
    content = json.loads(stdout)
    assert code == content["exit_code"] == 11
    assert content["certificates"][0]["id"] == "stability_w2"
    assert content["gates"][0] | {"outcome": "failed", "kind": "max-bound"} == content["gates"][0]
    assert content["model"]["source"] == "model.pt"
    assert world.calls == ["load_run", "certify", "write"]


# --- options ----------------------------------------------------------------------------------------------------------


def test_options_reach_certify(world: World) -> None:
    arguments = (
        "--certificates S2,thm1 --times 7 --samples 11 --w1-samples 13 --confidence 0.9 --seed 3 --radius 5.5 --tail 4"
    )
    assert run(*JUDGE, *arguments.split(), "--particle-rate", "Explicit", "--quick")[0] == 0
    expected = Options(("stability_wp", "stability_wp2", "thm1"), 7, 11, 13, 0.9, 3, 5.5, 4.0, "explicit", quick=True)
    assert world.options == expected


@pytest.mark.parametrize("command", ["report", "check"])
def test_only_known_particle_rates_are_taken(world: World, command: str) -> None:
    code, _, stderr = run(command, *JUDGE[1:], "--particle-rate", "papper")
    assert code == 2
    assert "Did you mean 'paper'?" in stderr
    assert world.calls == []
    for rate in PARTICLE_RATES:
        assert run(command, *JUDGE[1:], "--particle-rate", rate, "--overwrite")[0] == 0
        assert world.options.particle_rate == rate


def test_without_options_the_defaults_of_options_are_used(world: World) -> None:
    assert run(*JUDGE)[0] == 0
    assert world.options == Options()


def test_the_default_problem_is_the_models_own_on_its_own_window(world: World) -> None:
    assert run("report", "dir/my model.v2.pt")[0] == 0
    assert world.problem.spec == "bkw2d:t0=1/2,T=5"
    assert Path("reports/my-model.v2-bkw2d/report.json").exists()
    world.run.problem = "bkw2d:t0=1,T=2"
    assert run("report", "package.module:factory")[0] == 0
    assert world.problem.spec == "bkw2d:t0=1,T=2"
    assert Path("reports/package.module-factory-bkw2d/report.json").exists()
    for unknown in (None, "", 3):
        world.run.problem = unknown
        assert "--problem" in refused("report", "other.pt")
    world.run.problem = HOSTILE
    assert "E201" in refused("report", "other.pt")
    assert world.calls.count("certify") == 2


BAD_VALUES = ["nan", "inf", "-inf", "-1", "", " ", "1e999", "١٢", "1_0", "0x10", "1,5", HOSTILE, "--", "1" * 5000]


@pytest.mark.parametrize("option", ["--times", "--samples", "--w1-samples", "--seed", "--radius", "--confidence"])
@pytest.mark.parametrize("value", BAD_VALUES)
def test_bad_numbers_are_refused_in_one_line_before_anything_is_computed(world: World, option: str, value: str) -> None:
    line = refused(*JUDGE, f"{option}={value}")
    assert "E400" in line
    assert len(line) < 1000
    assert world.calls == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no command"),
        (["repotr"], "Did you mean 'report'?"),
        (["--hlep"], "--help"),
        ([HOSTILE], "unknown command"),
        (["report"], "MODEL"),
        (["report", ""], "empty"),
        (["report", "a\0b"], "zero byte"),
        (["report", "m", "n"], "unexpected argument 'n'"),
        (["report", "m", "-x"], "unknown option '-x'"),
        (["report", "m", "--sampls", "3"], "Did you mean '--samples'?"),
        (["report", "--sampls=3"], "Did you mean '--samples'?"),
        (["report", "m", "--html"], "unknown option '--html'"),
        (["report", "m", "--junit", "f"], "unknown option '--junit'"),
        (["report", "m", "--times"], "expected one argument"),
        (["report", "m", "--times", "0"], "from 1 to"),
        (["report", "m", "--w1-samples", "999999999"], "from 2 to"),
        (["report", "m", "--confidence", "1"], "between 0 and 1"),
        (["report", "m", "--radius", "0"], "positive"),
        (["report", "m", "--device", "cuda"], "cpu"),
        (["report", "m", "--certificates", " , "], "no certificate"),
        (["report", "m", "--certificates", "stability_w1"], "Did you mean 'stability_w"),
        (["report", "m", "--certificates", HOSTILE], "unknown theorem"),
        (["report", "m", "--max-bound", "0.1"], "ID=X"),
        (["report", "m", "--max-bound", "=1"], "ID=X"),
        (["report", "m", "--max-bound", "S1=nan"], "positive"),
        (["report", "m", "--max-bound", "S1=-1"], "positive"),
        (["report", "m", "--max-ratio", "tmh1=1"], "Did you mean 'thm1'?"),
        (["report", "m", "--min-rigor", "sampeld"], "Did you mean 'sampled'?"),
        (["report", "m", "--problem", "bkv2d"], "Did you mean 'bkw2d'?"),
        (["report", "m", "--problem", "bkw2d:t0=nan"], "cannot read"),
        (["report", "m", "--problem", "bkw2d:t0=1/0"], "division by zero"),
        (["report", "m", "--problem", "bkw2d:t0=5"], "empty"),
        (["report", "m", "--problem", "bkw3d:t0=0"], "does not exist"),
        (["report", "m", "--problem", HOSTILE], "unknown problem"),
        (["check", "m", "--junit", ""], "empty"),
        (["inspect"], "MODEL"),
        (["train", "--problem", "bkw2d"], "-o"),
        (["train", "-o", "f"], "--problem"),
        (["train", "--problem", "bkw2d", "-o", "f", "--seconds", "-1"], "positive"),
        (["train", "--problem", "bkw2d", "-o", "f", "--method", "pinnpm"], "Did you mean 'pinn-pm'?"),
        (["train", "--problem", "bkw2d", "-o", "f", "--set", "novalue"], "key=value"),
        (["train", "--problem", "bkw2d", "-o", "f", "--set", "__import__('os')=1"], "key=value"),
        (["train", "--problem", "bkw2d", "-o", "f", "--set", "steps=1", "--steps", "2"], "twice"),
        (["convert", "w", "--problem", "bkw2d", "--arch", "{", "-o", "f"], "JSON"),
        (["convert", "w", "--problem", "bkw2d", "--arch", "[]", "-o", "f"], "JSON"),
        (["convert", "w", "--problem", "bkw2d", "--arch", "{" + '"a":{' * 100000, "-o", "f"], "JSON"),
        (["convert", "w", "--problem", "bkw2d", "--arch", "nowhere.json", "-o", "f"], "cannot be read"),
        (["verify", "nowhere"], "cannot be read"),
        (["verify", "nowhere", "--proofs", "0"], "whole number"),
        (["diff", "nowhere", "nowhere"], "cannot be read"),
        (["problems", "bkw4d"], "Did you mean"),
        (["explain", "thm55"], "Did you mean 'thm5'?"),
        (["explain", HOSTILE], "nothing is called"),
        (["doctor", "now"], "unexpected argument"),
    ],
)
def test_bad_command_lines_give_one_line_that_says_what_is_wrong(world: World, arguments: list[str], says: str) -> None:
    assert says in refused(*arguments)
    assert not set(world.calls) & {"certify", "train", "write", "convert"}


_WORDS = st.sampled_from(
    ["m.pt", "--problem", "bkw2d", "--times", "--max-bound", "S1=1", "-o", "out", "--json", "--strict", "--quick", "--"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.sampled_from(sorted(COMMANDS)), arguments=st.lists(_WORDS | st.text(max_size=12), max_size=6))
def test_no_command_line_is_an_internal_error(world: World, command: str, arguments: list[str]) -> None:
    code, _, stderr = run(command, *arguments)
    assert code in DOCUMENTED - {errors.EXIT_INTERNAL}, stderr
    assert "Traceback" not in stderr
    assert stderr.count("\n") <= 1
    assert world.calls.count("load_run") >= world.calls.count("certify")


# --- files ------------------------------------------------------------------------------------------------------------


def test_an_existing_report_is_refused_before_computing_and_replaced_with_overwrite(world: World) -> None:
    assert run(*JUDGE, "-o", "out")[0] == 0
    Path("out/figures").mkdir()
    Path("out/figures/old.svg").write_text("old", encoding="utf-8")
    Path("out/notes.txt").write_text("mine", encoding="utf-8")
    world.calls.clear()
    assert "E302" in refused(*JUDGE, "-o", "out")
    assert world.calls == []
    assert run("check", *JUDGE[1:], "-o", "out", "--overwrite")[0] == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["notes.txt", "report.json"]


def test_overwrite_does_not_touch_a_folder_that_is_no_report(world: World) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years", encoding="utf-8")
    assert "something else" in refused(*JUDGE, "-o", "thesis", "--overwrite")
    assert Path("thesis/chapter.tex").read_text(encoding="utf-8") == "years"
    assert world.calls == []


def test_the_models_own_problem_also_finds_the_existing_report_before_computing(world: World) -> None:
    assert run("report", "m.pt")[0] == 0
    assert "E302" in refused("report", "m.pt")
    assert world.calls.count("certify") == 1


@pytest.mark.parametrize("place", ["file/sub", "file", "/proc/nowhere/x", "x" * 300, "a/" + "x" * 300, "dangling"])
def test_an_unwritable_place_is_found_before_computing(world: World, place: str) -> None:
    Path("file").write_text("", encoding="utf-8")
    Path("dangling").symlink_to("nowhere")
    assert "E301" in refused(*JUDGE, "-o", place)
    assert world.calls == []


def test_a_refused_run_leaves_no_folder(world: World) -> None:
    world.failures["certify"] = UserError("E200", "NaN", "Train again")
    assert "E200" in refused(*JUDGE, "-o", "a/b")
    assert not Path("a").exists()


def test_what_probes_for_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    console.claim_directory(tmp_path / "a" / "b", overwrite=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="folder"):
        console.claim_file(str(tmp_path), overwrite=True)


# --- interruptions and failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["load_run", "certify", "write"])
def test_an_interrupt_exits_130_and_says_what_was_kept(world: World, where: str) -> None:
    world.failures[where] = KeyboardInterrupt()
    code, stdout, stderr = run(*JUDGE)
    assert (code, stdout) == (130, "")
    assert stderr.count("\n") == 1
    assert ("incomplete" if where == "write" else "nothing was written") in stderr


def test_an_incomplete_report_is_written_and_exits_130(world: World) -> None:
    world.report = report_of(certificate(status=Status.CONTRADICTED), incomplete=True)
    code, stdout, stderr = run(*JUDGE, "--strict")
    assert code == 130
    assert "TABLE" in stdout
    assert "INCOMPLETE" in stderr
    assert Path("reports/model-bkw2d/report.json").exists()


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError(HOSTILE), KeyError("x"), RecursionError(), ZeroDivisionError(), OSError("x")]
)
def test_only_our_own_failures_exit_1_without_traceback(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.failures["certify"] = error
    code, stdout, stderr = run(*JUDGE)
    assert (code, stdout) == (1, "")
    assert stderr.count("\n") == 1
    assert "internal error (ours)" in stderr
    assert "CERTIFY_DEBUG=1" in stderr
    assert stderr.rstrip("\n").isprintable()
    assert ("--samples" in stderr) == isinstance(error, MemoryError)
    monkeypatch.setenv("CERTIFY_DEBUG", "1")
    assert "Traceback" in run(*JUDGE)[2]


@pytest.mark.parametrize("status", [0, None, 10, "bye"])
@pytest.mark.parametrize("where", ["load_run", "certify"])
def test_a_model_that_exits_does_not_choose_our_exit_code(world: World, where: str, status: Any) -> None:
    world.failures[where] = SystemExit(status)
    assert "E205" in refused(*JUDGE)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_user_error_gives_its_line_and_exit_code(world: World, code: str) -> None:
    world.failures["load_run"] = UserError(code, f"cause {HOSTILE[:60]}", "fix")
    line = refused(*JUDGE)
    assert line.startswith(f"certify: error {code}: cause")
    assert line.endswith(". fix")


def test_a_factory_that_fails_is_the_users_and_a_file_that_fails_is_ours(world: World) -> None:
    world.failures["load_run"] = RuntimeError("mine")
    assert "RuntimeError: mine" in refused("report", "pkg.mod:make", "--problem", "bkw2d")
    assert run(*JUDGE)[0] == 1


def test_a_run_whose_describe_fails_is_the_users(world: World) -> None:
    def fail() -> Mapping[str, Any]:
        raise RuntimeError("mine")

    world.run.describe = fail  # type: ignore[method-assign]
    assert "E205" in refused("report", "pkg.mod:make")


# --- train, convert, inspect ------------------------------------------------------------------------------------------


def test_train_passes_settings_and_says_what_to_do_next(world: World) -> None:
    arguments = "--method flow-defect -o m.pt --seconds 9.5 --steps 50 --seed 4 --resume --set width=16 --set a=b=c"
    code, stdout, stderr = run("train", "--problem", "bkw2d:t0=1/2", *arguments.split())
    assert (code, stderr) == (0, "")
    assert world.settings == {
        "method": "flow-defect", "seed": 4, "seconds": 9.5, "resume": True, "width": "16", "a": "b=c", "steps": "50",
    }  # fmt: skip
    assert "certify report m.pt --problem bkw2d:t0=1/2,T=5" in stdout
    world.steps = (3, 10)
    assert "step 3 of 10" in run("train", "--problem", "bkw2d", "-o", "m.pt")[1]


def test_train_refuses_an_existing_file_before_importing_the_trainer(world: World) -> None:
    Path("m.pt").write_text("precious", encoding="utf-8")
    assert "--resume" in refused("train", "--problem", "bkw2d", "-o", "m.pt")
    assert run("train", "--problem", "bkw2d", "-o", "m.pt", "--resume")[0] == 0
    assert "E301" in refused("train", "--problem", "bkw2d", "-o", "m.pt/x")
    assert world.calls == ["train"]


def test_an_interrupted_training_says_that_it_can_be_resumed(world: World) -> None:
    world.failures["train"] = KeyboardInterrupt()
    code, _, stderr = run("train", "--problem", "bkw2d", "-o", "m.pt")
    assert code == 130
    assert "--resume" in stderr
    world.failures["train"] = OSError(28, "No space left on device")
    assert "No space left" in refused("train", "--problem", "bkw2d", "-o", "m.pt")


def test_convert_takes_json_inline_or_from_a_file(world: World) -> None:
    Path("arch.json").write_text('{"width": 8}', encoding="utf-8")
    for arch in ('{"width": 8}', "arch.json"):
        code, stdout, _ = run("convert", "w.pt", "--problem", "bkw3d", "--arch", arch, "-o", "m.pt")
        assert code == 0
        assert world.settings == {"width": 8}
        assert "m.pt" in stdout


def test_inspect_prints_a_hostile_file_as_plain_lines(world: World) -> None:
    code, stdout, _ = run("inspect", "m.pt")
    assert code == 0
    assert all(line.isprintable() for line in stdout.splitlines())
    assert "1/2" in stdout
    code, stdout, _ = run("inspect", "m.pt", "--json")
    assert json.loads(stdout)["nets"]["flow"] == [1, 2.5, "nan"]
    assert world.calls == ["model_summary"] * 2


# --- verify and diff --------------------------------------------------------------------------------------------------


@pytest.fixture
def made(world: World) -> World:
    Path("model.pt").write_text("", encoding="utf-8")
    assert run(*JUDGE, "-o", "out", "--times", "5")[0] == 0
    world.options = Options()
    return world


def _edit(change: Callable[[dict[str, Any]], None]) -> None:
    path = Path("out/report.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_verify_repeats_the_recorded_command_and_finds_the_same_bytes(made: World) -> None:
    code, stdout, stderr = run("verify", "out")
    assert (code, stderr) == (0, "")
    assert "byte for byte" in stdout
    assert made.options == Options(times=5)
    assert made.problem.spec == "bkw2d:t0=0,T=5"
    assert run("verify", "out/report.json")[0] == 0


def test_verify_repeats_the_particle_rate(made: World) -> None:
    assert run(*JUDGE, "-o", "paper", "--particle-rate", "paper")[0] == 0
    recorded = json.loads(Path("paper/report.json").read_text(encoding="utf-8"))["options"]
    assert recorded["particle_rate"] == "paper"
    made.options = Options()
    assert run("verify", "paper")[0] == 0
    assert made.options.particle_rate == "paper"
    _edit(lambda c: c["options"].update(particle_rate="guess"))
    code, _, stderr = run("verify", "out")
    assert code == 2
    assert "'guess' is none of" in stderr


def test_verify_accepts_rounding_and_refuses_more(made: World) -> None:
    made.value = 0.01 * (1 + 1e-9)
    code, stdout, _ = run("verify", "out")
    assert code == 0
    assert "certificates[stability_w2].bound[1]" in stdout
    assert run("verify", "out", "--tolerance", "1e-12")[0] == 13
    made.value = 0.02
    code, stdout, stderr = run("verify", "out")
    assert code == 13
    assert "differs: certificates[stability_w2].bound[1]: 0.01 -> 0.02" in stdout
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["certificates"][0].update(bound=[0.0, 0.005]),
        lambda c: c["certificates"][0].update(bound=[0.0, None]),
        lambda c: c["certificates"][0].update(bound=[0.0, "0.01"]),
        lambda c: c["certificates"][0].update(bound=[0.0]),
        lambda c: c["certificates"][0].update(bound=[0, True]),
        lambda c: c["certificates"][0].update(status="CERTIFIED"),
        lambda c: c.update(certificates=[]),
        lambda c: c["model"].update(digest="other"),
        lambda c: c.update(digest="0" * 64),
        lambda c: c.update(more=1),
    ],
)
def test_verify_finds_every_change(made: World, change: Callable[[dict[str, Any]], None]) -> None:
    _edit(change)
    code, stdout, _ = run("verify", "out")
    assert code == 13
    assert "differs: " in stdout
    assert made.calls.count("certify") == 2


def test_verify_does_not_import_a_factory_that_a_report_names(made: World) -> None:
    _edit(lambda c: c["model"].update(source="os:abort"))
    made.calls.clear()
    assert "--model" in refused("verify", "out")
    assert made.calls == []
    assert run("verify", "out", "--model", "pkg.mod:make")[0] == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["options"].update(times=10**12), "options"),
        (lambda c: c["options"].update(times=True), "options"),
        (lambda c: c["options"].update(seed="x"), "options"),
        (lambda c: c["options"].update(confidence=math.pi), "options"),
        (lambda c: c["options"].pop("samples"), "options"),
        (lambda c: c["options"].update(certificates=["thm99"]), "thm"),
        (lambda c: c["options"].update(certificates="thm1"), "options"),
        (lambda c: c.update(options=None), "options"),
        (lambda c: c.update(model=[]), "model"),
        (lambda c: c["model"].update(source=None), "--model"),
        (lambda c: c["model"].update(source="a\0b"), "--model"),
        (lambda c: c["problem"].update(spec="bkw9d"), "problem"),
        (lambda c: c["problem"].pop("spec"), "E400"),
        (lambda c: c.update(incomplete=True), "INCOMPLETE"),
    ],
)
def test_verify_refuses_a_report_that_it_cannot_repeat(
    made: World, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    _edit(change)
    assert says in refused("verify", "out")
    assert made.calls.count("certify") == 1


def test_verify_compares_arrays_and_unpickles_nothing(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(3.0)
    np.savez(Path("out/arrays.npz"), a=values)
    content: dict[str, Any] = {"a": values}
    write = made.write

    def with_arrays(report: Report, directory: Path, *, html: bool = True) -> dict[str, Path]:
        written = write(report, directory, html=html)
        np.savez(directory / "arrays.npz", **content)
        return written

    monkeypatch.setattr(sys.modules["certify.report"], "write", with_arrays)
    assert run("verify", "out")[0] == 0
    content["a"] = values + 1
    assert "arrays.npz: a differs" in run("verify", "out")[1]
    content["a"], content["b"] = values, values
    assert "one of the two only" in run("verify", "out")[1]
    content.pop("b")
    np.savez(Path("out/arrays.npz"), a=np.array([print], dtype=object))
    assert "cannot be compared" in run("verify", "out")[1]
    Path("out/arrays.npz").write_bytes(b"PK\x03\x04 broken")
    assert run("verify", "out")[0] == 13


def test_there_are_no_proofs_to_verify_yet(made: World) -> None:
    assert "no proofs" in refused("verify", "out", "--proofs", "all")
    assert made.calls.count("certify") == 1


@given(a=st.floats(allow_nan=False, allow_infinity=False), b=st.floats(allow_nan=False, allow_infinity=False))
def test_comparison_is_exact_about_what_is_within_tolerance(a: float, b: float) -> None:
    changed = compare.compare({"x": a}, {"x": b}, 1e-6).changed
    scale = max(abs(a), abs(b))
    within = a == b or abs(a / scale - b / scale) <= 1e-6 * (1 + 1e-9)
    if not changed:
        assert within


def test_comparison_ignores_machines_and_reworded_numbers_only() -> None:
    old = {"environment": {"torch": "2.10"}, "reasons": ["det J = 0.5 at t = 1"], "model": {"source": "a"}}
    new = {"environment": {"torch": "2.13"}, "reasons": ["det J = 0.51 at t = 1"], "model": {"source": "b"}}
    found = compare.compare(old, new, 1e-6)
    assert found.changed == ()
    assert len(found.notes) == 3
    assert compare.compare(old, new | {"reasons": ["another reason at t = 1"]}, 1e-6).changed


def test_diff_compares_statuses_and_bounds_and_never_rounds_a_bound_down(world: World) -> None:
    row: dict[str, Any] = {"id": "thm1", "status": "VOID", "rigor": "sampled", "bound": [0, None]}
    first = {"problem": {"spec": "p"}, "model": {"name": "a"}, "options": {"seed": 0}, "certificates": [row]}
    sound = row | {"status": "CONDITIONAL", "bound": [0, 0.0012341], "measured": {"lower": [0, 0.00019999]}}
    huge = row | {"id": "thm2", "log10_bound": [0, 98.31]}
    second = first | {"model": {"name": "b"}, "options": {"seed": 1}, "certificates": [sound, huge]}
    Path("a").mkdir()
    Path("a/report.json").write_text(json.dumps(first), encoding="utf-8")
    Path("b.json").write_text(json.dumps(second), encoding="utf-8")
    code, stdout, stderr = run("diff", "a", "b.json")
    assert (code, stderr) == (0, "")
    for words in ("a -> b", "VOID -> CONDITIONAL", "none -> 0.00124", "none -> 0.000199", "seed 0 -> 1", "only in"):
        assert words in stdout
    assert "2.05e+98" in stdout
    assert "between" not in stdout
    ends = {"id": "w1", "lower": [0, 0.0011], "upper": [0, 0.00511]}
    first["brackets"] = [ends, {"id": "w2", "lower": None, "upper": [0, None]}]
    second["brackets"] = [ends | {"lower": [0, 0.0021], "contradicted": True}]
    Path("a/report.json").write_text(json.dumps(first), encoding="utf-8")
    Path("b.json").write_text(json.dumps(second), encoding="utf-8")
    stdout = run("diff", "a", "b.json")[1]
    low, after, high = text.rounded_down(0.0011), text.rounded_down(0.0021), text.rounded_up(0.00511)
    assert f"between  w1  [{low}, {high}] -> [{after}, {high}] CONTRADICTED" in stdout
    assert "between  w2  [none, none] -> absent" in stdout
    assert "1 statuses changed; 1 bounds smaller, 0 larger" in stdout
    assert world.calls == []


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", "null", '{"certificates": 3}', '{"certificates": [NaN]}', "[" * 100000, '{"a": ' * 100000,
        '{"certificates": [Infinity]}', "\ud800".encode("utf-8", "surrogatepass"), b"\xff\xfe", "1" * 5000,
    ],
)  # fmt: skip
def test_diff_and_verify_refuse_what_is_no_report(world: World, content: str | bytes) -> None:
    Path("report.json").write_bytes(content.encode() if isinstance(content, str) else content)
    assert "report" in refused("diff", "report.json", "report.json")
    assert "report" in refused("verify", ".")
    assert world.calls == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ("id", "status", "rigor", "bound", "measured", "log10_bound")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(_FIELDS), _JSON) | _JSON, max_size=3),
    rest=st.dictionaries(st.sampled_from(("problem", "model", "options")), _JSON),
)
def test_diff_and_verify_survive_any_report(made: World, rows: list[Any], rest: dict[str, Any]) -> None:
    path = Path("any.json")
    path.write_text(json.dumps({"certificates": rows, **rest}), encoding="utf-8")
    code, stdout, stderr = run("diff", "any.json", "out")
    assert code == 0, stderr
    assert all(line.isprintable() for line in stdout.splitlines())
    assert run("verify", "any.json")[0] in (2, 4, 13)
    assert made.value == 0.01


# --- explain and problems ---------------------------------------------------------------------------------------------


def test_everything_that_has_a_name_is_explained() -> None:
    names = [
        *THEOREMS, *explain.all_hypotheses(), *explain.all_ingredients(), *CODES, *map(str, explain.EXIT_MEANING),
        *explain.WORDS, *(s.name for s in Status), *(r.label for r in Rigor), *(s.value for s in Side),
        *(o.value for o in Verdicts),
    ]  # fmt: skip
    listed = " ".join(explain.overview()).replace(",", " ").split()
    for name in names:
        lines = explain.explain(name)
        assert lines[0].casefold().startswith(name.casefold())
        assert all(len(line) <= explain.WIDTH for line in lines)
        assert name in listed


def test_no_code_status_or_label_lacks_advice() -> None:
    assert set(explain.ERROR_ADVICE) == set(CODES)
    assert set(explain.STATUS_ADVICE) == set(Status)
    statuses = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert set(explain.EXIT_MEANING) == statuses
    assert {status for status, _ in CODES.values()} <= statuses
    assert set(RIGOR_LABELS) == {r.label for r in Rigor}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("S1", "stability_w2"), ("s2", "stability_wp2"), ("Theorem 5", "thm5"), ("thm-5", "thm5"), ("e109", "corrupt"),
        ("exit 10", "contradicted"), ("Certified", "CERTIFIED"), ("score_lipschitz", "an ingredient"),
        ("stability w2", "stability_w2"),
    ],
)  # fmt: skip
def test_names_are_understood_as_people_write_them(name: str, says: str) -> None:
    assert any(says in line for line in explain.explain(name))


def test_a_theorem_is_explained_with_sides_hypotheses_paper_and_code() -> None:
    shown = "\n".join(explain.explain("thm5"))
    for words in ("Theorem 5", "excess_risk", "upper", "score_lipschitz", "theory/theorems/thm5_master.py:", "≤"):
        assert words in shown
    for words in (
        "Source (the paper's numbering)",
        "equations (4.17)-(4.19)",
        "Other forms",
        "thm5_sharp",
        "Hypotheses",
    ):
        assert words in shown
    assert "theorem theory/theorems/thm5_master.py" in shown
    assert re.search(r"estimator constants: certify/estimators/constants\.py:\d+", shown)
    assert "from constants" in shown
    assert "the bounds of S1 and S2 (certify/brackets.py)" in " ".join(" ".join(explain.explain("thm6_w1")).split())
    assert "friction ((d-1)C), lower" in "\n".join(explain.explain("S2"))
    assert "\\le" in "\n".join(explain.explain("thm5", unicode_ok=False))
    for theorem in THEOREMS.values():  # the terms of the formula itself, readable
        block = " ".join(explain.explain(theorem.id)).partition("As evaluated")[2].partition("Needs (side")[0]
        assert all(f"  {term}: " in block for term in evaluated(theorem))
        assert "\\" not in block


def test_every_form_of_a_theorem_names_its_file_the_others_and_its_providers() -> None:
    for name, theorem in THEOREMS.items():
        shown = "\n".join(explain.explain(name))
        (place,) = re.findall(r"^  theorem (theory/theorems/\w+\.py)$", shown, re.MULTILINE)
        assert (
            f"{place.removesuffix('.py').replace('/', '.')}" == theorem.formula.__module__ or (ROOT / place).is_file()
        )
        assert "no estimator of this version" not in shown, name
        others = [i for i in THEOREMS if i != name and i.split("_")[0] == name.split("_")[0] != "stability"]
        assert all(re.search(rf"\b{i}\b", shown) for i in others)


@pytest.mark.parametrize("word", ["budget", "elasticity", "decades", "bracket", "log-norm", "particle_rate", "Bracket"])
def test_words_of_the_report_are_explained(word: str) -> None:
    lines = explain.explain(word)
    assert lines[0].startswith(word.lower())
    assert len(" ".join(lines)) > 120
    assert all(len(line) <= explain.WIDTH for line in lines)


def test_readable_formulas_contain_no_commands() -> None:
    for theorem in THEOREMS.values():
        for latex in (theorem.statement, *(i.symbol for i in theorem.ingredients)):
            shown = explain.plain(latex)
            assert shown is not None
            assert "\\" not in shown
    assert explain.plain(r"\frobnicate{x}") is None
    assert explain.plain(r"\tfrac12\sqrt{\frac{(a_{t}-b)^2}{M}}") == "1/2√(((a_{t}-b)^2)/(M))"


def test_estimators_are_listed_where_their_registry_is_light(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("certify.estimator")
    vars(module)["ESTIMATORS"] = {"by-hand": types.SimpleNamespace(provides=("defect", "kappa"))}
    monkeypatch.setitem(sys.modules, "certify.estimator", module)
    assert explain.estimators_by_ingredient() == {"defect": ["by-hand"], "kappa": ["by-hand"]}
    assert "from by-hand" in " ".join(explain.explain("S1"))
    vars(module).pop("ESTIMATORS")
    assert explain.estimators_by_ingredient() == {}


def test_problems_say_where_the_score_is_lipschitz() -> None:
    code, stdout, _ = run("problems")
    assert code == 0
    assert "infinite" in next(line for line in stdout.splitlines() if line.startswith("bkw2d"))
    assert "infinite" not in next(line for line in stdout.splitlines() if line.startswith("bkw3d"))
    assert "fails on this window" in "\n".join(catalogue.detail("bkw2d"))
    later = "\n".join(catalogue.detail("bkw2d:t0=1/2"))
    assert "holds; the exact score" in later
    assert "degenerate" not in later
    assert "1/16" in later


def test_a_problem_without_exact_solution_is_shown_as_unknown() -> None:
    problem = catalogue.problem_of("bkw2d").without_exact_solution()
    assert catalogue._lipschitz_at_start(problem) == "unknown"
    assert "not checkable" in " ".join(catalogue._score_lipschitz(problem))


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_is_pasteable_and_finds_nothing_wrong_here() -> None:
    code, stdout, stderr = run("doctor")
    assert (code, stderr) == (0, ""), stdout
    for words in ("python", "torch", "OMP_NUM_THREADS", "writable", "paper_checks"):
        assert words in stdout


@pytest.mark.parametrize(
    ("version", "enough"),
    [("2.13.0+cpu", True), ("2.10", True), ("3.0", True), ("2.9.1", False), ("1.99", False), ("x", False), ("", False)],
)
def test_the_floor_of_torch_is_compared_as_numbers(version: str, enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.new_enough(version, doctor.TORCH_FLOOR) == enough
    monkeypatch.setattr(doctor, "version", lambda name: version if name == "torch" else "1.0")
    assert run("doctor")[0] == (0 if enough else 5)


def test_doctor_sees_a_file_that_shadows_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sympy.py").write_text("", encoding="utf-8")
    (tmp_path / "validation.py").write_text("", encoding="utf-8")
    assert all(f.problem is None for f in doctor.findings())
    monkeypatch.setattr(doctor, "_origin", lambda name: tmp_path / f"{name}.py")
    wrong = {f.name for f in doctor.findings() if f.problem}
    assert {"sympy", "validation", "solver", "theory"} <= wrong


# --- output -----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def _clock(*times: float) -> Callable[[], float]:
    ticks: Iterator[float] = iter(times)
    return lambda: next(ticks)


def test_progress_off_a_terminal_is_one_line_in_30_seconds() -> None:
    stream = io.StringIO()
    progress = Progress(stream, clock=_clock(0, 0, 1, 29, 31, 40, 62))
    for done in range(5):
        progress("defect", done, 8)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "certify: defect  2/8  about 1 min 30 s left",
        "certify: defect  4/8  about 1 min 01 s left",
    ]
    assert "\x1b" not in stream.getvalue()


def test_progress_on_a_terminal_is_one_live_line_that_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(stream, clock=_clock(*range(20)))
    progress("defect", 1, 4)
    progress("defect", 2, 4, {"loss": 0.25, HOSTILE: NAN})
    shown = stream.getvalue()
    assert "\n" not in shown
    assert "defect  2/4  loss 0.25" in shown
    assert "left" in shown
    progress.close()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_the_time_left_of_a_resumed_run_counts_from_where_it_resumed() -> None:
    stream = io.StringIO()
    progress = Progress(stream, clock=_clock(0, 0, 1, 41))
    progress("train", 500, 1000)
    progress("train", 504, 1000)
    assert "about 1 h 22 min left" in stream.getvalue()


def test_progress_survives_a_closed_stderr() -> None:
    progress = Progress(Broken(), clock=_clock(*range(0, 1000, 50)))
    progress("defect", 1, 4)
    progress("defect", 0, 0)
    progress.close()
    assert progress._live is False


@given(x=st.floats(allow_nan=False, allow_infinity=False), digits=st.integers(1, 8))
def test_displayed_bounds_are_never_smaller_and_measured_errors_never_larger(x: float, digits: int) -> None:
    assert float(text.rounded_up(x, digits)) >= x
    assert float(text.rounded_down(x, digits)) <= x


@given(st.text(), st.integers(4, 50))
def test_cleaned_text_is_one_short_printable_line(raw: str, limit: int) -> None:
    line = text.clean(raw, limit)
    assert line.isprintable()
    assert len(line) <= limit
    assert text.clean("\x1b[31mred\x1b]0;title\x07 plain") == "red plain"


def _python(code: str, *, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("commands", "absent"),
    [
        ([[name, "--help"] for name in COMMANDS] + [["--help"], ["--version"], ["report"], ["repotr"]], "numpy sympy"),
        ([["problems"], ["problems", "bkw2d"], ["doctor"]], "sympy"),
        ([["explain"], ["explain", "thm1"], ["explain", "S1"], ["explain", "E109"]], ""),
    ],
)
def test_light_commands_import_nothing_heavy(commands: list[list[str]], absent: str) -> None:
    code = f"""
import sys
from certify.cli import main
for arguments in {commands!r}:
    main(arguments)
heavy = [m for m in {["torch", "matplotlib", "ot", *absent.split()]!r} if m in sys.modules]
print("HEAVY", *heavy)
"""
    result = _python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "HEAVY"


def test_a_warning_of_a_library_is_one_line() -> None:
    code = """
import sys, types, warnings
def load_run(model, problem=None):
    warnings.warn("old\\nthing")
    raise KeyboardInterrupt
sys.modules["certify.api"] = types.SimpleNamespace(load_run=load_run, certify=None)
from certify.cli import main
sys.exit(main(["report", "m.pt"]))
"""
    result = _python(code)
    assert result.returncode == 130
    assert result.stderr.splitlines()[0] == "certify: warning: UserWarning: old thing"
    assert result.stderr.count("\n") == 2


def test_a_closed_pipe_is_quiet_and_keeps_the_exit_code() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        result = _python("import sys; from certify.cli import main; sys.exit(main(['problems']))", stdout=write)
    finally:
        os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        result = _python("import sys; from certify.cli import main; sys.exit(main(['problems']))", stdout=full)
    assert result.returncode == 5
    assert result.stderr.startswith("certify: error E301")
    assert result.stderr.count("\n") == 1


def test_a_terminal_without_unicode_gets_ascii_formulas() -> None:
    code = "import sys; sys.stdout.reconfigure(encoding='ascii'); from certify.cli import main; "
    result = _python(code + "sys.exit(main(['explain', 'S1']))")
    assert result.returncode == 0, result.stderr
    assert "\\le" in result.stdout


def test_with_the_real_report_package_the_files_and_the_table_agree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World()
    world.report = replace(report_of(certificate(), certificate("thm1", Status.VOID)), options=vars(Options()))
    monkeypatch.setitem(sys.modules, "certify.api", world.modules()["certify.api"])
    monkeypatch.chdir(tmp_path)
    Path("model.pt").write_text("", encoding="utf-8")
    gates = ["--max-bound", "S1=0.02", "--max-bound", "thm1=1", "--junit", "out/junit.xml"]
    code, stdout, _ = run("check", *JUDGE[1:], "-o", "out", *gates)
    assert code == 11
    assert "stability_w2" in stdout
    assert "gate --max-bound thm1=1 on thm1: INCONCLUSIVE" in stdout
    assert json.loads(Path("out/report.json").read_text(encoding="utf-8"))["model"]["source"] == "model.pt"
    assert 'failures="1"' in Path("out/junit.xml").read_text(encoding="utf-8")
    assert "byte for byte" in run("verify", "out")[1]
    assert run("diff", "out", "out")[0] == 0


def test_a_gate_result_is_data() -> None:
    result = GateResult("strict", "--strict", "thm1", Outcome.INCONCLUSIVE, "VOID: because")
    assert result.line() == "gate --strict on thm1: INCONCLUSIVE - VOID: because"
