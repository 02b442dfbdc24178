"""Reports which part or block a pass is in, forward or backward, by hooks that do not keep tensors alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..encoder.model import Section
from .step import Step

Enter = Callable[[Section], None]
NOT_IN_BACKWARD = -1


@contextmanager
def on_entering(step: Step, enter: Enter) -> Iterator[None]:
    """Call `enter` as each section of a pass of `step` begins: forward, then backward, then the optimizer's step."""
    handle = None
    if step.optimizer is not None:
        handle = step.optimizer.register_step_pre_hook(lambda *_: enter(("optimizer", "step")))
    try:
        with on_entering_parts(step.model, enter):
            yield
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def on_entering_parts(model: nn.Module, enter: Enter) -> Iterator[None]:
    """Call `enter` as each part and block begins its forward, and its backward in any backward run within this context."""
    hooks = _Hooks(enter)
    handles = [
        *(module.register_forward_pre_hook(hooks.before(name)) for name, module in parts_of(model)),
        model.register_forward_hook(hooks.at_the_end),
    ]
    if isinstance(model.pos_embed, nn.Parameter):
        patch_embed = model.get_submodule("patch_embed")
        handles.append(patch_embed.register_forward_hook(hooks.after_patch_embed))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def parts_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts and blocks that are run ("patch_embed", "blocks.7", "neck"), without identities."""
    for name, module in model.named_children():
        if isinstance(module, (nn.ModuleDict, nn.ModuleList)):
            children = module.named_children()
            yield from ((f"{name}.{i}", part) for i, part in children if not isinstance(part, nn.Identity))
        else:
            yield name, module


class _Hooks:
    """The hooks. A part's backward begins when the gradient of its output, the input of the next part, is ready."""

    def __init__(self, enter: Enter) -> None:
        self._enter = enter
        self._last = ""
        self._entered: Callable[[], Any] = lambda: None
        self._hooked: list[Callable[[], Any]] = []

    def before(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        """The hook before the module of a part."""
        return lambda _, inputs: self._begin(name, inputs[0][0] if isinstance(inputs[0], list) else inputs[0])

    def after_patch_embed(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        """The position embedding has no module of its own."""
        self._begin("pos_embed", output)

    def at_the_end(self, _: nn.Module, __: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        """After the whole model: its backward begins with that of the last part."""
        for each in output if isinstance(output, tuple) else (output,):
            self._on_gradient_of(each)
        self._last, self._entered, self._hooked = "", lambda: None, []

    def _begin(self, name: str, tensor: Tensor) -> None:
        if torch._C._current_graph_task_id() != NOT_IN_BACKWARD:
            return  # the second forward of a checkpointed block belongs to its backward
        if (
            self._entered() is not tensor
        ):  # the same tensor if the last part returned its input: it has no backward
            self._on_gradient_of(tensor)
        self._entered = weakref.ref(tensor)
        self._last = name
        self._enter((name, "forward"))

    def _on_gradient_of(self, tensor: Tensor) -> None:
        is_hooked = any(
            each() is tensor for each in self._hooked
        )  # the last part may return an output of another
        if tensor.requires_grad and self._last and not is_hooked:
            made_by = self._last
            self._hooked.append(weakref.ref(tensor))
            tensor.register_hook(lambda _: self._enter((made_by, "backward")))
