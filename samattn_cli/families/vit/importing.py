"""SAM and MedSAM: transformers' SamVisionConfig; checkpoints of segment-anything, Medical SAM Adapter's too; timm's.

Sources: transformers, models/sam/configuration_sam.py; segment-anything, modeling/image_encoder.py; timm,
models/vision_transformer_sam.py; Medical SAM Adapter, models/ImageEncoder/vit/adapter_block.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...encoder.model import EncoderConfig
from ...encoder.placement import NO_WINDOW
from ...importing.checkpoint import Shapes
from ...importing.description import Given, Keys, Size, one, ratio_of
from ...importing.weights import Checkpoint, Weights, renamed

OF_THE_MODEL = "image_encoder."
"""Before the names of the encoder's weights in a checkpoint of the whole model."""

ADAPTER = "blocks.0.Space_Adapter.D_fc1.weight"
LORA = "blocks.0.attn.qkv.linear_a_q.weight"


def from_model(given: Given) -> Keys:
    """The vision encoder of a SamConfig."""
    return from_vision(given.inner("vision_config", "sam_vision_model"))


def from_vision(given: Given) -> Keys:
    """A SamVisionConfig."""
    given = given.with_defaults(
        hidden_size=768, output_channels=256, num_hidden_layers=12, num_attention_heads=12, num_channels=3,
        image_size=1024, patch_size=16, qkv_bias=True, mlp_ratio=4.0, use_abs_pos=True, use_rel_pos=True,
        window_size=14, global_attn_indexes=[2, 5, 8, 11],
    )  # fmt: skip
    given.expect("hidden_act", "gelu")
    given.leave_out("attention_dropout")
    return {
        "image_size": given.sides("image_size"),
        "in_chans": given.whole("num_channels"),
        "patch_size": given.side("patch_size"),
        **_blocks(given),
        "neck": "sam",
        "out_chans": given.whole("output_channels"),
    }


def _blocks(given: Given) -> Keys:
    width, ratio = given.whole("hidden_size"), given.number("mlp_ratio")
    has_hidden = "mlp_dim" in given.entries
    return {
        "embed_dim": width,
        "depth": given.whole("num_hidden_layers"),
        "num_heads": given.whole("num_attention_heads"),
        "mlp_ratio": ratio_of(given.whole("mlp_dim"), width) if has_hidden else ratio,
        "qkv_bias": given.flag("qkv_bias"),
        "pos_embed": "learned" if given.flag("use_abs_pos") else "none",
        "rel_pos": "decomposed" if given.flag("use_rel_pos") else "none",
        "window_size": given.sides("window_size"),
        "global_attn_indexes": given.wholes("global_attn_indexes"),
    }


def as_transformers_runs(config: EncoderConfig) -> Iterator[str]:
    """Squares alone: transformers 5.23.0 takes a number for the side of an image, and one for that of a window."""
    for what, (height, width) in (("images", config.image_size), ("windows", config.stages[0].window_size)):
        if height != width:
            yield f"transformers cannot run SAM with {what} of {height}x{width}: it takes squares."


def is_sam(shapes: Shapes) -> bool:
    """An ImageEncoderViT: positions on a grid and tables of relative ones, or SAM's neck behind blocks."""
    found = {name.removeprefix(OF_THE_MODEL): len(shape) for name, shape in shapes.items()}
    placed = found.get("pos_embed") == len("1HWC") and "blocks.0.attn.rel_pos_h" in found
    return placed or {"neck.0.weight", "neck.2.weight", "blocks.0.attn.qkv.weight"} <= found.keys()


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """The encoder's alone, without what stands before them in the whole model. timm calls the MLP's layers fc1 and fc2."""
    ours = (r"(blocks\.\d+\.mlp\.)fc(\d\..*)", r"\1lin\2")
    if not any(name.startswith(OF_THE_MODEL) for name in shapes):
        return renamed((r"head\..*", None), ours)
    return renamed((rf"(?!{OF_THE_MODEL}).*", None), (rf"{OF_THE_MODEL}(.*)", r"\1"))


def from_weights(weights: Weights) -> Keys:
    """Of the tables of relative positions, (2 * side - 1, head width) each, those of blocks tell windows and heads."""
    width, in_chans, *_ = weights.shape("patch_embed.proj.weight", 4)
    patch, depth = weights.square("patch_embed.proj.weight"), weights.some("blocks.{}.norm1.weight")
    hidden, _ = weights.shape("blocks.0.mlp.lin1.weight", 2)
    image, placement = _placement(weights, patch, depth)
    block, own = _block(weights, width)
    return {
        "image_size": image,
        "in_chans": in_chans,
        "patch_size": patch,
        "block": block,
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // weights.shape("blocks.0.attn.rel_pos_h", 2)[1],
        "mlp_ratio": ratio_of(hidden, width),
        **own,
        "qkv_bias": bool({"blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.qkv.bias"} & weights.shapes.keys()),
        "pos_embed": "learned",
        "rel_pos": "decomposed",
        **placement,
        **_neck(weights),
        **({"run": {"trains": "adapters"}} if own else {}),
    }


def _block(weights: Weights, width: int) -> tuple[str, Keys]:
    """The kind of block, and the keys that only it has."""
    if ADAPTER in weights:
        weights.notes.append(
            "Weights do not tell whether the adapters run over volumes: depth_slices is left at images."
        )
        return "sam_adapter", {"adapter_ratio": ratio_of(weights.shape(ADAPTER, 2)[0], width)}
    if LORA in weights:
        return "sam_lora", {"lora_rank": weights.shape(LORA, 2)[0]}
    return "vit", {}


def _neck(weights: Weights) -> Keys:
    if "neck.0.weight" not in weights:
        return {}
    return {"neck": "sam", "out_chans": weights.shape("neck.0.weight", 4)[0]}


def _placement(weights: Weights, patch: int, depth: int) -> tuple[Size, Keys]:
    """The image's size by the absolute positions; a window by the tables that are not of that grid."""
    if "pos_embed" not in weights or "blocks.0.attn.rel_pos_h" not in weights:
        raise weights.unfit(
            "without position embeddings and tables of relative positions its weights do not tell image size and "
            "windows: write the config by hand (`samattn configs --show sam_vit_b`)"
        )
    _, height, width, _ = weights.shape("pos_embed", 4)
    sides = [_window(weights, index) for index in range(depth)]
    windows = sorted({side for side in sides if side != (height, width)})
    if len(windows) > 1:
        raise weights.unfit(f"its tables of relative positions are of several windows, {windows}")
    window = windows[0] if windows else NO_WINDOW
    return one((height * patch, width * patch)), {
        "window_size": one(window),
        "global_attn_indexes": [i for i, side in enumerate(sides) if windows and side != window],
    }


def _window(weights: Weights, index: int) -> tuple[int, int]:
    high, wide = (weights.shape(f"blocks.{index}.attn.rel_pos_{axis}", 2)[0] for axis in "hw")
    return (high + 1) // 2, (wide + 1) // 2


HUGGING_FACE = {"sam": from_model, "sam_vision_model": from_vision}
AS_TRANSFORMERS_RUNS = dict.fromkeys(HUGGING_FACE, as_transformers_runs)
CHECKPOINTS = (Checkpoint(is_sam, names, from_weights),)
