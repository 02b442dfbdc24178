"""Encoders that samattn has, in models of other names and inside larger models: equal to the real module of transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2SamVisionEncoder
from transformers.models.exaone4_5.modeling_exaone4_5 import Exaone4_5_VisionModel
from transformers.models.got_ocr2.modeling_got_ocr2 import GotOcr2VisionEncoder
from transformers.models.pp_formulanet.modeling_pp_formulanet import PPFormulaNetVisionModel
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniVisionEncoder
from transformers.models.slanext.modeling_slanext import SLANeXtVisionEncoder
from transformers.models.unlimited_ocr.modeling_unlimited_ocr import UnlimitedOcrVisionModel

from samattn_cli import analyze, load_config
from samattn_cli.errors import ConfigError, ImportFailedError, code_of
from samattn_cli.importing.importer import imported
from tests.support.importing import as_json
from tests.support.sampling import sampled

SAM = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "window_size": 3,
    "global_attn_indexes": [0], "output_channels": 8, "mlp_dim": 128,
}  # fmt: skip
SWIN = {"embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "image_size": 112}
SAM3 = {
    "backbone_config": {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 112, "pretrain_image_size": 56, "window_size": 4, "global_attn_indexes": [1],
    },
    "fpn_hidden_size": 32, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
}  # fmt: skip


def vision_of(name: str) -> Callable[[Any], nn.Module]:
    return lambda config: tf.AutoModel.from_config(getattr(config, name))


def without_projector(config: Any) -> nn.Module:
    model = PPFormulaNetVisionModel(config.vision_config)
    model.multi_modal_projector = nn.Identity()
    return model


def without_pooler(config: Any) -> nn.Module:
    return tf.AutoModel.from_config(config, add_pooling_layer=False)


def backbone(config: Any) -> nn.Module:
    return tf.AutoBackbone.from_config(config.backbone_config)


PLAIN = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
OF_CLIP = PLAIN | {"intermediate_size": 96}


def without_mask_token(config: Any) -> nn.Module:
    model = tf.AutoModel.from_config(config)
    model.embeddings.mask_token = None
    return model


def without_last_norm(config: Any) -> nn.Module:
    model = tf.AutoModel.from_config(config)
    model.post_layernorm = nn.Identity()
    return model


MODELS: dict[str, tuple[Callable[[], Any], Callable[[Any], nn.Module]]] = {
    "sam_hq": (lambda: tf.SamHQConfig(vision_config=SAM), vision_of("vision_config")),
    "maskformer-swin": (lambda: tf.MaskFormerSwinConfig(**SWIN), tf.AutoModel.from_config),
    "got_ocr2": (lambda: tf.GotOcr2Config(vision_config=SAM), lambda config: GotOcr2VisionEncoder(config.vision_config)),
    "donut-swin": (lambda: tf.DonutSwinConfig(**SWIN), without_pooler),
    "slanext": (lambda: tf.SLANeXtConfig(vision_config=SAM), lambda config: SLANeXtVisionEncoder(config.vision_config)),
    "pp_formulanet": (lambda: tf.PPFormulaNetConfig(vision_config=SAM), without_projector),
    "deepseek_ocr2": (
        lambda: tf.DeepseekOcr2Config(vision_config={"sam_config": SAM | {"output_channels": 256}}),
        lambda config: DeepseekOcr2SamVisionEncoder(config.vision_config.sam_config),
    ),
    "deepseek_vl_hybrid": (
        lambda: tf.DeepseekVLHybridConfig(high_res_vision_config={"model_type": "sam_vision_model", **SAM}),
        vision_of("high_res_vision_config"),
    ),
    "sam3_tracker": (lambda: tf.Sam3TrackerConfig(vision_config=SAM3), vision_of("vision_config")),
    "sam3_tracker_video": (lambda: tf.Sam3TrackerVideoConfig(vision_config=SAM3), vision_of("vision_config")),
    "sam3_lite_text": (lambda: tf.Sam3LiteTextConfig(vision_config=SAM3), vision_of("vision_config")),
    "vision-encoder-decoder": (
        lambda: tf.VisionEncoderDecoderConfig(
            encoder=tf.DonutSwinConfig(**SWIN).to_dict(), decoder=tf.BertConfig().to_dict()
        ),
        lambda config: without_pooler(config.encoder),
    ),
    "dinov2": (lambda: tf.Dinov2Config(**PLAIN), without_mask_token),
    "dinov2, gated": (lambda: tf.Dinov2Config(**PLAIN, use_swiglu_ffn=True), without_mask_token),
    "dinov2_with_registers": (lambda: tf.Dinov2WithRegistersConfig(**PLAIN), without_mask_token),
    "siglip": (
        lambda: tf.SiglipConfig(vision_config=OF_CLIP | {"vision_use_head": False}), vision_of("vision_config")
    ),
    "clip": (
        lambda: tf.CLIPConfig(vision_config=OF_CLIP), lambda config: without_last_norm(config.vision_config)
    ),
    "clip, GELU": (lambda: tf.CLIPVisionConfig(**OF_CLIP, hidden_act="gelu"), without_last_norm),
    "deit": (lambda: tf.DeiTConfig(**OF_CLIP), without_pooler),
    "dinov3_vit": (lambda: tf.DINOv3ViTConfig(**OF_CLIP, num_register_tokens=4), without_mask_token),
    "dinov3_vit, gated": (
        lambda: tf.DINOv3ViTConfig(**OF_CLIP, use_gated_mlp=True, hidden_act="silu", query_bias=False, value_bias=False),
        without_mask_token,
    ),
    "vitmatte": (lambda: tf.VitMatteConfig(backbone_config=tf.VitDetConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, out_features=["stage2"])), backbone),
}  # fmt: skip


def figures(config: Any, folder: Path) -> tuple[int, int]:
    """samattn's parameters and FLOPs."""
    text = imported(str(as_json(config.to_dict(), folder / "config.json")))
    (folder / "a.yaml").write_text(text, "utf-8")
    totals = analyze(load_config(folder / "a.yaml"), verify=False).totals
    return totals.params, totals.flops


def theirs(model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """The real module's."""
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model.eval()(torch.zeros(1, 3, *size, device="meta"))
    return sum(weight.numel() for weight in model.parameters()), counted.get_total_flops()


@pytest.mark.parametrize("name", sampled(list(MODELS), 6))
def test_an_encoder_of_another_name_is_equal_to_the_real_module(name, tmp_path):
    make, module_of = MODELS[name]
    config = make()
    ours = figures(config, tmp_path)
    with torch.device("meta"):
        model = module_of(config)
    assert ours == theirs(model, load_config(tmp_path / "a.yaml").image_size)


def mask2former(**backbone_keys: Any) -> Any:
    return tf.Mask2FormerConfig(backbone_config=tf.SwinConfig(**SWIN, **backbone_keys))


BACKBONES: dict[str, Callable[[], Any]] = {
    "mask2former": lambda: mask2former(out_features=["stage1", "stage2"]),
    "grounding-dino": lambda: tf.GroundingDinoConfig(backbone_config=tf.SwinConfig(**SWIN, out_indices=[2])),
    "upernet, V2": lambda: tf.UperNetConfig(
        backbone_config=tf.Swinv2Config(**SWIN, window_size=7, out_features=["stage1", "stage2"])
    ),
    "oneformer": lambda: tf.OneFormerConfig(backbone_config=tf.SwinConfig(**SWIN, out_features=["stage2"])),
    "upernet": lambda: tf.UperNetConfig(backbone_config=tf.SwinConfig(**SWIN, out_features=["stage1", "stage2"])),
    "mm-grounding-dino": lambda: tf.MMGroundingDinoConfig(backbone_config=tf.SwinConfig(**SWIN, out_indices=[1, 2])),
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(list(BACKBONES), 6))
def test_a_backbone_has_a_norm_for_each_output(name, tmp_path):
    config = BACKBONES[name]()
    ours = figures(config, tmp_path)
    with torch.device("meta"):
        model = backbone(config)
    assert ours == theirs(model, (112, 112))


def test_a_norm_that_nothing_reads_runs_and_has_no_gradient(tmp_path):
    """The bytes of inference and training are those of the real stack."""
    figures(mask2former(out_features=["stage1", "stage2"]), tmp_path)
    for mode in ("inference", "training"):
        analyzed = analyze(load_config(tmp_path / "a.yaml", [f"run.mode={mode}"]))
        assert analyzed.crosscheck.memory_trace.status == "exact"


@pytest.mark.exhaustive
def test_swin_t_with_four_outputs_has_the_parameters_of_its_backbone(tmp_path):
    """27,522,234, of which 2 * 768 are of the norm that nothing reads."""
    assert figures(tf.OneFormerConfig(), tmp_path) == (27_522_234, 8_979_597_312)
    assert "transformers' SwinBackbone keeps copies" in (tmp_path / "a.yaml").read_text("utf-8").replace(
        "\n# ", " "
    )
    assert analyze(load_config(tmp_path / "a.yaml", ["image_size=56"])).crosscheck.status == "exact"


@pytest.mark.parametrize(("indices", "codes"), [([4], "no-such-stage"), ([0, 1], "no-such-stage")])
def test_outputs_that_a_neck_cannot_give_are_refused(indices, codes):
    keys = ["neck=stage_norms", "norm=false", f"out_indices={indices}"]
    with pytest.raises(ConfigError) as caught:
        load_config("swin_t", keys)
    assert [problem.message.code for problem in caught.value.problems] == [codes]


PUBLISHED = {
    tf.SamHQConfig: 89_670_912, tf.GotOcr2Config: 89_670_912, tf.Sam3TrackerConfig: 454_038_784, tf.SLANeXtConfig: 87_278_848,
    tf.DeepseekOcr2Config: 94_979_328,
}  # fmt: skip


class Unlimited(nn.Module):
    """The vision model and the projector of Unlimited-OCR."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.model = UnlimitedOcrVisionModel(config.vision_config)
        self.projector = nn.Linear(2048, config.text_config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.projector(self.model(x).last_hidden_state)


@pytest.mark.exhaustive
def test_unlimited_ocr_is_a_deep_encoder(tmp_path):
    config = tf.UnlimitedOcrConfig()
    with torch.device("meta"):
        model = Unlimited(config)
    assert figures(config, tmp_path) == (400_767_488, 1_139_967_033_344) == theirs(model, (1024, 1024))


@pytest.mark.exhaustive
@pytest.mark.parametrize("made", PUBLISHED)
def test_a_description_that_leaves_its_encoder_out_has_the_default_one(made, tmp_path):
    """`to_diff_dict` leaves out what is the class's default."""
    for entries in (made().to_dict(), made().to_diff_dict()):
        text = imported(str(as_json(entries, tmp_path / "config.json")))
        (tmp_path / "a.yaml").write_text(text, "utf-8")
        assert analyze(load_config(tmp_path / "a.yaml"), verify=False).totals.params == PUBLISHED[made]


def test_the_encoder_two_levels_down_is_named(tmp_path):
    """Qwen2.5-Omni's is in its thinker; its own code has a projection each for queries, keys and values."""
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
              "fullatt_block_indexes": [1]}  # fmt: skip
    entries = {
        "model_type": "qwen2_5_omni",
        "thinker_config": {"model_type": "qwen2_5_omni_thinker", "vision_config": vision},
    }
    text = imported(str(as_json(entries, tmp_path / "config.json")))
    joined = " ".join(text.replace("\n# ", " ").split())
    assert "its thinker_config.vision_config, of type qwen2_5_omni_vision_encoder" in joined
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    ours = analyze(load_config(tmp_path / "a.yaml", ["image_size=112"]), verify=False).totals
    config = tf.Qwen2_5OmniConfig(thinker_config={"vision_config": vision}).thinker_config.vision_config
    assert (ours.params, ours.flops) == of_64_patches(Qwen2_5OmniVisionEncoder, config)


def test_groups_of_heads_share_keys_and_values_in_exaone(tmp_path):
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "num_key_value_heads": 2,
              "out_hidden_size": 64, "fullatt_block_indexes": [1]}  # fmt: skip
    entries = {"model_type": "exaone4_5", "vision_config": {"model_type": "exaone4_5_vision", **vision}}
    (tmp_path / "a.yaml").write_text(imported(str(as_json(entries, tmp_path / "config.json"))), "utf-8")
    ours = analyze(load_config(tmp_path / "a.yaml", ["image_size=112"]), verify=False).totals
    config = tf.Exaone4_5_Config(vision_config=vision).vision_config
    assert (ours.params, ours.flops) == of_64_patches(Exaone4_5_VisionModel, config)


def of_64_patches(make: Callable[[Any], nn.Module], config: Any) -> tuple[int, int]:
    """Parameters and FLOPs of a model of one image of 8x8 patches, in one sequence."""
    config._attn_implementation = "eager"  # torch does not count the FLOPs of its attention for CPUs
    model = make(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(torch.zeros(64, 3 * 2 * 14 * 14), grid_thw=torch.tensor([[1, 8, 8]]))
    return sum(weight.numel() for weight in model.parameters()), counted.get_total_flops()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "siglip2": ({"model_type": "siglip2_vision_model"}, "no encoder of model_type 'siglip2_vision_model'; choose from"),
    "clip": (
        {"model_type": "clip_vision_model", "hidden_act": "relu"},
        "samattn cannot express hidden_act 'relu'; it supports 'quick_gelu' or 'gelu'",
    ),
    "edgetam": (
        {"model_type": "edgetam", "vision_config": {"model_type": "edgetam_vision_model"}},
        "nor has samattn what is inside it: 'edgetam_vision_model' (vision_config)",
    ),
    "sam4": ({"model_type": "sam4_vision_model"}, "choose from"),
    "a misspelling": ({"model_type": "sam_vison_model"}, "did you mean 'sam_vision_model'?"),
    "timm": ({"architecture": "vit_base_patch16_224"}, "is timm's, of 'vit_base_patch16_224'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_does_not_mislead(name, tmp_path):
    entries, said = REFUSED[name]
    with pytest.raises(ImportFailedError) as caught:
        imported(str(as_json(entries, tmp_path / "config.json")))
    assert said in str(caught.value)
    assert ("did you mean" in str(caught.value)) == (name == "a misspelling")


@pytest.mark.parametrize(
    ("entries", "place", "words"),
    [
        ({"model_type": "clip", "vision_config": []}, "c.json", ("vision_config must be a mapping", "[]")),
        (
            {"model_type": "mask2former", "backbone_config": 3},
            "c.json",
            ("backbone_config must be a mapping", "3"),
        ),
        (
            {"model_type": "qwen2_5_omni", "thinker_config": {"vision_config": "x"}},
            "c.json: thinker_config",
            ("vision_config must be a mapping", "x"),
        ),
        (
            {"model_type": "lw_detr"},
            "c.json",
            ("projector_scale_factors is missing", "its default, []", "2.0, 1.0"),
        ),
        (
            {"model_type": "lw_detr", "projector_scale_factors": []},
            "c.json",
            ("projector_scale_factors must be a list", "not []"),
        ),
    ],
    ids=str,
)
def test_an_entry_that_is_wrong_is_named_and_a_default_is_called_one(entries, place, words, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(entries), "utf-8")
    with pytest.raises(ImportFailedError) as error:
        imported(str(tmp_path / "c.json"), print)
    assert code_of(error.value.message) == "wrong-entry"
    assert str(error.value).startswith(f"{tmp_path / place}: {words[0]}")
    assert all(word in str(error.value) for word in words)
