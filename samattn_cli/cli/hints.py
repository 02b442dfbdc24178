"""Hints for words of the command line that a command does not accept: what would be right."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

from ..encoder.model import EncoderConfig, RunConfig, StageConfig
from ..encoder.presets import devices, presets
from ..encoder.wording import OTHER_KEYS
from ..errors import Message, did_you_mean
from ..files.sources import STDIN
from ..records import dataclass
from ..render import ALIASES, FORMATS, PAGES, TEXTS
from ..shell import command, options
from ..spelling import is_like, known_as
from .bare_values import bare_values

NOT_ONE_OF = re.compile(r"'([^']*)' is not one of (.*)", re.DOTALL)
OF_INPUTS = frozenset({"batch_size", "image_size"})
"""Keys that a traced module does not have: its inputs have them."""
FILE = re.compile(r".*(/|\.(yaml|yml|json)$)")


def explained(self: Any, ctx: Any, words: Sequence[str], error: Any) -> Message | None:
    """The message of a usage error, with what would be right; None if samattn has nothing to add to Typer's message."""
    problem = error.format_message()
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        return _unknown_option(self, error.option_name, words)
    if "unexpected extra argument" in problem:
        run = next(_runs_of_values(self, ctx, words), None)
        others = _bare_setting(self, words) or _second_config(self, words)
        bare = bare_values(self, problem)
        hint = _device_in_two_words(words) or (_of_one_config(run) if run else others or bare)
        return Message("extra-argument", f"{problem}: {hint}") if hint else None
    if "Missing argument 'CONFIG" in problem:
        example = command(str(ctx.info_name), "sam_vit_h")
        return Message("missing-argument", f"{problem} Give a YAML file or a preset, such as: {example}")
    if "Missing argument" in problem and getattr(error, "param", None) is not None:
        from .blanks import name_of, values_of

        right = f"{name_of(error.param)} is: {values_of(error.param)}"
        return Message("missing-argument", f"{problem} {right}")
    wrong = NOT_ONE_OF.search(problem)
    if not wrong:
        return None
    of_files = _of_files(self) if "'--format'" in problem else None
    return Message("unknown-value", f"{problem.rstrip('.')}{_hint_for(wrong[1], wrong[2], of_files)}")


def _of_files(self: Any) -> set[str]:
    """The formats of the files that a command writes."""
    module = sys.modules.get(getattr(self.callback, "__module__", ""))
    return {*getattr(module, "FORMATS", TEXTS), *PAGES}


def _hint_for(word: str, known: str, of_files: Collection[str] | None) -> str:
    """What to write instead of a word that is not one of the values of an option.

    `of_files`: of the option that takes a format, the formats of the command's files.
    """
    if of_files is not None and (extension := _extensions().get(word)):
        use = f"; to write a file in this format, use -o report{extension}"
        return use if word in of_files else "; this command does not write this format"
    return did_you_mean(word, re.findall(r"'([^']*)'", known))


def _extensions() -> dict[str, str]:
    """The extension of the files of each format, those of checks included; "" if `-o` must name the format."""
    from ..gate.formats import CHECKS

    return {name: format_.extension for name, format_ in {**FORMATS, **CHECKS}.items()}


def stray_values(self: Any, ctx: Any, words: Sequence[str]) -> Message | None:
    """What is wrong where the values of an option are separate words (``--resolutions 512 1024``) and look like configs.

    Args:
        self: a command that takes any number of configs.
        ctx: its context.
        words: its arguments.
    """
    if hint := _device_in_two_words(words):
        return Message("split-value", hint)
    run = next(_runs_of_values(self, ctx, words), None)
    if run is None:
        hint = _bare_setting(self, words)
        return Message("setting-without-option", hint) if hint else None
    what = "is not a file or a preset" if len(run.words) == 1 else "are not files or presets"
    return Message("split-value", f"{' '.join(run.words)} {what}; {_together(run)}")


@dataclass(frozen=True)
class _Run:
    """Words after an option and its value, none of which could be a config.

    Attributes:
        option: the name of the option.
        value: the word that the option takes.
        words: the words after the value.
        lists: whether the option takes several values, separated by commas.
        sets: whether the option takes KEY=VALUE.
        repeats: whether the option may be repeated.
    """

    option: str
    value: str
    words: tuple[str, ...]
    lists: bool
    sets: bool
    repeats: bool


def _runs_of_values(self: Any, ctx: Any, words: Sequence[str]) -> Iterator[_Run]:
    with_value = {name: param for param in self.params for name in param.opts if _takes_value(param)}
    for at, first in enumerate(words):
        name, equals, value = first.partition("=")
        option = f"--{ctx.token_normalize_func(name[2:])}" if name.startswith("--") else name
        start = at + 1 if equals else at + 2
        if option not in with_value or start > len(words):
            continue
        value, after = value if equals else words[at + 1], _plain_words(words[start:])
        param = with_value[option]
        metavar = param.metavar or ""
        sets = metavar.startswith("KEY=") and "=" not in value
        if after and all((sets or _is_like(value, word)) and not may_be_config(word) for word in after):
            lists = metavar.endswith("S") or (metavar == "STRATEGY" and value.isdecimal())
            yield _Run(option, value, tuple(after), lists, sets, param.multiple)


def _together(run: _Run) -> str:
    """How to give the words to their option."""
    if run.sets:
        setting = options(run.option, [f"{run.value}={run.words[0]}"])
        return f"{run.option} takes the key and its value as one word: {setting}"
    values = [",".join((run.value, *run.words))] if run.lists else [run.value, *run.words]
    if run.lists:
        return f"separate the values of {run.option} with commas: {options(run.option, values)}"
    if run.repeats:
        return f"repeat {run.option} for each value: {options(run.option, values)}"
    return f"{run.option} takes one value, {run.value}"


def _of_one_config(run: _Run) -> str:
    """The same for a command that takes one config."""
    sides = (run.value, *run.words)
    if run.option == "--image-size" and len(sides) == len("HW") and all(map(str.isdecimal, sides)):
        return f"height and width of one image are {options(run.option, ['x'.join(sides)])}"
    return _together(run)


def _takes_value(param: Any) -> bool:
    return (
        param.opts[0].startswith("-")
        and not getattr(param, "is_flag", False)
        and not getattr(param, "count", False)
    )


def _plain_words(words: Sequence[str]) -> list[str]:
    """The words up to the next option."""
    end = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    return [*words[:end]]


def _is_like(value: str, word: str) -> bool:
    """Whether a word could follow a value in a list: both begin with a digit, or neither does."""
    return value[:1].isdigit() == word[:1].isdigit()


def may_be_config(word: str) -> bool:
    """Whether a word is a file or a preset, or resembles one."""
    if word == STDIN or FILE.match(word) or os.path.exists(word):  # noqa: PTH110 - False of what is too long a name
        return True
    return known_as(word, presets()) is not None or is_like(word, presets())


def _device_in_two_words(words: Sequence[str]) -> str:
    """How to give a device whose name was written with a space."""
    for option, first, second in zip(words, words[1:], words[2:], strict=False):
        device = known_as(f"{first} {second}", devices())
        if option in {"--device", "--gpu"} and device:
            return f"the device name '{first} {second}' must be one word: {options('--device', [device])}"
    return ""


def _bare_setting(self: Any, words: Sequence[str]) -> str:
    """How to give a KEY=VALUE that has no option before it, as in Hydra."""
    with_value = {name for param in self.params for name in param.opts if _takes_value(param)}
    for before, word in pairwise(("", *words) if "--set" in with_value else ()):
        written, equals, value = word.partition("=")
        if written.startswith("-"):  # an option, maybe under another name
            continue
        key = known_as(written.rpartition(".")[2], _keys(), OTHER_KEYS)
        if equals and key and before not in with_value and not os.path.exists(word):  # noqa: PTH110 - as above
            whole = written if "." in written else _keys()[key]
            return f"{word} is not a file or a preset; write {options('--set', [f'{whole}={value}'])}"
    return ""


def _second_config(self: Any, words: Sequence[str]) -> str:
    """What to do with two configs, for a command that takes one."""
    configs = [word for word in words if known_as(word, presets()) or FILE.match(word)]
    if len(configs) <= 1 or not any(param.name == "config" for param in self.params):
        return ""
    several = f", or {command('sweep', *configs)} --resolutions 512,1024"
    return f"this command takes one config; to compare them, use {command('diff', *configs[:2])}{several}"


def _unknown_option(self: Any, option: str, words: Sequence[str]) -> Message:
    """The message for an option that the command does not have."""
    hint = _hint_for_option(self, option, words)
    return Message("unknown-option", f"No such option: {option}{hint}")


def _hint_for_option(self: Any, option: str, words: Sequence[str]) -> str:
    """What to write instead of an option that the command does not have."""
    name = option.lstrip("-")
    known = {word for param in self.params for word in param.opts if word.startswith("--")}
    extensions = _extensions()
    form = known_as(name, extensions, ALIASES)
    if form and "--output" in known:
        is_shown = f"'{form}'" in _format_choices(self)
        file = f"-o {form}=FILE" if not extensions[form] else f"-o report{extensions[form]}"
        return f"; write {f'--format {form}, or ' if is_shown else ''}{file}"
    key = known_as(name, _keys(), OTHER_KEYS)
    if key == "mode" and "--global-batch" in known:
        return ": a plan is of training steps, so leave it out"
    if key in OF_INPUTS and "--input" in known:
        return "; it is in the shape: --input 1x3x1024x1024"
    if key and (own := f"--{key.replace('_', '-')}") in known:
        return f"; did you mean '{own}'?"
    if key and "--set" in known:
        value = next(iter(_value_of(option, words)), "VALUE")
        return f"; write {options('--set', [f'{_keys()[key]}={value}'])}"
    return did_you_mean(option, known)


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


def _value_of(option: str, words: Sequence[str]) -> Iterator[str]:
    """The value of an option."""
    for at, word in enumerate(words):
        if word.startswith(f"{option}="):
            yield word.partition("=")[2]
        elif word == option:
            yield from (value for value in words[at + 1 : at + 2] if not value.startswith("-"))
