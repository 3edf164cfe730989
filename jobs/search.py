"""Find photos by text, by a photo, or by both, in one feature set or several.

Examples:
    qpert search features "a small red star"
    qpert search features "a dog" "a dog on a beach" -k 5 --html found.html
    qpert search features --queries queries.txt --min-score 0.2 --json > found.json
    qpert search part-1 part-2 's3://bucket/part-*' "a dog"      (several sets of one encoder)
    qpert search features --image photo.jpg --box 0.1,0.2,0.5,0.6     (a part of a photo)
    qpert search features --like 000123.jpg --page 2                  (like an indexed photo)
    qpert search features "a horse" --plus 0.5:stripes --minus fence  (arithmetic)
    qpert search features --browse 100 --html boxes.html     (no query: see photos and their objects)

The first word is a feature set. Words after it that name feature sets (folders, URIs, patterns) are searched as well,
the others are queries. Where that could be mistaken, --in names all sets (every word is a text then), --text a text.

--plus, --image, --like and --minus are added to every text; without a text they are the query. They take several
values each, so texts stand before them (or behind --text). WEIGHT:VALUE weighs one
(0.5:stripes); write 1:VALUE if the value itself begins with a number and a colon. --box cuts a part out of the photo.
With one vector per photo the terms are added up to one vector. With several, texts are added up, and a photo counts by
the mean, over its vectors, of the best cosine with those of the photo that is compared.

A photo's score is the highest cosine of its vectors with the text's; of features with several views per photo (qpert
index --multi), the answer says which view matched, with its box in percent of the photo's width and height. What makes
a good score depends on the encoder: look at a few answers before you choose --min-score. Every photo is compared,
unless there is an index (qpert build-index); --exact compares every photo all the same.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import QpertError
from pipeline.queries.answers import as_json, as_text, write_file, written
from pipeline.queries.filters import Filters
from pipeline.queries.options import SearchOptions
from pipeline.queries.words import folder_hint, quotes_hint, sets_and_texts
from pipeline.runs.options import ReadOptions

if TYPE_CHECKING:
    from pipeline.features.feature_set import FeatureSet
    from pipeline.queries.hits import Hits
    from pipeline.queries.query import Query
    from pipeline.queries.searching import Collection

__all__ = ["Config", "as_json", "as_text", "quotes_hint", "run"]
logger = logging.getLogger(__name__)


class Config(ReadOptions, Filters, SearchOptions):
    """The options of ``qpert search``; the read options apply to photos that are looked for, and to the report."""


def run(config: Config) -> int:
    """Answers the queries; returns 0, also when nothing is found."""
    words = [word for word in (config.out, *config.text) if word is not None]
    if not words and not config.sets:
        raise QpertError("OUT is missing: name a feature set (qpert search --help)")
    sets, words = (config.sets, words) if config.sets else sets_and_texts(words)
    queries = config.asked(config.read_texts(words), Filters.of(config))
    if config.browse is not None and config.html is None:
        raise QpertError("--browse shows photos in a report: name its file with --html FILE")
    if not queries and config.browse is None:
        raise QpertError(f'nothing to look for; for example: qpert search {" ".join(sets)} "a small red star"')
    for hint in (quotes_hint(words), folder_hint(words)):
        if hint:
            logger.warning(hint)
    # Imported here, as below, because --help and refusals must not wait for torch.
    from pipeline.features.miniatures import REMINDER, warning_of
    from pipeline.retrieval.several_sets import open_sets

    collection = None
    if queries:
        from pipeline.queries.searching import Collection

        collection = Collection.open(sets, variant=config.variant, cache=config.cache)
    features = open_sets(sets, config.variant) if collection is None else collection.features
    warning = next(filter(None, (warning_of(one.manifest) for one in features)), None)
    if warning is not None:
        logger.warning(warning)
    answers: list[Hits] = [] if collection is None else _answered(config, collection, queries)
    if config.html is not None:
        _report(config, config.html, collection, features, queries, answers)
    if warning is not None:
        logger.warning(REMINDER)
    return 0


def _answered(config: Config, collection: Collection, queries: list[Query]) -> list[Hits]:
    """The answers, written where they are wanted."""
    from pipeline.queries.encoding import SetEncoder

    for note in (*collection.notes, *collection.remarks(queries)):
        logger.warning(note)
    if config.exact:
        logger.info(f"comparing all {collection.photos:,} photos of {', '.join(one.name for one in collection.sets)}")
    elif collection.index or len(collection.sets) > 1:
        logger.info(f"searching {collection.about}")
    encoder = SetEncoder(collection.features[0], weights=config.weights, device=config.device, dtype=config.dtype)
    details = config.form != "table" or config.html is not None
    answers = collection.answer(queries, encoder, rules=config.rules(), details=details)
    text = written(answers, config.form, None if config.output else sys.stdout.encoding)
    if config.output is not None:
        write_file(config.output, f"{text}\n" if text else "")
    elif text:
        print(text)
    return answers


def _report(
    config: Config,
    path: str,
    collection: Collection | None,
    features: Sequence[FeatureSet],
    queries: list[Query],
    answers: list[Hits],
) -> None:
    from pipeline.queries.hit_gallery import answer_sections, first_photos
    from pipeline.reports import write_gallery

    sections = [] if collection is None else answer_sections(collection, queries, answers)
    if config.browse is not None:
        sections += [first_photos(one, config.browse) for one in features]
    photos = sum(map(len, features)) if collection is None else collection.photos
    places = ", ".join(one.root for one in features[:3]) + (", ..." if len(features) > 3 else "")
    subtitle = f"{places} · {features[0].manifest.encoder.get('name')} · {photos} photos"
    title = "Photos found" if queries else "Photos and their objects"
    write_gallery(path, title, sections, subtitle=subtitle, rules=config.rules())
    if config.form == "table":
        print(f"\nreport: {path}" if queries else f"report: {path}")
