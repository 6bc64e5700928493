"""Start velocities of given velocities: T(t, v) = y solved for v by damped Newton steps with the flow's Jacobian."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from certify.run import Run
from theory.provenance import Array

STEPS, HALVINGS = 30, 8
TOLERANCE, ACCEPTED = 1e-10, 1e-7  # of |T(t, v) - y| over the spread of the images: aimed at, and good enough


def preimages(run: Run, t: float, y: Array, starts: Array, images: Array) -> tuple[Array, Array] | None:
    """Start velocities v with T(t, v) = y and det J there, (n, d) and (n,); NaN where none was found or det J <= 0.

    Parameters
    ----------
    run : Run
    t : float
    y : ndarray (n, d)
    starts, images : ndarray (k, d)
        Velocities and their images T(t, .); Newton starts at the one whose image is nearest. The better they fill the
        region, the surer it converges; where the flow folds, one of several preimages is found.

    Returns
    -------
    None if the flow gives no derivatives.
    """
    time = np.array([float(t)])
    v = starts[cKDTree(images).query(y)[1]].astype(np.float64)
    limit = TOLERANCE * float(np.ptp(images, axis=0).max())
    jets = run.jets(time, v)
    if jets is None:
        return None
    value, jac, det = jets.value[0].copy(), jets.jac[0].copy(), jets.det()[0].copy()
    gap = np.linalg.norm(value - y, axis=1)
    alive = np.ones(len(y), dtype=np.bool_)
    for _ in range(STEPS):
        alive &= np.isfinite(gap) & np.isfinite(det) & (det != 0.0)
        rows = np.flatnonzero(alive & (gap > limit))
        if not len(rows):
            break
        step = np.linalg.solve(jac[rows], (value - y)[rows][..., None])[..., 0]
        for halving in range(HALVINGS):
            trial = v[rows] - step / 2**halving
            moved = run.jets(time, trial)
            if moved is None:
                return None
            size = np.linalg.norm(moved.value[0] - y[rows], axis=1)
            better = size < gap[rows]
            done = rows[better]
            v[done], gap[done], value[done] = trial[better], size[better], moved.value[0][better]
            jac[done], det[done] = moved.jac[0][better], moved.det()[0][better]
            rows, step = rows[~better], step[~better]
            if not len(rows):
                break
        alive[rows] = False  # no step helps: nothing to be found from here
    good = (gap <= ACCEPTED / TOLERANCE * limit) & (det > 0)
    return np.where(good[:, None], v, np.nan), np.where(good, det, np.nan)
