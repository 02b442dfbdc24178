"""The real encoder: the parts and blocks of a config's plan, run in order.

The code of a part is in its family's `stack.py`. Names are those of the plan, which are SAM's names where SAM has the part: a
released checkpoint's ``image_encoder.*`` entries load with ``strict=True``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig, PartConfig
from ..encoder.registry import code_for, module_for
from ..encoder.slots import first_output
from ..encoder.trained import trains_adapters, trains_all
from .autocast import AutocastOnCuda
from .norms import NORM_EPS
from .values import without_values

Outputs = Tensor | tuple[Tensor, ...]


def in_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    """One output or several, as a tuple."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def nothing() -> None:
    """Does nothing."""


Plan = tuple[tuple[str, tuple[str, ...]], ...]
"""The names of parts in order, each with those that it taps or holds."""

Parts = Mapping[str, Any]
"""Modules, or the weight of a position embedding, by the names of the plan."""


class ImageEncoder(nn.Module):
    """The encoder that a config describes, of samattn's own modules or of others that are given as `parts`."""

    pos_embed: nn.Parameter | nn.Module | None

    def __init__(self, config: EncoderConfig, parts: Parts | None = None) -> None:
        super().__init__()
        self.pos_embed = None
        self.plan = tuple((part.name, (*part.taps, *part.holds)) for part in config.plan)
        self.taps = {part.name: part.taps for part in config.plan}
        for part in config.plan:
            module = _make(part, config.run.attention) if parts is None else parts[part.name]
            container, _, key = part.name.rpartition(".")
            if container:
                if container not in self._modules:
                    self.add_module(container, nn.ModuleDict())
                self.get_submodule(container).add_module(key, module)
            else:
                setattr(self, part.name, module)
        self.checkpointed, self.unread = config.checkpointed, config.unread
        self.stages = {names[0]: len(names) for names in config.checkpointed_stages}
        self.steps = tuple(self._steps())
        self.at_the_end: Callable[[], None] = nothing  # before autocast frees its copies of weights
        self.torch_version = config.run.torch_version
        self.autocast = None if config.run.autocast == "none" else getattr(torch, config.run.autocast)

    def _steps(self) -> Iterator[Plan]:
        """The plan, in which the parts of a checkpointed stage are one step."""
        left = self.plan
        while left:
            length = self.stages.get(left[0][0], 1)
            yield left[:length]
            left = left[length:]

    @property
    def begin_checkpoints(self) -> Iterator[str]:
        """The blocks whose inputs a checkpoint keeps: of a checkpointed stage the first alone."""
        yield from self.stages or self.checkpointed

    def forward(self, x: Tensor) -> Outputs:
        """From the shape of `image_for` to the neck's outputs, or (B, H, W, C) without a neck."""
        with self._autocast(x):
            outputs = self._forward(x)
            self.at_the_end()
            return outputs

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return AutocastOnCuda(self.autocast) if x.is_meta else torch.autocast(x.device.type, self.autocast)

    def _forward(self, x: Tensor) -> Outputs:
        made = _Made(self, x)
        for parts in self.steps:
            if self.is_stage(parts) and torch.is_grad_enabled():
                made.by_stage(parts)
            else:
                made.by_parts(parts)
        return made.outputs if len(made.outputs) > 1 else made.outputs[0]

    def is_stage(self, parts: Plan) -> bool:
        """Whether these parts are a checkpointed stage."""
        return parts[0][0] in self.stages

    def run_part(self, name: str, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        """The outputs of a part for `entering`: the output of the part before it, then what else lives until it has run.

        `taps` are the outputs of earlier parts that it takes. A part that `lets_go` gets the list, which it empties where
        the code that it stands for drops its names. One that `lets_go_of_taps` gets a list of them too.
        """
        if isinstance(self.pos_embed, nn.Parameter) and name == "pos_embed":
            return (entering[0] + self.pos_embed,)
        part = self.get_submodule(name)
        if getattr(part, "lets_go_of_taps", False):
            return in_tuple(part(entering, taps))
        if getattr(part, "lets_go", False):
            return in_tuple(part(entering, *taps))
        if name in self.checkpointed and torch.is_grad_enabled():
            return in_tuple(self.checkpoint(part, entering[0], *taps))
        return in_tuple(part(entering[0], *taps))

    def checkpoint(self, code: Callable[..., Any], x: Tensor, *taps: Tensor) -> Any:
        """What `code` returns for its inputs, which are all that a checkpoint keeps."""
        # checkpoint restores torch's own autocast by itself when it runs the forward again
        in_second_forward = self._autocast(x) if x.is_meta else nullcontext()
        return checkpoint(
            code,
            x,
            *taps,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), in_second_forward),
        )


class _Made:
    """What the parts of a forward have made so far: their outputs, and those that later parts tap or hold.

    The code of a checkpointed stage has an object of its own, without what was made before the stage.
    """

    def __init__(self, model: ImageEncoder, x: Tensor) -> None:
        self.model = model
        self.uses = Counter(
            tap for _, taps in model.plan for tap in taps
        )  # how often each will still be used
        self.tapped: dict[str, tuple[Tensor, ...]] = {}
        self.outputs: tuple[Tensor, ...] = (x,)

    def by_parts(self, parts: Plan) -> None:
        """Run parts."""
        for name, needed in parts:
            held = self._held(needed)
            taps = [each for tap in self.model.taps[name] for each in held.pop(tap)]
            entering = [self.outputs[0], *(each for rest in held.values() for each in rest)]
            self.outputs = ()
            held.clear()
            self._take(name, self.model.run_part(name, entering, taps))

    def by_stage(self, parts: Plan) -> None:
        """Run the parts of a checkpointed stage, of which a training step keeps only the input."""
        held = self._held([tap for _, needed in parts for tap in needed])
        (x, *_), self.outputs = self.outputs, ()

        def stage(entering: Tensor) -> tuple[tuple[Tensor, ...], dict[str, tuple[Tensor, ...]]]:
            inside = _Made(self.model, entering)
            inside.by_parts(parts)
            return inside.outputs, inside.tapped

        self.outputs, tapped = self.model.checkpoint(stage, x)
        self.tapped |= tapped
        held.clear()

    def _held(self, needed: Sequence[str]) -> dict[str, tuple[Tensor, ...]]:
        """Of what parts need, what was made before; this is its last place if no other part needs it."""
        self.uses.subtract(needed)
        made = [tap for tap in dict.fromkeys(needed) if tap in self.tapped]
        return {tap: self.tapped[tap] if self.uses[tap] else self.tapped.pop(tap) for tap in made}

    def _take(self, name: str, outputs: tuple[Tensor, ...]) -> None:
        """The outputs of a part; those that no later part uses are freed."""
        self.outputs = outputs
        if self.uses[first_output(name)]:
            self.tapped[first_output(name)] = outputs[:1]
        if self.uses[name]:
            self.tapped[name] = outputs[1:] or outputs
        elif name != self.model.plan[-1][0]:
            self.outputs = outputs[:1]


def _make(part: PartConfig | LayerConfig, kernel: str) -> Any:
    if isinstance(part, LayerConfig):
        return code_for("stack", "blocks", part.stage.block)(part, kernel)
    if not part.slot:
        blocks = module_for("stack", "blocks", part.config.stages[-1].block)
        return nn.LayerNorm(part.entering.dim, eps=getattr(blocks, "NORM_EPS", NORM_EPS))
    return code_for("stack", part.slot, part.word)(part)


def build(
    config: EncoderConfig, device: str = "cpu", make: Callable[[EncoderConfig], Parts] | None = None
) -> ImageEncoder:
    """The encoder of `config` in its dtype on `device` ("meta" takes no memory), in evaluation mode.

    Args:
        config: the encoder.
        device: where its weights are.
        make: makes its parts, if they are not samattn's own.
    """
    dtype, outer = getattr(torch, config.run.dtype), torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # so that no weight is made twice
    try:
        with torch.device(device), without_values() if device == "meta" else nullcontext():
            model = ImageEncoder(config, make and make(config))
        tensors = (*model.parameters(), *model.buffers())
        has_others = any(each.dtype.is_floating_point and each.dtype != dtype for each in tensors)
        return (model.to(dtype) if has_others else model).eval()
    finally:
        torch.set_default_dtype(outer)


def freeze(model: ImageEncoder, config: EncoderConfig) -> ImageEncoder:
    """`model`, in which only the weights that `config` trains require a gradient: all, those of parts, those of adapters."""
    if trains_all(config.run.trains):
        return model
    trained = tuple(f"{name}." for name in config.trained)
    for name, weight in model.named_parameters():
        if not f"{name}.".startswith(trained):
            weight.requires_grad_(False)
    if trains_adapters(config.run.trains):
        for module in model.modules():
            if getattr(module, "adapts", False):
                module.requires_grad_(True)
    return model


def in_training_mode(model: ImageEncoder, config: EncoderConfig) -> ImageEncoder:
    """`model` as a training step runs it: in training mode if its code depends on that; otherwise as it is.

    Other encoders have nothing that depends on it, such as dropout.
    """
    return model.train() if config.has_modes else model


def image_for(config: EncoderConfig, device: str = "cpu") -> Tensor:
    """An input for `config`, in its dtype: (B, in_chans, height, width), unless the encoder has another input shape."""
    return torch.empty(config.input_shape, dtype=getattr(torch, config.run.dtype), device=device)
