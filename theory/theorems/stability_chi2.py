"""S4: the learned density against the solution in L2 with the weight of the Maxwellian (THEORY section 6.4).

Let Sigma = T I, M the Maxwellian of mean m and temperature T, c = (d-1) C, h = (f~ - f)/M and e = e_lin. Then

d/dt int h^2 M = -2 Q(h) + 2 int grad h . e f~,  Q(h) = int grad h^T A grad h M = C sum |L_ij h|^2 + c T |grad h|^2,

and Young in the metric of A = A_f gives d/dt <= -Q(h) + int e^T A^-1 e f~^2/M. On a Hermite mode of degree n and
angular number l, Q/|h|^2 = C l (l + d - 2) + c n >= 2 c for every mode of mass zero: l = 0 has n >= 2, and l >= 1 has
C l (l + d - 2) >= c. The rotations are what makes the rate 2c right: friction alone gives c (mode n = 1).
A >= c T on R^d, so int e^T A^-1 e f~^2/M <= (c T)^-1 int |e|^2 f~^2/M, the form of THEORY; ours is never larger.
Needs grad h of finite energy; f~^2/M integrable is where that can fail.
"""

from __future__ import annotations

from typing import Any

import sympy

from theory.gronwall import Ops
from theory.hypotheses import CHI2_INTEGRABLE, ISOTROPIC_COVARIANCE, PUSHFORWARD
from theory.theorem import Ingredient, Terms, Theorem, Witness
from theory.theorems.stability import MAXWELL, UNIQUE


def weighted_stability(ops: Ops, *, defect_chi2: Any, defect_chi2_tail: Any, friction: Any, initial_chi2: Any) -> Terms:
    """S4."""
    return {
        "initial distance": ops.growth(-2 * friction) * initial_chi2,
        "flow defect": ops.gronwall(-2 * friction, defect_chi2),
        "tail beyond the quadrature": ops.gronwall(-2 * friction, defect_chi2_tail),
    }


# d = 2, T = 1, C = 1/16, f = M = N(0, I).
_C = sympy.Rational(1, 16)
_Q = sympy.Rational(1, 4)
_ETA = sympy.Rational(1, 5)


def _s2(t: Any) -> Any:  # variance of the learned law N(0, s^2 I), s = 1 + t/4
    return (1 + _Q * t) ** 2


def _scaled_defect(t: Any) -> Any:
    # e = (k/s) x with k = s' + c s - c/s, A x = C x, int |x|^2 f~^2/M = 2/(2 - s^2)^2
    s = 1 + _Q * t
    k = _Q + _C * s - _C / s
    return 2 * (k / s) ** 2 / (2 - s**2) ** 2 / _C


# f~ = M (1 + eta (|x|^2 - 2)) at rest: e f~ = c M grad h, h = eta (|x|^2 - 2), |h|^2 = 4 eta^2, |grad h|^2 = 8 eta^2.
_RESTING = Witness(
    "Maxwell equilibrium, learned density M (1 + (|v|^2 - 2)/5) at rest: equality",
    {
        "defect_chi2": lambda t: 8 * _C * _ETA**2,
        "defect_chi2_tail": lambda t: 0,
        "friction": lambda t: _C,
        "initial_chi2": lambda t: 4 * _ETA**2,
    },
    lambda t: 4 * _ETA**2,
    sharp=True,
)
_SCALING = Witness(
    "Maxwell equilibrium, C = 1/16, learned flow (1 + t/4) v",
    {
        "defect_chi2": _scaled_defect,
        "defect_chi2_tail": lambda t: 0,
        "friction": lambda t: _C,
        "initial_chi2": lambda t: 0,
    },
    lambda t: (_s2(t) - 1) ** 2 / (_s2(t) * (2 - _s2(t))),
    sharp=False,
)

THEOREM = Theorem(
    id="stability_chi2",
    title="S4: density in L2 weighted by the Maxwellian",
    source="THEORY 6.4 (energy estimate, in the metric of the diffusion)",
    statement=(
        r"\int\frac{(\tilde f_t-f_t)^2}{M}\le e^{-2(d-1)C(t-t_0)}\int\frac{(\tilde f_{t_0}-f_{t_0})^2}{M}+"
        r"\int_{t_0}^t e^{-2(d-1)C(t-\tau)}\int e^\top\bar A_f^{-1}e\,\frac{\tilde f_\tau^2}{M}\,d\tau+\theta"
    ),
    bounds="chi2",
    ingredients=(
        Ingredient(
            "defect_chi2",
            r"\int e^\top\bar A^{-1}e\,\tilde f^2/M",
            "flow defect in the metric of the diffusion, weighted by f~/M",
            unit="1/time",
        ),
        Ingredient(
            "defect_chi2_tail",
            r"\theta",
            "share of the defect from |v| beyond the truncation radius of the quadrature",
        ),
        Ingredient("friction", "(d-1)C", "relaxation rate of the Maxwell equation", monotone=-1, unit="1/time"),
        Ingredient("initial_chi2", r"\chi^2(t_0)", "weighted L2 distance of the two densities at t0, squared"),
    ),
    hypotheses=(*PUSHFORWARD, MAXWELL, UNIQUE, ISOTROPIC_COVARIANCE, CHI2_INTEGRABLE),
    formula=weighted_stability,
    witnesses=(_RESTING, _SCALING),
    notes=(
        "A posteriori: the exact solution is not used, only its mean and temperature, which are known from f0.",
        "The square of this distance bounds the square of the L1 distance: (int |f~ - f|)^2 <= int (f~ - f)^2/M.",
    ),
)
