"""The options of a search, and the queries that they ask for. Free of torch, so that ``--help`` is quick."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import QpertError
from pipeline.io.locations import is_uri
from pipeline.io.paths import LocalPath, PathText, ReportPath, WeightsText, local
from pipeline.queries.answers import Format
from pipeline.queries.filters import Filters
from pipeline.queries.query import MOST_PHOTOS, Query, Term
from pipeline.queries.words import parse_box, weighted


class SearchOptions(BaseModel):
    """What to search for, where, and how to show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: PathText | None = Field(
        None,
        description="folder, URI or pattern of features that qpert index wrote; further ones may follow",
        json_schema_extra={"positional": True},
    )
    text: list[str] = Field(
        default_factory=list, description="what to look for; each in quotes", json_schema_extra={"positional": True}
    )
    sets: list[PathText] = Field(
        [],
        description="the feature sets, by name or pattern; all words that are not options are texts then",
        json_schema_extra={"flag": "--in", "adds": True},
    )
    texts: list[str] = Field(
        [],
        description="texts to look for, whatever feature sets are called",
        json_schema_extra={"flag": "--text", "adds": True},
    )
    queries: LocalPath | None = Field(None, description="text file with one query per line, added to the others")
    plus: list[str] = Field(
        [], description="texts to add to each query; 0.5:TEXT adds half of one", json_schema_extra={"adds": True}
    )
    minus: list[str] = Field(
        [],
        description="texts to take away from each query; 0.5:TEXT takes half of one",
        json_schema_extra={"adds": True},
    )
    image: list[str] = Field(
        [],
        description="photos to look for, by path or URL: alone, or added to each query; 0.5:PATH adds half of one",
        json_schema_extra={"adds": True},
    )
    like: list[str] = Field(
        [],
        description="ids of indexed photos, used as --image by their stored vectors; 0.5:ID adds half of one",
        json_schema_extra={"adds": True},
    )
    box: str | None = Field(
        None, description="what counts of the photo: left,top,right,bottom in fractions, or in percent (10,20,50,60%)"
    )
    k: int = Field(10, ge=1, le=MOST_PHOTOS, description="photos per query", json_schema_extra={"flag": "-k"})
    page: int | None = Field(None, ge=1, description="which K photos: 2 for those after the first K")
    skip: int | None = Field(None, ge=0, description="leave out so many photos at the beginning")
    min_score: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="leave out photos that score below this (cosine, -1 to 1)"
    )
    fold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="hang near-duplicates on the best of them: photos whose vectors have at least this cosine (0.98)",
    )
    exact: bool = Field(False, description="compare every photo, whatever index there is")
    cache: bool = Field(True, description="keep a copy of the vectors beside the features that is quicker to read")
    format: Format | None = Field(
        None, description="table for people; json, jsonl (a line per hit) or csv for programs (default: table)"
    )
    print_json: bool = Field(
        False, description="print JSON to stdout and nothing else", json_schema_extra={"flag": "--json"}
    )
    output: ReportPath | None = Field(None, description="write the answers to this file instead of stdout")
    html: ReportPath | None = Field(
        None, description="write a report with thumbnails and the objects' boxes to this file"
    )
    browse: int | None = Field(None, ge=1, description="put the first N photos into the --html report, without a query")
    variant: str | None = Field(None, description="which embedding, of a set with several (qpert reproduce)")
    weights: WeightsText | None = Field(
        None,
        description="the encoder's weights, if they are files: files that a feature set names are not opened unasked",
    )
    device: str = Field("cpu", description="torch device for the encoder")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="of the encoder; bfloat16 halves the memory of a large one"
    )

    @model_validator(mode="after")
    def _together(self) -> SearchOptions:
        if self.page is not None and self.skip is not None:
            raise ValueError("--page and --skip both say where to begin: leave one out")
        if self.print_json and self.format not in (None, "json"):
            raise ValueError(f"--json and --format {self.format} are two formats: leave one out")
        if self.box is not None and len(self.image) + len(self.like) != 1:
            raise ValueError("--box is a part of one photo: name it with --image or --like")
        return self

    @property
    def form(self) -> Format:
        """In which format to answer."""
        return "json" if self.print_json else self.format or "table"

    def asked(self, texts: list[str], filters: Filters) -> list[Query]:
        """The queries: one for each text, with all other terms added; without a text one of these alone, if any.

        Args:
            texts: of the command line and of files, none empty.
            filters: which photos count.

        Raises:
            QpertError: a value that cannot be understood, or a query that can have no answer.
        """
        added = self._added()
        starts: list[tuple[Term, ...]] = [(Term(text=text),) for text in texts] or ([()] if added else [])
        offset = self.skip or 0 if self.page is None else (self.page - 1) * self.k
        return [
            Query(
                (*start, *added),
                filters,
                k=self.k,
                offset=offset,
                min_score=self.min_score,
                fold=self.fold,
                exact=self.exact,
            )
            for start in starts
        ]

    def _added(self) -> tuple[Term, ...]:
        box = None if self.box is None else parse_box(self.box)
        terms = []
        for word in self.plus:
            weight, text = weighted(word)
            terms.append(Term(text=text.strip(), weight=weight))
        for word in self.image:
            weight, path = weighted(word)
            path = local(path)
            if not is_uri(path) and not os.path.lexists(path):
                raise QpertError(f"--image {path}: there is no such file; texts stand before --image or behind --text")
            terms.append(Term(image=path, box=box, weight=weight))
        for word in self.like:
            weight, image_id = weighted(word)
            terms.append(Term(like=image_id, box=box, weight=weight))
        for word in self.minus:
            weight, text = weighted(word)
            if weight < 0:
                raise QpertError(f"--minus {word}: what is taken away has no sign of its own; leave it out")
            terms.append(Term(text=text.strip(), weight=-weight))
        return tuple(terms)

    def read_texts(self, words: list[str]) -> list[str]:
        """The texts among the words, those of --text, and those of the file, without blanks around them.

        Raises:
            QpertError: an empty text, or a file that cannot be read or holds none.
        """
        for number, text in enumerate([*words, *self.texts], 1):
            if not text.strip():
                raise QpertError(f"query {number} is empty; write what the photo should show")
            if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise QpertError(f"query {number} is not valid text: {text!r}; the terminal should send UTF-8")
        texts = [text.strip() for text in (*words, *self.texts)]
        if self.queries is not None:
            try:
                lines = Path(self.queries).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise QpertError(f"cannot read --queries {self.queries}: {error}") from error
            queries = [line.strip() for line in lines if line.strip()]
            if not queries:
                raise QpertError(f"--queries {self.queries} holds no query")
            texts += queries
        return texts
