"""When each operation of a pass in the run's mode runs on a device: one after another, on one stream."""

from __future__ import annotations

from collections.abc import Iterator

from ..device.roofline import op_time
from ..encoder.model import Section
from ..reports.op_span import OpSpan
from ..tape.ops import Op
from .passes import Passes


def op_spans(passes: Passes) -> tuple[OpSpan, ...]:
    """The kernels of a pass in order, with their times; () without a device.

    Those of a training step are the micro-batches', each a forward and a backward, then the optimizer's step.
    """
    if passes.device is None:
        return ()
    return tuple(_spans(passes))


def _spans(passes: Passes) -> Iterator[OpSpan]:
    start = 0.0
    for (layer, phase), op in _in_order(passes):
        assert passes.device is not None  # noqa: S101 - for the type checker
        time = op_time(op, passes.device, passes.config.run)
        yield OpSpan(
            layer,
            phase,
            op.name,
            op.kind,
            start,
            time.time_ms,
            time.bound,  # type: ignore[arg-type]
            op.flops,
            op.elementwise_flops,
            op.bytes_read + op.bytes_written,
        )
        start += time.time_ms


def _in_order(passes: Passes) -> Iterator[tuple[Section, Op]]:
    """The kernels, in the order of the run: the backward goes from the last segment to the first."""
    sections = passes.sections
    ahead = [section for section in sections if section[1] == "forward"]
    back = [section for section in reversed(sections) if section[1] == "backward"]
    last = [section for section in sections if section[1] == "step"]
    for section in (*(ahead + back) * passes.rounds, *last):
        yield from ((section, op) for op in sections[section] if op.is_kernel)
