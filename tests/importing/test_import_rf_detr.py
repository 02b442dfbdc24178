"""RF-DETR: config.json and checkpoints of transformers, and checkpoints with the names of Roboflow's rfdetr."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import LwDetrConfig, RfDetrConfig, RfDetrDinov2Config

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward
from tests.public import lw_detr as public_lw_detr
from tests.public.rf_detr import official, settings
from tests.support.checkpoints import write_safetensors
from tests.support.importing import as_json, is_preset

ROBOFLOW = {  # transformers' names to those of rfdetr, models/backbone
    r"^backbone\.": "backbone.0.encoder.encoder.",
    r"^projector\.projector_layer\.bottlenecks\.(\d)\.": r"backbone.0.projector.stages.0.0.m.\1.",
    r"^projector\.projector_layer\.": "backbone.0.projector.stages.0.0.",
    r"^projector\.layer_norm\.": "backbone.0.projector.stages.0.1.",
    r"\bconv(\d)\.norm\.": r"cv\1.bn.",
    r"\bconv(\d)\.conv\.": r"cv\1.conv.",
    r"\.attention\.q_proj\.": ".attention.attention.query.",
    r"\.attention\.k_proj\.": ".attention.attention.key.",
    r"\.attention\.v_proj\.": ".attention.attention.value.",
    r"\.attention\.o_proj\.": ".attention.output.dense.",
}


def shapes_of(preset):
    """The weights of transformers' encoder, and one of the detector around it."""
    with torch.device("meta"):
        weights = official(load_config(preset)).state_dict()
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def roboflows(name):
    for theirs, ours in ROBOFLOW.items():
        name = re.sub(theirs, ours, name)
    return name


@pytest.mark.parametrize("preset", ["rf_detr_base", "rf_detr_large"])
def test_a_config_json_is_its_preset_in_transformers_code(preset, tmp_path):
    config = load_config(preset)
    RfDetrConfig(backbone_config=settings(config), d_model=config.out_chans).save_pretrained(tmp_path)
    text = imported(str(tmp_path / "config.json"))
    assert is_preset(text, preset, tmp_path, "sdpa")
    whole = "image_size, 518" in text  # the positions of base, which 4 windows a side do not divide
    assert whole == (preset == "rf_detr_base")


def test_defaults_are_those_of_transformers(tmp_path):
    """An RfDetrConfig without a backbone has that of rf-detr-base; an RfDetrDinov2Config is another."""
    text = imported(str(as_json({"model_type": "rf_detr"}, tmp_path / "config.json")))
    assert is_preset(text, "rf_detr_base", tmp_path, "sdpa")
    path = tmp_path / "default.yaml"
    RfDetrDinov2Config().save_pretrained(tmp_path)
    path.write_text(imported(str(tmp_path / "config.json")), encoding="utf-8")
    passed = forward(load_config(path))
    assert (passed.params, passed.flops) == (85_725_696, 46_606_123_008)


def test_checkpoints_of_both_codes_are_their_preset(tmp_path):
    theirs = shapes_of("rf_detr_nano")
    whole = {f"model.backbone.{name}": shape for name, shape in theirs.items()}
    path = write_safetensors(tmp_path / "a.safetensors", {**whole, "class_embed.bias": (91,)})
    assert is_preset(imported(str(path)), "rf_detr_nano", tmp_path)
    own = {roboflows(name): shape for name, shape in shapes_of("rf_detr_base").items()}
    assert "backbone.0.projector.stages.0.0.m.2.cv2.bn.weight" in own
    assert "backbone.0.encoder.encoder.encoder.layer.0.attention.attention.query.weight" in own
    path = write_safetensors(tmp_path / "b.safetensors", own)
    assert is_preset(imported(str(path)), "rf_detr_base", tmp_path)
    twice = {f"{entry}.{name}": shape for entry in ("model", "ema_model") for name, shape in own.items()}
    text = imported(str(write_safetensors(tmp_path / "d.safetensors", twice)))
    assert is_preset(text, "rf_detr_base", tmp_path)
    assert "ema_model" in text
    registers = {"backbone.0.encoder.encoder.embeddings.register_tokens": (1, 4, 384)}
    with pytest.raises(ImportFailedError, match=r"register tokens.*\[unsupported-model\]"):
        imported(str(write_safetensors(tmp_path / "c.safetensors", own | registers)))


def test_what_samattn_cannot_express_is_named(tmp_path):
    for entries, named in (
        ({"use_swiglu_ffn": True}, "use_swiglu_ffn"),
        ({"out_features": ["stem", "stage12"]}, "out_features"),
        ({"num_register_tokens": 4}, "num_register_tokens"),
    ):
        path = as_json({"model_type": "rf_detr_dinov2", **entries}, tmp_path / "config.json")
        with pytest.raises(ImportFailedError, match=named):
            imported(str(path))


@pytest.mark.parametrize("preset", ["lw_detr_tiny", "lw_detr_xlarge"])
def test_a_config_json_of_lw_detr_is_its_preset(preset, tmp_path):
    config = load_config(preset)
    backbone = public_lw_detr.settings(config)
    scales = list(config.neck_scales)
    made = LwDetrConfig(backbone_config=backbone, d_model=config.out_chans, projector_scale_factors=scales)
    made.backbone_config.image_size = 640
    made.save_pretrained(tmp_path)
    assert is_preset(imported(str(tmp_path / "config.json")), preset, tmp_path, "sdpa")


def test_windows_of_lw_detr_are_counted_all_together(tmp_path):
    entries = {"model_type": "lw_detr_vit", "window_block_indices": [0], "num_hidden_layers": 2}
    text = imported(str(as_json(entries, tmp_path / "config.json")))
    assert "num_windows_side: 4\n" in text
    assert "global_attn_indexes: [1]\n" in text
    for changes, named in (
        ({"num_windows": 8}, "num_windows"),
        ({"model_type": "lw_detr", "projector_scale_factors": [4.0]}, "projector_scale_factors"),
    ):
        with pytest.raises(ImportFailedError, match=named):
            imported(str(as_json({**entries, **changes}, tmp_path / "config.json")))
