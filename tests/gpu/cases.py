"""What is run on a GPU: encoders whose memory is recorded, those that are timed, and those at the edge of its memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product

from samattn_cli import load_config, load_device
from samattn_cli.encoder.hash import config_hash
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.records import replace
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.tape.inside import Cuda
from tests.tape.dry.on_a_gpu import CASES
from tests.tape.dry.record import PATH

TORCH = "2.11"
"""The version of torch on the machine that was lent."""

MORE: tuple[tuple[str, tuple[str, ...]], ...] = (
    *CASES,
    *(
        (preset, (f"run.mode={mode}", f"run.dtype={dtype}", f"run.attention={kernel}", "run.batch_size=2"))
        for preset in ("vit_b", "swin_t", "sam2_hiera_t")
        for mode in ("inference", "training")
        for dtype in ("float32", "bfloat16", "float16")
        for kernel in ("eager", "sdpa")
    ),
    *(
        ("sam_vit_b", ("run.mode=training", "run.parallel=fsdp2", f"run.gpus={gpus}", "image_size=512", more))
        for gpus, more in (
            (8, "run.dtype=float32"),
            (64, "run.dtype=float32"),
            (8, "run.reshard_after_forward=false"),
        )
    ),
)


def remembered() -> Iterator[EncoderConfig]:
    """Those of which memory alone is recorded: each recorded dry run, and more."""
    seen = set[str]()
    for config in _all():
        if (key := config_hash(config)) not in seen:
            seen.add(key)
            yield config


def _all() -> Iterator[EncoderConfig]:
    for case in json.loads(PATH.read_text("utf-8")):
        settings = case["run"] | ({"torch": TORCH} if "torch" in case["run"] else {})
        sets = [f"run.{key}={value}" for key, value in settings.items() if value != ""]
        about = [f"image_size={case['image_size']}", f"implementation={case['implementation']}"]
        yield load_config(case["preset"], [*about, *sets])
    for preset, sets in MORE:
        yield load_config(preset, list(sets))


TIMED: tuple[tuple[str, dict[str, str]], ...] = (
    *(
        (
            preset,
            {
                "image_size": "512,1024",
                "run.attention": "eager,sdpa,fused",
                "run.dtype": "float32,bfloat16",
            },
        )
        for preset in ("sam_vit_b", "sam_vit_h")
    ),
    ("sam_vit_l", {"run.attention": "eager,sdpa", "run.dtype": "float32,bfloat16,float16"}),
    ("sam_vit_h", {"image_size": "2048", "run.attention": "eager,sdpa", "run.dtype": "bfloat16"}),
    ("sam_vit_h", {"run.attention": "eager,sdpa", "run.tf32": "true"}),
    (
        "sam_vit_b",
        {
            "run.mode": "training",
            "run.attention": "eager,sdpa",
            "run.dtype": "float32,bfloat16",
            "run.batch_size": "1,4",
        },
    ),
    ("sam_vit_h", {"run.mode": "training", "run.attention": "sdpa", "run.dtype": "bfloat16"}),
    (
        "vit_b",
        {
            "run.mode": "inference,training",
            "run.attention": "sdpa",
            "run.dtype": "float32,bfloat16",
            "run.batch_size": "64",
        },
    ),
    ("swin_t", {"run.mode": "inference,training", "run.dtype": "float32,bfloat16", "run.batch_size": "32"}),
    ("swin_l_384", {"run.dtype": "bfloat16", "run.batch_size": "16"}),
    ("sam2_hiera_l", {"run.attention": "sdpa", "run.dtype": "float32,bfloat16"}),
    ("qwen2_5_vl_vision", {"run.attention": "sdpa", "run.dtype": "bfloat16"}),
    ("sam3_vision", {"run.attention": "sdpa", "run.dtype": "bfloat16"}),
)


def timed() -> Iterator[EncoderConfig]:
    """Those that are timed, one at a time."""
    for preset, axes in TIMED:
        for values in product(*(text.split(",") for text in axes.values())):
            yield load_config(preset, [f"{key}={value}" for key, value in zip(axes, values, strict=True)])


EDGES: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("sam_vit_h", ("run.mode=training",), 5),
    ("sam_vit_b", ("run.mode=training", "run.dtype=bfloat16"), 30),
    ("sam_vit_h", ("run.dtype=bfloat16",), 76),
    ("swin_b", ("run.mode=training",), 646),
)
"""Presets, settings, and the most images that are derived to fit an H200: so many are tried, and one more."""


def h200() -> Cuda:
    """The GPU, without cuDNN's attention, which `samattn measure` switches off."""
    cuda = cuda_of(load_device("h200"))
    assert cuda is not None
    return replace(cuda, has_cudnn_attention=False)
