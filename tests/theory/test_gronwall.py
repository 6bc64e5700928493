"""Gronwall bounds: exact where the data are simple, covered by their error estimate elsewhere, never an overflow."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import Wave, reals, waves
from theory.gronwall import LogValue, NumericOps, SymbolicOps, TimeGrid
from theory.quadrature import K7

UNIT = np.linspace(0, 1, 9)
positive = st.lists(reals(0, 1e6), min_size=3, max_size=3).map(np.array)


def ops(edges: np.ndarray = UNIT) -> NumericOps:
    return NumericOps(TimeGrid(edges))


def covered(result: LogValue, computed: NumericOps, truth: np.ndarray) -> bool:
    """Whether result + error estimate is at least the truth, rounding excepted."""
    return bool((truth * (1 - 1e-12) - 1e-300 <= (result + computed.error).numbers()).all())


# --- numbers kept as logarithms ----------------------------------------------------------------------------------


@given(positive, positive, positive)
def test_log_values_obey_the_arithmetic_of_the_numbers(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    x, y, z = LogValue.of(a), LogValue.of(b), LogValue.of(c)
    assert x.numbers() == pytest.approx(a, rel=1e-13)
    assert (x + y).numbers() == pytest.approx(a + b, rel=1e-13)
    assert (x * y).numbers() == pytest.approx(a * b, rel=1e-12)
    assert ((x + y) * z).numbers() == pytest.approx((x * z + y * z).numbers(), rel=1e-12)
    assert (x + (y + z)).numbers() == pytest.approx(((x + y) + z).numbers(), rel=1e-12)
    assert x.sqrt().numbers() == pytest.approx(np.sqrt(a), rel=1e-13)
    assert np.array_equal((x + y).log, (y + x).log)
    assert np.array_equal((x * y).log, (y * x).log)


@given(positive, positive)
def test_plain_numbers_mix_from_either_side(a: np.ndarray, b: np.ndarray) -> None:
    x = LogValue.of(a)
    for mixed in (x * b, b * x):
        assert isinstance(mixed, LogValue)
        assert mixed.numbers() == pytest.approx(a * b, rel=1e-12)
    for mixed in (x + b, b + x, sum([x, LogValue.of(b)], start=LogValue.of(0.0))):
        assert mixed.numbers() == pytest.approx(a + b, rel=1e-12)
    assert (np.float64(2) * x).numbers() == pytest.approx(2 * a, rel=1e-13)


@given(positive, positive)
def test_addition_and_multiplication_are_monotone(a: np.ndarray, b: np.ndarray) -> None:
    low, high = LogValue.of(np.minimum(a, b)), LogValue.of(np.maximum(a, b))
    assert ((low + 1.0).log <= (high + 1.0).log).all()
    assert ((low * 3.0).log <= (high * 3.0).log).all()


def test_zero_is_neutral_and_absorbs_even_infinity() -> None:
    zero, infinite = LogValue.of(0.0), LogValue.of(np.inf)
    assert (zero + 3.0).numbers() == pytest.approx(3)
    assert (zero * infinite).numbers() == (infinite * 0.0).numbers() == 0
    assert (zero + infinite).numbers() == (infinite + infinite).numbers() == np.inf
    assert (zero + zero).log == (zero * zero).log == zero.sqrt().log == -np.inf


@pytest.mark.parametrize("value", [-1e-300, math.nan, np.array([1.0, -1.0])])
def test_what_is_no_term_of_a_bound_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="negative or NaN"):
        LogValue.of(value)


def test_a_number_too_large_for_floats_is_still_a_number() -> None:
    huge = LogValue(np.array([1e4]))
    assert huge.numbers() == np.inf
    assert (huge * huge).log10() == pytest.approx(2e4 / math.log(10))


# --- numeric bounds ----------------------------------------------------------------------------------------------


@given(reals(-5, 5), reals(0, 10), reals(0, 10), st.integers(1, 12))
def test_constant_data_give_the_closed_form(alpha: float, source: float, start: float, panels: int) -> None:
    computed, t = ops(np.linspace(0.5, 2, panels + 1)), np.linspace(0, 1.5, panels + 1)
    integral = source * (np.expm1(alpha * t) / alpha if alpha else t)
    assert computed.growth(alpha).numbers() == pytest.approx(np.exp(alpha * t), rel=1e-12)
    result = computed.gronwall(alpha, source)
    assert covered(result, computed, integral)
    assert result.numbers() == pytest.approx(integral, rel=1e-5 if panels == 1 else 1e-7)
    y = computed.growth(alpha) * start + result
    assert y.numbers()[0] == pytest.approx(start)


@given(waves(0, 5), waves(-4, 4), st.integers(4, 16), reals(0.2, 1))
def test_the_error_estimate_covers_the_error_for_smooth_time_dependent_data(
    gain: Wave, alpha: Wave, panels: int, length: float
) -> None:
    """y = e^A (1 + G) with A and G the integrals of alpha and gain solves y' = alpha y + e^A gain, y(0) = 1."""
    computed = ops(np.linspace(0, length, panels + 1))
    t, edges = computed.grid.flat, computed.grid.edges
    result = computed.gronwall(alpha(t), np.exp(alpha.primitive(t)) * gain(t)) + computed.growth(alpha(t))
    truth = np.exp(alpha.primitive(edges)) * (1 + gain.primitive(edges))
    assert covered(result, computed, truth)
    assert result.numbers() == pytest.approx(truth, rel=0.02)


@given(waves(-4, 4), waves(0, 3), waves(0, 3))
def test_bounds_are_monotone_in_rate_and_source(alpha: Wave, more: Wave, source: Wave) -> None:
    computed = ops()
    t = computed.grid.flat
    base = computed.gronwall(alpha(t), source(t)).log
    assert (computed.gronwall(alpha(t) + more(t), source(t)).log >= base - 1e-12).all()
    assert (computed.gronwall(alpha(t), source(t) + more(t)).log >= base - 1e-12).all()


def test_bounds_converge_to_the_truth_from_above_with_the_order_of_the_coarse_rule() -> None:
    excess = []
    for panels in (8, 16, 32):
        computed = ops(np.linspace(0, 1, panels + 1))
        t = computed.grid.flat
        alpha = 4 * np.cos(7 * t)  # y = e^(8t)
        y = computed.growth(alpha) + computed.gronwall(alpha, (8 - alpha) * np.exp(8 * t)) + computed.error
        excess.append(y.numbers()[-1] / math.exp(8) - 1)
    order = np.log2(np.array(excess[:-1]) / np.array(excess[1:]))
    assert ((order > 6 - 0.15) & (order < 6 + 0.35)).all()
    assert 0 < excess[-1] < 2e-9


@pytest.mark.parametrize("strength", [1, 8, 32])
@pytest.mark.parametrize("edges", [np.linspace(0.01, 5, 25), np.geomspace(0.01, 5, 25)], ids=["uniform", "graded"])
def test_a_rate_that_is_nearly_singular_at_the_start_is_covered(strength: int, edges: np.ndarray) -> None:
    computed = ops(edges)
    rate, ratio = strength / computed.grid.flat, edges / edges[0]
    result = computed.gronwall(rate, 1.0)
    log_growth = strength * np.log(ratio)  # and the forced part is t^c int_{t0}^t s^-c ds
    integral = np.log(ratio) if strength == 1 else -np.expm1((1 - strength) * np.log(ratio)) / (strength - 1)
    assert (computed.growth(rate).log >= log_growth - 1e-12).all()
    assert ((result + computed.error).log[1:] >= log_growth[1:] + np.log(integral[1:] * edges[0]) - 1e-12).all()


@given(reals(0.1, 1e6))
def test_a_rate_of_any_size_is_resolved_inside_its_panel(alpha: float) -> None:
    computed = ops()
    forced, damped, growth = computed.gronwall(alpha, 1.0), computed.gronwall(-alpha, 1.0), computed.growth(alpha)
    tail = math.log(-math.expm1(-alpha) / alpha)
    assert forced.log[-1] == pytest.approx(alpha + tail, rel=1e-14, abs=1e-9)
    assert damped.log[-1] == pytest.approx(tail, abs=1e-9)
    assert growth.log[-1] == pytest.approx(alpha, rel=1e-14)


def test_an_exponent_of_ten_thousand_is_an_answer() -> None:
    result = ops().gronwall(1e4, 2.0)
    assert result.numbers()[-1] == np.inf
    assert result.log10()[-1] == pytest.approx((1e4 + math.log(2e-4)) / math.log(10))


def test_an_infinite_source_is_infinite_from_its_panel_on() -> None:
    computed = ops()
    source = np.ones(computed.grid.n_nodes)
    source[3 * 7 + 2] = np.inf
    assert np.isinf(computed.gronwall(1.0, source).log[1:]).tolist() == [False] * 3 + [True] * 5


def test_an_infinite_rate_blows_up_what_is_there_and_only_that() -> None:
    computed = ops()
    rate = np.zeros(computed.grid.n_nodes)
    rate[3 * 7 + 2] = np.inf
    late = np.repeat([0.0] * 5 + [1.0] * 3, 7)
    assert np.isposinf(computed.gronwall(rate, 1.0).log).tolist() == [False] * 4 + [True] * 5
    assert np.isposinf(computed.growth(rate).log).tolist() == [False] * 4 + [True] * 5
    assert np.isposinf(computed.gronwall(np.roll(rate, -3 * 7), 1.0).log).tolist() == [False] + [True] * 8
    assert (computed.gronwall(rate, 0.0).log == -np.inf).all()
    assert computed.gronwall(rate, late).numbers() == pytest.approx([0.0] * 6 + [1 / 8, 2 / 8, 3 / 8], abs=1e-12)
    assert (computed.growth(rate) * 0.0).numbers().tolist() == [0.0] * 9


@pytest.mark.parametrize("rate", [math.nan, -math.inf])
def test_a_rate_that_is_no_rate_is_refused(rate: float) -> None:
    for operation in (lambda: ops().gronwall(rate, 1.0), lambda: ops().growth(rate)):
        with pytest.raises(ValueError, match="rate of a Gronwall bound"):
            operation()


@pytest.mark.parametrize("source", [math.nan, -1e-300])
def test_a_source_that_is_negative_or_no_number_is_refused(source: float) -> None:
    with pytest.raises(ValueError, match="source of a Gronwall bound"):
        ops().gronwall(1.0, source)


def test_a_result_cannot_be_integrated_again() -> None:
    computed = ops()
    with pytest.raises(TypeError, match="integrated again"):
        computed.gronwall(0.0, computed.growth(1.0))


@given(waves(0, 9), st.integers(1, 4))
def test_the_square_root_of_a_result_carries_the_error_exactly(source: Wave, panels: int) -> None:
    plain, rooted = (ops(np.linspace(0, 1, panels + 1)) for _ in range(2))
    total = plain.gronwall(0.0, source(plain.grid.flat))
    root = rooted.sqrt(rooted.gronwall(0.0, source(rooted.grid.flat)))
    assert (root + rooted.error).numbers() ** 2 == pytest.approx((total + plain.error).numbers(), rel=1e-12, abs=1e-300)
    assert covered(root, rooted, np.sqrt(np.maximum(source.primitive(rooted.grid.edges), 0)))


@given(reals(-3, 3))
def test_the_error_estimate_is_the_difference_of_the_nested_rules_grown_to_the_report_time(alpha: float) -> None:
    computed = ops(np.array([0.0, 0.5, 1.25]))
    source = np.where(computed.grid.flat < 0.5, 1 + computed.grid.flat**6, 1.0)
    computed.gronwall(0.0, source)
    first = abs((K7.fine - K7.coarse) @ (1 + (0.25 + 0.25 * K7.nodes) ** 6)) / 4
    assert computed.error.numbers() == pytest.approx([0, first, first], rel=1e-9)
    grown = ops(np.array([0.0, 0.5, 1.25]))
    grown.gronwall(np.where(computed.grid.flat < 0.5, 0.0, alpha), source)
    assert grown.error.numbers() == pytest.approx([0, first, first * math.exp(0.75 * alpha)], rel=1e-7)


def test_errors_of_several_terms_add_up() -> None:
    one, two = ops(np.array([0.0, 1.0])), ops(np.array([0.0, 1.0]))
    source = np.exp(5 * one.grid.flat)
    one.gronwall(0.0, source)
    two.gronwall(0.0, source)
    two.gronwall(0.0, source)
    assert one.error.numbers()[-1] > 0
    assert two.error.numbers() == pytest.approx(2 * one.error.numbers())


def test_primitive_is_exact_for_polynomials_of_degree_six_at_every_node() -> None:
    grid = TimeGrid(np.array([0.0, 0.5, 2.0]))
    for k in range(7):
        at_node, at_edge = grid.primitive(grid.flat**k)
        assert at_node.ravel() == pytest.approx(grid.flat ** (k + 1) / (k + 1), abs=1e-12)
        assert at_edge == pytest.approx(grid.edges ** (k + 1) / (k + 1), abs=1e-12)


# --- the same formulas on symbols --------------------------------------------------------------------------------


def test_symbols_give_the_textbook_formula() -> None:
    symbolic = SymbolicOps()
    a, g = sympy.symbols("a g", positive=True)
    assert sympy.simplify(symbolic.gronwall(a, g) - g * (sympy.exp(a * symbolic.t) - 1) / a) == 0
    assert sympy.simplify(symbolic.growth(2 * symbolic.t) - sympy.exp(symbolic.t**2)) == 0
    assert symbolic.sqrt(symbolic.t**2) == abs(symbolic.t)


@pytest.mark.parametrize("t0", [0, 2])
def test_symbols_and_numbers_agree(t0: int) -> None:
    symbolic, computed = SymbolicOps(t0), ops(t0 + UNIT)
    t, nodes = symbolic.t, computed.grid.flat
    for exact, number in (
        (symbolic.gronwall(1 / (1 + t), t), computed.gronwall(1 / (1 + nodes), nodes)),
        (symbolic.growth(t), computed.growth(nodes)),
    ):
        values = np.array([float(exact.subs(t, sympy.Float(x))) for x in computed.grid.edges])
        assert number.numbers() == pytest.approx(values, rel=1e-8, abs=1e-14)
        assert covered(number, computed, values)


# --- quantities at an instant ------------------------------------------------------------------------------------

UNEVEN = np.array([0.5, 0.7, 1.5, 2.0])


@given(st.lists(reals(-3, 3), min_size=5, max_size=5))
def test_polynomials_of_degree_four_are_interpolated_exactly_and_without_an_error_estimate(c: list[float]) -> None:
    computed = ops(UNEVEN)

    def value(t: np.ndarray) -> np.ndarray:
        return 100 + np.polynomial.polynomial.polyval(t - 1, c)

    result = computed.now(value(computed.grid.flat))
    assert result.numbers() == pytest.approx(value(UNEVEN), rel=1e-12)
    assert computed.error.numbers() == pytest.approx(0, abs=1e-10)


def test_degree_five_has_an_error_estimate_and_degree_six_no_error() -> None:
    for degree, exact in ((5, 1e-9), (6, 1e-9)):
        computed = ops(UNEVEN)
        result = computed.now(computed.grid.flat**degree)
        assert result.numbers() == pytest.approx(UNEVEN**degree, rel=exact)
        assert (computed.error.numbers() > 1e-8).all()


@given(waves(0.5, 4), st.integers(3, 16))
def test_the_error_estimate_covers_the_interpolation_of_smooth_data(wave: Wave, panels: int) -> None:
    computed = ops(np.linspace(0, 1, panels + 1))
    result = computed.now(wave(computed.grid.flat))
    gap = np.abs(result.numbers() - wave(computed.grid.edges))
    assert (gap <= computed.error.numbers() + 1e-12).all()


def test_numbers_and_values_at_the_report_times_are_taken_as_they_are() -> None:
    computed = ops(UNEVEN)
    given_there = np.array([3.0, 1.0, 4.0, 1.0])
    assert computed.now(given_there).numbers() == pytest.approx(given_there, rel=1e-14)
    assert computed.now(2.5).numbers() == pytest.approx([2.5] * 4, rel=1e-14)
    assert computed.now(given_there, 2.5, -1.0).numbers() == pytest.approx(given_there + 1.5, rel=1e-14)
    assert (computed.error.log == -np.inf).all()


def test_an_infinite_node_is_infinite_at_the_end_of_its_panel_only() -> None:
    computed = ops(UNEVEN)
    for panel, expected in ((0, [True, True, False, False]), (1, [False, False, True, False])):
        values = np.ones(computed.grid.n_nodes)
        values[7 * panel + 2] = np.inf
        assert np.isposinf(computed.now(values).log).tolist() == expected
        assert np.isposinf(computed.now(values, 1.0).log).tolist() == expected
    assert np.isfinite(computed.error.numbers()).all()


@pytest.mark.parametrize("value", [-1e-300, math.nan, np.array([1.0, -1.0, 1.0, 1.0])])
def test_a_single_part_that_is_negative_or_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="negative or NaN"):
        ops(UNEVEN).now(value)


def test_several_parts_may_be_negative_and_their_sum_is_cut_off_at_zero() -> None:
    computed = ops(UNEVEN)
    assert computed.now(-2.0, np.array([1.0, 2.0, 3.0, 4.0])).numbers() == pytest.approx([0, 0, 1, 2], abs=1e-14)
    assert (computed.now(-1.0, -2.0).log == -np.inf).all()
    with pytest.raises(ValueError, match="NaN"):
        computed.now(1.0, math.nan)


def test_the_errors_of_several_parts_add_up() -> None:
    one, two, both = ops(UNEVEN), ops(UNEVEN), ops(UNEVEN)
    f, g = np.exp(4 * one.grid.flat), np.exp(5 * one.grid.flat)
    one.now(f)
    two.now(g)
    both.now(f, g)
    assert both.error.numbers() == pytest.approx(one.error.numbers() + two.error.numbers())
    assert (both.error.numbers() > 0).all()


def test_symbols_and_numbers_agree_at_an_instant() -> None:
    symbolic, computed = SymbolicOps(0.5), ops(UNEVEN)
    t, nodes = symbolic.t, computed.grid.flat
    assert symbolic.now(t - 1) == t - 1
    for exact, number in (
        (symbolic.now(t**2), computed.now(nodes**2)),
        (symbolic.now(t, -1), computed.now(nodes, -1.0)),
    ):
        values = [float(exact.subs(t, x)) for x in UNEVEN]
        assert number.numbers() == pytest.approx(values, abs=1e-12)
