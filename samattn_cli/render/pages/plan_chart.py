"""A plan as a picture: the memory of a GPU stacked by kind, a bar for each choice on the front."""

from __future__ import annotations

from ...reports.plan import Plan, PlanCard, PlanChoice
from ...units import format_bytes
from ..charts import stacked
from ..charts.theme import Spec
from .plan_words import in_words, is_timed, work

FIRST = {True: "the fastest", False: "the one with the least work"}


def chart(report: Plan) -> Spec:
    """The Vega-Lite spec."""
    return stacked.spec(
        stacked.Picture(
            title=f"{report.config.name}: {report.global_batch} images a step on {report.gpus} GPUs",
            subtitle=f"Memory of one GPU at its peak{' by kind' * is_timed(report.choices)}, for the choices on the Pareto front, from "
            f"{FIRST[is_timed(report.choices)]} on. A rule is what a process can use, where that is near.",
            unit="B",
            groups=tuple(
                stacked.Group(
                    f"{card.device}: a process can use {format_bytes(card.usable_bytes)}"
                    if card.device
                    else f"A process can use {card.name}",
                    card.usable_bytes,
                    tuple(map(_bar, _drawn(report, card))),
                )
                for card in report.cards
                if _drawn(report, card)
            ),
        )
    )


def _drawn(report: Plan, card: PlanCard) -> list[PlanChoice]:
    """The choices on the front; where nothing fits, the one that lacks least."""
    front = [choice for choice in report.of(card) if choice.is_front]
    return front or ([] if card.nearest is None else [report.choices[card.nearest]])


def _bar(choice: PlanChoice) -> stacked.Bar:
    parts = choice.memory or {"live": choice.taken_bytes}
    rest = {"reserved, not allocated": choice.taken_bytes - sum(parts.values())}
    step = work(choice)
    memory = "live" if choice.reserved_bytes is None else "reserved"
    note = (
        f"{in_words(choice)}; {step}, {format_bytes(choice.taken_bytes)} {memory}; peak at {choice.peak_at}"
    )
    name = f"{choice.strategy}, {choice.precision}, {choice.attention}, ckpt {choice.checkpointing}, {choice.batch_size}x{choice.accumulate}"
    return stacked.Bar(name, step, {kind: size for kind, size in (parts | rest).items() if size > 0}, note)
