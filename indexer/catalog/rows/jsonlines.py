"""JSON Lines: one object a line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.errors import CatalogError
from indexer.catalog.rejects import Reason, RowFault
from indexer.catalog.rows.files import MAX_LINE_BYTES, open_text, read_lines
from indexer.catalog.rows.table import Row, Table

_BOM = b"\xef\xbb\xbf"
_PEEK = 20
"""Rows read ahead to learn the columns."""


def read_jsonlines(path: Path) -> Table:
    """The table of a JSON Lines file; its columns are those of the first rows.

    Raises:
        CatalogError: the file is one JSON array.
    """
    stream = open_text(path)
    rows = _rows(path, stream)
    try:
        first = list(itertools.islice(rows, _PEEK))
    except BaseException:
        stream.close()
        raise
    columns = tuple(dict.fromkeys(name for row in first for name in row.values))
    return Table(columns, itertools.chain(first, rows), typed=True, fixed=False, close=stream.close)


def _rows(path: Path, stream: BinaryIO) -> Iterator[Row]:
    for number, line in enumerate(read_lines(stream), start=1):
        if line is None:
            detail = f"more than {MAX_LINE_BYTES:,} bytes"
            yield Row(number, fault=RowFault(Reason.LINE_TOO_LONG, detail))
        elif content := (line.removeprefix(_BOM) if number == 1 else line).strip():
            if number == 1 and content.startswith(b"[") and not content.endswith(b"]"):
                raise CatalogError(
                    f"{path} is one JSON array. Write one object a line: "
                    "jq -c '.[]' FILE > NEW.jsonl"
                )
            yield _row(number, content)


def _row(number: int, line: bytes) -> Row:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Row(number, fault=RowFault(Reason.BAD_ENCODING, f"not UTF-8 ({error.reason})"))
    except (ValueError, RecursionError) as error:
        return Row(number, fault=RowFault(Reason.MALFORMED_JSON, str(error)))
    if not isinstance(value, dict):
        detail = f"a JSON {type(value).__name__}, not an object"
        return Row(number, fault=RowFault(Reason.MALFORMED_JSON, detail))
    return Row(number, value)
