"""Sums of an encoder without its operations: equal to those of a forward, and shared by encoders whose parts read the same keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from samattn_cli import load_config
from samattn_cli.encoder.plan import LayerConfig, PartConfig
from samattn_cli.encoder.presets import presets
from samattn_cli.encoder.reads import value_at, watched
from samattn_cli.errors import ConfigError
from samattn_cli.tape import counted as of_counted
from samattn_cli.tape.counted import SUMS, counted
from samattn_cli.tape.driver import call
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.tape import Tape
from tests.support.passes import forget_passes

SMALL = ("image_size=256", "depth=4", "global_attn_indexes=[1,3]")
WIDE: tuple[tuple[str, ...], ...] = (
    (),
    ("in_chans=4",),
    ("run.batch_size=96",),
    ("run.dtype=bfloat16",),
    ("run.attention=fused",),
    ("run.autocast=bfloat16",),
    ("run.mode=training",),
    ("run.mode=training", "run.trains=neck", "run.autocast=bfloat16"),
    ("run.grad=true", "run.attention=sdpa"),
    ("implementation=transformers",),
    ("implementation=timm",),
)


def check(name: str, overrides: Sequence[str]) -> None:
    """The sums of each part and block are those of its recording in a forward."""
    config = load_config(name, overrides)
    found, expected = counted(config), forward(config)
    for key in SUMS:
        assert found.total(key) == expected.total(key)
    for ours, theirs in zip(found.segments, expected.segments, strict=True):
        assert (ours.name, ours.layer) == (theirs.name, theirs.layer)
        for key in SUMS:
            assert getattr(ours.recording, key) == getattr(theirs.recording, key), (ours.name, key)


@pytest.mark.parametrize(
    "change",
    [
        (),
        ("in_chans=4",),
        ("depth=6",),
        ("window_size=8",),
        ("image_size=192",),
        ("out_chans=128",),
        ("rel_pos=none",),
        ("run.batch_size=3",),
        ("run.autocast=bfloat16",),
    ],
)
def test_sums_are_those_of_a_forward_next_to_encoders_that_differ_in_a_key(change: tuple[str, ...]) -> None:
    counted(load_config("sam_vit_b", SMALL))
    check("sam_vit_b", (*SMALL, *change))


@pytest.mark.parametrize("name", ["sam2_hiera_t", "lw_detr_tiny", "qwen2_5_vl_vision"])
def test_sums_of_parts_that_take_outputs_of_earlier_ones(name: str) -> None:
    check(name, ())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", presets())
def test_sums_of_all_presets(name: str) -> None:
    for overrides in WIDE:
        try:
            load_config(name, overrides)
        except ConfigError:
            continue  # this family does not have it
        check(name, overrides)


def test_a_part_is_run_again_only_if_a_key_that_it_reads_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_passes()
    counted(load_config("sam_vit_b", SMALL))
    ran = list[str]()

    def noted(tape: Tape, part: PartConfig | LayerConfig, *others: Any) -> Any:
        ran.append(part.name)
        return call(tape, part, *others)

    monkeypatch.setattr(of_counted, "call", noted)
    counted(load_config("sam_vit_b", (*SMALL, "in_chans=4", "depth=6", "name=other")))
    assert ran == ["patch_embed"]  # nothing else reads the channels of the image
    ran.clear()
    counted(load_config("sam_vit_b", (*SMALL, "window_size=8")))
    assert ran == ["blocks.0"]
    ran.clear()
    counted(load_config("sam_vit_b", (*SMALL, "out_chans=128")))
    assert ran == ["neck"]


def test_a_watched_config_notes_the_keys_behind_what_is_computed() -> None:
    config = load_config("swin_t")
    reads: dict[tuple[str | int, ...], object] = {}
    seen = watched(config, reads)
    assert seen.stages[1].mlp_dim == config.stages[1].mlp_dim == 192 * 4
    assert seen.run.product_dtype == "float32"
    assert seen.stages[1] is seen.stages[1]
    assert set(reads) == {
        ("stages", "#"),
        ("stages", 1, "embed_dim"),
        ("stages", 1, "mlp_ratio"),
        ("run", "autocast"),
        ("run", "dtype"),
        ("run", "mode"),
    }
    assert {path: value_at(config, path) for path in reads} == reads
    with pytest.raises(LookupError):
        value_at(load_config("sam_vit_b"), ("stages", 1, "embed_dim"))


def test_who_compares_a_watched_config_reads_all_of_it() -> None:
    config = load_config("sam_vit_b")
    reads: dict[tuple[str | int, ...], object] = {}
    assert watched(config, reads) == config
    assert isinstance(watched(config, {}), type(config))
    assert ("neck",) in reads
    assert ("stages", 0, "depth") in reads
    assert ("run", "batch_size") in reads
