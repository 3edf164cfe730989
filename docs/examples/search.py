"""Search indexed photos: python docs/examples/search.py FEATURES "a small red star" "a dog"."""

import sys

import pipeline

features, *texts = sys.argv[1:]
for hits in pipeline.search(features, texts, top=3):
    print(hits.query, *(f"{hit.score:.3f}  {hit.uri}" for hit in hits), sep="\n  ")
