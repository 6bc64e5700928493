"""Training runs: settings, live progress, checkpoints, resuming. A run cut off loses nothing but the last few seconds.

A run folder beside the model file holds ``state.pt`` (networks, optimiser, step, random state; written atomically) and
``log.csv``. The model file is rewritten at every checkpoint, so there is always a usable model.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import pickle
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solver import flow_defect, model_file, pinn_pm
from solver.networks import Window, build
from theory.errors import UserError
from theory.problem import Problem

METHODS: dict[str, Any] = {"pinn-pm": pinn_pm, "flow-defect": flow_defect}
Progress = Callable[[str, int, int, Mapping[str, float]], None]
CHECKPOINT_SECONDS = 20.0
PACKAGES = ("landau-certify", "torch", "numpy", "scipy")


def parse_settings(method: str, settings: Mapping[str, str]) -> Any:
    """Settings dataclass of a method from strings.

    Raises
    ------
    UserError
        For an unknown method or name, or an unreadable value.
    """
    if method not in METHODS:
        raise UserError("E400", f"unknown method {method!r}", f"Known methods: {', '.join(METHODS)}.")
    kind = METHODS[method].Settings
    fields = {f.name: f for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in fields:
            raise UserError("E400", f"{method} has no setting {name!r}", f"Known settings: {', '.join(fields)}.")
        default = fields[name].default
        try:
            values[name] = _convert(text, default)
        except ValueError:
            example = f"Write it like {name}={default}."
            raise UserError("E400", f"cannot read {name}={text!r}", example) from None
    return kind(**values)


def _convert(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if isinstance(default, int):
        value = int(text)
        if value < 1:
            raise ValueError(text)
        return value
    if isinstance(default, float):
        number = float(text)
        if not (math.isfinite(number) and number > 0):
            raise ValueError(text)
        return number
    return text


def metadata(problem: Problem, architecture: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """What a model file says about itself."""
    return {
        "problem": problem.id,
        "constants": dict(problem.constants),
        "t0": str(problem.t0),
        "T": str(problem.T),
        "d": problem.d,
        "architecture": dict(architecture),
        "training": dict(training),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def train(
    method: str,
    problem: Problem,
    output: Path,
    settings: Mapping[str, str],
    *,
    seed: int = 0,
    seconds: float | None = None,
    resume: bool = False,
    progress: Progress,
) -> Path:
    """Train a model and write it to ``output``; ``seconds`` stops early at a checkpoint, to be resumed.

    The learning rate follows the fraction of steps done, so a resumed run ends like an uninterrupted one.

    Raises
    ------
    UserError
        For bad settings, an existing output without ``resume``, or a state that belongs to another run.
    """
    choice = parse_settings(method, settings)
    torch.set_num_threads(1)  # networks this small lose more to threads waiting on each other than they gain
    module = METHODS[method]
    folder = output.with_suffix(output.suffix + ".run")
    state_path = folder / "state.pt"
    torch.manual_seed(seed)
    try:
        architecture = module.architecture(problem, choice)
        nets = build(architecture, problem.d, Window(float(problem.t0), float(problem.T)))
    except (ValueError, KeyError) as error:
        raise UserError("E400", f"unusable settings: {error}", "See certify train --help.") from None
    dtype = getattr(torch, choice.dtype, None)
    if dtype not in (torch.float32, torch.float64):
        raise UserError("E400", f"dtype {choice.dtype!r} is unknown", "Write dtype=float32 or dtype=float64.")
    for net in nets.values():
        net.to(dtype)
    parameters = [p for net in nets.values() for p in net.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=choice.learning_rate)
    rng = np.random.default_rng(seed)
    identity = {"method": method, "problem": problem.spec, "seed": seed, "settings": dataclasses.asdict(choice)}
    start, spent = 0, 0.0
    if resume:
        start, spent = _restore(state_path, identity, nets, optimiser, rng)
    elif state_path.exists() or output.exists():
        raise UserError("E302", f"{output} or its run folder exists already", "Add --resume, or choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    trainer = module.Trainer(problem, choice, nets)
    began = last = time.monotonic()
    done = start

    def checkpoint() -> None:
        wall = spent + time.monotonic() - began
        training = {**identity, "steps_done": done, "wall_seconds": round(wall, 1), "threads": torch.get_num_threads()}
        state = {"identity": json.dumps(identity, sort_keys=True), "step": done, "wall": wall}
        state |= {"nets": {k: n.state_dict() for k, n in nets.items()}, "optimiser": optimiser.state_dict()}
        state["rng"] = json.dumps(rng.bit_generator.state)
        _atomic_save(state, state_path)
        tensors = {k: {n: p.detach() for n, p in net.state_dict().items()} for k, net in nets.items()}
        model_file.save(output, metadata(problem, architecture, training), tensors)

    try:
        for step in range(start, choice.steps):
            for group in optimiser.param_groups:
                group["lr"] = choice.learning_rate * _schedule(step / choice.steps)
            optimiser.zero_grad(set_to_none=True)
            loss, shown = trainer.loss(rng, step / choice.steps)
            loss.backward()
            for net in nets.values():
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            done = step + 1
            progress(method, done, choice.steps, shown)
            now = time.monotonic()
            if now - last > CHECKPOINT_SECONDS:
                checkpoint()
                last = now
                _log(folder / "log.csv", done, spent + now - began, shown)
            if seconds is not None and spent + now - began > seconds:
                break
    finally:
        checkpoint()
    return output


def _schedule(x: float) -> float:
    """Linear warm-up over 2 %, then cosine decay to 1e-3."""
    if x < 0.02:
        return (x + 0.001) / 0.021
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (x - 0.02) / 0.98)) / 2


def _atomic_save(state: Mapping[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(dict(state), temporary)
    os.replace(temporary, path)


def _restore(
    path: Path,
    identity: Mapping[str, Any],
    nets: Mapping[str, torch.nn.Module],
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> tuple[int, float]:
    """Load a run's state; step and seconds spent so far (0, 0 if there is none)."""
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError("E102", f"{path} is not a readable run state ({type(error).__name__})", "Delete it.") from None
    if state.get("identity") != json.dumps(dict(identity), sort_keys=True):
        raise UserError("E400", f"{path} belongs to a run with other settings", "Use its settings or another name.")
    for name, net in nets.items():
        net.load_state_dict(state["nets"][name])
    optimiser.load_state_dict(state["optimiser"])
    rng.bit_generator.state = json.loads(state["rng"])
    return int(state["step"]), float(state["wall"])


def _log(path: Path, step: int, wall: float, shown: Mapping[str, float]) -> None:
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        if new:
            file.write(",".join(["step", "seconds", *shown]) + "\n")
        file.write(",".join([str(step), f"{wall:.1f}", *(f"{x:.6g}" for x in shown.values())]) + "\n")
