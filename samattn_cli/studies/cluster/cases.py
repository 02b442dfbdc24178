"""Cases as tasks of a Ray cluster, each in a worker process of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any

from ...encoder.applicable_keys import mapping_of
from ...encoder.hash import config_hash
from ...encoder.model import EncoderConfig
from ...encoder.outside import origins
from ...errors import DeviceError
from ...records import dataclass, replace
from ...reports.recording import CompileMode, Fingerprint, MeasuredCase, Outcome, of_several
from ...units import format_bytes
from ...version import __version__
from ..passes import Passes
from ..predicted import with_prediction
from ..progress import Tell, silent
from ..torch_version import with_torch
from . import worker
from .connect import answers, connected
from .machines import Machine, gpu_type_of, machines_of, suitable

FRESH = {"max_calls": 1}
"""A worker process ends with its case, so that no case inherits memory of another one."""

RETRIES = 3
"""How often a case is tried again after its machine or its worker process died."""

POLL_SECONDS = 1.0
MOST_SILENT = 3
"""How often in a row the head may not answer before we give up."""

MOST_WITHOUT_MACHINES = 30
"""How often in a row a cluster may be without any machine that can run the cases: one may be starting."""

CANCEL_SECONDS = 10.0
CONTINUE = "; with -o, the same command continues"
PROCESS_BYTES = 512 << 20
"""What a process with torch takes before it measures."""


@dataclass(frozen=True)
class Task:
    """What all cases of a command have in common.

    Attributes:
        device: "cuda" or "cpu".
        compiled: the mode of torch.compile; "" for eager runs.
        gpu_type: what Ray calls the GPUs to use; None for any.
        repeats: the timed passes; None for the default.
    """

    device: str
    compiled: CompileMode = ""
    gpu_type: str | None = None
    repeats: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What Ray gives to a case: one GPU or one core."""
        asked: dict[str, Any] = {"num_cpus": 1}
        if self.device != "cpu":
            asked |= {"num_gpus": 1}
        return asked | ({"accelerator_type": self.gpu_type} if self.gpu_type else {})


@dataclass(frozen=True)
class Cluster:
    """A cluster that was looked at: each of its machines can run the cases, and they are alike.

    Attributes:
        ray: Ray's module, connected.
        task: what the cases have in common.
        fingerprints: that of each machine, by node.
    """

    ray: Any
    task: Task
    fingerprints: Mapping[str, Fingerprint]

    @property
    def fingerprint(self) -> Fingerprint:
        """That of all machines together."""
        return of_several(self.fingerprints.values())

    def measured(self, configs: Sequence[EncoderConfig]) -> Generator[tuple[int, MeasuredCase], None, None]:
        """Measure cases; yield each as soon as it is finished, with its position. Closing the iterator cancels the others.

        Raises:
            DeviceError: if no machine is left that can run them.
        """
        ray, seen = self.ray, frozenset(self.fingerprints)
        room = _most_memory(self.machines()) if self.task.device == "cpu" else 0
        remote = ray.remote(**FRESH)(worker.run)
        tasks: dict[Any, int] = {}
        try:
            for number, config in enumerate(configs):
                asked = self._asked(config)
                if room and asked.get("memory", 0) > room:
                    yield number, self._not_measured(config, _too_large(room))
                    continue
                tasks[remote.options(**asked).remote(self._request(config), seen)] = number
            yield from self._finished(tasks, configs)
        finally:
            _cancel(ray, tasks)

    def _finished(
        self, tasks: dict[Any, int], configs: Sequence[EncoderConfig]
    ) -> Iterator[tuple[int, MeasuredCase]]:
        watch = _Watch(self)
        while tasks:
            ready, _ = self.ray.wait(list(tasks), timeout=POLL_SECONDS)
            for task in ready:
                number = tasks.pop(task)
                yield number, self._case_of(task, configs[number])
            if not ready:
                watch.look()

    def machines(self) -> list[Machine]:
        """Those that are alive and can run the cases."""
        with suppress(DeviceError):
            return suitable(machines_of(self.ray), self.task.device, self.task.gpu_type)
        return []

    def _asked(self, config: EncoderConfig) -> dict[str, Any]:
        """What a case asks for. On a CPU that is memory too: cases run next to each other."""
        asked = {**self.task.options, "max_retries": RETRIES, "scheduling_strategy": "SPREAD"}
        if self.task.device == "cpu":
            asked["memory"] = self._predicted(config) + PROCESS_BYTES
        return asked

    def _predicted(self, config: EncoderConfig) -> int:
        """The peak, in bytes."""
        ran_with = with_torch(config, self.fingerprint.torch)
        return int(Passes(ran_with, on_cpu=self.task.device == "cpu").peak_bytes)

    def _not_measured(self, config: EncoderConfig, outcome: Outcome) -> MeasuredCase:
        return MeasuredCase(
            status=outcome.status,
            message=outcome.message,
            config=config,
            config_hash=config_hash(config),
            predicted_bytes=None if self.task.compiled else self._predicted(config),
            measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _request(self, config: EncoderConfig) -> dict[str, Any]:
        task = self.task
        return {
            "version": __version__,
            "device": task.device,
            "compiled": task.compiled,
            "repeats": task.repeats,
            "families": origins(),
            "config": mapping_of(config),
        }

    def _case_of(self, task: Any, config: EncoderConfig) -> MeasuredCase:
        """The case that a task measured, with the fingerprint of its machine; a failed one if it could not."""
        try:
            answer = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            return self._failed(config, _reason(error))
        node = answer["node"]
        if "problem" in answer:
            return self._failed(config, f"on {self._name(node)}, which has joined: {answer['problem']}")
        own = self.fingerprints.get(node) or _fingerprint(answer["fingerprint"], self._name(node))
        if differences := self.fingerprint.differences(own):
            return self._failed(
                config, f"{own.host} is not like the other machines: {'; '.join(differences)}"
            )
        measured: MeasuredCase = answer["case"]
        return with_prediction(replace(measured, config=config, fingerprint=own), own)

    def _failed(self, config: EncoderConfig, message: str) -> MeasuredCase:
        return self._not_measured(config, Outcome(status="failed", message=message))

    def _name(self, node: str) -> str:
        """The name of a machine, which may have joined since."""
        return next((machine.name for machine in machines_of(self.ray) if machine.node == node), node)


class _Watch:
    """Looks whether a cluster can still run cases, about once a second while none finishes."""

    def __init__(self, watched: Cluster) -> None:
        self.watched = watched
        self.silent = 0
        self.without_machines = 0

    def look(self) -> None:
        """Look once.

        Raises:
            DeviceError: if the head has not answered for some time, or no machine that can run the cases was there.
        """
        alive = answers(self.watched.ray.get_runtime_context().gcs_address)
        self.silent = 0 if alive else self.silent + 1
        if self.silent >= MOST_SILENT:
            raise DeviceError(
                "head-lost", f"--ray: the head of the cluster does not answer any more{CONTINUE}"
            )
        if not alive:
            return
        self.without_machines = 0 if self.watched.machines() else self.without_machines + 1
        if self.without_machines >= MOST_WITHOUT_MACHINES:
            what = "no machine is left in the cluster that can run the other cases"
            raise DeviceError("no-machine-left", f"--ray: {what}{CONTINUE}")


@contextmanager
def cluster(address: str, task: Task, gpu_type: str | None, tell: Tell = silent) -> Iterator[Cluster]:
    """The cluster at an address, after a look at each machine that can run cases.

    Args:
        address: "host:port", or "auto" for the cluster of this machine.
        task: what the cases have in common.
        gpu_type: the GPUs to use, as the user writes it.
        tell: receives how many machines were looked at.

    Raises:
        DeviceError: if no cluster answers, or a machine cannot run the cases, or machines are not alike.
        UsageError: if the address or the type of GPU is wrong.
    """
    with connected(address) as ray:
        ray.cloudpickle.register_pickle_by_value(worker)
        alive = machines_of(ray)
        if task.device != "cpu":
            task = replace(task, gpu_type=gpu_type_of(gpu_type, alive))
        able = suitable(alive, task.device, task.gpu_type)
        prints = dict(_looked_at(ray, task, able, tell))
        _check_alike(prints.values())
        yield Cluster(ray, task, prints)


def _looked_at(
    ray: Any, task: Task, machines: Sequence[Machine], tell: Tell
) -> Iterator[tuple[str, Fingerprint]]:
    strategy = partial(ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy, soft=False)
    look = ray.remote(**FRESH)(worker.look)
    tasks = {
        look.options(**task.options, scheduling_strategy=strategy(machine.node)).remote(
            __version__, task.device, task.compiled
        ): machine
        for machine in machines
    }
    left = dict(tasks)
    try:
        tell(0, len(tasks))
        while left:
            for one in ray.wait(list(left), timeout=POLL_SECONDS)[0]:
                machine = left.pop(one)
                yield machine.node, _look_of(ray, one, machine)
                tell(len(tasks) - len(left), len(tasks))
    finally:
        _cancel(ray, left)


def _look_of(ray: Any, task: Any, machine: Machine) -> Fingerprint:
    try:
        answer = ray.get(task)
    except ray.exceptions.RayError as error:
        raise DeviceError("worker-failed", f"--ray: machine {machine.name}: {_reason(error)}") from None
    if "problem" in answer:
        raise DeviceError(answer["code"], f"--ray: machine {machine.name}: {answer['problem']}")
    return _fingerprint(answer, machine.name)


def _fingerprint(answer: dict[str, Any], host: str) -> Fingerprint:
    from pydantic import TypeAdapter

    return replace(TypeAdapter(Fingerprint).validate_python(answer), host=host)


def _check_alike(prints: Iterable[Fingerprint]) -> None:
    first, *others = prints
    for other in others:
        if differences := first.differences(other):
            raise DeviceError(
                "machines-differ",
                f"--ray: machines {first.host} and {other.host} differ, and a recording is of one kind: "
                + "; ".join(_of_hosts(text, first, other) for text in differences),
            )


def _of_hosts(text: str, there: Fingerprint, here: Fingerprint) -> str:
    return text.replace(" there, ", f" on {there.host}, ").removesuffix(" here") + f" on {here.host}"


def _too_large(room: float) -> Outcome:
    return Outcome(
        status="not run",
        message=f"no machine of the cluster has more than {format_bytes(int(room))} of memory",
    )


def _most_memory(machines: Sequence[Machine]) -> float:
    return max((machine.memory for machine in machines), default=0.0)


def _reason(error: Exception) -> str:
    """Why a task failed, in a line."""
    name = type(error).__name__
    if name == "OutOfMemoryError":
        return "its machine ran out of memory, and Ray ended the case"
    if name in {"WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError"}:
        return f"its process or its machine died, {RETRIES + 1} times"
    cause = getattr(error, "cause", None)
    lines = str(cause or error).strip().splitlines() or [name]
    return f"{type(cause).__name__}: {lines[-1].strip()}" if cause else f"{name}: {lines[0].strip()}"


def _cancel(ray: Any, tasks: Mapping[Any, Any]) -> None:
    """End what runs, and take back what waits; wait until that is done."""
    for task in tasks:
        with suppress(Exception):
            ray.cancel(task, force=True)
    if tasks:
        ray.wait(list(tasks), num_returns=len(tasks), timeout=CANCEL_SECONDS)
