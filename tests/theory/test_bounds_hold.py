"""Attempts to refute every theorem on systems whose errors are known, and what must not change a bound.

The systems are those of ``validation.systems``; ``python -m validation.stress`` draws many more of them.
"""

import functools
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.strategies import generators
from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE
from theory.kernels import maxwell, mollified_coulomb
from theory.theorems import THEOREMS
from validation import stress, systems
from validation.systems import FAMILIES, Case, Draws, Gaussian, Linear, Particles, Perturbed, Radial

EVERY_THEOREM = pytest.mark.parametrize("theorem", list(THEOREMS))
COUNTS = {
    "particles": 400,
    "antipodal": 40,
    "linear": 200,
    "gaussian": 200,
    "coulomb": 8,
    "isotropic": 25,
    "relaxation": 60,
    "matching": 230,
    "draws": 200,
    "kde": 200,
}
ENOUGH = 200
# smallest bound/error seen must not exceed this: the systems contain cases in which the theorem is (nearly) sharp
SHARP = {
    "stability_kl": 1.1,
    "stability_l1": 1.5,  # Pinsker's inequality
    "stability_chi2": 1.1,
    "thm2": 1.3,  # Young's inequality
    "thm5": 1.1,
}


@functools.cache
def drawn(family: str) -> list[Case]:
    return FAMILIES[family](np.random.default_rng(20_260), COUNTS[family])


def tried(theorem: str) -> list[Case]:
    return [case for family in FAMILIES for case in drawn(family) if theorem in case.truth]


# --- the bounds --------------------------------------------------------------------------------------------------


@EVERY_THEOREM
def test_no_system_refutes_it(theorem: str) -> None:
    cases = tried(theorem)
    assert len(cases) >= ENOUGH
    assert [k for k, case in enumerate(cases) if case.violated(theorem)] == []


@EVERY_THEOREM
def test_some_system_nearly_attains_it(theorem: str) -> None:
    assert min(case.tightness(theorem) for case in tried(theorem)) <= SHARP.get(theorem, 1.02)


@pytest.mark.parametrize("family", ["linear", "matching", "draws", "relaxation"])
@settings(max_examples=8)
@given(generators())
def test_no_system_drawn_at_random_refutes_a_theorem(family: str, rng: np.random.Generator) -> None:
    for case in FAMILIES[family](rng, 2):
        assert [theorem for theorem in case.truth if case.violated(theorem)] == []


# losing one of these is not seen on these systems: a worst case that no drawn system comes near, or a part that is
# zero in all of them (tails of a quadrature); ``test_theorem_values`` guards the formulas themselves
UNSEEN = {
    "defect_tail",
    "defect_l1_tail",
    "defect_l2_tail",
    "defect_entropy_tail",
    "defect_chi2_tail",
    "kappa",
    "error_lipschitz",
    "tail_lipschitz",
    "tail_drift",
}
_RATE = {
    "kernel_lipschitz",
    "score_lipschitz",
    "score_oscillation",
    "learned_score_lipschitz",
    "learned_score_oscillation",
}
UNSEEN_HERE = {
    "thm1": {"score_lipschitz", "score_oscillation"},
    **dict.fromkeys(("thm2", "thm2_sharp", "thm2_meanfield"), _RATE),
    **{theorem: _RATE | {"kernel_bound", "excess_risk", "drift_sampling"} for theorem in ("thm5", "thm5_sharp")},
}


@EVERY_THEOREM
def test_a_lost_ingredient_is_refuted(theorem: str) -> None:
    cases = tried(theorem)
    for ingredient in THEOREMS[theorem].ingredients:
        if ingredient.id in UNSEEN | UNSEEN_HERE.get(theorem, set()):
            continue
        factor = 0.0 if ingredient.monotone > 0 else 3.0
        spoiled = (
            replace(c, values={**c.values, ingredient.id: factor * np.asarray(c.values[ingredient.id])}) for c in cases
        )
        assert any(case.violated(theorem) for case in spoiled), ingredient.id


# --- units and frames --------------------------------------------------------------------------------------------

# powers of the units of velocity and of time, for d = 2
UNITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("kernel_bound",), (2, -1)),
    **dict.fromkeys(("kernel_lipschitz", "residual_rms", "drift_mismatch", "drift_error_law", "tail_drift"), (1, -1)),
    **dict.fromkeys(("score_lipschitz", "learned_score_lipschitz", "error_lipschitz"), (-2, 0)),
    **dict.fromkeys(("score_oscillation", "learned_score_oscillation"), (-1, 0)),
    **dict.fromkeys(("score_error_path", "score_error_learned_path", "score_error_mean"), (-1, 0)),
    **dict.fromkeys(("score_error_energy", "excess_risk", "fisher_information", "fisher_initial"), (-2, 0)),
    **dict.fromkeys(("ism_objective", "ism_objective_exact_law"), (-2, 0)),
    "ism_modulus": (-3, 0),
    **dict.fromkeys(("tail_lipschitz", "drift_log_norm", "kappa", "friction"), (0, -1)),
    **dict.fromkeys(("residual_energy", "residual_energy_mean", "drift_sampling", "drift_sampling_realised"), (2, -2)),
    **dict.fromkeys(("measure_w1", "initial_error", "initial_w2", "initial_distance", "sampling_w1"), (1, 0)),
    **dict.fromkeys(("coupling_rms", "density_w2", "density_w1", "observable_deviation"), (1, 0)),
    "observable_lipschitz": (0, 0),
    **{k + tail: (1, -1) for k in ("defect", "defect_l1", "defect_l2") for tail in ("", "_tail")},
    **{k + tail: (0, -1) for k in ("defect_entropy", "defect_chi2") for tail in ("", "_tail")},
    **dict.fromkeys(("initial_entropy", "initial_chi2"), (0, 0)),
    **dict.fromkeys(("density_laplacian", "density_hessian"), (-3, 0)),
    **{f"kde_{k}_{kernel}": p for kernel in ("gaussian", "epanechnikov") for k, p in (("noise", (-1, 0)),)},
    **{f"kde_bias{r}_{kernel}": (2, 0) for kernel in ("gaussian", "epanechnikov") for r in ("", "_radial")},
    **{f"kde_gain{r}_{kernel}": (-2, 0) for kernel in ("gaussian", "epanechnikov") for r in ("", "_radial")},
}
ERRORS = {
    **dict.fromkeys(("w2", "w1", "trajectory", "particles_rms", "mean_w1", "observable"), (1, 0)),
    "particles": (2, 0),
    **dict.fromkeys(("kl", "l1", "chi2"), (0, 0)),
    "score_error": (-2, 0),
    "drift_mismatch": (1, -1),
    "drift_lipschitz": (0, -1),
    **dict.fromkeys(("kde", "kde_compact"), (-1, 0)),
}
YOUNG = {"thm2", "thm5"}  # the 2 and the 3 in C1 = 2 (alpha + L_g) + 2 are rates: these two depend on the unit of time


def in_units(theorem: str, case: Case, velocity: float, time: float) -> Case:
    def scaled(key: str) -> Any:
        a, b = UNITS[key]
        return np.asarray(case.values[key]) * velocity**a * time**b

    values = {i.id: scaled(i.id) for i in THEOREMS[theorem].ingredients}
    return replace(case, edges=case.edges * time, values=values)


@EVERY_THEOREM
@settings(max_examples=10)
@given(st.data())
def test_the_bound_does_not_depend_on_the_units(theorem: str, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(tried(theorem)))
    velocity = data.draw(st.floats(0.1, 10))
    time = 1.0 if theorem in YOUNG else data.draw(st.floats(0.1, 10))
    a, b = ERRORS[THEOREMS[theorem].bounds]
    there = in_units(theorem, case, velocity, time).bound(theorem)
    assert there == pytest.approx(case.bound(theorem) * velocity**a * time**b, rel=1e-8, abs=1e-11)


@pytest.mark.parametrize("theorem", sorted(YOUNG))
def test_young_s_inequality_depends_on_the_unit_of_time(theorem: str) -> None:
    case = next(c for c in tried(theorem) if c.truth[theorem].max() > 0)
    assert ERRORS[THEOREMS[theorem].bounds][1] == 0
    assert not np.allclose(in_units(theorem, case, 1.0, 10.0).bound(theorem), case.bound(theorem), rtol=1e-2)


def turned(family: Any, rng: np.random.Generator) -> tuple[list[Case], list[Case]]:
    if family is Particles:
        system: Any = Particles.draw(rng, 3, n_body=bool(rng.random() < 0.5))
    elif family is Draws:
        system = Draws.draw(rng, 3)
    elif family is Gaussian:
        system = Gaussian.draw(rng, 2)
    else:
        system = family.draw(rng)
    d = {Particles: lambda: system.kernel.d, Draws: lambda: system.kernel.d, Gaussian: lambda: 2}.get(
        family, lambda: len(system.path)
    )()
    other = system.rotated(systems.orthogonal(rng, d))
    return (system.cases(), other.cases()) if hasattr(system, "cases") else ([system.case()], [other.case()])


@pytest.mark.parametrize("family", [Particles, Draws, Gaussian, Linear])
@settings(max_examples=6)
@given(rng=generators())
def test_nothing_depends_on_the_frame(family: Any, rng: np.random.Generator) -> None:
    for case, other in zip(*turned(family, rng), strict=True):
        # a Gauss-Hermite rule turns with the axes only up to its error, which |e| shows most
        loose = 5e-3 if family is Gaussian else 1e-7
        for key, value in case.values.items():
            tolerance = loose if key in ("defect_l1", "defect_entropy", "defect_chi2") else 1e-7
            assert np.asarray(other.values[key]) == pytest.approx(np.asarray(value), rel=tolerance, abs=1e-7), key
        for theorem, truth in case.truth.items():
            rough = {"stability_wp", "stability_kl", "stability_chi2", "stability_l1"}
            rel = loose if theorem in rough else 1e-6
            assert other.bound(theorem) == pytest.approx(case.bound(theorem), rel=rel, abs=1e-7), theorem
            if theorem != "stability_l1":  # a lower value by marginals on axes; those of a scalar covariance are any
                assert other.truth[theorem] == pytest.approx(truth, rel=1e-6, abs=1e-7), theorem


# --- the systems themselves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [maxwell(2, 0.3), mollified_coulomb(3, 0.7, 0.6)], ids=str)
def test_gradients_of_pair_sums_are_difference_quotients(kernel: Any) -> None:
    rng = np.random.default_rng(3)
    fields = systems.draw_fields(rng, 2, kernel.d, np.ones(2), confining=True)
    atoms, v, h = rng.standard_normal((2, 5, kernel.d)), rng.standard_normal((2, 4, kernel.d)), 1e-5

    def drift(x: np.ndarray) -> np.ndarray:
        return systems.pair_drift(kernel, x, atoms, fields(0.7, x), fields(0.7, atoms))

    slope = systems.pair_gradient(kernel, v, atoms, fields(0.7, v), fields(0.7, atoms), fields.gradient(0.7, v))
    for j, e in enumerate(np.eye(kernel.d)):
        assert slope[..., j] == pytest.approx((drift(v + h * e) - drift(v - h * e)) / (2 * h), abs=1e-8)
    brute = -np.mean(
        [
            np.einsum("bnij,bnj->bni", kernel.matrix(v - y[:, None]), fields(0.7, v) - fields(0.7, atoms)[:, [j]])
            for j, y in enumerate(np.moveaxis(atoms, 1, 0))
        ],
        axis=0,
    )
    assert drift(v) == pytest.approx(brute)


def test_constants_of_fields_are_not_exceeded_and_attained() -> None:
    rng = np.random.default_rng(4)
    fields = systems.draw_fields(rng, 3, 2, np.ones(3), confining=False)
    v = rng.uniform(-9, 9, (3, 20_000, 2))
    slopes = np.linalg.norm(fields.gradient(1.3, v), 2, (-2, -1)).max(axis=1)
    bound = fields.lipschitz(1.3)
    assert (slopes <= bound * (1 + 1e-12)).all()
    assert slopes == pytest.approx(bound, rel=1e-3)
    near = fields(1.3, v / 9)
    assert (
        np.linalg.norm(near - near[:, ::-1], axis=-1).max(axis=1) <= fields.oscillation(1.3, np.full(3, 2**0.5))
    ).all()


@pytest.mark.parametrize("d", [2, 3])
@settings(max_examples=10)
@given(rng=generators())
def test_isotropic_solutions_solve_the_landau_equation(d: int, rng: np.random.Generator) -> None:
    law, t, h = Radial.draw(rng, d, 0.3), 0.4, 1e-4
    x, dx = systems.polar_nodes(d, 10.5)
    f, r2 = law.density(t, np.sum(x * x, axis=-1)), np.sum(x * x, axis=-1)
    assert f @ dx == pytest.approx(1, abs=1e-10)
    assert (f * r2) @ dx == pytest.approx(d, abs=1e-9)
    sigma = law.factor(t, r2)[0]
    assert (np.log(law.density(t, r2 + h)) - np.log(law.density(t, r2 - h)))[:200] / h == pytest.approx(
        sigma[:200], abs=1e-6
    )
    score = sigma[:, None] * x
    # U from the pair integral of its definition, at a few points
    points = x[[7, 400, 900]]
    z, y = points[:, None] - x, law.factor(t, np.sum(points**2, axis=-1))[0][:, None, None] * points[:, None] - score
    drift = -np.einsum("pnij,pnj,n->pi", maxwell(d, 0.3).matrix(z), y, f * dx)
    p2 = np.sum(points**2, axis=-1)
    p_sigma, p_slope = law.factor(t, p2)
    assert drift == pytest.approx(-law.friction * (p_sigma + 1)[:, None] * points, abs=1e-7)
    # d_t f = -div(f U), U = -c (sigma + 1) v
    rate = (law.density(t + h, p2) - law.density(t - h, p2)) / (2 * h)
    divergence = -law.friction * (d * (p_sigma + 1) + 2 * p2 * p_slope + p2 * p_sigma * (p_sigma + 1))
    assert rate == pytest.approx(-law.density(t, p2) * divergence, abs=1e-6)


def test_errors_of_gaussians_are_those_of_quadrature() -> None:
    mean, covariance = np.array([[0.3, -0.2]]), np.array([[[1.0, 0.2], [0.2, 0.7]]])
    x, dx = systems.polar_nodes(2, 10.0)

    def density(m: np.ndarray, s: np.ndarray) -> np.ndarray:
        z = x - m
        return np.exp(-np.einsum("ni,ij,nj->n", z, np.linalg.inv(s), z) / 2) / (
            2 * math.pi * math.sqrt(np.linalg.det(s))
        )

    f, g = density(mean[0], covariance[0]), density(np.zeros(2), 0.9 * np.eye(2))
    assert systems.gaussian_entropy(mean, covariance, 0.9)[0] == pytest.approx(dx @ (f * np.log(f / g)), rel=1e-8)
    assert systems.gaussian_chi2(mean, covariance, 0.9)[0] == pytest.approx(dx @ ((f - g) ** 2 / g), rel=1e-6)
    l1 = dx @ np.abs(f - g)
    assert 0.7 * l1 <= systems.marginal_l1(mean, covariance, 0.9)[0] <= l1 * (1 + 1e-2)
    # on the line, where the marginal is everything
    line = systems.marginal_l1(np.array([[0.5]]), np.array([[[2.0]]]), 1.0)[0]
    exact = quad(
        lambda v: abs(math.exp(-((v - 0.5) ** 2) / 4) / math.sqrt(2) - math.exp(-v * v / 2)) / math.sqrt(2 * math.pi),
        -12,
        12,
        limit=400,
    )[0]
    assert line == pytest.approx(exact, rel=1e-7)


def test_w2_of_gaussians_agrees_with_the_trace_formula() -> None:
    rng = np.random.default_rng(5)
    a, b = (m @ m.T for m in rng.standard_normal((2, 3, 3)))
    cross = systems.root(systems.root(a) @ b @ systems.root(a))
    expected = 4.0 + np.trace(a + b - 2 * cross)
    shift = np.array([2.0, 0.0, 0.0])
    assert systems.gelbrich(shift, a, np.zeros(3), b) ** 2 == pytest.approx(expected)
    assert systems.gelbrich(shift, a, shift, a) == pytest.approx(0, abs=1e-13)


def test_entropy_and_distance_of_perturbed_flows_grow_no_faster_than_their_defects_say() -> None:
    """By difference quotients: ties the speeds, the pushforward score and the errors of a system together."""
    rng = np.random.default_rng(6)
    for _ in range(5):
        system = Perturbed.draw(rng, 2)
        rows = [system.at(s, systems.polar_nodes(2, 10.5)) for s in (0.3, 0.3 + 1e-4)]
        growth = (rows[1]["rms"] - rows[0]["rms"]) / 1e-4
        assert growth <= rows[0]["drift_error_law"] + rows[0]["drift_log_norm"] * rows[0]["rms"] + 1e-3
        assert (rows[1]["kl"] - rows[0]["kl"]) / 1e-4 <= rows[0]["defect_entropy"] / 4 + 1e-6


# --- the long run ------------------------------------------------------------------------------------------------


def test_the_long_run_prints_a_row_per_theorem_and_ends_well() -> None:
    out = io.StringIO()
    assert stress.main(["--cases", "40", "--seed", "3", "--theorem", "thm3", "--theorem", "lemma2"], out) == EXIT_OK
    rows = out.getvalue().splitlines()
    assert [row.split()[0] for row in rows[1:3]] == ["thm3", "lemma2"]
    assert rows[-1].endswith("0 violations")


def test_the_long_run_says_what_refutes_a_theorem(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(rng: np.random.Generator, n: int) -> list[Case]:
        return [replace(c, truth={k: 100 + v for k, v in c.truth.items()}) for c in systems.linear(rng, n)]

    monkeypatch.setattr(stress, "FAMILIES", {"linear": spoiled})
    out = io.StringIO()
    assert stress.main(["--cases", "5", "--theorem", "thm1_law"], out) == EXIT_CONTRADICTED
    assert out.getvalue().count("VIOLATION thm1_law: family linear, seed 0, batch 0") == 5


def test_the_long_run_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert stress.main(["--theorem", "thm7"]) == EXIT_USAGE
    assert stress.main(["--cases", "0"]) == EXIT_USAGE
    assert "thm7" in capsys.readouterr().err


def test_every_family_has_a_share_of_the_long_run_and_every_theorem_a_family() -> None:
    assert set(stress.SHARES) == set(FAMILIES) == set(COUNTS)
    assert sum(stress.SHARES.values()) == pytest.approx(1)
    assert {name: {k for case in drawn(name) for k in case.truth} for name in FAMILIES} == systems.SERVES
    assert set().union(*systems.SERVES.values()) == set(THEOREMS)
