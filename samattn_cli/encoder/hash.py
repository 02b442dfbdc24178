"""The hash of a config: a recording keeps it to name the encoder that was measured."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from ..records import fields, replace
from .applicable_keys import unused_keys
from .model import EncoderConfig, RunConfig
from .torch_versions import FORMER_DEFAULT


def config_hash(config: EncoderConfig) -> str:
    """SHA-256 of a config's keys as canonical JSON, without its name, its description and keys at their default.

    So a recording stays valid when the config is renamed, or when samattn gets a new key or another default of `run.torch`.
    """
    run, plain = config.run, RunConfig()
    unread = [*unused_keys("mode", run.mode)]
    if run.mode == "inference":  # what trains, and whether blocks are checkpointed, decides the graph
        unread += ["optimizer"] if run.grad else ["optimizer", "checkpointing", "trains"]
    unread += ["torch"] if run.torch_version == FORMER_DEFAULT else []
    run = replace(run, **{key: getattr(plain, key) for key in unread})
    keys = _without_defaults(replace(config, run=run, name="encoder", description=""))
    return _sha256(json.dumps(keys, sort_keys=True, separators=(",", ":")).encode())


def _sha256(data: bytes) -> str:
    """SHA-256 by the interpreter's own module, where it has one: hashlib loads OpenSSL, which takes longer than an analysis of a layer."""
    for name in ("_sha2", "_sha256", "hashlib"):  # of Python 3.12, of earlier ones, of any
        try:
            digest: str = import_module(name).sha256(data).hexdigest()
        except ImportError:
            continue
        return digest
    raise AssertionError(name)


def _without_defaults(value: Any) -> Any:
    """A config's keys without those at their default."""
    if isinstance(value, tuple):
        return [_without_defaults(item) for item in value]
    if "__dataclass_fields__" not in vars(type(value)):
        return value
    entries = ((field, getattr(value, field.name)) for field in fields(value))
    return {field.name: _without_defaults(entry) for field, entry in entries if entry != field.default}
