"""Words of the options of a report on duplicates. Free of Arrow, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Literal

Preference = Literal["largest", "oldest"]
"""Which photo of a group is its first."""
Comparison = Literal["auto", "all", "index"]
"""How photos are compared, see `pipeline.duplicates.finding`."""
Format = Literal["table", "json", "csv"]
"""How the groups are reported."""
