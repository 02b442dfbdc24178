"""SAM's encoder with Medical SAM Adapter or LoRA on the Tape; the same pass in torch is `samattn_cli/families/adapter/stack.py`.

Adapters train even if the other weights are frozen. Shapes: B batch, H x W grid, h x w window, C width, r rank.
"""

from __future__ import annotations

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import window_partition, window_unpartition
from ..vit import tape as vit
from .words import depth_grid


def adapter_block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str = "eager") -> Tensor:
    """Pre-norm block with adapters after attention, over depth and parallel to the MLP: (B, H, W, C) -> the same."""
    stage, shortcut, grid = layer.stage, x, x.shape[1:3]
    tape.registers("norm1", "attn", "norm2", "mlp", "MLP_Adapter", "Space_Adapter", "Depth_Adapter")
    windows = x if layer.is_global else window_partition(tape, x, layer.windows)
    volume = over_depth(tape, windows, layer, kernel)
    normed = tape.layer_norm("norm1", windows)
    tape.free(windows, keep=shortcut)
    with tape.module("attn"):
        attended = vit.attention(tape, normed, layer, kernel)
    tape.free(normed)
    adapted = adapter(tape, "Space_Adapter", attended, stage, skip=True)
    tape.free(attended)
    if volume is not None:
        alone, adapted = adapted, tape.add("add_depth", adapted, volume)
        tape.free(alone)
    joined = adapted if layer.is_global else window_unpartition(tape, adapted, layer.windows, grid)
    tape.free(adapted, keep=joined)
    x = tape.add("add_attn", shortcut, joined)
    tape.free(joined)
    out = both_mlps(tape, x, stage)
    tape.free(x, *([] if volume is None else [volume]))
    return out


def both_mlps(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """The shortcut plus the MLP plus half of the adapter's output: (B, H, W, C) -> (B, H, W, C)."""
    normed = tape.layer_norm("norm2", x)
    with tape.module("mlp"):
        y = vit.mlp(tape, normed, stage)
    added = tape.add("add_mlp", x, y)
    tape.free(y)
    adapted = adapter(tape, "MLP_Adapter", normed, stage)
    scaled = tape.scale("scale", adapted)
    tape.free(adapted)
    out = tape.add("add_adapter", added, scaled)
    tape.free(added, scaled, normed)
    return out


def over_depth(tape: Tape, windows: Tensor, layer: LayerConfig, kernel: str) -> Tensor | None:
    """Attention with the same weights over the slices of each volume: (B, h, w, C) -> the same; None for images."""
    C, stage = windows.shape[-1], layer.stage
    slices = stage.depth_slices
    if not slices:
        unused_adapter(tape, "Depth_Adapter", C, stage)
        return None
    h, w = windows.shape[1:3]
    volumes = windows.shape[0] // slices
    # (volumes * slices, h, w, C) -> (volumes * h * w, slices, C)
    apart = windows.view(volumes, slices, h, w, C).permute(0, 2, 3, 1, 4)
    places = tape.reshape("over_depth", apart, volumes * h * w, slices, C)
    normed = tape.layer_norm("norm1", places)
    tape.free(places, keep=windows)  # views, where there is one volume
    with tape.module("attn"):
        grid = normed.view(volumes * h * w, *depth_grid(slices), C)
        attended = vit.attention(tape, grid, layer, kernel)
    adapted = adapter(tape, "Depth_Adapter", attended, stage)
    tape.free(attended, normed)
    back = adapted.view(volumes, h * w, slices, C).permute(0, 2, 1, 3)
    out = tape.reshape("over_grid", back, volumes * slices, h, w, C)
    tape.free(adapted, keep=out)
    return out


def adapter(tape: Tape, name: str, x: Tensor, stage: StageConfig, *, skip: bool = False) -> Tensor:
    """Linear, GELU, linear; with `skip` the input is added: (..., C) -> (..., C)."""
    with tape.module(name), tape.adapters():
        hidden = tape.linear("D_fc1", x, stage.adapter_dim)
        active = tape.gelu("act", hidden)
        tape.free(hidden)
        out = tape.linear("D_fc2", active, x.shape[-1])
        tape.free(active)
        if not skip:
            return out
        added = tape.add("skip", x, out)
        tape.free(out)
        return added


def unused_adapter(tape: Tape, name: str, dim: int, stage: StageConfig) -> None:
    """An adapter that has weights but is never called."""
    with tape.module(name):
        for layer, wide, narrow in (("D_fc1", stage.adapter_dim, dim), ("D_fc2", dim, stage.adapter_dim)):
            tape.unused_weight(f"{layer}.weight", wide, narrow)
            tape.unused_weight(f"{layer}.bias", wide)


def lora_block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str = "eager") -> Tensor:
    """SAM's block with low-rank terms of queries and values: (B, H, W, C) -> (B, H, W, C)."""
    return vit.block(tape, x, layer, kernel, project=lora_qkv)


def lora_qkv(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """Queries, keys and values, low-rank terms added to the first and last in place: (..., C) -> (..., 3C)."""
    C = x.shape[-1]
    with tape.module("qkv"):
        qkv = vit.qkv_of(tape, x, stage)
        new_q, new_v = (low_rank(tape, which, x, stage.lora_rank) for which in "qv")
        qkv = tape.add_to_channels(qkv, ("add_q", 0, new_q), ("add_v", 2 * C, new_v))
        tape.free(new_q, new_v)
    return qkv


def low_rank(tape: Tape, which: str, x: Tensor, rank: int) -> Tensor:
    """A linear layer to `rank` channels and one back: (..., C) -> (..., C)."""
    with tape.adapters():
        narrow = tape.linear(f"linear_a_{which}", x, rank, bias=False)
        out = tape.linear(f"linear_b_{which}", narrow, x.shape[-1], bias=False)
    tape.free(narrow)
    return out


BLOCKS = {"sam_adapter": adapter_block, "sam_lora": lora_block}
