"""What other tools would say of the same pass, exactly, and what they count otherwise.

Some look at modules (torchinfo, ptflops), some replace torch's functions by ones that count (ptflops, calflops), some
see what reaches ATen (fvcore's tracer, FlopCounterMode). So a product counts, counts twice or counts nothing by how it
is written. Figures are of the real stack, `samattn_cli/nn`, which writes what the public code writes, but for relative
positions: an einsum there is a ``torch.bmm`` here. They are those of a device: on "meta" kernels are Python, whose own
calls ptflops and calflops count too. The rules are in `tool_rules`; `tests/tape/test_tools.py` runs the tools.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..reports.explanation import ToolFigure
from .encoder import ForwardPass
from .tool_calls import Call, calls
from .tool_rules import CALFLOPS, CALFLOPS_MACS, FLOP_COUNTER, FVCORE, PTFLOPS, TORCHINFO, Rule


@dataclass(frozen=True)
class Tool:
    """A tool and its rules; what falls under none counts nothing.

    It counts in `quantity`, MACs or FLOPs, which are `called` otherwise by some.
    """

    name: str
    version: str
    quantity: str
    called: str
    rules: tuple[Rule, ...]

    def figure(self, made: Counter[Call], batch: int) -> ToolFigure:
        """What it says of calls, each with how often it is made, where images have `batch` as their first dimension."""
        value, reason = self._judge(made, batch)
        return ToolFigure(self.name, self.version, self.quantity, value, reason)

    def _judge(self, made: Counter[Call], batch: int) -> tuple[int | None, str]:
        met = [rule for rule in self.rules if any(map(rule.where, made))]
        if crash := next((rule for rule in met if rule.crashes), None):
            return None, f"no figure: {crash.words}"
        words = [rule.words for rule in met]
        value, of_modules = (_sum(met, made, by_module=by_module) for by_module in (False, True))
        if of_modules and batch != 1:
            words.append(
                f"what modules count over {batch}, the first dimension of the input, functions in full"
            )
        if of_modules:
            value = int(of_modules / batch + value)  # in floating point, as ptflops does
        return value, f"its {self.called} count {'; '.join(words) or 'nothing'}"


def _sum(rules: list[Rule], made: Counter[Call], *, by_module: bool) -> int:
    return sum(
        often * int(rule.count(call))
        for rule in rules
        if rule.by_module == by_module
        for call, often in made.items()
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
    """The figure of each tool for the encoder, its part or block `layer`, or the operations of module `inner` in that.

    Of less than the encoder it is what that adds to the tool's figure.
    """
    recordings = Counter(segment.recording for segment in forward.segments if layer in {"", segment.name})
    made: Counter[Call] = Counter()
    for recording, often in recordings.items():
        made.update({call: often for call in calls(recording) if _is_in(inner, call.op.name)})
    return tuple(tool.figure(made, forward.image.shape[0]) for tool in TOOLS)


def _is_in(inner: str, name: str) -> bool:
    """Whether an operation is the one of that name, or in the module of that name."""
    return inner in {"", name} or name.startswith(f"{inner}.")
