"""Relative positions: the terms that they add to the scores of queries over a grid.

Source: MViTv2 (arXiv:2112.01526), equation 5, as in segment-anything's modeling/image_encoder.py. The joint table is that of
Shaw et al. (arXiv:1803.02155) in two dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoder.keys import Pair


def decomposed_terms(q: Tensor, Rh: Tensor, Rw: Tensor) -> tuple[Tensor, Tensor]:
    """The term of each query for each row and each column of keys.

    Args:
        q: queries (..., H, W, d), unscaled.
        Rh: (H, H, d), for each pair of a query's row and a key's row.
        Rw: (W, W, d), likewise for columns.

    Returns:
        q.Rh (..., H, W, H) and q.Rw (..., H, W, W).
    """
    *batch, H, W, d = q.shape
    # (H, N*W, d) @ (H, d, H) -> (..., H, W, H): one product for each row of queries
    rel_h = torch.bmm(q.movedim(-3, 0).reshape(H, -1, d), Rh.transpose(1, 2))
    rel_h = rel_h.view(H, *batch, W, H).movedim(0, -3)
    # (W, N*H, d) @ (W, d, W) -> (..., H, W, W)
    rel_w = torch.bmm(q.movedim(-2, 0).reshape(W, -1, d), Rw.transpose(1, 2))
    rel_w = rel_w.view(W, *batch, H, W).movedim(0, -2)
    return rel_h, rel_w


def joint_term(q: Tensor, table: Tensor, size: Pair) -> Tensor:
    """The term of each query for each key: (N, H*W, d), unscaled -> (N, H*W, H*W).

    Args:
        q: queries.
        table: (2H-1, 2W-1, d), or another size to interpolate.
        size: (H, W).
    """
    H, W = size
    R = joint_relative_positions(resize_plane(table, (2 * H - 1, 2 * W - 1)), size)  # (H*W, H*W, d)
    # (H*W, N, d) @ (H*W, d, H*W) -> (N, H*W, H*W): one product for each position of queries
    return torch.bmm(q.transpose(0, 1), R.transpose(1, 2)).transpose(0, 1)


def resized_relative_positions(table: Tensor, size: int) -> Tensor:
    """(L, d) -> (size, size, d): the vector of each pair of a query and a key; the table is resized if necessary."""
    return relative_positions(resize_table(table, 2 * size - 1), size)


def relative_positions(table: Tensor, size: int) -> Tensor:
    """(2*size-1, d) -> (size, size, d): entry [q, k] is the row for q - k."""
    return table[relative_index(size, table.device)]


def joint_relative_positions(table: Tensor, size: Pair) -> Tensor:
    """(2H-1, 2W-1, d) -> (H*W, H*W, d): entry [q, k] is that of the offset (rows, columns) of q from k."""
    H, W = size
    rows = relative_index(H, table.device)[:, None, :, None]
    columns = relative_index(W, table.device)[None, :, None, :]
    return table[rows, columns].view(H * W, H * W, -1)


def relative_index(size: int, device: torch.device) -> Tensor:
    """(size, size): q - k + size - 1."""
    at = torch.arange(size, device=device)
    return at[:, None] - at[None, :] + (size - 1)


def resize_table(table: Tensor, length: int) -> Tensor:
    """(L, d) -> (length, d), linearly, as detectron2's get_rel_pos resizes a table to another grid."""
    if table.shape[0] == length:
        return table
    return F.interpolate(table.T[None], size=length, mode="linear").view(-1, length).T


def resize_plane(table: Tensor, size: Pair) -> Tensor:
    """(L, M, d) -> (*size, d), bilinearly: `resize_table` along both axes."""
    if table.shape[:2] == size:
        return table
    return F.interpolate(table.permute(2, 0, 1)[None], size=size, mode="bilinear").squeeze(0).permute(1, 2, 0)
