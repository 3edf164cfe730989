"""`pipeline.Detect` and `pipeline.Encode`: objects and embeddings in a Ray Data pipeline of one's own.

Both return a class, which `map_batches` wants: Ray makes one instance in each actor of the pool, and so loads the model
once per actor. (Ray refuses an *instance* together with an `ActorPoolStrategy`, and without one calls it in tasks, each
of which gets a new copy and loads the model again.)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pipeline.api.options import check_options
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.detectors import DetectorConfig, check_detector, embed_prompts, load_detector, with_query_classes
from pipeline.encoders import check_encoder, encoder_spec, load_encoder, prepare_environment
from pipeline.encoders.spec import NO_SITES
from pipeline.errors import QpertError
from pipeline.io.model_weights import absolute_weights
from pipeline.method.settings import Perturbation
from pipeline.runs.perturbation_config import PerturbationConfig
from pipeline.stages.detect import DetectorBuilder, DetectStage
from pipeline.stages.encode import EncoderBuilder, EncodeStage
from pipeline.stages.multi_config import MultiConfig
from pipeline.stages.photo_stage import PhotoStage
from pipeline.stages.stand_alone import stand_alone
from pipeline.workers.device import Dtype
from pipeline.workers.worker import Worker

logger = logging.getLogger(__name__)


def Detect(
    model: str | DetectorConfig | DetectorBuilder = "miniature",
    *,
    batch_size: int | None = None,
    max_megapixels: float = 100,
    allow_truncated: bool = False,
    rules: SourceRules = DEFAULT_RULES,
) -> type[PhotoStage[Any, Any]]:
    """A class for `map_batches` that finds the objects of photos.

        photos = ray.data.read_binary_files("photos/")
        photos = photos.map_batches(Detect("yolo11n.pt"), batch_format="pyarrow", num_gpus=0.25)

    Tables have a column `bytes` (encoded photos) or `uri`, and perhaps `image_id` (else the URI, or a digest of the
    photo). These columns are added, all others are kept: `width` and `height` int32; `objects`, a list of x0, y0, x1,
    y1 (0..1 of the photo), label and score; `seconds` float32; `error`, null or why the photo has no objects; and
    `image_id` and `bytes`, if they are missing. Rows that come with an `error` pass through.

    Args:
        model: `miniature`, `hf:MODEL`, an ultralytics name, a model file, a `DetectorConfig`, or a function from a
            torch device ("cpu", "cuda:0") to a detector, which is called in each actor.
        batch_size: most photos per call of the model; None for as many as fit.
        max_megapixels: larger photos are refused.
        allow_truncated: use what can be decoded of photos whose files end early.
        rules: which URIs may be read.

    Raises:
        QpertError: there is no such model, or its options contradict each other.
    """
    worker = _worker(batch_size, max_megapixels, allow_truncated)
    if isinstance(model, str | DetectorConfig):
        config = check_options(DetectorConfig, model=model) if isinstance(model, str) else model
        paths = {"model": absolute_weights(config.model), "annotations": absolute_weights(config.annotations)}
        config = with_query_classes(config.model_copy(update=paths))
        check_detector(config)
        build = partial(load_detector, config, prompts=embed_prompts(config))
        return stand_alone(DetectStage, "Detect", worker, rules, build)
    return stand_alone(DetectStage, "Detect", worker, rules, model)


def Encode(
    encoder: str | EncoderBuilder = "coca",
    *,
    weights: str | None = None,
    perturbation: str | Perturbation | PerturbationConfig | None = "qpert",
    with_objects: bool = False,
    precision: Literal["float16", "float32"] = "float16",
    dtype: Dtype = "auto",
    image_size: int | None = None,
    multi: str | Sequence[str] | MultiConfig = (),
    batch_size: int | None = None,
    max_megapixels: float = 100,
    allow_truncated: bool = False,
    rules: SourceRules = DEFAULT_RULES,
) -> type[PhotoStage[Any, Any]]:
    """A class for `map_batches` that embeds photos; objects act on the embeddings where the table has them.

        photos.map_batches(Detect(), **options).map_batches(Encode("blip2", weights="..."), **options)

    Tables are as for `Detect`; a column `objects`, of `Detect` or your own, says what the perturbation strengthens.
    Added to those of `Detect` are the columns of a feature set: `embedding`, a list of V * D numbers (V unit vectors of
    length D), `largest_area`, `device`, `dtype`, `truncated` and `taken`; `seconds` counts detection and encoding.

    Args:
        encoder: one of `pipeline.encoders.list_encoders()`, or a function from `device=` and `dtype=` to an encoder,
            which is called in each actor. An encoder with an environment of its own needs
            ``map_batches(..., runtime_env=pipeline.encoders.runtime_env(name))``.
        weights: weights of the encoder: a tag, a hub id or a path; None for its miniature.
        perturbation: how objects act; "qpert", "paper", "one-component", "released", or None for plain embeddings.
        with_objects: add `object_embeddings`, V * D numbers for each object.
        precision: of the embeddings.
        dtype: to compute in; auto: what each GPU is good at, float32 on CPUs.
        image_size: resolution of the photos in pixels, of an encoder given by name; None for its own.
        multi: kinds of further vectors (`regions`, `crops`, `tiles`, `clusters`, `objects`), or a `MultiConfig`; they
            follow the photo's own in `embedding`, and the column `views` says what each is.
        batch_size: see `Detect`.
        max_megapixels: see `Detect`.
        allow_truncated: see `Detect`.
        rules: see `Detect`.

    Raises:
        QpertError: there is no such encoder, no such weights (as far as that shows without loading them), or no such
            perturbation.
    """
    build: EncoderBuilder
    if isinstance(encoder, str):
        weights = absolute_weights(weights)
        check_encoder(encoder, weights)
        prepare_environment(encoder)
        encoder_spec(encoder, weights, image_size)  # refuses a resolution that the encoder cannot take
        build = partial(load_encoder, encoder, weights=weights, image_size=image_size)
    else:
        build = encoder
    if isinstance(perturbation, str):
        perturbation = check_options(PerturbationConfig, preset=perturbation)
    setting = perturbation.build() if isinstance(perturbation, PerturbationConfig) else perturbation
    views = multi if isinstance(multi, MultiConfig) else check_options(MultiConfig, kinds=multi)
    if isinstance(encoder, str) and encoder_spec(encoder, weights).sites == 0:
        if views.needs_sites:
            raise QpertError(f"{encoder} {weights}: {NO_SITES}, hence no {' '.join(views.needs_sites)}")
        if with_objects:
            raise QpertError(f"{encoder} {weights}: {NO_SITES}, and its objects have no embeddings")
        if setting is not None:
            logger.warning(f"{encoder} {weights}: {NO_SITES}: its embeddings are plain")
            setting = None
    worker = _worker(batch_size, max_megapixels, allow_truncated, dtype)
    arguments = (build, [setting], with_objects, precision)
    return stand_alone(EncodeStage, "Encode", worker, rules, *arguments, keep_columns=True, multi=views)


def _worker(batch_size: int | None, max_megapixels: float, allow_truncated: bool, dtype: Dtype = "auto") -> Worker:
    return Worker(
        dtype=dtype,
        micro_batch=batch_size,
        max_pixels=round(max_megapixels * 1e6),
        allow_truncated=allow_truncated,
    )
