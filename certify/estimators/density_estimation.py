"""Constants of Theorem 6 at the bandwidth that makes its sharp bound smallest, and the measured error of the KDE."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from certify.context import Context
from certify.estimator import Estimator
from certify.estimators.coupling import coupling_rms, exact_rules
from theory.problem import ExactSolution
from theory.provenance import Array, Estimate, Rigor, Side, exact
from theory.smoothing import SMOOTHING, Smoothing, SmoothingId

PAPER_BANDWIDTH = 0.15
SWEEP = np.geomspace(0.05, 2.0, 25)
STEP = 1e-3  # of the difference quotients of the exact score
BOX, CELLS = 4.5, {2: 90, 3: 40}
DRAWS = {2: 4, 3: 3}


def compute(context: Context) -> dict[str, Estimate]:
    """Curvature of f_t, kernel constants at the chosen bandwidth, bandwidth sweep, measured errors."""
    solution = context.exact
    if solution is None:
        return {}
    out = curvature(context, solution)
    laplacian = out["density_laplacian"].last()
    distance = float(coupling_rms(context)[-1])
    n, d = context.options.samples, context.problem.d
    draws = learned_draws(context)
    for name in SMOOTHING:
        kernel = Smoothing(name, d)
        h = best_bandwidth(kernel, n, laplacian, distance)
        out |= _constants(kernel, h, n, laplacian, distance)
        out |= _measured(context, solution, kernel, h, draws)
    return out


def sharp_bound(kernel: Smoothing, h: float, n: int, laplacian: float, distance: float) -> float:
    """Theorem 6 with radial constants at bandwidth h."""
    return kernel.bias(h, radial=True) * laplacian + kernel.noise(h, n) + kernel.gain(h, radial=True) * distance


def best_bandwidth(kernel: Smoothing, n: int, laplacian: float, distance: float) -> float:
    """Bandwidth that minimises the sharp bound (convex in a power of h, one minimum)."""
    best = minimize_scalar(
        lambda x: sharp_bound(kernel, float(np.exp(x)), n, laplacian, distance), bounds=(-4.0, 2.0), method="bounded"
    )
    return float(np.exp(best.x))


def _constants(kernel: Smoothing, h: float, n: int, laplacian: float, distance: float) -> dict[str, Estimate]:
    at = f"closed form, bandwidth h = {h:.4g}"
    sweep = {
        "bandwidth": h,
        "sweep_bandwidth": [float(x) for x in SWEEP],
        "sweep_bound": [sharp_bound(kernel, float(x), n, laplacian, distance) for x in SWEEP],
        "bound_at_paper_bandwidth": sharp_bound(kernel, PAPER_BANDWIDTH, n, laplacian, distance),
    }
    out = {}
    for form, radial in (("", False), ("_radial", True)):
        out[f"kde_bias{form}_{kernel.id}"] = exact(kernel.bias(h, radial=radial), at)
        out[f"kde_gain{form}_{kernel.id}"] = exact(kernel.gain(h, radial=radial), at)
    noise = Estimate(kernel.noise(h, n), Side.BOTH, Rigor.EXACT, f"{at}, N = {n}", detail=sweep)
    return out | {f"kde_noise_{kernel.id}": noise}


def curvature(context: Context, solution: ExactSolution) -> dict[str, Estimate]:
    """L2 norms of f_t, of its Hessian (operator norm) and of its Laplacian at the report times.

    D^2 f = f (grad s + s s^T), grad s by central differences of the exact score at two steps, their difference added.
    """
    norms = np.empty((3, len(context.times)))
    for k, (t, rule) in enumerate(zip(context.times, exact_rules(context), strict=True)):
        x = rule.nodes
        s = solution.score(t, x)
        wide, fine = (_jacobian(solution, t, x, step) for step in (2 * STEP, STEP))
        density = np.exp(solution.log_density(t, x))
        hessian = fine + s[:, :, None] * s[:, None, :]
        slack = np.linalg.norm(wide - fine, axis=(1, 2))
        operator = np.abs(np.linalg.eigvalsh((hessian + hessian.swapaxes(1, 2)) / 2)).max(axis=1) + slack
        trace = np.abs(np.trace(hessian, axis1=1, axis2=2)) + np.sqrt(x.shape[1]) * slack
        for row, size in enumerate((np.ones_like(density), operator, trace)):
            norms[row, k] = np.sqrt(sum(rule.integrate(density * size**2)))
    method = f"quadrature under f_t, {len(x)} nodes, difference quotients of the exact score, errors added"
    keys = ("density_norm", "density_hessian", "density_laplacian")
    return {
        key: Estimate(
            np.where(np.isfinite(v), v, np.inf), Side.UPPER, Rigor.NUMERICAL, method, uses_exact_solution=True
        )
        for key, v in zip(keys, norms, strict=True)
    }


def _jacobian(solution: ExactSolution, t: float, x: Array, step: float) -> Array:
    columns = []
    for j in range(x.shape[1]):
        shift = np.zeros(x.shape[1])
        shift[j] = step
        columns.append((solution.score(t, x + shift) - solution.score(t, x - shift)) / (2 * step))
    return np.stack(columns, axis=-1)


def learned_draws(context: Context) -> Array:
    """Independent draws of N learned particles at the report times, (m, draws, N, d)."""
    n, d = context.options.samples, context.problem.d
    draws = 2 if context.options.quick else DRAWS[d]
    start = context.problem.initial.sample(draws * n, context.rng("density estimation"))
    return context.run.flow(context.times, start).reshape(len(context.times), draws, n, d)


def _measured(
    context: Context, solution: ExactSolution, kernel: Smoothing, h: float, moved: Array
) -> dict[str, Estimate]:
    """E||f^ - f|| over independent draws of N particles, on a box (what lies outside it is left out: lower values)."""
    d, n = context.problem.d, context.options.samples
    compact = kernel.id != "gaussian"
    if compact and d == 3:
        return {}  # no product form: too many pairs for what it shows
    draws = moved.shape[1]
    cells = CELLS[d]
    axis = BOX * (2 * (np.arange(cells) + 0.5) / cells - 1)
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)
    truth = [np.exp(solution.log_density(t, grid)) for t in context.times]
    volume = (2 * BOX / cells) ** d
    errors = np.array(
        [
            [np.sqrt(np.sum((_estimate(kernel, h, axis, x) - f) ** 2) * volume) for x in at_t]
            for at_t, f in zip(moved, truth, strict=True)
        ]
    )
    mean = errors.mean(axis=1)
    slack = 4 * errors.std(axis=1, ddof=1) / np.sqrt(draws)
    method = f"{draws} draws of {n} fresh particles, {cells}^{d} cells, h = {h:.4g}, mean -+ 4 standard errors"
    name = "kde_compact" if compact else "kde"
    return {
        f"measured_{name}_{side.value}": Estimate(
            np.maximum(value, 0.0), side, Rigor.SAMPLED, method, uses_exact_solution=True
        )
        for side, value in ((Side.LOWER, mean - slack), (Side.UPPER, mean + slack))
    }


def _estimate(kernel: Smoothing, h: float, axis: Array, x: Array) -> Array:
    """Kernel density estimate of the points x (n, d) on the product grid of the axis, flattened (compact: 2D)."""
    n, d = x.shape
    if kernel.id == "gaussian":  # a product of factors
        factors = [np.exp(-((axis[:, None] - x[:, j]) ** 2) / (2 * h * h)) for j in range(d)]
        if d == 2:
            total = factors[0] @ factors[1].T
        else:
            total = factors[0] @ (factors[1][:, None, :] * factors[2]).reshape(-1, n).T
        return np.asarray(total.ravel() / (n * (2 * np.pi * h * h) ** (d / 2)))
    out = np.zeros((len(axis), len(axis)))
    rows, columns = (((axis[:, None] - x[:, j]) / h) ** 2 for j in (0, 1))
    for row in range(len(axis)):  # of the grid: only the points within h of it
        near = rows[row] < 1
        out[row] = kernel.profile(rows[row, near] + columns[:, near]).sum(axis=1)
    return out.ravel() / (n * h**d)


def _names(kernel: SmoothingId) -> tuple[str, ...]:
    return tuple(f"kde_{part}_{kernel}" for part in ("bias", "bias_radial", "noise", "gain", "gain_radial"))


ESTIMATOR = Estimator(
    id="density_estimation",
    provides=dict.fromkeys(("density_norm", "density_hessian", "density_laplacian"), Side.UPPER)
    | {name: Side.BOTH for kernel in SMOOTHING for name in _names(kernel)}
    | {f"measured_{n}_{s.value}": s for n in ("kde", "kde_compact") for s in (Side.LOWER, Side.UPPER)},
    rigor=Rigor.EXACT,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution (curvature of its density)",
)
