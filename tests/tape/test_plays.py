"""What the quick allocator makes of random scripts is what `allocator.py` makes of them, in each memory."""

import random

import pytest

from samattn_cli.tape.allocator import UNIT, Allocator, OutOfMemoryError
from samattn_cli.tape.plays import (
    ELSEWHERE,
    EMPTY,
    UNLIMITED,
    Memory,
    Part,
    Piece,
    Played,
    is_small,
    most_small,
    play,
    stopped_at,
)

PARTS, PIECES, EVENTS, REPEATED = 5, 3, 24, 3
SIZES = [1, 2, 3, 100, 1024, 1500, 2047, 2048, 2049, 5000, 9000, 20479, 20480, 20481, 30000, 65536, 65537]
SHARES = (4.0, 1.0, 0.99, 0.95, 0.9, 0.8, 0.6, 0.4, 0.1)


def random_piece(rng, begun, live):
    """A piece that begins with a request of this number; `live` has the numbers of those that are not freed."""
    events, elsewhere, made = [], [], begun
    for _ in range(EVENTS):
        if live and rng.random() < 0.5:
            number = live.pop(rng.randrange(len(live)))
            events.append(begun - 1 - number if number >= begun else ELSEWHERE)
            elsewhere += [number] * (number < begun)
        else:
            events.append(rng.choice(SIZES) + rng.randrange(3))
            live.append(made)
            made += 1
    return Piece(tuple(events), tuple(elsewhere)), made


def closed_piece(rng):
    """A piece that frees all that it requests."""
    sizes = [rng.choice(SIZES) for _ in range(6)]
    return Piece((*sizes, *rng.sample(range(-6, 0), 6)))


def random_script(rng):
    made, live, script = 0, [], []
    for number in range(PARTS):
        pieces = []
        for _ in range(PIECES):
            piece, made = random_piece(rng, made, live)
            pieces.append(piece)
        if not number:
            pieces.append(Piece((ELSEWHERE,), (EMPTY,)))
        closed = closed_piece(rng)
        pieces += [closed] * REPEATED
        made += REPEATED * sum(event > 0 for event in closed.events)
        script.append(Part((f"blocks.{number}", "forward"), number > 1, tuple(pieces)))
    return tuple(script)


def by_allocator(script, capacity):
    allocator, blocks, peak = Allocator(capacity), [], 0
    for number, part in enumerate(script):
        allocator.reset_peak_allocated()
        try:
            for piece in part.pieces:
                play_piece(allocator, piece, blocks)
        except OutOfMemoryError:
            return Played(allocator.peak_reserved, peak, " ".join(part.section))
        if part.counts:
            peak = max(peak, allocator.peak_allocated)
        if not number:
            allocator.peak_reserved = allocator.reserved
    return Played(allocator.peak_reserved, peak)


def play_piece(allocator, piece, blocks):
    begun, elsewhere = len(blocks), iter(piece.elsewhere)
    for event in piece.events:
        if event > 0:
            blocks.append(allocator.allocate(event * UNIT))
        elif event < 0:
            allocator.free(blocks[begun - 1 - event])
        elif (number := next(elsewhere)) == EMPTY:
            allocator.empty_cache()
        else:
            allocator.free(blocks[number])


@pytest.mark.parametrize(
    "seed", [*range(30), *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(30, 900))]
)
def test_random_scripts(seed):
    script = random_script(random.Random(seed))
    unlimited = play(script)
    assert unlimited == by_allocator(script, None)
    assert unlimited.stopped_at is None
    small = Memory(UNLIMITED, is_small)
    for part in script:
        small.play(part)
    assert most_small(script) >= small.peak_reserved
    outcomes = set()
    for share in SHARES:
        capacity = int(share * unlimited.reserved)
        played = play(script, capacity)
        assert played == by_allocator(script, capacity)
        assert stopped_at(script, capacity) == played.stopped_at
        outcomes.add(played.stopped_at is None)
    assert outcomes == {True, False}
