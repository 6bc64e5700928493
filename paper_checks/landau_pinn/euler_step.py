"""The explicit Euler scheme (2.8): what it conserves, and its order against the exact flow."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import sympy

from paper_checks.check import Check, Claim, Finding, Trial, proof
from paper_checks.symbols import vector
from theory import drift
from theory.bkw import Bkw
from theory.kernels import maxwell, mollified_coulomb


@proof
def _energy() -> Iterator[Claim]:
    """|x + dt u|^2 - |x|^2 = 2 dt x . u + dt^2 |u|^2, and sum x . u = 0 (row ``conservation``)."""
    step = sympy.Symbol("dt")
    for d in (2, 3):
        x, u = vector("x", d), vector("u", d)
        gain = ((x + step * u).T * (x + step * u))[0] - (x.T * x)[0]
        rest = gain - 2 * step * (x.T * u)[0] - step**2 * (u.T * u)[0]
        yield sympy.expand(rest) == 0, f"energy of one step in d = {d}"


def _energy_gain(trial: Trial, rng: np.random.Generator, tries: int) -> None:
    for d in (2, 3):
        for kernel in (maxwell(d, 0.3), mollified_coulomb(d, 0.3, 0.5)):
            for _ in range(tries):
                n, step = int(rng.integers(2, 20)), 10 ** rng.uniform(-3, 0)
                x, s = rng.standard_normal((n, d)), rng.standard_normal((n, d))
                u = drift.pair_drift(kernel, x, s, np.full(n, 1 / n))
                gain = np.sum((x + step * u) ** 2) - np.sum(x**2)
                expected = step**2 * np.sum(u**2)
                gap = abs(gain - expected) / max(1.0, expected)
                trial.small(gap, 1e-11, f"energy gain dt^2 sum |U|^2, {kernel.id}, d = {d}")


def euler_errors(bkw: Bkw, end: float, steps: tuple[int, ...], v: np.ndarray) -> list[float]:
    """Root mean squared distance to the exact flow at ``end`` of Euler with the exact mean-field drift."""
    errors = []
    exact = bkw.flow(end, v)
    for n in steps:
        x, h = v.copy(), (end - bkw.t0) / n
        for k in range(n):
            x = x + h * bkw.drift(bkw.t0 + k * h, x)
        errors.append(math.sqrt(float(np.mean(np.sum((x - exact) ** 2, axis=1)))))
    return errors


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Energy of a step, then the observed order on BKW."""
    trial = Trial()
    trial.claims(_energy())
    _energy_gain(trial, rng, 5 if quick else 100)
    text = []
    for d, strength, amplitude, start, length in ((2, 1 / 16, 0.5, 0.5, 4.5), (3, 1 / 24, 1.0, 5.6, 0.4)):
        bkw = Bkw(d, strength, amplitude, start)
        base = round(length / 0.02)
        steps = tuple(base * 2**k for k in range(3 if quick else 5))
        errors = euler_errors(bkw, start + length, steps, bkw.sample(start, 500, rng))
        order = math.log2(errors[-2] / errors[-1])
        trial.small(abs(order - 1), 0.05, f"Euler has order 1 on BKW, d = {d}")
        text.append(f"d = {d}: {errors[1]:.1e} at dt = 0.01, order {order:.3f}")
    return trial.finding(
        "one step conserves momentum and adds exactly dt^2 sum |U|^2 of energy (never less: Euler heats); RMS distance "
        f"to the exact flow, {'; '.join(text)}"
    )


CHECK = Check(
    id="euler_step",
    statement="Explicit Euler with a learned score has a time discretisation error of order dt.",
    source="(2.8)",
    how="symbolic + numerical",
    expected="holds",
    run=run,
)
