"""Any catalog file → a stream of products, and a list of the rows that could not become one."""

from indexer.catalog.reader import read_catalog
from indexer.catalog.rejects import Reason, RejectLog

__all__ = ["Reason", "RejectLog", "read_catalog"]
