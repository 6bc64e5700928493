"""SiLU and tanh with four derivatives: values at points, exact ranges over intervals via the critical points.

Every derivative f^(k) is monotone between consecutive zeros of f^(k+1), so its range over an interval is spanned by
the end points and the zeros inside. A zero known to 1e-9 costs an error of second order (1e-18); the padding covers it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from theory.provenance import Array

UNIT = 2.0**-53
# Absolute error of a computed f^(k), k >= 1: some 30 roundings of terms that stay below 4 (|x| s(1-s) < 0.3).
PAD = 1e-13
NEAR = 1e-7  # a critical point this close to an interval counts as inside


def silu(x: Array) -> tuple[Array, Array, Array, Array, Array]:
    """SiLU and its first four derivatives."""
    s = expit(x)
    t = s * expit(-x)
    odd = np.tanh(-x / 2)  # 1 - 2 s without cancellation
    xo = np.where(t > 0, x, 0.0) * odd
    tx = np.where(t > 0, x, 0.0) * t
    second = t * (2 + xo)
    third = t * (3 * odd) + tx * (1 - 6 * t)
    fourth = t * (4 - 24 * t + xo * (1 - 12 * t))
    return x * s, s + tx, second, third, fourth


def tanh(x: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Tanh and its first four derivatives."""
    y = np.tanh(x)
    p = 1 - y * y
    return y, p, -2 * y * p, p * (6 * y * y - 2), 8 * y * p * (2 - 3 * y * y)


JETS: dict[str, Callable[[Array], tuple[Array, Array, Array, Array, Array]]] = {"silu": silu, "tanh": tanh}


def _symmetric(*positive: float) -> tuple[float, ...]:
    return (*(-x for x in reversed(positive)), *positive)


# CRITICAL[name][k]: the zeros of f^(k+1), k = 0..4 (tanh: y^2 = 1/3; 0, 2/3; 1/2 -+ sqrt(7/60)).
CRITICAL: dict[str, tuple[tuple[float, ...], ...]] = {
    "silu": (
        (-1.2784645427610738,),
        _symmetric(2.3993572805154677),
        (0.0, *_symmetric(3.4358409831009906)),
        _symmetric(1.0319582417807491, 4.429235100557228),
        (0.0, *_symmetric(1.8197756117250127, 5.4008187394952159)),
    ),
    "tanh": (
        (),
        (0.0,),
        _symmetric(float(np.arctanh(np.sqrt(1 / 3)))),
        (0.0, *_symmetric(float(np.arctanh(np.sqrt(2 / 3))))),
        _symmetric(*(float(np.arctanh(np.sqrt(0.5 + sign * np.sqrt(7 / 60)))) for sign in (-1, 1))),
    ),
}


def extremes(name: str, order: int, low: Array, high: Array, at_low: Array, at_high: Array) -> tuple[Array, Array]:
    """Least and largest value of f^(order) over [low, high], given its values at the ends; padded outwards."""
    least, largest = np.minimum(at_low, at_high), np.maximum(at_low, at_high)
    for x in CRITICAL[name][order]:
        inside = (low <= x + NEAR) & (high >= x - NEAR)
        value = float(JETS[name](np.array(x))[order])
        least = np.where(inside, np.minimum(least, value), least)
        largest = np.where(inside, np.maximum(largest, value), largest)
    pad = value_pad(np.maximum(np.abs(low), np.abs(high))) if order == 0 else PAD
    return least - pad, largest + pad


def value_pad(x: Array) -> Array:
    """Error of a computed f(x) (at most a few units in the last place of x)."""
    return 16 * UNIT * np.abs(x) + 1e-300


def supremum(name: str, order: int) -> float:
    """Sup of |f^(order)| over the real line, order 1 to 4, rounded up."""
    ends = {"silu": (0.0, 1.0), "tanh": (0.0, 0.0)}[name] if order == 1 else (0.0, 0.0)
    values = [float(JETS[name](np.array(x))[order]) for x in CRITICAL[name][order]]
    return max(abs(v) for v in (*values, *ends)) + PAD
