"""The requests of a run without a replay of the allocator: the results of operations, and the live bytes before each."""

from __future__ import annotations

from collections.abc import Iterator

from ...tape.requests import KINDS, TEMPORARIES
from ...tape.timeline import Asked
from ...units import rounded
from ..passes import Passes


def requests_of(passes: Passes) -> Iterator[Asked]:
    """The requests of the results of a pass in the run's mode, in its order."""
    most = 0
    for section, ops in passes.live.items():
        for op, before in ops:
            live = before
            for storage in op.allocates:
                nbytes = rounded(storage.nbytes)
                if nbytes:
                    yield Asked(nbytes, live, live, True, most, section, op.name, KINDS[TEMPORARIES], 1)
                    most = max(most, live + nbytes)
                live += nbytes
