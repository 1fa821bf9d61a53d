"""Any catalog file → a stream of `Product` and a log of rejected rows.

Rows are read, typed and handed out one at a time: memory does not grow with the catalog.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.errors import CatalogError
from engine.products import offer_of
from engine.types import OFFER_FIELDS, AttributeValue, Product
from indexer.catalog.attributes import MAX_ATTRIBUTES, flatten, infer, parse_attributes
from indexer.catalog.columns import Columns
from indexer.catalog.duplicates import SeenIds
from indexer.catalog.entries import Digests, Entry, Fresh, Known, KnownRows
from indexer.catalog.fields import CONVERTERS, DELETED, is_absent, to_deleted, to_single
from indexer.catalog.layouts import CHANGES, Layout, find_layout
from indexer.catalog.money import parse_price
from indexer.catalog.rejects import Reason, RejectLog, RowFault
from indexer.catalog.rows.columnar import read_parquet
from indexer.catalog.rows.delimited import read_delimited
from indexer.catalog.rows.files import (
    COLUMNAR_SUFFIXES,
    TEXT_SUFFIXES,
    damage_as_catalog_error,
    file_format,
    lies_in,
    list_files,
)
from indexer.catalog.rows.jsonlines import read_jsonlines
from indexer.catalog.rows.table import Row, Table

__all__ = ["Reason", "RejectLog", "Removal", "read_catalog", "read_changes", "read_entries"]

_NO_MAPPING: Mapping[str, str] = {}


def read_catalog(
    source: Path,
    *,
    layout: str = "auto",
    mapping: Mapping[str, str] = _NO_MAPPING,
    rejects: RejectLog,
    exclude: Path | None = None,
) -> Iterator[Product]:
    """The products of a CSV, TSV, JSON Lines or Parquet file, or of a folder of such files.

    Text files may be compressed (.gz, .zst). A folder is read with all below it, by path; hidden
    files are passed over. Ids are unique in what is returned: the first good row of an id wins.

    Args:
        source: the file or folder.
        layout: `auto`, or the layout of a published set: `wands`, `esci`, `esci:LOCALE`.
        mapping: field → column, for columns that are not named as our fields are.
        rejects: takes the rows that cannot become products.
        exclude: a folder below the source that is no part of the catalog, such as the store.

    Raises:
        CatalogError: a file is missing, damaged, or without a column for id or title, or rejects
            would be listed in the catalog itself; at once or while the products are read.
        RejectedRowError: a row was rejected and `rejects` is strict.
    """
    records = _records(source, _Reading(find_layout(layout), mapping), rejects, exclude)
    return (record.product for record in records if isinstance(record, Fresh))


def read_entries(
    source: Path,
    *,
    layout: str = "auto",
    mapping: Mapping[str, str] = _NO_MAPPING,
    rejects: RejectLog,
    exclude: Path | None = None,
    known: KnownRows | None = None,
) -> Iterator[Entry]:
    """The same products, those whose texts are `known` without them; arguments as `read_catalog`'s.

    Raises:
        CatalogError, RejectedRowError: as `read_catalog`.
    """
    reading = _Reading(find_layout(layout), mapping, known)
    records = _records(source, reading, rejects, exclude)
    return (record for record in records if not isinstance(record, Removal))


@dataclass(frozen=True, slots=True)
class Removal:
    """A product that is no longer in the catalog."""

    id: str


def read_changes(
    source: Path,
    *,
    mapping: Mapping[str, str] = _NO_MAPPING,
    rejects: RejectLog,
    exclude: Path | None = None,
) -> Iterator[Entry | Removal]:
    """What became of some products, in the order of the rows: an id may occur more than once.

    Files are read as `read_catalog` does; a row whose field `deleted` is true needs no more than
    its id.

    Raises:
        CatalogError, RejectedRowError: as `read_catalog`.
    """
    return _records(source, _Reading(CHANGES, mapping), rejects, exclude)


def _records(
    source: Path, reading: _Reading, rejects: RejectLog, exclude: Path | None
) -> Iterator[Entry | Removal]:
    if exclude is not None:
        exclude = _below(source, exclude)
    if rejects.path is not None:
        _keep_apart(source, rejects.path, exclude)
    files = _catalog_files(source, reading.layout, rejects, exclude)
    return _entries(files, reading, rejects)


def _below(source: Path, exclude: Path) -> Path | None:
    """`exclude` where it lies below the source; None where there is nothing to leave out."""
    if not source.is_dir():
        return None
    if source.resolve() == exclude.resolve():
        raise CatalogError(f"{source} is the store itself. Name another folder with --store")
    return exclude if lies_in(exclude, source) else None


def _keep_apart(source: Path, log: Path, exclude: Path | None) -> None:
    """Refuse to list rejects over the catalog, or among its files."""
    if source.is_dir():
        taken = lies_in(log, source) and not (exclude and lies_in(log, exclude))
    else:
        taken = source.exists() and log.exists() and log.samefile(source)
    if taken:
        raise CatalogError(
            f"the rejects file {log} would be a part of the catalog {source}. "
            "Give another place with --rejects"
        )


def _catalog_files(
    source: Path, layout: Layout, rejects: RejectLog, exclude: Path | None
) -> list[Path]:
    """The files to read; those of a folder that are no catalog are noted as rejected."""
    with damage_as_catalog_error(source):
        source.stat()
        found = list_files(source, exclude) if source.is_dir() else [source]
    if source.is_dir():
        found = [path for path in found if path.match(layout.files)] or found
    files = [path for path in found if file_format(path)]
    known = ", ".join([*TEXT_SUFFIXES, *COLUMNAR_SUFFIXES])
    if not files:
        what = "holds no catalog file" if source.is_dir() else "is no catalog file by its name"
        raise CatalogError(f"{source} {what}. Readable: {known}; the text ones also .gz and .zst")
    for path in sorted(set(found) - set(files)):
        rejects.add(path, None, RowFault(Reason.UNKNOWN_FILE, f"readable are {known}"))
    return files


class _Reading:
    """How the rows of a catalog are read."""

    def __init__(
        self,
        layout: Layout,
        mapping: Mapping[str, str],
        known: KnownRows | None = None,
    ) -> None:
        self.layout = layout
        self.columns = Columns(layout, mapping)
        self._known = known
        self._digests = Digests(version("daogou"), layout.name, sorted(mapping.items()))

    def record(self, values: dict[str, Any], others: list[tuple[str, Any]]) -> Entry | Removal:
        """What a row's values say.

        Raises:
            RowFault: why the row is no product.
        """
        if to_deleted(values.pop(DELETED, False)):
            return Removal(_id(values))
        digest = self._digests.of(values, others)
        row = -1 if self._known is None else self._known.row(digest)
        if row < 0:
            return Fresh(_product(values, others), digest)
        return Known(_id(values), row, offer_of(_offer(values)), digest)


def _entries(files: list[Path], reading: _Reading, rejects: RejectLog) -> Iterator[Entry | Removal]:
    layout, columns = reading.layout, reading.columns
    with closing(SeenIds()) as seen:
        for path in files:
            seen.begin(path)
            for row, typed in _rows(path, layout, columns):
                values: dict[str, Any] = {}
                try:
                    values, others = _assign(row.values, columns, typed)
                    if row.fault:
                        raise row.fault
                    record = reading.record(values, others)
                    if not layout.removals:
                        seen.note(_id_of(record), row.number)
                except RowFault as fault:
                    rejects.add(path, row.number, fault, _shown_id(values))
                else:
                    yield record


def _rows(path: Path, layout: Layout, columns: Columns) -> Iterator[tuple[Row, bool]]:
    """The rows of a file that belong to the catalog, and whether their values carry types."""
    missing = columns.mapped
    read = selected = 0
    with damage_as_catalog_error(path):
        before = path.stat()
        with closing(_open(path, layout)) as table:
            columns.check(path, table)
            for row in table.rows:
                read += 1
                missing -= row.values.keys()
                values = layout.prepare(row.values)
                if values is not None:
                    selected += 1
                    yield Row(row.number, values, row.fault), table.typed
            missing.difference_update(table.columns)
        after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CatalogError(f"{path} changed while it was read. Index it again when it is whole")
    if read and missing:
        raise CatalogError(f"{path}: no row has {min(missing)!r}, which --map names")
    if read and not selected:
        raise CatalogError(
            f"{path} holds no row with {layout.selection}. Name another: --format esci:LOCALE"
        )


def _open(path: Path, layout: Layout) -> Table:
    match file_format(path):
        case "parquet":
            return read_parquet(path)
        case "jsonl":
            return read_jsonlines(path)
        case "tsv":
            return read_delimited(path, "\t")
        case _:
            return read_delimited(path, layout.delimiter)


def _assign(
    row: Mapping[str, Any], columns: Columns, typed: bool
) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """A row's values by field, and the (name, value) pairs that are attributes."""
    values: dict[str, Any] = {}
    others: list[tuple[str, Any]] = []
    for (column, fed), value in zip(columns.feeding(row), row.values(), strict=True):
        if is_absent(value):
            continue
        if fed and fed[0] not in values:
            values.update(dict.fromkeys(fed, value))
        else:
            others.append((column, value if typed else infer(value)))
    return values, others


def _id_of(record: Entry | Removal) -> str:
    return record.product.id if isinstance(record, Fresh) else record.id


def _id(values: Mapping[str, Any]) -> str:
    """The id alone.

    Raises:
        RowFault: there is none.
    """
    found = CONVERTERS["id"](values["id"]) if "id" in values else ""
    if not found:
        raise RowFault(Reason.MISSING_ID, "every product needs one", "id")
    return str(found)


def _product(values: Mapping[str, Any], others: list[tuple[str, Any]]) -> Product:
    """The product of a row.

    Raises:
        RowFault: why the row is none.
    """
    fields = _converted(values)
    if not fields.get("id"):
        raise RowFault(Reason.MISSING_ID, "every product needs one", "id")
    if not fields.get("title"):
        raise RowFault(Reason.MISSING_TITLE, "every product needs one", "title")
    fields |= _price(values)
    return Product(**fields, attributes=_attributes(values.get("attributes"), others))


def _offer(values: Mapping[str, Any]) -> dict[str, Any]:
    """The offer alone; texts that were read before are sound.

    Raises:
        RowFault: a field of it cannot be used.
    """
    fields = _converted({name: values[name] for name in values if name in OFFER_FIELDS})
    return fields | _price(values)


def _converted(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: CONVERTERS[name](value) for name, value in values.items() if name in CONVERTERS}


def _price(values: Mapping[str, Any]) -> dict[str, Any]:
    """The price, and the currency that stands with it or in a column of its own.

    Raises:
        RowFault: no price can be told.
    """
    if "price" not in values:
        return {}
    column = to_single("currency", values["currency"]) if "currency" in values else ""
    price, currency = parse_price(values["price"], column)
    return {"price": price, "currency": currency}


def _attributes(given: object, others: list[tuple[str, Any]]) -> dict[str, AttributeValue]:
    """The attributes given as such, then those of other columns; of one name, the first."""
    attributes = parse_attributes(given) if given is not None else {}
    for column, value in others:
        for name, typed in flatten(column, value):
            attributes.setdefault(name, typed)
    if len(attributes) > MAX_ATTRIBUTES:
        detail = f"{len(attributes):,}; {MAX_ATTRIBUTES} are allowed"
        raise RowFault(Reason.TOO_MANY, detail, "attributes")
    return attributes


def _shown_id(values: Mapping[str, Any]) -> str:
    """The id of a rejected row, as far as it has one."""
    return str(values.get("id", ""))[:100]
