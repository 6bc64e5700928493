"""Perturbed exact flows T = (id + tau(t) grad psi) o X of BKW, for which both sides of every certificate are known.

tau(t) = start + t - t0 and psi is a quadratic plus waves, small enough that id + tau grad psi is the gradient of a
convex function: then it is the optimal map from f_t to f~_t = T_# f0 for W2 (Brenier), so W2 is exact. All integrals
against f~_t are integrals against f_t, by Gauss-Legendre panels x angles built here, not by ``theory.quadrature``.
Amplitude 0 is the Maxwellian, where quadratic psi gives Gaussian pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from paper_checks.check import Trial
from paper_checks.search import ascend
from theory.bkw import Bkw
from theory.drift import maxwell_drift
from theory.gronwall import LogValue, NumericOps, TimeGrid
from theory.kernels import Kernel, maxwell
from theory.provenance import Array
from theory.theorems import THEOREMS

RULE = 1e-6  # relative accuracy of the finer space rule where a bound is nearly attained (affine maps)
_PANELS = (0.0, 0.8, 1.6, 2.6, 4.0, 7.0)
_WAVES = 2


def _angles(d: int, fine: bool) -> tuple[Array, Array]:
    """Directions (n, d) and weights that sum to 1."""
    n = (48 if fine else 18) if d == 2 else (24 if fine else 14)
    a = 2 * np.pi * np.arange(n) / n
    if d == 2:
        return np.stack([np.cos(a), np.sin(a)], axis=1), np.full(n, 1 / n)
    m = 14 if fine else 8
    c, wc = np.polynomial.legendre.leggauss(m)
    s = np.sqrt(1 - c**2)[:, None]
    nodes = np.stack([s * np.cos(a), s * np.sin(a), np.broadcast_to(c[:, None], (m, n))], axis=-1)
    return nodes.reshape(-1, 3), np.repeat(wc / 2 / n, n)


def rule(solution: Bkw, t: float, fine: bool) -> tuple[Array, Array]:
    """Nodes (n, d) and weights (n,) of integrals against f_t."""
    g, wg = np.polynomial.legendre.leggauss(16 if fine else 10)
    edges = np.array(_PANELS)
    half = np.diff(edges)[:, None] / 2
    r = ((edges[1:] + edges[:-1])[:, None] / 2 + half * g).ravel()
    directions, weights = _angles(solution.d, fine)
    x = (r[:, None, None] * directions).reshape(-1, solution.d)
    area = 2 * math.pi ** (solution.d / 2) / math.gamma(solution.d / 2)
    radial = (half * wg).ravel() * r ** (solution.d - 1) * area
    return x, np.outer(radial, weights).ravel() * np.exp(solution.log_density(t, x))


def invert(matrix: Array) -> tuple[Array, Array]:
    """Inverse and determinant of symmetric matrices (..., d, d); in 2D by hand, which is ten times faster."""
    if matrix.shape[-1] != 2:
        return np.asarray(np.linalg.inv(matrix), dtype=np.float64), np.asarray(np.linalg.det(matrix), dtype=np.float64)
    a, b, c = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
    det = a * c - b * b
    return np.stack([np.stack([c, -b], -1), np.stack([-b, a], -1)], -2) / det[..., None, None], det


def dot(u: Array, v: Array) -> Array:
    """Inner products of vectors (..., d); numpy sums over a short last axis slowly."""
    return np.asarray(np.einsum("...i,...i->...", u, v))


def apply(matrix: Array, vector: Array) -> Array:
    """Matrices (..., d, d) times vectors (..., d)."""
    return np.asarray((matrix @ vector[..., None])[..., 0])


@dataclass(frozen=True)
class Perturbation:
    """psi(x) = x.Mx/2 + b.x + sum_k a_k cos(k.x + phase)/|k|^2, and the share ``start`` present at t0."""

    matrix: Array
    shift: Array
    waves: Array
    sizes: Array
    phases: Array
    start: float

    def jets(self, x: Array, tau: Array) -> tuple[Array, Array, Array, Array, Array]:
        """At x (..., n, d), tau (..., n): grad psi; J = I + tau Hessian, its inverse, determinant, grad log det."""
        phase = x @ self.waves.T + self.phases
        scale = self.sizes / np.sum(self.waves**2, axis=1)
        gradient = x @ self.matrix + self.shift - (scale * np.sin(phase)) @ self.waves
        outer = self.waves[:, :, None] * self.waves[:, None, :]
        hessian = self.matrix - np.tensordot(scale * np.cos(phase), outer, axes=(-1, 0))
        jacobian = np.eye(x.shape[-1]) + tau[..., None, None] * hessian
        inverse, det = invert(jacobian)
        stretch = np.tensordot(inverse, outer, axes=([-2, -1], [1, 2]))
        grad_log_det = tau[..., None] * (scale * np.sin(phase) * stretch) @ self.waves
        return gradient, jacobian, inverse, det, grad_log_det


@dataclass(frozen=True)
class Base:
    """An exact solution on [t0, T] with everything that does not depend on the perturbation, at all time nodes."""

    name: str
    solution: Bkw
    grid: TimeGrid
    kernel: Kernel
    times: Array
    x: Array
    weights: Array
    log_density: Array
    score: Array
    drift: Array

    @property
    def t0(self) -> float:
        """Start."""
        return float(self.grid.edges[0])


def base(name: str, d: int, strength: float, amplitude: float, t0: float, t1: float, fine: bool) -> Base:
    """The exact solution at the quadrature nodes in time, then at t0 and t1."""
    solution = Bkw(d, strength, amplitude, t0)
    grid = TimeGrid(np.linspace(t0, t1, 3))
    times = np.concatenate([grid.flat, [t0, t1]])
    nodes = [rule(solution, float(t), fine) for t in times]
    log_density, score, drift = (
        np.array([f(float(t), x) for t, (x, _) in zip(times, nodes, strict=True)])
        for f in (solution.log_density, solution.score, solution.drift)
    )
    x, weights = (np.array(part) for part in zip(*nodes, strict=True))
    return Base(name, solution, grid, maxwell(d, strength), times, x, weights, log_density, score, drift)


def bases(quick: bool, fine: bool = False) -> list[Base]:
    """The exact solutions attacked, with the coarser rule for the search or the finer one for the verdict."""
    found = [
        base("BKW 2D", 2, 1 / 16, 0.5, 0.5, 5.0, fine),
        base("Maxwellian 2D", 2, 1 / 16, 0.0, 0.0, 3.0, fine),
    ]
    return found if quick else [*found, base("BKW 3D", 3, 1 / 24, 1.0, 7.0, 9.0, fine)]


@dataclass(frozen=True)
class Seen:
    """Ingredients at the time nodes and, at t0 and t1 (last two entries of each), the true errors."""

    ingredients: Mapping[str, Array]
    w2: Array
    w1_upper: Array
    w1_lower: Array
    kl: Array
    l1_lower: Array
    chi2: Array
    gelbrich: Array


def _root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ vectors.swapaxes(-1, -2))


def gelbrich(mean: Array, covariance: Array, other_mean: Array, other: Array) -> Array:
    """Lower bound of W2 by means and covariances (Gelbrich 1990); stacks of (d,) and (d, d)."""
    root = _root(other)
    cross = np.trace(_root(root @ covariance @ root), axis1=-2, axis2=-1)
    traces = np.trace(covariance, axis1=-2, axis2=-1) + np.trace(other, axis1=-2, axis2=-1)
    gap = np.sum((mean - other_mean) ** 2, axis=-1)
    return np.sqrt(np.maximum(gap + traces - 2 * cross, 0.0))


def _one_lipschitz(v: Array) -> Array:
    """Values (..., m) of smooth 1-Lipschitz functions at v (..., d), to bound W1 from below."""
    soft, root = 0.05, math.sqrt(2)
    tilted = (v[..., :1] + v[..., 1:2]) / root, (v[..., :1] - v[..., 1:2]) / root
    bent = [np.sqrt(part**2 + soft) for part in (v[..., :1], v[..., 1:2], *tilted)]
    ring = np.sqrt(np.sum(v * v, axis=-1, keepdims=True) + soft)
    return np.concatenate([v, *tilted, ring, (bent[0] - bent[1]) / root, (bent[2] - bent[3]) / root], axis=-1)


def see(on: Base, how: Perturbation) -> Seen:
    """Defects and errors of the perturbed flow, each from its definition."""
    x, w = on.x, on.weights
    tau = np.broadcast_to((how.start + on.times - on.t0)[:, None], w.shape)
    gradient, jacobian, inverse, det, grad_log_det = how.jets(x, tau)
    y = x + tau[..., None] * gradient
    speed = apply(jacobian, on.drift) + gradient
    push = apply(inverse, on.score - grad_log_det)
    mean = np.einsum("tn,tni->ti", w, y)
    z = y - mean[:, None]
    covariance = (w[..., None] * z).swapaxes(1, 2) @ z
    zero, eye = np.zeros_like(mean), np.broadcast_to(np.eye(on.solution.d), covariance.shape)
    own = speed - maxwell_drift(on.kernel.strength, y, push, mean, covariance)
    lin = speed - maxwell_drift(on.kernel.strength, y, push, zero, eye)
    there = np.stack([on.solution.drift(float(t), v) for t, v in zip(on.times, y, strict=True)])
    from_exact = speed - there  # with the drift of f_t itself, at the learned points
    diffusion = on.kernel.matrix(y) + on.kernel.strength * (on.solution.d - 1) * np.eye(on.solution.d)
    weighted = dot(lin, apply(invert(diffusion)[0], lin))
    size = dot(lin, lin)
    log_learned = on.log_density - np.log(det)
    log_here = np.stack([on.solution.log_density(float(t), v) for t, v in zip(on.times, y, strict=True)])
    log_maxwellian = -dot(y, y) / 2 - on.solution.d / 2 * math.log(2 * math.pi)
    excess = 1 - np.exp(log_here - log_learned)  # (f~ - f)/f~
    over = np.exp(log_learned - log_maxwellian)
    move = dot(y - x, y - x)
    n = on.grid.n_nodes

    def average(values: Array) -> Array:
        return np.einsum("tn,tn->t", w, values)

    ingredients = {
        "defect": np.sqrt(average(dot(own, own))),
        "defect_l1": average(np.sqrt(size)),
        "defect_l2": np.sqrt(average(size)),
        "defect_entropy": average(weighted),
        "defect_chi2": average(weighted * over),
        "drift_mismatch": np.sqrt(average(dot(own - from_exact, own - from_exact))),
        "residual_rms": np.sqrt(average(dot(own, own))),
        "drift_error_law": np.sqrt(average(dot(from_exact, from_exact))),
    }
    ends = slice(n, None)
    gaps = _one_lipschitz(y[ends]) - _one_lipschitz(x[ends])
    bend = 0.1 * np.sqrt(average(excess**2))[:, None] + 1e-150
    return Seen(
        ingredients={key: value[:n] for key, value in ingredients.items()},
        w2=np.sqrt(average(move))[ends],
        w1_upper=average(np.sqrt(move))[ends],
        w1_lower=np.max(np.abs(np.einsum("tn,tnm->tm", w[ends], gaps)), axis=1),
        kl=average(log_learned - log_here)[ends],
        l1_lower=average(excess * excess / np.sqrt(excess**2 + bend**2))[ends],
        chi2=average(excess**2 * over)[ends],
        gelbrich=gelbrich(mean, covariance, zero, eye)[ends],
    )


def decode(on: Base, p: Array) -> Perturbation:
    """Parameters to a perturbation whose Jacobian stays positive definite up to t1."""
    d = on.solution.d
    upper = np.triu_indices(d)
    matrix = np.zeros((d, d))
    matrix[upper] = p[: len(upper[0])]
    matrix = matrix + np.triu(matrix, 1).T
    shift, rest = p[len(upper[0]) : len(upper[0]) + d], p[len(upper[0]) + d :]
    waves = rest[: _WAVES * d].reshape(_WAVES, d)
    norm = np.linalg.norm(waves, axis=1, keepdims=True)
    waves = waves / norm * np.clip(norm, 0.3, 2.0)
    sizes, phases = rest[_WAVES * d : _WAVES * (d + 1)], rest[_WAVES * (d + 1) : _WAVES * (d + 2)]
    span = float(on.grid.edges[-1] - on.grid.edges[0])
    start = 0.5 * span * max(0.0, math.sin(rest[-2]))
    largest = np.linalg.norm(matrix, 2) + np.sum(np.abs(sizes))
    bound = 10 ** min(max(rest[-1], -3.0), -0.4) / (span + start)  # at most 0.4 in all: f~/M stays integrable
    factor = bound / max(largest, np.linalg.norm(shift), 1e-300)
    return Perturbation(factor * matrix, factor * shift, waves, factor * sizes, phases, start)


def parameters(on: Base) -> int:
    """Length of the vector ``decode`` takes."""
    d = on.solution.d
    return d * (d + 1) // 2 + d + _WAVES * (d + 2) + 2


def bound(on: Base, theorem: str, values: Mapping[str, object]) -> float:
    """Bound of a theorem at t1 with its own time-rule error added; quantities beyond the quadrature are 0 here."""
    ops = NumericOps(on.grid)
    needed = {i.id for i in THEOREMS[theorem].ingredients}
    given = {key: 0.0 if key.endswith("_tail") else values[key] for key in needed}
    terms = THEOREMS[theorem].formula(ops, **given)
    total = sum(terms.values(), start=ops.error)
    return float(LogValue.of(total).numbers()[-1])


def attack(
    trial: Trial,
    what: str,
    sides: Callable[[Base, Seen], tuple[float, float]],
    rng: np.random.Generator,
    quick: bool,
) -> list[float]:
    """Smallest bound/truth found on every base, by random starts and local ascent; ``sides`` gives bound and truth."""
    found = []
    for on, finer in zip(bases(quick), bases(quick, fine=True), strict=True):

        def worst(points: Array, on: Base = on) -> Array:
            pairs = [sides(on, see(on, decode(on, p))) for p in points]
            return np.array([-b / max(truth, 1e-300) for b, truth in pairs])

        starts, steps = (3, 6) if quick else ((2, 10) if on.solution.d == 3 else (6, 40))
        start = rng.standard_normal((starts, parameters(on)))
        affine = on.solution.d * (on.solution.d + 1) // 2
        start[:2, -2 - 2 * _WAVES : -2 - _WAVES] = 0.0  # no waves: affine maps, Gaussian pairs;
        start[0, :affine] = start[0, -2] = 0.0  # the first a translation that starts at t0
        _, where, tries = ascend(worst, start, rng, lambda p: p, steps=steps)
        b, truth = sides(finer, see(finer, decode(finer, where)))
        trial.ratio(b * (1 + RULE), truth, f"{what}, {on.name}", tries)
        found.append(b / truth)
    return found


def normalised(trial: Trial, quick: bool) -> None:
    """Mass, energy, Stein's identity of f_t and its drift against U[f_t]: the code's own formulas enter here."""
    for on in bases(quick):
        d = on.solution.d
        trial.small(float(np.max(np.abs(on.weights.sum(axis=1) - 1))), 1e-8, f"mass of f_t, {on.name}")
        energy = np.einsum("tn,tni,tni->t", on.weights, on.x, on.x)
        trial.small(float(np.max(np.abs(energy - d))), 1e-7, f"energy of f_t, {on.name}")
        stein = np.einsum("tn,tni,tni->t", on.weights, on.score, on.x)
        trial.small(float(np.max(np.abs(stein + d))), 1e-7, f"Stein identity of f_t, {on.name}")
        mean, covariance = np.zeros((len(on.times), d)), np.broadcast_to(np.eye(d), (len(on.times), d, d))
        own = maxwell_drift(on.kernel.strength, on.x, on.score, mean, covariance)
        trial.small(float(np.max(np.abs(own - on.drift))), 1e-12, f"drift of f_t, {on.name}")
