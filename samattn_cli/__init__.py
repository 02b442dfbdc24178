"""What each layer of a windowed/global vision encoder costs, and what windowing it really saves.

>>> from samattn_cli import analyze, load_config
>>> report = analyze(load_config("sam_vit_h"), verify=False)
>>> report.totals.flops
5961082830848
"""

from __future__ import annotations

from .version import __version__

__all__ = [
    "Analysis",
    "Asked",
    "EncoderConfig",
    "Goal",
    "Grid",
    "SamattnError",
    "__version__",
    "add_family",
    "analyze",
    "check",
    "compare_placements",
    "explain",
    "fit",
    "from_json",
    "load_config",
    "load_device",
    "load_thresholds",
    "plan",
    "sweep",
    "to_json",
    "trace",
]

TYPE_CHECKING = False
"""That of `typing`, whose import takes longer than all of this module."""

if TYPE_CHECKING:
    from typing import Any

    from .device.load import load_device
    from .encoder.model import EncoderConfig
    from .encoder.outside import add_family
    from .errors import SamattnError
    from .files.load import load_config
    from .gate.load_thresholds import load_thresholds
    from .gate.run import check
    from .reports.analysis import Analysis
    from .reports.text import from_json, to_json
    from .studies.analyze import analyze
    from .studies.explain import explain
    from .studies.fit import Asked, fit
    from .studies.grid import Grid
    from .studies.placements.compare import compare_placements
    from .studies.plan import Goal, plan
    from .studies.sweep import sweep
    from .studies.traced import trace

_HOMES = {
    "Analysis": "reports.analysis",
    "Asked": "studies.fit",
    "EncoderConfig": "encoder.model",
    "Goal": "studies.plan",
    "Grid": "studies.grid",
    "SamattnError": "errors",
    "add_family": "encoder.outside",
    "analyze": "studies.analyze",
    "check": "gate.run",
    "compare_placements": "studies.placements.compare",
    "explain": "studies.explain",
    "fit": "studies.fit",
    "from_json": "reports.text",
    "load_config": "files.load",
    "load_device": "device.load",
    "load_thresholds": "gate.load_thresholds",
    "plan": "studies.plan",
    "sweep": "studies.sweep",
    "to_json": "reports.text",
    "trace": "studies.traced",
}


def __dir__() -> list[str]:
    """The API, whether its parts are imported or not."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import the API's parts when they are first used."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
