"""Detectors of transformers, `hf:MODEL`: those of fixed classes, and those that are told what to look for."""
