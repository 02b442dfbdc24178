"""Runs an encoder on the Tape; in torch: `samattn_cli/stack/encoder.py`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from ..encoder.model import EncoderConfig
from ..records import replace
from .driver import Alone, Driver
from .sdpa_call import AMPERE, Target
from .segments import ForwardPass, Segment, Twins
from .settings import Settings, settings_of, tape_of
from .storage import Dim, Shape
from .symbols.formula import Formula
from .tape import Tape
from .tensor import Tensor


def forward(
    config: EncoderConfig,
    *,
    training: bool = False,
    makes_graph: bool = False,
    target: Target = AMPERE,
    first: int | None = None,
) -> ForwardPass:
    """Run the encoder of `config` on the Tape, as on a target, with autograd on for `training` and where the run keeps its graph.

    Blocks of one kind are run once: their segments share one recording. With `first`, the pass has only so many segments,
    the first ones. `backward` takes a pass that `makes_graph`; one for `training`, and one of a run in that mode, always do.
    """
    settings = settings_of(config, training=training, target=target, makes_graph=makes_graph)
    passed = _forward(settings, first, _lot_of(settings.config))
    return passed if settings.config is config else replace(passed, config=config)


def segment_alone(
    config: EncoderConfig,
    number: int,
    x: Tensor | None,
    *,
    training: bool,
    target: Target = AMPERE,
    is_kept: bool = False,
) -> Segment:
    """One part or block of a plan whose parts have one input and one output, as `forward` runs it.

    Args:
        config: the encoder.
        number: that of the part in its plan.
        x: the stream that enters, which nothing else uses; None for the image.
        training: whether the forward is one of a training step.
        target: where it runs.
        is_kept: whether the part before keeps `x` for its backward.
    """
    settings = settings_of(config, training=training, target=target)
    tape = tape_of(settings)
    stream = tape.tensor(*config.input_shape) if x is None else x
    driver = Alone(tape, config, freezes=settings.freezes, settings=())
    driver.kept_by_last = frozenset({stream.storage} if is_kept else ())
    source = config.plan[number - 1].name if number else ""
    freed = [] if x is None or x.storage.is_weight else [x]
    return driver.segment(config.plan[number], [((source, 0), stream)], freed)


def _lot_of(config: EncoderConfig) -> int | None:
    """The number of the lot whose points a config with formulas is for; None for one of numbers."""
    sides: Iterator[Dim] = chain(config.input_shape, *(layer.placement.size or () for layer in config.kinds))
    return next((side.space.lot for side in sides if isinstance(side, Formula)), None)


@lru_cache(maxsize=32)
def _forward(
    settings: Settings,
    first: int | None,
    _lot: int | None,  # in which formulas are compared; for the cache
) -> ForwardPass:
    config, tape = settings.config, tape_of(settings)
    is_numeric = _lot is None
    image = (_image if is_numeric else _image.__wrapped__)(tape.item_bytes, config.input_shape)
    driver = Driver(tape, config, freezes=settings.freezes, settings=settings.of_tape)
    driver.shares_parts = is_numeric and not (config.unread or config.checkpointed_stages)
    twins = driver.twins_of(image)
    return ForwardPass(config, image, tuple(twins if first is None else _first_of(twins, first)))


def _first_of(all_twins: Iterator[Twins], first: int) -> Iterator[Twins]:
    """The first segments of a pass."""
    for twins in all_twins:
        yield replace(twins, number=min(twins.number, first))
        first -= twins.number
        if first <= 0:
            return


@lru_cache(maxsize=32)
def _image(item_bytes: int, shape: Shape) -> Tensor:
    """The image of encoders, or the tokens that enter them: one for all passes, so that these share parts."""
    return Tape(item_bytes).tensor(*shape)
