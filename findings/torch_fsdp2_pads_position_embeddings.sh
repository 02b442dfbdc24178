#!/usr/bin/env bash
# FSDP2 gathers a position embedding of 12 MiB into 96 MiB on 8 ranks and 768 MiB on 64, and rank 0 keeps all of it
#
# Who meets it: anyone who trains a SAM or ViT encoder with torch's fully_shard: their position embedding is (1, 64, 64, 768),
#   (1, 14, 14, 768) or (1, 197, 768), so dimension 0 has one entry. A plan that divides the parameters by the ranks is wrong.
# Versions: torch 2.14.1.
# Guess: more ranks never take more memory on any of them. A parameter is flattened and split evenly, as FSDP1 did, so that
#   padding is at most one number for each rank.
# Seen: on 8 ranks the gathered parameter has a storage of 96 MiB, on 64 ranks of 768 MiB. Rank 0 has the whole parameter as
#   its shard, and so all of its gradient and of the optimizer's state; each other rank allocates as much for its shard, and has none of it.
#   With shard_placement_fn that splits dimension 3 the gathered parameter has 12 MiB, and a shard 1.5 MiB. Dimension 3 must be
#   divisible by the ranks. With ignored_params it has 12 MiB on each rank, and torch does not reduce its gradient.
# Why: FSDP2 splits dimension 0 in equal chunks, and pads each to the size of the first. With one entry, each of n ranks gets
#   a chunk as large as the whole parameter.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.14.1 numpy==2.4.6

cat >shard.py <<'PY'
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

MIB = 2**20
ranks, rank, way = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 64, 64, 768))
        self.proj = nn.Linear(768, 768)


dist.init_process_group("fake", rank=rank, world_size=ranks, store=FakeStore())
model = Encoder()
options = {}
if way == "dimension 3":
    options["shard_placement_fn"] = lambda weight: Shard(3) if weight.ndim == 4 else Shard(0)
if way == "ignored":
    options["ignored_params"] = {model.pos_embed}
fully_shard(model, mesh=init_device_mesh("cpu", (ranks,)), **options)
shard = model.pos_embed.to_local() if way != "ignored" else model.pos_embed
held = shard.numel() * 4, shard.untyped_storage().nbytes()
model.unshard()
gathered = model.pos_embed.untyped_storage().nbytes()
print(f"{ranks} ranks, {way}: rank {rank} holds {held[0] / MIB:g} of {held[1] / MIB:g} MiB, gathers {gathered / MIB:g} MiB")
PY
for arguments in "8 0 default" "8 1 default" "64 0 default" "64 1 default" "8 0 dimension 3" "64 1 dimension 3" "64 0 ignored"; do
    read -r ranks rank way <<<"$arguments"
    venv/bin/python shard.py "$ranks" "$rank" "$way" 2>>log
done >seen

cat >stated <<'STATED'
8 ranks, default: rank 0 holds 12 of 12 MiB, gathers 96 MiB
8 ranks, default: rank 1 holds 0 of 12 MiB, gathers 96 MiB
64 ranks, default: rank 0 holds 12 of 12 MiB, gathers 768 MiB
64 ranks, default: rank 1 holds 0 of 12 MiB, gathers 768 MiB
8 ranks, dimension 3: rank 0 holds 1.5 of 1.5 MiB, gathers 12 MiB
64 ranks, dimension 3: rank 1 holds 0.1875 of 0.1875 MiB, gathers 12 MiB
64 ranks, ignored: rank 0 holds 12 of 12 MiB, gathers 12 MiB
STATED
diff stated seen && echo "as stated"
