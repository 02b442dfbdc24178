from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from samattn_cli import EncoderConfig, load_config
from samattn_cli.families.vit import stack as vit
from samattn_cli.stack.count import count_with_flop_counter
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.stack.fold import CONTAINER
from samattn_cli.stack.trace import trace_forward, trace_training
from samattn_cli.studies.verify import claims_of
from samattn_cli.units import rounded
from samattn_cli.verdicts import Claims, Counts
from tests.public.sam import PRESETS, RECORDS
from tests.public.segment_anything_encoder import official, official_encoder
from tests.support.sampling import sampled
from tests.support.weights import randomised


def small(**changes) -> EncoderConfig:
    return RECORDS[0].config(changes)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("table", [(4, 4), (7, 7), (9, 9), (3, 8), (5, 6)])
@pytest.mark.parametrize("grid", [(7, 7), (4, 6)])
def test_relative_positions_for_another_size_are_interpolated_alike(table, grid):
    theirs = randomised(official.Attention(24, num_heads=3, use_rel_pos=True, input_size=table), 0.3)
    ours = vit.Attention(24, 3, qkv_bias=True, rel_pos="decomposed", size=table)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = random(2, *grid, 24)
    with torch.no_grad():
        assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("table", [(4, 4), (9, 9), (3, 8)])
def test_decomposed_terms_equal_theirs_with_tables_for_another_size(table):
    q, scores = random(6, 35, 8), random(6, 35, 35)
    table_h, table_w = random(2 * table[0] - 1, 8), random(2 * table[1] - 1, 8)
    attention = vit.Attention(8, 1, qkv_bias=True, rel_pos="decomposed", size=table)
    attention.load_state_dict({"rel_pos_h": table_h, "rel_pos_w": table_w}, strict=False)
    with torch.no_grad():
        ours = attention._add_decomposed(scores, q, (5, 7))
    theirs = official.add_decomposed_rel_pos(scores, q, table_h, table_w, (5, 7), (5, 7))
    assert_close(ours, theirs)


@pytest.mark.parametrize("table", [(5, 3), (4, 4), (5, 6), (9, 2)])
def test_joint_positions_that_are_a_sum_of_two_tables_equal_the_decomposed_ones(table):
    decomposed = vit.Attention(24, 3, qkv_bias=True, rel_pos="decomposed", size=table)
    weights = randomised(decomposed, 0.3).state_dict()
    Rh, Rw = weights.pop("rel_pos_h"), weights.pop("rel_pos_w")
    joint = vit.Attention(24, 3, qkv_bias=True, rel_pos="joint", size=table)
    joint.load_state_dict(weights | {"rel_pos_hw": Rh[:, None] + Rw[None]}, strict=True)
    x = random(2, 5, 3, 24)
    with torch.no_grad():
        assert_close(joint(x), decomposed(x))


@pytest.mark.parametrize("window", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("grid", [(6, 6), (7, 7), (5, 8), (1, 4)])
def test_partition_and_unpartition_equal_theirs(window, grid):
    x = random(2, *grid, 3)
    expected, padded = official.window_partition(x, window)
    windows = vit.window_partition(x, (window, window))
    assert torch.equal(windows, expected)
    joined = vit.window_unpartition(windows, (window, window), grid)
    assert torch.equal(joined, official.window_unpartition(expected, window, padded, grid))
    assert torch.equal(joined, x)


def test_windows_of_two_sides_are_cut_row_by_row():
    x = torch.arange(24).view(1, 4, 6, 1)
    windows = vit.window_partition(x, (2, 3))
    assert windows.shape == (4, 2, 3, 1)
    assert windows.view(4, 6).tolist() == [
        [0, 1, 2, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
        [12, 13, 14, 18, 19, 20],
        [15, 16, 17, 21, 22, 23],
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_checkpoints_have_the_same_names_and_shapes(preset):
    config = load_config(preset)
    ours, theirs = build(config, "meta"), official_encoder(config, "meta")
    assert shapes(ours) == shapes(theirs)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("preset", sampled(["sam_vit_b", "sam_vit_h"], 2))
def test_the_tape_says_what_their_encoder_takes(preset):
    config = load_config(preset)
    claims = claims_of(config)
    assert taken_by_theirs(config) == placement_of(claims)


@st.composite
def square_encoders(draw):
    heads = draw(st.sampled_from([1, 2, 3]))
    head_dim = draw(st.integers(2, 8))  # einsum turns the products over one channel into multiplications
    return small(
        image_size=draw(st.integers(16, 120)),
        patch_size=draw(st.sampled_from([8, 11, 16])),
        in_chans=draw(st.integers(1, 3)),
        embed_dim=heads * head_dim,
        num_heads=heads,
        qkv_bias=draw(st.booleans()),
        rel_pos=draw(st.sampled_from(["none", "decomposed"])),
        pos_embed=draw(st.sampled_from(["none", "learned"])),
        window_size=draw(st.integers(0, 8)),
        out_chans=draw(st.integers(1, 9)),
        **{
            "run.batch_size": draw(st.integers(1, 3)),
            "run.dtype": draw(st.sampled_from(["float32", "bfloat16"])),
        },
    )


@pytest.mark.parametrize("examples", [3, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_the_tape_says_what_any_small_encoder_of_theirs_takes(examples):
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(config=square_encoders())
    def agree(config):
        assert taken_by_theirs(config) == placement_of(claims_of(config))

    agree()


def placement_of(claims: Claims) -> dict[str, object]:
    return {
        "flops": without_container(claims.flop_counter),
        "peak_bytes": claims.peak_bytes,
        "saved_bytes": claims.saved_bytes,
    }


def without_container(counts: Counts) -> Counts:
    """FlopCounterMode gives a ModuleList, whose forward is never called, no count of its own."""
    return {module: kinds for module, kinds in counts.items() if kinds and module != CONTAINER}


def taken_by_theirs(config: EncoderConfig) -> dict[str, object]:
    encoder, image = official_encoder(config, "meta"), image_for(config, "meta")
    weights_bytes = sum(rounded(weight.nbytes) for weight in encoder.parameters())
    with torch.device("meta"):  # their get_rel_pos makes its indices on the default device
        flops = count_with_flop_counter(encoder, image)
        parts = trace_forward(encoder, image, weights_bytes)
        saved_bytes = trace_training(encoder, image, 0).saved_bytes
    peak_bytes = {name: part.peak_bytes for name, part in parts.items()}
    return {"flops": without_container(flops), "peak_bytes": peak_bytes, "saved_bytes": saved_bytes}
