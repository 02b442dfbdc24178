"""The answer of `samattn analyze`."""

from __future__ import annotations

from typing import Literal

from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..encoder.placement import Kind
from ..figures import IN_MEMORY, names, of, with_keys
from ..records import dataclass
from ..verdicts import CrossCheck
from ..version import __version__
from . import SCHEMA_VERSION
from .memory_timeline import MemoryTimeline
from .op_span import OpSpan
from .other_sizes import OtherSizes
from .shown import Shown

Bound = Literal["compute", "memory", "launch"]
"""What limits the speed."""


@dataclass(frozen=True)
@with_keys(names(of("op")), "int | None")
class OpReport:
    """One operation of a layer or part. A tensor that several keep for backward counts in the first one's `saved_bytes`.

    `attention_kernel` is the kernel that torch runs for fused attention, and why a faster one does not run. `allocates_bytes`
    are those of its results, each rounded up to 512; `live_bytes` are live in the whole encoder before it, in a run of the
    mode (of several micro-batches, the last). Operations of the backward are those of a training run. Both are None in a trace.
    """

    name: str
    kind: str
    macs: int
    flops: int
    elementwise_flops: int
    params: int
    bytes_read: int
    bytes_written: int
    requested_bytes: int
    saved_bytes: int
    attention_kernel: str = ""
    phase: Literal["forward", "backward"] = "forward"
    allocates_bytes: int | None = None
    live_bytes: int | None = None


@dataclass(frozen=True)
class VsGlobal:
    """A layer compared with the same layer made global at the same resolution; above 1 the layer is cheaper."""

    scores_flops_ratio: float
    attention_flops_ratio: float
    layer_flops_ratio: float
    attention_bytes_saving: float


@dataclass(frozen=True, kw_only=True)
@with_keys(names(of("part")), "int | None")
class PartReport:
    """A part next to the blocks: an embedding, a transition between stages, a norm, the neck.

    It has a key for each figure of a part that `figures.py` defines; those that code names are written out.

    `peak_bytes` is of an inference forward, `training_bytes` of its forward and backward in a training step. The time is
    that of the run's mode on the device that was asked for, if any.
    """

    name: str
    params: int
    macs: int
    flops: int
    elementwise_flops: int
    saved_bytes: int
    peak_bytes: int
    peak_op: str
    training_bytes: int
    training_op: str
    latency_ms: float | None = None
    bound: Bound | None = None
    share_of_peak: float | None = None
    ops: tuple[OpReport, ...]


@dataclass(frozen=True, kw_only=True)
@with_keys(names(of("layer")), "int | None")
class LayerReport(PartReport):
    """One transformer block. Sizes are (height, width) in tokens; `windows` counts those of one image.

    `placement` is where it attends, in words: "global", "channels", "window 14x14", "7x7 shift 3", "4x4 windows".
    """

    index: int
    stage: int
    attention: Kind
    placement: str
    window_size: Size
    shift_size: Size = (0, 0)
    grid: Size
    padded_grid: Size
    windows: int
    num_heads: int
    attention_bytes: int
    attention_bytes_per_head: int
    vs_global: VsGlobal


@dataclass(frozen=True, kw_only=True)
@with_keys((name for name in names(of("encoder")) if name not in IN_MEMORY), "int | None")
class Figures:
    """What a whole encoder costs: `training_bytes` is the peak of a training step, `latency_ms` the time of a pass.

    It has a key for each figure of an encoder that `figures.py` defines, but for those of `IN_MEMORY`; those that code
    names are written out.
    """

    params: int
    macs: int
    flops: int
    elementwise_flops: int
    attention_bytes: int
    weights_bytes: int
    peak_bytes: int
    training_bytes: int
    latency_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
@with_keys(IN_MEMORY, "int | None")
class Costs(Figures):
    """The same, and what a run of its mode takes in the memory of a CUDA device; None without one.

    `allocated_bytes` is the most that torch's caching allocator allocates, `reserved_bytes` the most that it reserves. The
    kinds, such as `peak_weights_bytes`, sum to `allocated_bytes`.
    """

    allocated_bytes: int | None = None
    reserved_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Totals(Costs):
    """The encoder itself; `peak_at`, `training_at` and `allocated_at` are the operations at which memory peaks."""

    peak_at: str
    training_at: str
    allocated_at: str | None = None


@dataclass(frozen=True, kw_only=True)
@with_keys((figure.compared for figure in of("encoder") if figure.against), "float | None")
class Comparison(Figures):
    """The encoder with another placement of global layers, compared with this one.

    This one is cheaper if a ratio is above 1, or a saving above 0.
    """

    flops_ratio: float
    attention_bytes_saving: float
    peak_bytes_saving: float
    training_bytes_saving: float
    latency_ratio: float | None = None


@dataclass(frozen=True)
class Comparisons:
    """Compared with every layer global, and with every layer windowed (None if no layer has a window)."""

    vs_all_global: Comparison
    vs_all_window: Comparison | None


@dataclass(frozen=True)
class Share:
    """A share of the FLOPs: of qkv, scores, rel_pos, proj, mlp, other operations of blocks, or a part next to them."""

    part: str
    flops: int
    share: float


@dataclass(frozen=True)
class TrainingReport:
    """The memory of a training step: whole buffers, and the activations that are kept at the end of the forward.

    Bytes are those that the allocator takes, each tensor rounded up. `trained_params` counts weights with a gradient: not
    frozen ones, nor ones that nothing uses. `buckets_bytes` are DDP's; gradients that are views of them take no other memory.
    `average_bytes` are those of the moving average of the weights. `flops` are those of forward and backward, including what is computed again.
    `recomputed_flops` are those of the latter, and `recomputed_ms` is its time.
    `step_ms` is the time of a whole step on the device that was asked for: the forward, the backward and the optimizer's
    step, which belongs to no layer.
    """

    optimizer: str
    checkpointing: bool
    checkpointed_blocks: tuple[str, ...]
    weights_bytes: int
    trained_params: int
    gradients_bytes: int
    optimizer_bytes: int
    kept_bytes: int
    peak_bytes: int
    peak_at: str
    flops: int
    forward_ms: float | None = None
    backward_ms: float | None = None
    optimizer_ms: float | None = None
    step_ms: float | None = None
    recomputed_flops: int = 0
    recomputed_ms: float | None = None
    buckets_bytes: int = 0
    average_bytes: int = 0


@dataclass(frozen=True)
class CollectiveReport:
    """The collectives of a kind in a training step: all_reduce, all_gather, reduce_scatter or broadcast.

    `bytes` are those of the whole tensors, `sent_bytes` what each GPU sends for them.
    """

    kind: str
    calls: int
    bytes: int
    sent_bytes: int


@dataclass(frozen=True)
class CommunicationReport:
    """What the GPUs of a training step send each other.

    `sent_bytes` is what each of them sends. `link` ("NVLink", "PCIe" or "network") is what limits the rings of all GPUs of the device that
    was asked for, at `link_bytes_per_s` a GPU. `ms` is the sum of the times of the collectives. `exposed_ms` is by how much
    the step takes longer than its compute, which `latency_ms` and `step_ms` are. Times are None without a device, and if a
    bandwidth is not known.
    """

    gpus: int
    collectives: tuple[CollectiveReport, ...]
    sent_bytes: int
    link: str | None = None
    link_bytes_per_s: float | None = None
    ms: float | None = None
    exposed_ms: float | None = None


@dataclass(frozen=True)
class Change:
    """A change of the config, what to set for it, the peak of the run's mode with it, and whether that fits the device.

    `fits` is None where no device was asked for. Of the change that makes an encoder fit a CUDA device, `allocated_bytes` and
    `reserved_bytes` are what torch's caching allocator allocates and reserves at most; else they are None.
    """

    change: str
    set: tuple[str, ...]
    peak_bytes: int
    peak_bytes_saving: float
    fits: bool | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None

    @property
    def keeps_model(self) -> bool:
        """Whether it changes only how the encoder is run, not the encoder."""
        return all(setting.startswith(("run.", "implementation=")) for setting in self.set)


@dataclass(frozen=True)
class DeviceReport:
    """A device: whether the peak of the run's mode fits into the memory that a process can use, and the time of a pass.

    `allocated_bytes` is the most that torch's caching allocator allocates, with cuBLAS workspaces and internal
    allocations of operators; `reserved_bytes` is the most that it reserves on the device. `context_bytes` is what a process
    cannot use: the CUDA context and libraries. `nvidia_smi_bytes` estimates what nvidia-smi shows: reserved and context.
    These are None for a device that is not a CUDA device, but for the context. `fits` is whether the allocator finds room.
    `spare_bytes` is what `allocated_bytes` leaves free.
    `too_large` are the parts, layers and the optimizer's step in which more is live than that. `calibrated_share` of the
    time is by figures that were `recorded_on` the device, the rest by its datasheet. `refused` is why CUDA cannot launch one
    of the kernels; then the run does not fit. `stopped_at` is the first in time of what is too large, with its operation at
    which most is live; "" if it fits.
    """

    name: str
    description: str
    memory_size: str
    usable_bytes: int
    context_bytes: int
    spare_bytes: int
    allocated_bytes: int | None
    reserved_bytes: int | None
    nvidia_smi_bytes: int | None
    fits: bool
    too_large: tuple[str, ...]
    latency_ms: float
    calibrated_share: float
    recorded_on: str
    refused: str = ""
    stopped_at: str = ""


@dataclass(frozen=True)
class MemoryReport:
    """An amount of memory for tensors: whether the peak of the run's mode fits in it.

    `spare_bytes` is what the peak leaves free. `too_large` are the parts, layers and the optimizer's step in which more is
    live, and `stopped_at` is the first of them in time, with its operation at which most is live; "" if it fits. `refused`
    is why CUDA cannot launch one of the kernels; then the run does not fit.
    """

    usable_bytes: int
    spare_bytes: int
    fits: bool
    too_large: tuple[str, ...]
    refused: str = ""
    stopped_at: str = ""


@dataclass(frozen=True)
class Measured:
    """A measurement of exactly this config in a recording that ships with samattn: figures, or that memory ran out.

    `error` is (predicted - measured) / measured.
    """

    device: str
    kind: Literal["cuda", "cpu", "dry"]
    torch: str
    status: Literal["measured", "out of memory"]
    peak_bytes: int | None = None
    error: float | None = None
    latency_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None


@dataclass(frozen=True)
class PublishedFigure:
    """A figure that others published for exactly this encoder, as printed, compared with what samattn counts.

    `count` follows the `convention` that gives the figure (`words` describe it), and `equals` says whether it does, to the
    last printed digit. If no convention gives the figure, `count` is samattn's own count.
    """

    quantity: Literal["params", "macs", "flops"]
    figure: str
    unit: str
    source: str
    address: str
    convention: str
    words: str
    count: int
    equals: bool


@dataclass(frozen=True)
class AttentionKernel:
    """A kernel of scaled_dot_product_attention that layers run.

    Attributes:
        operation: its name in the layer.
        kernel: "cudnn", "flash", "efficient", "math".
        words: it in words, and why the kernels that torch prefers do not run.
        layers: the names of the layers.
        torch: the version of torch whose choice it is.
    """

    operation: str
    kernel: str
    words: str
    layers: tuple[str, ...]
    torch: str


@dataclass(frozen=True)
class Finding:
    """Something that a reader would want pointed out, in plain words."""

    code: str
    message: str


@dataclass(frozen=True)
class Analysis(Shown):
    """The answer of `samattn analyze`.

    `memory` is for an amount of memory that was asked for. `other_sizes`, `timeline` and `op_spans` are None where they were not asked for. `fix` is the change, or else the pair of changes, that makes a
    run fit that does not fit the device or the memory; None if it fits, and if no such change was found.
    """

    config: EncoderConfig
    totals: Totals
    layers: tuple[LayerReport, ...]
    parts: tuple[PartReport, ...]
    shares: tuple[Share, ...]
    comparison: Comparisons
    training: TrainingReport
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    crosscheck: CrossCheck
    device: DeviceReport | None = None
    communication: CommunicationReport | None = None
    measured: tuple[Measured, ...] = ()
    published: tuple[PublishedFigure, ...] = ()
    attention_kernels: tuple[AttentionKernel, ...] = ()
    memory: MemoryReport | None = None
    fix: Change | None = None
    other_sizes: OtherSizes | None = None
    timeline: MemoryTimeline | None = None
    op_spans: tuple[OpSpan, ...] | None = None
    kind: Literal["analysis"] = "analysis"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__


def layer_of(stopped_at: str, too_large: tuple[str, ...]) -> str:
    """The part or layer of those that are too large in which a run stops; where it stops, if that is in none of them."""
    return next(
        (name for name in too_large if f"{stopped_at} ".startswith((f"{name}.", f"{name} "))), stopped_at
    )
