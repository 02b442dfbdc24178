"""The passes of a traced module: the recording of each part and layer, and memory over a forward and over a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod

from ...reports.trace import Phase, Trace, TracedOp
from ...tape.memory import Liveness, live_over
from ...tape.ops import SCORES, Op, Recording
from ...tape.storage import Storage
from ...tape.training import OPTIMIZERS
from ...units import rounded
from .ops import kind_of, op_of, scores_of, storages_of
from .places import Places
from .windows import VALUES, Product, products_of


@dataclass(frozen=True)
class Run:
    """Operations of one part or layer that run one after another."""

    place: str
    phase: Phase
    recording: Recording


@dataclass(frozen=True)
class Moment:
    """The most bytes live while a part or layer runs, and the operation at which they are."""

    nbytes: int
    op: str
    phase: str = "forward"


class TracedPasses:
    """What a trace says, in the Tape's form."""

    def __init__(self, trace: Trace, optimizer: str = "adamw") -> None:
        self.trace = trace
        self.optimizer = OPTIMIZERS[optimizer]
        self.places = Places(trace)
        self.batch = next((shape[0] for shape in trace.inputs.values() if shape), 1)
        self.indices: set[Storage] = set()  # memory of tables of indices
        self.products = products_of(trace.forward, self.places, self.batch)

    @cached_property
    def forward(self) -> tuple[Run, ...]:
        """The inference forward."""
        return tuple(self._runs(self.trace.forward, self.products))

    @cached_property
    def step(self) -> tuple[Run, ...]:
        """The forward and the backward of a training step; () if there was none."""
        return tuple(self._runs(self.trace.step, products_of(self.trace.step, self.places, self.batch)))

    @cached_property
    def recordings(self) -> dict[str, Recording]:
        """All operations of each part and layer in a forward, in order of their first."""
        ops: dict[str, list[Op]] = {}
        for run in self.forward:
            ops.setdefault(run.place, []).extend(run.recording.ops)
        return {place: Recording(tuple(of_place)) for place, of_place in ops.items()}

    @cached_property
    def weights_bytes(self) -> int:
        """Memory of the weights and buffers."""
        sizes = (
            *(nbytes for weight in self.trace.weights for nbytes in weight.sizes),
            *self.trace.buffer_bytes,
        )
        return sum(map(rounded, sizes))

    @cached_property
    def inputs_bytes(self) -> int:
        """Memory of the inputs."""
        return sum(map(rounded, self.trace.input_bytes))

    @cached_property
    def gradients_bytes(self) -> int:
        """Memory of the gradients of the weights that get one."""
        return sum(map(rounded, self.trained_sizes))

    @cached_property
    def trained_sizes(self) -> tuple[int, ...]:
        """Bytes of each weight that gets a gradient, in the order of the module: the optimizer steps over the others."""
        return tuple(weight.nbytes for weight in self.trace.weights if weight.gets_gradient)

    @cached_property
    def trained_params(self) -> int:
        """Numbers in those weights."""
        return sum(prod(weight.shape) for weight in self.trace.weights if weight.gets_gradient)

    @cached_property
    def without_gradient(self) -> tuple[str, ...]:
        """The names of the weights that require a gradient and get none in a training step."""
        weights = self.trace.weights if self.trace.step else ()
        return tuple(weight.name for weight in weights if weight.trains and not weight.gets_gradient)

    @cached_property
    def optimizer_bytes(self) -> int:
        """Memory of the optimizer's state."""
        return self.optimizer.state * self.gradients_bytes

    @cached_property
    def moments(self) -> dict[str, Moment]:
        """The peak of each part and layer in an inference forward."""
        return _highest(_walk(self.forward, self.weights_bytes + self.inputs_bytes))

    @cached_property
    def training_moments(self) -> dict[str, Moment]:
        """The same in a training step; the optimizer's step is one more place."""
        before = self.weights_bytes + self.inputs_bytes + self.optimizer_bytes
        walked = list(_walk(self.step, before))
        end = before + sum(live_over(run.recording).change for run in self.step)
        transient = self.optimizer.transient * self.gradients_bytes
        return _highest((*walked, ("optimizer", Moment(end + transient, "", "step"))))

    @cached_property
    def kept_bytes(self) -> int:
        """Bytes that are live at the end of a step's forward: what autograd keeps, and the output."""
        return sum(live_over(run.recording).change for run in self.step if run.phase == "forward")

    @cached_property
    def saved(self) -> dict[str, dict[str, int]]:
        """Bytes that autograd keeps for backward, by place and operation; a storage counts where it is first kept."""
        saved: dict[str, Counter[str]] = {}
        for run in self.step:
            of_place = saved.setdefault(run.place, Counter())
            for op in run.recording.ops:
                of_place[op.name] += sum(rounded(storage.nbytes) for storage in op.saves)
        return {place: dict(of_place) for place, of_place in saved.items()}

    @cached_property
    def optimizer_op(self) -> Op:
        """The optimizer's step as one operation."""
        read, written = (
            each * self.gradients_bytes for each in (self.optimizer.read, self.optimizer.written)
        )
        return Op("optimizer", "optimizer", "", bytes_read=read, bytes_written=written)

    @cached_property
    def step_recordings(self) -> dict[str, tuple[Recording, ...]]:
        """The recordings of each place in a step."""
        found: dict[str, list[Recording]] = {}
        for run in self.step:
            found.setdefault(run.place, []).append(run.recording)
        return {place: tuple(recordings) for place, recordings in found.items()}

    def _runs(self, ops: Sequence[TracedOp], products: Sequence[Product]) -> Iterator[Run]:
        storages = storages_of(ops)
        self.indices |= {storages[each.id] for op in ops for each in op.allocates if each.is_index}
        scores = {product.op: product.scores for product in products}
        words = {product.values: VALUES for product in products} | dict.fromkeys(scores, SCORES)
        names = self._names(ops, words)
        placed = [
            (self.places.of(op), op.phase, self._op(number, op, names[number], scores, storages))
            for number, op in enumerate(ops)
        ]
        for (place, phase), run in groupby(placed, key=lambda each: each[:2]):
            yield Run(place, phase, Recording(tuple(op for *_, op in run)))

    def _op(
        self, number: int, op: TracedOp, name: str, scores: dict[int, int], storages: dict[int, Storage]
    ) -> Op:
        return op_of(op, name, scores.get(number, scores_of(op)), self.trace.weights, storages)

    def _names(self, ops: Sequence[TracedOp], words: Mapping[int | None, str]) -> list[str]:
        """The name of each operation within its place: the module's, and a word for what it does; numbered if there are several."""
        counts: Counter[tuple[str, str, str]] = Counter()
        names = []
        for number, op in enumerate(ops):
            place = self.places.of(op)
            name = self._name(op, place, words.get(number))
            counts[place, op.phase, name] += 1
            times = counts[place, op.phase, name]
            names.append(name if times == 1 else f"{name} {times}")
        return names

    def _name(self, op: TracedOp, place: str, word: str | None) -> str:
        inside = op.module.removeprefix(place).removeprefix(".") if op.module.startswith(place) else ""
        word = word if word and op.attention is None else kind_of(op)
        if inside and self.places.is_leaf(op.module):
            return inside
        return ".".join(filter(None, (inside, word)))


def _walk(runs: Sequence[Run], live: int) -> Iterator[tuple[str, Moment]]:
    for run in runs:
        liveness: Liveness = live_over(run.recording)
        yield run.place, Moment(live + liveness.peak_bytes, liveness.peak_op, run.phase)
        live += liveness.change


def _highest(moments: Sequence[tuple[str, Moment]] | Iterator[tuple[str, Moment]]) -> dict[str, Moment]:
    """The highest moment of each place; the first if several are as high."""
    highest: dict[str, Moment] = {}
    for place, moment in moments:
        if place not in highest or moment.nbytes > highest[place].nbytes:
            highest[place] = moment
    return highest
