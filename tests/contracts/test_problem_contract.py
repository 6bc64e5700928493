"""What every registered problem must satisfy; a new problem is picked up by being registered."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from tests.strategies import generators
from theory.problem import ExactSolution, Problem
from theory.problems import PROBLEMS, parse_problem
from theory.quadrature import K15, Rule, on_panels, polar_rule
from theory.registry import UnknownNameError

EVERY_PROBLEM = pytest.mark.parametrize("problem", [family() for family in PROBLEMS.values()], ids=list(PROBLEMS))
SOLVED = pytest.mark.parametrize(
    "problem", [p for p in (family() for family in PROBLEMS.values()) if p.exact is not None], ids=lambda p: p.id
)


def exact(problem: Problem) -> ExactSolution:
    assert problem.exact is not None
    return problem.exact


def later(problem: Problem) -> list[float]:
    """A time soon after the start, one in the middle and the end."""
    t0, end = float(problem.t0), float(problem.T)
    return [t0 + x * (end - t0) for x in (0.1, 0.5, 1.0)]


def rule_at(problem: Problem, t: float) -> Rule:
    """Quadrature against f_t."""
    solution, edges = exact(problem), problem.initial.radial_edges()
    if problem.d == 3 and not getattr(problem.initial, "isotropic", False):
        return finer_in_angle(lambda v: np.exp(solution.log_density(t, v)), np.append(edges, 1.2 * edges[-1]))
    fine = np.unique(np.concatenate([[0.0, 0.02, 0.08, 0.25, 0.5], edges, edges[-1] * np.linspace(0.1, 1.2, 12)]))
    isotropic = bool(getattr(problem.initial, "isotropic", False))
    angles = {2: 24 if isotropic else 64, 3: 12}[problem.d]  # 24 alias with a triangle's symmetry
    return polar_rule(lambda v: np.exp(solution.log_density(t, v)), problem.initial.mean(), fine, angles)


def finer_in_angle(density, edges: np.ndarray) -> Rule:
    """``polar_rule`` around 0 in 3D with two panels in the cosine and 28 azimuths."""
    (r, fine_r, coarse_r), (c, fine_c, coarse_c) = (
        [x.ravel() for x in on_panels(K15, e)] for e in (edges, np.array([-1.0, 0.0, 1.0]))
    )
    azimuth = 2 * np.pi * (np.arange(28) + 0.25) / 28
    flat = np.sqrt(1 - c**2)[:, None]
    u = np.stack(np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), c[:, None]), axis=-1)
    nodes = (r[:, None, None] * u.reshape(-1, 3)).reshape(-1, 3)
    mass = density(nodes) * np.repeat(r**2, 28 * len(c)) * 2 * np.pi / 28
    every_other = np.where(np.arange(28) % 2 == 0, 2.0, 0.0)
    fine, coarse = (
        np.einsum("i,j,k->ijk", *w).ravel() * mass
        for w in ((fine_r, fine_c, np.ones(28)), (coarse_r, coarse_c, every_other))
    )
    panel = np.repeat(np.arange(len(edges) - 1), len(nodes) // (len(edges) - 1))
    return Rule(nodes, fine, coarse, panel, edges, 28)


def points(problem: Problem, n: int = 60) -> np.ndarray:
    """Draws from f_{t0} that keep away from declared degenerate points."""
    v = problem.initial.sample(4 * n, np.random.default_rng(11))
    for point in problem.degenerate_points:
        v = v[np.linalg.norm(v - point, axis=1) > 0.05]
    return v[:n]


def gradient(f, v: np.ndarray, h: float = 1e-5) -> np.ndarray:
    return np.stack([(f(v + e) - f(v - e)) / (2 * h) for e in h * np.eye(v.shape[1])], axis=1)


@EVERY_PROBLEM
def test_density_integrates_to_one_with_a_small_error_estimate(problem: Problem) -> None:
    rule = problem.rule()
    mass, error = rule.integrate(np.ones(len(rule.nodes)))
    assert mass == pytest.approx(1, abs=1e-9)
    assert error < 1e-3
    assert problem.initial.tail_moment(rule.radius, 2) < 1e-12


@EVERY_PROBLEM
def test_score_is_the_gradient_of_the_log_density(problem: Problem) -> None:
    v = points(problem)
    score = problem.initial.score(v)
    assert gradient(problem.initial.log_density, v) == pytest.approx(score, rel=1e-5, abs=1e-5)
    assert score.shape == v.shape
    assert problem.initial.log_density(v).shape == (len(v),)


@EVERY_PROBLEM
def test_mean_and_covariance_are_those_of_the_density(problem: Problem) -> None:
    rule, mean = problem.rule(), problem.initial.mean()
    z = rule.nodes - mean
    assert rule.weights @ z == pytest.approx(np.zeros(problem.d), abs=1e-9)
    assert (rule.weights[:, None] * z).T @ z == pytest.approx(problem.initial.covariance(), abs=1e-9)


@EVERY_PROBLEM
def test_samples_have_the_moments_of_the_density(problem: Problem) -> None:
    n = 100_000
    z = problem.initial.sample(n, np.random.default_rng(5)) - problem.initial.mean()
    products = z[:, :, None] * z[:, None, :]
    radius = np.linalg.norm(z, axis=1)
    typical = 1.5 * math.sqrt(np.trace(problem.initial.covariance()) / problem.d)
    for sample, truth in (
        (z, np.zeros(problem.d)),
        (products, problem.initial.covariance()),
        (radius**4, problem.initial.tail_moment(0.0, 4)),
        (radius > typical, problem.initial.tail_moment(typical, 0)),
    ):
        off = np.abs(sample.mean(axis=0) - truth) / (sample.std(axis=0) / math.sqrt(n))
        assert np.max(off) < 5  # fails by chance once in 10^5


@EVERY_PROBLEM
def test_samples_are_reproduced_by_their_seed(problem: Problem) -> None:
    one, two = (problem.initial.sample(10, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one, two)
    assert one.shape == (10, problem.d)


@EVERY_PROBLEM
@pytest.mark.parametrize("power", [0, 1, 2, 4])
def test_tail_moments_are_integrals_over_the_tail(problem: Problem, power: int) -> None:
    rule = problem.rule()
    value = rule.weights * np.linalg.norm(rule.nodes - problem.initial.mean(), axis=1) ** power
    panels = np.bincount(rule.panel, value)
    for k, edge in enumerate(rule.edges[:-1]):
        assert problem.initial.tail_moment(edge, power) == pytest.approx(panels[k:].sum(), rel=1e-6, abs=1e-13)


@EVERY_PROBLEM
def test_constants_and_words_are_there_for_the_report(problem: Problem) -> None:
    regular, why = problem.initial.regularity()
    assert isinstance(regular, bool)
    assert all((why, problem.title, problem.source, problem.constants))
    assert all(isinstance(v, str) for v in problem.constants.values())
    assert int(problem.constants["d"]) == problem.d == problem.initial.d
    assert float(Fraction(problem.constants["C"])) == problem.kernel.strength
    assert problem.degenerate_points.shape[0] == len(problem.degeneracies)


@EVERY_PROBLEM
def test_density_vanishes_at_degenerate_points_and_nowhere_else(problem: Problem) -> None:
    if len(problem.degenerate_points):
        assert (problem.initial.log_density(problem.degenerate_points) == -np.inf).all()
    assert np.isfinite(problem.initial.log_density(points(problem))).all()


@EVERY_PROBLEM
def test_its_own_specification_reads_back_as_itself(problem: Problem) -> None:
    again = parse_problem(problem.spec)
    assert (again.id, again.t0, again.T, again.spec) == (problem.id, problem.t0, problem.T, problem.spec)


@EVERY_PROBLEM
def test_the_exact_solution_can_be_taken_away(problem: Problem) -> None:
    blind = problem.without_exact_solution()
    assert blind.exact is None
    assert (blind.id, blind.kernel, blind.t0) == (problem.id, problem.kernel, problem.t0)


# --- problems with an exact solution -----------------------------------------------------------------------------


@SOLVED
def test_exact_solution_starts_with_the_initial_density_and_the_identity(problem: Problem) -> None:
    v, t0 = points(problem), float(problem.t0)
    assert np.array_equal(exact(problem).log_density(t0, v), problem.initial.log_density(v))
    assert np.array_equal(exact(problem).score(t0, v), problem.initial.score(v))
    assert np.array_equal(exact(problem).flow(t0, v), v)


@SOLVED
def test_exact_drift_is_the_collision_integral(problem: Problem) -> None:
    v = points(problem, 8)
    for t in later(problem):
        rule = rule_at(problem, t)
        score, there = exact(problem).score(t, v), exact(problem).score(t, rule.nodes)
        for k in range(len(v)):
            pairs = problem.kernel.matrix(v[k] - rule.nodes) @ (score[k] - there)[..., None]
            assert -rule.weights @ pairs[..., 0] == pytest.approx(exact(problem).drift(t, v)[k], rel=1e-8, abs=1e-10)


@SOLVED
def test_exact_flow_follows_the_drift(problem: Problem) -> None:
    v, h = points(problem), 1e-4
    for t in later(problem)[:2]:
        speed = (exact(problem).flow(t + h, v) - exact(problem).flow(t - h, v)) / (2 * h)
        assert speed == pytest.approx(exact(problem).drift(t, exact(problem).flow(t, v)), rel=1e-5, abs=1e-6)


@SOLVED
def test_exact_flow_carries_the_initial_density_to_the_exact_one(problem: Problem) -> None:
    start = problem.rule()
    for t in later(problem):
        end, moved = rule_at(problem, t), exact(problem).flow(t, start.nodes)
        for f in (
            lambda x: np.sum(x**2, axis=1),
            lambda x: np.sum(x**2, axis=1) ** 2,
            lambda x: np.exp(-np.sum((x - 0.5) ** 2, axis=1)),
        ):
            (value, error), (truth, rest) = start.integrate(f(moved)), end.integrate(f(end.nodes))
            assert abs(value - truth) <= min(error + rest + 1e-9, 1e-4 * truth)


@SOLVED
def test_exact_density_has_mass_one_and_the_moments_known_in_advance(problem: Problem) -> None:
    for t in later(problem):
        rule = rule_at(problem, t)
        mean, covariance = problem.moments(t)
        z = rule.nodes - mean
        assert rule.weights.sum() == pytest.approx(1, abs=1e-10)
        assert rule.weights @ z == pytest.approx(np.zeros(problem.d), abs=1e-10)
        assert (rule.weights[:, None] * z).T @ z == pytest.approx(covariance, abs=1e-9)


@SOLVED
def test_exact_score_constants_and_moments_are_consistent(problem: Problem) -> None:
    for t in later(problem):
        solution, rule, v = exact(problem), rule_at(problem, t), points(problem)
        score = solution.score(t, rule.nodes)
        assert gradient(lambda x, t=t: exact(problem).log_density(t, x), v) == pytest.approx(
            solution.score(t, v), rel=1e-5, abs=1e-5
        )
        assert solution.fisher_information(t) == pytest.approx(rule.weights @ np.sum(score**2, axis=1), rel=1e-7)
        for power in (0, 2, 4):
            inside = rule.weights @ np.linalg.norm(rule.nodes, axis=1) ** power
            assert solution.tail_moment(t, 0.0, power) == pytest.approx(inside, rel=1e-8)


@SOLVED
@given(rng=generators())
def test_lipschitz_constants_are_never_below_difference_quotients(problem: Problem, rng: np.random.Generator) -> None:
    t = rng.uniform(later(problem)[0], later(problem)[-1])
    x, solution = problem.initial.sample(200, rng), exact(problem)
    y = np.where(rng.random((200, 1)) < 0.5, x + 1e-3 * rng.standard_normal(x.shape), x[::-1])
    gap = np.linalg.norm(x - y, axis=1)
    drift = solution.drift(t, x) - solution.drift(t, y)
    score = solution.score(t, x) - solution.score(t, y)
    assert (np.linalg.norm(score, axis=1) <= solution.score_lipschitz(t) * gap * (1 + 1e-9)).all()
    assert (np.linalg.norm(drift, axis=1) <= solution.drift_lipschitz(t) * gap * (1 + 1e-9)).all()
    assert (np.sum(drift * (x - y), axis=1) <= solution.drift_one_sided(t) * gap**2 * (1 + 1e-9) + 1e-15).all()


@SOLVED
def test_exact_samples_have_the_exact_moments(problem: Problem) -> None:
    t, n = later(problem)[-1], 50_000
    r2 = np.sum(exact(problem).sample(t, n, np.random.default_rng(9)) ** 2, axis=1)
    for sample, power in ((r2, 2), (r2**2, 4)):
        assert abs(sample.mean() - exact(problem).tail_moment(t, 0.0, power)) < 5 * sample.std() / math.sqrt(n)


# --- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "t0", "end"),
    [
        ("bkw2d", 0, 5),
        ("bkw2d:t0=1/2", Fraction(1, 2), 5),
        ("bkw2d:T=1", 0, 1),
        ("bkw2d:t0=1/2,T=2.5", Fraction(1, 2), Fraction(5, 2)),
        ("bkw3d", Fraction(11, 2), 6),
        ("bkw3d:T=13/2", Fraction(11, 2), Fraction(13, 2)),
    ],
)
def test_a_window_is_read_exactly(spec: str, t0: Fraction, end: Fraction) -> None:
    problem = parse_problem(spec)
    assert (problem.t0, problem.T) == (t0, end)
    assert exact(problem).flow(float(t0), np.ones((1, problem.d))).tolist() == [[1.0] * problem.d]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bkw2d:t0=half", "cannot read 't0=half'; write bkw2d:t0=1/2,T=5"),
        ("bkw2d:t0", "cannot read 't0'"),
        ("bkw2d:t=1", "cannot read 't=1'"),
        ("bkw2d:t0=-1", "cannot read"),
        ("bkw2d:t0=1e9", "cannot read"),
        ("bkw2d:t0=nan", "cannot read"),
        ("bkw2d:t0=1/0", "division by zero"),
        ("bkw2d:t0=1,t0=2", "cannot read 't0=2'"),
        ("bkw2d:t0=5", "is empty"),
        ("bkw2d:t0=6", "is empty"),
        ("bkw3d:t0=5", "negative near v = 0"),
        ("bkw3d:t0=0", "negative near v = 0"),
    ],
)
def test_an_unreadable_or_impossible_window_is_refused_in_words(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_problem(spec)


def test_an_unknown_problem_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'bkw2d'"):
        parse_problem("bkw2:t0=1")


def test_the_empty_core_is_declared_only_where_the_density_vanishes() -> None:
    assert len(parse_problem("bkw2d").degeneracies) == 1
    assert parse_problem("bkw2d:t0=1/2").degeneracies == ()


def test_moments_need_the_maxwell_kernel() -> None:
    from dataclasses import replace

    from theory.kernels import mollified_coulomb

    problem = replace(parse_problem("bkw2d"), kernel=mollified_coulomb(2, 1.0, 0.5))
    with pytest.raises(ValueError, match="Maxwell kernel only"):
        problem.moments(1.0)


def test_moments_relax_at_the_documented_rate() -> None:
    from dataclasses import dataclass, replace

    from theory.bkw import BkwDensity

    @dataclass(frozen=True)
    class Stretched(BkwDensity):
        def covariance(self) -> np.ndarray:
            return np.array([[2.0, -1.0], [-1.0, 2.0]])

    plain = parse_problem("bkw2d:t0=1,T=3")
    problem = replace(plain, initial=Stretched(plain.exact, 1.0))  # type: ignore[arg-type]
    off = -math.exp(-4 * 2 / 16 * 1.5)
    assert problem.moments(2.5)[1] == pytest.approx(np.array([[2.0, off], [off, 2.0]]))
    assert problem.moments(1.0)[1] == pytest.approx(problem.initial.covariance())


def test_dimensions_of_density_and_kernel_must_agree() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="disagree on the dimension"):
        replace(parse_problem("bkw2d"), kernel=parse_problem("bkw3d").kernel)
