"""A device: the figures of its datasheet, each with its source, and the shares of them that were measured.

Datasheet figures are at the top of a device file, and each has a source. Measured shares of these figures are under
``calibrated:``. A file without this section is a datasheet.
"""

from __future__ import annotations

from ..encoder.keys import TEXT, key, number, whole
from ..records import dataclass

MEMORY = whole(1 << 20, 1 << 50)
RATE = number(1e6, 1e18)  # above a million: 989 is not FLOP/s
MICROSECONDS = number(0, 1e6)
SHARE = number(0, 1)
MOST_CACHED = 10
CACHED_SHARE = number(0, MOST_CACHED)
CAPABILITY = number(1, 99)
NUMBER_OF_GPUS = whole(1, 1 << 16)
DIGITS = 4
"""The significant digits of a measured factor in a device file."""

SOURCE = "NVIDIA H100 datasheet, SXM5: 3.35 TB/s"


@dataclass(frozen=True, kw_only=True)
class PeakFlops:
    """Peak FLOP/s of matrix products by type: dense, without sparsity, with float32 accumulate."""

    float32: float = key(RATE, "FLOP/s in float32, without TF32.", example=66.9e12)
    tf32: float | None = key(
        RATE,
        "FLOP/s of float32 products on TF32 units; left out where there are none.",
        example=494.7e12,
        default=None,
    )
    bfloat16: float | None = key(
        RATE, "FLOP/s in bfloat16; left out where there are none.", example=989.4e12, default=None
    )
    float16: float | None = key(
        RATE, "FLOP/s in float16; left out where there are none.", example=989.4e12, default=None
    )


@dataclass(frozen=True, kw_only=True)
class PeakSources:
    """The source of each of `PeakFlops`."""

    float32: str = key(TEXT, "Source of peak_flops.float32.", example=SOURCE, default="")
    tf32: str = key(TEXT, "Source of peak_flops.tf32.", example=SOURCE, default="")
    bfloat16: str = key(TEXT, "Source of peak_flops.bfloat16.", example=SOURCE, default="")
    float16: str = key(TEXT, "Source of peak_flops.float16.", example=SOURCE, default="")


@dataclass(frozen=True, kw_only=True)
class Interconnect:
    """What connects GPUs, per GPU and direction; None: not known, or there is none."""

    gpus_per_node: int = key(
        NUMBER_OF_GPUS,
        "GPUs of a node. NVLink or PCIe connects them, and the network connects nodes.",
        example=8,
        default=8,
    )
    nvlink_gpus: int | None = key(
        NUMBER_OF_GPUS,
        "GPUs that NVLink connects, such as 2 by a bridge; left out where it connects all of a node.",
        example=2,
        default=None,
    )
    nvlink_bytes_per_s: float | None = key(
        RATE,
        "Bandwidth of NVLink, per GPU and direction: half of the total that a datasheet gives; left out where there is none.",
        example=450e9,
        default=None,
    )
    pcie_bytes_per_s: float | None = key(
        RATE,
        "Bandwidth of PCIe, per GPU and direction: half of the total that a datasheet gives.",
        example=64e9,
        default=None,
    )
    network_bytes_per_s: float | None = key(
        RATE,
        "Bandwidth of the network, per GPU and direction: that of a node divided by its GPUs. 400 Gbit/s are 50e9.",
        example=50e9,
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class InterconnectSources:
    """The source of each of `Interconnect`."""

    gpus_per_node: str = key(TEXT, "Source of interconnect.gpus_per_node.", example=SOURCE, default="")
    nvlink_gpus: str = key(TEXT, "Source of interconnect.nvlink_gpus.", example=SOURCE, default="")
    nvlink_bytes_per_s: str = key(
        TEXT, "Source of interconnect.nvlink_bytes_per_s.", example=SOURCE, default=""
    )
    pcie_bytes_per_s: str = key(TEXT, "Source of interconnect.pcie_bytes_per_s.", example=SOURCE, default="")
    network_bytes_per_s: str = key(
        TEXT, "Source of interconnect.network_bytes_per_s.", example=SOURCE, default=""
    )


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The source of each figure: a document and the place in it, or that the figure is an estimate."""

    memory_bytes: str = key(TEXT, "Source of memory_bytes.", example=SOURCE, default="")
    reserved_bytes: str = key(TEXT, "Source of reserved_bytes.", example=SOURCE, default="")
    bandwidth_bytes_per_s: str = key(TEXT, "Source of bandwidth_bytes_per_s.", example=SOURCE, default="")
    launch_overhead_us: str = key(TEXT, "Source of launch_overhead_us.", example=SOURCE, default="")
    vector_flops: str = key(TEXT, "Source of vector_flops.", example=SOURCE, default="")
    compute_capability: str = key(TEXT, "Source of compute_capability.", example=SOURCE, default="")
    multiprocessors: str = key(TEXT, "Source of multiprocessors.", example=SOURCE, default="")
    threads_per_multiprocessor: str = key(
        TEXT, "Source of threads_per_multiprocessor.", example=SOURCE, default=""
    )
    peak_flops: PeakSources = key(
        PeakSources, "Sources of peak_flops.", example={"float32": SOURCE}, default=PeakSources()
    )
    interconnect: InterconnectSources = key(
        InterconnectSources,
        "Sources of interconnect.",
        example={"pcie_bytes_per_s": SOURCE},
        default=InterconnectSources(),
    )


@dataclass(frozen=True, kw_only=True)
class ProductShares:
    """Share of the unit's peak that each kind of product was measured to reach; None: not measured."""

    linear: float | None = key(SHARE, "Share of peak of linear layers.", example=0.7, default=None)
    matmul: float | None = key(SHARE, "Share of peak of batched products.", example=0.4, default=None)
    conv2d: float | None = key(SHARE, "Share of peak of convolutions.", example=0.5, default=None)
    sdpa: float | None = key(SHARE, "Share of peak of attention kernels.", example=0.5, default=None)


@dataclass(frozen=True, kw_only=True)
class TrafficShares:
    """Share of the memory bandwidth that was measured; above 1 where a cache helps; None: not measured."""

    elementwise: float | None = key(
        CACHED_SHARE, "Share of bandwidth of products and elementwise operations.", example=0.85, default=None
    )
    copy: float | None = key(
        CACHED_SHARE,
        "Share of bandwidth of copies, padding, gathers and concatenations.",
        example=0.6,
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured on the device, in runs whose linear layers use one unit."""

    recorded_on: str = key(
        TEXT,
        "The device, driver, torch and date of the measurement.",
        example="H100 80GB HBM3, torch 2.13.0, 2026-11-22",
    )
    compute: ProductShares = key(
        ProductShares, "Shares of peak by kind of product.", example={"linear": 0.7}, default=ProductShares()
    )
    memory: TrafficShares = key(
        TrafficShares, "Shares of bandwidth.", example={"elementwise": 0.85}, default=TrafficShares()
    )
    launch_overhead_us: float | None = key(
        MICROSECONDS,
        "Microseconds that each kernel takes beyond its work.",
        example=3,
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Calibrations:
    """What was measured on the device, by the unit of the run; None: not measured."""

    float32: Calibration | None = key(
        Calibration, "Runs in float32.", example={"recorded_on": "..."}, default=None
    )
    tf32: Calibration | None = key(
        Calibration, "Runs in float32 with TF32 products.", example={"recorded_on": "..."}, default=None
    )
    bfloat16: Calibration | None = key(
        Calibration, "Runs in bfloat16.", example={"recorded_on": "..."}, default=None
    )
    float16: Calibration | None = key(
        Calibration, "Runs in float16.", example={"recorded_on": "..."}, default=None
    )


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU or CPU: the figures of its datasheet, and what was measured on it."""

    # load_device checks the values; the constructor does not.

    name: str = key(TEXT, "Its name; by default the name of the file.", example="h100", default="device")
    description: str = key(TEXT, "Its full name.", example="NVIDIA H100 SXM5 80 GB", default="")
    memory_size: str = key(TEXT, "Its memory as the maker names it.", example="80 GB")
    memory_bytes: int = key(
        MEMORY, "Its memory, as torch.cuda.get_device_properties reports it.", example=85_029_027_840
    )
    reserved_bytes: int = key(
        whole(0, 1 << 50),
        "What a process cannot use of it: CUDA context, libraries.",
        example=500_000_000,
    )
    bandwidth_bytes_per_s: float = key(RATE, "Peak bandwidth of its memory.", example=3.35e12)
    launch_overhead_us: float = key(
        MICROSECONDS,
        "Microseconds that a kernel of eager PyTorch takes beyond its work.",
        example=5,
    )
    vector_flops: float = key(
        RATE,
        "Peak FLOP/s of elementwise work: float32 on CUDA cores, not tensor cores.",
        example=66.9e12,
    )
    peak_flops: PeakFlops = key(
        PeakFlops,
        "Peak FLOP/s of products by type, dense.",
        example={"float32": 66.9e12},
    )
    compute_capability: float | None = key(
        CAPABILITY,
        "CUDA compute capability, for dry runs; left out of what is not a CUDA device.",
        example=9.0,
        default=None,
    )
    multiprocessors: int | None = key(
        whole(1, 1 << 16), "Streaming multiprocessors, for dry runs.", example=132, default=None
    )
    threads_per_multiprocessor: int | None = key(
        whole(32, 1 << 16), "Resident threads of a multiprocessor, for dry runs.", example=2048, default=None
    )
    interconnect: Interconnect = key(
        Interconnect,
        "What connects several of them; left out where it is not known.",
        example={"pcie_bytes_per_s": 64e9},
        default=Interconnect(),
    )
    sources: Sources = key(Sources, "Where each figure is from.", example={"memory_bytes": SOURCE})
    calibrated: Calibrations = key(
        Calibrations,
        "What was measured on it, as shares of the figures above.",
        example={"bfloat16": {"recorded_on": "..."}},
        default=Calibrations(),
    )

    @property
    def usable_bytes(self) -> int:
        """The memory in bytes that one process has for tensors."""
        return self.memory_bytes - self.reserved_bytes
