"""The photos of a feature set as vectors to search: exact scan, approximate indexes, and what they need on disk."""
