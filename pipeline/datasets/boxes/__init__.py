"""Annotated boxes in every supported form."""
