"""What an author should know: ``python -m paper_checks.findings [-o docs/findings.md] [--quick] [--seed N]``.

Every finding is a check with an exact statement, a minimal example whose numbers the check computes, and a repair;
the page is written from them, with nothing typed in by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from paper_checks.check import Check, Finding, Trial
from theory.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_USAGE
from theory.registry import Registry

_HEAD = """# Findings

Written by `python -m paper_checks.findings -o docs/findings.md`; every number below was computed by the file named
beside it (seed {seed}). Do not edit. *Verdict* is that of the statement as quoted: **fails** means that the example
refutes it, **holds with this change** that the repair is needed, **holds** that an attempt to break it did not succeed.

"""


@dataclass(frozen=True)
class WriteUp:
    """A check told to an author.

    Parameters
    ----------
    check : Check
        Its ``run`` gives the verdict and, one item per line of ``detail``, the example with its numbers.
    title : str
        The finding in a few words.
    claim : str
        The statement that is examined, in full.
    repair : str
        What to state or compute instead.
    """

    check: Check
    title: str
    claim: str
    repair: str

    @property
    def id(self) -> str:
        """That of the check."""
        return self.check.id


FINDINGS: Registry[WriteUp] = Registry("paper_checks.landau_pinn", "FINDING", "finding")


def refuted(trial: Trial, detail: str) -> Finding:
    """``fails`` if every step of the counterexample was confirmed; if not, it proves nothing either way."""
    if trial.violation:
        return Finding("not checkable here", f"the counterexample does not stand: {trial.violation}", trial.tries)
    return Finding("fails", detail, trial.tries)


def _file(check: Check) -> str:
    return f"paper_checks/landau_pinn/{Path(check.run.__code__.co_filename).name}"


def _section(number: int, told: WriteUp, outcome: Finding) -> str:
    items = "\n".join(f"- {line}" for line in outcome.detail.splitlines())
    return (
        f"## {number}. {told.title}\n\n**Statement** [{told.check.source}]. {told.claim}\n\n"
        f"**Verdict.** {outcome.verdict}\n\n**Minimal example.**\n\n{items}\n\n**What repairs it.** {told.repair}\n\n"
        f"**File.** `{_file(told.check)}`; run `python -m paper_checks {told.id}`\n"
    )


def outcomes(seed: int, quick: bool) -> Iterator[tuple[WriteUp, Finding]]:
    """Every finding with what its check says now."""
    for told in FINDINGS.values():
        yield told, told.check.run(told.check.generator(seed), quick)


def page(told: Sequence[tuple[WriteUp, Finding]], seed: int) -> str:
    """The page in Markdown."""
    table = "| | finding | verdict |\n|---|---|---|\n"
    table += "".join(f"| {k} | {one.title} | {outcome.verdict} |\n" for k, (one, outcome) in enumerate(told, 1))
    sections = "\n".join(_section(k, one, outcome) for k, (one, outcome) in enumerate(told, 1))
    return _HEAD.format(seed=seed) + table + "\n" + sections


def main(argv: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Command line; exit status 10 if a verdict is not the recorded one."""
    parser = argparse.ArgumentParser(prog="python -m paper_checks.findings", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--quick", action="store_true", help="fewer numerical attempts")
    parser.add_argument("--seed", type=int, default=0, help="seed of the numerical attempts (default 0)")
    try:
        arguments = parser.parse_args(argv)
        if arguments.seed < 0:
            parser.error("--seed must not be negative")
    except SystemExit as stop:
        return EXIT_USAGE if stop.code else EXIT_OK
    told = list(outcomes(arguments.seed, arguments.quick))
    text = page(told, arguments.seed)
    if arguments.output is None:
        (sys.stdout if out is None else out).write(text)
    else:
        arguments.output.write_text(text, encoding="utf-8")
    news = [one.id for one, outcome in told if outcome.verdict != one.check.expected]
    if news:
        sys.stderr.write(f"paper_checks.findings: verdict not as recorded: {', '.join(news)}\n")
    return EXIT_CONTRADICTED if news else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
