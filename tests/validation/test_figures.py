"""The figures show what the cells hold, say what they do not, and are the same bytes on every run."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array
from validation import figures
from validation.figures import canvas, captions, density, overtime
from validation.figures.__main__ import main
from validation.figures.cells import Cell, Sheet, sheets
from validation.figures.panels import METHODS, REFERENCE
from validation.metrics import cell_centres, kde, relative_l2

NOISE = {"pinn-particle": 0.02, "pinn-score": 0.01, "flow-defect": 0.004, "sbp": 0.006, "blob": 0.05}
STARTS = 200


def _profiles(density: Array, half_width: float) -> dict[str, Array]:
    """Slices through 0, the plane and the marginals of a density on the grid."""
    d, g = density.ndim, density.shape[0]
    width, middle = 2 * half_width / g, g // 2
    found = {"plane": density if d == 2 else density[:, :, middle]}
    for k, axis in enumerate("xyz"[:d]):
        others = tuple(j for j in range(d) if j != k)
        found[f"slice_{axis}"] = density[tuple(slice(None) if j == k else middle for j in range(d))]
        found["marginal" if k == 0 else f"marginal_{axis}"] = density.sum(axis=others) * width ** (d - 1)
    return found


def write_cell(folder: Path, info: dict[str, Any], arrays: dict[str, Array] | None) -> None:
    """A cell as the contract has it."""
    target = folder / info["problem"].partition(":")[0]
    target.mkdir(parents=True, exist_ok=True)
    if arrays is not None:
        np.savez(target / f"{info['method']}.npz", **arrays)  # type: ignore[arg-type]
    (target / f"{info['method']}.json").write_text(json.dumps(info))


def write_cells(
    folder: Path, spec: str, methods: tuple[str, ...], *, half_width: float = 4.0, g: int = 40, samples: int = 3000
) -> Problem:
    """Cells of a problem with an exact solution: methods are the exact flow with noise of the size in ``NOISE``."""
    problem = parse_problem(spec)
    exact = problem.exact
    if exact is None:
        raise ValueError(f"{spec} has no exact solution")
    rng = np.random.default_rng(5)
    times = np.linspace(float(problem.t0), float(problem.T), 7)
    starts = exact.sample(times[0], STARTS, rng)
    axis, bandwidth = cell_centres(half_width, g), 0.15
    points = np.stack(np.meshgrid(*[axis] * problem.d, indexing="ij"), axis=-1).reshape(-1, problem.d)
    truth = [np.exp(exact.log_density(t, points)).reshape((g,) * problem.d) for t in times]
    paths = np.stack([starts if t == times[0] else exact.flow(t, starts) for t in times])
    true_scores = np.stack([exact.score(t, x) for t, x in zip(times, paths, strict=True)])
    smooth = [
        _profiles(kde(exact.sample(t, 5 * samples, rng), [axis] * problem.d, bandwidth), half_width) for t in times
    ]
    common = {"problem": spec, "kde_bandwidth": bandwidth, "times": times.tolist(), "wall_seconds": 12.0, "steps": 500}
    rate = [
        float(np.mean(np.sum(exact.drift(t, x) * exact.score(t, x), -1))) for t, x in zip(times, paths, strict=True)
    ]
    energy = [float(np.mean(np.sum(x**2, -1))) for x in paths]
    per_time = [_profiles(f, half_width) for f in truth]
    arrays: dict[str, Array] = {k: np.stack([p[k] for p in per_time]) for k in per_time[0]}
    arrays |= {f"{k}_smoothed": np.stack([p[k] for p in smooth]) for k in smooth[0] if k != "plane"}
    arrays |= {"times": times, "axis": axis, "starts": starts, "x": paths, "score": true_scores}
    info = {**common, "method": REFERENCE, "title": "exact solution", "settings": {"kind": "exact"}}
    write_cell(folder, {**info, "metrics": {"energy": energy, "entropy_rate": rate}}, arrays)
    for method in methods:
        scale = NOISE[method] * np.linspace(0, 1, 7)[:, None, None]
        x = paths * (1 + scale) + 0.3 * scale * rng.standard_normal(paths.shape)
        truth_there = np.stack([exact.score(t, p) for t, p in zip(times, x, strict=True)])
        score = truth_there * (1 + 0.5 * NOISE[method] * rng.standard_normal(paths.shape))
        clouds = [exact.sample(t, samples, rng) * (1 + s.item()) for t, s in zip(times, scale, strict=True)]
        seen = [kde(c, [axis] * problem.d, bandwidth) for c in clouds]
        per_time = [_profiles(f, half_width) for f in seen]
        arrays = {k: np.stack([p[k] for p in per_time]) for k in per_time[0]}
        arrays |= {
            "times": times,
            "axis": axis,
            "starts": starts,
            "x": x,
            "score": score,
            "score_reference": truth_there,
        }
        missing = {}
        l2_density: list[float | None] | None = None
        if method == "flow-defect":
            arrays["slice_x_cv"] = np.stack([_profiles(f, half_width)["slice_x"] for f in truth]) * 1.01
            l2_density = [0.003 + 0.002 * k for k in range(7)]
        else:
            missing["l2_density"] = "the method carries no density"
        metrics = {
            "l2_kde": [relative_l2(a, b) for a, b in zip(seen, truth, strict=True)],
            "l2_density": l2_density,
            "trajectory": [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(x, paths, strict=True)],
            "energy": [float(np.mean(np.sum(p**2, -1))) for p in x],
            "momentum": [float(np.linalg.norm(p.mean(0) - x[0].mean(0))) for p in x],
            "fisher_divergence": [
                float(np.sum((a - b) ** 2) / np.sum(b**2)) for a, b in zip(score, truth_there, strict=True)
            ],
            "entropy_rate": [r * (1 + NOISE[method] * k) for k, r in enumerate(rate)],
            "w1": [0.02 + NOISE[method] * k for k in range(7)],
        }
        floor = {"l2_kde": [0.09] * 7, "energy": [0.15] * 7, "w1": [0.02] * 7}
        info = {**common, "method": method, "title": method, "particles": STARTS, "kde_particles": samples}
        write_cell(folder, {**info, "metrics": metrics, "floor": floor, "not_available": missing}, arrays)
    return problem


ALL = tuple(METHODS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of bkw2d with blob not run, one failed cell and one that is no cell."""
    made = tmp_path_factory.mktemp("cells")
    write_cells(made, "bkw2d", ALL[:4], g=24, samples=500)
    write_cell(made, {"problem": "truncated2d:t0=1/2", "method": "sbp", "failed": "out of memory"}, None)
    (made / "truncated2d" / "blob.json").write_text("[]")
    write_cell(made, {"problem": "bkw2d", "method": "other", "times": [0.0]}, {"times": np.zeros(1)})
    return made


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures 5, 7, 8 and 25 of them."""
    made = tmp_path_factory.mktemp("figures")
    figures.draw(folder, made, (5, 7, 8, 25))
    return made


def rows_of(path: Path) -> list[dict[str, str]]:
    """A table of plotted numbers."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_of_the_paper_from_4_to_25_is_there_once() -> None:
    assert [spec.number for spec in figures.SPECS] == list(range(4, 26))


def test_plotted_numbers_are_the_numbers_in_the_cells(folder: Path, out: Path) -> None:
    stored = json.loads((folder / "bkw2d" / "sbp.json").read_text())["metrics"]["l2_kde"]
    shown = [r for r in rows_of(out / "figure08.csv") if r["panel"].startswith("a1") and r["series"] == "sbp"]
    assert [float(r["y"]) for r in shown] == pytest.approx(stored, rel=1e-5)
    assert [float(r["x"]) for r in shown] == pytest.approx(np.linspace(0, 5, 7), rel=1e-5)


def test_difference_from_the_reference_is_method_minus_reference(folder: Path) -> None:
    sheet = sheets(folder)["bkw2d"]
    panel = density.difference(sheet, "slice_x", 5.0, "", "v₁")
    drawn = next(s for s in panel.series if s.name == "sbp")
    with np.load(folder / "bkw2d" / "sbp.npz") as found, np.load(folder / "bkw2d" / "reference.npz") as exact:
        np.testing.assert_allclose(drawn.y, found["slice_x"][-1] - exact["slice_x"][-1])


def test_kernel_noise_is_the_spread_of_independent_kernel_estimates() -> None:
    rng, h, n = np.random.default_rng(3), 0.15, 2000
    points = np.array([[0.0, 0.0], [1.0, 0.5]])
    values = []
    for _ in range(300):
        x = rng.standard_normal((n, 2))
        squares = np.sum((points[:, None] - x) ** 2, axis=-1)
        values.append(np.exp(-squares / (2 * h * h)).mean(axis=1) / (2 * math.pi * h * h))
    smooth = np.exp(-np.sum(points**2, axis=1) / (2 + 2 * h * h)) / (2 * math.pi * (1 + h * h))
    predicted = density.kernel_noise(smooth, n, h, 2)
    assert np.std(values, axis=0) == pytest.approx(predicted, rel=0.15)  # 300 draws: 4 % each; next order in h: 3 %


def test_level_lines_of_a_radial_density_are_circles_of_the_exact_radius() -> None:
    axis = np.linspace(-4, 4, 161)
    plane = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 2)[None]
    arrays = {"times": np.zeros(1), "axis": axis, "plane": plane}
    panel = density.contours(Sheet("bkw2d", {REFERENCE: Cell("bkw2d", REFERENCE, {}, arrays)}), 0.0)
    radii = np.hypot(panel.series[0].x, panel.series[0].y)
    expected = [math.sqrt(-2 * math.log(level)) for level in density.CONTOURS]
    nearest = np.min(np.abs(radii[np.isfinite(radii)][:, None] - expected), axis=1)
    assert nearest.max() < 1e-3  # linear interpolation on cells of 0.05


def test_first_axis_of_a_plane_is_horizontal() -> None:
    axis = np.linspace(-4, 4, 81)
    plane = np.exp(-((axis[:, None] - 2.0) ** 2 + axis[None, :] ** 2))[None]
    arrays = {"times": np.zeros(1), "axis": axis, "plane": plane}
    panel = density.contours(Sheet("bkw2d", {"sbp": Cell("bkw2d", "sbp", {}, arrays)}), 0.0)
    assert np.nanmean(panel.series[0].x) == pytest.approx(2.0, abs=0.05)
    assert np.nanmean(panel.series[0].y) == pytest.approx(0.0, abs=0.05)


def test_a_density_below_both_levels_is_said_to_be_so() -> None:
    axis = np.linspace(-4, 4, 41)
    plane = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2))[None]
    cells = {
        name: Cell("bkw2d", name, {}, {"times": np.zeros(1), "axis": axis, "plane": factor * plane})
        for name, factor in ((REFERENCE, 1.0), ("sbp", 0.1))
    }
    panel = density.contours(Sheet("bkw2d", cells), 0.0)
    assert panel.notes == ("SBP: below both levels",)
    assert not panel.missing


def test_what_was_not_run_is_said_and_not_left_out(out: Path) -> None:
    text = (out / "figure25.svg").read_text()
    assert "failed: out of memory" in text or "SBP: failed" in text
    assert "not run" in text
    assert "unreadable" in text
    assert "blob: not run" in (out / "figure08.svg").read_text()
    note = (out / "figures.md").read_text()
    assert "SBP: failed: out of memory" in note
    assert "bkw2d/other" in note  # a cell that no figure draws


@pytest.mark.parametrize("number", [5, 7, 8, 25])
def test_no_panel_is_empty(out: Path, folder: Path, number: int) -> None:
    spec = next(s for s in figures.SPECS if s.number == number)
    sheet = sheets(folder).get(spec.problem, Sheet(spec.problem))
    for panel in (p for row in spec.make(sheet) for p in row):
        assert panel.series or panel.missing, panel.title
    for text in ET.parse(out / f"{spec.id}.svg").getroot().iter("{http://www.w3.org/2000/svg}text"):
        assert "".join(text.itertext()).strip()


def test_reasons_of_missing_numbers_come_from_the_cell(out: Path) -> None:
    rows = rows_of(out / "figure08.csv")
    assert any(r["series"] == "SBP: not available: the method carries no density" for r in rows)
    assert any("no w2 in this cell" in r["series"] for r in rows)


def test_a_method_looks_the_same_in_all_figures(out: Path) -> None:
    for name in ("figure05", "figure07", "figure08"):
        text = (out / f"{name}.svg").read_text().lower()
        for method in ALL[:4]:
            assert METHODS[method].color.lower() in text, (name, method)
    assert len({s.color for s in METHODS.values()}) == len({s.marker for s in METHODS.values()}) == len(METHODS)


def test_same_cells_give_the_same_bytes(folder: Path, out: Path, tmp_path: Path) -> None:
    again = figures.draw(folder, tmp_path, (8,))
    for path in again:
        if path.name != "figures.md":  # lists the other figures too
            assert path.read_bytes() == (out / path.name).read_bytes(), path.name
    assert not re.search(r"20\d\d-\d\d-\d\d", (out / "figure08.svg").read_text())


def test_pictures_are_small(out: Path) -> None:
    sizes = {p.name: p.stat().st_size for p in out.glob("*.png")}
    assert sizes
    assert max(sizes.values()) <= canvas.PNG_LIMIT, sizes


def test_captions_name_best_and_worst_by_their_numbers(folder: Path) -> None:
    sheet = sheets(folder)["bkw2d"]
    good, bad = captions.verdicts(sheet, ("trajectory", "w1"))
    assert good[0].startswith("relative trajectory error smallest: flow-defect")
    assert "PINN-particle" in bad[0]
    assert "far above the best" in bad[0]
    values = {s.label: s for s in captions.scoreboard(sheet, "w1")}
    assert values["SBP"].multiple == pytest.approx((0.02 + 6 * NOISE["sbp"]) / 0.02)
    assert all("SBP" not in sentence for sentence in bad if "W₁" in sentence)


def pair(metric: str, first: float, second: float, floor: float) -> Sheet:
    """SBP and blob with one metric at the end."""
    cells = {}
    for method, value in (("sbp", first), ("blob", second)):
        info = {"times": [0.0, 1.0], "metrics": {metric: [floor, value]}, "floor": {metric: [floor, floor]}}
        cells[method] = Cell("bkw2d", method, info)
    return Sheet("bkw2d", cells)


def test_a_value_at_its_noise_floor_is_not_ranked() -> None:
    good, bad = captions.verdicts(pair("l2_kde", 0.11, 5.0, 0.1), ("l2_kde",))
    assert good == ["relative L² error of the density not above the floor: SBP 0.11 (1.1 × floor)"]
    assert bad == ["relative L² error of the density far above the floor: blob 5 (50 × floor)"]


def test_distances_of_particles_with_common_starts_are_ranked_below_the_floor_too() -> None:
    good, bad = captions.verdicts(pair("w1", 0.001, 0.05, 0.1), ("w1",))
    assert good == ["W₁ distance smallest: SBP 0.001 (0.01 × floor)"]
    assert bad == ["W₁ distance far above the best: blob 0.05 (0.5 × floor)"]


def test_an_invariant_kept_to_rounding_is_said_and_does_not_stretch_the_axis() -> None:
    panel = overtime.momentum(pair("momentum", 1e-16, 0.01, 0.0))
    assert panel.notes == ("SBP: zero to rounding",)
    limits = canvas.log_limits(panel)
    assert limits is not None
    assert limits[0] > -4
    good, bad = captions.verdicts(pair("momentum", 1e-16, 0.01, 0.0), ("momentum",))
    assert good == ["change of the mean velocity not above the floor: SBP 0 to rounding"]
    assert bad == ["change of the mean velocity far above the best: blob 0.01"]


def test_reference_score_is_the_exact_one_where_the_cell_has_none(folder: Path) -> None:
    cell = sheets(folder)["bkw2d"].cells["sbp"]
    stored = cell.reference_score(2.5)
    bare = Cell(cell.problem, cell.method, cell.info, {k: a for k, a in cell.arrays.items() if k != "score_reference"})
    found = bare.reference_score(2.5)
    assert stored is not None
    assert found is not None
    np.testing.assert_allclose(found, stored, rtol=1e-12)


def test_energy_of_the_reference_changes_as_on_exact_characteristics(folder: Path) -> None:
    reference = sheets(folder)["bkw2d"].cells[REFERENCE]
    exact = parse_problem("bkw2d").exact
    assert exact is not None
    starts = reference.arrays["starts"]
    e0, e1 = (float(np.mean(np.sum(x**2, axis=1))) for x in (starts, exact.flow(5.0, starts)))
    drift = overtime.energy_drift(reference)
    assert drift is not None
    assert drift[-1] == pytest.approx(abs(e1 - e0) / e0, rel=1e-10)


def test_a_cell_cut_off_is_unreadable_and_takes_nothing_with_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "bkw2d", tmp_path / "bkw2d")
    whole = (tmp_path / "bkw2d" / "sbp.npz").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "bkw2d" / "sbp.npz").write_bytes(whole[:cut])
        sheet = sheets(tmp_path)["bkw2d"]
        assert sheet.state("sbp").startswith("unreadable"), cut
        assert set(sheet.run) == set(ALL[:3])


def test_quick_cells_are_marked_in_the_figure(tmp_path: Path) -> None:
    info = {"problem": "bkw2d", "method": "sbp", "times": [0.0, 1.0], "quick": True, "metrics": {"w1": [0.1, 0.2]}}
    write_cell(tmp_path / "cells", info, {"times": np.array([0.0, 1.0])})
    figures.draw(tmp_path / "cells", tmp_path / "out", (8,))
    assert "QUICK: not to be published" in (tmp_path / "out" / "figure08.svg").read_text()


def test_a_kernel_estimate_that_hides_the_density_is_called_so() -> None:
    _, bad = captions.verdicts(pair("l2_kde", 0.7, 0.71, 0.72), ("l2_kde",))
    assert bad[-1].startswith("the kernel estimate hides the density")
    assert "0.72" in bad[-1]
    assert captions.verdicts(pair("l2_kde", 0.1, 0.11, 0.09), ("l2_kde",))[1] == []


def test_score_of_the_start_is_known_without_an_exact_solution() -> None:
    problem = parse_problem("anisotropic2d")
    x = np.array([[[0.5, -1.0], [2.0, 0.25]]])
    cell = Cell("anisotropic2d", "sbp", {"problem": "anisotropic2d"}, {"times": np.zeros(1), "x": x})
    later = Cell("anisotropic2d", "sbp", {"problem": "anisotropic2d"}, {"times": np.ones(1), "x": x})
    found, h = cell.reference_score(0.0), 1e-5
    slopes = [
        (problem.initial.log_density(x[0] + e) - problem.initial.log_density(x[0] - e)) / (2 * h) for e in h * np.eye(2)
    ]
    assert found is not None
    np.testing.assert_allclose(found, np.stack(slopes, axis=1), atol=1e-8)
    assert later.reference_score(1.0) is None


def test_growing_entropy_is_called_bad() -> None:
    info = {"times": [0.0, 1.0], "metrics": {"entropy_rate": [-0.1, 0.02]}}
    _, bad = captions.verdicts(Sheet("bkw2d", {"sbp": Cell("bkw2d", "sbp", info)}), ("entropy_rate",))
    assert bad == ["entropy grows at 1 of 2 times: SBP"]


def test_command_line_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main([str(tmp_path / "nowhere"), "-o", str(tmp_path)]) == 2
    assert main([str(folder), "-o", str(tmp_path), "--only", "3"]) == 2
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main([str(folder), "-o", str(blocked), "--only", "25"]) == 5
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert not any("Traceback" in line for line in lines)


def test_a_figure_number_may_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main([str(folder), "-o", str(tmp_path), "--only", "23"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"figure23.{s}" for s in ("csv", "png", "svg")] + [
        "figures.md"
    ]
    assert capsys.readouterr().out.startswith("4 files in ")
