"""Flow defect of the learned density, in the norms S1-S4 need, with quadrature error added and tail beyond the rule."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial

from certify.context import Context
from certify.estimator import Estimator
from certify.pushforward import Pushforward, push
from theory.problem import COVARIANCE_TOLERANCE, Problem
from theory.provenance import Array, Estimate, Rigor, Side, exact
from theory.quadrature import polar_rule

SHELL, NEGLIGIBLE = 2.0, 1e-6  # a shell up to this multiple of the radius, where bounds leave more than this share
TAIL_REACH = 4.0  # tails with an exponential weight are integrated out to this multiple of the truncation radius


def _upper(pushed: Pushforward, values: Array) -> tuple[Array, Array]:
    """Integral of non-negative values (m, n) against f0 plus its error estimate, and that estimate alone."""
    finite = np.isfinite(values).all(axis=-1)
    total, error = pushed.rule.integrate(np.where(np.isfinite(values), values, 0.0))
    return np.where(finite, total + error, np.inf), error


def compute(context: Context) -> dict[str, Estimate]:
    """Defects at every quadrature time."""
    pushed = context.pushed
    if pushed is None:
        return {}
    out: dict[str, Estimate] = {}
    rule, problem = pushed.rule, pushed.problem
    size = {"nodes": len(rule.weights), "truncation_radius": rule.radius}

    def add(name: str, upper: Array, method: str, error: Array) -> None:
        out[name] = Estimate(upper, Side.UPPER, Rigor.NUMERICAL, method, detail=size | {"error": float(error.max())})

    squared, error = _upper(pushed, np.sum(pushed.defect**2, axis=-1))
    rule_name = f"nested Gauss-Kronrod x angle rule, {len(rule.weights)} nodes, its error estimate added"
    rounding = _rounding(pushed)
    add("defect", np.sqrt(squared) + _moment_error(pushed) + rounding, rule_name, error)
    if pushed.problem.kernel.is_maxwell:
        norm = np.sqrt(np.sum(pushed.linear_defect**2, axis=-1))
        first, error = _upper(pushed, norm)
        add("defect_l1", first + rounding, rule_name, error)
        second, error = _upper(pushed, norm**2)
        add("defect_l2", np.sqrt(second) + rounding, rule_name, error)
        entropy, error = _upper(pushed, pushed.diffusion_norm)
        least = [np.trace(c) - np.linalg.eigvalsh(c)[-1] for _, c in map(problem.moments, pushed.times)]
        floor = rounding / np.sqrt(problem.kernel.strength * np.array(least))
        add("defect_entropy", (np.sqrt(entropy) + floor) ** 2, rule_name, error)
        if is_isotropic(problem):
            weighted, error = _upper(pushed, pushed.diffusion_norm * maxwellian_ratio(pushed))
            floor = _rounding(pushed, maxwellian_ratio(pushed)) / np.sqrt(problem.kernel.strength * np.array(least))
            add("defect_chi2", (np.sqrt(weighted) + floor) ** 2, rule_name, error)
            out["defect_chi2_tail"] = _chi2_tail(context, pushed, weighted)
            out["initial_chi2"] = exact(0.0, "T(t0, .) = id, so both densities start as f0")
    return out | _tails(context, pushed)


def is_isotropic(problem: Problem) -> bool:
    """Whether the covariance of the solution is T I (for Maxwell molecules at every time if at one)."""
    covariance = problem.initial.covariance()
    temperature = float(np.trace(covariance)) / problem.d
    gap = float(np.linalg.norm(covariance - temperature * np.eye(problem.d)))
    return problem.kernel.is_maxwell and gap <= COVARIANCE_TOLERANCE * temperature


def maxwellian_ratio(pushed: Pushforward) -> Array:
    """f~/M at T(t, v), M the Maxwellian of the solution, (m, n); 0 where f0 vanishes."""
    problem = pushed.problem
    mean, covariance = problem.moments(float(problem.t0))
    temperature = float(np.trace(covariance)) / problem.d
    r2 = np.sum((pushed.flow - mean) ** 2, axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        log = pushed.log_density + r2 / (2 * temperature) + problem.d / 2 * np.log(2 * np.pi * temperature)
        return np.asarray(np.exp(log))


def _chi2_tail(context: Context, pushed: Pushforward, inside: Array) -> Estimate:
    """Contribution of |v| beyond the truncation radius to int e^T A^-1 e f~^2/M, (m,).

    1/M undoes half of the decay of f~^2, so the growth bounds may leave much at the truncation radius; where they do,
    a shell is integrated with the flow itself and the bounds are used beyond it.
    """
    problem, radius = pushed.problem, pushed.rule.radius
    mass = problem.initial.tail_moment(radius, 0)
    size = {"mass": mass}
    if context.run.growth(pushed.times[:1], radius) is None:
        method = f"taken as 0 beyond |v| = {radius:.2f}, where f0 has mass {mass:.1e}: no growth bound for this flow"
        return Estimate(0.0, Side.UPPER, Rigor.ASSUMED, method, detail=size)
    values = _beyond(context, pushed.times, radius)
    method = f"growth bounds of the flow (by construction) times f0^2/M beyond |v| = {radius:.2f}"
    if (values > NEGLIGIBLE * inside).any():
        outer = SHELL * radius
        rule = problem.rule(np.linspace(radius, outer, 6))
        shell = push(context.run, problem, rule, pushed.times, context.progress, "shell")
        if shell is not None:
            between = _upper(shell, shell.diffusion_norm * maxwellian_ratio(shell))[0]
            values = np.minimum(values, between + _beyond(context, pushed.times, outer))
            method = f"quadrature up to |v| = {outer:.2f}, beyond it growth bounds of the flow times f0^2/M"
    return Estimate(values, Side.UPPER, Rigor.NUMERICAL, method, detail=size)


def _beyond(context: Context, times: Array, radius: float) -> Array:
    """Bound of the same integral over |v - mean| > radius from the growth bounds there, (m,); inf if it diverges."""
    problem = context.problem
    growth = context.run.growth(times, radius)
    if growth is None:
        raise ValueError("this flow gives no growth bound")
    offset, slope = problem.initial.score_growth(radius)
    c, d = problem.kernel.strength, problem.d
    mean, covariance = problem.moments(float(problem.t0))
    temperature, shift = float(np.trace(covariance)) / d, float(np.linalg.norm(mean))
    # the plain rule on the shell: the bound itself is formed in logarithms
    rule = polar_rule(lambda v: np.ones(len(v)), mean, radius * np.linspace(1.0, TAIL_REACH, 25), 8)
    rho = np.linalg.norm(rule.nodes - mean, axis=1)
    speed_at = rho + shift  # >= |v|
    log_density = problem.initial.log_density(rule.nodes)
    last = rule.panel == rule.panel.max()
    out = np.empty(len(times))
    for k in range(len(times)):
        z = growth.reach[0][k] + growth.reach[1][k] * speed_at + shift
        score = growth.inverse[k] * (offset + slope * rho + growth.log_det[k])
        speed = growth.speed[0][k] + growth.speed[1][k] * speed_at
        e = speed + c * (z * z + d * temperature) * score + (d - 1) * c * z
        # f~ <= f0 |J^-1|^d, A >= (d-1) C T
        log = 2 * np.log(e) + 2 * log_density + d * np.log(growth.inverse[k]) - np.log((d - 1) * c * temperature)
        log = log + z * z / (2 * temperature) + d / 2 * np.log(2 * np.pi * temperature)
        values = np.exp(np.minimum(log, 600.0))
        total, error = rule.integrate(values)
        # a last panel that counts means that nothing speaks for what lies beyond it
        diverges = values[last] @ rule.weights[last] > 1e-3 * total
        out[k] = np.inf if diverges else total + error
    return out


def _rounding(pushed: Pushforward, weight: Array | float = 1.0) -> Array:
    """Rounding error allowed for in the L2(weight f~) norm of the defect: 64 units of what cancels, (m,)."""
    speed = np.sum(pushed.dt**2, axis=-1) + np.sum((pushed.dt - pushed.defect) ** 2, axis=-1)
    speed = speed * weight
    size = np.where(np.isfinite(speed), speed, 0.0) @ pushed.rule.weights
    return np.asarray(64 * np.finfo(np.float64).eps * np.sqrt(size))


def _moment_error(pushed: Pushforward) -> Array:
    """What the quadrature error of the drift itself could change in ||U[f~]||, (m,).

    Maxwell: through the learned mean and covariance. Other kernels: the L2 norm of what the coarser weights change.
    Maxwell, |dU| <= C [(|d tr| + |d Sigma|)|s| + 4 |dm| |z||s| + (d-1)|dm|] to first order.
    """
    kernel, rule, d = pushed.problem.kernel, pushed.rule, pushed.problem.d
    if not kernel.is_maxwell:
        squared, error = rule.integrate(np.sum(pushed.drift_error**2, axis=-1))
        return np.asarray(np.sqrt(squared + error))
    z = pushed.flow - pushed.moments[0][:, None]
    mean = np.linalg.norm(rule.integrate(pushed.flow.swapaxes(-1, -2))[1], axis=-1)
    error = rule.integrate(np.einsum("mni,mnj->mijn", z, z))[1]
    covariance = np.linalg.norm(error, axis=(-1, -2)) + np.trace(error, axis1=-2, axis2=-1)
    s2 = np.sum(pushed.score**2, axis=-1)
    s2 = np.where(np.isfinite(s2), s2, 0.0)
    score = np.sqrt(s2 @ rule.weights)
    mixed = np.sqrt((s2 * np.sum(z * z, axis=-1)) @ rule.weights)
    return np.asarray(kernel.strength * (covariance * score + 4 * mean * mixed + (d - 1) * mean))


def _tails(context: Context, pushed: Pushforward) -> dict[str, Estimate]:
    """Contribution of |v| beyond the truncation radius."""
    names = ["defect_tail"]
    if pushed.problem.kernel.is_maxwell:
        names += ["defect_l1_tail", "defect_l2_tail", "defect_entropy_tail"]
    radius, problem = pushed.rule.radius, pushed.problem
    mass = problem.initial.tail_moment(radius, 0)
    growth = context.run.growth(pushed.times, radius)
    if growth is None or not problem.kernel.is_maxwell:
        method = f"taken as 0 beyond |v| = {radius:.2f}, where f0 has mass {mass:.1e}: no growth bound for this flow"
        return {n: Estimate(0.0, Side.UPPER, Rigor.ASSUMED, method, detail={"mass": mass}) for n in names}
    offset, slope = problem.initial.score_growth(radius)
    shift = float(np.linalg.norm(problem.initial.mean()))
    values: dict[str, list[float]] = {n: [] for n in names}
    c, d = problem.kernel.strength, problem.d
    for k, t in enumerate(pushed.times):
        # all bounds as polynomials in rho = |v - mean|
        rho = Polynomial([shift, 1.0])
        position = growth.reach[0][k] + growth.reach[1][k] * rho
        speed = growth.speed[0][k] + growth.speed[1][k] * rho
        score = growth.inverse[k] * (Polynomial([offset, slope]) + growth.log_det[k])
        mean, covariance = problem.moments(t)
        for name, m, sigma in (
            ("defect", *(x[k] for x in pushed.moments)),
            ("linear", mean, covariance),
        ):
            z = position + float(np.linalg.norm(m))
            e = speed + c * (z * z + float(np.trace(sigma))) * score + (d - 1) * c * z
            second = _moment(problem, e * e, radius)
            if name == "defect":
                values["defect_tail"].append(float(np.sqrt(second)))
                continue
            values["defect_l1_tail"].append(_moment(problem, e, radius))
            values["defect_l2_tail"].append(float(np.sqrt(second)))
            least = c * (np.trace(sigma) - float(np.linalg.eigvalsh(sigma)[-1]))
            values["defect_entropy_tail"].append(second / least)
    method = f"growth bounds of the flow (by construction) times moments of f0 beyond |v| = {radius:.2f}"
    return {
        n: Estimate(np.array(x), Side.UPPER, Rigor.NUMERICAL, method, detail={"mass": mass}) for n, x in values.items()
    }


def _moment(problem: Problem, polynomial: Polynomial, radius: float) -> float:
    """Integral of a polynomial in |v - mean| with non-negative coefficients against f0 outside the ball."""
    return sum(float(a) * problem.initial.tail_moment(radius, k) for k, a in enumerate(polynomial.coef))


_NAMES = ("defect", "defect_l1", "defect_l2", "defect_entropy", "defect_chi2")
ESTIMATOR = Estimator(
    id="flow_defect",
    provides=dict.fromkeys((*_NAMES, *(f"{x}_tail" for x in _NAMES)), Side.UPPER) | {"initial_chi2": Side.BOTH},
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=False,
    compute=compute,
    why_not="a flow that gives its first and second derivatives (jets)",
)
