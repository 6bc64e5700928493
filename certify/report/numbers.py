"""Numbers as printed: every rounding is directed so that it can only make the model look worse.

Bounds go up, measured lower values down, uncertainties up, ratios away from the favourable side. Reading a printed
number back as a float keeps the inequality: ``float(up(x)) >= x`` and ``float(down(x)) <= x``. Above 1e5 a power of ten
with one decimal is printed ("10^98.3"), so that e^(10^4) is a number and not an overflow. A number that does not exist
is a word.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

UNDEFINED = "undefined"
LARGE = Decimal(100_000)
LOG_LARGE = math.log(1e5)
SMALLEST_PLAIN_EXPONENT = -3
UNDERFLOW_LOG10 = -300.0

_EXACT = Context(prec=1200)  # no float needs more digits, and no difference of two of them
_LN10 = Decimal(10).ln(Context(prec=50))


def _special(x: float) -> str | None:
    if math.isnan(x):
        return UNDEFINED
    if math.isinf(x):
        return "inf" if x > 0 else "-inf"
    return "0" if x == 0 else None


def _round(value: Decimal, digits: int, rounding: str) -> Decimal:
    """``value`` to ``digits`` significant digits; a carry (9.999 to 10.00) is renormalised."""
    context = Context(prec=1200, rounding=rounding)
    rounded = value.quantize(Decimal((0, (1,), value.adjusted() - digits + 1)), context=context)
    if not rounded:
        return rounded
    return rounded.quantize(Decimal((0, (1,), rounded.adjusted() - digits + 1)), context=context)


def _power(log10: Decimal, rounding: str) -> str:
    return f"10^{log10.quantize(Decimal('0.1'), rounding=rounding)}"


def _plain(value: Decimal) -> str:
    exponent = value.adjusted()
    if exponent >= SMALLEST_PLAIN_EXPONENT:
        return format(value, "f")
    return f"{format(value.scaleb(-exponent), 'f')}e{exponent}"


def _directed(value: Decimal, digits: int, rounding: str) -> str:
    if not value:
        return "0"
    if abs(value) > LARGE:
        outward = rounding if value > 0 else (ROUND_FLOOR if rounding == ROUND_CEILING else ROUND_CEILING)
        return ("-" if value < 0 else "") + _power(abs(value).log10(Context(prec=50)), outward)
    return _plain(_round(value, digits, rounding))


def up(x: float, digits: int = 3) -> str:
    """``x`` rounded towards +inf to ``digits`` significant digits: for bounds and uncertainties."""
    return _special(x) or _directed(Decimal(repr(float(x))), digits, ROUND_CEILING)


def down(x: float, digits: int = 3) -> str:
    """``x`` rounded towards -inf to ``digits`` significant digits: for measured errors and trivial bounds."""
    return _special(x) or _directed(Decimal(repr(float(x))), digits, ROUND_FLOOR)


def plain(x: float, digits: int = 4) -> str:
    """A time, a size, a setting: nearest, no claim attached."""
    return _special(x) or f"{x:.{digits}g}"


def _from_log(log: float, digits: int, rounding: str) -> str:
    if math.isnan(log):
        return UNDEFINED
    if math.isinf(log):
        return "inf" if log > 0 else "0"
    log10 = log / math.log(10)
    if log10 > math.log10(LARGE) or log10 < UNDERFLOW_LOG10:
        return _power(Decimal(repr(log)) / _LN10, rounding)
    return _directed(Decimal(repr(math.exp(log))), digits, rounding)


def up_log(log: float, digits: int = 3) -> str:
    """The number whose natural logarithm is ``log``, rounded up; ``-inf`` is 0, ``inf`` is "inf"."""
    return _from_log(float(log), digits, ROUND_CEILING)


def down_log(log: float, digits: int = 3) -> str:
    """The number whose natural logarithm is ``log``, rounded down."""
    return _from_log(float(log), digits, ROUND_FLOOR)


def enclosure(lower: float | None, upper: float | None, *, pm: str = "±") -> str:
    """A measured error known to lie in [lower, upper], as "centre ±half-width".

    The centre is rounded down and the half-width up, so that the printed interval contains the measured one. With one
    side only: "≥ x" or "≤ x"; with none: "unmeasured".
    """
    ascii_only = pm != "±"
    if (lower is not None and math.isnan(lower)) or (upper is not None and math.isnan(upper)):
        return UNDEFINED
    if upper is not None and math.isinf(upper):
        upper = None
    if lower is None:
        return "unmeasured" if upper is None else f"{'<=' if ascii_only else '≤'}{up(upper)}"
    if upper is None:
        return f"{'>=' if ascii_only else '≥'}{down(lower)}"
    if lower == upper:
        return down(lower)
    low, high = Decimal(repr(float(lower))), Decimal(repr(float(upper)))
    middle = _EXACT.divide(_EXACT.add(low, high), Decimal(2))
    centre = _round(middle, 3, ROUND_FLOOR) if middle else middle
    half = max(abs(_EXACT.subtract(high, centre)), abs(_EXACT.subtract(centre, low)))
    return f"{_directed(centre, 3, ROUND_FLOOR)} {pm}{_directed(half, 2, ROUND_CEILING)}"


def ratio_end(log: float) -> str:
    """One end of a ratio bound/error: up if it is at least 1 (looser), down if below 1 (closer to a contradiction)."""
    return up_log(log) if log >= 0 else down_log(log)


def ratio(low: float | None, high: float | None, *, ascii_only: bool = False) -> str:
    """Effectivity from natural logarithms: bound/measured upper to bound/measured lower.

    A missing or infinite end leaves a one-sided statement, rounded so that it stays true; both missing is "none".
    """
    low = None if low is None or math.isnan(low) else low
    high = None if high is None or math.isnan(high) or high == math.inf else high
    if low == math.inf:
        return "inf"
    if low is None and high is None:
        return "none"
    if low is None:
        return f"{'<=' if ascii_only else '≤'}{up_log(high if high is not None else math.inf)}"
    if high is None:
        return f"{'>=' if ascii_only else '≥'}{down_log(low)}"
    first, last = ratio_end(low), ratio_end(high)
    if first != last and low > LOG_LARGE:  # the upper end of a useless ratio says no more
        return f"{'>=' if ascii_only else '≥'}{down_log(low)}"
    return first if first == last else f"{first}..{last}"
