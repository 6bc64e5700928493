"""``python -m validation [PROBLEM ...]``: the paper's experiments (its Section 5): errors, tables and figures.

Benchmarks times methods, each cell in a process of its own; what the output folder already has with the same settings
is kept, so that a run cut off is taken up where it was. Exit code 0 (cells without a model are named as not run), 1 if
a cell failed, 2 for a wrong command line, 5 if the output cannot be written, 130 if interrupted.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from certify.arguments import Parser, near, whole
from certify.console import note, out, unwritable, write_text
from certify.text import clean
from theory.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_OK, UserError
from validation import cells, summary
from validation.plan import METHODS, REFERENCE, SETUPS

FOLDER, QUICK_FOLDER = Path("runs/validation"), Path("runs/validation-quick")


def _known(kind: str, words: Sequence[str], known: Sequence[str]) -> list[str]:
    """The words, in the order of the known ones.

    Raises
    ------
    UserError
        E400 for an unknown one.
    """
    for word in words:
        if word not in known:
            raise UserError(
                "E400", f"unknown {kind} {clean(word, 60)!r}{near(word, known)}", f"Known: {', '.join(known)}"
            )
    return [k for k in known if k in words]


def _parser() -> Parser:
    parser = Parser(prog="python -m validation", description=__doc__.partition("\n\n")[0])
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="problem ids (default: all)")
    parser.add_argument("--methods", default=",".join(summary.method_ids()), help="comma-separated (default: all)")
    parser.add_argument("-o", "--output", type=Path, help=f"folder ({FOLDER}; {QUICK_FOLDER} with --quick)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of model files (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours; marked QUICK everywhere")
    parser.add_argument("--redo", action="store_true", help="make finished cells again")
    parser.add_argument(
        "--particles", choices=("ours", "paper"), default="ours",
        help="paper: as many for SBP and blob as in its Table 1, which takes hours; ours: fewer where it would",
    )  # fmt: skip
    parser.add_argument("--jobs", type=whole(1, 64), default=2, help="cells at a time (%(default)s)")
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="(%(default)s)")
    parser.add_argument("--no-figures", action="store_true", help="tables only")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="copy tables and small figures there as well")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiments."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(given)
    except UserError as error:
        note(f"validation: {error.line().partition(': ')[2]}")
        return error.exit_code


def _main(given: list[str]) -> int:
    arguments = _parser().read(given)
    problems = _known("problem", arguments.problems or list(SETUPS), list(SETUPS))
    methods = _known("method", [m for m in arguments.methods.split(",") if m], summary.method_ids())
    folder = arguments.output or (QUICK_FOLDER if arguments.quick else FOLDER)
    tasks = cells.plan(
        problems, [*methods, REFERENCE], quick=arguments.quick, paper=arguments.particles == "paper",
        seed=arguments.seed, models=arguments.models,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        states, complete = cells.make(tasks, folder, jobs=arguments.jobs, redo=arguments.redo)
    except OSError as error:
        raise unwritable(folder, error) from None
    command = shlex.join(["python", "-m", "validation", *given])
    write_text(folder / "summary.md", summary.document(folder, problems, [m for m in METHODS if m in methods], command))
    write_text(folder / "errors.csv", summary.errors_csv(folder))
    out("\n".join(summary.brief(folder, problems)))
    count = {outcome: sum(s.outcome == outcome for s in states) for outcome in (cells.DONE, cells.KEPT)}
    open_cells = [s for s in states if s.outcome in (cells.NOT_RUN, cells.FAILED)]
    if arguments.quick:
        out("QUICK: do not publish these numbers.")
    out(f"{count[cells.DONE]} cells made, {count[cells.KEPT]} kept, {len(open_cells)} not: {folder / 'summary.md'}")
    if not complete:
        note("validation: interrupted; finished cells are kept, the same command goes on from there")
        return EXIT_INTERRUPTED
    if not arguments.no_figures:
        _figures(folder)
    if arguments.publish:
        try:
            publish(folder, arguments.publish)
        except OSError as error:
            raise unwritable(arguments.publish, error) from None
    failed = [s for s in states if s.outcome == cells.FAILED]
    for state in failed:
        note(f"validation: {state.task.name} failed: {state.reason}")
    return EXIT_INTERNAL if failed else EXIT_OK


def _figures(folder: Path) -> None:
    from validation import figures

    draw: Callable[[Path, Path], object] = figures.draw
    draw(folder, folder / "figures")
    out(f"figures: {folder / 'figures'}")


def publish(folder: Path, target: Path) -> None:
    """Copy what is fit for a repository: the tables, captions and PNGs; SVGs and the numbers of figures stay behind."""
    found = [folder / name for name in ("summary.md", "errors.csv")]
    for path in [*found, folder / "figures" / "figures.md", *sorted((folder / "figures").glob("*.png"))]:
        if path.is_file():
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


if __name__ == "__main__":
    raise SystemExit(main())
