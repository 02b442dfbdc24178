"""`samattn fit --vary checkpointing`: the choice of blocks is the best of all choices, each worked out by a pass of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from samattn_cli import EncoderConfig, analyze, from_json, load_config, load_device, to_json
from samattn_cli.cli.fit import _of_training
from samattn_cli.errors import UsageError, code_of
from samattn_cli.render.pages.fit_checkpoints import sections
from samattn_cli.studies.checkpoints.answer import words_of
from samattn_cli.studies.checkpoints.arranged import arranged
from samattn_cli.studies.checkpoints.blocks import blocks_of, with_blocks
from samattn_cli.studies.checkpoints.front import choice_of, counted, every, front
from samattn_cli.studies.checkpoints.search import on_device
from samattn_cli.studies.fit import Asked, fit
from samattn_cli.studies.on_device import cuda_of, fits, in_memory, replayed
from samattn_cli.studies.passes import Passes
from samattn_cli.tape.training import training_step
from samattn_cli.units import format_bytes, format_percent

MANY = ["run.mode=training", "run.batch_size=8", "run.optimizer=sgd"]
SMALL = {
    "sam_vit_b": ["image_size=224", "depth=4", "global_attn_indexes=[1,3]"],
    "vitdet_b_fpn": ["image_size=256", "depth=4", "global_attn_indexes=[1]"],
    "swin_t": ["image_size=224", "stages.2.depth=1", "stages.3.depth=1"],
    "sam2_hiera_t": ["image_size=256"],
    "vit_b": ["image_size=224", "depth=3"],
    "qwen2_5_vl_vision": ["image_size=112", "depth=4", "global_attn_indexes=[2]"],
    "sam_vit_b_lora": ["image_size=224"],
    "sam3_vision": ["image_size=224"],
}
RUNS = (
    [],
    ["run.attention=sdpa", "run.autocast=bfloat16"],
    ["run.accumulate=2", "run.zero_grad=after_forward", "run.autocast=float16", "run.grad_scaler=true"],
    ["run.attention=sdpa", "run.dtype=bfloat16", "run.parallel=ddp", "run.gradient_as_bucket_view=true"],
    ["run.trains=neck,blocks.2"],
)
IN_THE_SUITE = {("sam_vit_b", 0), ("vit_b", 2), ("sam_vit_b", 4)}
CASES = [
    pytest.param(preset, number, marks=[] if (preset, number) in IN_THE_SUITE else [pytest.mark.exhaustive])
    for preset in SMALL
    for number in range(len(RUNS))
    if (preset, number) not in {("swin_t", 4), ("vit_b", 4)}  # no neck
]
DEEPEST = 6
A100 = load_device("a100_80")


def encoder(preset: str, *settings: str) -> EncoderConfig:
    return load_config(preset, [*SMALL[preset], *MANY, *settings])


def subsets(config: EncoderConfig) -> list[tuple[int, ...]]:
    """All choices; of a deep encoder, of its first blocks and one later one."""
    depth = len(config.layers)
    numbers = range(depth) if depth <= DEEPEST else [0, 1, 2, 3, depth // 2, depth - 1]
    return [blocks for size in range(len(numbers) + 1) for blocks in combinations(numbers, size)]


@pytest.mark.parametrize(("preset", "number"), CASES)
def test_the_front_by_live_bytes_is_that_of_all_choices(preset: str, number: int) -> None:
    config = encoder(preset, *RUNS[number])
    steps = {blocks: training_step(with_blocks(config, blocks)) for blocks in subsets(config)}
    made = {blocks: (step.recomputed_flops, step.peak_bytes) for blocks, step in steps.items()}
    found = front(blocks_of(config))
    for choice in found:
        step = training_step(with_blocks(config, choice.blocks))
        assert (step.recomputed_flops, step.peak_bytes) == (choice.flops, choice.peak_bytes)
    for flops, peak in made.values():  # none is better than the front
        assert min(choice.peak_bytes for choice in found if choice.flops <= flops) <= peak
    if len(config.layers) <= DEEPEST:
        best: list[tuple[int, int]] = []
        for flops, peak in sorted(made.values()):
            best += [(flops, peak)] if not best or peak < best[-1][1] else []
        assert [(choice.flops, choice.peak_bytes) for choice in found] == best


def test_choices_are_counted_as_they_are_listed() -> None:
    config = encoder("sam_vit_b")
    blocks, choices = blocks_of(config), subsets(config)
    steps = [training_step(with_blocks(config, each)) for each in choices]
    most = sorted(step.peak_bytes for step in steps)[10]
    below = sorted(step.recomputed_flops for step in steps)[12]
    wanted = {
        c for c, s in zip(choices, steps, strict=True) if s.peak_bytes <= most and s.recomputed_flops < below
    }
    listed, number = every(blocks, most, below), counted(blocks, most, below)
    assert listed is not None
    assert number is not None
    assert {choice.blocks for choice in listed} == wanted
    assert number.number == len(wanted) > 0
    flops = [step.recomputed_flops for step in steps]
    assert sum(number.by_flops.values()) == number.number
    for each in number.by_flops:
        of_equal = {c for c, own in zip(choices, flops, strict=True) if own == each}
        assert number.by_flops[each] == len(of_equal & wanted)


@pytest.mark.parametrize(
    "preset",
    [
        "sam_vit_b",
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("vitdet_b_fpn", "swin_t", "vit_b")),
    ],
)
@pytest.mark.parametrize(
    "share", [0.2, *(pytest.param(s, marks=pytest.mark.exhaustive) for s in (0.0, 0.5, 0.8, 1.0))]
)
def test_on_a_device_the_choice_is_the_best_of_all_by_the_allocators_verdict(
    preset: str, share: float
) -> None:
    config, cuda = encoder(preset), cuda_of(A100)
    assert cuda is not None
    none, all_ = (
        replayed(Passes(with_blocks(config, each)), cuda) for each in ((), range(len(config.layers)))
    )
    room = int(all_.allocated + (none.reserved - all_.allocated) * share)
    device = replace(A100, memory_bytes=room + A100.reserved_bytes)

    def verdict(chosen: EncoderConfig) -> bool:
        return in_memory(Passes(chosen, device), device).fits

    fitting = [
        training_step(with_blocks(config, each))
        for each in subsets(config)
        if verdict(with_blocks(config, each))
    ]
    found = on_device(config, cuda, room, verdict)
    assert (found.choice and found.choice.flops) == min(
        (step.recomputed_flops for step in fitting), default=None
    )
    assert found.untried == 0
    assert found.least_flops == (found.choice and found.choice.flops)


@pytest.mark.exhaustive
@pytest.mark.parametrize("gib", [7, 8, 9, 10, 11])
def test_a_choice_of_sam_vit_h_at_depth_8_is_the_best_of_all_256(gib: int) -> None:
    """With two global blocks of eight. Each choice has a replay of its own."""
    config = load_config("sam_vit_h", ["run.mode=training", "depth=8", "global_attn_indexes=[3,7]"])
    device, cuda = replace(A100, memory_bytes=gib * 2**30 + A100.reserved_bytes), cuda_of(A100)
    assert cuda is not None
    choices = [blocks for size in range(9) for blocks in combinations(range(8), size)]
    passes = [Passes(with_blocks(config, blocks), device) for blocks in choices]
    fitting = [each.step.recomputed_flops for each in passes if in_memory(each, device).fits]
    found = on_device(config, cuda, gib * 2**30, lambda chosen: fits(Passes(chosen, device), device))
    assert (found.choice and found.choice.flops) == found.least_flops == min(fitting, default=None)
    assert found.untried == 0


@pytest.mark.parametrize("replays", [3, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (2, 5, 9))])
def test_where_not_all_are_replayed_the_fewest_flops_are_between_two_bounds(
    monkeypatch: pytest.MonkeyPatch, replays: int
) -> None:
    """Four blocks. The first choices that are replayed are those of the front, so few replays prove little."""
    monkeypatch.setattr("samattn_cli.studies.checkpoints.search._replays", lambda _: replays)
    config, cuda = encoder("sam_vit_b"), cuda_of(A100)
    assert cuda is not None
    choices = subsets(config)
    room = replayed(Passes(with_blocks(config, (0, 2))), cuda).reserved
    device = replace(A100, memory_bytes=room + A100.reserved_bytes)
    found = on_device(config, cuda, room, lambda chosen: in_memory(Passes(chosen, device), device).fits)
    fewest = min(
        training_step(with_blocks(config, blocks)).recomputed_flops
        for blocks in choices
        if in_memory(Passes(with_blocks(config, blocks), device), device).fits
    )
    assert found.choice is not None
    assert found.least_flops is not None
    assert found.least_flops <= fewest <= found.choice.flops
    assert found.replayed <= replays
    assert (found.untried == 0) == (found.least_flops == found.choice.flops)


def test_the_answer_names_the_blocks_and_what_sets_them() -> None:
    """Of SAM ViT-H on a card with 24 GB, to be worked out in less than 5 seconds; a block of equal ones is not tried alone."""
    config = load_config("sam_vit_h")
    report = fit(
        config, 24 * 2**30, Asked(vary=[], modes=["training"], kernels=["eager"], checkpointing=True)
    )
    (answer,) = report.checkpointing
    assert answer.status == "fits"
    best = answer.best
    assert best is not None
    assert (best.checkpointing, best.words) == (
        "blocks.0,blocks.7,blocks.15",
        "0 (windowed) and 7 and 15 (global)",
    )
    passes = Passes(
        load_config(config.name, ["run.mode=training", f"run.checkpointing={best.checkpointing}"])
    )
    assert best.encoder.peak_bytes == passes.peak_bytes <= 24 * 2**30
    assert from_json(to_json(report)) == report


def test_nothing_fits_and_what_is_lacking() -> None:
    config = encoder("sam_vit_b")
    report = fit(config, 2**20, Asked(vary=[], modes=["training"], kernels=["eager"], checkpointing=True))
    (lines, table) = sections(report)
    best = report.checkpointing[0].best
    assert best is not None
    lacking = format_bytes(training_step(with_blocks(config, (0, 1, 2, 3))).peak_bytes - 2**20)
    assert f"eager: nothing fits: the nearest, with blocks {best.words}, lacks" in str(lines)
    assert f"lacks {lacking}" in str(table)


def test_the_page_says_what_is_reserved_and_that_cheaper_choices_were_not_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, cuda = encoder("sam_vit_b"), cuda_of(A100)
    monkeypatch.setattr("samattn_cli.studies.checkpoints.search._replays", lambda _: 1)
    assert cuda is not None
    room = replayed(Passes(with_blocks(config, (0, 1))), cuda).reserved
    device = replace(A100, memory_bytes=room + A100.reserved_bytes)
    report = fit(config, device, Asked(vary=[], modes=["training"], kernels=["eager"], checkpointing=True))
    (answer,) = report.checkpointing
    assert answer.replayed == 1
    assert answer.best is not None
    assert answer.untried
    text = str(next(sections(report)))
    assert answer.least_flops is not None
    assert answer.least_flops < answer.best.recomputed_flops
    assert f"no choice with less than {format_percent(answer.least_more_flops or 0)} more FLOPs fits" in text
    assert f"{answer.untried} choices were not replayed" in text
    assert f"{format_bytes(answer.best.encoder.reserved_bytes or 0)} reserved of" in text


def test_as_many_blocks_in_other_places() -> None:
    config = encoder("sam_vit_b", "depth=6", "global_attn_indexes=[1,3]")
    blocks = blocks_of(config)
    one = choice_of(blocks, (0, 1, 2))
    found = list(arranged(blocks, [one]))
    assert [choice.blocks for choice in found[:3]] == [(0, 1, 2), (3, 4, 5), (1, 3, 5)]
    for choice in found:
        step = training_step(with_blocks(config, choice.blocks))
        assert (step.peak_bytes, step.recomputed_flops) == (choice.peak_bytes, one.flops)


@pytest.mark.exhaustive
def test_the_last_blocks_of_sam_vit_h_reserve_less_than_the_first() -> None:
    """On a card with 24 GB: the first six windowed blocks fit, and so do the last four. Three blocks do by live bytes alone."""
    device = load_device("rtx_4090")
    config = load_config("sam_vit_h", ["run.mode=training"])
    cuda = cuda_of(device)
    assert cuda is not None
    found = on_device(config, cuda, device.usable_bytes, lambda chosen: fits(Passes(chosen, device), device))
    assert found.choice is not None
    assert (
        found.choice.flops <= training_step(with_blocks(config, (7, 15, 23, 27, 28, 29, 30))).recomputed_flops
    )


def test_checkpointing_is_of_training_alone_and_of_steps_that_are_not_sharded() -> None:
    with pytest.raises(UsageError) as refused:
        _of_training(["inference"], ["checkpointing"], "inference")
    assert code_of(refused.value.message) == "conflicting-options"
    sharded = load_config("vit_b", ["run.mode=training", "run.parallel=fsdp2", "run.gpus=2"])
    with pytest.raises(UsageError) as raised:
        fit(sharded, 2**33, Asked(vary=[], modes=["training"], kernels=["eager"], checkpointing=True))
    assert code_of(raised.value.message) == "not-derived-yet"


def test_a_library_checkpoints_all_blocks_or_none() -> None:
    settings = ["implementation=transformers", "run.batch_size=8", "run.mode=training"]
    config = load_config("vit_b", settings)
    room = Passes(with_blocks(config, range(12))).peak_bytes
    report = fit(config, room, Asked(vary=[], modes=["training"], kernels=["eager"], checkpointing=True))
    best = report.checkpointing[0].best
    assert best is not None
    assert (best.checkpointing, best.words) == (True, "all 12")


def test_blocks_in_words() -> None:
    layers = load_config("sam_vit_b").layers
    assert words_of((2, 5, 8, 11), layers) == "2, 5, 8 and 11 (global)"
    assert words_of((0, 1, 2, 3), layers) == "0-1 and 3 (windowed) and 2 (global)"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_computed_again_is_the_forward_of_the_blocks_but_for_what_nothing_needs(
    accumulate: int,
) -> None:
    config = encoder("sam_vit_b", f"run.accumulate={accumulate}", "run.checkpointing=global")
    some, none = (training_step(each) for each in (config, with_blocks(config, ())))
    assert none.recomputed_flops == 0
    assert some.recomputed_flops == some.flops - none.flops > 0
    timed = Passes(config, A100)
    assert timed.recomputed_ms == pytest.approx(
        timed.phase_ms("backward") - Passes(with_blocks(config, ()), A100).phase_ms("backward")
    )


def test_the_global_blocks_are_offered_before_all_where_they_are_enough() -> None:
    config, cuda = encoder("sam_vit_b"), cuda_of(A100)
    assert cuda is not None
    room = replayed(Passes(with_blocks(config, (1, 3))), cuda).reserved
    report = analyze(config, device=replace(A100, memory_bytes=room + A100.reserved_bytes), verify=False)
    by_name = {change.change: change.fits for change in report.changes}
    assert (by_name["checkpointing"], by_name["checkpointing (global)"]) == (True, True)
    (what,) = [finding.message for finding in report.findings if finding.code == "what-makes-it-fit"]
    assert "run.checkpointing=true" not in what


def test_what_is_on_the_host_does_not_count_in_what_a_choice_needs() -> None:
    """Before torch 2.14 attention has 1 KiB of random state for each of three blocks on the host."""
    settings = ["run.attention=sdpa", "run.batch_size=64"]
    newest, older = (encoder("vit_b", *settings, f'run.torch="{torch}"') for torch in ("2.14", "2.8"))
    cuda = cuda_of(A100)
    assert cuda is not None
    needed = [choice_of(blocks_of(config, cuda), ()).peak_bytes for config in (newest, older)]
    used = [replayed(Passes(config, A100), cuda).allocated for config in (newest, older)]
    assert needed[0] - needed[1] == used[0] - used[1] == 3 * 1024
