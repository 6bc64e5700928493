"""Residual of the characteristic ODE, d_t T - U~(T), of particles driven by their own learned drift.

With K(x, y) = A(x - y)(s~(x) - s~(y)) the learned drift of N particles is U~(X_i) = -(1/N) sum_j K(X_i, X_j), and for
the law f~ of one of them U~[f~](x) = -E K(x, Y). Three numbers, of different kinds:

* ``residual_energy``: R(t) of the judged particles, realised.
* ``residual_energy_mean``: E R over all draws of N particles, for Theorem 5. Given X_1 = x = T(t, v) the other N - 1
  particles are i.i.d. and K(x, x) = 0, so U~(x) has mean (1 - 1/N) U~[f~](x) and variance (N-1)/N^2 Var K(x, Y).
  Mean and fluctuation are orthogonal, hence exactly
      E R = ||d_t T - (1 - 1/N) U~[f~](T)||^2 + (N-1)/N^2 (E|K(X, Y)|^2 - E|U~[f~](X)|^2),
  never more than Minkowski's (||d_t T - U~[f~](T)|| + sqrt(E|K|^2/N))^2, because U~[f~](T)/N is part of the latter.
* ``residual_energy_statistical``: E over a new particle's start of |rho|^2 in the field of the judged particles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.statistics import kurtosis_upper, second_moment_upper
from theory.drift import pair_drifts
from theory.kernels import Kernel
from theory.provenance import Array, Estimate, Rigor, Side
from theory.quadrature import Rule

# hypothesis E X^2 <= KAPPA (E X)^2 on X = |rho|^2 and X = |s~ - s_push|^2; a Gaussian error has 2 (2D) or 5/3 (3D)
KAPPA = 10.0
# nodes at which the learned drift of the learned density is evaluated; for other kernels every pair of them is summed
MAX_NODES, MAX_PAIR_NODES = 3000, 500
BLOCK = 100_000  # pairs of a block of the sums: it stays in the cache
MAX_MOMENT_NODES = 1000  # of the second moments of the statistical bounds


@dataclass(frozen=True)
class Particles:
    """Learned particles at the quadrature times: position, d_t T and score, (m, n, d) each."""

    x: Array
    velocity: Array
    score: Array


_JUDGED: WeakKeyDictionary[Context, Particles | None] = WeakKeyDictionary()


def judged(context: Context) -> Particles | None:
    """The judged particles, evaluated once per context; None for a flow without the derivatives needed."""
    if context not in _JUDGED:
        _JUDGED[context] = learned(context, context.particles)
    return _JUDGED[context]


def learned(context: Context, start: Array, times: Array | None = None) -> Particles | None:
    """Positions, velocities and scores of particles started at ``start``; without a score network s~ is s_push.

    At the quadrature times unless ``times`` are given.
    """
    nodes, run = context.grid.flat if times is None else times, context.run
    if run.layers("score") is not None:
        x, velocity = run.velocity(nodes, start)
        score = run.score(nodes, x)
    else:
        jets = run.jets(nodes, start)
        if jets is None:
            return None
        x, velocity = jets.value, jets.dt
        score = jets.pushforward_score(context.problem.initial.score(start))
    return None if score is None else Particles(x, velocity, score)


def field_drift(kernel: Kernel, x: Array, s: Array, weights: Array) -> Array:
    """-sum_j w_j A(x_i - x_j)(s_i - s_j) / sum_j w_j at every point, (n, d); points of weight 0 only feel the rest."""
    return pair_drifts(kernel, x, s, (weights / weights.sum())[None])[0]


def mean_pair_square(kernel: Kernel, x: Array, s: Array, weights: Array) -> float:
    """sum_ij w_i w_j |A(x_i - x_j)(s_i - s_j)|^2 / (sum w)^2 for x, s of shape (n, d).

    |A(z) y|^2 = a^2 |z|^2 (|z|^2 |y|^2 - (z.y)^2). For Maxwell a polynomial of degree (4, 2): exactly a sum of products
    of moments, O(n); other kernels sum over all pairs in blocks.
    """
    w = weights / weights.sum()
    # only differences enter: centred points lose fewest digits
    x, s = x - w @ x, s - w @ s
    if kernel.is_maxwell:
        return kernel.strength**2 * _maxwell_pair_square(x, s, w)
    used = w != 0
    x, s, w = x[used], s[used], w[used]
    # |z|^2, |y|^2 and z.y are matrix products
    one, xx, ss, xs = np.ones((len(x), 1)), _square(x)[:, None], _square(s)[:, None], np.sum(x * s, axis=1)[:, None]
    left = [np.concatenate(c, axis=1) for c in ((-2 * x, xx, one), (-2 * s, ss, one), (-x, -s, xs, one))]
    right = [np.concatenate(c, axis=1) for c in ((x, one, xx), (s, one, ss), (s, x, one, xs))]
    total, step = 0.0, max(1, BLOCK // len(x))
    for k in range(0, len(x), step):
        r2, yy, zy = (a[k : k + step] @ b[k:].T for a, b in zip(left, right, strict=True))
        np.maximum(r2, 0.0, out=r2)
        soft = r2 + kernel.epsilon**2
        value = np.maximum(r2 * yy - zy * zy, 0.0)
        value *= r2
        value /= soft * soft * soft
        twice = 2 * w[k:]  # pairs above the block stand for those below
        twice[:step] /= 2
        total += float(w[k : k + step] @ (value @ twice))
    return kernel.strength**2 * total


def _maxwell_pair_square(x: Array, s: Array, w: Array) -> float:
    """The pair sum for a = 1: |z|^2, |y|^2 and z.y are each a scalar product of features of i and features of j."""

    def dot(a: Array, b: Array) -> Array:
        return np.sum(a * b, axis=1, keepdims=True)

    one, xx, ss, xs = np.ones((len(x), 1)), dot(x, x), dot(s, s), dot(x, s)
    left = {"zz": (xx, one, x), "yy": (ss, one, s), "zy": (xs, one, x, s)}
    right = {"zz": (one, xx, -2 * x), "yy": (one, ss, -2 * s), "zy": (one, xs, -s, -x)}

    def moments(side: dict[str, tuple[Array, ...]], names: tuple[str, str, str]) -> Array:
        a, b, c = (np.hstack(side[n]) for n in names)
        return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1).T @ (w[:, None] * c)

    def pairs(*names: str) -> float:
        first, second, third = names
        return float(np.sum(moments(left, (first, second, third)) * moments(right, (first, second, third))))

    return pairs("zz", "zz", "yy") - pairs("zy", "zy", "zz")


def sampling_error(pair_square: float, drift_square: float, n: int) -> float:
    """E|U[mu_N](X_i) - U[f](X_i)|^2 of n i.i.d. particles: ((n-1) E|K|^2 - (n-2) E|U[f]|^2) / n^2.

    Square of the bias U[f]/n plus the variance (n-1)/n^2 (E|K|^2 - E|U[f]|^2); at most E|K|^2/n for n >= 2. Increasing
    in E|K|^2 and decreasing in E|U[f]|^2: an upper bound wants an upper and a lower value.
    """
    return ((n - 1) * pair_square - max(n - 2, 0) * drift_square) / n**2


def thinned(rule: Rule, limit: int) -> tuple[Rule, np.ndarray]:
    """The rule with every other angle left out (a rule again) until at most ``limit`` nodes remain; kept indices.

    Stops at 8 angles. Coarse weights take every fourth of the original angles and so on.
    """
    keep = np.arange(len(rule.weights))
    while len(rule.weights) > limit and rule.angles >= 16 and rule.angles % 4 == 0:
        angle = np.arange(len(rule.weights)) % rule.angles
        kept = angle % 2 == 0
        coarse = np.where(angle % 4 == 0, 2 * rule.coarse, 0.0)
        rule = Rule(
            rule.nodes[kept], 2 * rule.weights[kept], coarse[kept], rule.panel[kept], rule.edges, rule.angles // 2
        )
        keep = keep[kept]
    return rule, keep


def realised(context: Context) -> dict[str, Estimate]:
    """Residual energy of the judged particles (deterministic)."""
    particles = judged(context)
    if particles is None:
        return {}
    energy = np.mean(_square(_residual(context, particles)), axis=-1)
    if not np.isfinite(energy).all():
        return {}
    method = f"{len(context.particles)} fresh particles, {_which(context)}"
    return {
        "residual_energy": Estimate(energy, Side.BOTH, Rigor.NUMERICAL, method),
        "residual_rms": Estimate(np.sqrt(energy), Side.BOTH, Rigor.NUMERICAL, method),
    }


def _residual(context: Context, p: Particles) -> Array:
    drift = np.stack([context.pair_drift(y, s) for y, s in zip(p.x, p.score, strict=True)])
    return p.velocity - drift


def _square(values: Array) -> Array:
    """|.|^2 over the last axis."""
    return np.asarray(np.sum(values * values, axis=-1))


def _which(context: Context) -> str:
    has_score = context.run.layers("score") is not None
    return "learned score" if has_score else "pushforward score (no score network)"


def expected(context: Context) -> dict[str, Estimate]:
    """E R over draws of N particles, by quadrature against f0 (see the head of this file)."""
    kernel, n = context.problem.kernel, len(context.particles)
    sampled = _on_rule(context, MAX_NODES if kernel.is_maxwell else MAX_PAIR_NODES)
    if sampled is None or n < 2:
        return {}
    rule, at = sampled
    x, velocity, score = at.x, at.velocity, at.score
    upper, minkowski, error = (np.full(len(x), np.inf) for _ in range(3))
    known = None if kernel.is_maxwell or context.pushed is None or score is not context.pushed.score else context.pushed
    for k in range(len(x)):
        if np.isfinite(score[k]).all() and np.isfinite(velocity[k]).all():
            drifts = None if known is None else known.own_sums[:, k]
            upper[k], minkowski[k], error[k] = _expected_energy(kernel, rule, n, x[k], velocity[k], score[k], drifts)
    method = (
        f"quadrature, {len(rule.weights)} nodes, error estimates of the integrals, of the pair sum and of the drift's "
        f"moments added; {_which(context)} in the learned density, fluctuation of N = {n} particles included"
    )
    detail = {
        "nodes": len(rule.weights),
        "error": float(np.max(error)),
        "minkowski": float(np.max(minkowski)),
        "mass_beyond_rule": context.problem.initial.tail_moment(rule.radius, 0),
    }
    value = Estimate(upper, Side.UPPER, Rigor.NUMERICAL, method, detail=detail)
    return {"residual_energy_quadrature": value, "residual_energy_mean": value}


def _on_rule(context: Context, limit: int) -> tuple[Rule, Particles] | None:
    """A thinned quadrature rule and the flow at its nodes, taken from the pushforward where there is one."""
    pushed = context.pushed
    if pushed is None:
        rule = thinned(context.rule, limit)[0]
        found = learned(context, rule.nodes)
        return None if found is None else (rule, found)
    rule, keep = thinned(pushed.rule, limit)
    if len(keep) == len(pushed.rule.weights) and context.run.layers("score") is None:
        return rule, Particles(pushed.flow, pushed.dt, pushed.score)
    x = pushed.flow[:, keep]
    score = pushed.score[:, keep] if context.run.layers("score") is None else context.run.score(pushed.times, x)
    return None if score is None else (rule, Particles(x, pushed.dt[:, keep], score))


def _expected_energy(
    kernel: Kernel, rule: Rule, n: int, x: Array, velocity: Array, score: Array, drifts: Array | None = None
) -> tuple[float, float, float]:
    """E R with errors added, Minkowski's larger bound of it, and what the errors added; one time.

    ``drifts``: those by the finer and the coarser weights, if they are known.
    """
    if drifts is None:
        both = np.stack([rule.weights / rule.weights.sum(), rule.coarse / rule.coarse.sum()])
        drifts = pair_drifts(kernel, x, score, both)
    drift, coarse = drifts
    inner = math.sqrt(max(mean_square(drift - coarse, rule)[0], 0.0))  # L2 error of the drift itself
    pair = mean_pair_square(kernel, x, score, rule.weights)
    pair_upper = pair + abs(pair - mean_pair_square(kernel, x, score, rule.coarse))

    def norm(values: Array, sign: int = 1) -> float:
        total, error = mean_square(values, rule)
        return math.sqrt(max(total + sign * error, 0.0))

    weight = 1 - 1 / n
    mean = norm(velocity - weight * drift) + weight * inner
    size = max(norm(drift, -1) - inner, 0.0)
    upper = mean**2 + weight / n * max(pair_upper - size**2, 0.0)
    plain = mean_square(velocity - weight * drift, rule)[0] + weight / n * (pair - mean_square(drift, rule)[0])
    minkowski = (norm(velocity - drift) + inner + math.sqrt(max(pair_upper, 0.0) / n)) ** 2
    return upper, minkowski, upper - plain


def mean_square(values: Array, rule: Rule) -> tuple[float, float]:
    """Integral of |values|^2 for values of shape (n, d), and its error estimate."""
    total, error = rule.integrate(_square(values))
    return float(total), float(error)


def statistical(context: Context) -> dict[str, Estimate]:
    """E |rho(v)|^2 over a new particle v in the fixed field of the judged particles, jointly at the report times."""
    particles = learned(context, context.particles, context.times)
    if particles is None:
        return {}
    start = context.problem.initial.sample(context.options.samples, context.rng("residual test particles"))
    values = held_out_residuals(context, particles, start)
    if values is None or not np.isfinite(values).all():
        return {}
    rule = thinned(context.rule, MAX_MOMENT_NODES)[0]
    at_nodes = held_out_residuals(context, particles, rule.nodes)
    bound, hypothesis = one_sided(values, second_moment(rule, at_nodes), share_of_delta(context))
    if context.run.layers("score") is None and pushed_score_is_singular(context):
        bound = replace(bound, value=np.full(len(values), np.inf), method=SINGULAR)
    method = (
        f"{len(start)} new particles in the field of the {len(context.particles)} judged ones (expectation over "
        f"the new particle, field fixed), {_which(context)}: {bound.method}"
    )
    detail = {**bound.detail, "hypothesis": f"X = |rho|^2 at every report time: {hypothesis}"}
    return {
        "residual_energy_statistical": Estimate(
            bound.value, Side.UPPER, Rigor.STATISTICAL, method, bound.delta, detail=detail
        )
    }


def second_moment(rule: Rule, values: Array | None) -> Array | None:
    """E X^2 from X at the nodes of a rule, (m, n), error estimate added: (m,); None if it is not finite."""
    if values is None or not np.isfinite(values).all():
        return None
    total, error = rule.integrate(values**2)
    return np.asarray(total + error)


def one_sided(values: Array, moment: Array | None, delta: float) -> tuple[Estimate, str]:
    """Upper bound of the mean, and its hypothesis: a second moment by quadrature, else the kurtosis KAPPA."""
    if moment is None:
        return kurtosis_upper(values, KAPPA, delta), f"E X^2 <= {KAPPA:g} (E X)^2"
    return second_moment_upper(values, moment, delta), "E X^2 <= M2, M2 by quadrature with its error estimate added"


SINGULAR = "no bound: f0 vanishes at a point, so |s_push|^2 ~ r^-2 there and its second moment is infinite"


def pushed_score_is_singular(context: Context) -> bool:
    """Whether s_push inherits a zero of f0: E|s_push|^4 is infinite then, and no kurtosis hypothesis can hold."""
    return len(context.problem.degenerate_points) > 0


def share_of_delta(context: Context) -> float:
    """Failure probability of one statistical claim; four share the report's."""
    return (1 - context.options.confidence) / 4


def held_out_residuals(context: Context, field: Particles, start: Array) -> Array | None:
    """|rho|^2 of test particles in the field of others at the report times, (m, n).

    Raises
    ------
    ValueError
        If a test particle is one of the field: it would not feel itself, and the draws would not be independent of it.
    """
    if shared(start, context.particles):
        raise ValueError("a test particle is one of the field particles: the two sets must be drawn apart")
    test = learned(context, start, context.times)
    if test is None:
        return None
    n, m = field.x.shape[1], len(start)
    weights = np.concatenate([np.full(n, 1 / n), np.zeros(m)])
    out = np.empty((len(test.x), m))
    for k in range(len(out)):
        x, s = np.concatenate([field.x[k], test.x[k]]), np.concatenate([field.score[k], test.score[k]])
        out[k] = _square(test.velocity[k] - field_drift(context.problem.kernel, x, s, weights)[n:])
    return out


def shared(first: Array, second: Array) -> bool:
    """Whether two sets of points (n, d) have one in common; independent draws of a density never do."""
    together = np.concatenate([np.unique(first, axis=0), np.unique(second, axis=0)])
    return len(np.unique(together, axis=0)) < len(together)


ESTIMATOR = (
    Estimator(
        id="residual_energy",
        provides={"residual_energy": Side.BOTH, "residual_rms": Side.BOTH},
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=False,
        compute=realised,
        why_not="a flow that gives its time derivative",
    ),
    Estimator(
        id="residual_energy_mean",
        provides={"residual_energy_quadrature": Side.UPPER, "residual_energy_mean": Side.UPPER},
        rigor=Rigor.NUMERICAL,
        uses_exact_solution=False,
        compute=expected,
        why_not="a flow that gives its time derivative, and two particles at least",
    ),
    Estimator(
        id="residual_energy_statistical",
        provides={"residual_energy_statistical": Side.UPPER},
        rigor=Rigor.STATISTICAL,
        uses_exact_solution=False,
        compute=statistical,
        why_not="a flow that gives its time derivative",
    ),
)
