"""What the Tape keeps of earlier passes, which a test that patches the code of a family must not find."""

from __future__ import annotations

from samattn_cli.tape import counted, encoder, recurring


def forget_passes() -> None:
    """Forget all passes and blocks that were recorded."""
    for cache in (
        encoder._forward,
        recurring.blocks_of,
        recurring.parts_of,
        recurring.backwards_of,
        counted._known,
    ):
        cache.cache_clear()
