"""Near-duplicates and byte-identical copies among the photos of feature sets; nothing is ever deleted."""
