"""Where photos, captions and boxes come from."""
