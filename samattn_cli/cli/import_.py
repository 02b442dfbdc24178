"""`samattn import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..encoder.presets import presets
from ..errors import ImportFailedError, code_of, with_code
from ..shell import command
from ..spelling import known_as
from .asked import check_place
from .output import emit, guarded, say, write_file


@guarded
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Hugging Face's config.json or its folder, a checkpoint (.pth .pt .bin .safetensors), or a timm model.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the YAML to a file.")
    ] = None,
) -> None:
    """Write the config of an encoder that you have in another form.

    Of a checkpoint only the shapes of its weights are read, and no code in it is run. Comments in the file say what the
    source does not specify, and where its library differs from samattn.

    Examples:

      samattn import facebook/sam-vit-base/config.json -o sam.yaml

      samattn import sam_vit_b_01ec64.pth
    """
    from ..importing.importer import imported

    if output is not None:
        check_place(output)
    try:
        text = imported(source, lambda sentence: say(f"samattn: {with_code(sentence)}", style="yellow"))
    except ImportFailedError as error:
        preset = known_as(source, presets())
        if preset is None:
            raise
        text = f"{error.message}; to see the preset of that name: {command('configs', preset)}"
        raise ImportFailedError(code_of(error.message), text) from None
    if output is None:
        emit(text, "yaml")
    else:
        write_file(output, text, "yaml")
