"""A check in the formats of CI services, and as a page. What needs a format imports this, which adds them to the renderers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...render import Format, register
from ...render.options import Options

if TYPE_CHECKING:
    from ...render.layout import Layout
    from ..reports.check import CheckReport


def _junit(report: CheckReport, options: Options) -> str:
    from .junit import render

    return render(report, options)


def _sarif(report: CheckReport, options: Options) -> str:
    from .sarif import render

    return render(report, options)


def _gitlab(report: CheckReport, options: Options) -> str:
    from .gitlab import render

    return render(report, options)


def _github(report: CheckReport, options: Options) -> str:
    from .github import render

    return render(report, options)


def _page() -> Layout:
    from .page import LAYOUT

    return LAYOUT


CHECKS = {
    "junit": Format(".xml", _junit),
    "sarif": Format(".sarif", _sarif),
    "gitlab": Format("", _gitlab),
    "github": Format("", _github),
}
"""The formats that checks alone have."""

register(CHECKS, {"check": _page})
