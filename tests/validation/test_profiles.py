"""Lines and planes of densities: the truth's are the density, smoothing is a convolution, axes are not mixed up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from theory.provenance import Array
from validation import metrics, profiles
from validation.plan import SETUPS
from validation.truth import Truth

VARIANCES = np.array([0.4, 0.6, 0.5])  # all but 1e-6 of the mass is on the grid


class Gaussian:
    """An anisotropic Gaussian that stands for the exact solution."""

    def log_density(self, t: float, v: Array) -> Array:
        s = VARIANCES[: v.shape[1]]
        return -0.5 * np.sum(v * v / s + np.log(2 * np.pi * s), axis=1)


def truth_of(name: str, cells: int) -> Truth:
    setup = dataclasses.replace(SETUPS[name], cells=cells, times=SETUPS[name].times[:1])
    empty = np.empty((1, 0, setup.problem().d))
    return Truth(setup, setup.problem(), "", empty, np.zeros(1), exact=Gaussian())  # type: ignore[arg-type]


def line(axis: Array, variance: float) -> Array:
    """A centred Gaussian in one variable."""
    return np.exp(-0.5 * axis**2 / variance) / np.sqrt(2 * np.pi * variance)


@pytest.mark.parametrize(("name", "cells"), [("bkw2d", 100), ("bkw3d", 40)])
def test_truth_of_a_gaussian_is_in_closed_form_with_and_without_smoothing(name: str, cells: int) -> None:
    truth = truth_of(name, cells)
    d, axis, h2 = truth.problem.d, truth.setup.axes(1)[0], truth.setup.bandwidth**2
    out = profiles.of_truth(truth)
    assert out["plane"].shape == out["plane_smoothed"].shape == (1, cells, cells)
    middle = np.searchsorted(axis, 0.0)
    np.testing.assert_allclose(  # the nearest row of cells is half a cell off the slice
        out["plane_smoothed"][0, :, middle], out["slice_x_smoothed"][0], atol=0.02 * out["slice_x_smoothed"].max()
    )
    for suffix, extra, rel in (("", 0.0, 1e-7), ("_smoothed", h2, 2e-4)):
        for j in range(d):
            variance = VARIANCES[:d] + extra
            centre = np.prod([line(np.zeros(1), v)[0] for i, v in enumerate(variance) if i != j])
            along, marginal = profiles.SLICES[j] + suffix, profiles.MARGINALS[j] + suffix
            exact = line(axis, variance[j])
            np.testing.assert_allclose(out[along][0], exact * centre, atol=rel * exact.max() * centre)
            np.testing.assert_allclose(out[marginal][0], exact, atol=max(rel, 1e-6) * exact.max())


def test_first_axis_of_the_plane_is_its_first_index() -> None:
    truth = truth_of("bkw2d", 40)
    plane = profiles.of_truth(truth)["plane"][0]
    axis = truth.setup.axes(1)[0]
    spread = [float((plane.sum(axis=1 - j) * axis**2).sum() / plane.sum()) for j in range(2)]
    assert spread == pytest.approx(VARIANCES[:2], rel=1e-2)


def test_particles_are_seen_along_each_axis_as_their_own_coordinates() -> None:
    rng = np.random.default_rng(2)
    mean, axis, h = np.array([0.0, 0.5, 1.0]), np.linspace(-3, 3, 7), 0.4
    x = mean + rng.standard_normal((1, 50, 3))
    w = rng.random(50)
    out = profiles.of_particles(x, w / w.sum(), mean, axis, h)

    def estimate(v: Array, free: tuple[int, ...]) -> float:
        kernel = np.exp(-0.5 * ((v - x[0][:, free]) / h) ** 2) / (h * np.sqrt(2 * np.pi))
        return float(kernel.prod(axis=1) @ w / w.sum())

    for j in range(3):
        for i in (0, 4):
            point = mean.copy()
            point[j] = axis[i]
            assert out[profiles.SLICES[j]][0, i] == pytest.approx(estimate(point, (0, 1, 2)), rel=1e-12)
            assert out[profiles.MARGINALS[j]][0, i] == pytest.approx(estimate(axis[i : i + 1], (j,)), rel=1e-12)
    point = np.array([axis[2], axis[5], mean[2]])
    assert out["plane"][0, 2, 5] == pytest.approx(estimate(point, (0, 1, 2)), rel=1e-6)  # single precision


def test_smoothed_truth_is_the_mean_of_kernel_estimates() -> None:
    truth, rng = truth_of("bkw2d", 100), np.random.default_rng(4)
    axis, h = truth.setup.axes(1)[0], truth.setup.bandwidth
    x = rng.standard_normal((200_000, 2)) * np.sqrt(VARIANCES[:2])
    found = metrics.kde(x, [axis, np.zeros(1)], h).ravel()
    smooth = profiles.of_truth(truth)["slice_x_smoothed"][0]
    assert np.abs(found - smooth).max() < 0.03 * smooth.max()  # about five standard deviations
