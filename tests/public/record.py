"""What the contract of families needs to know about a family: see tests/families/contract.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from torch import Tensor, nn

from samattn_cli import EncoderConfig, load_config

Changes = Mapping[str, object]
"""Keys of a config and their values; a key may be dotted, such as ``run.batch_size`` or ``stages.1.window_size``."""


def _as_they_are(_: EncoderConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights


def _called(model: nn.Module, _: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    return (model(image),)


@dataclass(frozen=True, kw_only=True)
class Record:
    """An encoder of a family, and an implementation of it that others wrote.

    Attributes:
        name: of the record, in the names of tests.
        blocks: the words for blocks that the record is about.
        presets: the smallest of each shape that the family has, if it is counted at once; `count` gives parameters and FLOPs of the public encoder
            of each.
        larger: presets that are counted each week. Other sizes stand in the table of tests/README.md, which `python -m tests.refresh` counts anew.
        small: a small encoder that runs on a CPU in no time. All `Changes` are changes to it.
        public: makes the public encoder of a config, on the CPU, in evaluation mode.
        weights: the state_dict of the public encoder by the names of samattn's.
        outputs: calls the public encoder; its outputs, laid out as samattn's.
        spread: the standard deviation of the weights with which outputs are compared.
        values: changes under which outputs are compared.
        folded: changes under which the Tape is set against the real stack, twins of a block run once.
        in_full: the same, with every block run.
        verified: presets that are set against the real stack, with changes to them.
        bad: changes that are refused, and what is said as tests/support/problems.py knows it, such as
            ``"[unused-key] rel_pos"`` or ``"14:19: [unused-key] rel_pos"`` (line and column of what `write` writes), or
            several where there are several problems. A change to None leaves a key out.
    """

    name: str
    blocks: tuple[str, ...]
    presets: tuple[str, ...]
    count: Callable[[str], tuple[int, int]]
    small: Changes
    public: Callable[[EncoderConfig], nn.Module]
    values: Mapping[str, Changes]
    folded: Mapping[str, Changes]
    in_full: Mapping[str, Changes]
    verified: Mapping[str, Changes]
    bad: Mapping[str, tuple[Changes, str | tuple[str, ...]]]
    weights: Callable[[EncoderConfig, dict[str, Tensor]], dict[str, Tensor]] = _as_they_are
    outputs: Callable[[nn.Module, EncoderConfig, Tensor], Sequence[Tensor]] = _called
    spread: float = 0.3
    larger: tuple[str, ...] = ()

    def config(self, changes: Changes | None = None) -> EncoderConfig:
        """The small encoder with changes."""
        return load_config(self.small, as_overrides(changes or {}))

    def write(self, path: Path, changes: Changes) -> list[str]:
        """Write the small encoder with changes as YAML, a line for each key of the top level; return the lines."""
        keys = json.loads(json.dumps(self.small))
        for key, value in changes.items():
            _put(keys, key.split("."), value)
        lines = [f"{key}: {_flow(value)}" for key, value in keys.items() if value is not None]
        path.write_text("\n".join(lines), encoding="utf-8")
        return lines


def as_overrides(changes: Changes) -> list[str]:
    """Changes as ``--set`` takes them."""
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def _put(within: dict[str, object] | list[object], way: list[str], value: object) -> None:
    first, *rest = way
    at = int(first) if isinstance(within, list) else first
    if not rest:
        within[at] = value
        return
    if isinstance(within, dict):
        within.setdefault(at, {})
    _put(within[at], rest, value)


def _flow(value: object) -> str:
    """In one line: ``[72, 56]``, ``{batch_size: 2}``."""
    return yaml.safe_dump([value], default_flow_style=True, sort_keys=False, width=10_000).strip()[1:-1]
