"""What a masked autoencoder does with its tokens, and masks made in a pass, on the Tape and in torch: see tape_programs."""

from __future__ import annotations

import pytest
import torch

from tests.support.tape_programs import RUNS, Program, derived, traced

B, N, C = 2, 6, 8
KEPT = 3
FLOAT32_BYTES = 4


def masked(tape, x):
    """Random tokens are kept, the others replaced by a mask token and all put back in order (MAE's random_masking)."""
    noise = tape.computed("rand", B, N, item_bytes=FLOAT32_BYTES)
    shuffle = tape.argsort("shuffle", noise)
    restore = tape.argsort("restore", shuffle)
    kept = shuffle.slice(1, 0, KEPT)
    index = tape.repeat("index", kept.unsqueeze(2), 1, 1, C)
    visible = tape.gather_along("visible", x, index)
    tape.free(index)
    mask = tape.computed("mask", B, N, item_bytes=FLOAT32_BYTES)
    in_order = tape.gather_along("mask_in_order", mask, restore)
    tape.free(mask)
    tokens = tape.repeat("mask_tokens", tape.used_weight("mask_token", 1, 1, C), B, N - KEPT, 1)
    joined = tape.cat("cat", (visible, tokens), 1)
    out = tape.gather_along("unshuffle", joined, restore.unsqueeze(2).expanded((B, N, C)))
    tape.free(noise, shuffle, restore, visible, in_order, tokens, joined)
    return out


def masked_in_torch(x, mask_token):
    noise = torch.rand(B, N, device="meta")
    shuffle = torch.argsort(noise, dim=1)
    restore = torch.argsort(shuffle, dim=1)
    kept = shuffle[:, :KEPT]
    visible = torch.gather(x, dim=1, index=kept.unsqueeze(-1).repeat(1, 1, C))
    mask = torch.ones([B, N], device="meta")
    mask[:, :KEPT] = 0
    mask = torch.gather(mask, dim=1, index=restore)
    tokens = mask_token.repeat(B, N - KEPT, 1)
    joined = torch.cat([visible, tokens], dim=1)
    return torch.gather(joined, dim=1, index=restore.unsqueeze(-1).expand(-1, -1, C))


def reordered(tape, x):
    """Tokens in the order of windows and back, as Qwen2.5-VL has them."""
    index = tape.integers("window_index", N)
    windows = tape.rows("windows", x, (index,), N, C)
    reverse = tape.argsort("reverse", index)
    out = tape.rows("back", tape.exp("exp", windows), (reverse,), N, C)
    tape.free(windows, index, reverse)
    return out


def reordered_in_torch(x):
    index = torch.empty(N, dtype=torch.int64, device="meta")
    windows = x[index, :]
    reverse = torch.argsort(index)
    return windows.exp()[reverse, :]


H = W = 4
WINDOW = 2


def shifted(tape, x):
    """Scores (windows, N, N) plus the mask of shifted windows, made as transformers makes Swin's (get_attn_mask)."""
    regions = tape.computed("img_mask", 1, H, W, 1, item_bytes=x.item_bytes)
    cut = regions.view(1, H // WINDOW, WINDOW, W // WINDOW, WINDOW, 1).permute(0, 1, 3, 2, 4, 5)
    windows = tape.contiguous("mask_windows", cut).view(4, WINDOW * WINDOW)
    shape = (4, WINDOW * WINDOW, WINDOW * WINDOW)
    difference = tape.computed("difference", *shape, item_bytes=x.item_bytes, reads=(windows,))
    other = tape.computed("other", *shape, item_bytes=1, reads=(difference,))
    filled = tape.masked_fill("fill", difference, other)
    tape.free(other)
    same = tape.computed("same", *shape, item_bytes=1, reads=(difference,))
    mask = tape.masked_fill("fill_again", filled, same)
    tape.free(difference, filled, same)
    out = tape.add("add", x, mask)
    tape.free(mask, windows, regions)
    return out


def shifted_in_torch(x):
    regions = torch.zeros((1, H, W, 1), dtype=x.dtype, device="meta")
    for rows in (slice(0, -2), slice(-2, -1), slice(-1, None)):
        regions[:, rows, 0:2, :] = 1
    windows = regions.view(1, H // WINDOW, WINDOW, W // WINDOW, WINDOW, 1)
    windows = windows.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, WINDOW * WINDOW)
    mask = windows.unsqueeze(1) - windows.unsqueeze(2)
    mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
    return x + mask


PROGRAMS = {
    "random masking": Program((B, N, C), masked, masked_in_torch, ((1, 1, C),)),
    "tokens in another order": Program((N, C), reordered, reordered_in_torch),
    "a mask of shifted windows": Program((4, WINDOW**2, WINDOW**2), shifted, shifted_in_torch),
}


@pytest.mark.parametrize("run", RUNS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_masks_and_indexes_allocate_and_keep_what_torch_does(program, run):
    assert derived(program, run) == traced(program, run)
