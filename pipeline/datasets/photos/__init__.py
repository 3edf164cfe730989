"""Sources of photos: folders, patterns, list files, Parquet and tars, on any file system that pyarrow opens."""
