"""The figures that samattn works out, each defined once: its names, unit, words, and where it can be used.

Commands, reports, charts, thresholds, completion and help read this registry. How a figure is read from a pass is bound
by name in `studies/readers.py`; a figure that sums numbers of operations (see `op_keys`) needs no reader of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, NamedTuple, TypeVar

from .errors import UsageError, did_you_mean
from .spelling import known_as

Record = TypeVar("Record")
Scope = Literal["op", "layer", "part", "encoder"]
"""What a figure can be of: an operation, a layer, a part next to the layers, or the whole encoder."""

EVERYTHING: tuple[Scope, ...] = ("op", "layer", "part", "encoder")


class Figure(NamedTuple):
    """A quantity.

    Attributes:
        name: its key in JSON, and its name in every command.
        unit: B, FLOP, MAC, params or ms.
        word: what reports and charts call it.
        heading: the same in a narrow column; `word` if empty.
        meaning: what is counted.
        left_out: what is not counted.
        of: what has such a figure in reports.
        op_keys: it is the sum of these numbers of each operation; () if it is no such sum.
        by_mode: whether it is of the run's mode, so that in training it is of forward, backward and the optimizer.
        combined: how the figures of layers and parts make that of the encoder.
        needs: what it cannot be worked out without: a device.
        aliases: other names, which every command takes.
        has_formula: whether `samattn explain` has a formula of it.
        against: how an encoder is compared by it with another one: by their ratio, by the share that is saved, or not.
        tag: what a line says before a number of it, where the unit does not say what it is.
        causes: the figures of layers by which a change of it is explained; its own if empty.
        seen_in: the figure of layers that shows where a value of it comes from; itself if empty.
        telling: how much a change of it says of a layer; tables of changes show the larger ones first.
        sums: other keys of JSON, which are made of those of the layers.
        shown: whether tables and charts of many costs show it always, where there is room, or where it is asked for.
        is_cost: whether an encoder costs less if it is less: `samattn init` limits it, and `check` looks for new copies of
            encoders that cost less now.
    """

    name: str
    unit: str
    word: str
    meaning: str
    of: tuple[Scope, ...]
    left_out: tuple[str, ...] = ()
    heading: str = ""
    op_keys: tuple[str, ...] = ()
    by_mode: bool = False
    combined: Literal["sum", "max"] = "sum"
    needs: Literal["", "device"] = ""
    aliases: tuple[str, ...] = ()
    has_formula: bool = False
    against: Literal["", "ratio", "saving"] = ""
    tag: str = ""
    causes: tuple[str, ...] = ()
    seen_in: str = ""
    telling: int = 0
    sums: tuple[str, ...] = ()
    shown: Literal["always", "wide", "asked"] = "asked"
    is_cost: bool = False

    @property
    def title(self) -> str:
        """What a narrow column calls it."""
        return self.heading or self.word

    @property
    def is_count(self) -> bool:
        """Whether it counts what its words name, so that a number under them needs no unit."""
        return self.unit not in {"B", "ms"}

    @property
    def over_own(self) -> str:
        """The key of its ratio to the config's own placement: "flops_ratio"."""
        return f"{self.stem}_ratio"

    @property
    def stem(self) -> str:
        """What keys of its ratios and savings begin with."""
        return self.name.removesuffix("_ms")

    @property
    def compared(self) -> str:
        """The key of its comparison with another encoder: "flops_ratio", "peak_bytes_saving"; "" if there is none."""
        return f"{self.stem}_{self.against}" if self.against else ""

    def word_in(self, modes: Collection[str]) -> str:
        """What to call it for runs in some modes: a pass of a training run is a whole step."""
        if not self.by_mode or "training" not in modes:
            return self.word
        return (
            f"{self.word} or a whole step" if len(modes) > 1 else self.word.replace("a pass", "a whole step")
        )


WORK_LEFT_OUT = (
    "biases, norms, softmax, activations, adds: elementwise_flops has them",
    "the backward of a training step",
    "what a kernel computes beyond its result, such as the rest of a tile",
)
OF_A_PEAK = ("attention_bytes", "saved_bytes", "elementwise_flops", "params")
"""What of a layer changes a peak of memory, the most telling first."""

FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "params",
            "params",
            "parameters",
            "Numbers in the weights, where they are first used.",
            EVERYTHING,
            ("buffers, such as the masks of shifted windows and rotary tables",),
            heading="params",
            sums=("gradients_bytes", "optimizer_bytes"),
            shown="wide",
            op_keys=("params",),
            aliases=("parameters",),
            has_formula=True,
            is_cost=True,
            telling=3,
        ),
        Figure(
            "macs",
            "MAC",
            "MACs",
            "Multiply-accumulates of matrix products and convolutions, padding included.",
            EVERYTHING,
            WORK_LEFT_OUT,
            shown="wide",
            op_keys=("macs",),
            has_formula=True,
        ),
        Figure(
            "flops",
            "FLOP",
            "FLOPs",
            "Two for each MAC of matrix products and convolutions, as torch's FlopCounterMode counts.",
            EVERYTHING,
            WORK_LEFT_OUT,
            op_keys=("flops",),
            has_formula=True,
            against="ratio",
            shown="always",
            is_cost=True,
            telling=6,
        ),
        Figure(
            "elementwise_flops",
            "FLOP",
            "elementwise FLOPs",
            "One for each elementary operation on a number: softmax 5, LayerNorm 5, GELU 5, an add 1.",
            EVERYTHING,
            (
                "matrix products and convolutions: flops has them",
                "how long an exponential takes against an add",
            ),
            heading="elementwise",
            op_keys=("elementwise_flops",),
            has_formula=True,
            tag="elementwise",
            telling=1,
        ),
        Figure(
            "bytes_read",
            "B",
            "bytes read",
            "Bytes of each operand, read once, weights included.",
            ("op",),
            ("what a cache spares, and what a kernel reads twice",),
            heading="read",
            op_keys=("bytes_read",),
            has_formula=True,
        ),
        Figure(
            "bytes_written",
            "B",
            "bytes written",
            "Bytes of what the operation makes.",
            ("op",),
            ("what a kernel writes for its own use",),
            heading="written",
            op_keys=("bytes_written",),
            has_formula=True,
        ),
        Figure(
            "traffic_bytes",
            "B",
            "traffic of a pass",
            "Bytes that the operations of a pass read and write, each operand once, weights included.",
            ("layer", "part", "encoder"),
            ("what a cache spares, and what a kernel reads twice or writes for its own use",),
            heading="traffic",
            op_keys=("bytes_read", "bytes_written"),
            by_mode=True,
            aliases=("traffic",),
            has_formula=True,
            against="ratio",
            tag="traffic",
        ),
        Figure(
            "allocated_bytes",
            "B",
            "bytes allocated",
            "Bytes asked of the allocator for what the operation makes.",
            ("op",),
            ("the allocator's rounding to 512 bytes: peak_bytes has it",),
            heading="allocated",
            op_keys=("allocated_bytes",),
            aliases=("allocated_memory",),
            has_formula=True,
        ),
        Figure(
            "attention_bytes",
            "B",
            "score matrices",
            "Bytes of queries by keys, of all heads, windows and images, padding included, as eager attention makes them.",
            ("layer", "encoder"),
            (
                "the softmax next to it, which is as large",
                "sdpa and fused attention make no such matrix",
            ),
            aliases=("attention_memory",),
            has_formula=True,
            against="saving",
            tag="score matrices",
            telling=4,
        ),
        Figure(
            "weights_bytes",
            "B",
            "weights",
            "Bytes of the parameters, in run.dtype.",
            ("encoder",),
            ("buffers, such as the masks of shifted windows and rotary tables", "autocast's copies"),
            aliases=("weights_memory",),
            has_formula=True,
            tag="weights",
            causes=("params",),
        ),
        Figure(
            "saved_bytes",
            "B",
            "kept for backward",
            "Bytes that autograd keeps from the forward of a training step for its backward.",
            ("op", "layer", "part"),
            ("weights, which are there anyway",),
            aliases=("saved_memory",),
            sums=("kept_bytes",),
            tag="kept for backward",
            telling=2,
        ),
        Figure(
            "peak_bytes",
            "B",
            "inference peak",
            "The most bytes live at once in an inference forward: what is there before (L), and the most that is live "
            "next to it. Each tensor is rounded up to 512 bytes, as the CUDA allocator does.",
            ("layer", "part", "encoder"),
            ("workspaces of cuBLAS and cuDNN, the CUDA context, gaps between blocks of the allocator",),
            heading="peak",
            combined="max",
            aliases=("peak_memory",),
            has_formula=True,
            against="saving",
            tag="up to",
            causes=OF_A_PEAK,
            shown="always",
            is_cost=True,
        ),
        Figure(
            "training_bytes",
            "B",
            "training peak",
            "The most bytes live at once in a training step: weights, gradients, the optimizer's buffers, what is kept "
            "for backward and what backward makes. Each tensor is rounded up to 512 bytes.",
            ("layer", "part", "encoder"),
            ("workspaces of cuBLAS and cuDNN, the CUDA context, gaps between blocks of the allocator",),
            heading="training",
            combined="max",
            aliases=("training_memory",),
            against="saving",
            causes=OF_A_PEAK,
            seen_in="saved_bytes",
            shown="always",
        ),
        Figure(
            "latency_ms",
            "ms",
            "time of a pass",
            "The time of the run's mode on a device, by a roofline: each operation takes the longer of its products and "
            "its memory traffic. In training it is that of a whole step.",
            ("layer", "part", "encoder"),
            ("what runs next to the model: reading data, the loss",),
            heading="time",
            by_mode=True,
            needs="device",
            sums=("forward_ms", "backward_ms", "optimizer_ms", "step_ms"),
            aliases=("latency",),
            against="ratio",
            shown="always",
            is_cost=True,
            telling=5,
        ),
    )
}
"""Every figure by its name, in the order of reports."""

ALIASES: Mapping[str, str] = {alias: figure.name for figure in FIGURES.values() for alias in figure.aliases}
"""The name of the figure that each alias means."""


def of(scope: Scope) -> tuple[Figure, ...]:
    """The figures that an operation, a layer, a part or the encoder has."""
    return tuple(figure for figure in FIGURES.values() if scope in figure.of)


def always(scope: Scope) -> tuple[Figure, ...]:
    """Those that tables and charts of many costs show always."""
    return tuple(figure for figure in of(scope) if figure.shown == "always")


def names(figures: Iterable[Figure]) -> tuple[str, ...]:
    """Their names."""
    return tuple(figure.name for figure in figures)


OF_ENCODER = names(of("encoder"))
PEAKS = {"inference": "peak_bytes", "training": "training_bytes"}
"""The figure that says whether a run fits, by its mode."""
EXPLAINED = names(figure for figure in FIGURES.values() if figure.has_formula)
"""The figures that `samattn explain` has a formula of."""


def with_keys(
    keys: Iterable[str], kind: str, default: object = None
) -> Callable[[type[Record]], type[Record]]:
    """Give a class, before it is made a dataclass, the keys that it does not name itself.

    Args:
        keys: such as the names of the figures of a layer.
        kind: the annotation of the keys.
        default: their value where none is given.
    """

    def add(record: type[Record]) -> type[Record]:
        known = {name for base in record.__mro__ for name in getattr(base, "__annotations__", ())}
        for key in keys:
            if key not in known:
                record.__annotations__[key] = kind
                setattr(record, key, default)
        return record

    return add


def named(word: str, known: Collection[str] = FIGURES.keys()) -> str | None:
    """The name among `known` that a word surely means, by an alias or in other letters too; None if there is none."""
    return known_as(word, known, {alias: name for alias, name in ALIASES.items() if name in known})


def figure_for_option(
    option: str, word: str, known: Collection[str], lacks: str = "is not a figure of the whole encoder"
) -> str:
    """The name of the figure that an option asks for.

    Args:
        option: what messages call it, such as "--metric".
        word: a name or an alias.
        known: the names of the figures that it takes.
        lacks: what is said of a figure that is not one of them.

    Raises:
        UsageError: if it is none of these, with what would be right.
    """
    if name := named(word, known):
        return name
    instead = f"use {', '.join(known)} (see `samattn metrics`)"
    if other := named(word):
        raise UsageError(f"{option} {word}: {other} {lacks}: {instead}")
    aliases = [alias for alias, name in ALIASES.items() if name in known]
    hint = did_you_mean(word, [*known, *aliases]) or f": {instead}"
    raise UsageError(f"{option} {word}: there is no such figure{hint}")


def listed(known: Iterable[str]) -> str:
    """Names in a sentence: "flops, macs or params"."""
    *most, last = known
    return f"{', '.join(most)} or {last}"
