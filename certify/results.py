"""What a judgement consists of: Status, Certificate, Measured, Report. Plain frozen data, no computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from theory.provenance import Array, Estimate, Rigor
from theory.theorem import Hypothesis, Theorem, Verdict


class Status(IntEnum):
    """Verdict on a certificate, worst first."""

    CONTRADICTED = 0
    VOID = 1
    VACUOUS = 2
    INDICATIVE = 3
    CONDITIONAL = 4
    CERTIFIED = 5


STATUS_MEANING: dict[Status, str] = {
    Status.CONTRADICTED: "a measured lower value exceeds the bound: code, assumption or theorem is wrong",
    Status.VOID: "a hypothesis fails",
    Status.VACUOUS: "infinite, or no better than the trivial bound (a flow at rest, or what mean and energy allow)",
    Status.INDICATIVE: "an ingredient has the wrong side or is only sampled: not a bound",
    Status.CONDITIONAL: "sound given hypotheses or error estimates that nobody could check",
    Status.CERTIFIED: "every hypothesis established, every ingredient a bound",
}


@dataclass(frozen=True)
class Measured:
    """A measured error over the report times: ``lower <= error <= upper``.

    Either side may be missing. ``uncertainty`` in words. Always uses a reference; never feeds a bound.
    """

    id: str
    title: str
    lower: Estimate | None
    upper: Estimate | None
    method: str


@dataclass(frozen=True)
class Share:
    """One line of an error budget: the bound at the final time if one ingredient were another number. Not a bound.

    ``value``, ``other`` : the ingredient at the final time as used and as replaced (None: no other number is known).
    ``log_bound`` : natural log of the bound with the other number. ``elasticity`` : d log(bound)/d log(ingredient);
    divided by log 10 it is the number of decades the ingredient carries through the exponent.
    """

    ingredient: str
    value: float
    other: float | None
    log_bound: float | None
    elasticity: float
    method: str


@dataclass(frozen=True)
class Bracket:
    """A posteriori interval for a distance of learned and exact density over the report times.

    ``lower`` : LOWER estimate or None. ``upper`` : smallest bound of the certificates that are not void (inf if none),
    ``certificate`` : the id it comes from at the final time, ``status`` : its status there.
    """

    id: str
    title: str
    lower: Estimate | None
    upper: Array
    certificate: str
    status: Status


@dataclass(frozen=True)
class Certificate:
    """A theorem evaluated on a run. Arrays live on ``times`` (report times, first = start of the window).

    ``log_bound`` and ``log_terms`` are natural logarithms (-inf for 0, +inf for infinite); ``log_bound`` is None where
    nothing could be evaluated (then ``missing`` says what is needed). ``status`` is the verdict at the last time;
    ``statuses`` the verdict at every time. ``valid_until``: bounds at later times are void.
    """

    theorem: Theorem
    times: Array
    log_bound: Array | None
    log_terms: Mapping[str, Array]
    status: Status
    statuses: tuple[Status, ...]
    rigor: Rigor
    oracle: bool
    weakest: str
    delta: float
    estimates: Mapping[str, Estimate]
    verdicts: Mapping[str, tuple[Hypothesis, Verdict]]
    valid_until: float
    log_trivial: Array | None
    measured: Measured | None
    reasons: tuple[str, ...]
    missing: tuple[str, ...] = ()
    budget: tuple[Share, ...] = ()

    @property
    def id(self) -> str:
        """Id of the theorem."""
        return self.theorem.id


@dataclass(frozen=True)
class Report:
    """Everything computed about one model on one problem.

    ``problem``, ``model``, ``options``, ``environment`` : JSON-ready mappings of strings, numbers and lists.
    ``measured`` : errors by id. ``ingredients`` : every estimate used or shown, by id (values at ``nodes``, at
    ``times`` or scalar). ``verdicts`` : every hypothesis checked. ``arrays`` : every plotted number (see
    ``certify.report.figures``). ``numerics`` : quadrature sizes, error estimates, seeds. ``warnings`` : plain
    sentences to print. ``brackets`` : two-sided a posteriori intervals.
    """

    problem: Mapping[str, Any]
    model: Mapping[str, Any]
    options: Mapping[str, Any]
    times: Array
    nodes: Array
    certificates: tuple[Certificate, ...]
    measured: Mapping[str, Measured]
    ingredients: Mapping[str, Estimate]
    verdicts: Mapping[str, tuple[Hypothesis, Verdict]]
    arrays: Mapping[str, Array]
    numerics: Mapping[str, Any]
    environment: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    incomplete: bool = False
    brackets: tuple[Bracket, ...] = ()
    wall_times: Mapping[str, float] = field(default_factory=dict)
