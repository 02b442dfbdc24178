"""The runs whose memory others published, replayed: the whole of SAM, and an encoder in front of a head."""

from __future__ import annotations

from ..encoder.model import EncoderConfig
from ..published_memory import WholeSam
from ..tape.encoder import forward
from ..tape.inside import Cuda
from ..tape.module_order import in_module_order, registered_in
from ..tape.ops import parameter_elements
from ..tape.replay import Player, StepPlayer
from ..tape.requests import INPUT, TEMPORARIES, WEIGHTS
from ..tape.training import training_step

MADE_IN = 4
"""Bytes of a number of a weight when the model is moved to the GPU: it is cast there."""
RESULT_BYTES = 512
"""What the script keeps on the GPU of each image that it is done with: the IoU of each mask, in one block."""


class WholeSamPlayer(Player):
    """Plays SAM's encoder as segment-anything-fast's script runs it (experiments/eval_combo.py).

    The model is moved to the GPU in float32 and cast there, which leaves rests of blocks. The script keeps the features of
    the batch before, and the results of all images.
    """

    sam: WholeSam

    def build(self) -> None:
        """The weights of the whole model, as they are moved and cast, and the image."""
        allocate, free = self.allocator.allocate, self.allocator.free
        elements = (*self._moved(), *self.sam.weights)
        blocks = [allocate(number * MADE_IN, WEIGHTS) for number in elements]
        item_bytes = self.passed.image.item_bytes
        if item_bytes != MADE_IN:
            for block, number in zip(blocks, elements, strict=True):
                allocate(number * item_bytes, WEIGHTS)
                free(block)
        storage = self.passed.image.storage
        self.image[storage] = allocate(storage.nbytes, INPUT)

    def keep(self) -> None:
        """What the script keeps of the batches before."""
        for output in self.passed.segments[-1].outputs:
            self.allocator.allocate(output.nbytes, TEMPORARIES)
        for _ in range(self.sam.images):
            self.allocator.allocate(RESULT_BYTES, TEMPORARIES)

    def _moved(self) -> list[int]:
        """The elements of the encoder's weights, in the order in which ``model.to(device)`` moves them."""
        segments = self.passed.segments
        elements = {
            segment.qualified(weight.name): parameter_elements(weight)
            for segment in segments
            for weight in segment.recording.parameters
        }
        return [elements[name] for name in in_module_order(elements, registered_in(segments), moved=True)]


def whole_sam_bytes(config: EncoderConfig, sam: WholeSam, cuda: Cuda) -> int:
    """The most that is allocated in a batch after the first."""
    player = WholeSamPlayer(forward(config), cuda, None)
    player.sam = sam
    player.build()
    player.forward()
    player.keep()
    player.measure()
    player.forward()
    return player.usage().allocated


class BeforeHead(StepPlayer):
    """Notes what is allocated when the encoder's forward is over, and the head's begins."""

    held_bytes = 0

    def play_forwards(self, *, kept: bool) -> None:
        """The forward, as it is."""
        super().play_forwards(kept=kept)
        self.held_bytes = self.allocator.allocated


def before_head_bytes(config: EncoderConfig, cuda: Cuda) -> int:
    """What is allocated when the forward of a training step after the first is over."""
    player = BeforeHead(training_step(config), cuda, None)
    player.build()
    player.step(first=True)
    player.step(first=False)
    return player.held_bytes
