"""``python -m validation.figures FOLDER -o OUT``: the paper's Figures 4-25 from a folder of experiments.

Exit code 0, 2 for a wrong command line or input, 5 if the output cannot be written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from certify.arguments import Parser, whole
from certify.console import note, out
from theory.errors import EXIT_OK, UserError
from validation.figures import draw
from validation.figures.specs import SPECS


def _parser() -> Parser:
    parser = Parser(prog="python -m validation.figures", description=__doc__.partition("\n\n")[0])
    number = whole(SPECS[0].number, SPECS[-1].number)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the experiments")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to write to")
    parser.add_argument("--only", type=number, nargs="+", metavar="N", help="numbers of figures (default: all)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    try:
        arguments = _parser().read(list(sys.argv[1:] if argv is None else argv))
        written = draw(arguments.folder, arguments.output, arguments.only)
    except UserError as error:
        note(f"validation.figures: {error.line().partition(': ')[2]}")
        return error.exit_code
    out(f"{len(written)} files in {arguments.output}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
