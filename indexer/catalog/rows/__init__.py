"""Files → rows: one reader a file format. What a row means, `indexer.catalog.fields` decides."""
