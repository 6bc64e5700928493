"""Text that is safe and honest to print: no control characters, and rounding that never flatters."""

from __future__ import annotations

import decimal
import math
import re
import unicodedata

ELLIPSIS = "..."
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)


def clean(text: object, limit: int = 200) -> str:
    """One printable line: escape sequences removed, other unprintable characters replaced, folded, cut at limit."""
    folded = " ".join(_ESCAPES.sub("", str(text)[: 8 * limit]).split())
    safe = "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") else c for c in folded)
    return safe if len(safe) <= limit else safe[: limit - len(ELLIPSIS)] + ELLIPSIS


def split_hint(text: str, fix: str) -> tuple[str, str]:
    """Cause and fix of an error whose text may end in ``; did you mean 'x'?``: the question belongs to the fix."""
    cause, hint, name = text.partition("; did you mean ")
    return (cause, f"Did you mean {name.rstrip('?')}? {fix}") if hint else (text, fix)


def _rounded(x: float, digits: int, rounding: str) -> str:
    if math.isnan(x):
        return "unknown"
    if math.isinf(x):
        return "infinite" if x > 0 else "-infinite"
    value = decimal.Context(prec=digits, rounding=rounding).create_decimal_from_float(x)
    return f"{float(value):.{digits}g}"


def rounded_up(x: float, digits: int = 3) -> str:
    """A bound or a ratio for display: never smaller than it is."""
    return _rounded(x, digits, decimal.ROUND_CEILING)


def rounded_down(x: float, digits: int = 3) -> str:
    """A measured error or a limit for display: never larger than it is."""
    return _rounded(x, digits, decimal.ROUND_FLOOR)


def log_rounded_up(log: float, digits: int = 3) -> str:
    """exp(log) rounded up; as a power of ten where a float overflows."""
    if math.isfinite(log) and abs(log) > 690.0:
        return f"10^{math.ceil(log / math.log(10))}"
    return rounded_up(math.exp(log) if log < 690.0 else math.inf if not math.isnan(log) else math.nan, digits)
