"""Specs to files by vl-convert, which carries Vega-Lite and draws without a browser and without a network."""

from __future__ import annotations

from functools import cache

from .theme import Spec

PNG_SCALE = 2  # pixels of the file to a pixel of the picture


def to_svg(spec: Spec) -> str:
    """A picture that scales."""
    import vl_convert

    return f"{vl_convert.vegalite_to_svg(spec)}\n"


def to_png(spec: Spec) -> bytes:
    """A picture of pixels."""
    import vl_convert

    return vl_convert.vegalite_to_png(spec, scale=PNG_SCALE)


def to_pdf(spec: Spec) -> bytes:
    """A page as large as the picture, which scales."""
    import vl_convert

    return vl_convert.vegalite_to_pdf(spec)


@cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed for a page that stands alone."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
