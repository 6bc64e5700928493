"""The deterministic blob particle methods: particles on a grid, weighted by f0, moved by a regularised score.

psi is the Gaussian of *variance* eps, by default 0.64 h^1.98 for cells of width h (FACTS section 3). Two of the three
methods that go by the name:

* ``chww`` (Carrillo, Hu, Wang, Wu 2020, eq. (3.6)), the Landau blob:
  s_i = sum_l h^d grad psi(v_i - c_l) log F(c_l), F(c) = sum_k w_k psi(c - v_k), on fixed cell centres c_l;
* ``ccp`` (Carrillo, Craig, Patacchini 2019), the blob method for diffusion:
  s_i = sum_k w_k grad psi(v_i - v_k) (1/F(v_i) + 1/F(v_k)), without a grid.

dv_i/dt = -sum_j w_j A(v_i - v_j)(s_i - s_j), by forward Euler as published, or by Heun or RK4. Momentum is conserved,
and energy in continuous time: Euler adds exactly dt^2 sum_i w_i |U_i|^2 per step.

What the published codes leave open. psi is cut off beyond 10 standard deviations, where it is below e^-50 of its
maximum. Where F is 0 the published codes take the logarithm of it; here it counts as the smallest normal number
(2e-308), in cells that no particle sees. Cells in which f0 vanishes carry no particle. Where no particle is within
reach the score of ``ccp`` is 0, as is that of ``chww`` beyond the box. At the edge of the box log F is cut off, so
that the score of ``chww`` turns outwards over a standard deviation: the box must hold the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from solver.gaussians import REACH, gaussian_sums
from solver.pairs import Drift, cloud_drift
from solver.particle_run import ParticleRun, ParticleSolution
from theory.problem import Problem
from theory.provenance import Array

Progress = Callable[[str, int, int], None]

TINY = float(np.finfo(np.float64).tiny)
ROWS = 512  # points at a time, so that their products with the cells stay in cache
FORMS = ("chww", "ccp")
# explicit Runge-Kutta schemes whose stages look one stage back: shares of the step, and weights of the stages
SCHEMES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "euler": ((), (1.0,)),
    "heun": ((1.0,), (0.5, 0.5)),
    "rk4": ((0.5, 0.5, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
# cells per axis, half width of the box, time step of the public codes (FACTS sections 1 and 2)
PUBLISHED: Mapping[str, tuple[int, float, float]] = {
    "bkw2d": (150, 4.0, 0.01),
    "bkw3d": (40, 4.0, 0.01),
    "anisotropic2d": (120, 10.0, 0.1),
    "truncated2d": (120, 4.0, 0.01),
    "gaussian_mixture3d": (40, 4.0, 0.01),
    "rosenbluth3d": (30, 1.0, 0.2),
}
MODERATE = {("chww", 2): 80, ("chww", 3): 20, ("ccp", 2): 60, ("ccp", 3): 16}  # cells per axis on the command line


@dataclass(frozen=True)
class Settings:
    """What a blob run needs; None stands for the published value of the problem.

    Parameters
    ----------
    form : str
        ``chww`` or ``ccp``.
    n : int, optional
        Cells per axis; one particle in each.
    half_width : float, optional
        Half the side of the box of cells, around the mean of f0.
    eps : float, optional
        Variance of psi, 0.64 h^1.98 by default; a bandwidth b given as a standard deviation is eps = b^2.
    dt : float, optional
        Longest time step; the window is cut into equal ones.
    integrator : str
        ``euler`` (published), ``heun`` or ``rk4``.
    keep : int
        Particles are kept at every ``keep``-th step and the last; the field keeps every step (for ``chww`` and the
        Maxwell kernel n^d numbers each, a seventh of the particles' in 2D).
    """

    form: str = "chww"
    n: int | None = None
    half_width: float | None = None
    eps: float | None = None
    dt: float | None = None
    integrator: str = "euler"
    keep: int = 1

    def __post_init__(self) -> None:
        if self.form not in FORMS or self.integrator not in SCHEMES:
            raise ValueError(f"form must be one of {FORMS} and integrator of {tuple(SCHEMES)}, got {self}")
        for name in ("n", "half_width", "eps", "dt", "keep"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")

    def on(self, problem: Problem) -> Settings:
        """The same with the published values filled in.

        Raises
        ------
        ValueError
            If one is missing and the problem has none.
        """
        known = PUBLISHED.get(problem.id, (None, None, None))
        n = known[0] if self.n is None else self.n
        half_width = known[1] if self.half_width is None else self.half_width
        dt = known[2] if self.dt is None else self.dt
        if n is None or half_width is None or dt is None:
            raise ValueError(f"nothing is published for {problem.id}: give n, half_width and dt")
        eps = published_eps(2 * half_width / n) if self.eps is None else self.eps
        return replace(self, n=n, half_width=half_width, eps=eps, dt=dt)


def published_eps(h: float) -> float:
    """Variance 4 (0.4 h^0.99)^2 of psi for cells of width h."""
    return 0.64 * h**1.98


@dataclass(frozen=True)
class Cells:
    """Cubic cells, n per axis, in a box around a centre."""

    centre: tuple[float, ...]
    half_width: float
    n: int

    @property
    def d(self) -> int:
        """Dimension."""
        return len(self.centre)

    @property
    def h(self) -> float:
        """Width of a cell."""
        return 2 * self.half_width / self.n

    @property
    def volume(self) -> float:
        """Volume of a cell."""
        return self.h**self.d

    @cached_property
    def axes(self) -> Array:
        """Cell centres along each axis, (d, n)."""
        ticks = self.half_width * (2 * (np.arange(self.n) + 0.5) / self.n - 1)
        return np.asarray(np.array(self.centre)[:, None] + ticks)

    @cached_property
    def points(self) -> Array:
        """Cell centres, (n^d, d), the last axis fastest."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, self.d)


def cells_of(problem: Problem, settings: Settings) -> Cells:
    """The cells of settings that are filled in (``Settings.on``)."""
    return Cells(tuple(map(float, problem.initial.mean())), settings.half_width, settings.n)  # type: ignore[arg-type]


def initial_particles(problem: Problem, cells: Cells) -> tuple[Array, Array, float]:
    """Cell centres (n, d) where f0 > 0, weights h^d f0 scaled to sum 1, and their sum before that."""
    weights = cells.volume * np.exp(problem.initial.log_density(cells.points))
    mass = float(np.sum(weights))
    inside = weights > 0
    return cells.points[inside], weights[inside] / mass, mass


# --- sums over cells ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patch:
    """Points of one block, and psi along each axis at the cells within reach of the block.

    Parameters
    ----------
    rows : ndarray of int (k,)
        Which points.
    window : tuple of slice
        Which cells, by axis; they hold all those within ``REACH`` standard deviations of the points.
    offsets, factors : tuple of ndarray (k, cells of the window along that axis)
        x - c and psi in one dimension there.
    """

    rows: NDArray[np.intp]
    window: tuple[slice, ...]
    offsets: tuple[Array, ...]
    factors: tuple[Array, ...]


def _patches(cells: Cells, eps: float, x: Array) -> Iterator[Patch]:
    """Points x (N, d) block by block; those that no cell is within reach of are left out."""
    reach = math.ceil(REACH * math.sqrt(eps) / cells.h)  # in cells; the sides of a block as well
    corner = cells.axes[:, 0] - cells.h / 2
    place = np.clip((x - corner) / cells.h, -2 * reach, cells.n + 2 * reach)
    blocks, which = np.unique(np.floor(place / reach).astype(np.intp), axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(which.ravel(), minlength=len(blocks)))
    for block, rows in zip(blocks, np.split(order, ends[:-1]), strict=True):
        window = tuple(slice(max(0, (b - 1) * reach), min(cells.n, (b + 2) * reach)) for b in map(int, block))
        if any(w.stop <= w.start for w in window):
            continue
        for part in np.array_split(rows, math.ceil(len(rows) / ROWS)):
            offsets = tuple(x[part, a, None] - cells.axes[a, w] for a, w in enumerate(window))
            yield Patch(part, window, offsets, tuple(_psi(eps, z) for z in offsets))


def _psi(eps: float, z: Array) -> Array:
    """Gaussian of variance eps in one dimension."""
    return np.asarray(np.exp(z * z / (-2 * eps)) * (2 * math.pi * eps) ** -0.5)


def blob_density(cells: Cells, eps: float, x: Array, weights: Array) -> Array:
    """F = sum_k w_k psi(c - v_k) at the cell centres, (n,) * d, of particles x (N, d)."""
    return _density(cells, weights, _patches(cells, eps, x))


def _density(cells: Cells, weights: Array, patches: Iterable[Patch]) -> Array:
    out = np.zeros((cells.n,) * cells.d)
    for patch in patches:
        first, *others = patch.factors
        joined = others[0]
        for factor in others[1:]:
            joined = (joined[:, :, None] * factor[:, None, :]).reshape(len(joined), -1)
        out[patch.window] += ((weights[patch.rows, None] * first).T @ joined).reshape(out[patch.window].shape)
    return out


def _contracted(values: Array, factors: Sequence[Array]) -> Array:
    """Sum of values (k, cells) against the products of factors, the last axis fastest: (k,)."""
    for factor in reversed(factors):
        values = np.einsum("rmn,rn->rm", values.reshape(len(values), -1, factor.shape[1]), factor)
    return values[:, 0]


class Score(Protocol):
    """A regularised score at any velocity."""

    def at(self, x: Array) -> Array:
        """Score (n, d) at x (n, d)."""


@dataclass(frozen=True)
class GridScore:
    """Score of ``chww``: h^d sum_l grad psi(x - c_l) log F(c_l); analytic in x.

    Parameters
    ----------
    cells : Cells
    eps : float
    log_density : ndarray (n,) * d
        Log F at the cell centres.
    """

    cells: Cells
    eps: float
    log_density: Array

    @classmethod
    def of(cls, cells: Cells, eps: float, x: Array, weights: Array) -> tuple[GridScore, Array]:
        """The score that particles x (N, d) make, and its values there."""
        patches = list(_patches(cells, eps, x))
        score = cls(cells, eps, np.log(np.maximum(_density(cells, weights, patches), TINY)))
        return score, score._slopes(x, patches)

    def at(self, x: Array) -> Array:
        """Score (n, d) at x (n, d)."""
        return self._slopes(x, _patches(self.cells, self.eps, x))

    def divergence(self, x: Array) -> Array:
        """Its divergence (n,) at x (n, d)."""
        out = np.zeros(len(x))
        for patch in _patches(self.cells, self.eps, x):
            for a, (z, factor) in enumerate(zip(patch.offsets, patch.factors, strict=True)):
                out[patch.rows] += self._sum(patch, a, (z * z - self.eps) * factor) / self.eps**2
        return out

    def _slopes(self, x: Array, patches: Iterable[Patch]) -> Array:
        out = np.zeros(x.shape)
        for patch in patches:
            for a, (z, factor) in enumerate(zip(patch.offsets, patch.factors, strict=True)):
                out[patch.rows, a] = self._sum(patch, a, z * factor) / -self.eps
        return out

    def _sum(self, patch: Patch, axis: int, factor: Array) -> Array:
        """Sum over the cells of h^d log F times the factors of psi, that of one axis replaced: (k,)."""
        first, *others = [factor if a == axis else plain for a, plain in enumerate(patch.factors)]
        grid = self.log_density[patch.window].reshape(first.shape[1], -1)
        return self.cells.volume * _contracted(first @ grid, others)


@dataclass(frozen=True)
class PairScore:
    """Score of ``ccp``: grad F(x)/F(x) + sum_k (w_k/F_k) grad psi(x - v_k); 0 where no particle is within reach.

    Parameters
    ----------
    eps : float
    x : ndarray (N, d)
        The particles.
    weights, shares : ndarray (N,)
        w_k, and w_k/F_k for psi without its constant.
    """

    eps: float
    x: Array
    weights: Array
    shares: Array

    @classmethod
    def of(cls, eps: float, x: Array, weights: Array) -> tuple[PairScore, Array]:
        """The score that particles x (N, d) make, and its values there."""
        density = gaussian_sums(eps, x, x, weights[None])[0][0]
        score = cls(eps, x, weights, weights / density)
        return score, score.at(x)

    def at(self, x: Array) -> Array:
        """Score (n, d) at x (n, d)."""
        (density, _), (slope, other) = gaussian_sums(self.eps, x, self.x, np.stack([self.weights, self.shares]))
        return np.where(density > 0, slope.T / np.where(density > 0, density, 1.0), 0.0).T + other


# --- time -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """The field at one stage of a step: score and, with it, drift at any velocity."""

    score: Score
    cloud: Drift

    def drift(self, x: Array) -> Array:
        """Velocity (n, d) of tracers at x (n, d)."""
        return self.cloud.at(x, self.score.at(x))


@dataclass(frozen=True)
class BlobField:
    """The field at every step, with the stages between (``solver.particle_run.Field``)."""

    times: Array
    stages: tuple[tuple[Stage, ...], ...]
    integrator: str

    def drift(self, k: int, x: Array) -> Array:
        """Velocity (n, d) of tracers at x (n, d) at step k."""
        return self.stages[k][0].drift(x)

    def score(self, k: int, x: Array) -> Array:
        """Score (n, d) at x (n, d) at step k."""
        return self.stages[k][0].score.at(x)

    def divergence(self, k: int, x: Array) -> Array:
        """Divergence (n,) of the score at x (n, d) at step k; ``chww`` only."""
        score: Any = self.stages[k][0].score
        return np.asarray(score.divergence(x))

    def advance(self, k: int, x: Array) -> Array:
        """Tracers (n, d) at x at step k, one step later: the particles' own scheme."""
        dt = self.times[k + 1] - self.times[k]
        slopes: list[Array] = []
        for stage, y in zip(self.stages[k], _stage_points(self.integrator, x, dt, slopes), strict=True):
            slopes.append(stage.drift(y))
        return _combined(self.integrator, x, dt, slopes)


def _stage_points(integrator: str, x: Array, dt: float, slopes: list[Array]) -> Iterator[Array]:
    """Where each stage is evaluated, given the slopes so far (appended to by the caller)."""
    yield x
    for share in SCHEMES[integrator][0]:
        yield x + share * dt * slopes[-1]


def _combined(integrator: str, x: Array, dt: float, slopes: list[Array]) -> Array:
    return np.asarray(x + dt * sum(b * u for b, u in zip(SCHEMES[integrator][1], slopes, strict=True)))


def solve(
    problem: Problem,
    settings: Settings | None = None,
    *,
    seed: int = 0,  # noqa: ARG001 - nothing here is random; every particle method takes a seed
    progress: Progress | None = None,
) -> ParticleSolution:
    """Run a blob method over the problem's window.

    Parameters
    ----------
    problem : Problem
    settings : Settings, optional
    seed : int
        Unused.
    progress : callable, optional
        Called with (stage, done, total).

    Raises
    ------
    ValueError
        If the settings do not suffice (``Settings.on``).
    FloatingPointError
        If particles are no longer finite: the step is too long.
    """
    chosen = (settings or Settings()).on(problem)
    cells = cells_of(problem, chosen)
    eps, dt = float(chosen.eps), float(chosen.dt)  # type: ignore[arg-type]
    x, weights, mass = initial_particles(problem, cells)
    t0, T = float(problem.t0), float(problem.T)
    steps = max(1, math.ceil((T - t0) / dt * (1 - 1e-12)))
    times = np.linspace(t0, T, steps + 1)
    kept = sorted({*range(0, steps + 1, chosen.keep), steps})
    rows = {k: row for row, k in enumerate(kept)}
    positions, scores, velocities = (np.empty((len(kept), *x.shape)) for _ in range(3))

    grid = chosen.form == "chww"

    def look(y: Array) -> tuple[Stage, Array, Array]:
        """The field of particles at y, their scores and velocities."""
        score, s = GridScore.of(cells, eps, y, weights) if grid else PairScore.of(eps, y, weights)
        cloud = cloud_drift(problem.kernel, y, s, weights)
        return Stage(score, cloud), s, cloud.at(y, s)

    stages = []
    for k in range(steps + 1):
        slopes: list[Array] = []
        now: list[Stage] = []
        for y in _stage_points(chosen.integrator, x, times[1] - times[0], slopes):
            stage, s, u = look(y)
            if not now and k in rows:
                positions[rows[k]], scores[rows[k]], velocities[rows[k]] = y, s, u
            now.append(stage)
            slopes.append(u)
            if k == steps:
                break
        stages.append(tuple(now))
        if k < steps:
            x = _combined(chosen.integrator, x, times[k + 1] - times[k], slopes)
        if not np.isfinite(x).all():
            raise FloatingPointError(f"particles are not finite after step {k}; use a shorter dt")
        if progress is not None:
            progress(f"blob-{chosen.form}", k, steps)
    field = BlobField(times, tuple(stages), chosen.integrator)
    return ParticleSolution(
        problem=problem,
        method=f"blob-{chosen.form}",
        settings=asdict(chosen) | {"mass": mass},
        times=times[kept],
        positions=positions,
        scores=scores,
        velocities=velocities,
        weights=weights,
        log_density=None,
        field=field,
        advance=field.advance,
        divergence=field.divergence if chosen.form == "chww" else None,
    )


def density(solution: ParticleSolution, row: int) -> tuple[Cells, Array]:
    """The cells of a blob solution and its density there, (n,) * d, at kept step number ``row``."""
    settings = Settings(**{k: v for k, v in solution.settings.items() if k != "mass"})
    cells = cells_of(solution.problem, settings)
    return cells, blob_density(cells, solution.settings["eps"], solution.positions[row], solution.weights)


def run(problem: Problem) -> ParticleRun:
    """A ``chww`` run of moderate size, for ``certify report solver.blob:run --problem ID``."""
    return ParticleRun(solve(problem, Settings("chww", MODERATE["chww", problem.d], keep=10)))


def run_ccp(problem: Problem) -> ParticleRun:
    """A ``ccp`` run of moderate size, for ``certify report solver.blob:run_ccp --problem ID``."""
    return ParticleRun(solve(problem, Settings("ccp", MODERATE["ccp", problem.d], keep=10)))
