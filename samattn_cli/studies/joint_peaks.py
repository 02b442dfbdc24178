"""The peaks of memory of one encoder at many sizes, from one pass of each of its parts; see `piecewise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..encoder.model import EncoderConfig
from ..figures import PEAKS
from ..records import replace
from ..tape.memory import Liveness, buffers_bytes, live_over, weights_of_recording
from ..tape.sdpa_call import AMPERE
from ..tape.segments import ForwardPass, Twins
from ..tape.settings import settings_of
from ..tape.symbols.formula import greatest
from ..tape.symbols.lanes import Lanes, Lot
from ..tape.training import TrainingStep, recomputed, uncached_bytes
from ..units import ITEM_BYTES, rounded
from .piecewise import NotPiecewiseError, Piece, at_points, is_piecewise, pieces_of
from .points import Array, least_peaks_at, sides_by_name, to_first_layer

MOST = 2.0**57
"""Up to this size of a matrix of scores, the bytes of a pass do not overflow 63 bits."""
BEYOND = 64
"""Tokens by which padding may make a side longer, if no window is larger."""


def joint_peaks(
    config: EncoderConfig, points: Mapping[str, Array], metrics: Sequence[str], limit: int
) -> dict[str, Array] | None:
    """The peaks of an encoder at each point; None if its parts cannot be run one by one.

    After the last point at which a lower bound of a peak is at most `limit`, and where numbers might not fit 64 bits, they are
    lower bounds above `limit`.
    """
    trains = PEAKS["training"] in metrics
    if not is_piecewise(config, training=trains) or not len(next(iter(points.values()))):
        return None
    found = least_peaks_at(config, points, metrics, first=to_first_layer(config))
    are_small = _scores(config, points) < MOST
    try:
        with np.errstate(all="ignore"):  # of lanes that are left out
            for together in _of_one_pass(config, metrics):
                chosen = {metric: found[metric] for metric in together}
                last = max(int(np.flatnonzero(least <= limit).max(initial=-1)) for least in chosen.values())
                if not are_small[: last + 1].all():
                    return None
                if last >= 0:
                    _put(chosen, config, points, np.arange(last + 1))
    except NotPiecewiseError:
        return None
    return found


def _of_one_pass(config: EncoderConfig, metrics: Sequence[str]) -> list[Sequence[str]]:
    """The peaks that one forward gives: both, if autograd does not change it."""
    alone, in_training = (
        settings_of(config, training=training, target=AMPERE, makes_graph=True) for training in (False, True)
    )
    return [metrics] if alone == in_training else [[metric] for metric in metrics]


def _put(
    peaks: Mapping[str, Array], config: EncoderConfig, points: Mapping[str, Array], places: Array
) -> None:
    """Work out peaks at some points, whose parts have the same forward."""
    config_at = at_points(config, points)
    for parts in pieces_of(config_at, places, training=PEAKS["training"] in peaks):
        own = np.concatenate([piece.places for piece in parts[0]])
        for metric, values in peaks.items():
            joint = Joint(parts, len(values))
            found = joint.training() if metric == PEAKS["training"] else joint.inference()
            values[own] = found[own]


def _scores(config: EncoderConfig, points: Mapping[str, Array]) -> Array:
    """At most so many bytes of a matrix of scores at each point, nearly."""
    sides = sides_by_name(config.image_size)
    own = [stage.window_size for stage in config.stages]
    own += [each.window_size for stage in config.stages for each in stage.overrides if each.window_size]
    more = max(BEYOND, *(window for windows in own for window in windows))
    tokens: Any = 1.0
    for (axis, side), patch in zip(sides.items(), config.patch, strict=True):
        tokens = tokens * (points.get(axis, side) / patch + more)
    heads = max(stage.num_heads for stage in config.stages)
    batch = points.get("batch_size", config.run.batch_size)
    return tokens**2 * heads * batch * 2 * ITEM_BYTES["float32"] * np.ones(len(next(iter(points.values()))))  # type: ignore[no-any-return]


class Joint:
    """The memory of the parts of encoders, each number for all encoders together."""

    def __init__(self, parts: Sequence[list[Piece]], size: int) -> None:
        self.parts = parts
        self.lot = Lot(np.arange(size))
        self.known: dict[tuple[int, str], Any] = {}

    def of(self, name: str, value: Callable[[Piece], Any]) -> list[Any]:
        """A number of each part."""
        return [self._of_part(name, pieces, value) for pieces in self.parts]

    def _of_part(self, name: str, pieces: list[Piece], value: Callable[[Piece], Any]) -> Any:
        key = id(pieces), name
        if key not in self.known:
            numbers = np.zeros(self.lot.size, np.int64)
            for piece in pieces:
                numbers[piece.places] = piece.numbers(piece.agreed(value))
            self.known[key] = Lanes(self.lot, numbers)
        return self.known[key]

    @property
    def weights(self) -> Any:
        """Bytes of weights and buffers."""
        return sum(self.of("weights", _weights)) + sum(self.of("buffers", _buffers))

    @property
    def image(self) -> Any:
        """Bytes of the image, not rounded."""
        return self._of_part("image", self.parts[0], lambda piece: piece.segment.entries[0].nbytes)

    def livenesses(self, name: str, liveness: Callable[[Piece], Liveness]) -> tuple[Liveness, ...]:
        """The liveness of each part."""
        peaks = self.of(f"{name} peak", lambda piece: liveness(piece).peak_bytes)
        changes = self.of(f"{name} change", lambda piece: liveness(piece).change)
        return tuple(Liveness((("", peak),), change) for peak, change in zip(peaks, changes, strict=True))

    def inference(self) -> Array:
        """The peak of an inference forward."""
        live, peaks = self.weights + rounded(self.image), []
        for part in self.livenesses("inference", _in_inference):
            peaks.append(live + part.peak_bytes)
            live = live + part.change
        return greatest(peaks).numbers  # type: ignore[no-any-return]

    def training(self) -> Array:
        """The peak of a training step."""
        first = self.parts[0][0]
        segments = [replace(pieces[0].segment, name=f"{n}") for n, pieces in enumerate(self.parts)]
        entry = first.segment.entries[0]
        image = replace(entry, shape=(self.image // entry.item_bytes,), steps=(1,))
        step = TrainingStep(ForwardPass(first.config, image, tuple(map(Twins, segments))), ())
        kept, undone = (
            self.livenesses("kept", _kept),
            self.livenesses("undone", _undone),
        )
        uncached = sum(self.of("uncached", lambda piece: uncached_bytes(piece.segment)))
        kept_bytes = sum(each.change for each in kept) - uncached
        left = kept_bytes + sum(each.change for each in undone)
        vars(step).update(
            kept=kept,
            undone=undone,
            first_undone=undone,
            weights_bytes=self.weights,
            gradients_bytes=sum(self.of("gradients", _gradients)),
            kept_bytes=kept_bytes,
            held_bytes=left - self._of_part("held outputs", self.parts[-1], _outputs),
            output_gradient_bytes=self._of_part("outputs", self.parts[-1], _output_gradients),
        )
        return step.peak_bytes.numbers  # type: ignore[no-any-return]


def _weights(piece: Piece) -> Any:
    return weights_of_recording(piece.segment.recording, ITEM_BYTES[piece.config.run.dtype])


def _gradients(piece: Piece) -> Any:
    return weights_of_recording(piece.segment.recording, ITEM_BYTES[piece.config.run.dtype], frozen=False)


def _buffers(piece: Piece) -> Any:
    return buffers_bytes(piece.segment.recording)


def _in_inference(piece: Piece) -> Liveness:
    segment = piece.segment
    kept = segment.kept | segment.shared if piece.config.run.keeps_graph else frozenset()
    return live_over(segment.recording, kept)


def _kept(piece: Piece) -> Liveness:
    return live_over(piece.segment.recording, piece.segment.kept | piece.segment.shared)


def _undone(piece: Piece) -> Liveness:
    assert piece.backward is not None  # noqa: S101 - for the type checker: used only in training
    return live_over(recomputed(piece.segment, piece.backward.recording))


def _output_gradients(piece: Piece) -> Any:
    outputs = piece.segment.outputs
    return sum(rounded(output.nbytes) for output in outputs if output.grad_fn is not None)


def _outputs(piece: Piece) -> Any:
    return sum(rounded(storage.nbytes) for storage in {output.storage for output in piece.segment.outputs})
