"""The rows of several feature sets, read one set after the other like those of a single one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.features.live_rows import LiveRows

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset, Expression


@dataclass(frozen=True)
class JoinedRows:
    """A dataset with methods of `LiveRows`.

    Attributes:
        parts: the rows of each set.
    """

    parts: tuple[LiveRows | Dataset, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that all sets have; where some hold half floats and some floats, as floats."""
        first, *others = (part.schema for part in self.parts)
        names = [name for name in first.names if all(name in schema.names for schema in others)]
        return pa.schema([_wider([schema.field(name) for schema in (first, *others)]) for name in names])

    def to_batches(
        self, columns: Sequence[str] | None = None, filter: Expression | None = None, batch_size: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """The rows in batches, set after set."""
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        for part in self.parts:
            for batch in part.to_batches(columns=names, filter=filter, batch_size=batch_size):
                yield batch if batch.schema.equals(schema) else batch.cast(schema)

    def to_table(self, columns: Sequence[str] | None = None, filter: Expression | None = None) -> pa.Table:
        """All rows at once."""
        names = self.schema.names if columns is None else columns
        schema = pa.schema([self.schema.field(name) for name in names])
        return pa.Table.from_batches(list(self.to_batches(columns, filter)), schema)

    def count_rows(self, filter: Expression | None = None) -> int:
        """The number of rows."""
        return sum(int(part.count_rows(filter=filter)) for part in self.parts)


def _wider(fields: Sequence[pa.Field]) -> pa.Field:
    """A field that holds the values of all: lists of one type unless their numbers differ in width."""
    kinds = {field.type for field in fields}
    if len(kinds) == 1:
        return fields[0]
    return pa.field(fields[0].name, pa.list_(pa.float32()))
