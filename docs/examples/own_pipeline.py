"""Objects and embeddings in a Ray Data pipeline of one's own: python docs/examples/own_pipeline.py PHOTOS OUT."""

import sys

import ray

from pipeline import Detect, Encode, Perturbation

photos, out = sys.argv[1:]
options = {"batch_format": "pyarrow", "compute": ray.data.ActorPoolStrategy(size=1)}  # with GPUs: "num_gpus": 0.5

dataset = ray.data.read_binary_files(photos, include_paths=True)  # the columns bytes and path
dataset = dataset.rename_columns({"path": "image_id"})
dataset = dataset.map_batches(Detect("miniature"), **options)
dataset = dataset.map_batches(Encode("coca", perturbation=Perturbation.paper(scale=0.25, weight="1-area")), **options)
dataset.drop_columns(["bytes"]).write_parquet(out)
