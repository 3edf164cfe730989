"""What the words of a command mean: feature sets or texts, weights, boxes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from pipeline.datasets.photos.own_output import is_feature_set
from pipeline.datasets.photos.patterns import is_pattern
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri
from pipeline.io.paths import local
from pipeline.queries.query import Box, check_box

_WEIGHT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)):(.*)", re.DOTALL)
_PATHS = ("/", "./", "../", "~/")
_CORNERS = re.compile(r"([^-]+)-([^-]+)")
_AS_TEXT = "what is meant as a text goes behind --text"


def sets_and_texts(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The feature sets at the beginning of some words, and the texts after them.

    The first word is a set. Those after it are sets as long as they are URIs, feature sets on this machine, or patterns
    that fit some; all others are texts.

    Returns:
        Paths, URIs and patterns, and the texts.

    Raises:
        QpertError: a word that is written like a path or pattern but names no feature set, or a set after a text.
    """
    sets = [local(words[0])] if words else []
    for number, word in enumerate(words[1:], 1):
        if not _names_sets(word):
            texts = list(words[number:])
            break
        sets.append(local(word))
    else:
        return sets, []
    for word in texts[1:]:
        if _is_set(word):
            raise QpertError(
                f"{word} is a feature set, but comes after {texts[0]!r}, which is none: feature sets come first;"
                f" {_AS_TEXT}"
            )
    return sets, texts


def weighted(word: str) -> tuple[float, str]:
    """The weight of ``WEIGHT:REST`` and the rest; 1 and the word without a weight.

    Raises:
        QpertError: nothing follows the weight.
    """
    match = _WEIGHT.fullmatch(word)
    weight, rest = (1.0, word) if match is None else (float(match[1]), match[2])
    if not rest.strip():
        raise QpertError(f"{word!r} names nothing; write it as 0.5:stripes, or without a weight")
    return weight, rest


def parse_box(text: str) -> Box:
    """A box from ``0.1,0.2,0.5,0.6``, ``10,20,50,60%``, or ``10,20-50,60``, percent as hits show their views.

    Raises:
        QpertError: something else, or a box that is not in the photo.
    """
    corners = _CORNERS.fullmatch(text.strip())
    plain = ",".join(corners.groups()) if corners else text
    divisor = 100 if corners or "%" in text else 1
    try:
        x0, y0, x1, y1 = (float(side.strip().rstrip("%")) / divisor for side in plain.split(","))
    except ValueError:
        raise QpertError(
            f"--box: {text!r} is no box; write left,top,right,bottom as fractions of the photo (0.1,0.2,0.5,0.6), in"
            " percent (10,20,50,60%), or as hits show it (10,20-50,60)"
        ) from None
    try:
        check_box((x0, y0, x1, y1))
    except QpertError as error:
        percent = "; in percent it ends with %" if divisor == 1 and max(x0, y0, x1, y1) > 1 else ""
        raise QpertError(f"--box: {error}{percent}") from None
    return x0, y0, x1, y1


def quotes_hint(words: Sequence[str]) -> str | None:
    """What to say of queries of one word each, which are probably one query without its quotes; else None."""
    if len(words) < 2 or any(len(word.split()) != 1 for word in words):
        return None
    return f'{len(words)} queries of one word each; did you mean "{" ".join(word.strip() for word in words)}"?'


def folder_hint(texts: Sequence[str]) -> str | None:
    """What to say of a text that is also the name of a folder without features; else None."""
    named = next((text for text in texts if len(text.split()) == 1 and os.path.isdir(local(text))), None)
    return None if named is None else f"{named!r} is searched for as a text: the folder of this name holds no features"


def _names_sets(word: str) -> bool:
    if is_uri(word) or _is_set(word):
        return True
    one_word = len(word.split()) == 1
    if is_pattern(word):
        from pipeline.retrieval.several_sets import find_sets  # takes longer to import than --help may

        try:
            find_sets([local(word)])
        except QpertError as error:
            if one_word and ("*" in word or "/" in word):
                raise QpertError(f"{error}; {_AS_TEXT}") from None
            return False
        return True
    if one_word and word.startswith(_PATHS):
        raise QpertError(f"{word} holds no features (no manifest.json); {_AS_TEXT}")
    return False


def _is_set(word: str) -> bool:
    path = local(word)
    return not is_uri(word) and os.path.isfile(os.path.join(path, "manifest.json")) and is_feature_set(path)
