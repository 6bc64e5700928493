"""The bound as it is printed is the bound as it is evaluated: every theorem, expression and LaTeX alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import sympy

from theory import statement
from theory.gronwall import NumericOps, SymbolicOps, TimeGrid
from theory.statement import RATE, RATE_NAME, StatementOps, evaluated, latex, printed, quantity, start
from theory.theorem import Scope, Theorem, Witness
from theory.theorems import THEOREMS

EVERY_THEOREM = pytest.mark.parametrize("theorem", THEOREMS.values(), ids=list(THEOREMS))
WITNESSES = [(t, k, w) for t in THEOREMS.values() for k, w in enumerate(t.witnesses)]
EVERY_WITNESS = pytest.mark.parametrize(
    ("theorem", "witness"),
    [pytest.param(t, w, id=f"{t.id}-{k}") for t, k, w in WITNESSES],
)
T0, T1 = 0.25, 1.0


# --- the expression ---------------------------------------------------------------------------------------------------


def on_witness(theorem: Theorem, witness: Witness, t: float) -> dict[str, float]:
    """``evaluated`` with the ingredients of a witness put in, its integrals by scipy's quadrature."""
    terms = {}
    for name, term in evaluated(theorem).items():
        for i in theorem.ingredients:
            given = witness.ingredients[i.id]
            term = term.replace(quantity(i), lambda time, given=given: sympy.sympify(given(time)))
        number = sympy.lambdify((statement.TIME, start(theorem)), term, "scipy")
        terms[name] = float(number(t, witness.t0))
    return terms


@EVERY_WITNESS
def test_the_expression_with_the_ingredients_of_a_witness_is_what_numeric_ops_gives(
    theorem: Theorem, witness: Witness
) -> None:
    ops = NumericOps(TimeGrid(np.linspace(witness.t0, witness.T, 9)))

    def values(function: Callable[[Any], Any]) -> Any:
        nodal = np.array([float(sympy.sympify(function(sympy.Float(t)))) for t in ops.grid.flat])
        return float(nodal[0]) if np.ptp(nodal) == 0 else nodal

    terms = theorem.terms(ops, {k: values(f) for k, f in witness.ingredients.items()})
    wanted = {name: float(term.numbers()[-1]) for name, term in terms.items()}
    assert on_witness(theorem, witness, witness.T) == pytest.approx(wanted, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(
    ("theorem", "witness"),
    # the integral of S4's second witness takes sympy a minute; tests/contracts hold SymbolicOps against NumericOps
    [pytest.param(t, w, id=f"{t.id}-{k}") for t, k, w in WITNESSES if (t.id, k) != ("stability_chi2", 1)],
)
def test_the_expression_with_the_ingredients_of_a_witness_is_what_symbolic_ops_gives(
    theorem: Theorem, witness: Witness
) -> None:
    t = witness.t0 + 0.7 * (witness.T - witness.t0)
    ops = SymbolicOps(witness.t0)
    terms = theorem.terms(ops, {k: sympy.sympify(f(ops.t)) for k, f in witness.ingredients.items()})
    wanted = {name: float(sympy.sympify(term).subs(ops.t, sympy.Float(t, 30)).evalf()) for name, term in terms.items()}
    assert list(evaluated(theorem)) == list(terms)
    assert on_witness(theorem, witness, t) == pytest.approx(wanted, rel=1e-8, abs=1e-12)


# --- the LaTeX, read by a reader of its own ---------------------------------------------------------------------------

Value = Callable[[Mapping[str, float], str], float]  # of the variables, and the one at which ingredients are taken
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass
class Reader:
    """Evaluates what ``latex`` prints: sums, products side by side, powers, roots, fractions, integrals."""

    text: str
    quantities: Mapping[str, Callable[[float], float]]

    def read(self) -> Value:
        value = self.sum()
        assert not self.text.strip(), f"left over: {self.text}"
        return value

    def at(self, *openings: str) -> str:
        """The opening found at the start of the text, which is then consumed; or nothing."""
        self.text = self.text.lstrip(" ")
        found = next((o for o in openings if self.text.startswith(o)), "")
        self.text = self.text[len(found) :]
        return found

    def need(self, opening: str) -> None:
        assert self.at(opening), f"{opening} expected in {self.text}"

    def sum(self) -> Value:
        parts = [self.product(-1.0 if self.at("-") else 1.0)]
        while sign := self.at("+", "-"):
            parts.append(self.product(-1.0 if sign == "-" else 1.0))
        return lambda v, now: math.fsum(part(v, now) for part in parts)

    def product(self, sign: float) -> Value:
        factors = [self.factor()]
        while self.text.strip() and not re.match(r" *(?:[+}\-,]|\\right|\\,d)", self.text):
            factors.append(self.factor())
        return lambda v, now: sign * math.prod(factor(v, now) for factor in factors)

    def factor(self) -> Value:
        base = self.atom()
        if not self.at("^{"):
            return base
        power = self.closed("}")
        return lambda v, now: base(v, now) ** power(v, now)

    def closed(self, end: str) -> Value:
        value = self.sum()
        self.need(end)
        return value

    def atom(self) -> Value:
        symbols = sorted(self.quantities, key=len, reverse=True)
        if symbol := self.at(*symbols):
            return lambda v, now: self.quantities[symbol](v[now])
        if number := re.match(r" *([0-9]+)", self.text):
            self.text = self.text[number.end() :]
            return lambda v, now: float(number[1])
        opening = self.at(r"\left(", r"\sqrt{", r"\frac{", r"\exp\left(", r"\max\left(0,", r"\int_{")
        if opening == r"\frac{":
            above = self.closed("}")
            self.need("{")
            below = self.closed("}")
            return lambda v, now: above(v, now) / below(v, now)
        if opening == r"\int_{":
            return self.integral()
        assert opening, f"no atom: {self.text}"
        inside = self.closed("}" if opening == r"\sqrt{" else r"\right)")
        functions: dict[str, Callable[[float], float]] = {
            r"\left(": float, r"\sqrt{": math.sqrt, r"\exp\left(": math.exp, r"\max\left(0,": lambda x: max(0.0, x),
        }  # fmt: skip
        return lambda v, now: functions[opening](inside(v, now))

    def integral(self) -> Value:
        low, _, rest = self.text.partition("}^{")
        high, _, self.text = rest.partition("}")
        body = self.product(1.0)
        self.need(r"\,d")
        variable = self.at(r"\tau", r"\sigma", "r", "u")

        def value(v: Mapping[str, float], now: str) -> float:
            half = (v[high] - v[low]) / 2
            nodes = v[low] + half * (1 + NODES)
            return half * math.fsum(w * body({**v, variable: x}, variable) for w, x in zip(WEIGHTS, nodes, strict=True))

        return value


def lines(theorem: Theorem, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random ingredients a + b time > 0, constant where they are given at the report times, id -> (a, b)."""
    return {i.id: rng.uniform(0.2, 1.0, 2) * (1, not i.at_report) for i in theorem.ingredients}


def printed_and_computed(
    theorem: Theorem, texts: Mapping[str, str], **fixed: float
) -> tuple[dict[str, float], dict[str, float]]:
    given = {**lines(theorem, np.random.default_rng(7)), **{k: np.array([x, 0.0]) for k, x in fixed.items()}}
    # what a model starts with is one number
    given = {k: ab * (1, 0) if k.startswith("initial") else ab for k, ab in given.items()}
    quantities: dict[str, Any] = {
        i.symbol: lambda t, ab=given[i.id]: float(ab[0] + ab[1] * t) for i in theorem.ingredients
    }
    variables = {"t": T1, start(theorem).name: T0}
    texts = {name: text.replace(r"\,\exp", r" \exp") for name, text in texts.items()}  # a thin space
    if rate := texts.pop(RATE_NAME, ""):
        value = Reader(rate.removeprefix(f"{RATE} = "), quantities).read()
        quantities[RATE] = lambda t: value({"t": t}, "t")
    read = {name: Reader(text, quantities).read()(variables, "t") for name, text in texts.items()}

    ops = NumericOps(TimeGrid(np.linspace(T0, T1, 7)))
    values = {k: float(a) if b == 0 else a + b * ops.grid.flat for k, (a, b) in given.items()}
    computed = {name: float(value.numbers()[-1]) for name, value in theorem.terms(ops, values).items()}
    return read, computed


@EVERY_THEOREM
def test_the_printed_terms_are_the_computed_terms(theorem: Theorem) -> None:
    for texts in ({name: latex(term) for name, term in evaluated(theorem).items()}, printed(theorem)):
        read, computed = printed_and_computed(theorem, texts)
        assert read == pytest.approx(computed, rel=1e-6)
        assert list(read) == list(computed)


@pytest.mark.parametrize(
    ("name", "objective"),
    [("lemma2", "ism_objective_exact_law"), ("thm4", "ism_objective"), ("thm4_fisher", "ism_objective")],
)
def test_a_negative_sum_is_printed_with_the_zero_it_is_replaced_by(name: str, objective: str) -> None:
    theorem = THEOREMS[name]
    read, computed = printed_and_computed(theorem, printed(theorem), **{objective: -5.0})
    assert read == pytest.approx(computed, rel=1e-6)
    assert next(iter(read.values())) == 0


def test_a_long_rate_is_written_once() -> None:
    shown = printed(THEOREMS["thm5"])
    assert "L_A" not in shown["trajectories"]
    assert shown[RATE_NAME].startswith(rf"{RATE} = 2 L_A S")
    assert RATE_NAME not in printed(THEOREMS["thm1_direct"])
    assert not any(RATE in i.symbol + t.statement for t in THEOREMS.values() for i in t.ingredients)


def twice(function: Any, time: Any) -> Any:
    return 2 * function(time)


def faulty(theorem: Theorem, **changes: Any) -> Theorem:
    """The theorem with a formula that takes other values than it is given."""
    formula = theorem.formula
    return replace(
        theorem,
        formula=lambda ops, **v: formula(ops, **{k: changes[k](x) if k in changes else x for k, x in v.items()}),
    )


@EVERY_THEOREM
def test_a_formula_changed_in_one_ingredient_is_printed_and_found(theorem: Theorem) -> None:
    """The text follows the formula (no stale statement), and each ingredient in it matters to the comparison."""
    for i in theorem.ingredients:
        other = faulty(theorem, **{i.id: lambda x: x * 1.01})
        assert printed(other) != printed(theorem)
        read, computed = printed_and_computed(theorem, {n: latex(e) for n, e in evaluated(theorem).items()})
        given = {n: latex(e.replace(quantity(i), partial(twice, quantity(i)))) for n, e in evaluated(theorem).items()}
        doubled, _ = printed_and_computed(theorem, given)
        assert read == pytest.approx(computed, rel=1e-6)
        assert doubled != pytest.approx(computed, rel=1e-4)


@EVERY_THEOREM
def test_the_text_is_the_same_every_time_and_names_every_ingredient(theorem: Theorem) -> None:
    text = [latex(term) for term in evaluated(theorem).values()]
    statement._evaluated.cache_clear()
    assert [latex(term) for term in evaluated(theorem).values()] == text
    assert all(any(i.symbol in line for line in text) for i in theorem.ingredients)


def test_theorem_5_shows_the_initial_error_in_its_statement_and_as_evaluated() -> None:
    assert "e(t_1)^2" in THEOREMS["thm5"].statement
    assert r"\left(e(t_1)\right)^{2}\,\exp\left(\int_{t_1}^{t}" in latex(evaluated(THEOREMS["thm5"])["trajectories"])


# --- symbols that could be misread ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "power", "factor"),
    [
        (r"\Lambda", r"\Lambda^{2}", r"\Lambda"),
        (r"L_{\tilde s}", r"L_{\tilde s}^{2}", r"L_{\tilde s}"),
        ("e(t_1)", r"\left(e(t_1)\right)^{2}", "e(t_1)"),
        (r"J(\tilde s)-J(s)", r"\left(J(\tilde s)-J(s)\right)^{2}", r"\left(J(\tilde s)-J(s)\right)"),
        (r"\|U-\tilde U\|", r"\left(\|U-\tilde U\|\right)^{2}", r"\|U-\tilde U\|"),
        ("h^2m_2/d", r"\left(h^2m_2/d\right)^{2}", r"\left(h^2m_2/d\right)"),
        (r"\int e^2", r"\left(\int e^2\right)^{2}", r"\left(\int e^2\right)"),
        ("E R", r"\left(E R\right)^{2}", r"\left(E R\right)"),
    ],
)
def test_a_symbol_of_several_signs_is_bracketed_where_it_could_be_misread(symbol: str, power: str, factor: str) -> None:
    one = sympy.Function(symbol, real=True)(statement.TIME)
    assert latex(one**2) == power
    assert factor in latex(one * sympy.Function("~z", real=True)(statement.TIME)).split(" ~z")[0]
    assert r"\left(" in latex(one * sympy.Symbol("q")) or r"\left(" not in factor


@EVERY_THEOREM
def test_a_variable_of_integration_is_never_the_symbol_of_an_ingredient(theorem: Theorem) -> None:
    bound = {latex(v) for term in evaluated(theorem).values() for i in term.atoms(sympy.Integral) for v in i.variables}
    assert not bound & {i.symbol for i in theorem.ingredients}


def test_two_ingredients_of_one_symbol_are_refused() -> None:
    theorem = THEOREMS["stability_w2"]
    first, second, *rest = theorem.ingredients
    with pytest.raises(ValueError, match="share a symbol"):
        evaluated(replace(theorem, ingredients=(first, replace(second, symbol=first.symbol), *rest)))


def test_the_result_of_an_integral_is_not_integrated_again() -> None:
    tau, sigma, since = sympy.symbols("tau sigma t_0", real=True)
    ops = StatementOps(since, tau, sigma)
    with pytest.raises(TypeError, match="cannot be integrated again"):
        ops.gronwall(0, ops.gronwall(0, sympy.Function("g")(statement.TIME)))


def test_a_window_starts_at_t1_and_a_model_at_t0() -> None:
    for theorem in THEOREMS.values():
        assert (start(theorem).name == "t_0") == (theorem.scope is Scope.MODEL)
