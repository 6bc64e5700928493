"""W1 between particles and f_t: deterministic transport to the density at the start, explicit and measured rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from certify.context import Context
from certify.density_transport import CELLS, RadialLaw, density_w1, expected_density_w1_upper
from certify.estimator import Estimator
from certify.options import PARTICLE_RATES
from certify.transport import DENSE_LIMIT, expected_empirical_w1_upper, expected_w1_upper
from theory import sampling
from theory.gronwall import NumericOps, TimeGrid
from theory.problem import ExactSolution
from theory.provenance import Array, Estimate, Rigor, Side, total_delta, weakest

DRAWS = 20  # Catoni's bound needs more than 2 log(1/delta)
FEW_DRAWS = 4  # of samples so large that each costs minutes
QUICK_CELLS = 3000


def compute(context: Context) -> dict[str, Estimate]:
    """Upper bounds of W1(particles, f_t) at the nodes, of E W1 for fresh exact samples at the report times.

    W1(mu~_t, f_t) <= mean |X~_i - X_i| + Lip(X_t) W1(mu_0, f_0): coupling with exact particles of the same start, whose
    initial distance is bounded by transport to the density itself (THEORY section 6.5), carried by the exact flow with
    Lip(X_t) <= exp(int one-sided Lipschitz constant of U).
    """
    out = _closed_formulas(context)
    solution = context.exact
    if solution is not None:
        out |= _realised(context, solution)
        carried = _transported_rate(context, solution)
        if carried is not None:
            out["sampling_w1_ot"] = carried
    out["sampling_w1"] = _chosen(out, context.options.particle_rate)
    return out


# --- E W1 of N exact samples ------------------------------------------------------------------------------------------


def _closed_formulas(context: Context) -> dict[str, Estimate]:
    """The rates that need no transport problem: explicit bound, the paper's assumption, floor of every N-point set."""
    n, d, solution = context.options.samples, context.problem.d, context.exact
    trace = float(np.trace(context.problem.initial.covariance()))
    bound = np.full(len(context.times), sampling.moment_rate(d, n, trace))
    method = "any law on a torus, smoothing and H^-1"
    detail: dict[str, object] = {"n": n}
    if solution is not None:
        found = [sampling.explicit_rate(_tail(solution, t), d, n) for t in context.times]
        bound = np.minimum(bound, [value for value, _ in found])
        method += ", projected onto a ball at the cost of the exact tails"
        detail["radius"] = found[-1][1]
    else:
        method += ", projected onto a ball at a cost bounded by the conserved energy"
    out = {
        "sampling_w1_explicit": Estimate(
            bound,
            Side.UPPER,
            Rigor.VERIFIED,
            f"explicit constants, E W1 of {n} samples: {method}",
            uses_exact_solution=solution is not None,
            detail=detail,
        ),
        "sampling_w1_paper": Estimate(
            sampling.paper_rate(n),
            Side.NONE,
            Rigor.ASSUMED,
            "N^(-1/2) with constant 1, the paper's Assumption 2: not a theorem in d = 3, where no N points come that "
            "close for large N, and in d = 2 a factor sqrt(log N) is missing",
            detail={"n": n},
        ),
    }
    highest = getattr(solution, "sup_density", None)
    if highest is not None:
        out["sampling_w1_floor"] = Estimate(
            np.array([sampling.floor(d, n, highest(t)) for t in context.times]),
            Side.LOWER,
            Rigor.EXACT,
            f"d/(d+1) (N w_d sup f_t)^(-1/d): no measure on {n} points is closer to f_t",
            uses_exact_solution=True,
            detail={"n": n},
        )
    return out


def _tail(solution: ExactSolution, t: float) -> sampling.Tail:
    return lambda radius, power: solution.tail_moment(t, radius, power)


def _transported_rate(context: Context, solution: ExactSolution) -> Estimate | None:
    """Measured E W1 of exact samples with its confidence bound, carried along the exact flow; None if it cannot be."""
    anchors = _anchors(context, solution)
    if not anchors:
        return None
    n, delta = context.options.samples, (1 - context.options.confidence) / 2 / len(anchors)
    rng = context.rng("w1 sampling")
    trace = float(np.trace(context.problem.initial.covariance()))
    found: list[Estimate] = []

    def at(t: float) -> float:
        law = _law(solution, t)
        draws = DRAWS if n <= DENSE_LIMIT else FEW_DRAWS

        def draw(m: int, g: np.random.Generator) -> Array:
            return solution.sample(t, m, g)

        if law is not None and n <= DENSE_LIMIT:
            found.append(
                expected_density_w1_upper(
                    draw, law, n, draws=draws, delta=delta, trace_covariance=trace, rng=rng, cells=_cells(context) // 2
                )
            )
        else:
            found.append(
                expected_empirical_w1_upper(draw, n, draws=draws, delta=delta, trace_covariance=trace, rng=rng)
            )
        return found[-1].last()

    value = _carried(context, solution, at)
    return Estimate(
        value,
        Side.UPPER,
        Rigor.NUMERICAL,
        f"E W1 of {n} exact samples ({found[-1].method}) x Lip(X_t)",
        delta=total_delta(found),
        uses_exact_solution=True,
        detail={"n": n, "draws": found[-1].detail["draws"], "from": [float(t) for t in anchors]},
    )


def _chosen(rates: dict[str, Estimate], wanted: str) -> Estimate:
    """The rate the theorems use: the one asked for, or the smaller bound at every time.

    Raises
    ------
    ValueError
        On a wish that is none of best, ot, explicit, paper.
    """
    if wanted not in PARTICLE_RATES:
        raise ValueError(f"particle_rate is one of {', '.join(PARTICLE_RATES)}, got {wanted!r}")
    explicit, carried = rates["sampling_w1_explicit"], rates.get("sampling_w1_ot")
    if wanted == "paper":
        return rates["sampling_w1_paper"]
    if wanted == "ot" and carried is not None:
        return carried
    if wanted == "ot":
        return replace(explicit, method=f"no exact transport without an exact solution; {explicit.method}")
    if wanted == "explicit" or carried is None:
        return explicit
    a, b = np.asarray(carried.value), np.asarray(explicit.value)
    if (a <= b).all() or (b <= a).all():
        return carried if (a <= b).all() else explicit
    return Estimate(
        np.minimum(a, b),
        Side.UPPER,
        weakest((carried, explicit)),
        f"the smaller at each time of: {carried.method}; {explicit.method}",
        delta=carried.delta,
        uses_exact_solution=True,
        detail=carried.detail,
    )


# --- the realised particles -------------------------------------------------------------------------------------------


def _realised(context: Context, solution: ExactSolution) -> dict[str, Estimate]:
    """W1 between the particles actually drawn, moved exactly, and f_t; and with the learned particles coupled to them.

    If the law is radial both ends are deterministic. The fresh-sample bound, the alternative, is never below E' W1 to
    a second sample and pays for confidence as well, so that it is only used where there is no other.
    """
    particles, start = context.particles, context.start
    known: dict[float, Estimate] = {}
    lower: dict[float, float] = {}

    def at(t: float) -> float:
        if t not in known:
            moved, law = solution.flow(t, particles), _law(solution, t)
            if law is None:
                known[t] = _fresh(context, solution, t, moved)
            else:
                found = density_w1(moved, law, cells=_cells(context))
                known[t] = Estimate(found.upper, Side.UPPER, Rigor.VERIFIED, found.method)
                lower[t] = found.lower
        return known[t].last()

    anchors = _anchors(context, solution)
    n = len(particles)
    detail = {"n": n}
    out: dict[str, Estimate] = {}
    if anchors:
        value = _carried(context, solution, at)
        out["sampling_w1_realised"] = Estimate(
            value,
            Side.UPPER,
            Rigor.NUMERICAL,
            f"W1 of the {n} start velocities moved exactly: {known[anchors[-1]].method}; x Lip(X_t)",
            delta=total_delta(known.values()),
            uses_exact_solution=True,
            detail=detail,
        )
    if start in lower:
        out["sampling_w1_realised_lower"] = Estimate(
            lower[start],
            Side.LOWER,
            Rigor.VERIFIED,
            f"at the start of the window: {known[start].method}",
            uses_exact_solution=True,
            detail=detail,
        )
    if anchors == [start]:
        initial = known[start]
        window, nodes = context.window, context.grid.flat
        growth, _ = window.primitive(_one_sided(solution, window))
        inside = nodes[-window.n_nodes :]
        learned = context.run.flow(inside, particles)
        coupled = np.mean(np.linalg.norm(learned - context.exact_particles[-len(inside) :], axis=2), axis=1)
        mismatch = coupled + np.exp(growth.ravel()) * initial.last()
        out["measure_w1"] = Estimate(
            np.concatenate([np.full(len(nodes) - len(inside), math.inf), mismatch]),
            Side.UPPER,
            Rigor.NUMERICAL,
            f"same-start coupling + exp(int one-sided Lip U) x {initial.method}",
            delta=initial.delta,
            uses_exact_solution=True,
            detail=detail,
        )
    return out


def _fresh(context: Context, solution: ExactSolution, t: float, moved: Array) -> Estimate:
    """W1 of a fixed cloud to f_t, by exact transport to fresh samples."""
    return expected_w1_upper(
        moved,
        lambda m, rng: solution.sample(t, m, rng),
        draws=DRAWS if len(moved) <= DENSE_LIMIT else FEW_DRAWS,
        delta=(1 - context.options.confidence) / 2 / len(_anchors(context, solution)),
        trace_covariance=float(np.trace(context.problem.initial.covariance())),
        rng=context.rng("w1 realised"),
    )


# --- along the exact flow ---------------------------------------------------------------------------------------------


def _law(solution: ExactSolution, t: float) -> RadialLaw | None:
    """The exact density at t, if it is known to be radial."""
    law = getattr(solution, "at", lambda _: None)(t)
    return law if isinstance(law, RadialLaw) else None


def _cells(context: Context) -> int:
    return QUICK_CELLS if context.options.quick else CELLS


def _one_sided(solution: ExactSolution, grid: TimeGrid) -> Array:
    return np.array([solution.drift_one_sided(t) for t in grid.flat])


def _anchors(context: Context, solution: ExactSolution) -> list[float]:
    """Times at which a distance is computed, the last being carried on by the flow: the start if it can, else also t1.

    Where the drift is not one-sided Lipschitz at the start (BKW in 2D from t = 0) the flow is from the first report
    time on.
    """
    first, second = float(context.times[0]), float(context.times[1])
    if np.isfinite(solution.drift_one_sided(first)):
        return [first]
    return [first, second] if np.isfinite(solution.drift_one_sided(second)) else []


def _carried(context: Context, solution: ExactSolution, at: Callable[[float], float]) -> Array:
    """A distance at the anchors, times the growth of the exact flow from the last one on, at the report times."""
    anchors = _anchors(context, solution)
    grid = context.window if len(anchors) == 1 else TimeGrid(context.times[1:])
    growth = NumericOps(grid).growth(_one_sided(solution, grid)).numbers()
    values = [at(t) for t in anchors]
    return np.concatenate([values[:-1], values[-1] * growth])


ESTIMATOR = Estimator(
    id="measure_distance",
    provides={
        "measure_w1": Side.UPPER,
        "sampling_w1": Side.UPPER,
        "sampling_w1_ot": Side.UPPER,
        "sampling_w1_explicit": Side.UPPER,
        "sampling_w1_realised": Side.UPPER,
        "sampling_w1_realised_lower": Side.LOWER,
        "sampling_w1_floor": Side.LOWER,
        "sampling_w1_paper": Side.NONE,
    },
    rigor=Rigor.EXACT,
    uses_exact_solution=True,
    compute=compute,
    why_not="the exact solution, with a drift that is one-sided Lipschitz from the start of the window on",
)
