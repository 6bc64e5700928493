"""Finding: a truncated Gaussian has flow defect 0 at every node and det J > 0, and yet the wrong law."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import quad
from scipy.special import ive
from scipy.stats import ncx2

from paper_checks.check import Check, Finding, Trial
from paper_checks.findings import WriteUp, refuted
from theory.drift import maxwell_drift
from theory.gronwall import LogValue, NumericOps, TimeGrid
from theory.hypotheses import NO_JUMP, STEIN
from theory.provenance import Array
from theory.theorem import Outcome
from theory.theorems import THEOREMS

_STRENGTH, _CUT, _END = 1 / 16, 1.5, 1.0


def temperature(cut: float) -> float:
    """E r^2/2 of the standard Gaussian cut at r = cut, d = 2."""
    mass = -math.expm1(-(cut**2) / 2)
    return 1 - cut**2 * math.exp(-(cut**2) / 2) / (2 * mass)


def start_law(cut: float) -> tuple[Array, Array]:
    """Radii and weights of |V_0|, Gaussian quadrature."""
    g, w = np.polynomial.legendre.leggauss(64)
    start = cut * (g + 1) / 2
    return start, w * cut / 2 * start * np.exp(-(start**2) / 2) / -math.expm1(-(cut**2) / 2)


def inside_exact(r: Array, a: float, cut: float) -> Array:
    """P(|V_t| <= r): given |V_0|, |V_t|^2/(T(1 - a^2)) is noncentral chi-squared."""
    noise = temperature(cut) * (1 - a * a)
    start, law = start_law(cut)
    return np.asarray(ncx2.cdf(r[:, None] ** 2 / noise, 2, (a * start) ** 2 / noise) @ law)


def radial_density(r: Array, a: float, cut: float) -> Array:
    """Density of |V_t| (Rician, the closed form of FACTS 1.5 before it is integrated)."""
    noise = temperature(cut) * (1 - a * a)
    start, law = start_law(cut)
    x = r[:, None]
    rician = x / noise * np.exp(-((x - a * start) ** 2) / (2 * noise)) * ive(0, x * a * start / noise)
    return np.asarray(rician @ law)


def distance(t: float, cut: float, nodes: int = 300) -> tuple[float, float, float]:
    """W2 between the learned and the exact law at t, their standard deviations per axis; monotone in the radius."""
    temp, c = temperature(cut), _STRENGTH
    a, learned = math.exp(-c * t), math.exp(-c * (1 - temp) * t)
    g, w = np.polynomial.legendre.leggauss(nodes)
    r = 3.5 * (g + 1)
    level = np.minimum(inside_exact(r, a, cut), 1.0)
    partner = learned * np.sqrt(-2 * np.log1p(level * math.expm1(-(cut**2) / 2)))
    square = 3.5 * float((w * radial_density(r, a, cut)) @ (partner - r) ** 2)
    return math.sqrt(square), learned * math.sqrt(temp), math.sqrt(temp)


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Defect at random points, distance by radial rearrangement, and the two tests that see it."""
    trial = Trial()
    temp = temperature(_CUT)
    second = (
        quad(lambda r: r**3 * math.exp(-r * r / 2), 0, _CUT)[0] / quad(lambda r: r * math.exp(-r * r / 2), 0, _CUT)[0]
    )
    trial.small(abs(second / 2 - temp), 1e-12, "temperature of the cut Gaussian")
    worst = 0.0
    for t in (0.0, 0.3, 1.0):
        factor = math.exp(-_STRENGTH * (1 - temp) * t)
        v = rng.uniform(-1, 1, (500, 2))
        x = factor * v[np.linalg.norm(v, axis=1) < _CUT]
        push = -x / factor**2
        u = maxwell_drift(_STRENGTH, x, push, np.zeros(2), factor**2 * temp * np.eye(2))
        worst = max(worst, float(np.max(np.abs(-_STRENGTH * (1 - temp) * x - u))))
    trial.small(worst, 1e-15, "flow defect at every node")
    # the exact law twice: its distribution function and its density, and what it must conserve
    a = math.exp(-_STRENGTH * _END)

    def radial(r: float) -> float:
        return float(radial_density(np.array([r]), a, _CUT)[0])

    for r in (0.4, 1.1, 1.7):
        inside = quad(radial, 0, r, epsrel=1e-10)[0]
        trial.small(abs(inside - float(inside_exact(np.array([r]), a, _CUT)[0])), 1e-8, "radial law of V_t")
    energy = quad(lambda r: r * r * radial(r), 0, 7, epsrel=1e-10)[0]
    trial.small(abs(energy / 2 - temp), 1e-8, "the exact law keeps its energy")
    gap = distance(_END, _CUT)[0] - distance(_END, _CUT, nodes=150)[0]
    trial.small(abs(gap), 1e-6, "quadrature of W2")
    truth, learned_sd, exact_sd = distance(_END, _CUT)
    trial.claim(
        truth >= exact_sd - learned_sd, "W2 is above the difference of standard deviations (Gelbrich, one axis)"
    )
    grid = TimeGrid(np.array([0.0, _END]))
    given = {i.id: 0.0 for i in THEOREMS["stability_w2"].ingredients}
    bound = sum(THEOREMS["stability_w2"].formula(NumericOps(grid), **given).values(), start=LogValue.of(0.0))
    claimed = float(bound.numbers()[-1])
    trial.claim(claimed == 0.0 and truth > 0.01, "S1 without its hypothesis says 0")
    stein = temp - 1  # E[s x] + 1 per axis for s = -x/factor^2
    facts: dict[str, object] = {"jump": (False, "f0 jumps on |v| = R")}
    trial.claim(NO_JUMP.verdict(facts).outcome is Outcome.FAILS, "the hypothesis 'no_jump' refuses it")
    facts = {"stein": np.array([abs(stein)]), "stein_error": np.zeros(1), "fact_times": np.zeros(1), "problem_t0": 0.0}
    trial.claim(STEIN.verdict(facts).outcome is Outcome.FAILS, "Stein's identity refuses it")
    others = ", ".join(f"{distance(_END, cut)[0]:.4f} (R = {cut:g})" for cut in ((2.0,) if quick else (1.0, 2.0, 2.5)))
    return refuted(
        trial,
        f"f0 = N(0, I) cut at R = {_CUT} in 2D, Maxwell, C = 1/16: T_R = E|v|^2/2 = {temp:.5f}, score -v inside; "
        f"learned flow T = exp(-C(1 - T_R) t) v: det J > 0, |d_t T - U[f~]| <= {worst:.0e} at every point of the "
        "support\n"
        f"S1 with D = 0 says W2 = {claimed:g}; the exact law (V_t = R_t(a V_0 + sqrt(T_R(1 - a^2)) Z)) is at W2 = "
        f"{truth:.4f} at t = 1; other cuts: {others}\n"
        f"the learned temperature falls to {learned_sd**2:.4f}, the exact one is conserved; Stein's identity E[s x^T] "
        f"= -I is off by 1 - T_R = {abs(stein):.4f} from t = 0 on",
    )


CHECK = Check(
    id="finding_zero_defect",
    statement="If d_t T = U[T_# f0] holds at every point of the support and det J > 0, then T_# f0 solves the "
    "equation.",
    source="THEORY 6.1, 6.2; section 5.3.4",
    how="numerical",
    expected="fails",
    run=run,
)

FINDING = WriteUp(
    CHECK,
    title="Zero residual, zero score error inside the support, wrong law: the truncated Gaussian",
    claim="A flow whose residual and score error vanish at every particle of a compactly supported density transports "
    "it exactly (the premise of section 5.3.4 and of any certificate that evaluates only inside the support).",
    repair="grad f~ = f~ s must hold as distributions: f0 must not jump (hypothesis 'no_jump'). Test Stein's "
    "identities E s = 0, E s x^T = -I, which fail here at t = 0 already. For truncated data start at t1 > 0 from the "
    "exact law, which is smooth.",
)
