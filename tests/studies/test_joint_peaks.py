"""Peaks at many sizes from one pass of each part are, at each, those of a pass of that encoder."""

import numpy as np
import pytest

from samattn_cli import load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.figures import PEAKS
from samattn_cli.studies.candidates import grown, own_aspect, resolution
from samattn_cli.studies.joint_peaks import joint_peaks
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.piecewise import is_piecewise
from samattn_cli.studies.points import at
from samattn_cli.studies.readers import FIGURES
from samattn_cli.tape.symbols.lanes import Lanes, Lot

METRICS = [PEAKS["inference"], PEAKS["training"]]
HUGE = 1 << 50
TINY = {"in_chans": 3, "embed_dim": 32, "depth": 2, "num_heads": 2, "image_size": 32, "patch_size": 4}
SWIN = {"block": "swin", "depth": 2, "window_size": 4}
TWO_STAGES = {
    "image_size": 32,
    "in_chans": 3,
    "patch_size": 4,
    "stages": [
        SWIN | {"embed_dim": 16, "num_heads": 2},
        SWIN | {"embed_dim": 32, "num_heads": 4, "transition": "patch_merging"},
    ],
}
ENCODERS = {
    "sam": TINY | {"window_size": 3, "global_attn_indexes": [1], "rel_pos": "decomposed"},
    "swin": TWO_STAGES,
}
RUNS = [{}, {"attention": "sdpa", "dtype": "bfloat16", "checkpointing": True}]


def compare(config, sides):
    """Each peak; or False if the parts of the encoder cannot be run one by one."""
    points = {"height": np.array(sides), "width": np.array(sides)}
    found = joint_peaks(config, points, METRICS, HUGE)
    if found is None:
        return False
    for place, side in enumerate(sides):
        passes = Passes(at(config, {"height": side, "width": side}))
        for metric in METRICS:
            assert found[metric][place] == FIGURES[metric](passes), (side, metric)
    return True


WIDE = pytest.mark.exhaustive
CASES = [("sam", 0), ("swin", 1), *(pytest.param(*case, marks=WIDE) for case in [("sam", 1), ("swin", 0)])]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_peaks_of_each_size(name, number):
    assert compare(load_config(ENCODERS[name] | {"run": RUNS[number]}), [*range(4, 60, 8), 48, 96])


@pytest.mark.parametrize("windows", [[2, 2], pytest.param([1, 4], marks=WIDE)])
def test_a_block_is_shifted_in_some_encoders_along_one_axis_alone(windows):
    """Where windows cover the grid along an axis, they are not shifted along it."""
    config = load_config(TINY | SWIN | {"window_size": windows})
    heights, widths = np.array([8, 20, 24, 32, 52]), np.array([24, 4, 12, 32, 36])
    found = joint_peaks(config, {"height": heights, "width": widths}, METRICS, HUGE)
    assert found is not None
    for place, (height, width) in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
        passes = Passes(at(config, {"height": height, "width": width}))
        expected = {metric: FIGURES[metric](passes) for metric in METRICS}
        assert {metric: found[metric][place] for metric in METRICS} == expected, (height, width)


def test_a_relation_that_holds_in_some_lanes_leaves_the_others():
    lot = Lot(np.arange(4))
    side = lot.of(np.array([6, 7, 8, 9]))
    assert side % 3 == 0  # of 6 and 9
    assert lot.left.tolist() == [0, 3]
    assert [places.tolist() for places in lot.taken()] == [[1, 2]]
    assert side > 5
    assert lot.left.tolist() == [0, 3]


def test_lanes_with_one_number_are_that_number():
    lot = Lot(np.arange(2))
    assert lot.of(np.array([5, 5])) == 5
    assert isinstance(lot.of(np.array([5, 6])), Lanes)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", presets())
def test_peaks_of_each_preset(name):
    """At its smallest sizes, and at some around its own."""
    config = load_config(name)
    if len(config.image_size) != 2:
        pytest.skip("not of images")
    candidates = grown(config, resolution(config, own_aspect(config)), 1 << 24)
    if not len(candidates):
        pytest.skip("it has one size")
    if any(part.taps or part.holds for part in config.plan) or not is_piecewise(config, training=True):
        pytest.skip("its parts depend on each other")
    square = [side for side, wide in zip(*candidates.points.values(), strict=True) if side == wide]
    assert compare(config, [int(side) for side in square[:12] + square[12:100:9]]) or not square


def test_gradients_of_the_step_before_that_live_through_the_forward():
    config = load_config(ENCODERS["swin"] | {"run": {"mode": "training", "zero_grad": "after_forward"}})
    assert compare(config, [8, 16, 24, 32, 40]) is not False
