"""Gronwall bounds y' <= alpha(t) y + g(t) with time-dependent data, in log space, with their quadrature error.

y(t) <= y(t0) exp(int_{t0}^t alpha) + int_{t0}^t exp(int_tau^t alpha) g(tau) dtau.

The same formulas run on numbers (``NumericOps``, a panel-wise Gauss-Kronrod rule in time) and on sympy expressions
(``SymbolicOps``), so that a theorem is written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import sympy

from theory.provenance import Array
from theory.quadrature import K7, K15, on_panels


@dataclass(frozen=True)
class TimeGrid:
    """Report times and the quadrature nodes between them.

    Parameters
    ----------
    edges : ndarray (n_panels + 1,)
        Times at which bounds are reported; the first is the start of the window.
    """

    edges: Array
    nodes: Array = field(init=False, repr=False)
    fine: Array = field(init=False, repr=False)
    coarse: Array = field(init=False, repr=False)
    _partial: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nodes, fine, coarse = on_panels(K7, self.edges)
        for name, value in (("nodes", nodes), ("fine", fine), ("coarse", coarse)):
            object.__setattr__(self, name, value)
        # exact on polynomials of degree 6: row j integrates the interpolant from the panel's start to node j
        object.__setattr__(self, "_partial", _interpolant(K7.nodes, K7.nodes)[1])

    @property
    def flat(self) -> Array:
        """All quadrature nodes in time order, shape (n_panels * 7,)."""
        return self.nodes.ravel()

    @property
    def n_nodes(self) -> int:
        """Number of quadrature nodes."""
        return self.nodes.size

    def primitive(self, values: Array) -> tuple[Array, Array]:
        """Integral of nodal values from the start to every node (n_panels, 7) and to every edge (n_panels + 1,)."""
        values = values.reshape(self.nodes.shape)
        ends = np.concatenate([[0.0], np.cumsum(np.sum(self.fine * values, axis=1))])
        half = np.diff(self.edges)[:, None] / 2
        inside = half * (values @ self._partial.T)
        return ends[:-1, None] + inside, ends


def _interpolant(nodes: Array, x: Array) -> tuple[Array, Array]:
    """Matrices that take values at ``nodes`` to their interpolant at x, and to its integral from -1 to x."""
    n = len(nodes)
    inverse, powers = np.linalg.inv(np.vander(nodes, n, increasing=True)), np.arange(1, n + 1)
    return np.vander(x, n, increasing=True) @ inverse, (x[:, None] ** powers - (-1.0) ** powers) / powers @ inverse


@dataclass(frozen=True)
class _Refined:
    """A panel cut dyadically towards both ends, so that e^(rate * time) is resolved however large the rate.

    ``log_fine`` and ``log_coarse``: weights on [-1, 1]; ``fine_values`` and ``coarse_values``: from the panel's nodes
    to the interpolants of the fine and of the coarse rule; ``primitive``: to the integral of the fine one.
    """

    log_fine: Array
    log_coarse: Array
    fine_values: Array
    coarse_values: Array
    primitive: Array


@lru_cache(maxsize=64)
def _refined(levels: int) -> _Refined:
    towards_start = -1 + 2.0 ** np.arange(1 - levels, 1)
    edges = np.concatenate([[-1.0], towards_start, -towards_start[-2::-1], [1.0]]) if levels else np.array([-1.0, 1.0])
    x, fine, coarse = (part.ravel() for part in on_panels(K15, edges))
    fine_values, primitive = _interpolant(K7.nodes, x)
    used = K7.coarse > 0
    coarse_values = np.zeros_like(fine_values)
    coarse_values[:, used] = _interpolant(K7.nodes[used], x)[0]
    with np.errstate(divide="ignore"):
        return _Refined(np.log(fine), np.log(coarse), fine_values, coarse_values, primitive)


@dataclass(frozen=True)
class LogValue:
    """A non-negative quantity over time, stored as its natural logarithm so that e^(10^4) is no overflow."""

    log: Array
    __array_ufunc__ = None  # array * LogValue is ours, not an array of LogValues

    @staticmethod
    def of(value: Any) -> LogValue:
        """From non-negative numbers.

        Raises
        ------
        ValueError
            On negative numbers or NaN.
        """
        if isinstance(value, LogValue):
            return value
        array = np.asarray(value, dtype=np.float64)
        if not (array >= 0).all():
            raise ValueError("a term of a bound is negative or NaN")
        with np.errstate(divide="ignore"):
            return LogValue(np.log(array))

    def __add__(self, other: Any) -> LogValue:
        return LogValue(np.logaddexp(self.log, LogValue.of(other).log))

    __radd__ = __add__

    def __mul__(self, other: Any) -> LogValue:
        other_log = LogValue.of(other).log
        zero = np.isneginf(self.log) | np.isneginf(other_log)  # 0 * inf = 0: a term that is absent stays absent
        with np.errstate(invalid="ignore"):
            total = self.log + other_log
        return LogValue(np.where(zero, -np.inf, total))

    __rmul__ = __mul__

    def sqrt(self) -> LogValue:
        """Square root."""
        return LogValue(self.log / 2)

    def numbers(self) -> Array:
        """Plain floats; inf where they overflow."""
        with np.errstate(over="ignore"):
            return np.exp(self.log)

    def log10(self) -> Array:
        """Decimal logarithm."""
        return self.log / math.log(10)


class Ops(Protocol):
    """What a theorem's formula may do besides arithmetic."""

    def gronwall(self, alpha: Any, source: Any) -> Any:
        """Integral over [t0, t] of exp(int_tau^t alpha) source(tau)."""

    def growth(self, alpha: Any) -> Any:
        """exp(int_{t0}^t alpha)."""

    def sqrt(self, x: Any) -> Any:
        """Square root, node-wise or of a result."""

    def now(self, *parts: Any) -> Any:
        """Non-negative part of a sum of quantities, as a result at every time; what is alone must not be negative."""


class NumericOps:
    """Formulas on a time grid: rates at the nodes, results (``LogValue``) at the edges.

    The difference of the two nested time rules is accumulated in ``error`` (an additive bound contribution, same shape
    as a result). The error of an exponent inflates the result itself. ``sqrt`` of a result takes the whole accumulated
    error through the root: a formula that takes one must do so after its last ``gronwall``, and scale sources, never
    results.
    """

    def __init__(self, grid: TimeGrid) -> None:
        self.grid = grid
        self.error = LogValue(np.full(len(grid.edges), -np.inf))

    def _nodal(self, x: Any) -> Array:
        if isinstance(x, LogValue):
            raise TypeError("a result of an integral over time cannot be integrated again")
        return np.broadcast_to(np.asarray(x, dtype=np.float64), (self.grid.n_nodes,)).reshape(self.grid.nodes.shape)

    def _rate(self, alpha: Any) -> Array:
        rate = self._nodal(alpha)
        if not (rate > -np.inf).all():
            raise ValueError("the rate of a Gronwall bound is NaN or -infinity")
        return rate

    def gronwall(self, alpha: Any, source: Any) -> LogValue:
        """See ``Ops``; infinite from the end of the panel on in which the source, or the rate of what is there, is."""
        rate, g = self._rate(alpha), self._nodal(source)
        if not (g >= 0).all():
            raise ValueError("the source of a Gronwall bound is negative or NaN")
        if np.isposinf(rate).any() or np.isposinf(g).any():
            return self._infinite_from(rate, g)
        at_edge = self.grid.primitive(rate)[1]
        half = np.diff(self.grid.edges)[:, None] / 2
        levels = math.ceil(math.log2(max(1.0, float(np.max(2 * half * np.abs(rate))))))
        rule = _refined(min(levels, 50))
        # inside a panel: weight * g * exp(A(end) - A(time)), with interpolated g and A
        exponent = np.log(half) + np.diff(at_edge)[:, None] - half * (rate @ rule.primitive.T)
        with np.errstate(divide="ignore"):
            fine, coarse = (
                np.logaddexp.reduce(weights + np.log(np.maximum(g @ values.T, 0.0)) + exponent, axis=1)
                for weights, values in ((rule.log_fine, rule.fine_values), (rule.log_coarse, rule.coarse_values))
            )
        y = self._propagate(at_edge, fine)
        error = self._propagate(at_edge, _log_abs_difference(fine, coarse))
        slack = self._exponent_error(rate)
        self.error = self.error + LogValue(error + slack)
        return LogValue(y + slack)

    @staticmethod
    def _propagate(at_edge: Array, panel: Array) -> Array:
        """Logarithm at every edge of the sum of the panels' contributions, each grown from the end of its panel."""
        y = np.full(len(at_edge), -np.inf)
        for k in range(len(panel)):
            y[k + 1] = np.logaddexp(y[k] + at_edge[k + 1] - at_edge[k], panel[k])
        return y

    def _exponent_error(self, rate: Array) -> Array:
        """Accumulated error estimate of int alpha at every edge; its exponential multiplies a result."""
        panel = np.abs(np.sum((self.grid.fine - self.grid.coarse) * rate, axis=1))
        return np.concatenate([[0.0], np.cumsum(panel)])

    def _infinite_from(self, rate: Array, g: Array) -> LogValue:
        fast, strong = np.isposinf(rate).any(axis=1), np.isposinf(g).any(axis=1)
        y = self.gronwall(np.where(np.isposinf(rate), 0.0, rate).ravel(), np.where(np.isposinf(g), 0.0, g).ravel()).log
        present = (y[:-1] > -np.inf) | (g > 0).any(axis=1)  # an infinite rate leaves 0 at 0
        blown = np.maximum.accumulate(strong | (fast & present))
        return LogValue(np.concatenate([y[:1], np.where(blown, np.inf, y[1:])]))

    def growth(self, alpha: Any) -> LogValue:
        """Exponential of the integral of alpha from the start."""
        rate = self._rate(alpha)
        finite = np.where(np.isposinf(rate), 0.0, rate)
        at_edge = self.grid.primitive(finite)[1] + self._exponent_error(finite)
        blown = np.maximum.accumulate(np.isposinf(rate).any(axis=1))
        return LogValue(np.concatenate([at_edge[:1], np.where(blown, np.inf, at_edge[1:])]))

    def now(self, *parts: Any) -> LogValue:
        """See ``Ops``. A part is a number, nodal, or given at the report times.

        Nodal values are interpolated panel by panel (to the end of the panel; to the start of the first); the
        difference of the interpolants of degree 6 and 4 is the error estimate. Infinite where a node of the panel is.
        """
        total, error = np.zeros((2, len(self.grid.edges)))
        for part in parts:
            values = np.asarray(part, dtype=np.float64)
            if len(parts) == 1 and not (values >= 0).all():
                raise ValueError("a quantity that bounds an error is negative or NaN")
            if values.shape == (self.grid.n_nodes,):
                values, slack = self._at_edges(values.reshape(self.grid.nodes.shape))
                error = error + slack
            total = total + values
        if np.isnan(total).any():
            raise ValueError("a quantity that bounds an error is NaN")
        self.error = self.error + LogValue.of(error)
        return LogValue.of(np.maximum(total, 0.0))

    def _at_edges(self, nodal: Array) -> tuple[Array, Array]:
        """Interpolants of degree 6 at the report times and their differences from those of degree 4."""
        inner = slice(1, -1)
        ends, bad = [], np.asarray(~np.isfinite(nodal).all(axis=1))
        for x in (-1.0, 1.0):
            at = np.array([x])
            finite = np.where(bad[:, None], 0.0, nodal)
            fine = finite @ _interpolant(K7.nodes, at)[0][0]
            coarse = finite[:, inner] @ _interpolant(K7.nodes[inner], at)[0][0]
            ends.append((np.where(bad, np.inf, fine), np.where(bad, 0.0, np.abs(fine - coarse))))
        (start, start_error), (end, end_error) = ends
        return np.append(start[0], end), np.append(start_error[0], end_error)

    def sqrt(self, x: Any) -> Any:
        """Square root; of a result a with accumulated error e, the error becomes sqrt(a + e) - sqrt a."""
        if isinstance(x, LogValue):
            a, e = x.log, self.error.log
            total = np.logaddexp(a, e)
            with np.errstate(invalid="ignore"):
                self.error = LogValue(np.where(np.isfinite(total), e - np.logaddexp(total / 2, a / 2), -np.inf))
            return x.sqrt()
        return np.sqrt(x)


def _log_abs_difference(a: Array, b: Array) -> Array:
    """log|e^a - e^b| without overflow."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(np.isneginf(high), -np.inf, high + np.log1p(-np.exp(low - high)))
    return np.where(np.isnan(gap), -np.inf, gap)


def _degree(f: sympy.Expr, x: sympy.Symbol) -> int:
    return int(sympy.degree(f, x)) if f.is_polynomial(x) else 0


class SymbolicOps:
    """Formulas on sympy expressions in the time symbol ``t``."""

    def __init__(self, t0: sympy.Expr | float = 0) -> None:
        self.t = sympy.Symbol("t", real=True)
        self.t0 = sympy.sympify(t0)

    def _integral(self, f: Any, a: sympy.Expr, b: sympy.Expr, weight: Callable[[sympy.Dummy], Any]) -> sympy.Expr:
        """Integral of weight * f over time; an unevaluated ``Integral`` where sympy knows no primitive."""
        tau = sympy.Dummy("tau", real=True)
        source = sympy.together(sympy.sympify(f))
        integrand = sympy.expand(weight(tau) * source.subs(self.t, tau))
        if integrand.has(sympy.exp) and _degree(sympy.denom(source), self.t) > 2:
            # a rational function of high degree meets an exponential: sympy searches for minutes, in vain
            return sympy.Integral(integrand, (tau, a, b))
        known = sympy.integrate(integrand, (tau, a, b))
        return sympy.Integral(integrand, (tau, a, b)) if known.has(sympy.Integral) else known

    def _growth(self, alpha: Any, since: sympy.Expr) -> sympy.Expr:
        return sympy.exp(self._integral(alpha, since, self.t, lambda _: 1))

    def gronwall(self, alpha: Any, source: Any) -> sympy.Expr:
        """See ``Ops``."""
        return self._integral(source, self.t0, self.t, lambda tau: self._growth(alpha, tau))

    def growth(self, alpha: Any) -> sympy.Expr:
        """See ``Ops``."""
        return self._growth(alpha, self.t0)

    def now(self, *parts: Any) -> sympy.Expr:
        """See ``Ops``."""
        total = sum((sympy.sympify(x) for x in parts), start=sympy.Integer(0))
        return total if len(parts) == 1 else sympy.Max(0, total)

    def sqrt(self, x: Any) -> sympy.Expr:
        """Square root."""
        return sympy.sqrt(x)
