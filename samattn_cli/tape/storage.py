"""The memory that tensors view, and the type of dimensions.

A dimension is an int, or a formula (see `samattn_cli.tape.symbols`) whose comparisons hold for all of its points.
"""

from __future__ import annotations

from typing import Any

from .immutable import immutable

Dim = Any
Shape = tuple[Dim, ...]


@immutable(frozen=True, eq=False)
class Storage:
    """The memory of one or more tensors.

    Attributes:
        nbytes: bytes as asked for, before an allocator rounds them.
        is_weight: whether it is a weight or buffer of the encoder, in memory before and after the pass.
        is_on_host: whether it is in the memory of the host, so that the device's allocator is not asked for it.
    """

    nbytes: Dim
    is_weight: bool = False
    is_on_host: bool = False
