"""Candidates that are passed over the Tape together run as they do one by one, and a fit says what trying each one says."""

import numpy as np
import pytest

from samattn_cli import load_config
from samattn_cli.device.load import load_device
from samattn_cli.records import replace
from samattn_cli.studies.fit import MOST_TRIED, Asked, fit
from samattn_cli.studies.on_device import on, script_on
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.points import at
from samattn_cli.studies.together import runs_together

MIB = 1 << 20
CARD = load_device("rtx_4090", "rtx_4090")
SAM = {
    "image_size": 32,
    "in_chans": 3,
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "window_size": 3,
    "global_attn_indexes": [1],
    "rel_pos": "decomposed",
    "neck": "sam",
    "out_chans": 16,
}
SWIN = {
    "image_size": 32,
    "in_chans": 3,
    "patch_size": 4,
    "stages": [{"block": "swin", "embed_dim": 16, "depth": 2, "num_heads": 2, "window_size": 4}],
}
TWO_STAGES = SWIN | {
    "stages": [
        *SWIN["stages"],
        SWIN["stages"][0] | {"embed_dim": 32, "num_heads": 4, "transition": "patch_merging"},
    ]
}
ENCODERS = {"sam": SAM, "swin": SWIN, "two_stages": TWO_STAGES}
RUNS = [
    {"mode": "training"},
    {"attention": "sdpa", "dtype": "float16"},
    {"mode": "training", "attention": "sdpa"},
]


def compare(config, points):
    """The run of each candidate that was passed with others; how many were."""
    places = range(len(next(iter(points.values()))))
    found = runs_together(config, points, places, CARD)
    for run in [*found.values()][::2]:
        run.expect()  # they are written together
    for place, run in found.items():
        one = at(config, {axis: int(values[place]) for axis, values in points.items()})
        passes = on(Passes(one, CARD), CARD)
        script, _ = script_on(passes, CARD)
        assert (run.live_bytes, run.is_refused, run.script) == (passes.peak_bytes, False, script)
    return len(found)


WIDE = pytest.mark.exhaustive
CASES = [
    ("sam", 0),
    ("two_stages", 1),
    *(
        pytest.param(*case, marks=WIDE)
        for case in [("sam", 1), ("sam", 2), ("swin", 0), ("swin", 1), ("two_stages", 0), ("two_stages", 2)]
    ),
]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_run_of_each(name, number):
    run = RUNS[number]
    sides = np.array([20, 24, 28, 32, 36, 40, 44, 200, 204, 208, 212, 400, 404])
    config = load_config(ENCODERS[name] | {"run": run})
    assert compare(config, {"height": sides, "width": sides}) == len(sides)
    assert compare(config, {"batch_size": np.array([3, 4, 5, 6, 50])}) == 5


def test_parts_that_depend_on_each_other_are_passed_as_a_whole():
    """A neck taps stages, so that its encoder has no pieces; batches from 2 on have the same operations."""
    config = load_config("sam2_hiera_t", ["image_size=128"])
    assert compare(config, {"batch_size": np.arange(2, 7)}) == 5


def tried(config, card, numbers):
    """The largest batch that fits, and those that do not of as many below it as fit tries, each replayed by itself."""
    fits = {number: Passes(at(config, {"batch_size": number}), card).room.fits for number in numbers}
    largest = max(number for number, does in fits.items() if does)
    return largest, [
        number for number in numbers if largest - MOST_TRIED <= number < largest and not fits[number]
    ]


EDGES = [
    ("inference", 137),
    *(pytest.param(*case, marks=WIDE) for case in [("training", 90), ("training", 137)]),
]


@pytest.mark.parametrize(("mode", "usable"), EDGES)
def test_the_largest_batch_and_the_gaps_below_it_are_those_of_trying_each(mode, usable):
    card = replace(CARD, memory_bytes=CARD.reserved_bytes + usable * MIB)
    config = load_config(SAM | {"image_size": 96, "run": {"mode": mode}})
    asked = Asked(vary=["batch_size"], modes=[mode], kernels=["eager"])
    (answer,) = fit(config, card, asked).answers
    largest, gaps = tried(config, card, range(1, int(answer.label) + MOST_TRIED))
    assert answer.label == str(largest)
    assert 4 <= largest <= 40
    near = [int(gap.label) for gap in answer.gaps if int(gap.label) >= largest - MOST_TRIED]
    assert near == gaps


def test_blocks_that_do_not_pad_are_passed_one_by_one():
    """Their code runs each window of each image, so that no two batches have the same operations."""
    block = {"block": "qwen2_5_vl", "window_size": 4, "depth": 1, "embed_dim": 32, "num_heads": 2}
    whole = {"image_size": 96, "patch_size": 4, "patch_embed": "qwen2_5_vl", "pos_embed": "window_order"}
    card = replace(CARD, memory_bytes=CARD.reserved_bytes + 24 * MIB)
    asked = Asked(vary=["batch_size"], modes=["inference"], kernels=["eager"])
    config = load_config(whole | block)
    (answer,) = fit(config, card, asked).answers
    largest, _ = tried(config, card, range(1, int(answer.label) + 3))
    assert answer.label == str(largest)
