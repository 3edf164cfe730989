"""Loading models of open_clip: from a folder in its form, or from anything that its factory takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.encoders.open_clip.config import CONFIG, read_config
from pipeline.encoders.open_clip.plain_weights import WEIGHTS, plain_spec
from pipeline.encoders.open_clip.sizes import find_model, model_sizes
from pipeline.encoders.open_clip.table import open_clip_models
from pipeline.encoders.open_clip.word_tokenizer import Tokenize, WordTokenizer, has_whole_words
from pipeline.encoders.reading import Reading
from pipeline.encoders.spec import EncoderSpec
from pipeline.encoders.weight_files import UNREADABLE
from pipeline.errors import QpertError, first_line
from pipeline.io.model_files import check_configurations, refuse_pickles
from pipeline.io.tokenizer_files import check_tokenizer

if TYPE_CHECKING:
    from pipeline.encoders.open_clip.library import Model

_VOCABULARIES = (
    "tokenizer.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
"""Files of which a tokenizer of transformers has at least one."""

# `library` is imported inside functions: folders are checked, and plain ones loaded, without open_clip.


def load_weights(weights: str) -> tuple[Model, Tokenize]:
    """A model on the CPU in float32, and its tokenizer; no code of repositories, folders or checkpoints is run.

    Args:
        weights: one of

            - a folder with open_clip_config.json and open_clip_model.safetensors (and tokenizer.json of whole words,
              or a tokenizer of transformers; else CLIP's is used);
            - "model:tag" (as `ViT-B-16-SigLIP2-256:webli`; downloads);
            - "model:path" of a checkpoint file, with a tokenizer of transformers beside it or else the model's own;
            - "hf-hub:org/name".

    Raises:
        QpertError: with what to do, if the weights are unknown, missing, out of reach or do not fit.
    """
    check_weights(weights)
    folder = Path(weights)
    from pipeline.encoders.open_clip import library

    if folder.is_dir():
        return library.build_from_files(folder / CONFIG, folder / WEIGHTS, weights)
    return library.load_from_open_clip(weights)


def check_weights(weights: str) -> None:
    """Refuse unknown names, and files and folders that are missing or incomplete; the hub is not asked."""
    if Path(weights).is_dir():
        _check_folder(Path(weights))
        return
    model, _, tag = weights.partition(":")
    if model in open_clip_models() and tag in open_clip_models()[model].weights:
        return  # without the seconds that the library takes
    from pipeline.encoders.open_clip import library

    library.model_and_source(weights)


def read_spec(weights: str) -> EncoderSpec:
    """Sizes of a model by its configuration, without loading it; without a configuration, those of CoCa's ViT-L/14."""
    folder = Path(weights)
    if spec := plain_spec(folder):
        return spec
    try:
        if not folder.is_dir():
            return model_sizes(weights)
        from pipeline.encoders.open_clip import library

        return library.measure(read_config(folder / CONFIG)[0])
    except UNREADABLE:
        return EncoderSpec(638_450_177, tokens=257, width=1024, vectors=1, dim=768)  # coca_ViT-L-14


def read_resolution(weights: str) -> tuple[int, int] | None:
    """Sides of the input and of a patch in pixels; None where only loading the model shows them."""
    folder = Path(weights)
    try:
        if folder.is_dir():
            side, tokens = read_config(folder / CONFIG)[0].vision_cfg.image_size, read_spec(weights).tokens
        else:
            model = find_model(weights)
            side, tokens = model.image_size, model.tokens
    except UNREADABLE:
        return None
    # The vector of a tower in one piece is its only token.
    return (side, side // math.isqrt(tokens)) if isinstance(side, int) and tokens > 1 else None


def read_texts(tokenizer: Tokenize | None, texts: Sequence[str]) -> Reading | None:
    """See `Encoder.read_texts`; None for a tokenizer of another program."""
    if tokenizer is None or isinstance(tokenizer, WordTokenizer):
        return None if tokenizer is None else tokenizer.read(texts)
    from pipeline.encoders.open_clip import library

    return library.read_texts(tokenizer, texts)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a file, or whose configuration leads to code or is not of open_clip."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            refuse_pickles(folder, WEIGHTS)
            raise QpertError(f"{folder} has no {name}: a folder in open_clip's form holds {CONFIG} and {WEIGHTS}")
    try:
        check_configurations(folder)
        config, _ = read_config(folder / CONFIG)
        named = config.text_cfg.hf_tokenizer_name
        if named and not has_whole_words(folder / "tokenizer.json"):
            check_tokenizer(folder)
            if not any((folder / name).is_file() for name in _VOCABULARIES):
                raise QpertError(
                    f"{folder} has no tokenizer: put the files of {named[:80]!r} there ({_VOCABULARIES[0]},"
                    f" {_VOCABULARIES[1]}, ...)"
                )
    except UNREADABLE as error:
        raise QpertError(f"{folder} does not hold a model of open_clip: {first_line(error)}") from error
