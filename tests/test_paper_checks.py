"""The checks hold as recorded, and a planted error in any formula they rest on flips a verdict."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper_checks.__main__ import CHECKS, WIDTH, main
from paper_checks.check import Check, Finding, Trial
from paper_checks.search import ascend, into_ball
from theory import drift, quadrature
from theory.bkw import Bkw
from theory.kernels import Kernel, maxwell
from theory.problem import Problem

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> tuple[int, str]:
    """Exit status and what was printed."""
    out = io.StringIO()
    return main(list(arguments), out), out.getvalue()


# --- the statements themselves


@pytest.mark.parametrize("name", list(CHECKS))
def test_every_verdict_is_the_recorded_one(name: str) -> None:
    status, text = run(name)
    assert status == 0, text


@pytest.mark.parametrize("name", ["bkw", "hyvarinen", "kappa", "moments", "norm_da"])
def test_the_verdict_does_not_depend_on_the_seed(name: str) -> None:
    status, text = run(name, "--seed", "20240607")
    assert status == 0, text


# --- planted errors: (name, what to patch, the faulty version of the original)

Fault = Callable[[Any], Any]


def scaled(factor: float) -> Fault:
    """The original's result times a factor."""
    return lambda original: lambda *args, **kwargs: factor * original(*args, **kwargs)


def scaled_property(factor: float) -> Fault:
    """The same for a property."""
    return lambda original: property(lambda self: factor * original.fget(self))


def wrong_q(original: Any) -> Any:
    """Q = (1-K)/(2K) instead of (1-K)/(2K^2)."""

    def coefficients(self: Bkw, t: float) -> tuple[float, float, float]:
        k, p, q = original(self, t)
        return k, p, q * k

    return coefficients


def wrong_clock(original: Any) -> Any:
    """K(t) relaxes at half the rate."""
    return lambda self, t: original(self, t / 2 + self.t0 / 2)


def wrong_drift(original: Any) -> Any:
    """U = -C d (sigma + 1) v instead of -C (d-1)(sigma + 1) v."""
    return lambda self, t, v: original(self, t, v) * self.d / (self.d - 1)


def wrong_divergence(original: Any) -> Any:
    """b = -d a z."""
    return lambda self, z: original(self, z) * self.d / (self.d - 1)


def wrong_projector(original: Any) -> Any:
    """A(z) = a |z|^2 I: the projection forgotten."""

    def matrix(self: Kernel, z: Any) -> Any:
        r2 = np.sum(z * z, axis=-1)
        return original(self, z) * 0 + (self.profile(np.sqrt(r2)) * r2)[..., None, None] * np.eye(self.d)

    return matrix


def wrong_exponent(original: Any) -> Any:
    """The mollified profile with -1 instead of -3/2."""
    return lambda self, r: original(self, r) * (1.0 if self.is_maxwell else np.sqrt(np.square(r) + self.epsilon**2))


def wrong_relaxation(original: Any) -> Any:
    """exp(-2 d C t) instead of exp(-4 d C t) in the covariance law."""
    return lambda self, t: original(self, (t + float(self.t0)) / 2)


def wrong_mean_field(original: Any) -> Any:
    """A * f without - Sigma."""

    def coefficients(strength: Any, z: Any, covariance: Any, s: Any) -> Any:
        diffusion, friction = original(strength, z, covariance, s)
        return diffusion + strength * s @ covariance, friction

    return coefficients


def wrong_pair_sum(original: Any) -> Any:
    """One moment, the mean of x (x.s), dropped from the O(n) pair sum."""

    def pair_drift(strength: Any, x: Any, s: Any, weights: Any) -> Any:
        v = x - (weights[..., None] * x).sum(-2)[..., None, :]
        moment = (weights[..., None] * v * (v * s).sum(-1)[..., None]).sum(-2)[..., None, :]
        return original(strength, x, s, weights) + strength * moment

    return pair_drift


def wrong_flow(original: Any) -> Any:
    """Radii a tenth of a per cent too large."""
    return lambda self, t, r0: original(self, t, r0) * (1 + 1e-3 * (t != self.t0))


def wrong_rule(original: Any) -> Any:
    """One Kronrod weight off by 1e-4."""
    fine = original.fine.copy()
    fine[3] += 1e-4
    return quadrature.Pair(original.nodes, fine, original.coarse)


PLANTED: list[tuple[str, str, Any, str, Fault]] = [
    ("bkw", "BKW amplitude Q", Bkw, "coefficients", wrong_q),
    ("bkw", "BKW clock", Bkw, "coefficients", wrong_clock),
    ("bkw", "BKW drift", Bkw, "drift", wrong_drift),
    ("bkw", "BKW density", Bkw, "log_density", scaled(1.001)),
    ("bkw", "BKW flow", Bkw, "flow_radius", wrong_flow),
    ("bkw", "Maxwell kernel without projection", Kernel, "matrix", wrong_projector),
    ("bkw", "Maxwell kernel twice as strong", Kernel, "matrix", scaled(2.0)),
    ("hyvarinen", "BKW score", Bkw, "score", scaled(1.01)),
    ("hyvarinen", "BKW score divergence", Bkw, "score_divergence", scaled(0.99)),
    ("hyvarinen", "quadrature weight", quadrature, "K15", wrong_rule),
    ("hyvarinen", "Fisher information", Bkw, "fisher_information", scaled(1.001)),
    ("kappa", "kappa' too small", Kernel, "kappa", scaled_property(0.999)),
    ("kappa", "kappa' too large", Kernel, "kappa", scaled_property(1.01)),
    ("kappa", "profile exponent", Kernel, "profile", wrong_exponent),
    ("kappa", "divergence of the kernel", Kernel, "divergence", wrong_divergence),
    ("norm_da", "L_A too small", Kernel, "lipschitz", scaled(0.99)),
    ("norm_da", "L_A not sharp", Kernel, "lipschitz", scaled(1.01)),
    ("norm_da", "Lambda too small", Kernel, "sup_norm", scaled(0.999)),
    ("norm_da", "kernel without projection", Kernel, "matrix", wrong_projector),
    ("moments", "relaxation of the covariance", Problem, "moments", wrong_relaxation),
    ("drift", "Maxwell pair sum", drift, "maxwell_pair_drift", wrong_pair_sum),
    ("drift", "Maxwell mean field", drift, "maxwell_coefficients", wrong_mean_field),
    ("drift", "divergence of the kernel", Kernel, "divergence", wrong_divergence),
]


@pytest.mark.parametrize(
    ("check", "owner", "name", "fault"), [p[:1] + p[2:] for p in PLANTED], ids=[p[1] for p in PLANTED]
)
def test_a_planted_error_flips_the_verdict(
    check: str, owner: Any, name: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, fault(vars(owner)[name]))
    status, text = run(check)
    assert status == 10
    assert f"! recorded: {CHECKS[check].expected}" in text.replace("\n  ", " "), (
        "the check must reach a verdict, not break"
    )


def test_a_problem_whose_kernel_is_not_that_of_its_solution_flips_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from theory.problems import bkw3d

    monkeypatch.setattr(bkw3d, "maxwell", lambda d, strength: maxwell(d, strength / 2))
    assert run("bkw")[0] == 10


# --- the runner


def stub(finding: Finding | Exception, expected: Any = "holds") -> Check:
    def attempt(rng: np.random.Generator) -> Finding:
        rng.random()
        if isinstance(finding, Exception):
            raise finding
        return finding

    return Check("stub", "a statement", "nowhere", "symbolic + numerical", expected, attempt)


def with_stub(monkeypatch: pytest.MonkeyPatch, check: Check) -> tuple[int, str]:
    monkeypatch.setattr("paper_checks.__main__.CHECKS", {"stub": check})
    return run()


def test_a_list_names_every_statement_and_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Check, "generator", lambda self, seed: pytest.fail("a listed check was run"))
    status, text = run("--list")
    assert status == 0
    for name, check in CHECKS.items():
        assert name in text
        assert check.statement.split()[0] in text


def test_rows_fit_in_eighty_columns_and_name_id_source_tries_verdict_seconds_and_file() -> None:
    status, text = run("kappa", "norm_da")
    assert status == 0
    assert max(map(len, text.splitlines())) <= WIDTH == 80
    row = next(line for line in text.splitlines() if line.startswith("kappa"))
    cells = row.split()
    assert cells[0] == "kappa"
    assert "THEORY 6.3" in row
    assert cells[3] == "sym+num"
    assert int(cells[4].strip("()")) > 1000
    assert cells[5] == "holds"
    assert float(cells[6]) >= 0
    assert cells[7] == "kappa.py"
    assert (ROOT / "paper_checks" / cells[7]).exists()
    assert "smallest ratio kappa'/found under attack 1.000" in text.replace("\n  ", " ")


def test_every_file_is_called_after_its_statement() -> None:
    for name, check in CHECKS.items():
        assert Path(check.run.__code__.co_filename).stem == name


@pytest.mark.parametrize("expected", ["fails", "holds with this change", "not checkable here"])
def test_an_unrecorded_verdict_exits_with_10_even_if_it_is_better(
    monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    status, text = with_stub(monkeypatch, stub(Finding("holds", "fine"), expected))
    assert status == 10
    assert f"! recorded: {expected}" in text


def test_a_recorded_failure_exits_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = with_stub(monkeypatch, stub(Finding("fails", "counterexample x = 1", 3), "fails"))
    assert status == 0
    assert "counterexample x = 1" in text


def test_a_check_that_breaks_has_no_verdict_and_exits_with_10(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = with_stub(monkeypatch, stub(ZeroDivisionError("planted"), "not checkable here"))
    assert status == 10
    assert "no verdict" in text
    assert "planted" in capsys.readouterr().err


def test_an_unknown_id_exits_with_2_and_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run("kapa")
    error = capsys.readouterr().err
    assert (status, text) == (2, "")
    assert error.count("\n") == 1
    assert "did you mean 'kappa'?" in error


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--seed", "-1"], ["--seed", "x"]])
def test_a_wrong_command_line_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments)[0] == 2
    assert "error" in capsys.readouterr().err


def test_a_check_gets_the_same_random_numbers_alone_and_in_company() -> None:
    alone, company = CHECKS["kappa"].generator(3), CHECKS["kappa"].generator(3)
    CHECKS["bkw"].generator(3).random(7)
    assert alone.random() == company.random()
    assert CHECKS["bkw"].generator(3).random() != CHECKS["kappa"].generator(3).random()


def test_the_module_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "paper_checks", "--list", "kappa"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kappa")


# --- its parts


def test_a_trial_forgives_rounding_only_and_no_nan() -> None:
    good, low, bad = Trial(), Trial(), Trial()
    good.ratio(1.0, 1.0 + 1e-13, "at the bound")
    low.ratio(1.0, 1.0 + 1e-11, "above the bound")
    bad.small(math.nan, 1.0, "not a number")
    assert good.finding("fine").verdict == "holds"
    assert low.finding("fine").verdict == "fails"
    assert bad.finding("fine").verdict == "fails"


def test_the_first_violation_is_the_one_reported() -> None:
    trial = Trial()
    trial.small(1.0, 0.5, "first")
    trial.claim(False, "second")
    finding = trial.finding("fine", "holds with this change")
    assert finding.verdict == "fails"
    assert finding.detail.startswith("first")
    assert finding.tries == 1


def test_findings_and_checks_refuse_words_outside_the_vocabulary() -> None:
    with pytest.raises(ValueError, match="verdict 'true'"):
        Finding("true", "")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="recorded verdict 'maybe'"):
        stub(Finding("holds", ""), "maybe")
    with pytest.raises(ValueError, match="negative"):
        Finding("holds", "", -1)


def test_the_search_climbs_to_a_known_maximum_inside_its_domain() -> None:
    rng = np.random.default_rng(0)
    goal = np.array([0.6, -0.3, 0.2])
    value, point, tries = ascend(
        lambda x: -np.sum((x - 2 * goal) ** 2, axis=1), rng.standard_normal((8, 3)), rng, lambda x: into_ball(x, 1.0)
    )
    boundary = 2 * goal / np.linalg.norm(2 * goal)
    assert tries == 8 * 601
    assert value == pytest.approx(-((np.linalg.norm(2 * goal) - 1) ** 2), abs=1e-5)
    assert point == pytest.approx(boundary, abs=1e-2)
