"""Object-aware image-text retrieval: Q-Perturbation as a Ray batch pipeline.

The Python API is what `__all__` lists. Names are imported when they are first used, so that `import pipeline` is quick
and does not load torch or Ray:

    import pipeline

    features = pipeline.index("photos/", "features/")
    print(pipeline.search(features, "a small red star")[0].uri)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api.build_index import build_index
    from pipeline.api.evaluate import evaluate, evaluate_objects
    from pipeline.api.export import export
    from pipeline.api.index import index
    from pipeline.api.map_batches import Detect, Encode
    from pipeline.api.search import search
    from pipeline.detectors import load_detector
    from pipeline.encoders import load_encoder
    from pipeline.features.feature_set import FeatureSet
    from pipeline.method.objects import Objects
    from pipeline.method.settings import Perturbation
    from pipeline.queries.filters import Filters
    from pipeline.queries.query import Query, Term
    from pipeline.queries.searching import Collection

__version__ = "0.1.0"

_MODULES = {
    "Collection": "pipeline.queries.searching",
    "Detect": "pipeline.api.map_batches",
    "Encode": "pipeline.api.map_batches",
    "FeatureSet": "pipeline.features.feature_set",
    "Filters": "pipeline.queries.filters",
    "Objects": "pipeline.method.objects",
    "Perturbation": "pipeline.method.settings",
    "Query": "pipeline.queries.query",
    "Term": "pipeline.queries.query",
    "build_index": "pipeline.api.build_index",
    "evaluate": "pipeline.api.evaluate",
    "evaluate_objects": "pipeline.api.evaluate",
    "export": "pipeline.api.export",
    "index": "pipeline.api.index",
    "load_detector": "pipeline.detectors",
    "load_encoder": "pipeline.encoders",
    "search": "pipeline.api.search",
}


if not TYPE_CHECKING:  # a type checker would accept any name otherwise

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__all__ = [
    "Collection",
    "Detect",
    "Encode",
    "FeatureSet",
    "Filters",
    "Objects",
    "Perturbation",
    "Query",
    "Term",
    "build_index",
    "evaluate",
    "evaluate_objects",
    "export",
    "index",
    "load_detector",
    "load_encoder",
    "search",
]
