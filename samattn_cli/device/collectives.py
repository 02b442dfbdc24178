"""How long collectives take between GPUs of a kind, by rings: what each sends over the slowest link, plus latency.

Source of the model: NCCL's own (src/graph/tuning.cc, ncclTopoTuneModel; torch has it in torch/_inductor/comm_analysis.py)
for the ring algorithm with the Simple protocol, and nccl-tests (doc/PERFORMANCE.md) for what each rank sends. Conventions:

- Of a tensor of S bytes, the whole one, each of n ranks sends 2(n-1)/n S in an all-reduce, (n-1)/n S in an all-gather and in a
  reduce-scatter, and S in a broadcast.
- Within a node the link is NVLink, where it connects all of the ranks, or else PCIe. Across nodes there are as many rings as a
  node has network cards, and each ring leaves a node once. So the bandwidth is that of all network cards of a node together,
  or that within a node if that is less.
- A collective takes 8.4 us, and for each step of the ring 3.4 us over NVLink, 5.7 over PCIe or 14 over the network.
- Bandwidths are a datasheet's, and NCCL does not reach them (370 of 450 GB/s on H100s, by that module of torch), so times are
  too short. NVLink SHARP and trees, which are faster for some sizes, are left out.
"""

from __future__ import annotations

from ..records import dataclass
from ..tape.communication import sent_bytes, steps
from ..units import MS_PER_SECOND
from .model import Interconnect

BASE_US = 8.4
STEP_US = {"NVLink": 3.4, "PCIe": 5.7, "network": 14.0}


@dataclass(frozen=True)
class Link:
    """What limits a ring.

    Attributes:
        name: "NVLink", "PCIe" or "network".
        bytes_per_s: the bytes that each GPU can send in a second.
        within: what connects the GPUs of a node.
        gpus: how many GPUs the ring has.
        nodes: how many nodes it passes.
    """

    name: str
    bytes_per_s: float
    within: str
    gpus: int
    nodes: int


def link_between(gpus: int, interconnect: Interconnect) -> Link | None:
    """What limits a ring of GPUs; None if a bandwidth is not known."""
    per_node = interconnect.gpus_per_node
    inside = _within(min(gpus, per_node), interconnect)
    if inside is None:
        return None
    name, rate = inside
    nodes = -(-gpus // per_node)
    if nodes == 1:
        return Link(name, rate, name, gpus, nodes)
    if interconnect.network_bytes_per_s is None:
        return None
    across = interconnect.network_bytes_per_s * per_node
    return Link("network" if across < rate else name, min(across, rate), name, gpus, nodes)


def _within(gpus: int, interconnect: Interconnect) -> tuple[str, float] | None:
    """What connects GPUs of one node."""
    nvlink, pcie = interconnect.nvlink_bytes_per_s, interconnect.pcie_bytes_per_s
    if nvlink is not None and gpus <= (interconnect.nvlink_gpus or interconnect.gpus_per_node):
        return "NVLink", nvlink
    return None if pcie is None else ("PCIe", pcie)


def collective_ms(kind: str, nbytes: int, link: Link) -> float:
    """How long a collective takes over a tensor of `nbytes`, the whole one."""
    if link.gpus == 1:
        return 0.0
    across = steps(kind, link.nodes)
    latency_us = (
        BASE_US + (steps(kind, link.gpus) - across) * STEP_US[link.within] + across * STEP_US["network"]
    )
    return latency_us / 1e3 + sent_bytes(kind, nbytes, link.gpus) / link.bytes_per_s * MS_PER_SECOND
