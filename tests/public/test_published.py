from __future__ import annotations

from dataclasses import replace

import pytest

from samattn_cli import EncoderConfig, analyze, load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.published import FILE, NOT_OF_THIS_ENCODER, Published, Source, published
from samattn_cli.render.options import Options
from samattn_cli.render.pages.analysis import sections
from samattn_cli.reports.analysis import Analysis
from samattn_cli.reports.text import from_json, to_json
from samattn_cli.studies.against_published import compare
from samattn_cli.tape.conventions import (
    OURS,
    PUBLISHED,
    macs,
    modules_only,
    timm,
    timm_sdpa,
    without_attention,
    without_bias_mlp,
    without_rel_pos,
)
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.ops import Op
from samattn_cli.tape.segments import ForwardPass

ENTRIES = [(preset, entry) for preset, entries in published().items() for entry in entries]
HERE = [(preset, entry) for preset, entry in ENTRIES if preset in presets()]
REPRODUCED = [(preset, entry) for preset, entry in HERE if entry.convention in PUBLISHED]
OTHERS = [(preset, entry) for preset, entry in HERE if entry.convention in NOT_OF_THIS_ENCODER]
SOMEWHERE = Source("somewhere", "https://example.org", "today")


def names(entries: list[tuple[str, Published]]) -> list[str]:
    return [f"{preset}-{entry.figure}{entry.unit}-{entry.source.title}" for preset, entry in entries]


def counted(preset: str, image_size: int) -> ForwardPass:
    return forward(load_config(preset, [f"image_size={image_size}", "run={}"]))


def a_figure(figure: str, unit: str) -> Published:
    return Published(
        quantity="macs", figure=figure, unit=unit, image_size=1, source=SOMEWHERE, convention="macs"
    )


@pytest.mark.parametrize(("preset", "entry"), REPRODUCED, ids=names(REPRODUCED))
def test_a_convention_gives_the_figure_to_its_last_digit(preset: str, entry: Published):
    found = compare(entry, counted(preset, entry.image_size))
    assert found.equals, f"{entry.figure} {entry.unit} is not {found.count:,}"


@pytest.mark.parametrize(("preset", "entry"), OTHERS, ids=names(OTHERS))
def test_ours_differs_where_no_convention_gives_the_figure(preset: str, entry: Published):
    found = compare(entry, counted(preset, entry.image_size))
    assert not found.equals
    if entry.convention == "whole_model":  # has more than its encoder
        assert float(entry.figure) * 10**6 > found.count


@pytest.mark.parametrize(("preset", "entry"), OTHERS, ids=names(OTHERS))
def test_no_convention_at_all_gives_an_unexplained_figure(preset: str, entry: Published):
    forward_pass = counted(preset, entry.image_size)
    of_quantity = {
        name: tally for name, tally in PUBLISHED.items() if (tally.of is None) == (entry.quantity == "params")
    }
    if entry.convention == "unexplained":
        assert [name for name, tally in of_quantity.items() if entry.prints(tally(forward_pass))] == []


def test_there_are_figures_of_both_kinds():
    assert {preset for preset, _ in REPRODUCED} >= {"sam_vit_b", "sam_vit_l", "sam_vit_h"}
    assert {"632", "2734.8"} <= {entry.figure for _, entry in OTHERS}


def test_every_preset_that_has_figures_exists():
    assert published().keys() <= presets().keys()


def test_every_figure_has_a_known_convention_and_unit_and_the_others_a_note():
    for _, entry in ENTRIES:
        assert entry.unit in {"", "M", "G", "GMACs", "GFLOPs", "GFLOPS"}
        assert entry.convention in PUBLISHED.keys() | NOT_OF_THIS_ENCODER.keys()
        assert bool(entry.note) == (entry.convention in NOT_OF_THIS_ENCODER)
        if entry.convention in PUBLISHED:
            assert (PUBLISHED[entry.convention].of is None) == (entry.quantity == "params")


def test_every_source_has_an_address_and_is_used():
    for _, entry in ENTRIES:
        assert entry.source.address.startswith("https://")
        assert entry.source.seen
    listed = FILE.read_text("utf-8").count('"address": ')
    assert listed == len({entry.source for _, entry in ENTRIES})


@pytest.mark.parametrize(
    ("figure", "unit", "count", "same"),
    [
        ("17.6", "GMACs", 17_550_000_000, True),
        ("17.6", "GMACs", 17_549_999_999, False),
        ("17.6", "GMACs", 17_649_999_999, True),
        ("17.6", "GMACs", 17_650_000_000, False),
        ("28", "M", 28_288_354, True),
        ("86567656", "", 86_567_656, True),
        ("86567656", "", 86_567_655, False),
    ],
)
def test_a_figure_is_compared_to_its_printed_digits(figure, unit, count, same):
    assert a_figure(figure, unit).prints(count) == same


WINDOWED, WHOLE = 8, 4  # blocks of ViT-B
REL_POS = WINDOWED * 2 * 4900 * 14 * 768 + WHOLE * 2 * 4096 * 64 * 768
PRODUCTS = WINDOWED * 2 * 25 * 196 * 196 * 768 + WHOLE * 2 * 4096 * 4096 * 768
NORMS = 12 * 2 * 4096 * 768 + 2 * 4096 * 256  # elements, those of the neck too
MACS = 972_077_334_528 // 2


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        (macs, MACS),
        (without_rel_pos, MACS - REL_POS),
        (without_attention, MACS - PRODUCTS),
        (modules_only, MACS - PRODUCTS - REL_POS),
        (without_bias_mlp, MACS),
        (timm, MACS + 5 * NORMS),
        (timm_sdpa, MACS + 5 * NORMS - PRODUCTS),
    ],
)
def test_conventions_worked_out_by_hand_for_sam_vit_b(convention, expected):
    ops = [op for segment in counted("sam_vit_b", 1024).segments for op in segment.recording.ops]
    assert sum(map(convention, ops)) == expected


@pytest.mark.parametrize("kernel", ["sdpa", "fused"])
def test_the_products_of_a_fused_kernel_are_products_of_attention(kernel):
    ops = forward(load_config("sam_vit_b", f"run.attention={kernel}")).segments[4].recording.ops
    assert (
        sum(map(macs, ops))
        > sum(map(without_attention, ops))
        == sum(op.macs for op in ops if op.kind != "sdpa")
    )


def test_the_mlp_of_position_biases_is_recognized_by_its_module():
    assert without_bias_mlp(Op("linear", "linear", "attn.cpb_mlp.0", macs=7)) == 0
    assert without_bias_mlp(Op("linear", "linear", "attn.proj", macs=7)) == 7


def test_a_head_adds_its_weights_and_a_bias_that_is_not_a_mac():
    forward_pass = counted("sam_vit_b", 1024)
    added = {
        name: tally(forward_pass) - replace(tally, classes=0)(forward_pass)
        for name, tally in PUBLISHED.items()
    }
    assert added["macs_with_head"] == added["timm_with_head"] == 768 * 1000
    assert added["parameters_with_head"] == 768 * 1000 + 1000
    assert added["parameters_with_21k_head"] == 768 * 21_843 + 21_843
    assert added["parameters"] == added["macs"] == added["flops"] == 0


def test_without_the_neck_the_neck_is_not_counted():
    forward_pass = counted("sam_vit_b", 1024)
    without, whole = (PUBLISHED[name](forward_pass) for name in ("parameters_without_neck", "parameters"))
    assert whole - without == 256 * 768 + 589_824 + 1_024


def test_ours_are_the_totals_of_the_pass():
    forward_pass = counted("sam_vit_h", 1024)
    assert {quantity: tally(forward_pass) for quantity, tally in OURS.items()} == {
        "params": forward_pass.params,
        "macs": forward_pass.macs,
        "flops": forward_pass.flops,
    }


def shown(report: Analysis) -> list[str]:
    found = sections(report, Options(full=True, width=80))
    return [row for section in found if section.title == "Published" for row in section.rows]


def report(config: EncoderConfig) -> Analysis:
    return analyze(config, verify=False)


def test_analyze_says_what_was_published_and_by_which_convention():
    lines = shown(report(load_config("sam_vit_h")))
    assert "637.03 M parameters (timm, 2024): ours" in lines
    assert "2973 GMACs (EfficientViT-SAM): ours as MACs without relative positions" in lines
    assert "632 M parameters (MobileSAM): differs: a nominal size, a plain ViT-H" in lines
    assert len(lines) == len(published()["sam_vit_h"])


def test_every_line_fits_a_terminal():
    analysis, any_pass = report(load_config("sam_vit_b", "image_size=64")), counted("sam_vit_b", 64)
    found = [replace(compare(entry, any_pass), equals=entry.convention in PUBLISHED) for _, entry in ENTRIES]
    for line in shown(replace(analysis, published=tuple(found))):
        assert len(f"  - {line}") <= 80, line


def test_a_report_brings_what_was_published_back_from_json():
    analysis = report(load_config("sam_vit_b"))
    assert analysis.published
    assert from_json(to_json(analysis)) == analysis


@pytest.mark.parametrize(
    "override", ["run.dtype=bfloat16", "run.batch_size=2", "run.attention=fused", "run.mode=training"]
)
def test_how_an_encoder_is_run_changes_nothing_that_was_published(override):
    assert report(load_config("sam_vit_b", override)).published == report(load_config("sam_vit_b")).published


@pytest.mark.parametrize(
    "override", ["image_size=512", "image_size=[1024, 512]", "window_size=8", "in_chans=4", "neck=none"]
)
def test_nothing_was_published_for_a_changed_preset(override):
    assert report(load_config("sam_vit_b", override)).published == ()


def test_nothing_was_published_for_an_encoder_of_ones_own():
    assert report(load_config("custom_encoder")).published == ()
    assert report(replace(load_config("sam_vit_b"), name="vit_b")).published == ()
