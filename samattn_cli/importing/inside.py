"""The encoder inside a checkpoint: its weights begin with names of entries, modules and wrappers that are not its own.

Each prefix of the names is tried, the shortest first, until a kind of checkpoint matches what follows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import Message
from .checkpoint import Shapes
from .description import quoted
from .dialects import in_our_dialect
from .weights import CheckpointKind

WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing write before the names within what they wrap."""

STARTS = re.compile(
    r"(?:(?<=\.)|^)(?:patch_embed|pos_embed|conv_proj|features\.0|blocks|main_blocks|layers|stages)\b"
)
"""With one of these an encoder's own names begin."""

PREFERRED = (
    "model", "model_state_dict", "state_dict", "module", "net", "network", "params_ema", "params", "weights",
    "sam_model_state_dict",
    "online_model", "teacher",
)  # fmt: skip
"""First names of prefixes, the preferred first, for files that have an encoder more than once; then the order in the file."""


@dataclass(frozen=True)
class Found:
    """An encoder in a checkpoint.

    Attributes:
        kind: the kind of checkpoint that matches.
        prefix: what comes before the names of its weights.
        shapes: name to shape, without prefix and wrappers, in the dialect that kinds of checkpoints read.
        originals: the same names to those in the checkpoint.
    """

    kind: CheckpointKind
    prefix: str
    shapes: Shapes
    originals: dict[str, str]


def encoders_in(shapes: Shapes, kinds: Iterable[CheckpointKind]) -> list[Found]:
    """The encoders that a checkpoint has, the preferred one first."""
    originals = {WRAPPERS.sub("", name): name for name in shapes}
    kinds, found, several = tuple(kinds), list[Found](), list[Found]()
    for prefix in _prefixes(originals):
        if not any(prefix.startswith(outer.prefix) for outer in found):
            for each in _encoder_after(prefix, originals, shapes, kinds):
                (found if _is_one(each) else several).append(each)
    return sorted(found or several, key=_rank)


def _is_one(found: Found) -> bool:
    """Whether no two weights map to one of samattn: kinds that take any prefix see the encoders of several state dicts as one."""
    ours = list(filter(None, map(found.kind.names(found.shapes), found.shapes)))
    return len(ours) == len(set(ours))


def _encoder_after(
    prefix: str, originals: dict[str, str], shapes: Shapes, kinds: Iterable[CheckpointKind]
) -> Iterator[Found]:
    inside = {name.removeprefix(prefix): full for name, full in originals.items() if name.startswith(prefix)}
    translate: Callable[[str], str] = in_our_dialect(inside)
    inside = {translate(name): full for name, full in inside.items()}
    own = {name: shapes[full] for name, full in inside.items()}
    for kind in kinds:
        if kind.matches(own):
            yield Found(kind, prefix, own, inside)
            return


def _prefixes(names: Iterable[str]) -> list[str]:
    """What may come before the names of an encoder, the shortest first."""
    found = {"": None}
    for before in dict.fromkeys(name[: match.start()] for name in names if (match := STARTS.search(name))):
        parts = before.split(".")
        found |= dict.fromkeys(".".join((*parts[:end], "")) for end in range(1, len(parts)))
    return sorted(found, key=lambda prefix: prefix.count("."))


def _rank(found: Found) -> int:
    first = found.prefix.partition(".")[0]
    return PREFERRED.index(first) if first in PREFERRED else len(PREFERRED)


def choice_of(found: list[Found]) -> str:
    """Which encoder was read, if the checkpoint has several; "" if it has one."""
    first, *others = (each.prefix.removesuffix(".") for each in found)
    if not others:
        return ""
    rest = ", ".join(map(quoted, others))
    return Message(
        "several-encoders",
        f"The checkpoint has {len(found)} encoders: under {quoted(first)}, which this is, and under {rest}.",
    )
