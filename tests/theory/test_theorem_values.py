"""Each formula against the inequality it states, written out independently for constant data.

These tests fail when a constant of a formula is dropped, halved or given the wrong sign.
"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import reals
from theory.gronwall import NumericOps, TimeGrid
from theory.theorems import THEOREMS

T = 0.7


def evaluate(theorem: str, **values: float) -> dict[str, float]:
    ops = NumericOps(TimeGrid(np.linspace(0, T, 5)))
    return {name: float(term.numbers()[-1]) for name, term in THEOREMS[theorem].terms(ops, values).items()}


def forced(rate: float) -> float:
    """Integral over [0, T] of exp(rate (T - s)) ds."""
    return T if rate == 0 else math.expm1(rate * T) / rate


def close(x: float) -> Any:
    return pytest.approx(x, rel=1e-9, abs=1e-300)


CONSTANTS = {
    "kernel_bound": reals(0.01, 1),
    "kernel_lipschitz": reals(0.01, 1),
    "score_lipschitz": reals(0.01, 2),
    "score_oscillation": reals(0.01, 2),
    "learned_score_lipschitz": reals(0.01, 2),
    "learned_score_oscillation": reals(0.01, 2),
    "error_lipschitz": reals(0.01, 2),
}
TAILS = {"tail_lipschitz": reals(0, 1), "tail_drift": reals(0, 1)}


def drift_constants(c: dict[str, float]) -> tuple[float, float]:
    """Alpha (without tail) and L_g of Lemma 1."""
    big, lip = c["kernel_bound"], c["kernel_lipschitz"]
    l_u = big * c["score_lipschitz"] + lip * c["score_oscillation"]
    l_g = big * c["learned_score_lipschitz"] + lip * c["learned_score_oscillation"]
    return l_u + big * c["error_lipschitz"], l_g


@given(
    st.fixed_dictionaries(CONSTANTS | TAILS),
    st.fixed_dictionaries(
        {
            k: reals(0, 1)
            for k in ("score_error_path", "score_error_mean", "measure_w1", "residual_rms", "initial_error")
        }
    ),
)
def test_theorem_1(constants: dict[str, float], errors: dict[str, float]) -> None:
    alpha, l_g = drift_constants(constants)
    alpha += constants["tail_lipschitz"]
    big = constants["kernel_bound"]
    assert evaluate("thm1", **constants, **errors) == {
        "initial error": close(math.exp(alpha * T) * errors["initial_error"]),
        "score error": close(forced(alpha) * big * (errors["score_error_path"] + errors["score_error_mean"])),
        "measure mismatch": close(forced(alpha) * l_g * errors["measure_w1"]),
        "residual": close(forced(alpha) * errors["residual_rms"]),
        "mass outside the ball": close(forced(alpha) * constants["tail_drift"]),
    }


@given(st.fixed_dictionaries(CONSTANTS), reals(0, 1), reals(0, 1), reals(0, 1))
def test_theorem_2(constants: dict[str, float], risk: float, residual: float, start: float) -> None:
    alpha, l_g = drift_constants(constants)
    c1 = 2 * (alpha + l_g) + 2
    terms = evaluate("thm2", **constants, score_error_energy=risk, residual_energy=residual, initial_error=start)
    assert terms == {
        "initial error": close(math.exp(c1 * T) * start**2),
        "score error": close(forced(c1) * 4 * constants["kernel_bound"] ** 2 * risk),
        "residual": close(forced(c1) * residual),
    }


@given(st.fixed_dictionaries(CONSTANTS | TAILS), *(reals(0, 1) for _ in range(5)))
def test_theorem_5(
    constants: dict[str, float], risk: float, residual: float, sampling: float, start: float, noise: float
) -> None:
    alpha, l_g = drift_constants(constants)
    c1 = 2 * (alpha + constants["tail_lipschitz"] + l_g) + 3
    source = 4 * constants["kernel_bound"] ** 2 * risk + (math.sqrt(residual) + constants["tail_drift"]) ** 2 + noise
    errors = {"excess_risk": risk, "residual_energy_mean": residual, "drift_sampling": noise}
    terms = evaluate("thm5", **constants, **errors, sampling_w1=sampling, initial_error=start)
    assert sum(terms.values()) == close(math.sqrt(math.exp(c1 * T) * start**2 + forced(c1) * source) + sampling)
    assert terms["sampling"] == close(sampling)


@given(*(reals(0, 2) for _ in range(4)))
def test_stability_s1(defect: float, tail: float, kappa: float, start: float) -> None:
    terms = evaluate("stability_w2", defect=defect, defect_tail=tail, kappa=kappa, initial_distance=start)
    assert terms == {
        "initial distance": close(math.exp(2 * kappa * T) * start),
        "flow defect": close(forced(2 * kappa) * defect),
        "tail beyond the quadrature": close(forced(2 * kappa) * tail),
    }


@pytest.mark.parametrize(("theorem", "key"), [("stability_wp", "defect_l1"), ("stability_wp2", "defect_l2")])
@given(*(reals(0, 2) for _ in range(4)))
def test_stability_s2(theorem: str, key: str, defect: float, tail: float, friction: float, start: float) -> None:
    values = {key: defect, f"{key}_tail": tail, "friction": friction, "initial_distance": start}
    assert evaluate(theorem, **values) == {
        "initial distance": close(math.exp(-friction * T) * start),
        "flow defect": close(forced(-friction) * defect),
        "tail beyond the quadrature": close(forced(-friction) * tail),
    }


@given(*(reals(0, 2) for _ in range(3)))
def test_stability_s3_and_pinsker(defect: float, tail: float, start: float) -> None:
    values = {"defect_entropy": defect, "defect_entropy_tail": tail, "initial_entropy": start}
    entropy = start + T * (defect + tail) / 4
    assert sum(evaluate("stability_kl", **values).values()) == close(entropy)
    assert sum(evaluate("stability_l1", **values).values()) == close(math.sqrt(2 * entropy))
