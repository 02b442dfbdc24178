"""Memory that CUDA operators allocate internally, which no trace on meta shows. It is live while the operator runs.

Sources, of PyTorch 2.14.1, below aten/src/ATen:

- cuBLAS workspaces: one for each thread that runs a product, never freed (cuda/CUDABlas.cpp, parseChosenWorkspaceSize). Since
  `PER_CALL_SINCE` each call takes its workspace anew, and gives it back (seen in dry runs of torch 2.15.0);
- cuBLASLt, which runs a linear layer with a bias, had that workspace too from `LT_UNIFIED_SINCE` until then; before and after it has
  one of its own, which until `LT_KEPT_SINCE` and since `PER_CALL_SINCE` it takes anew in each call (seen in dry runs of torch 2.6,
  2.8 to 2.15, and on an H200);
- folding copies columns that are not contiguous, and its result keeps their size (native/cuda/Col2Im.cu);
- softmax's backward allocates the gradient times the output (native/cuda/SoftMax.cu);
- a sum keeps partial sums of blocks that share an output (native/cuda/Reduce.cuh): see `reduction.py`;
- rows at several indices, whose strides differ, are taken at copies of these (TensorAdvancedIndexingUtils.h);
- adding rows at an index sorts the indices, and copies rows that are not contiguous (native/cuda/Indexing.cu,
  index_put_with_sort_kernel);
- pooling copies an operand that is not dense in its memory order, forward and backward (native/cuda/DilatedMaxPool2d.cu);
- the backward of linear and bicubic resizing copies a gradient that is not contiguous (native/cuda/UpSampleLinear1d.cu);
- a convolution copies its weight to the memory order of its input, and its backward also the gradient of its output
  (native/cudnn/ConvShared.cpp), which it sums for the bias;
- a depthwise convolution by ATen's own kernel takes its input from a contiguous copy (native/Convolution.cpp, CudaDepthwise2d);
- attention's backward accumulates in float32, and flash attention splits keys (native/transformers/cuda);
- cuDNN's attention takes a workspace (measured: `kernels.cudnn_workspace`).

LayerNorm is in `inside_layer_norm.py`, batch norm in `inside_batch_norm.py`, an embedding's backward in `inside_embedding.py`. The workspaces of cuDNN's convolutions are not
modelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ..encoder.torch_versions import DEFAULT, PER_CALL_SINCE, Version
from ..records import dataclass, replace
from ..units import INT64_BYTES
from . import inside_batch_norm, inside_embedding, inside_layer_norm, inside_others
from .cub import sort_bytes
from .efficient import accumulator_bytes, efficient_workspace
from .kernels import FLASH_COLUMNS
from .launch import parts_of
from .ops import InputLayout, Op
from .reduction import partial_sums
from .sdpa_call import Target
from .storage import Shape, Storage
from .tape import STATISTIC_BYTES
from .tensor import (
    CHANNELS_LAST,
    IMAGE_DIMS,
    contiguous_stride,
    is_channels_last,
    is_contiguous,
    lies_in_order,
)

WORKSPACE_BYTES = 8_519_680  # 2 of 4096 KiB and 8 of 16 KiB
WORKSPACE_BYTES_HOPPER = 32 << 20
LT_WORKSPACE_BYTES = 1 << 20
LT_KEPT_SINCE, LT_UNIFIED_SINCE = (2, 9), (2, 12)
AMPERE, HOPPER = 8.0, 9.0
PRODUCTS = frozenset({"linear", "matmul", "batched_linear"})

FLASH_QUERY_BLOCK = 64
FLASH_KEY_BLOCKS = ((64, 256), (128, 128))
FLASH_KEY_BLOCK = 64
MOST_SPLITS = 128
FULL_ENOUGH = 0.8
AS_FULL_AS_BEST = 0.85
ROOMY = frozenset({8.0, 8.7, 9.0, 10.0})
EMBEDDING = "position_embedding"  # nn.Embedding


@dataclass(frozen=True)
class Cuda:
    """The properties of a device that decide how much memory its operators allocate internally.

    Attributes:
        has_cudnn_attention: whether torch may run cuDNN's attention kernel on it.
        torch: the version of torch that runs there.
        takes_inside: whether operators allocate internally at all. If not, only tensors are counted, and what attention's
            backward takes for itself, as in `peak_bytes` and `training_bytes`.
    """

    compute_capability: float = 8.0
    multiprocessors: int = 108
    threads_per_multiprocessor: int = 2048
    has_cudnn_attention: bool = True
    takes_inside: bool = True
    torch: Version = DEFAULT

    @property
    def target(self) -> Target:
        """What decides which attention kernel runs."""
        return replace(Target.of(self.compute_capability), has_cudnn=self.has_cudnn_attention)

    @property
    def workspace_bytes(self) -> int:
        """Bytes of the workspace of a cuBLAS handle that is kept from its first product on."""
        return self._of_cublas if self.torch < PER_CALL_SINCE else 0

    @property
    def lt_workspace_bytes(self) -> int:
        """Bytes of a workspace of its own that cuBLASLt keeps."""
        return self._of_lt if LT_KEPT_SINCE <= self.torch < LT_UNIFIED_SINCE else 0

    def call_workspace_bytes(self, *, adds_bias: bool) -> int:
        """Bytes of a workspace that a product takes for its call, and gives back; cuBLASLt runs one that adds a bias."""
        if adds_bias:
            return self._of_lt if self.torch < LT_KEPT_SINCE or self.torch >= PER_CALL_SINCE else 0
        return self._of_cublas if self.torch >= PER_CALL_SINCE else 0

    @property
    def _of_cublas(self) -> int:
        if not self.takes_inside:
            return 0
        return WORKSPACE_BYTES_HOPPER if self.compute_capability >= HOPPER else WORKSPACE_BYTES

    @property
    def _of_lt(self) -> int:
        return LT_WORKSPACE_BYTES if self.takes_inside else 0

    @property
    def is_roomy(self) -> bool:
        """Whether a block may have more than 100 KiB of shared memory."""
        return self.compute_capability in ROOMY


Steps = tuple[int | Storage | None, ...]
"""What an operator allocates, in order: None is its next result, a storage that result, a positive number the bytes of an
internal allocation. -1 frees the first internal allocation, -2 the second; the rest are freed when it ends. Remaining results
are allocated last."""


def steps(op: Op, cuda: Cuda) -> Steps:
    """What an operation allocates."""
    if not cuda.takes_inside:
        return _after(op, op.workspace_bytes) if op.kind == "sdpa" and op.workspace_bytes else ()
    rule = RULES.get(op.kind)
    if rule is not None:
        return rule(op, cuda)
    if is_product(op) and (taken := cuda.call_workspace_bytes(adds_bias=op.adds_bias)):
        return _after(op, taken)
    return _after(op, op.workspace_bytes) if op.workspace_bytes else ()


def takes_nothing(op: Op, cuda: Cuda) -> bool:
    """Whether an operation allocates nothing inside, whatever its sizes are."""
    if op.kind in RULES or type(op.workspace_bytes) is not int or op.workspace_bytes:
        return False
    return op.kind not in PRODUCTS or not cuda.call_workspace_bytes(adds_bias=op.adds_bias)


def _after(op: Op, *taken: int) -> Steps:
    """Internal allocations after the results."""
    return (*[None] * len(op.allocates), *taken)


def is_product(op: Op) -> bool:
    """Whether cuBLAS runs it."""
    return op.kind in PRODUCTS


def _softmax_backward(op: Op, _: Cuda) -> Steps:
    """The gradient times the output, in their type: float32 also where the kernel narrows the result to float16."""
    return None, op.reads[-1].nbytes


def _sum(op: Op, cuda: Cuda) -> Steps:
    return _after(op, *_partial(op.entering, op.strides[0], op.leaving, cuda))


def _fold(op: Op, _: Cuda) -> Steps:
    """A copy of columns that are not contiguous."""
    return () if is_contiguous(op.entering, op.strides[0]) else (math.prod(op.entering) * _item_bytes(op),)


def _index(op: Op, cuda: Cuda) -> Steps:
    """Rows, or columns, added at indices. Other operations of this kind add none."""
    if not op.name.endswith("grad_table"):
        return ()
    if op.module.endswith(EMBEDDING):
        return inside_embedding.backward(op, cuda)
    columns = len(op.entering) > len(op.leaving) and op.entering[0] == op.leaving[0]
    indices = math.prod(op.entering) // op.leaving[0 if columns else -1]
    largest = (math.prod(op.leaving) if columns else math.prod(op.leaving[:-1])) - 1
    index = INT64_BYTES * indices
    rows = () if is_contiguous(op.entering, op.strides[0]) else (math.prod(op.entering) * _item_bytes(op),)
    return _after(op, index, index, -1, *rows, index, index, index, sort_bytes(indices, largest, cuda))


def _gather(op: Op, _: Cuda) -> Steps:
    """A copy of an index on the host. Of several indices, whose strides differ where they broadcast: a row-major copy each."""
    indices, rows = len(op.reads) - 1, math.prod(op.leaving[:-1])
    if op.reads[-1].is_on_host:
        return (op.reads[-1].nbytes,)
    return (INT64_BYTES * rows,) * indices if indices > 1 and rows > 1 else ()


def _max_pool(op: Op, _: Cuda) -> Steps:
    """A copy of an input that is not dense, after the results."""
    if _is_dense(op.entering, op.strides[0]):
        return ()
    return _after(op, math.prod(op.entering) * _item_bytes(op))


def _max_pool_backward(op: Op, _: Cuda) -> Steps:
    """After the result, copies of an input that is not dense, and of a gradient that does not lie like the input."""
    how = op.layout
    if how is None:
        return ()
    last = is_channels_last(how.shape, how.stride)
    operands = (how.shape, how.stride), (op.entering, op.strides[0])
    return _after(
        op,
        *(
            math.prod(shape) * _item_bytes(op)
            for shape, stride in operands
            if not _lies(shape, stride, last=last)
        ),
    )


def _resized_backward(op: Op, _: Cuda) -> Steps:
    """A copy of a gradient that is not contiguous, in the backward of linear and bicubic resizing."""
    if not op.name.endswith("grad_input") or is_contiguous(op.entering, op.strides[0]):
        return ()
    return _after(op, math.prod(op.entering) * _item_bytes(op))


def _lies(shape: Shape, stride: Shape, *, last: bool) -> bool:
    """Whether a tensor is contiguous, in the order of channels-last or of its dimensions."""
    return lies_in_order(shape, stride, CHANNELS_LAST) if last else is_contiguous(shape, stride)


def _item_bytes(op: Op) -> int:
    """Bytes of an element of the first result."""
    return int(op.allocates[0].nbytes // math.prod(op.leaving))


def _convolution(op: Op, cuda: Cuda) -> Steps:
    """Copies to the memory order of the input, and the sums of the bias. The workspace of cuDNN is not modelled.

    The weight is copied for the forward and for the gradient of the input, the gradient of the output for each product.
    """
    how = op.layout
    if how is None:
        return ()
    weight = _weight_in_order(how, _item_bytes(op))
    if not op.name.endswith("backward"):
        return *_input_in_order(how, _item_bytes(op)), *_after(op, *weight)
    gradient = _gradient_in_order(op, how)
    products: list[int | Storage | None] = [*_gradient_of_another_stride(op, how)]
    if _is_depthwise(how):
        products += _depthwise_backward(op, how, gradient)
    elif how.gives_input:
        earlier = len(products)
        products += [None, *weight, *gradient]
        products += range(-earlier - len(weight) - len(gradient), -earlier)
    if how.gives_weight and not _is_depthwise(how):
        before = sum(isinstance(step, int) and step > 0 for step in products)
        products += [*gradient, None, *[-before - 1] * len(gradient)]
    if len(op.allocates) == how.gives_input + how.gives_weight:  # no bias
        return tuple(products)
    kept = (1, op.entering[1], *[1] * (len(op.entering) - 2))
    return *products, None, *_partial(op.entering, op.strides[0], kept, cuda)


def _depthwise_backward(op: Op, how: InputLayout, gradient: tuple[int, ...]) -> Steps:
    """The gradient of the weight, from a copy of the input, then that of the input; both from one copy of `gradient`."""
    results = op.allocates[: how.gives_input + how.gives_weight]
    copy = _input_in_order(how, _item_bytes(op)) if how.gives_weight else ()
    of_weight, of_input = results[how.gives_input :], results[: how.gives_input]
    freed = [-len(gradient) - 1] * len(copy)
    return (*gradient, *copy, *of_weight, *freed, *of_input, *range(-len(gradient), 0))


def _input_in_order(how: InputLayout, item_bytes: int) -> tuple[int, ...]:
    """The bytes of a row-major copy of an input, which ATen's own depthwise kernel makes of any other."""
    if not _is_depthwise(how) or is_contiguous(how.shape, how.stride):
        return ()
    return (math.prod(how.shape) * item_bytes,)


def _is_depthwise(how: InputLayout) -> bool:
    """Whether ATen's own kernel runs it, whose backward makes the gradient of the weight first (DepthwiseConv2d.cu)."""
    if len(how.shape) != IMAGE_DIMS or is_channels_last(how.shape, how.stride):
        return False
    return bool(how.weight[1] == 1 and how.shape[1] > 1 and how.weight[0] % how.shape[1] == 0)


def _weight_in_order(how: InputLayout, item_bytes: int) -> tuple[int, ...]:
    """The bytes of a copy of a weight, which is contiguous, if the input is channels-last."""
    if not is_channels_last(how.shape, how.stride):
        return ()
    if lies_in_order(how.weight, contiguous_stride(how.weight), CHANNELS_LAST):  # of a kernel of 1x1
        return ()
    return (math.prod(how.weight) * item_bytes,)


def _gradient_in_order(op: Op, how: InputLayout) -> tuple[int, ...]:
    """The bytes of a copy of the gradient of the output, if it does not lie like the input."""
    last = is_channels_last(how.shape, how.stride)
    lies = _lies(op.entering, op.strides[0], last=last)
    return () if lies else (math.prod(op.entering) * _item_bytes(op),)


def _gradient_of_another_stride(op: Op, how: InputLayout) -> tuple[int, ...]:
    """The bytes of a copy of the gradient, for both products, if it is channels-last but for the stride of its one image.

    cuDNN's backward takes it ``.to(input.suggest_memory_format())``, which looks at all strides.
    """
    differs = is_channels_last(how.shape, how.stride) and not is_channels_last(op.entering, op.strides[0])
    return () if not differs or _gradient_in_order(op, how) else (math.prod(op.entering) * _item_bytes(op),)


def _partial(shape: Shape, stride: Shape, kept: Shape, cuda: Cuda) -> tuple[int, ...]:
    return partial_sums(shape, stride, kept, cuda.multiprocessors, cuda.threads_per_multiprocessor)


def _is_dense(shape: Shape, stride: Shape) -> bool:
    """Whether a tensor's elements fill their memory, in some order."""
    return lies_in_order(shape, stride, sorted(range(len(shape)), key=stride.__getitem__))


def _sdpa(op: Op, cuda: Cuda) -> Steps:
    """Backward: row sums and the queries' gradient in float32; forward: flash's splits of the keys, or a batch in parts."""
    kernel = "" if op.choice is None else op.choice.kernel
    parts = tuple(parts_of(op.entering[0], cuda.torch)) if kernel == "efficient" else ()
    if op.name.endswith("backward"):
        return _sdpa_backward(op, cuda, parts)
    accumulators = _accumulator_bytes(op) if parts else 0
    if len(parts) > 1:
        return _in_parts(op, parts, accumulators)
    if kernel != "flash":  # seed and offset before the output
        seeds = op.allocates[2:]
        taken = op.workspace_bytes if kernel == "cudnn" else accumulators
        return (*seeds, None, None, taken) if taken else seeds
    B, h, N, d = op.entering
    splits = flash_splits(B * h, N, op.scores // (B * h * N), d, cuda.multiprocessors)
    rows = splits * B * h * N * STATISTIC_BYTES
    return (None, None, rows, rows * _flash_dim(d)) if splits > 1 else ()  # before the random state


def _accumulator_bytes(op: Op) -> int:
    """What the memory-efficient kernel's forward accumulates the output in."""
    nbytes: int = accumulator_bytes(op.leaving, op.entering[-1], _item_bytes(op))
    return nbytes


def _in_parts(op: Op, parts: Sequence[int], accumulators: int) -> Steps:
    """A batch in parts: the results of the first part stay until the end, those of the others are copied and freed.

    The accumulators of a part are freed with it.

    Source: attention.cu, _scaled_dot_product_efficient_attention_cuda; observed on the dry device.
    """
    sizes = [storage.nbytes // op.entering[0] for storage in op.allocates[:2] if storage.nbytes]
    taken, made = list[int | None](), 0
    for number, part in enumerate(parts):
        taken += [part * size for size in sizes]
        frees = [-(made + place) for place in range(1, len(sizes) + 1)]
        made += len(sizes)
        if accumulators:
            made += 1
            taken += [part * accumulators // op.entering[0], -made]
        taken += frees if number else [None] * len(op.allocates)
    return tuple(taken)


def _sdpa_backward(op: Op, cuda: Cuda, parts: Sequence[int]) -> Steps:
    """Of the memory-efficient kernel, whose batch may be in parts, or of another."""
    if op.choice is not None and op.choice.kernel == "cudnn":
        return _after(op, op.workspace_bytes)
    if not parts:
        copies = sum(not _is_contiguous_by_token(op, stride) for stride in op.strides)
        flash = _after(op, *_flash_backward(op)) if op.workspace_bytes else ()
        return (*[op.allocates[0].nbytes] * copies, *flash)
    copied = (
        math.prod(op.entering[1:])
        * _item_bytes(op)
        * any(not _is_contiguous_by_token(op, stride) for stride in op.strides)
    )
    if len(parts) == 1:
        whole = _after(op, *_efficient_backward(op, cuda, parts[0]))
        return _after_copy(copied * parts[0], whole) if copied else whole
    taken: list[int | None] = [None] * len(op.allocates)
    before = 0
    for part in parts:
        own = [copied * part] if copied else []
        own += [storage.nbytes * part // op.entering[0] for storage in op.allocates]
        inner = [step if step > 0 else step - len(own) for step in _efficient_backward(op, cuda, part)]
        steps_of_part = [*own, *inner]
        made = sum(step > 0 for step in steps_of_part)
        freed = {-step for step in inner if step < 0}
        steps_of_part += [-place for place in range(1, made + 1) if place not in freed]
        taken += [step if step > 0 else step - before for step in steps_of_part]
        before += made
    return tuple(taken)


def _is_contiguous_by_token(op: Op, stride: Shape) -> bool:
    """Whether (B, h, N, d) is contiguous as (B, N, h, d), without which it is copied: the output or its gradient.

    Source: attention_backward.cu.
    """
    (B, h, N, d), (image, head, token, number) = op.entering, stride
    return is_contiguous((B, N, h, d), (image, token, head, number))


def _after_copy(nbytes: int, taken: Steps) -> Steps:
    """Steps after one internal allocation, which is freed last."""
    return (nbytes, *(step - 1 if isinstance(step, int) and step < 0 else step for step in taken))


def _flash_backward(op: Op) -> tuple[int, int]:
    """Flash attention's row sums, and the gradient of its queries in float32."""
    columns = -(-op.entering[-1] // FLASH_COLUMNS) * FLASH_COLUMNS
    sums = op.workspace_bytes // (1 + columns)
    return sums, op.workspace_bytes - sums


def _efficient_backward(op: Op, cuda: Cuda, batch: int) -> tuple[int, ...]:
    """What the memory-efficient kernel's backward of a batch takes besides its results."""
    B, h, N, e = op.entering
    d = op.leaving[-1]
    keys = op.macs // (B * h * N * (3 * d + 2 * e))  # five products of rows and keys
    taken = efficient_workspace(
        (batch, h, N, d),
        keys,
        e,
        _item_bytes(op),
        is_roomy=cuda.is_roomy,
        is_turing=cuda.compute_capability < AMPERE,
    )
    if not taken.product:
        return taken.sums, taken.tiles
    if h == 1:  # the transposed row sums are contiguous, and are not copied
        return taken.product, taken.sums, -1, taken.tiles
    return taken.product, taken.sums, taken.sums, -2, -1, taken.tiles


def flash_splits(heads: int, rows: int, keys: int, d: int, multiprocessors: int) -> int:
    """The number of parts that flash attention splits the keys into, if its blocks do not fill the device.

    Source: flash_attn/flash_api.cpp, num_splits_heuristic: the fewest parts that fill the last wave of blocks at least
    85 % as well as the best number of parts.

    Args:
        heads: number of heads of all images.
        rows: number of queries.
        keys: number of keys.
        d: the head dimension.
        multiprocessors: those of the device; each runs two blocks.
    """
    blocks = heads * -(-rows // FLASH_QUERY_BLOCK)
    places = 2 * multiprocessors
    if blocks >= FULL_ENOUGH * places:
        return 1
    block = next((size for most, size in FLASH_KEY_BLOCKS if d <= most), FLASH_KEY_BLOCK)
    key_blocks = -(-keys // block)
    tried = [
        splits
        for splits in range(1, min(MOST_SPLITS, places, key_blocks) + 1)
        if splits == 1 or -(-key_blocks // splits) != -(-key_blocks // (splits - 1))
    ]
    filled = {splits: blocks * splits / places / -(-blocks * splits // places) for splits in tried}
    return next(splits for splits in tried if filled[splits] >= AS_FULL_AS_BEST * max(filled.values()))


def _flash_dim(d: int) -> int:
    """The head dimension, rounded up as in flash attention."""
    step = 32 if d <= 128 else 64  # noqa: PLR2004
    return -(-d // step) * step


RULES: Mapping[str, Callable[[Op, Cuda], Steps]] = {
    "softmax_backward": _softmax_backward,
    "layer_norm": inside_layer_norm.forward,
    "layer_norm_backward": inside_layer_norm.backward,
    "batch_norm_training": inside_batch_norm.forward,
    "batch_norm_backward": inside_batch_norm.backward,
    "sum": _sum,
    "avg_pool": _sum,
    "fold": _fold,
    "index": _index,
    "gather": _gather,
    "max_pool": _max_pool,
    "max_pool_backward": _max_pool_backward,
    "upsample_linear": _resized_backward,
    "upsample_bicubic": _resized_backward,
    "conv2d": _convolution,
    "sdpa": _sdpa,
    "group_norm": inside_others.group_norm,
    "group_norm_backward": inside_others.group_norm_backward,
    "dropout": inside_others.dropout,
    "reduced": inside_others.reduced,
    "unfold": inside_others.unfold,
}
