"""FSDP2 in the allocator: shards, gathered weights and the buffers of collectives, in the order in which torch makes them.

Source: PyTorch 2.14.1 and 2.15.0, torch/distributed/fsdp/_fully_shard; compared with it in dry runs. `fsdp.py` has the sizes.

- The buffer of an all-gather is allocated on a stream of its own, as is the output of a reduce-scatter; all else is on the
  default stream. A stream reuses its own blocks alone.
- In the forward, the buffer of a group is freed when the next group has been gathered: before torch 2.15 after that is copied out,
  and since then before.
- In the backward, the group that runs before is gathered ahead as soon as a group is there. When the gradient of a block's
  input is there, its weights go, its gradients are copied into the input of a reduce-scatter, and go too. That input stays
  until the next block is there.
- At the end of the backward, the root's gradients are reduced, and then those of blocks whose input has no gradient. A block
  that was gathered ahead for nothing loses its buffer in its turn.
- A group that keeps a part of its weights after the forward may be gathered by no backward, as where it and all before it
  are frozen. Torch's `to_sharded` does not free that part: it goes when the next forward has made the next one. The inputs of a
  block are still there when it keeps such a part, as the caller holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ..units import rounded
from .allocator import DEFAULT, GATHERING, REDUCING, Block
from .fsdp import Group, Weight, bytes_of
from .inside import Cuda
from .module_order import in_module_order, registered_in
from .requests import COMMUNICATION, GATHERED, GRADIENTS, WEIGHTS, WORKSPACES
from .segments import ForwardPass

ROOT = ""
ALL_GATHER, REDUCE_SCATTER = "all_gather", "reduce_scatter"
Blocks = list[Block | None]


class Memory(Protocol):
    """An allocator, or what counts as one does."""

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> Block | None:
        """Allocate a block; None for a request of 0 bytes."""

    def free(self, block: Block | None) -> None:
        """Free a block; None does nothing."""


def weights_by_group(passed: ForwardPass) -> dict[str, tuple[Weight, ...]]:
    """The weights of the root, and of each block. A module's own weights come after its submodules'."""
    weights: dict[str, Weight] = {}
    found: dict[str, list[Weight]] = {ROOT: []}
    groups: dict[str, str] = {}
    for segment in passed.segments:
        group = ROOT if segment.layer is None else segment.name
        found.setdefault(group, [])
        for weight in segment.recording.parameters:
            name = segment.qualified(weight.name)
            weights[name] = Weight(name, weight.shape, weight.trains)
            groups[name] = group
    for name in in_module_order(weights, registered_in(passed.segments), moved=True):
        found[groups[name]].append(weights[name])
    return {name: tuple(own) for name, own in found.items()}


class Sharded:
    """The blocks of a rank of FSDP2."""

    def __init__(self, groups: dict[str, Group], allocator: Memory, cuda: Cuda) -> None:
        self.allocator = allocator
        self.cuda = cuda
        self.groups = groups
        self.sharding = groups[ROOT].sharding
        self.order = [name for name in groups if name != ROOT]
        self.gathered: dict[str, Blocks] = {}  # the weights of groups that are whole
        self.kept: dict[str, Blocks] = {}  # the parts of them that stay after the forward
        self.outdated: dict[str, Blocks] = {}  # such parts of the pass before, which no backward has used
        self.buffers: dict[str, Block | None] = {}  # of all-gathers that are to be copied out
        self.last_buffer: Block | None = None  # of the one that was copied out last in the forward
        self.reduced: Block | None = None  # the input of the last reduce-scatter
        self.gradients: dict[str, Block | None] = {}  # the outputs of reduce-scatters
        self.unfinished: set[str] = set()  # blocks whose gradients are not reduced yet
        self.begun: list[tuple[str, str]] = []  # the collectives in order: the kind of each, and its group

    # -- the run -----------------------------------------------------------------------------------------------------

    def make(self, whole: dict[str, Block | None], kind: int = WEIGHTS) -> None:
        """Cut the weights of blocks into shards, block by block, and then those of the root.

        Args:
            whole: the weights by name, which go.
            kind: of the shards.
        """
        for name in (*self.order, ROOT):
            group = self.groups[name]
            shards = [
                self._allocate(nbytes, kind) for nbytes in bytes_of(group.shards, self.sharding.item_bytes)
            ]
            self._free(*(whole.pop(weight.name) for weight in group.weights))
            if self.sharding.is_offloaded:
                self._free(*shards)

    def begin_forward(self) -> None:
        """The root's weights are gathered."""
        self.unfinished = set(self.order)
        self.before_forward(ROOT)

    def before_forward(self, name: str) -> None:
        """The weights of a group are gathered, and the buffer of the group before goes."""
        self._gather(name)
        before, self.last_buffer = self.last_buffer, None
        if not self.sharding.keeps_buffer:
            self._free(before)
        self.last_buffer = self._copy_out(name)
        if self.sharding.keeps_buffer:
            self._free(before)

    def after_forward(self, name: str) -> None:
        """The weights of a block go, or all but a rank's part of them."""
        if not self.sharding.kept_over:
            return
        if not self._keeps_parts:
            self._free(*self.gathered.pop(name))
            return
        self.kept[name] = kept = []
        whole = self.gathered.pop(name)
        outdated = self.outdated.pop(name, [None] * len(whole))
        for nbytes, old, block in zip(self.groups[name].kept_bytes, outdated, whole, strict=True):
            kept.append(self._allocate(nbytes, GATHERED))
            self._free(old, block)

    def keep_outdated(self, name: str) -> None:
        """A block has kept its parts of weights in the pass before, and no backward has used them."""
        if self._keeps_parts:
            parts = self.groups[name].kept_bytes
            self.outdated[name] = [self._allocate(nbytes, GATHERED) for nbytes in parts]

    @property
    def _keeps_parts(self) -> bool:
        """Whether a rank keeps a part of the weights of a block after its forward: neither none nor all of them."""
        return self.sharding.kept_over not in {0, self.sharding.gpus}

    def end_forward(self) -> None:
        """The last buffer goes."""
        self._free(self.last_buffer)
        self.last_buffer = None

    def begin_backward(self) -> None:
        """The last block is gathered ahead."""
        self._gather(self.order[-1])

    def before_backward(self, name: str) -> None:
        """The weights of a block are gathered, and those of the block before it ahead."""
        self._gather(name)
        self._free(self._copy_out(name))
        place = self.order.index(name)
        if place:
            self._gather(self.order[place - 1])

    def reduce(self, name: str, gradients: Blocks) -> None:
        """The gradients of a group are reduced, and its gathered weights go."""
        self.unfinished.discard(name)
        self._free(*self.gathered.pop(name, []))
        self._free(self.reduced)
        self.reduced = None
        group = self.groups[name]
        if group.trained:
            self._reduce(name, group, gradients)

    def end_backward(self, gradients: dict[str, Blocks]) -> None:
        """The gradients of the root are reduced, and those of blocks that have not been; what is still gathered goes."""
        for name in (ROOT, *self.order):
            if name == ROOT or name in self.unfinished:
                self.reduce(name, gradients.get(name, []))
            self._free(self.buffers.pop(name, None))
        self._free(self.reduced)
        self.reduced = None
        self.outdated |= self.kept
        self.kept.clear()

    def zero_grad(self) -> None:
        """The shards of gradients go."""
        self._free(*self.gradients.values())
        self.gradients.clear()

    # -- collectives -------------------------------------------------------------------------------------------------

    def _gather(self, name: str) -> None:
        """An all-gather begins, unless the weights are there or on their way."""
        if name in self.gathered or name in self.buffers:
            return
        self.begun.append((ALL_GATHER, name))
        group, is_alone = self.groups[name], self.sharding.gpus == 1
        inputs = [] if is_alone else self._inputs(group, is_kept=name in self.kept)
        buffer = None if is_alone else self._allocate(group.buffer_bytes, COMMUNICATION, GATHERING)
        self.buffers[name] = buffer
        self._free(*inputs)

    def _inputs(self, group: Group, *, is_kept: bool) -> Blocks:
        """What an all-gather sends, where it is not the shards themselves."""
        sharding = self.sharding
        numbers = bytes_of(group.shards, 1)
        if is_kept:
            numbers = tuple(nbytes // sharding.gathered_item_bytes for nbytes in group.kept_bytes)
        if sharding.is_offloaded and not is_kept:
            return [block for number in numbers for block in self._uploaded(number, GATHERING)]
        if not sharding.casts or sharding.is_offloaded:
            return []
        return [self._allocate(sum(numbers) * sharding.gathered_item_bytes, COMMUNICATION, GATHERING)]

    def _uploaded(self, number: int, stream: int) -> Blocks:
        """A shard that comes from the host, in the type in which it is gathered."""
        sharding = self.sharding
        block = self._allocate(number * sharding.item_bytes, COMMUNICATION, stream)
        if not sharding.casts:
            return [block]
        cast = self._allocate(number * sharding.gathered_item_bytes, COMMUNICATION, stream)
        self._free(block)
        return [cast]

    def _copy_out(self, name: str) -> Block | None:
        """The weights of a group are copied out of its buffer, which is returned; None if they are there already."""
        if name not in self.buffers:
            return None
        group, buffer = self.groups[name], self.buffers.pop(name)
        if self.sharding.gpus == 1:
            self.gathered[name] = self._copied(group)
            return None
        self.gathered[name] = [self._allocate(nbytes, GATHERED) for nbytes in group.gathered_bytes]
        ranks = self.sharding.kept_over if name in self.kept else self.sharding.gpus
        self._table(group.copy_out_table_bytes(ranks, self.cuda))
        self._free(*self.kept.pop(name, []))
        return buffer

    def _copied(self, group: Group) -> Blocks:
        """The weights of a group that has one rank: copies of its shards."""
        made: Blocks = []
        before: Blocks = []
        for number, nbytes in zip(group.shards, group.gathered_bytes, strict=True):
            sent = self._sent_to_itself(number)
            self._free(*before)
            made.append(self._allocate(nbytes, GATHERED))
            before = sent
        self._free(*before)
        return made

    def _sent_to_itself(self, number: int) -> Blocks:
        if self.sharding.is_offloaded:
            return self._uploaded(number, DEFAULT)
        if not self.sharding.casts:
            return []
        return [self._allocate(number * self.sharding.gathered_item_bytes, COMMUNICATION)]

    def _reduce(self, name: str, group: Group, gradients: Blocks) -> None:
        sharding = self.sharding
        self.begun.append((REDUCE_SCATTER, name))
        self.reduced = self._allocate(group.reduced_bytes, COMMUNICATION)
        self._table(group.copy_in_table_bytes)
        is_alone = sharding.gpus == 1  # then torch holds no gradient a little longer
        last, others = _split(gradients, 0 if is_alone else group.last_gradient_bytes)
        self._free(*others)
        is_cast = sharding.reduced_item_bytes != sharding.item_bytes
        kind = COMMUNICATION if is_cast else GRADIENTS
        output = self._allocate(sum(group.trained) * sharding.reduced_item_bytes, kind, REDUCING)
        if is_cast:
            narrow, output = (
                output,
                self._allocate(sum(group.trained) * sharding.item_bytes, GRADIENTS, REDUCING),
            )
            self._free(narrow)
        if name in self.gradients or sharding.is_offloaded:
            self._free(output)  # added to those of the micro-batch before, or copied to the host
        else:
            self.gradients[name] = output
        self._free(last)

    # -- the allocator -----------------------------------------------------------------------------------------------

    def _table(self, nbytes: int) -> None:
        """The table of a copy, which its operator takes inside."""
        if self.cuda.takes_inside:
            self._free(self._allocate(nbytes, WORKSPACES))

    def _allocate(self, nbytes: int, kind: int, stream: int = DEFAULT) -> Block | None:
        return self.allocator.allocate(nbytes, kind, stream)

    def _free(self, *blocks: Block | None) -> None:
        for block in blocks:
            self.allocator.free(block)


def _split(blocks: Sequence[Block | None], nbytes: int) -> tuple[Block | None, Iterable[Block | None]]:
    """The last of the blocks of a size, and the others."""
    size = rounded(nbytes)
    found = [block for block in blocks if block is not None and block.nbytes - block.rest == size]
    last = found[-1] if found else None
    return last, [block for block in blocks if block is not last]
