"""Memory that tensors view, and the dimensions that sizes are given in.

A dimension is an int or a formula (see `samattn_cli.tape.symbols`), which decides a comparison for all of its points.
"""

from __future__ import annotations

from typing import Any

from .immutable import immutable

Dim = Any
Shape = tuple[Dim, ...]


@immutable(frozen=True, eq=False)
class Storage:
    """Memory behind one or more tensors, in bytes as asked for (not yet rounded by an allocator).

    `is_weight`: it is the encoder's, there before and after the pass; that of a buffer too.
    """

    nbytes: Dim
    is_weight: bool = False
