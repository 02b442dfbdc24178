"""The answer of `samattn plan`: how to train an encoder on several GPUs, in the time and memory of each way."""

from __future__ import annotations

from typing import Literal

from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..units import format_bytes
from ..version import __version__
from . import SCHEMA_VERSION
from .shown import Shown


@dataclass(frozen=True, kw_only=True)
class PlanChoice:
    """A way to train: the keys of its run, and the memory and time of one rank.

    Attributes:
        device: the card; "" if only its memory is known.
        strategy: how the step is spread over GPUs, in words: "ddp".
        precision: the type of numbers, in words: "float32", "bfloat16 autocast".
        checkpointing: which blocks are checkpointed, in words: "none", "all".
        attention: the kernel.
        batch_size: images in a forward of one rank; gpus x batch_size x accumulate is the global batch.
        accumulate: forwards and backwards of one step.
        set: the keys that make the run so, each "run.parallel=ddp".
        fits: whether a rank runs in the memory of the card; None if that was not worked out, because another choice is as fast
            and takes less memory.
        least_bytes: a number that the memory of a GPU is not below, which is worked out for every choice.
        live_bytes: the most that is live, which the allocator takes at least; None if it was not worked out.
        allocated_bytes: the most that torch's caching allocator hands out; None if it was not worked out, and for a device that
            is not a CUDA device.
        reserved_bytes: the most that it takes from the device.
        missing_bytes: what the card lacks; 0 if the run fits; None if `fits` is, and if memory is not what stops it.
        memory: the bytes at the peak by kind (weights, gradients, kept ...); {} if the run was not replayed.
        peak_at: the operation at the peak; "" if it was not worked out.
        refused: why CUDA cannot launch an operation, whatever the memory; "" if it can.
        recomputed_flops: the FLOPs of products that one rank computes again in a step, in second forwards of checkpointed blocks.
        sent_bytes: what one rank sends in a step.
        step_ms: the time of a step: `compute_ms`, `recompute_ms`, and `communication_ms` if it is known. None without a device,
            as are the others.
        compute_ms: forwards, backwards and the optimizer's step, by the roofline.
        recompute_ms: the second forwards of checkpointed blocks.
        communication_ms: communication that no compute hides; None if it is not known.
        images_per_s: of all GPUs together.
        cost_per_step: of all GPUs together, in the money of the price; None without a price.
        cost_per_1000_images: the same of 1,000 images.
        is_front: whether no other choice on the card is as fast and takes as little memory.
    """

    device: str
    strategy: str
    precision: str
    checkpointing: str
    attention: str
    batch_size: int
    accumulate: int
    set: tuple[str, ...]
    fits: bool | None
    least_bytes: int
    live_bytes: int | None
    allocated_bytes: int | None
    reserved_bytes: int | None
    missing_bytes: int | None
    memory: dict[str, int]
    peak_at: str
    refused: str
    recomputed_flops: int
    sent_bytes: int
    step_ms: float | None
    compute_ms: float | None
    recompute_ms: float | None
    communication_ms: float | None
    images_per_s: float | None
    cost_per_step: float | None
    cost_per_1000_images: float | None
    is_front: bool

    @property
    def taken_bytes(self) -> int:
        """What the card has to have: what the allocator reserves, where that is known, else what is live; 0 if neither is."""
        return (self.live_bytes or 0) if self.reserved_bytes is None else self.reserved_bytes


@dataclass(frozen=True, kw_only=True)
class PlanCard:
    """A card that is compared.

    Attributes:
        device: its name; "" if only its memory is known.
        memory_bytes: its memory; of one that may take less, that and what a process cannot use.
        usable_bytes: what a process has of it for tensors.
        price: of a GPU-hour, as the user gave it; None without one.
        fitting: choices that were found to fit.
        too_large: choices that were found not to.
        not_replayed: choices of which it was not worked out, because another is as fast and takes less memory.
        best: the fastest choice that fits, by its number in `choices`; None if nothing fits.
        nearest: the choice that lacks the least memory, where nothing fits.
        nodes: the machines that the GPUs fill, by how many GPUs the device file says a machine has; None without a device.
        network_bytes_per_s: what each GPU can send to other machines, by the device file; None if it does not say.
        is_beaten: whether another card is as fast and as cheap; without prices, as fast.
    """

    device: str
    memory_bytes: int
    usable_bytes: int
    price: float | None
    fitting: int
    too_large: int
    not_replayed: int
    best: int | None
    nearest: int | None
    nodes: int | None
    network_bytes_per_s: float | None
    is_beaten: bool

    @property
    def name(self) -> str:
        """The name of the device, or its memory: "a100_80", "24.00 GiB"."""
        return self.device or format_bytes(self.usable_bytes)


@dataclass(frozen=True, kw_only=True)
class PlanSize:
    """The largest image and batch that train on a card of a size; None: not even the smallest.

    Attributes:
        gigabytes: the size as it is sold, such as 24.
        device: a card of that size.
        usable_bytes: what a process has of it for tensors.
        image_size: (height, width) of the largest image, at the config's batch.
        batch_size: the largest batch, at the config's image size.
    """

    gigabytes: int
    device: str
    usable_bytes: int
    image_size: Size | None
    batch_size: int | None


@dataclass(frozen=True, kw_only=True)
class Plan(Shown):
    """The answer of `samattn plan`.

    Attributes:
        config: the encoder; its run has the keys that no choice changes.
        reference: the file or preset of the config, for commands.
        overrides: what replaced its keys, each "image_size=512".
        gpus: ranks.
        global_batch: images of one step.
        cards: the cards that are compared, in their order.
        choices: all choices: those of the first card first; on a card the front first, from the fastest on, then the others.
        left_out: what was not tried, and why, a sentence each.
        sizes: for cards of several sizes, the largest image and batch; () if that was not asked.
    """

    config: EncoderConfig
    reference: str
    overrides: tuple[str, ...]
    gpus: int
    global_batch: int
    cards: tuple[PlanCard, ...]
    choices: tuple[PlanChoice, ...]
    left_out: tuple[str, ...]
    sizes: tuple[PlanSize, ...] = ()
    kind: Literal["plan"] = "plan"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__

    @property
    def fits(self) -> bool:
        """Whether something fits a card."""
        return any(card.best is not None for card in self.cards)

    def of(self, card: PlanCard) -> tuple[PlanChoice, ...]:
        """The choices on a card."""
        return tuple(choice for choice in self.choices if choice.device == card.device)
