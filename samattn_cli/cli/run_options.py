"""The options of how an encoder is run, which commands share: --set, --image-size, --dtype and so on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from . import complete
from .parameters import overrides, run_option

Command = TypeVar("Command", bound=Callable[..., Any])
if TYPE_CHECKING:
    from ..files.load import Override

    LaidOver = Sequence[Override]
else:
    LaidOver = (
        Sequence  # evaluated with the annotations of a command; the class is imported only for overrides
    )
"""The overrides that the options make, in their order."""

PARAMETER = "laid_over"
"""The parameter of a command that receives them."""

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the config, such as window_size=8 or run.dtype=float16; may repeat.",
        autocompletion=complete.settings,
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Image size in pixels: N or HEIGHTxWIDTH; overrides image_size."),
]
BatchSize = Annotated[
    str | None, typer.Option(metavar="N", help="Images per pass; overrides run.batch_size.")
]
DTypeOption = Annotated[
    str | None, run_option("dtype", "TYPE", "float32, bfloat16 or float16; overrides run.dtype.")
]
Autocast = Annotated[
    str | None,
    run_option(
        "autocast",
        "TYPE",
        "Run matrix products in bfloat16 or float16, as torch.autocast does; overrides run.autocast.",
    ),
]
Attention = Annotated[
    str | None,
    run_option("attention", "KERNEL", "Attention kernel: eager, sdpa or fused; overrides run.attention."),
]
ImplementationOption = Annotated[
    str | None,
    typer.Option(
        "--implementation",
        metavar="LIBRARY",
        help="Whose code runs: reference, transformers or timm; overrides implementation.",
        autocompletion=complete.words_of("implementation"),
    ),
]
Mode = Annotated[str | None, run_option("mode", "MODE", "inference or training; overrides run.mode.")]
OptimizerOption = Annotated[
    str | None, run_option("optimizer", "NAME", "adamw, sgd_momentum or sgd; overrides run.optimizer.")
]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--checkpointing/--no-checkpointing",
        help="Activation checkpointing: training keeps only the input of each block, or with --checkpointing=BLOCKS (global, "
        "window, every 2nd, blocks.5-7) of some; overrides run.checkpointing.",
    ),
]

OPTIONS = {
    "set_": Set,
    "image_size": ImageSize,
    "batch_size": BatchSize,
    "dtype": DTypeOption,
    "autocast": Autocast,
    "attention": Attention,
    "implementation": ImplementationOption,
    "mode": Mode,
    "optimizer": OptimizerOption,
    "checkpointing": Checkpointing,
}
"""By the names of their parameters, in the order of the help."""


def with_run_options(*without: str) -> Callable[[Command], Command]:
    """Give a command these options, in the place of its parameter `laid_over`, which receives their overrides.

    Args:
        without: the names of options that the command does not have.
    """
    names = [name for name in OPTIONS if name not in without]
    options = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=OPTIONS[name])
        for name in names
    ]

    def decorated(command: Command) -> Command:
        @wraps(command)
        def run(**arguments: Any) -> Any:
            values = {name: arguments.pop(name, None) for name in names}
            return command(**arguments, **{PARAMETER: overrides(values.pop("set_"), **values)})

        hints, own = get_type_hints(command, include_extras=True), signature(command)
        parameters = [
            each
            for name, parameter in own.parameters.items()
            for each in (options if name == PARAMETER else [parameter.replace(annotation=hints[name])])
        ]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorated
