"""What is wrong with a target, in one message: the error, and the line of the user's own code at which it was raised."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import torch

from ...errors import SamattnError, code_of

NOT_THEIRS = tuple(
    str(folder)
    for folder in (
        Path(torch.__file__).parent,
        Path(__file__).parents[2],
        sysconfig.get_path("stdlib"),
    )
)
NO_CUDA = "not compiled with CUDA"
INSTALLED = ("site-packages", "dist-packages")


def fault_of(error: BaseException, doing: str, code: str) -> tuple[str, str]:
    """The code and the sentence for an error that was raised while `doing` something."""
    if isinstance(error, SamattnError):
        return code_of(error.message), str(error.message)
    place = place_of(error)
    return code, f"{f'{place}: ' if place else ''}{doing}: {_said(error)}"


def place_of(error: BaseException) -> str:
    """File and line of the last frame that is not in torch, samattn or Python's own library; "" without one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    theirs = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""


def _is_theirs(file: str) -> bool:
    if file.startswith("<"):
        return False
    return (
        any(name in file for name in INSTALLED) and not file.startswith(NOT_THEIRS[:2])
    ) or not file.startswith(NOT_THEIRS)


def _said(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, SystemExit):
        return f"the interpreter was told to exit ({error.code})"
    if NO_CUDA in text:
        text += "; it asks for CUDA: leave the device out, or take that of an input or a weight (x.device)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
