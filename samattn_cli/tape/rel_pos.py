"""Relative positions on the Tape; in torch, with the sources: `samattn_cli/stack/rel_pos.py`."""

from __future__ import annotations

from collections.abc import Callable

from .storage import Dim, Shape
from .tape import Tape
from .tensor import Tensor


def decomposed_terms(
    tape: Tape, q: Tensor, Rh: Tensor, Rw: Tensor, drop: Callable[[Tensor], None] | None = None
) -> tuple[Tensor, Tensor]:
    """The term of each query (..., H, W, d) for each row and column of keys: (..., H, W, H), (..., H, W, W).

    `drop` is called with Rh once the terms of rows are there.
    """
    *batch, H, W, d = q.shape
    dims = range(len(batch))
    h, w, c = (len(batch) + i for i in range(3))
    N = q.elements // (H * W * d)
    # (H, N*W, d) @ (H, d, H) -> (..., H, W, H)
    by_row = tape.reshape("rel_h_q", q.permute(h, *dims, w, c), H, N * W, d)
    rel_h = tape.bmm("rel_h", by_row, Rh.permute(0, 2, 1)).view(H, *batch, W, H)
    tape.free(by_row, keep=q)
    if drop is not None:
        drop(Rh)
    # (W, N*H, d) @ (W, d, W) -> (..., H, W, W)
    by_column = tape.reshape("rel_w_q", q.permute(w, *dims, h, c), W, N * H, d)
    rel_w = tape.bmm("rel_w", by_column, Rw.permute(0, 2, 1)).view(W, *batch, H, W)
    tape.free(by_column, keep=q)
    first = [i + 1 for i in dims]
    return rel_h.permute(*first, 0, w, c), rel_w.permute(*first, w, 0, c)


def joint_term(tape: Tape, q: Tensor, size: Shape, made_for: Shape) -> Tensor:
    """The term of each query for each key, with a vector per relative position: (N, HW, d) -> (N, HW, HW).

    The table is for a grid `made_for`, and is resized if the grid has another `size`.
    """
    (_, _, d), (H, W) = q.shape, size
    name, wanted, own = "rel_pos_hw", offsets(*size), offsets(*made_for)
    resized = _resized_plane(tape, name, own, wanted, d) if differ(own, wanted) else None
    rows, columns = relative_index(tape, "rows", H), relative_index(tape, "columns", W)
    table = resized or tape.used_weight(name, *own, d)
    R = tape.rows(name, table, (rows, columns), H, W, H, W, d).view(H * W, H * W, d)
    tape.free(rows, columns, *([resized] if resized else []))
    # (HW, N, d) @ (HW, d, HW) -> (N, HW, HW)
    rel = tape.bmm("rel_hw", q.permute(1, 0, 2), R.permute(0, 2, 1)).permute(1, 0, 2)
    tape.free(R)
    return rel


def relative_positions(tape: Tape, name: str, size: Dim, made_for: Dim, d: Dim) -> Tensor:
    """The row of a table for each pair of a query and a key along one axis: (size, size, d).

    The table is for a side `made_for`, and is resized for another `size`.
    """
    wanted, own = offsets(size), offsets(made_for)
    resized = _resized_table(tape, name, own, wanted, d) if differ(own, wanted) else None
    index = relative_index(tape, f"{name}.index", size)
    table = resized or tape.used_weight(name, *own, d)
    R = tape.rows(name, table, (index,), size, size, d)
    tape.free(index, *([resized] if resized else []))
    return R


def resized_positions(tape: Tape, name: str, size: Dim, made_for: Dim, d: Dim) -> Tensor:
    """The same rows as transformers finds them: the table is always resized, and the index is on the host."""
    table = _resized_table(tape, name, offsets(made_for), offsets(size), d)
    R = _rows_by_host(tape, name, table, size, d)
    tape.free(table)
    return R


def positions_by_host(tape: Tape, name: str, size: Dim, made_for: Dim, d: Dim) -> Tensor:
    """The same rows as timm finds them: the table is resized for another size, and the index is on the host."""
    wanted, own = offsets(size), offsets(made_for)
    if differ(own, wanted):
        return resized_positions(tape, name, size, made_for, d)
    return _rows_by_host(tape, name, tape.used_weight(name, *own, d), size, d)


def _rows_by_host(tape: Tape, name: str, table: Tensor, size: Dim, d: Dim) -> Tensor:
    return tape.rows(name, table, (tape.on_host(size, size),), size, size, d)


def offsets(*sides: Dim) -> Shape:
    """Number of offsets of a query from a key along each side."""
    return tuple(2 * side - 1 for side in sides)


def differ(own: Shape, wanted: Shape) -> bool:
    """Whether a table has to be resized."""
    return own != wanted


def _resized_table(tape: Tape, name: str, own: Shape, wanted: Shape, d: Dim) -> Tensor:
    """(L, d) -> (length, d), linearly."""
    (L,), (length,) = own, wanted
    channels = tape.used_weight(name, L, d).permute(1, 0).view(1, d, L)
    return tape.interpolate(f"{name}.resize", channels, (length,), "linear").view(d, length).permute(1, 0)


def _resized_plane(tape: Tape, name: str, own: Shape, wanted: Shape, d: Dim) -> Tensor:
    """(L, M, d) -> (*wanted, d), bilinearly."""
    channels = tape.used_weight(name, *own, d).permute(2, 0, 1).view(1, d, *own)
    return tape.interpolate(f"{name}.resize", channels, wanted, "bilinear").view(d, *wanted).permute(1, 2, 0)


def relative_index(tape: Tape, name: str, size: Dim) -> Tensor:
    """Indexes q - k + size - 1, for each pair: (size, size)."""
    at = tape.integers(f"{name}.arange", size)
    offset = tape.integers(f"{name}.offset", size, size, reads=(at, at))
    index = tape.integers(name, size, size, reads=(offset,))
    tape.free(offset, at)
    return index
