"""timm needs torchvision, which these tests do not install: a stub replaces timm."""

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from samattn_cli import analyze, load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.families.plain.differences import differences, rotary_block
from samattn_cli.families.plain.importing import tokens_of
from samattn_cli.importing.importer import imported
from samattn_cli.importing.weights import Weights
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.other_sizes import weight_shapes
from tests.support.checkpoints import of_sam, of_vit, write_safetensors
from tests.support.importing import is_preset
from tests.support.running import ROOT, samattn


class Block(torch.nn.Module):
    pass


class ResPostBlock(torch.nn.Module):
    pass


def assembled(shapes: dict[str, tuple[int, ...]]) -> torch.nn.Module:
    model = torch.nn.Module()
    for name, shape in shapes.items():
        *path, last = name.split(".")
        module = model
        for step in path:
            if not hasattr(module, step):
                module.add_module(step, Block() if step.isdecimal() else torch.nn.Module())
            module = getattr(module, step)
        module.register_parameter(last, torch.nn.Parameter(torch.zeros(shape, device="meta")))
    return model


def a_vit(activation: str = "GELU", *, fused: bool = True) -> torch.nn.Module:
    """A width that no published ViT of the presets has."""
    config = load_config("vit_b", ["embed_dim=192", "num_heads=3", "image_size=[224, 112]"])
    model = assembled(of_vit(config))
    model.patch_embed.img_size, model.patch_embed.num_patches = (224, 112), 98
    for block in model.blocks.children():
        block.attn.num_heads = 3
        block.attn.fused_attn = fused
        block.mlp.act = type(activation, (torch.nn.Module,), {})()
    return model


def a_clip(activation: str = "GELU") -> torch.nn.Module:
    """timm's vit_base_patch16_clip_224: no bias of patches, and a norm before the blocks."""
    shapes = of_vit(load_config("vit_b"))
    del shapes["patch_embed.proj.bias"]
    model = assembled(shapes | {"norm_pre.weight": (768,), "norm_pre.bias": (768,)})
    model.patch_embed.img_size = (224, 224)
    for block in model.blocks.children():
        block.attn.num_heads = 12
        block.mlp.act = type(activation, (torch.nn.Module,), {})()
    return model


def a_mix() -> torch.nn.Module:
    model = a_clip()
    model.blocks.get_submodule("7").mlp.act = type("QuickGELU", (torch.nn.Module,), {})()
    return model


def a_samvit(activation: str = "GELU") -> torch.nn.Module:
    shapes = {
        name.removeprefix("image_encoder.").replace("mlp.lin", "mlp.fc"): shape
        for name, shape in of_sam(load_config("sam_vit_b")).items()
        if name.startswith("image_encoder.")
    }
    model = assembled(shapes)
    for block in model.blocks.children():
        block.attn.fused_attn = True
        block.mlp.act = type(activation, (torch.nn.Module,), {})()
    return model


def a_hiera() -> torch.nn.Module:
    config = load_config("sam2_hiera_t")
    shapes = {"pos_embed.background": "pos_embed", "pos_embed.window": "pos_embed_window"}
    model = assembled({
        shapes.get(name, name.replace("layers.0", "fc1").replace("layers.1", "fc2")): shape
        for name, shape in weight_shapes(config).items()
        if not name.startswith("neck.")
    })  # fmt: skip
    for layer, block in zip(config.layers, model.blocks.children(), strict=True):
        block.window_size = layer.window_size
        block.attn.num_heads = layer.stage.num_heads
        block.q_stride = (2, 2) if layer.q_stride == 2 else None
    model.pretrained_cfg = {"input_size": (3, 1024, 1024)}
    return model


def a_post_norm() -> torch.nn.Module:
    """timm's vit_base_patch16_rpn_224 has the weights of a ViT."""
    model = a_vit()
    model.blocks.get_submodule("0").__class__ = ResPostBlock
    return model


MODELS = {
    "vit_post_norm": a_post_norm,
    "vit_tiny_patch16_224": a_vit,
    "vit_of_eager": lambda: a_vit(fused=False),
    "vit_silu": lambda: a_vit("SiLU"),
    "vit_mixed": a_mix,
    "vit_base_patch16_clip_224": a_clip,
    "vit_base_patch16_clip_quickgelu_224": lambda: a_clip("QuickGELU"),
    "samvit_quick": lambda: a_samvit("QuickGELU"),
    "samvit_base_patch16": a_samvit,
    "sam2_hiera_tiny": a_hiera,
}


def created(name: str, *, pretrained: bool) -> torch.nn.Module:
    assert not pretrained
    return MODELS[name]()


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = types.ModuleType("timm")
    stub.__spec__ = ModuleSpec("timm", None)
    stub.is_model = MODELS.__contains__
    stub.list_models = lambda: list(MODELS)
    stub.create_model = created
    monkeypatch.setitem(sys.modules, "timm", stub)


@pytest.mark.usefixtures("timm")
def test_timm_says_what_shapes_do_not(tmp_path):
    text = imported("vit_tiny_patch16_224")
    assert "# Imported from timm's vit_tiny_patch16_224." in text
    assert "image_size: [224, 112]" in text
    assert "num_heads: 3" in text
    assert "attention: sdpa" in text
    assert "attention" not in imported("vit_of_eager").partition("embed_dim")[2]
    assert imported("timm:vit_tiny_patch16_224") == text
    assert is_preset(imported("samvit_base_patch16"), "sam_vit_b", tmp_path, "sdpa", library="timm")


@pytest.mark.usefixtures("timm")
def test_a_hiera_of_timm_is_that_of_sam_2_without_its_neck(tmp_path):
    text = imported("sam2_hiera_tiny")
    assert "implementation: timm" in text
    text = text.replace("implementation: timm\n", "").replace("stages:", "neck: sam2_fpn\nstages:")
    assert is_preset(text, "sam2_hiera_t", tmp_path)


@pytest.mark.usefixtures("timm")
def test_a_timm_model_that_does_not_exist_or_cannot_be_expressed():
    with pytest.raises(ImportFailedError, match=r"did you mean 'vit_tiny_patch16_224'\? \[file-not-found\]"):
        imported("vit_tiny_patch16_24")
    with pytest.raises(ImportFailedError, match=r"^vit_tiny: timm has no such model.*\[file-not-found\]"):
        imported("timm:vit_tiny")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("vit_post_norm", "because of: norms after attention and MLP in place of before;"),
        ("vit_silu", r"blocks\.0\.mlp\.act SiLU in an MLP without a gate"),
        ("vit_mixed", "GELU, QuickGELU"),
        ("samvit_quick", r"blocks\.0\.mlp\.act QuickGELU; .*GELU"),
    ],
)
def test_activations_that_a_family_does_not_have(name, difference):
    with pytest.raises(ImportFailedError, match=rf"{difference}.*\[unsupported-model\]"):
        imported(name)


DIFFERENCES = {
    "no learned positions, norms of queries and keys": {
        "pos_embed": None,
        "blocks.0.attn.q_norm.weight": (64,),
    },
    "a convolutional network before the patches": {
        "patch_embed.backbone.stages.0.blocks.0.norm1.weight": (64,)
    },
}


@pytest.mark.parametrize("wanted", DIFFERENCES)
def test_a_refusal_names_what_is_different(wanted, tmp_path):
    changed = of_vit(load_config("vit_b")) | DIFFERENCES[wanted]
    shapes = {name: shape for name, shape in changed.items() if shape is not None}
    path = write_safetensors(tmp_path / "a.safetensors", shapes)
    with pytest.raises(ImportFailedError, match=rf"because of: {wanted}; .*\[unsupported-model\]"):
        imported(str(path))


SCALES = {f"blocks.{block}.ls{number}.gamma": (768,) for block in range(12) for number in (1, 2)}
BOTH = (("weight", (768,)), ("bias", ()))
TOKENS = {
    "DINOv2's own": (
        SCALES | {"register_tokens": (1, 4, 768), "mask_token": (1, 768)},
        "class_token class_token=True reg_tokens=4 layer_scale=True",
    ),
    "DINOv2's by timm": (
        SCALES | {"reg_token": (1, 4, 768), "pos_embed": (1, 196, 768)},
        "patches class_token=True reg_tokens=4 layer_scale=True",
    ),
    "DeiT III": (
        SCALES | {"pos_embed": (1, 196, 768)},
        "patches class_token=True reg_tokens=0 layer_scale=True",
    ),
    "SigLIP": (
        {"pos_embed": (1, 196, 768), "cls_token": None, "attn_pool.latent": (1, 1, 768)},
        "patches class_token=False reg_tokens=0 layer_scale=False",
    ),
    "registers with positions": (
        {"pos_embed": (1, 200, 768), "reg_token": (1, 4, 768), "cls_token": None},
        "tokens class_token=False reg_tokens=4 layer_scale=False",
    ),
    "DINOv2's giant": (
        {f"blocks.{block}.mlp.fc1.{name}": (6144, *rest) for block in range(12) for name, rest in BOTH},
        "class_token class_token=True reg_tokens=0 layer_scale=False mlp=swiglu_packed",
    ),
    "distilled": (
        {"dist_token": (1, 1, 768), "pos_embed": (1, 198, 768)},
        "tokens class_token=True reg_tokens=1 layer_scale=False",
    ),
}


@pytest.mark.parametrize("model", TOKENS)
def test_tokens_in_front_of_the_patches_are_read_off_the_weights(model, tmp_path):
    changes, wanted = TOKENS[model]
    changed = of_vit(load_config("vit_b")) | changes
    shapes = {name: shape for name, shape in changed.items() if shape is not None}
    (tmp_path / "a.yaml").write_text(
        imported(str(write_safetensors(tmp_path / "a.safetensors", shapes))), "utf-8"
    )
    config = load_config(tmp_path / "a.yaml")
    keys = f"class_token={config.class_token} reg_tokens={config.reg_tokens}"
    assert (
        f"{config.pos_embed} {keys} layer_scale={config.stages[0].layer_scale} mlp={config.stages[0].mlp}"
        == (wanted if "mlp=" in wanted else f"{wanted} mlp=gelu")
    )


@pytest.mark.parametrize(("patches", "word"), [(255, "class_token"), (256, "patches")])
def test_positions_of_a_grid_that_is_not_a_square(patches, word):
    """A grid of 15x17 and a class token have 256 positions, which is the square of 16."""
    shapes = {"pos_embed.pos_embed": (1, 256, 768), "pos_embed.cls_token": (1, 1, 768)}
    weights = Weights("a", shapes, attributes={"patch_embed.num_patches": patches})
    assert tokens_of(weights)["pos_embed"] == word


def test_rotary_positions_have_no_weights():
    """Otherwise vit_pe_spatial_base_patch16_512 of timm has the weights of a CLIP."""
    assert differences(of_vit(load_config("vit_b")), {"rope.training": True}) == [
        "rotary positions of another kind"
    ]


def dinov3() -> dict[str, tuple[int, ...]]:
    """timm's vit_base_patch16_dinov3."""
    shapes = of_vit(load_config("vit_b")) | {"reg_token": (1, 4, 768)}
    biases = {name for name in shapes if name.endswith("attn.qkv.bias")}
    scales = {f"blocks.{block}.gamma_{number}": (768,) for block in range(12) for number in (1, 2)}
    return {name: shape for name, shape in shapes.items() if name not in {*biases, "pos_embed"}} | scales


@pytest.mark.parametrize(
    ("rope", "wanted"),
    [("RotaryEmbeddingDinoV3", []), ("RotaryEmbeddingCat", ["rotary positions of another kind"])],
)
def test_rotary_positions_are_those_of_dinov3_or_refused(rope, wanted):
    attributes = {"rope": rope, "rope.training": True, "blocks.0": "EvaBlock"}
    assert differences(dinov3(), attributes) == wanted


OF_TIMM = {
    "vit_base_patch16_rope_reg1_gap_256": (10000.0, "ij", 0.0, (16, 16), 1, 1e-6, "eva"),
    "vit_base_patch16_rope_224": (100.0, "xy", 0.0, None, 1, 1e-6, "rope"),
    "vit_pe_core_base_patch16_224": (10000.0, "xy", 1.0, (14, 14), 1, 1e-5, "pe"),
    "vit_pe_lang_gigantic_patch14_448": (10000.0, "xy", 0.0, (14, 14), 0, 1e-5, "pe"),
    "places that begin with 1 without a token": (10000.0, "xy", 1.0, (14, 14), 0, 1e-5, ""),
    "another theta": (50.0, "xy", 0.0, None, 1, 1e-6, ""),
}


@pytest.mark.parametrize("name", OF_TIMM)
def test_rotary_positions_of_timm_are_those_of_a_word_or_of_another_kind(name):
    theta, indexing, offset, pretrained, in_front, eps, word = OF_TIMM[name]
    attributes = {
        "rope": "RotaryEmbeddingCat",
        "rope.temperature": theta,
        "rope.grid_indexing": indexing,
        "rope.grid_offset": offset,
        "rope.feat_shape": (14, 14),
        "num_prefix_tokens": in_front,
        "blocks.0": "EvaBlock",
        "blocks.0.norm1.eps": eps,
        **({"rope.ref_feat_shape": pretrained} if pretrained else {}),
        **({} if word == "eva" else {"blocks.0.attn.num_kv_heads": 12}),
    }
    assert rotary_block(attributes) == word
    assert differences(of_vit(load_config("vit_b")), attributes) == (
        [] if word else ["rotary positions of another kind"]
    )


def test_learned_frequencies_are_named():
    shapes = of_vit(load_config("vit_b")) | {"rope.freqs": (2, 12, 12, 32)}
    (said,) = differences(shapes, {"rope": "RotaryEmbeddingMixed", "blocks.0": "EvaBlock"})
    assert "rope.freqs" in said


@pytest.mark.parametrize("kind", ["ParallelScalingBlock", "ParallelThingsBlock"])
def test_blocks_of_another_class_are_named(kind):
    """timm's vit_base_patch16_xp_224 and vit_small_patch16_18x2_224 have weights of other names."""
    (said,) = differences({"patch_embed.proj.weight": (384, 3, 16, 16)}, {"blocks.0": kind})
    assert "side by side" in said


def test_a_file_of_dinov3_is_read_at_224_pixels(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", dinov3())
    text = imported(str(path))
    assert "image_size: 224" in text
    assert "change image_size 224 to yours" in text


def test_a_hierarchical_model_is_not_a_vision_transformer_without_a_class_token():
    shapes = {"patch_embed.proj.weight": (96, 3, 7, 7), "blocks.0.attn.qkv.weight": (288, 96)}
    norms = {"blocks.0.norm1.weight": (96,), "blocks.1.norm1.weight": (192,)}
    assert differences(shapes | norms, {}) == []


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "block"),
    [("vit_base_patch16_clip_224", "plain"), ("vit_base_patch16_clip_quickgelu_224", "clip")],
)
def test_clips_encoders_are_exact(name, block, tmp_path):
    (tmp_path / "a.yaml").write_text(imported(name), "utf-8")
    config = load_config(tmp_path / "a.yaml")
    assert (config.stages[0].block, config.patch_embed, config.pre_norm) == (block, "patch_no_bias", True)
    totals = analyze(config, verify=False).totals
    assert (totals.params, totals.flops) == (85_799_424, 35_126_120_448)


NO_OPERATOR = "operator torchvision::nms does not exist"
UPGRADE = f"torch {torch.__version__}: pip install --upgrade torchvision"
BROKEN = {
    "raise RuntimeError('operator torchvision::nms\\ndoes not exist')": (
        f"RuntimeError: {NO_OPERATOR}",
        UPGRADE,
    ),
    "raise ModuleNotFoundError(\"No module named 'torchvision'\")": (
        "ModuleNotFoundError: No module named 'torchvision'",
        UPGRADE,
    ),
    "raise OSError('libjpeg.so.8: cannot open')": (
        "OSError: libjpeg.so.8: cannot open",
        "python -c 'import timm'",
    ),
    "def f(:": ("SyntaxError: ", ""),
}


def broken_timm(source: str, folder: Path) -> str:
    (folder / "timm").mkdir()
    (folder / "timm" / "__init__.py").write_text(source, "utf-8")
    return str(folder)


@pytest.mark.parametrize("source", BROKEN)
def test_a_timm_that_cannot_be_imported_is_named(source, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(broken_timm(source, tmp_path))
    with pytest.raises(ImportFailedError) as caught:
        imported("vit_base_patch16_224")
    assert caught.value.codes == ("broken-timm",)
    assert str(caught.value).startswith("vit_base_patch16_224: ")
    assert all(part in str(caught.value) for part in BROKEN[source])


@pytest.mark.exhaustive
def test_a_torchvision_of_another_torch_is_not_a_bug_of_samattn(tmp_path):
    """As users see it: importing torchvision fails because its operators are missing."""
    folder = broken_timm(next(iter(BROKEN)), tmp_path)
    made = samattn("import", "vit_base_patch16_224", cwd=tmp_path, PYTHONPATH=f"{folder}:{ROOT}")
    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr.startswith("vit_base_patch16_224: ")
    assert f"(RuntimeError: {NO_OPERATOR})" in made.stderr
    assert made.stderr.endswith("[broken-timm]\n")
    assert len(made.stderr.splitlines()) == 1


@pytest.mark.usefixtures("timm")
def test_a_model_that_timm_cannot_make_is_not_a_bug_of_samattn(monkeypatch):
    def unmade() -> torch.nn.Module:
        raise ImportError("takes flash_attn")

    monkeypatch.setitem(MODELS, "needs_more", unmade)
    with pytest.raises(
        ImportFailedError, match=r"needs_more: .*\(ImportError: takes flash_attn\) \[broken-timm\]"
    ):
        imported("needs_more")


def eva02(depth: int = 12) -> dict[str, tuple[int, ...]]:
    """timm's eva02_base_patch14_224."""
    of_block = {
        **{f"norm{number}.{kind}": (768,) for number in (1, 2) for kind in ("weight", "bias")},
        **{f"attn.{name}_proj.weight": (768, 768) for name in "qkv"},
        **{f"attn.{name}.bias": (768,) for name in ("q_proj", "v_proj", "proj")},
        "attn.proj.weight": (768, 768),
        **{f"mlp.{name}.weight": (2048, 768) for name in ("fc1_g", "fc1_x")},
        **{f"mlp.{name}.bias": (2048,) for name in ("fc1_g", "fc1_x", "norm")},
        "mlp.norm.weight": (2048,),
        "mlp.fc2.weight": (768, 2048),
        "mlp.fc2.bias": (768,),
    }
    ends = {"patch_embed.proj.weight": (768, 3, 14, 14), "patch_embed.proj.bias": (768,)}
    ends |= {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 257, 768),
        "fc_norm.weight": (768,),
        "fc_norm.bias": (768,),
    }
    return ends | {f"blocks.{at}.{name}": shape for at in range(depth) for name, shape in of_block.items()}


def test_eva02_is_known_by_its_projections_and_the_norm_in_its_mlp(tmp_path):
    path = tmp_path / "eva02.yaml"
    path.write_text(imported(str(write_safetensors(tmp_path / "a.safetensors", eva02()))), "utf-8")
    config = load_config(path)
    (stage,) = config.stages
    assert (stage.block, stage.mlp_dim, config.pos_embed, config.image_size) == (
        "eva02",
        2048,
        "class_token",
        (224, 224),
    )
    assert int(forward(config).flops) == 46_322_454_528  # timm's, by torch's FlopCounterMode


@pytest.mark.parametrize(
    ("kept", "said"), [("attn.norm", "attended values"), ("mlp.norm", "a norm in the MLP")]
)
def test_norms_inside_of_other_blocks_are_named(kept, said):
    (found,) = differences(of_vit(load_config("vit_b")) | {f"blocks.0.{kept}.weight": (2048,)}, {})
    assert said in found
