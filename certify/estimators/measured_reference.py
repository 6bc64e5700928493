"""Measured errors against a numerical reference, where no exact solution is known. They judge bounds, never feed one.

Whatever the reference says of its own error is added to upper values and subtracted from lower ones:

    |T - X| <= |T - X_ref| + path error,   | ||f~ - f||_1 - ||f~ - f_ref||_1 | <= its L1 error,
    | ||f~ - f||_2 - ||f~ - f_ref||_2 | <= sqrt(sup error x L1 error),

and |E phi(X) - E phi(X_ref)| <= E path error for 1-Lipschitz phi. Start velocities whose path the reference does not
resolve (far out, mass w) stay in the coupling: there |T - X|^2 <= 2 |T - m|^2 + 2 |X - m|^2, and whatever the paths the
second part is at most R^2 w + the energy of f beyond R (what is conserved less what the reference has inside), and at
most w^{5/6} (E |X - m|^12)^{1/6} (Hoelder; the moment of the reference inside R).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.measured import ROUNDING, gelbrich_distance
from certify.pushforward import Pushforward
from theory.problem import Problem
from theory.provenance import Array, Estimate, Rigor, Side
from theory.reference import Reference

CLIP = 3.0  # of log f~/f in the lower bound of KL; e^3 times the L1 error is subtracted
MOMENT = 12  # of the velocities, in the bound for paths that are not resolved
DIRECTIONS = 8  # along which |u.z| is tried, in the plane of the first two axes


def compute(context: Context) -> dict[str, Estimate]:
    """Measured errors at the report times, ids ``measured_<quantity>_<lower|upper>``."""
    pushed = context.pushed_at_times
    if pushed is None or context.exact is not None:
        return {}
    reference = context.reference_solution
    if reference is None:
        return {}
    return _distances(context.problem, pushed, reference) | _densities(pushed, reference)


@dataclass(frozen=True)
class Coupling:
    """Same-start coupling of learned flow and reference: (m, n) where resolved, and bounds (m,) for the rest."""

    resolved: Array
    distance: Array
    error: Array
    lost: Array
    lost_first: Array
    lost_second: Array


def couple(problem: Problem, pushed: Pushforward, reference: Reference) -> Coupling:
    """Distances |T - X_ref| and path errors, 0 where not resolved; there int |T - X| and int |T - X|^2 from moments."""
    resolved = np.isfinite(reference.path_error)
    apart = np.linalg.norm(pushed.flow - reference.paths, axis=-1)
    weights, radius, m = pushed.rule.weights, pushed.rule.radius, problem.initial.mean()
    lost = np.where(resolved, 0.0, 1.0) @ weights
    own = np.where(resolved, 0.0, np.sum((pushed.flow - m) ** 2, axis=-1)) @ weights
    second = 2 * own + 2 * largest_energy(problem, reference, radius, lost)
    return Coupling(
        resolved=resolved,
        distance=np.where(resolved, apart, 0.0),
        error=np.where(resolved, reference.path_error, 0.0),
        lost=lost,
        lost_first=np.sqrt(lost * second),
        lost_second=second,
    )


def largest_energy(problem: Problem, reference: Reference, radius: float, lost: Array) -> Array:
    """What int |x - m|^2 f_t can be over any set of mass ``lost`` (m,): the smaller of the two bounds above, (m,)."""
    rule = problem.rule()
    z = np.linalg.norm(rule.nodes - problem.initial.mean(), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # the rule integrates against f0
        inside = np.where(z <= radius, np.exp(-problem.initial.log_density(rule.nodes)), 0.0)
    total = float(np.trace(problem.initial.covariance()))
    out = np.zeros(len(lost))
    for k in np.flatnonzero(lost > 0):
        f = np.nan_to_num(inside * reference.density(int(k), rule.nodes), posinf=0.0)
        (energy, energy_error), (high, high_error) = (rule.integrate(z**p * f) for p in (2, MOMENT))
        off = reference.l1_error[k]
        beyond = max(total - float(energy), 0.0) + float(energy_error) + radius**2 * off
        moment = float(high) + float(high_error) + radius**MOMENT * off
        out[k] = min(radius**2 * lost[k] + beyond, lost[k] ** (1 - 2 / MOMENT) * moment ** (2 / MOMENT))
    return out


def _distances(problem: Problem, pushed: Pushforward, reference: Reference) -> dict[str, Estimate]:
    """W1 and W2, above by the coupling, below by moments and by 1-Lipschitz functions."""
    rule, c = pushed.rule, couple(problem, pushed, reference)
    first, second, slack, slack2 = (sum(rule.integrate(x)) for x in (c.distance, c.distance**2, c.error, c.error**2))
    size = f"{len(rule.weights)} quadrature nodes"
    off = np.sqrt(slack2)
    upper = f"same-start coupling, {size}, {{}} (root mean square error of its paths up to {off.max():.1g}"
    rest = f"; mass {c.lost.max():.1g} whose paths it does not resolve by its energy" if c.lost.max() > 0 else ""
    w2 = np.sqrt((np.sqrt(second) + off) ** 2 + c.lost_second)
    say = Words(reference)
    detail = {"path_error": off, "unresolved_mass": c.lost}
    known = reference.covariance
    least = np.linalg.eigvalsh(known)[:, 0]
    d = problem.d
    moments = reference.moment_error * (np.sqrt(d) + d / (2 * np.sqrt(least)))
    w1_lower = _kantorovich(problem, pushed, reference, c) - slack - c.lost_first
    w2_lower = np.maximum(gelbrich_distance(pushed, reference.mean, known) - moments, w1_lower)
    return {
        "measured_w1_upper": say.upper(first + slack + c.lost_first, upper + rest + ")", detail),
        "measured_w2_upper": say.upper(w2, upper + rest + ")", detail),
        "measured_w2_lower": say.lower(
            w2_lower, "Gelbrich bound from mean and covariance, or W1, {} " + f"(its moments to {moments.max():.1g})"
        ),
        "measured_w1_lower": say.lower(
            np.maximum(w1_lower, 0.0),
            "largest |int phi (f~ - f)| over 1-Lipschitz phi, {}, error of its paths subtracted",
        ),
    }


def _kantorovich(problem: Problem, pushed: Pushforward, reference: Reference, c: Coupling) -> Array:
    """Largest gap of E phi on the resolved nodes over 1-Lipschitz phi of z = x - mean, quadrature error subtracted."""
    mean = problem.initial.mean()
    a, b = pushed.flow - mean, np.where(c.resolved[..., None], reference.paths, pushed.flow) - mean
    scale = float(np.sqrt(np.trace(problem.initial.covariance())))
    radii = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
    trials = [radii, *(tuple(np.minimum(r, s * scale) for r in radii) for s in (0.25, 0.5, 0.75, 1.0, 1.5))]
    trials += [(a[..., j], b[..., j]) for j in range(problem.d)]
    for angle in np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
        u = np.array([np.cos(angle), np.sin(angle), 0.0])[: problem.d]
        trials.append((np.abs(a @ u), np.abs(b @ u)))
    best = np.zeros(len(pushed.times))
    for x, y in trials:
        total, error = pushed.rule.integrate(np.where(c.resolved, x - y, 0.0))
        best = np.maximum(best, np.abs(total) - error - ROUNDING)
    return best


def _densities(pushed: Pushforward, reference: Reference) -> dict[str, Estimate]:
    """L1 and L2 errors and a lower bound of KL, by change of variables with the reference's density at T(v).

    From the first time on at which det J <= 0 at a node the flow folds, f0/|det J| is no density, nothing is claimed.
    """
    folded = np.logical_or.accumulate(np.any(pushed.det <= 0, axis=1))
    f = np.stack([reference.density(k, x) for k, x in enumerate(pushed.flow)])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        log_ratio = np.log(f) - pushed.log_density
        gap = np.expm1(log_ratio)
        l1, l2, square = np.abs(gap), np.exp(pushed.log_density) * gap**2, f * np.exp(log_ratio)
    phi = np.clip(np.nan_to_num(-log_ratio, nan=0.0, posinf=0.0, neginf=0.0), -CLIP, CLIP)
    gain = np.where(np.isfinite(gap), (gap + 1) * np.expm1(phi), 0.0)

    def integral(values: Array) -> tuple[Array, Array]:
        return pushed.rule.integrate(np.where(np.isfinite(values), values, 0.0))

    def unfolded(lower: Array) -> Array:
        return np.where(folded, 0.0, lower)

    off, off2 = reference.l1_error, np.sqrt(reference.density_error * reference.l1_error)
    (l1_total, l1_error), (l2_total, l2_error), (norm, norm_error) = integral(l1), integral(l2), integral(square)
    l2_upper = np.sqrt(l2_total + l2_error) + off2
    l2_lower = np.sqrt(np.maximum(l2_total - l2_error, 0.0)) - off2 - ROUNDING
    (mean, mean_error), (over, over_error) = integral(phi), integral(gain)
    # Donsker-Varadhan: KL >= int phi f~ - log int e^phi f for every phi
    kl = mean - mean_error - np.log1p(over + over_error + np.exp(CLIP) * off) - ROUNDING
    size = f"change of variables, {len(pushed.rule.weights)} quadrature nodes, {{}}"
    if folded.any():
        size += f" (no claim from t = {pushed.times[np.argmax(folded)]:.4g} on: the flow folds)"
    own = f"{size}, its own error {off.max():.1g} in L1"
    own2 = f"{size}, its own error {off2.max():.1g} in L2"
    say = Words(reference)
    known = np.sqrt(np.maximum(norm - norm_error, 0.0)) - off2
    relative = np.where(known > 0, l2_upper / np.where(known > 0, known, 1.0), np.inf)
    largest = np.sqrt(norm + norm_error) + off2
    return {
        "measured_l1_upper": say.upper(np.where(folded, 2.0, l1_total + l1_error + off), own),
        "measured_l1_lower": say.lower(unfolded(l1_total - l1_error - off - ROUNDING), own),
        "measured_l2_upper": say.upper(np.where(folded, np.inf, l2_upper), own2),
        "measured_l2_lower": say.lower(unfolded(l2_lower), own2),
        "measured_l2_relative_upper": say.upper(np.where(folded, np.inf, relative), f"relative, {own2}"),
        "measured_l2_relative_lower": say.lower(unfolded(l2_lower / largest), f"relative, {own2}"),
        "measured_kl_lower": say.lower(unfolded(kl), f"Donsker-Varadhan with log f~/f cut off at {CLIP:g}, {own}"),
    }


@dataclass(frozen=True)
class Words:
    """Estimates that name the reference they were measured against; ``{}`` in a method stands for it."""

    reference: Reference

    def _estimate(self, value: Array, side: Side, method: str, detail: dict[str, Array] | None) -> Estimate:
        named = method.replace("{}", f"against {self.reference.method}")
        more = {"reference": self.reference.method, "reference_l1_error": self.reference.l1_error}
        return Estimate(value, side, Rigor.NUMERICAL, named, uses_exact_solution=True, detail=more | (detail or {}))

    def upper(self, value: Array, method: str, detail: dict[str, Array] | None = None) -> Estimate:
        """A measured value with every error added."""
        return self._estimate(value, Side.UPPER, method, detail)

    def lower(self, value: Array, method: str, detail: dict[str, Array] | None = None) -> Estimate:
        """A measured value with every error subtracted, at least 0."""
        return self._estimate(np.maximum(value, 0.0), Side.LOWER, method, detail)


_BOTH = ("w1", "w2", "l1", "l2", "l2_relative")
ESTIMATOR = Estimator(
    id="measured_reference",
    provides={f"measured_{n}_lower": Side.LOWER for n in (*_BOTH, "kl")}
    | {f"measured_{n}_upper": Side.UPPER for n in _BOTH},
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution or a numerical reference",
)
