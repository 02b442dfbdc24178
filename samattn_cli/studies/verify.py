"""The cross-check of one encoder: the claims of the Tape, compared with the real stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec

from ..encoder.model import EncoderConfig
from ..encoder.registry import REFERENCE
from ..records import replace
from ..tape.conventions import counts, flop_counter, fvcore
from ..tape.encoder import forward
from ..tape.memory import Liveness, live_over, walk
from ..tape.ops import Recording, parameter_elements
from ..tape.settings import without_parallel
from ..tape.training import TrainingStep, training_step
from ..verdicts import ClaimedPass, Claims, CrossCheck, NamedNumber
from .torch_version import too_old

NEEDED = ("torch", "fvcore")
MOST_BYTES = (1 << 63) - 1


def missing_packages() -> list[str]:
    """The packages of the cross-check that are not installed; none is imported."""
    return [name for name in NEEDED if find_spec(name) is None]


def how_to_install() -> str:
    """What is missing or too old for the cross-check, and the command that installs it; "" if nothing is."""
    missing = missing_packages()
    return f"{_not_installed(missing)}: pip install 'samattn[torch]'" if missing else too_old()


def _not_installed(missing: Sequence[str]) -> str:
    return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"


def verify(config: EncoderConfig, *, every_layer: bool = True) -> CrossCheck:
    """Cross-check the Tape against the real stack of `config`.

    Args:
        config: the encoder.
        every_layer: run every block of the real stack; else one of each kind, for all equal ones.

    Returns:
        The verdicts; "skipped" with the reason if torch or fvcore is not installed, if torch is older than the oldest
        that is tested, or if a tensor is larger than torch can address.
    """
    if missing := missing_packages():
        return CrossCheck.not_run("skipped", _not_installed(missing))
    if old := too_old():
        return CrossCheck.not_run("skipped", old)
    if config.run.is_fsdp:
        config = without_parallel(config)  # what one GPU computes is compared
    largest = _largest_tensor(training_step(config))
    if largest > MOST_BYTES:
        return CrossCheck.not_run("skipped", f"a tensor of {largest:,} bytes is more than torch can address")
    from ..stack.crosscheck import crosscheck

    return crosscheck(config, claims_of(config), every_layer=every_layer)


def _largest_tensor(step: TrainingStep) -> int:
    """Bytes of the largest tensor of a training step: the input, a weight or the result of an operation."""
    recordings = {*(segment.recording for segment in step.forward.segments), *step.recordings}
    image = step.forward.image
    weights = [
        parameter_elements(weight) * image.item_bytes
        for recording in recordings
        for weight in recording.parameters
    ]
    made = [storage.nbytes for recording in recordings for op in recording.ops for storage in op.allocates]
    return int(max(image.nbytes, *weights, *made))


def claims_of(config: EncoderConfig) -> Claims:
    """The claims of the Tape, in the terms of the tools that check them.

    Parameters and counts of modules are those of the reference, which is what is counted. An implementation has the same, by
    other names; each of its products is compared in the trace.
    """
    reference = forward(replace(config, implementation=REFERENCE))
    inference, step = forward(config, makes_graph=True), training_step(config)
    names = [segment.name for segment in inference.segments]
    recordings = [segment.recording for segment in inference.segments]
    memory = list(walk(inference))
    kept = [segment.recording for segment in step.forward.segments]
    return Claims(
        parameters={
            segment.qualified(parameter.name): tuple(parameter.shape)
            for segment in reference.segments
            for parameter in segment.recording.parameters
        },
        fvcore=counts(reference, fvcore),
        flop_counter=counts(reference, flop_counter),
        peak_bytes={name: part.peak_bytes for name, part in zip(names, memory, strict=True)},
        saved_bytes=dict(zip(names, step.saved_bytes, strict=True)),
        inference=_claimed(names, recordings, [part.liveness for part in memory]),
        training=_claimed(names, kept, step.kept),
        backward=_claimed(names[::-1], step.recordings[::-1], map(live_over, step.recordings[::-1])),
    )


def _claimed(names: Sequence[str], recordings: Sequence[Recording], live: Iterable[Liveness]) -> ClaimedPass:
    """The claims of a pass for each part, in the order of the pass."""
    lives = dict(zip(names, live, strict=True))
    return ClaimedPass(
        allocations=dict(zip(names, map(_allocations, recordings), strict=True)),
        live={name: liveness.steps for name, liveness in lives.items()},
        products=dict(zip(names, map(_products, recordings), strict=True)),
        change={name: liveness.change for name, liveness in lives.items()},
    )


@lru_cache(maxsize=64)
def _allocations(recording: Recording) -> tuple[NamedNumber, ...]:
    return tuple((op.name, storage.nbytes) for op in recording.ops for storage in op.allocates)


@lru_cache(maxsize=64)
def _products(recording: Recording) -> tuple[NamedNumber, ...]:
    return tuple((op.name, op.flops) for op in recording.ops if op.macs)
