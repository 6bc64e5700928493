"""The paper's groups by name, and networks in a unit of velocity of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from solver.networks import GROUPS, Window, build, group_architecture, velocity_unit
from solver.run import TorchRun
from theory.problems import parse_problem

UNIT = {"unit": 0.19}


def run(architecture: dict[str, Any], d: int = 3) -> TorchRun:
    torch.manual_seed(0)
    nets = build(architecture, d, Window(0.0, 20.0))
    metadata = {"d": d, "t0": "0", "T": "20", "architecture": architecture, "training": {}}
    return TorchRun("run", metadata, {k: net.state_dict() for k, net in nets.items()})


def points(n: int = 7, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return np.array([1.0, 5.0]), 0.3 * rng.standard_normal((n, d))


def test_groups_have_the_widths_and_depths_the_paper_states() -> None:
    hidden = {name: [shape["hidden"] for shape in GROUPS[name]] for name in GROUPS}
    assert sorted(GROUPS) == ["A", "B", "C", "D"]
    assert hidden["A"] == [[128, 4], [128, 4]]
    assert hidden["B"] == [[256, 6], [256, 6]]
    assert hidden["D"] == [[128, 4], [256, 6]]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_builds_a_flow_that_starts_at_the_identity_and_a_score(group: str) -> None:
    model = run(group_architecture(group, {}), 2)
    t, v = points(d=2)
    assert np.array_equal(model.flow(np.array([0.0]), v)[0], v)
    score = model.score(t, np.broadcast_to(v, (2, *v.shape)))
    assert score is not None
    assert score.shape == (2, 7, 2)


def test_the_unit_is_the_thermal_speed_and_absent_at_temperature_one() -> None:
    assert velocity_unit(parse_problem("bkw2d")) == {}
    ring = parse_problem("rosenbluth3d")
    assert velocity_unit(ring)["unit"] == pytest.approx(np.sqrt(np.trace(ring.initial.covariance()) / 3))


def test_a_flow_in_its_unit_is_the_plain_flow_of_scaled_velocities_and_times() -> None:
    t, v = points()
    u, length = UNIT["unit"], 20.0
    plain, scaled = run(group_architecture("A", {})), run(group_architecture("A", UNIT))
    expected = v + u / length * (plain.flow(t, v / u) - v / u)
    assert np.abs(scaled.flow(t, v) - expected).max() < 1e-14


def test_derivatives_of_a_flow_in_its_unit_agree_with_finite_differences() -> None:
    t, v = points()
    model, h = run(group_architecture("A", UNIT)), 1e-5
    jets = model.jets(t, v)
    steps = h * np.eye(3)
    jac = np.stack([(model.flow(t, v + e) - model.flow(t, v - e)) / (2 * h) for e in steps], axis=-1)
    hess = np.stack([(model.jets(t, v + e).jac - model.jets(t, v - e).jac) / (2 * h) for e in steps], axis=-1)
    rate = (model.flow(t + h, v) - model.flow(t - h, v)) / (2 * h)
    assert np.abs(jac - jets.jac).max() < 1e-9
    assert np.abs(hess - jets.hess).max() < 1e-9
    assert np.abs(rate - jets.dt).max() < 1e-9


def test_the_weights_shown_to_verified_bounds_are_those_of_the_score_in_its_unit() -> None:
    t, v = points()
    model = run(group_architecture("C", UNIT))
    x = np.broadcast_to(v, (2, *v.shape))
    network, score, divergence = model.network("score"), model.score(t, x), model.score_divergence(t, x)
    assert network is not None
    value, jacobian = network.with_jacobian(t, x)
    assert score is not None
    assert divergence is not None
    assert np.abs(value - score).max() < 1e-13
    assert np.abs(np.trace(jacobian, axis1=2, axis2=3) - divergence).max() < 1e-12
    layers = model.layers("score")
    assert layers is not None
    product = np.prod([slope * np.linalg.norm(w, 2) for w, slope in layers])
    assert np.linalg.norm(jacobian, 2, axis=(-2, -1)).max() <= product


@pytest.mark.parametrize("unit", [0.0, -1.0, float("nan"), True, "1"])
def test_a_unit_that_is_no_positive_number_is_refused(unit: Any) -> None:
    with pytest.raises(ValueError, match="unit"):
        build(group_architecture("A", {"unit": unit}), 2, Window(0.0, 1.0))
