"""Words for names: ``certify explain`` on theorems, hypotheses, ingredients, statuses, labels, exit and error codes.

Everything is read from where it is defined (theorem files, ``STATUS_MEANING``, ``RIGOR_MEANING``, ``theory.errors``);
only advice on what to do is written here.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certify.results import STATUS_MEANING, Status
from certify.text import clean
from theory import hypotheses, statement
from theory.errors import CODES, UserError
from theory.provenance import RIGOR_MEANING, Rigor, Side
from theory.registry import UnknownNameError
from theory.theorem import Hypothesis, Ingredient, Outcome, Theorem
from theory.theorems import THEOREMS

WIDTH = 80

EXIT_MEANING: dict[int, str] = {
    0: "ok: the command did what was asked and every gate passed",
    1: "internal error: a bug of ours, never a property of your model",
    2: "usage: the command line is wrong, or the output exists already",
    3: "model file refused: missing, corrupt, unsafe or foreign",
    4: "model unusable: NaN weights, wrong dimension, unknown problem, other constants or window",
    5: "environment: torch too old, or the output cannot be written",
    10: "contradicted: a measured lower value exceeds a bound; code, assumption or theorem is wrong",
    11: "a gate (--max-bound, --max-ratio, --min-rigor) failed or could not be decided",
    12: "inconclusive under --strict: a requested certificate is neither CERTIFIED nor CONDITIONAL",
    13: "not reproduced: verify found other numbers than the report holds",
    130: "interrupted: what was computed is kept and marked INCOMPLETE",
}

ERROR_ADVICE: dict[str, str] = {
    "E100": "Check the path and that you may read the file.",
    "E101": "Models are small; make sure this is the model file and not a data set or an archive of checkpoints.",
    "E102": "Save it with certify train, or wrap foreign weights with certify convert.",
    "E103": "Do not load this file with other tools. Ask its author for a state_dict and use certify convert.",
    "E104": "Install the version of landau-certify that wrote it, or write the model again.",
    "E105": "Write the model again with certify train or certify convert.",
    "E106": "The stated architecture is not the one of the weights; write the model again.",
    "E107": "The weights were changed after the file was written; get the original.",
    "E109": "Copy the file again and compare its sha256.",
    "E200": "Training diverged; use an earlier checkpoint.",
    "E201": "certify problems lists the known ones.",
    "E202": "Give the problem the model was trained for: certify inspect MODEL names it.",
    "E203": "Leave --problem out to use the model's own constants.",
    "E204": "Choose a window inside the model's: certify inspect MODEL shows it.",
    "E205": "See certify/run.py for what a Run must offer, with shapes.",
    "E300": "Install the version named in constraints.txt; older ones have known memory errors in torch.load.",
    "E301": "Choose another -o, free some space or mend the permissions.",
    "E302": "Choose another -o, or add --overwrite to replace it.",
    "E400": "certify COMMAND --help lists what the command takes.",
}

STATUS_ADVICE: dict[Status, str] = {
    Status.CONTRADICTED: "Do not use any number of this report; please report it together with certify doctor.",
    Status.VOID: "The reason under the row says which hypothesis fails, where, and what would mend it.",
    Status.VACUOUS: "True and useless: the named terms show what makes it large. A better model or a later t0 helps.",
    Status.INDICATIVE: "Read it as an estimate. The reason names the ingredient that is no bound.",
    Status.CONDITIONAL: "A bound, if the conditions listed in the ledger of hypotheses hold.",
    Status.CERTIFIED: "A bound.",
}

SIDE_MEANING: dict[Side, str] = {
    Side.LOWER: "the true quantity is at least this value",
    Side.UPPER: "the true quantity is at most this value",
    Side.BOTH: "this is the quantity itself",
    Side.NONE: "no inequality is claimed",
}

OUTCOME_MEANING: dict[Outcome, str] = {
    Outcome.HOLDS: "the hypothesis was established",
    Outcome.FAILS: "the hypothesis is false from some time on; bounds after it are void",
    Outcome.UNKNOWN: "nothing speaks against the hypothesis and nothing establishes it: CONDITIONAL at best",
}

WORDS: dict[str, tuple[str, str]] = {
    "budget": (
        "a part of a report",
        "The error budget of a certificate, at the final time: for every ingredient the value used, the sampled value "
        "where one is known, log10 of the bound as it is and with the sampled value in its place (that is not a "
        "bound), and its decades; in the last row every function of time is replaced by its largest value, which is "
        "still a bound and shows what following the time is worth. Computed in certify/budget.py.",
    ),
    "elasticity": (
        "a number in the error budget",
        "d log(bound) / d log(ingredient) at the final time, by a relative step of 1e-4. An ingredient that enters the "
        "bound linearly has 1, one under a square root 1/2; an ingredient of the exponent has its share of the "
        "exponent, which may be thousands. Factors of one product each carry all of it, so elasticities do not add up.",
    ),
    "decades": (
        "a number in the error budget",
        "elasticity / ln 10: what log10 of the bound loses, to first order, when the ingredient shrinks by a factor e; "
        "for a factor of the exponent, the decades of the bound that stand or fall with it. Not a bound.",
    ),
    "bracket": (
        "a part of a report",
        "A two-sided interval for the distance of learned and exact density: a computable lower bound (Gelbrich, test "
        "functions) below, the smallest certificate that is not void above. Neither end needs the exact solution. A "
        "lower end above the upper is a contradiction (exit code 10). Computed in certify/brackets.py.",
    ),
    "log-norm": (
        "a constant",
        "The largest eigenvalue of the symmetric part of grad U: the one-sided Lipschitz constant, all that the growth "
        "of a trajectory error needs. It may be negative, and is never larger than the Lipschitz constant. Ingredient "
        "drift_log_norm.",
    ),
    "particle_rate": (
        "an option",
        "--particle-rate: the sampling term of Theorems 3 and 5. ot: expected W1 of fresh samples by exact optimal "
        "transport; explicit: closed-form constants; best: the smaller of the two; paper: N^(-1/2), Assumption 2 of "
        "the paper, which is no theorem in d = 3 and misses sqrt(log N) in d = 2.",
    ),
}

# ingredients that other certificates provide, not an estimator
_FROM_CERTIFICATES = dict.fromkeys(
    ("density_w1", "density_w2", "initial_w2"), "the bounds of S1 and S2 (certify/brackets.py)"
)

_COMMANDS = {
    "alpha": "α", "beta": "β", "delta": "δ", "kappa": "κ", "lambda": "λ", "mu": "μ", "rho": "ρ", "tau": "τ",
    "sigma": "σ", "psi": "ψ", "phi": "φ", "partial": "∂", "Delta": "Δ",
    "nabla": "∇", "Lambda": "Λ", "int": "∫", "le": "≤", "ge": "≥", "top": "⊤", "infty": "∞",
    "cdot": "·", "quad": "   ", "big": "", "Big": "", "left": "", "right": "", "sup": "sup ", "log": "log ",
    "max": "max", "exp": "exp", "chi": "χ", "varepsilon": "ε", "epsilon": "ε", "gamma": "γ", "theta": "θ", "omega": "ω",
}  # fmt: skip
_ACCENTS = {"tilde": "\u0303", "bar": "\u0304", "hat": "\u0302"}


def _argument(text: str) -> tuple[str, str]:
    """First argument of a command, a brace group or one character, and the rest."""
    text = text.lstrip()
    if not text.startswith("{"):
        return text[:1], text[1:]
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "{") - (c == "}")
        if not depth:
            return text[1:k], text[k + 1 :]
    return text[1:], ""


def _fractions_and_roots(text: str) -> str:
    """Fractions, roots and upright text as Unicode, arguments of any nesting."""
    match = re.search(r"\\(t?frac|sqrt|mathrm|mathbf|text)(?![A-Za-z])", text)
    if match is None:
        return text
    first, rest = _argument(text[match.end() :])
    shown = _fractions_and_roots(first)
    if match[1].endswith("frac"):
        below, rest = _argument(rest)
        below = _fractions_and_roots(below)
        shown = f"{shown}/{below}" if len(shown) == len(below) == 1 else f"({shown})/({below})"
    elif match[1] == "sqrt":
        shown = f"√{shown}" if len(shown) == 1 else f"√({shown})"
    return text[: match.start()] + shown + _fractions_and_roots(rest)


def plain(latex: str) -> str | None:
    """LaTeX as readable Unicode; None if it uses a command not known here."""
    text = _fractions_and_roots(latex.replace(r"\,", " ").replace(r"\|", "‖"))
    text = re.sub(r"\\mathcal ?\{?D\}?", "𝒟", text)
    text = re.sub(r"\\mathcal ?\{?E\}?", "ℰ", text)
    text = re.sub(r"\\([A-Za-z]+)( ?)", lambda m: _COMMANDS.get(m[1], m[0]), text)
    for name, mark in _ACCENTS.items():
        text = re.sub(rf"\\{name} ?(?:\{{(\w)\}}|(\w))", rf"\1\2{mark}", text)
    text = re.sub(r" *(≤|≥|=) *", r" \1 ", text)
    return None if "\\" in text else text.strip()


def _place(function: Callable[..., Any]) -> str:
    """File and line of a function, relative to the folder that holds the packages."""
    code = getattr(function, "__code__", None)
    if code is None:
        return getattr(function, "__module__", "?")
    path = Path(code.co_filename)
    root = Path(__file__).resolve().parent.parent
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    return f"{shown}:{code.co_firstlineno}"


def _paragraph(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _item(head: str, text: str) -> list[str]:
    text = f"{head}: {text}"
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False)


def _formula(latex: str, unicode_ok: bool) -> list[str]:
    readable = plain(latex) if unicode_ok else None
    return _paragraph(latex if readable is None else readable)


def _label(theorem: Theorem) -> str | None:
    """The short name a title starts with: S1 of ``S1: Wasserstein stability``."""
    match = re.match(r"([A-Z][0-9]+):", theorem.title)
    return match[1] if match else None


def theorem_ids(name: str) -> tuple[str, ...]:
    """Ids meant by a name: an id, ``Theorem 1`` or ``thm 1``, or a label such as ``S2`` that several theorems share.

    Raises
    ------
    UnknownNameError
        With the nearest known id.
    """
    key = re.sub(r"[\s_.-]+", "", name.casefold())
    if name in THEOREMS:
        return (name,)
    numbered = re.fullmatch(r"(?:theorem|thm)([0-9]+)", key)
    if numbered and f"thm{numbered[1]}" in THEOREMS:
        return (f"thm{numbered[1]}",)
    labelled = tuple(t.id for t in THEOREMS.values() if (_label(t) or "").casefold() == key)
    if labelled:
        return labelled
    same = tuple(i for i in THEOREMS if i.replace("_", "") == key)
    if same:
        return same
    THEOREMS[clean(name, 60)]
    raise UnknownNameError(f"unknown theorem {clean(name, 60)!r}")


def all_hypotheses() -> dict[str, Hypothesis]:
    """Every hypothesis by id: the common ones and those that theorems define for themselves."""
    own = (h for theorem in THEOREMS.values() for h in theorem.hypotheses)
    return {h.id: h for h in (*hypotheses.HYPOTHESES, *own)}


def all_ingredients() -> dict[str, Ingredient]:
    """Every ingredient by id."""
    return {i.id: i for theorem in THEOREMS.values() for i in theorem.ingredients}


@contextmanager
def _without(names: Iterable[str]) -> Iterator[None]:
    """Make the import of heavy packages fail instead of costing seconds."""
    blocked = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]  # None means: refuse to import
    try:
        yield
    finally:
        for name in blocked:
            sys.modules.pop(name, None)


def estimators_by_ingredient() -> Mapping[str, list[str]]:
    """Ingredient id -> estimators that provide it, as far as the registry can be read without torch; else empty."""
    found: dict[str, list[str]] = {}
    try:
        with _without(("torch", "matplotlib", "ot")):
            registry: Mapping[str, Any] = importlib.import_module("certify.estimator").ESTIMATORS
            for name, estimator in registry.items():
                provides = getattr(estimator, "provides", ())
                for ingredient in (provides,) if isinstance(provides, str) else provides:
                    found.setdefault(str(getattr(ingredient, "id", ingredient)), []).append(name)
    except Exception:  # noqa: BLE001  - a missing or heavy registry only shortens the explanation
        return {}
    return found


def estimator_places() -> Mapping[str, str]:
    """Estimator id -> file and line of its function, where the registry can be read without torch."""
    try:
        with _without(("torch", "matplotlib", "ot")):
            registry: Mapping[str, Any] = importlib.import_module("certify.estimator").ESTIMATORS
            return {name: _place(estimator.compute) for name, estimator in registry.items()}
    except Exception:  # noqa: BLE001  - a missing or heavy registry only shortens the explanation
        return {}


def _theorem(theorem: Theorem, unicode_ok: bool) -> list[str]:
    estimators = estimators_by_ingredient()
    lines = [f"{theorem.id} - {theorem.title}", "", "Source (the paper's numbering)", *_paragraph(theorem.source)]
    lines += ["", "Statement"]
    lines += [*_formula(theorem.statement, unicode_ok), "", f"Bounds the error {theorem.bounds!r} at every time.", ""]
    lines += [*_evaluated(theorem, unicode_ok), ""]
    lines.append("Needs (side an estimate must have for a bound)")
    for i in theorem.ingredients:
        symbol = plain(i.symbol) if unicode_ok else None
        unit = f" [{i.unit}]" if i.unit else ""
        served = f"; from {_providers(i.id, estimators)}"
        lines += _item(f"{i.id} ({symbol or i.symbol}), {i.needed.value}", f"{i.meaning}{unit}{served}")
    lines += ["", "Hypotheses"]
    for h in theorem.hypotheses:
        lines += _item(h.id, h.statement)
    if theorem.notes:
        lines += ["", "Notes"]
        for note in theorem.notes:
            lines += _paragraph(note)
    lines += ["", "Checked against (both sides known in closed form)"]
    for witness in theorem.witnesses:
        lines += _item("equality" if witness.sharp else "inequality", witness.name)
    others = [i for i in THEOREMS if i != theorem.id and i.partition("_")[0] == theorem.id.partition("_")[0]]
    if others and not theorem.id.startswith("stability"):
        lines += ["", "Other forms", *_paragraph(", ".join(others))]
    lines += ["", "Code", f"  theorem {_file(theorem)}", f"  formula {_place(theorem.formula)}"]
    places = estimator_places()
    used = sorted({e for i in theorem.ingredients for e in estimators.get(i.id, ()) if e in places})
    return [*lines, *(f"  estimator {name}: {places[name]}" for name in used)]


def _evaluated(theorem: Theorem, unicode_ok: bool) -> list[str]:
    """The terms as the registered formula evaluates them."""
    lines = ["As evaluated: the sum of these; under an integral all is taken at its variable"]
    for name, latex in statement.printed(theorem).items():
        readable = plain(_apart(latex)) if unicode_ok else None
        lines += _item(name, latex if readable is None else re.sub(" +", " ", readable))
    return lines


def _apart(latex: str) -> str:
    """Two spaces after a letter or operator, of which ``plain`` takes one: factors and signs do not run together."""
    spaced = latex.replace(r"\,", "  ")
    return re.sub(r"\\([A-Za-z]+) (?! )", lambda m: m[0] + " " * (m[1] in _COMMANDS), spaced)


def _providers(ingredient: str, estimators: Mapping[str, list[str]]) -> str:
    """What provides an ingredient, in words."""
    if estimators.get(ingredient):
        return ", ".join(estimators[ingredient])
    if not estimators:
        return "an estimator (the registry cannot be read here)"
    return _FROM_CERTIFICATES.get(ingredient, "no estimator of this version")


def _file(theorem: Theorem) -> str:
    """The file a theorem is registered in."""
    import pkgutil

    import theory.theorems as package

    for info in pkgutil.iter_modules(package.__path__):
        found = getattr(importlib.import_module(f"{package.__name__}.{info.name}"), "THEOREM", ())
        if any(t is theorem for t in (found if isinstance(found, tuple) else (found,))):
            return f"theory/theorems/{info.name}.py"
    return "outside the registry"


def _hypothesis(hypothesis: Hypothesis) -> list[str]:
    users = [t.id for t in THEOREMS.values() if hypothesis.id in {h.id for h in t.hypotheses}]
    lines = [f"{hypothesis.id} - a hypothesis", "", *_paragraph(hypothesis.statement), ""]
    lines += ["Decided from", f"  {', '.join(hypothesis.needs) or 'nothing measured'}"]
    lines += ["", "Needed by", *_paragraph(", ".join(users) or "no registered theorem")]
    lines += ["", "Where it fails, bounds are VOID from the last passing time on; where it is"]
    lines += ["unknown, they are CONDITIONAL at best."]
    return [*lines, "", "Code", f"  check {_place(hypothesis.check)}"]


def _ingredient(ingredient: Ingredient, unicode_ok: bool) -> list[str]:
    users = [t.id for t in THEOREMS.values() if ingredient.id in {i.id for i in t.ingredients}]
    served = estimators_by_ingredient().get(ingredient.id, [])
    symbol = (plain(ingredient.symbol) if unicode_ok else None) or ingredient.symbol
    lines = [f"{ingredient.id} - an ingredient", "", *_paragraph(f"{symbol}: {ingredient.meaning}")]
    lines += [f"  unit: {ingredient.unit}"] if ingredient.unit else []
    direction = "increases" if ingredient.monotone > 0 else "decreases"
    lines += ["", f"The bound {direction} in it: an estimate must be {ingredient.needed.value} (or both)."]
    lines += ["", "Used by", *_paragraph(", ".join(users))]
    return [*lines, "", "Estimators", *_paragraph(", ".join(served))] if served else lines


def _status(status: Status) -> list[str]:
    order = " > ".join(s.name for s in reversed(Status))
    lines = [f"{status.name} - a status", "", *_paragraph(STATUS_MEANING[status]), ""]
    return [*lines, *_paragraph(STATUS_ADVICE[status]), "", "Best to worst", *_paragraph(order)]


def _rigor(rigor: Rigor) -> list[str]:
    order = " > ".join(r.label for r in reversed(Rigor))
    lines = [f"{rigor.label} - a label of rigor", "", *_paragraph(RIGOR_MEANING[rigor]), ""]
    lines += _paragraph("A bound carries the label of its weakest ingredient.")
    return [*lines, "", "Strongest to weakest", *_paragraph(order)]


def _error(code: str) -> list[str]:
    status, meaning = CODES[code]
    lines = [f"{code} - an error", "", *_paragraph(meaning), ""]
    lines += _paragraph(ERROR_ADVICE.get(code, "The message says what to do."))
    return [*lines, "", *_paragraph(f"Exit code {status}: {EXIT_MEANING[status]}", "")]


def _exit(status: int) -> list[str]:
    codes = [code for code, (s, _) in CODES.items() if s == status]
    lines = [f"{status} - an exit code", "", *_paragraph(EXIT_MEANING[status])]
    for code in codes:
        lines += _item(code, CODES[code][1])
    return lines


def _simple(name: str, kind: str, meaning: str) -> list[str]:
    return [f"{name} - {kind}", "", *_paragraph(meaning)]


def _topics(unicode_ok: bool) -> dict[str, list[Callable[[], list[str]]]]:
    """Everything that can be explained, by name; a name may have several meanings."""
    topics: dict[str, list[Callable[[], list[str]]]] = {}

    def add(name: str, make: Callable[..., list[str]], *arguments: Any) -> None:
        topics.setdefault(name, []).append(lambda: make(*arguments))

    for theorem in THEOREMS.values():
        add(theorem.id, _theorem, theorem, unicode_ok)
    for hypothesis in all_hypotheses().values():
        add(hypothesis.id, _hypothesis, hypothesis)
    for ingredient in all_ingredients().values():
        add(ingredient.id, _ingredient, ingredient, unicode_ok)
    for word, (kind, meaning) in WORDS.items():
        add(word, _simple, word, kind, meaning)
    for status in Status:
        add(status.name, _status, status)
    for rigor in Rigor:
        add(rigor.label, _rigor, rigor)
    for side, meaning in SIDE_MEANING.items():
        add(side.value, _simple, side.value, "a side", meaning)
    for outcome, meaning in OUTCOME_MEANING.items():
        add(outcome.value, _simple, outcome.value, "a verdict on a hypothesis", meaning)
    for code in CODES:
        add(code, _error, code)
    for exit_status in EXIT_MEANING:
        add(str(exit_status), _exit, exit_status)
    return topics


def overview() -> list[str]:
    """All names, by kind."""
    kinds: tuple[tuple[str, Iterable[str]], ...] = (
        ("Theorems", THEOREMS),
        ("Hypotheses", all_hypotheses()),
        ("Ingredients", all_ingredients()),
        ("Words of a report", WORDS),
        ("Statuses", (s.name for s in reversed(Status))),
        ("Labels of rigor", (r.label for r in reversed(Rigor))),
        ("Sides", (s.value for s in Side)),
        ("Verdicts", (o.value for o in Outcome)),
        ("Errors", CODES),
        ("Exit codes", (str(s) for s in EXIT_MEANING)),
    )
    lines = ["certify explain NAME, where NAME is one of", ""]
    for kind, names in kinds:
        lines += [kind, *_paragraph(", ".join(names))]
    return lines


def explain(name: str, *, unicode_ok: bool = True) -> list[str]:
    """Lines that explain a name.

    Raises
    ------
    UserError
        E400 with the nearest names.
    """
    topics = _topics(unicode_ok)
    names = {topic.casefold(): topic for topic in topics}
    key = re.sub(r"^(?:exit|code|exit code|error|status)[\s-]+", "", name.strip().casefold())
    if key in names:
        found = [names[key]]
    else:
        try:
            found = list(theorem_ids(name))
        except UnknownNameError:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            fix = f"Did you mean {names[near[0]]!r}? " if near else ""
            cause = f"nothing is called {clean(name, 60)!r}"
            raise UserError("E400", cause, f"{fix}Run 'certify explain' for all names") from None
    makers = [maker for topic in found for maker in topics[topic]]
    lines: list[str] = []
    for maker in makers:
        lines += [*([""] if lines else []), *maker()]
    return lines
