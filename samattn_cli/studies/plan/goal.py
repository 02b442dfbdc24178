"""What a plan is for, and whether it can be answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from ...device.model import Device
from ...encoder.model import MAX_BATCH, EncoderConfig
from ...errors import UsageError, did_you_mean
from ...records import dataclass

MOST_GPUS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a plan is for.

    Attributes:
        gpus: ranks.
        global_batch: images of one step of all ranks together.
        given: the keys of the run that stay as the config has them; the other keys of a choice are varied.
        prices: of a GPU-hour, by the name of the card.
        every: whether the allocator is replayed for choices too that others beat.
        reference: the file or preset of the config, for commands.
        overrides: what replaces its keys, each "window_size=8".
        sizes: whether the largest image and batch on cards of several sizes are found too.
        memory: the bytes that a rank may take; of a card with less, its own memory counts. None: what the cards have.
    """

    gpus: int
    global_batch: int
    given: frozenset[str] = frozenset()
    prices: Mapping[str, float] = field(default_factory=dict)
    every: bool = False
    reference: str = ""
    overrides: tuple[str, ...] = ()
    sizes: bool = False
    memory: int | None = None


def check(config: EncoderConfig, devices: Sequence[Device], goal: Goal) -> None:
    """Check that a question can be answered.

    Raises:
        UsageError: if it cannot.
    """
    _check_numbers(goal)
    _check_given(config, goal)
    if not devices and goal.memory is None:
        raise UsageError("missing-option", "a plan needs cards, or the memory of one: --device or --memory")
    names = [device.name for device in devices]
    for name in names:
        if names.count(name) > 1:
            raise UsageError("duplicate-device", f"--devices {','.join(names)}: {name} is there twice")
    for name in goal.prices:
        if name not in names:
            hint = did_you_mean(name, names) or f"; compared are {', '.join(names) or 'none: give --device'}"
            raise UsageError(
                "price-without-card", f"--price {name}: is the price of a card that is not compared{hint}"
            )


def _check_numbers(goal: Goal) -> None:
    gpus, batch = goal.gpus, goal.global_batch
    if not 1 <= gpus <= MOST_GPUS:
        raise UsageError("out-of-range", f"--gpus {gpus}: must be 1 to {MOST_GPUS:,}")
    if not 1 <= batch <= MAX_BATCH * gpus:
        raise UsageError("out-of-range", f"--global-batch {batch}: must be 1 to {MAX_BATCH * gpus:,}")
    if goal.memory is not None and goal.memory < 1:
        raise UsageError("out-of-range", f"--memory {goal.memory}: must be at least 1 byte")
    if batch % gpus:
        below = batch // gpus * gpus
        nearest = f"{below} or {below + gpus}" if below else f"{gpus}"
        raise UsageError(
            "not-divisible",
            f"--global-batch {batch}: {gpus} GPUs do not divide it; the nearest that they divide: {nearest}",
        )


def _check_given(config: EncoderConfig, goal: Goal) -> None:
    """Check that keys which the user gave can be kept."""
    run, images = config.run, goal.global_batch // goal.gpus
    if "mode" in goal.given and run.mode != "training":
        raise UsageError("not-training", f"run.mode {run.mode}: a plan is of training steps")
    if "parallel" in goal.given and (run.parallel == "none") != (goal.gpus == 1):
        right = "remove --gpus, or use 1" if run.parallel == "none" else "give --gpus 2 or more"
        raise UsageError(
            "conflicting-options", f"run.parallel {run.parallel} and --gpus {goal.gpus}: {right}"
        )
    if "gpus" in goal.given and run.gpus != goal.gpus:
        raise UsageError("conflicting-options", f"run.gpus and --gpus {goal.gpus} differ: keep --gpus")
    sizes = {name: getattr(run, name) for name in ("batch_size", "accumulate") if name in goal.given}
    for name, size in sizes.items():
        if images % size:
            divisors = ", ".join(str(each) for each in range(1, images + 1) if images % each == 0)
            raise UsageError(
                "not-divisible",
                f"run.{name} {size}: does not divide the {images} images of a GPU ({goal.global_batch} of {goal.gpus} "
                f"GPUs); use one of {divisors}",
            )
    if len(sizes) == len(("batch_size", "accumulate")) and run.batch_size * run.accumulate != images:
        raise UsageError(
            "not-divisible",
            f"run.batch_size {run.batch_size} x run.accumulate {run.accumulate} x {goal.gpus} GPUs is not the global batch "
            f"{goal.global_batch}: remove one of the two",
        )
