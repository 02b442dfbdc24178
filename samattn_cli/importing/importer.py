"""`samattn import`: from a source to the YAML of a config.

It finds out what kind of source it is and which family knows it, and checks that the config has the source's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..encoder.keys import Size
from ..errors import ImportFailedError
from ..files.foreign import PYTORCH, SAFETENSORS
from ..files.reading import not_a_file
from ..files.sources import STDIN
from ..reports.other_sizes import in_words
from ..tape.other_sizes import other_sizes
from .another_size import at_another_size
from .attention import of_timm
from .checkpoint import Shapes, kind_of
from .checks import check_activations, check_blocks, check_differences, check_weights, config_of
from .config_file import ELSEWHERE, ENDINGS, read_config_file
from .description import Description, Keys, quoted
from .families import checkpoints, config_files, unusable_families
from .hugging_face import LIBRARY, read_config_json
from .implementation import of_library
from .inside import Found, choice_of, encoders_in
from .published_models import difference_from_published
from .shards import INDEX, parts_of, shapes_in
from .timm_model import TIMM, read_timm_model
from .weights import Weights
from .write import tidy, yaml_of
from .zoo_models import differences, read_zoo_model, zoo_of

CONFIG = "config.json"
IN_FOLDER = (
    CONFIG,
    *(f"{name}{ending}" for ending in ("", INDEX) for name in ("model.safetensors", "pytorch_model.bin")),
)
"""What transformers saves: in a folder, these come before other checkpoints."""
CODE = ".py"
EXTENSIONS = (".json", SAFETENSORS, *PYTORCH, *ENDINGS)
NO_NAME = {TIMM: "samvit_base_patch16", "torchvision:": "swin_t", "ultralytics:": "sam_b"}
"""What names a library and no model of it, with a model that it has."""


def imported(source: str, warn: Callable[[str], object] = str, image_size: Size | None = None) -> str:
    """The YAML of the encoder that a source describes.

    Args:
        source: Hugging Face's config.json or its folder, a checkpoint, a YAML config of another project, or the name of a
            model: timm's, "torchvision:NAME" or "ultralytics:NAME".
        warn: is called with each warning for whoever runs the import; the YAML's comments have it too.
        image_size: (height, width) of the images that it is used for; None for those that its source was made for.

    Raises:
        ImportFailedError: if the source is damaged, unknown, or says what samattn cannot express.
    """
    read: Description | Weights
    if source == STDIN:
        message = "-: standard input is not read here: name a file, such as config.json"
        raise ImportFailedError("stdin-not-read", message)
    if source in NO_NAME:
        raise ImportFailedError(
            "no-model-named", f"{source}: names no model; {source}{NO_NAME[source]} would be right"
        )
    zoo = zoo_of(source)
    try:
        path = Path() if zoo else _file_of(Path(source))
    except (OSError, ValueError) as error:  # not a possible name of a file, or a folder without permission
        raise ImportFailedError("cannot-read", f"{quoted(source)}: cannot be read: {error}") from None
    if zoo:
        what, library = source, ""
        keys, read = _from_weights(read_zoo_model(source), what, {})
    elif path is None:
        attributes, shapes = read_timm_model(source)
        what, library = f"timm's {source.removeprefix(TIMM)}", "timm"
        keys, read = _from_weights(shapes, what, attributes)
    elif path.suffix == ".json" and not path.name.endswith(INDEX):
        keys, read = read_config_json(path)
        what, library = f"{path}, of Hugging Face", LIBRARY
    elif path.name.endswith(ENDINGS):
        keys, read, project = read_config_file(path, config_files())
        config_of(keys, str(path))
        what, library = f"{path}, of {project}", ""
    else:
        parts = parts_of(path)
        keys, read = _from_weights(shapes_in(parts), str(path), {})
        what, library = f"the names and shapes of the weights in {', '.join(map(str, parts))}", ""
    if image_size is not None:
        keys = at_another_size(keys, image_size, library, read.notes, read.warnings)
    config = config_of(keys, source)
    read.warnings.extend(differences(zoo, config))
    for sentence in read.warnings:
        warn(sentence)
    sizes = in_words(other_sizes(config))
    return yaml_of(tidy(keys), [f"Imported from {what}.", *read.warnings, *read.notes, *sizes])


def _file_of(path: Path) -> Path | None:
    """The file that a path means; None if there is none, so that it may be the name of a timm model."""
    if path.is_dir():
        return _file_in(path)
    if path.exists():
        if not path.is_file():
            raise ImportFailedError("not-a-file", f"{path}: {not_a_file(path.stat().st_mode).strerror}")
        if path.suffix == CODE:
            raise ImportFailedError(
                "python-code", f"{path}: is Python code, which samattn does not run. {ELSEWHERE}"
            )
        if not path.name.endswith(EXTENSIONS) and not kind_of(path):
            raise ImportFailedError(
                "unknown-extension",
                f"{path}: unknown kind of file: its name does not end in {', '.join(EXTENSIONS)}, and it does not begin as a "
                "checkpoint does",
            )
        return path
    if len(path.parts) != 1 or path.name.endswith((*EXTENSIONS, CODE)):
        raise ImportFailedError(
            "file-not-found", f"{path}: no such file; samattn does not download from a hub"
        )
    return None


def _file_in(folder: Path) -> Path:
    """The config.json of a folder, or its only checkpoint, in one file or in parts.

    Raises:
        ImportFailedError: if it has neither, or several checkpoints.
    """
    if (saved := next((folder / name for name in IN_FOLDER if (folder / name).is_file()), None)) is not None:
        return saved
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found = [path for path in files if path.name.endswith((INDEX, SAFETENSORS, *PYTORCH))]
    checkpoints_of_it = {tuple(parts_of(path)): path for path in reversed(found)}
    if not found:
        raise ImportFailedError("nothing-to-import", f"{folder}: contains no {CONFIG} and no checkpoint")
    if len(checkpoints_of_it) > 1:
        names = ", ".join(quoted(path.name) for path in reversed(checkpoints_of_it.values()))
        raise ImportFailedError(
            "several-checkpoints", f"{folder}: contains several checkpoints: name one of them: {names}"
        )
    return next(iter(checkpoints_of_it.values()))


def _from_weights(shapes: Shapes, label: str, attributes: Mapping[str, Any]) -> tuple[Keys, Weights]:
    """The keys read by the first kind of checkpoint that matches; the encoder must have exactly those weights."""
    if not (found := encoders_in(shapes, checkpoints())):
        check_blocks(shapes, label)  # kinds are recognized by the first block
        check_differences(checkpoints(), shapes, label, attributes)
        names = ", ".join(quoted(name) for name in list(shapes)[:3])
        raise ImportFailedError(
            "unknown-model",
            f"{label}: samattn recognizes no model with these weights ({names}, ...); for a model saved by transformers, import "
            f"its config.json{unusable_families()}",
        )
    weights = _renamed(found[0], label, attributes)
    if choice := choice_of(found):
        weights.warnings.append(choice)
    check_differences([found[0].kind], found[0].shapes, label, attributes)
    check_activations(found[0].kind, weights)
    keys = found[0].kind.read(weights)
    config = config_of(keys, label)
    check_weights(config, weights)
    if attributes:
        return of_library(of_timm(keys, config, weights), "timm", label), weights
    first = config.stages[0]
    is_published = (first.embed_dim, first.depth) in found[0].kind.published
    if not is_published and (difference := difference_from_published(config, weights.others)):
        weights.warnings.append(difference)
    return keys, weights


def _renamed(found: Found, label: str, attributes: Mapping[str, Any]) -> Weights:
    """The encoder's weights by samattn's names; the other weights by their own."""
    name_of, original_names, others = found.kind.names(found.shapes), dict[str, str](), dict(found.shapes)
    own = {name: ours for name in found.shapes if (ours := name_of(name)) is not None}
    check_blocks((found.originals[name] for name in own), label)
    shapes = Shapes()
    for name, ours in own.items():
        for part, shape in _parts(ours, others.pop(name)).items():
            if part in original_names:
                both = f"{quoted(original_names[part])} and {quoted(found.originals[name])}"
                raise ImportFailedError(
                    "unknown-model",
                    f"{label}: {both} map to the same weight of samattn: this is another model",
                )
            original_names[part], shapes[part] = found.originals[name], shape
    return Weights(label, shapes, original_names, others, attributes)


def _parts(ours: str | tuple[str | None, ...], shape: tuple[int, ...]) -> Shapes:
    """The weights that a weight of this shape is, by samattn's names; a shape that has no equal parts stays, and is found wrong."""
    if isinstance(ours, str):
        return {ours: shape}
    whole, *rest = shape or (0,)
    each = (whole // len(ours), *rest) if whole and not whole % len(ours) else shape
    return {part: each for part in ours if part is not None}
