"""Errors a user sees: one line of cause, one of fix, a code and an exit status. Nothing else may print to the user.

Exit codes: 0 ok, 1 internal error, 2 usage, 3 model file refused, 4 model unusable, 5 environment, 10 contradicted,
11 gate failed, 12 inconclusive under --strict, 13 not reproduced, 130 interrupted.
"""

from __future__ import annotations

EXIT_OK, EXIT_INTERNAL, EXIT_USAGE, EXIT_REFUSED, EXIT_UNUSABLE, EXIT_ENVIRONMENT = range(6)
EXIT_CONTRADICTED, EXIT_GATE, EXIT_INCONCLUSIVE, EXIT_NOT_REPRODUCED, EXIT_INTERRUPTED = 10, 11, 12, 13, 130

# code -> (exit status, what it means)
CODES: dict[str, tuple[int, str]] = {
    "E100": (EXIT_REFUSED, "the model file does not exist or cannot be read"),
    "E101": (EXIT_REFUSED, "the model file is too large"),
    "E102": (EXIT_REFUSED, "the model file is not a model of this format"),
    "E103": (EXIT_REFUSED, "the model file asks for code to be run (unsafe pickle global)"),
    "E104": (EXIT_REFUSED, "the model file's version is not supported"),
    "E105": (EXIT_REFUSED, "the model file's metadata is unreadable or incomplete"),
    "E106": (EXIT_REFUSED, "the model file's tensors do not fit its architecture"),
    "E107": (EXIT_REFUSED, "the model file's weights do not match its digest"),
    "E109": (EXIT_REFUSED, "the model file is corrupt"),
    "E200": (EXIT_UNUSABLE, "the weights contain NaN or infinity"),
    "E201": (EXIT_UNUSABLE, "the problem is unknown"),
    "E202": (EXIT_UNUSABLE, "model and problem have different dimensions"),
    "E203": (EXIT_UNUSABLE, "model and problem have different constants"),
    "E204": (EXIT_UNUSABLE, "the time window is outside the model's"),
    "E205": (EXIT_UNUSABLE, "a user-supplied run does not satisfy the Run protocol"),
    "E300": (EXIT_ENVIRONMENT, "the installed torch is too old"),
    "E301": (EXIT_ENVIRONMENT, "the output cannot be written"),
    "E302": (EXIT_USAGE, "the output exists already"),
    "E400": (EXIT_USAGE, "the command line is wrong"),
}


class UserError(Exception):
    """A refusal with a code, a cause and a fix; printed as one line without traceback."""

    def __init__(self, code: str, cause: str, fix: str) -> None:
        super().__init__(f"{cause}. {fix}")
        self.code, self.cause, self.fix = code, cause, fix

    @property
    def exit_code(self) -> int:
        """Documented exit status of this error."""
        return CODES[self.code][0]

    def line(self) -> str:
        """What the user sees."""
        return f"certify: error {self.code}: {self.cause}. {self.fix}"
