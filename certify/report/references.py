"""What to cite for what was used, and a methods paragraph to paste."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from certify.report import numbers, words
from certify.results import Certificate, Report
from theory.provenance import Estimate, Rigor


@dataclass(frozen=True)
class Reference:
    """A BibTeX entry and the words that show that it was used (looked for in sources, methods and notes)."""

    key: str
    triggers: tuple[str, ...]
    bibtex: str


PAPER = Reference(
    "Kim2026",
    (),
    """@misc{Kim2026,
  author = {Kim, Minseok and Son, Sung-Jun and Kim, Yeoneung and Lee, Donghyun},
  title  = {A Physics-Informed, Global-in-Time Neural Particle Method for the Spatially Homogeneous {Landau} Equation},
  year   = {2026},
  eprint = {2603.10874},
  archivePrefix = {arXiv},
  primaryClass  = {math.NA}
}""",
)
REFERENCES = (
    Reference(
        "Tanaka1978",
        ("tanaka",),
        """@article{Tanaka1978,
  author  = {Tanaka, Hiroshi},
  title   = {Probabilistic treatment of the {Boltzmann} equation of {Maxwellian} molecules},
  journal = {Zeitschrift f{\\"u}r Wahrscheinlichkeitstheorie und Verwandte Gebiete},
  volume  = {46},
  pages   = {67--105},
  year    = {1978}
}""",
    ),
    Reference(
        "Fontbona2009",
        ("fontbona",),
        """@article{Fontbona2009,
  author  = {Fontbona, Joaquin and Gu{\\'e}rin, H{\\'e}l{\\`e}ne and M{\\'e}l{\\'e}ard, Sylvie},
  title   = {Measurability of optimal transportation and convergence rate for {Landau} type interacting particle
             systems},
  journal = {Probability Theory and Related Fields},
  volume  = {143},
  pages   = {329--351},
  year    = {2009},
  doi     = {10.1007/s00440-007-0128-4}
}""",
    ),
    Reference(
        "Hyvarinen2005",
        ("hyvarinen", "hyvärinen", "score matching", "ism "),
        """@article{Hyvarinen2005,
  author  = {Hyv{\\"a}rinen, Aapo},
  title   = {Estimation of non-normalized statistical models by score matching},
  journal = {Journal of Machine Learning Research},
  volume  = {6},
  pages   = {695--709},
  year    = {2005}
}""",
    ),
    Reference(
        "Flamary2021",
        ("optimal transport", "pot:", "(pot", "pot.emd", "network simplex", "exact w1", "exact ot"),
        """@article{Flamary2021,
  author  = {Flamary, R{\\'e}mi and Courty, Nicolas and Gramfort, Alexandre and others},
  title   = {{POT}: {Python} Optimal Transport},
  journal = {Journal of Machine Learning Research},
  volume  = {22},
  number  = {78},
  pages   = {1--8},
  year    = {2021}
}""",
    ),
    Reference(
        "Guillen2025",
        ("guillen", "silvestre", "fisher information is non-increasing"),
        """@article{Guillen2025,
  author  = {Guillen, Nestor and Silvestre, Luis},
  title   = {The {Landau} equation does not blow up},
  journal = {Acta Mathematica},
  year    = {2025},
  eprint  = {2311.09420},
  archivePrefix = {arXiv}
}""",
    ),
    Reference(
        "Villani1998",
        ("villani",),
        """@article{Villani1998,
  author  = {Villani, C{\\'e}dric},
  title   = {On the spatially homogeneous {Landau} equation for {Maxwellian} molecules},
  journal = {Mathematical Models and Methods in Applied Sciences},
  volume  = {8},
  number  = {6},
  pages   = {957--983},
  year    = {1998}
}""",
    ),
    Reference(
        "Catoni2012",
        ("catoni",),
        """@article{Catoni2012,
  author  = {Catoni, Olivier},
  title   = {Challenging the empirical mean and empirical variance: a deviation study},
  journal = {Annales de l'Institut Henri Poincar{\\'e}, Probabilit{\\'e}s et Statistiques},
  volume  = {48},
  number  = {4},
  pages   = {1148--1185},
  year    = {2012}
}""",
    ),
    Reference(
        "Maurer2003",
        ("maurer",),
        """@article{Maurer2003,
  author  = {Maurer, Andreas},
  title   = {A bound on the deviation probability for sums of non-negative random variables},
  journal = {Journal of Inequalities in Pure and Applied Mathematics},
  volume  = {4},
  number  = {1},
  year    = {2003}
}""",
    ),
    Reference(
        "WaudbySmith2024",
        ("waudby", "betting"),
        """@article{WaudbySmith2024,
  author  = {Waudby-Smith, Ian and Ramdas, Aaditya},
  title   = {Estimating means of bounded random variables by betting},
  journal = {Journal of the Royal Statistical Society Series B},
  volume  = {86},
  number  = {1},
  pages   = {1--27},
  year    = {2024}
}""",
    ),
)


def _estimates(report: Report) -> Iterable[Estimate]:
    yield from report.ingredients.values()
    for certificate in report.certificates:
        yield from certificate.estimates.values()
    for measured in report.measured.values():
        yield from (side for side in (measured.lower, measured.upper) if side is not None)


def _evidence(report: Report) -> str:
    """Everything that names a source or a method, in one lower-case text."""
    parts = [e.method for e in _estimates(report)] + [m.method for m in report.measured.values()]
    for certificate in report.certificates:
        theorem = certificate.theorem
        parts += [theorem.source, *theorem.notes, *(i.meaning for i in theorem.ingredients)]
        if certificate.measured is not None:
            parts.append(certificate.measured.method)
    return " \n".join(parts).lower() + " "


def used(report: Report) -> tuple[Reference, ...]:
    """The paper and the works behind just the theorems and estimators of this report."""
    text = _evidence(report)
    return (PAPER, *(r for r in REFERENCES if any(trigger in text for trigger in r.triggers)))


def bibtex(report: Report) -> str:
    """BibTeX of everything used."""
    return "\n\n".join(reference.bibtex for reference in used(report)) + "\n"


def _judged(certificates: Iterable[Certificate]) -> str:
    by_metric: dict[str, list[str]] = {}
    for certificate in certificates:
        by_metric.setdefault(words.metric(certificate), []).append(f"{certificate.id} ({certificate.theorem.source})")
    return "; ".join(f"for {what}, {', '.join(names)}" for what, names in by_metric.items())


def methods_text(report: Report) -> str:
    """A paragraph for a methods section, built from what was computed."""
    if not report.certificates:
        return "No certificate was evaluated, so there is no method to describe."
    rigors = sorted({c.rigor for c in report.certificates}, reverse=True)
    tally = ", ".join(f"{n} {status.name}" for status, n in words.counts(report.certificates).items())
    quick = " The quick settings were used." if report.options.get("quick") else ""
    oracle = [c.id for c in report.certificates if c.oracle]
    delta = min(sum(c.delta for c in report.certificates), 1.0)
    statistical = (
        f" All statistical claims together fail with probability at most {numbers.up(delta, 2)}." if delta > 0 else ""
    )
    sampled = (
        " Certificates labelled sampled or assumed are estimates and not bounds."
        if any(r <= Rigor.SAMPLED for r in rigors)
        else ""
    )
    uses = f" Constants of the exact solution enter {', '.join(oracle)}." if oracle else ""
    return (
        f"We judged the learned solution {words.model_name(report)} of {words.problem_name(report)} with "
        f"certificates of the Landau equation: {_judged(report.certificates)}. "
        f"Each ingredient carries the side of its inequality and the way it is known "
        f"({', '.join(r.label for r in rigors) or 'none'}); a certificate has the label of its weakest ingredient. "
        f"Outcome: {tally or 'no certificate'}.{uses}{statistical}{sampled}{quick} "
        f"Printed bounds are rounded up and printed measured errors down. "
        f"Sources: {', '.join(reference.key for reference in used(report))}."
    )
