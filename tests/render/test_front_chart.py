"""The chart of a search's front: a point for each placement, one's own among them."""

from samattn_cli import compare_placements, load_config
from samattn_cli.render import layout_of
from samattn_cli.studies.placements.exhaustive import asked

CONFIG = load_config("sam_vit_b", ["depth=4", "image_size=256", "global_attn_indexes=[1,3]"])


def test_points_are_the_front_and_the_own_placement() -> None:
    report = compare_placements(CONFIG, (), search=asked("1:2", None, None))
    spec = layout_of(report).drawn(report, "front")
    rows = {row["name"]: row for row in spec["data"]["values"]}
    front = {", ".join(map(str, row.global_layers)): row for row in report.search.front}
    assert set(front) | {"1, 3"} == set(rows)
    assert [name for name, row in rows.items() if row["which"] == "own placement"] == ["1, 3"]
    for name, row in front.items():
        assert rows[name]["y"] == row.flow.first_full_context
        assert rows[name]["shade"] == row.flow.longest_without_global
        assert rows[name]["exact"].startswith(f"{row.figures.flops:,} FLOP")


def test_without_a_search_there_is_no_front() -> None:
    report = compare_placements(CONFIG, ("all",))
    assert layout_of(report).drawn(report, "front") is None
    assert layout_of(report).drawn(report, "") is not None
