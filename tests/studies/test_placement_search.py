from itertools import combinations
from math import comb

import numpy as np
import pytest

from samattn_cli import load_config
from samattn_cli.device.load import load_device
from samattn_cli.encoder.placed import placed
from samattn_cli.errors import UsageError, code_of
from samattn_cli.render.elements import Table
from samattn_cli.render.options import Options
from samattn_cli.render.pages.placements import page
from samattn_cli.studies.flow import flow_of, windowed_flow
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements import masks as masks_module
from samattn_cli.studies.placements.budget import METRICS, budget
from samattn_cli.studies.placements.compare import compare_placements
from samattn_cli.studies.placements.exhaustive import MOST, asked
from samattn_cli.studies.placements.groups import Grouped
from samattn_cli.studies.placements.masks import masks
from samattn_cli.studies.placements.pieces import NEEDED
from samattn_cli.studies.placements.placing import movable
from samattn_cli.studies.placements.table import table_of
from samattn_cli.units import format_bytes
from tests.support.sampling import sampled

TRAINING = "run.mode=training"
PLAIN = ["image_size=160", "embed_dim=48", "num_heads=3", "window_size=4", "global_attn_indexes=[1]"]
CASES = {
    "vit": ("sam_vit_b", [*PLAIN, "depth=5"]),
    "vit, autocast": ("sam_vit_b", [*PLAIN, "depth=5", "run.autocast=bfloat16", TRAINING]),
    "vit, checkpointing, shifts": (
        "sam_vit_b",
        [*PLAIN, "depth=4", "shift_size=2", "run.checkpointing=true", "run.optimizer=sgd", TRAINING],
    ),
    "vitdet, a pyramid, sdpa": (
        "vitdet_b_fpn",
        [*PLAIN, "depth=4", "run.attention=sdpa", "run.dtype=bfloat16"],
    ),
    "swin": ("swin_t", ["image_size=112", TRAINING]),
    "hiera": ("sam2_hiera_t", ["image_size=256", TRAINING]),
    "vit, the first step": ("sam_vit_b", [*PLAIN, "depth=3", TRAINING, "run.step=first"]),
    "vit, micro-batches": ("sam_vit_b", [*PLAIN, "depth=3", TRAINING, "run.accumulate=3"]),
    "vit, gradients in the forward": (
        "sam_vit_b",
        [*PLAIN, "depth=3", TRAINING, "run.zero_grad=after_forward"],
    ),
    "vit, a moving average and a scaler": (
        "sam_vit_b",
        [*PLAIN, "depth=3", TRAINING, "run.ema=true", "run.grad_scaler=true", "run.autocast=float16"],
    ),
    "vit, without no_grad": ("sam_vit_b", [*PLAIN, "depth=3", "run.grad=true"]),
}


@pytest.mark.parametrize("case", sampled(CASES, 4))
def test_the_table_says_what_real_passes_say(case):
    """Every placement of up to five layers; of more those of one global layer, all but one, and some pairs."""
    preset, overrides = CASES[case]
    config, device = load_config(preset, overrides), load_device("h100")
    layers, flow = movable(config), windowed_flow(config)
    table = table_of(config, layers, flow, device=device, training=True)
    numbers = range(len(layers) + 1) if len(layers) <= 5 else (0, 1, len(layers) - 1)
    chosen = [each for number in numbers for each in combinations(layers, number)]
    chosen += list(combinations(layers, 2))[::5] if len(layers) > 5 else []
    chunk = np.array([table.mask(each) for each in chosen])
    grouped = Grouped.of(table, config.name)
    told, runs = grouped.figures(chunk, list(NEEDED)), grouped.runs(chunk)
    for at, each in enumerate(chosen):
        figures = Passes(placed(config, each), device).figures
        for name in ("params", "macs", "flops", "peak_bytes", "training_bytes"):
            assert told[name][at] == getattr(figures, name), (name, each)
        assert told["latency_ps"][at] / 1e9 == pytest.approx(figures.latency_ms, abs=1e-6)
        facts = flow.facts(each)
        assert runs.longest[at] == facts.longest_without_global
        depth = len(config.layers)
        assert runs.after[at] == (
            depth if facts.refined_after_last_global is None else facts.refined_after_last_global
        )


def brute_force(preset, overrides, numbers, metric, limits=(), device=None):
    """The front by real passes and real flow, one placement after the other: cost, facts, how many are alike."""
    config = load_config(preset, overrides)
    points = []
    for number in numbers:
        for chosen in combinations(movable(config), number):
            made = placed(config, chosen)
            figures, flow = Passes(made, device).figures, flow_of(made)
            if all(getattr(figures, name) <= most for name, most in limits):
                full = len(config.layers) if flow.first_full_context is None else flow.first_full_context
                cost = getattr(figures, metric)
                points.append((round(cost, 6), full, flow.longest_without_global))
    front = {
        point
        for point in points
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points
        )
    }
    return sorted((*point, points.count(point)) for point in front), len(points)


def searched(preset, overrides, device=None, **question):
    config = load_config(preset, overrides)
    terms = {"numbers": None, "limits": None, "cost": None, **question}
    found = compare_placements(config, search=asked(**terms), device=device).search
    assert found is not None
    name = METRICS[found.cost].figure.replace("_ps", "_ms")
    points = []
    for row in found.front:
        assert row.flow is not None
        full = len(config.layers) if row.flow.first_full_context is None else row.flow.first_full_context
        cost = getattr(row.figures, name)
        points.append((round(cost, 6), full, row.flow.longest_without_global, row.ties))
    return sorted(points), found


def test_search_is_brute_force_on_a_plain_encoder():
    overrides = [*PLAIN, "depth=6"]
    expected, number = brute_force("sam_vit_b", overrides, [3], "flops")
    front, found = searched("sam_vit_b", overrides, numbers="3")
    assert front == expected
    assert (found.searched, found.within, number) == (20, 20, 20)


@pytest.mark.parametrize("depth", [1, 2])
def test_search_is_brute_force_on_one_layer_and_on_two(depth):
    overrides = [*PLAIN, "global_attn_indexes=[0]", f"depth={depth}", TRAINING]
    for metric, cost in (("training_bytes", "training_memory"), ("peak_bytes", "peak_memory")):
        expected, number = brute_force("sam_vit_b", overrides, range(depth + 1), metric)
        front, found = searched("sam_vit_b", overrides, numbers=f"0:{depth}", cost=cost)
        assert front == expected
        assert found.searched == number == 2**depth


def test_search_is_brute_force_by_the_training_peak_and_within_a_budget():
    overrides = [*PLAIN, "depth=5", TRAINING]
    config = load_config("sam_vit_b", overrides)
    flops = Passes(placed(config, [0, 3])).figures.flops
    limit = Passes(placed(config, [2])).figures.training_bytes
    limits = [("flops", flops), ("training_bytes", limit)]
    expected, within = brute_force("sam_vit_b", overrides, range(6), "training_bytes", limits)
    text = f"flops <= {flops} FLOP, training_memory <= {limit} B"
    front, found = searched("sam_vit_b", overrides, limits=text, cost="training_memory")
    assert front == expected
    assert found.within == within < found.searched
    assert found.ruled_out == (3, 4, 5)


def test_search_is_brute_force_where_windows_alone_see_all_and_layers_cost_differently():
    device = load_device("h100")
    overrides = ["image_size=112"]
    expected, _ = brute_force("swin_t", overrides, [1, 2], "latency_ms", device=device)
    front, _ = searched("swin_t", overrides, numbers="1:2", cost="latency", device=device)
    assert front == expected


def test_search_is_brute_force_on_hiera():
    overrides = ["image_size=256"]
    expected, _ = brute_force("sam2_hiera_t", overrides, [0, 1], "peak_bytes")
    front, _ = searched("sam2_hiera_t", overrides, numbers="0:1", cost="peak_memory")
    assert front == expected


def test_four_of_32_by_hand():
    """28 windowed layers in gaps: five of at most 6 leave 4 before the first; none before it leaves four of 7."""
    front, found = searched("sam_vit_h", [], numbers="4")
    assert [row.global_layers for row in found.front] == [(0, 8, 16, 24), (4, 11, 18, 25)]
    assert [point[1:] for point in front] == [(0, 7, 1), (4, 6, 1)]
    assert (found.searched, found.own_is_beaten) == (comb(32, 4), True)
    assert found.beaten_by == ((0, 8, 16, 24), (4, 11, 18, 25))


def sections_of(preset: str, *question: str | None) -> dict[str, tuple[str, ...]]:
    """The titles of the report's parts, each with its lines, or the first cell of each row."""
    report = compare_placements(load_config(preset), search=asked(*question))
    return {
        part.title: tuple(row[0] for row in part.rows) if isinstance(part, Table) else part.rows
        for part in page(report, Options(width=80)).sections
    }


def test_the_own_placement_is_set_apart_where_it_is_beaten():
    """SAM's 7, 15, 23, 31 sees all behind layer 7, after 7 windowed layers: 4, 11, 18, 25 behind 4, and never after 7."""
    parts = sections_of("sam_vit_h", "4", None, None)
    assert parts["Pareto front"] == ("0,8,16,24", "4,11,18,25")
    assert parts["Layers of the Pareto front, and how information flows"] == ("0,8,16,24", "4,11,18,25")
    assert parts["The config's own placement (dominated)"] == parts["Its layers"] == ("own",)
    assert parts["Search"][-1] == (
        "the config's own placement (7, 15, 23, 31) is dominated by 4,11,18,25 (sees all: 4, not 7; run: 6, not 7; "
        "otherwise equal) and by 1 other"
    )


def test_by_what_cost_the_own_placement_is_beaten():
    """0, 3, 6, 9 are as far apart as 2, 5, 8, 11 and earlier, so that blocks 10 and 11 keep no scores of all tokens."""
    report = compare_placements(load_config("sam_vit_b"), search=asked("4", None, "training_memory"))
    best = next(row for row in report.search.front if row.global_layers == (0, 3, 6, 9))
    there, own = (row.figures.training_bytes for row in (best, report.own))
    assert there < own
    assert best.global_layers in report.search.beaten_by
    (said,) = (part.rows[-1] for part in page(report, Options(width=80)).sections if part.title == "Search")
    assert said == (
        "the config's own placement (2, 5, 8, 11) is dominated by 0,3,6,9 (training peak: "
        f"{format_bytes(there)}, not {format_bytes(own)}; sees all: 0, not 2; otherwise equal)"
    )


@pytest.mark.parametrize(("question", "why"), [
    (("2", None, None), "not searched"), (("1:2", "training_memory <= 8 GiB", None), "beyond the budget"),
])  # fmt: skip
def test_the_own_placement_is_set_apart_where_it_is_not_among_them(question, why):
    parts = sections_of("sam_vit_b", *question)
    assert parts[f"The config's own placement ({why})"] == ("own",)
    assert "own" not in parts.get("Pareto front", ())


def test_the_own_placement_stands_first_where_nothing_beats_it():
    report = compare_placements(
        load_config("sam_vit_b", ["global_attn_indexes=[0, 4, 8]"]), search=asked("3", None, None)
    )
    parts = {part.title: part for part in page(report, Options(width=80)).sections}
    assert not report.search.own_is_beaten
    assert parts["Pareto front"].rows[0][0] == "own"
    assert not any(title.startswith("The config's own") for title in parts)


def test_the_own_placement_stands_for_those_that_tie_with_it():
    config = load_config("sam_vit_b", [*PLAIN, "depth=5", "global_attn_indexes=[1, 4]"])
    found = compare_placements(config, search=asked("2", None, "params")).search
    assert found is not None
    own = [row for row in found.front if row.global_layers == (1, 4)]
    assert [row.names for row in own] in ([("own",)], [])
    assert found.own_is_beaten == (not own)


@pytest.mark.parametrize(
    ("layers", "chosen"), [(1, 0), (1, 1), (7, 0), (7, 3), (7, 7), (12, 5), (33, 2), (60, 2)]
)
def test_masks_are_every_choice_once(layers, chosen, monkeypatch):
    monkeypatch.setattr(masks_module, "CHUNK", 64)
    chunks = list(masks(layers, chosen))
    assert max(map(len, chunks)) <= 64
    every = np.concatenate(chunks).tolist()
    assert len(every) == len(set(every)) == comb(layers, chosen)
    assert all(mask.bit_count() == chosen and mask < 2**layers for mask in every)


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("flops <= 6 TFLOP", 6 * 10**12),
        ("flops<=6.5 gflops", 6_500_000_000),
        ("macs <= 3 TMAC", 3 * 10**12),
        ("params <= 640 M", 640 * 10**6),
        ("params <= 640 Mparams", 640 * 10**6),
        ("peak_memory <= 8 GiB", 8 * 2**30),
        ("peak_memory ≤ 8 GB", 8 * 10**9),
        ("training_memory <= 512 B", 512),
        ("latency <= 80 ms", 80 * 10**9),
        ("latency <= 0.5 s", 500 * 10**9),
        ("latency <= 1.5 us", 1_500_000),
    ],
)
def test_limits_have_units(text, most):
    assert budget(text)[0].most == most


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "[not-a-limit]"),
        ("flops", "METRIC <= NUMBER UNIT, such as 'flops <= 6 TFLOP' [not-a-limit]"),
        ("flops <= 6", "use FLOP, KFLOP"),
        ("flops <= 6 GiB", "GiB is not a unit of flops"),
        ("flops <= 6 TMAC", "TMAC is not a unit of flops"),
        ("macs <= 6 TFLOP", "TFLOP is not a unit of macs"),
        ("peak_memory <= 8 G", "G is not a unit of peak_bytes: use B, KB"),
        ("latency <= 8 msec", "msec is not a unit of latency_ms: use us, ms, s"),
        ("flop <= 6 TFLOP", "flop: unknown metric"),
        (
            "bytes_read <= 6 GiB",
            "bytes_read is not a figure of the whole encoder: choose from params, macs, flops",
        ),
        ("flop <= 6 TFLOP", "did you mean 'flops'?"),
        ("flops >= 6 TFLOP", "use <=, not >= [not-a-limit]"),
        ("flops < 6 TFLOP", "use <=, not < [not-a-limit]"),
        ("flops <= 6..5 TFLOP", "6..5 is not a number"),
        ("flops <= -6 TFLOP", "[not-a-limit]"),
        ("flops <= 6 TFLOP, ", "'' is not a limit"),
        ("flops <= 6 TFLOP, flops <= 5 TFLOP", "flops is limited twice [given-twice]"),
    ],
)
def test_what_is_not_a_budget_is_reported(text, message):
    with pytest.raises(UsageError) as error:
        budget(text)
    assert message in str(error.value)
    assert str(error.value).startswith("--budget: ")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            ("16", None, "peak_memory"),
            "16 global layers among 32 have 601,080,390 placements, and a search by peak_bytes looks at each, at most 200,000,000",
        ),
        (("16", None, "peak_memory"), "such as --search 11 (129,024,480 placements)"),
        (("16", None, "training_memory"), "[too-many-placements]"),
        (("0:32", None, "peak_memory"), "0 to 32 global layers among 32 have 4,294,967,296 placements"),
        (("0:32", None, "peak_memory"), "--search 0:10 (107,594,213 placements)"),
        ((None, "peak_memory <= 8 GiB", None), "4,294,967,296 placements"),
        (("33", None, None), "sam_vit_h has 32 layers that can be windowed or global; use at most 32"),
        (("33", None, None), "[out-of-range]"),
        (("6:2", None, None), "use 2:6 [reversed-range]"),
        (("four", None, None), "--search four: "),
        (("-1", None, None), "[not-a-number]"),
        (("1", None, "latency"), "[needs-device]"),
        (("1", "latency <= 3 ms", None), "[needs-device]"),
        (("1", None, "memory"), "--by memory: unknown metric"),
        (("1", None, "peak_byts"), "did you mean 'peak_bytes'"),
        ((None, None, "flops"), "--by flops: needs --search or --budget [missing-option]"),
    ],
)
def test_a_search_that_cannot_be_is_refused(question, message):
    assert MOST == 200_000_000
    with pytest.raises(UsageError) as error:
        compare_placements(load_config("sam_vit_h"), search=asked(*question))
    assert message in str(error.value)


def test_a_budget_that_nothing_keeps_finds_nothing():
    found = compare_placements(load_config("sam_vit_h"), search=asked(None, "flops <= 5 TFLOP", None)).search
    assert found is not None
    assert (found.numbers, found.searched, found.within, found.front) == ((), 0, 0, ())
    assert found.ruled_out == tuple(range(33))
    found = compare_placements(
        load_config("sam_vit_h"), search=asked("1", "peak_memory <= 5 GiB", None)
    ).search
    assert found is not None
    assert (found.searched, found.within, found.front) == (32, 0, ())


def test_layers_beyond_the_bits_of_a_mask_are_refused():
    config = load_config("sam_vit_b", ["depth=61", "global_attn_indexes=[]"])
    with pytest.raises(UsageError, match=r"at most 60 layers .* sam_vit_b has 61; .* \[too-many-layers\]"):
        compare_placements(config, search=asked("2", None, "peak_memory"))


def test_placements_that_the_neck_refuses_are_left_out_and_named() -> None:
    """SAM-HQ's neck reads what global blocks before the last return: of 1 + 5 placements, two do not run."""
    config = load_config("sam_vit_b", ["image_size=224", "depth=5", "global_attn_indexes=[1]", "neck=sam_hq"])
    report = compare_placements(config, search=asked("0:1", None, None))
    found = report.search
    assert found is not None
    assert (found.searched, found.refused, found.numbers) == (4, 1, (1,))
    assert code_of(found.why_refused) == "neck-does-not-fit"
    with pytest.raises(UsageError) as refused:
        compare_placements(config, search=asked("0", None, None))
    assert code_of(refused.value.message) == "neck-does-not-fit"


@pytest.mark.parametrize("run", [(), ("run.optimizer=sgd", "run.batch_size=4")])
@pytest.mark.parametrize("depth", [3, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (2, 4, 5))])
def test_of_few_layers_the_table_is_learnt_from_placements_that_the_neck_takes(
    depth: int, run: tuple[str, ...]
) -> None:
    """SAM-HQ's neck needs a global block before the last one: each placement that has one is as its own passes say.

    It returns their outputs, so that more global blocks leave more in the optimizer's step, where AdamW's peak is; that of SGD is
    in the backward.
    """
    sizes = [*PLAIN[:-1], f"depth={depth}", "global_attn_indexes=[0]", "neck=sam_hq", TRAINING]
    config = load_config("sam_vit_b", [*sizes, *run])
    layers = movable(config)
    table = table_of(config, layers, windowed_flow(config), training=True)
    allowed = [mask for mask in range(1 << depth) if mask & (1 << depth - 1) - 1]
    for mask in allowed:
        passes = Passes(placed(config, table.chosen(mask)))
        figures = table.figures_of(mask, {"flops", "peak_bytes", "training_bytes"})
        assert figures["flops"] == passes.figures.flops
        assert (figures["peak_bytes"], figures["training_bytes"]) == (
            passes.figures.peak_bytes,
            passes.step.peak_bytes,
        )
    found = compare_placements(config, search=asked(f"0:{depth}", None, None)).search
    assert found is not None
    assert (found.searched, found.refused) == (
        len(allowed),
        1,
    )  # the last block alone; none at all is left out
