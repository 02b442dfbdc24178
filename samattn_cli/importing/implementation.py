"""`implementation` as the library that an encoder comes from, where samattn has its model of it."""

from __future__ import annotations

from ..encoder.implementations import implementation_problems
from ..records import replace
from .checks import config_of
from .description import Keys


def of_library(keys: Keys, library: str, label: str) -> Keys:
    """The keys with the library, if samattn knows how its model runs this encoder."""
    config = replace(config_of(keys, label), implementation=library)
    if any(implementation_problems(config)):
        return keys
    run = {key: value for key, value in keys.items() if key == "run"}
    return {key: value for key, value in keys.items() if key != "run"} | {"implementation": library} | run
