"""JSON Lines: one object a line."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from engine.errors import CatalogError
from indexer.catalog.rejects import Reason, RowFault
from indexer.catalog.rows.files import MAX_LINE_BYTES, LongLine, open_text, read_lines
from indexer.catalog.rows.table import Row, Table

_BOM = b"\xef\xbb\xbf"
_HELD = re.compile(rb'\{\s*"([^"\\]+)"\s*:\s*\[\s*(?=$|\{)')
"""An object that begins with a list of objects, or may."""
_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PEEK = 20
"""Rows read ahead to learn the columns."""


def read_jsonlines(path: Path) -> Table:
    """The table of a JSON Lines file; its columns are those of the first rows.

    Raises:
        CatalogError: the file is one JSON array, or one object over several lines.
    """
    stream = open_text(path)
    rows = _rows(path, stream)
    try:
        first = list(itertools.islice(rows, _PEEK))
    except BaseException:
        stream.close()
        raise
    columns = tuple(dict.fromkeys(name for row in first for name in row.values))
    inner = _inner(first[0].values) if len(first) == 1 else ""
    cure = inner and f"It holds objects in {inner}. {_one_a_line(inner)}"
    both = itertools.chain(first, rows)
    return Table(columns, both, typed=True, fixed=False, cure=cure, close=stream.close)


def _rows(path: Path, stream: BinaryIO) -> Iterator[Row]:
    begun = False
    for number, line in enumerate(read_lines(stream), start=1):
        whole = not isinstance(line, LongLine)
        start = line.start if isinstance(line, LongLine) else line
        content = (start.removeprefix(_BOM) if number == 1 else start).strip()
        if whole and not content:
            continue
        if not begun:
            _refuse_one_value(path, content, whole=whole)
            begun = True
        if whole:
            yield _row(number, content)
        else:
            detail = f"more than {MAX_LINE_BYTES:,} bytes"
            yield Row(number, fault=RowFault(Reason.LINE_TOO_LONG, detail))


def _refuse_one_value(path: Path, line: bytes, *, whole: bool) -> None:
    """Refuse a file that is one JSON value, by its first line that is not blank.

    A line that is a list of no objects is a bad row like another; so is one cut short.

    Raises:
        CatalogError: it is an array, or an object over several lines or too long for one.
    """
    if line.startswith(b"["):
        if line[1:].lstrip().startswith(b"{") or not (whole and line.endswith(b"]")):
            raise CatalogError(f"{path} is one JSON array. {_one_a_line('.[]')}")
    elif held := _HELD.match(line):
        if not whole or held.end() == len(line):
            key = _path_of(held[1].decode("utf-8", "replace"))
            raise CatalogError(f"{path} is one JSON object. {_one_a_line(f'{key}[]')}")
    elif line == b"{":
        raise CatalogError(f"{path} has an object over several lines. {_one_a_line('.')}")


def _one_a_line(what: str) -> str:
    """How to make JSON Lines of a JSON file; `what` says to jq where its objects are."""
    return f"Write one object a line: jq -c {shlex.quote(what)} FILE > NEW.jsonl"


def _inner(value: object, deep: int = 3) -> str:
    """Where in an object there is a list of objects, as jq writes it; empty if nowhere."""
    if not isinstance(value, Mapping):
        return ""
    for key, held in value.items():
        if isinstance(held, list) and held and isinstance(held[0], dict):
            return f"{_path_of(key)}[]"
    found = ((key, _inner(held, deep - 1)) for key, held in value.items() if deep > 1)
    return next((f"{_path_of(key)}{inner}" for key, inner in found if inner), "")


def _path_of(key: str) -> str:
    """A key of an object, as jq writes it."""
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f".{json.dumps(key)}"


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
