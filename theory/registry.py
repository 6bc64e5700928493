"""A mapping filled by importing a package's modules: add a file, done."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class UnknownNameError(KeyError):
    """A name that is not registered; the message suggests the nearest ones."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class Registry(Mapping[str, T]):
    """Objects of one kind by name, read from attribute ``attribute`` of every module of ``package``.

    The attribute may hold one object or a tuple of them; each has an ``id``. Modules are imported on first use.
    """

    def __init__(self, package: str, attribute: str, kind: str) -> None:
        self._package, self._attribute, self._kind = package, attribute, kind
        self._items: dict[str, T] | None = None

    def _load(self) -> dict[str, T]:
        if self._items is None:
            items: dict[str, T] = {}
            package = importlib.import_module(self._package)
            for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
                module = importlib.import_module(f"{self._package}.{info.name}")
                found = getattr(module, self._attribute, ())
                for item in found if isinstance(found, tuple) else (found,):
                    if item.id in items:
                        raise ValueError(f"two {self._kind}s are called {item.id!r}")
                    items[item.id] = item
            self._items = items
        return self._items

    def __getitem__(self, name: str) -> T:
        items = self._load()
        if name not in items:
            near = difflib.get_close_matches(name, items, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(items)}"
            raise UnknownNameError(f"unknown {self._kind} {name!r}{hint}")
        return items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())
