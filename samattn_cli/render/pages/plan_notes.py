"""The notes of a plan: what its figures rest on, and which choices are not shown."""

from __future__ import annotations

from collections.abc import Iterator

from ...reports.plan import Plan, PlanCard
from ...units import format_things
from .plan_words import has_cuda, is_timed

NOT_KNOWN = "The time of communication is not known on this device, so each step takes longer than it says here by what no compute hides of it"
GB = 1e9
COUNTED = (
    "Memory is what torch's allocator reserves on a GPU for the encoder alone; a decoder, head or loss, NCCL's buffers and "
    "CUDA's context come on top."
)
LIVE = (
    "Memory is what is live in one process, for the encoder alone: what the allocator keeps back, a decoder, a head or a loss "
    "come on top."
)
LIVE_ON_GPU = (
    "Memory is what is live on one GPU, for the encoder alone: what CUDA's operators allocate inside, what torch's caching "
    "allocator keeps back, a decoder, head or loss, NCCL's buffers and CUDA's context come on top. With --device instead, a plan "
    "knows times and what is reserved."
)
ROOFLINE = "Times are a roofline of datasheets, which kernels do not reach."


def notes_of(report: Plan, *, every: bool) -> Iterator[str]:
    """What the figures rest on, and which choices are not shown."""
    timed = is_timed(report.choices)
    if timed and any(choice.communication_ms is None for choice in report.choices):
        yield f"{NOT_KNOWN}."
    yield from dict.fromkeys(_network(report, card) for card in report.cards if (card.nodes or 1) > 1)
    for card in report.cards:
        if not every:
            yield from _not_shown(report, card)
    yield from (f"Left out: {each}." for each in report.left_out)
    if timed:
        yield f"{ROOFLINE} {COUNTED if has_cuda(report.choices) else LIVE}"
    else:
        yield LIVE_ON_GPU


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
        are, do, take = ("is", "does", "takes") if slower == 1 else ("are", "do", "take")
        worse = f"{are} slower than" if card.device else f"{do} as much work as"
        why.append(f"{slower:,} {worse} one on the front and {take} as much memory")
    if why:
        of = format_things(card.too_large + slower, "choice")
        are = "is" if card.too_large + slower == 1 else "are"
        yield f"{'On' if card.device else 'In'} {card.name}, {of} {are} not shown: {', '.join(why)}. --all shows them."
