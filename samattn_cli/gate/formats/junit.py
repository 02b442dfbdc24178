"""A check as JUnit XML, which nearly every CI shows: a test case for each rule and config.

Elements and attributes follow the schema of Jenkins' xUnit plugin (junit-10.xsd). It does not allow a file or a line in a
test case, so these are in its text. As with parametrised tests, the class has the name of the rule, and the test case that
of the config.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ...render.options import Options
from ..reports.check import CheckReport, Outcome, Result
from .words import cleaned, whole_text

ELEMENTS: dict[Outcome, str] = {"error": "failure", "unchecked": "error", "waived": "skipped"}


def render(report: CheckReport, options: Options) -> str:  # noqa: ARG001 - JUnit is always whole
    """One test suite for the thresholds file."""
    report = cleaned(report)
    failed, broken, skipped = (str(_number(report, outcome)) for outcome in ("error", "unchecked", "waived"))
    totals = {"tests": str(len(report.results)), "failures": failed, "errors": broken}
    suites = ET.Element("testsuites", {"name": "samattn check", **totals})
    suite = ET.SubElement(suites, "testsuite", {"name": report.thresholds, **totals, "skipped": skipped})
    for result in report.results:
        suite.append(_case(result, report))
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, "unicode")}\n'


def _number(report: CheckReport, outcome: Outcome) -> int:
    return sum(report.weight(result) == outcome for result in report.results)


def _case(result: Result, report: CheckReport) -> ET.Element:
    profile = f" [{result.profile}]" if result.profile else ""
    name = (result.config or report.thresholds) + profile
    case = ET.Element("testcase", {"name": name, "classname": f"samattn.{result.rule}"})
    weight = report.weight(result)
    if weight in ELEMENTS:
        of = {"message": result.summary, "type": result.rule}
        ET.SubElement(case, ELEMENTS[weight], of).text = whole_text(result)
    elif weight == "warn":
        ET.SubElement(case, "system-out").text = f"warning: {whole_text(result)}"
    return case
