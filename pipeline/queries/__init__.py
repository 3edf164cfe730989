"""Searching feature sets by texts and photos: queries, filters, one ranking over several sets, and how to show it."""
