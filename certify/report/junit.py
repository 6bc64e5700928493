"""Certificates and gates as JUnit XML, for the test tab of a CI system. No times, no host: same report, same bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from certify.report import words
from certify.results import Certificate, Report, Status


class Result(Enum):
    """What CI makes of a case."""

    PASSED = "passed"
    FAILED = "failure"
    SKIPPED = "skipped"


class Gate(Protocol):
    """A gate applied to a certificate, as ``certify.gates`` gives it; only an outcome "passed" passes."""

    @property
    def name(self) -> str:
        """The gate as it was asked for."""

    @property
    def certificate(self) -> str:
        """Theorem id."""

    @property
    def outcome(self) -> Enum:
        """An enumeration whose values are "passed", "failed" and "inconclusive"."""

    @property
    def reason(self) -> str:
        """One line."""


@dataclass(frozen=True)
class Case:
    """One line of the test tab."""

    group: str
    name: str
    result: Result
    message: str = ""
    detail: str = ""


_RESULT = {Status.CERTIFIED: Result.PASSED, Status.CONDITIONAL: Result.PASSED, Status.CONTRADICTED: Result.FAILED}


def certificate_case(certificate: Certificate) -> Case:
    """CERTIFIED and CONDITIONAL pass, CONTRADICTED fails, the rest is inconclusive and skipped."""
    status, reason = words.shown_status(certificate), words.reason_line(certificate)
    detail = [
        f"status: {status.name}",
        f"rigor: {certificate.rigor.label}",
        f"bound at the last time: {words.bound_word(certificate)}",
        *(f"reason: {words.clean(r, 600)}" for r in certificate.reasons),
        *(f"missing: {words.clean(name)}" for name in certificate.missing),
    ]
    message = f"{status.name}: {reason}" if reason else status.name
    return Case("certificate", certificate.id, _RESULT.get(status, Result.SKIPPED), message, "\n".join(detail))


def gate_case(gate: Gate) -> Case:
    """A gate passes or fails; one that cannot be decided fails, as in the exit code."""
    outcome = str(gate.outcome.value)
    result = Result.PASSED if outcome == "passed" else Result.FAILED
    return Case("gate", f"{gate.name} on {gate.certificate}", result, f"{outcome}: {gate.reason}", gate.reason)


def _element(case: Case) -> ET.Element:
    element = ET.Element(
        "testcase", classname=f"certify.{words.clean(case.group, 80)}", name=words.clean(case.name, 200)
    )
    detail = "\n".join(words.clean(line, 2000) for line in case.detail.splitlines())
    if case.result is Result.PASSED:
        if detail:
            ET.SubElement(element, "system-out").text = detail
        return element
    child = ET.SubElement(element, case.result.value, message=words.clean(case.message, 1000))
    child.text = detail or None
    return element


def suite(cases: Iterable[Case], name: str) -> str:
    """A test suite as XML text."""
    cases = list(cases)
    tally = {result: sum(case.result is result for case in cases) for result in Result}
    counts = {
        "tests": str(len(cases)),
        "failures": str(tally[Result.FAILED]),
        "skipped": str(tally[Result.SKIPPED]),
        "errors": "0",
    }
    root = ET.Element("testsuites", {"name": "landau-certify", **counts})
    element = ET.SubElement(root, "testsuite", {"name": words.clean(name, 200), **counts})
    element.extend(_element(case) for case in cases)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def junit(report: Report, gates: Iterable[Gate] = ()) -> str:
    """One case per certificate, then one per gate; an interrupted report fails as a whole."""
    cases = [certificate_case(certificate) for certificate in report.certificates]
    if report.incomplete:
        cases.append(Case("report", "complete", Result.FAILED, "INCOMPLETE: the computation was interrupted"))
    name = f"{words.model_name(report)} / {words.problem_name(report)}"
    return suite([*cases, *(gate_case(gate) for gate in gates)], name)
