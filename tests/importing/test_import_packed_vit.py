"""MiniCPM-V 4.6 and Muse Glimmer: their config.json, alone and inside the whole model, and their checkpoints."""

import pytest
import torch
from transformers.models.minicpmv4_6.configuration_minicpmv4_6 import (
    MiniCPMV4_6Config,
    MiniCPMV4_6VisionConfig,
)
from transformers.models.minicpmv4_6.modeling_minicpmv4_6 import MiniCPMV4_6VisionModel
from transformers.models.muse_glimmer.configuration_muse_glimmer import (
    MuseGlimmerConfig,
    MuseGlimmerVisionConfig,
)
from transformers.models.muse_glimmer.modeling_muse_glimmer import MuseGlimmerVisionModel

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward
from tests.support.checkpoints import write_safetensors
from tests.support.importing import as_json

MINICPM = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 9, "num_attention_heads": 2, "image_size": 64,
}  # fmt: skip
MUSE = {
    "hidden_size": 192, "intermediate_size": 256, "num_hidden_layers": 5, "num_attention_heads": 2, "pos_emb_height": 4,
    "pos_emb_width": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "preset"),
    [
        (MiniCPMV4_6Config, "minicpm_v_4_6"),
        (MuseGlimmerConfig, "muse_glimmer"),
        (MuseGlimmerVisionConfig, "muse_glimmer"),
    ],
)
def test_the_defaults_are_the_presets(entries, preset, tmp_path):
    """A description of nothing but its type: the whole model's, or the vision part's."""
    path = as_json({"model_type": entries.model_type}, tmp_path / "config.json")
    config, own = load_config(tmp_path / written(path)), load_config(preset)
    assert (config.stages, config.image_size, config.neck) == (own.stages, own.image_size, own.neck)
    assert forward(config).params == forward(own).params


def written(path):
    (path.parent / "imported.yaml").write_text(imported(str(path)), encoding="utf-8")
    return "imported.yaml"


def test_the_merger_is_where_the_whole_model_says(tmp_path):
    entries = {
        "model_type": "minicpmv4_6",
        "insert_layer_id": 3,
        "vision_config": {"insert_layer_id": 1, **MINICPM},
    }
    config = load_config(tmp_path / written(as_json(entries, tmp_path / "config.json")))
    assert [stage.depth for stage in config.stages] == [4, 5]
    assert (config.image_size, config.pretrain_image_size) == ((448, 448), (64, 64))


MODELS = {
    "minicpm": (MiniCPMV4_6VisionModel, MiniCPMV4_6VisionConfig, MINICPM),
    "muse": (MuseGlimmerVisionModel, MuseGlimmerVisionConfig, MUSE),
}


@pytest.mark.parametrize("prefix", ["", "model.vision_tower."])
@pytest.mark.parametrize("name", MODELS)
def test_checkpoints_have_the_parameters_of_the_model(name, prefix, tmp_path):
    model, settings, entries = MODELS[name]
    with torch.device("meta"):
        theirs = model(settings(**entries))
    shapes = {f"{prefix}{each}": tuple(weight.shape) for each, weight in theirs.state_dict().items()}
    path = write_safetensors(tmp_path / "model.safetensors", shapes)
    config = load_config(tmp_path / written(path))
    assert forward(config).params == sum(weight.numel() for weight in theirs.parameters())
    assert len(config.layers) == entries["num_hidden_layers"]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model_type": "minicpmv4_6_vision", "window_kernel_size": [3, 3]}, "window_kernel_size"),
        ({"model_type": "minicpmv4_6_vision", "insert_layer_id": 11}, "insert_layer_id 11"),
        ({"model_type": "muse_glimmer_vision", "pos_emb_width": 16}, "pos_emb_width"),
        ({"model_type": "muse_glimmer_vision", "rope_parameters": {"rope_theta": 100}}, "rope_theta"),
    ],
)
def test_what_it_cannot_express_is_named(entries, said, tmp_path):
    with pytest.raises(ImportFailedError, match=rf"{said}.*\[unsupported-model\]"):
        imported(str(as_json(entries, tmp_path / "config.json")))


def test_layer_types_are_two(tmp_path):
    entries = {
        "model_type": "muse_glimmer_vision",
        "num_hidden_layers": 2,
        "layer_types": ["full_attention", "x"],
    }
    with pytest.raises(ImportFailedError, match=r"layer_types.*\[wrong-entry\]"):
        imported(str(as_json(entries, tmp_path / "config.json")))
