"""Training steps that checkpoint some of the blocks: the Tape's claims are what PyTorch does on meta tensors."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.stack.crosscheck import crosscheck
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.verify import claims_of
from samattn_cli.tape.training import training_step

ENCODERS = {
    "sam_vit_b": ["image_size=224", "depth=3", "global_attn_indexes=[1]"],
    "vitdet_b_fpn": ["image_size=256", "depth=3", "global_attn_indexes=[1]"],
    "swin_t": ["image_size=224"],
    "sam2_hiera_t": ["image_size=256"],
    "vit_b": ["depth=4"],
    "mae_b_pretrain": [],
    "sam_vit_b_lora": ["image_size=224"],
    "sam3_vision": ["image_size=224"],
    "qwen2_5_vl_vision": ["image_size=112"],
}
CHOICES = ("global", "window", "blocks.1-2", "every 2nd", "blocks.0")
RUNS = (
    [],
    ["run.attention=sdpa", "run.autocast=bfloat16"],
    ["run.autocast=float16", "run.accumulate=2"],
    ["run.attention=sdpa", "run.dtype=bfloat16"],
)
NO_BLOCKS = {("swin_t", "global"), ("vit_b", "window"), ("mae_b_pretrain", "window")}
IN_THE_SUITE = {("sam_vit_b", "global", 0), ("vitdet_b_fpn", "window", 1)}
CASES = [
    pytest.param(preset, choice, number, marks=[] if case in IN_THE_SUITE else [pytest.mark.exhaustive])
    for preset in ENCODERS
    for choice in CHOICES
    for number in range(len(RUNS))
    if (case := (preset, choice, number)) and (preset, choice) not in NO_BLOCKS
]


@pytest.mark.parametrize(("preset", "choice", "number"), CASES)
def test_a_step_that_checkpoints_some_blocks_does_what_torch_does(preset, choice, number):
    settings = [*ENCODERS[preset], "run.mode=training", *RUNS[number], f"run.checkpointing={choice}"]
    config = load_config(preset, settings)
    verdict = crosscheck(config, claims_of(config)).memory_trace
    assert (verdict.status, verdict.differences) == ("exact", ())


@pytest.mark.parametrize("choice", ["global", "every 2nd"])
def test_a_choice_keeps_the_inputs_of_its_blocks_and_changes_no_inference(choice):
    all_, none, some = (
        load_config("sam_vit_b", [*ENCODERS["sam_vit_b"], f"run.checkpointing={value}"])
        for value in ("true", "false", choice)
    )
    kept = dict(zip(some.layers, training_step(some).saved_bytes[2:-1], strict=True))
    of_all, of_none = training_step(all_).saved_bytes[2:-1], training_step(none).saved_bytes[2:-1]
    assert list(kept.values()) == [
        of_all[layer.index] if layer.name in some.checkpointed else of_none[layer.index] for layer in kept
    ]
    peaks = [[used.peak_bytes for used in Passes(config).memory] for config in (some, none)]
    assert peaks[0] == peaks[1]
