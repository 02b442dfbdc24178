from __future__ import annotations

import logging
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack import count
from samattn_cli.stack.crosscheck import _Stack as stack_of
from samattn_cli.stack.crosscheck import crosscheck
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.stack.fold import twins_of
from samattn_cli.stack.trace import trace_and_count, trace_forward, trace_training
from samattn_cli.studies.verify import claims_of, verify
from samattn_cli.tape.encoder import forward
from samattn_cli.verdicts import Claims, CrossCheck, Difference, NamedNumber

PRESETS = ("sam_vit_b", "sam_vit_l", "sam_vit_h")
GENERATED = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # looking for a smaller one takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
RUN_ON_META = ("fvcore", "flop_counter", "memory_trace")

TWO_STAGES = {
    "image_size": [20, 28],
    "patch_size": 4,
    "neck": "sam",
    "out_chans": 4,
    "stages": [
        {"embed_dim": 8, "depth": 3, "num_heads": 2, "window_size": 3, "rel_pos": "decomposed"},
        {"embed_dim": 8, "depth": 2, "num_heads": 4, "window_size": 2, "global_attn_indexes": [4]},
    ],
}


ONE_BLOCK = {
    "image_size": [20, 28], "patch_size": 4, "neck": "sam", "out_chans": 4, "embed_dim": 8, "depth": 1, "num_heads": 2,
    "window_size": 3, "rel_pos": "decomposed",
}  # fmt: skip


def statuses(verdict: CrossCheck) -> dict[str, str]:
    return {name: check.status for name, check in verdict.checks.items()}


def all_of(status: str) -> dict[str, str]:
    return dict.fromkeys(("parameters", *RUN_ON_META), status)


def assert_exact_on_meta(verdict: CrossCheck) -> None:
    differences = {name: check.differences for name, check in verdict.checks.items() if check.differences}
    assert not differences
    assert statuses(verdict) == all_of("exact"), verdict
    assert {name: verdict.checks[name].route for name in RUN_ON_META} == dict.fromkeys(RUN_ON_META, "meta")
    assert all(check.compared for check in verdict.checks.values())


def assert_same_verdicts(folded: CrossCheck, full: CrossCheck) -> None:
    """The same but for the numbers of a training step, of which folding compares those of the blocks that it runs."""
    assert folded.memory_trace.compared <= full.memory_trace.compared
    trace = replace(folded.memory_trace, compared=full.memory_trace.compared)
    assert replace(folded, memory_trace=trace).checks == full.checks


@st.composite
def stages(draw, width: int, first_block: int, most_blocks: int, attention: str = "eager"):
    depth = draw(st.integers(1, most_blocks))
    side = st.integers(1, 10)
    rel_pos = ["none", "decomposed"] if attention == "fused" else ["none", "decomposed", "joint"]
    return {
        "embed_dim": width,
        "depth": depth,
        "num_heads": draw(st.sampled_from(heads_of(width if attention == "eager" else width // 8))),
        "mlp_ratio": draw(st.sampled_from([1.0, 2.7, 4.0])),
        "qkv_bias": draw(st.booleans()),
        "rel_pos": draw(st.sampled_from(rel_pos)),
        "window_size": draw(st.one_of(st.just(0), side, st.tuples(side, side))),
        "global_attn_indexes": draw(st.sets(st.integers(first_block, first_block + depth - 1), max_size=1)),
    }


def heads_of(width: int) -> list[int]:
    return [heads for heads in range(1, width + 1) if width % heads == 0]


@st.composite
def encoders(draw, most_blocks: int = 2) -> EncoderConfig:
    patch = draw(st.integers(1, 4))
    attention = draw(st.sampled_from(["eager", "sdpa", "fused"]))
    dtype = draw(st.sampled_from(["float32", "bfloat16", "float16"]))
    types = ["none", "bfloat16", "float16"] if dtype == "float32" else ["none"]
    width = draw(st.integers(1, 12)) if attention == "eager" else 8 * draw(st.integers(1, 4))
    image = [draw(st.integers(1, 9)) * patch + draw(st.integers(0, patch - 1)) for _ in ("height", "width")]
    blocks = [draw(stages(width, 0, most_blocks, attention))]
    if draw(st.booleans()):
        blocks.append(draw(stages(width, blocks[0]["depth"], 1, attention)))
    return load_config(
        {
            "image_size": image,
            "patch_size": patch,
            "in_chans": draw(st.integers(1, 3)),
            "pos_embed": draw(st.sampled_from(["none", "learned"])),
            **draw(
                st.sampled_from([{}, *({"neck": "sam", "out_chans": channels} for channels in range(1, 6))])
            ),
            "stages": [
                stage | {"global_attn_indexes": sorted(stage["global_attn_indexes"])} for stage in blocks
            ],
            "run": {
                "batch_size": draw(st.integers(1, 3)),
                "dtype": dtype,
                "autocast": draw(st.sampled_from(types)),
                "attention": attention,
                "checkpointing": draw(st.booleans()),
            },
        }
    )


@pytest.mark.parametrize("examples", [2, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_tape_and_real_stack_agree_on_any_encoder(examples):
    @settings(parent=GENERATED, max_examples=examples)
    @given(config=encoders())
    def agree(config):
        verdict = verify(config, every_layer=True)
        assert_exact_on_meta(verdict)
        assert verdict.layers_run == len(config.layers)

    agree()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sam_vit_b", ["depth=4", "global_attn_indexes=2"]),
        pytest.param("sam_vit_b", [], marks=pytest.mark.exhaustive),
        pytest.param("sam_vit_h", [], marks=pytest.mark.exhaustive),
    ],
)
def test_one_block_of_each_kind_gives_the_verdict_of_all_blocks(name, changes):
    config = load_config(name, changes)
    folded, full = verify(config, every_layer=False), verify(config, every_layer=True)
    assert_exact_on_meta(full)
    assert_same_verdicts(folded, full)
    assert (folded.layers_run, full.layers_run) == (2, len(config.layers))
    assert full.parameters.total == sum(segment.recording.params for segment in forward(config).segments)


@pytest.mark.parametrize("examples", [1, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_one_block_of_each_kind_gives_the_verdict_of_all_blocks_of_any_encoder(examples):
    @settings(parent=GENERATED, max_examples=examples)
    @given(config=encoders(most_blocks=4))
    def agree(config):
        kinds = {(layer.stage_index, layer.window_size) for layer in config.layers}
        folded = verify(config, every_layer=False)
        assert_same_verdicts(folded, verify(config, every_layer=True))
        assert folded.layers_run <= len(kinds)

    agree()


@pytest.mark.parametrize("autocast", ["bfloat16", pytest.param("float16", marks=pytest.mark.exhaustive)])
def test_what_autocast_copies_for_the_blocks_that_are_not_run_is_in_the_peaks(autocast):
    verdict = verify(load_config("sam_vit_b", [f"run.autocast={autocast}"]), every_layer=False)
    assert_exact_on_meta(verdict)
    assert verdict.layers_run == 2


def test_a_single_token_is_multiplied_under_autocast_by_a_plain_product():
    one = {"image_size": 1, "patch_size": 1, "embed_dim": 2, "depth": 1, "num_heads": 1, "qkv_bias": False}
    assert_exact_on_meta(verify(load_config(one | {"run": {"autocast": "bfloat16"}})))


@pytest.mark.parametrize("attention", ["eager", "sdpa", "fused"])
def test_a_backward_comes_in_autograds_order_where_queries_are_viewed_before_tables_are_read(attention):
    """With heads of 8 channels and no neck; the table of rows is copied after the queries that it is multiplied by."""
    stage = {"embed_dim": 32, "depth": 1, "num_heads": 4, "rel_pos": "decomposed"}
    encoder = {"image_size": [4, 3], "patch_size": 1, "pos_embed": "none", "neck": "none", "stages": [stage]}
    assert_exact_on_meta(verify(load_config(encoder | {"run": {"attention": attention}})))


@pytest.mark.parametrize("every_layer", [False, True])
def test_verdict_of_two_stages(every_layer):
    verdict = verify(load_config(TWO_STAGES), every_layer=every_layer)
    assert_exact_on_meta(verdict)
    assert verdict.layers_run == (5 if every_layer else 3)


@pytest.mark.parametrize(
    ("name", "flops", "params"),
    [
        ("sam_vit_b", 972_077_334_528, 89_670_912),
        pytest.param("sam_vit_l", 2_985_680_306_176, 308_278_272, marks=pytest.mark.exhaustive),
        pytest.param("sam_vit_h", 5_961_082_830_848, 637_026_048, marks=pytest.mark.exhaustive),
    ],
)
def test_totals_of_the_verdict_are_what_the_tools_count(name, flops, params):
    verdict = verify(load_config(name), every_layer=False)
    assert verdict.flop_counter.total == flops
    assert verdict.parameters.total == params


# -- wrong claims ----------------------------------------------------------------------------------------------------


@cache
def right_claims() -> Claims:
    return claims_of(load_config(TWO_STAGES))


MEASURES = (
    trace_and_count,
    trace_forward,
    trace_training,
    count.count_with_flop_counter,
    count.count_with_fvcore,
)


@cache
def found_once(measure, every_layer: bool):  # noqa: ARG001 - the stack is another where every layer is run
    """A count or trace of the real stack, run at the first call alone: all wrong claims are held to the same."""
    found = []

    def measured(*inputs, **options):
        if not found:
            found.append(measure(*inputs, **options))
        return deepcopy(found[0])

    return measured


stack_once = cache(stack_of)
"""The real stack is made once, too."""


def check_claims(claims: Claims, *, every_layer: bool, changed_stack: bool = False) -> CrossCheck:
    module = "samattn_cli.stack.crosscheck"
    with pytest.MonkeyPatch.context() as patch:
        for measure in () if changed_stack else MEASURES:
            patch.setattr(f"{module}.{measure.__name__}", found_once(measure, every_layer))
        if not changed_stack:
            patch.setattr(f"{module}._Stack", stack_once)
        return crosscheck(load_config(TWO_STAGES), claims, every_layer=every_layer)


def changed(counts, place: str, kind: str, by: int):
    return {**counts, place: {**counts[place], kind: counts[place][kind] + by}}


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize("every_layer", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    ("check", "place", "kind"),
    [
        ("fvcore", "blocks.2.attn", "matmul"),
        ("fvcore", "neck.2", "conv2d"),
        ("flop_counter", "blocks.4.mlp.lin1", "linear"),
        ("flop_counter", "", "linear"),
    ],
)
def test_a_count_off_by_one_is_found_at_its_place(check, place, kind, every_layer):
    claims = right_claims()
    counts = getattr(claims, check)
    verdict = check_claims(
        replace(claims, **{check: changed(counts, place, kind, by=1)}), every_layer=every_layer
    )
    assert statuses(verdict) == all_of("exact") | {check: "differs"}
    right = counts[place][kind]
    assert verdict.checks[check].differences == (Difference(place or "encoder", kind, right + 1, right),)
    assert verdict.status == "differs"


def test_a_layer_norm_off_by_one_is_found_by_fvcore_alone():
    claims = right_claims()
    verdict = check_claims(
        replace(claims, fvcore=changed(claims.fvcore, "blocks.0.norm1", "layer_norm", by=-1)),
        every_layer=True,
    )
    assert statuses(verdict) == all_of("exact") | {"fvcore": "differs"}


def test_an_operation_that_is_not_claimed_is_a_difference():
    claims = right_claims()
    counts = without(claims.flop_counter, "patch_embed.proj")
    (difference,) = check_claims(
        replace(claims, flop_counter=counts), every_layer=True
    ).flop_counter.differences
    found = claims.flop_counter["patch_embed.proj"]["conv2d"]
    assert difference == Difference("patch_embed.proj", "conv2d", None, found)


def test_an_operation_that_is_not_there_is_a_difference():
    claims = right_claims()
    counts = {**claims.fvcore, "blocks.9": {"matmul": 7}}
    verdict = check_claims(replace(claims, fvcore=counts), every_layer=True)
    assert verdict.fvcore.differences == (Difference("blocks.9", "matmul", 7, None),)


@pytest.mark.parametrize("every_layer", [False, True])
def test_a_missing_parameter_is_found(every_layer):
    claims = right_claims()
    wrong = without(claims.parameters, "blocks.1.attn.rel_pos_w")
    verdict = check_claims(replace(claims, parameters=wrong), every_layer=every_layer)
    assert statuses(verdict) == all_of("exact") | {"parameters": "differs"}
    assert verdict.parameters.differences == (Difference("blocks.1.attn.rel_pos_w", "shape", None, "5x4"),)


def test_a_parameter_too_many_and_one_of_another_shape_are_found():
    claims = right_claims()
    wrong = {**claims.parameters, "blocks.0.attn.qkv.weight": (8, 24), "blocks.0.gamma": (8,)}
    verdict = check_claims(replace(claims, parameters=wrong), every_layer=True)
    assert verdict.parameters.differences == (
        Difference("blocks.0.attn.qkv.weight", "shape", "8x24", "24x8"),
        Difference("blocks.0.gamma", "shape", "8", None),
    )


@pytest.mark.parametrize("every_layer", [False, True])
@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("peak_bytes", "patch_embed"),
        ("peak_bytes", "blocks.2"),
        ("saved_bytes", "blocks.4"),
        ("saved_bytes", "neck"),
    ],
)
def test_memory_off_by_one_allocation_is_found_at_its_part(what, part, every_layer):
    claims = right_claims()
    values = getattr(claims, what)
    wrong = {**values, part: values[part] + 512}
    verdict = check_claims(replace(claims, **{what: wrong}), every_layer=every_layer)
    assert statuses(verdict) == all_of("exact") | {"memory_trace": "differs"}
    assert verdict.memory_trace.differences == (Difference(part, what, values[part] + 512, values[part]),)


# -- what cannot be run ----------------------------------------------------------------------------------------------


def broken_on_meta(model, image):
    if image.is_meta:
        raise RuntimeError("no meta kernel\nwith a second line")
    return count.count_with_fvcore(model, image)


def broken(_, image):
    raise RuntimeError(f"broken on {image.device.type}")


@pytest.mark.parametrize("every_layer", [False, True])
def test_where_meta_fails_real_tensors_are_counted(monkeypatch, every_layer):
    monkeypatch.setattr("samattn_cli.stack.crosscheck.count_with_fvcore", broken_on_meta)
    verdict = verify(load_config(TWO_STAGES), every_layer=every_layer)
    assert statuses(verdict) == all_of("exact")
    routes = {name: check.route for name, check in verdict.checks.items()}
    assert routes == {"parameters": None, "fvcore": "real", "flop_counter": "meta", "memory_trace": "meta"}
    assert verdict.fvcore.compared > 50


def test_real_tensors_do_not_hide_a_wrong_claim(monkeypatch):
    monkeypatch.setattr("samattn_cli.stack.crosscheck.count_with_fvcore", broken_on_meta)
    claims = right_claims()
    wrong = changed(claims.fvcore, "blocks.3.attn", "matmul", by=1)
    verdict = check_claims(replace(claims, fvcore=wrong), every_layer=False, changed_stack=True)
    assert (verdict.fvcore.status, verdict.fvcore.route) == ("differs", "real")


@pytest.mark.parametrize("check", ["fvcore", "flop_counter"])
def test_where_nothing_runs_the_check_has_failed_with_both_reasons(monkeypatch, check):
    monkeypatch.setattr(f"samattn_cli.stack.crosscheck.count_with_{check}", broken)
    monkeypatch.setattr("samattn_cli.stack.trace.counting_flops", lambda _: broken(None, torch.empty(0)))
    verdict = verify(load_config(ONE_BLOCK))
    assert statuses(verdict) == all_of("exact") | {check: "failed"}
    assert verdict.status == "failed"
    failed = verdict.checks[check]
    assert (
        failed.reason == "on meta: RuntimeError: broken on meta; on real tensors: RuntimeError: broken on cpu"
    )
    assert (failed.route, failed.compared, failed.total) == (None, 0, None)


def test_what_fails_as_fvcore_counts_is_the_reason(monkeypatch):
    monkeypatch.setattr(count, "import_flop_count_analysis", lambda: broken(None, torch.empty(0)))
    verdict = verify(load_config(ONE_BLOCK))
    reason = "on meta: RuntimeError: broken on cpu; on real tensors: RuntimeError: broken on cpu"
    assert (verdict.fvcore.status, verdict.fvcore.reason) == ("failed", reason)


def test_what_the_tracer_notes_of_each_operation_does_not_grow_with_the_stack_of_the_caller():
    stack, depths = stack_of(load_config(ONE_BLOCK), "meta", every_layer=False), []
    stack.model.register_forward_pre_hook(lambda *_: depths.append(len(list(traceback.walk_stack(None)))))

    def count_below(calls: int) -> None:
        if calls:
            count_below(calls - 1)
        else:
            count.count_with_fvcore(stack.model, stack.image)

    count_below(0)
    count_below(50)
    first, deeper = depths
    assert first == deeper


def test_real_tensors_are_not_made_where_they_would_fill_the_memory(monkeypatch):
    monkeypatch.setattr("samattn_cli.stack.crosscheck.count_with_fvcore", broken_on_meta)
    most = max(right_claims().peak_bytes.values())
    monkeypatch.setattr("samattn_cli.stack.crosscheck._physical_memory", lambda: 2 * most - 1)
    verdict = verify(load_config(TWO_STAGES))
    assert verdict.fvcore.status == "failed"
    assert verdict.fvcore.reason.startswith("on meta: RuntimeError: no meta kernel")
    assert "second line" not in verdict.fvcore.reason


def test_memory_has_no_route_but_meta(monkeypatch):
    monkeypatch.setattr(
        "samattn_cli.stack.trace.trace_forward", lambda model, image, *_, **__: broken(model, image)
    )
    monkeypatch.setattr(
        "samattn_cli.stack.crosscheck.trace_forward", lambda model, image, *_, **__: broken(model, image)
    )
    verdict = verify(load_config(ONE_BLOCK))
    assert statuses(verdict) == all_of("exact") | {"memory_trace": "failed"}
    assert verdict.memory_trace.reason == "on meta: RuntimeError: broken on meta"


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (["fvcore"], "fvcore is not installed"),
        (["torch", "fvcore"], "torch and fvcore are not installed"),
    ],
)
def test_without_its_packages_the_cross_check_is_skipped(monkeypatch, missing, reason):
    monkeypatch.setattr("samattn_cli.studies.verify.missing_packages", lambda: missing)
    verdict = verify(load_config(TWO_STAGES))
    assert statuses(verdict) == all_of("skipped")
    assert {check.reason for check in verdict.checks.values()} == {reason}
    assert verdict.layers_run == 0


def test_a_tensor_too_large_for_torch_is_skipped():
    side = 1 << 16  # scores of 2^32 tokens by 2^32, in 4 bytes: 2^66
    config = load_config({"image_size": side, "patch_size": 1, "embed_dim": 8, "depth": 1, "num_heads": 1})
    verdict = verify(config)
    assert statuses(verdict) == all_of("skipped")
    assert {check.reason for check in verdict.checks.values()} == {
        "a tensor of 73,786,976,294,838,206,464 bytes is more than torch can address"
    }


def test_the_largest_tensors_that_torch_can_address_are_checked():
    side = 1 << 15  # scores of 2^30 tokens by 2^30, in 2 bytes: 2^61
    encoder = {"image_size": side, "patch_size": 1, "embed_dim": 2, "depth": 1, "num_heads": 1}
    assert_exact_on_meta(verify(load_config(encoder | {"run": {"dtype": "float16"}})))


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_bias_that_eager_pytorch_adds_in_place_is_traced_so_where_heads_are_one_channel_wide(qkv_bias):
    tiny = {"image_size": [1, 2], "patch_size": 1, "in_chans": 1, "embed_dim": 2, "num_heads": 2, "depth": 1}
    config = load_config({**tiny, "mlp_ratio": 1, "pos_embed": "none", "qkv_bias": qkv_bias})
    assert verify(config).status == "exact"


PASSES = {"inference": "", "training": " in training", "backward": " in backward"}
UNITS = {"allocations": "allocated bytes", "live": "live bytes", "products": "FLOPs"}


def steps_of(claims: Claims, passed: str, what: str, part: str) -> list[NamedNumber]:
    return list(getattr(getattr(claims, passed), what)[part])


def with_steps(claims: Claims, passed: str, what: str, part: str, steps: list[NamedNumber]) -> Claims:
    claimed = getattr(claims, passed)
    wrong = replace(claimed, **{what: {**getattr(claimed, what), part: tuple(steps)}})
    return replace(claims, **{passed: wrong})


def memory_differences(
    claims: Claims, *, every_layer: bool = False, changed_stack: bool = False
) -> tuple[Difference, ...]:
    verdict = check_claims(claims, every_layer=every_layer, changed_stack=changed_stack)
    assert statuses(verdict) == all_of("exact") | {"memory_trace": "differs"}
    return verdict.memory_trace.differences


def index_of(steps: list[NamedNumber], name: str) -> int:
    return [step for step, _ in steps].index(name)


@pytest.mark.parametrize("every_layer", [False, True])
@pytest.mark.parametrize("what", UNITS)
@pytest.mark.parametrize(
    ("passed", "operation"),
    [("inference", "attn.scores"), ("training", "attn.scores"), ("backward", "attn.qkv.grad_weight")],
)
def test_a_claim_off_by_one_in_a_pass_is_found_at_its_operation(passed, what, operation, every_layer):
    claims = right_claims()
    steps = steps_of(claims, passed, what, "blocks.2")
    at = index_of(steps, operation)
    number = steps[at][1]
    steps[at] = (operation, number + 1)
    found = memory_differences(with_steps(claims, passed, what, "blocks.2", steps), every_layer=every_layer)
    where, unit = f"blocks.2 {operation}", UNITS[what] + PASSES[passed]
    assert found == (Difference(where, unit, number + 1, number),)


@pytest.mark.parametrize("what", ["allocations", "products"])
@pytest.mark.parametrize(
    ("passed", "operation"),
    [("inference", "attn.scores"), ("training", "attn.scores"), ("backward", "attn.values.grad_b")],
)
def test_a_number_moved_from_one_operation_to_another_of_its_module_is_found(passed, operation, what):
    claims = right_claims()
    steps = steps_of(claims, passed, what, "blocks.2")
    at = index_of(steps, operation)
    (name, number), (other_name, other) = steps[at : at + 2]
    steps[at : at + 2] = [(name, number + 2), (other_name, other - 2)]
    first, second = memory_differences(with_steps(claims, passed, what, "blocks.2", steps))
    assert (first.where, first.derived, first.found) == (f"blocks.2 {name}", number + 2, number)
    assert (second.where, second.derived, second.found) == (f"blocks.2 {other_name}", other - 2, other)


@pytest.mark.parametrize("what", UNITS)
@pytest.mark.parametrize("passed", PASSES)
def test_an_operation_more_or_less_is_found(passed, what):
    claims, unit = right_claims(), UNITS[what] + PASSES[passed]
    steps = steps_of(claims, passed, what, "neck")
    fewer = memory_differences(with_steps(claims, passed, what, "neck", steps[:-1]))
    assert fewer == (Difference("neck one more operation", unit, None, steps[-1][1]),)
    more = memory_differences(with_steps(claims, passed, what, "neck", [*steps, ("0.again", 7)]))
    assert more == (Difference("neck 0.again", unit, 7, None),)


def test_a_part_without_claims_is_found():
    claims = right_claims()
    wrong = replace(claims.backward, products=without(claims.backward.products, "patch_embed"))
    ((_, flops),) = claims.backward.products["patch_embed"]
    assert memory_differences(replace(claims, backward=wrong)) == (
        Difference("patch_embed one more operation", "FLOPs in backward", None, flops),
    )


@pytest.mark.parametrize("every_layer", [False, True])
@pytest.mark.parametrize("part", ["patch_embed", "blocks.2", "neck"])
@pytest.mark.parametrize("passed", PASSES)
def test_what_a_part_leaves_live_is_compared(passed, part, every_layer):
    claims = right_claims()
    claimed = getattr(claims, passed)
    left = claimed.change[part]
    wrong = replace(claimed, change={**claimed.change, part: left + 512})
    found = memory_differences(replace(claims, **{passed: wrong}), every_layer=every_layer)
    assert found == (Difference(part, f"live bytes after it{PASSES[passed]}", left + 512, left),)


def test_a_leak_at_the_end_of_a_part_is_named_first(monkeypatch):
    """What the last MLP of a stack makes is added to the stream, and held on to: 5 x 7 tokens of 8 floats."""
    held, rest = [], 5 * 7 * 8 * 4
    nbytes = rest + -rest % 512

    def leaky(config, device):
        model = build(config, device)
        model.blocks["4"].mlp.register_forward_hook(
            lambda _, __, output: held.append(output.untyped_storage())
        )
        return model

    claims = right_claims()
    monkeypatch.setattr("samattn_cli.stack.crosscheck.build_implementation", leaky)
    first, *others = memory_differences(claims, every_layer=True, changed_stack=True)
    left = claims.inference.change["blocks.4"]
    assert first == Difference("blocks.4", "live bytes after it", left, left + nbytes)
    whats = [difference.what for difference in others]
    assert "peak_bytes" in whats
    assert whats[whats.index("peak_bytes") :] == ["peak_bytes"] * whats.count("peak_bytes")


def test_the_first_operation_that_differs_is_named_first_whatever_differs_of_it():
    claims = right_claims()
    for what, operation in (("live", "attn.proj"), ("products", "attn.scores"), ("allocations", "mlp.lin1")):
        steps = steps_of(claims, "inference", what, "blocks.1")
        at = index_of(steps, operation)
        steps[at] = (operation, steps[at][1] + 512)
        claims = with_steps(claims, "inference", what, "blocks.1", steps)
    peaks = {name: peak + 512 for name, peak in claims.peak_bytes.items()}
    found = [(each.where, each.what) for each in memory_differences(replace(claims, peak_bytes=peaks))]
    assert found == [
        ("blocks.1 attn.scores", "FLOPs"),
        ("blocks.1 attn.proj", "live bytes"),
        ("blocks.1 mlp.lin1", "allocated bytes"),
        *((name, "peak_bytes") for name in peaks),
    ]


def test_differences_of_a_backward_come_in_its_own_order():
    """Its last part is run first."""
    claims = right_claims()
    for part in ("blocks.0", "neck"):
        (name, number), *others = steps_of(claims, "backward", "allocations", part)
        claims = with_steps(claims, "backward", "allocations", part, [(name, number + 1), *others])
    first, second = memory_differences(claims, every_layer=True)
    assert (first.where.partition(" ")[0], second.where.partition(" ")[0]) == ("neck", "blocks.0")


IN_AUTOCAST, CHECKPOINTED = {"autocast": "bfloat16"}, {"autocast": "float16", "checkpointing": True}


@pytest.mark.parametrize(
    ("run", "every_layer"),
    [
        (IN_AUTOCAST, False),
        pytest.param(CHECKPOINTED, True, marks=pytest.mark.exhaustive),
        pytest.param(IN_AUTOCAST, True, marks=pytest.mark.exhaustive),
        (CHECKPOINTED, False),
    ],
)
def test_autocasts_copies_go_with_the_end_of_the_pass(run, every_layer):
    verdict = verify(load_config(TWO_STAGES | {"run": run}), every_layer=every_layer)
    assert_exact_on_meta(verdict)


def test_twins_of_the_last_part_leave_what_they_leave_before_autocasts_copies_go():
    """The copies go when the forward is done, and not with each block that is like its last."""
    last = {
        "image_size": [24, 12],
        "patch_size": 2,
        "block": "hiera",
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
    }
    verdict = verify(
        load_config(last | {"window_size": 6, "run": {"autocast": "bfloat16"}}), every_layer=False
    )
    assert_exact_on_meta(verdict)
    assert verdict.layers_run == 1


@pytest.mark.parametrize("trains", ["neck", pytest.param("blocks.0", marks=pytest.mark.exhaustive)])
def test_looking_for_twins_leaves_weights_as_they_were(trains):
    """Autocast keeps copies of weights that require a gradient: in an inference forward of all, also if some will be frozen."""
    run = {"autocast": "bfloat16", "trains": trains}
    verdict = verify(load_config(ONE_BLOCK | {"depth": 2, "run": run}), every_layer=False)
    assert_exact_on_meta(verdict)


def _inside(name: str) -> set[str]:
    """The modules that contain a module, and itself."""
    words = name.split(".")
    return {".".join(words[:length]) for length in range(1, len(words) + 1)}


def test_a_block_that_runs_one_more_product_is_counted_by_itself(monkeypatch):
    """It runs a product of 35 tokens by 8 x 8 once more than its twins."""

    def changed_stack(config, device):
        model = build(config, device)
        weight = torch.empty(8, 8, device=device)
        model.blocks["1"].mlp.lin2.register_forward_hook(
            lambda _, __, output: torch.nn.functional.linear(output, weight)
        )
        return model

    monkeypatch.setattr("samattn_cli.stack.crosscheck.build_implementation", changed_stack)
    verdict = check_claims(right_claims(), every_layer=True, changed_stack=True)
    for check, more in ((verdict.fvcore, 35 * 64), (verdict.flop_counter, 2 * 35 * 64)):
        found = {each.where: each.found - (each.derived or 0) for each in check.differences}
        assert found == dict.fromkeys(found, more)
        assert (
            {"encoder", "blocks.1"} <= found.keys() <= {"encoder", "blocks.1", *_inside("blocks.1.mlp.lin2")}
        )


@pytest.mark.parametrize("every_layer", [False, True])
def test_a_block_whose_mlp_is_wider_than_claimed_is_found_by_each_check(monkeypatch, every_layer):
    """One of 35 tokens has 40 channels where its twins have 32: two products with 35 x 8 x 8 more, 35 x 8 x 4 bytes more."""

    def changed_stack(config, device):
        model = build(config, device)
        with torch.device(device):
            model.blocks["1"].mlp.lin1 = torch.nn.Linear(8, 40)
            model.blocks["1"].mlp.lin2 = torch.nn.Linear(40, 8)
        return model

    monkeypatch.setattr("samattn_cli.stack.crosscheck.build_implementation", changed_stack)
    verdict = check_claims(right_claims(), every_layer=every_layer, changed_stack=True)
    assert statuses(verdict) == all_of("differs")
    wider = {each.where: (each.derived, each.found) for each in verdict.parameters.differences}
    assert wider == {
        "blocks.1.mlp.lin1.weight": ("32x8", "40x8"),
        "blocks.1.mlp.lin1.bias": ("32", "40"),
        "blocks.1.mlp.lin2.weight": ("8x32", "8x40"),
    }
    for check, more in ((verdict.fvcore, 2 * 35 * 64), (verdict.flop_counter, 4 * 35 * 64)):
        found = {each.where: each.found - each.derived for each in check.differences}
        assert found["blocks.1"] == found["encoder"] == more
    first = verdict.memory_trace.differences[0]
    assert (first.where, first.what) == ("blocks.1 mlp.lin1", "allocated bytes")
    assert (first.derived, first.found) == (35 * 32 * 4, 35 * 40 * 4)


def test_blocks_that_differ_in_anything_are_not_folded():
    config = load_config("sam_vit_b")
    model = build(config, "meta")
    changes = {
        1: lambda block: setattr(block, "shift", 3),
        3: lambda block: setattr(block, "shifts", [3]),
        0: lambda block: setattr(block, "_shift", 3),
        8: lambda block: block.mlp.register_forward_hook(lambda _, __, output: output * 2),
        4: lambda block: setattr(block, "forward", lambda x: x),
        6: lambda block: block.register_buffer("mask", torch.empty(4, device="meta")),
        7: lambda block: setattr(block.attn, "scale", 2.0),
        9: lambda block: setattr(block.mlp, "act", torch.nn.ReLU()),
    }
    for index, change in changes.items():
        change(model.blocks[str(index)])
    twins = twins_of(model, image_for(config, "meta"))
    assert not {f"blocks.{index}" for index in changes} & (twins.keys() | set(twins.values()))
    assert twins == {"blocks.2": "blocks.11", "blocks.5": "blocks.11"}


def test_a_check_that_compared_nothing_has_failed(monkeypatch):
    claims = replace(right_claims(), fvcore={})
    monkeypatch.setattr("samattn_cli.stack.crosscheck.count_with_fvcore", lambda *_: {})
    assert crosscheck(load_config(TWO_STAGES), claims).fvcore.status == "failed"


def test_threads_and_what_runs_next_to_them_do_not_disturb_one_another():
    config, image, weight = load_config(ONE_BLOCK), torch.ones(1, 2, 8, 8), torch.ones(3, 2, 3, 3)
    done = threading.Event()

    def convolve():
        while not done.wait(0.002):
            assert torch.nn.functional.conv2d(image, weight, padding=1)[0, 0, 4, 4] == 18
        return "went on"

    with ThreadPoolExecutor(3) as pool:
        beside = pool.submit(convolve)
        verdicts = [future.result() for future in [pool.submit(verify, config) for _ in range(2)]]
        done.set()
        assert beside.result() == "went on"
    assert [verdict.status for verdict in verdicts] == ["exact"] * 2


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, lambda: torch.device("meta")])
def test_what_the_caller_has_switched_on_does_not_matter(context):
    with context():
        assert verify(load_config(ONE_BLOCK)).status == "exact"


def test_nothing_is_left_behind():
    logger, before = logging.getLogger("fvcore.nn.jit_analysis"), torch.nn.functional.conv2d
    logger.setLevel(logging.INFO)
    assert verify(load_config(ONE_BLOCK)).status == "exact"
    assert logger.level == logging.INFO
    assert torch.nn.functional.conv2d is before
    assert getattr(sys.modules.get("torch._dynamo"), "__file__", "real") is not None
    assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2, 2]
    assert verify(load_config(ONE_BLOCK)).status == "exact"  # with the compiler imported


def test_a_stack_that_cannot_be_built_has_failed_and_says_why(monkeypatch):
    monkeypatch.setattr(
        "samattn_cli.stack.crosscheck.build_implementation", lambda *_: broken(None, torch.empty(0))
    )
    verdict = verify(load_config(TWO_STAGES))
    assert verdict.status == "failed"
    assert verdict.fvcore.reason.startswith("the real stack cannot be built: RuntimeError: broken")


def test_a_weight_too_large_for_torch_is_skipped():
    large = 1 << 20
    sizes = {"image_size": large, "patch_size": large, "in_chans": large, "embed_dim": large}
    verdict = verify(load_config({**sizes, "depth": 1, "num_heads": 1}))
    assert verdict.status == "skipped"
    assert "more than torch can address" in verdict.parameters.reason


@pytest.mark.parametrize(
    ("passed", "freed", "late"),
    [
        ("inference", "attn.scores", "attn.values"),
        ("inference", "attn.merge_heads", "add_attn"),
        ("inference", "mlp.lin1", "mlp.lin2"),
        ("inference", "norm1", "attn.proj"),
        ("training", "attn.scores", "attn.values"),
        ("training", "attn.merge_heads", "add_mlp"),
        ("backward", "mlp.lin2.grad_input", "mlp.lin1.grad_weight"),
        ("backward", "attn.values.grad_b", "norm1.backward"),
    ],
)
def test_memory_that_is_freed_too_late_is_found_even_away_from_the_peak(passed, freed, late):
    claims = right_claims()
    steps = steps_of(claims, passed, "live", "blocks.2")
    between = range(index_of(steps, freed) + 1, index_of(steps, late) + 1)
    wrong = [(name, live + 512 * (i in between)) for i, (name, live) in enumerate(steps)]
    found = memory_differences(with_steps(claims, passed, "live", "blocks.2", wrong))
    assert [(cell.where, cell.what) for cell in found] == [
        (f"blocks.2 {steps[i][0]}", "live bytes" + PASSES[passed]) for i in between
    ]


def test_a_rounded_count_is_refused(monkeypatch):
    monkeypatch.setitem(count.FVCORE_KINDS, "einsum", "matmul")
    with pytest.raises(ValueError, match=r"2\.5 einsum is not a whole number"):
        count._by_kind({"einsum": 2.5}, count.FVCORE_KINDS)


@pytest.mark.parametrize("block", ["swin", "swinv2"])
def test_the_last_block_of_a_group_runs_since_its_gradient_comes_from_a_convolution(block):
    """A transition that keeps the width leaves a gradient in another order of strides than a block does."""
    groups = [
        {"block": block, "embed_dim": 4, "depth": 4, "num_heads": 1, "window_size": 4, **transition}
        for transition in ({}, *[{"transition": "residual_group"}] * 2)
    ]
    image = {"image_size": 8, "patch_size": 1, "pos_embed": "none", "upscale": 2, "out_chans": 3}
    parts = {"patch_embed": "pixels" if block == "swin" else "pixels_proj", "neck": "pixelshuffledirect"}
    verdict = verify(load_config(image | parts | {"stages": groups}), every_layer=False)
    assert_exact_on_meta(verdict)
    assert verdict.layers_run < 12
