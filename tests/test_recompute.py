"""The second computation of S1 to S3: right on flows whose defect is known, independent, and strict with its input."""

from __future__ import annotations

import ast
import io
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theory.bkw import Bkw
from theory.provenance import Array
from theory.quadrature import K7, on_panels, polar_rule
from validation.recompute import CERTIFICATES, main, read_arrays, recompute, velocity, verdict

ROOT = Path(__file__).resolve().parents[1]
C = 1 / 16
Jets = tuple[Array, Array, Array]  # T, dT/dt, pushforward score at every quadrature node


def assemble(
    nodes: Array,
    weights: Array,
    edges: Array,
    jets: Callable[[float], Jets],
    moments: tuple[Array, Array],
    strength: float,
) -> dict[str, Array]:
    """The arrays of a report, from a flow known in closed form."""
    times, fine, _ = on_panels(K7, edges)
    flow, flow_dt, s_push = (np.stack(part) for part in zip(*(jets(t) for t in times.ravel()), strict=True))
    return {
        "times": edges,
        "nodes_t": times.ravel(),
        "grid_edges": edges,
        "grid_fine": fine.ravel(),
        "quadrature_nodes": nodes,
        "quadrature_weights": weights,
        "flow": flow,
        "flow_dt": flow_dt,
        "s_push": s_push,
        "kernel_strength": np.array(strength),
        "kernel_maxwell": np.array(1.0),
        "mean0": moments[0],
        "cov0": moments[1],
        "t_start": np.array(edges[0]),
    }


def gaussian_rule(mean: Array, covariance: Array, n: int = 14) -> tuple[Array, Array]:
    """Gauss-Hermite product rule: exact for polynomials against a Gaussian."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    grids = np.meshgrid(*[x] * len(mean), indexing="ij")
    weights = np.prod(np.meshgrid(*[w / w.sum()] * len(mean), indexing="ij"), axis=0).ravel()
    standard = np.stack([g.ravel() for g in grids], axis=1)
    return mean + standard @ np.linalg.cholesky(covariance).T, weights


def pushforward_score(score: Array, jacobian: Array, hessian: Array) -> Array:
    """J^{-T}(grad log f0 - grad log det J)."""
    inverse = np.linalg.inv(jacobian)
    grad_log_det = np.einsum("nji,nijk->nk", inverse, hessian)
    return np.einsum("nji,nj->ni", inverse, score - grad_log_det)


def bkw_arrays(d: int = 2, push: Callable[[float], tuple[Array, Array]] | None = None) -> tuple[Bkw, dict[str, Array]]:
    """The exact BKW flow, optionally moved rigidly: ``push(t)`` is the shift and its rate."""
    start = 0.5 if d == 2 else 6.0
    bkw = Bkw(d, C if d == 2 else 1 / 24, 0.5 if d == 2 else 1.0, start)
    edges = start + np.array([0.0, 0.3, 0.9, 1.5] if d == 2 else [0.0, 0.5])
    density = bkw.at(start)
    rule = polar_rule(lambda v: np.exp(density.log_density(v)), np.zeros(d), density.radial_edges(), 8)
    score = density.score(rule.nodes)

    def jets(t: float) -> Jets:
        value, rate, jacobian, hessian = bkw.flow_jets(t, rule.nodes)
        s = pushforward_score(score, jacobian, hessian)
        shift, speed = (np.zeros(d), np.zeros(d)) if push is None else push(t)
        return value + shift, rate + speed, s

    arrays = assemble(rule.nodes, rule.weights, edges, jets, (np.zeros(d), np.eye(d)), bkw.strength)
    return bkw, arrays


def linear_arrays(
    mean: Array, covariance: Array, edges: Array, matrix: Callable[[float], Array], rate: Callable[[float], Array]
) -> dict[str, Array]:
    """A Gaussian carried by T = mean + M(t)(v - mean)."""
    nodes, weights = gaussian_rule(mean, covariance)
    z = nodes - mean

    def jets(t: float) -> Jets:
        score = -np.linalg.solve(covariance, z.T).T
        return mean + z @ matrix(t).T, z @ rate(t).T, score @ np.linalg.inv(matrix(t))

    return assemble(nodes, weights, edges, jets, (mean, covariance), C)


def values(arrays: dict[str, Array], tmp_path: Path) -> dict[str, Array]:
    """Recomputed integrals, through the file."""
    np.savez(tmp_path / "arrays.npz", **arrays)  # type: ignore[arg-type]
    return dict(recompute(read_arrays(tmp_path / "arrays.npz")).value)


# --- right numbers


@pytest.mark.parametrize("d", [2, 3])
def test_the_exact_flow_has_no_defect(d: int, tmp_path: Path) -> None:
    _, arrays = bkw_arrays(d)
    found = values(arrays, tmp_path)
    for name in ("stability_w2", "stability_wp", "stability_wp2"):
        assert found[name].max() < 1e-11, name
    assert found["stability_l1"].max() < 1e-10


def test_a_rigid_drift_of_the_exact_flow_costs_exactly_its_length(tmp_path: Path) -> None:
    """T = X(t, v) + epsilon (t - t0) a: U is carried along, so D = epsilon |a| at every time."""
    a, epsilon = np.array([3.0, -4.0]), 1e-2
    _, arrays = bkw_arrays(push=lambda t: (epsilon * (t - 0.5) * a, epsilon * a))
    edges = arrays["grid_edges"]
    assert values(arrays, tmp_path)["stability_w2"] == pytest.approx(
        5 * epsilon * (edges - edges[0]), rel=1e-9, abs=1e-12
    )


def test_a_rigid_drift_of_the_maxwellian_has_the_linear_defect_of_its_closed_form(tmp_path: Path) -> None:
    """f0 = N(0, I), T = v + eta(t) e1 with eta = q t; with g = v the defect against the exact moments is

    e = (q + C eta + C eta g2^2, -C eta g2 (eta + g1)),
    E|e|^2 = (q + C eta)^2 + 2 (q + C eta) C eta + C^2 eta^2 (4 + eta^2).
    """
    q, edges = 0.3, np.array([0.0, 0.5, 2.0])
    nodes, weights = gaussian_rule(np.zeros(2), np.eye(2))

    def jets(t: float) -> Jets:
        return nodes + np.array([q * t, 0.0]), np.broadcast_to([q, 0.0], nodes.shape), -nodes

    arrays = assemble(nodes, weights, edges, jets, (np.zeros(2), np.eye(2)), C)
    found = values(arrays, tmp_path)
    assert found["stability_w2"] == pytest.approx(q * edges, rel=1e-12)
    t = np.linspace(0, 2.0, 20001)
    eta = q * t
    square = (q + C * eta) ** 2 + 2 * (q + C * eta) * C * eta + C**2 * eta**2 * (4 + eta**2)
    expected = np.trapezoid(np.exp(-C * (2.0 - t)) * np.sqrt(square), t)
    assert found["stability_wp2"][-1] == pytest.approx(expected, rel=1e-8)


def test_an_expanding_maxwellian_has_its_closed_forms_in_every_certificate(tmp_path: Path) -> None:
    """T = s v, s = 1 + t/4, f = N(0, I): D = sqrt(2) s'; e = x (s'/s + C(1 - 1/s^2)) and A x = C x."""
    edges = np.array([0.0, 0.4, 1.0])
    arrays = linear_arrays(np.zeros(2), np.eye(2), edges, lambda t: (1 + t / 4) * np.eye(2), lambda t: np.eye(2) / 4)
    found = values(arrays, tmp_path)
    t = np.linspace(0, 1, 20001)
    s = 1 + t / 4
    amplitude = 0.25 + C * (s - 1 / s)
    friction = np.exp(-C * (1 - t))
    kl = np.trapezoid(2 * amplitude**2 / C, t) / 4
    assert found["stability_w2"] == pytest.approx(math.sqrt(2) / 4 * edges, rel=1e-12)
    assert found["stability_wp2"][-1] == pytest.approx(math.sqrt(2) * np.trapezoid(friction * amplitude, t), rel=1e-8)
    # E|v| = sqrt(pi/2); |v| is no polynomial, so the Gauss-Hermite rule has two digits of it
    mean = arrays["quadrature_weights"] @ np.linalg.norm(arrays["quadrature_nodes"], axis=1)
    assert mean == pytest.approx(math.sqrt(math.pi / 2), rel=1e-2)
    assert found["stability_wp"][-1] == pytest.approx(mean * np.trapezoid(friction * amplitude, t), rel=1e-8)
    assert found["stability_kl"][-1] == pytest.approx(kl, rel=1e-8)
    assert found["stability_l1"] == pytest.approx(np.sqrt(2 * found["stability_kl"]), rel=1e-14)
    true_kl = s[-1] ** 2 - 1 - 2 * math.log(s[-1])
    assert found["stability_kl"][-1] > true_kl
    assert found["stability_w2"][-1] == pytest.approx(math.sqrt(2) * (s[-1] - 1))  # S1 is sharp here


def test_the_moments_of_an_anisotropic_solution_relax_in_the_linear_defect(tmp_path: Path) -> None:
    """T = id on N(0, S0): e = -U[f0] in S1 but in S2 the covariance S(t) of the exact solution stands in for S0."""
    cov = np.array([[1.6, 0.3], [0.3, 0.5]])
    edges = np.array([0.0, 1.0, 3.0])
    arrays = linear_arrays(np.array([0.4, -1.0]), cov, edges, lambda t: np.eye(2), lambda t: np.zeros((2, 2)))
    found = values(arrays, tmp_path)
    nodes, weights = gaussian_rule(np.zeros(2), cov)
    s = -np.linalg.solve(cov, nodes.T).T

    def defects(t: float) -> tuple[float, float]:
        level = np.trace(cov) / 2 * np.eye(2)
        sigma = level + (cov - level) * math.exp(-8 * C * t)
        a = C * ((np.sum(nodes**2, axis=1)[:, None, None] + np.trace(sigma)) * np.eye(2))
        a -= C * (nodes[:, :, None] * nodes[:, None, :] + sigma)
        e = np.einsum("nij,nj->ni", a, s) + C * nodes
        solved = np.einsum("nij,nj->ni", np.linalg.inv(a), e)
        return math.sqrt(weights @ np.sum(e**2, axis=1)), weights @ np.sum(e * solved, axis=1)

    t = np.linspace(0, 3, 2001)
    d2, entropy = np.array([defects(x) for x in t]).T
    assert found["stability_w2"] == pytest.approx(defects(0.0)[0] * edges, rel=1e-12)  # the trivial bound
    assert found["stability_wp2"][-1] == pytest.approx(np.trapezoid(np.exp(-C * (3 - t)) * d2, t), rel=1e-6)
    assert found["stability_kl"][-1] == pytest.approx(np.trapezoid(entropy, t) / 4, rel=1e-6)


@pytest.mark.parametrize("d", [2, 3])
def test_the_drift_is_the_pair_sum_over_the_quadrature(d: int) -> None:
    """For a Gaussian with its own score the moment form equals the pair form, exact under Gauss-Hermite."""
    root = np.eye(d) + 0.3 * np.tri(d, d, -1)
    nodes, weights = gaussian_rule(np.zeros(d), root @ root.T, 4)
    s = np.asarray(-np.linalg.solve(root @ root.T, nodes.T).T, dtype=np.float64)
    z = nodes[:, None] - nodes
    y = s[:, None] - s
    pairs = -C * np.einsum("nmi,m->ni", np.sum(z * z, 2)[..., None] * y - z * np.sum(z * y, 2)[..., None], weights)
    assert velocity(C, nodes, root @ root.T, s)[0] == pytest.approx(pairs, abs=1e-12)


def test_it_agrees_with_the_gronwall_rule_of_the_theory(tmp_path: Path) -> None:
    """The theory's own Gronwall integral of the same defect gives the recomputed number: two codes, one result."""
    from theory.gronwall import NumericOps, TimeGrid

    a = np.array([0.02, 0.01])
    _, arrays = bkw_arrays(push=lambda t: ((t - 0.5) * a, a))
    found = values(arrays, tmp_path)
    defect = np.array(
        [
            np.sqrt(
                arrays["quadrature_weights"]
                @ np.sum((arrays["flow_dt"][k] - velocity(C, x, np.eye(2), arrays["s_push"][k])[0]) ** 2, axis=1)
            )
            for k, x in enumerate(arrays["flow"])
        ]
    )
    ops = NumericOps(TimeGrid(arrays["grid_edges"]))
    assert found["stability_wp2"] == pytest.approx(ops.gronwall(-C, defect).numbers(), rel=1e-9)


# --- the comparison with a report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report folder whose bounds are 2 % above the recomputed values."""
    where = tmp_path_factory.mktemp("report")
    a = np.array([0.03, 0.04])
    _, arrays = bkw_arrays(push=lambda t: ((t - 0.5) * a, a))
    found = values(arrays, where)
    certificates = [
        {"id": name, "status": "CONDITIONAL", "times": list(arrays["times"]), "bound": list(1.02 * found[name])}
        for name in CERTIFICATES
    ]
    (where / "report.json").write_text(json.dumps({"certificates": [{"id": "thm1", "bound": None}, *certificates]}))
    return where


def edited(folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy with the report's JSON changed."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    report = json.loads((copy / "report.json").read_text())
    change(report)
    (copy / "report.json").write_text(json.dumps(report))
    return copy


def with_arrays(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy with some arrays changed; None removes one, a callable maps it."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with np.load(copy / "arrays.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, change in changes.items():
        if change is None:
            del arrays[name]
        else:
            arrays[name] = change(arrays[name]) if callable(change) else change
    np.savez(copy / "arrays.npz", **arrays)
    return copy


def run(folder: Path) -> tuple[int, str]:
    out = io.StringIO()
    return main([str(folder)], out), out.getvalue()


def bound_of(report: dict[str, Any], name: str) -> list[float]:
    return next(c for c in report["certificates"] if c["id"] == name)["bound"]


def test_bounds_a_little_above_pass_and_every_time_of_every_certificate_is_printed(folder: Path) -> None:
    status, text = run(folder)
    assert status == 0
    assert text.count("within 10 %") == 5 * 4 + 1
    assert "20 within 10 %, 0 loose, 0 TOO SMALL, 0 no bound" in text
    for title in CERTIFICATES.values():
        assert title in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", list(CERTIFICATES))
def test_a_bound_a_hair_too_small_exits_with_10(name: str, folder: Path, tmp_path: Path) -> None:
    def shrink(report: dict[str, Any]) -> None:
        bound_of(report, name)[-1] *= (1 - 1e-6) / 1.02

    status, text = run(edited(folder, tmp_path, shrink))
    assert status == 10
    assert "1 TOO SMALL" in text


def test_a_loose_bound_passes_and_is_called_loose(folder: Path, tmp_path: Path) -> None:
    def widen(report: dict[str, Any]) -> None:
        bound_of(report, "stability_w2")[-1] *= 3

    status, text = run(edited(folder, tmp_path, widen))
    assert status == 0
    assert "1 loose" in text


def test_a_missing_bound_or_certificate_is_said_and_passes(folder: Path, tmp_path: Path) -> None:
    def drop(report: dict[str, Any]) -> None:
        bound_of(report, "stability_w2")[1] = None  # type: ignore[call-overload]
        next(c for c in report["certificates"] if c["id"] == "stability_wp")["bound"] = None
        report["certificates"] = [c for c in report["certificates"] if c["id"] != "stability_l1"]

    status, text = run(edited(folder, tmp_path, drop))
    assert status == 0
    assert "5 no bound" in text
    assert "stability_l1 (S3, L1 distance of the densities): not in the report" in text


def test_rounding_alone_contradicts_no_bound(tmp_path: Path) -> None:
    """The exact flow: recomputed values are noise of size 1e-13, and the same sums in another order are other noise."""
    _, arrays = bkw_arrays()
    order = np.random.default_rng(0).permutation(len(arrays["quadrature_weights"]))
    shuffled = {
        name: array[..., order, :] if name in ("flow", "flow_dt", "s_push", "quadrature_nodes") else array
        for name, array in arrays.items()
    } | {"quadrature_weights": arrays["quadrature_weights"][order]}
    found = values(shuffled, tmp_path)
    assert all(found[name][-1] < 1e-10 for name in CERTIFICATES)
    np.savez(tmp_path / "arrays.npz", **arrays)  # type: ignore[arg-type]
    certificates = [{"id": n, "times": list(arrays["times"]), "bound": list(found[n])} for n in CERTIFICATES]
    (tmp_path / "report.json").write_text(json.dumps({"certificates": certificates}))
    status, text = run(tmp_path)
    assert status == 0, text


def test_verdicts() -> None:
    assert verdict(1.0, 0.0, None) == "no bound"
    assert verdict(1.0, 0.0, 1.0) == "within 10 %"
    assert verdict(1.0, 0.0, 1.2) == "loose"
    assert verdict(1.0, 0.0, 1.0 - 1e-9) == "TOO SMALL"
    assert verdict(0.0, 0.0, 0.0) == "within 10 %"
    assert verdict(1e-14, 1e-13, 0.0) == "within 10 %"


# --- bad input


def nan_somewhere(x: Array) -> Array:
    y = x.copy()
    y.flat[-1] = np.nan
    return y


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "a missing array": ({"s_push": None}, "no array 's_push'"),
    "a pickled array": ({"flow": np.array([{}], dtype=object)}, "cannot be read"),
    "single precision": ({"flow": lambda x: x.astype(np.float32)}, "float32, not float64"),
    "a NaN": ({"flow_dt": nan_somewhere}, "flow_dt contains NaN"),
    "a wrong shape": ({"s_push": lambda x: x[:, :-1]}, "does not fit"),
    "too few axes": ({"flow": lambda x: x[0]}, "axes"),
    "a lost time node": (
        {name: lambda x: x[:-1] for name in ("nodes_t", "grid_fine", "flow", "flow_dt", "s_push")},
        "time nodes are not 7",
    ),
    "edges out of order": ({"grid_edges": lambda x: x[::-1].copy()}, "do not increase"),
    "another start": ({"t_start": np.array(0.4)}, "do not increase from t_start"),
    "a node outside its panel": ({"nodes_t": lambda x: x[::-1].copy()}, "outside its panel"),
    "a wrong time weight": ({"grid_fine": lambda x: x * 1.001}, "degree 0"),
    "another kernel": ({"kernel_maxwell": np.array(0.0)}, "not Maxwell"),
    "no collisions": ({"kernel_strength": np.array(0.0)}, "not positive"),
    "mass lost": ({"quadrature_weights": lambda x: 0.9 * x}, "sum to 0.9"),
    "an impossible covariance": ({"cov0": np.diag([1.0, -1.0])}, "positive definite"),
    "a vector for a number": ({"kernel_strength": np.ones(2)}, "not a scalar"),
    "overflow": ({"flow": lambda x: 1e200 * x}, "overflow"),
}


@pytest.mark.parametrize("case", list(BAD_ARRAYS))
def test_bad_arrays_give_one_clear_line_and_exit_2(
    case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, message = BAD_ARRAYS[case]
    status, text = run(with_arrays(folder, tmp_path, **changes))
    error = capsys.readouterr().err
    assert (status, text) == (2, "")
    assert message in error
    assert error.startswith("recompute: ")
    assert error.count("\n") == 1


_ONE = '{"certificates": [{"id": "stability_w2", "times": [0.5], "bound": %s}]}'
BAD_REPORTS: dict[str, tuple[str | None, str]] = {
    "no report": (None, "report.json cannot be read"),
    "not JSON": ("{", "report.json cannot be read"),
    "bare NaN": ('{"certificates": [NaN]}', "not JSON"),
    "no certificates": ("{}", "no list of certificates"),
    "only others": ('{"certificates": [{"id": "thm1"}]}', "none of the certificates"),
    "twice": ('{"certificates": [%s, %s]}' % (('{"id": "stability_w2", "times": [0.5], "bound": [0]}',) * 2), "two"),
    "no times": ('{"certificates": [{"id": "stability_w2", "bound": []}]}', "times of stability_w2"),
    "other length": (_ONE % "[]", "not a list over"),
    "words": (_ONE % '["0"]', "neither a number nor null"),
    "huge": (_ONE % "[1e999]", "neither a number nor null"),
    "off the grid": ('{"certificates": [{"id": "stability_w2", "times": [0.6], "bound": [1]}]}', "not an edge"),
    "deep": ("[" * 200_000, "report.json cannot be read"),
}


@pytest.mark.parametrize("case", list(BAD_REPORTS))
def test_bad_reports_give_one_clear_line_and_exit_2(
    case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = BAD_REPORTS[case]
    shutil.copy(folder / "arrays.npz", tmp_path)
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    status, text = run(tmp_path)
    error = capsys.readouterr().err
    assert (status, text) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_archive_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "report.json", tmp_path)
    content = bytearray((folder / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), bytes(content[:1000]), b"", b"\x93NUMPY"):
        (tmp_path / "arrays.npz").write_bytes(damaged)
        assert run(tmp_path)[0] == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_no_folder_and_no_argument_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "absent")[0] == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main([]) == 2


# --- independence


def test_it_imports_numpy_and_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "validation" / "recompute.py").read_text())
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= set(sys.stdlib_module_names) | {"numpy"}


def test_the_file_alone_is_enough(folder: Path, tmp_path: Path) -> None:
    """A referee may copy the one file elsewhere and run it without the package."""
    script = shutil.copy(ROOT / "validation" / "recompute.py", tmp_path)
    command = [sys.executable, "-I", str(script), str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(folder)[1]
