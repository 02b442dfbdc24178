import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedConfig

from samattn_cli import analyze, load_config
from samattn_cli.errors import ImportFailedError, code_of
from samattn_cli.files.yaml12 import parse_yaml
from samattn_cli.importing.description import Description, ratio_of
from samattn_cli.importing.families import hugging_face
from samattn_cli.importing.importer import imported
from tests.support.importing import as_json, is_preset
from tests.support.sampling import examples


def vit(preset: str, **keys: Any) -> PreTrainedConfig:
    stage = load_config(preset).stages[0]
    size = {"intermediate_size": stage.mlp_dim, "patch_size": load_config(preset).patch_size}
    return transformers.ViTConfig(**_blocks(preset), **size, **keys)


def mae(preset: str, **keys: Any) -> PreTrainedConfig:
    return transformers.ViTMAEConfig(**vit(preset).to_diff_dict() | {"model_type": "vit_mae"} | keys)


def sam(preset: str, **keys: Any) -> PreTrainedConfig:
    placed = {"global_attn_indexes": list(load_config(preset).stages[0].global_attn_indexes)}
    return transformers.SamConfig(vision_config=_blocks(preset) | placed | keys)


def vitdet(preset: str, **keys: Any) -> PreTrainedConfig:
    stage = load_config(preset).stages[0]
    windowed = [i for i in range(stage.depth) if i not in stage.global_attn_indexes]
    placed = {"window_size": 14, "window_block_indices": windowed, "use_relative_position_embeddings": True}
    return transformers.VitDetConfig(**_blocks(preset), **placed, image_size=1024, **keys)


def _blocks(preset: str) -> dict[str, int]:
    stage = load_config(preset).stages[0]
    keys = {"hidden_size": "embed_dim", "num_hidden_layers": "depth", "num_attention_heads": "num_heads"}
    return {theirs: getattr(stage, ours) for theirs, ours in keys.items()}


def swin(preset: str, **keys: Any) -> PreTrainedConfig:
    config = load_config(preset)
    kind = transformers.Swinv2Config if config.stages[0].block == "swinv2" else transformers.SwinConfig
    return kind(
        image_size=config.image_size[0],
        embed_dim=config.stages[0].embed_dim,
        depths=[stage.depth for stage in config.stages],
        num_heads=[stage.num_heads for stage in config.stages],
        window_size=config.stages[0].window_size[0],
        **keys,
    )


def sam2(preset: str, **keys: Any) -> PreTrainedConfig:
    config = load_config(preset)
    widths = [stage.embed_dim for stage in config.stages]
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=widths[0],
        embed_dim_per_stage=widths,
        blocks_per_stage=[stage.depth for stage in config.stages],
        num_attention_heads_per_stage=[stage.num_heads for stage in config.stages],
        window_size_per_stage=[stage.window_size[0] for stage in config.stages],
        global_attention_blocks=list(config.stages[2].global_attn_indexes),
        window_positional_embedding_background_size=list(config.pos_embed_background),
        **keys,
    )
    vision = transformers.Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1])
    return transformers.Sam2Config(vision_config=vision)


def sam3(_preset: str, **keys: Any) -> PreTrainedConfig:
    return transformers.Sam3Config(**keys)


def qwen(_preset: str, **keys: Any) -> PreTrainedConfig:
    """The class's own width, 3584, is not that of a published model: they all have 1280."""
    return transformers.Qwen2_5_VLConfig(vision_config={"hidden_size": 1280, **keys})


CLASSES: dict[Callable[..., PreTrainedConfig], tuple[str, ...]] = {
    vit: ("vit_b", "vit_l", "vit_h"),
    mae: ("mae_b_pretrain", "mae_h_pretrain"),
    sam: ("sam_vit_b", "sam_vit_l", "sam_vit_h"),
    vitdet: ("vitdet_b", "vitdet_h"),
    swin: ("swin_t", "swin_l_384", "swinv2_t", "swinv2_l"),
    sam2: ("sam2_hiera_t", "sam2_hiera_s", "sam2_hiera_b_plus", "sam2_hiera_l"),
    sam3: ("sam3_vision",),
    qwen: ("qwen2_5_vl_vision",),
}
CASES = [(made, preset) for made, presets in CLASSES.items() for preset in presets]
EAGER_ONLY = ("vitdet", "swinv2")
"""transformers has only eager for these: `test_attention_is_that_which_transformers_selects` checks it."""


def attention_of(preset: str) -> str:
    return "eager" if preset.startswith(EAGER_ONLY) else "sdpa"


@pytest.mark.parametrize(("made", "preset"), CASES, ids=[preset for _, preset in CASES])
def test_what_transformers_saves_of_a_published_model_is_its_preset(made, preset, tmp_path):
    config = made(preset)
    for entries in (config.to_dict(), config.to_diff_dict()):
        as_json(entries, tmp_path / "config.json")
        assert is_preset(imported(str(tmp_path)), preset, tmp_path, attention_of(preset))


@pytest.mark.parametrize("preset", ["vit_b", "mae_b_pretrain", "sam_vit_b", "vitdet_b", "swin_t", "swinv2_t",
                                    "sam2_hiera_t", "sam3_vision", "qwen2_5_vl_vision"])  # fmt: skip
def test_attention_is_that_which_transformers_selects(preset, tmp_path):
    """Asks a model that is made from the config on meta; for a whole model, its vision part."""
    made = next(made for made, presets in CLASSES.items() if preset in presets)
    entries = made(preset).to_dict()
    config = made(preset)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(getattr(config, "vision_config", config))
    (tmp_path / "a.yaml").write_text(imported(str(as_json(entries, tmp_path / "config.json"))), "utf-8")
    assert load_config(tmp_path / "a.yaml").run.attention == model.config._attn_implementation
    assert model.config._attn_implementation == attention_of(preset)


def test_sam_3_is_imported_with_the_activations_that_it_has(tmp_path):
    """At 1008 px and in float32 the reference has 251 MiB, not the 3,425 MiB of a score matrix of all tokens.

    transformers keeps 108 MiB of positions of the neck from the first forward on: see tests/README.md.
    """
    (tmp_path / "a.yaml").write_text(imported(str(as_json(sam3("").to_dict(), tmp_path / "c.json"))), "utf-8")
    image = 3 * 1008 * 1008 * 4

    def activations(*changes: str) -> float:
        totals = analyze(load_config(tmp_path / "a.yaml", list(changes)), verify=False).totals
        return (totals.peak_bytes - totals.weights_bytes - image) / 2**20

    assert activations("implementation=reference") < 251
    assert round(activations("implementation=reference", "run.attention=eager")) == 3425
    assert round(activations(), 2) == 358.48
    assert round(activations("run.attention=eager"), 2) == 3492.17


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_that_a_config_names(key, tmp_path):
    """transformers 5.23.0 reads both entries, of the whole model and not of its vision part."""
    entries = sam2("sam2_hiera_t").to_dict() | {key: "eager"}
    assert transformers.Sam2Config.from_dict(entries)._attn_implementation == "eager"
    text = imported(str(as_json(entries, tmp_path / "c.json")))
    assert is_preset(text, "sam2_hiera_t", tmp_path, "eager")
    warned = list[str]()
    imported(str(as_json(entries | {key: "flash_attention_2"}, tmp_path / "c.json")), warned.append)
    assert list(map(code_of, warned)) == ["unsupported-attention"]
    assert "'flash_attention_2'" in warned[0]


@pytest.mark.parametrize(
    ("whole", "vision", "loaded"),
    [
        ({"dtype": "bfloat16"}, {}, "bfloat16"),
        ({"torch_dtype": "float16"}, {}, "float16"),
        ({"dtype": "bfloat16"}, {"dtype": "float16"}, "bfloat16"),
        ({}, {"dtype": "float16"}, "float32"),
    ],
)
def test_dtype_is_that_in_which_transformers_loads_the_weights(whole, vision, loaded, tmp_path):
    """The dtype of the whole model's config counts, not that of its vision part: the test asks transformers."""
    tiny = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 64}
    config = transformers.SamConfig(
        vision_config=tiny | {"global_attn_indexes": [0], "output_channels": 16},
        prompt_encoder_config={"hidden_size": 16, "image_size": 64},
        mask_decoder_config={
            "hidden_size": 16,
            "iou_head_hidden_dim": 16,
            "mlp_dim": 16,
            "num_attention_heads": 2,
        },
    )
    transformers.SamModel(config).save_pretrained(tmp_path)
    entries = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del entries["dtype"]
    as_json(entries | whole | {"vision_config": entries["vision_config"] | vision}, tmp_path / "config.json")
    model = transformers.SamModel.from_pretrained(tmp_path)
    (tmp_path / "a.yaml").write_text(imported(str(tmp_path / "config.json")), "utf-8")
    assert load_config(tmp_path / "a.yaml").run.dtype == loaded
    assert {parameter.dtype for parameter in model.vision_encoder.parameters()} == {getattr(torch, loaded)}


def test_a_dtype_that_samattn_does_not_have_gives_a_warning(tmp_path):
    warned = list[str]()
    entries = {"model_type": "vit", "dtype": "float64"}
    text = imported(str(as_json(entries, tmp_path / "c.json")), warned.append)
    assert list(map(code_of, warned)) == ["unsupported-dtype"]
    assert "'float64'" in warned[0]
    assert "dtype:" not in text


def test_heads_that_sdpa_does_not_take_are_imported_as_eager(tmp_path):
    """36 / 12 = 3 channels a head; CUDA's kernels need multiples of 16 bytes, 4 channels of float32."""
    warned = list[str]()
    entries = {"model_type": "vit", "hidden_size": 36, "num_attention_heads": 12}
    text = imported(str(as_json(entries, tmp_path / "c.json")), warned.append)
    assert "attention" not in text.partition("embed_dim")[2]
    (warning,) = warned
    assert code_of(warning) == "unsupported-attention"
    assert "needs a head width that is a multiple of 4" in warning
    assert warning in " ".join(line.removeprefix("# ") for line in text.splitlines())


def test_mae_without_its_decoder(tmp_path):
    config = mae("mae_b_pretrain", architectures=["ViTMAEModel"])
    assert is_preset(imported(str(as_json(config.to_dict(), tmp_path / "c.json"))), "mae_b", tmp_path, "sdpa")


def test_a_sam_that_transformers_cannot_make_gives_a_warning(tmp_path):
    small = {
        "image_size": [64, 32],
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "global_attn_indexes": [],
    }
    warned = list[str]()
    entries = {"model_type": "sam_vision_model", "window_size": [2, 3], **small}
    imported(str(as_json(entries, tmp_path / "c.json")), warned.append)
    assert list(map(code_of, warned)) == ["transformers-cannot-run"] * 2
    assert "images of 64x32" in warned[0]
    assert "windows of 2x3" in warned[1]
    with pytest.raises(TypeError), torch.device("meta"):
        transformers.AutoModel.from_config(transformers.SamVisionConfig(**small))


def test_vision_parts_by_themselves(tmp_path):
    vision = as_json(sam("sam_vit_l").vision_config.to_dict(), tmp_path / "vision.json")
    assert is_preset(imported(str(vision)), "sam_vit_l", tmp_path, "sdpa")
    backbone = sam2("sam2_hiera_t").vision_config.backbone_config.to_dict()
    text = imported(str(as_json(backbone, tmp_path / "backbone.json")))
    assert "neck" not in text
    assert "embed_dim: 96" in text


def test_sam_hq_has_sams_blocks_and_a_neck_that_returns_what_its_decoder_reads(tmp_path):
    theirs = transformers.SamHQConfig(vision_config=_blocks("sam_vit_b"))
    for entries in (theirs, theirs.vision_config):
        text = imported(str(as_json(entries.to_dict(), tmp_path / "sam_hq.json")))
        assert "neck: sam_hq\n" in text
        assert "implementation: transformers\n" in text
        assert is_preset(text.replace("sam_hq", "sam"), "sam_vit_b", tmp_path, "sdpa")


def test_files_of_other_versions(tmp_path):
    """SAM's published files leave the part's model_type empty; the video model of SAM 3 has the image model within."""
    older = sam("sam_vit_b").to_dict()
    older["vision_config"]["model_type"] = ""
    assert is_preset(imported(str(as_json(older, tmp_path / "sam.json"))), "sam_vit_b", tmp_path, "sdpa")
    video = transformers.Sam3VideoConfig().to_dict()
    assert is_preset(imported(str(as_json(video, tmp_path / "sam3.json"))), "sam3_vision", tmp_path, "sdpa")
    old = {"model_type": "qwen2_5_vl", "vision_config": {"model_type": "qwen2_5_vl", "hidden_size": 1280}}
    assert is_preset(
        imported(str(as_json(old, tmp_path / "qwen.json"))), "qwen2_5_vl_vision", tmp_path, "sdpa"
    )


NEITHER_COST_NOR_STRUCTURE = {
    "layer_norm_eps", "initializer_range",  # numbers
    "encoder_stride", "pooler_output_size", "pooler_act",  # of heads
    "norm_pix_loss",  # of the loss
    "num_pos_feats", "rope_parameters", "pretrained_window_sizes",  # scales of positions
    "num_attention_heads",  # of Sam2HieraDetConfig, which lists them by stage
    "backbone_feature_sizes",  # what the other entries make
    "tokens_per_second", "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id",
    "tie_word_embeddings", "prompt_encoder_config", "mask_decoder_config", "text_config", "geometry_encoder_config",
    "detr_encoder_config", "detr_decoder_config",  # after the encoder
}  # fmt: skip


@pytest.mark.parametrize(("made", "preset"), CASES, ids=[preset for _, preset in CASES])
def test_every_entry_of_a_class_is_read_or_known_to_change_nothing(made, preset):
    config = made(preset)
    description = Description("config", config.to_dict())
    hugging_face()[config.model_type](description)
    for part in _parts(config):
        own = {field.name for field in fields(part)} - {field.name for field in fields(PreTrainedConfig)}
        unread = own - description.read - NEITHER_COST_NOR_STRUCTURE
        assert not {name for name in unread if not name.startswith("_")}, type(part).__name__


def _parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    while config is not None:
        yield config
        config = getattr(config, "vision_config", None) or getattr(config, "backbone_config", None)


DEEP_ENCODER = {
    "model_type": "deepseek_vl_v2",
    "vision_config": {
        "image_size": 1024, "mlp_ratio": 3.7362, "model_name": "deeplip_b_l", "model_type": "vision",
        "width": {
            "clip-l-14-224": {"heads": 16, "image_size": 224, "layers": 24, "patch_size": 14, "width": 1024},
            "sam_vit_b": {
                "downsample_channels": [512, 1024], "global_attn_indexes": [2, 5, 8, 11],
                "heads": 12, "layers": 12, "width": 768,
            },
        },
    },
    "projector_config": {"input_dim": 2048, "n_embed": 1280, "projector_type": "linear"},
}  # fmt: skip
"""The vision part of deepseek-ai/DeepSeek-OCR's config.json."""


def test_deepseek_ocr(tmp_path):
    text = imported(str(as_json(DEEP_ENCODER, tmp_path / "config.json")))
    assert is_preset(text, "deep_encoder", tmp_path)


def test_the_yaml_is_what_a_person_would_write(tmp_path, monkeypatch):
    as_json(sam("sam_vit_b").to_dict(), tmp_path / "config.json")
    monkeypatch.chdir(tmp_path)
    lines = imported("config.json").splitlines()
    assert lines[:2] == [
        "# yaml-language-server: $schema=./schema.json",
        "# Imported from config.json, of Hugging Face.",
    ]
    preset = Path("configs/sam_vit_b.yaml")
    own = (Path(__file__).parent.parent.parent / preset).read_text("utf-8").splitlines()
    run = ["implementation: transformers", "run:", "  attention: sdpa"]
    keys = [line for line in lines if not line.startswith("#")]
    assert keys == [*own[3:], *run]  # but for its comments and its description


def test_each_stage_has_a_line_and_entries_left_out_have_a_note(tmp_path, monkeypatch):
    as_json(swin("swin_t").to_dict(), tmp_path / "config.json")
    monkeypatch.chdir(tmp_path)
    lines = imported("config.json").splitlines()
    assert lines[2] == "# drop_path_rate (0.1) is left out: samattn's training step drops nothing at random."
    assert [line for line in lines if not line.startswith("#")] == [
        "image_size: 224",
        "patch_size: 4",
        "patch_embed: patch_norm",
        "pos_embed: none",
        "norm: true",
        "stages:",
        "  - {block: swin, embed_dim: 96, depth: 2, num_heads: 3, window_size: 7}",
        "  - {block: swin, embed_dim: 192, depth: 2, num_heads: 6, window_size: 7, transition: patch_merging}",
        "  - {block: swin, embed_dim: 384, depth: 6, num_heads: 12, window_size: 7, transition: patch_merging}",
        "  - {block: swin, embed_dim: 768, depth: 2, num_heads: 24, window_size: 7, transition: patch_merging}",
        "implementation: transformers",
        "run:",
        "  attention: sdpa",
    ]


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(st.integers(1, 1 << 20), st.integers(1, 1 << 20))
def test_the_ratio_of_an_mlp_gives_its_width_again(hidden, width):
    assert int(width * float(str(ratio_of(hidden, width)))) == hidden


UNFIT: dict[tuple[str, str], dict[str, Any]] = {
    ("unsupported-model", "config.json: .*hidden_act 'relu'"): {"model_type": "vit", "hidden_act": "relu"},
    ("wrong-entry", "qkv_bias must be true or false, not 'yes'"): {"model_type": "vit", "qkv_bias": "yes"},
    ("unsupported-model", "patch_size [16, 8]"): {"model_type": "vit", "patch_size": [16, 8]},
    ("wrong-entry", "hidden_size must be a whole number, 1 or more, not 768.0"): {"model_type": "vit", "hidden_size": 768.0},
    ("wrong-entry", "mlp_ratio must be a number above 0, not nan"): {"model_type": "swin", "mlp_ratio": float("nan")},
    ("wrong-entry", "num_heads must be a list of 4 whole numbers, not [3]"): {"model_type": "swin", "num_heads": [3]},
    ("wrong-entry", "vision_config must be a mapping, not 5"): {"model_type": "sam", "vision_config": 5},
    ("unsupported-model", "num_heads 7.*embed_dim 768"): {"model_type": "vit", "num_attention_heads": 7},
    ("unsupported-model", "embed_dim must be at most"): {"model_type": "vit", "hidden_size": 10**9, "intermediate_size": 10**9},
    ("wrong-entry", "intermediate_size must be a whole number"): {"model_type": "vit", "intermediate_size": 10**400},
    ("unsupported-model", "layer_scale_init_value 0.1"): {"model_type": "sam3_vit_model", "layer_scale_init_value": 0.1},
    ("unsupported-model", "patch_kernel_size [8, 8]"): {"model_type": "sam2_hiera_det_model", "patch_kernel_size": [8, 8]},
    ("unsupported-model", "fpn_top_down_levels [1]"): {"model_type": "sam2_vision_model", "fpn_top_down_levels": [1]},
    ("unsupported-model", "backbone_config: .*model_type 'hiera'"): {
        "model_type": "sam2_vision_model", "backbone_config": {"model_type": "hiera"},
    },
    ("unsupported-model", "architectures ['Own']"): {"model_type": "vit_mae", "architectures": ["Own"]},
    ("unsupported-model", "model_name 'siglip'"): {"model_type": "deepseek_vl_v2", "vision_config": {"model_name": "siglip"}},
    ("unknown-model", "did you mean 'vit_mae'"): {"model_type": "vit_mea"},
    ("unknown-model", "has no model_type; choose from"): {},
    ("unknown-model", "model_type ['vit']"): {"model_type": ["vit"]},
}  # fmt: skip
"""The code, and what is named."""


@pytest.mark.parametrize(("code", "named"), UNFIT)
def test_what_cannot_be_expressed_is_named(code, named, tmp_path):
    with pytest.raises(ImportFailedError) as caught:
        imported(str(as_json(UNFIT[code, named], tmp_path / "config.json")))
    assert caught.value.codes == (code,)
    assert all(part in str(caught.value) for part in named.split(".*"))


JUNK = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        -1,
        3,
        7,
        10**400,
        0.5,
        -1.0,
        float("inf"),
        "",
        "gelu",
        [],
        [1],
        [0, 0],
        [2, 2],
        [[1]],
        {},
        {"a": 1},
    ]
)


PARTS = ("vision_config", "backbone_config")
SAVED = [made(presets[0]).to_dict() for made, presets in CLASSES.items()]


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(st.sampled_from(SAVED), st.integers(0, len(PARTS)), st.randoms(use_true_random=False), JUNK)
def test_whatever_an_entry_says_it_is_read_or_refused(saved, depth, random, junk):
    entries = part = deepcopy(saved)
    for key in PARTS[:depth]:
        part = part.get(key, part)
    part[random.choice(sorted(part))] = junk
    with TemporaryDirectory() as folder, suppress(ImportFailedError):
        load_config(parse_yaml(imported(str(as_json(entries, Path(folder) / "c.json"))), "yaml").plain())


def test_an_entry_similar_to_a_missing_one_has_a_note(tmp_path):
    part = {"model_type": "sam_vision_model", "hidden_siz": 768, "patch_size": 16, "patch_sizes": 16}
    text = imported(str(as_json({"model_type": "sam", "vision_config": part}, tmp_path / "c.json")))
    (warning,) = (line for line in text.splitlines() if "was ignored" in line)
    assert "'hidden_siz'" in warning
    assert "'hidden_size'" in warning
