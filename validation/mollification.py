"""``python -m validation.mollification -o docs/mollification.md``: what mollifying the Coulomb kernel costs.

How far the solution f^eps of the mollified equation is from the solution f of the Coulomb equation as eps -> 0, both by
reference solvers (a grid in 2D, a radius for isotropic data); what certificate S1 can still say at that eps; whether
kappa' is right; and energy under explicit time steps with pair sums. Writes the document, its numbers as CSV and a
figure beside it. Exit code 0, 2 for a wrong command line, 5 if the output cannot be written, 130 if interrupted.
"""

from __future__ import annotations

import csv
import io
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

from certify.arguments import Parser
from certify.console import note, out, write_text
from certify.report import axes
from certify.report.svg import drawing, render
from certify.text import log_rounded_up, rounded_down, rounded_up
from solver.radial import Profile, RadialScheme, RadialSolution, coulomb, radial_reference, solve_radial, sphere_area
from solver.spectral import Grid, GridSolution, SpectralScheme, spectral_reference
from theory.densities import GaussianMixture
from theory.drift import pair_drift
from theory.errors import EXIT_INTERRUPTED, EXIT_OK, UserError
from theory.kernels import Kernel, mollified_coulomb
from theory.problem import Problem
from theory.problems import parse_problem, rosenbluth3d
from theory.provenance import Array
from validation.table import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESOLVED = 0.05  # a number counts as resolved if coarser references change it by less than this share
DEFECTS = (1e-2, 1e-4)  # of a model, as shares of the speed of the equation itself at t0
FLOOR = 1e-12  # share of the maximum of f0 below which |U|^2 f0 is left out
FINER = 4  # grid of the L1 norm, against that of the solution


# --- two solutions and their distances -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """Of an equation at t0: entropy production -dH/dt and the speed |U[f0]| in L2(f0); NaN where f0 jumps."""

    production: float
    speed: float


class Law(Protocol):
    """A solution at the times of a study."""

    @property
    def values(self) -> Mapping[str, Array]:
        """``probe`` and ``entropy``, (m,) each."""

    @property
    def stated(self) -> Mapping[str, Array]:
        """The solver's own estimate of its error: ``l1``, ``probe``, ``entropy``, (m,) each."""

    def apart(self, other: Law) -> dict[str, Array]:
        """Distances ``l1``, ``w2_lower``, ``w2_upper`` from a solution of the same case, (m,) each."""

    def moved(self) -> tuple[Array, Array]:
        """W2(f0, f_t) from below and from above, (m,) each."""


def gelbrich(first: Array, second: Array) -> float:
    """Bures distance of two covariances: a lower bound of W2 for equal means; no cancellation when they are close."""
    a, b = (_root(x) for x in (first, second))
    u, _, v = np.linalg.svd(b @ a)
    return float(np.linalg.norm(a - b @ (u @ v)))


def _root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def mirrored_rule(mixture: GaussianMixture, n: int) -> tuple[Array, Array]:
    """Nodes (n^2, 2) and weights of the first of two equal Gaussians that mirror each other in their mean.

    Every solution keeps the symmetry v -> 2 mean - v, so the other half of f0 gives the same averages.

    Raises
    ------
    ValueError
        If the mixture is not of this kind.
    """
    mirror = 2 * mixture.mean() - np.array(mixture.centres[0])
    if mixture.shares != (0.5, 0.5) or np.max(np.abs(mirror - mixture.centres[1])) > 0.0:
        raise ValueError("needs two equal Gaussians that mirror each other in their mean")
    x, w = hermegauss(n)
    w = w / w.sum()
    nodes = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.array(mixture.centres[0]) + math.sqrt(mixture.variance) * nodes, np.outer(w, w).ravel()


@dataclass(frozen=True)
class PlaneLaw:
    """A solution on a grid in 2D; its characteristics start at ``starts`` and carry ``weights``."""

    solution: GridSolution
    starts: Array
    weights: Array

    @property
    def values(self) -> Mapping[str, Array]:
        """Cov12 and entropy."""
        return {"probe": self.solution.covariance[:, 0, 1], "entropy": self.solution.entropy}

    @property
    def stated(self) -> Mapping[str, Array]:
        """As the solver says."""
        error = self.solution.error
        return {"l1": error["l1"], "probe": error["covariance"], "entropy": error["entropy"]}

    def apart(self, other: Law) -> dict[str, Array]:
        """L1 on a finer grid; W2 from the covariances and by the coupling of equal starts (inf where unresolved)."""
        if not isinstance(other, PlaneLaw):
            raise TypeError("solutions of different cases")
        one, two, grid = self.solution, other.solution, self.solution.grid
        fine = Grid(grid.half_width, FINER * grid.n, grid.centre)
        gap = (grid.resample(f - g, fine) for f, g in zip(one.density, two.density, strict=True))
        below = map(gelbrich, one.covariance, two.covariance)
        return {
            "l1": np.array([np.sum(np.abs(x)) * fine.spacing**2 for x in gap]),
            "w2_lower": np.fromiter(below, np.float64),
            "w2_upper": self._coupled(one.paths - two.paths),
        }

    def moved(self) -> tuple[Array, Array]:
        """From the covariances, and by the flow itself."""
        below = (gelbrich(self.solution.covariance[0], x) for x in self.solution.covariance)
        return np.fromiter(below, np.float64), self._coupled(self.solution.paths - self.starts)

    def _coupled(self, gap: Array) -> Array:
        squared = np.sum(gap**2, axis=-1) @ self.weights
        return np.where(np.isnan(squared), np.inf, np.sqrt(squared))


@dataclass(frozen=True)
class RadialLaw:
    """A solution that depends on |v| only; W2 is that of the radii, whose monotone coupling is optimal."""

    solution: RadialSolution
    levels: int = 4000
    cells: int = 20_000

    @property
    def values(self) -> Mapping[str, Array]:
        """f(0) and entropy."""
        return {"probe": self.solution.density[:, 0], "entropy": self.solution.entropy}

    @property
    def stated(self) -> Mapping[str, Array]:
        """As the solver says."""
        error = self.solution.error
        return {"l1": error["l1"], "probe": error["density"], "entropy": error["entropy"]}

    def quantiles(self, k: int) -> Array:
        """Radii inside which there is a share (i + 1/2)/levels of the mass at time number k, (levels,)."""
        r = np.linspace(0.0, self.solution.radius[-1], self.cells + 1)
        inside = self.solution.mass_inside(k, r)
        return np.interp((np.arange(self.levels) + 0.5) / self.levels, inside / inside[-1], r)

    def apart(self, other: Law) -> dict[str, Array]:
        """L1 by a fine trapezoidal rule; W2 exactly, up to the quadrature."""
        if not isinstance(other, RadialLaw):
            raise TypeError("solutions of different cases")
        one, two, m = self.solution, other.solution, len(self.solution.times)
        r = np.linspace(0.0, one.radius[-1], self.cells + 1)
        shell = sphere_area(one.d) * r ** (one.d - 1)
        l1 = [np.trapezoid(np.abs(one.at(k, r) - two.at(k, r)) * shell, r) for k in range(m)]
        w2 = np.array([_rms(self.quantiles(k) - other.quantiles(k)) for k in range(m)])
        return {"l1": np.array(l1), "w2_lower": w2, "w2_upper": w2}

    def moved(self) -> tuple[Array, Array]:
        """Exactly, both."""
        start = self.quantiles(0)
        w2 = np.array([_rms(self.quantiles(k) - start) for k in range(len(self.solution.times))])
        return w2, w2


def _rms(x: Array) -> float:
    return math.sqrt(float(np.mean(x**2)))


# --- the cases -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Initial data of the Coulomb equation.

    Parameters
    ----------
    id, title : str
    problem : Problem
        Gives the initial density and the dimension.
    strength : float
        C of the Coulomb kernel.
    epsilons : tuple of Fraction
        Each half of the one before.
    times : tuple of float
        Ascending, from t0.
    probe : str
        The number followed beside distances and entropy.
    solver, fine, coarse : str
        In words.
    solve : callable
        ``solve(profile, level)``, level 0 fine and 1 coarse.
    start : callable
        ``start(profile)``.
    """

    id: str
    title: str
    problem: Problem
    strength: float
    epsilons: tuple[Fraction, ...]
    times: tuple[float, ...]
    probe: str
    solver: str
    solve: Callable[[Profile, int], Law]
    start: Callable[[Profile], Start]

    @property
    def horizon(self) -> float:
        """T - t0."""
        return self.times[-1] - self.times[0]

    @property
    def reach(self) -> float:
        """sqrt(2 tr Sigma), the largest W2 of two laws with the mean and the energy of f0."""
        return math.sqrt(2 * float(np.trace(self.problem.initial.covariance())))

    def kernel(self, epsilon: Fraction) -> Kernel:
        """The mollified kernel."""
        return mollified_coulomb(self.problem.d, self.strength, float(epsilon))


def plane_case(quick: bool) -> Case:
    """Two Gaussians in 2D."""
    problem = parse_problem("anisotropic2d")
    strength, mixture = problem.kernel.strength, problem.initial
    if not isinstance(mixture, GaussianMixture):
        raise TypeError("anisotropic2d starts from a mixture")
    sizes, nodes, half_width = ((52, 44), (8, 6), 8.5) if quick else ((72, 56), (10, 8), 9.0)
    rules = [mirrored_rule(mixture, k) for k in nodes]
    times = (0.0, 10.0, 40.0) if quick else (0.0, 5.0, 10.0, 20.0, 40.0)

    def solve(profile: Profile, level: int) -> Law:
        starts, weights = rules[level]
        solution = spectral_reference(
            problem, np.array(times), half_width=half_width, n=sizes[level], profile=profile, starts=starts
        )
        return PlaneLaw(solution, starts, weights)

    def start(profile: Profile) -> Start:
        x, y = map(float, mixture.mean())
        grid = Grid(half_width, sizes[0], (x, y))
        scheme, log = SpectralScheme(profile, grid), mixture.log_density(grid.points)
        flux = scheme.flux(np.exp(log))[0]
        production = -np.sum(scheme.divergence(flux) * log) * grid.spacing**2
        known = log > np.max(log) + math.log(FLOOR)  # further out rounding errors of the flux, squared, exceed f
        squared = np.sum(np.sum(flux**2, axis=0)[known] * np.exp(-log[known])) * grid.spacing**2
        return Start(float(production), math.sqrt(squared))

    return Case(
        "anisotropic2d",
        "Two Gaussians in 2D (anisotropic2d)",
        problem,
        strength,
        _halvings(Fraction(1), 3 if quick else 6),
        times,
        "Cov12",
        f"Fourier grid solver, n = {sizes[0]}, half width {half_width:g} (coarser: n = {sizes[1]}); the singular "
        f"kernel exactly; {nodes[0]}² characteristics (coarser: {nodes[1]}²)",
        solve,
        start,
    )


def ring_case(quick: bool) -> Case:
    """Rosenbluth's ring in 3D."""
    problem = parse_problem("rosenbluth3d")
    return _radial_case(
        "rosenbluth3d",
        "Rosenbluth's ring in 3D, normalised (rosenbluth3d)",
        problem,
        rosenbluth3d.STRENGTH,
        _halvings(Fraction(1, 5), 3 if quick else 5),
        (0.0, 5.0, 20.0) if quick else (0.0, 5.0, 10.0, 20.0),
        (96, 64) if quick else (320, 160),
        1.5,
    )


def truncated_case(quick: bool) -> Case:
    """The truncated Gaussian in 2D, with the Coulomb kernel in place of Maxwell's."""
    problem = parse_problem("truncated2d")
    return _radial_case(
        "truncated2d-coulomb",
        "Truncated Gaussian in 2D with the Coulomb kernel (not a registered problem)",
        problem,
        problem.kernel.strength,
        _halvings(Fraction(1, 2), 3 if quick else 5),
        (0.0, 1.0, 5.0) if quick else (0.0, 0.5, 1.0, 2.5, 5.0),
        (96, 64) if quick else (320, 160),
        7.0,
        breaks=(2.0,),
    )


def _halvings(first: Fraction, n: int) -> tuple[Fraction, ...]:
    return tuple(first / 2**k for k in range(n))


def _radial_case(
    name: str,
    title: str,
    problem: Problem,
    strength: float,
    epsilons: tuple[Fraction, ...],
    times: tuple[float, ...],
    sizes: tuple[int, int],
    radius: float,
    breaks: tuple[float, ...] = (),
) -> Case:
    def solve(profile: Profile, level: int) -> Law:
        return RadialLaw(
            radial_reference(problem, np.array(times), radius=radius, n=sizes[level], profile=profile, breaks=breaks)
        )

    def start(profile: Profile) -> Start:
        return Start(math.nan, math.nan) if breaks else radial_start(problem, profile, radius, sizes[0])

    solver = f"radial finite volumes, n = {sizes[0]}, radius {radius:g}, extrapolated (coarser: n = {sizes[1]})"
    return Case(name, title, problem, strength, epsilons, times, "f(0)", solver, solve, start)


def radial_start(problem: Problem, profile: Profile, radius: float, n: int) -> Start:
    """Production and speed of smooth isotropic data around 0, extrapolated from n and n/2 intervals."""
    axis, d = np.eye(problem.d)[0], problem.d

    def at(n: int) -> Array:
        scheme = RadialScheme(profile, d, radius, n)
        log = problem.initial.log_density(scheme.nodes[:, None] * axis)
        f = np.exp(log)
        slope, middle = np.diff(f) / scheme.step, (f[1:] + f[:-1]) / 2
        flux = slope * (scheme.interaction @ middle) - middle * (scheme.interaction @ slope)
        production = flux @ np.diff(log)
        squared = np.sum(flux**2 / (scheme.edges ** (d - 1) * middle)) * radius / n
        return sphere_area(d) * np.array([production, squared])

    production, squared = (4 * at(n) - at(n // 2)) / 3
    return Start(float(production), math.sqrt(squared))


# --- the study -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """What lies between the mollified and the Coulomb solution.

    Parameters
    ----------
    epsilon : Fraction
    kappa : float
        kappa' of THEORY section 6.3.
    values, change : mapping of str to ndarray (m,)
        ``l1``, ``w2_lower``, ``w2_upper``, and mollified minus Coulomb of ``probe`` and ``entropy``; their change when
        both solutions are computed on coarser grids.
    start : Start
    """

    epsilon: Fraction
    kappa: float
    values: Mapping[str, Array]
    change: Mapping[str, Array]
    start: Start

    def resolved(self, name: str, k: int = -1) -> bool:
        """Whether coarser references change the number by less than the share ``RESOLVED``; NaN and inf are not."""
        return bool(np.abs(self.change[name][k]) < RESOLVED * np.abs(self.values[name][k]))


@dataclass(frozen=True)
class Study:
    """One case: the Coulomb solution, the gaps, and the largest error the solvers state of any solution in it."""

    case: Case
    law: Law
    start: Start
    gaps: tuple[Gap, ...]
    stated: Mapping[str, Array]

    def orders(self, name: str) -> list[float]:
        """Observed order in eps at the last time, one per halving; NaN where a gap is not resolved."""
        return [
            math.log2(abs(a.values[name][-1] / b.values[name][-1]))
            if a.resolved(name) and b.resolved(name)
            else math.nan
            for a, b in pairwise(self.gaps)
        ]

    def bound(self, gap: Gap, defect: float, k: int = -1) -> float:
        """Logarithm of S1 at time number k for a model whose defect is constant, ``defect`` times the speed at t0."""
        t = self.case.times[k] - self.case.times[0]
        return s1_log(gap.kappa, defect * gap.start.speed, t)

    def last_time(self, gap: Gap, defect: float) -> float:
        """When S1 passes sqrt(2 tr Sigma), at most T."""
        end = s1_time(gap.kappa, defect * gap.start.speed, self.case.reach)
        return min(self.case.times[0] + end, self.case.times[-1])


def s1_log(kappa: float, defect: float, t: float) -> float:
    """Log of int_0^t e^{2 kappa' (t - s)} D ds, D constant."""
    rate = 2 * kappa * t
    growth = rate + math.log(-math.expm1(-rate) / (2 * kappa)) if rate > 0 else math.log(t) if t > 0 else -math.inf
    return math.log(defect) + growth


def s1_time(kappa: float, defect: float, bound: float) -> float:
    """Time at which that integral reaches ``bound``."""
    return math.log1p(2 * kappa * bound / defect) / (2 * kappa) if kappa > 0 else bound / defect


def study(case: Case, tell: Callable[[str], None]) -> Study:
    """Solve the Coulomb and the mollified equations, each on two grids."""
    tell(f"{case.id}: Coulomb")
    plain = coulomb(case.strength)
    limits = [case.solve(plain, level) for level in (0, 1)]
    laws, gaps = [limits[0]], []
    for epsilon in case.epsilons:
        tell(f"{case.id}: epsilon = {epsilon}")
        kernel = case.kernel(epsilon)
        found = []
        for level, limit in enumerate(limits):
            law = case.solve(kernel.profile, level)
            shift = {q: law.values[q] - limit.values[q] for q in ("probe", "entropy")}
            found.append(law.apart(limit) | shift)
            if level == 0:
                laws.append(law)
        with np.errstate(invalid="ignore"):
            change = {q: np.abs(found[0][q] - found[1][q]) for q in found[0]}
        gaps.append(Gap(epsilon, kernel.kappa, found[0], change, case.start(kernel.profile)))
    stated = {q: np.max([law.stated[q] for law in laws], axis=0) for q in laws[0].stated}
    return Study(case, limits[0], case.start(plain), tuple(gaps), stated)


# --- kappa' against two solutions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Growth:
    """W2 of two solutions of the mollified equation (eps = C = 1, 2D) that start from thin rings of radii R(1 +- 2 %).

    ``ratio`` is W2(t)/W2(t0) at ``times``, ``change`` its change on a coarser grid, ``kappa`` the kernel's kappa'.
    """

    radius: float
    times: Array
    ratio: Array
    change: Array
    kappa: float

    @property
    def shares(self) -> Array:
        """Growth rate of log W2 between the times, as shares of the rate 2 kappa' that S1 allows."""
        return np.diff(np.log(self.ratio)) / np.diff(self.times) / (2 * self.kappa)


def ring_growth(radius: float, times: Sequence[float], sizes: tuple[int, int] = (192, 128)) -> Growth:
    """Compute it: W2 of isotropic laws is that of their radii, so nothing is bounded here but time and space error."""
    kernel, t = mollified_coulomb(2, 1.0, 1.0), np.array(times)

    def distances(n: int) -> Array:
        laws = [
            RadialLaw(solve_radial(partial(_thin_ring, s * radius), kernel.profile, 2, t, radius=3.0, n=n), 2000, 8000)
            for s in (0.98, 1.02)
        ]
        return laws[0].apart(laws[1])["w2_lower"]

    fine, coarse = (w / w[0] for w in map(distances, sizes))
    return Growth(radius, t, fine, np.abs(fine - coarse), kernel.kappa)


def _thin_ring(radius: float, r: Array) -> Array:
    """Density of a ring in 2D, a Gaussian of standard deviation radius/15 in the speed."""
    width = radius / 15
    mass = 2 * math.pi * math.sqrt(2 * math.pi) * width * radius  # but for the e^-112 that is lost at r = 0
    return np.asarray(np.exp(-(((r - radius) / width) ** 2) / 2) / mass)


# --- energy under time steps -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Integrator:
    """Explicit Runge-Kutta method with nodes' matrix a and weights b.

    v . U summed over the particles vanishes for pair sums, at any positions and scores, hence at each stage: one step
    h changes mean |v|^2 by exactly h^2 sum_ij (b_i b_j - b_i a_ij - b_j a_ji) mean k_i.k_j.
    """

    name: str
    order: int
    energy_order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def step(self, velocity: Callable[[Array], Array], x: Array, h: float) -> tuple[Array, float]:
        """Positions after a step, and what the identity says mean |v|^2 has gained."""
        k: list[Array] = []
        for row in self.a:
            k.append(velocity(x + h * sum(c * y for c, y in zip(row, k, strict=False))))
        a, b = np.array([[*row, *[0.0] * (len(self.b) - len(row))] for row in self.a]), np.array(self.b)
        products = np.array([[np.mean(np.sum(p * q, axis=1)) for q in k] for p in k])
        weights = np.outer(b, b) - b[:, None] * a - (b[:, None] * a).T
        return x + h * sum(w * y for w, y in zip(self.b, k, strict=True)), h * h * float(np.sum(weights * products))


EULER = Integrator("Euler", 1, 1, ((),), (1.0,))
HEUN = Integrator("Heun", 2, 3, ((), (1.0,)), (0.5, 0.5))
RK4 = Integrator("RK4", 4, 4, ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))


@dataclass(frozen=True)
class Energy:
    """Conservation under one integrator.

    Parameters
    ----------
    problem : str
        Specification.
    integrator : Integrator
    steps : tuple of float
        Halved each time.
    drift : ndarray (k,)
        Relative change of mean |v - mean|^2 at the end, per step length.
    unexplained : float
        Largest part of it that the identity does not give.
    momentum : float
        Largest change of the mean, against the thermal speed.
    apart : ndarray (k - 1,)
        RMS distance of the end positions for one step length and the next.
    """

    problem: str
    integrator: Integrator
    steps: tuple[float, ...]
    drift: Array
    unexplained: float
    momentum: float
    apart: Array

    @property
    def energy_orders(self) -> Array:
        """Observed orders, (k - 1,)."""
        return np.log2(np.abs(self.drift[:-1] / self.drift[1:]))

    @property
    def path_orders(self) -> Array:
        """Observed orders of the positions, (k - 2,)."""
        return np.log2(self.apart[:-1] / self.apart[1:])


def energy(spec: str, integrator: Integrator, steps: Sequence[int], end: float, n: int, seed: int) -> Energy:
    """N particles with the fixed score field of the initial density, pair sums of the problem's kernel."""
    problem = parse_problem(spec)
    start = problem.initial.sample(n, np.random.default_rng(seed))
    weights, middle = np.full(n, 1 / n), start.mean(axis=0)
    thermal = float(np.mean(np.sum((start - middle) ** 2, axis=1)))

    def velocity(x: Array) -> Array:
        return np.asarray(pair_drift(problem.kernel, x, problem.initial.score(x), weights, chunk=n))

    drift, unexplained, momentum, ends = [], 0.0, 0.0, []
    for count in steps:
        x, gained = start, 0.0
        for _ in range(count):
            x, more = integrator.step(velocity, x, end / count)
            gained += more
        change = float(np.mean(np.sum((x - middle) ** 2, axis=1) - np.sum((start - middle) ** 2, axis=1)))
        drift.append(change / thermal)
        unexplained = max(unexplained, abs(change - gained) / thermal)
        momentum = max(momentum, float(np.linalg.norm(x.mean(axis=0) - middle)) / math.sqrt(thermal))
        ends.append(x)
    apart = np.array([math.sqrt(np.mean(np.sum((p - q) ** 2, axis=1))) for p, q in pairwise(ends)])
    lengths = tuple(end / count for count in steps)
    return Energy(problem.spec, integrator, lengths, np.array(drift), unexplained, momentum, apart)


ENERGY_RUNS = {"anisotropic2d": 16.0, "rosenbluth3d": 8.0}  # and the time they run
ENERGY_STEPS = (8, 16, 32, 64)


def energies(quick: bool) -> list[Energy]:
    """The default problems, and the same a thousandth away from Coulomb, each under three integrators."""
    specs = [name + tail for name in ENERGY_RUNS for tail in (("",) if quick else ("", ":epsilon=1/1000"))]
    return [
        energy(spec, rule, ENERGY_STEPS, ENERGY_RUNS[spec.partition(":")[0]], 64, 0)
        for spec in specs
        for rule in (EULER, HEUN, RK4)
    ]


# --- what is written -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """Everything the document shows."""

    studies: tuple[Study, ...]
    growth: tuple[Growth, ...]
    energies: tuple[Energy, ...]
    quick: bool = False
    command: str = field(default="python -m validation.mollification -o docs/mollification.md")


def results(quick: bool, tell: Callable[[str], None], command: str) -> Results:
    """Run everything."""
    cases = (plane_case(quick), ring_case(quick), truncated_case(quick))
    studies = tuple(study(case, tell) for case in cases)
    tell("kappa'")
    growth = tuple(ring_growth(r, (0.0, 0.03, 0.1, 0.2, 0.4)) for r in ((1.0,) if quick else (0.8, 1.0, 1.2)))
    tell("energy")
    return Results(studies, growth, tuple(energies(quick)), quick, command)


def rows(found: Results) -> Iterator[tuple[str, ...]]:
    """Every number as (study, case, epsilon, t, quantity, value, change on coarser references, stated error)."""
    yield ("study", "case", "epsilon", "t", "quantity", "value", "change", "stated_error")
    for s in found.studies:
        for gap in s.gaps:
            head = ("gap", s.case.id, str(gap.epsilon))
            yield (*head, "", "kappa", repr(gap.kappa), "", "")
            yield (*head, f"{s.case.times[0]:g}", "entropy_production", repr(gap.start.production), "", "")
            for name, values in gap.values.items():
                for k, t in enumerate(s.case.times):
                    stated = repr(2 * float(s.stated[name][k])) if name in s.stated else ""
                    yield (*head, f"{t:g}", name, repr(float(values[k])), repr(float(gap.change[name][k])), stated)
        for name, values in s.law.values.items():
            for k, t in enumerate(s.case.times):
                stated = repr(float(s.law.stated[name][k]))
                yield ("coulomb", s.case.id, "0", f"{t:g}", name, repr(float(values[k])), "", stated)
        yield (
            "coulomb",
            s.case.id,
            "0",
            f"{s.case.times[0]:g}",
            "entropy_production",
            repr(s.start.production),
            "",
            "",
        )
    for g in found.growth:
        for t, ratio, change in zip(g.times, g.ratio, g.change, strict=True):
            yield (
                "growth",
                f"R = {g.radius:g}",
                "1",
                f"{t:g}",
                "w2_ratio",
                repr(float(ratio)),
                repr(float(change)),
                "",
            )
    for e in found.energies:
        for h, drift in zip(e.steps, e.drift, strict=True):
            yield (
                "energy",
                f"{e.problem} {e.integrator.name}",
                "",
                f"{h:g}",
                "relative_drift",
                repr(float(drift)),
                "",
                "",
            )


def as_csv(found: Results) -> str:
    """The numbers behind the document."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows(found))
    return buffer.getvalue()


def _cell(gap: Gap, name: str, k: int = -1) -> str:
    """A number; in parentheses where coarser references change it too much."""
    value = float(gap.values[name][k])
    text = "0" if value == 0 else f"{value:.3g}"
    return text if value == 0 or gap.resolved(name, k) else f"({text})"


def _between(gap: Gap, k: int = -1) -> str:
    """W2, or its two sides; in parentheses what coarser references change too much."""
    if gap.values["w2_lower"][k] == gap.values["w2_upper"][k]:
        return _cell(gap, "w2_lower", k)
    ends = (f(float(gap.values[q][k])) for q, f in (("w2_lower", rounded_down), ("w2_upper", rounded_up)))
    known = (gap.resolved(q, k) for q in ("w2_lower", "w2_upper"))
    return f"[{', '.join(x if sure else f'({x})' for x, sure in zip(ends, known, strict=True))}]"


def _order(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _case_section(s: Study) -> list[str]:
    case, end = s.case, s.case.times[-1]
    known = math.isfinite(s.start.production)
    head = ["eps", f"L1, t = {end:g}", f"W2, t = {end:g}", f"{case.probe}, t = {end:g}", f"H, t = {end:g}"]
    head += ["production at t0"] if known else []
    head += [f"e^(2κ'T), T = {case.horizon:g}"]
    body = []
    for gap in s.gaps:
        cells = [str(gap.epsilon), _cell(gap, "l1"), _between(gap), _cell(gap, "probe"), _cell(gap, "entropy")]
        cells += [f"{100 * (gap.start.production / s.start.production - 1):+.2f} %"] if known else []
        body.append([*cells, log_rounded_up(2 * gap.kappa * case.horizon)])
    halvings = [
        [
            f"{a.epsilon} → {b.epsilon}",
            *(_order(s.orders(q)[k]) for q in ("l1", "w2_lower", "w2_upper", "probe", "entropy")),
        ]
        for k, (a, b) in enumerate(pairwise(s.gaps))
    ]
    times = [[str(gap.epsilon), *(_cell(gap, "l1", k) for k in range(1, len(case.times)))] for gap in s.gaps]
    moved = [[str(gap.epsilon), *(_between(gap, k) for k in range(1, len(case.times)))] for gap in s.gaps]
    later = [f"t = {t:g}" for t in case.times[1:]]
    law = s.law.values
    values = [
        [q, *(f"{law[key][k]:.6g} ± {rounded_up(float(s.law.stated[key][k]), 1)}" for k in range(len(case.times)))]
        for q, key in ((case.probe, "probe"), ("H", "entropy"))
    ]
    largest = ", ".join(
        f"{name} {rounded_up(float(np.max(s.stated[q])), 2)}"
        for name, q in (("L1", "l1"), (case.probe, "probe"), ("H", "entropy"))
    )
    below = _below(s)
    return [
        f"## {case.title}",
        "",
        f"Solver: {case.solver}. The Coulomb solution itself:",
        "",
        *table(["", *(f"t = {t:g}" for t in case.times)], values),
        "",
        "Mollified minus Coulomb (distances for L1 and W2"
        + (
            ", an interval where only bounds are known"
            if any(_two_sided(g) for g in s.gaps)
            else ", which is exact here"
        )
        + "):",
        "",
        *table(head, body),
        "",
        "L1 distance over time:",
        "",
        *table(["eps", *later], times),
        "",
        "W2 over time:",
        "",
        *table(["eps", *later], moved),
        "",
        f"Observed order in eps at t = {end:g} (2 expected, see above):",
        "",
        *table(["halving", "L1", "W2 at least", "W2 at most", case.probe, "H"], halvings),
        "",
        f"Largest error the solver states of a single solution: {largest}. {below}",
        "",
    ]


def _summary(s: Study) -> str:
    """The default eps of a registered problem, and the smallest one at which S1 is of use."""
    case, share = s.case, DEFECTS[0]
    default = next((g for g in s.gaps if str(g.epsilon) == case.problem.constants["epsilon"]), s.gaps[-1])
    way = float(default.values["w2_upper"][-1]) / float(s.law.moved()[0][-1])
    last = s.last_time(default, share)
    until = "to the end" if last == case.times[-1] else f"until t = {last:.3g}"
    useful = [g for g in s.gaps if s.bound(g, share) <= math.log(float(s.law.moved()[0][-1]))]
    rest = "At no eps here does it beat the flow that rests to the end."
    if useful:
        where = f"The smallest eps here at which it beats the flow that rests to the end is {useful[-1].epsilon}"
        rest = f"{where}; there W2 is {_between(useful[-1])}."
    head = f"- {case.id}, t = {case.times[-1]:g}: at eps = {default.epsilon} the mollified solution is "
    return (
        f"{head}{_between(default)} in W2 and {_cell(default, 'l1')} in L1 from the Coulomb solution, at most "
        f"{rounded_up(100 * way, 2)} % of the way the law has gone in W2. S1 of a model with a defect of "
        f"{_percent(share)} says something {until}. {rest}"
    )


def _two_sided(gap: Gap) -> bool:
    return not np.array_equal(gap.values["w2_lower"], gap.values["w2_upper"])


def _below(s: Study) -> str:
    """Which L1 distances are smaller than the stated errors of the two solutions together."""
    under = [
        f"eps = {g.epsilon} at t = {t:g}"
        for g in s.gaps
        for k, t in enumerate(s.case.times)
        if 0 < g.values["l1"][k] < 2 * s.stated["l1"][k]
    ]
    if not under:
        return "Every L1 distance above is larger than the two stated errors together."
    return (
        "Smaller than the two stated errors together, and known only because most of the error is common to both "
        f"solutions: the L1 distances of {', '.join(under)}."
    )


def _trade_section(s: Study) -> list[str]:
    case = s.case
    head = ["eps", "2κ'", "factor 10 at t", "W2 to Coulomb, T"]
    head += [f"S1 at T, defect {_percent(x)}" for x in DEFECTS] + [
        f"says something until, {_percent(x)}" for x in DEFECTS
    ]
    body, (low, high) = [], s.law.moved()
    for gap in s.gaps:
        bounds = [s.bound(gap, x) for x in DEFECTS]
        cells = [
            str(gap.epsilon),
            f"{2 * gap.kappa:.3g}",
            f"{case.times[0] + math.log(10) / (2 * gap.kappa):.3g}",
            _between(gap),
        ]
        cells += [_verdict(b, case.reach, float(high[-1])) + log_rounded_up(b) for b in bounds]
        cells += ["T" if (t := s.last_time(gap, x)) == case.times[-1] else f"t = {t:.3g}" for x in DEFECTS]
        body.append(cells)
    totals = []
    for k, t in enumerate(case.times[1:], 1):
        at_rest = f"{low[k]:.3g}" if low[k] == high[k] else f"[{rounded_down(low[k])}, {rounded_up(high[k])}]"
        totals.append([f"{t:g}", at_rest, *(_best(s, x, k) for x in DEFECTS)])
    return [
        f"### {case.id}",
        "",
        f"Speed of the equation at t0, |U[f0]| in L2(f0): {s.start.speed:.3g} (Coulomb). Yardstick sqrt(2 tr Σ) = "
        f"{case.reach:.3g}.",
        "",
        *table(head, body),
        "",
        "What can be said of the Coulomb solution, S1 plus the W2 of the table above, at the best of these eps:",
        "",
        *table(["t", "W2(f0, f_t)", *(f"best, defect {_percent(x)}" for x in DEFECTS)], totals),
        "",
    ]


def _verdict(log_bound: float, reach: float, moved: float) -> str:
    if log_bound > math.log(reach):
        return "vacuous: "
    return "worse than resting: " if log_bound > math.log(moved) else ""


def _best(s: Study, defect: float, k: int) -> str:
    """The smallest sum over eps of S1 and the (numerical) distance of the two equations."""
    sums = [(math.exp(min(s.bound(g, defect, k), 700.0)) + float(g.values["w2_upper"][k]), g.epsilon) for g in s.gaps]
    value, epsilon = min(sums)
    return (
        f"{rounded_up(value)} (eps = {epsilon})" if value < s.case.reach else f"vacuous at every eps (best {epsilon})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _growth_section(growths: Sequence[Growth]) -> list[str]:
    body = [
        [
            f"{g.radius:g}",
            *(f"{x:.4f}" for x in g.ratio[1:]),
            f"{float(np.max(g.shares)):.1%}".replace("%", " %"),
            rounded_up(float(np.max(g.change)), 2),
        ]
        for g in growths
    ]
    times = growths[0].times[1:]
    allowed = ["at most", *(f"{math.exp(2 * growths[0].kappa * t):.4f}" for t in times), "100 %", ""]
    broken = any(np.any(g.ratio - g.change > np.exp(2 * g.kappa * g.times)) for g in growths)
    verdict = "it does" if broken else "it does not"
    return [
        "## Is κ' right?",
        "",
        "S1 rests on d/dt W2 ≤ 2κ' W2 for two solutions of the mollified equation. Here are pairs of solutions (eps "
        "= 1, C = 1, 2D) that start from thin rings of radii R(1 ± 2 %). W2 between isotropic laws is known exactly, "
        f"so this could refute κ': {verdict}. W2 does grow, so nothing like the κ' = 0 of Maxwell molecules can hold. "
        "The last columns: the largest share of the allowed rate that is used, and the largest change of the ratios "
        "on coarser grids.",
        "",
        *table(["R", *(f"W2({t:g})/W2(0)" for t in times), "share of the rate", "change"], [*body, allowed]),
        "",
    ]


def _energy_section(found: Sequence[Energy]) -> list[str]:
    body = [
        [
            e.problem,
            e.integrator.name,
            f"{e.steps[-1]:g}",
            f"{e.drift[-1]:.2e}",
            ", ".join(f"{x:.2f}" for x in e.energy_orders),
            ", ".join(f"{x:.2f}" for x in e.path_orders),
            rounded_up(e.unexplained, 2),
            rounded_up(e.momentum, 2),
        ]
        for e in found
    ]
    head = [
        "problem",
        "method",
        "last step",
        "energy drift",
        "its orders",
        "orders of the paths",
        "unexplained",
        "momentum",
    ]
    return [
        "## Energy under explicit time steps",
        "",
        "64 particles, pair sums of the mollified kernel, the score field of f0 held fixed. For any scores Σ v·U = 0 "
        "and Σ U = 0, so the equations of motion conserve energy and momentum exactly, and what is lost is lost by "
        "the time steps. For a Runge-Kutta method with matrix a and weights b one step h changes mean |v|² by "
        "exactly h² Σ (b_i b_j − b_i a_ij − b_j a_ji) mean k_i·k_j: for Euler h² mean |U|², for Heun (h²/4) mean |k₁ "
        "− k₂|² ≥ 0, one order better than its paths. *Unexplained* is the largest drift this identity leaves over, "
        "relative to the thermal energy; *momentum* the largest change of the mean, relative to the thermal speed.",
        "",
        *table(head, body),
        "",
    ]


def document(found: Results, figure: str, numbers: str) -> str:
    """The whole document; ``figure`` and ``numbers`` are the names of the files beside it."""
    traded = [s for s in found.studies if math.isfinite(s.start.speed)]
    quick = " **Quick settings: do not publish these numbers.**" if found.quick else ""
    lines = [
        "# What mollifying the Coulomb kernel costs",
        "",
        f"Written by `{found.command}`. Do not edit. Every number is in [{numbers}]({numbers}).{quick}",
        "",
        "The Coulomb kernel is singular. The certificates of this project speak of the equation in which |z| is "
        "replaced by sqrt(|z|² + eps²): a different equation. Small eps means the right equation but, in certificate "
        "S1, a factor e^(2κ'(t − t0)) with 2κ' = 0.412 (d − 1) C/eps³; large eps means a harmless factor and the "
        "wrong equation. This page measures both. Label: *numerical* throughout, from reference solvers with error "
        "estimates; nothing is enclosed, so the distances below are no certificates.",
        "",
        "- A number in parentheses is **not resolved**: computing both solutions on coarser grids changes it by "
        f"{_percent(RESOLVED)} or more. An order is shown only where both its numbers are resolved.",
        "- *W2 at least* compares covariances (Gelbrich), *W2 at most* couples equal starts; for isotropic laws W2 is "
        "that of the speeds and known exactly, up to quadrature.",
        "- Expected order 2: in the weak form a pair at distance r counts with (a_eps − a)(r) times r⁴, because the "
        "gradients of a test function and of log f both differ by O(r), and ∫ (a_eps − a) r^(d + 3) dr = −(3/2) eps² "
        "∫ r^(d − 2) dr + ... for smooth f.",
        "",
    ]
    lines += ["## In short", "", *(_summary(s) for s in traded), ""]
    for s in found.studies:
        lines += _case_section(s)
    lines += [
        "## The trade-off",
        "",
        f"![distance of the equations against certificate S1]({figure})",
        "",
        "S1 for a model whose flow defect is constant in time, a given share of the speed at which the law itself "
        "moves at t0. Two laws with the right mean and energy are never further apart than sqrt(2 tr Σ): an S1 above "
        "that says nothing and is called *vacuous* here; an S1 above W2(f0, f_t) is *worse than resting*, since the "
        "flow that does not move is closer than that. *Says something until*: the "
        "time at which S1 passes sqrt(2 tr Σ).",
        "",
    ]
    for s in traded:
        lines += _trade_section(s)
    lines += [*_growth_section(found.growth), *_energy_section(found.energies)]
    return "\n".join(lines).rstrip() + "\n"


def figure(found: Results) -> str:
    """At the last time, against eps: the distance of the two equations falls, the certificate explodes."""
    from matplotlib.figure import Figure

    traded = [s for s in found.studies if math.isfinite(s.start.speed)]
    name = "mollification"
    with drawing(name):
        canvas = Figure(figsize=(10.4, 3.5))
        for k, s in enumerate(traded):
            ax = canvas.add_axes((0.055 + 0.5 * k, 0.15, 0.30, 0.70))
            _trade_panel(ax, s)
        return render(
            canvas, name, "Distance of the mollified from the Coulomb solution, and certificate S1, against eps"
        )


def _trade_panel(ax: Axes, s: Study) -> None:
    case, gaps, high = s.case, s.gaps[::-1], math.log10(s.case.reach)  # from the left: small eps first
    x = axes.log10(np.array([float(g.epsilon) for g in gaps]))
    far = axes.log10(np.array([g.values["w2_upper"][-1] for g in gaps]))
    fine = np.linspace(x[0], x[-1], 161)
    speed = np.interp(fine, x, [g.start.speed for g in gaps])
    kappa = [mollified_coulomb(case.problem.d, case.strength, 10.0**e).kappa for e in fine]
    curves = [axes.Curve(x, far, "W2 to the Coulomb solution", axes.BLUE)]
    for share, color in zip(DEFECTS, (axes.VERMILION, axes.ORANGE), strict=True):
        bound = [s1_log(k, share * u, case.horizon) / math.log(10) for k, u in zip(kappa, speed, strict=True)]
        seen = np.where(np.array(bound) < high + 2.0, bound, np.nan)
        curves.append(axes.Curve(fine, seen, f"S1, defect {_percent(share)}", color))
    curves.append(axes.Curve(x, np.full_like(x, high), "vacuous above", axes.GREY, "--"))
    low = min(float(np.nanmin(c.y)) for c in curves if np.isfinite(c.y).any())
    ax.set_xlim(float(x[0]), float(x[-1]))
    axes.set_log_axis(ax, low - 0.3, high + 2.0)
    ax.set_xticks(list(x), [str(g.epsilon) for g in gaps])
    ax.set_xlabel("eps")
    axes.name_values(ax, f"{case.id}, t = {case.times[-1]:g}")
    axes.draw(ax, curves)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study and write it."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(given)
    except UserError as error:
        note(f"validation.mollification: {error.line().partition(': ')[2]}")
        return error.exit_code
    except KeyboardInterrupt:
        note("validation.mollification: interrupted; nothing was written")
        return EXIT_INTERRUPTED


def _main(given: list[str]) -> int:
    parser = Parser(prog="python -m validation.mollification", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="Markdown file; CSV and SVG go beside it")
    parser.add_argument("--quick", action="store_true", help="coarser and fewer eps; marked in the document")
    arguments = parser.read(given)
    began = time.monotonic()

    def tell(text: str) -> None:
        note(f"{time.monotonic() - began:5.0f} s  {text}")

    found = results(arguments.quick, tell, shlex.join(["python", "-m", "validation.mollification", *given]))
    beside = {kind: arguments.output.with_suffix(f".{kind}") for kind in ("csv", "svg")}
    write_text(beside["csv"], as_csv(found))
    write_text(beside["svg"], figure(found))
    write_text(arguments.output, document(found, beside["svg"].name, beside["csv"].name))
    out(f"{arguments.output}: {len(found.studies)} cases, {time.monotonic() - began:.0f} s")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
