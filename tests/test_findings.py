"""Findings and stability checks: verdicts as recorded, the page up to date, and a planted error flips each of them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper_checks.check import Check, Finding, Trial
from paper_checks.findings import FINDINGS, WriteUp, main, outcomes, page, refuted
from paper_checks.landau_pinn import (
    finding_ism_bounded,
    finding_nbody,
    finding_sampling_rate,
    finding_zero_defect,
    stability_fixed_mu,
    stability_flows,
)
from paper_checks.papers import load
from theory.bkw import Bkw
from theory.flow import FlowJets
from theory.kernels import Kernel, maxwell
from theory.theorems import THEOREMS

ROOT = Path(__file__).resolve().parents[1]
CHECKS: dict[str, Check] = {
    name: check for name, check in load()["landau_pinn"].checks.items() if name.startswith(("finding_", "stability_"))
}


def verdict(name: str) -> str:
    check = CHECKS[name]
    return check.run(check.generator(0), True).verdict


@pytest.fixture(scope="module")
def told() -> list[tuple[WriteUp, Finding]]:
    return list(outcomes(0, True))


# --- the page


def test_every_finding_has_the_recorded_verdict(told: list[tuple[WriteUp, Finding]]) -> None:
    assert {one.id: outcome.verdict for one, outcome in told} == {one.id: one.check.expected for one, _ in told}


def test_every_finding_module_is_told() -> None:
    modules = {path.stem for path in (ROOT / "paper_checks" / "landau_pinn").glob("finding_*.py")}
    assert modules == set(FINDINGS) == {name for name in CHECKS if name.startswith("finding_")}


def headings(text: str) -> list[str]:
    return re.findall(r"^## \d+\. (.*)$", text, re.MULTILINE)


def test_the_shipped_page_has_every_finding_with_its_verdict_statement_repair_and_file() -> None:
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert headings(text) == [one.title for one in FINDINGS.values()]
    sections = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]
    for section, one in zip(sections, FINDINGS.values(), strict=True):
        assert f"**Verdict.** {one.check.expected}\n" in section
        assert one.claim in section
        assert one.repair in section
        assert f"`paper_checks/landau_pinn/{one.id}.py`" in section
        assert re.search(r"^- .*\d", section, re.MULTILINE)


def test_the_page_is_written_from_the_outcomes(told: list[tuple[WriteUp, Finding]]) -> None:
    text = page(told, 7)
    assert headings(text) == [one.title for one, _ in told]
    for _, outcome in told:
        assert all(f"- {line}\n" in text for line in outcome.detail.splitlines())


def test_the_command_writes_the_page_and_reports_news(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = FINDINGS["finding_tail"]
    news = replace(one, check=replace(one.check, expected="fails"))
    for entry, status, complaint in ((one, 0, ""), (news, 10, "finding_tail")):
        monkeypatch.setattr("paper_checks.findings.FINDINGS", {"finding_tail": entry})
        target = tmp_path / "page.md"
        assert main(["-o", str(target), "--quick"]) == status
        assert complaint in capsys.readouterr().err
        assert one.title in target.read_text(encoding="utf-8")
        out = io.StringIO()
        assert main(["--quick"], out) == status
        assert out.getvalue() == target.read_text(encoding="utf-8")
    assert main(["--seed", "-1"]) == 2


def test_a_counterexample_that_does_not_stand_refutes_nothing() -> None:
    trial = Trial()
    assert refuted(trial, "example").verdict == "fails"
    trial.claim(False, "step")
    assert refuted(trial, "example").verdict == "not checkable here"


# --- planted errors: (check, what, object, attribute, faulty version of the original)

Fault = Callable[[Any], Any]


def scaled(factor: float) -> Fault:
    return lambda original: lambda *args, **kwargs: factor * original(*args, **kwargs)


def scaled_property(factor: float) -> Fault:
    return lambda original: property(lambda self: factor * original.fget(self))


def no_projection(original: Any) -> Any:
    def matrix(self: Kernel, z: Any) -> Any:
        r2 = np.sum(z * z, axis=-1)
        return original(self, z) * 0 + (self.profile(np.sqrt(r2)) * r2)[..., None, None] * np.eye(self.d)

    return matrix


def slow_clock(original: Any) -> Any:
    return lambda self, t: original(self, t / 2 + self.t0 / 2)


def heavy_law(original: Any) -> Any:
    """The distance to a weighted law comes out 5 % too large."""

    def w1(x: Any, y: Any, weights: Any = None) -> float:
        return original(x, y, weights) * (1.0 if weights is None else 1.05)

    return w1


def half_divergence(original: Any) -> Any:
    return lambda score, divergence: original(score, divergence / 2)


PLANTED: list[tuple[str, str, Any, str, Fault]] = [
    ("finding_lipschitz_score", "Lip s halved", Bkw, "score_lipschitz", scaled(0.5)),
    ("finding_lipschitz_score", "log-norm doubled", Bkw, "drift_one_sided", scaled(2.0)),
    ("finding_sampling_rate", "floor three times too high", finding_sampling_rate, "floor", scaled(3.0)),
    ("finding_sampling_rate", "W1 as W1^(3/2)", finding_sampling_rate, "w1", lambda f: lambda x, y: f(x, y) ** 1.5),
    ("finding_ism_bounded", "div s instead of 2 div s", finding_ism_bounded, "empirical", half_divergence),
    ("finding_ism_bounded", "Fisher information", Bkw, "fisher_information", scaled(1.1)),
    ("finding_ism_optimism", "score", Bkw, "score", scaled(1.05)),
    ("finding_constants", "Lambda halved", Kernel, "sup_norm", scaled(0.5)),
    ("finding_constants", "Lip s", Bkw, "score_lipschitz", lambda f: lambda self, t: 1e-3 * f(self, t)),
    ("finding_nbody", "exact drift", Bkw, "drift", scaled(1.2)),
    ("finding_nbody", "pair sum", finding_nbody, "maxwell_pair_drift", scaled(1.01)),
    ("finding_tail", "kernel without projection", Kernel, "matrix", no_projection),
    ("finding_zero_defect", "mean-field drift", finding_zero_defect, "maxwell_drift", scaled(1.001)),
    ("finding_sampled_defect", "exact drift", Bkw, "drift", scaled(1.001)),
    ("finding_euler", "exact drift", Bkw, "drift", scaled(1.01)),
    ("finding_euler", "exact flow", Bkw, "flow_radius", scaled(1.001)),
    ("finding_torus", "kernel without projection", Kernel, "matrix", no_projection),
    ("finding_lipschitz_kernel", "L_A", Kernel, "lipschitz", scaled(0.9)),
    ("stability_contraction", "kappa'", Kernel, "kappa", scaled_property(0.9)),
    ("stability_law", "BKW clock", Bkw, "coefficients", slow_clock),
    ("stability_law", "friction", Kernel, "divergence", scaled(1.5)),
    ("stability_pushforward", "pushforward score", FlowJets, "pushforward_score", scaled(1.001)),
    ("stability_gelbrich", "Gelbrich's bound", stability_flows, "gelbrich", scaled(1.001)),
    ("stability_fixed_mu", "W1 to the law", stability_fixed_mu, "w1", heavy_law),
    ("stability_lognorm", "log-norm", Bkw, "drift_one_sided", scaled(0.5)),
    ("stability_w2", "exact drift", Bkw, "drift", scaled(0.9)),
    ("stability_w2", "density", Bkw, "log_density", scaled(1.001)),
]


@pytest.mark.parametrize(
    ("name", "what", "owner", "attribute", "fault"), PLANTED, ids=[f"{p[0]}: {p[1]}" for p in PLANTED]
)
def test_a_planted_error_flips_the_verdict(
    monkeypatch: pytest.MonkeyPatch, name: str, what: str, owner: Any, attribute: str, fault: Fault
) -> None:
    original = owner.__dict__[attribute]
    monkeypatch.setattr(owner, attribute, fault(original))
    assert verdict(name) != CHECKS[name].expected, what


def without_initial(formula: Any) -> Any:
    return lambda ops, **given: {k: v for k, v in formula(ops, **given).items() if not k.startswith("initial")}


def with_source(key: str, factor: float) -> Fault:
    """The formula with one ingredient scaled."""
    return lambda formula: lambda ops, **given: formula(ops, **{**given, key: factor * given[key]})


def smaller(factor: float) -> Fault:
    return lambda formula: lambda ops, **given: {k: v * factor for k, v in formula(ops, **given).items()}


FORMULAS: list[tuple[str, str, str, Fault]] = [
    ("stability_w2", "S1: defect 1 % too small", "stability_w2", with_source("defect", 0.99)),
    ("stability_w2", "S1: initial distance forgotten", "stability_w2", without_initial),
    ("stability_wp", "S2, p = 2: friction doubled", "stability_wp2", with_source("friction", 4.0)),
    ("stability_wp", "S2, p = 1: half the defect", "stability_wp", with_source("defect_l1", 0.5)),
    ("stability_kl", "S3: 1/8 instead of 1/4", "stability_kl", with_source("defect_entropy", 0.5)),
    ("stability_kl", "S3: Pinsker without the 2", "stability_l1", smaller(0.5)),
    ("stability_chi2", "S4: half the source", "stability_chi2", with_source("defect_chi2", 0.4)),
    ("stability_lognorm", "Theorem 1: residual halved", "thm1_lognorm", with_source("residual_rms", 0.5)),
    ("stability_lognorm", "Theorem 1: initial error forgotten", "thm1_law", without_initial),
    ("stability_kde", "Theorem 6: gain 5 % too small", "thm6_w1", smaller(0.95)),
    ("finding_kde_bias", "Theorem 6: half the bias", "thm6_sharp", smaller(0.5)),
    ("finding_young", "Theorem 2: printed form halved", "thm2", smaller(0.5)),
    (
        "finding_young",
        "Theorem 2: root form with twice the score's constant",
        "thm2_sharp",
        with_source("kernel_bound", 2.0),
    ),
    (
        "finding_zero_defect",
        "S1 adds a constant",
        "stability_w2",
        lambda f: lambda ops, **g: f(ops, **{**g, "defect": 1.0}),
    ),
    ("finding_constants", "Theorem 2 without its factor", "thm2", with_source("kernel_bound", 0.0)),
    ("finding_nbody", "Theorem 5: V forgotten", "thm5", with_source("drift_sampling", 0.0)),
]


@pytest.mark.parametrize(("name", "what", "theorem", "fault"), FORMULAS, ids=[f"{p[0]}: {p[1]}" for p in FORMULAS])
def test_a_planted_error_in_a_theorem_flips_the_verdict(
    monkeypatch: pytest.MonkeyPatch, name: str, what: str, theorem: str, fault: Fault
) -> None:
    mutant = replace(THEOREMS[theorem], formula=fault(THEOREMS[theorem].formula))
    monkeypatch.setitem(THEOREMS._load(), theorem, mutant)
    assert verdict(name) != CHECKS[name].expected, what


def test_every_check_is_seen_to_flip() -> None:
    assert {p[0] for p in PLANTED} | {p[0] for p in FORMULAS} == set(CHECKS)


# --- the shared machinery


def test_the_perturbed_flow_has_the_jets_it_claims() -> None:
    rng = np.random.default_rng(3)
    on = stability_flows.bases(True)[0]
    how = stability_flows.decode(on, rng.standard_normal(stability_flows.parameters(on)))
    x, tau, h = rng.standard_normal((6, 2)), np.full(6, 1.7), 1e-5
    gradient, jacobian, inverse, det, slope = how.jets(x, tau)
    assert inverse @ jacobian == pytest.approx(np.broadcast_to(np.eye(2), (6, 2, 2)), abs=1e-12)
    for k, e in enumerate(h * np.eye(2)):
        up, down = how.jets(x + e, tau), how.jets(x - e, tau)
        assert tau[:, None] * (up[0] - down[0]) / (2 * h) == pytest.approx(jacobian[:, :, k] - np.eye(2)[k], abs=1e-8)
        assert (np.log(up[3]) - np.log(down[3])) / (2 * h) == pytest.approx(slope[:, k], abs=1e-8)
    assert det == pytest.approx(np.linalg.det(jacobian))
    assert gradient.shape == x.shape


def test_w1_of_clouds_is_the_closed_form_on_a_line() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 40, 1))
    assert stability_fixed_mu.w1(x, y) == pytest.approx(np.mean(np.abs(np.sort(x, 0) - np.sort(y, 0))))
    assert stability_fixed_mu.w1(x, y, np.full(40, 1 / 40)) == pytest.approx(stability_fixed_mu.w1(x, y))


def test_gelbrich_of_gaussians_in_one_direction() -> None:
    low = stability_flows.gelbrich(np.array([1.0, 0.0]), np.diag([4.0, 1.0]), np.zeros(2), np.eye(2))
    assert low == pytest.approx(np.sqrt(2.0))


def test_n_body_conserves_momentum_and_energy() -> None:
    exact = Bkw(2, 1 / 16, 0.5, 0.5)
    x = exact.sample(0.5, 20, np.random.default_rng(1))[None]
    end = finding_nbody.n_body(exact, x, 40)
    assert end.mean(axis=1) == pytest.approx(x.mean(axis=1), abs=1e-12)
    assert np.mean(end**2) == pytest.approx(np.mean(x**2), abs=1e-8)
    assert maxwell(2, 1 / 16).strength == exact.strength
