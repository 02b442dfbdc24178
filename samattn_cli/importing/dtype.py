"""`run.dtype` as transformers loads a model.

Source: transformers 5.23.0, modeling_utils.py, `from_pretrained`: its dtype is "auto" unless the caller gives one, which is
that of the whole model's config.json where it names one. Older files call the entry torch_dtype.
"""

from __future__ import annotations

from ..spelling import known_as
from ..units import DTYPE_NAMES, ITEM_BYTES
from .description import Given, Keys, cut

DEFAULT = "float32"
ENTRIES = ("dtype", "torch_dtype")


def of_transformers(keys: Keys, given: Given) -> Keys:
    """The keys with the type of the weights; float32 is the default and is not written."""
    named = given.word(*ENTRIES)
    dtype = known_as(named, ITEM_BYTES, DTYPE_NAMES) if named else DEFAULT
    if dtype is None:
        given.warnings.append(f"Its dtype, {cut(named)}, is written as {DEFAULT}.")
    if dtype in {None, DEFAULT}:
        return keys
    return {**keys, "run": {**keys.get("run", {}), "dtype": dtype}}
