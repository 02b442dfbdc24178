"""Published results of strategies of placing global layers; the data is in `published_placements.json`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from ...encoder.model import EncoderConfig
from ...reports.placements import PublishedResult
from .strategies import SHIFTED, ComparedEncoder

FILE = Path(__file__).parents[2] / "published_placements.json"


def published_result(config: EncoderConfig, placement: ComparedEncoder) -> PublishedResult | None:
    """The published result of one of a placement's strategies, for the model with the config's depth, else the deepest.

    The results are of plain encoders. With several stages, or with shifted windows in addition, a strategy is something
    else.
    """
    if len(config.stages) > 1:
        return None
    is_shifted = any(layer.is_shifted for layer in placement.config.layers)
    names = [name for name in placement.names if (name == SHIFTED) == is_shifted]
    read = _read()
    models = sorted(read["results"], key=lambda each: (each["depth"] == len(config.layers), each["depth"]))
    model = models[-1]
    source = read["sources"][model["source"]]
    for name in names:
        if name in model["figures"]:
            return PublishedResult(
                strategy=name,
                model=model["model"],
                task=model["task"],
                measures=tuple(model["measures"]),
                figures=tuple(model["figures"][name]),
                source=source["title"],
                address=source["address"],
            )
    return None


@cache
def _read() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return read
