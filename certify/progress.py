"""Progress on stderr: one live line on a terminal, else one line per half minute."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TextIO

from certify.text import clean

LIVE_SECONDS, LOG_SECONDS = 0.1, 30.0
_NOTHING: Mapping[str, float] = MappingProxyType({})


def duration(seconds: float) -> str:
    """Seconds in words, coarse."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


class Progress:
    """Callback ``(stage, done, total[, values])``; a total of 0 means unknown. ``close`` removes the live line."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._live = bool(self._stream and self._stream.isatty()) and os.environ.get("TERM") != "dumb"
        self._stage, self._first, self._since, self._shown, self._dirty = "", 0, clock(), clock(), False

    def __call__(self, stage: str, done: int, total: int, values: Mapping[str, float] = _NOTHING) -> None:
        """Show where the work stands."""
        now = self._clock()
        fresh = stage != self._stage
        if fresh:
            self._stage, self._first, self._since = stage, done, now  # a resumed run does not start at 0
        if now - self._shown < (LIVE_SECONDS if self._live else LOG_SECONDS) and not (fresh and self._live):
            return
        self._shown = now
        parts = [clean(stage, 40), f"{done}/{total}" if total > 0 else str(done)]
        parts += [f"{clean(name, 20)} {value:.3g}" for name, value in list(values.items())[:6]]
        if self._first < done < total and now > self._since:
            per_step = (now - self._since) / (done - self._first)
            parts.append(f"about {duration(per_step * (total - done))} left")
        text = "  ".join(parts)
        if self._live:
            width = max(20, shutil.get_terminal_size().columns - 1)
            self._put(f"\r\x1b[K{text[:width]}")
            self._dirty = True
        else:
            self._put(f"certify: {text}\n")

    def close(self) -> None:
        """Remove the live line."""
        if self._dirty:
            self._put("\r\x1b[K")
            self._dirty = False

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError, AttributeError):
            self._live = False  # nobody is listening; the computation goes on
