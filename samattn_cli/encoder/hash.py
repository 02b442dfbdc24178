"""What tells one config from another: the hash by which a recording knows the encoder that was measured."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from typing import Any

from .model import EncoderConfig, RunConfig


def config_hash(config: EncoderConfig) -> str:
    """SHA-256 of what the config says, as canonical JSON: not of its name, nor of what it leaves at its default.

    So neither a new name nor a key that samattn learns later loses a recording.
    """
    run = config.run
    if run.mode == "inference":  # of a training step only
        plain = RunConfig()
        run = replace(run, optimizer=plain.optimizer, checkpointing=plain.checkpointing, trains=plain.trains)
    keys = _without_defaults(replace(config, run=run, name="encoder", description=""))
    return sha256(json.dumps(keys, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _without_defaults(value: Any) -> Any:
    """A config's keys without those at their default."""
    if isinstance(value, tuple):
        return [_without_defaults(item) for item in value]
    if not is_dataclass(value):
        return value
    entries = ((field, getattr(value, field.name)) for field in fields(value))
    return {field.name: _without_defaults(entry) for field, entry in entries if entry != field.default}
