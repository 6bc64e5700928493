"""What may stand on the command line: parsers of values that say what is wrong, and a parser with did-you-mean."""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from certify.console import out
from certify.text import clean, split_hint
from theory.errors import UserError

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"[+-]?([0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})([eE][+-]?[0-9]{1,3})?")


def whole(low: int, high: int) -> Callable[[str], int]:
    """Parser of a whole number in [low, high]."""

    def parse(text: str) -> int:
        if not (_WHOLE.fullmatch(text) and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{clean(text, 60)!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def real(meaning: str, low: float, high: float) -> Callable[[str], float]:
    """Parser of a finite number strictly between low and high; ``meaning`` says which."""

    def parse(text: str) -> float:
        value = float(text) if _REAL.fullmatch(text) else math.nan
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{clean(text, 60)!r} is not {meaning}")
        return value

    return parse


POSITIVE = real("a positive number", 0.0, math.inf)
CONFIDENCE = real("a probability strictly between 0 and 1", 0.0, 1.0)
TIMES, SAMPLES, W1_SAMPLES = whole(1, 2_000), whole(2, 10_000_000), whole(2, 20_000)
SEED = whole(0, 2**32 - 1)


def limit(text: str) -> tuple[str, float]:
    """Parser of ID=X."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{clean(text, 60)!r} is not of the form ID=X, for example stability_w2=0.01")
    return name, POSITIVE(value)


def setting(text: str) -> tuple[str, str]:
    """Parser of key=value."""
    name, equals, value = text.partition("=")
    if not (equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,60}", name)):
        raise argparse.ArgumentTypeError(f"{clean(text, 60)!r} is not of the form key=value")
    return name, value


def one_of(*known: str) -> Callable[[str], str]:
    """Parser of one of a few words, in any case."""

    def parse(text: str) -> str:
        if text.lower() in known:
            return text.lower()
        raise argparse.ArgumentTypeError(f"{clean(text, 60)!r} is none of {', '.join(known)}{near(text, known)}")

    return parse


def proofs(text: str) -> str:
    """Parser of N or ``all``."""
    return text if text == "all" else str(whole(1, 10**9)(text))


def file_name(text: str) -> str:
    """Parser of a path: not empty, no zero byte."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("the name is empty or contains a zero byte")
    return text


def near(word: str, known: Sequence[str]) -> str:
    """``; did you mean 'x'?`` or nothing."""
    match = difflib.get_close_matches(word.lower(), known, n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


RIGOR_LABELS = ("assumed", "sampled", "numerical", "statistical", "verified", "exact")


class Parser(argparse.ArgumentParser):
    """argparse with our error line, did-you-mean for options, and output that survives a closed pipe."""

    def error(self, message: str) -> NoReturn:
        """One line, exit code 2."""
        raise UserError("E400", *split_hint(clean(message, 400), f"Run '{self.prog} --help' to see what it takes"))

    def print_help(self, file: Any = None) -> None:
        """Help on stdout."""
        del file
        out(self.format_help().rstrip("\n"))

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse; unknown options first, so that a typo is named and not its consequence."""
        known = tuple(self._option_string_actions)
        for argument in arguments:
            if argument == "--":
                break
            name = argument.partition("=")[0]
            if name.startswith("--") and " " not in argument and name not in known:
                self.error(f"unknown option {clean(name, 60)!r}{near(name, known)}")
        values, extra = self.parse_known_args(arguments)
        for action in self._actions:  # argparse 3.11 makes an empty list, unchecked, of the value in --times=--
            value = getattr(values, action.dest, None)
            if action.nargs is None and isinstance(value, list) and ([] in value or value == [] != action.default):
                self.error(f"argument {'/'.join(action.option_strings) or action.metavar}: '--' is no value")
        if extra:
            kind = "unknown option" if extra[0].startswith("-") and len(extra[0]) > 1 else "unexpected argument"
            self.error(f"{kind} {clean(extra[0], 60)!r}")
        return values
