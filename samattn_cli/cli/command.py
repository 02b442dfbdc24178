"""The class of samattn's commands: it accepts other names of options, and adds hints and codes to Typer's errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import typer
from typer.core import TyperCommand

from ..errors import Message
from . import paging
from .family_option import NAME, WITHOUT, add_families, complete_with, family_option

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
    ("price", "prices"),
    ("output", "out"),
    ("format", "output-format"),
    ("placements", "placement", "strategy"),
    ("checkpointing", "gradient-checkpointing"),
)
"""Names of one option, in singular, plural or another tool's words. A command accepts all of them for the one it has."""

UsageError: Any = typer.BadParameter.__mro__[1]
"""The base class of Typer's usage errors; not every version of Typer exports it."""

CODES = {
    "NoSuchOption": "unknown-option",
    "MissingParameter": "missing-argument",
    "BadParameter": "bad-value",
    "BadOptionUsage": "bad-option",
    "BadArgumentUsage": "bad-argument",
    "UsageError": "bad-usage",
}
"""The codes of Typer's own usage errors, by class."""


def coded(error: Any) -> Message | None:
    """The message of a usage error, with a code; None for an error that is a page of help."""
    names = {} if error.ctx is None else typed_names(error.ctx)
    if isinstance(error.message, Message):
        return Message(error.message.code, as_typed(error.message, names))
    code = CODES.get(type(error).__name__)
    return Message(code, as_typed(error.format_message(), names)) if code else None


def normalizer(own: Iterable[str]) -> Callable[[str], str]:
    """A function from a word to the option that it means, for a command whose options are `own`.

    "_" is "-", and the case of letters makes no difference.
    """
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


def typed_names(context: Any) -> dict[str, str]:
    """The options that the command line has under another name than the command: "--resolutions" typed as "--image-size"."""
    own = _options(context.command)
    names: dict[str, str] = {}
    words = [word.partition("=")[0] for word in context.meta.get(WORDS, ()) if word.startswith("--")]
    for word in words:
        name = f"--{normalizer(own)(word[2:])}"
        if name != word and name[2:] in own and name not in words:
            names[name] = word
    return names


def as_typed(text: str, names: Mapping[str, str]) -> str:
    """A message with the names of options that were typed."""
    for own, typed in names.items():
        text = re.sub(rf"(?<![\w-]){own}(?![\w-])", lambda _, typed=typed: typed, text)  # type: ignore[misc]
    return text


def _options(command: Any) -> frozenset[str]:
    """The names of a command's options, without their dashes."""
    return frozenset(
        option.lstrip("-") for param in command.params for option in (*param.opts, *param.secondary_opts)
    )


WORDS = "samattn.words"
"""The key of a context's `meta` under which are the words of the command line after the command's name."""

RUNNING: ContextVar[tuple[str, ...]] = ContextVar("RUNNING", default=())
"""The words of the command that runs, its name first, for reports that print it; () outside a command."""
TYPED: ContextVar[Mapping[str, str]] = ContextVar("TYPED", default=MappingProxyType({}))
"""The names under which the running command has some of its options, for messages: see `typed_names`."""
CHOOSING_BLOCKS = re.compile(r"--(gradient[-_])?checkpointing=", re.IGNORECASE)


def _choosing_blocks(word: str) -> str:
    """The flag --checkpointing with a value, as --set takes it; other words unchanged."""
    return (
        CHOOSING_BLOCKS.sub("--set=run.checkpointing=", word, count=1)
        if CHOOSING_BLOCKS.match(word)
        else word
    )


def _with_address(words: list[str]) -> list[str]:
    """The option --ray with its address as one word: a word after it that may be a config is not an address."""
    found = next((at for at, word in enumerate(words) if word.lower() == "--ray"), None)
    if found is None:
        return words
    from .hints import may_be_config

    after = words[found + 1 : found + 2]
    is_url = bool(after) and "://" in after[0]  # not an address either, but its message says what one is
    if not after or after[0].startswith("-") or (may_be_config(after[0]) and not is_url):
        return [*words[:found], "--ray=auto", *words[found + 1 :]]
    return [*words[:found], f"--ray={after[0]}", *words[found + 2 :]]


class Command(TyperCommand):
    """A command that accepts families from outside, and whose usage errors say what would be right."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.params.append(paging.no_pager_option())
        if name not in WITHOUT:
            self.params.append(family_option())

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Parse the command line, with other names of options accepted."""
        extra.setdefault("token_normalize_func", normalizer(_options(self)))
        context = super().make_context(info_name, args, parent, **extra)
        if context.resilient_parsing:
            complete_with(context.params.get(NAME) or ())
        return context

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Draw the help, all of each word: one that is wider than its column goes on in the next line."""
        from .folding import fold_help

        fold_help()
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse options and arguments.

        Raises:
            UsageError: Typer's, with a hint.
        """
        if any("--ray" in param.opts for param in self.params):
            args = _with_address(args)
        words = list(args)
        ctx.meta[WORDS] = tuple(words)
        args = list(map(_choosing_blocks, args))
        if not all(word.rpartition("=")[2].strip() for word in words):
            from .blanks import blank_value

            if problem := blank_value(self, ctx, args):
                raise UsageError(problem, ctx)
        if any(param.name == "configs" and param.nargs == -1 for param in self.params):
            from .hints import stray_values

            if problem := stray_values(self, ctx, words):
                ctx.fail(problem)
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            from .hints import explained

            if problem := explained(self, ctx, words, error):
                raise UsageError(problem, ctx) from None
            if error.ctx is None:  # of the parser
                error.message = as_typed(error.message, typed_names(ctx))
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command, with the families that are named."""
        from .output import guarded

        if ctx.params.pop(paging.NAME, False):
            paging.wanted.set(False)
        guarded(add_families)(ctx.params.pop(NAME, None) or ())
        token = RUNNING.set((ctx.info_name or "", *ctx.meta.get(WORDS, ())))
        names = TYPED.set(typed_names(ctx))
        try:
            return super().invoke(ctx)
        finally:
            RUNNING.reset(token)
            TYPED.reset(names)
