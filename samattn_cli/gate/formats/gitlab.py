"""A check as a code quality report of GitLab: a JSON array with the fields that GitLab requires."""

from __future__ import annotations

import json
from typing import Any

from ...render.options import Options
from ..reports.check import CheckReport, Outcome, Result
from .words import cleaned, fingerprints, from_root, location, not_passed, whole_text

SEVERITIES: dict[Outcome, str] = {
    "unchecked": "blocker",
    "error": "critical",
    "warn": "minor",
    "waived": "info",
}


def render(report: CheckReport, options: Options) -> str:
    """The results that did not pass, worst first."""
    report = cleaned(from_root(report, options.checkout))
    results = not_passed(report)
    names = fingerprints(results)
    entries = [_entry(result, name, report) for result, name in zip(results, names, strict=True)]
    return json.dumps(entries, indent=2) + "\n"


def _entry(result: Result, fingerprint: str, report: CheckReport) -> dict[str, Any]:
    place = location(result, report)
    return {
        "description": "; ".join(whole_text(result).splitlines()),
        "check_name": f"samattn.{result.rule}",
        "fingerprint": fingerprint,
        "severity": SEVERITIES[report.weight(result)],
        "location": {"path": place.file, "lines": {"begin": place.line}},
    }
