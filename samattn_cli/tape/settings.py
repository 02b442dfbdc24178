"""How the Tape runs an encoder, and a Tape for it."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractContextManager
from dataclasses import replace as config_with

from ..encoder.applicable_keys import OF_PARALLEL
from ..encoder.model import EncoderConfig, RunConfig
from ..encoder.registry import REFERENCE
from ..encoder.trained import trains_adapters, trains_all
from ..records import dataclass, replace
from ..units import ITEM_BYTES
from .sdpa_call import AMPERE, Target
from .storage import Dim
from .tape import Tape

ALONE = {key: getattr(RunConfig(), key) for key in ("parallel", *frozenset().union(*OF_PARALLEL.values()))}
"""The keys of a run that is not spread over GPUs."""


@dataclass(frozen=True)
class Settings:
    """How the Tape runs an encoder.

    Attributes:
        config: the encoder on one GPU.
        training: whether autograd changes its forward.
        makes_graph: whether its backward can be run.
        freezes: whether some of its weights do not train.
        target: where it runs.
        in_mode: whether its modules are in training mode, in which their code differs.
    """

    config: EncoderConfig
    training: bool
    makes_graph: bool
    freezes: bool
    target: Target
    in_mode: bool

    @property
    def of_tape(self) -> tuple[Hashable, ...]:
        """What blocks of another encoder must have been run with to be the same."""
        run = self.config.run
        of_run = (
            self.config.implementation,
            run.attention,
            run.autocast,
            run.product_dtype,
            run.torch_version,
        )
        trains = (run.trains, self.training, self.makes_graph, self.freezes, self.in_mode)
        return ITEM_BYTES[run.dtype], of_run, trains, self.target


def settings_of(
    config: EncoderConfig, *, training: bool, target: Target, makes_graph: bool = False
) -> Settings:
    """How the Tape runs the encoder of a config, with autograd on for `training` and where the run keeps its graph.

    An inference forward is often that of a training step; so those of a run in that mode make a graph, too.
    """
    computed = without_parallel(config)
    run = computed.run
    makes_graph = makes_graph or training or run.mode == "training"
    in_mode, training = training and config.has_modes, training or run.keeps_graph
    # autograd changes the forward only for fused attention (more outputs) and autocast (copies of weights that train), and
    # for code of a library that makes results which nothing reads; it keeps graphs that the forward itself drops
    differs = run.attention != "eager" or run.autocast != "none" or config.implementation != REFERENCE
    differs = differs or bool(config.unread)
    target = AMPERE if run.attention == "eager" else target
    freezes = training and not trains_all(run.trains)
    return Settings(computed, training and (differs or in_mode), makes_graph, freezes, target, in_mode)


def without_parallel(config: EncoderConfig) -> EncoderConfig:
    """What a GPU computes: the encoder on one GPU, with the types in which weights are gathered."""
    run = config.run
    if run.parallel == "none" or run.mode != "training":
        return config
    return config_with(config, run=config_with(run, dtype=run.computes_in, **ALONE))


def weights_of(
    tape: Tape, config: EncoderConfig, part: str, *, freezes: bool
) -> AbstractContextManager[None]:
    """Weights of a part are trained or frozen, as the run says where it `freezes` some."""
    if not freezes:
        return tape.weights(train=True)
    return tape.weights(train=part in config.trained, adapters_train=trains_adapters(config.run.trains))


def tape_of(settings: Settings) -> Tape:
    """A Tape for an encoder."""
    run = settings.config.run
    return tape_for(
        run,
        ITEM_BYTES[run.dtype],
        training=settings.training,
        makes_graph=settings.makes_graph,
        in_training_mode=settings.in_mode,
        target=settings.target,
    )


def tape_for(
    run: RunConfig,
    item_bytes: Dim,
    *,
    training: bool,
    makes_graph: bool = False,
    in_training_mode: bool = False,
    target: Target = AMPERE,
) -> Tape:
    """A Tape for a run; `item_bytes` is the size of a number in its dtype, an integer or a symbol."""
    low = None if run.autocast == "none" else ITEM_BYTES[run.product_dtype]
    half = run.product_dtype == "float16"
    return Tape(
        item_bytes,
        autocast_bytes=low,
        half_to_float=half,
        training=training,
        holds_graph=training,
        makes_graph=makes_graph,
        in_training_mode=in_training_mode,
        target=replace(target, torch=run.torch_version),
    )
