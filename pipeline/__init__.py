"""Object-aware image-text retrieval: Q-Perturbation as a Ray batch pipeline."""

__version__ = "0.1.0"
