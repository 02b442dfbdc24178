"""Where a layer attends: the windows over a grid, worked out by hand, and what is wrong with them."""

from __future__ import annotations

import pytest

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.applicable_keys import mapping_of
from samattn_cli.encoder.placement import EVERYWHERE, Along, Placement
from samattn_cli.errors import ConfigError
from samattn_cli.studies.passes import Passes
from tests.support.problems import messages_of, problems_of

SMALL = {
    "image_size": 48,
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 4,
    "num_heads": 2,
    "num_windows_side": 4,
    "global_attn_indexes": [1, 3],
}

OVER = {
    "everywhere": (EVERYWHERE, (40, 40), (40, 40), (1, 1), (40, 40)),
    "windows of a size, padded": (Placement((14, 14)), (64, 64), (14, 14), (5, 5), (70, 70)),
    "windows of a size, the last ones smaller": (
        Placement((8, 8), pads=False),
        (18, 14),
        (8, 8),
        (3, 2),
        (18, 14),
    ),
    "a number of windows": (Placement(count=(4, 2)), (40, 44), (10, 22), (4, 2), (40, 44)),
    "the same number on a larger grid": (Placement(count=(4, 2)), (80, 44), (20, 22), (4, 2), (80, 44)),
}
WORDS = {
    "global": EVERYWHERE,
    "window 14x14": Placement((14, 14)),
    "7x7 shift 3": Placement((7, 7), shift=(3, 3)),
    "7x4 shift 3x2": Placement((7, 4), shift=(3, 2)),
    "4x4 windows": Placement(count=(4, 4)),
    "4x2 windows shift 3": Placement(count=(4, 2), shift=(3, 3)),
}
SETTINGS = {
    "window_size=0x0": EVERYWHERE,
    "window_size=14x7": Placement((14, 7)),
    "num_windows_side=4x2": Placement(count=(4, 2)),
}


def small(*overrides: str, **changes: object) -> EncoderConfig:
    keys = {key: value for key, value in {**SMALL, **changes}.items() if value is not None}
    return load_config(keys, list(overrides))


@pytest.mark.parametrize(("placement", "grid", "size", "counts", "covered"), OVER.values(), ids=OVER)
def test_windows_over_a_grid(placement, grid, size, counts, covered) -> None:
    windows = placement.over(grid)
    assert (windows.size, windows.counts, windows.covered) == (size, counts, covered)


def test_smaller_last_windows_are_told_apart() -> None:
    assert Placement((8, 8), pads=False).over((18, 14)) == (Along(8, 2, 2), Along(8, 1, 6))


@pytest.mark.parametrize(("words", "placement"), WORDS.items(), ids=WORDS)
def test_a_placement_in_words(words: str, placement: Placement) -> None:
    assert placement.words == words
    assert placement.is_global == (words == "global")


@pytest.mark.parametrize(("setting", "placement"), SETTINGS.items(), ids=SETTINGS)
def test_the_setting_that_says_a_placement_is_read_as_it(setting: str, placement: Placement) -> None:
    assert placement.setting == setting
    made = small(setting, image_size=448, global_attn_indexes="none")
    assert {layer.placement for layer in made.layers} == {placement}


def test_what_is_global_has_no_windows_to_shift() -> None:
    assert EVERYWHERE.shifted((3, 3)) == EVERYWHERE
    assert not EVERYWHERE.shifted((3, 3)).is_shifted


def test_one_window_is_not_a_window_at_all() -> None:
    """As RF-DETR's num_windows says: "If 1, no windowed attention is used"."""
    made = small(num_windows_side=1)
    assert all(layer.is_global for layer in made.layers)
    assert not made.has_windows


def test_a_number_of_windows_is_kept_at_every_resolution() -> None:
    for side, window in ((48, 3), (64, 4), (1024, 64)):
        first = small(image_size=side).layers[0]
        assert (first.windows.counts, first.windows.size, first.window_size) == (
            (4, 4),
            (window, window),
            (window, window),
        )


def test_a_placement_elsewhere_keeps_the_number() -> None:
    words = ["4x4 windows", "global"]
    assert [layer.attends for layer in small().layers] == words * 2
    assert [layer.attends for layer in small().all_windowed().layers] == words[:1] * 4
    assert [layer.attends for layer in small().all_global().layers] == words[1:] * 4


def test_some_blocks_may_have_another_number_or_a_size() -> None:
    overrides = [
        {"blocks": [0], "num_windows_side": [2, 6]},
        {"blocks": [2], "window_size": 5},
        {"blocks": [3], "window_size": 0},
    ]
    made = small(overrides=overrides, global_attn_indexes=[1])
    words = ["2x6 windows", "global", "window 5x5", "global"]
    assert [layer.attends for layer in made.layers] == words
    assert [layer.attends for layer in made.all_windowed().layers] == [
        "2x6 windows",
        "4x4 windows",
        "window 5x5",
        "4x4 windows",
    ]
    assert load_config(mapping_of(made)) == made


@pytest.mark.parametrize(
    ("changes", "words"),
    [("window_size=7", "window 7x7"), ("window_size=0", "global"), ("num_windows_side=2", "2x2 windows")],
)
def test_a_key_laid_over_takes_the_place_of_the_other(changes: str, words: str) -> None:
    assert small(changes).layers[0].attends == words


def test_a_number_laid_over_a_preset_takes_the_place_of_its_window() -> None:
    made = load_config("sam_vit_b", ["num_windows_side=4"])
    assert [made.layers[at].attends for at in (0, 2)] == ["4x4 windows", "global"]
    assert "window_size" not in mapping_of(made)["stages"][0]
    assert load_config(mapping_of(made)) == made


def test_a_file_that_extends_another_replaces_its_window(tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("extends: sam_vit_b\nnum_windows_side: 8\n", "utf-8")
    assert load_config(path).layers[0].attends == "8x8 windows"


OF_A_SIZE = "config: [unused-key] hiera num_windows_side sam_adapter sam_lora vit vitdet"
BAD = {
    "a grid that is not a whole number of windows": (
        {"image_size": [40, 48]},
        "config: [not-divisible] num_windows_side 4 0 10x12 4x4 image_size [32, 48] 48",
    ),
    "fewer rows than windows": (
        {"image_size": [8, 48]},
        "config: [not-divisible] num_windows_side 4 0 2x12 4x4 image_size [16, 48]",
    ),
    "both keys in a stage": (
        {"window_size": 0},
        "config: [conflicting-keys] window_size num_windows_side",
    ),
    "both keys in an override": (
        {"overrides": [{"blocks": [0], "window_size": 2, "num_windows_side": 2}]},
        "config: [conflicting-keys] window_size num_windows_side",
    ),
    "a window from one override and a number from another": (
        {"overrides": [{"blocks": [0], "window_size": 2}, {"blocks": [0], "num_windows_side": 2}]},
        "config: [duplicate-override] num_windows_side 0",
    ),
    "a number for a block that is named global": (
        {"overrides": [{"blocks": [1], "num_windows_side": 2}]},
        "config: [override-of-global-block] 1 global_attn_indexes",
    ),
    "a block that has windows of a size only": ({"block": "hiera"}, OF_A_SIZE),
    "the same in an override alone": (
        {
            "block": "hiera",
            "num_windows_side": None,
            "overrides": [{"blocks": [0], "num_windows_side": 2}],
        },
        OF_A_SIZE,
    ),
    "no window": ({"num_windows_side": 0}, "config: [out-of-range] num_windows_side 1 0"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_reported(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small(**changes)
    assert problems_of(caught) == [said]


def test_one_window_for_a_global_block_changes_nothing() -> None:
    same = small(overrides=[{"blocks": [1], "num_windows_side": 1}])
    assert [layer.placement for layer in same.layers] == [layer.placement for layer in small().layers]


def test_num_windows_is_explained_as_it_counts_otherwise() -> None:
    with pytest.raises(ConfigError) as caught:
        small("num_windows=16")
    assert messages_of(caught) == ["[unknown-key] 'num_windows' 'num_windows_side' LW-DETR RF-DETR"]


def test_windows_of_an_override_alone_are_compared_with_too() -> None:
    """Whether there is a window is asked of the overrides as well as of the stages."""
    alone = small(
        num_windows_side=None, global_attn_indexes=[], overrides=[{"blocks": [0], "window_size": 3}]
    )
    assert alone.has_windows
    windowed = Passes(alone).all_windowed
    assert windowed is not None
    assert windowed.figures.flops == Passes(alone).figures.flops < Passes(alone).all_global.figures.flops
    assert Passes(small(num_windows_side=None)).all_windowed is None
