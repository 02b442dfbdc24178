"""The cross-check of one encoder: what the Tape claims, against the real stack."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

from ..config.model import EncoderConfig
from ..cost.conventions import counts, flop_counter, fvcore
from ..cost.encoder import ForwardPass, forward
from ..cost.memory import live_over, walk
from ..cost.tape import Recording, parameter_elements
from ..report import Claims, CrossCheck, NamedNumber

NEEDED = ("torch", "fvcore")
MOST_BYTES = (1 << 63) - 1


def missing_packages() -> list[str]:
    """The packages of the cross-check that are not installed; nothing is imported."""
    return [name for name in NEEDED if find_spec(name) is None]


def verify(config: EncoderConfig, *, every_layer: bool = True) -> CrossCheck:
    """Cross-check the Tape against the real stack of `config`.

    Args:
        config: the encoder.
        every_layer: run each block of the real stack; else one of each kind, whose numbers stand for its twins.

    Returns:
        The verdicts; "skipped" with the reason where torch or fvcore is not installed, or where a tensor is larger
        than torch can address.
    """
    missing = missing_packages()
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return CrossCheck.not_run("skipped", f"{' and '.join(missing)} {verb} not installed")
    forward_pass = forward(config)
    largest = _largest_tensor(forward_pass)
    if largest > MOST_BYTES:
        return CrossCheck.not_run("skipped", f"a tensor of {largest:,} bytes is more than torch can address")
    from ..nn.crosscheck import crosscheck

    return crosscheck(config, claims_of(forward_pass), every_layer=every_layer)


def _largest_tensor(forward_pass: ForwardPass) -> int:
    """Bytes of the largest tensor of a pass: the input, a weight or what an operation makes."""
    recordings = {segment.recording for segment in forward_pass.segments}
    weights = [
        parameter_elements(weight) * forward_pass.image.item_bytes
        for recording in recordings
        for weight in recording.parameters
    ]
    made = [storage.nbytes for recording in recordings for op in recording.ops for storage in op.allocates]
    return int(max(forward_pass.image.nbytes, *weights, *made))


def claims_of(forward_pass: ForwardPass) -> Claims:
    """What the Tape says, in the words of the tools that check it."""
    segments = forward_pass.segments
    memory = dict(zip((segment.name for segment in segments), walk(forward_pass), strict=True))
    return Claims(
        parameters={
            segment.qualified(parameter.name): tuple(parameter.shape)
            for segment in segments
            for parameter in segment.recording.parameters
        },
        fvcore=counts(forward_pass, fvcore),
        flop_counter=counts(forward_pass, flop_counter),
        peak_bytes={name: part.peak_bytes for name, part in memory.items()},
        saved_bytes={name: part.saved_bytes for name, part in memory.items()},
        allocations={segment.name: _allocations(segment.recording) for segment in segments},
        live={segment.name: live_over(segment.recording).steps for segment in segments},
        products={segment.name: _products(segment.recording) for segment in segments},
    )


@lru_cache(maxsize=64)
def _allocations(recording: Recording) -> tuple[NamedNumber, ...]:
    return tuple((op.name, storage.nbytes) for op in recording.ops for storage in op.allocates)


@lru_cache(maxsize=64)
def _products(recording: Recording) -> tuple[NamedNumber, ...]:
    return tuple((op.name, op.flops) for op in recording.ops if op.macs)
