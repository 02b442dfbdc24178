"""`samattn trace`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..encoder.wording import word_at
from ..errors import EXIT_DIFFERS, UsageError, did_you_mean
from ..files.load import load_config
from ..files.yaml12 import parse_yaml
from ..records import replace
from ..render import PAGES, PICTURES, TABLES, TEXTS
from ..shell import options
from . import complete
from .output import deliver, guarded, terminal_options, working
from .output_files import output_files
from .parameters import (
    Outputs,
    TextFormat,
    chosen,
    device_name,
    device_of,
    device_option,
    optional_config_name,
    overrides,
)
from .run_options import Set

if TYPE_CHECKING:
    from ..device.model import Device
    from ..reports.traced import TracedAnalysis

FORMATS = (*TEXTS, *PICTURES, *TABLES, *PAGES)
MODES = ("inference", "training")
OPTIMIZERS = ("adamw", "sgd_momentum", "sgd")
DTYPES = ("float32", "bfloat16", "float16")


@guarded
def trace(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="package.module:callable (a class, or a function that returns a module; the working folder is importable), "
            "timm:NAME, torchvision:NAME, or a Hugging Face folder or config.json.",
            show_default=False,
        ),
    ],
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]SHAPE[:TYPE]",
            help="Shape of an input: 1x3x1024x1024, pixel_values=1x3x224x224, ids=1x77:int64; may repeat.",
        ),
    ] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="KEY=VALUE", help="An argument of the callable; may repeat."),
    ] = None,
    submodule: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Trace a part of the module, such as vision_encoder; --input is its input."
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="float32, bfloat16 or float16: type of weights and inputs; default: that of the module.",
            autocompletion=complete.words(lambda: list(DTYPES)),
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="inference, or training: a training step in addition.",
            autocompletion=complete.words(lambda: list(MODES)),
        ),
    ] = "inference",
    optimizer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Optimizer of the training step: adamw, sgd_momentum or sgd.",
            autocompletion=complete.words(lambda: list(OPTIMIZERS)),
        ),
    ] = "adamw",
    device: Annotated[
        str | None,
        device_option(
            "Add predicted times, and whether the module fits: h100, rtx_4090, ... (see `samattn devices`) or a YAML file. "
            "dry:h100 runs torch's own CUDA code, without a GPU, for what its allocator allocates and reserves."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="Compare the module with a config or preset of samattn, and say the first layer and operation that differ; exit "
            "with 1 if one does.",
            callback=optional_config_name,
            autocompletion=complete.configs,
        ),
    ] = None,
    set_: Set = None,
    all_layers: Annotated[bool, typer.Option("--all", help="Show every layer, also identical ones.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Print exact counts and the shares of FLOPs too.")
    ] = False,
    ops: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER", help="Show the operations of a layer or part, by its name; may repeat."
        ),
    ] = None,
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Report what each layer of any PyTorch module costs, without a config: of your own encoder, or one of a library.

    The module runs on PyTorch's meta device, so its weights are never made and no GPU is needed. It runs in a process of its
    own. Its attention kernels are those that torch chooses on the device, or on an A100 if none is named. Layers are its
    repeated modules. Needs torch.

    Examples:

      samattn trace my_package.encoder:build --input 1x3x1024x1024

      samattn trace my_package.encoder:Encoder --arg depth=12 --input 8x3x512x512 --mode training --device rtx_4090

      samattn trace ./sam-vit-base/config.json --submodule vision_encoder --input 1x3x1024x1024

      samattn trace my_package.encoder:build --against sam_vit_b

      samattn trace timm:vit_base_patch16_224 --dtype bfloat16 -o report.json
    """
    from ..studies.traced import trace as trace_target

    formats = output_files(output, FORMATS)
    arguments = dict(map(_argument, arg or ()))
    mode = _choice("--mode", mode, MODES)
    optimizer = _choice("--optimizer", optimizer, OPTIMIZERS)
    if dtype is not None:
        dtype = _choice("--dtype", dtype, DTYPES)
    dry, on = _device(device)
    if set_ and against is None:
        raise UsageError(
            "needs-option", "--set: overrides a key of the config of --against, which is not given"
        )
    config = None if against is None else load_config(against, overrides(set_))
    with working(f"tracing {target}"):
        report = trace_target(
            target,
            inputs=input_ or (),
            arguments=arguments,
            dtype=dtype or "",
            submodule=submodule or "",
            mode=mode,
            optimizer=optimizer,
            device=on,
            dry=dry,
            against=config,
        )
    options = replace(terminal_options(all_layers=all_layers, ops=_places(report, ops or ())), full=full)
    deliver(report, chosen(format_), formats, options)
    if report.against is not None and not report.against.equal:
        raise typer.Exit(EXIT_DIFFERS)


def _device(word: str | None) -> tuple[bool, Device | None]:
    """Whether --device asks for a dry run, and the device that it names."""
    from ..studies.child import DRY, DRY_DEFAULT

    prefix, _, name = (word or "").partition(":")
    if prefix != DRY:
        return False, device_of(word)
    return True, device_of(device_name(name or DRY_DEFAULT))


def _argument(text: str) -> tuple[str, Any]:
    """The name and the value of --arg, which is YAML: depth=12, use_rel_pos=true, sizes=[1, 2].

    Raises:
        UsageError: for a text without a name or a value.
    """
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise UsageError("not-an-argument", f"--arg {text}: write KEY=VALUE, such as depth=12")
    if not value.strip():
        empty = options("--arg", [f'{name}=""'])
        raise UsageError("not-an-argument", f"--arg {text}: has no value; an empty text is {empty}")
    return name, parse_yaml(value, f"--arg {text}", located=False).plain()


def _choice(option: str, word: str, known: Sequence[str]) -> str:
    """The value that a word means, also by another name that the key of a config accepts: "train", "fp16".

    Raises:
        UsageError: if it means none.
    """
    meant = word_at(("run", option.removeprefix("--")), word)
    if meant not in known:
        hint = did_you_mean(word, known) or f"; choose from {', '.join(known)}"
        raise UsageError("unknown-choice", f"{option} {word}: unknown value{hint}")
    return meant


def _places(report: TracedAnalysis, words: Sequence[str]) -> list[str]:
    """The layers and parts that --ops names.

    Raises:
        UsageError: for one that the module does not have.
    """
    names = [place.name for place in (*report.layers, *report.parts)]
    for word in words:
        if word not in names:
            hint = did_you_mean(word, names) or f"; it has {', '.join(names)}"
            raise UsageError("unknown-layer", f"--ops {word}: no such layer or part{hint}")
    return list(words)
