"""The class of samattn's commands: options by the names that other commands have for them, and hints for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.core import TyperCommand

from .family_option import NAME, WITHOUT, add_families, family_option

SAME_OPTIONS = (
    ("image-size", "resolutions", "resolution", "image-sizes", "img-size", "input-size", "size", "sizes"),
    ("windows", "window", "window-size", "window-sizes"),
    ("batch-size", "batch-sizes", "batch", "batches"),
    ("dtype", "dtypes", "precision"),
    ("attention", "attn", "attn-implementation", "kernel", "kernels"),
    ("autocast", "amp"),
    ("mode", "modes"),
    ("metric", "metrics"),
    ("device", "gpu"),
    ("output", "out"),
    ("format", "output-format"),
    ("placements", "placement", "strategy"),
    ("checkpointing", "gradient-checkpointing"),
)
"""Names of one option: a command takes all of them for the one that it has, in singular, plural or another tool's words."""

UsageError: Any = typer.BadParameter.__mro__[1]
"""Typer has none of its own in every version that it may be."""


def normalizer(own: Iterable[str]) -> Callable[[str], str]:
    """What a command with options of its `own` takes a word for; "_" is "-", and capitals make no difference."""
    own = frozenset(own)
    names = {
        word: next(name for name in group if name in own)
        for group in SAME_OPTIONS
        for word in group
        if word not in own and not own.isdisjoint(group)
    }

    def normalized(word: str) -> str:
        plain = word.replace("_", "-").lower() if len(word) > 1 else word
        return names.get(plain, plain)

    return normalized


class Command(TyperCommand):
    """A command that says what would be right where it was called in another way, and takes families from outside."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        if name not in WITHOUT:
            self.params.append(family_option())

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """With the names of its options."""
        own = (option.lstrip("-") for param in self.params for option in (*param.opts, *param.secondary_opts))
        extra.setdefault("token_normalize_func", normalizer(own))
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What the words mean.

        Raises:
            UsageError: of Typer, with a hint.
        """
        from .hints import hint_of, stray_values

        given = list(args)
        if said := stray_values(self, ctx, given):
            ctx.fail(said)
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            if said := hint_of(self, ctx, given, error):
                raise UsageError(said, ctx) from None
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command, with the families that are named."""
        from .output import guarded

        guarded(add_families)(ctx.params.pop(NAME, None) or ())
        return super().invoke(ctx)
