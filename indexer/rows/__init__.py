"""Files → rows: one reader a file format. What a row means is decided in `indexer.fields`."""
