"""List the encoders and detectors that can be loaded: sizes, memory, licences, and which weights are here.

Examples:
  qpert models                                 the bundled miniatures, and published weights that people use
  qpert models siglip2                         all whose name contains it
  qpert models --all                           also everything else that open_clip knows
  qpert models ViT-B-16-SigLIP2-256            all that is known of one, and how to get it
  qpert models detectors                       where boxes can come from
  qpert models ViT-B-16-SigLIP2-256 --fetch    download its weights, which indexing would do at the first use
  qpert models --json                          the same for programs

Without --fetch nothing is loaded and nobody is asked: figures come from the models' configurations, and licences from
their pages. An interrupted download goes on where it stopped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import QpertError
from pipeline.printing import printable

if TYPE_CHECKING:
    from pipeline.encoders.catalogue import CatalogueEntry


class Config(BaseModel):
    """The options of ``qpert models``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        "",
        description="an encoder, a model, weights or a part of their names; `detectors` for those",
        json_schema_extra={"positional": True},
    )
    all: bool = Field(False, description="list everything that can be loaded by name, not only what people use")
    fetch: bool = Field(False, description="download the weights of one model to this machine, unless they are here")
    print_json: bool = Field(
        False, description="print JSON to stdout and nothing else", json_schema_extra={"flag": "--json"}
    )


def run(config: Config) -> int:
    """Prints a table, or what is known of one model."""
    # These load the hub's library, which `--help` does without.
    from pipeline.encoders.catalogue import BUNDLED, catalogue, find_entries, models_without_weights
    from pipeline.reports.model_list import DETECTORS, as_figures, detectors_text, models_text, one_model

    if config.name.casefold() == "detectors":
        figures = [{"detector": name, "what": what} for name, what in DETECTORS]
        print(json.dumps(figures, indent=2) if config.print_json else detectors_text())
        return 0
    entries = find_entries(config.name) if config.name else catalogue()
    if not config.name and not config.all:
        entries = [entry for entry in entries if entry.recommended]
    if not entries:
        name = printable(config.name)
        if any(model.name.casefold() == config.name.casefold() for model in models_without_weights()):
            raise QpertError(
                f"open_clip has no published weights for {name}: give your own, --encoder open_clip --weights"
                f" {name}:/path/to/file"
            )
        raise QpertError(
            f"no encoder or weights have {name!r} in their names; qpert models --all lists those there are, and qpert"
            " models detectors the detectors"
        )
    if config.fetch:
        return _fetch(entries)
    if config.print_json:
        print(json.dumps([as_figures(entry) for entry in entries], indent=2))
    else:
        one = config.name and len({entry.name for entry in entries} - {BUNDLED}) == 1
        print(one_model(entries) if one else models_text(entries))
    return 0


def _fetch(entries: list[CatalogueEntry]) -> int:
    from pipeline.encoders.downloads import weights_here
    from pipeline.runs.download import show_download

    entry = entries[0]
    if len({other.repository for other in entries}) > 1:
        names = ", ".join(f"{entry.encoder} {entry.weights}" for entry in entries[:6])
        raise QpertError(f"--fetch downloads one model; say which: {names}{', ...' * (len(entries) > 6)}")
    if not entry.bundled:
        show_download(entry.encoder, entry.weights)
        print(f"the weights are in {weights_here(entry.encoder, entry.weights)}")
    else:
        print("nothing to download: the weights come with the package")
    return 0
