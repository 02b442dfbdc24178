from __future__ import annotations

import pytest
import torch

from samattn_cli import analyze, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from tests.public.deep_encoder import DeepEncoder, count, renamed
from tests.public.sam import count as count_sam
from tests.support.problems import messages_of
from tests.support.weights import randomised

SMALL = {
    "image_size": 72,
    "patch_size": 8,
    "stages": [
        {"embed_dim": 24, "depth": 2, "num_heads": 2, "rel_pos": "decomposed", "window_size": 4}
        | {"global_attn_indexes": [1]},
        {"transition": "deepseek_compressor", "block": "clip", "embed_dim": 32, "depth": 2, "num_heads": 4},
    ],
    "neck": "deepseek",
    "out_chans": 20,
}


def test_parameters_and_flops_equal_those_of_transformers_parts():
    passed = forward(load_config("deep_encoder"))
    assert (passed.params, passed.flops) == count("deep_encoder")


def test_its_first_stage_takes_what_segment_anything_takes():
    """SAM-B without its neck of 589,824 + 768 * 256 weights in convolutions and 1,024 in norms."""
    passed = forward(load_config("deep_encoder"))
    params, flops = count_sam("sam_vit_b")
    segments = passed.segments[:14]
    assert segments[-1].name == "blocks.11"
    convolutions = 589_824 + 768 * 256
    assert sum(segment.recording.params for segment in segments) == params - convolutions - 1_024
    assert sum(segment.recording.flops for segment in segments) == flops - 2 * 64 * 64 * convolutions


def test_the_compressor_and_the_projector_by_hand():
    passed = {segment.name: segment.recording for segment in forward(load_config("deep_encoder")).segments}
    neck = 768 * 256 + 9 * 256**2
    halving, again = 9 * 256 * 512, 9 * 512 * 1024
    compressor, projector = passed["transitions.1"], passed["neck"]
    assert compressor.params == neck + 4 * 256 + halving + again + 1024 * (1 + 257 + 2)
    assert compressor.macs == 64**2 * neck + 32**2 * halving + 16**2 * again
    assert projector.params == (2048 + 1) * 1280
    assert projector.macs == 256 * 2048 * 1280


@pytest.mark.parametrize(
    ("image_size", "tokens"), [(1024, 256), (1280, 400), (640, 100), (512, 64), (144, 9)]
)
def test_tokens_are_sixteen_times_fewer_behind_the_compressor(image_size, tokens):
    """Four modes of DeepSeek-OCR's paper (table 1); sides of 9, 5, 3 where they do not halve."""
    last = load_config("deep_encoder", f"image_size={image_size}").layers[-1]
    assert (last.grid[0] * last.grid[1], last.extra_tokens) == (tokens, 1)


def test_the_compression_is_pointed_out():
    report = analyze(load_config("deep_encoder"), verify=False)
    (message,) = (finding.message for finding in report.findings if finding.code == "compressed-tokens")
    assert message.startswith(
        "transitions.1 makes 256 tokens of 4,096: 16.00x fewer for the 24 global layers"
    )
    assert f"{4097**2 / 257**2:.2f}x smaller" in message


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_same_weights_give_the_same_output(kernel):
    config = load_config(SMALL, ["run.batch_size=2", f"run.attention={kernel}"])
    theirs, ours = randomised(DeepEncoder(config).eval(), 0.15), build(config)
    missing, unexpected = ours.load_state_dict(renamed(theirs.state_dict(), blocks=2), strict=False)
    assert (missing, unexpected) == (["transitions.1.position_ids"], [])
    image = torch.randn(config.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = ours(image), theirs(image)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


RUNS = {
    "eager": [],
    "a grid that halves unevenly": ["image_size=[56,104]", "run.batch_size=2"],
    "sdpa in bfloat16": ["run.attention=sdpa", "run.dtype=bfloat16", "stages.0.embed_dim=32"],
    "eager in autocast": ["run.autocast=float16"],
    "fused": ["run.attention=fused", "stages.0.embed_dim=32"],
    "checkpointed in autocast": ["run.autocast=bfloat16", "run.checkpointing=true", "run.batch_size=2"],
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_the_tape_equals_the_real_stack(run):
    verdict = verify(load_config(SMALL, run), every_layer=False)
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"


def test_the_preset_equals_the_real_stack():
    assert verify(load_config("deep_encoder"), every_layer=False).status == "exact"


BAD = {
    "no such stage": (["stages.1.transition=none", "stages.1.embed_dim=24"], "[neck-needs-transition] neck deepseek deepseek_compressor"),
    "blocks of windows behind": (["stages.1.block=vit"], "[layout-mismatch] block vit deepseek_compressor"),
    "a sequence before": (
        ["stages.0.block=plain", "stages.0.window_size=0", "pos_embed=class_token"],
        "[layout-mismatch] transition deepseek_compressor",
    ),
    "first": (["stages.0.transition=deepseek_compressor"], "[transition-of-first-stage] deepseek_compressor"),
    "width": (["stages.1.embed_dim=30", "stages.1.num_heads=2"], "[width-not-divisible] embed_dim 30 4"),
}  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_said(overrides, message):
    with pytest.raises(ConfigError) as error:
        load_config(SMALL, overrides)
    assert message in messages_of(error)
