"""What timm's own encoders allocate, kept in `timm.json`, so that tests compare the Tape with them without timm.

    python -m tests.public.timm_encoders        # one minute, where timm is installed
    python -m tests.public.timm_encoders wide   # also says whether the Tape has each allocation of the cases of `WIDE`

timm needs a torchvision that fits torch, which the tests' environment does not have. A case is a preset and changes of it. Of
each phase and part there are the number of allocations, the most bytes live, the bytes that it leaves, and a checksum of the
sequence of all allocations. "whole" is an inference forward of the model itself, which is not cut into the parts of the plan.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.implementations import implementation_of
from samattn_cli.stack.cuda import AsOnCuda
from samattn_cli.stack.encoder import image_for, in_training_mode
from samattn_cli.stack.implementation import build_implementation
from samattn_cli.stack.trace import PartTrace, Tracer, trace_forward, trace_training
from samattn_cli.studies.verify import claims_of
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import walk, weights_bytes
from samattn_cli.units import rounded
from samattn_cli.verdicts import ClaimedPass

MIB = 2**20
PATH = Path(__file__).with_name("timm.json")

SAM = "sam_vit_b depth=3 global_attn_indexes=1"
SWIN, SWINV2 = "swin_t stages.2.depth=2", "swinv2_t stages.2.depth=2"
SAM2 = "sam2_hiera_t neck=none stages.2.depth=3 stages.2.global_attn_indexes=5"
TINY = "tiny_vit_5m stages.2.depth=1"
DAVIT = " ".join(
    f"stages.{number}.{key}"
    for number in range(4)
    for key in ("depth=2", "embed_dim=32", "num_heads=2", "window_size=3")
)
SMALL = (
    f"{SAM} image_size=256",
    f"{SAM} image_size=[224,304] run.batch_size=2 run.dtype=float16",
    f"{SAM} image_size=256 run.torch=2.13",
    f"{SAM} image_size=[224,304] run.batch_size=2 run.dtype=float16 run.torch=2.6",
    f"{SWIN} image_size=112",
    f"{SWIN} image_size=[264,296] run.batch_size=2 run.dtype=bfloat16",
    f"{SWINV2} image_size=128",
    f"{SWINV2} image_size=[264,328] run.batch_size=2 run.dtype=float16",
    "vit_b depth=2 image_size=64",
    "vit_b depth=2 image_size=[96,160] run.batch_size=2 run.dtype=bfloat16",
    "vit_b depth=1 image_size=64 pos_embed=patches reg_tokens=4 layer_scale=true mlp=swiglu_packed run.batch_size=2",
    "vit_b depth=1 image_size=64 pos_embed=patches class_token=false mlp=gelu_tanh norm=false run.dtype=bfloat16",
    "vit_b depth=1 image_size=64 pos_embed=tokens reg_tokens=1 mlp=swiglu run.batch_size=2 run.dtype=float16",
    "vit_b depth=1 image_size=64 block=clip patch_embed=patch_no_bias pre_norm=true run.batch_size=2",
    f"davit_t {DAVIT} image_size=[40,56]",
    f"florence2_base {DAVIT} stages.0.depth=4 image_size=[42,57] run.batch_size=2 run.dtype=float16",
    f"{SAM2} image_size=128",
    f"{SAM2} image_size=[96,160] run.batch_size=2 run.dtype=float16",
    f"{TINY} image_size=112",
    f"{TINY} image_size=[120,136] run.batch_size=2 run.dtype=float16",
)
"""Cases that take each path once. Each runs under both kernels."""

WIDE = (
    f"{SAM} image_size=800 run.batch_size=4",
    f"{SAM} image_size=512 window_size=16 run.batch_size=4 run.dtype=bfloat16",
    f"{SAM} image_size=256 run.dtype=bfloat16 rel_pos=none pos_embed=none qkv_bias=false",
    f"{SAM} image_size=256 run.dtype=float16 run.checkpointing=true",
    f"{SAM} image_size=256 window_size=0 global_attn_indexes=none",
    f"{SAM} image_size=256 run.batch_size=2 run.autocast=bfloat16",
    f"{SAM} image_size=256 run.batch_size=2 run.autocast=bfloat16 run.torch=2.13",
    f"{SAM} image_size=256 run.dtype=bfloat16 run.torch=2.13 rel_pos=none pos_embed=none qkv_bias=false",
    f"{SAM} image_size=256 run.dtype=bfloat16 run.torch=2.13 run.checkpointing=true",
    "sam_vit_b run.torch=2.13",
    "sam_vit_b run.torch=2.13 run.dtype=bfloat16",
    f"{SWIN} image_size=[264,296] run.autocast=float16",
    f"{SWINV2} image_size=128 run.autocast=bfloat16",
    "vit_b depth=2 image_size=64 run.autocast=float16",
    f"{SAM2} image_size=[96,160] run.autocast=bfloat16",
    f"{TINY} image_size=[120,136] run.autocast=bfloat16",
    f"{TINY} image_size=112 run.checkpointing=true",
    "tiny_vit_5m",
    "tiny_vit_21m run.dtype=bfloat16 run.batch_size=4",
    "tiny_vit_5m image_size=1024",
    "sam_vit_b",
    "sam_vit_b run.dtype=bfloat16 run.batch_size=4",
    "sam_vit_l run.dtype=float16",
    "sam_vit_h",
    "swin_t",
    "swin_t run.batch_size=4 run.dtype=float16",
    "swin_t image_size=[296,264] run.batch_size=4 run.dtype=bfloat16 stages.0.depth=1",
    f"{SWIN} image_size=112 run.checkpointing=true run.dtype=bfloat16",
    f"{SWINV2} image_size=128 run.checkpointing=true run.autocast=float16",
    "davit_t",
    "davit_s image_size=[230,250] run.dtype=float16",
    "florence2_base",
    "florence2_large run.batch_size=2 run.dtype=bfloat16",
    "swin_b",
    "swin_l run.dtype=bfloat16",
    "swinv2_t",
    "swinv2_t run.batch_size=4 run.dtype=bfloat16",
    "swinv2_t image_size=[328,264] stages.0.depth=1 run.dtype=float16",
    "swinv2_b",
    "vit_b",
    "vit_l run.batch_size=4 run.dtype=bfloat16",
    "vit_h run.dtype=float16 qkv_bias=false",
    "vit_b depth=2 run.checkpointing=true",
    "sam2_hiera_t neck=none",
    "sam2_hiera_t neck=none image_size=[96,160] run.batch_size=4 run.dtype=bfloat16",
    "sam2_hiera_t neck=none image_size=256 run.batch_size=4 run.dtype=float16 run.checkpointing=true",
    "sam2_hiera_b_plus neck=none run.dtype=bfloat16",
    "sam2_hiera_l neck=none",
)


def cases(lines: Iterable[str]) -> list[str]:
    """Each case under each kernel that its model has."""
    return [f"{line} run.attention={kernel}" for line in lines for kernel in _kernels(line)]


def _kernels(line: str) -> tuple[str, ...]:
    run = implementation_of(config_of(line))
    assert run is not None, line
    return run.model.kernels


@cache
def config_of(case: str) -> EncoderConfig:
    """The encoder of a case."""
    preset, *changes = case.split()
    return load_config(preset, ["implementation=timm", *changes])


Figures = dict[str, list[int]]


def _figures(sizes: Iterable[int], live: Iterable[int], change: int) -> list[int]:
    steps = list(zip(sizes, live, strict=True))
    return [len(steps), max((live for _, live in steps), default=0), change, zlib.crc32(repr(steps).encode())]


def _of_traces(parts: Mapping[str, PartTrace]) -> Figures:
    return {name: _figures(part.allocations, part.live, part.change) for name, part in parts.items()}


def _of_claims(claimed: ClaimedPass) -> Figures:
    return {
        name: _figures(
            (size for _, size in claimed.allocations[name]), (live for _, live in claimed.live[name]), change
        )
        for name, change in claimed.change.items()
    }


def traced(config: EncoderConfig) -> dict[str, Figures]:
    """The figures of timm's encoder."""
    run = implementation_of(config)
    assert run is not None
    run.module("stack")  # timm is imported before torch's compiler is kept out
    model = build_implementation(config)
    weights = sum(rounded(each.nbytes) for each in (*model.parameters(), *model.buffers()))
    image = image_for(config, "meta")
    inference = trace_forward(model, image, weights)
    training, backward, _ = trace_training(in_training_mode(model, config), image, 0)
    phases = {"inference": inference, "training": training, "backward": backward}
    return {phase: _of_traces(parts) for phase, parts in phases.items()} | {"whole": {"": _whole(config)}}


def _whole(config: EncoderConfig) -> list[int]:
    if config.run.autocast != "none":  # of parts alone
        return []
    run = implementation_of(config)
    assert run is not None
    dtype = getattr(torch, config.run.dtype)
    with torch.device("meta"):
        model = run.module("stack").model(config).to(dtype).eval()
    image = image_for(config, "meta")
    mode = Tracer("meta", 0)
    mode.ignore(*model.parameters(), *model.buffers(), image)
    with torch.no_grad(), AsOnCuda(config.run.torch_version), mode:
        model.forward_features(image)
    return _figures(mode._part.allocations, mode._part.live, 0)


def derived(config: EncoderConfig) -> dict[str, Figures]:
    """The figures of the Tape."""
    claims = claims_of(config)
    phases = {"inference": claims.inference, "training": claims.training, "backward": claims.backward}
    return {phase: _of_claims(claimed) for phase, claimed in phases.items()} | {
        "whole": {"": _derived_whole(config)}
    }


def _derived_whole(config: EncoderConfig) -> list[int]:
    if config.run.autocast != "none":
        return []
    passed = forward(config)
    before = weights_bytes(passed) + rounded(passed.image.nbytes)
    sizes = [s.nbytes for part in passed.segments for op in part.recording.ops for s in op.allocates]
    live = [part.before - before + live for part in walk(passed) for _, live in part.liveness.steps]
    return _figures(sizes, live, 0)


def recorded() -> dict[str, Any]:
    """What `main` wrote."""
    kept: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
    return kept


def main(say: Callable[[str], object] = print, *, wide: bool = False) -> None:
    """Trace the small cases and keep them; say of each case, of the wide ones too if asked, whether the Tape is equal."""
    kept = {}
    for case in cases(SMALL):
        kept[case] = traced(config_of(case))
        say(_compared(case, kept[case]))
    made_by = {package: version(package) for package in ("timm", "torch")}
    lines = ",\n".join(f"{json.dumps(case)}: {json.dumps(kept[case])}" for case in kept)
    PATH.write_text(f'{{"made_by": {json.dumps(made_by)},\n"cases": {{\n{lines}\n}}}}\n', "utf-8")
    for case in cases(WIDE) if wide else ():
        say(_compared(case, traced(config_of(case))))


def _compared(case: str, found: dict[str, Figures]) -> str:
    peak = found["whole"][""][1] / MIB if found["whole"][""] else 0
    return f"{'equal' if found == derived(config_of(case)) else 'NOT EQUAL'}  {peak:,.2f} MiB  {case}"


if __name__ == "__main__":
    main(wide="wide" in sys.argv)
