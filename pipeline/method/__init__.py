"""Query perturbation, the method of the paper: pure torch, no model, no Ray."""
