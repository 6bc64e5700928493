"""Trainer ``flow-defect``: minimises the flow defect itself, without a score network (THEORY section 6.2).

Loss: int dt int |d_t T - U[f~_t](T)|^2 f0(dv) with the exact pushforward score, on a quadrature whose times, radial
panels and angles are redrawn at every step, so that the network cannot hide its errors between the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solver.jets import Layout, log_det_and_score, unpack
from solver.networks import Flow, certified_architecture, core_coefficient, velocity_unit
from theory.drift import maxwell_drift, pair_drift, weighted_moments
from theory.problem import Problem


@dataclass(frozen=True)
class Settings:
    """Training settings; the defaults are ours (the method is not the paper's).

    Parameters
    ----------
    steps : int
        Adam steps.
    learning_rate : float
        Initial rate; cosine decay to 1e-3 of it after a short warm-up.
    times, radial, angles : int
        Times per step; Gauss nodes per radial panel; angles.
    grading : float
        Times are t0 + (T - t0) x^grading with x stratified uniform (importance-weighted): > 1 resolves the start.
    flow : str
        ``certified`` (diffeomorphism by construction) or ``free`` (the paper's kind of network).
    blocks, width, lipschitz
        Of the certified flow; a free flow has ``blocks`` hidden layers of this width.
    """

    steps: int = 5000
    learning_rate: float = 4e-3
    times: int = 8
    radial: int = 3
    angles: int = 10
    grading: float = 1.5
    flow: str = "certified"
    blocks: int = 4
    width: int = 64
    lipschitz: float = 0.9
    dtype: str = "float32"


def architecture(problem: Problem, settings: Settings) -> dict[str, Any]:
    """Architecture for a problem: certified blocks behind a core map where f0 vanishes at a point."""
    core = core_coefficient(problem.id, len(problem.degenerate_points) > 0)
    if settings.flow == "free":
        shape = {"velocity_embedding": [settings.width, 1], "time_embedding": [settings.width, 1]}
        free: dict[str, Any] = {
            "kind": "free",
            **shape,
            "hidden": [settings.width, settings.blocks],
            "activation": "silu",
        }
        free |= velocity_unit(problem)
        return {"flow": free if core is None else {**free, "core": core}}
    if settings.flow != "certified":
        raise ValueError(f"unknown flow {settings.flow!r}; known: certified, free")
    spec = certified_architecture(core)
    spec["flow"] |= {"blocks": settings.blocks, "width": settings.width, "lipschitz": settings.lipschitz}
    return spec


def random_rule(problem: Problem, settings: Settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature against f0 with randomly moved radial panels and a random rotation: nodes (n, d), weights (n,)."""
    edges = problem.initial.radial_edges().copy()
    width = np.diff(edges)
    edges[1:-1] += rng.uniform(-0.3, 0.3, len(edges) - 2) * np.minimum(width[1:], width[:-1])
    x, w = np.polynomial.legendre.leggauss(settings.radial)
    r = ((edges[1:] + edges[:-1])[:, None] / 2 + np.diff(edges)[:, None] / 2 * x).ravel()
    wr = (np.diff(edges)[:, None] / 2 * w).ravel() * r ** (problem.d - 1)
    directions, wa = _directions(problem.d, settings.angles, rng)
    # every circle gets its own rotation
    nodes = r[:, None, None] * directions(len(r))
    nodes = nodes.reshape(-1, problem.d) + problem.initial.mean()
    weights = np.outer(wr, wa).ravel() * np.exp(problem.initial.log_density(nodes))
    return nodes, weights / weights.sum()


def _directions(d: int, angles: int, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    if d == 2:

        def circle(n: int) -> np.ndarray:
            phase = rng.uniform(0, 2 * np.pi, (n, 1)) + 2 * np.pi * np.arange(angles) / angles
            return np.stack([np.cos(phase), np.sin(phase)], axis=-1)

        return circle, np.full(angles, 2 * np.pi / angles)
    levels = max(angles // 2, 4)
    z, wz = np.polynomial.legendre.leggauss(levels)

    def sphere(n: int) -> np.ndarray:
        phase = rng.uniform(0, 2 * np.pi, (n, levels, 1)) + 2 * np.pi * np.arange(angles) / angles
        rho = np.sqrt(1 - z * z)[None, :, None]
        points = np.stack(
            [rho * np.cos(phase), rho * np.sin(phase), np.broadcast_to(z[None, :, None], phase.shape)], -1
        )
        rotation = np.linalg.qr(rng.standard_normal((n, 3, 3)))[0]
        return np.asarray(points.reshape(n, -1, 3) @ rotation)

    return sphere, np.repeat(wz, angles) * (2 * np.pi / angles)


def random_times(problem: Problem, settings: Settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Stratified times and weights of the integral over the window (sum of weights = T - t0 on average)."""
    t0, length, m = float(problem.t0), float(problem.T - problem.t0), settings.times
    x = (np.arange(m) + rng.uniform(0, 1, m)) / m
    return t0 + length * x**settings.grading, length * settings.grading * x ** (settings.grading - 1) / m


def squared_defect(flow: Flow, problem: Problem, t: Tensor, v: Tensor, score0: Tensor, weights: Tensor) -> Tensor:
    """D(t)^2 at times (m,) on nodes v (n, d) with weights (n,): shape (m,)."""
    layout = Layout(problem.d, True, 2)
    # the score has cancellations (near a core 2/r - 2/r): float64 from here on, whatever the network computes in
    parts = unpack(flow.jet(t, v[None], layout).double(), layout)
    _, s = log_det_and_score(parts, score0)
    if problem.kernel.is_maxwell:
        drift = maxwell_drift(problem.kernel.strength, parts.value, s, *weighted_moments(parts.value, weights))
    else:
        # the pair sum's terms vanish on the diagonal: far fewer nodes resolve it than the convolutions A * f and b * f
        pairs = zip(parts.value, s, strict=True)
        drift = torch.stack([pair_drift(problem.kernel, x, y, weights, xp=torch) for x, y in pairs])
    return ((parts.dt - drift).square().sum(-1) * weights).sum(-1)


class Trainer:
    """State of a run: one ``step`` draws a quadrature and returns the loss (int D^2 dt) as a tensor with gradient."""

    def __init__(self, problem: Problem, settings: Settings, nets: Mapping[str, torch.nn.Module]) -> None:
        self.problem, self.settings = problem, settings
        self.flow = nets["flow"]
        self.dtype = getattr(torch, settings.dtype)

    def loss(self, rng: np.random.Generator, done: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        """Loss on fresh times and nodes, and what to show of it (the same at every stage of the run)."""
        t, dt = random_times(self.problem, self.settings, rng)
        v, w = random_rule(self.problem, self.settings, rng)
        score0 = self.problem.initial.score(v)
        tensors = (torch.as_tensor(x, dtype=self.dtype) for x in (t, v, score0, w, dt))
        t_, v_, s_, w_, dt_ = tensors
        squared = squared_defect(self.flow, self.problem, t_, v_, s_, w_)  # type: ignore[arg-type]
        total = (squared * dt_).sum()
        return total, {"defect": float((squared.detach().sqrt() * dt_).sum())}
