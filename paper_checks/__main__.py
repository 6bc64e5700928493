"""``python -m paper_checks [ID ...] [--list] [--seed N]``: one row per statement, exit 10 on any unrecorded verdict."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from paper_checks.check import Check, Finding
from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE
from theory.registry import Registry, UnknownNameError

WIDTH = 80
CHECKS: Registry[Check] = Registry("paper_checks", "CHECK", "check")

_SHORT = {"holds with this change": "holds, changed", "not checkable here": "not checkable"}
_HOW = {"symbolic + numerical": "sym+num"}


def _columns(name: str, source: str, how: str, verdict: str, seconds: str, file: str) -> str:
    """One line of at most ``WIDTH`` characters; what does not fit is cut with an ellipsis."""
    cells = ((name, 11), (source, 14), (how, 16), (verdict, 14))
    text = " ".join(f"{_cut(value, width):<{width}}" for value, width in cells)
    return _cut(f"{text} {seconds:>4} {file}", WIDTH)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _file(check: Check) -> str:
    return Path(check.run.__code__.co_filename).name


def _how(check: Check, tries: int) -> str:
    how = _HOW.get(check.how, check.how)
    return f"{how} ({tries})" if tries else how


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def run_check(check: Check, seed: int, out: TextIO) -> bool:
    """Run one check, print its row, and tell whether the verdict is the recorded one."""
    start = time.perf_counter()
    finding: Finding | None = None
    try:
        finding = check.run(check.generator(seed))
    except Exception:  # noqa: BLE001 - a check that breaks must not hide the verdicts of the others
        traceback.print_exc()
    seconds = f"{time.perf_counter() - start:.1f}"
    if finding is None:
        print(_columns(check.id, check.source, _how(check, 0), "broke", seconds, _file(check)), file=out)
        print(_paragraph(f"! no verdict; recorded: {check.expected}"), file=out, flush=True)
        return False
    verdict = _SHORT.get(finding.verdict, finding.verdict)
    print(_columns(check.id, check.source, _how(check, finding.tries), verdict, seconds, _file(check)), file=out)
    print(_paragraph(finding.detail), file=out)
    as_recorded = finding.verdict == check.expected
    if not as_recorded:
        print(_paragraph(f"! recorded: {check.expected}"), file=out)
    out.flush()
    return as_recorded


def main(argv: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Command line; returns the exit status."""
    out = sys.stdout if out is None else out
    parser = argparse.ArgumentParser(prog="python -m paper_checks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="statements to check (default: all)")
    parser.add_argument("--list", action="store_true", help="list the statements without checking them")
    parser.add_argument("--seed", type=int, default=0, help="seed of the numerical attempts (default 0)")
    try:
        arguments = parser.parse_args(argv)
        if arguments.seed < 0:
            parser.error("--seed must not be negative")
    except SystemExit as stop:
        return EXIT_USAGE if stop.code else EXIT_OK
    try:
        checks = [CHECKS[name] for name in dict.fromkeys(arguments.ids or CHECKS)]
    except UnknownNameError as error:
        sys.stderr.write(f"paper_checks: {error}\n")
        return EXIT_USAGE
    if arguments.list:
        for check in checks:
            verdict = _SHORT.get(check.expected, check.expected)
            print(_columns(check.id, check.source, _how(check, 0), verdict, "", _file(check)), file=out)
            print(_paragraph(check.statement), file=out)
        return EXIT_OK
    print(_columns("statement", "source", "how (tries)", "verdict", "s", "paper_checks/"), file=out)
    same = [run_check(check, arguments.seed, out) for check in checks]
    news = same.count(False)
    summary = "every verdict as recorded" if not news else f"{news} verdict(s) not as recorded"
    print(f"{len(same)} statement(s): {summary}", file=out)
    return EXIT_CONTRADICTED if news else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
