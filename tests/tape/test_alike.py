"""Windows of one size: what is copied for them is what their code would record, operation by operation, storage by storage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import pytest

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.tape import alike
from samattn_cli.tape.memory import live_over, saved_bytes
from samattn_cli.tape.ops import Op, Recording
from samattn_cli.tape.storage import Storage
from samattn_cli.tape.training import training_step
from tests.support.passes import forget_passes

FIELDS = [field.name for field in dataclasses.fields(Op)]
SMALL = ["image_size=280x140", "window_size=4", "embed_dim=16", "num_heads=2", "depth=2", "mlp_ratio=2"]
QWEN = ["qwen2_5_vl_vision", "global_attn_indexes=none", "out_chans=8"]


def recorded(config: EncoderConfig) -> tuple[list[Any], object]:
    """The operations of a training step, with storages numbered in the order in which they occur; and its figures."""
    forget_passes()
    step = training_step(config)
    recordings = [segment.recording for segment in step.forward.segments]
    figures = step.peak_bytes, step.peak_at, step.held_bytes, [run.completed for run in step.backward]
    every = [*recordings, *step.first_recordings, *step.recordings]
    kept = [segment.kept | segment.shared for segment in step.forward.segments]
    lives = [*map(live_over, every), *map(live_over, recordings, kept)]
    return numbered(every), (figures, lives, [summed(recording) for recording in every])


def summed(recording: Recording) -> list[int]:
    """The figures that a recording sums itself."""
    keys = ("params", "macs", "flops", "elementwise_flops", "bytes_read", "bytes_written", "scores")
    saved = sum(storage.nbytes for storage in recording.saved)
    return [*(getattr(recording, key) for key in keys), saved_bytes(recording), saved, len(recording.left)]


def numbered(recordings: Iterable[Recording]) -> list[Any]:
    """Each field of each operation."""
    numbers: dict[Storage, int] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, Storage):
            return numbers.setdefault(value, len(numbers)), value.nbytes, value.is_weight
        return tuple(map(plain, value)) if isinstance(value, tuple) else value

    ops = [op for recording in recordings for op in recording.ops]
    return [plain(tuple(getattr(op, name) for name in FIELDS)) for op in ops]


@pytest.mark.parametrize(
    "settings",
    [
        QWEN,  # 4x4 windows of 20x10 tokens: 10 alike, and 5 of 4x2
        [*QWEN, "run.attention=sdpa", "image_size=168"],
        [*QWEN, "run.autocast=float16", "run.accumulate=2", "run.checkpointing=true", "run.batch_size=2"],
        ["minicpm_v_4_6", "image_size=64", "run.batch_size=7", "run.attention=sdpa", "stages.0.depth=2"],
    ],
)
def test_copied_windows_are_as_if_run(settings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step, with windows that are copied, and with none that are."""
    name, *rest = settings
    small = SMALL if name == "qwen2_5_vl_vision" else []
    config = load_config(name, ["run.mode=training", *small, *rest])
    with patch.object(alike, "_copy", wraps=alike._copy) as copies:
        copied = recorded(config)
    assert copies.called
    monkeypatch.setattr(alike, "FEWEST", 10**9)
    assert copied == recorded(config)
    forget_passes()
