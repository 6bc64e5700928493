"""Suprema over a ball, time panel by time panel: best-first subdivision with verified upper bounds at every stage.

Boxes live in time x velocity. In time they are blocks of whole panels, halved where the integrand moves in time; in
velocity they are cubes, halved along every axis. The leaves always cover ball x window, so the largest bound among the
leaves over a panel is a bound whenever the search stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify.verified.taylor import Index
from theory.provenance import Array

Evaluate = Callable[[Index, Array, Array], tuple[Array, Array, Array]]
"""(block (B,), centre (B, d), half (B, d)) -> upper bounds over the boxes and values at their centres, both (B, Q), and
the share (B,) of the variation over the box that is due to time."""

BATCH = 64
ROUND = 512  # boxes chosen before the bounds are looked at again
# a box is split while it stands above this share of the gap between the panel's upper and lower values
WORTH = 0.4
SMALLEST = 1e-5


@dataclass(frozen=True, eq=False)
class Blocks:
    """Binary tree of blocks of time, each a run of cells first..last-1 of the panels cut into ``cuts`` cells each.

    ``times`` (blocks, 2): ends. ``children`` (blocks, 2), -1 for single cells. ``roots``: the blocks at the top.
    """

    times: Array
    first: Index
    last: Index
    children: Index
    roots: Index
    cuts: int

    def contains(self, panels: int) -> NDArray[np.bool_]:
        """Whether a block reaches into the interior of a panel, (blocks, panels)."""
        p = self.cuts * np.arange(panels)
        return np.asarray((self.first[:, None] < p + self.cuts) & (p < self.last[:, None]))

    def root(self) -> Index:
        """The block at the top that holds each block."""
        return np.asarray(np.searchsorted(self.first[self.roots], self.first, side="right") - 1)


def blocks_of(edges: Array, roots: int, cells: int = 32) -> Blocks:
    """Tree over the panels between ``edges`` with ``roots`` blocks at the top and about ``cells`` cells or more."""
    panels = len(edges) - 1
    cuts = max(1, -(-cells // panels))
    share = np.arange(cuts) / cuts
    fine = np.append((edges[:-1, None] + np.diff(edges)[:, None] * share).ravel(), edges[-1])
    top = np.unique(np.linspace(0, panels * cuts, roots + 1).astype(int))
    first, last = list(top[:-1]), list(top[1:])
    children: list[tuple[int, int]] = []
    k = 0
    while k < len(first):
        a, b = first[k], last[k]
        if b - a == 1:
            children.append((-1, -1))
        else:
            middle = (a + b) // 2
            children.append((len(first), len(first) + 1))
            first += [a, middle]
            last += [middle, b]
        k += 1
    low, high = np.array(first), np.array(last)
    return Blocks(np.stack([fine[low], fine[high]], 1), low, high, np.array(children), np.arange(len(top) - 1), cuts)


@dataclass(frozen=True, eq=False)
class Suprema:
    """Upper bounds and values seen, (panels, quantities), with the effort and whether the aim was reached."""

    upper: Array
    lower: Array
    boxes: int
    seconds: float
    reached: bool


@dataclass(frozen=True, eq=False)
class _Leaves:
    block: Index
    centre: Array
    half: Array
    upper: Array
    timely: Array

    def take(self, keep: Index) -> _Leaves:
        return _Leaves(*(getattr(self, k)[keep] for k in self.__dataclass_fields__))

    def joined(self, other: _Leaves) -> _Leaves:
        names = self.__dataclass_fields__
        return _Leaves(*(np.concatenate([getattr(self, k), getattr(other, k)]) for k in names))


@dataclass(frozen=True, eq=False)
class Ball:
    """Ball of ``radius`` around ``middle`` (d,)."""

    middle: Array
    radius: float

    def meets(self, centre: Array, half: Array) -> NDArray[np.bool_]:
        """Whether cells (B, d) reach into the ball (generously)."""
        nearest = np.maximum(np.abs(centre - self.middle) - half, 0)
        return np.asarray(np.sum(nearest**2, axis=1) <= (self.radius * (1 + 1e-9)) ** 2)

    def holds(self, points: Array) -> NDArray[np.bool_]:
        """Whether points (B, d) lie inside."""
        return np.asarray(np.sum((points - self.middle) ** 2, axis=1) <= self.radius**2)


def suprema(
    evaluate: Evaluate,
    blocks: Blocks,
    middle_panel: Index,
    seen: Array,
    ball: Ball,
    *,
    boxes: int,
    gap: float,
    cells: int,
    partner: Index,
) -> Suprema:
    """Suprema over the ball on every panel.

    Anytime: whatever the budget, ``upper`` bounds the suprema; a child never gets a larger bound than its parent. The
    starting grid is evaluated in any case.

    Parameters
    ----------
    evaluate : callable
    blocks : Blocks
    middle_panel : ndarray (blocks,)
        The panel that holds the midpoint of each block, where the values at centres are seen.
    seen : ndarray (panels, Q)
        Values known beforehand (lower values of the suprema).
    ball : Ball
    boxes : int
        Budget of evaluated boxes.
    gap : float
        Relative gap between upper and lower values aimed at.
    cells : int
        Cells per axis of the starting grid.
    partner : ndarray (Q,)
        The quantity that sets a quantity's scale (a log-norm near 0 has none of its own).
    """
    began = time.monotonic()
    contains = blocks.contains(len(seen))
    lower = np.array(seen, dtype=np.float64)
    block, centre, half = _start(blocks, ball, cells)
    leaves = _evaluated(evaluate, block, centre, half, None, middle_panel, ball, lower)
    used = len(block)
    while True:
        upper = _per_panel(leaves, contains)
        size = np.nan_to_num(np.abs(lower), posinf=0.0)
        with np.errstate(invalid="ignore"):
            wanted = ~(upper <= lower + gap * np.maximum(size, size[:, partner] / 4) + 1e-9)
        worst = _shares(leaves, contains, upper, lower, wanted)
        if not wanted.any() or not worst.any():
            break
        room = (boxes - used) // 2 ** len(ball.middle)
        if room == 0:
            break
        order = np.argsort(-worst, kind="stable")[: min(ROUND, room)]
        chosen = order[worst[order] >= WORTH * worst[order[0]]]
        block, centre, half, parent = _split(leaves.take(chosen), blocks, ball)
        children = _evaluated(evaluate, block, centre, half, leaves.upper[chosen][parent], middle_panel, ball, lower)
        used += len(block)
        rest = np.ones(len(leaves.block), dtype=bool)
        rest[chosen] = False
        leaves = leaves.take(np.flatnonzero(rest)).joined(children)
    return Suprema(upper, lower, used, time.monotonic() - began, not wanted.any())


def _start(blocks: Blocks, ball: Ball, cells: int) -> tuple[Index, Array, Array]:
    d = len(ball.middle)
    width = ball.radius * (1 + 1e-9) / cells
    axis = (2 * np.arange(cells) + 1 - cells) * width
    centre = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d) + ball.middle
    half = np.full_like(centre, width * (1 + 1e-9))
    keep = ball.meets(centre, half)
    centre, half = centre[keep], half[keep]
    n = len(blocks.roots)
    return np.repeat(blocks.roots, len(centre)), np.tile(centre, (n, 1)), np.tile(half, (n, 1))


def _split(parents: _Leaves, blocks: Blocks, ball: Ball) -> tuple[Index, Array, Array, Index]:
    """Children that meet the ball, with the index of their parent: in time where that pays, else in velocity."""
    d = parents.centre.shape[1]
    later = (blocks.children[parents.block, 0] >= 0) & (parents.timely > 1 / (1 + d))
    t, v = np.flatnonzero(later), np.flatnonzero(~later)
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * d, indexing="ij")).reshape(d, -1).T
    centre = (parents.centre[v, None] + signs * parents.half[v, None] / 2).reshape(-1, d)
    # a little larger than half, so that rounding leaves no gap between siblings
    half = np.repeat(parents.half[v] / 2, len(signs), axis=0) * (1 + 1e-12) + 1e-15 * np.abs(centre)
    keep = ball.meets(centre, half)
    parent = np.repeat(v, len(signs))[keep]
    halves = np.repeat(t, 2)
    block = np.concatenate([blocks.children[parents.block[t]].ravel(), parents.block[parent]])
    centre = np.concatenate([parents.centre[halves], centre[keep]])
    half = np.concatenate([parents.half[halves], half[keep]])
    return block, centre, half, np.concatenate([halves, parent])


def _evaluated(
    evaluate: Evaluate,
    block: Index,
    centre: Array,
    half: Array,
    bound: Array | None,
    middle_panel: Index,
    ball: Ball,
    lower: Array,
) -> _Leaves:
    """Bounds of new boxes, never above their parents'; ``lower`` is raised by the values seen at their centres."""
    order = np.argsort(block, kind="stable")  # nothing depends on the order but locality
    parts = [evaluate(block[k], centre[k], half[k]) for k in np.array_split(order, -(-len(order) // BATCH))]
    upper, values, timely = (np.concatenate([p[i] for p in parts]) for i in range(3))
    block, centre, half = block[order], centre[order], half[order]
    if bound is not None:
        upper = np.minimum(upper, bound[order])
    inside = ball.holds(centre)
    np.maximum.at(lower, middle_panel[block[inside]], values[inside])
    return _Leaves(block, centre, half, upper, timely)


def _per_panel(leaves: _Leaves, contains: NDArray[np.bool_]) -> Array:
    top = np.full((len(contains), leaves.upper.shape[1]), -np.inf)
    np.maximum.at(top, leaves.block, leaves.upper)
    return np.stack([top[contains[:, p]].max(0) for p in range(contains.shape[1])])


def _shares(leaves: _Leaves, contains: NDArray[np.bool_], upper: Array, lower: Array, wanted: Array) -> Array:
    """Largest share of a wanted gap that each leaf keeps open, (leaves,)."""
    share = np.zeros(len(leaves.block))
    for p in range(contains.shape[1]):
        columns = np.flatnonzero(wanted[p])
        rows = np.flatnonzero(contains[leaves.block, p])
        if not len(columns) or not len(rows):
            continue
        low = np.where(np.isfinite(lower[p, columns]), lower[p, columns], 0.0)
        top, value = upper[p, columns], leaves.upper[np.ix_(rows, columns)]
        with np.errstate(invalid="ignore"):
            part = np.where(np.isfinite(top), (value - low) / np.maximum(top - low, 1e-300), np.isinf(value))
        part[leaves.half[rows].max(1) < SMALLEST] = 0.0  # a singularity is not worth the budget
        share[rows] = np.maximum(share[rows], part.max(1))
    return share
