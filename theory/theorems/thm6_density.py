"""Theorem 6: density by kernel density estimation, Gaussian and Epanechnikov kernel, paper's and sharp constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from theory import hypotheses as hyp
from theory.constants import COUPLING
from theory.gronwall import Ops
from theory.theorem import Hypothesis, Ingredient, Scope, Terms, Theorem, Witness

HESSIAN = Ingredient(
    "density_hessian", r"\|D^2f_t\|_{L^2}", "L2 norm of the operator norm of the Hessian", at_report=True
)
LAPLACIAN = Ingredient("density_laplacian", r"\|\Delta f_t\|_{L^2}", "L2 norm of the Laplacian of f_t", at_report=True)
DENSITY_W1 = Ingredient(
    "density_w1",
    r"W_1(\tilde f,f)",
    "distance of the learned density from f_t: the smaller of S1 and S2",
    unit="velocity",
    at_report=True,
)


def kernel_ingredients(kernel: str, *, radial: bool) -> tuple[Ingredient, Ingredient, Ingredient]:
    """Bias factor, sampling noise and gain of a smoothing kernel at its bandwidth h.

    h^2 m2/2 (over d if radial), ||K|| (N h^d)^(-1/2), h^(-d/2-1) ||grad K|| (over sqrt d if radial).
    """
    form = "_radial" if radial else ""
    d = "/d" if radial else ""
    root = r"/\sqrt d" if radial else ""
    return (
        Ingredient(
            f"kde_bias{form}_{kernel}", rf"\tfrac12h^2m_2{d}", f"bias factor of the {kernel} kernel", at_report=True
        ),
        Ingredient(
            f"kde_noise_{kernel}", r"\|K\|(Nh^d)^{-1/2}", f"sampling noise of the {kernel} kernel", at_report=True
        ),
        Ingredient(
            f"kde_gain{form}_{kernel}",
            rf"h^{{-d/2-1}}\|\nabla K\|{root}",
            f"gain of the {kernel} kernel",
            at_report=True,
        ),
    )


def formula(kernel: tuple[Ingredient, ...], curvature: str, distance: str) -> Callable[..., Terms]:
    """E||f^ - f|| <= bias factor x curvature + noise + gain x distance of the particles."""
    bias, noise, gain = (i.id for i in kernel)

    def terms(ops: Ops, **values: Any) -> Terms:
        return {
            "bias": ops.now(values[bias] * values[curvature]),
            "sampling": ops.now(values[noise]),
            "trajectories": ops.now(values[gain] * values[distance]),
        }

    return terms


def _witnesses(kernel: tuple[Ingredient, ...], curvature: Ingredient, distance: Ingredient) -> tuple[Witness, ...]:
    zero = {i.id: lambda t: 0 for i in (*kernel, curvature, distance)}
    _, noise, gain = (i.id for i in kernel)
    half = sympy.Rational(1, 2)
    # K = N(0, 1), h = 1, d = 1: int |K(x + t) - K(x)|^2 = (1 - exp(-t^2/4))/sqrt(pi), and ||K'||^2 = 1/(4 sqrt pi)
    shift = Witness(
        "one particle displaced by t, Gaussian kernel on the line, h = 1: equality to first order in t",
        {**zero, gain: lambda t: half / sympy.pi ** sympy.Rational(1, 4), distance.id: lambda t: t},
        lambda t: sympy.sqrt((1 - sympy.exp(-(t**2) / 4)) / sympy.sqrt(sympy.pi)),
        sharp=False,
    )
    # f = 0 where it is flat, all particles exact: what is left is the noise of a kernel that no two particles share
    lonely = Witness(
        "N = 4 particles so far apart that their kernels do not meet, ||K_h|| = 1: noise 1/2, equality",
        {**zero, noise: lambda t: half},
        lambda t: half + 0 * t,
        sharp=True,
    )
    return shift, lonely


def _theorem(
    key: str,
    title: str,
    kernel: str,
    curvature: Ingredient,
    distance: Ingredient,
    bounds: str,
    *,
    radial: bool,
    extra: tuple[Hypothesis, ...] = (),
) -> Theorem:
    parts = kernel_ingredients(kernel, radial=radial)
    return Theorem(
        id=key,
        title=title,
        source="Theorem 6 and Appendix A" + ("; radial kernel, THEORY section 5" if radial else ""),
        statement=(
            rf"E\|\hat f-f_t\|_{{L^2}}\le {parts[0].symbol}{curvature.symbol}+{parts[1].symbol}+"
            rf"{parts[2].symbol}{distance.symbol}"
        ),
        bounds=bounds,
        ingredients=(*parts, curvature, distance),
        hypotheses=(hyp.SMOOTH_DENSITY, *extra, hyp.FRESH),
        formula=formula(parts, curvature.id, distance.id),
        witnesses=_witnesses(parts, curvature, distance),
        notes=(
            "The bandwidth is the one that makes the sharp bound smallest at the final time; the report sweeps it.",
        ),
        scope=Scope.INSTANT,
    )


THEOREM = (
    _theorem("thm6", "Theorem 6: density by KDE", "gaussian", HESSIAN, COUPLING, "kde", radial=False),
    _theorem("thm6_sharp", "Theorem 6, sharp constants", "gaussian", LAPLACIAN, COUPLING, "kde", radial=True),
    _theorem(
        "thm6_compact",
        "Theorem 6, compact kernel (Epanechnikov)",
        "epanechnikov",
        LAPLACIAN,
        COUPLING,
        "kde_compact",
        radial=True,
    ),
    _theorem(
        "thm6_w1",
        "Theorem 6 in its W1 form",
        "gaussian",
        LAPLACIAN,
        DENSITY_W1,
        "kde",
        radial=True,
        extra=(hyp.STABLE,),
    ),
)
