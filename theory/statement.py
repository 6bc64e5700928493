r"""The bound of a theorem as an unevaluated expression, generated from the registered formula that gives its numbers.

Every ingredient is a function of time, applied to the time at which the formula takes it: to the variable of the
integral it stands in, else to t. ``latex`` prints it as its symbol alone, as statements do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter

from theory.theorem import Ingredient, Scope, Terms, Theorem

TIME = sympy.Symbol("t", real=True)
_VARIABLES = {"tau": r"\tau", "sigma": r"\sigma", "r": "r", "u": "u"}  # name -> LaTeX, in order of preference


RATE, RATE_NAME = r"\beta", "with the rate"


class StatementOps:
    """Formulas (``theory.gronwall.Ops``) that keep their integrals, in the time symbol ``TIME``.

    Parameters
    ----------
    start : sympy.Symbol
        Start of the window.
    outer, inner : sympy.Symbol
        Variables of the integral of a source and of the integral of a rate.
    """

    def __init__(self, start: sympy.Symbol, outer: sympy.Symbol, inner: sympy.Symbol) -> None:
        self.start, self.outer, self.inner = start, outer, inner

    def _growth(self, alpha: Any, since: sympy.Expr) -> sympy.Expr:
        rate = _instant(alpha).subs(TIME, self.inner)
        return sympy.Integer(1) if rate == 0 else sympy.exp(sympy.Integral(rate, (self.inner, since, TIME)))

    def gronwall(self, alpha: Any, source: Any) -> sympy.Expr:
        """Integral over [start, t] of exp(int_tau^t alpha) source(tau)."""
        integrand = self._growth(alpha, self.outer) * _instant(source).subs(TIME, self.outer)
        return sympy.Integral(integrand, (self.outer, self.start, TIME))

    def growth(self, alpha: Any) -> sympy.Expr:
        """exp(int alpha) over [start, t]."""
        return self._growth(alpha, self.start)

    def now(self, *parts: Any) -> sympy.Expr:
        """A quantity at t; of several, the non-negative part of their sum."""
        total = sympy.Add(*parts)
        return total if len(parts) == 1 else sympy.Max(0, total)

    def sqrt(self, x: Any) -> sympy.Expr:
        """Square root."""
        return sympy.sqrt(x)


def _instant(x: Any) -> sympy.Expr:
    """What may stand under an integral over time: no result of one, as for ``NumericOps``."""
    expression = sympy.sympify(x)
    if expression.has(sympy.Integral):
        raise TypeError("a result of an integral over time cannot be integrated again")
    return expression


def quantity(ingredient: Ingredient) -> Any:
    """The function of time an ingredient is in ``evaluated``; its name is the ingredient's LaTeX symbol."""
    return sympy.Function(ingredient.symbol, real=True)


def start(theorem: Theorem) -> sympy.Symbol:
    """Start of the integrals: t_0 of the model or t_1 of the judged window."""
    return sympy.Symbol("t_0" if theorem.scope is Scope.MODEL else "t_1", real=True)


def evaluated(theorem: Theorem) -> dict[str, sympy.Expr]:
    """Term name -> the term as its formula evaluates it, in ``TIME``, ``start(theorem)`` and every ``quantity``.

    Raises
    ------
    ValueError
        If two ingredients share a symbol: the printed formula would not say which is meant.
    """
    return dict(_evaluated(theorem.formula, theorem.ingredients, start(theorem)))


@lru_cache(maxsize=128)
def _evaluated(
    formula: Callable[..., Terms], ingredients: tuple[Ingredient, ...], since: sympy.Symbol
) -> Mapping[str, sympy.Expr]:
    symbols = [i.symbol for i in ingredients]
    if len(set(symbols)) < len(symbols):
        raise ValueError("two ingredients of a theorem share a symbol")
    # a variable of integration must not look like an ingredient: the tail of S1-S4 is called tau
    outer, inner = [sympy.Symbol(name, real=True) for name, shown in _VARIABLES.items() if shown not in symbols][:2]
    ops = StatementOps(since, outer, inner)
    terms = formula(ops, **{i.id: quantity(i)(TIME) for i in ingredients})
    return {name: sympy.sympify(term) for name, term in terms.items()}


_GROUPS = re.compile(r"\\\|.*?\\\||\{[^{}]*\}|\([^()]*\)|\[[^\[\]]*\]")
_LETTER = re.compile(r"(?:\\[A-Za-z]+|[A-Za-z])(?:_[A-Za-z0-9]|_\{[^{}]*\})?|\\(?:tilde|mathcal) ?[A-Za-z]")


def _is_loose(symbol: str) -> bool:
    """Whether a factor beside a symbol could be read into it: a sum, a quotient, an integral, an expectation."""
    while (inside := _GROUPS.sub("", symbol)) != symbol:
        symbol = inside
    return any(sign in symbol for sign in "+-/") or symbol.startswith((r"\int", "E ", "E_", "E\\"))


class _Printer(LatexPrinter):  # type: ignore[misc]  # sympy has no types
    """LaTeX with ingredients as their symbols and the exponents of Gronwall factors on the line."""

    def _print_Symbol(self, expr: sympy.Symbol, style: str = "plain") -> str:  # noqa: ARG002  - sympy's signature
        return _VARIABLES.get(expr.name, str(expr.name))

    def _print_Function(self, expr: Any, exp: str | None = None) -> str:
        if not isinstance(expr, AppliedUndef):
            return str(super()._print_Function(expr, exp))
        symbol = str(expr.func.__name__)
        if exp is None:
            return symbol
        base = symbol if _LETTER.fullmatch(symbol) else rf"\left({symbol}\right)"
        return f"{base}^{{{exp}}}"

    def _print_ExpBase(self, expr: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\exp{power}\left({self._print(expr.exp)}\right)"

    def _print_Integral(self, expr: Any) -> str:
        ((variable, low, high),) = expr.limits
        body = self._print(expr.function)
        alone = isinstance(expr.function, AppliedUndef)
        if expr.function.is_Add or body.startswith("-") or (alone and _is_loose(body)):
            body = rf"\left({body}\right)"
        return rf"\int_{{{self._print(low)}}}^{{{self._print(high)}}} {body}\,d{self._print(variable)}"

    def _needs_mul_brackets(self, expr: Any, first: bool = False, last: bool = False) -> bool:
        if isinstance(expr, AppliedUndef):
            return _is_loose(expr.func.__name__)
        if isinstance(expr, sympy.exp | sympy.Pow):
            return False
        return bool(super()._needs_mul_brackets(expr, first=first, last=last))


def latex(expression: sympy.Expr) -> str:
    """LaTeX of a term of ``evaluated``, times of the ingredients left out; the same text on every call."""
    return str(_Printer({"order": None}).doprint(expression)).replace(r" \exp", r"\,\exp")


def printed(theorem: Theorem) -> dict[str, str]:
    """Term name -> LaTeX; a rate that is a sum is called ``RATE`` and written out once, as the last entry."""
    terms = evaluated(theorem)
    growths = {e for term in terms.values() for e in term.atoms(sympy.exp)}
    rates = {_rate(i) for e in growths for i in e.exp.atoms(sympy.Integral)}
    rate = rates.pop() if len(rates) == 1 else sympy.Integer(0)
    if not rate.is_Add:
        return {name: latex(term) for name, term in terms.items()}
    called = sympy.Function(RATE, real=True)

    def same(e: sympy.Basic) -> bool:
        return isinstance(e, sympy.Integral) and _rate(e) == rate

    def short(e: sympy.Basic) -> sympy.Expr:
        return sympy.Integral(called(e.variables[0]), *e.limits)

    shown = {name: latex(term.replace(same, short)) for name, term in terms.items()}
    return {**shown, RATE_NAME: f"{RATE} = {latex(rate)}"}


def _rate(integral: sympy.Integral) -> sympy.Expr:
    """The integrand at t."""
    return integral.function.subs(integral.variables[0], TIME)
