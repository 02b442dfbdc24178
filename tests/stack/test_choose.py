"""`--device cuda` is the device that is current: torch's `set_device` refuses a device without an index."""

import pytest
import torch

from samattn_cli.stack.fingerprint import choose


@pytest.mark.parametrize(("device", "chosen"), [("cuda", []), ("cuda:1", [1])])
def test_a_device_with_and_without_an_index(monkeypatch, device, chosen) -> None:
    seen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    choose(device)
    assert seen == chosen
