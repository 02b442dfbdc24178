"""How long collectives take, by rings."""

from __future__ import annotations

import pytest

from samattn_cli.device.collectives import collective_ms, link_between
from samattn_cli.device.load import load_device
from samattn_cli.device.model import Interconnect

H100 = load_device("h100").interconnect


def test_the_link_is_nvlink_pcie_or_the_network():
    assert [link_between(gpus, H100).name for gpus in (2, 8, 16, 64)] == ["NVLink"] * 2 + ["network"] * 2
    assert [link_between(gpus, H100).bytes_per_s for gpus in (8, 16)] == [450e9, 400e9]  # 8 cards of 50 GB/s
    bridged = load_device("rtx_3090").interconnect
    assert [link_between(gpus, bridged).name for gpus in (2, 4)] == ["NVLink", "PCIe"]
    fast = Interconnect(nvlink_bytes_per_s=300e9, network_bytes_per_s=50e9)
    assert link_between(16, fast).name == "NVLink"


@pytest.mark.parametrize(("name", "gpus"), [("l40s", 16), ("jetson_orin", 2), ("cpu", 2)])
def test_an_unknown_bandwidth_gives_no_time(name, gpus):
    assert link_between(gpus, load_device(name).interconnect) is None


def test_the_time_is_what_is_sent_over_the_bandwidth_plus_latency():
    """8.4 us, and 14 steps of 3.4 us over NVLink: 56 us; then 7/4 of 450 MB at 450 GB/s: 1.75 ms."""
    ms = collective_ms("all_reduce", 450_000_000, link_between(8, H100))
    assert ms == pytest.approx(0.056 + 1.75)
    two_nodes = collective_ms("all_gather", 16_000, link_between(16, H100))
    assert two_nodes == pytest.approx((8.4 + 14 * 3.4 + 14.0) / 1e3 + 15_000 / 400e9 * 1e3)
    assert collective_ms("all_reduce", 450_000_000, link_between(1, H100)) == 0
