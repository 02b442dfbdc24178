"""A training step of FSDP2 through the caching allocator: that of one rank, rank 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from ..units import ITEM_BYTES
from .allocator import UNIT, Block
from .autograd import SUM
from .backward import BackwardRun
from .inside import Cuda
from .ops import Buffer, Op
from .replay import Blocks, Place, StepPlayer
from .requests import AVERAGE, BUFFERS, GRADIENTS, KEPT, Program
from .segments import Segment, Source
from .sharded import Sharded
from .sharded_order import BackwardOrder
from .sharded_training import ShardedStep
from .storage import Storage


class ShardedPlayer(StepPlayer):
    """Plays the steps of a rank.

    As torch runs them, a block is gathered after the part before it, and so in its section. When the gradient of its input
    is there, the backward of the part before it begins, and its own gradients are reduced in that section.
    """

    def __init__(self, step: ShardedStep, cuda: Cuda, capacity: int | None) -> None:
        super().__init__(step, cuda, capacity)
        self.programs = step.alone.programs.setdefault(cuda, {})
        self.sharded = Sharded(step.groups, self.allocator, cuda)
        self.order = BackwardOrder(step, self.sharded)
        self.keeps_image = step.keeps_image
        self.inputs: frozenset[Storage] = frozenset()  # those of a block that go when it has returned
        self.cast: Block | None = None  # the image in the type in which the encoder computes
        self.promised: frozenset[Storage] = frozenset()  # what a sum that is to be played later makes
        self.last_read: frozenset[Storage] = frozenset()  # and what it frees
        self.taken: dict[Source, list[str]] = {}  # the segments that take an output
        for segment in self.passed.segments:
            for source in segment.sources:
                self.taken.setdefault(source, []).append(segment.name)

    @property
    def image_bytes(self) -> int:
        """Bytes of the image, which is in the type of the weights."""
        return int(math.prod(self.passed.image.shape)) * ITEM_BYTES[self.passed.config.run.dtype]

    def prepare(self) -> None:
        """The weights are cut into shards, and the buffers cast; then those of the copy for the moving average."""
        super().prepare()
        self.sharded.make(self.resident)
        self._cast_buffers(self.resident, BUFFERS)
        if self.wrapping.average:
            self.sharded.make(self.wrapping.average, AVERAGE)
            self._cast_buffers(self.wrapping.average, AVERAGE)

    def _cast_buffers(self, blocks: dict[str, Block | None], kind: int) -> None:
        for segment in self.passed.segments:
            for name, buffer in segment.named_buffers:
                if self._is_cast(buffer):
                    new = self.allocator.allocate(buffer.nbytes, kind)
                    self.allocator.free(blocks[name])
                    blocks[name] = new

    @property
    def weight_item_bytes(self) -> int:
        """Of a number of a weight, as the encoder is made."""
        return ITEM_BYTES[self.passed.config.run.dtype]

    def buffer_bytes(self, buffer: Buffer) -> int:
        """Bytes of a buffer, as the encoder is made: one of the type in which it computes is cast to that type later."""
        if not self._is_cast(buffer):
            return super().buffer_bytes(buffer)
        return int(buffer.nbytes // buffer.item_bytes * self.weight_item_bytes)

    def _is_cast(self, buffer: Buffer) -> bool:
        return self.sharded.sharding.casts and buffer.item_bytes == self.passed.image.item_bytes

    # -- the forward -------------------------------------------------------------------------------------------------

    def play_forwards(self, *, kept: bool) -> None:
        """The root is gathered, and the image cast to the type of what is gathered."""
        self.leave()
        if self.sharded.sharding.casts:
            self.cast = self.allocator.allocate(self.passed.image.nbytes, KEPT)
        self.sharded.begin_forward()
        super().play_forwards(kept=kept)
        self.sharded.end_forward()
        if not self.keeps_image:
            self._free_cast()

    def _free_cast(self) -> None:
        self.allocator.free(self.cast)
        self.cast = None

    def before_forward(self, segment: Segment) -> None:
        """A block is gathered."""
        if segment.layer is not None:
            self.sharded.before_forward(segment.name)

    def play_forward(self, segment: Segment, held: frozenset[Storage] = frozenset()) -> None:
        """Play the forward of a segment. The inputs of a block live until it has returned."""
        self.inputs = frozenset() if segment.layer is None else segment.freed_by_caller - held
        super().play_forward(segment, held | self.inputs)

    def after_forward(self, segment: Segment) -> None:
        """What is gathered of it goes, if it is to, and then its inputs."""
        if segment.layer is not None:
            self.sharded.after_forward(segment.name)
        for storage in self.inputs:
            self.free(self._forward_place(segment, storage))

    # -- the backward ------------------------------------------------------------------------------------------------

    def _backward(self, *, accumulating: bool) -> None:  # noqa: ARG002 - gradients are summed when they are reduced
        self.order.begins = True
        super()._backward(accumulating=False)
        self.gradients = []

    def enter_backward(self, segment: Segment, run: BackwardRun) -> None:
        """The gradients of the block after it are reduced, and it is gathered."""
        self.order.enter_backward(segment, run, self.enter)

    def play_backward(
        self, segment: Segment, program: Program, own: Blocks, place: Callable[[Storage], Place]
    ) -> None:
        """Play the backward of a segment, but for the sum of its input's gradient with one from elsewhere: see `order`."""
        self.promised = self.last_read = frozenset()
        is_tapped = len(set(self.taken.get(segment.sources[0], ()))) > 1
        if segment.layer is not None and is_tapped and (last := _last_sum(program)):
            program, tail = program.cut_before(last)
            self.promised = frozenset(last.allocates)
            self.last_read = frozenset(storage for op in tail.ops for storage in op.frees)
            self.order.then = partial(self.play, tail, own, place, "backward")
        super().play_backward(segment, program, own, place)

    def _backward_place(
        self, segment: Segment, storage: Storage, own: Blocks, received: dict[Storage, Place]
    ) -> Place:
        if storage in self.promised:
            return own, storage
        return super()._backward_place(segment, storage, own, received)

    def leave_backward(self, segment: Segment, run: BackwardRun, own: Blocks) -> None:
        """A block's gradients are to be reduced; after the last part, the root's are. The section goes on until the next."""
        if segment.layer is not None:
            others = {*run.handed_on, *self.last_read}
            mine = [storage for storage in own if storage not in others]
            self.order.leave_block(segment, run, self._labelled([own.pop(storage) for storage in mine]))
        if segment.name == self.order.last:
            self._free_cast()
            left = [block for each in self.gradients for block in each.values()]
            self.order.end_backward(self._labelled(left))
            self.gradients.clear()

    def _labelled(self, blocks: list[Block | None]) -> list[Block | None]:
        """Blocks, which are gradients of weights."""
        events = self.allocator.events
        for block in blocks:
            if block is not None:
                events[block.since] += GRADIENTS - events[block.since] % UNIT
        return blocks

    def label_gradients(self) -> None:
        """Those are labelled as they are made."""

    def free_gradients(self) -> None:
        """The shards of gradients go."""
        self.sharded.zero_grad()


def _last_sum(program: Program) -> Op | None:
    """The sum of gradients with which a backward ends; None if it ends with something else."""
    last = next((op for op in reversed(program.ops) if op.allocates or not op.frees), None)
    return last if last is not None and last.name.endswith(SUM) else None
