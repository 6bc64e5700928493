"""Exact numbers of BKW (THEORY 2): moments, tails, masses, the peak, and the energy of the drift."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import sympy

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.landau_pinn.bkw import SymbolicBkw
from paper_checks.symbols import gaussian_mean
from theory.bkw import Bkw
from theory.quadrature import polar_rule


@proof
def _symbolic() -> Iterator[Claim]:
    """E|v|^4 = d(d+2)K(2-K)."""
    k = sympy.Symbol("K", positive=True)
    for d in (2, 3):
        bkw = SymbolicBkw(d)
        v = bkw.v
        r2 = (v.T * v)[0]
        fourth = gaussian_mean(bkw.factor(v) * r2**2, v, [k] * d)
        yield sympy.expand(fourth - d * (d + 2) * k * (2 - k)) == 0, f"E|v|^4 in d = {d}"


def _at(trial: Trial, bkw: Bkw, t: float, radius: float, rng: np.random.Generator) -> None:
    d = bkw.d
    edges = np.unique(np.concatenate([np.linspace(0, radius, 8), np.linspace(radius, radius + 9, 22)]))
    rule = polar_rule(lambda v: np.exp(bkw.log_density(t, v)), np.zeros(d), edges, 4)
    r = np.linalg.norm(rule.nodes, axis=1)
    where = f"BKW d = {d}, t = {t:.3g}"
    for power in (0, 1, 2, 3):
        outside = float(np.where(r > radius, r**power, 0) @ rule.weights)
        inside = float(np.where(r < radius, r**power, 0) @ rule.weights)
        trial.small(abs(bkw.tail_moment(t, radius, power) - outside), 1e-9, f"tail_moment {power}, {where}")
        trial.small(
            abs(float(bkw.ball_moment(t, np.array(radius), power)) - inside), 1e-9, f"ball_moment {power}, {where}"
        )
    masses = [float(m) for m in bkw.radial_mass(t, np.array(radius))]
    trial.small(abs(masses[0] + masses[1] - 1), 1e-12, f"masses inside and outside, {where}")
    u = bkw.drift(t, rule.nodes)
    energy = float(np.sum(u**2, axis=1) @ rule.weights)
    law = (bkw.strength * (d - 1)) ** 2 * (bkw.fisher_information(t) - d)
    trial.small(abs(energy - law) / law, 1e-6, f"E|U|^2 = C^2 (d-1)^2 (I - d), {where}")
    line = np.zeros((200_000, d))
    line[:, 0] = np.linspace(0, 4, len(line))
    peak = float(np.exp(bkw.log_density(t, line).max()))
    trial.small(abs(bkw.sup_density(t) / peak - 1), 1e-8, f"sup f, {where}")
    x = bkw.sample(t, 20_000, rng)
    fourth = np.sum(x**2, axis=1) ** 2
    k = bkw.coefficients(t)[0]
    gap = abs(float(fourth.mean()) - d * (d + 2) * k * (2 - k))
    trial.claim(gap < 5 * float(fourth.std()) / math.sqrt(len(x)), f"sampler has the fourth moment, {where}")


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """The fourth moment on symbols, the rest by quadrature at random times."""
    trial = Trial()
    trial.claims(_symbolic())
    for d, strength, amplitude, start in ((2, 1 / 16, 0.5, 0.3), (3, 1 / 24, 1.0, 5.7)):
        for t in start + rng.uniform(0, 3, 2 if quick else 20):
            _at(trial, Bkw(d, strength, amplitude, start), float(t), float(rng.uniform(0.5, 4)), rng)
    return trial.finding(
        "E|v|^4 = d(d+2)K(2-K) proved; tail and ball moments, masses, sup f, E|U|^2 by quadrature, sampler by its "
        f"fourth moment; largest residual {trial.largest_residual:.1e}"
    )


CHECK = Check(
    id="bkw_numbers",
    statement="BKW: E|v|^4 = d(d+2)K(2-K), E|U|^2 = C^2(d-1)^2(I - d), tails by incomplete gamma functions.",
    source="THEORY 2",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
