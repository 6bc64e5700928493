"""Truncated Gaussian in 2D, Maxwell kernel (FACTS section 1.5).

The paper gives the density and the name; kernel, radius R and window are ours. From t0 = 0 the density jumps at
|v| = R: no certificate built on the score of a pushforward holds, and no exact flow is offered (it carries the circle
to infinity). From t0 > 0 the initial density is the exact law at t0, analytic, and the exact solution is known.
"""

from __future__ import annotations

from fractions import Fraction

from theory.densities import TruncatedGaussian
from theory.isotropic import TruncatedSolution
from theory.kernels import maxwell
from theory.problem import Problem
from theory.problems import Parameter, ProblemFamily

STRENGTH = Fraction(1, 16)
RADIUS = Fraction(2)


def make(t0: Fraction, T: Fraction, R: Fraction = RADIUS) -> Problem:
    """The truncated Gaussian, cut off at time 0 at |v| = R, on [t0, T]."""
    solution = TruncatedSolution(TruncatedGaussian(float(R)), float(STRENGTH), float(t0))
    return Problem(
        id="truncated2d",
        title="Truncated Gaussian 2D, Maxwell molecules",
        kernel=maxwell(2, float(STRENGTH)),
        t0=t0,
        T=T,
        initial=solution.at(float(t0)),
        exact=solution if t0 > 0 else None,
        constants={"d": "2", "kernel": "maxwell", "C": str(STRENGTH), "R": str(R)},
        source="name and density from the PINN-PM paper; kernel, R and window are ours",
        notes=(
            f"ours, the paper's values being unknown: Maxwell kernel, C = 1/16, R = {R}, window [0, 5]",
            "isotropic data, Maxwell kernel: the exact law is a V_0 + b Z (Ornstein-Uhlenbeck)",
        )
        + (() if t0 > 0 else ("f0 jumps at |v| = R: start at t0 > 0, e.g. truncated2d:t0=1/2, from the exact law",)),
        parameters=("R",),
    )


PROBLEM = ProblemFamily(
    "truncated2d",
    "Truncated Gaussian 2D, Maxwell molecules (exact law known)",
    Fraction(0),
    Fraction(5),
    make,
    {"R": Parameter(RADIUS, Fraction(1, 2), Fraction(5), "radius of the circle at which f0 is cut off")},
)
