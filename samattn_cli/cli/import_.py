"""`samattn import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..encoder.presets import presets
from ..errors import ImportFailedError, Message, code_of, with_code
from ..shell import command
from ..spelling import known_as
from .output import emit, guarded, say, write_file
from .output_files import check_writable
from .ranges import one_size


@guarded
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A Hugging Face config.json, a checkpoint (.pth .pt .bin .pkl .safetensors), a folder with one, a YAML config of "
            "SAM 2 or Swin, or a model's name: timm:NAME, torchvision:NAME, ultralytics:NAME.",
        ),
    ],
    image_size: Annotated[
        str | None,
        typer.Option(
            "--image-size",
            metavar="SIZE",
            help="Images in pixels, a number or HEIGHTxWIDTH, if it is used at another size than it was made for: its "
            "positions are kept, and resized in each forward.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the YAML to a file.")
    ] = None,
) -> None:
    """Write a config from another description of an encoder.

    From a checkpoint only the shapes of its weights are read; no code in it is run. Comments in the config name what the
    source does not say, and what it runs differently from samattn.

    Examples:

      samattn import facebook/sam-vit-base/config.json -o sam.yaml

      samattn import sam_vit_b_01ec64.pth

      samattn import google/vit-base-patch16-224/config.json --image-size 384
    """
    from ..importing.importer import imported

    size = None if image_size is None else one_size("--image-size", image_size)
    if output is not None:
        check_writable(output)
    try:
        text = imported(
            source, lambda sentence: say(f"samattn: {with_code(sentence)}", style="yellow"), image_size=size
        )
    except ImportFailedError as error:
        preset = known_as(source, presets())
        if preset is None:
            raise
        hint = f"there is a preset of that name: {command('configs', preset)}"
        raise ImportFailedError(Message(code_of(error.message), f"{error.message}; {hint}")) from None
    if output is None:
        emit(text, "yaml")
    else:
        write_file(output, text, "yaml")
