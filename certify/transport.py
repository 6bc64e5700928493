r"""Wasserstein distances between point clouds, as enclosures; and what fresh samples say about a law.

Two uniform clouds of n points: the LP is solved by network simplex and believed in nothing but its permutation.

* Upper end: cost of that permutation, checked to be one.
* Lower end: for *any* vector v, :math:`\varphi_i = \min_j (c_{ij} - v_j)` and
  :math:`\psi_j = \min_i (c_{ij} - \varphi_i)` satisfy :math:`\varphi_i + \psi_j \le c_{ij}`, so that
  :math:`\operatorname{mean} \varphi + \operatorname{mean} \psi` is below the optimum: the solver's dual v may be wrong,
  the bound cannot. The computed :math:`\varphi` is a vector of floats like any other, hence only the rounding of
  :math:`\psi` counts. Or the distance of the means, if that is larger (Jensen; sharp for translations).

Rounding, unit u = 2^-53, D the diameter: a distance of scipy's ``cdist`` (differences, not the Gram trick) is exact up
to a relative (d+4)/2 u, a squared one up to (d+2) u, the subtraction in :math:`\psi` up to u (D^p + max|phi|), and a
minimum of perturbed numbers moves no more than they do. The margins are larger than these sums. Clouds are first scaled
by a power of two to diameter about 1, which is exact, so that results are equivariant under such scalings.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import stdtrit

from theory.provenance import Array, Estimate, Rigor, Side

Draw = Callable[[int, np.random.Generator], Array]
Indices = NDArray[np.intp]

DENSE_LIMIT = 3000  # above: column generation; the dense simplex needs 39 bytes a pair
NEIGHBOURS = 15  # arcs per point of the first sparse graph, both ways
NEW_ARCS = 6  # most violated arcs added per point and round
ROUNDS = 60  # of column generation; 4 to 10 are usual
VIOLATION = 1e-11  # of a dual constraint that counts, relative to the diameter
CHUNK = 4_000_000  # pairs in memory at a time
LARGEST = 1e150  # coordinates whose squares are finite
UNIT = 2.0**-53
TINY = 1e-150  # more than underflow can take from a distance
TAIL = 0.001  # nominal level of `resolved`

METRIC = {1: "euclidean", 2: "sqeuclidean"}
RESULT_CODE = {0: "infeasible", 1: "optimal", 2: "unbounded", 3: "iteration limit reached"}


class NotOptimalError(RuntimeError):
    """The transport problem was not solved to optimality: there is no number to report."""


@dataclass(frozen=True)
class Enclosure:
    """An interval that contains the quantity, rounding included.

    Parameters
    ----------
    lower, upper : float
        Finite ends, lower <= upper.
    method : str
        One line naming the method.
    """

    lower: float
    upper: float
    method: str

    def __post_init__(self) -> None:
        if not -math.inf < self.lower <= self.upper < math.inf:
            raise ValueError(f"[{self.lower}, {self.upper}] is not a finite interval ({self.method})")

    @property
    def width(self) -> float:
        """Upper minus lower end."""
        return self.upper - self.lower


def exact_w1(x: Array, y: Array, *, max_iterations: int = 10**9) -> Enclosure:
    """Enclosure of the 1-Wasserstein distance of two uniform clouds of equal size.

    Parameters
    ----------
    x, y : ndarray of shape (n, d)
        The clouds, float64.
    max_iterations : int
        Pivots of one network simplex run.

    Returns
    -------
    Enclosure, of relative width about 1e-12.

    Raises
    ------
    ValueError
        On clouds of different or wrong shape, of another dtype, not finite or too large to square.
    NotOptimalError
        If the linear programme did not finish.
    """
    return _enclose(x, y, 1, max_iterations)


def exact_w2(x: Array, y: Array, *, max_iterations: int = 10**9) -> Enclosure:
    """Enclosure of the 2-Wasserstein distance (not its square) of two uniform clouds of equal size.

    Parameters and errors as for `exact_w1`. The margin is absolute for the square: of clouds closer than about
    1e-7 diameters only the distance of the means is still seen from below.
    """
    return _enclose(x, y, 2, max_iterations)


def expected_w1_upper(
    points: Array, draw: Draw, *, draws: int, delta: float, trace_covariance: float, rng: np.random.Generator
) -> Estimate:
    r"""Upper bound of W1 between one fixed cloud and a law that can be sampled.

    W1 is convex and f is the mean of its empirical measures, hence
    :math:`W_1(\mu_N, f) \le g := E' W_1(\mu_N, \mu'_N)`. Moving one of the n sample points by h moves W1 by at most
    :math:`|h|/n`, so by Efron and Stein a single value has variance at most
    :math:`\tfrac12 n E|Y - Y'|^2 / n^2 = \operatorname{tr}\Sigma / n` (equality for a cloud far away on a line), and by
    Chebyshev the mean of the draws falls short of g by :math:`\sqrt{\operatorname{tr}\Sigma / (n\,draws\,\delta)}`
    with probability at most delta; with enough draws Catoni's estimator falls short by less (`catoni_deviation`).

    Parameters
    ----------
    points : ndarray of shape (n, d)
        The fixed cloud. ``np.repeat(points, k, axis=0)`` is the same measure compared with larger samples: both the
        bias and the deviation shrink.
    draw : callable
        ``draw(n, rng)`` returns (n, d) float64: n independent points *exactly* of law f, independent of the cloud
        and of earlier calls.
    draws : int
        Independent samples.
    delta : float
        Failure probability, in (0, 1).
    trace_covariance : float
        Trace of the covariance of f, or an upper bound of it. An assumption of the claim: it is not checked.
    rng : numpy Generator
        Passed to `draw` and to nothing else.

    Returns
    -------
    Estimate, UPPER and STATISTICAL. It is biased upwards by at most E W1(mu'_n, f), which does not vanish with more
    draws.

    References
    ----------
    Boucheron, Lugosi, Massart, Concentration Inequalities, Theorem 3.1 (Efron and Stein).
    """
    check_statistics(draws, delta, trace_covariance)
    check_cloud("points", points)
    values = [exact_w1(points, draw(len(points), rng)).upper for _ in range(draws)]
    return confident_mean(values, len(points), trace_covariance, delta, "W1(cloud, law) <= E' W1(cloud, fresh sample)")


def expected_empirical_w1_upper(
    draw: Draw, n: int, *, draws: int, delta: float, trace_covariance: float, rng: np.random.Generator
) -> Estimate:
    r"""Upper bound of E W1(mu_n, f), mu_n the empirical measure of n independent points of law f.

    By the convexity of `expected_w1_upper`, :math:`E W_1(\mu_n, f) \le E W_1(\mu_n, \mu'_n)` over independent pairs.
    A pair depends on 2n points, each moved at the price :math:`|h|/n`: its variance is at most
    :math:`\tfrac12 2n E|Y - Y'|^2 / n^2 = 2 \operatorname{tr}\Sigma / n`, and Chebyshev or Catoni do the rest.
    The claim is about the expectation, not about one realised sample.

    Parameters
    ----------
    n : int
        Points of the empirical measure.
    draw, draws, delta, trace_covariance, rng
        As in `expected_w1_upper`; `draws` counts the pairs.

    Returns
    -------
    Estimate, UPPER and STATISTICAL.
    """
    check_statistics(draws, delta, trace_covariance)
    _check_count("n", n)
    values = [exact_w1(draw(n, rng), draw(n, rng)).upper for _ in range(draws)]
    return confident_mean(
        values, n, 2.0 * trace_covariance, delta, "E W1(sample, law) <= E W1 of two independent samples"
    )


def resolved(between: Enclosure, floor: Sequence[Enclosure]) -> tuple[bool, str]:
    """Whether the W1 of two clouds stands out of the noise floor: an indicator, not a bound.

    If both clouds were independent samples of one law, `between` would be one more draw of the floor. It is resolved
    if its lower end exceeds every draw of the floor (by chance at most once in m + 1 times, whatever the law) and their
    prediction limit mean + t s sqrt(1 + 1/m), t the 99.9 % quantile of Student's law with m - 1 degrees of freedom.
    The fluctuations are skewed, not normal: on Gaussians (d = 1, 2, 3; n = 100 to 400; m = 3 to 20) false alarms were
    0.1 to 1.2 %.

    Parameters
    ----------
    between : Enclosure
        W1 of the two clouds, n points each.
    floor : sequence of Enclosure
        W1 of m >= 2 independent pairs of exact samples of n points each.

    Returns
    -------
    bool, and 'resolved' or 'not resolved: ...' with the mean and the standard deviation of one draw of the floor.
    """
    m = len(floor)
    if m < 2:
        raise ValueError(f"a noise floor needs at least 2 draws, got {m}")
    uppers = [e.upper for e in floor]
    mean = math.fsum(uppers) / m
    spread = math.sqrt(math.fsum((w - mean) ** 2 for w in uppers) / (m - 1))
    limit = mean + float(stdtrit(m - 1, 1.0 - TAIL)) * spread * math.sqrt(1.0 + 1.0 / m)
    if between.lower > max(limit, *uppers):
        return True, "resolved"
    return False, f"not resolved: {between.lower:.3g} against a noise floor of {mean:.3g} +- {spread:.1g}"


# --- validation -------------------------------------------------------------------------------------------------------


def check_cloud(name: str, z: Array) -> None:
    """Refuse what is not a finite float64 array of shape (n, d)."""
    if not isinstance(z, np.ndarray) or z.dtype != np.float64:
        raise ValueError(f"{name} must be a float64 array, got {getattr(z, 'dtype', type(z).__name__)}")
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"{name} must have shape (n, d) with n, d >= 1, got {z.shape}")
    if not np.isfinite(z).all():
        raise ValueError(f"{name} of shape {z.shape} has {int((~np.isfinite(z)).sum())} entries that are not finite")
    if np.abs(z).max() > LARGEST:
        raise ValueError(f"{name} has the coordinate {np.abs(z).max():.3g}, whose square overflows")


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_statistics(draws: int, delta: float, trace_covariance: float) -> None:
    """Refuse settings under which no confidence bound exists."""
    _check_count("draws", draws)
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must be in (0, 1), got {delta!r}")
    if not 0.0 <= trace_covariance < math.inf:
        raise ValueError(f"trace_covariance must be finite and not negative, got {trace_covariance!r}")


# --- statistics -------------------------------------------------------------------------------------------------------


def confident_mean(values: Sequence[float], n: int, trace: float, delta: float, method: str) -> Estimate:
    """Upper confidence bound of the mean of independent variables of variance at most trace / n.

    Chebyshev about the mean, or Catoni about his estimator: whichever has the smaller deviation, which is known before
    a value is seen, so that nothing is paid for the choice. Both increase with every value: upper bounds of the
    variables serve as well.
    """
    draws = len(values)
    mean = math.fsum(values) / draws
    deviation = math.sqrt(trace / (n * draws * delta))
    centre, inequality = mean, "Chebyshev"
    other = catoni_deviation(trace / n, draws, delta)
    if other < deviation:
        centre, deviation, inequality = _catoni(values, trace / n, delta), other, "Catoni"
    return Estimate(
        (centre + deviation) * (1.0 + 16.0 * UNIT),
        Side.UPPER,
        Rigor.STATISTICAL,
        f"{method}; {draws} transports at n = {n}, Efron-Stein and {inequality}",
        delta=delta,
        detail={
            "n": n,
            "draws": draws,
            "mean": mean,
            "deviation": deviation,
            "assumes": "independent exact samples of the law; trace of its covariance at most the value given",
        },
    )


def catoni_deviation(variance: float, draws: int, delta: float) -> float:
    r"""What Catoni's estimator of a mean falls short of it by, at most, except with probability delta.

    With :math:`\log(1/\delta) = l`, v the variance's bound and :math:`\psi(x) = \log(1 + x + x^2/2)` for x >= 0, odd:
    :math:`-\psi(x) \le \log(1 - x + x^2/2)` and Markov give, for any fixed :math:`\theta` and z = mean - theta,
    :math:`\sum \psi(\alpha(x_i - \theta)) \ge n(\alpha z - \alpha^2 (v + z^2)/2) - l` except with probability delta. At
    the z that makes the right-hand side 0 the estimator, being the root of the decreasing left-hand side, is at least
    mean - z. With the best alpha, z = sqrt(2 l v / (n - 2 l)); there is none, hence no bound, if n <= 2 l.

    References
    ----------
    Catoni, Challenging the empirical mean and empirical variance, Ann. IHP 48 (2012).
    """
    log = math.log(1.0 / delta)
    return math.sqrt(2.0 * log * variance / (draws - 2.0 * log)) if draws > 2.0 * log else math.inf


def _catoni(values: Sequence[float], variance: float, delta: float) -> float:
    """Catoni's estimator for `catoni_deviation`, from above."""
    x = np.asarray(values, dtype=np.float64)
    log, n = math.log(1.0 / delta), len(x)
    if variance == 0.0:
        return float(x.max())
    alpha = math.sqrt(2.0 * log / (n * variance * (1.0 + 2.0 * log / (n - 2.0 * log))))

    def total(theta: float) -> float:
        z = alpha * (x - theta)
        return float((np.sign(z) * np.log1p(np.abs(z) + z * z / 2.0)).sum())

    low, high = float(x.min()), float(x.max())
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if total(middle) > 0.0 else (low, middle)
    return high


# --- enclosure --------------------------------------------------------------------------------------------------------


def _enclose(x: Array, y: Array, power: int, max_iterations: int) -> Enclosure:
    check_cloud("x", x)
    check_cloud("y", y)
    if x.shape != y.shape:
        raise ValueError(f"clouds must have equal shapes, got {x.shape} and {y.shape}")
    _check_count("max_iterations", max_iterations)
    n, d = x.shape
    diameter = _diameter(x, y)
    exponent = math.frexp(diameter)[1] if diameter > TINY else 0
    x, y = np.ldexp(x, -exponent), np.ldexp(y, -exponent)
    dense = n <= DENSE_LIMIT
    perm, v = (_solve_dense if dense else _solve_sparse)(x, y, power, max_iterations)
    low, high = _lower(x, y, v, power), _upper(x, y, perm, power)
    if power == 2:
        low, high = math.sqrt(low) * (1.0 - 4.0 * UNIT), math.sqrt(high) * (1.0 + 4.0 * UNIT)
    low = max(low, _shift(x, y))
    return Enclosure(
        math.ldexp(low, exponent),
        math.ldexp(high, exponent),
        f"exact W{power}, n = {n}, d = {d}: {'dense' if dense else 'sparse'} network simplex, c-transform below",
    )


def _diameter(x: Array, y: Array) -> float:
    """Upper bound of the distances: the diagonal of the box around both clouds."""
    sides = np.maximum(x.max(0), y.max(0)) - np.minimum(x.min(0), y.min(0))
    return 1.0001 * float(np.linalg.norm(sides))


def _upper(x: Array, y: Array, perm: Indices, power: int) -> float:
    """Mean cost of a permutation, rounded up."""
    n, d = len(x), int(x.shape[1])
    if not np.array_equal(np.sort(perm), np.arange(n)):
        raise NotOptimalError(f"the plan between {n} and {n} points is not a permutation")
    if np.array_equal(x, y[perm]):
        return 0.0
    squares: Array = ((x - y[perm]) ** 2).sum(1)
    costs = np.sqrt(squares) if power == 1 else squares
    return math.fsum(costs.tolist()) / n * (1.0 + (2 * d + 13) * UNIT) + TINY


def _lower(x: Array, y: Array, v: Array, power: int) -> float:
    """Dual value of the double c-transform of any finite v, rounded down."""
    n, d = len(x), int(x.shape[1])
    phi = _c_transform(x, y, v, power)
    psi = _c_transform(y, x, phi, power)
    value = math.fsum(chain(phi.tolist(), psi.tolist())) / n
    largest = float(np.abs(phi).max())
    eta = 2.0 * UNIT * ((d + 5) * _diameter(x, y) ** power + 2.0 * largest) + TINY
    return max(0.0, value - eta - 4.0 * UNIT * abs(value))


def _shift(x: Array, y: Array) -> float:
    """Distance of the means, rounded down: below every Wasserstein distance."""
    shift = [math.fsum(chain(a, b)) / len(x) for a, b in zip(x.T.tolist(), (-y).T.tolist(), strict=True)]
    return max(0.0, math.hypot(*shift) * (1.0 - 16.0 * UNIT) - TINY)


def _c_transform(x: Array, y: Array, v: Array, power: int) -> Array:
    """The vector min_j |x_i - y_j|^power - v_j."""
    return np.concatenate([(cost - v).min(axis=1) for _, cost in _cost_rows(x, y, power)])


def _cost_rows(x: Array, y: Array, power: int) -> Iterator[tuple[slice, Array]]:
    """The cost matrix in blocks of rows. Never by the Gram trick: near coincidence it loses half the digits."""
    rows = max(1, CHUNK // len(y))
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        yield part, cdist(x[part], y, METRIC[power])


# --- linear programme -------------------------------------------------------------------------------------------------


def _solve_dense(x: Array, y: Array, power: int, max_iterations: int) -> tuple[Indices, Array]:
    """Permutation and a dual vector for y from the full cost matrix."""
    perm, _, v = _network_simplex(cdist(x, y, METRIC[power]), max_iterations)
    return perm, v


def _solve_sparse(x: Array, y: Array, power: int, max_iterations: int) -> tuple[Indices, Array]:
    """The same from a graph of near neighbours, to which violated arcs are added until there are none.

    The tolerance of a violation costs width, not validity: both ends are rebuilt from scratch by the caller.
    """
    n, here = len(x), np.arange(len(x))
    near = min(NEIGHBOURS, n)
    forth = here[:, None] * n + cKDTree(y).query(x, near)[1].reshape(n, near)
    back = here[:, None] + cKDTree(x).query(y, near)[1].reshape(n, near) * n
    arcs = np.unique(np.concatenate([forth.ravel(), back.ravel(), here * n + _some_matching(x, y)]))
    for _ in range(ROUNDS):
        i, j = np.divmod(arcs, n)
        cost = ((x[i] - y[j]) ** 2).sum(1)
        # explicit zeros stay: an arc between coincident points is free, not absent
        graph = coo_array((np.sqrt(cost) if power == 1 else cost, (i, j)), shape=(n, n))
        perm, u, v = _network_simplex(graph, max_iterations)
        i, j = _violated(x, y, u, v, power)
        j_too, i_too = _violated(y, x, v, u, power)
        new = np.setdiff1d(np.concatenate([i * n + j, i_too * n + j_too]), arcs)
        if not new.size:
            return perm, v
        arcs = np.union1d(arcs, new)
    raise NotOptimalError(f"arcs between {n} and {n} points still violate the dual after {ROUNDS} rounds")


def capacitated(x: Array, y: Array, rounds: int, max_iterations: int = 10**9) -> tuple[Indices, Array]:
    """A cheap transport of M unit masses at x to N sinks at y of M / N units each, and a dual vector of the sinks.

    Column generation as for clouds, but unfinished generation is no failure: the plan is feasible whatever arcs are
    missing, only dearer than it need be.

    Parameters
    ----------
    x, y : ndarray of shape (M, d) and (N, d)
        M a multiple of N; of diameter about 1.
    rounds : int
        Linear programmes solved at most.

    Returns
    -------
    owner : ndarray (M,)
        The sink of each unit; every sink occurs exactly M / N times.
    v : ndarray (N,)
        Dual of the sinks, optimal if the generation has ended.

    Raises
    ------
    NotOptimalError
        If a linear programme did not finish, or what came out of it is no such plan.
    """
    m, n = len(x), len(y)
    if m % n:
        raise ValueError(f"{m} units cannot be shared evenly among {n} sinks")
    copies = m // n
    near = min(NEIGHBOURS, n)
    back = min(2 * copies, m)
    forth = np.arange(m)[:, None] * n + cKDTree(y).query(x, near)[1].reshape(m, near)
    home = cKDTree(x).query(y, back)[1].reshape(n, back) * n + np.arange(n)[:, None]
    some = np.arange(m) * n + _some_matching(x, np.repeat(y, copies, axis=0), copies) // copies
    arcs = np.unique(np.concatenate([forth.ravel(), home.ravel(), some]))
    owner, v = np.zeros(m, dtype=np.intp), np.zeros(n)
    for left in range(rounds, 0, -1):
        i, j = np.divmod(arcs, n)
        graph = coo_array((np.sqrt(((x[i] - y[j]) ** 2).sum(1)), (i, j)), shape=(m, n))
        plan, u, v = _flow(graph, np.ones(m), np.full(n, float(copies)), max_iterations)
        owner = np.full(m, -1, dtype=np.intp)
        owner[plan.row] = plan.col
        if len(plan.row) != m or not (plan.data == 1.0).all() or (np.bincount(owner, minlength=n) != copies).any():
            raise NotOptimalError(f"the plan from {m} units to {n} sinks does not have these marginals")
        if left > 1:
            i, j = _violated(x, y, u, v, 1)
            new = np.setdiff1d(i * n + j, arcs)
            if not new.size:
                break
            arcs = np.union1d(arcs, new)
    return owner, v


def _network_simplex(cost: Any, max_iterations: int) -> tuple[Indices, Array, Array]:
    """Permutation and duals of the assignment problem; the cost is dense or a sparse graph.

    Unit masses, not 1/n: flows of the simplex are then integers and exact.
    """
    n = cost.shape[0]
    mass = np.ones(n)
    plan, u, v = _flow(cost, mass, mass, max_iterations)
    perm = np.full(n, -1, dtype=np.intp)
    perm[plan.row] = plan.col
    if len(plan.row) != n or not (plan.data == 1.0).all():  # that perm is one, `_upper` checks
        raise NotOptimalError(f"the plan between {n} and {n} points is not a permutation")
    return perm, u, v


def _flow(cost: Any, sources: Array, sinks: Array, max_iterations: int) -> tuple[Any, Array, Array]:
    """Optimal plan (its positive entries, COO) and duals of a transport problem with integer masses, by POT."""
    os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")
    os.environ.setdefault("POT_BACKEND_DISABLE_JAX", "1")
    import ot  # seconds to import, and no one should pay who does not transport

    size = f"{len(sources)} to {len(sinks)} points"
    with warnings.catch_warnings():  # POT only warns where this raises
        warnings.simplefilter("ignore", UserWarning)
        plan, log = ot.emd(sources, sinks, cost, numItermax=max_iterations, log=True)
    if log["result_code"] != 1:
        reason = RESULT_CODE.get(log["result_code"], f"result code {log['result_code']}")
        raise NotOptimalError(f"exact transport of {size}: {reason} (max_iterations = {max_iterations})")
    u, v = np.asarray(log["u"], dtype=np.float64), np.asarray(log["v"], dtype=np.float64)
    if not (np.isfinite(u).all() and np.isfinite(v).all()):
        raise NotOptimalError(f"the dual of the transport of {size} is not finite")
    plan = coo_array(plan)
    used = plan.data != 0.0
    return coo_array((plan.data[used], (plan.row[used], plan.col[used])), shape=plan.shape), u, v


def _violated(x: Array, y: Array, u: Array, v: Array, power: int) -> tuple[Indices, Indices]:
    """Per point of x, the arcs (i, j) with the most negative c_ij - u_i - v_j."""
    sources, targets = [], []
    keep = min(NEW_ARCS, len(y))
    for part, cost in _cost_rows(x, y, power):
        cost -= v
        rows = np.flatnonzero(cost.min(axis=1) - u[part] < -VIOLATION)
        slack = cost[rows] - u[part][rows, None]
        worst = np.argpartition(slack, keep - 1, axis=1)[:, :keep]
        row, column = np.nonzero(np.take_along_axis(slack, worst, axis=1) < -VIOLATION)
        sources.append(rows[row] + part.start)
        targets.append(worst[row, column])
    return np.concatenate(sources), np.concatenate(targets)


def _some_matching(x: Array, y: Array, leaf: int = 1) -> Indices:
    """A permutation of moderate cost by common median splits down to `leaf` points: makes the sparse graph feasible."""
    match = np.empty(len(x), dtype=np.intp)
    stack = [(np.arange(len(x)), np.arange(len(x)))]
    while stack:
        i, j = stack.pop()
        if len(i) <= leaf:
            match[i] = j
            continue
        axis = int(np.argmax(np.ptp(np.concatenate([x[i], y[j]]), axis=0)))
        half = len(i) // 2
        i, j = i[np.argpartition(x[i, axis], half)], j[np.argpartition(y[j, axis], half)]
        stack += [(i[:half], j[:half]), (i[half:], j[half:])]
    return match
