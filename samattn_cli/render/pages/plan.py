"""A plan: the fastest way to train that fits, the cards that are compared, and the Pareto front of time against memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...encoder.model import RunConfig
from ...records import replace
from ...reports.plan import Plan, PlanCard, PlanChoice
from ...shell import command
from ...units import exact_bytes, format_bytes, format_count, format_ms, format_things
from ..elements import BAD, GOOD, Answer, Code, Lines, Page, Section
from ..layout import Layout
from ..options import Options
from .analysis import heading_of
from .plan_chart import chart
from .plan_notes import notes_of
from .plan_tables import cards_table, front_table, kinds_table, others_table, sizes_table
from .plan_words import cost, has_cuda, in_words, is_timed, share_of, work

ROOMY = 115
"""Width from which the operation at a peak has room, and not its layer alone."""


def page(report: Plan, options: Options) -> Page:
    """The whole of it."""
    title, shape = heading_of(replace(report.config, run=RunConfig()))
    shape = shape.rpartition("; ")[0]  # how it is run is what is planned
    ranks = _on_ranks(report)
    return Page(
        title,
        f"{shape}; a training step of {format_things(report.global_batch, 'image')} {ranks}",
        tuple(_sections(report, options)),
        tuple(_short(report)),
    )


def _short(report: Plan) -> Iterator[Answer]:
    """The answer: the sign on the first line says whether anything fits."""
    best = _best(report)
    for number, sentence in enumerate(_answer(report, best)):
        yield Answer(sentence, "" if number and best else BAD if best is None else GOOD)


def _sections(report: Plan, options: Options) -> Iterator[Section]:
    best = _best(report)
    if best is not None:
        yield _how(report, best)
    if len(report.cards) > 1:
        yield cards_table(report, wide=options.wide)
    for card in report.cards:
        if front := [choice for choice in report.of(card) if choice.is_front]:
            yield front_table(card, front, wide=options.width >= ROOMY)
            if any(choice.memory for choice in front):
                yield kinds_table(card, front, wide=options.width >= ROOMY)
    if options.all_layers:
        for card in report.cards:
            if others := [choice for choice in report.of(card) if not choice.is_front]:
                yield others_table(card, others)
    if report.sizes:
        yield sizes_table(report)
    yield Lines("Notes", tuple(notes_of(report, every=options.all_layers)))


def _best(report: Plan) -> PlanChoice | None:
    """The fastest that fits any card."""
    best = [report.choices[card.best] for card in report.cards if card.best is not None]
    return min(best, key=lambda choice: choice.step_ms or 0.0, default=None)


def _answer(report: Plan, best: PlanChoice | None) -> Iterator[str]:
    if best is None:
        yield from (_nothing_fits(report, card) for card in report.cards)
        return
    card = _card_of(report, best)
    least = "fastest" if card.device else "one with the least work"
    of = f"Of {format_things(len(report.choices), 'choice')}, the {least} that fits"
    where = f" is on {card.name}" if len(report.cards) > 1 else f" {card.name} is this"
    yield f"{of}{where}: {in_words(best)}."
    yield (
        f"{_work(best)}. A {_rank(best)} {_takes(best)} {format_bytes(best.taken_bytes)}, "
        f"{share_of(best, card)} of what a process can use; {best.peak_at} sets the peak."
    )
    if best.cost_per_step is not None and best.cost_per_1000_images is not None:
        yield f"A step costs {cost(best.cost_per_step)}, and 1,000 images cost {cost(best.cost_per_1000_images)}."
    cheapest = _cheapest(report)
    if cheapest is not None and cheapest is not best:
        of_priced = "" if all(card.price is not None for card in report.cards) else " of those with a price"
        yield (
            f"The cheapest{of_priced} is on {cheapest.device}: {in_words(cheapest)}; {work(cheapest)}, "
            f"{cost(cheapest.cost_per_step)} each."
        )


def _work(choice: PlanChoice) -> str:
    """How long a step takes; without a device, what a GPU computes again and sends in it."""
    if choice.step_ms is not None:
        return f"A step takes {format_ms(choice.step_ms)}: {_rate(choice)}"
    flops, sent = choice.recomputed_flops, choice.sent_bytes
    again = f"computes {format_count(flops, 'FLOP')} again" if flops else "computes nothing again"
    return f"In a step a GPU {again}, and sends {format_bytes(sent) if sent else 'nothing'}"


def _takes(choice: PlanChoice) -> str:
    """What a GPU does with the memory; of a device without CUDA what is live is known, and not what is reserved."""
    return "needs at least" if choice.reserved_bytes is None else "reserves"


def _rank(choice: PlanChoice) -> str:
    """What a rank is: a GPU, or on a device without CUDA a process."""
    return "process" if choice.reserved_bytes is None and choice.device else "GPU"


def _on_ranks(report: Plan) -> str:
    """How many GPUs there are, or how many processes where no device has CUDA."""
    if has_cuda(report.choices) or not is_timed(report.choices):
        return f"on {format_things(report.gpus, 'GPU')}"
    return f"in {report.gpus:,} process{'' if report.gpus == 1 else 'es'}"


def _rate(choice: PlanChoice) -> str:
    return f"{choice.images_per_s or 0:,.1f} images/s{' at most' if choice.communication_ms is None else ''}"


def _cheapest(report: Plan) -> PlanChoice | None:
    best = [report.choices[card.best] for card in report.cards if card.best is not None]
    priced = [choice for choice in best if choice.cost_per_step is not None]
    return min(priced, key=lambda choice: choice.cost_per_step or 0, default=None)


def _nothing_fits(report: Plan, card: PlanCard) -> str:
    if card.nearest is None:
        return f"Nothing runs {'on' if card.device else 'in'} {card.name}, whatever the memory."
    nearest = report.choices[card.nearest]
    lacks = format_bytes(nearest.missing_bytes or 0)
    return (
        f"Nothing fits {card.name}: the nearest lacks {lacks} a GPU. It is {in_words(nearest)}: it {_takes(nearest)} "
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
    where = (
        ("--device", best.device) if best.device else ("--memory", exact_bytes(report.cards[0].usable_bytes))
    )
    analyze = command("analyze", report.reference, *where, *options)
    lines = [f"  {each.removeprefix('run.').replace('=', ': ', 1)}" for each in best.set]
    return Code("Set it in the config, or look at it alone", ("run:", *lines, analyze))


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
