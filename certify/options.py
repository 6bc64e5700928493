"""Options of a judgement, as the command line gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Progress callback that says nothing."""


PARTICLE_RATES = ("best", "ot", "explicit", "paper")


@dataclass(frozen=True)
class Options:
    """What to compute and how hard to try.

    Parameters
    ----------
    certificates : tuple of str
        Theorem ids; empty means all.
    times : int
        Report times after the start (at least 20 in a full report).
    samples : int
        Fresh particles of the particle-level certificates.
    w1_samples : int
        Points of each exact optimal transport problem.
    confidence : float
        Joint confidence of all statistical claims.
    seed : int
    radius : float or None
        Radius R of the ball on which the kernel constants hold; None: chosen from the problem.
    tail : float or None
        Judge the flow with its tail from |v - mean| = tail on replaced (``certify.tail``); None: as it is.
    particle_rate : str
        Sampling term of Theorems 3 and 5: ``best`` (the smaller valid one), ``ot`` (exact optimal transport),
        ``explicit`` (closed-form constants) or ``paper`` (N^(-1/2), which is no theorem).
    tolerance : float
        Relative quadrature error of the flow defect aimed at by refinement.
    quick : bool
        Coarser everything, at most 30 s; the report is marked QUICK everywhere.
    """

    certificates: tuple[str, ...] = ()
    times: int = 20
    samples: int = 1000
    w1_samples: int = 1000
    confidence: float = 0.99
    seed: int = 0
    radius: float | None = None
    tail: float | None = None
    particle_rate: str = "best"
    tolerance: float = 0.02
    quick: bool = False
