"""Runs training steps of FSDP2 dry, and keeps what torch's own allocator counted of rank 0 in `fsdp.json`.

    python -m tests.tape.dry.fsdp          # with torch's CUDA build; those that are there stay
    python -m tests.tape.dry.fsdp again    # all anew

It needs what `record` needs. A case is a preset and its settings, as in the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from samattn_cli import load_config
from samattn_cli.encoder.applicable_keys import mapping_of
from samattn_cli.encoder.model import EncoderConfig
from tests.tape.dry.many import measured
from tests.tape.dry.record import case_of

PATH = Path(__file__).with_name("fsdp.json")
DEVICE = "a100_80"

OVER_8 = "run.parallel=fsdp2 run.gpus=8"
BFLOAT16 = "run.param_dtype=bfloat16 run.reduce_dtype=float32"
SCALED = "run.autocast=float16 run.grad_scaler=true"

EACH_PATH = (
    f"vit_b depth=2 {OVER_8}",
    "vit_b depth=2 run.parallel=fsdp2 run.gpus=64",
    "vit_b depth=2 run.parallel=fsdp2 run.gpus=1",
    f"vit_b depth=3 {OVER_8} run.reshard_after_forward=4",
    f"vit_b depth=3 {OVER_8} run.accumulate=3 run.param_dtype=bfloat16",
    f"vit_b depth=3 {OVER_8} run.cpu_offload=true run.param_dtype=bfloat16",
    f"vit_b depth=3 {OVER_8} run.param_dtype=bfloat16 run.trains=blocks.1 run.batch_size=16",
    f"swin_t run.parallel=fsdp2 run.gpus=2 {BFLOAT16}",
    "sam2_hiera_t image_size=224 run.parallel=zero2 run.gpus=2 run.param_dtype=bfloat16",
    f"vit_b depth=3 {OVER_8} run.reshard_after_forward=2 run.trains=blocks.2 run.batch_size=16",
    f"swin_t {OVER_8} run.reshard_after_forward=2 run.trains=norm",
    f"vit_b depth=2 {OVER_8} {SCALED} run.ema=true run.accumulate=2",
    f"vit_b depth=2 {OVER_8} run.ema=true run.cpu_offload=true run.optimizer=sgd",
)
"""One for each path of the code, at small sizes."""

SMALL = (
    "vit_b depth=3 run.parallel=fsdp2 run.gpus=2",
    "vit_b depth=3 run.parallel=zero2 run.gpus=8",
    f"vit_b depth=3 {OVER_8} run.param_dtype=bfloat16",
    f"vit_b depth=3 {OVER_8} {BFLOAT16}",
    f"vit_b depth=3 run.parallel=zero2 run.gpus=8 {BFLOAT16}",
    f"vit_b depth=3 {OVER_8} run.param_dtype=bfloat16 run.reshard_after_forward=2",
    f"vit_b depth=3 {OVER_8} run.cpu_offload=true",
    f"vit_b depth=3 {OVER_8} run.checkpointing=true",
    f"vit_b depth=3 {OVER_8} run.accumulate=2",
    f"vit_b depth=3 {OVER_8} run.step=first",
    f"vit_b depth=3 {OVER_8} run.zero_grad=after_step",
    f"vit_b depth=3 {OVER_8} run.zero_grad=after_forward",
    f"vit_b depth=3 {OVER_8} run.dtype=bfloat16",
    f"vit_b depth=3 {OVER_8} run.optimizer=sgd_momentum run.attention=sdpa",
    f"vit_b depth=4 {OVER_8} run.trains=blocks.2-3,norm",
    f"vit_b depth=3 {OVER_8} run.trains=blocks.2",
    f"vit_b depth=4 {OVER_8} run.checkpointing=blocks.1-2",
    f"vit_b depth=3 {OVER_8} run.cpu_offload=true run.gpus=1 run.param_dtype=bfloat16",
    f"vit_b depth=3 {OVER_8} run.gpus=1 run.param_dtype=bfloat16",
    f"vit_b depth=3 {OVER_8} run.gpus=3",
    f"vit_b depth=3 {OVER_8} run.param_dtype=bfloat16 run.trains=blocks.1 run.batch_size=16 run.accumulate=2",
    f"sam_vit_b image_size=224 {OVER_8}",
    f"sam_vit_b image_size=224 {OVER_8} {BFLOAT16}",
    f"swin_t {OVER_8}",
    f"swin_t {OVER_8} run.checkpointing=true",
    f"swinv2_t image_size=256 {OVER_8}",
    f"sam2_hiera_t image_size=224 {OVER_8}",
    f"mae_b_pretrain {OVER_8}",
    f"vitdet_b_fpn image_size=224 {OVER_8}",
    f"sam_vit_b_lora image_size=224 {OVER_8}",
    f"med_sam_adapter_b image_size=224 {OVER_8}",
    f"deep_encoder image_size=224 {OVER_8}",
    f"qwen2_5_vl_vision image_size=224 {OVER_8}",
    f"sam3_vision image_size=504 {OVER_8}",
    (
        f"sam3_vision image_size=224 {OVER_8} run.reshard_after_forward=4 run.optimizer=sgd run.zero_grad=after_step"
        " run.trains=blocks.1"
    ),
    f"vit_b depth=4 {OVER_8} run.reshard_after_forward=2 run.trains=blocks.3 run.accumulate=2",
    f"vit_b depth=4 {OVER_8} run.reshard_after_forward=4 run.trains=norm run.zero_grad=after_forward",
    f"vit_b depth=4 {OVER_8} run.reshard_after_forward=2 run.trains=blocks.0 run.checkpointing=true run.batch_size=8",
    (
        "vit_b depth=4 run.parallel=fsdp2 run.gpus=4 run.reshard_after_forward=false run.trains=blocks.1-2"
        f" run.batch_size=4 {BFLOAT16}"
    ),
    "vit_b depth=4 run.parallel=fsdp2 run.gpus=3 run.trains=blocks.3,norm run.accumulate=3",
    f"swin_t {OVER_8} run.reshard_after_forward=4 run.trains=blocks.9 run.accumulate=2",
    f"sam2_hiera_t image_size=224 {OVER_8} run.reshard_after_forward=2 run.trains=blocks.6 run.param_dtype=bfloat16",
    "sam_vit_b_lora image_size=224 run.parallel=fsdp2 run.gpus=4 run.reshard_after_forward=2",
    f"med_sam_adapter_b image_size=224 {OVER_8} run.reshard_after_forward=4 run.cpu_offload=true",
    f"vit_b depth=2 {OVER_8} run.ema=true",
    f"vit_b depth=2 {OVER_8} run.autocast=bfloat16",
    f"vit_b depth=2 {OVER_8} {SCALED} run.cpu_offload=true run.optimizer=sgd",
    f"vit_b depth=2 {OVER_8} {BFLOAT16} run.ema=true run.optimizer=sgd",
    f"vit_b depth=2 {OVER_8} {SCALED} run.ema=true run.step=first",
    f"vit_b depth=3 {OVER_8} {SCALED} run.optimizer=sgd run.zero_grad=after_step run.trains=blocks.2",
    "sam_vit_b image_size=224 run.parallel=zero2 run.gpus=2 run.autocast=bfloat16 run.ema=true",
    f"swin_t {OVER_8} run.autocast=bfloat16 run.ema=true run.checkpointing=true",
    f"sam2_hiera_t image_size=224 {OVER_8} {SCALED} run.ema=true run.attention=sdpa",
    f"sam_vit_b_lora image_size=224 {OVER_8} run.autocast=bfloat16 run.ema=true run.step=first",
    f"sam3_vision image_size=224 {OVER_8} run.autocast=bfloat16 run.ema=true run.reshard_after_forward=4",
    f"swinv2_t image_size=256 {OVER_8} {SCALED} run.ema=true",
)
"""Others at small sizes: settings, families."""

WHOLE = (
    f"sam_vit_b {OVER_8}",
    "sam_vit_b run.parallel=zero2 run.gpus=8",
    f"sam_vit_b {OVER_8} {BFLOAT16}",
    f"sam2_hiera_l {OVER_8}",
    f"swin_l {OVER_8}",
    f"sam_vit_l {OVER_8} {BFLOAT16}",
    f"sam_vit_h {OVER_8}",
    f"sam_vit_h run.parallel=zero2 run.gpus=2 {BFLOAT16}",
    f"swin_l run.parallel=zero2 run.gpus=2 {BFLOAT16}",
    f"sam2_hiera_l run.parallel=zero2 run.gpus=2 {BFLOAT16}",
    "sam_vit_l run.parallel=fsdp2 run.gpus=2",
    f"sam_vit_h {OVER_8} {BFLOAT16}",
    "sam_vit_h run.parallel=zero2 run.gpus=8",
    f"sam2_hiera_l {OVER_8} {BFLOAT16}",
    "swin_l run.parallel=fsdp2 run.gpus=2",
    "sam_vit_l run.parallel=zero2 run.gpus=8",
    f"sam_vit_b run.parallel=zero2 run.gpus=8 {BFLOAT16}",
    "sam_vit_b run.parallel=fsdp2 run.gpus=2",
    f"sam_vit_b run.parallel=fsdp2 run.gpus=2 {BFLOAT16}",
    "sam_vit_b run.parallel=zero2 run.gpus=2",
    f"sam_vit_b run.parallel=zero2 run.gpus=2 {BFLOAT16}",
    f"sam_vit_l {OVER_8}",
    f"sam_vit_l run.parallel=zero2 run.gpus=8 {BFLOAT16}",
    f"sam_vit_l run.parallel=fsdp2 run.gpus=2 {BFLOAT16}",
    "sam_vit_l run.parallel=zero2 run.gpus=2",
    f"sam_vit_l run.parallel=zero2 run.gpus=2 {BFLOAT16}",
    f"sam_vit_h run.parallel=zero2 run.gpus=8 {BFLOAT16}",
    "sam_vit_h run.parallel=fsdp2 run.gpus=2",
    f"swin_l {OVER_8} {BFLOAT16}",
    "swin_l run.parallel=zero2 run.gpus=8",
    f"swin_l run.parallel=zero2 run.gpus=8 {BFLOAT16}",
    f"swin_l run.parallel=fsdp2 run.gpus=2 {BFLOAT16}",
    "swin_l run.parallel=zero2 run.gpus=2",
    "sam2_hiera_l run.parallel=fsdp2 run.gpus=2",
    f"sam2_hiera_l run.parallel=fsdp2 run.gpus=2 {BFLOAT16}",
    "sam2_hiera_l run.parallel=zero2 run.gpus=8",
    f"sam2_hiera_l run.parallel=zero2 run.gpus=8 {BFLOAT16}",
    "sam2_hiera_l run.parallel=zero2 run.gpus=2",
    f"sam_vit_h run.parallel=fsdp2 run.gpus=2 {BFLOAT16}",
    "sam_vit_h run.parallel=zero2 run.gpus=2",
    f"sam_vit_b {OVER_8} run.autocast=bfloat16",
    f"sam_vit_h {OVER_8} {SCALED} run.ema=true",
    f"sam2_hiera_l {OVER_8} run.autocast=bfloat16 run.ema=true",
    f"swin_l run.parallel=zero2 run.gpus=2 {SCALED} run.ema=true",
)
"""Encoders at their own size: over 8 and 2 GPUs, resharded after the forward or not, in float32 and with a policy."""

CASES = (*EACH_PATH, *SMALL, *WHOLE)


def config_of(case: str) -> EncoderConfig:
    """The training step of a case."""
    preset, *sets = case.split()
    return load_config(preset, ["run.mode=training", *sets])


def main(*, again: bool) -> None:
    """Run the cases that are not in the file yet."""
    known: dict[str, Any] = {}
    if not again and PATH.exists():
        known = {case["case"]: case for case in json.loads(PATH.read_text("utf-8"))}
    wanted = [case for case in CASES if case not in known]
    outcomes = measured(DEVICE, "", [mapping_of(config_of(case)) for case in wanted])
    for case, outcome in zip(wanted, outcomes, strict=True):
        if outcome["status"] != "measured":
            sys.exit(f"{case}: {outcome['message']}")
        config = config_of(case)
        figures = case_of(case.split()[0], DEVICE, config, outcome["measured"], [])
        del figures["run"]
        known[case] = {"case": case, **figures}
    kept = [json.dumps(known[case]) for case in CASES]
    PATH.write_text("[\n" + ",\n".join(kept) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main(again="again" in sys.argv)
