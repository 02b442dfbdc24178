"""The charts of a report in its page: still pictures, or ones that answer the pointer where the page stays small with them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from ..charts.theme import Spec, config
from ..shield import visible
from .words import escaped

MOST_CHARACTERS = 1_150_000
"""Of a page whose pictures answer the pointer, or scale; larger pages have pictures of pixels."""
COLORS = tuple(f"var(--{name})" for name in ("ink", "faint", "grid", "paper"))
"""The page's own colours, which are others on a dark page, and on paper."""
MISSING = "Pictures need the optional dependency 'charts': pip install 'samattn[charts]'"
STILL = "A still picture: with ones that answer the pointer, this page would be too large."


class Drawn(NamedTuple):
    """The pictures of a page.

    Attributes:
        figures: the HTML of each.
        script: what draws them again so that they answer the pointer; "" if they stay still.
    """

    figures: tuple[str, ...]
    script: str = ""


def drawn(specs: Sequence[Spec], rest: int) -> Drawn:
    """Charts on a page whose other parts have `rest` characters."""
    if not specs:
        return Drawn(())
    if find_spec("vl_convert") is None:
        return Drawn((f'<p class="note">{escaped(MISSING)}</p>',))
    shown = [{**_visible(spec), "config": config(*COLORS)} for spec in specs]
    stills = [_still(spec, f"still-{number}-") for number, spec in enumerate(shown)]
    room = MOST_CHARACTERS - rest - sum(map(len, stills))
    if room < 0:
        return Drawn(tuple(map(_figure, shown, map(_pixels, specs), [STILL] * len(shown))))
    scripts = ((count, _script(shown[:count])) for count in range(len(shown), 0, -1))
    live, script = next((each for each in scripts if len(each[1]) < room), (0, ""))
    hints = [spec.get("usermeta", {}).get("hint", "") for spec in shown[:live]]
    return Drawn(tuple(map(_figure, shown, stills, [*hints, *[STILL] * (len(shown) - live)])), script)


def _visible(value: Any) -> Any:
    """A spec in whose texts what a browser would obey is visible: see `visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {key: _visible(each) for key, each in value.items()}
    return list(map(_visible, value)) if isinstance(value, (list, tuple)) else value


def _figure(spec: Spec, still: str, hint: str) -> str:
    words = escaped(spec.get("description", ""))
    return (
        f'<figure><div class="scroll" role="img" aria-label="{words}" tabindex="0">'
        f'<div class="still">{still}</div><div class="live"></div></div>'
        f'<figcaption class="note">{escaped(hint)}</figcaption></figure>'
    )


def figure_of(spec: Spec, own: str) -> str:
    """A chart that stays still, in the colours of what it stands in; `own` is as in `_still`."""
    if find_spec("vl_convert") is None:
        return f'<p class="note">{escaped(MISSING)}</p>'
    shown = {**_visible(spec), "config": config(*COLORS)}
    return _figure(shown, _still(shown, own), "")


def _still(spec: Spec, own: str) -> str:
    """SVG; its names begin with `own`, which no other picture of the page has."""
    from ..charts.convert import to_svg

    return to_svg(spec).replace(' id="', f' id="{own}').replace("url(#", f"url(#{own}").strip()


def _pixels(spec: Spec) -> str:
    """A picture of pixels, which is as large whatever the number of points is."""
    from ..charts.convert import to_png

    return f'<img alt="" src="data:image/png;base64,{b64encode(to_png(spec)).decode()}">'


def _script(specs: Sequence[Spec]) -> str:
    """Vega-Lite, and the charts as its specs."""
    from ..charts.convert import javascript

    charts = ",\n".join(_data(with_hover(spec)) for spec in specs)
    return f"{javascript()}\n;const charts = [{charts}];\n"


def with_hover(spec: Spec) -> Spec:
    """The spec with its parameter `hover` set: invisible points are drawn for the pointer to find."""
    params = [
        {**param, "value": True} if param["name"] == "hover" else param for param in spec.get("params", ())
    ]
    return {**spec, "params": params}


def _data(value: Any) -> str:
    """JSON in which no text can end the script."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
