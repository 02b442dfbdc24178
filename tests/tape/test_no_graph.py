"""A forward that makes no graph, because no backward of it is run, records what the forward with the graph does."""

from itertools import count

import pytest

from samattn_cli import load_config
from samattn_cli.records import fields
from samattn_cli.tape.backward import backward
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.graph import NO_GRAPH
from samattn_cli.tape.ops import Op
from samattn_cli.tape.segments import ForwardPass
from samattn_cli.tape.storage import Storage

SMALL = {
    "sam_vit_b": ("image_size=128", "depth=3", "global_attn_indexes=[2]"),
    "sam_vit_l": (
        "image_size=128",
        "depth=2",
        "global_attn_indexes=[1]",
        "run.attention=sdpa",
        "run.autocast=bfloat16",
    ),
    "swin_t": ("image_size=224",),
    "qwen2_5_vl_vision": ("image_size=280", "depth=2", "global_attn_indexes=[1]"),
}


def ops_of(passed: ForwardPass) -> list[tuple[object, ...]]:
    """The operations of a pass, with numbers in place of storages."""
    numbers: dict[Storage, int] = {}
    left = count()

    def numbered(value: object) -> object:
        if isinstance(value, Storage):
            return numbers.setdefault(value, next(left)), value.nbytes
        return tuple(map(numbered, value)) if isinstance(value, tuple) else value

    keys = [field.name for field in fields(Op)]
    ops = [op for segment in passed.segments for op in segment.recording.ops]
    return [tuple(numbered(getattr(op, key)) for key in keys) for op in ops]


@pytest.mark.parametrize("name", SMALL)
def test_the_operations_are_the_same(name):
    config = load_config(name, SMALL[name])
    without, whole = forward(config), forward(config, makes_graph=True)
    assert without.segments[-1].outputs[0].grad_fn is NO_GRAPH is not whole.segments[-1].outputs[0].grad_fn
    assert ops_of(without) == ops_of(whole)


def test_a_backward_of_it_is_refused():
    config = load_config("sam_vit_b", SMALL["sam_vit_b"])
    with pytest.raises(RuntimeError, match="a backward needs a forward that made a graph"):
        backward(forward(config))
