"""How long an operation takes on a device, by the roofline: the larger of compute and memory time, plus launch.

Source of the model: Williams, Waterman, Patterson, "Roofline", Communications of the ACM 52(4), 2009. Conventions:

- Compute time: FLOPs of products over the peak of the unit they run on, or elementwise FLOPs over that of the CUDA
  cores, whichever is longer; a kernel with both (an attention kernel, a bias) uses both at once. A peak counts a
  multiply-add as two, so elementwise work can reach half of it; memory bounds such work long before.
- Memory time: bytes read and written, each operand once, over the peak bandwidth. Caches are ignored: data in a cache is
  read faster than this.
- Launch: a fixed time for each kernel is added. The CPU launches kernels ahead of the GPU, so a long kernel hides most of
  the next launch, and the sum is too long by a few microseconds. A kernel that is shorter than its launch waits for the
  CPU; this is what "launch" bound means here. Each operation is one kernel; freeing memory is not a kernel.
- No kernel reaches the figures of a datasheet, so times are too short. If the device file has a calibration for the run,
  each peak is multiplied by the measured share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from ..encoder.model import RunConfig
from ..errors import UsageError
from ..records import dataclass
from ..tape.ops import Op
from ..tape.symbols.formula import Values, larger
from ..units import MS_PER_SECOND
from .model import Calibration, Device, ProductShares

US_PER_MS = 1e3
BOUNDS = ("compute", "memory", "launch")
PRODUCTS = tuple(field.name for field in fields(ProductShares))
MOVES = frozenset({"copy", "pad", "gather", "index", "cat"})
"""Kinds that only move numbers; all others read and write memory in order, as elementwise work does."""

NOT_MEASURED = Calibration(recorded_on="")


@dataclass(frozen=True)
class OpTime:
    """The three times of one operation, and which of them come from measured figures.

    The times are numbers, or arrays with one number for each point of a sweep; for arrays only `time_ms` is used.
    """

    compute_ms: Values
    memory_ms: Values
    launch_ms: float
    calibrated_compute: bool = True
    calibrated_memory: bool = True
    calibrated_launch: bool = True

    @property
    def time_ms(self) -> Values:
        """The larger of compute and memory time, plus launch."""
        return larger(self.compute_ms, self.memory_ms) + self.launch_ms

    @property
    def bound(self) -> str:
        """The largest of the three: "compute", "memory" or "launch"."""
        times = (self.compute_ms, self.memory_ms, self.launch_ms)
        return BOUNDS[times.index(max(times))]

    @property
    def calibrated(self) -> bool:
        """Whether the times that it consists of come from measured figures."""
        longer = self.calibrated_compute if self.compute_ms > self.memory_ms else self.calibrated_memory
        return self.calibrated_launch and longer


@dataclass(frozen=True)
class LayerTime:
    """The time of operations that run one after another.

    Attributes:
        ms: the sum of their times.
        bound: what bounds most of that time.
        share_of_peak: FLOP/s of the products, over the peak of the unit that they run on.
        calibrated_share: the share of the time that comes from measured figures; the rest comes from the datasheet.
    """

    ms: float
    bound: str
    share_of_peak: float
    calibrated_share: float

    @property
    def calibrated(self) -> bool:
        """Whether all of the time comes from measured figures."""
        return self.calibrated_share == 1.0


def layer_time(
    ops: Iterable[Op], device: Device, run: RunConfig, known: dict[Op, OpTime] | None = None
) -> LayerTime:
    """The time of `ops`, one after another, in a run on a device.

    Args:
        ops: the operations.
        device: the device.
        run: the run.
        known: the times of operations on that device in that run, to which new ones are added.

    Raises:
        UsageError: if the device has no units for the dtype of the run.
    """
    known = {} if known is None else known
    kernels = []
    for op in ops:
        if op.is_kernel:
            if op not in known:
                known[op] = op_time(op, device, run)
            kernels.append((op, known[op]))
    due = dict.fromkeys(BOUNDS, 0.0)
    for _, time in kernels:
        due[time.bound] += time.time_ms
    total_ms = sum(time.time_ms for _, time in kernels)
    at_peak_ms = sum(product_ms(op, device, run) for op, _ in kernels)
    return LayerTime(
        ms=total_ms,
        bound=max(BOUNDS, key=due.__getitem__),
        share_of_peak=_share(at_peak_ms, total_ms),
        calibrated_share=1.0
        if all(time.calibrated for _, time in kernels)
        else _share(sum(time.time_ms for _, time in kernels if time.calibrated), total_ms),
    )


def _share(part_ms: float, whole_ms: float) -> float:
    return part_ms / whole_ms if whole_ms else 0.0


def op_time(op: Op, device: Device, run: RunConfig) -> OpTime:
    """The time of one operation in a run on a device.

    Raises:
        UsageError: if the device has no units for the dtype of the run.
    """
    if not op.is_kernel:
        return OpTime(0.0, 0.0, 0.0)
    measured = calibration(device, run) or NOT_MEASURED
    compute, memory, launch = _shares(op, measured)
    return OpTime(
        compute_ms=larger(product_ms(op, device, run) / (compute or 1), vector_ms(op, device)),
        memory_ms=memory_ms(op, device) / (memory or 1),
        launch_ms=(device.launch_overhead_us if launch is None else launch) / US_PER_MS,
        calibrated_compute=compute is not None,
        calibrated_memory=memory is not None,
        calibrated_launch=launch is not None,
    )


def product_ms(op: Op, device: Device, run: RunConfig) -> Values:
    """The time of its products at the peak of their unit, in ms."""
    if isinstance(op.macs, int) and not op.macs:
        return 0.0
    return op.flops / peak_flops(op.kind, device, run) * MS_PER_SECOND


def vector_ms(op: Op, device: Device) -> Values:
    """The time of its elementwise work at the peak of the CUDA cores, in ms."""
    return op.elementwise_flops / device.vector_flops * MS_PER_SECOND


def memory_ms(op: Op, device: Device) -> Values:
    """The time of its memory traffic at the peak bandwidth, in ms."""
    return (op.bytes_read + op.bytes_written) / device.bandwidth_bytes_per_s * MS_PER_SECOND


def peak_flops(kind: str, device: Device, run: RunConfig) -> float:
    """Peak FLOP/s of the unit that a kind of product runs on.

    Raises:
        UsageError: if the device has no such units.
    """
    unit = unit_of(kind, device, run)
    peak: float | None = getattr(device.peak_flops, unit)
    if peak is None:
        types = [name for name in _units(device) if name != "tf32"]
        has = f"{', '.join(types[:-1])} and {types[-1]}" if len(types) > 1 else f"only {types[0]}"
        raise UsageError("no-such-unit", f"{device.name} has no {unit} units: it has {has}")
    return peak


def unit_of(kind: str, device: Device, run: RunConfig) -> str:
    """The unit that a kind of product runs on.

    It is the unit of the run's dtype, or of autocast's. Products in float32 use TF32 units if the device has them and
    ``run.tf32`` allows it. Convolutions always may: ``torch.backends.cudnn.allow_tf32`` is True by default,
    ``torch.backends.cuda.matmul.allow_tf32`` is not (PyTorch, notes/cuda.rst).
    """
    dtype = run.product_dtype
    in_tf32 = dtype == "float32" and (run.tf32 or kind == "conv2d") and "tf32" in _units(device)
    return "tf32" if in_tf32 else dtype


def calibration(device: Device, run: RunConfig) -> Calibration | None:
    """What was measured on the device in runs on the same unit, that of their linear layers; None if nothing was."""
    measured: Calibration | None = getattr(device.calibrated, unit_of("linear", device, run))
    return measured


def product_share(kind: str) -> str:
    """The name of the measured share for a kind of product: its own, or that of batched products if it has none."""
    return kind if kind in PRODUCTS else "matmul"


def traffic_share(kind: str) -> str:
    """The name of the measured share for the memory traffic of a kind."""
    return "copy" if kind in MOVES else "elementwise"


def _shares(op: Op, measured: Calibration) -> tuple[float | None, float | None, float | None]:
    """The measured shares of peak and of bandwidth, and the launch overhead in us; None where not measured."""
    has_products = not isinstance(op.macs, int) or op.macs > 0
    compute = getattr(measured.compute, product_share(op.kind)) if has_products else 1.0
    memory = getattr(measured.memory, traffic_share(op.kind))
    return compute, memory, measured.launch_overhead_us


def _units(device: Device) -> list[str]:
    return [
        field.name
        for field in fields(device.peak_flops)
        if getattr(device.peak_flops, field.name) is not None
    ]
