"""A whole run through the caching allocator: weights, image, consecutive passes, internal allocations of CUDA operators.

The run is the one that `stack/step.py` measures: the encoder is built, the cache is emptied, a first pass is run (which
makes the optimizer's state and the cuBLAS workspaces), and the peaks are those of the pass after it; or, with
`run.step: first`, those of that first pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field
from functools import cached_property, partial
from operator import attrgetter

from ..encoder.allocator_settings import settings_of
from ..encoder.model import Section
from ..records import dataclass, replace
from .allocator import MIB, UNIT, Allocator, Block, OutOfMemoryError
from .backward import BackwardRun
from .expandable import ExpandableAllocator
from .inside import Cuda
from .ops import Buffer, Recording, parameter_elements
from .requests import (
    BIASED,
    BUFFERS,
    FREE,
    FREE_ELSEWHERE,
    FREE_LAST,
    GRADIENTS,
    INPUT,
    KINDS,
    OPTIMIZER,
    PRODUCT,
    TEMPORARIES,
    UNSPLIT,
    WEIGHTS,
    WORKSPACES,
    Key,
    Kinds,
    Program,
    program_of,
)
from .segments import ForwardPass, Segment
from .storage import Storage
from .training import OPTIMIZERS, TrainingStep, operation_at
from .wrapping import Wrapping

Blocks = dict[Key, Block | None]
Place = tuple[Blocks, Storage]
"""Where the block of a storage is kept: identical blocks share storages, but each has its own allocator blocks."""


@dataclass(frozen=True)
class Peak:
    """The most that is allocated in a section.

    Attributes:
        section: the section.
        nbytes: how much that is.
        event: the event of the allocator at which it is first so much.
        unsplit: bytes of blocks beyond what was requested.
    """

    section: Section
    nbytes: int
    event: int
    unsplit: int


@dataclass(frozen=True)
class History:
    """The allocator's events, and the programs that made them: the event with which each begins, its section and itself."""

    events: list[int] = field(default_factory=list)
    programs: list[tuple[int, Section, Program]] = field(default_factory=list)
    workspaces: list[int] = field(default_factory=list)  # events that are in no program

    def kinds(self, peak: Peak) -> Kinds:
        """What is allocated at a peak."""
        sums = [0] * len(KINDS)
        for event in self.events[: peak.event + 1]:
            made = event if event >= 0 else self.events[-1 - event]
            kind = made % UNIT
            sums[kind] += made - kind if event >= 0 else kind - made
        sums[UNSPLIT] = peak.unsplit
        return Kinds(*sums)

    def operation(self, peak: Peak) -> str:
        """The operation that runs at a peak, or the section where none does."""
        first, section, program = [each for each in self.programs if each[0] <= peak.event][-1]
        ops = program.op_of_event
        place = peak.event - first - sum(first <= event <= peak.event for event in self.workspaces)
        runs = section == peak.section and place < len(ops)
        return operation_at(peak.section, ops[place].name if runs else "")


@dataclass(frozen=True)
class Usage:
    """Peaks of the allocator in a pass: the bytes reserved, and what is allocated in each section."""

    reserved: int
    peaks: dict[Section, Peak]
    history: History

    @cached_property
    def peak(self) -> Peak:
        """The most that is allocated in the whole pass."""
        return max(self.peaks.values(), key=attrgetter("nbytes"))

    @property
    def allocated(self) -> int:
        """The most bytes that are allocated at once."""
        return self.peak.nbytes

    @property
    def sections(self) -> dict[Section, int]:
        """The most bytes in each section."""
        return {section: peak.nbytes for section, peak in self.peaks.items()}

    @cached_property
    def kinds(self) -> Kinds:
        """What is allocated at the peak."""
        return self.history.kinds(self.peak)

    @property
    def at(self) -> str:
        """The operation at the peak."""
        return self.history.operation(self.peak)


def replay_forward(passed: ForwardPass, cuda: Cuda, capacity: int | None = None) -> Usage:
    """The peaks of an inference forward after the first.

    Raises:
        OutOfMemoryError: if it does not fit.
    """
    player = Player(passed, cuda, capacity)
    with player.saying_where():
        player.build()
        player.play_run()
    return player.usage()


def replay_step(step: TrainingStep, cuda: Cuda, capacity: int | None = None) -> Usage:
    """The peaks of a training step: of the first, or of one after it.

    Raises:
        OutOfMemoryError: if it does not fit.
    """
    player = player_of(step, cuda, capacity)
    with player.saying_where():
        player.build()
        player.play_run()
    return player.usage()


def player_of(step: TrainingStep, cuda: Cuda, capacity: int | None) -> StepPlayer:
    """What plays a step on one GPU, or a rank's part of it."""
    if not step.config.run.is_fsdp:
        return StepPlayer(step, cuda, capacity)
    from .sharded_step import ShardedPlayer
    from .sharded_training import ShardedStep

    assert isinstance(step, ShardedStep)  # noqa: S101 - for the type checker
    return ShardedPlayer(step, cuda, capacity)


def allocator_of(settings: str, capacity: int | None = None, kind: type[Allocator] = Allocator) -> Allocator:
    """An allocator with the settings of a run, of a kind that may keep notes."""
    chosen = settings_of(settings)
    max_split = None if chosen.max_split_mb is None else chosen.max_split_mb * MIB
    if chosen.is_expandable:
        kind = ExpandableAllocator if kind is Allocator else type("", (kind, ExpandableAllocator), {})
    return kind(capacity, divisions=chosen.divisions, max_split=max_split)


class Player:
    """Plays the operations of segments, each with blocks of its own."""

    memory: type[Allocator] = Allocator

    def __init__(self, passed: ForwardPass, cuda: Cuda, capacity: int | None) -> None:
        self.passed = passed
        self.allocator = allocator_of(passed.config.run.allocator, capacity, self.memory)
        self.cuda = replace(cuda, torch=passed.config.run.torch_version)
        self.workspaces = {PRODUCT: self.cuda.workspace_bytes, BIASED: self.cuda.lt_workspace_bytes}
        self.section: Section = ("", "forward")
        self.peaks: dict[Section, Peak] = {}
        self.reserved_before = 0
        self.image: Blocks = {}
        self.sizes: dict[str, tuple[int, int]] = {}  # of weights and buffers: their bytes, and what they are
        self.resident: dict[str, Block | None] = {}  # their blocks
        self.forwards: dict[str, Blocks] = {}
        self.left: Blocks = {}  # in caches, of the pass before
        self.is_first = True
        self.threads: set[tuple[str, int]] = set()
        self.segments = {segment.name: segment for segment in passed.segments}
        self.programs: dict[Hashable, Program] = {}  # those of twins are shared
        self.history = History(self.allocator.events)

    @contextmanager
    def saying_where(self) -> Iterator[None]:
        """An error of memory says in which part and phase it ran out."""
        try:
            yield
        except OutOfMemoryError as error:
            error.at = " ".join(self.section).strip()
            raise

    # -- the run -----------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Weights, buffers and the image."""
        self.sizes = self._resident()
        for name, (nbytes, kind) in self.sizes.items():
            self.resident[name] = self.allocator.allocate(nbytes, kind)
        self.image[self.passed.image.storage] = self.allocator.allocate(self.image_bytes, INPUT)
        self.prepare()
        self.allocator.empty_cache()
        self.allocator.reset_peaks()

    @property
    def image_bytes(self) -> int:
        """Bytes of the image."""
        return int(self.passed.image.storage.nbytes)

    def prepare(self) -> None:
        """What else a script makes before the first pass: nothing."""

    def play_run(self) -> None:
        """The pass that is measured, and the one before it."""
        self.forward()
        self.measure()
        self.forward()

    def forward(self) -> None:
        """A pass in inference, in which nothing is kept for backward, unless autograd is on."""
        self.play_forwards(kept=self.passed.config.run.keeps_graph)
        self.leave()
        self._free_all()

    def play_forwards(self, *, kept: bool) -> None:
        """The forward of all segments, in which autograd may keep tensors."""
        for segment in self.passed.segments:
            self.before_forward(segment)
            self.enter((segment.name, "forward"))
            held = segment.kept | segment.shared | self._outputs(segment) if kept else frozenset()
            self.play_forward(segment, held)
            self.after_forward(segment)
        self.is_first = False
        self._free_cached(kept=kept)

    def before_forward(self, segment: Segment) -> None:
        """What is done before the forward of a segment: nothing."""

    def after_forward(self, segment: Segment) -> None:
        """What is done after it: nothing."""

    def _outputs(self, segment: Segment) -> frozenset[Storage]:
        """The outputs of the encoder, which the caller keeps."""
        if segment is not self.passed.segments[-1]:
            return frozenset()
        return frozenset(output.storage for output in segment.outputs)

    def measure(self) -> None:
        """The peaks are from here on, but for what is reserved."""
        self.reserved_before = self.allocator.peak_reserved
        self.allocator.reset_peaks()
        self.peaks = {}

    def usage(self) -> Usage:
        """Of what was played since `measure`."""
        reserved = max(self.reserved_before, self.allocator.peak_reserved)
        return Usage(reserved, self.peaks, self.history)

    def enter(self, section: Section) -> None:
        """A section begins."""
        self.leave()
        self.section = section
        self.allocator.reset_peak_allocated()

    def leave(self) -> None:
        """The section is over."""
        before, allocator = self.peaks.get(self.section), self.allocator
        if self.section[0] and (before is None or before.nbytes < allocator.peak_allocated):
            peak = Peak(self.section, allocator.peak_allocated, allocator.peak_event, allocator.peak_unsplit)
            self.peaks[self.section] = peak
        self.section = ("", "forward")

    # -- segments ----------------------------------------------------------------------------------------------------

    def play_forward(self, segment: Segment, held: frozenset[Storage] = frozenset()) -> None:
        """The operations of a segment's forward; what is held is not freed."""
        own = self.forwards[segment.name] = {}
        recording = segment.recording
        is_first = self.is_first and bool(recording.only_first or recording.left)
        key = recording, held, is_first
        if key not in self.programs:
            self.programs[key] = program_of(recording, self.cuda, held, holds=True, is_first=is_first)
        self.play(self.programs[key], own, partial(self._forward_place, segment), "forward")
        for buffer in segment.recording.buffers:
            if buffer.cached in own:
                own.pop(buffer.cached)  # it stays

    def play(self, program: Program, own: Blocks, elsewhere: Callable[[Storage], Place], thread: str) -> None:
        """The requests of operations: results, and what is taken inside while they run."""
        allocate, free = self.allocator.allocate, self.allocator.free
        self.history.programs.append((len(self.allocator.events), self.section, program))
        for nbytes, key, kind in program.requests:
            if nbytes > 0:
                own[key] = allocate(nbytes, kind)
            elif nbytes == FREE:
                free(own.pop(key))
            elif nbytes == FREE_ELSEWHERE:
                self.free(elsewhere(key))  # type: ignore[arg-type]  # only storages are elsewhere
            elif nbytes == FREE_LAST:
                free(self.left.pop(key))
            elif (thread, nbytes) not in self.threads and self.workspaces[nbytes]:
                self.threads.add((thread, nbytes))
                self.history.workspaces.append(len(self.allocator.events))
                allocate(self.workspaces[nbytes], WORKSPACES)

    def free(self, place: Place) -> None:
        """Let go of a storage."""
        blocks, storage = place
        self.allocator.free(blocks.pop(storage))

    def _forward_place(self, segment: Segment, storage: Storage) -> Place:
        """Where a storage is that a segment made, that entered it, or that it holds."""
        own = self.forwards[segment.name]
        if storage in own:
            return own, storage
        entered = zip(segment.sources, (entry.storage for entry in segment.entries), strict=True)
        for (name, index), entry in (*entered, *segment.held):
            if entry is storage:
                if not name:
                    return self.image, self.passed.image.storage
                source = self.segments[name]
                return self._forward_place(source, source.outputs[index].storage)
        for name, dropped in segment.drops:
            if dropped is storage:
                return self._forward_place(self.segments[name], storage)
        raise KeyError(f"{segment.name}: {storage}")

    def _resident(self) -> dict[str, tuple[int, int]]:
        """The bytes and the kind of each weight and buffer, in the order in which they are made."""
        return {name: found for segment in self.passed.segments for name, found in self._resident_of(segment)}

    def _resident_of(self, segment: Segment) -> Iterator[tuple[str, tuple[int, int]]]:
        """Those of a segment: the buffers of a module before its first weight, those of the segment itself last."""
        waiting = {name: (f"{each.module}.", each) for name, each in segment.named_buffers}
        for weight in segment.recording.parameters:
            begun = [name for name, (module, _) in waiting.items() if weight.name.startswith(module)]
            for name in begun:
                yield name, (self.buffer_bytes(waiting.pop(name)[1]), BUFFERS)
            nbytes = parameter_elements(weight) * self.weight_item_bytes
            yield segment.qualified(weight.name), (nbytes, WEIGHTS)
        for name, (_, buffer) in waiting.items():
            yield name, (self.buffer_bytes(buffer), BUFFERS)

    @property
    def weight_item_bytes(self) -> int:
        """Of a number of a weight."""
        return int(self.passed.image.item_bytes)

    def buffer_bytes(self, buffer: Buffer) -> int:
        """Bytes of a buffer."""
        return int(buffer.nbytes)

    def _free_cached(self, *, kept: bool) -> None:
        """Autocast's copies of weights go when the forward is done, but for those that autograd keeps."""
        for segment in self.passed.segments:
            own = self.forwards[segment.name]
            for storage in segment.recording.cached:
                if storage in own and not (kept and storage in segment.kept_for_backward):
                    self.allocator.free(own.pop(storage))

    def _free_all(self) -> None:
        """Let go of all that segments have made, but for what their code caches."""
        for name, own in self.forwards.items():
            cached = self.segments[name].recording.left & own.keys()
            self.left |= {storage: own.pop(storage) for storage in cached}
            self._free_each(own)

    def _free_each(self, blocks: Blocks) -> None:
        for block in blocks.values():
            self.allocator.free(block)
        blocks.clear()


class StepPlayer(Player):
    """Plays training steps."""

    def __init__(self, step: TrainingStep, cuda: Cuda, capacity: int | None) -> None:
        super().__init__(step.forward, cuda, capacity)
        self.training = step
        self.wrapping = Wrapping(step, self.allocator)
        self.gradients: list[Blocks] = []  # of weights, by segment
        self.given: Blocks = {}  # the gradients of the outputs

    def prepare(self) -> None:
        """What is around the model."""
        self.wrapping.make({name: nbytes for name, (nbytes, _) in self.sizes.items()})

    def play_run(self) -> None:
        """The step that is measured, and those before it."""
        before = self.training.config.run.passes_before
        self.step(first=True)
        for _ in range(1, before):
            self.step(first=False)
        if before:
            self.measure()
            self.step(first=False)

    def step(self, *, first: bool) -> None:
        """Micro-batches, and the optimizer's step; the gradients of the step before go where `run.zero_grad` says."""
        zero_grad = self.passed.config.run.zero_grad
        if zero_grad == "before_forward":
            self.free_gradients()
        before = None
        for number in range(self.training.micro_batches):
            if number > 1 and before == (before := self.allocator.state()):
                break  # the others are like this one
            self._free_outputs()
            self.wrapping.before_forward(has_gradients=bool(self.gradients))
            self.play_forwards(kept=True)
            if not number and zero_grad == "after_forward":
                self.free_gradients()
            self.wrapping.scale()
            self._backward(accumulating=number > 0)
        self.label_gradients()
        self.wrapping.unscale()
        self._optimizer(first=first)
        self._free_outputs()
        if zero_grad == "after_step":
            self.free_gradients()

    def free_gradients(self) -> None:
        """Let go of the gradients of weights (zero_grad)."""
        for blocks in self.gradients:
            self._free_each(blocks)
        self.gradients = []

    def _free_outputs(self) -> None:
        """The outputs go, and the gradients that they were given."""
        self._free_all()
        self._free_each(self.given)

    def _backward(self, *, accumulating: bool) -> None:
        last = self.passed.segments[-1]
        step = self.training
        runs, recordings = (
            (step.accumulating, step.recordings) if accumulating else (step.backward, step.first_recordings)
        )
        given, run = self.given, runs[-1]
        due: dict[tuple[str, int], Place] = {}
        for index, output in enumerate(last.outputs):
            storage = run.received[index]
            if storage is not None:
                given[storage] = self.allocator.allocate(output.nbytes, TEMPORARIES)
                due[last.name, index] = given, storage
        segments = self.passed.segments
        for segment, run, recording in zip(
            reversed(segments), reversed(runs), reversed(recordings), strict=True
        ):
            own: Blocks = {}
            self.gradients.append(own)
            keys = [*((segment.name, index) for index in range(len(segment.outputs))), *segment.sources]
            received = {
                storage: due.pop(key)
                for key, storage in zip(keys, run.received, strict=True)
                if storage is not None and key in due
            }
            self.enter_backward(segment, run)
            place = partial(self._backward_place, segment, own=own, received=received)
            self.play_backward(segment, self._backward_program(segment, recording), own, place)
            self.leave_backward(segment, run, own)
            self._hand_over(segment, own)
            for source, storage in zip(segment.sources, run.handed_on, strict=True):
                if storage is not None:
                    due[source] = self._backward_place(segment, storage, own, received)

    def enter_backward(self, segment: Segment, run: BackwardRun) -> None:  # noqa: ARG002 - others need the run
        """The backward of a segment begins."""
        self.enter((segment.name, "backward"))

    def play_backward(
        self,
        segment: Segment,  # noqa: ARG002 - others need it
        program: Program,
        own: Blocks,
        place: Callable[[Storage], Place],
    ) -> None:
        """Play the backward of a segment."""
        self.play(program, own, place, "backward")

    def leave_backward(self, segment: Segment, run: BackwardRun, own: Blocks) -> None:  # noqa: ARG002
        """It is over, and has left its gradients."""
        self.leave()

    def _backward_program(self, segment: Segment, recording: Recording) -> Program:
        """In a checkpointed segment or stage, it makes again what the forward would have kept."""
        if recording not in self.programs:
            saved = (each.recording.saved for each in (segment, *self._others_of_stage(segment)))
            self.programs[recording] = program_of(recording, self.cuda, frozenset().union(*saved))
        return self.programs[recording]

    def _hand_over(self, segment: Segment, own: Blocks) -> None:
        """What a segment's backward has made again of a whole stage belongs to the other segments."""
        for other in self._others_of_stage(segment):
            made = {storage for op in other.recording.ops for storage in op.allocates} & own.keys()
            self.forwards[other.name] |= {storage: own.pop(storage) for storage in made}

    def _others_of_stage(self, segment: Segment) -> tuple[Segment, ...]:
        stage = next((stage for stage in self.training.stages if segment in stage), ())
        return tuple(each for each in stage if each is not segment)

    def label_gradients(self) -> None:
        """What the backward leaves are the gradients of the weights."""
        events = self.allocator.events
        for block in (block for own in self.gradients for block in own.values()):
            if block is not None:
                events[block.since] += GRADIENTS - events[block.since] % UNIT

    def _backward_place(
        self, segment: Segment, storage: Storage, own: Blocks, received: dict[Storage, Place]
    ) -> Place:
        if storage in own:
            return own, storage
        return received.get(storage) or self._forward_place(segment, storage)

    def _optimizer(self, *, first: bool) -> None:
        """Its state in the first step, and what it makes for a step, for all weights at once."""
        optimizer = OPTIMIZERS[self.passed.config.run.optimizer]
        self.enter(("optimizer", "step"))
        sizes = self.training.updated
        if first:
            for nbytes in sizes:
                for _ in range(optimizer.state):
                    self.allocator.allocate(nbytes, OPTIMIZER)
        self._transient(nbytes for _ in range(optimizer.transient) for nbytes in sizes)
        self.wrapping.after_step()
        self.leave()

    def _transient(self, sizes: Iterable[int]) -> None:
        for block in [self.allocator.allocate(nbytes, TEMPORARIES) for nbytes in sizes]:
            self.allocator.free(block)
