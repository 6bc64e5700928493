"""The hypotheses of the certificates and their checks. Facts are gathered by ``certify``; here they are only judged.

Facts used (times are those of ``fact_times``, ascending):

========================  ==============================================================================
smooth                    bool: the flow network is C^2 by its architecture
diffeomorphism            bool: det J > 0 and properness hold by construction
fact_times                array (n,): times at which the sampled facts were taken
min_det                   array (n,): smallest det J over the nodes, declared degenerate points excepted
proper_growth             array (n,): smallest |T(10 R w)| / |T(R w)| over sampled rays w far out
identity_beyond           float or None: beyond this |v - mean| the flow rests by construction
fold                      (float, float) or None: smallest |v - mean| of a node with det J <= 0, mass of f0 beyond it
identity_gap              float: max |T(t0, v) - v| over the nodes
jump                      (bool, str): whether the initial density is free of jumps, and why
stein                     array (n,): largest entry of the two Stein residuals
stein_error               array (n,): their quadrature error estimates
score_lipschitz           array (n,): Lip of the exact score (oracle)
score_lipschitz_start     float: Lip of the exact score at the start of the problem; inf where it is unbounded
max_radius                float: largest |position| of the particles seen, learned and reference
radius                    float: the radius R of the ball
training_particles        bool: whether the particles were used in training
covariance_gap            float: |Sigma(t0) - T I| / T, T = tr Sigma / d
chi2_decay                array (n,): smallest -2 T s_push.z/|z|^2 in the outermost panel; 1 = weight f~^2/M constant
chi2_bound                array (n,): 2 T / (b^2 K), |T(t, v)| <= a + b|v|, f0's tail no wider than a Gaussian's of K
problem_t0                float: start of the certificate's window
expected_outside          float: N times the largest mass of f_t outside the ball (oracle)
fisher_initial            float: Fisher information of the initial density (upper value)
stability                 Verdict: S1's and S2's hypotheses together
density_curvature         array: L2 norms of second derivatives of f_t (oracle)
========================  ==============================================================================
"""

from __future__ import annotations

import numpy as np

from theory.problem import COVARIANCE_TOLERANCE
from theory.provenance import Array
from theory.theorem import Facts, Hypothesis, Verdict

STEIN_TOLERANCE = 1e-2
LIGHT = 1e-3  # mass of a tail that may be replaced at little cost


def _last_good(times: Array, good: np.ndarray, start: float) -> float:
    """Last time before the first failing one; the start of the window where the first sampled time already fails."""
    first = int(np.argmin(good))
    return float(times[first - 1]) if first > 0 else start


def _smooth(facts: Facts) -> Verdict:
    if facts["smooth"]:
        return Verdict.holds("every activation of the flow is C-infinity")
    return Verdict.fails("the flow has an activation that is not C^2")


def _orientation(facts: Facts) -> Verdict:
    if facts.get("diffeomorphism"):
        return Verdict.holds("det J > 0 everywhere by construction (spectrally certified residual blocks)")
    low, times = facts["min_det"], facts["fact_times"]
    good = low > 0
    if good.all():
        return Verdict.unknown(f"det J > 0 at every node of every time (smallest {low.min():.3g}), not between them")
    bad = int(np.argmin(good))
    until = _last_good(times, good, facts["problem_t0"])
    where = ""
    if facts.get("fold") is not None:
        radius, mass = facts["fold"]
        where = f", at |v| = {radius:.3g} or beyond, where f0 has mass {mass:.1g}"
        if mass < LIGHT:
            where += "; --tail R, with R about half of that, judges the flow without it"
    return Verdict.fails(f"det J = {low[bad]:.3g} <= 0 at a node at t = {times[bad]:.4g}: the flow folds{where}", until)


def _proper(facts: Facts) -> Verdict:
    if facts.get("diffeomorphism"):
        return Verdict.holds("|T(t, v)| -> infinity by construction (bounded blocks on an expanding linear part)")
    if facts.get("identity_beyond") is not None:
        return Verdict.holds(f"T(t, v) = v beyond |v| = {facts['identity_beyond']:.3g} by construction")
    growth, times = facts["proper_growth"], facts["fact_times"]
    good = ~(growth <= 1)  # nan: the flow could not be followed that far
    if np.isnan(growth).any() and good.all():
        return Verdict.unknown("the flow could not be followed along every sampled ray far out")
    if good.all():
        return Verdict.unknown(f"|T| grows along every sampled ray far out (smallest ratio {growth.min():.3g})")
    bad = int(np.argmin(good))
    until = _last_good(times, good, facts["problem_t0"])
    return Verdict.fails(f"|T| does not grow along a ray far out at t = {times[bad]:.4g}: T is not proper", until)


def _identity(facts: Facts) -> Verdict:
    gap = facts["identity_gap"]
    if gap == 0.0:
        return Verdict.holds("T(t0, v) = v exactly at every node")
    if gap <= 1e-12:
        return Verdict.unknown(f"T(t0, v) = v up to rounding ({gap:.1e}) at every node")
    return Verdict.fails(f"|T(t0, v) - v| = {gap:.3g} at a node: the learned flow does not start at the identity")


def _no_jump(facts: Facts) -> Verdict:
    free, why = facts["jump"]
    return Verdict.holds(why) if free else Verdict.fails(why)


def _stein(facts: Facts) -> Verdict:
    residual, error, times = facts["stein"], facts["stein_error"], facts["fact_times"]
    good = residual - error <= STEIN_TOLERANCE
    if good.all():
        return Verdict.unknown(
            f"necessary test passed: residual {residual.max():.2g} (it cannot establish the hypothesis)"
        )
    bad = int(np.argmin(good))
    until = _last_good(times, good, facts["problem_t0"])
    return Verdict.fails(f"Stein identity violated by {residual[bad]:.2g} at t = {times[bad]:.4g}", until)


def _score_lipschitz(facts: Facts) -> Verdict:
    lip, times = facts["score_lipschitz"], facts["fact_times"]
    if not np.isfinite(facts["score_lipschitz_start"]):
        t0 = facts["problem_t0"]
        return Verdict.fails(
            f"the exact score is unbounded at v = 0 as t -> {t0:g}: its Lipschitz constant is not integrable "
            f"({lip[0]:.3g} at t = {times[0]:.3g}); start the window later, for example t0 = {t0 + 0.5:g}"
        )
    good = np.isfinite(lip)
    if not good.all():
        until = _last_good(times, good, facts["problem_t0"])
        return Verdict.fails(f"the exact score is not Lipschitz at t = {times[int(np.argmin(good))]:.4g}", until)
    return Verdict.holds(f"Lip(s_t) <= {lip.max():.3g} on the window (closed form)")


def _ball(facts: Facts) -> Verdict:
    seen, radius = facts["max_radius"], facts["radius"]
    if seen <= radius:
        return Verdict.unknown(f"all particles stay within |v| <= {seen:.3g} < R = {radius:g} at the times used")
    return Verdict.fails(f"a particle reaches |v| = {seen:.3g} > R = {radius:g}; raise --radius")


def _contained(facts: Facts) -> Verdict:
    outside = facts["expected_outside"]
    if outside == 0:
        return Verdict.holds("f_t has no mass outside the ball")
    return Verdict.unknown(
        f"of N exact particles {outside:.2g} are expected outside B_R at the worst time, where no constant holds"
    )


def _fresh(facts: Facts) -> Verdict:
    if facts["training_particles"]:
        return Verdict.fails("the particles were used in training")
    return Verdict.holds("fresh particles, drawn after training from the report's seed")


def _fisher(facts: Facts) -> Verdict:
    if not facts["maxwell"]:
        return Verdict.unknown("the Fisher information is known to decay for the true kernels, not for mollified ones")
    if not np.isfinite(facts["fisher_initial"]):
        return Verdict.fails("the Fisher information of the initial density is infinite")
    return Verdict.holds(f"Maxwell kernel on R^d, I(f_t0) <= {facts['fisher_initial']:.4g} (Guillen and Silvestre)")


def _stable(facts: Facts) -> Verdict:
    verdict: Verdict = facts["stability"]
    return verdict


def _smooth_density(facts: Facts) -> Verdict:
    norm = facts["density_curvature"]
    if np.isfinite(norm).all():
        return Verdict.holds(f"second derivatives of f_t are at most {np.max(norm):.3g} in L2 at the report times")
    return Verdict.fails("the second derivatives of f_t are not square integrable at some report time")


def _isotropic_covariance(facts: Facts) -> Verdict:
    gap = facts["covariance_gap"]
    if gap <= COVARIANCE_TOLERANCE:
        return Verdict.holds(f"Sigma = T I at t0 (gap {gap:.1e}), hence at every time")
    return Verdict.fails(f"the covariance of f0 is not T I: relative gap {gap:.3g}")


def _chi2_integrable(facts: Facts) -> Verdict:
    bound = facts.get("chi2_bound")
    if bound is not None and (bound > 1).all():
        return Verdict.holds(
            f"growth bound of the flow, Gaussian tail of f0: f~ has a tail of variance <= {2 / bound.min():.3g} T < 2 T"
        )
    decay, times = facts["chi2_decay"], facts["fact_times"]
    good = decay > 1
    if good.all():
        return Verdict.unknown(f"f~^2/M decays at every outermost node (smallest rate ratio {decay.min():.3g} > 1)")
    bad = int(np.argmin(good))
    until = _last_good(times, good, facts["problem_t0"])
    return Verdict.fails(
        f"f~^2/M still grows at a node of the outermost panel at t = {times[bad]:.4g} (rate ratio {decay[bad]:.3g})",
        until,
    )


_SAMPLED = ("fact_times", "problem_t0")  # what a check of sampled facts reads besides them

SMOOTH = Hypothesis("smooth", "T(t, .) is twice continuously differentiable", _smooth, ("smooth",))
ORIENTATION = Hypothesis(
    "orientation", "det grad T(t, .) > 0 off isolated points", _orientation, ("min_det", *_SAMPLED)
)
PROPER = Hypothesis("proper", "|T(t, v)| -> infinity as |v| -> infinity", _proper, ("proper_growth", *_SAMPLED))
IDENTITY = Hypothesis("identity", "T(t0, .) = id", _identity, ("identity_gap",))
NO_JUMP = Hypothesis("no_jump", "grad f0 = f0 * score as distributions (no jump)", _no_jump, ("jump",))
STEIN = Hypothesis(
    "stein", "Stein identities of the pushforward score (necessary)", _stein, ("stein", "stein_error", *_SAMPLED)
)
SCORE_LIPSCHITZ = Hypothesis(
    "score_lipschitz",
    "Assumption 1(4): the exact score is Lipschitz, with an integrable constant",
    _score_lipschitz,
    ("score_lipschitz", "score_lipschitz_start", *_SAMPLED),
)
BALL = Hypothesis(
    "ball", "the particles stay in the ball B_R on which the kernel constants hold", _ball, ("max_radius", "radius")
)
CONTAINED = Hypothesis(
    "contained", "every draw of N particles stays in the ball B_R", _contained, ("expected_outside",)
)
FRESH = Hypothesis("fresh", "particles independent of the trained weights", _fresh, ("training_particles",))

FISHER = Hypothesis(
    "fisher",
    "the Fisher information does not grow",
    _fisher,
    ("maxwell", "fisher_initial"),
)
STABLE = Hypothesis("stable", "the hypotheses of S1 and S2, whose bound enters", _stable, ("stability",))
SMOOTH_DENSITY = Hypothesis(
    "smooth_density", "f_t has square integrable second derivatives", _smooth_density, ("density_curvature",)
)

ISOTROPIC_COVARIANCE = Hypothesis(
    "isotropic_covariance", "the covariance of f is T I", _isotropic_covariance, ("covariance_gap",)
)
CHI2_INTEGRABLE = Hypothesis(
    "chi2_integrable", "f~^2/M is integrable, M the Maxwellian of f", _chi2_integrable, ("chi2_decay", *_SAMPLED)
)

PUSHFORWARD = (SMOOTH, ORIENTATION, PROPER, IDENTITY, NO_JUMP, STEIN)
HYPOTHESES = (
    *PUSHFORWARD,
    SCORE_LIPSCHITZ,
    BALL,
    CONTAINED,
    FRESH,
    FISHER,
    STABLE,
    SMOOTH_DENSITY,
    ISOTROPIC_COVARIANCE,
    CHI2_INTEGRABLE,
)
