"""Small encoders of the families that came later, for `record`: presets with fewer blocks, and encoders without a preset."""

from __future__ import annotations

from typing import Any

BOTH = "inference,training"
AXIAL = {
    "image_size": [64, 96],
    "patch_size": 16,
    "embed_dim": 128,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 8 / 3,
    "norm": True,
}
"""Of plain blocks with axial rotary positions."""
CLIP = {"pre_norm": True, "patch_embed": "patch_no_bias"}

OWN: dict[str, dict[str, Any]] = {
    "own_eva": AXIAL | {"block": "eva", "pos_embed": "prefix", "layer_scale": True},
    "own_dinov3": AXIAL | {"block": "dinov3", "pos_embed": "rotary", "layer_scale": True},
    "own_rope": AXIAL | {"block": "rope", "pos_embed": "prefix", "layer_scale": True},
    "own_pe": AXIAL | {"block": "pe", "pos_embed": "class_token"} | CLIP,
    "own_eva02": AXIAL | {"block": "eva02", "pos_embed": "class_token"},
    "own_eva02_clip": AXIAL | {"block": "eva02_clip", "pos_embed": "class_token"},
}
"""Encoders without a preset."""

TWO_BLOCKS = "stages.0.depth=2 stages.0.global_attn_indexes=1"
BACKBONE = "neck=swin_backbone norm=false implementation=transformers"
MERGED = "stages.0.depth=1 stages.1.depth=1"
GROUPS = " ".join(f"stages.{number}.depth={2 - (number > 0)}" for number in range(0, 12, 2))
SETTINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "eva02_b_det": (("320", TWO_BLOCKS),),
    **dict.fromkeys(OWN, (("64x96", ""), ("64x96", "run.attention=sdpa"))),
    "hat_x2": (("32", GROUPS),),
    "swin3d_t": (("8x56x56", ""),),
    "swin_unetr_24": (("64x64x64", ""),),
    "minicpm_v_4_6": (
        ("224", MERGED),
        ("896", MERGED),
        ("224", f"{MERGED} implementation=transformers run.attention=sdpa"),
    ),
    "muse_glimmer": (
        ("448", TWO_BLOCKS),
        ("448", f"{TWO_BLOCKS} implementation=transformers run.attention=sdpa"),
    ),
    "hiera_t": (("224", "implementation=transformers run.attention=eager"),),
    "swin_t": (("288", f"{BACKBONE} run.attention=eager"), ("288", f"{BACKBONE} run.attention=sdpa")),
    "swinir_lightweight_x2": (("32", ""),),
    "swin2sr_classical_x2": (("32", ""),),
    "mobile_sam": (("256", ""),),
}
"""Image size and other settings of a preset, or of `OWN`."""
TYPES = ("run.autocast=none", "run.dtype=bfloat16", "run.autocast=bfloat16")

SMALL_ENCODERS: tuple[tuple[str, str, dict[str, str]], ...] = tuple(
    (preset, "a100_40", {"--mode": BOTH, "--resolutions": side, "--set": f"{others} {kind}".strip()})
    for preset, several in SETTINGS.items()
    for side, others in several
    for kind in TYPES
)
