"""The kinds of YAML file that samattn reads, and the words for them in messages: an encoder config, a device file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..encoder.presets import devices, presets
from ..errors import Message
from ..records import dataclass


@dataclass(frozen=True)
class FileKind:
    """A kind of file, and the words for it in messages.

    Attributes:
        noun: its name with an article.
        word: what such a file describes, in a word.
        example: a line of such a file.
        instead_of_merge: what to do instead of a YAML 1.1 merge key.
        shipped: what such a file is called if it ships with samattn.
        names: returns the files that ship with samattn, by name.
        listing: how to list them; if empty, messages name them all.
    """

    noun: str
    word: str
    example: str
    instead_of_merge: str
    shipped: str
    names: Callable[[], Mapping[str, Path]]
    listing: str = ""

    @property
    def example_key(self) -> str:
        """A key of such a file."""
        return self.example.partition(":")[0]

    @property
    def must_be(self) -> Message:
        """What the top level of such a file must be."""
        return Message("not-a-mapping", f"{self.noun} must be a mapping of keys, such as {self.example!r}")

    @property
    def known(self) -> str:
        """The files that ship with samattn, or how to list them, to end a message with."""
        return self.listing or f"choose from {', '.join(self.names())}"


ENCODER = FileKind(
    noun="an encoder config",
    word="config",
    example="embed_dim: 768",
    instead_of_merge="use 'extends:'",
    shipped="preset",
    names=presets,
    listing="`samattn configs` lists the presets",
)
DEVICE = FileKind(
    noun="a device file",
    word="device",
    example="bandwidth_bytes_per_s: 3.35e12",
    instead_of_merge="write the keys out",
    shipped="device",
    names=devices,
)
THRESHOLDS = FileKind(
    noun="a thresholds file",
    word="thresholds file",
    example="version: 1",
    instead_of_merge="write the keys out",
    shipped="thresholds file",
    names=dict,
    listing="name a YAML file",
)
