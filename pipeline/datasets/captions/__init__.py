"""Caption files in every supported form."""
