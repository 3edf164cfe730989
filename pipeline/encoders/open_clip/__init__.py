"""CoCa, by open_clip."""
