"""Data sets as they lie on disk: photos, captions, annotated boxes and synthetic scenes."""
