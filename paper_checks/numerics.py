"""Small numerical tools shared by the checks: differences in time and space, and a Runge-Kutta step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory.provenance import Array


def derivative(f: Callable[[float], Array], t: float, h: float = 1e-3) -> Array:
    """f'(t) by fourth-order central differences; error O(h^4) plus rounding/h."""
    return (f(t - 2 * h) - 8 * f(t - h) + 8 * f(t + h) - f(t + 2 * h)) / (12 * h)


def divergence(field: Callable[[Array], Array], x: Array, h: float = 1e-3) -> Array:
    """Divergence of field: (n, d) -> (n, d) at x, by fourth-order central differences."""

    def along(k: int) -> Array:
        unit = np.eye(x.shape[1])[k]
        return derivative(lambda s: field(x + s * unit)[:, k], 0.0, h)

    return np.sum([along(k) for k in range(x.shape[1])], axis=0)


def runge_kutta(rate: Callable[[float, Array], Array], t0: float, t1: float, start: Array, steps: int) -> Array:
    """Solution of x' = rate(t, x) at t1 by the classical fourth-order method."""
    x, h = start, (t1 - t0) / steps
    for k in range(steps):
        t = t0 + k * h
        a = rate(t, x)
        b = rate(t + h / 2, x + h / 2 * a)
        c = rate(t + h / 2, x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + rate(t + h, x + h * c))
    return x


def largest(values: Array) -> float:
    """Largest absolute entry as a plain float; NaN if there is one."""
    return float(np.max(np.abs(values)))
