"""Rows that did not become products: why, and the log that lists them."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from engine.errors import CatalogError, RejectedRowError

_DETAIL_CHARS = 300
_ANOTHER_PLACE = "Give another place with --rejects"


class Reason(StrEnum):
    """Why a row was rejected. The texts are stable: scripts may count by them."""

    MISSING_ID = "missing id"
    MISSING_TITLE = "missing title"
    DUPLICATE_ID = "duplicate id"
    UNPARSABLE_PRICE = "unparsable price"
    UNPARSABLE_RATING = "unparsable rating"
    UNPARSABLE_RATING_COUNT = "unparsable rating_count"
    UNPARSABLE_IN_STOCK = "unparsable in_stock"
    UNPARSABLE_CREATED_AT = "unparsable created_at"
    UNPARSABLE_ATTRIBUTES = "unparsable attributes"
    ILL_TYPED = "ill-typed field"
    OVER_LONG = "over-long field"
    TOO_MANY = "too many attributes"
    BAD_ENCODING = "bad encoding"
    MALFORMED_CSV = "malformed CSV"
    MALFORMED_JSON = "malformed JSON"
    COLUMN_COUNT = "wrong column count"
    LINE_TOO_LONG = "line too long"
    UNKNOWN_FILE = "unknown file type"


class RowFault(ValueError):  # noqa: N818 - a verdict on a row, handled where rows are read
    """What is wrong with one row. It never leaves what reads the rows."""

    def __init__(self, reason: Reason, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field


class RejectLog:
    """Counts rejected rows and lists them in a JSON Lines file.

    Each line holds `file`, `row` (null for a whole file), `id`, `field`, `reason` and `detail`. The
    log is written aside, to `PATH.part`. A clean exit replaces the log of an earlier run, or
    deletes it where nothing was rejected; an exception leaves it unless something was.

    Args:
        path: where to list them; None only counts.
        strict: raise at the first reject instead of going on.
    """

    def __init__(self, path: Path | None, *, strict: bool = False) -> None:
        self.path = path
        self.strict = strict
        self.by_reason: Counter[str] = Counter()
        self._file: TextIO | None = None

    @property
    def total(self) -> int:
        """How many rows were rejected."""
        return self.by_reason.total()

    def __enter__(self) -> Self:
        """Make the file aside: that it cannot be written shows before the catalog is read.

        Raises:
            CatalogError: the rejects file cannot be written.
        """
        if self.path is not None:
            if self.path.exists() and not self.path.is_file():
                raise CatalogError(f"{self.path} is not a file. {_ANOTHER_PLACE}")
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._part.open("w", encoding="utf-8", buffering=1)  # by lines
            except OSError as error:
                raise self._unwritable(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.path is None or self._file is None:
            return
        try:
            self._settle(self.path, self._file, failed=error is not None)
        except OSError as fault:
            if error is None:  # else that one has more to say
                raise self._unwritable(fault) from fault
        finally:
            self._file = None

    def _settle(self, path: Path, file: TextIO, *, failed: bool) -> None:
        """Put the finished log in its place, or leave no log where there is nothing to list."""
        try:
            file.close()
        finally:
            if self.total:
                self._part.replace(path)
            else:
                self._part.unlink()
        if not self.total and not failed:
            path.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return Path(f"{self.path}.part")

    def add(self, file: Path, row: int | None, fault: RowFault, product_id: str = "") -> None:
        """Note one rejected row.

        Raises:
            RejectedRowError: the log is strict.
            CatalogError: the rejects file cannot be written.
        """
        self.by_reason[str(fault.reason)] += 1
        detail = fault.detail[:_DETAIL_CHARS]
        entry = {
            "file": str(file),
            "row": row,
            "id": product_id,
            "field": fault.field,
            "reason": str(fault.reason),
            "detail": detail,
        }
        self._write(json.dumps(entry))  # ASCII: broken text must not break the log
        if self.strict:
            place = str(file) if row is None else f"{file}, row {row}"
            field = f", field {fault.field}" if fault.field else ""
            raise RejectedRowError(
                f"{place}{field}: {fault.reason} ({detail}). "
                "Correct it, or index without --strict to leave such rows out"
            )

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> CatalogError:
        return CatalogError(
            f"cannot write the rejects file {self.path} ({error.strerror}). {_ANOTHER_PLACE}"
        )
