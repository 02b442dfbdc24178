"""Every way to train an encoder on several GPUs that reaches a global batch; the fastest that fits, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...errors import Message, UsageError, code_of
from ...records import replace
from ...reports.plan import Plan, PlanCard, PlanChoice, PlanSize
from ..arguments import check_config, check_device
from ..progress import Tell, silent
from .choices import settings
from .evaluate import Card, Trial
from .front import front_of, nearest_of
from .goal import Goal, check
from .reported import choice_of

NOT_DERIVED = "not-derived-yet"
SIZES = 6
"""The cards of the table of sizes."""
HALVES = ("bfloat16", "float16")


def plan(config: EncoderConfig, devices: Sequence[Device], goal: Goal, *, tell: Tell = silent) -> Plan:
    """Compare the ways to train an encoder on several GPUs.

    Args:
        config: the encoder; of its run, the keys in `goal.given` and those that no choice varies stay.
        devices: the cards to compare; none, if `goal.memory` is to be that of a card of which nothing else is known.
        goal: the number of GPUs, and the batch that is to be reached.
        tell: is called with the number of finished choices.

    Raises:
        UsageError: if the global batch cannot be reached, a price is of a card that is not compared, or no choice can be
            derived.
    """
    check_config("plan", config)
    if isinstance(devices, str | Device):
        raise TypeError(f"plan takes a list of devices, not {devices!r}")
    for device in devices:
        check_device("plan", device)
    check(config, devices, goal)
    cards = list(_cards(devices, goal.memory))
    left_out: dict[str, None] = {}
    trials = [_trials(config, card, goal, left_out) for card in cards]
    told = _Told(tell, sum(map(len, trials)) + (SIZES if goal.sizes else 0))
    planned: list[PlanCard] = []
    choices: list[PlanChoice] = []
    for card, of_card in zip(cards, trials, strict=True):
        derived = [trial for trial in of_card if _is_derived(trial, left_out)]
        front, others, nearest = _ordered(derived, goal, told)
        told.done(len(of_card) - len(derived))
        planned.append(_card(card, front, others, nearest, goal, len(choices)))
        choices += [
            choice_of(trial, goal, is_front=number < len(front))
            for number, trial in enumerate((*front, *others))
        ]
    if not choices:
        raise _nothing(left_out)
    return Plan(
        config=config,
        reference=goal.reference or config.name,
        overrides=goal.overrides,
        gpus=goal.gpus,
        global_batch=goal.global_batch,
        cards=tuple(_with_beaten(planned, choices)),
        choices=tuple(choices),
        left_out=tuple(left_out),
        sizes=_sizes(config, told) if goal.sizes else (),
    )


def _cards(devices: Sequence[Device], memory: int | None) -> Iterator[Card]:
    """The cards, of which a rank takes no more than `memory`."""
    for device in devices:
        most = device.usable_bytes if memory is None else min(memory, device.usable_bytes)
        yield Card(replace(device, memory_bytes=most + device.reserved_bytes), most)
    if not devices and memory is not None:
        yield Card(None, memory)


def _sizes(config: EncoderConfig, told: _Told) -> tuple[PlanSize, ...]:
    from .sizes import sizes_of

    return tuple(sizes_of(config, told.done))


class _Told:
    """Progress over the choices of all cards."""

    def __init__(self, tell: Tell, of: int) -> None:
        self.tell, self.of, self.number = tell, of, 0
        tell(0, of)

    def done(self, count: int = 1) -> None:
        """So many choices more are finished."""
        self.number += count
        self.tell(self.number, self.of)


def _trials(config: EncoderConfig, card: Card, goal: Goal, left_out: dict[str, None]) -> list[Trial]:
    device = card.device
    halves = [half for half in HALVES if device is None or getattr(device.peak_flops, half) is not None]
    return [Trial(setting, card) for setting in settings(config, goal, halves, left_out)]


def _is_derived(trial: Trial, left_out: dict[str, None]) -> bool:
    """Whether a choice can be derived; if not, `left_out` says why."""
    why, setting = trial.underivable, trial.setting
    if why is not None:
        where = "" if trial.card.device is None else f" on {trial.card.device.name}"
        of = f"{setting.strategy}, {setting.precision}{where}"
        left_out[why if code_of(why) == NOT_DERIVED else f"{of}: {why}"] = None
    return why is None


def _ordered(
    trials: Sequence[Trial], goal: Goal, told: _Told
) -> tuple[list[Trial], list[Trial], Trial | None]:
    """The front, the other choices from the fastest on, and where nothing fits the one that lacks least."""
    front = front_of(trials, lambda: told.done(0 if goal.every else 1))
    nearest = None if front else nearest_of(trials)
    for trial in trials if goal.every else ():
        _ = trial.used
        told.done()
    of_front = set(map(id, front))
    others = [trial for trial in trials if id(trial) not in of_front]
    others.sort(key=lambda trial: (trial is not nearest, trial.work, trial.least_bytes))
    return front, others, nearest


def _card(
    card: Card,
    front: Sequence[Trial],
    others: Sequence[Trial],
    nearest: Trial | None,
    goal: Goal,
    first: int,
) -> PlanCard:
    """A card, whose choices begin with the number `first`."""
    fits = [trial.fits for trial in (*front, *others)]
    device = card.device
    name = "" if device is None else device.name
    return PlanCard(
        device=name,
        memory_bytes=card.usable_bytes if device is None else device.memory_bytes,
        usable_bytes=card.usable_bytes,
        price=goal.prices.get(name),
        fitting=fits.count(True),
        too_large=fits.count(False),
        not_replayed=fits.count(None),
        best=first if front else None,
        nearest=None if nearest is None else first,
        nodes=None if device is None else -(-goal.gpus // device.interconnect.gpus_per_node),
        network_bytes_per_s=None if device is None else device.interconnect.network_bytes_per_s,
        is_beaten=False,
    )


def _with_beaten(cards: Sequence[PlanCard], choices: Sequence[PlanChoice]) -> Iterator[PlanCard]:
    """The cards, with whether another is at least as fast and as cheap, and better in one."""
    best = {card.device: choices[card.best] for card in cards if card.best is not None}
    for card in cards:
        own = best.get(card.device)
        others = [other for name, other in best.items() if name != card.device]
        yield replace(card, is_beaten=own is None or any(_beats(other, own) for other in others))


def _beats(this: PlanChoice, other: PlanChoice) -> bool:
    """Whether a choice is as fast and as cheap as another, and better in one; a cost that is not known is not compared."""
    pairs = [(this.step_ms or 0.0, other.step_ms or 0.0)]
    if this.cost_per_step is not None and other.cost_per_step is not None:
        pairs.append((this.cost_per_step, other.cost_per_step))
    return all(one <= two for one, two in pairs) and any(one < two for one, two in pairs)


def _nothing(left_out: dict[str, None]) -> UsageError:
    reasons = "\n".join(left_out) or "no kernel, precision and strategy go together for this encoder"
    return UsageError(Message("nothing-to-plan", f"no way to train can be derived: {reasons}"))
