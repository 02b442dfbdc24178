"""`samattn plan`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_DIFFERS, UsageError
from ..files.load import Override, load_config
from ..render import PAGES, PICTURES, TABLES, TEXTS
from . import complete
from .output import deliver, guarded, terminal_options, working
from .output_files import output_files
from .parameters import Config, Outputs, TextFormat, chosen, device_name, memory_of, named_device
from .run_options import LaidOver, with_run_options

if TYPE_CHECKING:
    from ..device.model import Device
    from ..studies.plan import Goal

FORMATS = (*TEXTS, *TABLES, *PICTURES, *PAGES)
EXAMPLE = "--gpus 8 --device a100_80 --global-batch 64"
MOST_PRICE = 1e9
RUN = "run."
GPUS = "run.gpus"
PARALLEL = "run.parallel"


@guarded
@with_run_options("mode")
def plan(
    config: Config,
    gpus: Annotated[
        int | None, typer.Option(metavar="N", help="GPUs that a step is spread over.", show_default=False)
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            "--devices",
            metavar="DEVICES",
            help="The card of each: a100_80, ... (see `samattn devices`) or a YAML file; several to compare, separated by "
            "commas. May repeat.",
            autocompletion=complete.words(complete.known_devices, several=True),
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="What a GPU may take, such as 24GiB; with --device, of cards that have more. Without it, live bytes are compared, "
            "and no times.",
        ),
    ] = None,
    global_batch: Annotated[
        int | None,
        typer.Option(metavar="N", help="Images of one step of all GPUs together.", show_default=False),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE=PRICE",
            help="What you pay for an hour of one GPU, such as h100=2.9; adds the cost of steps and images. May repeat.",
        ),
    ] = None,
    table: Annotated[
        bool,
        typer.Option(
            "--table",
            help="Also the largest image and batch that train on cards of 16 to 80 GB, as the config is run.",
        ),
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Replay and show every choice, not the Pareto front alone.")
    ] = False,
    laid_over: LaidOver = (),
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Find the fastest way to train an encoder on several GPUs that fits their memory.

    All strategies, micro-batches, precisions, choices of checkpointing and attention kernels that reach the global batch
    exactly are compared, each by the time of a step (roofline) and by what a GPU reserves. The fastest that fits comes first,
    then the Pareto front of time against memory. With --memory and no --device there are no times: the choice that computes
    and sends least comes first. An option such as --attention sdpa, or --set run.parallel=ddp, keeps to that
    value. The exit code is 1 if nothing fits. With -o and without --format, nothing is printed.

    Examples:

      samattn plan sam_vit_h --gpus 8 --device a100_80 --global-batch 64

      samattn plan sam_vit_h --gpus 8 --devices l40s,a100_40,h100 --global-batch 64 --price h100=2.9

      samattn plan sam_vit_h --gpus 4 --memory 24GiB --global-batch 16

      samattn plan sam_vit_b --gpus 2 --device rtx_4090 --global-batch 8 --attention sdpa -o plan.svg -o plan.json
    """
    from ..studies.plan import Goal
    from ..studies.plan import plan as planned

    formats = output_files(output, FORMATS)
    room = memory_of(memory, None)
    cards = _cards(devices, required=room is None)
    ranks = _needed("--gpus", gpus)
    laid_over = [each for each in laid_over if not _repeats_gpus(each, ranks)]
    goal = Goal(
        gpus=ranks,
        global_batch=_needed("--global-batch", global_batch),
        given=frozenset(each.key.removeprefix(RUN) for each in laid_over if each.key.startswith(RUN)),
        prices=_prices(price or ()),
        every=every,
        reference=config,
        overrides=tuple(_texts(laid_over)),
        sizes=table,
        memory=room,
    )
    encoder = load_config(config, [*laid_over, *_training(goal, laid_over)])
    with working("comparing ways to train", "choices") as tell:
        report = planned(encoder, cards, goal, tell=tell)
    deliver(report, chosen(format_), formats, terminal_options(all_layers=every))
    if not report.fits:
        raise typer.Exit(EXIT_DIFFERS)


def _training(goal: Goal, laid_over: Sequence[Override]) -> Iterator[Override]:
    """That the run is a training step, if the user does not say what it is, and of a strategy over how many GPUs."""
    if "mode" not in goal.given:
        yield Override("run.mode", "training", "samattn plan")
    if any(each.key == PARALLEL and _value(each) != "none" for each in laid_over):
        yield Override(GPUS, goal.gpus, "samattn plan")


def _needed(option: str, value: int | None) -> int:
    """The value of an option that has to be given.

    Raises:
        UsageError: if it is not.
    """
    if value is None:
        raise UsageError("missing-option", f"{option} is missing: give all of {EXAMPLE}")
    return value


def _repeats_gpus(override: Override, gpus: int) -> bool:
    """Whether an override says again how many GPUs there are.

    Raises:
        UsageError: if it says another number.
    """
    if override.key != GPUS:
        return False
    value = _value(override)
    if value != str(gpus):
        raise UsageError(
            "conflicting-options",
            f"--set {GPUS}={value}: --gpus says how many GPUs a plan is for, here {gpus}: leave out {GPUS}",
        )
    return True


def _value(override: Override) -> str:
    return str(getattr(override.value, "value", override.value))


def _cards(lists: Sequence[str] | None, *, required: bool) -> list[Device]:
    """The devices that an option lists, which may be given more than once.

    Raises:
        UsageError: if there is none and one is required, an empty item, or a number, which --gpu reads as a device too.
        ConfigError: if there is no such device.
    """
    if not lists:
        if not required:
            return []
        raise UsageError("missing-option", f"--device, or --memory, is missing: give all of {EXAMPLE}")
    words = [word.strip() for names in lists for word in names.split(",")]
    if "" in words:
        raise UsageError("empty-item", f"--device {','.join(lists)}: the list has an empty item")
    for number in filter(str.isdecimal, words):
        raise UsageError(
            "unknown-value",
            f"--device {number}: is not a card, such as a100_80; for {number} GPUs write --gpus {number}",
        )
    return [named_device(device_name(word) or word) for word in words]


def _prices(texts: Sequence[str]) -> dict[str, float]:
    """The price of each device.

    Raises:
        UsageError: if a device has two.
    """
    prices: dict[str, float] = {}
    for text in texts:
        name, price = _price(text)
        if name in prices:
            raise UsageError("given-twice", f"--price {text}: {name} has a price already, {prices[name]:g}")
        prices[name] = price
    return prices


def _price(text: str) -> tuple[str, float]:
    """A device and its price.

    Raises:
        UsageError: if the text is not DEVICE=PRICE.
    """
    name, _, digits = text.partition("=")
    try:
        price = float(digits)
    except ValueError:
        price = math.nan
    if not name.strip() or not 0 <= price <= MOST_PRICE:
        raise UsageError(
            "not-a-price", f"--price {text}: must be DEVICE=PRICE of an hour of one GPU, such as h100=2.9"
        )
    return device_name(name.strip()) or name, price


def _texts(laid_over: Sequence[Override]) -> Iterator[str]:
    """The overrides as --set has them."""
    for each in laid_over:
        value = each.value.plain() if hasattr(each.value, "plain") else each.value
        yield f"{each.key}={value if isinstance(value, str) else json.dumps(value)}"
