"""SAM's encoder under every kernel and type: derived, counted and traced alike, inference and training step."""

import pytest

from samattn_cli import load_config
from samattn_cli.studies.verify import verify

PRESETS = ["sam_vit_b", "custom_encoder"]
TYPES = {"float32": [], "bfloat16": ["run.dtype=bfloat16"], "autocast": ["run.autocast=float16"]}


KERNELS = ["eager", "sdpa", "fused"]
SIZES_OF_SAM = {("eager", "autocast"), ("sdpa", "bfloat16"), ("fused", "float32")}
"""Each kernel and each type once at the sizes of SAM. Each week both encoders are run with all."""
OTHER_SIZES = {("eager", "bfloat16"), ("sdpa", "float32"), ("fused", "autocast")}
"""Likewise of the other encoder: of the nine pairs six are in the suite, each kernel and each type twice."""

CASES = [
    pytest.param(preset, kernel, types, marks=[pytest.mark.exhaustive] if left_out else [])
    for preset in PRESETS
    for kernel in KERNELS
    for types in TYPES
    for left_out in [(kernel, types) not in (SIZES_OF_SAM if preset == "sam_vit_b" else OTHER_SIZES)]
]


@pytest.mark.parametrize(("preset", "kernel", "types"), CASES)
def test_the_tape_equals_the_real_stack(preset, kernel, types):
    settings = ["run.dtype=float32"] if preset == "custom_encoder" and types != "bfloat16" else []
    verdict = verify(
        load_config(preset, [*settings, *TYPES[types], f"run.attention={kernel}"]), every_layer=False
    )
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"


@pytest.mark.parametrize("preset", ["sam_vit_b"])
@pytest.mark.parametrize("kernel", ["eager", pytest.param("sdpa", marks=pytest.mark.exhaustive), "fused"])
def test_the_tape_equals_the_real_stack_with_checkpointing(preset, kernel):
    settings = [f"run.attention={kernel}", "run.checkpointing=true", "run.autocast=bfloat16"]
    assert verify(load_config(preset, settings), every_layer=False).status == "exact"
