"""Value, time derivative, velocity gradient and Hessian of a network in one forward pass (no nested autograd).

A jet is one tensor (channels, m, n, k): channel 0 is the value, then the time derivative if ``time``, then d first
velocity derivatives if ``order`` >= 1, then d(d+1)/2 second ones if ``order`` = 2; m times, n points, k features.
A linear layer acts on all channels alike (one matrix product), an activation by the chain rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Which derivatives a jet carries."""

    d: int
    time: bool
    order: int

    @property
    def first(self) -> int:
        """Number of first-order channels (time and velocity)."""
        return int(self.time) + (self.d if self.order >= 1 else 0)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Velocity index pairs (j, k), j <= k, of the second-order channels."""
        return [(j, k) for j in range(self.d) for k in range(j, self.d)] if self.order == 2 else []

    @property
    def channels(self) -> int:
        """Total number of channels."""
        return 1 + self.first + len(self.pairs)

    def velocity(self, j: int) -> int:
        """Channel of the derivative in velocity j."""
        return 1 + int(self.time) + j


def seed(v: Tensor, layout: Layout) -> Tensor:
    """Jet of the identity at v of shape (m, n, d)."""
    jet = v.new_zeros((layout.channels, *v.shape))
    jet[0] = v
    if layout.order >= 1:
        for j in range(layout.d):
            jet[layout.velocity(j), ..., j] = 1.0
    return jet


def silu(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """SiLU with its first three derivatives."""
    s = torch.sigmoid(x)
    t = s * (1 - s)
    odd = 1 - 2 * s
    return x * s, s + x * t, t * (2 + x * odd), t * (3 * odd + x * (1 - 6 * t))


def tanh(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tanh with its first three derivatives."""
    y = torch.tanh(x)
    p = 1 - y * y
    return y, p, -2 * y * p, p * (6 * y * y - 2)


ACTIVATIONS = {"silu": silu, "tanh": tanh}
# Suprema of |f'|: SiLU's is attained at x = 2.39936 (it is not 1), rounded up.
LIPSCHITZ = {"silu": 1.0998393202, "tanh": 1.0}


class _Activate(torch.autograd.Function):
    """Activation of a jet after adding ``shift`` to the value and ``shift_dt`` to the time derivative.

    One channel at a time, in place: the slabs stay in cache, several times faster than the composed operations.
    """

    @staticmethod
    def forward(ctx: Any, jet: Tensor, shift: Tensor, shift_dt: Tensor | None, layout: Layout, kind: str) -> Tensor:
        """Jet (channels, m or 1, n, k); shift (k,) or (m, 1, k)."""
        first, pairs = layout.first, layout.pairs
        z0 = jet[0] + shift
        value, slope, bend, _ = ACTIVATIONS[kind](z0)
        out = jet.new_empty((jet.shape[0], *z0.shape))
        out[0] = value
        tangents = [jet[1 + a] if a or shift_dt is None else jet[1] + shift_dt for a in range(first)]
        for a, z in enumerate(tangents):
            torch.mul(slope, z, out=out[1 + a])
        base = int(layout.time)
        for i, (j, k) in enumerate(pairs):
            target = out[1 + first + i]
            torch.mul(tangents[base + j], tangents[base + k], out=target) if z0.shape == jet.shape[
                1:
            ] else target.copy_(tangents[base + j] * tangents[base + k])
            target.mul_(bend).addcmul_(slope, jet[1 + first + i])
        ctx.save_for_backward(jet, shift, *([] if shift_dt is None else [shift_dt]))
        ctx.layout, ctx.kind = layout, kind
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Adjoint of ``forward``; the activation is evaluated again rather than stored."""
        jet, shift, *rest = ctx.saved_tensors
        layout: Layout = ctx.layout
        first, pairs, base = layout.first, layout.pairs, int(layout.time)
        _, slope, bend, third = ACTIVATIONS[ctx.kind](jet[0] + shift)
        tangents = [jet[1 + a] if a or not rest else jet[1] + rest[0] for a in range(first)]
        adjoint = slope.new_empty((jet.shape[0], *slope.shape))
        g0 = torch.mul(grad[0], slope, out=adjoint[0])
        for a, z in enumerate(tangents):
            torch.mul(grad[1 + a], slope, out=adjoint[1 + a])
            g0.addcmul_(grad[1 + a] * bend, z)
        for i, (j, k) in enumerate(pairs):
            g = grad[1 + first + i]
            torch.mul(g, slope, out=adjoint[1 + first + i])
            gb = g * bend
            g0.addcmul_(gb, jet[1 + first + i])
            g0.addcmul_(g * third, tangents[base + j] * tangents[base + k])
            adjoint[1 + base + j].addcmul_(gb, tangents[base + k])
            adjoint[1 + base + k].addcmul_(gb, tangents[base + j])
        g_shift = _reduce(g0, shift.shape)
        g_dt = _reduce(adjoint[1], rest[0].shape) if rest else None
        return _reduce(adjoint, jet.shape), g_shift, g_dt, None, None


def _reduce(grad: Tensor, shape: torch.Size) -> Tensor:
    """Sum over broadcast axes, so that the gradient has the operand's shape."""
    extra = grad.ndim - len(shape)
    grad = grad.sum(tuple(range(extra))) if extra else grad
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axes, keepdim=True) if axes else grad


def activate(
    jet: Tensor, layout: Layout, activation: str, shift: Tensor | None = None, shift_dt: Tensor | None = None
) -> Tensor:
    """Activation applied to a jet whose value is first shifted by ``shift`` and time derivative by ``shift_dt``.

    ``shift`` is a bias (k,) or a feature of time (m, 1, k); with ``shift_dt`` None the shift is constant in time.
    """
    if shift is None:
        shift = jet.new_zeros(jet.shape[-1])
    out: Tensor = _Activate.apply(jet, shift, shift_dt if layout.time else None, layout, activation)  # type: ignore[no-untyped-call]
    return out


def scale_by_time(jet: Tensor, layout: Layout, value: Tensor, rate: Tensor) -> Tensor:
    """Multiply by a function of time: value and time derivative of shape (m,) or (m, k)."""
    value, rate = (x[:, None, None] if x.ndim == 1 else x[:, None] for x in (value, rate))
    scaled = jet * value
    if not layout.time:
        return scaled
    return torch.cat([scaled[:1], scaled[1:2] + rate * jet[:1], scaled[2:]])


@dataclass(frozen=True)
class Parts:
    """A jet taken apart: value, dt (m, n, d); jac[..., i, j] = d_j T_i; hess[..., i, j, k] = d_j d_k T_i."""

    value: Tensor
    dt: Tensor
    jac: Tensor
    hess: Tensor


def unpack(jet: Tensor, layout: Layout) -> Parts:
    """Split a full jet (time and order 2) into its parts."""
    d = layout.d
    jac = torch.stack([jet[layout.velocity(j)] for j in range(d)], dim=-1)
    second = dict(zip(layout.pairs, jet[1 + layout.first :], strict=True))
    rows = [torch.stack([second[min(j, k), max(j, k)] for k in range(d)], dim=-1) for j in range(d)]
    return Parts(jet[0], jet[1], jac, torch.stack(rows, dim=-2))


def pack(parts: Parts, layout: Layout) -> Tensor:
    """Inverse of ``unpack`` for any layout with ``time``."""
    rows = [parts.value, parts.dt] if layout.time else [parts.value]
    if layout.order >= 1:
        rows += [parts.jac[..., j] for j in range(layout.d)]
    rows += [parts.hess[..., j, k] for j, k in layout.pairs]
    return torch.stack(rows)


def log_det_and_score(parts: Parts, score0: Tensor) -> tuple[Tensor, Tensor]:
    """Determinant of J (m, n) and pushforward score J^{-T}(score0 - grad log|det J|) at T(t, v), (m, n, d).

    d = 2, 3 by the adjugate (cross products), which is far cheaper than batched LU.
    """
    adj, det = adjugate(parts.jac)
    inverse = adj / det[..., None, None]
    grad_log_det = (inverse.transpose(-1, -2)[..., None] * parts.hess).sum((-3, -2))
    return det, ((score0 - grad_log_det)[..., None, :] @ inverse)[..., 0, :]


def adjugate(jac: Tensor) -> tuple[Tensor, Tensor]:
    """Adjugate matrix and determinant for d = 2, 3."""
    if jac.shape[-1] == 2:
        a, b, c, e = jac[..., 0, 0], jac[..., 0, 1], jac[..., 1, 0], jac[..., 1, 1]
        adj = torch.stack([torch.stack([e, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
        return adj, a * e - b * c
    r0, r1, r2 = jac[..., 0, :], jac[..., 1, :], jac[..., 2, :]
    columns = [torch.linalg.cross(r1, r2), torch.linalg.cross(r2, r0), torch.linalg.cross(r0, r1)]
    return torch.stack(columns, dim=-1), (r0 * columns[0]).sum(-1)
