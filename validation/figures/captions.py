"""Captions: what a figure shows, with what, and what is good and bad in it, in sentences made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from certify.report import numbers, words
from theory.provenance import Array
from validation.figures import density, overtime
from validation.figures.cells import Cell, Sheet
from validation.figures.panels import METHODS, REFERENCE, ROUNDING, STYLES, Panel, Rows

AT_FLOOR = 1.5  # a value up to this multiple of its noise floor is called not above it
FAR = 10.0  # a value beyond this multiple of its noise floor is called far above it
WORST = 3.0  # without a floor: a value beyond this multiple of the best is called far above it
BLIND = 0.3  # a kernel estimate of exact samples with a larger relative error hides the density
COUPLED = ("trajectory", "w1", "w2")  # same starts as the reference's: values below the floor still differ in quality

QUICK = " (QUICK: not to be published)"

NAMES: Mapping[str, str] = {
    "l2_kde": "relative L² error of the density",
    "l2_density": "relative L² error of the density without KDE",
    "trajectory": "relative trajectory error",
    "fisher_divergence": "relative Fisher divergence",
    "energy": "relative change of the energy",
    "entropy_rate": "relative error of the entropy decay rate",
    "momentum": "change of the mean velocity",
    "w1": "W₁ distance",
    "w2": "W₂ distance",
}


@dataclass(frozen=True)
class Spec:
    """One of the paper's figures.

    Parameters
    ----------
    number : int
    problem : str
    title, shows : str
    make : callable
        Rows of panels of a sheet.
    metrics : tuple of str
        What its caption compares at the end.
    """

    number: int
    problem: str
    title: str
    shows: str
    make: Callable[[Sheet], list[list[Panel]]]
    metrics: tuple[str, ...]

    @property
    def id(self) -> str:
        """Stem of its files."""
        return f"figure{self.number:02d}"

    @property
    def heading(self) -> str:
        """Number and title."""
        return f"Figure {self.number}. {self.title}"


@dataclass(frozen=True)
class Score:
    """A method's metric at the end, and the noise floor it has (NaN: none)."""

    label: str
    value: float
    floor: float

    @property
    def multiple(self) -> float:
        """In units of the floor; NaN without one."""
        return self.value / self.floor if self.floor > 0 else math.nan

    def __str__(self) -> str:
        """SBP 0.031 (1.1 × floor)."""
        if self.value <= ROUNDING:
            return f"{self.label} 0 to rounding"
        extra = "" if math.isnan(self.multiple) else f" ({self.multiple:.2g} × floor)"
        return f"{self.label} {self.value:.2g}{extra}"


def _last(values: Array | None) -> float:
    return math.nan if values is None else float(values[-1])


def _score(sheet: Sheet, method: str, cell: Cell, metric: str) -> Score:
    """What a caption compares, at the last time; an invariant's floor is its change along exact characteristics."""
    label, reference = METHODS[method].label, sheet.reference
    if metric in overtime.INVARIANTS:
        change = overtime.INVARIANTS[metric]
        return Score(label, _last(change(cell)), math.nan if reference is None else _last(change(reference)))
    if metric == "entropy_rate":
        truth = math.nan if reference is None else _last(reference.metric(metric))
        scale = abs(truth) or math.nan
        return Score(label, abs(_last(cell.metric(metric)) - truth) / scale, _last(cell.floor(metric)) / scale)
    floor = cell.floor(metric)
    if floor is None and reference is not None:
        floor = reference.floor(metric)
    return Score(label, _last(cell.metric(metric)), _last(floor))


def scoreboard(sheet: Sheet, metric: str) -> list[Score]:
    """All methods that have the metric at the end, best first."""
    found = [_score(sheet, method, cell, metric) for method, cell in sheet.run.items()]
    return sorted((s for s in found if math.isfinite(s.value)), key=lambda s: (s.value, s.label))


def verdicts(sheet: Sheet, metrics: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is good and what is bad at the end."""
    good, bad = [], []
    for metric in metrics:
        board, name = scoreboard(sheet, metric), NAMES[metric]
        if not board:
            continue
        equal = [s for s in board if metric not in COUPLED and (s.multiple <= AT_FLOOR or s.value <= ROUNDING)]
        rest = [s for s in board if s not in equal]
        good.append(f"{name} not above the floor: {_list(equal)}" if equal else f"{name} smallest: {board[0]}")
        far = [s for s in rest if _far(s, board[0], coupled=metric in COUPLED)]
        if far:
            bad.append(f"{name} far above {'the floor' if far[0].multiple > FAR else 'the best'}: {_list(far)}")
        elif rest and len(board) > 1:
            bad.append(f"{name} largest: {rest[-1]}")
    if "entropy_rate" in metrics:
        bad += _growing(sheet)
    blind = [s for s in scoreboard(sheet, "l2_kde") if s.floor > BLIND] if "l2_kde" in metrics else []
    if blind:
        worst = max(blind, key=lambda s: s.floor)
        bad.append(
            f"the kernel estimate hides the density: with exact samples as many as of {worst.label} its relative L² "
            f"error is {worst.floor:.2g}"
        )
    return good, bad


def _far(score: Score, best: Score, *, coupled: bool) -> bool:
    """Whether a value deserves to be named among the bad ones."""
    if math.isnan(score.multiple) or coupled:
        return score.value > WORST * max(best.value, ROUNDING)
    return score.multiple > FAR


def _growing(sheet: Sheet) -> list[str]:
    """Methods whose entropy grows at some time."""
    rates = {method: cell.metric("entropy_rate") for method, cell in sheet.run.items()}
    counts = {method: int(np.sum(rate > 0)) for method, rate in rates.items() if rate is not None}
    total = len(sheet.times)
    return [f"entropy grows at {n} of {total} times: {METHODS[method].label}" for method, n in counts.items() if n]


def _list(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _clean(text: object) -> str:
    return words.clean(str(text), 200).replace("|", r"\|")


def _absences(sheet: Sheet, rows: Rows) -> list[str]:
    """Each reason once, with whom it concerns."""
    pairs = [(s.label, state) for m, s in STYLES.items() if m in (*METHODS, REFERENCE) and (state := sheet.state(m))]
    pairs += [pair for row in rows for panel in row for pair in panel.missing]
    found: dict[str, dict[str, None]] = {}
    for label, reason in pairs:
        found.setdefault(reason, {}).setdefault(label)
    return [f"{_clean(_list(labels))}: {_clean(reason)}" for reason, labels in found.items()]


def _bands(spec: Spec, sheet: Sheet) -> list[str]:
    """What the grey bands of this figure are."""
    if spec.make is density.slices:
        noise = density.kde_noise(sheet, "slice_x")
        if not noise:
            return ["No noise band: no method states its sample number and bandwidth."]
        counts = " and ".join(f"{n:,.0f}" for n in dict.fromkeys(n for n, _ in noise))
        return [
            f"Grey band: {density.NOISE_WIDTH:g} standard deviations of a kernel estimate with {counts} independent "
            f"samples and bandwidth {noise[0][1]:g}, to leading order in 1/(N hᵈ). Particles that start on a grid "
            "scatter less."
        ]
    found = [m for m in spec.metrics if any(c.floor(m) is not None for c in sheet.made.values())]
    said = {
        "l2_kde": "of the density, the error of a kernel estimate from as many independent exact samples",
        "trajectory": "of trajectories, the N-body system with the exact score and the same time step",
        "w1": "of W₁ and W₂, two independent exact samples of that size against each other (the particles share their "
        "starts with the reference, so a value below says nothing about how well they represent the density)",
        "energy": f"of the energy, {overtime.STANDARD_ERRORS:g} standard errors about the reference",
        "entropy_rate": f"of the entropy decay rate, {overtime.STANDARD_ERRORS:g} standard errors about the reference, "
        "of its error one",
    }
    parts = [said[m] for m in found if m in said]
    return (
        [f"Grey bands, lighter up to the largest where it depends on the method: {'; '.join(parts)}."] if parts else []
    )


def caption(spec: Spec, sheet: Sheet, rows: Rows) -> list[str]:
    """The caption of a figure in Markdown."""
    times = sheet.times
    window = f"Times t from {times[0]:.4g} to {times[-1]:.4g}" if len(times) else "No times"
    sizes = [
        f"{METHODS[m].label} {' / '.join(_number(c.info.get(n)) for n in ('particles', 'kde_particles'))}"
        for m, c in sheet.run.items()
    ]
    lines = [f"## {spec.heading}{QUICK if sheet.quick else ''}", "", f"![{spec.title}]({spec.id}.png)", "", spec.shows]
    lines.append(f"{window}; velocities, times and densities in the dimensionless units of the problem.")
    lines += [f"Particles / samples in the KDE: {'; '.join(sizes)}."] if sizes else []
    lines += _bands(spec, sheet) if sizes else []
    good, bad = verdicts(sheet, spec.metrics)
    end = f" (t = {times[-1]:.4g})" if len(times) else ""
    lines += ["", f"- Good{end}: {'; '.join(good)}." if good else "- Good: no number to compare."]
    lines += [
        f"- Bad{end}: {'; '.join(bad)}." if bad else f"- Bad: {'none by these numbers' if good else 'no number'}."
    ]
    missing = _absences(sheet, rows)
    return [*lines, *([f"- Not drawn: {'; '.join(missing)}."] if missing else []), ""]


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else str(value)


def methods_table(found: Mapping[str, Sheet], problems: Iterable[str]) -> list[str]:
    """What each method was run with."""
    head = "| problem | method | particles | KDE samples | KDE bandwidth | steps | wall seconds |"
    lines = [head, "|" + " --- |" * 7]
    for problem in problems:
        sheet = found.get(problem, Sheet(problem))
        for method in (*METHODS, REFERENCE):
            label, state = STYLES[method].label, sheet.state(method)
            if state:
                lines.append(f"| {problem} | {label} | {_clean(state)} | - | - | - | - |")
                continue
            cell = sheet.cells[method]
            counts = [_number(cell.info.get(n)) for n in ("particles", "kde_particles")]
            seconds = cell.info.get("wall_seconds")
            time = numbers.plain(float(seconds), 3) if isinstance(seconds, int | float) else "-"
            row = [
                problem,
                f"{label}{_how(cell)}",
                *counts,
                _number(cell.bandwidth),
                _number(cell.info.get("steps")),
                time,
            ]
            lines.append(f"| {' | '.join(row)} |")
    return lines


def _how(cell: Cell) -> str:
    """How a reference was made."""
    made = (cell.info.get("solution") or {}).get("method")
    return f" ({_clean(made)})" if made else ""
