"""Photo sources: folders, patterns, lists, Parquet tables, tars."""
