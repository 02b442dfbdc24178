"""Settings that nobody gave, solved for: the batch size, the type, the kernel, the mode, the number of patches.

The requests of a run are replayed at a batch of one image and of two. Their sizes, and what is live before each, grow in equal
steps with the batch, so those two give them at every other. What is found is replayed again by its own numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ...encoder.kernels import takes
from ...encoder.model import EncoderConfig
from ...records import dataclass
from ...reports.oom import OomMessage
from ...tape.allocator import LARGEST_SMALL, LEAST_OWN, OWN_STEP, SHARED_SEGMENT, SMALL_SEGMENT
from ...units import format_things
from ..passes import Passes
from ..placements.placing import problem_of
from ..points import Array
from .chance import Chance
from .places import OLD_STEP, has_step, run_of, with_run

if TYPE_CHECKING:
    from ...tape.inside import Cuda
    from ...tape.timeline import Asked, Note, Timeline

MOST_BATCH = 64
MOST_SMALL = 1024
SMALL_GRID = 1024
"""Encoders of at most so many patches are run in batches of up to `MOST_SMALL`."""
MOST_LIVE = 192 << 30
ROOM = 0.01
"""An encoder may hold this share more than a message says before the message contradicts it."""
ALIKE = 1.1
"""Two images may take this much more operations than one: a copy here and there."""
AXES: Mapping[str, tuple[Any, ...]] = {
    "mode": ("inference", "training"),
    "attention": ("eager", "sdpa"),
    "dtype": ("float32", "bfloat16"),
}
SECOND = frozenset({"mode", "attention"})
"""Axes that are solved for only if nothing fits with the config's own."""


@dataclass(frozen=True)
class Setting:
    """An encoder run otherwise: what differs from the config, by the keys of `run`."""

    config: EncoderConfig
    keys: tuple[tuple[str, Any], ...]

    @property
    def words(self) -> str:
        """In words."""
        return ", ".join(_in_words(key, value) for key, value in self.keys)

    @property
    def options(self) -> tuple[str, ...]:
        """As settings of the config."""
        return tuple(
            f"{key}={value}" if key == "image_size" else f"run.{key}={value}"
            for key, value in self.keys
            if key != "patches"
        )


def _in_words(key: str, value: Any) -> str:
    """A key and its value: "6 images", "64,680 patches", "training"."""
    if key == "batch_size":
        return format_things(value, "image")
    if key == "patches":
        return f"{value:,} patches"
    return (
        f"image {value}"
        if key == "image_size"
        else f"{value} attention"
        if key == "attention"
        else str(value)
    )


def settings_of(config: EncoderConfig, given: frozenset[str]) -> Iterator[Setting]:
    """The settings of the axes that are not given, the config's own first."""
    run = config.run
    axes = {
        key: (getattr(run, key),)
        if key in given
        else (getattr(run, key), *(value for value in values if value != getattr(run, key)))
        for key, values in AXES.items()
    }
    for values in product(*axes.values()):
        keys = dict(zip(axes, values, strict=True))
        if takes(keys["attention"], config):
            changed = tuple((key, value) for key, value in keys.items() if value != getattr(run, key))
            yield Setting(with_run(config, **keys), changed)


def batches_of(config: EncoderConfig, given: frozenset[str]) -> Sequence[int]:
    """The batch sizes to try."""
    if "batch_size" in given:
        return [config.run.batch_size]
    small = prod(config.grid) <= SMALL_GRID
    return range(1, (MOST_SMALL if small else MOST_BATCH) + 1)


def grows(config: EncoderConfig) -> bool:
    """Whether more images make requests larger; where windows run one by one, they make more requests.

    An encoder that takes a fixed number of images at once, such as the slices of a volume, does not run with one.
    """
    if any(problem_of(with_run(config, batch_size=batch)) for batch in (1, 2)):
        return False
    one, two = (
        sum(
            len(segment.recording.ops)
            for segment in Passes(with_run(config, batch_size=batch)).forward.segments
        )
        for batch in (1, 2)
    )
    return two <= ALIKE * one


@dataclass(frozen=True)
class Growing:
    """The requests of runs with more and more images: at one, and what each image adds."""

    nbytes: Array
    nbytes_more: Array
    live: Array
    live_more: Array

    def at(self, batch: int) -> tuple[Array, Array]:
        """The sizes, and what is live before each."""
        more = batch - 1
        return self.nbytes + more * self.nbytes_more, self.live + more * self.live_more


def growing(config: EncoderConfig, cuda: Cuda, batches: Sequence[int]) -> Growing:
    """The requests of a run at every batch size, from those at one and two; or at the only one."""
    if len(batches) == 1:
        nbytes, live = _columns(run_of(with_run(config, batch_size=batches[0]), cuda).notes)
        return Growing(nbytes, 0 * nbytes, live, 0 * live)
    one, two = (run_of(with_run(config, batch_size=batch), cuda) for batch in (1, 2))
    alike = len(one.notes) == len(two.notes)
    first, second = (_columns(one.notes), _columns(two.notes)) if alike else map(_columns, _aligned(one, two))
    return Growing(first[0], second[0] - first[0], first[1], second[1] - first[1])


def _columns(notes: Sequence[Note]) -> Array:
    """The sizes, and what is live before each."""
    columns: Array = np.array([(note[1], note[3]) for note in notes], dtype=np.int64).T
    return columns


def _aligned(one: Timeline, two: Timeline) -> tuple[list[Note], list[Note]]:
    """The requests of two runs by their operations, where one of them has more."""
    waiting: dict[Hashable, list[Note]] = {}
    for note, asked in zip(two.notes, two.asked(two.notes), strict=True):
        waiting.setdefault(_key(asked), []).append(note)
    queues = {key: iter(notes) for key, notes in waiting.items()}
    pairs = [
        (note, next(queues.get(_key(asked), iter(())), None))
        for note, asked in zip(one.notes, one.asked(one.notes), strict=True)
    ]
    both = [(first, second) for first, second in pairs if second is not None]
    return [first for first, _ in both], [second for _, second in both]


def _key(asked: Asked) -> Hashable:
    """What a request is, whatever its size."""
    return asked.section, asked.op, asked.kind, asked.round


@dataclass(frozen=True)
class Found:
    """A setting with a request of the size of a message, and how far its live bytes are from what the message has."""

    setting: Setting
    distance: float


def solve(
    config: EncoderConfig, given: frozenset[str], message: OomMessage, cuda: Cuda, chance: Chance
) -> list[Found]:
    """The settings with a request that fits the message, the nearest first."""
    found = []
    batches = batches_of(config, given) if grows(config) else [config.run.batch_size]
    for setting in settings_of(config, given):
        if not can_be(setting, message):
            continue
        grown = growing(setting.config, cuda, batches)
        for batch in batches:
            nbytes, live = grown.at(batch)
            chance.add(nbytes)
            distance = nearest(nbytes, live, message)
            if distance is not None:
                found.append(Found(_with_batch(setting, config, batch), distance))
    return sorted(found, key=lambda each: (each.distance, len(each.setting.keys)))


def can_be(setting: Setting, message: OomMessage) -> bool:
    """A backward in the traceback is of a training step."""
    goes_back = any("backward" in frame.function for frame in message.frames)
    return not goes_back or setting.config.run.mode == "training"


def _with_batch(setting: Setting, config: EncoderConfig, batch: int) -> Setting:
    keys = setting.keys if batch == config.run.batch_size else (("batch_size", batch), *setting.keys)
    return Setting(with_run(setting.config, batch_size=batch), keys)


def nearest(nbytes: Array, live: Array, message: OomMessage) -> float | None:
    """How far the nearest request of the tried size is, as a share of what the message has allocated; None if none fits.

    Without that figure, a request counts by the place of what it needs among those before it.
    """
    fits = fits_size(nbytes, message)
    before = np.maximum.accumulate(np.concatenate(([0], (live + nbytes)[:-1])))
    is_record = live + nbytes > before
    if message.allocated is None:
        limit = max(MOST_LIVE, 4 * message.tried.high_bytes)
        fits &= (live + nbytes <= limit) & is_record
        return 0.0 if fits.any() else None
    most = message.allocated.high_bytes
    fits &= live <= most * (1 + ROOM)
    if not fits.any():
        return None
    beside = np.abs(most - live[fits]) / most + np.where(is_record[fits], 0.0, NOT_FIRST)
    return float(beside.min())


NOT_FIRST = 0.3
"""What it counts against a request that an earlier one needs more."""


def fits_size(nbytes: Array, message: OomMessage) -> Any:
    """Which requests are printed as the tried size."""
    tried = message.tried
    if not has_step(tried):
        old = -(-nbytes // OLD_STEP) * OLD_STEP
        return _within(nbytes, tried.low_bytes, tried.high_bytes) | _within(
            old, tried.low_bytes, tried.high_bytes
        )
    return _within(segments(nbytes), tried.low_bytes, tried.high_bytes)


def segments(nbytes: Array) -> Array:
    """The segments that are requested for requests."""
    own = -(-nbytes // OWN_STEP) * OWN_STEP
    return np.where(nbytes <= LARGEST_SMALL, SMALL_SEGMENT, np.where(nbytes < LEAST_OWN, SHARED_SEGMENT, own))


def _within(values: Array, low: int, high: int) -> Any:
    return (values >= low) & (values <= high)
