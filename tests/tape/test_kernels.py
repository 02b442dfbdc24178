"""eager, sdpa and fused attention: one output and one gradient in torch; what each costs, on the Tape."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from samattn_cli import EncoderConfig, load_config
from samattn_cli.families.vit import stack as vit
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.ops import Op
from samattn_cli.tape.segments import Segment
from tests.support.sampling import examples
from tests.support.weights import randomised

SMALL = {
    "image_size": [10, 14],
    "patch_size": 2,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "rel_pos": "decomposed",
    "window_size": 3,
    "global_attn_indexes": [1],
    "run": {"batch_size": 2},
}

VARIANTS = {
    "windows with padding, then global": {},
    "windows that divide the grid": {"image_size": [12, 18]},
    "windows of two sides": {"window_size": [2, 5]},
    "a window larger than the grid": {"window_size": [9, 8]},
    "windows of one token": {"window_size": 1},
    "one row of tokens": {"image_size": [2, 14], "window_size": 0},
    "one token": {"image_size": 2, "window_size": 0},
    "no relative positions": {"rel_pos": "none"},
    "joint positions": {"rel_pos": "joint"},
    "joint positions, windows of two sides": {"rel_pos": "joint", "window_size": [2, 5]},
    "qkv without bias": {"qkv_bias": False},
    "one head of 16": {"num_heads": 1},
    "one image": {"run": {"batch_size": 1}},
}


def small(**changes) -> EncoderConfig:
    return load_config(SMALL | changes)


def kernels_for(config: EncoderConfig) -> list[str]:
    joint = any(stage.rel_pos == "joint" for stage in config.stages)
    return ["eager", "sdpa"] if joint else ["eager", "sdpa", "fused"]


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def output_and_gradients(config: EncoderConfig, kernel: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Of the same weights, image and gradient of the output, whatever the kernel."""
    encoder = build(replace(config, run=replace(config.run, attention=kernel)))
    encoder = randomised(encoder.double(), 0.4).to(dtype)
    output = encoder(random(*image_for(config, "meta").shape).to(dtype))
    output.backward(random(*output.shape, seed=2).to(dtype))
    return {"output": output.detach(), **{name: weight.grad for name, weight in encoder.named_parameters()}}


def assert_kernels_agree(config: EncoderConfig, dtype: torch.dtype, most: float) -> None:
    """Each result differs from eager's by at most a share of its norm; one that is next to nothing, of a twentieth of
    the largest gradient."""
    wanted = output_and_gradients(config, "eager", dtype)
    least = 0.05 * max(norm(gradient) for name, gradient in wanted.items() if name != "output")
    for kernel in kernels_for(config)[1:]:
        found = output_and_gradients(config, kernel, dtype)
        assert found.keys() == wanted.keys()
        errors = {name: norm(found[name] - x) / max(norm(x), least) for name, x in wanted.items()}
        assert max(errors.values()) < most, (kernel, {name: x for name, x in errors.items() if not x < most})


def norm(x: Tensor) -> float:
    return float(x.double().norm())


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=str)
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_same_weights_give_the_same_output_and_gradients_by_every_kernel(changes, dtype, most):
    assert_kernels_agree(small(**changes), dtype, most)


@st.composite
def encoders(draw) -> EncoderConfig:
    side, head_dim = st.integers(1, 6), draw(st.sampled_from([4, 8, 12, 20]))
    heads = draw(st.integers(1, 3))
    return small(
        image_size=[2 * draw(st.integers(1, 7)) for _ in ("height", "width")],
        embed_dim=heads * head_dim,
        num_heads=heads,
        depth=draw(st.integers(1, 2)),
        qkv_bias=draw(st.booleans()),
        rel_pos=draw(st.sampled_from(["none", "decomposed", "joint"])),
        window_size=draw(st.one_of(st.just(0), side, st.tuples(side, side))),
        global_attn_indexes=[],
        neck=draw(st.sampled_from(["none", "sam"])),
        run={"batch_size": draw(st.integers(1, 3))},
    )


@settings(
    max_examples=examples(50), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(config=encoders())
def test_kernels_agree_to_the_last_digits_of_float64_on_any_encoder(config):
    assert_kernels_agree(config, torch.float64, 1e-11)


@pytest.mark.parametrize("table", [(4, 4), (5, 3), (9, 2)])
@pytest.mark.parametrize("kernel", ["sdpa", "fused"])
def test_tables_for_another_size_are_interpolated_by_every_kernel(kernel, table):
    made = {"qkv_bias": True, "rel_pos": "decomposed", "size": table}
    eager = randomised(vit.Attention(24, 3, **made).double(), 0.4)
    other = vit.Attention(24, 3, **made, kernel=kernel).double()
    other.load_state_dict(eager.state_dict(), strict=True)
    x = random(2, 5, 3, 24)
    with torch.no_grad():
        torch.testing.assert_close(other(x), eager(x), rtol=0, atol=1e-12)


# -- on the Tape: SAM ViT-B, 12 heads of 64; 4,096 tokens in a global layer, 25 windows of 196 in a windowed one -----

WINDOWED, GLOBAL = "blocks.0", "blocks.2"


def vit_b(*overrides: str, training: bool = False) -> dict[str, Segment]:
    config = load_config("sam_vit_b", [f"run.{override}" for override in overrides])
    return {segment.name: segment for segment in forward(config, training=training).segments}


def op_of(segment: Segment, name: str) -> Op:
    (op,) = (op for op in segment.recording.ops if op.name == name)
    return op


def attention_sizes(segment: Segment) -> list[int]:
    """Bytes of each tensor that attention makes."""
    ops = segment.recording.ops
    return [storage.nbytes for op in ops if op.name.startswith("attn.") for storage in op.allocates]


@pytest.mark.parametrize(
    ("name", "dtype", "flops"),
    [
        # 2 x heads x tokens^2 x (length of longer queries and keys + length of values)
        (GLOBAL, "float32", 2 * 12 * 4096**2 * (64 + 64 + 64 + 64)),
        (GLOBAL, "bfloat16", 2 * 12 * 4096**2 * (192 + 64)),
        (WINDOWED, "float32", 2 * 25 * 12 * 196**2 * (64 + 14 + 14 + 64)),  # 92 is a multiple of 4
        (WINDOWED, "bfloat16", 2 * 25 * 12 * 196**2 * (96 + 64)),  # and padded to one of 8
    ],
)
def test_fused_attention_multiplies_longer_vectors(name, dtype, flops):
    segment = vit_b("attention=fused", f"dtype={dtype}")[name]
    assert op_of(segment, "attn.sdpa").flops == flops
    assert flops in {103_079_215_104, 3_595_737_600, 3_687_936_000}


def test_fused_attention_doubles_the_products_of_scores_and_values_of_a_global_layer():
    eager, fused = vit_b()[GLOBAL], vit_b("attention=fused")[GLOBAL]
    scores, values = (op_of(eager, f"attn.{name}").flops for name in ("scores", "values"))
    assert scores == values == 2 * 12 * 4096**2 * 64
    assert op_of(fused, "attn.sdpa").flops == 2 * (scores + values)
    assert fused.recording.flops - eager.recording.flops == scores + values


@pytest.mark.parametrize("name", ["sam_vit_b", "sam_vit_l", "sam_vit_h"])
def test_sdpa_multiplies_as_much_as_eager_attention(name):
    eager, sdpa = (forward(load_config(name, [f"run.attention={kernel}"])) for kernel in ("eager", "sdpa"))
    for one, other in zip(eager.segments, sdpa.segments, strict=True):
        assert one.recording.flops == other.recording.flops
        if one.layer:
            scores, values = (op_of(one, f"attn.{op}").flops for op in ("scores", "values"))
            assert op_of(other, "attn.sdpa").flops == scores + values


@pytest.mark.parametrize(("dtype", "item_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_eager_makes_four_tensors_of_tokens_by_tokens_sdpa_one_mask_and_fused_none(dtype, item_bytes):
    one_head, all_heads = 4096**2 * item_bytes, 12 * 4096**2 * item_bytes
    made = {}
    for kernel in ("eager", "sdpa", "fused"):
        sizes = attention_sizes(vit_b(f"attention={kernel}", f"dtype={dtype}")[GLOBAL])
        made[kernel] = [nbytes for nbytes in sizes if nbytes >= one_head]
        assert (
            max({0, *sizes} - set(made[kernel]))
            == max(3 * 768, 12 * 192 * (kernel == "fused")) * 4096 * item_bytes
        )
    assert made == {"eager": [all_heads] * 4, "sdpa": [all_heads], "fused": []}


def test_the_memory_of_fused_attention_grows_with_the_tokens_and_not_with_their_square():
    made = {}
    for size in (1024, 2048, 4096):
        config = load_config("sam_vit_b", [f"image_size={size}", "run.attention=fused"]).all_global()
        made[size] = max(attention_sizes(forward(config).segments[2]))
    # queries and keys of 64 + height + width numbers
    assert made == {size: (size // 16) ** 2 * 12 * (64 + 2 * size // 16) * 4 for size in made}
    assert made[4096] < (4096 // 16) ** 4 * 4  # of one head


@pytest.mark.parametrize(("dtype", "item_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_the_mask_of_a_window_is_copied_into_rows_of_a_multiple_of_eight(dtype, item_bytes):
    sdpa = vit_b("attention=sdpa", f"dtype={dtype}")
    rows = 25 * 12 * 196
    (mask,), (padded,) = (op_of(sdpa[WINDOWED], f"attn.{op}").allocates for op in ("add_rel", "sdpa.mask"))
    assert (mask.nbytes, padded.nbytes) == (rows * 196 * item_bytes, rows * 200 * item_bytes)
    assert not [op for op in sdpa[GLOBAL].recording.ops if op.name == "attn.sdpa.mask"]  # 4,096 is one


FLASH = [
    12 * 4096 * 4,
    16,
    8,
    0,
]  # log-sum-exp in float32, two words of random state, one more, an empty mask
EFFICIENT = [12 * 4096 * 4, 8, 8]  # log-sum-exp, seed and offset


@pytest.mark.parametrize(
    ("rel_pos", "dtype", "kernel", "extra"),
    [
        ("none", "bfloat16", "sdpa", FLASH),
        ("none", "float16", "fused", FLASH),
        ("none", "float32", "sdpa", EFFICIENT),
        ("decomposed", "bfloat16", "sdpa", EFFICIENT),
        ("decomposed", "bfloat16", "fused", EFFICIENT),  # queries longer than values
        ("joint", "bfloat16", "sdpa", EFFICIENT),
    ],
)
def test_flash_attention_is_for_halves_without_a_mask_and_the_memory_efficient_kernel_for_the_rest(
    rel_pos, dtype, kernel, extra
):
    run = {"dtype": dtype, "attention": kernel}
    config = load_config("sam_vit_b", [f"rel_pos={rel_pos}", *(f"run.{key}={run[key]}" for key in run)])
    segment = next(part for part in forward(config, training=True).segments if part.name == GLOBAL)
    op = op_of(segment, "attn.sdpa")
    out, *others = op.allocates
    assert out.nbytes == 4096 * 768 * (4 if dtype == "float32" else 2)
    assert [storage.nbytes for storage in others] == extra
    assert {out, *others} <= set(op.saves)
    assert set(op.frees) == set(others)


@pytest.mark.parametrize(("head_dim", "extra"), [(256, 4), (264, 3)])
def test_flash_attention_takes_heads_of_up_to_256_channels(head_dim, extra):
    changes = {"embed_dim": head_dim, "num_heads": 1, "rel_pos": "none", "window_size": 0}
    config = small(**changes, global_attn_indexes=[], run={"dtype": "bfloat16", "attention": "sdpa"})
    _, _, block, *_ = forward(config, training=True).segments
    assert len(op_of(block, "attn.sdpa").allocates) == 1 + extra


def test_the_memory_efficient_kernel_keeps_its_log_sum_exp_in_rows_of_a_multiple_of_32_and_for_backward_only():
    made = {
        training: [storage.nbytes for storage in op_of(segments[WINDOWED], "attn.sdpa").allocates]
        for training in (False, True)
        for segments in [vit_b("attention=sdpa", training=training)]
    }
    out = 25 * 196 * 768 * 4
    assert made == {False: [out, 0, 8, 8], True: [out, 25 * 12 * 224 * 4, 8, 8]}  # 196 to 224
