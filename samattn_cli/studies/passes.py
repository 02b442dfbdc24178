"""The passes of one encoder over the Tape (an inference forward and a training step), and the figures read from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from ..encoder.model import EncoderConfig, Phase, Section
from ..encoder.plan_rules import is_valid
from ..figures import IN_MEMORY
from ..records import dataclass, replace
from ..reports.analysis import Costs, Figures
from ..tape.counted import CountedPass, counted
from ..tape.encoder import forward
from ..tape.launch import Refused, refused
from ..tape.memory import SegmentMemory, live_before, peak_of, walk, weights_bytes
from ..tape.ops import Op, Recording
from ..tape.sdpa_call import AMPERE, Target
from ..tape.segments import ForwardPass, Segment
from ..tape.storage import Dim, Storage
from ..tape.training import TrainingStep, training_step
from .readers import FIGURES

if TYPE_CHECKING:  # not at start-up: needed only for times
    from ..device.model import Device
    from ..device.roofline import LayerTime, OpTime
    from ..tape.communication import Sent
    from .on_device import InMemory


@dataclass(frozen=True)
class Passes:
    """An encoder and, for times, the device that it runs on; the target decides the attention kernels of its passes.

    The optimizer of a run that is measured `on_cpu` takes weights one by one. If `is_counted`, figures
    that add up over the operations of a forward are read without these. If it `has_step`, its training step may be asked
    for too, and shares the forward where autograd does not change it.
    """

    config: EncoderConfig
    device: Device | None = None
    target: Target = AMPERE
    on_cpu: bool = False
    is_counted: bool = False
    has_step: bool = True

    @cached_property
    def counted(self) -> ForwardPass | CountedPass:
        """What the sums over the operations of an inference forward are read from."""
        return counted(self.config, self.target) if self.is_counted else self.forward

    @cached_property
    def forward(self) -> ForwardPass:
        """An inference forward."""
        return forward(self.config, target=self.target, makes_graph=self.has_step)

    @cached_property
    def step(self) -> TrainingStep:
        """A training step."""
        return training_step(self.config, self.target, one_by_one=self.on_cpu)

    @cached_property
    def sent(self) -> Sent | None:
        """What a training step sends between GPUs; None if it is not spread over any."""
        if not self.trains or self.config.run.parallel == "none":
            return None
        from ..tape.communication import sent

        return sent(self.step)

    @cached_property
    def memory(self) -> tuple[SegmentMemory, ...]:
        """The memory of each segment of the inference forward."""
        return tuple(walk(self.forward))

    def aimed(self, target: Target) -> Passes:
        """The passes with the attention kernels of a target."""
        if target == self.target or self.config.run.attention == "eager":
            return self
        return replace(self, target=target)

    @cached_property
    def refused(self) -> tuple[str, Refused] | None:
        """The first operation of the run's mode that CUDA cannot launch, if there is one, and why it cannot."""
        torch = self.config.run.torch_version
        for (section, _), ops in self._different_sections:
            for op in ops:
                if op.choice is not None and (why := refused(op, torch)) is not None:
                    return ".".join(filter(None, (section, op.name.removesuffix(".backward")))), why
        return None

    @property
    def _different_sections(self) -> Iterable[tuple[Section, tuple[Op, ...]]]:
        """Of the sections with the same operations, the first one."""
        found: dict[int, tuple[Section, tuple[Op, ...]]] = {}
        for section, ops in self.sections.items():
            found.setdefault(id(ops), (section, ops))
        return found.values()

    @cached_property
    def all_global(self) -> Passes:
        """The passes of the same encoder with every block global."""
        return replace(self, config=self.config.all_global())

    @cached_property
    def all_windowed(self) -> Passes | None:
        """The passes of the same encoder with every block windowed; None without windows, or if its neck needs global blocks."""
        config = self.config.all_windowed()
        if not config.has_windows or not is_valid(config):
            return None
        return replace(self, config=config)

    @property
    def trains(self) -> bool:
        """Whether the run is a training step."""
        return self.config.run.mode == "training"

    @property
    def rounds(self) -> int:
        """How many forwards (and backwards) a pass in the run's mode has: the micro-batches of a training step."""
        return self.config.run.accumulate if self.trains else 1

    @cached_property
    def times(self) -> tuple[LayerTime, ...]:
        """The time of each segment in one round of the run's mode: forward and, in training, backward; () without a device."""
        if self.device is None:
            return ()
        return tuple(self._time(*recordings) for recordings in self.recordings)

    @cached_property
    def recordings(self) -> tuple[tuple[Recording, ...], ...]:
        """The recordings of each segment in the run's mode: forward and, in training, backward."""
        if not self.trains:
            return tuple(self.forward.spread(lambda segment: (segment.recording,)))
        ahead = self.step.forward.spread(lambda segment: segment.recording)
        return tuple(zip(ahead, self.step.recordings, strict=True))

    def _time(self, *recordings: Recording) -> LayerTime:
        """The time of recordings; equal blocks share their recordings, which are timed once."""
        from ..device.roofline import layer_time

        if recordings not in self._timed:
            ops = (op for recording in recordings for op in recording.ops)
            self._timed[recordings] = layer_time(ops, self._on, self.config.run, self._op_times)
        return self._timed[recordings]

    @property
    def forward_of_run(self) -> ForwardPass:
        """The forward of the run's mode."""
        return self.step.forward if self.trains else self.forward

    @cached_property
    def section_ms(self) -> dict[Section, float]:
        """The time of each part and block in the forward and backward of one round of the run's mode."""
        phases: tuple[Phase, ...] = ("forward", "backward")
        return {
            (name, phase): self._time(recording).ms
            for name, own in zip(self.forward_of_run.names, self.recordings, strict=True)
            for phase, recording in zip(phases, own, strict=False)  # in inference there is no backward
        }

    @cached_property
    def _op_times(self) -> dict[Op, OpTime]:
        return {}

    @cached_property
    def _timed(self) -> dict[tuple[Recording, ...], LayerTime]:
        return {}

    @cached_property
    def sums(self) -> dict[str, Dim]:
        """A cache of figures that add up over parts and layers."""
        return {}

    @property
    def _on(self) -> Device:
        assert self.device is not None  # noqa: S101 - for the type checker: used only with a device
        return self.device

    @cached_property
    def latency(self) -> LayerTime | None:
        """The time of the whole pass, in training including the optimizer's step; None without a device."""
        if self.device is None:
            return None
        from ..device.roofline import layer_time

        ops = chain.from_iterable(map(self.repeated, self.sections))
        return layer_time(ops, self.device, self.config.run, self._op_times)

    def repeated(self, section: Section) -> Iterator[Op]:
        """The operations of a section, as often as a pass runs them."""
        _, phase = section
        for _ in range(1 if phase == "step" else self.rounds):
            yield from self.sections[section]

    def phase_ms(self, phase: Phase) -> float | None:
        """The time of a training step's forward, backward or optimizer ("step"); None without a device, and in inference."""
        if self.device is None or not self.trains:
            return None
        from ..device.roofline import layer_time

        ops = (op for section in self.sections if section[1] == phase for op in self.repeated(section))
        return layer_time(ops, self.device, self.config.run, self._op_times).ms

    @property
    def recomputed_ms(self) -> float | None:
        """The time of what a training step's backwards run again; None without a device, and in inference."""
        if self.device is None or not self.trains:
            return None
        from ..device.roofline import layer_time

        ops = [op for _ in range(self.rounds) for op in self.step.recomputed_ops]
        return layer_time(ops, self.device, self.config.run, self._op_times).ms

    @cached_property
    def sections(self) -> dict[Section, tuple[Op, ...]]:
        """The operations of each section in one round of the run's mode; in training, of the optimizer's step too."""
        passed = self.forward_of_run
        own = zip(passed.names, passed.spread(lambda segment: segment.recording.ops), strict=True)
        ops: dict[Section, tuple[Op, ...]] = {(name, "forward"): each for name, each in own}
        if self.trains:
            for name, recording in zip(passed.names, self.step.recordings, strict=True):
                ops[name, "backward"] = recording.ops
            ops["optimizer", "step"] = (self.step.optimizer_op,)
        return ops

    @cached_property
    def figures(self) -> Figures:
        """The figures of the whole encoder, without those that need a replay of the allocator."""
        return Figures(**{name: figure(self) for name, figure in FIGURES.items() if name not in IN_MEMORY})

    @cached_property
    def costs(self) -> Costs:
        """The same, and what the run takes in the memory of the device."""
        return Costs(**vars(self.figures), **{name: FIGURES[name](self) for name in IN_MEMORY})

    @cached_property
    def in_memory(self) -> InMemory | None:
        """A run of the mode in the memory of the device; None without a device."""
        if self.device is None:
            return None
        from .on_device import in_memory

        return in_memory(self, self.device)

    @cached_property
    def room(self) -> InMemory | None:
        """The same, for a search over many runs: its peaks take less time, and what each block is for takes more."""
        if self.device is None:
            return None
        from .on_device import room

        return room(self, self.device)

    @property
    def allocated_at(self) -> str | None:
        """The operation at which most is allocated; None without a CUDA device."""
        return None if self.in_memory is None else self.in_memory.allocated_at

    @cached_property
    def live(self) -> dict[Section, tuple[tuple[Op, Dim], ...]]:
        """The operations of each section of a pass in the run's mode, in its order, with the bytes live before each.

        Those of a training step are of its last micro-batch.
        """
        names = self.forward_of_run.names
        if not self.trains:
            return {(name, "forward"): self.live_forward(number) for number, name in enumerate(names)}
        numbers = {name: number for number, name in enumerate(names)}
        return {
            (name, phase): self.live_backward(numbers[name])
            if phase == "backward"
            else self.live_forward(numbers[name])
            for name, phase in self.step.before
        }

    def live_forward(self, number: int) -> tuple[tuple[Op, Dim], ...]:
        """The operations of the forward of a segment in the run's mode, with the bytes live before each."""
        if not self.trains:
            segment, used = self.forward.segment(number), self.memory[number]
            return _live(used.before, segment.recording, _held(segment, self.config))
        segment = self.step.forward.segment(number)
        before = self.step.before[segment.name, "forward"]
        return _live(before, segment.recording, segment.kept | segment.shared)

    def live_backward(self, number: int) -> tuple[tuple[Op, Dim], ...]:
        """The same of its backward; () in inference."""
        if not self.trains:
            return ()
        step = self.step
        before = step.before[step.forward.names[number], "backward"]
        return _live(before, step.recordings[number])

    @cached_property
    def section_peaks(self) -> dict[Section, int]:
        """The peak of each section of a pass in the run's mode."""
        if self.trains:
            return self.step.peaks
        pairs = zip(self.forward.names, self.memory, strict=True)
        return {(name, "forward"): used.peak_bytes for name, used in pairs}

    @property
    def peak_bytes(self) -> Dim:
        """The peak of the run's mode."""
        return self.step.peak_bytes if self.trains else peak_of(self.memory)

    def larger_than(self, limit: int) -> Iterator[str]:
        """The parts and layers (or the optimizer) with more than `limit` live bytes in the run's mode."""
        over = {name for (name, _), peak in self.section_peaks.items() if peak > limit}
        yield from (name for name in (*self.forward_of_run.names, "optimizer") if name in over)

    def stopped_at(self, limit: int) -> str:
        """The operation at the peak of the first section with more than `limit` live bytes in the run's mode; or ""."""
        over = (section for section, peak in self.section_peaks.items() if peak > limit)
        return next(map(self._peaks_at, over), "")

    def _peaks_at(self, section: Section) -> str:
        if self.trains:
            return self.step.moments[section].at
        pairs = zip(self.forward.segments, self.memory, strict=True)
        return next(segment.qualified(used.peak_op) for segment, used in pairs if segment.name == section[0])

    @property
    def state_bytes(self) -> Dim:
        """Bytes of weights and buffers; in training also of gradients, the optimizer's state and what else lasts."""
        if not self.trains:
            return weights_bytes(self.forward)
        step = self.step
        around = step.buckets_bytes + step.average_bytes
        gradients = 0 if self.config.run.gradient_as_bucket_view else step.gradients_bytes
        return step.weights_bytes + gradients + step.optimizer_bytes + around

    @property
    def peak_at(self) -> str:
        """The operation at which an inference forward peaks."""
        peaks = [used.peak_bytes for used in self.memory]
        number = peaks.index(max(peaks))
        return self.forward.segment(number).qualified(self.memory[number].peak_op)


def _held(segment: Segment, config: EncoderConfig) -> frozenset[Storage]:
    """What a segment of an inference forward does not free."""
    return segment.kept | segment.shared if config.run.keeps_graph else frozenset()


def _live(
    before: Dim, recording: Recording, kept: frozenset[Storage] = frozenset()
) -> tuple[tuple[Op, Dim], ...]:
    lives = live_before(recording, kept)
    return tuple((op, before + live) for op, live in zip(recording.ops, lives, strict=True))
