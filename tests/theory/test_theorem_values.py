"""Each formula against the inequality it states, written out independently for constant data.

These tests fail when a constant of a formula is dropped, halved or given the wrong sign.
"""

import math
from pathlib import Path
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


SQUARED = st.just(0.0) | reals(1e-6, 1)  # the square of a smaller number may underflow
SCORE = {k: reals(0, 2) for k in ("score_error_learned_path", "score_error_mean", "measure_w1")}


@given(st.fixed_dictionaries(CONSTANTS | {"tail_lipschitz": reals(0, 1)}))
def test_lemma_1_lipschitz_constant(c: dict[str, float]) -> None:
    used = {k: v for k, v in c.items() if not k.startswith(("learned", "error"))}
    assert evaluate("lemma1_lipschitz", **used) == {
        "score": close(c["kernel_bound"] * c["score_lipschitz"]),
        "kernel": close(c["kernel_lipschitz"] * c["score_oscillation"]),
        "mass outside the ball": close(c["tail_lipschitz"]),
    }


@given(st.fixed_dictionaries(CONSTANTS), st.fixed_dictionaries(SCORE), reals(0, 1))
def test_lemma_1_mismatch(c: dict[str, float], errors: dict[str, float], tail: float) -> None:
    used = {
        k: c[k] for k in ("kernel_bound", "kernel_lipschitz", "learned_score_lipschitz", "learned_score_oscillation")
    }
    mean = errors["score_error_learned_path"] + errors["score_error_mean"]
    assert evaluate("lemma1", **used, **errors, tail_drift=tail) == {
        "score error": close(c["kernel_bound"] * mean),
        "measure mismatch": close(drift_constants(c)[1] * errors["measure_w1"]),
        "mass outside the ball": close(tail),
    }


@given(reals(-3, 3), reals(0, 3))
def test_lemma_2_is_the_positive_part_of_a_sum(objective: float, fisher: float) -> None:
    terms = evaluate("lemma2", ism_objective_exact_law=objective, fisher_information=fisher)
    assert terms == {"excess risk": pytest.approx(max(objective + fisher, 0), rel=1e-9, abs=1e-12)}


@given(*(reals(0, 3) for _ in range(3)))
def test_lemma_3(lipschitz: float, coupling: float, deviation: float) -> None:
    values = {"observable_lipschitz": lipschitz, "coupling_rms": coupling, "observable_deviation": deviation}
    assert evaluate("lemma3", **values) == {"trajectories": close(lipschitz * coupling), "sampling": close(deviation)}


@given(reals(-3, 3), st.fixed_dictionaries(CONSTANTS), st.fixed_dictionaries(SCORE), *(reals(0, 1) for _ in range(3)))
def test_theorem_1_with_the_log_norm(
    mu: float, c: dict[str, float], errors: dict[str, float], tail: float, residual: float, start: float
) -> None:
    used = {
        k: c[k] for k in ("kernel_bound", "kernel_lipschitz", "learned_score_lipschitz", "learned_score_oscillation")
    }
    rest = {"drift_log_norm": mu, "tail_drift": tail, "residual_rms": residual, "initial_error": start}
    delta = errors["score_error_learned_path"] + errors["score_error_mean"]
    assert evaluate("thm1_lognorm", **used, **errors, **rest) == {
        "initial error": close(math.exp(mu * T) * start),
        "score error": close(forced(mu) * c["kernel_bound"] * delta),
        "measure mismatch": close(forced(mu) * drift_constants(c)[1] * errors["measure_w1"]),
        "residual": close(forced(mu) * residual),
        "mass outside the ball": close(forced(mu) * tail),
    }


@given(reals(-3, 3), *(reals(0, 2) for _ in range(3)))
def test_theorem_1_direct_and_in_law(mu: float, mismatch: float, residual: float, start: float) -> None:
    values = {"drift_log_norm": mu, "drift_mismatch": mismatch, "residual_rms": residual, "initial_error": start}
    assert evaluate("thm1_direct", **values) == {
        "initial error": close(math.exp(mu * T) * start),
        "drift mismatch": close(forced(mu) * mismatch),
        "residual": close(forced(mu) * residual),
    }
    assert evaluate("thm1_law", drift_log_norm=mu, drift_error_law=mismatch, initial_w2=start) == {
        "initial distance": close(math.exp(mu * T) * start),
        "drift error": close(forced(mu) * mismatch),
    }


@given(st.fixed_dictionaries(CONSTANTS), *(SQUARED for _ in range(4)))
def test_theorem_2_sharp_and_mean_field(
    constants: dict[str, float], risk: float, residual: float, start: float, noise: float
) -> None:
    rate, big = sum(drift_constants(constants)), constants["kernel_bound"]
    expected = {
        "initial error": close(math.exp(rate * T) * start),
        "score error": close(forced(rate) * 2 * big * risk),
        "residual": close(forced(rate) * residual),
    }
    squares = {"score_error_energy": risk**2, "residual_energy": residual**2}
    assert evaluate("thm2_sharp", **constants, **squares, initial_error=start) == expected
    values = {"score_error_path": risk, "residual_rms": residual, "drift_sampling_realised": noise}
    assert evaluate("thm2_meanfield", **constants, **values, initial_error=start) == expected | {
        "sampling of the drift": close(forced(rate) * math.sqrt(noise))
    }


@given(reals(0, 3), reals(0, 3))
def test_theorem_3(coupling: float, sampling: float) -> None:
    terms = evaluate("thm3", coupling_rms=coupling, sampling_w1=sampling)
    assert terms == {"trajectories": close(coupling), "sampling": close(sampling)}


@pytest.mark.parametrize(
    ("theorem", "fisher", "distance"),
    [("thm4", "fisher_information", "coupling_rms"), ("thm4_fisher", "fisher_initial", "density_w2")],
)
@given(reals(-3, 3), *(reals(0, 3) for _ in range(3)))
def test_theorem_4(
    theorem: str, fisher: str, distance: str, objective: float, modulus: float, information: float, gap: float
) -> None:
    values = {"ism_objective": objective, "ism_modulus": modulus, fisher: information, distance: gap}
    assert evaluate(theorem, **values) == {
        "objective and Fisher information": pytest.approx(max(objective + information, 0), rel=1e-9, abs=1e-12),
        "law gap": close(modulus * gap),
    }


@given(st.fixed_dictionaries(CONSTANTS | TAILS), *(SQUARED for _ in range(5)))
def test_theorem_5_sharp(
    constants: dict[str, float], risk: float, residual: float, sampling: float, start: float, noise: float
) -> None:
    rate = sum(drift_constants(constants)) + constants["tail_lipschitz"]
    errors = {"excess_risk": risk**2, "residual_energy_mean": residual**2, "drift_sampling": noise**2}
    assert evaluate("thm5_sharp", **constants, **errors, sampling_w1=sampling, initial_error=start) == {
        "initial error": close(math.exp(rate * T) * start),
        "score error": close(forced(rate) * 2 * constants["kernel_bound"] * risk),
        "residual": close(forced(rate) * residual),
        "sampling of the drift": close(forced(rate) * noise),
        "mass outside the ball": close(forced(rate) * constants["tail_drift"]),
        "sampling": close(sampling),
    }


@pytest.mark.parametrize(
    ("theorem", "kernel", "form", "curvature", "distance"),
    [
        ("thm6", "gaussian", "", "density_hessian", "coupling_rms"),
        ("thm6_sharp", "gaussian", "_radial", "density_laplacian", "coupling_rms"),
        ("thm6_compact", "epanechnikov", "_radial", "density_laplacian", "coupling_rms"),
        ("thm6_w1", "gaussian", "_radial", "density_laplacian", "density_w1"),
    ],
)
@given(*(reals(0, 3) for _ in range(5)))
def test_theorem_6(
    theorem: str,
    kernel: str,
    form: str,
    curvature: str,
    distance: str,
    bias: float,
    size: float,
    noise: float,
    gain: float,
    gap: float,
) -> None:
    kernel_values = {f"kde_bias{form}_{kernel}": bias, f"kde_noise_{kernel}": noise, f"kde_gain{form}_{kernel}": gain}
    assert evaluate(theorem, **kernel_values, **{curvature: size, distance: gap}) == {
        "bias": close(bias * size),
        "sampling": close(noise),
        "trajectories": close(gain * gap),
    }


@given(*(reals(0, 2) for _ in range(4)))
def test_stability_s4(defect: float, tail: float, friction: float, start: float) -> None:
    values = {"defect_chi2": defect, "defect_chi2_tail": tail, "friction": friction, "initial_chi2": start}
    assert evaluate("stability_chi2", **values) == {
        "initial distance": close(math.exp(-2 * friction * T) * start),
        "flow defect": close(forced(-2 * friction) * defect),
        "tail beyond the quadrature": close(forced(-2 * friction) * tail),
    }


def test_every_formula_has_been_written_out() -> None:
    """A theorem that is registered later needs its own test here."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in THEOREMS if f'"{name}"' not in source] == []
