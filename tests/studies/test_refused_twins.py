"""Encoders next to the one that is asked about, some of which are refused: windows alone with SAM-HQ's neck, other sizes."""

from __future__ import annotations

from samattn_cli import load_config
from samattn_cli.errors import code_of
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.candidates import grown, resolution
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


def test_an_aspect_that_no_size_can_have_is_refused_by_what_forbids_it():
    sam = load_config("sam_vit_b", ["implementation=transformers"])
    candidates = grown(sam, resolution(sam, (3, 2)), 1 << 30)
    assert (len(candidates), code_of(candidates.end)) == (0, "implementation-cannot-run")
