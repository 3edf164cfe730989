"""Find photos by text in indexed features.

Examples:
    qpert search features "a small red star"
    qpert search features "a dog" "a dog on a beach" -k 5 --html found.html
    qpert search features --queries queries.txt --min-score 0.2 --json > found.json
    qpert search features --browse 100 --html boxes.html     (no query: see photos and their objects)

The search is exact: every photo is compared, block by block, so that memory does not grow with the index. A photo's
score is the highest cosine of its vectors with the text's. How high a good score is depends on the encoder: look at a
few answers before you choose --min-score.
"""

from __future__ import annotations

import sys
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.io.paths import LocalPath, PathText, ReportPath, WeightsText
from pipeline.printing import printable, printable_json
from pipeline.reports import Photo, Section, photos_of, write_gallery
from pipeline.retrieval import Hit, embed_texts, load_text_encoder, top_k
from pipeline.retrieval.similarity import rows_of
from pipeline.runs.options import ReadOptions


class SearchOptions(BaseModel):
    """What to look for, where, and how to show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: PathText = Field(description="folder or URI that qpert index wrote", json_schema_extra={"positional": True})
    text: list[str] = Field(
        default_factory=list, description="what to look for; each in quotes", json_schema_extra={"positional": True}
    )
    queries: LocalPath | None = Field(None, description="text file with one query per line, added to the others")
    k: int = Field(10, ge=1, description="photos per query", json_schema_extra={"flag": "-k"})
    min_score: float | None = Field(
        None, allow_inf_nan=False, description="leave out photos that score below this (cosine, -1 to 1)"
    )
    print_json: bool = Field(
        False, description="print JSON to stdout and nothing else", json_schema_extra={"flag": "--json"}
    )
    html: ReportPath | None = Field(
        None, description="write a report with thumbnails and the objects' boxes to this file"
    )
    browse: int | None = Field(None, ge=1, description="put the first N photos into the --html report, without a query")
    variant: str | None = Field(None, description="which embedding, of a set that has several (qpert reproduce)")
    weights: WeightsText | None = Field(
        None,
        description="the encoder's weights, where they are files: what a feature set names is not opened unasked",
    )
    device: str = Field("cpu", description="torch device for the texts")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="of the encoder for the texts; bfloat16 halves the memory of a large one"
    )


class Config(ReadOptions, SearchOptions):
    """The options of ``qpert search``; where photos may be read is for the report, which shows them."""


def run(config: Config) -> int:
    """Answers the queries; returns 0, also when nothing is found."""
    texts = read_queries(config)
    if config.browse is not None and config.html is None:
        raise QpertError("--browse shows photos in a report: say where with --html FILE")
    if not texts and config.browse is None:
        raise QpertError(f'nothing to look for; for example: qpert search {config.out} "a small red star"')
    features = FeatureSet.open(config.out, config.variant)
    sections = []
    if texts:
        encoder = load_text_encoder(features, weights=config.weights, device=config.device, dtype=config.dtype)
        answers = top_k(features, embed_texts(encoder, texts), config.k, min_score=config.min_score)
        print(as_json(texts, answers) if config.print_json else as_text(texts, answers))
        if config.html is not None:
            sections += answer_sections(features, texts, answers)
    if config.browse is not None:
        sections.append(_browse(features, config.browse))
    if config.html is not None:
        subtitle = f"{config.out} · {features.manifest.encoder.get('name')} · {len(features)} photos"
        title = "Photos found" if texts else "Photos and their objects"
        write_gallery(config.html, title, sections, subtitle=subtitle, rules=config.rules())
        if not config.print_json:
            print(f"\nreport: {config.html}" if texts else f"report: {config.html}")
    return 0


def read_queries(config: Config) -> list[str]:
    """The queries of the command line and of the file.

    Raises:
        QpertError: an empty query, or a file that cannot be read or holds none.
    """
    for number, text in enumerate(config.text, 1):
        if not text.strip():
            raise QpertError(f"query {number} is empty; write what the photo should show")
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise QpertError(f"query {number} is not valid text: {text!r}; the terminal should send UTF-8")
    texts = [text.strip() for text in config.text]
    if config.queries is not None:
        try:
            lines = Path(config.queries).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise QpertError(f"cannot read --queries {config.queries}: {error}") from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise QpertError(f"--queries {config.queries} holds no query")
        texts += found
    return texts


def as_json(texts: list[str], answers: list[list[Hit]]) -> str:
    """A JSON list of `{"query", "results": [{"rank", "score", "image_id", "uri"}]}`."""
    return printable_json(
        [
            {
                "query": text,
                "results": [
                    {"rank": rank, "score": hit.score, "image_id": hit.image_id, "uri": hit.uri}
                    for rank, hit in enumerate(hits, 1)
                ],
            }
            for text, hits in zip(texts, answers, strict=True)
        ],
        sys.stdout.encoding,
    )


def as_text(texts: list[str], answers: list[list[Hit]]) -> str:
    """Rank, score and path of every answer, below its query."""
    blocks = []
    for text, hits in zip(texts, answers, strict=True):
        lines = [f"{rank:>4}  {hit.score:6.3f}  {printable(hit.uri)}" for rank, hit in enumerate(hits, 1)]
        blocks.append("\n".join([printable(text), *(lines or ["      no photo scores high enough"])]))
    return "\n\n".join(blocks)


def answer_sections(
    features: FeatureSet, texts: list[str], answers: list[list[Hit]], *, note: str = ""
) -> list[Section]:
    """The answers as sections of a gallery, with the objects that the features hold."""
    rows = rows_of(features, [hit.image_id for hit in chain(*answers)], ["objects"])
    return [
        Section(
            text,
            [
                Photo(hit.image_id, hit.uri, rows[hit.image_id]["objects"] or (), rank, hit.score)
                for rank, hit in enumerate(hits, 1)
            ],
            note,
        )
        for text, hits in zip(texts, answers, strict=True)
    ]


def _browse(features: FeatureSet, count: int) -> Section:
    columns = ["image_id", "uri", "objects", "error"]
    blocks = features.iter_blocks(columns, rows=min(count, 1024), failed=True)
    rows = list(islice(chain.from_iterable(block.to_pylist() for block in blocks), count))
    return Section(f"The first {len(rows)} photos", photos_of(rows))
