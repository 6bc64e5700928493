"""What the experiments of the paper's Section 5 are run with, as data: benchmarks, methods, sizes (FACTS section 1).

Where the paper's value is not known, ours is the public codes' or our own; FACTS section 7 lists which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from theory.problem import Problem
from theory.problems import parse_problem
from theory.provenance import Array
from validation.metrics import cell_centres

REFERENCE = "reference"
METHODS: Mapping[str, str] = {
    "pinn-particle": "PINN-particle: the learned flow, queried directly",
    "pinn-score": "PINN-score: Euler particles driven by the learned score",
    "flow-defect": "flow-defect: the score-free learned flow, queried directly",
    "sbp": "SBP: score-based particle method",
    "blob": "Blob: deterministic particle method (CHWW)",
    REFERENCE: "reference: exact or numerical solution",
}
MODEL_OF: Mapping[str, str] = {"pinn-particle": ".pt", "pinn-score": ".pt", "flow-defect": "-flow-defect.pt"}
STARTS = 1000  # common initial particles of protocol P1; the paper's number for the PINN methods


@dataclass(frozen=True)
class Setup:
    """A benchmark as the experiments run it.

    Parameters
    ----------
    spec : str
        Problem with its window.
    model : str
        Stem of its model files.
    times : tuple of float
        Snapshots, the same for all methods.
    step : float
        The paper's (or the public codes') time step.
    bandwidth, half_width, cells
        Of the kernel density estimate and its grid of cell centres in each axis.
    particles : int
        The paper's for SBP and blob, a d-th power.
    """

    spec: str
    model: str
    times: tuple[float, ...]
    step: float
    bandwidth: float
    half_width: float
    cells: int
    particles: int

    def problem(self) -> Problem:
        """The benchmark problem."""
        return parse_problem(self.spec)

    def axes(self, d: int) -> list[Array]:
        """Cell centres along each of d axes."""
        return [cell_centres(self.half_width, self.cells)] * d


_TO_FIVE = (0.0, 0.5, 1.0, 1.5, 2.5, 3.5, 5.0)
SETUPS: Mapping[str, Setup] = {
    "bkw2d": Setup("bkw2d", "bkw2d", _TO_FIVE, 0.01, 0.15, 4.0, 100, 22_500),
    "bkw3d": Setup("bkw3d", "bkw3d", (5.5, 5.6, 5.7, 5.75, 5.8, 5.9, 6.0), 0.01, 0.15, 4.0, 40, 64_000),
    "anisotropic2d": Setup(
        "anisotropic2d", "anisotropic2d", (0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0), 0.1, 0.3, 10.0, 120, 14_400
    ),
    "rosenbluth3d": Setup(
        "rosenbluth3d", "rosenbluth3d", (0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0), 0.2, 0.3, 1.0, 30, 27_000
    ),
    "gaussian_mixture3d": Setup("gaussian_mixture3d", "gaussian_mixture3d", _TO_FIVE, 0.01, 0.15, 4.0, 40, 64_000),
    # from t0 = 1/2: at 0 the density jumps, the exact law afterwards is smooth and known
    "truncated2d": Setup(
        "truncated2d:t0=1/2", "truncated2d-t05", (0.5, 0.75, 1.0, 1.5, 2.5, 3.5, 5.0), 0.01, 0.3, 4.0, 100, 14_400
    ),
}


@dataclass(frozen=True)
class Size:
    """How large one cell is.

    Parameters
    ----------
    particles : int
        That interact; of a flow queried directly, the common starts (it has no interacting particles).
    kde : int
        Of the kernel density estimate: fresh ones pushed through a flow, tracers of PINN-score, the method's own
        particles (SBP, blob).
    slower : float
        Factor of the setup's time step.
    seconds : float
        Expected on one core; only the estimate of what is left and the order of the queue depend on it.
    """

    particles: int
    kde: int
    slower: float = 1.0
    seconds: float = 30.0


# The sizes of the full run. Seconds are of one core. Where the paper's number of particles or time step would take more
# than a few minutes, there are fewer particles and longer steps; BKW has the paper's, for the efficiency table.
# PINN-score: 1,000 particles that interact and tracers in their field for the density.
_FULL: Mapping[str, Mapping[str, Size]] = {
    "bkw2d": {
        "pinn-score": Size(STARTS, 22_500, seconds=450),
        "sbp": Size(22_500, 22_500, seconds=1000),
        "blob": Size(22_500, 22_500, seconds=200),
    },
    "bkw3d": {
        "pinn-score": Size(STARTS, 64_000, seconds=200),
        "sbp": Size(64_000, 64_000, seconds=860),
        "blob": Size(64_000, 64_000, seconds=100),
    },
    "anisotropic2d": {
        "pinn-score": Size(STARTS, 14_400, slower=5, seconds=90),
        "sbp": Size(4_900, 4_900, slower=2, seconds=150),
        "blob": Size(10_000, 10_000, slower=5, seconds=175),
    },
    "rosenbluth3d": {
        "pinn-score": Size(STARTS, 27_000, slower=2.5, seconds=125),
        "sbp": Size(8_000, 8_000, seconds=200),
        "blob": Size(8_000, 8_000, slower=2.5, seconds=100),
    },
    "gaussian_mixture3d": {
        "pinn-score": Size(STARTS, 22_500, slower=5, seconds=100),
        "sbp": Size(8_000, 8_000, slower=5, seconds=170),
        "blob": Size(17_576, 17_576, slower=5, seconds=60),
    },
    "truncated2d": {
        "pinn-score": Size(STARTS, 14_400, slower=5, seconds=60),
        "sbp": Size(10_000, 10_000, slower=5, seconds=140),
        "blob": Size(14_400, 14_400, slower=5, seconds=30),
    },
}


def size(problem: str, method: str, *, quick: bool = False, paper: bool = False) -> Size:
    """Size of a cell: ours, the paper's number of particles for SBP and blob, or a quick one."""
    setup = SETUPS[problem]
    if quick:
        own = 512 if problem.endswith("3d") else 400
        few = method in ("sbp", "blob")
        return Size(own if few else 300, own if few else 2000, slower=5.0, seconds=10)
    if paper and method in ("sbp", "blob"):
        return Size(setup.particles, setup.particles, seconds=3600)
    direct = Size(STARTS, setup.particles, seconds=150 if problem.endswith("3d") else 80)
    return _FULL[problem].get(method, direct)
