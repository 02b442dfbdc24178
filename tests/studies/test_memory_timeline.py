"""The timeline of a pass: its highest point, where that is, its kinds, and that it ends as it began."""

import pytest

from samattn_cli import analyze, load_config, load_device
from samattn_cli.cli.configs import presets
from samattn_cli.figures import IN_MEMORY
from samattn_cli.reports.memory_timeline import MemoryTimeline
from samattn_cli.studies.memory_timeline import memory_timeline, recorded
from samattn_cli.studies.passes import Passes

SMALL = ("depth=2", "image_size=64", "global_attn_indexes=[0,1]")
TRAINING = "run.mode=training"
MIB = 2**20
RUNS = (
    (),
    (TRAINING,),
    (TRAINING, "run.step=first", "run.checkpointing=true", "run.attention=sdpa"),
    (TRAINING, "run.parallel=ddp", "run.gradient_as_bucket_view=true", "run.accumulate=2"),
    (TRAINING, "run.parallel=fsdp2", "run.gpus=4"),
    (TRAINING, "run.grad_scaler=true", "run.autocast=float16", "run.ema=true", "run.optimizer=sgd"),
    ("run.grad=true", "run.allocator=expandable_segments:True"),
)
SCORES = 12 * 16**2 * 4
"""Bytes of the scores of SAM ViT-B's 12 heads at 64 pixels: 4x4 patches, float32."""


def timeline(*settings: str, device: str | None = None) -> MemoryTimeline:
    where = None if device is None else load_device(device, "DEVICE")
    return memory_timeline(Passes(load_config("sam_vit_b", (*SMALL, *settings)), where))


def check(name: str, settings: tuple[str, ...], device: str | None) -> None:
    """The highest point is the peak of the report, at its operation."""
    passes = Passes(load_config(name, settings), None if device is None else load_device(device, "DEVICE"))
    found = memory_timeline(passes)
    where = passes.step.peak_at if passes.trains else passes.peak_at
    expected = (
        (passes.peak_bytes, where)
        if device is None
        else (passes.in_memory.allocated_bytes, passes.allocated_at)
    )
    assert (found.peak_bytes, found.peak_at) == expected
    assert found.peak_bytes == max(map(sum, found.live()))


@pytest.mark.parametrize("device", [None, "a100_80"])
@pytest.mark.parametrize("settings", RUNS)
def test_the_highest_point_is_the_peak_of_the_report_to_the_byte(settings, device) -> None:
    check("sam_vit_b", (*SMALL, *settings), device)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", presets())
def test_that_of_every_preset(name) -> None:
    for mode in ("inference", "training"):
        for device in (None, "rtx_4090", "h100"):
            check(name, (f"run.mode={mode}",), device)


@pytest.mark.parametrize("settings", [(), (TRAINING,), (TRAINING, "run.parallel=fsdp2", "run.gpus=4")])
def test_a_pass_after_the_first_ends_as_it_began(settings) -> None:
    found = timeline(*settings)
    *_, last = found.live()
    assert last == found.before


def test_kinds_at_the_peak_are_those_of_the_report() -> None:
    report = analyze(
        load_config("sam_vit_b", (*SMALL, TRAINING)),
        device=load_device("a100_80", "DEVICE"),
        verify=False,
        timeline=True,
    )
    found = report.timeline
    live = dict(zip(found.kinds, [*found.live()][found.peak_change], strict=True))
    live["kept"] += live.pop("kept_scores")
    live["temporaries"] += live.pop("scores") + live.pop("step")
    expected = {name: getattr(report.totals, f"peak_{name}_bytes") for name in live}
    assert {f"peak_{name}_bytes" for name in live} <= set(IN_MEMORY)
    assert live == expected


def most_of(kind: str, found: MemoryTimeline) -> int:
    number = found.kinds.index(kind)
    return max(live[number] for live in found.live())


def test_scores_of_eager_attention_are_three_matrices_at_once() -> None:
    """The scores, and the two results of adding relative positions; a window of 14x14 holds 4x4 patches in padded rows."""
    whole = timeline("rel_pos=decomposed")
    assert most_of("scores", whole) == 3 * SCORES


def test_scores_that_softmax_makes_are_kept_for_backward_by_each_block() -> None:
    """Softmax's output is kept; its backward makes the gradient of the scores and that of the softmax."""
    found = timeline(TRAINING, "rel_pos=none")
    assert most_of("kept_scores", found) == 2 * SCORES
    assert most_of("scores", found) == 2 * SCORES


def test_a_mask_of_tokens_by_tokens_counts_as_scores() -> None:
    found = timeline("rel_pos=decomposed", "run.attention=sdpa")
    assert most_of("scores", found) >= SCORES
    assert most_of("scores", timeline("rel_pos=decomposed", "run.attention=fused")) == 0


def test_adamw_copies_the_gradients_for_a_moment() -> None:
    found = timeline(TRAINING, "run.optimizer=adamw")
    assert most_of("step", found) == most_of("gradients", found)
    assert most_of("step", timeline(TRAINING, "run.optimizer=sgd")) == 0


def test_no_kind_is_ever_less_than_nothing() -> None:
    found = timeline(TRAINING, "run.grad_scaler=true", "run.autocast=float16", device="a100_80")
    assert all(min(live) >= 0 for live in found.live())


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_operations_are_those_of_their_blocks_where_some_of_their_results_are_on_the_host(mode) -> None:
    """Before torch 2.14 seed and offset of attention (8 bytes each, on two blocks) are on the host; 2.11 has a workspace more."""
    made = {}
    for version in ("2.14", "2.13", "2.11"):
        config = load_config(
            "sam_vit_b", (*SMALL, "run.attention=sdpa", f"run.mode={mode}", f'run.torch="{version}"')
        )
        run = recorded(Passes(config, load_device("h200", "DEVICE")))
        made[version] = [
            (event.section, event.op and event.op.name, event.requested, event.kind)
            for event in run.events
            if event.requested not in (8, MIB)
        ]
        assert sum(event.requested == MIB and not event.is_free for event in run.events) == (
            version == "2.11"
        )
    assert made["2.14"] == made["2.13"] == made["2.11"]
