"""Small encoders of families with a recipe of their own, generated: HAT, packed sequences, videos and volumes, EVA-02."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Keys = dict[str, Any]

HEAD = 8
PATCH = 2
TYPES = ({}, {"dtype": "bfloat16"}, {"autocast": "bfloat16"}, {"autocast": "float16"})


def run_of(*kernels: str) -> st.SearchStrategy[Keys]:
    """How an encoder with such kernels may be run."""
    made = {"batch_size": st.integers(1, 3), "attention": st.sampled_from(kernels)}
    made |= {"checkpointing": st.booleans()}
    return st.builds(lambda run, types: run | types, st.fixed_dictionaries(made), st.sampled_from(TYPES))


def sides(low: int, high: int, axes: int = 2, times: int = 1) -> st.SearchStrategy[list[int]]:
    """Sizes along axes, each a multiple of `times`."""
    return st.lists(st.integers(low, high).map(lambda side: side * times), min_size=axes, max_size=axes)


@st.composite
def hat(draw: st.DrawFn) -> Keys:
    """HAT: groups of shifted windows with channel attention, which end with windows of larger keys, over pixels."""
    width = draw(st.sampled_from([8, 16]))
    shared = {
        "embed_dim": width,
        "num_heads": width // HEAD,
        "mlp_ratio": draw(st.sampled_from([1, 2.6])),
        "qkv_bias": draw(st.booleans()),
        "window_size": draw(st.sampled_from([2, 4]) | sides(1, 5)),
    }
    made: list[Keys] = []
    ratio = draw(st.sampled_from([0.5, 1, 2]))
    for number in range(draw(st.integers(1, 2))):
        ends = {"transition": "residual_hybrid_group"} if number else {}
        made.append(shared | draw(_hybrid()) | ends)
        if draw(st.booleans()):
            far = {"block": "overlapping_cross_attention", "depth": 1, "overlap_ratio": ratio}
            made.append(shared | far)
    neck = {"neck": "hat_pixelshuffle", "out_chans": 3, "upscale": draw(st.sampled_from([2, 3, 4]))}
    return {
        "image_size": draw(sides(2, 12)),
        "patch_size": 1,
        "patch_embed": "hat_pixels",
        "pos_embed": "none",
        "stages": made,
        **draw(st.sampled_from([{}, neck])),
        "run": draw(run_of("eager")),
    }


def _hybrid() -> st.SearchStrategy[Keys]:
    made = {
        "block": st.just("hybrid_attention"),
        "depth": st.integers(1, 2),
        "compress_ratio": st.sampled_from([2, 3]),
        "squeeze_factor": st.sampled_from([2, 5]),
    }
    return st.fixed_dictionaries(made)


@st.composite
def minicpm_v(draw: st.DrawFn) -> Keys:
    """MiniCPM-V's encoder, its tokens merged in windows or not."""
    mergers = draw(st.integers(0, 2))
    stage = {
        "block": "minicpm_v",
        "embed_dim": 16,
        "num_heads": draw(st.sampled_from([1, 2])),
        "mlp_ratio": draw(st.sampled_from([1, 2.6])),
        "qkv_bias": draw(st.booleans()),
        "mlp": draw(st.sampled_from(["gelu", "gelu_tanh", "swiglu"])),
    }
    of_library = mergers == 1 and draw(st.booleans())
    if of_library:
        stage |= {"qkv_bias": True, "mlp": "gelu_tanh"}
    stages = [
        stage | {"depth": draw(st.integers(1, 2)), "transition": "window_merger" if number else "none"}
        for number in range(mergers + 1)
    ]
    return {
        "image_size": draw(sides(1, 3, times=PATCH << mergers)),
        "patch_size": PATCH,
        "patch_embed": "minicpm_v",
        "pos_embed": "minicpm_v",
        "pretrain_image_size": PATCH * draw(st.integers(1, 5)),
        "stages": stages,
        "norm": of_library or draw(st.booleans()),
        "run": draw(run_of("eager", "sdpa")),
        **({"implementation": "transformers"} if of_library else {}),
    }


@st.composite
def muse_glimmer(draw: st.DrawFn) -> Keys:
    """Muse Glimmer's encoder, with windows of any sides."""
    depth, side = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    theirs = draw(st.booleans())
    return {
        "image_size": draw(sides(1, 4, times=2 * PATCH)),
        "patch_size": PATCH,
        "patch_embed": "muse_glimmer",
        "pos_embed": "muse_glimmer",
        "pretrain_image_size": PATCH * side,
        "block": "muse_glimmer",
        "embed_dim": 16,
        "depth": depth,
        "num_heads": draw(st.sampled_from([1, 2])),
        "mlp_ratio": draw(st.sampled_from([1, 2.6])),
        "qkv_bias": theirs or draw(st.booleans()),
        "mlp": draw(st.sampled_from(["gelu", "gelu_tanh"] if theirs else ["gelu", "swiglu_packed"])),
        "window_size": side if theirs else draw(st.integers(0, 5) | sides(1, 5)),
        "global_attn_indexes": draw(st.sampled_from([[], [depth - 1]])),
        **draw(
            st.just({"neck": "pixel_shuffle"}) if theirs else st.sampled_from([{}, {"neck": "pixel_shuffle"}])
        ),
        "run": draw(run_of("eager", "sdpa")),
        **({"implementation": "transformers"} if theirs else {}),
    }


@st.composite
def video(draw: st.DrawFn) -> Keys:
    """Video Swin or Swin UNETR's encoder: windows, shifts and merging over three axes."""
    is_unetr = draw(st.booleans())
    merging = draw(st.sampled_from(["patch_merging_3d", "patch_merging"] if is_unetr else ["patch_merging"]))
    patch = draw(st.sampled_from([[2, 2, 2], [1, 2, 3], [2, 1, 2]]))
    made: list[Keys] = []
    for number in range(draw(st.integers(1, 2))):
        stage = {
            "block": "swin",
            "embed_dim": HEAD << number,
            "depth": draw(st.integers(1, 2)),
            "num_heads": 1 << draw(st.integers(0, number)),
            "mlp_ratio": draw(st.sampled_from([1, 2.6])),
            "qkv_bias": draw(st.booleans()),
            "window_size": draw(st.integers(0, 4) | sides(1, 4, axes=3)),
        }
        if stage["window_size"] != 0:
            stage |= draw(
                st.fixed_dictionaries({}, optional={"shift_size": st.sampled_from([0, 1, [0, 1, 0]])})
            )
        made.append(stage | ({"transition": merging} if number else {}))
    ends = [{}, {"norm": True}, {"neck": "stage_norms"}]
    return {
        "image_size": [
            max(side, least) for side, least in zip(draw(sides(1, 11, axes=3)), patch, strict=True)
        ],
        "in_chans": draw(st.sampled_from([1, 3])),
        "patch_size": patch,
        "patch_embed": draw(st.sampled_from(["patch", "patch_norm"])),
        "pos_embed": "none",
        "stages": made,
        **({"neck": "swin_unetr"} if is_unetr else draw(st.sampled_from(ends))),
        "run": draw(run_of("eager", "sdpa")),
    }


@st.composite
def eva02(draw: st.DrawFn) -> Keys:
    """EVA-02's sequence of tokens, and CLIP's."""
    in_front = {"class_token": draw(st.booleans()), "reg_tokens": draw(st.sampled_from([0, 2]))}
    return {
        "image_size": draw(sides(2, 14)),
        "patch_size": PATCH,
        "block": draw(st.sampled_from(["eva02", "eva02_clip", "eva", "rope", "pe"])),
        "embed_dim": 16,
        "depth": draw(st.integers(1, 2)),
        "num_heads": draw(st.sampled_from([1, 2, 4])),
        "mlp_ratio": draw(st.sampled_from([1, 2.6])),
        "qkv_bias": draw(st.booleans()),
        "layer_scale": draw(st.booleans()),
        "norm": draw(st.booleans()),
        "pre_norm": draw(st.booleans()),
        "pos_embed": draw(
            st.sampled_from(["prefix", "patches", "tokens"] if any(in_front.values()) else ["patches"])
        ),
        **in_front,
        "run": draw(run_of("eager", "sdpa", "fused")),
    }


OWN_FAMILIES = {
    "hat": hat(),
    "minicpm_v": minicpm_v(),
    "muse_glimmer": muse_glimmer(),
    "video": video(),
    "eva02": eva02(),
}
