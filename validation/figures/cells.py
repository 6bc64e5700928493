"""Validation cells as the figures need them: what is there, and why the rest is not.

A cell is one method on one problem: ``<problem>/<method>.json`` with ``<method>.npz`` beside it.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from theory.errors import UserError
from theory.problems import parse_problem
from theory.provenance import Array
from validation.figures.panels import METHODS, REFERENCE

_UNREADABLE = (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
_PARTS = ("metrics", "floor", "not_available", "settings", "solution")


@dataclass(frozen=True)
class Cell:
    """One method on one problem; ``failure`` says why there is nothing else in it."""

    problem: str
    method: str
    info: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    failure: str = ""

    @property
    def times(self) -> Array:
        """Snapshot times, (m,)."""
        return np.asarray(self.arrays.get("times", self.info.get("times", ())), dtype=np.float64).ravel()

    @property
    def axis(self) -> Array:
        """Cell centres of the evaluation grid, (g,)."""
        return self.arrays.get("axis", np.empty(0))

    @property
    def bandwidth(self) -> float | None:
        """Standard deviation of the kernel of its density estimate."""
        value = self.info.get("kde_bandwidth", (self.info.get("settings") or {}).get("bandwidth"))
        return None if value is None else float(value)

    def array(self, name: str, rank: int) -> Array | None:
        """An array over the snapshots, (m, ...), with a finite value; None without one."""
        value = self.arrays.get(name)
        if value is None or value.ndim != rank or len(value) != len(self.times):
            return None
        return value if np.isfinite(value).any() else None

    def row(self, name: str, t: float) -> Array | None:
        """A density over the grid, (g,), at time t."""
        rows, k = self.array(name, 2), self.index(t)
        return None if rows is None or k is None or rows.shape[1] != len(self.axis) else rows[k]

    def _series(self, kind: str, name: str) -> Array | None:
        stored = (self.info.get(kind) or {}).get(name)
        if stored is None:
            return None
        try:
            value = np.array([math.nan if x is None else x for x in np.atleast_1d(stored)], dtype=np.float64)
        except (TypeError, ValueError):
            return None
        if value.shape == (1,):
            value = np.full(self.times.shape, value[0])
        return value if value.shape == self.times.shape and np.isfinite(value).any() else None

    def metric(self, name: str) -> Array | None:
        """A metric over the snapshots, (m,)."""
        return self._series("metrics", name)

    def floor(self, name: str) -> Array | None:
        """What a perfect method would score with as many samples, (m,)."""
        return self._series("floor", name)

    def index(self, t: float) -> int | None:
        """The snapshot at time t."""
        hits = np.flatnonzero(np.isclose(self.times, t, rtol=1e-9, atol=1e-12))
        return int(hits[0]) if len(hits) else None

    def reference_score(self, t: float) -> Array | None:
        """The reference's score at this method's particles, (n, d): stored, the exact solution's, or the start's."""
        k, x = self.index(t), self.array("x", 3)
        if k is None or x is None:
            return None
        stored = self.array("score_reference", 3)
        if stored is not None:
            return stored[k] if stored.shape == x.shape else None
        try:
            problem = parse_problem(str(self.info["problem"]))
        except (UserError, KeyError):
            return None
        if problem.exact is not None:
            return problem.exact.score(float(self.times[k]), x[k])
        return problem.initial.score(x[k]) if float(self.times[k]) == float(problem.t0) else None

    def why(self, name: str) -> str:
        """The reason recorded for the lack of an array or metric."""
        reasons = self.info.get("not_available") or {}
        return self.failure or f"not available: {reasons.get(name, f'no {name} in this cell')}"


def read_cell(path: Path) -> Cell:
    """A cell from its json file; a cell that cannot be read says so."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        problem = str(info["problem"]).partition(":")[0]
        method = str(info["method"])
        if not all(isinstance(info.get(part) or {}, dict) for part in _PARTS):
            raise TypeError("a part of the record is no object")
    except _UNREADABLE:
        return Cell(path.parent.name, path.stem, failure="unreadable: no record of a problem and a method")
    if reason := info.get("failed"):
        text = str(reason) if str(reason).startswith("not run") else f"failed: {reason}"
        return Cell(problem, method, info, failure=text)
    try:
        # opened here: np.load leaves a file that is no archive open
        with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name], dtype=np.float64) for name in stored.files}
    except _UNREADABLE:
        return Cell(problem, method, info, failure="unreadable: no usable arrays beside the record")
    return Cell(problem, method, info, arrays)


@dataclass(frozen=True)
class Sheet:
    """All cells of one problem."""

    problem: str
    cells: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def reference(self) -> Cell | None:
        """The reference solution, if it was made."""
        cell = self.cells.get(REFERENCE)
        return None if cell is None or cell.failure else cell

    @property
    def run(self) -> dict[str, Cell]:
        """Methods with results, in the order of the legend."""
        return {m: self.cells[m] for m in METHODS if m in self.cells and not self.cells[m].failure}

    @property
    def made(self) -> dict[str, Cell]:
        """The reference and the methods with results."""
        return ({} if self.reference is None else {REFERENCE: self.reference}) | self.run

    @property
    def times(self) -> Array:
        """Snapshot times of the problem."""
        return next((c.times for c in self.made.values() if len(c.times)), np.empty(0))

    @property
    def dimension(self) -> int | None:
        """Dimension of velocity space, if any cell tells."""
        starts = (c.arrays.get("starts", c.arrays.get("x")) for c in self.made.values())
        return next((int(s.shape[-1]) for s in starts if s is not None and s.ndim >= 2), None)

    @property
    def quick(self) -> bool:
        """Whether any of its cells is too small and coarse to be published."""
        return any(bool(c.info.get("quick")) for c in self.made.values())

    def state(self, method: str) -> str:
        """Why a method has no results; empty if it has."""
        cell = self.cells.get(method)
        return "not run" if cell is None else cell.failure

    def reason(self, method: str, name: str) -> str:
        """Why an array or metric of a method, or of the reference, is not there."""
        return self.state(method) or self.cells[method].why(name)

    def nobody(self) -> list[tuple[str, str]]:
        """Every method with the reason why it has no results."""
        return [(style.label, self.state(method)) for method, style in METHODS.items()]

    def representative(self) -> list[float]:
        """Start, middle and end."""
        times = self.times
        return [float(times[k]) for k in sorted({0, len(times) // 2, len(times) - 1})] if len(times) else []


def sheets(folder: Path) -> dict[str, Sheet]:
    """All cells of a folder by problem."""
    found: dict[str, dict[str, Cell]] = {}
    for path in sorted(folder.glob("*/*.json")):
        cell = read_cell(path)
        found.setdefault(cell.problem, {})[cell.method] = cell
    return {problem: Sheet(problem, cells) for problem, cells in found.items()}
