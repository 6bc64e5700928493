"""Composition root: load a model (file or ``package.module:factory``), certify it, convert foreign weights."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certify.judge import judge
from certify.options import Options, Progress, silent
from certify.results import Report
from certify.run import Run
from certify.text import clean
from theory.errors import UserError
from theory.problem import Problem
from theory.problems import PROBLEMS


def load_run(model: str, problem: Problem | None = None) -> Run:
    """A run from a model file, or from ``package.module:factory`` (called with the problem if it takes one).

    Raises
    ------
    UserError
        E100-E109 and E200 for files, E205 for objects that do not satisfy the Run protocol.
    """
    if not Path(model).exists() and ":" in model and os.sep not in model:
        return _foreign(model, problem)
    from solver import model_file
    from solver.networks import expected_shapes
    from solver.run import TorchRun

    path = Path(model)
    loaded = model_file.load(path, expected_shapes)
    run = TorchRun(path.name, loaded.metadata, loaded.nets)
    run.file = {"sha256": loaded.file_sha256, "weights_sha256": loaded.sha256, "bytes": loaded.size}
    return run


def _foreign(model: str, problem: Problem | None) -> Run:
    module_name, _, attribute = model.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError("E205", f"cannot import {model!r}: {error}", "Write package.module:factory.") from None
    finally:
        sys.path.pop(0)
    run = factory(problem) if callable(factory) and not isinstance(factory, Run) else factory
    if not isinstance(run, Run):
        lacks = [n for n in _members() if not hasattr(run, n)]
        raise UserError("E205", f"{model} lacks {', '.join(lacks)} of the Run protocol", "See certify/run.py.")
    found: Run = run
    return found


def _members() -> list[str]:
    return [n for n, x in vars(Run).items() if not n.startswith("_") and (callable(x) or isinstance(x, property))]


def problem_of(run: Run) -> Problem:
    """The run's own problem on its own window.

    Raises
    ------
    UserError
        E201 if the run does not name a registered problem, E203 if its constants are none of that problem's.
    """
    described = run.describe()
    name = str(described.get("problem", ""))
    if name not in PROBLEMS:
        raise UserError("E201", f"the model names no known problem ({name[:60]!r})", "Give --problem ID.")
    try:
        return PROBLEMS[name].rebuilt(run.t0, run.T, described.get("constants", {}))
    except ValueError as error:
        raise UserError("E203", f"the model's {name} does not exist: {clean(error)}", "Give --problem ID.") from None


def certify(run: Run, problem: Problem, options: Options | None = None, progress: Progress = silent) -> Report:
    """Judge a run on a problem, against a numerical reference where no exact solution is known; see ``judge``."""
    from solver.references import reference_for

    return judge(run, problem, options, progress, reference_for)


def model_summary(path: Path | str) -> Mapping[str, Any]:
    """What is in a model file; computes nothing."""
    run = load_run(str(path))
    return dict(run.describe())


def convert(state_dict: Path, problem: Problem, architecture: Mapping[str, Any], output: Path) -> Path:
    """Wrap a plain state dict ``{"flow": {...}, "score": {...}}`` (loaded with weights_only) into a model file.

    Raises
    ------
    UserError
        If the file is unreadable or does not fit the architecture.
    """
    import torch

    from solver import model_file
    from solver.networks import expected_shapes
    from solver.train import metadata

    try:
        nets = torch.load(state_dict, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever the unpickler says, it is a refusal
        raise UserError(
            "E102", f"{state_dict.name} is not a readable state dict ({type(error).__name__})", "Save tensors only."
        ) from None
    described = metadata(problem, architecture, {"method": "converted", "source": state_dict.name})
    try:
        shapes = expected_shapes(described)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("E106", f"unusable architecture: {error}", "See certify convert --help.") from None
    found = {k: {n: tuple(x.shape) for n, x in net.items()} for k, net in nets.items()} if _nested(nets) else None
    if found != shapes:
        raise UserError("E106", "the tensors do not fit the architecture", f"It needs the nets {sorted(shapes)}.")
    model_file.save(output, described, nets)
    return output


def _nested(nets: Any) -> bool:
    return isinstance(nets, dict) and all(
        isinstance(net, dict) and all(hasattr(x, "shape") for x in net.values()) for net in nets.values()
    )
