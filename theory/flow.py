"""What a flow tells about itself: derivatives at points, and growth bounds where they are known by construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.provenance import Array


@dataclass(frozen=True)
class FlowJets:
    """A flow with its derivatives at (t_k, v_i).

    value, dt : (m, n, d); jac[..., i, j] = d_j T_i : (m, n, d, d); hess[..., i, j, k] = d_j d_k T_i : (m, n, d, d, d).
    """

    value: Array
    dt: Array
    jac: Array
    hess: Array

    def det(self) -> Array:
        """Determinant of the Jacobian, (m, n)."""
        j = self.jac
        if j.shape[-1] == 2:
            return np.asarray(j[..., 0, 0] * j[..., 1, 1] - j[..., 0, 1] * j[..., 1, 0])
        return np.asarray(np.linalg.det(j))

    def pushforward_score(self, score0: Array) -> Array:
        """Score of T_# f0 at T(t, v): J^{-T}(grad log f0 - grad log|det J|), (m, n, d) (THEORY section 6.1)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.jac.shape[-1] == 2:
                a, b, c, e = (self.jac[..., i, j] for i in (0, 1) for j in (0, 1))
                inverse = np.stack([np.stack([e, -b], -1), np.stack([-c, a], -1)], -2) / self.det()[..., None, None]
            else:
                inverse = _inverse3(self.jac)
            grad_log_det = np.einsum("...ki,...ikj->...j", inverse, self.hess)
            return np.asarray(np.einsum("...ji,...j->...i", inverse, score0 - grad_log_det))


def _inverse3(jac: Array) -> Array:
    r0, r1, r2 = jac[..., 0, :], jac[..., 1, :], jac[..., 2, :]
    columns = np.stack([np.cross(r1, r2), np.cross(r2, r0), np.cross(r0, r1)], axis=-1)
    return np.asarray(columns / np.sum(r0 * columns[..., 0], axis=-1)[..., None, None])


@dataclass(frozen=True)
class Growth:
    """Bounds of a flow outside a ball, known from its construction; arrays over times (m,).

    For |v| > radius: |T| <= reach[0] + reach[1] |v|, |d_t T| <= speed[0] + speed[1] |v|, ||J^{-1}|| <= inverse,
    |grad log det J| <= log_det.
    """

    radius: float
    reach: tuple[Array, Array]
    speed: tuple[Array, Array]
    inverse: Array
    log_det: Array

    @classmethod
    def at_rest(cls, times: int, radius: float) -> Growth:
        """Of a flow that is the identity for |v| > radius, at so many times."""
        one, zero = np.ones(times), np.zeros(times)
        return cls(radius, (zero, one), (zero, zero), one, zero)
