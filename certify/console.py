"""Where a command may write: the two streams, whatever state they are in, and the files of the user."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from certify.text import clean
from theory.errors import UserError


def _silence(stream: TextIO) -> None:
    """Send what is left in a broken stream nowhere, so that closing it at exit says nothing."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def out(text: str) -> None:
    """Print to stdout. A closed pipe is nobody's error; a full disk is E301."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise UserError("E301", f"standard output cannot be written ({error.strerror})", "Free some space") from None


def note(text: str) -> None:
    """Print to stderr, whatever state it is in."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def unicode_ok() -> bool:
    """Whether stdout can show every character."""
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def claim_file(
    text: str, *, overwrite: bool, hint: str = "Choose another -o, or add --overwrite to replace it"
) -> Path:
    """A file that may be written.

    Raises
    ------
    UserError
        E302 if it exists, E301 if it cannot be written.
    """
    path = Path(text)
    try:
        if path.is_dir():
            raise UserError("E301", f"{clean(path)} is a folder, not a file", "Give a file name")
        if os.path.lexists(path) and not overwrite:
            raise UserError("E302", f"{clean(path)} exists already", hint)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None
    _probe(path.parent)
    return path


def claim_directory(path: Path, *, overwrite: bool) -> None:
    """Make sure a report may be written to a folder, without creating it.

    Raises
    ------
    UserError
        E302 if it holds something (or, with overwrite, something that is no report), E301 if it cannot be written.
    """
    try:
        if path.is_dir():
            if any(path.iterdir()):
                if not overwrite:
                    raise UserError("E302", f"{clean(path)} is not empty", "Add --overwrite, or choose another -o")
                if not (path / "report.json").is_file():
                    cause = f"{clean(path)} holds something else than a report, which --overwrite would mix with one"
                    raise UserError("E302", cause, "Choose another -o")
        elif os.path.lexists(path):
            raise UserError("E301", f"{clean(path)} is not a folder", "Choose another -o")
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None
    _probe(path)


def unwritable(path: Path, error: Exception) -> UserError:
    """E301 for a path."""
    why = clean((error.strerror if isinstance(error, OSError) else None) or error)
    return UserError("E301", f"{clean(path)} cannot be written ({why})", "Choose another -o or mend the permissions")


def _probe(folder: Path) -> None:
    """Write a temporary file to the nearest existing folder above and including this one."""
    try:
        while not _exists(folder) and folder != folder.parent:
            missing, folder = folder.name, folder.parent
            _exists(Path(missing))  # in any existing folder, to find a name that is too long
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
    except (OSError, ValueError) as error:
        raise unwritable(folder, error) from None


def _exists(path: Path) -> bool:
    """As ``os.path.lexists``, but a name that cannot exist is an error and not merely absent."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from None
