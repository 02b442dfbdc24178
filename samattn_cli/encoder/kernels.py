"""Which encoders an attention kernel takes: facts about CUDA's kernels, for the config's rules and for advice."""

from __future__ import annotations

from ..units import ITEM_BYTES, KERNEL_ALIGNMENT_BYTES
from .model import EncoderConfig, StageConfig
from .plan import LayerConfig
from .registry import BLOCKS


def unfit_kernel(kernel: str, block: str) -> str:
    """Why blocks of a kind cannot have a kernel; "" if they can."""
    modelled = BLOCKS[block].kernels
    return (
        ""
        if kernel in modelled
        else f"run.attention {kernel} is not modelled for blocks of {block}: use {' or '.join(modelled)}"
    )


def unfit_positions(kernel: str, rel_pos: str) -> str:
    """Why a kernel cannot have such relative positions; "" if it can."""
    if kernel == "fused" and rel_pos == "joint":
        return "run.attention fused folds decomposed relative positions, not joint ones: use sdpa or eager"
    return ""


def unfit_shift(kernel: str, layer: LayerConfig) -> str:
    """Why a kernel cannot take a block's shifted windows; "" if it can."""
    if kernel == "fused" and layer.is_shifted and layer.stage.rel_pos != "none":
        return (
            "run.attention fused makes no matrix of tokens by tokens, which is what keeps shifted windows apart: use "
            "sdpa or eager"
        )
    return ""


def unfit_heads(kernel: str, embed_dim: int, num_heads: int, dtype: str) -> str:
    """Why a kernel cannot take such heads in products of a dtype; "" if it can."""
    head_dim, step = embed_dim // num_heads, KERNEL_ALIGNMENT_BYTES // ITEM_BYTES[dtype]
    if kernel == "eager" or head_dim % step == 0:
        return ""
    return (
        f"run.attention {kernel} needs heads of a multiple of {step} channels in {dtype}, as CUDA's kernels do, not "
        f"{head_dim} (embed_dim {embed_dim} over num_heads {num_heads}): use eager"
    )


def unfit(kernel: str, config: EncoderConfig) -> str:
    """Why some block of an encoder cannot be run with a kernel; "" if all can."""

    def of_stage(stage: StageConfig) -> str:
        heads = unfit_heads(kernel, stage.embed_dim, stage.num_heads, config.run.product_dtype)
        return unfit_kernel(kernel, stage.block) or unfit_positions(kernel, stage.rel_pos) or heads

    shifts = (unfit_shift(kernel, layer) for layer in config.layers)
    stages = map(of_stage, dict.fromkeys(layer.stage for layer in config.layers))
    return next(filter(None, (*stages, *shifts)), "")


def takes(kernel: str, config: EncoderConfig) -> bool:
    """Whether every block of an encoder can be run with a kernel."""
    return not unfit(kernel, config)
