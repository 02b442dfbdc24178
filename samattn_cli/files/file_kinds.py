"""The kinds of YAML file that samattn reads, and what messages call them: an encoder config, a device file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..encoder.presets import devices, presets


@dataclass(frozen=True)
class FileKind:
    """What messages call a kind of file.

    Attributes:
        noun: with its article.
        word: what it describes, in a word.
        example: a line of such a file.
        instead_of_merge: what to do where YAML 1.1 would merge.
        shipped: one that comes with samattn.
        names: those that do, by name.
        listing: where to look for those that do; if empty, messages name them all.
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
    def must_be(self) -> str:
        """What the top level of such a file is."""
        return f"{self.noun} is a mapping of keys, such as {self.example!r}"

    @property
    def known(self) -> str:
        """Which files come with samattn, or where to look."""
        return self.listing or f"there are {', '.join(self.names())}"


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
