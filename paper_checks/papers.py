"""The papers that are checked: every subpackage is one, every module in it with an attribute ``CHECK`` one statement.

A subpackage tells its ``TITLE`` and, in ``NUMBERS``, which numbered statements must have a row; add a folder, done.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass

from paper_checks.check import Check
from theory.registry import Registry

_NUMBER = re.compile(r"\(([0-9A-Z]+)\.(\d+)\)(?:-\(\1\.(\d+)\))?")
_NAME = re.compile(r"(Lemma|Theorem|Assumption|Remark|Corollary|Proposition)s? (\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Paper:
    """One paper: its folder, title, numbered statements, and checks by id."""

    id: str
    title: str
    numbers: tuple[str, ...]
    checks: Mapping[str, Check]


def numbered(source: str) -> tuple[str, ...]:
    """Numbered statements a source names: '(3.1)-(3.3), Lemma 2' is (3.1), (3.2), (3.3), Lemma 2."""
    found = []
    for section, first, last in _NUMBER.findall(source):
        found += [f"({section}.{k})" for k in range(int(first), int(last or first) + 1)]
    for kind, first, last in _NAME.findall(source):
        found += [f"{kind} {k}" for k in range(int(first), int(last or first) + 1)]
    return tuple(found)


def _paper(name: str) -> Paper:
    package = importlib.import_module(f"paper_checks.{name}")
    numbers = numbered(getattr(package, "NUMBERS", ""))
    return Paper(name, package.TITLE, numbers, Registry(package.__name__, "CHECK", "check"))


def load() -> dict[str, Paper]:
    """Every paper by the name of its folder."""
    package = importlib.import_module("paper_checks")
    return {info.name: _paper(info.name) for info in pkgutil.iter_modules(package.__path__) if info.ispkg}
