"""What runs on the machines of a cluster.

These functions are sent to the machines as code, so that one without samattn, or with another version of it, can say so.
They import samattn only when they run.
"""

from __future__ import annotations

from typing import Any


def look(version: str, device: str, compiled: Any) -> dict[str, Any]:
    """The fingerprint of this machine, or the code and the words of what is wrong with it.

    Args:
        version: that of samattn, which the machine must have.
        device: "cuda" or "cpu".
        compiled: the mode of torch.compile; "" for eager runs.
    """
    import sys
    from dataclasses import asdict
    from importlib.util import find_spec

    for name, package in (("samattn_cli", "samattn"), ("torch", "torch")):
        if find_spec(name) is None:
            return {"code": "not-installed", "problem": f"{package} is not installed for {sys.executable}"}
    from samattn_cli.version import __version__

    if __version__ != version:
        return {"code": "other-version", "problem": f"has samattn {__version__}, and this is {version}"}
    from samattn_cli.errors import SamattnError
    from samattn_cli.studies.measure import device_fingerprint

    try:
        return asdict(device_fingerprint(device, compiled))
    except SamattnError as error:
        return {"code": next(iter(error.codes), ""), "problem": str(getattr(error, "message", error))}


def run(case: dict[str, Any], seen: frozenset[str]) -> dict[str, Any]:
    """Measure a case; return it with this machine's node and, unless the node is among those `seen`, its fingerprint."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    answer = {} if node in seen else look(case["version"], case["device"], case["compiled"])
    if "problem" in answer:
        return {"node": node, **answer}
    from samattn_cli.encoder.outside import add_again
    from samattn_cli.files.load import load_config
    from samattn_cli.studies.measure import measure_case

    for origin in case["families"]:
        add_again(tuple(origin))
    config = load_config(case["config"])
    measured = measure_case(config, case["device"], None, case["repeats"], case["compiled"])
    return {"node": node, "fingerprint": answer or None, "case": measured}
