"""Preimages under flows that are not radial, and the pictures made with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from certify import arrays
from certify.context import Context
from certify.estimators.residual_energy import field_drift
from certify.inversion import preimages
from certify.options import Options
from tests.runs import FunctionRun, exact_run, folded, gradient_perturbation, scaled
from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array

SHEAR = np.array([[1.3, 0.8], [-0.4, 0.9]])


def _affine(problem: Problem, matrix: Array, shift: Array) -> FunctionRun:
    """v -> M(t)(v - mean) + mean + t shift, M(t) from the identity at t0 to ``matrix`` at T."""
    t0, length, mean = float(problem.t0), float(problem.T - problem.t0), problem.initial.mean()

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        n, d = v.shape
        x = (t - t0) / length
        m, rate = np.eye(d) + x * (matrix - np.eye(d)), (matrix - np.eye(d)) / length
        value = (v - mean) @ m.T + mean + x * shift
        return value, (v - mean) @ rate.T + shift / length, np.broadcast_to(m, (n, d, d)), np.zeros((n, d, d, d))

    return FunctionRun(problem, jets_at, "affine flow")


def _squash(problem: Problem) -> FunctionRun:
    """v -> tanh v: nothing is taken beyond the cube (-1, 1)^d."""

    def jets_at(t: float, v: Array) -> tuple[Array, Array, Array, Array]:
        y = np.tanh(v)
        jac = (1 - y**2)[:, :, None] * np.eye(v.shape[1])
        return y, np.zeros_like(v), jac, np.zeros((*v.shape, 2, 2))

    return FunctionRun(problem, jets_at, "squashing flow")


def _context(run: FunctionRun, times: int = 2, **rule: Any) -> Context:
    context = Context(run, run.problem, float(run.problem.t0), Options(times=times))
    vars(context)["rule"] = run.problem.rule(**rule)
    return context


def _solve(run: FunctionRun, t: float, y: Array) -> tuple[Array, Array]:
    starts = run.problem.rule().nodes
    found = preimages(run, t, y, starts, run.flow(np.array([t]), starts)[0])
    assert found is not None
    return found


def test_newton_takes_a_nonlinear_flow_back_to_where_it_started() -> None:
    rng = np.random.default_rng(0)
    run = gradient_perturbation(parse_problem("bkw2d:t0=1/2"), 0.05, np.array([2.0, 1.0]))
    start = rng.standard_normal((60, 2)) * 1.5
    value, _, jac, _ = run.jets_at(4.0, start)
    v, det = _solve(run, 4.0, value)
    np.testing.assert_allclose(v, start, rtol=0, atol=1e-6)
    np.testing.assert_allclose(det, np.linalg.det(jac), rtol=1e-5)


def test_velocities_that_nothing_reaches_are_marked() -> None:
    run = _squash(parse_problem("bkw2d"))
    v, det = _solve(run, 1.0, np.array([[0.5, -0.3], [1.2, 0.0], [0.999, 0.2], [0.0, -3.0]]))
    np.testing.assert_allclose(v[[0, 2]], np.arctanh([[0.5, -0.3], [0.999, 0.2]]), atol=1e-5)
    assert np.isnan(v[[1, 3]]).all()
    assert np.isnan(det[[1, 3]]).all()


def test_a_sheet_that_is_turned_over_is_marked() -> None:
    problem = parse_problem("bkw2d")
    v, det = _solve(folded(problem), 5.0, np.array([[0.02, 0.5], [-0.1, 1.0]]))
    assert np.isnan(v).all()
    assert np.isnan(det).all()


def test_the_slice_of_a_flow_that_is_not_radial_is_its_density_on_the_line() -> None:
    problem = parse_problem("anisotropic2d")
    shift = np.array([0.3, -0.2])
    context = _context(_affine(problem, SHEAR, shift))
    out = arrays._slices(context)
    line = np.stack([out["slice_v"], np.zeros(len(out["slice_v"]))], axis=1)  # the mean is (-1, 0)
    mean = problem.initial.mean()
    start = (line - mean - shift) @ np.linalg.inv(SHEAR).T + mean
    wanted = np.exp(problem.initial.log_density(start)) / np.linalg.det(SHEAR)
    np.testing.assert_allclose(out["slice_learned"][-1], wanted, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(out["slice_learned"][0], np.exp(problem.initial.log_density(line)), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "centre", "half"),
    [("bkw2d", 0.0, 4.0), ("bkw3d", 0.0, 4.0), ("anisotropic2d", -1.0, 5.7), ("rosenbluth3d", 0.0, 0.77)],
)
def test_the_pictures_span_four_standard_deviations_around_the_mean(name: str, centre: float, half: float) -> None:
    problem = parse_problem(name)
    reach = problem.initial.radial_edges()[-1]
    context = _context(scaled(problem, 0.0), times=1, edges=np.linspace(0, reach, 3), angles=4)
    v = arrays._slices(context)["slice_v"]
    np.testing.assert_allclose([v[0], v[-1]], [centre - half, centre + half], atol=1e-6)
    exact = 4 * np.sqrt(problem.initial.covariance()[0, 0])
    assert abs(half - exact) <= 0.05 * 10 ** np.floor(np.log10(exact))  # in two digits


def test_the_exact_density_stands_beside_the_learned_one() -> None:
    problem = parse_problem("bkw2d:t0=1/2")
    out = arrays._slices(_context(exact_run(problem)))
    assert np.isfinite(out["slice_learned"]).all()
    np.testing.assert_allclose(out["slice_learned"], out["slice_exact"], rtol=0, atol=1e-7)


class _Reference:
    """A density at rest, known to 1e-3."""

    def __init__(self, problem: Problem, times: Array) -> None:
        self.problem, self.density_error = problem, 1e-3 * (1 + times)

    def density(self, k: int, v: Array) -> Array:
        return np.exp(self.problem.initial.log_density(v)) * (1 + k)


def test_without_an_exact_solution_the_reference_stands_there_and_is_called_so() -> None:
    problem = parse_problem("anisotropic2d")
    context = _context(scaled(problem, 0.0))
    vars(context)["reference_solution"] = _Reference(problem, context.times)
    out = arrays._slices(context)
    assert "slice_exact" not in out
    factor = np.array([1, 2, 3])[:, None]  # the report times shown are all three
    np.testing.assert_allclose(out["slice_reference"], factor * out["slice_learned"], rtol=1e-6)
    np.testing.assert_allclose(out["slice_reference_error"], 1e-3 * (1 + out["slice_times"]))


@pytest.mark.parametrize("name", ["anisotropic2d", "rosenbluth3d"])
def test_the_defect_map_of_other_kernels_is_the_pair_sum_against_the_nodes(name: str) -> None:
    problem = parse_problem(name)
    reach = problem.initial.radial_edges()[-1]
    context = _context(scaled(problem, 0.003), times=1, edges=np.linspace(0, reach, 2), angles=4)
    out = arrays._residual_map(context)
    pushed = context.pushed_at_times
    assert pushed is not None
    at = [(3, 7), (20, 20), (31, 12)]
    points = np.tile(problem.initial.mean(), (len(at), 1))
    points[:, 0] = out["residual_map_x"][[j for _, j in at]]
    points[:, 1] = out["residual_map_y"][[i for i, _ in at]]
    jets = context.run.jets(context.times[-1:], points)
    assert jets is not None
    score = jets.pushforward_score(problem.initial.score(points))[0]
    x, s = np.concatenate([pushed.flow[-1], jets.value[0]]), np.concatenate([pushed.score[-1], score])
    weights = np.concatenate([pushed.rule.weights, np.zeros(len(at))])
    wanted = np.linalg.norm(jets.dt[0] - field_drift(problem.kernel, x, s, weights)[-len(at) :], axis=1)
    np.testing.assert_allclose([out["residual_map"][k] for k in at], wanted, rtol=1e-9)
    assert out["residual_map_x"][20] == pytest.approx(problem.initial.mean()[0], abs=1e-6)
    assert np.ptp(out["residual_map_x"]) <= 2 * context.rule.radius * (1 + 1e-12)
