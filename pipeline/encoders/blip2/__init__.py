"""BLIP-2, by transformers."""
