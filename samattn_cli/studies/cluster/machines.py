"""The machines of a Ray cluster, and those that can run a case."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...errors import DeviceError, UsageError, did_you_mean
from ...records import dataclass
from ...spelling import known_as

TYPE = "accelerator_type:"
UNNAMED = "of no named type"


@dataclass(frozen=True)
class Machine:
    """A node of the cluster that is alive.

    Attributes:
        node: Ray's identifier.
        name: its name, for people.
        cpus: the cores that it gives to Ray.
        gpus: the GPUs that it gives to Ray.
        gpu_type: what Ray calls its GPUs; "" if Ray does not know them.
        memory: the bytes of memory that it gives to Ray.
    """

    node: str
    name: str
    cpus: float
    gpus: float
    gpu_type: str
    memory: float


def machines_of(ray: Any) -> list[Machine]:
    """The machines that are alive, by name."""
    return sorted((_machine(node) for node in ray.nodes() if node["Alive"]), key=lambda one: one.name)


def _machine(node: dict[str, Any]) -> Machine:
    has = node["Resources"]
    types = sorted(name.removeprefix(TYPE) for name in has if name.startswith(TYPE))
    return Machine(
        node=node["NodeID"],
        name=_name(node),
        cpus=has.get("CPU", 0.0),
        gpus=has.get("GPU", 0.0),
        gpu_type=types[0] if types and has.get("GPU") else "",
        memory=has.get("memory", 0.0),
    )


def _name(node: dict[str, Any]) -> str:
    """The name given to `ray start`, else that of the host: Ray's default name is the address."""
    name, address = node.get("NodeName", ""), node["NodeManagerAddress"]
    return str(node.get("NodeManagerHostname") or address if name in {"", address} else name)


def gpu_type_of(word: str | None, machines: Sequence[Machine]) -> str | None:
    """What Ray calls the GPUs that --gpu-type asks for; None if it is not given, and the cluster has one type.

    Raises:
        UsageError: if the cluster does not have the type, or has several and none is chosen.
    """
    types = sorted({machine.gpu_type for machine in machines if machine.gpus})
    named = list(filter(None, types))
    has = ", ".join(name or UNNAMED for name in types) or "no GPU"
    if word is not None:
        if known := known_as(word, named):
            return known
        raise UsageError(
            "unknown-gpu-type",
            f"--gpu-type {word}: no GPU of this type is in the cluster{did_you_mean(word, named)}; it has: {has}",
        )
    if len(types) > 1:
        raise UsageError(
            "several-gpu-types",
            f"--ray: the cluster has GPUs of several types ({has}), and a recording is of one; choose one with "
            f"--gpu-type {(named or ['TYPE'])[0]}",
        )
    return None


def suitable(machines: Collection[Machine], device: str, gpu_type: str | None) -> list[Machine]:
    """The machines that can run a case.

    Raises:
        DeviceError: if there is none.
    """
    if device == "cpu":
        found = [machine for machine in machines if machine.cpus >= 1]
        what = "no core for Ray's tasks"
    else:
        found = [
            machine for machine in machines if machine.gpus >= 1 and gpu_type in {None, machine.gpu_type}
        ]
        what = "no GPU"
    if not found:
        names = ", ".join(machine.name for machine in machines)
        raise DeviceError(
            "no-such-device",
            f"--device {device}: the cluster has {what} (machines: {names}); --device cpu measures on CPUs"
            if device != "cpu"
            else f"--device cpu: the cluster has {what} (machines: {names})",
        )
    return found
