"""The backward of segment-anything's own encoder, as its authors wrote it, allocates what the Tape derives of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack.encoder import image_for
from samattn_cli.stack.trace import PartTrace, trace_training
from samattn_cli.studies.verify import claims_of
from samattn_cli.verdicts import ClaimedPass
from tests.public.segment_anything_encoder import official_encoder

Traced = dict[str, PartTrace]


def traced(config: EncoderConfig) -> tuple[Traced, Traced]:
    """Their forward with gradients, and its backward."""
    encoder, image = official_encoder(config, "meta"), image_for(config, "meta")
    with torch.device("meta"):  # their get_rel_pos makes its indexes on the default device
        return trace_training(encoder, image, 0)[:2]


def numbers(claimed: ClaimedPass, what: str) -> dict[str, list[int]]:
    return {part: [number for _, number in steps] for part, steps in getattr(claimed, what).items()}


def assert_backward_is_theirs(config: EncoderConfig) -> None:
    """Every allocation, what is live after it and every product, in order, of each part."""
    claims, (forward, backward) = claims_of(config), traced(config)
    for what in ("allocations", "live", "products"):
        found = {part: getattr(trace, what) for part, trace in backward.items()}
        assert found == numbers(claims.backward, what), what
    # their forward makes indexes of relative positions in other steps: its peaks and its products are the same
    assert {part: trace.products for part, trace in forward.items()} == numbers(claims.training, "products")
    peaks = {part: max(live) for part, live in numbers(claims.training, "live").items()}
    assert {part: max(trace.live) for part, trace in forward.items()} == peaks


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("sam_vit_b", []),
        ("sam_vit_b", ["run.dtype=bfloat16", "run.batch_size=3", "depth=3", "global_attn_indexes=[2]"]),
        ("sam_vit_b", ["image_size=512", "depth=3", "global_attn_indexes=[0]"]),
        ("sam_vit_b", ["window_size=16", "depth=2", "global_attn_indexes=[]"]),
        ("sam_vit_l", ["depth=6", "global_attn_indexes=[5]"]),
        ("sam_vit_h", ["depth=8", "global_attn_indexes=[7]"]),
    ],
    ids=str,
)
def test_backward_of_sam_is_derived_to_the_last_byte(preset, changes):
    assert_backward_is_theirs(load_config(preset, changes))


@st.composite
def square_encoders(draw) -> EncoderConfig:
    heads = draw(st.sampled_from([1, 2, 3]))
    depth = draw(st.integers(1, 2))
    patch = draw(st.sampled_from([2, 3, 4]))
    return load_config(
        {
            "image_size": patch * draw(st.integers(2, 8)) + draw(st.integers(0, patch - 1)),
            "patch_size": patch,
            "in_chans": draw(st.integers(1, 3)),
            "embed_dim": heads * draw(st.integers(2, 8)),
            "num_heads": heads,
            "depth": depth,
            "mlp_ratio": draw(st.sampled_from([1.0, 2.7, 4.0])),
            "qkv_bias": draw(st.booleans()),
            "rel_pos": draw(st.sampled_from(["none", "decomposed"])),
            "pos_embed": draw(st.sampled_from(["none", "learned"])),
            "window_size": draw(st.sampled_from([0, 2, 3, 4, 5, 9])),
            "global_attn_indexes": draw(st.sampled_from([[], [depth - 1]])),
            "neck": "sam",
            "out_chans": draw(st.integers(2, 9)),
            "run": {
                "batch_size": draw(st.integers(1, 3)),
                "dtype": draw(st.sampled_from(["float32", "bfloat16"])),
            },
        }
    )


@pytest.mark.parametrize("examples", [4, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_backward_of_any_small_encoder_of_theirs_is_derived_to_the_last_byte(examples):
    settings(max_examples=examples, deadline=None, derandomize=True)(
        given(config=square_encoders())(assert_backward_is_theirs)
    )()
