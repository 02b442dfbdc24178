"""Files that describe a model but are not an encoder config, and the command that takes each."""

from __future__ import annotations

from pathlib import PurePath

from ..encoder.tree import Node
from ..encoder.wording import cut
from ..shell import command
from .sources import LABEL_OF_STDIN

SAFETENSORS = ".safetensors"
PYTORCH = (".pth", ".pt", ".bin", ".ckpt")
"""How the names of checkpoints end."""

OF_HUGGING_FACE = ("model_type", "architectures")
"""Keys that a config.json of transformers has, and an encoder config does not."""


def is_checkpoint(name: str) -> bool:
    """Whether the name of a file is that of a file of weights."""
    return PurePath(name).suffix in {SAFETENSORS, *PYTORCH}


def checkpoint(label: str) -> str:
    """What is wrong with a file of weights where a config is meant."""
    return f"is a checkpoint, not an encoder config: {_import(label)} writes its config"


def document(root: Node) -> str:
    """What is wrong with a document of another program, or a report of samattn; "" if it is neither."""
    if any(root.step(key) is not None for key in OF_HUGGING_FACE):
        label = "config.json" if root.where.source == LABEL_OF_STDIN else root.where.source
        return f"is a config.json of Hugging Face, not an encoder config: {_import(label)} writes one from it"
    kind, version = root.step("kind"), root.step("schema_version")
    if kind is None or version is None:
        return ""
    return f"is a report of samattn (kind: {cut(kind.plain())}), not an encoder config: give the config that it is of"


def _import(label: str) -> str:
    return command("import", label, "-o", "encoder.yaml")
