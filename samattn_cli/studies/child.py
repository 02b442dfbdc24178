"""Run a case in a child process, and report how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from ..encoder.applicable_keys import mapping_of
from ..encoder.model import EncoderConfig
from ..encoder.outside import origins
from ..errors import DeviceError
from ..reports.recording import CompileMode, Fingerprint, Outcome

CODE = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"
"""The child has the import path of this process, so that it imports the same samattn and torch."""

MEASURING = "samattn_cli.stack.child"
"""The module whose `main` measures a case in the child."""

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The newer and the older name of what sets the caching allocator of a process."""

DRY = "dry"
DRY_DEFAULT = "a100_80"
"""The device of ``dry`` without a name; in ``dry:NAME`` it is a device of samattn or a file."""


def ask_fingerprint(device: str, compiled: CompileMode = "") -> Fingerprint:
    """The fingerprint of a device of this machine, for runs through torch.compile if they are `compiled`.

    Raises:
        DeviceError: if torch has no such device, or cannot run or compile on it.
    """
    on, variables = _target(device)
    ended = run_child({"device": on, "dry": on != device, "compiled": compiled}, variables)
    if ended.returncode != 0:
        raise DeviceError("child-failed", f"--device {device}: {how_it_ended(ended)}")
    answer: dict[str, Any] = json.loads(ended.stdout)
    if "problem" in answer:
        raise DeviceError(answer["code"], answer["problem"])
    from pydantic import TypeAdapter

    return TypeAdapter(Fingerprint).validate_python(answer)


def ask_outcome(
    config: EncoderConfig,
    device: str,
    snapshot: Path | None = None,
    repeats: int | None = None,
    compiled: CompileMode = "",
) -> Outcome:
    """Measure a case; a process that was killed or crashed is an outcome too."""
    place = str(snapshot.resolve()) if snapshot else None
    on, variables = _target(device)
    request = {
        "device": on,
        "dry": on != device,
        "config": mapping_of(config),
        "snapshot": place,
        "repeats": repeats,
        "compiled": compiled,
        "families": origins(),
    }
    chosen = dict.fromkeys(ALLOCATOR_VARIABLES, config.run.allocator) if config.run.allocator else {}
    return outcome_from(run_child(request, {**variables, **chosen}))


def outcome_from(ended: subprocess.CompletedProcess[str]) -> Outcome:
    """The outcome that a process wrote, or that its exit status implies."""
    from pydantic import TypeAdapter

    if ended.returncode == 0:
        return TypeAdapter(Outcome).validate_json(ended.stdout, strict=True)
    killed = ended.returncode == -getattr(signal, "SIGKILL", 9)
    return Outcome(status="out of memory" if killed else "failed", message=how_it_ended(ended))


def _target(device: str) -> tuple[str, Mapping[str, str]]:
    """What torch calls a device, and the variables of a process that runs on it.

    Raises:
        DeviceError: if a dry run of the device is not possible here.
        ConfigError: if the device's file is wrong.
    """
    if device.partition(":")[0] != DRY:
        return device, {}
    from ..device.dry.environment import environment
    from ..device.load import load_device

    return "cuda", environment(load_device(device.partition(":")[2] or DRY_DEFAULT, device))


def run_child(
    request: dict[str, Any], variables: Mapping[str, str] | None = None, module: str = MEASURING
) -> subprocess.CompletedProcess[str]:
    """What a process answers to a request; `main` of `module` runs in it. Its standard input stays open: where that ends, so does the process.

    So it does not outlive this one, which may be killed without being asked.
    """
    with TemporaryFile() as answers, TemporaryFile() as messages:
        process = subprocess.Popen(  # noqa: S603 - this Python and code of this package
            [sys.executable, "-c", CODE.format(path=sys.path, module=module)],
            stdin=subprocess.PIPE,
            stdout=answers,
            stderr=messages,
            env=os.environ | dict(variables or {}),
        )
        with _ended_with_this(process):
            _send(process, json.dumps(request))
            code = process.wait()
        return subprocess.CompletedProcess(process.args, code, _text_in(answers), _text_in(messages))


@contextmanager
def _ended_with_this(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process at the end of the block, also after an exception."""
    try:
        yield
    finally:
        process.kill()  # does nothing if the process has ended
        process.wait()
        if process.stdin is not None:
            with suppress(OSError):  # the request could not be sent
                process.stdin.close()


def _send(process: subprocess.Popen[bytes], request: str) -> None:
    """Send the request as a line. If the process ended before reading it, its exit status says why."""
    if process.stdin is None:
        raise TypeError
    with suppress(BrokenPipeError):
        process.stdin.write(f"{request}\n".encode())
        process.stdin.flush()


def _text_in(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def how_it_ended(ended: subprocess.CompletedProcess[str]) -> str:
    """How a process ended that did not answer: by a signal, or with a message."""
    if ended.returncode < 0:
        return f"the process was killed by signal {-ended.returncode} ({signal.strsignal(-ended.returncode)})"
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return f"the process exited with {ended.returncode}: {lines[-1].strip() if lines else 'no message'}"
