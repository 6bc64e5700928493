"""Nested quadrature: every rule carries a coarser one on a subset of its nodes; their difference is the error estimate.

Radially Gauss-Kronrod (7, 15) on panels that can be bisected towards a core, on angles the trapezoid rule against
every other angle (2D) or Gauss-Kronrod x trapezoid (3D); in time Gauss-Kronrod (3, 7).
References: Kronrod (1965); Piessens et al., QUADPACK (1983).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from theory.provenance import Array

_K7_NODES = (0.960491268708020283423507092629, 0.774596669241483377035853079956, 0.434243749346802558002071502844, 0.0)
_K7_WEIGHTS = (
    0.104656226026467265193823857192,
    0.268488089868333440728569280666,
    0.401397414775962222905051818618,
    0.450916538658474142345110087045,
)
_G3_WEIGHTS = (0.0, 5.0 / 9.0, 0.0, 8.0 / 9.0)
_K15_NODES = (
    0.991455371120812639206854697526,
    0.949107912342758524526189684048,
    0.864864423359769072789712788641,
    0.741531185599394439863864773281,
    0.586087235467691130294144691694,
    0.405845151377397166906606412077,
    0.207784955007898467600689403773,
    0.0,
)
_K15_WEIGHTS = (
    0.022935322010529224963732008059,
    0.063092092629978553290700663189,
    0.104790010322250183839876322542,
    0.140653259715525918745189590510,
    0.169004726639267902826583426599,
    0.190350578064785409913256402421,
    0.204432940075298892414161999235,
    0.209482141084727828012999174892,
)
_G7_WEIGHTS = (
    0.0,
    0.129484966168869693270611432679,
    0.0,
    0.279705391489276667901467771424,
    0.0,
    0.381830050505118944950369775489,
    0.0,
    0.417959183673469387755102040816,
)


def _symmetric(half: tuple[float, ...], odd: bool) -> Array:
    """Extend values at the non-negative nodes (descending, last is 0) to all of [-1, 1], ascending."""
    array = np.array(half)
    return np.concatenate([-array if odd else array, array[-2::-1]])


@dataclass(frozen=True)
class Pair:
    """A Gauss-Kronrod pair on [-1, 1]: nodes, weights of the finer rule, weights of the coarser (0 off its nodes)."""

    nodes: Array
    fine: Array
    coarse: Array


K7 = Pair(_symmetric(_K7_NODES, True), _symmetric(_K7_WEIGHTS, False), _symmetric(_G3_WEIGHTS, False))
K15 = Pair(_symmetric(_K15_NODES, True), _symmetric(_K15_WEIGHTS, False), _symmetric(_G7_WEIGHTS, False))


def on_panels(pair: Pair, edges: Array) -> tuple[Array, Array, Array]:
    """Composite rule: nodes, fine and coarse weights, each of shape (n_panels, n_nodes_per_panel)."""
    edges = np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError("panel edges must increase strictly")
    centre, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    nodes = centre[:, None] + half[:, None] * pair.nodes
    return nodes, half[:, None] * pair.fine, half[:, None] * pair.coarse


@dataclass(frozen=True)
class Rule:
    """Quadrature against a probability density on R^d (the density is folded into the weights).

    Parameters
    ----------
    nodes : ndarray (n, d)
    weights, coarse : ndarray (n,)
        Finer and coarser weights on the same nodes; ``coarse`` is 0 off the coarser rule's nodes.
    panel : ndarray (n,) of int
        Radial panel of each node, for refinement.
    edges : ndarray (n_panels + 1,)
        Radial panel edges; the rule stops at ``edges[-1]``, the truncation radius.
    angles : int
        Angular resolution it was built with.
    """

    nodes: Array
    weights: Array
    coarse: Array
    panel: np.ndarray
    edges: Array
    angles: int

    @property
    def first(self) -> np.ndarray:
        """Index of the first node of every radial panel (nodes are sorted by panel)."""
        return np.flatnonzero(np.diff(self.panel, prepend=-1))

    @property
    def radius(self) -> float:
        """Truncation radius."""
        return float(self.edges[-1])

    def integrate(self, values: Array) -> tuple[Array, Array]:
        """Integral of values of shape (..., n) and its error estimate.

        The estimate sums |fine - coarse| over the radial panels: errors of different panels, and of the angles and the
        radii, must not cancel (in one sum they did, and hid a tenfold larger error).
        """
        difference = np.add.reduceat(values * (self.weights - self.coarse), self.first, axis=-1)
        return values @ self.weights, np.sum(np.abs(difference), axis=-1)

    def panel_errors(self, values: Array) -> Array:
        """Error estimate of each radial panel for values of shape (n,); shape (n_panels,)."""
        difference = values * (self.weights - self.coarse)
        return np.abs(np.bincount(self.panel, difference, minlength=len(self.edges) - 1))


def sphere_rule(d: int, angles: int) -> tuple[Array, Array, Array]:
    """Unit vectors (n, d) with finer and coarser weights summing to the area of the unit sphere.

    2D: ``angles`` (even) equispaced angles against every other one. 3D: Gauss-Kronrod (7, 15) in cos(polar angle)
    times ``angles`` azimuths.
    """
    if angles < 4 or angles % 2:
        raise ValueError("the number of angles must be even and at least 4")
    # a quarter step: half a step would put both rules in the same phase for integrands symmetric about an axis or a
    # diagonal, and their difference would not see the error
    azimuth = 2 * np.pi * (np.arange(angles) + 0.25) / angles
    circle = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    fine = np.full(angles, 2 * np.pi / angles)
    coarse = np.where(np.arange(angles) % 2 == 0, 2 * fine, 0.0)
    if d == 2:
        return circle, fine, coarse
    cosine = K15.nodes
    sine = np.sqrt(1 - cosine**2)
    nodes = np.concatenate(
        [sine[:, None, None] * circle, np.broadcast_to(cosine[:, None, None], (15, angles, 1))], axis=2
    )
    return nodes.reshape(-1, 3), np.outer(K15.fine, fine).ravel(), np.outer(K15.coarse, coarse).ravel()


def polar_rule(density: Callable[[Array], Array], centre: Array, edges: Array, angles: int) -> Rule:
    """Rule for integrals against ``density`` in polar coordinates around ``centre``.

    Parameters
    ----------
    density : callable
        ``(n, d) -> (n,)``, normalised.
    centre : ndarray (d,)
    edges : ndarray
        Radial panel edges, the first usually 0.
    angles : int
        Even; see ``sphere_rule``.
    """
    centre = np.asarray(centre, dtype=np.float64)
    d = len(centre)
    radii, fine, coarse = on_panels(K15, edges)
    directions, angle_fine, angle_coarse = sphere_rule(d, angles)
    r = radii.ravel()
    nodes = (r[:, None, None] * directions).reshape(-1, d)
    jacobian = r ** (d - 1)
    mass = density(nodes + centre)
    weights = np.outer(fine.ravel() * jacobian, angle_fine).ravel() * mass
    weights_coarse = np.outer(coarse.ravel() * jacobian, angle_coarse).ravel() * mass
    panel = np.repeat(np.arange(len(edges) - 1), radii.shape[1] * len(directions))
    return Rule(nodes + centre, weights, weights_coarse, panel, np.asarray(edges, dtype=np.float64), angles)


def bisect(edges: Array, panels: Sequence[int]) -> Array:
    """Edges with the named panels halved."""
    middles = [(edges[k] + edges[k + 1]) / 2 for k in panels]
    return np.sort(np.concatenate([edges, middles]))
