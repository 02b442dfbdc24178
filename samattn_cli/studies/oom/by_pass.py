"""The requests of a run without a replay of the allocator: the results of operations, and the live bytes before each."""

from __future__ import annotations

from collections.abc import Iterator

from ...tape.inside import Cuda, is_product
from ...tape.requests import KINDS, TEMPORARIES
from ...tape.timeline import Asked
from ...units import rounded
from ..passes import Passes


def requests_of(passes: Passes) -> Iterator[Asked]:
    """The requests of the results of a pass in the run's mode, in its order, on an A100.

    Live bytes have the workspace of cuBLAS from the first product on, and in a backward that of autograd's thread.
    """
    cuda, most = Cuda(), 0
    products: dict[str, int] = {}  # the phases in which a product has run: each is a thread of its own
    for section, ops in passes.live.items():
        for op, before in ops:
            live = before + sum(products.values())
            for storage in op.allocates:
                nbytes = 0 if storage.is_on_host else rounded(storage.nbytes)
                if nbytes:
                    yield Asked(nbytes, live, live, True, most, section, op.name, KINDS[TEMPORARIES], 1)
                    most = max(most, live + nbytes)
                live += nbytes
            if is_product(op):
                products[section[1]] = cuda.workspace_bytes
