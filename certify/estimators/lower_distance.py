"""Lower bounds of W1, W2 and L1 between the learned density and the solution, without a closed-form solution.

The mean and the covariance of the solution are known a priori, so Gelbrich's bound is; where they make it known
(Maxwell molecules, covariance T I) its exact law is, through ``theory.relaxation``. Then every |int phi (f~ - f)| is
computable, int phi f~ by quadrature over f0 and int phi f from the law, and

W1: phi 1-Lipschitz: a function of |x - m| or of a projection u.x whose slope is +-1 where the distribution functions
    differ by more than noise, and smooth in between (a kink would cost more in quadrature than it gains);
W2: for phi with Hess phi >= -k, k < 1, the inf-convolution is at least phi - |grad phi|^2/(2(1-k)), so
    W2^2/2 >= int (phi - |grad phi|^2/(2(1-k))) f~ - int phi f; phi a sum of plane waves and quadratics, whose means
    under f are characteristic functions. Its best value is the H^{-1} norm of f~ - f: sharp for small smooth errors;
L1: int |f~ - f| itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.flow_defect import is_isotropic
from certify.estimators.measured import moment_distance
from certify.pushforward import Pushforward
from theory import relaxation
from theory.problem import Problem
from theory.provenance import Array, Estimate, Rigor, Side
from theory.quadrature import Rule
from theory.relaxation import gauss_legendre

ROUNDING = 1e-12
BINS = (10, 24)
NOISE = (0.02, 0.2, 1.0)  # share of the largest gap below which a slope is not driven to +-1
DIRECTIONS = {2: 8, 3: 13}
ANGLES = {2: 48, 3: 16}
WAVES = {2: (0.5, 4.0), 3: (1.0, 3.1)}  # spacing and largest length of the wave vectors
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def compute(context: Context) -> dict[str, Estimate]:
    """``lower_w1``, ``lower_w2`` and, for isotropic initial data, ``lower_l1`` at the report times."""
    pushed, problem = context.pushed_at_times, context.problem
    if pushed is None:
        return {}
    if not problem.kernel.is_maxwell:
        first, second = _conserved(pushed)
        return {
            "lower_w1": _lower(first, "distance of the means (conserved)"),
            "lower_w2": _lower(np.maximum(first, second), "distance of means and of temperatures (conserved)"),
        }
    mean = _conserved(pushed)[0]
    gelbrich = moment_distance(context, pushed)
    if not is_isotropic(problem):
        return {
            "lower_w1": _lower(mean, "distance of the means (conserved)"),
            "lower_w2": _lower(np.maximum(mean, gelbrich), "Gelbrich bound from mean and covariance, known a priori"),
        }
    values = _finer(context)
    start = relaxation.RadialStart.of(problem)
    laws = [relaxation.radial_law(problem, float(t), start) for t in pushed.times]
    first = np.maximum(mean, _kantorovich(values, laws))
    isotropic = bool(getattr(problem.initial, "isotropic", False))
    dual = _dual(values, laws) if isotropic else np.zeros_like(first)
    what = "exact law of Maxwell molecules with covariance T I"
    out = {
        "lower_w1": _lower(first, f"1-Lipschitz functions of radius and projections, {what}"),
        "lower_w2": _lower(
            np.maximum.reduce([gelbrich, first, dual]), f"best of Gelbrich, W1, quadratic dual of plane waves; {what}"
        ),
    }
    return out | (
        {"lower_l1": _lower(_total_variation(pushed), f"int |f~ - f| less its error, {what}")} if isotropic else {}
    )


@dataclass(frozen=True)
class Values:
    """The learned flow, without derivatives, on a rule fine enough for waves and bins: flow (m, n, d)."""

    problem: Problem
    rule: Rule
    flow: Array


def _finer(context: Context) -> Values:
    """Positions at the report times on the radial panels of the judgement with more angles."""
    rule = context.problem.rule(context.rule.edges, max(context.rule.angles, ANGLES[context.problem.d]))
    return Values(context.problem, rule, context.run.flow(context.times, rule.nodes))


def _lower(value: Array, method: str) -> Estimate:
    return Estimate(np.maximum(value, 0.0), Side.LOWER, Rigor.NUMERICAL, method)


def _conserved(pushed: Pushforward) -> tuple[Array, Array]:
    """Distances of the means, and of the root mean squares about the solution's mean (any kernel), (m,) each."""
    initial, rule = pushed.problem.initial, pushed.rule
    mean, mean_error = rule.integrate(pushed.flow.swapaxes(-1, -2))
    first = np.linalg.norm(mean - initial.mean(), axis=-1) - np.linalg.norm(mean_error, axis=-1)
    total, error = rule.integrate(np.sum((pushed.flow - initial.mean()) ** 2, axis=-1))
    spread = float(np.trace(initial.covariance()))
    # sqrt is 1/(2 sqrt x)-Lipschitz above x = total - error
    slack = error / np.maximum(np.sqrt(np.maximum(total - error, 0.0)), 1e-300)
    return first - ROUNDING, np.abs(np.sqrt(total) - np.sqrt(spread)) - slack - ROUNDING


def _kantorovich(pushed: Values, laws: list[relaxation.RadialLaw]) -> Array:
    """Best lower bound of W1 over functions of |x - m| and, for isotropic data, of projections, (m,)."""
    problem, rule = pushed.problem, pushed.rule
    centre = problem.initial.mean()
    units = _directions(problem.d) if getattr(problem.initial, "isotropic", False) else np.empty((0, problem.d))
    out = np.zeros(len(laws))
    for k, law in enumerate(laws):
        z = pushed.flow[k] - centre
        reach = float(law.table.edges[-1])
        inner = min(reach, 6.0 * float(np.sqrt(np.trace(problem.initial.covariance()) / problem.d)))
        trials: list[tuple[Array, Callable[[Array], Array], float]] = [(np.linalg.norm(z, axis=-1), law.table, 0.0)]
        trials += [(z @ u, law.projected, -reach) for u in units]
        out[k] = max(_one_dimensional(rule, y, survival, low, inner, reach) for y, survival, low in trials)
    return out


def _directions(d: int) -> Array:
    """Unit vectors, one of each pair +-u: equispaced in 2D; axes, face and space diagonals in 3D."""
    if d == 2:
        angle = np.pi * np.arange(DIRECTIONS[2]) / DIRECTIONS[2]
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    grid = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)[14:].astype(float)
    return np.asarray(grid / np.linalg.norm(grid, axis=1, keepdims=True))


def _one_dimensional(
    rule: Rule, y: Array, survival: Callable[[Array], Array], low: float, inner: float, reach: float
) -> float:
    """Largest |E phi(Y~) - E phi(Y)| less its error, |phi'| <= 1, for Y~ = y on the rule and P(Y > .) = survival.

    Y >= low almost surely up to rounding; slopes change within [-inner, inner] only.
    """
    best = 0.0
    start = max(low, -inner)
    for bins in BINS:
        edges = np.linspace(start, inner, bins + 1)
        gaps, errors = _bin_gaps(rule, y, survival, edges)
        top = float(np.abs(gaps).max())
        if top == 0.0:
            continue
        for noise in NOISE:
            slope = np.clip(gaps / np.maximum(errors, noise * top), -1.0, 1.0)
            best = max(best, _gap(rule, y, survival, (low, reach), edges, slope))
    return best


def _bin_gaps(rule: Rule, y: Array, survival: Callable[[Array], Array], edges: Array) -> tuple[Array, Array]:
    """E g(Y~) - E g(Y) for g = clip(y - e_k, 0, e_{k+1} - e_k), with its quadrature error, each (bins,)."""
    width = np.diff(edges)[:, None]
    mean, error = rule.integrate(np.clip(y - edges[:-1, None], 0.0, width))
    x, w = gauss_legendre(12)
    exact = np.sum(width / 2 * w * survival(edges[:-1, None] + width / 2 * (1 + x)), axis=1)
    return mean - exact, error


def smooth_slope(edges: Array, slope: Array) -> PchipInterpolator:
    """Monotone cubic through ``slope`` at the middles of equal bins, flat at both ends: C^1, never beyond its data."""
    width = edges[1] - edges[0]
    middles = edges[0] + width * (np.arange(-1, len(slope) + 1) + 0.5)
    return PchipInterpolator(middles, np.concatenate([slope[:1], slope, slope[-1:]]))


def _gap(
    rule: Rule, y: Array, survival: Callable[[Array], Array], span: tuple[float, float], edges: Array, slope: Array
) -> float:
    """|E phi(Y~) - E phi(Y)| less its error for the phi with phi' ``smooth_slope``, anchored at span[0]."""
    derivative = smooth_slope(edges, slope)
    knots = derivative.x
    phi = derivative.antiderivative()
    low, high = float(knots[0]), float(knots[-1])
    outside = np.maximum(y - high, 0.0) * slope[-1] + np.minimum(y - low, 0.0) * slope[0]
    anchor = float(phi(max(span[0], low))) + min(span[0] - low, 0.0) * slope[0]
    learned, error = rule.integrate(phi(np.clip(y, low, high)) + outside - anchor)
    at_edges = np.unique(np.clip(np.concatenate([[span[0]], knots, [span[1]]]), *span))
    sums = []
    for n in (16, 10):
        x, w = gauss_legendre(n)
        half = np.diff(at_edges)[:, None] / 2
        at = at_edges[:-1, None] + half * (1 + x)
        sums.append(float(np.sum(half * w * derivative(np.clip(at, low, high)) * survival(at))))
    slack = abs(sums[0] - sums[1])
    return abs(float(learned) - sums[0]) - float(error) - slack - ROUNDING


def _total_variation(pushed: Pushforward) -> Array:
    """Int |f~ - f| by change of variables, f from its exact law, less the quadrature error, (m,)."""
    out = np.zeros(len(pushed.times))
    for k, t in enumerate(pushed.times):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            exact = relaxation.density(pushed.problem, float(t), pushed.flow[k])
            values = np.abs(1 - exact / np.exp(pushed.log_density[k]))
            # where f~ vanishes the ratio says nothing; any |.| <= 1 + f/f~ may be left out of a lower bound
            values = np.where(np.isfinite(values), values, 0.0)
        total, error = pushed.rule.integrate(values)
        out[k] = total - error - ROUNDING
    return out


@dataclass(frozen=True)
class Waves:
    """Potentials linear in their coefficients: x_i, x_i x_j (i <= j), cos k.x and sin k.x (x about the mean)."""

    k: Array

    @staticmethod
    def of(d: int) -> Waves:
        """Wave vectors of a half space on a grid."""
        spacing, top = WAVES[d]
        axis = spacing * np.arange(-int(top / spacing), int(top / spacing) + 1)
        grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
        grid = grid[len(grid) // 2 + 1 :]
        return Waves(grid[np.linalg.norm(grid, axis=1) <= top])

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Index pairs of the quadratics."""
        d = self.k.shape[1]
        return [(i, j) for i in range(d) for j in range(i, d)]

    def values(self, x: Array) -> Array:
        """Every potential at x (n, d): (n, size)."""
        phase = x @ self.k.T
        quadratic = np.stack([x[:, i] * x[:, j] for i, j in self.pairs], axis=1)
        return np.concatenate([x, quadratic, np.cos(phase), np.sin(phase)], axis=1)

    def gradients(self, x: Array) -> Array:
        """Gradients, (d, n, size)."""
        d = x.shape[1]
        phase = x @ self.k.T
        cosine, sine = np.cos(phase), np.sin(phase)
        out = []
        for axis in range(d):
            linear = np.broadcast_to(np.eye(d)[axis], x.shape)
            quadratic = np.stack([(i == axis) * x[:, j] + (j == axis) * x[:, i] for i, j in self.pairs], axis=1)
            out.append(np.concatenate([linear, quadratic, -sine * self.k[:, axis], cosine * self.k[:, axis]], axis=1))
        return np.stack(out)

    def curvature(self, c: Array) -> float:
        """K >= 0 with Hess chi >= -k for coefficients c: largest eigenvalue of -S plus |k|^2 times the amplitudes."""
        d, count = self.k.shape[1], len(self.k)
        matrix = np.zeros((d, d))
        for value, (i, j) in zip(c[d:], self.pairs, strict=False):
            matrix[i, j] += value
            matrix[j, i] += value
        amplitude = np.hypot(c[-2 * count : -count], c[-count:])
        return max(0.0, -float(np.linalg.eigvalsh(matrix)[0])) + float(amplitude @ np.sum(self.k**2, axis=1))

    def penalty(self) -> Array:
        """Weights of a ridge that keeps the curvature small, (size,)."""
        d = self.k.shape[1]
        k4 = np.sum(self.k**2, axis=1) ** 2
        return np.concatenate([np.zeros(d), np.ones(len(self.pairs)), k4, k4])


def _dual(pushed: Values, laws: list[relaxation.RadialLaw]) -> Array:
    """Lower bound of W2 by quadratic Kantorovich duality with plane waves, isotropic solution, (m,)."""
    problem, rule = pushed.problem, pushed.rule
    basis, centre = Waves.of(problem.d), problem.initial.mean()
    count, spread = len(basis.k), relaxation.temperature(problem)
    start = rule.nodes - centre
    phase = start @ basis.k.T
    out = np.zeros(len(laws))
    for n, law in enumerate(laws):
        x = pushed.flow[n] - centre
        learned = basis.values(x)
        # E cos k.(V - m) = e^{-b^2 |k|^2/2} E cos a k.(V_0 - m), and sines, linear functions have mean 0
        damping = np.exp(-(law.b**2) * np.sum(basis.k**2, axis=1) / 2)
        known = np.zeros_like(learned)
        known[:, -2 * count : -count] = damping * np.cos(law.a * phase)
        quadratic = np.array([spread * (i == j) for i, j in basis.pairs])
        known[:, problem.d : problem.d + len(quadratic)] = quadratic
        gap = learned - known
        gradients = basis.gradients(x)
        gram = sum(g.T @ (rule.weights[:, None] * g) for g in gradients)
        target, error = rule.integrate(np.ascontiguousarray(gap.T))
        for ridge in RIDGES:
            c = np.linalg.lstsq(gram + ridge * np.diag(basis.penalty()), target, rcond=1e-12)[0]
            # c was fitted on these nodes: its error is the sum of the potentials' own, which cannot cancel
            g = float(target @ c) - float(error @ np.abs(c)) - ROUNDING * float(np.abs(gap).max(axis=0) @ np.abs(c))
            s, s_error = rule.integrate(np.sum((gradients @ c) ** 2, axis=0))
            out[n] = max(out[n], dual_value(g, float(s + s_error), basis.curvature(c)))
    return out


def dual_value(gap: float, squared: float, curvature: float) -> float:
    """sqrt(2 max over e of e G - e^2 S/(2 (1 - e k))): a lower bound of W2 for phi = e chi.

    G <= int chi (f~ - f), S >= int |grad chi|^2 f~, Hess chi >= -k. W2 = G/sqrt S to first order if k G << S.
    """
    if gap <= 0 or squared <= 0:
        return 0.0
    e = gap / squared * np.linspace(0.02, 1.2, 119)
    room = 1 - e * curvature
    value = np.where(room > 0, e * gap - e * e * squared / (2 * np.where(room > 0, room, 1.0)), 0.0)
    return float(np.sqrt(2 * max(float(value.max()), 0.0)))


ESTIMATOR = Estimator(
    id="lower_distance",
    provides=dict.fromkeys(("lower_w1", "lower_w2", "lower_l1"), Side.LOWER),
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=False,
    compute=compute,
    why_not="a flow that gives its first and second derivatives (jets); for L1 Maxwell molecules with covariance T I",
)
