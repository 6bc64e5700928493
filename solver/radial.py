"""Reference solver for isotropic data in 2D and 3D, any profile: one dimension in r, conservative, implicit.

For f = f(r) the flux is radial. With z = v - w, |v| = r, |w| = s and the angle theta between them,
v.A(z)v/r^2 = a s^2 sin^2 and v.A(z)w/(r s) = a r s sin^2, so that with x = r^2/2, y = s^2/2

    r^{d-2} d_t f = d_x int W(x, y) [ f_x(x) f(y) - f(x) f_y(y) ] dy,     W = (r s)^d S(r, s) = W(y, x),
    S(r, s) = int_{sphere} a(|z|) sin^2(theta) domega.

(3D Coulomb: S = (8 pi/3) C / max(r, s)^3, the Rosenbluth potentials.) Finite volumes around the nodes r_i = i h, with
W between edges: the bracket is antisymmetric, so mass and energy are conserved *exactly* by the discrete equation (to
rounding in time as well, because they are linear), and the singularity of S at r = s in 2D Coulomb never enters.
Second order in h; three grids are run, the two finest extrapolated, and the change of the extrapolated value from one
pair of grids to the next, plus the change under a looser time tolerance in a smaller ball, is reported as its error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special
from scipy.integrate import solve_ivp
from scipy.interpolate import BSpline, make_interp_spline
from scipy.sparse import diags_array

from theory.problem import Problem
from theory.provenance import Array, Estimate, Rigor, Side
from theory.relaxation import gauss_legendre

Profile = Callable[[Array], Array]
NUMBERS = ("mass", "energy", "fourth_moment", "entropy")
LOOSER = 100.0  # factor of the time tolerance in the run that measures the error in time and of the truncation
SHRINK = 7, 8  # its radius, as a fraction


def coulomb(strength: float) -> Profile:
    """Profile C r^-3 of the true Coulomb kernel, r > 0 (``theory.kernels`` has only the mollified one)."""
    return lambda r: strength / (r * r * r)


def sphere_area(d: int) -> float:
    """Surface of the unit sphere of R^d."""
    return float(2 * math.pi ** (d / 2) / math.gamma(d / 2))


def angular_mean(profile: Profile, d: int, r: Array, s: Array) -> Array:
    """S(r, s) = int a(|v - w|) sin^2(theta) domega over |w| = s for |v| = r; r, s > 0 of one shape (n,).

    Gauss-Legendre on dyadic panels towards theta = 0, where a singular profile peaks over a width |r - s|/sqrt(r s);
    relative error about 1e-12 for Maxwell and (mollified) Coulomb. Infinite or meaningless at r = s for 2D Coulomb.
    """
    gap = np.abs(r - s) / np.sqrt(r * s)
    finest = max(float(np.min(gap[gap > 0], initial=1.0)), 1e-9)
    panels = math.ceil(math.log2(math.pi / finest)) + 2
    edges = math.pi * np.concatenate([[0.0], 2.0 ** np.arange(-panels, 1)])
    x, w = gauss_legendre(10)
    half = np.diff(edges)[:, None] / 2
    angles, weights = (edges[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
    total, square, product = np.zeros_like(r), (r - s) ** 2, 4 * r * s
    for angle, weight in zip(angles, weights, strict=True):
        total += weight * math.sin(angle) ** d * profile(np.sqrt(square + product * math.sin(angle / 2) ** 2))
    return total * (2.0 if d == 2 else 2 * math.pi)


@dataclass(frozen=True)
class RadialScheme:
    """The discrete equation on nodes r_i = i h, i = 0..n, h = radius/n.

    Parameters
    ----------
    profile : callable
        a(r) for r > 0.
    d : int
        2 or 3.
    radius : float
        No flux through it; f must be negligible there.
    n : int
        Number of intervals.
    """

    profile: Profile
    d: int
    radius: float
    n: int

    def __post_init__(self) -> None:
        if self.d not in (2, 3) or not self.radius > 0 or self.n < 4:
            raise ValueError(f"needs d in (2, 3), radius > 0, n >= 4; got {self.d}, {self.radius}, {self.n}")

    @cached_property
    def nodes(self) -> Array:
        """r_i, (n + 1,)."""
        return np.linspace(0.0, self.radius, self.n + 1)

    @cached_property
    def edges(self) -> Array:
        """Midpoints of the nodes, (n,): where the flux lives."""
        return (self.nodes[1:] + self.nodes[:-1]) / 2

    @cached_property
    def volumes(self) -> Array:
        """Integral of r^{d-1} over each cell, (n + 1,)."""
        return np.diff(np.concatenate([[0.0], self.edges, [self.radius]]) ** self.d) / self.d

    @cached_property
    def step(self) -> Array:
        """Differences of x = r^2/2 between neighbouring nodes, (n,)."""
        return np.diff(self.nodes**2) / 2

    @cached_property
    def interaction(self) -> Array:
        """W(x_e, x_e') times the width of e', (n, n); the diagonal drops out of the flux and is 0."""
        i, j = np.triu_indices(self.n, 1)
        r, s = self.edges[i], self.edges[j]
        table = np.zeros((self.n, self.n))
        table[i, j] = (r * s) ** self.d * angular_mean(self.profile, self.d, r, s)
        return (table + table.T) * self.step

    def rate(self, f: Array) -> Array:
        """d_t f at the nodes for f at the nodes, (n + 1,)."""
        slope, middle = np.diff(f) / self.step, (f[1:] + f[:-1]) / 2
        flux = slope * (self.interaction @ middle) - middle * (self.interaction @ slope)
        return np.diff(flux, prepend=0.0, append=0.0) / self.volumes

    def jacobian(self, f: Array) -> Array:
        """Derivative of ``rate``, (n + 1, n + 1); exact, so that Newton's method keeps mass and energy."""
        n, w = self.n, self.interaction
        slope, middle = np.diff(f) / self.step, (f[1:] + f[:-1]) / 2
        difference = diags_array([-1 / self.step, 1 / self.step], offsets=[0, 1], shape=(n, n + 1))
        average = diags_array([np.full(n, 0.5), np.full(n, 0.5)], offsets=[0, 1], shape=(n, n + 1))
        flux = slope[:, None] * (w @ average) - middle[:, None] * (w @ difference)
        local = diags_array(w @ middle) @ difference - diags_array(w @ slope) @ average
        return np.diff(flux + local.toarray(), axis=0, prepend=0.0, append=0.0) / self.volumes[:, None]

    def initial(self, density: Profile, breaks: Sequence[float] = ()) -> Array:
        """f0(r) at the nodes, (n + 1,), or its average over those cells that contain one of ``breaks``.

        Averages everywhere would do for the equation, but near r = 0 they differ from the values at the nodes by
        O(h^2/i^2), which no extrapolation removes.
        """
        f = density(self.nodes)
        x, w = gauss_legendre(16)
        for place in (b for b in breaks if 0 < b < self.radius):
            cell = int(np.searchsorted(self.edges, place))
            ends = np.concatenate([[0.0], self.edges, [self.radius]])[cell : cell + 2]
            cuts = np.unique(np.concatenate([np.clip(breaks, *ends), ends]))
            half = np.diff(cuts)[:, None] / 2
            r = cuts[:-1, None] + half * (1 + x)
            f[cell] = np.sum(half * w * density(r) * r ** (self.d - 1)) / self.volumes[cell]
        return f

    def quantities(self, f: Array) -> dict[str, Array]:
        """Mass, integrals of |v|^2 f and |v|^4 f, and H = int f log f, of rows f (m, n + 1); values (m,)."""
        weight = sphere_area(self.d) * self.volumes
        log = special.xlogy(np.maximum(f, 0.0), np.maximum(f, 0.0))
        powers = {"mass": f, "energy": f * self.nodes**2, "fourth_moment": f * self.nodes**4, "entropy": log}
        return {name: values @ weight for name, values in powers.items()} | {"density": f}

    def evolve(self, f0: Array, times: Array, rtol: float) -> Array:
        """Values at ``times`` (ascending; f0 belongs to the first), (len(times), n + 1), by variable-order BDF."""
        if len(times) == 1:
            return f0[None].copy()
        span, scale = (float(times[0]), float(times[-1])), float(np.max(f0))
        done = solve_ivp(
            lambda _, f: self.rate(f),
            span,
            f0,
            "BDF",
            t_eval=times,
            rtol=rtol,
            atol=rtol * scale,
            jac=lambda _, f: self.jacobian(f),
        )
        if not done.success:
            raise RuntimeError(f"the radial solver stopped: {done.message}")
        return done.y.T


@dataclass(frozen=True)
class RadialSolution:
    """An isotropic solution with its own uncertainty.

    Parameters
    ----------
    d : int
    times : ndarray (m,)
    radius : ndarray (k,)
        Ascending from 0.
    density : ndarray (m, k)
    mass, energy, fourth_moment, entropy : ndarray (m,)
        Integrals of f, |v|^2 f, |v|^4 f and f log f.
    error : mapping of str to ndarray (m,)
        Estimated absolute error of each of these; of the density its largest value, ``l1`` its L1 norm. Not a bound.
    drift : mapping of str to float
        Largest relative change over time of the mass and the energy that the discrete equation conserves.
    """

    d: int
    times: Array
    radius: Array
    density: Array
    mass: Array
    energy: Array
    fourth_moment: Array
    entropy: Array
    error: Mapping[str, Array]
    drift: Mapping[str, float]

    def _spline(self, values: Array, sign: float) -> BSpline:
        """Quintic spline through values at the nodes, continued to negative radii as an even or odd function."""
        nodes = np.concatenate([-self.radius[:0:-1], self.radius])
        return make_interp_spline(nodes, np.concatenate([sign * values[:0:-1], values]), k=5)

    def at(self, index: int, r: Array) -> Array:
        """Density at time number ``index`` and radii r of any shape; 0 beyond the grid."""
        inside = np.asarray(r) <= self.radius[-1]
        spline = self._spline(self.density[index], 1.0)
        return np.where(inside, spline(np.where(inside, r, 0.0)), 0.0)

    def mass_inside(self, index: int, r: Array) -> Array:
        """Mass inside radius r <= the last one, any shape."""
        shell = sphere_area(self.d) * self.radius ** (self.d - 1) * self.density[index]
        inside = self._spline(shell, (-1.0) ** (self.d - 1)).antiderivative()
        return inside(r) - inside(0.0)

    def flow_radius(self, start: int, end: int, r: Array) -> Array:
        """|X| at time number ``end`` of characteristics at |X| = r (n,) at time number ``start``.

        The mass inside is constant along them. Accurate to about the error of the mass inside over the radial density,
        so not far out in the tail, nor where f vanishes.
        """
        target = self.mass_inside(start, r)
        low, high = np.zeros_like(r), np.full_like(r, self.radius[-1])
        for _ in range(52):
            middle = (low + high) / 2
            below = self.mass_inside(end, middle) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    @property
    def equilibrium_entropy(self) -> float:
        """H of the Maxwellian with the initial mass and energy."""
        mass, temperature = self.mass[0], self.energy[0] / (self.d * self.mass[0])
        return float(mass * (math.log(mass) - self.d / 2 * (math.log(2 * math.pi * temperature) + 1)))

    def estimate(self, name: str) -> Estimate:
        """``mass``, ``energy``, ``fourth_moment`` or ``entropy`` over time, with its error in the details."""
        return reported(self, name, NUMBERS, "radial finite volumes, extrapolated")


def reported(solution: object, name: str, names: Sequence[str], method: str) -> Estimate:
    """A number per time of a reference solution: numerical, neither an upper nor a lower value."""
    if name not in names:
        raise ValueError(f"{name!r} is not one of {', '.join(names)}")
    detail = {"error": solution.error[name]}  # type: ignore[attr-defined]
    return Estimate(getattr(solution, name), Side.NONE, Rigor.NUMERICAL, method, detail=detail)


def solve_radial(
    density: Profile,
    profile: Profile,
    d: int,
    times: Array,
    *,
    radius: float,
    n: int = 320,
    breaks: Sequence[float] = (),
    rtol: float = 1e-9,
) -> RadialSolution:
    """Solve the Landau equation for isotropic initial data.

    Parameters
    ----------
    density : callable
        f0(r), any mass; bounded.
    profile : callable
        a(r) for r > 0, e.g. ``Kernel.profile`` or ``coulomb(C)``.
    d : int
        2 or 3.
    times : ndarray (m,)
        Ascending; f0 belongs to times[0].
    radius : float
        Truncation: no flux through this radius.
    n : int
        Intervals of the finest grid, a multiple of 32; the solution is given on n/2.
    breaks : sequence of float
        Radii where f0 jumps or has a kink.
    rtol : float
        Tolerance of the integration in time.

    Raises
    ------
    ValueError
        If n is no multiple of 32 or times do not ascend.
    RuntimeError
        If the time integration fails.
    """
    times = np.asarray(times, dtype=np.float64)
    if n % 32 or n < 32 or np.any(np.diff(times) <= 0):
        raise ValueError(f"needs ascending times and n a positive multiple of 32, got n = {n}")
    fine, middle, coarse = (RadialScheme(profile, d, radius, n // k) for k in (1, 2, 4))
    part, whole = SHRINK
    small = RadialScheme(profile, d, radius * part / whole, coarse.n * part // whole)
    runs = [_run(scheme, density, times, breaks, rtol) for scheme in (fine, middle, coarse)]
    loose = _run(small, density, times, breaks, LOOSER * rtol)
    best, second = _extrapolate(runs[0], runs[1]), _extrapolate(runs[1], runs[2])
    error = {q: np.abs(best[q] - second[q]) + np.abs(runs[2][q] - loose[q]) for q in NUMBERS}
    outside = coarse.n - small.n
    change = np.abs(_on(coarse, best["density"]) - second["density"])
    change += np.abs(runs[2]["density"] - np.pad(loose["density"], ((0, 0), (0, outside))))
    error |= {"density": change.max(axis=1), "l1": change @ (sphere_area(d) * coarse.volumes)}
    drift = {q: float(np.max(np.abs(runs[0][q] / runs[0][q][0] - 1))) for q in ("mass", "energy")}
    return RadialSolution(d=d, times=times, radius=middle.nodes, error=error, drift=drift, **best)


def radial_reference(
    problem: Problem, times: Array, *, radius: float, profile: Profile | None = None, **options: Any
) -> RadialSolution:
    """``solve_radial`` for a problem with isotropic data around its mean.

    ``profile`` replaces that of its kernel: ``coulomb(C)`` is what a mollified problem stands for. Where f0 jumps, pass
    the radii as ``breaks``.

    Raises
    ------
    ValueError
        If the initial density does not say it is isotropic.
    """
    if not getattr(problem.initial, "isotropic", False):
        raise ValueError(f"{problem.id} has no isotropic initial density")
    mean, axis = problem.initial.mean(), np.eye(problem.d)[0]
    return solve_radial(
        lambda r: np.exp(problem.initial.log_density(mean + r.reshape(-1, 1) * axis)).reshape(r.shape),
        profile or problem.kernel.profile,
        problem.d,
        times,
        radius=radius,
        **options,
    )


def _run(
    scheme: RadialScheme, density: Profile, times: Array, breaks: Sequence[float], rtol: float
) -> dict[str, Array]:
    return scheme.quantities(scheme.evolve(scheme.initial(density, breaks), times, rtol))


def _on(coarse: RadialScheme, density: Array) -> Array:
    """Densities (m, k + 1) of a finer grid at the nodes of a coarser one."""
    return density[:, :: (density.shape[1] - 1) // coarse.n]


def _extrapolate(fine: Mapping[str, Array], coarse: Mapping[str, Array]) -> dict[str, Array]:
    """Richardson extrapolation of a second-order method, on the nodes of the coarser grid."""
    on_nodes = dict(fine) | {"density": fine["density"][:, ::2]}
    return {q: (4 * on_nodes[q] - coarse[q]) / 3 for q in coarse}
