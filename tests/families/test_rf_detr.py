"""RF-DETR and LW-DETR: what windows that are cut once cost, and the sizes that they allow."""

from __future__ import annotations

import numpy as np
import pytest

from samattn_cli import analyze, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.studies.explain import explain
from samattn_cli.studies.points import figures_at
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from tests.public.lw_detr import SMALL as LW_DETR
from tests.public.rf_detr import SMALL
from tests.support.problems import Known, messages_of

DEFAULT = {  # transformers' RfDetrDinov2Config()
    "image_size": 224,
    "patch_size": 14,
    "block": "rf_detr",
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "num_windows_side": 4,
    "pos_embed": "rf_detr",
    "neck": "rf_detr_maps",
}


def test_windows_that_cost_more_than_they_save_are_a_finding():
    """The figures of issue 19: a class token in each of 16 windows of 16 patches."""
    report = analyze(load_config(DEFAULT), verify=False)
    (found,) = [finding.message for finding in report.findings if finding.code == "windows-cost-more"]
    facts = ("46,606,123,008", "46,322,454,528", "0.61 %", "16", "272", "257", "num_windows_side=1")
    assert all(fact in found for fact in facts), found
    larger = analyze(load_config(DEFAULT, ["image_size=560"]), verify=False)
    assert "windows-cost-more" not in {finding.code for finding in larger.findings}


def test_tokens_of_windows_and_of_global_blocks():
    """256 patches and 16 class tokens: 17 tokens in a window, 272 in a global block."""
    config = load_config(DEFAULT, ["global_attn_indexes=[2]"])
    windowed, whole = (forward(config).segments[2 + index].recording.scores for index in (0, 2))
    assert (windowed, whole) == (12 * 16 * 17**2, 12 * 272**2)
    assert explain(config, "2.attn.scores").value == 12 * 272**2 * 64
    assert explain(config, "0.attn.scores").value == 12 * 16 * 17**2 * 64


TWO = ["run.batch_size=2"]
HALF = ["run.dtype=bfloat16", "image_size=[48,64]"]


@pytest.mark.parametrize(
    ("small", "changes"),
    [
        (SMALL, ["run.attention=sdpa"]),
        (LW_DETR, ["run.attention=eager"]),
        *(
            pytest.param(small, [f"run.attention={kernel}", *changes], marks=pytest.mark.exhaustive)
            for small in (SMALL, LW_DETR)
            for kernel in ("sdpa", "eager")
            for changes in (
                TWO,
                HALF,
                ["num_windows_side=1"],
                ["run.checkpointing=true", "image_size=48", "pretrain_image_size=48"],
            )
        ),
        *(
            pytest.param(
                {**small, "neck": f"{small['neck']}_maps"},
                ["run.autocast=float16"],
                marks=pytest.mark.exhaustive,
            )
            for small in (
                {k: v for k, v in each.items() if k not in {"out_chans", "neck_scales"}}
                for each in (SMALL, LW_DETR)
            )
        ),
    ],
)
def test_transformers_own_code_is_derived_to_the_last_byte(small, changes):
    verdict = verify(load_config(small, ["implementation=transformers", *changes]), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


def test_a_sweep_keeps_the_number_of_windows():
    sides = np.array([64, 80, 128])
    swept = figures_at(load_config(SMALL), {"height": sides, "width": sides}, ["flops", "peak_bytes"])
    for at, side in enumerate(sides):
        one = analyze(load_config(SMALL, [f"image_size={side}"]), verify=False).totals
        assert (swept["flops"][at], swept["peak_bytes"][at]) == (one.flops, one.peak_bytes)


def test_an_image_that_windows_do_not_divide_is_refused_with_the_nearest_sizes():
    with pytest.raises(ConfigError) as error:
        load_config("rf_detr_base", ["image_size=518"])
    assert messages_of(error) == ["[not-divisible] num_windows_side 4 37x37 504 560"]
    assert isinstance(messages_of(error)[0], Known)


def test_a_last_block_that_nothing_reads_is_a_finding():
    """rf-detr-base returns the outputs of blocks 1, 4, 7 and 10; rf-detr-nano that of its last block too."""
    report = analyze(load_config("rf_detr_base"), verify=False)
    (found,) = [finding.message for finding in report.findings if finding.code == "unread-block"]
    assert (
        f"blocks.11 outputs: out_indices ends before it. It takes {report.layers[-1].flops:,} FLOPs" in found
    )
    codes = {finding.code for finding in analyze(load_config("rf_detr_nano"), verify=False).findings}
    assert "unread-block" not in codes
