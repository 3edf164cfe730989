"""Annotated boxes in every supported format."""
