"""What to do with a name that is no encoder config and no preset: import what it names, or name a file in a folder."""

from __future__ import annotations

from pathlib import Path

from ..patterns import pattern
from ..shell import command

LIBRARY = pattern(r"(?:timm|torchvision|ultralytics):.+")
"""A model of a library, as `samattn import` takes it."""
OF_TIMM = pattern(r"\w+_patch\d+\w*")
"""How timm names models: swin_tiny_patch4_window7_224."""
OF_A_HUB = pattern(r"[\w-]+/[\w.-]+")
"""A model of the Hugging Face hub; the name of a file would have an extension."""
DESCRIPTION = "config.json"
ENDINGS = (".yaml", ".yml", ".json")
WRITTEN = ("-o", "encoder.yaml")


def instead_of_name(reference: str, *, is_in_folder: bool) -> str:
    """What to do with a name that is a model's elsewhere; "" if it does not look like one.

    `is_in_folder`: whether it is in a folder that exists, and so is no model of a hub.
    """
    if LIBRARY.fullmatch(reference):
        return f"; {_imported(reference)}"
    if OF_TIMM.fullmatch(reference):
        return f"; if it is a model of timm, {_imported(f'timm:{reference}')}"
    if not is_in_folder and OF_A_HUB.fullmatch(reference) and not reference.endswith(ENDINGS):
        return (
            f"; samattn does not download from a hub: with the model's config.json, {_imported(DESCRIPTION)}"
        )
    return ""


def instead_of_folder(reference: str, files: list[Path], *, has_description: bool) -> str:
    """What to do with a folder that holds YAML `files`, and maybe the config.json of a model; "" if it holds neither."""
    if has_description:
        return f"with a {DESCRIPTION}: {_imported(reference)}"
    return f"name a YAML file in it, such as {Path(reference) / min(files).name}" if files else ""


def _imported(source: str) -> str:
    return f"`{command('import', source, *WRITTEN)}` writes a config of it"
