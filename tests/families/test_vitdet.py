"""ViTDet: against transformers' VitDet and a restated pyramid, by hand, and the Tape against the real stack."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import EncoderConfig, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import backward, forward
from tests.public.vitdet import PRESETS, Public, count, counted_for
from tests.support.problems import messages_of, problems_of
from tests.support.score_matrices import assert_scores_are_those_of_the_layers
from tests.support.weights import randomised

BACKBONES = {
    "vitdet_b": (85_889_024, 965_634_883_584),
    "vitdet_l": (303_432_704, 2_978_700_984_320),
    "vitdet_h": (631_116_800, 5_953_566_638_080),
}

SMALL = {
    "image_size": 96,
    "patch_size": 16,
    "block": "vitdet",
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 2,
    "pos_embed": "pretrained",
    "pretrain_image_size": 80,
    "rel_pos": "decomposed",
    "rel_pos_grid": 6,
    "window_size": 4,
    "global_attn_indexes": [1],
}

VARIANTS = {
    "the grid of the tables": {},
    "the grid of the pretraining": {"pretrain_image_size": 96},
    "windows that divide the grid": {"window_size": 3},
    "a larger grid, not square": {"image_size": [112, 144]},
    "a smaller grid than the tables": {"image_size": [48, 80], "rel_pos_grid": 8, "pretrain_image_size": 144},
    "one side as long as the tables": {"image_size": [96, 64]},
    "convolutional propagation": {"residual_block_indexes": [0, 2], "global_attn_indexes": []},
    "convolution behind a global block": {"residual_block_indexes": [1], "image_size": [64, 112]},
    "two images": {"run": {"batch_size": 2}},
    "no relative positions": {"rel_pos": "none", "rel_pos_grid": None},
    "pyramid": {"neck": "simple_fpn", "out_chans": 8},
    "pyramid of an odd grid": {"neck": "simple_fpn", "out_chans": 6, "image_size": [112, 80]},
    "pyramid of an odd width": {"neck": "simple_fpn", "embed_dim": 22, "out_chans": 5},
}


def small(**changes) -> EncoderConfig:
    return load_config(SMALL | changes)


def differences(config: EncoderConfig, *, every_layer: bool = False):
    verdict = verify(config, every_layer=every_layer)
    found = {name: (check.reason, check.differences) for name, check in verdict.checks.items()}
    return verdict.status, {name: said for name, said in found.items() if any(said)}


EXACT = ("exact", {})


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_and_flops_equal_the_public_ones(preset):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == count(preset)


@pytest.mark.parametrize("preset", BACKBONES)
def test_backbones_have_the_figures_that_others_counted(preset):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == BACKBONES[preset]


def test_the_pyramid_by_hand():
    """C = 768 on 64x64, to 256 channels: products by level, each from its own size."""
    lateral = 256 + 256 + 3 * 3 * 256 * 256 + 256 + 256  # norm, 3x3, norm
    up = 768 * 384 * 4 + 384
    params = up + 2 * 384 + 384 * 192 * 4 + 192 + 192 * 256 + up + 384 * 256 + 2 * 768 * 256 + 4 * lateral
    by_four = 64**2 * 768 * 384 * 4 + 128**2 * 384 * 192 * 4 + 256**2 * (192 * 256 + 9 * 256**2)
    by_two = 64**2 * 768 * 384 * 4 + 128**2 * (384 * 256 + 9 * 256**2)
    rest = (64**2 + 32**2) * (768 * 256 + 9 * 256**2)
    bare, whole = forward(load_config("vitdet_b")), forward(load_config("vitdet_b_fpn"))
    assert whole.params - bare.params == params == 5_560_000
    assert whole.macs - bare.macs == by_four + by_two + rest == 71_672_266_752


def test_the_pyramid_has_five_maps():
    last = forward(load_config("vitdet_b_fpn")).segments[-1]
    assert [output.shape for output in last.outputs] == [
        (1, 256, side, side) for side in (256, 128, 64, 32, 16)
    ]


def test_an_image_that_is_not_square_has_the_weights_of_the_square_one():
    config = load_config("vitdet_b", ["image_size=[800, 1216]"])
    windowed, whole = config.layers[0], config.layers[2]
    assert (config.grid, windowed.padded_grid, windowed.windows.counts) == ((50, 76), (56, 84), (4, 6))
    assert (windowed.rel_pos_size, whole.rel_pos_size) == ((14, 14), (64, 64))
    passed = forward(config)
    assert (passed.params, passed.flops) == counted_for(config)
    assert passed.params == BACKBONES["vitdet_b"][0]


def test_tables_follow_the_image_where_no_size_is_said():
    config = load_config("vitdet_b", ["image_size=[800, 1216]", "rel_pos_grid=null"])
    shorter = 2 * (64 - 50) * 64  # rows of 64 channels, in each of four global blocks
    longer = 2 * (76 - 64) * 64
    assert forward(config).params == BACKBONES["vitdet_b"][0] + 4 * (longer - shorter)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    height=st.integers(16, 200),
    width=st.integers(16, 200),
    rel_pos=st.sampled_from(["decomposed", "joint"]),
    window=st.integers(0, 5),
)
def test_weights_do_not_follow_the_image(height, width, rel_pos, window):
    fixed = {"rel_pos": rel_pos, "window_size": window, "residual_block_indexes": [1]}
    assert forward(small(image_size=[height, width], **fixed)).params == forward(small(**fixed)).params


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_same_weights_give_the_same_output(changes):
    config = small(**changes)
    theirs, ours = randomised(Public(config), 0.3), build(config)
    ours.load_state_dict(renamed(theirs), strict=True)
    image = torch.randn(image_for(config, "meta").shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = theirs(image), ours(image)
    if config.neck == "none":
        expected, found = (expected,), (found.permute(0, 3, 1, 2),)
    for one, other in zip(found, expected, strict=True):
        assert other.std() > 0.01
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


NAMES = {
    "backbone.embeddings.position_embeddings": "pos_embed.pos_embed",
    "backbone.embeddings.projection.": "patch_embed.proj.",
    "backbone.encoder.layer.": "blocks.",
    ".attention.": ".attn.",
    ".mlp.fc": ".mlp.lin",
}


def renamed(public: Public) -> dict[str, torch.Tensor]:
    """Their weights by the names of ours."""
    result = {f"neck.{name}": weight for name, weight in zip(public.names, public.weights, strict=True)}
    for name, weight in public.backbone.state_dict(prefix="backbone.").items():
        ours = name
        for old, new in NAMES.items():
            ours = ours.replace(old, new)
        result[ours] = weight
    return result


RUNS = {
    "eager in bfloat16": {"dtype": "bfloat16"},
    "eager, autocast, checkpointed": {"autocast": "bfloat16", "checkpointing": True},
    "sdpa, autocast": {"attention": "sdpa", "autocast": "float16"},
    "fused in float16, checkpointed": {"attention": "fused", "dtype": "float16", "checkpointing": True},
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_the_tape_equals_the_real_stack(run):
    """A grid of 7x9, padded, tables of 6x6 and positions of 5x5 resized, convolutions, pyramid of an odd grid."""
    config = small(
        image_size=[112, 144],
        residual_block_indexes=[0, 1],
        neck="simple_fpn",
        out_chans=8,
        run={"batch_size": 2, **run},
    )
    assert differences(config, every_layer=True) == EXACT


@pytest.mark.parametrize(
    "variant", ["the grid of the pretraining", "one side as long as the tables", "pyramid of an odd width"]
)
def test_the_tape_equals_the_real_stack_of_a_variant(variant):
    assert differences(small(**VARIANTS[variant])) == EXACT


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_joint_tables_are_resized_on_the_tape_as_in_the_real_stack(kernel):
    run = {"attention": kernel, "autocast": "bfloat16"}
    config = small(rel_pos="joint", image_size=[64, 112], depth=1, global_attn_indexes=[0], run=run)
    assert differences(config) == EXACT


def test_a_preset_equals_the_real_stack():
    assert (
        differences(load_config("vitdet_b_fpn", ["image_size=[800, 1216]", "run.attention=fused"])) == EXACT
    )


def test_copies_of_weights_are_known_of_a_block_that_is_the_last_part():
    """Without a neck nothing stands behind the block that its twins are measured by."""
    config = small(depth=4, global_attn_indexes=[], run={"autocast": "float16"})
    verdict = verify(config, every_layer=False)
    assert (verdict.status, verdict.layers_run) == ("exact", 1)


@pytest.mark.parametrize("kernel", ["eager", "sdpa", "fused"])
def test_without_residual_blocks_it_is_sams_block_operation_for_operation(kernel):
    settings = [f"run.attention={kernel}", "run.autocast=float16"]
    sam, ours = (load_config("sam_vit_b", [*settings, *more]) for more in ([], ["block=vitdet"]))
    for one, other in zip(costs(sam), costs(ours), strict=True):
        assert one == other


def costs(config: EncoderConfig) -> list[list[object]]:
    """Part by part, what each operation of a training step costs, makes, frees and keeps."""
    passed = forward(config, training=True)
    recordings = [segment.recording for segment in passed.segments] + list(backward(passed))
    return [
        [
            (
                (op.name, op.kind, op.macs, op.elementwise_flops, op.parameters),
                (op.bytes_read, op.bytes_written, op.workspace_bytes, op.is_kept),
                [[storage.nbytes for storage in group] for group in (op.allocates, op.frees, op.saves)],
            )
            for op in recording.ops
        ]
        for recording in recordings
    ]


def test_a_residual_block_by_hand():
    plain, with_block = (forward(small(residual_block_indexes=indexes)) for indexes in ([], [0]))
    C, half, tokens = 32, 16, 6 * 6
    products = C * half + 9 * half * half + half * C
    assert with_block.params - plain.params == products + 2 * half + 2 * half + 2 * C
    assert with_block.macs - plain.macs == tokens * products


def test_score_matrices_are_those_of_sams_block():
    config = small(image_size=[112, 144], residual_block_indexes=[0, 1])
    assert_scores_are_those_of_the_layers(forward(config))


def test_resizing_is_where_the_grid_is_another():
    def resized(**changes) -> Counter[str]:
        ops = [op for segment in forward(small(**changes)).segments for op in segment.recording.ops]
        return Counter(op.kind for op in ops if op.kind.startswith("upsample"))

    assert resized() == {"upsample_bicubic": 1}
    assert resized(pretrain_image_size=96) == {}
    assert resized(image_size=[96, 64]) == {"upsample_bicubic": 1, "upsample_linear": 1}
    assert resized(rel_pos="joint", image_size=64) == {"upsample_bicubic": 1, "upsample_bilinear": 1}


def test_a_class_slot_is_a_parameter_and_no_more():
    segment = next(s for s in forward(small()).segments if s.name == "pos_embed")
    (resize, *_) = segment.recording.ops
    assert [parameter.shape for parameter in resize.parameters] == [(1, 1 + 5 * 5, 32)]
    assert resize.bytes_read == prod((5, 5, 32)) * 4


def test_windows_with_convolutions_between_are_not_said_to_be_apart():
    def found(**changes) -> set[str]:
        config = small(global_attn_indexes=[], **changes)
        return {finding.code for finding in analyze(config, verify=False).findings}

    assert "no-global-layer" in found()
    assert "no-global-layer" not in found(residual_block_indexes=[2])


BAD = {
    "a convolution behind no block": (
        {"residual_block_indexes": [3]},
        "[no-such-block] residual_block_indexes 3 0 2",
    ),
    "the same twice": (
        {"residual_block_indexes": [1, 1]},
        "[block-named-twice] residual_block_indexes 1",
    ),
    "a convolution behind SAM's block": (
        {"block": "vit", "residual_block_indexes": [1]},
        "[unused-key] residual_block_indexes",
    ),
    "a bottleneck of nothing": (
        {"embed_dim": 1, "num_heads": 1, "residual_block_indexes": [1]},
        "[no-channels-left] embed_dim 1",
    ),
    "tables of nothing": (
        {"rel_pos": "none"},
        "[unused-key] rel_pos_grid rel_pos",
    ),
    "a pyramid of nothing": (
        {"embed_dim": 3, "num_heads": 1, "neck": "simple_fpn"},
        "[no-channels-left] embed_dim 3 simple_fpn",
    ),
    "a pyramid of one row": (
        {"image_size": [16, 96], "neck": "simple_fpn"},
        "[neck-does-not-fit] neck simple_fpn 2x2 1x6",
    ),
    "no positions": (
        {"pretrain_image_size": 0},
        "[out-of-range] pretrain_image_size 1 0",
    ),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_said(changes, said):
    with pytest.raises(ConfigError) as caught:
        small(**changes)
    assert messages_of(caught) == [said]


def test_where_it_is_wrong_is_said(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("extends: vitdet_b\nneck: simple_fpn\nresidual_block_indexes: [2, 12]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert problems_of(caught) == [f"{path}:3:29: [no-such-block] residual_block_indexes 12 0 11"]
