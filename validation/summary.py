"""Tables of the experiments: ``errors.csv`` with every number, ``summary.md`` with those at the last time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certify.text import clean, rounded_up
from validation.cells import records
from validation.plan import METHODS, REFERENCE, SETUPS
from validation.table import table

COLUMNS = ("problem", "method", "metric", "time", "value", "floor", "quick")
Record = Mapping[str, Any]

NOTES = (
    "Relative L2 and trajectory errors are norms, the Fisher divergence a ratio of squares. In brackets the noise "
    "floor: what as many independent samples of the exact law show (KDE; two samples against each other for W1 and "
    "W2), and for the trajectory what the N-body system of the common particles alone shows with the exact score and "
    "the same time step: flows and methods with more particles may lie below.",
    "L2, density: by change of variables over a rule of f0, without a kernel; of blob, its own reconstruction on its "
    "own cells.",
    "W1 and W2 compare the cloud of the common particles with the cloud of their exact characteristics: the starts are "
    "the same, so the values may lie far below the floor, and say nothing about how well any cloud of that size "
    "represents a density. Blob particles start on a grid, not at random: its KDE error may lie below the floor too.",
    "Energy change and momentum (change of the mean velocity) are of the method's own interacting particles; flows "
    "have none: there it is the sample of the common particles, whose energy is conserved in the mean only.",
    "Wall and CPU time are of producing trajectories, scores and the particles of the KDE, on one thread, after "
    "imports; training is what the model file records. Memory is the peak of that process, in brackets what it had "
    "before the method began (interpreter and libraries).",
)


def last(record: Record, kind: str, name: str) -> float | None:
    """A metric or floor at the last time."""
    values = (record.get(kind) or {}).get(name)
    value = values[-1] if values else None
    return None if value is None else float(value)


def number(value: float | None) -> str:
    """Three figures, rounded up in size."""
    if value is None or not math.isfinite(value):
        return "-"
    return ("-" if value < 0 else "") + rounded_up(abs(value))


def with_floor(record: Record, name: str, floor: float | None = None) -> str:
    """A metric at the last time with its floor in brackets."""
    value, low = last(record, "metrics", name), last(record, "floor", name) if floor is None else floor
    if value is None:
        return "-"
    return number(value) if low is None else f"{number(value)} ({number(low)})"


def own_density(record: Record) -> float | None:
    """Relative L2 error at the last time of the density a method has without our kernel estimate."""
    value = last(record, "metrics", "l2_density")
    return last(record, "metrics", "l2_own") if value is None else value


def _energy_change(record: Record) -> float | None:
    values = (record.get("metrics") or {}).get("energy")
    return None if not values or not values[0] else abs(values[-1] / values[0] - 1)


HEAD = (
    "method",
    "L2, KDE",
    "L2, density",
    "trajectory",
    "Fisher",
    "dH/dt",
    "energy change",
    "momentum",
    "W1",
    "W2",
    "particles",
    "KDE",
    "steps",
    "wall s",
    "CPU s",
    "training s",
    "memory MB",
)


def row(method: str, record: Record | None, trajectory_floor: float | None) -> list[str]:
    """One method of one problem; a cell that is missing says so."""
    if record is None or record.get("failed"):
        reason = "not run" if record is None else clean(record["failed"], 120)
        return [method, reason if reason.startswith("not run") else f"failed: {reason}", *["-"] * (len(HEAD) - 2)]
    memory = f"{record['peak_memory_mb']:.0f} ({record['baseline_memory_mb']:.0f})"
    seconds = record.get("training_seconds")
    return [
        method,
        with_floor(record, "l2_kde"),
        number(own_density(record)),
        with_floor(record, "trajectory", trajectory_floor),
        number(last(record, "metrics", "fisher_divergence")),
        number(last(record, "metrics", "entropy_rate")),
        number(_energy_change(record)),
        number(last(record, "metrics", "momentum")),
        with_floor(record, "w1"),
        with_floor(record, "w2"),
        str(record["particles"]),
        str(record["kde_particles"] or "-"),
        str(record.get("steps") or "-"),
        number(record["wall_seconds"]),
        number(record["cpu_seconds"]),
        "-" if seconds is None else f"{seconds:.0f}",
        memory,
    ]


def section(problem: str, found: Mapping[str, Record], methods: Sequence[str]) -> list[str]:
    """The table of one problem."""
    reference = found.get(REFERENCE)
    floor = None if reference is None or reference.get("failed") else last(reference, "floor", "trajectory")
    lines = [f"## {SETUPS[problem].spec}", ""]
    if reference is not None and not reference.get("failed"):
        solution = reference.get("solution") or {}
        rate = last(reference, "metrics", "entropy_rate")
        errors = [e for e in solution.get("path_error") or [] if e]
        about = f"Measured against: {solution.get('method')}" + (
            f"; dH/dt = {number(rate)}" if rate is not None else ""
        )
        about += f"; its own paths are off by {number(max(errors))} (relative, estimated)" if errors else ""
        lines += [f"{about}. At t = {SETUPS[problem].times[-1]:g}.", ""]
    if any(r.get("quick") for r in found.values()):
        lines += ["**QUICK: small and coarse, to see that everything runs. Do not publish these numbers.**", ""]
    rows = [row(m, found.get(m), floor) for m in methods if m != REFERENCE]
    lines += [*table(HEAD, rows), ""]
    for method in methods:
        why = (found.get(method) or {}).get("not_available") or {}
        lines += [f"- {method}: {name}: {clean(reason, 160)}" for name, reason in sorted(why.items())]
    return [*lines, ""]


def document(folder: Path, problems: Sequence[str], methods: Sequence[str], command: str) -> str:
    """All tables."""
    found: dict[str, dict[str, Record]] = {}
    for problem, method, record in records(folder):
        found.setdefault(problem, {})[method] = record
    quick = any(r.get("quick") for cells in found.values() for r in cells.values())
    lines = [
        "# The paper's experiments" + (" (QUICK)" if quick else ""),
        "",
        f"Written by `{command}`. Every number over time is in `errors.csv`; settings and versions in the "
        "record of each cell.",
        "",
        *(f"{note}\n" for note in NOTES),
    ]
    for problem in problems:
        lines += section(problem, found.get(problem, {}), methods)
    return "\n".join(lines).rstrip() + "\n"


def errors_csv(folder: Path) -> str:
    """Every metric of every cell at every time, with its floor."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for problem, method, record in records(folder):
        floors = record.get("floor") or {}
        for name, values in sorted((record.get("metrics") or {}).items()):
            floor = floors.get(name) or [None] * len(values)
            for t, value, low in zip(record["times"], values, floor, strict=True):
                shown = ["" if x is None else repr(float(x)) for x in (value, low)]
                writer.writerow([problem, method, name, repr(float(t)), *shown, "QUICK" if record.get("quick") else ""])
    return out.getvalue()


def brief(folder: Path, problems: Sequence[str]) -> list[str]:
    """A few lines for the terminal: KDE and trajectory error at the last time."""
    lines = [f"{'problem':<19}{'method':<14}{'L2 (KDE)':>17}{'trajectory':>11}{'wall s':>8}{'memory MB':>10}"]
    for problem, method, record in records(folder):
        if problem not in problems or method == REFERENCE:
            continue
        if record.get("failed"):
            lines.append(f"{problem:<19}{method:<14}  {clean(record['failed'], 44)}")
            continue
        kde, path = with_floor(record, "l2_kde"), number(last(record, "metrics", "trajectory"))
        wall, memory = number(record["wall_seconds"]), f"{record['peak_memory_mb']:.0f}"
        lines.append(f"{problem:<19}{method:<14}{kde:>17}{path:>11}{wall:>8}{memory:>10}")
    return lines


def method_ids() -> list[str]:
    """Methods without the reference."""
    return [m for m in METHODS if m != REFERENCE]
