"""The blob methods: scores by brute force, conservation, tracers, orders, the published errors (FACTS section 5)."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from certify.judge import judge
from certify.options import Options
from certify.run import Run
from solver import blob, gaussians, pairs
from solver.blob import Cells, GridScore, PairScore, Settings, blob_density, initial_particles, solve
from solver.gaussians import REACH, gaussian_sums
from solver.pairs import PairDrift, cloud_drift
from solver.particle_run import ParticleRun, ParticleSolution
from theory.drift import maxwell_pair_drift, pair_drift
from theory.kernels import Kernel, maxwell, mollified_coulomb
from theory.problem import Problem
from theory.problems import PROBLEMS
from theory.provenance import Array

RNG = np.random.default_rng
KERNELS = {
    "maxwell 2D": maxwell(2, 1 / 16),
    "maxwell 3D": maxwell(3, 1 / 24),
    "coulomb 2D": mollified_coulomb(2, 1 / 16, 0.25),
    "coulomb 3D": mollified_coulomb(3, 1 / 12, 0.1),
}


def cloud(d: int, n: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Particles, scores and weights."""
    rng = RNG(seed)
    weights = rng.random(n)
    return rng.standard_normal((n, d)), rng.standard_normal((n, d)), weights / weights.sum()


def psi(eps: float, z: Array) -> float:
    return float(np.exp(-z @ z / (2 * eps)) * (2 * np.pi * eps) ** (-len(z) / 2))


def grad_psi(eps: float, z: Array) -> Array:
    return -z / eps * psi(eps, z)


# --- pair sums ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_the_drift_anywhere_is_the_pair_sum(name: str) -> None:
    kernel = KERNELS[name]
    x, s, w = cloud(kernel.d, 30)
    y, t, _ = cloud(kernel.d, 7, seed=1)
    brute = np.zeros_like(y)
    for i, j in itertools.product(range(7), range(30)):
        brute[i] -= w[j] * kernel.matrix(y[i] - x[j]) @ (t[i] - s[j])
    np.testing.assert_allclose(cloud_drift(kernel, x, s, w).at(y, t), brute, atol=1e-14)
    own = maxwell_pair_drift(kernel.strength, x, s, w) if kernel.is_maxwell else pair_drift(kernel, x, s, w)
    np.testing.assert_allclose(cloud_drift(kernel, x, s, w).at(x, s), own, atol=1e-14)


@pytest.mark.parametrize("name", ["coulomb 2D", "coulomb 3D"])
def test_compiled_pair_sums_are_those_of_numpy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(pairs, "FEW", 0)
    kernel = KERNELS[name]
    x, s, w = cloud(kernel.d, 90)
    y, t, _ = cloud(kernel.d, 50, seed=1)
    drift = PairDrift(kernel, x, s, w)
    np.testing.assert_allclose(drift.at(y, t), drift.in_numpy(y, t), atol=1e-15)
    assert np.abs(drift.at(y, t)).max() > 0.01


# --- sums of Gaussians ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("few", [0, math.inf])
def test_sums_of_gaussians_are_exact_up_to_the_stated_cut(d: int, few: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if not few:
        pytest.importorskip("numba")
    monkeypatch.setattr(gaussians, "FEW", few)
    rng = RNG(3)
    x, y, weights = 3 * rng.standard_normal((400, d)), 4 * rng.standard_normal((150, d)), rng.random((2, 400))
    eps = 0.04  # reach 2: many blocks
    values, gradients = gaussian_sums(eps, y, x, weights)
    z = y[:, None] - x
    g = np.exp(-np.sum(z * z, axis=-1) / (2 * eps))
    cut = math.exp(-(REACH**2) / 2) * weights.sum(axis=1)[:, None]
    exact = weights @ g.T
    assert np.all(np.abs(values - exact) <= cut + 1e-14 * exact)
    slopes = -np.einsum("qk,ik,ika->qia", weights, g, z) / eps
    np.testing.assert_allclose(gradients, slopes, atol=1e-12)
    assert np.any(values == 0)
    assert np.any(exact > 0.5)


def test_sums_of_gaussians_are_zero_out_of_reach_of_every_particle() -> None:
    x = RNG(4).standard_normal((50, 2))
    far = np.array([[1e3, 0.0], [0.0, -1e300], [-20.0, 20.0], [x[:, 0].max() + 2.01, 0.0]])
    values, gradients = gaussian_sums(0.04, far, x, np.ones((1, 50)))
    assert not values.any()
    assert not gradients.any()
    one = gaussian_sums(0.04, x[:1], x[:1], np.ones((1, 1)))
    assert one[0].tolist() == [[1.0]]
    assert one[1].tolist() == [[[0.0, 0.0]]]


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3])
def test_the_grid_score_is_its_double_sum(d: int) -> None:
    cells = Cells((0.3, -0.2, 0.1)[:d], 1.5, 6)
    eps = blob.published_eps(cells.h)
    x, _, w = cloud(d, 30)
    x *= 0.5
    tracers = np.vstack([x, RNG(2).uniform(-3, 3, (20, d))])
    f = np.array([sum(w[k] * psi(eps, c - x[k]) for k in range(30)) for c in cells.points])
    brute = np.array(
        [cells.h**d * sum(grad_psi(eps, v - c) * math.log(f[i]) for i, c in enumerate(cells.points)) for v in tracers]
    )
    np.testing.assert_allclose(blob_density(cells, eps, x, w).ravel(), f, rtol=1e-12, atol=1e-22)
    score, own = GridScore.of(cells, eps, x, w)
    np.testing.assert_allclose(score.at(tracers), brute, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(own, brute[:30], rtol=1e-10, atol=1e-12)


def test_the_windows_of_the_grid_score_cost_no_digits() -> None:
    cells = Cells((0.0, 0.0), 4.0, 60)  # windows of half the box
    eps = blob.published_eps(cells.h)
    x, w, _ = initial_particles(PROBLEMS["bkw2d"](), cells)
    x = x + 0.05 * RNG(5).standard_normal(x.shape)
    z = x[:, :, None] - cells.axes
    factor = np.exp(-z * z / (2 * eps)) / math.sqrt(2 * math.pi * eps)
    f = (w[:, None] * factor[:, 0]).T @ factor[:, 1]
    slope = -z / eps * factor
    full = cells.volume * np.stack(
        [np.sum((slope[:, 0] @ np.log(f)) * factor[:, 1], 1), np.sum((factor[:, 0] @ np.log(f)) * slope[:, 1], 1)], 1
    )
    score, own = GridScore.of(cells, eps, x, w)
    np.testing.assert_allclose(np.exp(score.log_density), f, rtol=1e-12)
    np.testing.assert_allclose(own, full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_the_divergence_is_that_of_the_grid_score(d: int) -> None:
    cells = Cells((0.0,) * d, 1.5, 6)
    x, _, w = cloud(d, 30)
    score, _ = GridScore.of(cells, blob.published_eps(cells.h), 0.5 * x, w)
    points, step = RNG(6).uniform(-1.6, 1.6, (12, d)), 1e-5
    difference = sum(
        (score.at(points + step * e) - score.at(points - step * e))[:, a] / (2 * step) for a, e in enumerate(np.eye(d))
    )
    np.testing.assert_allclose(score.divergence(points), difference, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("d", [2, 3])
def test_the_pair_score_is_its_double_sum(d: int) -> None:
    x, _, w = cloud(d, 30)
    eps = 0.09
    tracers = np.vstack([x, RNG(2).uniform(-1, 1, (10, d))])

    def density(v: Array) -> float:
        return sum(w[k] * psi(eps, v - x[k]) for k in range(30))

    own = [density(v) for v in x]
    brute = np.array(
        [sum(w[k] * grad_psi(eps, v - x[k]) * (1 / density(v) + 1 / own[k]) for k in range(30)) for v in tracers]
    )
    score, at_particles = PairScore.of(eps, x, w)
    np.testing.assert_allclose(score.at(tracers), brute, rtol=1e-11)
    np.testing.assert_allclose(at_particles, brute[:30], rtol=1e-11)


def entropy_gradient(entropy: Callable[[Array], float], x: Array, w: Array) -> Array:
    """Gradient of an entropy by each particle over its weight, by central differences."""
    out, step = np.empty_like(x), 1e-6
    for i, a in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i, a] = step
        out[i, a] = (entropy(x + e) - entropy(x - e)) / (2 * step * w[i])
    return out


def test_the_pair_score_is_the_gradient_of_the_regularised_entropy() -> None:
    x, _, w = cloud(2, 30)

    def entropy(y: Array) -> float:
        return float(w @ np.log(gaussian_sums(0.09, y, y, w[None])[0][0]))

    np.testing.assert_allclose(PairScore.of(0.09, x, w)[1], entropy_gradient(entropy, x, w), rtol=1e-6, atol=1e-6)


def test_the_grid_score_is_the_gradient_of_the_regularised_entropy() -> None:
    cells = Cells((0.0, 0.0), 3.0, 24)
    eps = blob.published_eps(cells.h)
    x, _, w = cloud(2, 30)
    x *= 0.4

    def entropy(y: Array) -> float:
        f = blob_density(cells, eps, y, w)
        return float(cells.volume * np.sum(f * (np.log(f) - 1)))  # the constant turns log F + 1 into log F

    np.testing.assert_allclose(GridScore.of(cells, eps, x, w)[1], entropy_gradient(entropy, x, w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", blob.FORMS)
def test_the_score_of_a_fine_cloud_is_that_of_the_density(form: str) -> None:
    problem = PROBLEMS["bkw2d"](t0=Fraction(2))
    cells = Cells((0.0, 0.0), 5.0, 100)
    eps = blob.published_eps(cells.h)
    x, w, mass = initial_particles(problem, cells)
    assert mass == pytest.approx(1, abs=1e-8)
    score = (GridScore.of(cells, eps, x, w) if form == "chww" else PairScore.of(eps, x, w))[0]
    points = RNG(8).uniform(-2, 2, (200, 2))
    assert np.abs(score.at(points) - problem.initial.score(points)).max() < 0.05
    assert np.abs(problem.initial.score(points)).max() > 2


def test_where_there_is_nothing_the_score_is_zero_and_finite_at_its_edge() -> None:
    problem = PROBLEMS["truncated2d"]()
    cells = Cells((0.0, 0.0), 4.0, 60)
    x, w, _ = initial_particles(problem, cells)
    assert len(x) < 0.25 * 60**2  # none where f0 vanishes
    assert np.all(w > 0)
    eps = blob.published_eps(cells.h)
    grid, own = GridScore.of(cells, eps, x, w)
    assert grid.log_density.min() == math.log(blob.TINY)  # cells out of reach
    pair, other = PairScore.of(eps, x, w)
    far = np.array([[7.0, 0.0], [-30.0, 1e6]])
    assert not grid.at(far).any()
    assert not pair.at(far).any()
    assert np.isfinite(own).all()
    assert np.isfinite(other).all()
    middle = np.linalg.norm(x, axis=1) < 1
    assert np.abs(own + x)[middle].max() < 0.02  # f0 is a Gaussian there: s = -v


# --- runs -----------------------------------------------------------------------------------------------------------

WINDOWS = {
    "bkw2d": (Fraction(1), Fraction(6, 5)),
    "bkw3d": (Fraction(6), Fraction(61, 10)),
    "anisotropic2d": (Fraction(0), Fraction(1)),
    "rosenbluth3d": (Fraction(0), Fraction(1)),
}
SIZES = {"bkw2d": 16, "bkw3d": 8, "anisotropic2d": 14, "rosenbluth3d": 8}


@cache
def short(name: str, form: str, integrator: str, steps: int = 5) -> ParticleSolution:
    problem = PROBLEMS[name](*WINDOWS[name])
    dt = float(problem.T - problem.t0) / steps
    return solve(problem, Settings(form, SIZES[name], dt=dt, integrator=integrator))


@pytest.mark.parametrize("form", blob.FORMS)
@pytest.mark.parametrize("name", WINDOWS)
def test_momentum_and_energy_production_vanish(name: str, form: str) -> None:
    solution = short(name, form, "euler")
    w, x, u = solution.weights, solution.positions, solution.velocities
    scale = np.abs(w[:, None] * u).sum(axis=1).max(axis=1)
    assert np.all(scale > 0)
    assert np.all(np.abs(np.einsum("n,mna->ma", w, u)) <= 1e-12 * scale[:, None])
    assert np.all(np.abs(np.einsum("n,mna,mna->m", w, x, u)) <= 1e-12 * scale * np.abs(x).max())
    drift = np.einsum("n,mna->ma", w, x) - w @ x[0]
    assert np.abs(drift).max() <= 1e-13


@pytest.mark.parametrize("form", blob.FORMS)
@pytest.mark.parametrize("name", ["bkw2d", "anisotropic2d"])
def test_euler_gains_dt_squared_mean_speed_squared_per_step(name: str, form: str) -> None:
    solution = short(name, form, "euler")
    energy = np.einsum("n,mna,mna->m", solution.weights, solution.positions, solution.positions)
    gain = np.einsum("n,mna,mna->m", solution.weights, solution.velocities, solution.velocities)
    step = np.diff(solution.times)
    np.testing.assert_allclose(np.diff(energy), step**2 * gain[:-1], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("integrator", blob.SCHEMES)
@pytest.mark.parametrize("form", blob.FORMS)
@pytest.mark.parametrize("name", WINDOWS)
def test_a_tracer_started_at_a_particle_follows_it(name: str, form: str, integrator: str) -> None:
    solution = short(name, form, integrator)
    some = RNG(9).permutation(len(solution.weights))[:40]
    run = ParticleRun(solution)
    place, speed = run.velocity(solution.times, solution.positions[0, some])
    scale = max(1.0, float(np.abs(solution.positions).max()))
    assert np.abs(place - solution.positions[:, some]).max() <= 1e-9 * scale
    np.testing.assert_allclose(speed, solution.velocities[:, some], rtol=1e-7, atol=1e-9)
    score = run.score(solution.times, place)
    assert score is not None
    np.testing.assert_allclose(score, solution.scores[:, some], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("integrator", "order", "error", "energy"),
    [("euler", 1, 3e-4, 3e-4), ("heun", 2, 2e-6, 3e-9), ("rk4", 4, 2e-11, 3e-12)],
)
def test_time_steps_converge_with_the_order_of_the_scheme(
    integrator: str, order: int, error: float, energy: float
) -> None:
    problem = PROBLEMS["anisotropic2d"]()
    runs = [solve(problem, Settings(n=14, dt=40 / steps, integrator=integrator)) for steps in (4, 8, 16, 32)]
    w, ends = runs[0].weights, [run.positions[-1] for run in runs]
    gaps = np.array([math.sqrt(w @ np.sum((a - b) ** 2, axis=1)) for a, b in itertools.pairwise(ends)])
    assert np.log2(gaps[:-1] / gaps[1:]) == pytest.approx([order, order], abs=0.1)
    assert gaps[-1] < error
    assert math.sqrt(w @ np.sum((ends[-1] - runs[0].positions[0]) ** 2, axis=1)) > 0.05
    assert abs(w @ np.sum(ends[-1] ** 2 - runs[0].positions[0] ** 2, axis=1)) < energy


def test_kept_steps_are_those_of_the_whole_run() -> None:
    problem = PROBLEMS["bkw2d"](*WINDOWS["bkw2d"])
    whole = short("bkw2d", "chww", "euler")
    thin = solve(problem, Settings("chww", 16, dt=0.04, keep=3))
    rows = [0, 3, 5]
    for name in ("times", "positions", "scores", "velocities"):
        np.testing.assert_array_equal(getattr(thin, name), getattr(whole, name)[rows])
    np.testing.assert_array_equal(thin.field.times, whole.times)
    t, v = np.array([1.11, 1.17]), RNG(10).standard_normal((9, 2))
    np.testing.assert_array_equal(ParticleRun(thin).flow(t, v), ParticleRun(whole).flow(t, v))


def test_the_benchmarks_have_published_settings_and_others_must_give_them() -> None:
    for name in blob.PUBLISHED:
        settings = Settings().on(PROBLEMS[name]())
        assert settings.eps == pytest.approx(0.64 * (2 * settings.half_width / settings.n) ** 1.98)  # type: ignore[operator]
    other: Any = PROBLEMS["bkw2d"]()
    object.__setattr__(other, "id", "other")
    with pytest.raises(ValueError, match="give n, half_width and dt"):
        Settings(n=10, dt=0.1).on(other)
    assert Settings(n=10, dt=0.1, half_width=3.0, eps=0.15**2).on(other).eps == 0.0225


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of"):
        Settings("kde")
    with pytest.raises(ValueError, match="form must be one of"):
        Settings(integrator="midpoint")
    for bad in ({"n": 0}, {"dt": -0.1}, {"eps": math.nan}, {"half_width": math.inf}, {"keep": 0}):
        with pytest.raises(ValueError, match="must be positive and finite"):
            Settings(**bad)  # type: ignore[arg-type]


def test_particles_that_are_not_finite_are_an_error_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def at(self, y: Array, s: Array) -> Array:
            return np.full_like(y, np.inf)

    monkeypatch.setattr(blob, "cloud_drift", lambda *args: Broken())
    with pytest.raises(FloatingPointError, match="after step 0; use a shorter dt"):
        solve(PROBLEMS["bkw2d"](), Settings(n=10, dt=1.0))


def test_the_factories_give_runs_of_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob, "MODERATE", {(form, 2): 12 for form in blob.FORMS})
    problem = PROBLEMS["bkw2d"](Fraction(1), Fraction(11, 10))
    for factory, method in ((blob.run, "blob-chww"), (blob.run_ccp, "blob-ccp")):
        run = factory(problem)
        assert isinstance(run, Run)
        assert run.solution.method == method
        assert run.describe()["settings"]["n"] == 12
        divergence = run.score_divergence(np.array([1.05]), np.zeros((1, 2, 2)))
        assert (divergence is None) == (method == "blob-ccp")


# --- the published errors (FACTS section 5) -------------------------------------------------------------------------

TIMES = (1.0, 2.5, 5.0)
PUBLISHED = {  # relative L2 errors of HVW's .mat files (implicit discrete gradient, dt = 0.00125)
    40: (0.02278, 0.02968, 0.02945),
    45: (0.01870, 0.02372, 0.02339),
    50: (0.01553, 0.01935, 0.01903),
    55: (0.01304, 0.01609, 0.01578),
    60: (0.01106, 0.01358, 0.01331),
}
EULER = {40: (0.02273, 0.02944, 0.02928), 50: (0.01543, 0.01909, 0.01886), 60: (0.01093, 0.01332, 0.01314)}
CCP = {40: (0.0296, 0.0185, 0.0179), 50: (0.0198, 0.0121, 0.0117)}
ENERGY = {40: 5.6e-5, 50: 6.1e-5, 60: 6.3e-5}


def bkw2d(T: int) -> Problem:
    return PROBLEMS["bkw2d"](T=Fraction(T))


def relative_errors(solution: ParticleSolution, times: tuple[float, ...]) -> list[float]:
    out, exact = [], solution.problem.exact
    assert exact is not None
    for t in times:
        row = int(np.argmin(np.abs(solution.times - t)))
        assert solution.times[row] == pytest.approx(t, abs=1e-12)
        cells, f = blob.density(solution, row)
        truth = np.exp(exact.log_density(t, cells.points))
        out.append(float(np.linalg.norm(f.ravel() - truth) / np.linalg.norm(truth)))
    return out


@pytest.mark.paper
def test_the_published_error_of_the_landau_blob_on_bkw_at_time_one() -> None:
    (error,) = relative_errors(solve(bkw2d(1), Settings(n=40, keep=100)), (1.0,))
    assert error == pytest.approx(PUBLISHED[40][0], rel=0.03)
    assert error == pytest.approx(EULER[40][0], rel=1e-3)


@pytest.mark.slow
def test_a_report_measures_a_blob_run_and_says_what_it_cannot_have() -> None:
    problem = PROBLEMS["bkw2d"](Fraction(1, 2), Fraction(1))
    options = Options(quick=True, samples=100, w1_samples=100, times=6)
    report = judge(ParticleRun(solve(problem, Settings(n=24, dt=0.05))), problem, options)
    trajectory = report.measured["trajectory"].upper
    assert trajectory is not None
    assert 0 < trajectory.last() < 0.05
    done = {c.id: c for c in report.certificates}
    for name in ("stability_w2", "stability_wp", "stability_kl"):
        assert done[name].log_bound is None
        assert "jets" in done[name].reasons[0]
    assert "a bound by one of S1 and S2" in " ".join(done["thm4_fisher"].reasons)
    assert not any("no score network" in words for words in report.warnings)
    assert all(c.reasons for c in report.certificates if c.log_bound is None)


@pytest.mark.slow
@pytest.mark.paper
def test_the_published_table_of_the_landau_blob_and_its_second_order() -> None:
    errors = {}
    for n, table in PUBLISHED.items():
        solution = solve(bkw2d(5), Settings(n=n, keep=50))
        errors[n] = relative_errors(solution, TIMES)
        assert errors[n] == pytest.approx(table, rel=0.03), n
        if n in EULER:
            assert errors[n] == pytest.approx(EULER[n], rel=1e-3), n
            energy = solution.weights @ np.sum(solution.positions[-1] ** 2 - solution.positions[0] ** 2, axis=1)
            assert energy == pytest.approx(ENERGY[n], abs=0.06e-5), n
    last = np.array([errors[n][-1] for n in PUBLISHED])
    orders = np.diff(np.log(last)) / -np.diff(np.log(list(PUBLISHED)))
    assert orders == pytest.approx(2, abs=0.15)


@pytest.mark.slow
@pytest.mark.paper
@pytest.mark.parametrize("n", CCP)
def test_the_errors_of_the_blob_method_for_diffusion(n: int) -> None:
    errors = relative_errors(solve(bkw2d(5), Settings("ccp", n, keep=50)), TIMES)
    assert errors == pytest.approx(CCP[n], rel=0.03)


@pytest.mark.slow
@pytest.mark.paper
def test_the_covariance_of_the_anisotropic_benchmark() -> None:
    from theory.problems import anisotropic2d

    problem = anisotropic2d.make(Fraction(0), Fraction(10), Fraction(1, 10**6))  # Coulomb to all purposes
    solution = solve(problem, Settings(n=40, keep=100))
    z = solution.positions[-1] - solution.weights @ solution.positions[-1]
    assert solution.weights @ (z[:, 0] * z[:, 1]) == pytest.approx(-0.90926, abs=2e-3)


def test_kernels_are_the_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Kernel] = []

    def watch(kernel: Kernel, *args: Array) -> Any:
        seen.append(kernel)
        return cloud_drift(kernel, *args)

    monkeypatch.setattr(blob, "cloud_drift", watch)
    problem = PROBLEMS["anisotropic2d"](T=Fraction(1, 10))
    solve(problem, Settings(n=8))
    assert set(seen) == {problem.kernel}
