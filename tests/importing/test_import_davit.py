"""Florence-2 and DaViT: config.json of transformers and of Microsoft's code, and names of weights in four codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import Florence2Config, Florence2VisionConfig
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from tests.public.davit import SIZES
from tests.support.checkpoints import write_safetensors

SMALL = {"embed_dim": [32, 64], "depths": [1, 2], "num_heads": [1, 2], "num_groups": [1, 4], "window_size": 3}
TWO_STAGES = {
    "patch_size": [7, 3],
    "patch_stride": [4, 2],
    "patch_padding": [3, 1],
    "patch_prenorm": [False, True],
}


def read(source: Path):
    return load_config(yaml.safe_load(imported(str(source))))


def same_encoder(one, preset: str) -> bool:
    other = load_config(preset)
    return (one.stages, one.image_size, one.patch_embed) == (
        other.stages,
        other.image_size,
        other.patch_embed,
    )


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("preset", ["florence2_base", "florence2_large"])
def test_a_config_of_transformers_by_itself_or_in_the_whole_model(preset, whole, tmp_path):
    vision = Florence2VisionConfig(**SIZES[preset])
    (Florence2Config(vision_config=vision.to_dict()) if whole else vision).save_pretrained(tmp_path)
    config = read(tmp_path)
    assert same_encoder(config, preset)
    assert (config.implementation, config.run.attention) == ("transformers", "sdpa")


def test_groups_other_than_heads_are_heads_of_the_channel_blocks(tmp_path):
    Florence2VisionConfig(**SMALL, **TWO_STAGES).save_pretrained(tmp_path)
    config = read(tmp_path)
    assert [layer.stage.num_heads for layer in config.layers] == [1, 1, 2, 4, 2, 4]
    assert [layer.attends for layer in config.layers] == ["window 3x3", "channels"] * 3
    assert config.implementation == "transformers"


def test_microsofts_config_calls_widths_dim_embed_and_runs_code_of_its_own(tmp_path):
    vision = {"model_type": "davit", "dim_embed": [256, 512, 1024, 2048], "num_heads": [8, 16, 32, 64]}
    vision |= {
        "num_groups": [8, 16, 32, 64],
        "depths": [1, 1, 9, 1],
        "window_size": 12,
        "enable_checkpoint": False,
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "florence2", "vision_config": vision}))
    config = read(tmp_path / "config.json")
    assert same_encoder(config, "florence2_large")
    assert (config.implementation, config.run.attention) == ("reference", "eager")


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"depths": []}, "wrong-entry"),
        ({"num_groups": [4, 8]}, "wrong-entry"),
        ({"patch_size": [7, 2, 2, 2]}, "unsupported-model"),
        ({"activation_function": "relu"}, "unsupported-model"),
        ({"window_size": 0}, "unsupported-model"),
        ({"num_heads": [5, 8, 16, 32]}, "unsupported-model"),
    ],
)
def test_what_it_cannot_be_is_refused(entries, code, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "florence_vision", **entries}))
    with pytest.raises(ImportFailedError) as error:
        imported(str(path))
    assert error.value.message.code == code


def of_transformers(preset: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = Florence2VisionBackbone(Florence2VisionConfig(**SIZES[preset]))
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}


MICROSOFT = (
    (r"^(convs\.\d+)\.conv\.", r"\1.proj."),
    (r"(conv[12])\.(weight|bias)$", r"\1.fn.dw.\2"),
    (r"norm1\.", "{}_attn.norm."),
    (r"(window|channel)_attn\.(qkv|proj)", r"\1_attn.fn.\2"),
    (r"norm2\.", "ffn.norm."),
    (r"ffn\.(fc\d)", r"ffn.fn.net.\1"),
)
TIMM = (
    (r"^convs\.0\.", "stem."),
    (r"^convs\.(\d+)\.", r"stages.\1.downsample."),
    (r"^blocks\.(\d+)\.", r"stages.\1.blocks."),
    (r"conv([12])\.(weight|bias)$", r"cpe\1.proj.\2"),
    (r"(window|channel)_attn\.", "attn."),
    (r"ffn\.", "mlp."),
)
NUMBERED = (*TIMM, (r"spatial_block", "0"), (r"channel_block", "1"))
DAVIT = (
    (r"^convs\.(\d+)\.conv\.", r"patch_embeds.\1.proj."),
    (r"^convs\.", "patch_embeds."),
    (r"^blocks\.", "main_blocks."),
    (r"conv1\.(weight|bias)$", r"cpe.0.proj.\1"),
    (r"conv2\.(weight|bias)$", r"cpe.1.proj.\1"),
    *NUMBERED[-4:],
)


def renamed(shapes, patterns, prefix=""):
    made = {}
    for ours, shape in shapes.items():
        name, of_attention = ours, "window" if "spatial" in ours else "channel"
        for pattern, theirs in patterns:
            name = re.sub(pattern, theirs.replace("{}", of_attention), name)
        made[prefix + name] = shape
    return made


@pytest.mark.parametrize(
    ("preset", "patterns", "prefix"),
    [
        ("florence2_base", (), "model.vision_tower."),
        ("florence2_large", MICROSOFT, "vision_tower."),
        ("florence2_base", TIMM, ""),
        ("davit_t", NUMBERED, ""),
        ("davit_b", DAVIT, "state_dict."),
    ],
)
def test_weights_in_the_names_of_each_code(preset, patterns, prefix, tmp_path):
    """With those of a text decoder next to them."""
    path = tmp_path / "model.safetensors"
    others = {"model.language_model.decoder.layers.0.fc1.weight": (4, 4), "head.fc.weight": (4, 4)}
    write_safetensors(path, renamed(of_transformers(preset), patterns, prefix) | others)
    assert same_encoder(read(path), preset)


def test_weights_of_no_published_size_do_not_show_heads(tmp_path):
    with torch.device("meta"):
        model = Florence2VisionBackbone(Florence2VisionConfig(**SMALL, **TWO_STAGES))
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {name: tuple(weight.shape) for name, weight in model.named_parameters()})
    with pytest.raises(ImportFailedError) as error:
        imported(str(path))
    assert error.value.message.code == "not-in-shapes"
    assert "1 of width 32, 2 of width 64" in str(error.value)
