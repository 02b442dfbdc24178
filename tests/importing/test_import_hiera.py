"""Hiera from what transformers and facebookresearch/hiera save: config.json, and weights by either's names."""

from __future__ import annotations

import re

import pytest
import torch
import transformers

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.other_sizes import weight_shapes
from tests.public.mask_units import LABELS, PRETRAINED, SIZES
from tests.support.checkpoints import write_safetensors
from tests.support.importing import as_json, is_preset


def described(preset: str, architecture: str, **entries: object) -> transformers.HieraConfig:
    return transformers.HieraConfig(
        **SIZES[preset], architectures=[architecture], num_labels=LABELS, **entries
    )


@pytest.mark.parametrize("preset", ["hiera_t", "hiera_h"])
def test_what_transformers_saves_of_a_classifier_is_its_preset(preset, tmp_path):
    config = described(preset, "HieraForImageClassification")
    for entries in (config.to_dict(), config.to_diff_dict()):
        as_json(entries, tmp_path / "config.json")
        assert is_preset(imported(str(tmp_path)), preset, tmp_path, "eager")


def test_a_model_without_a_classifier_has_its_pooling(tmp_path):
    entries = described("hiera_t", "HieraModel").to_dict()
    text = imported(str(as_json(entries, tmp_path / "config.json")))
    assert "neck: hiera_pool" in text
    assert "out_chans" not in text


def test_weights_of_a_pretraining_by_the_names_of_transformers(tmp_path):
    with torch.device("meta"):
        model = transformers.HieraForPreTraining(transformers.HieraConfig(**PRETRAINED["hiera_b_pretrain"]))
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert is_preset(text, "hiera_b_pretrain", tmp_path, "eager")


def test_weights_of_a_pretraining_that_has_no_preset(tmp_path):
    config = transformers.HieraConfig(**PRETRAINED["hiera_b_pretrain"] | SIZES["hiera_t"])
    with torch.device("meta"):
        model = transformers.HieraForPreTraining(config)
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    found = load_config(tmp_path / "a.yaml")
    assert [(stage.depth, stage.num_heads, stage.q_stride) for stage in found.stages] == [
        (1, 1, 1), (2, 2, 2), (7, 4, 2), (2, 8, 1), (8, 16, 1),
    ]  # fmt: skip
    assert forward(found).params == sum(weight.numel() for weight in model.parameters())


def test_weights_by_the_names_of_transformers(tmp_path):
    with torch.device("meta"):
        model = transformers.HieraForImageClassification(described("hiera_t", "HieraModel"))
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    found, wanted = load_config(tmp_path / "a.yaml"), load_config("hiera_t")
    assert (found.stages, found.neck, found.out_chans) == (wanted.stages, wanted.neck, wanted.out_chans)
    assert found.run.attention == "eager"


@pytest.mark.parametrize("head", ["head.projection", "head.fc"])
def test_weights_by_the_names_of_facebookresearch_and_timm(head, tmp_path):
    norm = "head.norm" if head == "head.fc" else "norm"
    shapes = {
        re.sub(r"^neck\.head", head, re.sub(r"^neck\.norm", norm, name.replace("pos_embed.", ""))): shape
        for name, shape in weight_shapes(load_config("hiera_t")).items()
    }
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert is_preset(text, "hiera_t", tmp_path)


def test_what_transformers_saves_of_a_pretraining_is_its_preset(tmp_path):
    config = transformers.HieraConfig(**PRETRAINED["hiera_b_pretrain"], architectures=["HieraForPreTraining"])
    as_json(config.to_dict(), tmp_path / "config.json")
    assert is_preset(imported(str(tmp_path)), "hiera_b_pretrain", tmp_path, "eager")


def test_weights_of_a_pretraining_by_the_names_of_facebookresearch(tmp_path):
    shapes = {}
    for name, shape in weight_shapes(load_config("hiera_b_pretrain")).items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.*)", name)
        if block and int(block[1]) >= 24:
            shapes[f"decoder_blocks.{int(block[1]) - 24}.{block[2]}"] = shape
        else:
            shapes[re.sub(r"^(pos_embed|transitions\.4|neck)\.", "", name)] = shape
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert is_preset(text, "hiera_b_pretrain", tmp_path)


def test_windowed_positions_and_layer_scale_are_read_from_the_weights_of_timm(tmp_path):
    words = [
        "pos_embed=mask_units_window",
        "image_size=256",
        *(f"stages.{n}.layer_scale=true" for n in range(4)),
    ]
    ours = {"pos_embed.background": "pos_embed", "pos_embed.window": "pos_embed_win"}
    shapes = {
        ours.get(name, name): shape for name, shape in weight_shapes(load_config("hiera_b", words)).items()
    }
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert "pos_embed: mask_units_window" in text
    assert text.count("layer_scale: true") == 4


@pytest.mark.parametrize(
    ("entries", "code", "said"),
    [
        ({"masked_unit_size": [16, 16]}, "unsupported-model", "masked_unit_size"),
        ({"patch_size": [4, 4], "patch_padding": [0, 0]}, "unsupported-model", "patch_size"),
        ({"hidden_act": "relu"}, "unsupported-model", "hidden_act"),
        ({"masked_unit_attention": [True]}, "wrong-entry", "masked_unit_attention"),
    ],
    ids=str,
)
def test_what_samattn_cannot_express_is_named(entries, code, said, tmp_path):
    whole = described("hiera_t", "HieraModel").to_dict() | entries
    with pytest.raises(ImportFailedError, match=said) as refused:
        imported(str(as_json(whole, tmp_path / "config.json")))
    assert refused.value.message.code == code


def test_a_backbone_has_norms_that_samattn_has_not(tmp_path):
    """One for each output: read without them, it would have 2,880 parameters too few."""
    config = transformers.HieraConfig(
        out_features=["stage1", "stage2", "stage3", "stage4"], architectures=["HieraBackbone"]
    )
    with torch.device("meta"):
        norms = transformers.HieraBackbone(config).hidden_states_norms
    assert sum(weight.numel() for weight in norms.parameters()) == 2 * (96 + 192 + 384 + 768)
    config.save_pretrained(tmp_path)
    with pytest.raises(ImportFailedError, match="LayerNorm for the output of each stage") as error:
        imported(str(tmp_path))
    assert error.value.message.code == "unsupported-model"
