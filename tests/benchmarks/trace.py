"""Time of a trace of segment-anything's ViT-B against torch's MemTracker under FakeTensorMode, and of `samattn trace`.

    PYTHONPATH=. python tests/benchmarks/trace.py

The first two figures are CPU seconds of one process for an inference forward and a training step, after imports. The others are
the median wall time of fresh processes, taken in turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

SIZE = (1, 3, 1024, 1024)
MOST_OF_MEM_TRACKER = 0.1
MOST_OF_IMPORT = 3.0
TIMES = 3
IMPORT = (sys.executable, "-c", "import torch")
TRACE = (
    *(
        sys.executable,
        "-m",
        "samattn_cli",
        "trace",
        "tests.public.segment_anything_encoder:official.ImageEncoderViT",
    ),
    *("--input", "x".join(map(str, SIZE)), "--arg", "use_rel_pos=true", "--arg", "window_size=14"),
    *("--arg", "global_attn_indexes=[2,5,8,11]", "-f", "json"),
)


def by_trace() -> float:
    from samattn_cli import load_config
    from samattn_cli.stack.dynamo import without_dynamo
    from samattn_cli.stack.tracing.run import Inputs, trace
    from tests.public.segment_anything_encoder import official, official_encoder
    from tests.support.ampere import ON_AMPERE

    small = official.ImageEncoderViT(img_size=32, depth=1, use_rel_pos=True)
    model = official_encoder(load_config("sam_vit_b"), "meta")
    with without_dynamo():
        tiny = Inputs({"0": ((1, 3, 32, 32), "float32")}, "meta")
        trace(small.to("meta"), tiny, "training", [], ON_AMPERE)  # torch imports some late
        began = time.process_time()
        trace(model, Inputs({"0": (SIZE, "float32")}, "meta"), "training", [], ON_AMPERE)
        return time.process_time() - began


def by_mem_tracker() -> float:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    from tests.public.segment_anything_encoder import official

    with FakeTensorMode():
        small = official.ImageEncoderViT(img_size=32, depth=1, use_rel_pos=True)
        tiny, other = torch.empty(1, 3, 32, 32), torch.optim.AdamW(small.parameters())
        with _tracking(
            MemTracker, small, other, tiny
        ):  # as for the trace: what torch imports late is not timed
            small(tiny).sum().backward()
            other.step()
        model = official.ImageEncoderViT(use_rel_pos=True, window_size=14, global_attn_indexes=(2, 5, 8, 11))
        image, optimizer = torch.empty(SIZE), torch.optim.AdamW(model.parameters())
        began = time.process_time()
        with torch.no_grad(), _tracking(MemTracker, model, image):
            model(image)
        with _tracking(MemTracker, model, optimizer, image):
            model(image).sum().backward()
            optimizer.step()
        return time.process_time() - began


def _tracking(tracker_type, *external):
    tracker = tracker_type()
    tracker.track_external(*external)
    return tracker


def walls(*commands: tuple[str, ...]) -> list[float]:
    """The median wall time of each command."""
    times = [[_wall(command) for command in commands] for _ in range(TIMES)]
    return [statistics.median(each) for each in zip(*times, strict=True)]


def _wall(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> int:
    ours, theirs = by_trace(), by_mem_tracker()
    share = ours / theirs
    print(f"segment-anything's ViT-B, a forward and a training step (at most {MOST_OF_MEM_TRACKER:g}x)")
    print(f"  MemTracker under FakeTensorMode   {theirs:7.2f} s   1.00x")
    print(f"  the trace                         {ours:7.2f} s  {share:5.2f}x")
    imports, traced = walls(IMPORT, TRACE)
    print(f"\nA forward alone, fresh processes (at most {MOST_OF_IMPORT:g}x)")
    print(f"  import torch                      {imports:7.2f} s   1.00x")
    print(f"  samattn trace                     {traced:7.2f} s  {traced / imports:5.2f}x")
    return int(share > MOST_OF_MEM_TRACKER or traced > MOST_OF_IMPORT * imports)


if __name__ == "__main__":
    sys.exit(main())
