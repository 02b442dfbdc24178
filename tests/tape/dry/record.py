"""Runs the encoders of `CASES` dry, and keeps what torch's own allocator counted in `runs.json`.

    python -m tests.tape.dry.record        # with torch's CUDA build
    python -m tests.tape.dry.record 19     # only those from the 19th on, added to what is there

It needs torch's CUDA build (5.5 GB; `pip install torch` on Linux x86_64), a C compiler, and no GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from samattn_cli import load_config
from samattn_cli.encoder.applicable_keys import RUN_READERS, mapping_of, unused_keys
from samattn_cli.encoder.model import EncoderConfig
from tests.tape.dry.later import BOTH, OWN, SMALL_ENCODERS
from tests.tape.dry.many import measured

PATH = Path(__file__).with_name("runs.json")

SMALL = {
    "sam_vit_b": {"--resolutions": "224"},
    "swin_t": {},
    "sam2_hiera_t": {"--resolutions": "224"},
    "vit_b": {},
    "sam_vit_b_lora": {"--resolutions": "224"},
}
"""Presets in which the keys of a step are tried."""

HALF = {
    "sam_vit_b": {"--mode": BOTH, "--resolutions": "512"},
    "vit_b": {"--mode": BOTH},
    "mae_b_pretrain": {"--mode": "training"},
    "vitdet_b_fpn": {"--mode": "training", "--resolutions": "224"},
    "swin_t": {"--mode": BOTH},
    "swinv2_t": {"--mode": BOTH, "--resolutions": "256"},
    "sam2_hiera_t": {"--mode": BOTH, "--resolutions": "224"},
    "deep_encoder": {"--mode": "training", "--resolutions": "224"},
    "qwen2_5_vl_vision": {"--mode": "training", "--resolutions": "224"},
    "med_sam_adapter_b": {"--mode": "training", "--resolutions": "224"},
    "sam_vit_b_lora": {"--mode": "training", "--resolutions": "224"},
    "sam3_vision": {"--mode": BOTH, "--resolutions": "504"},
}
"""Presets that run in bfloat16, and under autocast."""

AROUND = {
    "ddp": "run.parallel=ddp",
    "views": "run.parallel=ddp run.gradient_as_bucket_view=true",
    "scaler": "run.grad_scaler=true run.autocast=float16",
    "ema": "run.ema=true",
    "all": "run.parallel=ddp run.grad_scaler=true run.autocast=bfloat16 run.ema=true run.accumulate=2",
}
"""What is around the model in a training step."""

LATER = {
    "rf_detr_base": "448",
    "lw_detr_tiny": "320",
    "tiny_vit_5m": "224",
    "hiera_t": "224",
    "davit_t": "224",
    "florence2_base": "224",
}
"""Presets of families that came later."""

CASES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("sam_vit_b", "a100_80", {"--mode": BOTH}),
    ("vit_b", "a100_80", {"--mode": BOTH, "--batch-size": "1,4"}),
    ("mae_b_pretrain", "a100_80", {"--mode": BOTH}),
    ("vitdet_b", "a100_80", {"--mode": BOTH, "--resolutions": "224"}),
    ("vitdet_b_fpn", "a100_80", {"--mode": BOTH, "--resolutions": "224"}),
    ("swin_t", "a100_80", {"--mode": BOTH}),
    ("swinv2_t", "a100_80", {"--mode": BOTH, "--resolutions": "256"}),
    ("sam2_hiera_t", "a100_80", {"--mode": BOTH, "--resolutions": "224"}),
    ("sam2_hiera_t", "l4", {"--mode": "inference", "--resolutions": "512", "--attention": "eager,sdpa"}),
    ("deep_encoder", "a100_80", {"--mode": BOTH, "--resolutions": "224"}),
    ("qwen2_5_vl_vision", "a100_80", {"--mode": BOTH, "--resolutions": "224"}),
    ("sam3_vision", "a100_80", {"--mode": "inference", "--resolutions": "504"}),
    ("med_sam_adapter_b", "a100_80", {"--mode": BOTH, "--resolutions": "224"}),
    ("sam_vit_b_lora", "a100_80", {"--mode": BOTH, "--resolutions": "224"}),
    ("sam_vit_b", "l4", {"--mode": BOTH, "--resolutions": "512", "--attention": "sdpa", "--batch-size": "4"}),
    ("sam_vit_b", "h100", {"--mode": "training", "--resolutions": "448", "--set": "run.checkpointing=true"}),
    ("vitdet_b", "t4", {"--mode": "training", "--resolutions": "448", "--set": "run.checkpointing=true"}),
    ("sam_vit_h", "h100", {"--mode": BOTH, "--resolutions": "512"}),
    (
        "sam_vit_b",
        "a100_80",
        {"--mode": BOTH, "--attention": "sdpa,eager", "--set": "implementation=transformers"},
    ),
    *(
        (preset, "a100_80", {"--mode": "training", **SMALL[preset], "--set": "run.step=first"})
        for preset in SMALL
    ),
    *(
        (preset, "a100_80", {"--mode": "training", **SMALL[preset], "--set": "run.zero_grad=after_forward"})
        for preset in ("swin_t", "vit_b")
    ),
    (
        "sam_vit_b",
        "a100_80",
        {"--mode": "training", **SMALL["sam_vit_b"], "--set": "run.zero_grad=after_step"},
    ),
    *(
        (preset, "a100_80", {"--mode": "training", **SMALL[preset], "--set": "run.accumulate=3"})
        for preset in SMALL
    ),
    *((preset, "a100_80", {**SMALL[preset], "--set": "run.grad=true"}) for preset in SMALL),
    *(
        (preset, "a100_80", {"--mode": "training", **SMALL[preset], "--set": f"run.allocator={settings}"})
        for preset, settings in (
            ("swin_t", "max_split_size_mb:20"),
            ("vit_b", "garbage_collection_threshold:0.6"),
            ("sam_vit_b", "roundup_power2_divisions:4"),
        )
    ),
    ("swinv2_t", "l4", {"--mode": BOTH, "--resolutions": "128", "--set": "run.autocast=bfloat16"}),
    *(
        (preset, "a100_80", {**options, key: value})
        for key, value in (("--dtype", "bfloat16"), ("--set", "run.autocast=bfloat16"))
        for preset, options in HALF.items()
    ),
    (
        "sam_vit_b",
        "l4",
        {"--mode": "training", "--resolutions": "512", "--attention": "sdpa,fused", "--dtype": "bfloat16"},
    ),
    ("swin_t", "a100_80", {"--mode": "training", "--resolutions": "448", "--set": "run.checkpointing=true"}),
    *(
        (preset, "l4", {"--mode": "training", **size, "--set": "run.autocast=float16"})
        for preset, size in (("sam_vit_b", {"--resolutions": "512"}), ("vit_b", {"--batch-size": "16"}))
    ),
    *(
        (
            "sam2_hiera_t",
            "a100_80",
            {
                "--mode": mode,
                "--resolutions": side,
                "--attention": "sdpa,eager",
                "--set": "implementation=transformers",
            },
        )
        for mode, side in (("inference", "512"), ("training", "224"))
    ),
    *(
        (
            preset,
            "a100_80",
            {"--mode": "training", **SMALL[preset], **options, "--set": f"run.trains={trained}"},
        )
        for preset, trained, options in (
            ("sam_vit_b", "neck,blocks.8-11", {}),
            ("vit_b", "blocks.6-11", {"--attention": "sdpa"}),
            ("swin_t", "patch_embed,transitions", {"--dtype": "bfloat16"}),
            ("sam2_hiera_t", "blocks.11", {}),
        )
    ),
    ("sam_vit_b", "a100_80", {"--mode": "training", "--set": "run.parallel=ddp"}),
    *(
        (
            preset,
            "a100_80",
            {"--mode": "training", **SMALL[preset], "--set": f"{AROUND[word]} {others}".strip()},
        )
        for word, others, several in (
            ("ddp", "", tuple(SMALL)),
            ("ddp", "run.step=first", ("sam_vit_b", "swin_t")),
            ("ddp", "run.accumulate=2", ("sam_vit_b",)),
            ("views", "", ("sam_vit_b", "swin_t", "vit_b")),
            ("views", "run.step=first", ("vit_b",)),
            ("views", "run.accumulate=3", ("swin_t",)),
            ("views", "run.zero_grad=after_forward run.dtype=bfloat16", ("sam2_hiera_t",)),
            ("scaler", "", ("sam_vit_b", "swin_t", "vit_b")),
            ("scaler", "run.step=first run.optimizer=sgd", ("vit_b",)),
            ("ema", "", tuple(SMALL)),
            ("ema", "run.step=first run.optimizer=sgd_momentum", ("swin_t",)),
            ("ema", "run.optimizer=sgd", ("sam_vit_b",)),
            ("all", "", ("sam_vit_b", "vit_b")),
        )
        for preset in several
    ),
    *(
        (
            preset,
            "a100_80",
            {
                "--mode": mode,
                **SMALL.get(preset, {"--resolutions": "256"}),
                "--attention": kernel,
                "--dtype": dtype,
                "--set": "implementation=transformers",
            },
        )
        for preset, kernels in (("vit_b", "eager sdpa"), ("swin_t", "eager sdpa"), ("swinv2_t", "eager"))
        for kernel in kernels.split()
        for mode, dtype in (("inference", "bfloat16"), ("training", "float32"))
    ),
    *(
        (
            preset,
            "a100_80",
            {
                "--mode": "training",
                **SMALL.get(preset, {"--resolutions": "256"}),
                "--attention": kernel,
                "--dtype": "bfloat16",
                "--set": "implementation=transformers",
            },
        )
        for preset, kernel in (("vit_b", "sdpa"), ("swin_t", "eager"), ("swinv2_t", "eager"))
    ),
    ("swin_t", "a100_80", {"--mode": BOTH, "--set": "run.allocator=expandable_segments:True"}),
    *(
        (preset, "a100_80", {**options, "--set": f"implementation={library}"})
        for library, preset, options in (
            ("transformers", "mae_b_pretrain", {"--mode": "training", "--attention": "sdpa"}),
            ("transformers", "vitdet_b", {"--mode": "training", "--resolutions": "224"}),
            ("transformers", "qwen2_5_vl_vision", {"--mode": "inference", "--resolutions": "224"}),
            ("timm", "sam_vit_b", {"--mode": BOTH, "--attention": "sdpa", "--resolutions": "224"}),
            ("timm", "swin_t", {"--mode": "training", "--attention": "sdpa", "--dtype": "bfloat16"}),
            ("timm", "vit_b", {"--mode": "training", "--attention": "sdpa"}),
        )
    ),
    *(
        (
            preset,
            "a100_80",
            {"--mode": "training", **SMALL[preset], "--set": f"run.parallel=zero1 {others}"},
        )
        for preset, others in (
            ("vit_b", "run.gpus=8"),
            ("swin_t", "run.gpus=3 run.optimizer=sgd_momentum run.gradient_as_bucket_view=true"),
            ("sam2_hiera_t", "run.gpus=64 run.step=first"),
            ("sam_vit_b", "run.gpus=2 run.accumulate=2 run.dtype=bfloat16"),
            ("sam_vit_b_lora", "run.gpus=8 run.ema=true run.grad_scaler=true run.autocast=float16"),
        )
    ),
    ("sam_vit_b", "a100_80", {"--mode": "training", "--set": "run.parallel=zero1 run.gpus=8"}),
    *(
        (
            preset,
            "a100_80",
            {"--mode": "training", **options, "--set": f"implementation=transformers {others}"},
        )
        for preset, options, others in (
            ("swin_t", {"--attention": "sdpa"}, "run.checkpointing=true"),
            ("swin_t", {}, "run.checkpointing=true run.autocast=bfloat16"),
            ("swinv2_t", {"--resolutions": "256"}, "run.checkpointing=true"),
            ("vitdet_b", {"--resolutions": "224"}, "run.autocast=bfloat16"),
            ("sam3_vision", {"--resolutions": "224", "--attention": "sdpa"}, "run.autocast=bfloat16"),
            ("sam3_vision", {"--resolutions": "224"}, "run.step=first"),
        )
    ),
    *(
        (
            preset,
            "a100_80",
            {"--mode": "training", "--resolutions": side, "--set": f"run.checkpointing={blocks} {others}"},
        )
        for preset, side, blocks, others in (
            ("sam_vit_b", "448", "global", ""),
            ("sam_vit_b", "512", "window", "run.attention=sdpa run.autocast=bfloat16"),
            ("vitdet_b", "448", "every_2nd", ""),
            ("swin_t", "224", "blocks.2,blocks.5-7", ""),
            ("sam2_hiera_t", "256", "blocks.1-3,blocks.10", "run.autocast=bfloat16"),
        )
    ),
    *(
        (preset, "a100_40", {"--mode": mode, "--resolutions": side, "--set": settings})
        for preset, side in LATER.items()
        for mode, settings in (
            (BOTH, "run.autocast=none"),
            ("training", "run.dtype=bfloat16"),
            ("training", "run.autocast=bfloat16"),
        )
    ),
    *SMALL_ENCODERS,
)
"""Preset, or encoder of `OWN`, device, options of `samattn measure`; an option with several values is given several times."""


def configs(preset: str, options: dict[str, str]) -> Iterator[EncoderConfig]:
    """A config for each combination of the options."""
    keys = {"--resolutions": "image_size"} | {
        f"--{key.replace('_', '-')}": f"run.{key}" for key in ("mode", "attention", "batch_size", "dtype")
    }
    sets = options.get("--set", "").split()
    given = [
        [f"{keys[key]}={value}" for value in text.split(",")] for key, text in options.items() if key in keys
    ]
    for chosen in product(*given):
        yield load_config(OWN.get(preset, preset), [*chosen, *sets])


def sets_of(options: dict[str, str]) -> list[str]:
    """What a case sets besides what `case_of` reads from its config."""
    sets = options.get("--set", "").split()
    return [each for each in sets if not each.startswith(("run.", "implementation="))]


def case_of(
    preset: str, device: str, config: EncoderConfig, figures: dict[str, Any], sets: list[str]
) -> dict[str, Any]:
    """A case of `runs.json`."""
    import torch

    whole = mapping_of(config)
    return {
        "preset": preset,
        "device": device,
        "torch": torch.__version__,
        "image_size": whole["image_size"],
        "implementation": whole.get("implementation", "reference"),
        **({"sets": sets} if sets else {}),
        "run": {key: value for key, value in whole["run"].items() if not is_unused(whole["run"], key)},
        "allocated_bytes": figures["peak_allocated_bytes"],
        "reserved_bytes": figures["peak_reserved_bytes"],
        "layers": {f"{each['name']} {each['phase']}": each["peak_bytes"] for each in figures["layers"]},
    }


def is_unused(run: dict[str, Any], key: str) -> bool:
    """Whether a run does not use a key."""
    return any(key in unused_keys(chooser, run[chooser]) for chooser in RUN_READERS if chooser in run)


def main(first: int = 1) -> None:
    """Record all from the case with this number on, those of one device and one setting of the allocator together."""
    cases: list[dict[str, Any]] = [] if first == 1 else json.loads(PATH.read_text("utf-8"))
    wanted = [
        (preset, device, config, sets_of(options))
        for preset, device, options in CASES[first - 1 :]
        for config in configs(preset, options)
    ]
    found: dict[int, dict[str, Any]] = {}
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (_, device, config, _) in enumerate(wanted):
        groups.setdefault((device, config.run.allocator), []).append(number)
    for (device, allocator), numbers in groups.items():
        print(f"{device} {allocator}: {len(numbers)}", file=sys.stderr, flush=True)
        outcomes = measured(device, allocator, [mapping_of(wanted[number][2]) for number in numbers])
        found |= dict(zip(numbers, outcomes, strict=True))
    for number, (preset, device, config, sets) in enumerate(wanted):
        if found[number]["status"] != "measured":
            sys.exit(f"{preset} on {device}: {found[number]['message']}")
        cases.append(case_of(preset, device, config, found[number]["measured"], sets))
    PATH.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
