"""What known queries are about, as the classes of an open vocabulary: `--classes-from-queries FILE`.

The nouns of the queries, with nouns directly before them ("traffic light"), in the singular. Words are tagged by
TextBlob, whose lexicon and rules for English come with it: nothing is downloaded and no model is loaded. Adjectives are
left out, as they would make many classes of one ("red kite" becomes "kite"); those that matter can be added by name. A
tagger without context is sometimes wrong: it takes the verb of "the dog trots" for a noun. So those that few queries
name are left out where there are more than `MOST`, and --dry-run shows what will be looked for.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.captions.recognising import TABLE_SUFFIXES
from pipeline.datasets.text_file import plain_suffix
from pipeline.detectors.class_names import LONGEST
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError

_log = logging.getLogger(__name__)

MOST = 100
"""Classes that are taken from queries; those that most queries name."""
_LARGEST = 64 * 1024**2
"""Bytes of a file with one query per line."""
_LONGEST = 4
"""Words of a class."""
_CAPTIONS = (".json", ".token", *TABLE_SUFFIXES)
_NOUNS, _PLURALS = ("NN", "NNS", "NNP", "NNPS"), ("NNS", "NNPS")
_ONE, _BETWEEN = ("a", "an", "another", "each", "every", "one", "this"), ("JJ", "RB", "VBG", "VBN")
"""Words before a singular, and kinds of words between them and their noun."""
_ONLY_PLURAL = ("binoculars", "clothes", "glasses", "goggles", "pants", "shorts", "sports")
_NOT_SEEN = frozenset(
    {
        "anything", "background", "bottom", "center", "centre", "close-up", "closeup", "corner", "day", "distance",
        "edge", "end", "everything", "foreground", "front", "group", "half", "image", "kind", "layer", "left", "lot",
        "middle", "move", "night", "nothing", "number", "object", "one", "other", "pair", "part", "photo", "photograph",
        "picture", "piece", "place", "right", "row", "scene", "set", "shot", "side", "something", "somewhere", "sort",
        "surface", "thing", "time", "top", "type", "view", "way",
    }
)  # fmt: skip
"""Nouns of queries that name no object."""


def with_query_classes(config: DetectorConfig) -> DetectorConfig:
    """`config` with the nouns of its `classes_from_queries` among its `classes`, and without the file.

    Raises:
        QpertError: the file cannot be read, or has no nouns; or TextBlob is not installed.
    """
    check_textblob(config)
    if config.classes_from_queries is None:
        return config
    texts = read_queries(Path(config.classes_from_queries))
    counts = Counter(noun for text in texts for noun in {*nouns(text)})
    ranked = sorted(counts, key=lambda noun: (-counts[noun], noun))
    if not ranked:
        raise QpertError(f"--classes-from-queries {config.classes_from_queries}: no nouns were found in its queries")
    if len(ranked) > MOST:
        _log.warning(
            "the queries name %d things; the %d that most of them name are looked for, without %s, ...",
            len(ranked),
            MOST,
            ", ".join(ranked[MOST : MOST + 5]),
        )
    classes = sorted({*(config.classes or ()), *ranked[:MOST]})
    return config.model_copy(update={"classes": tuple(classes), "classes_from_queries": None})


def check_textblob(config: DetectorConfig) -> None:
    """Refuses `classes_from_queries` where TextBlob is not installed, without importing it.

    Raises:
        QpertError: with the command that installs it.
    """
    if config.classes_from_queries is not None and find_spec("textblob") is None:
        raise QpertError("--classes-from-queries needs textblob: pip install 'qpert[queries]'")


def read_queries(path: Path, *, strict: bool = False) -> list[str]:
    """The queries in a text file, one per line, or the captions in a file as `qpert evaluate` reads them.

    Raises:
        QpertError: the file is missing, damaged, too large or empty; or has a bad caption, if `strict`.
    """
    if plain_suffix(path) in _CAPTIONS or path.is_dir():
        images = read_captions(path, split=None, strict=strict)
        return [caption for image in images for caption in image.captions]
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)  # the size of a pipe or device is unknown
        if len(content) > _LARGEST:
            raise QpertError(f"--classes-from-queries {path} has more than {_LARGEST // 1024**2} MB")
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QpertError(f"cannot read --classes-from-queries {path}: {error}") from error
    queries = [line.strip() for line in lines if line.strip()]
    if not queries:
        raise QpertError(f"--classes-from-queries {path} holds no query")
    return queries


def nouns(text: str) -> Iterator[str]:
    """The nouns of a text, in lower case and in the singular; a single word counts as one."""
    from textblob import Word
    from textblob.en import tag

    words = [(str(word), str(kind)) for word, kind in tag(text.lower())]
    if len(words) == 1:
        words = [(words[0][0], words[0][1] if words[0][1] in _PLURALS else "NN")]
    for *before, (last, kind) in _runs(words):
        head = str(Word(last).singularize()) if kind in _PLURALS and last not in _ONLY_PLURAL else last
        name = " ".join([*(word for word, _ in before), head])
        if name not in _NOT_SEEN and len(head) > 1 and len(before) < _LONGEST and len(name) <= LONGEST:
            yield name


def _runs(words: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Nouns that follow each other, up to a plural: "a kitten with whiskers stares" has "stares" tagged as a noun.

    After "a" and the like no plural can follow either, as in "a squirrel nibbles".
    """
    run: list[tuple[str, str]] = []
    one = False
    for word, kind in [*words, ("", "")]:
        if kind in _NOUNS and word.isascii() and word.replace("-", "").isalpha():
            ended = bool(run) and (run[-1][1] in _PLURALS or (one and kind in _PLURALS))
            run += [] if ended else [(word, kind)]
            continue
        if run:
            yield run
        run, one = [], word in _ONE or (one and not run and kind in _BETWEEN)
