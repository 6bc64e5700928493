"""S4: its energy estimate on polynomials, its witnesses from their definitions, perturbed BKW flows, its hypotheses."""

import itertools
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from scipy.linalg import eigh

from certify import facts
from certify.context import Context
from certify.engine import evaluate
from certify.estimators import flow_defect, measured
from certify.estimators.constants import compute as constants
from certify.judge import Resting
from certify.options import Options
from tests.runs import exact_run, gradient_perturbation, scaled, translation
from theory.bkw import BkwDensity
from theory.gronwall import NumericOps, TimeGrid
from theory.hypotheses import CHI2_INTEGRABLE, ISOTROPIC_COVARIANCE
from theory.kernels import maxwell
from theory.problem import Problem
from theory.problems import PROBLEMS
from theory.quadrature import polar_rule
from theory.theorem import Outcome
from theory.theorems import THEOREMS

THEOREM = THEOREMS["stability_chi2"]
C = 1 / 16


def gauss_hermite(d: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.hermite_e.hermegauss(n)
    nodes = np.stack(np.meshgrid(*[x] * d, indexing="ij"), -1).reshape(-1, d)
    weights = np.prod(np.stack(np.meshgrid(*[w / math.sqrt(2 * math.pi)] * d, indexing="ij"), -1).reshape(-1, d), -1)
    return nodes, weights


@pytest.mark.parametrize("d", [2, 3])
def test_the_dissipation_is_at_least_twice_the_friction_and_only_thanks_to_the_rotations(d: int) -> None:
    """Q(h) >= 2 c |h|^2 on polynomials of degree 4 with mean zero; friction alone gives c."""
    kernel = maxwell(d, C)
    x, w = gauss_hermite(d, 8)
    powers = [p for p in itertools.product(range(5), repeat=d) if 0 < sum(p) <= 4]
    h = np.stack([np.prod(x ** np.array(p), axis=1) for p in powers], axis=1)
    grad = np.zeros((len(x), d, len(powers)))
    for j, p in enumerate(powers):
        for i in range(d):
            if p[i]:
                lower = [q - (k == i) for k, q in enumerate(p)]
                grad[:, i, j] = p[i] * np.prod(x ** np.array(lower), axis=1)
    h = h - w @ h
    mass = (w[:, None] * h).T @ h
    a_bar = np.einsum("nmij,m->nij", kernel.matrix(x[:, None] - x), w)  # A * M from the kernel itself
    full = np.einsum("n,nia,nij,njb->ab", w, grad, a_bar, grad)
    plain = kernel.friction * np.einsum("n,nia,nib->ab", w, grad, grad)
    assert eigh(full, mass, eigvals_only=True)[0] == pytest.approx(2 * kernel.friction, rel=1e-9)
    assert eigh(plain, mass, eigvals_only=True)[0] == pytest.approx(kernel.friction, rel=1e-9)
    # A >= c T: the form of THEORY is never smaller than ours
    assert np.linalg.eigvalsh(a_bar)[:, 0].min() >= kernel.friction * (1 - 1e-12)


def test_the_formula_states_the_inequality() -> None:
    ops = NumericOps(TimeGrid(np.linspace(0, 0.7, 5)))
    values = {"defect_chi2": 0.3, "defect_chi2_tail": 0.2, "friction": 0.9, "initial_chi2": 0.5}
    terms = {k: v.numbers()[-1] for k, v in THEOREM.terms(ops, values).items()}
    decay = math.exp(-2 * 0.9 * 0.7)
    forced = (1 - decay) / (2 * 0.9)
    assert terms == {
        "initial distance": pytest.approx(decay * 0.5, rel=1e-9),
        "flow defect": pytest.approx(forced * 0.3, rel=1e-9),
        "tail beyond the quadrature": pytest.approx(forced * 0.2, rel=1e-9),
    }


def value(f: Any, t: float) -> float:
    return float(sympy.sympify(f(sympy.Float(t))))


def gaussian(variance: float, x: np.ndarray) -> np.ndarray:
    return np.exp(-np.sum(x * x, axis=-1) / (2 * variance)) / (2 * math.pi * variance)


@pytest.mark.parametrize("t", [0.2, 0.6, 1.0])
def test_the_scaling_witness_from_its_definition(t: float) -> None:
    s = 1 + t / 4
    edges = np.array([0, 1, 2, 3, 4.5, 6, 8, 11, 15.0])
    law = polar_rule(lambda x: gaussian(s**2, x), np.zeros(2), edges, 8)
    x, w = law.nodes, law.weights
    equilibrium, mass = gauss_hermite(2, 6)
    kernel = maxwell(2, C)
    a_bar = np.einsum("nmij,m->nij", kernel.matrix(x[:, None] - equilibrium), mass)
    friction = np.einsum("nmi,m->ni", kernel.divergence(x[:, None] - equilibrium), mass)
    e = x / s / 4 + np.einsum("nij,nj->ni", a_bar, -x / s**2) - friction
    ratio = gaussian(s**2, x) / gaussian(1.0, x)
    squared = np.einsum("ni,ni->n", e, np.linalg.solve(a_bar, e[..., None])[..., 0])
    witness = THEOREM.witnesses[1]
    assert w @ (squared * ratio) == pytest.approx(value(witness.ingredients["defect_chi2"], t), rel=1e-9)
    assert w @ (ratio * (1 - 1 / ratio) ** 2) == pytest.approx(value(witness.truth, t), rel=1e-9)


def test_the_resting_witness_from_its_definition() -> None:
    x, w = gauss_hermite(2, 10)
    kernel, eta = maxwell(2, C), 0.2
    a_bar = np.einsum("nmij,m->nij", kernel.matrix(x[:, None] - x), w)
    h = eta * (np.sum(x * x, axis=1) - 2)
    flux = np.einsum("nij,nj->ni", a_bar, 2 * eta * x)  # e f~/M = A grad h for a density at rest
    squared = np.einsum("ni,ni->n", flux, np.linalg.solve(a_bar, flux[..., None])[..., 0])
    witness = THEOREM.witnesses[0]
    assert w @ squared == pytest.approx(value(witness.ingredients["defect_chi2"], 0.5), rel=1e-12)
    assert w @ h**2 == pytest.approx(value(witness.truth, 0.5), rel=1e-12)
    assert (1 + h).min() > 0


# --- certificates of flows with known error -----------------------------------------------------------------------


def problem() -> Problem:
    return PROBLEMS["bkw2d"](Fraction(1, 2), Fraction(5))


def context(run: Any) -> Context:
    return Context(run, run.problem, float(run.problem.t0), Options(times=6, samples=10, w1_samples=10, tolerance=0.05))


def bound(run: Any) -> tuple[Any, dict[str, Any]]:
    own = context(run)
    found = dict(constants(own)) | dict(flow_defect.compute(own))
    truth = measured.compute(own)
    certificate = evaluate(THEOREM, own.grid, found, facts.gather(own), report_from=own.start)
    return certificate, truth


@pytest.mark.parametrize(
    ("run", "ceiling"),
    [
        (gradient_perturbation(problem(), 0.01, np.array([1.0, 0.5])), 3.0),
        (translation(problem(), 0.02), 3.2),
        (scaled(problem(), 0.01), 2.5),
    ],
    ids=["wave", "translation", "scaling"],
)
def test_the_bound_of_a_known_perturbation_holds_and_is_not_loose(run: Any, ceiling: float) -> None:
    certificate, truth = bound(run)
    assert certificate.log_bound is not None
    total = np.exp(certificate.log_bound[1:])
    low, high = truth["measured_chi2_lower"].value[1:], truth["measured_chi2_upper"].value[1:]
    assert (total >= low).all()
    assert total[-1] <= ceiling * high[-1]
    assert low[-1] == pytest.approx(high[-1], rel=0.05)
    # (int |f~ - f|)^2 <= int (f~ - f)^2/M
    assert (truth["measured_l1_lower"].value[1:] ** 2 <= high).all()


def test_the_measured_distance_of_a_translated_law() -> None:
    """At the start of a flow that only shifts: int (f(x - h) - f(x))^2/M by an independent quadrature."""
    run = translation(problem(), 0.02)
    truth = measured.compute(context(run))
    solution: Any = problem().exact
    rule = polar_rule(lambda v: gaussian(1.0, v), np.zeros(2), np.linspace(0, 11, 12), 32)
    shift = np.array([0.02 * 4.5, 0.0])
    gap = np.exp(solution.log_density(5.0, rule.nodes - shift)) - np.exp(solution.log_density(5.0, rule.nodes))
    exact = rule.weights @ (gap / gaussian(1.0, rule.nodes)) ** 2
    assert truth["measured_chi2_upper"].last() == pytest.approx(exact, rel=1e-5)


def test_the_exact_flow_has_no_defect_and_the_resting_flow_a_bound() -> None:
    certificate, truth = bound(exact_run(problem()))
    assert np.exp(certificate.log_bound[-1]) < 1e-20
    assert truth["measured_chi2_lower"].last() == 0.0
    resting = Context(Resting(2, Fraction(1, 2), Fraction(5)), problem(), 0.5, Options(times=4, samples=10))
    found = flow_defect.compute(resting)
    assert found["defect_chi2_tail"].largest() < 1e-12
    assert 0 < found["defect_chi2"].largest() < np.inf


def test_a_tail_that_the_weight_blows_up_is_infinite() -> None:
    @dataclass(frozen=True)
    class Wide(Resting):
        def growth(self, t: Any, radius: float) -> Any:
            plain = super().growth(t, radius)
            return replace(plain, reach=(plain.reach[0], 2.5 * plain.reach[1]))

    wide = Context(Wide(2, Fraction(1, 2), Fraction(5)), problem(), 0.5, Options(times=4, samples=10))
    assert np.isinf(flow_defect.compute(wide)["defect_chi2_tail"].value).all()


# --- hypotheses ---------------------------------------------------------------------------------------------------


def test_a_flow_that_spreads_beyond_twice_the_temperature_voids_the_rest() -> None:
    """b^2 K = 2 at t - t0 = log(2/K)/(2 rate)."""
    run = scaled(problem(), -0.2)
    known = facts.gather(context(run))
    seen = CHI2_INTEGRABLE.verdict(known)
    solution: Any = problem().exact
    crossing = 0.5 + math.log(2 / solution.coefficients(0.5)[0]) / 0.4
    assert seen.outcome is Outcome.FAILS
    assert crossing - 0.6 < seen.valid_until < crossing + 0.3  # nodes sit at a finite radius
    assert ISOTROPIC_COVARIANCE.verdict(known).outcome is Outcome.HOLDS


def test_integrability_is_unknown_from_nodes_and_holds_by_construction() -> None:
    known = facts.gather(context(exact_run(problem())))
    assert CHI2_INTEGRABLE.verdict(known).outcome is Outcome.UNKNOWN

    class Named(BkwDensity):
        tail_variance = 0.53031

    base: Any = problem().initial
    own = replace(problem(), initial=Named(base.solution, base.t))
    resting = Context(Resting(2, Fraction(1, 2), Fraction(5)), own, 0.5, Options(times=4, samples=10))
    assert CHI2_INTEGRABLE.verdict(facts.gather(resting)).outcome is Outcome.HOLDS
