"""Runs everything on a GPU, and writes what it said: a file of lines of JSON for each phase.

    python -m tests.gpu.record FOLDER machine timed memory models sdpa edges     # on a machine with a GPU; the phases to run
    python -m tests.gpu.record FOLDER memory --dry h200                           # dry, without one

What is timed runs alone; of the rest `--at-once` jobs run next to each other. Lines are written as jobs end.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers  # noqa: F401 - now, and not in each fork

import samattn_cli.stack.measure  # noqa: F401
from samattn_cli import load_config, load_device
from samattn_cli.device.dry.environment import environment
from samattn_cli.encoder.applicable_keys import mapping_of
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.stack.child import answer
from samattn_cli.stack.tracing import dry
from samattn_cli.studies.child import ALLOCATOR_VARIABLES
from tests.gpu import cases, inside, machine
from tests.gpu.forks import Job, forked
from tests.public.traced_dry import ran
from tests.public.traced_models import models
from tests.tape.dry.many import request
from tests.tape.dry.on_a_gpu import choices

Jobs = Iterator[tuple[str, Job]]
REPEATS = 10


def measured(config: EncoderConfig, *, timed: bool) -> Job:
    """A case of `samattn measure`."""

    def job() -> Any:
        if config.run.allocator:
            os.environ.update(dict.fromkeys(ALLOCATOR_VARIABLES, config.run.allocator))
        return answer(request(mapping_of(config), repeats=REPEATS, dry=not timed))

    return job


def key_of(config: EncoderConfig) -> str:
    """The config as it is given to `samattn measure`."""

    return json.dumps(mapping_of(config))


def memory_jobs() -> Jobs:
    for config in cases.remembered():
        yield key_of(config), measured(config, timed=False)


def untimed_jobs() -> Jobs:
    """The memory of what is timed: to compare with a dry run."""
    for config in cases.timed():
        yield key_of(config), measured(config, timed=False)


def timed_jobs() -> Jobs:
    yield "fingerprint", lambda: answer({"device": "cuda", "dry": False, "compiled": ""})
    for config in cases.timed():
        yield key_of(config), measured(config, timed=True)


def rate_jobs() -> Jobs:

    yield "machine", machine.machine_job
    yield "context", machine.context_job
    yield "rates", machine.rates_job


def inside_jobs() -> Jobs:

    yield "linear", inside.linear_job
    yield from inside.convolution_jobs()
    yield from inside.attention_jobs()


def model_jobs() -> Jobs:

    for model in models([]):
        for dtype in ("float32", "bfloat16"):
            for mode in ("inference", "training"):
                yield f"{model.name} | {mode} | {dtype}", lambda m=model, o=mode, d=dtype: ran(m, o, d)
    for model in models(
        ["ViT-B", "SAM ViT-B", "timm vit_base_patch16_224", "timm samvit_base_patch16", "timm sam2"]
    ):
        for mode in ("inference", "training"):
            yield f"{model.name} | {mode} | bfloat16 | cudnn", lambda m=model, o=mode: _with_cudnn(m, o)


def _with_cudnn(model: Any, mode: str) -> Any:

    dry.start = lambda: torch.ones(1, device="cuda").add_(1)  # torch's own choice of kernels
    return ran(model, mode, "bfloat16")


def sdpa_jobs() -> Jobs:

    yield "choices", lambda: choices({})


def edge_jobs() -> Jobs:
    for preset, sets, most in cases.EDGES:
        for images in (most, most + 1):
            config = load_config(preset, [*sets, f"run.batch_size={images}"])
            yield key_of(config), measured(config, timed=False)


def compile_jobs() -> Jobs:
    for mode in ("default", "reduce-overhead"):
        config = load_config("sam_vit_b", ["run.dtype=bfloat16", "run.batch_size=8"])
        yield (
            f"{mode} {key_of(config)}",
            lambda m=mode, c=config: answer(
                request(mapping_of(c), repeats=REPEATS, dry=False) | {"compiled": m}
            ),
        )


PHASES: dict[str, tuple[Callable[[], Jobs], bool]] = {
    "rates": (rate_jobs, True),
    "inside": (inside_jobs, False),
    "timed": (timed_jobs, True),
    "untimed": (untimed_jobs, False),
    "memory": (memory_jobs, False),
    "models": (model_jobs, False),
    "sdpa": (sdpa_jobs, False),
    "edges": (edge_jobs, True),
    "compiled": (compile_jobs, True),
}
"""Each phase, and whether its jobs run alone."""


def again_dry(device: str) -> None:
    """Run this command over the dry device."""

    words = [word for word in sys.argv[1:] if word not in {"--dry", device}]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.gpu.record", *words],
        env={**os.environ, **environment(load_device(device))},
        check=False,
    )
    sys.exit(done.returncode)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("phases", nargs="+", choices=PHASES)
    parser.add_argument("--dry", metavar="DEVICE")
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--only", default="", help="only jobs with this in their key")
    asked = parser.parse_args()
    if asked.dry:
        again_dry(asked.dry)
    begun = time.monotonic()

    for phase in asked.phases:
        make, alone = PHASES[phase]
        jobs = [(key, job) for key, job in make() if asked.only in key]
        count = failed = 0
        with gzip.open(asked.folder / f"{phase}.jsonl.gz", "wt", encoding="utf-8") as file:
            for told in forked(jobs, 1 if alone else asked.at_once):
                count += 1
                failed += "error" in told or (
                    isinstance(told["answer"], dict)
                    and told["answer"].get("status", "measured") != "measured"
                )
                if "error" in told:
                    print(f"{phase} {told['key'][:150]}: {told['error']}", flush=True)
                file.write(json.dumps(told) + "\n")
                file.flush()
        print(
            f"{phase}: {count} of {len(jobs)} jobs, {failed} without a figure, at {time.monotonic() - begun:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
