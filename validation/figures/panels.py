"""What is drawn where: panels of series of numbers, and the one look that every method has in all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from certify.report.axes import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION
from theory.provenance import Array

REFERENCE = "reference"
SMOOTHED = "smoothed"
FLOOR = "floor"
DIRECT = ":density"  # suffix of a series: the density by change of variables, without a kernel estimate
ROUNDING = 1e-12  # errors up to this are zero to rounding
POINTS = 90  # particles drawn in a scatter panel; more hide each other


@dataclass(frozen=True)
class Style:
    """How a series looks in every figure."""

    label: str
    color: str
    dashes: Any = "-"
    marker: str = ""
    width: float = 1.5


# Later methods are thinner: where curves coincide, each is seen through the next.
METHODS: Mapping[str, Style] = {
    "pinn-particle": Style("PINN-particle", BLUE, "-", "o", 2.2),
    "pinn-score": Style("PINN-score", VERMILION, (0, (3.5, 1.5)), "s", 1.8),
    "flow-defect": Style("flow-defect", GREEN, (0, (5, 1.5, 1, 1.5)), "^", 1.5),
    "sbp": Style("SBP", PURPLE, (0, (2, 1.2)), "D", 1.3),
    "blob": Style("blob", ORANGE, (0, (8, 2, 1.5, 2, 1.5, 2)), "v", 1.1),
}
STYLES: Mapping[str, Style] = {
    **METHODS,
    **{name + DIRECT: Style(s.label, s.color, (0, (1, 1)), "", 1.0) for name, s in METHODS.items()},
    REFERENCE: Style("reference", "#a6a6a6", "-", "o", 3.6),
    SMOOTHED: Style("reference seen through the KDE", "#555555", (0, (1, 1.2)), "", 1.8),
    FLOOR: Style("noise floor", GREY),
}


@dataclass(frozen=True)
class Series:
    """Numbers of one curve, cloud or band; NaN separates pieces.

    Parameters
    ----------
    name : str
        Key of ``STYLES``.
    x, y : ndarray (n,)
    kind : str
        "line"; "marked", a line with markers at its points; "points"; "band", between ``low`` and ``y``.
    low : ndarray (n,) or None
        Lower edge of a band; None: the bottom of the axes.
    """

    name: str
    x: Array
    y: Array
    kind: str = "line"
    low: Array | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Parameters
    ----------
    series : tuple of Series
        Drawn in this order.
    missing : tuple of (str, str)
        Whose numbers are not drawn, and why.
    log : bool
        Logarithmic vertical axis.
    square : bool
        Equal scales of both axes.
    notes : tuple of str
        Small print above the panel.
    """

    title: str
    xlabel: str
    ylabel: str
    series: tuple[Series, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    log: bool = False
    square: bool = False
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


Rows = Sequence[Sequence[Panel]]


def time_label(t: float) -> str:
    """T = 2.5."""
    return f"t = {t:.4g}"
