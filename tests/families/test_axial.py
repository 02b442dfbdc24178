"""Plain blocks with axial rotary positions: their angles by hand, the Tape against the real stack, timm's own outputs."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch

from samattn_cli import load_config
from samattn_cli.errors import ConfigError
from samattn_cli.families.plain.axial import AXIAL
from samattn_cli.families.plain.axial_stack import Attention
from samattn_cli.stack.encoder import build
from samattn_cli.studies.verify import verify
from tests.support.problems import messages_of
from tests.support.weights import randomised

SMALL = {
    "image_size": [32, 48],
    "patch_size": 16,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 2,
}
SCALED = {"layer_scale": True, "norm": True}
ENCODERS = {
    "eva02_clip": {"pos_embed": "class_token", "mlp_ratio": 8 / 3, "norm": True},
    "eva02": {"pos_embed": "class_token", "mlp_ratio": 8 / 3, "norm": True},
    "eva": {"pos_embed": "prefix", "class_token": False, "reg_tokens": 1, **SCALED},
    "rope": {"pos_embed": "prefix", **SCALED},
    "pe": {"pos_embed": "class_token", "pre_norm": True, "patch_embed": "patch_no_bias", "norm": True},
}
WITHOUT_TOKENS = {"pos_embed": "patches", "class_token": False, "norm": True}
RUNS = {
    "eva02": [ENCODERS["eva02"] | {"run": {"mode": "training", "dtype": "bfloat16"}}],
    "eva02_clip": [ENCODERS["eva02_clip"] | {"run": {"mode": "training", "attention": "sdpa"}}],
    "eva": [ENCODERS["eva"] | {"qkv_bias": False, "run": {"mode": "training", "dtype": "bfloat16"}}],
    "rope": [ENCODERS["rope"] | {"run": {"mode": "training", "attention": "sdpa", "autocast": "float16"}}],
    "pe": [ENCODERS["pe"] | {"run": {"mode": "training", "checkpointing": True}}, WITHOUT_TOKENS],
}


WEEKLY = {"eva02"}
"""What eva02_clip has too."""


@pytest.mark.parametrize(
    "word", [pytest.param(word, marks=pytest.mark.exhaustive) if word in WEEKLY else word for word in RUNS]
)
def test_the_tape_is_the_real_stack(word):
    for keys in RUNS[word]:
        check = verify(load_config(SMALL | {"block": word, "depth": 1} | keys))
        each = (check.parameters, check.fvcore, check.flop_counter, check.memory_trace)
        assert [one.status for one in each] == ["exact"] * 4


ANGLES = {
    "eva": lambda row, column: [row * 16 / 2, row * 16 / 2 / 100, column * 16 / 3, column * 16 / 3 / 100],
    "rope": lambda row, column: [column, column / 10, row, row / 10],
    "pe": lambda row, column: [1 + column, (1 + column) / 100, 1 + row, (1 + row) / 100],
}
"""Of a grid of 2x3 and heads of 8 channels: two frequencies, 1 and the square root of 1 / theta."""


@pytest.mark.parametrize("word", ANGLES)
def test_pairs_of_channels_turn_by_their_angles_and_tokens_in_front_do_not(word):
    layer = load_config(SMALL | {"block": word} | ENCODERS[word]).layers[0]
    attention = Attention(layer, "sdpa", AXIAL[word])
    x = torch.randn(1, 2, 7, 8)
    angles = torch.tensor([ANGLES[word](token // 3, token % 3) for token in range(6)])
    turns = torch.polar(torch.ones(6, 4), angles)
    wanted = torch.view_as_real(torch.view_as_complex(x[:, :, 1:].unflatten(-1, (-1, 2))) * turns).flatten(-2)
    found = attention.rotated(x, *attention.made(x.device))
    torch.testing.assert_close(found[:, :, :1], x[:, :, :1], rtol=0, atol=0)
    torch.testing.assert_close(found[:, :, 1:], wanted, rtol=1e-5, atol=1e-5)


REFUSED = {
    "[needs-pos-embed] rope mae": {"block": "rope", "pos_embed": "mae"},
    "[rotary-head-width] num_heads 2 4": {"block": "rope", "pos_embed": "prefix", "num_heads": 8},
    "[needs-block] pos_embed prefix eva, rope, pe": {"block": "plain", "pos_embed": "prefix"},
    "[needs-tokens] prefix class_token reg_tokens": {
        "block": "pe",
        "pos_embed": "prefix",
        "class_token": False,
    },
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_does_not_go_together_is_refused(said):
    with pytest.raises(ConfigError) as caught:
        load_config(SMALL | REFUSED[said])
    assert said in messages_of(caught)


SHARED = {
    "img_size": (32, 48),
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 2,
    "num_classes": 0,
    "global_pool": "",
    "use_rot_pos_emb": True,
}
XY = {"attn_type": "rope", "rope_grid_indexing": "xy"}
OF_TIMM = {
    "eva02_clip": {
        "qkv_fused": False,
        "swiglu_mlp": True,
        "scale_mlp": True,
        "scale_attn_inner": True,
        "ref_feat_shape": (16, 16),
        "mlp_ratio": 8 / 3,
    },
    "eva02": {
        "qkv_fused": False,
        "swiglu_mlp": True,
        "scale_mlp": True,
        "ref_feat_shape": (16, 16),
        "mlp_ratio": 8 / 3,
    },
    "eva": {
        "class_token": False,
        "num_reg_tokens": 1,
        "init_values": 1.0,
        "use_abs_pos_emb": False,
        "ref_feat_shape": (16, 16),
    },
    "rope": XY | {"init_values": 1.0, "use_abs_pos_emb": False, "rope_temperature": 100.0},
    "pe": XY | {"use_pre_transformer_norm": True, "ref_feat_shape": (2, 3), "rope_grid_offset": 1.0},
}


@pytest.mark.parametrize("word", OF_TIMM)
def test_the_same_weights_give_the_output_of_timm(word):
    eva = pytest.importorskip("timm.models.eva")
    norm = partial(torch.nn.LayerNorm, eps=AXIAL[word].eps)
    theirs = randomised(eva.Eva(**SHARED | OF_TIMM[word], norm_layer=norm).eval(), 0.3)
    config = load_config(SMALL | {"block": word} | ENCODERS[word])
    ours = build(config)
    for name in ("pre_norm", "norm") if word == "pe" else ():
        ours.get_submodule(name).eps = AXIAL[word].eps  # 1e-5, where samattn has 1e-6
    names = {"norm_pre": "pre_norm", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    weights = {}
    for name, weight in theirs.state_dict().items():
        ours_name = re.sub(r"^(pos_embed|cls_token|reg_token)$", r"pos_embed.\1", name)
        for old, new in names.items():
            ours_name = ours_name.replace(old, new)
        weights[ours_name] = weight
    ours.load_state_dict(weights, strict=True)
    image = torch.randn(config.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs.forward_features(image), rtol=0, atol=1e-5)
