"""Encoders with frozen weights: the Tape's claims are what PyTorch does on meta tensors, to the last byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.plan import LayerConfig
from samattn_cli.stack.crosscheck import crosscheck
from samattn_cli.stack.encoder import build, image_for
from samattn_cli.stack.step import Step
from samattn_cli.stack.trace import trace_forward, trace_training
from samattn_cli.studies.verify import claims_of
from samattn_cli.tape import driver
from samattn_cli.tape.memory import live_over
from samattn_cli.tape.recorder import Recorder
from samattn_cli.tape.tape import Tape
from samattn_cli.tape.training import training_step
from samattn_cli.units import rounded
from samattn_cli.verdicts import ClaimedPass
from tests.support.passes import forget_passes

ENCODER = {
    "image_size": [20, 28],
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 3,
    "num_heads": 2,
    "window_size": 3,
    "global_attn_indexes": [1],
    "rel_pos": "decomposed",
    "neck": "sam",
    "out_chans": 8,
}

TRAINED = {
    "all": lambda _: True,
    "blocks and neck": lambda name: "embed" not in name,
    "position embedding": lambda name: name == "pos_embed",
    "norms": lambda name: "norm" in name,
    "biases": lambda name: name.endswith("bias"),
    "relative positions": lambda name: "rel_pos" in name,
    "the last layer of each MLP": lambda name: "lin2" in name,
    "neck": lambda name: name.startswith("neck"),
    "the last norm": lambda name: name.startswith("neck.3"),
}
"""Which weights train, by their names in the encoder."""

RUNS = {
    "eager": {},
    "sdpa": {"attention": "sdpa"},
    "fused": {"attention": "fused"},
    "autocast": {"autocast": "bfloat16"},
    "checkpointed": {"checkpointing": True, "attention": "sdpa"},
    "checkpointed, with autocast": {"checkpointing": True, "autocast": "bfloat16", "attention": "sdpa"},
}


@pytest.fixture
def freeze(monkeypatch):
    """Freeze weights on the Tape by their names in the encoder."""

    def freezing(trained: Callable[[str], bool]) -> None:
        now = [""]
        called = driver.call

        def within(tape, part, entries, *rest):
            now[0] = "blocks.N." if isinstance(part, LayerConfig) else f"{part.name}."
            return called(tape, part, entries, *rest)

        monkeypatch.setattr(driver, "call", within)
        made = Recorder.parameter

        def parameter(self, name, *shape):
            weight = made(self, name, *shape)
            return replace(weight, trains=trained((now[0] + weight.name).rstrip(".")))

        monkeypatch.setattr(Recorder, "parameter", parameter)
        forget_passes()

    yield freezing
    forget_passes()


def derived_of(claimed: ClaimedPass) -> dict[str, dict[str, list[int]]]:
    return {
        what: {part: [number for _, number in steps] for part, steps in getattr(claimed, what).items()}
        for what in ("allocations", "live", "products")
    }


def found_in(parts) -> dict[str, dict[str, list[int]]]:
    return {
        what: {name: getattr(part, what) for name, part in parts.items()}
        for what in ("allocations", "live", "products")
    }


CASES = [
    *((trained, run) for trained in TRAINED for run in ("eager", "checkpointed, with autocast")),
    *(
        (trained, run)
        for trained in ("biases", "relative positions")
        for run in ("sdpa", "fused", "autocast")
    ),
    *((trained, "checkpointed") for trained in ("norms", "biases", "position embedding")),
]
IN_TURN = {(trained, ("eager", "checkpointed, with autocast")[at % 2]) for at, trained in enumerate(TRAINED)}
IN_THE_SUITE = IN_TURN | {
    ("biases", "checkpointed, with autocast"),
    ("biases", "sdpa"),
    ("biases", "autocast"),
    ("relative positions", "fused"),
    ("norms", "checkpointed"),
}
"""All weights, and each run; the other cases are run each week."""


@pytest.mark.parametrize(
    ("trained", "run"),
    [pytest.param(*case, marks=[] if case in IN_THE_SUITE else [pytest.mark.exhaustive]) for case in CASES],
)
def test_an_encoder_with_frozen_weights_does_what_torch_does(freeze, trained, run):
    config = load_config(ENCODER | {"run": {"batch_size": 2, **RUNS[run]}})
    assert_encoder_is_the_same(freeze, TRAINED[trained], config)


@pytest.mark.parametrize("changes", [{"window_size": 1}, {"image_size": [4, 20]}, {"image_size": 4}], ids=str)
def test_sides_of_one_token_batch_no_products_of_frozen_weights(freeze, changes):
    config = load_config(ENCODER | changes | {"run": {"batch_size": 1}})
    assert_encoder_is_the_same(freeze, TRAINED["norms"], config)


def test_what_is_before_all_that_trains_has_no_backward(freeze):
    freeze(TRAINED["neck"])
    step = training_step(load_config(ENCODER))
    assert [bool(run.recording.ops) for run in step.backward] == [False] * 5 + [True]
    assert step.saved_bytes[:-1] == (0,) * 5


def assert_encoder_is_the_same(freeze, trained: Callable[[str], bool], config: EncoderConfig) -> None:
    freeze(trained)
    claims, step = claims_of(config), training_step(config)
    model, image = build(config, "meta"), image_for(config, "meta")
    for name, weight in model.named_parameters():
        weight.requires_grad_(trained(re.sub(r"blocks\.\d+", "blocks.N", name)))
    assert derived_of(claims.inference) == found_in(trace_forward(model, image, 0))
    forward, backward, saved_bytes = trace_training(model, image, 0)
    assert claims.saved_bytes == saved_bytes
    assert derived_of(claims.training) == found_in(forward)
    assert derived_of(claims.backward) == found_in(backward)
    trains = [rounded(weight.nbytes) for weight in model.parameters() if weight.requires_grad]
    assert step.gradients_bytes == sum(trains)
    assert step.optimizer_bytes == 2 * sum(trains)
    over_backward = sum(live_over(recording).change for recording in step.recordings)
    output = rounded(step.forward.segments[-1].outputs[0].nbytes)
    assert step.kept_bytes + over_backward == sum(trains) + output


BY_NAME = [
    ("sam_vit_b", "blocks.8-11,neck", ["run.checkpointing=true"]),
    ("sam_vit_b", "pos_embed", ["run.attention=sdpa", "run.accumulate=2"]),
    ("swin_t", "transitions,norm", ["run.autocast=float16", "run.checkpointing=true"]),
    ("sam2_hiera_t", "blocks.11", []),  # two of the neck's outputs have no gradient
    ("mae_b_pretrain", "pos_embed,neck", []),
]
"""Presets, the parts of them that train, and how they run."""
BY_NAME_EACH_WEEK = [
    ("sam2_hiera_t", "neck,blocks.8-11", ["implementation=transformers", "run.attention=sdpa"]),
    ("vitdet_b_fpn", "neck,blocks.10-11", ["run.checkpointing=true"]),
    ("sam_vit_b_lora", "blocks.3", []),  # with its terms of low rank; those of other blocks are frozen
    ("sam_vit_b", "neck", []),
    ("sam_vit_b", "patch_embed,blocks.3", ["run.autocast=bfloat16"]),
    ("swin_t", "blocks.4-7", []),
    ("sam2_hiera_t", "neck", ["run.autocast=bfloat16"]),
    ("vit_b", "blocks.6-11", ["run.autocast=bfloat16"]),
    ("sam_vit_b_lora", "adapters,neck", []),
]


@pytest.mark.parametrize(
    ("preset", "trained", "settings"),
    [*BY_NAME, *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in BY_NAME_EACH_WEEK)],
)
def test_parts_that_train_by_name_do_what_torch_does(preset, trained, settings):
    size = ["image_size=224"] if preset.startswith("sam") else []
    config = load_config(preset, [*size, "run.mode=training", f"run.trains={trained}", *settings])
    verdict = crosscheck(config, claims_of(config)).memory_trace
    assert (verdict.status, verdict.differences) == ("exact", ())


def test_only_the_neck_trains():
    """SAM's neck of 768 to 256 channels: 1x1 and 3x3 convolutions without biases, and two norms; AdamW keeps two of each."""
    config = load_config("sam_vit_b", ["run.mode=training", "run.trains=neck"])
    params = 768 * 256 + 256 * 256 * 9 + 2 * (256 + 256)
    step = training_step(config)
    assert step.trained_params == params
    assert step.gradients_bytes == 4 * params
    assert step.optimizer_bytes == 2 * 4 * params
    assert step.saved_bytes[:-1] == (0,) * 14
    made = Step(config, "meta")
    (group,) = made.optimizer.param_groups
    neck = made.model.get_submodule("neck").parameters()
    assert list(map(id, group["params"])) == list(map(id, neck))


def test_the_last_blocks_are_kept_for_backward_and_those_before_are_not():
    config = load_config("sam_vit_b", ["run.mode=training", "run.trains=blocks.8-11"])
    step = training_step(config)
    saved = {
        segment.name: nbytes for segment, nbytes in zip(step.forward.segments, step.saved_bytes, strict=True)
    }
    assert [name for name, nbytes in saved.items() if nbytes] == [
        *(f"blocks.{index}" for index in range(8, 12)),
        "neck",
    ]
    ran = [
        segment.name
        for segment, run in zip(step.forward.segments, step.backward, strict=True)
        if run.recording.ops
    ]
    assert ran == [*(f"blocks.{index}" for index in range(8, 12)), "neck"]


def test_weights_are_frozen_by_the_innermost_that_says_so():
    tape = Tape(4)
    made = [tape.parameter("before", 1)]
    with tape.weights(train=False):
        made.append(tape.parameter("frozen", 1))
        with tape.weights(train=True):
            made.append(tape.parameter("adapter", 1))
        made.append(tape.parameter("frozen again", 1))
    made.append(tape.parameter("after", 1))
    assert [weight.trains for weight in made] == [True, False, True, False, True]


def test_the_optimizer_is_given_only_the_weights_that_train(monkeypatch):
    def built(config: EncoderConfig, device: str):
        model = build(config, device)
        for name, weight in model.named_parameters():
            weight.requires_grad_("neck" in name)
        return model

    monkeypatch.setattr("samattn_cli.stack.step.build_implementation", built)
    made = Step(load_config(ENCODER | {"run": {"mode": "training"}}), "meta")
    (group,) = made.optimizer.param_groups
    neck = made.model.get_submodule("neck").parameters()
    assert list(map(id, group["params"])) == list(map(id, neck))
