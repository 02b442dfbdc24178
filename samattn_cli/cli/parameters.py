"""Arguments and options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..encoder.presets import devices, presets
from ..errors import UsageError
from ..files.load import Override, option_where, override_of, parse_override
from ..files.sources import STDIN
from ..files.yaml12 import parse_yaml
from ..render import ALIASES
from ..shell import command
from ..spelling import known_as
from . import complete
from .output import say

if TYPE_CHECKING:
    from ..device.model import Device


def config_name(given: str) -> str:
    """What a word names: a preset, also by a name in other letters ("SAM-ViT-H"), unless there is a file of that name."""
    if os.path.exists(given):  # noqa: PTH110 - False of what is too long a name
        return given
    return known_as(given, presets()) or given


def _config_name(given: str | None) -> str | None:
    return given and config_name(given)


def config_names(given: list[str] | None) -> list[str] | None:
    """What several words name."""
    return given and list(map(config_name, given))


def device_name(given: str | None) -> str | None:
    """Likewise of a device: "RTX 4090" is rtx_4090."""
    if not given or os.path.exists(given):  # noqa: PTH110 - likewise
        return given
    return known_as(given, devices()) or given


_CONFIG = "preset (see `samattn configs`), or - for standard input."
_ONE = typer.Argument(
    metavar="CONFIG", help=f"A YAML file, a {_CONFIG}", callback=_config_name, autocompletion=complete.configs
)
_MANY = "YAML files, presets (see `samattn configs`), or - for standard input"
Config = Annotated[str, _ONE]
Configs = Annotated[
    list[str],
    typer.Argument(
        metavar="CONFIG...", help=f"{_MANY}.", callback=config_names, autocompletion=complete.configs
    ),
]
SomeConfigs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG...", help=f"{_MANY}.", callback=config_names, autocompletion=complete.configs
    ),
]
DEFAULT_CONFIG = "sam_vit_h"
OrDefaultConfig = Annotated[
    str | None,
    typer.Argument(
        metavar="[CONFIG]",
        help=f"A YAML file, a preset, or - for standard input; {DEFAULT_CONFIG} if left out.",
        callback=_config_name,
        autocompletion=complete.configs,
        show_default=False,
    ),
]
OrDefaultConfigs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG]...",
        help=f"{_MANY}; {DEFAULT_CONFIG} if left out.",
        callback=config_names,
        autocompletion=complete.configs,
    ),
]


def device_option(text: str) -> Any:
    """The option --device with a help of its own."""
    return typer.Option(metavar="DEVICE", help=text, callback=device_name, autocompletion=complete.devices)


Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, such as window_size=8 or run.dtype=float16.",
        autocompletion=complete.settings,
    ),
]
ImageSize = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Input in pixels: N or HEIGHTxWIDTH; overrides image_size.")
]
BatchSize = Annotated[str | None, typer.Option(metavar="N", help="Images a pass; overrides run.batch_size.")]
DTypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="TYPE",
        help="float32, bfloat16 or float16; overrides run.dtype.",
        autocompletion=complete.words_of("run.dtype"),
    ),
]
Attention = Annotated[
    str | None,
    typer.Option(
        metavar="KERNEL",
        help="eager, sdpa or fused; overrides run.attention.",
        autocompletion=complete.words_of("run.attention"),
    ),
]
Autocast = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="Products in bfloat16 or float16 by torch.autocast; overrides run.autocast.",
        autocompletion=complete.words_of("run.autocast"),
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="inference or training; overrides run.mode.",
        autocompletion=complete.words_of("run.mode"),
    ),
]
OptimizerOption = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help="adamw, sgd_momentum or sgd; overrides run.optimizer.",
        autocompletion=complete.words_of("run.optimizer"),
    ),
]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--checkpointing/--no-checkpointing",
        help="Training keeps only each block's input; overrides run.checkpointing.",
    ),
]
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="[FORMAT=]FILE",
        help="Write FILE, in FORMAT or that of its extension; may repeat.",
    ),
]


ThresholdsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The thresholds; samattn.yaml here or in the nearest folder around by default.",
    ),
]

CUDA = re.compile(r"cuda(:\d+)?")
SEVERAL = {
    "image_size": "--resolutions",
    "batch_size": "--batch-sizes",
    "dtype": "--dtypes",
    "attention": "--attention",
    "mode": "--modes",
}
"""By the name of an option that takes one value, that of `samattn sweep` that takes several."""


def refuse_stdin(configs: Iterable[str] | None) -> None:
    """What is checked has a place that a rule can match.

    Raises:
        UsageError: if standard input is among the configs.
    """
    if STDIN in (configs or ()):
        raise UsageError(f"{STDIN}: a config that is checked is a file, or a preset")


def choices(formats: Iterable[str]) -> dict[str, str]:
    """What --format may be, as the members of an enumeration: formats, and other names of theirs."""
    names = list(formats)
    return {name: name for name in (*names, *(name for name, of in ALIASES.items() if of in names))}


def chosen(given: Enum | None) -> str | None:
    """The format that --format asks for, if it is given."""
    return given and ALIASES.get(given.value, given.value)


def overrides(set_: Sequence[str] | None, **flags: str | bool | None) -> list[Override]:
    """What the options lay over a config: --set in its order, then the flags, by the names of their keys."""
    found = [parse_override(text) for text in set_ or ()]
    for name, given in flags.items():
        if given is not None:
            option = f"--{name.replace('_', '-')}"
            if isinstance(given, bool):
                found.append(_flag(option, "", f"run.{name}", str(given).lower()))
            else:
                key = name if name == "image_size" else f"run.{name}"
                found.append(_flag(option, _one(option, name, given), key, given))
    return found


def device_of(reference: str | None) -> Device | None:
    """The device that --device names, if any."""
    return None if reference is None else named_device(reference)


def named_device(reference: str) -> Device:
    """The device that --device names.

    Raises:
        UsageError: for several, and for a device of this machine.
        ConfigError: for what is not a device.
    """
    from ..device.load import load_device

    if "," in reference and not os.path.exists(reference):  # noqa: PTH110 - False of what is too long a name
        raise UsageError(f"--device {reference}: takes one device, such as {reference.partition(',')[0]}")
    if CUDA.fullmatch(reference):
        raise UsageError(
            f"--device {reference}: names a device whose times are predicted, such as h100 (see `samattn devices`); what is "
            "in this machine is measured: samattn measure"
        )
    return load_device(reference, f"--device {reference}")


def or_default(given: str | None) -> str:
    """The config that is given, or the default one, which is said."""
    if given is None:
        say(f"no config is given: taking {DEFAULT_CONFIG}")
    return given or DEFAULT_CONFIG


def axis(option: str, key: str, given: str | None) -> list[Override]:
    """What each of the values that an option lists, with commas between, lays over a config."""
    values = [] if given is None else [value.strip() for value in given.split(",")]
    if "" in values:
        raise UsageError(f"{option} {given}: is a list with an empty place")
    return [_flag(option, value, key, value) for value in values]


def _one(option: str, name: str, given: str) -> str:
    """What an option that takes one value is given.

    Raises:
        UsageError: if it is several, with the command that takes them.
    """
    if "," not in given or given.strip().startswith("["):
        return given
    pair = re.fullmatch(r"(\d+)\s*,\s*(\d+)", given.strip())
    image = f" (height x width of one image: {pair[1]}x{pair[2]})" if pair and name == "image_size" else ""
    several = (SEVERAL[name], given) if name in SEVERAL else ("--vary", f"run.{name}={given}")
    raise UsageError(
        f"{option} {given}: takes one value{image}; several are for {command('sweep', *several)}"
    )


def _flag(option: str, given: str, key: str, value: str) -> Override:
    where = option_where(option, given)
    return override_of(key, parse_yaml(value, where, located=False), where)
