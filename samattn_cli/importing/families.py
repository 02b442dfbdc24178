"""What the `importing.py` of each family declares. Nothing lists the families.

`HUGGING_FACE` maps a model_type to the function that reads its description. `CHECKPOINTS` has the kinds of checkpoint. Two
more are optional: `TRANSFORMERS_DIFFERENCES` maps a model_type to a function that says where transformers runs an encoder
differently from samattn; `EAGER_ONLY` has the model_types for which transformers has no attention but eager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..encoder.model import EncoderConfig
from ..encoder.registry import modules
from .description import Description, Keys
from .weights import CheckpointKind

_FAMILIES = list(modules("importing"))

HUGGING_FACE: dict[str, Callable[[Description], Keys]] = {
    model_type: read
    for family in _FAMILIES
    for model_type, read in getattr(family, "HUGGING_FACE", {}).items()
}
TRANSFORMERS_DIFFERENCES: dict[str, Callable[[EncoderConfig], Iterator[str]]] = {
    model_type: differences
    for family in _FAMILIES
    for model_type, differences in getattr(family, "TRANSFORMERS_DIFFERENCES", {}).items()
}
EAGER_ONLY = frozenset(model_type for family in _FAMILIES for model_type in getattr(family, "EAGER_ONLY", ()))
CHECKPOINTS: tuple[CheckpointKind, ...] = tuple(
    kind for family in _FAMILIES for kind in getattr(family, "CHECKPOINTS", ())
)
