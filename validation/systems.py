"""Manufactured systems whose errors are known, for trying to refute every theorem of the catalogue.

Each family draws systems from a random generator. A system carries the ingredients of some theorems, computed from
their definitions (pair sums, closed forms, quadrature of smooth integrands), and for each of these theorems the true
error at the report times, or a lower value of it. Nothing here is taken from ``certify``. Section numbers: THEORY.

============  ===================================================================================================
particles     N learned against N exact particles, pair sums over atoms, every score and residual prescribed
antipodal     the same at two opposite points of the ball: worst cases of Lemma 1
linear        Gaussian laws carried by affine velocity fields
gaussian      Maxwell kernel, exact moments, learned Gaussian law; error from below by Gelbrich where f is not known
coulomb       Maxwellian at rest under a mollified Coulomb kernel, learned Gaussian law
isotropic     BKW or a Gaussian mixture (exact Maxwell solutions), its flow perturbed in space and time
relaxation    two exact isotropic Maxwell solutions: no defect, only initial distances
matching      Gaussian laws, learned score linear plus a sine: implicit score matching
draws         laws on K atoms, N particles: expectations by enumerating all draws
kde           kernel density estimates of Gaussian mixtures, norms by Plancherel's identity
============  ===================================================================================================
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from scipy.optimize import linear_sum_assignment
from scipy.special import gammainc, gammaln, jv, ndtr

from theory.bkw import Bkw
from theory.gronwall import LogValue, NumericOps, TimeGrid
from theory.kernels import Kernel, maxwell, mollified_coulomb
from theory.provenance import Array
from theory.theorems import THEOREMS

RELATIVE, ABSOLUTE = 1e-9, 1e-12  # rounding of a truth; every system is of order one


@dataclass(frozen=True)
class Case:
    """One system.

    Parameters
    ----------
    family : str
    edges : ndarray (n + 1,)
        Report times.
    values : mapping
        Ingredients: at the nodes of ``TimeGrid(edges)``, or at the edges where the theorem says so.
    truth : mapping of theorem id to ndarray (n + 1,)
        The error it bounds, or a lower value of it.
    """

    family: str
    edges: Array
    values: Mapping[str, Any]
    truth: Mapping[str, Array]

    def bound(self, theorem: str) -> Array:
        """The theorem's bound with its time-quadrature error, at the edges."""
        ops = NumericOps(TimeGrid(self.edges))
        terms = THEOREMS[theorem].terms(ops, self.values)
        return (sum(terms.values(), start=LogValue.of(0.0)) + ops.error).numbers()

    def violated(self, theorem: str) -> bool:
        """Whether the truth lies above the bound by more than rounding, or is no number."""
        return not (self.truth[theorem] * (1 - RELATIVE) - ABSOLUTE <= self.bound(theorem)).all()

    def tightness(self, theorem: str) -> float:
        """Smallest bound/truth over the report times after the start at which the truth is more than rounding."""
        truth, bound = self.truth[theorem][1:], self.bound(theorem)[1:]
        seen = truth > 1e-6 * max(float(truth.max()), 1e-3)
        return float(np.min(bound[seen] / truth[seen])) if seen.any() else math.inf


def window(rng: np.random.Generator, longest: float = 2.0) -> Array:
    """Report times of two to five panels of unequal length."""
    steps = rng.uniform(0.5, 1.5, rng.integers(2, 6))
    length = rng.uniform(0.1, longest)
    return rng.uniform(0, 1) + length * np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])


def log_uniform(rng: np.random.Generator, low: float, high: float, size: Any = None) -> Any:
    """Draws with uniform logarithm."""
    return np.exp(rng.uniform(math.log(low), math.log(high), size))


@lru_cache(maxsize=32)
def legendre(n: int) -> tuple[Array, Array]:
    """Gauss-Legendre rule on [-1, 1]."""
    return np.polynomial.legendre.leggauss(n)


@lru_cache(maxsize=32)
def gauss_hermite(d: int, n: int) -> tuple[Array, Array]:
    """Tensor rule for N(0, I): nodes (n^d, d), weights (n^d,)."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    nodes = np.stack(np.meshgrid(*[x] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = np.prod(np.stack(np.meshgrid(*[w / w.sum()] * d, indexing="ij"), axis=-1).reshape(-1, d), axis=1)
    return nodes, weights


def wasserstein_1(x: Array, y: Array) -> float:
    """W1 of two uniform point clouds (n, d), (m, d); each point is repeated until the numbers agree."""
    count = math.lcm(len(x), len(y))
    a, b = np.repeat(x, count // len(x), axis=0), np.repeat(y, count // len(y), axis=0)
    cost = np.linalg.norm(a[:, None] - b, axis=-1)
    return float(cost[linear_sum_assignment(cost)].mean())


def trace(matrix: Array) -> Array:
    """Traces of (..., d, d)."""
    return np.einsum("...ii", matrix)


def inverted(matrix: Array) -> Array:
    """Inverses of (..., d, d)."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def root(matrix: Array) -> Array:
    """Symmetric square root of (..., d, d)."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.swapaxes(-1, -2)


def gelbrich(mean: Array, covariance: Array, other_mean: Array, other_covariance: Array) -> Array:
    """W2 of Gaussians, for other laws with these moments a lower bound; a Procrustes distance, free of cancellation."""
    a, b = root(covariance), root(other_covariance)
    u, _, v = np.linalg.svd(a @ b)
    gap = a - b @ (u @ v).swapaxes(-1, -2)
    return np.sqrt(np.sum((mean - other_mean) ** 2, axis=-1) + np.sum(gap**2, axis=(-1, -2)))


def largest_stretch(linear: Array, rank_one: Array) -> Array:
    """Sup of the operator norm of L + c R over |c| <= 1, by convexity at c = -1 or 1."""
    return np.maximum(np.linalg.norm(linear + rank_one, 2, (-2, -1)), np.linalg.norm(linear - rank_one, 2, (-2, -1)))


def mean_square(x: Array) -> Array:
    """Mean over particles (axis -2) of |x|^2."""
    return np.mean(np.sum(x**2, axis=-1), axis=-1)


# --- particles ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fields:
    """Fields v -> g(t) (L v + o + b sin(k.v + p)), g = 1 + sin(rate t)/2; one for each of B systems.

    Shapes: linear (B, d, d), the vectors (B, d), phase and rate (B,).
    """

    linear: Array
    offset: Array
    amplitude: Array
    wave: Array
    phase: Array
    rate: Array

    def factor(self, t: Any) -> Array:
        """G at times (...): (..., B)."""
        return 1 + np.sin(self.rate * np.asarray(t)[..., None]) / 2

    def __call__(self, t: Any, v: Array) -> Array:
        """Values at v of shape (..., B, n, d)."""
        swing = np.sin(np.einsum("...bnd,bd->...bn", v, self.wave) + self.phase[:, None])
        value = v @ self.linear.swapaxes(-1, -2) + self.offset[:, None] + swing[..., None] * self.amplitude[:, None]
        return self.factor(t)[..., None, None] * value

    def gradient(self, t: Any, v: Array) -> Array:
        """Jacobians (..., B, n, d, d)."""
        swing = np.cos(np.einsum("...bnd,bd->...bn", v, self.wave) + self.phase[:, None])
        value = self.linear[:, None] + swing[..., None, None] * self.tilt[:, None]
        return self.factor(t)[..., None, None, None] * value

    @property
    def tilt(self) -> Array:
        """Outer products b k^T, (B, d, d)."""
        return self.amplitude[:, :, None] * self.wave[:, None, :]

    def lipschitz(self, t: Any) -> Array:
        """Lipschitz constants (..., B)."""
        return self.factor(t) * largest_stretch(self.linear, self.tilt)

    def oscillation(self, t: Any, radius: Array) -> Array:
        """Bounds of sup |s(v) - s(w)| on the balls of radius (B,)."""
        linear = 2 * radius * np.linalg.norm(self.linear, 2, (-2, -1)) + 2 * np.linalg.norm(self.amplitude, axis=-1)
        return np.minimum(self.factor(t) * linear, 2 * radius * self.lipschitz(t))

    def rotated(self, q: Array) -> Fields:
        """The fields v -> q s(q^T v)."""
        return Fields(
            q @ self.linear @ q.T, self.offset @ q.T, self.amplitude @ q.T, self.wave @ q.T, self.phase, self.rate
        )


def draw_fields(rng: np.random.Generator, batch: int, d: int, size: Array, *, confining: bool) -> Fields:
    """Random fields of size (B,); a confining one has a negative definite linear part, as a score has."""
    noise = rng.standard_normal((batch, d, d)) / d
    linear = -(noise @ noise.swapaxes(-1, -2)) - 0.3 * np.eye(d) if confining else noise
    scale = size[:, None]
    return Fields(
        scale[..., None] * linear,
        scale * rng.standard_normal((batch, d)) * (0.0 if confining else 0.5),
        scale * rng.standard_normal((batch, d)) / 4,
        rng.standard_normal((batch, d)),
        rng.uniform(0, 6.3, batch),
        rng.uniform(0, 3, batch),
    )


def pair_drift(kernel: Kernel, at: Array, atoms: Array, here: Array, there: Array) -> Array:
    """-(1/M) sum_j A(v - y_j)(s(v) - s(y_j)) at v in (..., n, d); scores at v and at the atoms (..., M, d)."""
    z = at[..., :, None, :] - atoms[..., None, :, :]
    y = here[..., :, None, :] - there[..., None, :, :]
    r2 = np.sum(z * z, axis=-1, keepdims=True)
    product = kernel.profile(np.sqrt(r2)) * (r2 * y - z * np.sum(z * y, axis=-1, keepdims=True))
    return -np.mean(product, axis=-2)


def pair_gradient(kernel: Kernel, at: Array, atoms: Array, here: Array, there: Array, slope: Array) -> Array:
    """Jacobian in v of ``pair_drift``, (..., n, d, d); ``slope``: the Jacobian of the score at v."""
    z = at[..., :, None, :] - atoms[..., None, :, :]
    y = here[..., :, None, :] - there[..., None, :, :]
    r2 = np.sum(z * z, axis=-1)
    a = kernel.profile(np.sqrt(r2))
    # a'(r)/r
    decay = np.zeros_like(r2) if kernel.is_maxwell else -3 * a / (r2 + kernel.epsilon**2)
    zy = np.sum(z * y, axis=-1)
    value = r2[..., None] * y - z * zy[..., None]
    change = 2 * y[..., :, None] * z[..., None, :] - zy[..., None, None] * np.eye(kernel.d)
    change = change - z[..., :, None] * y[..., None, :]
    first = decay[..., None, None] * value[..., :, None] * z[..., None, :] + a[..., None, None] * change
    return -np.mean(first, axis=-3) - np.mean(kernel.matrix(z), axis=-3) @ slope


@dataclass(frozen=True)
class Particles:
    """B systems of N learned and N exact particles; the law f is uniform on M atoms, or on the exact particles.

    The velocities of the exact particles and of the atoms are U[f] with the given score, those of the learned ones
    the pair sum over themselves with the learned score plus the residual g_i cos(rate t).

    Parameters
    ----------
    atoms : ndarray (B, M, d) or None
        None: N-body, f is the empirical law of the exact particles.
    start, offset, push : ndarray (B, N, d)
        Exact particles at the start, learned minus exact ones, residuals.
    """

    kernel: Kernel
    edges: Array
    score: Fields
    error: Fields
    atoms: Array | None
    start: Array
    offset: Array
    push: Array
    beat: Array
    probes: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, batch: int, *, n_body: bool) -> Particles:
        """Random systems of one kernel."""
        d, n = int(rng.integers(2, 4)), int(rng.integers(3, 8))
        strength = float(log_uniform(rng, 1e-4, 0.3))
        maxwellian = rng.random() < 0.5
        kernel = maxwell(d, strength) if maxwellian else mollified_coulomb(d, strength, rng.uniform(0.4, 1.5))
        ball = rng.standard_normal((batch, 3 * n, d))
        ball /= np.maximum(1, np.linalg.norm(ball, axis=-1, keepdims=True))
        far = np.where(rng.random((batch, 1, 1)) < 0.5, 1.0, 1.6)  # atoms outside the ball of the particles
        size = log_uniform(rng, 1e-3, 1, (batch, 1, 1))
        together = rng.random((batch, 1, 1)) < 0.5
        aim = rng.standard_normal((batch, 1, d))

        def toward(scale: Any) -> Array:
            return scale * np.where(together, aim, rng.standard_normal((batch, n, d)))

        return cls(
            kernel,
            window(rng, 1.0),
            draw_fields(rng, batch, d, rng.uniform(0.3, 2, batch), confining=True),
            draw_fields(rng, batch, d, log_uniform(rng, 1e-4, 0.5, batch), confining=False),
            None if n_body else far * ball[:, n:],
            ball[:, :n],
            toward(size * rng.choice([0.0, 0.1], (batch, 1, 1))),
            toward(size * rng.choice([0.0, 0.3], (batch, 1, 1))),
            rng.uniform(0, 2, batch),
            rng.standard_normal((batch, 12, d)) / math.sqrt(d),
        )

    def rotated(self, q: Array) -> Particles:
        """All vectors turned by q."""
        turned: Any = {k: getattr(self, k) @ q.T for k in ("start", "offset", "push", "probes")}
        atoms = None if self.atoms is None else self.atoms @ q.T
        return replace(self, **turned, atoms=atoms, score=self.score.rotated(q), error=self.error.rotated(q))

    def learned_score(self, t: Any, v: Array) -> Array:
        """Exact score plus error."""
        return self.score(t, v) + self.error(t, v)

    def _learned_lipschitz(self, t: Array) -> Array:
        f, g = self.score.factor(t)[..., None, None], self.error.factor(t)[..., None, None]
        linear = f * self.score.linear + g * self.error.linear
        one, two = f * self.score.tilt, g * self.error.tilt
        return np.maximum(largest_stretch(linear + one, two), largest_stretch(linear - one, two))

    def residual(self, t: Any) -> Array:
        """(..., B, N, d)."""
        return np.cos(self.beat * np.asarray(t)[..., None])[..., None, None] * self.push

    def exact_drift(self, t: Any, v: Array, atoms: Array) -> Array:
        """U[f]."""
        return pair_drift(self.kernel, v, atoms, self.score(t, v), self.score(t, atoms))

    def learned_drift(self, t: Any, v: Array, learned: Array) -> Array:
        """The pair sum over the learned particles."""
        return pair_drift(self.kernel, v, learned, self.learned_score(t, v), self.learned_score(t, learned))

    def paths(self, times: Array) -> tuple[Array, Array, Array]:
        """Atoms, exact and learned particles at ascending times."""
        parts = [self.start if self.atoms is None else self.atoms, self.start, self.start + self.offset]
        cuts, shape = np.cumsum([p.shape[1] for p in parts])[:-1], (len(self.start), -1, self.kernel.d)

        def rhs(t: float, flat: Array) -> Array:
            atoms, exact, learned = np.split(flat.reshape(shape), cuts, axis=1)
            moved = self.exact_drift(t, np.concatenate([atoms, exact], axis=1), atoms)
            pushed = self.learned_drift(t, learned, learned) + self.residual(t)
            return np.concatenate([moved, pushed], axis=1).ravel()

        state = np.concatenate(parts, axis=1).ravel()
        span = (float(times[0]), float(times[-1]))
        solution = solve_ivp(rhs, span, state, "DOP853", times, rtol=1e-10, atol=1e-12)
        atoms, exact, learned = np.split(solution.y.T.reshape(len(times), *shape), cuts, axis=2)
        return atoms, exact, learned

    def cases(self) -> list[Case]:
        """The systems with the ingredients of Lemma 1 and of Theorems 1 and 2."""
        grid = TimeGrid(self.edges)
        times = np.union1d(grid.edges, grid.flat)
        at_nodes, at_edges = np.searchsorted(times, grid.flat), np.searchsorted(times, grid.edges)
        atoms, exact, learned = self.paths(times)
        radius = np.linalg.norm(np.concatenate([exact, learned], axis=2), axis=-1).max(axis=(0, 2))
        values, t = self.constants(times, radius), times
        away = self.score(t, learned)
        direct = self.exact_drift(t, learned, atoms) - self.learned_drift(t, learned, learned)
        delta = {k: np.linalg.norm(self.error(t, v), axis=-1) for k, v in (("X", exact), ("Y", learned), ("f", atoms))}
        own = pair_drift(self.kernel, exact, exact, self.score(t, exact), self.score(t, exact))
        sampled = mean_square(own - self.exact_drift(t, exact, atoms))
        # slopes of U on the segments between exact and learned particles, and elsewhere in the ball
        probes = np.broadcast_to(radius[:, None, None] * self.probes, (len(t), *self.probes.shape))
        probes = probes / np.maximum(1, np.linalg.norm(probes, axis=-1, keepdims=True) / radius[:, None, None])
        line = np.linspace(0, 1, 5)[:, None, None]
        segments = (exact[..., None, :, :] + line * (learned - exact)[..., None, :, :]).reshape(
            *exact.shape[:2], -1, self.kernel.d
        )
        points = np.concatenate([segments, probes], axis=2)
        slopes = pair_gradient(
            self.kernel,
            points,
            atoms,
            self.score(t, points),
            self.score(t, atoms),
            self.score.gradient(t, points),
        )
        log_norms = np.linalg.eigvalsh((slopes + slopes.swapaxes(-1, -2)) / 2)[..., -1].max(axis=-1)
        w1 = np.array(
            [[wasserstein_1(x, y) for x, y in zip(*pair, strict=True)] for pair in zip(learned, atoms, strict=True)]
        )
        distance = mean_square(learned - exact)
        tail_lipschitz, tail_drift = self._tails(t, radius, atoms, learned, delta, away)
        values |= {
            "tail_lipschitz": tail_lipschitz,
            "tail_drift": tail_drift,
            "score_error_path": np.sqrt(np.mean(delta["X"] ** 2, axis=-1)),
            "score_error_learned_path": np.sqrt(np.mean(delta["Y"] ** 2, axis=-1)),
            "score_error_mean": np.mean(delta["f"], axis=-1),
            "score_error_energy": np.mean(delta["X"] ** 2, axis=-1),
            "measure_w1": w1,
            "residual_rms": np.sqrt(mean_square(self.residual(t))),
            "residual_energy": mean_square(self.residual(t)),
            "drift_log_norm": log_norms,
            "drift_mismatch": np.sqrt(mean_square(direct)),
            "drift_sampling_realised": sampled,
        }
        truth = {
            "lemma1": values["drift_mismatch"],
            "lemma1_lipschitz": np.linalg.norm(slopes, 2, (-2, -1)).max(axis=-1),
            **dict.fromkeys(("thm1", "thm1_lognorm", "thm1_direct", "thm2_meanfield"), np.sqrt(distance)),
        }
        if self.atoms is None:
            truth |= {"thm2": distance, "thm2_sharp": np.sqrt(distance)}
        else:
            values = {k: v for k, v in values.items() if k not in ("score_error_energy", "residual_energy")}
        return [
            Case(
                "particles",
                self.edges,
                {k: v[at_nodes, b] for k, v in values.items()} | {"initial_error": math.sqrt(distance[0, b])},
                {k: v[at_edges, b] for k, v in truth.items()},
            )
            for b in range(len(self.start))
        ]

    def constants(self, t: Array, radius: Array) -> dict[str, Array]:
        """Constants of Assumption 1 on the balls of radius (B,)."""
        ones = np.ones((len(t), 1))
        return {
            "kernel_bound": ones * [self.kernel.sup_norm(r) for r in radius],
            "kernel_lipschitz": ones * [self.kernel.lipschitz(r) for r in radius],
            "score_lipschitz": self.score.lipschitz(t),
            "score_oscillation": self.score.oscillation(t, radius),
            "learned_score_lipschitz": self._learned_lipschitz(t),
            "learned_score_oscillation": 2 * radius * self._learned_lipschitz(t),
            "error_lipschitz": self.error.lipschitz(t),
        }

    def _tails(
        self, t: Array, radius: Array, atoms: Array, learned: Array, delta: dict[str, Array], exact_score: Array
    ) -> tuple[Array, Array]:
        """Shares of the atoms outside the ball: of Lip U, and of the mismatch at the learned particles (L2)."""
        far = np.linalg.norm(atoms, axis=-1)
        outside = (far > radius[:, None]) / atoms.shape[2]
        # |v| <= R < |w|: |v - w| is at most twice (R + |w|)/2, the score differs by at most L_s (R + |w|)
        middle = (radius[:, None] + far) / 2
        lip = self.score.lipschitz(t)[..., None]
        big, slope = np.vectorize(self.kernel.sup_norm)(middle), np.vectorize(self.kernel.lipschitz)(middle)
        share = np.sum(outside * (big * lip + slope * lip * 2 * middle), axis=-1)
        projected = atoms * np.minimum(1, radius[:, None] / np.maximum(far, 1e-300))[..., None]
        z = learned[..., :, None, :] - atoms[..., None, :, :]
        size = self.kernel.profile(np.linalg.norm(z, axis=-1)) * np.sum(z * z, axis=-1)
        errors = np.sum(outside[..., None, :] * size * (delta["Y"][..., None] + delta["f"][..., None, :]), axis=-1)
        here = exact_score + self.error(t, learned)
        moved = np.zeros_like(learned)
        for j in range(atoms.shape[2]):
            one = slice(j, j + 1)
            gap = pair_drift(self.kernel, learned, atoms[:, :, one], here, self.learned_score(t, atoms)[:, :, one])
            other = projected[:, :, one]
            gap = gap - pair_drift(self.kernel, learned, other, here, self.learned_score(t, other))
            moved += outside[..., j, None, None] * gap
        return share, np.sqrt(np.mean((errors + np.linalg.norm(moved, axis=-1)) ** 2, axis=-1))


def particles(rng: np.random.Generator, n: int) -> list[Case]:
    """Half N-body systems, half systems with a law of their own."""
    out: list[Case] = []
    n_body = bool(rng.random() < 0.5)
    while len(out) < n:
        batch = min(25, n - len(out))
        out += Particles.draw(rng, batch, n_body=n_body).cases()
        n_body = not n_body
    return out


# learned particles, offset from the exact ones, atoms, all on the axis of two antipodal points; scale of the learned
# score, of the exact score
_ANTIPODAL: Mapping[str, tuple[Any, Any, Any, float, float]] = {
    "score error": ([1.0], [0.0], [-1.0], 0.0, 1.0),
    "measure mismatch": ([1.0, -1.0], [0.0, 0.0], [1.0, -0.999], 1.0, 1.0),
    "sampling of the drift": ([1.0], [0.0], [-1.0], 1.0, 1.0),
    "growth": ([1.0, -1.0, -1.0, -1.0], [1e-3, 0.0, 0.0, 0.0], [1.0, -1.0, -1.0, -1.0], 1.0, 1.0),
}


def antipodal(rng: np.random.Generator, n: int) -> list[Case]:
    """Worst cases of Lemma 1: particles at two opposite points of the ball, the score across their line, short times.

    One part of Lemma 1 after the other is an equality: Lambda (delta + E delta), L_g W1, L_U, and in Theorem 2 sqrt V.
    In "growth" the law is that of the learned particles and one exact particle starts beside its own.
    """
    out: list[Case] = []
    while len(out) < n:
        kind = list(_ANTIPODAL)[len(out) % len(_ANTIPODAL)]
        learned, offset, atoms, learned_size, exact_size = _ANTIPODAL[kind]
        d = int(rng.integers(2, 4))
        radius, strength, size = rng.uniform(0.5, 2), float(log_uniform(rng, 1e-2, 1)), rng.uniform(0.3, 2)
        slope = 12 * strength * radius**2 * size  # L_U
        length = (1.0 if kind == "growth" else 1e-3) / slope
        across = np.zeros((1, d, d))
        across[0, 1, 0] = size
        still = np.zeros((1, d))

        def field(scale: float, linear: Array = across, rest: Array = still) -> Fields:
            return Fields(scale * linear, rest, rest, rest, np.zeros(1), np.zeros(1))

        def on_axis(x: Any, e: Array) -> Array:
            return np.array(x)[None, :, None] * e

        first, second = radius * np.eye(d)[:2]
        shift = on_axis(offset, first - second)
        system = Particles(
            maxwell(d, strength),
            np.linspace(0, length, 3),
            field(exact_size),
            field(learned_size - exact_size),
            on_axis(atoms, first),
            on_axis(learned, first) - shift,
            shift,
            np.zeros((1, len(learned), d)),
            np.zeros(1),
            np.zeros((1, 1, d)),
        )
        case = system.rotated(orthogonal(rng, d)).cases()[0]
        out.append(replace(case, family="antipodal"))
    return out


# --- Gaussian laws -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Swing:
    """The smooth function size (start + sin(rate (t - t0) + phase) - sin phase)."""

    size: float
    start: float
    rate: float
    phase: float

    def __call__(self, s: Any) -> Any:
        """Value at the time s since the start."""
        return self.size * (self.start + np.sin(self.rate * s + self.phase) - math.sin(self.phase))

    def speed(self, s: Any) -> Any:
        """Derivative."""
        return self.size * self.rate * np.cos(self.rate * s + self.phase)


def draw_swing(rng: np.random.Generator, largest: float, *, at_rest: bool) -> Swing:
    """A swing of size at most ``largest``, from 0 if ``at_rest``."""
    start = 0.0 if at_rest else rng.uniform(-0.5, 0.5)
    return Swing(float(log_uniform(rng, 1e-3, 1)) * largest, start, rng.uniform(0.3, 3), rng.uniform(-1, 1))


def orthogonal(rng: np.random.Generator, d: int) -> Array:
    """A random orthogonal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diag(r))


@dataclass(frozen=True)
class Linear:
    """Exact flow F(t) v + p(t), F = (1 + s) I or I + s G, learned flow F(t)(I + eta P) v + p + q, v ~ N(0, I).

    s is the time since the start. U(x) = F' F^-1 (x - p) + p'; the learned drift differs from U by the affine field
    E x + h, the rest of its velocity is the residual.
    """

    edges: Array
    shear: Array
    path: Array
    swing: Swing
    bend: Array
    way: Array
    error: Array
    push: Array

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Linear:
        """Every third system is a scaling with scalar factors: Gronwall's inequality is nearly an equality."""
        d = int(rng.integers(2, 4))
        scalar, shear = rng.random() < 1 / 3, rng.standard_normal((d, d))
        edges = window(rng)
        shear = (rng.uniform(-0.8, 2) * np.eye(d) if scalar else 0.8 * shear / np.linalg.norm(shear, 2)) / (
            edges[-1] - edges[0]
        )
        bend = np.eye(d) * rng.choice([0, 1]) if scalar else rng.standard_normal((d, d)) / d
        swing = draw_swing(rng, 0.3, at_rest=bool(rng.random() < 0.5))
        small = rng.choice([0.0, 0.1])
        way, path, push = rng.standard_normal((3, d))
        return cls(edges, shear, path, swing, bend, way, small * rng.standard_normal((d, d)), small * push)

    def rotated(self, q: Array) -> Linear:
        """All vectors turned by q."""
        matrices: Any = {k: q @ getattr(self, k) @ q.T for k in ("shear", "bend", "error")}
        vectors: Any = {k: q @ getattr(self, k) for k in ("path", "way", "push")}
        return replace(self, **matrices, **vectors)

    def case(self) -> Case:
        """Theorem 1 with the log-norm: along trajectories, and in law."""
        grid, eye = TimeGrid(self.edges), np.eye(len(self.path))

        def flows(t: Array) -> tuple[Array, ...]:
            """F, p, learned factor, learned centre and their speeds; U is the matrix F' F^-1."""
            s = (t - self.edges[0])[:, None]
            f, learned = eye + s[..., None] * self.shear, eye + self.swing(s)[..., None] * self.bend
            fast = self.shear @ learned + f @ (self.swing.speed(s)[..., None] * self.bend)
            p, q = np.sin(s) * self.path, self.swing(s) * self.way
            return f, p, f @ learned, p + q, fast, np.cos(s) * self.path, self.swing.speed(s) * self.way

        f, p, g, c, fast, _, dq = flows(grid.flat)
        rate = self.shear @ inverted(f)

        def rms(matrix: Array, vector: Array) -> Array:
            return np.sqrt(np.sum(matrix**2, axis=(-1, -2)) + np.sum(vector**2, axis=-1))

        def along(matrix: Array, vector: Array) -> Array:
            return np.einsum("...ij,...j->...i", matrix, vector)

        gap, shift = fast - rate @ g, dq - along(rate, c - p)
        mismatch, lag = self.error @ g, along(self.error, c) + self.push
        ef, ep, eg, ec = flows(self.edges)[:4]
        w2 = gelbrich(ep, ef @ ef.swapaxes(-1, -2), ec, eg @ eg.swapaxes(-1, -2))
        distance = rms(eg - ef, ec - ep)
        values = {
            "drift_log_norm": np.linalg.eigvalsh((rate + rate.swapaxes(-1, -2)) / 2)[:, -1],
            "drift_error_law": rms(gap, shift),
            "drift_mismatch": rms(mismatch, lag),
            "residual_rms": rms(gap - mismatch, shift - lag),
            "initial_error": distance[0],
            "initial_w2": w2[0],
        }
        return Case("linear", self.edges, values, {"thm1_direct": distance, "thm1_law": w2})


def linear(rng: np.random.Generator, n: int) -> list[Case]:
    """Affine flows."""
    return [Linear.draw(rng).case() for _ in range(n)]


STABILITY_TAILS = dict.fromkeys(
    ("defect_tail", "defect_l1_tail", "defect_l2_tail", "defect_entropy_tail", "defect_chi2_tail"), 0.0
)


def gaussian_entropy(mean: Array, covariance: Array, temperature: float) -> Array:
    """KL(N(mean, covariance) | N(0, temperature I))."""
    d = mean.shape[-1]
    log_det = np.linalg.slogdet(covariance / temperature)[1]
    return np.maximum(trace(covariance) / temperature - d - log_det + np.sum(mean**2, axis=-1) / temperature, 0.0) / 2


def gaussian_chi2(mean: Array, covariance: Array, temperature: float) -> Array:
    """Integral of (f~ - M)^2/M for f~ = N(mean, covariance), M = N(0, temperature I), covariance < 2 temperature."""
    s = covariance / temperature
    other = 2 * np.eye(mean.shape[-1]) - s
    log_mass = np.einsum("...i,...ij,...j->...", mean, inverted(other), mean) / temperature
    return np.expm1(np.maximum(log_mass - np.linalg.slogdet(s @ other)[1] / 2, 0.0))


def marginal_l1(mean: Array, covariance: Array, temperature: float) -> Array:
    """Largest L1 distance of the marginals of N(mean, covariance) and N(0, temperature I) on the axes of covariance."""
    variances, axes = np.linalg.eigh(covariance)
    a, v = np.einsum("...i,...ij->...j", mean, axes), variances
    # the log-ratio of two Gaussians on the line is a parabola: the densities cross at its roots
    p, q, r = (1 / temperature - 1 / v) / 2, a / v, -(a**2) / v / 2 - np.log(v / temperature) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        disc = np.sqrt(np.maximum(q * q - 4 * p * r, 0))
        sign = np.where(q >= 0, 1.0, -1.0)
        roots = np.stack([-(q + sign * disc) / (2 * p), -2 * r / (q + sign * disc)])
    roots = np.where(np.isnan(roots), 0.0, roots)  # of equal variances, one crossing is at infinity
    # the mass of any set gives a lower value, so that rounding of the roots does no harm
    low, high = np.minimum(*roots), np.maximum(*roots)

    def between(x: Array, centre: Array | float, variance: Array | float) -> Array:
        return ndtr((x - centre) / np.sqrt(variance))

    inside = between(high, a, v) - between(low, a, v) - between(high, 0.0, temperature) + between(low, 0.0, temperature)
    return 2 * np.abs(inside).max(axis=-1)


@dataclass(frozen=True)
class Gaussian:
    """Learned law N(a(t), M M^T), M = sqrt(Sigma(t)) + eta(t) P; f starts from N(0, Sigma(t0)), Maxwell kernel.

    Sigma(t) = T I + (Sigma0 - T I) e^(-4dCs) is exact. If Sigma0 = T I then f rests and all errors are known; else
    only the moments of f are.
    """

    strength: float
    edges: Array
    axes: Array
    variances: Array
    bend: Array
    swing: Swing
    way: Array
    path: Swing

    @classmethod
    def draw(cls, rng: np.random.Generator, d: int) -> Gaussian:
        """Two of three times f is a Maxwellian at rest; every fourth time the learned law is only translated."""
        variances = rng.uniform(0.7, 1.3) * np.ones(d) if rng.random() < 2 / 3 else rng.uniform(0.5, 1.5, d)
        noise = rng.standard_normal((d, d))
        bend = (noise + noise.T) / 2 if rng.random() < 0.5 else noise
        if rng.random() < 0.3:
            bend = rng.choice([-1, 1]) * np.eye(d)
        return cls(
            float(log_uniform(rng, 1e-3, 1)),
            window(rng),
            orthogonal(rng, d),
            variances,
            bend / np.linalg.norm(bend, 2) * (rng.random() > 0.25),
            draw_swing(rng, 0.1, at_rest=bool(rng.random() < 0.6)),
            rng.standard_normal(d) * (rng.random() < 0.6),
            draw_swing(rng, 0.2, at_rest=bool(rng.random() < 0.6)),
        )

    def rotated(self, q: Array) -> Gaussian:
        """All vectors turned by q."""
        return replace(self, axes=q @ self.axes, bend=q @ self.bend @ q.T, way=q @ self.way)

    @property
    def resting(self) -> bool:
        """Whether f is a Maxwellian."""
        return bool(np.ptp(self.variances) == 0)

    def moments(self, t: Array) -> tuple[Array, ...]:
        """Covariance of f; learned factor M, its speed, learned mean, its speed."""
        s, d = (t - self.edges[0])[:, None], len(self.variances)
        temperature = self.variances.mean()
        decay = (self.variances - temperature) * np.exp(-4 * d * self.strength * s)
        lam = temperature + decay
        slope = -4 * d * self.strength * decay / (2 * np.sqrt(lam))

        def spread(x: Array) -> Array:
            return (self.axes * x[:, None, :]) @ self.axes.T

        factor = spread(np.sqrt(lam)) + self.swing(s)[..., None] * self.bend
        speed = spread(slope) + self.swing.speed(s)[..., None] * self.bend
        return spread(lam), factor, speed, self.path(s) * self.way, self.path.speed(s) * self.way

    def case(self) -> Case:
        """Theorem 1 in law and S1 to S4."""
        grid, d, c = TimeGrid(self.edges), len(self.variances), (len(self.variances) - 1) * self.strength
        covariance, factor, speed, mean, velocity = self.moments(grid.flat)
        learned = factor @ factor.swapaxes(-1, -2)
        inverse = inverted(learned)

        def fields(v: Array) -> tuple[Array, ...]:
            """Point, speed, defect with the moments of the learned law and with those of f."""
            z = factor_map(factor, v)
            x, push, flow = z + mean[:, None], -factor_map(inverse, z), factor_map(speed, v) + velocity[:, None]
            own = flow - maxwell_drift(self.strength, z, push, learned)
            return x, flow, own, flow - maxwell_drift(self.strength, x, push, covariance)

        v, w = gauss_hermite(d, 16 if d == 2 else 9)
        x, flow, own, gap = fields(v)
        size = np.sum(gap**2, axis=-1)
        # |e| has a cusp where e = 0: nodes around the centre, where it mostly is, and 0.3 per cent for the rest
        radial, dv = polar_nodes(d, 7.0)
        dv = dv * (2 * math.pi) ** (-d / 2) * np.exp(-np.sum(radial**2, axis=-1) / 2)
        first = np.linalg.norm(fields(radial)[3], axis=-1) @ dv
        first = first * np.where(np.ptp(size, axis=-1) <= 1e-12 * size.max(axis=-1), 1.0, 1.003)
        values: dict[str, Any] = STABILITY_TAILS | {
            "kappa": 0.0,
            "friction": c,
            "defect": np.sqrt(np.sum(own**2, axis=-1) @ w),
            "defect_l1": first,
            "defect_l2": np.sqrt(size @ w),
            "defect_entropy": maxwell_metric(self.strength, x, gap, covariance) @ w,
        }
        there, factor, _, mean, _ = self.moments(self.edges)
        learned = factor @ factor.swapaxes(-1, -2)
        w2, shift = gelbrich(mean, learned, 0 * mean, there), np.linalg.norm(mean, axis=-1)
        values["initial_distance"] = w2[0]
        if not self.resting:  # f is not known but its moments are; it starts as a Gaussian
            return Case(
                "gaussian", self.edges, values, {"stability_w2": w2, "stability_wp2": w2, "stability_wp": shift}
            )
        temperature = float(self.variances[0])
        start = (mean, learned, temperature)
        entropy, chi2 = gaussian_entropy(*start), gaussian_chi2(*start)
        values |= {
            "drift_log_norm": 0.0,
            "drift_error_law": np.sqrt(np.sum(flow**2, axis=-1) @ w),
            "initial_w2": w2[0],
            "initial_entropy": entropy[0],
            "initial_chi2": chi2[0],
            "defect_chi2": self._weighted(grid.flat, temperature),
        }
        # W1 from below by linear functions, and by |x.e| and |x| for centred laws; from above by W2
        absolute = np.abs(np.sqrt(np.linalg.eigvalsh(learned)) - math.sqrt(temperature)).max(axis=-1)
        scalar = np.ptp(np.linalg.eigvalsh(learned), axis=-1) < 1e-14
        mean_radius = math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
        w1 = np.where(shift == 0, absolute * np.where(scalar, mean_radius, math.sqrt(2 / math.pi)), shift)
        truth = {
            **dict.fromkeys(("thm1_law", "stability_w2", "stability_wp2"), w2),
            "stability_wp": w1,
            "stability_kl": entropy,
            "stability_l1": marginal_l1(*start),
            "stability_chi2": chi2,
        }
        return Case("gaussian", self.edges, values, truth)

    def _weighted(self, t: Array, temperature: float) -> Array:
        """Integral of e^T A^-1 e f~^2/M, by the Gauss-Hermite rule of the Gaussian f~^2/M."""
        covariance, factor, speed, mean, velocity = self.moments(t)
        d = mean.shape[-1]
        learned = factor @ factor.swapaxes(-1, -2)
        inverse = inverted(learned)
        spread = inverted(2 * inverse - np.eye(d) / temperature)
        centre = 2 * np.einsum("tij,tjk,tk->ti", spread, inverse, mean)
        mass = 1 + gaussian_chi2(mean, learned, temperature)
        v, w = gauss_hermite(d, 16 if d == 2 else 9)
        x = centre[:, None] + factor_map(root(spread), v)
        z = x - mean[:, None]
        flow = factor_map(speed @ inverted(factor), z) + velocity[:, None]
        gap = flow - maxwell_drift(self.strength, x, -factor_map(inverse, z), covariance)
        return mass * (maxwell_metric(self.strength, x, gap, covariance) @ w)


def factor_map(matrix: Array, x: Array) -> Array:
    """Matrices (t, d, d) times points (n, d) or (t, n, d)."""
    return x @ matrix.swapaxes(-1, -2)


def maxwell_drift(strength: float, z: Array, score: Array, covariance: Array) -> Array:
    """-(A * f) s + b * f at z = x - mean in (t, n, d), Maxwell kernel, covariance of f (t, d, d)."""
    size = np.sum(z * z, axis=-1) + trace(covariance)[:, None]
    diffusion = size[..., None] * score - z * np.sum(z * score, axis=-1, keepdims=True) - score @ covariance
    return -strength * (diffusion + (z.shape[-1] - 1) * z)


def maxwell_metric(strength: float, z: Array, gap: Array, covariance: Array) -> Array:
    """e^T (A * f)^-1 e, A * f = C (D - z z^T), D = (|z|^2 + tr S) I - S, by Sherman and Morrison on the axes of S."""
    variances, axes = np.linalg.eigh(covariance)
    z, gap = z @ axes, gap @ axes
    diagonal = (np.sum(z * z, axis=-1) + variances.sum(axis=-1)[:, None])[..., None] - variances[:, None]
    u = z / diagonal
    plain = np.sum(gap * gap / diagonal, axis=-1)
    return (plain + np.sum(u * gap, axis=-1) ** 2 / (1 - np.sum(u * z, axis=-1))) / strength


def gaussian(rng: np.random.Generator, n: int) -> list[Case]:
    """Learned Gaussian laws, mostly in two dimensions."""
    return [Gaussian.draw(rng, 3 if rng.random() < 0.1 else 2).case() for _ in range(n)]


def coulomb(rng: np.random.Generator, n: int) -> list[Case]:
    """S1 with a mollified Coulomb kernel: f a Maxwellian at rest, the learned law Gaussian, drift by quadrature."""
    out: list[Case] = []
    outer, inner = gauss_hermite(2, 6), gauss_hermite(2, 16)
    while len(out) < n:
        system = Gaussian.draw(rng, 2)
        if not system.resting:
            continue
        kernel = mollified_coulomb(2, system.strength, rng.uniform(0.7, 2))
        _, factor, speed, mean, velocity = system.moments(TimeGrid(system.edges).flat)
        inverse = inverted(factor @ factor.swapaxes(-1, -2))
        x, w = factor_map(factor, outer[0]), factor_map(factor, inner[0])
        z = x[:, :, None] - w[:, None]
        y = -np.einsum("tij,tnmj->tnmi", inverse, z)  # difference of the two scores
        r2 = np.sum(z * z, axis=-1, keepdims=True)
        product = kernel.profile(np.sqrt(r2)) * (r2 * y - z * np.sum(z * y, axis=-1, keepdims=True))
        drift = -np.einsum("tnmi,m->tni", product, inner[1])
        gap = factor_map(speed, outer[0]) + velocity[:, None] - drift
        there, factor, _, mean, _ = system.moments(system.edges)
        w2 = gelbrich(mean, factor @ factor.swapaxes(-1, -2), 0 * mean, there)
        values = STABILITY_TAILS | {
            "kappa": kernel.kappa,
            "initial_distance": w2[0],
            "defect": np.sqrt(np.sum(gap**2, axis=-1) @ outer[1]),
        }
        out.append(Case("coulomb", system.edges, values, {"stability_w2": w2}))
    return out


# --- exact isotropic solutions of the Maxwell equation -----------------------------------------------------------


@dataclass(frozen=True)
class Radial:
    """An isotropic solution with mean 0 and temperature 1: BKW, or sum_k w_k N(0, v_k I), v_k -> 1 at the rate 2c.

    Times count from the start; c = (d-1) C. U = -c (s + v).
    """

    d: int
    strength: float
    weights: Array
    variances: Array
    bkw: Bkw | None = None

    @classmethod
    def draw(cls, rng: np.random.Generator, d: int, strength: float) -> Radial:
        """BKW or a mixture of two Gaussians."""
        if rng.random() < 0.5:
            amplitude = rng.uniform(0.05, 0.9) * 2 / (d + 2)
            return cls(d, strength, np.ones(1), np.ones(1), Bkw(d, strength, amplitude, 0.0))
        low, weight = rng.uniform(0.7, 1), rng.uniform(0.3, 0.6)  # both variances below 2: f^2/M is integrable
        return cls(d, strength, np.array([weight, 1 - weight]), np.array([low, (1 - weight * low) / (1 - weight)]))

    @property
    def friction(self) -> float:
        """(d-1) C."""
        return (self.d - 1) * self.strength

    def _parts(self, t: float, r2: Array) -> tuple[Array, Array]:
        """Densities of the parts (k, ...), and their variances (k,)."""
        v = 1 + (self.variances - 1) * math.exp(-2 * self.friction * t)
        shape = (-1, *[1] * np.ndim(r2))
        v_, w_ = v.reshape(shape), self.weights.reshape(shape)
        return w_ * (2 * math.pi * v_) ** (-self.d / 2) * np.exp(-r2 / (2 * v_)), v

    def density(self, t: float, r2: Array) -> Array:
        """F at |v|^2."""
        if self.bkw:
            k, p, q = self.bkw.coefficients(t)
            return (2 * math.pi * k) ** (-self.d / 2) * np.exp(-r2 / (2 * k)) * (p + q * r2)
        return np.sum(self._parts(t, r2)[0], axis=0)

    def factor(self, t: float, r2: Array) -> tuple[Array, Array]:
        """Sigma with s = sigma v, and its derivative in |v|^2."""
        if self.bkw:
            k, p, q = self.bkw.coefficients(t)
            m = p + q * r2
            return -1 / k + 2 * q / m, -2 * q * q / m**2
        parts, v = self._parts(t, r2)
        share = parts / parts.sum(axis=0)
        one, two = np.tensordot(1 / v, share, 1), np.tensordot(1 / v**2, share, 1)
        return -one, (two - one**2) / 2

    def mass_inside(self, t: float, r: Array) -> Array:
        """Mass of the ball of radius r."""
        if self.bkw:
            return self.bkw.radial_mass(t, r)[0]
        v = 1 + (self.variances - 1) * math.exp(-2 * self.friction * t)
        return sum(
            (w * gammainc(self.d / 2, r * r / (2 * x)) for w, x in zip(self.weights, v, strict=True)), start=0 * r
        )

    def log_norm(self, t: float) -> float:
        """Largest eigenvalue of grad U = -c (1 + sigma, tangential; 1 + sigma + 2 r^2 sigma', radial) over all r."""
        r2 = np.linspace(0, 12, 4001) ** 2
        sigma, slope = self.factor(t, r2)
        return float(np.max(-self.friction * (1 + np.minimum(sigma, sigma + 2 * r2 * slope))))


def polar_nodes(d: int, radius: float) -> tuple[Array, Array]:
    """Nodes (n, d) and weights of Lebesgue measure on a ball."""
    x, w = legendre(12)
    edges = np.linspace(0, radius, 6)
    half = np.diff(edges)[:, None] / 2
    r, rw = ((edges[1:] + edges[:-1])[:, None] / 2 + half * x).ravel(), (half * w).ravel()
    angles = 32 if d == 2 else 20
    azimuth = 2 * math.pi * (np.arange(angles) + 0.3) / angles
    circle = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    if d == 2:
        directions, dw = circle, np.full(angles, 2 * math.pi / angles)
    else:
        cosine, cw = legendre(12)
        sine = np.sqrt(1 - cosine**2)
        flat = sine[:, None, None] * circle
        directions = np.concatenate([flat, np.broadcast_to(cosine[:, None, None], (12, angles, 1))], axis=2).reshape(
            -1, 3
        )
        dw = np.repeat(cw * 2 * math.pi / angles, angles)
    return (r[:, None, None] * directions).reshape(-1, d), np.outer(rw * r ** (d - 1), dw).ravel()


@dataclass(frozen=True)
class Perturbed:
    """Learned flow y = x + eta(s) (L x + c) + zeta(s) b sin(k.x + p), x = X(t, v) on an exact isotropic solution.

    A gradient if L is symmetric and b a multiple of k; then (x, y) is the optimal coupling. The learned score is
    (1 + a) s(v) + G v + o + g sin(h.v).
    """

    solution: Radial
    edges: Array
    eta: Swing
    matrix: Array
    shift: Array
    zeta: Swing
    b: Array
    k: Array
    phase: float
    wrong: float
    tilt: Array
    offset: Array
    g: Array
    h: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, d: int) -> Perturbed:
        """A gradient every other time."""
        at_rest = bool(rng.random() < 0.6)
        matrix, k = rng.standard_normal((d, d)) / d, rng.uniform(0.2, 1.2) * orthogonal(rng, d)[0]
        gradient = rng.random() < 0.5
        size = float(log_uniform(rng, 1e-3, 0.3))
        return cls(
            Radial.draw(rng, d, float(log_uniform(rng, 1e-2, 0.5))),
            window(rng),
            draw_swing(rng, 0.1, at_rest=at_rest),
            (matrix + matrix.T) / 2 if gradient else matrix,
            rng.standard_normal(d),
            draw_swing(rng, rng.choice([0.0, 0.1]), at_rest=at_rest),
            k * rng.choice([-1, 1]) if gradient else rng.standard_normal(d) / math.sqrt(d),
            k,
            rng.uniform(0, 6.3),
            size * rng.uniform(-1, 1),
            size * rng.standard_normal((d, d)),
            size * rng.standard_normal(d),
            size * rng.standard_normal(d),
            rng.uniform(0.2, 1.2) * orthogonal(rng, d)[0],
        )

    def _learned(self, t: float, v: Array) -> tuple[Array, Array]:
        """Learned score and psi = |s~|^2 + 2 div s~ at v."""
        r2 = np.sum(v * v, axis=-1)
        sigma, slope = self.solution.factor(t, r2)
        phase = v @ self.h
        score = (1 + self.wrong) * sigma[:, None] * v + v @ self.tilt.T + self.offset + np.sin(phase)[:, None] * self.g
        divergence = (1 + self.wrong) * (self.solution.d * sigma + 2 * r2 * slope) + np.trace(self.tilt)
        divergence = divergence + np.cos(phase) * (self.g @ self.h)
        return score, np.sum(score**2, axis=-1) + 2 * divergence

    def at(self, s: float, lebesgue: tuple[Array, Array]) -> dict[str, float]:
        """Every ingredient and every error at the time s since the start."""
        law, d, c = self.solution, self.solution.d, self.solution.friction
        x, dx = lebesgue
        r2 = np.sum(x * x, axis=-1)
        f = law.density(s, r2)
        w, score = dx * f, law.factor(s, r2)[0][:, None] * x
        eta, zeta = float(self.eta(s)), float(self.zeta(s))
        affine, phase = x @ self.matrix.T + self.shift, x @ self.k + self.phase
        sine, cosine = np.sin(phase), np.cos(phase)
        y = x + eta * affine + zeta * sine[:, None] * self.b
        straight = np.eye(d) + eta * self.matrix
        # the Jacobian is straight + zeta cos b k^T: Sherman and Morrison
        twist = zeta * (self.k @ np.linalg.solve(straight, self.b))
        determinant = np.linalg.det(straight) * (1 + twist * cosine)
        log_slope = -(twist * sine / (1 + twist * cosine))[:, None] * self.k
        solved = (score - log_slope) @ inverted(straight)
        bent = np.linalg.solve(straight.T, self.k) * zeta
        push = solved - (cosine * (solved @ self.b) / (1 + twist * cosine))[:, None] * bent
        drift = -c * (score + x)
        flow = drift @ straight.T + (zeta * cosine * (drift @ self.k))[:, None] * self.b
        flow = flow + float(self.eta.speed(s)) * affine + float(self.zeta.speed(s)) * sine[:, None] * self.b
        mean = w @ y
        z = y - mean
        covariance = (w[:, None] * z).T @ z
        own = flow - maxwell_drift(law.strength, z[None], push[None], covariance[None])[0]
        gap = flow - maxwell_drift(law.strength, y[None], push[None], np.eye(d)[None])[0]
        size = np.sum(gap**2, axis=-1)
        metric = maxwell_metric(law.strength, y[None], gap[None], np.eye(d)[None])[0]
        y2 = np.sum(y * y, axis=-1)
        there, sigma = law.density(s, y2), law.factor(s, y2)[0]
        learned, log_m = f / determinant, (2 * math.pi) ** (-d / 2)
        error = flow + c * (sigma + 1)[:, None] * y  # d_t T - U(T)
        wrong = y @ self.tilt.T / 2 + self.offset / 2
        coupling = np.sum((y - x) ** 2, axis=-1)
        here, psi = self._learned(s, x)
        psi_learned = self._learned(s, y)[1]
        ratio = learned / (log_m * np.exp(-y2 / 2))
        lipschitz = [y[:, i] - x[:, i] for i in range(d)] + [np.sqrt(y2) - np.sqrt(r2)]
        lipschitz.append((np.sin(y @ self.k) - np.sin(x @ self.k)) / np.linalg.norm(self.k))
        lipschitz.append(((np.abs(y) - np.abs(x)) @ np.resize([1.0, -1.0], d)) / math.sqrt(d))
        # moments of x by the same rule: both laws are then moments of one coupling, to rounding
        moments = float(gelbrich(mean, covariance, w @ x, (w[:, None] * (x - w @ x)).T @ (x - w @ x)))
        gradient = (
            np.array_equal(self.matrix, self.matrix.T)
            and np.linalg.norm(np.outer(self.b, self.k) - np.outer(self.k, self.b)) < 1e-12
        )
        rms = math.sqrt(w @ coupling)
        return {
            "defect": math.sqrt(w @ np.sum(own**2, axis=-1)),
            "defect_l1": w @ np.sqrt(size),
            "defect_l2": math.sqrt(w @ size),
            "defect_entropy": w @ metric,
            "defect_chi2": w @ (metric * ratio),
            "drift_log_norm": law.log_norm(s),
            "drift_error_law": math.sqrt(w @ np.sum(error**2, axis=-1)),
            "drift_mismatch": math.sqrt(w @ np.sum(wrong**2, axis=-1)),
            "residual_rms": math.sqrt(w @ np.sum((error - wrong) ** 2, axis=-1)),
            "ism_objective_exact_law": w @ psi,
            "fisher_information": w @ np.sum(score**2, axis=-1),
            "ism_objective": w @ psi_learned,
            "ism_modulus": abs(w @ (psi_learned - psi)) / max(moments, 1e-9),
            "score_error": w @ np.sum((here - score) ** 2, axis=-1),
            "rms": rms,
            "first": w @ np.sqrt(coupling),
            "w2": rms if gradient else moments,
            "w1": max(abs(w @ gap_) for gap_ in lipschitz),
            "kl": max(w @ np.log(learned / there), 0.0),
            "l1": 0.99 * (w @ np.abs(1 - there / learned)),  # the integrand has kinks: one per cent for their error
            "chi2": max(
                w @ ratio - 2 * (w @ (there / (log_m * np.exp(-y2 / 2)))) + w @ (f / (log_m * np.exp(-r2 / 2))),
                0.0,
            ),
        }

    def case(self) -> Case:
        """S1 to S4, Theorem 1 without a ball, Lemma 2 and Theorem 4."""
        grid, d = TimeGrid(self.edges), self.solution.d
        lebesgue = polar_nodes(d, 10.5)
        at_nodes, at_edges = (
            {k: np.array([row[k] for row in rows]) for k in rows[0]}
            for rows in ([self.at(t - self.edges[0], lebesgue) for t in times] for times in (grid.flat, self.edges))
        )
        values = STABILITY_TAILS | at_nodes
        values |= {k: at_edges[k] for k in ("ism_objective", "ism_modulus")}
        values |= {
            "kappa": 0.0,
            "friction": self.solution.friction,
            "initial_distance": at_edges["rms"][0],
            "initial_w2": at_edges["rms"][0],
            "initial_error": at_edges["rms"][0],
            "initial_entropy": at_edges["kl"][0],
            "initial_chi2": at_edges["chi2"][0],
            "fisher_initial": at_edges["fisher_information"][0],
            "coupling_rms": at_edges["rms"],
            "density_w2": at_edges["rms"],
        }
        named = {
            "w2": ("stability_w2", "stability_wp2", "thm1_law"),
            "w1": ("stability_wp",),
            "kl": ("stability_kl",),
            "l1": ("stability_l1",),
            "chi2": ("stability_chi2",),
            "rms": ("thm1_direct",),
            "score_error": ("lemma2", "thm4", "thm4_fisher"),
        }
        truth = {theorem: at_edges[key] for key, theorems in named.items() for theorem in theorems}
        return Case("isotropic", self.edges, values, truth)


def isotropic(rng: np.random.Generator, n: int) -> list[Case]:
    """Perturbed exact flows, one in thirty in three dimensions (they take ten times as long)."""
    return [Perturbed.draw(rng, 3 if rng.random() < 1 / 30 else 2).case() for _ in range(n)]


def relaxation(rng: np.random.Generator, n: int) -> list[Case]:
    """Two exact solutions with the same moments: no defect, so that the distances must decay as S1 to S4 say."""
    out = []
    r, dr = (x.ravel() for x in _radial_nodes())
    fine = np.linspace(0, 12, 2001)
    for _ in range(n):
        d, strength = int(rng.integers(2, 4)), float(log_uniform(rng, 1e-2, 1))
        one, two, edges = Radial.draw(rng, d, strength), Radial.draw(rng, d, strength), window(rng)
        area = 2 * math.pi ** (d / 2) / math.gamma(d / 2) * r ** (d - 1) * dr
        rows = []
        for s in edges - edges[0]:
            f, g = one.density(s, r * r), two.density(s, r * r)
            inside = np.stack([law.mass_inside(s, fine) for law in (one, two)])
            level, q = one.mass_inside(s, r), np.interp(one.mass_inside(s, r), inside[1], fine)
            for _ in range(3):  # Newton: the radius of two with the same mass inside
                slope = two.density(s, q * q) * area / dr * (q / r) ** (d - 1)
                q = q - np.clip((two.mass_inside(s, q) - level) / np.maximum(slope, 1e-300), -0.05, 0.05)
            maxwellian = (2 * math.pi) ** (-d / 2) * np.exp(-r * r / 2)
            rows.append(
                (
                    math.sqrt((f * area) @ (q - r) ** 2),
                    dr @ np.abs(one.mass_inside(s, r) - two.mass_inside(s, r)),
                    (f * area) @ np.log(f / g),
                    np.abs(np.diff(inside[0]) - np.diff(inside[1])).sum(),
                    ((f - g) ** 2 / maxwellian) @ area,
                )
            )
        w2, w1, kl, l1, chi2 = np.array(rows).T
        quiet = ("kappa", "defect", "defect_l1", "defect_l2", "defect_entropy", "defect_chi2")
        values = STABILITY_TAILS | dict.fromkeys(quiet, 0.0) | {"friction": one.friction}
        values |= {
            "initial_entropy": max(kl[0], 0.0),
            "initial_chi2": chi2[0],
            "initial_w1": w1[0],
            "initial_w2": w2[0],
        }
        second = {
            "stability_w2": w2,
            "stability_wp2": w2,
            "stability_kl": kl,
            "stability_l1": l1,
            "stability_chi2": chi2,
        }
        out.append(Case("relaxation", edges, values | {"initial_distance": w2[0]}, second))
        out.append(Case("relaxation", edges, values | {"initial_distance": w1[0]}, {"stability_wp": w1}))
    return out


def _radial_nodes() -> tuple[Array, Array]:
    x, w = legendre(12)
    edges = np.linspace(0, 11, 12)
    half = np.diff(edges)[:, None] / 2
    return (edges[1:] + edges[:-1])[:, None] / 2 + half * x, half * w


# --- score matching ----------------------------------------------------------------------------------------------


def matching(rng: np.random.Generator, n: int) -> list[Case]:
    """Lemma 2 and Theorem 4 for f_t = N(m, S(t)), learned law N(m~, S~(t)), learned score affine plus a sine.

    The modulus is either the smallest there is for these two laws, or int_0^1 |grad psi| along their W2 geodesic.
    """
    return [_matching(rng) for _ in range(n)]


def _matching(rng: np.random.Generator) -> Case:
    d = 2
    edges = window(rng)
    grid, resting = TimeGrid(edges), rng.random() < 0.8
    noise = rng.standard_normal((4, d, d)) / d
    root_0, size = np.eye(d) + 0.3 * (noise[0] + noise[0].T) / 2, float(log_uniform(rng, 1e-3, 0.5))
    growing, moving = draw_swing(rng, 0.2, at_rest=False), draw_swing(rng, 0.3, at_rest=bool(rng.random() < 0.5))
    way, far = rng.standard_normal((2, d))
    wrong, offset, g = size * noise[2], size * rng.standard_normal(d), size * rng.standard_normal(d)
    wave, v, w = rng.uniform(0.2, 1.2) * orthogonal(rng, d)[0], *gauss_hermite(d, 20)
    gauss_t, gauss_w = legendre(6)
    smallest = rng.random() < 0.5

    def at(t: Array) -> dict[str, Array]:
        s: Array = np.reshape(t - edges[0], (-1, 1, 1))
        factor = root_0 + (0 * s if resting else growing(s)) * (noise[1] + noise[1].T) / 2
        other = factor + moving(s) * noise[3]
        inverse = inverted(factor @ factor.swapaxes(-1, -2))
        mean, centre = np.broadcast_to(far, (len(t), d)), far + moving(s[..., 0]) * way
        drifting = 1 + s / 2  # the learned score changes in time

        def psi(x: Array) -> tuple[Array, Array, Array]:
            """Learned score, |s~|^2 + 2 div s~ and its gradient."""
            linear = -inverse + drifting * wrong
            phase = x @ wave
            sine, cosine = drifting[..., 0] * np.sin(phase), drifting[..., 0] * np.cos(phase)
            score = factor_map(linear, x - far) + drifting * offset + sine[..., None] * g
            slope = 2 * score @ linear + (2 * cosine * (score @ g) - 2 * (g @ wave) * sine)[..., None] * wave
            divergence = trace(linear)[:, None] + cosine * (g @ wave)
            return score, np.sum(score**2, axis=-1) + 2 * divergence, slope

        x, y = mean[:, None] + factor_map(factor, v), centre[:, None] + factor_map(other, v)
        score = -factor_map(inverse, x - mean[:, None])
        # the optimal map x -> centre + A (x - mean)
        half, back = root(factor @ factor.swapaxes(-1, -2)), inverted(root(factor @ factor.swapaxes(-1, -2)))
        optimal = back @ root(half @ other @ other.swapaxes(-1, -2) @ half) @ back
        target = centre[:, None] + factor_map(optimal, x - mean[:, None])
        slopes = [np.sqrt(np.sum(psi(x + (1 + p) / 2 * (target - x))[2] ** 2, axis=-1) @ w) for p in gauss_t]
        learned, objective, _ = psi(x)
        w2 = np.sqrt(np.sum((target - x) ** 2, axis=-1) @ w)
        gap = np.abs((psi(y)[1] - objective) @ w)
        return {
            "ism_objective_exact_law": objective @ w,
            "ism_objective": psi(y)[1] @ w,
            "ism_modulus": gap / np.maximum(w2, 1e-9) if smallest else gauss_w / 2 @ np.array(slopes),
            "density_w2": w2,
            "coupling_rms": np.sqrt(np.sum((y - x) ** 2, axis=-1) @ w),
            "fisher_information": trace(inverse),
            "error": np.sum((learned - score) ** 2, axis=-1) @ w,
        }

    nodal, there = at(grid.flat), at(edges)
    values = there | {k: nodal[k] for k in ("ism_objective_exact_law", "fisher_information")}
    truth = {"lemma2": there["error"], "thm4": there["error"]}
    if resting:
        values, truth = (
            values | {"fisher_initial": there["fisher_information"][0]},
            truth | {"thm4_fisher": there["error"]},
        )
    return Case("matching", edges, values, truth)


# --- expectations over all draws ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """B laws f uniform on K atoms that move with U[f]; N particles drawn from them, learned atoms at y_j + p_j(t).

    Expectations over draws are sums over the multisets of N atoms. Everything stays in one ball.
    """

    kernel: Kernel
    edges: Array
    count: int
    score: Fields
    error: Fields
    atoms: Array
    offset: Array
    push: Array
    beat: Array
    centre: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, batch: int) -> Draws:
        """One to three atoms and particles."""
        d, k = int(rng.integers(2, 4)), int(rng.integers(1, 4))
        strength = float(log_uniform(rng, 1e-4, 0.3))
        kernel = maxwell(d, strength) if rng.random() < 0.5 else mollified_coulomb(d, strength, rng.uniform(0.4, 1.5))
        size = log_uniform(rng, 1e-3, 1, (batch, 1, 1))
        aim = rng.standard_normal((batch, 1, d))

        def toward(scale: Any) -> Array:
            return scale * np.where(rng.random((batch, 1, 1)) < 0.5, aim, rng.standard_normal((batch, k, d)))

        spread = rng.choice([0.0, 1.0], (batch, 1, 1), p=[0.1, 0.9])
        return cls(
            kernel,
            window(rng, 1.0),
            int(rng.integers(1, 4)),
            draw_fields(rng, batch, d, rng.uniform(0.3, 2, batch), confining=True),
            draw_fields(rng, batch, d, log_uniform(rng, 1e-4, 0.5, batch), confining=False),
            spread * rng.standard_normal((batch, k, d)) / 2,
            toward(size * rng.choice([0.0, 0.1], (batch, 1, 1))),
            toward(size * 0.5),
            rng.uniform(0.1, 2, batch),
            rng.standard_normal((batch, 1, d)) * rng.choice([0.0, 1.0], (batch, 1, 1)),
        )

    def rotated(self, q: Array) -> Draws:
        """All vectors turned by q."""
        turned: Any = {k: getattr(self, k) @ q.T for k in ("atoms", "offset", "push", "centre")}
        return replace(self, **turned, score=self.score.rotated(q), error=self.error.rotated(q))

    def cases(self) -> list[Case]:
        """Lemma 3 and Theorems 3 and 5."""
        grid = TimeGrid(self.edges)
        t = np.union1d(grid.edges, grid.flat)
        at_nodes, at_edges = np.searchsorted(t, grid.flat), np.searchsorted(t, grid.edges)
        (batch, k, d), n = self.atoms.shape, self.count

        def drift(s: Any, at: Array, atoms: Array, score: Callable[[Any, Array], Array]) -> Array:
            return pair_drift(self.kernel, at, atoms, score(s, at), score(s, atoms))

        def rhs(s: float, flat: Array) -> Array:
            y = flat.reshape(batch, k, d)
            return drift(s, y, y, self.score).ravel()

        span = (float(t[0]), float(t[-1]))
        y = solve_ivp(rhs, span, self.atoms.ravel(), "DOP853", t, rtol=1e-10, atol=1e-12).y.T.reshape(-1, batch, k, d)
        beat = (self.beat * (t - t[0])[:, None])[..., None, None]
        learned = y + self.offset + np.sin(beat) * self.push
        speed = drift(t, y, y, self.score) + np.cos(beat) * self.beat[:, None, None] * self.push
        radius = np.linalg.norm(np.concatenate([y, learned], axis=2), axis=-1).max(axis=(0, 2))
        shared = Particles(  # the constants of the ball are those of particle systems
            self.kernel, self.edges, self.score, self.error, None, y[0], self.offset, self.push, self.beat, self.centre
        )
        delta = self.error(t, y)
        mean = dict.fromkeys(("R", "V", "W1", "sampling", "observable"), 0.0)
        total: dict[str, Any] = dict(mean)
        distance = mean_square(learned - y)  # E E(t): every atom is as likely

        def observable(x: Array) -> Array:
            return np.linalg.norm(x - self.centre, axis=-1)

        exact = observable(y)
        for chosen in itertools.combinations_with_replacement(range(k), n):
            i = list(chosen)
            often = math.factorial(n) / math.prod(math.factorial(i.count(j)) for j in set(i)) / k**n
            x, z = y[:, :, i], learned[:, :, i]
            lag = speed[:, :, i] - drift(t, z, z, shared.learned_score)
            total["R"] = total["R"] + often * mean_square(lag)
            total["V"] = total["V"] + often * mean_square(drift(t, x, x, self.score) - drift(t, x, y, self.score))
            gap = np.abs(observable(z).mean(axis=-1) - exact.mean(axis=-1))
            total["observable"] = total["observable"] + often * gap
            for key, cloud in (("W1", z), ("sampling", x)):
                pairs = [[wasserstein_1(*p) for p in zip(cloud[e], y[e], strict=True)] for e in at_edges]
                total[key] = total[key] + often * np.array(pairs)
        values = shared.constants(t, radius) | {
            "tail_lipschitz": np.zeros((len(t), batch)),
            "tail_drift": np.zeros((len(t), batch)),
            "excess_risk": mean_square(delta),
            "residual_energy_mean": total["R"],
            "drift_sampling": total["V"],
        }
        results = {
            "observable_lipschitz": np.ones((len(grid.edges), batch)),
            "coupling_rms": np.sqrt(distance)[at_edges],
            "observable_deviation": (exact.std(axis=-1) / math.sqrt(n))[at_edges],
            "sampling_w1": total["sampling"],
        }
        return [
            Case(
                "draws",
                self.edges,
                {key: v[at_nodes, b] for key, v in values.items()}
                | {key: v[:, b] for key, v in results.items()}
                | {"initial_error": math.sqrt(distance[0, b])},
                {
                    "lemma3": total["observable"][at_edges, b],
                    **dict.fromkeys(("thm3", "thm5", "thm5_sharp"), total["W1"][:, b]),
                },
            )
            for b in range(batch)
        ]


def draws(rng: np.random.Generator, n: int) -> list[Case]:
    """Batches of systems with one kernel and one number of atoms and particles."""
    out: list[Case] = []
    while len(out) < n:
        out += Draws.draw(rng, min(20, n - len(out))).cases()
    return out


# --- kernel density estimates ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Smoother:
    """A radial probability density K on R^d: profile K(r), its derivative, its Fourier transform, its support."""

    profile: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    transform: Callable[[Array], Array]
    support: float

    def norms(self, d: int) -> tuple[float, float, float]:
        """|K|^2 and |grad K|^2 in L2, and the second moment."""
        square = radial_integral(d, lambda r: self.profile(r) ** 2, self.support)
        slope = radial_integral(d, lambda r: self.slope(r) ** 2, self.support)
        return square, slope, radial_integral(d, lambda r: r * r * self.profile(r), self.support)


def gaussian_smoother(d: int) -> Smoother:
    """N(0, I)."""
    norm = (2 * math.pi) ** (-d / 2)
    return Smoother(
        lambda r: norm * np.exp(-r * r / 2),
        lambda r: -norm * r * np.exp(-r * r / 2),
        lambda k: np.exp(-k * k / 2),
        12.0,
    )


def epanechnikov_smoother(d: int) -> Smoother:
    """Proportional to (1 - r^2)_+."""
    norm = math.gamma(d / 2 + 2) / math.pi ** (d / 2)
    order = d / 2 + 1

    def transform(k: Array) -> Array:
        return math.gamma(order + 1) * (2 / k) ** order * jv(order, k)

    return Smoother(lambda r: norm * (1 - r * r), lambda r: -2 * norm * r, transform, 1.0)


def radial_integral(d: int, f: Callable[[Array], Array], radius: float) -> float:
    """Integral of a radial function over the ball."""
    x, w = legendre(200)
    r = radius * (1 + x) / 2
    area = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    return float(area * radius / 2 * np.sum(w * f(r) * r ** (d - 1)))


def kde(rng: np.random.Generator, n: int) -> list[Case]:
    """Theorem 6: f a mixture of two centred Gaussians, learned particles scale x + shift.

    E|f^ - f| is at least |E f^ - f| (Jensen); for one particle it is computed.
    """
    return [_kde(rng) for _ in range(n)]


def _kde(rng: np.random.Generator) -> Case:
    d, edges = int(rng.integers(2, 4)), window(rng)
    first, share = rng.uniform(0.3, 2), rng.uniform(0, 1)
    weights, variances = np.array([share, 1 - share]), np.array([first, first * rng.uniform(1, 2)])
    count = 1.0 if rng.random() < 0.3 else float(np.round(log_uniform(rng, 1, 1e12)))
    h = float(log_uniform(rng, 0.02, 2))
    s = edges - edges[0]
    stretch = 1 + draw_swing(rng, 0.3, at_rest=True)(s) * (rng.random() < 0.6)
    shift = np.abs(draw_swing(rng, 0.5, at_rest=True)(s)) * (rng.random() < 0.6)

    def at(x: Array, v: Array, power: int = 0) -> Array:
        """Mixture of Gaussian densities, or (power 1, 2) of f'/(r f) f and f''."""
        out = np.zeros_like(x)
        for w, one in zip(weights, v, strict=True):
            density = w * (2 * math.pi * one) ** (-d / 2) * np.exp(-x * x / (2 * one))
            out = out + density * (1.0, -1 / one, x * x / one**2 - 1 / one)[power]
        return out

    def hat(k: Array, v: Array) -> Array:
        return sum((w * np.exp(-one * k * k / 2) for w, one in zip(weights, v, strict=True)), start=0 * k)

    reach, band = 9 * math.sqrt(variances.max()), 9 / math.sqrt(variances.min())
    fourier = (2 * math.pi) ** -d
    values: dict[str, Any] = {
        "density_laplacian": math.sqrt(fourier * radial_integral(d, lambda k: (k * k * hat(k, variances)) ** 2, band)),
        "density_hessian": math.sqrt(
            radial_integral(
                d, lambda r: np.maximum(np.abs(at(r, variances, 1)), np.abs(at(r, variances, 2))) ** 2, reach
            )
        ),
    }
    second = d * weights @ variances
    coupling = np.sqrt((stretch - 1) ** 2 * second + shift**2)
    radius = math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2)) * (weights @ np.sqrt(variances))
    values |= {
        "coupling_rms": coupling,
        # W1 is the shift of a translation and at most E |(scale - 1) x| + shift
        "density_w1": np.minimum(coupling, np.abs(stretch - 1) * radius + shift),
    }
    truth: dict[str, Array] = {}
    for name, smoother, theorems in (
        ("gaussian", gaussian_smoother(d), ("thm6", "thm6_sharp", "thm6_w1")),
        ("epanechnikov", epanechnikov_smoother(d), ("thm6_compact",)),
    ):
        k_norm, k_slope, k_second = smoother.norms(d)
        gain = math.sqrt(k_slope) * h ** (-d / 2 - 1)
        values |= {
            f"kde_bias_{name}": h * h * k_second / 2,
            f"kde_bias_radial_{name}": h * h * k_second / (2 * d),
            f"kde_noise_{name}": math.sqrt(k_norm / (count * h**d)),
            f"kde_gain_{name}": gain,
            f"kde_gain_radial_{name}": gain / math.sqrt(d),
        }
        error = np.array(
            [
                math.sqrt(max(fourier * radial_integral(d, _gap(d, smoother, h, hat, variances, a, b), band), 0.0))
                for a, b in zip(stretch, shift, strict=True)
            ]
        )
        if count == 1:
            norm_f = fourier * radial_integral(d, lambda k: hat(k, variances) ** 2, band)
            error = _one_particle(d, smoother, h, k_norm / h**d + norm_f, (weights, variances), hat, stretch, shift)
        truth |= dict.fromkeys(theorems, error)
    return Case("kde", edges, values, truth)


def _wave(d: int, x: Array) -> Array:
    """Average of cos over the directions of a vector of length x."""
    return jv(0, x) if d == 2 else np.sinc(x / math.pi)


def _gap(
    d: int, smoother: Smoother, h: float, hat: Callable[..., Array], v: Array, stretch: float, shift: float
) -> Callable[[Array], Array]:
    """|K^(hk) f~^(k) - f^(k)|^2 averaged over directions."""

    def integrand(k: Array) -> Array:
        one, two = smoother.transform(h * k) * hat(k, stretch**2 * v), hat(k, v)
        return (one - two) ** 2 + 2 * one * two * (1 - _wave(d, k * shift))

    return integrand


def _one_particle(
    d: int,
    smoother: Smoother,
    h: float,
    squares: float,
    law: tuple[Array, Array],
    hat: Callable[..., Array],
    stretch: Array,
    shift: Array,
) -> Array:
    """E (|K_h|^2 + |f|^2 - 2 (K_h * f)(X~))^(1/2)."""
    weights, variances = law
    v, w = gauss_hermite(d, 20 if d == 2 else 12)
    band = 9 / math.sqrt(variances.min())
    x, wx = legendre(120)
    k, wk = band * (1 + x) / 2, band / 2 * wx
    spectrum = 2 * math.pi ** (d / 2) / math.gamma(d / 2) * (2 * math.pi) ** -d * wk * k ** (d - 1)
    spectrum = spectrum * smoother.transform(h * k) * hat(k, variances)
    # the smoothed density K_h * f is smooth and radial: a spline on 500 points has no visible error
    reach = np.linspace(0, 9 * math.sqrt(variances.max()) * stretch.max() + shift.max(), 500)
    meeting = CubicSpline(reach, _wave(d, reach[:, None] * k) @ spectrum)
    out = []
    first = np.eye(d)[0]
    for a, b in zip(stretch, shift, strict=True):
        total = 0.0
        for share, variance in zip(weights, variances, strict=True):
            r = np.linalg.norm(a * math.sqrt(variance) * v + b * first, axis=-1)
            total += share * float(w @ np.sqrt(np.maximum(squares - 2 * meeting(r), 0)))
        out.append(total)
    return np.array(out)


Family = Callable[[np.random.Generator, int], list[Case]]
FAMILIES: Mapping[str, Family] = {
    f.__name__: f
    for f in (particles, antipodal, linear, gaussian, coulomb, isotropic, relaxation, matching, draws, kde)
}
_IN_LAW = frozenset(("stability_w2", "stability_wp", "stability_wp2", "stability_kl", "stability_l1", "stability_chi2"))
# what each family's systems have, all of them or some
SERVES: Mapping[str, frozenset[str]] = {
    "particles": frozenset(
        ("lemma1", "lemma1_lipschitz", "thm1", "thm1_lognorm", "thm1_direct", "thm2", "thm2_sharp", "thm2_meanfield")
    ),
    "antipodal": frozenset(("lemma1", "lemma1_lipschitz", "thm1", "thm1_lognorm", "thm1_direct", "thm2_meanfield")),
    "linear": frozenset(("thm1_direct", "thm1_law")),
    "gaussian": _IN_LAW | {"thm1_law"},
    "coulomb": frozenset(("stability_w2",)),
    "isotropic": _IN_LAW | {"lemma2", "thm1_direct", "thm1_law", "thm4", "thm4_fisher"},
    "relaxation": _IN_LAW,
    "matching": frozenset(("lemma2", "thm4", "thm4_fisher")),
    "draws": frozenset(("lemma3", "thm3", "thm5", "thm5_sharp")),
    "kde": frozenset(("thm6", "thm6_sharp", "thm6_compact", "thm6_w1")),
}
