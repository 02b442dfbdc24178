"""The largest resolution, batch size and number of global layers with which an encoder fits a memory, exactly.

Peak memory is not monotonic in size: padding adds a copy, so 2176 pixels may fit although 2160 do not. We compute every
candidate, as arrays, up to one that certainly does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

import numpy as np

from ..device.model import Device
from ..encoder.kernels import unfit
from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..errors import Message, UsageError, code_of
from ..figures import PEAKS
from ..records import replace
from ..reports.candidate import Candidate
from ..reports.checkpoints import CheckpointAnswer
from ..reports.fit import Answer, AsItIs, Fit, Gap, Unmodelled, Vary
from ..tape.plays import play, stopped_at
from .arguments import check_config
from .candidates import Candidates, Grown, batch_size, global_layers, grown, own_aspect, resolution
from .joint_runs import Run
from .on_device import InMemory, cuda_of, fits_by_live, in_bytes, on, refused
from .passes import Passes
from .placements.placing import global_layers as global_layers_of
from .progress import Tell, silent, telling
from .readers import FIGURES
from .together import runs_together

VARY: tuple[Vary, ...] = ("resolution", "batch_size", "global_layers")
MODES = ("inference", "training")
KERNELS = ("eager", "sdpa", "fused")
BEYOND = 1.5
"""Up to how many times the memory the candidates of a curve take."""
BELOW, BELOW_ONE_IN = 64, 6
"""How far below the edge of live bytes candidates are passed over the Tape together: so many, or so large a part of all."""
MOST_TRIED = 16
"""Candidates on each side of an edge that are replayed one by one, to find gaps."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What grows, in which modes and with which kernels, and which resolutions are candidates; see `Fit`."""

    vary: Sequence[Vary] = VARY
    modes: Sequence[str] = MODES
    kernels: Sequence[str] = KERNELS
    checkpointing: bool = False  # whether to ask which blocks to checkpoint
    aspect: Size | None = None  # None: the encoder's own
    no_padding: bool = False
    gaps: bool = (
        True  # whether smaller candidates near the edge are replayed too, to find those that do not fit
    )
    curves: bool = False  # whether to say the live bytes of the candidates


def fit(config: EncoderConfig, memory: int | Device, asked: Asked = Asked(), *, tell: Tell = silent) -> Fit:
    """How far an encoder can grow in a memory.

    Args:
        config: the encoder; mode and attention kernel are replaced by those of `asked`.
        memory: the bytes of a process, or a device.
        asked: the question.
        tell: is called with the number of finished answers.

    Raises:
        UsageError: if the encoder supports none of the kernels, or nothing in the question can grow.
    """
    check_config("fit", config)
    if not isinstance(memory, int | Device):
        raise TypeError(f"fit takes a number of bytes or a Device, not {memory!r}")
    unmodelled = {kernel: reason for kernel in asked.kernels if (reason := unfit(kernel, config))}
    if len(unmodelled) == len(asked.kernels):
        raise _all_of(unmodelled.values())
    modelled = {
        kernel: replace(config, run=replace(config.run, attention=kernel))
        for kernel in sorted(
            asked.kernels, key=lambda kernel: kernel != config.run.attention
        )  # its own first
        if kernel not in unmodelled
    }
    memory_bytes = bytes_of(memory)
    computed = (
        answer
        for vary in asked.vary
        for encoder in modelled.values()
        for answer in _answers(encoder, vary, memory, asked)
    )
    answers = list(telling(computed, tell, len(asked.vary) * len(modelled) * len(asked.modes)))
    checkpointing = tuple(_checkpointing(list(modelled.values()), memory, asked))
    if not checkpointing and all(answer.status == "no candidates" for answer in answers):
        raise _all_of(answer.message for answer in answers)
    return Fit(
        config=config,
        memory_bytes=memory_bytes,
        device="" if isinstance(memory, int) else memory.name,
        aspect=asked.aspect or own_aspect(config),
        is_own_aspect=asked.aspect is None,
        no_padding=asked.no_padding,
        as_it_is=tuple(_as_it_is(list(modelled.values()), memory, asked.modes)),
        checkpointing=checkpointing,
        answers=tuple(sorted(answers, key=lambda answer: _order(answer, asked))),
        unmodelled=tuple(
            Unmodelled(attention=kernel, reason=reason) for kernel, reason in unmodelled.items()
        ),
    )


def _checkpointing(
    encoders: Sequence[EncoderConfig], memory: int | Device, asked: Asked
) -> Iterator[CheckpointAnswer]:
    """Which blocks to checkpoint, for each kernel, if that is asked."""
    if not asked.checkpointing:
        return
    from .checkpoints.answer import answer  # not at start-up: for this question only

    found = [answer(encoder, memory, candidate) for encoder in encoders]
    if not asked.vary and all(each.status == "does not apply" for each in found):
        raise _all_of(each.message for each in found)
    yield from found


def _all_of(reasons: Iterable[str]) -> UsageError:
    """An error with several reasons, each on its own line and once; its code is that of the first."""
    first, *others = dict.fromkeys(reasons)
    return UsageError(Message(code_of(first), "\n".join([first, *others])))


def _order(answer: Answer, asked: Asked) -> tuple[int, int]:
    return asked.vary.index(answer.vary), asked.modes.index(answer.mode)


def _in(mode: str, config: EncoderConfig) -> EncoderConfig:
    return replace(config, run=replace(config.run, mode=mode))


def _as_it_is(
    encoders: Sequence[EncoderConfig], memory: int | Device, modes: Sequence[str]
) -> Iterator[AsItIs]:
    for mode in modes:
        for encoder in encoders:
            what = candidate(_in(mode, encoder), memory)
            yield AsItIs(mode=mode, attention=encoder.run.attention, encoder=what)


def bytes_of(memory: int | Device) -> int:
    """What a process has for tensors."""
    return memory if isinstance(memory, int) else memory.usable_bytes


def candidate(config: EncoderConfig, memory: int | Device) -> Candidate:
    """The memory of an encoder in its run's mode, and where it is too large."""
    return _candidate(_passes_in(memory, config), bytes_of(memory))


def _passes_in(memory: int | Device, config: EncoderConfig) -> Passes:
    """The passes with the attention kernels of a device."""
    return Passes(config) if isinstance(memory, int) else on(Passes(config, memory), memory)


def _candidate(passes: Passes, memory_bytes: int, used: InMemory | None = None) -> Candidate:
    """What is said of an encoder; `used` is its run in the memory, if that is known."""
    config, peak = passes.config, passes.peak_bytes
    used = used or passes.room or in_bytes(passes, memory_bytes)
    return Candidate(
        image_size=config.image_size,
        batch_size=config.run.batch_size,
        global_layers=global_layers_of(config),
        state_bytes=passes.state_bytes,
        peak_bytes=peak,
        peak_at=passes.step.peak_at if passes.trains else passes.peak_at,
        allocated_bytes=used.allocated_bytes,
        reserved_bytes=used.reserved_bytes,
        fits=used.fits,
        spare_bytes=memory_bytes - (used.allocated_bytes or peak),
        too_large=tuple(passes.larger_than(memory_bytes)) or used.too_large,
        stopped_at=passes.stopped_at(memory_bytes) or used.stopped_at,
        refused=used.refused,
    )


def _answers(encoder: EncoderConfig, vary: Vary, memory: int | Device, asked: Asked) -> Iterator[Answer]:
    """An answer for each mode."""
    if encoder.run.parallel == "none":
        yield from _answers_of(encoder, vary, memory, asked)
        return
    # An inference forward is not spread over GPUs, nor in the type in which they gather weights.
    for mode in asked.modes:
        yield from _answers_of(_in(mode, encoder), vary, memory, replace(asked, modes=[mode]))


def _answers_of(encoder: EncoderConfig, vary: Vary, memory: int | Device, asked: Asked) -> Iterator[Answer]:
    """The same for an encoder whose figures in each mode are the same whatever its own mode is."""
    memory_bytes = bytes_of(memory)
    candidates: Candidates | None
    try:
        candidates, message = _candidates(encoder, vary, memory_bytes, asked), ""
    except UsageError as error:
        candidates, message = None, error.message
    if candidates is not None and not len(candidates):
        message = Message("no-candidates", f"no valid {vary.replace('_', ' ')}: {candidates.end}")
    if candidates is None or message:
        for mode in asked.modes:
            yield Answer(
                vary=vary, mode=mode, attention=encoder.run.attention, status="no candidates", message=message
            )
        return
    edges = _every_one if candidates.alike else _by_halving
    for mode, edge in edges(candidates, memory_bytes, asked.modes):
        tried = Tried(candidates, mode, memory)
        found = _answer(vary, tried, with_room(tried, edge, gaps=asked.gaps))
        yield replace(found, curve=tuple(_curve(tried, vary)), mode=mode) if asked.curves else found


def _curve(tried: Tried, vary: Vary) -> Iterator[tuple[int, int]]:
    """The sizes and live bytes of all candidates up to somewhat more than the memory; or of those that were tried."""
    candidates, most = tried.candidates, int(BEYOND * bytes_of(tried.memory))
    if candidates.alike:
        peaks = candidates.peaks([PEAKS[tried.mode]], most)[PEAKS[tried.mode]]
        last = max(np.flatnonzero(peaks <= most).tolist(), default=-1)
        live = {place: int(peaks[place]) for place in range(last + 1)}
    else:
        live = {place: tried.passes(place).peak_bytes for place in sorted(tried.known)}
    for place, peak in live.items():
        yield _size_of(candidates[place], vary), peak


def _size_of(config: EncoderConfig, vary: Vary) -> int:
    if vary == "resolution":
        return max(config.image_size)
    return config.run.batch_size if vary == "batch_size" else len(global_layers_of(config))


def _candidates(encoder: EncoderConfig, vary: Vary, memory_bytes: int, asked: Asked) -> Candidates:
    if vary == "global_layers":
        return global_layers(encoder)
    if vary == "batch_size":
        return grown(encoder, batch_size(), memory_bytes)
    return grown(
        encoder,
        resolution(encoder, asked.aspect or own_aspect(encoder)),
        memory_bytes,
        no_padding=asked.no_padding,
    )


@dataclass(frozen=True)
class Edge:
    """The largest candidate that fits, by its index (-1: none).

    Attributes:
        place: its index.
        gaps: the peaks of smaller ones that do not fit, by index.
        every_one: whether the live bytes of all candidates are known.
        reserved: what the allocator would reserve, for the gaps at which only it finds no room.
        tried_from: the smallest that was replayed, if smaller ones are near the edge too; else None.
    """

    place: int
    gaps: dict[int, int]
    every_one: bool = True
    reserved: dict[int, int] = field(default_factory=dict)
    tried_from: int | None = None


@dataclass
class Tried:
    """Candidates in a mode, in a memory; the passes of each are kept, and so is what its replay says.

    Attributes:
        known: the passes of those that had one of their own.
        together: the runs of those that were passed over the Tape together.
        rooms: whether there is room for those that were asked about.
        stops: where memory runs out in a run of `together`, if it does, of those that were asked about.
    """

    candidates: Candidates
    mode: str
    memory: int | Device
    known: dict[int, Passes] = field(default_factory=dict)
    together: dict[int, Run] = field(default_factory=dict)
    rooms: dict[int, bool] = field(default_factory=dict)
    stops: dict[int, str | None] = field(default_factory=dict)

    def passes(self, place: int) -> Passes:
        """Those of one candidate."""
        if place not in self.known:
            self.known[place] = _passes_in(self.memory, _in(self.mode, self.candidates[place]))
        return self.known[place]

    def pass_together(self, places: Iterable[int]) -> None:
        """Pass candidates over the Tape together, if they can be and have no pass yet: they will all be asked about."""
        new = [place for place in places if place not in self.known and place not in self.together]
        if isinstance(self.candidates, Grown) and self.candidates.alike and isinstance(self.memory, Device):
            config = _in(self.mode, self.candidates.config)
            are_like = self.candidates.are_like
            self.together |= runs_together(
                config, self.candidates.points, new, self.memory, are_like=are_like
            )

    def expect(self, places: Iterable[int]) -> None:
        """Candidates whose replays will be asked for."""
        for place in places:
            if place in self.together:
                self.together[place].expect()

    def live_bytes(self, place: int) -> int:
        """The most that is live in a candidate."""
        if place in self.together:
            return self.together[place].live_bytes
        return self.passes(place).peak_bytes  # type: ignore[no-any-return]

    def is_near(self, place: int) -> bool:
        """Whether a candidate has to be replayed to know whether it fits, if its live bytes do."""
        return not fits_by_live(self.live_bytes(place), bytes_of(self.memory))

    def has_room(self, place: int) -> bool:
        """Whether all kernels of a candidate can be launched, and the allocator of a device finds room for it."""
        if place not in self.rooms:
            self.rooms[place] = self._has_room(place)
        return self.rooms[place]

    def _has_room(self, place: int) -> bool:
        if place in self.together:
            run = self.together[place]
            if run.is_refused or run.live_bytes > bytes_of(self.memory):
                return False
            return not self.is_near(place) or self._stop(place) is None
        passes = self.passes(place)
        if refused(passes) or passes.peak_bytes > bytes_of(self.memory):
            return False
        used = None if isinstance(self.memory, int) or not self.is_near(place) else passes.room
        return used is None or used.fits

    def _stop(self, place: int) -> str | None:
        """Where memory runs out in a run of `together`; None if it does not."""
        if place not in self.stops:
            run = self.together[place]
            self.stops[place] = stopped_at(run.script, bytes_of(self.memory), run.live_bytes)
        return self.stops[place]

    def used(self, place: int) -> InMemory | None:
        """A candidate's run in the memory, if it was passed with others."""
        run = self.together.get(place)
        if run is None or run.is_refused:
            return None
        script, usable = run.script, bytes_of(self.memory)
        if run.live_bytes > usable:  # where these exceed the memory is where it runs out
            return InMemory(False, play=lambda: play(script))
        stopped = self._stop(place)
        if stopped is None:
            return InMemory(True, capacity=usable, play=lambda: play(script, usable))
        return InMemory(False, stopped_at=stopped, play=lambda: play(script))


def _every_one(candidates: Candidates, memory_bytes: int, modes: Sequence[str]) -> Iterator[tuple[str, Edge]]:
    """The edge in each mode, from the peaks of all candidates."""
    peaks = candidates.peaks([PEAKS[mode] for mode in modes], memory_bytes)
    for mode in modes:
        of_mode = peaks[PEAKS[mode]]
        fit_at = np.flatnonzero(of_mode <= memory_bytes)
        place = int(fit_at[-1]) if fit_at.size else -1
        gaps = np.flatnonzero(of_mode[: max(place, 0)] > memory_bytes)
        yield mode, Edge(place, {int(at): int(of_mode[at]) for at in gaps})


def _by_halving(
    candidates: Candidates, memory_bytes: int, modes: Sequence[str]
) -> Iterator[tuple[str, Edge]]:
    """The edge in each mode by bisection: double the step until a candidate does not fit, then halve the interval."""
    for mode in modes:

        def has_room(place: int, mode: str = mode) -> bool:
            peak: int = FIGURES[PEAKS[mode]](Passes(candidates[place]))
            return peak <= memory_bytes

        low, high = -1, 0
        while high < len(candidates) and has_room(high):
            low, high = high, 2 * high + 1
        yield mode, Edge(_halved(low, min(high, len(candidates)), has_room), {}, every_one=False)


def _halved(low: int, high: int, has_room: Callable[[int], bool]) -> int:
    """The last place with room, between one that has it and one that has not, if no smaller place lacks it."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if has_room(middle) else (low, middle)
    return low


def _climbed(low: int, high: int, has_room: Callable[[int], bool]) -> int:
    """A place with room, from `low` up in doubled steps, which are then halved; the next one is `high`, or has no room."""
    step = 1
    while low + step < high and has_room(low + step):
        low, step = low + step, 2 * step
    return _halved(low, min(low + step, high), has_room)


def with_room(tried: Tried, edge: Edge, *, gaps: bool = True) -> Edge:
    """The edge at which all kernels can be launched and the allocator of a device finds room, and the gaps below it.

    It is searched from that of live bytes down, in doubled steps, which are then halved; before that it goes up, as long as
    the attention kernels of the device leave room for more.
    """
    low, step = edge.place, 1
    if low + 1 < len(tried.candidates):
        tried.pass_together(range(max(0, low - max(BELOW, low // BELOW_ONE_IN)), low + 2))
    on_a_device = not isinstance(tried.memory, int)
    while on_a_device and low + 1 < len(tried.candidates) and tried.has_room(low + 1):
        low += 1
    highest, high = low, low + 1
    while low >= 0 and not tried.has_room(low):
        high, low, step = low, low - step, 2 * step
    low = _halved(max(low, -1), high, tried.has_room)
    if isinstance(tried.memory, int) or cuda_of(tried.memory) is None:
        return replace(
            edge, place=low, gaps={place: peak for place, peak in edge.gaps.items() if place < low}
        )
    low = _last_with_room(tried, edge, low, highest)
    return _with_gaps(tried, edge, low) if gaps else replace(edge, place=low, gaps={})


def _last_with_room(tried: Tried, edge: Edge, low: int, highest: int) -> int:
    """The largest for which there is room: the allocator may find none for a size although it does for a larger one.

    Args:
        tried: the candidates.
        edge: the edge by live bytes.
        low: a candidate for which there is room.
        highest: the largest that may have room.
    """
    while True:
        above = [place for place in range(low + 1, highest + 1) if place not in edge.gaps][:MOST_TRIED]
        tried.pass_together(above)
        tried.expect(above)
        largest = max(filter(tried.has_room, above), default=low)
        if largest == low:
            return low
        low = _climbed(largest, highest + 1, tried.has_room)


def _with_gaps(tried: Tried, edge: Edge, low: int) -> Edge:
    """The edge, which is at `low`, and the gaps near it."""
    below = [*islice((place for place in range(low - 1, -1, -1) if place not in edge.gaps), MOST_TRIED + 1)]
    if below and tried.is_near(below[0]):
        tried.pass_together(below)
    near = list(takewhile(tried.is_near, below))
    tried.expect(near[:MOST_TRIED])
    without = [place for place in near[:MOST_TRIED] if not tried.has_room(place)]
    gaps = edge.gaps | {place: tried.live_bytes(place) for place in without}
    return replace(
        edge,
        place=low,
        gaps={place: gaps[place] for place in sorted(gaps) if place < low},
        reserved=dict(_reserved(tried, without)),
        tried_from=near[MOST_TRIED - 1] if len(near) > MOST_TRIED else None,
    )


def _reserved(tried: Tried, places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """What the allocator would reserve, for those candidates whose kernels can all be launched."""
    for place in places:
        if place in tried.together:
            run = tried.together[place]
            if not run.is_refused:
                yield place, play(run.script).reserved
            continue
        passes = tried.passes(place)
        if not refused(passes):
            yield place, (passes.room and passes.room.reserved_bytes) or 0


def _answer(vary: Vary, tried: Tried, edge: Edge) -> Answer:
    candidates, after, memory_bytes = tried.candidates, edge.place + 1, bytes_of(tried.memory)

    def candidate_at(place: int) -> Candidate:
        return _candidate(tried.passes(place), memory_bytes, tried.used(place))

    largest = candidate_at(edge.place) if after else None
    following = candidate_at(after) if after < len(candidates) else None
    return Answer(
        vary=vary,
        mode=tried.mode,
        attention=candidates[0].run.attention,
        status="none fits" if largest is None else "all fit" if following is None else "edge",
        message="" if following else candidates.end,
        fits=largest,
        label=candidates.label(edge.place) if largest else "",
        next=following,
        next_label=candidates.label(after) if following else "",
        gaps=tuple(
            Gap(label=candidates.label(place), peak_bytes=peak, reserved_bytes=edge.reserved.get(place))
            for place, peak in edge.gaps.items()
        ),
        candidates=len(candidates),
        every_one=edge.every_one,
        tried_from="" if edge.tried_from is None else candidates.label(edge.tried_from),
    )
