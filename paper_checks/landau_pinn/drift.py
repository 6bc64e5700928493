"""The drift identity -int A(v-w)(s(v)-s(w)) f(w) dw = -(A * f) s + b * f and the code of ``theory.drift``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Matrix, Symbol

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.symbols import gaussian_mean, gradient, is_zero, projector, vector
from theory import drift
from theory.kernels import Kernel, maxwell, mollified_coulomb
from theory.provenance import Array


@proof
def _by_parts() -> Iterator[Claim]:
    """div_w(A(v-w) f(w)) = A(v-w) grad f(w) - b(v-w) f(w), b(z) = -(d-1) a z, for any profile a(|z|^2) and any f."""
    for d in (2, 3):
        z, w = vector("z", d), vector("w", d)
        v = vector("v", d)
        square = Symbol("q", positive=True)
        profile = sympy.Function("a")(square)
        matrix = (profile * projector(z)).subs(square, (z.T * z)[0])
        rows = [sympy.Add(*(sympy.diff(matrix[i, j], z[j]) for j in range(d))) for i in range(d)]
        b = -(d - 1) * profile.subs(square, (z.T * z)[0]) * z
        yield is_zero(Matrix(rows).doit() - b), f"div A = -(d-1) a z in d = {d}"
        shift = dict(zip(z, v - w, strict=True))
        f = sympy.Function("f")(*w)
        moved = matrix.subs(shift, simultaneous=True)
        left = Matrix([sympy.Add(*(sympy.diff(moved[i, j] * f, w[j]) for j in range(d))) for i in range(d)])
        right = moved * gradient(f, w) - b.subs(shift, simultaneous=True) * f
        difference = (left - right).doit()
        yield all(sympy.simplify(entry) == 0 for entry in difference), f"integration by parts in d = {d}"


def _tilted_gaussian(x: Matrix) -> tuple[Expr, list[Symbol], Expr]:
    """Polynomial factor p of f = p G, the variances of G, and the mass of f: neither centred nor isotropic.

    The third variance is a number, the unit of velocity squared: one symbol less halves the time.
    """
    variances = [Symbol("V0", positive=True), Symbol("V1", positive=True), sympy.Integer(1)][: len(x)]
    p = 1 + Symbol("e") * x[0] + Symbol("g") * x[0] * x[1] + Symbol("h") * x[1] ** 2
    return p, variances, gaussian_mean(p, x, variances)


@proof
def _maxwell_moments() -> Iterator[Claim]:
    """Pair integral over w of polynomial times Gaussian against the formula with the mean and covariance of f."""
    for d in (2, 3):
        v, w = vector("v", d), vector("w", d)
        p, variances, total = _tilted_gaussian(w)
        mass = Symbol("mass", positive=True)  # stands for the total until denominators are cleared

        def over_gaussian(x: Matrix, d: int = d) -> tuple[Expr, Matrix]:
            factor, widths, _ = _tilted_gaussian(x)
            return factor, gradient(factor, x) - factor * Matrix([x[i] / widths[i] for i in range(d)])

        (pv, grad_v), (pw, grad_w) = over_gaussian(v), over_gaussian(w)
        # -U f(v) times the mass over G(v): the integrand is A(v-w)(f(w) grad f(v) - f(v) grad f(w))
        integrand = projector(v - w) * (pw * grad_v - pv * grad_w)
        by_pairs = -integrand.applyfunc(lambda e, w=w, widths=variances: gaussian_mean(e, w, widths))
        mean = w.applyfunc(lambda e, p=p, w=w, widths=variances: gaussian_mean(e * p, w, widths)) / mass
        second = (w * w.T).applyfunc(lambda e, p=p, w=w, widths=variances: gaussian_mean(e * p, w, widths)) / mass
        covariance = second - mean * mean.T
        z = v - mean
        diffusion = projector(z) + covariance.trace() * sympy.eye(d) - covariance
        by_moments = mass * (-diffusion * grad_v - (d - 1) * z * pv)
        difference = ((by_pairs - by_moments) * mass).applyfunc(lambda e, t=total, m=mass: sympy.expand(e).subs(m, t))
        yield is_zero(difference), f"Maxwell drift from moments in d = {d}"


def _symbols(name: str, n: int, d: int) -> Any:
    return np.array([[Symbol(f"{name}{i}{k}", real=True) for k in range(d)] for i in range(n)], dtype=object)


def _code_is_exact(trial: Trial) -> None:
    """Run the code itself on symbols: moment form = pair sum for every x and s, weights of sum 1."""
    strength = Symbol("C", positive=True)
    for n, d in ((3, 2), (2, 3)):
        x, s = _symbols("x", n, d), _symbols("s", n, d)
        free = [Symbol("w0"), *[sympy.Rational(1, 5)] * (n - 2)]
        weights = np.array([*free, 1 - sum(free)], dtype=object)
        by_moments = drift.maxwell_pair_drift(strength, x, s, weights)
        for i in range(n):
            pairs = sympy.zeros(d, 1)
            for j in range(n):
                pairs -= weights[j] * strength * projector(Matrix(x[i] - x[j])) * Matrix(s[i] - s[j])
            trial.claim(is_zero(Matrix(by_moments[i]) - pairs), f"maxwell_pair_drift is the pair sum, n = {n}, d = {d}")
        # the mean-field form with symbolic mean and covariance
        mean = np.array([Symbol(f"m{k}") for k in range(d)], dtype=object)
        covariance = np.array([[Symbol(f"S{min(i, j)}{max(i, j)}") for j in range(d)] for i in range(d)], dtype=object)
        code = drift.maxwell_drift(strength, x[None, :1], s[None, :1], mean[None], covariance[None])[0, 0]
        z, matrix = Matrix(x[0] - mean), Matrix(covariance)
        diffusion = strength * (projector(z) + matrix.trace() * sympy.eye(d) - matrix)
        expected = -diffusion * Matrix(s[0]) - (d - 1) * strength * z
        trial.claim(is_zero(Matrix(code) - expected), f"maxwell_drift is -(A * f) s + b * f, d = {d}")


class _Mixture:
    """Two anisotropic Gaussians; score in closed form."""

    def __init__(self, d: int, rng: np.random.Generator) -> None:
        self.centres = 0.5 * rng.standard_normal((2, d))
        roots = np.eye(d) + 0.12 * rng.standard_normal((2, d, d))
        self.precisions = np.linalg.inv(roots @ roots.swapaxes(1, 2))
        self.share = rng.uniform(0.3, 0.7)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Density (n,) and score (n, d)."""
        density, gradient = np.zeros(len(x)), np.zeros_like(x)
        for centre, precision, share in zip(self.centres, self.precisions, (self.share, 1 - self.share), strict=True):
            z = x - centre
            pull = z @ precision
            scale = share * np.sqrt(np.linalg.det(precision / (2 * np.pi)))
            part = scale * np.exp(-np.sum(z * pull, axis=1) / 2)
            density += part
            gradient -= part[:, None] * pull
        return density, gradient / density[:, None]


def _grid(d: int, half_width: float, step: float) -> Array:
    axis = np.arange(-half_width, half_width + step / 2, step)
    return np.array(list(itertools.product(axis, repeat=d)))


def _kernel_quadrature(trial: Trial, kernel: Kernel, rng: np.random.Generator) -> None:
    """Both forms by the trapezoid rule on R^d, which converges geometrically for these analytic integrands."""
    d = kernel.d
    step = 0.25 if d == 2 else 0.5
    w = _grid(d, 9.0, step)
    density = _Mixture(d, rng)
    f, s = density(w)
    mass = f * step**d
    keep = mass > 1e-15
    w, s, mass = w[keep], s[keep], mass[keep]
    where = f"{kernel.id}, d = {d}, epsilon = {kernel.epsilon:.3g}"
    for point in rng.standard_normal((4, d)):
        score = density(point[None])[1][0]
        matrices = kernel.matrix(point - w)
        pairs = -np.einsum("nij,nj,n->i", matrices, score - s, mass)
        split = -np.einsum("nij,n->ij", matrices, mass) @ score + mass @ kernel.divergence(point - w)
        trial.small(float(np.max(np.abs(pairs - split)) / kernel.strength), 1e-6, f"drift identity, {where}")


def _kernel_code(trial: Trial, kernel: Kernel, rng: np.random.Generator) -> None:
    """theory.drift on points: pair sum against Kernel.matrix; the mean-field form agrees on a quadrature of f."""
    d, n = kernel.d, 40
    x, s, weights = rng.standard_normal((n, d)), rng.standard_normal((n, d)), rng.dirichlet(np.ones(n))
    matrices = kernel.matrix(x[:, None] - x)
    expected = -np.einsum("nmij,nmj,m->ni", matrices, s[:, None] - s, weights)
    where = f"{kernel.id}, d = {d}"
    codes = {"pair_drift": drift.pair_drift(kernel, x, s, weights, chunk=16)}
    if kernel.is_maxwell:
        codes["maxwell_pair_drift"] = drift.maxwell_pair_drift(kernel.strength, x, s, weights)
    for name, value in codes.items():
        trial.small(float(np.max(np.abs(value - expected)) / kernel.strength), 1e-11, f"{name}, {where}")
    b = np.einsum("nmi,m->ni", kernel.divergence(x[:, None] - x), weights)
    split = -np.einsum("nmij,m,nj->ni", matrices, weights, s) + b
    value = drift.mean_field_drift(kernel, x, s, weights, chunk=16)
    trial.small(float(np.max(np.abs(value - split)) / kernel.strength), 1e-11, f"mean_field_drift, {where}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Prove it, run the code on symbols, then on random densities and kernels."""
    trial = Trial()
    trial.claims(_by_parts())
    trial.claims(_maxwell_moments())
    _code_is_exact(trial)
    for d in (2, 3):
        kernels = [maxwell(d, rng.uniform(0.05, 1))]
        lengths = (2.0,) if quick else (1.5, 2.0, 2.5, 4.0)
        kernels += [mollified_coulomb(d, rng.uniform(0.05, 1), epsilon) for epsilon in lengths]
        for kernel in kernels:
            _kernel_code(trial, kernel, rng)
            _kernel_quadrature(trial, kernel, rng)
    return trial.finding(
        "by parts for any profile and density in d = 2, 3; Maxwell from mean and covariance proved on skewed "
        "anisotropic f; theory.drift run on symbols equals the pair sum; on Gaussian mixtures, Maxwell and mollified "
        f"Coulomb, residual {trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="drift",
    statement="-int A(v-w)(s(v)-s(w)) f(w) dw = -(A * f)(v) s(v) + (b * f)(v) with b = div A; for Maxwell, mean and "
    "covariance of f suffice.",
    source="THEORY 1",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
