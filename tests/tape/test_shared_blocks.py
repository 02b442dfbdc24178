"""Blocks and their backwards that encoders share: the same operations and peaks as of an encoder that is alone."""

from dataclasses import replace

import pytest

from samattn_cli import load_config
from samattn_cli.studies.candidates import global_layers
from samattn_cli.studies.on_device import replayed
from samattn_cli.studies.passes import Passes
from samattn_cli.tape import recurring
from samattn_cli.tape.inside import Cuda
from tests.support.passes import forget_passes
from tests.support.sampling import sampled

CUDA = Cuda(8.9, 128, 1536)
SMALL = ["depth=4", "global_attn_indexes=[1,3]", "image_size=256", "embed_dim=96", "num_heads=3"]
QWEN = ["depth=4", "global_attn_indexes=[1,3]", "image_size=224", "embed_dim=64", "num_heads=4"]
CASES = [
    ("sam_vit_b", SMALL),
    ("swin_t", ["run.checkpointing=blocks"]),
    ("sam_vit_b", [*SMALL, "run.attention=fused", "run.autocast=bfloat16"]),
    ("sam_vit_b", [*SMALL, "run.mode=training", "run.checkpointing=blocks", "run.accumulate=2"]),
    ("med_sam_adapter_b", ["depth=4", "global_attn_indexes=[1,3]", "image_size=256"]),
    ("vitdet_b", ["image_size=256", "run.attention=sdpa"]),
    ("sam2_hiera_t", ["image_size=512", "run.attention=sdpa"]),
    ("eva02_b_det", ["image_size=256"]),
    ("qwen2_5_vl_vision", QWEN),
]


def seen(config):
    """The operations, the peaks of sections, and what the allocator makes of the run, in both modes."""
    for mode in ("inference", "training"):
        passes = Passes(replace(config, run=replace(config.run, mode=mode)))
        used = replayed(passes, CUDA)
        yield passes.section_peaks, used.reserved, used.sections, used.at, used.kinds
        yield {section: [of(op) for op in ops] for section, ops in passes.sections.items()}


def of(op):
    """What an operation does, without the identity of its storages."""
    storages = [[each.nbytes for each in group] for group in (op.reads, op.allocates, op.frees, op.saves)]
    return op.name, op.kind, op.macs, op.bytes_read, op.bytes_written, storages


@pytest.mark.parametrize(("preset", "changes"), sampled(CASES, 4))
def test_an_encoder_is_the_same_after_others(preset, changes):
    encoders = global_layers(load_config(preset, changes)).encoders[:4]
    forget_passes()
    after_others = [list(seen(each)) for each in encoders]
    assert recurring.blocks_of.cache_info().hits
    for each, found in zip(encoders, after_others, strict=True):
        forget_passes()
        assert list(seen(each)) == found


def test_encoders_share_parts_that_the_same_tensors_enter_and_blocks_that_tap_them():
    """The merger after the last block, which is global in both, too; its backward begins with the caller's gradient."""
    config = load_config("qwen2_5_vl_vision", [*QWEN, "run.mode=training"])
    forget_passes()
    this, as_global = Passes(config).step, Passes(config.all_global()).step
    own = [segment.recording for segment in this.forward.segments]
    theirs = [segment.recording for segment in as_global.forward.segments]
    names = ["patch_embed", "pos_embed", *(f"blocks.{index}" for index in range(4)), "neck"]
    shared = [name for name, one, other in zip(names, own, theirs, strict=True) if one is other]
    assert shared == ["patch_embed", "pos_embed", "blocks.1", "blocks.3", "neck"]
    assert this.recordings[-1] is as_global.recordings[-1]


def test_a_part_whose_code_reads_another_value_is_not_shared():
    configs = [load_config("sam_vit_b", [*SMALL, f"out_chans={chans}"]) for chans in (256, 128)]
    forget_passes()
    one, other = ([segment.recording for segment in Passes(each).forward.segments] for each in configs)
    assert [a is b for a, b in zip(one, other, strict=True)] == [True] * 6 + [False]
