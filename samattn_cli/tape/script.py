"""A run as a list of requests.

`replay.py` plays a run step by step and knows what each block is for. A script has only the sizes of its requests, in order, for
`plays.py`: for a search, which asks of many runs whether they fit. Blocks of one kind share their events.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from operator import itemgetter
from typing import Any

from ..encoder.allocator_settings import settings_of
from ..encoder.model import EncoderConfig, Section
from ..records import dataclass
from .allocator import DEFAULT, UNIT, Allocator
from .inside import Cuda
from .ops import Buffer
from .plays import ELSEWHERE, EMPTY, Part, Piece, Script
from .replay import Place, Player, StepPlayer
from .requests import FREE, FREE_ELSEWHERE, FREE_LAST, Key, Program
from .segments import ForwardPass
from .storage import Dim, Storage
from .symbols.lanes import Lanes
from .training import TrainingStep

NOWHERE: Section = ("", "forward")
MOST_MICRO_BATCHES = 2
"""`replay.py` plays those after them only until they repeat."""


@dataclass(frozen=True)
class Form:
    """What the pieces of a program have in common.

    Attributes:
        events: the events; see `Piece`.
        frees: the keys of the requests that are freed and are of earlier pieces; and whether a cache has them since the pass before.
        left: the keys of its requests that it does not free, and their numbers in the piece.
        made: how many requests it has.
        libraries: the workspaces that it makes.
    """

    events: tuple[int, ...]
    frees: tuple[tuple[Key, bool], ...]
    left: tuple[tuple[Key, int], ...]
    made: int
    libraries: tuple[int, ...]


def form_of(program: Program, workspaces: dict[int, int]) -> Form:
    """What the pieces of a program have in common, if it makes these workspaces of libraries where it first needs them."""
    events: list[int] = []
    frees: list[tuple[Key, bool]] = []
    numbers: dict[Key, int] = {}
    libraries: dict[int, None] = {}
    made = 0
    for nbytes, key, _ in program.requests:
        if isinstance(nbytes, Lanes) or nbytes > 0:
            numbers[key] = made
            made += 1
            events.append(_units(nbytes))
        elif nbytes == FREE:
            events.append(-1 - numbers.pop(key))
        elif nbytes in (FREE_ELSEWHERE, FREE_LAST):
            events.append(ELSEWHERE)
            frees.append((key, nbytes == FREE_LAST))
        elif nbytes not in libraries and workspaces.get(nbytes):
            libraries[nbytes] = None
            made += 1
            events.append(_units(workspaces[nbytes]))
    return Form(tuple(events), tuple(frees), tuple(numbers.items()), made, tuple(libraries))


def _units(nbytes: Any) -> Any:
    """The units of a request; where its size has lanes, its bytes, because only some lanes will be asked for."""
    return nbytes if type(nbytes) is Lanes else -(-nbytes // UNIT)


class Writer(Allocator):
    """An allocator that only writes down what is requested.

    Attributes:
        pieces: those that are done.
        made: how many requests there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[Piece] = []
        self.made = self.begun = 0
        self.elsewhere: list[int] = []

    def allocate(self, nbytes: int, kind: int = 0, stream: int = DEFAULT) -> int | None:  # type: ignore[override]  # noqa: ARG002
        """The number of the request; None for 0 bytes."""
        if not nbytes:
            return None
        self.events.append(_units(nbytes))
        self.made += 1
        return self.made - 1

    def free(self, block: int | None) -> None:  # type: ignore[override]
        """A request is freed; None does nothing."""
        if block is None:
            return
        if block >= self.begun:
            self.events.append(self.begun - 1 - block)
        else:
            self._elsewhere(block)

    def empty_cache(self) -> None:
        """The cache is emptied."""
        self._elsewhere(EMPTY)

    def _elsewhere(self, what: int) -> None:
        self.events.append(ELSEWHERE)
        self.elsewhere.append(what)

    def end_piece(self) -> None:
        """What follows is another piece."""
        if self.events:
            self.pieces.append(Piece(tuple(self.events), tuple(self.elsewhere)))
        self.events, self.elsewhere, self.begun = [], [], self.made

    def add(self, form: Form, frees: tuple[int, ...]) -> int:
        """A piece of a form, which frees these requests of earlier ones; the number of its first request."""
        self.end_piece()
        self.pieces.append(Piece(form.events, frees))
        first = self.begun
        self.made = self.begun = first + form.made
        return first


class Writing(Player):
    """Writes down the run, and where each section begins."""

    def start(self) -> Writer:
        """Write from here on."""
        self.allocator = self.writer = Writer()
        self.marks: list[tuple[int, Section, bool]] = [(0, NOWHERE, False)]
        self.measures = not self.passed.config.run.passes_before
        self.forms: dict[Hashable, Form] = {}  # `programs` keeps the programs, whose ids they are kept by
        return self.writer

    def mark(self, section: Section) -> None:
        """A section begins."""
        self.writer.end_piece()
        self.marks.append((len(self.writer.pieces), section, self.measures and bool(section[0])))

    def measure(self) -> None:
        """The peaks are from here on."""
        self.measures = True

    def play(
        self, program: Program, own: dict[Any, Any], elsewhere: Callable[[Storage], Place], thread: str
    ) -> None:
        """The requests of operations."""
        form = self._form(program, thread)
        first = self.writer.add(form, tuple([self._taken(*free, elsewhere) for free in form.frees]))
        self.threads.update((thread, library) for library in form.libraries)
        for key, number in form.left:
            own[key] = first + number

    def _form(self, program: Program, thread: str) -> Form:
        workspaces = {each: n for each, n in self.workspaces.items() if (thread, each) not in self.threads}
        key = id(program), *workspaces
        if key not in self.forms:
            self.forms[key] = form_of(program, workspaces)
        return self.forms[key]

    def _taken(self, key: Any, is_of_last: bool, elsewhere: Callable[[Storage], Place]) -> Any:
        """The number of a request of an earlier piece, which is freed."""
        blocks, storage = (self.left, key) if is_of_last else elsewhere(key)
        return blocks.pop(storage)

    @property
    def image_bytes(self) -> Dim:
        """Bytes of the image."""
        return self.passed.image.storage.nbytes

    def buffer_bytes(self, buffer: Buffer) -> Dim:
        """Bytes of a buffer."""
        return buffer.nbytes

    def enter(self, section: Section) -> None:
        """A section begins."""
        self.mark(section)

    def leave(self) -> None:
        """The section is over."""
        self.mark(NOWHERE)


class WritingStep(Writing, StepPlayer):
    """The same of training steps."""

    def start(self) -> Writer:
        """Write from here on; what is around the model too."""
        writer = super().start()
        self.wrapping.allocator = writer
        return writer

    def label_gradients(self) -> None:
        """Requests have no kinds."""


def has_script(config: EncoderConfig) -> bool:
    """Whether the run of a config can be written down: with torch's own settings, on one GPU, and with few micro-batches."""
    settings = config.run
    return (
        settings_of(settings.allocator) == settings_of("")
        and not settings.is_fsdp
        and settings.accumulate <= MOST_MICRO_BATCHES
    )


def script_of(run: ForwardPass | TrainingStep, cuda: Cuda) -> Script:
    """The requests of a run, as `replay_forward` and `replay_step` play it; the first part builds the encoder."""
    player = WritingStep(run, cuda, None) if isinstance(run, TrainingStep) else Writing(run, cuda, None)
    writer = player.start()
    player.build()
    player.mark(NOWHERE)
    player.play_run()
    writer.end_piece()
    return tuple(_parts(writer.pieces, player.marks))


def at_lane(script: Script, lane: int) -> Script:
    """The script of one encoder of those that were run together."""
    known: dict[int, tuple[int, ...]] = {}

    def events(piece: Piece) -> tuple[int, ...]:
        key = id(piece.events)
        if key not in known:
            known[key] = tuple([_at(event, lane) for event in piece.events])
        return known[key]

    return tuple(
        [
            Part(part.section, part.counts, tuple([Piece(events(own), own.elsewhere) for own in part.pieces]))
            for part in script
        ]
    )


def _at(event: Any, lane: int) -> int:
    return event if type(event) is int else -(-int(event.numbers[lane]) // UNIT)


def _parts(pieces: list[Piece], marks: list[tuple[int, Section, bool]]) -> Iterator[Part]:
    """The pieces of each section."""
    ends = [*map(itemgetter(0), marks[1:]), len(pieces)]
    for (start, section, counts), end in zip(marks, ends, strict=True):
        if start < end or counts:
            yield Part(section, counts, tuple(pieces[start:end]))
