"""Index a folder of photos: python docs/examples/index.py PHOTOS FEATURES."""

import sys

import pipeline

photos, out = sys.argv[1:]
perturbation = pipeline.Perturbation.paper(scale=0.25, threshold=0.99, weight="1-area")  # suits the miniature
features = pipeline.index(photos, out, encoder="coca", detector="miniature", perturbation=perturbation)
print(f"{len(features)} photos, each with {features.vectors} vector(s) of {features.dim} numbers")
for image_id, reason in features.failures.items():
    print(f"{image_id}: {reason}")
