"""Runs that break a hypothesis are VOID, however small their defect is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from certify.context import Context
from certify.judge import judge
from certify.options import Options
from certify.results import Certificate, Report, Status
from solver.networks import Window, build
from solver.run import TorchRun
from solver.train import metadata
from tests.runs import TruncatedGaussian, folded, scaled, translation, truncated_problem
from theory.problems import parse_problem

PROBLEM = parse_problem("bkw2d:t0=1/2")
STABILITY = ("stability_w2", "stability_wp", "stability_wp2", "stability_kl", "stability_l1")
# the tolerance keeps the starting rule: what is tested here needs no fine quadrature
FAST = Options(times=4, samples=30, w1_samples=30, tolerance=1e3, certificates=STABILITY)


def assert_void_from_the_start(report: Report, hypothesis: str) -> None:
    assert len(report.certificates) == len(STABILITY)
    for certificate in report.certificates:
        assert set(certificate.statuses) == {Status.VOID}, certificate.id
        assert any(reason.startswith(f"{hypothesis}:") for reason in certificate.reasons), certificate.reasons


def folding(certificate: Certificate) -> list[str]:
    return [reason for reason in certificate.reasons if reason.startswith("orientation:")]


@pytest.mark.parametrize("slope", [1.2, 3.0])
def test_a_folded_flow_is_void_from_the_last_time_it_was_not_folded(slope: float) -> None:
    report = judge(folded(PROBLEM, slope), PROBLEM, FAST)
    t0, T = float(PROBLEM.t0), float(PROBLEM.T)
    fold = t0 + (T - t0) / slope
    for certificate in report.certificates:
        assert certificate.status is Status.VOID, certificate.id
        assert folding(certificate), certificate.reasons
        assert t0 <= certificate.valid_until < fold < T
        for t, status in zip(certificate.times, certificate.statuses, strict=True):
            assert (status is Status.VOID) == (t > certificate.valid_until)


def test_the_truncated_gaussian_is_void_at_all_times_although_its_defect_is_zero() -> None:
    problem, density = truncated_problem(), TruncatedGaussian()
    run = scaled(problem, problem.kernel.strength * (1 - density.temperature))
    pushed = Context(run, problem, float(problem.t0), FAST).pushed
    assert pushed is not None
    assert np.abs(pushed.defect).max() < 1e-12
    assert np.abs(pushed.dt).max() > 0.01  # the flow does move
    assert pushed.det.min() > 0.5
    assert_void_from_the_start(judge(run, problem, FAST), "no_jump")


def test_the_stein_identities_see_the_jump_of_the_truncated_gaussian() -> None:
    problem = truncated_problem()
    report = judge(scaled(problem, 0.0), problem, FAST)
    assert_void_from_the_start(report, "stein")


def test_a_flow_that_does_not_start_at_the_identity_is_void() -> None:
    assert_void_from_the_start(judge(scaled(PROBLEM, 0.0, start=1.001), PROBLEM, FAST), "identity")


def test_a_flow_that_meets_every_hypothesis_is_not_void() -> None:
    report = judge(translation(PROBLEM, 0.01), PROBLEM, FAST)
    assert all(Status.VOID not in c.statuses for c in report.certificates)


def test_the_papers_theorems_from_an_empty_core_are_void_because_the_score_is_unbounded() -> None:
    problem = parse_problem("bkw2d:t0=0,T=5")
    shape = {"velocity_embedding": [8, 1], "time_embedding": [8, 1], "hidden": [8, 1], "activation": "silu"}
    architecture = {"flow": {"kind": "free", **shape}, "score": shape}
    torch.manual_seed(0)
    nets = build(architecture, 2, Window(0.0, 5.0))
    run = TorchRun("small", metadata(problem, architecture, {}), {k: n.state_dict() for k, n in nets.items()})
    options = Options(
        times=2, samples=30, w1_samples=30, tolerance=1e3, certificates=("thm1", "thm2", "thm5"), quick=True
    )
    report = judge(run, problem, options)
    assert [c.id for c in report.certificates] == ["thm1", "thm2", "thm5"]
    for certificate in report.certificates:
        assert set(certificate.statuses) == {Status.VOID}
        assert "score is unbounded" in certificate.reasons[0]
