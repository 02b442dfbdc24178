"""Gradient checkpointing of transformers' Swins, whose checkpoint is a whole stage, and in Swin each block of it too."""

from __future__ import annotations

import pytest
import torch
from transformers import SwinModel, Swinv2Model

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.families.swin.transformers_stack import settings as swin_settings
from samattn_cli.families.swinv2.transformers_stack import settings as swinv2_settings
from samattn_cli.stack.cuda import AsOnCuda
from samattn_cli.stack.encoder import image_for
from samattn_cli.stack.gradients import uses_of_the_last_holder
from samattn_cli.stack.trace import Tracer, backward_of
from samattn_cli.studies.verify import verify
from samattn_cli.tape.training import TrainingStep, training_step
from tests.support.sampling import sampled

SMALL = [
    "implementation=transformers",
    "run.checkpointing=true",
    "image_size=64",
    *(f"stages.{n}.{key}" for n in range(4) for key in ("window_size=2", "num_heads=2")),
    *(f"stages.{n}.embed_dim={16 << n}" for n in range(4)),
    *(f"stages.{n}.depth={depth}" for n, depth in enumerate((1, 2, 1, 2))),
]
MODELS = {"swin_t": (SwinModel, swin_settings), "swinv2_t": (Swinv2Model, swinv2_settings)}

RUNS = [
    ("swinv2_t", "eager", ["run.autocast=bfloat16"]),
    ("swin_t", "eager", ["run.dtype=float16", "run.batch_size=2"]),
    ("swin_t", "sdpa", ["run.autocast=bfloat16"]),  # a stage begins in bfloat16, and its norms save copies
    ("swin_t", "eager", ["run.trains=blocks.1-2,norm"]),
    # keys have no bias: their weight's gradient is added after that of the tokens has been passed on
    ("swinv2_t", "eager", ["run.mode=training", "run.accumulate=2"]),
    ("swin_t", "sdpa", ["run.mode=training", "run.accumulate=2"]),
    ("swin_t", "eager", ["run.grad=true"]),
    ("swinv2_t", "eager", ["run.trains=norm"]),
]


@pytest.mark.parametrize(("preset", "attention", "changes"), sampled(RUNS, 8), ids=str)
def test_the_parts_of_a_model_with_a_checkpoint_of_each_stage_are_derived_to_the_last_byte(
    preset, attention, changes
):
    config = load_config(preset, [*SMALL, f"run.attention={attention}", *changes])
    verdict = verify(config, every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


@pytest.mark.parametrize(
    ("preset", "attention"), [("swin_t", "sdpa"), ("swin_t", "eager"), ("swinv2_t", "eager")]
)
def test_a_step_of_the_whole_model_with_its_own_checkpointing_is_derived_to_the_last_byte(preset, attention):
    """The model of transformers as it is, in training mode, after `activation_checkpointing_enable()`."""
    config = load_config(
        preset, [*SMALL, f"run.attention={attention}", "run.mode=training", "run.batch_size=2"]
    )
    assert live_in(training_step(config)) == traced(preset, config)


def live_in(step: TrainingStep) -> list[int]:
    """The bytes of activations and gradients that are live after each allocation of a step, in its order."""
    return [
        step.before[section] - step.before_bytes + live
        for section, moment in step.moments.items()
        if moment.liveness is not None
        for _, live in moment.liveness.steps
    ]


def traced(preset: str, config: EncoderConfig) -> list[int]:
    """The same of transformers' model; the gradient of its output is there when the backward begins."""
    kind, settings = MODELS[preset]
    with torch.device("meta"):
        model = kind(settings(config), add_pooling_layer=False).train()
        image = image_for(config, "meta")
    model.activation_checkpointing_enable()
    mode = Tracer("meta", 0)
    mode.ignore(*model.parameters(), *model.buffers(), image)
    alone = uses_of_the_last_holder()
    with torch.enable_grad(), AsOnCuda(), mode:
        output = model(image).last_hidden_state
        forward = list(mode._part.live)
        mode.alone = alone
        gradients = backward_of(output)
    backward = mode._part.live[len(forward) + len(gradients) :]
    return [*forward, *backward]


def test_nested_checkpoints_run_a_block_three_times():
    """Swin's blocks are checkpoints in that of their stage. Each second forward stops where nothing more is saved.

    That of a block stops before its last linear layer, that of a stage before its merging's, and that of the last stage
    before its last block.
    """
    forms = [["implementation=transformers"], ["implementation=transformers", "run.checkpointing=true"]]
    kept, again = (training_step(load_config("swin_t", words)) for words in forms)
    blocks = [segment.recording for segment in again.forward.segments if segment.layer is not None]
    last_linears = sum(op.flops for block in blocks for op in block.ops if op.name == "mlp.fc2")
    flops = sum(block.flops for block in blocks)
    assert again.flops - kept.flops == (flops - last_linears) + (flops - blocks[-1].flops)
