"""Runs the plan of an encoder on the Tape, part by part, and each kind of block once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from itertools import groupby
from typing import Any

from ..encoder.implementations import Code, code_of
from ..encoder.model import EncoderConfig
from ..encoder.plan import OF_PART, LayerConfig, PartConfig, Stretch, block_name
from ..encoder.reads import Known, Path, watching
from ..encoder.registry import version
from ..encoder.slots import first_output
from .recurring import Twin, blocks_of, keep_for_others, parts_of, space_of
from .segments import Segment, Source, Twins
from .settings import weights_of
from .storage import Storage
from .tape import Tape
from .tensor import Tensor

_Latest = tuple[Segment, frozenset[Storage], tuple[Any, ...]]
"""A twin, what it shares, and what it was found by, which has to live as long."""


class Driver:
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
        *_, last = config.stretches
        self.last = last.at(last.number - 1).name
        self.uses = Counter[str]()  # how often each will still be tapped
        for stretch in config.stretches:
            for tap in (*stretch.first.taps, *stretch.first.holds):
                self.uses[tap] += stretch.number
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

    def twins_of(self, image: Tensor) -> Iterator[Twins]:
        """The segments of one pass."""
        main: tuple[Source, Tensor] = (("", 0), image)
        for stretch in self._alike():
            done = 0
            while done < stretch.number:
                part = stretch.at(done)
                latest = self._latest_twin(part, main[1], self.kept_by_last)
                if latest is None or not isinstance(part, LayerConfig):
                    segment = self._next(part, main, image)
                    yield Twins(segment)
                    main, done = ((part.name, 0), segment.outputs[0]), done + 1
                    continue
                twin, shared, _ = latest
                number = stretch.number - done if self._recurs(part, latest) else 1
                yield Twins(twin.twin(part.name, (main[0],), part, shared), number)
                self.kept_by_last = twin.kept
                main, done = ((block_name(part.index + number - 1), 0), twin.outputs[0]), done + number

    def _alike(self) -> Iterator[Stretch]:
        """The plan in stretches whose blocks differ in their numbers alone, for the Tape too."""
        if self.is_plain and not self.trained and not self.config.checkpointed:
            yield from self.config.stretches
            return
        for stretch in self.config.stretches:
            for _, alike in groupby(stretch.parts, key=self._role):
                first, *others = alike
                yield Stretch(first, 1 + len(others))

    def _role(self, part: PartConfig | LayerConfig) -> Hashable:
        """How the run treats a part or block, and what later parts use of it."""
        is_simple = self.is_plain or self._is_simple(part)
        return part.name in self.trained, part.name in self.config.checkpointed, is_simple

    def _next(self, part: PartConfig | LayerConfig, main: tuple[Source, Tensor], image: Tensor) -> Segment:
        """The segment of the next part or block, which may use outputs of earlier ones."""
        inputs = [main, *(tap for name in part.taps for tap in self.tapped[name])]
        needed = (*part.taps, *part.holds)
        self._held = tuple(tap for name in part.holds for tap in self.tapped[name])
        self.uses.subtract(needed)
        if self.unread and part.name not in self.config.unread:
            self.kept_by_last = frozenset()
        last = [tap for name in needed if not self.uses[name] for tap in self.tapped.pop(name)]
        freed = [tensor for _, tensor in (main, *last) if tensor is not image and self._is_free(tensor)]
        segment = self.segment(part, inputs, freed)
        if segment.kept is not self.kept_by_last:
            self.kept |= segment.kept_for_backward
        self.kept_by_last = segment.kept
        self.unread += [segment] if segment.is_unread else []
        sources = [((part.name, index), output) for index, output in enumerate(segment.outputs)]
        named = {part.name: sources[1:] or sources, first_output(part.name): sources[:1]}
        self.tapped |= {name: outputs for name, outputs in named.items() if self.uses[name]}
        return segment

    def _state(self, part: LayerConfig, x: Tensor, kept: frozenset[Storage]) -> Hashable:
        """What is the same for twins; see `segment`, where more is compared. The part before has `kept` storages."""
        name = part.name
        return self._kind(part), name in self.trained, name in self.config.checkpointed, id(x), id(kept)

    def _latest_twin(
        self, part: PartConfig | LayerConfig, x: Tensor, kept: frozenset[Storage]
    ) -> _Latest | None:
        """The twin of a block that has one input, which nothing else uses, as of an earlier block of the same input; if there is one."""
        if not isinstance(part, LayerConfig) or (not self.is_plain and not self._is_simple(part)):
            return None
        return None if x.storage.is_weight else self.latest.get(self._state(part, x, kept))

    def _recurs(self, part: LayerConfig, latest: _Latest) -> bool:
        """Whether the block after one that has a twin has that twin too, if it is alike: then so do all after it."""
        twin, shared, _ = latest
        then = self._latest_twin(part, twin.outputs[0], twin.kept)
        return then is not None and then[0] is twin and then[1] == shared

    def _is_simple(self, part: PartConfig | LayerConfig) -> bool:
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

    def segment(
        self, part: PartConfig | LayerConfig, inputs: list[tuple[Source, Tensor]], freed: list[Tensor]
    ) -> Segment:
        """Run a part or a block, or reuse the segment of an earlier twin. A tapped block needs its own storages."""
        x = inputs[0][1]
        sources = tuple(source for source, _ in inputs)
        if isinstance(part, PartConfig):
            return self._part(part, inputs, freed)
        layout = (x.shape, x.stride, x.item_bytes)
        trains = part.name in self.trained
        last = {tensor.storage for tensor in freed}
        key = (
            self._kind(part),
            trains,
            part.name in self.config.checkpointed,
            layout,
            x.grad_fn is None,
            x.storage in self.kept_by_last,
            len(freed),  # also what it holds, and is the last to
            *[tensor.storage in last for _, tensor in inputs],
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
            self.latest[self._state(part, x, self.kept_by_last)] = twin, shared, (x, self.kept_by_last)
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
            part.name == self.last,
            *self._state_of(inputs, freed),
        )
        parts = parts_of(version(), *self.settings)
        known = parts.get(key)
        found = None if known is None else known.find(self.config)
        if found is not None:
            return found.twin(part.name, tuple(source for source, _ in inputs), None, found.shared)
        reads: dict[Path, Any] = {}
        segment = self._run(part, inputs, freed, reads)
        if known is None:
            keep_for_others(parts, key, known := Known())
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
        is_last = part.name == self.last
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
        if (space := space_of(part, x)) is None:
            return blocks_of(*self.settings).get(key)
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
        if (space := space_of(part, inputs[0][1])) is None:
            segment = self._run(part, inputs, freed)
            keep_for_others(blocks_of(*self.settings), key, segment)
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
        entries = tuple([self.tape.entered(tensor) for _, tensor in inputs])
        self.tape.last_used = tuple(dict.fromkeys(tensor.storage for tensor in freed))
        drops = self._dropped(inputs[0][1], part)
        if drops:
            self.tape.holds_graph_of(inputs[0][1], *(storage for _, storage in drops))
        with weights_of(self.tape, self.config, part.name, freezes=self.freezes):
            run = part if reads is None else watching(part, reads)
            result = call(self.tape, run, entries, self.config.run.attention, self.code)
        outputs = result if isinstance(result, tuple) else (result,)
        dropped: tuple[Tensor, ...] = ()
        if not self.uses[part.name] and part.name != self.last:
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


class Alone(Driver):
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
