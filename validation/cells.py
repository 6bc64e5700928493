"""All cells of the experiments: a queue of worker processes that can be stopped and taken up again.

Every cell runs in a process of its own, so that its peak memory is its own and one that fails takes no other with it.
A finished cell whose settings are those asked for is kept; one without a model is recorded as not run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from certify.progress import duration
from certify.text import clean
from validation.cell import Task, failure, write
from validation.methods import NotRunError
from validation.plan import METHODS, SETUPS, STARTS, size

POLL_SECONDS, LIVE_SECONDS, LOG_SECONDS = 0.2, 0.5, 30.0
DONE, KEPT, NOT_RUN, FAILED, OPEN = "done", "kept", "not run", "failed", "interrupted"
QUICK_STARTS = 300
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class State:
    """What became of a cell."""

    task: Task
    outcome: str
    reason: str = ""


def plan(
    problems: Sequence[str], methods: Sequence[str], *, quick: bool, paper: bool, seed: int, models: Path
) -> list[Task]:
    """The cells of these problems and methods, in the order of a table."""
    starts = QUICK_STARTS if quick else STARTS
    return [
        Task(p, m, size(p, m, quick=quick, paper=paper), starts, seed, quick, str(models))
        for p in problems
        for m in methods
    ]


def read(folder: Path, task: Task) -> dict[str, Any] | None:
    """Record of a cell, or None if there is none that can be read."""
    try:
        found = json.loads((folder / task.problem / f"{task.method}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def finished(folder: Path, task: Task, settings: Mapping[str, Any]) -> bool:
    """Whether the folder has this cell, made with these settings."""
    record = read(folder, task)
    whole = (
        record is not None and not record.get("failed") and record.get("settings") == json.loads(json.dumps(settings))
    )
    return whole and (folder / task.problem / f"{task.method}.npz").is_file()


@dataclass
class Worker:
    """A running cell."""

    task: Task
    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)

    def where(self) -> str:
        """The last line of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 400))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return clean(next((line for line in reversed(lines[:-1]) if line.strip()), ""), 40)


def start(task: Task, folder: Path) -> Worker:
    """Start a worker process."""
    place = folder / task.problem
    place.mkdir(parents=True, exist_ok=True)
    log = place / f"{task.method}.log"
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "validation.cell", task.to_json(), str(folder)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    return Worker(task, process, log)


def ending(worker: Worker, folder: Path) -> State:
    """What a worker that has ended came to; one that wrote nothing itself is recorded here."""
    code = worker.process.returncode
    record = read(folder, worker.task)
    if code == 0:
        worker.log.unlink(missing_ok=True)
        return State(worker.task, DONE)
    if code != 1 or record is None or not record.get("failed"):
        record = failure(worker.task, f"the worker ended with exit code {code}; see {worker.log.name}")
        write(folder, worker.task, record, None)
    return _unfinished(worker.task, str(record["failed"]))


def _unfinished(task: Task, reason: str) -> State:
    missing = reason.startswith(f"{NOT_RUN}: ")
    return State(task, NOT_RUN if missing else FAILED, clean(reason.removeprefix(f"{NOT_RUN}: "), 300))


class Display:
    """Progress on stderr: a line for every cell that ends, and what is running in between."""

    def __init__(self, total: int, jobs: int, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._total, self._jobs, self._done, self._shown = total, jobs, 0, time.monotonic()
        self._expected = self._spent = 0.0

    def ended(self, state: State, seconds: float, left: float) -> None:
        """A cell is finished; ``left`` seconds of work were expected of the others."""
        self._done += 1
        if state.outcome == DONE:
            self._expected += state.task.size.seconds
            self._spent += seconds
        what = state.outcome if not state.reason else f"{state.outcome}: {state.reason}"
        spent = f" in {duration(seconds)}" if state.outcome == DONE else ""
        self._put(f"[{self._done}/{self._total}] {state.task.name}: {what}{spent}{self._left(left)}\n")

    def running(self, workers: Sequence[Worker], left: float) -> None:
        """Which cells are running and how far."""
        now = time.monotonic()
        if now - self._shown < (LIVE_SECONDS if self._live else LOG_SECONDS):
            return
        self._shown = now
        parts = [f"{w.task.name} {w.where()} {duration(now - w.began)}" for w in workers]
        text = f"[{self._done}/{self._total}] {'; '.join(parts)}{self._left(left)}"
        self._put(text[:200] if self._live else f"{text}\n", keep=self._live)

    def _left(self, seconds: float) -> str:
        pace = self._spent / self._expected if self._expected else 1.0
        return f"; about {duration(pace * seconds / self._jobs)} left" if seconds > 0 else ""

    def _put(self, text: str, *, keep: bool = False) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(
                ("\r\x1b[K" if self._live else "") + text + ("" if keep or text.endswith("\n") else "\n")
            )
            self._stream.flush()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, so that no worker is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def make(
    tasks: Sequence[Task],
    folder: Path,
    *,
    jobs: int = 2,
    redo: bool = False,
    begin: Callable[[Task, Path], Worker] = start,
    stream: TextIO | None = None,
) -> tuple[list[State], bool]:
    """Make the cells that the folder does not have: their states in the order of the tasks, whether all were tried.

    The longest are started first. On KeyboardInterrupt or SIGTERM the running ones are ended, what is finished stays.
    """
    states: dict[str, State] = {}
    queue: list[Task] = []
    for task in tasks:
        try:
            settings = task.settings()
        except NotRunError as error:
            write(folder, task, failure(task, f"{NOT_RUN}: {error}"), None)
            states[task.name] = State(task, NOT_RUN, str(error))
            continue
        if not redo and finished(folder, task, settings):
            states[task.name] = State(task, KEPT)
        else:
            queue.append(task)
    queue.sort(key=lambda t: -t.size.seconds)
    display, complete = Display(len(queue), jobs, stream), True
    workers: list[Worker] = []

    def left() -> float:
        waiting = sum(t.size.seconds for t in queue)
        return waiting + sum(max(0.0, w.task.size.seconds - (time.monotonic() - w.began)) for w in workers)

    try:
        with terminable():
            while queue or workers:
                while queue and len(workers) < jobs:
                    workers.append(begin(queue.pop(0), folder))
                time.sleep(POLL_SECONDS)
                for worker in [w for w in workers if w.process.poll() is not None]:
                    workers.remove(worker)
                    states[worker.task.name] = ending(worker, folder)
                    display.ended(states[worker.task.name], time.monotonic() - worker.began, left())
                display.running(workers, left())
    except KeyboardInterrupt:
        complete = False
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.wait()
    for task in tasks:
        states.setdefault(task.name, State(task, OPEN, "interrupted before it was done"))
    return [states[t.name] for t in tasks], complete


def records(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Problem, method and record of every cell in a folder, in the order of the tables."""
    for problem in SETUPS:
        for method in METHODS:
            path = folder / problem / f"{method}.json"
            with contextlib.suppress(OSError, ValueError):
                yield problem, method, json.loads(path.read_text(encoding="utf-8"))
