"""`samattn trace`: from what a child process saw of a module to operations of the Tape, and to a report."""

from .report import trace

__all__ = ["trace"]
