"""How a number is known: every number travels with its side and its rigor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Side(Enum):
    """Which inequality a value satisfies with respect to the quantity it stands for."""

    LOWER = "lower"
    UPPER = "upper"
    BOTH = "both"
    NONE = "none"

    def serves(self, needed: Side) -> bool:
        """Whether a value with this side may stand where ``needed`` is required."""
        return needed is Side.NONE or self is Side.BOTH or self is needed


class Rigor(IntEnum):
    """Provenance of a number, weakest first, so that ``min`` combines."""

    ASSUMED = 0
    SAMPLED = 1
    NUMERICAL = 2
    STATISTICAL = 3
    VERIFIED = 4
    EXACT = 5

    @property
    def label(self) -> str:
        """The word printed beside the number."""
        return self.name.lower()


RIGOR_MEANING: dict[Rigor, str] = {
    Rigor.EXACT: "closed form",
    Rigor.VERIFIED: "outward-rounded bound over the whole stated domain",
    Rigor.STATISTICAL: "holds with probability at least 1 - delta under the named assumption",
    Rigor.NUMERICAL: "converged rule with its error estimate added, not enclosed",
    Rigor.SAMPLED: "largest value seen: a lower estimate of a supremum",
    Rigor.ASSUMED: "taken for granted; nobody checked it",
}


@dataclass(frozen=True)
class Estimate:
    """A number, or a number at every time node, with the claim that is made of it.

    Parameters
    ----------
    value : float or ndarray of shape (n_nodes,)
        The number. NaN is refused; infinity is a legal upper bound.
    side, rigor : Side, Rigor
        What is claimed and how it is known.
    method : str
        One line naming the method.
    delta : float
        Probability that the claim fails (statistical claims), 0 otherwise.
    uses_exact_solution : bool
        Whether the exact solution of the problem was consulted ("oracle").
    detail : mapping
        Anything worth printing next to it (sample size, radius, error estimate).

    Raises
    ------
    ValueError
        On NaN, on delta outside [0, 1), on an infinite value claimed as LOWER or BOTH.
    """

    value: float | Array
    side: Side
    rigor: Rigor
    method: str
    delta: float = 0.0
    uses_exact_solution: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        value = np.asarray(self.value, dtype=np.float64)
        if np.isnan(value).any():
            raise ValueError(f"an estimate cannot be NaN ({self.method})")
        if not 0.0 <= self.delta < 1.0:
            raise ValueError(f"failure probability {self.delta} is outside [0, 1) ({self.method})")
        if self.side in (Side.LOWER, Side.BOTH) and np.isinf(value).any():
            raise ValueError(f"an infinite value is no {self.side.value} bound ({self.method})")
        object.__setattr__(self, "value", float(value) if value.ndim == 0 else value)

    def last(self) -> float:
        """The value, or the value at the last time node."""
        return float(np.asarray(self.value).reshape(-1)[-1])

    def largest(self) -> float:
        """The largest value over time."""
        return float(np.max(self.value))


def exact(value: float | Array, method: str, *, oracle: bool = False) -> Estimate:
    """A closed-form value: both sides, no doubt."""
    return Estimate(value, Side.BOTH, Rigor.EXACT, method, uses_exact_solution=oracle)


def weakest(estimates: Iterable[Estimate]) -> Rigor:
    """Rigor of anything computed from these estimates: the weakest of them."""
    return min((e.rigor for e in estimates), default=Rigor.EXACT)


def total_delta(estimates: Iterable[Estimate]) -> float:
    """Failure probability of anything computed from these estimates (union bound)."""
    return min(math.fsum(e.delta for e in estimates), 1.0)
