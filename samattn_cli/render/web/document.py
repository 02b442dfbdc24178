"""The page: heading, answer, picture, findings, tables, configs, how figures are known, and the command that made it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import filterfalse
from typing import Any

import yaml

from ...encoder.applicable_keys import mapping_of
from ...encoder.model import EncoderConfig
from ...records import replace
from ...shell import command
from ...version import __version__
from .. import layout_of
from ..charts.theme import Spec
from ..elements import Code, Finding, Lines, Page, Section
from ..layout import Layout
from ..options import Options
from .known import known
from .picture import drawn
from .sections import section, short, wrapped
from .style import colored, resource
from .words import Names, escaped, in_lines

WIDTH = 1000
"""Columns of text of a page, whose tables scroll: all columns of a table fit."""
MOST_CONFIGS = 8
"""Configs that a page writes out."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; script-src "
RESERVED = ("main", "tools", "said", "tip")
"""Names of places that the page itself has."""
CONFIGS = {"config": "", "before_config": "before", "after_config": "after", "configs": ""}
"""The fields of reports that have configs, and which of two a config is."""
FIRST = ("Answer", "Findings")
"""Titles of sections that belong to the answer."""
MOST_LINKS = 24
"""Links at the top of a page."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="samattn {version}">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the answer</a>
<header>
<h1>{title}</h1>
<p class="note">{subtitle}</p>
<nav aria-label="On this page"><ul>{links}</ul></nav>
<div id="tools" class="tools"></div>
<p id="said" class="hidden" role="status"></p>
</header>
<main id="main" tabindex="-1">
{body}
</main>
<footer class="note">Made by samattn {version}. Nothing on this page is fetched.</footer>
<script>{script}</script>
</body>
</html>
"""


def render(report: Any, options: Options) -> str:
    """The page of a report; everything it has, unless the answer alone was asked for."""
    layout = layout_of(report)
    page = layout.page(report, replace(options, width=WIDTH, full=not options.brief))
    names, sections = Names(RESERVED), () if options.brief else page.sections
    specs = [] if options.brief else list(_specs(report, layout, options.chart))
    first = [*_answer(page, names), *_made(filter(_is_first, sections), names)]
    name = names("Pictures" if len(specs) > 1 else "Picture") if specs else ""
    rest = [
        *_made(filterfalse(_is_first, sections), names),
        *_made(() if options.brief else known(report), names),
        *_made(_about(report, options), names),
    ]
    pictures = drawn(specs, sum(map(len, (*first, *rest))))
    if specs:
        first.append("\n".join(wrapped(dict(names.headings)[name], name, pictures.figures)))
    return _document(page, "\n".join([*first, *rest]), _links(names), pictures.script)


def _specs(report: Any, layout: Layout, chosen: str) -> Iterator[Spec]:
    """The charts that a report has, that which was chosen first."""
    charts = {name: chart for name, chart in (("", layout.chart), *layout.charts.items()) if chart}
    for _, chart in sorted(charts.items(), key=lambda entry: entry[0] != chosen):
        spec = chart(report)
        if spec is not None:
            yield spec


def _made(parts: Iterable[Section], names: Names) -> Iterator[str]:
    return ("\n".join(section(part, names)) for part in parts)


def _answer(page: Page, names: Names) -> Iterator[str]:
    if page.short:
        yield "\n".join(wrapped("In short", names("In short"), short(page.short)))


def _is_first(part: Section) -> bool:
    """Whether it is of the answer: above the picture."""
    return isinstance(part, Finding) or (isinstance(part, Lines) and part.title in FIRST)


def _about(report: Any, options: Options) -> Iterator[Section]:
    """What was asked."""
    configs = {config: which for which, config in reversed(list(_configs(report)))}
    for config, which in [*reversed(configs.items())][:MOST_CONFIGS]:
        name = f": {config.name}" if len(configs) > 1 else ""
        yield Code(f"Config{f' {which}' if name and which else ''}{name}", (_yaml(config),))
    if options.command:
        yield Code("Command", (command(*options.command),))


def _yaml(config: EncoderConfig) -> str:
    keys = mapping_of(config)
    return yaml.safe_dump(
        keys, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
    ).rstrip()


def _configs(report: Any) -> Iterator[tuple[str, EncoderConfig]]:
    """The configs that a report is of, and which of two each is."""
    for name, which in CONFIGS.items():
        value = getattr(report, name, None)
        values = value if isinstance(value, tuple) else (value,)
        yield from ((which, each) for each in values if isinstance(each, EncoderConfig))


def _links(names: Names) -> str:
    """Links to the headings; of many, those that are not the headings of findings of a check."""
    links = (
        f'<li><a href="#{name}">{escaped(heading)}</a></li>' for name, heading in names.headings[:MOST_LINKS]
    )
    return "".join(links)


def _document(page: Page, body: str, links: str, picture: str) -> str:
    script = resource("page.js") + (picture + resource("picture.js") if picture else "")
    allowed = "'unsafe-inline' 'unsafe-eval'" if picture else f"'sha256-{_hash(script)}'"
    return PAGE.format(
        version=__version__,
        policy=f"{POLICY}{allowed}",
        title=escaped(page.title),
        subtitle=in_lines(page.subtitle),
        style=_style(),
        links=links,
        body=body,
        script=script,
    )


def _hash(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()


def _style() -> str:
    """The style of a page: that of its parts, then its own, which has the last word on paper and on narrow screens."""
    return resource("parts.css") + colored(resource("style.css"))
