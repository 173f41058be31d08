"""Reports for programs: JSON, GitHub's annotations, and JUnit's XML."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy_holdfast.doctor import Finding, Report, Severity

__all__ = ["FORMATS"]

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _as_json(reports: Sequence[Report], fail_level: str) -> str:
    return json.dumps({"examined": [_report(report) for report in reports]}, indent=2, ensure_ascii=False)


def _report(report: Report) -> dict[str, Any]:
    return {
        "where": report.where,
        "server": report.server,
        "statements": report.statements,
        "connect_seconds": report.connect_seconds,
        "seconds": report.seconds,
        "findings": [
            {
                "id": finding.id,
                "group": finding.group,
                "severity": finding.severity.value,
                "title": finding.title,
                "evidence": finding.evidence,
                "cure": finding.cure,
                "page": finding.page,
            }
            for finding in report.findings
        ],
        "checks": [check.id for check in report.checks],
        "skipped": [{"id": skipped.check.id, "reason": skipped.reason} for skipped in report.skipped],
        "unseen": list(report.unseen),
    }


def _as_github(reports: Sequence[Report], fail_level: str) -> str:
    """Workflow commands, which GitHub shows as annotations of a run."""
    commands = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
    lines = []
    for report in reports:
        for finding in report.findings:
            title = _escaped(f"{finding.id} {finding.title}").replace(":", "%3A").replace(",", "%2C")
            lines.append(f"::{commands[finding.severity]} title={title}::{_escaped(_words(finding))}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _words(finding: Finding) -> str:
    return f"{finding.evidence} {finding.cure} {finding.page}".strip()


def _as_junit(reports: Sequence[Report], fail_level: str) -> str:
    """A test case for each check: those at the fail level failed, and what is below it is told as its output."""
    suites = ElementTree.Element("testsuites", name="holdfast doctor")
    for report in reports:
        cases = [*report.checks, *(skipped.check for skipped in report.skipped)]
        suite = ElementTree.SubElement(suites, "testsuite", name=_xml(report.where), tests=str(len(cases)))
        reasons = {skipped.check.id: skipped.reason for skipped in report.skipped}
        failures = 0
        for check in sorted(cases, key=lambda check: check.id):
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"holdfast.doctor.{check.group}", name=_xml(f"{check.id} {check.title}")
            )
            if check.id in reasons:
                ElementTree.SubElement(case, "skipped", message=_xml(reasons[check.id]))
            found = [finding for finding in report.findings if finding.id == check.id]
            bad = [f for f in found if fail_level != "never" and f.severity.at_least(Severity(fail_level))]
            failures += bool(bad)
            for finding in bad:
                failure = ElementTree.SubElement(
                    case, "failure", type=finding.severity.value, message=_xml(finding.evidence)
                )
                failure.text = _xml(_words(finding))
            rest = [f"{finding.severity.value}: {_words(finding)}" for finding in found if finding not in bad]
            if rest:
                ElementTree.SubElement(case, "system-out").text = _xml("\n".join(rest))
        suite.set("failures", str(failures))
        suite.set("skipped", str(len(reasons)))
        suite.set("time", f"{report.seconds + (report.connect_seconds or 0):.3f}")
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True)


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("?", text)


FORMATS: Mapping[str, Callable[[Sequence[Report], str], str]] = {
    "json": _as_json,
    "github": _as_github,
    "junit": _as_junit,
}
"""Each makes a text of reports; the second argument is the level from which on a finding fails."""
