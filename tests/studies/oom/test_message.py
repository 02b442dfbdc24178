"""torch's out-of-memory error in each form that it has been printed, and texts that are none."""

from dataclasses import replace

import pytest

from samattn_cli.errors import UsageError
from samattn_cli.studies.oom.message import message_of
from samattn_cli.studies.oom.places import has_step

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TORCH_1_3 = "(GPU 0; 10.76 GiB total capacity; 643.57 MiB already allocated; 8.20 GiB free; 32.43 MiB cached)"
TORCH_1_13 = (
    "(GPU 1; 9.77 GiB total capacity; 7.76 GiB already allocated; 512.00 KiB free; 7.95 GiB allowed; "
    "7.90 GiB reserved in total by PyTorch) If reserved memory is >> allocated memory try setting max_split_size_mb"
)
TORCH_2_1 = (
    ". GPU 0 has a total capacty of 4.00 GiB of which 0 bytes is free. Process 4242 has 1.25 GiB memory in use. "
    "Process 77 has 512.00 MiB memory in use. Including non-PyTorch memory, this process has 3.44 GiB memory in use. "
    "Of the allocated memory 2.58 GiB is allocated by PyTorch, with 12.00 MiB allocated in private pools (e.g., CUDA "
    "Graphs), and 1.90 MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try"
)
MORE_FREE_THAN_THERE_IS = (
    "CUDA out of memory. Tried to allocate 1.00 GiB (GPU 0; 8.00 GiB total capacity; 1.00 GiB already allocated; 9.00 GiB "
    "free; 2.00 GiB reserved in total by PyTorch)"
)


def texts(text: str) -> dict[str, str]:
    message = message_of(text)
    names = (
        "tried",
        "capacity",
        "allocated",
        "free",
        "reserved",
        "unallocated",
        "in_use",
        "allowed",
        "private_pools",
    )
    figures = {name: getattr(message, name) for name in names}
    return {name: printed.text for name, printed in figures.items() if printed is not None}


def test_the_form_of_torch_1_0_to_1_3():
    found = texts(f"RuntimeError: CUDA out of memory. Tried to allocate 8.13 GiB {TORCH_1_3}")
    assert found == {
        "tried": "8.13 GiB",
        "capacity": "10.76 GiB",
        "allocated": "643.57 MiB",
        "free": "8.20 GiB",
        "unallocated": "32.43 MiB",
    }


def test_the_form_of_torch_1_4_to_2_0_on_the_second_gpu():
    text = f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB {TORCH_1_13}"
    assert texts(text) == {
        "tried": "1.50 GiB",
        "capacity": "9.77 GiB",
        "allocated": "7.76 GiB",
        "free": "512.00 KiB",
        "reserved": "7.90 GiB",
        "allowed": "7.95 GiB",
    }
    assert message_of(text).gpu == 1


def test_the_form_of_torch_2_1_on_with_processes_and_ranks():
    text = f"[rank0]: torch.OutOfMemoryError: HIP out of memory. Tried to allocate 32.00 MiB{TORCH_2_1}"
    message = message_of(text)
    assert texts(text) == {
        "tried": "32.00 MiB",
        "capacity": "4.00 GiB",
        "allocated": "2.58 GiB",
        "free": "0 bytes",
        "unallocated": "1.90 MiB",
        "in_use": "3.44 GiB",
        "private_pools": "12.00 MiB",
    }
    assert message.device == "HIP"
    assert [other.text for other in message.others] == ["1.25 GiB", "512.00 MiB"]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("1.50 GiB", 1605244027, 1615981445),  # 1.495 and 1.505 times 2^30
        ("1024.00 KiB", MIB - 5, MIB + 5),
        ("512 bytes", 512, 512),
        ("352.00 MiB", 352 * MIB - 5242, 352 * MIB + 5242),
    ],
)
def test_two_decimals_are_an_interval_of_bytes(text: str, low: int, high: int):
    tried = message_of(f"CUDA out of memory. Tried to allocate {text}.").tried
    assert (tried.low_bytes, tried.high_bytes) == (low, high)


def test_the_beginning_may_be_missing():
    assert message_of("Tried to allocate 1.50 GiB").tried.text == "1.50 GiB"


def test_the_same_error_of_several_processes_is_one():
    text = "\n".join(
        f"[rank{rank}]: CUDA out of memory. Tried to allocate 2.00 GiB. GPU {rank} has a total capacity of 8.00 GiB of which "
        f"{rank + 1}.00 MiB is free. Of the allocated memory {rank + 5}.00 GiB is allocated by PyTorch"
        for rank in (0, 1)
    )
    message = message_of(text)
    assert (message.gpu, message.ranks) == (0, 2)


def test_a_traceback_ends_in_the_innermost_call():
    text = (
        "Traceback (most recent call last):\n"
        '  File "train.py", line 7, in <module>\n'
        "    model(x)\n"
        '  File "/x/segment_anything/modeling/image_encoder.py", line 236, in forward\n'
        "    attn = attn.softmax(dim=-1)\n"
        "RuntimeError: CUDA out of memory. Tried to allocate 1.50 GiB (GPU 0; ...)"
    )
    last = message_of(text).frames[-1]
    assert (last.line, last.function, last.code) == (236, "forward", "attn = attn.softmax(dim=-1)")
    coloured = (
        text.replace('"/x', '\x1b[35m"/x')
        .replace("236", "\x1b[35m236\x1b[0m")
        .replace("CUDA", "\x1b[1;35mCUDA")
    )
    assert message_of(coloured) == message_of(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "no-message"),
        ("it works on my machine", "no-message"),
        ("CUDA out of memory.", "no-figure"),
        ("torch.OutOfMemoryError: CUDA out of memory", "no-figure"),
        ("RuntimeError: CUDA error: out of memory", "no-figure"),
        (
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
            "no-figure",
        ),
        ("cuda runtime error (2) : out of memory at THCStorage.cu:58", "no-figure"),
        (
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: you tried to allocate 64 bytes",
            "other-program",
        ),
        ("jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory", "other-program"),
        ("MPS backend out of memory (MPS allocated: 18.00 GB). Tried to allocate 1.00 GB", "other-program"),
        ("|  0  N/A  22 MiB | NVIDIA-SMI 535.1 | 1234MiB / 24576MiB |", "other-program"),
        ("ResourceExhaustedError: OOM when allocating tensor with shape[8,512]", "other-program"),
        ("CUDA out of memory. Tried to allocate more than 1EB memory.", "impossible-figure"),
        ("CUDA out of memory. Tried to allocate 0 bytes (GPU 0)", "impossible-figure"),
        ("CUDA out of memory. Tried to allocate 2000000000.00 GiB", "impossible-figure"),
        (MORE_FREE_THAN_THERE_IS, "impossible-figure"),
        (
            "CUDA out of memory. Tried to allocate 1.00 GiB (GPU 0)\nCUDA out of memory. Tried to allocate 2.00 GiB (GPU 0)",
            "several-messages",
        ),
    ],
)
def test_what_is_refused(text: str, code: str):
    with pytest.raises(UsageError) as error:
        message_of(text)
    assert error.value.codes == (code,)


ASYNC = """torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)
Currently allocated     : 7.76 GiB
Requested               : 351.56 MiB
Device limit            : 9.77 GiB
Free (according to CUDA): 1.20 GiB
PyTorch limit (set by user-supplied memory fraction)
                        : 17179869184.00 GiB"""


def test_cuda_malloc_async_prints_the_request_itself():
    """Source: c10/cuda/CUDAMallocAsyncAllocator.cpp; without a limit it prints 2 to the power of 64 bytes."""
    message = message_of(ASYNC)
    figures = message.tried, message.allocated, message.capacity, message.free
    assert [each.text for each in figures if each] == ["351.56 MiB", "7.76 GiB", "9.77 GiB", "1.20 GiB"]
    assert message.tried.is_request
    assert message.allowed is None
    assert not has_step(replace(message.tried, low_bytes=352 << 20, high_bytes=352 << 20))
    limited = message_of(ASYNC.replace("17179869184.00", "8.00"))
    assert limited.allowed is not None
    assert limited.allowed.text == "8.00 GiB"


LOGGED = """2026-01-01 12:00:00,123 ERROR [worker 7] Traceback (most recent call last):
2026-01-01 12:00:00,124 ERROR [worker 7]   File "a.py", line 234, in forward
2026-01-01 12:00:01,001 ERROR [worker 7]     attn = attn.softmax(dim=-1)
2026-01-01 12:00:01,001 ERROR [worker 7] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 768.00 MiB (GPU 0;
2026-01-01 12:00:01,001 ERROR [worker 7] 9.77 GiB total capacity; 2.00 GiB already allocated)"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_traceback_in_a_log_with_a_time_before_each_line(ends: str):
    message = message_of(LOGGED.replace("\n", ends))
    assert [(each.line, each.function, each.code) for each in message.frames] == [
        (234, "forward", "attn = attn.softmax(dim=-1)")
    ]
    assert message.allocated is not None
    assert message.allocated.text == "2.00 GiB"
