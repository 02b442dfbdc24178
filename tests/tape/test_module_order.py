"""The order of a model's weights: derived from the Tape, and that of the real stack on meta."""

from __future__ import annotations

import pytest
import torch

from samattn_cli import load_config
from samattn_cli.stack.implementation import build_implementation
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.module_order import in_module_order, registered_in
from samattn_cli.tape.ops import parameter_elements


@pytest.mark.parametrize(
    "preset",
    ["mae_b", "med_sam_adapter_b", "qwen2_5_vl_vision", "sam2_hiera_t", "swin_t", "swinv2_t", "tiny_vit_5m"],
)
def test_weights_are_in_the_order_of_parameters(preset: str) -> None:
    """In each of these, modules use their weights in another order than that in which they register them."""
    config = load_config(preset)
    segments = forward(config).segments
    sizes = {
        segment.qualified(weight.name): parameter_elements(weight)
        for segment in segments
        for weight in segment.recording.parameters
    }
    ours = [sizes[name] for name in in_module_order(sizes, registered_in(segments))]
    assert ours == [weight.numel() for weight in build_implementation(config).parameters()]


def test_weights_are_moved_to_a_gpu_in_the_order_of_module_to() -> None:
    """Torch moves what a module holds, its positions or tokens, after its submodules."""
    config = load_config("sam_vit_b", ["depth=2", "global_attn_indexes=[1]"])
    segments = forward(config).segments
    names = [
        segment.qualified(weight.name) for segment in segments for weight in segment.recording.parameters
    ]
    encoder, moved = build_implementation(config), []
    of_weight = {id(weight): name for name, weight in encoder.named_parameters()}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        moved.append(of_weight.get(id(tensor)))
        return tensor

    encoder._apply(move)
    assert len(set(names)) == len(of_weight)
    ours = list(in_module_order(names, registered_in(segments), moved=True))
    assert [name for name in moved if name is not None] == ours
    assert ours != list(in_module_order(names, registered_in(segments)))
