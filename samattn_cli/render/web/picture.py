"""The chart of a report in its page: a still picture, and one with tooltips where the page stays small with it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

from ..charts.theme import DARK_FAINT, DARK_GRID, DARK_INK, DARK_PAPER, FAINT, GRID, INK, PAPER, Spec, dark
from ..shield import visible
from .words import escaped

MOST_CHARACTERS = 1_150_000
"""Of a page with pictures: larger pages have still ones."""
LARGE = 500_000  # characters of a spec from which a canvas draws faster than SVG
VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--grid", PAPER: "--paper"}
"""The page's colours of a picture, which are others on a dark page."""
THEMES = {"light": (INK, FAINT, GRID, PAPER), "dark": (DARK_INK, DARK_FAINT, DARK_GRID, DARK_PAPER)}
MISSING = "The picture needs the optional dependency 'charts': pip install 'samattn[charts]'"
STILL = "A still picture: with one that answers the pointer, this page would be too large."


class Drawn(NamedTuple):
    """A picture.

    Attributes:
        figure: its HTML.
        script: what draws it again so that it answers the pointer; "" if it stays still.
    """

    figure: str
    script: str = ""


def drawn(spec: Spec, rest: int) -> Drawn:
    """A chart on a page whose other parts have `rest` characters."""
    if find_spec("vl_convert") is None:
        return Drawn(f'<p class="note">{escaped(MISSING)}</p>')
    spec = _shown(spec)
    still, room = _still(spec), MOST_CHARACTERS - rest
    script = _script(spec)
    if len(still) + len(script) < room:
        return Drawn("".join(_figure(spec, still, spec.get("usermeta", {}).get("hint", ""))), script)
    return Drawn("".join(_figure(spec, still if len(still) < room else _pixels(spec), STILL)))


def _shown(value: Any) -> Any:
    """A spec in whose texts what a browser would obey is visible: see `visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {key: _shown(each) for key, each in value.items()}
    return list(map(_shown, value)) if isinstance(value, (list, tuple)) else value


def _figure(spec: Spec, still: str, hint: str) -> Iterator[str]:
    words = escaped(spec.get("description", ""))
    yield f'<figure><div class="scroll" role="img" aria-label="{words}" tabindex="0">'
    yield f'<div id="still">{still}</div><div id="live"></div></div>'
    yield f'<figcaption class="note">{escaped(hint)}</figcaption></figure>'


def _still(spec: Spec) -> str:
    """SVG in the page's colours."""
    from ..charts.convert import to_svg

    svg = to_svg(spec)
    for color, variable in VARIABLES.items():
        svg = svg.replace(f'="{color}"', f'="var({variable})"')
    return svg.replace(' id="', ' id="still-').replace("url(#", "url(#still-").strip()


def _pixels(spec: Spec) -> str:
    """A picture of pixels, which is as large whatever the number of points is."""
    from ..charts.convert import to_png

    return f'<img alt="" src="data:image/png;base64,{b64encode(to_png(spec)).decode()}">'


def _script(spec: Spec) -> str:
    """Vega, the chart as data, and what draws it in the scheme of the page."""
    from ..charts.convert import javascript

    data = _data(with_hover(spec))
    renderer = "canvas" if len(data) > LARGE else "svg"
    return f"{javascript()}\n;const spec = {data};\nconst darkConfig = {_data(dark())};\nconst renderer = {renderer!r};\n"


def with_hover(spec: Spec) -> Spec:
    """The spec with its parameter `hover` set: invisible points are drawn for the pointer to find."""
    params = [
        {**param, "value": True} if param["name"] == "hover" else param for param in spec.get("params", ())
    ]
    return {**spec, "params": params}


def _data(value: Any) -> str:
    """JSON in which no text can end the script."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
