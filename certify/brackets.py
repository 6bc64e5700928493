"""Two-sided a posteriori intervals: computable lower bounds beside the smallest certificate (THEORY section 6.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from certify.results import Bracket, Certificate, Status
from theory.provenance import Array, Estimate, Rigor, Side, weakest
from theory.theorem import Outcome, Verdict

# certificates of the densities' distance that use no exact solution; W1 <= W2, so those of W2 serve both
UPPER = {
    "w1": ("stability_wp", "stability_wp2", "stability_w2"),
    "w2": ("stability_wp2", "stability_w2"),
    "l1": ("stability_l1",),
}
DERIVED = ("density_w1", "density_w2", "initial_w2")  # ingredients that are bounds of S1 and S2
TITLES = {
    "w1": "W1 distance of learned and exact density",
    "w2": "W2 distance of learned and exact density",
    "l1": "L1 distance of learned and exact density",
}


def smallest(certificates: Sequence[Certificate]) -> tuple[Array, list[str]]:
    """Smallest bound that is not void at every report time, with its certificate's id; inf and "" if all are void."""
    times = certificates[0].times
    best, names = np.full(len(times), np.inf), [""] * len(times)
    for c in certificates:
        if c.log_bound is None:
            continue
        with np.errstate(over="ignore"):
            value = np.exp(c.log_bound)
        for k, status in enumerate(c.statuses):
            if status > Status.VOID and value[k] < best[k]:
                best[k], names[k] = value[k], c.id
    return best, names


def brackets(certificates: Mapping[str, Certificate], found: Mapping[str, Estimate]) -> tuple[Bracket, ...]:
    """One bracket per distance that has a certificate."""
    out = []
    for key, ids in UPPER.items():
        own = [certificates[i] for i in ids if i in certificates and not certificates[i].oracle]
        if not own:
            continue
        upper, names = smallest(own)
        winner = certificates.get(names[-1])
        status = winner.status if winner is not None else max(c.status for c in own)
        out.append(Bracket(key, TITLES[key], found.get(f"lower_{key}"), upper, names[-1], status))
    return tuple(out)


def density_distances(certificates: Mapping[str, Certificate], *, restart: bool) -> dict[str, Estimate]:
    """Bounds of S1 and S2 as ingredients of Theorems 1, 4 and 6: ``density_w1``, ``density_w2``, ``initial_w2``."""
    out: dict[str, Estimate] = {}
    for key in ("w1", "w2"):
        own = [certificates[i] for i in UPPER[key] if i in certificates and certificates[i].log_bound is not None]
        if not own:
            continue
        value, names = smallest(own)
        used = [certificates[n] for n in set(names) if n]
        # S1 at the start of the window is 0 by the identity, however the rest is known
        rigor = weakest(e for c in used for e in c.estimates.values()) if used else Rigor.ASSUMED
        out[f"density_{key}"] = Estimate(
            value, Side.UPPER, rigor, f"smallest of {', '.join(c.id for c in own)} at every time"
        )
    if "density_w2" in out:
        start = float(np.asarray(out["density_w2"].value)[0]) if restart else 0.0
        method = "bound of S1/S2 at the start of the window" if restart else "T(t0, .) = id"
        rigor = out["density_w2"].rigor if restart else Rigor.EXACT
        out["initial_w2"] = Estimate(start, Side.UPPER, rigor, method)
    return out


def stability(certificates: Mapping[str, Certificate]) -> Verdict | None:
    """What the hypotheses of S1 and S2 together say: the better of the two, for theorems that use their bound."""
    own = [certificates[i] for i in UPPER["w1"] if i in certificates]
    if not own:
        return None
    best = max(own, key=lambda c: c.valid_until)
    failed = [f"{h.id}: {v.reason}" for h, v in best.verdicts.values() if v.outcome is Outcome.FAILS]
    if failed:
        return Verdict.fails(f"{best.id}: {'; '.join(failed)}", best.valid_until)
    unknown = [h.id for h, v in best.verdicts.values() if v.outcome is Outcome.UNKNOWN]
    if unknown:
        return Verdict.unknown(f"{best.id}: nobody could establish {', '.join(unknown)}")
    return Verdict.holds(f"every hypothesis of {best.id} is established")
