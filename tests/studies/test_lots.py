"""Columns that are computed where they are asked for, and points that are split into parts."""

from itertools import product
from math import prod

import numpy as np
import pytest

from samattn_cli import load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.errors import UsageError
from samattn_cli.studies.grid import Grid, arrays, groups_of
from samattn_cli.studies.lots import Group, Lot
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.points import AXES, at, figures_over
from samattn_cli.studies.readers import FIGURES
from samattn_cli.studies.repeated import Computed, Repeated
from samattn_cli.studies.sweep import sweep
from samattn_cli.tape.symbols.space import Space

RECALLED = Space.recalled
VALUES = np.array([7, 8, 9])
WHOLE = np.array([7, 7, 8, 8, 9, 9, 7, 7, 8, 8, 9, 9])


def test_a_repeated_column_is_the_array_of_its_rows():
    column = Repeated(VALUES, 2, 12)
    assert (len(column), column.dtype) == (12, VALUES.dtype)
    assert np.array_equal(column, WHOLE)
    assert list(column) == column.tolist() == WHOLE.tolist()
    assert [column[row] for row in (0, 5, 11, -1, -12)] == [7, 9, 9, 9, 7]
    for where in (slice(3, 8), slice(None), slice(10, 99), slice(-3, None), slice(8, 2, -2), slice(5, 5)):
        assert column[where].tolist() == WHOLE[where].tolist()
        assert VALUES[column.codes(where)].tolist() == WHOLE[where].tolist()
    assert column[WHOLE > 8].tolist() == [9, 9, 9, 9]
    assert column[np.array([0, -1])].tolist() == [7, 9]


def test_a_repeated_column_computes_as_an_array_does():
    column = Repeated(VALUES, 2, 12)
    assert (column + column).tolist() == (2 * column).tolist() == (WHOLE * 2).tolist()
    assert (column == 8).tolist() == (WHOLE == 8).tolist()
    assert np.multiply(column, 2, dtype=float).dtype == float
    assert np.asarray(column, float).dtype == column.astype(float).dtype == float
    assert (column.max(), column.sum()) == (9, 96)


@pytest.mark.parametrize("row", [12, -13])
def test_a_row_that_a_repeated_column_does_not_have(row):
    with pytest.raises(IndexError):
        Repeated(VALUES, 2, 12)[row]


GROUPS = {"height": [10, 20, 30], "window": [1, 2], "batch_size": [1, 2, 3, 4]}


def grid():
    """The groups of a grid; rows have the last coordinate vary fastest."""
    return [
        Group.of({name: np.array(values)}, stride)
        for (name, values), stride in zip(GROUPS.items(), (8, 4, 1), strict=True)
    ]


def points_of(groups):
    """The coordinates of each row of a lot."""
    lot = Lot(groups, [])
    rows = lot.rows(0, slice(None))
    points = {name: np.broadcast_to(values, rows.shape).ravel() for name, values in lot.points.items()}
    assert len(set(rows.ravel().tolist())) == rows.size
    return {
        int(row): {name: int(values[at]) for name, values in points.items()}
        for at, row in enumerate(rows.ravel())
    }


ALL = [dict(zip(GROUPS, values, strict=True)) for values in product(*GROUPS.values())]


@pytest.mark.parametrize(
    ("holds", "shape"),
    [
        (lambda point: point["height"] > 10, [3, 1, 1]),
        (lambda point: point["batch_size"] * point["height"] < 50, [3, 1, 4]),
        (lambda point: point["window"] + point["batch_size"] == 4, [1, 2, 4]),
        (lambda point: point["height"] * point["window"] * point["batch_size"] % 40 == 0, [3, 2, 4]),
    ],
)
@pytest.mark.parametrize("axis", [0, 2])
def test_a_split_keeps_every_point_with_its_row(holds, shape, axis):
    left = []
    lot = Lot(grid(), left)
    found = np.array([holds(point) for point in ALL]).reshape(3, 2, 4)
    some = found[tuple(slice(None) if side > 1 else slice(1) for side in shape)]
    chunks = np.split(some, some.shape[axis], axis)
    assert lot.split(chunks, axis).keys() == lot.points.keys() == GROUPS.keys()
    (others,) = left
    kept, rest = points_of(lot.groups), points_of(others)
    assert all(map(holds, kept.values()))
    assert not any(map(holds, rest.values()))
    assert kept | rest == dict(enumerate(ALL))
    assert len(kept) + len(rest) == len(ALL)


def test_a_lot_is_split_again():
    left = []
    lot = Lot(grid(), left)
    lot.split([np.array([False, True, True]).reshape(3, 1, 1)], 0)
    points = lot.points
    lot.split([points["height"] * points["batch_size"] > 60], 0)
    parts = [points_of(groups) for groups in (lot.groups, *left)]
    assert [len(part) for part in parts] == [6, 8, 10]  # of 2 windows: (20, 4), (30, 3), (30, 4)
    assert {row: point for part in parts for row, point in part.items()} == dict(enumerate(ALL))
    rows = np.concatenate([lot.rows(1, slice(at, at + 1)).ravel() for at in range(len(lot.groups[1].rows))])
    assert sorted(rows.tolist()) == sorted(parts[0])


def test_to_ask_a_column_for_what_an_array_has_not_computes_nothing():
    column = Computed(lambda _: pytest.fail("is computed"), np.dtype(int), 3)
    assert not hasattr(column, "codes")
    assert not hasattr(column, "__array_interface__")


def test_growth_and_other_placements_are_computed_where_they_are_asked_for():
    grid = Grid(resolutions=((256, 256), (320, 320), (512, 512)), windows=(4, 7), batch_sizes=(1, 3))
    columns = sweep(["sam_vit_b"], grid, ["flops"]).columns
    for name in ("padding", "flops_all_global", "flops_vs_all_global", "flops_growth"):
        whole = np.asarray(columns[name])
        assert isinstance(columns[name], Computed), name
        assert whole.shape == (12,)
        assert np.array_equal(np.concatenate([columns[name][:5], columns[name][5:]]), whole, equal_nan=True)
        assert np.array_equal(columns[name][np.array([11, 4])], whole[[11, 4]], equal_nan=True)
    flops = np.asarray(columns["flops"])
    growth = np.log(flops[1:] / flops[:-1]) / np.log([(320 / 256) ** 2, (512 / 320) ** 2, 9] * 4)[:11]
    growth[2::3] = np.nan  # the first resolution of the next line
    assert np.asarray(columns["flops_growth"])[1:] == pytest.approx(growth, nan_ok=True)
    assert columns["flops_all_global"].tolist() == columns["flops_all_global"].tolist()[:3] * 2 + (
        columns["flops_all_global"].tolist()[6:9] * 2
    )


def test_numbers_that_fit_in_63_bits_are_int64_even_where_bounds_do_not():
    windows, sides = np.array([[1], [64]]), np.array([[256, 4096]])
    space = Space({"window": windows, "side": sides})
    window, side = space.symbol("window"), space.symbol("side")
    padded = -(-side // window) * window  # bounds: up to 4096 * 64
    (evaluate,) = space.chunks()
    factor = 2**49  # 4096 * factor = 2**61 fits, 4096 * 64 * factor does not
    found = evaluate(padded * factor)
    assert found.dtype == np.int64
    assert found.tolist() == [[256 * factor, 4096 * factor]] * 2
    beyond = evaluate(padded * factor * 8)
    assert beyond.dtype == object
    assert beyond.tolist() == [[256 * factor * 8, 4096 * factor * 8]] * 2


def test_a_lot_of_few_points_is_taken_one_by_one():
    lot = Lot([Group.of({"height": np.array([16, 32])}, 3), Group.of({"window": np.array([7, 8, 14])})], [])
    alone = [Lot(groups, []) for groups in lot.one_by_one()]
    assert (lot.size, [each.size for each in alone]) == (6, [1] * 6)
    found = {
        int(each.rows(0, slice(None)).flat[0]): [int(values.flat[0]) for values in each.points.values()]
        for each in alone
    }
    assert found == {0: [16, 7], 1: [16, 8], 2: [16, 14], 3: [32, 7], 4: [32, 8], 5: [32, 14]}


SIZES = tuple((side, side + 4 * more) for side in range(12, 32, 4) for more in (0, 1))
"""Grids from 3 x 3 to 7 x 8 tokens of 4 pixels: smaller than the windows, padded and not, odd and even."""
SWIN = {
    "patch_size": 4,
    "patch_embed": "patch_norm",
    "pos_embed": "none",
    "stages": [
        {"block": "swin", "embed_dim": 8, "depth": 2, "num_heads": 2, "window_size": 3},
        {"block": "swin", "embed_dim": 8, "depth": 1, "num_heads": 2, "window_size": 3}
        | {"transition": "patch_merging"},
    ],
}


@pytest.mark.parametrize("mode", ["training", pytest.param("inference", marks=pytest.mark.exhaustive)])
def test_lots_that_share_blocks_have_the_figures_of_each_point(mode, monkeypatch):
    config = load_config({"image_size": 32, "run": {"mode": mode}} | SWIN)
    grid = Grid(resolutions=SIZES, windows=(3, 4), batch_sizes=(1, 2, 5))
    metrics = ["flops", "attention_bytes", {"inference": "peak_bytes", "training": "training_bytes"}[mode]]
    recalled = []
    monkeypatch.setattr(Space, "recalled", lambda *asked: recalled.append(RECALLED(*asked)) or recalled[-1])
    found = figures_over(config, groups_of(grid), metrics)
    assert len([segment for segment in recalled if segment]) > 8
    coordinates = arrays(grid)
    for row in range(0, prod(grid.shape), 5):
        alone = Passes(at(config, {name: int(values[row]) for name, values in coordinates.items()}))
        assert {name: found[name][row] for name in metrics} == {
            name: FIGURES[name](alone) for name in metrics
        }, row


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("name", presets())
def test_a_sweep_of_each_preset_has_the_figures_of_each_point(name, mode):
    config = load_config(name, [f"run.mode={mode}"])
    *frames, _, own = config.image_size
    unit = config.patch[-1]
    sides = sorted({max(own // 2 + step * unit, unit) for step in range(12)} | {own})
    sizes = tuple((*frames, side, side) for side in sides)
    windows = (4, 5, 8) if config.has_windows else ()
    metrics = ["flops", "attention_bytes", "peak_bytes", *(["training_bytes"] if mode == "training" else [])]
    batches = tuple(config.run.batch_size * images for images in (1, 2, 3))  # of volumes, whole ones
    for chosen in {(), windows}:
        try:
            report = sweep([config], Grid(resolutions=sizes, windows=chosen, batch_sizes=batches), metrics)
        except UsageError:
            assert chosen  # not each encoder takes one of these windows
            continue
        for row in range(0, report.points, 11):
            point = {axis: int(report.columns[axis][row]) for axis in AXES if axis in report.columns}
            alone = Passes(at(report.configs[0], point))
            found = {metric: int(report.columns[metric][row]) for metric in metrics}
            assert found == {metric: FIGURES[metric](alone) for metric in metrics}, point
