"""The checks hold as recorded, and a planted error in any formula they rest on flips a verdict."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper_checks.__main__ import PAPERS, WIDTH, main
from paper_checks.check import Check, Finding, Trial
from paper_checks.formulas import InstantOps, inequality
from paper_checks.papers import Paper, numbered
from paper_checks.search import ascend, into_ball
from theory import drift, quadrature, sampling
from theory.bkw import Bkw
from theory.flow import FlowJets
from theory.gronwall import NumericOps, SymbolicOps
from theory.kernels import Kernel, maxwell
from theory.problem import Problem
from theory.smoothing import Smoothing
from theory.theorems import THEOREMS, lemma1_drift, thm1_trajectory, thm2_particles, thm5_master

ROOT = Path(__file__).resolve().parents[1]
CHECKS: dict[str, Check] = {name: check for paper in PAPERS.values() for name, check in paper.checks.items()}


def run(*arguments: str) -> tuple[int, str]:
    """Exit status and what was printed."""
    out = io.StringIO()
    return main(list(arguments), out), out.getvalue()


# --- the statements themselves


@pytest.fixture(scope="module")
def quick() -> tuple[int, str, float]:
    """One run of everything: exit status, what was printed, processor seconds."""
    start = time.process_time()
    status, text = run("--quick")
    return status, text, time.process_time() - start


def test_every_verdict_is_the_recorded_one(quick: tuple[int, str, float]) -> None:
    status, text, _ = quick
    assert status == 0, text
    assert f"{len(CHECKS)} statement(s): every verdict as recorded" in text


@pytest.mark.slow  # a time says nothing beside other work
def test_a_quick_run_takes_less_than_a_minute_of_one_core(quick: tuple[int, str, float]) -> None:
    assert quick[2] < 60


_RANDOM = [
    "bkw",
    "hyvarinen",
    "ism_objective",
    "kappa",
    "kde_variance",
    "lemma1",
    "lemma3",
    "moments",
    "norm_da",
    "particle_system",
    "physics_loss",
    "thm1_trajectory",
    "thm5_master",
    "sbp_kl",
]


@pytest.mark.parametrize("name", _RANDOM)
def test_the_verdict_does_not_depend_on_the_seed(name: str) -> None:
    status, text = run(name, "--quick", "--seed", "20240607")
    assert status == 0, text


@pytest.mark.parametrize("paper", PAPERS.values(), ids=lambda paper: paper.id)
def test_every_numbered_statement_has_exactly_one_row(paper: Paper) -> None:
    """Findings and the certificates of THEORY 6 cite numbers too, but are no rows of the paper."""
    rows = [check for name, check in paper.checks.items() if not name.startswith(("finding_", "stability_"))]
    covered = Counter(number for check in rows for number in numbered(check.source))
    assert {number: covered[number] for number in paper.numbers} == dict.fromkeys(paper.numbers, 1)


def test_the_numbers_of_the_paper_are_those_of_its_text() -> None:
    numbers = PAPERS["landau_pinn"].numbers
    assert len(numbers) == len(set(numbers)) == 1 + 9 + 11 + 19 + 4 + 3 + 6 + 3 + 2
    assert {"(2.2)", "(2.12)", "(3.11)", "(4.19)", "(A.4)", "Lemma 3", "Theorem 6", "Assumption 3", "Remark 2"} <= set(
        numbers
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("(2.9), (3.4)-(3.6)", ("(2.9)", "(3.4)", "(3.5)", "(3.6)")),
        ("Theorem 6, (A.1)", ("(A.1)", "Theorem 6")),
        ("Lemmas 1-3, Remark 2", ("Lemma 1", "Lemma 2", "Lemma 3", "Remark 2")),
        ("THEORY 6.3, Section 5.1", ()),
        ("Theorem 12, (4.10)", ("(4.10)", "Theorem 12")),
    ],
)
def test_numbers_are_read_off_a_source(source: str, expected: tuple[str, ...]) -> None:
    assert numbered(source) == expected


def test_no_two_papers_share_an_id() -> None:
    names = [name for paper in PAPERS.values() for name in (paper.id, *paper.checks)]
    assert len(names) == len(set(names))


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


def shifted(original: Any) -> Any:
    """A constant drift added."""
    return lambda *args, **kwargs: original(*args, **kwargs) + 0.01


def inverted(original: Any) -> Any:
    """exp(-int alpha)."""
    return lambda self, alpha, since: 1 / original(self, alpha, since)


def shifted_rate(original: Any) -> Any:
    """C1 smaller by 1."""
    return lambda *args, **kwargs: original(*args, **kwargs) - 1


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
    ("transport_form", "BKW score", Bkw, "score", scaled(1.001)),
    ("conservation", "pair sum loses momentum", drift, "pair_drift", shifted),
    ("conservation", "Fisher information", Bkw, "fisher_information", scaled(1.001)),
    ("characteristics", "BKW flow", Bkw, "flow_radius", wrong_flow),
    ("particle_system", "energy of the drift", Bkw, "fisher_information", scaled(3.0)),
    ("euler_step", "BKW drift", Bkw, "drift", wrong_drift),
    ("neural_flow", "pair sum loses momentum", drift, "pair_drift", shifted),
    ("physics_loss", "pair sum twice as strong", drift, "pair_drift", scaled(2.0)),
    ("total_loss", "Maxwell pair sum", drift, "maxwell_pair_drift", wrong_pair_sum),
    ("kernel_bounded", "Lambda too small", Kernel, "sup_norm", scaled(0.999)),
    ("assumption1", "L_s too small", Bkw, "score_lipschitz", scaled(0.9)),
    ("remark1", "profile exponent", Kernel, "matrix", wrong_projector),
    ("remark2", "L_A too small", Kernel, "lipschitz", scaled(0.3)),
    ("assumption2", "floor too high", sampling, "floor", scaled(1.1)),
    ("kde_bias", "bias constant", Smoothing, "bias", scaled(0.9)),
    ("kde_bias", "second moment", Smoothing, "second_moment", scaled_property(1.01)),
    ("kde_variance", "norm of K", Smoothing, "norm", scaled_property(0.999)),
    ("kde_trajectory", "norm of grad K", Smoothing, "gradient_norm", scaled_property(0.999)),
    ("kde_trajectory", "gain", Smoothing, "gain", scaled(0.9)),
    ("thm6_density", "noise", Smoothing, "noise", scaled(0.9)),
    ("pushforward_score", "pushforward score", FlowJets, "pushforward_score", scaled(1.001)),
    ("bkw_numbers", "tail moment", Bkw, "tail_moment", scaled(1.001)),
    ("bkw_numbers", "peak", Bkw, "sup_density", scaled(1.001)),
    ("log_norm", "log-norm too small", Bkw, "drift_one_sided", scaled(0.9)),
    ("log_norm", "Lip U too small", Bkw, "drift_lipschitz", scaled(0.9)),
    ("gronwall", "growth of the symbolic rule", SymbolicOps, "_growth", inverted),
    ("gronwall", "numerical rule", NumericOps, "gronwall", lambda original: lambda *a: original(*a) * 0.99),
    ("lemma1", "L_U without the kernel's share", lemma1_drift, "drift_lipschitz", scaled(0.1)),
    ("thm1_trajectory", "alpha", thm1_trajectory, "drift_lipschitz", scaled(0.9)),
    ("thm2_particles", "C1 without + 2", thm2_particles, "rate", shifted_rate),
    ("thm2_steps", "alpha + L_g too small", thm2_particles, "linear_rate", scaled(0.9)),
    ("thm5_master", "the paper's C1", thm5_master, "rate", shifted_rate),
    ("entropy_identity", "Maxwell pair sum too strong", drift, "maxwell_pair_drift", scaled(1.01)),
    ("kl_estimate", "kernel without projection", Kernel, "matrix", wrong_projector),
]

# one term of a theorem's formula, scaled: (check, theorem, term, factor)
PLANTED_TERMS = [
    ("hyvarinen", "lemma2", "excess risk", 0.999),
    ("lemma1", "lemma1_lipschitz", "score", 0.5),
    ("lemma1", "lemma1_lipschitz", "kernel", 0.5),
    ("lemma1", "lemma1", "score error", 0.9),
    ("lemma1", "lemma1", "measure mismatch", 0.5),
    ("lemma3", "lemma3", "trajectories", 0.9),
    ("lemma3", "lemma3", "sampling", 0.9),
    ("thm1_trajectory", "thm1", "residual", 0.9),
    ("thm2_particles", "thm2_sharp", "residual", 0.9),
    ("thm3_lifting", "thm3", "trajectories", 0.9),
    ("thm3_lifting", "thm3", "sampling", 0.9),
    ("thm4_score_error", "thm4", "objective and Fisher information", 0.9),
    ("thm4_score_error", "thm4", "law gap", 0.1),
    ("thm5_master", "thm5_sharp", "residual", 0.9),
    ("thm5_master", "thm5", "sampling", 0.9),
    ("thm6_density", "thm6_sharp", "bias", 0.9),
    ("thm6_density", "thm6", "sampling", 0.9),
    ("log_norm", "thm1_direct", "drift mismatch", 0.5),
]


@pytest.mark.parametrize(("check", "theorem", "term", "factor"), PLANTED_TERMS)
def test_a_wrong_term_of_a_theorem_flips_the_verdict(
    check: str, theorem: str, term: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = THEOREMS[theorem]

    def formula(ops: Any, **values: Any) -> Any:
        terms = dict(right.formula(ops, **values))
        return terms | {term: terms[term] * factor}

    monkeypatch.setattr(THEOREMS, "_items", {**THEOREMS, theorem: replace(right, formula=formula)})
    status, text = run(check, "--quick")
    assert status == 10
    assert "no verdict" not in text, text


@pytest.mark.parametrize(
    ("check", "owner", "name", "fault"), [p[:1] + p[2:] for p in PLANTED], ids=[p[1] for p in PLANTED]
)
def test_a_planted_error_flips_the_verdict(
    check: str, owner: Any, name: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, fault(vars(owner)[name]))
    status, text = run(check, "--quick")
    assert status == 10
    assert f"! recorded: {CHECKS[check].expected}" in text.replace("\n  ", " "), (
        "the check must reach a verdict, not break"
    )


def test_a_problem_whose_kernel_is_not_that_of_its_solution_flips_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from theory.problems import bkw3d

    monkeypatch.setattr(bkw3d, "maxwell", lambda d, strength: maxwell(d, strength / 2))
    assert run("bkw", "--quick")[0] == 10


# --- the runner


def stub(finding: Finding | Exception, expected: Any = "holds") -> Check:
    def attempt(rng: np.random.Generator, quick: bool) -> Finding:
        rng.random()
        if isinstance(finding, Exception):
            raise finding
        return finding

    return Check("stub", "a statement", "nowhere", "symbolic + numerical", expected, attempt)


def with_stub(monkeypatch: pytest.MonkeyPatch, check: Check) -> tuple[int, str]:
    papers = {"a_paper": Paper("a_paper", "A paper", (), {"stub": check})}
    monkeypatch.setattr("paper_checks.__main__.PAPERS", papers)
    return run()


def test_a_list_names_every_statement_and_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Check, "generator", lambda self, seed: pytest.fail("a listed check was run"))
    status, text = run("--list")
    assert status == 0
    for name, check in CHECKS.items():
        assert name in text
        assert check.statement.split()[0] in text


def test_rows_fit_in_the_width_and_name_id_source_tries_verdict_seconds_and_file() -> None:
    status, text = run("kappa", "norm_da", "--quick")
    assert status == 0
    assert max(map(len, text.splitlines())) <= WIDTH == 106
    row = next(line for line in text.splitlines() if line.startswith("kappa"))
    cells = row.split()
    assert cells[0] == "kappa"
    assert "THEORY 6.3" in row
    assert cells[3] == "sym+num"
    assert int(cells[4]) > 1000
    assert cells[5] == "holds"
    assert float(cells[6]) >= 0
    assert cells[7] == "kappa.py"
    assert "paper_checks/landau_pinn/" in text.splitlines()
    assert (ROOT / "paper_checks" / "landau_pinn" / cells[7]).exists()
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


def test_papers_and_ids_can_be_mixed() -> None:
    status, text = run("--list", "sbp_kl", "kappa", "kl_estimate")
    assert status == 0
    rows = [line.split()[0] for line in text.splitlines() if line and not line.startswith((" ", "paper_checks/"))]
    assert rows == [*PAPERS["sbp_kl"].checks, "kappa"]


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
    assert "\nkappa" in done.stdout


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


def test_a_counterexample_that_does_not_come_out_is_no_verdict() -> None:
    good, bad = Trial(), Trial()
    bad.claim(False, "the example is one")
    assert good.counterexample("x = 1").verdict == "fails"
    assert bad.counterexample("x = 1").verdict == "not checkable here"


def test_the_inequality_is_read_off_the_formula() -> None:
    rate, source, of = inequality("stability_w2")
    assert rate == 2 * of["kappa"]
    assert source == of["defect"] + of["defect_tail"]
    with pytest.raises(TypeError, match="no value at an instant"):
        THEOREMS["stability_w2"].terms(InstantOps(), of)


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
