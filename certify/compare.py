"""Two ``report.json`` side by side: what ``certify verify`` and ``certify diff`` say. No recomputation here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from certify.text import clean, log_rounded_up, rounded_down, rounded_up
from theory.errors import UserError

MAX_BYTES = 64 * 2**20
JSON_NAME = "report.json"
LOG10 = math.log(10.0)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
# what may differ between two machines or two copies of a file without the numbers being others
_NOTE_ONLY = re.compile(r"^(model\.(source|name|path)|environment|digest)(\.|\[|$)")
_FIX = "Give the folder (or its report.json) that certify report wrote"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def load(path: Path) -> tuple[bytes, dict[str, Any]]:
    """A report's bytes and content; the path is the file or its folder.

    Raises
    ------
    UserError
        E400 if it is no report.
    """
    try:
        file = path / JSON_NAME if path.is_dir() else path
        if file.stat().st_size > MAX_BYTES:
            raise UserError("E400", f"{clean(file)} is larger than {MAX_BYTES // 2**20} MB and no report of ours", _FIX)
        data = file.read_bytes()
        content = json.loads(data, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise UserError("E400", f"{clean(path)} cannot be read as a report: {clean(why)}", _FIX) from None
    if not isinstance(content, dict) or not isinstance(content.get("certificates"), list):
        raise UserError("E400", f"{clean(file)} is not a report (it has no list of certificates)", _FIX)
    return data, content


def untouched(content: Mapping[str, Any]) -> bool:
    """Whether a report still has the digest it was written with (of everything else, keys sorted, compact ASCII)."""
    bare = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return content.get("digest") in (None, hashlib.sha256(text.encode("ascii")).hexdigest())


@dataclass(frozen=True)
class Comparison:
    """How a second report differs from a first: what counts, what does not, and the largest relative difference."""

    changed: tuple[str, ...]
    notes: tuple[str, ...]
    largest: float
    where: str


def _id(part: Any) -> str | None:
    found = part.get("id") if isinstance(part, Mapping) else None
    return found if isinstance(found, str) else None


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path, without recursion; list entries that carry an id are named by it."""
    stack = [(path, value)]
    while stack:
        here, item = stack.pop()
        if isinstance(item, Mapping) and item:
            stack += [(f"{here}.{key}" if here else str(key), part) for key, part in reversed(list(item.items()))]
        elif isinstance(item, list) and item:
            ids = [_id(part) for part in item]
            named = None not in ids and len(set(ids)) == len(ids)
            stack += [(f"{here}[{ids[k] if named else k}]", part) for k, part in reversed(list(enumerate(item)))]
        else:
            yield here, item


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _relative(a: float, b: float) -> float:
    """Relative difference; infinite unless it can be computed."""
    if a == b:
        return 0.0
    try:
        gap = abs(a - b) / max(abs(a), abs(b))
    except (OverflowError, ZeroDivisionError):
        return math.inf
    return gap if gap >= 0 else math.inf


def _same_text(a: Any, b: Any) -> bool:
    """Whether two sentences agree apart from the numbers in them (those are compared where they are data)."""
    return isinstance(a, str) and isinstance(b, str) and " " in a and _NUMBER.sub("#", a) == _NUMBER.sub("#", b)


def compare(first: Mapping[str, Any], second: Mapping[str, Any], tolerance: float) -> Comparison:
    """Compare every leaf: numbers to a relative tolerance, sentences up to the numbers in them, the rest exactly."""
    old, new = dict(_leaves(first)), dict(_leaves(second))
    changed: list[str] = []
    notes: list[str] = []
    largest, where = 0.0, ""
    for path in [*old, *(p for p in new if p not in old)]:
        if path not in old or path not in new:
            text = f"{clean(path)}: {'only in the new one' if path in new else 'missing in the new one'}"
            (notes if _NOTE_ONLY.match(path) else changed).append(text)
            continue
        a, b = old[path], new[path]
        if type(a) is type(b) and a == b:
            continue
        text = f"{clean(path)}: {clean(a, 60)} -> {clean(b, 60)}"
        if _NOTE_ONLY.match(path):
            notes.append(text)
        elif _is_number(a) and _is_number(b):
            gap = _relative(a, b)
            if not gap <= largest:
                largest, where = gap, clean(path)
            if not gap <= tolerance:
                changed.append(text)
        elif _same_text(a, b):
            notes.append(text)
        else:
            changed.append(text)
    return Comparison(tuple(changed), tuple(notes), largest, where)


def arrays_differ(first: Path, second: Path, tolerance: float) -> tuple[str, ...]:
    """Differences of two ``arrays.npz``; nothing is unpickled."""
    import numpy as np

    lines = []
    try:
        with (
            first.open("rb") as old,
            second.open("rb") as new,
            np.load(old, allow_pickle=False) as a,
            np.load(new, allow_pickle=False) as b,
        ):
            lines += [f"arrays.npz: {clean(name)} is in one of the two only" for name in set(a.files) ^ set(b.files)]
            for name in sorted(set(a.files) & set(b.files)):
                x, y = a[name], b[name]
                if x.shape != y.shape or x.dtype.kind != y.dtype.kind:
                    lines.append(f"arrays.npz: {clean(name)} has another shape or type")
                elif x.dtype.kind not in "fc":
                    if not np.array_equal(x, y):
                        lines.append(f"arrays.npz: {clean(name)} differs")
                else:
                    scale = np.max(np.abs(x[np.isfinite(x)]), initial=0.0)
                    if not np.allclose(x, y, rtol=tolerance, atol=tolerance * float(scale), equal_nan=True):
                        lines.append(f"arrays.npz: {clean(name)} differs")
    except Exception as error:  # noqa: BLE001  - zipfile and zlib have their own errors; a broken file is not our bug
        lines.append(f"arrays.npz cannot be compared: {clean(error)}")
    return tuple(lines)


@dataclass(frozen=True)
class _Row:
    """One certificate at the end of the window, as far as a file that may come from anywhere can be read."""

    status: str
    rigor: str
    bound: str
    log10: float | None
    measured: float | None


def _last(values: Any) -> float | None:
    last = values[-1] if isinstance(values, list) and values else values
    return float(last) if _is_number(last) and abs(last) < 1e308 else None


def _bound(item: Mapping[str, Any]) -> tuple[str, float | None]:
    """The bound at the end, rounded up, and its decimal logarithm; from ``log10_bound`` where it overflows."""
    bound, log10 = _last(item.get("bound")), _last(item.get("log10_bound"))
    if bound is not None and bound >= 0:
        return rounded_up(bound), math.log10(bound) if bound > 0 else -math.inf
    if bound is None and log10 is not None:
        return log_rounded_up(log10 * LOG10), log10
    return "none", None


def _rows(report: Mapping[str, Any]) -> dict[str, _Row]:
    rows = {}
    for item in report["certificates"]:
        if isinstance(item, Mapping) and isinstance(item.get("id"), str):
            measured = item.get("measured")
            lower = _last(measured.get("lower")) if isinstance(measured, Mapping) else None
            status, rigor = clean(item.get("status", "?"), 20), clean(item.get("rigor", "?"), 20)
            rows[clean(item["id"], 40)] = _Row(status.upper(), rigor, *_bound(item), lower)
    return rows


def _headline(report: Mapping[str, Any], part: str, names: tuple[str, ...]) -> str:
    section = report.get(part)
    if not isinstance(section, Mapping):
        return "?"
    return " ".join(clean(section[name], 80) for name in names if section.get(name) not in (None, "")) or "?"


def _arrow(a: str, b: str) -> str:
    return a if a == b else f"{a} -> {b}"


def _measured(x: float | None) -> str:
    return "none" if x is None else rounded_down(x)


def _factor(a: float | None, b: float | None) -> str:
    if a is None or b is None or math.isinf(a):
        return ""
    return f"x{log_rounded_up((b - a) * LOG10)}"


def diff_lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """A table of statuses, labels, bounds (rounded up) and measured errors (rounded down) at the end of the window."""
    lines = []
    for title, part, names in (("problem", "problem", ("spec",)), ("model", "model", ("name", "digest"))):
        lines.append(f"{title:<8} {_arrow(_headline(first, part, names), _headline(second, part, names))}")
    if first.get("problem") != second.get("problem"):
        lines.append("         the problems differ: these numbers answer different questions")
    if first.get("options") != second.get("options"):
        lines.append("options  differ: " + ", ".join(_changed_options(first.get("options"), second.get("options"))))
    head = ("certificate", "status", "rigor", "bound", "factor", "measured at least")
    rows = [head]
    old, new = _rows(first), _rows(second)
    for name in [*old, *(n for n in new if n not in old)]:
        a, b = old.get(name), new.get(name)
        if a is None or b is None:
            only = a or b
            if only is not None:
                where = "only in the first" if b is None else "only in the second"
                rows.append((name, only.status, only.rigor, only.bound, where, _measured(only.measured)))
            continue
        rows.append(
            (
                name,
                _arrow(a.status, b.status),
                _arrow(a.rigor, b.rigor),
                _arrow(a.bound, b.bound),
                _factor(a.log10, b.log10),
                _arrow(_measured(a.measured), _measured(b.measured)),
            )
        )
    lines += _bracket_lines(first, second)
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines += ["", *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows), ""]
    statuses = sum(old[n].status != new[n].status for n in old if n in new)
    lower = sum(1 for n in old if n in new and _smaller(new[n].log10, old[n].log10))
    higher = sum(1 for n in old if n in new and _smaller(old[n].log10, new[n].log10))
    return [*lines, f"{statuses} statuses changed; {lower} bounds smaller, {higher} larger in the second"]


def _brackets(report: Mapping[str, Any]) -> dict[str, str]:
    """Two-sided intervals at the end of the window, rounded outwards; in words where an end is missing."""
    found = {}
    items = report.get("brackets")
    for item in items if isinstance(items, list) else ():
        if not (isinstance(item, Mapping) and isinstance(item.get("id"), str)):
            continue
        low, high = _last(item.get("lower")), _last(item.get("upper"))
        left = "none" if low is None else rounded_down(low)
        right = "none" if high is None else rounded_up(high)
        crossed = " CONTRADICTED" if item.get("contradicted") is True else ""
        found[clean(item["id"], 40)] = f"[{left}, {right}]{crossed}"
    return found


def _bracket_lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    old, new = _brackets(first), _brackets(second)
    names = [*old, *(n for n in new if n not in old)]
    width = max((len(n) for n in names), default=0)
    shown = [f"between  {n:<{width}}  {_arrow(old.get(n, 'absent'), new.get(n, 'absent'))}" for n in names]
    return ["", *shown] if shown else []


def _smaller(a: float | None, b: float | None) -> bool:
    return a is not None and (b is None or a < b)


def _changed_options(first: Any, second: Any) -> list[str]:
    if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
        return ["one of the two has none"]
    names = [*first, *(n for n in second if n not in first)]
    return [
        f"{clean(n, 30)} {clean(first.get(n), 30)} -> {clean(second.get(n), 30)}"
        for n in names
        if first.get(n) != second.get(n)
    ]
