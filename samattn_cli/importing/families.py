"""What descriptions and checkpoints of each family say: the `importing.py` of its folder; nothing lists them.

It has `HUGGING_FACE`, model_type to what reads the description, and `CHECKPOINTS`. It may have
`AS_TRANSFORMERS_RUNS`, model_type to what says in which way transformers runs an encoder otherwise than samattn, and
`EAGER_ALONE`, the model_types for which transformers has no other attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..encoder.model import EncoderConfig
from ..encoder.registry import modules
from .description import Given, Keys
from .weights import Checkpoint

_FAMILIES = list(modules("importing"))

HUGGING_FACE: dict[str, Callable[[Given], Keys]] = {
    word: read for family in _FAMILIES for word, read in getattr(family, "HUGGING_FACE", {}).items()
}
AS_TRANSFORMERS_RUNS: dict[str, Callable[[EncoderConfig], Iterator[str]]] = {
    word: check for family in _FAMILIES for word, check in getattr(family, "AS_TRANSFORMERS_RUNS", {}).items()
}
EAGER_ALONE = frozenset(word for family in _FAMILIES for word in getattr(family, "EAGER_ALONE", ()))
CHECKPOINTS: tuple[Checkpoint, ...] = tuple(
    kind for family in _FAMILIES for kind in getattr(family, "CHECKPOINTS", ())
)
