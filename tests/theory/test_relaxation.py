"""The exact law of Maxwell molecules with covariance T I: against BKW, and against the nonlinear equation itself."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from theory import relaxation
from theory.kernels import maxwell, mollified_coulomb
from theory.problem import Problem
from theory.problems import PROBLEMS
from theory.quadrature import K15, on_panels

BKW = {
    "2d": PROBLEMS["bkw2d"](Fraction(1, 2), Fraction(5)),
    "2d-core": PROBLEMS["bkw2d"](Fraction(0), Fraction(5)),
    "3d": PROBLEMS["bkw3d"](Fraction(11, 2), Fraction(6)),
}
EVERY_BKW = pytest.mark.parametrize("problem", BKW.values(), ids=list(BKW))
SHARES = pytest.mark.parametrize("share", [1e-8, 1e-3, 0.1, 0.5, 1.0])


def at(problem: Problem, share: float) -> float:
    return float(problem.t0) + share * float(problem.T - problem.t0)


def on_axis(r: np.ndarray, d: int) -> np.ndarray:
    return r[:, None] * np.eye(d)[0]


@dataclass(frozen=True)
class Clusters:
    """Equal Gaussians of variance ``width`` at +-offset on every axis: covariance T I, not isotropic."""

    d: int
    offset: float = 1.2
    width: float = 0.1

    @property
    def centres(self) -> np.ndarray:
        return self.offset * np.concatenate([np.eye(self.d), -np.eye(self.d)])

    def log_density(self, v: np.ndarray) -> np.ndarray:
        exponent = -np.sum((v[..., None, :] - self.centres) ** 2, axis=-1) / (2 * self.width)
        return np.asarray(special.logsumexp(exponent, axis=-1)) - math.log(
            2 * self.d * (2 * math.pi * self.width) ** (self.d / 2)
        )

    def score(self, v: np.ndarray) -> np.ndarray:
        exponent = -np.sum((v[..., None, :] - self.centres) ** 2, axis=-1) / (2 * self.width)
        share = special.softmax(exponent, axis=-1)
        return np.asarray((share @ self.centres - v) / self.width)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.asarray(
            self.centres[rng.integers(2 * self.d, size=n)] + math.sqrt(self.width) * rng.standard_normal((n, self.d))
        )

    def mean(self) -> np.ndarray:
        return np.zeros(self.d)

    def covariance(self) -> np.ndarray:
        return (self.width + self.offset**2 / self.d) * np.eye(self.d)

    def tail_moment(self, radius: float, power: int) -> float:
        if power:
            raise NotImplementedError
        chi = stats.ncx2(self.d, self.offset**2 / self.width)
        return float(chi.sf(radius**2 / self.width))

    def score_growth(self, radius: float) -> tuple[float, float]:
        return self.offset / self.width, 1 / self.width

    def radial_edges(self) -> np.ndarray:
        return np.array([0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.2, 2.8, 4.0])

    def regularity(self) -> tuple[bool, str]:
        return True, "a sum of Gaussians"


def clusters(d: int) -> Problem:
    return Problem(
        id="clusters",
        title="Clusters on the axes",
        kernel=maxwell(d, 0.1),
        t0=Fraction(1),
        T=Fraction(3),
        initial=Clusters(d),
        exact=None,
        constants={},
        source="test",
    )


# --- against BKW --------------------------------------------------------------------------------------------------


@EVERY_BKW
@SHARES
def test_the_radial_law_is_that_of_bkw(problem: Problem, share: float) -> None:
    solution: Any = problem.exact
    law = relaxation.radial_law(problem, at(problem, share))
    r = np.concatenate([np.geomspace(1e-4, 0.1, 20), np.linspace(0.1, 9, 200)])
    outside = solution.radial_mass(at(problem, share), r)[1]
    assert law.survival(r) == pytest.approx(outside, rel=0, abs=1e-12)
    assert law.table(r) == pytest.approx(outside, rel=0, abs=1e-12)
    assert law.table.error < 1e-11


@EVERY_BKW
@SHARES
def test_the_density_is_that_of_bkw(problem: Problem, share: float) -> None:
    solution: Any = problem.exact
    v = on_axis(np.linspace(0, 8, 150), problem.d)
    exact = np.exp(solution.log_density(at(problem, share), v))
    assert relaxation.density(problem, at(problem, share), v) == pytest.approx(exact, rel=0, abs=1e-13)


@EVERY_BKW
def test_projections_and_means_of_radial_functions(problem: Problem) -> None:
    solution: Any = problem.exact
    t = at(problem, 0.6)
    law = relaxation.radial_law(problem, t)
    k, p, q = solution.coefficients(t)
    # one marginal of (P + Q r^2) N(0, K I) is (P + Q ((d-1) K + y^2)) N(0, K)
    y = np.linspace(-4, 4, 81)
    normal, above = stats.norm(scale=math.sqrt(k)).pdf(y), stats.norm(scale=math.sqrt(k)).sf(y)
    marginal = (p + q * (problem.d - 1) * k) * above + q * k * (y * normal + above)
    assert law.projected(y) == pytest.approx(marginal, rel=0, abs=1e-11)
    # E (u.V)^2 = T and E (u.V)^4 = 3 E|V|^4/(d(d+2))
    x, w, _ = (z.ravel() for z in on_panels(K15, np.linspace(0, 12, 40)))
    assert 2 * (w * 2 * x) @ law.projected(x) == pytest.approx(1.0, rel=1e-10)
    assert 2 * (w * 4 * x**3) @ law.projected(x) == pytest.approx(3 * k * (2 - k), rel=1e-10)
    edges = np.linspace(0, 12, 30)
    assert relaxation.radial_mean(law, lambda s: 2 * s, edges) == pytest.approx(problem.d, rel=1e-11)
    quartic = relaxation.radial_mean(law, lambda s: 4 * s**3, edges)
    assert quartic == pytest.approx(problem.d * (problem.d + 2) * k * (2 - k), rel=1e-11)


def test_at_the_start_it_is_the_initial_law() -> None:
    problem = BKW["2d"]
    r = np.linspace(0.1, 5, 30)
    law = relaxation.radial_law(problem, 0.5)
    solution: Any = problem.exact
    assert law.survival(r) == pytest.approx(solution.radial_mass(0.5, r)[1], abs=1e-13)
    assert relaxation.density(problem, 0.5, on_axis(r, 2)) == pytest.approx(
        np.exp(solution.log_density(0.5, on_axis(r, 2)))
    )


@pytest.mark.parametrize("order", [0.0, 1.0, 1.5])
def test_the_bessel_function_goes_over_into_its_expansion(order: float) -> None:
    z = np.array([1e-3, 1.0, 1e3, 1e6 * (1 - 1e-9), 1e6, 1e7, 1e8])
    assert relaxation.scaled_bessel(order, z) == pytest.approx(special.ive(order, z), rel=1e-12)
    assert np.isfinite(relaxation.scaled_bessel(order, np.array([1e12, 1e300]))).all()


# --- the rotation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.003, 0.2, 0.249, 0.251, 1.0, 4.0])
def test_the_turning_angle_has_the_characters_of_brownian_motion(spread: float) -> None:
    """E chi_l/(2l+1) = e^{-l(l+1) s}."""
    w, weights, _ = (x.ravel() for x in on_panels(K15, np.linspace(0, math.pi, 60)))
    density = relaxation.turning_density(spread, w)
    assert (density > -1e-13).all()
    assert weights @ density == pytest.approx(1, abs=1e-12)
    for degree in (1, 2, 3):
        character = np.sin((degree + 0.5) * w) / np.sin(w / 2) / (2 * degree + 1)
        decay = math.exp(-degree * (degree + 1) * spread)
        assert weights @ (density * character) == pytest.approx(decay, abs=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_rotations_are_rotations_and_turn_vectors_at_the_right_speed(d: int) -> None:
    rng = np.random.default_rng(5)
    spread, n = 0.15, 40_000
    turn = relaxation.random_rotations(d, spread, n, rng)
    assert np.abs(turn @ turn.swapaxes(1, 2) - np.eye(d)).max() < 1e-12
    assert np.abs(np.linalg.det(turn) - 1).max() < 1e-12
    # coordinates are harmonics of degree 1: eigenvalue d - 1; cos^2 - 1/d of degree 2: eigenvalue 2 d
    cosine = turn[:, 0, 0]
    assert cosine.mean() == pytest.approx(math.exp(-(d - 1) * spread), abs=5 * cosine.std() / math.sqrt(n))
    second = (cosine**2 - 1 / d) / (1 - 1 / d)
    assert second.mean() == pytest.approx(math.exp(-2 * d * spread), abs=5 * second.std() / math.sqrt(n))
    assert relaxation.random_rotations(d, 0.0, 3, rng) == pytest.approx(np.broadcast_to(np.eye(d), (3, d, d)))


# --- against the nonlinear equation, anisotropic data -------------------------------------------------------------


def law_nodes(problem: Problem, t: float, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature exact for quartics under the claimed law of ``clusters(2)``; ``turn``: angle variance / (C (t-t0))."""
    initial: Any = problem.initial
    a, b = relaxation.scales(problem, t)
    x, w = np.polynomial.hermite_e.hermegauss(20)
    w = w / w.sum()
    g, h = np.polynomial.hermite_e.hermegauss(3)
    h = h / h.sum()
    angle = math.sqrt(turn * problem.kernel.strength * (t - float(problem.t0))) * x
    sigma = math.sqrt(a * a * initial.width + b * b)
    nodes, weights = [], []
    for theta, p in zip(angle, w, strict=True):
        rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
        for centre in initial.centres @ rotation.T:
            for i in range(3):
                for j in range(3):
                    nodes.append(a * centre + sigma * np.array([g[i], g[j]]))
                    weights.append(p / 4 * h[i] * h[j])
    return np.array(nodes), np.array(weights)


QUARTICS = {
    "x^4": (lambda x, y: x**4, lambda x, y: (4 * x**3, 0 * x), lambda x, y: (12 * x * x, 0 * x, 0 * x)),
    "x^2 y^2": (
        lambda x, y: x * x * y * y,
        lambda x, y: (2 * x * y * y, 2 * x * x * y),
        lambda x, y: (2 * y * y, 4 * x * y, 2 * x * x),
    ),
}


def weak_error(turn: float, name: str, t: float) -> float:
    """d/dt E phi less the weak collision operator, from the pair kernel: no moment is inserted."""
    problem = clusters(2)
    phi, gradient, hessian = QUARTICS[name]
    v, w = law_nodes(problem, t, turn)
    z = v[:, None] - v
    matrix = np.einsum("nmij,m->nij", problem.kernel.matrix(z), w)
    friction = np.einsum("nmi,m->ni", problem.kernel.divergence(z), w)
    (gx, gy), (xx, xy, yy) = gradient(*v.T), hessian(*v.T)
    second = matrix[:, 0, 0] * xx + 2 * matrix[:, 0, 1] * xy + matrix[:, 1, 1] * yy
    weak = w @ (second + 2 * (friction[:, 0] * gx + friction[:, 1] * gy))
    step = 1e-3
    ends = [float(p @ phi(*x.T)) for x, p in (law_nodes(problem, t + s * step, turn) for s in (-2, -1, 1, 2))]
    derivative = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
    return abs(derivative - float(weak))


@pytest.mark.parametrize("name", QUARTICS)
@pytest.mark.parametrize("t", [1.1, 1.6])
def test_the_law_solves_the_nonlinear_equation_and_only_at_this_speed_of_rotation(name: str, t: float) -> None:
    assert weak_error(2.0, name, t) < 1e-9
    assert weak_error(1.0, name, t) > 1e-3
    assert weak_error(4.0, name, t) > 1e-3


@pytest.mark.parametrize("d", [2, 3])
def test_samples_have_the_moments_of_order_four(d: int) -> None:
    """Sum x_i^4 less its isotropic part is harmonic of degree 4: it decays with rate 4 c + C 4 (4 + d - 2)."""
    problem, t, n = clusters(d), 1.4, 100_000
    initial: Any = problem.initial
    x = relaxation.sample(problem, t, n, np.random.default_rng(11))
    r2 = np.sum(x * x, axis=1)
    harmonic = np.sum(x**4, axis=1) - 3 / (d + 2) * r2**2
    start = initial.offset**4 * (1 - 3 / (d + 2))
    rate = 4 * problem.kernel.friction + problem.kernel.strength * 4 * (2 + d)
    expected = start * math.exp(-rate * 0.4)
    assert harmonic.mean() == pytest.approx(expected, abs=4.5 * harmonic.std() / math.sqrt(n))
    assert expected > 20 * harmonic.std() / math.sqrt(n)
    assert x.mean(axis=0) == pytest.approx(np.zeros(d), abs=0.01)
    assert np.cov(x.T) == pytest.approx(initial.covariance(), abs=0.01)
    law = relaxation.radial_law(problem, t)
    r = np.sort(np.sqrt(r2))
    gap = np.abs(1 - law.table(r) - (np.arange(n) + 0.5) / n).max()
    assert gap < 2.0 / math.sqrt(n)  # Kolmogorov: exceeded with probability 7e-4


# --- refusals -----------------------------------------------------------------------------------------------------


def test_what_the_law_does_not_cover_is_refused() -> None:
    problem = clusters(2)

    class Stretched(Clusters):
        def covariance(self) -> np.ndarray:
            return np.diag([1.0, 1.1])

    with pytest.raises(ValueError, match="covariance T I"):
        relaxation.scales(replace(problem, initial=Stretched(2)), 2.0)
    with pytest.raises(ValueError, match="Maxwell"):
        relaxation.scales(replace(problem, kernel=mollified_coulomb(2, 0.1, 0.5)), 2.0)
    with pytest.raises(ValueError, match="before the start"):
        relaxation.scales(problem, 0.5)
    with pytest.raises(ValueError, match="isotropic"):
        relaxation.density(problem, 2.0, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="2 and 3"):
        relaxation.random_rotations(4, 0.1, 2, np.random.default_rng(0))
