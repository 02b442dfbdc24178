"""Text to the user: reports to standard output or whole to files, messages to standard error."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, TextIO, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from ..errors import EXIT_ERROR, EXIT_INTERRUPTED, Message, OutputError, SamattnError, UsageError, with_code
from ..render import render, render_file
from ..render.formats.ascii import PLAIN as ASCII
from ..render.options import Options
from ..render.shield import printed, visible
from ..studies.progress import Tell, silent
from .files import is_written_into, replace_file, staged_file, write_into

Command = TypeVar("Command", bound=Callable[..., Any])
SPECIAL = "→·⌈█"  # of the characters that reports are laid out with
STREAMS = (1, 2, 0)  # standard output, standard error, standard input
WIDTH = 100  # of a report where none of them is a terminal
DEBUG_VARIABLE = "SAMATTN_DEBUG"


def guarded(command: Command) -> Command:
    """Turn what goes wrong in a command into one message on standard error and its exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            _check_folder()
            return command(*args, **kwargs)
        except SamattnError as error:
            say(str(error), style="red")
            raise typer.Exit(error.exit_code) from None
        except MemoryError as error:
            say(_out_of_memory(error), style="red")
            raise typer.Exit(EXIT_ERROR) from None
        except KeyboardInterrupt:
            say("samattn: interrupted", style="yellow")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE) or isinstance(error, typer.Exit):
                raise
            from ..encoder.outside import place_in_family

            if place := place_in_family(error):
                told = Message("family-fails", f"{place}: {type(error).__name__}: {error}")
                say(with_code(told), style="red")
                raise typer.Exit(EXIT_ERROR) from None
            say(f"samattn: internal error: {type(error).__name__}: {error}", style="red")
            say(f"This is a bug in samattn; {DEBUG_VARIABLE}=1 shows where.")
            raise typer.Exit(EXIT_ERROR) from None

    return run  # type: ignore[return-value]


def _check_folder() -> None:
    """See that the working directory is there: no path leads anywhere without it, and torch does not start.

    Raises:
        UsageError: if it is not.
    """
    try:
        Path.cwd()
    except OSError as error:
        reason = "it was deleted" if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(
            f"samattn: the working directory is not there ({reason}): cd to one that is there"
        ) from None


def _out_of_memory(error: MemoryError) -> str:
    """NumPy says how much it was that could not be had; Python says nothing."""
    said = f": {error}" if str(error) else ""
    return f"samattn: memory ran out{said}; ask for less at once, such as fewer points of a sweep"


class _Messages(Console):
    """Standard error."""

    def on_broken_pipe(self) -> None:
        """Nobody reads on, which changes no exit code; rich would exit 1, which says that a check found a difference."""
        drop(sys.stderr)


def say(message: str, style: str = "") -> None:
    """A message on standard error, in which nothing is obeyed, and then without style.

    Where it cannot be said (a full disk, a closed stream) nothing else changes: not the exit code either.
    """
    safe = printed(message, "text", os.environ)
    try:
        _Messages(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(
            safe.removesuffix("\n") if safe != message else message,
            style=style if safe == message else "",
            markup=False,
        )
    except OSError:
        drop(sys.stderr)


def emit(text: str, format_name: str = "text") -> None:
    """Text on standard output, at once; in plain characters where its encoding has no others.

    Args:
        text: a report, or a part of one.
        format_name: the format that it is in, for which what could be obeyed in it is escaped: see `printed`.

    Raises:
        OutputError: if it cannot be written.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    text = printed(text, format_name, os.environ)
    if not _can_write(text):
        encoding = sys.stdout.encoding
        text = text.translate(ASCII).encode(encoding, "replace").decode(encoding)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
        raise OutputError("standard output was closed before the report was complete") from None
    except OSError as error:
        drop(sys.stdout)
        raise OutputError(f"standard output: {error.strerror or error}") from None


@contextmanager
def said() -> Iterator[None]:
    """What only informs, as the version and the help do: that it cannot be printed is said, and changes no exit code."""
    try:
        yield
    except OutputError as error:
        say(str(error), style="red")
    except OSError as error:
        drop(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            say(f"standard output: {error.strerror or error}", style="red")
        raise typer.Exit from None


def _can_write(text: str) -> bool:
    """Whether the encoding of standard output has these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def drop(stream: TextIO) -> None:
    """Send what is still to be flushed at exit nowhere."""
    with suppress(OSError, ValueError):  # a stream of a test, or one that is closed, has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def working(message: str, of: str = "") -> Iterator[Tell]:
    """A spinner on standard error while something takes a moment, if that is a terminal.

    What it gives is told how much is done: "working out every size: 7 of 18 answers", where `of` is "answers".
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    with console.status(Text(visible(message))) as status:
        yield lambda done, all_: status.update(Text(visible(f"{message}: {done:,} of {all_:,} {of}")))


def terminal_options(*, all_layers: bool = False, ops: Sequence[str] = ()) -> Options:
    """How to show a report on standard output: its width, and colour as NO_COLOR, FORCE_COLOR and TERM have it."""
    console = Console()
    color = console.is_terminal and not console.no_color and console.color_system is not None
    return Options(
        all_layers=all_layers, ops=tuple(ops), width=_width(), color=color, ascii=not _can_write(SPECIAL)
    )


def _width() -> int:
    """COLUMNS if that is a number, else of the terminal that any standard stream is: a pager shows the report there."""
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdecimal() and int(said) else next(filter(None, map(_width_of, STREAMS)), WIDTH)


def _width_of(stream: int) -> int:
    """Of the terminal that a standard stream is; 0 if it is not one, or one that does not say its width."""
    try:
        return os.get_terminal_size(stream).columns
    except OSError:
        return 0


def deliver(report: Any, shown: str | None, files: Mapping[Path, str], options: Options) -> None:
    """Show a report, on the terminal if nothing else was asked for, and write its files, each in its format."""
    try:
        if shown or not files:
            show(report, shown or "terminal", options)
    finally:  # files are written also where nobody reads standard output
        write(report, files, options)


def show(report: Any, name: str, options: Options) -> None:
    """A report on standard output."""
    emit(render(report, name, options), name)


def write(report: Any, files: Mapping[Path, str], options: Options) -> None:
    """A report's files, each in its format: see `write_each`."""
    write_each(files, lambda name: render_file(report, name, options.of_a_file))


def write_each(files: Mapping[Path, str], content: Callable[[str], str | bytes]) -> None:
    """Write all files that can be written, with what is in each of its format.

    Raises:
        OutputError: with what is wrong with each of the others.
    """
    problems = [_problem_of(path, content(name), name) for path, name in files.items()]
    if any(problems):
        raise OutputError("\n".join(filter(None, problems)))


def _problem_of(path: Path, content: str | bytes, format_name: str) -> str:
    """Why a file cannot be written; "" if it was."""
    try:
        write_file(path, content, format_name)
    except OutputError as error:
        return str(error)
    return ""


def write_file(path: Path, content: str | bytes, format_name: str = "text", *, quiet: bool = False) -> None:
    """Write a file whole or not at all, text as UTF-8, and say so unless `quiet`.

    Into a stream, a pipe or a device it is written as it is printed on standard output.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        if is_written_into(path):
            shown = (
                content if isinstance(content, bytes) else printed(content, format_name, os.environ).encode()
            )
            write_into(path, shown)
            return
        replace_file(_place_of(path), content.encode() if isinstance(content, str) else content)
    except OSError as error:
        no_reader = error.errno == errno.ENXIO
        raise OutputError(
            f"-o {path}: {'is a pipe that nothing reads from' if no_reader else error.strerror or error}"
        ) from None
    if not quiet:
        say(f"wrote {path}")


def _place_of(path: Path) -> Path:
    """Where a file is put: what a link leads to. Of links in a loop it is one of them, where `Path.resolve` raises."""
    return Path(os.path.realpath(path))


def write_files(files: Mapping[Path, str]) -> None:
    """Write several files, with the folders that they need, all or none of them, and say each.

    Raises:
        OutputError: if one cannot be written.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = staged_file(_place_of(path), text.encode())
            if path.is_dir():
                raise IsADirectoryError(None, "is a directory")
    except OSError as error:
        for temporary in staged.values():
            temporary.unlink()
        raise OutputError(f"{path}: {error.strerror or error}; nothing was written") from None
    for path, temporary in staged.items():
        temporary.replace(_place_of(path))
        say(f"wrote {path}")
