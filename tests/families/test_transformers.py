"""Models of transformers in small: each allocation, of parts and of the whole model, equals what the Tape derives for it."""

from __future__ import annotations

from itertools import product

import pytest

from samattn_cli import load_config
from samattn_cli.encoder.implementations import implementation_of
from samattn_cli.errors import ConfigError
from samattn_cli.stack.implementation import of_another_version
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import walk, weights_bytes
from samattn_cli.units import rounded
from tests.public.memory import Row, live_bytes

TRANSFORMERS = "implementation=transformers"
HALF = ["run.dtype=float16", "run.batch_size=2"]
BRAIN = ["run.dtype=bfloat16", "run.batch_size=4"]

MAE = ["image_size=64", "depth=2", "embed_dim=32", "num_heads=2"]
PRETRAIN = [
    "image_size=64",
    *(f"stages.{n}.{key}" for n in (0, 1) for key in ("depth=1", "embed_dim=32", "num_heads=2")),
]
BLOCKS = ["image_size=96", "depth=3", "embed_dim=32", "num_heads=2", "window_size=4"]
HQ = [*BLOCKS, "neck=sam_hq", "global_attn_indexes=[0,1,2]"]
VITDET = [*BLOCKS, "pretrain_image_size=80", "rel_pos_grid=6", "global_attn_indexes=1"]
SAM3 = [
    *BLOCKS,
    "image_size=112",
    "pretrain_image_size=28",
    "window_size=3",
    "global_attn_indexes=1",
    "out_chans=8",
]
QWEN = [*BLOCKS, "image_size=[140,84]", "global_attn_indexes=1", "out_chans=8"]
FLORENCE2 = [
    "image_size=[40,56]",
    *(
        f"stages.{n}.{key}"
        for n in range(4)
        for key in ("depth=2", "embed_dim=32", "num_heads=2", "window_size=3")
    ),
]
MINICPM = [
    "image_size=[96,64]",
    "stages.0.depth=2",
    "stages.1.depth=1",
    *(f"stages.{n}.{key}" for n in (0, 1) for key in ("embed_dim=32", "num_heads=2")),
]
MUSE = [*BLOCKS, "image_size=[140,84]", "global_attn_indexes=2", "pretrain_image_size=56"]
SMALL = {
    "minicpm_v_4_6": MINICPM,
    "muse_glimmer": MUSE,
    "florence2_base": FLORENCE2,
    "mae_b": MAE,
    "mae_b_pretrain": PRETRAIN,
    "sam_vit_b": HQ,
    "sam3_vision": SAM3,
    "vitdet_b": VITDET,
    "qwen2_5_vl_vision": QWEN,
}
"""Small encoders of each model, by preset."""

PATHS = [
    ("mae_b", "sdpa", [*HALF, "image_size=70"]),  # a remainder of the image is dropped
    ("mae_b", "eager", [*BRAIN, "mask_ratio=0.9"]),  # so few patches that masking sets the peak
    ("mae_b_pretrain", "eager", HALF),
    ("sam_vit_b", "sdpa", [*HALF, "image_size=112"]),  # SAM-HQ on a grid of 7, padded to 8
    (
        "vitdet_b",
        "eager",
        [*HALF, "image_size=[112,144]", "residual_block_indexes=[0]"],
    ),  # tables are resized
    ("florence2_base", "sdpa", HALF),  # grids of 10x14 to 2x2, which one padded window covers
    ("sam3_vision", "eager", BRAIN),  # a grid of 8 in windows of 3, its positions in tiles of 2
    ("qwen2_5_vl_vision", "sdpa", HALF),
    ("minicpm_v_4_6", "sdpa", HALF),
    ("muse_glimmer", "eager", BRAIN),
]
"""One case for each path of the code."""

VARIANTS = {
    "mae_b": [[], ["image_size=66"], ["qkv_bias=false", "mlp_ratio=2.5"], ["mask_ratio=0.3"]],
    "sam_vit_b": [[], ["image_size=112"], ["global_attn_indexes=[1]"], ["run.checkpointing=true"]],
    "vitdet_b": [
        [],
        ["image_size=[112,144]", "residual_block_indexes=[0,1,2]"],
        ["image_size=[48,80]", "rel_pos_grid=8", "pretrain_image_size=96"],
        ["window_size=3", "qkv_bias=false", "residual_block_indexes=[1]"],
        ["global_attn_indexes=[]", "run.checkpointing=true"],
    ],
    "sam3_vision": [
        [],
        ["image_size=[112,140]", "num_heads=4"],
        ["pretrain_image_size=112", "window_size=4"],
        ["window_size=0", "mlp_ratio=2.5"],
        ["run.trains=neck"],
    ],
    "qwen2_5_vl_vision": [
        [],
        ["image_size=56"],
        ["window_size=6", "mlp_ratio=2.5", "in_chans=1"],
        ["run.checkpointing=true"],
        ["run.trains=neck"],
    ],
    "minicpm_v_4_6": [
        [],
        ["image_size=64", "in_chans=1"],
        ["stages.0.mlp=gelu", "stages.1.mlp=gelu"],
        ["run.checkpointing=true"],
        ["run.trains=blocks.1-2"],
    ],
    "muse_glimmer": [
        [],
        ["image_size=56"],
        ["global_attn_indexes=[]", "mlp_ratio=2.5", "mlp=gelu_tanh"],
        ["run.checkpointing=true"],
        ["run.trains=neck"],
    ],
    "florence2_base": [
        [],
        ["image_size=96", "stages.1.depth=4"],
        ["stages.0.overrides=[{blocks: [1], num_heads: 4}]", "stages.3.embed_dim=48"],
        ["run.trains=blocks.6-7"],
    ],
    "mae_b_pretrain": [[], ["stages.1.embed_dim=16"], ["mask_ratio=0.3"], ["run.checkpointing=true"]],
}
WIDE = (
    [
        (preset, attention, [*run, *change])
        for preset, changes in VARIANTS.items()
        for attention, run, change in product(("sdpa", "eager"), ([], HALF, BRAIN), changes)
        if (preset, attention) != ("vitdet_b", "sdpa")  # which it does not have
    ]
    + [
        ("vitdet_b", "eager", [f"run.autocast={dtype}", "run.batch_size=2", *change])
        for dtype, change in product(
            ("bfloat16", "float16"), (*VARIANTS["vitdet_b"], ["run.trains=blocks.1-2"])
        )
    ]
    + [("sam3_vision", "eager", ["run.autocast=bfloat16"])]
)  # its positions are made in float32


def equals_the_model(preset, attention, changes):
    """By parts, forward and backward; then the whole model, which holds what its own names hold."""
    config = load_config(preset, [TRANSFORMERS, f"run.attention={attention}", *SMALL[preset], *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict
    if config.run.checkpointing or config.run.autocast != "none":
        return  # these are not of the model, but around it
    passed = forward(config)
    before = weights_bytes(passed) + rounded(passed.image.nbytes)
    derived = [part.before - before + live for part in walk(passed) for _, live in part.liveness.steps]
    found = live_bytes(Row(preset, "transformers", attention, config.run.dtype), config)
    if config.neck == "mae_pred":
        found = found[: len(derived)]  # then comes its loss
    assert derived == found


@pytest.mark.parametrize(("preset", "attention", "changes"), PATHS, ids=str)
def test_a_model_of_transformers_is_derived_to_the_last_byte(preset, attention, changes):
    equals_the_model(preset, attention, changes)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("preset", "attention", "changes"), WIDE, ids=str)
def test_each_model_of_transformers_in_each_type_is_derived_to_the_last_byte(preset, attention, changes):
    equals_the_model(preset, attention, changes)


@pytest.mark.parametrize(
    ("preset", "words", "place"),
    [
        ("mae_b", ["image_size=[64,96]"], "image_size"),
        ("mae_b", ["norm=false"], "norm"),
        ("mae_b", ["embed_dim=18", "num_heads=3"], "embed_dim"),
        ("sam_vit_b", ["image_size=[96,112]"], "image_size"),
        ("vitdet_b", ["window_size=[4,3]"], "window_size"),
        ("vitdet_b", ["mlp_ratio=2.5"], "mlp_ratio"),
        ("vitdet_b", ["pretrain_image_size=[80,96]"], "pretrain_image_size"),
        ("mae_b_pretrain", ["image_size=70"], "image_size"),
        ("sam3_vision", ["window_size=[4,3]"], "window_size"),
        ("sam3_vision", ["pretrain_image_size=[28,56]"], "pretrain_image_size"),
        ("sam3_vision", ["run.checkpointing=true"], "run.checkpointing"),
        ("qwen2_5_vl_vision", ["window_size=0"], "window_size"),
        ("qwen2_5_vl_vision", ["qkv_bias=false"], "qkv_bias"),
        ("mae_b_pretrain", ["stages.1.qkv_bias=false"], "qkv_bias"),
        ("florence2_base", ["stages.1.depth=3"], "stages.1.depth"),
        ("florence2_base", ["stages.1.transition=conv_embed_2x2"], "stages.1.transition"),
        ("florence2_base", ["stages.2.overrides=[{blocks: [4], mlp_ratio: 2}]"], "stages.2.overrides"),
        ("florence2_base", ["run.checkpointing=true"], "run.checkpointing"),
        ("muse_glimmer", ["patch_embed=minicpm_v"], "patch_embed"),
        ("minicpm_v_4_6", ["patch_embed=muse_glimmer"], "patch_embed"),
    ],
    ids=str,
)
def test_what_a_model_of_transformers_cannot_run_is_reported_at_its_place(preset, words, place):
    with pytest.raises(ConfigError) as refused:
        load_config(preset, [TRANSFORMERS, *SMALL[preset], *words])
    (problem,) = refused.value.problems
    assert (problem.message.code, place in problem.where) == ("implementation-cannot-run", True), problem


@pytest.mark.parametrize("preset", [*SMALL, "sam2_hiera_t", "swin_t", "swinv2_t", "vit_b"])
def test_the_installed_transformers_is_the_one_that_was_seen(preset):
    """The cases above fail if it allocates otherwise; this says that its version is to be written down."""
    run = implementation_of(load_config(preset, [TRANSFORMERS]))
    assert of_another_version(run) == ""
