"""The HTTP server: searches over feature sets, their photos, and the page."""
