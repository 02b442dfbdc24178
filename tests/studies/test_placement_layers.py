"""The dynamic program over layers finds what looking at each placement finds: values, ties, and the placement that is shown."""

from cProfile import Profile
from math import comb
from random import Random

import pytest

from samattn_cli import load_config
from samattn_cli.device.load import load_device
from samattn_cli.encoder.presets import presets
from samattn_cli.errors import UsageError
from samattn_cli.studies.flow import WindowedFlow, windowed_flow
from samattn_cli.studies.placements.budget import METRICS
from samattn_cli.studies.placements.compare import compare_placements
from samattn_cli.studies.placements.enumerated import points_of_each
from samattn_cli.studies.placements.exhaustive import asked
from samattn_cli.studies.placements.layered import points_of_layers
from samattn_cli.studies.placements.pieces import Constants, Piece
from samattn_cli.studies.placements.placing import movable
from samattn_cli.studies.placements.points import Question, front
from samattn_cli.studies.placements.table import WAYS, Table, table_of
from tests.support.sampling import examples

PEAK_FIELDS = (
    "weights",
    "gradients",
    "change",
    "rise",
    "kept",
    "kept_rise",
    "undone",
    "undone_rise",
    "returned",
)


def made_up(seed: int) -> Table:
    """Layers that cost and hold small numbers of their own, which may depend on both neighbours; some are never windowed."""
    random = Random(seed)
    depth = random.randint(2, 9)
    layers = tuple(sorted(random.sample(range(depth), random.randint(2, min(depth, 7)))))
    mixing = frozenset(layer for layer in range(depth) if random.random() < random.choice((0.0, 0.2)))
    seen = (random.choice([None, *range(depth)]), min(mixing, default=None))
    by_windows = min((layer for layer in seen if layer is not None), default=None)
    most, peaks = random.choice((0, 1, 3)), random.choice((1, 4))

    def piece() -> Piece:
        held = {name: random.randint(0, peaks) for name in PEAK_FIELDS}
        return Piece(flops=random.randint(0, most), lost=random.randint(0, held["kept"]), **held)

    pieces = tuple(tuple(piece() for _ in range(WAYS)) for _ in layers)
    if random.random() < 0.5:  # as most encoders: layers are alike, and neighbours do not matter
        windowed, as_global = piece(), piece()
        pieces = ((windowed, windowed, as_global, as_global) * 2,) * len(layers)
    constants = Constants(image=3, gradient=random.randint(0, 2), copies=1, state=1, in_backward=1)
    return Table(layers, constants, pieces, WindowedFlow(depth, mixing, by_windows))


def assert_same(table: Table, numbers: list[int], question: Question) -> None:
    looked_at, _ = points_of_each(table, "made up", numbers, question, (), lambda *_: None, 0)
    assert front(points_of_layers(table, numbers, question)) == front(looked_at), (question, numbers)


@pytest.mark.parametrize("peak", ["peak_bytes", "training_bytes"])
def test_the_program_finds_what_looking_at_each_finds(peak: str) -> None:
    question = Question(METRICS["flops"], (), peak)
    for seed in range(examples(400)):
        table = made_up(seed)
        layers = len(table.layers)
        assert_same(table, [1 + seed % layers], question)
        assert_same(table, list(range(1, layers + 1)), question)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", presets())
def test_it_does_so_for_every_preset(name: str) -> None:
    """Of all numbers of global layers that have at most 20,000 placements; times are of an H100."""
    config = load_config(name)
    try:
        layers, flow = movable(config), windowed_flow(config)
        table = table_of(config, layers, flow, device=load_device("h100"))
    except UsageError as error:
        pytest.skip(error.message)
    few = [number for number in range(1, len(layers) + 1) if comb(len(layers), number) <= 20_000]
    for cost in ("flops", "params", "latency_ms"):
        for numbers in ([few[0]], [few[len(few) // 2]], few):
            assert_same(table, numbers, Question(METRICS[cost], (), "peak_bytes"))


def test_the_work_of_a_search_grows_with_layers_not_with_placements() -> None:
    """Python calls, which are the same in each run: 16 of 64 alike layers, of which there are 4.9e14, take 730,000."""
    windowed, as_global = Piece(flops=1, rise=2, weights=1), Piece(flops=2, rise=3, weights=2)
    pieces = ((windowed, windowed, as_global, as_global) * 2,) * 64
    table = Table(tuple(range(64)), Constants(image=3), pieces, WindowedFlow(64, frozenset(), None))
    profile = Profile()
    (best,) = profile.runcall(
        lambda: list(points_of_layers(table, [16], Question(METRICS["flops"], (), "peak_bytes")))
    )
    assert (best.cost, best.ties, best.mask) == (80, 1, sum(1 << bit for bit in range(0, 64, 4)))
    assert sum(each.callcount for each in profile.getstats()) < 2_000_000


def test_16_of_64_by_hand() -> None:
    """48 windowed layers, none before the first global one, which sees all: 16 gaps of 3. No gap can be shorter than 3."""
    overrides = ["depth=64", "image_size=320", "global_attn_indexes=[3]"]
    found = compare_placements(load_config("sam_vit_b", overrides), search=asked("16", None, None)).search
    assert found is not None
    assert found.searched == found.within == 488_526_937_079_580 == comb(64, 16)
    (best,) = found.front
    assert (best.global_layers, best.ties) == (tuple(range(0, 64, 4)), 1)
    assert best.flow is not None
    assert (best.flow.first_full_context, best.flow.longest_without_global) == (0, 3)


def test_a_budget_that_some_placements_of_a_number_keep_is_kept_exactly() -> None:
    """Swin's blocks cost less at later stages, so of two global blocks some pairs are within a limit on FLOPs."""
    config = load_config("swin_t", ["image_size=112"])
    every = compare_placements(config, search=asked("2", None, "params")).search
    assert every is not None
    layers = movable(config)
    table = table_of(config, layers, windowed_flow(config))
    costs = [
        table.figures_of(1 << one | 1 << other, {"flops"})["flops"]
        for one in range(len(layers))
        for other in range(one)
    ]
    limit = sorted(costs)[len(costs) // 2]
    found = compare_placements(config, search=asked("2", f"flops <= {limit} FLOP", None)).search
    assert found is not None
    assert (found.searched, found.within) == (len(costs), sum(cost <= limit for cost in costs))
    assert every.within == len(costs) > found.within > 0
