"""Checkpoints with the names of Meta's DINOv2 and DINOv3, whose models have the parameters that Meta's code has."""

import pytest
import torch

from samattn_cli import analyze, load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from tests.support.checkpoints import of_vit, write_safetensors

Shapes = dict[str, tuple[int, ...]]

DEPTH = 2


def of_block(width: int, at: str) -> Shapes:
    """What both have in each block."""
    linear = {"attn.qkv": 3 * width, "attn.proj": width}
    return {
        **{f"{at}norm{number}.{kind}": (width,) for number in (1, 2) for kind in ("weight", "bias")},
        **{f"{at}{name}.weight": (out, width) for name, out in linear.items()},
        **{f"{at}{name}.bias": (out,) for name, out in linear.items()},
        **{f"{at}ls{number}.gamma": (width,) for number in (1, 2)},
    }


def mlp(at: str, **layers: tuple[int, int]) -> Shapes:
    return {
        f"{at}mlp.{name}.{kind}": shape if kind == "weight" else shape[:1]
        for name, shape in layers.items()
        for kind in ("weight", "bias")
    }


def model(width: int, patch: int, blocks: list[Shapes], **tokens: tuple[int, ...]) -> Shapes:
    return {
        "cls_token": (1, 1, width),
        **tokens,
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        **{name: shape for block in blocks for name, shape in block.items()},
        "norm.weight": (width,),
        "norm.bias": (width,),
    }


def dinov2(*, gated: bool = False, chunked: bool = False) -> Shapes:
    """As DinoVisionTransformer of dinov2 names them, of 4 x 4 patches of 14 pixels and 4 registers."""
    width, blocks = 128, []
    for index in range(DEPTH):
        at = f"blocks.{index}.{index}." if chunked else f"blocks.{index}."
        layers = (
            {"w12": (688, width), "w3": (width, 344)} if gated else {"fc1": (512, width), "fc2": (width, 512)}
        )
        blocks.append({**of_block(width, at), **mlp(at, **layers)})
    return model(width, 14, blocks, pos_embed=(1, 17, width), register_tokens=(1, 4, width))


def dinov3(*, gated: bool = False) -> Shapes:
    """As DinoVisionTransformer of dinov3 names them: heads of 32 channels, and a mask of the biases of keys."""
    width, blocks = 128, []
    for index in range(DEPTH):
        at = f"blocks.{index}."
        layers = {"fc1": (512, width), "fc2": (width, 512)}
        if gated:
            layers = {"w1": (344, width), "w2": (344, width), "w3": (width, 344)}
        masks = {f"{at}attn.qkv.bias_mask": (3 * width,)}
        blocks.append({**of_block(width, at), **masks, **mlp(at, **layers)})
    periods = {"rope_embed.periods": (8,)}
    return model(width, 16, blocks, storage_tokens=(1, 4, width)) | periods


def parameters(shapes: Shapes) -> int:
    """Those of the encoder: neither the mask token nor what is fixed, and the biases of keys only if they are not masked."""
    total = 0
    for name, shape in shapes.items():
        if name != "mask_token" and not name.endswith(("periods", "bias_mask")):
            total += torch.Size(shape).numel() * (2 if f"{name}_mask" in shapes else 3) // 3
    return total


CASES = {
    "dinov2": (dinov2, {}, 2, "class_token"),
    "dinov2, gated": (dinov2, {"gated": True}, 2, "class_token"),
    "dinov2, in FSDP's chunks": (dinov2, {"chunked": True}, 2, "class_token"),
    "dinov3": (dinov3, {}, 4, "rotary"),
    "dinov3, gated": (dinov3, {"gated": True}, 4, "rotary"),
}


@pytest.mark.parametrize("case", CASES)
def test_checkpoints_of_meta(case, tmp_path):
    make, options, heads, positions = CASES[case]
    shapes = make(**options)
    path = write_safetensors(tmp_path / "dino.safetensors", shapes)
    (tmp_path / "dino.yaml").write_text(text := imported(str(path)), encoding="utf-8")
    config = load_config(tmp_path / "dino.yaml")
    assert (config.stages[0].num_heads, config.pos_embed, config.reg_tokens) == (heads, positions, 4)
    assert analyze(config).totals.params == parameters(shapes)
    assert "mask_token (128 parameters)" in text
    assert ("biases of keys (256 parameters)" in text) == (make is dinov3)


def test_a_checkpoint_of_pretraining_holds_the_teacher(tmp_path):
    """What fsdp_checkpointer and the final teacher_checkpoint.pth of dinov2 hold, with the head of its loss."""
    weights = {f"backbone.{name}": torch.empty(shape, device="meta") for name, shape in dinov2().items()}
    head = {"dino_head.last_layer.weight_v": torch.empty(64, 256, device="meta")}
    cpu = {name: torch.empty(1).expand(weight.shape) for name, weight in (weights | head).items()}
    torch.save({"teacher": cpu}, tmp_path / "teacher_checkpoint.pth")
    assert "reg_tokens: 4" in imported(str(tmp_path / "teacher_checkpoint.pth"))


def test_a_published_size_has_no_warning(tmp_path):
    """DINOv2's ViT-S; without a preset of it, it was said to be no published model."""
    shapes = {
        name: tuple(3 * side if side >= 128 else side for side in shape) for name, shape in dinov2().items()
    }
    blocks = {name: shape for name, shape in shapes.items() if name.startswith("blocks.0.")}
    for index in range(12):
        shapes |= {name.replace("blocks.0.", f"blocks.{index}."): shape for name, shape in blocks.items()}
    said: list[str] = []
    imported(str(write_safetensors(tmp_path / "s.safetensors", shapes)), said.append)
    assert said == []


def test_a_bias_of_keys_without_a_mask_is_refused(tmp_path):
    shapes = {name: shape for name, shape in dinov3().items() if not name.endswith("bias_mask")}
    path = write_safetensors(tmp_path / "dino.safetensors", shapes)
    with pytest.raises(ImportFailedError, match=r"biases of keys.*\[unsupported-model\]"):
        imported(str(path))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("rope_embed.periods", ()),
        ("rope_embed.periods", (0,)),
        ("blocks.0.attn.qkv.bias_mask", ()),
        ("blocks.1.attn.qkv.bias", ()),
        ("blocks.1.attn.qkv.bias", (385,)),
    ],
)
def test_what_is_left_out_or_cut_has_its_shape_too(name, shape, tmp_path):
    """385 numbers are not three equal parts, although a third of them is 128 when it is rounded down."""
    path = write_safetensors(tmp_path / "dino.safetensors", dinov3() | {name: shape})
    with pytest.raises(ImportFailedError) as error:
        imported(str(path))
    assert error.value.message.code == "wrong-weight-shape"
    assert name in error.value.message


def test_a_mask_token_alone_is_not_dino(tmp_path):
    """MAE's ViT-H, without its decoder, has heads of 80 channels."""
    shapes = of_vit(load_config("vit_h")) | {"mask_token": (1, 1, 1280)}
    assert "num_heads: 16" in imported(str(write_safetensors(tmp_path / "mae.safetensors", shapes)))
