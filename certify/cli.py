"""The command ``certify``. Parsing and exit codes only: every command calls one function of another module.

Nothing heavy is imported before a command needs it. Errors are one line on stderr; a traceback appears only for
internal errors and only with CERTIFY_DEBUG=1. stdout carries results, stderr everything else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.arguments import (
    CONFIDENCE,
    POSITIVE,
    RIGOR_LABELS,
    SAMPLES,
    SEED,
    TIMES,
    W1_SAMPLES,
    Parser,
    file_name,
    limit,
    near,
    one_of,
    proofs,
    real,
    setting,
    whole,
)
from certify.console import claim_directory, claim_file, note, out, unicode_ok, unwritable, write_text
from certify.options import PARTICLE_RATES, Options
from certify.text import clean, split_hint
from theory.errors import (
    EXIT_CONTRADICTED,
    EXIT_ENVIRONMENT,
    EXIT_GATE,
    EXIT_INCONCLUSIVE,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_NOT_REPRODUCED,
    EXIT_OK,
    UserError,
)

if TYPE_CHECKING:
    from certify.gates import GateResult, Gates
    from certify.results import Report
    from certify.run import Run
    from theory.problem import Problem

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_STALE = ("report.html", "arrays.npz", "run.json", "junit.xml", "figures/*.svg")
MAX_SHOWN_DIFFERENCES = 12
MAX_ARCHITECTURE_BYTES = 2**20


class StoppedError(Exception):
    """The user stopped the command; the message says what was kept."""


# --- report and check -------------------------------------------------------------------------------------------------


def _add_judgement(parser: Parser) -> None:
    default = Options()
    parser.add_argument("model", metavar="MODEL", type=file_name, help="model file, or package.module:factory")
    parser.add_argument("--problem", metavar="ID", help="e.g. bkw2d or bkw2d:t0=1/2,T=5 (default: the model's own)")
    what = parser.add_argument_group("what to compute")
    what.add_argument("--certificates", metavar="LIST", help="theorem ids or labels, comma-separated (default: all)")
    what.add_argument("--times", type=TIMES, default=default.times, metavar="N", help="report times (%(default)s)")
    what.add_argument("--samples", type=SAMPLES, default=default.samples, metavar="N", help="particles (%(default)s)")
    what.add_argument(
        "--w1-samples",
        type=W1_SAMPLES,
        default=default.w1_samples,
        metavar="N",
        help="points per exact OT (%(default)s)",
    )
    what.add_argument(
        "--confidence", type=CONFIDENCE, default=default.confidence, metavar="P", help="joint confidence (%(default)s)"
    )
    what.add_argument("--seed", type=SEED, default=default.seed, metavar="N", help="(%(default)s)")
    what.add_argument("--radius", type=POSITIVE, metavar="R", help="ball of the kernel constants (from the problem)")
    what.add_argument(
        "--tail", type=POSITIVE, metavar="R", help="replace the flow's tail from |v| = R on: for one that folds far out"
    )
    what.add_argument(
        "--particle-rate",
        type=one_of(*PARTICLE_RATES),
        default=default.particle_rate,
        metavar="RATE",
        help=f"sampling term of Theorems 3 and 5: {', '.join(PARTICLE_RATES)} (%(default)s)",
    )
    what.add_argument("--device", type=one_of("cpu"), default="cpu", help="cpu: bounds are evaluated in float64 there")
    what.add_argument("--quick", action="store_true", help="at most 30 s, marked QUICK everywhere")
    gates = parser.add_argument_group("gates (at the end of the window; one that cannot be decided does not pass)")
    gates.add_argument("--max-bound", type=limit, action="append", default=[], metavar="ID=X", help="bound at most X")
    gates.add_argument(
        "--max-ratio", type=limit, action="append", default=[], metavar="ID=X", help="bound / measured error at most X"
    )
    gates.add_argument("--min-rigor", type=one_of(*RIGOR_LABELS), metavar="LABEL", help=", ".join(RIGOR_LABELS))
    gates.add_argument("--strict", action="store_true", help="every certificate CERTIFIED or CONDITIONAL, else exit 12")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the report and the gates as JSON, not as a table")
    output.add_argument("-o", "--output", type=file_name, metavar="DIR", help="folder (reports/MODEL-PROBLEM)")
    output.add_argument("--overwrite", action="store_true", help="replace a report that is already there")


def _add_check(parser: Parser) -> None:
    _add_judgement(parser)
    parser.add_argument("--junit", type=file_name, metavar="FILE", help="write the verdicts as JUnit XML")


def _theorems(names: Sequence[str]) -> tuple[str, ...]:
    """Ids of theorems from what the user called them, in order, each once."""
    from certify.explain import theorem_ids
    from theory.registry import UnknownNameError

    found: list[str] = []
    for name in names:
        try:
            found += theorem_ids(name)
        except UnknownNameError as error:
            raise UserError("E400", *split_hint(clean(error), "Run 'certify explain' for all names")) from None
    return tuple(dict.fromkeys(found))


def _options(args: argparse.Namespace) -> Options:
    requested: tuple[str, ...] = ()
    if args.certificates is not None:
        names = [part.strip() for part in args.certificates.split(",") if part.strip()]
        if not names:
            raise UserError("E400", "--certificates names no certificate", "For example --certificates S1,thm5")
        requested = _theorems(names)
    return Options(
        certificates=requested,
        times=args.times,
        samples=args.samples,
        w1_samples=args.w1_samples,
        confidence=args.confidence,
        seed=args.seed,
        radius=args.radius,
        tail=args.tail,
        particle_rate=args.particle_rate,
        quick=args.quick,
    )


def _gates(args: argparse.Namespace, requested: tuple[str, ...]) -> Gates:
    from certify.gates import Gates
    from theory.provenance import Rigor

    def resolved(limits: Sequence[tuple[str, float]], option: str) -> tuple[tuple[str, float], ...]:
        found = []
        for name, value in limits:
            ids = _theorems([name])
            if len(ids) > 1:
                cause = f"{option} {clean(name, 40)} means several certificates: {', '.join(ids)}"
                raise UserError("E400", cause, "Name one of them; they bound different errors")
            if requested and ids[0] not in requested:
                raise UserError("E400", f"{option} is on {ids[0]}, which --certificates leaves out", "Add it there")
            found.append((ids[0], value))
        return tuple(found)

    return Gates(
        max_bound=resolved(args.max_bound, "--max-bound"),
        max_ratio=resolved(args.max_ratio, "--max-ratio"),
        min_rigor=None if args.min_rigor is None else Rigor[args.min_rigor.upper()],
        strict=args.strict,
    )


def _load(model: str, problem: Problem | None) -> Run:
    """The run; whatever a factory raises is its author's affair and not an internal error of ours."""
    from certify.api import load_run

    try:
        return load_run(model, problem)
    except UserError:
        raise
    except Exception as error:
        if not _FACTORY.fullmatch(model):
            raise
        cause = f"{clean(model)} failed ({type(error).__name__}: {clean(error)})"
        raise UserError("E205", cause, "A factory returns an object as described in certify/run.py") from None


@contextlib.contextmanager
def _user_code(model: str) -> Iterator[None]:
    """A model that calls ``sys.exit`` must not decide our exit code."""
    try:
        yield
    except SystemExit:
        cause = f"the code of {clean(model)} tried to end the program"
        raise UserError("E205", cause, "A factory returns a Run and does nothing else") from None


def _own_problem(run: Run, model: str) -> Problem:
    """The problem a model says it was made for, on the model's window."""
    from certify.catalogue import problem_of, specification_of

    try:
        described = run.describe()
        named = described.get("problem")
    except Exception as error:  # noqa: BLE001  - somebody else's code; its failure is not ours
        cause = f"describe() of {clean(model)} failed ({type(error).__name__}: {clean(error)})"
        raise UserError("E205", cause, "See certify/run.py for what a Run must offer") from None
    if not isinstance(named, str) or not named:
        raise UserError("E400", f"{clean(model)} does not say which problem it solves", "Add --problem ID")
    return problem_of(named if ":" in named else specification_of(named, run.t0, run.T, described.get("constants", {})))


def _stem(model: str) -> str:
    name = model.replace(":", "-") if _FACTORY.fullmatch(model) else Path(model).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "model"


def _judgement(model: str, problem: Problem | None, options: Options, ready: Callable[[Problem], None]) -> Report:
    """Load a model and judge it; ``ready`` is called with the problem before anything expensive."""
    from certify.api import certify
    from certify.progress import Progress

    progress = Progress()
    try:
        with _user_code(model):
            run = _load(model, problem)
            chosen = _own_problem(run, model) if problem is None else problem
            ready(chosen)
            report = certify(run, chosen, options, progress)
    except KeyboardInterrupt:
        raise StoppedError("nothing had been computed, nothing was written") from None
    finally:
        progress.close()
    return replace(report, model={**report.model, "source": model})


def _judge(args: argparse.Namespace, *, html: bool) -> int:
    from certify.catalogue import problem_of

    options = _options(args)
    gates = _gates(args, options.certificates)
    problem = None if args.problem is None else problem_of(args.problem)
    folders: list[Path] = []

    def ready(chosen: Problem) -> None:
        if not folders:
            folders.append(Path(args.output or f"reports/{_stem(args.model)}-{chosen.id}"))
            claim_directory(folders[0], overwrite=args.overwrite)

    junit = getattr(args, "junit", None)
    if junit is not None:
        claim_file(junit, overwrite=args.overwrite, hint="Choose another --junit, or add --overwrite to replace it")
    if args.output is not None:
        claim_directory(Path(args.output), overwrite=args.overwrite)
    if problem is not None:
        ready(problem)
    report = _judgement(args.model, problem, options, ready)
    return _deliver(args, report, gates, options, folders[0], html=html)


def _deliver(
    args: argparse.Namespace, report: Report, gates: Gates, options: Options, folder: Path, *, html: bool
) -> int:
    """Write the report, show it, apply the gates; the exit code."""
    from certify.gates import evaluate, exit_code
    from certify.report import write

    results = evaluate(report, gates, options.certificates)
    code = EXIT_INTERRUPTED if report.incomplete else exit_code(report, results)
    try:
        written = write(report, folder, html=html)
        _remove_stale(folder, written)
        if getattr(args, "junit", None) is not None:
            from certify.report.junit import junit

            write_text(Path(args.junit), junit(report, results))
    except KeyboardInterrupt:
        raise StoppedError(f"{clean(folder)} may be incomplete") from None
    if args.json:
        content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        content["gates"] = [asdict(r) | {"outcome": r.outcome.value} for r in results]
        content["exit_code"] = code
        out(json.dumps(content, indent=1, allow_nan=False))
    else:
        _show(report, written)
        for result in results:
            out(clean(result.line(), 400))
    _say_verdict(report, results, code, folder)
    return code


def _show(report: Report, written: Mapping[str, Path]) -> None:
    from certify.report.terminal import table

    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = max(80, min(shutil.get_terminal_size().columns, 120)) if terminal else 80
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    out(table(report, width=width, color=color, written=written).rstrip("\n"))


def _remove_stale(folder: Path, written: Mapping[str, Path]) -> None:
    """Files of a replaced report that the new one does not have: an old page beside new numbers would mislead."""
    fresh = {path.resolve() for path in written.values()}
    for path in (path for pattern in _STALE for path in folder.glob(pattern)):
        if not fresh & {path.resolve(), path.parent.resolve()}:
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):
        (folder / "figures").rmdir()  # only if it is empty


def _say_verdict(report: Report, results: Sequence[GateResult], code: int, folder: Path) -> None:
    """Why the exit code is not 0, in one line."""
    from certify.gates import Outcome, contradicted, crossed

    missed = [r for r in results if r.outcome is not Outcome.PASSED]
    if code == EXIT_INTERRUPTED:
        note(f"certify: interrupted: what was computed is in {clean(folder)}, marked INCOMPLETE")
    elif code == EXIT_CONTRADICTED:
        ids = ", ".join([*(c.id for c in report.certificates if contradicted(c)), *crossed(report)])
        note(f"certify: CONTRADICTED: {ids}: a measured error exceeds its bound; trust no bound here (exit {code})")
    elif code == EXIT_GATE:
        names = ", ".join(f"{r.name} on {r.certificate} {r.outcome.value}" for r in missed if r.kind != "strict")
        note(f"certify: gate: {clean(names, 600)} (exit {code})")
    elif code == EXIT_INCONCLUSIVE:
        names = ", ".join(f"{r.certificate} ({r.reason.partition(':')[0]})" for r in missed)
        note(f"certify: inconclusive under --strict: {clean(names, 600)} (exit {code})")


def _report(args: argparse.Namespace) -> int:
    return _judge(args, html=True)


def _check(args: argparse.Namespace) -> int:
    return _judge(args, html=False)


# --- the other commands -----------------------------------------------------------------------------------------------


def _add_inspect(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", type=file_name, help="model file")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _inspect(args: argparse.Namespace) -> int:
    from certify.api import model_summary

    with _user_code(args.model):
        summary = model_summary(args.model)
    if args.json:
        out(json.dumps(_jsonable(summary), indent=1, allow_nan=False))
    else:
        for line in _facts(summary):
            out(line)
    return EXIT_OK


def _facts(data: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    width = max((len(clean(key, 40)) for key in data), default=0)
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield f"{indent}{clean(key, 40)}"
            yield from _facts(value, indent + "  ")
        else:
            shown = ", ".join(clean(v, 60) for v in value) if isinstance(value, (list, tuple)) else clean(value)
            yield f"{indent}{clean(key, 40):<{width}}  {shown}".rstrip()


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {clean(key, 80): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return clean(value, 2000)


def _add_train(parser: Parser) -> None:
    parser.add_argument("--problem", metavar="ID", required=True, help="problem, e.g. bkw2d:t0=1/2")
    parser.add_argument("--method", default="pinn-pm", help="pinn-pm (the paper's) or flow-defect (%(default)s)")
    parser.add_argument("-o", "--output", metavar="FILE", type=file_name, required=True, help="model file to write")
    parser.add_argument("--seconds", type=POSITIVE, metavar="S", help="stop after this wall time, resumable")
    parser.add_argument("--steps", type=whole(1, 10**9), metavar="N", help="optimiser steps")
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="(%(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue the run that -o names")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", dest="settings", help="method setting"
    )


def _train(args: argparse.Namespace) -> int:
    from certify.catalogue import problem_of
    from certify.progress import Progress

    problem = problem_of(args.problem)
    settings: dict[str, str] = {}
    for name, value in [*args.settings, *([] if args.steps is None else [("steps", str(args.steps))])]:
        if name in settings:
            raise UserError("E400", f"the setting {name} is given twice", "Give it once")
        settings[name] = value
    hint = "Add --resume to continue it, or choose another -o"
    output = claim_file(args.output, overwrite=args.resume, hint=hint)
    from solver.train import METHODS, train

    if args.method not in METHODS:
        known = tuple(METHODS)
        cause = f"unknown method {clean(args.method, 40)!r}{near(args.method, known)}"
        raise UserError("E400", *split_hint(cause, f"Known: {', '.join(known)}"))
    live, last = Progress(), [0, 0]

    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        last[:] = done, total
        live(stage, done, total, values)

    try:
        path = train(
            args.method,
            problem,
            output,
            settings,
            seed=args.seed,
            seconds=args.seconds,
            resume=args.resume,
            progress=progress,
        )
    except KeyboardInterrupt:
        kept = f"the run is kept beside {clean(output)}; go on with --resume" if last[1] else "nothing had been trained"
        raise StoppedError(kept) from None
    except OSError as error:
        raise unwritable(output, error) from None
    finally:
        live.close()
    out(f"model: {clean(path, 4000)}")
    if last[0] < last[1]:
        out(f"stopped by --seconds at step {last[0]} of {last[1]}; go on with --resume and more --seconds")
    out(f"next: certify report {clean(path, 4000)} --problem {problem.spec}")
    return EXIT_OK


def _add_verify(parser: Parser) -> None:
    parser.add_argument("report", metavar="REPORT_DIR", type=file_name, help="folder that certify report wrote")
    parser.add_argument("--model", metavar="FILE", type=file_name, help="the model, if it is not where it was")
    parser.add_argument(
        "--tolerance", type=real("a number between 0 and 1", 0.0, 1.0), default=1e-6, help="relative (%(default)s)"
    )
    parser.add_argument("--proofs", type=proofs, metavar="N|all", help="check recorded proofs again")


def _recorded(content: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    section = content.get(part)
    if not isinstance(section, Mapping):
        raise UserError("E400", f"report.json has no {part!r} to repeat it with", "Make the report again")
    return section


def _recorded_options(section: Mapping[str, Any]) -> Options:
    """Options of a report, through the same checks as the command line."""
    parsers: dict[str, Callable[[str], Any]] = {
        "times": TIMES,
        "samples": SAMPLES,
        "w1_samples": W1_SAMPLES,
        "confidence": CONFIDENCE,
        "seed": SEED,
        "particle_rate": one_of(*PARTICLE_RATES),
        "tolerance": real("a number between 0 and 1", 0.0, 1.0),
    }
    values: dict[str, Any] = {}
    try:
        for name, parse in parsers.items():
            values[name] = parse(str(section[name]))
        for name in ("radius", "tail"):
            values[name] = None if section.get(name) is None else POSITIVE(str(section[name]))
        values["quick"] = section["quick"] is True
        names = section["certificates"]
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise argparse.ArgumentTypeError("the list of certificates is unreadable")
    except (KeyError, argparse.ArgumentTypeError) as error:
        raise UserError("E400", f"the options in report.json: {clean(error)}", "Make the report again") from None
    return Options(certificates=_theorems(names), **values)


def _recorded_problem(section: Mapping[str, Any]) -> Problem:
    from certify.catalogue import problem_of

    if isinstance(section.get("spec"), str):
        return problem_of(section["spec"])
    return problem_of(f"{section.get('id')}:t0={section.get('t0')},T={section.get('T')}")


def _recorded_model(args: argparse.Namespace, section: Mapping[str, Any]) -> str:
    """The model to load. A report must not make us import code, so a recorded factory has to be named again."""
    if args.model is not None:
        return str(args.model)
    source = section.get("source")
    with contextlib.suppress(OSError, ValueError):
        if isinstance(source, str) and Path(source).is_file():
            return source
    raise UserError("E400", f"the model {clean(source)!r} of this report is not a file here", "Name it with --model")


def _verify(args: argparse.Namespace) -> int:
    from certify import compare

    folder = Path(args.report)
    data, old = compare.load(folder)
    if args.proofs is not None:
        raise UserError("E400", "reports of this version carry no proofs", "Leave --proofs out")
    if old.get("incomplete"):
        raise UserError("E400", "the report is INCOMPLETE, so it cannot be reproduced", "Make the whole report")
    intact = compare.untouched(old)
    options, model = _recorded_options(_recorded(old, "options")), _recorded_model(args, _recorded(old, "model"))
    problem = _recorded_problem(_recorded(old, "problem"))
    report = _judgement(model, problem, options, lambda _: None)
    if report.incomplete:
        raise StoppedError("nothing was compared")
    recorded = _recorded(old, "model").get("source", model)
    from certify.report import write

    with tempfile.TemporaryDirectory(prefix="certify-verify-") as name:
        write(replace(report, model={**report.model, "source": recorded}), Path(name), html=False)
        again, new = compare.load(Path(name))
        found = compare.compare(old, new, args.tolerance)
        changed = list(found.changed)
        pair = (folder if folder.is_dir() else folder.parent) / "arrays.npz", Path(name) / "arrays.npz"
        if pair[0].is_file() and pair[1].is_file():
            changed += compare.arrays_differ(*pair, args.tolerance)
    if not intact:
        changed.insert(0, "report.json was changed after it was written: its digest does not fit")
    if again == data and not changed:
        out("reproduced: report.json is the same, byte for byte")
        return EXIT_OK
    if not changed:
        for line in found.notes[:MAX_SHOWN_DIFFERENCES]:
            out(f"note: {line}")
        gap = f"; largest relative difference {found.largest:.1e} at {found.where}" if found.largest else ""
        out(f"reproduced: every number agrees to {args.tolerance:g}{gap}")
        return EXIT_OK
    for line in changed[:MAX_SHOWN_DIFFERENCES]:
        out(f"differs: {line}")
    if len(changed) > MAX_SHOWN_DIFFERENCES:
        out(f"... and {len(changed) - MAX_SHOWN_DIFFERENCES} more")
    note(f"certify: not reproduced: {len(changed)} differences (exit {EXIT_NOT_REPRODUCED})")
    return EXIT_NOT_REPRODUCED


def _add_diff(parser: Parser) -> None:
    parser.add_argument("first", metavar="A", type=file_name, help="report.json or its folder")
    parser.add_argument("second", metavar="B", type=file_name, help="report.json or its folder")


def _diff(args: argparse.Namespace) -> int:
    from certify import compare

    _, first = compare.load(Path(args.first))
    _, second = compare.load(Path(args.second))
    out("\n".join(compare.diff_lines(first, second)))
    return EXIT_OK


def _add_problems(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", nargs="?", help="one of them, e.g. bkw2d or bkw2d:t0=1/2")


def _problems(args: argparse.Namespace) -> int:
    from certify import catalogue

    out("\n".join(catalogue.table() if args.id is None else catalogue.detail(args.id)))
    return EXIT_OK


def _add_explain(parser: Parser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="*", help="e.g. thm5, S1, score_lipschitz, elasticity, void, E109"
    )


def _explain(args: argparse.Namespace) -> int:
    from certify.explain import explain, overview

    name = " ".join(args.name)
    out("\n".join(explain(name, unicode_ok=unicode_ok()) if name.strip() else overview()))
    return EXIT_OK


def _add_convert(parser: Parser) -> None:
    parser.add_argument("state_dict", metavar="STATE_DICT", type=file_name, help="file with bare weights")
    parser.add_argument("--problem", metavar="ID", required=True, help="problem the weights were trained for")
    parser.add_argument("--arch", metavar="JSON", required=True, help="architecture: a JSON object or a file with one")
    parser.add_argument("-o", "--output", metavar="FILE", type=file_name, required=True, help="model file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is already there")


def _architecture(text: str) -> Mapping[str, Any]:
    example = """For example --arch '{"flow": {"kind": "mlp"}}', or a file with such an object"""
    try:
        if not text.lstrip().startswith(("{", "[")):
            with Path(text).open("rb") as file:
                text = file.read(MAX_ARCHITECTURE_BYTES).decode("utf-8")
        value = json.loads(text)
    except OSError as error:
        raise UserError("E400", f"--arch: {clean(text)} cannot be read ({error.strerror})", example) from None
    except (ValueError, RecursionError) as error:
        raise UserError("E400", f"--arch is not JSON: {clean(error)}", example) from None
    if not isinstance(value, dict):
        raise UserError("E400", "--arch is not a JSON object", example)
    return value


def _convert(args: argparse.Namespace) -> int:
    from certify.catalogue import problem_of

    problem, architecture = problem_of(args.problem), _architecture(args.arch)
    output = claim_file(args.output, overwrite=args.overwrite)
    from certify.api import convert

    path = convert(Path(args.state_dict), problem, architecture, output)
    out(f"model: {clean(path, 4000)}")
    return EXIT_OK


def _add_doctor(parser: Parser) -> None:
    del parser


def _doctor(args: argparse.Namespace) -> int:
    del args
    from certify.doctor import findings

    found = findings()
    wrong = sum(f.problem is not None for f in found)
    out("\n".join([*(f.line() for f in found), f"{wrong} problems found" if wrong else "no problem found"]))
    return EXIT_ENVIRONMENT if wrong else EXIT_OK


# --- dispatch ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A subcommand: what it is for, its arguments, what it does."""

    summary: str
    add: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS: dict[str, Command] = {
    "report": Command("judge a model: table in the terminal and a report folder", _add_judgement, _report),
    "check": Command("the same numbers for CI: gates, JUnit, exit code; no HTML", _add_check, _check),
    "inspect": Command("what is in a model file; computes nothing", _add_inspect, _inspect),
    "train": Command("train a model", _add_train, _train),
    "verify": Command("re-derive the numbers of a report and compare", _add_verify, _verify),
    "diff": Command("compare two reports", _add_diff, _diff),
    "problems": Command("problems, constants, windows, which hypotheses hold where", _add_problems, _problems),
    "explain": Command("explain a theorem, hypothesis, status, label or code", _add_explain, _explain),
    "convert": Command("wrap foreign weights into our format", _add_convert, _convert),
    "doctor": Command("versions, threads, write access; paste it into a bug report", _add_doctor, _doctor),
}

EXIT_CODES = """exit codes: 0 ok, 1 internal error, 2 usage, 3 model file refused, 4 model unusable, 5 environment,
  10 contradicted, 11 gate failed, 12 inconclusive under --strict, 13 not reproduced, 130 interrupted"""


def _overview() -> str:
    lines = ["usage: certify COMMAND ...", "", "Certified error bounds for neural solvers of the Landau equation.", ""]
    lines += [f"  certify {name:<9} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "certify COMMAND --help for its options; certify --version", EXIT_CODES])


def _version() -> str:
    from importlib import metadata

    try:
        return f"landau-certify {metadata.version('landau-certify')}"
    except metadata.PackageNotFoundError:
        return "landau-certify (running from a source tree)"


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments:
        raise UserError("E400", "no command given", "Run 'certify --help' for the list")
    name, rest = arguments[0], list(arguments[1:])
    if name in ("-h", "--help", "help"):
        if name != "help" or not rest:
            out(_overview())
            return EXIT_OK
        name, rest = rest[0], ["--help"]
    if name == "--version":
        out(_version())
        return EXIT_OK
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        cause = f"unknown {kind} {clean(name, 60)!r}{near(name, tuple(COMMANDS))}"
        raise UserError("E400", *split_hint(cause, "Run 'certify --help' for the list"))
    command = COMMANDS[name]
    parser = Parser(
        prog=f"certify {name}",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=EXIT_CODES if name in ("report", "check") else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add(parser)
    try:
        args = parser.read(rest)
    except SystemExit:  # --help was printed
        return EXIT_OK
    return command.run(args)


def _internal(error: BaseException) -> int:
    hint = "Run again with CERTIFY_DEBUG=1 for the traceback and report it together with 'certify doctor'"
    if isinstance(error, MemoryError):
        hint = "The memory ran out: try fewer --samples or --w1-samples. " + hint
    text = clean(error, 300)
    note(f"certify: internal error (ours): {type(error).__name__}{': ' if text else ''}{text}. {hint}.")
    return EXIT_INTERNAL


def _warn(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """A warning of a library: one line, without its source code."""
    note(f"certify: warning: {category.__name__}: {clean(message, 300)}")


def _guarded(arguments: Sequence[str]) -> int:
    try:
        return _dispatch(arguments)
    except UserError as error:
        note(clean(error.line(), 1200))
        return error.exit_code
    except StoppedError as error:
        note(f"certify: interrupted: {error}")
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        note("certify: interrupted: nothing was written")
        return EXIT_INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # no character may crash a report
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            return _guarded(sys.argv[1:] if argv is None else list(argv))
    except Exception as error:  # noqa: BLE001  - the last resort: whatever it is, the user sees one line and exit code 1
        if os.environ.get("CERTIFY_DEBUG"):
            import traceback

            note(traceback.format_exc())
        return _internal(error)
