"""SAM's and ViTDet's plain encoder: patches, windows over a padded grid, SAM's neck."""

from ..slots import Block, Family, Part, PatchEmbed, shift_problems

FAMILY = Family(
    blocks={
        "vit": Block(
            summary="SAM's and ViTDet's block: pre-norm, windows over a padded grid, decomposed or joint positions.",
            keys=frozenset({"rel_pos", "shift_size"}),
            rel_pos=("none", "decomposed", "joint"),
            kernels=("eager", "sdpa", "fused"),
            problems=shift_problems,
        )
    },
    patch_embeds={"patch": PatchEmbed(summary="Non-overlapping patches by a convolution.")},
    pos_embeds={"learned": Part(summary="One learned vector per patch.")},
    necks={
        "sam": Part(
            summary="1x1 and 3x3 convolutions to out_chans, a LayerNorm after each.",
            keys=frozenset({"out_chans"}),
        )
    },
)
