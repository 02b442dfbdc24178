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
from ..patterns import pattern
from ..render import ALIASES, TEXTS
from ..shell import command, options
from ..spelling import known_as
from . import complete
from .output import say

if TYPE_CHECKING:
    from ..device.model import Device
    from ..encoder.model import EncoderConfig
    from ..files.load import Override

STDIN = "-"
"""The config that is read from standard input."""


def config_name(word: str) -> str:
    """The file, or else the preset, that a word names; a preset also in other letters ("SAM-ViT-H")."""
    if os.path.exists(word):  # noqa: PTH110 - False for a name that is too long
        return word
    return known_as(word, presets()) or word


def optional_config_name(word: str | None) -> str | None:
    """The file or preset that a word names, if there is a word."""
    return word and config_name(word)


def config_names(words: list[str] | None) -> list[str] | None:
    """The files and presets that several words name."""
    return words and list(map(config_name, words))


def device_name(word: str | None) -> str | None:
    """The device file or device that a word names: "RTX 4090" is rtx_4090."""
    if not word or os.path.exists(word):  # noqa: PTH110 - as above
        return word
    return known_as(word, devices()) or word


def config_argument(metavar: str, text: str) -> Any:
    """An argument that is one config; `text` is its help."""
    return typer.Argument(
        metavar=metavar,
        help=text,
        callback=optional_config_name,
        autocompletion=complete.configs,
        show_default=False,
    )


def configs_argument(metavar: str, text: str) -> Any:
    """An argument that is several configs; `text` is its help."""
    return typer.Argument(metavar=metavar, help=text, callback=config_names, autocompletion=complete.configs)


DEFAULT_CONFIG = "sam_vit_h"
_ONE = "A YAML file, a preset (see `samattn configs`), or - for standard input"
_MANY = "YAML files, presets (see `samattn configs`), or - for standard input"
_DEFAULT = f"default: {DEFAULT_CONFIG}"
Config = Annotated[str, config_argument("CONFIG", f"{_ONE}.")]
Configs = Annotated[list[str], configs_argument("CONFIG...", f"{_MANY}.")]
SomeConfigs = Annotated[list[str] | None, configs_argument("CONFIG...", f"{_MANY}.")]
OrDefaultConfig = Annotated[str | None, config_argument("[CONFIG]", f"{_ONE}; {_DEFAULT}.")]
OrDefaultConfigs = Annotated[list[str] | None, configs_argument("[CONFIG]...", f"{_MANY}; {_DEFAULT}.")]


def device_option(text: str) -> Any:
    """The option --device; `text` is its help."""
    return typer.Option(metavar="DEVICE", help=text, callback=device_name, autocompletion=complete.devices)


MOST_BYTES = 1 << 50
Memory = Annotated[
    str | None,
    typer.Option(metavar="BYTES", help="Say whether it fits in a memory for tensors, such as 24GiB."),
]

Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit with 2 if an encoder does not take a size; do not leave it out."),
]


def run_option(key: str, metavar: str, text: str, *, several: bool = False) -> Any:
    """An option for a key of `run` whose values are words; `several`, separated by commas. `text` is its help."""
    return typer.Option(
        metavar=metavar, help=text, autocompletion=complete.words_of(f"run.{key}", several=several)
    )


def format_option(formats: Iterable[str]) -> Any:
    """The option --format for a report that can be printed in these formats."""
    *most, last = (f"{name} (or text)" if name == "terminal" else name for name in formats)
    return typer.Option(
        "--format", "-f", metavar="FORMAT", help=f"{', '.join(most)} or {last}; default: terminal."
    )


Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="[FORMAT=]FILE",
        help="Write the report to FILE, in FORMAT or the format of its extension; may repeat.",
    ),
]


ThresholdsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Thresholds file; default: samattn.yaml in this directory or the nearest parent.",
    ),
]

CUDA = pattern(r"cuda(:\d+)?")
AMOUNT = pattern(r"\d+(\.\d+)?\s*[KMGTkmgt]i?[Bb]?")
SEVERAL = {
    "image_size": "--resolutions",
    "batch_size": "--batch-sizes",
    "dtype": "--dtypes",
    "attention": "--attention",
    "mode": "--modes",
}
"""By the name of an option that takes one value, the option of `samattn sweep` that takes several."""


def refuse_stdin(configs: Iterable[str] | None) -> None:
    """Check that every config has a path, by which rules can select it.

    Raises:
        UsageError: if standard input is among the configs.
    """
    if STDIN in (configs or ()):
        raise UsageError(
            "stdin-not-allowed", f"{STDIN}: cannot check standard input; give a file or a preset"
        )


def read_stdin_once(configs: Iterable[str]) -> None:
    """Check that at most one config is read from standard input.

    Raises:
        UsageError: if several are.
    """
    if list(configs).count(STDIN) > 1:
        raise UsageError(
            "stdin-twice",
            f"{STDIN}: standard input can be read once; save the config to a file, and name the file",
        )


def choices(formats: Iterable[str]) -> dict[str, str]:
    """The values of --format, as the members of an enumeration: formats and their aliases."""
    names = list(formats)
    return {name: name for name in (*names, *(name for name, of in ALIASES.items() if of in names))}


def chosen(choice: Enum | None) -> str | None:
    """The format that --format names; None without --format."""
    return choice and ALIASES.get(choice.value, choice.value)


TextFormats = Enum("TextFormats", choices(TEXTS), type=str)  # type: ignore[misc]
TextFormat = Annotated[TextFormats | None, format_option(TEXTS)]
"""--format of most commands."""


OF_ENCODER = frozenset({"image_size", "implementation"})
"""The options whose keys are the encoder's; those of the others are of `run`."""


def overrides(set_: Sequence[str] | None, **flags: str | bool | None) -> list[Override]:
    """The overrides of a config: those of --set in order, then those of flags, which have the names of their keys."""
    laid_over = [_set(text) for text in set_ or ()]
    for name, value in flags.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                laid_over.append(_flag(option, "", f"run.{name}", str(value).lower()))
            else:
                key = name if name in OF_ENCODER else f"run.{name}"
                laid_over.append(_flag(option, _one(option, name, value), key, value))
    return laid_over


def _set(text: str) -> Override:
    from ..files.load import parse_override

    return parse_override(text)


def config_of(word: str, laid_over: Sequence[Override] = ()) -> EncoderConfig:
    """The config that a word names, with overrides. A preset without them is taken as it is kept: nothing is parsed."""
    from ..files.presets import load_preset

    preset = None if laid_over else load_preset(word)
    if preset is not None:
        return preset
    from ..files.load import load_config

    return load_config(word, laid_over)


def device_of(reference: str | None) -> Device | None:
    """The device that --device names, if any."""
    return None if reference is None else named_device(reference)


def named_device(reference: str) -> Device:
    """The device that --device names.

    Raises:
        UsageError: for several devices, for an amount of memory, and for a device of this machine.
        ConfigError: if there is no such device.
    """
    from ..device.load import load_device

    if "," in reference and not os.path.exists(reference):  # noqa: PTH110 - False for a name that is too long
        raise UsageError(
            "one-value", f"--device {reference}: takes one device, such as {reference.partition(',')[0]}"
        )
    if AMOUNT.fullmatch(reference):
        raise UsageError(
            "memory-for-a-device",
            f"--device {reference}: is an amount of memory, not a device; samattn fit, analyze, sweep and check take "
            f"{options('--memory', [reference if reference[-1] in 'bB' else f'{reference}B'])}",
        )
    if CUDA.fullmatch(reference):
        raise UsageError(
            "device-of-this-machine",
            f"--device {reference}: give a device whose times can be predicted, such as h100 (see `samattn devices`); "
            "to measure on this machine, use samattn measure",
        )
    return load_device(reference, f"--device {reference}")


def memory_of(memory: str | None, device: str | None) -> int | None:
    """The bytes that --memory gives, if any.

    Raises:
        UsageError: if there is a device too, or the memory is not a size.
    """
    if memory is None:
        return None
    if device is not None:
        raise UsageError("conflicting-options", "give --memory or --device, not both")
    from ..quantities import parse_bytes

    size = parse_bytes(memory, f"--memory {memory}")
    if size > MOST_BYTES:
        raise UsageError("out-of-range", f"--memory {memory}: must be at most 1 PiB")
    return size


def or_default(config: str | None) -> str:
    """A config, or the default one with a message that says so."""
    if config is not None:
        return config
    say(f"no config given, using {DEFAULT_CONFIG}")
    return DEFAULT_CONFIG


def axis(option: str, key: str, text: str | None) -> list[Override]:
    """An override of a key for each value of an option, which are separated by commas.

    Raises:
        UsageError: if the list has an empty item.
    """
    values = [] if text is None else [value.strip() for value in text.split(",")]
    if "" in values:
        raise UsageError("empty-item", f"{option} {text}: the list has an empty item")
    return [_flag(option, value, key, value) for value in values]


def _one(option: str, name: str, text: str) -> str:
    """The value of an option that takes one.

    Raises:
        UsageError: for a list, with the command that takes lists.
    """
    if "," not in text or text.strip().startswith("["):
        return text
    pair = re.fullmatch(r"(\d+)\s*,\s*(\d+)", text.strip())
    image = f" (height x width of one image: {pair[1]}x{pair[2]})" if pair and name == "image_size" else ""
    several = (SEVERAL[name], text) if name in SEVERAL else ("--vary", f"run.{name}={text}")
    raise UsageError(
        "one-value",
        f"{option} {text}: takes one value{image}; for several values, use {command('sweep', *several)}",
    )


def _flag(option: str, text: str, key: str, value: str) -> Override:
    from ..files.load import option_where, override_of
    from ..files.yaml12 import parse_yaml

    where = option_where(option, text)
    return override_of(key, parse_yaml(value, where, located=False), where)
