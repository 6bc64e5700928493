"""``python -m validation.efficiency``: learned flows with 1,000 particles against SBP and blob at the paper's counts.

One table for BKW in 2D and in 3D, where the exact solution is known: errors with their floors, time, memory; and one
figure, what the dynamics of each method miss beside what its number of particles can resolve at all. Cells that the
folder of ``python -m validation`` holds with these settings are used, the others made. Exit code 0, 1 if a cell failed,
2 for a wrong command line, 5 if the output cannot be written, 130 if interrupted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certify.arguments import Parser, whole
from certify.console import note, out, unwritable, write_text
from certify.report.axes import GREY, log10, log_range, set_log_axis
from certify.report.svg import drawing, render
from certify.text import rounded_down
from theory.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_OK, UserError
from theory.problem import Problem
from theory.provenance import Array
from validation import cells, metrics, summary
from validation.cell import Task
from validation.figures.panels import METHODS as STYLES
from validation.methods import generator
from validation.plan import REFERENCE, SETUPS, Setup
from validation.table import table

PROBLEMS = ("bkw2d", "bkw3d")
HEAD = (
    "method",
    "particles N",
    "L2 by KDE of M",
    "L2 by KDE of N",
    "L2 of the density",
    "trajectory",
    "W1",
    "W2",
    "W1 floor, any N points",
    "CPU s",
    "with training",
    "memory MB",
)

NOTES = (
    "Errors at the last time. M: particles the method's own protocol gives the kernel estimate (fresh samples through "
    "a flow, tracers, its own particles), with the floor of M independent exact samples in brackets; of N: from its N "
    "particles alone, where they are fewer. L2 of the density: by change of variables, without a kernel; of blob, "
    "its own reconstruction on its own cells.",
    "Trajectory: in brackets the N-body system of the 1,000 common particles with the exact score; flows and methods "
    "with more particles may lie below.",
    "W1, W2: cloud of the common particles against the cloud of their exact characteristics (same starts); in brackets "
    "two independent exact samples of that size. The W1 floor is what no N points, however placed and weighted, can be "
    "nearer to the density (TRANSPORT section 4.2): more particles help there and nowhere else.",
    "CPU seconds on one thread of producing all this; with training: plus the seconds recorded in the model file, "
    "which are spent once for every number of particles, start and time. Memory: peak of the process, in brackets "
    "interpreter and libraries before the method began.",
    "Figure: marks are the W1 column, what the dynamics of a method miss, at its number of particles. Lines: what no N "
    "points can be nearer to the exact density; the distance of two independent exact samples of N, dashed beyond what "
    "was computed (N^(-1/3) in 3D, (log N/N)^(1/2) in 2D). A cloud is farther from the density than the lower line, "
    "however small its mark.",
)
SAMPLES = (250, 500, 1000, 2000, 4000)  # of the line of independent samples
DRAWS = 4000  # points spent on each of them, or two draws
RANGE = (200.0, 1e5)  # of the horizontal axis
STREAM = 99  # of random numbers


@dataclass(frozen=True)
class Cell:
    """A finished cell: its record and its arrays."""

    task: Task
    record: Mapping[str, Any]
    arrays: Mapping[str, Any]


def load(folder: Path, task: Task) -> Cell | None:
    """A cell, or None if it is not there."""
    record = cells.read(folder, task)
    if record is None or record.get("failed"):
        return None
    with np.load(folder / task.problem / f"{task.method}.npz", allow_pickle=False) as stored:
        return Cell(task, record, {name: stored[name] for name in stored.files})


def kde_of_particles(cell: Cell) -> float | None:
    """Relative L2 error at the last time of the KDE of the N particles alone; None if that is the protocol's own."""
    if cell.task.method in ("sbp", "blob"):
        return None
    setup = cell.task.setup
    problem = setup.problem()
    axes = setup.axes(problem.d)
    if problem.exact is None:
        return None
    exact = np.exp(problem.exact.log_density(setup.times[-1], metrics.grid_points(axes)))
    estimate = metrics.kde(cell.arrays["x"][-1], axes, setup.bandwidth)
    return metrics.relative_l2(estimate.ravel(), exact)


def particle_floor(setup: Setup, particles: float) -> float | None:
    """What no so many points can be nearer to the exact density at the last time, in W1."""
    problem = setup.problem()
    supremum = getattr(problem.exact, "sup_density", None)
    return None if supremum is None else metrics.quantisation_floor(problem.d, particles, supremum(setup.times[-1]))


def row(cell: Cell, floor: float | None) -> list[str]:
    """One method."""
    record, number = cell.record, summary.number
    training = record.get("training_seconds")
    nearest = particle_floor(cell.task.setup, record["particles"])
    return [
        cell.task.method,
        str(record["particles"]),
        f"{summary.with_floor(record, 'l2_kde')}, M = {record['kde_particles']}",
        number(kde_of_particles(cell)),
        number(summary.own_density(record)),
        summary.with_floor(record, "trajectory", floor),
        summary.with_floor(record, "w1"),
        summary.with_floor(record, "w2"),
        "-" if nearest is None else rounded_down(nearest),
        f"{record['cpu_seconds']:.0f}",
        "-" if training is None else f"{training + record['cpu_seconds']:.0f}",
        f"{record['peak_memory_mb']:.0f} ({record['baseline_memory_mb']:.0f})",
    ]


def document(folder: Path, tasks: Sequence[Task], command: str) -> str:
    """The table."""
    quick = any(t.quick for t in tasks)
    lines = ["# Efficiency: learned flows against particle methods" + (" (QUICK)" if quick else ""), ""]
    lines += [f"Written by `{command}`.", "", *(f"{text}\n" for text in NOTES)]
    if quick:
        lines += ["**QUICK: few particles and long steps everywhere. Do not publish these numbers.**", ""]
    for problem in dict.fromkeys(t.problem for t in tasks):
        mine = [t for t in tasks if t.problem == problem]
        reference = next((load(folder, t) for t in mine if t.method == REFERENCE), None)
        floor = None if reference is None else summary.last(reference.record, "floor", "trajectory")
        rows = []
        for task in (t for t in mine if t.method != REFERENCE):
            cell = load(folder, task)
            failed = (cells.read(folder, task) or {}).get("failed", "not run")
            rows.append(row(cell, floor) if cell else [task.method, failed, *["-"] * (len(HEAD) - 2)])
        lines += [f"## {SETUPS[problem].spec}, t = {SETUPS[problem].times[-1]:g}", "", *table(HEAD, rows), ""]
    lines += ["![W1 against the number of particles](efficiency.svg)"]
    return "\n".join(lines).rstrip() + "\n"


def sampling(problem: Problem, t: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Mean W1 of two independent exact samples of N points at time t, computed over ``SAMPLES`` and carried on: N, W1.

    The last entry, at the end of the axis, follows from the one before by the rate (TRANSPORT section 4.1).
    """
    exact = problem.exact
    if exact is None:
        raise ValueError(f"{problem.id} has no exact solution to draw from")
    sizes = np.array([*SAMPLES, RANGE[1]])
    found = [
        np.mean([metrics.w1(exact.sample(t, n, rng), exact.sample(t, n, rng)) for _ in range(max(2, DRAWS // n))])
        for n in SAMPLES
    ]
    rate = np.sqrt(np.log(sizes) / sizes) if problem.d == 2 else sizes ** (-1 / problem.d)
    return sizes, np.array([*found, found[-1] * rate[-1] / rate[-2]])


def figure(folder: Path, tasks: Sequence[Task], seed: int) -> str:
    """What the dynamics miss against the number of particles, as an SVG; one panel a problem."""
    with drawing("efficiency"):
        from matplotlib.figure import Figure

        problems = list(dict.fromkeys(t.problem for t in tasks))
        canvas = Figure(figsize=(4.6 * len(problems), 4.3), layout="constrained")
        panels = np.atleast_1d(canvas.subplots(1, len(problems)))
        for ax, name in zip(panels, problems, strict=True):
            setup = SETUPS[name]
            problem, end = setup.problem(), setup.times[-1]
            sizes, apart = sampling(problem, end, generator(seed, STREAM))
            grid = np.array(RANGE)  # a power law is a straight line between its ends
            nearest = np.array([particle_floor(setup, n) for n in grid], dtype=np.float64)
            ax.plot(np.log10(grid), log10(nearest), color=GREY, lw=1.6, label="no N points are nearer to the density")
            ax.plot(np.log10(sizes[:-1]), log10(apart[:-1]), color="#444444", lw=1.2, label="two exact samples of N")
            ax.plot(np.log10(sizes[-2:]), log10(apart[-2:]), color="#444444", lw=1.2, ls="--")
            drawn = [log10(nearest), log10(apart)]
            for task in (t for t in tasks if t.problem == name and t.method in STYLES):
                cell = load(folder, task)
                missed = None if cell is None else summary.last(cell.record, "metrics", "w1")
                if cell is None or missed is None:
                    continue
                style, y = STYLES[task.method], log10(np.array([missed]))
                drawn.append(y)
                at = [np.log10(cell.record["particles"])]
                ax.plot(at, y, ls="none", marker=style.marker, ms=6, color=style.color, label=style.label)
            set_log_axis(ax, *log_range(drawn))
            ticks = (1000, 22_500, 64_000)
            ax.set_xlim(*np.log10(RANGE))
            ax.set_xticks(np.log10(ticks), [f"{n:,}" for n in ticks])
            ax.set_xlabel("particles N")
            ax.set_title(f"{setup.spec}, t = {end:g}: W1", loc="left", fontsize=9)
        canvas.legend(
            *panels[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=4
        )
        return render(canvas, "efficiency", "What the dynamics miss, and what N particles can resolve, in W1")


def main(argv: Sequence[str] | None = None) -> int:
    """Make what is missing, and the table."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(given)
    except UserError as error:
        note(f"validation.efficiency: {error.line().partition(': ')[2]}")
        return error.exit_code


def _main(given: list[str]) -> int:
    parser = Parser(prog="python -m validation.efficiency", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("-o", "--output", type=Path, help="folder of the cells and the table (runs/validation)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of model files (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few particles; marked QUICK")
    parser.add_argument("--jobs", type=whole(1, 64), default=2, help="cells at a time (%(default)s)")
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="(%(default)s)")
    arguments = parser.read(given)
    folder = arguments.output or Path("runs/validation-quick" if arguments.quick else "runs/validation")
    tasks = cells.plan(
        PROBLEMS, [*summary.method_ids(), REFERENCE], quick=arguments.quick, paper=True,
        seed=arguments.seed, models=arguments.models,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        states, complete = cells.make(tasks, folder, jobs=arguments.jobs)
    except OSError as error:
        raise unwritable(folder, error) from None
    text = document(folder, tasks, shlex.join(["python", "-m", "validation.efficiency", *given]))
    write_text(folder / "efficiency.md", text)
    write_text(folder / "efficiency.svg", figure(folder, tasks, arguments.seed))
    out("\n".join([*summary.brief(folder, PROBLEMS), f"the whole table: {folder / 'efficiency.md'}"]))
    failed = [s for s in states if s.outcome == cells.FAILED]
    for state in failed:
        note(f"validation.efficiency: {state.task.name} failed: {state.reason}")
    if not complete:
        return EXIT_INTERRUPTED
    return EXIT_INTERNAL if failed else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
