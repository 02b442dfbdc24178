"""`run.dtype` as transformers loads a model.

Source: transformers 5.23.0, modeling_utils.py, `from_pretrained`: unless the caller gives one, its dtype is "auto". That is
the dtype in the whole model's config.json, if it has one. Older files call the entry torch_dtype.
"""

from __future__ import annotations

from ..errors import Message
from ..spelling import known_as
from ..units import DTYPE_NAMES, ITEM_BYTES
from .description import Description, Keys, quoted

DEFAULT = "float32"
ENTRIES = ("dtype", "torch_dtype")


def of_transformers(keys: Keys, description: Description) -> Keys:
    """The keys with the dtype of the weights; float32 is the default and is not written."""
    named = description.word(*ENTRIES)
    dtype = known_as(named, ITEM_BYTES, DTYPE_NAMES) if named else DEFAULT
    if dtype is None:
        description.warnings.append(
            Message(
                "unsupported-dtype",
                f"samattn does not support dtype {quoted(named)}: the config uses {DEFAULT}.",
            )
        )
    if dtype in {None, DEFAULT}:
        return keys
    return {**keys, "run": {**keys.get("run", {}), "dtype": dtype}}
