"""What may be shown of a certificate: its bound where it is not void, its measured error, their ratio.

Everything stays in natural logarithms, so that nothing overflows before it is printed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from certify.results import Certificate, Report, Status
from theory.provenance import Array, Estimate

LOG10 = math.log(10.0)


def void(certificate: Certificate) -> NDArray[np.bool_]:
    """Times at which a failed hypothesis voids the bound, shape of ``times``."""
    late = np.asarray(certificate.times > certificate.valid_until)
    if len(certificate.statuses) != len(certificate.times):
        return late
    return late | np.array([status is Status.VOID for status in certificate.statuses], dtype=np.bool_)


def shown_log(certificate: Certificate, log_values: Array | None) -> Array | None:
    """Logarithms with NaN where the certificate is void; None where there are none."""
    if log_values is None:
        return None
    return np.where(void(certificate), np.nan, np.asarray(log_values, dtype=np.float64))


def last_log_bound(certificate: Certificate) -> float | None:
    """Log of the bound at the last time; None where it is missing, void or not a number."""
    shown = shown_log(certificate, certificate.log_bound)
    if shown is None or not len(shown) or np.isnan(shown[-1]):
        return None
    return float(shown[-1])


def last_valid(certificate: Certificate) -> tuple[float, float] | None:
    """Last time at which the bound is not void, with its log; None if there is none after the start."""
    shown = shown_log(certificate, certificate.log_bound)
    if shown is None:
        return None
    good = np.flatnonzero(~np.isnan(shown))
    if not len(good) or good[-1] == 0:
        return None
    return float(certificate.times[good[-1]]), float(shown[good[-1]])


def last_log_trivial(certificate: Certificate) -> float | None:
    """Log of the trivial bound at the last time, if known."""
    if certificate.log_trivial is None or not len(certificate.log_trivial):
        return None
    last = float(certificate.log_trivial[-1])
    return None if math.isnan(last) else last


def on_times(estimate: Estimate | None, times: Array) -> Array | None:
    """Values of an estimate on the report times; None if it has none there (nodal values are not resampled)."""
    if estimate is None:
        return None
    value = np.asarray(estimate.value, dtype=np.float64)
    if value.ndim == 0:
        return np.full(len(times), float(value))
    return value if value.shape == (len(times),) else None


def axis_of(estimate: Estimate, report: Report) -> str:
    """Where an estimate lives: "constant", "times", "nodes" or "other"."""
    value = np.asarray(estimate.value)
    if value.ndim == 0:
        return "constant"
    return {(len(report.times),): "times", (len(report.nodes),): "nodes"}.get(value.shape, "other")


def measured_sides(certificate: Certificate) -> tuple[Array | None, Array | None]:
    """Lower and upper values of the measured error on the report times."""
    measured = certificate.measured
    if measured is None:
        return None, None
    return on_times(measured.lower, certificate.times), on_times(measured.upper, certificate.times)


def last_measured(certificate: Certificate) -> tuple[float | None, float | None]:
    """Measured lower and upper value at the last time; an infinite upper value is none."""
    lower, upper = measured_sides(certificate)
    low = None if lower is None or not len(lower) else float(lower[-1])
    high = None if upper is None or not len(upper) or math.isinf(upper[-1]) else float(upper[-1])
    return low, high


def log_effectivity(certificate: Certificate) -> tuple[float | None, float | None]:
    """Logs of [bound / measured upper, bound / measured lower] at the last time.

    None where a side is not available; ``inf`` where the measured side is 0 and the bound is not.
    """
    bound = last_log_bound(certificate)
    if bound is None:
        return None, None
    ends: list[float | None] = []
    for value in reversed(last_measured(certificate)):
        if value is None or value < 0 or (value == 0 and bound == -math.inf):
            ends.append(None)
        else:
            ends.append(math.inf if value == 0 else bound - math.log(value))
    return ends[0], ends[1]
