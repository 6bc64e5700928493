"""BKW in 3D: Maxwell kernel with C = 1/24, exact solution (THEORY section 2, FACTS section 1.1)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from theory.bkw import Bkw
from theory.kernels import maxwell
from theory.problem import Problem
from theory.problems import ProblemFamily

STRENGTH = 1 / 24
AMPLITUDE = 1.0


def make(t0: Fraction, T: Fraction) -> Problem:
    """BKW 3D on [t0, T]."""
    solution = Bkw(3, STRENGTH, AMPLITUDE, float(t0))
    initial = solution.at(float(t0))
    empty = solution.coefficients(float(t0))[1] <= 0.0
    return Problem(
        id="bkw3d",
        title="BKW 3D, Maxwell molecules",
        kernel=maxwell(3, STRENGTH),
        t0=t0,
        T=T,
        initial=initial,
        exact=solution,
        constants={"d": "3", "kernel": "maxwell", "C": "1/24", "K0": "1"},
        source="Bobylev; Krook and Wu; constants as in the public score-based particle codes",
        degeneracies=("v = 0: f vanishes there at t0 but not later, so det J = 0",) if empty else (),
        degenerate_points=np.zeros((1, 3)) if empty else np.empty((0, 3)),
    )


PROBLEM = ProblemFamily("bkw3d", "BKW 3D, Maxwell molecules (exact solution known)", Fraction(11, 2), Fraction(6), make)
