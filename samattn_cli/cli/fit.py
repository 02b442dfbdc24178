"""`samattn fit`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from math import gcd
from typing import TYPE_CHECKING, Annotated

import typer

from ..encoder.model import MAX_SIDE
from ..encoder.wording import field_at, suggestion, word_at
from ..errors import UsageError, did_you_mean
from ..files.load import load_config
from ..quantities import parse_bytes
from ..render import TABLES, TEXTS
from . import complete
from .asked import asked_files
from .output import deliver, guarded, terminal_options, working
from .parameters import (
    Autocast,
    BatchSize,
    Checkpointing,
    Config,
    DTypeOption,
    ImageSize,
    OptimizerOption,
    Outputs,
    Set,
    choices,
    chosen,
    device_option,
    named_device,
    overrides,
)

if TYPE_CHECKING:
    from ..device.model import Device
    from ..encoder.keys import Pair
    from ..studies.fit import Asked

FORMATS = (*TEXTS, *TABLES)
Format = Enum("FitFormat", choices(TEXTS), type=str)  # type: ignore[misc]
VARY = ("resolution", "batch-size", "global-layers")
MOST_BYTES = 1 << 50
ASPECT = re.compile(r"(?P<width>\d{1,7}):(?P<height>\d{1,7})|(?P<down>\d{1,7})[xX×](?P<across>\d{1,7})")
NAMED = (("width", "across"), ("height", "down"))


@guarded
def fit(
    config: Config,
    memory: Annotated[
        str | None,
        typer.Option(metavar="BYTES", help="What a process has for tensors: 24GiB, or 24GB, which is less."),
    ] = None,
    device: Annotated[
        str | None,
        device_option(
            "In its place, what a process has on a device: rtx_4090, ... (see `samattn devices`) or a YAML file."
        ),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="resolution, batch-size, global-layers; all three by default.",
            autocompletion=complete.words(lambda: VARY, several=True),
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODES",
            help="inference, training; both by default.",
            autocompletion=complete.words_of("run.mode", several=True),
        ),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            metavar="KERNELS",
            help="eager, sdpa, fused; all three by default.",
            autocompletion=complete.words_of("run.attention", several=True),
        ),
    ] = None,
    no_padding: Annotated[
        bool,
        typer.Option(
            "--no-padding",
            help="Only resolutions that patches, windows and strides divide: nothing is padded.",
        ),
    ] = False,
    aspect: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE",
            help="Shape of the resolutions: WIDTH:HEIGHT, such as 3:2, or HEIGHTxWIDTH, such as 896x1536; that of the "
            "config's image by default.",
        ),
    ] = None,
    set_: Set = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    dtype: DTypeOption = None,
    autocast: Autocast = None,
    optimizer: OptimizerOption = None,
    checkpointing: Checkpointing = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="terminal (or text), json, csv or markdown; terminal by default.",
        ),
    ] = None,
    output: Outputs = None,
) -> None:
    """Find how large an encoder can be in a memory: to the exact edge, with what stops it there.

    The largest resolution, the largest batch, and the most global layers, each with all else as the config has it, in
    inference and in training, under each attention kernel. Every size is worked out, so that one that fits though
    smaller ones do not is found, and said. With -o and no --format nothing is printed.

    Examples:

      samattn fit sam_vit_h --memory 24GiB

      samattn fit sam_vit_h --device rtx_4090 --vary resolution --no-padding

      samattn fit my_encoder.yaml --device h100 --mode training --checkpointing --dtype bfloat16

      samattn fit sam_vit_b --memory 8GiB --vary resolution --aspect 16:9 -o fit.json -o fit.md
    """
    from ..studies.fit import KERNELS, MODES, Asked
    from ..studies.fit import fit as fit_config

    formats = asked_files(output, FORMATS)
    flags = {"image_size": image_size, "batch_size": batch_size, "dtype": dtype, "autocast": autocast}
    encoder = load_config(config, overrides(set_, **flags, optimizer=optimizer, checkpointing=checkpointing))
    where = _memory(memory, device)
    asked = Asked(
        vary=[word.replace("-", "_") for word in _some("--vary", vary, VARY)],  # type: ignore[misc]
        modes=_some("--mode", mode, MODES),
        kernels=_some("--attention", attention, KERNELS),
        aspect=None if aspect is None else _aspect(aspect, encoder.patch_size),
        no_padding=no_padding,
    )
    _check_sizes(asked)
    with working("working out every size", "answers") as tell:
        report = fit_config(encoder, where, asked, tell=tell)
    deliver(report, chosen(format_), formats, terminal_options())


def _check_sizes(asked: Asked) -> None:
    if "resolution" in asked.vary:
        return
    for option, given in (("--no-padding", asked.no_padding), ("--aspect", asked.aspect is not None)):
        if given:
            raise UsageError(f"{option} says which resolutions to look at: use it with --vary resolution")


def _memory(memory: str | None, device: str | None) -> int | Device:
    """The bytes or the device that is asked for.

    Raises:
        UsageError: if it is neither, both, or no memory.
    """
    if (memory is None) == (device is None):
        which = "not both" if memory else "such as --memory 24GiB or --device rtx_4090"
        raise UsageError(f"give --memory or --device, {which}")
    if memory is None:
        return named_device(str(device))
    found = parse_bytes(memory, f"--memory {memory}")
    if found > MOST_BYTES:
        raise UsageError(f"--memory {memory}: must be at most 1 PiB")
    return found


def _some(option: str, given: str | None, known: Sequence[str]) -> list[str]:
    """The words that an option lists, in their own order; all of them if it is not given.

    Raises:
        UsageError: for one that there is not.
    """
    if given is None:
        return list(known)
    key = ("run", option.lstrip("-"))
    words = [word_at(key, word.strip()) for word in given.split(",")]
    for word in words:
        if word not in known:
            hint = suggestion(word, field_at(key)) if field_at(key) else did_you_mean(word, known)
            raise UsageError(f"{option} {given}: there is {', '.join(known)}, no {word or 'empty one'}{hint}")
    return [word for word in known if word in words]


def _aspect(given: str, patch: int) -> Pair:
    """Width and height in lowest terms.

    Raises:
        UsageError: if it is no aspect, or no image of it is in bounds.
    """
    found = ASPECT.fullmatch(given.strip())
    width, height = (int(found[across] or found[x]) for across, x in NAMED) if found else (0, 0)
    if not width or not height:
        raise UsageError(
            f"--aspect {given}: must be WIDTH:HEIGHT, such as 3:2, or HEIGHTxWIDTH, such as 896x1536"
        )
    width, height = width // gcd(width, height), height // gcd(width, height)
    if max(width, height) * patch > MAX_SIDE:
        raise UsageError(
            f"--aspect {given}: the smallest image of it, in whole patches of {patch}, has a side of more than {MAX_SIDE:,}"
        )
    return width, height
