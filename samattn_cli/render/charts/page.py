"""A chart as a page for a browser that works offline: scripts inlined, and a policy that forbids any fetch."""

from __future__ import annotations

import html
import json
from typing import Any

from ...version import __version__
from .convert import javascript
from .theme import DARK_FAINT, DARK_INK, DARK_PAPER, FAINT, FONT, INK, PAPER, Spec, dark

LARGE = 500_000  # characters of a spec from which a canvas draws faster than SVG

POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"

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
body {{ margin: 2rem auto; padding: 0 1rem; width: fit-content; max-width: 100%; box-sizing: border-box;
  font: 13px/1.5 {font}; color: {ink}; background: {paper}; }}
#picture {{ overflow-x: auto; }}
p {{ color: {faint}; margin: 0 16px; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: {dark_ink}; background: {dark_paper}; }}
  p {{ color: {dark_faint}; }}
}}
</style>
<script>{javascript}</script>
</head>
<body>
<div id="picture"></div>
<p>{hint}</p>
<noscript><p>This picture needs JavaScript; samattn writes it as .svg and .png too.</p></noscript>
<script>
const spec = {spec};
const darkConfig = {dark};
const scheme = matchMedia("(prefers-color-scheme: dark)");
function draw() {{
  const shown = scheme.matches ? {{...spec, config: darkConfig}} : spec;
  const actions = {{export: true, source: false, compiled: false, editor: false}};
  const tooltip = {{theme: scheme.matches ? "dark" : "light"}};
  vegaEmbed("#picture", shown, {{mode: "vega-lite", renderer: "{renderer}", actions, tooltip}}).catch(console.error);
}}
scheme.addEventListener("change", draw);
draw();
</script>
</body>
</html>
"""


def to_page(spec: Spec) -> str:
    """The page; its title is the chart's."""
    data = _script(with_hover(spec))
    return PAGE.format(
        version=__version__,
        policy=POLICY,
        title=html.escape(" ".join(spec["title"]["text"])),
        font=FONT,
        ink=INK,
        paper=PAPER,
        faint=FAINT,
        dark_ink=DARK_INK,
        dark_paper=DARK_PAPER,
        dark_faint=DARK_FAINT,
        javascript=javascript(),
        hint=html.escape(spec.get("usermeta", {}).get("hint", "")),
        spec=data,
        dark=_script(dark()),
        renderer="canvas" if len(data) > LARGE else "svg",
    )


def with_hover(spec: Spec) -> Spec:
    """The spec with its parameter `hover` set: invisible points are drawn for the pointer to find."""
    params = [
        {**param, "value": True} if param["name"] == "hover" else param for param in spec.get("params", ())
    ]
    return {**spec, "params": params}


def _script(value: Any) -> str:
    """JSON in which no text can end the script."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
