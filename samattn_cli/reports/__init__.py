"""Reports: the answers of studies as frozen dataclasses, which renderers show and JSON stores. A file for each kind.

Keys do not change within a `SCHEMA_VERSION`; keys may be added. Counts are exact integers.
"""

from __future__ import annotations

SCHEMA_VERSION = 1
