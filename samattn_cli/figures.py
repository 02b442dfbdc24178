"""The figures that samattn derives, each defined once: its names, unit, words, and where it can be used.

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
"""What can have a figure: an operation, a layer, a part next to the layers, or the whole encoder."""

EVERYTHING: tuple[Scope, ...] = ("op", "layer", "part", "encoder")


class Figure(NamedTuple):
    """A quantity.

    Attributes:
        name: its key in JSON, and its name in every command.
        unit: B, FLOP, MAC, params or ms.
        word: its name in reports and charts.
        heading: its name in a narrow column; `word` if empty.
        meaning: what is counted.
        left_out: what is not counted.
        of: what has this figure in reports.
        op_keys: it is the sum of these numbers of each operation; () if it is not such a sum.
        by_mode: whether it depends on the run's mode, so that in training it covers forward, backward and the optimizer.
        combined: how the figures of layers and parts combine to that of the encoder.
        needs: what it requires: a device, a CUDA device, or nothing.
        aliases: other names, which every command takes.
        has_formula: whether `samattn explain` has a formula for it.
        against: how two encoders are compared by it: by their ratio, by the share that is saved, or not at all.
        tag: what to print before a number of it where the unit alone is ambiguous.
        causes: the figures of layers that explain a change of it; its own if empty.
        seen_in: the figure of layers that shows where a value of it comes from; itself if empty.
        telling: how important a change of it is for a layer; tables of changes show the larger ones first.
        sums: other keys of JSON, which are sums over the layers.
        shown: whether tables and charts with many figures show it always, if there is room, or on request.
        is_cost: whether less of it means a lower cost: `samattn init` limits it, and `check` looks for new copies of encoders
            by it.
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
    needs: Literal["", "device", "cuda"] = ""
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
        """Its name in a narrow column."""
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
    def is_time(self) -> bool:
        """Whether it is a time, which is not a whole number."""
        return self.unit == "ms"

    @property
    def stem(self) -> str:
        """The start of the keys of its ratios and savings."""
        return self.name.removesuffix("_ms")

    @property
    def compared(self) -> str:
        """The key of its comparison with another encoder: "flops_ratio", "peak_bytes_saving"; "" if there is none."""
        return f"{self.stem}_{self.against}" if self.against else ""

    def word_in(self, modes: Collection[str]) -> str:
        """Its name for runs in some modes: in a training run, a pass is a whole step."""
        if not self.by_mode or "training" not in modes:
            return self.word
        return (
            f"{self.word} or a whole step" if len(modes) > 1 else self.word.replace("a pass", "a whole step")
        )


WORK_LEFT_OUT = (
    "biases, norms, softmax, activations, adds: elementwise_flops has them",
    "the backward of a training step",
    "extra work of a kernel, such as the padding of a tile",
)
OF_A_PEAK = ("attention_bytes", "saved_bytes", "elementwise_flops", "params")
"""The figures of a layer that explain a change of a memory peak, the most important first."""

KINDS: Mapping[str, tuple[str, str]] = {
    "weights": ("weights", "parameters; of FSDP2, a GPU's shards of them"),
    "buffers": ("buffers", "buffers, such as the masks of shifted windows"),
    "gradients": (
        "gradients",
        "gradients of parameters; of FSDP2, a GPU's shards of them, and those not yet reduced",
    ),
    "gathered": ("gathered weights", "weights that FSDP2 has gathered from all GPUs, padding included"),
    "communication": ("buffers of collectives", "FSDP2's buffers of all-gathers and reduce-scatters"),
    "buckets": ("DDP's buckets", "buckets of DistributedDataParallel, of which gradients may be views"),
    "optimizer": ("optimizer state", "the optimizer's state, and the scale of a GradScaler"),
    "average": ("moving average", "the moving average of the weights, with its copy of the buffers"),
    "kept": ("kept for backward", "activations that autograd keeps for backward, and the output in training"),
    "temporaries": ("temporaries", "other results of operations, gradients of activations among them"),
    "input": ("input", "the image"),
    "workspaces": ("workspaces", "workspaces of cuBLAS and what operators allocate internally"),
    "unsplit": ("unsplit rest", "the rest of blocks that is too small to be split off"),
}
"""What blocks of memory are for: the word, and the meaning."""
OF_WEIGHTS = frozenset(
    {"weights", "gradients", "gathered", "communication", "buckets", "optimizer", "average"}
)
"""The kinds that grow with the parameters."""
KINDS_AT_PEAK = {kind: f"peak_{kind}_bytes" for kind in KINDS}
"""The figure of each kind."""

FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "params",
            "params",
            "parameters",
            "Number of weights, counted where they are first used.",
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
                "that an exponential takes longer than an add",
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
            ("what a cache saves, and repeated reads of a kernel",),
            heading="read",
            op_keys=("bytes_read",),
            has_formula=True,
        ),
        Figure(
            "bytes_written",
            "B",
            "bytes written",
            "Bytes of the operation's outputs, each written once.",
            ("op",),
            ("what a kernel writes to its own workspace",),
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
            ("what a cache saves, repeated reads of a kernel, and what it writes to its own workspace",),
            heading="traffic",
            op_keys=("bytes_read", "bytes_written"),
            by_mode=True,
            aliases=("traffic",),
            has_formula=True,
            against="ratio",
            tag="traffic",
        ),
        Figure(
            "requested_bytes",
            "B",
            "bytes requested",
            "Bytes requested from the allocator for the operation's outputs.",
            ("op",),
            ("the allocator's rounding to 512 bytes: peak_bytes has it",),
            heading="requested",
            op_keys=("requested_bytes",),
            aliases=("requested_memory",),
            has_formula=True,
        ),
        Figure(
            "attention_bytes",
            "B",
            "score matrices",
            "Bytes of the queries-by-keys matrices of all heads, windows and images, padding included, as eager attention "
            "allocates them.",
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
            ("weights, which are in memory anyway",),
            aliases=("saved_memory",),
            sums=("kept_bytes",),
            tag="kept for backward",
            telling=2,
        ),
        Figure(
            "peak_bytes",
            "B",
            "inference peak",
            "The most bytes live at once in an inference forward: what is live before (L), plus the most that is live "
            "in addition. Each tensor is rounded up to 512 bytes, as the CUDA allocator does.",
            ("layer", "part", "encoder"),
            ("workspaces of cuBLAS and cuDNN, the CUDA context, fragmentation of the allocator",),
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
            "for backward and what backward allocates. Each tensor is rounded up to 512 bytes.",
            ("layer", "part", "encoder"),
            ("workspaces of cuBLAS and cuDNN, the CUDA context, fragmentation of the allocator",),
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
            "The time of the run's mode on a device, by a roofline: each operation takes the longer of its compute time and "
            "its memory time. In training it is the time of a whole step.",
            ("layer", "part", "encoder"),
            ("work outside the model, such as loading data and the loss",),
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
        Figure(
            "communication_bytes",
            "B",
            "bytes that each GPU sends",
            "Bytes that each GPU sends in a training step (run.parallel, run.gpus), by rings: 2(n-1)/n of what is reduced among n "
            "GPUs, (n-1)/n of what is gathered or reduced and scattered, and all of what is broadcast.",
            ("encoder",),
            ("what a script sends once, such as the weights of the first rank",),
            heading="sent",
            combined="max",
            aliases=("communication",),
            causes=("params",),
            seen_in="params",
            tag="sent",
        ),
        Figure(
            "allocated_bytes",
            "B",
            "allocated peak",
            "The most that torch's caching allocator allocates in a run of the mode on a CUDA device: the run is replayed "
            "through the allocator, as torch.cuda.max_memory_allocated counts. It is the sum of the peak_ figures.",
            ("encoder",),
            ("the CUDA context, and what the allocator reserves beyond it", "workspaces of cuDNN"),
            heading="allocated",
            by_mode=True,
            combined="max",
            needs="cuda",
            aliases=("allocated_memory",),
            causes=OF_A_PEAK,
            seen_in="saved_bytes",
        ),
        Figure(
            "reserved_bytes",
            "B",
            "reserved peak",
            "The most that torch's caching allocator reserves on a CUDA device in a run of the mode, as "
            "torch.cuda.max_memory_reserved counts. A run fits if this is at most what a process can use.",
            ("encoder",),
            ("the CUDA context: nvidia-smi shows it too",),
            heading="reserved",
            by_mode=True,
            combined="max",
            needs="cuda",
            aliases=("reserved_memory",),
            causes=OF_A_PEAK,
            seen_in="saved_bytes",
        ),
        *(
            Figure(
                f"peak_{kind}_bytes",
                "B",
                f"allocated: {word}",
                f"Bytes that are allocated at the peak of a run on a CUDA device for this: {meaning}.",
                ("encoder",),
                by_mode=True,
                combined="max",
                needs="cuda",
                aliases=(f"peak_{kind}",),
                causes=("params",) if kind in OF_WEIGHTS else OF_A_PEAK,
                seen_in="params" if kind in OF_WEIGHTS else "saved_bytes",
            )
            for kind, (word, meaning) in KINDS.items()
        ),
    )
}
"""Every figure by its name, in the order of reports."""

ALIASES: Mapping[str, str] = {alias: figure.name for figure in FIGURES.values() for alias in figure.aliases}
"""Each alias and the name of its figure."""


def of(scope: Scope) -> tuple[Figure, ...]:
    """The figures of an operation, a layer, a part or the encoder."""
    return tuple(figure for figure in FIGURES.values() if scope in figure.of)


def always(scope: Scope) -> tuple[Figure, ...]:
    """Those that tables and charts of many costs show always."""
    return tuple(figure for figure in of(scope) if figure.shown == "always")


def names(figures: Iterable[Figure]) -> tuple[str, ...]:
    """Their names."""
    return tuple(figure.name for figure in figures)


OF_ENCODER = names(of("encoder"))
IN_MEMORY = names(figure for figure in of("encoder") if figure.needs == "cuda")
"""The figures of a run in the memory of a CUDA device: each needs a replay of the allocator."""
PEAKS = {"inference": "peak_bytes", "training": "training_bytes"}
"""The figure that says whether a run fits, by its mode."""
EXPLAINED = names(figure for figure in FIGURES.values() if figure.has_formula)
"""The figures that `samattn explain` has a formula for."""


def with_keys(
    keys: Iterable[str], kind: str, default: object = None
) -> Callable[[type[Record]], type[Record]]:
    """A decorator that adds keys to a class before it becomes a dataclass. Keys that the class has already are kept.

    Args:
        keys: the keys, such as the names of the figures of a layer.
        kind: the annotation of the keys.
        default: their default value.
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
    """The name among `known` that a word means, also as an alias or in another case; None if there is none."""
    return known_as(word, known, {alias: name for alias, name in ALIASES.items() if name in known})


def figure_for_option(
    option: str, word: str, known: Collection[str], lacks: str = "is not a figure of the whole encoder"
) -> str:
    """The name of the figure that the value of an option means.

    Args:
        option: its name in messages, such as "--metric".
        word: a name or an alias.
        known: the names of the figures that the option takes.
        lacks: what messages say about any other figure.

    Raises:
        UsageError: if the option does not take the word; the message says what would be right.
    """
    if name := named(word, known):
        return name
    advice = f"choose from {', '.join(known)} (see `samattn metrics`)"
    if other := named(word):
        raise UsageError("figure-not-usable", f"{option} {word}: {other} {lacks}: {advice}")
    of, ratio, _ = word.partition("_ratio_vs_")
    if ratio and named(of):
        message = f"{word} is a ratio, which `samattn analyze` and `samattn check` give: {advice}"
        raise UsageError("figure-not-usable", f"{option} {message}")
    aliases = [alias for alias, name in ALIASES.items() if name in known]
    hint = did_you_mean(word, [*known, *aliases]) or f"; {advice}"
    raise UsageError("unknown-metric", f"{option} {word}: unknown metric{hint}")


def listed(known: Iterable[str]) -> str:
    """Names as part of a sentence: "flops, macs or params"."""
    *most, last = known
    return f"{', '.join(most)} or {last}"
