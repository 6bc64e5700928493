"""Confidence bounds: coverage on heavy tails, the central limit theorem seen failing, unsound variants caught."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from certify import statistics
from tests.strategies import generators, reals
from theory.provenance import Estimate, Rigor, Side

DELTA, REPLICATIONS = 0.05, 600
Bound = Callable[..., Estimate]


@dataclass(frozen=True)
class Law:
    """A law on [0, inf) with mean 1: draws of a shape, E X^2, and its least upper bound where it has one."""

    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
    second: float
    bound: float = math.inf


SPIKE = 1e-3
LAWS = {
    "lognormal(1.5)": Law(lambda g, k: np.exp(1.5 * g.standard_normal(k) - 1.5**2 / 2), math.exp(1.5**2)),
    # carries half of the mean with probability 1e-3
    "rare spike": Law(
        lambda g, k: 0.5 + np.where(g.random(k) < SPIKE, 0.5 / SPIKE, 0.0), 0.75 + 0.25 / SPIKE, 0.5 + 0.5 / SPIKE
    ),
    "chi2_3/3": Law(lambda g, k: g.chisquare(3, k) / 3, 1 + 2 / 3),
    # two points: the extreme of all laws on [0, 5] of mean 1
    "two points": Law(lambda g, k: np.where(g.random(k) < 0.2, 5.0, 0.0), 5.0, 5.0),
}


def rows(bound: Bound, x: np.ndarray, *condition: float, delta: float = DELTA) -> np.ndarray:
    """Bound of every row on its own, each at level delta (the functions share delta among rows)."""
    return np.array([bound(row, *condition, delta).value for row in x])


def miss_rate(bound: Bound, law: Law, n: int, *condition: float, seed: int = 0) -> float:
    x = law.draw(np.random.default_rng(seed), (REPLICATIONS, n))
    return float(np.mean(rows(bound, x, *condition) < 1))


def within(rate: float) -> bool:
    """Whether a miss rate agrees with at most DELTA: 99.9 % quantile of the binomial law."""
    return rate * REPLICATIONS <= stats.binom.ppf(0.999, REPLICATIONS, DELTA)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [20, 300])
def test_no_bound_misses_more_often_than_delta(name: str, n: int) -> None:
    law = LAWS[name]
    assert within(miss_rate(statistics.second_moment_upper, law, n, law.second))
    assert within(miss_rate(statistics.kurtosis_upper, law, n, law.second))
    assert within(miss_rate(statistics.catoni_upper, law, n, law.second - 1))


@pytest.mark.parametrize("name", ["rare spike", "two points"])
def test_betting_misses_within_delta_on_bounded_laws(name: str) -> None:
    law = LAWS[name]
    x = law.draw(np.random.default_rng(1), (600, 400))
    missed = np.sum(rows(statistics.betting_upper, x, law.bound) < 1)
    assert missed <= stats.binom.ppf(0.999, 600, DELTA)


def test_the_poincare_bound_covers_squared_norms_of_gaussians() -> None:
    v = np.random.default_rng(2).standard_normal((REPLICATIONS, 40, 3))
    x = np.sum(v * v, axis=-1) / 3  # g = |v|/sqrt 3, Lipschitz constant 1/sqrt 3, mean of g^2 is 1
    found = rows(statistics.poincare_upper, x, 3**-0.5, 1.0)
    assert within(float(np.mean(found < 1)))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["lognormal(1.5)", "rare spike"])
def test_the_central_limit_theorem_misses_far_more_often_than_it_says(name: str) -> None:
    rate = miss_rate(statistics.clt_upper, LAWS[name], 300)
    assert rate > 2 * DELTA
    assert not within(rate)


def test_the_central_limit_value_claims_nothing() -> None:
    found = statistics.clt_upper(np.array([1.0, 2.0]), 0.05)
    assert (found.side, found.rigor, found.delta) == (Side.NONE, Rigor.SAMPLED, 0.0)


def unsound(function: Bound, old: str, new: str) -> Bound:
    """The same function with a piece of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1
    space = dict(vars(statistics))
    exec(compile("from __future__ import annotations\n" + source.replace(old, new), "mutant", "exec"), space)
    mutant: Bound = space[function.__name__]
    return mutant


MUTANTS = {
    "square root of two forgotten": (statistics.second_moment_upper, "2 * m2 * log_term", "0.25 * m2 * log_term"),
    "width without its square root of n": (statistics.second_moment_upper, "/ x.shape[-1])", "/ x.shape[-1] ** 2)"),
    "kurtosis bound without log(1/delta)": (statistics.kurtosis_upper, "2 * kappa * log_term", "0.2 * kappa"),
    "Catoni's estimate without its width": (statistics.catoni_upper, "high + width", "high"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_coverage_notices_an_unsound_bound(name: str) -> None:
    function, old, new = MUTANTS[name]
    mutant = unsound(function, old, new)
    worst = 0.0
    for law in LAWS.values():
        condition = law.second - (function is statistics.catoni_upper)
        worst = max(worst, miss_rate(mutant, law, 300, condition))
    assert not within(worst)


def test_coverage_notices_bets_that_know_the_draw_they_are_placed_on() -> None:
    old, new = "-bets * (y - middle[..., None])", "bets * np.abs(y - middle[..., None])"
    mutant = unsound(statistics.betting_upper, old, new)
    law = LAWS["two points"]
    x = law.draw(np.random.default_rng(1), (600, 400))
    assert np.mean(rows(mutant, x, law.bound) < 1) > 2 * DELTA


def exact_miss_rate(bound: Bound, p: float, n: int, delta: float, *condition: float) -> float:
    """Probability, summed without simulation, that the bound misses E X = 1 for X = Bernoulli(p)/p."""
    law = stats.binom(n, p)
    low = int(law.ppf(1e-9))
    successes = np.arange(low, int(n * p) + 1)  # more successes give a larger bound
    found = [bound((np.arange(n) < k) / p, *condition, delta).last() for k in successes]
    return float(law.cdf(low - 1) + np.sum(law.pmf(successes)[np.array(found) < 1]))


@pytest.mark.parametrize(
    ("function", "condition", "old", "new"),
    [
        (statistics.second_moment_upper, 50.0, "2 * m2 * log_term", "m2 * log_term"),
        (statistics.kurtosis_upper, 58.0, "2 * kappa * log_term", "kappa * log_term"),
    ],
)
def test_halving_the_logarithm_is_caught_where_the_bound_is_tight(
    function: Bound, condition: float, old: str, new: str
) -> None:
    p, n, delta = 0.02, 80_000, 5e-4  # nearly Gaussian, far enough out for the exponent to decide
    assert exact_miss_rate(function, p, n, delta, condition) <= delta
    assert exact_miss_rate(unsound(function, old, new), p, n, delta, condition) > delta


@given(generators(), st.integers(1, 60), reals(1.0, 40.0), reals(1e-4, 0.5))
def test_the_kurtosis_bound_solves_its_equation_or_is_infinite(
    rng: np.random.Generator, n: int, kappa: float, delta: float
) -> None:
    x = rng.chisquare(2, n)
    found = statistics.kurtosis_upper(x, kappa, delta).last()
    share = 2 * kappa * math.log(1 / delta) / n
    if share >= 1 or np.mean(x**2) > kappa * np.mean(x) ** 2:
        assert found == math.inf
    else:
        assert found == pytest.approx(np.mean(x) + math.sqrt(share) * found, rel=1e-9)


@given(generators(), reals(0, 3), reals(0, 3), reals(1e-3, 0.5))
def test_the_poincare_bound_is_the_fixed_point_of_maurers(
    rng: np.random.Generator, lipschitz: float, poincare: float, delta: float
) -> None:
    x = rng.chisquare(2, 50)
    mu = statistics.poincare_upper(x, lipschitz, poincare, delta).last()
    second = mu**2 + 4 * lipschitz**2 * poincare * mu
    assert mu == pytest.approx(statistics.second_moment_upper(x, second, delta).last(), rel=1e-9)


def test_a_hypothesis_the_sample_contradicts_gives_no_bound() -> None:
    x = np.full((2, 1000), 1.0)
    x[1, 0] = 1000.0
    found = np.asarray(statistics.kurtosis_upper(x, 10.0, 0.01).value)
    assert np.isfinite(found[0])
    assert found[1] == math.inf


def test_too_few_draws_give_no_finite_bound() -> None:
    x = np.ones(8)
    assert statistics.kurtosis_upper(x, 2.0, 0.01).value == math.inf
    assert statistics.poincare_upper(x, 1.0, 1.0, 0.01).value == math.inf
    assert statistics.catoni_upper(x, 1.0, 0.01).value == math.inf


def test_rows_share_delta() -> None:
    x = np.random.default_rng(0).chisquare(3, (10, 500))
    joint = np.asarray(statistics.kurtosis_upper(x, 3.0, 0.01).value)
    alone = [statistics.kurtosis_upper(row, 3.0, 0.001).last() for row in x]
    assert joint == pytest.approx(alone, rel=1e-12)
    assert statistics.kurtosis_upper(x, 3.0, 0.01).delta == 0.01


@pytest.mark.parametrize(
    ("bound", "condition"),
    [
        (statistics.second_moment_upper, (1.0,)),
        (statistics.kurtosis_upper, (3.0,)),
        (statistics.poincare_upper, (1.0, 1.0)),
        (statistics.betting_upper, (5.0,)),
        (statistics.catoni_upper, (1.0,)),
    ],
)
def test_every_bound_is_a_statistical_upper_bound_and_refuses_nonsense(
    bound: Bound, condition: tuple[float, ...]
) -> None:
    found = bound(np.array([0.5, 1.0, 2.0]), *condition, 0.1)
    assert (found.side, found.rigor, found.delta) == (Side.UPPER, Rigor.STATISTICAL, 0.1)
    assert found.last() >= 1.1
    for x in (np.array([1.0, np.nan]), np.array([1.0, np.inf]), np.empty(0)):
        with pytest.raises(ValueError, match="draws"):
            bound(x, *condition, 0.1)
    for delta in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="probability"):
            bound(np.ones(3), *condition, delta)
    if bound is not statistics.catoni_upper:
        with pytest.raises(ValueError, match="negative"):
            bound(np.array([1.0, -1e-9]), *condition, 0.1)


def test_conditions_that_cannot_hold_are_refused() -> None:
    x = np.array([1.0, 2.0])
    for call in (
        lambda: statistics.kurtosis_upper(x, 0.9, 0.1),
        lambda: statistics.kurtosis_upper(x, math.nan, 0.1),
        lambda: statistics.second_moment_upper(x, -1.0, 0.1),
        lambda: statistics.second_moment_upper(x, math.nan, 0.1),
        lambda: statistics.betting_upper(x, 1.5, 0.1),
        lambda: statistics.poincare_upper(x, math.nan, 1.0, 0.1),
        lambda: statistics.catoni_upper(x, 0.0, 0.1),
    ):
        with pytest.raises(ValueError, match=r"impossible|must|needed"):
            call()


def test_catoni_bounds_signed_means_from_both_sides() -> None:
    x = np.random.default_rng(5).standard_t(3, (REPLICATIONS, 60))  # Var = 3, mean 0
    above, below = rows(statistics.catoni_upper, x, 3.0), -rows(statistics.catoni_upper, -x, 3.0)
    assert within(float(np.mean(above < 0)))
    assert within(float(np.mean(below > 0)))
    assert (below < above).all()
