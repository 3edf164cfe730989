"""Caption files in every supported format."""
