"""Jets of a radial map v -> (R(r)/r) v, r = |v|; plain operators, so numpy arrays and torch tensors both run it."""

from __future__ import annotations

from typing import Any


def radial_jets(unit: Any, eye: Any, ratio: Any, slope: Any, curvature: Any) -> tuple[Any, Any]:
    """First and second velocity derivatives of v -> (R(r)/r) v.

    Parameters
    ----------
    unit : (..., d)
        v/|v|.
    eye : (d, d)
        Identity of the same library and type.
    ratio, slope : (...)
        R/r and R'.
    curvature : pair of (...)
        R'' and (R' - R/r)/r.

    Returns
    -------
    jacobian (..., d, d), hessian (..., d, d, d)
        ``jacobian[i, j] = d_j T_i`` and ``hessian[i, j, k] = d_j d_k T_i``.
    """
    second, shear = curvature
    outer = unit[..., :, None] * unit[..., None, :]
    jacobian = ratio[..., None, None] * eye + (slope - ratio)[..., None, None] * outer
    cube = outer[..., None] * unit[..., None, None, :]
    mixed = (
        unit[..., :, None, None] * eye
        + unit[..., None, :, None] * eye[:, None, :]
        + unit[..., None, None, :] * eye[:, :, None]
    )
    hessian = (second - 3 * shear)[..., None, None, None] * cube + shear[..., None, None, None] * mixed
    return jacobian, hessian
