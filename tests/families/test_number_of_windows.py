"""The grid cut into a number of windows: against the real stack, against hand-worked figures, against transformers' LW-DETR."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LwDetrViTBackbone, LwDetrViTConfig

from samattn_cli import EncoderConfig, load_config
from samattn_cli.errors import UsageError
from samattn_cli.stack.encoder import build
from samattn_cli.studies.explain import explain
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements.placing import shifted
from samattn_cli.studies.points import figures_at
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from tests.public.counting import counted
from tests.support.score_matrices import assert_scores_are_those_of_the_layers
from tests.support.weights import randomised

SMALL: dict[str, Any] = {
    "image_size": 48,
    "patch_size": 4,
    "pos_embed": "none",
    "embed_dim": 16,
    "depth": 4,
    "num_heads": 2,
    "num_windows_side": 4,
    "global_attn_indexes": [1, 3],
}
RECTANGLES = {"image_size": [24, 80], "num_windows_side": [3, 5]}
VARIANTS: dict[str, dict[str, Any]] = {
    "squares": {},
    "rectangles, positions in a table of the window": {**RECTANGLES, "rel_pos": "decomposed"},
    "one long window a row, a joint table": {"num_windows_side": [12, 1], "rel_pos": "joint"},
    "shifted": {**RECTANGLES, "shift_size": [1, 2], "global_attn_indexes": []},
    "a batch, sdpa": {"run": {"batch_size": 3, "attention": "sdpa"}},
    "fused, bfloat16": {
        "rel_pos": "decomposed",
        "num_heads": 1,
        "run": {"attention": "fused", "dtype": "bfloat16"},
    },
    "checkpointing": {"run": {"mode": "training", "checkpointing": True}},
    "an override": {"overrides": [{"blocks": [0], "num_windows_side": 2}, {"blocks": [2], "window_size": 5}]},
    "vitdet": {"block": "vitdet", "residual_block_indexes": [1], "rel_pos": "decomposed"},
    "sam_lora": {"block": "sam_lora", "lora_rank": 2},
    "sam_adapter": {"block": "sam_adapter"},
    "sam_adapter over depth": {"block": "sam_adapter", "depth_slices": 4, "run": {"batch_size": 4}},
}
EACH_WEEK = {"squares", "a batch, sdpa", "checkpointing", "sam_lora", "sam_adapter"}


def small(**changes: Any) -> EncoderConfig:
    return load_config({**SMALL, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=[pytest.mark.exhaustive] if name in EACH_WEEK else [])
        for name, changes in VARIANTS.items()
    ],
)
def test_the_tape_equals_the_real_stack(changes: dict[str, Any]) -> None:
    verdict = verify(small(**changes))
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"
    assert_scores_are_those_of_the_layers(forward(small(**changes)))


def test_figures_of_a_layer_worked_out_by_hand() -> None:
    """LW-DETR-like: 640 px, patches of 16, a grid of 40x40, 4x4 windows of 10x10 tokens, 192 channels, 6 heads."""
    config = load_config(
        {**SMALL, "image_size": 640, "patch_size": 16, "embed_dim": 192, "num_heads": 6, "mlp_ratio": 4}
    )
    windowed, as_global = (forward(config).segments[at].recording for at in (1, 2))
    linear = 2 * 1600 * 192 * (3 * 192 + 192 + 2 * 4 * 192)
    assert windowed.flops == linear + 2 * 2 * 16 * 100 * 100 * 192
    assert as_global.flops == linear + 2 * 2 * 1600 * 1600 * 192
    assert (windowed.scores, as_global.scores) == (6 * 16 * 100**2, 6 * 1600**2)
    assert as_global.scores == 16 * windowed.scores  # as many as there are windows: k**2


SIDES = np.array([512, 640, 1024, 1216, 2048])


def test_a_sweep_keeps_the_number_of_windows() -> None:
    config = load_config("sam_vit_b", ["num_windows_side=4"])
    points = {"height": SIDES, "width": SIDES[::-1]}
    swept = figures_at(config, points, ["flops", "attention_bytes", "peak_bytes", "training_bytes", "params"])
    for at, (height, width) in enumerate(zip(SIDES, SIDES[::-1], strict=True)):
        one = load_config("sam_vit_b", ["num_windows_side=4", f"image_size={height}x{width}"])
        figures = Passes(one).figures
        assert {name: values[at] for name, values in swept.items()} == {
            name: getattr(figures, name) for name in swept
        }
        assert one.layers[0].windows.counts == (4, 4)


def test_a_sweep_refuses_a_point_that_the_windows_do_not_divide() -> None:
    points = {"height": np.array([48, 64, 60]), "width": np.array([48, 64, 60])}
    with pytest.raises(UsageError, match=r"at image_size 60x60: num_windows_side 4 does not divide .* 15x15"):
        figures_at(small(), points, ["flops"])


def test_a_window_of_a_sweep_takes_the_place_of_the_number() -> None:
    swept = figures_at(small(), {"window": np.array([2, 3, 5])}, ["flops"])["flops"]
    expected = [Passes(load_config(SMALL, [f"window_size={window}"])).figures.flops for window in (2, 3, 5)]
    assert list(swept) == expected


@pytest.mark.parametrize(
    ("changes", "formula", "value"),
    [
        ({}, "B*v**2*u**2*k**2*C", 3**4 * 4**2 * 16),
        (RECTANGLES, "B*v**2*u**2*m*n*C", 2**2 * 4**2 * 3 * 5 * 16),
    ],
)
def test_the_formula_of_scores_has_the_number_of_windows(
    changes: dict[str, Any], formula: str, value: int
) -> None:
    found = explain(small(**changes), "0.attn.scores")
    assert (found.formula, found.value) == (formula, value)


def test_shifted_is_by_half_of_the_window_that_the_number_gives() -> None:
    made = shifted(small(**RECTANGLES))  # a grid of 6x20 in 3x5 windows of 2x4
    assert [layer.attends for layer in made.layers] == ["3x5 windows", "3x5 windows shift 1x2"] * 2


def lw_detr(config: EncoderConfig) -> nn.Module:
    """transformers' ViT of LW-DETR, whose num_windows counts all windows."""
    (stage,) = config.stages
    side, other = stage.num_windows_side or (1, 1)
    assert side == other
    return LwDetrViTBackbone(
        LwDetrViTConfig(
            hidden_size=stage.embed_dim,
            num_hidden_layers=stage.depth,
            num_attention_heads=stage.num_heads,
            mlp_ratio=int(stage.mlp_ratio),
            image_size=config.image_size[0],
            pretrain_image_size=config.image_size[0],
            patch_size=config.patch_size,
            window_block_indices=[i for i in range(stage.depth) if i not in stage.global_attn_indexes],
            num_windows=side * other,
            out_indices=[stage.depth],
            attn_implementation="eager",
        )
    ).eval()


@pytest.mark.parametrize(("side", "image"), [(2, 48), (3, 108), (4, 64)])
def test_flops_and_parameters_are_those_of_lw_detr(side: int, image: int) -> None:
    config = small(num_windows_side=side, image_size=image, pos_embed="pretrained")
    params, flops = counted(lw_detr(config), torch.zeros(1, 3, *config.image_size))
    figures, C, depth = Passes(config).figures, 16, 4
    assert figures.flops == flops
    gammas, key_biases = (
        2 * C * depth,
        C * depth,
    )  # it scales by channels what a block adds, and has no bias of keys
    assert figures.params == params - gammas + key_biases


def test_the_values_are_those_of_lw_detr() -> None:
    config = small(image_size=64, pos_embed="pretrained")
    theirs = randomised(lw_detr(config), 0.2)
    ours = build(config).eval()
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            if "gamma" in name:
                weight.fill_(1)
        ours.load_state_dict(renamed(weights, depth=4))
        image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        (expected,) = theirs(image).feature_maps
        torch.testing.assert_close(ours(image).permute(0, 3, 1, 2), expected, rtol=1e-4, atol=1e-4)


PARTS = {"layernorm_before": "norm1", "layernorm_after": "norm2", "attention.o_proj": "attn.proj"}
HIDDEN = {"intermediate.fc1": "mlp.lin1", "intermediate.fc2": "mlp.lin2"}


def renamed(weights: dict[str, Tensor], *, depth: int) -> dict[str, Tensor]:
    """LW-DETR's weights by samattn's names, its queries, keys and values in one."""
    made = {
        f"patch_embed.proj.{kind}": weights[f"embeddings.projection.{kind}"] for kind in ("weight", "bias")
    }
    made["pos_embed.pos_embed"] = weights["embeddings.position_embeddings"]
    for at in range(depth):
        layer = f"encoder.layer.{at}"
        for theirs, ours in {**PARTS, **HIDDEN}.items():
            for kind in ("weight", "bias"):
                made[f"blocks.{at}.{ours}.{kind}"] = weights[f"{layer}.{theirs}.{kind}"]
        q, k, v = (f"{layer}.attention.{part}_proj" for part in "qkv")
        made[f"blocks.{at}.attn.qkv.weight"] = torch.cat([weights[f"{part}.weight"] for part in (q, k, v)])
        biases = weights[f"{q}.bias"], torch.zeros_like(weights[f"{q}.bias"]), weights[f"{v}.bias"]
        made[f"blocks.{at}.attn.qkv.bias"] = torch.cat(biases)
    return made
