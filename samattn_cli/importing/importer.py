"""From a source to the YAML of a config: what kind of source it is, whose family knows it, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ImportFailedError
from ..files.foreign import PYTORCH, SAFETENSORS
from ..files.reading import not_a_file
from .agreement import checked, hold, no_block_missing
from .attention import of_timm
from .checkpoint import Shapes
from .description import Given, Keys, cut
from .families import CHECKPOINTS
from .hugging_face import described
from .known_models import unlike
from .shards import INDEX, parts_of, shapes_in
from .timm_model import model_of
from .weights import Checkpoint, Weights
from .write import tidy, yaml_of

IN_FOLDER = (
    "config.json",
    *(f"{name}{ending}" for ending in ("", INDEX) for name in ("model.safetensors", "pytorch_model.bin")),
)
KNOWN = (".json", SAFETENSORS, *PYTORCH)


def imported(source: str, warn: Callable[[str], object] = str) -> str:
    """The YAML of the encoder that a source describes.

    Args:
        source: Hugging Face's config.json or its folder, a checkpoint, or the name of a timm model.
        warn: is called with each sentence that whoever imports it should know at once; the YAML says them too.

    Raises:
        ImportFailedError: if it is damaged, unknown, or says what samattn cannot express.
    """
    read: Given | Weights
    try:
        path = _file_of(Path(source))
    except (OSError, ValueError) as error:  # a name that no file can have, a folder that may not be read
        raise ImportFailedError(f"{cut(source)}: cannot be read: {error}") from None
    if path is None:
        facts, shapes = model_of(source)
        keys, read = _from_weights(shapes, f"timm's {source}", facts)
        what = f"timm's {source}"
    elif path.suffix == ".json" and not path.name.endswith(INDEX):
        keys, read = described(path)
        what = f"{path}, of Hugging Face"
    else:
        parts = parts_of(path)
        keys, read = _from_weights(shapes_in(parts), str(path), {})
        what = f"the names and shapes of the weights in {', '.join(map(str, parts))}"
    for sentence in read.warnings:
        warn(sentence)
    return yaml_of(tidy(keys), [f"Imported from {what}.", *read.warnings, *read.notes])


def _file_of(path: Path) -> Path | None:
    """The file that a path means; None where nothing is there, and so a timm model may be meant."""
    if path.is_dir():
        found = next((path / name for name in IN_FOLDER if (path / name).is_file()), None)
        if found is None:
            raise ImportFailedError(f"{path}: holds none of {', '.join(IN_FOLDER)}")
        return found
    if path.exists():
        if path.suffix not in KNOWN:
            raise ImportFailedError(
                f"{path}: what it is must be told by its extension, one of {', '.join(KNOWN)}"
            )
        if not path.is_file():
            raise ImportFailedError(f"{path}: {not_a_file(path.stat().st_mode).strerror}")
        return path
    if len(path.parts) != 1 or path.suffix in KNOWN:
        raise ImportFailedError(f"{path}: there is no such file; nothing is fetched from a hub")
    return None


def _from_weights(shapes: Shapes, label: str, facts: Mapping[str, Any]) -> tuple[Keys, Weights]:
    """The keys that the first kind reads that knows the names, if the encoder has those weights and no others."""
    kind = next((kind for kind in CHECKPOINTS if kind.is_one(shapes)), None)
    if kind is None:
        no_block_missing(shapes, label)  # a model is known by its first block
        names = ", ".join(cut(name) for name in list(shapes)[:3])
        raise ImportFailedError(
            f"{label}: its weights ({names}, ...) are of no model that samattn knows (of transformers' it takes config.json)"
        )
    weights = _named(kind, shapes, label, facts)
    keys = kind.read(weights)
    config = checked(keys, label)
    hold(config, weights)
    if facts:
        return of_timm(keys, config, weights), weights
    if said := unlike(config, weights.beside):  # a model that timm made has all its weights
        weights.warnings.append(said)
    return keys, weights


def _named(kind: Checkpoint, shapes: Shapes, label: str, facts: Mapping[str, Any]) -> Weights:
    """The encoder's weights by samattn's names, what is not its own beside them."""
    name_of, theirs, beside = kind.names(shapes), dict[str, str](), dict(shapes)
    no_block_missing((name for name in shapes if name_of(name) is not None), label)
    for name in shapes:
        if (ours := name_of(name)) is not None:
            if ours in theirs:
                said = f"{cut(theirs[ours])} and {cut(name)}"
                raise ImportFailedError(f"{label}: {said} are one weight to samattn: it is of another model")
            theirs[ours] = name
            del beside[name]
    return Weights(label, {ours: shapes[name] for ours, name in theirs.items()}, theirs, beside, facts)
