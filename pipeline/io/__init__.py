"""Files near and far: places and URIs, retried storage, the gates for Parquet and model files, decoding of photos."""
