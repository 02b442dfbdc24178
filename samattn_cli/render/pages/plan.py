"""A plan: the fastest way to train that fits, the cards that are compared, and the Pareto front of time against memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...encoder.model import RunConfig
from ...reports.plan import Plan, PlanCard, PlanChoice
from ...shell import command
from ...units import format_bytes, format_ms, format_size, format_things
from ..elements import Code, Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options
from .analysis import heading_of
from .plan_chart import chart
from .plan_words import NOTHING, cost, in_words, layer_of, meanings, share_of, taken

DIMENSIONS = ("strategy", "precision", "checkpointing", "attention")
HEADERS = {"checkpointing": "ckpt"}
NOT_KNOWN = "The time of communication is not known on this device, so each step takes longer than it says here by what no compute hides of it"
GB = 1e9
ROOMY = 115
"""Width from which the operation at a peak has room, and not its layer alone."""
COUNTED = (
    "Memory is what torch's caching allocator reserves "
    "on one GPU for the encoder alone: a decoder, head or loss, NCCL's buffers and CUDA's context come on top."
)
LIVE = (
    "Memory is what is live in one process, for the encoder alone: what the allocator keeps back, a decoder, a head or a loss "
    "come on top."
)
ROOFLINE = "Times are a roofline of datasheet figures, which real kernels do not reach."


def page(report: Plan, options: Options) -> Page:
    """The whole of it."""
    title, shape = heading_of(replace(report.config, run=RunConfig()))
    shape = shape.rpartition("; ")[0]  # how it is run is what is planned
    ranks = _on_ranks(report)
    return Page(
        title,
        f"{shape}; a training step of {format_things(report.global_batch, 'image')} {ranks}",
        tuple(_sections(report, options)),
    )


def _sections(report: Plan, options: Options) -> Iterator[Section]:
    best = _best(report)
    yield Lines("Answer", tuple(_answer(report, best)))
    if best is not None:
        yield _how(report, best)
    if len(report.cards) > 1:
        yield _cards(report, wide=options.wide)
    for card in report.cards:
        if front := [choice for choice in report.of(card) if choice.is_front]:
            yield _front(card, front, wide=options.width >= ROOMY)
            if any(choice.memory for choice in front):
                yield _kinds(card, front, wide=options.width >= ROOMY)
    if options.all_layers:
        for card in report.cards:
            if others := [choice for choice in report.of(card) if not choice.is_front]:
                yield _others(card, others)
    if report.sizes:
        yield _sizes(report)
    yield Lines("Notes", tuple(_notes(report, every=options.all_layers)))


def _best(report: Plan) -> PlanChoice | None:
    """The fastest that fits any card."""
    best = [report.choices[card.best] for card in report.cards if card.best is not None]
    return min(best, key=lambda choice: choice.step_ms, default=None)


def _answer(report: Plan, best: PlanChoice | None) -> Iterator[str]:
    if best is None:
        yield from (_nothing_fits(report, card) for card in report.cards)
        return
    of = f"Of {format_things(len(report.choices), 'choice')}, the fastest that fits"
    where = f" is on {best.device}" if len(report.cards) > 1 else f" {best.device} is this"
    yield f"{of}{where}: {in_words(best)}."
    yield (
        f"A step takes {format_ms(best.step_ms)}: {_rate(best)}. A {_rank(best)} {_takes(best)} {format_bytes(best.taken_bytes)}, "
        f"{share_of(best, _card_of(report, best))} of what a process can use; {best.peak_at} sets the peak."
    )
    if best.cost_per_step is not None and best.cost_per_1000_images is not None:
        yield f"A step costs {cost(best.cost_per_step)}, and 1,000 images cost {cost(best.cost_per_1000_images)}."
    cheapest = _cheapest(report)
    if cheapest is not None and cheapest is not best:
        of_priced = "" if all(card.price is not None for card in report.cards) else " of those with a price"
        yield (
            f"The cheapest{of_priced} is on {cheapest.device}: {in_words(cheapest)}; {format_ms(cheapest.step_ms)} a step, "
            f"{cost(cheapest.cost_per_step)} each."
        )


def _takes(choice: PlanChoice) -> str:
    """What a GPU does with the memory; of a device without CUDA what is live is known, and not what is reserved."""
    return "needs at least" if choice.reserved_bytes is None else "reserves"


def _rank(choice: PlanChoice) -> str:
    """What a rank is: a GPU, or on a device without CUDA a process."""
    return "process" if choice.reserved_bytes is None else "GPU"


def _on_ranks(report: Plan) -> str:
    """How many GPUs there are, or how many processes where no device has CUDA."""
    if _has_cuda(report.choices):
        return f"on {format_things(report.gpus, 'GPU')}"
    return f"in {report.gpus:,} process{'' if report.gpus == 1 else 'es'}"


def _has_cuda(choices: Sequence[PlanChoice]) -> bool:
    """Whether the allocator was replayed for one of them; where nothing can be launched, too."""
    return any(choice.reserved_bytes is not None for choice in choices) or not any(
        choice.live_bytes for choice in choices
    )


def _memory_of(choices: Sequence[PlanChoice]) -> str:
    """The header of what each takes."""
    return "reserved" if _has_cuda(choices) else "at least"


def _rate(choice: PlanChoice) -> str:
    return f"{choice.images_per_s:,.1f} images/s{' at most' if choice.communication_ms is None else ''}"


def _cheapest(report: Plan) -> PlanChoice | None:
    best = [report.choices[card.best] for card in report.cards if card.best is not None]
    priced = [choice for choice in best if choice.cost_per_step is not None]
    return min(priced, key=lambda choice: choice.cost_per_step or 0, default=None)


def _nothing_fits(report: Plan, card: PlanCard) -> str:
    if card.nearest is None:
        return f"Nothing runs on {card.device}, whatever the memory."
    nearest = report.choices[card.nearest]
    lacks = format_bytes(nearest.missing_bytes or 0)
    return (
        f"Nothing fits {card.device}: the nearest lacks {lacks} a GPU. It is {in_words(nearest)}: it {_takes(nearest)} "
        f"{format_bytes(nearest.taken_bytes)}, and a process can use {format_bytes(card.usable_bytes)}; "
        f"{nearest.peak_at} sets the peak."
    )


def _card_of(report: Plan, choice: PlanChoice) -> PlanCard:
    return next(card for card in report.cards if card.device == choice.device)


def _how(report: Plan, best: PlanChoice) -> Code:
    """The command and the lines of a config that make a choice."""
    keys = [each.partition("=")[0] for each in best.set]
    own = [each for each in report.overrides if each.partition("=")[0] not in keys]
    options = [word for each in (*own, *best.set) for word in ("--set", each)]
    analyze = command("analyze", report.reference, "--device", best.device, *options)
    lines = [f"  {each.removeprefix('run.').replace('=', ': ', 1)}" for each in best.set]
    return Code("Set it in the config, or look at it alone", ("run:", *lines, "", analyze))


def _cards(report: Plan, *, wide: bool) -> Table:
    priced = any(card.price is not None for card in report.cards)
    best = [report.choices[card.best] for card in report.cards if card.best is not None]
    headers, words, shared = _ways(best)
    way_of = {choice.device: [*way, _batch(choice)] for choice, way in zip(best, words, strict=True)}
    rows = tuple(
        (
            f"{card.device}{'' if card.is_beaten else ' *'}",
            *([format_bytes(card.memory_bytes)] if wide else []),
            *way_of.get(card.device, [_lack(report, card), *[NOTHING] * len(headers)]),
            *_figures(report, card, wide=wide, priced=priced),
            *(_money(report, card, wide=wide) if priced else ()),
        )
        for card in report.cards
    )
    rate = () if priced and not wide else ("images/s",)
    figures = ("step", *rate, _memory_of(best), *(("of card",) if wide else ()))
    money = ("hour", *(("step",) if wide else ()), "1,000 images") if priced else ()
    note = (
        f"The fastest that fits each. {shared}* No other card is as fast{' and as cheap' if priced else ''}."
    )
    if priced:
        of_step = ", of a step of all GPUs" if wide else ""
        note += f" The last columns are prices: of a GPU-hour{of_step}, and of 1,000 images."
    memory = ("memory",) if wide else ()
    text = (0, *range(1 + len(memory), 2 + len(memory) + len(headers)))
    return Table(
        "Cards",
        ("card", *memory, *([*headers, "batch"] if best else ["fits"]), *figures, *money),
        rows,
        note,
        text_columns=text,
    )


def _lack(report: Plan, card: PlanCard) -> str:
    """That nothing fits, and by how much."""
    missing = None if card.nearest is None else report.choices[card.nearest].missing_bytes
    return "none" if missing is None else f"none: lacks {format_bytes(missing)}"


def _figures(report: Plan, card: PlanCard, *, wide: bool, priced: bool) -> tuple[str, ...]:
    """The time of a step, images a second where there is room, and memory."""
    has_rate = wide or not priced
    if card.best is None:
        return (NOTHING,) * (2 + has_rate + wide)
    best = report.choices[card.best]
    rate = (f"{best.images_per_s:,.1f}",) if has_rate else ()
    return format_ms(best.step_ms), *rate, *taken(best, card)[: 2 if wide else 1]


def _money(report: Plan, card: PlanCard, *, wide: bool) -> tuple[str, ...]:
    best = None if card.best is None else report.choices[card.best]
    of_step, of_images = (best.cost_per_step, best.cost_per_1000_images) if best else (None, None)
    prices = (card.price, of_step, of_images) if wide else (card.price, of_images)
    return tuple(map(cost, prices))


def _front(card: PlanCard, front: Sequence[PlanChoice], *, wide: bool) -> Table:
    headers, words, shared = _ways(front)
    priced = card.price is not None
    communicates = any(choice.communication_ms for choice in front)
    columns = (
        "batch",
        "step",
        "recompute",
        *(("exposed",) if communicates else ()),
        *(("images/s",) if wide else ()),
        _memory_of(front),
        *(("of card",) if wide else ()),
        *(("1,000 images",) if priced else ()),
    )
    rows = tuple(
        (
            str(number),
            *way,
            _batch(choice),
            format_ms(choice.step_ms),
            _or_nothing(choice.recompute_ms),
            *(([_exposed(choice)]) if communicates else []),
            *([f"{choice.images_per_s:,.1f}"] if wide else []),
            *taken(choice, card)[: 2 if wide else 1],
            *([cost(choice.cost_per_1000_images)] if priced else []),
        )
        for number, (way, choice) in enumerate(zip(words, front, strict=True), 1)
    )
    note = (
        f"{shared}batch: images of a forward x forwards of a step. recompute: the time of checkpointed blocks' second forwards. "
        f"{'exposed: the time of communication that no compute hides. Both are' if communicates else 'It is'} part of step."
        f"{' ckpt: the blocks that are checkpointed.' if 'ckpt' in headers else ''}{meanings(front)}"
    )
    text = tuple(range(len(headers) + 2))
    title = f"Pareto front on {card.device}: time against memory"
    return Table(title, ("", *headers, *columns), rows, note, text_columns=text)


def _ways(choices: Sequence[PlanChoice]) -> tuple[list[str], list[list[str]], str]:
    """The headers and cells of what choices differ in, and in a sentence what they share."""
    values = {name: [getattr(choice, name) for choice in choices] for name in DIMENSIONS}
    differing = [name for name in DIMENSIONS if len(set(values[name])) > 1]
    shared = [
        f"{name} {values[name][0]}" if name != "precision" else values[name][0]
        for name in DIMENSIONS
        if name not in differing
    ]
    words = [[values[name][number] for name in differing] for number in range(len(choices))]
    return (
        [HEADERS.get(name, name) for name in differing],
        words,
        f"All: {', '.join(shared)}. " if shared else "",
    )


def _batch(choice: PlanChoice) -> str:
    return f"{choice.batch_size} x {choice.accumulate}"


def _exposed(choice: PlanChoice) -> str:
    return "not known" if choice.communication_ms is None else _or_nothing(choice.communication_ms)


def _or_nothing(ms: float) -> str:
    return format_ms(ms) if ms else NOTHING


KINDS = (
    ("weights", ("weights", "buffers", "average")),
    ("gathered", ("gathered", "communication")),
    ("gradients", ("gradients", "buckets")),
    ("optimizer", ("optimizer",)),
    ("kept", ("kept",)),
    ("temporary", ("temporaries",)),
)
"""The columns of kinds, and the kinds of each; all others are in the last column."""


NARROW = (("weights", (*KINDS[0][1], *KINDS[1][1])), *KINDS[2:])
"""The same in a narrow table."""


def _kinds(card: PlanCard, front: Sequence[PlanChoice], *, wide: bool) -> Table:
    all_kinds = KINDS if wide else NARROW
    shown = [(name, kinds) for name, kinds in all_kinds if any(_sum(choice, kinds) for choice in front)]
    named = [kind for _, kinds in shown for kind in kinds]
    rest = tuple(kind for kind in front[0].memory if kind not in named)
    columns = [*shown, ("other", rest)]
    rows = tuple(
        (
            str(number),
            *(format_bytes(_sum(choice, kinds)) for _, kinds in columns),
            choice.peak_at if wide else layer_of(choice.peak_at),
        )
        for number, choice in enumerate(front, 1)
    )
    headers = ("", *(name for name, _ in columns), "peak at")
    note = "Allocated at the peak. kept: activations that autograd keeps for backward."
    title = f"What fills a GPU, by the numbers above ({card.device})"
    return Table(title, headers, rows, note, text_columns=(0, len(headers) - 1))


def _sum(choice: PlanChoice, kinds: Sequence[str]) -> int:
    return sum(choice.memory.get(kind, 0) for kind in kinds)


def _others(card: PlanCard, others: Sequence[PlanChoice]) -> Table:
    headers, words, shared = _ways(others)
    rows = tuple(
        (
            *way,
            _batch(choice),
            format_ms(choice.step_ms),
            f"{choice.images_per_s:,.1f}",
            _taken(choice),
            _fits(choice),
        )
        for way, choice in zip(words, others, strict=True)
    )
    columns = ("batch", "step", "images/s", _memory_of(others), "fits")
    text = (*range(len(headers) + 1), len(headers) + len(columns) - 1)
    return Table(
        f"All other choices on {card.device}", (*headers, *columns), rows, shared.strip(), text_columns=text
    )


def _taken(choice: PlanChoice) -> str:
    """What it reserves; where it was not replayed, what it takes at least."""
    if choice.reserved_bytes is None:
        return f"at least {format_bytes(choice.least_bytes)}"
    return format_bytes(choice.reserved_bytes)


def _fits(choice: PlanChoice) -> str:
    if choice.refused:
        return "cannot be launched"
    if choice.fits is None:
        return "not worked out"
    return "yes" if choice.fits else f"lacks {format_bytes(choice.missing_bytes or 0)}"


def _sizes(report: Plan) -> Table:
    rows = tuple(
        (
            f"{size.gigabytes} GB",
            size.device,
            format_bytes(size.usable_bytes),
            "none" if size.image_size is None else format_size(size.image_size),
            "none" if size.batch_size is None else f"{size.batch_size:,}",
        )
        for size in report.sizes
    )
    run = report.config.run
    note = (
        f"The largest image at a batch of {run.batch_size}, and the largest batch at {format_size(report.config.image_size)}, that "
        "train on one GPU as the config is run."
    )
    headers = ("card", "such as", "a process can use", "largest image", "largest batch")
    return Table("Cards by size", headers, rows, note, text_columns=(0, 1))


def _notes(report: Plan, *, every: bool) -> Iterator[str]:
    if any(choice.communication_ms is None for choice in report.choices):
        yield f"{NOT_KNOWN}."
    yield from dict.fromkeys(_network(report, card) for card in report.cards if card.nodes > 1)
    for card in report.cards:
        if not every:
            yield from _not_shown(report, card)
    yield from (f"Left out: {each}." for each in report.left_out)
    yield f"{ROOFLINE} {COUNTED if _has_cuda(report.choices) else LIVE}"


def _network(report: Plan, card: PlanCard) -> str:
    """What the time of communication between machines rests on."""
    rate = card.network_bytes_per_s
    known = (
        "has no bandwidth for the network"
        if rate is None
        else f"gives each GPU {rate / GB:g} GB/s of network"
    )
    return (
        f"{report.gpus:,} GPUs fill {card.nodes:,} machines, and the file of {card.device} {known}. Your network is not known: a "
        "slower or shared one makes the exposed communication longer. Set interconnect.network_bytes_per_s in a copy of the file."
    )


def _not_shown(report: Plan, card: PlanCard) -> Iterator[str]:
    """How many choices are not shown, and why."""
    fronts = sum(choice.is_front for choice in report.of(card))
    slower = card.fitting - fronts + card.not_replayed
    why = []
    if card.too_large:
        why.append(f"{card.too_large:,} {'does' if card.too_large == 1 else 'do'} not fit")
    if slower:
        why.append(
            f"{slower:,} {'is' if slower == 1 else 'are'} slower than one on the front and "
            f"{'takes' if slower == 1 else 'take'} as much memory"
        )
    if why:
        of = format_things(card.too_large + slower, "choice")
        are = "is" if card.too_large + slower == 1 else "are"
        yield f"On {card.device}, {of} {are} not shown: {', '.join(why)}. --all shows them."


def rows(report: Plan) -> Iterator[dict[str, Any]]:
    """A row for each choice, figures exact."""
    for choice in report.choices:
        row = {name: value for name, value in vars(choice).items() if name not in {"set", "memory"}}
        kinds = {f"peak_{kind}_bytes": choice.memory.get(kind) for kind in _all_kinds(report)}
        yield {
            "gpus": report.gpus,
            "global_batch": report.global_batch,
            **row,
            **kinds,
            "set": " ".join(choice.set),
        }


def _all_kinds(report: Plan) -> list[str]:
    return next((list(choice.memory) for choice in report.choices if choice.memory), [])


LAYOUT = Layout(page, rows, chart)
