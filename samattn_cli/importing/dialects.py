"""Names of weights in other code, and what stands for them in the names that kinds of checkpoints read.

Sources: torchvision 0.29.1, models/swin_transformer.py, video/swin_transformer.py and vision_transformer.py; open-mmlab/mmpretrain, models/backbones/vision_transformer.py, vit_sam.py, swin_transformer.py and
swin_transformer_v2.py; open-mmlab/mmdetection, models/backbones/swin.py; transformers 5.23.0, models/sam/modeling_sam.py;
facebookresearch/dinov2, models/vision_transformer.py (BlockChunk).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

Pairs = tuple[tuple[str, str], ...]

MM_MLP: Pairs = (
    (r"\bffn\.layers\.0\.0\.", "mlp.fc1."),
    (r"\bffn\.layers\.1\.", "mlp.fc2."),
    (r"\bpatch_embed\.projection\.", "patch_embed.proj."),
)
MM_SWIN: Pairs = (
    *MM_MLP,
    (r"\battn\.w_msa\.", "attn."),
    (r"^stages\.", "layers."),
)
MM_VIT: Pairs = (
    *MM_MLP,
    (r"^layers\.(\d+)\.(?:ln|norm)(\d)\.", r"blocks.\1.norm\2."),
    (r"^layers\.", "blocks."),
    (r"^(?:ln|norm)1\.", "norm."),
    (r"^channel_reduction\.", "neck."),
)
SAM_OF_TRANSFORMERS: Pairs = (
    (r"^vision_encoder\.", "image_encoder."),
    (r"\bpatch_embed\.projection\.", "patch_embed.proj."),
    (r"\blayers\.(\d+)\.layer_norm(\d)\.", r"blocks.\1.norm\2."),
    (r"\blayers\.(\d+)\.(attn|mlp)\.", r"blocks.\1.\2."),
    (r"\bneck\.conv1\.", "neck.0."),
    (r"\bneck\.layer_norm1\.", "neck.1."),
    (r"\bneck\.conv2\.", "neck.2."),
    (r"\bneck\.layer_norm2\.", "neck.3."),
)

TORCHVISION_MLP: Pairs = ((r"\bmlp\.(?:0|linear_1)\.", "mlp.fc1."), (r"\bmlp\.(?:3|linear_2)\.", "mlp.fc2."))
MOST_STAGES = 8
SWIN_OF_TORCHVISION: Pairs = (
    *TORCHVISION_MLP,
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    *((rf"^features\.{2 * stage + 1}\.", f"layers.{stage}.blocks.") for stage in range(MOST_STAGES)),
    *((rf"^features\.{2 * stage + 2}\.", f"layers.{stage}.downsample.") for stage in range(MOST_STAGES)),
)
"""Its merging of patches is an item between two stages."""
SWIN3D_OF_TORCHVISION: Pairs = (
    *TORCHVISION_MLP,
    *((rf"^features\.{2 * stage}\.", f"layers.{stage}.blocks.") for stage in range(MOST_STAGES)),
    *((rf"^features\.{2 * stage + 1}\.", f"layers.{stage}.downsample.") for stage in range(MOST_STAGES)),
)
"""Its embedding of patches is not among its features."""
VIT_OF_TORCHVISION: Pairs = (
    *TORCHVISION_MLP,
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.", "head."),
    (r"\bln_(\d)\.", r"norm\1."),
    (r"\bself_attention\.in_proj_", "attn.qkv."),
    (r"\bself_attention\.out_proj\.", "attn.proj."),
)

CHUNKS_OF_DINO: Pairs = ((r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),)
"""FSDP's chunks of blocks, in which a block has its number in the whole encoder."""

DIALECTS: tuple[tuple[str, Pairs], ...] = (
    ("stages.0.blocks.0.attn.w_msa.qkv.weight", MM_SWIN),
    ("layers.0.ffn.layers.0.0.weight", MM_VIT),
    ("features.1.0.attn.qkv.weight", SWIN_OF_TORCHVISION),
    ("features.0.0.attn.qkv.weight", SWIN3D_OF_TORCHVISION),
    ("encoder.layers.encoder_layer_0.ln_1.weight", VIT_OF_TORCHVISION),
    ("blocks.0.0.attn.qkv.weight", CHUNKS_OF_DINO),
    ("vision_encoder.layers.0.mlp.lin1.weight", SAM_OF_TRANSFORMERS),
)
"""A name that only this dialect has; patterns, and what replaces each."""


def in_our_dialect(names: Collection[str]) -> Callable[[str], str]:
    """The function that translates these names, which are an encoder's without a prefix."""
    pairs = next((pairs for known, pairs in DIALECTS if known in names), ())
    compiled = [(re.compile(pattern), ours) for pattern, ours in pairs]

    def translate(name: str) -> str:
        for pattern, ours in compiled:
            name = pattern.sub(ours, name)
        return name

    return translate
