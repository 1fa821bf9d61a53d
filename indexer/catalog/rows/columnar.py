"""Parquet, a thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from engine.errors import CatalogError
from indexer.catalog.rows.table import Row, Table

_BATCH_ROWS = 1_024
_BUFFER_BYTES = 1 << 20
_SINGLE = frozenset({pyarrow.float32()})
_TEXTS = frozenset({pyarrow.string(), pyarrow.large_string()})
_PANDAS_INDEX = "__index_level_"


def read_parquet(path: Path) -> Table:
    """The table of a Parquet file; pandas' index columns are left out.

    Raises:
        CatalogError: two columns have one name.
        pyarrow.ArrowException: the file is not Parquet, or damaged.
        OSError: the file cannot be read.
    """
    # No memory map: a file cut short while it is read would kill the process.
    file = pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    names = [name for name in file.schema_arrow.names if not name.startswith(_PANDAS_INDEX)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        file.close()
        raise CatalogError(f"{path} has two columns named {twice[0]!r}. Rename one of them")
    return Table(tuple(names), _rows(file, names), typed=True, close=file.close)


def _rows(file: pyarrow.parquet.ParquetFile, names: list[str]) -> Iterator[Row]:
    number = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
        columns = [_values(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            number += 1
            yield Row(number, dict(zip(names, cells, strict=True)))


def _values(column: pyarrow.Array) -> list[Any]:
    """A column as Python values; text that is not UTF-8 holds surrogates where it is broken."""
    column = _widened(column)
    kind = column.type
    if pyarrow.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
    if pyarrow.types.is_duration(kind) and kind.unit == "ns":  # else a Timedelta, where pandas is
        column = column.cast(pyarrow.duration("us"), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raw = column.cast(_with_leaves(column.type, _TEXTS, pyarrow.large_binary()))
        return [_decoded(cell) for cell in raw.to_pylist()]
    except (ValueError, OverflowError):  # a date outside Python's years
        return list(column.cast(pyarrow.string()).to_pylist())
    return values


def _widened(column: pyarrow.Array) -> pyarrow.Array:
    """A column in double precision, each number the one that is written as it was in single.

    19.99 in single precision is 19.989999771118164, which nobody wrote.
    """
    if pyarrow.types.is_float16(column.type):
        written = column.to_numpy(zero_copy_only=False).astype(np.str_).astype(np.float64)
        return pyarrow.array(written, mask=column.is_null().to_numpy(zero_copy_only=False))
    texts = _with_leaves(column.type, _SINGLE, pyarrow.string())
    if texts == column.type:
        return column
    return column.cast(texts).cast(_with_leaves(column.type, _SINGLE, pyarrow.float64()))


def _with_leaves(  # noqa: PLR0911 - one a type
    kind: pyarrow.DataType, of: frozenset[pyarrow.DataType], other: pyarrow.DataType
) -> pyarrow.DataType:
    """A type with another one for some, in lists and objects too."""

    def replaced(field: pyarrow.Field) -> pyarrow.Field:
        return field.with_type(_with_leaves(field.type, of, other))

    types = pyarrow.types
    if kind in of:
        return other
    if types.is_dictionary(kind):
        return other if kind.value_type in of else kind
    if types.is_list(kind):
        return pyarrow.list_(replaced(kind.value_field))
    if types.is_large_list(kind):
        return pyarrow.large_list(replaced(kind.value_field))
    if types.is_fixed_size_list(kind):
        return pyarrow.list_(replaced(kind.value_field), kind.list_size)
    if types.is_struct(kind):
        return pyarrow.struct([replaced(kind.field(at)) for at in range(kind.num_fields)])
    if types.is_map(kind):
        return pyarrow.map_(replaced(kind.key_field), replaced(kind.item_field))
    return kind


def _decoded(value: object) -> object:
    """A cell with its bytes as text."""
    match value:
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case list():
            return [_decoded(item) for item in value]
        case tuple():
            return tuple(_decoded(item) for item in value)
        case dict():
            return {key: _decoded(item) for key, item in value.items()}
    return value
