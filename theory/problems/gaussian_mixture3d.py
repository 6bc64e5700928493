"""Eight Gaussians in 3D, Maxwell kernel: f0 = prod_k [N(v_k; -mu, s^2) + N(v_k; mu, s^2)]/2 (FACTS section 1.4).

The paper gives the separable product of 2^3 components; mu, s, kernel and window are ours. The covariance is
(mu^2 + s^2) I, I with s^2 = 1 - mu^2, and stays so, but f is not isotropic and its fourth moments relax: E v_k^4 =
mu^4 + 6 mu^2 s^2 + 3 s^4 at the start. The exact solution is known (``theory.mixture``).
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from theory.densities import GaussianMixture, ResolvedProblem
from theory.kernels import maxwell
from theory.mixture import MixtureSolution
from theory.problem import Problem
from theory.problems import ProblemFamily

STRENGTH = Fraction(1, 24)
MU, DEVIATION = Fraction(4, 5), Fraction(3, 5)
PANELS, ANGLES = (0.0, 0.8, 1.6, 2.5, 3.8), 20


def make(t0: Fraction, T: Fraction, mu: Fraction = MU, deviation: Fraction = DEVIATION) -> Problem:
    """The mixture with means (+-mu, +-mu, +-mu), each component with this standard deviation, on [t0, T].

    The mixture is the law at time 0; from t0 > 0 the initial density is the exact law at t0.
    """
    centres = tuple(tuple(float(sign * mu) for sign in signs) for signs in product((-1, 1), repeat=3))
    start = GaussianMixture((0.125,) * 8, centres, float(deviation**2), PANELS)
    solution = MixtureSolution(start, float(STRENGTH), float(t0), float(T))
    isotropic = mu**2 + deviation**2 == 1
    return ResolvedProblem(
        id="gaussian_mixture3d",
        title="Gaussian mixture 3D, Maxwell molecules",
        kernel=maxwell(3, float(STRENGTH)),
        t0=t0,
        T=T,
        initial=solution.at(float(t0)),
        exact=solution,
        angles=ANGLES,
        constants={"d": "3", "kernel": "maxwell", "C": str(STRENGTH), "mu": str(mu), "s": str(deviation)},
        source="separable product of 2^3 components from the PINN-PM paper; mu, s, kernel and window are ours",
        notes=(
            "ours, the paper's values being unknown: Maxwell kernel, C = 1/24, mu = 4/5, s = 3/5, window [0, 5]",
            f"covariance {'I' if isotropic else f'{mu**2 + deviation**2} I'} at every time; fourth moments relax",
            "Lip score is an upper bound; no finite Lipschitz constant of the drift on R^d is known",
        ),
    )


PROBLEM = ProblemFamily(
    "gaussian_mixture3d", "Gaussian mixture 3D, Maxwell molecules (exact law known)", Fraction(0), Fraction(5), make
)
