"""`samattn import`: from a source to the YAML of a config.

It finds out what kind of source it is and which family knows it, and checks that the config has the source's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..encoder.keys import Pair
from ..errors import ImportFailedError
from ..files.foreign import PYTORCH, SAFETENSORS
from ..files.reading import not_a_file
from ..files.sources import STDIN
from .another_size import at_another_size
from .attention import of_timm
from .checkpoint import Shapes
from .checks import check_blocks, check_weights, config_of
from .description import Description, Keys, quoted
from .families import checkpoints, unusable_families
from .hugging_face import LIBRARY, read_config_json
from .implementation import of_library
from .published_models import difference_from_published
from .shards import INDEX, parts_of, shapes_in
from .timm_model import TIMM, read_timm_model
from .weights import CheckpointKind, Weights
from .write import tidy, yaml_of

IN_FOLDER = (
    "config.json",
    *(f"{name}{ending}" for ending in ("", INDEX) for name in ("model.safetensors", "pytorch_model.bin")),
)

EXTENSIONS = (".json", SAFETENSORS, *PYTORCH)


def imported(source: str, warn: Callable[[str], object] = str, image_size: Pair | None = None) -> str:
    """The YAML of the encoder that a source describes.

    Args:
        source: Hugging Face's config.json or its folder, a checkpoint, or the name of a timm model.
        warn: is called with each warning for whoever runs the import; the YAML's comments have it too.
        image_size: (height, width) of the images that it is used for; None for those that its source was made for.

    Raises:
        ImportFailedError: if the source is damaged, unknown, or says what samattn cannot express.
    """
    read: Description | Weights
    if source == STDIN:
        message = "-: standard input is not read here: name a file, such as config.json"
        raise ImportFailedError("stdin-not-read", message)
    try:
        path = _file_of(Path(source))
    except (OSError, ValueError) as error:  # not a possible name of a file, or a folder without permission
        raise ImportFailedError("cannot-read", f"{quoted(source)}: cannot be read: {error}") from None
    if path is None:
        attributes, shapes = read_timm_model(source)
        what, library = f"timm's {source.removeprefix(TIMM)}", "timm"
        keys, read = _from_weights(shapes, what, attributes)
    elif path.suffix == ".json" and not path.name.endswith(INDEX):
        keys, read = read_config_json(path)
        what, library = f"{path}, of Hugging Face", LIBRARY
    else:
        parts = parts_of(path)
        keys, read = _from_weights(shapes_in(parts), str(path), {})
        what, library = f"the names and shapes of the weights in {', '.join(map(str, parts))}", ""
    if image_size is not None:
        keys = at_another_size(keys, image_size, library, read.notes, read.warnings)
    for sentence in read.warnings:
        warn(sentence)
    return yaml_of(tidy(keys), [f"Imported from {what}.", *read.warnings, *read.notes])


def _file_of(path: Path) -> Path | None:
    """The file that a path means; None if there is none, so that it may be the name of a timm model."""
    if path.is_dir():
        file = next((path / name for name in IN_FOLDER if (path / name).is_file()), None)
        if file is None:
            raise ImportFailedError("nothing-to-import", f"{path}: contains none of {', '.join(IN_FOLDER)}")
        return file
    if path.exists():
        if path.suffix not in EXTENSIONS:
            raise ImportFailedError(
                "unknown-extension",
                f"{path}: unknown kind of file; the extension must be one of {', '.join(EXTENSIONS)}",
            )
        if not path.is_file():
            raise ImportFailedError("not-a-file", f"{path}: {not_a_file(path.stat().st_mode).strerror}")
        return path
    if len(path.parts) != 1 or path.suffix in EXTENSIONS:
        raise ImportFailedError(
            "file-not-found", f"{path}: no such file; samattn does not download from a hub"
        )
    return None


def _from_weights(shapes: Shapes, label: str, attributes: Mapping[str, Any]) -> tuple[Keys, Weights]:
    """The keys read by the first kind of checkpoint that matches; the encoder must have exactly those weights."""
    kind = next((kind for kind in checkpoints() if kind.matches(shapes)), None)
    if kind is None:
        check_blocks(shapes, label)  # kinds are recognized by the first block
        names = ", ".join(quoted(name) for name in list(shapes)[:3])
        raise ImportFailedError(
            "unknown-model",
            f"{label}: samattn recognizes no model with these weights ({names}, ...); for a model saved by transformers, import "
            f"its config.json{unusable_families()}",
        )
    weights = _renamed(kind, shapes, label, attributes)
    keys = kind.read(weights)
    config = config_of(keys, label)
    check_weights(config, weights)
    if attributes:
        return of_library(of_timm(keys, config, weights), "timm", label), weights
    if difference := difference_from_published(config, weights.others):  # timm's models are always complete
        weights.warnings.append(difference)
    return keys, weights


def _renamed(kind: CheckpointKind, shapes: Shapes, label: str, attributes: Mapping[str, Any]) -> Weights:
    """The encoder's weights by samattn's names; the other weights by their own."""
    name_of, original_names, others = kind.names(shapes), dict[str, str](), dict(shapes)
    check_blocks((name for name in shapes if name_of(name) is not None), label)
    for name in shapes:
        if (ours := name_of(name)) is not None:
            if ours in original_names:
                both = f"{quoted(original_names[ours])} and {quoted(name)}"
                raise ImportFailedError(
                    "unknown-model",
                    f"{label}: {both} map to the same weight of samattn: this is another model",
                )
            original_names[ours] = name
            del others[name]
    own = {ours: shapes[name] for ours, name in original_names.items()}
    return Weights(label, own, original_names, others, attributes)
