"""The calls that a command makes, of functions in Python and in C: the same in each run, however busy the machine is.

cProfile's profiler counts them, in C. Imports are counted where they run: each of them is many calls.
"""

from __future__ import annotations

import os
from _lsprof import Profiler
from collections.abc import Callable
from pathlib import Path


def count_calls(run: Callable[[], object], path: str) -> None:
    """Run a command, which ends this process, and write how often it called each function, the most called first."""
    profiler, leave = Profiler(), os._exit

    def tell(code: int) -> None:
        profiler.disable()
        Path(path).write_text(_told(profiler), "utf-8")
        leave(code)

    os._exit = tell
    profiler.enable()
    run()


def _told(profiler: Profiler) -> str:
    entries = sorted(profiler.getstats(), key=lambda entry: -entry.callcount)
    return "".join(f"{entry.callcount} {_name(entry.code)}\n" for entry in entries)


def _name(code: object) -> str:
    if isinstance(code, str):
        return code
    return f"{code.co_filename}:{code.co_firstlineno} {code.co_name}"
