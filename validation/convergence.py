"""``python -m validation.convergence``: error and certificate against particles, width, quadrature and training.

Studies, each a CSV file and one figure. particles: W1 of a cloud of N learned particles from an exact sample, with
what a perfect method and any N points would show. width, training: a flow trained on the flow defect, its measured
error and its bounds S1 and S2. quadrature: the bounds of one model under tighter tolerances. nodes: its flow defect on
finer rules. Exit code 0, 2 for a wrong command line, 3 and 4 for models that cannot be used, 5 if the output cannot be
written, 130 if interrupted (finished studies are kept).
"""

from __future__ import annotations

import csv
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certify.api import load_run, problem_of
from certify.arguments import Parser, near, whole
from certify.console import note, out, unwritable, write_text
from certify.judge import judge
from certify.options import Options, silent
from certify.pushforward import push
from certify.report.axes import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    log10,
    log_range,
    set_log_axis,
)
from certify.report.svg import drawing, render
from certify.run import Run
from certify.text import clean, split_hint
from theory.errors import EXIT_INTERRUPTED, EXIT_OK, UserError
from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array
from validation import metrics

TRAINED = "bkw2d:t0=1/2"
MODELS = {2: "bkw2d-t05-flow-defect.pt", 3: "bkw3d-flow-defect.pt"}
BOUNDS = {"stability_w2": "S1 bound of W2", "stability_wp": "S2 bound of W1", "stability_wp2": "S2 bound of W2"}
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, BLACK, GREY)
Row = Mapping[str, float]


@dataclass(frozen=True)
class Effort:
    """How far the studies go."""

    particles: tuple[int, ...]
    draws: Callable[[int], int]
    widths: tuple[int, ...]
    steps: int
    rounds: tuple[float, ...]
    tolerances: tuple[float, ...]
    nodes: tuple[tuple[int, int], ...]


FULL = Effort(
    particles=(125, 250, 500, 1000, 2000, 4000),
    draws=lambda n: max(4, 16_000 // n),
    widths=(4, 8, 16, 32, 64),
    steps=2000,
    rounds=(5.0, 10.0, 20.0, 40.0, 80.0, 160.0),
    tolerances=(0.5, 0.2, 0.1, 0.05, 0.02, 0.01),
    nodes=((1, 4), (1, 6), (1, 8), (1, 12), (1, 16), (1, 24), (2, 32)),
)
QUICK = Effort(
    particles=(60, 125, 250),
    draws=lambda _: 2,
    widths=(4, 16),
    steps=40,
    rounds=(1.0, 2.0),
    tolerances=(0.5, 0.1),
    nodes=((1, 4), (1, 8), (2, 16)),
)


# --- what is measured of a run


def bounds(run: Run, problem: Problem, *, tolerance: float = 0.02, quick: bool = False) -> dict[str, float]:
    """Bounds S1 and S2 at the end of the window, and the measured interval of W2; NaN where there is none."""
    chosen = Options(times=2, samples=20, w1_samples=20, certificates=tuple(BOUNDS), tolerance=tolerance, quick=quick)
    found: dict[str, float] = dict.fromkeys(BOUNDS, math.nan)
    for certificate in judge(run, problem, chosen).certificates:
        if certificate.log_bound is not None:
            found[certificate.id] = float(np.exp(certificate.log_bound[-1]))
    return found


def measured(run: Run, problem: Problem) -> dict[str, float]:
    """Same-start coupling error at the end of the window, by quadrature over f_t0: upper bounds of W1 and W2."""
    exact, rule, T = problem.exact, problem.rule(), float(problem.T)
    if exact is None:
        raise ValueError(f"{problem.id} has no exact solution to measure against")
    gap = np.linalg.norm(run.flow(np.array([T]), rule.nodes)[0] - exact.flow(T, rule.nodes), axis=1)
    return {"w1_coupling": float(rule.weights @ gap), "w2_coupling": math.sqrt(rule.weights @ gap**2)}


# --- studies


def particles(effort: Effort, models: Path, rng: np.random.Generator, tell: Callable[[str], None]) -> list[Row]:
    """W1 at the end of the window between clouds of N: learned or exact against independent exact samples."""
    rows: list[Row] = []
    for d, name in MODELS.items():
        run = load_run(str(models / name))
        problem = problem_of(run)
        exact, T = problem.exact, float(problem.T)
        if exact is None:
            raise ValueError(f"{problem.id} has no exact solution to measure against")
        supremum: float = exact.sup_density(T)  # type: ignore[attr-defined]
        coupling = measured(run, problem)["w1_coupling"]
        bound = bounds(run, problem, quick=d == 3)["stability_wp"]  # a full one takes minutes in 3D
        for n in effort.particles:
            tell(f"particles: {d}D, N = {n}")
            learned, floor, same = [], [], []
            for _ in range(effort.draws(n)):
                start = problem.initial.sample(n, rng)
                cloud = run.flow(np.array([T]), start)[0]
                learned.append(metrics.w1(cloud, exact.sample(T, n, rng)))
                same.append(metrics.w1(cloud, exact.flow(T, start)))
                floor.append(metrics.w1(exact.sample(T, n, rng), exact.sample(T, n, rng)))
            rows.append(
                {
                    "d": d,
                    "n": n,
                    "w1_learned": float(np.mean(learned)),
                    "w1_learned_error": metrics.standard_error(np.array(learned)),
                    "w1_floor": float(np.mean(floor)),
                    "w1_floor_error": metrics.standard_error(np.array(floor)),
                    "w1_same_start": float(np.mean(same)),
                    "quantisation_floor": metrics.quantisation_floor(d, n, supremum),
                    "w1_density_coupling": coupling,
                    "w1_density_bound": bound,
                }
            )
    return rows


def _train(problem: Problem, output: Path, settings: Mapping[str, Any], **options: Any) -> Run:
    from solver.train import train

    text = {name: str(value) for name, value in settings.items()}
    train("flow-defect", problem, output, text, progress=lambda *_: None, **options)
    return load_run(str(output))


def width(effort: Effort, _: Path, rng: np.random.Generator, tell: Callable[[str], None]) -> list[Row]:
    """Free flows of growing width, equally many steps."""
    problem, rows = parse_problem(TRAINED), list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        for w in effort.widths:
            tell(f"width {w}")
            began = time.process_time()
            settings = {"flow": "free", "width": w, "blocks": 2, "steps": effort.steps, "learning_rate": 3e-3}
            run = _train(problem, Path(folder) / f"w{w}.pt", settings, seed=int(rng.integers(2**31)))
            spent = time.process_time() - began
            rows.append({"width": w, "cpu_seconds": spent, **measured(run, problem), **bounds(run, problem)})
    return rows


def training(effort: Effort, _: Path, rng: np.random.Generator, tell: Callable[[str], None]) -> list[Row]:
    """One run judged at several times of its training, which is cut off and taken up again."""
    problem, rows, seed = parse_problem(TRAINED), list[Row](), int(rng.integers(2**31))
    per_second = 60.0  # steps; the schedule of the learning rate ends with them
    settings = {"flow": "free", "width": 32, "blocks": 2, "learning_rate": 3e-3}
    settings["steps"] = max(20, round(per_second * effort.rounds[-1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        for k, seconds in enumerate(effort.rounds):
            tell(f"training to {seconds:g} s")
            run = _train(problem, path, settings, seed=seed, seconds=seconds, resume=k > 0)
            done = dict(run.describe()["training"])
            rows.append(
                {
                    "seconds": float(done["wall_seconds"]),
                    "steps": float(done["steps_done"]),
                    **measured(run, problem),
                    **bounds(run, problem),
                }
            )
            if done["steps_done"] >= settings["steps"]:
                break
    return rows


def quadrature(effort: Effort, models: Path, _: np.random.Generator, tell: Callable[[str], None]) -> list[Row]:
    """Bounds of one model under tighter tolerances of their quadrature."""
    run = load_run(str(models / MODELS[2]))
    problem, rows = problem_of(run), list[Row]()
    error = measured(run, problem)
    for tolerance in effort.tolerances:
        tell(f"quadrature tolerance {tolerance:g}")
        began = time.process_time()
        found = bounds(run, problem, tolerance=tolerance)
        rows.append({"tolerance": tolerance, "cpu_seconds": time.process_time() - began, **error, **found})
    return rows


def nodes(effort: Effort, models: Path, _: np.random.Generator, tell: Callable[[str], None]) -> list[Row]:
    """Flow defect of one model in the middle of its window on finer rules: change to the finest, and own estimate."""
    run = load_run(str(models / MODELS[2]))
    problem = problem_of(run)
    middle, found = np.array([float(problem.t0 + problem.T) / 2]), []
    for halvings, angles in effort.nodes:
        edges = problem.initial.radial_edges()
        for _again in range(halvings - 1):
            edges = np.sort(np.concatenate([edges, (edges[1:] + edges[:-1]) / 2]))
        rule = problem.rule(edges, angles)
        tell(f"quadrature with {len(rule.weights)} nodes")
        pushed = push(run, problem, rule, middle, silent, "nodes")
        if pushed is None:
            raise ValueError(f"{run.name} has no derivatives")
        total, error = rule.integrate(np.sum(pushed.defect**2, axis=-1))
        defect = math.sqrt(float(total[0]))
        found.append((len(rule.weights), angles, defect, float(error[0]) / (2 * defect)))
    finest = found[-1][2]
    return [
        {"nodes": n, "angles": a, "defect": x, "estimated_error": e, "change_to_finest": abs(x - finest)}
        for n, a, x, e in found
    ]


# --- output


@dataclass(frozen=True)
class Study:
    """A study with its figure: which columns are drawn against which, by panel.

    Parameters
    ----------
    run : callable
        (effort, models, rng, tell) -> rows.
    x, label : str
        Column of the horizontal axis, and what it says.
    curves : mapping
        Column -> label.
    split : str
        Column whose values make panels; none if empty.
    caption : str
        What it shows.
    """

    run: Callable[[Effort, Path, np.random.Generator, Callable[[str], None]], list[Row]]
    x: str
    label: str
    curves: Mapping[str, str]
    caption: str
    split: str = ""


_OF_TRAINED = {"w2_coupling": "measured W2, same starts", "w1_coupling": "measured W1, same starts", **BOUNDS}
STUDIES: Mapping[str, Study] = {
    "particles": Study(
        particles,
        "n",
        "particles N",
        {
            "w1_learned": "learned cloud, exact sample",
            "w1_floor": "two exact samples",
            "quantisation_floor": "any N points, at least",
            "w1_same_start": "learned cloud, exact flow of the same starts",
            "w1_density_bound": "S2 bound for the density",
        },
        "W1 against the number of particles",
        split="d",
    ),
    "width": Study(width, "width", "width", _OF_TRAINED, "error and bounds against the width of the flow network"),
    "training": Study(
        training, "seconds", "seconds of training", _OF_TRAINED, "error and bounds against the time of training"
    ),
    "quadrature": Study(
        quadrature,
        "tolerance",
        "relative tolerance of the quadrature",
        {"w2_coupling": "measured W2, same starts", **BOUNDS},
        "bounds against the tolerance of their quadrature",
    ),
    "nodes": Study(
        nodes,
        "nodes",
        "nodes of the rule",
        {"change_to_finest": "change to the finest rule", "estimated_error": "its own error estimate"},
        "quadrature of the flow defect against its nodes",
    ),
}


def as_csv(rows: Sequence[Row]) -> str:
    """Rows with the columns of the first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0])
    writer.writerow(names)
    writer.writerows([[format(float(row[name]), ".17g") for name in names] for row in rows])
    return text.getvalue()


def observed_order(x: Array, y: Array) -> float:
    """Slope of log y in log x over the last three points; NaN without three positive ones."""
    good = (x > 0) & (y > 0) & np.isfinite(y)
    if good.sum() < 3:
        return math.nan
    return float(np.polyfit(np.log(x[good][-3:]), np.log(y[good][-3:]), 1)[0])


def figure(name: str, study: Study, rows: Sequence[Row], quick: bool) -> str:
    """The study as an SVG."""
    panels = sorted({row[study.split] for row in rows}) if study.split else [math.nan]
    with drawing(f"convergence-{name}"):
        from matplotlib.figure import Figure

        canvas = Figure(figsize=(5.6 * len(panels), 5.4), layout="constrained")
        for ax, panel in zip(np.atleast_1d(canvas.subplots(1, len(panels))), panels, strict=True):
            chosen = [r for r in rows if not study.split or r[study.split] == panel]
            x = np.array([r[study.x] for r in chosen])
            drawn = []
            for color, (column, label) in zip(PALETTE, study.curves.items(), strict=False):
                drawn.append(log10(np.array([r[column] for r in chosen])))
                ax.plot(np.log10(x), drawn[-1], marker="o", ms=3.5, color=color, label=label)
            if name == "particles":
                for power, style in ((2, ":"), (3, "--")):
                    y = log10(chosen[0]["w1_floor"] * (x / x[0]) ** (-1 / power))
                    ax.plot(np.log10(x), y, style, color=GREY, lw=1, label=f"slope -1/{power}")
            ax.set_xticks(np.log10(x), [f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in x])
            if any(np.isfinite(y).any() for y in drawn):
                set_log_axis(ax, *log_range(drawn))
            ax.set_xlabel(study.label)
            ax.set_title(f"{int(panel)}D" if study.split else "", loc="left")
            ax.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
        canvas.suptitle(f"{study.caption}{' (QUICK)' if quick else ''}", x=0.02, ha="left", fontsize=10)
        return render(canvas, f"convergence-{name}", study.caption)


def report(name: str, study: Study, rows: Sequence[Row]) -> list[str]:
    """Orders observed over the last three points, for the terminal."""
    lines = [f"{name}: {study.caption}"]
    for panel in sorted({row[study.split] for row in rows}) if study.split else [math.nan]:
        chosen = [r for r in rows if not study.split or r[study.split] == panel]
        x = np.array([r[study.x] for r in chosen])
        for column, label in study.curves.items():
            y = np.array([r[column] for r in chosen])
            order, where = observed_order(x, y), f" {int(panel)}D" if study.split else ""
            slope = "" if math.isnan(order) else f", slope {order:+.2f}"
            lines.append(f"  {label}{where}: {y[0]:.3g} -> {y[-1]:.3g}{slope}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the studies."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(given)
    except UserError as error:
        note(f"validation.convergence: {error.line().partition(': ')[2]}")
        return error.exit_code
    except KeyboardInterrupt:
        note("validation.convergence: interrupted; finished studies are written")
        return EXIT_INTERRUPTED


def _main(given: list[str]) -> int:
    parser = Parser(prog="python -m validation.convergence", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"{', '.join(STUDIES)} (default: all)")
    parser.add_argument("-o", "--output", type=Path, help="folder (runs/convergence; runs/convergence-quick)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of model files (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a minute; marked QUICK")
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="(%(default)s)")
    arguments = parser.read(given)
    for name in arguments.studies:
        if name not in STUDIES:
            known = ", ".join(STUDIES)
            cause = f"unknown study {clean(name, 60)!r}{near(name, list(STUDIES))}"
            raise UserError("E400", *split_hint(cause, f"Known: {known}."))
    folder = arguments.output or Path("runs/convergence-quick" if arguments.quick else "runs/convergence")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    began = time.monotonic()

    def tell(text: str) -> None:
        note(f"{time.monotonic() - began:5.0f} s  {text}")

    for number, (name, study) in enumerate(STUDIES.items()):
        if arguments.studies and name not in arguments.studies:
            continue
        rng = np.random.default_rng([arguments.seed, number])
        rows = study.run(QUICK if arguments.quick else FULL, arguments.models, rng, tell)
        write_text(folder / f"{name}.csv", as_csv(rows))
        write_text(folder / f"{name}.svg", figure(name, study, rows, arguments.quick))
        out("\n".join(report(name, study, rows)))
    out(f"{'QUICK: do not publish these numbers. ' if arguments.quick else ''}{folder}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
