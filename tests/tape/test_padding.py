"""Which weights FSDP2 pads: against torch's own FSDP2 over its fake process group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from samattn_cli import load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.stack.implementation import build_implementation
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.module_order import in_module_order, registered_in
from samattn_cli.tape.padding import Padded, padded
from tests.support.torch_2_6 import FSDP_ON_CPU

MIB = 1 << 20


@pytest.fixture
def group() -> Iterator[Any]:
    """Makes rank 0 of so many ranks."""

    def join(ranks: int) -> Any:
        dist.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
        return init_device_mesh("cpu", (ranks,))

    yield join
    dist.destroy_process_group()


def weights(preset: str) -> list[tuple[str, tuple[int, ...]]]:
    segments = forward(load_config(preset)).segments
    shapes = {
        segment.qualified(weight.name): weight.shape
        for segment in segments
        for weight in segment.recording.parameters
    }
    in_order = in_module_order(
        shapes, registered_in(segments), moved=True
    )  # a module's own after its submodules
    return [(name, shapes[name]) for name in in_order]


@pytest.mark.parametrize("preset", [pytest.param(each, marks=pytest.mark.exhaustive) for each in presets()])
def test_the_padding_of_every_preset_is_that_of_torch(preset, group) -> None:
    """All weights of the model in one group, which changes no padding."""
    ranks = 8
    model = build_implementation(load_config(preset), "meta")
    fully_shard(model, mesh=group(ranks))
    (of_torch,) = model._get_fsdp_state()._fsdp_param_groups
    gathered = [param.padded_sharded_param_size.numel() * ranks for param in of_torch.fsdp_params]
    derived = [Padded(name, shape, ranks, 1).gathered_bytes for name, shape in weights(preset)]
    assert derived == gathered


def test_the_position_embedding_of_sam_is_padded_to_12_mib_for_each_rank() -> None:
    """(1, 64, 64, 768): the whole of it is the shard of the first rank, and 64 ranks gather 768 MiB."""
    found = {ranks: padded(weights("sam_vit_b"), ranks, 4) for ranks in (2, 8, 64)}
    largest = {ranks: weights_[0] for ranks, weights_ in found.items()}
    assert {weight.name for weight in largest.values()} == {"pos_embed"}
    assert {ranks: weight.gathered_bytes // MIB for ranks, weight in largest.items()} == {
        2: 24,
        8: 96,
        64: 768,
    }
    assert {weight.shard_bytes for weight in largest.values()} == {12 * MIB}
    assert largest[64].even_dimension == 3
    assert padded(weights("sam_vit_b"), 1, 4) == ()


@FSDP_ON_CPU
@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_another_dimension_needs_no_padding(dimension, group) -> None:
    model = nn.Module()
    model.positions = nn.Parameter(torch.zeros(1, 6, 8))
    fully_shard(model, mesh=group(2), shard_placement_fn=lambda _: Shard(dimension))
    model.unshard()
    weight = Padded("positions", (1, 6, 8), 2, 4)
    assert weight.even_dimension == 2
    expected = weight.whole_bytes if dimension else weight.gathered_bytes
    assert model.positions.untyped_storage().nbytes() == expected == (192 if dimension else 384)


def test_a_dimension_that_the_ranks_do_not_divide_is_refused_by_torch(group) -> None:
    model = nn.Module()
    model.positions = nn.Parameter(torch.zeros(1, 6, 7))
    with pytest.raises(NotImplementedError, match="uneven sharding"):
        fully_shard(model, mesh=group(4), shard_placement_fn=lambda _: Shard(2))
    assert Padded("positions", (1, 6, 7), 4, 4).even_dimension is None
