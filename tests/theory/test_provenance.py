"""A number never travels without its claim, and no claim is made that cannot be true."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.provenance import RIGOR_MEANING, Estimate, Rigor, Side, exact, total_delta, weakest

rigors, sides = st.sampled_from(list(Rigor)), st.sampled_from(list(Side))


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    return Estimate(draw(st.floats(0, 10)), draw(sides), draw(rigors), "drawn", draw(st.floats(0, 0.99)))


@pytest.mark.parametrize("value", [math.nan, np.array([1.0, math.nan])])
@pytest.mark.parametrize("side", list(Side))
def test_nan_is_refused_on_every_side(value: float, side: Side) -> None:
    with pytest.raises(ValueError, match="NaN"):
        Estimate(value, side, Rigor.EXACT, "m")


@pytest.mark.parametrize("side", [Side.LOWER, Side.BOTH])
def test_an_infinite_value_is_no_lower_bound(side: Side) -> None:
    with pytest.raises(ValueError, match="infinite"):
        Estimate(np.array([1.0, math.inf]), side, Rigor.EXACT, "m")


def test_infinity_is_a_legal_upper_bound() -> None:
    assert Estimate(math.inf, Side.UPPER, Rigor.EXACT, "m").largest() == math.inf


@pytest.mark.parametrize("delta", [-1e-9, 1.0, math.nan])
def test_failure_probability_outside_the_unit_interval_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        Estimate(1.0, Side.UPPER, Rigor.STATISTICAL, "m", delta)


def test_rigor_is_ordered_as_documented_and_every_label_has_a_meaning() -> None:
    order = [Rigor.EXACT, Rigor.VERIFIED, Rigor.STATISTICAL, Rigor.NUMERICAL, Rigor.SAMPLED, Rigor.ASSUMED]
    assert sorted(Rigor, reverse=True) == order
    assert set(RIGOR_MEANING) == set(Rigor)
    assert [r.label for r in order[:2]] == ["exact", "verified"]


@given(st.lists(estimates(), min_size=1))
def test_combining_takes_the_weakest_rigor_and_adds_the_deltas(parts: list[Estimate]) -> None:
    assert weakest(parts) == min(p.rigor for p in parts)
    assert total_delta(parts) == pytest.approx(min(1.0, sum(p.delta for p in parts)))
    assert 0 <= total_delta(parts) <= 1


def test_nothing_combines_to_exact_without_doubt() -> None:
    assert (weakest([]), total_delta([])) == (Rigor.EXACT, 0.0)


@pytest.mark.parametrize(
    ("have", "need", "serves"),
    [
        (Side.UPPER, Side.UPPER, True),
        (Side.LOWER, Side.UPPER, False),
        (Side.UPPER, Side.LOWER, False),
        (Side.BOTH, Side.LOWER, True),
        (Side.BOTH, Side.UPPER, True),
        (Side.NONE, Side.UPPER, False),
        (Side.NONE, Side.LOWER, False),
        (Side.LOWER, Side.NONE, True),
    ],
)
def test_a_sampled_maximum_cannot_serve_as_an_upper_bound(have: Side, need: Side, serves: bool) -> None:
    assert have.serves(need) is serves


def test_scalars_become_floats_and_arrays_keep_their_last_and_largest() -> None:
    assert type(Estimate(np.float64(2), Side.NONE, Rigor.SAMPLED, "m").value) is float
    series = exact(np.array([1.0, 3.0, 2.0]), "m", oracle=True)
    assert (series.last(), series.largest(), series.uses_exact_solution) == (2.0, 3.0, True)
    assert (series.side, series.rigor, series.delta) == (Side.BOTH, Rigor.EXACT, 0.0)
