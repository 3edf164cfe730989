"""SigLIP and SigLIP 2 on transformers: fixed resolution, and NaFlex in the photo's own aspect ratio."""
