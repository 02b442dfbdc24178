"""Names of weights in other code, and what stands for them in the names that kinds of checkpoints read.

Sources: open-mmlab/mmpretrain, models/backbones/vision_transformer.py, vit_sam.py, swin_transformer.py and
swin_transformer_v2.py; open-mmlab/mmdetection, models/backbones/swin.py; transformers 5.23.0, models/sam/modeling_sam.py.
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

DIALECTS: tuple[tuple[str, Pairs], ...] = (
    ("stages.0.blocks.0.attn.w_msa.qkv.weight", MM_SWIN),
    ("layers.0.ffn.layers.0.0.weight", MM_VIT),
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
