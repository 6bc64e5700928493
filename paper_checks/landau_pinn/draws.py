"""Expectations over N = k particles drawn from k equal atoms, exactly: all multisets with their chances."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np

from paper_checks.landau_pinn.toy import ATOMS
from theory.provenance import Array


def _multisets() -> tuple[list[np.ndarray], Array]:
    draws, chances = [], []
    for draw in itertools.combinations_with_replacement(range(ATOMS), ATOMS):
        orders = math.factorial(ATOMS)
        for count in Counter(draw).values():
            orders //= math.factorial(count)
        draws.append(np.array(draw))
        chances.append(orders / ATOMS**ATOMS)
    return draws, np.array(chances)


DRAWS, CHANCES = _multisets()


def mean(values: list[Array]) -> Array:
    """Expectation of a quantity given for every draw of ``DRAWS``, along its first axis."""
    return np.asarray(np.tensordot(CHANCES, np.array(values), axes=1))
