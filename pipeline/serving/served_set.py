"""A feature set that is served: opened anew when it changes, while requests in flight keep the old one."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
import hashlib

from pipeline.encoders.text_towers import TextEncoder
from pipeline.features.feature_set import FeatureSet
from pipeline.features.miniatures import warning_of, miniatures_of
from pipeline.queries.exact import top_k
from pipeline.retrieval.similarity import rows_of
from pipeline.retrieval.text import embed_texts, load_text_encoder
from pipeline.serving.embedding import EncoderPool
from pipeline.serving.models import SetInfo

@dataclass(frozen=True)
class OpenedSet:
    name: str
    features: FeatureSet
    version: str
    encoder: TextEncoder
    info: SetInfo


def open_set(name: str, root: str, pool: EncoderPool) -> OpenedSet:
    features = FeatureSet.open(root)
    encoder = load_text_encoder(features, load=pool.load)
    labels = Counter()
    for block in features.iter_blocks(["objects"]):
        for objects in block["objects"].to_pylist():
            labels.update({item["label"] for item in objects or () if item["label"]})
    manifest = features.manifest
    perturbation = (manifest.identity.get("perturbation") or None)
    info = SetInfo(name=name, photos=len(features), encoder=str(manifest.encoder.get("name")),
        weights=None, vectors=features.vectors, dim=features.dim, index="exact scan",
        perturbation=None if not perturbation else "Q-Perturbation", labels=[l for l, _ in labels.most_common(50)],
        miniature=bool(miniatures_of(manifest)[0]), warning=warning_of(manifest))
    version = hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()[:16]
    return OpenedSet(name, features, version, encoder, info)
