"""SwinIR and Swin2SR: transformers' config.json, and checkpoints of the authors' codes."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward
from tests.public.swinir import shapes
from tests.support.checkpoints import expanded
from tests.support.importing import is_preset

SMALL = {"embed_dim": 12, "depths": [2, 1], "num_heads": [2, 2]}


def read(source):
    return load_config(yaml.safe_load(imported(str(source))))


@pytest.mark.parametrize("times", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_a_config_of_transformers(times, tmp_path):
    Swin2SRConfig(upscale=times).save_pretrained(tmp_path)
    assert is_preset(imported(str(tmp_path)), f"swin2sr_classical_x{times}", tmp_path, "eager")


@pytest.mark.parametrize(
    "entries",
    [
        {"upsampler": "pixelshuffledirect", "upscale": 3, "window_size": 4},
        {"upsampler": "nearest+conv", "upscale": 4, "resi_connection": "3conv"},
        {"upsampler": "", "num_channels": 1, "image_size": [24, 32]},
    ],
)
def test_upsamplers_have_the_parameters_of_the_real_model(entries, tmp_path):
    described = Swin2SRConfig(**SMALL, **entries)
    described.save_pretrained(tmp_path)
    with torch.device("meta"):
        theirs = Swin2SRForImageSuperResolution(described)
    assert forward(read(tmp_path)).params == sum(weight.numel() for weight in theirs.parameters())


def test_the_model_without_its_upsampler(tmp_path):
    Swin2SRConfig(architectures=["Swin2SRModel"]).save_pretrained(tmp_path)
    assert read(tmp_path).neck == "swinir_body"


@pytest.mark.parametrize(
    "entries", [{"upsampler": "pixelshuffle_aux"}, {"patch_size": 2}, {"hidden_act": "relu"}]
)
def test_what_it_cannot_express_is_named(entries, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin2sr", **entries}))
    with pytest.raises(ImportFailedError, match=next(iter(entries))) as error:
        imported(str(tmp_path))
    assert error.value.message.code == "unsupported-model"


@pytest.mark.parametrize(
    ("preset", "entry"),
    [
        pytest.param("swinir_classical_x4", "params", marks=pytest.mark.exhaustive),
        ("swinir_lightweight_x2", "params"),
        ("swinir_real_x4_large", "params_ema"),
        pytest.param("swinir_denoising", "params", marks=pytest.mark.exhaustive),
    ],
)
def test_a_checkpoint_of_the_authors(preset, entry, tmp_path):
    """The mask of a shifted window shows the image size: (windows, N, N)."""
    config = load_config(preset)
    rows = (config.image_size[0] // 8) ** 2
    found = dict(shapes(config)) | {"layers.0.residual_group.blocks.1.attn_mask": (rows, 64, 64)}
    torch.save({entry: expanded(found)}, tmp_path / "swinir.pth")
    text = imported(str(tmp_path / "swinir.pth"))
    assert is_preset(text, preset, tmp_path)
    assert "--image-size takes that of your tiles" in text


def test_a_model_with_other_layers_is_refused(tmp_path):
    """HAT has the same names, and channel attention next to that of windows: here without its overlapping blocks."""
    found = dict(shapes(load_config("swinir_lightweight_x2")))
    found["layers.0.residual_group.blocks.0.conv_block.cab.0.weight"] = (20, 60, 3, 3)
    torch.save(expanded(found), tmp_path / "hat.pth")
    with pytest.raises(ImportFailedError, match="conv_block") as error:
        imported(str(tmp_path / "hat.pth"))
    assert error.value.message.code == "unknown-weight"
