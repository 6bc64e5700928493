"""The uniform bound 0 <= A <= Lambda I (3.2): true on a ball or for a mollified kernel, not for the kernels named."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import sympy
from sympy import Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from theory.kernels import maxwell, mollified_coulomb


@proof
def _symbolic() -> Iterator[Claim]:
    """Eigenvalues of A are 0 and a(r) r^2 (row norm_da): r^2, r^-1, and r^2 (r^2 + eps^2)^(-3/2)."""
    r, epsilon = Symbol("r", positive=True), Symbol("epsilon", positive=True)
    yield sympy.limit(r**2, r, sympy.oo) == sympy.oo, "Maxwell is unbounded far out"
    yield sympy.limit(r**2 * r**-3, r, 0, "+") == sympy.oo, "Coulomb is unbounded at 0"
    mollified = r**2 * (r**2 + epsilon**2) ** sympy.Rational(-3, 2)
    critical = sympy.solve(sympy.numer(sympy.together(sympy.diff(mollified, r))), r)
    yield critical == [sympy.sqrt(2) * epsilon], "the mollified kernel peaks at r^2 = 2 eps^2"
    peak = sympy.simplify(mollified.subs(r, critical[0]) * epsilon - 2 / (3 * sympy.sqrt(3)))
    yield peak == 0, "its peak is 2/(3 sqrt 3 eps)"


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """The three suprema, and the code's constants against eigenvalues of the code's matrix."""
    trial = Trial()
    trial.claims(_symbolic())
    for d in (2, 3):
        for _ in range(10 if quick else 200):
            strength, epsilon, radius = rng.uniform(0.01, 1), 10 ** rng.uniform(-2, 1), 10 ** rng.uniform(-1, 2)
            for kernel in (maxwell(d, strength), mollified_coulomb(d, strength, epsilon)):
                unit = rng.standard_normal(d)
                unit /= np.linalg.norm(unit)
                reach = 2 * radius
                peak = reach if kernel.is_maxwell else min(reach, math.sqrt(2) * epsilon)
                values = np.linalg.eigvalsh(kernel.matrix(peak * unit))
                where = f"{kernel.id}, d = {d}, R = {radius:.3g}, eps = {kernel.epsilon:.3g}"
                gap = abs(values[-1] / kernel.sup_norm(radius) - 1)
                trial.small(float(gap), 1e-10, f"Lambda is the largest eigenvalue, {where}")
                trial.small(float(max(0.0, -values[0] / values[-1])), 1e-12, f"A >= 0, {where}")
            limit = mollified_coulomb(d, strength, epsilon).sup_norm(1e9)
            gap = abs(limit * epsilon * 3 * math.sqrt(3) / 2 / strength - 1)
            trial.small(gap, 1e-12, f"Lambda on R^d = 2C/(3 sqrt 3 eps), d = {d}")
    return trial.finding(
        "A >= 0 always. A <= Lambda I on R^d fails for Maxwell (C r^2, unbounded) and for Coulomb (C/r at 0). Change: "
        "on |v|, |w| <= R Maxwell has Lambda = 4CR^2 exactly; mollified Coulomb has 2C/(3 sqrt 3 eps) = 0.385 C/eps on "
        "all of R^d; the theorems then need the mass outside the ball",
        "holds with this change",
    )


CHECK = Check(
    id="kernel_bounded",
    statement="The interaction kernel is uniformly bounded: 0 <= A(z) <= Lambda I.",
    source="(3.2)",
    how="symbolic + numerical",
    expected="holds with this change",
    run=run,
)
