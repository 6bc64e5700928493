"""Reference solver in 2D for any profile: Fourier in velocity, explicit in time, no assumption of symmetry.

    d_t f = div( (A * f) grad f - (A * grad f) f )        [ (A * grad f) = (div A) * f ]

on a box [-L, L)^2 outside which f is negligible. Convolutions are aperiodic (zero padding), derivatives spectral, time
stepping is RK4 with the step at the stability limit. Two discrete kernels:

* ``fourier``: A truncated to |z| <= 2 sqrt(2) L, which changes nothing in the box, has the transform
  pi [ h_0(k) I + h_2(k) (cos 2phi, sin 2phi; sin 2phi, -cos 2phi) ], h_m(k) = int a(r) r^3 J_m(k r) dr: one integral
  per |k|, whatever the profile, and the true Coulomb singularity costs nothing (Vico, Greengard, Ferrando, J. Comput.
  Phys. 323, 2016). Spectrally accurate; energy is conserved to that accuracy.
* ``sampled``: A at the grid points; spectrally accurate where a is smooth on the grid's scale (Maxwell). A(z) z = 0
  holds on the grid, so that energy is conserved to rounding error and to the size of f at the boundary.

Mass is conserved exactly; momentum to rounding error and to the size of f at the boundary. A second, coarser run in a
smaller box, with a longer time step, gives the error estimate: the change between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy import fft, special

from solver.radial import Profile, reported
from theory.problem import Problem
from theory.provenance import Array, Estimate
from theory.relaxation import Table

Density = Callable[[Array], Array]
REAL_STABILITY = 2.785  # of RK4, on the negative real axis
NOWHERE = np.empty((0, 2))
RESOLVED = 1e-14  # share of its maximum below which rounding errors of f count in flux/f
STENCIL = 10  # points per axis of the interpolation along characteristics
_SCALE = np.array([np.prod(np.delete(j - np.arange(STENCIL), j)) for j in range(STENCIL)], dtype=np.float64)
SHRINK, COARSEN = 0.92, 0.72  # of the box and of the number of points, for the run that measures the error
STATED = ("mass", "mean", "covariance", "fourth_moment", "entropy")
NUMBERS = ("mass", "fourth_moment", "entropy")


@dataclass(frozen=True)
class Grid:
    """Periodic grid of n^2 points (n even) on [-L, L)^2.

    Parameters
    ----------
    half_width : float
        L.
    n : int
        Points per axis.
    centre : tuple of float
        Added to the velocities: the middle of the box.
    """

    half_width: float
    n: int
    centre: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.n % 2 or self.n < 4 or not self.half_width > 0:
            raise ValueError(f"needs an even n >= 4 and a positive width, got {self.n}, {self.half_width}")

    @property
    def spacing(self) -> float:
        """Distance 2 L/n of the points."""
        return 2 * self.half_width / self.n

    @cached_property
    def offsets(self) -> Array:
        """-L, ..., L - h, (n,)."""
        return np.asarray(self.spacing * (np.arange(self.n) - self.n // 2), dtype=np.float64)

    @cached_property
    def points(self) -> Array:
        """Velocities, (n, n, 2), first index along the first axis."""
        axes = [c + self.offsets for c in self.centre]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def cardinal(self, axis: int, x: Array) -> Array:
        """Values at x (m,) of the n trigonometric basis functions that are 1 at one node and 0 at the others."""
        phase = (x[:, None] - self.centre[axis] - self.offsets) / self.half_width * math.pi
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.sin(self.n * phase / 2) / (self.n * np.tan(phase / 2))
        return np.where(np.abs(np.sin(phase / 2)) < 1e-14, 1.0, value)

    def interpolate(self, f: Array, v: Array) -> Array:
        """Trigonometric interpolants of f (..., n, n) at v (m, 2), (..., m); 0 outside the box."""
        inside = np.all(np.abs(v - np.array(self.centre)) <= self.half_width, axis=-1)
        values = np.sum((self.cardinal(0, v[:, 0]) @ f) * self.cardinal(1, v[:, 1]), axis=-1)
        return np.where(inside, values, 0.0)

    def resample(self, f: Array, other: Grid) -> Array:
        """Trigonometric interpolant of f (n, n) on another grid of the same centre; 0 outside this box."""
        rows = self.cardinal(0, self.centre[0] + other.offsets)
        columns = self.cardinal(1, self.centre[1] + other.offsets)
        inside = np.abs(other.offsets) <= self.half_width
        return np.where(inside[:, None] & inside, rows @ f @ columns.T, 0.0)


def _lagrange(x: Array) -> Array:
    """Values at x (...) of the polynomials that are 1 at one of 0, ..., STENCIL - 1 and 0 at the others."""
    away = x[..., None] - np.arange(STENCIL)
    one = np.ones((*x.shape, 1))
    below = np.concatenate([one, np.cumprod(away[..., :-1], axis=-1)], axis=-1)
    above = np.concatenate([np.cumprod(away[..., :0:-1], axis=-1)[..., ::-1], one], axis=-1)
    return below * above / _SCALE


def kernel_samples(profile: Profile, grid: Grid) -> Array:
    """A11, A12, A22 at the differences of grid points, (3, 2n, 2n), in the order of the discrete transform.

    A(0) is put to 0, which is its value for Maxwell and every mollified kernel.
    """
    z = grid.spacing * fft.fftfreq(2 * grid.n, 1 / (2 * grid.n))
    x, y = z[:, None], z[None, :]
    r2 = x * x + y * y
    a = np.where(r2 > 0, profile(np.sqrt(np.where(r2 > 0, r2, 1.0))), 0.0)
    return np.stack([a * y * y, -a * x * y, a * x * x])


def kernel_band_limited(profile: Profile, grid: Grid) -> Array:
    """The same from the transform of A truncated to |z| <= 2 sqrt(2) L: exact against data the grid resolves.

    The transform is summed on three times the box, where the periodic images of the truncated kernel stay out of reach.
    """
    n, period, reach = 3 * grid.n, 6 * grid.half_width, 2 * math.sqrt(2) * grid.half_width
    kx = 2 * math.pi / period * fft.fftfreq(n, 1 / n)[:, None]
    ky = 2 * math.pi / period * np.arange(n // 2 + 1)[None, :]
    k = np.hypot(kx, ky)
    h0, h2 = (table(k) for table in _hankel_tables(profile, reach, float(k.max())))
    with np.errstate(invalid="ignore"):
        cosine, sine = ((kx**2 - ky**2) / k**2, 2 * kx * ky / k**2)
    cosine[0, 0] = sine[0, 0] = 0.0
    sine[n // 2, :] = sine[:, n // 2] = 0.0  # odd in each component: no value of its own at the Nyquist frequency
    transforms = math.pi * np.stack([h0 + h2 * cosine, h2 * sine, h0 - h2 * cosine])
    values = fft.irfft2(transforms, s=(n, n)) * (n / period) ** 2
    keep = np.concatenate([np.arange(grid.n), np.arange(-grid.n, 0)])
    return values[:, keep[:, None], keep]


def _hankel_tables(profile: Profile, reach: float, largest: float) -> Iterator[Table]:
    """int_0^reach a(r) r^3 J_m(k r) dr, m = 0 and 2, as functions of k in [0, largest].

    Panels are dyadic towards r = 0 (profiles of any scale) and a few radians of k r long elsewhere.
    """
    width = min(8.0 / largest, reach)
    edges = np.concatenate(
        [[0.0], width * 2.0 ** np.arange(-36, 0), np.linspace(width, reach, math.ceil(reach / width) + 1)]
    )
    x, w = leggauss(16)
    half = np.diff(edges)[:, None] / 2
    r = (edges[:-1, None] + half * (1 + x)).ravel()
    weight = (half * w).ravel() * profile(r) * r**3
    panels = np.linspace(0.0, largest * (1 + 1e-12), math.ceil(largest * reach / 10) + 1)
    for order in (0, 2):
        yield Table.of(partial(_hankel, order, r, weight), panels)


def _hankel(order: int, r: Array, weight: Array, k: Array) -> Array:
    return special.jv(order, np.outer(k, r)) @ weight


@dataclass(frozen=True)
class SpectralScheme:
    """The equation on a grid.

    Parameters
    ----------
    profile : callable
        a(r) for r > 0.
    grid : Grid
    kernel : str
        ``fourier`` or ``sampled``.
    """

    profile: Profile
    grid: Grid
    kernel: str = "fourier"

    def __post_init__(self) -> None:
        if self.kernel not in ("fourier", "sampled"):
            raise ValueError(f"the kernel is fourier or sampled, not {self.kernel!r}")

    @cached_property
    def _kernel_transform(self) -> Array:
        make = kernel_band_limited if self.kernel == "fourier" else kernel_samples
        return fft.rfft2(make(self.profile, self.grid)) * self.grid.spacing**2

    @cached_property
    def _wave_numbers(self) -> tuple[Array, Array]:
        n = self.grid.n
        k = np.pi / self.grid.half_width * fft.fftfreq(n, 1 / n)
        k[n // 2] = 0.0
        return 1j * k[:, None], 1j * np.abs(k[None, : n // 2 + 1])

    def _convolve(self, transform: Array) -> Array:
        n = self.grid.n
        return fft.irfft2(transform, s=(2 * n, 2 * n), overwrite_x=True)[..., :n, :n]

    def gradient(self, f: Array) -> Array:
        """Spectral derivatives, (2, n, n)."""
        transform = fft.rfft2(f)
        return fft.irfft2(np.stack([k * transform for k in self._wave_numbers]), s=f.shape, overwrite_x=True)

    def divergence(self, flux: Array) -> Array:
        """Spectral divergence of (2, n, n)."""
        x, y = fft.rfft2(flux)
        kx, ky = self._wave_numbers
        return fft.irfft2(kx * x + ky * y, s=flux.shape[1:], overwrite_x=True)

    def coefficients(self, f: Array) -> tuple[Array, Array, Array]:
        """The gradient of f (2, n, n); A * f as (11, 12, 22), (3, n, n); (A * grad f) = (div A) * f, (2, n, n)."""
        n, kernel = self.grid.n, self._kernel_transform
        slope = self.gradient(f)
        data = fft.rfft2(np.concatenate([f[None], slope]), s=(2 * n, 2 * n))
        friction = np.stack([kernel[0] * data[1] + kernel[1] * data[2], kernel[1] * data[1] + kernel[2] * data[2]])
        out = self._convolve(np.concatenate([kernel * data[0], friction]))
        return slope, out[:3], out[3:]

    def flux(self, f: Array) -> tuple[Array, Array]:
        """(A * f) grad f - (A * grad f) f, (2, n, n), and A * f."""
        (fx, fy), diffusion, friction = self.coefficients(f)
        a11, a12, a22 = diffusion
        return np.stack([a11 * fx + a12 * fy, a12 * fx + a22 * fy]) - friction * f, diffusion

    def rate(self, f: Array) -> Array:
        """d_t f, (n, n)."""
        return self.divergence(self.flux(f)[0])

    def velocity(self, f: Array, flux: Array, x: Array) -> Array:
        """U[f] = -flux/f at x (m, 2); NaN where f is below RESOLVED of its maximum, or x is near the edge of the box.

        f and flux, over the Gaussian with the moments of f (without it the tail is too steep for polynomials), are
        interpolated locally on a grid twice as fine: a global interpolant would carry its rounding errors everywhere.
        """
        if not len(x):
            return np.empty_like(x)
        fine = self._refine @ np.concatenate([f[None], flux]) @ self._refine.T
        fine[:, fine[0] <= RESOLVED * np.max(fine[0])] = np.nan
        values = self._local(fine * self._flattening(f), x)
        return -values[:, 1:] / values[:, :1]

    @cached_property
    def _fine(self) -> Grid:
        return Grid(self.grid.half_width, 2 * self.grid.n, self.grid.centre)

    @cached_property
    def _refine(self) -> Array:
        """Values on the finer grid of the n basis functions of one axis, (2n, n)."""
        return self.grid.cardinal(0, self.grid.centre[0] + self._fine.offsets)

    def _flattening(self, f: Array) -> Array:
        """exp(z.Sigma^-1 z/2) on the finer grid with the mean and covariance Sigma of f."""
        v, mass = self.grid.points, np.sum(f)
        mean = np.einsum("ij,ijk->k", f, v) / mass
        z = v - mean
        inverse = np.linalg.inv(np.einsum("ij,ijk,ijl->kl", f, z, z) / mass)
        x, y = (c + self._fine.offsets - m for c, m in zip(self.grid.centre, mean, strict=True))
        rows, columns = (np.exp(u * u * w / 2) for u, w in zip((x, y), np.diag(inverse), strict=True))
        return np.asarray(rows[:, None] * columns * np.exp(inverse[0, 1] * x[:, None] * y))

    def _local(self, fields: Array, x: Array) -> Array:
        """Polynomials of degree 9 per axis through the nearest of (k, 2n, 2n) fine values at x (m, 2); (m, k)."""
        place = (x - np.array(self.grid.centre) + self.grid.half_width) / self._fine.spacing
        first = np.floor(np.where(np.isfinite(place), place, -1.0)).astype(np.int64) - STENCIL // 2 + 1
        inside = np.all((first >= 0) & (first <= self._fine.n - STENCIL), axis=1)
        first = np.where(inside[:, None], first, 0)
        share = _lagrange(place - first)
        weight = (share[:, 0, :, None] * share[:, 1, None, :]).reshape(len(x), -1, 1)
        step = (np.arange(STENCIL)[:, None] * self._fine.n + np.arange(STENCIL)).ravel()
        which = (first @ np.array([self._fine.n, 1]))[:, None] + step
        stencils = fields.reshape(len(fields), -1).take(which, axis=1).swapaxes(0, 1)
        return np.where(inside[:, None], (stencils @ weight)[..., 0], np.nan)

    def stable_step(self, diffusion: Array) -> float:
        """Longest step of RK4 for a diffusion matrix (3, n, n), with frozen coefficients."""
        a11, a12, a22 = diffusion
        return float(REAL_STABILITY / (np.max(a11 + 2 * np.abs(a12) + a22) * (np.pi / self.grid.spacing) ** 2))

    def advance(self, f: Array, x: Array, left: float, safety: float, longest: float) -> tuple[Array, Array, float]:
        """One step of RK4 for f (n, n) and its characteristics x (m, 2), and its length.

        The length divides ``left`` and stays below safety * stability limit and ``longest``.

        Raises
        ------
        FloatingPointError
            If f is not finite any more.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            flux, diffusion = self.flux(f)
            limit = min(safety * self.stable_step(diffusion), longest)
            if not limit > 0.0:
                raise FloatingPointError("the spectral solver became unstable; use a smaller safety factor")
            step = left / math.ceil(left / limit)
            slopes = [(self.divergence(flux), self.velocity(f, flux, x))]
            for share in (0.5, 0.5, 1.0):
                f_slope, x_slope = slopes[-1]
                stage = f + share * step * f_slope
                flux = self.flux(stage)[0]
                slopes.append((self.divergence(flux), self.velocity(stage, flux, x + share * step * x_slope)))
            f_slope, x_slope = (k1 + 2 * k2 + 2 * k3 + k4 for k1, k2, k3, k4 in zip(*slopes, strict=True))
            return f + step / 6 * f_slope, x + step / 6 * x_slope, step

    def evolve(
        self, f: Array, times: Array, safety: float, longest: float, x: Array = NOWHERE
    ) -> Iterator[tuple[Array, Array]]:
        """Values (n, n) and characteristics (m, 2) at ``times`` (ascending; f and x belong to the first)."""
        yield f, x
        for start, end in pairwise(map(float, times)):
            left = end - start
            while left > 0.0:
                f, x, step = self.advance(f, x, left, safety, longest)
                left = 0.0 if step == left else left - step
            if not np.isfinite(f).all():
                raise FloatingPointError("the spectral solver became unstable; use a smaller safety factor")
            yield f, x

    def quantities(self, f: Array) -> dict[str, Array]:
        """Mass, mean (2,), covariance (2, 2), integrals of |v - mean|^4 f and of f log f, by the trapezoidal rule."""
        v, cell = self.grid.points, self.grid.spacing**2
        mass = cell * np.sum(f)
        mean = cell * np.einsum("ij,ijk->k", f, v) / mass
        z = v - mean
        positive = np.maximum(f, 0.0)
        return {
            "mass": mass,
            "mean": mean,
            "covariance": cell * np.einsum("ij,ijk,ijl->kl", f, z, z) / mass,
            "fourth_moment": cell * np.sum(f * np.sum(z * z, axis=-1) ** 2),
            "entropy": cell * np.sum(special.xlogy(positive, positive)),
            "density": f,
        }


@dataclass(frozen=True)
class GridSolution:
    """A solution on a grid with its own uncertainty.

    Parameters
    ----------
    grid : Grid
    times : ndarray (m,)
    density : ndarray (m, n, n)
    mass, entropy, fourth_moment : ndarray (m,)
        Integrals of f, f log f and |v - mean|^4 f.
    mean : ndarray (m, 2)
    covariance : ndarray (m, 2, 2)
    error : mapping of str to ndarray (m,)
        Estimated absolute error of each of these (largest entry); of the density its largest value, ``l1`` its L1
        norm. Not a bound.
    drift : mapping of str to float
        Largest change over time of mass (relative), mean and trace of the covariance (relative).
    paths : ndarray (m, k, 2)
        Characteristics X(t, v) from the given starts; NaN from where the grid no longer resolves f along them.
    path_error : ndarray (m, k)
        Estimated error of each, at least that of half of them; infinite where a path is NaN. Grows outwards, as the
        relative error of f does.
    """

    grid: Grid
    times: Array
    density: Array
    mass: Array
    mean: Array
    covariance: Array
    fourth_moment: Array
    entropy: Array
    error: Mapping[str, Array]
    drift: Mapping[str, float]
    paths: Array
    path_error: Array

    def at(self, index: int, v: Array) -> Array:
        """Density at time number ``index`` and velocities v of shape (m, 2): trigonometric interpolation."""
        return self.grid.interpolate(self.density[index], v)

    def estimate(self, name: str) -> Estimate:
        """``mass``, ``fourth_moment`` or ``entropy`` over time, with its error in the details."""
        return reported(self, name, NUMBERS, "Fourier grid solver")


def solve_spectral(
    density: Density,
    profile: Profile,
    times: Array,
    *,
    half_width: float,
    n: int,
    centre: tuple[float, float] = (0.0, 0.0),
    kernel: str = "fourier",
    safety: float = 0.8,
    longest: float = math.inf,
    starts: Array = NOWHERE,
) -> GridSolution:
    """Solve the Landau equation in 2D for smooth initial data.

    Parameters
    ----------
    density : callable
        f0(v), v (..., 2) -> (...); any mass. Smooth: a jump destroys the spectral accuracy (the estimate shows it).
    profile : callable
        a(r) for r > 0, e.g. ``Kernel.profile`` or ``solver.radial.coulomb(C)``.
    times : ndarray (m,)
        Ascending; f0 belongs to times[0].
    half_width, n, centre
        Of the grid; f must be negligible on the boundary.
    kernel : str
        ``fourier`` (any profile) or ``sampled`` (profiles that are smooth on the scale of the grid).
    safety : float
        Step as a share of the stability limit.
    longest : float
        Longest step in time.
    starts : ndarray (k, 2)
        Where to start characteristics.

    Raises
    ------
    ValueError
        If times do not ascend or the safety factor is not in (0, 1].
    FloatingPointError
        If the time stepping became unstable.
    """
    times = np.asarray(times, dtype=np.float64)
    if np.any(np.diff(times) <= 0) or not 0 < safety <= 1:
        raise ValueError(f"times must ascend and the safety factor lie in (0, 1], got {times} and {safety}")
    grid = Grid(half_width, n, centre)
    other = Grid(SHRINK * half_width, 2 * math.ceil(COARSEN * n / 2), centre)
    best = _run(SpectralScheme(profile, grid, kernel), density, times, safety, longest, starts)
    second = _run(SpectralScheme(profile, other, kernel), density, times, safety, 2 * longest, starts)
    change = np.abs(best["density"] - np.array([other.resample(f, grid) for f in second["density"]]))
    error = {q: np.abs(best[q] - second[q]).reshape(len(times), -1).max(axis=1) for q in STATED}
    apart = np.linalg.norm(best["paths"] - second["paths"], axis=-1)
    apart = np.maximum(apart, _typical(apart))  # two runs may agree by chance at a point
    error |= {"density": change.max(axis=(1, 2)), "l1": change.sum(axis=(1, 2)) * grid.spacing**2}
    trace = np.trace(best["covariance"], axis1=1, axis2=2)
    drift = {
        "mass": float(np.max(np.abs(best["mass"] / best["mass"][0] - 1))),
        "mean": float(np.max(np.abs(best["mean"] - best["mean"][0]))),
        "energy": float(np.max(np.abs(trace / trace[0] - 1))),
    }
    return GridSolution(
        grid=grid, times=times, error=error, drift=drift, path_error=np.where(np.isnan(apart), np.inf, apart), **best
    )


def spectral_reference(
    problem: Problem, times: Array, *, half_width: float, n: int, profile: Profile | None = None, **options: Any
) -> GridSolution:
    """``solve_spectral`` for a 2D problem with a smooth initial density, in a box around its mean.

    ``profile`` replaces that of its kernel: ``coulomb(C)`` is what a mollified problem stands for.

    Raises
    ------
    ValueError
        In 3D, or if the initial density jumps.
    """
    smooth, why = problem.initial.regularity()
    if problem.d != 2 or not smooth:
        raise ValueError(f"the spectral solver needs d = 2 and smooth data; {problem.id}: d = {problem.d}, {why}")
    x, y = map(float, problem.initial.mean())
    return solve_spectral(
        lambda v: np.exp(problem.initial.log_density(v.reshape(-1, 2))).reshape(v.shape[:-1]),
        profile or problem.kernel.profile,
        times,
        half_width=half_width,
        n=n,
        centre=(x, y),
        **options,
    )


def _typical(change: Array) -> Array:
    """Median over the starts of what is finite of (m, k), as a column; 0 where nothing is."""
    rows = [row[np.isfinite(row)] for row in change]
    return np.array([[np.median(row) if len(row) else 0.0] for row in rows])


def _run(
    scheme: SpectralScheme, density: Density, times: Array, safety: float, longest: float, starts: Array
) -> dict[str, Array]:
    states = scheme.evolve(density(scheme.grid.points), times, safety, longest, starts)
    runs = [scheme.quantities(f) | {"paths": x} for f, x in states]
    return {name: np.array([run[name] for run in runs]) for name in runs[0]}
