"""ViTDet: against transformers' VitDet and a restated pyramid, by hand, and the Tape against the real stack."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import EncoderConfig, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.verify import verify
from samattn_cli.tape.backward import backward
from samattn_cli.tape.encoder import forward
from tests.public.vitdet import RECORDS, counted_for
from tests.support.problems import problems_of
from tests.support.sampling import examples
from tests.support.score_matrices import assert_scores_are_those_of_the_layers

VITDET_B_PARAMS = 85_889_024


def small(**changes) -> EncoderConfig:
    return RECORDS[0].config(changes)


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
    assert passed.params == VITDET_B_PARAMS


def test_tables_follow_the_image_where_no_size_is_given():
    config = load_config("vitdet_b", ["image_size=[800, 1216]", "rel_pos_grid=null"])
    shorter = 2 * (64 - 50) * 64  # rows of 64 channels, in each of four global blocks
    longer = 2 * (76 - 64) * 64
    assert forward(config).params == VITDET_B_PARAMS + 4 * (longer - shorter)


@settings(max_examples=examples(20), deadline=None, derandomize=True)
@given(
    height=st.integers(16, 200),
    width=st.integers(16, 200),
    rel_pos=st.sampled_from(["decomposed", "joint"]),
    window=st.integers(0, 5),
)
def test_weights_do_not_follow_the_image(height, width, rel_pos, window):
    fixed = {"rel_pos": rel_pos, "window_size": window, "residual_block_indexes": [1]}
    assert forward(small(image_size=[height, width], **fixed)).params == forward(small(**fixed)).params


def test_copies_of_weights_are_known_of_a_block_that_is_the_last_part():
    """Without a neck nothing stands behind the block that its twins are measured by."""
    config = small(depth=4, global_attn_indexes=[], **{"run.autocast": "float16"})
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
    recordings = [segment.recording for segment in passed.segments] + [
        run.recording for run in backward(passed)
    ]
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


def test_where_it_is_wrong_is_reported(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("extends: vitdet_b\nneck: simple_fpn\nresidual_block_indexes: [2, 12]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert problems_of(caught) == [f"{path}:3:29: [no-such-block] residual_block_indexes 12 0 11"]
