"""The time and memory of one choice on a card, each figure worked out when it is first asked for.

Choices that differ only in what is around the model share their passes over the Tape.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property

from ...device.model import Device
from ...device.roofline import op_time
from ...encoder.model import EncoderConfig
from ...errors import Message, UsageError
from ...tape.training import TrainingStep, training_step
from ..on_device import InMemory, cuda_of, in_bytes, in_memory
from ..passes import Passes
from .choices import DEFAULTS, Setting

AROUND = ("none", "ddp")
"""Ways to spread a step with which the passes over the Tape are the same, unless gradients are views of buckets."""


@dataclass
class Card:
    """A card, and what is known on it: the steps and times that several choices share."""

    device: Device
    steps: dict[Hashable, TrainingStep] = field(default_factory=dict)
    times: dict[Hashable, float] = field(default_factory=dict)

    def passes(self, config: EncoderConfig) -> Passes:
        """The passes of a choice, which shares its step with others."""
        cuda = cuda_of(self.device)
        passes = Passes(config, self.device)
        passes = passes if cuda is None else passes.aimed(cuda.target)
        key = _inside(config)
        if key not in self.steps:
            self.steps[key] = training_step(key, passes.target)
        vars(passes)["step"] = self.steps[key].around(config)
        return passes

    def compute_ms(self, config: EncoderConfig) -> float:
        """The time of all forwards and backwards of a step."""
        key = _inside(config)
        if key not in self.times:
            passes = self.passes(key)
            self.times[key] = passes.rounds * sum(time.ms for time in passes.times)
        return self.times[key]


def _inside(config: EncoderConfig) -> EncoderConfig:
    """The encoder without what is around it in a step."""
    run = config.run
    if run.gradient_as_bucket_view or run.parallel not in AROUND:
        return config
    return replace(config, run=replace(run, parallel="none", gpus=DEFAULTS["gpus"]))


@dataclass
class Trial:
    """A choice on a card."""

    setting: Setting
    card: Card

    @property
    def config(self) -> EncoderConfig:
        """The encoder."""
        return self.setting.config

    @cached_property
    def passes(self) -> Passes:
        """Its passes."""
        return self.card.passes(self.config)

    @cached_property
    def recompute_ms(self) -> float:
        """The time of second forwards."""
        return self.card.compute_ms(self.config) - self.card.compute_ms(self.setting.unchecked)

    @cached_property
    def compute_ms(self) -> float:
        """The time of everything else that computes."""
        optimizer = op_time(self.passes.step.optimizer_op, self.card.device, self.config.run)
        return self.card.compute_ms(self.setting.unchecked) + float(optimizer.time_ms)

    @cached_property
    def communication_ms(self) -> float | None:
        """The time of communication that no compute hides; None if it is not known."""
        return 0.0 if self.config.run.parallel == "none" else None

    @property
    def step_ms(self) -> float:
        """All of it that is known."""
        return self.compute_ms + self.recompute_ms + (self.communication_ms or 0.0)

    @cached_property
    def live_bytes(self) -> int:
        """The most that is live, which the allocator takes at least."""
        return int(self.passes.peak_bytes)

    @property
    def usable_bytes(self) -> int:
        """What a rank has."""
        return self.card.device.usable_bytes

    @property
    def is_too_large(self) -> bool:
        """Whether what is live alone does not fit."""
        return self.live_bytes > self.usable_bytes

    @cached_property
    def used(self) -> InMemory:
        """Its run through the allocator in the memory of the card."""
        if cuda_of(self.card.device) is None:
            return in_bytes(self.passes, self.usable_bytes)
        return in_memory(self.passes, self.card.device)

    @property
    def is_replayed(self) -> bool:
        """Whether that was worked out."""
        return "used" in vars(self)

    @property
    def taken_bytes(self) -> int:
        """What the card has to have; it is worked out."""
        return self.used.reserved_bytes or self.live_bytes

    @property
    def fits(self) -> bool | None:
        """Whether it runs; None if that was not worked out."""
        if self.is_replayed:
            return self.used.fits
        return False if self.is_too_large else None

    @property
    def missing_bytes(self) -> int | None:
        """What the card lacks, as far as it was worked out; None if that is not known, or memory is not what stops it."""
        if self.fits is None or (self.is_replayed and self.used.refused):
            return None
        taken = self.taken_bytes if self.is_replayed else self.live_bytes
        return 0 if self.fits else taken - self.usable_bytes

    @cached_property
    def underivable(self) -> Message | None:
        """Why it cannot be derived; None if it can. Time and live bytes are worked out here, and kept."""
        try:
            _ = self.step_ms, self.live_bytes
        except UsageError as error:
            return error.message
        return None
