"""`samattn oom`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..encoder.presets import presets
from ..errors import UsageError, did_you_mean
from ..files.load import load_config
from ..files.sources import MOST_BYTES, STDIN
from ..render import PAGES, TEXTS
from ..shell import command as shell_command
from ..shell import line
from ..spelling import known_as
from .output import deliver, guarded, terminal_options, working
from .output_files import output_files
from .parameters import Outputs, TextFormat, chosen, config_argument, device_of, device_option
from .run_options import LaidOver, with_run_options

if TYPE_CHECKING:
    from ..encoder.model import EncoderConfig
    from ..tape.inside import Cuda

YAML = (".yaml", ".yml")
LONGEST_NAME = 256
"""Bytes of which no file system has names."""
HOW = "paste the error in quotes, or pipe it in: samattn oom - CONFIG < train.log"


@guarded
@with_run_options()
def oom(
    message: Annotated[
        str | None,
        typer.Argument(
            metavar="MESSAGE",
            help="torch's error, a traceback or a whole log; - reads it from standard input.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        config_argument(
            "[CONFIG]",
            "The encoder that ran: a YAML file or a preset (see `samattn configs`); default: any preset.",
        ),
    ] = None,
    laid_over: LaidOver = (),
    device: Annotated[
        str | None,
        device_option(
            "The GPU that it ran on, which decides the kernels: rtx_4090, ... (see `samattn devices`)."
        ),
    ] = None,
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Find the operation that ran out of memory, from the error that torch printed, and what would make the run fit.

    The run of the encoder is replayed through the rules of torch's caching allocator, forward and backward, the first step and a
    later one. The answer is each operation that asks for the size that was tried, by what is live before it. What you do
    not give of batch size, type and image size is solved for. If no operation asks for that size, the answer says so.

    Examples:

      samattn oom "CUDA out of memory. Tried to allocate 1.50 GiB (GPU 0; 9.77 GiB total capacity; 7.76 GiB already allocated)" sam_vit_b --mode training --batch-size 2

      python train.py 2>&1 | samattn oom - my_encoder.yaml --dtype bfloat16

      samattn oom "Tried to allocate 352.00 MiB" deep_encoder --image-size 640 --format json
    """
    from ..studies.oom.answer import answer

    formats = output_files(output, (*TEXTS, *PAGES))
    text, encoder = _read(message, config, laid_over)
    with working("replaying runs"):
        report = answer(text, encoder, _given(encoder, laid_over), _cuda(device))
    deliver(report, chosen(format_), formats, terminal_options())


def _read(message: str | None, config: str | None, laid_over: LaidOver) -> tuple[str, EncoderConfig | None]:
    """The text of the error, and the encoder. With a pipe, a single argument that names an encoder is one."""
    if message is not None and config is None and message != STDIN and _is_config(message):
        message, config = STDIN, known_as(message, presets()) or message
    if message is not None and config is not None and _is_config(message) and not _is_config(config):
        raise UsageError("extra-argument", f"{message}: the encoder comes after the message; {HOW}")
    if message is None:
        message = STDIN
    if message == STDIN == config:
        raise UsageError(
            "stdin-twice", f"{STDIN}: standard input can be read once; save one of them to a file"
        )
    if config is None and laid_over:
        raise UsageError(
            "missing-config",
            f"{laid_over[0].where}: changes an encoder, so name one after the message: a preset or a file",
        )
    if message != STDIN and _is_file(message):
        pipe = f"{shell_command('oom', STDIN, config or 'CONFIG')} < {line(message)}"
        raise UsageError(
            "not-a-message", f"MESSAGE: {message} is a file; read it from standard input: {pipe}"
        )
    encoder = None if config is None else load_config(config, laid_over)
    return (_from_stdin() if message == STDIN else message), encoder


def _is_config(word: str) -> bool:
    """Whether an argument names an encoder, and is not a message."""
    if " " in word:
        return False
    return known_as(word, presets()) is not None or word.endswith(YAML) or bool(did_you_mean(word, presets()))


def _is_file(word: str) -> bool:
    """Whether an argument names a file; messages are longer than names of files can be."""
    return len(word.encode("utf-8", "replace")) < LONGEST_NAME and Path(word).is_file()


def _from_stdin() -> str:
    """The text that is piped in.

    Raises:
        UsageError: if nothing is.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("no-message", f"MESSAGE: is missing; {HOW}")
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UsageError("too-large", f"MESSAGE: is more than {MOST_BYTES >> 20} MiB; {HOW}")
    return data.decode("utf-8", "replace")


def _given(config: EncoderConfig | None, laid_over: LaidOver) -> frozenset[str]:
    """The keys of the run that are given, by options or by the config, and "image_size" if it is."""
    if config is None:
        return frozenset()
    from dataclasses import fields

    from ..encoder.model import RunConfig

    given = {override.key.removeprefix("run.") for override in laid_over}
    own = {each.name for each in fields(RunConfig) if getattr(config.run, each.name) != each.default}
    return frozenset(given | own)


def _cuda(device: str | None) -> Cuda:
    """The device that decides the kernels; without one, an A100."""
    from ..studies.on_device import cuda_of
    from ..tape.inside import Cuda

    named = device_of(device)
    if named is None:
        return Cuda()
    cuda = cuda_of(named)
    if cuda is None:
        raise UsageError("needs-cuda-device", f"--device {device}: is not a CUDA device")
    return cuda
