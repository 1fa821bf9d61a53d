"""Any catalog file → a stream of products, and a list of the rows that could not become one."""

from indexer.catalog.reader import Removal, read_catalog, read_changes, read_entries
from indexer.catalog.rejects import Reason, RejectLog

__all__ = ["Reason", "RejectLog", "Removal", "read_catalog", "read_changes", "read_entries"]
