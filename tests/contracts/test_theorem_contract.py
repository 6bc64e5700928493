"""What every registered theorem must satisfy; a new theorem is picked up by being registered."""

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from certify.judge import TITLES
from tests.strategies import Wave, reals, waves
from theory.gronwall import LogValue, NumericOps, SymbolicOps, TimeGrid
from theory.provenance import Side
from theory.theorem import Ingredient, Scope, Theorem, Witness
from theory.theorems import THEOREMS

EVERY_THEOREM = pytest.mark.parametrize("theorem", THEOREMS.values(), ids=list(THEOREMS))
EVERY_WITNESS = pytest.mark.parametrize(
    ("theorem", "witness"),
    [
        pytest.param(theorem, witness, id=f"{theorem.id}-{k}")
        for theorem in THEOREMS.values()
        for k, witness in enumerate(theorem.witnesses)
    ],
)
MEASURABLE = set(TITLES)


def lives_at_edges(ingredient: Ingredient) -> bool:
    """Given at the report times, or at the start alone; everything else is given at the nodes."""
    return ingredient.at_report or ingredient.id.startswith("initial_")


def bound(theorem: Theorem, ops: NumericOps, values: dict[str, Any]) -> LogValue:
    return sum(theorem.terms(ops, values).values(), start=LogValue.of(0.0))


def numbers(f: Any, t: np.ndarray) -> np.ndarray:
    symbol = sympy.Symbol("t", real=True)
    values = sympy.lambdify(symbol, sympy.sympify(f(symbol)), "numpy")(t)
    return np.broadcast_to(np.asarray(values, dtype=np.float64), t.shape)


def on_witness(theorem: Theorem, witness: Witness, panels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bound without and with its error estimate, and the truth, at the report times after the start."""
    ops = NumericOps(TimeGrid(np.linspace(witness.t0, witness.T, panels + 1)))
    edges = ops.grid.edges
    at_edges = {i.id for i in theorem.ingredients if lives_at_edges(i)}
    values = {k: numbers(f, edges if k in at_edges else ops.grid.flat) for k, f in witness.ingredients.items()}
    result = bound(theorem, ops, values)
    return result.numbers()[1:], (result + ops.error).numbers()[1:], numbers(witness.truth, edges[1:])


@EVERY_WITNESS
def test_the_bound_is_never_below_the_truth_of_a_witness(theorem: Theorem, witness: Witness) -> None:
    _, covered, truth = on_witness(theorem, witness, 8)
    assert (covered >= truth * (1 - 1e-12)).all()


@EVERY_WITNESS
def test_the_bound_is_the_truth_of_a_sharp_witness(theorem: Theorem, witness: Witness) -> None:
    plain, covered, truth = on_witness(theorem, witness, 8)
    if witness.sharp:
        assert plain == pytest.approx(truth, rel=1e-9, abs=1e-12)
        assert covered == pytest.approx(truth, rel=1e-9, abs=1e-12)
    else:
        assert (covered > truth * (1 + 1e-6)).all(), "declare it sharp"


@EVERY_WITNESS
def test_a_witness_gives_exactly_the_declared_ingredients(theorem: Theorem, witness: Witness) -> None:
    assert set(witness.ingredients) == {i.id for i in theorem.ingredients}


@EVERY_WITNESS
def test_the_formula_on_symbols_agrees_with_the_numbers_and_is_covered_by_them(
    theorem: Theorem, witness: Witness
) -> None:
    ops = SymbolicOps(witness.t0)
    values = {k: sympy.sympify(f(ops.t)) for k, f in witness.ingredients.items()}
    symbolic = sum(theorem.terms(ops, values).values(), start=sympy.Integer(0))
    for panels, tolerance in ((1, 1e-2), (8, 1e-8)):
        some = [panels // 2 - 1, panels - 1]
        times = np.linspace(witness.t0, witness.T, panels + 1)[1:][some]
        exact = np.array([float(symbolic.subs(ops.t, sympy.Float(x, 30)).evalf()) for x in times])
        plain, covered = (values[some] for values in on_witness(theorem, witness, panels)[:2])
        assert plain == pytest.approx(exact, rel=tolerance, abs=1e-12)
        assert (covered >= exact * (1 - 1e-12)).all()


@EVERY_THEOREM
def test_some_witness_is_sharp(theorem: Theorem) -> None:
    assert any(w.sharp for w in theorem.witnesses)


@EVERY_THEOREM
def test_a_theorem_without_a_witness_cannot_be_made(theorem: Theorem) -> None:
    with pytest.raises(ValueError, match="no witness, no registration"):
        replace(theorem, witnesses=())


@EVERY_THEOREM
def test_formula_parameters_are_the_declared_ingredients(theorem: Theorem) -> None:
    declared = [i.id for i in theorem.ingredients]
    parameters = list(inspect.signature(theorem.formula).parameters.values())[1:]
    named = {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    rest = {p.kind for p in parameters} - {inspect.Parameter.KEYWORD_ONLY}
    assert len(set(declared)) == len(declared)
    assert all(p.default is inspect.Parameter.empty for p in parameters), "no constant of a theorem has a default"
    assert named <= set(declared)
    assert rest == {inspect.Parameter.VAR_KEYWORD} if named < set(declared) else rest == set()


@EVERY_THEOREM
def test_a_missing_ingredient_is_an_error_that_names_it(theorem: Theorem) -> None:
    values = {i.id: 1.0 for i in theorem.ingredients}
    for ingredient in values:
        with pytest.raises(KeyError, match=ingredient):
            theorem.terms(NumericOps(TimeGrid(np.array([0.0, 1.0]))), {k: 1.0 for k in values if k != ingredient})


@EVERY_THEOREM
@given(st.data())
def test_the_bound_moves_with_every_ingredient_in_the_declared_direction(theorem: Theorem, data: st.DataObject) -> None:
    ops = NumericOps(TimeGrid(np.linspace(0, 1, 5)))

    def draw(ingredient: Ingredient) -> Any:
        if lives_at_edges(ingredient):
            return data.draw(reals(0.1, 2))
        wave: Wave = data.draw(waves(0.1, 1.5))
        return wave(ops.grid.flat)

    values = {i.id: draw(i) for i in theorem.ingredients}
    before = bound(theorem, ops, values).log[1:]
    for ingredient in theorem.ingredients:
        after = bound(theorem, ops, values | {ingredient.id: values[ingredient.id] + data.draw(reals(0.2, 1))}).log[1:]
        assert (ingredient.monotone * (after - before) > 0).all(), ingredient.id


@EVERY_THEOREM
def test_at_the_start_only_what_was_there_at_the_start_is_left(theorem: Theorem) -> None:
    if theorem.scope is Scope.INSTANT:
        pytest.skip("no integral over time")
    ops = NumericOps(TimeGrid(np.linspace(0, 1, 5)))
    values = {i.id: 0.0 if lives_at_edges(i) else 1.0 for i in theorem.ingredients}
    assert bound(theorem, ops, values).numbers()[0] == 0


@EVERY_THEOREM
def test_an_infinite_ingredient_makes_the_bound_infinite_not_wrong(theorem: Theorem) -> None:
    ops = NumericOps(TimeGrid(np.linspace(0, 1, 5)))
    for ingredient in theorem.ingredients:
        if ingredient.needed is Side.UPPER:
            values = {i.id: np.inf if i is ingredient else 1.0 for i in theorem.ingredients}
            assert (bound(theorem, ops, values).numbers()[1:] == np.inf).all()


@EVERY_THEOREM
def test_the_declaration_is_complete(theorem: Theorem) -> None:
    assert theorem.bounds in MEASURABLE
    assert all((theorem.title, theorem.source, theorem.statement, theorem.hypotheses))
    assert len({h.id for h in theorem.hypotheses}) == len(theorem.hypotheses)
    for ingredient in theorem.ingredients:
        assert ingredient.symbol
        assert ingredient.meaning
        assert ingredient.needed is (Side.UPPER if ingredient.monotone == 1 else Side.LOWER)


def test_a_direction_is_up_or_down() -> None:
    with pytest.raises(ValueError, match=r"\+1 or -1"):
        Ingredient("x", "x", "x", monotone=0)
