"""``python -m samattn_cli``."""

from .cli import run

if __name__ == "__main__":
    run()
