"""Both ends of W1(points, density) contain closed forms, quadrature and exact transport; faults raise or show."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from certify import density_transport, transport
from certify.context import Context
from certify.density_transport import RadialLaw, density_w1, expected_density_w1_upper, polar_cells
from certify.estimators import measure_distance
from certify.options import Options
from certify.transport import NotOptimalError, exact_w1
from tests.runs import exact_run, translation
from tests.strategies import reals
from theory.bkw import Bkw
from theory.problems import bkw2d, bkw3d
from theory.provenance import Rigor, Side

LAWS = {
    "gauss2d": Bkw(2, 1 / 16, 0.0, 0.0).at(0.0),
    "bkw2d": Bkw(2, 1 / 16, 0.5, 0.0).at(0.0),
    "gauss3d": Bkw(3, 1 / 24, 0.0, 0.0).at(0.0),
    "bkw3d": Bkw(3, 1 / 24, 1.0, 5.5).at(5.5),
}
laws = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())


def sphere_area(d):
    return 2 * math.pi ** (d / 2) / math.gamma(d / 2)


def panels(low, high, count):
    """Composite Gauss rule."""
    x, w = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(low, high, count + 1)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * x).ravel(), (half * w).ravel()


def expected(law, function, sector=math.pi):
    """E of a function of the radius and the angle to the first axis, even in it and repeated sector by sector."""
    d = law.d
    r, radial = panels(0.0, 9.0, 60)
    angle, angular = panels(0.0, sector, 24)
    weight = radial * np.exp(law.log_density(r[:, None] * np.eye(d)[0])) * r ** (d - 1)
    weight = np.outer(weight, angular * (2 * math.pi / sector if d == 2 else 2 * math.pi * np.sin(angle)))
    return float((weight * function(r[:, None], np.cos(angle))).sum())


# --- cells ------------------------------------------------------------------------------------------------------------


@laws
@pytest.mark.parametrize("count", [1, 2, 3, 7, 50, 1000])
def test_cells_have_the_laws_mean_and_covariance(law, count):
    cells = polar_cells(law, count)
    d = law.d
    assert len(cells.centroid) == count
    assert cells.centroid.mean(axis=0) == pytest.approx(np.zeros(d), abs=1e-10)
    second = cells.covariance + cells.centroid[:, :, None] * cells.centroid[:, None, :]
    assert second.mean(axis=0) == pytest.approx(np.eye(d), abs=1e-10)
    assert np.linalg.eigvalsh(cells.covariance).min() > -1e-9
    assert (cells.spread <= cells.reach).all()


@laws
def test_cells_against_the_points_that_fall_into_them(law):
    """Membership written down again: radius to ring, height to band, azimuth to sector."""
    count, n, d = 60, 400_000, law.d
    cells = polar_cells(law, count)
    numbers = density_transport._ring_sizes(law, count)
    below = np.concatenate([[0], np.cumsum(numbers)])
    x = law.sample(n, np.random.default_rng(1))
    r = np.linalg.norm(x, axis=1)
    ring = np.searchsorted(density_transport._quantiles(law, below / count), r) - 1
    azimuth = np.arctan2(x[:, 1], x[:, 0])

    def sector(k, turned, angle):
        return np.round(angle / (2 * math.pi / k) - 0.618 * turned).astype(int) % k

    index = np.empty(n, dtype=int)
    for i, number in enumerate(numbers):
        inside = ring == i
        if d == 2:
            index[inside] = below[i] + sector(number, i, azimuth[inside])
            continue
        bands = max(1, round(math.sqrt(math.pi * number) / 2.0))
        cuts = np.unique(np.round(number * (1 - np.cos(math.pi * np.arange(bands + 1) / bands)) / 2).astype(int))
        height = x[inside, 2] / r[inside]
        band = np.searchsorted(-(1 - 2 * cuts[1:-1] / number), -height)
        for j in range(len(cuts) - 1):
            where = np.flatnonzero(inside)[band == j]
            index[where] = below[i] + cuts[j] + sector(cuts[j + 1] - cuts[j], i + 7 * j, azimuth[where])
    hits = np.bincount(index, minlength=count)
    assert np.abs(hits - n / count).max() < 5 * math.sqrt(n / count)
    for k in range(count):
        mine = x[index == k]
        error = 6 * cells.spread[k] / math.sqrt(hits[k])
        assert np.linalg.norm(mine.mean(axis=0) - cells.centroid[k]) < error
        assert np.abs(np.cov(mine.T) - cells.covariance[k]).max() < 8 * error * cells.spread[k]
        assert np.linalg.norm(mine - cells.centroid[k], axis=1).max() <= cells.reach[k]


def test_patches_are_round_enough():
    """A cell is not much farther across than a ball of its spread: what makes both ends tight."""
    for law in LAWS.values():
        cells = polar_cells(law, 4000)
        inner = np.isfinite(cells.reach)
        assert np.median(cells.reach[inner] / cells.spread[inner]) < 3.5


# --- closed cases -----------------------------------------------------------------------------------------------------


@laws
def test_all_mass_at_the_centre_gives_the_mean_radius(law):
    truth = quad(lambda r: r * math.exp(law.log_density(np.eye(law.d)[0] * r)) * r ** (law.d - 1), 0, 12)[0]
    truth *= sphere_area(law.d)
    for n in (1, 5):
        found = density_w1(np.zeros((n, law.d)), law, cells=4000)
        assert found.lower <= truth <= found.upper
        assert found.width < 0.02 * truth


@pytest.mark.parametrize("name", ["bkw2d", "gauss3d"])
@given(far=reals(0.0, 5.0))
@settings(max_examples=5, deadline=None)
def test_one_point_anywhere(name, far):
    law = LAWS[name]
    truth = expected(law, lambda r, c: np.sqrt(np.maximum(r * r - 2 * r * far * c + far * far, 0.0)))
    point = np.zeros((1, law.d))
    point[0, 0] = far
    found = density_w1(point, law, cells=2000)
    assert found.lower - 1e-6 <= truth <= found.upper + 1e-6
    assert found.width < 0.03 * truth


@laws
@pytest.mark.parametrize("far", [0.3, 1.0, 2.5])
def test_two_opposite_points_share_the_law_by_symmetry(law, far):
    truth = expected(law, lambda r, c: np.sqrt(np.maximum(r * r - 2 * r * far * abs(c) + far * far, 0.0)))
    points = np.zeros((2, law.d))
    points[:, 0] = far, -far
    found = density_w1(points, law, cells=4000)
    assert found.lower <= truth <= found.upper
    assert found.width < 0.06 * truth


@pytest.mark.parametrize("name", ["gauss2d", "bkw2d"])
@pytest.mark.parametrize("n", [3, 8])
def test_a_regular_polygon_shares_the_law_by_symmetry(name, n):
    law = LAWS[name]
    angle = 2 * math.pi * np.arange(n) / n + 0.2
    points = 1.1 * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    truth = expected(law, lambda r, c: np.sqrt(r * r - 2.2 * r * c + 1.21), math.pi / n)
    found = density_w1(points, law, cells=4000)
    assert found.lower <= truth <= found.upper
    assert found.width < 0.06 * truth


@laws
@given(shift=st.lists(reals(-1e3, 1e3), min_size=3, max_size=3), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_translations(law, shift, seed):
    """At most |a| apart, at least the distance of the means; points and law moved together change nothing."""
    points = law.sample(20, np.random.default_rng(seed))
    a = np.array(shift[: law.d])
    size = float(np.linalg.norm(a))
    here, there = (density_w1(p, law, cells=400) for p in (points, points + a))
    assert here.lower <= here.upper
    assert there.lower <= here.upper + size
    assert there.upper >= here.lower - size
    assert there.lower >= np.linalg.norm(points.mean(axis=0) + a) - 1e-9 * (1 + size)

    class Moved:
        d, radial_mass, ball_moment = law.d, staticmethod(law.radial_mass), staticmethod(law.ball_moment)

        def mean(self):
            return a

    together = density_w1(points + a, Moved(), cells=400)
    assert together.upper == pytest.approx(here.upper, rel=1e-3)
    assert together.lower == pytest.approx(here.lower, rel=1e-2)


@laws
def test_against_exact_transport_to_a_discrete_law(law):
    """Cells gathered in their centroids: farther from the law by their mean spread at most."""
    points = law.sample(30, np.random.default_rng(5))
    gathered = polar_cells(law, 1200)
    other = exact_w1(np.repeat(points, 40, axis=0), gathered.centroid)
    away = float(gathered.spread.mean())
    found = density_w1(points, law, cells=6000)
    assert other.lower - away <= found.upper
    assert found.lower <= other.upper + away
    assert found.width < 0.04 * found.upper  # narrow, so that this says something


@laws
def test_refinement_narrows_and_all_enclosures_meet(law):
    points = law.sample(60, np.random.default_rng(2))
    coarse, fine = (density_w1(points, law, cells=c) for c in (600, 6000))
    assert max(coarse.lower, fine.lower) <= min(coarse.upper, fine.upper)
    assert fine.width < 0.5 * coarse.width


@laws
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), scale=st.sampled_from([1e-3, 1.0, 50.0]))
@settings(max_examples=8, deadline=None)
def test_ends_are_ordered_and_rotations_keep_them_consistent(law, seed, n, scale):
    rng = np.random.default_rng(seed)
    points = scale * rng.standard_normal((n, law.d))
    turn = np.linalg.qr(rng.standard_normal((law.d, law.d)))[0]
    here, there = (density_w1(p, law, cells=200, finer=2) for p in (points, points @ turn))
    assert max(here.lower, there.lower) <= min(here.upper, there.upper)


# --- faults -----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-3, 0.1, 10.0, 1e6]))
def test_any_dual_vector_gives_a_lower_bound(seed, size):
    law = LAWS["bkw2d"]
    points = law.sample(20, np.random.default_rng(3))
    upper = density_w1(points, law, cells=2000, finer=1).upper
    v = size * np.random.default_rng(seed).standard_normal(20)
    assert density_transport._lower(polar_cells(law, 300), points, v) <= upper


@laws
def test_a_plan_is_an_upper_bound_only_with_the_spread_of_the_cells(law, monkeypatch):
    """Planted: centroids without their second moments underestimate E|X|, and would be caught by the closed case."""
    truth = density_w1(np.zeros((1, law.d)), law, cells=4000).lower
    honest = polar_cells

    def flat(*args):
        cells = honest(*args)
        return replace(cells, spread=np.zeros_like(cells.spread))

    monkeypatch.setattr(density_transport, "polar_cells", flat)
    part = density_transport.polar_cells(law, 200)
    assert density_transport._upper(part, np.zeros((1, law.d)), np.zeros(200, dtype=np.intp)) < truth


def test_a_lower_bound_without_the_loss_at_interfaces_is_none(monkeypatch):
    """Planted: values of the potential at the centroids exceed its means, by up to the width of a cell."""
    law = LAWS["gauss2d"]
    points = np.array([[0.5, 0.0], [-0.5, 0.0]])
    upper = density_w1(points, law, cells=8000).upper
    part = polar_cells(law, 8)
    careless = replace(part, covariance=0 * part.covariance, slack=0 * part.slack)
    assert density_transport._lower(part, points, np.zeros(2)) < upper
    monkeypatch.setattr(density_transport, "TINY", 1e-300)
    concave = -np.mean(np.linalg.norm(part.centroid[:, None] - points, axis=2).min(axis=1))
    assert density_transport._lower(careless, points, np.zeros(2)) == pytest.approx(-concave, rel=1e-9)


def test_the_loss_at_an_interface_is_nearly_attained():
    """One cell, the whole plane, between far points: the mean of the potential is 20 - E|x_1|, Scarf says 20 - 1."""
    part = polar_cells(LAWS["gauss2d"], 1)
    points = np.array([[20.0, 0.0], [-20.0, 0.0]])
    truth = expected(LAWS["gauss2d"], lambda r, c: np.sqrt(r * r - 40 * r * abs(c) + 400))
    assert truth - 0.25 < density_transport._cell_values(part, slice(0, 1), points, np.zeros(2))[0] < truth


def test_rivals_within_reach_of_a_cell_are_not_forgotten():
    """A gap of 0.4 reaches: the rival wins on part of the cell, by sampling."""
    law = LAWS["gauss2d"]
    part = polar_cells(law, 30)
    size = int(density_transport._ring_sizes(law, 30)[0])
    edge = density_transport._quantiles(law, np.array([0.0, size / 30]))[1]
    x = law.sample(1_000_000, np.random.default_rng(8))
    angle = np.arctan2(x[:, 1], x[:, 0])
    x = x[(np.linalg.norm(x, axis=1) < edge) & (np.abs(angle) < math.pi / size)]  # sector 0 of the first ring
    c, points = part.centroid[0], np.array([[0.0, 50.0], [0.0, -50.0]])
    distance = np.linalg.norm(c - points, axis=1)
    v = np.array([0.0, distance[1] - distance[0] - 0.4 * part.reach[0]])
    truth = np.min(np.linalg.norm(x[:, None] - points, axis=2) - v, axis=1).mean()
    found = density_transport._cell_values(part, slice(0, 1), points, v)[0]
    assert found < truth < np.min(distance - v) - 5e-3


@pytest.mark.parametrize("owner", [np.zeros(8, dtype=np.intp), np.array([0, 0, 0, 0, 0, 1, 1, 1]), np.arange(4)])
def test_plans_with_wrong_marginals_raise(owner):
    part = polar_cells(LAWS["bkw2d"], 8)
    with pytest.raises(NotOptimalError, match="does not have these marginals"):
        density_transport._upper(part, np.zeros((2, 2)), owner)


@pytest.mark.parametrize("plan", [np.eye(4, 2), np.ones((4, 2)) / 2, np.array([[1, 0], [1, 0], [1, 0], [0, 1]])])
def test_what_the_solver_returns_is_not_believed(plan, monkeypatch):
    import ot

    log = {"result_code": 1, "warning": None, "u": np.zeros(4), "v": np.zeros(2)}
    monkeypatch.setattr(ot, "emd", lambda *_, **__: (plan, log))
    with pytest.raises(NotOptimalError, match="does not have these marginals"):
        transport.capacitated(np.arange(8.0).reshape(4, 2), np.zeros((2, 2)), 1)


def test_a_law_whose_mass_is_not_one_raises():
    law = LAWS["bkw2d"]

    class Leaky:
        d, mean, ball_moment = law.d, staticmethod(law.mean), staticmethod(law.ball_moment)

        def radial_mass(self, r):
            inside, outside = law.radial_mass(r)
            return 0.999 * inside, outside

    assert isinstance(law, RadialLaw)
    with pytest.raises(NotOptimalError, match="radial masses"):
        density_w1(np.zeros((1, 2)), Leaky(), cells=100)


def test_wrong_points_are_refused():
    law = LAWS["bkw2d"]
    with pytest.raises(ValueError, match="same dimension 2 or 3, got 3 and 2"):
        density_w1(np.zeros((4, 3)), law)
    with pytest.raises(ValueError, match="not finite"):
        density_w1(np.full((4, 2), np.nan), law)
    with pytest.raises(ValueError, match="must have shape"):
        density_w1(np.zeros(4), law)


# --- expectation ------------------------------------------------------------------------------------------------------


def test_the_expectation_is_covered_and_needs_its_deviation():
    law, n = LAWS["bkw2d"], 12
    rng = np.random.default_rng(6)

    def draw(m, g):
        return law.sample(m, g)

    truth = np.mean([density_w1(law.sample(n, rng), law, cells=200, finer=1).lower for _ in range(60)])
    common: dict[str, Any] = {"delta": 0.2, "trace_covariance": 2.0, "cells": 200}
    found = [
        expected_density_w1_upper(draw, law, n, draws=m, rng=np.random.default_rng(k), **common)
        for m in (2, 12)
        for k in range(4)
    ]
    assert all(e.side is Side.UPPER and e.rigor is Rigor.STATISTICAL and e.delta == 0.2 for e in found)
    assert all(e.value > truth for e in found)
    assert "Chebyshev" in found[0].method
    assert "Catoni" in found[-1].method
    again = expected_density_w1_upper(draw, law, n, draws=12, rng=np.random.default_rng(3), **common)
    assert again == found[-1]
    with pytest.raises(ValueError, match="delta must be in"):
        expected_density_w1_upper(draw, law, n, draws=2, rng=rng, **(common | {"delta": 0.0}))


# --- estimator --------------------------------------------------------------------------------------------------------

CASES = {
    "2d from 0": (bkw2d.make, Fraction(0), Fraction(5)),
    "2d": (bkw2d.make, Fraction(1, 2), Fraction(5)),
    "3d": (bkw3d.make, Fraction(11, 2), Fraction(6)),
}
RATES = {"sampling_w1", "sampling_w1_explicit", "sampling_w1_paper"}
ORACLE = {"sampling_w1_ot", "sampling_w1_floor", "sampling_w1_realised", "sampling_w1_realised_lower"}


def judged(case, wish="best", samples=60, run=exact_run, exact=True):
    make, t0, T = CASES[case]
    problem = make(t0, T)
    options = Options(samples=samples, times=4, quick=True, particle_rate=wish)
    shown = problem if exact else problem.without_exact_solution()
    return Context(run(problem), shown, float(t0), options)


def same(a, b):
    return a.method == b.method and np.array_equal(a.value, b.value)


@pytest.fixture(autouse=True, scope="module")
def _few_cells():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure_distance, "QUICK_CELLS", 600)
        yield


@pytest.fixture(scope="module")
def found():
    return {case: measure_distance.compute(judged(case)) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_what_is_provided_and_with_which_claims(case, found):
    estimates = found[case]
    assert set(estimates) == RATES | ORACLE | (set() if case == "2d from 0" else {"measure_w1"})
    for key, estimate in estimates.items():
        assert estimate.side is measure_distance.ESTIMATOR.provides[key]
        assert np.shape(estimate.value) in ((), (28,) if key == "measure_w1" else (5,))
    assert estimates["sampling_w1_paper"].rigor is Rigor.ASSUMED
    assert "not a theorem in d = 3" in estimates["sampling_w1_paper"].method
    assert estimates["sampling_w1_floor"].rigor is Rigor.EXACT
    assert estimates["sampling_w1_explicit"].rigor is Rigor.VERIFIED
    assert estimates["sampling_w1_explicit"].delta == estimates["sampling_w1_realised"].delta == 0.0
    assert estimates["sampling_w1_ot"].delta == pytest.approx(0.005)


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_in_order_and_above_what_is_measured(case, found):
    estimates, context = found[case], judged(case)
    solution: Any = context.exact
    value = {key: np.asarray(e.value) for key, e in estimates.items()}
    best = np.minimum(value["sampling_w1_ot"], value["sampling_w1_explicit"])
    assert (value["sampling_w1"] == best).all()
    assert (value["sampling_w1_floor"] < best).all()
    assert value["sampling_w1_realised_lower"] <= value["sampling_w1_realised"][0]
    assert np.isfinite(best).all()
    for k in (0, 1, 4):
        t = float(context.times[k])
        moved = density_w1(solution.flow(t, context.particles), solution.at(t), cells=1000)
        assert moved.lower <= value["sampling_w1_realised"][k]
        fresh = [
            density_w1(solution.sample(t, 60, np.random.default_rng(i)), solution.at(t), cells=600) for i in range(3)
        ]
        assert np.mean([e.upper for e in fresh]) < best[k]


@pytest.mark.parametrize("case", ["2d", "3d"])
def test_learned_particles_are_no_farther_than_said(case):
    context = judged(case, run=lambda problem: translation(problem, 0.3))
    bound = np.asarray(measure_distance.compute(context)["measure_w1"].value)
    solution: Any = context.exact
    for k in (0, 10, 27):
        t = context.grid.flat[k : k + 1]
        learned = context.run.flow(t, context.particles)[0]
        assert density_w1(learned, solution.at(float(t[0])), cells=1000).lower <= bound[k]
    assert bound[-1] < 0.3 * 5 + 1.0


def test_without_an_exact_solution_only_energy_is_used_and_no_oracle():
    estimates = measure_distance.compute(judged("2d from 0", exact=False))
    assert set(estimates) == RATES
    assert not any(e.uses_exact_solution for e in estimates.values())
    assert same(estimates["sampling_w1"], estimates["sampling_w1_explicit"])
    oracle = measure_distance.compute(judged("2d from 0"))["sampling_w1_explicit"]
    assert (np.asarray(oracle.value) < np.asarray(estimates["sampling_w1"].value)).all()
    assert oracle.uses_exact_solution


def test_wishes_are_granted_and_named():
    by_wish = {w: measure_distance.compute(judged("2d", w)) for w in ("ot", "explicit", "paper")}
    for wish in ("ot", "explicit"):
        assert same(by_wish[wish]["sampling_w1"], by_wish[wish][f"sampling_w1_{wish}"])
    paper = by_wish["paper"]["sampling_w1"]
    assert (paper.side, paper.rigor) == (Side.NONE, Rigor.ASSUMED)
    assert paper.last() == pytest.approx(60**-0.5)
    with pytest.raises(ValueError, match="best, ot, explicit, paper, got 'fast'"):
        measure_distance._chosen(by_wish["paper"], "fast")


def test_a_wish_that_cannot_be_granted_is_said_to_be_none():
    instead = measure_distance.compute(judged("2d", "ot", exact=False))["sampling_w1"]
    assert instead.method.startswith("no exact transport without an exact solution; explicit constants")
    assert instead.side is Side.UPPER


def test_a_law_not_known_to_be_radial_falls_back_on_fresh_samples(found, monkeypatch):
    monkeypatch.setattr(measure_distance, "_law", lambda *_: None)
    estimates = measure_distance.compute(judged("2d"))
    assert "sampling_w1_realised_lower" not in estimates
    assert estimates["measure_w1"].delta == pytest.approx(0.005)
    assert "fresh sample" in estimates["measure_w1"].method
    assert (np.asarray(estimates["sampling_w1_ot"].value) > found["2d"]["sampling_w1_realised_lower"].value).all()
