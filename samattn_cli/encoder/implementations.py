"""Finds the model of a library that runs an encoder, by the key `implementation`, and the code that differs for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import Message
from ..records import dataclass
from .registry import REFERENCE, Home, code_for, homes, version
from .slots import Implementation, Problem

if TYPE_CHECKING:
    from .model import EncoderConfig

Code = Callable[[str, str], Any]
"""(slot, word) -> the code that runs it."""


@dataclass(frozen=True)
class Run:
    """A model of a library, and the family that declares it."""

    home: Home
    model: Implementation

    def module(self, kind: str) -> Any:
        """The family's module for the library: "tape" or "stack"."""
        return self.home.module(f"{self.model.library}_{kind}")


def implementation_of(config: EncoderConfig) -> Run | None:
    """What runs an encoder; None if that is the reference, or if samattn does not know what runs it."""
    return next((run for run in _of(config.implementation) if _fits(run.model, config)), None)


def code_of(config: EncoderConfig) -> Code:
    """Finds the pass over the Tape of each part: that of the implementation where it differs, otherwise the reference's."""
    run = implementation_of(config)
    differing = run and run.module("tape")

    def code(slot: str, word: str) -> Any:
        words = getattr(differing, slot.upper(), {})
        return words[word] if word in words else code_for("tape", slot, word)

    return code


def implementation_problems(config: EncoderConfig) -> Iterator[Problem]:
    """Why an encoder cannot have its implementation; nothing if it can."""
    library = config.implementation
    if library == REFERENCE:
        return
    run = implementation_of(config)
    if run is None:
        yield ("implementation",), _not_modelled(library, config)
        return
    if problem := unfit_kernel(config, config.run.attention):
        yield ("run", "attention"), problem
    yield from run.model.problems(config)


def unfit_kernel(config: EncoderConfig, kernel: str) -> Message | None:
    """Why the implementation of an encoder cannot run with a kernel; None if it can."""
    run = implementation_of(config)
    if run is None or kernel in run.model.kernels:
        return None
    return Message(
        "kernel-not-modelled",
        f"run.attention {kernel}: {run.model.model} of {run.model.library} does not have it: use "
        f"{' or '.join(run.model.kernels)}",
    )


def _not_modelled(library: str, config: EncoderConfig) -> Message:
    blocks = tuple(dict.fromkeys(stage.block for stage in config.stages))
    models = [run.model for run in _of(library)]
    alike = [model for model in models if set(blocks) <= set(model.blocks)]
    known = sorted({block for model in models for block in model.blocks})
    has = "; ".join(map(_what_it_has, alike)) or f"it has {', '.join(known) or 'no'} blocks"
    what = f"{' and '.join(blocks)} blocks, pos_embed {config.pos_embed}, neck {config.neck}"
    return Message(
        "implementation-not-modelled",
        f"implementation {library} is not modelled for {what}: use implementation {REFERENCE} ({has})",
    )


def _what_it_has(model: Implementation) -> str:
    """Of a model with the blocks that are wanted: "SwinModel has neck none"."""
    positions = f"pos_embed {' or '.join(model.pos_embeds)} and " if model.pos_embeds else ""
    return f"{model.model} has {positions}neck {' or '.join(model.necks)}"


def _of(library: str) -> tuple[Run, ...]:
    """The models of a library."""
    return _known_of(library, version())


@lru_cache(maxsize=64)
def _known_of(library: str, _version: int) -> tuple[Run, ...]:
    families = [home for home in homes() if home.runs_with(library)]
    return tuple(
        Run(home, each)
        for home in families
        for each in home.family.implementations
        if each.library == library
    )


def _fits(model: Implementation, config: EncoderConfig) -> bool:
    """Whether a model has the blocks, the neck and the positions of an encoder."""
    has_positions = not model.pos_embeds or config.pos_embed in model.pos_embeds
    blocks = all(stage.block in model.blocks for stage in config.stages)
    return blocks and has_positions and config.neck in model.necks
