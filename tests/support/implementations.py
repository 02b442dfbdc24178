"""Of which presets samattn has the implementation of a library; the others run as the reference."""

from __future__ import annotations

MODELLED = {
    "transformers": (
        "sam_",
        "sam2_",
        "sam3_",
        "vit_",
        "mae_",
        "vitdet_",
        "florence2_",
        "swin_",
        "swinv2_",
        "swin2sr_",
        "qwen2_5_vl_",
        "minicpm_v_",
        "muse_glimmer",
        "rf_detr_",
        "lw_detr_",
        "hiera_",
    ),
    "timm": ("davit_", "florence2_", "sam_", "swin_", "swinv2_", "tiny_vit_", "vit_"),
}
"""How these presets begin, by library."""


def implementation_of(preset: str, library: str) -> str:
    """The value of the key `implementation` for a preset that a library runs."""
    begins = preset.startswith(MODELLED.get(library, ()))
    return library if begins and not preset.endswith(("_fpn", "hiera_b_pretrain")) else "reference"
