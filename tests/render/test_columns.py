"""Columns written as CSV and Parquet, against Python's `csv` and against the values themselves."""

import csv
import io
import math

import numpy as np
import pytest

from samattn_cli.render.formats import columns as parts
from samattn_cli.render.formats import csv_columns
from samattn_cli.studies.repeated import Repeated

FLOATS = [0.0, -0.0, 1.0, 1e-5, 0.0001, 0.1 + 0.2, 123456789.5, 1e9, 1e15, 1e16, 1.5e300, 5e-324]
FLOATS += [-value for value in FLOATS] + [math.inf, -math.inf, math.nan]
NAME = 'a "quoted", and\nbroken name'


def objects(values):
    column = np.empty(len(values), object)
    column[:] = values
    return column


def columns():
    rows = len(FLOATS)
    return {
        NAME: Repeated(objects([NAME, "plain", "", None]), 2, rows),
        "float": np.array(FLOATS),
        "int": np.array([-(2**63), 2**63 - 1, 0] * (rows // 3)),
        "large": objects([2**63, -(2**80), 7] * (rows // 3)),
        "bool": np.arange(rows) % 2 == 0,
        "mixed": objects([None, math.nan, -0.0, True, 1, "1,5", 1e16, 1e-5, 2.5] * (rows // 9)),
        "repeated": Repeated(np.array([1e-5, -0.0, 64.0]), 1, rows),
    }


def by_csv(table):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table), lineterminator="\n")
    writer.writeheader()
    for row in zip(*(np.asarray(column).tolist() for column in table.values()), strict=True):
        known = (None if value != value else value for value in row)  # noqa: PLR0124 - not a number
        writer.writerow(dict(zip(table, known, strict=True)))
    return text.getvalue()


@pytest.mark.parametrize("arrow", [False, True], ids=["python", "arrow"])
@pytest.mark.parametrize("rows", [27, 4], ids=["whole", "pieces"])
def test_csv_is_what_python_writes(monkeypatch, arrow, rows):
    if arrow:
        pytest.importorskip("pyarrow")
        monkeypatch.setattr(csv_columns, "MANY", 1)
    monkeypatch.setattr(parts, "ROWS", rows)
    assert b"".join(csv_columns.lines(columns())).decode() == by_csv(columns())


@pytest.mark.parametrize("installed", [True, False])
def test_many_rows_are_written_by_arrow_if_it_is_installed(monkeypatch, installed):
    ways = []
    monkeypatch.setattr(csv_columns, "find_spec", lambda name: name == "pyarrow" and installed)
    monkeypatch.setattr(csv_columns, "_by_arrow", lambda _: ways.append("arrow") or b"")
    monkeypatch.setattr(csv_columns, "_by_python", lambda _: ways.append("python") or iter(()))
    for count in (csv_columns.MANY - 1, csv_columns.MANY):
        list(csv_columns.lines({"x": Repeated(np.array([1, 2]), 1, count)}))
    assert (ways[0], set(ways[1:])) == ("python", {"arrow" if installed else "python"})


def test_a_file_of_parquet_has_groups_of_rows(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet_columns = pytest.importorskip("samattn_cli.render.formats.parquet_columns")

    count = parquet_columns.GROUP + 3
    table = {
        "number": Repeated(np.array([5, 6, 7]), 1, count),
        "name": Repeated(objects(["a", "b"]), 4, count),
        "none": Repeated(np.array([math.nan]), 1, count),
    }
    with (tmp_path / "x.parquet").open("wb") as file:
        parquet_columns.write_columns(table, file)
    read = parquet.ParquetFile(tmp_path / "x.parquet")
    assert [read.metadata.row_group(at).num_rows for at in range(read.num_row_groups)] == [1 << 20, 3]
    last = read.read_row_group(1).to_pydict()
    # row 1,048,576 is 1 more than a multiple of 3, and a multiple of 8
    assert last == {"number": [6, 7, 5], "name": ["a"] * 3, "none": [None] * 3}


def test_parquet_keeps_every_value(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet_columns = pytest.importorskip("samattn_cli.render.formats.parquet_columns")

    monkeypatch.setattr(parts, "ROWS", 4)
    monkeypatch.setattr(parquet_columns, "ROWS", 4)
    monkeypatch.setattr(parquet_columns, "GROUP", 8)
    table = columns()
    with (tmp_path / "x.parquet").open("wb") as file:
        parquet_columns.write_columns(table, file)
    read = parquet.read_table(tmp_path / "x.parquet").to_pydict()
    assert read["int"] == table["int"].tolist()
    assert list(map(repr, read["float"])) == [
        "None" if math.isnan(value) else repr(value) for value in table["float"].tolist()
    ]
    assert read["large"] == list(map(str, table["large"].tolist()))  # beyond 63 bits: as text
    assert read["bool"] == table["bool"].tolist()
    assert read[NAME] == table[NAME].tolist()
    assert list(map(repr, read["repeated"])) == list(map(repr, table["repeated"].tolist()))
