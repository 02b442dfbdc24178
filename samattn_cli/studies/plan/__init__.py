"""How to train an encoder on several GPUs: every way that reaches a global batch, its memory and its time.

A choice is a set of keys of the run, and everything about it is derived as `samattn analyze` derives it with these keys.
"""

from .compare import plan
from .goal import Goal

__all__ = ["Goal", "plan"]
