"""Text to the user: reports to standard output or whole to files, messages to standard error."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO, TypeVar

import typer

from ..errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    Message,
    OutputError,
    SamattnError,
    UsageError,
    with_code,
)
from ..render import TABLES, content_of_file, render
from ..render.formats.ascii import PLAIN as ASCII
from ..render.options import Options
from ..render.shield import printed, visible
from ..studies.progress import Tell, silent
from .command import RUNNING, TYPED, as_typed
from .files import Content, is_written_into, replace_file, staged_file, write_into
from .paging import erase, is_paged, show_in_pager

Command = TypeVar("Command", bound=Callable[..., Any])
SPECIAL = "→·⌈█✓✗"  # characters that reports use and not every encoding has
STREAMS = (1, 2, 0)  # standard output, standard error, standard input
WIDTH = 100  # of a report if none of them is a terminal
DEBUG_VARIABLE = "SAMATTN_DEBUG"


def guarded(command: Command) -> Command:
    """Turn an exception in a command into one message on standard error and an exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            _check_folder()
            return command(*args, **kwargs)
        except SamattnError as error:
            say(as_typed(str(error), TYPED.get()), style="red")
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
                say(Message("family-fails", f"{place}: {type(error).__name__}: {error}"), style="red")
                raise typer.Exit(EXIT_ERROR) from None
            say(f"samattn: internal error: {type(error).__name__}: {error}", style="red")
            say(f"This is a bug in samattn; set {DEBUG_VARIABLE}=1 to see the traceback.")
            raise typer.Exit(EXIT_ERROR) from None

    return run  # type: ignore[return-value]


def _check_folder() -> None:
    """Check that the working directory exists: without it no relative path works, and torch does not start.

    Raises:
        UsageError: if it does not exist.
    """
    try:
        Path.cwd()
    except OSError as error:
        reason = "it was deleted" if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(
            "no-working-directory",
            f"samattn: the working directory does not exist ({reason}); change to one that does",
        ) from None


def _out_of_memory(error: MemoryError) -> str:
    """NumPy's error says how much memory was needed; Python's is empty."""
    detail = f": {error}" if str(error) else ""
    what = f"samattn: out of memory{detail}; ask for less at once, such as fewer points of a sweep"
    return Message("out-of-memory", what)


DRAWN_BY_RICH = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""Variables by which Rich may take a stream for a terminal."""


def _has_styles(stream: TextIO | None) -> bool:
    """Whether a stream may be a terminal, which Rich then decides; otherwise text is written without Rich."""
    if any(map(os.environ.get, DRAWN_BY_RICH)):
        return True
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def say(message: str, style: str = "") -> None:
    """Print a message, with its code if it has one, on standard error.

    Control characters in it are made visible; such a message has no style. If it cannot be printed (the disk is full,
    the stream is closed), the command goes on, with the same exit code.
    """
    message = with_code(message)
    safe = printed(message, "text", os.environ)
    is_safe = safe == message
    text = message if is_safe else safe.removesuffix("\n")
    try:
        if _has_styles(sys.stderr):
            _say_with_rich(text, style if is_safe else "")
        elif sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        drop(sys.stderr)


def _say_with_rich(text: str, style: str) -> None:
    from rich.console import Console

    class StandardError(Console):
        """Standard error."""

        def on_broken_pipe(self) -> None:
            """The reader closed the pipe; keep our exit code. Rich would exit 1, which means that a check failed."""
            drop(sys.stderr)

    console = StandardError(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    console.print(text, style=style, markup=False)


def emit(text: str, format_name: str = "text", *, begun: str = "") -> None:
    """Print text on standard output and flush it; in ASCII if the stream's encoding lacks a character.

    If it is longer than the terminal, it is shown in a pager: see `paging`.

    Args:
        text: a report, or a part of one.
        format_name: the format of the text, by which control characters are escaped: see `printed`.
        begun: the part before it, which is on the screen; a pager shows it too.

    Raises:
        OutputError: if it cannot be written.
    """
    if sys.stdout is None:
        raise OutputError("output-closed", "standard output is closed")
    begun, text = (_writable(printed(part, format_name, os.environ)) for part in (begun, text))
    if is_paged(begun + text):
        erase(begun)
        if show_in_pager(begun + text):
            return
        text = begun + text
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
        raise OutputError(
            "output-closed", "standard output was closed before the report was complete"
        ) from None
    except OSError as error:
        drop(sys.stdout)
        raise _unwritable(error) from None


def _writable(text: str) -> str:
    """A text in the characters that standard output has."""
    if _can_write(text):
        return text
    encoding = sys.stdout.encoding
    return text.translate(ASCII).encode(encoding, "replace").decode(encoding)


def _unwritable(error: OSError) -> OutputError:
    return OutputError("cannot-write", f"standard output: {error.strerror or error}")


@contextmanager
def informing() -> Iterator[None]:
    """For output that only informs (version, help): if it cannot be printed, say so, and exit with 2.

    A reader who has read enough, as in ``samattn --help | head``, is not an error.
    """
    try:
        yield
    except OutputError as error:
        say(str(error), style="red")
        raise typer.Exit(EXIT_ERROR) from None
    except OSError as error:
        drop(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise typer.Exit from None
        say(str(_unwritable(error)), style="red")
        raise typer.Exit(EXIT_ERROR) from None


def _can_write(text: str) -> bool:
    """Whether the encoding of standard output has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def drop(stream: TextIO) -> None:
    """Redirect a stream to the null device, so that flushing it at exit cannot fail."""
    with suppress(OSError, ValueError):  # a closed stream, or a test's, has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def working(message: str, of: str = "") -> Iterator[Tell]:
    """Show a spinner while something runs, if standard error is a terminal.

    Call the yielded function with the progress. It is shown as "working out every size: 7 of 18 answers", where `of` is
    "answers".
    """
    if not _has_styles(sys.stderr):
        yield silent
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    with console.status(Text(visible(message))) as status:
        yield lambda done, all_: status.update(Text(visible(f"{message}: {done:,} of {all_:,} {of}")))


def terminal_options(*, all_layers: bool = False, ops: Sequence[str] = ()) -> Options:
    """How to show a report on standard output: its width, and its colour by NO_COLOR, FORCE_COLOR and TERM."""
    return Options(
        all_layers=all_layers,
        ops=tuple(ops),
        width=_width(),
        color=_has_color(),
        ascii=not _can_write(SPECIAL),
        command=RUNNING.get(),
    )


def _has_color() -> bool:
    if not _has_styles(sys.stdout):
        return False
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.no_color and console.color_system is not None


def _width() -> int:
    """COLUMNS if it is a number, else the width of the first standard stream that is a terminal (with a pager: stderr)."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    return next(filter(None, map(_width_of, STREAMS)), WIDTH)


def _width_of(stream: int) -> int:
    """The width of a standard stream that is a terminal; 0 if it is not a terminal, or does not report its width."""
    try:
        return os.get_terminal_size(stream).columns
    except OSError:
        return 0


def deliver(report: Any, shown: str | None, files: Mapping[Path, str], options: Options) -> None:
    """Show a report, and write its files. Without a format and without files, show it as on a terminal."""
    try:
        if shown or not files:
            show(report, shown or "terminal", options)
    finally:  # write the files even if standard output is closed
        write(report, files, options)


def show(report: Any, name: str, options: Options) -> None:
    """Print a report on standard output."""
    emit(render(report, name, options), name)


def write(report: Any, files: Mapping[Path, str], options: Options) -> None:
    """Write a report's files, each in its format: see `write_each`."""
    write_each(files, lambda name: content_of_file(report, name, options.of_a_file))


def write_each(files: Mapping[Path, str], content: Callable[[str], str | Content]) -> None:
    """Write all files that can be written; `content` returns the content for a format.

    Raises:
        OutputError: with one line for each file that cannot be written.
    """
    problems = [_problem_of(path, content(name), name) for path, name in files.items()]
    if any(problems):
        raise OutputError(Message("", "\n".join(filter(None, problems))))  # each problem has its own code


def _problem_of(path: Path, content: str | Content, format_name: str) -> str:
    """Write a file; return why it cannot be written, or "" on success."""
    try:
        write_file(path, content, format_name)
    except OutputError as error:
        return str(error)
    return ""


def write_file(
    path: Path,
    content: str | Content,
    format_name: str = "text",
    *,
    quiet: bool = False,
    option: str = "-o",
) -> None:
    """Write the file of an option, whole or not at all, text as UTF-8, and print a message unless `quiet`.

    A stream, a pipe or a device receives what standard output would.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        if is_written_into(path):
            write_into(path, _shown(content, format_name))
            return
        replace_file(_target_of(path), content.encode() if isinstance(content, str) else content)
    except OSError as error:
        reason = "no process reads from this pipe" if error.errno == errno.ENXIO else error.strerror or error
        raise OutputError("cannot-write", f"{option} {path}: {reason}") from None
    if not quiet:
        say(f"wrote {path}")


def _shown(content: str | Content, format_name: str) -> bytes:
    """What standard output would receive."""
    if callable(content):
        file = BytesIO()
        content(file)
        content = file.getvalue()
        content = content if format_name in TABLES else content.decode()
    return content if isinstance(content, bytes) else printed(content, format_name, os.environ).encode()


def _target_of(path: Path) -> Path:
    """The file that a link leads to. Of links in a loop it is one of the links, where `Path.resolve` raises."""
    return Path(os.path.realpath(path))


def write_files(files: Mapping[Path, str]) -> None:
    """Write several files and the folders that they need, all or none, and print a message for each.

    Raises:
        OutputError: if one cannot be written.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = staged_file(_target_of(path), text.encode())
            if path.is_dir():
                raise IsADirectoryError(None, "is a directory")
    except OSError as error:
        for temporary in staged.values():
            temporary.unlink()
        raise OutputError("cannot-write", f"{path}: {error.strerror or error}; nothing was written") from None
    for path, temporary in staged.items():
        temporary.replace(_target_of(path))
        say(f"wrote {path}")
