"""Constants that a specification may set: read, checked, written back, and found again among a model's constants."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.problem import specification
from theory.problems import PROBLEMS, Parameter, ProblemFamily, parse_problem

FREE = [(family, name) for family in PROBLEMS.values() for name in family.parameters]
EVERY_PARAMETER = pytest.mark.parametrize(("family", "name"), FREE, ids=lambda x: x if isinstance(x, str) else x.id)


def values(parameter: Parameter) -> st.SearchStrategy[Fraction]:
    return st.fractions(parameter.low, parameter.high, max_denominator=10**6)


def test_the_coulomb_problems_let_their_mollification_be_chosen() -> None:
    for name, default in (("anisotropic2d", "1/4"), ("rosenbluth3d", "1/20")):
        assert parse_problem(name).constants["epsilon"] == default
        problem = parse_problem(f"{name}:epsilon=1/10")
        assert (problem.constants["epsilon"], problem.kernel.epsilon) == ("1/10", 0.1)
        assert any("1/10" in note for note in problem.notes)
        assert problem.kernel.kappa == pytest.approx((problem.d - 1) * problem.kernel.strength * 206.13, rel=3e-5)


def test_the_radius_of_the_truncated_gaussian_can_be_chosen() -> None:
    problem = parse_problem("truncated2d:t0=1/2,R=3")
    assert problem.constants["R"] == "3"
    assert problem.initial.covariance()[0, 0] == pytest.approx(0.94945, abs=6e-6)  # FACTS section 1.5
    assert any("R = 3" in note for note in problem.notes)


@EVERY_PARAMETER
@given(data=st.data())
def test_a_specification_reads_back_as_the_same_problem(family: ProblemFamily, name: str, data: st.DataObject) -> None:
    value = data.draw(values(family.parameters[name]))
    problem = family(**{name: value})
    again = parse_problem(problem.spec)
    assert problem.constants[name] == str(value)
    assert (again.spec, again.constants, again.kernel) == (problem.spec, problem.constants, problem.kernel)
    v = np.random.default_rng(0).standard_normal((3, problem.d))
    assert np.array_equal(again.initial.log_density(v), problem.initial.log_density(v))


@EVERY_PARAMETER
def test_the_constants_of_a_problem_rebuild_it_on_another_window(family: ProblemFamily, name: str) -> None:
    value = (family.parameters[name].default + family.parameters[name].high) / 2
    problem = family(**{name: value})
    t0 = (problem.t0 + problem.T) / 2
    moved = family.rebuilt(t0, problem.T, problem.constants)
    assert (moved.t0, moved.T, moved.constants) == (t0, problem.T, problem.constants)
    assert family.rebuilt(t0, problem.T, {}).constants == family().constants
    assert moved.constants != family().constants


@EVERY_PARAMETER
def test_the_ends_of_a_range_are_allowed_and_what_lies_beyond_is_not(family: ProblemFamily, name: str) -> None:
    free = family.parameters[name]
    for value in (free.low, free.high):
        assert Fraction(family(**{name: value}).constants[name]) == value
    for value in (free.low - Fraction(1, 10**9), free.high + Fraction(1, 10**9)):
        with pytest.raises(
            ValueError, match=rf"^{name} = \S+ is not between {free.low} and {free.high} \({free.meaning}"
        ):
            family(**{name: value})


@pytest.mark.parametrize("family", PROBLEMS.values(), ids=list(PROBLEMS))
def test_families_and_their_problems_agree_on_what_is_free(family: ProblemFamily) -> None:
    problem = family()
    assert problem.parameters == tuple(family.parameters)
    for name, free in family.parameters.items():
        assert Fraction(problem.constants[name]) == free.default
        assert free.low <= free.default <= free.high


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("anisotropic2d:mu=1", "cannot read 'mu=1'; anisotropic2d takes t0, T, epsilon"),
        ("bkw2d:epsilon=1/4", "cannot read 'epsilon=1/4'; bkw2d takes t0, T"),
        ("anisotropic2d:epsilon", "cannot read 'epsilon'; write anisotropic2d:t0=1/2,T=5,epsilon=1/4 "),
        ("anisotropic2d:epsilon=small", "cannot read 'epsilon=small'; write anisotropic2d:"),
        ("anisotropic2d:epsilon=-1", "cannot read 'epsilon=-1'; write"),
        ("anisotropic2d:epsilon=1,epsilon=2", "cannot read 'epsilon=2'; write"),
        ("anisotropic2d:epsilon=1/0", "cannot read 'epsilon=1/0': division by zero"),
        ("anisotropic2d:epsilon=0", "epsilon = 0 is not between 1/1000 and 10 (mollification length)"),
        ("rosenbluth3d:epsilon=2", "epsilon = 2 is not between 1/1000 and 1 (mollification length)"),
        ("truncated2d:R=9", "R = 9 is not between 1/2 and 5 (radius"),
        ("anisotropic2d:t0=40,epsilon=1/4", "is empty"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        parse_problem(spec)
    assert message in str(caught.value)


def test_unknown_parameters_and_unreadable_constants_are_refused() -> None:
    family = PROBLEMS["anisotropic2d"]
    with pytest.raises(ValueError, match="anisotropic2d has no parameter 'mu'"):
        family(mu=Fraction(1))
    for text, why in (("a quarter", "not a fraction or a decimal"), ("1/0", "division by zero")):
        with pytest.raises(ValueError, match=f"cannot read 'epsilon={text}': {why}"):
            family.rebuilt(Fraction(0), Fraction(1), {"epsilon": text})


def test_a_specification_without_parameters_is_the_window() -> None:
    assert (
        specification("bkw2d", Fraction(1, 2), Fraction(5), {})
        == "bkw2d:t0=1/2,T=5"
        == parse_problem("bkw2d:t0=1/2").spec
    )
    assert parse_problem("rosenbluth3d").spec == "rosenbluth3d:t0=0,T=20,epsilon=1/20"
