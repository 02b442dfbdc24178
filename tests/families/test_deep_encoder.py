from __future__ import annotations

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.tape.encoder import forward
from tests.public.sam import count as count_sam


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
def test_tokens_are_sixteen_times_fewer_after_the_compressor(image_size, tokens):
    """Four modes of DeepSeek-OCR's paper (table 1); sides of 9, 5, 3 where they do not halve."""
    last = load_config("deep_encoder", f"image_size={image_size}").layers[-1]
    assert (last.grid[0] * last.grid[1], last.extra_tokens) == (tokens, 1)


def test_the_compression_is_pointed_out():
    report = analyze(load_config("deep_encoder"), verify=False)
    (message,) = (finding.message for finding in report.findings if finding.code == "compressed-tokens")
    assert message.startswith(
        "transitions.1 reduces 4,096 tokens to 256, 16.00x fewer. The score matrices of the 24 global layers"
    )
    assert f"{4097**2 / 257**2:.2f}x smaller" in message
