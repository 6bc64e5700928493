"""``python -m paper_checks [PAPER | ID ...] [--list] [--quick] [--seed N]``: one row per statement.

Exit 0 if and only if every verdict equals the recorded one, else 10.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from paper_checks.check import Check, Finding
from paper_checks.papers import Paper, load
from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE
from theory.registry import UnknownNameError

WIDTH = 106
PAPERS: Mapping[str, Paper] = load()

_SHORT = {"holds with this change": "holds, changed", "not checkable here": "not checkable"}
_HOW = {"symbolic + numerical": "sym+num"}


def _columns(name: str, source: str, how: str, tries: str, verdict: str, seconds: str, file: str) -> str:
    """One line of at most ``WIDTH`` characters; what does not fit is cut with an ellipsis."""
    cells = ((name, 25), (source, 12), (how, 9))
    text = " ".join(f"{_cut(value, width):<{width}}" for value, width in cells)
    return _cut(f"{text} {tries:>8} {_cut(verdict, 14):<14} {seconds:>5} {file}", WIDTH)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _file(check: Check) -> str:
    return Path(check.run.__code__.co_filename).name


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _row(check: Check, tries: int, verdict: str, seconds: str) -> str:
    """The row, and the whole source below it where its column was too narrow."""
    row = _columns(
        check.id, check.source, _HOW.get(check.how, check.how), str(tries or ""), verdict, seconds, _file(check)
    )
    return row if check.source in row else f"{row}\n{_paragraph(check.source)}"


def run_check(check: Check, seed: int, quick: bool, out: TextIO) -> bool:
    """Run one check, print its row with its processor seconds, and tell whether the verdict is the recorded one."""
    start = time.process_time()
    finding: Finding | None = None
    try:
        finding = check.run(check.generator(seed), quick)
    except Exception:  # noqa: BLE001 - a check that breaks must not hide the verdicts of the others
        traceback.print_exc()
    seconds = f"{time.process_time() - start:.1f}"
    if finding is None:
        print(_row(check, 0, "broke", seconds), file=out)
        print(_paragraph(f"! no verdict; recorded: {check.expected}"), file=out, flush=True)
        return False
    print(_row(check, finding.tries, _SHORT.get(finding.verdict, finding.verdict), seconds), file=out)
    print(_paragraph(finding.detail), file=out)
    as_recorded = finding.verdict == check.expected
    if not as_recorded:
        print(_paragraph(f"! recorded: {check.expected}"), file=out)
    out.flush()
    return as_recorded


def select(papers: Mapping[str, Paper], names: Sequence[str]) -> dict[str, list[Check]]:
    """Checks by paper: whole papers and single ids as named, everything if nothing is named.

    Raises
    ------
    UnknownNameError
        For a name that is neither.
    """
    owner = {name: paper.id for paper in papers.values() for name in paper.checks}
    chosen: dict[str, dict[str, Check]] = {}
    for name in names or papers:
        if name not in papers and name not in owner:
            near = difflib.get_close_matches(name, [*papers, *owner], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; papers: {', '.join(papers)}"
            raise UnknownNameError(f"unknown paper or statement {name!r}{hint}")
        paper = papers[owner.get(name, name)]
        wanted = [name] if name in owner else list(paper.checks)
        chosen.setdefault(paper.id, {}).update({key: paper.checks[key] for key in wanted})
    return {paper: list(checks.values()) for paper, checks in chosen.items()}


def _headed(papers: Mapping[str, Paper], chosen: Mapping[str, list[Check]], out: TextIO) -> Iterator[Check]:
    """The chosen checks in order, with a heading printed before those of each paper."""
    for name, checks in chosen.items():
        print(f"paper_checks/{name}/", file=out)
        print(_paragraph(papers[name].title), file=out)
        yield from checks


def main(argv: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Command line; returns the exit status."""
    out = sys.stdout if out is None else out
    parser = argparse.ArgumentParser(prog="python -m paper_checks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PAPER | ID", help="papers or statements to check (default: all)")
    parser.add_argument("--list", action="store_true", help="list the statements without checking them")
    parser.add_argument("--quick", action="store_true", help="fewer numerical attempts: under a minute in total")
    parser.add_argument("--seed", type=int, default=0, help="seed of the numerical attempts (default 0)")
    try:
        arguments = parser.parse_args(argv)
        if arguments.seed < 0:
            parser.error("--seed must not be negative")
    except SystemExit as stop:
        return EXIT_USAGE if stop.code else EXIT_OK
    try:
        chosen = select(PAPERS, arguments.names)
    except UnknownNameError as error:
        sys.stderr.write(f"paper_checks: {error}\n")
        return EXIT_USAGE
    checks = _headed(PAPERS, chosen, out)
    if arguments.list:
        for check in checks:
            print(_row(check, 0, _SHORT.get(check.expected, check.expected), ""), file=out)
            print(_paragraph(check.statement), file=out)
        return EXIT_OK
    print(_columns("statement", "source", "how", "tries", "verdict", "s", "file"), file=out)
    same = [run_check(check, arguments.seed, arguments.quick, out) for check in checks]
    news = same.count(False)
    summary = "every verdict as recorded" if not news else f"{news} verdict(s) not as recorded"
    print(f"{len(same)} statement(s): {summary}", file=out)
    return EXIT_CONTRADICTED if news else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
