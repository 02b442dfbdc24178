"""Parses untrusted YAML text into a tree of values with their places.

Scalars follow YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema), which is what people expect: ``no``
is a word, ``017`` is 17, ``22:22`` is text, ``1e9`` is a number. PyYAML's parser delivers the events. Its constructors,
which follow YAML 1.1 and can build Python objects, are never used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from ..encoder.tree import Node, Scalar, Where
from ..errors import ConfigError, Message, Problem
from ..records import replace
from .file_kinds import ENCODER, FileKind

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 10_000  # after aliases are expanded
MAX_DIGITS = 300  # of one number

NOT_TEXT = "is not text: it has a byte that is not UTF-8, or a lone surrogate"
"""What is wrong with a key for which `is_text` is False."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + word: math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **{"-" + word: -math.inf for word in (".inf", ".Inf", ".INF")},
}


def parse_yaml(text: str, source: str, *, located: bool = True, kind: FileKind = ENCODER) -> Node:
    """Parse one YAML document.

    Args:
        text: the document.
        source: what to call it in messages.
        located: False for the value of an option, where lines and columns mean nothing.
        kind: what the document is, for messages.

    Raises:
        ConfigError: for text that is not exactly one YAML document, that exceeds the limits of this module, or that has
            duplicate keys, tags or merge keys; it lists all of these.
    """
    builder = _Builder(source, located, kind)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise builder.error(None, too_large(kind))
    try:
        root = builder.document(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise builder.error(error.problem_mark, Message("invalid-yaml", f"not valid YAML: {what}")) from None
    except (yaml.YAMLError, UnicodeEncodeError):
        message = Message("binary-file", "has control characters: it is a binary file, not YAML text")
        raise builder.error(None, message) from None
    except (ValueError, OverflowError):  # raised by PyYAML itself, for example for the tag !%ED%A0%80
        message = Message("invalid-yaml", "not valid YAML: an escape sequence in it is not a character")
        raise builder.error(None, message) from None
    if builder.problems:
        raise ConfigError(builder.problems)
    return root


def is_text(text: str) -> bool:
    """Whether UTF-8 can encode the text: it cannot encode a lone surrogate, as Python decodes a byte that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def too_large(kind: FileKind) -> Message:
    """What is wrong with a file that is larger than `MAX_BYTES`."""
    return Message("file-too-large", f"is larger than {MAX_BYTES:,} bytes, too large for {kind.noun}")


def resolve_scalar(text: str) -> Scalar:
    """The value of a plain (unquoted) scalar by YAML 1.2's core schema.

    A whole number in exponent form is an int: "1e3" is 1000. A number too large for a float is infinity, which no key
    accepts.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else math.copysign(math.inf, int(f"{text[0]}1"))
    if _BASED.fullmatch(text):
        return int(text, 0) if len(text) <= MAX_DIGITS else math.inf
    if _FLOAT.fullmatch(text):
        number = float(text)
        return int(number) if "." not in text and number.is_integer() else number
    return text


class _Builder:
    """Builds nodes from parser events and checks the limits at every step."""

    def __init__(self, source: str, located: bool, kind: FileKind) -> None:
        self.source = source
        self.located = located
        self.kind = kind
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}  # None while the anchored node is still open
        self.nodes = 0

    def where(self, mark: Any) -> Where:
        if mark is None or not self.located:
            return Where(self.source)
        return Where(self.source, mark.line + 1, mark.column + 1)

    def error(self, mark: Any, message: Message) -> ConfigError:
        return ConfigError([*self.problems, Problem(str(self.where(mark)), message)])

    def note(self, where: Where, message: Message) -> None:
        self.problems.append(Problem(str(where), message))

    def document(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    message = f"a second YAML document starts here: use one file for each {self.kind.word}"
                    raise self.error(event.start_mark, Message("several-documents", message))
                root = self.node(next(events), events, depth=1)
        if root is None and not self.located:
            raise self.error(None, Message("empty-value", "has no value"))
        if root is None:
            message = f"is empty: {self.kind.noun} is a mapping, such as {self.kind.example!r}"
            raise self.error(None, Message("empty-file", message))
        return root

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if depth > MAX_DEPTH:
            raise self.error(
                event.start_mark, Message("too-deep", f"is nested deeper than {MAX_DEPTH} levels")
            )
        self.grow(1, event)
        if event.tag is not None and event.tag != "!":
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            message = f"the tag {tag!r} is not allowed: write a plain value"
            self.note(self.where(event.start_mark), Message("tag-not-allowed", message))
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        node = self.content(event, events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def content(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        where = self.where(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.tag is None and not event.style
            return Node(resolve_scalar(event.value) if plain else event.value, where)
        if isinstance(event, yaml.SequenceStartEvent):
            items = list(self.items(events, depth))
            return Node(items, where, size=1 + sum(item.size for item in items))
        return self.mapping(where, events, depth)

    def items(self, events: Iterator[Any], depth: int) -> Iterator[Node]:
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            yield self.node(event, events, depth + 1)

    def mapping(self, where: Where, events: Iterator[Any], depth: int) -> Node:
        entries: dict[str, Node] = {}
        size = 1
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key_where = self.where(event.start_mark)
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            fault = self.key_fault(key, entries)
            if fault:
                self.note(key_where, fault)
            self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            size += value.size + 1
            if key is not None and not fault:
                entries[key] = replace(value, key_where=key_where)
        return Node(entries, where, size=size)

    def key_fault(self, key: str | None, entries: dict[str, Node]) -> Message | None:
        if key is None:
            return Message("not-a-key", f"a key must be a word, such as {self.kind.example_key!r}")
        if key == "<<":
            return Message("merge-key", f"merge keys (<<) are not YAML 1.2: {self.kind.instead_of_merge}")
        if not is_text(key):
            return Message("not-utf-8", f"the key {key!r} {NOT_TEXT}")
        if key in entries:
            first = f" (first at {entries[key].key_where})" if self.located else ""
            return Message("duplicate-key", f"duplicate key {key!r}{first}: keep one")
        return None

    def alias(self, event: Any) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            known = event.anchor in self.anchors
            what = "contains itself" if known else "is used before it is defined"
            raise self.error(event.start_mark, Message("bad-alias", f"the alias '*{event.anchor}' {what}"))
        self.grow(node.size, event)
        return node

    def grow(self, size: int, event: Any) -> None:
        self.nodes += size
        if self.nodes > MAX_NODES:
            message = f"has more than {MAX_NODES:,} values after aliases are expanded"
            raise self.error(event.start_mark, Message("too-many-values", message))
