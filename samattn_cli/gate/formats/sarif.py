"""A check as SARIF 2.1.0 (OASIS), for code scanning on GitHub and others, and for editors."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from ...render.options import Options
from ...reports.diff import Place
from ..reports.check import CheckReport, Outcome, Result
from .words import cleaned, fingerprints, from_root, location, not_passed, whole_text

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS: dict[Outcome, str] = {"unchecked": "error", "error": "error", "warn": "warning", "waived": "note"}
FINGERPRINT = "samattn/v1"
"""The version of fingerprints, see `fingerprints`. If they change, so must this number."""


def render(report: CheckReport, options: Options) -> str:
    """One run: its rules, and the results that did not pass, worst first. Waived results are suppressed."""
    report = cleaned(from_root(report, options.checkout))
    results = not_passed(report)
    rules = {result.rule: result for result in report.results}
    driver = {
        "name": "samattn",
        "version": report.samattn_version,
        "rules": [_rule(result) for result in rules.values()],
    }
    order = list(rules)
    names = fingerprints(results)
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": report.outcome != "unchecked"}],
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(result, name, order.index(result.rule), report)
            for result, name in zip(results, names, strict=True)
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(result: Result) -> dict[str, Any]:
    about = f"{result.rule}: {result.metric}" if result.metric else result.rule
    origin = f"The rule is at {result.rule_place}." if result.rule_place else "A rule of samattn itself."
    return {
        "id": result.rule,
        "shortDescription": {"text": _literal(about)},
        "fullDescription": {"text": _literal(f"{about}. {origin}")},
        "help": {"text": _literal(result.advice or origin)},
    }


def _result(result: Result, fingerprint: str, rule_index: int, report: CheckReport) -> dict[str, Any]:
    suppressions = [{"kind": "external", "status": "accepted", "justification": result.summary}]
    return {
        "ruleId": result.rule,
        "ruleIndex": rule_index,
        "level": LEVELS[report.weight(result)],
        "message": {"text": _literal(whole_text(result))},
        "locations": [{"physicalLocation": _physical(location(result, report))}],
        "partialFingerprints": {FINGERPRINT: fingerprint},
        **({"suppressions": suppressions} if result.outcome == "waived" else {}),
    }


def _physical(place: Place) -> dict[str, Any]:
    """A relative path is from the root of the repository, which the viewer knows."""
    if PurePosixPath(place.file).is_absolute():
        artifact = {"uri": f"file://{quote(place.file)}"}
    else:
        artifact = {"uri": quote(place.file), "uriBaseId": "%SRCROOT%"}
    region = {"startLine": place.line} | ({"startColumn": place.column} if place.column else {})
    return {"artifactLocation": artifact, "region": region}


def _literal(text: str) -> str:
    """Text without placeholders ("{0}", SARIF 3.11.5) and links ("[text](target)", 3.11.6)."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")
