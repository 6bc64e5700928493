"""Flow maps and score networks. Architectures are data (a closed vocabulary), so that a model file can name them.

``free``: the paper's flow map T = B + (t - t0) N(t, B), separate velocity and time embeddings, fused SiLU layers.
``certified``: a composition of residual blocks y + W2[a(t) * tanh(W1 y + b(t))] whose Lipschitz constant is kept below
``lipschitz`` < 1 by their spectral norms, times an expanding factor: a diffeomorphism by construction.
``core``: B(t, v) resolves initial data that vanish quadratically at a point (2D), see ``CoreMap``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from solver.jets import (
    LIPSCHITZ,
    Layout,
    Parts,
    activate,
    log_det_and_score,
    pack,
    scale_by_time,
    seed,
    tanh,
    unpack,
)
from theory.flow import Growth
from theory.problem import Problem
from theory.radial import radial_jets


def _shape(embedding: int, width: int, depth: int) -> dict[str, Any]:
    embeddings = {"velocity_embedding": [embedding, 1], "time_embedding": [embedding, 1]}
    return {**embeddings, "hidden": [width, depth], "activation": "silu"}


# The paper's groups by name, (flow, score): A 2D, B 3D, C the Rosenbluth ring, D the truncated Gaussian. It gives the
# hidden width and depth of A (128/4), B (256/6) and D (flow of A, score of B); those of C and every embedding are ours.
_SMALL, _LARGE = _shape(64, 128, 4), _shape(128, 256, 6)
GROUPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "A": (_SMALL, _SMALL),
    "B": (_LARGE, _LARGE),
    "C": (_SMALL, _shape(64, 160, 4)),
    "D": (_SMALL, _LARGE),
}


def _stack(widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))


def _layer(layer: Any, jet: Tensor, layout: Layout, activation: str) -> Tensor:
    """Linear layer and activation on a jet: the bias only enters the value."""
    return activate(jet @ layer.weight.T, layout, activation, layer.bias)


def _affine(layer: nn.Linear, jet: Tensor) -> Tensor:
    """Linear layer on a jet without activation (last layers, few features)."""
    out = jet @ layer.weight.T
    return torch.cat([out[:1] + layer.bias, out[1:]])


@dataclass(frozen=True)
class Window:
    """Time window of a network; ``scaled`` maps it to [0, 1]."""

    t0: float
    T: float

    @property
    def length(self) -> float:
        """T - t0."""
        return self.T - self.t0

    def scaled(self, t: Tensor) -> Tensor:
        """(t - t0)/(T - t0)."""
        return (t - self.t0) / self.length


class Embedded(nn.Module):
    """Network (t, v) -> R^out with separate embeddings of velocity and time, fused hidden layers (paper, Figure 2)."""

    def __init__(
        self,
        d: int,
        out: int,
        window: Window,
        *,
        velocity_embedding: list[int],
        time_embedding: list[int],
        hidden: list[int],
        activation: str,
    ) -> None:
        super().__init__()
        self.window, self.activation = window, activation
        self.velocity = _stack([d] + [velocity_embedding[0]] * velocity_embedding[1])
        self.time = _stack([1] + [time_embedding[0]] * time_embedding[1])
        self.fuse_velocity = nn.Linear(velocity_embedding[0], hidden[0])
        self.fuse_time = nn.Linear(time_embedding[0], hidden[0], bias=False)
        self.hidden = _stack([hidden[0]] * hidden[1])
        self.out = nn.Linear(hidden[0], out)

    def time_feature(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Fused time feature and its time derivative, each (m, width)."""
        layout = Layout(0, True, 0)
        jet = torch.stack([2 * self.window.scaled(t) - 1, torch.full_like(t, 2 / self.window.length)])[:, :, None, None]
        for layer in self.time:
            jet = _layer(layer, jet, layout, self.activation)
        jet = jet @ self.fuse_time.weight.T
        return jet[0, :, 0], jet[1, :, 0]

    def forward(self, t: Tensor, jet: Tensor, layout: Layout) -> Tensor:
        """Jet of the network at a jet of positions (channels, m or 1, n, d)."""
        for layer in self.velocity:
            jet = _layer(layer, jet, layout, self.activation)
        feature, rate = self.time_feature(t)
        shift = feature[:, None] + self.fuse_velocity.bias
        jet = activate(jet @ self.fuse_velocity.weight.T, layout, self.activation, shift, rate[:, None])
        for layer in self.hidden:
            jet = _layer(layer, jet, layout, self.activation)
        return _affine(self.out, jet)


def _mass(q: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """g(q) = q^2 h(q), h(q) = 1 - beta q e^{-q}, with its first two derivatives; increasing for beta <= 2."""
    decay = beta * torch.exp(-q)
    h, h1, h2 = 1 - q * decay, (q - 1) * decay, (2 - q) * decay
    return q * q * h, 2 * q * h + q * q * h1, 2 * h + 4 * q * h1 + q * q * h2


class CoreMap(nn.Module):
    """Radial map B(t, v) = (b/r) v in 2D with g(b^2) + 2 c b^2 = g(r^2), g(q) = q^2 (1 - beta q e^{-q}), c = c(t).

    Where f0 ~ |v|^2 near 0, heat flow makes f0 + const * c of it, and equating the mass inside a circle gives this map:
    r -> r^2 near 0, which no smooth diffeomorphism can do (it would keep f(0) = 0). ``beta`` = 2/3 of the next Taylor
    coefficient of f0 makes the density B_# f0 smooth at 0; it is read off f0. c(t) is learned, c(t0) = 0.
    B is a homeomorphism, |B(v)| <= |v|, and det DB > 0 off v = 0.
    """

    def __init__(self, window: Window, beta: float, degree: int = 4) -> None:
        super().__init__()
        self.window, self.beta = window, beta
        self.rate = nn.Parameter(torch.zeros(degree + 1))

    def spread(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """c(t) = (t - t0) softplus(polynomial) and its time derivative, shape (m,)."""
        x = 2 * self.window.scaled(t) - 1
        k = torch.arange(len(self.rate), device=t.device)
        powers = x[:, None] ** k
        slopes = k * x[:, None] ** (k - 1).clamp(min=0) * (2 / self.window.length)
        rate = self.rate.to(t.dtype)
        p, dp = powers @ rate, slopes @ rate
        tau, soft = t - self.window.t0, nn.functional.softplus(p)
        return tau * soft, soft + tau * torch.sigmoid(p) * dp

    def squared_radius(self, c: Tensor, q: Tensor) -> Tensor:
        """Squared radius x = b^2 with g(x) + 2 c x = g(q): Newton from below, the last step differentiable in c."""
        g = _mass(q, self.beta)[0]
        with torch.no_grad():
            x = g / (torch.sqrt(c * c + g) + c)
            for _ in range(8):
                value, slope, _ = _mass(x, self.beta)
                x = x - (value + 2 * c * x - g) / (slope + 2 * c)
        value, slope, _ = _mass(x, self.beta)
        return x - (value + 2 * c * x - g) / (slope + 2 * c)

    @torch.no_grad()
    def outside(self, t: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bounds of B for |v| > radius, each (m,): |d_t B|, ||DB^{-1}||, ||DB||, |grad log det DB|.

        All four are monotone in r far out (B -> identity like c/r^2), so they are read off a few radii.
        """
        layout = Layout(2, True, 2)
        r = radius * torch.tensor([1.0, 1.5, 2.0, 4.0, 8.0], dtype=t.dtype)
        v = torch.stack([r, torch.zeros_like(r)], dim=1)[None].expand(len(t), -1, -1)
        parts = unpack(self(t, v, layout), layout)
        singular = torch.linalg.svdvals(parts.jac)
        _, score = log_det_and_score(parts, torch.zeros_like(parts.value))
        grad = (score[..., None, :] @ parts.jac).norm(dim=-1)[..., 0]
        bounds = (parts.dt.norm(dim=-1), 1 / singular[..., -1], singular[..., 0], grad)
        speed, inverse, stretch, log = (x.amax(1) for x in bounds)
        return speed, inverse, stretch, log

    def forward(self, t: Tensor, v: Tensor, layout: Layout) -> Tensor:
        """Jet of B at v != 0 of shape (m or 1, n, 2)."""
        c, dc = (x[:, None] for x in self.spread(t))
        q = (v * v).sum(-1)
        r = q.sqrt()
        x = torch.where(c > 0, self.squared_radius(c, q), q)
        _, g1, g2 = _mass(q, self.beta)
        _, m1, m2 = _mass(x, self.beta)
        stiff = m1 + 2 * c
        x1 = g1 / stiff  # derivatives of x in q
        x2 = (g2 - m2 * x1 * x1) / stiff
        ratio = torch.sqrt(x / q)
        slope = x1 / ratio  # b' = 2 r x1 / (2 b)
        second = (x1 + 2 * q * x2 - slope * slope) / (ratio * r)
        value = ratio[..., None] * v
        dt = (-dc / stiff)[..., None] * value  # dx/dc = -2 x / (g'(x) + 2 c)
        unit = (v / r[..., None]).expand_as(value)
        eye = torch.eye(2, dtype=v.dtype, device=v.device)
        jac, hess = radial_jets(unit, eye, ratio, slope, (second, (slope - ratio) / r))
        return pack(Parts(value, dt, jac, hess), layout)


class FreeFlow(nn.Module):
    """The paper's flow map: T(t, v) = B(t, v) + (t - t0) N(t, B(t, v)); T(t0, .) = id exactly.

    With a ``unit`` u of velocity N sees B/u and (t - t0) becomes u (t - t0)/(T - t0): densities far from unit
    temperature, and long windows, look to it like the others.
    """

    def __init__(self, d: int, window: Window, core: CoreMap | None, unit: float | None = None, **shape: Any) -> None:
        super().__init__()
        self.d, self.window, self.core, self.unit = d, window, core, unit
        self.net = Embedded(d, d, window, **shape)

    def jet(self, t: Tensor, v: Tensor, layout: Layout) -> Tensor:
        """Jet of T at times (m,) and velocities (m or 1, n, d)."""
        base = seed(v, layout) if self.core is None else self.core(t, v, layout)
        base, t = base.to(self.net.out.weight.dtype), t.to(self.net.out.weight.dtype)
        rate = 1.0 if self.unit is None else self.unit / self.window.length
        seen = base if self.unit is None else base / self.unit
        tau = rate * (t - self.window.t0)
        return base + scale_by_time(self.net(t, seen, layout), layout, tau, torch.full_like(tau, rate))

    def diffeomorphism(self) -> bool:
        """Not by construction."""
        return False


class CertifiedFlow(nn.Module):
    """T = s(t) * (blocks composed)(B): det J > 0 and proper by construction; T(t0, .) = id exactly.

    A block is y + W2 [a(t) * tanh(W1 y + b(t))] with |a| < 1, a(t0) = 0, and W2 rescaled so that its Lipschitz constant
    is at most ``lipschitz``: ||W2 S|| ||S^-1 W1||, S balancing the neurons, bounds it for every diagonal of slopes.
    """

    def __init__(
        self,
        d: int,
        window: Window,
        core: CoreMap | None,
        *,
        blocks: int,
        width: int,
        time_width: int,
        lipschitz: float,
    ) -> None:
        super().__init__()
        self.d, self.window, self.core, self.lipschitz = d, window, core, lipschitz
        self.blocks, self.width = blocks, width
        self.inner = nn.ParameterList(torch.empty(width, d) for _ in range(blocks))
        self.outer = nn.ParameterList(torch.empty(d, width) for _ in range(blocks))
        self.time_in = nn.Linear(1, time_width)
        self.time_hidden = nn.Linear(time_width, time_width)
        self.time_out = nn.Linear(time_width, 2 * blocks * width + 1)
        for w in self.inner:
            nn.init.normal_(w, std=0.7)
        for w in self.outer:
            nn.init.normal_(w, std=0.02)
        with torch.no_grad():  # biases spread the neurons over the thermal range
            self.time_out.weight.mul_(0.3)
            self.time_out.bias.copy_(torch.randn_like(self.time_out.bias) * 1.5)
            self.time_out.bias[-1] = 0.0

    def time_features(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Raw time features and time derivatives, (m, 2 blocks width + 1)."""
        layout = Layout(0, True, 0)
        jet = torch.stack([2 * self.window.scaled(t) - 1, torch.full_like(t, 2 / self.window.length)])[:, :, None, None]
        jet = _layer(self.time_in, jet, layout, "tanh")
        jet = _layer(self.time_hidden, jet, layout, "tanh")
        jet = _affine(self.time_out, jet)
        return jet[0, :, 0], jet[1, :, 0]

    def block_weights(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """W1, rescaled W2 and the certified Lipschitz constant of block k."""
        w1, w2 = self.inner[k], self.outer[k]
        balance = torch.sqrt((w1.square().sum(1) + 1e-12).sqrt() / (w2.square().sum(0) + 1e-12).sqrt())
        a, b = w2 * balance, w1 / balance[:, None]
        bound = torch.sqrt(torch.linalg.eigvalsh(a @ a.T)[-1] * torch.linalg.eigvalsh(b.T @ b)[-1])
        factor = self.lipschitz / torch.clamp(bound, min=self.lipschitz)
        return w1, w2 * factor, bound * factor

    def modulation(self, t: Tensor) -> tuple[list[tuple[Tensor, Tensor, Tensor, Tensor]], Tensor, Tensor]:
        """Per block b, b', a, a' of shape (m, width); the factor s and s' of shape (m,)."""
        raw, rate = self.time_features(t)
        tau = (t - self.window.t0)[:, None]
        n = self.width
        out = []
        for k in range(self.blocks):
            bias, dbias = raw[:, 2 * k * n : (2 * k + 1) * n], rate[:, 2 * k * n : (2 * k + 1) * n]
            amp, damp = raw[:, (2 * k + 1) * n : (2 * k + 2) * n], rate[:, (2 * k + 1) * n : (2 * k + 2) * n]
            a, slope, _, _ = tanh(tau * amp)
            out.append((bias, dbias, a, slope * (amp + tau * damp)))
        s = torch.exp(tau[:, 0] * raw[:, -1])
        return out, s, s * (raw[:, -1] + tau[:, 0] * rate[:, -1])

    def jet(self, t: Tensor, v: Tensor, layout: Layout) -> Tensor:
        """Jet of T at times (m,) and velocities (m or 1, n, d)."""
        jet = seed(v, layout) if self.core is None else self.core(t, v, layout)
        jet, t = jet.to(self.time_in.weight.dtype), t.to(self.time_in.weight.dtype)
        modulation, s, ds = self.modulation(t)
        for k, (bias, dbias, a, da) in enumerate(modulation):
            w1, w2, _ = self.block_weights(k)
            inside = activate(jet @ w1.T, layout, "tanh", bias[:, None], dbias[:, None])
            jet = jet + scale_by_time(inside, layout, a, da) @ w2.T
        return scale_by_time(jet, layout, s, ds)

    @torch.no_grad()
    def growth(self, t: Tensor, radius: float) -> Growth:
        """Bounds for |v| > radius at times t (m,), from norms of the weights (tanh <= 1, |tanh''| <= 4/(3 sqrt 3))."""
        modulation, s, ds = self.modulation(t)
        reach = speed = logdet = torch.zeros_like(s)
        inverse = stretch = torch.ones_like(s)
        if self.core is not None:
            base_speed, inverse, stretch, logdet = self.core.outside(t, radius)
            speed = base_speed
        for k, (_, dbias, a, da) in enumerate(modulation):
            w1, w2, rho = self.block_weights(k)
            n1, n2 = w1.norm(dim=1), w2.norm(dim=0)
            bend = 0.7699 * (a.abs() * n2 * n1 * n1).sum(1)
            logdet = logdet + stretch * self.d / (1 - rho) * bend
            speed = (1 + rho) * speed + ((da.abs() + a.abs() * dbias.abs()) * n2).sum(1)
            reach = reach + (a.abs() * n2).sum(1)
            stretch, inverse = stretch * (1 + rho), inverse / (1 - rho)
        arrays = [s * reach, s, s * speed + ds.abs() * reach, ds.abs(), inverse / s, logdet]
        r0, r1, v0, v1, inv, log = (x.double().numpy() for x in arrays)
        return Growth(radius, (r0, r1), (v0, v1), inv, log)

    def diffeomorphism(self) -> bool:
        """By construction, as long as every block's constant is below 1 and all weights are finite."""
        return all(
            float(self.block_weights(k)[2].detach()) <= self.lipschitz * (1 + 1e-9) < 1 for k in range(self.blocks)
        )


Flow = FreeFlow | CertifiedFlow


class ScoreNet(nn.Module):
    """The paper's score network s(t, v); with a ``unit`` u of velocity N(t, v/u)/u."""

    def __init__(self, d: int, window: Window, unit: float | None = None, **shape: Any) -> None:
        super().__init__()
        self.d, self.unit, self.net = d, 1.0 if unit is None else unit, Embedded(d, d, window, **shape)

    def score(self, t: Tensor, x: Tensor) -> Tensor:
        """Score at x of shape (m, n, d)."""
        return self.net(t, x[None] / self.unit, Layout(self.d, False, 0))[0] / self.unit

    def score_and_divergence(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score (m, n, d) and its exact divergence (m, n)."""
        layout = Layout(self.d, False, 1)
        jet = self.net(t, seed(x, layout) / self.unit, layout) / self.unit
        return jet[0], sum(jet[layout.velocity(j), ..., j] for j in range(self.d))

    def layers(self) -> tuple[list[nn.Linear], list[nn.Linear], nn.Linear]:
        """Layers met by the velocity input, the unit folded in: up to the fusion with time, hidden, last."""
        net: Any = self.net
        first, last = copy.deepcopy(net.velocity[0]), copy.deepcopy(net.out)
        with torch.no_grad():
            for parameter in (first.weight, last.weight, last.bias):
                parameter.div_(self.unit)
        return [first, *net.velocity[1:], net.fuse_velocity], [*net.hidden], last

    def velocity_path(self) -> tuple[tuple[Tensor, float], ...]:
        """Weights met by the velocity input with the Lipschitz constant of what follows each."""
        before, hidden, last = self.layers()
        slope = LIPSCHITZ[self.net.activation]
        return (*((layer.weight, slope) for layer in (*before, *hidden)), (last.weight, 1.0))


FLOW_KINDS = ("free", "certified")


def certified_architecture(core: float | None = None) -> dict[str, Any]:
    """Default architecture of the certified flow."""
    flow: dict[str, Any] = {"kind": "certified", "blocks": 4, "width": 64, "time_width": 32, "lipschitz": 0.9}
    return {"flow": flow if core is None else {**flow, "core": core}}


def velocity_unit(problem: Problem) -> dict[str, float]:
    """The thermal speed as the networks' unit of velocity; nothing at temperature 1, where none is needed."""
    speed = math.sqrt(float(np.trace(problem.initial.covariance())) / problem.d)
    return {} if abs(speed - 1) < 1e-9 else {"unit": speed}


def group_architecture(group: str, unit: Mapping[str, float]) -> dict[str, Any]:
    """Architecture of one of the paper's groups: free flow and score."""
    flow, score = GROUPS[group]
    return {"group": group, "flow": {"kind": "free", **flow, **unit}, "score": {**score, **unit}}


_LIMITS = {"width": 4096, "depth": 64}


def _pair(value: Any, name: str) -> list[int]:
    if not (isinstance(value, list) and len(value) == 2 and all(type(x) is int for x in value)):
        raise ValueError(f"{name} must be [width, depth]")
    width, depth = value
    if not (1 <= width <= _LIMITS["width"] and 1 <= depth <= _LIMITS["depth"]):
        raise ValueError(f"{name} = {value} is out of range")
    return [width, depth]


def _embedded_shape(spec: Mapping[str, Any]) -> dict[str, Any]:
    if spec.get("activation") not in LIPSCHITZ:
        raise ValueError(f"unknown activation {spec.get('activation')!r}; known: {', '.join(LIPSCHITZ)}")
    names = ("velocity_embedding", "time_embedding", "hidden")
    return {**{n: _pair(spec.get(n), n) for n in names}, "activation": spec["activation"]}


def _number(spec: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = spec.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} = {value!r} must be a number in [{low:g}, {high:g}]")
    return float(value)


def build_flow(spec: Mapping[str, Any], d: int, window: Window) -> Flow:
    """Flow map from its description; ValueError on anything outside the vocabulary."""
    core = None
    if "core" in spec:
        if d != 2:
            raise ValueError("the core map exists in 2D only")
        core = CoreMap(window, _number(spec, "core", 0.0, 2.0))
    known = {"kind", "core"}
    if spec.get("kind") == "free":
        shape = _embedded_shape(spec)
        _no_extra(spec, known | set(shape) | {"unit"})
        return FreeFlow(d, window, core, _unit(spec), **shape)
    if spec.get("kind") == "certified":
        limits = {"blocks": 64, "width": _LIMITS["width"], "time_width": _LIMITS["width"]}
        _no_extra(spec, known | {*limits, "lipschitz"})
        sizes = {n: int(_number(spec, n, 1, top)) for n, top in limits.items()}
        return CertifiedFlow(d, window, core, lipschitz=_number(spec, "lipschitz", 1e-3, 0.999), **sizes)
    raise ValueError(f"unknown flow kind {spec.get('kind')!r}; known: {', '.join(FLOW_KINDS)}")


def build_score(spec: Mapping[str, Any], d: int, window: Window) -> ScoreNet:
    """Score network from its description; ValueError on anything outside the vocabulary."""
    shape = _embedded_shape(spec)
    _no_extra(spec, set(shape) | {"unit"})
    return ScoreNet(d, window, _unit(spec), **shape)


def _unit(spec: Mapping[str, Any]) -> float | None:
    return _number(spec, "unit", 1e-6, 1e6) if "unit" in spec else None


def _no_extra(spec: Mapping[str, Any], known: set[str]) -> None:
    extra = set(spec) - known
    if extra:
        raise ValueError(f"unknown architecture entries: {', '.join(sorted(map(str, extra)))}")


def build(architecture: Mapping[str, Any], d: int, window: Window) -> dict[str, nn.Module]:
    """Networks of a model, ``flow`` and possibly ``score``."""
    _no_extra(architecture, {"group", "flow", "score"})
    nets: dict[str, nn.Module] = {"flow": build_flow(architecture["flow"], d, window)}
    if "score" in architecture:
        nets["score"] = build_score(architecture["score"], d, window)
    return nets


def expected_shapes(metadata: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of the tensors a model file with this metadata must hold."""
    with torch.device("meta"):
        nets = build(metadata["architecture"], int(metadata["d"]), Window(0.0, 1.0))
    return {k: {n: tuple(p.shape) for n, p in net.state_dict().items()} for k, net in nets.items()}


def core_coefficient(problem_id: str, empty_core: bool) -> float | None:
    """Coefficient of h for initial data |v|^2 (1 - |v|^2 + ...) (BKW 2D at t = 0): 2/3; None where none is needed."""
    return 2.0 / 3.0 if empty_core and problem_id == "bkw2d" else None


def parameter_count(nets: Mapping[str, nn.Module]) -> int:
    """Number of trainable numbers."""
    return sum(math.prod(p.shape) for net in nets.values() for p in net.parameters())
