"""Measures many cases dry, each in a process of its own, which starts as a copy of one that has imported torch already.

python -m tests.tape.dry.many < requests.json      # in the environment of a dry run; used by `record`
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from subprocess import run
from typing import Any

from samattn_cli.device.dry.environment import environment
from samattn_cli.device.load import load_device
from samattn_cli.stack.child import answer
from samattn_cli.studies.child import ALLOCATOR_VARIABLES

Config = dict[str, Any]


def measured(device: str, allocator: str, configs: Iterable[Config]) -> list[dict[str, Any]]:
    """What `samattn measure --device dry:DEVICE` measures, for configs with the same settings of the allocator."""
    variables = dict.fromkeys(ALLOCATOR_VARIABLES, allocator) if allocator else {}
    done = run(
        [sys.executable, "-W", "ignore", "-m", __name__],
        input=json.dumps([request(config) for config in configs]),
        env={**os.environ, **environment(load_device(device)), **variables},
        stdout=-1,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def request(config: Mapping[str, Any], *, repeats: int | None = None, dry: bool = True) -> dict[str, Any]:
    """What `samattn_cli.stack.child` is asked; a dry case is not timed."""
    return {
        "device": "cuda",
        "dry": dry,
        "config": config,
        "snapshot": None,
        "repeats": repeats,
        "compiled": "",
        "families": [],
    }


def main() -> None:
    """Answer the requests of standard input."""
    requests = json.load(sys.stdin)
    sys.stdout.write(json.dumps([_answered(request) for request in requests]))


def _answered(request: dict[str, Any]) -> dict[str, Any]:
    import transformers  # noqa: F401 - now, and not in each of the processes

    import samattn_cli.stack.measure  # noqa: F401

    reading, writing = os.pipe()
    if not os.fork():
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            json.dump(answer(request), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.wait()
    return json.loads(text)


if __name__ == "__main__":
    main()
