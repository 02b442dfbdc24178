"""What a callable or a forward takes, for messages, and the names that a Python file defines."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import SamattnError, did_you_mean


def takes(signature: inspect.Signature) -> str:
    """The names of what a signature takes, in order: "depth, dim (optional)"."""
    return ", ".join(
        parameter.name if parameter.default is parameter.empty else f"{parameter.name} (optional)"
        for parameter in signature.parameters.values()
    )


def check_arguments(found: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Check that a callable takes arguments.

    Raises:
        SamattnError: with what it takes, if it does not.
    """
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # of compiled code
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        its = takes(signature)
        of_all = f"; it takes {its}: --arg KEY=VALUE" if its else "; it takes no argument"
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        unknown = [name for name in arguments if name not in signature.parameters]
        if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
            hint = did_you_mean(unknown[0], signature.parameters) or of_all
            raise SamattnError("target-not-built", f"no argument is named {unknown[0]!r}{hint}") from None
        raise SamattnError("target-not-built", f"{error}{of_all}") from None


def defined_in(file: str) -> str:
    """The last public class of a Python file, which is often the model, or without one the last function; "NAME" if it has neither."""
    with suppress(SyntaxError, ValueError, OSError):
        body = ast.parse(Path(file).read_text("utf-8")).body
        for kind in (ast.ClassDef, ast.FunctionDef):
            public = (node.name for node in body if isinstance(node, kind) and not node.name.startswith("_"))
            if name := next(reversed([*public]), ""):
                return name
    return "NAME"
