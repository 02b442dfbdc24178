"""What samattn found, frozen: studies make it, renderers show it, JSON carries it and brings it back. One kind a file.

Keys are stable from one `SCHEMA_VERSION` to the next; more may be added beside them. Counts are integers, exact.
"""

from __future__ import annotations

SCHEMA_VERSION = 1
