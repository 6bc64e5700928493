"""The paper's Figures 4-25: which problem, which panels, what the caption says and compares."""

from __future__ import annotations

from validation.figures import density, overtime, particles
from validation.figures.captions import Spec

_SLICES_2D = (
    "Density along the first and the second axis through the mean at three times, below each the difference from the "
    "reference; level lines at 20 % and 70 % of the reference's maximum."
)
_SLICES_3D = (
    "Density along the three axes through the mean at the middle time and at the end, and the difference from the "
    "reference at the end; the marginals at the end and their difference from the reference; level lines on the plane "
    "of the first two axes at 20 % and 70 % of the reference's maximum at three times."
)
_SCORES = (
    "First component of the score against the first component of the velocity, one column a method, one row a time; "
    "rings are the reference's score at the same particles. Last row: distance of the score from the reference's over "
    "its root mean square, against the speed."
)
_FEATURES = (
    "Above: relative Fisher divergence, energy, entropy decay rate. Below: relative change of the energy, change of "
    "the mean velocity (the reference's are those of exact characteristics of the same finitely many starts), relative "
    "error of the decay rate."
)
_ERRORS = "Third row, which the paper does not show: errors against the reference."
_PATHS = (
    "Paths of a few particles in the plane and their speeds over time; relative error of all trajectories over time; "
    "distance of single particles from their reference at the end against their speed at the start."
)
_PLACES = (
    "First two components of the same particles by every method, one column each, one row a time; rings are the places "
    "where the reference has them."
)
_DENSITY = (
    "Relative L² error of the density seen through the KDE; the same without KDE, by change of variables where the "
    "method carries its density; transport distances of the particles from the exact ones."
)

_KDE, _FISHER = ("l2_kde",), ("fisher_divergence",)
_OBSERVED = ("fisher_divergence", "energy", "entropy_rate", "momentum")
_ALL_ERRORS = ("l2_kde", "l2_density", "w1", "w2")


def _three(first: int, problem: str, name: str, slices: str) -> tuple[Spec, ...]:
    """Density, scores and features of a problem that the paper has no reference for."""
    features = f"{_FEATURES} {_ERRORS}"
    compared = (*_OBSERVED, *_ALL_ERRORS[:3])
    return (
        Spec(first, problem, f"{name}: density", slices, density.slices, _KDE),
        Spec(first + 1, problem, f"{name}: scores", _SCORES, particles.scores, _FISHER),
        Spec(first + 2, problem, f"{name}: features", features, overtime.features_and_errors, compared),
    )


SPECS: tuple[Spec, ...] = (
    Spec(4, "bkw2d", "BKW 2D: density", _SLICES_2D, density.slices, _KDE),
    Spec(5, "bkw2d", "BKW 2D: trajectories", _PATHS, particles.trajectories, ("trajectory",)),
    Spec(6, "bkw2d", "BKW 2D: scores", _SCORES, particles.scores, _FISHER),
    Spec(7, "bkw2d", "BKW 2D: features", _FEATURES, overtime.features, _OBSERVED),
    Spec(8, "bkw2d", "BKW 2D: density error", _DENSITY, overtime.density_error, _ALL_ERRORS),
    Spec(9, "bkw3d", "BKW 3D: density", _SLICES_3D, density.slices, _KDE),
    Spec(10, "bkw3d", "BKW 3D: particles", _PLACES, particles.configurations, ("trajectory",)),
    Spec(11, "bkw3d", "BKW 3D: scores", _SCORES, particles.scores, _FISHER),
    Spec(12, "bkw3d", "BKW 3D: features", _FEATURES, overtime.features, _OBSERVED),
    Spec(13, "bkw3d", "BKW 3D: density error", _DENSITY, overtime.density_error, _ALL_ERRORS),
    *_three(14, "gaussian_mixture3d", "Gaussian mixture 3D", _SLICES_3D),
    *_three(17, "rosenbluth3d", "Rosenbluth 3D", _SLICES_3D),
    *_three(20, "anisotropic2d", "Anisotropic 2D", _SLICES_2D),
    *_three(23, "truncated2d", "Truncated 2D", _SLICES_2D),
)
