"""A whole run through the caching allocator: weights, image, consecutive passes, internal allocations of CUDA operators.

The run is the one that `stack/step.py` measures: the encoder is built, the cache is emptied, a first pass is run (which
makes the optimizer's state and the cuBLAS workspaces), and the peaks are those of the pass after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..encoder.model import Section
from .allocator import Allocator, Block, OutOfMemoryError
from .encoder import ForwardPass, Segment
from .inside import Cuda, Steps, is_product, steps
from .ops import Op, Recording, parameter_elements
from .storage import Storage
from .training import OPTIMIZERS, TrainingStep

Place = tuple["dict[Storage, Block | None]", Storage]
"""Where the block of a storage is kept: identical blocks share storages, but each has its own allocator blocks."""


@dataclass
class Usage:
    """Peaks of the allocator in a pass, in bytes: allocated, reserved, and allocated in each section."""

    allocated: int = 0
    reserved: int = 0
    sections: dict[Section, int] = field(default_factory=dict)


def replay_forward(passed: ForwardPass, cuda: Cuda, capacity: int | None = None) -> Usage:
    """The peaks of an inference forward after the first.

    Raises:
        OutOfMemoryError: if it does not fit.
    """
    player = _Player(passed, cuda, capacity)
    with player.saying_where():
        player.build()
        player.forward()
        player.measure()
        player.forward()
    return player.usage()


def replay_step(step: TrainingStep, cuda: Cuda, capacity: int | None = None) -> Usage:
    """The peaks of a training step after the first.

    Raises:
        OutOfMemoryError: if it does not fit.
    """
    player = _StepPlayer(step, cuda, capacity)
    with player.saying_where():
        player.build()
        player.step(first=True)
        player.measure()
        player.step(first=False)
    return player.usage()


def in_module_order(names: Iterable[str]) -> Iterator[str]:
    """Names of weights in the order of ``model.parameters()``: a module's own, then those of its submodules, one by one."""
    own: list[str] = []
    below: dict[str, list[str]] = {}
    for name in names:
        head, _, rest = name.partition(".")
        if rest:
            below.setdefault(head, []).append(rest)
        else:
            own.append(name)
    yield from own
    for head, rests in below.items():
        yield from (f"{head}.{rest}" for rest in in_module_order(rests))


class _Player:
    """Plays the operations of segments, each with blocks of its own."""

    def __init__(self, passed: ForwardPass, cuda: Cuda, capacity: int | None) -> None:
        self.passed = passed
        self.allocator = Allocator(capacity)
        self.cuda = cuda
        self.section: Section = ("", "forward")
        self.sections: dict[Section, int] = {}
        self.reserved_before = 0
        self.image: dict[Storage, Block | None] = {}
        self.forwards: dict[str, dict[Storage, Block | None]] = {}
        self.threads: set[str] = set()
        self.segments = {segment.name: segment for segment in passed.segments}
        self.steps: dict[Op, Steps] = {}  # of the operations that twins and passes share

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
        for segment in self.passed.segments:
            for nbytes in self._weights(segment.recording):
                self.allocator.allocate(nbytes)
            for buffer in segment.recording.buffers:
                self.allocator.allocate(buffer.nbytes)
        storage = self.passed.image.storage
        self.image[storage] = self.allocator.allocate(storage.nbytes)
        self.allocator.empty_cache()
        self.allocator.reset_peaks()

    def forward(self) -> None:
        """A pass in which nothing is kept for backward."""
        for segment in self.passed.segments:
            self.enter((segment.name, "forward"))
            self.play_forward(segment)
        self.leave()
        self._free_cached(kept=False)
        self._free_all()

    def measure(self) -> None:
        """The peaks are from here on, but for what is reserved."""
        self.reserved_before = self.allocator.peak_reserved
        self.allocator.reset_peaks()
        self.sections = {}

    def usage(self) -> Usage:
        """Of what was played since `measure`."""
        reserved = max(self.reserved_before, self.allocator.peak_reserved)
        return Usage(max(self.sections.values()), reserved, self.sections)

    def enter(self, section: Section) -> None:
        """A section begins."""
        self.leave()
        self.section = section
        self.allocator.peak_allocated = self.allocator.allocated

    def leave(self) -> None:
        """The section is over."""
        before = self.sections.get(self.section, 0)
        if self.section[0]:
            self.sections[self.section] = max(before, self.allocator.peak_allocated)
        self.section = ("", "forward")

    # -- segments ----------------------------------------------------------------------------------------------------

    def play_forward(self, segment: Segment, held: frozenset[Storage] = frozenset()) -> None:
        """The operations of a segment's forward; what is held is not freed."""
        own = self.forwards[segment.name] = {}
        for op in segment.recording.ops:
            self.play(op, own, "forward")
            for storage in op.frees:
                if storage not in held:
                    self.free(self._forward_place(segment, storage))

    def play(self, op: Op, own: dict[Storage, Block | None], thread: str) -> None:
        """What an operation allocates, and takes inside while it runs."""
        results, taken = iter(op.allocates), list[Block | None]()
        if op not in self.steps:
            self.steps[op] = steps(op, self.cuda)
        for step in self.steps[op]:
            if step is None:
                self._make(next(results), own)
            elif step < 0:
                self.allocator.free(taken[-step - 1])
                taken[-step - 1] = None
            else:
                taken.append(self.allocator.allocate(step))
        for storage in results:
            self._make(storage, own)
        if is_product(op) and thread not in self.threads:
            self.threads.add(thread)
            self.allocator.allocate(self.cuda.workspace_bytes)
        for block in reversed(taken):
            self.allocator.free(block)

    def _make(self, storage: Storage, own: dict[Storage, Block | None]) -> None:
        own[storage] = self.allocator.allocate(storage.nbytes)

    def free(self, place: Place) -> None:
        """Let go of a storage."""
        blocks, storage = place
        self.allocator.free(blocks.pop(storage))

    def _forward_place(self, segment: Segment, storage: Storage) -> Place:
        """Where a storage is that a segment made, or that entered it."""
        own = self.forwards[segment.name]
        if storage in own:
            return own, storage
        for entry, (name, index) in zip(segment.entries, segment.sources, strict=True):
            if entry.storage is storage:
                if not name:
                    return self.image, self.passed.image.storage
                source = self.segments[name]
                return self._forward_place(source, source.outputs[index].storage)
        raise KeyError(f"{segment.name}: {storage}")

    def _weights(self, recording: Recording) -> Iterator[int]:
        item_bytes = self.passed.image.item_bytes
        for weight in recording.parameters:
            yield parameter_elements(weight) * item_bytes

    def _free_cached(self, *, kept: bool) -> None:
        """Autocast's copies of weights go when the forward is done, but for those that autograd keeps."""
        for segment in self.passed.segments:
            own = self.forwards[segment.name]
            for storage in segment.recording.cached:
                if storage in own and not (kept and storage in segment.kept):
                    self.allocator.free(own.pop(storage))

    def _free_all(self) -> None:
        for own in self.forwards.values():
            self._free_each(own)

    def _free_each(self, blocks: dict[Storage, Block | None]) -> None:
        for block in blocks.values():
            self.allocator.free(block)
        blocks.clear()


class _StepPlayer(_Player):
    """Plays training steps."""

    def __init__(self, step: TrainingStep, cuda: Cuda, capacity: int | None) -> None:
        super().__init__(step.forward, cuda, capacity)
        self.training = step
        self.gradients: list[dict[Storage, Block | None]] = []

    def step(self, *, first: bool) -> None:
        """Gradients go, forward, backward, the optimizer's step."""
        for blocks in self.gradients:
            self._free_each(blocks)
        for segment in self.passed.segments:
            self.enter((segment.name, "forward"))
            self.play_forward(segment, segment.kept | segment.shared)
        self._free_cached(kept=True)
        self._backward()
        self._optimizer(first=first)
        self._free_all()

    def _backward(self) -> None:
        last = self.passed.segments[-1]
        given: dict[Storage, Block | None] = {}
        run = self.training.backward[-1]
        due: dict[tuple[str, int], Place] = {}
        for index, output in enumerate(last.outputs):
            storage = run.received[index]
            if storage is not None:
                given[storage] = self.allocator.allocate(output.nbytes)
                due[last.name, index] = given, storage
        self.gradients = [given]
        segments, runs = self.passed.segments, self.training.backward
        for segment, run, recording in zip(
            reversed(segments), reversed(runs), reversed(self.training.recordings), strict=True
        ):
            own: dict[Storage, Block | None] = {}
            self.gradients.append(own)
            keys = [*((segment.name, index) for index in range(len(segment.outputs))), *segment.sources]
            received = {
                storage: due.pop(key)
                for key, storage in zip(keys, run.received, strict=True)
                if storage is not None and key in due
            }
            self.enter((segment.name, "backward"))
            for op in recording.ops:
                self.play(op, own, "backward")
                for storage in op.frees:
                    self.free(self._backward_place(segment, storage, own, received))
            self.leave()
            for source, storage in zip(segment.sources, run.handed_on, strict=True):
                if storage is not None:
                    due[source] = self._backward_place(segment, storage, own, received)

    def _backward_place(
        self,
        segment: Segment,
        storage: Storage,
        own: dict[Storage, Block | None],
        received: dict[Storage, Place],
    ) -> Place:
        if storage in own:
            return own, storage
        return received.get(storage) or self._forward_place(segment, storage)

    def _optimizer(self, *, first: bool) -> None:
        """Its state in the first step, and what it makes for a step, for all weights at once."""
        optimizer = OPTIMIZERS[self.passed.config.run.optimizer]
        self.enter(("optimizer", "step"))
        sizes = self._trained()
        if first:
            for nbytes in sizes:
                for _ in range(optimizer.state):
                    self.allocator.allocate(nbytes)
        self._transient(nbytes for _ in range(optimizer.transient) for nbytes in sizes)
        self.leave()

    def _trained(self) -> list[int]:
        """The bytes of the weights that train, in the order of ``model.parameters()``."""
        item_bytes = self.passed.image.item_bytes
        weights = {
            segment.qualified(weight.name): parameter_elements(weight) * item_bytes
            for segment in self.passed.segments
            for weight in segment.recording.parameters
            if weight.trains
        }
        return [weights[name] for name in in_module_order(weights)]

    def _transient(self, sizes: Iterable[int]) -> None:
        for block in [self.allocator.allocate(nbytes) for nbytes in sizes]:
            self.allocator.free(block)
