"""`samattn compare-placements`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..config.load import load_config
from ..render import FORMATS, PICTURES, render, render_file
from ..render.options import Options
from .analyze import Format, device_of
from .output import emit, file_format, guarded, terminal_options, working, write_file
from .parameters import (
    Attention,
    Autocast,
    BatchSize,
    Checkpointing,
    Config,
    DTypeOption,
    ImageSize,
    Mode,
    OptimizerOption,
    Outputs,
    Set,
    overrides,
)
