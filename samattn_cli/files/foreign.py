"""Files that describe a model but are not encoder configs, and the command to use for each."""

from __future__ import annotations

from ..encoder.tree import Node
from ..encoder.wording import cut
from ..errors import Message
from ..shell import command
from .sources import LABEL_OF_STDIN

SAFETENSORS = ".safetensors"
PYTORCH = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pth.tar")
"""The file name extensions of PyTorch checkpoints."""

OF_HUGGING_FACE = ("model_type", "architectures")
"""Keys of transformers' config.json that encoder configs do not have."""

OF_OTHER_PROJECTS = (("MODEL",), ("model", "image_encoder"), ("trainer", "model"))
"""What encoder configs do not have, and YAML configs of Swin, detectron2 and SAM 2 do."""


def is_checkpoint(name: str) -> bool:
    """Whether a file name has the extension of a checkpoint."""
    return name.endswith((SAFETENSORS, *PYTORCH))


def checkpoint_problem(label: str) -> Message:
    """What is wrong with a checkpoint in place of a config."""
    return Message(
        "not-a-config", f"is a checkpoint, not an encoder config: `{_import(label)}` writes its config"
    )


def document_problem(root: Node) -> Message | None:
    """What is wrong with a config.json of transformers, or a report of samattn; None if it is neither."""
    if any(root.step(key) is not None for key in OF_HUGGING_FACE):
        label = "config.json" if root.where.source == LABEL_OF_STDIN else root.where.source
        return Message(
            "not-a-config",
            f"is a Hugging Face config.json, not an encoder config: `{_import(label)}` writes one from it",
        )
    if any(root.at(path) is not None for path in OF_OTHER_PROJECTS):
        return Message(
            "not-a-config",
            f"is the config of another project, not an encoder config: `{_import(root.where.source)}` reads those of SAM 2 and Swin",
        )
    kind, version = root.step("kind"), root.step("schema_version")
    if kind is None or version is None:
        return None
    return Message(
        "not-a-config",
        f"is a report of samattn (kind: {cut(kind.plain())}), not an encoder config: name the config that was analyzed",
    )


def _import(label: str) -> str:
    return command("import", label, "-o", "encoder.yaml")
