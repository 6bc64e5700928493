"""Measured errors against the exact solution. They never feed a bound; they judge it.

Trajectory error and coupling by quadrature over f0 against the exact flow; densities by change of variables
(f~(T(v)) = f0(v)/det J, no KDE); lower bounds of W1 and W2 from moments and 1-Lipschitz functions.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import sqrtm

from certify.context import Context
from certify.estimator import Estimator
from certify.pushforward import Pushforward
from theory.problem import ExactSolution
from theory.provenance import Array, Estimate, Rigor, Side


def compute(context: Context) -> dict[str, Estimate]:
    """All measured errors at the report times, ids ``measured_<quantity>_<lower|upper>``."""
    solution, pushed = context.exact, context.pushed_at_times
    if solution is None:
        return {}
    out = _particles(context, solution)
    if pushed is None:
        return out
    exact = np.stack([solution.flow(t, pushed.rule.nodes) for t in pushed.times])
    distance = np.linalg.norm(pushed.flow - exact, axis=-1)
    first, first_error = pushed.rule.integrate(distance)
    second, second_error = pushed.rule.integrate(distance**2)
    size = f"{len(pushed.rule.weights)} quadrature nodes"
    out["measured_w1_upper"] = _upper(first + first_error, f"same-start coupling E|T - X|, {size}")
    out["measured_w2_upper"] = _upper(np.sqrt(second + second_error), f"same-start coupling in L2(f0), {size}")
    lower = np.array([gelbrich(*a, *b) for a, b in zip(_moments(pushed), _exact_moments(context), strict=True)])
    _, moment_error = pushed.rule.integrate(np.sum(pushed.flow**2, axis=-1))
    out["measured_w2_lower"] = _lower(lower - 2 * np.sqrt(moment_error), "Gelbrich bound from mean and covariance")
    out["measured_w1_lower"] = _lower(_kantorovich(pushed, solution), "largest |int phi (f~ - f)| over 1-Lipschitz phi")
    return out | _densities(pushed, solution)


def _densities(pushed: Pushforward, solution: ExactSolution) -> dict[str, Estimate]:
    """KL, L1 and L2 errors of the density by change of variables."""
    log_exact = np.stack([solution.log_density(t, x) for t, x in zip(pushed.times, pushed.flow, strict=True)])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        log_ratio = log_exact - pushed.log_density
        # f~ log(f~/f) + f - f~ integrates to KL with a non-negative, smaller integrand
        kl = np.expm1(log_ratio) - log_ratio
        l1 = np.abs(np.expm1(log_ratio))
        l2 = np.exp(pushed.log_density) * np.expm1(log_ratio) ** 2
        reference = np.exp(2 * log_exact - pushed.log_density)
    out = {}
    method = f"change of variables, {len(pushed.rule.weights)} quadrature nodes"
    for name, values in (("kl", kl), ("l1", l1), ("l2", l2), ("norm", reference)):
        values = np.where(np.isfinite(values), values, 0.0)
        total, error = pushed.rule.integrate(values)
        if name == "norm":
            scale = np.sqrt(total)
            out["measured_l2_relative_upper"] = _upper(np.sqrt(l2_upper) / scale, f"relative L2, {method}")
            continue
        if name == "l2":
            l2_upper = total + error
        out[f"measured_{name}_upper"] = _upper(total + error if name != "l2" else np.sqrt(total + error), method)
        if name != "l2":
            out[f"measured_{name}_lower"] = _lower(total - error, method)
    return out


def _particles(context: Context, solution: ExactSolution) -> dict[str, Estimate]:
    """Errors of the judged particles: against their exact characteristics, and against the N-body reference."""
    times, particles = context.times, context.particles
    learned = context.run.flow(times, particles)
    exact = np.stack([solution.flow(t, particles) for t in times])
    error = np.sqrt(np.mean(np.sum((learned - exact) ** 2, axis=-1), axis=-1))
    method = f"{len(particles)} fresh particles against the exact flow"
    out = {"measured_trajectory_upper": _upper(error, method), "measured_trajectory_lower": _lower(error, method)}
    if context.is_restart:
        rule = context.problem.rule()
        start = np.array([context.start])
        gap = np.linalg.norm(context.run.flow(start, rule.nodes)[0] - solution.flow(context.start, rule.nodes), axis=1)
        total, slack = rule.integrate(gap**2)
        value = max(float(error[0]), float(np.sqrt(total + slack)))
        out["initial_error"] = _upper(value, "restart: coupling error at its start, particles and quadrature over f0")
    reference = context.reference
    if reference is not None:
        # the reference is known at the nodes; its last node lies just before the last report time
        nodes = context.window.flat
        at_nodes = context.run.flow(nodes, particles)
        energy = np.mean(np.sum((at_nodes - reference) ** 2, axis=-1), axis=-1)
        mean = np.interp(times, nodes, energy)
        mean[0] = energy[0] if context.is_restart else 0.0
        what = f"{len(particles)} fresh particles against the N-body system with the exact score"
        out["measured_particles_upper"] = _upper(mean, what)
        out["measured_particles_lower"] = _lower(mean, what)
    return out


def _moments(pushed: Pushforward) -> list[tuple[Array, Array]]:
    mean, covariance = pushed.moments
    return list(zip(mean, covariance, strict=True))


def _exact_moments(context: Context) -> list[tuple[Array, Array]]:
    return [context.problem.moments(t) for t in context.times]


def gelbrich(m1: Array, c1: Array, m2: Array, c2: Array) -> float:
    """Gelbrich lower bound of W2: sqrt(|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2))."""
    root = np.real(sqrtm(c1))
    bures = float(np.trace(c1 + c2 - 2 * np.real(sqrtm(root @ c2 @ root))))
    return float(np.sqrt(max(float(np.sum((m1 - m2) ** 2)) + bures, 0.0)))


def _kantorovich(pushed: Pushforward, solution: ExactSolution) -> Array:
    """Lower bound of W1: largest gap of E phi over phi = min(|x - m|, c) and coordinates, quadrature error subtracted."""
    rule, best = pushed.rule, np.zeros(len(pushed.times))
    exact = np.stack([solution.flow(t, rule.nodes) for t in pushed.times])
    radius_learned, radius_exact = np.linalg.norm(pushed.flow, axis=-1), np.linalg.norm(exact, axis=-1)
    trials = [(radius_learned, radius_exact)]
    trials += [(np.minimum(radius_learned, c), np.minimum(radius_exact, c)) for c in (0.5, 1.0, 1.5, 2.0, 2.5)]
    trials += [(pushed.flow[..., j], exact[..., j]) for j in range(pushed.problem.d)]
    for a, b in trials:
        total, error = rule.integrate(a - b)
        best = np.maximum(best, np.abs(total) - error)
    return best


def _upper(value: Array | float, method: str) -> Estimate:
    return Estimate(value, Side.UPPER, Rigor.NUMERICAL, method, uses_exact_solution=True)


def _lower(value: Array, method: str) -> Estimate:
    return Estimate(np.maximum(value, 0.0), Side.LOWER, Rigor.NUMERICAL, method, uses_exact_solution=True)


_BOTH = ("w1", "w2", "kl", "l1", "trajectory", "particles")
ESTIMATOR = Estimator(
    id="measured",
    provides={f"measured_{n}_lower": Side.LOWER for n in _BOTH}
    | {f"measured_{n}_upper": Side.UPPER for n in (*_BOTH, "l2", "l2_relative")}
    | {"initial_error": Side.UPPER},
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution",
)
