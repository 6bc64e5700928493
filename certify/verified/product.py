"""Bounds from norms of the weights alone: valid on all of R^d and at every time, and loose for deep networks."""

from __future__ import annotations

import math

import numpy as np
from scipy import linalg

from certify.verified.activations import supremum
from theory.perceptron import Perceptron
from theory.provenance import Array


def verified_norm(w: Array) -> float:
    """Upper bound of the spectral norm that allows for rounding.

    With G = W^T W (or W W^T) computed in floating point, ||G_fl - G|| <= gamma_k |W|^T|W| (Higham), and the norm of the
    symmetric G_fl is at most its largest computed eigenvalue plus a residual of order n eps ||G||, taken 100 times.
    """
    w = np.asarray(w, dtype=np.float64)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    eps = np.finfo(np.float64).eps
    largest = float(linalg.eigvalsh(gram)[-1])
    frobenius = float(np.sum(w * w))
    n = max(w.shape)
    return math.sqrt(largest + 100 * n * eps * frobenius) * (1 + 4 * eps)


def spectral_product(layers: tuple[tuple[Array, float], ...]) -> float:
    """Product over layers of verified norm times the activation's constant: a Lipschitz bound."""
    return math.prod(verified_norm(w) * slope for w, slope in layers) * (1 + 1e-14)


def second_derivative_product(net: Perceptron) -> float:
    """Upper bound of sup ||D^2 s~||, the norm of the bilinear map (h, k) -> D^2 s~[h, k], on all of R^d.

    Recursion over layers a -> f(W a): with L and M the bounds of ||D a|| and ||D^2 a||,
    ||D^2 f(Wa)|| <= sup|f'| ||W|| M + sup|f''| max_i |W_i| ||W|| L^2, because |u o v| <= max|u_i| |v| with u = W Da h.
    """
    slope, bend = supremum(net.activation, 1), supremum(net.activation, 2)
    first, second = 1.0, 0.0
    *inner, (last, _) = net.path()
    for w, _ in inner:
        norm, row = verified_norm(w), float(np.sqrt((w * w).sum(1).max())) * (1 + 1e-12)
        second = (slope * norm * second + bend * row * norm * first**2) * (1 + 1e-14)
        first *= slope * norm * (1 + 1e-14)
    return verified_norm(last) * second * (1 + 1e-14)
