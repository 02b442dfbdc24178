"""`samattn configs`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..encoder.kept import Kept, description_of, image_size_of, kept_preset
from ..encoder.keys import Size
from ..encoder.presets import presets
from ..render.elements import Table
from ..render.formats.terminal import render_tables
from ..units import format_count, format_size
from . import complete
from .output import emit, guarded, terminal_options
from .shipped import text_of, wanted_name


@guarded
def configs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[PRESET]",
            help="Print the YAML of this preset; default: list all.",
            autocompletion=complete.presets,
        ),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET", autocompletion=complete.presets, help="The same as the argument PRESET."
        ),
    ] = None,
) -> None:
    """List the presets, or print one as a starting point for your own config.

    Use the name of a preset wherever a command takes CONFIG, and after `extends:` in a config file.

    Examples:

      samattn configs

      samattn configs custom_encoder > my_encoder.yaml
    """
    wanted = wanted_name(name, show)
    if wanted is None:
        options = terminal_options()
        columns = range(len(HEADERS)) if options.width >= WIDE else NARROW
        rows = tuple(tuple(row[column] for column in columns) for row in map(_row, presets()))
        headers = tuple(HEADERS[column] for column in columns)
        emit(
            render_tables([Table("", headers, rows, text_columns=(0, len(columns) - 1))], options), "terminal"
        )
    else:
        emit(text_of(*wanted, presets(), "preset"), "yaml")


HEADERS = ("preset", "image", "blocks", "params", "FLOPs", "what it is")
WIDE = 110  # the width at which all columns fit; otherwise those of NARROW, as most descriptions name the image size
NARROW = (0, 3, 4, 5)


def _row(name: str) -> tuple[str, ...]:
    kept = kept_preset(name)
    image_size, description, *figures = _derived(name) if kept is None else _kept(kept)
    blocks, params, flops = figures
    return name, format_size(image_size), str(blocks), format_count(params), format_count(flops), description


def _kept(kept: Kept) -> tuple[Size, str, int, int, int]:
    return image_size_of(kept), description_of(kept), int(kept.blocks), int(kept.params), int(kept.flops)


def _derived(name: str) -> tuple[Size, str, int, int, int]:
    """The same of a preset that is not kept, or whose file has changed."""
    from ..files.load import load_config
    from ..studies.passes import Passes

    config = load_config(name)
    passed = Passes(config).forward
    return config.image_size, config.description, len(config.layers), passed.params, passed.flops
