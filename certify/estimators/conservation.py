"""Conservation and entropy of the learned density: checks that need no solution, only what every solution obeys.

Mean and energy are conserved, for the Maxwell kernel the covariance follows a closed law (THEORY section 1), and
H = int f log f decreases at the rate that the density's own drift dissipates. The last is the balance

    H(t) - H(t0) = int_{t0}^t D,   D = E U[f~].s_push = -1/2 E E (s - s') A(v - v')(s - s') <= 0,

which a flow with a defect e misses by int E e.s_push. Moments are integrated as differences from those of f0 and
entropies as E log det J (change of variables), so that the quadrature error of f0 itself cancels. Passing is necessary,
never sufficient: a wrong density can conserve everything.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from certify.context import Context
from certify.estimator import Estimator
from certify.pushforward import Pushforward
from theory.drift import maxwell_drift, maxwell_pair_drift, weighted_moments
from theory.provenance import Array, Estimate, Rigor, Side
from theory.quadrature import Rule

HUGE = 1e150
ROUNDING = 64 * np.finfo(np.float64).eps  # relative rounding allowed for in an integral of a difference


def compute(context: Context) -> dict[str, Estimate]:
    """Errors of the conserved quantities at the report times, and the entropy where the flow has derivatives."""
    pushed = context.pushed_at_times
    flow = context.learned_path if pushed is None else pushed.flow
    return _moments(context, flow) | _entropy(context, pushed)


# --- mean, energy, covariance -----------------------------------------------------------------------------------------


def _upper(value: Array, error: Array, method: str) -> Estimate:
    """Size of an error with that of its quadrature added; infinite where the flow is."""
    detail = {"value": _listed(value), "quadrature_error": _listed(error)}
    return Estimate(value + error, Side.UPPER, Rigor.NUMERICAL, method, detail=detail)


def _listed(values: Array) -> list[float]:
    return [float(x) for x in values]


def _integral(rule: Rule, values: Array) -> tuple[Array, Array]:
    """Integral of values (..., n) with its quadrature error and the rounding error of the sum; inf if not finite."""
    finite = np.asarray(np.isfinite(values).all(axis=-1))
    values = np.where(finite[..., None], values, 0.0)
    total, error = rule.integrate(values)
    return total, np.where(finite, error + ROUNDING * (np.abs(values) @ rule.weights), np.inf)


def _moments(context: Context, flow: Array) -> dict[str, Estimate]:
    """Mean, energy and (Maxwell) covariance of the learned density against what they must be."""
    rule, problem = context.rule, context.problem
    mean, covariance = problem.initial.mean(), problem.initial.covariance()
    size = f"{len(rule.weights)} quadrature nodes up to |v - mean| = {rule.radius:.3g}"
    flow = np.where(np.abs(flow) < HUGE, flow, np.nan)  # a square would overflow
    drift, drift_error = _integral(rule, (flow - rule.nodes).swapaxes(-1, -2))
    energy = float(np.trace(covariance) + mean @ mean)
    gain, gain_error = _integral(rule, np.sum((flow - rule.nodes) * (flow + rule.nodes), axis=-1))
    out = {
        "mean_error": _upper(
            np.linalg.norm(drift, axis=-1), np.linalg.norm(drift_error, axis=-1), f"|E (T - v)|, {size}"
        ),
        "energy_error": _upper(np.abs(gain) / energy, gain_error / energy, f"|E (|T|^2 - |v|^2)| / E |v|^2, {size}"),
    }
    if problem.kernel.is_maxwell:
        z0, z = rule.nodes - mean, flow - mean
        second = np.einsum("mni,mnj->mijn", z, z) - np.einsum("ni,nj->ijn", z0, z0)
        change, error = _integral(rule, second)
        law = np.stack([problem.moments(t)[1] for t in context.times]) - covariance
        # about the learned mean, which is mean + drift
        gap = change - drift[:, :, None] * drift[:, None, :] - law
        shift, doubt = (np.linalg.norm(x, axis=-1)[:, None, None] for x in (drift, drift_error))
        error = error + doubt * (2 * shift + doubt)
        temperature = float(np.trace(covariance)) / problem.d
        out["covariance_error"] = _upper(
            np.linalg.norm(gap, axis=(-1, -2)) / temperature,
            np.linalg.norm(error, axis=(-1, -2)) / temperature,
            f"Frobenius norm of the error over the temperature, against the closed law of the Maxwell kernel, {size}",
        )
    return out


# --- entropy ----------------------------------------------------------------------------------------------------------


def _entropy(context: Context, pushed: Pushforward | None) -> dict[str, Estimate]:
    """Entropy, its largest rise, and the balance; from the first fold on the change of variables is no density."""
    if pushed is None:
        return {}
    unfolded = (pushed.det > 0).all(axis=-1) & np.isfinite(pushed.det).all(axis=-1)
    good = np.logical_and.accumulate(unfolded)
    if not good[0]:
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        log_det = np.where(good[:, None], np.log(np.abs(pushed.det)), 0.0)
    since = {} if good.all() else {"folds_at": float(context.times[np.argmin(good)])}
    out = _rise(context, pushed.rule, log_det, good, since)
    if not good.all():
        return out
    rule = pushed.rule
    own = context.problem.initial.log_density(rule.nodes)
    first, first_error = rule.integrate(np.where(np.isfinite(own), own, 0.0))
    total, error = _integral(rule, -log_det)
    out["entropy"] = Estimate(
        first + total,
        Side.BOTH,
        Rigor.NUMERICAL,
        f"E log f0 - E log det J, {len(rule.weights)} quadrature nodes",
        detail={"quadrature_error": _listed(first_error + error)},
    )
    return out | _production_gap(pushed) | _balance(context, *_integral(rule, log_det[0] - log_det))


def _rise(
    context: Context, rule: Rule, log_det: Array, good: NDArray[np.bool_], since: dict[str, float]
) -> dict[str, Estimate]:
    """How far H stands above its smallest earlier value, (m,): 0 for every solution."""
    times = context.times
    method = f"largest H(t) - H(s), s < t, by E log det J, {len(rule.weights)} quadrature nodes"
    changes = [_integral(rule, log_det[:k] - log_det[k]) for k in range(1, len(times))]  # H(t_k) - H(t_j), j < k
    out = {}
    for name, side, sign in (
        ("entropy_increase", Side.UPPER, 1.0),
        ("entropy_increase_lower", Side.LOWER, -1.0),
    ):
        ends = [change + sign * error for change, error in changes]
        rise = np.maximum([0.0, *(float(x.max()) for x in ends)], 0.0)
        rise[~good] = np.inf if side is Side.UPPER else 0.0
        k = int(np.argmax(rise))
        seen = 0 < rise[k] < np.inf
        window = {"from": float(times[np.argmax(ends[k - 1])]), "to": float(times[k])} if seen else {}
        out[name] = Estimate(rise, side, Rigor.NUMERICAL, method, detail=window | since)
    return out


def _rate(pushed: Pushforward, drift: Array, coarse: Array) -> tuple[Array, Array]:
    """E drift.s_push, (m,), with the quadrature error of the outer and of the inner integral; inf if not finite."""
    rule = pushed.rule
    density, inner = np.sum(drift * pushed.score, axis=-1), np.sum(coarse * pushed.score, axis=-1)
    usable = np.isfinite(inner).all(axis=-1) & (pushed.det > 0).all(axis=-1)
    density, inner = (np.where(usable[:, None], x, 0.0) for x in (density, inner))
    total, error = _integral(rule, density)
    return total, np.where(usable, error + np.abs((inner - density) @ rule.weights), np.inf)


def _own_drift(pushed: Pushforward) -> tuple[Array, Array]:
    """U[f~] with s_push, and what the coarser weights make of it, (m, n, d) each."""
    drift = pushed.dt - pushed.defect  # the pair sums of other kernels were formed for the defect
    if not pushed.problem.kernel.is_maxwell:
        return drift, drift + pushed.drift_error
    moments = weighted_moments(pushed.flow, pushed.rule.coarse / pushed.rule.coarse.sum())
    return drift, np.asarray(maxwell_drift(pushed.problem.kernel.strength, pushed.flow, pushed.score, *moments))


def _production_gap(pushed: Pushforward) -> dict[str, Estimate]:
    """|E U.s - pair sum| at the report times for the Maxwell kernel, 0 after integration by parts.

    The drift of other kernels is the pair sum itself, and the two are one number.
    """
    rule, kernel = pushed.rule, pushed.problem.kernel
    if not kernel.is_maxwell:
        return {}
    fine, coarse = (
        maxwell_pair_drift(kernel.strength, pushed.flow, pushed.score, w / w.sum()) for w in (rule.weights, rule.coarse)
    )
    rate, error = _rate(pushed, *_own_drift(pushed))
    pairs, pairs_error = _rate(pushed, fine, coarse)
    method = "|E U.s_push + 1/2 E E (s - s')A(s - s')|, both by the same rule"
    return {"entropy_production_gap": _upper(np.abs(rate - pairs), error + pairs_error, method)}


def _balance(context: Context, change: Array, change_error: Array) -> dict[str, Estimate]:
    """D at the quadrature times, and |H(t) - H(t0) - int D| at the report times by the nested rule in time.

    The balance is infinite from where D cannot be had.
    """
    pushed, window = context.pushed, context.window
    if pushed is None:
        return {}
    rate, error = _rate(pushed, *_own_drift(pushed))
    size = f"{len(pushed.rule.weights)} quadrature nodes"
    out = {}
    if np.isfinite(error).all():
        detail = {"quadrature_error": _listed(error)}
        out["entropy_production"] = Estimate(rate, Side.BOTH, Rigor.NUMERICAL, f"E U[f~].s_push, {size}", detail=detail)
    rate, error = (x[-window.n_nodes :].reshape(window.nodes.shape) for x in (rate, error))
    panels = np.sum(window.fine * rate, axis=1)
    doubt = np.sum(window.fine * error, axis=1) + np.abs(panels - np.sum(window.coarse * rate, axis=1))
    produced, produced_error = (np.concatenate([[0.0], np.cumsum(x)]) for x in (panels, doubt))
    method = f"|H(t) - H(t0) - int E U[f~].s_push|, {size}, Gauss-Kronrod in time"
    balance = _upper(np.abs(change - produced), change_error + produced_error, method)
    sides = {"change": _listed(change), "produced": _listed(produced)}
    return out | {"entropy_balance": replace(balance, detail={**balance.detail, **sides})}


ESTIMATOR = Estimator(
    id="conservation",
    provides={
        "mean_error": Side.UPPER,
        "energy_error": Side.UPPER,
        "covariance_error": Side.UPPER,
        "entropy": Side.BOTH,
        "entropy_increase": Side.UPPER,
        "entropy_increase_lower": Side.LOWER,
        "entropy_production": Side.BOTH,
        "entropy_production_gap": Side.UPPER,
        "entropy_balance": Side.UPPER,
    },
    rigor=Rigor.NUMERICAL,
    uses_exact_solution=False,
    compute=compute,
    why_not="a flow that gives its derivatives (jets) and does not fold",
)
