"""SAM and MedSAM: transformers' SamVisionConfig; checkpoints of segment-anything, Medical SAM Adapter and timm.

Sources: transformers, models/sam/configuration_sam.py; segment-anything, modeling/image_encoder.py; timm,
models/vision_transformer_sam.py; Medical SAM Adapter, models/ImageEncoder/vit/adapter_block.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...encoder.model import EncoderConfig
from ...encoder.placement import NO_WINDOW
from ...errors import Message
from ...importing.checkpoint import Shapes
from ...importing.description import Description, Keys, Size, as_size, ratio_of
from ...importing.weights import CheckpointKind, Weights, renamer

ENCODER = "image_encoder."
"""Prefix of the encoder's weights in a checkpoint of the whole model."""

HQ_DECODER = "mask_decoder.hf_token.weight"
"""Of SAM-HQ's decoder, which reads outputs of global blocks too."""

ADAPTER = "blocks.0.Space_Adapter.D_fc1.weight"
LORA = "blocks.0.attn.qkv.linear_a_q.weight"


def from_model(description: Description) -> Keys:
    """The vision encoder of a SamConfig."""
    return from_vision(description.inner("vision_config", "sam_vision_model"))


def from_hq_model(description: Description) -> Keys:
    """The vision encoder of a SamHQConfig."""
    return from_hq_vision(description.inner("vision_config", "sam_hq_vision_model"))


def from_hq_vision(description: Description) -> Keys:
    """A SamHQVisionConfig, which has the entries of a SamVisionConfig."""
    return {**from_vision(description), "neck": "sam_hq"}


def from_formulanet(description: Description) -> Keys:
    """A PPFormulaNetVisionConfig, whose model has a projector after the neck."""
    description.notes.append("Its multi_modal_projector is not a part of the encoder, and is left out.")
    return from_vision(description.with_defaults(image_size=512))


def from_slanext(description: Description) -> Keys:
    """A SLANeXtVisionConfig."""
    return from_vision(description.with_defaults(image_size=512))


def from_vision(description: Description) -> Keys:
    """A SamVisionConfig."""
    description = description.with_defaults(
        hidden_size=768, output_channels=256, num_hidden_layers=12, num_attention_heads=12, num_channels=3,
        image_size=1024, patch_size=16, qkv_bias=True, mlp_ratio=4.0, use_abs_pos=True, use_rel_pos=True,
        window_size=14, global_attn_indexes=[2, 5, 8, 11],
    )  # fmt: skip
    description.expect("hidden_act", "gelu")
    description.ignore("attention_dropout")
    return {
        "image_size": description.size("image_size"),
        "in_chans": description.integer("num_channels"),
        "patch_size": description.side("patch_size"),
        **_blocks(description),
        "neck": "sam",
        "out_chans": description.integer("output_channels"),
    }


def _blocks(description: Description) -> Keys:
    width, ratio = description.integer("hidden_size"), description.number("mlp_ratio")
    has_mlp_dim = "mlp_dim" in description.entries
    return {
        "embed_dim": width,
        "depth": description.integer("num_hidden_layers"),
        "num_heads": description.integer("num_attention_heads"),
        "mlp_ratio": ratio_of(description.integer("mlp_dim"), width) if has_mlp_dim else ratio,
        "qkv_bias": description.flag("qkv_bias"),
        "pos_embed": "learned" if description.flag("use_abs_pos") else "none",
        "rel_pos": "decomposed" if description.flag("use_rel_pos") else "none",
        "window_size": description.size("window_size"),
        "global_attn_indexes": description.integers("global_attn_indexes"),
    }


def transformers_differences(config: EncoderConfig) -> Iterator[str]:
    """Transformers 5.23.0 supports squares only: it has one number for an image's side, and one for a window's."""
    for what, (height, width) in (("images", config.image_size), ("windows", config.stages[0].window_size)):
        if height != width:
            yield Message(
                "transformers-cannot-run",
                f"transformers cannot run SAM with {what} of {height}x{width}: it supports squares only.",
            )


def is_sam(shapes: Shapes) -> bool:
    """Whether it is an ImageEncoderViT: absolute positions on a grid and relative ones, or SAM's neck after blocks."""
    found = {name.removeprefix(ENCODER): len(shape) for name, shape in shapes.items()}
    has_positions = found.get("pos_embed") == len("1HWC") and "blocks.0.attn.rel_pos_h" in found
    return has_positions or {"neck.0.weight", "neck.2.weight", "blocks.0.attn.qkv.weight"} <= found.keys()


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Names of the encoder's weights only, without their prefix. timm names the MLP's layers fc1 and fc2."""
    ours = (r"(blocks\.\d+\.mlp\.)fc(\d\..*)", r"\1lin\2")
    if not any(name.startswith(ENCODER) for name in shapes):
        return renamer((r"head\..*", None), ours)
    return renamer((rf"(?!{ENCODER}).*", None), (rf"{ENCODER}(.*)", r"\1"))


def from_weights(weights: Weights) -> Keys:
    """The blocks' tables of relative positions, (2 * side - 1, head width) each, show windows and heads."""
    width, in_chans, *_ = weights.shape("patch_embed.proj.weight", 4)
    patch, depth = (
        weights.square("patch_embed.proj.weight"),
        weights.count_at_least_one("blocks.{}.norm1.weight"),
    )
    hidden, _ = weights.shape("blocks.0.mlp.lin1.weight", 2)
    image, placement = _placement(weights, patch, depth)
    block, adapter = _block(weights, width)
    return {
        "image_size": image,
        "in_chans": in_chans,
        "patch_size": patch,
        "block": block,
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // weights.shape("blocks.0.attn.rel_pos_h", 2)[1],
        "mlp_ratio": ratio_of(hidden, width),
        **adapter,
        "qkv_bias": bool({"blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.qkv.bias"} & weights.shapes.keys()),
        "pos_embed": "learned",
        "rel_pos": "decomposed",
        **placement,
        **_neck(weights),
        **({"run": {"trains": "adapters"}} if adapter else {}),
    }


def _block(weights: Weights, width: int) -> tuple[str, Keys]:
    """The kind of block, and the keys of its adapter, if it has one."""
    if ADAPTER in weights:
        weights.notes.append(
            "Weights do not show whether the adapters run over volumes: depth_slices keeps its default, for images."
        )
        return "sam_adapter", {"adapter_ratio": ratio_of(weights.shape(ADAPTER, 2)[0], width)}
    if LORA in weights:
        return "sam_lora", {"lora_rank": weights.shape(LORA, 2)[0]}
    return "vit", {}


def _neck(weights: Weights) -> Keys:
    if "neck.0.weight" not in weights:
        return {}
    neck = "sam_hq" if HQ_DECODER in weights.others else "sam"
    return {"neck": neck, "out_chans": weights.shape("neck.0.weight", 4)[0]}


def _placement(weights: Weights, patch: int, depth: int) -> tuple[Size, Keys]:
    """The image's size by the absolute positions; the window by those tables that do not have that grid."""
    if "pos_embed" not in weights or "blocks.0.attn.rel_pos_h" not in weights:
        raise weights.error(
            "not-in-shapes",
            "has no position embeddings or no tables of relative positions, which show image size and windows: write the "
            "config by hand (`samattn configs --show sam_vit_b`)",
        )
    _, height, width, _ = weights.shape("pos_embed", 4)
    sides = [_window(weights, index) for index in range(depth)]
    windows = sorted({side for side in sides if side != (height, width)})
    if len(windows) > 1:
        raise weights.error(
            "unsupported-model", f"its tables of relative positions are for several windows, {windows}"
        )
    window = windows[0] if windows else NO_WINDOW
    return as_size((height * patch, width * patch)), {
        "window_size": as_size(window),
        "global_attn_indexes": [i for i, side in enumerate(sides) if windows and side != window],
    }


def _window(weights: Weights, index: int) -> tuple[int, int]:
    rows, columns = (weights.shape(f"blocks.{index}.attn.rel_pos_{axis}", 2)[0] for axis in "hw")
    return (rows + 1) // 2, (columns + 1) // 2


HUGGING_FACE = {
    "sam": from_model,
    "sam_vision_model": from_vision,
    "sam_hq": from_hq_model,
    "sam_hq_vision_model": from_hq_vision,
}
COPIES = {
    "got_ocr2_vision": from_vision,
    "slanext_vision": from_slanext,
    "pp_formulanet_vision": from_formulanet,
}
EAGER_ONLY = ("got_ocr2_vision", "slanext_vision")
TRANSFORMERS_DIFFERENCES = dict.fromkeys(HUGGING_FACE, transformers_differences)
CHECKPOINTS = (CheckpointKind(is_sam, names, from_weights),)
