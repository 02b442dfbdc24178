"""Which of timm's names `samattn import` takes, and whether each has the parameters and FLOPs of timm's module.

    python -m tests.public.timm_names            # fifteen minutes, where timm is installed
    python -m tests.public.timm_names dinov3     # names in which this regular expression is found

A name is exact if the config has timm's weights, by name and shape (the import itself checks that), and the FLOPs of its
`forward_features`, by torch's FlopCounterMode on the meta device. A name is wrong if it is imported and differs.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward

CLASSIFIER = "hiera_classifier"
"""A neck with which a config is of the whole model."""
FAMILIES = ("vit_*", "deit*", "swin_*", "swinv2_*", "samvit*", "sam2_*", "hiera*", "flexivit*", "eva*")
"""How the names of the families begin of which samattn has encoders: 305 names in timm 1.0.31."""


def names(pattern: str = "") -> list[str]:
    """The names of the families in which a regular expression is found."""
    import timm  # noqa: PLC0415 - not installed where most tests run

    timm.create_model = lru_cache(maxsize=1)(timm.create_model)  # it is asked for twice for each name
    known = timm.list_models()
    return [
        name for name in known if any(fnmatch(name, each) for each in FAMILIES) and re.search(pattern, name)
    ]


def verdict(name: str) -> tuple[str, str]:
    """exact, wrong or refused, and what there is to say of it."""
    try:
        text = imported(f"timm:{name}")
    except ImportFailedError as error:
        return "refused", error.message.partition(": ")[2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_text(text, "utf-8")
        config = load_config(path)
    whole = config.neck == CLASSIFIER
    ours, theirs = int(forward(config).flops), _flops(name, config.input_shape, whole=whole)
    return (
        "exact" if ours == theirs else "wrong"
    ), f"{config.implementation}, {ours:,} FLOPs, timm {theirs:,}"


def _flops(name: str, shape: tuple[int, ...], *, whole: bool) -> int:
    import timm  # noqa: PLC0415

    from samattn_cli.stack.timm_model import _made  # noqa: PLC0415 - timm's module, on the meta device if it can be

    model: Any = _made(timm, name).eval()
    image = torch.empty(shape, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        (model if whole else model.forward_features)(image)
    return int(counted.get_total_flops())


def rows(pattern: str = "") -> Iterator[tuple[str, str, str]]:
    """Each name, its verdict, and what there is to say of it."""
    for name in names(pattern):
        yield name, *verdict(name)


def main(pattern: str = "", say: Callable[[str], object] = print) -> None:
    """Say it of each name, then the numbers."""
    found = Counter[str]()
    for name, kind, what in rows(pattern):
        found[kind] += 1
        say(f"{kind:8} {name}  {what}")
    say(", ".join(f"{number} {kind}" for kind, number in sorted(found.items())))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1] if len(sys.argv) > 1 else "")
