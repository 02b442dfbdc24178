"""What is around the model in a training step, in the allocator: DistributedDataParallel, GradScaler, a moving average.

Source: PyTorch 2.14.1, torch/nn/parallel/distributed.py and torch/csrc/distributed/c10d (see `ddp.py`),
torch/amp/grad_scaler.py, torch/optim/swa_utils.py; compared with them in dry runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from ..units import INT64_BYTES
from . import ddp
from .allocator import Allocator, Block
from .module_order import Registered, in_module_order, registered_in
from .ops import parameter_elements
from .requests import AVERAGE, BUCKETS, OPTIMIZER, TEMPORARIES
from .training import COUNTER_BYTES, SCALAR_BYTES, TrainingStep

DOUBLE_BYTES = 8


class Wrapping:
    """The blocks of what is around the model."""

    def __init__(self, step: TrainingStep, allocator: Allocator) -> None:
        self.step = step
        self.run = step.config.run
        self.allocator = allocator
        self.average: dict[
            str, Block | None
        ] = {}  # the weights and buffers of the copy for the moving average
        self.buckets: list[Block | None] = []
        self.found_inf: Block | None = None
        self.has_run = self.is_rebuilt = False  # DDP's forward; its buckets
        self.has_scale = self.is_averaged = False

    def make(self, sizes: Mapping[str, int]) -> None:
        """The copy for the moving average, and DDP's constructor.

        Args:
            sizes: the bytes of each weight and buffer of the model, by name.
        """
        if (
            self.run.ema
        ):  # in the order in which a model is copied: a module's own, then those of its submodules
            for name in in_module_order(sizes, self._registered):
                self.average[name] = self.allocator.allocate(sizes[name], AVERAGE)
                if name not in self.step.weights:  # the copy of a buffer makes an empty tensor first
                    self._free(self._allocate(1))
        if self.run.is_ddp:
            self._compare_shapes()
            self._send([*((nbytes, "") for nbytes in self._weights), *self._buffers])
            self._make_buckets(ddp.one_bucket(self.step.completed))

    def before_forward(self, *, has_gradients: bool) -> None:
        """DDP rebuilds its buckets before the second forward, and sends the buffers before each."""
        if not self.run.is_ddp:
            return
        if self.buckets and not self.is_rebuilt and self.has_run:
            self._rebuild(has_views=has_gradients and self.run.gradient_as_bucket_view)
        self.has_run = True
        self._send(self._buffers)

    def scale(self) -> None:
        """The loss is scaled; the first time, the scale is made."""
        if not self.run.grad_scaler:
            return
        loss = self._allocate(SCALAR_BYTES)
        if not self.has_scale:
            self.has_scale = True
            for _ in range(2):  # the scale, and the steps since it has grown
                self.allocator.allocate(SCALAR_BYTES, OPTIMIZER)
        self._free(self._allocate(SCALAR_BYTES), loss)

    def unscale(self) -> None:
        """The gradients are unscaled in place, by `scale.double().reciprocal().float()`."""
        if not self.run.grad_scaler:
            return
        double = self._allocate(DOUBLE_BYTES)
        reciprocal = self._allocate(DOUBLE_BYTES)
        self._free(double)
        inverse = self._allocate(SCALAR_BYTES)
        self._free(reciprocal)
        self.found_inf = self._allocate(SCALAR_BYTES)
        self._free(inverse)

    def after_step(self) -> None:
        """The scaler lets go of what it found, and the moving average is updated in place."""
        self._free(self.found_inf)
        self.found_inf = None
        if self.run.ema and self.is_averaged and not self.run.is_offloaded:
            self._free(self._allocate(COUNTER_BYTES))
        self.is_averaged = True  # the first update copies the weights

    # -- DDP ---------------------------------------------------------------------------------------------------------

    def _compare_shapes(self) -> None:
        """Ranks compare how many weights they have, and their shapes and strides."""
        numbers = sum(2 * len(weight.shape) for weight in self.step.weights.values() if weight.trains)
        self._free(*map(self._allocate, (INT64_BYTES, INT64_BYTES, numbers * INT64_BYTES)))

    def _send(self, tensors: Iterable[ddp.Typed]) -> None:
        copies = ddp.flat_copies(tensors)
        blocks: dict[int, Block | None] = {}
        for number, is_made in ddp.in_flight(copies):
            if is_made:
                blocks[number] = self._allocate(copies[number])
            elif number in blocks:
                self._free(blocks.pop(number))

    def _rebuild(self, *, has_views: bool) -> None:
        """New buckets; gradients that are views move into them, and hold the old ones until then."""
        self.is_rebuilt = True
        sizes = ddp.buckets(self.step.completed)
        order = self._allocate(ddp.INDEX_BYTES * (len(self.step.completed) + 1))
        self._free(self._allocate(ddp.INDEX_BYTES * len(sizes)), order)
        old, self.buckets = self.buckets, []
        if not has_views:
            self._free(*old)
        self._make_buckets(sizes)
        if has_views:
            self._free(*old)

    def _make_buckets(self, sizes: Iterable[int]) -> None:
        self.buckets += [self.allocator.allocate(nbytes, BUCKETS) for nbytes in sizes]

    # -- the model ---------------------------------------------------------------------------------------------------

    @cached_property
    def _registered(self) -> Registered:
        return registered_in(self.step.forward.segments)

    @cached_property
    def _weights(self) -> list[int]:
        item_bytes = self.step.forward.image.item_bytes
        return [parameter_elements(weight) * item_bytes for weight in self.step.weights.values()]

    @cached_property
    def _buffers(self) -> list[ddp.Typed]:
        """The buffers; those of whole numbers are of another type than the weights."""
        segments = self.step.forward.segments
        return ddp.typed(buffer for segment in segments for buffer in segment.recording.buffers)

    # -- the allocator -----------------------------------------------------------------------------------------------

    def _allocate(self, nbytes: int) -> Block | None:
        return self.allocator.allocate(nbytes, TEMPORARIES)

    def _free(self, *blocks: Block | None) -> None:
        for block in blocks:
            self.allocator.free(block)
