"""Tables of how a report's constants are known: budgets, Lipschitz intervals, particle rates, excess risks, bandwidths.

Everything is read from ``Report.ingredients`` and the certificates; what is not there is a row that says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from certify.budget import SUPREMA
from certify.report import numbers, words
from certify.report.curves import LOG10, axis_of, last_log_bound, last_measured, shown_log
from certify.results import Certificate, Report, Share
from theory.provenance import Array, Estimate, Rigor, Side

NONE_KNOWN = "none known"
RADIUS = "ball_radius"
# the kernel constants of Maxwell molecules on B_R: Lambda ~ R^2, L_A ~ R, the oscillations are 2 R Lip
RADIUS_POWERS = {"kernel_bound": 2, "kernel_lipschitz": 1, "score_oscillation": 1, "learned_score_oscillation": 1}
CONTRIBUTIONS = (
    ("kernel_bound", r"\Lambda"),
    ("kernel_lipschitz", "L_A"),
    ("score_lipschitz", "L_s"),
    ("score_oscillation", "S"),
    ("learned_score_lipschitz", r"L_{\tilde s}"),
    ("learned_score_oscillation", r"\tilde S"),
    ("error_lipschitz", r"L_\delta"),
    ("drift_log_norm", r"\mu"),
    (RADIUS, "R"),
)
_WORD = {Side.UPPER: "at most", Side.LOWER: "at least", Side.BOTH: "", Side.NONE: "about"}
_ROUND = {Side.UPPER: numbers.up, Side.LOWER: numbers.down}


def shown(value: float, side: Side) -> str:
    """A number with the words of its side, rounded so that they stay true."""
    return f"{_WORD[side]} {_ROUND.get(side, numbers.plain)(value)}".strip()


def curve(estimate: Estimate, report: Report) -> tuple[Array, Array] | None:
    """Times and values of an estimate inside the judged window; None where they do not fit each other."""
    axis, value = axis_of(estimate, report), np.asarray(estimate.value, dtype=np.float64)
    if axis == "constant":
        return report.times, np.full(len(report.times), float(value))
    if axis == "other" or not len(report.times):
        return None
    x = report.times if axis == "times" else report.nodes
    inside = x >= report.times[0]
    return x[inside], value[inside]


def why_not(name: str) -> str:
    """Why there is no such estimate: what its estimator needs."""
    from certify.estimator import ESTIMATORS

    owner = next((e for e in ESTIMATORS.values() if name in e.provides), None)
    if owner is None:
        return "not available: no estimator of this version provides it"
    if not owner.why_not:
        return f"not available: the estimator {owner.id} gave none for this model and problem"
    return f"not available: needs {owner.why_not}"


# --- two-sided intervals


@dataclass(frozen=True)
class BracketRow:
    """A two-sided interval at the last time, with what was measured."""

    id: str
    title: str
    interval: str
    lower: str
    upper: str
    measured: str
    source: str
    method: str


def bracket_rows(report: Report) -> tuple[BracketRow, ...]:
    """One row a distance."""
    rows = []
    for b in report.brackets:
        low, high = words.ends(b)
        measured = report.measured.get(b.id)
        sides = (None, None) if measured is None else (measured.lower, measured.upper)
        rows.append(
            BracketRow(
                words.clean(b.id, 40),
                words.clean(b.title),
                words.between(b),
                "not available" if low is None else numbers.down(low),
                "not available" if high is None else numbers.up(high),
                numbers.enclosure(*(None if e is None else e.last() for e in sides)),
                f"{words.bracket_source(b)}; upper end from {words.clean(b.certificate, 60) or 'no certificate'}",
                why_not(f"lower_{b.id}") if b.lower is None else words.clean(b.lower.method, 600),
            )
        )
    return tuple(rows)


# --- error budget


@dataclass(frozen=True)
class ShareRow:
    """One line of an elasticity table."""

    id: str
    latex: str
    value: str
    other: str
    log10_bound: str
    log10_other: str
    decades: str
    method: str
    is_supremum: bool = False


def _how(share: Share, certificate: Certificate) -> str:
    text = words.clean(share.method) or "-"
    if share.ingredient == SUPREMA and not is_bound(share, certificate):
        return text.replace("still a bound", "no bound, as an ingredient is none")
    return text


def _log10(log: float | None) -> str:
    if log is None:
        return NONE_KNOWN
    return "infinite" if log == math.inf else f"{log / LOG10:.2f}"


def decades(share: Share) -> float:
    """Decades of the bound that an ingredient carries to first order: d log10(bound) / d ln(ingredient)."""
    return share.elasticity / LOG10


def _decades_word(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def radius_share(certificate: Certificate, report: Report) -> Share | None:
    """The radius R of the ball, by the chain rule through Lambda, L_A and the oscillations (Maxwell molecules only)."""
    if str(report.problem.get("kernel", "")) != "maxwell":
        return None
    parts = [(s, RADIUS_POWERS[s.ingredient]) for s in certificate.budget if s.ingredient in RADIUS_POWERS]
    radius = report.numerics.get("ball_radius")
    if not parts or not isinstance(radius, (int, float)):
        return None
    how = (
        "chain rule through "
        + ", ".join(s.ingredient for s, _ in parts)
        + ": Lambda grows like R^2, the others like R; "
        "what Lipschitz constants and tails gain from R is not counted"
    )
    return Share(RADIUS, float(radius), None, None, sum(p * s.elasticity for s, p in parts), how)


def shares(certificate: Certificate, report: Report) -> tuple[Share, ...]:
    """The budget of a certificate and the radius behind its constants."""
    radius = radius_share(certificate, report)
    if radius is None:
        return certificate.budget
    own = [s for s in certificate.budget if s.ingredient != SUPREMA]
    return (*own, radius, *(s for s in certificate.budget if s.ingredient == SUPREMA))


def is_bound(share: Share, certificate: Certificate) -> bool:
    """Whether the bound of a share is one: all at their suprema, every ingredient a bound of the side needed."""
    sound = all(
        (e := certificate.estimates.get(i.id)) is not None
        and e.side.serves(i.needed)
        and e.rigor is not Rigor.SAMPLED
        and (i.monotone > 0 or np.ndim(e.value) == 0)  # the largest value is no lower one
        for i in certificate.theorem.ingredients
    )
    return share.ingredient == SUPREMA and sound


def share_rows(certificate: Certificate, report: Report) -> tuple[ShareRow, ...]:
    """The elasticity table of a certificate; empty where nothing could be computed."""
    latex = {i.id: i.symbol for i in certificate.theorem.ingredients} | {RADIUS: "R"}
    base = last_log_bound(certificate)
    return tuple(
        ShareRow(
            id=words.clean(s.ingredient),
            latex=latex.get(s.ingredient, ""),
            value="" if s.ingredient == SUPREMA else numbers.plain(s.value),
            other="" if s.ingredient == SUPREMA else NONE_KNOWN if s.other is None else numbers.plain(s.other),
            log10_bound="void" if base is None else _log10(base),
            log10_other=_log10(s.log_bound),
            decades="" if s.ingredient == SUPREMA else _decades_word(decades(s)),
            method=_how(s, certificate),
            is_supremum=s.ingredient == SUPREMA,
        )
        for s in shares(certificate, report)
    )


@dataclass(frozen=True)
class ContributionRow:
    """Decades that each constant of Assumption 1 carries in one certificate."""

    id: str
    log10_bound: str
    decades: tuple[str, ...]
    suprema: str


def contributions(report: Report) -> tuple[ContributionRow, ...]:
    """Certificates in which a constant stands in an exponent (one of them carries more than half a decade)."""
    rows = []
    for c in words.in_order(report.certificates):
        found = {s.ingredient: s for s in shares(c, report)}
        here = {name: decades(found[name]) for name, _ in CONTRIBUTIONS if name in found}
        bound = None if c.log_bound is None else float(c.log_bound[-1])
        if bound is None or not any(abs(d) * LOG10 > 2.5 for d in here.values()):
            continue
        cells = tuple(_decades_word(here[n]) if n in here else "-" for n, _ in CONTRIBUTIONS)
        suprema = found.get(SUPREMA)
        rows.append(ContributionRow(c.id, _log10(bound), cells, _log10(None if suprema is None else suprema.log_bound)))
    return tuple(rows)


# --- Lipschitz and one-sided constants


QUANTITIES = (
    ("learned_score_lipschitz", "Lipschitz constant of the learned score"),
    ("learned_score_log_norm", "log-norm of the learned score"),
    ("error_lipschitz", "Lipschitz constant of the score error"),
    ("learned_drift_lipschitz", "Lipschitz constant of the learned drift"),
    ("learned_drift_log_norm", "log-norm of the learned drift"),
    ("score_lipschitz", "Lipschitz constant of the exact score"),
    ("drift_lipschitz", "Lipschitz constant of the exact drift"),
    ("drift_log_norm", "log-norm of the exact drift"),
)
WAYS = (
    ("_spectral", "spectral product"),
    ("_boxes", "boxes"),
    ("_sampled", "sampled"),
    ("_ball_sampled", "sampled with ascent on the ball"),
    ("", ""),
)


@dataclass(frozen=True)
class WayRow:
    """One way of knowing a constant."""

    quantity: str
    way: str
    end: str
    largest: str
    rigor: str
    seconds: str
    method: str


@dataclass(frozen=True)
class ConstantRows:
    """A constant: its interval at the last time and the ways it is known."""

    id: str
    title: str
    interval: str
    ways: tuple[WayRow, ...]


def _seconds(estimate: Estimate) -> str:
    value = estimate.detail.get("seconds")
    if isinstance(value, (int, float)) and math.isfinite(value):
        return f"{value:.2g}"
    return "not recorded" if estimate.rigor.label not in ("exact", "assumed") else "none: closed form"


def _interval(members: Iterable[Estimate]) -> str:
    """[largest lower value, smallest upper value] at the last time."""
    low = [e.last() for e in members if e.side in (Side.LOWER, Side.BOTH)]
    high = [e.last() for e in members if e.side in (Side.UPPER, Side.BOTH)]
    if not low and not high:
        return "not available"
    left = numbers.down(max(low)) if low else "no lower value"
    right = numbers.up(min(high)) if high else "no bound"
    crossed = " - CONTRADICTED: the sampled value exceeds the bound" if low and high and max(low) > min(high) else ""
    return f"[{left}, {right}]{crossed}"


def constants(report: Report) -> tuple[ConstantRows, ...]:
    """Every constant with its interval; those of which nothing is known say why."""
    out = []
    used = {i.id for c in report.certificates for i in c.theorem.ingredients}
    for name, title in QUANTITIES:
        members = {w: report.ingredients[name + w] for w, _ in WAYS if name + w in report.ingredients}
        ways = []
        for suffix, word in WAYS:
            if suffix not in members:
                continue
            e = members[suffix]
            end, largest = shown(e.last(), e.side), shown(e.largest(), e.side)
            known = "closed form" if e.rigor is Rigor.EXACT else "best bound known"
            word = word or ("taken by the theorems" if name in used else known)
            ways.append(WayRow(name, word, end, largest, e.rigor.label, _seconds(e), words.clean(e.method, 300)))
        if not ways:
            ways.append(WayRow(name, "-", "-", "-", "-", "-", why_not(name)))
        out.append(ConstantRows(name, title, _interval(list(members.values())), tuple(ways)))
    product = next((c for c in report.certificates if c.id == "lemma1_lipschitz"), None)
    bound = None if product is None else last_log_bound(product)
    if product is not None and bound is not None:
        log = np.asarray(product.log_bound)
        end, largest = f"at most {numbers.up_log(bound)}", f"at most {numbers.up_log(log.max())}"
        method = "Lambda L_s + L_A S, and the mass outside the ball"
        row = WayRow(product.id, "product of constants", end, largest, product.rigor.label, "none: closed form", method)
        out.append(
            ConstantRows(
                product.id, "Lemma 1's product for the exact drift", f"at most {numbers.up_log(bound)}", (row,)
            )
        )
    return tuple(out)


# --- particle rate


RATES = (
    ("sampling_w1_ot", "exact optimal transport of fresh samples"),
    ("sampling_w1_explicit", "explicit constants"),
    ("sampling_w1_paper", "the paper's N^(-1/2)"),
    ("sampling_w1_floor", "floor: no N points are closer"),
    ("sampling_w1_realised", "the realised start sample, carried along"),
    ("sampling_w1_realised_lower", "the realised start sample, at least"),
)
PAPER_RATE = "not a theorem in d = 3, where N points cannot be so close; misses sqrt(log N) in d = 2"


@dataclass(frozen=True)
class Rate:
    """One value of the sampling term of Theorems 3 and 5."""

    id: str
    title: str
    end: str
    largest: str
    rigor: str
    used: str
    method: str


def _same(a: Estimate, b: Estimate) -> bool:
    x, y = np.asarray(a.value), np.asarray(b.value)
    return bool(np.all(np.isclose(np.broadcast_to(x, np.broadcast_shapes(x.shape, y.shape)), y, rtol=1e-12, atol=0)))


def rates(report: Report) -> tuple[Rate, ...]:
    """The candidates for the particle rate, and which one was used."""
    used = report.ingredients.get("sampling_w1")
    out = []
    for name, title in RATES:
        e = report.ingredients.get(name)
        if e is None:
            out.append(Rate(name, title, "-", "-", "-", "no", why_not(name)))
            continue
        try:
            everywhere = used is not None and _same(e, used)
        except ValueError:
            everywhere = False
        at_end = used is not None and math.isclose(e.last(), used.last(), rel_tol=1e-12)
        word = "yes" if everywhere else "at the last time" if at_end else "no"
        note = f" ({PAPER_RATE})" if name == "sampling_w1_paper" and "not a theorem" not in e.method else ""
        method = words.clean(e.method, 500) + note
        out.append(Rate(name, title, shown(e.last(), e.side), shown(e.largest(), e.side), e.rigor.label, word, method))
    return tuple(out)


# --- excess risk


RISKS = (
    ("excess_risk", "oracle: against the exact score, under the exact law"),
    ("excess_risk_push", "against s_push, under the learned law"),
    ("excess_risk_push_statistical", "against s_push, from held-out particles"),
    ("excess_risk_fisher", "J + I(f0) under the exact law"),
    ("excess_risk_fisher_push", "J + I(f0) under the learned law"),
)
_RISK_CERTIFICATES = ("lemma2", "thm4", "thm4_fisher")


@dataclass(frozen=True)
class Risk:
    """One way of knowing the excess risk of the learned score."""

    id: str
    title: str
    end: str
    largest: str
    rigor: str
    loose: str
    method: str


def _over(value: float, oracle: float | None) -> str:
    if oracle is None:
        return "no oracle here"
    return numbers.plain(value / oracle, 3) if oracle > 0 and value > 0 else "undefined"


def risks(report: Report) -> tuple[Risk, ...]:
    """Excess risks side by side, each divided by the oracle's at the last time."""
    found = report.ingredients.get("excess_risk")
    oracle = None if found is None else found.last()
    out = []
    for name, title in RISKS:
        e = report.ingredients.get(name)
        if e is None:
            out.append(Risk(name, title, "-", "-", "-", "-", why_not(name)))
            continue
        end, largest = shown(e.last(), e.side), shown(e.largest(), e.side)
        out.append(Risk(name, title, end, largest, e.rigor.label, _over(e.last(), oracle), words.clean(e.method, 500)))
    for c in words.in_order(report.certificates):
        bound = last_log_bound(c)
        if c.id not in _RISK_CERTIFICATES:
            continue
        value, shown_bound = words.bound_word(c), shown_log(c, c.log_bound)
        top = None if shown_bound is None or np.isnan(shown_bound).all() else float(np.nanmax(shown_bound))
        out.append(
            Risk(
                id=c.id,
                title=words.clean(c.theorem.title),
                end=value if bound is None else f"at most {value}",
                largest="-" if top is None else f"at most {numbers.up_log(top)}",
                rigor=c.rigor.label,
                loose="-" if bound is None or bound > 700 else _over(math.exp(bound), oracle),
                method=f"{words.shown_status(c).name}. {words.short_reason(c)}".strip(),
            )
        )
    measured = next((c for c in report.certificates if c.theorem.bounds == "score_error" and c.measured), None)
    if measured is not None and measured.measured is not None:
        text = numbers.enclosure(*last_measured(measured))
        out.append(
            Risk("measured", "measured score error", text, "-", "-", "-", words.clean(measured.measured.method, 500))
        )
    return tuple(out)


# --- bandwidths


@dataclass(frozen=True)
class Sweep:
    """A bandwidth sweep of Theorem 6."""

    kernel: str
    bandwidth: float
    h: Array
    bound: Array
    at_paper: float | None


def sweeps(ingredients: Mapping[str, Estimate]) -> tuple[Sweep, ...]:
    """Sweeps recorded with the smoothing kernels."""
    out = []
    for kernel in ("gaussian", "epanechnikov"):
        e = ingredients.get(f"kde_noise_{kernel}")
        detail = {} if e is None else e.detail
        h, bound, used = (detail.get(k) for k in ("sweep_bandwidth", "sweep_bound", "bandwidth"))
        if h is None or bound is None or not isinstance(used, (int, float)):
            continue
        x, y = np.asarray(h, dtype=np.float64), np.asarray(bound, dtype=np.float64)
        paper = detail.get("bound_at_paper_bandwidth")
        if x.ndim == 1 and x.shape == y.shape and len(x) > 1:
            out.append(Sweep(kernel, float(used), x, y, float(paper) if isinstance(paper, (int, float)) else None))
    return tuple(out)


@dataclass(frozen=True)
class SweepRow:
    """What a sweep says in numbers."""

    kernel: str
    bandwidth: str
    bound: str
    at_paper: str
    best: str


def sweep_rows(report: Report) -> tuple[SweepRow, ...]:
    """Used bandwidth, its bound, the bound at the paper's bandwidth, the best of the sweep."""
    rows = []
    for s in sweeps(report.ingredients):
        k = int(np.nanargmin(s.bound))
        at = float(np.exp(np.interp(math.log(s.bandwidth), np.log(s.h), np.log(s.bound))))
        rows.append(
            SweepRow(
                s.kernel, numbers.plain(s.bandwidth), numbers.up(at),
                NONE_KNOWN if s.at_paper is None else numbers.up(s.at_paper),
                f"{numbers.up(float(s.bound[k]))} at h = {numbers.plain(float(s.h[k]))}",
            )
        )  # fmt: skip
    return tuple(rows)
