"""The kernel that ``torch.nn.functional.scaled_dot_product_attention`` runs on CUDA, and why a faster one does not run.

torch tries the kernels in an order that depends on the device, and runs the first that takes the call; `sdpa_rules.py` has
the order and the rules. Source: sdp_utils.cpp of ATen (select_sdp_backend).
"""

from __future__ import annotations

from functools import lru_cache

from ..encoder.torch_versions import Version
from ..records import dataclass
from .sdpa_call import AMPERE, Call, Kernel, Target
from .sdpa_rules import RULES, UNBATCHED_SINCE, Rule, order

IN_WORDS: dict[Kernel, str] = {
    "cudnn": "cuDNN",
    "flash": "flash",
    "efficient": "memory-efficient",
    "math": "the unfused products",
}


@dataclass(frozen=True)
class Choice:
    """The kernel that runs, and why each kernel that torch tries before it does not."""

    kernel: Kernel
    reasons: tuple[tuple[Kernel, str], ...] = ()

    @property
    def in_words(self) -> str:
        """Such as "memory-efficient, because flash takes no mask, and there is a float mask"."""
        why = "; ".join(dict.fromkeys(reason for _, reason in self.reasons))
        return f"{IN_WORDS[self.kernel]}, because {why}" if why else IN_WORDS[self.kernel]


def choose(call: Call, target: Target = AMPERE) -> Choice:
    """The kernel for a call, whose sizes may be formulas."""
    if target.torch >= UNBATCHED_SINCE:
        call = call.batched()
    reasons: list[tuple[Kernel, str]] = []
    for kernel in order(target):
        reason = refusal(kernel, call, target)
        if not reason:
            return Choice(kernel, tuple(reasons))
        reasons.append((kernel, reason))
    return Choice("math", tuple(reasons))


def refusal(kernel: Kernel, call: Call, target: Target) -> str:
    """Why a kernel does not take a call of operands with a batch; "" if it does."""
    refusals = (rule.refusal(call, target) for rule in _rules(kernel, target.torch))
    return next(filter(None, refusals), "")


@lru_cache
def _rules(kernel: Kernel, torch: Version) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if kernel in rule.kernels and rule.is_of(torch))
