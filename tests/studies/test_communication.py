"""What `samattn analyze` says that GPUs send each other, and how long that takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from samattn_cli import analyze, load_config, load_device
from samattn_cli.device.collectives import collective_ms, link_between
from samattn_cli.render.pages.communication import sent_table
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.points import figures_at
from samattn_cli.studies.readers import FIGURES

SMALL = ["image_size=64", "depth=2", "run.mode=training"]


def of(*overrides, device=None):
    return analyze(load_config("vit_b", [*SMALL, *overrides]), device=device, verify=False)


def test_one_gpu_and_inference_send_nothing():
    assert of().communication is None
    assert of().totals.communication_bytes == 0
    assert of("run.parallel=ddp").communication is None


def test_what_is_sent_by_kind_adds_up_and_is_a_figure():
    report = of("run.parallel=zero1", "run.gpus=4")
    sent = report.communication
    reduced, broadcast = sent.collectives
    weights = 4 * report.totals.params
    assert (reduced.kind, reduced.bytes, reduced.sent_bytes) == ("all_reduce", weights, weights * 6 // 4)
    assert (broadcast.kind, broadcast.bytes, broadcast.sent_bytes) == ("broadcast", weights, weights)
    assert sent.sent_bytes == report.totals.communication_bytes == weights * 10 // 4
    assert (sent.link, sent.ms, sent.exposed_ms) == (None, None, None)


def test_the_time_is_that_of_all_collectives_and_at_least_the_last_is_exposed():
    device = load_device("a100_80")
    passes = Passes(load_config("vit_b", [*SMALL, "run.parallel=ddp", "run.gpus=16"]), device)
    sent = analyze(passes.config, device=device, verify=False).communication
    link = link_between(16, device.interconnect)
    times = [collective_ms(each.kind, each.nbytes, link) for each in passes.sent.all]
    assert (sent.link, sent.link_bytes_per_s) == ("network", 200e9)
    note = sent_table(sent, analyze(passes.config, device=device, verify=False).device).note
    assert (
        "over the network, 200.0 GB/s a node" in note
    )  # `samattn devices` lists 25 GB/s for each of its 8 GPUs
    assert "sum of a node's network cards" in note
    assert sent.ms == pytest.approx(sum(times))
    assert times[-1] <= sent.exposed_ms * (1 + 1e-9) <= sent.ms
    assert sum(passes.section_ms.values()) == pytest.approx(sum(time.ms for time in passes.times))


def test_an_unknown_bandwidth_gives_no_time_and_never_0():
    sent = of("run.parallel=ddp", "run.gpus=16", device=load_device("l40s")).communication
    assert sent.sent_bytes > 0
    assert (sent.link, sent.ms, sent.exposed_ms) == (None, None, None)


def test_a_sweep_has_the_figures_of_each_point():
    """Tables of positions grow with the image, so that another rank may have them."""
    config = load_config(
        "sam_vit_b",
        ["run.mode=training", "depth=3", "global_attn_indexes=2", "run.parallel=zero1", "run.gpus=4"],
    )
    sides, metrics = np.array([112, 1024, 2048]), ["communication_bytes", "training_bytes"]
    swept = figures_at(config, {"height": sides, "width": sides}, metrics)
    for place, side in enumerate(sides.tolist()):
        passes = Passes(replace(config, image_size=(side, side)))
        assert [FIGURES[metric](passes) for metric in metrics] == [swept[metric][place] for metric in metrics]
