"""What is true of DaViT and Florence-2 alone: layers over channels are neither global nor windowed, and see the whole image."""

from __future__ import annotations

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.encoder.placement import OVER_CHANNELS
from samattn_cli.gate.readings import is_counted, is_of_kind
from samattn_cli.metric_names import KINDS
from samattn_cli.studies.checkpoints.answer import words_of
from samattn_cli.studies.explain import explain
from samattn_cli.studies.flow import flow_of
from samattn_cli.studies.placements.placing import movable
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from tests.public.davit import small

TRANSFORMERS = "implementation=transformers"
SDPA = "run.attention=sdpa"


def test_a_placement_over_channels_is_neither_global_nor_windowed():
    layers = load_config(small("florence2")).layers
    assert [layer.attends for layer in layers] == ["window 3x3", "channels"] * 3
    channel = layers[1]
    assert channel.placement == OVER_CHANNELS
    assert (channel.is_global, channel.is_windowed, channel.spans_grid) == (False, False, False)
    assert (channel.window_size, channel.windows.size, channel.padded_grid) == ((0, 0), (9, 13), (9, 13))
    assert [[is_counted(layer, kind) for kind in KINDS] for layer in layers[:2]] == [
        [kind == own for kind in KINDS] for own in ("window", "channel")
    ]
    assert [is_of_kind(channel, kind) for kind in KINDS] == [kind == "channel" for kind in KINDS]


def test_its_blocks_stay_over_channels_where_all_others_are_global():
    config = load_config(small("florence2"))
    assert movable(config) == (0, 2, 4)
    assert [layer.attends for layer in config.all_global().layers] == ["global", "channels"] * 3
    assert config.all_windowed() == config


def test_the_whole_image_is_seen_after_the_first_layer_over_channels_and_before_it_windows_and_two_convolutions():
    """At a corner: three rows of a window and, by the convolution before it, one more; the one after it stays in the window."""
    flow = flow_of(load_config(small("florence2")))
    first, second, *_ = flow.layers
    assert (first.attention, first.smallest, first.sees_all) == ("window", 4 * 4, False)
    assert (second.attention, second.mixes_all, second.sees_all) == ("channel", False, True)
    assert (flow.first_full_context, flow.longest_without_global, flow.refined_after_last_global) == (
        1,
        6,
        None,
    )


def test_words_of_checkpointing_do_not_choose_layers_over_channels():
    config = load_config(small("florence2"), ["run.mode=training", "run.checkpointing=window"])
    assert config.checkpointed == {"blocks.0", "blocks.2", "blocks.4"}
    assert words_of([0, 1, 3], config.layers) == "0 (windowed) and 1 and 3 (over channels)"


@pytest.mark.parametrize("changes", [[], [TRANSFORMERS, SDPA]], ids=["reference", "transformers"])
def test_a_formula_of_a_layer_over_channels_is_linear_in_tokens(changes):
    """Two products of h d**2 T = C d T; qkv and proj 4 C**2 T, the MLP 2 C M T, two depthwise convolutions 9 C T each."""
    config = load_config(small("florence2"), changes)
    T, C, M, d = 9 * 13, 16, 64, 8
    whole = explain(config, "1")
    assert whole.value == 2 * C * d * T + 4 * C**2 * T + 2 * C * M * T + 2 * 9 * C * T
    assert whole.formula == "2*B*H*W*C*(2*C + M + d + 9)"
    assert explain(config, "1", "attention_bytes").formula == "4*B*d*C"


def test_attention_over_channels_is_found():
    findings = {
        each.code: each.message for each in analyze(load_config(small("florence2")), verify=False).findings
    }
    assert findings["channel-attention"].startswith(
        "3 layers attend over channels. Their score matrices are 8x8 "
    )
    assert "no-global-layer" not in findings


def test_no_fused_kernel_takes_attention_over_channels_in_transformers():
    """Its last stride is 3 C, 48 in the first stage; flash takes its windows."""
    words = [TRANSFORMERS, SDPA, "run.dtype=bfloat16"]
    report = analyze(load_config(small("florence2"), words), verify=False)
    kernels = {kernel.layers: kernel.kernel for kernel in report.attention_kernels}
    assert kernels == {
        ("blocks.0", "blocks.2", "blocks.4"): "flash",
        ("blocks.1",): "math",
        ("blocks.3", "blocks.5"): "math",
    }
    (said,) = [each.message for each in report.findings if each.code == "unfused-attention"]
    assert said.startswith("No fused kernel of attention runs on an A100 in blocks 1, 3, 5.")


def test_published_sizes():
    """Parameters of Florence2VisionBackbone (transformers 5.23.0); FLOPs of base at 768."""
    base, large = (forward(load_config(preset)) for preset in ("florence2_base", "florence2_large"))
    assert (base.params, large.params, base.flops) == (90_368_000, 360_632_320, 379_775_877_120)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("davit_t", ["image_size=[40,56]", SDPA]),
        (
            "florence2_base",
            ["image_size=[40,56]", "run.batch_size=2", "run.dtype=float16", TRANSFORMERS, SDPA],
        ),
    ],
    ids=str,
)
@pytest.mark.exhaustive
def test_a_preset_at_a_small_size_is_exact(preset, changes):
    verdict = verify(load_config(preset, changes), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict
