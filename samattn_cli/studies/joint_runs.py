"""The runs of one encoder at many sizes on a CUDA device, from one pass of each of its parts; see `piecewise`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial

import numpy as np

from ..device.model import Device
from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..tape.inside import Cuda
from ..tape.launch import refused
from ..tape.plays import Script
from ..tape.script import at_lane, script_of
from ..tape.segments import ForwardPass, Twins
from ..tape.training import TrainingStep
from .joint_peaks import Joint
from .on_device import cuda_of, is_written
from .piecewise import NotPiecewiseError, Piece, at_points, is_piecewise, pieces_of
from .points import Array


@dataclass(frozen=True)
class Run:
    """The run of an encoder on a CUDA device.

    Attributes:
        live_bytes: the most that is live.
        is_refused: whether CUDA cannot launch one of its kernels.
        write: writes down its requests.
        expect: says that they will be asked for; those of several runs take less time together.
    """

    live_bytes: int
    is_refused: bool
    write: Callable[[], Script]
    expect: Callable[[], None]

    @cached_property
    def script(self) -> Script:
        """Its requests."""
        return self.write()


class JointRuns:
    """The runs of encoders that have the same parts, in one mode.

    Args:
        parts: the pieces of each part.
        trains: whether they train.
        cuda: the device.

    Attributes:
        wanted: the lanes whose scripts will be asked for: those of the same pieces are written together.
        owners: the pieces of each part, those of several parts once; and for each lane, which of them has it.
    """

    def __init__(self, parts: Sequence[list[Piece]], cuda: Cuda, *, trains: bool) -> None:
        self.parts = parts
        self.cuda = cuda
        self.trains = trains
        self.lot = parts[0][0].lot
        self.config = parts[0][0].config
        self.wanted: set[int] = set()
        self.written: dict[int, tuple[Script, int]] = {}
        different = {id(pieces): pieces for pieces in parts}.values()  # blocks of a kind share theirs
        self.owners = [(pieces, self._owners(pieces)) for pieces in different]

    def _owners(self, pieces: Sequence[Piece]) -> list[int]:
        """For each lane, which of the pieces has it."""
        found = np.zeros(self.lot.size, np.int64)
        for number, piece in enumerate(pieces):
            found[piece.left] = number
        return found.tolist()  # type: ignore[no-any-return]

    def runs(self, size: int) -> Iterator[tuple[int, Run]]:
        """The run of each encoder, by its place among so many."""
        joint = Joint(self.parts, size)
        live = joint.training() if self.trains else joint.inference()
        are_refused = sum(joint.of("refused", self._refuses))
        for piece in self.parts[0]:
            for place, lane in zip(piece.places.tolist(), piece.left.tolist(), strict=True):
                is_refused = bool(are_refused.numbers[place])
                write, expect = partial(self.script, lane), partial(self.wanted.add, lane)
                yield place, Run(int(live[place]), is_refused, write, expect)

    def _refuses(self, piece: Piece) -> bool:
        """Whether CUDA cannot launch an operation of a piece."""
        recordings = [piece.segment.recording, *([piece.backward.recording] if piece.backward else [])]
        return any(
            refused(op, self.config.run.torch_version) is not None
            for recording in recordings
            for op in recording.ops
            if op.choice is not None
        )

    def script(self, lane: int) -> Script:
        """The requests of a run."""
        if lane not in self.written:
            own = self._pieces(lane)
            with np.errstate(all="ignore"):  # of lanes that are left out
                self._write([each for each in {lane, *self.wanted} if self._pieces(each) == own])
        return at_lane(*self.written[lane])

    def _pieces(self, lane: int) -> tuple[int, ...]:
        return tuple([owners[lane] for _, owners in self.owners])

    def _write(self, lanes: Iterable[int]) -> None:
        """Write the scripts of runs that have the same pieces."""
        waiting = [np.array(sorted(set(lanes) - self.written.keys()))]
        while waiting:
            self.lot.only(waiting.pop())
            script = script_of(self._run(int(self.lot.left[0])), self.cuda)
            self.written |= {lane: (script, lane) for lane in self.lot.left.tolist()}
            waiting += self.lot.taken()

    def _run(self, lane: int) -> ForwardPass | TrainingStep:
        """The run of a lane, whose numbers have those of all lanes."""
        by_part = {id(pieces): pieces[owners[lane]] for pieces, owners in self.owners}
        chosen = [by_part[id(pieces)] for pieces in self.parts]
        names = [part.name for part in self.config.plan]
        segments = tuple(
            piece.segment.twin(name, ((before, 0),), piece.segment.layer, piece.segment.shared)
            for piece, name, before in zip(chosen, names, ("", *names), strict=False)
        )
        passed = ForwardPass(self.config, chosen[0].segment.entries[0], tuple(map(Twins, segments)))
        if not self.trains:
            return passed
        return TrainingStep(passed, tuple([piece.backward for piece in chosen if piece.backward is not None]))


def joint_runs(
    config: EncoderConfig, points: Mapping[str, Array], places: Sequence[int], device: Device
) -> dict[int, Run]:
    """The run of an encoder at some of the points, in its run's mode; {} if its parts cannot be run one by one."""
    cuda, trains = cuda_of(device), config.run.mode == "training"
    if cuda is None or not is_written(config) or not is_piecewise(config, training=trains):
        return {}
    chosen = {axis: values[np.array(places)] for axis, values in points.items()}
    config_at = at_points(config, chosen)
    found: dict[int, Run] = {}
    try:
        with np.errstate(all="ignore"):  # of lanes that are left out
            for parts in pieces_of(config_at, np.arange(len(places)), training=trains, target=cuda.target):
                runs = JointRuns(parts, cuda, trains=trains).runs(len(places))
                found |= {places[place]: run for place, run in runs}
    except NotPiecewiseError:
        return {}
    return found
