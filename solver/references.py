"""References for problems without a closed-form solution: the deterministic solvers behind one protocol.

* Maxwell, isotropic data (``theory.relaxation``): the exact law by quadrature, also where f0 jumps.
* isotropic data, any other kernel (``solver.radial``): one dimension, implicit, conservative.
* 2D, smooth data, any kernel (``solver.spectral``): Fourier grid.

What the three say of their own error is an estimate. Elsewhere there is no reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import special

from solver.radial import Profile, RadialSolution, radial_reference, sphere_area
from solver.spectral import GridSolution, spectral_reference
from theory import relaxation
from theory.problem import Problem
from theory.provenance import Array
from theory.quadrature import K15, on_panels
from theory.reference import Reference

HALF_WIDTH, POINTS = 5.7, 72  # of the Fourier grid; the first in units of the mean of the widest standard deviations
RADIAL_CELLS, MARGIN = 320, 1.1  # of the radial grid; its radius over the truncation radius of f0
TABLE = 4001  # radii at which the mass inside is tabulated
ROUNDING = 1e-13  # of masses and densities by quadrature (``theory.relaxation``), relative


@dataclass(frozen=True)
class Found:
    """A solution at times (m,) with its estimated errors (``theory.reference.Reference``)."""

    method: str
    times: Array
    density_error: Array
    l1_error: Array
    mean: Array
    covariance: Array
    moment_error: Array
    entropy: Array
    entropy_error: Array
    paths: Array
    path_error: Array
    at: Callable[[int, Array], Array]

    def density(self, k: int, v: Array) -> Array:
        """f_{t_k} at v (n, d), never negative."""
        return np.maximum(self.at(k, v), 0.0)


def reference_for(problem: Problem, times: Array, starts: Array) -> Reference | None:
    """The most accurate reference there is for a problem, or None.

    Parameters
    ----------
    problem : Problem
    times : ndarray (m,)
        Ascending, not before problem.t0.
    starts : ndarray (n, d)
        Where to start characteristics, at problem.t0.
    """
    times = np.asarray(times, dtype=np.float64)
    isotropic = bool(getattr(problem.initial, "isotropic", False))
    if isotropic and problem.kernel.is_maxwell:
        return relaxed(problem, times, starts)
    if isotropic:
        return radial(problem, times, starts)
    if problem.d == 2 and problem.initial.regularity()[0]:
        return spectral(problem, times, starts)
    return None


def _from_start(problem: Problem, times: Array) -> tuple[Array, slice]:
    """Times with problem.t0 before them, and where the given ones are."""
    t0 = float(problem.t0)
    if times[0] < t0:
        raise ValueError(f"t = {times[0]} lies before the start {problem.t0}")
    return (times, slice(None)) if times[0] == t0 else (np.concatenate([[t0], times]), slice(1, None))


# --- 2D: Fourier grid ---------------------------------------------------------------------------------------------


def spectral(
    problem: Problem,
    times: Array,
    starts: Array,
    *,
    half_width: float | None = None,
    n: int = POINTS,
    profile: Profile | None = None,
) -> Reference:
    """Reference on a Fourier grid, in 2D; the box holds what the initial density may become.

    ``profile`` replaces that of the kernel (``solver.radial.coulomb``), here and below.
    """
    every, own = _from_start(problem, times)
    if half_width is None:
        # at the start and in equilibrium
        now = np.linalg.eigvalsh(problem.initial.covariance())
        half_width = HALF_WIDTH * float(np.sqrt(now[-1]) + np.sqrt(np.mean(now))) / 2
    s: GridSolution = spectral_reference(problem, every, half_width=half_width, n=n, profile=profile, starts=starts)
    error = {k: v[own] for k, v in s.error.items()}
    return Found(
        method=f"Fourier grid solver, n = {n}, half width {half_width:.3g}",
        times=times,
        density_error=error["density"],
        l1_error=error["l1"],
        mean=s.mean[own],
        covariance=s.covariance[own],
        moment_error=np.maximum(error["mean"], error["covariance"]),
        entropy=s.entropy[own],
        entropy_error=error["entropy"],
        paths=s.paths[own],
        path_error=s.path_error[own],
        at=lambda k, v: s.at(k + (own.start or 0), v),
    )


# --- isotropic data -----------------------------------------------------------------------------------------------


def radial(
    problem: Problem, times: Array, starts: Array, *, n: int = RADIAL_CELLS, profile: Profile | None = None
) -> Reference:
    """Reference for isotropic data by one-dimensional finite volumes; characteristics by the mass inside them."""
    every, own = _from_start(problem, times)
    mean, reach = problem.initial.mean(), MARGIN * float(problem.initial.radial_edges()[-1])
    s: RadialSolution = radial_reference(problem, every, radius=reach, n=n, profile=profile)
    between = np.array([_between_nodes(s, k) for k in range(len(every))])
    first, sup, l1 = own.start or 0, s.error["density"] + between[:, 0], s.error["l1"] + between[:, 1]
    r0 = np.linalg.norm(starts - mean, axis=-1)
    grid = np.linspace(0.0, reach, TABLE)
    radius, error = np.full((len(times), len(r0)), np.nan), np.full((len(times), len(r0)), np.inf)
    known = r0 <= reach
    # a rule has many starts on few spheres
    spheres, which = np.unique(np.round(r0[known] / reach, 14), return_inverse=True)
    for k in range(len(times)):
        if every[k + first] == every[0]:
            radius[k, known], error[k, known] = r0[known], 0.0
            continue
        x = s.flow_radius(0, k + first, reach * spheres)
        # no mass inside a sphere is further off than the densities are in L1
        radius[k, known] = x[which]
        error[k, known] = shift(x, grid, s.mass_inside(k + first, grid), l1[0] + l1[k + first])[which]
    return Found(
        method=f"radial finite volumes, {n} cells, extrapolated, radius {reach:.3g}",
        times=times,
        density_error=sup[own],
        l1_error=l1[own],
        **_conserved(problem, len(times)),
        entropy=s.entropy[own],
        entropy_error=s.error["entropy"][own],
        **_straight(mean, starts, r0, radius, error),
        at=lambda k, v: s.at(k + first, np.linalg.norm(v - mean, axis=-1)),
    )


def _between_nodes(s: RadialSolution, k: int) -> tuple[float, float]:
    """Error of the quintic spline through the nodes, largest and in L1: an eighth of that through every other one.

    A smooth density would allow a 63rd; f0 may have a kink at 0.
    """
    half = replace(s, radius=s.radius[::2], density=s.density[:, ::2])
    r = s.radius[1:-1:2]
    change = np.abs(half.at(k, r) - s.density[k, 1:-1:2]) / 8
    return float(np.max(change)), float(change @ (sphere_area(s.d) * r ** (s.d - 1)) * 2 * s.radius[1])


def relaxed(problem: Problem, times: Array, starts: Array) -> Reference:
    """The exact law of isotropic Maxwell data by quadrature; characteristics by the mass outside them."""
    start, mean = relaxation.RadialStart.of(problem), problem.initial.mean()
    r0 = np.linalg.norm(starts - mean, axis=-1)
    spheres, which = np.unique(r0, return_inverse=True)
    outside = np.array([problem.initial.tail_moment(float(r), 0) for r in spheres])
    radius, error = np.empty((len(times), len(r0))), np.empty((len(times), len(r0)))
    sup, l1, entropy, entropy_error = (np.empty(len(times)) for _ in range(4))
    for k, t in enumerate(times):
        law = relaxation.radial_law(problem, float(t), start)
        edges, table = law.table.edges, law.table
        grid = np.concatenate([np.linspace(a, b, 400, endpoint=False) for a, b in pairwise(edges)])
        slack = ROUNDING + start.outside.error + table.error
        if law.b == 0.0:
            radius[k], error[k] = r0, 0.0
        else:
            x = _radius_of(table, outside, edges[-1])
            radius[k], error[k] = x[which], shift(x, grid, 1 - table(grid), slack)[which]
        entropy[k], entropy_error[k], l1[k], sup[k] = _integrals(problem, float(t), edges)
    return Found(
        method="exact law of isotropic Maxwell data by quadrature",
        times=times,
        density_error=sup,
        l1_error=l1,
        **_conserved(problem, len(times)),
        entropy=entropy,
        entropy_error=entropy_error,
        **_straight(mean, starts, r0, radius, error),
        at=lambda k, v: relaxation.density(problem, float(times[k]), v),
    )


def shift(x: Array, grid: Array, mass: Array, slack: float) -> Array:
    """How far radii x (n,) can be off if the mass inside them, ``mass`` at ``grid``, is off by ``slack``; inf outside.

    In the tail no radius is known where less mass than the slack lies outside.
    """
    mass = np.maximum.accumulate(mass)
    here = np.interp(x, grid, mass)
    up = np.where(here + slack < mass[-1], np.interp(here + slack, mass, grid), np.inf)
    return np.asarray(np.maximum(up - x, x - np.interp(here - slack, mass, grid)))


def _radius_of(outside: relaxation.Table, target: Array, top: float) -> Array:
    """Radii with the given masses outside, by bisection."""
    low, high = np.zeros_like(target), np.full_like(target, top)
    for _ in range(60):
        middle = (low + high) / 2
        above = outside(middle) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


def _integrals(problem: Problem, t: float, edges: Array) -> tuple[float, float, float, float]:
    """Entropy and its error; L1 and largest error of the density, from its mass and the rule's own error."""
    d = problem.d
    r, fine, coarse = on_panels(K15, np.sort(np.concatenate([edges, (edges[1:] + edges[:-1]) / 2])))
    f = relaxation.density(problem, t, problem.initial.mean() + r.ravel()[:, None] * np.eye(d)[0]).reshape(r.shape)
    shell = sphere_area(d) * r ** (d - 1)
    mass, rough = (float(np.sum(w * shell * f)) for w in (fine, coarse))
    h, rough_h = (float(np.sum(w * shell * special.xlogy(f, f))) for w in (fine, coarse))
    return h, abs(h - rough_h) + ROUNDING, abs(mass - 1) + abs(mass - rough) + ROUNDING, ROUNDING * float(f.max())


def _conserved(problem: Problem, m: int) -> dict[str, Array]:
    """Mean and covariance of isotropic data: those of the start, by symmetry and conservation of energy."""
    mean, covariance = problem.initial.mean(), problem.initial.covariance()
    return {
        "mean": np.tile(mean, (m, 1)),
        "covariance": np.tile(covariance, (m, 1, 1)),
        "moment_error": np.full(m, ROUNDING * float(np.max(np.abs(covariance)))),
    }


def _straight(mean: Array, starts: Array, r0: Array, radius: Array, error: Array) -> dict[str, Array]:
    """Paths along fixed directions."""
    direction = (starts - mean) / np.where(r0 > 0, r0, 1.0)[:, None]
    lost = ~np.isfinite(error)
    paths = mean + np.where(lost, np.nan, radius)[..., None] * direction
    return {"paths": paths, "path_error": np.where(lost, np.inf, error)}
