"""Runs each case in a fork, on the dry device that this process is started on; prints a line of JSON for each.

Nothing here may hold a tensor longer than the encoder does: under a `TorchDispatchMode` the arguments of an operator live until it
returns, and memory ran out elsewhere than in a plain run.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
from types import TracebackType
from typing import Any

import torch

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.stack.measure import set_up_cuda
from samattn_cli.stack.sections import on_entering
from samattn_cli.stack.step import OPTIMIZERS, Step


def moved(config: EncoderConfig) -> Step:
    """A pass of an encoder that is built elsewhere and moved to the device, as in most scripts."""
    step = Step(config, "meta")
    step.model.to_empty(device="cuda")
    step.image = torch.empty_like(step.image, device="cuda")
    if step.optimizer is not None:
        trained = [weight for weight in step.model.parameters() if weight.requires_grad]
        step.optimizer = OPTIMIZERS[config.run.optimizer](trained)
    return step


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """The message, and where torch was: the part and phase, and the node of autograd or the line of code."""
    config = load_config(case["preset"], case["settings"])
    set_up_cuda("cuda", config.run)
    where: list[tuple[str, str]] = [("", "forward")]
    nodes: list[str] = []
    torch._C._cuda_attach_out_of_memory_observer(lambda *_: nodes.append(node_now()))
    passes = 0
    try:
        step = moved(config)
        torch.cuda.empty_cache()
        for passes in (1, 2):  # noqa: B007 - the number that ran out is kept
            with on_entering(step, where.append):
                step()
    except torch.OutOfMemoryError as error:
        message = str(error).partition(" If reserved")[0]
        at = nodes[-1] or line_of(error.__traceback__)
        found = {"message": message, "section": where[-1], "operator": at, "round": passes}
        return case | {"torch": torch.__version__} | found
    return case


def node_now() -> str:
    """The node of autograd that runs; "" in a forward."""
    node = torch._C._current_autograd_node()
    return "" if node is None else node.name()


def line_of(traceback: TracebackType | None) -> str:
    """The line of code of the innermost call."""
    line = ""
    while traceback is not None:
        line = linecache.getline(traceback.tb_frame.f_code.co_filename, traceback.tb_lineno).strip()
        traceback = traceback.tb_next
    return line


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
