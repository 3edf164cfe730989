"""Fuzz targets: whatever stands in a file, only a `QpertError` or a row with a reason comes out."""
