"""Sums over the operations of an inference forward, part by part, without the operations.

They need no memory and no graph, so what one part costs does not depend on where its inputs lie. A part is run again only
if something differs that its code reads: blocks are shared by encoders of any depth, necks by encoders of other windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any

from ..encoder.implementations import code_of
from ..encoder.model import EncoderConfig
from ..encoder.plan import OF_PART, LayerConfig, PartConfig
from ..encoder.reads import Known, Path, watching
from ..encoder.registry import version
from ..encoder.slots import first_output
from ..records import dataclass
from .driver import call
from .immutable import immutable
from .ops import Recording
from .sdpa_call import AMPERE, Target
from .settings import Settings, settings_of, tape_of, weights_of
from .storage import Dim, Storage
from .tensor import Tensor

SUMS = ("params", "macs", "flops", "elementwise_flops", "bytes_read", "bytes_written", "scores")
MOST = 4096
"""Parts that are kept, with one setting of the Tape; each takes about a kilobyte."""


@immutable(frozen=True, eq=False)
class Sums:
    """The sums of a recording: see `Recording`."""

    params: Dim
    macs: Dim
    flops: Dim
    elementwise_flops: Dim
    bytes_read: Dim
    bytes_written: Dim
    scores: Dim


@immutable(frozen=True, eq=False)
class CountedSegment:
    """A part or a block, and its sums; see `Segment`."""

    name: str
    layer: LayerConfig | None
    recording: Sums


@dataclass(frozen=True)
class CountedPass:
    """The sums of all parts and blocks, in order; see `ForwardPass`."""

    config: EncoderConfig
    segments: tuple[CountedSegment, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple([segment.name for segment in self.segments])

    @cached_property
    def of_blocks(self) -> Counter[Sums]:
        """The sums of its blocks, and how many blocks share each."""
        return Counter([segment.recording for segment in self.segments if segment.layer is not None])

    @cached_property
    def recordings(self) -> Counter[Sums]:
        """The sums of its parts and blocks."""
        return Counter([segment.recording for segment in self.segments])

    def segment(self, number: int) -> CountedSegment:
        """One of them."""
        return self.segments[number]

    def total(self, key: str) -> Dim:
        """The sum of a number over all parts and blocks."""
        return sum([getattr(segment.recording, key) for segment in self.segments])


Counted = tuple[Sums, tuple[Tensor, ...]]
"""The sums of a part, and its outputs."""


def counted(config: EncoderConfig, target: Target = AMPERE) -> CountedPass:
    """The sums of an inference forward on a target."""
    settings = settings_of(config, training=False, target=target)
    return CountedPass(config, tuple(_Counter(settings).segments()))


@lru_cache(maxsize=8)
def _known(*settings: Hashable) -> dict[Hashable, Known[Counted]]:  # noqa: ARG001 - for the cache
    """Parts that earlier encoders have run with the same settings of the Tape, by what enters and what they are."""
    return {}


class _Counter:
    """Walks through a plan."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.config = settings, settings.config
        self.code = code_of(settings.config)
        self.tape = tape_of(settings)
        self.known = _known(version(), *settings.of_tape)
        # blocks of this encoder, by the identities of what they are and of what enters, which lives as long
        self.of_kind: dict[Hashable, tuple[Counted, tuple[Tensor, ...]]] = {}

    def segments(self) -> Iterator[CountedSegment]:
        """The sums of each part and block."""
        plan = self.config.plan
        tapped = {name for part in plan for name in part.taps}
        outputs: dict[str, tuple[Tensor, ...]] = {}
        main = self.tape.tensor(*self.config.input_shape)
        for part in plan:
            entries = (main, *(tap for name in part.taps for tap in outputs[name]))
            sums, made = self._counted(part, entries)
            if tapped:  # a part may take several tensors, which lie in memory of their own
                made = _moved(made)
            main = made[0]
            if part.name in tapped:
                outputs[part.name] = made[1:] or made
            if first_output(part.name) in tapped:
                outputs[first_output(part.name)] = made[:1]
            yield CountedSegment(part.name, part if isinstance(part, LayerConfig) else None, sums)

    def _counted(self, part: PartConfig | LayerConfig, entries: tuple[Tensor, ...]) -> Counted:
        """The sums of a part, and its outputs."""
        trains = self.settings.freezes and part.name in self.config.trained
        if isinstance(part, PartConfig):
            return self._known_or_run(part, entries, (*OF_PART(part), trains, _lying(entries)))
        same = (*map(id, part.kind), trains, *map(id, entries))
        if same not in self.of_kind:
            made = self._known_or_run(part, entries, (*_OF_LAYER(part), trains, _lying(entries)))
            self.of_kind[same] = made, entries
        return self.of_kind[same][0]

    def _known_or_run(
        self, part: PartConfig | LayerConfig, entries: tuple[Tensor, ...], key: Hashable
    ) -> Counted:
        of_key = self.known.setdefault(key, Known())
        counted = of_key.find(part.config if isinstance(part, PartConfig) else part.stage)
        if counted is not None:
            return counted
        reads: dict[Path, Any] = {}
        counted = self._run(watching(part, reads), entries)
        if len(self.known) > MOST:
            self.known.clear()
        of_key.keep(reads, counted)
        return counted

    def _run(self, part: PartConfig | LayerConfig, entries: tuple[Tensor, ...]) -> Counted:
        tape, config = self.tape, self.config
        tape.last_used = ()
        with weights_of(tape, config, part.name, freezes=self.settings.freezes):
            result = call(tape, part, tuple(map(tape.entered, entries)), config.run.attention, self.code)
        recording: Recording = tape.recording()
        sums = Sums(*(getattr(recording, key) for key in SUMS))
        outputs = result if isinstance(result, tuple) else (result,)
        return sums, tuple(map(tape.entered, outputs))  # without the graph that made them


_OF_LAYER = attrgetter(
    *(name for name in LayerConfig.__annotations__ if name not in {"index", "stage_index", "stage"})
)
"""Read all of a block but its numbers and its stage."""


def _lying(entries: tuple[Tensor, ...]) -> Hashable:
    """How the inputs of a part lie in memory, and which of them in the same."""
    numbers = {id(entry.storage): number for number, entry in enumerate(entries)}
    return tuple(
        (
            entry.shape,
            entry.stride,
            entry.item_bytes,
            entry.grad_fn is None,
            entry.is_view,
            entry.storage.is_weight,
            entry.storage.is_on_host,
            numbers[id(entry.storage)],
        )
        for entry in entries
    )


def _moved(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs of a part in memory of their own, as each run of it would make them."""
    storages = {id(output.storage): _copied(output.storage) for output in outputs}
    return tuple([output.stored_in(storages[id(output.storage)]) for output in outputs])


def _copied(storage: Storage) -> Storage:
    return Storage(storage.nbytes, storage.is_weight, storage.is_on_host)
