"""Planted faults: each of the classic ways to a false certificate turns a green report red, or is refused.

Every case first sees the alarm silent, then plants the fault and sees it ring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import certify.judge
import certify.pushforward
from certify.context import Context
from certify.estimators.lipschitz import spectral_product
from certify.judge import judge
from certify.options import Options
from certify.results import Certificate, Report, Status
from certify.transport import NotOptimalError, exact_w1
from tests.runs import FunctionRun, exact_run, gradient_perturbation, translation
from theory.bkw import Bkw, BkwDensity
from theory.drift import maxwell_drift
from theory.kernels import Kernel
from theory.problems import parse_problem
from theory.provenance import Estimate, Side

PROBLEM = parse_problem("bkw2d:t0=1/2")
LATER = parse_problem("bkw2d:t0=1")
PUSHED = translation(PROBLEM, 0.01)
FAST = Options(times=2, samples=40, w1_samples=40, tolerance=0.1)

Patch = pytest.MonkeyPatch
Found = dict[str, Estimate]


def report(run: FunctionRun = PUSHED, problem: Any = PROBLEM, *names: str, **options: Any) -> Report:
    return judge(run, problem, replace(FAST, certificates=names, **options))


def one(run: FunctionRun, problem: Any, name: str, **options: Any) -> Certificate:
    return report(run, problem, name, **options).certificates[0]


def contradicted(run: FunctionRun, problem: Any, name: str, **options: Any) -> bool:
    return Status.CONTRADICTED in one(run, problem, name, **options).statuses


def tamper(patch: Patch, change: Callable[[Found], Mapping[str, Estimate]]) -> None:
    """Change estimates on their way from the estimators to the theorems."""
    genuine = certify.judge.estimates_of

    def faulty(context: Context, only: Any = None) -> tuple[Found, dict[str, float]]:
        found, seconds = genuine(context, only)
        return {**found, **change(found)}, seconds

    patch.setattr(certify.judge, "estimates_of", faulty)


def scale(key: str, f: Callable[[np.ndarray], np.ndarray]) -> Callable[[Found], Mapping[str, Estimate]]:
    return lambda found: {k: replace(e, value=f(np.asarray(e.value))) for k, e in found.items() if k == key}


def s1_is_contradicted() -> bool:
    return contradicted(PUSHED, PROBLEM, "stability_w2")


def the_exact_flow_has_a_defect() -> bool:
    bound = one(exact_run(PROBLEM), PROBLEM, "stability_w2", tolerance=1e3).log_bound
    assert bound is not None
    return not math.exp(bound[-1]) < 1e-6


# --- estimates --------------------------------------------------------------------------------------------------------


def test_a_halved_estimate(monkeypatch: Patch) -> None:
    assert not s1_is_contradicted()
    tamper(monkeypatch, scale("defect", lambda x: x / 2))
    assert s1_is_contradicted()


def test_a_forgotten_square_root(monkeypatch: Patch) -> None:
    assert not s1_is_contradicted()
    tamper(monkeypatch, scale("defect", np.square))  # int D^2 for int D
    assert s1_is_contradicted()


def test_a_swapped_side(monkeypatch: Patch) -> None:
    assert one(PUSHED, PROBLEM, "stability_w2").status is Status.CONDITIONAL
    tamper(monkeypatch, lambda found: {"defect": replace(found["defect"], side=Side.LOWER)})
    certificate = one(PUSHED, PROBLEM, "stability_w2")
    assert certificate.status is Status.INDICATIVE
    assert any("the theorem needs upper" in reason for reason in certificate.reasons)


def test_a_dropped_factor_of_the_activation() -> None:
    x = np.linspace(0, 6, 100_001)
    silu = x / (1 + np.exp(-x))
    seen = float(np.max(np.diff(silu) / np.diff(x)))
    one_neuron = np.ones((1, 1))
    assert spectral_product(((one_neuron, 1.0998393202), (one_neuron, 1.0))) >= seen
    assert spectral_product(((one_neuron, 1.0), (one_neuron, 1.0))) < seen


def test_a_kernel_bound_for_the_wrong_radius(monkeypatch: Patch) -> None:
    assert not contradicted(PUSHED, PROBLEM, "lemma1_lipschitz", radius=3.6, samples=400)
    genuine = Kernel.sup_norm
    monkeypatch.setattr(Kernel, "sup_norm", lambda self, radius: genuine(self, radius / 2))  # |v - w| <= R, not 2 R
    certificate = one(PUSHED, PROBLEM, "lemma1_lipschitz", radius=3.6, samples=400)
    assert certificate.status is Status.CONTRADICTED
    assert certificate.reasons[0].startswith("kernel_bound")


# --- theorems and the window ------------------------------------------------------------------------------------------


def test_a_missing_initial_term(monkeypatch: Patch) -> None:
    """A restart whose certificate forgets what went wrong before its window."""
    assert not contradicted(PUSHED, LATER, "stability_w2")
    monkeypatch.setattr(certify.judge, "_own_window", lambda context, theorem: context.is_restart)
    assert contradicted(PUSHED, LATER, "stability_w2")


def test_an_initial_error_taken_for_zero(monkeypatch: Patch) -> None:
    assert not contradicted(PUSHED, LATER, "thm1_direct")
    tamper(monkeypatch, scale("initial_error", lambda x: 0 * x))
    assert contradicted(PUSHED, LATER, "thm1_direct")


def test_a_friction_rate_that_is_too_large(monkeypatch: Patch) -> None:
    assert not contradicted(PUSHED, PROBLEM, "stability_wp2")
    genuine = Kernel.friction.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Kernel, "friction", property(lambda self: 2 * self.d * genuine(self)))
    assert contradicted(PUSHED, PROBLEM, "stability_wp2")


# --- equation and exact solution --------------------------------------------------------------------------------------


def test_the_wrong_sign_of_the_friction_term(monkeypatch: Patch) -> None:
    assert not the_exact_flow_has_a_defect()
    genuine = maxwell_drift

    def faulty(strength: float, x: Any, s: Any, mean: Any, covariance: Any) -> Any:
        friction = -(x.shape[-1] - 1) * strength * (x - mean[..., None, :])
        return genuine(strength, x, s, mean, covariance) - 2 * friction  # -(A * f) s - b * f

    monkeypatch.setattr(certify.pushforward, "maxwell_drift", faulty)
    assert the_exact_flow_has_a_defect()


def test_a_wrong_k_of_t(monkeypatch: Patch) -> None:
    """The exact solution of another time scale: the right flow is contradicted by errors measured against it."""
    genuine = Bkw.coefficients

    class Right(Bkw):
        coefficients = genuine

    run = FunctionRun(PROBLEM, Right(2, 1 / 16, 0.5, 0.5).flow_jets, "exact flow")
    assert not contradicted(run, PROBLEM, "stability_kl")

    def faulty(self: Bkw, t: float) -> tuple[float, float, float]:
        return genuine(self, self.t0 + 2 * (t - self.t0))

    monkeypatch.setattr(Bkw, "coefficients", faulty)
    assert contradicted(run, PROBLEM, "stability_kl")


# --- sampling and quadrature ------------------------------------------------------------------------------------------


def test_a_quadrature_that_misses_the_core(monkeypatch: Patch) -> None:
    assert one(PUSHED, PROBLEM, "stability_w2").status is Status.CONDITIONAL
    genuine = BkwDensity.radial_edges
    monkeypatch.setattr(BkwDensity, "radial_edges", lambda self: np.array([0.5, *genuine(self)[genuine(self) > 0.6]]))
    certificate = one(PUSHED, PROBLEM, "stability_w2")
    assert certificate.status in (Status.VOID, Status.CONTRADICTED)


def test_training_particles_reused() -> None:
    """A run that was trained on the very particles it is judged by."""
    context = Context(PUSHED, PROBLEM, 0.5, FAST)
    fair = one(PUSHED, PROBLEM, "thm1_direct")
    assert fair.verdicts["fresh"][1].outcome.value == "holds"

    class Memorised(FunctionRun):
        def trained_on(self) -> np.ndarray:
            return context.particles[:5]

    unfair = one(Memorised(PROBLEM, PUSHED.jets_at), PROBLEM, "thm1_direct")
    assert unfair.status is Status.VOID
    assert unfair.verdicts["fresh"][1].outcome.value == "fails"


def test_optimal_transport_stopped_early() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 400, 2))
    assert exact_w1(x, y).lower > 0
    with pytest.raises(NotOptimalError):
        exact_w1(x, y, max_iterations=50)


def test_a_measured_error_above_the_bound_is_never_green(monkeypatch: Patch) -> None:
    run = gradient_perturbation(PROBLEM, 0.01, np.array([1.0, 0.5]))
    assert not contradicted(run, PROBLEM, "stability_kl")
    tamper(monkeypatch, scale("defect_entropy", lambda x: x / 10))
    assert contradicted(run, PROBLEM, "stability_kl")
