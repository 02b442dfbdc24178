"""The rules by which torch's attention kernels take a call, as data, each with its source and the releases that have it.

A kernel takes a call unless one of its rules refuses it; the first that does gives the reason. Sources are functions of ATen's
sdp_utils.cpp and sdp_utils_cpp.h. tests/tape/test_sdpa.py compares the choices with those of torch's own code: 2.2.2, 2.6.0, 2.9.1,
2.11.0, 2.13.0 and 2.14.1 on the dry device, and 2.11.0 on an H200. Where a rule changed between two of these, the release is that
of the change in pytorch/pytorch, by its number: releases are cut from main, 2.12 on 15 April and 2.13 on 10 June 2026.

The order and cuDNN's rules are those of the CUDA wheels on PyPI, with the cuDNN that they bring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from ..encoder.torch_versions import OLDEST, Version
from ..records import dataclass
from ..units import KERNEL_ALIGNMENT_BYTES
from .sdpa_call import BATCHED_DIMS, Call, Kernel, Operand, Target
from .storage import Dim

FIRST: Version = (2, 2)
SECOND: Version = OLDEST
BLACKWELL_SINCE: Version = (2, 7)
"""Since then flash and memory-efficient attention run above compute capability 9.0 (#145602, January 2025)."""
PARTS_SINCE: Version = (2, 8)
"""Since then memory-efficient attention runs a batch that is too large to launch in parts (#154029, May 2025)."""
CUDNN_FIRST_SINCE: Version = (2, 11)
"""Since then torch tries cuDNN's attention before the others, on some devices: see `order`.

2.9 asks for it too (#162073), but its wheels were compiled with a cuDNN that is too old (#165801); 2.10 asks for a newer cuDNN
(#171627) than its wheels bring. So a torch 2.9 or 2.10 that was compiled with or finds a newer cuDNN does as 2.11.
"""
CUDNN_DROPOUT_SINCE: Version = (2, 12)
"""Since then cuDNN refuses dropout between its steps (#174245, 26 February 2026, after 2.11 was cut)."""
CUDNN_BATCH_SINCE: Version = (2, 13)
"""Since then cuDNN refuses a batch that it cannot run (#180718, 20 April 2026). Before, torch chooses it, and the run fails."""
OFFSETS_SINCE: Version = (2, 13)
"""Since then memory-efficient attention refuses operands that start at an address that is not aligned (#184258, 18 May 2026)."""
GROUPS_SINCE: Version = (2, 14)
"""Since then one head of keys stands for all without enable_gqa, and memory-efficient attention takes groups of heads."""
CUDNN_WIDE_SINCE: Version = (2, 14)
"""Since then cuDNN takes wide heads on compute capability 10 as on 9.0, and refuses backward of some, and one query there."""
UNBATCHED_SINCE: Version = (2, 14)
"""Since then operands of three dimensions get a batch of 1, so that a fused kernel can take them."""
GRID_SINCE: Version = (2, 15)
"""Since then flash refuses more images or heads than CUDA can launch, which torch before chooses it for, and the run fails."""

CUDNN_FIRST = frozenset({9, 10})
"""Compute capabilities, without their minor number, for which torch tries cuDNN first."""


BLACKWELL = 10
MOST_FLASH_DIM = 256
MOST_FLASH_DIM_TRAINED, MOST_FLASH_DIM_DROPPED = 192, 224
MOST_CUDNN_DIM = 128
MOST_CUDNN_DIM_ROOMY = 256
CUDNN_DIMS_BLACKWELL = (192, 128)
CUDNN_BACKWARD_DIMS = (CUDNN_DIMS_BLACKWELL, (256, 256))
CUDNN_DIM_STEP = 8
CUDNN_DROPOUT_STEPS = 16
MOST_BLOCKS = 65_535
"""The most blocks of a grid in y and in z (CUDA C++ Programming Guide, Technical Specifications per Compute Capability)."""
ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

Refusal = Callable[[Call, Target], str]
"""Why a kernel does not take a call, in words; "" if it does."""

FUSED: tuple[Kernel, ...] = ("cudnn", "flash", "efficient")


@dataclass(frozen=True)
class Rule:
    """A rule of some kernels.

    Attributes:
        kernels: that have it.
        refusal: why they do not take a call.
        source: the function of ATen that has it.
        since: the first version of torch that has it.
        until: the first version of torch that does not have it any more.
    """

    kernels: tuple[Kernel, ...]
    refusal: Refusal
    source: str
    since: Version = FIRST
    until: Version | None = None

    def is_of(self, torch: Version) -> bool:
        """Whether a version of torch has the rule."""
        return self.since <= torch and (self.until is None or torch < self.until)


def order(target: Target) -> tuple[Kernel, ...]:
    """The kernels in the order in which torch tries them, up to the one that takes every call (math).

    Source: check_prefer_cudnn_attention; sDPPriorityOrder in Context.h.
    """
    first = target.has_cudnn and target.torch >= CUDNN_FIRST_SINCE and target.capability[0] in CUDNN_FIRST
    return FUSED if first else ("flash", "efficient")


# -- of all fused kernels --------------------------------------------------------------------------------------------------


def _dims(call: Call, _: Target) -> str:
    if call.has_dims(BATCHED_DIMS):
        return ""
    found = _each(str(len(operand.shape)) for operand in call.operands)
    return f"fused kernels take queries, keys and values of {BATCHED_DIMS} dimensions, not {found}"


def _empty(call: Call, _: Target) -> str:
    empty = call.q.shape[-2] == 0 or call.k.shape[-2] == 0
    return "fused kernels take at least one query and one key" if empty else ""


def _strides(call: Call, _: Target) -> str:
    if call.mask is not None and call.mask.stride[-1] != 1:
        return f"fused kernels need a mask with a last stride of 1, not {call.mask.stride[-1]}"
    if all(operand.stride[-1] == 1 for operand in call.operands):
        return ""
    found = _each(str(operand.stride[-1]) for operand in call.operands)
    return f"fused kernels need queries, keys and values with a last stride of 1, not {found}"


def _strides_but_of_one(call: Call, target: Target) -> str:
    """The stride of heads of size 1 does not matter."""
    if call.q.shape[-1] != 1:
        return _strides(call, target)
    q, k, v = map(_dense, call.operands)
    return _strides(Call(q, k, v, call.mask), target)


def _dense(operand: Operand) -> Operand:
    return Operand(operand.shape, (*operand.stride[:-1], 1), operand.dtype)


def _batches(call: Call, _: Target) -> str:
    q, k, v = (operand.shape[0] for operand in call.operands)
    return "" if q == k == v else f"fused kernels do not broadcast a batch: {q} / {k} / {v}"


def _heads(call: Call, _: Target) -> str:
    q, k, v = (operand.shape[1] for operand in call.operands)
    if call.enable_gqa:
        return _grouped(q, k) if k == v else f"fused kernels need as many keys as values, not {k} / {v} heads"
    broadcasts = q > 0 and k == 1 and v == 1
    if q == k == v or broadcasts:
        return ""
    return f"without enable_gqa, fused kernels need as many heads of keys and values as of queries: {q} / {k} / {v}"


def _heads_without_broadcast(call: Call, target: Target) -> str:
    """One head of keys and values does not stand for all."""
    q, k, v = (operand.shape[1] for operand in call.operands)
    if call.enable_gqa or q == k == v:
        return _heads(call, target)
    return f"fused kernels need as many heads of keys and values as of queries: {q} / {k} / {v}"


def _no_groups(call: Call, _: Target) -> str:
    q, k, v = (operand.shape[1] for operand in call.operands)
    return "" if q == k == v else f"memory-efficient does not take groups of heads: {q} / {k} / {v}"


def _heads_of_cudnn(call: Call, target: Target) -> str:
    """Values may have another number of heads than keys."""
    if not call.enable_gqa:
        return _heads(call, target)
    q, k, v = (operand.shape[1] for operand in call.operands)
    return _grouped(q, k) or _grouped(q, v)


def _heads_of_cudnn_without_broadcast(call: Call, target: Target) -> str:
    """One head of keys and values does not stand for all."""
    return (_heads_of_cudnn if call.enable_gqa else _heads_without_broadcast)(call, target)


def _grouped(queries: Dim, keys: Dim) -> str:
    whole = keys != 0 and queries % keys == 0
    return "" if whole else f"{queries} heads of queries are not a multiple of {keys} of keys and values"


def _types(name: str, *, single: bool) -> Refusal:
    """Half precision, and float32 for some; bfloat16 from compute capability 8.0 on."""

    def refusal(call: Call, target: Target) -> str:
        halves = ("float16", "bfloat16") if target.capability >= (8, 0) else ("float16",)
        allowed = (*halves, "float32") if single else halves
        found = _each(operand.dtype for operand in call.operands)
        if found in allowed:
            return ""
        where = "" if target.capability >= (8, 0) else f" on compute capability {target.number}"
        return f"{name} takes {' and '.join(allowed)}{where}, not {found}"

    return refusal


def _capability(name: str, lowest: Version, highest: Version) -> Refusal:
    def refusal(_: Call, target: Target) -> str:
        if lowest <= target.capability <= highest:
            return ""
        ends = " to ".join(f"{major}.{minor}" for major, minor in (lowest, highest))
        return f"{name} runs on compute capability {ends}, not {target.number}"

    return refusal


def _each(found: Iterable[str]) -> str:
    """What queries, keys and values have, each once if they have the same."""
    q, k, v = found
    return q if q == k == v else f"{q} / {k} / {v}"


def _grid(name: str) -> Refusal:
    """A kernel has its batch in one dimension of the grid, and its heads in another."""

    def refusal(call: Call, _: Target) -> str:
        B, h = call.q.shape[:2]
        if B > MOST_BLOCKS:
            return f"a batch of {B:,} is above {MOST_BLOCKS:,}, {name}'s largest"
        return f"{h:,} heads are more than {MOST_BLOCKS:,}, {name}'s most" if h > MOST_BLOCKS else ""

    return refusal


# -- flash -----------------------------------------------------------------------------------------------------------------


def _mask(call: Call, _: Target) -> str:
    if call.mask is None:
        return ""
    return f"flash takes no mask, and there is a {'bool' if call.mask.dtype == 'bool' else 'float'} mask"


def _flash_dim(call: Call, _: Target) -> str:
    q, k, v = (operand.shape[-1] for operand in call.operands)
    if not q == k == v:
        return f"flash needs one head size of queries, keys and values, not {q} / {k} / {v}"
    return f"head size {q} is above {MOST_FLASH_DIM}, flash's largest" if q > MOST_FLASH_DIM else ""


def _flash_trained_dim(call: Call, target: Target) -> str:
    """Backward of large heads needs more shared memory than a block has on some devices."""
    small = (8, 6) <= target.capability <= (8, 9) or (12, 0) <= target.capability <= (12, 1)
    d = call.q.shape[-1]
    if not (small and call.needs_grad) or d <= MOST_FLASH_DIM_TRAINED:
        return ""
    if target.torch >= SECOND and call.dropout == 0 and d > MOST_FLASH_DIM_DROPPED:
        return ""
    return f"flash has no backward for head size {d} on compute capability {target.number}"


def _causal(call: Call, _: Target) -> str:
    N, M = call.q.shape[-2], call.k.shape[-2]
    return (
        f"flash takes is_causal for as many keys as queries, not {N} / {M}"
        if call.is_causal and N != M
        else ""
    )


# -- memory-efficient ------------------------------------------------------------------------------------------------------


def alignment(operand: Operand, target: Target) -> int:
    """The numbers of which head sizes of memory-efficient attention must be a multiple; source: minimum_gemm_alignment."""
    if target.capability < (7, 0) or (target.capability < (8, 0) and not operand.is_half):
        return 1
    return KERNEL_ALIGNMENT_BYTES // (2 if operand.is_half else 4)


def _efficient_dim(call: Call, target: Target) -> str:
    q, k, v = (operand.shape[-1] for operand in call.operands)
    step = alignment(call.q, target)
    if q != k:
        return f"memory-efficient needs one head size of queries and keys, not {q} / {k}"
    odd = next((d for d in (q, v) if d == 0 or d % step != 0), None)
    if odd is None:
        return ""
    return f"head size {odd} is not a multiple of {step}, as memory-efficient needs in {call.q.dtype}"


def _offsets(call: Call, target: Target) -> str:
    """Whether the first element of an operand lies at an aligned address."""
    if target.capability < (8, 0):
        return ""
    step = alignment(call.q, target) * ITEM_BYTES[call.q.dtype]
    for operand in call.operands:
        offset = operand.offset * ITEM_BYTES[operand.dtype]
        if offset % step and math.prod(operand.shape) != 0:
            return (
                f"memory-efficient needs operands that start at a multiple of {step} bytes, not at {offset}"
            )
    return ""


# -- cuDNN -----------------------------------------------------------------------------------------------------------------


def _cudnn_mask(call: Call, _: Target) -> str:
    mask = call.mask
    if mask is None:
        return ""
    if mask.needs_grad:
        return "cuDNN has no gradient of a mask"
    (B, h, N, _d), M = call.q.shape, call.k.shape[2]
    against = {2: (N, M), 4: (B, h, N, M)}.get(len(mask.shape))
    fits = against is not None and all(
        size in (whole, 1) for size, whole in zip(mask.shape, against, strict=True)
    )
    return "" if fits else f"cuDNN takes masks that broadcast to ({B}, {h}, {N}, {M}), not {mask.shape}"


def _deterministic(call: Call, _: Target) -> str:
    return "cuDNN is not deterministic" if call.is_deterministic else ""


def _cudnn_dropout(call: Call, _: Target) -> str:
    if call.dropout * CUDNN_DROPOUT_STEPS % 1 == 0:
        return ""
    return f"cuDNN takes dropout in steps of 1/{CUDNN_DROPOUT_STEPS}, not {call.dropout}"


def _is_roomy(target: Target) -> bool:
    return target.capability == (9, 0) or target.capability[0] == BLACKWELL


def _cudnn_dim(call: Call, target: Target) -> str:
    d, e = call.q.shape[-1], call.v.shape[-1]
    most = MOST_CUDNN_DIM_ROOMY if _is_roomy(target) else MOST_CUDNN_DIM
    if target.capability[0] == BLACKWELL and target.torch < CUDNN_WIDE_SINCE:
        most = d if (d, e) == CUDNN_DIMS_BLACKWELL else MOST_CUDNN_DIM
    for size in (d, e):
        if size > most:
            return f"head size {size} is above {most}, cuDNN's largest"
        if size % CUDNN_DIM_STEP != 0:
            return f"head size {size} is not a multiple of {CUDNN_DIM_STEP}, as cuDNN needs"
    return ""


def _cudnn_trained_dim(call: Call, target: Target) -> str:
    d, e = call.q.shape[-1], call.v.shape[-1]
    if not (call.needs_grad and _is_roomy(target)) or (d <= MOST_CUDNN_DIM and e <= MOST_CUDNN_DIM):
        return ""
    if any(d == queries and e == values for queries, values in CUDNN_BACKWARD_DIMS):
        return ""
    return f"cuDNN has no backward for head size {d if d == e else f'{d} / {e}'}"


def _one_key(call: Call, _: Target) -> str:
    return "cuDNN needs more than one key" if call.k.shape[2] == 1 else ""


def _one_query(call: Call, _: Target) -> str:
    return "cuDNN needs more than one query with dropout" if call.dropout and call.q.shape[2] == 1 else ""


def _one_query_on_blackwell(call: Call, target: Target) -> str:
    if target.capability[0] != BLACKWELL or call.q.shape[2] != 1:
        return ""
    return f"cuDNN needs more than one query on compute capability {target.number}"


FLASH_HARDWARE = "check_flash_attention_hardware_support"
EFFICIENT_HARDWARE = "check_mem_efficient_hardware_support"

RULES: tuple[Rule, ...] = (
    Rule(("flash",), _capability("flash", (8, 0), (12, 1)), FLASH_HARDWARE, since=BLACKWELL_SINCE),
    Rule(("flash",), _capability("flash", (8, 0), (9, 0)), FLASH_HARDWARE, until=BLACKWELL_SINCE),
    Rule(
        ("efficient",),
        _capability("memory-efficient", (5, 0), (12, 1)),
        EFFICIENT_HARDWARE,
        since=BLACKWELL_SINCE,
    ),
    Rule(
        ("efficient",),
        _capability("memory-efficient", (5, 0), (9, 0)),
        EFFICIENT_HARDWARE,
        until=BLACKWELL_SINCE,
    ),
    Rule(FUSED, _dims, "check_tensor_shapes"),
    Rule(FUSED, _empty, "check_nonzero_sequence_lengths_dense"),
    Rule(("flash",), _types("flash", single=False), "check_dtypes_flash_attention"),
    Rule(("cudnn",), _types("cuDNN", single=False), "check_dtypes_low_precision"),
    Rule(("efficient",), _types("memory-efficient", single=True), "can_use_mem_efficient_attention"),
    Rule(("flash",), _mask, "check_for_attn_mask"),
    Rule(("cudnn",), _cudnn_mask, "check_attn_mask_shape"),
    Rule(("cudnn",), _strides_but_of_one, "check_last_dim_stride_equals_1_dense"),
    Rule(("flash",), _strides_but_of_one, "check_last_dim_stride_equals_1_dense", since=SECOND),
    Rule(("flash",), _strides, "check_last_dim_stride_equals_1_dense", until=SECOND),
    Rule(("efficient",), _strides, "check_last_dim_stride_equals_1_dense"),
    Rule(FUSED, _batches, "check_batch_size_and_num_heads_dense"),
    Rule(("flash", "efficient"), _heads, "check_batch_size_and_num_heads_dense", since=GROUPS_SINCE),
    Rule(("flash",), _heads_without_broadcast, "check_batch_size_and_num_heads_dense", until=GROUPS_SINCE),
    Rule(("efficient",), _no_groups, "check_batch_size_and_num_heads_dense", until=GROUPS_SINCE),
    Rule(("cudnn",), _heads_of_cudnn, "check_batch_size_and_num_heads_dense", since=GROUPS_SINCE),
    Rule(
        ("cudnn",),
        _heads_of_cudnn_without_broadcast,
        "check_batch_size_and_num_heads_dense",
        until=GROUPS_SINCE,
    ),
    Rule(("flash",), _grid("flash"), "not known: seen on the dry device", since=GRID_SINCE),
    Rule(("flash",), _flash_dim, "check_head_dim_size_flash"),
    Rule(
        ("flash",), _flash_trained_dim, "check_requires_grad_and_head_dim_gt192_constraints_on_sm86_89_or_120"
    ),
    Rule(("flash",), _causal, "check_flash_causal_non_square_seqlens"),
    Rule(("efficient",), _efficient_dim, "check_head_dim_size_mem_efficient"),
    Rule(("efficient",), _offsets, "check_data_ptr_alignment_mem_efficient", since=OFFSETS_SINCE),
    Rule(("cudnn",), _deterministic, "check_cudnn_deterministic"),
    Rule(("cudnn",), _cudnn_dropout, "check_cudnn_dropout", since=CUDNN_DROPOUT_SINCE),
    Rule(("cudnn",), _grid("cuDNN"), "check_cudnn_tensor_shapes", since=CUDNN_BATCH_SINCE),
    Rule(("cudnn",), _cudnn_dim, "check_cudnn_tensor_shapes"),
    Rule(("cudnn",), _cudnn_trained_dim, "check_cudnn_d256_bprop_head_dim", since=CUDNN_WIDE_SINCE),
    Rule(("cudnn",), _one_key, "check_cudnn_tensor_shapes"),
    Rule(("cudnn",), _one_query, "check_cudnn_tensor_shapes"),
    Rule(("cudnn",), _one_query_on_blackwell, "check_cudnn_tensor_shapes", since=CUDNN_WIDE_SINCE),
)
