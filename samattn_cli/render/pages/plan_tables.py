"""The tables of a plan: the cards, the Pareto front, what fills a GPU, the other choices, and the largest sizes."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from ...reports.plan import Plan, PlanCard, PlanChoice
from ...units import format_bytes, format_ms, format_size
from ..elements import Table
from .plan_words import (
    AGAIN,
    NOTHING,
    SENT,
    amount,
    cost,
    is_timed,
    layer_of,
    meanings,
    memory_of,
    taken,
)

DIMENSIONS = ("strategy", "precision", "checkpointing", "attention")
HEADERS = {"checkpointing": "ckpt"}


def cards_table(report: Plan, *, wide: bool) -> Table:
    """The fastest that fits each card, and what it costs."""
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
    figures = ("step", *rate, memory_of(best), *(("of card",) if wide else ()))
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
    rate = (_images_per_s(best),) if has_rate else ()
    return _ms(best.step_ms), *rate, *taken(best, card)[: 2 if wide else 1]


def _money(report: Plan, card: PlanCard, *, wide: bool) -> tuple[str, ...]:
    best = None if card.best is None else report.choices[card.best]
    of_step, of_images = (best.cost_per_step, best.cost_per_1000_images) if best else (None, None)
    prices = (card.price, of_step, of_images) if wide else (card.price, of_images)
    return tuple(map(cost, prices))


def front_table(card: PlanCard, front: Sequence[PlanChoice], *, wide: bool) -> Table:
    """The Pareto front of a card."""
    headers, words, shared = _ways(front)
    columns = _columns(card, front, wide=wide)
    rows = tuple(
        (str(number), *way, *(cell(choice) for cell in columns.values()))
        for number, (way, choice) in enumerate(zip(words, front, strict=True), 1)
    )
    note = f"{shared}batch: images of a forward x forwards of a step. {_meaning_of({*columns, *headers})}{meanings(front)}"
    text = tuple(range(len(headers) + 2))
    where, what = (f"on {card.name}", "time") if card.device else (f"in {card.name}", "work")
    return Table(
        f"Pareto front {where}: {what} against memory",
        ("", *headers, *columns),
        rows,
        note,
        text_columns=text,
    )


def _columns(
    card: PlanCard, front: Sequence[PlanChoice], *, wide: bool
) -> dict[str, Callable[[PlanChoice], str]]:
    """The columns of a front after what its choices are: their headers, and the cell of a choice."""
    columns: dict[str, Callable[[PlanChoice], str]] = {"batch": _batch}
    if is_timed(front):
        columns |= {"step": lambda each: _ms(each.step_ms), "recompute": lambda each: _ms(each.recompute_ms)}
        if any(choice.communication_ms for choice in front):
            columns["exposed"] = _exposed
        if wide:
            columns["images/s"] = _images_per_s
    else:
        columns[AGAIN] = lambda each: amount(each.recomputed_flops, "FLOP")
        columns[SENT] = lambda each: amount(each.sent_bytes, "B")
    columns[memory_of(front)] = lambda each: taken(each, card)[0]
    if wide:
        columns["of card"] = lambda each: taken(each, card)[1]
    if card.price is not None:
        columns["1,000 images"] = lambda each: cost(each.cost_per_1000_images)
    return columns


def _meaning_of(columns: Container[str]) -> str:
    """What the columns of work mean."""
    if AGAIN in columns:
        return (
            f"{AGAIN}: FLOPs of checkpointed blocks' second forwards on one GPU. {SENT}: what one GPU sends in a step. Choices are "
            "ordered by the first, then by the second, then by the number of forwards: without --device their times are not known."
        )
    again = f"recompute: checkpointed blocks' second forwards{' (of ckpt)' if 'ckpt' in columns else ''}."
    if "exposed" in columns:
        return f"{again} exposed: communication that no compute hides; both are part of step."
    return f"{again} It is part of step."


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
    return "not known" if choice.communication_ms is None else _ms(choice.communication_ms)


def _ms(ms: float | None) -> str:
    return format_ms(ms) if ms else NOTHING


def _images_per_s(choice: PlanChoice) -> str:
    return f"{choice.images_per_s or 0:,.1f}"


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


def kinds_table(card: PlanCard, front: Sequence[PlanChoice], *, wide: bool) -> Table:
    """What is allocated at the peak of each choice on the front, by kind."""
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


def others_table(card: PlanCard, others: Sequence[PlanChoice]) -> Table:
    """The choices that are not on the front."""
    headers, words, shared = _ways(others)
    timed = is_timed(others)
    rows = tuple(
        (
            *way,
            _batch(choice),
            *(
                (_ms(choice.step_ms), _images_per_s(choice))
                if timed
                else (amount(choice.recomputed_flops, "FLOP"), amount(choice.sent_bytes, "B"))
            ),
            _taken(choice),
            _fits(choice),
        )
        for way, choice in zip(words, others, strict=True)
    )
    columns = ("batch", *(("step", "images/s") if timed else (AGAIN, SENT)), memory_of(others), "fits")
    text = (*range(len(headers) + 1), len(headers) + len(columns) - 1)
    return Table(
        f"All other choices {'on' if card.device else 'in'} {card.name}",
        (*headers, *columns),
        rows,
        shared.strip(),
        text_columns=text,
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


def sizes_table(report: Plan) -> Table:
    """The largest image and batch that train on cards of several sizes."""
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
