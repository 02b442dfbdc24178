"""What is live over a pass, allocation by allocation: on a device by the allocator's rules, without one by tensors alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from ..reports.memory_timeline import MemoryPlace, MemoryTimeline
from ..tape.allocations import TENSORS, Allocations, Event, allocations, programs_of
from ..tape.requests import KEPT, KINDS, TEMPORARIES, UNSPLIT
from ..tape.score_storages import score_storages
from ..tape.storage import Storage
from ..tape.training import operation_at
from .on_device import cuda_of
from .passes import Passes

ALL_KINDS = (*KINDS, "scores", "kept_scores", "step")
OF_SCORES = {KINDS[TEMPORARIES]: "scores", KINDS[KEPT]: "kept_scores"}
LATER_FORWARD = 2
"""The forward that is meant: the one after the first."""


def recorded(passes: Passes) -> Allocations:
    """A run of the mode of `passes`: on its device, in as much memory as the run that its figures are of."""
    device, config = passes.device, passes.config
    cuda = None if device is None else cuda_of(device)
    if cuda is None:
        plain = passes if not config.run.allocator else _without_settings(passes)
        return allocations(plain.step if plain.trains else plain.forward, TENSORS)
    assert passes.in_memory is not None  # noqa: S101 - for the type checker: there is a device
    aimed = passes.aimed(cuda.target)
    return allocations(aimed.step if aimed.trains else aimed.forward, cuda, passes.in_memory.capacity)


def _without_settings(passes: Passes) -> Passes:
    """The allocator's settings have no part in what tensors take."""
    run = replace(passes.config.run, allocator="")
    return replace(passes, config=replace(passes.config, run=run))


def round_of(passes: Passes) -> int:
    """The number of the pass or step that the figures are of."""
    return passes.config.run.passes_before + 1 if passes.trains else LATER_FORWARD


def memory_timeline(passes: Passes) -> MemoryTimeline:
    """The timeline of the pass that the figures of the run's mode are of."""
    run = recorded(passes)
    kinds = _kinds(run)
    number = round_of(passes)
    before = [0] * len(ALL_KINDS)
    for event in (event for event in run.events if event.round < number):
        for kind, nbytes in _parts(event, kinds):
            before[kind] += nbytes
    events = [event for event in run.events if event.round == number]
    places, changes = _changes(events, kinds)
    totals = list(accumulate((nbytes for _, _, nbytes in changes), initial=sum(before)))[1:]
    peak = max(range(len(totals)), key=totals.__getitem__)
    at = places[changes[peak][0]]
    return MemoryTimeline(
        "tensors" if passes.device is None or cuda_of(passes.device) is None else "allocated",
        ALL_KINDS,
        tuple(before),
        tuple(places),
        tuple(changes),
        totals[peak],
        peak,
        operation_at((at.layer, at.phase), at.op),
    )


def _kinds(run: Allocations) -> dict[int, int]:
    """The kind of each block, by the event of its allocation."""
    scores = score_storages((section, program.ops) for program, section in programs_of(run.history).items())
    return {event.made: ALL_KINDS.index(_kind(event, scores)) for event in run.events if not event.is_free}


def _kind(event: Event, scores: frozenset[Storage]) -> str:
    if event.key in scores:
        return OF_SCORES.get(event.kind, event.kind)
    return "step" if event.section[1] == "step" and event.kind == KINDS[TEMPORARIES] else event.kind


def _parts(event: Event, kinds: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """The kinds and bytes of a block, negative if it is freed."""
    sign = -1 if event.is_free else 1
    yield kinds[event.made], sign * (event.nbytes - event.rest)
    if event.rest:
        yield UNSPLIT, sign * event.rest


def _changes(
    events: Sequence[Event], kinds: Mapping[int, int]
) -> tuple[list[MemoryPlace], list[tuple[int, int, int]]]:
    """The operations in order, and what each of them allocates and frees."""
    places: list[MemoryPlace] = []
    changes = []
    for event in events:
        layer, phase = event.section
        place = MemoryPlace(layer, phase, "" if event.op is None else event.op.name)
        if not places or place != places[-1]:
            places.append(place)
        changes += [(len(places) - 1, kind, nbytes) for kind, nbytes in _parts(event, kinds)]
    return places, changes
