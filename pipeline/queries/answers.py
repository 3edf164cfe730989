"""Answers as text: a table for people, JSON, JSON lines and CSV for programs. Nothing in them acts on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import QpertError
from pipeline.printing import csv_cell, printable, printable_json
from pipeline.queries.hits import Hit, Hits

Format = Literal["table", "json", "jsonl", "csv"]
_DIGITS = 6
"""Of boxes and scores of objects, which are stored in float32."""
_CSV = ("query", "rank", "score", "set", "image_id", "uri", "width", "height", "taken", "view", "objects", "folded")


def written(answers: Sequence[Hits], form: Format, encoding: str | None = None) -> str:
    """The answers in a format, without a line break at the end.

    Args:
        answers: of some queries.
        form: which.
        encoding: of the terminal or file; JSON escapes what it lacks.
    """
    writers: dict[Format, Callable[[], str]] = {
        "table": lambda: as_text(answers),
        "json": lambda: as_json(answers, encoding),
        "jsonl": lambda: as_json_lines(answers, encoding),
        "csv": lambda: as_csv(answers),
    }
    return writers[form]()


def write_file(path: str, text: str) -> None:
    """Write answers to a local file, as UTF-8.

    Raises:
        QpertError: it cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise QpertError(f"cannot write {path}: {error.strerror}") from error


def result_of(hit: Hit, rank: int) -> dict[str, Any]:
    """A hit as JSON, for the command line and the server alike; boxes are fractions of the photo.

    `set` is there where several sets are searched, `view` where photos have several.
    """
    return {
        "rank": rank,
        "score": hit.score,
        "image_id": hit.image_id,
        "uri": hit.uri,
        **({"set": hit.set} if hit.set else {}),
        **({} if hit.view is None else {"view": {"kind": hit.view.kind, "box": list(hit.view.box)}}),
        "width": hit.width,
        "height": hit.height,
        "taken": None if hit.taken is None else hit.taken.isoformat(),
        "objects": [
            {
                "label": found["label"],
                "score": round(found["score"], _DIGITS),
                "box": [round(found[side], _DIGITS) for side in ("x0", "y0", "x1", "y1")],
            }
            for found in hit.objects
        ],
        "folded": [other.image_id for other in hit.folded],
    }


def ranked(hits: Hits) -> Iterator[tuple[int, Hit]]:
    """Each hit with its rank, which goes on from page to page."""
    return enumerate(hits, hits.offset + 1)


def as_json(answers: Sequence[Hits], encoding: str | None = None) -> str:
    """A JSON list of `{"query", "results": [...]}`; of a result, see `result_of`."""
    return printable_json(
        [{"query": hits.query, "results": [result_of(hit, rank) for rank, hit in ranked(hits)]} for hits in answers],
        encoding,
    )


def as_json_lines(answers: Sequence[Hits], encoding: str | None = None) -> str:
    """A line of JSON for each hit: `query` and the keys of `result_of`."""
    return "\n".join(
        printable_json({"query": hits.query, **result_of(hit, rank)}, encoding, indent=None)
        for hits in answers
        for rank, hit in ranked(hits)
    )


def as_csv(answers: Sequence[Hits]) -> str:
    """A table for spreadsheets: a header, and a row for each hit.

    Text that a spreadsheet would run as a formula has an apostrophe before it, control characters and line breaks are
    escaped. Programs that need exact ids read JSON.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for hits in answers:
        for rank, hit in ranked(hits):
            values = (
                hits.query,
                rank,
                hit.score,
                hit.set,
                hit.image_id,
                hit.uri,
                hit.width,
                hit.height,
                None if hit.taken is None else hit.taken.isoformat(),
                None if hit.view is None else hit.view.text(),
                "; ".join(_label(found) for found in hit.objects),
                "; ".join(other.image_id for other in hit.folded),
            )
            writer.writerow(csv_cell(printable(value)) if isinstance(value, str) else value for value in values)
    return text.getvalue().rstrip("\n")


def as_text(answers: Sequence[Hits]) -> str:
    """Rank, score and path of every hit, below its query; its set where there are several, and what matched."""
    blocks = []
    for hits in answers:
        width = max((len(printable(hit.set)) for hit in hits), default=0)
        lines = [
            f"{rank:>4}  {hit.score:6.3f}  {_set_text(hit, width)}{_view_text(hit)}{printable(hit.uri)}"
            + _folded_text(hit)
            for rank, hit in ranked(hits)
        ]
        nothing = "no further photo" if hits.offset else f"no photo{_filter_text(hits)} scores high enough"
        blocks.append("\n".join([printable(hits.query), *(lines or [f"      {nothing}"])]))
    return "\n\n".join(blocks)


def _filter_text(hits: Hits) -> str:
    return f" that meets the filters ({printable(hits.filters)})" if hits.filters else ""


def _set_text(hit: Hit, width: int) -> str:
    return f"{printable(hit.set):<{width}}  " if hit.set else ""


def _view_text(hit: Hit) -> str:
    """What matched, in a column of its own; nothing where photos have one view."""
    return "" if hit.view is None else f"{printable(hit.view.text()):<22}  "


def _folded_text(hit: Hit) -> str:
    count = len(hit.folded)
    return f"  (and {count:,} near-duplicate{'' if count == 1 else 's'})" if count else ""


def _label(found: Mapping[str, Any]) -> str:
    return f"{found['label'] or 'object'} {found['score']:.2f}"
