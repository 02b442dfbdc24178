"""A thresholds file: which figures of which encoders, run how, may be what. The descriptions are the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

from pydantic_core import core_schema

from ..encoder.keys import (
    TEXT,
    Pair,
    anything,
    choice,
    key,
    keys_or_one,
    like,
    many,
    named,
    only,
    parsed,
    texts,
    whole,
)
from ..encoder.model import EncoderConfig, RunConfig
from ..errors import UsageError
from ..quantities import WRITTEN_AS, Quantity, quantity

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
    raise UsageError(f"must be {DATED_AS}")


def _words(text: str) -> str:
    if not text.strip():
        raise UsageError("must not be empty")
    return text


WORDS = parsed(_words, "text on one line", TEXT)
DAY = parsed(_date, DATED_AS, core_schema.str_schema(strict=True))
ACTION = choice(*get_args(Action))


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How encoders are run: laid over each config. What is left out is as the config has it."""

    image_size: Pair | None = like(EncoderConfig, "image_size")
    batch_size: int | None = like(RunConfig, "batch_size")
    dtype: str | None = like(RunConfig, "dtype")
    autocast: str | None = like(RunConfig, "autocast")
    attention: str | None = like(RunConfig, "attention")
    mode: str | None = like(RunConfig, "mode")
    optimizer: str | None = like(RunConfig, "optimizer")
    checkpointing: bool | None = like(RunConfig, "checkpointing")
    device: str = key(
        TEXT,
        "Where it runs, for times: a device of `samattn devices`, or a YAML file, from the folder of this file.",
        example="a100_80",
        default="",
    )
    set: dict[str, Any] | None = key(
        anything(),
        "Any other keys of a config, dotted, as --set has them.",
        example={"run.tf32": True},
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a figure may be: beyond `warn` it warns, beyond `error` it fails. The bounds themselves pass."""

    warn: Quantity | None = key(QUANTITY, "Beyond it, a warning.", example="5.5 GiB", default=None)
    error: Quantity | None = key(QUANTITY, "Beyond it, a failure.", example="6 GiB", default=None)


@dataclass(frozen=True, kw_only=True)
class Increase:
    """By how much a figure may grow; a sign is needed. Growth that is not above `and_above` too always passes."""

    warn: Quantity | None = key(QUANTITY, "More than it: a warning.", example="+1 %", default=None)
    error: Quantity | None = key(QUANTITY, "More than it: a failure.", example="+2 %", default=None)
    and_above: Quantity | None = key(
        QUANTITY, "Growth up to this much passes.", example="1 GFLOP", default=None
    )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What one figure may be: one of `limit`, `at_least`, `expect` and `increase` says it."""

    id: str = key(WORDS, "What reports and waivers call it.", example="fits")
    match: str = key(
        WORDS,
        "The configs that it is for: a glob over their paths from the folder of this file. All, if left out.",
        example="encoders/sam_*.yaml",
        default=EVERYTHING,
    )
    profile: str = key(
        TEXT,
        "How they are run, by its name in `profiles`; as they say, if left out.",
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
        keys_or_one(Bounds, "error"), "The most that passes.", example={"error": "6 GiB"}, default=None
    )
    at_least: Bounds | None = key(
        keys_or_one(Bounds, "error"), "The least that passes.", example={"error": "94 %"}, default=None
    )
    expect: Quantity | None = key(
        QUANTITY, "What it is; exactly, without a tolerance.", example="94.3 %", default=None
    )
    tolerance: Quantity | None = key(
        QUANTITY,
        "How far it may be from what is expected, in its unit or as a share of it; in points where a share is expected.",
        example="0.1 %",
        default=None,
    )
    vs: Against | None = key(
        choice(*get_args(Against)), "What `increase` is over.", example="base", default=None
    )
    increase: Increase | None = key(
        keys_or_one(Increase, "error"), "How much more it may be.", example={"error": "+2 %"}, default=None
    )
    message: str = key(TEXT, "What to do about it.", example="Ask the vision-perf group", default="")


FORMS = ("limit", "at_least", "expect", "increase")
"""The keys that say what a figure may be."""

LEVELS: tuple[Literal["error", "warn"], ...] = ("error", "warn")
"""Their bounds, the worse first."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What becomes of what no rule is about: an error, a warning, or nothing."""

    new: Action = key(
        ACTION, "A config that there is nothing to compare with.", example="warn", default="warn"
    )
    removed: Action = key(ACTION, "A rule or config that was removed.", example="error", default="error")
    unmatched: Action = key(
        ACTION,
        "A rule, waiver or config that matches nothing; as an error, it could not be checked.",
        example="error",
        default="error",
    )
    loosened: Action = key(
        ACTION, "A limit that was loosened, or a waiver that was added.", example="error", default="error"
    )


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A config that may break a rule, up to a value and until a day."""

    rule: str = key(WORDS, "The rule's id.", example="growth")
    config: str = key(WORDS, "The configs: a glob, as `match` of a rule.", example="encoders/vit_h.yaml")
    upto: Quantity = key(
        QUANTITY, "The value up to which it holds, in the metric's unit.", example="3.1 TFLOP"
    )
    reason: str = key(WORDS, "Why.", example="global attention for recall")
    expires: date = key(DAY, "The last day on which it holds, in UTC.", example="2027-01-31")


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """A thresholds file."""

    version: int = key(only(1), "Of this format.", example=1)
    configs: tuple[str, ...] = key(
        texts(1, MOST),
        "Encoder configs: globs, from the folder of this file, and presets.",
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
        "What is checked; all that match apply.",
        example=[{"id": "fits", "metric": "peak_memory", "limit": "6 GiB"}],
    )
    policy: Policy = key(
        Policy, "What becomes of what no rule is about.", example={"new": "warn"}, default=Policy()
    )
    waivers: tuple[Waiver, ...] = key(
        many(Waiver, 0, MOST), "What may break a rule for a while.", example=[], default=()
    )
