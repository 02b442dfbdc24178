"""The answer of `samattn trace`: an analysis of any PyTorch module, with the keys of an `Analysis` where they apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..encoder.keys import Size
from ..figures import names, of, with_keys
from ..version import __version__
from . import SCHEMA_VERSION
from .analysis import Bound, DeviceReport, OpReport, Share, TrainingReport
from .shown import Shown


@dataclass(frozen=True)
class AttentionReport:
    """One product of queries and keys: where it attends.

    `windows` counts those of one image; `queries` and `keys` are tokens of one window. `attention` is "global" if one window
    holds every query.
    """

    name: str
    attention: Literal["window", "global"]
    placement: str
    windows: int
    queries: int
    keys: int
    num_heads: int
    fused: bool


@dataclass(frozen=True, kw_only=True)
@with_keys(names(of("part")), "int | None")
class TracedPart:
    """A part of a module that is not one of its layers. What a training step takes is None in inference."""

    name: str
    type: str
    params: int
    macs: int
    flops: int
    elementwise_flops: int
    saved_bytes: int | None
    peak_bytes: int
    peak_op: str
    training_bytes: int | None
    training_op: str | None
    latency_ms: float | None = None
    bound: Bound | None = None
    share_of_peak: float | None = None
    attentions: tuple[AttentionReport, ...] = ()
    ops: tuple[OpReport, ...]


@dataclass(frozen=True, kw_only=True)
@with_keys(names(of("layer")), "int | None")
class TracedLayer(TracedPart):
    """One of the repeated modules. The figures of its attention are those of its largest one; None without attention."""

    index: int
    attention: Literal["window", "global"] | None
    placement: str
    windows: int | None
    window_tokens: int | None
    num_heads: int | None
    grid: Size | None
    attention_bytes: int


@dataclass(frozen=True, kw_only=True)
@with_keys(names(of("encoder")), "int | None")
class TracedTotals:
    """What the whole module costs."""

    traffic_bytes: int
    params: int
    macs: int
    flops: int
    elementwise_flops: int
    attention_bytes: int
    weights_bytes: int
    peak_bytes: int
    peak_at: str
    training_bytes: int | None
    training_at: str | None
    latency_ms: float | None = None


@dataclass(frozen=True)
class RunReport:
    """How the module was run. `inputs` are shapes by name ("0" for the first without a name)."""

    mode: Literal["inference", "training"]
    optimizer: str
    dtype: str
    batch_size: int
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[tuple[int, ...], ...]
    route: Literal["meta", "cpu"]


@dataclass(frozen=True)
class AgainstDifference:
    """The first difference in one respect: parameters, layers, windows, FLOPs or memory. `place` is the layer or part."""

    what: str
    place: str
    text: str
    config: int | None
    here: int | None


@dataclass(frozen=True)
class Against:
    """A comparison of the module with a config of samattn: whether they are equal, or the first differences."""

    config: str
    layers: int
    equal: bool
    differences: tuple[AgainstDifference, ...]


@dataclass(frozen=True, kw_only=True)
class TracedAnalysis(Shown):
    """An analysis of a module that was traced. `target` is what was asked for, `type` the module's class.

    `dry` says that the allocated and reserved bytes are those of a dry run. Otherwise they are derived from the trace.
    """

    target: str
    type: str
    run: RunReport
    notes: tuple[str, ...]
    totals: TracedTotals
    layers: tuple[TracedLayer, ...]
    parts: tuple[TracedPart, ...]
    shares: tuple[Share, ...]
    training: TrainingReport | None
    device: DeviceReport | None = None
    against: Against | None = None
    dry: bool = False
    schema_version: int = SCHEMA_VERSION
    kind: Literal["analysis"] = "analysis"
    source: Literal["traced"] = "traced"
    samattn_version: str = __version__
