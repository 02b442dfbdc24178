"""`samattn plan`: every figure of a choice is that of an analysis with its keys, and the front is that of brute force."""

from dataclasses import replace
from random import Random

import pytest

from samattn_cli import load_config, load_device
from samattn_cli.errors import UsageError
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.on_device import in_memory
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.plan import Goal, plan
from samattn_cli.studies.plan.choices import settings
from samattn_cli.studies.plan.evaluate import Card, Trial
from tests.support.sampling import sampled

MIB = 1 << 20
SMALL = ["depth=1", "global_attn_indexes=[0]", "image_size=768", "embed_dim=96", "num_heads=3"]
A100 = load_device("a100_80")
TWO_GPUS = Goal(gpus=2, global_batch=4, given=frozenset({"autocast"}), every=True)


def small(*overrides):
    return load_config("sam_vit_b", [*SMALL, *overrides])


def with_memory(usable):
    """A card like an A100 with so many bytes for a process."""
    return replace(A100, name="small_card", memory_bytes=usable + A100.reserved_bytes)


@pytest.fixture(scope="module")
def whole():
    """A plan of which every choice is replayed."""
    return plan(small("run.autocast=bfloat16"), [A100], TWO_GPUS)


def test_every_choice_reaches_the_global_batch_and_no_two_are_the_same(whole):
    for choice in whole.choices:
        assert 2 * choice.batch_size * choice.accumulate == 4
    assert {choice.batch_size for choice in whole.choices} == {1, 2}
    assert {choice.attention for choice in whole.choices} == {"eager", "sdpa", "fused"}
    assert {choice.precision for choice in whole.choices} == {"bfloat16 autocast"}
    assert {choice.strategy for choice in whole.choices} >= {"ddp", "ddp views"}
    assert len({choice.set for choice in whole.choices}) == len(whole.choices)


def test_the_figures_of_a_choice_are_those_of_an_analysis_with_its_keys(whole):
    choices = Random(18).sample(whole.choices, 2)
    for choice in choices:
        config = small(*choice.set)
        totals = analyze(config, device=A100, verify=False).totals
        assert choice.allocated_bytes == totals.allocated_bytes
        assert choice.reserved_bytes == totals.reserved_bytes
        assert choice.live_bytes == totals.training_bytes
        assert choice.compute_ms + choice.recompute_ms == pytest.approx(totals.latency_ms)
        assert sum(choice.memory.values()) == choice.allocated_bytes
        assert choice.peak_at == Passes(config, A100).allocated_at


def test_recomputation_is_what_checkpointing_adds(whole):
    def of(checkpointing):
        return {
            (each.strategy, each.precision, each.attention, each.batch_size): each
            for each in whole.choices
            if each.checkpointing == checkpointing
        }

    without, with_all = of("none"), of("all")
    assert without.keys() == with_all.keys()
    for key, choice in with_all.items():
        assert without[key].recompute_ms == 0 < choice.recompute_ms
        assert choice.compute_ms == without[key].compute_ms


def beats(one, other):
    no_worse = one.step_ms <= other.step_ms and one.reserved_bytes <= other.reserved_bytes
    return no_worse and (one.step_ms, one.reserved_bytes) != (other.step_ms, other.reserved_bytes)


def front_of(choices):
    """The time and memory of the front of some choices by brute force."""
    fitting = [choice for choice in choices if choice.fits]
    return {
        (one.step_ms, one.reserved_bytes) for one in fitting if not any(beats(two, one) for two in fitting)
    }


def test_the_front_is_that_of_brute_force(whole):
    """The choices that are not replayed are those that another beats."""
    some = plan(small("run.autocast=bfloat16"), [A100], replace(TWO_GPUS, every=False))
    front = [choice for choice in some.choices if choice.is_front]
    assert {(choice.step_ms, choice.reserved_bytes) for choice in front} == front_of(whole.choices)
    assert some.cards[0].not_replayed > 0
    bounds = {choice.set: choice.least_bytes for choice in some.choices}
    assert all(bounds[choice.set] <= choice.reserved_bytes for choice in whole.choices)


@pytest.mark.exhaustive
@pytest.mark.parametrize("share", [0.5, 0.2, 1.1])
def test_the_front_is_that_of_brute_force_whatever_the_memory(whole, share):
    """The choices that are not replayed are those that another beats, or that are proven to be too large."""
    largest = max(choice.reserved_bytes for choice in whole.choices)
    card, config = with_memory(int(largest * share)), small("run.autocast=bfloat16")
    every, some = (plan(config, [card], replace(TWO_GPUS, every=each)) for each in (True, False))
    assert all(choice.fits is not None for choice in every.choices)
    best = front_of(every.choices)
    for report in (every, some):
        front = [choice for choice in report.choices if choice.is_front]
        assert {(choice.step_ms, choice.reserved_bytes) for choice in front} == best
        assert [choice.step_ms for choice in front] == sorted(choice.step_ms for choice in front)
        assert report.choices[report.cards[0].best] == front[0]
    assert some.cards[0].not_replayed > 0


def test_where_nothing_fits_the_nearest_is_the_one_that_needs_least(whole):
    least = min(choice.reserved_bytes for choice in whole.choices)
    memory = min(choice.allocated_bytes for choice in whole.choices) - MIB
    goal = replace(TWO_GPUS, every=False)
    report = plan(small("run.autocast=bfloat16"), [with_memory(memory)], goal)
    (card,) = report.cards
    nearest = report.choices[card.nearest]
    assert card.best is None
    assert not report.fits
    assert nearest.reserved_bytes == least
    assert nearest.missing_bytes == least - memory


def test_a_price_is_of_all_gpus_for_the_time_of_a_step():
    devices = [A100, load_device("h100")]
    report = plan(small(), devices, Goal(gpus=1, global_batch=1, prices={"h100": 3.6}))
    a100, h100 = (report.choices[card.best] for card in report.cards)
    assert a100.cost_per_step is None
    # 1 GPU x 3.6 an hour x step_ms / 3.6e6 ms
    assert h100.cost_per_step == pytest.approx(1e-6 * h100.step_ms)
    assert h100.cost_per_1000_images == pytest.approx(h100.cost_per_step * 1000)
    assert [card.is_beaten for card in report.cards] == [True, False]


def test_keys_that_the_user_gave_are_kept():
    given = ["run.attention=sdpa", "run.autocast=bfloat16", "run.batch_size=2"]
    names = frozenset({"attention", "autocast", "batch_size"})
    report = plan(small(*given), [A100], Goal(gpus=2, global_batch=8, given=names))
    for choice in report.choices:
        assert (choice.attention, choice.precision) == ("sdpa", "bfloat16 autocast")
        assert (choice.batch_size, choice.accumulate) == (2, 2)


def test_the_types_are_those_that_a_card_has_units_for_and_that_of_the_config():
    def of(halves, *overrides):
        goal = Goal(gpus=2, global_batch=2)
        return {each.precision for each in settings(small(*overrides), goal, halves, {})}

    assert of(["bfloat16", "float16"]) >= {"float32", "bfloat16 autocast"}
    assert "float16 autocast" not in of(["bfloat16", "float16"])
    assert of(["float16"]) == {"float32", "float16 autocast"}
    assert "bfloat16" in of(["bfloat16"], "run.dtype=bfloat16")


def test_one_gpu_has_one_strategy_without_communication():
    report = plan(small(), [A100], Goal(gpus=1, global_batch=1))
    assert {choice.strategy for choice in report.choices} == {"one GPU"}
    assert {choice.communication_ms for choice in report.choices} == {0}


def work(config):
    """What a choice computes again and sends, and its forwards, by passes of its own; and what is live."""
    passes = Passes(config)
    sent = 0 if passes.sent is None else passes.sent.bytes
    return (passes.step.recomputed_flops, sent, config.run.accumulate), passes.peak_bytes


def test_in_a_memory_alone_the_one_with_the_least_work_that_fits_is_first_and_there_are_no_times():
    """The front is that of brute force: no other choice comes before it by work and takes as little."""
    given = ["run.attention=sdpa", "run.optimizer=sgd"]
    goal = Goal(gpus=2, global_batch=4, given=frozenset({"attention"}), memory=170 * MIB)
    report = plan(small(*given), [], goal)
    of = {choice.set: work(small(*given, *choice.set)) for choice in report.choices}
    for choice in report.choices:
        assert of[choice.set][0][:2] == (choice.recomputed_flops, choice.sent_bytes)
        assert (choice.device, choice.step_ms, choice.images_per_s, choice.reserved_bytes) == (
            "",
            None,
            None,
            None,
        )
    fitting = sorted(figures for figures in of.values() if figures[1] <= goal.memory)
    best = [
        each
        for number, each in enumerate(fitting)
        if each[1] < min((f[1] for f in fitting[:number]), default=1e18)
    ]
    assert [of[choice.set] for choice in report.choices if choice.is_front] == best
    assert len(report.choices) > len(fitting) > len(best) > 1
    assert {choice.precision for choice in report.choices} >= {
        "float32",
        "bfloat16 autocast",
        "bfloat16 policy",
    }


def test_a_memory_limits_what_a_card_has_and_does_not_raise_it():
    goal = replace(
        TWO_GPUS, given=frozenset({"autocast", "attention", "checkpointing", "parallel", "gpus"}), every=False
    )
    config = small("run.mode=training", "run.autocast=bfloat16", "run.parallel=ddp", "run.gpus=2")
    for memory, usable in ((512 * MIB, 512 * MIB), (1 << 40, A100.usable_bytes)):
        (card,) = plan(config, [A100], replace(goal, memory=memory)).cards
        assert (card.device, card.usable_bytes) == ("a100_80", usable)
        alone = plan(config, [with_memory(usable)], goal).cards[0]
        assert (card.fitting, card.too_large) == (alone.fitting, alone.too_large)


@pytest.mark.parametrize(
    ("given", "goal", "code", "says"),
    [
        ([], Goal(gpus=0, global_batch=8), "out-of-range", "--gpus 0"),
        ([], Goal(gpus=8, global_batch=60), "not-divisible", "56 or 64"),
        ([], Goal(gpus=8, global_batch=4), "not-divisible", "8"),
        ([], Goal(gpus=2, global_batch=8, prices={"h100": 2}), "price-without-card", "h100"),
        (["run.batch_size=3"], Goal(gpus=2, global_batch=8, given=frozenset({"batch_size"})), "not-divisible", "1, 2, 4"),
        ([], Goal(gpus=2, global_batch=8, given=frozenset({"parallel"})), "conflicting-options", "--gpus 2"),
        ([], Goal(gpus=2, global_batch=8, given=frozenset({"mode"})), "not-training", "inference"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(given, goal, code, says):
    with pytest.raises(UsageError) as error:
        plan(small(*given), [A100], goal)
    assert error.value.codes == (code,)
    assert says in str(error.value)


@pytest.mark.exhaustive
def test_the_table_of_sizes_is_what_fits_on_each():
    goal = Goal(
        gpus=1, global_batch=1, sizes=True, given=frozenset({"attention", "autocast", "checkpointing"})
    )
    config = small("run.checkpointing=true")
    report = plan(config, [A100], goal)
    assert [size.gigabytes for size in report.sizes] == [16, 24, 32, 40, 48, 80]
    size = report.sizes[0]
    t4 = load_device(size.device)
    assert size.usable_bytes == t4.usable_bytes
    for batch, fits in ((size.batch_size, True), (size.batch_size + 1, False)):
        run = replace(config.run, mode="training", batch_size=batch)
        assert in_memory(Passes(replace(config, run=run)), t4).fits == fits


@pytest.mark.exhaustive
@pytest.mark.parametrize("preset", sampled(["sam_vit_b", "swin_t", "sam2_hiera_t", "vit_b"], 1))
@pytest.mark.parametrize("gpus", [1, 2])
def test_the_bound_of_memory_and_the_time_are_those_of_passes_of_their_own(preset, gpus):
    """The blocks of a choice that checkpoints some are taken from two steps, that with none and that with all of them."""
    config, card = load_config(preset, ["run.mode=training"]), Card(A100, A100.usable_bytes)
    for setting in settings(config, Goal(gpus=gpus, global_batch=2 * gpus), ["bfloat16"], {}):
        trial = Trial(setting, card)
        if trial.underivable is None:
            passes = card.passes(trial.plain)
            assert trial.least_bytes <= trial.live_bytes, setting.set
            assert trial.parts.compute_ms == passes.rounds * sum(time.ms for time in passes.times)
            assert trial.parts.section_ms == passes.section_ms
            assert (trial.recomputed_flops, trial.sent_bytes) == work(trial.config)[0][:2]


@pytest.mark.exhaustive
@pytest.mark.parametrize("preset", sampled(["sam_vit_b", "sam2_hiera_t", "swin_t", "vitdet_b"], 1))
def test_every_choice_of_a_preset_is_an_analysis_with_its_keys(preset):
    report = plan(load_config(preset), [A100], Goal(gpus=2, global_batch=4, every=True))
    for choice in report.choices:
        totals = analyze(load_config(preset, choice.set), device=A100, verify=False).totals
        assert (choice.allocated_bytes, choice.reserved_bytes, choice.live_bytes) == (
            totals.allocated_bytes,
            totals.reserved_bytes,
            totals.training_bytes,
        )
        assert choice.compute_ms + choice.recompute_ms == pytest.approx(totals.latency_ms)
