"""Searching a feature set by text: the exact best photos of each query, and how to show them."""
