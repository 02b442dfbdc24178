"""Runs each case in a fork, on the dry device that this process is started on; prints a line of JSON for each."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from samattn_cli import load_config
from samattn_cli.stack.measure import set_up_cuda
from samattn_cli.stack.sections import on_entering
from samattn_cli.stack.step import Step


class Last(TorchDispatchMode):
    """Remembers the last operator."""

    name = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it."""
        self.name = func.overloadpacket.__name__
        return func(*args, **(kwargs or {}))


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """The message, and where torch was."""
    config = load_config(case["preset"], case["settings"])
    set_up_cuda("cuda", config.run)
    where: list[tuple[str, str]] = [("", "forward")]
    last, passes = Last(), 0
    try:
        step = Step(config, "cuda")
        torch.cuda.empty_cache()
        for passes in (1, 2):  # noqa: B007 - the number that ran out is kept
            with on_entering(step, where.append), last:
                step()
    except torch.OutOfMemoryError as error:
        message = str(error).partition(" If reserved")[0]
        return case | {"message": message, "section": where[-1], "operator": last.name, "round": passes}
    return case


def main() -> None:
    """Each case in a process of its own, because a context has one capacity."""
    request = json.load(sys.stdin)
    for case in request["cases"]:
        os.environ["SAMATTN_DRY_BYTES"] = str(case["capacity"] + request["context"])
        sys.stdout.flush()
        child = os.fork()
        if not child:
            try:
                print(json.dumps(outcome(case)), flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
