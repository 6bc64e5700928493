"""Hypothesis strategies for the project's own nouns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.kernels import Kernel, maxwell, mollified_coulomb


def reals(low: float, high: float) -> st.SearchStrategy[float]:
    """Floats of ordinary size."""
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Seeded random generators."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def kernels(draw: Any, ids: tuple[str, ...] = ("maxwell", "mollified-coulomb")) -> Kernel:
    """A Maxwell or mollified Coulomb kernel in 2D or 3D."""
    d, strength = draw(st.sampled_from((2, 3))), draw(reals(0.01, 10))
    if draw(st.sampled_from(ids)) == "maxwell":
        return maxwell(d, strength)
    return mollified_coulomb(d, strength, draw(reals(0.05, 5)))


@dataclass(frozen=True)
class Wave:
    """The smooth rate a + b sin(w t + p) with its primitive."""

    a: float
    b: float
    w: float
    p: float

    def __call__(self, t: Any) -> Any:
        return self.a + self.b * np.sin(self.w * t + self.p)

    def primitive(self, t: Any) -> Any:
        """Integral from 0 to t."""
        return self.a * t - self.b / self.w * (np.cos(self.w * t + self.p) - np.cos(self.p))


@st.composite
def waves(draw: Any, low: float, high: float) -> Wave:
    """A wave with values in [low, high] and at most two oscillations on [0, 1]."""
    top, bottom = (draw(reals(low, high)) for _ in range(2))
    middle = (top + bottom) / 2
    return Wave(middle, min(abs(top - bottom) / 2, middle - low), draw(reals(0.5, 12)), draw(reals(0, 6.3)))
