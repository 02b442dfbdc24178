"""Encoders that an encoder is compared with, where one is refused: SAM-HQ's neck without a global block."""

from __future__ import annotations

from samattn_cli import load_config
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.grid import Grid
from samattn_cli.studies.sweep import sweep

HQ = ("neck=sam_hq", "depth=2", "global_attn_indexes=0", "image_size=256")


def test_an_encoder_that_needs_a_global_block_is_not_compared_with_windows_alone():
    report = analyze(load_config("sam_vit_b", HQ), verify=False)
    assert report.comparison.vs_all_window is None
    assert report.comparison.vs_all_global.params > 0
    assert not any("global_attn_indexes=none" in change.set for change in report.changes)


def test_a_sweep_of_it_has_no_column_of_windows_alone():
    columns = sweep(["sam_vit_b"], Grid(batch_sizes=(1, 2)), ["flops"], laid_over=list(HQ)).columns
    assert {"flops", "flops_all_global"} <= columns.keys()
    assert not any("all_windowed" in name for name in columns)
