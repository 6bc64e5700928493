"""Training runs learn, repeat, resume without a trace, and refuse what they cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from certify.estimators.lipschitz import spectral_product
from solver import model_file
from solver.networks import expected_shapes
from solver.run import TorchRun
from solver.train import parse_settings, train
from theory.errors import UserError
from theory.problems import parse_problem

PROBLEM = parse_problem("bkw2d:t0=1/2")
DEFECT = {"times": "2", "radial": "2", "angles": "6", "blocks": "1", "width": "6"}
PINN = {"particles": "24", "times": "1", "warm_up": "0.1", "learning_rate": "3e-3"}
TINY = {"flow-defect": DEFECT, "pinn-pm": PINN}
METHODS = pytest.mark.parametrize("method", sorted(TINY))
Nets = Mapping[str, Mapping[str, torch.Tensor]]


def silent(stage: str, done: int, total: int, shown: Mapping[str, float]) -> None:
    """Say nothing."""


def trained(method: str, output: Path, steps: int, **more: str) -> model_file.ModelFile:
    train(method, PROBLEM, output, TINY[method] | {"steps": str(steps)} | more, seed=3, progress=silent)
    return model_file.load(output, expected_shapes)


def equal(a: Nets, b: Nets) -> bool:
    return a.keys() == b.keys() and all(
        a[k].keys() == b[k].keys() and all(torch.equal(a[k][n], b[k][n]) for n in a[k]) for k in a
    )


@METHODS
def test_a_short_run_lowers_its_loss_and_leaves_a_usable_model(method: str, tmp_path: Path) -> None:
    shown: list[float] = []
    key = {"flow-defect": "defect", "pinn-pm": "ism"}[method]
    output = tmp_path / "model.pt"
    steps = {"flow-defect": 80, "pinn-pm": 40}[method]
    settings = TINY[method] | {"steps": str(steps), "learning_rate": "1e-2"}
    result = train(
        method, PROBLEM, output, settings, seed=0, progress=lambda stage, done, total, s: shown.append(s[key])
    )
    assert result == output
    assert len(shown) == steps
    assert np.mean(shown[-10:]) < np.mean(shown[:10])
    file = model_file.load(output, expected_shapes)
    assert file.metadata["training"]["method"] == method
    assert file.metadata["training"]["steps_done"] == steps
    run = TorchRun("model", file.metadata, file.nets)
    v = np.array([[0.3, -1.0], [2.0, 0.1]])
    assert np.array_equal(run.flow(np.array([0.5]), v)[0], v)
    assert np.isfinite(run.jets(np.array([0.5, 5.0]), v).hess).all()
    assert (run.score(np.array([1.0]), v[None]) is None) == (method == "flow-defect")


@METHODS
def test_the_same_seed_gives_the_same_weights_and_another_does_not(method: str, tmp_path: Path) -> None:
    first, second = (trained(method, tmp_path / f"{name}.pt", 4).nets for name in ("a", "b"))
    assert equal(first, second)
    other = tmp_path / "c.pt"
    train(method, PROBLEM, other, TINY[method] | {"steps": "4"}, seed=4, progress=silent)
    assert not equal(first, model_file.load(other, expected_shapes).nets)


@METHODS
@pytest.mark.parametrize("extra", [{}, {"fresh": "false"}], ids=["fresh", "fixed"])
def test_a_run_cut_off_and_resumed_ends_with_the_weights_of_one_that_was_not(
    method: str, extra: dict[str, str], tmp_path: Path
) -> None:
    if extra and method == "flow-defect":
        extra = {"flow": "free"}
    whole = trained(method, tmp_path / "whole.pt", 6, **extra)
    settings, output = TINY[method] | {"steps": "6"} | extra, tmp_path / "cut.pt"

    def cut(stage: str, done: int, total: int, shown: Mapping[str, float]) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(method, PROBLEM, output, settings, seed=3, progress=cut)
    half = model_file.load(output, expected_shapes)
    assert half.metadata["training"]["steps_done"] == 3
    assert not equal(half.nets, whole.nets)
    steps: list[int] = []
    train(method, PROBLEM, output, settings, seed=3, resume=True, progress=lambda stage, done, *_: steps.append(done))
    assert steps == [4, 5, 6]
    assert equal(model_file.load(output, expected_shapes).nets, whole.nets)


def test_a_run_out_of_time_stops_at_a_checkpoint_to_be_resumed(tmp_path: Path) -> None:
    output, settings = tmp_path / "model.pt", DEFECT | {"steps": "5"}
    train("flow-defect", PROBLEM, output, settings, seconds=1e-9, progress=silent)
    assert model_file.load(output, expected_shapes).metadata["training"]["steps_done"] == 1
    train("flow-defect", PROBLEM, output, settings, resume=True, progress=silent)
    assert model_file.load(output, expected_shapes).metadata["training"]["steps_done"] == 5


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("no-such-method", {}),
        ("flow-defect", {"stepz": "3"}),
        ("flow-defect", {"steps": "0"}),
        ("flow-defect", {"steps": "2.5"}),
        ("flow-defect", {"learning_rate": "nan"}),
        ("flow-defect", {"learning_rate": "-1"}),
        ("flow-defect", {"learning_rate": "inf"}),
        ("flow-defect", {"flow": "folded"}),
        ("flow-defect", {"dtype": "float16"}),
        ("flow-defect", {"lipschitz": "2"}),
        ("flow-defect", {"width": "1000000"}),
        ("flow-defect", {"angles": "many"}),
        ("pinn-pm", {"fresh": "maybe"}),
        ("pinn-pm", {"group": "Z"}),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    method: str, settings: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        train(method, PROBLEM, tmp_path / "model.pt", {"steps": "1"} | settings, progress=silent)
    assert refused.value.code == "E400"
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_is_refused_and_kept(tmp_path: Path) -> None:
    output = tmp_path / "model.pt"
    output.write_bytes(b"precious")
    with pytest.raises(UserError) as refused:
        train("flow-defect", PROBLEM, output, DEFECT | {"steps": "1"}, progress=silent)
    assert refused.value.code == "E302"
    assert output.read_bytes() == b"precious"


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "model.pt"
    trained("flow-defect", output, 2)
    before = output.read_bytes()
    for settings, seed in ((DEFECT | {"steps": "3"}, 3), (DEFECT | {"steps": "2"}, 4)):
        with pytest.raises(UserError) as refused:
            train("flow-defect", PROBLEM, output, settings, seed=seed, resume=True, progress=silent)
        assert refused.value.code == "E400"
    assert output.read_bytes() == before


def test_settings_are_read_by_the_type_of_their_default() -> None:
    choice = parse_settings("pinn-pm", {"fresh": "False", "particles": "7", "weight": "2", "group": "B"})
    assert (choice.fresh, choice.particles, choice.weight, choice.group) == (False, 7, 2.0, "B")


def test_a_trained_scores_spectral_product_bounds_its_difference_quotients(tmp_path: Path) -> None:
    file = trained("pinn-pm", tmp_path / "model.pt", 3)
    run = TorchRun("model", file.metadata, file.nets)
    layers = run.layers("score")
    assert layers is not None
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1, 500, 2))
    t = np.array([2.0])
    a, b = run.score(t, x), run.score(t, y)
    assert a is not None
    assert b is not None
    quotients = np.linalg.norm(a - b, axis=-1) / np.linalg.norm(x - y, axis=-1)
    assert 0 < quotients.max() <= spectral_product(layers)
