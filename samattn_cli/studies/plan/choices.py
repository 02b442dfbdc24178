"""The ways to train that a plan compares. Each is a set of keys of the run, that of one value of each dimension."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields
from functools import cached_property
from itertools import product
from typing import Any

from ...encoder.applicable_keys import mapping_of, unused_keys
from ...encoder.kernels import takes
from ...encoder.model import EncoderConfig, RunConfig
from ...encoder.plan_rules import is_valid
from ...errors import ConfigError
from ...files.load import load_config
from ...records import dataclass, replace
from ..changes import same_as_sdpa
from .goal import Goal

KERNELS = ("eager", "sdpa", "fused")
DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(RunConfig)}
FIRST = ("mode", "parallel", "gpus", "batch_size", "accumulate")
"""The keys with which the settings of a choice begin."""
SINGLE = "one GPU"


@dataclass(frozen=True)
class Option:
    """One value of a dimension: its name in tables, and the keys of the run that make it."""

    name: str
    keys: tuple[tuple[str, Any], ...] = ()


def option(name: str, **keys: Any) -> Option:
    """An option of some keys."""
    return Option(name, tuple(keys.items()))


STRATEGIES = (
    option("ddp", parallel="ddp"),
    option("ddp views", parallel="ddp", gradient_as_bucket_view=True),
    option("zero1", parallel="zero1"),
    option("zero1 views", parallel="zero1", gradient_as_bucket_view=True),
    option("fsdp2 kept", parallel="fsdp2", reshard_after_forward=False),
    option("fsdp2", parallel="fsdp2"),
)
"""How a step is spread over several GPUs."""

FLOAT32 = option("float32", dtype="float32", autocast="none")
BFLOAT16 = option("bfloat16 autocast", dtype="float32", autocast="bfloat16")
FLOAT16 = option("float16 autocast", dtype="float32", autocast="float16", grad_scaler=True)
POLICY = option(
    "bfloat16 policy", dtype="float32", autocast="none", param_dtype="bfloat16", reduce_dtype="float32"
)
CHECKPOINTING = (
    option("none", checkpointing=False),
    option("all", checkpointing=True),
    option("global", checkpointing="global"),
    option("window", checkpointing="window"),
    option("every 2nd", checkpointing="every 2nd"),
)


@dataclass(frozen=True)
class Setting:
    """One choice: an option of each dimension, and the encoder with their keys."""

    strategy: str
    precision: str
    checkpointing: str
    config: EncoderConfig
    own: EncoderConfig  # as the user has it

    @cached_property
    def set(self) -> tuple[str, ...]:
        """The settings that make it of the encoder as the user has it: "run.parallel=ddp"."""
        run, own = self.config.run, self.own.run
        names = [*FIRST, *(name for name in DEFAULTS if name not in FIRST)]
        values = {name: getattr(run, name) for name in names if name not in self._unused}
        changed = {
            name: value
            for name, value in values.items()
            if value != DEFAULTS[name] or value != getattr(own, name)
        }
        return tuple(f"run.{name}={written(value)}" for name, value in changed.items())

    @property
    def _unused(self) -> list[str]:
        return unused_by(self.config.run.parallel)


def written(value: Any) -> str:
    """A value of a key as YAML has it on one line."""
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def unused_by(parallel: str) -> list[str]:
    """The keys of a run that a training step which is spread so does not use."""
    return [*unused_keys("mode", "training"), *unused_keys("parallel", parallel)]


def settings(
    config: EncoderConfig,
    goal: Goal,
    halves: Sequence[str],
    left_out: dict[str, None],
) -> Iterator[Setting]:
    """The choices for a number of GPUs.

    Args:
        config: the encoder as the user has it.
        goal: the GPUs and the global batch; a dimension that has one of the keys that the user gave has no other value.
        halves: the types of 16 bits that a card has units for.
        left_out: receives why strategies and precisions do not go together, by the rules of configs.
    """
    gpus, given = goal.gpus, goal.given
    dimensions = (
        _given(_batches(goal.global_batch // gpus), config, given),
        _given(_precisions(config, halves, given), config, given),
        _given(_checkpointing(config), config, given),
        _given(tuple(option(kernel, attention=kernel) for kernel in KERNELS), config, given),
        _given(_strategies(gpus), config, given),  # last, as these share passes
    )
    valid: dict[tuple[Any, ...], bool] = {}  # by the keys that decide it
    refused: dict[tuple[str, str], tuple[str, ...]] = {}
    for chosen in product(*dimensions):
        _, precision, checkpointing, _, strategy = chosen
        keys = {name: value for each in chosen for name, value in each.keys}
        if set(keys) & set(unused_by(keys["parallel"])):
            continue
        encoder = _with(config, {"gpus": gpus, **keys})
        pair = strategy.name, precision.name
        if pair not in refused:
            refused[pair] = tuple(_refusals(encoder))
            left_out.update(dict.fromkeys(refused[pair]))
        if refused[pair]:
            continue
        run = encoder.run
        key = run.attention, run.product_dtype, run.checkpointing, run.batch_size
        if key not in valid:
            valid[key] = _is_valid(encoder)
        if valid[key]:
            yield Setting(strategy.name, precision.name, checkpointing.name, encoder, config)


def _refusals(encoder: EncoderConfig) -> Iterator[str]:
    """Why the rules of configs refuse how an encoder is run: as if a file had its keys."""
    try:
        load_config(mapping_of(encoder))
    except ConfigError as error:
        yield from (problem.message for problem in error.problems)


def _is_valid(encoder: EncoderConfig) -> bool:
    """Whether an encoder runs with its kernel, and is not the same as with another."""
    kernel = encoder.run.attention
    return takes(kernel, encoder) and not same_as_sdpa(kernel, encoder) and is_valid(encoder)


def _with(config: EncoderConfig, keys: Mapping[str, Any]) -> EncoderConfig:
    """The encoder in training with some keys of the run; those that it then does not use have their defaults."""
    unused = {name: DEFAULTS[name] for name in unused_by(keys["parallel"])}
    scaled = config.run.grad_scaler and keys["autocast"] != "none"
    run = {"grad_scaler": scaled, **keys, **unused, "mode": "training"}
    return replace(config, run=replace(config.run, **run))


def _strategies(gpus: int) -> tuple[Option, ...]:
    return (option(SINGLE, parallel="none"),) if gpus == 1 else STRATEGIES


def _batches(images: int) -> tuple[Option, ...]:
    """The micro-batches that reach so many images of a rank exactly."""
    sizes = (size for size in range(1, images + 1) if images % size == 0)
    return tuple(option(f"{size}", batch_size=size, accumulate=images // size) for size in sizes)


def _precisions(config: EncoderConfig, halves: Sequence[str], given: AbstractSet[str]) -> tuple[Option, ...]:
    """Types that a card has units for, float16 where it has no bfloat16; and that of the config, if it is another.

    Autocast to float16 has a GradScaler, unless the user says that it has none.
    """
    run = config.run
    half = {"bfloat16": (BFLOAT16, POLICY), "float16": (FLOAT16,)}
    usual = (FLOAT32, *next((half[name] for name in ("bfloat16", "float16") if name in halves), ()))
    scaler = {"grad_scaler": True} if run.autocast == "float16" and "grad_scaler" not in given else {}
    own = option(precision_of(run), dtype=run.dtype, autocast=run.autocast, **scaler)
    return (*usual, *([] if own.name in {each.name for each in usual} else [own]))


def _checkpointing(config: EncoderConfig) -> tuple[Option, ...]:
    """Choices of blocks, each once, and that of the config."""
    own = option(written(config.run.checkpointing), checkpointing=config.run.checkpointing)
    found: dict[frozenset[str], Option] = {}
    for each in (*CHECKPOINTING, own):
        changed = replace(config, run=replace(config.run, **dict(each.keys)))
        if each.name == "none" or (changed.checkpointed and is_valid(changed)):
            found.setdefault(changed.checkpointed, each)
    return tuple(found.values())


def precision_of(run: RunConfig) -> str:
    """The types of a run in words."""
    return run.dtype if run.autocast == "none" else f"{run.autocast} autocast"


def _given(options: Sequence[Option], config: EncoderConfig, given: AbstractSet[str]) -> tuple[Option, ...]:
    """The options of a dimension that agree with the keys that the user gave; those keys alone if none does."""
    names = {name for each in options for name, _ in each.keys}
    fixed = {name: getattr(config.run, name) for name in names if name in given}
    agreeing = tuple(each for each in options if fixed.items() <= _whole(each, names).items())
    if agreeing or not fixed:
        return agreeing
    first = dict(options[0].keys)
    return (Option(", ".join(written(value) for value in fixed.values()), tuple((first | fixed).items())),)


def _whole(each: Option, names: set[str]) -> dict[str, Any]:
    """The keys of an option, and the defaults of those that others of its dimension have."""
    return {name: DEFAULTS[name] for name in names} | dict(each.keys)
