"""The connection to a Ray cluster, and one message if there is none."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Thread
from typing import Any

from ...errors import DeviceError, UsageError

AUTO = "auto"
ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
ANSWER_SECONDS = 2.0
"""How long an address may take to answer: a connection takes milliseconds."""

JOIN_SECONDS = 7.0
"""How long joining a cluster may take: about a second."""

START = "start one with: ray start --head"
SETTINGS = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_task_oom_retries": "0",
}
"""Ray prints what it notices about machines, dozens of lines on standard output where one dies: none of it. Ray repeats
a task that ran out of memory until it is told not to."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray's module, connected to the cluster at an address ("host:port" or "auto") until the end of the block.

    Raises:
        DeviceError: if Ray is not installed, or no cluster answers.
        UsageError: if the address is not one.
    """
    if find_spec("ray") is None:
        raise DeviceError("not-installed", "--ray needs Ray: pip install 'samattn[ray]'")
    place = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    if place != AUTO:
        _check_answers(place)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    _join(ray, place)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Check that something listens at the address: Ray itself tries for two minutes."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(
            "not-an-address", f"--ray {address}: must be HOST:PORT, such as 10.0.0.5:6379, or {AUTO}"
        )
    try:
        _connect(match)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DeviceError(
            "no-answer", f"--ray {address}: no Ray cluster answers at this address ({reason}); {START}"
        ) from None


def answers(address: str) -> bool:
    """Whether something listens at an address; True for an address that is not HOST:PORT, which we cannot ask."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        return True
    try:
        _connect(match)
    except OSError:
        return False
    return True


def _connect(match: re.Match[str]) -> None:
    place = match["host"].strip("[]"), int(match["port"])
    socket.create_connection(place, ANSWER_SECONDS).close()


def _join(ray: Any, address: str) -> None:
    """Join the cluster, in a thread: Ray waits for minutes for a server that is not Ray's, and cannot be interrupted."""
    failed: list[Exception] = []
    thread = Thread(target=_init, args=(ray, address, failed), daemon=True)
    with _no_standard_error():
        thread.start()
        thread.join(JOIN_SECONDS)
    if thread.is_alive():
        raise DeviceError(
            "no-answer",
            f"--ray {address}: no Ray cluster answers at this address within {JOIN_SECONDS:.0f} s; {START}",
        )
    if failed:
        raise _in_words(failed[0], address)


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Drop what is written to standard error: Ray's C++ code logs each attempt to join there."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device, not a file to be read
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _init(ray: Any, address: str, failed: list[Exception]) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # noqa: BLE001 - Ray may raise anything
        failed.append(error)


def _in_words(error: Exception, address: str) -> DeviceError:
    """Ray's reason in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) and address == AUTO:
        return DeviceError(
            "no-answer",
            f"--ray {AUTO}: no Ray cluster runs on this machine; {START}, or join one with: ray start --address=HOST:6379",
        )
    if "ersion mismatch" in text:
        return DeviceError("other-version", f"--ray {address}: {text}")
    return DeviceError("cluster-refuses", f"--ray {address}: Ray cannot join this cluster: {text}")
