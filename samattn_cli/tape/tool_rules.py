"""The counting rules of fvcore, FlopCounterMode, torchinfo, ptflops and calflops; see `tools`.

Sources: those in `conventions`; torchinfo 1.8.0, layer_info.py (calculate_macs) and model_statistics.py; ptflops 0.7.5
with its default backend, pytorch_ops.py and pytorch_engine.py; calflops 0.3.2, pytorch_ops.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..records import dataclass
from . import conventions
from .ops import BATCHED_LINEAR, INSIDE_SDPA, OPERATOR, parameter_elements
from .storage import Dim
from .tool_calls import Call

Count = Callable[[Call], Dim]
Where = Callable[[Call], bool]


def _nothing(_: Call) -> int:
    return 0


@dataclass(frozen=True)
class Rule:
    """What a tool counts for some operations.

    Attributes:
        words: what it counts, as the text after "counts".
        where: which operations the rule applies to.
        count: the count of an operation.
        by_module: whether a hook of the module counts it; ptflops divides these by the first dimension of the input.
        crashes: whether the tool crashes at such an operation, without a figure.
    """

    words: str
    where: Where
    count: Count = _nothing
    by_module: bool = False
    crashes: bool = False


LINEAR = frozenset({"linear", BATCHED_LINEAR})
CONVOLUTION = frozenset({"conv2d"})
PRODUCTS = frozenset({"matmul", "sdpa"})
SDPA = frozenset({"sdpa"})
LAYER_NORM = frozenset({"layer_norm"})
BATCH_NORM = frozenset({"batch_norm"})
AVG_POOL = frozenset({"avg_pool"})
ACTIVATIONS = frozenset({"gelu", "gelu_tanh", "relu"})
"""Activations that are modules in every family."""
SILU = frozenset({"silu"})
MAX_POOL = frozenset({"max_pool"})
TO_SIZE = frozenset({"upsample_linear", "upsample_bilinear", "upsample_bicubic"})
"""Resized to a size."""
BY_FACTOR = frozenset({"upsample_nearest"})
"""Resized by a factor, in SAM 2's pyramid."""


def _of(*kinds: frozenset[str]) -> Where:
    return lambda call: any(call.op.kind in each for each in kinds)


def _has_macs(call: Call) -> bool:
    return bool(call.op.macs)


def _is_tensor_function(call: Call) -> bool:
    """Whether it is a product by a function of torch, not by the operator @."""
    return call.op.call not in {"", OPERATOR, INSIDE_SDPA}


def _is_in_sdpa(call: Call) -> bool:
    return call.op.kind in SDPA or call.op.call == INSIDE_SDPA


def _macs(call: Call) -> Dim:
    return conventions.macs(call.op)


def _flops(call: Call) -> Dim:
    return conventions.flop_counter(call.op)


def _fvcore(call: Call) -> Dim:
    return conventions.fvcore(call.op)


def _elements_in(call: Call) -> Dim:
    return call.elements_in


def _twice_elements_in(call: Call) -> Dim:
    return 2 * call.elements_in


def _elements_out(call: Call) -> Dim:
    return call.elements_out


NO_SDPA = Rule("nothing for the matrix products inside scaled_dot_product_attention", _is_in_sdpa)
NO_OPERATOR = Rule(
    "nothing for attention's matrix products, which use the operator @", lambda call: call.op.call == OPERATOR
)

FVCORE = (
    NO_SDPA,
    Rule("one per MAC", lambda call: _has_macs(call) and not _is_in_sdpa(call), _fvcore),
    Rule("5 per element of LayerNorm", _of(LAYER_NORM), _fvcore),
    Rule("2 per element of BatchNorm", _of(BATCH_NORM), _fvcore),
    Rule("1 per element of the input of average pooling", _of(AVG_POOL), _fvcore),
    Rule(
        "1 or 4 per element of a resized image",
        _of(conventions.FVCORE_ELEMENTWISE - LAYER_NORM - BATCH_NORM - AVG_POOL),
        _fvcore,
    ),
)

FLOP_COUNTER = (
    Rule(
        "two per MAC of matrix products and convolutions, and nothing else, as samattn does",
        _has_macs,
        _flops,
    ),
)


def _is_plain(call: Call) -> bool:
    """Whether it has weights, its module has no children, and it is not a convolution."""
    return call.is_leaf and bool(call.weights) and not _of(CONVOLUTION)(call)


def _is_of_images(call: Call) -> bool:
    """Whether its output has a dimension of images or windows: it is not (tokens, channels)."""
    return len(call.op.leaving) > len(("tokens", "channels"))


def _is_convolution(call: Call, *, transposed: bool) -> bool:
    return _of(CONVOLUTION)(call) and call.is_leaf and call.is_transposed == transposed


def _by_first_dimension(call: Call) -> Dim:
    return _weights(call) * call.op.leaving[0]


def _by_place(call: Call) -> Dim:
    return _weights(call) * call.places


def _weights(call: Call) -> Dim:
    return sum(map(parameter_elements, call.weights))


TORCHINFO = (
    Rule("nothing for products of two activations, such as attention's", _of(PRODUCTS)),
    Rule(
        "the weights and biases of linear layers and norms once per image or window, not once per token",
        lambda call: _is_plain(call) and _is_of_images(call),
        _by_first_dimension,
    ),
    Rule(
        "the weights and biases of linear layers and norms once per token",
        lambda call: _is_plain(call) and not _is_of_images(call),
        _by_first_dimension,
    ),
    Rule(
        "those of convolutions once per output position",
        lambda call: _is_convolution(call, transposed=False),
        _by_place,
    ),
    Rule(
        "those of transposed convolutions once per output position, not once per input position",
        lambda call: _is_convolution(call, transposed=True),
        _by_place,
    ),
    Rule(
        "nothing for convolutions that contain their norm",
        lambda call: _of(CONVOLUTION)(call) and not call.is_leaf,
    ),
    Rule("nothing for direct calls of F.linear", lambda call: _of(LINEAR)(call) and not call.is_module),
)

PTFLOPS = (
    NO_OPERATOR,
    NO_SDPA,
    Rule(
        "one per MAC, and per element that a bias is added to, of linear layers and convolutions",
        lambda call: _of(LINEAR, CONVOLUTION)(call) and call.is_module,
        lambda call: _macs(call) + call.biased,
        by_module=True,
    ),
    Rule(
        "nothing for convolutions that contain their norm",
        lambda call: _of(CONVOLUTION)(call) and not call.is_module,
    ),
    Rule("nothing for direct calls of F.linear", lambda call: _of(LINEAR)(call) and not call.is_module),
    Rule("one per element of LayerNorm", _of(LAYER_NORM), _elements_in, by_module=True),
    Rule("two per element of BatchNorm", _of(BATCH_NORM), _twice_elements_in, by_module=True),
    Rule("one per element of GELU and ReLU as modules", _of(ACTIVATIONS), _elements_in, by_module=True),
    Rule("one more for the functions that these modules call", _of(ACTIVATIONS), _elements_in),
    Rule("one per element of SiLU", _of(SILU), _elements_in),
    Rule(
        "one per input element of max pooling as a module",
        lambda call: _of(MAX_POOL)(call) and call.is_module,
        _elements_in,
        by_module=True,
    ),
    Rule("one per input element of max pooling as a function", _of(MAX_POOL), _elements_in),
    Rule("one per element of a resized image", _of(TO_SIZE, BY_FACTOR), _elements_out),
    Rule("one per MAC of torch.bmm and torch.matmul", _is_tensor_function, _macs),
)


def _biased_by_convolution(call: Call) -> Dim:
    """For a transposed convolution, calflops counts the places of a plain one whose stride is the kernel's side."""
    if not call.is_transposed:
        return call.biased
    (batch, _, *sides), (_, _, *kernel) = call.op.entering, call.weights[0].shape
    places = math.prod(side // step for side, step in zip(sides, kernel, strict=True))
    return batch * call.op.leaving[1] * places


def _calls_matmul(call: Call) -> bool:
    return call.op.call == "torch.matmul"


CALFLOPS_OF_LAYER_NORM = 5
MOST_DOUBLINGS = 1023
"""Exponent of the largest power of two in float64: calflops raises the resize factor to the number of images."""

CALFLOPS_CRASH = Rule(
    "it raises the resize factor to the power of the number of images, and overflows",
    lambda call: _of(BY_FACTOR)(call) and call.op.entering[0] > MOST_DOUBLINGS,
    crashes=True,
)
CALFLOPS_NOTHING = (
    Rule(
        "nothing for torch.bmm, which computes the products of relative positions",
        lambda call: call.op.call == "torch.bmm",
    ),
    NO_OPERATOR,
    NO_SDPA,
    CALFLOPS_CRASH,
)

CALFLOPS = (
    *CALFLOPS_NOTHING,
    Rule("two per MAC of linear layers and convolutions", _of(LINEAR, CONVOLUTION), _flops),
    Rule(
        "one per element that a convolution adds a bias to",
        lambda call: _of(CONVOLUTION)(call) and bool(call.biased),
        _biased_by_convolution,
    ),
    Rule(
        "5 per element of LayerNorm", _of(LAYER_NORM), lambda call: CALFLOPS_OF_LAYER_NORM * call.elements_in
    ),
    Rule("2 per element of BatchNorm", _of(BATCH_NORM), _twice_elements_in),
    Rule("one per element of activations", _of(ACTIVATIONS, SILU), _elements_in),
    Rule("one per input element of max pooling", _of(MAX_POOL), _elements_in),
    Rule(
        "one per output position of a resized image, regardless of its channels",
        _of(TO_SIZE),
        lambda call: math.prod(call.op.leaving[2:]),
    ),
    Rule("one per element of an image before it is resized by a factor", _of(BY_FACTOR), _elements_in),
    Rule("two per MAC of torch.matmul", _calls_matmul, _flops),
)

CALFLOPS_MACS = (
    *CALFLOPS_NOTHING,
    Rule("one per MAC of linear layers and convolutions", _of(LINEAR, CONVOLUTION), _macs),
    Rule("one per MAC of torch.matmul", _calls_matmul, _macs),
)
