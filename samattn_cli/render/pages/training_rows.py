"""What a training step takes, as rows of words and values: of configs and of traced modules."""

from __future__ import annotations

from ...reports.analysis import TrainingReport
from ...units import format_bytes, format_count


def training_rows(training: TrainingReport, params: int, *, weights: str) -> tuple[tuple[str, str], ...]:
    """Bytes and FLOPs of a step; `params` is of all weights, and `weights` is the word for what `weights_bytes` holds."""
    return (
        (weights, format_bytes(training.weights_bytes)),
        ("weights that train", f"{format_count(training.trained_params)} of {format_count(params)}"),
        ("gradients", format_bytes(training.gradients_bytes)),
        *([("DDP's buckets", format_bytes(training.buckets_bytes))] if training.buckets_bytes else ()),
        (f"state of {training.optimizer}", format_bytes(training.optimizer_bytes)),
        *([("moving average", format_bytes(training.average_bytes))] if training.average_bytes else ()),
        ("activations kept by the forward", format_bytes(training.kept_bytes)),
        ("peak", format_bytes(training.peak_bytes)),
        ("FLOPs, forward and backward", format_count(training.flops)),
        *(
            [("  of which computed again", format_count(training.recomputed_flops))]
            if training.recomputed_flops
            else ()
        ),
    )
