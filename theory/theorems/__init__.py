"""One file per theorem; each defines ``THEOREM`` (one ``Theorem`` or a tuple)."""

from theory.registry import Registry
from theory.theorem import Theorem

THEOREMS: Registry[Theorem] = Registry("theory.theorems", "THEOREM", "theorem")
