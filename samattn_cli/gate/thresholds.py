"""The keys of a thresholds file. Their descriptions are its documentation and the JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from typing import Any, Literal, get_args

from pydantic_core import core_schema

from ..encoder.keys import (
    TEXT,
    Size,
    anything,
    choice,
    key,
    keys_of,
    keys_or_one,
    like,
    listed,
    many,
    named,
    one_or_more,
    only,
    optional,
    parsed,
    whole,
)
from ..encoder.model import EncoderConfig, RunConfig
from ..errors import UsageError
from ..quantities import WRITTEN_AS, Quantity, quantity
from ..records import dataclass

MOST = 1000
EVERYTHING = "**"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
DATED_AS = "a date, such as 2027-01-31"
WRITTEN = (core_schema.str_schema(strict=True), whole(-(10**30), 10**30), core_schema.float_schema(strict=True, allow_inf_nan=False))  # fmt: skip
QUANTITY = parsed(quantity, WRITTEN_AS, *WRITTEN)

Action = Literal["error", "warn", "ignore"]
Against = Literal["base", "baseline"]


def _date(text: str) -> date:
    try:
        if DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError("not-a-date", f"must be {DATED_AS}")


def _words(text: str) -> str:
    if not text.strip():
        raise UsageError("empty-text", "must not be empty")
    return text


def _shape(text: str) -> str:
    from ..studies.traced.ask import input_of  # only for files that name a module

    input_of(0, text)
    return text


WORDS = parsed(_words, "text on one line", TEXT)
DAY = parsed(_date, DATED_AS, core_schema.str_schema(strict=True))
SHAPE = parsed(_shape, "a shape, such as 1x3x1024x1024", TEXT)
ACTION = choice(*get_args(Action))


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How encoders are run. Its keys override those of each config; other keys stay as in the config."""

    image_size: Size | None = like(EncoderConfig, "image_size")
    batch_size: int | None = like(RunConfig, "batch_size")
    dtype: str | None = like(RunConfig, "dtype")
    autocast: str | None = like(RunConfig, "autocast")
    attention: str | None = like(RunConfig, "attention")
    mode: str | None = like(RunConfig, "mode")
    optimizer: str | None = like(RunConfig, "optimizer")
    checkpointing: bool | str | None = like(RunConfig, "checkpointing")
    parallel: str | None = like(RunConfig, "parallel")
    gpus: int | None = like(RunConfig, "gpus")
    device: str = key(
        TEXT,
        "The device, for times: a name of `samattn devices`, or the path of a YAML file from the folder of this file.",
        example="a100_80",
        default="",
    )
    set: dict[str, Any] | None = key(
        anything(),
        "Any other keys of a config, with dots, as in --set.",
        example={"run.tf32": True},
        default=None,
    )


TRACED = "trace:"
"""What the paths of traced modules begin with, in rules, reports and commands."""


@dataclass(frozen=True, kw_only=True)
class TracedTarget:
    """A PyTorch module that is traced, as by `samattn trace`. The check runs its code."""

    target: str = key(
        WORDS,
        "What is traced: package.module:callable from the folder of this file, timm:NAME, torchvision:NAME, or the config.json of "
        "a Hugging Face model.",
        example="my_package.encoder:build",
    )
    input: tuple[str, ...] = key(
        one_or_more(SHAPE),
        "The shape of its input, or a list of such: 1x3x1024x1024, pixel_values=1x3x224x224, ids=1x77:int64.",
        example="1x3x1024x1024",
        default=(),
    )
    args: dict[str, Any] | None = key(
        optional(anything()), "Arguments of the callable.", example={"depth": 12}, default=None
    )
    submodule: str = key(TEXT, "The part of the module that is traced.", example="vision_encoder", default="")
    dtype: str | None = like(RunConfig, "dtype")
    name: str = key(
        TEXT,
        "Its name in reports and in `match`, after trace:. By default the target and the submodule.",
        example="detector",
        default="",
    )

    @property
    def path(self) -> str:
        """What stands for it in place of the path of a config."""
        return TRACED + (self.name or ".".join(filter(None, (self.target, self.submodule))))

    def changes_to(self, other: TracedTarget) -> Iterator[tuple[str, str]]:
        """The keys in which another is traced differently, each with both values."""
        for each in fields(TracedTarget):
            was, value = (getattr(target, each.name) or None for target in (self, other))
            if was != value:
                yield each.name, f"{each.name} {_shown(was)} -> {_shown(value)}"


def _shown(value: Any) -> str:
    return "none" if value is None else ", ".join(value) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, kw_only=True)
class ConfigEntry:
    """An entry of `configs`: either a path, or a module that is traced. A plain text is a path."""

    path: str = key(
        TEXT,
        "Encoder configs: a glob of paths from the folder of this file, or a preset.",
        example="encoders/**/*.yaml",
        default="",
    )
    trace: TracedTarget | None = key(
        optional(keys_of(TracedTarget)),
        "A PyTorch module that is traced. Needs torch.",
        example={"target": "my_package.encoder:build", "input": "1x3x1024x1024"},
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of a figure: beyond `warn` it warns, beyond `error` it fails. The bounds themselves pass."""

    warn: Quantity | None = key(QUANTITY, "A value beyond it is a warning.", example="5.5 GiB", default=None)
    error: Quantity | None = key(QUANTITY, "A value beyond it is a failure.", example="6 GiB", default=None)


@dataclass(frozen=True, kw_only=True)
class Increase:
    """The growth that a figure may have, with a sign. Growth that is not also above `and_above` always passes."""

    warn: Quantity | None = key(QUANTITY, "Growth beyond it is a warning.", example="+1 %", default=None)
    error: Quantity | None = key(QUANTITY, "Growth beyond it is a failure.", example="+2 %", default=None)
    and_above: Quantity | None = key(
        QUANTITY, "Growth up to this amount always passes.", example="1 GFLOP", default=None
    )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule on one metric, with exactly one of `limit`, `at_least`, `expect` and `increase`."""

    id: str = key(WORDS, "Its name in reports and waivers.", example="fits")
    match: str = key(
        WORDS,
        "The configs that it applies to: a glob over their paths from the folder of this file. By default all.",
        example="encoders/sam_*.yaml",
        default=EVERYTHING,
    )
    profile: str = key(
        TEXT,
        "How they are run: a name in `profiles`. By default as each config says.",
        example="serve",
        default="",
    )
    metric: str = key(
        WORDS,
        "The figure: of the encoder (flops), of a layer (layers.7.flops), of the worst of a kind of layer "
        "(layers.window.flops_ratio_vs_global; a window that covers the grid counts as global), or the path of any number of `analyze --format json`.",
        example="peak_memory",
    )
    limit: Bounds | None = key(
        keys_or_one(Bounds, "error"),
        "The largest value that passes.",
        example={"error": "6 GiB"},
        default=None,
    )
    at_least: Bounds | None = key(
        keys_or_one(Bounds, "error"),
        "The smallest value that passes.",
        example={"error": "94 %"},
        default=None,
    )
    expect: Quantity | None = key(
        QUANTITY, "The expected value; exact if there is no `tolerance`.", example="94.3 %", default=None
    )
    tolerance: Quantity | None = key(
        QUANTITY,
        "How far the value may be from the expected one: in its unit, or as a share of it (in points if that is itself a share).",
        example="0.1 %",
        default=None,
    )
    vs: Against | None = key(
        choice(*get_args(Against)), "What `increase` compares with.", example="base", default=None
    )
    increase: Increase | None = key(
        keys_or_one(Increase, "error"),
        "The largest growth that passes.",
        example={"error": "+2 %"},
        default=None,
    )
    message: str = key(
        TEXT, "Advice that reports show if the rule fails.", example="Ask the vision-perf group", default=""
    )


FORMS = ("limit", "at_least", "expect", "increase")
"""The keys of which a rule has exactly one."""

LEVELS: tuple[Literal["error", "warn"], ...] = ("error", "warn")
"""The keys of their bounds, the worse first."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What findings that no rule makes are: an error, a warning, or ignored."""

    new: Action = key(
        ACTION, "A new config, which cannot be compared with anything.", example="warn", default="warn"
    )
    removed: Action = key(ACTION, "A rule or config that was removed.", example="error", default="error")
    unmatched: Action = key(
        ACTION,
        "A rule, waiver or config that matches nothing. As an error it counts as something that could not be checked.",
        example="error",
        default="error",
    )
    loosened: Action = key(
        ACTION, "A limit that was loosened, or a waiver that was added.", example="error", default="error"
    )


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A config that may break a rule, up to a value and until a date."""

    rule: str = key(WORDS, "The rule's id.", example="growth")
    config: str = key(WORDS, "The configs: a glob like `match` of a rule.", example="encoders/vit_h.yaml")
    upto: Quantity = key(
        QUANTITY, "The value up to which it applies, in the metric's unit.", example="3.1 TFLOP"
    )
    reason: str = key(WORDS, "Why.", example="global attention for recall")
    expires: date = key(DAY, "The last day on which it applies, in UTC.", example="2027-01-31")


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """A thresholds file."""

    version: int = key(only(1), "Of this format.", example=1)
    configs: tuple[ConfigEntry, ...] = key(
        listed(keys_or_one(ConfigEntry, "path"), 1, MOST),
        "Encoder configs: globs of paths from the folder of this file, presets, and PyTorch modules that are traced.",
        example=["encoders/**/*.yaml"],
    )
    profiles: dict[str, Profile] | None = key(
        named(Profile),
        "How encoders are run, by name.",
        example={"serve": {"dtype": "bfloat16"}},
        default=None,
    )
    rules: tuple[Rule, ...] = key(
        many(Rule, 1, MOST),
        "The rules. All rules that match a config apply to it.",
        example=[{"id": "fits", "metric": "peak_memory", "limit": "6 GiB"}],
    )
    policy: Policy = key(
        Policy, "What findings that no rule makes are.", example={"new": "warn"}, default=Policy()
    )
    waivers: tuple[Waiver, ...] = key(
        many(Waiver, 0, MOST), "Configs that may break a rule for a while.", example=[], default=()
    )

    @property
    def targets(self) -> dict[str, tuple[int, TracedTarget]]:
        """The modules that are traced, by their paths, and the index of the entry of each."""
        traced = ((index, entry.trace) for index, entry in enumerate(self.configs))
        return {target.path: (index, target) for index, target in traced if target is not None}
