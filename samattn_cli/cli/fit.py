"""`samattn fit`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import gcd
from typing import TYPE_CHECKING, Annotated

import typer

from ..encoder.model import MAX_SIDE
from ..encoder.wording import field_at, suggestion, word_at
from ..errors import UsageError, did_you_mean
from ..files.load import Override, load_config
from ..render import PAGES, PICTURES, TABLES, TEXTS
from . import complete
from .ignored import say_ignored
from .output import deliver, guarded, terminal_options, working
from .output_files import output_files
from .parameters import (
    Config,
    Outputs,
    TextFormat,
    chosen,
    device_option,
    memory_of,
    named_device,
    run_option,
)
from .run_options import LaidOver, with_run_options

if TYPE_CHECKING:
    from ..device.model import Device
    from ..encoder.keys import Size
    from ..studies.fit import Asked

FORMATS = (*TEXTS, *PICTURES, *TABLES, *PAGES)
CHECKPOINTING = "checkpointing"
GROWING = ("resolution", "batch-size", "global-layers")
VARY = (*GROWING, CHECKPOINTING)
ASPECT = re.compile(r"(?P<width>\d{1,7}):(?P<height>\d{1,7})|(?P<down>\d{1,7})[xX×](?P<across>\d{1,7})")
NAMED = (("width", "across"), ("height", "down"))


@guarded
@with_run_options("attention", "mode")
def fit(
    config: Config,
    memory: Annotated[
        str | None,
        typer.Option(metavar="BYTES", help="Memory for tensors, such as 24GiB (or 24GB, which is less)."),
    ] = None,
    device: Annotated[
        str | None,
        device_option(
            "Instead of --memory, the memory of a device: rtx_4090, ... (see `samattn devices`) or a YAML file."
        ),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="resolution, batch-size, global-layers, or checkpointing (which blocks), or several separated by commas; "
            "default: the first three.",
            autocompletion=complete.words(lambda: VARY, several=True),
        ),
    ] = None,
    mode: Annotated[
        str | None, run_option("mode", "MODES", "inference or training; default: both.", several=True)
    ] = None,
    attention: Annotated[
        str | None,
        run_option(
            "attention",
            "KERNELS",
            "eager, sdpa, fused, or several separated by commas; default: all three.",
            several=True,
        ),
    ] = None,
    no_padding: Annotated[
        bool,
        typer.Option(
            "--no-padding",
            help="Only resolutions that need no padding: patches, windows and strides divide them.",
        ),
    ] = False,
    aspect: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE",
            help="Aspect ratio of the resolutions: WIDTH:HEIGHT, such as 3:2, or HEIGHTxWIDTH, such as 896x1536; "
            "default: that of the config's image.",
        ),
    ] = None,
    laid_over: LaidOver = (),
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Find the largest encoder that fits a memory, exactly, and what stops the next larger one.

    The answers are the largest resolution, the largest batch size and the most global layers, each with the rest of the
    config unchanged, for inference and training and for each attention kernel. With --vary checkpointing: the blocks to
    checkpoint in training, with the fewest FLOPs that are computed again. Every size is computed, because a
    larger size may fit where a smaller one does not; such gaps are reported. On a CUDA device, torch's allocator is
    replayed near the edge: the largest is one after which none of the next 16 sizes fits. With -o and without
    --format, nothing is printed.

    Examples:

      samattn fit sam_vit_h --memory 24GiB

      samattn fit sam_vit_h --device rtx_4090 --vary resolution --no-padding

      samattn fit my_encoder.yaml --device h100 --mode training --checkpointing --dtype bfloat16

      samattn fit sam_vit_b --memory 8GiB --vary resolution --aspect 16:9 -o fit.json -o fit.md

      samattn fit sam_vit_h --device rtx_4090 --vary resolution -o fit.svg

      samattn fit sam_vit_h --device rtx_4090 --attention eager --vary checkpointing
    """
    from ..studies.fit import KERNELS, MODES, Asked
    from ..studies.fit import fit as fit_config

    formats = output_files(output, FORMATS)
    modes = _some("--mode", mode, MODES)
    varied = _some("--vary", vary, VARY) if vary else list(GROWING)
    modes = _of_training(modes, varied, mode)
    alone = [Override("run.mode", modes[0], f"--mode {mode}")] if len(modes) == 1 else []
    encoder = load_config(config, [*laid_over, *alone])
    where = _memory(memory, device)
    asked = Asked(
        vary=[word.replace("-", "_") for word in varied if word != CHECKPOINTING],  # type: ignore[misc]
        checkpointing=CHECKPOINTING in varied,
        modes=modes,
        kernels=_some("--attention", attention, KERNELS),
        aspect=None if aspect is None else _aspect(aspect, encoder.whole_side),
        no_padding=no_padding,
        curves=not {*PICTURES, *PAGES}.isdisjoint(formats.values()),
    )
    _check_sizes(asked)
    with working("working out every size", "answers") as tell:
        report = fit_config(encoder, where, asked, tell=tell)
    say_ignored([encoder.run], where, has_times=False)
    deliver(report, chosen(format_), formats, terminal_options())


def _of_training(modes: list[str], varied: Sequence[str], asked: str | None) -> list[str]:
    """The modes; training alone, where only the choice of blocks to checkpoint is asked for.

    Raises:
        UsageError: if that is asked for, and training is not.
    """
    if CHECKPOINTING in varied and "training" not in modes:
        raise UsageError(
            "conflicting-options",
            f"--mode {asked}: checkpointing lowers the memory of training alone; use --mode training, or leave it out",
        )
    return modes if any(word in GROWING for word in varied) else ["training"]


def _check_sizes(asked: Asked) -> None:
    if "resolution" in asked.vary:
        return
    for option, is_set in (("--no-padding", asked.no_padding), ("--aspect", asked.aspect is not None)):
        if is_set:
            raise UsageError(
                "missing-option", f"{option}: applies to resolutions only; add resolution to --vary"
            )


def _memory(memory: str | None, device: str | None) -> int | Device:
    """The memory in bytes, or the device.

    Raises:
        UsageError: if neither or both are given, or the memory is not a size.
    """
    if memory is None and device is None:
        raise UsageError(
            "missing-option", "give --memory or --device, such as --memory 24GiB or --device rtx_4090"
        )
    if memory is None:
        return named_device(str(device))
    return memory_of(memory, device) or 0


def _some(option: str, text: str | None, known: Sequence[str]) -> list[str]:
    """The known words that an option lists, in the order of `known`; all of them without the option.

    Raises:
        UsageError: for an unknown word.
    """
    if text is None:
        return list(known)
    key = ("run", option.lstrip("-"))
    words = [word_at(key, word.strip()) for word in text.split(",")]
    for word in words:
        if word not in known:
            hint = suggestion(word, field_at(key)) if field_at(key) else did_you_mean(word, known)
            raise UsageError(
                "unknown-value",
                f"{option} {text}: unknown value '{word}'; choose from {', '.join(known)}{hint}",
            )
    return [word for word in known if word in words]


def _aspect(text: str, patch: int) -> Size:
    """Width and height in lowest terms.

    Raises:
        UsageError: if the text is not an aspect ratio, or every image of it is too large.
    """
    match = ASPECT.fullmatch(text.strip())
    width, height = (int(match[across] or match[x]) for across, x in NAMED) if match else (0, 0)
    if not width or not height:
        raise UsageError(
            "not-an-aspect",
            f"--aspect {text}: must be WIDTH:HEIGHT, such as 3:2, or HEIGHTxWIDTH, such as 896x1536",
        )
    width, height = width // gcd(width, height), height // gcd(width, height)
    if max(width, height) * patch > MAX_SIDE:
        raise UsageError(
            "out-of-range",
            f"--aspect {text}: the smallest image with this aspect ratio, in sides of whole {patch} pixels, has a side longer "
            f"than {MAX_SIDE:,}",
        )
    return width, height
