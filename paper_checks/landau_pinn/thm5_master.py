"""Theorem 5, (4.16)-(4.19): the master certificate, with mean-field particles and all expectations exact."""

from __future__ import annotations

import numpy as np
import sympy

from paper_checks.check import Check, Finding, Trial
from paper_checks.formulas import bound, hold_witnesses, inequality
from paper_checks.landau_pinn.draws import DRAWS, mean
from paper_checks.landau_pinn.toy import GRID, Toy, assignment, attack, pair_field, report, rms
from theory.gronwall import NumericOps
from theory.kernels import maxwell, mollified_coulomb


def _young(trial: Trial) -> None:
    """The squared form minus 2 y (c y + sources) is a sum of three squares, with C1 = 2 (alpha + L_g) + 3."""
    rate, squared, of = inequality("thm5")
    c, sharp, _ = inequality("thm5_sharp")
    score = 2 * of["kernel_bound"] * sympy.sqrt(of["excess_risk"])
    residual = sympy.sqrt(of["residual_energy_mean"]) + of["tail_drift"]
    sampling = sympy.sqrt(of["drift_sampling"])
    trial.claim(sympy.expand(sharp - score - residual - sampling) == 0, "sources of the sharp form")
    y = sympy.Symbol("y", nonnegative=True)
    gap = rate * y**2 + squared - 2 * y * (c * y + sharp)
    squares = (y - score) ** 2 + (y - residual) ** 2 + (y - sampling) ** 2
    trial.claim(sympy.expand(gap - squares) == 0, "squared form - sharp = three squares")
    trial.claim(sympy.expand(rate - 2 * c - 3) == 0, "C1 = 2 (alpha + L_g) + 3: the paper's + 1")


def _values(toy: Toy) -> tuple[dict[str, object], np.ndarray]:
    """Ingredients in a world, and E W1(mu~, f) at the report times after the start."""
    atoms, position = toy.atoms, toy.particles[0]
    s = toy.score(atoms)
    field = pair_field(toy.kernel, atoms, s, atoms, s)
    sampled = [pair_field(toy.kernel, atoms[:, k], s[:, k], atoms[:, k], s[:, k]) - field[:, k] for k in DRAWS]
    edges = toy.edges[1:]
    values = {
        **toy.constants,
        "tail_lipschitz": 0.0,
        "tail_drift": 0.0,
        "excess_risk": np.mean(toy.delta(atoms) ** 2, axis=1)[toy.nodes],
        "residual_energy_mean": mean([rms(toy.residual(k)) ** 2 for k in DRAWS])[toy.nodes],
        "drift_sampling": mean([rms(gap) ** 2 for gap in sampled])[toy.nodes],
        "initial_error": 0.0,
        "sampling_w1": mean([assignment(atoms[:, k], atoms) for k in DRAWS])[toy.edges],
    }
    return values, mean([assignment(position[edges][:, k], atoms[edges]) for k in DRAWS])


def quotient(name: str, toy: Toy) -> float:
    """Largest E W1 over its bound."""
    values, truth = _values(toy)
    ops = NumericOps(GRID)
    return float(np.max(truth / report(ops, bound(name, ops, values))))


def run(rng: np.random.Generator, quick: bool) -> Finding:
    """Young's step, witnesses, attack on the repaired theorem."""
    trial = Trial()
    _young(trial)
    best = {}
    for name in ("thm5", "thm5_sharp"):
        hold_witnesses(trial, name)
        best[name] = np.inf
        for kernel in (maxwell(2, 0.3), mollified_coulomb(3, 0.3, 1.0)):

            def of(toy: Toy, name: str = name) -> float:
                return quotient(name, toy)

            found, _, tries = attack(of, kernel, rng, 3 if quick else 10, 15 if quick else 100)
            trial.ratio(1.0, found, f"{name}, {kernel.id}, d = {kernel.d}", tries)
            best[name] = min(best[name], 1 / found)
    return trial.finding(
        "Change: (1) the particles must be mean-field (i.i.d., law f_t), which adds the sampling error V of the drift: "
        "C1 + 1 and + E V (three squares, read off the code); (2) the rate of Assumption 2 is replaced by E W1(mu-, "
        f"f); (3) tails. Smallest ratio bound/E W1 under attack, expectations exact: Young {best['thm5']:.4f}, sharp "
        f"{best['thm5_sharp']:.4f}. (4.17) is Jensen on row coupling, (4.18) row thm3_lifting, (4.19) row gronwall",
        "holds with this change",
    )


CHECK = Check(
    id="thm5_master",
    statement="E W1(mu~, f) <= (int exp(int C1)[4 Lambda^2 (J(s~) - J(s)) + E R])^(1/2) + C_T N^(-1/2).",
    source="Theorem 5, (4.16)-(4.19)",
    how="symbolic + numerical",
    expected="holds with this change",
    run=run,
)
