"""The counting conventions of other tools, applied to the Tape's operations.

- fvcore (`FlopCountAnalysis`): one per MAC; LayerNorm adds 5 per element, BatchNorm in evaluation 2, average pooling 1, nearest and bilinear resizing 1 and 4 per element
  of the output; softmax, GELU, adds and copies count 0, and so does the whole of scaled_dot_product_attention.
  It reads the count of an einsum from NumPy's printed text, rounded to 4 digits. The real stack uses plain products instead,
  which it counts exactly. Source: fvcore/nn/jit_handles.py.
- torch's FlopCounterMode: two per MAC of matrix products and convolutions, nothing else.
  Source: torch/utils/flop_counter.py.
- timm's benchmark tables (`GMACs`): fvcore; until 2023 with scaled_dot_product_attention, and so without QK^T and AV.
  Source: `profile_fvcore` in timm's benchmark.py.
- torchinfo, ptflops and calflops: see `tools`.

`PUBLISHED` defines what published figures count, by the names that `published.json` uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from ..records import dataclass
from .ops import BATCHED_LINEAR, ELEMENTWISE_FLOPS, INSIDE_SDPA, Op, Recording
from .segments import ForwardPass

FVCORE_ELEMENTWISE = frozenset(
    {"layer_norm", "batch_norm", "avg_pool", "upsample_nearest", "upsample_bilinear"}
)
"""Operations without a product that fvcore counts, with the figures of `ELEMENTWISE_FLOPS`."""

Convention = Callable[[Op], int]

ATTENTION_PRODUCTS = frozenset({"attn.scores", "attn.values", "attn.sdpa"})
RELATIVE_POSITIONS = "attn.rel_"
BIAS_MLP = "cpb_mlp"
"""Swin v2's continuous position bias: the module's name in microsoft/Swin-Transformer."""

IMAGENET_1K, IMAGENET_21K = 1000, 21843
"""Number of classes, and so of outputs of a classification head."""


def fvcore(op: Op) -> int:
    """The count of fvcore."""
    if op.kind == "sdpa" or op.call == INSIDE_SDPA:
        return 0
    return int(op.elementwise_flops if op.kind in FVCORE_ELEMENTWISE else op.macs)


def flop_counter(op: Op) -> int:
    """The count of FlopCounterMode."""
    return int(op.flops)


def macs(op: Op) -> int:
    """MACs of matrix products and convolutions, which many papers call FLOPs."""
    return int(op.macs)


def timm(op: Op) -> int:
    """The count of timm's tables for unfused attention.

    timm's LayerNorm2d is one `layer_norm`; SAM's is several operations, with one square per element.
    """
    elements_of_layer_norm_2d = op.elementwise_flops if op.kind == "square" else 0
    return fvcore(op) + int(ELEMENTWISE_FLOPS["layer_norm"] * elements_of_layer_norm_2d)


def timm_sdpa(op: Op) -> int:
    """The count of timm's tables of 2023: attention was fused, which fvcore counts as 0."""
    return 0 if is_attention_product(op) else timm(op)


def without_rel_pos(op: Op) -> int:
    """MACs without the products of queries with relative positions."""
    return 0 if is_relative_position(op) else macs(op)


def without_attention(op: Op) -> int:
    """MACs without QK^T and AV."""
    return 0 if is_attention_product(op) else macs(op)


def modules_only(op: Op) -> int:
    """MACs of linear layers and convolutions, as calflops counts."""
    return 0 if is_relative_position(op) else without_attention(op)


def without_bias_mlp(op: Op) -> int:
    """MACs without Swin v2's MLP of position biases, which `flops()` in its repository leaves out."""
    return 0 if BIAS_MLP in op.module.split(".") else macs(op)


def is_attention_product(op: Op) -> bool:
    """Whether it is QK^T, AV or both."""
    return op.name in ATTENTION_PRODUCTS


def is_relative_position(op: Op) -> bool:
    """Whether it belongs to relative positions."""
    return op.name.startswith(RELATIVE_POSITIONS)


@dataclass(frozen=True)
class Tally:
    """What a published figure counts.

    Attributes:
        words: words for it next to "ours".
        of: the count of an operation; None: parameters are counted.
        classes: outputs of a classification head, Linear(C, classes), which is counted too; presets have no head.
        neck: whether the neck counts.
    """

    words: str
    of: Convention | None = None
    classes: int = 0
    neck: bool = True

    def __call__(self, forward: ForwardPass) -> int:
        """The count over a forward pass of one image."""
        segments = (segment for segment in forward.segments if self.neck or segment.name != "neck")
        recordings = Counter(segment.recording for segment in segments)
        counted = sum(many * self._recording(recording) for recording, many in recordings.items())
        return counted + self._head(forward.config.stages[-1].embed_dim)

    def _recording(self, recording: Recording) -> int:
        if self.of is None:
            return int(recording.params)
        return sum(map(self.of, recording.ops))

    def _head(self, width: int) -> int:
        inputs = width + 1 if self.of is None else width  # a bias is a parameter, but not a MAC
        return inputs * self.classes


PUBLISHED = {
    "parameters": Tally(""),
    "parameters_with_head": Tally("with the head", classes=IMAGENET_1K),
    "parameters_with_21k_head": Tally("with a head of 21843 classes", classes=IMAGENET_21K),
    "parameters_without_neck": Tally("without the neck", neck=False),
    "macs": Tally("as MACs", macs),
    "macs_with_head": Tally("as MACs with the head", macs, IMAGENET_1K),
    "macs_without_rel_pos": Tally("as MACs without relative positions", without_rel_pos),
    "macs_without_attention": Tally("as MACs without QK^T, AV", without_attention),
    "macs_of_modules": Tally("as MACs of modules, no product of tensors", modules_only),
    "macs_without_bias_mlp_with_head": Tally(
        "as MACs with the head, without the bias MLP", without_bias_mlp, IMAGENET_1K
    ),
    "timm": Tally("as MACs + LayerNorm", timm),
    "timm_with_head": Tally("as MACs + LayerNorm + head", timm, IMAGENET_1K),
    "timm_with_21k_head": Tally("as MACs + LayerNorm + head of 21843 classes", timm, IMAGENET_21K),
    "timm_without_neck": Tally("as MACs + LayerNorm, without the neck", timm, neck=False),
    "timm_sdpa": Tally("as MACs + LayerNorm, without QK^T, AV", timm_sdpa),
    "timm_sdpa_with_head": Tally("as MACs + LayerNorm + head, without QK^T, AV", timm_sdpa, IMAGENET_1K),
    "flops": Tally("as FLOPs", flop_counter),
}
"""What published figures count, by name."""

OURS = {"params": PUBLISHED["parameters"], "macs": PUBLISHED["macs"], "flops": PUBLISHED["flops"]}
"""What samattn itself counts, by quantity."""


_BATCHED: dict[Convention, str] = {fvcore: "linear", flop_counter: "matmul"}
"""The kind under which each tool counts a linear layer that is run as a batched product."""


def counts(forward: ForwardPass, convention: Convention) -> dict[str, dict[str, int]]:
    """Counts by module and kind of operation. Those of a module include its children; "" is the encoder."""
    result: dict[str, dict[str, int]] = {}
    for segment in forward.segments:
        for op in segment.recording.ops:
            if count := convention(op):
                for module in ancestors(segment.qualified(op.module)):
                    kinds = result.setdefault(module, {})
                    kind = _BATCHED[convention] if op.kind == BATCHED_LINEAR else op.kind
                    kinds[kind] = kinds.get(kind, 0) + count
    return result


def ancestors(module: str) -> Iterator[str]:
    """The module, its parents, and "" for the encoder."""
    while module:
        yield module
        module = module.rpartition(".")[0]
    yield ""
