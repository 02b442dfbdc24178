"""Which attention kernels an encoder can run with: limits of CUDA's kernels, for the checks of a config and for advice."""

from __future__ import annotations

from ..errors import Message
from ..units import ITEM_BYTES, KERNEL_ALIGNMENT_BYTES
from .implementations import unfit_kernel as unfit_implementation
from .model import EncoderConfig, StageConfig
from .plan import LayerConfig
from .registry import BLOCKS


def unfit_kernel(kernel: str, block: str) -> Message | None:
    """Why blocks of a kind cannot run with a kernel; None if they can."""
    modelled = BLOCKS[block].kernels
    if kernel in modelled:
        return None
    return Message(
        "kernel-not-modelled",
        f"run.attention {kernel} is not modelled for {block} blocks: use {' or '.join(modelled)}",
    )


def unfit_positions(kernel: str, rel_pos: str) -> Message | None:
    """Why a kernel cannot take these relative positions; None if it can."""
    if kernel != "fused" or rel_pos != "joint":
        return None
    return Message(
        "kernel-rel-pos",
        "run.attention fused supports decomposed relative positions only, not joint ones: use sdpa or eager",
    )


def unfit_shift(kernel: str, layer: LayerConfig) -> Message | None:
    """Why a kernel cannot run a block with shifted windows; None if it can."""
    if kernel != "fused" or not layer.is_shifted or layer.stage.rel_pos == "none":
        return None
    return Message(
        "kernel-shift",
        "run.attention fused never forms the score matrix, so it cannot add the mask of shifted windows: use sdpa or eager",
    )


def unfit_heads(kernel: str, embed_dim: int, num_heads: int, dtype: str) -> Message | None:
    """Why a kernel cannot take heads of this width in this dtype; None if it can."""
    head_dim, step = embed_dim // num_heads, KERNEL_ALIGNMENT_BYTES // ITEM_BYTES[dtype]
    if kernel == "eager" or head_dim % step == 0:
        return None
    return Message(
        "kernel-head-width",
        f"run.attention {kernel} in {dtype} needs a head width that is a multiple of {step}, as CUDA's kernels do, not "
        f"{head_dim} (embed_dim {embed_dim} / num_heads {num_heads}): use eager",
    )


def unfit(kernel: str, config: EncoderConfig) -> Message | None:
    """Why some block of an encoder cannot run with a kernel; None if all can."""

    def of_stage(stage: StageConfig) -> Message | None:
        heads = unfit_heads(kernel, stage.embed_dim, stage.num_heads, config.run.product_dtype)
        return unfit_kernel(kernel, stage.block) or unfit_positions(kernel, stage.rel_pos) or heads

    shifts = (unfit_shift(kernel, layer) for layer in config.kinds)
    stages = map(of_stage, dict.fromkeys(layer.stage for layer in config.kinds))
    return unfit_implementation(config, kernel) or next(filter(None, (*stages, *shifts)), None)


def takes(kernel: str, config: EncoderConfig) -> bool:
    """Whether every block of an encoder can run with a kernel."""
    return unfit(kernel, config) is None
