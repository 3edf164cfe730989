"""Find photos by text in indexed features.

Examples:
    qpert search features "a small red star"
    qpert search features "a dog" "a dog on a beach" -k 5 --html found.html
    qpert search features --queries queries.txt --min-score 0.2 --json > found.json
    qpert search features --browse 100 --html boxes.html     (no query: see photos and their objects)

The search is exact: every photo is compared, block by block, so that memory does not grow with the index. A photo's
score is the highest cosine of its vectors with the text's; of features with several views per photo (qpert index
--multi), the answer says which view matched, with its box in percent of the photo's width and height. What makes a
good score depends on the encoder: look at a few answers before you choose --min-score.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import QpertError
from pipeline.io.paths import LocalPath, PathText, ReportPath, WeightsText
from pipeline.printing import printable, printable_json
from pipeline.queries.hits import Hit, Hits
from pipeline.runs.options import ReadOptions

logger = logging.getLogger(__name__)


class SearchOptions(BaseModel):
    """What to search for, where, and how to show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: PathText = Field(description="folder or URI that qpert index wrote", json_schema_extra={"positional": True})
    text: list[str] = Field(
        default_factory=list, description="what to look for; each in quotes", json_schema_extra={"positional": True}
    )
    queries: LocalPath | None = Field(None, description="text file with one query per line, added to the others")
    k: int = Field(10, ge=1, description="photos per query", json_schema_extra={"flag": "-k"})
    min_score: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="leave out photos that score below this (cosine, -1 to 1)"
    )
    print_json: bool = Field(
        False, description="print JSON to stdout and nothing else", json_schema_extra={"flag": "--json"}
    )
    html: ReportPath | None = Field(
        None, description="write a report with thumbnails and the objects' boxes to this file"
    )
    browse: int | None = Field(None, ge=1, description="put the first N photos into the --html report, without a query")
    variant: str | None = Field(None, description="which embedding, of a set with several (qpert reproduce)")
    weights: WeightsText | None = Field(
        None,
        description="the encoder's weights, if they are files: files that a feature set names are not opened unasked",
    )
    device: str = Field("cpu", description="torch device for the texts")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="of the text encoder; bfloat16 halves the memory of a large one"
    )


class Config(ReadOptions, SearchOptions):
    """The options of ``qpert search``; the read options apply to the report, which shows the photos."""


def run(config: Config) -> int:
    """Answers the queries; returns 0, also when nothing is found."""
    texts = read_queries(config)
    if config.browse is not None and config.html is None:
        raise QpertError("--browse shows photos in a report: name its file with --html FILE")
    if not texts and config.browse is None:
        raise QpertError(f'nothing to look for; for example: qpert search {config.out} "a small red star"')
    # Imported here, because --help and refusals must not wait for torch.
    from pipeline.features.feature_set import FeatureSet
    from pipeline.features.miniatures import REMINDER, warning_of
    from pipeline.queries.exact import search
    from pipeline.queries.hit_gallery import first_photos, hit_sections
    from pipeline.reports import write_gallery

    features = FeatureSet.open(config.out, config.variant)
    if hint := quotes_hint(config.text):
        logger.warning(hint)
    warning = warning_of(features.manifest)
    if warning is not None:
        logger.warning(warning)
    sections = []
    if texts:
        answers = search(
            features,
            texts,
            config.k,
            min_score=config.min_score,
            weights=config.weights,
            device=config.device,
            dtype=config.dtype,
        )
        print(as_json(answers) if config.print_json else as_text(answers))
        if config.html is not None:
            sections += hit_sections(features, answers)
    if config.browse is not None:
        sections.append(first_photos(features, config.browse))
    if config.html is not None:
        subtitle = f"{config.out} · {features.manifest.encoder.get('name')} · {len(features)} photos"
        title = "Photos found" if texts else "Photos and their objects"
        write_gallery(config.html, title, sections, subtitle=subtitle, rules=config.rules())
        if not config.print_json:
            print(f"\nreport: {config.html}" if texts else f"report: {config.html}")
    if warning is not None:
        logger.warning(REMINDER)
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
        queries = [line.strip() for line in lines if line.strip()]
        if not queries:
            raise QpertError(f"--queries {config.queries} holds no query")
        texts += queries
    return texts


def quotes_hint(words: list[str]) -> str | None:
    """What to say of queries of one word each, which are probably one query without its quotes; else None."""
    if len(words) < 2 or any(len(word.split()) != 1 for word in words):
        return None
    return f'{len(words)} queries of one word each; did you mean "{" ".join(word.strip() for word in words)}"?'


def as_json(answers: list[Hits]) -> str:
    """A JSON list of `{"query", "results": [{"rank", "score", "image_id", "uri"}]}`.

    A result of features with several views per photo has `"view": {"kind", "box": [x0, y0, x1, y1]}` as well.
    """
    return printable_json(
        [
            {
                "query": hits.query,
                "results": [
                    {"rank": rank, "score": hit.score, "image_id": hit.image_id, "uri": hit.uri, **_view(hit)}
                    for rank, hit in enumerate(hits, 1)
                ],
            }
            for hits in answers
        ],
        sys.stdout.encoding,
    )


def _view(hit: Hit) -> dict[str, Any]:
    return {} if hit.view is None else {"view": {"kind": hit.view.kind, "box": list(hit.view.box)}}


def _view_text(hit: Hit) -> str:
    """What matched, in a column of its own; nothing where photos have one view."""
    return "" if hit.view is None else f"{printable(hit.view.text()):<22}  "


def as_text(answers: list[Hits]) -> str:
    """Rank, score and path of every hit, below its query."""
    blocks = []
    for hits in answers:
        lines = [
            f"{rank:>4}  {hit.score:6.3f}  {_view_text(hit)}{printable(hit.uri)}" for rank, hit in enumerate(hits, 1)
        ]
        blocks.append("\n".join([printable(hits.query), *(lines or ["      no photo scores high enough"])]))
    return "\n\n".join(blocks)
