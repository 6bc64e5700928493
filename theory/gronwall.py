"""Gronwall bounds y' <= alpha(t) y + g(t) with time-dependent data, in log space, with their quadrature error.

y(t) <= y(t0) exp(int_{t0}^t alpha) + int_{t0}^t exp(int_tau^t alpha) g(tau) dtau.

The same formulas run on numbers (``NumericOps``, a panel-wise Gauss-Kronrod rule in time) and on sympy expressions
(``SymbolicOps``), so that a theorem is written once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import sympy

from theory.provenance import Array
from theory.quadrature import K7, on_panels


@dataclass(frozen=True)
class TimeGrid:
    """Report times and the quadrature nodes between them.

    Parameters
    ----------
    edges : ndarray (n_panels + 1,)
        Times at which bounds are reported; the first is the start of the window.
    """

    edges: Array

    def __post_init__(self) -> None:
        nodes, fine, coarse = on_panels(K7, self.edges)
        for name, value in (("nodes", nodes), ("fine", fine), ("coarse", coarse)):
            object.__setattr__(self, name, value)
        # exact on polynomials of degree 6: row j integrates the interpolant from the panel's start to node j
        vandermonde = np.vander(K7.nodes, 7, increasing=True)
        powers = np.arange(1, 8)
        primitive = (K7.nodes[:, None] ** powers - (-1.0) ** powers) / powers
        object.__setattr__(self, "_partial", np.linalg.solve(vandermonde.T, primitive.T).T)

    nodes: Array = None  # type: ignore[assignment]
    fine: Array = None  # type: ignore[assignment]
    coarse: Array = None  # type: ignore[assignment]

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
        inside = half * (values @ self._partial.T)  # type: ignore[attr-defined]
        return ends[:-1, None] + inside, ends


@dataclass(frozen=True)
class LogValue:
    """A non-negative quantity over time, stored as its natural logarithm so that e^(10^4) is a number, not an overflow."""

    log: Array

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
        total = self.log + other_log
        zero = np.isneginf(self.log) | np.isneginf(other_log)  # 0 * inf = 0: a term that is absent stays absent
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


class NumericOps:
    """Formulas on a time grid: rates at the nodes, results (``LogValue``) at the edges.

    The difference of the two nested time rules is accumulated in ``error`` (an additive bound contribution, same shape
    as a result); ``sqrt`` of a result propagates it. The error of an exponent inflates the result itself.
    """

    def __init__(self, grid: TimeGrid) -> None:
        self.grid = grid
        self.error = LogValue(np.full(len(grid.edges), -np.inf))

    def _nodal(self, x: Any) -> Array:
        if isinstance(x, LogValue):
            raise TypeError("a result of an integral over time cannot be integrated again")
        return np.broadcast_to(np.asarray(x, dtype=np.float64), (self.grid.n_nodes,)).reshape(self.grid.nodes.shape)

    def gronwall(self, alpha: Any, source: Any) -> LogValue:
        """See ``Ops``; a source that is infinite anywhere gives an infinite result from that panel on."""
        rate, g = self._nodal(alpha), self._nodal(source)
        if not (g >= 0).all():
            raise ValueError("the source of a Gronwall bound is negative or NaN")
        with np.errstate(divide="ignore"):
            log_g = np.log(g)
        if np.isposinf(rate).any() or np.isposinf(g).any():
            return self._infinite_from(rate, g)
        at_node, at_edge = self.grid.primitive(rate)
        results = []
        for weights in (self.grid.fine, self.grid.coarse):
            with np.errstate(divide="ignore"):
                # inside a panel: weight * g * exp(A(end) - A(node))
                exponent = np.log(weights) + log_g + at_edge[1:, None] - at_node
            panel = np.logaddexp.reduce(exponent, axis=1)
            y = np.full(len(at_edge), -np.inf)
            for k in range(len(panel)):
                y[k + 1] = np.logaddexp(y[k] + at_edge[k + 1] - at_edge[k], panel[k])
            results.append((y, panel))
        (y, fine), (_, coarse) = results
        difference = _log_abs_difference(fine, coarse)
        error = np.full_like(y, -np.inf)
        for k in range(len(fine)):
            error[k + 1] = np.logaddexp(error[k] + at_edge[k + 1] - at_edge[k], difference[k])
        slack = self._exponent_error(rate)
        self.error = self.error + LogValue(error + slack)
        return LogValue(y + slack)

    def _exponent_error(self, rate: Array) -> Array:
        """Accumulated error estimate of the integral of alpha at every edge; it multiplies a result by its exponential."""
        panel = np.abs(np.sum((self.grid.fine - self.grid.coarse) * rate, axis=1))
        return np.concatenate([[0.0], np.cumsum(panel)])

    def _infinite_from(self, rate: Array, g: Array) -> LogValue:
        broken = (np.isposinf(rate) | np.isposinf(g)).any(axis=1)
        first = int(np.argmax(broken))
        clean_rate = np.where(np.isposinf(rate), 0.0, rate)
        clean_g = np.where(np.isposinf(g), 0.0, g)
        finite = self.gronwall(clean_rate.ravel(), clean_g.ravel()).log.copy()
        finite[first + 1 :] = np.inf
        return LogValue(finite)

    def growth(self, alpha: Any) -> LogValue:
        """exp of the integral of alpha from the start."""
        rate = self._nodal(alpha)
        if np.isposinf(rate).any():
            first = int(np.argmax(np.isposinf(rate).any(axis=1)))
            at_edge = self.grid.primitive(np.where(np.isposinf(rate), 0.0, rate))[1].copy()
            at_edge[first + 1 :] = np.inf
            return LogValue(at_edge)
        return LogValue(self.grid.primitive(rate)[1] + self._exponent_error(rate))

    def sqrt(self, x: Any) -> Any:
        """Square root; of a result, also of the accumulated error (sqrt(a + e) <= sqrt a + sqrt e)."""
        if isinstance(x, LogValue):
            self.error = self.error.sqrt()
            return x.sqrt()
        return np.sqrt(x)


def _log_abs_difference(a: Array, b: Array) -> Array:
    """log|e^a - e^b| without overflow."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(np.isneginf(high), -np.inf, high + np.log1p(-np.exp(low - high)))
    return np.where(np.isnan(gap), -np.inf, gap)


class SymbolicOps:
    """Formulas on sympy expressions in the time symbol ``t``."""

    def __init__(self, t0: sympy.Expr | float = 0) -> None:
        self.t = sympy.Symbol("t", real=True)
        self.t0 = sympy.sympify(t0)

    def _integral(self, f: sympy.Expr, a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
        tau = sympy.Dummy("tau", real=True)
        return sympy.integrate(sympy.sympify(f).subs(self.t, tau), (tau, a, b))

    def gronwall(self, alpha: Any, source: Any) -> sympy.Expr:
        """See ``Ops``."""
        tau = sympy.Dummy("tau", real=True)
        weight = sympy.exp(self._integral(alpha, tau, self.t))
        return sympy.integrate(weight * sympy.sympify(source).subs(self.t, tau), (tau, self.t0, self.t))

    def growth(self, alpha: Any) -> sympy.Expr:
        """See ``Ops``."""
        return sympy.exp(self._integral(alpha, self.t0, self.t))

    def sqrt(self, x: Any) -> sympy.Expr:
        """Square root."""
        return sympy.sqrt(x)
