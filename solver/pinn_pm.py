"""Trainer ``pinn-pm``: the paper's method (equations 2.10-2.12, Algorithm 1).

A flow map and a score network, global in time, trained together by implicit score matching at the learned particles,
mean |s|^2 + 2 div s, plus lambda times the mean squared residual of the characteristic ODE, d_t T - U~(T), with the
drift of the particles themselves. Divergence and time derivative are exact (jets).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solver.jets import Layout
from solver.networks import FreeFlow, ScoreNet, group_architecture, velocity_unit
from theory.drift import maxwell_pair_drift, pair_drift
from theory.problem import Problem


@dataclass(frozen=True)
class Settings:
    """Training settings.

    The paper gives Adam, SiLU and lambda = 1, and 1,000 fixed particles (``fresh=false particles=1000``); the rest are
    our defaults. Fresh particles at every step cannot be memorised, so fewer suffice.

    Parameters
    ----------
    steps : int
    learning_rate : float
        Initial rate; cosine decay to 1e-3 of it after a short warm-up.
    particles : int
    fresh : bool
        Draw new particles at every step instead of the paper's fixed set.
    score_moves_flow : bool
        Whether the gradient of the score-matching loss reaches the flow (it may then lower the loss by moving the
        particles); the paper does not say.
    weight : float
        lambda, the weight of the residual.
    times : int
        Collocation times per step, stratified over the window.
    warm_up, curriculum : float
        Fractions of the steps in which the score alone is trained, and in which the collocation window grows to all of
        [t0, T] (ours). Score and flow chase each other: where the flow is wrong, the score is right for the wrong law
        and drives it on; without these the two diverge together. Later times are fitted once earlier ones hold.
    group : str
        Network group of the paper.
    """

    steps: int = 3000
    learning_rate: float = 1e-3
    particles: int = 500
    fresh: bool = True
    score_moves_flow: bool = False
    weight: float = 1.0
    times: int = 2
    warm_up: float = 0.05
    curriculum: float = 0.6
    group: str = "A"
    dtype: str = "float32"


def architecture(problem: Problem, settings: Settings) -> dict[str, Any]:
    """The paper's networks."""
    return group_architecture(settings.group, velocity_unit(problem))


def stratified_times(problem: Problem, count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """One uniform time in each of ``count`` equal parts of the first ``share`` of the window."""
    length = share * float(problem.T - problem.t0)
    return float(problem.t0) + length * (np.arange(count) + rng.uniform(0, 1, count)) / count


def losses(
    flow: FreeFlow, score: ScoreNet, problem: Problem, t: Tensor, v: Tensor, *, score_moves_flow: bool
) -> tuple[Tensor, Tensor]:
    """Implicit score-matching loss and mean squared residual at times (m,) for start velocities (n, d); each (m,)."""
    jet = flow.jet(t, v[None], Layout(problem.d, True, 0))
    x, dt = jet[0], jet[1]
    s, divergence = score.score_and_divergence(t, x if score_moves_flow else x.detach())
    ism = (s.square().sum(-1) + 2 * divergence).mean(-1)
    # the residual acts on the flow and on the score, as in (2.12)
    s_at = s if score_moves_flow else score.score(t, x)
    weights = torch.full((v.shape[0],), 1 / v.shape[0], dtype=v.dtype)
    if problem.kernel.is_maxwell:
        drift = maxwell_pair_drift(problem.kernel.strength, x, s_at, weights)
    else:
        drift = torch.stack([pair_drift(problem.kernel, a, b, weights, xp=torch) for a, b in zip(x, s_at, strict=True)])
    return ism, (dt - drift).square().sum(-1).mean(-1)


def fixed_particles(problem: Problem, n: int) -> np.ndarray:
    """The paper's fixed training set of n particles (``fresh=false``), (n, d)."""
    return problem.initial.sample(n, np.random.default_rng([1000, n]))


class Trainer:
    """State of a run: one ``loss`` draws collocation times (and particles, if fresh)."""

    def __init__(self, problem: Problem, settings: Settings, nets: Mapping[str, torch.nn.Module]) -> None:
        self.problem, self.settings = problem, settings
        self.flow, self.score = nets["flow"], nets["score"]
        self.dtype = getattr(torch, settings.dtype)
        self._fixed: np.ndarray | None = None

    def particles(self, rng: np.random.Generator) -> np.ndarray:
        """The particles of this step; a fixed set has a generator of its own, so that a resumed run has the same."""
        if self.settings.fresh:
            return self.problem.initial.sample(self.settings.particles, rng)
        if self._fixed is None:
            self._fixed = fixed_particles(self.problem, self.settings.particles)
        return self._fixed

    def loss(self, rng: np.random.Generator, done: float) -> tuple[Tensor, dict[str, float]]:
        """Total loss (2.12) and its two parts; ``done`` is the fraction of the steps done."""
        choice = self.settings
        share = min(1.0, max(0.02, done / choice.curriculum)) if choice.curriculum > 0 else 1.0
        t = stratified_times(self.problem, choice.times, share, rng)
        t_, v_ = (torch.as_tensor(x, dtype=self.dtype) for x in (t, self.particles(rng)))
        ism, residual = losses(
            self.flow,  # type: ignore[arg-type]
            self.score,  # type: ignore[arg-type]
            self.problem,
            t_,
            v_,
            score_moves_flow=choice.score_moves_flow,
        )
        weight = choice.weight if done >= choice.warm_up else 0.0
        total = ism.mean() + weight * residual.mean()
        return total, {"ism": float(ism.detach().mean()), "residual": float(residual.detach().mean())}
