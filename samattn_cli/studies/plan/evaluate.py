"""The time and memory of one choice on a card, each figure worked out when it is first asked for.

Choices that differ only in what is around the model share their passes over the Tape.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...device.model import Device
from ...device.roofline import op_time
from ...encoder.model import EncoderConfig, RunConfig
from ...errors import Message, UsageError
from ...records import replace
from ...tape.sdpa_call import Target
from ...tape.settings import without_parallel
from ...tape.sharded_training import step_alone
from ...tape.training import TrainingStep, training_step
from ..communication import exposure_of
from ..on_device import InMemory, cuda_of, in_bytes, in_memory
from ..passes import Passes
from .choices import Setting
from .parts import Parts, checkpointing_of, is_composed, least_bytes


@dataclass
class Card:
    """A card, and what is known of an encoder on it: the passes of choices, and the steps and times that several share.

    Attributes:
        device: its device; None if only its memory is known.
        usable_bytes: the memory that a rank has.
    """

    device: Device | None
    usable_bytes: int
    steps: dict[RunConfig, TrainingStep] = field(default_factory=dict)
    known: dict[RunConfig, Passes] = field(default_factory=dict)
    timed: dict[Hashable, tuple[dict[Any, Any], dict[Any, Any]]] = field(default_factory=dict)
    ends: dict[RunConfig, tuple[EncoderConfig, EncoderConfig | None]] = field(default_factory=dict)
    made: dict[RunConfig, Parts] = field(default_factory=dict)
    exposed: dict[RunConfig, float | None] = field(default_factory=dict)

    def passes(self, config: EncoderConfig) -> Passes:
        """The passes of a choice, which shares its step with others."""
        if config.run not in self.known:
            self.known[config.run] = self._passes(config)
        return self.known[config.run]

    def _passes(self, config: EncoderConfig) -> Passes:
        cuda = None if self.device is None else cuda_of(self.device)
        passes = Passes(config, self.device)
        passes = passes if cuda is None else passes.aimed(cuda.target)
        types = config.run.product_dtype, config.run.tf32
        timed, op_times = self.timed.setdefault(types, ({}, {}))
        step = self._step(config, passes.target)
        vars(passes).update(step=step, _timed=timed, _op_times=op_times)
        return passes

    def _step(self, config: EncoderConfig, target: Target) -> TrainingStep:
        """The step of a choice: of FSDP2, those with the same passes share them already."""
        if config.run.is_fsdp:
            return training_step(config, target)
        alone = without_parallel(config)
        if alone.run not in self.steps:
            self.steps[alone.run] = step_alone(alone, target).around(alone)
        step = self.steps[alone.run]
        if not config.run.has_views:
            return step.around(config)
        views = replace(alone, run=replace(alone.run, parallel="ddp", gradient_as_bucket_view=True))
        if views.run not in self.steps:
            self.steps[views.run] = step.around(views)
        return self.steps[views.run].around(config)

    def parts(self, config: EncoderConfig) -> Parts:
        """The parts and blocks of a choice."""
        if config.run not in self.made:
            self.made[config.run] = self._parts(config)
        return self.made[config.run]

    def _parts(self, config: EncoderConfig) -> Parts:
        """Of a choice that checkpoints some blocks, those of one that checkpoints none and of one that checkpoints all."""
        none, every = self._ends(config)
        if every is None or config.checkpointed in {none.checkpointed, every.checkpointed}:
            return Parts(self.passes(config))
        return Parts(self.passes(none), self.passes(every), config.checkpointed)

    def _ends(self, config: EncoderConfig) -> tuple[EncoderConfig, EncoderConfig | None]:
        """The same choice that checkpoints no block, and one that checkpoints all if other choices can be made of the two."""
        run = replace(config.run, checkpointing=False)
        if run not in self.ends:
            every = checkpointing_of(config, True)
            self.ends[run] = checkpointing_of(config, False), every if is_composed(every) else None
        return self.ends[run]

    def unchecked(self, config: EncoderConfig) -> EncoderConfig:
        """The same choice that checkpoints no block."""
        return self._ends(config)[0]

    def exposed_ms(self, config: EncoderConfig) -> float | None:
        """The time of communication that no compute hides; None if it is not known."""
        if config.run not in self.exposed:
            parts = self.parts(config)
            found = exposure_of(parts.passes, parts.section_ms)
            self.exposed[config.run] = None if found is None else found.exposed_ms
        return self.exposed[config.run]


def without_views(config: EncoderConfig) -> EncoderConfig:
    """The same step with gradients that are no views of buckets, which changes no time."""
    if not config.run.has_views:
        return config
    return replace(config, run=replace(config.run, gradient_as_bucket_view=False))


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
    def plain(self) -> EncoderConfig:
        """The encoder as if gradients were not views of buckets, which changes no time."""
        return without_views(self.config)

    @cached_property
    def parts(self) -> Parts:
        """Its parts and blocks, as if gradients were not views of buckets."""
        return self.card.parts(self.plain)

    @cached_property
    def recomputed_flops(self) -> int:
        """The FLOPs of second forwards."""
        return self.parts.flops - self._unchecked.flops

    @cached_property
    def sent_bytes(self) -> int:
        """What a rank sends in a step."""
        passes = self.card.passes(self.card.unchecked(self.plain))
        return 0 if passes.sent is None else passes.sent.bytes

    @cached_property
    def recompute_ms(self) -> float | None:
        """The time of second forwards; None if there is no device."""
        if self.card.device is None:
            return None
        return self.parts.compute_ms - self._unchecked.compute_ms

    @cached_property
    def compute_ms(self) -> float | None:
        """The time of everything else that computes; None if there is no device."""
        if self.card.device is None:
            return None
        optimizer = op_time(self.parts.passes.step.optimizer_op, self.card.device, self.config.run)
        return self._unchecked.compute_ms + float(optimizer.time_ms)

    @property
    def _unchecked(self) -> Parts:
        return self.card.parts(self.card.unchecked(self.plain))

    @cached_property
    def communication_ms(self) -> float | None:
        """The time of communication that no compute hides; None if it is not known."""
        if self.card.device is None:
            return None
        return 0.0 if self.config.run.parallel == "none" else self.card.exposed_ms(self.plain)

    @cached_property
    def step_ms(self) -> float | None:
        """All of it that is known; None if there is no device."""
        if self.compute_ms is None or self.recompute_ms is None:
            return None
        return self.compute_ms + self.recompute_ms + (self.communication_ms or 0.0)

    @cached_property
    def work(self) -> tuple[float, ...]:
        """By what choices are ordered: their time; without a device what they compute again, what they send, their forwards."""
        if self.step_ms is not None:
            return (self.step_ms,)
        return self.recomputed_flops, self.sent_bytes, self.config.run.accumulate

    @cached_property
    def live_bytes(self) -> int:
        """The most that is live, which the allocator takes at least."""
        return int(self.passes.peak_bytes)

    @cached_property
    def least_bytes(self) -> int:
        """A number that is not above what is live, which is found without passes of its own."""
        return least_bytes(self.parts, has_views=self.config.run.has_views)

    @property
    def known_bytes(self) -> int | None:
        """What is live, if it was worked out."""
        return self.live_bytes if self.is_replayed or "live_bytes" in vars(self) else None

    @property
    def usable_bytes(self) -> int:
        """What a rank has."""
        return self.card.usable_bytes

    def may_take(self, less_than: int) -> bool:
        """Whether what is live leaves it open that it takes so little."""
        return self.least_bytes < less_than and self.live_bytes < less_than

    @property
    def is_too_large(self) -> bool:
        """Whether what is live alone does not fit, as far as it was worked out."""
        return max(self.least_bytes, self.known_bytes or 0) > self.usable_bytes

    @cached_property
    def used(self) -> InMemory:
        """Its run through the allocator in the memory of the card."""
        device = self.card.device
        if device is None or cuda_of(device) is None:
            return in_bytes(self.passes, self.usable_bytes)
        return in_memory(self.passes, device)

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
        taken = self.taken_bytes if self.is_replayed else max(self.least_bytes, self.known_bytes or 0)
        return 0 if self.fits else taken - self.usable_bytes

    @cached_property
    def underivable(self) -> Message | None:
        """Why it cannot be derived; None if it can. Its time is worked out here, and kept."""
        try:
            _ = self.work, self.least_bytes
        except UsageError as error:
            return error.message
        return None
