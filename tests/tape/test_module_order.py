"""The order of a model's weights: derived from the Tape, and that of the real stack on meta."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.stack.implementation import build_implementation
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.module_order import in_module_order, registered_in
from samattn_cli.tape.ops import parameter_elements


@pytest.mark.parametrize(
    "preset", ["mae_b", "med_sam_adapter_b", "qwen2_5_vl_vision", "sam2_hiera_t", "swin_t", "swinv2_t"]
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
