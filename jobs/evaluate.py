"""Measure retrieval: Recall@K of captions over indexed photos, in both directions and by object size.

Examples:
    qpert evaluate features --captions dataset_scenes.json
    qpert evaluate features --captions dataset_flickr30k.json --split test --annotations flickr30k_entities
    qpert evaluate perturbed --against plain --captions captions_val2014.json --annotations instances_val2014.json
    qpert evaluate features --queries objects --annotations instances_val2014.json --template "a photo of a {}"
    qpert evaluate january february 's3://bucket/part-*' --captions captions.json
    qpert evaluate features --captions captions.csv -k 1 5 10 --json r.json --csv r.csv --markdown r.md --figure r.svg

Recall@K is the share of queries with a right answer in the top K: for text to image, the caption's photo; for image to
text, any of the photo's captions. mR@K is the harmonic mean over ten bins of the largest object's area. A tie counts
against the query. Captions and photos are joined by file name, and the photos of the split are the gallery. Each figure
has a 95 % interval, from resampled photos. --against OTHER takes the features OTHER as the baseline and measures what
OUT adds on the same queries: the difference, its interval, whether it is shown or how large it would have to be to be
seen, and p from sign flips over photos, also corrected for all that the tables compare (Holm).

Several sets of different photos, made by the same encoder, are one gallery; a pattern in quotes names all that fit it.
A photo that two of them hold is refused, and with --against the baseline may be a pattern too.

--rerank takes the 128 best photos of each caption, and the 128 best captions of each photo, and orders them by
image-text matching score + cosine (BLIP-2); objects act in matching if the features' perturbation has the stage itm. It
opens the photos again, on Ray, on the GPU types that they were indexed on, if available (--accelerators); if machines
are lost, it goes on with those that are left. Its scores are kept in OUT/rerank. The rest is done in this process. The
output shows both orders and their difference; with --against, the two sets, re-ranked.

--queries objects takes the names of the annotated classes as queries. Each has many right photos: all that show the
class. Measured are mAP, R-precision, nDCG and Recall@K (any right photo in the top K), over all right photos and over
those whose largest box of the class is below 1, 3 or 10 % of the photo. Where annotators looked for some classes only
(LVIS), a class is searched for among the photos that are known to show it or not. Intervals are over the classes.

If Ray is already running (--address, RAY_ADDRESS, a submitted job), the evaluation is one Ray task, so that it runs
beside the features and not where the command was typed. Otherwise it runs in this process: starting Ray for a single
task would only cost time.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from pipeline.errors import QpertError
from pipeline.experiments.evaluation_spec import EvaluationSpec
from pipeline.io.paths import ReportPath


class Config(EvaluationSpec):
    """The options of ``qpert evaluate``."""

    json_file: ReportPath | None = Field(
        None, description="also write the figures to this file", json_schema_extra={"flag": "--json"}
    )
    csv_file: ReportPath | None = Field(
        None, description="also write the figures to this table, one per row", json_schema_extra={"flag": "--csv"}
    )
    markdown_file: ReportPath | None = Field(
        None, description="also write the tables to this file", json_schema_extra={"flag": "--markdown"}
    )
    figure: ReportPath | None = Field(None, description="draw recall by object size: a .png or .svg file")

    @field_validator("figure")
    @classmethod
    def _drawable(cls, path: str | None) -> str | None:
        """Refuses another kind of file before the work."""
        from pipeline.reports.recall_plot import check_plot_path

        try:
            if path is not None:
                check_plot_path(path)
        except QpertError as error:
            raise ValueError(str(error)) from error
        return path


def run(config: Config) -> int:
    """Evaluates, prints the tables and writes the files."""
    if config.queries == "objects":
        return _run_objects(config)
    # Imported here, because --help must not wait for torch.
    from pipeline.experiments.evaluating import run_evaluation
    from pipeline.reports.recall_plot import plot_recall_by_size
    from pipeline.reports.recall_report import as_csv, as_json, as_markdown, as_text

    result = run_evaluation(config)
    by = "annotated" if config.annotations else "indexed"
    print(as_text(result, by=by))
    written = _write_all(config, as_json(result), as_csv(result), as_markdown(result, by=by))
    if config.figure is not None:
        plot_recall_by_size(result, config.figure, by=by)
        written.append(config.figure)
    if written:
        print(f"\nfigures: {', '.join(written)}")
    return 0


def _run_objects(config: Config) -> int:
    """Evaluates by the names of classes, prints the tables and writes the files."""
    from pipeline.experiments.evaluating_objects import run_object_evaluation
    from pipeline.reports.object_report import as_csv, as_json, as_markdown, as_text

    if config.figure is not None:
        raise QpertError("--figure draws recall of captions, which --queries objects does not have")
    result = run_object_evaluation(config)
    print(as_text(result))
    if written := _write_all(config, as_json(result), as_csv(result), as_markdown(result)):
        print(f"\nfigures: {', '.join(written)}")
    return 0


def _write_all(config: Config, json: str, csv: str, markdown: str) -> list[str]:
    """Writes the reports that were asked for; returns their paths."""
    texts = ((config.json_file, json), (config.csv_file, csv), (config.markdown_file, markdown))
    for path, text in texts:
        if path is not None:
            _write(path, text)
    return [path for path, _ in texts if path is not None]


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise QpertError(f"cannot write {path}: {error.strerror}") from error
