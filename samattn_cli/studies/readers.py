"""How each figure of `figures.py` is read from an operation, from recordings and from the passes of an encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .. import figures
from ..encoder.model import EncoderConfig
from ..figures import Figure
from ..tape.counted import Sums
from ..tape.memory import peak_of
from ..tape.ops import Op, Recording
from ..tape.storage import Dim
from ..units import ITEM_BYTES

if TYPE_CHECKING:
    from .passes import Passes


def of_op(figure: Figure, op: Op) -> Dim:
    """A figure that is a sum over operations, for one operation."""
    return sum(getattr(op, key) for key in figure.op_keys)


def of_recordings(figure: Figure, recordings: Iterable[Recording | Sums]) -> Dim:
    """The same figure for all operations of some recordings."""
    return sum(getattr(recording, key) for recording in recordings for key in figure.op_keys)


def attention_bytes(config: EncoderConfig, recording: Recording | Sums) -> Dim:
    """Bytes of a block's score matrices, all heads, windows and images, padding included, as eager attention makes them."""
    return recording.scores * ITEM_BYTES[config.run.product_dtype]


def weights_bytes(config: EncoderConfig, recording: Recording | Sums) -> Dim:
    """Bytes of the parameters of a part or block."""
    return recording.params * ITEM_BYTES[config.run.dtype]


OF_RECORDING: dict[str, Callable[[EncoderConfig, Recording | Sums], Dim]] = {
    "attention_bytes": attention_bytes,
    "weights_bytes": weights_bytes,
}
"""Figures of a part or block that are read from its whole forward."""

COUNTED = frozenset(
    figure.name for figure in figures.FIGURES.values() if figure.op_keys and not figure.by_mode
) | {*OF_RECORDING}
"""Figures that add up over the operations of a forward."""


def is_of_parts(figure: Figure) -> bool:
    """Whether parts have the figure too, so that it adds up over parts and layers."""
    return "part" in figure.of or "layer" not in figure.of


def of_segment(figure: Figure, passes: Passes, number: int) -> Dim:
    """A figure that adds up over parts and layers, for one of them by its number."""
    segment = passes.counted.segment(number)
    if len(figure.op_keys) == 1 and not figure.by_mode:  # the fast path for most figures: analyze reads many
        return getattr(segment.recording, figure.op_keys[0])
    if figure.op_keys:
        return of_recordings(figure, passes.recordings[number] if figure.by_mode else (segment.recording,))
    if segment.layer is None and not is_of_parts(figure):
        return 0
    return OF_RECORDING[figure.name](passes.config, segment.recording)


def _summed(figure: Figure) -> Callable[[Passes], Dim]:
    """A reader of an encoder's figure that adds up over its parts and layers."""

    def read(passes: Passes) -> Dim:
        if figure.name not in passes.sums:
            passes.sums[figure.name] = _sum(figure, passes)
        return passes.sums[figure.name]

    return read


def _sum(figure: Figure, passes: Passes) -> Dim:
    if figure.op_keys and figure.by_mode and passes.trains:
        of_run = Counter(passes.recordings).items()
        in_segments = sum(many * of_recordings(figure, recordings) for recordings, many in of_run)
        return in_segments + of_op(figure, passes.step.optimizer_op)
    if figure.op_keys:
        return sum(passes.counted.total(key) for key in figure.op_keys)
    counted, read = passes.counted, OF_RECORDING[figure.name]
    recordings = counted.recordings if is_of_parts(figure) else counted.of_blocks
    return sum(many * read(passes.config, recording) for recording, many in recordings.items())


def _of_kind(kind: str, passes: Passes) -> int | None:
    """The bytes of a kind at the peak of what a run allocates; None without a CUDA device."""
    kinds = passes.in_memory and passes.in_memory.kinds
    return None if kinds is None else getattr(kinds, kind)


OF_ENCODER: dict[str, Callable[[Passes], Dim]] = {
    "peak_bytes": lambda passes: peak_of(passes.memory),
    "training_bytes": lambda passes: passes.step.peak_bytes,
    "communication_bytes": lambda passes: 0 if passes.sent is None else passes.sent.bytes,
    "latency_ms": lambda passes: passes.latency and passes.latency.ms,
    "allocated_bytes": lambda passes: passes.in_memory and passes.in_memory.allocated_bytes,
    "reserved_bytes": lambda passes: passes.in_memory and passes.in_memory.reserved_bytes,
} | {figure: partial(_of_kind, kind) for kind, figure in figures.KINDS_AT_PEAK.items()}

FIGURES: dict[str, Callable[[Passes], Dim]] = {
    figure.name: OF_ENCODER.get(figure.name) or _summed(figure) for figure in figures.of("encoder")
}
"""A reader for each figure of the encoder."""

PEAK_AT: dict[str, Callable[[Passes], str | None]] = {
    "peak_bytes": attrgetter("peak_at"),
    "training_bytes": attrgetter("step.peak_at"),
    "allocated_bytes": attrgetter("allocated_at"),
}
"""A reader for the operation at which each peak occurs."""


def _saving(name: str) -> Callable[[Passes, Passes], Any]:
    """How much smaller a figure is than in another encoder, as a share."""
    return lambda this, other: 1 - FIGURES[name](this) / FIGURES[name](other)


def _ratio(name: str) -> Callable[[Passes, Passes], Any]:
    """How many times larger a figure is in another encoder."""

    def ratio(this: Passes, other: Passes) -> Any:
        ours, theirs = FIGURES[name](this), FIGURES[name](other)
        return theirs / ours if ours and theirs else None

    return ratio


COMPARED: dict[str, Callable[[Passes, Passes], Any]] = {
    figure.compared: {"ratio": _ratio, "saving": _saving}[figure.against](figure.name)
    for figure in figures.FIGURES.values()
    if figure.against
}
"""A reader for each comparison of two encoders in a `Comparison`."""
