"""A training step on the Tape: by hand, by its invariants, and as the CPU's allocator counts it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from samattn_cli import EncoderConfig, load_config
from samattn_cli.stack.memory import usage_on_cpu
from samattn_cli.stack.step import Step
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import live_over, walk
from samattn_cli.tape.training import TrainingStep, training_step
from samattn_cli.units import rounded
from tests.stack.test_crosscheck import encoders
from tests.support.sampling import examples
from tests.support.torch_2_6 import FSDP_ON_CPU

ANY = settings(
    max_examples=examples(20), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

MOSTLY_WEIGHTS = {
    "image_size": 4,
    "patch_size": 4,
    "in_chans": 1,
    "embed_dim": 64,
    "depth": 1,
    "num_heads": 1,
    "mlp_ratio": 64,
    "pos_embed": "none",
}
"""One token of 64 channels: 256 bytes, for which the allocator takes 512."""

WEIGHTS = sum(
    [
        64 * 16 * 4 + 512,  # patch_embed: 4x4 patches of one channel; biases and norms of 256 bytes take 512
        4 * 512,  # two norms
        192 * 64 * 4 + 1024,  # qkv; 768 bytes of bias
        64 * 64 * 4 + 512,  # proj
        4096 * 64 * 4 + 4096 * 4,  # lin1
        64 * 4096 * 4 + 512,  # lin2
    ]
)
IMAGE = OUTPUT = 512


def step_of(config: EncoderConfig, **run) -> TrainingStep:
    return training_step(replace(config, run=replace(config.run, **run)))


@pytest.mark.parametrize(
    ("optimizer", "peak", "at"),
    [
        # weights, gradients, two buffers and one of the step; image, output, gradient of the output
        ("adamw", 5 * WEIGHTS + IMAGE + 2 * OUTPUT, "optimizer step"),
        # weights, gradients, a buffer; the last gradient of an activation, beside the gradients of its weights
        (
            "sgd_momentum",
            3 * WEIGHTS + IMAGE + 2 * OUTPUT + 512,
            "patch_embed.proj.backward (backward)",
        ),
        ("sgd", 2 * WEIGHTS + IMAGE + 2 * OUTPUT + 512, "patch_embed.proj.backward (backward)"),
    ],
)
def test_the_peak_of_an_encoder_that_is_mostly_weights(optimizer, peak, at):
    step = step_of(load_config(MOSTLY_WEIGHTS), optimizer=optimizer)
    assert (step.weights_bytes, step.peak_bytes, step.peak_at) == (WEIGHTS, peak, at)


def test_the_optimizers_step_comes_after_everything_but_weights_gradients_and_output_is_gone():
    for optimizer, copies in (("adamw", 5), ("sgd_momentum", 3), ("sgd", 2)):
        step = step_of(load_config(MOSTLY_WEIGHTS), optimizer=optimizer)
        assert step.peaks["optimizer", "step"] == copies * WEIGHTS + IMAGE + 2 * OUTPUT


@pytest.mark.parametrize(
    ("unusual", "forward_copies", "backward_copies", "optimizer_copies"),
    [  # of weights: themselves, AdamW's two buffers and one that its step makes, gradients
        ({}, 3, 3, 5),
        ({"step": "first"}, 1, 1, 5),
        ({"zero_grad": "after_forward"}, 4, 3, 5),
        ({"zero_grad": "after_forward", "step": "first"}, 1, 1, 5),
        ({"zero_grad": "after_step"}, 3, 3, 5),
        ({"accumulate": 2}, 4, 4, 5),
        ({"accumulate": 2, "step": "first"}, 2, 2, 5),
    ],
    ids=str,
)
def test_what_is_live_in_the_steps_that_people_run(
    unusual, forward_copies, backward_copies, optimizer_copies
):
    config = load_config(MOSTLY_WEIGHTS)
    usual, step = step_of(config), step_of(config, **unusual)
    more = {section: peak - usual.peaks[section] for section, peak in step.peaks.items()}
    assert more["blocks.0", "forward"] == (forward_copies - 3) * WEIGHTS
    # the first backward, that of the last block, has nothing of gradients that are yet to be made
    began = step.peaks["blocks.0", "backward"] - live_over(step.recordings[-1]).peak_bytes
    usually = usual.peaks["blocks.0", "backward"] - live_over(usual.recordings[-1]).peak_bytes
    assert began - usually == (backward_copies - 3) * WEIGHTS
    assert step.peaks["optimizer", "step"] == optimizer_copies * WEIGHTS + IMAGE + 2 * OUTPUT


@ANY
@given(config=encoders())
def test_micro_batches_after_the_first_leave_what_they_found(config):
    step = step_of(config, accumulate=2)
    outputs = sum(rounded(output.nbytes) for output in step.forward.segments[-1].outputs)
    assert step.kept_bytes + sum(live_over(recording).change for recording in step.recordings) == outputs
    assert step.peak_bytes >= step_of(config).peak_bytes
    assert step.flops == 2 * step_of(config).flops


@ANY
@given(config=encoders())
def test_an_optimizer_adds_its_buffers_to_any_step(config):
    sgd, momentum, adamw = (step_of(config, optimizer=name) for name in ("sgd", "sgd_momentum", "adamw"))
    weights, output = sgd.weights_bytes, rounded(sgd.forward.segments[-1].outputs[0].nbytes)
    assert momentum.peak_bytes == sgd.peak_bytes + weights
    at_the_step = 5 * weights + rounded(sgd.forward.image.nbytes) + 2 * output
    assert adamw.peak_bytes == max(sgd.peak_bytes + 2 * weights, at_the_step)


@ANY
@given(config=encoders())
def test_a_step_leaves_gradients_the_output_and_its_gradient(config):
    step = training_step(config)
    over_backward = sum(live_over(recording).change for recording in step.recordings)
    output = rounded(step.forward.segments[-1].outputs[0].nbytes)
    assert step.kept_bytes + over_backward == step.weights_bytes + output


@ANY
@given(config=encoders())
def test_a_step_takes_more_than_the_forward_alone(config):
    step = training_step(config)
    inference = max(part.peak_bytes for part in walk(forward(config)))
    assert step.peak_bytes >= inference + step.optimizer_bytes
    assert step.peak_bytes >= 2 * step.weights_bytes + step.optimizer_bytes


# -- checkpointing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa", "fused"])
def test_checkpointing_keeps_of_each_block_its_input(attention):
    config = load_config("sam_vit_b", [f"run.attention={attention}", "neck=none"])
    step = step_of(config, checkpointing=True)
    stream = 64 * 64 * 768 * 4
    # by name: autograd keeps the image for the weights of patch_embed and nothing for the sum of pos_embed
    saved = dict(zip([segment.name for segment in step.forward.segments], step.saved_bytes, strict=True))
    blocks = {f"blocks.{index}": stream for index in range(12)}
    assert saved == {"patch_embed": 1024 * 1024 * 3 * 4, "pos_embed": 0, **blocks}
    assert step.kept_bytes == 13 * stream  # twelve inputs and the output
    assert step.peak_bytes < step_of(config).peak_bytes


def test_checkpointing_runs_each_block_again_but_for_its_last_product_that_nothing_needs():
    config = load_config("sam_vit_b", ["neck=none"])
    step, plain = step_of(config, checkpointing=True), step_of(config)
    lin2 = 2 * 4096 * 3072 * 768
    for segment, again, once in zip(step.forward.segments, step.recordings, plain.recordings, strict=True):
        # lin2 saves what it is given, so that the forward stops before it
        more = segment.recording.flops - lin2 if segment.layer else 0
        assert again.flops == once.flops + more


# -- products of backward --------------------------------------------------------------------------------------------


def flops_by_kind(recordings) -> Counter[str]:
    return sum((Counter({op.kind: op.flops}) for recording in recordings for op in recording.ops), Counter())


@ANY
@given(config=encoders())
def test_backward_multiplies_twice_as_much_as_forward_but_for_the_image_which_needs_no_gradient(config):
    step = step_of(config, checkpointing=False)
    ahead = flops_by_kind(segment.recording for segment in step.forward.segments)
    patch_embed = step.forward.segments[0].recording.flops
    back = flops_by_kind(run.recording for run in step.backward)
    for kind in ("linear", "matmul"):
        assert back[kind] == 2 * ahead[kind]
    assert back["conv2d"] == 2 * ahead["conv2d"] - patch_embed


@pytest.mark.parametrize(
    ("attention", "products"),
    [
        # scores again, gradients of scores, values, queries and keys: five products for two
        ("sdpa", 2 * 12 * 4096**2 * 5 * 64),
        # three over queries and keys of 64 + 64 + 64, two over values
        ("fused", 2 * 12 * 4096**2 * (3 * 192 + 2 * 64)),
    ],
)
def test_backward_of_fused_kernels_computes_the_scores_again(attention, products):
    step = training_step(load_config("sam_vit_b", [f"run.attention={attention}"]))
    last_block = step.backward[-2].recording
    assert [op.flops for op in last_block.ops if op.kind == "sdpa"] == [products]


# -- measured: the CPU's allocator ------------------------------------------------------------------------------------

MEASURED = {
    "patch_size": 4,
    "embed_dim": 64,
    "depth": 3,
    "num_heads": 4,
    "window_size": 3,
    "global_attn_indexes": [1],
    "rel_pos": "decomposed",
    "neck": "sam",
    "out_chans": 16,
}
SCALE_BYTES = 8
"""q * scale keeps its factor for backward, as a double: 8 bytes a block that no device sees."""

STEP_BYTES = 4
"""AdamW counts the steps of each weight in a float32 on the CPU."""


@pytest.fixture
def unrounded(monkeypatch):
    """The CPU's allocator counts what it is asked for."""
    for module in ("memory", "training", "sharded", "sharded_training"):
        monkeypatch.setattr(f"samattn_cli.tape.{module}.rounded", lambda nbytes: nbytes)


def blocks_of(sections):
    return {section: nbytes for section, nbytes in sections.items() if section[0].startswith("blocks.")}


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 32},
        {"image_size": [48, 64], "run": {"batch_size": 2}},
        {"image_size": 32, "run": {"grad": True}},
    ],
    ids=str,
)
def test_the_cpus_allocator_counts_what_is_derived_of_an_inference_forward(changes):
    config = load_config(MEASURED | changes)
    _, usage = usage_on_cpu(lambda: Step(config, "cpu"))
    passed = forward(config)
    parts = {segment.name: part for segment, part in zip(passed.segments, walk(passed), strict=True)}
    # convolutions of the CPU take memory for their own work: of their parts, only the blocks between are compared
    derived = blocks_of({(name, "forward"): part.peak_bytes for name, part in parts.items()})
    if config.run.grad:  # what autograd keeps
        derived = {
            (name, phase): nbytes + SCALE_BYTES * (int(name.removeprefix("blocks.")) + 1)
            for (name, phase), nbytes in derived.items()
        }
    assert blocks_of(usage.section_bytes) == derived
    if not config.run.grad:  # then the neck has the peak
        assert usage.peak_allocated_bytes == max(derived.values())


UNUSUAL = [
    {"step": "first"},
    {"step": "first", "zero_grad": "after_forward"},
    {"zero_grad": "after_forward"},
    {"zero_grad": "after_step"},
    {"accumulate": 2},
    {"accumulate": 3, "zero_grad": "after_forward", "checkpointing": True},
    {"step": "first", "accumulate": 2},
]
"""Training steps as people run them, next to the usual one."""


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize(
    ("image_size", "optimizer", "unusual"),
    [
        *((32, optimizer, {}) for optimizer in ("sgd", "sgd_momentum", "adamw")),
        ([48, 64], "sgd", {}),
        *(
            pytest.param([48, 64], optimizer, {}, marks=pytest.mark.exhaustive)
            for optimizer in ("sgd_momentum", "adamw")
        ),
        *((32, "adamw", unusual) for unusual in UNUSUAL),
    ],
    ids=str,
)
def test_the_cpus_allocator_counts_what_is_derived_of_a_training_step(image_size, optimizer, unusual):
    run = {"mode": "training", "optimizer": optimizer, **unusual}
    config = load_config(MEASURED | {"image_size": image_size, "run": run})
    _, usage = usage_on_cpu(lambda: Step(config, "cpu"))
    step = training_step(config)
    weights = sum(len(segment.recording.parameters) for segment in step.forward.segments)
    has_steps = optimizer == "adamw" and unusual.get("step") != "first"
    steps = STEP_BYTES * weights if has_steps else 0
    derived = {
        (name, phase): nbytes + steps + SCALE_BYTES * (int(name.removeprefix("blocks.")) + 1)
        for (name, phase), nbytes in blocks_of(step.peaks).items()
    }
    assert len(derived) == 6
    assert blocks_of(usage.section_bytes) == derived
    if not unusual:  # else the neck or the optimizer may have the peak
        assert usage.peak_allocated_bytes == max(derived.values())


def test_on_a_cpu_adamw_takes_weights_one_by_one():
    """On CUDA it takes the square roots of all weights at once; on a CPU one, its quotient, and that of the weight before.

    The patch embedding's of 48 x 3 x 8 x 8 numbers is the largest, in float32; the position embedding of 16 x 48 is before it.
    """
    config = load_config(
        {"embed_dim": 48, "depth": 1, "num_heads": 2, "image_size": 32, "patch_size": 8},
        ("run.mode=training",),
    )
    at = "optimizer", "step"
    together, alone = training_step(config), training_step(config, one_by_one=True)
    saved = together.gradients_bytes - 2 * 4 * (48 * 3 * 8 * 8) - 4 * 16 * 48
    assert together.moments[at].nbytes - alone.moments[at].nbytes == saved
    assert {key: each.nbytes for key, each in together.moments.items() if key != at} == {
        key: each.nbytes for key, each in alone.moments.items() if key != at
    }


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize(
    ("parallel", "small"), [pytest.param("fsdp2", 20, marks=FSDP_ON_CPU), ("none", 12), ("zero1", 12)]
)
def test_on_a_cpu_adamw_takes_what_this_rank_updates_one_by_one(parallel, small):
    """The optimizer's section of a real step of rank 0 of 2.

    AdamW's counters of steps are not derived, and neither are its three scalars of 4 bytes and DTensor's of 8.
    """
    spread = [] if parallel == "none" else [f"run.parallel={parallel}", "run.gpus=2"]
    config = load_config(MEASURED | {"image_size": 32}, ["run.mode=training", *spread])
    _, usage = usage_on_cpu(lambda: Step(config, "cpu"))
    step = training_step(config, one_by_one=True)
    counters = STEP_BYTES * len(step.updated)
    assert usage.section_bytes["optimizer", "step"] == step.peaks["optimizer", "step"] + counters + small
