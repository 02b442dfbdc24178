"""The chart of a diff: each layer that changed, before and after."""

from samattn_cli import load_config
from samattn_cli.render import layout_of
from samattn_cli.studies.diff import diff
from samattn_cli.studies.passes import Passes


def passes(*settings: str) -> Passes:
    return Passes(load_config("sam_vit_b", ["depth=4", "image_size=256", *settings]))


def test_layers_that_changed_are_drawn_before_and_after() -> None:
    before, after = passes("global_attn_indexes=[1,3]"), passes("global_attn_indexes=[3]")
    report = diff(before, after)
    spec = layout_of(report).drawn(report, "")
    scores = next(panel for panel in spec["vconcat"] if panel["title"]["text"] == "score matrices")
    tokens, heads, windows = 16 * 16, 12, 4  # windows of 14x14, in which 16x16 tokens are padded to 28x28
    whole, cut = heads * tokens**2 * 4, windows * heads * (14 * 14) ** 2 * 4
    rows = {(row["layer"], row["side"]): row["exact"].split()[0] for row in scores["data"]["values"]}
    assert rows == {("1", "before"): f"{whole:,}", ("1", "after"): f"{cut:,}"}


def test_a_layer_that_was_added_has_one_bar() -> None:
    report = diff(passes("global_attn_indexes=[3]"), passes("global_attn_indexes=[3]", "depth=5"))
    spec = layout_of(report).drawn(report, "")
    (added,) = spec["vconcat"][0]["data"]["values"]
    assert (added["side"], added["note"].partition(":")[0]) == ("after", "added")


def test_equal_encoders_have_nothing_to_draw() -> None:
    report = diff(passes("global_attn_indexes=[3]"), passes("global_attn_indexes=[3]"))
    assert layout_of(report).drawn(report, "") is None
