"""Runs the plan of an encoder on the Tape, part by part; in torch: `samattn_cli/stack/encoder.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace as config_with
from functools import cached_property, lru_cache
from itertools import chain, islice
from typing import Any

from ..encoder.applicable_keys import OF_PARALLEL
from ..encoder.implementations import Code, code_of
from ..encoder.model import EncoderConfig, RunConfig
from ..encoder.plan import OF_PART, LayerConfig, PartConfig
from ..encoder.reads import Known, Path, watching
from ..encoder.registry import REFERENCE, version
from ..encoder.slots import first_output
from ..encoder.trained import trains_adapters, trains_all
from ..records import dataclass, replace
from ..units import ITEM_BYTES
from . import autograd
from .graph import Node
from .ops import Buffer, Recording
from .sdpa_call import AMPERE, Target
from .storage import Dim, Shape, Storage
from .symbols.formula import Formula
from .symbols.space import Space
from .tape import Tape
from .tensor import Tensor

ALONE = {key: getattr(RunConfig(), key) for key in ("parallel", *frozenset().union(*OF_PARALLEL.values()))}
"""The keys of a run that is not spread over GPUs."""

Source = tuple[str, int]
"""The name of a segment, and the index of one of its outputs."""


@dataclass(frozen=True)
class Segment:
    """A part of the encoder or a block: its operations, and where its inputs come from.

    The main output of one part is the main input of the next. A part may also tap outputs of earlier parts.

    Attributes:
        name: the name of the module in the real stack.
        recording: its forward.
        entries: its inputs: the main one, then those that it taps.
        outputs: its outputs: the main one, then those that later parts tap.
        sources: where the entries come from.
        layer: the block's config; None for a part.
        is_checkpointed: whether its backward runs its forward again, from its entries.
        stage: the number of the checkpoint of several segments that it is in; None if it is in none.
        begins_stage: whether a training step keeps its entries, from which that checkpoint begins.
        held: the outputs of earlier parts, besides its inputs, that live until it has run, and where they come from.
        is_unread: whether nothing reads its outputs: its backward does not run, and its graph lives as long as they do.
        drops: what such graphs keep and its own operations free, with the outputs that lead to them; and whose it is.
        shared: those of its inputs, and of what it holds, that an earlier segment keeps for backward too.
    """

    name: str
    recording: Recording
    entries: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sources: tuple[Source, ...]
    layer: LayerConfig | None = None
    is_checkpointed: bool = False
    stage: int | None = None
    begins_stage: bool = False
    held: tuple[tuple[Source, Storage], ...] = ()
    is_unread: bool = False
    drops: tuple[tuple[str, Storage], ...] = ()
    shared: frozenset[Storage] = frozenset()

    def twin(
        self, name: str, sources: tuple[Source, ...], layer: LayerConfig | None, shared: frozenset[Storage]
    ) -> Segment:
        """The segment of a block of the same kind, or of the same part; it shares what was worked out for this one, which is the same for both."""
        made = Segment.__new__(Segment)
        vars(made).update(vars(self), name=name, sources=sources, layer=layer, shared=shared)
        return made

    @property
    def inputs(self) -> tuple[Storage, ...]:
        """The storages of its inputs, without buffers that a part has given to others, which are never freed."""
        return tuple(entry.storage for entry in self.entries if not entry.storage.is_weight)

    @property
    def entry(self) -> Storage:
        """The storage of the main input."""
        return self.entries[0].storage

    @cached_property
    def kept(self) -> frozenset[Storage]:
        """The storages that autograd keeps for its backward: those it saves, or its inputs if a checkpoint begins with it."""
        if self.stage is not None:
            return frozenset(self.inputs if self.begins_stage else ())
        if self.is_checkpointed and any(op.is_kept for op in self.recording.ops):
            return frozenset(self.inputs)
        return self.recording.saved

    @property
    def kept_for_backward(self) -> frozenset[Storage]:
        """Those of `kept` that are still there when the forward has ended: none if nothing reads its outputs."""
        return frozenset() if self.is_unread else self.kept

    @cached_property
    def freed_by_caller(self) -> frozenset[Storage]:
        """Those of its inputs, and of what it holds, that live until its module has returned: its last operation frees them."""
        ops = self.recording.ops
        if not ops or ops[-1].allocates:
            return frozenset()
        return frozenset(ops[-1].frees).difference(*(op.allocates for op in ops))

    @property
    def is_run_again(self) -> bool:
        """Whether a backward runs its forward again, alone or with the whole stage."""
        return self.is_checkpointed or self.stage is not None

    @property
    def begins_checkpoint(self) -> bool:
        """Whether a checkpoint keeps its entries: its own, or that of the stage that begins with it."""
        return self.begins_stage or (self.is_checkpointed and self.stage is None)

    @property
    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """The buffers with which it is made; each has the name of its module, and its number."""
        for number, buffer in enumerate(self.recording.buffers):
            if buffer.cached is None:
                yield self.qualified(".".join(filter(None, (buffer.module, f"{number}")))), buffer

    def qualified(self, name: str) -> str:
        """The name of a module or weight in the whole encoder."""
        return ".".join(part for part in (self.name, name) if part)


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass of an encoder: its segments in order, and its image."""

    config: EncoderConfig
    image: Tensor
    segments: tuple[Segment, ...]

    @cached_property
    def recordings(self) -> Counter[Recording]:
        """The recordings of its segments, and how many segments share each."""
        return Counter([segment.recording for segment in self.segments])

    @cached_property
    def params(self) -> Dim:
        """Numbers in the weights."""
        return self.total("params")

    @cached_property
    def macs(self) -> Dim:
        """MACs of matrix products and convolutions."""
        return self.total("macs")

    @cached_property
    def flops(self) -> Dim:
        """FLOPs of matrix products and convolutions."""
        return self.total("flops")

    @cached_property
    def elementwise_flops(self) -> Dim:
        """FLOPs of everything else."""
        return self.total("elementwise_flops")

    def total(self, key: str) -> Dim:
        """The sum of a number of the recordings, such as "bytes_read", over all parts and blocks."""
        return sum([many * getattr(recording, key) for recording, many in self.recordings.items()])


def forward(
    config: EncoderConfig, *, training: bool = False, target: Target = AMPERE, first: int | None = None
) -> ForwardPass:
    """Run the encoder of `config` on the Tape, as on a target, with autograd on for `training` and where the run keeps its graph.

    Blocks of one kind are run once: their segments share one recording. With `first`, the pass has only so many segments,
    the first ones.
    """
    settings = settings_of(config, training=training, target=target)
    passed = _forward(settings, first, _lot_of(settings.config))
    return passed if settings.config is config else replace(passed, config=config)


@dataclass(frozen=True)
class Settings:
    """How the Tape runs an encoder.

    Attributes:
        config: the encoder on one GPU.
        training: whether autograd changes its forward.
        freezes: whether some of its weights do not train.
        target: where it runs.
        in_mode: whether its modules are in training mode, in which their code differs.
    """

    config: EncoderConfig
    training: bool
    freezes: bool
    target: Target
    in_mode: bool

    @property
    def of_tape(self) -> tuple[Hashable, ...]:
        """What blocks of another encoder must have been run with to be the same."""
        run = self.config.run
        of_run = (
            self.config.implementation,
            run.attention,
            run.autocast,
            run.product_dtype,
            run.torch_version,
        )
        trains = (run.trains, self.training, self.freezes, self.in_mode)
        return ITEM_BYTES[run.dtype], of_run, trains, self.target


def settings_of(config: EncoderConfig, *, training: bool, target: Target) -> Settings:
    """How the Tape runs the encoder of a config, with autograd on for `training` and where the run keeps its graph."""
    computed = without_parallel(config)
    run = computed.run
    in_mode, training = training and config.has_modes, training or run.keeps_graph
    # autograd changes the forward only for fused attention (more outputs) and autocast (copies of weights that train), and
    # for code of a library that makes results which nothing reads; it keeps graphs that the forward itself drops
    differs = run.attention != "eager" or run.autocast != "none" or config.implementation != REFERENCE
    differs = differs or bool(config.unread)
    target = AMPERE if run.attention == "eager" else target
    freezes = training and not trains_all(run.trains)
    return Settings(computed, training and (differs or in_mode), freezes, target, in_mode)


def segment_alone(
    config: EncoderConfig,
    number: int,
    x: Tensor | None,
    *,
    training: bool,
    target: Target = AMPERE,
    is_kept: bool = False,
) -> Segment:
    """One part or block of a plan whose parts have one input and one output, as `forward` runs it.

    Args:
        config: the encoder.
        number: that of the part in its plan.
        x: the stream that enters, which nothing else uses; None for the image.
        training: whether the forward is one of a training step.
        target: where it runs.
        is_kept: whether the part before keeps `x` for its backward.
    """
    settings = settings_of(config, training=training, target=target)
    tape = tape_of(settings)
    stream = tape.tensor(*config.input_shape) if x is None else x
    driver = _Alone(tape, config, freezes=settings.freezes, settings=())
    driver.kept_by_last = frozenset({stream.storage} if is_kept else ())
    source = config.plan[number - 1].name if number else ""
    freed = [] if x is None or x.storage.is_weight else [x]
    return driver._segment(config.plan[number], [((source, 0), stream)], freed)  # noqa: SLF001 - of this module


def without_parallel(config: EncoderConfig) -> EncoderConfig:
    """What a GPU computes: the encoder on one GPU, with the types in which weights are gathered."""
    run = config.run
    if run.parallel == "none" or run.mode != "training":
        return config
    return config_with(config, run=config_with(run, dtype=run.computes_in, **ALONE))


def _lot_of(config: EncoderConfig) -> int | None:
    """The number of the lot whose points a config with formulas is for; None for one of numbers."""
    sides: Iterator[Dim] = chain(config.input_shape, *(layer.placement.size or () for layer in config.kinds))
    return next((side.space.lot for side in sides if isinstance(side, Formula)), None)


@lru_cache(maxsize=32)
def _forward(
    settings: Settings,
    first: int | None,
    _lot: int | None,  # in which formulas are compared; for the cache
) -> ForwardPass:
    config, tape = settings.config, tape_of(settings)
    is_numeric = _lot is None
    image = (_image if is_numeric else _image.__wrapped__)(tape.item_bytes, config.input_shape)
    driver = _Driver(tape, config, freezes=settings.freezes, settings=settings.of_tape)
    driver.shares_parts = is_numeric and not (config.unread or config.checkpointed_stages)
    return ForwardPass(config, image, tuple(islice(driver.segments(image), first)))


@lru_cache(maxsize=32)
def _image(item_bytes: int, shape: Shape) -> Tensor:
    """The image of encoders, or the tokens that enter them: one for all passes, so that these share parts."""
    return Tape(item_bytes).tensor(*shape)


def weights_of(
    tape: Tape, config: EncoderConfig, part: str, *, freezes: bool
) -> AbstractContextManager[None]:
    """Weights of a part are trained or frozen, as the run says where it `freezes` some."""
    if not freezes:
        return tape.weights(train=True)
    return tape.weights(train=part in config.trained, adapters_train=trains_adapters(config.run.trains))


def tape_of(settings: Settings) -> Tape:
    """A Tape for an encoder."""
    run = settings.config.run
    training, in_mode = settings.training, settings.in_mode
    return tape_for(
        run, ITEM_BYTES[run.dtype], training=training, in_training_mode=in_mode, target=settings.target
    )


def tape_for(
    run: RunConfig,
    item_bytes: Dim,
    *,
    training: bool,
    in_training_mode: bool = False,
    target: Target = AMPERE,
) -> Tape:
    """A Tape for a run; `item_bytes` is the size of a number in its dtype, an integer or a symbol."""
    low = None if run.autocast == "none" else ITEM_BYTES[run.product_dtype]
    half = run.product_dtype == "float16"
    return Tape(
        item_bytes,
        autocast_bytes=low,
        half_to_float=half,
        training=training,
        holds_graph=training,
        in_training_mode=in_training_mode,
        target=replace(target, torch=run.torch_version),
    )


MOST_BLOCKS = 64
"""Blocks of other encoders that are kept, with one setting of the Tape."""
Twin = tuple[Hashable, ...]


@lru_cache(maxsize=8)
def _blocks(*settings: Hashable) -> dict[Twin, Segment]:  # noqa: ARG001 - for the cache
    """The blocks that encoders have run with the same settings of the Tape, by all that their segments depend on."""
    return {}


@lru_cache(maxsize=8)
def _parts(*settings: Hashable) -> dict[Hashable, Known[Segment]]:  # noqa: ARG001 - for the cache
    """The parts that encoders have run with the same settings of the Tape, by what they are and the tensors that enter."""
    return {}


def _space_of(layer: LayerConfig, x: Tensor) -> Space | None:
    """The space of the points that sizes are formulas over; None if all are numbers."""
    sides = (*x.shape, *layer.grid, *(layer.placement.size or ()), *(layer.placement.count or ()))
    return next((side.space for side in sides if isinstance(side, Formula)), None)


@lru_cache(maxsize=8)
def _backwards(*settings: Hashable) -> dict[Hashable, Any]:  # noqa: ARG001 - for the cache
    """The backwards of those blocks, and the storages that their gradients of weights are views of."""
    return {}


def _has_formulas(*tensors: Tensor) -> bool:
    """Whether a size is a formula."""
    return any(isinstance(side, Formula) for tensor in tensors for side in tensor.shape)


def _may_recur(segment: Segment, run: BackwardRun, results: tuple[Tensor | None, ...]) -> bool:
    """Whether other encoders may have a segment too: its sizes are numbers.

    Its backward hands on one gradient at most, which is not one that it was given.
    """
    if any(result is not None for result in results[1:]) or _has_formulas(*segment.entries):
        return False
    layer = segment.layer
    return _space_of(layer, segment.entries[0]) is None if layer else run.received[0] not in run.handed_on


def _keep(known: dict[Any, Any], key: Hashable, value: object) -> None:
    """Add to what is kept of earlier encoders, in place of all of it if that is too much."""
    if len(known) >= MOST_BLOCKS:
        known.clear()
    known[key] = value


_Latest = tuple[Segment, frozenset[Storage], tuple[Any, ...]]
"""A twin, what it shares, and what it was found by, which has to live as long."""


class _Driver:
    """Runs the plan and frees the tensors that no later part uses, like the real encoder's forward."""

    def __init__(
        self, tape: Tape, config: EncoderConfig, *, freezes: bool, settings: tuple[Hashable, ...]
    ) -> None:
        self.tape = tape
        self.settings = settings
        self.shares_parts = False  # with other encoders
        self.config = config
        self.freezes = freezes
        self.trained = config.trained if freezes else frozenset()
        self.code = code_of(config)
        self.uses = Counter(
            tap for part in config.plan for tap in (*part.taps, *part.holds)
        )  # how often each will still be tapped
        self.tapped: dict[str, list[tuple[Source, Tensor]]] = {}
        self._held: tuple[
            tuple[Source, Tensor], ...
        ] = ()  # outputs of earlier parts that live until this one has run
        self.stages = {
            name: (number, names) for number, names in enumerate(config.checkpointed_stages) for name in names
        }
        self.twins: dict[Hashable, Segment] = {}
        self.kinds: dict[Hashable, int] = {}  # the number of each kind of block
        self.latest: dict[Hashable, _Latest] = {}  # the twins by their input
        self.known: dict[int, int] = {}  # the same by the identity of what is compared
        self.is_plain = not (
            self.uses or self.stages or config.unread
        )  # each part has one input, the last output
        self.kept: set[Storage] = set()  # for backward, by all segments so far
        self.kept_by_last: frozenset[Storage] = frozenset()  # by the last segment
        self.unread: list[Segment] = []  # segments so far whose outputs nothing reads

    def segments(self, image: Tensor) -> Iterator[Segment]:
        """The segments of one pass."""
        sources: list[tuple[Source, Tensor]] = [(("", 0), image)]
        for part in self.config.plan:
            main = sources[0]
            latest = self._latest_twin(part, main[1]) if isinstance(part, LayerConfig) else None
            if latest is not None and isinstance(part, LayerConfig):
                twin, shared, _ = latest
                yield twin.twin(part.name, (main[0],), part, shared)
                self.kept_by_last = twin.kept
                sources = [((part.name, index), output) for index, output in enumerate(twin.outputs)]
                continue
            taps = part.taps
            inputs = [main, *(tap for name in taps for tap in self.tapped[name])]
            needed = (*taps, *part.holds)
            self._held = tuple(tap for name in part.holds for tap in self.tapped[name])
            self.uses.subtract(needed)
            if self.unread and part.name not in self.config.unread:
                self.kept_by_last = frozenset()
            last = [tap for name in needed if not self.uses[name] for tap in self.tapped.pop(name)]
            freed = [tensor for _, tensor in (main, *last) if tensor is not image and self._is_free(tensor)]
            segment = self._segment(part, inputs, freed)
            if segment.kept is not self.kept_by_last:
                self.kept |= segment.kept_for_backward
            self.kept_by_last = segment.kept
            self.unread += [segment] if segment.is_unread else []
            sources = [((part.name, index), output) for index, output in enumerate(segment.outputs)]
            named = {part.name: sources[1:] or sources, first_output(part.name): sources[:1]}
            self.tapped |= {name: outputs for name, outputs in named.items() if self.uses[name]}
            yield segment

    def _state(self, part: LayerConfig, x: Tensor) -> Hashable:
        """What is the same for twins; see `_segment`, where more is compared."""
        name = part.name
        kept = id(self.kept_by_last)
        return self._kind(part), name in self.trained, name in self.config.checkpointed, id(x), kept

    def _latest_twin(self, part: LayerConfig, x: Tensor) -> _Latest | None:
        """The twin of a block that has one input, which nothing else uses, as of an earlier block of the same input; if there is one."""
        if not self.is_plain and not self._is_simple(part):
            return None
        return None if x.storage.is_weight else self.latest.get(self._state(part, x))

    def _is_simple(self, part: LayerConfig) -> bool:
        """Whether a block has one input, and nothing else that parts have made matters to it, nor what it makes to others."""
        name = part.name
        if self.tapped or self.unread or self._is_used(name):
            return False
        return name not in self.stages and name not in self.config.unread

    def _is_used(self, name: str) -> bool:
        """Whether a later part taps or holds an output of a part."""
        return bool(self.uses) and bool(self.uses[name] or self.uses[first_output(name)])

    def _kind(self, part: LayerConfig) -> int:
        """The number of its kind. Most blocks of a kind have one object for it, which needs no comparison."""
        number = self.known.get(id(part.kind))
        if number is None:
            number = self.known[id(part.kind)] = self.kinds.setdefault(part.kind, len(self.kinds))
        return number

    def _is_free(self, tensor: Tensor) -> bool:
        """Whether no later part taps it, and it is not a buffer that a part has given to others."""
        tapped = (each for taps in self.tapped.values() for _, each in taps)
        return not tensor.storage.is_weight and all(each.storage is not tensor.storage for each in tapped)

    def _segment(
        self, part: PartConfig | LayerConfig, inputs: list[tuple[Source, Tensor]], freed: list[Tensor]
    ) -> Segment:
        """Run a part or a block, or reuse the segment of an earlier twin. A tapped block needs its own storages."""
        x = inputs[0][1]
        sources = tuple(source for source, _ in inputs)
        if isinstance(part, PartConfig):
            return self._part(part, inputs, freed)
        layout = (x.shape, x.stride, x.item_bytes)
        trains = part.name in self.trained
        key = (
            self._kind(part),
            trains,
            part.name in self.config.checkpointed,
            layout,
            x.grad_fn is None,
            x.storage in self.kept_by_last,
            len(freed),
        )
        has_no_twins = (
            not freed
            or part.name in self.config.unread
            or part.name in self.stages  # a backward runs several blocks again, each with its own storages
            or self._is_used(part.name)
        )
        twin = None if has_no_twins else self.twins.get(key)
        if twin is None:
            of_all = None if has_no_twins else self._of_all(part, key, inputs, freed)
            twin = None if of_all is None else self._of_another(of_all, part, x)
            segment = twin or self._run_and_keep(of_all, part, inputs, freed)
            if not has_no_twins:
                self.twins[key] = segment
            if twin is None:
                return segment
        shared = self._kept_taps(twin.entries) | (twin.shared & {twin.entry})
        if len(inputs) == 1 and not self._held:
            self.latest[self._state(part, x)] = twin, shared, (x, self.kept_by_last)
        return twin.twin(part.name, sources, part, shared)

    def _part(self, part: PartConfig, inputs: list[tuple[Source, Tensor]], freed: list[Tensor]) -> Segment:
        """Run a part, or reuse the segment of the same part of another encoder, if the same tensors enter it."""
        if not self.shares_parts or part.holds:
            return self._run(part, inputs, freed)
        key = (
            *OF_PART(part),
            part.name in self.trained,
            part.name in self.config.checkpointed,
            bool(self.uses[part.name]),
            part is self.config.plan[-1],
            *self._state_of(inputs, freed),
        )
        parts = _parts(version(), *self.settings)
        known = parts.get(key)
        found = None if known is None else known.find(self.config)
        if found is not None:
            return found.twin(part.name, tuple(source for source, _ in inputs), None, found.shared)
        reads: dict[Path, Any] = {}
        segment = self._run(part, inputs, freed, reads)
        if known is None:
            _keep(parts, key, known := Known())
        known.keep(reads, segment)
        return segment

    def _of_all(
        self,
        part: LayerConfig,
        key: Twin,
        inputs: list[tuple[Source, Tensor]],
        freed: list[Tensor],
    ) -> Twin | None:
        """What a block of another encoder is found by; None if it is not the same in another."""
        if part.holds or self.config.unread or (part.taps and not self.shares_parts):
            return None
        is_last = part is self.config.plan[-1]
        if not part.taps:
            return (part.kind, *key[1:], is_last)
        (_, x), *taps = inputs
        if any(tap.storage is x.storage for _, tap in taps):
            return None
        last = {tensor.storage for tensor in freed}
        return (part.kind, *key[1:], is_last, *((tap, tap.storage in last) for _, tap in taps))

    def _state_of(self, inputs: list[tuple[Source, Tensor]], freed: list[Tensor]) -> Iterator[Hashable]:
        """Each tensor that enters, whether this part is the last to use it, and which backwards keep it."""
        last = {tensor.storage for tensor in freed}
        for _, tensor in inputs:
            storage = tensor.storage
            yield tensor, storage in last, storage in self.kept, storage in self.kept_by_last

    def _of_another(self, key: Twin, part: LayerConfig, x: Tensor) -> Segment | None:
        """The segment of a block that another encoder has run, or this one for another lot of its points; if there is one."""
        if (space := _space_of(part, x)) is None:
            return _blocks(*self.settings).get(key)
        segment: Segment | None = space.recalled((self.settings, key))
        return segment

    def _run_and_keep(
        self,
        key: Twin | None,
        part: LayerConfig,
        inputs: list[tuple[Source, Tensor]],
        freed: list[Tensor],
    ) -> Segment:
        """Run a block, and keep its segment for others, if it has a key for them."""
        if key is None:
            return self._run(part, inputs, freed)
        if (space := _space_of(part, inputs[0][1])) is None:
            segment = self._run(part, inputs, freed)
            _keep(_blocks(*self.settings), key, segment)
            return segment
        with space.keeping((self.settings, key)) as keep:
            segment = self._run(part, inputs, freed)
            keep(segment)
        return segment

    def _run(
        self,
        part: PartConfig | LayerConfig,
        inputs: list[tuple[Source, Tensor]],
        freed: list[Tensor],
        reads: dict[Path, Any] | None = None,
    ) -> Segment:
        """Run a part or a block; `reads` gets the keys of the config that its code reads."""
        entries = tuple(entering(tensor) for _, tensor in inputs)
        self.tape.last_used = tuple(dict.fromkeys(tensor.storage for tensor in freed))
        drops = self._dropped(inputs[0][1], part)
        if drops:
            self.tape.holds_graph_of(inputs[0][1], *(storage for _, storage in drops))
        with weights_of(self.tape, self.config, part.name, freezes=self.freezes):
            run = part if reads is None else watching(part, reads)
            result = call(self.tape, run, entries, self.config.run.attention, self.code)
        outputs = result if isinstance(result, tuple) else (result,)
        dropped: tuple[Tensor, ...] = ()
        if not self.uses[part.name] and part is not self.config.plan[-1]:
            outputs, dropped = outputs[:1], outputs[1:]  # no later part taps the others
        output_storages = {output.storage for output in outputs}
        left = (*self.tape.last_used, *(tensor.storage for tensor in dropped))
        storages = dict.fromkeys(storage for storage in left if storage not in output_storages)
        self.tape.free_storages(*storages)
        layer = part if isinstance(part, LayerConfig) else None
        is_checkpointed = part.name in self.config.checkpointed
        stage, names = self.stages.get(part.name, (None, ()))
        keeps = not self.freezes or entries[0].grad_fn is not None or not self.trained.isdisjoint(names)
        is_unread = part.name in self.config.unread
        recording = self.tape.recording(is_checkpointed=is_checkpointed or stage is not None)
        return Segment(
            name=part.name,
            recording=recording.without_gradients() if is_unread else recording,
            entries=entries,
            outputs=outputs,
            sources=tuple(source for source, _ in inputs),
            layer=layer,
            is_checkpointed=is_checkpointed,
            stage=stage,
            begins_stage=keeps and part.name in names[:1],
            is_unread=is_unread,
            drops=drops,
            shared=self._kept_taps(entries)
            | ({entries[0].storage} & self.kept_by_last)
            | ({tensor.storage for _, tensor in self._held} & self.kept),
            held=tuple((source, tensor.storage) for source, tensor in self._held),
        )

    def _dropped(self, x: Tensor, part: PartConfig | LayerConfig) -> tuple[tuple[str, Storage], ...]:
        """What graphs that only lead to `x` keep, if a part is the last to use it: each storage, and whose it is."""
        if part.name in self.config.unread or not self.tape.holds_graph:
            return ()
        unread, self.unread = self.unread, []
        stays = {*self.kept, *self.tape.last_used, x.storage}
        stays |= {storage for segment in unread for storage in segment.recording.cached}
        found = {each: segment.name for segment in unread for each in segment.kept if each not in stays}
        return tuple((name, storage) for storage, name in found.items())

    def _kept_taps(self, entries: tuple[Tensor, ...]) -> frozenset[Storage]:
        """The tapped inputs that an earlier segment keeps. Twins share storages, but tapped outputs never do."""
        return frozenset(tap.storage for tap in entries[1:]) & self.kept


class _Alone(_Driver):
    """Runs one part or block, and keeps nothing for others."""

    def _of_another(self, key: Twin, part: LayerConfig, x: Tensor) -> None:
        """There is none."""

    def _run_and_keep(
        self,
        key: Twin | None,  # noqa: ARG002
        part: LayerConfig,
        inputs: list[tuple[Source, Tensor]],
        freed: list[Tensor],
    ) -> Segment:
        """Run a block."""
        return self._run(part, inputs, freed)


def call(
    tape: Tape, part: PartConfig | LayerConfig, entries: tuple[Tensor, ...], kernel: str, code_of_word: Code
) -> Tensor | tuple[Tensor, ...]:
    """Run a part or a block on its inputs; returns its outputs, the main one first."""
    code: Callable[..., Tensor | tuple[Tensor, ...]]
    if isinstance(part, LayerConfig):
        code = code_of_word("blocks", part.stage.block)
        return code(tape, *entries, part, kernel)
    if not part.slot:
        return tape.layer_norm("", *entries)
    code = code_of_word(part.slot, part.word)
    return code(tape, entries[0], part, *entries[1:])


def entering(x: Tensor) -> Tensor:
    """`x` as the input of a segment. The segment's backward ends there, if `x` needs a gradient."""
    return x.made_by(x.grad_fn and (Node(None), 0))


@dataclass(frozen=True)
class BackwardRun:
    """The backward of a segment; twins share one.

    Attributes:
        recording: its operations.
        received: the storages of the gradients that it was given: one for each output of the segment, then one for each
            entry that has one from elsewhere already; None where there is none.
        handed_on: the storages of the gradients of its entries.
        completed: the shapes of the gradients of its weights, in the order in which they are complete.
    """

    recording: Recording
    received: tuple[Storage | None, ...]
    handed_on: tuple[Storage | None, ...]
    completed: tuple[Shape, ...] = ()


def backward(forward_pass: ForwardPass, *, accumulating: bool = False) -> tuple[BackwardRun, ...]:
    """Run the backward of a forward pass on the Tape: a run for each segment, in the order of the forward.

    It begins with contiguous gradients of the outputs that take one, which a decoder would pass back. The caller keeps
    those, the outputs and the image. Segments that share the recording of their forward share that of their backward.

    Args:
        forward_pass: what it is of.
        accumulating: whether all weights have a gradient already, to which theirs is added.
    """
    driver = _BackwardDriver(forward_pass, accumulating=accumulating)
    runs = [driver.run(segment) for segment in reversed(forward_pass.segments)]
    return tuple(reversed(runs))


NOT_A_SEGMENT = Segment("", Recording(()), (), (), ())
"""Stands for the last segment of an encoder where another is run alone."""


@dataclass(frozen=True)
class Handed:
    """The gradient of a stream, from the backward of the part after it.

    Attributes:
        gradient: it.
        is_callers: whether the caller of the encoder keeps it.
        is_kept_by_weights: whether the gradient of a weight is a view of it.
    """

    gradient: Tensor
    is_callers: bool = False
    is_kept_by_weights: bool = False


def backward_alone(
    config: EncoderConfig, segment: Segment, handed: Handed | None, *, accumulating: bool = False
) -> tuple[BackwardRun, Handed | None]:
    """The backward of a segment that `segment_alone` made, as `backward` runs it; and the gradient of what entered it.

    Args:
        config: the encoder.
        segment: it.
        handed: the gradient of its output; None for the last segment, whose output the caller has a gradient for.
        accumulating: as for `backward`.
    """
    passed = ForwardPass(config, segment.entries[0], (segment,))
    driver = _BackwardDriver(passed, accumulating=accumulating)
    driver.blocks = {}
    if segment.sources[0][0]:  # else the image enters
        driver.image = driver.tape.tensor(1)
    if handed is not None:
        driver.only(segment, handed)
    run = driver.run(segment)
    left = driver.gradients.get(segment.sources[0])
    if left is None:
        return run, None
    kept = left.storage in driver.callers, left.storage in driver.kept_by_weights
    return run, Handed(left, *kept)


class _BackwardDriver:
    """Runs segments from the last to the first, and passes each gradient to the segment that made its tensor."""

    def __init__(self, forward_pass: ForwardPass, *, accumulating: bool) -> None:
        self.accumulating = accumulating
        run = forward_pass.config.run
        self.moved = run.has_views  # into DDP's buckets
        self.tape = Tape(forward_pass.image.item_bytes)
        self.image = forward_pass.image
        self.last = forward_pass.segments[-1]
        self.gradients = {
            (self.last.name, index): self.tape.tensor_like(output)
            for index, output in enumerate(self.last.outputs)
            if output.grad_fn is not None
        }
        returned = {output.storage for output in self.last.outputs}
        entering = zip(self.last.sources, self.last.entries, strict=True)
        self.returned = {source for source, entry in entering if entry.storage in returned}  # by other parts
        self.callers = {gradient.storage for gradient in self.gradients.values()}
        self.kept_by_weights: set[Storage] = set()  # gradients of weights are views of these
        self.done: dict[Hashable, tuple[BackwardRun, tuple[Tensor | None, ...]]] = {}
        self.latest: dict[Hashable, tuple[BackwardRun, tuple[Tensor | None, ...], Tensor]] = {}
        self.blocks = _backwards(forward_pass.image.item_bytes, accumulating, self.moved)

    def only(self, segment: Segment, handed: Handed) -> None:
        """Go on from the gradient of a segment's output, which another driver has made; it is not the last segment."""
        gradient = handed.gradient
        self.last, self.returned = NOT_A_SEGMENT, set()
        self.gradients = {(segment.name, 0): gradient}
        self.callers = {gradient.storage} if handed.is_callers else set()
        self.kept_by_weights = {gradient.storage} if handed.is_kept_by_weights else set()

    def run(self, segment: Segment) -> BackwardRun:
        """The backward of one segment."""
        output = (segment.name, 0)
        is_simple = (
            len(segment.outputs) == len(segment.sources) == len(self.gradients) == 1 and not self.returned
        )
        gradient = self.gradients.get(output) if is_simple else None
        if gradient is None:
            return self._run(segment)
        alike = (segment.recording, segment.is_checkpointed, segment.shared, id(gradient))
        state = (*alike, len(self.kept_by_weights))
        if state not in self.latest:
            run = self._run(segment)
            results = tuple(self.gradients.get(source) for source in segment.sources)
            if len(self.kept_by_weights) == state[-1]:
                self.latest[state] = run, results, gradient
            return run
        run, (result,), _ = self.latest[state]
        self.gradients = {} if result is None else {segment.sources[0]: result}
        return run

    def _run(self, segment: Segment) -> BackwardRun:
        outputs = [(segment.name, index) for index in range(len(segment.outputs))]
        gradients = tuple(self.gradients.pop(output, None) for output in outputs)
        pending = tuple(self.gradients.pop(source, None) for source in segment.sources)
        run, results = self._run_or_reuse(segment, gradients, pending)
        self.gradients |= {s: g for s, g in zip(segment.sources, results, strict=True) if g is not None}
        return run

    def _run_or_reuse(
        self,
        segment: Segment,
        gradients: tuple[Tensor | None, ...],
        pending: tuple[Tensor | None, ...],
    ) -> tuple[BackwardRun, tuple[Tensor | None, ...]]:
        """The backward of a segment, or that of a twin, if nothing but the segment's one gradient matters."""
        (gradient, *others), elsewhere = gradients, [each.storage for each in self.gradients.values()]
        callers = self._returned(segment)
        simple = (
            gradient is not None and not others and not any(pending) and gradient.storage not in elsewhere
        )
        key: Hashable = object()
        if simple and gradient is not None:
            is_kept = gradient.storage in self.callers, gradient.storage in self.kept_by_weights
            key = (
                segment.recording,
                segment.is_checkpointed,
                gradient.stride,
                gradient.is_view,
                is_kept,
                segment.shared,
                callers,
            )
        if key not in self.done and not self._reuse_of_another(segment, key):
            kept_before = frozenset(self.kept_by_weights)
            completed: list[Shape] = []
            kept = [
                self.image.storage,
                *self.callers,
                *self.kept_by_weights,
                *elsewhere,
                *segment.shared,
                *callers,
            ]
            if segment is self.last:
                kept += {output.storage for output in segment.outputs}
            results = autograd.backward(
                self.tape,
                list(zip(segment.outputs, gradients, strict=True)),
                list(zip(segment.entries, pending, strict=True)),
                kept,
                checkpoint=segment.inputs if segment.begins_checkpoint else (),
                is_again=segment.is_run_again,
                kept_by_weights=self.kept_by_weights,
                accumulating=self.accumulating,
                moved=self.moved,
                completed=completed,
            )
            received, handed_on = _storages(*gradients, *pending), _storages(*results)
            run = BackwardRun(self.tape.recording(), received, handed_on, tuple(completed))
            self.done[key] = run, results
            if isinstance(key, tuple) and _may_recur(segment, run, results):
                _keep(
                    self.blocks,
                    (*key, segment is self.last),
                    (run, results, self.kept_by_weights - kept_before),
                )
        return self.done[key]

    def _reuse_of_another(self, segment: Segment, key: Hashable) -> bool:
        """Reuse the backward of a block that another encoder has run, if one has."""
        known = self.blocks.get((*key, segment is self.last)) if isinstance(key, tuple) else None
        if known is None:
            return False
        run, results, kept_by_weights = known
        self.done[key] = run, results
        self.kept_by_weights |= kept_by_weights
        return True

    def _returned(self, segment: Segment) -> frozenset[Storage]:
        """Those inputs of a segment that the encoder returns too, so that the caller keeps them."""
        entering = zip(segment.sources, segment.entries, strict=True)
        return frozenset(entry.storage for source, entry in entering if source in self.returned)


def _storages(*tensors: Tensor | None) -> tuple[Storage | None, ...]:
    return tuple(None if tensor is None else tensor.storage for tensor in tensors)
