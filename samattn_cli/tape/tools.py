"""The exact figures of other tools for the same pass, and why they differ.

Some tools hook modules (torchinfo, ptflops), some replace torch's functions by counting ones (ptflops, calflops), some see
the operations that reach ATen (fvcore's tracer, FlopCounterMode). So a product counts once, twice or not at all, depending on
how it is written. The figures are for the real stack, `samattn_cli/stack`. It is written like the public code, except that an
einsum of relative positions is a ``torch.bmm`` here. They are figures on a real device: on "meta" some kernels are in Python,
and ptflops and calflops count their calls too. The rules are in `tool_rules`; `tests/tape/test_tools.py` runs the tools.
"""

from __future__ import annotations

from collections import Counter

from ..records import dataclass
from ..reports.explanation import ToolFigure
from .segments import ForwardPass
from .tool_calls import Call, calls
from .tool_rules import CALFLOPS, CALFLOPS_MACS, FLOP_COUNTER, FVCORE, PTFLOPS, TORCHINFO, Rule


@dataclass(frozen=True)
class Tool:
    """A tool and its rules. An operation to which no rule applies counts 0.

    Attributes:
        name: the tool.
        version: its version.
        quantity: "MACs" or "FLOPs".
        called: the tool's own word for that quantity.
        rules: its rules.
    """

    name: str
    version: str
    quantity: str
    called: str
    rules: tuple[Rule, ...]

    def figure(self, counted: Counter[Call], batch: int) -> ToolFigure:
        """Its figure for calls and how often each is made; `batch` is the first dimension of the input."""
        value, reason = self._value_and_reason(counted, batch)
        return ToolFigure(self.name, self.version, self.quantity, value, reason)

    def _value_and_reason(self, counted: Counter[Call], batch: int) -> tuple[int | None, str]:
        rules = [rule for rule in self.rules if any(map(rule.where, counted))]
        if crash := next((rule for rule in rules if rule.crashes), None):
            return None, f"no figure: {crash.words}"
        words = [rule.words for rule in rules]
        value, of_modules = (_sum(rules, counted, by_module=by_module) for by_module in (False, True))
        if of_modules and batch != 1:
            words.append(
                f"what modules count over {batch}, the first dimension of the input, functions in full"
            )
        if of_modules:
            value = int(of_modules / batch + value)  # in floating point, as ptflops does
        return value, f"its {self.called} count {'; '.join(words) or 'nothing'}"


def _sum(rules: list[Rule], counted: Counter[Call], *, by_module: bool) -> int:
    return sum(
        often * int(rule.count(call))
        for rule in rules
        if rule.by_module == by_module
        for call, often in counted.items()
        if rule.where(call)
    )


TOOLS = (
    Tool("fvcore", "0.1.5.post20221221", "MACs", "FLOPs", FVCORE),
    Tool("FlopCounterMode", "torch 2.13.0", "FLOPs", "FLOPs", FLOP_COUNTER),
    Tool("torchinfo", "1.8.0", "MACs", "mult-adds", TORCHINFO),
    Tool("ptflops", "0.7.5", "MACs", "MACs", PTFLOPS),
    Tool("calflops", "0.3.2", "FLOPs", "FLOPs", CALFLOPS),
    Tool("calflops", "0.3.2", "MACs", "MACs", CALFLOPS_MACS),
)


def what_others_say(forward: ForwardPass, layer: str = "", inner: str = "") -> tuple[ToolFigure, ...]:
    """The figure of each tool for the encoder, its part or block `layer`, or the operations of module `inner` in it.

    For less than the encoder, it is the contribution to the tool's figure.
    """
    recordings = Counter(segment.recording for segment in forward.segments if layer in {"", segment.name})
    counted: Counter[Call] = Counter()
    for recording, often in recordings.items():
        counted.update({call: often for call in calls(recording) if _is_in(inner, call.op.name)})
    return tuple(tool.figure(counted, forward.image.shape[0]) for tool in TOOLS)


def _is_in(inner: str, name: str) -> bool:
    """Whether an operation is the one of that name, or in the module of that name."""
    return inner in {"", name} or name.startswith(f"{inner}.")
