"""Models of libraries that run our encoders: each allocation, forward and backward, equals what the Tape derives for it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from math import prod

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import analyze, load_config, load_device
from samattn_cli.encoder.implementations import implementation_of
from samattn_cli.errors import ConfigError, DeviceError
from samattn_cli.render.pages.analysis import heading_of
from samattn_cli.stack import implementation
from samattn_cli.stack.step import Step
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import walk, weights_bytes
from samattn_cli.tape.replay import replay_forward
from samattn_cli.tape.segments import Twins
from samattn_cli.units import rounded
from tests.public import hiera as public_hiera
from tests.public.memory import Row, live_bytes
from tests.support.running import samattn
from tests.support.sampling import sampled

MIB = 2**20
TRANSFORMERS = "implementation=transformers"
SMALL = ["depth=3", "global_attn_indexes=1", "run.batch_size=2"]
SHORT = "stages.2.depth=2"
SHORT_HIERA = ["stages.2.depth=3", "stages.2.global_attn_indexes=5"]
TINY = ["image_size=130", "patch_size=13", "num_heads=3", "embed_dim=24", "window_size=4", "out_chans=7"]


def each_once(*forms, weekly=()):
    """Each form with one of the two kernels in turn; with the other, and the forms `weekly` with both, each week."""
    return [
        pytest.param(
            form,
            kernel,
            id=" ".join([*form, kernel]),
            marks=[pytest.mark.exhaustive] if number >= len(forms) or (number + at) % 2 else [],
        )
        for number, form in enumerate((*forms, *weekly))
        for at, kernel in enumerate(("sdpa", "eager"))
    ]


def activations(config) -> float:
    """MiB at the peak of an inference forward, without weights and input."""
    passed = forward(config)
    before = weights_bytes(passed) + rounded(passed.image.nbytes)
    return (max(part.peak_bytes for part in walk(passed)) - before) / MIB


@pytest.mark.parametrize(
    ("preset", "attention", "dtype", "mib"),
    [
        ("sam_vit_b", "sdpa", "float32", 1596.0),
        ("sam_vit_b", "eager", "float32", 2364.0),
        ("sam_vit_b", "eager", "bfloat16", 2334.0),
        ("sam_vit_b", "eager", "float16", 1950.0),
        ("sam2_hiera_t", "sdpa", "float32", 288.0),
    ],
)
def test_peak_of_a_model_of_transformers_at_1024(preset, attention, dtype, mib):
    """Figures of issue 16, of the model itself."""
    run = [f"run.attention={attention}", f"run.dtype={dtype}"]
    assert activations(load_config(preset, [TRANSFORMERS, *run])) == mib


@pytest.mark.parametrize(
    ("changes", "attention"),
    each_once(
        ["image_size=800", *SMALL],  # a grid of 50, padded to 56
        ["image_size=512", "window_size=16", *SMALL],  # a grid of 32: nothing to pad, and a copy all the same
        ["run.dtype=float16", "rel_pos=none", "pos_embed=none", "qkv_bias=false", "image_size=240", *SMALL],
        ["run.dtype=float16", "run.checkpointing=true", "image_size=240", *SMALL],
        weekly=[
            ["run.dtype=bfloat16", *TINY, *SMALL],
            ["window_size=0", "global_attn_indexes=none", "depth=2", *TINY],
        ],
    ),
)
def test_sam_of_transformers_is_derived_to_the_last_byte(attention, changes):
    config = load_config("sam_vit_b", [TRANSFORMERS, f"run.attention={attention}", *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["run.dtype=float16", "run.batch_size=2", "depth=3", "qkv_bias=false"],
        ["image_size=[96,160]", "run.checkpointing=true", "depth=2"],
    ],
    ids=" ".join,
)
def test_vit_of_transformers_is_derived_to_the_last_byte(attention, changes):
    config = load_config("vit_b", [TRANSFORMERS, f"run.attention={attention}", *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.status == "exact", verdict


@pytest.mark.parametrize(
    ("changes", "attention"),
    each_once(
        [*SHORT_HIERA, "image_size=[96,160]"],  # grids of 24x40 to 3x5: windows of 14 and 7 pad
        [
            *SHORT_HIERA,
            "image_size=[32,96]",
        ],  # the last grid, 1x3, is in one window: joining it copies nothing
        weekly=[
            ["image_size=256", "run.dtype=bfloat16", "run.batch_size=2"],  # windows of 8 and 4 do not pad
            ["image_size=256", "run.dtype=float16", "run.batch_size=2", "run.checkpointing=true"],
        ],
    ),
)
def test_sam2_of_transformers_is_derived_to_the_last_byte(attention, changes):
    config = load_config("sam2_hiera_t", [TRANSFORMERS, f"run.attention={attention}", *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("vit_b", [TRANSFORMERS, "run.attention=eager", "run.batch_size=2", "image_size=[32,64]"]),
        ("vit_b", ["run.autocast=bfloat16", "image_size=[32,64]"]),
        ("sam_vit_b", ["global_attn_indexes=1", "rel_pos_grid=8", *TINY]),
    ],
    ids=str,
)
def test_positions_of_another_image_size_are_resized_in_each_forward(preset, changes):
    """In transformers by `interpolate_pos_encoding`; the weights are those of the pretraining."""
    words = ["depth=2", "pretrain_image_size=208", *changes]
    verdict = verify(load_config(preset, words), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


def test_a_checkpoint_keeps_its_parameters_at_another_image_size():
    """SAM ViT-B at 640 px: 64x64 positions and 127 rows in each table of a global block, as ultralytics keeps them."""
    at_640 = ["image_size=640", "pretrain_image_size=1024", "rel_pos_grid=64"]
    kept, made_anew = (forward(load_config("sam_vit_b", words)).params for words in (at_640, at_640[:1]))
    assert (kept, made_anew) == (89_670_912, 87_729_408)
    positions, tables = (64**2 - 40**2) * 768, 4 * 2 * (127 - 79) * 64
    assert kept - made_anew == positions + tables


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "run", ["run.autocast=bfloat16", "run.dtype=float16", "run.trains=norm", "run.grad=true"]
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("size", ["384", "[96,160]", "[112,448]"])
def test_vit_of_transformers_interpolates_positions_in_many_forms(size, attention, run):
    words = [
        TRANSFORMERS,
        "depth=2",
        "pretrain_image_size=224",
        f"image_size={size}",
        f"run.attention={attention}",
    ]
    verdict = verify(load_config("vit_b", [*words, run]), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


SHALLOW = [f"stages.{number}.depth=1" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        (
            "sam_vit_b",
            ["run.autocast=bfloat16", "run.attention=eager", "depth=2", "global_attn_indexes=1", *TINY],
        ),
        ("vit_b", ["run.autocast=float16", "run.attention=eager", "depth=2", "image_size=32"]),
        (
            "sam2_hiera_t",  # a stage whose first block is pooled is in the type of products from there on
            ["run.autocast=bfloat16", "image_size=[32,96]", "stages.2.global_attn_indexes=none", *SHALLOW],
        ),
    ],
    ids=str,
)
def test_autocast_of_a_model_of_transformers_is_derived_to_the_last_byte(preset, changes):
    verdict = verify(load_config(preset, [TRANSFORMERS, *changes]), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("sam_vit_b", ["image_size=800", *SMALL]),
        ("sam_vit_b", ["image_size=512", "window_size=16", *SMALL]),
        ("sam_vit_b", ["run.checkpointing=true", "image_size=240", *SMALL]),
        ("sam_vit_b", ["rel_pos=none", "pos_embed=none", "qkv_bias=false", "image_size=240", *SMALL]),
        ("sam_vit_b", ["run.trains=neck", "image_size=240", *SMALL]),
        ("vit_b", []),
        ("vit_b", ["run.batch_size=2", "depth=3", "qkv_bias=false"]),
        ("vit_b", ["image_size=[96,160]", "run.checkpointing=true", "depth=2"]),
        ("sam2_hiera_t", ["image_size=[96,160]"]),
        ("sam2_hiera_t", ["image_size=256", "run.batch_size=2", "run.checkpointing=true"]),
        ("sam2_hiera_t", ["image_size=96", "run.trains=neck"]),
        ("swin_t", []),
        ("swin_t", ["run.batch_size=2", "image_size=[200,296]", "pos_embed=learned"]),
        ("swin_t", ["image_size=[232,224]"]),
        ("swinv2_t", ["image_size=128"]),
        ("swinv2_t", ["run.batch_size=2", "image_size=[288,320]"]),
        ("swinv2_t", ["image_size=[328,320]", "stages.0.depth=1"]),
        ("sam3_vision", ["image_size=[224,280]", "pretrain_image_size=112", "window_size=6", *SMALL]),
        ("sam3_vision", ["image_size=224", "neck=none", "window_size=6", *SMALL]),
        ("qwen2_5_vl_vision", ["image_size=[224,280]", *SMALL]),
        ("qwen2_5_vl_vision", ["image_size=112", "run.checkpointing=true", *SMALL]),
    ],
    ids=str,
)
def test_autocast_of_models_of_transformers_in_many_forms(preset, attention, dtype, changes):
    if preset == "swinv2_t" and attention == "sdpa":
        pytest.skip("Swinv2Model has eager attention alone")
    about = [TRANSFORMERS, f"run.autocast={dtype}", f"run.attention={attention}"]
    verdict = verify(load_config(preset, [*about, *changes]), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


def test_flops_of_sam2_of_transformers_have_a_product_that_nothing_reads():
    """Queries of all heads by keys of all heads, for each token: heads x heads x (width / heads) MACs."""
    words = ["image_size=224", "run.attention=eager"]
    reference, theirs = (
        forward(load_config("sam2_hiera_t", [*words, *more])) for more in ([], [TRANSFORMERS])
    )
    unread = sum(
        2 * prod(layer.padded_grid) * layer.stage.num_heads * layer.stage.embed_dim
        for layer in theirs.config.layers
    )
    assert unread > 0
    assert theirs.flops == reference.flops + unread
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        public_hiera.model()(torch.empty(1, 3, 224, 224))
    assert theirs.flops == counter.get_total_flops()


def test_sam2_of_transformers_holds_the_positions_of_the_forward_before():
    """A cache of one encoding: of 128x128x256 float32 at 512 px, until the first of the next forward replaces it."""
    config = load_config("sam2_hiera_t", [TRANSFORMERS, "image_size=512"])
    passed, cuda = forward(config), cuda_of(load_device("a100_80"))
    (neck,) = (part for part in passed.segments if part.name == "neck")
    assert [storage.nbytes for storage in neck.recording.left] == [128 * 128 * 256 * 4]
    later = replay_forward(passed, cuda).sections
    first = replay_forward(_without_cache(passed), cuda).sections
    held = {name: later[name, "forward"] - first[name, "forward"] for name in ("patch_embed", "blocks.1")}
    assert held == dict.fromkeys(held, 128 * 128 * 256 * 4)


def _without_cache(passed):
    def emptied(part):
        ops = tuple(replace(op, frees_last=()) for op in part.recording.ops)
        return replace(part, recording=replace(part.recording, ops=ops))

    return replace(passed, twins=tuple(Twins(emptied(segment)) for segment in passed.segments))


def test_vit_of_transformers_holds_what_enters_its_blocks_to_the_end():
    """197 tokens of 768 float32: `embedding_output` of ViTModel's forward is live next to the output, and freed with it."""
    tokens = rounded(197 * 768 * 4)
    *_, before, last = walk(forward(load_config("vit_b", [TRANSFORMERS, "run.attention=sdpa"])))
    assert (
        last.liveness.change == -2 * tokens + tokens
    )  # what entered the blocks, and the input; then the output
    *_, before_of_reference, _ = walk(forward(load_config("vit_b", ["run.attention=sdpa"])))
    assert before.before - before_of_reference.before == tokens


@pytest.mark.parametrize(
    ("changes", "attention"),
    each_once(
        [SHORT, "run.dtype=bfloat16", "image_size=[232,224]"],  # odd grids, which a merging pads
        [
            "run.dtype=float16",
            "run.batch_size=2",
            "image_size=[200,296]",
            "pos_embed=learned",
            SHORT,
        ],  # each grid is padded
        weekly=[[]],  # the last grid, of 7x7, is the window
    ),
)
def test_swin_of_transformers_is_derived_to_the_last_byte(attention, changes):
    config = load_config("swin_t", [TRANSFORMERS, f"run.attention={attention}", *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([], marks=pytest.mark.exhaustive),  # the last grid, of 8x8, is the window
        # the grid before the last is the window; the last is 4x4: a smaller window
        ["image_size=128", SHORT],
        pytest.param(  # each grid is padded
            ["run.dtype=bfloat16", "run.batch_size=2", "image_size=[288,320]"], marks=pytest.mark.exhaustive
        ),
        pytest.param(  # odd grids, which a merging pads
            ["run.dtype=float16", "image_size=[328,320]", "stages.0.depth=1"], marks=pytest.mark.exhaustive
        ),
    ],
    ids=" ".join,
)
def test_swin_v2_of_transformers_is_derived_to_the_last_byte(changes):
    config = load_config("swinv2_t", [TRANSFORMERS, *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


PADDED = ["run.batch_size=2", "run.dtype=bfloat16"]


@pytest.mark.parametrize(
    ("preset", "attention", "changes"),
    sampled(
        [
            ("swin_t", "sdpa", []),
            ("swin_t", "eager", []),
            ("swin_t", "sdpa", [*PADDED, "image_size=[200,296]"]),
            ("swinv2_t", "eager", [*PADDED, "image_size=[288,320]"]),
            ("swin_t", "eager", [*PADDED, "image_size=[200,296]"]),
            ("swinv2_t", "eager", []),
            ("sam2_hiera_t", "sdpa", []),
            ("sam2_hiera_t", "eager", []),
            ("sam2_hiera_t", "sdpa", [*PADDED, "image_size=[96,160]"]),
            ("sam2_hiera_t", "eager", [*PADDED, "image_size=[96,160]"]),
            ("hiera_t", "eager", ["image_size=[64,96]"]),
            ("hiera_t", "eager", ["image_size=32", "neck=none"]),
            ("hiera_t", "eager", [*PADDED, "image_size=[64,96]", "neck=hiera_pool"]),
        ],
        3,
    ),
    ids=str,
)
def test_a_whole_model_of_transformers_has_the_live_bytes_of_each_allocation(preset, attention, changes):
    """The model itself, not cut into parts: its forward holds stages' inputs, copies and probabilities across them."""
    config = load_config(preset, [TRANSFORMERS, f"run.attention={attention}", *changes])
    assert derived_bytes(config) == live_bytes(
        Row(preset, "transformers", attention, config.run.dtype), config
    )


def derived_bytes(config) -> list[int]:
    """Live bytes of activations after each allocation of an inference forward."""
    passed = forward(config)
    before = weights_bytes(passed) + rounded(passed.image.nbytes)
    return [part.before - before + live for part in walk(passed) for _, live in part.liveness.steps]


BACKBONE = ["neck=swin_backbone", "norm=false", SHORT]


@pytest.mark.parametrize(
    ("changes", "attention"),
    each_once(
        ["image_size=[264,296]", "out_indices=[1,3]", *PADDED],  # each grid is padded; two outputs of four
        ["image_size=256", "pos_embed=learned", "run.checkpointing=true"],
        weekly=[
            ["run.dtype=float16", "image_size=[488,296]", "pos_embed=learned"],
            ["image_size=256", "stages.3.depth=1"],
            ["run.autocast=bfloat16", "image_size=256"],
        ],
    ),
)
def test_swin_backbone_of_transformers_is_derived_to_the_last_byte(attention, changes):
    """Cut into parts, forward and backward; then the backbone itself, whose forward holds all copies to its end."""
    config = load_config("swin_t", [TRANSFORMERS, f"run.attention={attention}", *BACKBONE, *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict
    if not config.run.checkpointing and config.run.autocast == "none":
        assert derived_bytes(config) == live_bytes(
            Row("swin_t", "transformers", attention, config.run.dtype), config
        )


def test_swin_backbone_of_transformers_takes_more_than_our_own_code():
    """Read off `samattn trace` of SwinBackbone with four outputs: an inference at 1024 px takes 539,902,464 bytes."""
    own = ["image_size=1024", "run.attention=sdpa", "neck=swin_backbone", "norm=false"]
    theirs, ours = (
        load_config("swin_t", [*own, f"implementation={name}"]) for name in ("transformers", "reference")
    )
    peaks = [max(part.peak_bytes for part in walk(forward(config))) for config in (theirs, ours)]
    assert peaks[0] == 539_902_464
    assert peaks[1] < peaks[0]


@pytest.mark.parametrize("words", [["image_size=224"], ["image_size=256", "stages.3.window_size=8"]], ids=str)
def test_windows_that_cover_a_grid_are_refused_for_swin_backbone(words):
    """It shifts them, as it always cuts windows: a grid of 7 in windows of 7."""
    with pytest.raises(ConfigError) as refused:
        load_config("swin_t", [TRANSFORMERS, *BACKBONE, *words])
    assert {problem.message.code for problem in refused.value.problems} == {"implementation-cannot-run"}


def test_flops_and_parameters_are_those_of_the_reference():
    reference, theirs = (forward(load_config("sam_vit_b", words)) for words in ([], [TRANSFORMERS]))
    assert (
        (theirs.params, theirs.flops) == (reference.params, reference.flops) == (89_670_912, 972_077_334_528)
    )


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["pos_embed_window=16"], "pos_embed_window"),
        (["out_chans=30"], "out_chans"),
        (["stages.0.window_size=[8,4]", "pos_embed_window=[8,4]"], "stages.0.window_size"),
        (["stages.1.mlp_ratio=2"], "mlp_ratio"),
        (["stages.2.global_attn_indexes=[3,5]"], "stages.2.global_attn_indexes"),
        (["stages.3.qkv_bias=false"], "stages.3.qkv_bias"),
    ],
    ids=str,
)
def test_what_sam2_of_transformers_cannot_run_is_reported_at_its_place(words, place):
    with pytest.raises(ConfigError) as refused:
        load_config("sam2_hiera_t", [TRANSFORMERS, *words])
    (problem,) = refused.value.problems
    assert (problem.message.code, place in problem.where) == ("implementation-cannot-run", True), problem


@pytest.mark.parametrize(
    ("words", "place", "code"),
    [
        (["image_size=[800,1024]"], "image_size", "implementation-cannot-run"),
        (["window_size=[14,7]"], "window_size", "implementation-cannot-run"),
        (["pretrain_image_size=512"], "pretrain_image_size", "implementation-cannot-run"),
        (["run.attention=fused"], "run.attention", "kernel-not-modelled"),
        (["rel_pos=joint"], "rel_pos", "implementation-cannot-run"),
        (["norm=true"], "norm", "implementation-cannot-run"),
        (["neck=none"], "implementation", "implementation-not-modelled"),
        (["pos_embed=none", "pre_norm=true"], "pre_norm", "implementation-cannot-run"),
    ],
    ids=str,
)
def test_what_sam_of_transformers_cannot_run_is_reported_at_its_place(words, place, code):
    with pytest.raises(ConfigError) as refused:
        load_config("sam_vit_b", [TRANSFORMERS, *words])
    (problem,) = refused.value.problems
    assert (problem.message.code, place in problem.where) == (code, True), problem


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["image_size=192"], "image_size"),  # a grid of 6x6
        (["image_size=[224,192]"], "image_size"),
        (["image_size=226"], "image_size"),
        (["stages.1.window_size=14"], "stages.1.window_size"),
        (["stages.2.shift_size=2"], "stages.2.shift_size"),
        (["stages.2.embed_dim=288"], "stages.2.embed_dim"),
        (["norm=false"], "norm"),
    ],
    ids=str,
)
def test_what_swin_of_transformers_cannot_run_is_reported_at_its_place(words, place):
    with pytest.raises(ConfigError) as refused:
        load_config("swin_t", [TRANSFORMERS, *words])
    problems = refused.value.problems
    assert {problem.message.code for problem in problems} == {"implementation-cannot-run"}
    assert any(place in problem.where for problem in problems), problems


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ("[264,320]", "rows of 66, 33, 16 and 8 in transformers, which does not shift the last stage; 9 in the code of Microsoft"),
        ("[512,256]", "a last grid of 16x8, which transformers shifts in both directions"),
    ],
)  # fmt: skip
def test_where_swin_v2_of_transformers_shifts_other_windows_it_is_refused(size, why):
    with pytest.raises(ConfigError) as refused:
        load_config("swinv2_t", [TRANSFORMERS, f"image_size={size}"])
    (problem,) = refused.value.problems
    assert (problem.message.code, "image_size" in problem.where) == ("implementation-cannot-run", True), why


def test_without_the_library_memory_is_not_reported_as_checked(monkeypatch):
    monkeypatch.setattr(implementation, "find_spec", lambda _: None)
    verdict = verify(load_config("sam_vit_b", [TRANSFORMERS, *TINY, *SMALL]), every_layer=False)
    assert verdict.memory_trace.status == verdict.status == "skipped"
    assert verdict.memory_trace.reason == "transformers is not installed"
    assert verdict.flop_counter.status == verdict.fvcore.status == verdict.parameters.status == "exact"


def test_another_version_is_named_in_the_verdict(monkeypatch):
    monkeypatch.setattr(implementation, "version", lambda _: "5.25.1")
    run = implementation_of(load_config("sam_vit_b", [TRANSFORMERS]))
    assert "5.25.1" in implementation.of_another_version(run)
    assert "5.23" in implementation.of_another_version(run)


def test_an_analysis_names_the_model_and_says_what_it_does_otherwise():
    config = load_config("sam_vit_b", [TRANSFORMERS, "run.attention=sdpa"])
    report = analyze(config, verify=False)
    (said,) = (finding.message for finding in report.findings if finding.code == "implementation")
    assert "SamVisionModel of transformers (5.23, 5.24)" in said
    assert "1.90 GiB, and 1.18 GiB with the reference's code (--set implementation=reference)" in said
    assert "(--attention sdpa)" not in said
    eager = analyze(load_config("vit_b", [TRANSFORMERS, "depth=1"]), verify=False).findings
    assert any("(--attention sdpa)" in each.message for each in eager if each.code == "implementation")
    (change,) = (each for each in report.changes if each.set == ("implementation=reference",))
    assert (
        change.peak_bytes
        == analyze(replace(config, implementation="reference"), verify=False).totals.peak_bytes
    )
    assert "SamVisionModel of transformers, batch 1, float32, sdpa attention" in " ".join(heading_of(config))
    assert not any(each.set == ("run.attention=fused",) for each in report.changes)


def test_the_reference_has_no_such_finding():
    report = analyze(load_config("sam_vit_b", TINY), verify=False)
    assert "implementation" not in {finding.code for finding in report.findings}


def test_diff_compares_implementations():
    compared = samattn("diff", "sam_vit_b", "--attention", "sdpa", "--set-after", TRANSFORMERS, columns=120)
    assert compared.returncode == 0
    assert "implementation: reference → transformers" in compared.stdout
    assert "+744.0 MiB" in compared.stdout  # 1,596 - 852


def test_measuring_runs_the_model_of_the_library():
    step = Step(load_config("sam_vit_b", [TRANSFORMERS, *TINY, *SMALL]), "cpu")
    assert type(step.model.get_submodule("blocks.0")).__name__ == "SamVisionLayer"
    step()


def test_measuring_without_the_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr(implementation, "find_spec", lambda _: None)
    with pytest.raises(DeviceError, match="pip install transformers") as refused:
        implementation.build_implementation(load_config("sam_vit_b", [TRANSFORMERS]))
    assert refused.value.message.code == "not-installed"


@pytest.mark.parametrize("preset", sampled(["vit_b", "sam_vit_b", "swin_t"], 3))
def test_a_sweep_has_the_figures_of_each_point(preset):
    """A sweep runs the implementation on formulas: its checks must hold for all points at once."""
    words = ["--set", TRANSFORMERS, "--resolutions", "224,800", "--batch-sizes", "3", "--format", "csv"]
    swept = samattn("sweep", preset, *words, "--metrics", "peak_bytes,training_bytes")
    assert swept.returncode == 0, swept.stderr
    for row in csv.DictReader(io.StringIO(swept.stdout)):
        point = [TRANSFORMERS, f"image_size={row['height']}", "run.batch_size=3"]
        totals = analyze(load_config(preset, point), verify=False).totals
        assert (int(row["peak_bytes"]), int(row["training_bytes"])) == (
            totals.peak_bytes,
            totals.training_bytes,
        )


def test_a_sweep_over_images_that_the_model_cannot_run_is_refused():
    swept = samattn("sweep", "sam_vit_b", "--set", TRANSFORMERS, "--resolutions", "512,512x768", "--strict")
    assert swept.returncode == 2
    assert "[implementation-cannot-run]" in swept.stderr
    assert "512x768" in swept.stderr
