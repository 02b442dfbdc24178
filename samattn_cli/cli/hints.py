"""What would be right, for words of the command line that a command does not take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from ..encoder.model import EncoderConfig, RunConfig, StageConfig
from ..encoder.presets import devices, presets
from ..encoder.wording import OTHER_KEYS
from ..errors import did_you_mean
from ..files.sources import STDIN
from ..gate.formats import CHECKS
from ..render import ALIASES, FORMATS
from ..shell import command, options
from ..spelling import is_like, known_as

NOT_ONE_OF = re.compile(r"'([^']*)' is not one of (.*)", re.DOTALL)
FILE = re.compile(r".*(/|\.(yaml|yml|json)$)")
EXTENSIONS = {name: format_.extension for name, format_ in {**FORMATS, **CHECKS}.items()}


def hint_of(self: Any, ctx: Any, given: Sequence[str], error: Any) -> str:
    """The message of an error of usage with what would be right; "" if nothing is known."""
    said = error.format_message()
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        return _unknown_option(self, error.option_name, given)
    if "unexpected extra argument" in said:
        run = next(_runs_of_values(self, ctx, given), None)
        others = _bare_setting(self, given) or _second_config(self, given)
        hint = _device_in_two(given) or (_of_one_config(run) if run else others)
        return hint and f"{said}: {hint}"
    if "Missing argument 'CONFIG" in said:
        example = command(str(ctx.info_name), "sam_vit_h")
        return f"{said} It is a YAML file or a preset, as in: {example}"
    wrong = NOT_ONE_OF.search(said)
    return f"{said.rstrip('.')}{_instead(wrong[1], wrong[2])}" if wrong else ""


def _instead(word: str, known: str) -> str:
    """What to give in place of a word that is not one of those of an option."""
    if EXTENSIONS.get(word):
        return f"; a file may be: -o report{EXTENSIONS[word]}"
    return did_you_mean(word, re.findall(r"'([^']*)'", known))


def stray_values(self: Any, ctx: Any, given: Sequence[str]) -> str:
    """What is wrong where values of an option stand apart, as in ``--resolutions 512 1024``, and would be taken for configs."""
    if not any(param.name == "configs" and param.nargs == -1 for param in self.params):
        return ""
    if said := _device_in_two(given):
        return said
    run = next(_runs_of_values(self, ctx, given), None)
    what = "is not a file or a preset" if run and len(run.words) == 1 else "are not files or presets"
    return f"{' '.join(run.words)} {what}; {_together(run)}" if run else _bare_setting(self, given)


@dataclass(frozen=True)
class _Run:
    """Words after an option that takes one, none of which could be a config.

    Attributes:
        option: its name.
        value: the word that it takes.
        words: those after it.
        lists: whether it takes several, with commas between.
        sets: whether it takes KEY=VALUE.
        repeats: whether it may be given several times.
    """

    option: str
    value: str
    words: tuple[str, ...]
    lists: bool
    sets: bool
    repeats: bool


def _runs_of_values(self: Any, ctx: Any, given: Sequence[str]) -> Iterator[_Run]:
    taking = {name: param for param in self.params for name in param.opts if _takes_value(param)}
    for at, first in enumerate(given):
        name, equals, value = first.partition("=")
        option = f"--{ctx.token_normalize_func(name[2:])}" if name.startswith("--") else name
        start = at + 1 if equals else at + 2
        if option not in taking or start > len(given):
            continue
        value, words = value if equals else given[at + 1], _plain_words(given[start:])
        param = taking[option]
        metavar = param.metavar or ""
        sets = metavar.startswith("KEY=") and "=" not in value
        if words and all((sets or _is_like(value, word)) and not _may_be_config(word) for word in words):
            lists = metavar.endswith("S") or (metavar == "STRATEGY" and value.isdecimal())
            yield _Run(option, value, tuple(words), lists, sets, param.multiple)


def _together(run: _Run) -> str:
    """How the words are given to their option."""
    if run.sets:
        return f"{run.option} takes a key and its value in one: {options(run.option, [f'{run.value}={run.words[0]}'])}"
    values = [",".join((run.value, *run.words))] if run.lists else [run.value, *run.words]
    if run.lists or run.repeats:
        return f"values of {run.option} go together: {options(run.option, values)}"
    return f"{run.option} takes one value, {run.value}"


def _of_one_config(run: _Run) -> str:
    """Likewise for a command of one config."""
    sides = (run.value, *run.words)
    if run.option == "--image-size" and len(sides) == len("HW") and all(map(str.isdecimal, sides)):
        return f"one image is {options(run.option, ['x'.join(sides)])}"
    return _together(run)


def _takes_value(param: Any) -> bool:
    return (
        param.opts[0].startswith("-")
        and not getattr(param, "is_flag", False)
        and not getattr(param, "count", False)
    )


def _plain_words(given: Sequence[str]) -> list[str]:
    """The words up to the next option."""
    end = next((at for at, word in enumerate(given) if word.startswith("-")), len(given))
    return [*given[:end]]


def _is_like(value: str, word: str) -> bool:
    """Whether a word may stand in a list after a value: a number after a number, another word after another word."""
    return value[:1].isdigit() == word[:1].isdigit()


def _may_be_config(word: str) -> bool:
    """Whether a word is a file or a preset, or looks as if it were meant to be one."""
    if word == STDIN or FILE.match(word) or os.path.exists(word):  # noqa: PTH110 - False of what is too long a name
        return True
    return known_as(word, presets()) is not None or is_like(word, presets())


def _device_in_two(given: Sequence[str]) -> str:
    """How a device is given whose name was written with a space."""
    for option, first, second in zip(given, given[1:], given[2:], strict=False):
        device = known_as(f"{first} {second}", devices())
        if option in {"--device", "--gpu"} and device:
            return f"{first} {second} is one word: {options('--device', [device])}"
    return ""


def _bare_setting(self: Any, given: Sequence[str]) -> str:
    """How a KEY=VALUE is given that has no option before it, as Hydra takes it."""
    taking = {name for param in self.params for name in param.opts if _takes_value(param)}
    for before, word in pairwise(("", *given) if "--set" in taking else ()):
        written, equals, value = word.partition("=")
        key = known_as(written.rpartition(".")[2], _keys(), OTHER_KEYS)
        if equals and key and before not in taking and not os.path.exists(word):  # noqa: PTH110 - likewise
            whole = written if "." in written else _keys()[key]
            return f"{word} is not a file or a preset; write {options('--set', [f'{whole}={value}'])}"
    return ""


def _second_config(self: Any, given: Sequence[str]) -> str:
    """What to do with two configs, for a command that takes one."""
    configs = [word for word in given if known_as(word, presets()) or FILE.match(word)]
    if len(configs) <= 1 or not any(param.name == "config" for param in self.params):
        return ""
    several = f", or {command('sweep', *configs)} --resolutions 512,1024"
    return f"it takes one config; several are for {command('diff', *configs[:2])}{several}"


def _unknown_option(self: Any, option: str, given: Sequence[str]) -> str:
    """What stands for an option that there is not."""
    said, name = f"No such option: {option}", option.lstrip("-")
    known = {word for param in self.params for word in param.opts if word.startswith("--")}
    form = known_as(name, EXTENSIONS, ALIASES)
    if form and "--output" in known:
        is_shown = f"'{form}'" in _format_choices(self)
        file = f"-o {form}=FILE" if not EXTENSIONS[form] else f"-o report{EXTENSIONS[form]}"
        return f"{said}; write {f'--format {form}, or ' if is_shown else ''}{file}"
    key = known_as(name, _keys(), OTHER_KEYS)
    if key and "--set" in known:
        value = next(iter(_value_of(option, given)), "VALUE")
        return f"{said}; write {options('--set', [f'{_keys()[key]}={value}'])}"
    return f"{said}{did_you_mean(option, known)}"


def _format_choices(self: Any) -> str:
    """The words of --format, each in quotation marks."""
    return " ".join(
        f"'{word}'"
        for param in self.params
        if "--format" in param.opts
        for word in getattr(param.type, "choices", ())
    )


def _keys() -> dict[str, str]:
    """The keys of a config by name, as --set has them."""
    flat = {entry.name: entry.name for config in (EncoderConfig, StageConfig) for entry in fields(config)}
    return flat | {entry.name: f"run.{entry.name}" for entry in fields(RunConfig)}


def _value_of(option: str, given: Sequence[str]) -> Iterator[str]:
    """The value that an option was given."""
    for at, word in enumerate(given):
        if word.startswith(f"{option}="):
            yield word.partition("=")[2]
        elif word == option:
            yield from (value for value in given[at + 1 : at + 2] if not value.startswith("-"))
