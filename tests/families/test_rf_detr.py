"""RF-DETR and LW-DETR: what windows that are cut once cost, and the sizes that they allow."""

from __future__ import annotations

import numpy as np
import pytest

from samattn_cli import analyze, load_config
from samattn_cli.encoder.placed import placed
from samattn_cli.errors import ConfigError, UsageError
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.stack.trace import backward_of
from samattn_cli.studies.checkpoints.blocks import blocks_of, with_blocks
from samattn_cli.studies.checkpoints.front import front
from samattn_cli.studies.explain import explain
from samattn_cli.studies.flow import windowed_flow
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements.table import table_of
from samattn_cli.studies.points import figures_at
from samattn_cli.studies.spreading_findings import of_spreading
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.training import training_step
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


@pytest.mark.parametrize(
    "words",
    [
        ["lw_detr_tiny", "pos_embed=rf_detr"],
        ["lw_detr_tiny", "neck=rf_detr_maps"],
        ["rf_detr_nano", "pos_embed=lw_detr"],
        ["rf_detr_nano", "neck=lw_detr"],
    ],
    ids=" ".join,
)
def test_a_neck_needs_the_positions_that_cut_windows_as_it_joins_them(words):
    """Windows of RF-DETR have class tokens, those of LW-DETR do not. The blocks of both run on either."""
    with pytest.raises(ConfigError) as refused:
        load_config(words[0], words[1:])
    assert refused.value.codes == ("needs-pos-embed",)


def test_a_last_block_that_nothing_reads_is_a_finding():
    """rf-detr-base returns the outputs of blocks 1, 4, 7 and 10; rf-detr-nano that of its last block too."""
    report = analyze(load_config("rf_detr_base"), verify=False)
    (found,) = [finding.message for finding in report.findings if finding.code == "unread-block"]
    assert (
        f"blocks.11 outputs: out_indices ends before it. It takes {report.layers[-1].flops:,} FLOPs" in found
    )
    codes = {finding.code for finding in analyze(load_config("rf_detr_nano"), verify=False).findings}
    assert "unread-block" not in codes
    several = analyze(load_config("rf_detr_base", ["out_indices=[1,4]"]), verify=False)
    (found,) = [finding.message for finding in several.findings if finding.code == "unread-block"]
    assert "blocks.5 to blocks.11 output: out_indices ends before them. They take" in found


UNREAD = ["depth=4", "out_indices=[0,2]"]
SEVERAL = ["depth=4", "out_indices=[1]"]
WAYS = (
    ["run.attention=sdpa"],
    ["run.autocast=bfloat16"],
    ["run.checkpointing=true"],
    ["run.trains=blocks.0-2"],
    ["run.trains=neck"],
    ["run.grad=true"],
    ["run.mode=training", "run.accumulate=2"],
    ["implementation=transformers"],
    ["implementation=transformers", "run.attention=eager", "run.checkpointing=true"],
    ["implementation=transformers", "run.autocast=bfloat16"],
)


@pytest.mark.parametrize(
    ("small", "changes"),
    [
        (SMALL, [*UNREAD, "run.checkpointing=blocks.3"]),
        (LW_DETR, SEVERAL),
        *(
            pytest.param(small, [*outputs, *way], marks=pytest.mark.exhaustive)
            for small in (SMALL, LW_DETR)
            for outputs in (UNREAD, SEVERAL)
            for way in WAYS
        ),
    ],
)
def test_what_blocks_keep_whose_outputs_nothing_reads_is_freed_with_these(small, changes):
    verdict = verify(load_config(small, changes), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


@pytest.mark.parametrize("small", [SMALL, LW_DETR])
def test_weights_of_blocks_that_nothing_reads_get_no_gradient(small):
    config = load_config(small, [*SEVERAL, "run.mode=training"])
    model = build(config, "meta").train()
    backward_of(model(image_for(config, "meta")))
    step = training_step(config)
    trained = {name for name, weight in step.weights.items() if weight.trains}
    assert trained == {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert not any(name.startswith(("blocks.2", "blocks.3")) for name in trained)


@pytest.mark.parametrize("changes", [UNREAD, [*SEVERAL, "image_size=128"]])
def test_searches_know_blocks_that_nothing_reads(changes):
    config = load_config(SMALL, [*changes, "run.mode=training"])
    table = table_of(config, (0, 1, 2, 3), windowed_flow(config), training=True)
    for chosen in ((), (3,), (2,), (0, 2, 3)):
        told = table.figures_of(table.mask(chosen), ["training_bytes"])["training_bytes"]
        assert told == training_step(placed(config, chosen)).peak_bytes
    for choice in front(blocks_of(config)):
        step = training_step(with_blocks(config, choice.blocks))
        assert (step.recomputed_flops, step.peak_bytes) == (choice.flops, choice.peak_bytes)


def test_what_is_not_derived_for_blocks_that_nothing_reads_is_refused():
    config = load_config(SMALL, ["depth=5", "out_indices=[1]"])
    with pytest.raises(UsageError) as error:
        table_of(config, (0, 1, 2, 3, 4), windowed_flow(config), training=True)
    assert error.value.codes == ("not-derived-yet",)
    sharded = ["run.mode=training", "run.parallel=zero3", "run.gpus=2"]
    with pytest.raises(UsageError) as error:
        training_step(load_config(SMALL, [*UNREAD, *sharded]))
    assert error.value.codes == ("not-derived-yet",)
    with pytest.raises(ConfigError) as refused:
        load_config(SMALL, [*UNREAD, "run.trains=blocks.3"])
    assert messages_of(refused) == ["[nothing-to-train] blocks.3 neck"]


def test_ddp_stops_at_a_block_that_nothing_reads():
    """Of block 3: two norms, four linear layers, each with a weight and a bias, two scales; with the mask token that no code uses."""
    config = load_config(SMALL, [*UNREAD, "run.mode=training", "run.parallel=ddp", "run.gpus=2"])
    (found,) = [each for each in of_spreading(Passes(config, None)) if each.code == "ddp-unused-weights"]
    assert found.message.startswith(f"{1 + 2 * 2 + 6 * 2 + 2} weights have no effect on the outputs, such as")
