"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..config.load import Override, option_where, parse_override
from ..config.yaml12 import parse_yaml

Config = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG", help="A YAML file, a preset (see `samattn configs`), or - for standard input."
    ),
]
Configs = Annotated[
    list[str],
    typer.Argument(
        metavar="CONFIG...", help="YAML files, presets (see `samattn configs`), or - for standard input."
    ),
]
SomeConfigs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG...", help="YAML files, presets (see `samattn configs`), or - for standard input."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, such as window_size=8 or run.dtype=float16."
    ),
]
ImageSize = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Input in pixels: N or HEIGHTxWIDTH; overrides image_size.")
]
BatchSize = Annotated[str | None, typer.Option(metavar="N", help="Images a pass; overrides run.batch_size.")]
DTypeOption = Annotated[
    str | None,
    typer.Option("--dtype", metavar="TYPE", help="float32, bfloat16 or float16; overrides run.dtype."),
]
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write FILE, in the format of its extension; may repeat."
    ),
]


def overrides(
    set_: Sequence[str] | None, image_size: str | None, batch_size: str | None, dtype: str | None
) -> list[Override]:
    """What the options lay over a config, the flags last."""
    found = [parse_override(text) for text in set_ or ()]
    if image_size is not None:
        found.append(_flag("--image-size", image_size, "image_size", _sides(image_size)))
    if batch_size is not None:
        found.append(_flag("--batch-size", batch_size, "run.batch_size", batch_size))
    if dtype is not None:
        found.append(_flag("--dtype", dtype, "run.dtype", dtype))
    return found


def axis(option: str, key: str, given: str | None) -> list[Override]:
    """What each of the values that an option lists, with commas between, lays over a config."""
    values = [] if given is None else [value.strip() for value in given.split(",")]
    return [_flag(option, value, key, _sides(value) if key == "image_size" else value) for value in values]


def _sides(size: str) -> str:
    """HEIGHTxWIDTH as YAML."""
    return re.sub(r"^(\d+)[x,](\d+)$", r"[\1, \2]", size)


def _flag(option: str, given: str, key: str, value: str) -> Override:
    where = option_where(option, given)
    return Override(key, parse_yaml(value, where, located=False), where)
