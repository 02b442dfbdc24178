"""An encoder that `samattn fit` looks at, and its memory."""

from __future__ import annotations

from ..encoder.keys import Size
from ..records import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An encoder, and its memory.

    Attributes:
        image_size: (height, width) in pixels.
        batch_size: images a pass.
        global_layers: the blocks that attend over their whole grid.
        state_bytes: weights and buffers; in training their gradients and what the optimizer keeps too.
        peak_bytes: the most bytes live at once, those of `state_bytes` and the input with them.
        peak_at: the operation at which they are.
        spare_bytes: memory that is left next to the larger of `peak_bytes` and `allocated_bytes`; below 0, what is missing.
        too_large: the parts and layers, and the optimizer, in which more is live than there is.
        stopped_at: the first of those in order of time, and the operation at which most is live in it; "" if it fits.
        fits: whether it fits, also if nothing is left; for a CUDA device, whether the allocator finds room.
        refused: why CUDA cannot launch one of its kernels, whatever the memory; "" if it can.
        allocated_bytes: the most that torch's caching allocator hands out; None if no CUDA device is asked about.
        reserved_bytes: the most that it takes from the device.
    """

    image_size: Size
    batch_size: int
    global_layers: tuple[int, ...]
    state_bytes: int
    peak_bytes: int
    peak_at: str
    spare_bytes: int
    too_large: tuple[str, ...]
    stopped_at: str
    fits: bool
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    refused: str = ""

    @property
    def taken_bytes(self) -> int:
        """The most that the allocator hands out, where that is known; else the most that is live."""
        return self.peak_bytes if self.allocated_bytes is None else self.allocated_bytes

    @property
    def missing_bytes(self) -> int:
        """Memory that is missing: for what it takes or, where that would fit, for what the allocator reserves."""
        memory_bytes = self.taken_bytes + self.spare_bytes
        return max(self.taken_bytes, self.reserved_bytes or 0) - memory_bytes
